//! What is particular to a store in a file: the folder and its lock, versions, rows that went bad, a disk that is full.

use super::*;
use futures::future::join_all;
use rusqlite::{Connection, params};

/// The file behind the store's back.
fn file(dir: &std::path::Path) -> Connection {
    Connection::open(dir.join("kiln.sqlite")).unwrap()
}

fn execute(dir: &std::path::Path, sql: &str) {
    file(dir).execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let bench = Bench::sqlite().await;
    let second = SqliteStore::open(bench.dir()).await;
    assert!(matches!(second.err(), Some(StoreError::InUse(_))));
    bench.submit().await;
    bench.close().await;
    let second = SqliteStore::open(bench.dir()).await.unwrap();
    assert_eq!(second.counts().await.unwrap(), (1, 0));
}

#[tokio::test]
async fn a_store_that_was_dropped_can_be_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = SqliteStore::open(dir.path()).await.unwrap();
        assert_eq!(store.counts().await.unwrap(), (round, 0));
        store.submit(new_job(spec(Priority::Normal))).await.unwrap();
        drop(store);
    }
}

#[tokio::test]
async fn a_closed_store_refuses_instead_of_hanging() {
    let bench = Bench::sqlite().await;
    bench.close().await;
    assert!(bench.store.submit(new_job(spec(Priority::Normal))).await.is_err());
    assert!(bench.store.counts().await.is_err());
    bench.close().await;
}

#[tokio::test]
async fn a_newer_schema_is_not_touched() {
    let bench = Bench::sqlite().await;
    bench.close().await;
    execute(bench.dir(), "PRAGMA user_version = 9999");
    let error = SqliteStore::open(bench.dir()).await.err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 9999, .. }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("kiln.sqlite"),
        "this is no database, but it is long enough to be looked at".repeat(20),
    )
    .unwrap();
    let error = SqliteStore::open(dir.path()).await.err().unwrap();
    assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("kiln.sqlite")), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_cannot_be_written_is_a_clear_error() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(data.join("probe"), "").is_ok() {
        eprintln!("SKIPPED: this user may write into read-only folders (root?), so there is nothing to see");
        return;
    }
    for folder in [data.clone(), data.join("below")] {
        let error = SqliteStore::open(&folder).await.err().unwrap();
        assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
        assert!(error.to_string().contains("cannot be written"), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_fails_what_does_not_fit_and_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions { bytes_max: Some(400 << 10), ..SqliteOptions::default() };
    let store = SqliteStore::open_with(dir.path(), options).await.unwrap();
    let mut told = store.subscribe();
    let mut kept = Vec::new();
    let mut refused = 0;
    while refused == 0 {
        let news: Vec<NewJob> = (0..20).map(|_| new_job(labelled("text", &"x".repeat(200)))).collect();
        let answers = join_all(news.iter().map(|new| store.submit(new.clone()))).await;
        for (new, answer) in news.iter().zip(answers) {
            match answer {
                Ok(Submitted::Created(_)) => kept.push(new.id),
                Ok(other) => panic!("{other:?}"),
                Err(StoreError::Full(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(kept.len() < 10_000, "the bound has no effect");
    }
    assert_eq!(store.counts().await.unwrap(), (kept.len() as u64, 0), "exactly what was answered is there");
    for id in &kept {
        assert!(store.job(*id).await.unwrap().is_some());
        assert_eq!(told.recv().await.unwrap().0, *id);
    }
    assert!(told.is_empty(), "what was undone is not told of");
    // Work that is there can still be finished and forgotten, which makes room again.
    for id in &kept[..kept.len() / 2] {
        let claim = store.claim("worker", LEASE_MS, &ClaimWant::default()).await;
        if let Ok(Some(claim)) = claim {
            store.commit(&claim, failed(FailureReason::InvalidScene), None).await.unwrap();
            store.delete(*id).await.unwrap();
        }
    }
    store.submit(new_job(spec(Priority::Normal))).await.expect("there is room again");
}

#[tokio::test]
async fn a_row_that_went_bad_fails_its_own_job_only() {
    // Not JSON, and not even text.
    for spec in ["'{\"kind\": \"sce'", "CAST(x'7bff7d' AS TEXT)"] {
        let bench = Bench::sqlite().await;
        let bad = bench.submit().await;
        let good = bench.submit().await;
        execute(bench.dir(), &format!("UPDATE job SET spec = {spec} WHERE seq = (SELECT min(seq) FROM job)"));
        let error = bench.store().job(bad.id).await.unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt(what) if what.contains(&bad.id.to_string())), "{error}");
        let list = bench.store().list(ListFilter { limit: 1, ..ListFilter::default() }).await.unwrap();
        assert_eq!(list.len(), 1);
        let older = ListFilter { limit: 10, before: Some((list[0].created_ms, list[0].id)), ..ListFilter::default() };
        assert!(bench.store().list(older).await.unwrap().is_empty(), "the list leaves it out and goes on");
        assert_eq!(bench.claim().await.unwrap().job, good.id, "the claim goes on with the next one");
        assert_eq!(bench.store().counts().await.unwrap(), (0, 1));
        assert_eq!(bench.events(bad.id).await, ["queued", "ended"]);
        bench.store().delete(bad.id).await.unwrap().unwrap().expect("it has ended, and can be deleted");
        assert!(bench.store().job(bad.id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_running_row_that_went_bad_ends_with_its_attempt() {
    for bad in [
        "UPDATE job SET spec = '{}'",
        "UPDATE job SET spec = CAST(x'ff' AS TEXT)",
        "UPDATE task SET progress = 'x'",
        "UPDATE job SET report = '{'",
    ] {
        let bench = Bench::sqlite().await;
        let job = bench.submit().await;
        let claim = bench.claim_next().await;
        execute(bench.dir(), bad);
        assert!(
            matches!(bench.store().commit(&claim, success(job.id), None).await.unwrap(), Committed::Stale),
            "{bad}"
        );
        assert_eq!(bench.store().counts().await.unwrap(), (0, 0), "{bad}");
        assert_eq!(bench.events(job.id).await, ["queued", "started", "ended"]);
        execute(bench.dir(), "UPDATE job SET report = NULL");
        if let Ok(Some(failed)) = bench.store().job(job.id).await {
            let error = failed.error.unwrap();
            assert_eq!(error.reason, FailureReason::Internal);
            assert!(!error.message.contains("column"), "how rows are read is nobody's business: {}", error.message);
        }
    }
}

#[tokio::test]
async fn a_webhook_that_went_bad_does_not_stop_the_queue() {
    for bad in ["nonsense", "{}", "[]", r#"{"url": 3, "events": ["started"]}"#, r#"{"url": "x", "events": 7}"#] {
        let bench = Bench::sqlite().await;
        let hook = r#"{"url": "https://example.org/hook", "events": ["queued", "started", "ended"]}"#;
        let mut new = new_job(spec(Priority::Normal));
        new.spec.options_mut().webhook = Some(serde_json::from_str(hook).unwrap());
        let job = bench.submit_new(new.clone()).await;
        let good = bench.submit_new(NewJob { id: JobId::now_v7(), ..new }).await;
        file(bench.dir()).execute("UPDATE job SET webhook = ?1 WHERE seq = 1", [bad]).unwrap();
        let claim = bench.claim_next().await;
        assert_eq!(claim.job, job.id, "{bad}");
        bench.end(&claim, success(job.id)).await;
        // What was written before it went bad is in nobody's way.
        let due = bench.store().deliveries_due(10, &[]).await.unwrap();
        assert!(due.iter().any(|delivery| delivery.job == good.id), "{bad}");
    }
}

/// A database as the first version left it.
#[tokio::test]
async fn what_an_earlier_version_left_is_taken_over() {
    for counted in [
        "PRAGMA user_version = 1",
        "CREATE TABLE _sqlx_migrations (version INTEGER); INSERT INTO _sqlx_migrations VALUES (1)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let connection = file(dir.path());
        connection.execute_batch(include_str!("../../../src/store/migrations/sqlite/0001_queue.sql")).unwrap();
        connection.execute_batch(counted).unwrap();
        let id = JobId::now_v7();
        let mut document = spec(Priority::Batch);
        document.options_mut().finish_before_ms = Some(4_102_444_800_123);
        connection.execute("INSERT INTO client (id, name, created_ms) VALUES (1, 'local', 1)", []).unwrap();
        let job = "INSERT INTO job (id, client_id, kind, priority, state, spec, spec_hash, created_ms)
               VALUES (?1, 1, 'scene', 2, 'queued', ?2, ?3, 1)";
        let hash = document.canonical_hash();
        let values = params![id.as_bytes().as_slice(), document.canonical_json(), hash.as_slice()];
        connection.execute(job, values).unwrap();
        let task = "INSERT INTO task (job_seq, idx, priority, state, attempts_max) VALUES (1, 0, 2, 'queued', 5)";
        connection.execute(task, []).unwrap();
        connection.close().unwrap();
        let clock = Clock::default();
        let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
        let store = SqliteStore::open_with(dir.path(), options).await.unwrap();
        assert_eq!(store.job(id).await.unwrap().unwrap().spec, document);
        let kept =
            file(dir.path()).query_row("SELECT finish_before_ms FROM job", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(kept, 4_102_444_800_123);
        // It has waited since, and is let in like everything else.
        for _ in 0..2 {
            store.submit(new_job(spec(Priority::Interactive))).await.unwrap();
        }
        clock.advance_ms(AGEING_BATCH_MS);
        assert_eq!(store.claim("worker", LEASE_MS, &ClaimWant::default()).await.unwrap().unwrap().job, id);
    }
}

#[tokio::test]
async fn many_rows_that_went_bad_do_not_stop_the_queue() {
    let bench = Bench::sqlite().await;
    join_all((0..150).map(|_| bench.submit())).await;
    execute(bench.dir(), "UPDATE job SET spec = 'null'");
    let good = bench.submit().await;
    let mut claims = 0;
    let claim = loop {
        claims += 1;
        assert!(claims < 10, "the queue is stuck");
        if let Some(claim) = bench.claim().await {
            break claim;
        }
    };
    assert_eq!(claim.job, good.id);
    let page = bench.store().list(ListFilter { limit: 5, ..ListFilter::default() }).await.unwrap();
    assert_eq!(page.len(), 1);
}

#[tokio::test]
async fn the_schema_refuses_rows_that_contradict_themselves() {
    let bench = Bench::sqlite().await;
    bench.submit().await;
    let connection = file(bench.dir());
    for sql in [
        "UPDATE job SET state = 'succeeded'",
        "UPDATE job SET ended_ms = 1",
        "UPDATE job SET error = '{}'",
        "UPDATE job SET cancel_requested = 1",
        "UPDATE job SET state = 'nonsense'",
        "UPDATE job SET id = x'00'",
        "UPDATE job SET idempotency_key = 'without a hash'",
        "UPDATE task SET state = 'running'",
        "UPDATE task SET owner = 'nobody'",
        "UPDATE task SET attempt = -1",
        "INSERT INTO asset VALUES ('short', 1, 1, 1)",
    ] {
        let error = connection.execute(sql, []).expect_err(sql);
        assert!(error.to_string().contains("CHECK"), "{sql}: {error}");
    }
}
