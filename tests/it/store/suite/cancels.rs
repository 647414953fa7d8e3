//! Cancels, and what they race with.

use super::super::*;

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

pub async fn a_cancel_that_nobody_asked_for_puts_the_task_back(bench: Bench) {
    let job = bench.submit().await;
    let claim = bench.claim_next().await;
    let now = bench.end(&claim, AttemptEnd::Cancelled).await;
    assert_eq!((now.state, now.attempt), (JobState::Queued, 0));
    assert_eq!(bench.claim_next().await.job, job.id);
    // Of several tasks, neither the one that was let go of nor the job is lost.
    let film = bench.submit_new(new_job(turntable(2, false))).await;
    let (first, second) = (bench.claim_next().await, bench.claim_next().await);
    bench.end(&first, AttemptEnd::Cancelled).await;
    bench.end(&second, success(film.id)).await;
    assert_eq!((bench.claim_next().await.task, bench.job(film.id).await.state), (0, JobState::Running));
}
