//! The job document of a shader job, typed: see [`ShaderSpec`].

use super::SpecOptions;
use super::spec::{AssetRef, Format, OutputSpec};
use crate::limits::SHADER_GPU_SECONDS_DEFAULT;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A picture, or the frames, that a compute shader draws. Field meanings and defaults as in `README.md`, "The job document".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShaderSpec {
    /// The language and conventions of the text.
    #[serde(default)]
    pub dialect: ShaderDialect,
    /// The text.
    pub source: String,
    /// `shadertoy`: text in front of every pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common: Option<String>,
    /// `shadertoy`: the buffers A to D, drawn in this order before the picture.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub buffers: BTreeMap<BufferName, ShaderBuffer>,
    /// Width and height in pixels.
    #[serde(default = "super::spec::default_size")]
    pub size: [u32; 2],
    /// The frames that are emitted.
    #[serde(default)]
    pub frames: ShaderFrames,
    /// Frames that are simulated before frame 0 of `frames`, and count in the shader's clock.
    #[serde(default)]
    pub warmup: u32,
    /// Members of `params` (`kiln`) or of `custom` (`compute_toys`), by name: numbers, truth values or arrays of them.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// `compute_toys`: names of params in the order of the site's sliders; those that are not named follow by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sliders: Vec<String>,
    /// What `channel0`… show; `None` where there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Option<ShaderChannel>>,
    /// `kiln`: bytes of storage buffers that end in an array without a length, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, u64>,
    /// `kiln`: how entry points are dispatched, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dispatches: BTreeMap<String, ShaderDispatch>,
    /// `compute_toys`: pass textures in 32-bit floats.
    #[serde(default)]
    pub float32: bool,
    /// What the mouse does, by rising frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mouse: Vec<MouseEvent>,
    /// What the keyboard does, by rising frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyEvent>,
    /// The seed that the shader sees.
    #[serde(default)]
    pub seed: u32,
    /// Bounds of this job, below the server's own.
    #[serde(default)]
    pub limits: ShaderLimits,
    /// File format and its options.
    #[serde(default)]
    pub output: OutputSpec,
    /// What every kind of job has.
    #[serde(flatten)]
    pub options: SpecOptions,
}

impl ShaderSpec {
    /// A still of this text with every option at its default.
    pub fn new(dialect: ShaderDialect, source: String) -> Self {
        Self {
            dialect,
            source,
            common: None,
            buffers: BTreeMap::new(),
            size: super::spec::default_size(),
            frames: ShaderFrames::default(),
            warmup: 0,
            params: serde_json::Map::new(),
            sliders: Vec::new(),
            channels: Vec::new(),
            storage: BTreeMap::new(),
            dispatches: BTreeMap::new(),
            float32: false,
            mouse: Vec::new(),
            keys: Vec::new(),
            seed: 0,
            limits: ShaderLimits::default(),
            output: OutputSpec::default(),
            options: SpecOptions::default(),
        }
    }

    /// `compute_toys`: the members of `custom`, in order.
    pub fn slider_values(&self) -> Vec<(String, f32)> {
        let listed = self.sliders.iter().filter_map(|name| self.params.get_key_value(name));
        let others = self.params.iter().filter(|(name, _)| !self.sliders.contains(name));
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or(0.0) as f32;
        listed.chain(others).map(|(name, value)| (name.clone(), number(value))).collect()
    }

    /// Every channel of every pass that is an asset, with its place in the document.
    pub fn channel_assets(&self) -> Vec<(String, &AssetRef)> {
        let own = self.channels.iter().enumerate().map(|(index, channel)| (format!("/channels/{index}"), channel));
        let buffers = self.buffers.iter().flat_map(|(name, buffer)| {
            let at = move |index| format!("/buffers/{}/channels/{index}", name.as_str());
            buffer.channels.iter().enumerate().map(move |(index, channel)| (at(index), channel))
        });
        own.chain(buffers)
            .filter_map(|(at, channel)| Some((format!("{at}/asset"), channel.as_ref()?.asset.as_ref()?)))
            .collect()
    }

    /// True where the job makes one file for one frame; false for sequences and animations.
    pub fn is_still(&self) -> bool {
        self.frames.count() == 1 && !self.output.format.is_animation_only()
    }

    /// True where every frame becomes a file of its own.
    pub fn is_sequence(&self) -> bool {
        self.frames.count() > 1 && matches!(self.output.format, Format::Png | Format::Jpeg | Format::Exr)
    }

    /// Frames that are simulated in all: those before the first that is emitted, too.
    pub fn frames_simulated(&self) -> u32 {
        self.warmup.saturating_add(self.frames.last()).saturating_add(1)
    }
}

/// The language and conventions of a shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShaderDialect {
    /// Plain WGSL, bindings by name.
    #[default]
    Kiln,
    /// compute.toys, unmodified.
    ComputeToys,
    /// GLSL with `mainImage`.
    Shadertoy,
}

/// Which frames are emitted. All frames from 0 on are simulated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShaderFrames {
    /// The first, from 0.
    #[serde(default)]
    pub start: u32,
    /// The last; at least `start`.
    #[serde(default)]
    pub end: u32,
    /// Every how many-th from `start` on; at least 1.
    #[serde(default = "step")]
    pub step: u32,
    /// Frames a second of the simulated clock. An animation plays at this speed divided by `step`.
    #[serde(default = "fps")]
    pub fps: f32,
}

impl Default for ShaderFrames {
    fn default() -> Self {
        Self { start: 0, end: 0, step: step(), fps: fps() }
    }
}

impl ShaderFrames {
    /// Frames that are emitted.
    pub fn count(&self) -> u32 {
        (self.end.saturating_sub(self.start) / self.step.max(1)).saturating_add(1)
    }

    /// The last frame that is emitted.
    pub fn last(&self) -> u32 {
        self.start.saturating_add((self.count() - 1).saturating_mul(self.step.max(1)))
    }

    /// True if `frame` is emitted.
    pub fn emits(&self, frame: u32) -> bool {
        (self.start..=self.end).contains(&frame) && (frame - self.start).is_multiple_of(self.step.max(1))
    }
}

fn step() -> u32 {
    1
}
fn fps() -> f32 {
    60.0
}

/// A buffer of a shadertoy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShaderBuffer {
    /// Its text.
    pub source: String,
    /// What its `iChannel0`… show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Option<ShaderChannel>>,
}

/// Names a buffer of a shadertoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BufferName {
    /// Drawn first.
    A,
    /// Drawn second.
    B,
    /// Drawn third.
    C,
    /// Drawn last.
    D,
}

impl BufferName {
    /// The letter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
        }
    }
}

/// What a channel shows: an asset or, in a shadertoy, a buffer. Exactly one of the two is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShaderChannel {
    /// A picture: PNG, JPEG, WebP, Radiance HDR or EXR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<AssetRef>,
    /// `shadertoy`: a buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<BufferName>,
    /// How the numbers of an 8-bit picture are read.
    #[serde(default)]
    pub color_space: ColorSpace,
    /// `shadertoy`: how it is filtered.
    #[serde(default)]
    pub filter: ChannelFilter,
    /// `shadertoy`: what is seen outside of it.
    #[serde(default)]
    pub wrap: ChannelWrap,
}

impl ShaderChannel {
    /// A picture with every option at its default.
    pub fn of_asset(asset: AssetRef) -> Self {
        Self {
            asset: Some(asset),
            buffer: None,
            color_space: ColorSpace::default(),
            filter: ChannelFilter::default(),
            wrap: ChannelWrap::default(),
        }
    }
}

/// How the numbers of an 8-bit picture are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorSpace {
    /// Through the sRGB curve in `kiln` and `compute_toys`; as they are in a `shadertoy`, as on that site.
    #[default]
    Auto,
    /// Through the sRGB curve.
    Srgb,
    /// As they are: normal maps, noise, data.
    Linear,
}

/// How a channel of a shadertoy is filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelFilter {
    /// The nearest texel.
    Nearest,
    /// Between four texels.
    Linear,
    /// Between four texels of two levels each.
    #[default]
    Mipmap,
}

/// What is seen outside of a channel of a shadertoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelWrap {
    /// Its edge.
    Clamp,
    /// The same again.
    #[default]
    Repeat,
}

/// How an entry point of the `kiln` dialect is dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShaderDispatch {
    /// Workgroups; absent: those that cover the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workgroups: Option<[u32; 3]>,
    /// How often in a frame; absent: once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// In frame 0 only.
    #[serde(default)]
    pub once: bool,
}

/// The mouse, from a frame on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MouseEvent {
    /// The frame, warm-up counted.
    pub frame: u32,
    /// Pixels from the upper left corner.
    pub pos: [i32; 2],
    /// A button is down.
    #[serde(default)]
    pub click: bool,
    /// As the site's wheel sets it.
    #[serde(default = "zoom")]
    pub zoom: f32,
}

fn zoom() -> f32 {
    1.0
}

/// A key, from a frame on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEvent {
    /// The frame, warm-up counted.
    pub frame: u32,
    /// JavaScript's key code, from 0 to 255.
    pub key: u8,
    /// It goes down, or up.
    pub down: bool,
}

/// Bounds of one shader job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShaderLimits {
    /// Seconds on the device.
    #[serde(default = "gpu_seconds")]
    pub gpu_seconds: f32,
    /// Loop iterations that one invocation may spend; absent: the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_fuel: Option<u32>,
}

impl Default for ShaderLimits {
    fn default() -> Self {
        Self { gpu_seconds: gpu_seconds(), loop_fuel: None }
    }
}

fn gpu_seconds() -> f32 {
    SHADER_GPU_SECONDS_DEFAULT
}
