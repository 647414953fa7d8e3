//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): the same key never makes two jobs.
//!
//! What a key stood for is kept by the store, with the hash of its request. This module adds the one thing that the store
//! cannot know: that the first request with a key is still being read.

use super::AppState;
use super::prefer::unquote;
use super::problem::{Kind, Problem};
use crate::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use axum::http::HeaderMap;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// A key whose request is being accepted; others with the same key are refused until it is dropped.
pub struct KeyInProgress {
    /// The key.
    pub key: String,
    keys: Arc<Mutex<HashSet<String>>>,
}

impl Drop for KeyInProgress {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Reads the field, quoted as the draft says or bare as most clients send it.
pub fn begin(app: &AppState, headers: &HeaderMap) -> Result<Option<KeyInProgress>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().map(|text| unquote(text.trim())).unwrap_or_default();
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || values.next().is_some() {
        let detail =
            format!("Idempotency-Key: expected one key of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters.");
        return Err(Problem::new(Kind::InvalidHeader, detail));
    }
    if !app.keys_in_progress.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
        let detail = "A request with this Idempotency-Key is still being accepted. Repeat this one in a moment to learn its job.";
        return Err(Problem::new(Kind::IdempotencyInProgress, detail).retry_after(1));
    }
    Ok(Some(KeyInProgress { key, keys: Arc::clone(&app.keys_in_progress) }))
}
