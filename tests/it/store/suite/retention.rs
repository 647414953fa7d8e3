//! What is deleted and forgotten, and what never is.

use super::super::*;

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

pub async fn assets_are_recorded_once_and_their_blobs_are_named(bench: Bench) {
    let sha256 = "ef".repeat(32);
    assert_eq!(bench.store().asset(&sha256).await.unwrap(), None);
    bench.store().put_asset(&sha256, 1 << 40).await.unwrap();
    bench.store().put_asset(&sha256, 1 << 40).await.unwrap();
    assert_eq!(bench.store().asset(&sha256).await.unwrap(), Some(1 << 40));
    assert_eq!(bench.store().blob_keys().await.unwrap(), [kiln::blob::BlobStore::asset_key(&sha256)]);
    bench.store().ping().await.unwrap();
}

/// A job that has succeeded with one picture of its own.
async fn done(bench: &Bench) -> JobId {
    let job = bench.submit().await;
    let claim = bench.claim_next().await;
    bench.end(&claim, success(job.id)).await;
    bench.clock.advance_ms(1000);
    job.id
}

fn blob_of(job: JobId) -> String {
    format!("outputs/{job}/1/image.png")
}

pub async fn jobs_are_forgotten_by_age_and_leave_a_tombstone(bench: Bench) {
    let old = done(&bench).await;
    let waiting = bench.submit().await;
    bench.clock.advance_ms(3_600_000);
    let young = {
        let urgent = bench.submit_as(Priority::Interactive).await;
        let claim = bench.claim_next().await;
        bench.end(&claim, success(urgent.id)).await.id
    };
    let retention = Retention { jobs_age_ms: Some(3_600_000), ..Retention::default() };
    let purged = bench.store().purge(&retention).await.unwrap();
    assert_eq!((purged.jobs, purged.blobs, purged.more), (vec![old], vec![blob_of(old)], false));
    assert!(bench.store().job(old).await.unwrap().is_none() && bench.store().purged(old).await.unwrap());
    for kept in [young, waiting.id] {
        assert!(bench.store().job(kept).await.unwrap().is_some() && !bench.store().purged(kept).await.unwrap());
    }
    assert!(!bench.store().purged(JobId::now_v7()).await.unwrap());
    assert_eq!(bench.store().purge(&retention).await.unwrap(), Purged::default(), "a purge is safe to do twice");
    // An id that was forgotten may be used again.
    bench.submit_new(NewJob { id: old, ..new_job(spec(Priority::Normal)) }).await;
    assert!(!bench.store().purged(old).await.unwrap());
    let all = Retention { jobs_age_ms: Some(0), tombstones_age_ms: Some(-1), ..Retention::default() };
    bench.store().purge(&all).await.unwrap();
    assert!(!bench.store().purged(young).await.unwrap(), "tombstones are forgotten too");
    assert_eq!(bench.store().counts().await.unwrap(), (2, 0), "what is queued is never forgotten");
}

pub async fn outputs_are_bounded_by_bytes_and_the_oldest_go_first(bench: Bench) {
    let ids = [done(&bench).await, done(&bench).await, done(&bench).await];
    let retention = |bytes| Retention { outputs_bytes_max: Some(bytes), ..Retention::default() };
    assert_eq!(bench.store().purge(&retention(3 * 812_345)).await.unwrap(), Purged::default());
    let purged = bench.store().purge(&retention(2 * 812_345)).await.unwrap();
    assert_eq!((purged.jobs, purged.blobs), (vec![ids[0]], vec![blob_of(ids[0])]));
    let one = Retention { limit: 1, ..retention(0) };
    let purged = bench.store().purge(&one).await.unwrap();
    assert_eq!((purged.jobs, purged.more), (vec![ids[1]], true), "one call does a bounded part of it");
}

pub async fn bytes_that_a_kept_job_names_are_never_given_away(bench: Bench) {
    let first = bench.submit_new(NewJob { content: Some([1; 32]), ..new_job(spec(Priority::Normal)) }).await;
    let claim = bench.claim_next().await;
    bench.end(&claim, success(first.id)).await;
    bench.clock.advance_ms(10_000);
    let copy = bench.submit_new(NewJob { content: Some([1; 32]), ..new_job(spec(Priority::Normal)) }).await;
    let retention = Retention { jobs_age_ms: Some(5_000), ..Retention::default() };
    let purged = bench.store().purge(&retention).await.unwrap();
    assert_eq!((purged.jobs, purged.blobs), (vec![first.id], vec![]));
    assert_eq!(bench.store().output_blob(copy.id, "image.png").await.unwrap().unwrap().1, blob_of(first.id));
    let bytes = Retention { outputs_bytes_max: Some(812_345), ..Retention::default() };
    assert_eq!(bench.store().purge(&bytes).await.unwrap(), Purged::default(), "shared bytes count once");
}

pub async fn events_of_ended_jobs_are_forgotten_but_for_the_last(bench: Bench) {
    let old = done(&bench).await;
    let running = bench.submit().await;
    bench.claim_next().await;
    bench.clock.advance_ms(60_000);
    let retention = Retention { events_age_ms: Some(30_000), ..Retention::default() };
    assert_eq!(bench.store().purge(&retention).await.unwrap().events, 3);
    assert_eq!(bench.store().purge(&retention).await.unwrap(), Purged::default());
    let left = bench.store().events(old, 0, 10).await.unwrap();
    assert_eq!((left.len(), left[0].seq, left[0].kind.name()), (1, 4, "ended"));
    assert_eq!(bench.store().log(old, "later".into()).await.unwrap().seq, 5, "numbers are never used twice");
    assert_eq!(bench.events(running.id).await, ["queued", "started"]);
}

pub async fn checkpoints_of_ended_jobs_are_bounded_by_bytes(bench: Bench) {
    for name in ["a", "b", "c"] {
        let job = bench.submit().await;
        let claim = bench.claim_next().await;
        bench.store().checkpoint(&claim, &format!("checkpoints/{name}"), 100).await.unwrap();
        if name != "c" {
            bench.end(&claim, success(job.id)).await;
        }
        bench.clock.advance_ms(1000);
    }
    let retention = |bytes| Retention { checkpoints_bytes_max: Some(bytes), ..Retention::default() };
    assert_eq!(bench.store().purge(&retention(200)).await.unwrap(), Purged::default());
    let purged = bench.store().purge(&retention(100)).await.unwrap();
    assert_eq!((purged.blobs, purged.jobs), (vec!["checkpoints/a".to_owned()], vec![]));
    assert_eq!(bench.store().purge(&retention(0)).await.unwrap().blobs, ["checkpoints/b"]);
    let keys = bench.store().blob_keys().await.unwrap();
    assert!(keys.contains(&"checkpoints/c".to_owned()), "what runs keeps its own: {keys:?}");
}

pub async fn an_asset_that_a_job_reads_is_never_forgotten(bench: Bench) {
    let (used, unused) = ("ab".repeat(32), "ee".repeat(32));
    bench.store().put_asset(&used, 10).await.unwrap();
    bench.store().put_asset(&unused, 20).await.unwrap();
    let job = bench.submit().await;
    assert!(bench.store().unreferenced_assets(60_000, 10).await.unwrap().is_empty(), "they are too young");
    bench.clock.advance_ms(60_001);
    assert_eq!(bench.store().unreferenced_assets(60_000, 10).await.unwrap(), [(unused.clone(), 20)]);
    assert!(!bench.store().delete_asset(&used, 60_000).await.unwrap());
    // Uploaded again in the meantime: somebody is about to use it.
    bench.store().put_asset(&unused, 20).await.unwrap();
    assert!(!bench.store().delete_asset(&unused, 60_000).await.unwrap());
    assert!(bench.store().delete_asset(&unused, -1).await.unwrap());
    assert_eq!(bench.store().asset(&unused).await.unwrap(), None);
    bench.store().cancel(job.id).await.unwrap();
    assert!(bench.store().unreferenced_assets(-1, 10).await.unwrap().is_empty(), "a job that is kept may be retried");
    bench.store().delete(job.id).await.unwrap().unwrap().unwrap();
    assert_eq!(bench.store().unreferenced_assets(-1, 10).await.unwrap(), [(used, 10)]);
}

pub async fn what_is_still_to_be_told_or_known_is_not_forgotten(bench: Bench) {
    let hook = r#"{"url": "https://example.org/hook", "events": ["ended"]}"#;
    let mut told = new_job(spec(Priority::Normal));
    told.spec.options_mut().webhook = Some(serde_json::from_str(hook).unwrap());
    let told = bench.submit_new(told).await;
    let keyed = NewJob { idempotency: Some(("key".into(), [1; 32])), ..new_job(labelled("a", "b")) };
    let known = bench.submit_new(keyed.clone()).await;
    for id in [told.id, known.id] {
        let claim = bench.claim_next().await;
        assert_eq!(claim.job, id);
        bench.end(&claim, success(id)).await;
    }
    let all = Retention { jobs_age_ms: Some(0), outputs_bytes_max: Some(0), ..Retention::default() };
    assert!(bench.store().purge(&all).await.unwrap().jobs.is_empty());
    let again = NewJob { id: JobId::now_v7(), ..keyed };
    assert!(matches!(bench.store().submit(again).await.unwrap(), Submitted::Existing(job) if job.id == known.id));
    let delivery = bench.store().deliveries_due(1, &[]).await.unwrap().remove(0);
    bench.store().delivery_done(delivery.id).await.unwrap();
    assert_eq!(bench.store().purge(&all).await.unwrap().jobs, [told.id]);
    bench.clock.advance_ms(IDEMPOTENCY_KEEP_MS);
    assert_eq!(bench.store().purge(&all).await.unwrap().jobs, [known.id]);
}

pub async fn what_runs_does_not_drive_out_what_is_finished(bench: Bench) {
    let done = bench.submit().await;
    let claim = bench.claim_next().await;
    bench.end(&claim, success(done.id)).await;
    let film = bench.submit_new(new_job(turntable(4, false))).await;
    for frame in 0..3 {
        let claim = bench.claim_next().await;
        let outputs = vec![output(&format!("{frame}.png"), &format!("outputs/{}/{frame}", film.id))];
        bench.end(&claim, AttemptEnd::Succeeded { outputs, report: serde_json::Value::Null }).await;
    }
    let bound = Retention { outputs_bytes_max: Some(2 * 812_345), ..Retention::default() };
    assert!(bench.store().purge(&bound).await.unwrap().jobs.is_empty());
    let last = bench.claim_next().await;
    bench.end(&last, success(film.id)).await;
    assert_eq!(bench.store().purge(&bound).await.unwrap().jobs, [done.id, film.id]);
}
