//! A still life on a checker floor: gold, brushed copper, porcelain, glass, cloth and fruit.

use super::{GlbBuilder, Shape};
use glam::{Mat4, Vec2, Vec3};
use serde_json::{Value, json};

fn surface(rgb: [f32; 3], metallic: f32, roughness: f32) -> Value {
    json!({"pbrMetallicRoughness": {"baseColorFactor": [rgb[0], rgb[1], rgb[2], 1.0],
        "metallicFactor": metallic, "roughnessFactor": roughness}})
}

/// Two grey tones in a checker of 8 × 8 fields, sRGB.
fn checker(side: u32, light: [u8; 3], dark: [u8; 3]) -> Vec<u8> {
    (0..side * side)
        .flat_map(|texel| {
            let (x, y) = (texel % side, texel / side);
            if (x * 8 / side + y * 8 / side).is_multiple_of(2) { light } else { dark }
        })
        .collect()
}

/// A woven pattern, sRGB: threads over and under, with a stripe now and then.
fn weave(side: u32) -> Vec<u8> {
    (0..side * side)
        .flat_map(|texel| {
            let (x, y) = (texel % side, texel / side);
            let over = (x / 2 + y / 2).is_multiple_of(2);
            let stripe = (x * 6 / side) % 3 == 1;
            let base: [f32; 3] = if stripe { [214.0, 203.0, 180.0] } else { [38.0, 66.0, 112.0] };
            let shade = if over { 1.0 } else { 0.8 };
            base.map(|channel| (channel * shade) as u8)
        })
        .collect()
}

/// The demo's scene; camera `table`.
pub fn still_life() -> Vec<u8> {
    let mut glb = GlbBuilder::new();

    let tiles = glb.texture(256, 256, &checker(256, [214, 208, 198], [74, 66, 60]));
    let mut floor = surface([1.0, 1.0, 1.0], 0.0, 0.35);
    floor["pbrMetallicRoughness"]["baseColorTexture"] = json!({"index": tiles});
    let floor = glb.material(floor);
    let woven = glb.texture(128, 128, &weave(128));
    let mut cloth = surface([1.0, 1.0, 1.0], 0.0, 0.95);
    cloth["pbrMetallicRoughness"]["baseColorTexture"] = json!({"index": woven});
    cloth["doubleSided"] = json!(true);
    let cloth = glb.material(cloth);
    let gold = glb.material(surface([1.0, 0.77, 0.34], 1.0, 0.12));
    let copper = glb.material(surface([0.95, 0.64, 0.54], 1.0, 0.38));
    let porcelain = glb.material(surface([0.86, 0.88, 0.90], 0.0, 0.08));
    let apple = glb.material(surface([0.62, 0.05, 0.03], 0.0, 0.22));
    let lime = glb.material(surface([0.36, 0.52, 0.05], 0.0, 0.35));
    let stem = glb.material(surface([0.18, 0.10, 0.05], 0.0, 0.8));
    let mut glass = surface([0.80, 0.95, 0.92], 0.0, 0.02);
    glass["alphaMode"] = json!("BLEND");
    glass["doubleSided"] = json!(true);
    glass["pbrMetallicRoughness"]["baseColorFactor"][3] = json!(0.16);
    let glass = glb.material(glass);

    let ground =
        Shape::quad(Vec3::new(-6.0, 0.0, 6.0), Vec3::X * 12.0, Vec3::NEG_Z * 12.0).with_uv_scale(Vec2::splat(3.0));
    let mesh = glb.mesh("floor", &ground, floor);
    glb.place(mesh, Mat4::IDENTITY);

    // A napkin whose folds fade towards its edges, lying under the vase and over the floor.
    let napkin = Shape::surface(160, 160, |u, v| {
        let (x, z) = ((u - 0.5) * 2.3, (0.5 - v) * 1.7);
        let fold = 0.045 * (x * 5.0 + 1.3 * (z * 2.1).sin()).sin() + 0.03 * (z * 6.3 - x * 2.2).cos();
        Vec3::new(x + 0.05 * (z * 3.0).sin(), 0.085 + fold, z + 0.06 * (x * 2.0).cos())
    })
    .with_uv_scale(Vec2::new(3.0, 2.0));
    let mesh = glb.mesh("napkin", &napkin, cloth);
    glb.place(mesh, Mat4::from_translation(Vec3::new(-0.5, 0.0, 0.35)) * Mat4::from_rotation_y(0.35));

    let vase = Shape::lathe(
        &[
            (0.0, 0.0),
            (0.30, 0.0),
            (0.36, 0.08),
            (0.47, 0.40),
            (0.40, 0.80),
            (0.20, 1.08),
            (0.18, 1.25),
            (0.28, 1.42),
            (0.26, 1.425),
            (0.14, 1.25),
            (0.15, 1.08),
            (0.0, 0.7),
        ],
        96,
        160,
    );
    let mesh = glb.mesh("vase", &vase, porcelain);
    glb.place(mesh, Mat4::from_translation(Vec3::new(-0.85, 0.15, -0.35)));

    let bowl = Shape::lathe(
        &[
            (0.0, 0.03),
            (0.24, 0.0),
            (0.26, 0.05),
            (0.40, 0.16),
            (0.52, 0.36),
            (0.56, 0.56),
            (0.54, 0.56),
            (0.49, 0.37),
            (0.37, 0.19),
            (0.0, 0.09),
        ],
        96,
        120,
    );
    let mesh = glb.mesh("bowl", &bowl, glass);
    glb.place(mesh, Mat4::from_translation(Vec3::new(0.62, 0.0, 0.25)));

    let ball = glb.mesh("ball", &Shape::sphere(64), gold);
    glb.place(ball, Mat4::from_translation(Vec3::new(1.25, 0.42, -0.95)) * Mat4::from_scale(Vec3::splat(0.42)));
    let ring = glb.mesh("ring", &Shape::torus(0.36, 0.11, 64), copper);
    glb.place(ring, Mat4::from_translation(Vec3::new(-0.05, 0.42, -1.05)) * Mat4::from_rotation_x(1.25));

    // An apple is a sphere that is pulled in at its poles.
    let fruit = Shape::surface(96, 64, |u, v| {
        let polar = std::f32::consts::PI * (1.0 - v);
        let azimuth = u * std::f32::consts::TAU;
        let radius = 0.22 * (1.0 - 0.42 * polar.cos().abs().powi(6)) * (1.0 + 0.08 * polar.cos());
        Vec3::new(radius * polar.sin() * azimuth.sin(), radius * polar.cos(), radius * polar.sin() * azimuth.cos())
    });
    let stalk = Shape::lathe(&[(0.0, 0.10), (0.012, 0.10), (0.010, 0.20), (0.016, 0.25), (0.0, 0.25)], 12, 16);
    let [apple, lime, stalk] = [("apple", &fruit, apple), ("lime", &fruit, lime), ("stalk", &stalk, stem)]
        .map(|(name, shape, material)| glb.mesh(name, shape, material));
    for (mesh, at, tilt, scale) in [
        (apple, Vec3::new(0.52, 0.31, 0.32), 0.35, 1.0),
        (lime, Vec3::new(0.78, 0.30, 0.16), -0.5, 0.85),
        (apple, Vec3::new(-0.22, 0.36, 0.62), -0.3, 1.05),
        (lime, Vec3::new(0.02, 0.17, 1.12), 1.2, 0.85),
    ] {
        let matrix = Mat4::from_translation(at) * Mat4::from_rotation_z(tilt) * Mat4::from_scale(Vec3::splat(scale));
        glb.place(mesh, matrix);
        if mesh == apple {
            glb.place(stalk, matrix);
        }
    }
    glb.camera("table", Vec3::new(1.2, 1.9, 4.5), Vec3::new(0.1, 0.60, 0.0), 30.0, 4.0 / 3.0);
    glb.finish()
}
