//! The child's main loop: `kiln gpu-process`, which only the supervisor starts.
//!
//! Threads: the *reader* takes commands from stdin and ends the process at once when stdin closes, since that means that the parent
//! is gone, and does so even while the device thread hangs in the driver; the *writer* puts replies on stdout; the main thread hands
//! commands to the [`Pipeline`]; the *heartbeat* thread says every `HEARTBEAT_MS` how long the device thread has been silent.
//!
//! Nothing but frames may reach the pipe, and drivers like to print: on Unix the pipe is moved away from file descriptor 1, which
//! then points to stderr. Logs are JSON lines on stderr, which the supervisor passes on.

use super::frame::{self, FrameError};
use super::pipeline::Pipeline;
use super::protocol::{Command, Reply, TaskEnd};
use crate::device::{AdapterSelector, DeviceHandle, DeviceThread, system_memory_bytes};
use crate::limits::{
    GPU_PROCESS_MEMORY_PERCENT, GPU_PROCESS_RECYCLE_PERCENT, HEARTBEAT_MS, LOAD_MS_MAX, LOG_MESSAGE_BYTES_MAX,
    PIPE_FRAMES_QUEUED_MAX,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{Read, Write};
use std::time::Duration;

/// Runs the child until its parent is gone, says [`Command::Shutdown`], or the device fails. Never returns.
pub fn run(selector: &AdapterSelector) -> ! {
    step_back();
    let pipe = take_stdout();
    tracing_subscriber::fmt().json().with_env_filter(crate::cli::log_filter()).with_writer(std::io::stderr).init();
    prefer_to_be_killed();
    bound_memory();
    // Before the device is opened: a driver that hangs while it opens must not outlive the parent either.
    let (replies, written) = bounded(PIPE_FRAMES_QUEUED_MAX);
    let (received, commands) = bounded(PIPE_FRAMES_QUEUED_MAX);
    thread("pipe-writer", move || write_replies(pipe, &written));
    thread("pipe-reader", {
        let replies = replies.clone();
        move || read_commands(std::io::stdin().lock(), &received, &replies)
    });
    match DeviceThread::spawn(selector) {
        // The thread's guard is kept until the end of the process, which no destructor outlives.
        Ok((_device_thread, device)) => serve(device, &commands, replies),
        Err(error) => fatal(&replies, error.to_string()),
    }
}

fn serve(device: DeviceHandle, commands: &Receiver<Command>, replies: Sender<Reply>) -> ! {
    let pipeline = Pipeline::start(device.clone(), replies.clone());
    let canary_seconds = match super::canary::run(&device) {
        Ok(seconds) => seconds,
        Err(message) => fatal(&replies, message),
    };
    let _ = replies.send(Reply::Ready { adapter: device.report().clone(), canary_seconds });
    thread("heartbeat", {
        let (pipeline, replies) = (pipeline.clone(), replies.clone());
        move || send_heartbeats(&pipeline, &device, &replies)
    });
    for command in commands {
        match command {
            Command::Run(run) => pipeline.run(run),
            Command::Cancel(task) => pipeline.cancel(task),
            Command::Preview { task, path } => pipeline.preview(task, path),
            Command::PutAside(task) => pipeline.put_aside(task),
            Command::Shutdown => break,
        }
    }
    // The writer ends the process once this is out; or else the parent, or this.
    let _ = replies.send_timeout(Reply::Leaving, Duration::from_secs(1));
    std::thread::sleep(Duration::from_secs(2));
    end_now()
}

fn send_heartbeats(pipeline: &Pipeline, device: &DeviceHandle, replies: &Sender<Reply>) {
    let bytes_max = system_memory_bytes().map(|bytes| bytes / 100 * GPU_PROCESS_RECYCLE_PERCENT);
    let mut recycle_said = false;
    loop {
        std::thread::sleep(Duration::from_millis(HEARTBEAT_MS));
        if let Some(message) = pipeline.end_overdue(Duration::from_millis(LOAD_MS_MAX)) {
            fatal(replies, message);
        }
        let process_bytes = process_bytes();
        let too_large = bytes_max.is_some_and(|most| process_bytes > most);
        let too_large = too_large.then(|| format!("it takes {} MiB of memory", process_bytes >> 20));
        if !recycle_said && let Some(why) = too_large.or_else(|| pipeline.wants_to_leave()) {
            recycle_said = replies.try_send(Reply::Recycle { why }).is_ok();
        }
        let heartbeat = Reply::Heartbeat {
            device_silent_ms: device.silent_ms(),
            gpu_seconds: device.gpu_seconds(),
            gpu_bytes: device.gpu_bytes(),
            process_bytes,
        };
        if replies.send(heartbeat).is_err() {
            return;
        }
    }
}

/// Bytes of this process that are in memory; 0 where the system does not say.
fn process_bytes() -> u64 {
    let pages = |text: String| text.split(' ').nth(1)?.parse::<u64>().ok();
    let resident = std::fs::read_to_string("/proc/self/statm").ok().and_then(pages).unwrap_or(0);
    #[cfg(unix)]
    let page_bytes = rustix::param::page_size() as u64;
    #[cfg(not(unix))]
    let page_bytes = 0;
    resident * page_bytes
}

fn read_commands(mut stdin: impl Read, commands: &Sender<Command>, replies: &Sender<Reply>) {
    loop {
        match frame::read(&mut stdin) {
            // Never a wait here: a reader that waits does not see that the parent is gone. The parent has at most
            // `GPU_PROCESS_TASKS_MAX` tasks here, so a full queue is a fault of the protocol.
            Ok(command) => {
                if commands.try_send(command).is_err() {
                    fatal(replies, format!("more than {PIPE_FRAMES_QUEUED_MAX} commands wait in the GPU process"));
                }
            }
            Err(FrameError::Closed) => end_now(),
            Err(error) => fatal(replies, format!("the GPU process cannot read its commands: {error}")),
        }
    }
}

fn write_replies(mut pipe: impl Write, replies: &Receiver<Reply>) {
    for reply in replies {
        let last = matches!(reply, Reply::Fatal { .. } | Reply::Leaving);
        let written = match frame::write(&mut pipe, &reply) {
            // Nothing of it is on the pipe yet, and the pipe is as good as before.
            Err(FrameError::TooLong { bytes, .. }) => match shortened(reply, bytes) {
                Some(reply) => frame::write(&mut pipe, &reply),
                None => Ok(()),
            },
            written => written,
        };
        if let Err(error) = written {
            tracing::error!(%error, "the GPU process cannot answer its parent");
            end_now();
        }
        if last {
            end_now();
        }
    }
}

/// What is said instead of something that is too long for the pipe; `None`: nothing, since it is a courtesy. Only texts of the user's own
/// file can be that long, and they must hurt nobody else.
fn shortened(reply: Reply, bytes: usize) -> Option<Reply> {
    match reply {
        Reply::Ended { task, .. } => {
            let message = format!("the names in the job's files make a report of {bytes} bytes; shorten them");
            let failure = super::task::failure(crate::job::FailureReason::LimitExceeded, message, "load");
            Some(Reply::Ended { task, result: TaskEnd::Failed(failure) })
        }
        Reply::Log { task, mut message } => {
            message.truncate(message.floor_char_boundary(LOG_MESSAGE_BYTES_MAX));
            Some(Reply::Log { task, message })
        }
        Reply::Fatal { mut message } => {
            message.truncate(message.floor_char_boundary(LOG_MESSAGE_BYTES_MAX));
            Some(Reply::Fatal { message })
        }
        other => {
            tracing::error!(bytes, reply = ?std::mem::discriminant(&other), "a message for the parent is too long and is dropped");
            None
        }
    }
}

/// Says why the process cannot go on, and ends it: by the writer, once the message is out, or else here.
fn fatal(replies: &Sender<Reply>, message: String) -> ! {
    tracing::error!(message, "the GPU process gives up");
    let _ = replies.send_timeout(Reply::Fatal { message }, Duration::from_secs(1));
    std::thread::sleep(Duration::from_secs(2));
    end_now()
}

/// Ends the process without running any destructor or exit handler, which could wait for a driver that hangs. Nothing in this
/// process is worth a destructor: what it has written counts only once the parent has taken it over.
fn end_now() -> ! {
    #[cfg(unix)]
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    std::process::abort()
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("a process that cannot start a thread at its start cannot work");
}

/// The pipe to the parent, out of reach of everything else in this process that prints.
#[cfg(unix)]
fn take_stdout() -> std::fs::File {
    let pipe = rustix::io::dup(rustix::stdio::stdout()).expect("the parent gave this process a pipe as its stdout");
    rustix::stdio::dup2_stdout(rustix::stdio::stderr()).expect("the parent gave this process a stderr");
    std::fs::File::from(pipe)
}

/// As on Unix, but for code that writes to the standard handle by itself.
#[cfg(not(unix))]
fn take_stdout() -> std::io::Stdout {
    std::io::stdout()
}

/// Where memory runs out, Linux should end this process and not the one that holds the queue.
fn prefer_to_be_killed() {
    #[cfg(target_os = "linux")]
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "500") {
        tracing::debug!(%error, "the score for the out-of-memory killer could not be raised");
    }
}

/// Bounds the memory of this process, so that one that grows without end fails an allocation and dies, instead of taking the machine with
/// it. What is counted is what may be written, touched or not, the stacks of threads included. Best effort, as the drivers' own mappings differ.
fn bound_memory() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Some(memory) = system_memory_bytes() else { return };
        let most = memory / 100 * GPU_PROCESS_MEMORY_PERCENT;
        let Rlimit { maximum, .. } = getrlimit(Resource::Data);
        let most = maximum.map_or(most, |hard| hard.min(most));
        if let Err(error) = setrlimit(Resource::Data, Rlimit { current: Some(most), maximum: Some(most) }) {
            tracing::warn!(%error, "the memory of the GPU process could not be bounded");
        }
    }
}

/// Gives way to the front end where both want a core: on a software adapter every core renders, and an answer must not wait for that.
/// Called before there are threads, which inherit it. A courtesy, so a refusal changes nothing.
fn step_back() {
    #[cfg(unix)]
    let _ = rustix::process::nice(10);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu_process::protocol::TaskKey;
    use crate::job::{JobId, Output};
    use crate::limits::PIPE_FRAME_BYTES_MAX;

    #[test]
    fn a_message_that_is_too_long_for_the_pipe_ends_nobody_elses_task() {
        let task = TaskKey { job: JobId::now_v7(), fence: 1 };
        let long = || "\u{e9}\\".repeat(PIPE_FRAME_BYTES_MAX);
        let output = Output { name: long(), media_type: String::new(), bytes: 0, sha256: String::new() };
        let (sender, replies) = bounded(8);
        sender.send(Reply::Log { task, message: long() }).unwrap();
        sender.send(Reply::Output { task, index: 0, output: output.clone() }).unwrap();
        let end = TaskEnd::Succeeded { outputs: vec![output], report_json: String::new() };
        sender.send(Reply::Ended { task, result: end }).unwrap();
        sender.send(Reply::DeviceFree { task }).unwrap();
        drop(sender);
        let mut pipe = Vec::new();
        write_replies(&mut pipe, &replies);
        let mut pipe = pipe.as_slice();
        let mut next = || frame::read::<Reply>(&mut pipe);
        let Ok(Reply::Log { message, .. }) = next() else { panic!("the log line is cut") };
        assert!((LOG_MESSAGE_BYTES_MAX - 3..=LOG_MESSAGE_BYTES_MAX).contains(&message.len()));
        assert!(matches!(next(), Ok(Reply::Ended { result: TaskEnd::Failed(_), .. })));
        assert!(matches!(next(), Ok(Reply::DeviceFree { .. })));
        assert!(matches!(next(), Err(FrameError::Closed)));
    }
}
