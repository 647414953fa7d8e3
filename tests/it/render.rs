//! Renders of small scenes with known answers, through the device thread.

mod scenes;

use glam::{Affine3A, Vec3, Vec4};
use kiln::path_trace::RenderSettings;
use kiln::scene::{Material, Scene};
use scenes::*;

/// A room with a lamp, a metal sphere and a white one.
fn cornell() -> (Scene, RenderSettings) {
    let paint = |r: f32, g: f32, b: f32| Material { base_color: Vec4::new(r, g, b, 1.0), ..material() };
    let materials = vec![
        paint(0.73, 0.73, 0.73),
        paint(0.65, 0.05, 0.05),
        paint(0.12, 0.45, 0.15),
        Material { emission: Vec3::splat(15.0), ..paint(0.0, 0.0, 0.0) },
        Material { metallic: 1.0, roughness: 0.2, ..paint(0.95, 0.8, 0.4) },
    ];
    let (x, y, z) = (Vec3::X * 2.0, Vec3::Y * 2.0, Vec3::Z * 2.0);
    let low = Vec3::splat(-1.0);
    let meshes = vec![
        quad(low + z, x, -z, 0),
        quad(low + y, x, z, 0),
        quad(low, x, y, 0),
        quad(low + z, -z, y, 1),
        quad(low + x, z, y, 2),
        quad(Vec3::new(-0.3, 0.98, -0.3), Vec3::X * 0.6, Vec3::Z * 0.6, 3),
        sphere(0.4, 24, 4),
        sphere(0.35, 24, 0),
    ];
    let mut places: Vec<(u32, Affine3A)> = (0..6).map(|mesh| (mesh, Affine3A::IDENTITY)).collect();
    places.push((6, Affine3A::from_translation(Vec3::new(-0.45, -0.6, -0.2))));
    places.push((7, Affine3A::from_translation(Vec3::new(0.45, -0.65, 0.3))));
    (scene(meshes, materials, &places), settings(64, 64, 16))
}

#[test]
fn a_renders_bytes_do_not_depend_on_the_batch() {
    let Some(device) = device_or_skip() else { return };
    let run = |slice_paths: Option<u32>| {
        let (scene, settings) = cornell();
        render(device, scene, sky(0.2), RenderSettings { slice_paths, samples: 6, ..settings }).0
    };
    let whole = run(None);
    save(&whole, "cornell");
    for paths in [None, Some(64 * 64 * 6), Some(1000), Some(4096), Some(37)] {
        assert!(run(paths) == whole, "a pool of {paths:?} paths gives other bytes");
    }
}
