//! The statistics of a report that the catalogue does not have: a bridge newer than the exporter loses nothing.
//!
//! Numbers and booleans are exposed under a name made of the key. The limits together bound the memory and the response that a
//! hostile report costs; none of them is near what a bridge sends.

use std::borrow::Cow;

use crate::catalogue;
use crate::family::{Family, Metric};
use crate::report::{Number, Value};

/// The longest key of an unknown statistic, in bytes, with the keys of the objects around it. The longest of a bridge has 52. A key
/// appears four times in a response, and that of an object again for each of its members: without a limit, the largest report
/// would become a response of gigabytes.
pub const MAX_KEY: usize = 200;

/// The largest number of unknown statistics that are exposed: ten times what a bridge has in all.
pub const MAX_UNKNOWN: usize = 1024;

/// The length of the keys of all unknown statistics together, in bytes, with the keys of the objects around them: ten times what a
/// bridge has in all. Without a limit, a small report of many members under a long key would become a hundred times as large.
pub const MAX_KEYS: usize = 32 * 1024;

/// How deep nested objects are read. No bridge ever went beyond two.
pub const MAX_NESTING: usize = 16;

/// The members of one object. A key that comes twice counts once.
#[derive(Debug, Default)]
pub struct Members<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
    /// How many were dropped, because there was no room.
    dropped: u64,
}

impl<'a> Members<'a> {
    /// The largest number of members that are kept. When it is reached, half of them are dropped, so the work for each member does
    /// not grow with their number.
    const MAX_KEPT: usize = 2 * MAX_UNKNOWN;

    /// Adds a member. If a key comes twice, the last value counts.
    pub fn push(&mut self, key: Cow<'a, str>, value: Value<'a>) {
        if self.members.len() == Self::MAX_KEPT {
            self.tidy();
            self.dropped += (self.members.len() as u64).saturating_sub(MAX_UNKNOWN as u64);
            self.members.truncate(MAX_UNKNOWN);
        }
        self.members.push((key, value));
    }

    /// Sorts by key and removes all but the last of equal keys.
    fn tidy(&mut self) {
        // The sort is stable: equal keys stay in the order of the document.
        self.members.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.members.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
    }
}

/// Adds families for unknown statistics, by name, and returns the number of values that are not in any. If several statistics have
/// one name, the first wins.
pub fn expose(members: Members, families: &mut Vec<Family>) -> u64 {
    let mut unknown = Unknown { families: Vec::new(), objects: Vec::new(), room_for_keys: MAX_KEYS, unexposed: 0 };
    unknown.add_all("", members, MAX_NESTING);
    while let Some(Object { path, value, nesting }) = unknown.objects.pop() {
        let mut members = Members::default();
        match value.members(|key, value| members.push(key, value)) {
            Some(()) => unknown.add_all(&path, members, nesting - 1),
            None => unknown.unexposed += 1,
        }
    }
    let Unknown { families: mut found, mut unexposed, .. } = unknown;
    let all = found.len();
    found.sort_by(|one, other| one.name().cmp(other.name()));
    found.dedup_by(|later, earlier| later.name() == earlier.name());
    if !found.is_empty() {
        remove_reserved(&mut found, families);
    }
    unexposed += (all - found.len()) as u64;
    families.extend(found);
    unexposed
}

/// An object that has not been read yet.
struct Object<'a> {
    /// The beginning of its members' names.
    path: String,
    value: Value<'a>,
    /// How many more levels may be read.
    nesting: usize,
}

struct Unknown<'a> {
    families: Vec<Family>,
    objects: Vec<Object<'a>>,
    room_for_keys: usize,
    unexposed: u64,
}

impl<'a> Unknown<'a> {
    /// Adds the members of an object, whose names begin with `prefix`.
    fn add_all(&mut self, prefix: &str, mut members: Members<'a>, nesting: usize) {
        members.tidy();
        self.unexposed += members.dropped;
        let mut path = prefix.to_owned();
        for (key, value) in members.members {
            path.truncate(prefix.len());
            path.push_str(&key);
            if !self.add(&path, value, nesting) {
                self.unexposed += 1;
            }
        }
    }

    /// Adds a value, unless there is no room, or no metric for it.
    fn add(&mut self, path: &str, value: Value<'a>, nesting: usize) -> bool {
        let has_room = self.families.len() + self.objects.len() < MAX_UNKNOWN;
        if !has_room || path.len() > MAX_KEY || path.len() > self.room_for_keys {
            return false;
        }
        self.room_for_keys -= path.len();
        let number = match value {
            Value::Number(number) => number,
            Value::Boolean(truth) => Number::Unsigned(truth.into()),
            Value::Object(_) if nesting > 0 => {
                self.objects.push(Object { path: format!("{path}_"), value, nesting });
                return true;
            }
            _ => return false,
        };
        let (text, name) = name_and_help(path);
        self.families.push(Family::unknown(text, name, number));
        true
    }
}

const HELP: &str = "Statistic unknown to this release of the exporter (";

/// The name and the help text of a key in one string, and the length of the name.
///
/// The name is `jitsi_` and the key, with `_` for characters that a name must not have. (Colons are for recording rules.) In the
/// help text, `_` replaces what would need escaping.
fn name_and_help(path: &str) -> (String, usize) {
    let mut text = String::with_capacity("jitsi_".len() + HELP.len() + 2 * path.len() + ").".len());
    text.push_str("jitsi_");
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let name;
    if path.bytes().all(is_name) {
        text.push_str(path);
        name = text.len();
        text.extend([HELP, path]);
    } else {
        text.extend(path.chars().map(|c| if c.is_ascii() && is_name(c as u8) { c } else { '_' }));
        name = text.len();
        text.push_str(HELP);
        text.extend(path.chars().map(|c| if matches!(c, '"' | '\\') || c.is_control() { '_' } else { c }));
    }
    text.push_str(").");
    (text, name)
}

/// Removes from `found`, which is sorted by name, the families with a name that belongs to another family in either format: a parser
/// would see one sample twice, or a sample in the wrong family.
fn remove_reserved(found: &mut Vec<Family>, families: &[Family]) {
    // The metrics about the scrape are always present.
    let own = catalogue::OWN.iter().map(|own| match own.name.strip_suffix("_info") {
        Some(base) => (base, &["", "_info"][..]),
        None => (own.name, &[""][..]),
    });
    let mut reserved = String::new();
    for (base, suffixes) in families.iter().map(names).chain(own) {
        for suffix in suffixes {
            reserved.clear();
            reserved.push_str(base);
            reserved.push_str(suffix);
            if let Ok(place) = found.binary_search_by(|family| family.name().cmp(&reserved)) {
                found.remove(place);
            }
        }
    }
}

/// The names that belong to a family in either format: a base, and the suffixes that samples may have.
fn names(family: &Family) -> (&str, &'static [&'static str]) {
    let name = family.name();
    match family.metric {
        Metric::Counter(_) => match name.strip_suffix("_total") {
            Some(base) => (base, &["", "_total", "_created"]),
            None => (name, &[""]),
        },
        Metric::Info(_) => (name.strip_suffix("_info").unwrap_or(name), &["", "_info"]),
        Metric::Sizes(_) => (name, &["", "_bucket", "_gcount", "_gsum", "_count", "_sum"]),
        Metric::Histogram(_) => (name, &["", "_bucket", "_count", "_sum", "_created"]),
        Metric::Gauge(_) | Metric::Unknown(_) | Metric::Labelled(..) | Metric::State(_) => (name, &[""]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_valid_names() {
        for (key, expected) in [
            ("", "jitsi_"),
            ("new_key", "jitsi_new_key"),
            ("camelCase", "jitsi_camelCase"),
            ("with-dash and space", "jitsi_with_dash_and_space"),
            ("1st", "jitsi_1st"),
            ("schlüssel", "jitsi_schl_ssel"),
            ("a:b", "jitsi_a_b"),
            ("a\nb\"c\\d", "jitsi_a_b_c_d"),
        ] {
            let (text, name) = name_and_help(key);
            assert_eq!(&text[..name], expected);
        }
    }

    #[test]
    fn keeps_a_bounded_number_of_members() {
        let mut members = Members::default();
        for number in 0..100_000u64 {
            members.push(Cow::Owned((number % 60_000).to_string()), Value::Number(Number::Unsigned(number)));
            assert!(members.members.len() <= Members::MAX_KEPT);
        }
        // What is dropped is counted.
        let mut members = Members::default();
        for number in 0..10_000u64 {
            members.push(Cow::Owned(number.to_string()), Value::Number(Number::Unsigned(number)));
        }
        assert_eq!(members.members.len() as u64 + members.dropped, 10_000);
        // The same key again and again is one member.
        let mut members = Members::default();
        for number in 0..100_000 {
            members.push(Cow::Borrowed("same"), Value::Number(Number::Unsigned(number)));
        }
        members.tidy();
        assert_eq!((members.members.len(), members.dropped), (1, 0));
        assert!(matches!(members.members[0].1, Value::Number(Number::Unsigned(99_999))));
    }
}
