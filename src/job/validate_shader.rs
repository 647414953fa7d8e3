//! The rules that a [`ShaderSpec`] keeps. What only the compiler can tell (names of params, of storage buffers, of entry points) is
//! said by the GPU process.

use super::problem::{Problems, SpecProblemKind as Kind, child, cut};
use super::shader::*;
use super::validate::{animation_size, asset, in_range, output_numbers, size};
use crate::limits::*;

pub(super) fn shader(spec: &ShaderSpec, problems: &mut Problems) {
    text(&spec.source, "/source", problems);
    size(spec.size, problems);
    frames(spec, problems);
    dialect(spec, problems);
    channels(spec.dialect, &spec.channels, "/channels", problems);
    for (name, buffer) in &spec.buffers {
        let at = format!("/buffers/{}", name.as_str());
        text(&buffer.source, &format!("{at}/source"), problems);
        channels(spec.dialect, &buffer.channels, &format!("{at}/channels"), problems);
    }
    script(spec.mouse.iter().map(|event| event.frame), "/mouse", problems);
    script(spec.keys.iter().map(|event| event.frame), "/keys", problems);
    let seconds = format!("seconds above 0 and at most {SHADER_GPU_SECONDS_MAX}");
    in_range(spec.limits.gpu_seconds, 0.001, SHADER_GPU_SECONDS_MAX, "/limits/gpu_seconds", &seconds, problems);
    if let Some(fuel) = spec.limits.loop_fuel
        && !(1..=SHADER_FUEL_ITERATIONS_MAX).contains(&fuel)
    {
        problems.add(Kind::Limit, "/limits/loop_fuel", format!("found {fuel}, expected {}", loop_fuel()));
    }
    output(spec, problems);
}

fn text(text: &str, at: &str, problems: &mut Problems) {
    if text.len() > SHADER_SOURCE_BYTES_MAX {
        let message = format!("found a text of {} bytes, expected at most {SHADER_SOURCE_BYTES_MAX}", text.len());
        problems.add(Kind::Limit, at, message);
    }
}

fn frames(spec: &ShaderSpec, problems: &mut Problems) {
    let ShaderFrames { start, end, step, fps } = spec.frames;
    if step == 0 {
        problems.add(Kind::Invalid, "/frames/step", "found 0, expected a whole number of at least 1");
    }
    if end < start {
        let message = format!("found {end}, expected at least the start, {start}");
        problems.add(Kind::Invalid, "/frames/end", message);
    }
    let simulated = u64::from(spec.warmup) + u64::from(end) + 1;
    if simulated > u64::from(SHADER_FRAMES_MAX) {
        let at = if spec.warmup > end { "/warmup" } else { "/frames/end" };
        let message = format!("found {simulated} frames to simulate, expected at most {SHADER_FRAMES_MAX}");
        problems.add(Kind::Limit, at, message);
    }
    let expected = format!("frames a second from {SHADER_FPS_MIN} to {SHADER_FPS_MAX}");
    in_range(fps, SHADER_FPS_MIN, SHADER_FPS_MAX, "/frames/fps", &expected, problems);
}

/// Fields that another dialect has.
fn dialect(spec: &ShaderSpec, problems: &mut Problems) {
    use ShaderDialect::*;
    let mut only = |given: bool, at: &str, dialects: &[ShaderDialect], names: &str| {
        if given && !dialects.contains(&spec.dialect) {
            let message = format!("the field is for the dialect {names}; leave it out, or set \"dialect\"");
            problems.add(Kind::Invalid, at, message);
        }
    };
    only(spec.common.is_some(), "/common", &[Shadertoy], "\"shadertoy\"");
    only(!spec.buffers.is_empty(), "/buffers", &[Shadertoy], "\"shadertoy\"");
    only(!spec.params.is_empty(), "/params", &[Kiln, ComputeToys], "\"kiln\" or \"compute_toys\"");
    only(!spec.sliders.is_empty(), "/sliders", &[ComputeToys], "\"compute_toys\"");
    only(!spec.storage.is_empty(), "/storage", &[Kiln], "\"kiln\"");
    only(!spec.dispatches.is_empty(), "/dispatches", &[Kiln], "\"kiln\"");
    only(spec.float32, "/float32", &[ComputeToys], "\"compute_toys\"");
    if let Some(common) = &spec.common {
        text(common, "/common", problems);
    }
    if spec.params.len() > SHADER_PARAMS_MAX {
        let message = format!("found {} params, expected at most {SHADER_PARAMS_MAX}", spec.params.len());
        problems.add(Kind::Limit, "/params", message);
    }
    for (index, name) in spec.sliders.iter().enumerate() {
        if !spec.params.contains_key(name) || spec.sliders[..index].contains(name) {
            let message = format!("found {:?}, expected every name once, and each in \"params\"", cut(name));
            problems.add(Kind::Invalid, format!("/sliders/{index}"), message);
        }
    }
    if spec.dialect == ComputeToys
        && let Some((name, value)) = spec.params.iter().find(|(_, value)| !value.is_number())
    {
        let message = format!("found {value}, expected a number: sliders of compute.toys are numbers");
        problems.add(Kind::Invalid, child("/params", name), message);
    }
}

fn channels(dialect: ShaderDialect, channels: &[Option<ShaderChannel>], at: &str, problems: &mut Problems) {
    let count_max = match dialect {
        ShaderDialect::Kiln => SHADER_TEXTURES_MAX,
        ShaderDialect::ComputeToys => 2,
        ShaderDialect::Shadertoy => 4,
    };
    if channels.len() > count_max {
        let message = format!("found {} channels, expected at most {count_max} in this dialect", channels.len());
        problems.add(Kind::Limit, at, message);
    }
    for (index, channel) in channels.iter().enumerate() {
        let Some(channel) = channel else { continue };
        let at = format!("{at}/{index}");
        if let Some(picture) = &channel.asset {
            asset(picture, &format!("{at}/asset"), problems);
        }
        let samples = channel.filter != ChannelFilter::default() || channel.wrap != ChannelWrap::default();
        if dialect != ShaderDialect::Shadertoy && (samples || channel.buffer.is_some()) {
            let message = "buffer, filter and wrap are for the dialect \"shadertoy\"; in WGSL the sampler decides";
            problems.add(Kind::Invalid, at, message);
        }
    }
}

fn script(frames: impl Iterator<Item = u32>, at: &str, problems: &mut Problems) {
    let frames: Vec<u32> = frames.collect();
    if frames.len() > SHADER_SCRIPT_EVENTS_MAX {
        let message = format!("found {} events, expected at most {SHADER_SCRIPT_EVENTS_MAX}", frames.len());
        problems.add(Kind::Limit, at, message);
    }
    if let Some(index) = frames.windows(2).position(|pair| pair[1] < pair[0]) {
        let message =
            format!("found frame {} after frame {}, expected rising frames", frames[index + 1], frames[index]);
        problems.add(Kind::Invalid, format!("{at}/{}/frame", index + 1), message);
    }
}

fn output(spec: &ShaderSpec, problems: &mut Problems) {
    output_numbers(&spec.output, problems);
    let count = spec.frames.count();
    // Frames that are too many to simulate are said to be, and no more.
    let simulated = spec.frames_simulated() <= SHADER_FRAMES_MAX;
    if spec.is_sequence() && simulated && count as usize > OUTPUTS_MAX {
        let message = format!(
            "found {count} frames as files of their own, expected at most {OUTPUTS_MAX}; choose apng, gif, webp or mp4, or a larger step"
        );
        problems.add(Kind::Limit, "/frames", message);
    }
    if !spec.is_still() && !spec.is_sequence() {
        animation_size(spec.size, spec.output.format, problems);
    }
}

pub(super) fn frame() -> String {
    format!("a whole number from 0 to {}", SHADER_FRAMES_MAX - 1)
}

pub(super) fn loop_fuel() -> String {
    format!("a whole number of loop iterations from 1 to {SHADER_FUEL_ITERATIONS_MAX}")
}
