//! The kill campaign: a server and its GPU process are killed at seeded moments while a client submits jobs, and a ledger on the
//! client's side says what must be true in the end: nothing lost, nothing committed twice, nothing stuck, no file that nobody names,
//! every picture's hash right.
//!
//! Short in `make test`; `make torture` runs the long form. Settings: `KILN_TORTURE_KILLS`, `KILN_TORTURE_JOBS`, `KILN_TORTURE_SEED`. A
//! failure prints its seed. Linux only: it looks into `/proc`.
#![cfg(target_os = "linux")]

mod ledger;

use crate::process::harness::{Server, files_under, gpu_or_skip, gpu_process_of, signal, wait_for};
use ledger::Ledger;
use std::path::Path;
use std::time::Duration;

/// A small generator with a seed (SplitMix64; Steele, Lea and Flood 2014), so that a campaign can be run again.
pub struct Seeded(u64);

impl Seeded {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// When to kill: at some time, or right after something has appeared in the data folder, which is when the row that names it is not
/// written yet.
#[derive(Debug, Clone, Copy)]
enum Moment {
    After(Duration),
    /// An attempt writes its first file.
    Attempt,
    /// A finished picture is a blob, and not yet an output.
    Output,
    /// A checkpoint is a blob, and not yet the task's.
    Checkpoint,
    /// So long after a picture has become a blob: its commit has begun, or is over just now.
    Commit(Duration),
}

impl Moment {
    fn draw(random: &mut Seeded) -> Self {
        match random.below(8) {
            0 => Self::Attempt,
            1 | 2 => Self::Output,
            3 => Self::Checkpoint,
            4 => Self::Commit(Duration::from_millis(random.below(12))),
            _ => Self::After(Duration::from_millis(random.below(1200))),
        }
    }

    /// Waits for it; a moment that does not come is let go after a while.
    async fn comes(self, data: &Path) {
        let folder = match self {
            Self::After(wait) => return tokio::time::sleep(wait).await,
            Self::Attempt => "spool",
            Self::Output | Self::Commit(_) => "blobs/outputs",
            Self::Checkpoint => "blobs/checkpoints",
        };
        let entries = || files_under(&data.join(folder)).len();
        let mut before = entries();
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = entries();
            if now > before {
                break;
            }
            before = now;
        }
        if let Self::Commit(wait) = self {
            tokio::time::sleep(wait).await;
        }
    }
}

#[derive(Default)]
struct Kills {
    server: u64,
    gpu: u64,
}

#[tokio::test]
async fn nothing_is_lost_doubled_stuck_or_left_behind_when_processes_are_killed_at_any_moment() {
    if !gpu_or_skip() {
        return;
    }
    let kills_wanted = setting("KILN_TORTURE_KILLS", 12);
    let jobs_wanted = setting("KILN_TORTURE_JOBS", 60);
    let seed = setting("KILN_TORTURE_SEED", 1);
    eprintln!("kill campaign: {kills_wanted} kills over {jobs_wanted} jobs, KILN_TORTURE_SEED={seed}");
    let mut random = Seeded(seed);
    let data = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new(seed, jobs_wanted);
    let mut kills = Kills::default();
    let mut server = Server::start(data.path(), "auto");
    while kills.server + kills.gpu < kills_wanted {
        // Jobs are spread over the kills, so that there is always something to lose.
        let share = (kills.server + kills.gpu + 1) * jobs_wanted / kills_wanted;
        let moment = Moment::draw(&mut random);
        let submits = async {
            ledger.submit_until(&server, share).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = submits => {}
            () = moment.comes(data.path()) => {}
        }
        if random.below(2) == 0 {
            if let Some(pid) = gpu_process_of(server.pid()) {
                signal(pid, "KILL");
                kills.gpu += 1;
            }
        } else {
            server.kill();
            kills.server += 1;
            server = Server::start(data.path(), "auto");
        }
        ledger.look(&server).await;
        let all = kills.server + kills.gpu;
        if all % 50 == 0 {
            eprintln!("{all} kills, {} jobs accepted, {} ended", ledger.accepted(), ledger.ended());
        }
    }
    ledger.submit_until(&server, jobs_wanted).await;
    ledger.drain(&server).await;
    ledger.check_every_job(&server).await;
    no_file_without_a_name(&server, data.path(), &ledger).await;
    assert_eq!(server.terminate(), Some(0));
    eprintln!(
        "kill campaign: {} kills of the server, {} of the GPU process, {} jobs, {} retried by hand after quarantine: all right",
        kills.server,
        kills.gpu,
        ledger.accepted(),
        ledger.retried
    );
}

/// Blobs are exactly what jobs and assets name, and the spool is empty.
async fn no_file_without_a_name(server: &Server, data: &Path, ledger: &Ledger) {
    // The orphans of a killed server are collected when the next one starts, so that one more start is due.
    let _ = server;
    let outputs = files_under(&data.join("blobs/outputs"));
    let unnamed: Vec<_> = outputs.iter().filter(|path| !ledger.names(path)).collect();
    assert!(unnamed.is_empty(), "files that no job names: {unnamed:?}");
    assert_eq!(outputs.len() as u64, ledger.accepted(), "one output a job");
    wait_for("an empty spool", async || files_under(&data.join("spool")).is_empty().then_some(())).await;
}
