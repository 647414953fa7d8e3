//! Deadlines, changes of queued jobs, the queue's modes, what is remembered of costs.

use super::super::*;
use std::collections::BTreeMap;

fn due_in(bench: &Bench, ms: i64) -> NewJob {
    let mut new = new_job(spec(Priority::Normal));
    new.spec.options_mut().start_before_ms = Some(bench.store().now_ms() + ms);
    new
}

pub async fn a_job_that_did_not_start_in_time_expires(bench: Bench) {
    let late = bench.submit_new(due_in(&bench, 60_000)).await;
    let other = bench.submit_new(due_in(&bench, 3_600_000)).await;
    assert!(bench.store().expire_due().await.unwrap().is_empty());
    bench.clock.advance_ms(60_001);
    assert_eq!(bench.store().expire_due().await.unwrap(), [late.id]);
    assert!(bench.store().expire_due().await.unwrap().is_empty());
    let expired = bench.job(late.id).await;
    assert_eq!((expired.state, expired.error), (JobState::Expired, None));
    assert!(expired.ended_ms.is_some());
    let last = bench.store().events(late.id, 1, 10).await.unwrap();
    assert_eq!(last[0].kind, EventKind::Ended { state: JobState::Expired, reason: None });
    assert_eq!(bench.claim_next().await.job, other.id);
    // A person who retries it wants it all the same.
    bench.store().retry(late.id).await.unwrap().unwrap().unwrap();
    assert!(bench.store().expire_due().await.unwrap().is_empty());
    assert_eq!(bench.claim_next().await.job, late.id);
}

pub async fn a_job_whose_deadline_has_passed_is_not_begun(bench: Bench) {
    let late = bench.submit_new(due_in(&bench, 60_000)).await;
    let other = bench.submit().await;
    bench.clock.advance_ms(60_001);
    assert_eq!(bench.claim_next().await.job, other.id, "nobody had to look for it first");
    assert_eq!(bench.job(late.id).await.state, JobState::Expired);
}

pub async fn a_job_that_has_started_does_not_expire(bench: Bench) {
    let job = bench.submit_new(due_in(&bench, 60_000)).await;
    let claim = bench.claim_next().await;
    bench.clock.advance_ms(60_001);
    bench.end(&claim, AttemptEnd::Preempted { checkpoint: None }).await;
    assert!(bench.store().expire_due().await.unwrap().is_empty());
    assert_eq!(bench.claim_next().await.job, job.id);
}

pub async fn a_queued_job_can_be_changed(bench: Bench) {
    let mut new = new_job(labelled("old", "1"));
    new.spec.options_mut().start_before_ms = Some(bench.store().now_ms() + 60_000);
    let job = bench.submit_new(new.clone()).await;
    let before = bench.submit_as(Priority::Interactive).await;
    let deadline = bench.store().now_ms() + 90_000;
    let patch = JobPatch {
        priority: Some(Priority::Interactive),
        start_before_ms: Some(None),
        finish_before_ms: Some(Some(deadline)),
        labels: Some(LabelsPatch::Merge(BTreeMap::from([
            ("new".to_owned(), Some("2".to_owned())),
            ("old".to_owned(), None),
        ]))),
    };
    let patched = bench.store().patch(job.id, patch).await.unwrap().unwrap().unwrap();
    assert_eq!(patched, bench.job(job.id).await);
    let options = patched.spec.options();
    assert_eq!((patched.priority, options.priority), (Priority::Interactive, Priority::Interactive));
    assert_eq!((options.start_before_ms, options.finish_before_ms), (None, Some(deadline)));
    assert_eq!(
        (&patched.labels, &options.labels),
        (&options.labels, &BTreeMap::from([("new".to_owned(), "2".to_owned())]))
    );
    let labelled = |key: &str| ListFilter {
        label: Some((key.to_owned(), if key == "new" { "2" } else { "1" }.to_owned())),
        limit: 9,
        ..ListFilter::default()
    };
    assert_eq!(bench.store().list(labelled("new")).await.unwrap().len(), 1);
    assert!(bench.store().list(labelled("old")).await.unwrap().is_empty());
    assert_eq!(bench.store().position(job.id).await.unwrap(), 1, "in another class it goes behind what is there");
    assert!(
        matches!(bench.store().submit(new).await.unwrap(), Submitted::Existing(_)),
        "the same request is known again"
    );
    assert_eq!(bench.claim_next().await.job, before.id);
    assert_eq!(bench.claim_next().await.job, job.id);
    let refused = bench.store().patch(job.id, JobPatch::default()).await.unwrap().unwrap();
    assert_eq!(refused.unwrap_err().state, JobState::Running);
    assert!(bench.store().patch(JobId::now_v7(), JobPatch::default()).await.unwrap().is_none());
}

pub async fn a_patch_that_changes_nothing_keeps_the_place(bench: Bench) {
    let first = bench.submit().await;
    bench.submit().await;
    let patched = bench.store().patch(first.id, JobPatch::default()).await.unwrap().unwrap().unwrap();
    assert_eq!(patched, first);
    assert_eq!(bench.store().position(first.id).await.unwrap(), 0);
    assert_eq!(bench.events(first.id).await, ["queued"]);
}

pub async fn a_paused_queue_takes_jobs_and_hands_out_none(mut bench: Bench) {
    let running = bench.submit().await;
    let claim = bench.claim_next().await;
    bench.store().set_queue_mode(QueueMode::Paused).await.unwrap();
    let job = bench.submit().await;
    assert_eq!(bench.claim().await, None);
    assert_eq!(bench.end(&claim, success(running.id)).await.state, JobState::Succeeded, "what runs may end");
    bench.restart().await;
    assert_eq!(bench.store().queue_mode().await.unwrap(), QueueMode::Paused, "a restart does not open it");
    assert_eq!(bench.claim().await, None);
    let notify = bench.store().work_notify();
    bench.store().set_queue_mode(QueueMode::Open).await.unwrap();
    notify.notified().await;
    assert_eq!(bench.claim_next().await.job, job.id);
}

pub async fn a_pause_is_no_reason_to_let_a_lower_class_in(bench: Bench) {
    bench.submit_as(Priority::Batch).await;
    let urgent = bench.submit_as(Priority::Interactive).await;
    bench.store().set_queue_mode(QueueMode::Paused).await.unwrap();
    bench.clock.advance_ms(AGEING_BATCH_MS * 2);
    bench.store().set_queue_mode(QueueMode::Open).await.unwrap();
    assert_eq!(bench.claim_next().await.job, urgent.id);
}

pub async fn a_draining_queue_refuses_what_is_new(bench: Bench) {
    let new = new_job(spec(Priority::Normal));
    let job = bench.submit_new(new.clone()).await;
    let cancelled = bench.submit().await;
    bench.store().cancel(cancelled.id).await.unwrap();
    bench.store().set_queue_mode(QueueMode::Draining).await.unwrap();
    let refused = bench.store().submit(new_job(spec(Priority::Normal))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Draining), "{refused}");
    assert!(matches!(bench.store().retry(cancelled.id).await, Err(StoreError::Draining)));
    assert!(matches!(bench.store().submit(new).await.unwrap(), Submitted::Existing(found) if found.id == job.id));
    assert_eq!(bench.claim().await, None);
}

pub async fn what_a_cost_model_learnt_is_remembered(mut bench: Bench) {
    assert_eq!(bench.store().model("scene").await.unwrap(), None);
    for json in ["{\"a\": 1}", "{\"a\": 2}"] {
        bench.store().put_model("scene", json.into()).await.unwrap();
    }
    bench.restart().await;
    assert_eq!(bench.store().model("scene").await.unwrap().as_deref(), Some("{\"a\": 2}"));
}
