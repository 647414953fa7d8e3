//! Claims, leases, commits, and what becomes of an attempt.

use super::super::*;
use futures::future::join_all;
use std::collections::HashSet;
use std::time::Duration;

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
        assert!(matches!(bench.store().commit(&lost, end, None).await.unwrap(), Committed::Stale));
    }
    let forged = Claim { attempt: held.attempt + 1, ..held.clone() };
    assert!(matches!(bench.store().commit(&forged, success(job.id), None).await.unwrap(), Committed::Stale));
    assert_eq!((bench.job(job.id).await, bench.events(job.id).await), before);
    assert_eq!(bench.end(&held, success(job.id)).await.state, JobState::Succeeded);
    assert!(matches!(bench.store().commit(&lost, success(job.id), None).await.unwrap(), Committed::Stale));
}

pub async fn a_repeated_commit_is_answered_like_the_first(bench: Bench) {
    for end in [success(JobId::now_v7()), AttemptEnd::Cancelled, failed(FailureReason::InvalidScene)] {
        let job = bench.submit().await;
        let claim = bench.claim().await.unwrap();
        if matches!(end, AttemptEnd::Cancelled) {
            bench.store().cancel(job.id).await.unwrap();
        }
        let first = bench.end(&claim, end.clone()).await;
        let events = bench.events(job.id).await;
        assert_eq!(bench.end(&claim, end).await, first);
        assert_eq!(bench.events(job.id).await, events, "the second commit leaves no trace");
        let stale = bench.store().commit(&claim, AttemptEnd::Released, None).await.unwrap();
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
