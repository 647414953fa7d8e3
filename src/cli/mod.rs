//! The command line: one file a subcommand. Parses, calls the library, says what happened, and answers an [`Exit`].
//!
//! Results go to stdout, everything else (progress, logs, errors) to stderr, so that `kiln … | program` works. It owns no logic
//! that the service does not have too.

mod bench;
mod doctor;
mod gpu_process;
mod input;
mod options;
mod progress;
mod render;
mod sample;
mod serve;
mod shader;

use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Environment variable with the log filter, in the syntax of `tracing_subscriber::EnvFilter`.
pub const LOG_VARIABLE: &str = "KILN_LOG";

const EXAMPLES: &str = "\
Examples:
  kiln serve                                   run the service on http://127.0.0.1:8080
  kiln render chair.glb -o chair.png           render a picture without a server
  kiln sample still-life -o still-life.glb     write a scene to play with
  kiln doctor                                  look at this machine's GPU

Environment: KILN_LOG sets the log level (error, warn, info, debug, trace), NO_COLOR turns colours off.";

#[derive(Parser)]
#[command(name = "kiln", version, about, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service: HTTP in front, the queue behind it, the GPU in a process of its own
    Serve(serve::Args),
    /// Render a scene or a shader to a picture or an animation, without a server
    Render(render::Args),
    /// Look at this machine's adapters and drivers, and render a canary
    Doctor(doctor::Args),
    /// Measure this machine: rays a second, encoding, jobs a second
    Bench(bench::Args),
    /// Write a sample scene as a GLB file
    Sample(sample::Args),
    /// The GPU process, which only `kiln serve` starts
    #[command(hide = true)]
    GpuProcess(gpu_process::Args),
}

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: what was asked for is done.
    Done,
    /// 1: it failed.
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 3: it was cancelled, by Ctrl-C for instance.
    Cancelled,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Cancelled => 3,
        })
    }
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    prepare_mesa();
    // clap exits by itself: 0 after --help and --version, 2 on a wrong command line.
    let exit = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Render(args) => render::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::GpuProcess(args) => gpu_process::run(&args),
    };
    exit.into()
}

/// Settings of Mesa that Kiln wants where nobody has set them; other drivers do not look at them.
fn prepare_mesa() {
    let set = |name: &str| std::env::var_os(name).is_some();
    if !cfg!(target_os = "linux") {
        return;
    }
    // SAFETY: this is the first thing that `main` does, so no other thread reads the environment meanwhile.
    unsafe {
        // The device-selection layer looks for a compositor and complains on stderr when there is none; what it would do is done only
        // for those who ask for it.
        if !set("XDG_RUNTIME_DIR") && !set("MESA_VK_DEVICE_SELECT") {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
        // llvmpipe gives each of its threads one contiguous run of workgroups: more runs than cores even out what they cost,
        // and each costs a thread that is woken for every dispatch.
        if !set("LP_NUM_THREADS") {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            std::env::set_var("LP_NUM_THREADS", (cores * 2).min(16).to_string());
        }
    }
}

/// The log filter of `KILN_LOG`, `info` where it says nothing sensible.
pub fn log_filter() -> EnvFilter {
    log_filter_or("info,wgpu_core=warn,wgpu_hal=warn,naga=warn")
}

fn log_filter_or(default: &str) -> EnvFilter {
    std::env::var(LOG_VARIABLE)
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default))
}

/// Sends logs to stderr as text, from the level `default` on where `KILN_LOG` says nothing else.
fn init_logs(default: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(log_filter_or(default))
        .with_writer(std::io::stderr)
        .with_ansi(colors())
        .init();
}

/// True where stderr is a terminal and nobody asked for no colours (<https://no-color.org>).
fn colors() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes a result to stdout. Whoever closed it (`kiln doctor | head -1`) has read enough, and is told no more.
fn say(result: impl std::fmt::Display) {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{result}").and_then(|()| stdout.flush()).is_err() {
        tracing::debug!("stdout is closed");
    }
}

/// Says what is wrong, on stderr.
fn complain(message: impl std::fmt::Display) {
    let label = if colors() { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    eprintln!("{label} {message}");
}

/// An error with its causes, leaving out those that the text before them has said already.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn an_error_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot listen: {source}")]
        struct Outer {
            source: std::io::Error,
        }
        let source = std::io::Error::other("address in use");
        let error = Err::<(), _>(Outer { source }).context("the service does not start").unwrap_err();
        assert_eq!(told(&error), "the service does not start: cannot listen: address in use");
    }
}
