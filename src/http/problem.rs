//! Problem documents (RFC 9457): the one shape of every error that a client sees.
//!
//! A handler returns `Result<_, Problem>`. [`Kind`] is the table of all problems: stable `type`, status, title, and whether
//! the same request may work later. A problem never carries a path of the server, SQL or a stack trace: what the client
//! cannot use is logged where it happened, under the id that is in the answer's `X-Request-Id`.

use crate::job::{Failure, FailureReason, Job, JobId, JobState, SpecError, SpecProblemKind};
use crate::store::StoreError;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// Media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, as a closed list. `type` is `/problems/` and the name in kebab case, and never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No route, or nothing at this address.
    NotFound,
    /// The route does not answer this method.
    MethodNotAllowed,
    /// A browser sent it for a page of somebody else's.
    ForbiddenOrigin,
    /// The server was called by a name that is not its own.
    ForbiddenHost,
    /// The id in the path is no UUID.
    InvalidId,
    /// The query string has an unknown, doubled or wrong parameter.
    InvalidQuery,
    /// A header field that Kiln must understand has a wrong value.
    InvalidHeader,
    /// The body is not the JSON, multipart or archive that it says it is.
    MalformedBody,
    /// The body ended before its time.
    IncompleteBody,
    /// The body came too slowly.
    SlowBody,
    /// The body is larger than the bound.
    BodyTooLarge,
    /// The body has a type that is not accepted here.
    UnsupportedMediaType,
    /// None of the media types that the client accepts can be had.
    NotAcceptable,
    /// The job document is no JSON, or has fields that there are not.
    MalformedJob,
    /// The job document is understood and impossible.
    InvalidJob,
    /// The scene file is understood and impossible.
    InvalidScene,
    /// The shader's text, or a channel of it, cannot be read.
    InvalidShader,
    /// The job names an asset that is not here.
    MissingAsset,
    /// The bytes of an asset are not those that its address names.
    HashMismatch,
    /// The id is taken by a job with another request.
    JobConflict,
    /// The `Idempotency-Key` came with another request before.
    IdempotencyMismatch,
    /// A request with this `Idempotency-Key` is still being read.
    IdempotencyInProgress,
    /// No such job.
    JobNotFound,
    /// What was asked for needs a job that has ended.
    JobNotEnded,
    /// What was asked for needs a job that has not ended.
    JobEnded,
    /// The job has not made its picture yet.
    NotFinished,
    /// The job ended without a picture.
    NoImage,
    /// No such output of this job.
    OutputNotFound,
    /// No such asset.
    AssetNotFound,
    /// `If-Match` names another version.
    PreconditionFailed,
    /// `Range` lies outside.
    RangeNotSatisfiable,
    /// The job failed by its own fault.
    JobFailed,
    /// The job failed by a fault of the machine.
    JobFailedByMachine,
    /// The job failed by a fault of Kiln.
    JobFailedByKiln,
    /// The job was purged: it is no mistake to have asked.
    JobPurged,
    /// The job has started, and what was asked for needs one that has not.
    JobStarted,
    /// The job's deadline cannot be expected to be met.
    DeadlineTooEarly,
    /// `JOBS_QUEUED_MAX` jobs wait.
    QueueFull,
    /// The client has as many jobs in the queue as it may have.
    QuotaFull,
    /// An operator has told the service to take no more work.
    Draining,
    /// Too much is going on.
    Overloaded,
    /// No space is left on the disk.
    StorageFull,
    /// A check of `/readyz` failed.
    NotReady,
    /// A fault of Kiln.
    Internal,
}

impl Kind {
    /// Every kind, for tests and documentation.
    pub const ALL: [Self; 44] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::ForbiddenOrigin,
        Self::ForbiddenHost,
        Self::InvalidId,
        Self::InvalidQuery,
        Self::InvalidHeader,
        Self::MalformedBody,
        Self::IncompleteBody,
        Self::SlowBody,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::NotAcceptable,
        Self::MalformedJob,
        Self::InvalidJob,
        Self::InvalidScene,
        Self::InvalidShader,
        Self::MissingAsset,
        Self::HashMismatch,
        Self::JobConflict,
        Self::IdempotencyMismatch,
        Self::IdempotencyInProgress,
        Self::JobNotFound,
        Self::JobNotEnded,
        Self::JobEnded,
        Self::NotFinished,
        Self::NoImage,
        Self::OutputNotFound,
        Self::AssetNotFound,
        Self::PreconditionFailed,
        Self::RangeNotSatisfiable,
        Self::JobFailed,
        Self::JobFailedByMachine,
        Self::JobFailedByKiln,
        Self::JobPurged,
        Self::JobStarted,
        Self::DeadlineTooEarly,
        Self::QueueFull,
        Self::QuotaFull,
        Self::Draining,
        Self::Overloaded,
        Self::StorageFull,
        Self::NotReady,
        Self::Internal,
    ];

    /// Last part of `type`, status, title, and whether the same request may work later.
    pub fn row(self) -> (&'static str, u16, &'static str, bool) {
        match self {
            Self::NotFound => ("not-found", 404, "There is nothing at this address", false),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "This address does not answer this method", false),
            Self::ForbiddenOrigin => ("forbidden-origin", 403, "Pages of other origins are not answered", false),
            Self::ForbiddenHost => ("forbidden-host", 403, "This server does not answer to this name", false),
            Self::InvalidId => ("invalid-id", 400, "The id in the address is not valid", false),
            Self::InvalidQuery => ("invalid-query", 400, "The query string is not valid", false),
            Self::InvalidHeader => ("invalid-header", 400, "A header field is not valid", false),
            Self::MalformedBody => ("malformed-body", 400, "The body cannot be parsed", false),
            Self::IncompleteBody => ("incomplete-body", 400, "The body ended too early", true),
            Self::SlowBody => ("slow-body", 408, "The body came too slowly", true),
            Self::BodyTooLarge => ("body-too-large", 413, "The body is too large", false),
            Self::UnsupportedMediaType => ("unsupported-media-type", 415, "This type of body is not accepted", false),
            Self::NotAcceptable => ("not-acceptable", 406, "None of the accepted types can be had", false),
            Self::MalformedJob => ("malformed-job", 400, "The job document cannot be read", false),
            Self::InvalidJob => ("invalid-job", 422, "The job document is not valid", false),
            Self::InvalidScene => ("invalid-scene", 422, "The scene file is not valid", false),
            Self::InvalidShader => ("invalid-shader", 422, "The shader is not valid", false),
            Self::MissingAsset => ("missing-asset", 422, "An asset is missing", true),
            Self::HashMismatch => ("hash-mismatch", 422, "The bytes do not have the hash in the address", false),
            Self::JobConflict => ("job-conflict", 409, "The id is taken by another job", false),
            Self::IdempotencyMismatch => {
                ("idempotency-mismatch", 422, "The idempotency key came with another request", false)
            }
            Self::IdempotencyInProgress => {
                ("idempotency-in-progress", 409, "The first request is still being accepted", true)
            }
            Self::JobNotFound => ("job-not-found", 404, "There is no such job", false),
            Self::JobNotEnded => ("job-not-ended", 409, "The job has not ended", true),
            Self::JobEnded => ("job-ended", 409, "The job has ended", false),
            Self::NotFinished => ("not-finished", 404, "The picture is not finished", true),
            Self::NoImage => ("no-image", 409, "The job ended without a picture", false),
            Self::OutputNotFound => ("output-not-found", 404, "The job has no such output", false),
            Self::AssetNotFound => ("asset-not-found", 404, "There is no such asset", false),
            Self::PreconditionFailed => ("precondition-failed", 412, "It is another version than the one named", false),
            Self::RangeNotSatisfiable => ("range-not-satisfiable", 416, "The range lies outside", false),
            Self::JobFailed => ("job-failed", 422, "The job cannot be done", false),
            Self::JobFailedByMachine => ("job-failed-by-machine", 503, "The machine failed the job", true),
            Self::JobFailedByKiln => ("job-failed-by-kiln", 500, "Kiln failed the job", true),
            Self::JobPurged => ("job-purged", 410, "The job has been forgotten", false),
            Self::JobStarted => ("job-started", 409, "The job has started", false),
            Self::DeadlineTooEarly => ("deadline-too-early", 422, "The deadline cannot be expected to be met", false),
            Self::QuotaFull => ("quota-full", 429, "The client's share of the queue is full", true),
            Self::Draining => ("draining", 503, "The service takes no more work", true),
            Self::QueueFull => ("queue-full", 429, "The queue is full", true),
            Self::Overloaded => ("overloaded", 503, "The service is overloaded", true),
            Self::StorageFull => ("storage-full", 507, "No storage is left", true),
            Self::NotReady => ("not-ready", 503, "The service is not ready", true),
            Self::Internal => ("internal", 500, "Something went wrong inside Kiln", true),
        }
    }
}

/// One problem document on its way to a client.
#[derive(Debug, Clone)]
pub struct Problem(Box<Document>);

/// Its content, which is boxed since it is large and rare.
#[derive(Debug, Clone)]
struct Document {
    kind: Kind,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem whose `detail` says what was found, what was expected, and what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Document { kind, detail: detail.into(), members: Map::new(), headers: Vec::new() }))
    }

    /// A fault of Kiln: `cause` goes to the log, the client learns that it happened.
    pub fn internal(what: &str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(what, cause = %cause, "request failed");
        Self::new(
            Kind::Internal,
            format!("{what} failed. The operator finds the cause in the log, under the X-Request-Id of this answer."),
        )
    }

    /// No such job.
    pub fn no_job(id: JobId) -> Self {
        Self::new(Kind::JobNotFound, format!("There is no job {id}. It may have been deleted.")).job(id)
    }

    /// There was such a job.
    pub fn purged(id: JobId) -> Self {
        let detail = format!(
            "The job {id} has ended and has been forgotten, with its outputs. Submit it again for another picture."
        );
        Self::new(Kind::JobPurged, detail).job(id)
    }

    /// The failure of a job, for clients that asked for its picture: 422 where the job is at fault, 503 or 500 where Kiln is.
    pub fn of_failure(id: JobId, failure: &Failure) -> Self {
        use FailureReason::*;
        let kind = match failure.reason {
            InvalidScene | ShaderError | LimitExceeded | Quarantined => Kind::JobFailed,
            OutOfMemory | GpuTimeout | DeviceLost | WorkerLost => Kind::JobFailedByMachine,
            Internal => Kind::JobFailedByKiln,
        };
        Self::new(kind, failure.message.clone())
            .job(id)
            .member("reason", json!(failure.reason))
            .member("details", json!(failure.details))
    }

    /// Why a job that has ended has no picture to show.
    pub fn of_ended(job: &Job) -> Self {
        let detail = match (&job.error, job.state) {
            (Some(failure), _) => format!("The job failed: {}", failure.message),
            (None, JobState::Succeeded) => {
                "The job succeeded, but none of its outputs is a picture. Its outputs are listed at outputs.".to_owned()
            }
            (None, state) => format!("The job is {}. POST to its retry link to queue it again.", state.as_str()),
        };
        let problem = Self::new(Kind::NoImage, detail).job(job.id).member("state", json!(job.state));
        match &job.error {
            Some(failure) => problem.member("reason", json!(failure.reason)).member("details", json!(failure.details)),
            None => problem,
        }
    }

    /// What is wrong with a job document, or with the options of a file that was posted as it is.
    pub fn of_spec(error: &SpecError) -> Self {
        let kind = match error.kind() {
            SpecProblemKind::Malformed => Kind::MalformedJob,
            SpecProblemKind::Invalid | SpecProblemKind::Limit => Kind::InvalidJob,
        };
        error.problems.iter().fold(Self::new(kind, error.to_string()), |problem, wrong| {
            match wrong.pointer.strip_prefix('?') {
                Some(name) => problem.push_error(json!({"parameter": name, "message": wrong.message})),
                None => problem.error(&wrong.pointer, &wrong.message),
            }
        })
    }

    /// A wrong query parameter.
    pub fn of_parameter(name: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(Kind::InvalidQuery, format!("{name}: {message}"))
            .push_error(json!({"parameter": name, "message": message}))
    }

    /// Adds the job it is about.
    pub fn job(self, id: JobId) -> Self {
        self.member("job_id", json!(id))
    }

    /// Adds one entry of `errors`, at a JSON pointer into the job document.
    pub fn error(self, pointer: &str, message: &str) -> Self {
        self.push_error(json!({"pointer": pointer, "message": message}))
    }

    fn push_error(mut self, error: Value) -> Self {
        if let Value::Array(errors) = self.0.members.entry("errors").or_insert_with(|| json!([])) {
            errors.push(error);
        }
        self
    }

    /// Adds an extension member.
    pub fn member(mut self, name: &str, value: Value) -> Self {
        self.0.members.insert(name.to_owned(), value);
        self
    }

    /// Adds a header field.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says after how many seconds to try again.
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.kind.row().1).expect("the table holds valid codes")
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded(waiting) => Problem::new(
                Kind::Overloaded,
                format!("{waiting} operations wait for the store. Try again in a second."),
            )
            .retry_after(1),
            StoreError::QueueFull(waiting) => Problem::new(
                Kind::QueueFull,
                format!("{waiting} jobs wait, which is the most that the queue holds. Try again later."),
            )
            .retry_after(30),
            StoreError::Quota { queued, queued_max, .. } => Problem::new(
                Kind::QuotaFull,
                format!("You have {queued} jobs in the queue and may have {queued_max}. Wait for some of them to end."),
            )
            .retry_after(10),
            StoreError::Draining => Problem::new(
                Kind::Draining,
                "An operator has told the service to take no more work: what runs is finished, and what waits stays in the queue. Try again later, or elsewhere.",
            )
            .retry_after(60),
            StoreError::Busy => Problem::new(
                Kind::Overloaded,
                "Another program holds the store, a backup for instance. Try again in a few seconds.",
            )
            .retry_after(5),
            StoreError::Full(cause) => {
                tracing::error!(cause, "the disk is full");
                Problem::new(
                    Kind::StorageFull,
                    "The disk of the service is full; nothing was accepted. The operator must make room.",
                )
                .retry_after(60)
            }
            other => Problem::internal("The store", &other),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Document { kind, detail, members, headers: more_headers } = *self.0;
        let (slug, status, title, retryable) = kind.row();
        let mut document = Map::new();
        document.insert("type".into(), json!(format!("/problems/{slug}")));
        document.insert("title".into(), json!(title));
        document.insert("status".into(), json!(status));
        document.insert("detail".into(), json!(detail));
        document.insert("retryable".into(), json!(retryable));
        document.extend(members);
        let mut response = Response::new(Body::from(Value::Object(document).to_string()));
        *response.status_mut() = StatusCode::from_u16(status).expect("the table holds valid codes");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in more_headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_an_error_status() {
        let mut names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.row().0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| (400..=599).contains(&kind.row().1)));
    }

    #[test]
    fn a_failure_is_the_jobs_fault_or_the_machines_or_kilns() {
        use FailureReason::*;
        for (reason, status) in [
            (InvalidScene, 422),
            (ShaderError, 422),
            (LimitExceeded, 422),
            (Quarantined, 422),
            (OutOfMemory, 503),
            (GpuTimeout, 503),
            (DeviceLost, 503),
            (WorkerLost, 503),
            (Internal, 500),
        ] {
            let failure = Failure { reason, message: "It failed.".into(), details: Vec::new() };
            assert_eq!(Problem::of_failure(JobId::nil(), &failure).status().as_u16(), status, "{reason:?}");
        }
    }

    #[test]
    fn a_store_that_cannot_says_when_to_come_back_and_keeps_its_secrets() {
        for (error, status, come_back) in [
            (StoreError::Overloaded(9), 503, true),
            (StoreError::QueueFull(9), 429, true),
            (StoreError::Quota { client: "/secret".into(), queued: 3, queued_max: 3 }, 429, true),
            (StoreError::Draining, 503, true),
            (StoreError::Busy, 503, true),
            (StoreError::Full("/secret".into()), 507, true),
            (StoreError::Corrupt("/secret".into()), 500, false),
            (StoreError::Other("/secret".into()), 500, false),
        ] {
            let problem = Problem::from(error);
            assert!(!problem.0.detail.contains("secret"));
            let response = problem.into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), come_back);
        }
    }
}
