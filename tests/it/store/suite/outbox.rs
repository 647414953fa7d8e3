//! The outbox of webhooks.

use super::super::*;
use std::collections::BTreeSet;

fn told(events: &[WebhookEvent]) -> NewJob {
    let mut new = new_job(spec(Priority::Normal));
    let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    assert!(secret.is_some());
    let events = events.iter().copied().collect::<BTreeSet<_>>();
    new.spec.options_mut().webhook = Some(Webhook { url: "https://example.com/hook".into(), events, secret });
    new
}

pub async fn an_event_that_is_asked_for_is_in_the_outbox_until_it_is_told(mut bench: Bench) {
    let job = bench.submit_new(told(&[WebhookEvent::Started, WebhookEvent::Ended])).await;
    bench.submit().await;
    assert!(bench.store().deliveries_due(10, &[]).await.unwrap().is_empty());
    let claim = bench.claim_next().await;
    bench.end(&claim, success(job.id)).await;
    bench.restart().await;
    let due = bench.store().deliveries_due(10, &[]).await.unwrap();
    let kinds: Vec<_> = due.iter().map(|delivery| delivery.event.kind.name()).collect();
    assert_eq!(kinds, ["started", "ended"]);
    let stored = bench.store().events(job.id, 0, 10).await.unwrap();
    assert_eq!((&due[0].event, &due[1].event), (&stored[1], &stored[3]), "it is the event as it is stored");
    let ended = &due[1];
    assert_eq!((ended.job, ended.url.as_str(), ended.attempt), (job.id, "https://example.com/hook", 0));
    assert_eq!(ended.secret.as_ref().and_then(WebhookSecret::key).map(|key| key.len()), Some(32));
    assert_eq!(ended.give_up_ms, ended.event.time_ms + WEBHOOK_GIVE_UP_MS);
    assert_eq!(
        bench.store().deliveries_due(1, &[]).await.unwrap(),
        due[..1],
        "a page is bounded by host, oldest first"
    );
    assert_eq!(ended.host, "example.com:443");
    assert!(bench.store().deliveries_due(10, std::slice::from_ref(&ended.host)).await.unwrap().is_empty());
    assert!(bench.store().delivery_done(due[0].id).await.unwrap());
    assert!(!bench.store().delivery_done(due[0].id).await.unwrap(), "once is enough");
    assert_eq!(bench.store().deliveries_due(10, &[]).await.unwrap().len(), 1);
}

pub async fn a_message_that_was_not_taken_is_due_again_later(bench: Bench) {
    bench.submit_new(told(&[WebhookEvent::Queued])).await;
    let first = bench.store().deliveries_due(10, &[]).await.unwrap().remove(0);
    assert!(bench.store().delivery_retry(first.id, bench.store().now_ms() + 60_000).await.unwrap());
    assert!(bench.store().deliveries_due(10, &[]).await.unwrap().is_empty());
    bench.clock.advance_ms(60_001);
    let again = bench.store().deliveries_due(10, &[]).await.unwrap().remove(0);
    assert_eq!(again, Delivery { attempt: 1, ..first });
    assert!(!bench.store().delivery_retry(9999, 0).await.unwrap());
}

pub async fn what_was_undone_is_not_told(bench: Bench) {
    let new = told(&[WebhookEvent::Queued]);
    bench.submit_new(new.clone()).await;
    let mut other = new;
    other.spec.set_priority(Priority::Batch);
    assert!(matches!(bench.store().submit(other).await.unwrap(), Submitted::Conflict(_)));
    assert_eq!(bench.store().deliveries_due(10, &[]).await.unwrap().len(), 1);
}

pub async fn a_job_that_is_answered_at_once_is_told_of_too(bench: Bench) {
    bench.submit_new(NewJob { content: Some([1; 32]), ..new_job(spec(Priority::Normal)) }).await;
    let claim = bench.claim_next().await;
    bench.end(&claim, success(claim.job)).await;
    bench.submit_new(NewJob { content: Some([1; 32]), ..told(&[WebhookEvent::Ended]) }).await;
    assert_eq!(bench.store().deliveries_due(10, &[]).await.unwrap().len(), 1);
}
