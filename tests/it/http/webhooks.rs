//! Webhooks, against real receivers on loopback: signed, retried, never on the job's path, and never to where they must not go.

use super::GLB;
use crate::app::{TestApp, glb};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use kiln::dispatch::webhook::WebhookConfig;
use kiln::http::HttpLimits;
use kiln::http::problem::Kind;
use kiln::job::spec::AssetRef;
use kiln::job::{JobId, JobSpec, SceneSpec, Webhook, WebhookEvent};
use kiln::limits::{WEBHOOK_DELIVERIES_MAX, WEBHOOK_GIVE_UP_MS};
use kiln::store::NewJob;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers with the statuses it was given, then with 204, under /bad always with 500; and remembers what it got.
#[derive(Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<VecDeque<u16>>>,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    url: String,
    /// `Retry-After` of what is not taken.
    retry_after: &'static str,
}

impl Receiver {
    async fn start(answers: &[u16]) -> Self {
        Self::start_with(answers, "").await
    }

    async fn start_with(answers: &[u16], retry_after: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let receiver = Self {
            answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
            url,
            retry_after,
            ..Self::default()
        };
        let router = axum::Router::new().fallback(any(Self::receive)).with_state(receiver.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let stream = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
            }
        });
        receiver
    }

    async fn receive(State(receiver): State<Self>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
        receiver.got.lock().unwrap().push((headers, body));
        let status = match uri.path() {
            "/bad" => 500,
            _ => receiver.answers.lock().unwrap().pop_front().unwrap_or(204),
        };
        let mut fields = vec![(header::LOCATION, format!("{}/elsewhere", receiver.url))];
        if status >= 400 && !receiver.retry_after.is_empty() {
            fields.push((header::RETRY_AFTER, receiver.retry_after.to_owned()));
        }
        (StatusCode::from_u16(status).unwrap(), AppendHeaders(fields)).into_response()
    }

    fn got(&self) -> Vec<(HeaderMap, Value)> {
        let got = self.got.lock().unwrap();
        got.iter().map(|(headers, body)| (headers.clone(), serde_json::from_slice(body).unwrap())).collect()
    }
}

async fn app(allow_private: bool) -> TestApp {
    retrying(allow_private, 20).await
}

async fn retrying(allow_private: bool, retry_ms: u64) -> TestApp {
    TestApp::adjusted(HttpLimits::default(), |state| state.webhooks = WebhookConfig { allow_private, retry_ms }).await
}

/// Puts jobs into the store whose receivers are to be told at once that they are queued.
async fn queue_up(app: &TestApp, url: &str, count: usize) {
    let submits = (0..count).map(|_| {
        let mut spec = SceneSpec::new(AssetRef::from_sha256(&"ab".repeat(32)));
        let events = [WebhookEvent::Queued].into();
        spec.options.webhook = Some(Webhook { url: url.to_owned(), events, secret: None });
        app.store.submit(NewJob::new(JobId::now_v7(), "local", JobSpec::Scene(spec)))
    });
    for submitted in futures::future::join_all(submits).await {
        submitted.unwrap();
    }
}

/// Submits a job with this webhook, and ends it.
async fn run(app: &TestApp, webhook: Value) -> JobId {
    let hash = app.post("/v1/assets", "application/octet-stream", glb(&JobId::now_v7().to_string())).await.json();
    let document =
        json!({"kind": "scene", "scene": {"asset": hash["asset"]}, "webhook": webhook, "labels": {"order": "4711"}});
    let id = app.post_json("/v1/jobs", &document).await.expect(202).id();
    let claim = app.claim().await;
    assert_eq!(claim.job, id);
    app.succeed_with_png(&claim).await;
    id
}

async fn outbox_is_empty(app: &TestApp) {
    app.eventually("the outbox is empty", async || {
        app.clock.advance_ms(1000);
        app.store.deliveries_due(100, &[]).await.unwrap().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_gets_the_events_it_asked_for_with_a_signature_that_holds() {
    let (app, receiver) = (app(true).await, Receiver::start(&[]).await);
    app.send_webhooks();
    let key = [7u8; 32];
    let secret = format!("whsec_{}", STANDARD.encode(key));
    let webhook =
        json!({"url": format!("{}/hook?a=b", receiver.url), "events": ["started", "ended"], "secret": secret});
    let id = run(&app, webhook).await;
    app.eventually("both events arrive", async || receiver.got().len() == 2).await;
    let mut got = receiver.got();
    got.sort_by_key(|(_, body)| body["data"]["seq"].as_i64());
    assert_eq!((&got[0].1["type"], &got[1].1["type"]), (&"job.started".into(), &"job.ended".into()));
    let (headers, body) = &got[1];
    assert_eq!((&body["data"]["job_id"], &body["data"]["state"]), (&json!(id), &"succeeded".into()));
    assert_eq!(body["data"]["labels"]["order"], "4711");
    assert_eq!(body["data"]["url"], format!("/v1/jobs/{id}"));
    let field = |name: &str| headers[name].to_str().unwrap().to_owned();
    let raw =
        receiver.got.lock().unwrap().iter().find(|(h, _)| h["webhook-id"] == headers["webhook-id"]).unwrap().1.clone();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", field("webhook-id"), field("webhook-timestamp")).as_bytes());
    mac.update(&raw);
    assert_eq!(field("webhook-signature"), format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    assert_eq!(field("content-type"), "application/json");
    let shown = app.get(&format!("/v1/jobs/{id}")).await.json();
    assert!(!shown.to_string().contains("whsec_"), "the secret is shown");
    outbox_is_empty(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_repeated_until_it_is_taken_and_keeps_its_id() {
    let (app, receiver) = (app(true).await, Receiver::start(&[500, 302, 429]).await);
    app.send_webhooks();
    run(&app, json!({"url": receiver.url})).await;
    app.eventually("the fourth try succeeds", async || {
        app.clock.advance_ms(500);
        receiver.got().len() == 4
    })
    .await;
    let got = receiver.got();
    assert!(got.iter().all(|(headers, body)| headers["webhook-id"] == got[0].0["webhook-id"] && *body == got[0].1));
    assert!(got.iter().all(|(headers, _)| !headers.contains_key("webhook-signature")));
    outbox_is_empty(&app).await;
    assert_eq!(receiver.got().len(), 4, "a redirect was followed, or a message was sent after it was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_hears_no_more() {
    let (app, receiver) = (app(true).await, Receiver::start(&[410]).await);
    app.send_webhooks();
    run(&app, json!({"url": receiver.url})).await;
    outbox_is_empty(&app).await;
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_hang_or_answer_garbage_hold_up_neither_jobs_nor_others() {
    let app = app(true).await;
    app.send_webhooks();
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs_url = format!("http://{}", hangs.local_addr().unwrap());
    let garbage = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let garbage_url = format!("http://{}", garbage.local_addr().unwrap());
    let answered = Arc::new(Mutex::new(0));
    let count = Arc::clone(&answered);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = garbage.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(&[b'x'; 100_000]).await;
            *count.lock().unwrap() += 1;
        }
    });
    let good = Receiver::start(&[]).await;
    for _ in 0..20 {
        run(&app, json!({"url": hangs_url, "events": ["queued", "started", "output", "ended"]})).await;
    }
    run(&app, json!({"url": garbage_url})).await;
    run(&app, json!({"url": good.url})).await;
    app.eventually("the good receiver is told", async || good.got().len() == 1).await;
    app.eventually("garbage is a failure that is tried again", async || {
        app.clock.advance_ms(500);
        *answered.lock().unwrap() >= 2
    })
    .await;
    drop(hangs);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused_when_a_job_is_posted_and_after_the_name_was_looked_up() {
    let (app, receiver) = (app(false).await, Receiver::start(&[]).await);
    app.send_webhooks();
    let post = async |url: &str| {
        let path = format!("/v1/jobs?webhook_url={}", url.replace(':', "%3A").replace('/', "%2F"));
        app.post(&path, GLB, glb(url)).await
    };
    for url in [
        &receiver.url,
        "http://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "http://2130706433/",
        "http://10.0.0.1/",
    ] {
        let problem = post(url).await.problem(Kind::InvalidJob);
        assert_eq!(problem["errors"][0]["pointer"], "/webhook/url", "{url}: {problem}");
    }
    let port = receiver.url.rsplit(':').next().unwrap();
    run(&app, json!({"url": format!("http://localhost:{port}/")})).await;
    outbox_is_empty(&app).await;
    assert_eq!(receiver.got().len(), 0, "a private address was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_told_before_a_restart_is_told_after_it() {
    let (app, receiver) = (app(true).await, Receiver::start(&[]).await);
    let id = run(&app, json!({"url": receiver.url})).await;
    assert_eq!(app.store.deliveries_due(10, &[]).await.unwrap().len(), 1);
    app.send_webhooks();
    app.eventually("it is told", async || receiver.got().len() == 1).await;
    assert_eq!(receiver.got()[0].1["data"]["job_id"], json!(id));
    outbox_is_empty(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_says_when_to_come_back_and_cannot_ask_for_too_much() {
    for (retry_after, not_before_ms, not_after_ms) in
        [("60", 59_000, 76_000), ("18446744073709551615", WEBHOOK_GIVE_UP_MS - 60_000, WEBHOOK_GIVE_UP_MS)]
    {
        let (app, receiver) = (app(true).await, Receiver::start_with(&[503], retry_after).await);
        app.send_webhooks();
        run(&app, json!({"url": receiver.url})).await;
        app.eventually("it was put off", async || {
            receiver.got().len() == 1 && app.store.deliveries_due(10, &[]).await.unwrap().is_empty()
        })
        .await;
        app.clock.advance_ms(not_before_ms);
        assert!(app.store.deliveries_due(10, &[]).await.unwrap().is_empty(), "{retry_after}: it comes too early");
        app.clock.advance_ms(not_after_ms - not_before_ms + 1);
        app.eventually("it is told", async || receiver.got().len() == 2).await;
        // Nor did it take the place of another try.
        run(&app, json!({"url": receiver.url})).await;
        app.eventually("the next one is told", async || receiver.got().len() == 3).await;
        outbox_is_empty(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_given_up_after_a_last_try_when_its_time_is_over() {
    let app = retrying(true, 3_600_000).await;
    let receiver = Receiver::start(&[]).await;
    app.send_webhooks();
    run(&app, json!({"url": format!("{}/bad", receiver.url)})).await;
    app.eventually("it is tried", async || receiver.got().len() == 1).await;
    app.eventually("it waits", async || app.store.deliveries_due(10, &[]).await.unwrap().is_empty()).await;
    app.clock.advance_ms(WEBHOOK_GIVE_UP_MS + 1);
    app.eventually("it is tried for the last time", async || receiver.got().len() == 2).await;
    app.eventually("it is given up", async || {
        app.clock.advance_ms(WEBHOOK_GIVE_UP_MS);
        app.store.deliveries_due(10, &[]).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(receiver.got().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_fails_does_not_silence_others_on_its_host() {
    // Whoever is made to wait here waits for longer than the test.
    let app = retrying(true, 60_000).await;
    let receiver = Receiver::start(&[]).await;
    app.send_webhooks();
    queue_up(&app, &format!("{}/bad", receiver.url), 20).await;
    app.eventually("the bad address has failed often", async || receiver.got().len() == 20).await;
    queue_up(&app, &format!("{}/good", receiver.url), 1).await;
    app.eventually("the good address is told", async || receiver.got().len() == 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_hosts_with_long_backlogs_hide_nobody() {
    let app = app(true).await;
    let each = WEBHOOK_DELIVERIES_MAX as usize / 8;
    let mut slow = Vec::new();
    for _ in 0..9 {
        // It is connected to, and never says anything.
        let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
        queue_up(&app, &format!("http://{}", host.local_addr().unwrap()), each).await;
        slow.push(host);
    }
    let good = Receiver::start(&[]).await;
    queue_up(&app, &good.url, 10).await;
    app.send_webhooks();
    app.eventually("the good receiver is told all", async || good.got().len() == 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_deleted_is_told_of_all_the_same() {
    let (app, receiver) = (app(true).await, Receiver::start(&[]).await);
    let id = run(&app, json!({"url": receiver.url})).await;
    app.send(app.request("DELETE", &format!("/v1/jobs/{id}"))).await.expect(204);
    app.send_webhooks();
    app.eventually("it is told", async || receiver.got().len() == 1).await;
    let (_, body) = &receiver.got()[0];
    assert_eq!((&body["data"]["state"], &body["data"]["labels"]["order"]), (&"succeeded".into(), &"4711".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messages_never_have_the_same_id() {
    let (app, receiver) = (app(true).await, Receiver::start(&[]).await);
    app.send_webhooks();
    let hash = app.post("/v1/assets", "application/octet-stream", glb("twice")).await.json();
    let document = json!({"kind": "scene", "scene": {"asset": hash["asset"]}, "webhook": {"url": receiver.url}});
    let path = format!("/v1/jobs/{}", JobId::now_v7());
    for told in 1..=2 {
        let put = app.request("PUT", &path).header("content-type", "application/json").body(document.to_string());
        app.send(put).await.expect(202);
        app.succeed_with_png(&app.claim().await).await;
        app.eventually("it is told", async || receiver.got().len() == told).await;
        app.send(app.request("DELETE", &path)).await.expect(204);
    }
    let got = receiver.got();
    assert_eq!(
        got[0].1["data"]["seq"], got[1].1["data"]["seq"],
        "the second job has the id and the events of the first"
    );
    assert_ne!(got[0].0["webhook-id"], got[1].0["webhook-id"]);
}
