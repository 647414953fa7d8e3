//! The shading frame of vertices: normals and tangents, made where the file has none and repaired where it errs.
//!
//! Tangent sign: `w` as in glTF 2.0, 3.7.2.1 — bitangent = w · cross(normal, tangent.xyz), and the green channel of a
//! normal map points along it.

use super::geometry::Geometry;
use super::tally::Tally;
use bevy_mikktspace::TangentSpace;
use glam::{Vec3, Vec4};

/// Makes the normals of `geometry` unit vectors. `flat`: computes them from the triangles, whose vertices are unshared.
pub(super) fn normals(geometry: &mut Geometry, flat: bool, tally: &mut Tally) {
    if flat {
        geometry.normals = vec![Vec3::Z; geometry.positions.len()];
        for triangle in &geometry.triangles {
            let normal = face_normal(&geometry.positions, triangle).try_normalize().unwrap_or(Vec3::Z);
            for &vertex in triangle {
                geometry.normals[vertex as usize] = normal;
            }
        }
        return;
    }
    let mut broken = Vec::new();
    for (vertex, normal) in geometry.normals.iter_mut().enumerate() {
        match unit(*normal) {
            Some(unit) => *normal = unit,
            None => broken.push(vertex),
        }
    }
    if broken.is_empty() {
        return;
    }
    tally.normals_repaired += broken.len() as u64;
    // The mean of the faces around a vertex, weighted by area.
    broken.iter().for_each(|&vertex| geometry.normals[vertex] = Vec3::ZERO);
    let mut is_broken = vec![false; geometry.positions.len()];
    broken.iter().for_each(|&vertex| is_broken[vertex] = true);
    for triangle in &geometry.triangles {
        for &vertex in triangle.iter().filter(|&&vertex| is_broken[vertex as usize]) {
            geometry.normals[vertex as usize] += face_normal(&geometry.positions, triangle);
        }
    }
    broken.iter().for_each(|&vertex| geometry.normals[vertex] = unit(geometry.normals[vertex]).unwrap_or(Vec3::Z));
}

/// Twice the area times the normal of a triangle.
fn face_normal(positions: &[Vec3], triangle: &[u32; 3]) -> Vec3 {
    let [a, b, c] = triangle.map(|vertex| positions[vertex as usize]);
    (b - a).cross(c - a)
}

/// The unit vector, however long or short the vector is. `None` for zero and what is not finite.
pub(super) fn unit(vector: Vec3) -> Option<Vec3> {
    let largest = vector.abs().max_element();
    if !vector.is_finite() || largest == 0.0 {
        return None;
    }
    (vector / largest).try_normalize()
}

/// Makes the tangents of `geometry`: those of the file where it has them, else MikkTSpace over the given UV set.
pub(super) fn tangents(geometry: &mut Geometry, uv_set: usize, tally: &mut Tally) {
    if geometry.tangents.is_empty() {
        generate(geometry, uv_set);
    }
    for (tangent, &normal) in geometry.tangents.iter_mut().zip(&geometry.normals) {
        let w = if tangent.w < 0.0 { -1.0 } else { 1.0 };
        // A tangent along the normal spans no frame, so it counts as broken too.
        let xyz =
            unit(tangent.truncate()).filter(|xyz| xyz.cross(normal).length_squared() > 1.0e-12).unwrap_or_else(|| {
                tally.tangents_repaired += 1;
                normal.any_orthonormal_vector()
            });
        *tangent = xyz.extend(w);
    }
}

/// MikkTSpace (Mikkelsen 2008), as glTF 2.0, 3.7.2.1 asks for. Vertices whose corners disagree are split.
fn generate(geometry: &mut Geometry, uv_set: usize) {
    if geometry.uvs[uv_set].is_empty() {
        geometry.tangents = geometry.normals.iter().map(|normal| normal.any_orthonormal_vector().extend(1.0)).collect();
        return;
    }
    let tangents = vec![Vec4::ZERO; geometry.triangles.len() * 3];
    let mut corners = Corners { geometry, uv_set, tangents };
    if bevy_mikktspace::generate_tangents(&mut corners).is_err() {
        // No error exists today; whatever it learns to say, the caller replaces tangents that are zero.
        corners.tangents.fill(Vec4::ZERO);
    }
    let tangents = corners.tangents;
    // Each vertex keeps the tangent of its first corner; a corner with another one gets a copy of the vertex, found
    // again through a list that starts at the vertex.
    let vertices = geometry.positions.len();
    let mut assigned: Vec<Vec4> = vec![Vec4::NAN; vertices];
    let mut next = vec![u32::MAX; vertices];
    for triangle in 0..geometry.triangles.len() {
        for corner in 0..3 {
            let tangent = tangents[triangle * 3 + corner];
            let mut vertex = geometry.triangles[triangle][corner];
            if assigned[vertex as usize].is_nan() {
                assigned[vertex as usize] = tangent;
                continue;
            }
            while assigned[vertex as usize] != tangent {
                let following = next[vertex as usize];
                if following != u32::MAX {
                    vertex = following;
                    continue;
                }
                let copy = geometry.duplicate(vertex);
                next[vertex as usize] = copy;
                next.push(u32::MAX);
                assigned.push(tangent);
                vertex = copy;
            }
            geometry.triangles[triangle][corner] = vertex;
        }
    }
    assigned.iter_mut().filter(|tangent| tangent.is_nan()).for_each(|tangent| *tangent = Vec4::ZERO);
    geometry.tangents = assigned;
}

struct Corners<'a> {
    geometry: &'a Geometry,
    uv_set: usize,
    tangents: Vec<Vec4>,
}

impl Corners<'_> {
    fn vertex(&self, face: usize, corner: usize) -> usize {
        self.geometry.triangles[face][corner] as usize
    }
}

impl bevy_mikktspace::Geometry for Corners<'_> {
    fn num_faces(&self) -> usize {
        self.geometry.triangles.len()
    }

    fn num_vertices_of_face(&self, _face: usize) -> usize {
        3
    }

    fn position(&self, face: usize, corner: usize) -> [f32; 3] {
        self.geometry.positions[self.vertex(face, corner)].to_array()
    }

    fn normal(&self, face: usize, corner: usize) -> [f32; 3] {
        self.geometry.normals[self.vertex(face, corner)].to_array()
    }

    fn tex_coord(&self, face: usize, corner: usize) -> [f32; 2] {
        self.geometry.uvs[self.uv_set][self.vertex(face, corner)].to_array()
    }

    fn set_tangent(&mut self, space: Option<TangentSpace>, face: usize, corner: usize) {
        // MikkTSpace counts v upwards and glTF downwards, which turns the bitangent around.
        let tangent = space
            .map_or(Vec4::ZERO, |space| Vec4::from_array(space.tangent_encoded()) * Vec4::new(1.0, 1.0, 1.0, -1.0));
        // NaN marks a vertex without a tangent further on.
        self.tangents[face * 3 + corner] = if tangent.is_finite() { tangent } else { Vec4::ZERO };
    }
}
