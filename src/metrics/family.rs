//! Makes metric families of a report: decides what is exposed, under which name and type, and which values are left over.
//!
//! This is a pure function of the report, the catalogue and the choice of names. It knows neither how the report was fetched nor
//! how the families are written.

use std::borrow::Cow;
use std::mem;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::ScrapeError;
use crate::metrics::catalogue::{self, Descriptor, INDEX, Index, IndexedRow, Kind, RowSet, Unit, ones};
use crate::metrics::distribution::Distribution;
use crate::metrics::report::{self, Number, Value};
use crate::metrics::unknown::{self, Members, UnknownStatistics};

pub use crate::metrics::catalogue::Naming;

/// A metric family of a statistic that the catalogue lists. Kept small, because a scrape makes about a hundred.
#[derive(Debug)]
pub struct Family {
    /// The number of its descriptor in the naming of the exposition.
    pub number: usize,
    /// The values.
    pub metric: Metric,
}

/// The values of a family.
#[derive(Debug)]
pub enum Metric {
    /// One number.
    Number(Number),
    /// The labels of a sample with the value 1.
    Labels(Vec<(&'static str, Cow<'static, str>)>),
    /// A distribution, as a (gauge) histogram.
    Distribution(Box<Distribution>),
    /// A distribution with its legacy name: one number for each size. Its [`by_size`](Distribution::by_size) is not `None`.
    BySize(Box<Distribution>),
}

impl Family {
    /// The names that belong to this family in either format.
    fn names(&self, names: Naming) -> unknown::Names {
        let descriptor: &Descriptor = INDEX.descriptors(names)[self.number];
        if !descriptor.has_suffix() {
            // A counter with a legacy name, which is of unknown type in OpenMetrics.
            return (descriptor.name, &[""]);
        }
        (descriptor.family_name(), descriptor.kind.suffixes())
    }
}

/// Reads the value of a statistic in the catalogue. `None` if it is not of the kind in the catalogue.
fn metric(row: &IndexedRow, unit: Unit, value: &Value, names: Naming) -> Option<Metric> {
    let number = match row.kind {
        Kind::Gauge => in_unit(row, unit, value.number()?, names)?,
        Kind::Counter => in_unit(row, unit, value.number()?, names).filter(|number| number.as_f64() >= 0.0)?,
        Kind::Boolean => Number::Unsigned(value.boolean()?.into()),
        Kind::Timestamp | Kind::Info | Kind::GaugeHistogram | Kind::Histogram => {
            return other_metric(row, unit, value, names);
        }
    };
    Some(Metric::Number(number))
}

/// The rest of [`metric`]. Separate, because it would make each number dearer.
#[inline(never)]
fn other_metric(row: &IndexedRow, unit: Unit, value: &Value, names: Naming) -> Option<Metric> {
    Some(match (row.kind, names) {
        (Kind::Timestamp, Naming::Standard) => Metric::Number(unix_seconds(value.time()?)?),
        (Kind::Info, _) => Metric::Labels(vec![(row.row.primary().key, label_value(value)?.into())]),
        (Kind::GaugeHistogram, Naming::Legacy) => {
            let distribution = Distribution::read(value)?;
            let _ = distribution.by_size()?;
            Metric::BySize(Box::new(distribution))
        }
        (Kind::GaugeHistogram | Kind::Histogram, _) => {
            let distribution = Distribution::read(value)?;
            let is_base = unit.ratio() == (1, 1);
            let in_unit = |number| in_unit(row, unit, number, names);
            Metric::Distribution(Box::new(if is_base { distribution } else { distribution.convert(in_unit)? }))
        }
        // The older exporters expose a timestamp only if it is a number.
        _ => match value {
            Value::Number(number) => Metric::Number(*number),
            _ => return None,
        },
    })
}

/// A number in the unit in which it is exposed.
fn in_unit(row: &IndexedRow, unit: Unit, number: Number, names: Naming) -> Option<Number> {
    convert(number, unit, (names == Naming::Legacy).then_some(row.legacy_unit))
}

/// The families of a report.
#[derive(Debug, Default)]
pub struct Families {
    /// The naming of the descriptors.
    pub names: Naming,
    /// The families of statistics in the catalogue, in its order.
    pub list: Vec<Family>,
    /// The other statistics, sorted by name, because the bridge sends them in the order of a hash table.
    pub unknown: UnknownStatistics,
    /// The number of values of the report that are not in any family.
    pub unexposed: u64,
    /// The number of keys in the catalogue that are exposed as a number or boolean, as expected.
    pub readable: usize,
    /// Whether this is a report of Jicofo, which also sends `conferences` and some other keys of a bridge.
    pub is_of_jicofo: bool,
}

/// Keys that every release of Jicofo sends in `/stats` or `/metrics`, and bridges do not send. Whole keys are compared, because a
/// later bridge may send a key with the same beginning.
const KEYS_OF_JICOFO: [&str; 2] = ["bridge_selector", "bridge_selector_bridge_count"];

/// Reads a response into families.
///
/// If several statistics have one name, the first wins; the metrics about the scrape win over all. If a report contains both keys
/// of a statistic, the key of `/colibri/stats` wins.
///
/// # Errors
///
/// If the response is not a report.
pub fn read(body: &[u8], names: Naming) -> Result<Families, ScrapeError> {
    let mut report = collect(body)?;
    let (list, readable) = choose(&mut report, names);
    let is_of_jicofo = report.is_of_jicofo;
    let (unknown, unexposed) = left_over(report, list.iter().map(|family| family.names(names)));
    Ok(Families { names, list, unknown, unexposed, readable, is_of_jicofo })
}

/// The values of a report. If a key occurs twice, the last value counts.
struct Collected<'a> {
    /// The values of keys in the catalogue.
    known: Vec<Known<'a>>,
    /// For each key in the catalogue, the place of its value in `known`, or [`ABSENT`].
    places: [u16; Index::MAX_KEYS],
    /// The rows with a value.
    rows: RowSet,
    /// The values of all other keys.
    unknown: Members<'a>,
    is_of_jicofo: bool,
}

/// Not the place of a value.
const ABSENT: u16 = u16::MAX;

/// The value of a key in the catalogue.
#[derive(Clone, Copy, Debug)]
struct Known<'a> {
    value: Value<'a>,
    /// The number of the key.
    key: u16,
    /// Whether there is a value that is not in a family. It can be in two.
    unexposed: bool,
}

/// The first step: collects the values of the report.
fn collect(body: &[u8]) -> Result<Collected<'_>, ScrapeError> {
    let index = &*INDEX;
    let mut known: Vec<Known> = Vec::with_capacity(ROOM);
    let mut places = [ABSENT; Index::MAX_KEYS];
    let mut rows = RowSet::default();
    let mut unknown = Members::default();
    let mut is_of_jicofo = false;
    report::read(body, |key, value| {
        let Some(number) = index.number(&key) else {
            is_of_jicofo |= KEYS_OF_JICOFO.contains(&&*key);
            unknown.push(key, value);
            return;
        };
        let place = &mut places[usize::from(number)];
        if let Some(earlier) = known.get_mut(usize::from(*place)) {
            earlier.value = value;
            return;
        }
        *place = u16::try_from(known.len()).unwrap_or(ABSENT);
        known.push(Known { value, key: number, unexposed: true });
        for (rows, of_key) in rows.iter_mut().zip(index.keys()[usize::from(number)].rows) {
            *rows |= of_key;
        }
    })?;
    Ok(Collected { known, places, rows, unknown, is_of_jicofo })
}

/// The second step: makes a family for each statistic that can be read, and marks the values that are used. Also returns how many
/// of these values are numbers and booleans.
fn choose(Collected { known, places, rows, .. }: &mut Collected, names: Naming) -> (Vec<Family>, usize) {
    let index = &*INDEX;
    let mut families: Vec<Family> = Vec::with_capacity(ROOM);
    let mut readable = 0;
    let mut last = None;
    for (place, row) in ones(*rows).map(|place| (place, &index.rows[place])) {
        // Rows with the same name are either labels of one info metric, or two keys of one statistic, of which the first wins.
        let name = Some(row.first_of_name[names as usize]);
        let is_same = last == name;
        if is_same && row.kind != Kind::Info {
            continue;
        }
        // Of the sources of a row, the first that can be read wins, too.
        let read = |&(unit, key): &(Unit, u16)| {
            let place = usize::from(places[usize::from(key)]);
            Some((place, metric(row, unit, &known.get(place)?.value, names)?))
        };
        let Some((source, metric)) = row.sources.iter().flatten().find_map(read) else { continue };
        let is_first = mem::take(&mut known[source].unexposed);
        readable += usize::from(is_first && row.kind.is_number());
        let again = match metric {
            Metric::Number(number) if names == Naming::Legacy => row.unprefixed.map(|name| (name, number)),
            _ => None,
        };
        match (metric, families.last_mut().filter(|_| is_same)) {
            (Metric::Labels(more), Some(Family { metric: Metric::Labels(labels), .. })) => labels.extend(more),
            (metric, _) => families.push(Family { number: catalogue::OWN.len() + place, metric }),
        }
        if let Some((name, number)) = again {
            families.push(Family { number: name, metric: Metric::Number(number) });
        }
        last = name;
    }
    (families, readable)
}

/// The third step: collects the statistics that are not in the catalogue, and counts the values that are not in any family.
/// `reserved` are the names of the families.
fn left_over(
    Collected { known, mut unknown, .. }: Collected,
    reserved: impl Iterator<Item = unknown::Names>,
) -> (UnknownStatistics, u64) {
    let mut lost = 0;
    for known in known.iter().filter(|known| known.unexposed) {
        let key = &INDEX.keys()[usize::from(known.key)];
        let is_distribution = ones(key.rows).any(|row| INDEX.rows[row].kind.is_distribution());
        match known.value {
            // If a statistic of the catalogue has become an object, its members are unknown statistics.
            object @ Value::Object(_) if !is_distribution => unknown.push(key.text.into(), object),
            _ => lost += 1,
        }
    }
    let (unknown, unexposed) = unknown::find(unknown, reserved);
    (unknown, unexposed + lost)
}

/// Capacity for the families of a current bridge.
const ROOM: usize = 120;

/// Converts a number of the bridge to another unit, or to the base unit. An integer stays an integer if the result is whole.
/// `None` if the result is beyond the range of a float.
fn convert(number: Number, from: Unit, to: Option<Unit>) -> Option<Number> {
    let ((times, over), (over_again, times_again)) = (from.ratio(), to.map_or((1, 1), Unit::ratio));
    let (times, over) = (u64::from(times * times_again), u64::from(over * over_again));
    if times == over {
        return Some(number);
    }
    let converted = match number {
        Number::Unsigned(n) if n.checked_mul(times).is_some_and(|n| n % over == 0) => {
            Number::Unsigned(n * times / over)
        }
        // Divided by the float, never multiplied by its reciprocal: 3 * 0.001 is not 0.003.
        #[expect(clippy::cast_precision_loss, reason = "the factors are small")]
        _ => Number::Float(number.as_f64() * times as f64 / over as f64),
    };
    let overflowed = converted.as_f64().is_infinite() && number.as_f64().is_finite();
    (!overflowed).then_some(converted)
}

/// The text of an info label. A number is accepted as well.
fn label_value(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        _ => value.string().map(Cow::into_owned),
    }
}

/// A time as Unix time.
fn unix_seconds(time: SystemTime) -> Option<Number> {
    #[expect(clippy::cast_precision_loss, reason = "four digits of year are far from 2^53 milliseconds")]
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_millis() as f64 / 1000.0;
    Some(Number::Float(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_of_a_report() {
        let read = |text: &str| unix_seconds(Value::Text(&format!("\"{text}\"")).time()?);
        for (text, seconds) in [
            ("1970-01-01 00:00:00.000", 0.0),
            ("2014-08-15 12:10:44.120", 1_408_104_644.12),
            ("2020-02-29 23:59:59.999", 1_583_020_799.999),
            ("2026-08-20 07:30:10.030", 1_787_211_010.03),
            ("2026-08-20T07:30:10.030Z", 1_787_211_010.03),
            ("2026-08-20T07:30:10.030+00:00", 1_787_211_010.03),
            ("2026-08-20 07:30:10", 1_787_211_010.0),
        ] {
            assert_eq!(read(text), Some(Number::Float(seconds)), "{text}");
        }
        for text in [
            "",
            "2026-02-29 00:00:00.000",
            "2026-13-01 00:00:00.000",
            "2026-00-01 00:00:00.000",
            "2026-01-00 00:00:00.000",
            "2026-01-01 24:00:00.000",
            "2026-01-01 00:60:00.000",
            "2026-01-01 00:00:61.000",
            "1969-12-31 23:59:59.999",
            "2026-01-01 00:00:+1.000",
            "2026-01-01 00:00:00,000",
            "2026-08-20 07:30:10.030+02:00",
            "2026-08-20 07:30:10+02:00",
            "2026-08-20T07:30:10.030-02:00",
            "2026-01-0\u{661} 00:00:00.00",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn converts_to_base_units_without_losing_a_digit() {
        use Number::{Float, Negative, Unsigned};
        for (number, unit, converted) in [
            (Float(52.3125), Unit::Milliseconds, Float(52.3125 / 1000.0)),
            (Unsigned(3), Unit::Milliseconds, Float(0.003)),
            (Unsigned(982_331_004_000), Unit::Milliseconds, Unsigned(982_331_004)),
            (Unsigned(2490), Unit::KilobitsPerSecond, Unsigned(311_250)),
            (Float(2490.713), Unit::KilobitsPerSecond, Float(2490.713 * 125.0)),
            (Unsigned(618_020), Unit::BitsPerSecond, Float(77_252.5)),
            (Unsigned(512_440), Unit::BitsPerSecond, Unsigned(64_055)),
            (Unsigned(8363), Unit::Megabytes, Unsigned(8_363_000_000)),
            (Unsigned(u64::MAX), Unit::Megabytes, Float(18_446_744_073_709_551_615.0 * 1e6)),
            (Negative(-8), Unit::BitsPerSecond, Float(-1.0)),
            (Unsigned(u64::MAX), Unit::Bytes, Unsigned(u64::MAX)),
        ] {
            assert_eq!(convert(number, unit, None), Some(converted), "{number:?} {unit:?}");
            assert_eq!(convert(number, unit, Some(unit)), Some(number), "{number:?} {unit:?}");
        }
        assert_eq!(convert(Float(1e307), Unit::KilobitsPerSecond, None), None);
        for (number, converted) in [
            (Unsigned(2_943_000), Unsigned(2943)),
            (Unsigned(2_942_921), Float(2942.921)),
            (Float(1500.5), Float(1.5005)),
            (Unsigned(u64::MAX), Float(18_446_744_073_709_551_615.0 / 1000.0)),
        ] {
            assert_eq!(convert(number, Unit::BitsPerSecond, Some(Unit::KilobitsPerSecond)), Some(converted));
        }
    }
}
