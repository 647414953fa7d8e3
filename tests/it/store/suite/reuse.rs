//! The same work twice: jobs that another one answers for.

use super::super::*;

fn alike(content: u8) -> NewJob {
    NewJob { content: Some([content; 32]), ..new_job(spec(Priority::Normal)) }
}

async fn succeed(bench: &Bench) -> Job {
    let claim = bench.claim_next().await;
    bench.end(&claim, success(claim.job)).await
}

pub async fn a_job_that_was_done_before_is_answered_at_once(bench: Bench) {
    let first = bench.submit_new(alike(1)).await;
    let done = succeed(&bench).await;
    let again = bench.submit_new(alike(1)).await;
    assert_eq!(
        (again.state, again.cached, &again.outputs, &again.report),
        (JobState::Succeeded, true, &done.outputs, &done.report)
    );
    assert!(!done.cached && again.id != first.id && again.ended_ms.is_some());
    assert_eq!(again.tasks, TaskCounts { total: 1, succeeded: 1 });
    assert_eq!(bench.events(again.id).await, ["queued", "output", "ended"]);
    let blob = async |id| bench.store().output_blob(id, "image.png").await.unwrap().unwrap().1;
    assert_eq!(blob(again.id).await, blob(first.id).await);
    assert_eq!(bench.claim().await, None);
    assert_eq!(bench.store().counts().await.unwrap(), (0, 0));
    // Shared bytes go away with the last job that names them.
    assert!(bench.store().delete(first.id).await.unwrap().unwrap().unwrap().is_empty());
    assert_eq!(bench.submit_new(alike(1)).await.state, JobState::Succeeded, "the copy answers too");
}

pub async fn nothing_else_answers_for_a_job(bench: Bench) {
    bench.submit_new(alike(1)).await;
    succeed(&bench).await;
    let mut fresh = alike(1);
    fresh.spec.options_mut().reuse = false;
    let others = [fresh, alike(2), NewJob { content: None, ..alike(1) }, NewJob { client: "other".into(), ..alike(1) }];
    for other in others {
        assert_eq!(bench.submit_new(other).await.state, JobState::Queued);
    }
}

pub async fn what_failed_or_was_deleted_answers_for_nothing(bench: Bench) {
    let job = bench.submit_new(alike(1)).await;
    let claim = bench.claim_next().await;
    bench.end(&claim, failed(FailureReason::InvalidScene)).await;
    let second = bench.submit_new(alike(1)).await;
    assert_eq!((second.state, second.follows), (JobState::Queued, None));
    succeed(&bench).await;
    bench.store().delete(second.id).await.unwrap().unwrap().unwrap();
    bench.store().delete(job.id).await.unwrap().unwrap().unwrap();
    assert_eq!(bench.submit_new(alike(1)).await.state, JobState::Queued);
}

pub async fn a_job_joins_one_that_is_queued_or_running(bench: Bench) {
    let leader = bench.submit_new(alike(1)).await;
    let early = bench.submit_new(alike(1)).await;
    assert_eq!((early.state, early.follows), (JobState::Queued, Some(leader.id)));
    let claim = bench.claim_next().await;
    assert_eq!(claim.job, leader.id);
    let late = bench.submit_new(alike(1)).await;
    assert_eq!(late.follows, Some(leader.id));
    assert_eq!(bench.claim().await, None, "what is joined is not rendered twice");
    assert_eq!(bench.store().counts().await.unwrap(), (2, 1));
    assert_eq!(bench.store().ahead(late.id).await.unwrap(), Some(Ahead::default()), "it waits for what runs already");
    bench.end(&claim, success(leader.id)).await;
    for id in [early.id, late.id] {
        let job = bench.job(id).await;
        assert_eq!((job.state, job.cached, job.follows, job.outputs.len()), (JobState::Succeeded, true, None, 1));
        assert_eq!(bench.events(id).await, ["queued", "output", "ended"]);
    }
    assert_eq!(bench.store().counts().await.unwrap(), (0, 0));
}

pub async fn a_follower_waits_where_its_leader_does(bench: Bench) {
    let others = [bench.submit().await, bench.submit().await];
    bench.submit_new(alike(1)).await;
    let follower = bench.submit_new(alike(1)).await;
    let behind = bench.submit().await;
    assert_eq!(bench.store().position(follower.id).await.unwrap(), 2);
    assert_eq!(bench.store().position(behind.id).await.unwrap(), 3, "a follower is no work of its own");
    drop(others);
}

pub async fn when_a_leader_ends_otherwise_the_first_follower_leads(bench: Bench) {
    type Ending = for<'b> fn(&'b Bench, JobId) -> futures::future::BoxFuture<'b, ()>;
    let endings: [Ending; 2] = [
        |bench, leader| Box::pin(async move { drop(bench.store().cancel(leader).await.unwrap()) }),
        |bench, leader| {
            Box::pin(async move {
                let claim = bench.claim_next().await;
                bench.store().cancel(leader).await.unwrap();
                bench.end(&claim, AttemptEnd::Cancelled).await;
            })
        },
    ];
    for (content, ending) in endings.into_iter().enumerate() {
        let leader = bench.submit_new(alike(content as u8)).await;
        let behind = bench.submit().await;
        let first = bench.submit_new(alike(content as u8)).await;
        let second = bench.submit_new(alike(content as u8)).await;
        ending(&bench, leader.id).await;
        assert_eq!(bench.job(first.id).await.follows, None);
        assert_eq!(bench.job(second.id).await.follows, Some(first.id));
        assert_eq!(bench.store().position(behind.id).await.unwrap(), 1, "it gets the leader's place");
        let claim = bench.claim_next().await;
        assert_eq!(claim.job, first.id);
        bench.end(&claim, success(first.id)).await;
        assert_eq!(bench.job(second.id).await.state, JobState::Succeeded);
        assert_eq!(succeed(&bench).await.id, behind.id);
    }
}

pub async fn a_follower_can_be_cancelled_alone(bench: Bench) {
    let leader = bench.submit_new(alike(1)).await;
    let follower = bench.submit_new(alike(1)).await;
    assert!(matches!(bench.store().cancel(follower.id).await.unwrap(), Some(Cancelled::Now(_))));
    assert_eq!(bench.job(leader.id).await.state, JobState::Queued);
    succeed(&bench).await;
    assert_eq!(bench.job(follower.id).await.state, JobState::Cancelled);
}

pub async fn a_leader_that_fails_for_good_fails_those_that_would_only_repeat_it(bench: Bench) {
    for (content, reason) in [(1, FailureReason::InvalidScene), (2, FailureReason::WorkerLost)] {
        let leader = bench.submit_new(alike(content)).await;
        let followers = [bench.submit_new(alike(content)).await, bench.submit_new(alike(content)).await];
        let mut attempts = 0;
        while let Some(claim) = bench.claim().await {
            bench.end(&claim, failed(reason)).await;
            bench.pass_retry_delay();
            attempts += 1;
        }
        let error = bench.job(leader.id).await.error;
        assert!(error.is_some());
        for follower in followers {
            let follower = bench.job(follower.id).await;
            assert_eq!((follower.state, &follower.error, follower.follows), (JobState::Failed, &error, None));
            assert_eq!(bench.events(follower.id).await, ["queued", "ended"]);
        }
        let expected = if reason == FailureReason::WorkerLost { GPU_PROCESS_DEATHS_MAX } else { 1 };
        assert_eq!(attempts, expected, "nothing of it is done again for the sake of a follower");
    }
}

pub async fn deaths_and_attempts_of_the_same_work_go_on_counting(bench: Bench) {
    let leader = bench.submit_new(alike(1)).await;
    let follower = bench.submit_new(alike(1)).await;
    let claim = bench.claim_next().await;
    bench.end(&claim, failed(FailureReason::WorkerLost)).await;
    bench.store().cancel(leader.id).await.unwrap();
    let claim = bench.claim_next().await;
    assert_eq!((claim.job, claim.deaths), (follower.id, 1), "it runs alone, as its leader would");
    assert_eq!(bench.end(&claim, failed(FailureReason::WorkerLost)).await.state, JobState::Failed);
    // A fault of the machine that used up all attempts leaves one to each follower.
    let leader = bench.submit_new(alike(2)).await;
    let follower = bench.submit_new(alike(2)).await;
    let mut claimed = Vec::new();
    while let Some(claim) = bench.claim().await {
        bench.end(&claim, failed(FailureReason::GpuTimeout)).await;
        bench.pass_retry_delay();
        claimed.push(claim.job);
    }
    assert_eq!(claimed.iter().filter(|id| **id == leader.id).count(), ATTEMPTS_MAX as usize);
    assert_eq!(claimed.iter().filter(|id| **id == follower.id).count(), 1);
}

pub async fn what_is_done_of_common_work_is_not_thrown_away_with_its_leader(bench: Bench) {
    let film = || NewJob { content: Some([9; 32]), ..new_job(turntable(3, true)) };
    let leader = bench.submit_new(film()).await;
    let follower = bench.submit_new(film()).await;
    let done = bench.claim_next().await;
    let outputs = vec![output("frame-0000.png", "outputs/leader/0")];
    bench.end(&done, AttemptEnd::Succeeded { outputs, report: serde_json::json!({"a": 1}) }).await;
    let half = bench.claim_next().await;
    bench.store().checkpoint(&half, "checkpoints/half", 10).await.unwrap();
    bench.store().cancel(leader.id).await.unwrap();
    bench.end(&half, AttemptEnd::Cancelled).await;
    let now = bench.job(follower.id).await;
    assert_eq!((now.state, now.follows, now.outputs.len()), (JobState::Queued, None, 1));
    assert_eq!(now.tasks, TaskCounts { total: 4, succeeded: 1 });
    assert!(bench.store().unnamed(&["checkpoints/half".into(), "outputs/leader/0".into()]).await.unwrap().is_empty());
    let mut claimed = Vec::new();
    for _ in 0..3 {
        let claim = bench.claim_next().await;
        let name = format!("{}.png", claim.task);
        let outputs = vec![output(&name, &name)];
        claimed.push((claim.job, claim.task, claim.checkpoint.clone()));
        bench.end(&claim, AttemptEnd::Succeeded { outputs, report: serde_json::Value::Null }).await;
    }
    let expected = [(1, Some("checkpoints/half".to_owned())), (2, None), (3, None)];
    assert_eq!(claimed, expected.map(|(task, checkpoint)| (follower.id, task, checkpoint)));
    assert_eq!(bench.job(follower.id).await.state, JobState::Succeeded);
    assert_eq!(bench.store().delete(leader.id).await.unwrap().unwrap().unwrap(), [""; 0], "the follower names them");
}

pub async fn a_leader_goes_as_the_most_urgent_of_those_that_follow_it(bench: Bench) {
    let of_class = |content, class| {
        let mut new = alike(content);
        new.spec.set_priority(class);
        new
    };
    // One that waits.
    bench.submit().await;
    let leader = bench.submit_new(of_class(1, Priority::Batch)).await;
    let urgent = bench.submit_new(of_class(1, Priority::Interactive)).await;
    assert_eq!(urgent.follows, Some(leader.id), "the work is done once");
    assert_eq!(bench.store().position(urgent.id).await.unwrap(), 0);
    let claim = bench.claim_next().await;
    assert_eq!((claim.job, claim.priority), (leader.id, Priority::Interactive));
    bench.end(&claim, success(leader.id)).await;
    assert_eq!(bench.job(urgent.id).await.state, JobState::Succeeded);
    // One that is preempted.
    bench.claim_next().await;
    let leader = bench.submit_new(of_class(2, Priority::Batch)).await;
    let claim = bench.claim_next().await;
    let urgent = bench.submit_new(of_class(2, Priority::Interactive)).await;
    let normal = bench.submit().await;
    bench.end(&claim, AttemptEnd::Preempted { checkpoint: None }).await;
    assert_eq!(bench.store().position(normal.id).await.unwrap(), 1);
    let claim = bench.claim_next().await;
    assert_eq!((claim.job, claim.priority), (leader.id, Priority::Interactive));
    bench.end(&claim, success(leader.id)).await;
    assert_eq!(bench.job(urgent.id).await.state, JobState::Succeeded);
    bench.claim_next().await;
    // One whose follower becomes more urgent, and one that is made less urgent than its follower.
    let leader = bench.submit_new(of_class(3, Priority::Batch)).await;
    let follower = bench.submit_new(of_class(3, Priority::Batch)).await;
    let to = |priority| JobPatch { priority: Some(priority), ..JobPatch::default() };
    bench.store().patch(follower.id, to(Priority::Normal)).await.unwrap().unwrap().unwrap();
    assert_eq!(bench.job(leader.id).await.priority, Priority::Normal);
    bench.store().patch(leader.id, to(Priority::Batch)).await.unwrap().unwrap().unwrap();
    assert_eq!(bench.job(leader.id).await.priority, Priority::Normal);
    // Of several followers the most urgent one leads on.
    let urgent = bench.submit_new(of_class(3, Priority::Interactive)).await;
    bench.store().cancel(leader.id).await.unwrap();
    assert_eq!(bench.job(follower.id).await.follows, Some(urgent.id));
    assert_eq!(bench.claim_next().await.job, urgent.id);
}

pub async fn followers_of_one_leader_are_bounded(bench: Bench) {
    let film = || NewJob { content: Some([9; 32]), ..new_job(turntable(FOLLOWERS_MAX as u32, false)) };
    let leader = bench.submit_new(film()).await;
    for _ in 0..FOLLOWERS_MIN {
        assert_eq!(bench.submit_new(film()).await.follows, Some(leader.id));
    }
    let second = bench.submit_new(film()).await;
    assert_eq!(second.follows, None, "so many outputs are copied in one go");
    assert_eq!(bench.submit_new(film()).await.follows, Some(second.id));
}

pub async fn a_follower_does_not_expire_once_its_leader_has_started(bench: Bench) {
    let due = |bench: &Bench| {
        let mut new = alike(1);
        new.spec.options_mut().start_before_ms = Some(bench.store().now_ms() + 60_000);
        new
    };
    let leader = bench.submit_new(alike(1)).await;
    let follower = bench.submit_new(due(&bench)).await;
    let claim = bench.claim_next().await;
    bench.clock.advance_ms(60_001);
    assert!(bench.store().expire_due().await.unwrap().is_empty());
    bench.store().cancel(leader.id).await.unwrap();
    bench.end(&claim, AttemptEnd::Cancelled).await;
    assert!(bench.store().expire_due().await.unwrap().is_empty(), "it goes on with what was begun");
    assert_eq!(succeed(&bench).await.id, follower.id);
}

pub async fn bytes_that_are_lost_answer_for_nothing(bench: Bench) {
    let done = bench.submit_new(alike(1)).await;
    succeed(&bench).await;
    let copy = bench.submit_new(alike(1)).await;
    let key = format!("outputs/{}/1/image.png", done.id);
    assert_eq!(bench.store().answers(&alike(1)).await.unwrap(), [(key, 812_345)]);
    let mut fresh = alike(1);
    fresh.spec.options_mut().reuse = false;
    for other in [alike(2), NewJob { client: "other".into(), ..alike(1) }, fresh] {
        assert!(bench.store().answers(&other).await.unwrap().is_empty());
    }
    bench.store().answers_no_more(&alike(1)).await.unwrap();
    assert!(bench.store().answers(&alike(1)).await.unwrap().is_empty());
    let again = bench.submit_new(alike(1)).await;
    assert_eq!((again.state, again.follows), (JobState::Queued, None));
    assert_eq!(bench.job(copy.id).await.state, JobState::Succeeded, "what was answered stays so");
}

pub async fn an_id_that_is_used_again_does_not_reach_the_blobs_of_the_first(bench: Bench) {
    let first = bench.submit_new(alike(1)).await;
    let claim = bench.claim_next().await;
    let key = kiln::blob::BlobStore::output_key(first.id, claim.fence, "image.png");
    let outputs = vec![output("image.png", &key)];
    bench.end(&claim, AttemptEnd::Succeeded { outputs, report: serde_json::Value::Null }).await;
    let copy = bench.submit_new(alike(1)).await;
    bench.store().delete(first.id).await.unwrap().unwrap().unwrap();
    bench.submit_new(NewJob { id: first.id, ..alike(2) }).await;
    let again = bench.claim_next().await;
    assert!(again.job == first.id && again.fence > claim.fence, "no fence is given twice");
    let other = kiln::blob::BlobStore::output_key(first.id, again.fence, "image.png");
    let unnamed = bench.store().unnamed(&[key.clone(), other.clone()]).await.unwrap();
    assert_eq!(unnamed, [other], "{key} is named by {}", copy.id);
}

pub async fn followers_survive_a_restart(mut bench: Bench) {
    let leader = bench.submit_new(alike(1)).await;
    let follower = bench.submit_new(alike(1)).await;
    bench.claim_next().await;
    bench.restart().await;
    bench.store().rescue(true).await.unwrap();
    assert_eq!(bench.job(follower.id).await.follows, Some(leader.id));
    succeed(&bench).await;
    assert_eq!(bench.job(follower.id).await.state, JobState::Succeeded);
}
