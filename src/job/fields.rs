//! Reading single values and objects of a JSON document, with a message for everything that is wrong.

use super::problem::{Problems, SpecProblemKind as Kind, child, cut, hint};
use super::spec::{AssetRef, NameOrIndex};
use serde_json::{Map, Value};

pub(super) fn read_name_or_index(value: &Value, at: &str, problems: &mut Problems) -> Option<NameOrIndex> {
    match value {
        Value::String(name) => Some(NameOrIndex::Name(name.clone())),
        Value::Number(_) => read_whole(value, at, "a name, or an index from 0", problems).map(NameOrIndex::Index),
        other => {
            wrong_type(at, other, "a name, or an index from 0", problems);
            None
        }
    }
}

pub(super) fn read_vector(value: &Value, at: &str, problems: &mut Problems) -> Option<[f32; 3]> {
    match value {
        Value::Array(numbers) if numbers.len() == 3 => {
            let mut vector = [0.0; 3];
            let mut complete = true;
            for (index, number) in numbers.iter().enumerate() {
                match read_number(number, &child(at, &index.to_string()), problems) {
                    Some(number) => vector[index] = number,
                    None => complete = false,
                }
            }
            complete.then_some(vector)
        }
        other => {
            wrong_type(at, other, "an array of three numbers, [x, y, z]", problems);
            None
        }
    }
}

/// A whole number; `256.0` counts as one, because many languages write their integers so.
pub(super) fn read_whole(value: &Value, at: &str, expected: &str, problems: &mut Problems) -> Option<u32> {
    let Value::Number(number) = value else {
        wrong_type(at, value, expected, problems);
        return None;
    };
    let float = number.as_f64().unwrap_or(f64::NAN);
    let kind = match float {
        // Doubles hold every u32 exactly, so that the cast is exact.
        whole if whole.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&whole) => return Some(whole as u32),
        negative if negative < 0.0 => Kind::Invalid,
        large if large.fract() == 0.0 => Kind::Limit,
        _ => Kind::Malformed,
    };
    problems.add(kind, at, format!("found {number}, expected {expected}"));
    None
}

pub(super) fn read_number(value: &Value, at: &str, problems: &mut Problems) -> Option<f32> {
    let Value::Number(number) = value else {
        wrong_type(at, value, "a number", problems);
        return None;
    };
    let float = number.as_f64().unwrap_or(f64::NAN) as f32;
    if !float.is_finite() {
        problems.add(Kind::Limit, at, format!("found {number}, expected a number between -3.4e38 and 3.4e38"));
        return None;
    }
    Some(float)
}

/// An object whose keys have been checked, and its place.
pub(super) struct Fields<'v> {
    object: &'v Map<String, Value>,
    pointer: String,
}

impl<'v> Fields<'v> {
    /// Checks that `value` is an object, and that it has no fields but the known ones.
    pub(super) fn read(
        value: &'v Value,
        pointer: &str,
        known: &[&str],
        not_yet: &[&str],
        expected: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let Value::Object(object) = value else {
            wrong_type(pointer, value, expected, problems);
            return None;
        };
        for key in object.keys().map(String::as_str).filter(|key| !known.contains(key)) {
            if not_yet.contains(&key) {
                problems.add(Kind::Invalid, child(pointer, key), unsupported(&format!("the field {key:?}")));
            } else {
                let message = format!("the field {:?} is unknown{}", cut(key), hint(key, known));
                problems.add(Kind::Malformed, child(pointer, key), message);
            }
        }
        Some(Self { object, pointer: pointer.to_owned() })
    }

    /// A field and its place; `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<(&'v Value, String)> {
        let value = self.object.get(key).filter(|value| !value.is_null())?;
        Some((value, child(&self.pointer, key)))
    }

    pub(super) fn required(&self, key: &str, expected: &str, problems: &mut Problems) -> Option<(&'v Value, String)> {
        let found = self.get(key);
        if found.is_none() {
            let message = format!("the field is missing, expected {expected}");
            problems.add(Kind::Malformed, child(&self.pointer, key), message);
        }
        found
    }

    pub(super) fn required_vector(&self, key: &str, problems: &mut Problems) -> Option<[f32; 3]> {
        let (value, at) = self.required(key, "an array of three numbers, [x, y, z]", problems)?;
        read_vector(value, &at, problems)
    }

    pub(super) fn required_asset(&self, key: &str, problems: &mut Problems) -> Option<AssetRef> {
        let expected = "\"sha256:\" and 64 hex digits";
        let (value, at) = self.required(key, expected, problems)?;
        match value {
            Value::String(text) => Some(AssetRef(text.clone())),
            other => {
                wrong_type(&at, other, expected, problems);
                None
            }
        }
    }

    /// A text.
    pub(super) fn text(&self, key: &str, expected: &str, problems: &mut Problems) -> Option<String> {
        let (value, at) = self.get(key)?;
        match value {
            Value::String(text) => Some(text.clone()),
            other => {
                wrong_type(&at, other, expected, problems);
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, key: &str, expected: &str, problems: &mut Problems) -> Option<String> {
        self.required(key, expected, problems)?;
        self.text(key, expected, problems)
    }

    /// `true` or `false`.
    pub(super) fn truth(&self, key: &str, problems: &mut Problems) -> Option<bool> {
        let (value, at) = self.get(key)?;
        if value.is_boolean() {
            return value.as_bool();
        }
        wrong_type(&at, value, "true or false", problems);
        None
    }

    pub(super) fn whole(&self, key: &str, expected: &str, problems: &mut Problems) -> Option<u32> {
        let (value, at) = self.get(key)?;
        read_whole(value, &at, expected, problems)
    }

    pub(super) fn number(&self, key: &str, problems: &mut Problems) -> Option<f32> {
        let (value, at) = self.get(key)?;
        read_number(value, &at, problems)
    }

    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        not_yet: &[&str],
        problems: &mut Problems,
    ) -> Option<T> {
        let (value, at) = self.get(key)?;
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let Value::String(text) = value else {
            wrong_type(&at, value, &format!("one of the strings {}", names.join(", ")), problems);
            return None;
        };
        let found = words.iter().find(|(name, _)| name == text).map(|(_, word)| *word);
        if found.is_none() && not_yet.contains(&text.as_str()) {
            problems.add(Kind::Invalid, at, unsupported(&format!("{key} {text:?}")));
        } else if found.is_none() {
            let message =
                format!("found {:?}, expected one of {}{}", cut(text), names.join(", "), did_you_mean(text, &names));
            problems.add(Kind::Invalid, at, message);
        }
        found
    }
}

/// The suggestion alone, where the known words are listed anyway.
pub(super) fn did_you_mean(found: &str, known: &[&str]) -> String {
    let hint = hint(found, known);
    if hint.starts_with("; did") { hint } else { String::new() }
}

pub(super) fn unsupported(what: &str) -> String {
    format!("this version of Kiln does not support {what} yet; leave it out")
}

pub(super) fn wrong_type(at: &str, found: &Value, expected: &str, problems: &mut Problems) {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {:?}", cut(text)),
        Value::Array(list) => format!("an array of length {}", list.len()),
        Value::Object(_) => "an object".to_owned(),
    };
    problems.add(Kind::Malformed, at, format!("found {found}, expected {expected}"));
}

/// Keeps the default where nothing was read.
pub(super) fn set<T>(slot: &mut T, read: Option<T>) {
    if let Some(read) = read {
        *slot = read;
    }
}
