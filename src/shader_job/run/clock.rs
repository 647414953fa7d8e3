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
            (now.position, now.down, now.zoom) = (event.pos, event.click, event.zoom);
            if now.down {
                (now.held, now.touched) = (event.pos, true);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::shader::{MouseEvent, ShaderDialect};
    use crate::shader_job::{FrameValue, UniformBlock};

    #[test]
    fn a_shadertoys_mouse_stays_where_it_was_dragged_to_while_the_button_is_up() {
        let event = |frame, pos, click| MouseEvent { frame, pos, click, zoom: 1.0 };
        // It goes down in the corner that is also where it would start from.
        let mouse = vec![
            event(1, [50, 60], false),
            event(2, [0, 0], true),
            event(3, [10, 20], true),
            event(4, [70, 80], false),
        ];
        let spec = ShaderSpec { size: [100, 100], mouse, ..ShaderSpec::new(ShaderDialect::Shadertoy, String::new()) };
        let block = UniformBlock { bytes: vec![0; 16], values: vec![(0, FrameValue::ShadertoyMouse)], height: 100 };
        let mut clock = Clock::new(&spec);
        let mut seen = || -> Vec<f32> {
            let bytes = block.for_frame(clock.advance(&spec));
            bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
        };
        assert_eq!(seen(), [0.0; 4]);
        assert_eq!(seen(), [0.0; 4], "it was moved, and never pressed");
        assert_eq!(seen(), [0.0, 100.0, 0.0, 100.0]);
        assert_eq!(seen(), [10.0, 80.0, 0.0, -100.0]);
        assert_eq!(seen(), [10.0, 80.0, -0.0, -100.0], "it is dragged no more");
    }
}
