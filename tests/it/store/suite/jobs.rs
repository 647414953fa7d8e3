//! Jobs as clients submit, list and watch them.

use super::super::*;
use futures::future::join_all;
use std::collections::{BTreeMap, HashSet};

pub async fn a_new_job_is_queued_and_can_be_read_back(bench: Bench) {
    let new = NewJob { spec: labelled("order", "4711"), ..new_job(spec(Priority::Normal)) };
    let (id, wanted) = (new.id, new.spec.clone());
    let Submitted::Created(job) = bench.store().submit(new).await.unwrap() else { panic!("it is new") };
    assert_eq!(bench.job(id).await, job);
    assert_eq!((job.id, &job.spec, job.client.as_str()), (id, &wanted, "local"));
    assert_eq!((job.state, job.attempt, job.priority), (JobState::Queued, 0, Priority::Normal));
    assert_eq!(job.labels, BTreeMap::from([("order".to_owned(), "4711".to_owned())]));
    assert_eq!((job.started_ms, job.ended_ms, job.cancel_requested), (None, None, false));
    assert!(job.outputs.is_empty() && job.error.is_none() && job.report.is_none());
    assert_eq!(bench.store().counts().await.unwrap(), (1, 0));
    let events = bench.store().events(id, 0, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::Queued { position: 0 });
}

pub async fn the_same_id_with_the_same_spec_is_the_same_job(bench: Bench) {
    let new = new_job(spec(Priority::Normal));
    bench.store().submit(new.clone()).await.unwrap();
    match bench.store().submit(new.clone()).await.unwrap() {
        Submitted::Existing(job) => assert_eq!(job.id, new.id),
        other => panic!("{other:?}"),
    }
    for other in [
        NewJob { spec: spec(Priority::Batch), ..new.clone() },
        NewJob { client: "somebody else".into(), ..new.clone() },
    ] {
        let answer = bench.store().submit(other).await.unwrap();
        assert!(matches!(answer, Submitted::Conflict(id) if id == new.id), "{answer:?}");
    }
    assert_eq!(bench.events(new.id).await, ["queued"], "the second submit leaves no trace");
}

pub async fn the_same_idempotency_key_with_the_same_request_is_the_same_job(bench: Bench) {
    let keyed = |client: &str, hash: u8| NewJob {
        client: client.into(),
        idempotency: Some(("key".into(), [hash; 32])),
        ..new_job(spec(Priority::Normal))
    };
    let Submitted::Created(first) = bench.store().submit(keyed("a", 1)).await.unwrap() else { panic!("it is new") };
    let again = bench.store().submit(keyed("a", 1)).await.unwrap();
    assert!(matches!(&again, Submitted::Existing(job) if job.id == first.id), "{again:?}");
    let other_body = bench.store().submit(keyed("a", 2)).await.unwrap();
    assert!(matches!(other_body, Submitted::Conflict(id) if id == first.id), "{other_body:?}");
    let other_client = bench.store().submit(keyed("b", 2)).await.unwrap();
    assert!(matches!(other_client, Submitted::Created(_)), "keys are per client: {other_client:?}");
}

pub async fn many_submits_of_one_id_at_once_make_one_job(bench: Bench) {
    let new = new_job(spec(Priority::Normal));
    let answers = join_all((0..32).map(|_| bench.store().submit(new.clone()))).await;
    let created = answers.iter().filter(|answer| matches!(answer, Ok(Submitted::Created(_)))).count();
    let existing = answers.iter().filter(|answer| matches!(answer, Ok(Submitted::Existing(_)))).count();
    assert_eq!((created, existing), (1, 31));
}

pub async fn pages_of_a_list_hold_every_job_once_newest_first(bench: Bench) {
    // Many share a millisecond, so that the id has to break ties.
    let submitted: HashSet<JobId> = join_all((0..57).map(|_| bench.submit())).await.iter().map(|job| job.id).collect();
    let mut seen: Vec<(TimeMs, JobId)> = Vec::new();
    loop {
        let filter = ListFilter { before: seen.last().copied(), limit: 10, ..ListFilter::default() };
        let page = bench.store().list(filter).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10);
        seen.extend(page.iter().map(|job| (job.created_ms, job.id)));
    }
    assert!(seen.is_sorted_by(|newer, older| newer > older), "newest first, and no job twice");
    assert_eq!(seen.into_iter().map(|(_, id)| id).collect::<HashSet<_>>(), submitted);
    let all = bench.store().list(ListFilter { limit: u32::MAX, ..ListFilter::default() }).await.unwrap();
    assert_eq!(all.len(), 57, "a limit beyond the bound is cut to the bound");
}

pub async fn a_list_is_filtered_by_client_state_kind_and_label(bench: Bench) {
    let from = |client: &str, spec| NewJob { client: client.into(), ..new_job(spec) };
    let plain = from("a", spec(Priority::Normal));
    let order = from("b", labelled("order", "4711"));
    let other_order = from("b", labelled("order", "4712"));
    for new in [&plain, &order, &other_order] {
        bench.store().submit(new.clone()).await.unwrap();
    }
    bench.store().cancel(other_order.id).await.unwrap();
    let list = async |filter: ListFilter| {
        let jobs = bench.store().list(ListFilter { limit: 10, ..filter }).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect::<HashSet<_>>()
    };
    let none = ListFilter::default;
    let label = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
    assert_eq!(list(ListFilter { client: Some("a".into()), ..none() }).await, HashSet::from([plain.id]));
    assert_eq!(list(ListFilter { client: Some("c".into()), ..none() }).await, HashSet::new());
    assert_eq!(list(ListFilter { state: Some(JobState::Cancelled), ..none() }).await, HashSet::from([other_order.id]));
    assert_eq!(list(ListFilter { kind: Some("scene".into()), ..none() }).await.len(), 3);
    assert_eq!(list(ListFilter { kind: Some("shader".into()), ..none() }).await.len(), 0);
    assert_eq!(list(ListFilter { label: label("order", "4711"), ..none() }).await, HashSet::from([order.id]));
    let both = ListFilter { label: label("order", "4712"), state: Some(JobState::Queued), ..none() };
    assert_eq!(list(both).await, HashSet::new());
}

pub async fn events_are_told_in_order_and_only_once_they_are_stored(bench: Bench) {
    let mut told = bench.store().subscribe();
    let job = bench.submit().await;
    let claim = bench.claim().await.unwrap();
    let line = bench.store().log(job.id, "hello".into()).await.unwrap();
    bench.end(&claim, success(job.id)).await;
    let stored = bench.store().events(job.id, 0, 100).await.unwrap();
    assert_eq!(stored[2], line);
    for event in &stored {
        assert_eq!(told.recv().await.unwrap(), (job.id, event.clone()));
    }
    assert!(told.is_empty());
    assert_eq!(bench.store().events(job.id, 3, 100).await.unwrap(), stored[3..]);
    assert_eq!(bench.store().events(job.id, 1, 2).await.unwrap(), stored[1..3]);
    assert!(bench.store().events(job.id, 99, 100).await.unwrap().is_empty());
}

pub async fn log_lines_are_events_and_bounded(bench: Bench) {
    let job = bench.submit().await;
    let long = "ä".repeat(LOG_MESSAGE_BYTES_MAX);
    let event = bench.store().log(job.id, long).await.unwrap();
    let EventKind::Log { message } = event.kind else { panic!("{event:?}") };
    assert!(message.len() <= LOG_MESSAGE_BYTES_MAX + "…".len() && message.ends_with('…'));
    let lines = join_all((0..JOB_EVENTS_MAX).map(|_| async { bench.store().log(job.id, "x".into()).await.is_ok() }));
    // The writer's queue is bounded too, so that some lines may be refused because of that; nobody is told a lie.
    let told = lines.await.into_iter().filter(|ok| *ok).count();
    let stored = bench.store().events(job.id, 0, u32::MAX).await.unwrap().len();
    assert_eq!(stored, told + 2);
    assert!(stored <= JOB_EVENTS_MAX as usize);
}

pub async fn an_operation_that_fails_does_not_fail_its_neighbours(bench: Bench) {
    let mut told = bench.store().subscribe();
    let bad = async { bench.store().put_asset("no hash", 1).await.is_err() };
    let unknown = async { matches!(bench.store().log(JobId::now_v7(), "x".into()).await, Err(StoreError::NoJob(_))) };
    let submits = join_all((0..40).map(|_| bench.submit()));
    let more = join_all((0..40).map(|_| bench.submit()));
    let (jobs, bad, unknown, more) = tokio::join!(submits, bad, unknown, more);
    assert!(bad && unknown, "what cannot be is refused");
    for job in jobs.iter().chain(&more) {
        assert_eq!(bench.events(job.id).await, ["queued"]);
        told.recv().await.unwrap();
    }
    assert!(told.is_empty(), "what was undone is not told of");
    assert_eq!(bench.store().counts().await.unwrap(), (80, 0));
}

pub async fn unknown_ids_are_answered_and_not_invented(bench: Bench) {
    let id = JobId::now_v7();
    let store = bench.store();
    assert!(store.job(id).await.unwrap().is_none());
    assert!(store.cancel(id).await.unwrap().is_none());
    assert!(store.retry(id).await.unwrap().is_none());
    assert!(store.delete(id).await.unwrap().is_none());
    assert_eq!(store.position(id).await.unwrap(), 0);
    assert!(store.events(id, 0, 10).await.unwrap().is_empty());
    assert!(store.output_blob(id, "image.png").await.unwrap().is_none());
    assert!(matches!(store.log(id, "x".into()).await, Err(StoreError::NoJob(unknown)) if unknown == id));
    let spec = spec(Priority::Normal);
    let claim = Claim {
        job: id,
        client: "local".into(),
        task: 0,
        first_frame: 0,
        last_frame: 0,
        kind: TaskKind::Frames,
        attempt: 1,
        fence: 1,
        spec,
        priority: Priority::Normal,
        deaths: 0,
        checkpoint: None,
    };
    assert!(matches!(store.commit(&claim, AttemptEnd::Cancelled, None).await.unwrap(), Committed::Stale));
    assert_eq!(store.heartbeat(&claim, Progress::default(), LEASE_MS).await.unwrap(), LeaseState::Lost);
}
