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
    let endings: [Ending; 3] = [
        |bench, leader| Box::pin(async move { drop(bench.store().cancel(leader).await.unwrap()) }),
        |bench, leader| {
            Box::pin(async move {
                let claim = bench.claim_next().await;
                bench.store().cancel(leader).await.unwrap();
                bench.end(&claim, AttemptEnd::Cancelled).await;
            })
        },
        |bench, _| {
            Box::pin(async move {
                let claim = bench.claim_next().await;
                bench.end(&claim, failed(FailureReason::InvalidScene)).await;
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

pub async fn an_urgent_job_does_not_wait_with_one_of_a_lower_class(bench: Bench) {
    let mut batch = alike(1);
    batch.spec.set_priority(Priority::Batch);
    let batch = bench.submit_new(batch).await;
    let normal = bench.submit_new(alike(1)).await;
    assert_eq!(normal.follows, None);
    let mut late = alike(1);
    late.spec.set_priority(Priority::Batch);
    let follower = bench.submit_new(late).await;
    assert_eq!(follower.follows, Some(batch.id));
    let patch = JobPatch { priority: Some(Priority::Interactive), ..JobPatch::default() };
    let patched = bench.store().patch(follower.id, patch).await.unwrap().unwrap().unwrap();
    assert_eq!((patched.follows, patched.priority), (None, Priority::Interactive));
    assert_eq!(bench.claim_next().await.job, follower.id);
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
