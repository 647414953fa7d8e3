//! Everything else that comes over a socket.

use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn no_address_method_or_header_makes_a_server_error() {
    let app = TestApp::start().await;
    let id = app.submit().await;
    app.succeed_with_png(&app.claim().await).await;
    // A small linear congruential generator (Knuth's MMIX), so that every run sends the same.
    let mut state = 0x5eed_u64;
    let mut next = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let segments = [
        "v1",
        "jobs",
        "assets",
        "queue",
        "workers",
        "livez",
        "events",
        "image",
        "outputs",
        "preview",
        "cancel",
        "retry",
        "..",
        ".",
        "%2e%2e",
        "%00",
        "%ff",
        "%F0%9F%94%A5",
        "image.png",
        "",
        "sha256:",
        "a'b;--",
        "{id}",
        "*",
        "\\",
        "~",
        ":id",
        &id.to_string(),
        &"a".repeat(64),
        &"9".repeat(3000),
    ];
    let queries = [
        "",
        "?",
        "?=",
        "?&&",
        "?limit=",
        "?after=9223372036854775807",
        "?cursor=AAAA",
        "?format=%ff",
        "?state=%00",
        "?wait",
        "?a=b=c",
    ];
    let headers = [
        "x: y",
        "range: bytes=0-",
        "range: bytes=-",
        "if-match: *",
        "if-none-match: \u{fc}",
        "accept: ;;,,/",
        "accept: image/*;q=nan",
        "prefer: wait=-1,;=\"",
        "last-event-id: -5",
        "content-type: multipart/form-data; boundary=\"",
        "idempotency-key: \"",
        "if-range: x",
        "content-type: application/json",
        "expect: nothing",
        "content-length: 0",
        "transfer-encoding: chunked",
    ];
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"];
    for _ in 0..600 {
        let path: String = (0..next(6)).map(|_| format!("/{}", segments[next(segments.len())])).collect();
        let (method, query) = (methods[next(methods.len())], queries[next(queries.len())]);
        let (first, second) = (headers[next(headers.len())], headers[next(headers.len())]);
        let path = if path.is_empty() { "/" } else { &path };
        let request = format!(
            "{method} {path}{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{first}\r\n{second}\r\n\r\n0\r\n\r\n"
        );
        let answer = app.raw(request.as_bytes()).await;
        let status = answer.get(9..12).unwrap_or("");
        assert!(answer.is_empty() || matches!(status.as_bytes().first(), Some(b'2'..=b'4')), "{request}\n{answer}");
        // What hyper refuses by itself has no body; everything else is ours.
        if status.starts_with('4') && method != "HEAD" && !answer.to_lowercase().contains("content-length: 0") {
            assert!(answer.contains("application/problem+json"), "{request}\n{answer}");
        }
    }
    app.get(&format!("/v1/jobs/{id}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_keys_listens_only_where_nobody_else_comes() {
    let config = |addr: &str, insecure_no_auth: bool| kiln::config::ServeConfig {
        addr: addr.into(),
        data: std::path::PathBuf::new(),
        gpu: Default::default(),
        insecure_no_auth,
        allowed_hosts: Vec::new(),
        webhook_allow_private: false,
        retention: Default::default(),
        upload_bytes_max: 1,
        checkpoint_ms: 1,
        recycle_tasks: 1,
    };
    for addr in ["0.0.0.0:0", "[::]:0"] {
        let refused = kiln::http::bind(&config(addr, false)).await.unwrap_err().to_string();
        assert!(refused.contains("--insecure-no-auth") && refused.contains("127.0.0.1"), "{refused}");
    }
    kiln::http::bind(&config("127.0.0.1:0", false)).await.unwrap();
    kiln::http::bind(&config("localhost:0", false)).await.unwrap();
    kiln::http::bind(&config("0.0.0.0:0", true)).await.unwrap();
    let wrong = kiln::http::bind(&config("nonsense", false)).await.unwrap_err().to_string();
    assert!(wrong.contains("HOST:PORT"), "{wrong}");
}
