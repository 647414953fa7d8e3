//! Who may call: pages of other origins may not, nor names that only a browser could be tricked into.

use crate::app::TestApp;
use kiln::http::HttpLimits;
use kiln::http::origin::HostRule;
use kiln::http::problem::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_can_neither_read_nor_submit() {
    let app = TestApp::start().await;
    let own = app.url("");
    let from = async |method: &str, path: &str, origin: &str| {
        app.send(app.request(method, path).header("origin", origin)).await
    };
    from("GET", "/v1/jobs", &own).await.expect(200);
    from("GET", "/livez", &own).await.expect(200);
    for origin in ["http://evil.example", "http://localhost:1", "null", "https://127.0.0.1"] {
        from("GET", "/v1/jobs", origin).await.problem(Kind::ForbiddenOrigin);
        from("POST", "/v1/jobs", origin).await.problem(Kind::ForbiddenOrigin);
        from("OPTIONS", "/v1/jobs", origin).await.problem(Kind::ForbiddenOrigin);
        from("DELETE", "/nowhere", origin).await.problem(Kind::ForbiddenOrigin);
    }
    assert_eq!(app.get("/v1/jobs").await.expect(200).json()["jobs"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_pointed_at_loopback_is_refused() {
    let app = TestApp::start().await;
    let answer = async |host: &str, target: &str| {
        app.raw(format!("GET {target} HTTP/1.1\r\n{host}connection: close\r\n\r\n").as_bytes()).await
    };
    for host in ["host: localhost\r\n", "host: 127.0.0.1:80\r\n", "host: [::1]:80\r\n", ""] {
        assert!(answer(host, "/v1/jobs").await.starts_with("HTTP/1.1 200"), "{host}");
    }
    for host in ["host: evil.example\r\n", "host: 10.0.0.1\r\n", "host: localhost\r\nhost: evil.example\r\n"] {
        let refused = answer(host, "/v1/jobs").await;
        assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("forbidden-host"), "{host}: {refused}");
    }
    let whole = answer("host: localhost\r\n", "http://evil.example/v1/jobs").await;
    assert!(whole.starts_with("HTTP/1.1 403"), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_name_can_be_allowed() {
    let rule = HostRule { loopback: true, allowed: vec!["render.example".to_owned()].into() };
    let app = TestApp::adjusted(HttpLimits::default(), |state| state.hosts = rule).await;
    let request =
        app.request("GET", "/v1/jobs").header("host", "render.example").header("origin", "https://render.example");
    app.send(request).await.expect(200);
    app.send(app.request("GET", "/v1/jobs").header("host", "other.example")).await.problem(Kind::ForbiddenHost);
}
