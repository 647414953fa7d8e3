//! The common options of a job by name: query parameters of a file posted as it is, and flags of `kiln render`.
//!
//! Each option is one place in the job document. A list of options is turned into that document and read by the same
//! code as a posted one, so that the rules and the messages are the same; only the places are named `?option`.

use super::options::WEBHOOK_EVENTS;
use super::parse::{AttachedFiles, FORMATS, PRESETS, PRIORITIES, TONE_MAPS};
use super::parse_shader::DIALECTS;
use super::problem::{Problems, SpecError, SpecProblemKind as Kind, cut, hint};
use super::spec::{AssetRef, JobSpec};
use serde_json::{Map, Number, Value};

/// What the text of an option is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionValue {
    /// A whole number from 0.
    Whole,
    /// A decimal number.
    Decimal,
    /// Three decimal numbers with commas between them.
    Vector,
    /// One of [`SpecOption::words`].
    Word,
    /// Digits alone are an index from 0, anything else is a name.
    NameOrIndex,
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// Some of [`SpecOption::words`], with commas between them.
    Words,
    /// `environment`, `transparent`, `#rrggbb` or `rrggbb` (a `#` would have to be escaped in a URL).
    Background,
}

/// Which jobs an option is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKinds {
    /// All.
    Any,
    /// Scenes only.
    Scene,
    /// Shaders only.
    Shader,
}

/// A common option: its name, and its place in the job document.
#[derive(Debug, Clone, Copy)]
pub struct SpecOption {
    /// As a query parameter; the CLI writes it with dashes for underscores.
    pub name: &'static str,
    /// JSON pointer into the job document.
    pub pointer: &'static str,
    /// See [`OptionKinds`].
    pub kinds: OptionKinds,
    /// See [`OptionValue`].
    pub value: OptionValue,
    /// One line for `--help` and for the documentation, with unit, range and default.
    pub help: &'static str,
}

impl SpecOption {
    const fn any(name: &'static str, pointer: &'static str, value: OptionValue, help: &'static str) -> Self {
        Self { name, pointer, kinds: OptionKinds::Any, value, help }
    }

    const fn scene(name: &'static str, pointer: &'static str, value: OptionValue, help: &'static str) -> Self {
        Self { name, pointer, kinds: OptionKinds::Scene, value, help }
    }

    const fn shader(name: &'static str, pointer: &'static str, value: OptionValue, help: &'static str) -> Self {
        Self { name, pointer, kinds: OptionKinds::Shader, value, help }
    }

    /// True for options that only mean something where jobs wait: a deadline, a webhook. Whoever renders by himself has no use for
    /// them.
    pub fn needs_queue(&self) -> bool {
        ["start_before", "finish_before", "webhook_url", "webhook_events", "reuse"].contains(&self.name)
    }

    /// The words that an [`OptionValue::Word`] or [`OptionValue::Words`] may hold; empty for the others.
    pub fn words(&self) -> Vec<&'static str> {
        fn names<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
            words.iter().map(|(name, _)| *name).collect()
        }
        match self.name {
            "priority" => names(PRIORITIES),
            "format" => names(FORMATS),
            "environment" => names(PRESETS),
            "tone_map" => names(TONE_MAPS),
            "webhook_events" => names(WEBHOOK_EVENTS),
            "dialect" => names(DIALECTS),
            _ => Vec::new(),
        }
    }
}

/// Options with this prefix set a label: `label.order=4711`.
pub const LABEL_PREFIX: &str = "label.";
/// Options with this prefix set a param of a shader: `param.zoom=0.4`.
pub const PARAM_PREFIX: &str = "param.";

use OptionValue::*;
/// All common options, in the order of the documentation. Labels (`label.KEY=VALUE`) and a shader's params (`param.NAME=VALUE`) come on
/// top of them.
pub const OPTIONS: &[SpecOption] = &[
    SpecOption::any("width", "/size/0", Whole, "Width in pixels (default 1024)"),
    SpecOption::any("height", "/size/1", Whole, "Height in pixels (default 768)"),
    SpecOption::scene("samples", "/samples", Whole, "Samples per pixel (default 256)"),
    SpecOption::any("seed", "/seed", Whole, "Seed of every random decision (default 0)"),
    SpecOption::scene("max_bounces", "/max_bounces", Whole, "Bounces of a light path (default 8)"),
    SpecOption::scene("clamp_indirect", "/clamp_indirect", Decimal, "Clamp on indirect luminance, 0 = off (default 0)"),
    SpecOption::any("priority", "/priority", Word, "Class in the queue (default normal)"),
    SpecOption::any("start_before", "/start_before", Text, "RFC 3339; a job that has not started by then expires"),
    SpecOption::any(
        "finish_before",
        "/finish_before",
        Text,
        "RFC 3339; a job that cannot be expected to end by then is refused",
    ),
    // A secret does not belong in an address, so that the job document is the only place for one.
    SpecOption::any("webhook_url", "/webhook/url", Text, "Address that is told of events"),
    SpecOption::any("webhook_events", "/webhook/events", Words, "Events that are told, A,B,C (default ended)"),
    SpecOption::any(
        "reuse",
        "/reuse",
        Flag,
        "Whether a job with the same content may answer for this one (default true)",
    ),
    SpecOption::any("format", "/output/format", Word, "File format (default png)"),
    SpecOption::any("quality", "/output/quality", Whole, "Quality of JPEG and MP4, 1 to 100 (default 90)"),
    SpecOption::any("bit_depth", "/output/bit_depth", Whole, "Bits a channel, 8 or 16; 16 for png only (default 8)"),
    SpecOption::scene(
        "camera",
        "/camera/gltf",
        NameOrIndex,
        "Camera of the file, by name or index (default: the first)",
    ),
    SpecOption::scene(
        "azimuth_deg",
        "/camera/orbit/azimuth_deg",
        Decimal,
        "Orbit camera: degrees around +Y, 0 looks from +Z",
    ),
    SpecOption::scene(
        "elevation_deg",
        "/camera/orbit/elevation_deg",
        Decimal,
        "Orbit camera: degrees above the horizon",
    ),
    SpecOption::scene("zoom", "/camera/orbit/zoom", Decimal, "Orbit camera: 1 just fits, 2 is twice as near"),
    SpecOption::scene("position", "/camera/position", Vector, "Free camera: eye X,Y,Z in metres"),
    SpecOption::scene("target", "/camera/target", Vector, "Free camera: point to look at, X,Y,Z in metres"),
    SpecOption::scene("up", "/camera/up", Vector, "Free camera: up direction X,Y,Z (default 0,1,0)"),
    SpecOption::scene(
        "fov_y_deg",
        "/camera/fov_y_deg",
        Decimal,
        "Free camera: vertical field of view in degrees (default 40)",
    ),
    SpecOption::scene(
        "aperture_radius",
        "/camera/aperture_radius",
        Decimal,
        "Free camera: lens radius in metres, 0 = pinhole",
    ),
    SpecOption::scene(
        "focus_distance",
        "/camera/focus_distance",
        Decimal,
        "Free camera: metres (default: to the target)",
    ),
    SpecOption::scene("environment", "/environment/preset", Word, "Light around the scene (default studio)"),
    SpecOption::scene(
        "environment_intensity",
        "/environment/intensity",
        Decimal,
        "Factor on the environment (default 1)",
    ),
    SpecOption::scene(
        "environment_rotation_deg",
        "/environment/rotation_deg",
        Decimal,
        "Degrees around +Y (default 0)",
    ),
    SpecOption::scene(
        "background",
        "/background",
        Background,
        "environment, transparent or #rrggbb (default environment)",
    ),
    SpecOption::scene("tone_map", "/tone_map", Word, "Curve from radiance to display (default neutral)"),
    SpecOption::scene("exposure_ev", "/exposure_ev", Decimal, "Exposure in stops (default 0)"),
    SpecOption::scene("animation", "/animation/clip", NameOrIndex, "Animation of the file, by name or index"),
    SpecOption::scene("time_s", "/animation/time_s", Decimal, "Seconds from the animation's start (default 0)"),
    SpecOption::shader("dialect", "/dialect", Word, "Language of the shader (default kiln)"),
    SpecOption::scene("turntable", "/frames/turntable", Whole, "Frames of one turn around the scene"),
    SpecOption::shader("frame", "/frame", Whole, "The one frame that becomes a picture (default 0)"),
    SpecOption::any("start", "/frames/start", Whole, "First frame of a sequence or animation (default 0)"),
    SpecOption::any("end", "/frames/end", Whole, "Last frame of a sequence or animation"),
    SpecOption::shader("step", "/frames/step", Whole, "Every how many-th frame is emitted (default 1)"),
    SpecOption::any("fps", "/frames/fps", Decimal, "Frames a second (default 24 for scenes, 60 for shaders)"),
    SpecOption::shader("warmup", "/warmup", Whole, "Frames that are simulated before frame 0 (default 0)"),
    SpecOption::shader("float32", "/float32", Flag, "compute_toys: pass textures in 32-bit floats (default false)"),
    SpecOption::shader("gpu_seconds", "/limits/gpu_seconds", Decimal, "Seconds on the device, at most (default 600)"),
    SpecOption::shader("loop_fuel", "/limits/loop_fuel", Whole, "Loop iterations of one invocation, at most"),
];

impl JobSpec {
    /// The spec of a scene file that was posted as it is, with the common options as `(name, value)` pairs.
    pub fn from_query<K, V>(pairs: impl IntoIterator<Item = (K, V)>, scene: AssetRef) -> Result<Self, SpecError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        Self::from_options(pairs, &AttachedFiles::of_scene(scene))
    }

    /// The spec of files that were posted as they are, with the common options as `(name, value)` pairs.
    ///
    /// # Errors
    /// Everything that is wrong; places are named `?option`.
    pub fn from_options<K, V>(pairs: impl IntoIterator<Item = (K, V)>, files: &AttachedFiles) -> Result<Self, SpecError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let document = document_from_options(pairs, files)?;
        Self::from_document(document, files).map_err(|mut error| {
            for problem in &mut error.problems {
                problem.pointer = option_of(&problem.pointer);
            }
            error
        })
    }
}

/// The job document that a list of options stands for, without the scene; its values are not checked yet.
/// With `files.environment` the environment options apply to that file.
pub fn document_from_options<K, V>(
    pairs: impl IntoIterator<Item = (K, V)>,
    files: &AttachedFiles,
) -> Result<Value, SpecError>
where
    K: AsRef<str>,
    V: AsRef<str>,
{
    let mut problems = Problems::default();
    let mut document = Value::Object(Map::new());
    let mut given = Vec::new();
    let shader = files.shader.is_some();
    for (name, text) in pairs {
        let (name, text) = (name.as_ref(), text.as_ref());
        if given.iter().any(|other| other == name) {
            problems.add(Kind::Malformed, format!("?{}", cut(name)), "the option is given twice");
            continue;
        }
        if let Some(key) = name.strip_prefix(LABEL_PREFIX) {
            place(&mut document, &["labels", key], text.into());
        } else if let (Some(key), true) = (name.strip_prefix(PARAM_PREFIX), shader) {
            match read_param(text) {
                Some(value) => place(&mut document, &["params", key], value),
                None => {
                    let message =
                        format!("found {:?}, expected a number, true, false or several numbers with commas", cut(text));
                    problems.add(Kind::Malformed, format!("?{}", cut(name)), message);
                }
            }
        } else if let Some(option) = OPTIONS.iter().find(|option| option.name == name) {
            let wrong = match option.kinds {
                OptionKinds::Any => None,
                OptionKinds::Scene => shader.then_some("scenes, and this job is a shader"),
                OptionKinds::Shader => (!shader).then_some("shaders, and this job is a scene"),
            };
            if let Some(wrong) = wrong {
                let message = format!("the option {name:?} is for {wrong}; leave it out");
                problems.add(Kind::Malformed, format!("?{name}"), message);
                continue;
            }
            let path: Vec<&str> = option.pointer.split('/').skip(1).collect();
            match read(option, text) {
                Ok(value) => place(&mut document, &path, value),
                Err(expected) => {
                    let message = format!("found {:?}, expected {expected}", cut(text));
                    problems.add(Kind::Malformed, format!("?{name}"), message);
                }
            }
        } else {
            let other = if shader { OptionKinds::Scene } else { OptionKinds::Shader };
            let fitting = OPTIONS.iter().filter(|option| option.kinds != other);
            let known: Vec<&str> = fitting.map(|option| option.name).collect();
            let message = format!("the option {:?} is unknown{}", cut(name), hint(name, &known));
            problems.add(Kind::Malformed, format!("?{}", cut(name)), message);
        }
        given.push(name.to_owned());
    }
    complete(&mut document, files);
    problems.into_result(document)
}

/// Fills in what the document needs as soon as one option of a group is there.
fn complete(document: &mut Value, files: &AttachedFiles) {
    if let Some(size) = document.get_mut("size") {
        let side = |index: &str, default: u32| size.get(index).cloned().unwrap_or_else(|| default.into());
        *size = Value::Array(vec![side("0", 1024), side("1", 768)]);
    }
    if files.environment.is_none()
        && let Some(Value::Object(environment)) = document.get_mut("environment")
    {
        environment.entry("preset").or_insert_with(|| "studio".into());
    }
}

/// The value that an option's text stands for, or what was expected instead.
fn read(option: &SpecOption, text: &str) -> Result<Value, &'static str> {
    let decimal = |text: &str| text.trim().parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number);
    match option.value {
        Whole => text.parse::<u64>().map(Value::from).map_err(|_| "a whole number"),
        Decimal => decimal(text).ok_or("a number"),
        Vector => {
            let numbers: Option<Vec<Value>> = text.split(',').map(decimal).collect();
            numbers.filter(|n| n.len() == 3).map(Value::Array).ok_or("three numbers with commas between them, X,Y,Z")
        }
        NameOrIndex => Ok(text.parse::<u32>().map_or_else(|_| text.into(), Value::from)),
        Background if text.len() == 6 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Ok(format!("#{text}").into())
        }
        Flag => match text {
            "true" | "1" | "" => Ok(true.into()),
            "false" | "0" => Ok(false.into()),
            _ => Err("true or false"),
        },
        Words => Ok(text.split(',').map(|word| Value::from(word.trim())).collect()),
        Word | Text | Background => Ok(text.into()),
    }
}

/// A param of a shader: a number, a truth value, or numbers with commas between them.
fn read_param(text: &str) -> Option<Value> {
    let number = |text: &str| {
        let text = text.trim();
        let whole = text.parse::<i64>().ok().map(Value::from);
        whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number))
    };
    match text {
        "true" => Some(true.into()),
        "false" => Some(false.into()),
        _ if text.contains(',') => text.split(',').map(number).collect::<Option<Vec<Value>>>().map(Value::Array),
        _ => number(text),
    }
}

/// Puts a value at a path of keys. Array indices are keys here; [`complete`] makes the array.
fn place(document: &mut Value, path: &[&str], value: Value) {
    let mut here = document;
    for key in path {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        here = &mut here[*key];
    }
    *here = value;
}

/// `?option` for a place in the document; the place itself where no option is near.
pub fn option_of(pointer: &str) -> String {
    if let Some(key) = pointer.strip_prefix("/labels/") {
        return format!("?{LABEL_PREFIX}{key}");
    }
    if let Some(key) = pointer.strip_prefix("/params/") {
        return format!("?{PARAM_PREFIX}{key}");
    }
    let same = OPTIONS.iter().find(|option| option.pointer == pointer);
    let lies_in = |outer: &str| pointer.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    let within = || OPTIONS.iter().find(|option| lies_in(option.pointer));
    let around = || OPTIONS.iter().find(|option| option.pointer.starts_with(pointer));
    match same.or_else(within).or_else(around) {
        Some(option) if !pointer.is_empty() => format!("?{}", option.name),
        _ => pointer.to_owned(),
    }
}
