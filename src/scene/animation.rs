//! Animations sampled at one time (glTF 2.0, 3.11 and appendix C): translations, rotations, scales and morph weights.

use super::accessor::{Buffers, Component, Elements};
use super::document::{self, Animation, Document, get};
use super::error::{SceneError, SceneResult};
use super::nodes::Pose;
use crate::job::spec::{AnimationSpec, NameOrIndex};
use glam::Quat;
use std::collections::HashMap;

/// What an animation sets at the time it was sampled.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    /// Empty, or one entry a node.
    pub(super) poses: Vec<Pose>,
    /// Morph weights by node.
    pub(super) weights: HashMap<u32, Vec<f32>>,
}

/// Samples the clip that `spec` names.
pub(super) fn sample(
    document: &Document,
    buffers: &Buffers,
    spec: &AnimationSpec,
    notes: &mut Vec<String>,
) -> SceneResult<Sampled> {
    let (index, clip) = find(document, spec)?;
    if !spec.time_s.is_finite() {
        return Err(SceneError::invalid("validate", "The time of the animation is not finite."));
    }
    let mut sampled = Sampled { poses: vec![Pose::default(); document.nodes.len()], ..Sampled::default() };
    for (at, channel) in clip.channels.iter().enumerate() {
        let place = format!("/animations/{index}/channels/{at}");
        let path = channel.target.path.as_str();
        if path == "pointer" {
            notes.push("KHR_animation_pointer was ignored: its properties keep their values.".to_owned());
            continue;
        }
        // A channel without a node belongs to an extension (glTF 2.0, 3.11).
        let Some(node) = channel.target.node else { continue };
        let target = get(&document.nodes, node, "nodes", &format!("{place}/target/node"))?;
        let sampler = get(&clip.samplers, channel.sampler, "samplers", &format!("{place}/sampler"))?;
        let place = format!("/animations/{index}/samplers/{}", channel.sampler);
        let pose = &mut sampled.poses[node as usize];
        let read = |kind: &str, width: usize, rotation: bool| {
            curve(document, buffers, sampler, spec.time_s, Shape { kind, width, rotation }, &place)
        };
        match path {
            "translation" => pose.translation = Some(three(&read("VEC3", 3, false)?)),
            "scale" => pose.scale = Some(three(&read("VEC3", 3, false)?)),
            "rotation" => {
                let value = read("VEC4", 4, true)?;
                pose.rotation = Some([value[0], value[1], value[2], value[3]]);
            }
            "weights" => {
                let targets = target
                    .mesh
                    .and_then(|mesh| document.meshes.get(mesh as usize))
                    .and_then(|mesh| mesh.primitives.iter().map(|primitive| primitive.targets.len()).max())
                    .unwrap_or(0);
                if targets > 0 {
                    let weights = read("SCALAR", targets, false)?;
                    sampled.weights.insert(node, weights);
                }
            }
            other => {
                return Err(SceneError::invalid(
                    "validate",
                    format!("The channel animates \"{other}\"; expected translation, rotation, scale or weights."),
                )
                .at(format!("/animations/{index}/channels/{at}/target/path")));
            }
        }
    }
    Ok(sampled)
}

/// The clip by name or index; the error names those that are there.
fn find<'a>(document: &'a Document, spec: &AnimationSpec) -> SceneResult<(usize, &'a Animation)> {
    let clips = &document.animations;
    let found = match &spec.clip {
        None => clips.first().map(|clip| (0, clip)),
        Some(NameOrIndex::Index(index)) => clips.get(*index as usize).map(|clip| (*index as usize, clip)),
        Some(NameOrIndex::Name(name)) => clips.iter().enumerate().find(|(_, clip)| clip.name.as_deref() == Some(name)),
    };
    found.ok_or_else(|| {
        let names: Vec<String> = clips
            .iter()
            .take(32)
            .enumerate()
            .map(|(index, clip)| clip.name.as_ref().map_or(format!("{index}"), |name| format!("{index} \"{name}\"")))
            .collect();
        let wanted = match &spec.clip {
            None => "an animation".to_owned(),
            Some(NameOrIndex::Index(index)) => format!("animation {index}"),
            Some(NameOrIndex::Name(name)) => format!("an animation named \"{name}\""),
        };
        let there = match clips.len() {
            0 => "it has none".to_owned(),
            count => format!("it has {count}: {}", names.join(", ")),
        };
        SceneError::invalid("load", format!("The job asks for {wanted} that the file does not have; {there}."))
            .at("/animations")
    })
}

/// What the values of a curve are.
struct Shape<'a> {
    /// Accessor type of the output.
    kind: &'a str,
    /// Numbers a key.
    width: usize,
    /// The numbers are a quaternion.
    rotation: bool,
}

/// The value of a sampler at `time`, which is clamped to the range of its keys.
fn curve(
    document: &Document,
    buffers: &Buffers,
    sampler: &document::AnimationSampler,
    time: f32,
    shape: Shape,
    place: &str,
) -> SceneResult<Vec<f32>> {
    let user = format!("{place}/input");
    let input =
        Elements::open(document, buffers, sampler.input, &["SCALAR"], &user)?.require(&[Component::F32], &user)?;
    let output = Elements::open(document, buffers, sampler.output, &[shape.kind], &format!("{place}/output"))?;
    let invalid = |message: String| SceneError::invalid("validate", message).at(place);
    let interpolation = sampler.interpolation.as_deref().unwrap_or("LINEAR");
    let parts = match interpolation {
        "STEP" | "LINEAR" => 1,
        "CUBICSPLINE" => 3,
        other => {
            return Err(invalid(format!(
                "The interpolation \"{other}\" is unknown; expected STEP, LINEAR or CUBICSPLINE."
            )));
        }
    };
    let keys = input.count;
    let elements_per_value = if output.components == 1 { shape.width } else { 1 };
    if keys == 0 || output.count != keys * parts * elements_per_value {
        return Err(invalid(format!(
            "The sampler has {keys} keys and {} output elements; expected {} for them.",
            output.count,
            (keys * parts * elements_per_value).max(1)
        )));
    }
    let time_of = |key: usize| input.float(key, 0);
    if let Some(key) = (0..keys).find(|&key| !time_of(key).is_finite()) {
        return Err(invalid(format!("The time of key {key} is not finite.")));
    }
    // `part` is 0 for plain values; for splines 0 is the in-tangent, 1 the value, 2 the out-tangent.
    let value = |key: usize, part: usize| -> Vec<f32> {
        let first = (key * parts + part) * elements_per_value;
        (0..shape.width)
            .map(
                |number| {
                    if output.components == 1 { output.float(first + number, 0) } else { output.float(first, number) }
                },
            )
            .collect()
    };
    let plain = parts / 2;
    // The first key after `time`, by bisection: times that do not ascend give some key, never one out of range.
    let (mut low, mut high) = (0, keys);
    while low < high {
        let middle = (low + high) / 2;
        if time_of(middle) <= time { low = middle + 1 } else { high = middle }
    }
    let mut result = if low == 0 {
        value(0, plain)
    } else if low == keys {
        value(keys - 1, plain)
    } else {
        let (before, after) = (low - 1, low);
        let span = time_of(after) - time_of(before);
        let s = if span > 0.0 { ((time - time_of(before)) / span).clamp(0.0, 1.0) } else { 0.0 };
        let (a, b) = (value(before, plain), value(after, plain));
        match interpolation {
            "STEP" => a,
            "LINEAR" if shape.rotation => slerp(&a, &b, s),
            "LINEAR" => a.iter().zip(&b).map(|(a, b)| a + (b - a) * s).collect(),
            _ => {
                // Appendix C.5: Hermite basis, tangents scaled by the length of the span.
                let (out_tangent, in_tangent) = (value(before, 2), value(after, 0));
                let (s2, s3) = (s * s, s * s * s);
                (0..shape.width)
                    .map(|i| {
                        (2.0 * s3 - 3.0 * s2 + 1.0) * a[i]
                            + span * (s3 - 2.0 * s2 + s) * out_tangent[i]
                            + (-2.0 * s3 + 3.0 * s2) * b[i]
                            + span * (s3 - s2) * in_tangent[i]
                    })
                    .collect()
            }
        }
    };
    if let Some(number) = result.iter().find(|number| !number.is_finite()) {
        return Err(invalid(format!("The value of the sampler at {time} s is {number}; expected a finite number.")));
    }
    if shape.rotation {
        let rotation = Quat::from_slice(&result);
        let rotation = if rotation.length_squared() > 0.0 { rotation.normalize() } else { Quat::IDENTITY };
        result = rotation.to_array().to_vec();
    }
    Ok(result)
}

/// Along the shorter arc (appendix C.4).
fn slerp(a: &[f32], b: &[f32], s: f32) -> Vec<f32> {
    let unit = |value: &[f32]| {
        let rotation = Quat::from_slice(value);
        if rotation.is_finite() && rotation.length_squared() > 0.0 { rotation.normalize() } else { Quat::IDENTITY }
    };
    unit(a).slerp(unit(b), s).to_array().to_vec()
}

fn three(value: &[f32]) -> [f32; 3] {
    [value[0], value[1], value[2]]
}
