//! The GPU "process" without a process, for `--gpu in-process`: the same pipeline in the front end's own process, so that one
//! debugger sees all of it. A hang or a crash takes the service down with it; nobody should run it for more than debugging.

use super::canary;
use super::pipeline::Pipeline;
use super::protocol::{Command, Reply};
use super::supervisor::{DeathCause, GpuEvent};
use crate::device::{AdapterSelector, DeviceThread};
use crate::limits::PIPE_FRAMES_QUEUED_MAX;
use tokio::sync::mpsc;

/// Runs the pipeline until `events` or its own commands are closed. Blocks: for a thread of its own.
pub fn run(selector: &AdapterSelector, events: &mpsc::Sender<GpuEvent>) {
    let cause = match serve(selector, events) {
        Ok(()) => DeathCause::Shutdown,
        Err(message) => DeathCause::GaveUp(message),
    };
    let _ = events.blocking_send(GpuEvent::Down { cause, restart_ms: 0 });
}

fn serve(selector: &AdapterSelector, events: &mpsc::Sender<GpuEvent>) -> Result<(), String> {
    let (device_thread, device) = DeviceThread::spawn(selector).map_err(|error| error.to_string())?;
    let canary_seconds = canary::run(&device)?;
    let (replies, answered) = crossbeam_channel::bounded(PIPE_FRAMES_QUEUED_MAX);
    let adapter = device.report().clone();
    let pipeline = Pipeline::start(device, replies);
    let (commands, mut received) = mpsc::channel(PIPE_FRAMES_QUEUED_MAX);
    let commander = std::thread::spawn(move || {
        while let Some(command) = received.blocking_recv() {
            match command {
                Command::Run(run) => pipeline.run(run),
                Command::Cancel(task) => pipeline.cancel(task),
                Command::Preview { task, path } => pipeline.preview(task, path),
                Command::PutAside(task) => pipeline.put_aside(task),
                Command::Shutdown => return,
            }
        }
    });
    if events.blocking_send(GpuEvent::Up { adapter, canary_seconds, commands }).is_err() {
        return Ok(());
    }
    for reply in answered {
        if let Reply::Fatal { message } = reply {
            return Err(message);
        }
        if events.blocking_send(GpuEvent::Reply(reply)).is_err() {
            break;
        }
    }
    drop(device_thread);
    drop(commander);
    Ok(())
}
