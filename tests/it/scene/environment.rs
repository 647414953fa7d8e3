//! The environment: its mapping, its alias table, its files and its presets.

use super::files::assets;
use glam::{Vec2, Vec3};
use kiln::gpu_process::protocol::{RunTask, TaskKey};
use kiln::gpu_process::resident::ResidentScenes;
use kiln::job::spec::Preset;
use kiln::job::{AttachedFiles, JobId, JobSpec, TaskKind, TaskPlan};
use kiln::limits;
use kiln::scene::SceneErrorKind;
use kiln::scene::environment::{Environment, direction_of_uv, load, preset, uv_of_direction};
use std::f32::consts::PI;
use std::path::{Path, PathBuf};

fn close(a: f32, b: f32, tolerance: f32) -> bool {
    (a - b).abs() <= tolerance
}

#[test]
fn the_middle_of_the_picture_is_minus_z_and_row_0_is_up() {
    let cases =
        [(Vec3::NEG_Z, Vec2::new(0.5, 0.5)), (Vec3::X, Vec2::new(0.75, 0.5)), (Vec3::NEG_X, Vec2::new(0.25, 0.5))];
    for (direction, uv) in cases {
        assert!(
            uv_of_direction(direction).abs_diff_eq(uv, 1.0e-6),
            "{direction} lies at {}",
            uv_of_direction(direction)
        );
    }
    assert_eq!(uv_of_direction(Vec3::Y).y, 0.0);
    assert_eq!(uv_of_direction(Vec3::NEG_Y).y, 1.0);
    // +Z is the seam.
    let seam = uv_of_direction(Vec3::Z).x;
    assert!(seam == 0.0 || seam > 0.999, "{seam}");
}

#[test]
fn directions_and_places_are_inverse() {
    for y in 0..40 {
        for x in 0..80 {
            let uv = Vec2::new((x as f32 + 0.5) / 80.0, (y as f32 + 0.5) / 40.0);
            let direction = direction_of_uv(uv);
            assert!(close(direction.length(), 1.0, 1.0e-6));
            assert!(
                uv_of_direction(direction).abs_diff_eq(uv, 2.0e-6),
                "{uv} came back as {}",
                uv_of_direction(direction)
            );
        }
    }
}

/// A picture without any symmetry, some of it black.
fn lopsided() -> Environment {
    let texels = (0..32 * 16)
        .map(|index: u32| {
            let value = (index.wrapping_mul(2_654_435_761) >> 20) as f32 / 4096.0;
            if index.is_multiple_of(7) { [0.0; 3] } else { [value, value * value, 40.0 * value.powi(12)] }
        })
        .collect();
    Environment::new(32, 16, texels)
}

#[test]
fn the_alias_table_draws_each_texel_by_luminance_times_sine() {
    let environment = lopsided();
    let count = environment.alias.len();
    assert_eq!(count, 32 * 16);
    let mut probability = vec![0.0_f64; count];
    for (index, entry) in environment.alias.iter().enumerate() {
        assert!((0.0..=1.0).contains(&entry.threshold));
        probability[index] += f64::from(entry.threshold) / count as f64;
        probability[entry.alias as usize] += (1.0 - f64::from(entry.threshold)) / count as f64;
    }
    for (index, probability) in probability.into_iter().enumerate() {
        let [r, g, b] = environment.radiance[index];
        let row = (index / 32) as f32;
        let weight = (0.2126 * r + 0.7152 * g + 0.0722 * b) * ((row + 0.5) / 16.0 * PI).sin();
        let expected = f64::from(weight) / f64::from(environment.weight_sum);
        assert!((probability - expected).abs() < 1.0e-6, "texel {index}: {probability}, expected {expected}");
        assert_eq!(weight == 0.0, probability == 0.0, "texel {index} is black, and drawn");
    }
}

#[test]
fn presets_light_a_white_floor_to_a_known_radiance() {
    for (which, expected) in [(Preset::White, 1.0), (Preset::Studio, 0.9), (Preset::Sky, 0.9), (Preset::Black, 0.0)] {
        let environment = preset(which);
        assert!(environment.radiance.iter().flatten().all(|value| value.is_finite() && *value >= 0.0));
        let mut up = Vec3::ZERO;
        for (index, &texel) in environment.radiance.iter().enumerate() {
            let (x, y) = (index as u32 % environment.width, index as u32 / environment.width);
            let uv =
                Vec2::new((x as f32 + 0.5) / environment.width as f32, (y as f32 + 0.5) / environment.height as f32);
            let solid_angle = 2.0 * PI / environment.width as f32 * PI / environment.height as f32 * (uv.y * PI).sin();
            up += Vec3::from_array(texel) * direction_of_uv(uv).y.max(0.0) * solid_angle / PI;
        }
        let luminance = up.dot(Vec3::new(0.2126, 0.7152, 0.0722));
        assert!(close(luminance, expected, 0.005), "{which:?}: {luminance}");
        assert_eq!(environment.is_black, which == Preset::Black);
        assert_eq!(environment.alias.is_empty(), which == Preset::Black);
    }
}

#[test]
fn radiance_files_of_the_real_world_load() {
    let Some(assets) = assets() else { return };
    for name in ["kiara_1_dawn_1k.hdr", "studio_small_03_1k.hdr"] {
        let environment = load(&assets.join("environments").join(name)).expect(name);
        assert_eq!((environment.width, environment.height), (1024, 512), "{name}");
        assert!(environment.notes.is_empty(), "{name}: {:?}", environment.notes);
        assert!(!environment.is_black);
        let brightest = environment.radiance.iter().flatten().fold(0.0_f32, |a, &b| a.max(b));
        assert!(brightest > 1.0, "{name} has no highlights: {brightest}");
    }
}

/// An EXR of four by two texels, some of them no light.
fn exr_to_repair(folder: &Path) -> PathBuf {
    let path = folder.join("env.exr");
    let values = [[0.25, 1.0, 7.5], [f32::NAN, -1.0, 2.0], [f32::INFINITY, 0.0, 0.0], [1.0e-3, 0.0, 3.0e9]];
    let picture =
        image::Rgb32FImage::from_raw(4, 2, values.iter().chain(&values).flatten().copied().collect()).unwrap();
    picture.save(&path).unwrap();
    path
}

#[test]
fn the_user_is_told_what_was_repaired_in_an_environment() {
    let folder = tempfile::tempdir().unwrap();
    let scene = folder.path().join("scene.glb");
    std::fs::write(&scene, kiln::sample_scenes::cornell_box()).unwrap();
    let (scene_ref, sky_ref) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
    let scenes = ResidentScenes::new(u64::MAX);
    // The second time it is in memory already.
    for (frame, told) in [(0, 2), (0, 2), (1, 0)] {
        let document = serde_json::json!({"kind": "scene", "scene": {"asset": scene_ref},
            "environment": {"asset": sky_ref}, "frames": {"turntable": 3}, "output": {"format": "apng"}});
        let spec = JobSpec::from_document(document, &AttachedFiles::default()).expect("a valid document");
        let json = serde_json::to_string(&spec).unwrap();
        let JobSpec::Scene(spec) = spec else { panic!("it is a scene") };
        let assets = vec![(scene_ref.clone(), scene.clone()), (sky_ref.clone(), exr_to_repair(folder.path()))];
        let task = TaskKey { job: JobId::now_v7(), fence: 1 };
        let mut run = RunTask::still(task, json, assets, folder.path().to_owned());
        run.plan = TaskPlan { first_frame: frame, last_frame: frame, kind: TaskKind::Frames };
        let loaded = kiln::gpu_process::task::load(&run, spec, &scenes);
        let (_, input) = loaded.unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(input.notes.len(), told, "frame {frame}: {:?}", input.notes);
        assert!(told == 0 || input.notes[0].contains("not a number"), "{:?}", input.notes);
    }
}

#[test]
fn an_exr_keeps_its_values_and_what_is_not_light_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = exr_to_repair(folder.path());
    let environment = load(&path).unwrap();
    assert_eq!((environment.width, environment.height), (4, 2));
    assert_eq!(environment.radiance[0], [0.25, 1.0, 7.5]);
    assert_eq!(environment.radiance[1], [0.0, 0.0, 2.0]);
    assert_eq!(environment.radiance[2], [limits::ENVIRONMENT_RADIANCE_MAX, 0.0, 0.0]);
    assert_eq!(environment.radiance[3], [1.0e-3, 0.0, limits::ENVIRONMENT_RADIANCE_MAX]);
    assert_eq!(environment.notes.len(), 2, "{:?}", environment.notes);
}

#[test]
fn a_broken_or_oversized_environment_is_a_typed_error() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let kind = |name: &str, bytes: &[u8]| load(&write(name, bytes)).expect_err(name).kind;
    assert_eq!(kind("empty.hdr", b""), SceneErrorKind::Invalid);
    assert_eq!(kind("png.hdr", b"\x89PNG\r\n\x1a\n"), SceneErrorKind::Invalid);
    assert_eq!(kind("head.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"), SceneErrorKind::Invalid);
    assert_eq!(kind("cut.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 8 +X 16\n\x02\x02"), SceneErrorKind::Invalid);
    assert_eq!(kind("big.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 20000 +X 40000\n"), SceneErrorKind::Limit);
    assert_eq!(kind("cut.exr", &[0x76, 0x2f, 0x31, 0x01, 2, 0, 0, 0]), SceneErrorKind::Invalid);
    assert_eq!(load(&folder.path().join("absent.hdr")).expect_err("absent").kind, SceneErrorKind::Io);
}
