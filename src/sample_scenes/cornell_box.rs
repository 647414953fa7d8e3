//! The Cornell box: Goral et al. 1984, "Modeling the Interaction of Light Between Diffuse Surfaces", scaled to one metre.

use super::{GlbBuilder, Shape};
use glam::{Mat4, Vec3};
use serde_json::{Value, json};

/// Radiance of the lamp's colour channels, W/(sr·m²).
pub const LAMP_RADIANCE: [f32; 3] = [17.0, 12.0, 4.0];

/// Purely diffuse: without `KHR_materials_specular` every glTF dielectric reflects 4 % like polish.
fn matte(rgb: [f32; 3]) -> Value {
    json!({"pbrMetallicRoughness": {"baseColorFactor": [rgb[0], rgb[1], rgb[2], 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0},
        "extensions": {"KHR_materials_specular": {"specularFactor": 0.0}}})
}

/// A closed-in room of one metre with a red and a green wall, two blocks and a lamp; camera `front`.
pub fn cornell_box() -> Vec<u8> {
    let mut glb = GlbBuilder::new();
    let white = glb.material(matte([0.73, 0.73, 0.73]));
    let red = glb.material(matte([0.65, 0.05, 0.05]));
    let green = glb.material(matte([0.12, 0.45, 0.15]));
    glb.use_extension("KHR_materials_specular");
    glb.use_extension("KHR_materials_emissive_strength");
    let strongest = LAMP_RADIANCE[0];
    let lamp = glb.material(json!({
        "pbrMetallicRoughness": {"baseColorFactor": [0.0, 0.0, 0.0, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0},
        "emissiveFactor": LAMP_RADIANCE.map(|channel| channel / strongest),
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": strongest}}}));

    let (x, y, z) = (Vec3::X, Vec3::Y, Vec3::Z);
    let corner = Vec3::new(-0.5, 0.0, -0.5);
    for (name, material, wall) in [
        ("floor", white, Shape::quad(corner + z, x, -z)),
        ("ceiling", white, Shape::quad(corner + y, x, z)),
        ("back wall", white, Shape::quad(corner, x, y)),
        ("left wall", red, Shape::quad(corner + z, -z, y)),
        ("right wall", green, Shape::quad(corner + x, z, y)),
        ("lamp", lamp, Shape::quad(Vec3::new(-0.125, 0.9985, -0.125), x * 0.25, z * 0.25)),
    ] {
        let mesh = glb.mesh(name, &wall, material);
        glb.place(mesh, Mat4::IDENTITY);
    }
    let block = glb.mesh("block", &Shape::cuboid(Vec3::ONE), white);
    for (centre, size, turn_deg) in [
        (Vec3::new(0.18, 0.15, 0.17), Vec3::new(0.3, 0.3, 0.3), -17.0f32),
        (Vec3::new(-0.17, 0.3, -0.13), Vec3::new(0.3, 0.6, 0.3), 17.5),
    ] {
        glb.place(
            block,
            Mat4::from_translation(centre) * Mat4::from_rotation_y(turn_deg.to_radians()) * Mat4::from_scale(size),
        );
    }
    glb.camera("front", Vec3::new(0.0, 0.5, 1.94), Vec3::new(0.0, 0.5, 0.0), 39.3, 1.0);
    glb.finish()
}
