//! Bodies of `POST /v1/jobs` and `PUT /v1/jobs/{id}` → [`JobSpec`]: a document, a form with files, or the file itself.
//!
//! Files stream into the spool while they arrive. They become assets only when everything that came with them has turned out
//! to be right; before that, dropping them leaves nothing behind.

use super::extract::Query;
use super::problem::{Kind, Problem};
use super::sniff::{self, SceneFormat};
use super::upload::{BoundedBody, Fault};
use super::{AppState, assets, shown};
use crate::blob::Upload;
use crate::job::spec::AssetRef;
use crate::job::{AttachedFiles, Failure, FailureDetail, JobSpec, nearest};
use crate::limits::{JOB_JSON_BYTES_MAX, SHADER_SOURCE_BYTES_MAX, SHADER_TEXTURES_MAX};
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use std::collections::BTreeMap;

/// What a job may be posted as.
pub const ACCEPTED: [&str; 8] = [
    "application/json",
    "multipart/form-data",
    "model/gltf-binary",
    "model/gltf+json",
    "application/zip",
    "application/octet-stream",
    "text/wgsl",
    "text/glsl",
];
/// Fields of a form, in any order.
const FIELDS: [&str; 6] = ["job", "scene", "environment", "shader", "sidecar", "channel0"];

/// The media type of a body in lower case, without its parameters.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// Reads the body of a submission. Every asset that the spec names is stored when this returns.
pub async fn read(app: &AppState, headers: &HeaderMap, query: Query, body: Body) -> Result<JobSpec, Problem> {
    let media_type = media_type(headers);
    match media_type.as_str() {
        "application/json" => read_document(app, headers, query, body).await,
        "multipart/form-data" => read_form(app, headers, query, body).await,
        "application/octet-stream" => read_file(app, headers, query, body, None).await,
        "text/wgsl" => read_shader(app, headers, query, body, "kiln").await,
        "text/glsl" => read_shader(app, headers, query, body, "shadertoy").await,
        _ => match SceneFormat::of_media_type(&media_type) {
            Some(format) => read_file(app, headers, query, body, Some(format)).await,
            None => Err(unsupported(&media_type)),
        },
    }
}

fn unsupported(media_type: &str) -> Problem {
    let found = if media_type.is_empty() {
        "no Content-Type".to_owned()
    } else {
        format!("Content-Type {}", shown(media_type))
    };
    let detail = format!(
        "Found {found}, expected one of {}. With curl, name the type of a file: -H 'content-type: model/gltf-binary'.",
        ACCEPTED.join(", ")
    );
    Problem::new(Kind::UnsupportedMediaType, detail).member("accepted", json!(ACCEPTED)).header(
        HeaderName::from_static("accept-post"),
        HeaderValue::try_from(ACCEPTED.join(", ")).expect("media types are ASCII"),
    )
}

async fn read_document(app: &AppState, headers: &HeaderMap, query: Query, body: Body) -> Result<JobSpec, Problem> {
    no_options(&query)?;
    let json = BoundedBody::new(body, headers, JOB_JSON_BYTES_MAX as u64, app.limits.body_idle_seconds_max)?
        .to_memory()
        .await?;
    let spec = JobSpec::parse(&json).map_err(|error| Problem::of_spec(&error))?;
    check_assets(app, &spec, &AttachedFiles::default()).await?;
    Ok(spec)
}

/// Options in the address would fight with those of the document.
fn no_options(query: &Query) -> Result<(), Problem> {
    match query.0.first() {
        None => Ok(()),
        Some((name, _)) => Err(Problem::of_parameter(
            &shown(name),
            "options in the address are for files that are posted as they are; with a job document, write them into it",
        )),
    }
}

async fn read_file(
    app: &AppState,
    headers: &HeaderMap,
    query: Query,
    body: Body,
    format: Option<SceneFormat>,
) -> Result<JobSpec, Problem> {
    // The options are checked before the file is read, so that a slip in them does not cost an upload.
    let options = |scene| JobSpec::from_query(query.0.iter().map(|(name, value)| (name, value)), scene);
    options(placeholder()).map_err(|error| Problem::of_spec(&error))?;
    let mut body = BoundedBody::new(body, headers, app.limits.upload_bytes_max, app.limits.body_idle_seconds_max)?;
    let _permit = assets::upload_permit(app)?;
    let mut file = SpooledFile::new(app, Role::Scene(format)).await?;
    while let Some(chunk) = body.next().await? {
        file.write(chunk).await?;
    }
    file.check_end()?;
    let scene = file.store(app).await?;
    options(scene).map_err(|error| Problem::of_spec(&error))
}

/// A shader's text as it is. `dialect`: what it is where no option says.
async fn read_shader(
    app: &AppState,
    headers: &HeaderMap,
    query: Query,
    body: Body,
    dialect: &str,
) -> Result<JobSpec, Problem> {
    let bytes_max = SHADER_SOURCE_BYTES_MAX as u64;
    let body = BoundedBody::new(body, headers, bytes_max, app.limits.body_idle_seconds_max)?;
    let text = shader_text(&body.to_memory().await?)?;
    let mut options = query.0;
    if options.iter().all(|(name, _)| name != "dialect") {
        options.push(("dialect".to_owned(), dialect.to_owned()));
    }
    JobSpec::from_options(options, &AttachedFiles::of_shader(text)).map_err(|error| Problem::of_spec(&error))
}

/// What is no text has its place, as every other error of a shader.
fn shader_text(bytes: &[u8]) -> Result<String, Problem> {
    crate::shader_job::text(bytes).map(str::to_owned).map_err(|errors| {
        let failure = Failure::from(errors);
        Problem::new(Kind::InvalidShader, failure.message).member("details", json!(failure.details))
    })
}

async fn read_form(app: &AppState, headers: &HeaderMap, query: Query, body: Body) -> Result<JobSpec, Problem> {
    let body = BoundedBody::new(body, headers, app.limits.upload_bytes_max, app.limits.body_idle_seconds_max)?;
    let _permit = assets::upload_permit(app)?;
    let (stream, fault) = body.into_stream();
    let broken = |error: MultipartError| match fault.get() {
        Some(fault) => Problem::from(*fault),
        None => Problem::new(Kind::MalformedBody, format!("The form cannot be read: {}.", error.body_text())),
    };
    let mut request = Request::new(Body::from_stream(stream));
    *request.headers_mut() = headers.clone();
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| {
        Problem::new(Kind::MalformedBody, "The Content-Type multipart/form-data has no boundary, or a broken one.")
    })?;

    let (mut document, mut scene, mut environment) = (None, None, None);
    let (mut shader, mut sidecar, mut channels) = (None, None, BTreeMap::new());
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or("").to_owned();
        let twice = match name.as_str() {
            "job" => document.replace(read_small_field(field, JOB_JSON_BYTES_MAX, &broken).await?).is_some(),
            "scene" => scene.replace(spool_field(app, field, Role::Scene(None), &broken).await?).is_some(),
            "environment" => environment.replace(spool_field(app, field, Role::Environment, &broken).await?).is_some(),
            "shader" => {
                let bytes = read_small_field(field, SHADER_SOURCE_BYTES_MAX, &broken).await?;
                shader.replace(shader_text(&bytes)?).is_some()
            }
            "sidecar" => sidecar.replace(read_small_field(field, JOB_JSON_BYTES_MAX, &broken).await?).is_some(),
            other => match channel_of(other) {
                Some(index) => channels.insert(index, spool_field(app, field, Role::Channel, &broken).await?).is_some(),
                None => return Err(unknown_field(other)),
            },
        };
        if twice {
            return Err(Problem::new(Kind::MalformedBody, format!("The form has the field \"{name}\" twice.")));
        }
    }

    let spec_of = |files: &AttachedFiles| match &document {
        Some(document) => JobSpec::parse_with_files(document, files),
        None => JobSpec::from_options(query.0.iter().map(|(name, value)| (name, value)), files),
    };
    if document.is_some() {
        no_options(&query)?;
    }
    let mut files = AttachedFiles {
        scene: scene.as_ref().map(|_| placeholder()),
        environment: environment.as_ref().map(|_| placeholder()),
        shader,
        channels: places(&channels).map(|channel| channel.map(|_| placeholder())).collect(),
        sidecar: sidecar.map(|json| sidecar_value(&json)).transpose()?,
    };
    let draft = spec_of(&files).map_err(|error| Problem::of_spec(&error))?;
    check_assets(app, &draft, &files).await?;
    if let Some(file) = scene {
        files.scene = Some(file.store(app).await?);
    }
    if let Some(file) = environment {
        files.environment = Some(file.store(app).await?);
    }
    for (index, file) in channels {
        files.channels[index] = Some(file.store(app).await?);
    }
    spec_of(&files).map_err(|error| Problem::of_spec(&error))
}

/// The number of a field `channel0`, `channel1`, ….
fn channel_of(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("channel").filter(|digits| digits.len() <= 2)?;
    digits.parse().ok().filter(|index| *index < SHADER_TEXTURES_MAX)
}

/// The channels by their numbers, with gaps.
fn places<T>(channels: &BTreeMap<usize, T>) -> impl Iterator<Item = Option<&T>> {
    let count = channels.keys().next_back().map_or(0, |last| last + 1);
    (0..count).map(|index| channels.get(&index))
}

fn sidecar_value(json: &[u8]) -> Result<serde_json::Value, Problem> {
    serde_json::from_slice(json)
        .map_err(|error| Problem::new(Kind::MalformedBody, format!("The field \"sidecar\" is not JSON: {error}.")))
}

fn unknown_field(name: &str) -> Problem {
    let hint = match nearest(name, &FIELDS) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => format!("; the fields are {}", FIELDS.join(", ")),
    };
    Problem::new(Kind::MalformedBody, format!("The form has a field \"{}\", which is not known{hint}", shown(name)))
}

async fn read_small_field(
    mut field: Field<'_>,
    bytes_max: usize,
    broken: &impl Fn(MultipartError) -> Problem,
) -> Result<Vec<u8>, Problem> {
    let mut whole = Vec::new();
    while let Some(chunk) = field.next().await {
        whole.extend_from_slice(&chunk.map_err(broken)?);
        if whole.len() > bytes_max {
            return Err(Fault::TooLarge(bytes_max as u64).into());
        }
    }
    Ok(whole)
}

async fn spool_field(
    app: &AppState,
    mut field: Field<'_>,
    role: Role,
    broken: &impl Fn(MultipartError) -> Problem,
) -> Result<SpooledFile, Problem> {
    let mut file = SpooledFile::new(app, role).await?;
    while let Some(chunk) = field.next().await {
        file.write(chunk.map_err(broken)?).await?;
    }
    file.check_end()?;
    Ok(file)
}

/// What a file is for, which says what its first bytes must be.
#[derive(Debug, Clone, Copy)]
enum Role {
    Scene(Option<SceneFormat>),
    Environment,
    Channel,
}

/// A file on its way in. Dropped before [`SpooledFile::store`], it leaves nothing behind.
struct SpooledFile {
    upload: Upload,
    head: Vec<u8>,
    role: Role,
    checked: bool,
}

impl SpooledFile {
    async fn new(app: &AppState, role: Role) -> Result<Self, Problem> {
        let upload = app.blobs.upload().await.map_err(assets::blob_problem)?;
        Ok(Self { upload, head: Vec::with_capacity(sniff::HEAD_BYTES), role, checked: false })
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), Problem> {
        let wanted = sniff::HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&chunk[..chunk.len().min(wanted)]);
        if self.head.len() == sniff::HEAD_BYTES {
            self.check_head()?;
        }
        self.upload.write(chunk).await.map_err(assets::blob_problem)
    }

    fn check_head(&mut self) -> Result<(), Problem> {
        if std::mem::replace(&mut self.checked, true) {
            return Ok(());
        }
        match self.role {
            Role::Scene(format) => {
                sniff::check_scene(&self.head, format).map(drop).map_err(|message| invalid_file("scene", message))
            }
            Role::Environment => {
                sniff::check_environment(&self.head).map_err(|message| invalid_file("environment", message))
            }
            Role::Channel => sniff::check_picture(&self.head).map_err(|message| invalid_file("channel", message)),
        }
    }

    fn check_end(&mut self) -> Result<(), Problem> {
        self.check_head()?;
        match self.role {
            Role::Scene(_) => sniff::check_scene_length(&self.head, self.upload.bytes())
                .map_err(|message| invalid_file("scene", message)),
            Role::Environment | Role::Channel => Ok(()),
        }
    }

    /// Blob first, row second.
    async fn store(self, app: &AppState) -> Result<AssetRef, Problem> {
        let (sha256, _) = assets::store_upload(app, self.upload).await?;
        Ok(AssetRef(format!("sha256:{sha256}")))
    }
}

fn invalid_file(field: &str, message: String) -> Problem {
    let detail = FailureDetail { stage: "parse".into(), message: message.clone(), ..FailureDetail::default() };
    let kind = if field == "channel" { Kind::InvalidShader } else { Kind::InvalidScene };
    Problem::new(kind, message).member("file", json!(field)).member("details", json!([detail]))
}

/// Stands for a file whose hash is not known yet, while the rest of a request is checked.
fn placeholder() -> AssetRef {
    AssetRef(format!("sha256:{}", "0".repeat(64)))
}

/// Every asset that a spec names must be here, unless its file came along.
pub(super) async fn check_assets(app: &AppState, spec: &JobSpec, files: &AttachedFiles) -> Result<(), Problem> {
    let came_along = |asset: &AssetRef| {
        let channels = files.channels.iter().flatten();
        channels.chain(&files.scene).chain(&files.environment).any(|file| file == asset)
    };
    let mut missing = Vec::new();
    for (pointer, asset) in spec.asset_places() {
        if came_along(asset) {
            continue;
        }
        match app.store.asset(asset.sha256()).await? {
            Some(bytes) => app.estimator.know_asset(asset.sha256(), bytes),
            None => missing.push((pointer, asset)),
        }
    }
    let [(_, first), ..] = &missing[..] else { return Ok(()) };
    let detail = format!("There is no asset {}. PUT it to /v1/assets/ and its sha256 first.", first.0);
    Err(missing.iter().fold(Problem::new(Kind::MissingAsset, detail), |problem, (pointer, asset)| {
        problem.error(pointer, &format!("there is no asset {}", asset.0))
    }))
}
