//! Jobs of several tasks, checkpoints, preemption, more samples.

use super::super::*;

/// Ends a claimed frame with its picture.
async fn finish(bench: &Bench, claim: &Claim) -> Job {
    let name = format!("frame-{:04}.png", claim.first_frame);
    let outputs = vec![output(&name, &format!("outputs/{}/{}/{name}", claim.job, claim.fence))];
    bench.end(claim, AttemptEnd::Succeeded { outputs, report: serde_json::json!({"frame": claim.first_frame}) }).await
}

pub async fn each_frame_is_a_task_and_can_be_had_as_soon_as_it_is_done(bench: Bench) {
    let job = bench.submit_new(new_job(turntable(3, false))).await;
    assert_eq!((job.tasks, job.progress.frames_total), (TaskCounts { total: 3, succeeded: 0 }, 3));
    for frame in 0..3 {
        let claim = bench.claim_next().await;
        let found = (claim.job, claim.task, claim.first_frame, claim.last_frame, claim.kind, claim.attempt);
        assert_eq!(found, (job.id, frame, frame, frame, TaskKind::Frames, 1));
        assert_eq!(bench.job(job.id).await.state, JobState::Running);
        let now = finish(&bench, &claim).await;
        let expected = if frame == 2 { JobState::Succeeded } else { JobState::Queued };
        assert_eq!((now.state, now.tasks.succeeded, now.progress.frames_done), (expected, frame + 1, frame + 1));
        assert_eq!(now.outputs.len(), frame as usize + 1);
        let name = format!("frame-{frame:04}.png");
        assert!(bench.store().output_blob(job.id, &name).await.unwrap().is_some(), "{name} can be downloaded");
    }
    let done = bench.job(job.id).await;
    assert_eq!((done.progress.fraction, done.report), (1.0, Some(serde_json::json!({"frame": 0}))));
    assert_eq!(bench.events(job.id).await.iter().filter(|name| **name == "output").count(), 3);
}

pub async fn fences_name_an_attempt_within_its_job(bench: Bench) {
    bench.submit_new(new_job(turntable(3, false))).await;
    let mut fences = Vec::new();
    for _ in 0..3 {
        fences.push(bench.claim_next().await.fence);
    }
    assert!(fences.is_sorted_by(|a, b| a < b), "tasks that run at once are told apart: {fences:?}");
}

pub async fn the_assembly_comes_when_all_frames_are_there(bench: Bench) {
    let job = bench.submit_new(new_job(turntable(2, true))).await;
    let (first, second) = (bench.claim_next().await, bench.claim_next().await);
    assert_eq!(bench.claim().await, None, "the assembly is not claimable yet");
    // Whichever is ready first, they are shown in the order of the film.
    finish(&bench, &second).await;
    assert_eq!(bench.claim().await, None);
    let now = finish(&bench, &first).await;
    let names: Vec<_> = now.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["frame-0000.png", "frame-0001.png"]);
    assert_eq!((now.state, bench.store().position(job.id).await.unwrap()), (JobState::Queued, 0));
    assert!((now.progress.fraction - 2.0 / 3.0).abs() < 1e-6);
    let assembly = bench.claim_next().await;
    assert_eq!(
        (assembly.kind, assembly.task, assembly.first_frame, assembly.last_frame),
        (TaskKind::Assemble, 2, 0, 1)
    );
    let outputs = vec![output("animation.mp4", "outputs/a")];
    let done = bench.end(&assembly, AttemptEnd::Succeeded { outputs, report: serde_json::Value::Null }).await;
    assert_eq!((done.state, done.outputs.len()), (JobState::Succeeded, 3));
}

pub async fn progress_is_that_of_the_whole_job(bench: Bench) {
    let job = bench.submit_new(new_job(turntable(4, false))).await;
    let first = bench.claim_next().await;
    bench.use_gpu(&first, 2.0).await;
    finish(&bench, &first).await;
    let second = bench.claim_next().await;
    let progress = Progress {
        phase: Phase::Rendering,
        fraction: 0.5,
        samples_done: 8,
        samples_total: 16,
        gpu_seconds: 1.5,
        ..Progress::default()
    };
    bench.store().heartbeat(&second, progress, LEASE_MS).await.unwrap();
    let now = bench.job(job.id).await.progress;
    assert_eq!((now.frames_done, now.frames_total, now.samples_done, now.phase), (1, 4, 8, Phase::Rendering));
    assert_eq!((now.fraction, now.gpu_seconds), (1.5 / 4.0, 3.5));
}

pub async fn a_frame_that_fails_for_good_fails_the_job_and_only_the_rest_is_done_again(bench: Bench) {
    let job = bench.submit_new(new_job(turntable(3, true))).await;
    let done = bench.claim_next().await;
    finish(&bench, &done).await;
    let (bad, running) = (bench.claim_next().await, bench.claim_next().await);
    let now = bench.end(&bad, failed(FailureReason::LimitExceeded)).await;
    assert_eq!((now.state, now.error.unwrap().reason), (JobState::Failed, FailureReason::LimitExceeded));
    assert_eq!(now.outputs.len(), 1, "what was done can still be had");
    assert_eq!(bench.claim().await, None);
    let lease = bench.store().heartbeat(&running, Progress::default(), LEASE_MS).await.unwrap();
    assert_eq!(lease, LeaseState::Lost, "its other tasks are not wanted any more");
    assert!(matches!(bench.store().commit(&running, success(job.id), None).await.unwrap(), Committed::Stale));
    bench.store().retry(job.id).await.unwrap().unwrap().expect("it may be retried");
    assert_eq!(bench.job(job.id).await.tasks, TaskCounts { total: 4, succeeded: 1 });
    let mut frames = Vec::new();
    while let Some(claim) = bench.claim().await {
        frames.push((claim.kind, claim.first_frame));
        finish(&bench, &claim).await;
    }
    assert_eq!(frames, [(TaskKind::Frames, 1), (TaskKind::Frames, 2), (TaskKind::Assemble, 0)]);
    assert_eq!(bench.job(job.id).await.state, JobState::Succeeded);
}

pub async fn a_fault_in_one_frame_is_retried_while_the_others_go_on(bench: Bench) {
    let job = bench.submit_new(new_job(turntable(2, false))).await;
    let (first, second) = (bench.claim_next().await, bench.claim_next().await);
    let now = bench.end(&first, failed(FailureReason::DeviceLost)).await;
    assert_eq!(now.state, JobState::Running, "the other frame runs on");
    assert_eq!(finish(&bench, &second).await.state, JobState::Queued);
    bench.pass_retry_delay();
    let again = bench.claim_next().await;
    assert_eq!((again.task, again.attempt), (0, 2));
    assert_eq!(finish(&bench, &again).await.state, JobState::Succeeded);
    assert_eq!(bench.job(job.id).await.attempt, 2);
}

pub async fn a_cancel_ends_a_job_when_the_last_of_its_tasks_has_let_go(bench: Bench) {
    let job = bench.submit_new(new_job(turntable(4, true))).await;
    let (first, second) = (bench.claim_next().await, bench.claim_next().await);
    assert!(matches!(bench.store().cancel(job.id).await.unwrap(), Some(Cancelled::Requested(_))));
    assert_eq!(bench.claim().await, None, "what is queued of it is not begun any more");
    assert_eq!(bench.end(&first, AttemptEnd::Cancelled).await.state, JobState::Running);
    // A frame that was done before the cancel reached it is kept; the job is cancelled all the same.
    let ended = finish(&bench, &second).await;
    assert_eq!((ended.state, ended.outputs.len(), ended.tasks.succeeded), (JobState::Cancelled, 1, 1));
    assert_eq!(bench.events(job.id).await.iter().filter(|name| **name == "ended").count(), 1);
    bench.store().retry(job.id).await.unwrap().unwrap().expect("it may be retried");
    let mut claimed = 0;
    while let Some(claim) = bench.claim().await {
        claimed += 1;
        finish(&bench, &claim).await;
    }
    assert_eq!((claimed, bench.job(job.id).await.state), (4, JobState::Succeeded));
}

pub async fn lost_frames_of_one_job_are_rescued_together(bench: Bench) {
    let job = bench.submit_new(new_job(turntable(3, false))).await;
    bench.claim_next().await;
    bench.claim_next().await;
    assert_eq!(bench.store().rescue(true).await.unwrap(), [job.id], "a job is named once");
    assert_eq!(bench.job(job.id).await.state, JobState::Queued);
    let mut tasks = Vec::new();
    while let Some(claim) = bench.claim().await {
        tasks.push((claim.task, claim.attempt));
    }
    assert_eq!(tasks, [(0, 2), (1, 2), (2, 1)]);
}

pub async fn frames_of_clients_are_interleaved_by_gpu_seconds(bench: Bench) {
    bench.submit_new(NewJob { cost_seconds: 40.0, ..job_of("film", turntable(40, false)) }).await;
    let still = bench.submit_new(job_of("still", spec(Priority::Normal))).await;
    let mut before = 0;
    loop {
        let claim = bench.claim_next().await;
        if claim.job == still.id {
            break;
        }
        bench.use_gpu(&claim, 1.0).await;
        finish(&bench, &claim).await;
        before += 1;
    }
    assert!(before <= 2, "a still waited for {before} frames of a film");
}

pub async fn a_preempted_task_goes_on_from_its_checkpoint_and_the_attempt_does_not_count(bench: Bench) {
    let job = bench.submit_new(NewJob { cost_seconds: 10.0, ..new_job(spec(Priority::Normal)) }).await;
    let claim = bench.claim_next().await;
    assert_eq!(claim.checkpoint, None);
    let progress = Progress { fraction: 0.75, gpu_seconds: 6.0, ..Progress::default() };
    bench.store().heartbeat(&claim, progress, LEASE_MS).await.unwrap();
    let now = bench.end(&claim, AttemptEnd::Preempted { checkpoint: Some("checkpoints/a".into()) }).await;
    assert_eq!((now.state, now.attempt, now.progress.fraction), (JobState::Queued, 0, 0.75));
    assert_eq!(now.progress.gpu_seconds, 6.0, "what was used stays used");
    assert_eq!(bench.events(job.id).await, ["queued", "started", "preempted", "queued"]);
    assert_eq!(bench.store().blob_keys().await.unwrap(), ["checkpoints/a"]);
    let behind = bench.submit_as(Priority::Normal).await;
    assert_eq!(bench.store().ahead(behind.id).await.unwrap().unwrap().gpu_seconds, 4.0, "the rest is estimated");
    let again = bench.claim_next().await;
    assert_eq!((again.job, again.attempt, again.checkpoint.as_deref()), (job.id, 1, Some("checkpoints/a")));
    bench.use_gpu(&again, 3.0).await;
    assert_eq!(bench.job(job.id).await.progress.gpu_seconds, 9.0);
    let now = bench.end(&again, AttemptEnd::Preempted { checkpoint: None }).await;
    assert_eq!(now.state, JobState::Queued);
    assert_eq!(bench.claim_next().await.checkpoint.as_deref(), Some("checkpoints/a"), "the last one stands");
}

pub async fn checkpoints_are_recorded_under_the_fence(bench: Bench) {
    let job = bench.submit().await;
    let lost = bench.claim_next().await;
    let record = async |claim: &Claim, key: &str| bench.store().checkpoint(claim, key, 1000).await.unwrap();
    let replaced = |key: Option<&str>| Checkpointed::Recorded { replaced: key.map(str::to_owned) };
    assert_eq!(record(&lost, "checkpoints/1").await, replaced(None));
    assert_eq!(record(&lost, "checkpoints/2").await, replaced(Some("checkpoints/1")));
    assert_eq!(record(&lost, "checkpoints/2").await, replaced(None), "the same again replaces nothing");
    bench.store().rescue(true).await.unwrap();
    let held = bench.claim_next().await;
    assert_eq!(held.checkpoint.as_deref(), Some("checkpoints/2"), "a lost attempt's work is not lost");
    assert_eq!(record(&lost, "checkpoints/3").await, Checkpointed::Stale);
    assert_eq!(bench.store().blob_keys().await.unwrap(), ["checkpoints/2"]);
    bench.end(&held, failed(FailureReason::InvalidScene)).await;
    assert!(bench.store().blob_keys().await.unwrap().is_empty(), "what failed is not gone on with");
    bench.store().retry(job.id).await.unwrap().unwrap().unwrap();
    assert_eq!(bench.claim_next().await.checkpoint, None);
}

pub async fn a_preempted_class_goes_on_waiting(bench: Bench) {
    bench.submit_as(Priority::Batch).await;
    for _ in 0..4 {
        bench.submit_as(Priority::Interactive).await;
    }
    bench.clock.advance_ms(AGEING_BATCH_MS);
    let aged = bench.claim_next().await;
    assert_eq!(bench.job(aged.job).await.priority, Priority::Batch);
    bench.end(&aged, AttemptEnd::Preempted { checkpoint: None }).await;
    assert_eq!(bench.claim_next().await.job, aged.job, "it was let in, but has not got anywhere");
}

pub async fn a_finished_scene_can_be_given_more_samples(bench: Bench) {
    let job = bench.submit().await;
    let extend = async |samples| {
        let extension = Extension { samples, cost_seconds: 3.0, content: None };
        bench.store().extend(job.id, extension).await.unwrap().unwrap()
    };
    assert!(extend(512).await.is_err(), "it has not succeeded yet");
    let claim = bench.claim_next().await;
    bench.store().checkpoint(&claim, "checkpoints/film", 1000).await.unwrap();
    bench.end(&claim, success(job.id)).await;
    assert!(extend(256).await.is_err(), "it has that many already");
    let extended = extend(512).await.unwrap();
    let JobSpec::Scene(scene) = &extended.spec else { panic!("expected a scene") };
    assert_eq!((extended.state, scene.samples, extended.outputs.len()), (JobState::Queued, 512, 1));
    assert!(
        bench.store().output_blob(job.id, "image.png").await.unwrap().is_some(),
        "the old picture can still be had"
    );
    let claim = bench.claim_next().await;
    assert_eq!((claim.attempt, claim.checkpoint.as_deref()), (2, Some("checkpoints/film")));
    let outputs = vec![output("image.png", "outputs/better")];
    let done = bench.end(&claim, AttemptEnd::Succeeded { outputs, report: serde_json::Value::Null }).await;
    assert_eq!((done.state, done.outputs.len()), (JobState::Succeeded, 1));
    assert_eq!(bench.store().output_blob(job.id, "image.png").await.unwrap().unwrap().1, "outputs/better");
    assert!(
        bench
            .store()
            .extend(JobId::now_v7(), Extension { samples: 9, cost_seconds: 1.0, content: None })
            .await
            .unwrap()
            .is_none()
    );
}

pub async fn more_samples_are_not_refused_by_a_deadline_that_was_met(bench: Bench) {
    let alike = || NewJob { content: Some([7; 32]), ..new_job(spec(Priority::Normal)) };
    bench.submit_new(alike()).await;
    let claim = bench.claim_next().await;
    bench.end(&claim, success(claim.job)).await;
    // One that was answered at once has never started.
    let mut due = alike();
    due.spec.options_mut().start_before_ms = Some(bench.store().now_ms() + 60_000);
    let cached = bench.submit_new(due).await;
    assert!(cached.cached);
    bench.clock.advance_ms(60_001);
    let JobSpec::Scene(scene) = &cached.spec else { panic!("expected a scene") };
    let extension = Extension { samples: scene.samples * 2, cost_seconds: 1.0, content: None };
    let extended = bench.store().extend(cached.id, extension).await.unwrap().unwrap().unwrap();
    assert_eq!((extended.state, extended.progress.fraction), (JobState::Queued, 0.0));
    assert!(bench.store().expire_due().await.unwrap().is_empty());
    assert_eq!(bench.claim_next().await.job, cached.id);
}

pub async fn a_put_back_that_is_repeated_is_answered_like_the_first(bench: Bench) {
    for end in [AttemptEnd::Released, AttemptEnd::Preempted { checkpoint: Some("checkpoints/a".into()) }] {
        let job = bench.submit().await;
        let claim = bench.claim_next().await;
        bench.store().checkpoint(&claim, "checkpoints/b", 5).await.unwrap();
        let first = bench.end(&claim, end.clone()).await;
        assert_eq!(bench.end(&claim, end.clone()).await, first, "its answer may have been lost");
        let again = bench.claim_next().await;
        assert_eq!(again.job, job.id);
        assert!(matches!(bench.store().commit(&claim, end, None).await.unwrap(), Committed::Stale));
        bench.end(&again, success(job.id)).await;
    }
}
