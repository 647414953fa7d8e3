//! The job document of shader jobs: what is read, what is refused and where.

use kiln::job::shader::*;
use kiln::job::spec::{AssetRef, Format};
use kiln::job::{AttachedFiles, JobSpec, SpecProblemKind};
use kiln::limits::*;
use serde_json::{Value, json};

const HASH: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn parse(fields: Value) -> Result<ShaderSpec, kiln::job::SpecError> {
    let mut document = json!({"kind": "shader", "source": "text"});
    for (name, value) in fields.as_object().unwrap() {
        document[name] = value.clone();
    }
    JobSpec::parse(document.to_string().as_bytes()).map(|spec| match spec {
        JobSpec::Shader(spec) => spec,
        other => panic!("{other:?}"),
    })
}

#[track_caller]
fn refused(fields: Value, pointer: &str, kind: SpecProblemKind, words: &str) {
    let error = parse(fields.clone()).expect_err(&format!("{fields} is accepted"));
    let problem = &error.problems[0];
    assert_eq!((error.problems.len(), problem.pointer.as_str(), problem.kind), (1, pointer, kind), "{error}");
    assert!(problem.message.contains(words), "{:?} does not say {words:?}", problem.message);
}

use SpecProblemKind::*;

#[test]
fn a_minimal_shader_is_a_still_of_frame_0() {
    let spec = parse(json!({})).unwrap();
    assert_eq!(spec, ShaderSpec::new(ShaderDialect::Kiln, "text".into()));
    assert!(spec.is_still() && !spec.is_sequence());
    let job = JobSpec::Shader(spec.clone());
    assert_eq!(serde_json::from_str::<JobSpec>(&job.canonical_json()).unwrap(), job, "serde reads what it wrote");
    assert_eq!(JobSpec::parse(job.canonical_json().as_bytes()).unwrap(), job, "the reader reads what serde wrote");
    assert_eq!((job.kind(), job.tasks().len()), ("shader", 1));
}

#[test]
fn everything_of_a_full_document_reads_back_as_itself() {
    let spec = parse(json!({
        "dialect": "shadertoy", "common": "c", "size": [16, 32], "frames": {"start": 4, "end": 40, "step": 3, "fps": 25},
        "warmup": 2, "channels": [{"asset": HASH, "color_space": "srgb", "filter": "nearest", "wrap": "clamp"}, null, {"buffer": "B"}],
        "buffers": {"B": {"source": "b", "channels": [{"buffer": "B"}, {"asset": HASH}]}},
        "mouse": [{"frame": 0, "pos": [1, 2], "click": true, "zoom": 2}], "keys": [{"frame": 1, "key": 65, "down": false}],
        "seed": 9, "limits": {"gpu_seconds": 5, "loop_fuel": 100}, "output": {"format": "mp4", "quality": 50},
        "labels": {"a": "b"}, "priority": "batch"
    }))
    .unwrap();
    assert_eq!((spec.frames.count(), spec.frames.last(), spec.frames_simulated()), (13, 40, 43));
    assert!((0..60).filter(|frame| spec.frames.emits(*frame)).eq((4..=40).step_by(3)));
    let places: Vec<String> = spec.channel_assets().into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["/channels/0/asset", "/buffers/B/channels/1/asset"]);
    let job = JobSpec::Shader(spec);
    assert_eq!(job.assets(), [AssetRef(HASH.into())]);
    assert_eq!(JobSpec::parse(job.canonical_json().as_bytes()).unwrap(), job);
    let kiln = parse(json!({"params": {"a": 1, "b": [1.5, 2], "c": true}, "storage": {"s": 64},
        "dispatches": {"main": {"workgroups": [1, 2, 3], "count": 4, "once": true}}}))
    .unwrap();
    assert_eq!(kiln.dispatches["main"], ShaderDispatch { workgroups: Some([1, 2, 3]), count: Some(4), once: true });
    let job = JobSpec::Shader(kiln);
    assert_eq!(JobSpec::parse(job.canonical_json().as_bytes()).unwrap(), job);
}

#[test]
fn a_sidecar_of_the_site_becomes_params_and_channels() {
    let sidecar = json!({"uniforms": [{"name": "speed", "value": 0.25}, {"name": "size", "value": 4}],
        "textures": [{"img": "/textures/london.jpg"}, {"img": "https://compute.toys/textures/blank.png"}], "float32Enabled": true});
    let spec =
        parse(json!({"sidecar": sidecar, "textures": {"/textures/london.jpg": HASH}, "params": {"speed": 2}})).unwrap();
    assert_eq!((spec.dialect, spec.float32), (ShaderDialect::ComputeToys, true));
    assert_eq!(spec.params["speed"], json!(2), "what the document says goes before the sidecar");
    assert_eq!(spec.params["size"], json!(4.0));
    assert_eq!(spec.channels, [Some(ShaderChannel::of_asset(AssetRef(HASH.into()))), None]);
    refused(json!({"sidecar": sidecar}), "/sidecar/textures/0", Invalid, "fetches none");
    refused(json!({"sidecar": {"uniforms": 3}}), "/sidecar", Malformed, "uniforms");
    refused(json!({"sidecar": {}, "dialect": "kiln"}), "/sidecar", Invalid, "compute_toys");
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    refused(json!({"source": 3}), "/source", Malformed, "the number 3");
    refused(json!({"source": "x".repeat(SHADER_SOURCE_BYTES_MAX + 1)}), "/source", Limit, "262144");
    refused(json!({"dialect": "glsl"}), "/dialect", Invalid, "kiln, compute_toys, shadertoy");
    refused(json!({"samples": 3}), "/samples", Malformed, "unknown");
    refused(json!({"frames": {"start": 5, "end": 4}}), "/frames/end", Invalid, "at least the start, 5");
    refused(json!({"frames": {"end": 4, "step": 0}}), "/frames/step", Invalid, "at least 1");
    refused(json!({"frames": {"end": 100_000}}), "/frames/end", Limit, "100001 frames");
    refused(json!({"warmup": 99_999, "frame": 1}), "/warmup", Limit, "100001 frames");
    refused(json!({"frames": {"end": 9_000}}), "/frames", Limit, "files of their own");
    assert!(parse(json!({"frames": {"end": 9_000}, "output": {"format": "mp4"}})).is_ok());
    refused(json!({"frame": 1, "frames": {"end": 2}}), "/frame", Invalid, "both");
    refused(json!({"frames": {"fps": 0}}), "/frames/fps", Invalid, "frames a second");
    refused(json!({"params": {"a": "b"}}), "/params/a", Malformed, "a number");
    refused(json!({"dialect": "shadertoy", "params": {"a": 1}}), "/params", Invalid, "kiln");
    refused(json!({"float32": true}), "/float32", Invalid, "compute_toys");
    refused(json!({"float32": 1}), "/float32", Malformed, "true or false");
    refused(json!({"common": "c"}), "/common", Invalid, "shadertoy");
    refused(json!({"channels": [{"asset": "md5:1"}]}), "/channels/0/asset", Invalid, "sha256:");
    refused(json!({"channels": [{}]}), "/channels/0", Malformed, "neither");
    refused(json!({"channels": [{"buffer": "A"}]}), "/channels/0", Invalid, "shadertoy");
    refused(json!({"dialect": "compute_toys", "channels": [null, null, null]}), "/channels", Limit, "at most 2");
    refused(
        json!({"mouse": [{"frame": 2, "pos": [0, 0]}, {"frame": 1, "pos": [0, 0]}]}),
        "/mouse/1/frame",
        Invalid,
        "rising",
    );
    refused(json!({"keys": [{"frame": 2, "key": 256}]}), "/keys/0/key", Invalid, "0 to 255");
    refused(json!({"limits": {"gpu_seconds": 0}}), "/limits/gpu_seconds", Invalid, "above 0");
    refused(json!({"limits": {"loop_fuel": 4_000_000_000_u32}}), "/limits/loop_fuel", Limit, "1 to");
    refused(json!({"output": {"format": "mp4"}, "size": [8, 64]}), "/size", Invalid, "at least 16");
    refused(json!({"output": {"format": "gif"}, "size": [4096, 4096]}), "/size", Limit, "in an animation");
}

#[test]
fn files_of_a_form_stand_in_for_fields() {
    let files = AttachedFiles {
        shader: Some("posted".into()),
        channels: vec![None, Some(AssetRef(HASH.into()))],
        sidecar: Some(json!({"uniforms": []})),
        ..AttachedFiles::default()
    };
    let Ok(JobSpec::Shader(spec)) = JobSpec::from_document(json!({"size": [4, 4]}), &files) else {
        panic!("a valid form");
    };
    assert_eq!((spec.source.as_str(), spec.dialect), ("posted", ShaderDialect::ComputeToys));
    assert_eq!(spec.channels, [None, Some(ShaderChannel::of_asset(AssetRef(HASH.into())))]);
    let twice = JobSpec::from_document(json!({"source": "x"}), &files).unwrap_err();
    assert_eq!(twice.problems[0].pointer, "/source");
    let options =
        [("dialect", "compute_toys"), ("format", "apng"), ("end", "9"), ("param.speed", "2.5"), ("label.a", "b")];
    let Ok(JobSpec::Shader(spec)) = JobSpec::from_options(options, &AttachedFiles::of_shader("x".into())) else {
        panic!("valid options");
    };
    assert_eq!((spec.output.format, spec.frames.count(), &spec.params["speed"]), (Format::Apng, 10, &json!(2.5)));
    let error = JobSpec::from_options([("samples", "4")], &AttachedFiles::of_shader("x".into())).unwrap_err();
    assert!(error.to_string().contains("is for scenes"), "{error}");
    let error = JobSpec::from_options([("param.a", "red")], &AttachedFiles::of_shader("x".into())).unwrap_err();
    assert_eq!(error.problems[0].pointer, "?param.a");
}
