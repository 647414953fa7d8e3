//! What handlers take out of the address: ids and query parameters, each with a problem document of its own.

use super::problem::{Kind, Problem};
use super::shown;
use crate::job::{JobId, nearest};
use axum::extract::{FromRequestParts, Path, RawQuery};
use axum::http::request::Parts;

/// The `{id}` of the address.
#[derive(Debug, Clone, Copy)]
pub struct JobPath(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(job_id(&text_segment(parts, state).await?)?))
    }
}

/// The `{id}` and the `{name}` of the address.
#[derive(Debug, Clone)]
pub struct OutputPath(pub JobId, pub String);

impl<S: Send + Sync> FromRequestParts<S> for OutputPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((id, name)) =
            Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| no_text())?;
        Ok(Self(job_id(&id)?, name))
    }
}

/// The `{sha256}` of the address: 64 hex digits, with or without `sha256:` before them, in lower case.
#[derive(Debug, Clone)]
pub struct AssetPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for AssetPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = text_segment(parts, state).await?;
        let digits = text.strip_prefix("sha256:").unwrap_or(&text);
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let detail = format!("Found \"{}\", expected the sha256 of the asset as 64 hex digits.", shown(&text));
            return Err(Problem::new(Kind::InvalidId, detail));
        }
        Ok(Self(digits.to_ascii_lowercase()))
    }
}

async fn text_segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    Ok(Path::<String>::from_request_parts(parts, state).await.map_err(|_| no_text())?.0)
}

fn no_text() -> Problem {
    Problem::new(Kind::InvalidId, "The address holds percent escapes that are no UTF-8 text.")
}

fn job_id(text: &str) -> Result<JobId, Problem> {
    // The other spellings that the uuid crate reads (braces, URN, no hyphens) would give one job several addresses.
    if text.len() == 36
        && let Ok(id) = JobId::try_parse(text)
    {
        return Ok(id);
    }
    let detail =
        format!("Found \"{}\", expected a job's id: a UUID such as 0197a1b2-c3d4-7e5f-8a6b-9c0d1e2f3a4b.", shown(text));
    Err(Problem::new(Kind::InvalidId, detail))
}

/// The query string as names and values, in order.
#[derive(Debug, Clone, Default)]
pub struct Query(pub Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(RawQuery(query)) = RawQuery::from_request_parts(parts, state).await;
        Ok(Self(match query {
            Some(query) => decode(&query),
            None => Vec::new(),
        }))
    }
}

/// `application/x-www-form-urlencoded` as the URL standard decodes it; broken escapes stay as they are.
fn decode(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (unescape(name), unescape(value)))
        .collect()
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).and_then(|pair| {
            let pair =
                std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            u8::from_str_radix(pair, 16).ok()
        });
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

impl Query {
    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() {
            return Err(Problem::of_parameter(name, "is given twice"));
        }
        Ok(value)
    }

    /// Takes a yes-or-no parameter out; `?name` alone is a yes.
    pub fn take_flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(other) => {
                Err(Problem::of_parameter(name, format!("found \"{}\", expected true or false", shown(other))))
            }
        }
    }

    /// Takes a whole number out.
    pub fn take_number<T: std::str::FromStr + PartialOrd + std::fmt::Display>(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let expected =
                    format!("found \"{}\", expected a number from {} to {}", shown(&text), range.start(), range.end());
                Err(Problem::of_parameter(name, expected))
            }
        }
    }

    /// Refuses what nobody took out. `known` are the parameters that this address understands.
    pub fn end(&self, known: &[&str]) -> Result<(), Problem> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let hint = match (nearest(name, known), known) {
            (Some(near), _) => format!("; did you mean \"{near}\"?"),
            (None, []) => "; this address takes none".to_owned(),
            (None, known) => format!("; known are {}", known.join(", ")),
        };
        Err(Problem::of_parameter(&shown(name), format!("is no parameter of this address{hint}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_as_the_url_standard_says() {
        let pairs = decode("a=1&b=x%20y+z&c&&d=%zz%4&e=%ff&=v&label=k=v");
        let expected =
            [("a", "1"), ("b", "x y z"), ("c", ""), ("d", "%zz%4"), ("e", "\u{fffd}"), ("", "v"), ("label", "k=v")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
