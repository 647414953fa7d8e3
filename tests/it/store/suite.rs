//! The promises, one function each.

use super::*;
use futures::future::join_all;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

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

pub async fn jobs_are_claimed_by_class_and_then_in_order_of_arrival(bench: Bench) {
    use Priority::*;
    let mut arrived = Vec::new();
    for priority in [Batch, Normal, Interactive, Normal, Batch, Interactive] {
        arrived.push((priority, bench.submit_as(priority).await.id));
    }
    // A stable sort keeps the order of arrival within a class.
    arrived.sort_by_key(|(priority, _)| *priority);
    for (position, (priority, id)) in arrived.iter().enumerate() {
        assert_eq!(bench.store().position(*id).await.unwrap(), position as u64);
        assert!(position < 6, "{priority:?}");
    }
    for (priority, id) in arrived {
        let claim = bench.claim().await.unwrap();
        assert_eq!((claim.job, claim.priority, claim.attempt, claim.task, claim.deaths), (id, priority, 1, 0, 0));
        assert_eq!(bench.job(id).await.state, JobState::Running);
    }
    assert_eq!(bench.claim().await, None);
    assert_eq!(bench.store().counts().await.unwrap(), (0, 6));
}

pub async fn racing_claims_take_each_job_exactly_once(bench: Bench) {
    let submitted: HashSet<JobId> = join_all((0..200).map(|_| bench.submit())).await.iter().map(|job| job.id).collect();
    let workers = (0..16).map(|worker| {
        let store = bench.store.clone();
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            while let Some(claim) =
                store.claim(&format!("worker {worker}"), LEASE_MS, &ClaimWant::default()).await.unwrap()
            {
                claimed.push(claim.job);
            }
            claimed
        })
    });
    let claimed: Vec<JobId> = join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(claimed.len(), 200);
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), submitted);
}

pub async fn a_success_is_committed_with_its_outputs_exactly_once(bench: Bench) {
    let job = bench.submit().await;
    let claim = bench.claim().await.unwrap();
    let progress =
        Progress { samples_done: 100, samples_total: 256, fraction: 0.4, frames_total: 1, ..Progress::default() };
    bench.store().heartbeat(&claim, progress, LEASE_MS).await.unwrap();
    let outputs = vec![output("b.exr", "outputs/x/1/b.exr"), output("a.png", "outputs/x/1/a.png")];
    let report = serde_json::json!({"nan": 0});
    let done = bench.end(&claim, AttemptEnd::Succeeded { outputs, report: report.clone() }).await;
    assert_eq!(done, bench.job(job.id).await);
    assert_eq!((done.state, done.error), (JobState::Succeeded, None));
    assert_eq!(done.report, Some(report));
    assert!(done.ended_ms >= done.started_ms && done.started_ms >= Some(done.created_ms));
    assert_eq!((done.progress.fraction, done.progress.samples_done, done.progress.frames_done), (1.0, 256, 1));
    let names: Vec<_> = done.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["b.exr", "a.png"], "outputs keep the order in which they were made");
    let (found, blob) = bench.store().output_blob(job.id, "a.png").await.unwrap().unwrap();
    assert_eq!((found, blob.as_str()), (done.outputs[1].clone(), "outputs/x/1/a.png"));
    assert!(bench.store().output_blob(job.id, "c.png").await.unwrap().is_none());
    assert_eq!(bench.events(job.id).await, ["queued", "started", "output", "output", "ended"]);
    assert_eq!(bench.store().counts().await.unwrap(), (0, 0));
    assert_eq!(bench.claim().await, None);
}

pub async fn a_commit_with_an_old_fence_changes_nothing(bench: Bench) {
    let job = bench.submit().await;
    let lost = bench.claim().await.unwrap();
    bench.clock.advance_ms(LEASE_MS + 1);
    assert_eq!(bench.store().rescue(false).await.unwrap(), [job.id]);
    bench.pass_retry_delay();
    let held = bench.claim().await.unwrap();
    assert!(held.fence > lost.fence);
    let before = (bench.job(job.id).await, bench.events(job.id).await);
    for end in [success(job.id), AttemptEnd::Cancelled, failed(FailureReason::InvalidScene), AttemptEnd::Released] {
        assert!(matches!(bench.store().commit(&lost, end).await.unwrap(), Committed::Stale));
    }
    let forged = Claim { attempt: held.attempt + 1, ..held.clone() };
    assert!(matches!(bench.store().commit(&forged, success(job.id)).await.unwrap(), Committed::Stale));
    assert_eq!((bench.job(job.id).await, bench.events(job.id).await), before);
    assert_eq!(bench.end(&held, success(job.id)).await.state, JobState::Succeeded);
    assert!(matches!(bench.store().commit(&lost, success(job.id)).await.unwrap(), Committed::Stale));
}

pub async fn a_repeated_commit_is_answered_like_the_first(bench: Bench) {
    for end in [success(JobId::now_v7()), AttemptEnd::Cancelled, failed(FailureReason::InvalidScene)] {
        let job = bench.submit().await;
        let claim = bench.claim().await.unwrap();
        let first = bench.end(&claim, end.clone()).await;
        let events = bench.events(job.id).await;
        assert_eq!(bench.end(&claim, end).await, first);
        assert_eq!(bench.events(job.id).await, events, "the second commit leaves no trace");
        let stale = bench.store().commit(&claim, AttemptEnd::Released).await.unwrap();
        assert!(matches!(stale, Committed::Stale), "an end that did not happen is not claimed to have");
    }
}

pub async fn an_expired_lease_is_rescued_and_a_live_one_is_not(bench: Bench) {
    let first = bench.submit().await;
    let second = bench.submit().await;
    let lost = bench.claim().await.unwrap();
    bench.clock.advance_ms(LEASE_MS / 2);
    let live = bench.claim().await.unwrap();
    assert_eq!((lost.job, live.job), (first.id, second.id));
    assert!(bench.store().rescue(false).await.unwrap().is_empty(), "both leases are alive");
    bench.clock.advance_ms(LEASE_MS / 2 + 1);
    assert_eq!(bench.store().rescue(false).await.unwrap(), [first.id]);
    assert!(bench.store().rescue(false).await.unwrap().is_empty(), "a rescue is safe to do twice");
    assert_eq!(
        (bench.job(first.id).await.state, bench.job(second.id).await.state),
        (JobState::Queued, JobState::Running)
    );
    assert_eq!(bench.events(first.id).await, ["queued", "started", "retrying", "queued"]);
    bench.pass_retry_delay();
    let again = bench.claim().await.unwrap();
    assert_eq!(
        (again.job, again.attempt, again.deaths),
        (first.id, 2, 0),
        "a lost lease is no death of the GPU process"
    );
}

pub async fn a_heartbeat_renews_the_lease_and_stores_progress(bench: Bench) {
    let job = bench.submit().await;
    let claim = bench.claim().await.unwrap();
    for step in 1..=4 {
        bench.clock.advance_ms(LEASE_MS - 1000);
        let progress =
            Progress { samples_done: step, samples_total: 4, phase: Phase::Rendering, ..Progress::default() };
        assert_eq!(bench.store().heartbeat(&claim, progress, LEASE_MS).await.unwrap(), LeaseState::Held);
        assert_eq!(bench.job(job.id).await.progress, progress);
        assert!(bench.store().rescue(false).await.unwrap().is_empty());
    }
    assert_eq!(bench.events(job.id).await, ["queued", "started"], "heartbeats are no events");
}

pub async fn a_heartbeat_on_a_lost_lease_says_so(bench: Bench) {
    let job = bench.submit().await;
    let claim = bench.claim().await.unwrap();
    bench.clock.advance_ms(LEASE_MS + 1);
    bench.store().rescue(false).await.unwrap();
    assert_eq!(bench.store().heartbeat(&claim, Progress::default(), LEASE_MS).await.unwrap(), LeaseState::Lost);
    bench.store().cancel(job.id).await.unwrap();
    assert_eq!(bench.store().heartbeat(&claim, Progress::default(), LEASE_MS).await.unwrap(), LeaseState::Lost);
}

pub async fn a_queued_job_is_cancelled_at_once(bench: Bench) {
    let job = bench.submit().await;
    let Some(Cancelled::Now(cancelled)) = bench.store().cancel(job.id).await.unwrap() else { panic!("it was queued") };
    assert_eq!((cancelled.state, cancelled.cancel_requested), (JobState::Cancelled, false));
    assert!(cancelled.ended_ms.is_some());
    assert_eq!(bench.claim().await, None);
    let again = bench.store().cancel(job.id).await.unwrap();
    assert!(matches!(&again, Some(Cancelled::AlreadyEnded(job)) if *job == cancelled), "{again:?}");
    assert_eq!(bench.events(job.id).await, ["queued", "ended"]);
}

pub async fn a_running_job_is_cancelled_by_its_worker(bench: Bench) {
    let job = bench.submit().await;
    let claim = bench.claim().await.unwrap();
    for _ in 0..2 {
        let Some(Cancelled::Requested(asked)) = bench.store().cancel(job.id).await.unwrap() else { panic!("it runs") };
        assert_eq!((asked.state, asked.cancel_requested), (JobState::Running, true));
    }
    let lease = bench.store().heartbeat(&claim, Progress::default(), LEASE_MS).await.unwrap();
    assert_eq!(lease, LeaseState::CancelRequested);
    let cancelled = bench.end(&claim, AttemptEnd::Cancelled).await;
    assert_eq!((cancelled.state, cancelled.cancel_requested), (JobState::Cancelled, false));
    assert_eq!(bench.events(job.id).await, ["queued", "started", "cancelling", "ended"]);
}

pub async fn success_that_was_committed_first_wins_over_a_cancel(bench: Bench) {
    let job = bench.submit().await;
    let claim = bench.claim().await.unwrap();
    bench.store().cancel(job.id).await.unwrap();
    let done = bench.end(&claim, success(job.id)).await;
    assert_eq!((done.state, done.cancel_requested), (JobState::Succeeded, false));
    let late = bench.store().cancel(job.id).await.unwrap();
    assert!(matches!(late, Some(Cancelled::AlreadyEnded(job)) if job.state == JobState::Succeeded));
}

pub async fn a_cancel_races_with_a_success_and_one_of_them_wins(bench: Bench) {
    for _ in 0..20 {
        let job = bench.submit().await;
        let claim = bench.claim().await.unwrap();
        let (cancelled, done) = tokio::join!(bench.store().cancel(job.id), bench.end(&claim, success(job.id)));
        assert_eq!(done.state, JobState::Succeeded, "nobody freed the GPU for the cancel before the success");
        match cancelled.unwrap() {
            Some(Cancelled::Requested(_)) | Some(Cancelled::AlreadyEnded(_)) => {}
            other => panic!("{other:?}"),
        }
        let names = bench.events(job.id).await;
        assert_eq!(names.iter().filter(|name| **name == "ended").count(), 1, "{names:?}");
    }
}

pub async fn a_cancelled_job_is_not_retried_by_a_fault(bench: Bench) {
    let faults = [failed(FailureReason::DeviceLost), failed(FailureReason::WorkerLost), AttemptEnd::Released];
    for end in faults {
        let job = bench.submit().await;
        let claim = bench.claim().await.unwrap();
        bench.store().cancel(job.id).await.unwrap();
        assert_eq!(bench.end(&claim, end).await.state, JobState::Cancelled);
    }
    let job = bench.submit().await;
    bench.claim().await.unwrap();
    bench.store().cancel(job.id).await.unwrap();
    assert_eq!(bench.store().rescue(true).await.unwrap(), [job.id]);
    assert_eq!(bench.job(job.id).await.state, JobState::Cancelled);
}

pub async fn a_jobs_own_fault_is_not_retried(bench: Bench) {
    use FailureReason::*;
    for reason in [InvalidScene, ShaderError, LimitExceeded] {
        let job = bench.submit().await;
        let claim = bench.claim().await.unwrap();
        let detail =
            FailureDetail { stage: "load".into(), pointer: Some("/meshes/3".into()), ..FailureDetail::default() };
        let failure = Failure { reason, message: "no good".into(), details: vec![detail] };
        let ended = bench.end(&claim, AttemptEnd::Failed(failure.clone())).await;
        assert_eq!((ended.state, ended.error), (JobState::Failed, Some(failure)));
        let events = bench.store().events(job.id, 2, 10).await.unwrap();
        assert_eq!(events[0].kind, EventKind::Ended { state: JobState::Failed, reason: Some(reason) });
        assert_eq!(events.len(), 1);
    }
}

pub async fn a_machines_fault_is_retried_later_until_attempts_are_used_up(bench: Bench) {
    let job = bench.submit().await;
    for attempt in 1..=ATTEMPTS_MAX {
        let claim = bench.claim().await.unwrap();
        assert_eq!(claim.attempt, attempt);
        let now = bench.end(&claim, failed(FailureReason::DeviceLost)).await;
        if attempt < ATTEMPTS_MAX {
            assert_eq!((now.state, now.attempt, now.error), (JobState::Queued, attempt, None));
            assert_eq!(bench.claim().await, None, "a retry waits for its delay");
            bench.pass_retry_delay();
        } else {
            assert_eq!((now.state, now.error.unwrap().reason), (JobState::Failed, FailureReason::DeviceLost));
        }
    }
    bench.pass_retry_delay();
    assert_eq!(bench.claim().await, None);
    let last = bench.store().events(job.id, 0, 1000).await.unwrap().pop().unwrap();
    assert_eq!(last.kind, EventKind::Ended { state: JobState::Failed, reason: Some(FailureReason::DeviceLost) });
    assert_eq!(
        bench.events(job.id).await.iter().filter(|name| **name == "retrying").count(),
        ATTEMPTS_MAX as usize - 1
    );
}

pub async fn a_job_that_kills_its_gpu_process_twice_is_quarantined(bench: Bench) {
    let killer = bench.submit().await;
    let neighbour = bench.submit().await;
    for death in 1..=GPU_PROCESS_DEATHS_MAX {
        let claim = bench.claim().await.unwrap();
        assert_eq!((claim.job, claim.deaths), (killer.id, death - 1));
        let now = bench.end(&claim, failed(FailureReason::WorkerLost)).await;
        if death < GPU_PROCESS_DEATHS_MAX {
            assert_eq!(now.state, JobState::Queued);
            bench.pass_retry_delay();
        } else {
            let error = now.error.unwrap();
            assert_eq!((now.state, error.reason), (JobState::Failed, FailureReason::Quarantined));
            assert!(error.message.contains("died 2 times"), "{}", error.message);
        }
    }
    assert_eq!(bench.claim().await.unwrap().job, neighbour.id);
}

pub async fn a_released_attempt_does_not_count(bench: Bench) {
    let job = bench.submit().await;
    let mut fence = 0;
    for _ in 0..ATTEMPTS_MAX * 2 {
        let claim = bench.claim().await.unwrap();
        assert_eq!(claim.attempt, 1);
        assert!(claim.fence > fence, "the fence rises even where the attempt does not");
        fence = claim.fence;
        let now = bench.end(&claim, AttemptEnd::Released).await;
        assert_eq!((now.state, now.attempt), (JobState::Queued, 0));
    }
    assert_eq!(bench.store().position(job.id).await.unwrap(), 0);
}

pub async fn a_person_may_retry_what_failed_and_the_history_stays(bench: Bench) {
    let job = bench.submit().await;
    let refused = bench.store().retry(job.id).await.unwrap().unwrap();
    assert_eq!(refused.unwrap_err().state, JobState::Queued);
    for round in 0..3 {
        let claim = bench.claim().await.unwrap();
        assert_eq!(claim.attempt, round + 1);
        bench.end(&claim, failed(FailureReason::InvalidScene)).await;
        let again = bench.store().retry(job.id).await.unwrap().unwrap().unwrap();
        assert_eq!((again.state, again.error, again.ended_ms), (JobState::Queued, None, None));
    }
    let names = bench.events(job.id).await;
    assert_eq!(names.len(), 1 + 3 * 3, "{names:?}");
    bench.store().cancel(job.id).await.unwrap();
    bench.store().retry(job.id).await.unwrap().unwrap().expect("a cancelled job may be retried");
    // A retry has as many attempts as a new job, and a clean record.
    for death in 1..=GPU_PROCESS_DEATHS_MAX {
        let claim = bench.claim().await.unwrap();
        assert_eq!(claim.deaths, death - 1);
        bench.end(&claim, failed(FailureReason::WorkerLost)).await;
        bench.pass_retry_delay();
    }
    assert_eq!(bench.job(job.id).await.state, JobState::Failed);
    bench.store().retry(job.id).await.unwrap().unwrap().unwrap();
    let claim = bench.claim().await.unwrap();
    bench.end(&claim, success(job.id)).await;
    let refused = bench.store().retry(job.id).await.unwrap().unwrap();
    assert_eq!(refused.unwrap_err().state, JobState::Succeeded, "what succeeded is not done again");
}

pub async fn a_deleted_job_is_gone_and_its_blobs_are_named(bench: Bench) {
    let job = bench.submit().await;
    assert_eq!(bench.store().delete(job.id).await.unwrap().unwrap().unwrap_err().state, JobState::Queued);
    let claim = bench.claim().await.unwrap();
    assert_eq!(bench.store().delete(job.id).await.unwrap().unwrap().unwrap_err().state, JobState::Running);
    let shared = vec![output("own.png", "outputs/own"), output("shared.png", "outputs/shared")];
    bench.end(&claim, AttemptEnd::Succeeded { outputs: shared, report: serde_json::Value::Null }).await;
    let other = bench.submit().await;
    let claim = bench.claim().await.unwrap();
    let outputs = vec![output("shared.png", "outputs/shared")];
    bench.end(&claim, AttemptEnd::Succeeded { outputs, report: serde_json::Value::Null }).await;
    assert_eq!(bench.store().delete(job.id).await.unwrap().unwrap().unwrap(), ["outputs/own"]);
    assert!(bench.store().job(job.id).await.unwrap().is_none());
    assert!(bench.store().events(job.id, 0, 10).await.unwrap().is_empty());
    assert!(bench.store().delete(job.id).await.unwrap().is_none(), "a delete is safe to do twice");
    assert_eq!(bench.store().blob_keys().await.unwrap(), ["outputs/shared"]);
    assert_eq!(bench.store().delete(other.id).await.unwrap().unwrap().unwrap(), ["outputs/shared"]);
    assert!(bench.store().list(ListFilter { limit: 10, ..ListFilter::default() }).await.unwrap().is_empty());
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

pub async fn positions_count_what_goes_before(bench: Bench) {
    use Priority::*;
    let batch = bench.submit_as(Batch).await;
    let normal = bench.submit_as(Normal).await;
    let interactive = bench.submit_as(Interactive).await;
    let position = async |job: &Job| bench.store().position(job.id).await.unwrap();
    assert_eq!((position(&interactive).await, position(&normal).await, position(&batch).await), (0, 1, 2));
    let claim = bench.claim().await.unwrap();
    assert_eq!((position(&interactive).await, position(&normal).await, position(&batch).await), (0, 0, 1));
    bench.store().cancel(normal.id).await.unwrap();
    assert_eq!((position(&normal).await, position(&batch).await), (0, 0));
    bench.end(&claim, AttemptEnd::Released).await;
    assert_eq!(position(&batch).await, 1, "what was put back goes before again");
    let late = bench.submit_as(Normal).await;
    let queued = bench.store().events(late.id, 0, 1).await.unwrap();
    assert_eq!(queued[0].kind, EventKind::Queued { position: 1 });
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

pub async fn waiting_workers_are_woken_by_work(bench: Bench) {
    let notify = bench.store().work_notify();
    let waiting = notify.notified();
    bench.submit().await;
    waiting.await;
    let claim = bench.claim().await.unwrap();
    // The permit for one that was just about to wait.
    notify.notified().await;
    let waiting = notify.notified();
    bench.end(&claim, AttemptEnd::Released).await;
    waiting.await;
}

pub async fn waiting_workers_are_woken_when_a_retry_is_due(bench: Bench) {
    bench.submit().await;
    let claim = bench.claim().await.unwrap();
    let notify = bench.store().work_notify();
    notify.notified().await;
    bench.end(&claim, failed(FailureReason::DeviceLost)).await;
    // This really waits for the first delay of a retry; nothing else can show that the timer is set.
    notify.notified().await;
    while bench.claim().await.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn assets_are_recorded_once_and_their_blobs_are_named(bench: Bench) {
    let sha256 = "ef".repeat(32);
    assert_eq!(bench.store().asset(&sha256).await.unwrap(), None);
    bench.store().put_asset(&sha256, 1 << 40).await.unwrap();
    bench.store().put_asset(&sha256, 1 << 40).await.unwrap();
    assert_eq!(bench.store().asset(&sha256).await.unwrap(), Some(1 << 40));
    assert_eq!(bench.store().blob_keys().await.unwrap(), [kiln::blob::BlobStore::asset_key(&sha256)]);
    bench.store().ping().await.unwrap();
}

pub async fn everything_survives_a_restart_and_what_ran_is_queued_again(mut bench: Bench) {
    let succeeded = bench.submit().await.id;
    let claim = bench.claim().await.unwrap();
    bench.end(&claim, success(succeeded)).await;
    let running = bench.submit().await.id;
    let lost = bench.claim().await.unwrap();
    let queued = bench.submit().await.id;
    let cancelled = bench.submit().await.id;
    bench.store().cancel(cancelled).await.unwrap();
    let mut before = Vec::new();
    for id in [succeeded, running, queued, cancelled] {
        before.push((bench.job(id).await, bench.events(id).await));
    }
    bench.restart().await;
    for (job, events) in before {
        assert_eq!((bench.job(job.id).await, bench.events(job.id).await), (job, events));
    }
    assert_eq!(bench.store().rescue(true).await.unwrap(), [running]);
    let job = bench.job(running).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 1));
    assert!(matches!(bench.store().commit(&lost, success(running)).await.unwrap(), Committed::Stale));
    let again = bench.claim().await.unwrap();
    assert_eq!((again.job, again.attempt), (running, 2), "at once, and in its old place");
    assert_eq!(bench.claim().await.unwrap().job, queued);
    assert_eq!(bench.events(running).await, ["queued", "started", "retrying", "queued", "started"]);
}

pub async fn restarts_alone_do_not_use_up_a_jobs_attempts(bench: Bench) {
    let job = bench.submit().await;
    for _ in 0..ATTEMPTS_MAX + 3 {
        bench.claim().await.unwrap();
        bench.store().rescue(true).await.unwrap();
        assert_eq!(bench.job(job.id).await.state, JobState::Queued);
    }
    let mut restarts = 0;
    while bench.claim().await.is_some() {
        bench.store().rescue(true).await.unwrap();
        restarts += 1;
        assert!(restarts < 100, "a job that brings the server down each time must not do so for ever");
    }
    let failed = bench.job(job.id).await;
    assert_eq!((failed.state, failed.error.unwrap().reason), (JobState::Failed, FailureReason::WorkerLost));
}

pub async fn a_clock_that_goes_backwards_keeps_the_order_and_delays_nothing(bench: Bench) {
    let first = bench.submit().await;
    let claim = bench.claim().await.unwrap();
    bench.end(&claim, failed(FailureReason::DeviceLost)).await;
    let second = bench.submit().await;
    bench.clock.advance_ms(-3_600_000);
    let third = bench.submit().await;
    assert!(third.created_ms >= second.created_ms && second.created_ms >= first.created_ms);
    let page = bench.store().list(ListFilter { limit: 1, ..ListFilter::default() }).await.unwrap();
    assert!(page[0].created_ms == third.created_ms);
    for id in [first.id, second.id, third.id] {
        assert_eq!(bench.claim().await.map(|claim| claim.job), Some(id), "nothing waits for the hour to pass again");
    }
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

pub async fn ten_thousand_queued_jobs_are_claimed_listed_and_counted(bench: Bench) {
    let mut ids = Vec::new();
    for _ in 0..10 {
        let jobs = join_all((0..1000).map(|_| bench.submit())).await;
        ids.extend(jobs.iter().map(|job| job.id));
    }
    assert_eq!(bench.store().counts().await.unwrap(), (10_000, 0));
    for place in [0, 1, 5_000, 9_999] {
        assert_eq!(bench.store().position(ids[place]).await.unwrap(), place as u64);
    }
    for id in &ids[..5] {
        assert_eq!(bench.claim().await.unwrap().job, *id);
    }
    assert_eq!(bench.store().position(ids[9_999]).await.unwrap(), 9_994);
    let page =
        bench.store().list(ListFilter { limit: 200, state: Some(JobState::Queued), ..ListFilter::default() }).await;
    assert_eq!(page.unwrap().len(), 200);
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
    assert!(matches!(store.commit(&claim, AttemptEnd::Cancelled).await.unwrap(), Committed::Stale));
    assert_eq!(store.heartbeat(&claim, Progress::default(), LEASE_MS).await.unwrap(), LeaseState::Lost);
}
