//! Our own set of shaders, in `tests/shaders/`: over forty in the `compute_toys` dialect, over twenty each in GLSL and in `kiln`.
//!
//! Each has a job document beside it, in which `file:NAME` stands for the text of a file and `picture:NAME` for one of the small
//! pictures of [`pictures`]. Here they are compiled, shown to use every feature together, rendered, and compared with their goldens
//! in `tests/goldens/shaders/` and, where there is one, with the closed form of their picture.

mod features;
mod pictures;

use kiln::shader_job::{
    Allowed, Dialect, DispatchRequest, Filter, Program, SamplerKind, ShaderErrors, ShaderSource, compile,
    shadertoy::{Toy, ToyBuffer, ToyInput, ToySource},
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The folders, with the dialect of the shaders in them.
const FOLDERS: [(&str, Dialect); 3] =
    [("compute_toys", Dialect::ComputeToys), ("shadertoy", Dialect::Shadertoy), ("kiln", Dialect::Kiln)];

/// One shader of the set.
pub struct Entry {
    /// Folder and name: `kiln/gradient`.
    pub name: String,
    /// Its dialect.
    pub dialect: Dialect,
    /// The job document, with the texts of its files in it; pictures are still `picture:NAME`.
    pub document: Value,
}

/// The whole set, by folder and name.
pub fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for (folder, dialect) in FOLDERS {
        let folder_path = root().join(folder);
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder_path)
            .expect("the folder is there")
            .map(|entry| entry.expect("the folder can be read").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        files.sort();
        for file in files {
            let name = format!("{folder}/{}", file.file_stem().and_then(|stem| stem.to_str()).expect("plain names"));
            let mut document: Value = serde_json::from_slice(&std::fs::read(&file).expect("a readable file"))
                .unwrap_or_else(|error| panic!("{name}.json: {error}"));
            replace(&mut document, "file:", &|file| {
                std::fs::read_to_string(folder_path.join(file))
                    .unwrap_or_else(|error| panic!("{name}: {file}: {error}"))
            });
            entries.push(Entry { name, dialect, document });
        }
    }
    entries
}

/// Replaces every text that starts with `prefix` by what `by` makes of the rest.
pub fn replace(value: &mut Value, prefix: &str, by: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(prefix) {
                *text = by(rest);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| replace(value, prefix, by)),
        Value::Object(object) => object.values_mut().for_each(|value| replace(value, prefix, by)),
        _ => {}
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shaders")
}

/// TEMPORARY.
pub fn compiled(entry: &Entry) -> Result<Program, ShaderErrors> {
    let d = &entry.document;
    let text = |v: &'_ Value| v.as_str().unwrap().to_owned();
    let source = text(&d["source"]);
    let size = [d["size"][0].as_u64().unwrap() as u32, d["size"][1].as_u64().unwrap() as u32];
    let mut r = ShaderSource::new(entry.dialect, source.as_bytes(), size);
    r.allowed = Allowed { subgroups: true, shader_f16: true, float32_filterable: true, ..Allowed::default() };
    r.float32 = d["float32"].as_bool().unwrap_or(false);
    if entry.dialect == Dialect::ComputeToys {
        if let Some(p) = d["params"].as_object() {
            r.sliders = p.iter().map(|(k, v)| (k.clone(), v.as_f64().unwrap() as f32)).collect();
        }
        if let Some(list) = d["sidecar"]["uniforms"].as_array() {
            r.sliders = list.iter().map(|v| (text(&v["name"]), v["value"].as_f64().unwrap() as f32)).collect();
        }
    } else if let Some(p) = d["params"].as_object() {
        r.params = p.clone();
    }
    if let Some(s) = d["storage"].as_object() {
        r.storage_bytes = s.iter().map(|(k, v)| (k.clone(), v.as_u64().unwrap())).collect();
    }
    if let Some(s) = d["dispatches"].as_object() {
        for (k, v) in s {
            let wg = v["workgroups"].as_array().map(|w| std::array::from_fn(|i| w[i].as_u64().unwrap() as u32));
            let q = DispatchRequest {
                workgroups: wg,
                count: v["count"].as_u64().map(|c| c as u32),
                once: v["once"].as_bool().unwrap_or(false),
            };
            r.dispatches.insert(k.clone(), q);
        }
    }
    let none = Vec::new();
    r.channels =
        d["channels"].as_array().unwrap_or(&none).iter().map(|c| c["asset"].as_str().map(|_| [16, 16])).collect();
    let inputs = |v: &Value| -> [ToyInput; 4] {
        let mut out = [ToyInput::default(); 4];
        for (i, c) in v.as_array().unwrap_or(&none).iter().enumerate() {
            if let Some(b) = c["buffer"].as_str() {
                out[i].source = ToySource::Buffer(b.chars().next().unwrap());
            }
            let filter = match c["filter"].as_str() {
                Some("nearest") => Filter::Nearest,
                Some("linear") => Filter::Bilinear,
                _ => Filter::Trilinear,
            };
            out[i].sampler = SamplerKind { filter, repeat: c["wrap"] != "clamp" };
        }
        out
    };
    let common = d["common"].as_str().map(str::as_bytes);
    let mut buffers = Vec::new();
    if let Some(map) = d["buffers"].as_object() {
        for (k, v) in map {
            buffers.push(ToyBuffer {
                name: k.chars().next().unwrap(),
                source: v["source"].as_str().unwrap().as_bytes(),
                inputs: inputs(&v["channels"]),
            });
        }
    }
    r.toy = Toy { common, buffers, inputs: inputs(&d["channels"]) };
    compile(&r)
}

#[test]
fn every_shader_of_the_set_compiles() {
    let mut problems = String::new();
    for entry in entries() {
        if let Err(errors) = compiled(&entry) {
            problems.push_str(&format!("\n{}: {errors}", entry.name));
        }
    }
    assert!(problems.is_empty(), "{problems}");
}
