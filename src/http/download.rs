//! Answers that carry bytes: strong `ETag`, digest, ranges, conditions, caching.

use super::conditional::{Outcome, evaluate};
use super::problem::{Kind, Problem};
use super::{Answer, AppState, assets};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use bytes::Bytes;
use std::ops::Range;

/// What is downloaded.
#[derive(Debug, Clone)]
pub struct Thing {
    /// MIME type.
    pub media_type: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Name under which a browser saves it.
    pub file_name: String,
    /// Its address names these bytes for ever. Else they may be others the next time, and a cache has to ask.
    pub immutable: bool,
}

/// Where its bytes are.
pub enum Source {
    /// In the blob store, under this key.
    Blob(String),
    /// Here.
    Memory(Bytes),
}

/// Answers a GET or HEAD as its conditions say.
pub async fn answer(app: &AppState, method: &Method, headers: &HeaderMap, thing: &Thing, source: Source) -> Answer {
    let etag = format!("\"{}\"", thing.sha256);
    let outcome = evaluate(method, headers, &etag, thing.bytes);
    let (status, range) = match outcome {
        Outcome::PreconditionFailed => {
            let detail = format!("Its ETag is {etag}, which is not among those in If-Match.");
            return Err(Problem::new(Kind::PreconditionFailed, detail));
        }
        Outcome::Unsatisfiable => {
            let detail = format!("It has {} bytes, and the range lies outside of them.", thing.bytes);
            let length = HeaderValue::try_from(format!("bytes */{}", thing.bytes)).expect("digits are ASCII");
            return Err(Problem::new(Kind::RangeNotSatisfiable, detail).header(header::CONTENT_RANGE, length));
        }
        Outcome::NotModified => {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            set_validators(response.headers_mut(), thing, &etag);
            return Ok(response);
        }
        Outcome::Full => (StatusCode::OK, 0..thing.bytes),
        Outcome::Partial(range) => (StatusCode::PARTIAL_CONTENT, range),
    };
    let body = if method == Method::HEAD { Body::empty() } else { body(app, source, range.clone()).await? };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    set_validators(fields, thing, &etag);
    fields.insert(header::CONTENT_TYPE, value(&thing.media_type));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    fields.insert(header::CONTENT_DISPOSITION, value(&disposition(&thing.file_name)));
    let digest = value(&digest(&thing.sha256));
    fields.insert("repr-digest", digest.clone());
    if status == StatusCode::PARTIAL_CONTENT {
        fields
            .insert(header::CONTENT_RANGE, value(&format!("bytes {}-{}/{}", range.start, range.end - 1, thing.bytes)));
    } else {
        // Of a part it would have to be the digest of the part (RFC 9530, section 2).
        fields.insert("content-digest", digest);
    }
    Ok(response)
}

fn set_validators(fields: &mut HeaderMap, thing: &Thing, etag: &str) {
    fields.insert(header::ETAG, value(etag));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let caching = if thing.immutable { "private, max-age=31536000, immutable" } else { "private, no-cache" };
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
}

async fn body(app: &AppState, source: Source, range: Range<u64>) -> Result<Body, Problem> {
    match source {
        Source::Memory(bytes) => Ok(Body::from(bytes.slice(range.start as usize..range.end as usize))),
        // An empty object has no range that a store would accept.
        Source::Blob(_) if range.is_empty() => Ok(Body::empty()),
        Source::Blob(key) => {
            let (_, stream) = app.blobs.read(&key, Some(range)).await.map_err(assets::blob_problem)?;
            Ok(Body::from_stream(stream))
        }
    }
}

/// `sha-256=:BASE64:` (RFC 9530) of a hash in hex.
fn digest(sha256: &str) -> String {
    let bytes = hex::decode(sha256).unwrap_or_default();
    format!("sha-256=:{}:", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// `inline` with the file's name (RFC 6266); other than plain characters go into `filename*` (RFC 8187).
fn disposition(file_name: &str) -> String {
    let plain: String =
        file_name.chars().map(|c| if c.is_ascii_alphanumeric() || " ._-".contains(c) { c } else { '_' }).collect();
    if plain == file_name {
        return format!("inline; filename=\"{plain}\"");
    }
    format!("inline; filename=\"{plain}\"; filename*=UTF-8''{}", super::view::path_segment(file_name))
}

/// A field value; text that no field can carry becomes empty.
fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_names_follow_their_rfcs() {
        // The sha256 of nothing, as in RFC 9530, appendix A.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(empty), "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
        assert_eq!(disposition("image.png"), "inline; filename=\"image.png\"");
        assert_eq!(disposition("a\"b\r\nü"), "inline; filename=\"a_b___\"; filename*=UTF-8''a%22b%0D%0A%C3%BC");
    }
}
