//! Request bodies: read in chunks, bounded in bytes and in time, never held in memory as a whole unless they are small.

use super::problem::{Kind, Problem};
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

use crate::limits::{BODY_BYTES_PER_SECOND_MIN, BODY_GRACE_SECONDS};

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is longer than this many bytes.
    #[error("The body is larger than {0} bytes, which is the most that is accepted here.")]
    TooLarge(u64),
    /// It paused too long, or dripped.
    #[error("The body came too slowly and was given up. Nothing of it was kept.")]
    TooSlow,
    /// The connection broke.
    #[error("The body ended before its end. Nothing of it was kept.")]
    Incomplete,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::TooLarge(_) => Kind::BodyTooLarge,
            Fault::TooSlow => Kind::SlowBody,
            Fault::Incomplete => Kind::IncompleteBody,
        };
        let problem = Problem::new(kind, fault.to_string());
        match fault {
            Fault::TooLarge(bytes_max) => problem.member("bytes_max", bytes_max.into()),
            _ => problem,
        }
    }
}

/// A request body with its bounds.
pub struct BoundedBody {
    stream: BodyDataStream,
    bytes: u64,
    bytes_max: u64,
    idle_max: Duration,
    start: Instant,
}

impl BoundedBody {
    /// Refuses at once a body whose declared length is over the bound.
    pub fn new(body: Body, headers: &HeaderMap, bytes_max: u64, idle_seconds_max: u64) -> Result<Self, Fault> {
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|declared| declared > bytes_max) {
            return Err(Fault::TooLarge(bytes_max));
        }
        let idle_max = Duration::from_secs(idle_seconds_max);
        Ok(Self { stream: body.into_data_stream(), bytes: 0, bytes_max, idle_max, start: Instant::now() })
    }

    /// The next chunk; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let chunk = match tokio::time::timeout(self.idle_max, self.stream.next()).await {
            Err(_) => return Err(Fault::TooSlow),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Fault::Incomplete),
            Ok(Some(Ok(chunk))) => chunk,
        };
        self.bytes += chunk.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(Fault::TooLarge(self.bytes_max));
        }
        let seconds = self.start.elapsed().as_secs();
        if seconds > BODY_GRACE_SECONDS && self.bytes / seconds < BODY_BYTES_PER_SECOND_MIN {
            return Err(Fault::TooSlow);
        }
        Ok(Some(chunk))
    }

    /// All of it, for small bodies.
    pub async fn to_memory(mut self) -> Result<Vec<u8>, Fault> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// As a stream for a parser that hides why its input failed; the cell tells.
    pub fn into_stream(self) -> (impl Stream<Item = Result<Bytes, Fault>> + Send + 'static, Arc<OnceLock<Fault>>) {
        let cell = Arc::new(OnceLock::new());
        let failed = Arc::clone(&cell);
        let stream = futures::stream::unfold(Some(self), move |body| {
            let failed = Arc::clone(&failed);
            async move {
                let mut body = body?;
                match body.next().await {
                    Ok(Some(chunk)) => Some((Ok(chunk), Some(body))),
                    Ok(None) => None,
                    Err(fault) => {
                        // Set once: the stream ends after its first fault.
                        let _ = failed.set(fault);
                        Some((Err(fault), None))
                    }
                }
            }
        });
        (stream, cell)
    }
}
