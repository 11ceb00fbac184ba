//! From a report to metric families: what is exposed, under which name and type, and what is left over.
//!
//! A pure function of the report, the catalogue and the naming. It knows neither how the report was fetched nor how the families
//! are written.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::ScrapeError;
use crate::metrics::catalogue::{self, Descriptor, KEYS, Kind, Row, Source, Unit};
use crate::metrics::distribution::Distribution;
use crate::metrics::report::{self, Number, Value};
use crate::metrics::unknown::{self, UnknownStatistic};

/// How metrics are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As in the catalogue: base units, counters end in `_total`.
    Standard,
    /// `jitsi_<key>` with the bridge's own value, as the older exporters have it.
    Legacy,
}

/// The samples of one name, with what is known about them.
///
/// Kept small, because a scrape makes about a hundred: a statistic of the catalogue refers to its row.
#[derive(Debug)]
pub struct Family {
    about: About,
    /// The type and the values.
    pub metric: Metric,
}

#[derive(Debug)]
enum About {
    Known(&'static Descriptor),
    Unknown(UnknownStatistic),
}

/// A metric's type with its values.
#[derive(Debug)]
pub enum Metric {
    /// A number that can go up and down.
    Gauge(Number),
    /// A number that only grows: never negative, never NaN.
    Counter(Number),
    /// A number of unknown type.
    Unknown(Number),
    /// A gauge for each value of one label.
    Labelled(&'static str, Vec<(Cow<'static, str>, Number)>),
    /// A gauge of 1 with these labels.
    State(Vec<(&'static str, String)>),
    /// The labels of an info metric.
    Info(Vec<(&'static str, String)>),
    /// A distribution of what exists now.
    Sizes(Box<Distribution>),
    /// A distribution that accumulates.
    Histogram(Box<Distribution>),
}

impl Family {
    /// A family that the catalogue describes.
    #[must_use]
    pub const fn new(descriptor: &'static Descriptor, metric: Metric) -> Self {
        Self { about: About::Known(descriptor), metric }
    }

    /// A family of a statistic that the catalogue does not have.
    #[must_use]
    pub fn unknown(statistic: UnknownStatistic) -> Self {
        Self { metric: Metric::Unknown(statistic.number), about: About::Unknown(statistic) }
    }

    /// The name of the sample as Prometheus stores it, `_total` and `_info` included.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.about {
            About::Known(descriptor) => descriptor.name,
            About::Unknown(statistic) => statistic.name(),
        }
    }

    /// The name without the suffix of the kind and without the unit.
    #[must_use]
    pub fn stem(&self) -> &str {
        match &self.about {
            About::Known(descriptor) => descriptor.stem,
            About::Unknown(statistic) => statistic.name(),
        }
    }

    /// The unit.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        match &self.about {
            About::Known(descriptor) => descriptor.unit,
            About::Unknown(..) => None,
        }
    }

    /// One sentence, safe to be written as it is.
    #[must_use]
    pub fn help(&self) -> &str {
        match &self.about {
            About::Known(descriptor) => descriptor.help,
            About::Unknown(statistic) => statistic.help(),
        }
    }

    /// The names that belong to it in either format.
    fn names(&self) -> unknown::Names<'_> {
        let name = self.name();
        match self.metric {
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

    /// A statistic of the catalogue; `None` if the value is not what the catalogue says it is.
    fn known(row: &'static Row, source: Source, value: &Value, names: Naming) -> Option<Self> {
        let (descriptor, unit) = match names {
            Naming::Standard => (&row.standard, None),
            Naming::Legacy => (&row.legacy, Some(row.primary().unit)),
        };
        let number = |value: &Value| convert(value.number()?, source.unit, unit);
        let metric = match row.kind {
            Kind::Gauge => Metric::Gauge(number(value)?),
            Kind::Counter => Metric::Counter(number(value).filter(|number| number.as_f64() >= 0.0)?),
            Kind::Boolean => Metric::Gauge(Number::Unsigned(value.boolean()?.into())),
            Kind::Timestamp if names == Naming::Standard => Metric::Gauge(unix_seconds(value.time()?)?),
            // Older exporters expose it only if it is a number.
            Kind::Timestamp => match value {
                Value::Number(number) => Metric::Gauge(*number),
                _ => return None,
            },
            Kind::Info => Metric::Info(vec![(row.primary().key, label_value(value)?)]),
            Kind::Sizes if names == Naming::Standard => Metric::Sizes(Box::new(Distribution::read(value)?)),
            Kind::Sizes => {
                let distribution = Distribution::read(value)?;
                let sample = |(size, count): (usize, u64)| (size.to_string().into(), Number::Unsigned(count));
                Metric::Labelled("conference_size", distribution.by_size()?.map(sample).collect())
            }
            Kind::Histogram => Metric::Histogram(Box::new(Distribution::read(value)?)),
        };
        Some(Self::new(descriptor, metric))
    }
}

/// The families of a report.
#[derive(Debug, Default)]
pub struct Families {
    /// Those of the catalogue, in its order, then unknown statistics by name: the order does not depend on the bridge's hash
    /// table.
    pub list: Vec<Family>,
    /// How many values of the report are not in any of them.
    pub unexposed: u64,
    /// Whether the report has a statistic of a bridge, readable or not. Labels of the info metric do not count: `/about/version`
    /// has a `version` too.
    pub is_of_bridge: bool,
    /// Whether it is the report of Jicofo, which shares `conferences` and others with the bridge.
    pub is_of_jicofo: bool,
}

/// Keys that every release of Jicofo sends in `/stats` or `/metrics`, and that no bridge sends. Whole keys, because a later bridge
/// may send one with the same beginning.
const KEYS_OF_JICOFO: [&str; 2] = ["bridge_selector", "bridge_selector_bridge_count"];

/// Reads a response into families.
///
/// If several statistics have one name, the first wins, and the metrics about the scrape win over all. Of the two keys of a
/// statistic, that of `/colibri/stats` wins.
///
/// # Errors
///
/// If the response is not a report.
pub fn read(body: &[u8], names: Naming) -> Result<Families, ScrapeError> {
    let mut known = vec![Known::default(); KEYS.count()];
    let mut unknown = unknown::Members::default();
    let mut is_of_jicofo = false;
    report::read(body, |key, value| {
        if let Some(number) = KEYS.number(&key) {
            // If a key comes twice, the last value counts.
            known[number] = Known { value: Some(value), exposed: false };
        } else {
            is_of_jicofo |= KEYS_OF_JICOFO.contains(&&*key);
            unknown.push(key, value);
        }
    })?;

    let mut families: Vec<Family> = Vec::with_capacity(ROOM);
    let mut is_of_bridge = false;
    for (row, sources) in KEYS.rows() {
        let mut done = false;
        for &(source, number) in sources {
            let Known { value: Some(value), exposed } = &mut known[number] else { continue };
            is_of_bridge |= row.kind != Kind::Info;
            // The members of a statistic that has become an object are unknown statistics.
            if is_several(row, value) && !*exposed {
                unknown.push(source.key.into(), *value);
                *exposed = true;
                continue;
            }
            // Of two keys, the first that can be read wins.
            if done {
                continue;
            }
            match (Family::known(row, source, value, names), families.last_mut()) {
                (None, _) => continue,
                // Rows that share a name are labels of one info metric, or one statistic under two keys; then the first wins.
                (Some(family), Some(last)) if last.name() == family.name() => match (&mut last.metric, family.metric) {
                    (Metric::Info(labels), Metric::Info(more)) => labels.extend(more),
                    _ => continue,
                },
                (Some(family), _) => {
                    let again = match family.metric {
                        Metric::Counter(number) if names == Naming::Legacy => catalogue::unprefixed(row)
                            .map(|descriptor| Family::new(descriptor, Metric::Counter(number))),
                        _ => None,
                    };
                    families.push(family);
                    families.extend(again);
                }
            }
            *exposed = true;
            done = true;
        }
    }
    let lost = known.iter().filter(|known| known.value.is_some() && !known.exposed).count();
    let (unknown, unexposed) = unknown::find(unknown, families.iter().map(Family::names));
    families.extend(unknown.into_iter().map(Family::unknown));
    let unexposed = unexposed + lost as u64;
    Ok(Families { list: families, unexposed, is_of_bridge, is_of_jicofo })
}

/// Room for the families of a current bridge, and for those about the scrape, which are inserted before them.
const ROOM: usize = 120;

/// The value of a key of the catalogue.
#[derive(Clone, Copy, Debug, Default)]
struct Known<'a> {
    value: Option<Value<'a>>,
    /// Whether it is in a family. One value can be in two.
    exposed: bool,
}

/// Whether a statistic that is a single value in the catalogue is an object now.
fn is_several(row: &Row, value: &Value) -> bool {
    !matches!(row.kind, Kind::Sizes | Kind::Histogram) && matches!(value, Value::Object(_))
}

/// A number of the bridge in another unit, or in the base unit. Integers stay integers if the result is one. `None` if the
/// result is beyond the range of a float.
fn convert(number: Number, from: Unit, to: Option<Unit>) -> Option<Number> {
    let ((times, over), (over_again, times_again)) = (from.ratio(), to.map_or((1, 1), Unit::ratio));
    let (times, over) = (u64::from(times * times_again), u64::from(over * over_again));
    let converted = match number {
        _ if times == over => number,
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

/// The text of an info label. A number is accepted as well: a release is one, in a string.
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
