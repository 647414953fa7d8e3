//! Starts the GPU process, watches it, ends it when it hangs, and starts it again after any death.
//!
//! One tokio task a GPU process (plus one each for the pipe's ends and the log, while a child lives). It reports to the dispatcher
//! through a bounded channel of [`GpuEvent`]s: [`GpuEvent::Up`] brings the channel for commands, [`GpuEvent::Down`] is the last
//! message of that child, and every reply of a child lies between its two. It deliberately does not know what a task is about, and
//! never restarts anything but the child.

use super::child_log;
use super::frame::{self, FrameError};
use super::protocol::{AdapterReport, Command, Reply};
use crate::limits::*;
use crate::telemetry;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How the child is started.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// The program; `None`: this very binary, even if its file was replaced meanwhile.
    pub program: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where its temporary files go, so that those of a child that was killed are swept away with the rest of the folder; `None`: where
    /// the system keeps them.
    pub temp_dir: Option<PathBuf>,
}

impl SupervisorConfig {
    /// `kiln gpu-process` on this adapter, written as `--gpu` takes it.
    pub fn new(adapter: &str, temp_dir: &Path) -> Self {
        Self {
            program: None,
            arguments: vec!["gpu-process".into(), "--gpu".into(), adapter.into()],
            temp_dir: Some(temp_dir.to_owned()),
        }
    }
}

/// What the dispatcher learns.
#[derive(Debug)]
pub enum GpuEvent {
    /// A child is ready.
    Up {
        /// What it renders on.
        adapter: AdapterReport,
        /// Seconds that the canary render took.
        canary_seconds: f64,
        /// Where its commands go. Sending fails once it is dead, which [`GpuEvent::Down`] will say too.
        commands: mpsc::Sender<Command>,
    },
    /// It said something (never `Ready`, `Fatal` or `Heartbeat`, which are the supervisor's own).
    Reply(Reply),
    /// It is dead and gone; everything that it held is lost. Also sent for a child that never became ready.
    Down {
        /// Why.
        cause: DeathCause,
        /// When the next one is started.
        restart_ms: u64,
    },
}

/// Why a GPU process died.
#[derive(Debug, thiserror::Error)]
pub enum DeathCause {
    /// It could not be started.
    #[error("the GPU process could not be started: {0}")]
    NotStarted(std::io::Error),
    /// It was not ready in time, and was killed.
    #[error("the GPU process was not ready within {0} ms and was killed")]
    NotReady(u64),
    /// It gave up by itself, in its own words, after it had ended the task at fault.
    #[error("{0}")]
    GaveUp(String),
    /// It exited, or something killed it.
    #[error("the GPU process ended by itself: {0}")]
    Exited(String),
    /// No heartbeat came; it was killed.
    #[error("the GPU process gave no sign of life for {0} ms and was killed")]
    Silent(u64),
    /// Its device thread hung; it was killed.
    #[error("the GPU did not finish a step within {0} ms; the GPU process was killed")]
    DeviceHung(u64),
    /// It sent something that is not of the protocol; it was killed.
    #[error("the GPU process sent garbage and was killed: {0}")]
    Garbage(FrameError),
    /// It was told to end while it held nothing, so that a fresh one takes its place.
    #[error("the GPU process is replaced by a fresh one")]
    Replaced,
    /// The server shuts down.
    #[error("the server shuts down")]
    Shutdown,
}

impl DeathCause {
    /// True where a task may be to blame: the tasks that it held count a death. False where the child had already named the task at
    /// fault, or nobody is at fault: its tasks are put back as they were.
    pub fn blames_tasks(&self) -> bool {
        match self {
            Self::Exited(_) | Self::Silent(_) | Self::DeviceHung(_) | Self::Garbage(_) => true,
            Self::NotStarted(_) | Self::NotReady(_) | Self::GaveUp(_) | Self::Replaced | Self::Shutdown => false,
        }
    }
}

/// Keeps one GPU process alive until `shutdown`. Returns when the last one is dead.
pub async fn supervise(config: SupervisorConfig, events: mpsc::Sender<GpuEvent>, shutdown: CancellationToken) {
    let mut deaths_in_a_row = 0u32;
    while !shutdown.is_cancelled() {
        let (cause, lived) = match start(&config) {
            Ok(child) => watch(child, &events, &shutdown).await,
            Err(error) => (DeathCause::NotStarted(error), Duration::ZERO),
        };
        if matches!(cause, DeathCause::Shutdown) {
            let _ = events.send(GpuEvent::Down { cause, restart_ms: 0 }).await;
            return;
        }
        if matches!(cause, DeathCause::Replaced) {
            tracing::info!(lived_ms = lived.as_millis() as u64, "the GPU process ended to be replaced");
            if events.send(GpuEvent::Down { cause, restart_ms: 0 }).await.is_err() {
                return;
            }
            continue;
        }
        deaths_in_a_row = next_in_a_row(deaths_in_a_row, &cause, lived);
        let restart_ms = backoff_ms(deaths_in_a_row);
        tracing::warn!(%cause, restart_ms, lived_ms = lived.as_millis() as u64, "the GPU process died");
        if events.send(GpuEvent::Down { cause, restart_ms }).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(restart_ms)) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// How many deaths in a row the latest one makes. One whose task was named is no sign against the GPU: whoever sends such tasks must not
/// make everybody wait longer for the next process. Before it was ready, a child has no tasks.
fn next_in_a_row(before: u32, cause: &DeathCause, lived: Duration) -> u32 {
    let named = matches!(cause, DeathCause::GaveUp(_)) && lived > Duration::ZERO;
    if lived >= Duration::from_millis(RESTART_HEALTHY_MS) {
        1
    } else if named {
        before.max(1)
    } else {
        before + 1
    }
}

/// Doubles with every death in a row up to the bound, with a jitter of a quarter.
fn backoff_ms(deaths_in_a_row: u32) -> u64 {
    let doubled = RESTART_BACKOFF_MS_MIN.saturating_mul(1 << (deaths_in_a_row.max(1) - 1).min(20));
    jittered(doubled.min(RESTART_BACKOFF_MS_MAX))
}

/// `ms` more or less a quarter, at random: what waits together must not come back together.
pub fn jittered(ms: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Every `RandomState` has fresh keys, which is random enough for a jitter.
    let random = std::hash::RandomState::new().build_hasher().finish();
    ms - ms / 4 + random % (ms / 2 + 1)
}

fn start(config: &SupervisorConfig) -> std::io::Result<Child> {
    let program = match &config.program {
        Some(program) => program.clone(),
        // The link names the running binary even after its file was replaced by an upgrade.
        None if cfg!(target_os = "linux") => PathBuf::from("/proc/self/exe"),
        None => std::env::current_exe()?,
    };
    let mut command = tokio::process::Command::new(program);
    command
        .args(&config.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(may_know)));
    if let Some(dir) = &config.temp_dir {
        // Unix reads the first, Windows the others.
        command.envs(["TMPDIR", "TMP", "TEMP"].map(|name| (name, dir)));
    }
    // In a group of its own, so that a Ctrl-C at the terminal reaches only the server, which then stops the child in good order.
    #[cfg(unix)]
    command.process_group(0).arg0("kiln");
    command.spawn()
}

/// The child runs strangers' work: it gets what drivers, loaders and logs need, and no credentials.
fn may_know(variable: &str) -> bool {
    const NAMES: &[&str] = &[
        "PATH",
        "HOME",
        "USER",
        "LANG",
        "TMPDIR",
        "TEMP",
        "TMP",
        "DISPLAY",
        "SYSTEMROOT",
        "WINDIR",
        "LOCALAPPDATA",
        "APPDATA",
        "PROGRAMDATA",
        "KILN_LOG",
        "NO_COLOR",
    ];
    const PREFIXES: &[&str] = &[
        "LC_", "LD_", "DYLD_", "XDG_", "WAYLAND_", "VK_", "WGPU_", "MESA_", "LP_", "GALLIUM_", "LIBGL_", "LVP_",
        "RADV_", "AMD_", "INTEL_", "ANV_", "NVIDIA_", "__GL", "__NV", "CUDA_", "MTL_", "METAL_", "RUST_", "RAYON_",
    ];
    NAMES.contains(&variable) || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// One child from its start to its death: why it died, and how long it was ready.
async fn watch(
    mut child: Child,
    events: &mpsc::Sender<GpuEvent>,
    shutdown: &CancellationToken,
) -> (DeathCause, Duration) {
    let stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let log = tokio::spawn(child_log::pass_on(stderr, child.id().unwrap_or(0)));
    let (replies_in, mut replies) = mpsc::channel(PIPE_FRAMES_QUEUED_MAX);
    let reader = tokio::spawn(read_replies(stdout, replies_in));
    let (commands, commands_out) = mpsc::channel(PIPE_FRAMES_QUEUED_MAX);
    let writer = tokio::spawn(write_commands(stdin, commands_out));

    let ready = tokio::select! {
        ready = tokio::time::timeout(Duration::from_millis(GPU_PROCESS_READY_MS), wait_for_ready(&mut replies)) => {
            ready.unwrap_or(Err(DeathCause::NotReady(GPU_PROCESS_READY_MS)))
        }
        () = shutdown.cancelled() => Err(DeathCause::Shutdown),
    };
    let ready_at = Instant::now();
    let (cause, lived) = match ready {
        Ok((adapter, canary_seconds)) => {
            tracing::info!(
                adapter = adapter.name,
                driver = adapter.driver,
                software = adapter.software,
                canary_seconds,
                "the GPU process is ready"
            );
            let up = GpuEvent::Up { adapter, canary_seconds, commands: commands.clone() };
            let cause = if events.send(up).await.is_err() {
                DeathCause::Shutdown
            } else {
                forward_replies(&mut replies, events, shutdown).await
            };
            (cause, ready_at.elapsed())
        }
        Err(cause) => (cause, Duration::ZERO),
    };
    if matches!(cause, DeathCause::Shutdown) {
        let _ = commands.try_send(Command::Shutdown);
        let _ = tokio::time::timeout(Duration::from_millis(HEARTBEAT_MS), child.wait()).await;
    }
    drop(commands);
    // The child must be dead, and waited for, before anybody hears that it is: only then its files are nobody's.
    let _ = child.start_kill();
    let status = child.wait().await;
    let cause = match cause {
        DeathCause::Exited(_) => {
            DeathCause::Exited(status.map_or_else(|error| error.to_string(), |status| status.to_string()))
        }
        other => other,
    };
    reader.abort();
    writer.abort();
    // The log ends with the child's last line, unless a grandchild keeps the pipe open.
    if tokio::time::timeout(Duration::from_millis(HEARTBEAT_MS), log).await.is_err() {
        tracing::debug!("something keeps the log of the dead GPU process open");
    }
    (cause, lived)
}

async fn wait_for_ready(
    replies: &mut mpsc::Receiver<Result<Reply, FrameError>>,
) -> Result<(AdapterReport, f64), DeathCause> {
    match replies.recv().await {
        Some(Ok(Reply::Ready { adapter, canary_seconds })) => Ok((adapter, canary_seconds)),
        Some(Ok(Reply::Fatal { message })) => Err(DeathCause::GaveUp(message)),
        Some(Ok(other)) => Err(DeathCause::Garbage(FrameError::Malformed {
            bytes: 0,
            message: format!("found {other:?} where `Ready` was expected"),
        })),
        Some(Err(error)) => Err(death_by(error)),
        None => Err(DeathCause::Exited(String::new())),
    }
}

/// Passes replies on until the child has to die.
async fn forward_replies(
    replies: &mut mpsc::Receiver<Result<Reply, FrameError>>,
    events: &mpsc::Sender<GpuEvent>,
    shutdown: &CancellationToken,
) -> DeathCause {
    // Silence is counted in ticks of ours, not in clock time: where the whole machine, or both processes, stood still, no tick
    // went by either, and the heartbeats that wait in the pipe are read before the next one.
    let mut ticks = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks_since_heartbeat = 0;
    let mut heartbeats_hung = 0;
    loop {
        let reply = tokio::select! {
            biased;
            () = shutdown.cancelled() => return DeathCause::Shutdown,
            reply = replies.recv() => reply,
            _ = ticks.tick() => {
                ticks_since_heartbeat += 1;
                if ticks_since_heartbeat * HEARTBEAT_MS > HEARTBEAT_LOST_MS {
                    return DeathCause::Silent(HEARTBEAT_LOST_MS);
                }
                continue;
            }
        };
        match reply {
            Some(Ok(Reply::Heartbeat { device_silent_ms, gpu_bytes, process_bytes, .. })) => {
                ticks_since_heartbeat = 0;
                metrics::gauge!(telemetry::GPU_BYTES).set(gpu_bytes as f64);
                metrics::gauge!(telemetry::GPU_PROCESS_BYTES).set(process_bytes as f64);
                // Twice in a row: a child that was itself stopped for a while looks hung in its first heartbeat.
                heartbeats_hung = if device_silent_ms > DEVICE_HANG_MS { heartbeats_hung + 1 } else { 0 };
                if heartbeats_hung >= 2 {
                    return DeathCause::DeviceHung(device_silent_ms);
                }
            }
            Some(Ok(Reply::Fatal { message })) => return DeathCause::GaveUp(message),
            Some(Ok(Reply::Leaving)) => return DeathCause::Replaced,
            Some(Ok(reply)) => {
                if events.send(GpuEvent::Reply(reply)).await.is_err() {
                    return DeathCause::Shutdown;
                }
            }
            Some(Err(error)) => return death_by(error),
            None => return DeathCause::Exited(String::new()),
        }
    }
}

/// A pipe that ends is a child that ended; anything else that is wrong with it is garbage.
fn death_by(error: FrameError) -> DeathCause {
    match error {
        FrameError::Closed | FrameError::Truncated { .. } | FrameError::Io(_) => DeathCause::Exited(String::new()),
        FrameError::TooLong { .. } | FrameError::Malformed { .. } => DeathCause::Garbage(error),
    }
}

async fn read_replies(stdout: ChildStdout, replies: mpsc::Sender<Result<Reply, FrameError>>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let reply = frame::read_async(&mut stdout).await;
        let last = reply.is_err();
        if replies.send(reply).await.is_err() || last {
            return;
        }
    }
}

async fn write_commands(mut stdin: ChildStdin, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        let written = match frame::encode(&command) {
            Ok(bytes) => stdin.write_all(&bytes).await.map_err(FrameError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // The reader sees the same end and tells the dispatcher; stdin closes here, which ends a child that still lives.
            tracing::warn!(%error, "a command did not reach the GPU process");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_with_jitter_and_stays_within_its_bound() {
        for deaths in 0..200 {
            let expected =
                RESTART_BACKOFF_MS_MIN.saturating_mul(1 << (deaths.max(1) - 1).min(20)).min(RESTART_BACKOFF_MS_MAX);
            let found = backoff_ms(deaths);
            assert!(found >= expected * 3 / 4 && found <= expected * 5 / 4, "{found} ms after {deaths} deaths");
        }
        let different: std::collections::HashSet<_> = (0..20).map(|_| backoff_ms(9)).collect();
        assert!(different.len() > 1, "no jitter");
    }

    #[test]
    fn a_death_with_a_named_culprit_makes_nobody_wait_longer() {
        let (gave_up, short) = (DeathCause::GaveUp("a shader hung".into()), Duration::from_secs(1));
        assert_eq!(next_in_a_row(0, &gave_up, short), 1);
        assert_eq!(next_in_a_row(5, &gave_up, short), 5);
        assert_eq!(next_in_a_row(5, &gave_up, Duration::ZERO), 6, "it was never ready");
        assert_eq!(next_in_a_row(5, &DeathCause::Silent(1), short), 6);
        assert_eq!(next_in_a_row(5, &DeathCause::Silent(1), Duration::from_secs(3600)), 1);
    }

    #[test]
    fn the_child_gets_no_credentials() {
        for kept in ["PATH", "VK_ICD_FILENAMES", "XDG_RUNTIME_DIR", "RUST_BACKTRACE"] {
            assert!(may_know(kept), "{kept}");
        }
        for withheld in ["AWS_SECRET_ACCESS_KEY", "KILN_STORE", "KILN_API_KEY", "DATABASE_URL", "GITHUB_TOKEN"] {
            assert!(!may_know(withheld), "{withheld}");
        }
    }
}
