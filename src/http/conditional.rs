//! Conditional and range requests (RFC 9110, sections 13 and 14) on things whose strong `ETag` is their sha256. Pure functions.

use axum::http::{HeaderMap, HeaderName, Method, header};
use std::ops::Range;

/// What a request with these header fields is to be answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200 with all of it.
    Full,
    /// 206 with these bytes.
    Partial(Range<u64>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
}

/// Evaluates `If-Match`, `If-None-Match`, `Range` and `If-Range` in the order of RFC 9110, section 13.2.2.
/// `etag` comes with its quotes, `bytes` is the length of the whole.
pub fn evaluate(method: &Method, headers: &HeaderMap, etag: &str, bytes: u64) -> Outcome {
    if let Some(tags) = tags(headers, header::IF_MATCH)
        && !tags.iter().any(|tag| tag == "*" || tag == etag)
    {
        return Outcome::PreconditionFailed;
    }
    if let Some(tags) = tags(headers, header::IF_NONE_MATCH)
        && tags.iter().any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    {
        return Outcome::NotModified;
    }
    if method != Method::GET {
        return Outcome::Full;
    }
    // A date or a weak tag in If-Range never matches a strong tag, so the whole is sent.
    if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Outcome::Full;
    }
    match headers.get(header::RANGE).and_then(|value| value.to_str().ok()) {
        Some(range) => parse_range(range, bytes),
        None => Outcome::Full,
    }
}

/// The entity tags of a list field; `None` where the field is absent.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<Vec<String>> {
    if !headers.contains_key(&name) {
        return None;
    }
    let lines = headers.get_all(&name).iter().filter_map(|line| line.to_str().ok());
    Some(
        lines
            .flat_map(|line| super::prefer::split_outside_quotes(line, ','))
            .map(|tag| tag.trim().to_owned())
            .collect(),
    )
}

/// One byte range. Several, other units and nonsense are ignored, which RFC 9110, section 14.2 allows.
fn parse_range(text: &str, bytes: u64) -> Outcome {
    let Some((unit, spec)) = text.split_once('=') else { return Outcome::Full };
    let Some((first, last)) = spec.trim().split_once('-') else { return Outcome::Full };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Outcome::Full;
    }
    let number = |digits: &str| -> Option<u64> {
        // A number that a u64 cannot hold lies beyond every end.
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first.trim()), number(last.trim())) {
        (None, Some(suffix)) if first.trim().is_empty() => bytes.saturating_sub(suffix)..bytes,
        (Some(start), Some(end)) if start <= end => start..end.saturating_add(1).min(bytes),
        (Some(start), None) if last.trim().is_empty() => start..bytes,
        _ => return Outcome::Full,
    };
    if range.start >= range.end { Outcome::Unsatisfiable } else { Outcome::Partial(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"abc\"";

    fn with(fields: &[(&str, &str)]) -> Outcome {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        evaluate(&Method::GET, &headers, TAG, 100)
    }

    #[test]
    fn ranges_are_inclusive_clamped_and_single() {
        for (range, outcome) in [
            ("bytes=0-9", Outcome::Partial(0..10)),
            ("bytes=90-", Outcome::Partial(90..100)),
            ("bytes=90-1000", Outcome::Partial(90..100)),
            ("bytes=-5", Outcome::Partial(95..100)),
            ("bytes=-500", Outcome::Partial(0..100)),
            ("bytes=0-99999999999999999999999", Outcome::Partial(0..100)),
            ("bytes=100-", Outcome::Unsatisfiable),
            ("bytes=-0", Outcome::Unsatisfiable),
            ("bytes=99999999999999999999999-", Outcome::Unsatisfiable),
            ("bytes=9-0", Outcome::Full),
            ("bytes=0-1,5-6", Outcome::Full),
            ("bytes=a-b", Outcome::Full),
            ("bytes=-", Outcome::Full),
            ("lines=0-1", Outcome::Full),
            ("nonsense", Outcome::Full),
        ] {
            assert_eq!(with(&[("range", range)]), outcome, "{range}");
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        let range = ("range", "bytes=0-0");
        assert_eq!(with(&[("if-match", "\"x\""), range]), Outcome::PreconditionFailed);
        assert_eq!(with(&[("if-match", "\"x\", \"abc\""), range]), Outcome::Partial(0..1));
        assert_eq!(with(&[("if-match", "W/\"abc\"")]), Outcome::PreconditionFailed);
        assert_eq!(with(&[("if-none-match", "W/\"abc\""), range]), Outcome::NotModified);
        assert_eq!(with(&[("if-none-match", "*")]), Outcome::NotModified);
        assert_eq!(with(&[("if-none-match", "\"x\"")]), Outcome::Full);
        assert_eq!(with(&[("if-range", TAG), range]), Outcome::Partial(0..1));
        assert_eq!(with(&[("if-range", "\"old\""), range]), Outcome::Full);
    }
}
