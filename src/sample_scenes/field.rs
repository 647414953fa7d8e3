//! A field of stones and shrubs: a few meshes, placed many times. Shows instancing.

use super::{GlbBuilder, Shape};
use glam::{Mat4, Quat, Vec3};
use serde_json::json;
use std::f32::consts::{PI, TAU};

/// A tiny generator of repeatable numbers in [0, 1) (PCG, O'Neill 2014, RXS-M-XS 32).
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let word = ((self.0 >> ((self.0 >> 28) + 4)) ^ self.0).wrapping_mul(277_803_737);
        ((word >> 22) ^ word) as f32 / 4_294_967_808.0
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next()
    }
}

/// Height of the ground in metres.
fn ground(x: f32, z: f32) -> f32 {
    0.8 * (x * 0.11).sin() * (z * 0.13 + 1.0).cos() + 0.25 * (x * 0.37 + z * 0.29).sin()
}

/// A stone: a sphere with soft dents.
fn stone(seed: u32, segments: u32) -> Shape {
    let mut numbers = Numbers(seed);
    let waves: Vec<(Vec3, f32)> = (0..6)
        .map(|_| {
            let axis = Vec3::new(numbers.between(-1.0, 1.0), numbers.between(-1.0, 1.0), numbers.between(-1.0, 1.0));
            (axis * 3.0, numbers.between(0.0, TAU))
        })
        .collect();
    Shape::surface(segments * 2, segments, |u, v| {
        // A full turn must close exactly, so the seam uses the same angle on both sides.
        let (azimuth, polar) = ((u.fract()) * TAU, PI * (1.0 - v));
        let direction = Vec3::new(polar.sin() * azimuth.sin(), polar.cos(), polar.sin() * azimuth.cos());
        let dents: f32 = waves.iter().map(|(axis, phase)| 0.06 * (axis.dot(direction) + phase).sin()).sum();
        direction * (1.0 + dents)
    })
}

/// A shrub: many bent blades around a point.
fn shrub(seed: u32, blades: u32) -> Shape {
    let mut numbers = Numbers(seed);
    let mut shape = Shape::default();
    for _ in 0..blades {
        let azimuth = numbers.between(0.0, TAU);
        let (lean, length) = (numbers.between(0.1, 1.1), numbers.between(0.6, 1.3));
        let out = Vec3::new(azimuth.sin(), 0.0, azimuth.cos());
        let side = Vec3::new(azimuth.cos(), 0.0, -azimuth.sin());
        shape.append(&Shape::surface(1, 6, |u, v| {
            let width = 0.035 * (1.0 - v * v);
            out * (lean * v * v * length + 0.05)
                + Vec3::Y * (length * (v - 0.3 * lean * v * v))
                + side * (u - 0.5) * width
        }));
    }
    shape
}

/// A field whose instances add up to at least `triangles` triangles, out of about 15,000 in memory; camera `view`.
pub fn field(triangles: u64) -> Vec<u8> {
    let mut glb = GlbBuilder::new();
    let matte = |rgb: [f32; 3], roughness: f32| {
        json!({"doubleSided": true, "pbrMetallicRoughness": {"baseColorFactor": [rgb[0], rgb[1], rgb[2], 1.0],
            "metallicFactor": 0.0, "roughnessFactor": roughness}})
    };
    let soil = glb.material(matte([0.30, 0.22, 0.13], 0.95));
    let stones = [glb.material(matte([0.42, 0.40, 0.38], 0.7)), glb.material(matte([0.52, 0.45, 0.36], 0.8))];
    let leaves = [glb.material(matte([0.16, 0.33, 0.06], 0.6)), glb.material(matte([0.38, 0.40, 0.08], 0.6))];

    let earth = Shape::surface(48, 48, |u, v| {
        let (x, z) = ((u - 0.5) * 90.0, (0.5 - v) * 90.0);
        Vec3::new(x, ground(x, z), z)
    });
    let mesh = glb.mesh("ground", &earth, soil);
    glb.place(mesh, Mat4::IDENTITY);

    let mut kinds = Vec::new();
    for (index, material) in stones.into_iter().enumerate() {
        let shape = stone(17 + index as u32, 28);
        kinds.push((glb.mesh("stone", &shape, material), shape.indices.len() as u64 / 3, 0.12, 0.55));
    }
    for (index, material) in leaves.into_iter().enumerate() {
        let shape = shrub(91 + index as u32, 130);
        kinds.push((glb.mesh("shrub", &shape, material), shape.indices.len() as u64 / 3, 0.5, 1.1));
    }

    let mut numbers = Numbers(2026);
    let mut placed = earth.indices.len() as u64 / 3;
    while placed < triangles {
        let pick = numbers.next();
        let kind = if pick < 0.1 {
            0
        } else if pick < 0.2 {
            1
        } else if pick < 0.65 {
            2
        } else {
            3
        };
        let (mesh, count, small, large) = kinds[kind];
        let (x, z) = (numbers.between(-26.0, 26.0), numbers.between(-34.0, 12.0));
        let scale = numbers.between(small, large);
        let turn = Quat::from_rotation_y(numbers.between(0.0, TAU)) * Quat::from_rotation_x(numbers.between(-0.2, 0.2));
        glb.place(mesh, Mat4::from_scale_rotation_translation(Vec3::splat(scale), turn, Vec3::new(x, ground(x, z), z)));
        placed += count;
    }
    glb.camera("view", Vec3::new(0.0, 4.2, 15.5), Vec3::new(0.0, 0.2, -4.0), 42.0, 4.0 / 3.0);
    glb.finish()
}
