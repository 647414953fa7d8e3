//! Around every request: an id, one log line with fields, security headers, and an answer even after a panic.

use super::problem::{Kind, Problem};
use crate::telemetry;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::time::Instant;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of a request id that a client may bring.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Methods that are counted by name.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Writes the log line when it is dropped, so that a client that hangs up leaves one, too.
struct Line {
    method: String,
    route: String,
    id: HeaderValue,
    start: Instant,
    status: Option<u16>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let seconds = self.start.elapsed().as_secs_f64();
        let duration_ms = seconds * 1e3;
        let status = self.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        // A method is any word that a client makes up; an unknown one must not become a label of its own.
        let method = if METHODS.contains(&self.method.as_str()) { self.method.clone() } else { "other".to_owned() };
        let labels = [("route", self.route.clone()), ("method", method), ("status", status)];
        metrics::counter!(telemetry::HTTP_REQUESTS, &labels).increment(1);
        metrics::histogram!(telemetry::HTTP_SECONDS, "route" => self.route.clone()).record(seconds);
        let (method, route, id) = (&self.method, &self.route, self.id.to_str().unwrap_or(""));
        match self.status {
            Some(status) => tracing::info!(method, route, status, duration_ms, request.id = id, "request"),
            None => tracing::info!(method, route, duration_ms, request.id = id, "the client hung up before its answer"),
        }
    }
}

/// Gives the request an id (the client's own, if it brings a sane one), and logs its end.
pub async fn trace(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.to_str().is_ok())
        .cloned()
        .unwrap_or_else(|| HeaderValue::try_from(uuid::Uuid::now_v7().to_string()).expect("a UUID is ASCII"));
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let mut line =
        Line { method: request.method().to_string(), route, id: id.clone(), start: Instant::now(), status: None };
    let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let mut response = next.run(request).await;
    if has_body && !response.status().is_success() {
        // The rest of a refused body is not read, so the connection ends with this answer: the client is told, lest it sends its next
        // request into a connection that is closing.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    line.status = Some(response.status().as_u16());
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer after a panic in a handler. The panic's text stays in the log.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(message = message.unwrap_or("?"), "a handler panicked");
    let detail =
        "This is a fault of Kiln. The operator finds the cause in the log, under the X-Request-Id of this answer.";
    Problem::new(Kind::Internal, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::PROBLEM_JSON;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_in_a_handler_is_a_problem_that_keeps_its_text_to_itself() {
        async fn broken() -> &'static str {
            panic!("the secret")
        }
        let router = Router::new()
            .route("/", get(broken))
            .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked))
            .layer(axum::middleware::from_fn(trace));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
