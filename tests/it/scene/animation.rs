//! Animations sampled at a time, with exact values.

use super::builder::{Builder, load_bytes};
use glam::{Quat, Vec3};
use kiln::job::spec::{AnimationSpec, NameOrIndex};
use kiln::scene::{LoadOptions, Scene, SceneError};
use serde_json::json;

/// The triangle with a clip "move" that has one channel.
fn clip(path: &str, interpolation: &str, times: &[f32], kind: &str, values: &[f32]) -> Builder {
    let mut builder = Builder::triangle();
    let input = builder.floats("SCALAR", times);
    let output = builder.floats(kind, values);
    builder.json["animations"] = json!([{
        "name": "move",
        "channels": [{ "sampler": 0, "target": { "node": 0, "path": path } }],
        "samplers": [{ "input": input, "output": output, "interpolation": interpolation }]
    }]);
    builder
}

fn at(builder: &Builder, clip: Option<NameOrIndex>, time_s: f32) -> Result<Scene, SceneError> {
    load_bytes(&builder.glb(), &LoadOptions { animation: Some(AnimationSpec { clip, time_s }) })
}

fn x(builder: &Builder, time_s: f32) -> f32 {
    at(builder, None, time_s).unwrap().instances[0].world_from_object.translation.x
}

const MOVES: [f32; 9] = [0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 40.0, 0.0, 0.0];

#[test]
fn linear_curves_interpolate_and_stop_at_their_ends() {
    let builder = clip("translation", "LINEAR", &[1.0, 2.0, 4.0], "VEC3", &MOVES);
    for (time, expected) in
        [(-5.0, 0.0), (0.0, 0.0), (1.0, 0.0), (1.25, 2.5), (2.0, 10.0), (3.0, 25.0), (4.0, 40.0), (99.0, 40.0)]
    {
        assert_eq!(x(&builder, time), expected, "at {time} s");
    }
}

#[test]
fn step_curves_hold_until_the_next_key() {
    let builder = clip("translation", "STEP", &[1.0, 2.0, 4.0], "VEC3", &MOVES);
    for (time, expected) in [(0.0, 0.0), (1.99, 0.0), (2.0, 10.0), (3.99, 10.0), (4.0, 40.0), (5.0, 40.0)] {
        assert_eq!(x(&builder, time), expected, "at {time} s");
    }
}

#[test]
fn cubic_splines_follow_hermite() {
    // In-tangent, value, out-tangent of two keys, 2 s apart.
    let values = [[0.0; 3], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0; 3]].concat();
    let builder = clip("translation", "CUBICSPLINE", &[0.0, 2.0], "VEC3", &values);
    assert_eq!((x(&builder, -1.0), x(&builder, 0.0), x(&builder, 2.0), x(&builder, 3.0)), (1.0, 1.0, 5.0, 5.0));
    // s = 1/2: (p0 + p1) / 2 + span (m0 − m1) / 8.
    assert_eq!(x(&builder, 1.0), 3.0 + 2.0 * (3.0 + 2.0) / 8.0);
    // s = 1/4: 0.84375 p0 + span 0.140625 m0 + 0.15625 p1 − span 0.046875 m1.
    assert_eq!(x(&builder, 0.5), 0.84375 + 2.0 * 0.140_625 * 3.0 + 0.15625 * 5.0 + 2.0 * 0.046_875 * 2.0);
}

#[test]
fn rotations_take_the_shorter_arc() {
    let end = Quat::from_rotation_z(1.0);
    for sign in [1.0, -1.0] {
        let values: Vec<f32> = Quat::IDENTITY.to_array().into_iter().chain((end * sign).to_array()).collect();
        let builder = clip("rotation", "LINEAR", &[0.0, 1.0], "VEC4", &values);
        let scene = at(&builder, None, 0.25).unwrap();
        let turned = scene.instances[0].world_from_object.transform_vector3(Vec3::X);
        let expected = Vec3::new(0.25_f32.cos(), 0.25_f32.sin(), 0.0);
        assert!(turned.abs_diff_eq(expected, 1.0e-5), "{turned}, expected {expected}");
    }
}

#[test]
fn normalised_integers_animate_too() {
    let mut builder = clip("rotation", "STEP", &[0.0], "VEC4", &[0.0; 4]);
    let bytes: Vec<u8> = [0_i16, 0, 32767, 0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let output = builder.accessor("VEC4", 5122, 1, &bytes);
    builder.json["accessors"][output as usize]["normalized"] = json!(true);
    builder.json["animations"][0]["samplers"][0]["output"] = json!(output);
    let scene = at(&builder, None, 0.0).unwrap();
    let turned = scene.instances[0].world_from_object.transform_vector3(Vec3::X);
    assert!(turned.abs_diff_eq(Vec3::NEG_X, 1.0e-6), "{turned}");
}

#[test]
fn scales_and_weights_are_animated() {
    let scene = at(&clip("scale", "LINEAR", &[0.0, 1.0], "VEC3", &[1.0, 1.0, 1.0, 3.0, 5.0, 7.0]), None, 0.5).unwrap();
    assert_eq!(scene.instances[0].world_from_object.transform_vector3(Vec3::ONE), Vec3::new(2.0, 3.0, 4.0));

    let mut builder = clip("weights", "LINEAR", &[0.0, 1.0], "SCALAR", &[0.0, 0.0, 1.0, 4.0]);
    let up = builder.floats("VEC3", &[0.0, 0.0, 1.0].repeat(3));
    let back = builder.floats("VEC3", &[0.0, 0.0, -0.5].repeat(3));
    builder.json["meshes"][0]["primitives"][0]["targets"] = json!([{ "POSITION": up }, { "POSITION": back }]);
    let scene = at(&builder, None, 0.5).unwrap();
    // 0.5 × 1 + 2 × −0.5.
    assert!(scene.meshes[0].positions.iter().all(|position| position.z == -0.5), "{:?}", scene.meshes[0].positions);
}

#[test]
fn clips_are_found_by_name_and_index_and_an_unknown_one_names_those_there() {
    let builder = clip("translation", "STEP", &[0.0], "VEC3", &[7.0, 0.0, 0.0]);
    for clip in [None, Some(NameOrIndex::Index(0)), Some(NameOrIndex::Name("move".to_owned()))] {
        assert_eq!(at(&builder, clip, 0.0).unwrap().instances[0].world_from_object.translation.x, 7.0);
    }
    for clip in [NameOrIndex::Index(1), NameOrIndex::Name("Move".to_owned())] {
        let error = at(&builder, Some(clip), 0.0).unwrap_err();
        assert!(error.message.contains("0 \"move\""), "{error}");
    }
    assert!(at(&Builder::triangle(), None, 0.0).unwrap_err().message.contains("it has none"));
    assert_eq!(builder.load().unwrap().instances[0].world_from_object.translation.x, 0.0, "no animation is asked for");
}

#[test]
fn broken_samplers_are_typed_errors() {
    let error = |builder: Builder| at(&builder, None, 0.5).unwrap_err().message;
    assert!(error(clip("translation", "LINEAR", &[0.0, 1.0], "VEC3", &[0.0; 3])).contains("expected 2"));
    assert!(error(clip("translation", "WARP", &[0.0, 1.0], "VEC3", &[0.0; 6])).contains("WARP"));
    assert!(error(clip("translation", "LINEAR", &[0.0, f32::NAN], "VEC3", &[0.0; 6])).contains("key 1"));
    assert!(error(clip("translation", "LINEAR", &[0.0, 1.0], "VEC3", &[f32::INFINITY; 6])).contains("finite"));
    assert!(error(clip("translation", "LINEAR", &[0.0, 1.0], "VEC4", &[0.0; 8])).contains("VEC3"));
    assert!(error(clip("spin", "LINEAR", &[0.0, 1.0], "VEC3", &[0.0; 6])).contains("spin"));
    // Times that do not ascend: some value between the keys, and no panic.
    let value = x(&clip("translation", "LINEAR", &[3.0, 1.0, 2.0], "VEC3", &MOVES), 1.5);
    assert!((0.0..=40.0).contains(&value), "{value}");
}
