//! `Prefer` (RFC 7240), parsed as the list that it is; Kiln knows `wait`. Pure functions.

use axum::http::HeaderMap;
use std::time::Duration;

/// Seconds of `wait=N`, at most `seconds_max`; `None` where it is absent or no number, since a preference that cannot be
/// met is ignored (RFC 7240, section 2). Of several the first counts.
pub fn wait(headers: &HeaderMap, seconds_max: u64) -> Option<Duration> {
    let value = headers
        .get_all("prefer")
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(preferences)
        .find(|(name, _)| name == "wait")?
        .1;
    let digits = value.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than a u64 holds are more than the bound, too.
    Some(Duration::from_secs(digits.parse().unwrap_or(u64::MAX).min(seconds_max)))
}

/// Names (in lower case) and values of one field line, without the parameters after `;`.
fn preferences(line: &str) -> Vec<(String, String)> {
    split_outside_quotes(line, ',')
        .into_iter()
        .filter_map(|item| {
            let preference = split_outside_quotes(item, ';').into_iter().next()?.trim();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let name = name.trim().to_ascii_lowercase();
            (!name.is_empty()).then(|| (name, unquote(value.trim())))
        })
        .collect()
}

/// Splits at every separator that is not inside a quoted string (RFC 9110, section 5.6.4).
pub fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The content of a quoted string; other text as it is.
pub fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let (mut plain, mut escaped) = (String::with_capacity(inner.len()), false);
    for character in inner.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(character);
            escaped = false;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(lines: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("prefer", line.parse().unwrap());
        }
        wait(&headers, 300).map(|duration| duration.as_secs())
    }

    #[test]
    fn wait_is_found_anywhere_in_the_list() {
        assert_eq!(seconds(&["wait=60"]), Some(60));
        assert_eq!(seconds(&["respond-async, wait=10"]), Some(10));
        assert_eq!(seconds(&["handling=lenient", "Wait = \"7\"; foo"]), Some(7));
        assert_eq!(seconds(&["foo=\"a, wait=5\", wait=6"]), Some(6));
        assert_eq!(seconds(&["wait=1, wait=2"]), Some(1));
    }

    #[test]
    fn wait_is_clamped_and_nonsense_is_ignored() {
        assert_eq!(seconds(&["wait=99999999999999999999999"]), Some(300));
        for line in ["wait", "wait=", "wait=-1", "wait=abc", "wait=1.5", ",,;=", "respond-async"] {
            assert_eq!(seconds(&[line]), None, "{line}");
        }
    }
}
