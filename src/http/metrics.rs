//! `GET /metrics`: the numbers of `telemetry`, and those that the store, the hub and the GPU process can answer for right now, in
//! Prometheus' text format 0.0.4.

use super::extract::Query;
use super::{Answer, AppState};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde_json::json;
use std::fmt::Write;

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// See the module's text.
pub async fn metrics(State(app): State<AppState>, query: Query) -> Answer {
    query.end(&[])?;
    let mut page = Page(crate::telemetry::install().render());
    page.gpu(&app);
    // A store that does not answer must not hide the other numbers.
    match app.store.queue().await {
        Ok(overview) => {
            page.head("kiln_queue_mode", "gauge", "1 for the queue's mode, 0 for the others");
            for mode in ["open", "paused", "draining"] {
                page.line("kiln_queue_mode", &[("mode", mode)], f64::from(u8::from(mode == overview.mode.as_str())));
            }
            let classes: Vec<_> = overview
                .classes
                .iter()
                .filter_map(|(priority, load)| Some((json!(priority).as_str()?.to_owned(), *load)))
                .collect();
            page.head("kiln_jobs", "gauge", "Jobs that have not ended, by class and state");
            for (class, load) in &classes {
                page.line("kiln_jobs", &[("priority", class), ("state", "queued")], load.jobs_queued as f64);
                page.line("kiln_jobs", &[("priority", class), ("state", "running")], load.jobs_running as f64);
            }
            page.head("kiln_queue_tasks", "gauge", "Tasks in the queue, by class");
            for (class, load) in &classes {
                page.line("kiln_queue_tasks", &[("priority", class)], load.tasks_queued as f64);
            }
            page.head("kiln_queue_gpu_seconds", "gauge", "Estimated GPU seconds in the queue, by class");
            for (class, load) in &classes {
                page.line("kiln_queue_gpu_seconds", &[("priority", class)], load.gpu_seconds);
            }
        }
        Err(error) => tracing::warn!(%error, "the queue's depth cannot be read for /metrics"),
    }
    let mut response = page.0.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROMETHEUS_TEXT));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to a String cannot fail");
    }

    /// Label values are words of our own, without anything to escape.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.0, "{name}{labels} {value}").expect("writing to a String cannot fail");
    }

    fn gpu(&mut self, app: &AppState) {
        let gpu = app.hub.gpu();
        self.head("kiln_gpu_ready", "gauge", "1 while the GPU process is up");
        self.line("kiln_gpu_ready", &[], f64::from(u8::from(gpu.ready)));
        self.head(
            "kiln_gpu_process_deaths_total",
            "counter",
            "Deaths of the GPU process since the start of the server",
        );
        self.line("kiln_gpu_process_deaths_total", &[], gpu.deaths as f64);
        self.head(
            "kiln_gpu_busy_seconds_total",
            "counter",
            "Seconds that the device worked on tasks, since the start of the server",
        );
        self.line("kiln_gpu_busy_seconds_total", &[], app.hub.gpu_busy_seconds());
        self.head("kiln_event_streams", "gauge", "Event streams that are open");
        let open = app.limits.event_streams_max - app.event_streams.available_permits();
        self.line("kiln_event_streams", &[], open as f64);
    }
}
