//! The options that every kind of job has: its class, labels, deadlines, webhook, and whether a finished job may answer for it.
//!
//! They say how a job is handled and never what its picture looks like: [`super::JobSpec::content_json`] leaves them out.

use super::fields::{Fields, did_you_mean, wrong_type};
use super::parse::PRIORITIES;
use super::problem::{Problems, SpecError, SpecProblemKind as Kind, child, cut};
use super::{EventKind, Priority, TimeMs};
use crate::limits::{
    LABEL_BYTES_MAX, LABELS_MAX, WEBHOOK_SECRET_BYTES_MAX, WEBHOOK_SECRET_BYTES_MIN, WEBHOOK_URL_BYTES_MAX,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// The fields of a job document that hold these options, in the order of the documentation.
pub(super) const OPTION_FIELDS: [&str; 6] = ["priority", "labels", "start_before", "finish_before", "webhook", "reuse"];
/// What a deadline looks like, for messages.
const TIME_EXPECTED: &str = "a time as in RFC 3339, such as \"2026-11-20T10:00:00Z\"";
/// What a secret starts with (Standard Webhooks, "Signature scheme").
const SECRET_PREFIX: &str = "whsec_";
/// RFC 3339 in UTC, with milliseconds.
const TIMESTAMP: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// See the module's text. In a job document its fields stand beside those of the kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecOptions {
    /// Class in the queue.
    #[serde(default)]
    pub priority: Priority,
    /// The client's own labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// A job that has not started by then expires. JSON: `start_before`, RFC 3339.
    #[serde(default, rename = "start_before", with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub start_before_ms: Option<TimeMs>,
    /// Admission: a job that cannot be expected to end by then is refused when it is submitted. JSON: `finish_before`, RFC 3339.
    #[serde(default, rename = "finish_before", with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub finish_before_ms: Option<TimeMs>,
    /// Who is told of the job's events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// True: a finished or running job of the same client with the same content may answer for this one.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub reuse: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

impl Default for SpecOptions {
    fn default() -> Self {
        Self {
            priority: Priority::default(),
            labels: BTreeMap::new(),
            start_before_ms: None,
            finish_before_ms: None,
            webhook: None,
            reuse: true,
        }
    }
}

/// An address that is told of a job's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// `http` or `https`, with a host, without a user, at most [`WEBHOOK_URL_BYTES_MAX`] bytes.
    pub url: String,
    /// The events that are told, at least one. Default: `ended`.
    #[serde(default = "ended_only")]
    pub events: BTreeSet<WebhookEvent>,
    /// Signs what is told; without it nothing is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<WebhookSecret>,
}

fn ended_only() -> BTreeSet<WebhookEvent> {
    BTreeSet::from([WebhookEvent::Ended])
}

impl Webhook {
    /// True where the receiver asked for events of this kind.
    pub fn wants(&self, kind: &EventKind) -> bool {
        self.events.iter().any(|event| event.name() == kind.name())
    }

    /// Host and port of the address, such as `example.com:443`: what tries are counted by. Empty where the address is none.
    pub fn host(&self) -> String {
        let parsed = reqwest::Url::parse(&self.url).ok();
        let host = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default().unwrap_or(0))));
        host.map_or_else(String::new, |(host, port)| format!("{host}:{port}"))
    }
}

/// The events that a webhook can be told of: those that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookEvent {
    /// See [`EventKind::Queued`].
    Queued,
    /// See [`EventKind::Started`].
    Started,
    /// See [`EventKind::Log`].
    Log,
    /// See [`EventKind::Output`].
    Output,
    /// See [`EventKind::Preempted`].
    Preempted,
    /// See [`EventKind::Retrying`].
    Retrying,
    /// See [`EventKind::Cancelling`].
    Cancelling,
    /// See [`EventKind::Ended`].
    Ended,
}

/// The words of `webhook.events`.
pub(super) const WEBHOOK_EVENTS: &[(&str, WebhookEvent)] = &[
    ("queued", WebhookEvent::Queued),
    ("started", WebhookEvent::Started),
    ("log", WebhookEvent::Log),
    ("output", WebhookEvent::Output),
    ("preempted", WebhookEvent::Preempted),
    ("retrying", WebhookEvent::Retrying),
    ("cancelling", WebhookEvent::Cancelling),
    ("ended", WebhookEvent::Ended),
];

impl WebhookEvent {
    /// The same word as [`EventKind::name`].
    pub fn name(self) -> &'static str {
        let known = WEBHOOK_EVENTS.iter().find(|(_, event)| *event == self);
        known.expect("the table has every event").0
    }
}

/// What of a job's options can be changed before it starts. `None`: it stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionsPatch {
    /// Class in the queue.
    pub priority: Option<Priority>,
    /// `Some(None)`: no deadline any more.
    pub start_before_ms: Option<Option<TimeMs>>,
    /// `Some(None)`: no deadline any more.
    pub finish_before_ms: Option<Option<TimeMs>>,
    /// See [`LabelsPatch`].
    pub labels: Option<LabelsPatch>,
}

/// What becomes of a job's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelsPatch {
    /// All of them go.
    Clear,
    /// `None`: the label goes. Those that are not named stay.
    Merge(BTreeMap<String, Option<String>>),
}

impl LabelsPatch {
    /// Makes the change.
    pub fn apply(&self, labels: &mut BTreeMap<String, String>) {
        match self {
            Self::Clear => labels.clear(),
            Self::Merge(changes) => {
                for (key, value) in changes {
                    match value {
                        Some(value) => labels.insert(key.clone(), value.clone()),
                        None => labels.remove(key),
                    };
                }
            }
        }
    }
}

/// Its fields in a document.
const PATCH_FIELDS: [&str; 4] = ["priority", "start_before", "finish_before", "labels"];

impl OptionsPatch {
    /// Reads a merge patch (RFC 7396): an absent field or label stays, `null` takes a deadline, a label or all labels away.
    pub fn parse(json: &[u8]) -> Result<Self, SpecError> {
        let document: Value = serde_json::from_slice(json)
            .map_err(|error| SpecError::new(Kind::Malformed, "", format!("this is not JSON: {error}")))?;
        let mut problems = Problems::default();
        let mut patch = Self::default();
        if let Some(fields) = Fields::read(&document, "", &PATCH_FIELDS, &[], "an object of options", &mut problems) {
            let named = |key: &str| document.get(key).is_some();
            let mut time = |key: &str| {
                let read = fields.get(key).and_then(|(value, at)| read_time(value, &at, &mut problems));
                named(key).then_some(read)
            };
            patch.start_before_ms = time("start_before");
            patch.finish_before_ms = time("finish_before");
            patch.labels = match fields.get("labels") {
                Some((value, at)) => Some(LabelsPatch::Merge(read_label_changes(value, &at, &mut problems))),
                None => named("labels").then_some(LabelsPatch::Clear),
            };
            patch.priority = match fields.get("priority") {
                Some(_) => fields.word("priority", PRIORITIES, &[], &mut problems),
                None => named("priority").then(Priority::default),
            };
            if !PATCH_FIELDS.iter().any(|key| named(key))
                && document.as_object().is_some_and(|fields| fields.is_empty())
            {
                problems.add(
                    Kind::Invalid,
                    "",
                    format!("it changes nothing, expected some of {}", PATCH_FIELDS.join(", ")),
                );
            }
        }
        problems.into_result(patch)
    }

    /// Makes the change.
    pub fn apply(&self, options: &mut SpecOptions) {
        if let Some(priority) = self.priority {
            options.priority = priority;
        }
        if let Some(start_before_ms) = self.start_before_ms {
            options.start_before_ms = start_before_ms;
        }
        if let Some(finish_before_ms) = self.finish_before_ms {
            options.finish_before_ms = finish_before_ms;
        }
        if let Some(labels) = &self.labels {
            labels.apply(&mut options.labels);
        }
    }
}

/// `whsec_` and the key in base64, as the client sent it (Standard Webhooks, "Signature scheme"). Never shown to anybody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookSecret(String);

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl WebhookSecret {
    /// `None` where the text is not `whsec_` and [`WEBHOOK_SECRET_BYTES_MIN`] to [`WEBHOOK_SECRET_BYTES_MAX`] bytes in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let secret = Self(text.to_owned());
        secret.key().map(|_| secret)
    }

    /// The key of the HMAC; `None` where the text came from elsewhere than [`WebhookSecret::parse`] and is wrong.
    pub fn key(&self) -> Option<Vec<u8>> {
        let key = STANDARD.decode(self.0.strip_prefix(SECRET_PREFIX)?).ok()?;
        (WEBHOOK_SECRET_BYTES_MIN..=WEBHOOK_SECRET_BYTES_MAX).contains(&key.len()).then_some(key)
    }
}

/// A time as text, such as `2026-11-20T10:00:00.000Z`.
pub fn timestamp(time_ms: TimeMs) -> String {
    OffsetDateTime::UNIX_EPOCH
        .checked_add(time::Duration::milliseconds(time_ms))
        .and_then(|time| time.format(&TIMESTAMP).ok())
        .unwrap_or_else(|| format!("{time_ms} ms since 1970"))
}

/// The inverse of [`timestamp`], for every form of RFC 3339; fractions of a millisecond are cut off. `None` before 1970 too.
pub fn parse_timestamp(text: &str) -> Option<TimeMs> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    TimeMs::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok().filter(|ms| *ms >= 0)
}

/// For serde: `Option<TimeMs>` as text.
mod rfc3339 {
    use super::{TIME_EXPECTED, TimeMs, parse_timestamp, timestamp};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time_ms: &Option<TimeMs>, serializer: S) -> Result<S::Ok, S::Error> {
        time_ms.map(timestamp).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TimeMs>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let wrong = || serde::de::Error::custom(format!("found {text:?}, expected {TIME_EXPECTED}"));
        parse_timestamp(&text).map(Some).ok_or_else(wrong)
    }
}

/// Reads the options of a document whose fields have been checked.
pub(super) fn read(fields: &Fields<'_>, problems: &mut Problems) -> SpecOptions {
    let mut options = SpecOptions::default();
    if let Some(priority) = fields.word("priority", PRIORITIES, &[], problems) {
        options.priority = priority;
    }
    if let Some((value, at)) = fields.get("labels") {
        options.labels = read_labels(value, &at, problems);
    }
    options.start_before_ms = fields.get("start_before").and_then(|(value, at)| read_time(value, &at, problems));
    options.finish_before_ms = fields.get("finish_before").and_then(|(value, at)| read_time(value, &at, problems));
    options.webhook = fields.get("webhook").and_then(|(value, at)| read_webhook(value, &at, problems));
    match fields.get("reuse") {
        None => {}
        Some((Value::Bool(reuse), _)) => options.reuse = *reuse,
        Some((other, at)) => wrong_type(&at, other, "true or false", problems),
    }
    options
}

pub(super) fn read_labels(value: &Value, at: &str, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Value::Object(object) = value else {
        wrong_type(at, value, "an object of strings", problems);
        return labels;
    };
    for (key, value) in object {
        match value {
            Value::String(text) => {
                labels.insert(key.clone(), text.clone());
            }
            other => wrong_type(&child(at, key), other, "a string", problems),
        }
    }
    labels
}

/// As [`read_labels`], with `null` for a label that goes.
fn read_label_changes(value: &Value, at: &str, problems: &mut Problems) -> BTreeMap<String, Option<String>> {
    let Value::Object(object) = value else {
        return read_labels(value, at, problems).into_iter().map(|(key, value)| (key, Some(value))).collect();
    };
    let (gone, set): (Vec<_>, Vec<_>) = object.iter().partition(|(_, value)| value.is_null());
    let set = Value::Object(set.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect());
    let set = read_labels(&set, at, problems).into_iter().map(|(key, value)| (key, Some(value)));
    set.chain(gone.into_iter().map(|(key, _)| (key.clone(), None))).collect()
}

pub(super) fn read_time(value: &Value, at: &str, problems: &mut Problems) -> Option<TimeMs> {
    let Value::String(text) = value else {
        wrong_type(at, value, TIME_EXPECTED, problems);
        return None;
    };
    let time_ms = parse_timestamp(text);
    if time_ms.is_none() {
        // The usual slip in an address, where a bare + stands for a space.
        let hint = if text.contains(' ') { "; write a + in an address as %2B" } else { "" };
        problems.add(Kind::Invalid, at, format!("found {:?}, expected {TIME_EXPECTED}{hint}", cut(text)));
    }
    time_ms
}

fn read_webhook(value: &Value, at: &str, problems: &mut Problems) -> Option<Webhook> {
    let expected = "an object {\"url\", \"events\", \"secret\"}";
    let fields = Fields::read(value, at, &["url", "events", "secret"], &[], expected, problems)?;
    let events = match fields.get("events") {
        None => ended_only(),
        Some((value, at)) => read_events(value, &at, problems),
    };
    let secret = match fields.get("secret") {
        None => None,
        Some((Value::String(text), at)) => {
            let secret = WebhookSecret::parse(text);
            if secret.is_none() {
                problems.add(Kind::Invalid, at, secret_expected());
            }
            secret
        }
        Some((_, at)) => {
            // What was found is not repeated: it may be the secret in another form.
            problems.add(Kind::Malformed, at, secret_expected());
            None
        }
    };
    let (value, at) = fields.required("url", "an address that starts with https://", problems)?;
    let Value::String(url) = value else {
        wrong_type(&at, value, "the address to tell, as a string", problems);
        return None;
    };
    Some(Webhook { url: url.clone(), events, secret })
}

fn secret_expected() -> String {
    format!(
        "expected \"{SECRET_PREFIX}\" and {WEBHOOK_SECRET_BYTES_MIN} to {WEBHOOK_SECRET_BYTES_MAX} random bytes in base64; \
         leave it out for messages without a signature"
    )
}

fn read_events(value: &Value, at: &str, problems: &mut Problems) -> BTreeSet<WebhookEvent> {
    let Value::Array(list) = value else {
        wrong_type(at, value, "an array of the names of events, such as [\"ended\"]", problems);
        return ended_only();
    };
    let names: Vec<&str> = WEBHOOK_EVENTS.iter().map(|(name, _)| *name).collect();
    let mut events = BTreeSet::new();
    for (index, value) in list.iter().enumerate() {
        let at = child(at, &index.to_string());
        let Value::String(text) = value else {
            wrong_type(&at, value, &format!("one of the strings {}", names.join(", ")), problems);
            continue;
        };
        match WEBHOOK_EVENTS.iter().find(|(name, _)| name == text) {
            Some((_, event)) => {
                events.insert(*event);
            }
            None if ["progress", "preview", "snapshot"].contains(&text.as_str()) => {
                let message = format!("{text:?} is only for event streams, expected some of {}", names.join(", "));
                problems.add(Kind::Invalid, at, message);
            }
            None => {
                let near = did_you_mean(text, &names);
                let message = format!("found {:?}, expected some of {}{near}", cut(text), names.join(", "));
                problems.add(Kind::Invalid, at, message);
            }
        }
    }
    // Where every name was wrong, that has been said, and the list was not empty.
    if events.is_empty() && !list.is_empty() { ended_only() } else { events }
}

/// The rules that typed options keep. Whether a deadline has passed already is a question of the moment, and not asked here.
pub(super) fn validate(options: &SpecOptions, problems: &mut Problems) {
    validate_labels(&options.labels, problems);
    for (time_ms, at) in [(options.start_before_ms, "/start_before"), (options.finish_before_ms, "/finish_before")] {
        // A year of five digits could not be written as RFC 3339 any more.
        if time_ms.is_some_and(|time_ms| parse_timestamp(&timestamp(time_ms)) != Some(time_ms)) {
            problems.add(Kind::Invalid, at, format!("expected {TIME_EXPECTED}, from 1970 to 9999"));
        }
    }
    if let (Some(start_ms), Some(finish_ms)) = (options.start_before_ms, options.finish_before_ms)
        && start_ms > finish_ms
    {
        problems.add(Kind::Invalid, "/start_before", "it is later than finish_before, expected an earlier time");
    }
    if let Some(webhook) = &options.webhook {
        validate_webhook(webhook, problems);
    }
}

/// Bounds of labels, wherever they come from.
pub(super) fn validate_labels(labels: &BTreeMap<String, String>, problems: &mut Problems) {
    if labels.len() > LABELS_MAX {
        let message = format!("found {} labels, expected at most {LABELS_MAX}", labels.len());
        problems.add(Kind::Limit, "/labels", message);
    }
    for (key, value) in labels {
        let at = child("/labels", key);
        if key.is_empty() {
            problems.add(Kind::Invalid, &at, "a label's key is empty, expected at least one character");
        }
        if key.len() > LABEL_BYTES_MAX || value.len() > LABEL_BYTES_MAX {
            let message = format!(
                "found a key of {} bytes and a value of {} bytes, expected at most {LABEL_BYTES_MAX} each",
                key.len(),
                value.len()
            );
            problems.add(Kind::Limit, &at, message);
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            problems.add(Kind::Invalid, &at, "found a control character, expected printable text");
        }
    }
}

fn validate_webhook(webhook: &Webhook, problems: &mut Problems) {
    let at = "/webhook/url";
    if webhook.url.len() > WEBHOOK_URL_BYTES_MAX {
        let message = format!("found {} bytes, expected at most {WEBHOOK_URL_BYTES_MAX}", webhook.url.len());
        problems.add(Kind::Limit, at, message);
    } else {
        // The sender's own parser, so that what is checked here is what is called later.
        let wrong = match reqwest::Url::parse(&webhook.url) {
            Err(error) => Some(format!("this is no address ({error})")),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => Some(format!("found {}:", cut(url.scheme()))),
            Ok(url) if url.host_str().is_none_or(str::is_empty) => Some("it names no host".to_owned()),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                Some("it holds a user or a password".to_owned())
            }
            Ok(url) if url.port() == Some(0) => Some("found port 0".to_owned()),
            Ok(_) => None,
        };
        if let Some(wrong) = wrong {
            problems.add(Kind::Invalid, at, format!("{wrong}, expected https://HOST/PATH, or http://HOST/PATH"));
        }
    }
    if webhook.events.is_empty() {
        problems.add(Kind::Invalid, "/webhook/events", "it is empty, expected at least one event, such as \"ended\"");
    }
    if webhook.secret.as_ref().is_some_and(|secret| secret.key().is_none()) {
        problems.add(Kind::Invalid, "/webhook/secret", secret_expected());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(1_795_082_400_007), "2026-11-19T10:00:00.007Z");
        assert!(timestamp(i64::MAX).ends_with("ms since 1970"));
        assert_eq!(parse_timestamp("2026-11-19T11:00:00.0079+01:00"), Some(1_795_082_400_007));
        for text in
            ["", "tomorrow", "2026-11-19", "2026-11-19T10:00:00", "1969-12-31T23:59:59Z", "2026-02-30T00:00:00Z"]
        {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn every_stored_event_can_be_told_and_no_other() {
        let stored = [
            EventKind::Queued { position: 0 },
            EventKind::Started { attempt: 1 },
            EventKind::Log { message: String::new() },
            EventKind::Preempted,
            EventKind::Cancelling,
            EventKind::Ended { state: crate::job::JobState::Succeeded, reason: None },
        ];
        let everything = WEBHOOK_EVENTS.iter().map(|(_, event)| *event).collect();
        let webhook = Webhook { url: "https://example.com/".into(), events: everything, secret: None };
        assert!(stored.iter().all(|kind| kind.is_stored() && webhook.wants(kind)));
        assert!(!webhook.wants(&EventKind::Progress(crate::job::Progress::default())));
        assert!(!Webhook { events: ended_only(), ..webhook }.wants(&EventKind::Cancelling));
        for (name, event) in WEBHOOK_EVENTS {
            assert_eq!(serde_json::to_value(event).unwrap(), *name);
        }
    }

    #[test]
    fn a_patch_tells_what_stays_from_what_is_taken_away() {
        let patch =
            OptionsPatch::parse(br#"{"priority": "batch", "start_before": null, "labels": {"a": "b"}}"#).unwrap();
        assert_eq!(patch.priority, Some(Priority::Batch));
        assert_eq!((patch.start_before_ms, patch.finish_before_ms), (Some(None), None));
        let mut options = SpecOptions { start_before_ms: Some(1), finish_before_ms: Some(2), ..SpecOptions::default() };
        patch.apply(&mut options);
        assert_eq!((options.start_before_ms, options.finish_before_ms, options.labels.len()), (None, Some(2), 1));
        for (wrong, pointer) in [
            ("", ""),
            ("[]", ""),
            ("{}", ""),
            (r#"{"samples": 3}"#, "/samples"),
            (r#"{"priority": "now"}"#, "/priority"),
            (r#"{"finish_before": "soon"}"#, "/finish_before"),
            (r#"{"labels": {"a": 1}}"#, "/labels/a"),
        ] {
            assert_eq!(OptionsPatch::parse(wrong.as_bytes()).unwrap_err().problems[0].pointer, pointer, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_read_and_never_printed() {
        let text = format!("{SECRET_PREFIX}{}", STANDARD.encode([7; 24]));
        let secret = WebhookSecret::parse(&text).unwrap();
        assert_eq!(secret.key(), Some(vec![7; 24]));
        assert!(!format!("{secret:?}").contains("Bwc"), "{secret:?}");
        for wrong in
            ["", "whsec_", "whsec_AAAA", "whsec_!!!!", &text[6..], &format!("whsec_{}", STANDARD.encode([0; 65]))]
        {
            assert_eq!(WebhookSecret::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn receivers_are_told_apart_by_host_and_port() {
        let host = |url: &str| Webhook { url: url.into(), events: BTreeSet::new(), secret: None }.host();
        assert_eq!(host("https://Example.com/a"), "example.com:443");
        assert_eq!(host("http://example.com:81/b?c"), "example.com:81");
        assert_eq!(host("nonsense"), "");
    }
}
