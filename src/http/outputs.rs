//! What a job made: its picture (converted, if the client likes another format), all its outputs, and the picture so far.

use super::accept::Accept;
use super::download::{self, Source, Thing};
use super::extract::{JobPath, OutputPath, Query};
use super::problem::{Kind, Problem};
use super::{Answer, AppState, assets, find_job, find_job_and_blobs, job_url, json, shown, view};
use crate::job::spec::Format;
use crate::job::{Job, JobId, JobState, Output};
use crate::limits::CONVERSION_BYTES_MAX;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Formats that a finished picture can be converted to.
const CONVERSIONS: [(&str, &str, Format); 3] =
    [("png", "image/png", Format::Png), ("jpeg", "image/jpeg", Format::Jpeg), ("webp", "image/webp", Format::Webp)];
/// Quality of a conversion to JPEG where the client does not say, of 100.
const QUALITY_DEFAULT: u8 = 90;

/// The picture. 404 while it is not finished, 409 when the job ended without one.
pub async fn image(
    State(app): State<AppState>,
    method: Method,
    JobPath(id): JobPath,
    mut query: Query,
    headers: HeaderMap,
) -> Answer {
    let wish = Wish::take(&mut query)?;
    query.end(&["format", "quality"])?;
    let (job, blobs) = find_job_and_blobs(&app, id).await?;
    image_of(&app, &method, &headers, &job, &blobs, wish).await
}

/// What a client wants its picture to be.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    format: Option<(&'static str, Format)>,
    quality: u8,
}

impl Wish {
    /// As `Accept` says.
    pub const ACCEPTED: Self = Self { format: None, quality: QUALITY_DEFAULT };

    fn take(query: &mut Query) -> Result<Self, Problem> {
        let format = match query.take("format")? {
            None => None,
            Some(name) => Some(
                CONVERSIONS.iter().find(|row| row.0 == name || row.0 == "jpeg" && name == "jpg").ok_or_else(|| {
                    Problem::of_parameter("format", format!("found \"{}\", expected png, jpeg or webp", shown(&name)))
                })?,
            ),
        };
        let quality = query.take_number("quality", 1..=100)?.unwrap_or(QUALITY_DEFAULT);
        Ok(Self { format: format.map(|(_, media_type, format)| (*media_type, *format)), quality })
    }
}

/// The picture of a job that was read from the store just now, as were the blob keys of its outputs.
pub async fn image_of(
    app: &AppState,
    method: &Method,
    headers: &HeaderMap,
    job: &Job,
    blobs: &[String],
    wish: Wish,
) -> Answer {
    if !job.state.is_terminal() {
        let detail = format!("The job is {}. Wait for its events, or GET its preview.", job.state.as_str());
        return Err(Problem::new(Kind::NotFinished, detail)
            .job(job.id)
            .member("state", json!(job.state))
            .retry_after(1));
    }
    let shows =
        |(output, _): &(&Output, &String)| ["image/", "video/"].iter().any(|kind| output.media_type.starts_with(kind));
    // Of an animation there are its frames too, and it is what was asked for.
    let outputs = || job.outputs.iter().zip(blobs);
    let whole = outputs().filter(shows).find(|(output, _)| output.name.starts_with("animation."));
    let picture = whole.or_else(|| outputs().find(shows));
    let Some((output, blob)) = picture.filter(|_| job.state == JobState::Succeeded) else {
        return Err(Problem::of_ended(job));
    };
    let stored = output.media_type.as_str();
    let wanted = match wish.format {
        Some((media_type, _)) => media_type,
        None => {
            let convertible = CONVERSIONS.iter().any(|row| row.1 == stored);
            let others = CONVERSIONS.iter().map(|row| row.1).filter(|other| convertible && *other != stored);
            let offers: Vec<&str> = std::iter::once(stored).chain(others).collect();
            Accept::of(headers).best(&offers).ok_or_else(|| {
                let detail = format!("The picture can be had as {}.", offers.join(", "));
                Problem::new(Kind::NotAcceptable, detail).job(job.id)
            })?
        }
    };
    let mut response = if wanted == stored {
        stored_output(app, method, headers, output.clone(), blob.clone()).await?
    } else {
        converted(app, method, headers, (job.id, output, blob), wanted, wish.quality).await?
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// The picture in another format, made on the blocking pool.
async fn converted(
    app: &AppState,
    method: &Method,
    headers: &HeaderMap,
    (id, output, blob): (JobId, &Output, &str),
    wanted: &str,
    quality: u8,
) -> Answer {
    let row_of = |media_type: &str| CONVERSIONS.iter().find(|row| row.1 == media_type);
    let (Some(_), Some(&(extension, media_type, to))) = (row_of(&output.media_type), row_of(wanted)) else {
        let detail = format!(
            "The picture is {}, which is not converted. Ask for that type, or GET its output.",
            output.media_type
        );
        return Err(Problem::new(Kind::NotAcceptable, detail).job(id));
    };
    if output.bytes > CONVERSION_BYTES_MAX {
        let detail = format!(
            "The picture has {} bytes; up to {CONVERSION_BYTES_MAX} are converted. GET its output.",
            output.bytes
        );
        return Err(Problem::new(Kind::NotAcceptable, detail).job(id));
    }
    let permit = Arc::clone(&app.conversions).acquire_owned().await.expect("the semaphore is never closed");
    let original = app.blobs.read_all(blob).await.map_err(assets::blob_problem)?;
    let from = output.media_type.clone();
    let work = move || {
        let _permit = permit;
        let bytes = crate::image::convert(&original, &from, to, quality)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok::<_, crate::image::EncodeError>((Bytes::from(bytes), sha256))
    };
    let (bytes, sha256) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::internal("The conversion", &error).job(id))?
        .map_err(|error| Problem::internal("The conversion", &error).job(id))?;
    let stem = output.name.rsplit_once('.').map_or(output.name.as_str(), |(stem, _)| stem);
    let thing = Thing {
        media_type: media_type.into(),
        bytes: bytes.len() as u64,
        sha256,
        file_name: format!("{stem}.{extension}"),
        immutable: false,
    };
    download::answer(app, method, headers, &thing, Source::Memory(bytes)).await
}

/// Every output of the job.
pub async fn list(State(app): State<AppState>, JobPath(id): JobPath, query: Query) -> Answer {
    query.end(&[])?;
    let job = find_job(&app, id).await?;
    let outputs: Vec<_> = job.outputs.iter().map(|output| view::output(&job, output)).collect();
    Ok(json(200, &json!({"outputs": outputs, "state": job.state})))
}

/// One output by its name.
pub async fn output(
    State(app): State<AppState>,
    method: Method,
    OutputPath(id, name): OutputPath,
    query: Query,
    headers: HeaderMap,
) -> Answer {
    query.end(&[])?;
    let (output, blob) = find(&app, id, &name).await?;
    stored_output(&app, &method, &headers, output, blob).await
}

async fn stored_output(app: &AppState, method: &Method, headers: &HeaderMap, output: Output, blob: String) -> Answer {
    let Output { name: file_name, media_type, bytes, sha256 } = output;
    // A job that is extended, or made again under its id, has another picture under the same name.
    let thing = Thing { media_type, bytes, sha256, file_name, immutable: false };
    download::answer(app, method, headers, &thing, Source::Blob(blob)).await
}

async fn find(app: &AppState, id: JobId, name: &str) -> Result<(Output, String), Problem> {
    if let Some(found) = app.store.output_blob(id, name).await? {
        return Ok(found);
    }
    let job = find_job(app, id).await?;
    let names: Vec<&str> = job.outputs.iter().map(|output| output.name.as_str()).collect();
    let detail = match names.is_empty() {
        true => format!("The job is {} and has no outputs.", job.state.as_str()),
        false => format!("The job has no output \"{}\". It has {}.", shown(name), names.join(", ")),
    };
    Err(Problem::new(Kind::OutputNotFound, detail).job(id).member("state", json!(job.state)))
}

/// The picture so far, as PNG; once the job has succeeded, its picture.
pub async fn preview(
    State(app): State<AppState>,
    method: Method,
    JobPath(id): JobPath,
    query: Query,
    headers: HeaderMap,
) -> Answer {
    query.end(&[])?;
    let (job, blobs) = find_job_and_blobs(&app, id).await?;
    if job.state.is_terminal() {
        return image_of(&app, &method, &headers, &job, &blobs, Wish::ACCEPTED).await;
    }
    let Some((png, samples)) = app.hub.preview(id).await else {
        let detail = format!(
            "The job is {}, and there is nothing to see yet. Its events say when there is.",
            job.state.as_str()
        );
        return Err(Problem::new(Kind::NotFinished, detail).job(id).member("state", json!(job.state)).retry_after(1));
    };
    let mut response = Response::new(Body::from(png));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(
        header::CONTENT_LOCATION,
        HeaderValue::try_from(format!("{}/preview", job_url(id))).expect("a UUID is ASCII"),
    );
    fields.insert("kiln-samples", HeaderValue::from(samples));
    Ok(response)
}
