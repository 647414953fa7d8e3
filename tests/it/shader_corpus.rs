//! Our own set of shaders, in `tests/shaders/`: over forty in the `compute_toys` dialect, over twenty each in GLSL and in `kiln`.
//!
//! Each has a job document beside it, in which `file:NAME` stands for the text of a file and `picture:NAME` for one of the small
//! pictures of [`pictures`]. Here they are compiled, shown to use every feature together, rendered, and compared with their goldens
//! in `tests/goldens/shaders/` and, where there is one, with the closed form of their picture.

mod closed_forms;
mod features;
mod pictures;
mod render;

use kiln::job::shader::{BufferName, ChannelFilter, ChannelWrap, ShaderChannel, ShaderDispatch, ShaderSpec};
use kiln::job::{AttachedFiles, JobSpec};
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

/// The typed job document; its pictures are assets that nobody has.
pub fn spec(entry: &Entry) -> ShaderSpec {
    let mut document = entry.document.clone();
    replace(&mut document, "picture:", &|_| format!("sha256:{}", "0".repeat(64)));
    match JobSpec::from_document(document, &AttachedFiles::default()) {
        Ok(JobSpec::Shader(spec)) => spec,
        Ok(_) => panic!("{} is no shader job", entry.name),
        Err(error) => panic!("{}: {error}", entry.name),
    }
}

/// The program of a shader on an adapter that can do everything.
pub fn compiled(entry: &Entry) -> Result<Program, ShaderErrors> {
    let spec = spec(entry);
    let allowed = Allowed { subgroups: true, shader_f16: true, float32_filterable: true, ..Allowed::default() };
    let mut request = ShaderSource::new(entry.dialect, spec.source.as_bytes(), spec.size);
    request.allowed = allowed;
    request.float32 = spec.float32;
    request.sliders = spec.slider_values();
    request.params = spec.params.clone();
    request.storage_bytes = spec.storage.clone();
    request.dispatches = spec.dispatches.iter().map(|(name, asked)| (name.clone(), dispatch(asked))).collect();
    // The pictures are small; a program depends on which there are, and in `iChannelResolution` on their size.
    request.channels = spec.channels.iter().map(|channel| channel.as_ref()?.asset.as_ref().map(|_| [16, 16])).collect();
    let buffers = spec.buffers.iter().map(|(name, buffer)| ToyBuffer {
        name: letter(*name),
        source: buffer.source.as_bytes(),
        inputs: inputs(&buffer.channels),
    });
    let common = spec.common.as_deref().map(str::as_bytes);
    request.toy = Toy { common, buffers: buffers.collect(), inputs: inputs(&spec.channels) };
    compile(&request)
}

fn dispatch(asked: &ShaderDispatch) -> DispatchRequest {
    DispatchRequest { workgroups: asked.workgroups, count: asked.count, once: asked.once }
}

fn letter(name: BufferName) -> char {
    name.as_str().chars().next().expect("a buffer's name is a letter")
}

fn inputs(channels: &[Option<ShaderChannel>]) -> [ToyInput; 4] {
    std::array::from_fn(|index| {
        let Some(channel) = channels.get(index).and_then(Option::as_ref) else { return ToyInput::default() };
        let filter = match channel.filter {
            ChannelFilter::Nearest => Filter::Nearest,
            ChannelFilter::Linear => Filter::Bilinear,
            ChannelFilter::Mipmap => Filter::Trilinear,
        };
        ToyInput {
            source: channel.buffer.map_or(ToySource::Default, |name| ToySource::Buffer(letter(name))),
            sampler: SamplerKind { filter, repeat: channel.wrap == ChannelWrap::Repeat },
        }
    })
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
