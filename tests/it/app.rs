//! [`TestApp`]: the real router on a real loopback socket, over a real store and real blobs in a temporary folder, with a worker
//! that claims and commits through the store like the real one, and renders nothing.
//!
//! Every answer of 400 and above is checked to be a problem document, and the end of every test checks that the spool is empty.

use axum::http::HeaderMap;
use bytes::Bytes;
use kiln::blob::BlobStore;
use kiln::dispatch::estimate::{follow, waiting};
use kiln::dispatch::hub::{GpuStatus, Hub};
use kiln::dispatch::webhook;
use kiln::gpu_process::protocol::AdapterReport;
use kiln::http::problem::{Kind, PROBLEM_JSON};
use kiln::http::{AppState, HttpLimits, serve_on};
use kiln::job::{Claim, Failure, FailureDetail, FailureReason, JobId, Output, Progress};
use kiln::store::sqlite::{Clock, SqliteOptions, SqliteStore};
use kiln::store::{AttemptEnd, ClaimWant, Committed, JobStore, NewOutput};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Milliseconds of the fake worker's leases; longer than any test.
const LEASE_MS: i64 = 600_000;

/// A running service. See the module's text.
pub struct TestApp {
    pub store: Arc<dyn JobStore>,
    pub blobs: BlobStore,
    pub hub: Arc<Hub>,
    pub state: AppState,
    /// The store's clock, which tests move instead of waiting.
    pub clock: Clock,
    pub addr: SocketAddr,
    client: reqwest::Client,
    shutdown: CancellationToken,
    server: Option<JoinHandle<()>>,
    dir: tempfile::TempDir,
}

/// A client that goes straight to a server of the tests.
pub fn http_client() -> reqwest::Client {
    // No test speaks TLS, but the client wants to know how it would. A second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("the client can be built")
}

impl TestApp {
    pub async fn start() -> Self {
        Self::with(HttpLimits::default()).await
    }

    pub async fn with(limits: HttpLimits) -> Self {
        Self::adjusted(limits, |_| {}).await
    }

    /// With what `adjust` makes of the state before the server starts.
    pub async fn adjusted(limits: HttpLimits, adjust: impl FnOnce(&mut AppState)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::default();
        let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
        let store: Arc<dyn JobStore> = Arc::new(SqliteStore::open_with(dir.path(), options).await.unwrap());
        let blobs = BlobStore::open(dir.path()).unwrap();
        let hub = Hub::new();
        tokio::spawn(Arc::clone(&hub).follow(store.subscribe()));
        let mut state = AppState::new(Arc::clone(&store), blobs.clone(), Arc::clone(&hub), limits);
        adjust(&mut state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve_on(listener, state.clone(), shutdown.clone()));
        let client = http_client();
        Self { store, blobs, hub, state, clock, addr, client, shutdown, server: Some(server), dir }
    }

    /// Tells the server to stop, and waits until it has.
    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        self.server.take().expect("it is stopped once").await.unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    /// Sends, reads the whole answer, and checks it if it is an error.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let request = request.build().unwrap();
        let head = request.method() == "HEAD";
        let what = format!("{} {}", request.method(), request.url());
        let response = self.client.execute(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let reply = Reply { what, status, headers, body };
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{}", reply.what);
        assert!(!reply.header("x-request-id").is_empty(), "{}", reply.what);
        if status >= 400 && !head {
            self.check_problem(&reply);
        }
        reply
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, media_type: &str, body: impl Into<reqwest::Body>) -> Reply {
        self.send(self.request("POST", path).header("content-type", media_type).body(body)).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Reply {
        self.post(path, "application/json", body.to_string()).await
    }

    /// Posts a small scene of its own, and answers the job's id.
    pub async fn submit(&self) -> JobId {
        self.post("/v1/jobs", "model/gltf-binary", glb(&JobId::now_v7().to_string())).await.expect(202).id()
    }

    /// Lets the estimator learn, and tell those who wait, until the token is cancelled.
    pub fn learn(&self) -> (CancellationToken, JoinHandle<()>) {
        let stop = self.shutdown.child_token();
        let AppState { estimator, store, hub, .. } = self.state.clone();
        tokio::spawn(waiting::run(Arc::clone(&estimator), Arc::clone(&store), Arc::clone(&hub), stop.clone()));
        let learning = tokio::spawn(follow::run(estimator, store, hub, stop.clone()));
        (stop, learning)
    }

    /// Sends webhooks until the token is cancelled.
    pub fn send_webhooks(&self) -> CancellationToken {
        let stop = self.shutdown.child_token();
        tokio::spawn(webhook::run(Arc::clone(&self.store), self.state.webhooks, stop.clone()));
        stop
    }

    /// Renders a task as far as the store's clock and the cost model can tell: so many seconds, all of them on the GPU.
    pub async fn render_for(&self, claim: &Claim, gpu_seconds: f64) {
        self.clock.advance_ms((gpu_seconds * 1000.0) as i64);
        let progress = Progress { gpu_seconds, fraction: 1.0, ..Progress::default() };
        self.store.heartbeat(claim, progress, LEASE_MS).await.unwrap();
        self.succeed_with_png(claim).await;
    }

    /// Writes bytes to a socket of its own and reads until the server closes it.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // The server may reset a connection on which unread bytes are left; what came before counts.
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Waits until something holds. Bounded, so that a broken promise ends as a failure and not as a hang.
    pub async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..600 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never came true: {what}");
    }

    /// Claims the next task as a worker does.
    pub async fn claim(&self) -> Claim {
        for _ in 0..600 {
            if let Some(claim) = self.store.claim("fake", LEASE_MS, &ClaimWant::default()).await.unwrap() {
                return claim;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("there was nothing to claim");
    }

    /// Ends an attempt with these files (name, media type, bytes).
    pub async fn succeed(&self, claim: &Claim, files: &[(&str, &str, &[u8])]) {
        let mut outputs = Vec::new();
        for (name, media_type, content) in files {
            let spooled = self.blobs.spool_file(".test");
            std::fs::write(spooled.path(), content).unwrap();
            let blob = BlobStore::output_key(claim.job, claim.fence, name);
            let (bytes, sha256) = self.blobs.put_file(&blob, spooled.path()).await.unwrap();
            let output = Output { name: (*name).into(), media_type: (*media_type).into(), bytes, sha256 };
            outputs.push(NewOutput { output, blob });
        }
        self.commit(claim, AttemptEnd::Succeeded { outputs, report: json!({"triangles": 1}) }).await;
    }

    /// Ends an attempt with [`png`] as its picture.
    pub async fn succeed_with_png(&self, claim: &Claim) {
        self.succeed(claim, &[("image.png", "image/png", &png())]).await;
    }

    /// Ends an attempt with a failure that is the job's own fault.
    pub async fn fail(&self, claim: &Claim) {
        let detail = FailureDetail {
            stage: "load".into(),
            message: "accessor 3 ends behind its buffer view".into(),
            pointer: Some("/accessors/3".into()),
            ..FailureDetail::default()
        };
        let message = "The scene cannot be loaded.".to_owned();
        let failure = Failure { reason: FailureReason::InvalidScene, message, details: vec![detail] };
        self.commit(claim, AttemptEnd::Failed(failure)).await;
    }

    pub async fn commit(&self, claim: &Claim, end: AttemptEnd) {
        assert!(matches!(self.store.commit(claim, end, None).await.unwrap(), Committed::Done(_)));
    }

    /// Says that the GPU process is up, or not.
    pub fn set_gpu_ready(&self, ready: bool) {
        let adapter = AdapterReport { name: "fake".into(), ..AdapterReport::default() };
        self.hub.set_gpu(GpuStatus { ready, adapter: Some(adapter), ..GpuStatus::default() });
    }

    /// Files in the spool now.
    pub fn spooled(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.blobs.spool_dir()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// Bytes of all events of a stream, until it ends by itself.
    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Vec<SseEvent> {
        let mut request = self.request("GET", path).header("accept", "text/event-stream");
        if let Some(last) = last_event_id {
            request = request.header("last-event-id", last);
        }
        let reply = self.send(request).await.expect(200);
        assert!(reply.header("content-type").starts_with("text/event-stream"));
        parse_events(std::str::from_utf8(&reply.body).unwrap())
    }

    /// Asserts the shape of a problem document, and that it tells nothing of the server's inside.
    fn check_problem(&self, reply: &Reply) {
        let text = String::from_utf8_lossy(&reply.body);
        let what = format!("{}: {} {text}", reply.what, reply.status);
        assert_eq!(reply.header("content-type"), PROBLEM_JSON, "{what}");
        let problem: Value = serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("no JSON: {what}"));
        let slug = problem["type"]
            .as_str()
            .and_then(|kind| kind.strip_prefix("/problems/"))
            .unwrap_or_else(|| panic!("no type: {what}"));
        let row = Kind::ALL
            .iter()
            .map(|kind| kind.row())
            .find(|row| row.0 == slug)
            .unwrap_or_else(|| panic!("unknown type: {what}"));
        assert_eq!(problem["status"], reply.status, "{what}");
        assert_eq!(
            (row.1, row.2, row.3),
            (reply.status, problem["title"].as_str().unwrap(), problem["retryable"].as_bool().unwrap()),
            "{what}"
        );
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
        let dir = self.dir.path().to_string_lossy().into_owned();
        for secret in [dir.as_str(), "SELECT ", "INSERT ", "sqlite", ".rs:", "panicked", "spool"] {
            assert!(!text.contains(secret), "it tells of {secret}: {what}");
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if std::thread::panicking() {
            return;
        }
        // An upload whose client hung up is dropped by the server a moment later.
        for _ in 0..250 {
            if self.spooled().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("left behind in the spool: {:?}", self.spooled());
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    pub what: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, String::from_utf8_lossy(&self.body));
        self
    }

    /// Expects a problem of this kind, and answers the document.
    #[track_caller]
    pub fn problem(self, kind: Kind) -> Value {
        let (slug, status, ..) = kind.row();
        let problem = self.expect(status).json();
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{problem}");
        problem
    }

    /// A header field as text, empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: no JSON: {:?}", self.what, self.body))
    }

    #[track_caller]
    pub fn id(&self) -> JobId {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("{}: no id", self.what)).parse().unwrap()
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub struct SseEvent {
    pub id: Option<i64>,
    pub event: String,
    pub data: Value,
}

/// Parses a whole stream; comments are left out.
pub fn parse_events(text: &str) -> Vec<SseEvent> {
    let mut events = Vec::new();
    for block in text.split("\n\n") {
        let field =
            |name: &str| block.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_start()));
        if let (Some(event), Some(data)) = (field("event"), field("data")) {
            let id = field("id").map(|id| id.parse().unwrap());
            events.push(SseEvent { id, event: event.to_owned(), data: serde_json::from_str(data).unwrap() });
        }
    }
    events
}

/// The smallest GLB, with a text in it that makes it a file of its own.
pub fn glb(text: &str) -> Vec<u8> {
    let mut json = json!({"asset": {"version": "2.0", "generator": text}}).to_string();
    while !json.len().is_multiple_of(4) {
        json.push(' ');
    }
    let bytes = 20 + json.len() as u32;
    let head =
        [&b"glTF"[..], &2u32.to_le_bytes(), &bytes.to_le_bytes(), &(json.len() as u32).to_le_bytes(), b"JSON"].concat();
    [head, json.into_bytes()].concat()
}

/// A small picture with alpha.
pub fn png() -> Vec<u8> {
    let picture = image::RgbaImage::from_fn(32, 24, |x, y| {
        image::Rgba([(x * 8) as u8, (y * 10) as u8, 128, if x < 16 { 255 } else { 0 }])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}
