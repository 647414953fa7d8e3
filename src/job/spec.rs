//! The job document: what a client asks for, typed. A [`JobSpec`] that exists is valid (invariant 6).
//!
//! `JobSpec::parse` turns JSON into a spec; every error names the field by JSON pointer, what was found, what was
//! expected, and for an unknown field the nearest known one.

use super::shader::ShaderSpec;
use crate::job::{Priority, Progress, SpecOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobSpec {
    /// A path-traced picture of a glTF scene.
    Scene(SceneSpec),
    /// What a compute shader draws.
    Shader(ShaderSpec),
}

/// A content-addressed input: `sha256:` and 64 hex digits in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AssetRef(pub String);

/// A picture of a scene. Field meanings and defaults as in `README.md`, "The job document".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneSpec {
    /// The glTF file (GLB, glTF with data URIs, or ZIP).
    pub scene: AssetSource,
    /// Animation pose; absent: the file's rest pose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub animation: Option<AnimationSpec>,
    /// Absent: the file's first camera, else auto-framed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraSpec>,
    /// Default: preset `studio`.
    #[serde(default)]
    pub environment: EnvironmentSpec,
    /// What primary rays that miss show. Default: the environment.
    #[serde(default)]
    pub background: Background,
    /// Width and height in pixels.
    #[serde(default = "default_size")]
    pub size: [u32; 2],
    /// Samples per pixel.
    #[serde(default = "default_samples")]
    pub samples: u32,
    /// Bounces of a path; 0 shows emission only, 1 adds direct light.
    #[serde(default = "default_max_bounces")]
    pub max_bounces: u32,
    /// Seed of every random decision.
    #[serde(default)]
    pub seed: u32,
    /// Clamp on the luminance of indirect contributions; 0 = off.
    #[serde(default)]
    pub clamp_indirect: f32,
    /// Curve from radiance to display.
    #[serde(default)]
    pub tone_map: ToneMap,
    /// Exposure in stops.
    #[serde(default)]
    pub exposure_ev: f32,
    /// Several pictures instead of one; absent: a still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<SceneFrames>,
    /// File format and its options.
    #[serde(default)]
    pub output: OutputSpec,
    /// What every kind of job has.
    #[serde(flatten)]
    pub options: SpecOptions,
}

impl SceneSpec {
    /// A picture of this scene with every option at its default.
    pub fn new(scene: AssetRef) -> Self {
        Self {
            scene: AssetSource { asset: scene },
            animation: None,
            camera: None,
            environment: EnvironmentSpec::default(),
            background: Background::default(),
            size: default_size(),
            samples: default_samples(),
            max_bounces: default_max_bounces(),
            seed: 0,
            clamp_indirect: 0.0,
            tone_map: ToneMap::default(),
            exposure_ev: 0.0,
            frames: None,
            output: OutputSpec::default(),
            options: SpecOptions::default(),
        }
    }
}

impl SceneSpec {
    /// The format of each frame's file: an animation's frames are pictures without loss, which are put together afterwards.
    pub fn frame_output(&self) -> OutputSpec {
        if self.frames.is_some() && self.output.format.is_animation() {
            return OutputSpec { format: Format::Png, bit_depth: 8, ..self.output.clone() };
        }
        self.output.clone()
    }

    /// The name of a frame's file, for jobs with frames: `frame-0012.png`.
    pub fn frame_name(&self, frame: u32) -> String {
        let extension = match self.frame_output().format {
            Format::Jpeg => "jpg",
            Format::Exr => "exr",
            Format::Png | Format::Webp | Format::Apng | Format::Gif | Format::Mp4 => "png",
        };
        format!("frame-{frame:04}.{extension}")
    }
}

impl JobSpec {
    /// `scene` or `shader`: the word in JSON and SQL.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Scene(_) => "scene",
            Self::Shader(_) => "shader",
        }
    }

    /// What every kind of job has.
    pub fn options(&self) -> &SpecOptions {
        match self {
            Self::Scene(spec) => &spec.options,
            Self::Shader(spec) => &spec.options,
        }
    }

    /// See [`JobSpec::options`]. Whoever changes them keeps their rules.
    pub fn options_mut(&mut self) -> &mut SpecOptions {
        match self {
            Self::Scene(spec) => &mut spec.options,
            Self::Shader(spec) => &mut spec.options,
        }
    }

    /// Class in the queue.
    pub fn priority(&self) -> Priority {
        self.options().priority
    }

    /// Changes the class in the queue.
    pub fn set_priority(&mut self, priority: Priority) {
        self.options_mut().priority = priority;
    }

    /// The client's own labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.options().labels
    }

    /// Every asset that the job reads, each once, in the order of the document.
    pub fn assets(&self) -> Vec<AssetRef> {
        let mut assets = Vec::new();
        for (_, asset) in self.asset_places() {
            if !assets.contains(asset) {
                assets.push(asset.clone());
            }
        }
        assets
    }

    /// Every place of the document that names an asset, by JSON pointer, in the order of the document.
    pub fn asset_places(&self) -> Vec<(String, &AssetRef)> {
        match self {
            Self::Scene(spec) => {
                let mut places = vec![("/scene/asset".to_owned(), &spec.scene.asset)];
                if let EnvironmentSpec::Asset(picture) = &spec.environment {
                    places.push(("/environment/asset".to_owned(), &picture.asset));
                }
                places
            }
            Self::Shader(spec) => spec.channel_assets(),
        }
    }

    /// Progress before anything has happened: all that the document itself says.
    pub fn progress_at_start(&self) -> Progress {
        match self {
            Self::Scene(spec) => Progress { samples_total: spec.samples, frames_total: 1, ..Progress::default() },
            Self::Shader(spec) => Progress { frames_total: spec.frames.count(), ..Progress::default() },
        }
    }

    /// The same scene job with more samples per pixel; `None` where it is none, or has that many already.
    pub fn with_more_samples(&self, samples: u32) -> Option<Self> {
        match self {
            Self::Scene(spec) if samples > spec.samples => Some(Self::Scene(SceneSpec { samples, ..spec.clone() })),
            _ => None,
        }
    }

    /// The document with every field spelled out, in a fixed order: equal specs give equal text.
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("a spec has string keys only and finite numbers")
    }

    /// [`JobSpec::canonical_json`] with every option at its default: equal text means equal pictures, and holds no secret.
    pub fn content_json(&self) -> String {
        let mut content = self.clone();
        *content.options_mut() = SpecOptions::default();
        content.canonical_json()
    }

    /// SHA-256 of [`JobSpec::canonical_json`]; tells whether two requests ask for the same.
    pub fn canonical_hash(&self) -> [u8; 32] {
        use sha2::Digest;
        sha2::Sha256::digest(self.canonical_json().as_bytes()).into()
    }
}

impl AssetRef {
    /// The reference to the asset with this SHA-256, in lower-case hex.
    pub fn from_sha256(sha256: &str) -> Self {
        Self(format!("sha256:{sha256}"))
    }

    /// The SHA-256 in lower-case hex, without the prefix.
    pub fn sha256(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

pub(super) fn default_size() -> [u32; 2] {
    [1024, 768]
}
fn default_samples() -> u32 {
    256
}
fn default_max_bounces() -> u32 {
    8
}

/// `{"asset": "sha256:…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetSource {
    /// See [`AssetRef`].
    pub asset: AssetRef,
}

/// Which animation, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnimationSpec {
    /// By name or by index; absent: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<NameOrIndex>,
    /// Seconds from the clip's start. Finite; clamped to the clip's range per channel, as glTF says.
    #[serde(default)]
    pub time_s: f32,
}

/// The frames of a scene job: the scene turned before the camera, or its animation played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SceneFrames {
    /// The job's camera goes once around the middle of the scene.
    Turntable(Turntable),
    /// A part of the animation.
    Range(FrameRange),
}

/// See [`SceneFrames::Turntable`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turntable {
    /// Frames of one turn, from 1: frame k is seen from 360·k / `turntable` degrees further around +Y.
    pub turntable: u32,
    /// Frames a second of an animation file.
    #[serde(default = "default_fps")]
    pub fps: f32,
}

/// See [`SceneFrames::Range`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameRange {
    /// The first frame; frame k is the animation's pose k / `fps` seconds after `animation.time_s`.
    #[serde(default)]
    pub start: u32,
    /// The last frame, itself included; at least `start`.
    pub end: u32,
    /// Frames a second, of the pose's clock and of an animation file.
    #[serde(default = "default_fps")]
    pub fps: f32,
}

impl SceneFrames {
    /// Frames a second, where a job does not say.
    pub const FPS_DEFAULT: f32 = 24.0;

    /// The first and the last frame.
    pub fn range(&self) -> (u32, u32) {
        match self {
            Self::Turntable(spec) => (0, spec.turntable.saturating_sub(1)),
            Self::Range(spec) => (spec.start, spec.end),
        }
    }

    /// Frames a second.
    pub fn fps(&self) -> f32 {
        match self {
            Self::Turntable(spec) => spec.fps,
            Self::Range(spec) => spec.fps,
        }
    }

    /// How many frames; at least 1 in a spec that is valid.
    pub fn count(&self) -> u32 {
        let (first, last) = self.range();
        last.saturating_sub(first).saturating_add(1)
    }
}

fn default_fps() -> f32 {
    SceneFrames::FPS_DEFAULT
}

/// Names something in a glTF file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NameOrIndex {
    /// From 0.
    Index(u32),
    /// The first with this name.
    Name(String),
}

/// Where the picture is taken from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CameraSpec {
    /// One of the file's cameras.
    Gltf {
        /// Which.
        gltf: NameOrIndex,
    },
    /// Around the middle of the scene, far enough to see all of it.
    Orbit {
        /// How.
        orbit: Orbit,
    },
    /// Free.
    LookAt(LookAt),
}

/// See [`CameraSpec::Orbit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orbit {
    /// Degrees around +Y; 0 looks from +Z.
    #[serde(default)]
    pub azimuth_deg: f32,
    /// Degrees above the horizon, in (−90, 90).
    #[serde(default)]
    pub elevation_deg: f32,
    /// 1 just fits; 2 is twice as near.
    #[serde(default = "one")]
    pub zoom: f32,
}

fn one() -> f32 {
    1.0
}

/// See [`CameraSpec::LookAt`]. World space, metres.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookAt {
    /// Eye.
    pub position: [f32; 3],
    /// The point in the middle of the picture; must differ from `position`.
    pub target: [f32; 3],
    /// Must not be parallel to the view.
    #[serde(default = "up")]
    pub up: [f32; 3],
    /// Vertical field of view in degrees, in (0, 180).
    #[serde(default = "fov")]
    pub fov_y_deg: f32,
    /// Lens radius in metres; 0 = pinhole.
    #[serde(default)]
    pub aperture_radius: f32,
    /// Metres; absent or 0: the distance to `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focus_distance: Option<f32>,
}

impl LookAt {
    /// A pinhole camera with every option at its default.
    pub fn new(position: [f32; 3], target: [f32; 3]) -> Self {
        Self { position, target, up: up(), fov_y_deg: fov(), aperture_radius: 0.0, focus_distance: None }
    }
}

fn up() -> [f32; 3] {
    [0.0, 1.0, 0.0]
}
fn fov() -> f32 {
    40.0
}

/// The light around the scene.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvironmentSpec {
    /// Built in.
    Preset(EnvironmentPreset),
    /// An equirectangular Radiance HDR or EXR picture.
    Asset(EnvironmentAsset),
}

impl Default for EnvironmentSpec {
    fn default() -> Self {
        Self::Preset(EnvironmentPreset { preset: Preset::Studio, intensity: 1.0, rotation_deg: 0.0 })
    }
}

/// See [`EnvironmentSpec::Preset`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentPreset {
    /// Which.
    pub preset: Preset,
    /// Factor on its radiance.
    #[serde(default = "one")]
    pub intensity: f32,
    /// Degrees around +Y.
    #[serde(default)]
    pub rotation_deg: f32,
}

/// See [`EnvironmentSpec::Asset`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentAsset {
    /// The picture.
    pub asset: AssetRef,
    /// Factor on its radiance.
    #[serde(default = "one")]
    pub intensity: f32,
    /// Degrees around +Y.
    #[serde(default)]
    pub rotation_deg: f32,
}

/// Built-in environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Soft boxes in a grey room.
    Studio,
    /// Clear sky with a sun.
    Sky,
    /// Radiance 1 everywhere.
    White,
    /// No light.
    Black,
}

/// What primary rays that miss the scene show: `"environment"`, `"transparent"` or `"#rrggbb"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Background {
    /// The environment itself.
    #[default]
    Environment,
    /// Alpha 0.
    Transparent,
    /// sRGB.
    Color([u8; 3]),
}

/// Curve from scene-linear radiance to display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToneMap {
    /// Khronos PBR Neutral.
    #[default]
    Neutral,
    /// None: clipped at 1.
    Linear,
}

/// File format of a still, of each frame of a sequence, or of an animation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// 8 or 16 bits a channel.
    #[default]
    Png,
    /// 8 bits, no alpha.
    Jpeg,
    /// Lossless; a still, or an animation of several frames.
    Webp,
    /// 32-bit float, scene-linear, no tone map.
    Exr,
    /// Animated PNG, lossless; for jobs with frames.
    Apng,
    /// Animated GIF, 256 colours a frame; for jobs with frames.
    Gif,
    /// AV1 in MP4; for jobs with frames.
    Mp4,
}

impl Format {
    /// True for one file of several frames; false for a picture, or a sequence of them. WebP is a still without frames and an animation
    /// with them, so a caller asks this of jobs with frames only.
    pub fn is_animation(self) -> bool {
        match self {
            Self::Webp | Self::Apng | Self::Gif | Self::Mp4 => true,
            Self::Png | Self::Jpeg | Self::Exr => false,
        }
    }

    /// True for formats that are animations even with one frame.
    pub fn is_animation_only(self) -> bool {
        matches!(self, Self::Apng | Self::Gif | Self::Mp4)
    }
}

/// File format and its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// See [`Format`].
    #[serde(default)]
    pub format: Format,
    /// 8 or 16 (PNG only).
    #[serde(default = "eight")]
    pub bit_depth: u8,
    /// 1 to 100 (JPEG and MP4).
    #[serde(default = "ninety")]
    pub quality: u8,
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self { format: Format::Png, bit_depth: 8, quality: 90 }
    }
}

fn eight() -> u8 {
    8
}
fn ninety() -> u8 {
    90
}

impl Serialize for Background {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Environment => serializer.serialize_str("environment"),
            Self::Transparent => serializer.serialize_str("transparent"),
            Self::Color([r, g, b]) => serializer.serialize_str(&format!("#{r:02x}{g:02x}{b:02x}")),
        }
    }
}

impl<'de> Deserialize<'de> for Background {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let message = format!("found \"{text}\", expected \"environment\", \"transparent\" or \"#rrggbb\"");
            serde::de::Error::custom(message)
        })
    }
}

impl Background {
    /// Reads the words that JSON uses.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "environment" => Some(Self::Environment),
            "transparent" => Some(Self::Transparent),
            _ => {
                let digits = text.strip_prefix('#')?;
                // `from_str_radix` would take a sign too.
                if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                let rgb = u32::from_str_radix(digits, 16).ok()?;
                Some(Self::Color([(rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8]))
            }
        }
    }
}
