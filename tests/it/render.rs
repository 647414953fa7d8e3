//! Renders of small scenes with known answers, through the device thread.

mod device;
mod memory;
mod scenes;
mod surfaces;
mod traversal;

use glam::{Affine3A, Vec3, Vec4};
use kiln::path_trace::{Background, RenderSettings};
use kiln::scene::environment::Environment;
use kiln::scene::{Material, PunctualLight, Scene};
use scenes::*;

/// A room with a lamp, a metal sphere and a white one.
pub fn cornell() -> (Scene, RenderSettings) {
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
    for paths in [None, Some(64 * 64 * 6), Some(1000), Some(4096), Some(337)] {
        assert!(run(paths) == whole, "a pool of {paths:?} paths gives other bytes");
    }
}

#[test]
fn another_seed_gives_another_picture_of_the_same_brightness() {
    let Some(device) = device_or_skip() else { return };
    let run = |seed: u32| {
        let (scene, settings) = cornell();
        render(device, scene, sky(0.2), RenderSettings { seed, ..settings }).0
    };
    let (a, b) = (run(1), run(2));
    assert!(a != b, "the seed has no effect");
    let (a, b) = (mean(&a), mean(&b));
    assert!((a - b).abs() < 0.05 * a, "seeds disagree on the mean: {a} and {b}");
}

#[test]
fn every_pixel_of_any_size_is_rendered_once() {
    let Some(device) = device_or_skip() else { return };
    for (width, height) in [(1, 1), (13, 7), (8, 8), (65, 3), (3, 130)] {
        let settings = RenderSettings { background: Background::Color([0.25, 0.5, 4.0]), ..settings(width, height, 3) };
        let (film, stats) = render(device, Scene::default(), sky(1.0), settings);
        assert_eq!(stats.rays_primary, u64::from(width * height * 3), "{width}×{height}");
        assert_eq!(film.samples, 3);
        assert!(film.rgba.iter().all(|pixel| *pixel == [0.25, 0.5, 4.0, 1.0]), "{width}×{height}: {:?}", film.rgba[0]);
    }
}

#[test]
fn a_transparent_background_has_no_alpha_and_still_lights() {
    let Some(device) = device_or_skip() else { return };
    let settings = RenderSettings { background: Background::Transparent, ..settings(32, 32, 8) };
    let (film, _) = render(device, placed(vec![sphere(0.6, 32, 0)], vec![material()]), sky(1.0), settings);
    assert_eq!(film.rgba[0], [0.0; 4]);
    let middle = film.rgba[16 * 32 + 16];
    assert_eq!(middle[3], 1.0);
    assert!(middle[0] > 0.9, "{middle:?}");
}

/// Mean of the pixels well inside of a sphere that fills most of the picture.
fn middle_mean(film: &kiln::image::Film) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for y in film.height / 4..film.height * 3 / 4 {
        for x in film.width / 4..film.width * 3 / 4 {
            sum += f64::from(red(film, x, y));
            count += 1.0;
        }
    }
    sum / count
}

#[test]
fn a_white_sphere_is_invisible_in_a_white_furnace() {
    let Some(device) = device_or_skip() else { return };
    for (metallic, roughness) in [(0.0, 1.0), (0.0, 0.3), (1.0, 0.0), (1.0, 0.5), (1.0, 1.0), (0.5, 0.6)] {
        let material = Material { metallic, roughness, ..material() };
        let settings = RenderSettings { max_bounces: 16, camera: camera(3.0, 36.0), ..settings(32, 32, 32) };
        let (film, stats) = render(device, placed(vec![sphere(1.0, 96, 0)], vec![material]), sky(1.0), settings);
        let mean = middle_mean(&film);
        assert!((mean - 1.0).abs() < 0.01, "metallic {metallic}, roughness {roughness}: {mean}");
        assert_eq!(stats.nan_pixels, 0);
    }
}

#[test]
fn a_white_sphere_is_invisible_in_a_box_that_glows() {
    let Some(device) = device_or_skip() else { return };
    // The walls face inwards: all light comes from emissive triangles, by next-event estimation and by chance.
    let glow =
        Material { emission: Vec3::ONE, base_color: Vec4::new(0.0, 0.0, 0.0, 1.0), roughness: 1.0, ..material() };
    let (x, y, z) = (Vec3::X * 8.0, Vec3::Y * 8.0, Vec3::Z * 8.0);
    let low = Vec3::splat(-4.0);
    let meshes = vec![
        quad(low + z, x, -z, 1),
        quad(low + y, x, z, 1),
        quad(low, x, y, 1),
        quad(low + x + z, -x, y, 1),
        quad(low + z, -z, y, 1),
        quad(low + x, z, y, 1),
        sphere(1.0, 96, 0),
    ];
    let settings = RenderSettings { max_bounces: 12, camera: camera(3.0, 36.0), ..settings(32, 32, 64) };
    let (film, _) = render(device, placed(meshes, vec![material(), glow]), sky(0.0), settings);
    // The walls' own surface reflects 4 % and more of what comes, so they are a little brighter than 1.
    let wall = f64::from(red(&film, 0, 0));
    let mean = middle_mean(&film);
    assert!((1.0..1.12).contains(&wall), "wall {wall}");
    assert!(mean > 0.99 && mean < 1.12, "sphere {mean} in a wall of {wall}");
}

/// A white floor at y = 0 under a camera that looks straight down at it.
fn floor() -> (Scene, RenderSettings) {
    let floor = quad(Vec3::new(-4.0, 0.0, 4.0), Vec3::X * 8.0, Vec3::Z * -8.0, 0);
    let settings = RenderSettings { max_bounces: 1, camera: above(3.0, 40.0), ..settings(16, 16, 64) };
    (placed(vec![floor], vec![material()]), settings)
}

#[test]
fn a_small_glowing_sphere_lights_like_a_point_light_of_its_intensity() {
    let Some(device) = device_or_skip() else { return };
    let (radius, radiance) = (0.05_f32, 100.0_f32);
    // Out of the picture, which would show the sphere and not the point.
    let position_world = Vec3::new(1.4, 0.8, 0.3);
    let intensity = Vec3::splat(radiance * std::f32::consts::PI * radius * radius);
    let (mut point, settings) = floor();
    point.lights.push(PunctualLight::Point { position_world, intensity, range: 0.0 });
    let (by_point, _) = render(device, point, sky(0.0), settings.clone());

    let glow = Material { emission: Vec3::splat(radiance), ..material() };
    let meshes = vec![quad(Vec3::new(-4.0, 0.0, 4.0), Vec3::X * 8.0, Vec3::Z * -8.0, 0), sphere(radius, 32, 1)];
    let places = [(0, Affine3A::IDENTITY), (1, Affine3A::from_translation(position_world))];
    let lamp = scene(meshes, vec![material(), glow], &places);
    let (by_sphere, _) = render(device, lamp, sky(0.0), settings);
    let (a, b) = (mean(&by_point), mean(&by_sphere));
    assert!(a > 0.0 && (a - b).abs() < 0.02 * a, "point {a}, sphere {b}");
}

#[test]
fn a_spot_is_a_point_light_inside_its_cone_and_nothing_outside() {
    let Some(device) = device_or_skip() else { return };
    let position_world = Vec3::new(0.0, 1.0, 0.0);
    let intensity = Vec3::splat(2.0);
    let (mut point, settings) = floor();
    point.lights.push(PunctualLight::Point { position_world, intensity, range: 0.0 });
    let (mut spot, _) = floor();
    spot.lights.push(PunctualLight::Spot {
        position_world,
        direction_world: Vec3::NEG_Y,
        intensity,
        range: 0.0,
        inner_cone: 0.3,
        outer_cone: 0.35,
    });
    let (by_point, _) = render(device, point, sky(0.0), settings.clone());
    let (by_spot, _) = render(device, spot, sky(0.0), settings);
    let (a, b) = (red(&by_point, 8, 8), red(&by_spot, 8, 8));
    assert!(a > 0.0 && (a - b).abs() < 1e-4 * a, "inside: point {a}, spot {b}");
    assert_eq!(red(&by_spot, 1, 1), 0.0);
}

#[test]
fn a_small_bright_patch_of_sky_lights_like_a_directional_light() {
    let Some(device) = device_or_skip() else { return };
    let (width, height) = (512, 256);
    let mut radiance = vec![[0.0; 3]; width * height];
    // A texel a quarter of the way down: 45° up, and its irradiance on a facing surface.
    let (x, y, value) = (400_usize, 64_usize, 5000.0_f32);
    radiance[y * width + x] = [value; 3];
    let direction = kiln::scene::environment::direction_of_uv(glam::Vec2::new(
        (x as f32 + 0.5) / width as f32,
        (y as f32 + 0.5) / height as f32,
    ));
    let side = std::f32::consts::PI / height as f32;
    let irradiance = Vec3::splat(value * side * side * (direction.x.hypot(direction.z)));
    let (scene, settings) = floor();
    let turned = RenderSettings { environment_rotation_rad: 0.7, ..settings.clone() };
    let (by_sky, _) = render(device, scene, Environment::new(width as u32, height as u32, radiance), turned);
    let (mut sun, _) = floor();
    let turn = glam::Quat::from_rotation_y(0.7);
    sun.lights.push(PunctualLight::Directional { direction_world: -(turn * direction), irradiance });
    let (by_sun, _) = render(device, sun, sky(0.0), settings);
    // The sky's texel is filtered: it shines over four texels' area, with the same flux.
    let (a, b) = (mean(&by_sky), mean(&by_sun));
    assert!(b > 0.0 && (a - b).abs() < 0.03 * b, "sky {a}, sun {b}");
}

#[test]
fn the_environment_turns_counter_clockwise_seen_from_above() {
    let Some(device) = device_or_skip() else { return };
    // Bright towards +X only. Turned by 90°, it is bright towards −Z, where the camera looks.
    let (width, height) = (64_u32, 32_u32);
    let radiance = (0..width * height)
        .map(|i| {
            let uv = glam::Vec2::new(((i % width) as f32 + 0.5) / 64.0, ((i / width) as f32 + 0.5) / 32.0);
            let d = kiln::scene::environment::direction_of_uv(uv);
            [if d.x > 0.7 { 1.0 } else { 0.0 }; 3]
        })
        .collect();
    let environment = Environment::new(width, height, radiance);
    let look = |turn: f32| {
        let settings = RenderSettings { environment_rotation_rad: turn, ..settings(8, 8, 4) };
        mean(&render(device, Scene::default(), environment.clone(), settings).0)
    };
    let quarter = std::f32::consts::FRAC_PI_2;
    assert_eq!(look(0.0), 0.0);
    assert_eq!(look(-quarter), 0.0);
    assert!((look(quarter) - 1.0).abs() < 1e-3);
}

#[test]
fn clamping_only_darkens_what_is_indirect() {
    let Some(device) = device_or_skip() else { return };
    let run = |clamp_indirect: f32, max_bounces: u32| {
        let (scene, settings) = cornell();
        mean(&render(device, scene, sky(0.0), RenderSettings { clamp_indirect, max_bounces, ..settings }).0)
    };
    assert_eq!(run(0.01, 1), run(0.0, 1), "direct light was clamped");
    assert!(run(0.01, 4) < 0.9 * run(0.0, 4), "indirect light was not clamped");
}
