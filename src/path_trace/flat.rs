//! One tree over all triangles in world space, for scenes whose meshes are placed about once: no TLAS to walk, no ray to transform, and
//! no overlap between the boxes of neighbours.
//!
//! Only what traversal reads is laid flat. A triangle of the flat tree names the instance and the triangle that it stands for, and
//! surfaces are looked up there as ever.

use super::layout::{self, INSTANCE_ALPHA, INSTANCE_DOUBLE_SIDED, INSTANCE_MIRRORED};
use crate::limits::{FLAT_TRIANGLES_MAX, FLAT_TRIANGLES_PER_TRIANGLE_MAX};
use crate::scene::bvh::{self, LEAF_TRIANGLES_MAX, Tree};
use crate::scene::{Bounds, Scene};
use glam::Vec3;

/// Instances that a flat triangle can name: its flags are in the upper three bits of the same word.
const FLAT_INSTANCES_MAX: usize = 1 << 29;

/// The flat form of a scene.
pub(super) struct Flat {
    /// Over `triangles`.
    pub tree: Tree,
    /// In leaf order, three words each: v0, v1 − v0, v2 − v0 in world space; in w: instance and flags, triangle, nothing.
    pub triangles: Vec<[f32; 4]>,
}

/// The flat form, where it pays: every mesh is placed, and few of them more than once. `first_triangles` is where each mesh's triangles start
/// among all, `instances` the packed ones.
pub(super) fn lay_flat(scene: &Scene, first_triangles: &[u32], instances: &[layout::Instance]) -> Option<Flat> {
    let placed: u64 = scene.instances.iter().map(|i| scene.meshes[i.mesh as usize].triangles.len() as u64).sum();
    let unique: u64 = scene.meshes.iter().map(|mesh| mesh.triangles.len() as u64).sum();
    let pays = placed > 0
        && placed <= FLAT_TRIANGLES_MAX
        && placed <= unique * FLAT_TRIANGLES_PER_TRIANGLE_MAX
        && instances.len() < FLAT_INSTANCES_MAX;
    if !pays {
        return None;
    }
    let mut bounds = Vec::with_capacity(placed as usize);
    let mut corners = Vec::with_capacity(placed as usize);
    for (index, instance) in scene.instances.iter().enumerate() {
        let mesh = &scene.meshes[instance.mesh as usize];
        let flags = instances[index].flags & (INSTANCE_MIRRORED | INSTANCE_ALPHA | INSTANCE_DOUBLE_SIDED);
        for (triangle, vertices) in mesh.triangles.iter().enumerate() {
            let world =
                vertices.map(|vertex| instance.world_from_object.transform_point3(mesh.positions[vertex as usize]));
            let [a, b, c] = world;
            if !(a.is_finite() && b.is_finite() && c.is_finite()) {
                return None;
            }
            bounds.push(Bounds { min: a.min(b).min(c), max: a.max(b).max(c) });
            let names = [index as u32 | flags << 29, first_triangles[instance.mesh as usize] + triangle as u32];
            corners.push((world, names));
        }
    }
    let tree = bvh::build(&bounds, LEAF_TRIANGLES_MAX);
    let mut triangles = Vec::with_capacity(3 * tree.order.len());
    for &place in &tree.order {
        let ([a, b, c], names): ([Vec3; 3], [u32; 2]) = corners[place as usize];
        triangles.extend([
            a.extend(f32::from_bits(names[0])).to_array(),
            (b - a).extend(f32::from_bits(names[1])).to_array(),
            (c - a).extend(0.0).to_array(),
        ]);
    }
    Some(Flat { tree, triangles })
}
