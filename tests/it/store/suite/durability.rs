//! Restarts, and clocks that go wrong.

use super::super::*;

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
    assert!(matches!(bench.store().commit(&lost, success(running), None).await.unwrap(), Committed::Stale));
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

pub async fn a_lease_ends_in_time_though_the_clock_goes_back_an_hour(bench: Bench) {
    let job = bench.submit().await;
    let lost = bench.claim_next().await;
    bench.clock.advance_ms(-3_600_000);
    // Something has to happen for the clock to be looked at.
    bench.submit().await;
    assert!(bench.store().rescue(false).await.unwrap().is_empty(), "the worker may still be there");
    bench.clock.advance_ms(LEASE_MS + 1);
    assert_eq!(bench.store().rescue(false).await.unwrap(), [job.id], "it does not last for an hour");
    assert_eq!(bench.store().heartbeat(&lost, Progress::default(), LEASE_MS).await.unwrap(), LeaseState::Lost);
}

pub async fn what_goes_with_the_clock_stays_where_the_first_change_after_it_is_refused(bench: Bench) {
    let job = bench.submit().await;
    let lost = bench.claim_next().await;
    bench.clock.advance_ms(-3_600_000);
    let nobody = JobId::now_v7();
    assert!(matches!(bench.store().log(nobody, "nobody's".into()).await, Err(StoreError::NoJob(id)) if id == nobody));
    bench.clock.advance_ms(LEASE_MS + 1);
    assert_eq!(bench.store().rescue(false).await.unwrap(), [job.id], "the lease went with the clock");
    assert_eq!(bench.store().heartbeat(&lost, Progress::default(), LEASE_MS).await.unwrap(), LeaseState::Lost);
}

pub async fn a_clock_that_went_back_between_two_runs_is_noticed(mut bench: Bench) {
    let batch = bench.submit_as(Priority::Batch).await;
    for _ in 0..2 {
        bench.submit_as(Priority::Interactive).await;
    }
    bench.close().await;
    bench.clock.advance_ms(-3_600_000);
    bench.restart().await;
    bench.claim_next().await;
    bench.clock.advance_ms(AGEING_BATCH_MS + 2 * CLOCK_BACK_MS_MIN);
    assert_eq!(bench.claim_next().await.job, batch.id, "it does not wait for the hour to pass again");
}

pub async fn a_class_is_let_in_in_time_though_the_clock_goes_back_an_hour(bench: Bench) {
    let batch = bench.submit_as(Priority::Batch).await;
    for _ in 0..3 {
        bench.submit_as(Priority::Interactive).await;
    }
    bench.clock.advance_ms(AGEING_BATCH_MS / 2);
    bench.claim_next().await;
    bench.clock.advance_ms(-3_600_000);
    bench.claim_next().await;
    bench.clock.advance_ms(AGEING_BATCH_MS / 2);
    assert_eq!(bench.claim_next().await.job, batch.id);
}

pub async fn every_part_of_the_store_survives_a_restart(mut bench: Bench) {
    let mut new = new_job(spec(Priority::Batch));
    new.spec.options_mut().start_before_ms = Some(bench.store().now_ms() + 3_600_000);
    bench.submit_new(NewJob { cost_seconds: 12.5, ..new }).await;
    bench.submit_new(job_of("other", labelled("a", "b"))).await;
    let claim = bench.claim_next().await;
    bench.use_gpu(&claim, 2.0).await;
    bench.store().checkpoint(&claim, "checkpoints/x", 7).await.unwrap();
    bench.end(&claim, AttemptEnd::Preempted { checkpoint: None }).await;
    let see = async |bench: &Bench| {
        let jobs = bench.store().list(ListFilter { limit: 10, ..ListFilter::default() }).await.unwrap();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        let queue = bench.store().queue().await.unwrap();
        (jobs, bench.store().ahead_of_all(&ids).await.unwrap(), queue, bench.store().blob_keys().await.unwrap())
    };
    let before = see(&bench).await;
    bench.restart().await;
    assert_eq!(see(&bench).await, before);
}
