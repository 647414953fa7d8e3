//! The child's stderr, as part of our own log: bounded in length and rate. Runs on one tokio task a child.

use crate::limits::{CHILD_LOG_LINE_BYTES_MAX, CHILD_LOG_LINES_PER_SECOND_MAX};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStderr;

/// Passes the child's log on as our own, bounded in length and rate.
pub(super) async fn pass_on(stderr: ChildStderr, pid: u32) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut second = Instant::now();
    let mut lines = 0u32;
    loop {
        line.clear();
        match (&mut stderr).take(CHILD_LOG_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if second.elapsed() >= Duration::from_secs(1) {
            if lines > CHILD_LOG_LINES_PER_SECOND_MAX {
                tracing::warn!(dropped = lines - CHILD_LOG_LINES_PER_SECOND_MAX, "the GPU process logs too much");
            }
            (second, lines) = (Instant::now(), 0);
        }
        lines += 1;
        if lines <= CHILD_LOG_LINES_PER_SECOND_MAX {
            let text = String::from_utf8_lossy(&line);
            log_line(text.trim_end(), pid);
        }
    }
}

/// One line: a JSON line of the child's own tracing, or whatever a driver printed.
fn log_line(line: &str, pid: u32) {
    #[derive(serde::Deserialize)]
    struct Line {
        level: String,
        #[serde(default)]
        fields: serde_json::Map<String, serde_json::Value>,
        #[serde(default)]
        target: String,
    }
    if line.is_empty() {
        return;
    }
    let Ok(Line { level, mut fields, target }) = serde_json::from_str(line) else {
        tracing::info!(target: "kiln::gpu_process", pid, "{line}");
        return;
    };
    let message = fields.remove("message");
    // Records of the `log` crate bring their place in some library's sources, which is of no use here.
    fields.retain(|name, _| !name.starts_with("log."));
    let message = message.as_ref().and_then(|message| message.as_str()).unwrap_or_default();
    let fields = if fields.is_empty() { String::new() } else { format!(" {}", serde_json::Value::Object(fields)) };
    match level.as_str() {
        "ERROR" => tracing::error!(target: "kiln::gpu_process", pid, source = target, "{message}{fields}"),
        "WARN" => tracing::warn!(target: "kiln::gpu_process", pid, source = target, "{message}{fields}"),
        "INFO" => tracing::info!(target: "kiln::gpu_process", pid, source = target, "{message}{fields}"),
        _ => tracing::debug!(target: "kiln::gpu_process", pid, source = target, "{message}{fields}"),
    }
}
