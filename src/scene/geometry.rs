//! One glTF primitive → a [`Mesh`]: topology, attributes, pose, shading frame, BVH.
//!
//! A pure function of the file and of the pose, so that primitives are built in parallel and the result does not depend
//! on how many threads there are.

use super::accessor::{Buffers, Component, Elements};
use super::bvh;
use super::document::{Document, Primitive};
use super::error::{SceneError, SceneResult};
use super::material::MaterialPlan;
use super::tally::Tally;
use super::{Bounds, Mesh, frame, morph, skin};
use crate::limits;
use glam::{Affine3A, Vec2, Vec3, Vec4};
use std::collections::HashMap;
use std::sync::Arc;

/// What to build.
#[derive(Debug, Clone)]
pub(super) struct MeshJob {
    /// Index of the glTF mesh.
    pub(super) mesh: u32,
    /// Index of the primitive in it.
    pub(super) primitive: u32,
    /// Weights of the morph targets; empty where none counts.
    pub(super) weights: Arc<[f32]>,
    /// World from bind pose, for each joint of the skin. The mesh is then built in world space.
    pub(super) joints: Option<Arc<[Affine3A]>>,
}

/// Vertices and triangles on their way to a [`Mesh`]. Every index is in range.
#[derive(Debug, Default)]
pub(super) struct Geometry {
    pub(super) triangles: Vec<[u32; 3]>,
    pub(super) positions: Vec<Vec3>,
    /// Empty where the file has none, until flat ones are made.
    pub(super) normals: Vec<Vec3>,
    pub(super) tangents: Vec<Vec4>,
    pub(super) uvs: [Vec<Vec2>; 2],
    pub(super) colors: Vec<Vec4>,
    pub(super) influences: Vec<skin::Influence>,
}

impl Geometry {
    /// Gives each triangle its own three vertices, as flat shading needs.
    pub(super) fn unshare(&mut self) {
        let corners: Vec<u32> = self.triangles.iter().flatten().copied().collect();
        fn spread<T: Copy>(values: &mut Vec<T>, corners: &[u32]) {
            if !values.is_empty() {
                *values = corners.iter().map(|&corner| values[corner as usize]).collect();
            }
        }
        spread(&mut self.positions, &corners);
        spread(&mut self.normals, &corners);
        spread(&mut self.tangents, &corners);
        spread(&mut self.uvs[0], &corners);
        spread(&mut self.uvs[1], &corners);
        spread(&mut self.colors, &corners);
        spread(&mut self.influences, &corners);
        self.triangles = (0..self.triangles.len() as u32)
            .map(|triangle| [triangle * 3, triangle * 3 + 1, triangle * 3 + 2])
            .collect();
    }

    /// Appends a copy of a vertex (without its tangent) and answers its index.
    pub(super) fn duplicate(&mut self, vertex: u32) -> u32 {
        fn again<T: Copy>(values: &mut Vec<T>, vertex: u32) {
            if let Some(&value) = values.get(vertex as usize) {
                values.push(value);
            }
        }
        let copy = self.positions.len() as u32;
        again(&mut self.positions, vertex);
        again(&mut self.normals, vertex);
        again(&mut self.uvs[0], vertex);
        again(&mut self.uvs[1], vertex);
        again(&mut self.colors, vertex);
        again(&mut self.influences, vertex);
        copy
    }
}

/// Upper bound of the triangles that a primitive makes, from the counts alone: known before anything is allocated.
pub(super) fn triangles_claimed(document: &Document, primitive: &Primitive) -> u64 {
    let accessor = primitive.indices.or_else(|| primitive.attributes.get("POSITION").copied());
    let count = accessor.and_then(|index| document.accessors.get(index as usize)).map_or(0, |accessor| accessor.count);
    match primitive.mode {
        4 => count / 3,
        5 | 6 => count.saturating_sub(2),
        _ => 0,
    }
}

/// Builds the mesh of a job. `None` where nothing with an area is left.
pub(super) fn build(
    document: &Document,
    buffers: &Buffers,
    job: &MeshJob,
    plan: &MaterialPlan,
    tally: &mut Tally,
) -> SceneResult<Option<Mesh>> {
    let primitive = &document.meshes[job.mesh as usize].primitives[job.primitive as usize];
    let place = format!("/meshes/{}/primitives/{}", job.mesh, job.primitive);
    match primitive.mode {
        0..=3 => {
            tally.points_and_lines += 1;
            return Ok(None);
        }
        4..=6 => {}
        mode => {
            return Err(SceneError::invalid(
                "validate",
                format!("The primitive has the unknown mode {mode}; expected 0 to 6."),
            )
            .at(format!("{place}/mode")));
        }
    }
    let Some(&accessor) = primitive.attributes.get("POSITION") else {
        tally.primitives_without_positions += 1;
        return Ok(None);
    };
    if primitive.extensions.contains_key("KHR_draco_mesh_compression")
        && document.accessors.get(accessor as usize).is_some_and(|accessor| accessor.buffer_view.is_none())
    {
        return Err(SceneError::invalid(
            "load",
            "The primitive is compressed with KHR_draco_mesh_compression and brings no uncompressed copy; Kiln cannot decode it.",
        )
        .at(format!("{place}/extensions/KHR_draco_mesh_compression")));
    }
    let user = format!("{place}/attributes/POSITION");
    let positions = Elements::open(document, buffers, accessor, &["VEC3"], &user)?;
    let mut corners = corners(document, buffers, primitive, positions.count, &place)?;
    let mut triangles = assemble(primitive.mode, &corners, tally);
    corners.clear();
    let used = compact(&mut triangles, positions.count);
    let reader = Reader { document, buffers, primitive, place: &place, vertices: positions.count, used: &used };
    let mut geometry = Geometry { triangles, ..Geometry::default() };
    geometry.positions = reader.positions(&positions)?;
    reader.attributes(&mut geometry, plan, job.joints.is_some(), tally)?;
    morph::apply(&reader, &mut geometry, &job.weights, tally)?;

    let flat = geometry.normals.is_empty();
    if flat {
        geometry.unshare();
    }
    frame::normals(&mut geometry, flat, tally);
    if plan.needs_tangents() {
        // Tangents without normals mean nothing (glTF 2.0, 3.7.2.1), so flat shading makes its own.
        if flat {
            geometry.tangents.clear();
        }
        frame::tangents(&mut geometry, plan.normal_uv_set(), tally);
    } else {
        geometry.tangents.clear();
    }
    if let Some(joints) = &job.joints {
        skin::apply(&mut geometry, joints, &place)?;
        if flat {
            frame::normals(&mut geometry, true, tally);
        }
    }
    finish(geometry, plan.index, &place, tally)
}

/// Drops what has no area, checks the bounds, builds the BVH.
fn finish(mut geometry: Geometry, material: u32, place: &str, tally: &mut Tally) -> SceneResult<Option<Mesh>> {
    let before = geometry.triangles.len();
    let positions = &geometry.positions;
    geometry.triangles.retain(|triangle| {
        let [a, b, c] = triangle.map(|vertex| positions[vertex as usize]);
        // As the shader computes it: a normal that underflows there has no direction.
        (b - a).cross(c - a).length_squared() >= f32::MIN_POSITIVE
    });
    tally.degenerate_triangles += (before - geometry.triangles.len()) as u64;
    if geometry.triangles.is_empty() {
        return Ok(None);
    }
    let mut bounds = Bounds::default();
    for &vertex in geometry.triangles.iter().flatten() {
        bounds.extend(positions[vertex as usize]);
    }
    if bounds.min.abs().max(bounds.max.abs()).max_element() > limits::COORDINATE_METRES_MAX {
        return Err(too_far(place));
    }
    let [uv0, uv1] = geometry.uvs;
    let mut mesh = Mesh {
        material,
        triangles: geometry.triangles,
        positions: geometry.positions,
        normals: geometry.normals,
        tangents: geometry.tangents,
        uv0,
        uv1,
        colors: geometry.colors,
        bvh: Vec::new(),
        bounds,
    };
    bvh::build_mesh(&mut mesh);
    Ok(Some(mesh))
}

/// The error for geometry that 32-bit floats cannot trace.
pub(super) fn too_far(place: &str) -> SceneError {
    SceneError::limit(
        "build",
        format!("A vertex is more than {:e} m from the origin; scale the scene down.", limits::COORDINATE_METRES_MAX),
    )
    .at(place)
}

/// The vertex of each corner, in the order of the file.
fn corners(
    document: &Document,
    buffers: &Buffers,
    primitive: &Primitive,
    vertices: usize,
    place: &str,
) -> SceneResult<Vec<u32>> {
    let Some(accessor) = primitive.indices else { return Ok((0..vertices as u32).collect()) };
    let user = format!("{place}/indices");
    let indices = Elements::open(document, buffers, accessor, &["SCALAR"], &user)?
        .require(&[Component::U8, Component::U16, Component::U32], &user)?;
    let restart = match indices.component {
        Component::U8 => u32::from(u8::MAX),
        Component::U16 => u32::from(u16::MAX),
        _ => u32::MAX,
    };
    (0..indices.count)
        .map(|at| match indices.unsigned(at, 0) {
            index if index == restart => Err(SceneError::invalid(
                "validate",
                format!("Index {at} is {index}, the primitive restart value, which glTF forbids."),
            )
            .at(indices.pointer.clone())),
            index if index as usize >= vertices => Err(SceneError::invalid(
                "validate",
                format!("Index {at} is {index}, but the primitive has {vertices} vertices."),
            )
            .at(indices.pointer.clone())),
            index => Ok(index),
        })
        .collect()
}

/// Triangles of a list, strip or fan, in the winding of glTF 2.0, 3.7.2.1. Those that repeat a vertex are dropped.
fn assemble(mode: u32, corners: &[u32], tally: &mut Tally) -> Vec<[u32; 3]> {
    let count = corners.len();
    let all: Vec<[u32; 3]> = match mode {
        5 => {
            (0..count.saturating_sub(2)).map(|i| [corners[i], corners[i + 1 + i % 2], corners[i + 2 - i % 2]]).collect()
        }
        6 => (1..count.saturating_sub(1)).map(|i| [corners[i], corners[i + 1], corners[0]]).collect(),
        _ => {
            tally.leftover_indices += (count % 3) as u64;
            corners.chunks_exact(3).map(|corner| [corner[0], corner[1], corner[2]]).collect()
        }
    };
    let before = all.len();
    let mut triangles = all;
    triangles.retain(|[a, b, c]| a != b && b != c && c != a);
    // A strip repeats vertices on purpose, to begin anew elsewhere: that is no mishap.
    if mode == 4 {
        tally.degenerate_triangles += (before - triangles.len()) as u64;
    }
    triangles
}

/// Renumbers the triangles' vertices in the order of their first use, and answers which vertices those are: files often
/// share one large vertex buffer among many primitives.
fn compact(triangles: &mut [[u32; 3]], vertices: usize) -> Vec<u32> {
    let mut used = Vec::with_capacity(vertices.min(triangles.len() * 3));
    if vertices <= triangles.len().saturating_mul(16) {
        let mut renumbered = vec![u32::MAX; vertices];
        for vertex in triangles.iter_mut().flatten() {
            let new = &mut renumbered[*vertex as usize];
            if *new == u32::MAX {
                *new = used.len() as u32;
                used.push(*vertex);
            }
            *vertex = *new;
        }
    } else {
        let mut renumbered = HashMap::with_capacity(triangles.len());
        for vertex in triangles.iter_mut().flatten() {
            *vertex = *renumbered.entry(*vertex).or_insert_with(|| {
                used.push(*vertex);
                used.len() as u32 - 1
            });
        }
    }
    used
}

/// Reads attributes of the vertices that are used.
pub(super) struct Reader<'a> {
    pub(super) document: &'a Document,
    pub(super) buffers: &'a Buffers,
    pub(super) primitive: &'a Primitive,
    /// JSON pointer of the primitive.
    pub(super) place: &'a str,
    /// How many the file has.
    pub(super) vertices: usize,
    /// Those that triangles use, in their new order.
    pub(super) used: &'a [u32],
}

impl<'a> Reader<'a> {
    /// Opens an attribute of the primitive, if it is there.
    pub(super) fn attribute(&self, name: &str, kinds: &[&str]) -> SceneResult<Option<Elements<'a>>> {
        let Some(&accessor) = self.primitive.attributes.get(name) else { return Ok(None) };
        self.open(accessor, kinds, &format!("{}/attributes/{name}", self.place)).map(Some)
    }

    /// Opens an accessor that must have one element a vertex.
    pub(super) fn open(&self, accessor: u32, kinds: &[&str], user: &str) -> SceneResult<Elements<'a>> {
        let elements = Elements::open(self.document, self.buffers, accessor, kinds, user)?;
        if elements.count != self.vertices {
            return Err(SceneError::invalid(
                "validate",
                format!(
                    "The attribute has {} elements; the primitive's POSITION has {}.",
                    elements.count, self.vertices
                ),
            )
            .at(user));
        }
        Ok(elements)
    }

    /// Positions, or offsets of them: every one must be finite.
    pub(super) fn positions(&self, elements: &Elements) -> SceneResult<Vec<Vec3>> {
        self.used
            .iter()
            .map(|&vertex| {
                let position = Vec3::from_array(elements.floats(vertex as usize));
                if !position.is_finite() {
                    return Err(SceneError::invalid(
                        "validate",
                        format!("The position of vertex {vertex} is {position}; expected finite numbers."),
                    )
                    .at(elements.pointer.clone()));
                }
                if position.abs().max_element() > limits::COORDINATE_METRES_MAX {
                    return Err(too_far(&elements.pointer));
                }
                Ok(position)
            })
            .collect()
    }

    /// Vectors that may be anything: the caller repairs them.
    pub(super) fn vectors(&self, elements: &Elements) -> Vec<Vec3> {
        self.used.iter().map(|&vertex| Vec3::from_array(elements.floats(vertex as usize))).collect()
    }

    /// Everything but positions.
    fn attributes(
        &self,
        geometry: &mut Geometry,
        plan: &MaterialPlan,
        skinned: bool,
        tally: &mut Tally,
    ) -> SceneResult<()> {
        if let Some(normals) = self.attribute("NORMAL", &["VEC3"])? {
            geometry.normals = self.vectors(&normals);
        }
        if plan.needs_tangents()
            && let Some(tangents) = self.attribute("TANGENT", &["VEC4"])?
        {
            geometry.tangents =
                self.used.iter().map(|&vertex| Vec4::from_array(tangents.floats(vertex as usize))).collect();
        }
        for (slot, source) in plan.uv_sources.iter().enumerate() {
            match self.attribute(&format!("TEXCOORD_{}", source.set), &["VEC2"])? {
                Some(uvs) => {
                    let uv = |&vertex: &u32| {
                        let uv = source.transform.transform_point2(Vec2::from_array(uvs.floats(vertex as usize)));
                        if uv.is_finite() {
                            return uv;
                        }
                        tally.uvs_repaired += 1;
                        Vec2::ZERO
                    };
                    geometry.uvs[slot] = self.used.iter().map(uv).collect();
                }
                None => tally.uv_sets_missing += 1,
            }
        }
        if let Some(colors) = self.attribute("COLOR_0", &["VEC3", "VEC4"])? {
            let color = |&vertex: &u32| {
                let [r, g, b] = colors.floats(vertex as usize);
                let alpha = if colors.components == 4 { colors.float(vertex as usize, 3) } else { 1.0 };
                let color = Vec4::new(r, g, b, alpha);
                // NaN fails both comparisons, and `max` turns it into 0.
                let clamped = color.max(Vec4::ZERO).min(Vec4::ONE);
                tally.colors_repaired += u64::from(clamped != color);
                clamped
            };
            geometry.colors = self.used.iter().map(color).collect();
        }
        if skinned {
            geometry.influences = skin::influences(self, tally)?;
        }
        Ok(())
    }
}
