//! JSON → [`ShaderSpec`], field by field, with a message for everything that is wrong. See [`super::parse`].

use super::fields::*;
use super::options;
use super::parse::{read_output, read_size};
use super::problem::{Problems, SpecProblemKind as Kind, child, cut};
use super::shader::*;
use super::sidecar::Sidecar;
use super::spec::AssetRef;
use super::validate_shader as expected;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The words of `dialect`.
pub(super) const DIALECTS: &[(&str, ShaderDialect)] = &[
    ("kiln", ShaderDialect::Kiln),
    ("compute_toys", ShaderDialect::ComputeToys),
    ("shadertoy", ShaderDialect::Shadertoy),
];
const COLOR_SPACES: &[(&str, ColorSpace)] =
    &[("auto", ColorSpace::Auto), ("srgb", ColorSpace::Srgb), ("linear", ColorSpace::Linear)];
const FILTERS: &[(&str, ChannelFilter)] =
    &[("nearest", ChannelFilter::Nearest), ("linear", ChannelFilter::Linear), ("mipmap", ChannelFilter::Mipmap)];
const WRAPS: &[(&str, ChannelWrap)] = &[("clamp", ChannelWrap::Clamp), ("repeat", ChannelWrap::Repeat)];
const BUFFERS: &[(&str, BufferName)] =
    &[("A", BufferName::A), ("B", BufferName::B), ("C", BufferName::C), ("D", BufferName::D)];

/// Fields of a shader job, in the order of the documentation.
const SHADER_FIELDS: &[&str] = &[
    "kind",
    "dialect",
    "source",
    "common",
    "buffers",
    "size",
    "frames",
    "frame",
    "warmup",
    "params",
    "sliders",
    "channels",
    "storage",
    "dispatches",
    "float32",
    "mouse",
    "keys",
    "seed",
    "limits",
    "sidecar",
    "textures",
    "output",
];

pub(super) fn read_shader(document: &Value, problems: &mut Problems) -> Option<ShaderSpec> {
    let known = [SHADER_FIELDS, &options::OPTION_FIELDS].concat();
    let fields = Fields::read(document, "", &known, &[], "an object", problems)?;
    // A sidecar is the site's own, and so is the shader beside it.
    let own_dialect =
        if fields.get("sidecar").is_some() { ShaderDialect::ComputeToys } else { ShaderDialect::default() };
    let dialect = fields.word("dialect", DIALECTS, &[], problems).unwrap_or(own_dialect);
    let source = fields.required_text("source", "the shader's text", problems).unwrap_or_default();
    let mut spec = ShaderSpec::new(dialect, source);
    spec.common = fields.text("common", "text in front of every pass", problems);
    if let Some((value, at)) = fields.get("buffers") {
        spec.buffers = read_buffers(value, &at, problems);
    }
    if let Some((value, at)) = fields.get("size") {
        read_size(value, &at, &mut spec.size, problems);
    }
    read_range(&fields, &mut spec, problems);
    set(&mut spec.warmup, fields.whole("warmup", &expected::frame(), problems));
    if let Some((value, at)) = fields.get("params") {
        spec.params = read_params(value, &at, problems);
    }
    spec.sliders = read_list(&fields, "sliders", problems, |value, at, problems| {
        let name = value.as_str().map(str::to_owned);
        if name.is_none() {
            wrong_type(at, value, "the name of a param", problems);
        }
        name
    });
    if let Some((value, at)) = fields.get("channels") {
        spec.channels = read_channels(value, &at, problems);
    }
    if let Some((value, at)) = fields.get("storage") {
        spec.storage = read_storage(value, &at, problems);
    }
    if let Some((value, at)) = fields.get("dispatches") {
        spec.dispatches = read_dispatches(value, &at, problems);
    }
    let float32 = fields.truth("float32", problems);
    spec.float32 = float32.unwrap_or(false);
    spec.mouse = read_list(&fields, "mouse", problems, read_mouse);
    spec.keys = read_list(&fields, "keys", problems, read_key);
    set(&mut spec.seed, fields.whole("seed", "a whole number from 0 to 4294967295", problems));
    if let Some((value, at)) = fields.get("limits") {
        let form = "an object {\"gpu_seconds\", \"loop_fuel\"}";
        if let Some(limits) = Fields::read(value, &at, &["gpu_seconds", "loop_fuel"], &[], form, problems) {
            set(&mut spec.limits.gpu_seconds, limits.number("gpu_seconds", problems));
            spec.limits.loop_fuel = limits.whole("loop_fuel", &expected::loop_fuel(), problems);
        }
    }
    apply_sidecar(&fields, &mut spec, float32, problems);
    if let Some((value, at)) = fields.get("output") {
        set(&mut spec.output, read_output(value, &at, problems));
    }
    spec.options = options::read(&fields, problems);
    Some(spec)
}

/// `frame: N` is short for a range of that one frame.
fn read_range(fields: &Fields<'_>, spec: &mut ShaderSpec, problems: &mut Problems) {
    if let Some((value, at)) = fields.get("frames") {
        let form = "an object {\"start\", \"end\", \"step\", \"fps\"}";
        if let Some(range) = Fields::read(value, &at, &["start", "end", "step", "fps"], &[], form, problems) {
            set(&mut spec.frames.start, range.whole("start", &expected::frame(), problems));
            spec.frames.end = range.whole("end", &expected::frame(), problems).unwrap_or(spec.frames.start);
            set(&mut spec.frames.step, range.whole("step", "a whole number of at least 1", problems));
            set(&mut spec.frames.fps, range.number("fps", problems));
        }
    }
    if let Some((value, at)) = fields.get("frame")
        && let Some(frame) = read_whole(value, &at, &expected::frame(), problems)
    {
        let range = fields.get("frames").map(|(range, _)| range);
        if range.is_some_and(|range| range.get("start").is_some() || range.get("end").is_some()) {
            problems.add(Kind::Invalid, at, "both a frame and a range of frames are given; give one of them");
        }
        (spec.frames.start, spec.frames.end) = (frame, frame);
    }
}

fn read_buffers(value: &Value, at: &str, problems: &mut Problems) -> BTreeMap<BufferName, ShaderBuffer> {
    let mut buffers = BTreeMap::new();
    let names: Vec<&str> = BUFFERS.iter().map(|(name, _)| *name).collect();
    let form = "an object of buffers {\"A\": {\"source\": \"…\"}, …}";
    let Some(fields) = Fields::read(value, at, &names, &[], form, problems) else { return buffers };
    for &(name, buffer) in BUFFERS {
        let Some((value, at)) = fields.get(name) else { continue };
        let form = "an object {\"source\", \"channels\"}";
        let Some(fields) = Fields::read(value, &at, &["source", "channels"], &[], form, problems) else { continue };
        let source = fields.required_text("source", "the buffer's text", problems).unwrap_or_default();
        let channels = fields.get("channels").map(|(value, at)| read_channels(value, &at, problems));
        buffers.insert(buffer, ShaderBuffer { source, channels: channels.unwrap_or_default() });
    }
    buffers
}

fn read_channels(value: &Value, at: &str, problems: &mut Problems) -> Vec<Option<ShaderChannel>> {
    let Value::Array(list) = value else {
        wrong_type(at, value, "an array of channels [{\"asset\": \"sha256:…\"}, …]", problems);
        return Vec::new();
    };
    let one = |(index, value): (usize, &Value)| {
        if value.is_null() { None } else { read_channel(value, &child(at, &index.to_string()), problems) }
    };
    list.iter().enumerate().map(one).collect()
}

fn read_channel(value: &Value, at: &str, problems: &mut Problems) -> Option<ShaderChannel> {
    let known = &["asset", "buffer", "color_space", "filter", "wrap"];
    let form = "null, {\"asset\": \"sha256:…\"} or {\"buffer\": \"A\"}";
    let fields = Fields::read(value, at, known, &[], form, problems)?;
    let asset = fields.get("asset").and_then(|_| fields.required_asset("asset", problems));
    let mut channel = ShaderChannel { asset, ..ShaderChannel::of_asset(AssetRef(String::new())) };
    channel.buffer = fields.word("buffer", BUFFERS, &[], problems);
    set(&mut channel.color_space, fields.word("color_space", COLOR_SPACES, &[], problems));
    set(&mut channel.filter, fields.word("filter", FILTERS, &[], problems));
    set(&mut channel.wrap, fields.word("wrap", WRAPS, &[], problems));
    match (fields.get("asset").is_some(), fields.get("buffer").is_some()) {
        (true, true) => {
            problems.add(Kind::Invalid, at, "both an asset and a buffer are given; give one of them");
        }
        (false, false) => {
            problems.add(Kind::Malformed, at, format!("found neither an asset nor a buffer, expected {form}"));
        }
        _ => {}
    }
    Some(channel)
}

fn read_params(value: &Value, at: &str, problems: &mut Problems) -> Map<String, Value> {
    let Value::Object(params) = value else {
        wrong_type(at, value, "an object of numbers, truth values or arrays of them", problems);
        return Map::new();
    };
    let plain = |value: &Value| value.is_number() || value.is_boolean();
    for (name, value) in params {
        let fits = plain(value) || value.as_array().is_some_and(|list| list.iter().all(plain));
        if !fits {
            wrong_type(&child(at, name), value, "a number, a truth value or an array of them", problems);
        }
    }
    params.clone()
}

fn read_storage(value: &Value, at: &str, problems: &mut Problems) -> BTreeMap<String, u64> {
    let mut storage = BTreeMap::new();
    let Value::Object(object) = value else {
        wrong_type(at, value, "an object of bytes by the names of storage buffers", problems);
        return storage;
    };
    for (name, value) in object {
        if let Some(bytes) = read_whole(value, &child(at, name), "a whole number of bytes", problems) {
            storage.insert(name.clone(), u64::from(bytes));
        }
    }
    storage
}

fn read_dispatches(value: &Value, at: &str, problems: &mut Problems) -> BTreeMap<String, ShaderDispatch> {
    let mut dispatches = BTreeMap::new();
    let Value::Object(object) = value else {
        wrong_type(at, value, "an object of dispatches by the names of entry points", problems);
        return dispatches;
    };
    for (name, value) in object {
        let at = child(at, name);
        let form = "an object {\"workgroups\": [x, y, z], \"count\", \"once\"}";
        let known = &["workgroups", "count", "once"];
        let Some(fields) = Fields::read(value, &at, known, &[], form, problems) else { continue };
        let mut dispatch = ShaderDispatch::default();
        if let Some((value, at)) = fields.get("workgroups") {
            dispatch.workgroups = read_wholes(value, &at, "an array of three whole numbers, [x, y, z]", problems);
        }
        dispatch.count = fields.whole("count", "a whole number of at least 1", problems);
        dispatch.once = fields.truth("once", problems).unwrap_or(false);
        dispatches.insert(name.clone(), dispatch);
    }
    dispatches
}

fn read_wholes(value: &Value, at: &str, form: &str, problems: &mut Problems) -> Option<[u32; 3]> {
    let Some(list) = value.as_array().filter(|list| list.len() == 3) else {
        wrong_type(at, value, form, problems);
        return None;
    };
    let mut wholes = [0; 3];
    for (index, value) in list.iter().enumerate() {
        wholes[index] = read_whole(value, &child(at, &index.to_string()), "a whole number", problems)?;
    }
    Some(wholes)
}

/// A list of objects; those that cannot be read are left out, since their problem was reported.
fn read_list<T>(
    fields: &Fields<'_>,
    name: &str,
    problems: &mut Problems,
    read: impl Fn(&Value, &str, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let Some((value, at)) = fields.get(name) else { return Vec::new() };
    let expected =
        if name == "sliders" { "an array of names of params" } else { "an array of objects, by rising frame" };
    let Value::Array(list) = value else {
        wrong_type(&at, value, expected, problems);
        return Vec::new();
    };
    let one = |(index, value): (usize, &Value)| read(value, &child(&at, &index.to_string()), problems);
    list.iter().enumerate().filter_map(one).collect()
}

fn read_mouse(value: &Value, at: &str, problems: &mut Problems) -> Option<MouseEvent> {
    let form = "an object {\"frame\", \"pos\": [x, y], \"click\", \"zoom\"}";
    let fields = Fields::read(value, at, &["frame", "pos", "click", "zoom"], &[], form, problems)?;
    let frame = fields.whole("frame", &expected::frame(), problems).unwrap_or(0);
    let (value, at) = fields.required("pos", "[x, y] in pixels from the upper left corner", problems)?;
    let coordinate = |value: &Value| value.as_f64().filter(|pixels| pixels.abs() <= f64::from(i32::MAX));
    let coordinates: Option<Vec<i32>> = value
        .as_array()
        .filter(|list| list.len() == 2)
        .and_then(|list| list.iter().map(|value| coordinate(value).map(|pixels| pixels as i32)).collect());
    let Some(pos) = coordinates else {
        wrong_type(&at, value, "an array of two numbers, [x, y] in pixels from the upper left corner", problems);
        return None;
    };
    let click = fields.truth("click", problems).unwrap_or(false);
    let zoom = fields.number("zoom", problems).unwrap_or(1.0);
    Some(MouseEvent { frame, pos: [pos[0], pos[1]], click, zoom })
}

fn read_key(value: &Value, at: &str, problems: &mut Problems) -> Option<KeyEvent> {
    let form = "an object {\"frame\", \"key\", \"down\"}";
    let fields = Fields::read(value, at, &["frame", "key", "down"], &[], form, problems)?;
    let frame = fields.whole("frame", &expected::frame(), problems).unwrap_or(0);
    let (value, at) = fields.required("key", "a key code from 0 to 255", problems)?;
    let key = read_whole(value, &at, "a key code from 0 to 255", problems)?;
    let Ok(key) = u8::try_from(key) else {
        problems.add(Kind::Invalid, at, format!("found {key}, expected a key code from 0 to 255"));
        return None;
    };
    Some(KeyEvent { frame, key, down: fields.truth("down", problems).unwrap_or(true) })
}

/// What compute.toys keeps beside a shader: sliders, textures (looked up in `textures`, never fetched) and `float32Enabled`. What
/// the document says itself goes before it.
fn apply_sidecar(fields: &Fields<'_>, spec: &mut ShaderSpec, float32: Option<bool>, problems: &mut Problems) {
    let textures = read_textures(fields, problems);
    let Some((value, at)) = fields.get("sidecar") else { return };
    if spec.dialect != ShaderDialect::ComputeToys {
        problems.add(Kind::Invalid, at, "a sidecar is for the dialect \"compute_toys\"; leave it out");
        return;
    }
    let sidecar = match Sidecar::parse(value.to_string().as_bytes()) {
        Ok(sidecar) => sidecar,
        Err(message) => return problems.add(Kind::Malformed, at, message),
    };
    for (name, value) in sidecar.sliders {
        let number = serde_json::Number::from_f64(f64::from(value)).map_or(Value::from(0), Value::Number);
        if !spec.sliders.contains(&name) {
            spec.sliders.push(name.clone());
        }
        spec.params.entry(name).or_insert(number);
    }
    spec.float32 = float32.unwrap_or(sidecar.float32);
    for (index, url) in sidecar.textures.iter().enumerate() {
        if spec.channels.get(index).is_some_and(Option::is_some) {
            continue;
        }
        if spec.channels.len() <= index {
            spec.channels.resize(index + 1, None);
        }
        match textures.get(url) {
            Some(asset) => spec.channels[index] = Some(ShaderChannel::of_asset(asset.clone())),
            None if url.is_empty() || url.ends_with("/blank.png") => {}
            None => {
                let message = format!(
                    "found the address {:?}, and Kiln fetches none; upload the picture and name it in \"textures\": {{\"address\": \"sha256:…\"}}, or post it as channel{index}",
                    cut(url)
                );
                problems.add(Kind::Invalid, format!("/sidecar/textures/{index}"), message);
            }
        }
    }
}

fn read_textures(fields: &Fields<'_>, problems: &mut Problems) -> BTreeMap<String, AssetRef> {
    let Some((value, at)) = fields.get("textures") else { return BTreeMap::new() };
    let Value::Object(object) = value else {
        wrong_type(&at, value, "an object of assets by the addresses of the sidecar", problems);
        return BTreeMap::new();
    };
    let mut textures = BTreeMap::new();
    for (url, value) in object {
        match value {
            Value::String(asset) => {
                textures.insert(url.clone(), AssetRef(asset.clone()));
            }
            other => wrong_type(&child(&at, url), other, "\"sha256:\" and 64 hex digits", problems),
        }
    }
    textures
}
