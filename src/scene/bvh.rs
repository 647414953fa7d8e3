//! Bounding volume hierarchies: compressed wide BVHs over triangles (one a mesh) and over instances (one a scene).
//!
//! Built by `obvhs`: PLOC (Meister & Bittner 2018), reinsertion (Meister & Bittner 2018), conversion to 8-wide compressed
//! nodes (Ylitie et al. 2017). Every step runs on one thread, so a mesh always gets the same tree; meshes are built in
//! parallel. The traversal in here is the reference for the one on the GPU: double precision, no approximations.
//!
//! Layout: triangles and instances are reordered to leaf order, so `primitive_base_idx` + offset is their index. A leaf of
//! a mesh holds 1 to 3 triangles, a leaf of the scene holds 1 instance.

use super::{Bounds, CwBvhNode, Instance, Mesh, Scene};
use crate::limits;
use glam::{DAffine3, DVec3, Vec3, Vec3A};
use obvhs::aabb::Aabb;
use obvhs::bvh2::Bvh2;
use obvhs::bvh2::node::Bvh2Node;
use obvhs::bvh2::reinsertion::ReinsertionOptimizer;
use obvhs::cwbvh::bvh2_to_cwbvh::bvh2_to_cwbvh;
use obvhs::ploc::{PlocBuilder, PlocSearchDistance, SortPrecision};

/// Triangles in one leaf of a mesh, at most: what a node of the compressed format can hold.
pub const LEAF_TRIANGLES_MAX: u32 = 3;

/// A tree over primitives that are known by their bounds.
#[derive(Debug, Default)]
pub struct Tree {
    /// The root is the first. Empty where there are no primitives.
    pub nodes: Vec<CwBvhNode>,
    /// For each place in leaf order, the index of the primitive that belongs there.
    pub order: Vec<u32>,
}

/// Builds the tree over `bounds`, which must be finite, with at most `leaf_max` (1 to 3) primitives in a leaf.
pub fn build(bounds: &[Bounds], leaf_max: u32) -> Tree {
    assert!((1..=3).contains(&leaf_max), "a leaf of the compressed format holds 1 to 3 primitives");
    if bounds.is_empty() {
        return Tree::default();
    }
    // Scaled by a power of two to about 1, so that no area over- or underflows in the builder. The scaling is undone
    // exactly in the nodes: it moves their exponents.
    let largest = bounds.iter().map(|bounds| bounds.min.abs().max(bounds.max.abs()).max_element()).fold(0.0, f32::max);
    assert!(largest.is_finite(), "bounds of a tree must be finite");
    let exponent = if largest > 0.0 { f64::from(largest).log2().ceil() as i32 } else { 0 };
    let scale = (-f64::from(exponent)).exp2();
    // Nodes store their corner in 32 bits, so boxes are grown by some units in the last place of the largest coordinate.
    const PAD: f32 = 1.0 / (1 << 21) as f32;
    let scaled = |point: Vec3| Vec3A::from((point.as_dvec3() * scale).as_vec3());
    let boxes: Vec<Aabb> =
        bounds.iter().map(|bounds| Aabb::new(scaled(bounds.min) - PAD, scaled(bounds.max) + PAD)).collect();

    let indices: Vec<u32> = (0..boxes.len() as u32).collect();
    let mut tree = PlocBuilder::with_capacity(boxes.len()).build(
        PlocSearchDistance::Medium,
        &boxes,
        indices,
        SortPrecision::U64,
        3,
    );
    // Reinsertion and conversion recurse, so a tree that degenerates into a list must not reach them.
    let wide = (binary_levels(&tree) <= 128).then(|| {
        ReinsertionOptimizer::default().run(&mut tree, 0.05, None);
        tree.max_depth = tree.max_depth.max(128);
        bvh2_to_cwbvh(&tree, leaf_max, true, false)
    });
    let wide = match wide.filter(|wide| levels(&wide.nodes) <= limits::BVH_LEVELS_MAX) {
        Some(wide) => wide,
        None => bvh2_to_cwbvh(&balanced(&boxes), leaf_max, true, false),
    };
    let mut nodes = wide.nodes;
    for node in &mut nodes {
        node.p = (node.p.as_dvec3() / scale).as_vec3();
        node.e = node.e.map(|biased| (i32::from(biased) + exponent).clamp(1, 254) as u8);
    }
    nodes.shrink_to_fit();
    Tree { nodes, order: wide.primitive_indices }
}

/// Levels of a tree of compressed nodes: 0 for an empty one, 1 for a root alone.
pub fn levels(nodes: &[CwBvhNode]) -> u32 {
    let mut deepest = 0;
    let mut stack = if nodes.is_empty() { Vec::new() } else { vec![(0_u32, 1)] };
    while let Some((index, level)) = stack.pop() {
        deepest = deepest.max(level);
        let node = &nodes[index as usize];
        stack.extend(
            (0..8).filter(|&child| !node.is_leaf(child)).map(|child| (node.child_node_index(child), level + 1)),
        );
    }
    deepest
}

fn binary_levels(tree: &Bvh2) -> u32 {
    let mut deepest = 0;
    let mut stack = if tree.nodes.is_empty() { Vec::new() } else { vec![(0_u32, 1)] };
    while let Some((index, level)) = stack.pop() {
        deepest = deepest.max(level);
        let node = &tree.nodes[index as usize];
        if !node.is_leaf() {
            stack.extend([(node.first_index, level + 1), (node.first_index + 1, level + 1)]);
        }
    }
    deepest
}

/// A tree split at the median of the longest axis: never deep, whatever the boxes are. For those that PLOC turns into a
/// list, e.g. thousands of boxes around one another.
fn balanced(boxes: &[Aabb]) -> Bvh2 {
    let mut order: Vec<u32> = (0..boxes.len() as u32).collect();
    let mut nodes = vec![Bvh2Node::default()];
    let mut stack = vec![(0_usize, 0..boxes.len())];
    while let Some((node, range)) = stack.pop() {
        let members = &mut order[range.clone()];
        let around = members.iter().fold(Aabb::empty(), |around, &index| around.union(&boxes[index as usize]));
        if members.len() == 1 {
            nodes[node] = Bvh2Node::new(around, 1, range.start as u32);
            continue;
        }
        let mut centers = Aabb::empty();
        members.iter().for_each(|&index| {
            centers.extend(boxes[index as usize].center());
        });
        let axis = centers.largest_axis();
        let middle = members.len() / 2;
        let key = |index: u32| boxes[index as usize].center_axis(axis);
        members.select_nth_unstable_by(middle, |&a, &b| key(a).total_cmp(&key(b)).then(a.cmp(&b)));
        let first = nodes.len();
        nodes[node] = Bvh2Node::new(around, 0, first as u32);
        nodes.extend([Bvh2Node::default(), Bvh2Node::default()]);
        stack.push((first, range.start..range.start + middle));
        stack.push((first + 1, range.start + middle..range.end));
    }
    Bvh2 { nodes, primitive_indices: order, ..Bvh2::default() }
}

/// Builds a mesh's tree and reorders its triangles to leaf order.
pub fn build_mesh(mesh: &mut Mesh) {
    let bounds: Vec<Bounds> = mesh
        .triangles
        .iter()
        .map(|triangle| {
            let [a, b, c] = triangle.map(|vertex| mesh.positions[vertex as usize]);
            Bounds { min: a.min(b).min(c), max: a.max(b).max(c) }
        })
        .collect();
    let tree = build(&bounds, LEAF_TRIANGLES_MAX);
    mesh.triangles = tree.order.iter().map(|&triangle| mesh.triangles[triangle as usize]).collect();
    mesh.bvh = tree.nodes;
}

/// Builds the scene's tree, reorders its instances to leaf order and sets its bounds.
pub fn build_tlas(scene: &mut Scene) {
    let bounds: Vec<Bounds> = scene.instances.iter().map(|instance| world_bounds(scene, instance)).collect();
    let tree = build(&bounds, 1);
    scene.bounds = Bounds::default();
    bounds.iter().for_each(|bounds| scene.bounds.merge(bounds));
    scene.instances = tree.order.iter().map(|&instance| scene.instances[instance as usize]).collect();
    scene.tlas = tree.nodes;
}

/// World bounds of an instance: of the eight corners of its mesh's bounds.
pub fn world_bounds(scene: &Scene, instance: &Instance) -> Bounds {
    let mut bounds = Bounds::default();
    for corner in scene.meshes[instance.mesh as usize].bounds.corners() {
        bounds.extend(instance.world_from_object.transform_point3(corner));
    }
    bounds
}

/// Where a ray meets a triangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Index into [`Scene::instances`]; 0 from [`intersect_mesh`].
    pub instance: u32,
    /// Index into [`Mesh::triangles`].
    pub triangle: u32,
    /// Distance along the ray in units of its direction's length.
    pub t: f32,
    /// Barycentric weight of the triangle's second vertex.
    pub u: f32,
    /// Barycentric weight of the triangle's third vertex.
    pub v: f32,
}

/// The nearest triangle with `t_min` ≤ t ≤ `t_max` along a ray in world space, seen from either side. Of two at the same
/// distance, the one with the lower (instance, triangle). The reference that the GPU's traversal is tested against.
pub fn intersect(scene: &Scene, origin: Vec3, direction: Vec3, t_min: f32, t_max: f32) -> Option<Hit> {
    let mut nearest = Nearest { t_max: f64::from(t_max), hit: None };
    let ray = Ray { origin: origin.as_dvec3(), direction: direction.as_dvec3(), t_min: f64::from(t_min) };
    traverse(&scene.tlas, &ray, &mut nearest, &mut |index, nearest| {
        let instance = &scene.instances[index as usize];
        let world_from_object = DAffine3::from_mat3_translation(
            glam::Mat3::from(instance.world_from_object.matrix3).as_dmat3(),
            Vec3::from(instance.world_from_object.translation).as_dvec3(),
        );
        let object_from_world = world_from_object.inverse();
        let ray = Ray {
            origin: object_from_world.transform_point3(ray.origin),
            direction: object_from_world.transform_vector3(ray.direction),
            t_min: ray.t_min,
        };
        intersect_triangles(&scene.meshes[instance.mesh as usize], index, &ray, nearest);
    });
    nearest.hit
}

/// As [`intersect`], for one mesh in its object space.
pub fn intersect_mesh(mesh: &Mesh, origin: Vec3, direction: Vec3, t_min: f32, t_max: f32) -> Option<Hit> {
    let mut nearest = Nearest { t_max: f64::from(t_max), hit: None };
    let ray = Ray { origin: origin.as_dvec3(), direction: direction.as_dvec3(), t_min: f64::from(t_min) };
    intersect_triangles(mesh, 0, &ray, &mut nearest);
    nearest.hit
}

struct Ray {
    origin: DVec3,
    direction: DVec3,
    t_min: f64,
}

struct Nearest {
    t_max: f64,
    hit: Option<Hit>,
}

fn intersect_triangles(mesh: &Mesh, instance: u32, ray: &Ray, nearest: &mut Nearest) {
    traverse(&mesh.bvh, ray, nearest, &mut |triangle, nearest| {
        let corners = mesh.triangles[triangle as usize].map(|vertex| mesh.positions[vertex as usize]);
        let Some((t, u, v)) = intersect_triangle(corners, ray.origin, ray.direction) else { return };
        let before = nearest.hit.is_none_or(|hit| (instance, triangle) < (hit.instance, hit.triangle));
        if t >= ray.t_min && (t < nearest.t_max || (t == nearest.t_max && before)) {
            nearest.t_max = t;
            nearest.hit = Some(Hit { instance, triangle, t: t as f32, u: u as f32, v: v as f32 });
        }
    });
}

/// Möller & Trumbore 1997, "Fast, Minimum Storage Ray/Triangle Intersection", in double precision; edges belong to the
/// triangle. Answers (t, u, v) with the hit at (1 − u − v)·a + u·b + v·c, for any t.
pub fn intersect_triangle(corners: [Vec3; 3], origin: DVec3, direction: DVec3) -> Option<(f64, f64, f64)> {
    let [a, b, c] = corners.map(|corner| corner.as_dvec3());
    let (ab, ac) = (b - a, c - a);
    let p = direction.cross(ac);
    let determinant = ab.dot(p);
    if determinant == 0.0 {
        return None;
    }
    let from_a = origin - a;
    let u = from_a.dot(p) / determinant;
    let q = from_a.cross(ab);
    let v = direction.dot(q) / determinant;
    (u >= 0.0 && v >= 0.0 && u + v <= 1.0).then(|| (ac.dot(q) / determinant, u, v))
}

/// Visits every primitive whose leaf the ray meets before `nearest.t_max`, near nodes first.
fn traverse(nodes: &[CwBvhNode], ray: &Ray, nearest: &mut Nearest, visit: &mut impl FnMut(u32, &mut Nearest)) {
    let mut stack = if nodes.is_empty() { Vec::new() } else { vec![(f64::NEG_INFINITY, 0_u32)] };
    while let Some((entry, index)) = stack.pop() {
        if entry > nearest.t_max {
            continue;
        }
        let node = &nodes[index as usize];
        let bottom = stack.len();
        for child in (0..8).filter(|&child| !node.is_child_empty(child)) {
            let Some(entry) = enter_child(node, child, ray, nearest.t_max) else { continue };
            if node.is_leaf(child) {
                let (first, count) = node.child_primitives(child);
                (first..first + count).for_each(|primitive| visit(primitive, nearest));
            } else {
                stack.push((entry, node.child_node_index(child)));
            }
        }
        stack[bottom..].sort_by(|a, b| b.0.total_cmp(&a.0));
    }
}

/// Where the ray enters a child's box, if it does before `t_max`.
fn enter_child(node: &CwBvhNode, child: usize, ray: &Ray, t_max: f64) -> Option<f64> {
    let low = [node.child_min_x[child], node.child_min_y[child], node.child_min_z[child]];
    let high = [node.child_max_x[child], node.child_max_y[child], node.child_max_z[child]];
    let (mut entry, mut exit) = (ray.t_min, t_max);
    for axis in 0..3 {
        let unit = f64::from(f32::from_bits(u32::from(node.e[axis]) << 23));
        let corner = f64::from(node.p[axis]);
        let (low, high) = (corner + f64::from(low[axis]) * unit, corner + f64::from(high[axis]) * unit);
        let (origin, direction) = (ray.origin[axis], ray.direction[axis]);
        if direction == 0.0 {
            if origin < low || origin > high {
                return None;
            }
            continue;
        }
        let (a, b) = ((low - origin) / direction, (high - origin) / direction);
        entry = entry.max(a.min(b));
        exit = exit.min(a.max(b));
    }
    (entry <= exit).then_some(entry)
}
