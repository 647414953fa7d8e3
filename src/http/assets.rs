//! `/v1/assets`: files that jobs use, by their sha256. Uploaded once, used by many jobs.

use super::download::{self, Source, Thing};
use super::extract::{AssetPath, Query};
use super::problem::{Kind, Problem};
use super::upload::{BoundedBody, Fault};
use super::{Answer, AppState, json};
use crate::blob::{BlobError, BlobStore, Upload};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Stores a body whose hash the client knows. 201 when it is new, 200 when it was here, 422 when the hash is another.
pub async fn put(
    State(app): State<AppState>,
    AssetPath(sha256): AssetPath,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    query.end(&[])?;
    let known = known(&app, &sha256).await?;
    // A client that asks before it sends need not send what is here.
    if known.is_some() && headers.contains_key(header::EXPECT) {
        return keep(&app, &sha256).await;
    }
    let mut body = BoundedBody::new(body, &headers, app.limits.upload_bytes_max, app.limits.body_idle_seconds_max)?;
    let _permit = upload_permit(&app)?;
    if known.is_some() {
        drain(body, &sha256).await?;
        return keep(&app, &sha256).await;
    }
    let mut upload = app.blobs.upload().await.map_err(blob_problem)?;
    while let Some(chunk) = body.next().await? {
        upload.write(chunk).await.map_err(blob_problem)?;
    }
    let _gate = app.blobs.keep_assets().await;
    let (_, bytes) = upload.finish_as_asset_expecting(&sha256).await.map_err(blob_problem)?;
    app.store.put_asset(&sha256, bytes).await?;
    Ok(answer(201, &sha256, bytes))
}

/// Keeps an asset that is here for longer, since somebody wants it.
async fn keep(app: &AppState, sha256: &str) -> Answer {
    let _gate = app.blobs.keep_assets().await;
    let Some(bytes) = known(app, sha256).await? else {
        let detail = format!("The asset sha256:{sha256} was here, and was forgotten just now. Send it again.");
        return Err(Problem::new(Kind::MissingAsset, detail));
    };
    app.store.put_asset(sha256, bytes).await?;
    Ok(answer(200, sha256, bytes))
}

/// The length of an asset that is here, row and bytes. One whose bytes were lost is not, so that it can be sent again.
async fn known(app: &AppState, sha256: &str) -> Result<Option<u64>, Problem> {
    let Some(bytes) = app.store.asset(sha256).await? else { return Ok(None) };
    let found = app.blobs.bytes(&BlobStore::asset_key(sha256)).await.map_err(blob_problem)?;
    if found != Some(bytes) {
        tracing::error!(
            sha256,
            ?found,
            expected = bytes,
            "the bytes of an asset are lost; whoever sends them again repairs it"
        );
    }
    Ok(found.filter(|found| *found == bytes))
}

/// Reads a body that need not be stored, so that its client gets to the answer; the hash is checked all the same.
async fn drain(mut body: BoundedBody, expected: &str) -> Result<(), Problem> {
    let mut hasher = Sha256::new();
    while let Some(chunk) = body.next().await? {
        hasher.update(&chunk);
    }
    let found = hex::encode(hasher.finalize());
    if found != expected {
        return Err(blob_problem(BlobError::HashMismatch { found, expected: expected.to_owned() }));
    }
    Ok(())
}

/// Stores a body under its hash. 201 when it is new, 200 when it was here.
pub async fn create(State(app): State<AppState>, query: Query, headers: HeaderMap, body: Body) -> Answer {
    query.end(&[])?;
    let mut body = BoundedBody::new(body, &headers, app.limits.upload_bytes_max, app.limits.body_idle_seconds_max)?;
    let _permit = upload_permit(&app)?;
    let mut upload = app.blobs.upload().await.map_err(blob_problem)?;
    while let Some(chunk) = body.next().await? {
        upload.write(chunk).await.map_err(blob_problem)?;
    }
    let _gate = app.blobs.keep_assets().await;
    let (sha256, bytes) = upload.finish_as_asset().await.map_err(blob_problem)?;
    let known = app.store.asset(&sha256).await?.is_some();
    app.store.put_asset(&sha256, bytes).await?;
    Ok(answer(if known { 200 } else { 201 }, &sha256, bytes))
}

/// GET and HEAD.
pub async fn get(
    State(app): State<AppState>,
    method: Method,
    AssetPath(sha256): AssetPath,
    query: Query,
    headers: HeaderMap,
) -> Answer {
    query.end(&[])?;
    let Some(bytes) = app.store.asset(&sha256).await? else {
        return Err(Problem::new(
            Kind::AssetNotFound,
            format!("There is no asset sha256:{sha256}. PUT it to this address."),
        ));
    };
    let source = Source::Blob(BlobStore::asset_key(&sha256));
    let media_type = "application/octet-stream".into();
    let thing = Thing { media_type, bytes, file_name: sha256.clone(), sha256, immutable: true };
    download::answer(&app, &method, &headers, &thing, source).await
}

fn answer(status: u16, sha256: &str, bytes: u64) -> Response {
    let url = format!("/v1/assets/{sha256}");
    let mut response =
        json(status, &json!({"asset": format!("sha256:{sha256}"), "sha256": sha256, "bytes": bytes, "url": url}));
    response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(url).expect("hex digits are ASCII"));
    response
}

/// Turns a finished upload into an asset: blob first, row second. Answers its hash and its length.
pub async fn store_upload(app: &AppState, upload: Upload) -> Result<(String, u64), Problem> {
    let _gate = app.blobs.keep_assets().await;
    let (sha256, bytes) = upload.finish_as_asset().await.map_err(blob_problem)?;
    app.store.put_asset(&sha256, bytes).await?;
    app.estimator.know_asset(&sha256, bytes);
    Ok((sha256, bytes))
}

/// The right to stream one more upload to the disk.
pub fn upload_permit(app: &AppState) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.uploads).try_acquire_owned().map_err(|_| {
        let detail =
            format!("{} uploads are under way, which is the most. Try again in a moment.", app.limits.uploads_max);
        Problem::new(Kind::Overloaded, detail).retry_after(2)
    })
}

/// What the blob store could not do.
pub fn blob_problem(error: BlobError) -> Problem {
    match error {
        BlobError::Full(cause) => {
            tracing::error!(cause, "the disk is full");
            let detail = "The disk of the service is full; nothing was kept. The operator must make room.";
            Problem::new(Kind::StorageFull, detail).retry_after(60)
        }
        BlobError::TooLarge { bytes_max } => Fault::TooLarge(bytes_max).into(),
        BlobError::HashMismatch { found, expected } => {
            let detail = format!(
                "The bytes that arrived have the sha256 {found}, the address says {expected}. Nothing was kept."
            );
            Problem::new(Kind::HashMismatch, detail).member("sha256", json!(found))
        }
        other => Problem::internal("The blob store", &other),
    }
}
