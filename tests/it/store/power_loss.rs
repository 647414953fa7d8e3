//! Power that is cut, disks that fill up or break, at any write and any fsync: what was answered is there, and the rest is whole.
//!
//! The files lie on a [`disk`] that forgets what was not fsynced. A cut is taken before many of its operations while the store works;
//! each leaves an image, which is opened as after a restart and compared with what had been answered by then.

mod disk;

use super::*;
use disk::{Image, VFS, disk, watch, write_image};
use rusqlite::{Connection, OpenFlags};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

async fn open(dir: &Path) -> Arc<SqliteStore> {
    // Names the disk, which registers the layer.
    drop(disk(dir));
    let options = SqliteOptions { vfs: Some(VFS), ..SqliteOptions::default() };
    Arc::new(SqliteStore::open_with(dir, options).await.unwrap())
}

/// What was answered: the last known state of each job.
type Ledger = Arc<Mutex<HashMap<JobId, JobState>>>;

/// A cut: the operation of the disk that it came before, what was answered by then, and what is left.
type Cut = (u64, HashMap<JobId, JobState>, Image);

fn answered(ledger: &Ledger) -> HashMap<JobId, JobState> {
    ledger.lock().unwrap().clone()
}

/// What is left in a folder's files after a cut.
fn cut(dir: &Path, random: u64) -> Image {
    disk(dir).lock().unwrap().cut(&mut || random)
}

/// Submits, claims and ends jobs, eight at a time, and writes down what is answered. Errors are given back.
async fn work(store: &Arc<SqliteStore>, ledger: &Ledger, rounds: usize) -> Vec<StoreError> {
    let round = async |round: usize| -> Result<(), StoreError> {
        let text = format!("{round} {}", "x".repeat(200));
        let Submitted::Created(job) = store.submit(new_job(labelled("round", &text))).await? else {
            panic!("it is new")
        };
        ledger.lock().unwrap().insert(job.id, JobState::Queued);
        let Some(claim) = store.claim("worker", LEASE_MS, &ClaimWant::default()).await? else { return Ok(()) };
        let end = if round.is_multiple_of(3) { failed(FailureReason::InvalidScene) } else { success(claim.job) };
        if let Committed::Done(job) = store.commit(&claim, end, None).await? {
            ledger.lock().unwrap().insert(job.id, job.state);
        }
        Ok(())
    };
    let mut errors = Vec::new();
    for first in (0..rounds).step_by(8) {
        let group = futures::future::join_all((first..rounds.min(first + 8)).map(round)).await;
        errors.extend(group.into_iter().filter_map(Result::err));
    }
    errors
}

/// Opens what is left as after a restart: everything that was answered must be there, and all of it must make sense.
async fn check(dir: &Path, answered: &HashMap<JobId, JobState>, what: &str) {
    let store = SqliteStore::open(dir).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    for (id, state) in answered {
        let job = store.job(*id).await.unwrap().unwrap_or_else(|| panic!("{what}: job {id} is lost"));
        assert!(
            *state == JobState::Queued || job.state == *state,
            "{what}: job {id} was {state:?} and is {:?}",
            job.state
        );
        assert_eq!(job.outputs.len(), usize::from(job.state == JobState::Succeeded), "{what}: job {id}");
        let events = store.events(*id, 0, 100).await.unwrap();
        assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq), "{what}: job {id} has gaps in its events");
    }
    store.rescue(true).await.unwrap();
    let (queued, running) = store.counts().await.unwrap();
    assert_eq!(running, 0, "{what}");
    let mut claimed = 0;
    while store.claim("after", LEASE_MS, &ClaimWant::default()).await.unwrap().is_some() {
        claimed += 1;
    }
    assert_eq!(claimed, queued, "{what}: what is counted is there");
    store.close().await;
    let file = Connection::open(dir.join("kiln.sqlite")).unwrap();
    let found: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok", "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_power_cut_at_any_moment() {
    const CUTS: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let ledger = Ledger::default();
    let cuts: Arc<Mutex<Vec<Cut>>> = Arc::default();
    let (seen, taken) = (ledger.clone(), cuts.clone());
    let mut random = random(0x5eed);
    let mut next = 0;
    watch(
        dir.path(),
        Box::new(move |disk| {
            let mut cuts = taken.lock().unwrap();
            if disk.operations >= next && (cuts.len() as u64) < CUTS {
                // What was answered before the cut; what is answered after it does not count.
                let answered = seen.lock().unwrap().clone();
                cuts.push((disk.operations, answered, disk.cut(&mut random)));
                next = disk.operations + 1 + random() % 400;
            }
        }),
    );
    let errors = work(&store, &ledger, 1200).await;
    assert!(errors.is_empty(), "{errors:?}");
    store.close().await;
    let cuts = std::mem::take(&mut *cuts.lock().unwrap());
    assert_eq!(cuts.len() as u64, CUTS);
    assert!(cuts.last().unwrap().1.len() > 100, "the cuts come while jobs are answered");
    for (operation, answered, image) in cuts {
        let dir = tempfile::tempdir().unwrap();
        write_image(&image, dir.path());
        check(dir.path(), &answered, &format!("the cut before operation {operation}")).await;
    }
}

#[tokio::test]
async fn the_disk_of_these_tests_does_lose_what_was_not_synced() {
    let dir = tempfile::tempdir().unwrap();
    // Registers the layer.
    drop(disk(dir.path()));
    let open = |synchronous| {
        let file =
            Connection::open_with_flags_and_vfs(dir.path().join("kiln.sqlite"), OpenFlags::default(), VFS).unwrap();
        file.execute_batch(&format!("PRAGMA journal_mode = wal; PRAGMA synchronous = {synchronous}")).unwrap();
        file
    };
    let rows = |image: Image| {
        let dir = tempfile::tempdir().unwrap();
        write_image(&image, dir.path());
        let file = Connection::open(dir.path().join("kiln.sqlite")).unwrap();
        file.query_row("SELECT count(*) FROM thing", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let safe = open("full");
    safe.execute_batch("CREATE TABLE thing (x); INSERT INTO thing VALUES (1)").unwrap();
    safe.close().unwrap();
    let unsafe_ = open("off");
    unsafe_.execute_batch("INSERT INTO thing VALUES (2)").unwrap();
    assert_eq!(rows(cut(dir.path(), 0)), 1, "all that was not synced is lost");
    assert_eq!(rows(cut(dir.path(), 2)), 2, "or all of it is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_at_any_write_loses_nothing_and_heals_by_itself() {
    for (round, healthy) in (0..24_u64).map(|round| (round, 3 + round * 5)) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await;
        let ledger = Ledger::default();
        let disk = disk(dir.path());
        let full_at = disk.lock().unwrap().operations + healthy;
        watch(dir.path(), Box::new(|_| {}));
        let mut errors = Vec::new();
        // Filled up from outside between two operations of the disk, wherever the store is with its own.
        let filling = disk.clone();
        let filler = std::thread::spawn(move || {
            while filling.lock().unwrap().operations < full_at {
                std::thread::yield_now();
            }
            filling.lock().unwrap().full = true;
        });
        for _ in 0..20 {
            errors.extend(work(&store, &ledger, 16).await);
            if !errors.is_empty() {
                break;
            }
        }
        filler.join().unwrap();
        errors.extend(work(&store, &ledger, 4).await);
        assert!(!errors.is_empty(), "round {round}: the disk did not fill up");
        assert!(errors.iter().all(|error| matches!(error, StoreError::Full(_))), "round {round}: {errors:?}");
        disk.lock().unwrap().full = false;
        let late = work(&store, &ledger, 4).await;
        assert!(late.is_empty(), "round {round}: there is room again, and nobody had to help: {late:?}");
        store.close().await;
        check(dir.path(), &answered(&ledger), &format!("round {round}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_fsync_that_fails_is_an_answer_that_is_not_given() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let ledger = Ledger::default();
    assert!(work(&store, &ledger, 16).await.is_empty());
    let disk = disk(dir.path());
    disk.lock().unwrap().broken = true;
    let errors = work(&store, &ledger, 8).await;
    assert_eq!(errors.len(), 8, "nothing is answered that is not on the disk: {errors:?}");
    let image = cut(dir.path(), 0);
    disk.lock().unwrap().broken = false;
    let left = tempfile::tempdir().unwrap();
    write_image(&image, left.path());
    check(left.path(), &answered(&ledger), "the failed fsync").await;
    assert!(work(&store, &ledger, 8).await.is_empty(), "a disk that works again is used again");
    store.close().await;
    check(dir.path(), &answered(&ledger), "after it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_another_program_holds_is_busy_and_then_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { busy_ms: Some(50), ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open_with(dir.path(), options).await.unwrap());
    let ledger = Ledger::default();
    assert!(work(&store, &ledger, 8).await.is_empty());
    let other = Connection::open(dir.path().join("kiln.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let errors = work(&store, &ledger, 8).await;
    assert!(errors.len() == 8 && errors.iter().all(|error| matches!(error, StoreError::Busy)), "{errors:?}");
    assert!(store.counts().await.is_ok(), "reads go on");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(work(&store, &ledger, 8).await.is_empty());
    other.close().unwrap();
    store.close().await;
    check(dir.path(), &answered(&ledger), "afterwards").await;
}
