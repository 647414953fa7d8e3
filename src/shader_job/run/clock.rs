//! The simulated clock, mouse and keyboard: what a frame tells its shaders is a function of the job and the frame's number alone.

use crate::job::shader::ShaderSpec;
use crate::shader_job::{FrameInputs, Mouse};

/// Gives the inputs of one frame after the other.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Those of the frame that came last.
    inputs: FrameInputs,
    fps: f64,
    /// Events that are behind, of the job's lists.
    mouse_at: usize,
    keys_at: usize,
    /// The frame that comes next.
    next: u32,
}

impl Clock {
    /// Before frame 0.
    pub fn new(spec: &ShaderSpec) -> Self {
        let inputs = FrameInputs { seed: spec.seed, ..FrameInputs::first(spec.size) };
        Self { inputs, fps: f64::from(spec.frames.fps), mouse_at: 0, keys_at: 0, next: 0 }
    }

    /// The next frame's inputs.
    pub fn advance(&mut self, spec: &ShaderSpec) -> &FrameInputs {
        let frame = self.next;
        let seconds = (f64::from(frame) / self.fps) as f32;
        let inputs = &mut self.inputs;
        inputs.index = frame;
        inputs.elapsed_seconds = seconds;
        inputs.delta_seconds = if frame == 0 { 0.0 } else { (1.0 / self.fps) as f32 };
        inputs.date[3] = seconds;
        let before = inputs.mouse;
        let mut now = Mouse { pressed: false, ..before };
        while let Some(event) = spec.mouse.get(self.mouse_at).filter(|event| event.frame <= frame) {
            if event.click && !now.down {
                now.start = event.pos;
                now.pressed = true;
            }
            if event.click {
                now.held = event.pos;
            }
            (now.position, now.down, now.zoom) = (event.pos, event.click, event.zoom);
            self.mouse_at += 1;
        }
        // The mouse of frame 0 has not moved: it is where it is first seen.
        now.delta = match frame {
            0 => [0; 2],
            _ => [0, 1].map(|axis| now.position[axis].wrapping_sub(before.position[axis])),
        };
        inputs.mouse = now;
        while let Some(event) = spec.keys.get(self.keys_at).filter(|event| event.frame <= frame) {
            let (word, bit) = (usize::from(event.key) / 32, u32::from(event.key) % 32);
            if event.down {
                inputs.keys[word] |= 1 << bit;
            } else {
                inputs.keys[word] &= !(1 << bit);
            }
            self.keys_at += 1;
        }
        self.next = frame.saturating_add(1);
        &self.inputs
    }

    /// As it is before `frame`, which is what [`Self::advance`] answers next.
    pub fn at(spec: &ShaderSpec, frame: u32) -> Self {
        let mut clock = Self::new(spec);
        // Scripts are short and frames are few: walking them costs less than a closed form would in trust.
        while clock.next < frame {
            clock.advance(spec);
        }
        clock
    }
}
