//! The last task of an animation: one file of the frames that the other tasks have made. Runs on the assembler thread and needs no device.

use super::protocol::{RunTask, TaskEnd};
use super::task::{encode_failure, failure};
use crate::image::animation::{AnimationSettings, AnimationWriter, CompressedFrame, Compressor, file_name};
use crate::image::{EncodeError, media_type};
use crate::job::spec::{Background, SceneFrames};
use crate::job::{Failure, FailureReason, Output, SceneSpec};
use crate::limits::ASSEMBLE_FRAMES_AT_ONCE;
use rayon::prelude::*;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Reads the frames of a scene job and writes its animation. `going_on` is told the part that is done, in [0, 1], and answers false to stop it.
///
/// # Errors
/// `internal` where a frame cannot be read or the file cannot be written.
pub fn assemble(run: &RunTask, spec: &SceneSpec, mut going_on: impl FnMut(f32) -> bool) -> Result<TaskEnd, Failure> {
    let settings = AnimationSettings {
        format: spec.output.format,
        size: spec.size,
        frame_rate: f64::from(spec.frames.as_ref().map_or(SceneFrames::FPS_DEFAULT, SceneFrames::fps)),
        alpha: spec.background == Background::Transparent,
        quality: spec.output.quality,
    };
    let path = run.output_dir.join(file_name(settings.format));
    let mut writer = AnimationWriter::create(&path, settings).map_err(|error| encode_failure(&error))?;
    let compressor = writer.compressor();
    let mut done = 0;
    for group in run.frames.chunks(ASSEMBLE_FRAMES_AT_ONCE) {
        if !going_on(done as f32 / run.frames.len() as f32) {
            return Ok(TaskEnd::Cancelled);
        }
        // Compressed side by side, written in their order.
        let compressed: Vec<Result<CompressedFrame, Failure>> =
            group.par_iter().map(|frame| compress(&compressor, frame, &settings)).collect();
        for frame in compressed {
            writer.push(frame?).map_err(|error| encode_failure(&error))?;
        }
        done += group.len();
    }
    let (bytes, sha256) = writer.finish().map_err(|error| encode_failure(&error))?;
    let output = Output {
        name: file_name(settings.format).to_owned(),
        media_type: media_type(settings.format).to_owned(),
        bytes,
        sha256: hex::encode(sha256),
    };
    let report = serde_json::json!({"frames": run.frames.len(), "kiln": env!("CARGO_PKG_VERSION")});
    Ok(TaskEnd::Succeeded { outputs: vec![output], report_json: report.to_string() })
}

fn compress(compressor: &Compressor, frame: &Path, settings: &AnimationSettings) -> Result<CompressedFrame, Failure> {
    let pixels = read(frame, settings)?;
    compressor.compress(pixels).map_err(|error: EncodeError| encode_failure(&error))
}

/// The pixels of a frame, which is a PNG of ours with 8 bits a channel.
fn read(path: &Path, settings: &AnimationSettings) -> Result<Vec<u8>, Failure> {
    let broken = |message: String| {
        let message = format!("a frame of the animation cannot be read: {message}; retry the job");
        failure(FailureReason::Internal, message, "encode")
    };
    let file = File::open(path).map_err(|error| broken(error.kind().to_string()))?;
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info().map_err(|error| broken(error.to_string()))?;
    let (info, bytes) = (reader.info(), reader.output_buffer_size());
    let fits = [info.width, info.height] == settings.size && bytes == Some(settings.frame_bytes());
    if !fits {
        return Err(broken(format!("found {} x {} pixels in {bytes:?} bytes", info.width, info.height)));
    }
    let mut pixels = vec![0; settings.frame_bytes()];
    reader.next_frame(&mut pixels).map_err(|error| broken(error.to_string()))?;
    Ok(pixels)
}
