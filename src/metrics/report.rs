//! Reads the bridge's response: JSON in, typed values out.
//!
//! This module knows JSON, and how bridges have written numbers since 2014. It knows nothing about metrics. It reads an object in
//! one pass, without a document tree: members are passed to the caller one by one, and a value borrows its text from the response
//! and is parsed only when it is used. So a number out of range, half a surrogate pair or deep nesting affects one value and not
//! the whole report, and the caller decides how much of a hostile report is kept.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use serde_core::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Cause, ScrapeError};

/// A number as the bridge wrote it: an integer stays an integer, digit for digit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Zero or more, up to 2^64 - 1.
    Unsigned(u64),
    /// Less than zero, down to -2^63.
    Negative(i64),
    /// Fractions, numbers with an exponent, and integers beyond 64 bits. NaN and infinities occur in strings only.
    Float(f64),
}

impl Number {
    /// Reads the text of a JSON number. `None` if it is not one, or too large for a float.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // Nearly all numbers are whole; Java writes whole floats with ".0". 19 digits are always less than 2^64.
        let digits = text.bytes().take(19).take_while(u8::is_ascii_digit);
        let (length, whole) = digits.fold((0, 0), |(length, whole), b| (length + 1, 10 * whole + u64::from(b - b'0')));
        match (length, &text[length..]) {
            (1.., "") => Some(Self::Unsigned(whole)),
            #[expect(clippy::cast_precision_loss, reason = "rounds to the nearest float, like the parser of floats")]
            (1.., ".0") => Some(Self::Float(whole as f64)),
            _ => Self::parse_other(text),
        }
    }

    /// The rest of [`Number::parse`]. Separate, because it would make each whole number dearer.
    #[inline(never)]
    fn parse_other(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::Unsigned(number));
        }
        match text.parse::<i64>() {
            Ok(number @ ..0) => Some(Self::Negative(number)),
            Ok(_) => Some(Self::Unsigned(0)),
            Err(_) => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Self::Float),
        }
    }

    /// Reads a number from a string: a JSON number, also with a decimal comma (JVB 1 in a German locale), or one of Java's three
    /// words for values that are not finite.
    fn parse_lenient(text: &str) -> Option<Self> {
        match text {
            "NaN" => return Some(Self::Float(f64::NAN)),
            "Infinity" => return Some(Self::Float(f64::INFINITY)),
            "-Infinity" => return Some(Self::Float(f64::NEG_INFINITY)),
            _ => {}
        }
        // `parse` would also accept words ("inf", "nan") and a leading plus sign. The only letter in a number is the e of its exponent.
        let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b',' | b'e' | b'E');
        if !text.bytes().all(numeric) || text.starts_with('+') {
            return None;
        }
        match text.split_once(',') {
            None => Self::parse(text),
            // If there is a second separator, the result does not parse.
            Some((whole, fraction)) => Self::parse(&format!("{whole}.{fraction}")),
        }
    }

    /// The nearest float.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "callers that need every digit do not use floats")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Unsigned(number) => number as f64,
            Self::Negative(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// The number as a count: an integer of zero or more, also when written as a float (`3.0`).
    #[must_use]
    pub fn as_count(self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(number),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the guard is the range")]
            Self::Float(number) if number >= 0.0 && number <= 2f64.powi(53) && number.fract() == 0.0 => {
                Some(number as u64)
            }
            Self::Negative(_) | Self::Float(_) => None,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => number.fmt(f),
            Self::Negative(number) => number.fmt(f),
            // Debug, because Display never uses an exponent: 1e300 would be 301 digits.
            Self::Float(number) => fmt::Debug::fmt(number, f),
        }
    }
}

/// One value of a report. Text, arrays and objects are kept as written, and read on demand.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A number within the range of a 64-bit integer or float.
    Number(Number),
    /// `true` or `false`.
    Boolean(bool),
    /// A string, with its quotes and escapes.
    Text(&'a str),
    /// An array, unread.
    Array(&'a str),
    /// An object, unread.
    Object(&'a str),
    /// `null`, or a number beyond the range of a float.
    Nothing,
}

impl<'a> Value<'a> {
    fn classify(raw: &'a RawValue) -> Self {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => Self::Text(text),
            Some(b'[') => Self::Array(text),
            Some(b'{') => Self::Object(text),
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            _ => Number::parse(text).map_or(Self::Nothing, Self::Number),
        }
    }

    /// The value as a number: itself, or the number in a string.
    #[must_use]
    #[inline]
    pub fn number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) => Number::parse_lenient(self.string()?.trim()),
            _ => None,
        }
    }

    /// The value as a boolean: itself, 0 or 1, or one of these in a string.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(truth) => Some(*truth),
            Self::Number(Number::Unsigned(number @ 0..=1)) => Some(*number == 1),
            Self::Text(_) => match &*self.string()? {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The content of a string, unescaped. `None` for values that are not strings, and for strings that are not Unicode (half a
    /// surrogate pair).
    #[must_use]
    pub fn string(&self) -> Option<Cow<'a, str>> {
        let Self::Text(quoted) = *self else { return None };
        if quoted.contains('\\') {
            return serde_json::from_str(quoted).ok().map(Cow::Owned);
        }
        quoted.get(1..quoted.len() - 1).map(Cow::Borrowed)
    }

    /// The value as a time: text as in `2026-08-20 07:30:10.030`, in UTC.
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        let text = self.string()?;
        let utc = text.strip_suffix("+00:00").unwrap_or(&text);
        // humantime ignores an offset after a fraction of a second, so a time with an offset is rejected here.
        if utc.contains('+') { None } else { humantime::parse_rfc3339_weak(utc).ok() }
    }

    /// The elements of an array. A string that contains an array counts as that array. `None` if there are more than `limit`.
    #[must_use]
    pub fn elements(&self, limit: usize) -> Option<impl ExactSizeIterator<Item = Value<'a>>> {
        let array = match *self {
            Self::Array(text) => text,
            // A string with escapes would be an owned copy, from which values cannot borrow. An array of numbers contains no
            // escapes.
            Self::Text(_) => match self.string()? {
                Cow::Borrowed(text) => text,
                Cow::Owned(_) => return None,
            },
            _ => return None,
        };
        // Commas are counted first, because each element takes more memory than its text. A number in a string can have one, too.
        if array.bytes().filter(|b| *b == b',').count() >= 2 * limit {
            return None;
        }
        let elements: Vec<&RawValue> = serde_json::from_str(array).ok()?;
        (elements.len() <= limit).then(|| elements.into_iter().map(Value::classify))
    }

    /// Calls `member` with each key and value of an object, in the order of the document. If a key occurs twice, `member` is
    /// called twice, and the last value counts. `None` if the value is not an object.
    pub fn members(&self, member: impl FnMut(Cow<'a, str>, Value<'a>)) -> Option<()> {
        let Self::Object(text) = self else { return None };
        read_members(text, member).ok().map(|_| ())
    }
}

/// A time as bridges write it: `yyyy-MM-dd HH:mm:ss.SSS`, in UTC. The inverse of [`Value::time`].
#[must_use]
pub fn date_time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string().replace('T', " ").replace('Z', "")
}

/// Reads the bridge's response, an object or (2.0-35 to 2.0-42) an array of exactly one, and calls `member` as
/// [`Value::members`] does. If the result is an error, the members do not count.
///
/// # Errors
///
/// If the response is not JSON, or is JSON without statistics.
pub fn read<'a>(body: &'a [u8], member: impl FnMut(Cow<'a, str>, Value<'a>)) -> Result<(), ScrapeError> {
    let text = str::from_utf8(body).map_err(|error| not_json(&error, body))?;
    let not_json = |error| not_json(&error, body);
    let mut object = text;
    if !text.trim_ascii_start().starts_with('{') {
        let document = serde_json::from_str::<&RawValue>(text).map_err(not_json)?.get();
        object = match serde_json::from_str::<(&RawValue,)>(document) {
            Ok((only,)) if only.get().starts_with('{') => only.get(),
            _ => return Err(Cause::NotObject.with(type_name(document))),
        };
    }
    match read_members(object, member).map_err(not_json)? {
        0 => Err(Cause::Empty.into()),
        _ => Ok(()),
    }
}

/// What a JSON text is instead of an object. It has no blanks around it.
fn type_name(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'[') => "an array, but not of one object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Calls `member` with each key and value of an object. Returns the number of its members.
fn read_members<'a>(object: &'a str, member: impl FnMut(Cow<'a, str>, Value<'a>)) -> serde_json::Result<usize> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    let number = deserializer.deserialize_map(MemberReader::of(object, member))?;
    deserializer.end()?;
    Ok(number)
}

/// How much of the response an error quotes: enough to recognise an error page.
const EXCERPT: usize = 40;

/// The beginnings of text in Prometheus' formats.
const COMMENTS: [&[u8]; 3] = [b"# HELP ", b"# TYPE ", b"# UNIT "];

/// Says why a response is not JSON: the parser's message if the response looks like JSON, otherwise how it begins.
fn not_json(error: &dyn fmt::Display, body: &[u8]) -> ScrapeError {
    match body.trim_ascii_start() {
        [] => Cause::NotJson.with("it is empty"),
        [b'{' | b'[', ..] => Cause::NotJson.with(error),
        text if COMMENTS.iter().any(|comment| text.starts_with(comment)) => Cause::PrometheusText.into(),
        text => {
            let begin = String::from_utf8_lossy(&text[..text.len().min(EXCERPT)]);
            Cause::NotJson.with(format_args!("it begins with {begin:?}"))
        }
    }
}

/// Reads an object and counts its members.
struct MemberReader<F> {
    member: F,
    /// Whether keys may contain escapes. Searching the text once is cheaper than searching each key.
    has_escapes: bool,
}

impl<F> MemberReader<F> {
    fn of(text: &str, member: F) -> Self {
        Self { member, has_escapes: memchr::memchr(b'\\', text.as_bytes()).is_some() }
    }

    /// A key with escapes is read as it is written, because reading half a surrogate pair as text is an error.
    fn next_key<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
        if self.has_escapes {
            Ok(map.next_key::<&RawValue>()?.map(|key| text_of_key(key.get())))
        } else {
            Ok(map.next_key::<&str>()?.map(Cow::Borrowed))
        }
    }
}

impl<'de, F: FnMut(Cow<'de, str>, Value<'de>)> Visitor<'de> for MemberReader<F> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut number = 0;
        while let Some(key) = self.next_key(&mut map)? {
            (self.member)(key, Value::classify(map.next_value()?));
            number += 1;
        }
        Ok(number)
    }
}

/// A key, borrowed unless it has escapes.
fn text_of_key(quoted: &str) -> Cow<'_, str> {
    if quoted.contains('\\') {
        // Read as bytes, because reading half a surrogate pair (`"\ud800"`) as text is an error.
        let bytes = serde_json::Deserializer::from_str(quoted).deserialize_bytes(Bytes);
        return Cow::Owned(bytes.map(|bytes| readable(&bytes)).unwrap_or_default());
    }
    Cow::Borrowed(unquoted(quoted))
}

/// A JSON string without its quotes.
fn unquoted(quoted: &str) -> &str {
    quoted.get(1..quoted.len() - 1).unwrap_or_default()
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec())
    }
}

/// Like `from_utf8_lossy`, but every invalid byte maps to its own private-use character. So different keys stay different, and the
/// character cannot be part of a name.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|&byte| char::from_u32(0xf700 + u32::from(byte))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Number::{self, Float, Negative, Unsigned};
    use super::Value;

    #[test]
    fn limits_the_elements_of_an_array() {
        for (element, number, is_read) in [("1", 10, true), ("1", 11, false), ("\"1,5\"", 10, true), ("1", 100, false)]
        {
            let array = format!("[{}]", vec![element; number].join(","));
            assert_eq!(Value::Array(&array).elements(10).is_some(), is_read, "{array}");
        }
    }

    #[test]
    fn numbers_in_strings() {
        for (text, number) in [
            ("12", Some(Unsigned(12))),
            ("-12", Some(Negative(-12))),
            ("0.5", Some(Float(0.5))),
            ("0,5", Some(Float(0.5))),
            ("1,5E-3", Some(Float(0.0015))),
            ("Infinity", Some(Float(f64::INFINITY))),
            ("-Infinity", Some(Float(f64::NEG_INFINITY))),
            ("1,234,567", None),
            ("1.234,5", None),
            ("1,234.5", None),
            ("+1", None),
            ("inf", None),
            ("1e999", None),
            ("12 ms", None),
            ("", None),
        ] {
            assert_eq!(Number::parse_lenient(text), number, "{text:?}");
        }
        assert!(matches!(Number::parse_lenient("NaN"), Some(Float(number)) if number.is_nan()));
    }
}
