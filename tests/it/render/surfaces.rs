//! Surfaces: which side, how much of it is there, textures, and hostile geometry.

use super::scenes::*;
use glam::{Affine3A, Vec2, Vec3, Vec4};
use kiln::image::Film;
use kiln::path_trace::{Background, RenderSettings};
use kiln::scene::{AlphaMode, Camera, Material, Projection, Scene, Texture, TextureRef, Wrap};

/// An orthographic view of [−1, 1]² from +Z.
fn flat(width: u32, samples: u32) -> RenderSettings {
    let camera = Camera { projection: Projection::Orthographic { half_height: 1.0 }, ..camera(3.0, 1.0) };
    let background = Background::Transparent;
    RenderSettings { camera, background, max_bounces: 1, ..settings(width, width, samples) }
}

/// A quad over all of the view.
fn screen(material: u32) -> kiln::scene::Mesh {
    quad(Vec3::new(-1.5, -1.5, 0.0), Vec3::X * 3.0, Vec3::Y * 3.0, material)
}

fn alpha_mean(film: &Film) -> f32 {
    film.rgba.iter().map(|pixel| pixel[3]).sum::<f32>() / film.rgba.len() as f32
}

#[test]
fn a_back_face_is_absent_unless_it_is_double_sided() {
    let Some(device) = device_or_skip() else { return };
    let turned = Affine3A::from_rotation_y(std::f32::consts::PI);
    let mirrored = Affine3A::from_scale(Vec3::new(-1.0, 1.0, 1.0));
    let flipped = Affine3A::from_scale(Vec3::new(1.0, 1.0, -1.0));
    for (name, transform, double_sided, there) in [
        ("front", Affine3A::IDENTITY, false, true),
        ("back", turned, false, false),
        ("double-sided back", turned, true, true),
        // A mirrored mesh keeps its front: glTF 2.0, 3.7.2.1 turns the winding around.
        ("mirrored front", mirrored, false, true),
        ("mirrored through its own plane", flipped, false, false),
    ] {
        let material = Material { double_sided, ..material() };
        let scene = scene(vec![screen(0)], vec![material], &[(0, transform)]);
        let (film, _) = render(device, scene, sky(1.0), flat(8, 4));
        assert_eq!(alpha_mean(&film), if there { 1.0 } else { 0.0 }, "{name}");
        if there {
            assert!(mean(&film) > 0.8, "{name} is dark: {}", mean(&film));
        }
    }
}

#[test]
fn a_mask_cuts_at_its_cutoff() {
    let Some(device) = device_or_skip() else { return };
    for (alpha, cutoff, there) in [(0.4, 0.5, 0.0), (0.6, 0.5, 1.0), (0.5, 0.5, 1.0), (1.0, 1.5, 0.0), (0.0, 0.0, 1.0)]
    {
        let masked = Material {
            base_color: Vec4::new(1.0, 1.0, 1.0, alpha),
            alpha_mode: AlphaMode::Mask { cutoff },
            ..material()
        };
        let (film, _) = render(device, placed(vec![screen(0)], vec![masked]), sky(1.0), flat(8, 4));
        assert_eq!(alpha_mean(&film), there, "alpha {alpha}, cutoff {cutoff}");
    }
}

#[test]
fn a_blended_surface_is_there_as_often_as_its_alpha_says_and_shades_what_is_below() {
    let Some(device) = device_or_skip() else { return };
    let blended = Material { base_color: Vec4::new(1.0, 1.0, 1.0, 0.25), alpha_mode: AlphaMode::Blend, ..material() };
    let (film, _) = render(device, placed(vec![screen(0)], vec![blended.clone()]), sky(1.0), flat(32, 64));
    assert!((alpha_mean(&film) - 0.25).abs() < 0.01, "alpha {}", alpha_mean(&film));

    // Two layers: 1 − 0.75².
    let behind = quad(Vec3::new(-1.5, -1.5, -0.5), Vec3::X * 3.0, Vec3::Y * 3.0, 0);
    let (film, _) = render(device, placed(vec![screen(0), behind], vec![blended.clone()]), sky(1.0), flat(32, 64));
    assert!((alpha_mean(&film) - 0.4375).abs() < 0.01, "alpha of two {}", alpha_mean(&film));

    // Light from a lamp straight behind the camera passes a black veil three times out of four.
    let lamp = kiln::scene::PunctualLight::Directional { direction_world: Vec3::NEG_Z, irradiance: Vec3::ONE };
    let veil = Material { base_color: Vec4::new(0.0, 0.0, 0.0, 0.25), double_sided: true, ..blended };
    let lit = |veiled: bool| {
        let mut meshes = vec![quad(Vec3::new(-1.5, -1.5, -0.5), Vec3::X * 3.0, Vec3::Y * 3.0, 0)];
        if veiled {
            // Above the camera, so that only the light passes it.
            meshes.push(quad(Vec3::new(-3.0, -3.0, 4.0), Vec3::X * 6.0, Vec3::Y * 6.0, 1));
        }
        let mut scene = placed(meshes, vec![material(), veil.clone()]);
        scene.lights.push(lamp);
        mean(&render(device, scene, sky(0.0), flat(32, 64)).0)
    };
    let (clear, veiled) = (lit(false), lit(true));
    assert!((veiled / clear - 0.75).abs() < 0.02, "clear {clear}, veiled {veiled}");
}

/// Renders a quad whose UVs run over `uv_min` … `uv_max`, glowing with a 2×2 picture.
fn textured(wrap: Wrap, linear_filter: bool, srgb: bool, uv_min: f32, uv_max: f32) -> Option<Film> {
    let device = device_or_skip()?;
    let mut glow = Material { emission: Vec3::ONE, ..material() };
    glow.emission_texture = Some(TextureRef { texture: 0, uv_set: 0 });
    let mut screen = quad(Vec3::new(-1.0, -1.0, 0.0), Vec3::X * 2.0, Vec3::Y * 2.0, 0);
    let span = uv_max - uv_min;
    screen.uv0 = screen.uv0.iter().map(|uv| Vec2::splat(uv_min) + *uv * span).collect();
    let mut scene = placed(vec![screen], vec![glow]);
    let gray = |value: u8| [value, value, value, 255];
    let rgba8 = [gray(0), gray(255), gray(128), gray(64)].concat();
    texture(&mut scene, 2, rgba8, Texture { image: 0, wrap_u: wrap, wrap_v: wrap, linear_filter, srgb });
    let settings = RenderSettings { max_bounces: 0, background: Background::Environment, ..flat(64, 16) };
    Some(render(device, scene, sky(0.0), settings).0)
}

#[test]
fn the_nearest_texel_is_taken_without_a_filter_and_rows_start_at_the_top() {
    let Some(film) = textured(Wrap::Repeat, false, false, 0.0, 1.0) else { return };
    for (x, y, value) in [(16, 16, 0.0), (48, 16, 1.0), (16, 48, 128.0 / 255.0), (48, 48, 64.0 / 255.0)] {
        assert!((red(&film, x, y) - value).abs() < 1e-5, "at {x}, {y}: {} instead of {value}", red(&film, x, y));
    }
}

#[test]
fn srgb_texels_are_decoded() {
    let Some(film) = textured(Wrap::Repeat, false, true, 0.0, 1.0) else { return };
    let expected = kiln::image::linear_from_srgb(128.0 / 255.0);
    assert!((red(&film, 16, 48) - expected).abs() < 1e-4, "{} instead of {expected}", red(&film, 16, 48));
}

#[test]
fn coordinates_outside_are_wrapped_as_the_sampler_says() {
    // UVs from −1 to 2: 64 pixels are 6 texels. Texel columns −2 … 3 of the row with texels 0 and 255.
    let top_row = [
        (Wrap::Repeat, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
        (Wrap::Clamp, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
        (Wrap::Mirror, [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]),
    ];
    for (wrap, expected) in top_row {
        let Some(film) = textured(wrap, false, false, -1.0, 2.0) else { return };
        // Texel row 0 is the third of six: pixel rows 21 to 32.
        for (column, value) in expected.into_iter().enumerate() {
            let x = (64.0 * (column as f32 + 0.5) / 6.0) as u32;
            assert!((red(&film, x, 26) - value).abs() < 1e-5, "{wrap:?}, column {column}: {}", red(&film, x, 26));
        }
    }
}

#[test]
fn the_bilinear_filter_is_linear_between_texel_centres() {
    let Some(film) = textured(Wrap::Clamp, true, false, 0.0, 1.0) else { return };
    // From the centre of texel 0 (pixel 16) to that of texel 1 (pixel 48), above both rows' centres.
    for x in [20, 32, 40] {
        let expected = (x as f32 + 0.5 - 16.0) / 32.0;
        assert!((red(&film, x, 4) - expected).abs() < 0.02, "at {x}: {} instead of {expected}", red(&film, x, 4));
    }
}

#[test]
fn a_normal_map_tilts_the_surface_along_the_tangent() {
    let Some(device) = device_or_skip() else { return };
    // Light along (1, 0, 1)/√2; a map that leans towards +tangent must be brighter than one that leans away.
    let run = |x: u8, mirror: f32| {
        let mut mapped = material();
        mapped.normal_texture = Some(TextureRef { texture: 0, uv_set: 0 });
        let mut screen = screen(0);
        screen.tangents = vec![Vec4::new(1.0, 0.0, 0.0, 1.0); 4];
        let mut scene = scene(vec![screen], vec![mapped], &[(0, Affine3A::from_scale(Vec3::new(mirror, 1.0, 1.0)))]);
        texture(
            &mut scene,
            1,
            vec![x, 128, 230, 255],
            Texture { image: 0, wrap_u: Wrap::Repeat, wrap_v: Wrap::Repeat, linear_filter: true, srgb: false },
        );
        let direction_world = Vec3::new(-1.0, 0.0, -1.0).normalize();
        scene.lights.push(kiln::scene::PunctualLight::Directional { direction_world, irradiance: Vec3::ONE });
        mean(&render(device, scene, sky(0.0), flat(8, 16)).0)
    };
    let (toward, away) = (run(200, 1.0), run(55, 1.0));
    assert!(toward > 1.3 * away, "toward {toward}, away {away}");
    let mirrored = run(200, -1.0);
    assert!((mirrored - away).abs() < 0.02 * away, "mirrored {mirrored}, away {away}");
}

#[test]
fn vertex_colours_multiply_the_base_colour() {
    let Some(device) = device_or_skip() else { return };
    let run = |color: Option<f32>| {
        let mut screen = screen(0);
        if let Some(value) = color {
            screen.colors = vec![Vec4::new(value, value, value, 1.0); 4];
        }
        let metal = Material { metallic: 1.0, roughness: 0.0, ..material() };
        mean(&render(device, placed(vec![screen], vec![metal]), sky(1.0), flat(8, 8)).0)
    };
    let (plain, tinted) = (run(None), run(Some(0.5)));
    assert!((tinted / plain - 0.5).abs() < 0.01, "plain {plain}, tinted {tinted}");
}

#[test]
fn hostile_geometry_makes_no_sample_that_is_not_a_number() {
    let Some(device) = device_or_skip() else { return };
    let mut bad = sphere(0.5, 8, 0);
    // Zero normals, zero and opposing tangents, all UVs in one point or not finite, slivers.
    bad.normals[3] = Vec3::ZERO;
    bad.normals[40] = Vec3::NEG_Z * 1.0e-30;
    bad.tangents = vec![Vec4::new(0.0, 0.0, 0.0, 1.0); bad.positions.len()];
    bad.uv0 = vec![Vec2::new(f32::MAX, f32::NAN); bad.positions.len()];
    let sliver = mesh(
        vec![Vec3::ZERO, Vec3::X, Vec3::X * 2.0, Vec3::splat(1.0e-20), Vec3::Y * 1.0e-20, Vec3::Z * 1.0e-19],
        vec![[0, 1, 2], [3, 4, 5], [0, 0, 0]],
        vec![Vec3::ZERO; 6],
        vec![Vec2::ZERO; 6],
        1,
    );
    let far = quad(Vec3::new(-1.0e18, -1.0e18, -1.0e15), Vec3::X * 2.0e18, Vec3::Y * 2.0e18, 2);
    let mut shiny = Material { metallic: 1.0, roughness: 0.0, double_sided: true, ..material() };
    shiny.normal_texture = Some(TextureRef { texture: 0, uv_set: 0 });
    let glow = Material { emission: Vec3::splat(1.0e6), roughness: 0.0, double_sided: true, ..material() };
    let black = Material { base_color: Vec4::ZERO, roughness: 0.0, ..material() };
    let squash = Affine3A::from_scale(Vec3::new(1.0e-6, 1.0, 1.0e6));
    let places = [(0, Affine3A::IDENTITY), (0, squash), (1, Affine3A::IDENTITY), (2, Affine3A::IDENTITY)];
    let mut scene: Scene = scene(vec![bad, sliver, far], vec![shiny, glow, black], &places);
    let wrap = Texture { linear_filter: true, image: 0, wrap_u: Wrap::Mirror, wrap_v: Wrap::Repeat, srgb: false };
    texture(&mut scene, 2, vec![0; 16], wrap);
    scene.lights.push(kiln::scene::PunctualLight::Point {
        position_world: Vec3::new(0.0, 0.0, 0.5),
        intensity: Vec3::splat(1.0e6),
        range: 0.0,
    });
    let settings = RenderSettings { max_bounces: 6, ..settings(48, 48, 16) };
    let (film, stats) = render(device, scene, sky(1.0), settings);
    assert_eq!(stats.nan_pixels, 0);
    assert!(film.rgba.iter().flatten().all(|channel| channel.is_finite()));
}
