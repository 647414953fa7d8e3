//! Uniform blocks: what stands at which byte, and its value in a frame.

use serde_json::Value;

/// What a frame tells its shaders.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameInputs {
    /// From 0, warm-up frames counted.
    pub index: u32,
    /// Seconds of simulated time since frame 0.
    pub elapsed_seconds: f32,
    /// Seconds of simulated time since the last frame; 0 in frame 0.
    pub delta_seconds: f32,
    /// The job's seed.
    pub seed: u32,
    /// See [`Mouse`].
    pub mouse: Mouse,
    /// Bit `k % 32` of word `k / 32` says that key `k` is down.
    pub keys: [u32; 8],
    /// Year, month from 0, day from 1, seconds since midnight.
    pub date: [f32; 4],
}

/// The simulated mouse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mouse {
    /// In pixels, from the upper left corner.
    pub position: [i32; 2],
    /// 1 at first.
    pub zoom: f32,
    /// A button is down.
    pub down: bool,
    /// Where it was while a button was last down.
    pub held: [i32; 2],
    /// A button has been down.
    pub touched: bool,
    /// Where the button went down last.
    pub start: [i32; 2],
    /// Since the last frame.
    pub delta: [i32; 2],
    /// The button went down in this very frame.
    pub pressed: bool,
}

impl FrameInputs {
    /// Frame 0 of a picture of `size` pixels: no time has passed, the mouse rests in the middle.
    pub fn first(size: [u32; 2]) -> Self {
        Self {
            index: 0,
            elapsed_seconds: 0.0,
            delta_seconds: 0.0,
            seed: 0,
            mouse: Mouse {
                position: size.map(|side| (side / 2) as i32),
                zoom: 1.0,
                down: false,
                held: [0; 2],
                touched: false,
                start: [0; 2],
                delta: [0; 2],
                pressed: false,
            },
            keys: [0; 8],
            date: [1970.0, 0.0, 1.0, 0.0],
        }
    }
}

/// A value that changes from frame to frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameValue {
    /// `f32`, seconds.
    Elapsed,
    /// `f32`, seconds.
    Delta,
    /// `u32`.
    Index,
    /// `u32`.
    Seed,
    /// `vec2<i32>`.
    MousePosition,
    /// `f32`.
    MouseZoom,
    /// `i32`, 0 or 1.
    MouseDown,
    /// `vec2<i32>`.
    MouseStart,
    /// `vec2<i32>`.
    MouseDelta,
    /// `array<vec4<u32>, 2>`.
    Keys,
    /// `f32`: frames a second.
    Rate,
    /// `vec4<f32>`: pixels from the lower left corner; the position while a button was last down, then where it went down, negative
    /// where it is up, the last one negative but in the frame in which it went down.
    ShadertoyMouse,
    /// `vec4<f32>`.
    Date,
}

/// A uniform buffer: constant bytes, and values that are written over them in every frame.
#[derive(Debug, Clone, PartialEq)]
pub struct UniformBlock {
    /// The bytes, with everything that does not change.
    pub bytes: Vec<u8>,
    /// What is written where, in bytes from the start.
    pub values: Vec<(u32, FrameValue)>,
    /// Height of the picture, in pixels, for values that count from below.
    pub height: u32,
}

impl UniformBlock {
    /// `bytes` zeros, rounded up to 16.
    pub(super) fn zeros(bytes: u32, height: u32) -> Self {
        Self { bytes: vec![0; bytes.next_multiple_of(16).max(16) as usize], values: Vec::new(), height }
    }

    /// Writes 32-bit words.
    pub(super) fn put(&mut self, offset: u32, words: &[u32]) {
        for (index, word) in words.iter().enumerate() {
            let at = offset as usize + 4 * index;
            if let Some(place) = self.bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// True if the bytes are the same in all frames.
    pub fn is_constant(&self) -> bool {
        self.values.is_empty()
    }

    /// The bytes for a frame.
    pub fn for_frame(&self, frame: &FrameInputs) -> Vec<u8> {
        let mut block = self.clone();
        for &(offset, value) in &self.values {
            let mouse = &frame.mouse;
            let ints = |pair: [i32; 2]| vec![pair[0] as u32, pair[1] as u32];
            let floats = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            let words = match value {
                FrameValue::Elapsed => floats(&[frame.elapsed_seconds]),
                FrameValue::Delta => floats(&[frame.delta_seconds]),
                FrameValue::Index => vec![frame.index],
                FrameValue::Seed => vec![frame.seed],
                FrameValue::MousePosition => ints(mouse.position),
                FrameValue::MouseZoom => floats(&[mouse.zoom]),
                FrameValue::MouseDown => vec![u32::from(mouse.down)],
                FrameValue::MouseStart => ints(mouse.start),
                FrameValue::MouseDelta => ints(mouse.delta),
                FrameValue::Keys => frame.keys.to_vec(),
                FrameValue::Rate => {
                    let rate = if frame.delta_seconds > 0.0 { 1.0 / frame.delta_seconds } else { 60.0 };
                    floats(&[rate])
                }
                FrameValue::ShadertoyMouse => {
                    let y = |pixels: i32| self.height as f32 - pixels as f32;
                    let sign = |set: bool| if set { 1.0 } else { -1.0 };
                    if mouse.touched {
                        floats(&[
                            mouse.held[0] as f32,
                            y(mouse.held[1]),
                            sign(mouse.down) * mouse.start[0] as f32,
                            sign(mouse.pressed) * y(mouse.start[1]),
                        ])
                    } else {
                        vec![0; 4]
                    }
                }
                FrameValue::Date => floats(&frame.date),
            };
            block.put(offset, &words);
        }
        block.bytes
    }
}

/// A scalar or vector of a `params` struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParamType {
    /// Of its components, 4 bytes each.
    pub kind: ParamKind,
    /// 1 to 4.
    pub components: u32,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParamKind {
    /// `f32`.
    Float,
    /// `i32`.
    Int,
    /// `u32`.
    Uint,
}

impl ParamType {
    /// Of a naga type.
    pub(super) fn of(inner: &naga::TypeInner) -> Option<Self> {
        let (scalar, components) = match *inner {
            naga::TypeInner::Scalar(scalar) => (scalar, 1),
            naga::TypeInner::Vector { size, scalar } => (scalar, size as u32),
            _ => return None,
        };
        let kind = match scalar {
            naga::Scalar::F32 => ParamKind::Float,
            naga::Scalar::I32 => ParamKind::Int,
            naga::Scalar::U32 => ParamKind::Uint,
            _ => return None,
        };
        Some(Self { kind, components })
    }

    /// The name in WGSL.
    pub(super) fn name(self) -> String {
        let scalar = match self.kind {
            ParamKind::Float => "f32",
            ParamKind::Int => "i32",
            ParamKind::Uint => "u32",
        };
        if self.components == 1 { scalar.to_owned() } else { format!("vec{}<{scalar}>", self.components) }
    }

    /// The 32-bit words of a JSON value, or what is wrong with it.
    pub(super) fn words(self, value: &Value) -> Result<Vec<u32>, String> {
        let bad = || format!("{value} is no {}", self.name());
        let word = |value: &Value| match self.kind {
            ParamKind::Float => {
                let number = value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b))));
                number.map(|number| (number as f32).to_bits()).ok_or_else(bad)
            }
            ParamKind::Int => value.as_i64().and_then(|n| i32::try_from(n).ok()).map(|n| n as u32).ok_or_else(bad),
            ParamKind::Uint => {
                let number = value.as_u64().or_else(|| value.as_bool().map(u64::from));
                number.and_then(|n| u32::try_from(n).ok()).ok_or_else(bad)
            }
        };
        match value {
            Value::Array(list) if self.components > 1 && list.len() == self.components as usize => {
                list.iter().map(word).collect()
            }
            Value::Array(_) => Err(bad()),
            _ if self.components == 1 => Ok(vec![word(value)?]),
            _ => Err(bad()),
        }
    }
}
