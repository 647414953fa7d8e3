//! JSON → [`JobSpec`]. Reads the whole document and reports every problem, instead of stopping at the first one.
//!
//! The document is walked by hand and not by serde's derive, because the messages are part of the interface: each names
//! its place by JSON pointer, what was found, what was expected, and for an unknown word the nearest known one. A field
//! that cannot be read takes its default for the rest of the walk, so that the others are still checked.

use super::fields::*;
use super::parse_shader::read_shader;
use super::problem::{Problems, SpecError, SpecProblemKind as Kind, child, cut};
use super::spec::*;
use super::{Priority, options, validate};
use crate::limits::{JOB_JSON_BYTES_MAX, SCENE_FRAME_NUMBER_MAX, SCENE_FRAMES_MAX};
use serde_json::{Map, Value};

/// The words of `priority`, best class first.
pub(super) const PRIORITIES: &[(&str, Priority)] =
    &[("interactive", Priority::Interactive), ("normal", Priority::Normal), ("batch", Priority::Batch)];
/// The words of `output.format`.
pub(super) const FORMATS: &[(&str, Format)] = &[
    ("png", Format::Png),
    ("jpeg", Format::Jpeg),
    ("webp", Format::Webp),
    ("exr", Format::Exr),
    ("apng", Format::Apng),
    ("gif", Format::Gif),
    ("mp4", Format::Mp4),
];
/// The words of `tone_map`.
pub(super) const TONE_MAPS: &[(&str, ToneMap)] = &[("neutral", ToneMap::Neutral), ("linear", ToneMap::Linear)];
/// The words of `environment.preset`.
pub(super) const PRESETS: &[(&str, Preset)] =
    &[("studio", Preset::Studio), ("sky", Preset::Sky), ("white", Preset::White), ("black", Preset::Black)];

/// Fields of a scene job beside the options that every kind has, in the order of the documentation.
const SCENE_FIELDS: &[&str] = &[
    "kind",
    "scene",
    "animation",
    "camera",
    "environment",
    "background",
    "size",
    "samples",
    "max_bounces",
    "seed",
    "clamp_indirect",
    "tone_map",
    "exposure_ev",
    "frames",
    "output",
];
/// Fields that Kiln's job document has by design, but that this version does not act on. They are refused and not
/// ignored: a client that asks for less noise must not believe that it got it.
const SCENE_FIELDS_UNSUPPORTED: &[&str] = &["variant", "ground", "noise_target", "time_limit_s", "denoise"];
const LOOK_AT_FIELDS: &[&str] = &["position", "target", "up", "fov_y_deg", "aperture_radius", "focus_distance"];

/// Files that came with a request beside its document (`multipart/form-data`), already stored as assets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttachedFiles {
    /// The file posted as `scene`; then the document needs no `scene` field.
    pub scene: Option<AssetRef>,
    /// The file posted as `environment`; then the document needs no `environment.asset`.
    pub environment: Option<AssetRef>,
    /// The text posted as `shader`; then the document needs no `source`.
    pub shader: Option<String>,
    /// The files posted as `channel0`…; then the document needs no entry in `channels` for them, or one without an asset.
    pub channels: Vec<Option<AssetRef>>,
    /// The JSON posted as `sidecar`; then the document needs no `sidecar`.
    pub sidecar: Option<Value>,
}

impl AttachedFiles {
    /// Beside a scene that was posted as it is.
    pub fn of_scene(scene: AssetRef) -> Self {
        Self { scene: Some(scene), ..Self::default() }
    }

    /// Beside a shader that was posted as it is.
    pub fn of_shader(shader: String) -> Self {
        Self { shader: Some(shader), ..Self::default() }
    }
}

impl JobSpec {
    /// Reads and validates a job document. Never panics, whatever the bytes.
    pub fn parse(json: &[u8]) -> Result<Self, SpecError> {
        Self::parse_with_files(json, &AttachedFiles::default())
    }

    /// The same for a document that came with files; each stands in for the field that would name it.
    pub fn parse_with_files(json: &[u8], files: &AttachedFiles) -> Result<Self, SpecError> {
        if json.len() > JOB_JSON_BYTES_MAX {
            let message = format!("found {} bytes, expected at most {JOB_JSON_BYTES_MAX}", json.len());
            return Err(SpecError::new(Kind::Limit, "", message));
        }
        let document: Value = serde_json::from_slice(json)
            .map_err(|error| SpecError::new(Kind::Malformed, "", format!("this is not JSON: {error}")))?;
        Self::from_document(document, files)
    }

    /// Reads and validates a job document that is JSON already.
    pub fn from_document(mut document: Value, files: &AttachedFiles) -> Result<Self, SpecError> {
        let mut problems = Problems::default();
        attach(&mut document, files, &mut problems);
        let spec = read_job(&document, &mut problems);
        if let Some(spec) = &spec {
            validate::job(spec, &mut problems);
        }
        match spec {
            Some(spec) => problems.into_result(spec),
            None => Err(problems.into_result(()).expect_err("read_job returns no spec only after it has reported why")),
        }
    }
}

/// Writes the attached files into the fields that name them.
fn attach(document: &mut Value, files: &AttachedFiles, problems: &mut Problems) {
    let Value::Object(fields) = document else { return };
    attach_shader(fields, files, problems);
    if let Some(AssetRef(asset)) = &files.scene {
        if fields.get("scene").is_some_and(|scene| !scene.is_null()) {
            problems.add(
                Kind::Invalid,
                "/scene",
                "the scene is given twice, as a file and as an asset; give one of them",
            );
        } else {
            fields.insert("scene".into(), serde_json::json!({ "asset": asset }));
        }
    }
    if let Some(AssetRef(asset)) = &files.environment {
        let environment = fields.entry("environment").or_insert(Value::Null);
        if environment.is_null() {
            *environment = Value::Object(Map::new());
        }
        if let Value::Object(environment) = environment {
            if environment.contains_key("asset") || environment.contains_key("preset") {
                let message = "the environment is given twice, as a file and as an asset or preset; give one of them";
                problems.add(Kind::Invalid, "/environment", message);
            } else {
                environment.insert("asset".into(), asset.clone().into());
            }
        }
    }
}

/// The same for a shader's text, its channels and its sidecar.
fn attach_shader(fields: &mut Map<String, Value>, files: &AttachedFiles, problems: &mut Problems) {
    let parts = [("source", files.shader.clone().map(Value::String)), ("sidecar", files.sidecar.clone())];
    for (name, value) in parts {
        let Some(value) = value else { continue };
        if fields.get(name).is_some_and(|given| !given.is_null()) {
            let message = format!("the {name} is given twice, as a file and in the document; give one of them");
            problems.add(Kind::Invalid, format!("/{name}"), message);
        } else {
            fields.insert(name.into(), value);
        }
    }
    for (index, asset) in files.channels.iter().enumerate() {
        let Some(AssetRef(asset)) = asset else { continue };
        let channels = fields.entry("channels").or_insert(Value::Null);
        if channels.is_null() {
            *channels = Value::Array(Vec::new());
        }
        let Value::Array(channels) = channels else { continue };
        if channels.len() <= index {
            channels.resize(index + 1, Value::Null);
        }
        if channels[index].is_null() {
            channels[index] = Value::Object(Map::new());
        }
        let Value::Object(channel) = &mut channels[index] else { continue };
        if channel.contains_key("asset") || channel.contains_key("buffer") {
            let message = "the channel is given twice, as a file and in the document; give one of them";
            problems.add(Kind::Invalid, format!("/channels/{index}"), message);
        } else {
            channel.insert("asset".into(), asset.clone().into());
        }
    }
}

fn read_job(document: &Value, problems: &mut Problems) -> Option<JobSpec> {
    let Value::Object(fields) = document else {
        wrong_type("", document, "an object, the job document", problems);
        return None;
    };
    let kind = match fields.get("kind") {
        None | Some(Value::Null) if fields.contains_key("scene") => "scene",
        None | Some(Value::Null) if fields.contains_key("source") => "shader",
        None | Some(Value::Null) => {
            problems.add(Kind::Malformed, "/kind", "the field is missing, expected \"scene\" or \"shader\"");
            "scene"
        }
        Some(Value::String(kind)) => kind.as_str(),
        Some(other) => {
            wrong_type("/kind", other, "the string \"scene\" or \"shader\"", problems);
            return None;
        }
    };
    match kind {
        "scene" => Some(JobSpec::Scene(read_scene(document, problems)?)),
        "shader" => Some(JobSpec::Shader(read_shader(document, problems)?)),
        other => {
            let message = format!("found {:?}, expected \"scene\" or \"shader\"", cut(other));
            problems.add(Kind::Invalid, "/kind", message);
            None
        }
    }
}

fn read_scene(document: &Value, problems: &mut Problems) -> Option<SceneSpec> {
    let known = [SCENE_FIELDS, &options::OPTION_FIELDS].concat();
    let fields = Fields::read(document, "", &known, SCENE_FIELDS_UNSUPPORTED, "an object", problems)?;
    let scene = match fields.get("scene") {
        None => {
            let message = "the field is missing, expected {\"asset\": \"sha256:…\"}, the scene to render";
            problems.add(Kind::Malformed, "/scene", message);
            None
        }
        Some((value, at)) => {
            let expected = "an object {\"asset\": \"sha256:…\"}";
            Fields::read(value, &at, &["asset"], &[], expected, problems)
                .and_then(|f| f.required_asset("asset", problems))
        }
    };
    let mut spec = SceneSpec::new(scene.unwrap_or_else(|| {
        // The placeholder keeps the walk going; the problem that was just reported keeps it from being used.
        AssetRef(format!("sha256:{}", "0".repeat(64)))
    }));
    if let Some((value, at)) = fields.get("animation") {
        spec.animation = read_animation(value, &at, problems);
    }
    if let Some((value, at)) = fields.get("camera") {
        spec.camera = read_camera(value, &at, problems);
    }
    if let Some((value, at)) = fields.get("environment") {
        set(&mut spec.environment, read_environment(value, &at, problems));
    }
    if let Some((value, at)) = fields.get("background") {
        set(&mut spec.background, read_background(value, &at, problems));
    }
    if let Some((value, at)) = fields.get("size") {
        read_size(value, &at, &mut spec.size, problems);
    }
    set(&mut spec.samples, fields.whole("samples", &validate::samples_expected(), problems));
    set(&mut spec.max_bounces, fields.whole("max_bounces", &validate::bounces_expected(), problems));
    set(&mut spec.seed, fields.whole("seed", "a whole number from 0 to 4294967295", problems));
    set(&mut spec.clamp_indirect, fields.number("clamp_indirect", problems));
    set(&mut spec.tone_map, fields.word("tone_map", TONE_MAPS, &["agx", "aces"], problems));
    set(&mut spec.exposure_ev, fields.number("exposure_ev", problems));
    if let Some((value, at)) = fields.get("frames") {
        spec.frames = read_frames(value, &at, problems);
    }
    if let Some((value, at)) = fields.get("output") {
        set(&mut spec.output, read_output(value, &at, problems));
    }
    spec.options = options::read(&fields, problems);
    Some(spec)
}

fn read_animation(value: &Value, at: &str, problems: &mut Problems) -> Option<AnimationSpec> {
    let expected = "an object {\"clip\": name or index, \"time_s\": seconds}";
    let fields = Fields::read(value, at, &["clip", "time_s"], &[], expected, problems)?;
    let clip = fields.get("clip").and_then(|(value, at)| read_name_or_index(value, &at, problems));
    Some(AnimationSpec { clip, time_s: fields.number("time_s", problems).unwrap_or(0.0) })
}

/// Chooses the form by the keys that are there, as [`read_camera`] does.
fn read_frames(value: &Value, at: &str, problems: &mut Problems) -> Option<SceneFrames> {
    let expected = "one of {\"turntable\": frames, \"fps\"}, {\"start\", \"end\", \"fps\"}";
    let count = format!("a whole number of frames from 1 to {SCENE_FRAMES_MAX}");
    let number = format!("a whole number from 0 to {SCENE_FRAME_NUMBER_MAX}");
    let fps = SceneFrames::FPS_DEFAULT;
    if value.get("turntable").is_some_and(|turntable| !turntable.is_null()) {
        let fields = Fields::read(value, at, &["turntable", "fps"], &[], expected, problems)?;
        let turntable = fields.whole("turntable", &count, problems)?;
        let fps = fields.number("fps", problems).unwrap_or(fps);
        return Some(SceneFrames::Turntable(Turntable { turntable, fps }));
    }
    let fields = Fields::read(value, at, &["start", "end", "fps"], &[], expected, problems)?;
    let start = fields.whole("start", &number, problems).unwrap_or(0);
    let (end, at) = fields.required("end", "the number of the last frame", problems)?;
    let end = read_whole(end, &at, &number, problems)?;
    Some(SceneFrames::Range(FrameRange { start, end, fps: fields.number("fps", problems).unwrap_or(fps) }))
}

/// Chooses the form of a camera by the keys that are there, so that a slip in one form is not reported as
/// "matches none of the forms".
fn read_camera(value: &Value, at: &str, problems: &mut Problems) -> Option<CameraSpec> {
    let expected =
        "one of {\"gltf\": name or index}, {\"orbit\": {…}}, {\"position\": [x, y, z], \"target\": [x, y, z]}";
    let Value::Object(object) = value else {
        wrong_type(at, value, expected, problems);
        return None;
    };
    let look_at = LOOK_AT_FIELDS.iter().any(|field| object.contains_key(*field));
    let forms: Vec<&str> =
        [("gltf", object.contains_key("gltf")), ("orbit", object.contains_key("orbit")), ("position", look_at)]
            .into_iter()
            .filter_map(|(form, there)| there.then_some(form))
            .collect();
    match forms.as_slice() {
        ["gltf"] => {
            let fields = Fields::read(value, at, &["gltf"], &[], expected, problems)?;
            let (value, at) = fields.required("gltf", "the name or index of a camera in the file", problems)?;
            Some(CameraSpec::Gltf { gltf: read_name_or_index(value, &at, problems)? })
        }
        ["orbit"] => {
            let fields = Fields::read(value, at, &["orbit"], &[], expected, problems)?;
            let (value, at) = fields.required("orbit", "an object", problems)?;
            let known = &["azimuth_deg", "elevation_deg", "zoom"];
            let fields = Fields::read(value, &at, known, &[], "an object", problems)?;
            let mut orbit = Orbit { azimuth_deg: 0.0, elevation_deg: 0.0, zoom: 1.0 };
            set(&mut orbit.azimuth_deg, fields.number("azimuth_deg", problems));
            set(&mut orbit.elevation_deg, fields.number("elevation_deg", problems));
            set(&mut orbit.zoom, fields.number("zoom", problems));
            Some(CameraSpec::Orbit { orbit })
        }
        ["position"] => {
            let fields = Fields::read(value, at, LOOK_AT_FIELDS, &[], expected, problems)?;
            let position = fields.required_vector("position", problems);
            let target = fields.required_vector("target", problems);
            let mut look_at = LookAt::new(position?, target?);
            set(&mut look_at.up, fields.get("up").and_then(|(value, at)| read_vector(value, &at, problems)));
            set(&mut look_at.fov_y_deg, fields.number("fov_y_deg", problems));
            set(&mut look_at.aperture_radius, fields.number("aperture_radius", problems));
            look_at.focus_distance = fields.number("focus_distance", problems);
            Some(CameraSpec::LookAt(look_at))
        }
        [] => {
            let found = match object.keys().next() {
                None => "found an empty object".to_owned(),
                Some(key) => format!("found the unknown field {:?}", cut(key)),
            };
            problems.add(Kind::Malformed, at, format!("{found}, expected {expected}"));
            None
        }
        several => {
            let message = format!("more than one kind of camera is given ({}); give one of them", several.join(", "));
            problems.add(Kind::Invalid, at, message);
            None
        }
    }
}

fn read_environment(value: &Value, at: &str, problems: &mut Problems) -> Option<EnvironmentSpec> {
    let expected = "{\"preset\": \"studio\" | \"sky\" | \"white\" | \"black\"} or {\"asset\": \"sha256:…\"}";
    let known = &["preset", "asset", "intensity", "rotation_deg"];
    let fields = Fields::read(value, at, known, &[], expected, problems)?;
    let intensity = fields.number("intensity", problems).unwrap_or(1.0);
    let rotation_deg = fields.number("rotation_deg", problems).unwrap_or(0.0);
    match (fields.get("preset").is_some(), fields.get("asset").is_some()) {
        (true, false) => {
            let preset = fields.word("preset", PRESETS, &[], problems)?;
            Some(EnvironmentSpec::Preset(EnvironmentPreset { preset, intensity, rotation_deg }))
        }
        (false, true) => {
            let asset = fields.required_asset("asset", problems)?;
            Some(EnvironmentSpec::Asset(EnvironmentAsset { asset, intensity, rotation_deg }))
        }
        (true, true) => {
            problems.add(Kind::Invalid, at, "both a preset and an asset are given; give one of them");
            None
        }
        (false, false) => {
            problems.add(Kind::Malformed, at, format!("found neither a preset nor an asset, expected {expected}"));
            None
        }
    }
}

fn read_background(value: &Value, at: &str, problems: &mut Problems) -> Option<Background> {
    let expected = "\"environment\", \"transparent\" or \"#rrggbb\"";
    let Value::String(text) = value else {
        wrong_type(at, value, expected, problems);
        return None;
    };
    let background = Background::parse(text);
    if background.is_none() {
        problems.add(Kind::Invalid, at, format!("found {:?}, expected {expected}", cut(text)));
    }
    background
}

pub(super) fn read_size(value: &Value, at: &str, size: &mut [u32; 2], problems: &mut Problems) {
    match value {
        Value::Array(sides) if sides.len() == 2 => {
            for (index, side) in sides.iter().enumerate() {
                let pointer = child(at, &index.to_string());
                set(&mut size[index], read_whole(side, &pointer, &validate::side_expected(), problems));
            }
        }
        other => wrong_type(at, other, "an array of two whole numbers, [width, height] in pixels", problems),
    }
}

pub(super) fn read_output(value: &Value, at: &str, problems: &mut Problems) -> Option<OutputSpec> {
    let known = &["format", "bit_depth", "quality"];
    let expected = "an object {\"format\", \"bit_depth\", \"quality\"}";
    let fields = Fields::read(value, at, known, &["aovs"], expected, problems)?;
    let mut output = OutputSpec::default();
    set(&mut output.format, fields.word("format", FORMATS, &[], problems));
    // A number that does not fit in a byte saturates; validation then reports it, with the values that are allowed.
    let byte = |whole: u32| u8::try_from(whole).unwrap_or(u8::MAX);
    set(&mut output.bit_depth, fields.whole("bit_depth", "8 or 16", problems).map(byte));
    set(&mut output.quality, fields.whole("quality", "a whole number from 1 to 100", problems).map(byte));
    Some(output)
}
