//! The rules that a [`JobSpec`] keeps: ranges, bounds, and what goes together. Pure functions over typed values.
//!
//! Everything that can be known without opening the scene is checked here, once, at the edge (invariant 6).

use super::options;
use super::problem::{Problems, SpecError, SpecProblemKind as Kind, cut};
use super::spec::*;
use super::validate_shader;
use crate::limits::*;
use glam::DVec3;

/// How long `up` may still be across the view, as a sine, before it counts as parallel to it. A millionth of a radian
/// is what f32 positions can tell.
const UP_SINE_MIN: f64 = 1e-6;

impl JobSpec {
    /// Checks a spec that was built in code and not by [`JobSpec::parse`], which has checked already.
    pub fn validate(&self) -> Result<(), SpecError> {
        let mut problems = Problems::default();
        job(self, &mut problems);
        problems.into_result(())
    }
}

pub(super) fn job(spec: &JobSpec, problems: &mut Problems) {
    match spec {
        JobSpec::Scene(spec) => scene(spec, problems),
        JobSpec::Shader(spec) => validate_shader::shader(spec, problems),
    }
    options::validate(spec.options(), problems);
}

fn scene(spec: &SceneSpec, problems: &mut Problems) {
    asset(&spec.scene.asset, "/scene/asset", problems);
    if let Some(animation) = &spec.animation {
        finite(animation.time_s, "/animation/time_s", problems);
    }
    match &spec.camera {
        None | Some(CameraSpec::Gltf { .. }) => {}
        Some(CameraSpec::Orbit { orbit: spec }) => orbit(spec, problems),
        Some(CameraSpec::LookAt(spec)) => look_at(spec, problems),
    }
    environment(&spec.environment, problems);
    size(spec.size, problems);
    if spec.samples == 0 || spec.samples > SAMPLES_MAX {
        let kind = if spec.samples == 0 { Kind::Invalid } else { Kind::Limit };
        problems.add(kind, "/samples", format!("found {}, expected {}", spec.samples, samples_expected()));
    }
    if spec.max_bounces > BOUNCES_MAX {
        let message = format!("found {}, expected {}", spec.max_bounces, bounces_expected());
        problems.add(Kind::Limit, "/max_bounces", message);
    }
    in_range(
        spec.clamp_indirect,
        0.0,
        f32::MAX,
        "/clamp_indirect",
        "a number of at least 0; 0 means no clamp",
        problems,
    );
    let exposure_expected = format!("stops from -{EXPOSURE_EV_MAX} to {EXPOSURE_EV_MAX}");
    in_range(spec.exposure_ev, -EXPOSURE_EV_MAX, EXPOSURE_EV_MAX, "/exposure_ev", &exposure_expected, problems);
    if let Some(frames) = &spec.frames {
        scene_frames(frames, problems);
    }
    output(spec, problems);
}

pub(super) fn asset(AssetRef(text): &AssetRef, at: &str, problems: &mut Problems) {
    let digits = text.strip_prefix("sha256:").unwrap_or("");
    if digits.len() != 64 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        let message = format!("found {:?}, expected \"sha256:\" and 64 hex digits in lower case", cut(text));
        problems.add(Kind::Invalid, at, message);
    }
}

pub(super) fn size(size: [u32; 2], problems: &mut Problems) {
    let mut sides_fit = true;
    for (index, side) in size.into_iter().enumerate() {
        if side == 0 || side > IMAGE_SIDE_PIXELS_MAX {
            sides_fit = false;
            let kind = if side == 0 { Kind::Invalid } else { Kind::Limit };
            problems.add(kind, format!("/size/{index}"), format!("found {side}, expected {}", side_expected()));
        }
    }
    let [width, height] = size;
    let pixels = u64::from(width) * u64::from(height);
    if sides_fit && pixels > IMAGE_PIXELS_MAX {
        let message = format!("found {width} × {height} = {pixels} pixels, expected at most {IMAGE_PIXELS_MAX}");
        problems.add(Kind::Limit, "/size", message);
    }
}

fn orbit(orbit: &Orbit, problems: &mut Problems) {
    finite(orbit.azimuth_deg, "/camera/orbit/azimuth_deg", problems);
    if !(orbit.elevation_deg > -90.0 && orbit.elevation_deg < 90.0) {
        let message = format!(
            "found {}, expected degrees above -90 and below 90; use 89.9 to look straight down",
            orbit.elevation_deg
        );
        problems.add(Kind::Invalid, "/camera/orbit/elevation_deg", message);
    }
    if !(orbit.zoom > 0.0 && orbit.zoom <= ZOOM_MAX) {
        let message = format!("found {}, expected a factor above 0 and at most {ZOOM_MAX}; 1 just fits", orbit.zoom);
        problems.add(Kind::Invalid, "/camera/orbit/zoom", message);
    }
}

fn look_at(camera: &LookAt, problems: &mut Problems) {
    for (name, vector) in [("position", camera.position), ("target", camera.target), ("up", camera.up)] {
        for (axis, coordinate) in vector.into_iter().enumerate() {
            let at = format!("/camera/{name}/{axis}");
            let expected = format!("metres from -{COORDINATE_METRES_MAX} to {COORDINATE_METRES_MAX}");
            in_range(coordinate, -COORDINATE_METRES_MAX, COORDINATE_METRES_MAX, &at, &expected, problems);
        }
    }
    let vector = |v: [f32; 3]| DVec3::from_array(v.map(f64::from));
    let view = vector(camera.target) - vector(camera.position);
    let up = vector(camera.up);
    if view.length() == 0.0 {
        problems.add(
            Kind::Invalid,
            "/camera/target",
            "it is the same point as position, expected another one to look at",
        );
    } else if up.length() == 0.0 {
        problems.add(Kind::Invalid, "/camera/up", "its length is 0, expected a direction, such as [0, 1, 0]");
    } else if view.normalize().cross(up.normalize()).length() < UP_SINE_MIN {
        let message = "it is parallel to the view from position to target, expected a direction across it";
        problems.add(Kind::Invalid, "/camera/up", message);
    }
    if !(camera.fov_y_deg > 0.0 && camera.fov_y_deg < 180.0) {
        let message = format!("found {}, expected degrees above 0 and below 180", camera.fov_y_deg);
        problems.add(Kind::Invalid, "/camera/fov_y_deg", message);
    }
    let expected = format!("metres from 0 to {COORDINATE_METRES_MAX}");
    in_range(camera.aperture_radius, 0.0, COORDINATE_METRES_MAX, "/camera/aperture_radius", &expected, problems);
    if let Some(distance) = camera.focus_distance {
        in_range(distance, 0.0, COORDINATE_METRES_MAX, "/camera/focus_distance", &expected, problems);
    }
}

fn environment(environment: &EnvironmentSpec, problems: &mut Problems) {
    let (intensity, rotation_deg) = match environment {
        EnvironmentSpec::Preset(preset) => (preset.intensity, preset.rotation_deg),
        EnvironmentSpec::Asset(picture) => {
            asset(&picture.asset, "/environment/asset", problems);
            (picture.intensity, picture.rotation_deg)
        }
    };
    let expected = format!("a factor from 0 to {ENVIRONMENT_INTENSITY_MAX}");
    in_range(intensity, 0.0, ENVIRONMENT_INTENSITY_MAX, "/environment/intensity", &expected, problems);
    finite(rotation_deg, "/environment/rotation_deg", problems);
}

fn scene_frames(frames: &SceneFrames, problems: &mut Problems) {
    match frames {
        SceneFrames::Turntable(spec) if spec.turntable == 0 => {
            problems.add(Kind::Invalid, "/frames/turntable", "found 0, expected at least one frame");
        }
        SceneFrames::Range(spec) if spec.end < spec.start => {
            let message = format!("found {}, expected at least start, which is {}", spec.end, spec.start);
            problems.add(Kind::Invalid, "/frames/end", message);
        }
        SceneFrames::Range(spec) if spec.end > SCENE_FRAME_NUMBER_MAX => {
            let message = format!("found {}, expected at most {SCENE_FRAME_NUMBER_MAX}", spec.end);
            problems.add(Kind::Limit, "/frames/end", message);
        }
        SceneFrames::Turntable(_) | SceneFrames::Range(_) => {}
    }
    if frames.count() > SCENE_FRAMES_MAX {
        let message = format!("found {} frames, expected at most {SCENE_FRAMES_MAX}", frames.count());
        problems.add(Kind::Limit, "/frames", message);
    }
    let fps = frames.fps();
    if !(fps > 0.0 && fps <= SCENE_FRAMES_PER_SECOND_MAX) {
        let message =
            format!("found {fps}, expected frames a second above 0 and at most {SCENE_FRAMES_PER_SECOND_MAX}");
        problems.add(Kind::Invalid, "/frames/fps", message);
    }
}

fn output(spec: &SceneSpec, problems: &mut Problems) {
    let SceneSpec { output, background, .. } = spec;
    output_numbers(output, problems);
    if spec.frames.is_some() && output.format.is_animation() {
        animation_size(spec.size, output.format, problems);
    }
    if spec.frames.is_none() && output.format.is_animation_only() {
        let message = "the format is an animation, and the job has no frames; choose png, jpeg, webp or exr";
        problems.add(Kind::Invalid, "/output/format", message);
    }
    if *background == Background::Transparent && output.format == Format::Jpeg {
        let message = "jpeg has no transparency; choose format \"png\", \"webp\" or \"exr\", or another background";
        problems.add(Kind::Invalid, "/background", message);
    }
}

/// Frames of one file: all of it is in memory several times while it is put together.
pub(super) fn animation_size([width, height]: [u32; 2], format: Format, problems: &mut Problems) {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > ANIMATION_PIXELS_MAX {
        let message = format!(
            "found {pixels} pixels, expected at most {ANIMATION_PIXELS_MAX} in an animation; choose png or exr"
        );
        problems.add(Kind::Limit, "/size", message);
    }
    if format == Format::Mp4 && width.min(height) < VIDEO_SIDE_PIXELS_MIN {
        let message =
            format!("found {width} × {height}, expected sides of at least {VIDEO_SIDE_PIXELS_MIN} pixels in a video");
        problems.add(Kind::Invalid, "/size", message);
    }
}

pub(super) fn output_numbers(output: &OutputSpec, problems: &mut Problems) {
    if !matches!(output.bit_depth, 8 | 16) {
        problems.add(Kind::Invalid, "/output/bit_depth", format!("found {}, expected 8 or 16", output.bit_depth));
    } else if output.bit_depth == 16 && output.format != Format::Png {
        let message =
            "only png has 16 bits a channel; choose format \"png\", or \"exr\" without bit_depth for 32-bit floats";
        problems.add(Kind::Invalid, "/output/bit_depth", message);
    }
    if !(1..=100).contains(&output.quality) {
        let message = format!("found {}, expected a whole number from 1 to 100", output.quality);
        problems.add(Kind::Invalid, "/output/quality", message);
    }
}

fn finite(number: f32, at: &str, problems: &mut Problems) {
    if !number.is_finite() {
        problems.add(Kind::Invalid, at, format!("found {number}, expected a finite number"));
    }
}

/// Refuses NaN too.
pub(super) fn in_range(number: f32, min: f32, max: f32, at: &str, expected: &str, problems: &mut Problems) {
    if !(number >= min && number <= max) {
        problems.add(Kind::Invalid, at, format!("found {number}, expected {expected}"));
    }
}

pub(super) fn samples_expected() -> String {
    format!("a whole number from 1 to {SAMPLES_MAX}")
}

pub(super) fn bounces_expected() -> String {
    format!("a whole number from 0 to {BOUNCES_MAX}")
}

pub(super) fn side_expected() -> String {
    format!("a whole number of pixels from 1 to {IMAGE_SIDE_PIXELS_MAX}")
}
