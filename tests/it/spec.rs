//! The job document: what is accepted, what is refused, and in which words.

use kiln::job::spec::*;
use kiln::job::{
    AttachedFiles, JobSpec, OPTIONS, OptionKinds, OptionValue, Priority, SceneSpec, SpecError, SpecOptions,
    SpecProblemKind, Webhook, WebhookEvent, WebhookSecret,
};
use kiln::limits::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const HASH: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn asset() -> AssetRef {
    AssetRef(HASH.into())
}

/// A valid document with these fields on top.
fn document(fields: Value) -> Value {
    let mut document = json!({"kind": "scene", "scene": {"asset": HASH}});
    for (key, value) in fields.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

fn scene_of(spec: JobSpec) -> SceneSpec {
    match spec {
        JobSpec::Scene(spec) => spec,
        other => panic!("found {other:?}, expected a scene"),
    }
}

fn parse(fields: Value) -> Result<SceneSpec, SpecError> {
    JobSpec::parse(document(fields).to_string().as_bytes()).map(scene_of)
}

/// The one problem of a document with these fields.
fn problem(fields: Value) -> (String, SpecProblemKind, String) {
    let error = parse(fields.clone()).expect_err(&format!("{fields} is accepted"));
    assert_eq!(error.problems.len(), 1, "{error}");
    let problem = error.problems[0].clone();
    (problem.pointer, problem.kind, problem.message)
}

#[track_caller]
fn refused(fields: Value, pointer: &str, kind: SpecProblemKind, words: &[&str]) {
    let (found_pointer, found_kind, message) = problem(fields);
    assert_eq!((found_pointer.as_str(), found_kind), (pointer, kind), "{message}");
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

use SpecProblemKind::*;

#[test]
fn a_minimal_document_gets_the_documented_defaults() {
    let spec = parse(json!({})).unwrap();
    assert_eq!(spec, SceneSpec::new(asset()));
    assert_eq!((spec.size, spec.samples, spec.max_bounces), ([1024, 768], 256, 8));
    let by_serde: JobSpec = serde_json::from_value(document(json!({}))).unwrap();
    assert_eq!(by_serde, JobSpec::Scene(spec), "serde and the reader disagree about defaults");
}

#[test]
fn every_field_of_this_version_is_read() {
    let spec = parse(json!({
        "animation": {"clip": "Walk", "time_s": 1.25},
        "camera": {"position": [3, 2, 4], "target": [0, 0, 0], "up": [0, 0, 1], "fov_y_deg": 50, "aperture_radius": 0.1,
                   "focus_distance": 4},
        "environment": {"asset": HASH, "intensity": 2, "rotation_deg": 90},
        "background": "#ff8000", "size": [640, 480.0], "samples": 16, "max_bounces": 0, "seed": 4294967295u32,
        "clamp_indirect": 10, "tone_map": "linear", "exposure_ev": -1.5,
        "output": {"format": "png", "bit_depth": 16, "quality": 50},
        "priority": "batch", "labels": {"order": "4711"}
    }))
    .unwrap();
    assert_eq!(spec.animation, Some(AnimationSpec { clip: Some(NameOrIndex::Name("Walk".into())), time_s: 1.25 }));
    let camera = LookAt {
        position: [3.0, 2.0, 4.0],
        target: [0.0; 3],
        up: [0.0, 0.0, 1.0],
        fov_y_deg: 50.0,
        aperture_radius: 0.1,
        focus_distance: Some(4.0),
    };
    assert_eq!(spec.camera, Some(CameraSpec::LookAt(camera)));
    let environment = EnvironmentAsset { asset: asset(), intensity: 2.0, rotation_deg: 90.0 };
    assert_eq!(spec.environment, EnvironmentSpec::Asset(environment));
    assert_eq!(spec.background, Background::Color([255, 128, 0]));
    assert_eq!((spec.size, spec.samples, spec.max_bounces, spec.seed), ([640, 480], 16, 0, u32::MAX));
    assert_eq!((spec.clamp_indirect, spec.tone_map, spec.exposure_ev), (10.0, ToneMap::Linear, -1.5));
    assert_eq!(spec.output, OutputSpec { format: Format::Png, bit_depth: 16, quality: 50 });
    assert_eq!(spec.options.priority, Priority::Batch);
    assert_eq!(spec.options.labels["order"], "4711");
    assert_eq!(JobSpec::Scene(spec).assets(), vec![asset()], "the same asset twice is one asset");
}

#[test]
fn the_other_forms_of_camera_are_read() {
    let camera = |value: Value| parse(json!({ "camera": value })).unwrap().camera.unwrap();
    assert_eq!(camera(json!({"gltf": 2})), CameraSpec::Gltf { gltf: NameOrIndex::Index(2) });
    assert_eq!(camera(json!({"gltf": "Top"})), CameraSpec::Gltf { gltf: NameOrIndex::Name("Top".into()) });
    let orbit = Orbit { azimuth_deg: 35.0, elevation_deg: 0.0, zoom: 1.0 };
    assert_eq!(camera(json!({"orbit": {"azimuth_deg": 35}})), CameraSpec::Orbit { orbit });
}

#[test]
fn an_unknown_field_is_named_with_the_nearest_known_one() {
    refused(json!({"sampels": 1}), "/sampels", Malformed, &["\"sampels\"", "did you mean \"samples\""]);
    refused(json!({"output": {"fromat": "png"}}), "/output/fromat", Malformed, &["did you mean \"format\""]);
    refused(json!({"camera": {"orbit": {"azimut_deg": 1}}}), "/camera/orbit/azimut_deg", Malformed, &["azimuth_deg"]);
    refused(json!({"scene": {"asset": HASH, "a/b": 1}}), "/scene/a~1b", Malformed, &["unknown"]);
    refused(json!({"xyzzy": 1}), "/xyzzy", Malformed, &["known are", "samples"]);
}

#[test]
fn a_wrong_type_names_what_was_found_and_what_was_expected() {
    refused(json!({"samples": "many"}), "/samples", Malformed, &["the string \"many\"", "a whole number from 1 to"]);
    refused(json!({"samples": 1.5}), "/samples", Malformed, &["1.5", "a whole number"]);
    refused(json!({"size": [1]}), "/size", Malformed, &["an array of length 1", "[width, height]"]);
    refused(json!({"size": [1, true]}), "/size/1", Malformed, &["true"]);
    refused(json!({"camera": 3}), "/camera", Malformed, &["the number 3", "gltf", "orbit", "position"]);
    refused(json!({"camera": {}}), "/camera", Malformed, &["an empty object"]);
    refused(json!({"camera": {"position": [0, 0, 1]}}), "/camera/target", Malformed, &["missing"]);
    refused(json!({"camera": {"gltf": -1}}), "/camera/gltf", Invalid, &["-1", "index"]);
    refused(json!({"camera": {"gltf": 0, "orbit": {}}}), "/camera", Invalid, &["more than one", "gltf, orbit"]);
    refused(json!({"environment": {"intensity": 2}}), "/environment", Malformed, &["neither a preset nor an asset"]);
    refused(json!({"environment": "sky"}), "/environment", Malformed, &["the string \"sky\"", "preset"]);
    refused(json!({"labels": {"a": 1}}), "/labels/a", Malformed, &["a string"]);
    refused(json!({"priority": "hi"}), "/priority", Invalid, &["\"hi\"", "interactive, normal, batch"]);
    refused(json!({"environment": {"preset": "studo"}}), "/environment/preset", Invalid, &["did you mean \"studio\""]);
}

#[test]
fn what_is_not_a_document_is_malformed() {
    for (text, words) in
        [("", "not JSON"), ("{\"kind\"", "line 1"), ("[]", "an array"), ("{}", "kind"), ("1e999", "number")]
    {
        let error = JobSpec::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Malformed, "{text}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = JobSpec::parse(&vec![b' '; JOB_JSON_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(error.kind(), Limit);
    let deep = "[".repeat(100_000);
    assert_eq!(JobSpec::parse(deep.as_bytes()).unwrap_err().kind(), Malformed);
}

#[test]
fn impossible_values_are_refused_with_their_range() {
    refused(json!({"samples": 0}), "/samples", Invalid, &["found 0", "from 1 to"]);
    refused(json!({"samples": 1_000_000_000}), "/samples", Limit, &["1000000000", &SAMPLES_MAX.to_string()]);
    refused(json!({"samples": 1e15}), "/samples", Limit, &["1000000000000000", &SAMPLES_MAX.to_string()]);
    refused(json!({"max_bounces": 65}), "/max_bounces", Limit, &["64"]);
    refused(json!({"size": [0, 10]}), "/size/0", Invalid, &["found 0"]);
    refused(json!({"size": [10, 100_000]}), "/size/1", Limit, &[&IMAGE_SIDE_PIXELS_MAX.to_string()]);
    refused(json!({"size": [16_384, 16_384]}), "/size", Limit, &[&IMAGE_PIXELS_MAX.to_string()]);
    refused(json!({"exposure_ev": 1000}), "/exposure_ev", Invalid, &["stops"]);
    refused(json!({"exposure_ev": 1e300}), "/exposure_ev", Limit, &["1e+300", "3.4e38"]);
    refused(json!({"clamp_indirect": -1}), "/clamp_indirect", Invalid, &["at least 0"]);
    refused(json!({"scene": {"asset": "sha256:00"}}), "/scene/asset", Invalid, &["64 hex"]);
    refused(
        json!({"scene": {"asset": HASH.to_uppercase().replace("SHA", "sha")}}),
        "/scene/asset",
        Invalid,
        &["lower case"],
    );
    refused(json!({"background": "#12345g"}), "/background", Invalid, &["#rrggbb"]);
    refused(json!({"background": "#+12345"}), "/background", Invalid, &["#rrggbb"]);
    refused(json!({"output": {"bit_depth": 12}}), "/output/bit_depth", Invalid, &["8 or 16"]);
    refused(json!({"output": {"bit_depth": 16, "format": "webp"}}), "/output/bit_depth", Invalid, &["only png"]);
    refused(json!({"output": {"quality": 0}}), "/output/quality", Invalid, &["from 1 to 100"]);
    refused(json!({"output": {"quality": 1000}}), "/output/quality", Invalid, &["from 1 to 100"]);
    refused(json!({"labels": {"": "x"}}), "/labels/", Invalid, &["empty"]);
    refused(json!({"labels": {"k": "x".repeat(257)}}), "/labels/k", Limit, &["257", "256"]);
    refused(json!({"labels": {"k": "a\u{0}b"}}), "/labels/k", Invalid, &["control"]);
    let many: Value =
        (0..33).map(|index| (format!("k{index}"), Value::from("v"))).collect::<serde_json::Map<_, _>>().into();
    refused(json!({ "labels": many }), "/labels", Limit, &["33", "32"]);
}

#[test]
fn a_camera_that_cannot_see_is_refused() {
    let look_at = |extra: Value| {
        let mut camera = json!({"position": [1, 2, 3], "target": [1, 5, 3], "up": [0, 0, 1]});
        camera.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({ "camera": camera })
    };
    parse(look_at(json!({}))).unwrap();
    refused(look_at(json!({"target": [1, 2, 3]})), "/camera/target", Invalid, &["same point"]);
    refused(look_at(json!({"up": [0, 0, 0]})), "/camera/up", Invalid, &["length is 0"]);
    refused(look_at(json!({"up": [0, -2, 0]})), "/camera/up", Invalid, &["parallel"]);
    refused(look_at(json!({"fov_y_deg": 180})), "/camera/fov_y_deg", Invalid, &["below 180"]);
    refused(look_at(json!({"fov_y_deg": 0})), "/camera/fov_y_deg", Invalid, &["above 0"]);
    refused(look_at(json!({"aperture_radius": -1})), "/camera/aperture_radius", Invalid, &["from 0"]);
    refused(look_at(json!({"position": [1e10, 0, 0]})), "/camera/position/0", Invalid, &["metres"]);
    refused(json!({"camera": {"orbit": {"elevation_deg": 90}}}), "/camera/orbit/elevation_deg", Invalid, &["below 90"]);
    refused(json!({"camera": {"orbit": {"zoom": 0}}}), "/camera/orbit/zoom", Invalid, &["above 0"]);
}

#[test]
fn transparency_in_a_jpeg_is_refused_with_a_way_out() {
    let fields = json!({"background": "transparent", "output": {"format": "jpeg"}});
    refused(fields, "/background", Invalid, &["png", "webp", "another background"]);
}

#[test]
fn what_this_version_lacks_is_told_apart_from_what_is_unknown() {
    let fields = ["variant", "ground", "noise_target", "time_limit_s", "denoise"];
    for field in fields {
        refused(json!({ field: 1 }), &format!("/{field}"), Invalid, &["this version of Kiln does not support", field]);
    }
    refused(json!({"output": {"aovs": []}}), "/output/aovs", Invalid, &["does not support"]);
    refused(json!({"tone_map": "agx"}), "/tone_map", Invalid, &["does not support", "agx"]);
    refused(json!({"kind": "movie"}), "/kind", Invalid, &["\"movie\"", "\"scene\""]);
}

#[test]
fn frames_are_a_turn_or_a_part_of_the_animation() {
    let frames = |frames: Value| parse(json!({ "frames": frames })).unwrap().frames.unwrap();
    assert_eq!((frames(json!({"turntable": 36})).range(), frames(json!({"turntable": 36})).fps()), ((0, 35), 24.0));
    assert_eq!(frames(json!({"start": 3, "end": 7, "fps": 12})).range(), (3, 7));
    assert_eq!(frames(json!({"end": 7})).count(), 8);
    refused(json!({"frames": {"turntable": 0}}), "/frames/turntable", Invalid, &["at least one"]);
    refused(json!({"frames": {"start": 5, "end": 4}}), "/frames/end", Invalid, &["at least start"]);
    refused(json!({"frames": {"turntable": 4, "fps": 0}}), "/frames/fps", Invalid, &["above 0"]);
    refused(json!({"frames": {"turntable": 1_000_000}}), "/frames", Limit, &["at most"]);
    refused(json!({"frames": {"start": 1}}), "/frames/end", Malformed, &["missing"]);
    refused(json!({"frames": {"turntable": 4, "end": 4}}), "/frames/end", Malformed, &["unknown"]);
    refused(json!({"frames": 5}), "/frames", Malformed, &["turntable"]);
    let tasks = |more: Value| JobSpec::Scene(parse(more).unwrap()).tasks();
    assert_eq!(tasks(json!({})).len(), 1);
    assert_eq!(tasks(json!({"frames": {"turntable": 4}})).len(), 4);
    let animated = tasks(json!({"frames": {"turntable": 4}, "output": {"format": "mp4"}}));
    assert_eq!((animated.len(), animated[4].kind), (5, kiln::job::TaskKind::Assemble));
}

#[test]
fn every_problem_is_reported_at_once_up_to_a_bound() {
    let error = parse(json!({"samples": 0, "size": ["a", 0], "tone_map": "x", "zzz": 1})).unwrap_err();
    let mut pointers: Vec<_> = error.problems.iter().map(|problem| problem.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/samples", "/size/0", "/size/1", "/tone_map", "/zzz"]);
    assert_eq!(error.kind(), Malformed);
    let many: Value =
        (0..10_000).map(|index| (format!("f{index}"), Value::Null)).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(parse(many).unwrap_err().problems.len(), SPEC_PROBLEMS_MAX);
}

#[test]
fn options_that_make_no_sense_name_their_field() {
    let hook = |url: &str| json!({"webhook": {"url": url}});
    refused(json!({"start_before": "now"}), "/start_before", Invalid, &["\"now\"", "RFC 3339"]);
    refused(json!({"finish_before": 1_800_000_000}), "/finish_before", Malformed, &["RFC 3339"]);
    refused(json!({"finish_before": "1950-01-01T00:00:00Z"}), "/finish_before", Invalid, &["1950"]);
    let order = json!({"start_before": "2030-01-01T00:00:01Z", "finish_before": "2030-01-01T00:00:00Z"});
    refused(order, "/start_before", Invalid, &["later than finish_before"]);
    refused(json!({"reuse": 1}), "/reuse", Malformed, &["true or false"]);
    refused(json!({"webhook": "https://example.com/"}), "/webhook", Malformed, &["an object"]);
    refused(json!({"webhook": {}}), "/webhook/url", Malformed, &["missing"]);
    refused(hook("example.com/hook"), "/webhook/url", Invalid, &["no address"]);
    refused(hook("file:///etc/passwd"), "/webhook/url", Invalid, &["found file:", "https://HOST/PATH"]);
    refused(hook("https://me:secret@example.com/"), "/webhook/url", Invalid, &["a user or a password"]);
    refused(hook("https:///"), "/webhook/url", Invalid, &["expected https://HOST/PATH"]);
    refused(hook(&format!("https://example.com/{}", "x".repeat(2048))), "/webhook/url", Limit, &["2068", "2048"]);
    let events = |events: Value| json!({"webhook": {"url": "https://example.com/", "events": events}});
    refused(events(json!([])), "/webhook/events", Invalid, &["at least one event"]);
    refused(events(json!("ended")), "/webhook/events", Malformed, &["an array"]);
    refused(events(json!(["ended", "finished"])), "/webhook/events/1", Invalid, &["\"finished\"", "ended"]);
    refused(events(json!(["progress"])), "/webhook/events/0", Invalid, &["only for event streams"]);
    let secret = json!({"webhook": {"url": "https://example.com/", "secret": "hunter2hunter2"}});
    refused(secret.clone(), "/webhook/secret", Invalid, &["whsec_", "24 to 64"]);
    assert!(!parse(secret).unwrap_err().to_string().contains("hunter2"), "a secret is said back");
}

#[test]
fn attached_files_stand_in_for_assets() {
    let files = AttachedFiles { environment: Some(asset()), ..AttachedFiles::of_scene(asset()) };
    let spec = scene_of(JobSpec::parse_with_files(b"{\"environment\": {\"intensity\": 3}}", &files).unwrap());
    assert_eq!(spec.scene.asset, asset());
    assert_eq!(
        spec.environment,
        EnvironmentSpec::Asset(EnvironmentAsset { asset: asset(), intensity: 3.0, rotation_deg: 0.0 })
    );
    let twice = document(json!({"environment": {"preset": "sky"}})).to_string();
    let error = JobSpec::parse_with_files(twice.as_bytes(), &files).unwrap_err();
    assert!(error.problems.iter().all(|problem| problem.message.contains("given twice")), "{error}");
    assert_eq!(error.problems.len(), 2);
}

#[test]
fn query_options_make_the_same_spec_as_the_document() {
    let pairs = [
        ("width", "640"),
        ("samples", "16"),
        ("azimuth_deg", "35"),
        ("zoom", "1.5"),
        ("environment_intensity", "2"),
        ("background", "ff8000"),
        ("format", "jpeg"),
        ("quality", "80"),
        ("animation", "Walk"),
        ("time_s", "0.5"),
        ("label.order", "4711"),
        ("priority", "interactive"),
    ];
    let by_query = scene_of(JobSpec::from_query(pairs, asset()).unwrap());
    let by_document = parse(json!({
        "size": [640, 768], "samples": 16, "camera": {"orbit": {"azimuth_deg": 35, "zoom": 1.5}},
        "environment": {"preset": "studio", "intensity": 2}, "background": "#ff8000",
        "output": {"format": "jpeg", "quality": 80}, "animation": {"clip": "Walk", "time_s": 0.5},
        "labels": {"order": "4711"}, "priority": "interactive"
    }))
    .unwrap();
    assert_eq!(by_query, by_document);
    let deadlines = [
        ("start_before", "2030-01-01T00:00:00Z"),
        ("finish_before", "2030-01-01T01:00:00+01:00"),
        ("webhook_url", "https://example.com/hook?x=1"),
        ("webhook_events", "started,ended"),
        ("reuse", "false"),
    ];
    let by_query = scene_of(JobSpec::from_query(deadlines, asset()).unwrap());
    let by_document = parse(json!({
        "start_before": "2030-01-01T00:00:00Z", "finish_before": "2030-01-01T00:00:00.000Z", "reuse": false,
        "webhook": {"url": "https://example.com/hook?x=1", "events": ["ended", "started"]}
    }))
    .unwrap();
    assert_eq!(by_query, by_document);
    let by_name = scene_of(JobSpec::from_query([("camera", "Top"), ("time_s", "1")], asset()).unwrap());
    assert_eq!(by_name.camera, Some(CameraSpec::Gltf { gltf: NameOrIndex::Name("Top".into()) }));
}

#[test]
fn problems_of_query_options_name_the_option() {
    for (pair, pointer, words) in [
        (("samples", "0"), "?samples", "from 1 to"),
        (("samples", "abc"), "?samples", "\"abc\", expected a whole number"),
        (("width", "-5"), "?width", "a whole number"),
        (("height", "100000"), "?height", "16384"),
        (("sampels", "1"), "?sampels", "did you mean \"samples\""),
        (("zoom", "nan"), "?zoom", "a number"),
        (("zoom", "0"), "?zoom", "above 0"),
        (("format", "gif"), "?format", "no frames"),
        (("frame", "1"), "?frame", "is for shaders"),
        (("label.", "x"), "?label.", "empty"),
        (("position", "1,2"), "?position", "X,Y,Z"),
        (("position", "1,2,3"), "?target", "missing"),
        (("start_before", "soon"), "?start_before", "RFC 3339"),
        (("finish_before", "2030-01-01T00:00:00 01:00"), "?finish_before", "%2B"),
        (("webhook_url", "ftp://example.com/"), "?webhook_url", "https://HOST"),
        (("webhook_events", "ended"), "?webhook_url", "missing"),
        (("reuse", "maybe"), "?reuse", "true or false"),
    ] {
        let error = JobSpec::from_query([pair], asset()).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        assert_eq!(error.problems[0].pointer, pointer, "{error}");
        assert!(error.problems[0].message.contains(words), "{error}");
    }
    let error = JobSpec::from_query([("seed", "1"), ("seed", "2")], asset()).unwrap_err();
    assert!(error.to_string().contains("given twice"), "{error}");
    let error = JobSpec::from_query([("camera", "0"), ("zoom", "2")], asset()).unwrap_err();
    assert_eq!(error.problems[0].pointer, "?camera");
}

#[test]
fn every_option_of_the_table_is_read_and_every_word_of_it_is_accepted() {
    for option in OPTIONS {
        let shader = option.kinds == OptionKinds::Shader;
        let files = if shader { AttachedFiles::of_shader("x".into()) } else { AttachedFiles::of_scene(asset()) };
        let default = JobSpec::from_options([("", ""); 0], &files).unwrap();
        let texts: Vec<String> = match option.value {
            OptionValue::Word => {
                let moving = |word: &&str| !shader && ["apng", "gif", "mp4"].contains(word);
                option.words().into_iter().filter(|word| !moving(word)).map(str::to_owned).collect()
            }
            OptionValue::Words => vec!["started".into(), option.words().join(",")],
            OptionValue::Flag if option.name == "reuse" => vec!["false".into()],
            OptionValue::Flag => vec!["true".into()],
            OptionValue::Text if option.name == "webhook_url" => vec!["http://example.com/".into()],
            OptionValue::Text => vec!["2030-01-01T00:00:00Z".into()],
            OptionValue::Whole if option.name == "bit_depth" => vec!["16".into()],
            OptionValue::Whole | OptionValue::Decimal | OptionValue::NameOrIndex => vec!["7".into()],
            OptionValue::Vector => vec!["7,8,9".into()],
            OptionValue::Background => vec!["transparent".into(), "123456".into()],
        };
        assert!(!texts.is_empty(), "{} has no words", option.name);
        for text in texts {
            let mut pairs = vec![(option.name, text.as_str())];
            if option.pointer.starts_with("/camera/")
                && option.pointer.split('/').count() == 3
                && option.name != "camera"
            {
                pairs.extend(
                    [("position", "1,0,0"), ("target", "0,0,5")].iter().filter(|(name, _)| *name != option.name),
                );
            }
            if option.name == "webhook_events" {
                pairs.push(("webhook_url", "http://example.com/"));
            }
            if option.name == "float32" {
                pairs.push(("dialect", "compute_toys"));
            }
            if ["start", "fps"].contains(&option.name) {
                pairs.push(("end", "7"));
            }
            let spec = JobSpec::from_options(pairs, &files).unwrap_or_else(|error| panic!("{}: {error}", option.name));
            let is_default = ["normal", "png", "studio", "neutral", "kiln"].contains(&text.as_str());
            assert_eq!(spec == default, is_default, "{} has no effect", option.name);
        }
    }
}

fn any_float(range: std::ops::Range<f32>) -> impl Strategy<Value = f32> {
    range.prop_filter("finite", |number| number.is_finite())
}

fn any_camera() -> impl Strategy<Value = Option<CameraSpec>> {
    let name = prop_oneof![any::<u32>().prop_map(NameOrIndex::Index), ".{0,12}".prop_map(NameOrIndex::Name)];
    let orbit = (any_float(-720.0..720.0), any_float(-89.9..89.9), any_float(0.01..999.0));
    let look_at = (prop::array::uniform3(-1e6f32..1e6), prop::array::uniform3(1f32..1e3), 0.1f32..179.0, 0f32..10.0);
    prop_oneof![
        Just(None),
        name.prop_map(|gltf| Some(CameraSpec::Gltf { gltf })),
        orbit.prop_map(|(azimuth_deg, elevation_deg, zoom)| {
            Some(CameraSpec::Orbit { orbit: Orbit { azimuth_deg, elevation_deg, zoom } })
        }),
        look_at.prop_map(|(position, offset, fov_y_deg, aperture_radius)| {
            let target = [position[0] + offset[0], position[1] + 1.0 + offset[1], position[2] + offset[2]];
            let look_at =
                LookAt { fov_y_deg, aperture_radius, focus_distance: Some(offset[0]), ..LookAt::new(position, target) };
            // Across the view, because x and z of the offset are positive.
            Some(CameraSpec::LookAt(LookAt { up: [offset[2], 0.0, -offset[0]], ..look_at }))
        }),
    ]
}

fn any_webhook() -> impl Strategy<Value = Webhook> {
    use WebhookEvent::*;
    let every = vec![Queued, Started, Log, Output, Preempted, Retrying, Cancelling, Ended];
    let secret = prop::sample::select(vec![None, Some("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")]);
    ("https?://[a-z]{1,20}(:[1-9][0-9]{0,3})?/[a-z/?=]{0,30}", prop::sample::subsequence(every, 1..=8), secret)
        .prop_map(|(url, events, secret)| {
            let secret = secret.map(|text| WebhookSecret::parse(text).unwrap());
            Webhook { url, events: events.into_iter().collect(), secret }
        })
}

prop_compose! {
    fn any_spec()(
        camera in any_camera(),
        samples in 1..=SAMPLES_MAX,
        max_bounces in 0..=BOUNCES_MAX,
        size in prop::array::uniform2(1u32..8000),
        seed in any::<u32>(),
        clamp_indirect in any_float(0.0..1e30),
        exposure_ev in any_float(-32.0..32.0),
        animation in prop::option::of((prop::option::of(any::<u32>()), any_float(-1e9..1e9))),
        color in any::<[u8; 3]>(),
        output in prop::sample::select(vec![(Format::Png, 16), (Format::Jpeg, 8), (Format::Webp, 8), (Format::Exr, 8)]),
        quality in 1u8..=100,
        environment in (any::<bool>(), any_float(0.0..1e6), any_float(-720.0..720.0)),
        priority in prop::sample::select(vec![Priority::Interactive, Priority::Normal, Priority::Batch]),
        labels in prop::collection::btree_map("[ -~äß/~]{1,20}", "[ -~€]{0,20}", 0..5),
        deadlines in prop::option::of((0..200_000_000_000_000i64, 0..50_000_000_000_000i64)),
        webhook in prop::option::of(any_webhook()),
        reuse in any::<bool>(),
    ) -> JobSpec {
        let (with_asset, intensity, rotation_deg) = environment;
        JobSpec::Scene(SceneSpec {
            camera, samples, max_bounces, size, seed, clamp_indirect, exposure_ev,
            options: SpecOptions {
                priority, labels, webhook, reuse,
                start_before_ms: deadlines.map(|(start, _)| start),
                finish_before_ms: deadlines.map(|(start, more)| start + more),
            },
            animation: animation.map(|(clip, time_s)| AnimationSpec { clip: clip.map(NameOrIndex::Index), time_s }),
            background: Background::Color(color),
            environment: if with_asset {
                EnvironmentSpec::Asset(EnvironmentAsset { asset: AssetRef(HASH.into()), intensity, rotation_deg })
            } else {
                EnvironmentSpec::Preset(EnvironmentPreset { preset: Preset::Sky, intensity, rotation_deg })
            },
            output: OutputSpec { format: output.0, bit_depth: output.1, quality },
            ..SceneSpec::new(AssetRef(HASH.into()))
        })
    }
}

/// JSON that looks like a job document in places and is wrong in others.
fn any_document() -> impl Strategy<Value = Value> {
    let names = "kind|scene|asset|camera|gltf|orbit|position|target|up|size|samples|environment|preset|output|labels|zzz|animation";
    let key = prop::sample::select(names.split('|').map(str::to_owned).collect::<Vec<_>>());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,80}".prop_map(Value::from),
        Just(Value::from("scene")),
        Just(Value::from(HASH)),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_written_spec_reads_back_as_itself(spec in any_spec()) {
        spec.validate().unwrap();
        let text = spec.canonical_json();
        let parsed = JobSpec::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(&parsed, &spec);
        prop_assert_eq!(parsed.canonical_hash(), spec.canonical_hash());
        let by_serde: JobSpec = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&by_serde, &spec);
        let content: JobSpec = serde_json::from_str(&spec.content_json()).unwrap();
        prop_assert_eq!(content.options(), &SpecOptions::default());
        prop_assert_eq!(content.content_json(), spec.content_json());
        prop_assert!(!spec.content_json().contains("whsec_"));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = JobSpec::parse(&bytes);
    }

    #[test]
    fn what_the_parser_accepts_is_valid_and_what_it_refuses_has_a_place(document in any_document()) {
        match JobSpec::parse(document.to_string().as_bytes()) {
            Ok(spec) => spec.validate().unwrap(),
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                for problem in error.problems {
                    let is_root = problem.pointer.is_empty() || problem.pointer == "/kind" || problem.pointer == "/scene";
                    let parent = problem.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                    prop_assert!(is_root || document.pointer(parent).is_some(), "{} is no place", problem.pointer);
                }
            }
        }
    }
}
