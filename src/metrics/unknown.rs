//! The statistics of a report that are not in the catalogue, for example because the bridge is newer than the exporter.
//!
//! Numbers and booleans are exposed under a name made from the key, and so are histograms in the form of the bridge's own
//! metrics. The limits bound the memory and the response of a hostile report. They are far above what bridges send.

use std::borrow::Cow;
use std::ops::Range;

use crate::metrics::catalogue::{self, Kind, compare};
use crate::metrics::distribution::Distribution;
use crate::metrics::piece::append;
use crate::metrics::report::{Number, Value};

/// The longest key of an unknown statistic, in bytes, enclosing objects included. The longest key of a bridge has 52. A key
/// occurs four times in a response, and the key of an object again for each member. Without a limit, the largest report could
/// become gigabytes.
pub const MAX_KEY: usize = 200;

/// The largest number of unknown statistics that are exposed: ten times as many as all statistics of a bridge.
pub const MAX_UNKNOWN: usize = 1024;

/// Total bytes of all unknown keys, enclosing objects included: ten times as many as all keys of a bridge have. Without a limit,
/// many members under a long key would make the response a hundred times as large as the report.
pub const MAX_KEYS: usize = 32 * 1024;

/// How many bytes of [`MAX_KEYS`] a bucket of an unknown histogram uses in addition to the key, for its label and its bound.
const MAX_BOUND: usize = 16;

/// How deep nested objects are read. Bridges have never nested deeper than two.
pub const MAX_NESTING: usize = 16;

/// The members of one object. A key that occurs twice counts once.
#[derive(Debug, Default)]
pub struct Members<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
    /// How many were dropped because of the limit.
    dropped: u64,
}

impl<'a> Members<'a> {
    /// The largest number of members that are kept. When it is reached, half of them are dropped, so the work for each member does
    /// not grow with their number.
    const MAX_KEPT: usize = 2 * MAX_UNKNOWN;

    /// Adds a member. If a key occurs twice, the last value counts.
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
        self.members.sort_by(|(one, _), (other, _)| compare(one.as_bytes(), other.as_bytes()));
        self.members.dedup_by(|later, earlier| {
            let same = compare(later.0.as_bytes(), earlier.0.as_bytes()).is_eq();
            if same {
                earlier.1 = later.1;
            }
            same
        });
    }
}

/// The statistics with keys that are not in the catalogue, sorted by name.
#[derive(Debug, Default)]
pub struct UnknownStatistics {
    /// All names and keys, one after the other, to avoid an allocation for each.
    text: Vec<u8>,
    list: Vec<UnknownStatistic>,
    /// Whether the names can be out of order or occur twice, because of nested objects or odd characters. Keys are added in order.
    unsorted: bool,
}

/// A statistic, whose name and key are in the text of [`UnknownStatistics`].
#[derive(Debug)]
struct UnknownStatistic {
    name: Range<usize>,
    key: Range<usize>,
    value: UnknownValue,
}

impl UnknownStatistics {
    /// For each statistic, its name, its key with `_` for characters that would need escaping in a help text, and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], &UnknownValue)> {
        let text = |range: &Range<usize>| &self.text[range.clone()];
        self.list.iter().map(move |statistic| (text(&statistic.name), text(&statistic.key), &statistic.value))
    }

    /// The number of bytes of all names and keys.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The number of statistics.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "not needed")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    fn name(&self, statistic: &UnknownStatistic) -> &[u8] {
        &self.text[statistic.name.clone()]
    }
}

/// The value of an unknown statistic.
#[derive(Debug)]
pub enum UnknownValue {
    /// A number of unknown type.
    Number(Number),
    /// A histogram.
    Histogram(Box<Distribution>),
}

/// For each byte, whether it can be part of a name. A table, because each byte of each unknown key is looked up.
static IS_NAME: [bool; 256] = {
    let mut is_name = [false; 256];
    let mut byte = 0u8;
    while byte.is_ascii() {
        is_name[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    is_name
};

/// The names that belong to a family in either format: a base name with these suffixes.
pub type Names = (&'static str, &'static [&'static str]);

/// The unknown statistics among the members of a report, and the number of values that are not in any. If several have one name,
/// the first wins. `reserved` are the names of the other families.
pub fn find(members: Members, reserved: impl Iterator<Item = Names>) -> (UnknownStatistics, u64) {
    let mut unknown = Unknown { room_for_keys: MAX_KEYS, ..Unknown::default() };
    unknown.add_all("", members, MAX_NESTING);
    while let Some(Object { path, value, nesting }) = unknown.objects.pop() {
        let mut members = Members::default();
        unknown.found.unsorted = true;
        match value.members(|key, value| members.push(key, value)) {
            Some(()) => unknown.add_all(&path, members, nesting - 1),
            None => unknown.unexposed += 1,
        }
    }
    let Unknown { mut found, unexposed, .. } = unknown;
    let all = found.len();
    if all > 0 {
        found.sort();
        found.remove_taken(reserved);
    }
    let removed = all - found.len();
    (found, unexposed + removed as u64)
}

/// An object that has not been read yet.
struct Object<'a> {
    /// The beginning of the names of its members.
    path: String,
    value: Value<'a>,
    /// How many more levels may be read.
    nesting: usize,
}

#[derive(Default)]
struct Unknown<'a> {
    found: UnknownStatistics,
    objects: Vec<Object<'a>>,
    room_for_keys: usize,
    unexposed: u64,
}

impl<'a> Unknown<'a> {
    /// Adds the members of an object, whose names begin with `prefix`.
    fn add_all(&mut self, prefix: &str, mut members: Members<'a>, nesting: usize) {
        members.tidy();
        self.unexposed += members.dropped;
        self.found.list.reserve(members.members.len());
        for (key, value) in members.members {
            let path = if prefix.is_empty() { key } else { format!("{prefix}{key}").into() };
            if !self.add(&path, value, nesting) {
                self.unexposed += 1;
            }
        }
    }

    /// Adds a value, unless a limit is reached or the value has no metric.
    fn add(&mut self, path: &str, value: Value<'a>, nesting: usize) -> bool {
        let has_room = self.found.len() + self.objects.len() < MAX_UNKNOWN;
        if !has_room || path.len() > MAX_KEY || path.len() > self.room_for_keys {
            return false;
        }
        self.room_for_keys -= path.len();
        let value = match value {
            Value::Number(number) => UnknownValue::Number(number),
            Value::Boolean(truth) => UnknownValue::Number(Number::Unsigned(truth.into())),
            Value::Object(_) if Distribution::has_buckets(&value) => {
                let Some(distribution) = Distribution::read(&value) else { return false };
                // Each bucket becomes a line with the name and a bound.
                let lines = distribution.buckets().len() * (path.len() + MAX_BOUND);
                let Some(room) = self.room_for_keys.checked_sub(lines) else { return false };
                self.room_for_keys = room;
                UnknownValue::Histogram(Box::new(distribution))
            }
            Value::Object(_) if nesting > 0 => {
                self.objects.push(Object { path: format!("{path}_"), value, nesting });
                return true;
            }
            _ => return false,
        };
        self.found.push(path, value);
        true
    }
}

impl UnknownStatistics {
    /// Adds a statistic. Its name contains `_` for characters that are not valid in a name, and for colons, which are for
    /// recording rules. Keys of the bridge's media export begin with `exporter_`; their names must not look like metrics of this
    /// exporter.
    fn push(&mut self, key: &str, value: UnknownValue) {
        let is_name = |b: u8| IS_NAME[usize::from(b)];
        let of_export =
            key.strip_prefix("exporter").filter(|rest| rest.starts_with(|c: char| !c.is_ascii_alphanumeric()));
        let start = self.text.len();
        append(&mut self.text, b"jitsi_");
        if of_export.is_some() {
            append(&mut self.text, b"media_export");
        }
        let mut key_start = self.text.len();
        let end;
        // Without a branch for each byte.
        if of_export.is_none() && key.bytes().fold(true, |all, b| all & is_name(b)) {
            append(&mut self.text, key.as_bytes());
            end = self.text.len();
        } else {
            self.unsorted = true;
            let rest = of_export.unwrap_or(key);
            self.text.extend(rest.chars().map(|c| if c.is_ascii() && is_name(c as u8) { c as u8 } else { b'_' }));
            (key_start, end) = (self.text.len(), self.text.len());
            let shown = |c: char| if matches!(c, '"' | '\\') || c.is_control() { '_' } else { c };
            self.text.extend(key.chars().map(shown).collect::<String>().bytes());
        }
        self.list.push(UnknownStatistic { name: start..end, key: key_start..self.text.len(), value });
    }

    /// Sorts by name. If several have the same name, the first one added stays.
    fn sort(&mut self) {
        let Self { text, list, unsorted } = self;
        let order = |one: &UnknownStatistic, other: &UnknownStatistic| {
            compare(&text[one.name.clone()], &text[other.name.clone()])
        };
        if *unsorted {
            list.sort_by(order);
            list.dedup_by(|later, earlier| order(later, earlier).is_eq());
        }
    }

    /// Removes statistics whose names belong to another family in either format. A parser would see a sample twice, or in the wrong
    /// family. Among unknown statistics, histograms win.
    fn remove_taken(&mut self, reserved: impl Iterator<Item = Names>) {
        // The metrics about the scrape are always present.
        let own = catalogue::OWN.iter().map(|own| (own.name, own.kind.suffixes()));
        let is_histogram = |statistic: &UnknownStatistic| matches!(statistic.value, UnknownValue::Histogram(_));
        let has_histograms = self.list.iter().any(is_histogram);
        let of_samples = &Kind::Histogram.suffixes()[1..];
        let mut name = Vec::new();
        for (base, suffixes) in reserved.chain(own) {
            // The names that begin with the base are neighbours.
            let first = self.list.partition_point(|statistic| compare(self.name(statistic), base.as_bytes()).is_lt());
            let is_near =
                self.list.get(first).is_some_and(|statistic| self.name(statistic).starts_with(base.as_bytes()));
            for suffix in suffixes.iter().filter(|_| is_near || has_histograms) {
                name.clear();
                name.extend(base.bytes().chain(suffix.bytes()));
                self.remove(&name, |_| true);
                let histograms = of_samples.iter().filter(|_| has_histograms);
                let histograms = histograms.filter_map(|end| name.strip_suffix(end.as_bytes()));
                histograms.for_each(|histogram| self.remove(histogram, is_histogram));
            }
        }
        let histograms = self.list.iter().filter(|statistic| is_histogram(statistic));
        let histograms: Vec<_> = histograms.map(|histogram| self.name(histogram).to_owned()).collect();
        let samples =
            histograms.iter().flat_map(|name| of_samples.iter().map(move |end| [name, end.as_bytes()].concat()));
        for name in samples {
            self.remove(&name, |_| true);
        }
    }

    /// Removes the statistic of this name, if there is one.
    fn remove(&mut self, name: &[u8], those: impl Fn(&UnknownStatistic) -> bool) {
        let place = self.list.binary_search_by(|statistic| compare(self.name(statistic), name));
        if let Some(place) = place.ok().filter(|place| those(&self.list[*place])) {
            self.list.remove(place);
        }
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
            ("exporter_build_info", "jitsi_media_export_build_info"),
            ("exporter-x", "jitsi_media_export_x"),
            ("exporter", "jitsi_exporter"),
            ("exporters", "jitsi_exporters"),
            ("a\nb\"c\\d", "jitsi_a_b_c_d"),
        ] {
            let mut unknown = UnknownStatistics::default();
            unknown.push(key, UnknownValue::Number(Number::Unsigned(0)));
            assert_eq!(unknown.iter().next().map(|(name, ..)| name), Some(expected.as_bytes()));
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
