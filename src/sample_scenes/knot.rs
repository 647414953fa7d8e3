//! A ribbed torus knot in an open box: one mesh of any size, with rays that bounce about. The benchmark's scene.

use super::{GlbBuilder, Shape};
use glam::{Mat4, Vec3};
use serde_json::json;
use std::f32::consts::TAU;

/// A (2, 3) torus knot of about `triangles` triangles, on a floor between two walls; camera `view`.
pub fn knot(triangles: u32) -> Vec<u8> {
    let mut glb = GlbBuilder::new();
    let bronze = glb.material(json!({"pbrMetallicRoughness":
        {"baseColorFactor": [0.80, 0.55, 0.33, 1.0], "metallicFactor": 0.7, "roughnessFactor": 0.35}}));
    let plaster = glb.material(json!({"pbrMetallicRoughness":
        {"baseColorFactor": [0.75, 0.73, 0.70, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.9}}));

    // Twelve times as many rings as segments around the tube keep the triangles about square.
    let around = ((triangles as f32 / 24.0).sqrt().round() as u32).max(3);
    let along = triangles.div_ceil(2 * around).max(3);
    let centre = |t: f32| {
        let angle = t * TAU;
        let radius = 1.0 + 0.45 * (3.0 * angle).cos();
        Vec3::new(radius * (2.0 * angle).sin(), 0.45 * (3.0 * angle).sin(), radius * (2.0 * angle).cos())
    };
    let tube = Shape::surface(along, around, |u, v| {
        let tangent = (centre(u + 1e-3) - centre(u - 1e-3)).normalize();
        let side = tangent.cross(Vec3::Y).normalize();
        let up = side.cross(tangent);
        // Turning backwards makes the outside the front.
        let angle = -v * TAU;
        let ribs = 0.22 + 0.02 * (u * TAU * 60.0 + 3.0 * angle).sin();
        centre(u) + ribs * (side * angle.sin() + up * angle.cos())
    });
    let mesh = glb.mesh("knot", &tube, bronze);
    glb.place(mesh, Mat4::from_translation(Vec3::new(0.0, 0.75, 0.0)));

    let (x, y, z) = (Vec3::X * 5.0, Vec3::Y * 4.0, Vec3::Z * 5.0);
    let corner = Vec3::new(-2.5, 0.0, -2.5);
    for (name, wall) in [
        ("floor", Shape::quad(corner + z, x, -z)),
        ("back wall", Shape::quad(corner, x, y)),
        ("left wall", Shape::quad(corner + z, -z, y)),
    ] {
        let mesh = glb.mesh(name, &wall, plaster);
        glb.place(mesh, Mat4::IDENTITY);
    }
    glb.camera("view", Vec3::new(2.6, 2.4, 4.2), Vec3::new(0.0, 0.7, 0.0), 38.0, 4.0 / 3.0);
    glb.finish()
}
