//! Properties that hold for every report, tried on generated ones: any JSON under any key, known and unknown, in both namings
//! and both formats. What a generator rarely comes near stands at the end.

#![allow(clippy::cast_precision_loss, reason = "the nearest float is what is expected")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use jitsiexporter::metrics::catalogue::{self, Kind, ROWS, Row, Source, Unit};
use jitsiexporter::metrics::distribution::MAX_BUCKETS;
use jitsiexporter::metrics::family::Naming::{self, Legacy, Standard};
use jitsiexporter::metrics::format::Format::{self, OpenMetrics, Text};
use jitsiexporter::metrics::unknown::{MAX_KEY, MAX_KEYS, MAX_UNKNOWN};
use jitsiexporter::scrape::expose;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use support::exposition::{check_scrape, members};
use support::{CURRENT, Exposition, fixtures, json_files};
use time::OffsetDateTime;
use time::macros::format_description;

fn scrape(body: &str, names: Naming, format: Format) -> Exposition {
    Exposition::of(&expose(Ok(body.as_bytes()), || Duration::from_millis(1), names, format).text)
}

/// A string as JSON.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A report of these members, each a key and a value in JSON.
fn report(members: &[(String, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(key, value)| format!("{}: {value}", quoted(key))).collect();
    format!("{{{}}}", members.join(", "))
}

/// Enough statistics for the report of a bridge, but for those under test.
fn of_a_bridge(under_test: &[&str]) -> Vec<(String, String)> {
    let keys = ["muc_clients_connected", "mucs_joined", "largest_conference"].into_iter();
    keys.filter(|key| !under_test.contains(key)).map(|key| (key.to_owned(), "1".to_owned())).collect()
}

/// Every key of the catalogue, with its row.
fn sources() -> Vec<(&'static Row, Source)> {
    ROWS.iter().flat_map(|row| row.sources().map(move |source| (row, source))).collect()
}

fn known_key() -> impl Strategy<Value = String> {
    select(sources()).prop_map(|(_, source)| source.key.to_owned())
}

/// The suffixes that the types append to their names.
const SUFFIXES: &[&str] = &["", "_total", "_info", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_created", "_"];

/// Keys that end in a name that is taken, or nearly.
fn clashing_key() -> impl Strategy<Value = String> {
    let names = ROWS.iter().flat_map(|row| [row.standard.name, row.legacy.name]);
    let names: Vec<_> = names.chain(catalogue::OWN.iter().map(|own| own.name)).collect();
    (select(names), select(SUFFIXES), select(SUFFIXES)).prop_map(|(name, less, more)| nearly(name, less, more))
}

/// A key that ends in the name with another suffix.
fn nearly(name: &str, less: &str, more: &str) -> String {
    let name = name.strip_prefix("jitsi_").unwrap_or(name);
    format!("{}{more}", name.strip_suffix(less).unwrap_or(name))
}

/// Keys that no bridge has.
fn foreign_key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-cA-C_ .:-]{0,4}",
        2 => any::<String>(),
        1 => "[a-z]{195,205}",
    ]
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![3 => known_key(), 2 => clashing_key(), 2 => foreign_key()]
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..1000u16).prop_map(|number| number.to_string()),
        proptest::num::f64::NORMAL.prop_map(|number| format!("{number:?}")),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    ]
}

/// What bridges have sent.
const ODD: &[&str] = &[
    "null",
    "true",
    "false",
    "\"\"",
    "\"NaN\"",
    "\"-Infinity\"",
    "\"1,5\"",
    "\"[]\"",
    "\"[1, 0, 2]\"",
    "[]",
    "{}",
    "1e400",
    "\"\\ud800\"",
    "\"2026-08-20 07:30:10.030\"",
    "{\"total_value\": 1, \"buckets\": {\"<= 7\": 1, \"> 7\": 2}}",
    "{\"bucket_le_0.0\": 1.0, \"bucket_le_+Inf\": 2.0, \"count\": 2.0, \"sum\": 3.0, \"created\": 1.7E9}",
    "{\"bucket_le_0.0\": 3.0, \"bucket_le_+Inf\": 2.0, \"count\": 2.0, \"sum\": 3.0}",
    "{\"bucket_le_0.0\": 3.0, \"count\": 3.0, \"sum\": 3.0}",
];

/// Any JSON at all, and more often than by chance what bridges have sent.
fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => any_number(),
        1 => any_number().prop_map(|number| format!("\"{number}\"")),
        1 => any::<String>().prop_map(|text| quoted(&text)),
        1 => "[ -~]{100,300}".prop_map(|text| quoted(&text)),
        3 => select(ODD).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 16, 5, |inner| {
        let object = vec((prop_oneof![foreign_key(), known_key()], inner.clone()), 0..5);
        prop_oneof![
            vec(inner, 0..5).prop_map(|elements| format!("[{}]", elements.join(","))),
            object.prop_map(|members| report(&members)),
        ]
    })
}

/// A value that is exposed.
fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge | Kind::Counter => "7",
        Kind::Boolean => "true",
        Kind::Timestamp => "\"2026-08-20 07:30:10.030\"",
        Kind::Info => "\"x\"",
        Kind::GaugeHistogram => "[1, 0, 2]",
        Kind::Histogram => "{\"total_value\": 1, \"buckets\": {\"<= 7\": 1, \"> 7\": 2}}",
    }
}

/// A statistic with a value that will be exposed, and beside it a key that ends in one of its names, or nearly.
fn clash() -> impl Strategy<Value = Vec<(String, String)>> {
    (select(sources()), any::<bool>(), select(SUFFIXES), select(SUFFIXES), any::<bool>()).prop_map(
        |((row, source), legacy, less, more, before)| {
            let other = nearly(if legacy { row.legacy.name } else { row.standard.name }, less, more);
            let mut members = vec![(source.key.to_owned(), example(row.kind).to_owned()), (other, "5".to_owned())];
            if before {
                members.reverse();
            }
            members
        },
    )
}

fn any_members() -> impl Strategy<Value = Vec<(String, String)>> {
    let single = (any_key(), any_value()).prop_map(|member| vec![member]);
    vec(prop_oneof![3 => single, 1 => clash()], 0..10).prop_map(|members| members.concat())
}

/// The names, and with them the types, that the families of a report may have in `OpenMetrics`: nothing the bridge did not say.
fn allowed(body: &str, names: Naming) -> BTreeSet<(String, &'static str)> {
    fn unknown(object: &str, prefix: &str, allowed: &mut BTreeSet<(String, &'static str)>) {
        for (key, value) in members(object).unwrap() {
            let path = format!("{prefix}{key}");
            let has_buckets = |members: BTreeMap<String, _>| members.keys().any(|key| key.starts_with("bucket_le_"));
            let valid = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let name: String = format!("jitsi_{path}").chars().map(valid).collect();
            let name = name.replacen("jitsi_exporter_", "jitsi_media_export_", 1);
            if members(value.get()).is_some_and(has_buckets) {
                allowed.insert((name, "histogram"));
            } else if value.get().starts_with('{') {
                // A statistic that has become several is an object like any other.
                unknown(value.get(), &format!("{path}_"), allowed);
            } else if !prefix.is_empty() || sources().iter().all(|(_, source)| source.key != key) {
                allowed.insert((name, "unknown"));
            }
        }
    }
    let mut allowed = BTreeSet::new();
    unknown(body, "", &mut allowed);
    let report = members(body).unwrap();
    for row in ROWS.iter().filter(|row| row.sources().any(|source| report.contains_key(source.key))) {
        let name = if names == Standard { row.standard.name } else { row.legacy.name };
        let (suffix, kind) = match (row.kind, names) {
            (Kind::Counter, _) if name.ends_with("_total") => ("_total", "counter"),
            // OpenMetrics allows no counter whose name does not end so.
            (Kind::Counter, _) => ("", "unknown"),
            (Kind::GaugeHistogram, Standard) => ("", "gaugehistogram"),
            (Kind::Histogram, _) => ("", "histogram"),
            _ => ("", "gauge"),
        };
        allowed.insert((name.strip_suffix(suffix).unwrap_or(name).to_owned(), kind));
        if let Some(second) = catalogue::unprefixed(row).filter(|_| names == Legacy) {
            allowed.insert((second.name.to_owned(), kind));
        }
    }
    allowed
}

/// A good value of a statistic: as it may be written, and the samples that are exposed of it in standard and in legacy names.
#[derive(Clone, Debug)]
struct Good {
    written: String,
    standard: Vec<(String, String)>,
    legacy: Vec<(String, String)>,
}

/// Whether a value is the expected one: an integer to the last digit, a float to the last bit.
fn is(value: &str, expected: &str) -> bool {
    let bits = |text: &str| text.parse::<f64>().expect("a number").to_bits();
    value == expected || expected.contains(['.', 'e']) && bits(value) == bits(expected)
}

/// An integer in the unit of the bridge, in another unit. Below zero it keeps its digits only if nothing is converted.
fn integer_in(number: i128, (factor, divisor): (u32, u32)) -> String {
    let exact = number * i128::from(factor);
    let whole = exact % i128::from(divisor) == 0 && (0..=i128::from(u64::MAX)).contains(&(exact / i128::from(divisor)));
    let fits = (0..=i128::from(u64::MAX)).contains(&exact);
    if whole && fits || factor == divisor {
        (exact / i128::from(divisor)).to_string()
    } else {
        float_in(number as f64, (factor, divisor))
    }
}

fn float_in(number: f64, (factor, divisor): (u32, u32)) -> String {
    format!("{:?}", if divisor > 1 { number / f64::from(divisor) } else { number * f64::from(factor) })
}

/// How many base units one unit is.
fn in_base(unit: Unit) -> (u32, u32) {
    match unit {
        Unit::Milliseconds => (1, 1000),
        Unit::BitsPerSecond => (1, 8),
        Unit::KilobitsPerSecond => (125, 1),
        Unit::Megabytes => (1_000_000, 1),
        Unit::Plain | Unit::Seconds | Unit::Bytes | Unit::PacketsPerSecond | Unit::DateTime => (1, 1),
    }
}

/// How many units of legacy names, which are those of `/colibri/stats`, one unit is.
fn in_legacy(row: &Row, unit: Unit) -> (u32, u32) {
    match (unit, row.stats.map(|source| source.unit)) {
        (Unit::BitsPerSecond, Some(Unit::KilobitsPerSecond)) => (1, 1000),
        (unit, other) => {
            assert_eq!(unit, other.unwrap_or(unit), "no legacy unit for {}", row.legacy.name);
            (1, 1)
        }
    }
}

fn good_number(row: &'static Row, unit: Unit) -> BoxedStrategy<Good> {
    let good = |written, standard, legacy: String| {
        let mut names = vec![row.legacy.name];
        // One of the older exporters has these without the prefix.
        names.extend(catalogue::unprefixed(row).map(|second| second.name));
        Good {
            written,
            standard: vec![(row.standard.name.to_owned(), standard)],
            legacy: names.into_iter().map(|name| (name.to_owned(), legacy.clone())).collect(),
        }
    };
    // A counter does not go below zero.
    let (lowest, least) = if row.kind == Kind::Gauge { (i64::MIN, -1e15) } else { (0, 0.0) };
    let small = if row.kind == Kind::Gauge { -5000..5000 } else { 0..5000i64 };
    let whole = prop_oneof![
        any::<u64>().prop_map(i128::from),
        (lowest..=i64::MAX).prop_map(i128::from),
        small.prop_map(i128::from),
    ];
    let integer = (whole, any::<bool>()).prop_map(move |(number, in_string)| {
        let written = if in_string { format!("\"{number}\"") } else { number.to_string() };
        good(written, integer_in(number, in_base(unit)), integer_in(number, in_legacy(row, unit)))
    });
    let float = (least..1e15f64, 0..3u8).prop_map(move |(number, how)| {
        let written = match how {
            0 => format!("{number:?}"),
            1 => format!("\"{number:?}\""),
            // As a Java in a German locale prints it.
            _ => format!("\"{}\"", format!("{number:?}").replace('.', ",")),
        };
        good(written, float_in(number, in_base(unit)), float_in(number, in_legacy(row, unit)))
    });
    prop_oneof![integer, float].boxed()
}

fn good_sizes(row: &'static Row) -> BoxedStrategy<Good> {
    let counts = vec(0..1_000_000u64, 1..30);
    // In an array, the last element stands for that size or more; in buckets, the sum is exact.
    (counts, 0..3u8, 0..1000u64)
        .prop_map(|(counts, form, more)| {
            let (name, last) = (row.standard.name, counts.len() - 1);
            let (mut standard, mut legacy, mut cumulative, mut sum) = (Vec::new(), Vec::new(), 0, 0);
            let mut buckets = String::new();
            for (size, count) in counts.iter().enumerate() {
                cumulative += count;
                sum += count * size as u64;
                let le = if size == last { "+Inf".to_owned() } else { format!("{size}.0") };
                let _ = write!(buckets, "\"bucket_le_{le}\": {cumulative}.0, ");
                standard.push((format!("{name}_bucket{{le=\"{le}\"}}"), cumulative.to_string()));
                legacy.push((format!("{}{{conference_size=\"{size}\"}}", row.legacy.name), count.to_string()));
            }
            let (written, sum) = match form {
                0 => (format!("{counts:?}"), sum),
                1 => (format!("\"{counts:?}\""), sum),
                _ => (format!("{{{buckets}\"count\": {cumulative}.0, \"sum\": {}}}", sum + more), sum + more),
            };
            standard.push((format!("{name}_gcount"), cumulative.to_string()));
            standard.push((format!("{name}_gsum"), sum.to_string()));
            Good { written, standard, legacy }
        })
        .boxed()
}

fn good_histogram(row: &'static Row, unit: Unit) -> BoxedStrategy<Good> {
    let buckets = btree_map(any::<u32>(), 0..1_000_000u64, 1..10);
    (buckets, 0..1_000_000u64, 0..1u64 << 50, any::<bool>())
        .prop_map(move |(buckets, above, sum, native)| {
            let (mut old, mut new, mut cumulative, mut bounds) = (String::new(), String::new(), 0, Vec::new());
            for (bound, count) in buckets {
                cumulative += count;
                let _ = write!(old, "\"<= {bound}\": {count}, ");
                let _ = write!(new, "\"bucket_le_{bound}.0\": {cumulative}.0, ");
                bounds.push((Some(f64::from(bound)), cumulative));
            }
            let count = cumulative + above;
            bounds.push((None, count));
            let samples = |name: &str, ratio| {
                let le = |bound: &Option<f64>| bound.map_or_else(|| "+Inf".to_owned(), |bound| float_in(bound, ratio));
                let bucket =
                    |(bound, count): &(_, u64)| (format!("{name}_bucket{{le=\"{}\"}}", le(bound)), count.to_string());
                let sum = float_in(sum as f64, ratio);
                let rest = [(format!("{name}_count"), count.to_string()), (format!("{name}_sum"), sum)];
                bounds.iter().map(bucket).chain(rest).collect()
            };
            let written = if native {
                format!(
                    "{{\"created\": 1.7E9, {new}\"bucket_le_+Inf\": {count}, \"count\": {count}, \"sum\": {sum}.0}}"
                )
            } else {
                format!(
                    "{{\"average\": 5, \"total_value\": {sum}, \"buckets\": {{{old}\"> 9\": {above}, \"p99<=\": 3}}}}"
                )
            };
            let (standard, legacy) = (in_base(unit), in_legacy(row, unit));
            Good { written, standard: samples(row.standard.name, standard), legacy: samples(row.legacy.name, legacy) }
        })
        .boxed()
}

/// A time since 1970 as a bridge writes it.
fn date_time(milliseconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    let time = OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(milliseconds);
    quoted(&time.format(&format).unwrap())
}

fn good_time(row: &'static Row) -> BoxedStrategy<Good> {
    // Up to the year 2243.
    let times = (0..100_000 * DAY).prop_map(|milliseconds| {
        let standard = vec![(row.standard.name.to_owned(), float_in(milliseconds as f64, (1, 1000)))];
        Good { written: date_time(milliseconds), standard, legacy: Vec::new() }
    });
    times.boxed()
}

/// In milliseconds.
const DAY: i64 = 86_400_000;

/// A statistic with a good value. Info is not among them: all of it shares one sample, and has a property of its own.
fn good() -> impl Strategy<Value = (&'static Row, Source, Good)> {
    let of = |kind| select(sources().into_iter().filter(|(row, _)| row.kind == kind).collect::<Vec<_>>());
    let row = prop_oneof![
        3 => of(Kind::Gauge),
        3 => of(Kind::Counter),
        1 => of(Kind::Boolean),
        1 => of(Kind::GaugeHistogram),
        1 => of(Kind::Histogram),
        1 => of(Kind::Timestamp),
    ];
    row.prop_flat_map(|(row, source)| {
        let good = match row.kind {
            Kind::Gauge | Kind::Counter => good_number(row, source.unit),
            Kind::Boolean => select(vec![("true", 1), ("false", 0), ("1", 1), ("0", 0), ("\"true\"", 1), ("\"0\"", 0)])
                .prop_map(|(written, value): (&str, u8)| {
                    let sample = |name: &str| vec![(name.to_owned(), value.to_string())];
                    let (standard, legacy) = (sample(row.standard.name), sample(row.legacy.name));
                    Good { written: written.to_owned(), standard, legacy }
                })
                .boxed(),
            Kind::GaugeHistogram => good_sizes(row),
            Kind::Histogram => good_histogram(row, source.unit),
            Kind::Timestamp => good_time(row),
            Kind::Info => unreachable!("filtered out"),
        };
        (Just(row), Just(source), good)
    })
}

/// The texts that are labels, in the order of the catalogue.
const INFO: [&str; 4] = ["version", "release", "region", "relay_id"];

/// A text, and more often than by chance one that is long, or that a careless reader or writer would change.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ \t\r\n\"\\\\n]{0,6}", "[ -~]{100,300}"]
}

fn config() -> ProptestConfig {
    // The seeds of failures are not kept: what is found becomes a test below.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) }
}

proptest! {
    #![proptest_config(config())]

    /// Valid in both formats, which agree; no sample twice; every value exposed or counted; the same text each time
    /// ([`check_scrape`]); and no sample without a key that said it.
    #[test]
    fn reports_are_exposed_validly_and_completely(members in any_members()) {
        let body = report(&members);
        for names in [Standard, Legacy] {
            let scrape = check_scrape(body.as_bytes(), names);
            let allowed = allowed(&body, names);
            for family in scrape.statistics() {
                let found = allowed.iter().any(|(name, kind)| *name == family.name && *kind == family.kind);
                prop_assert!(found, "{}, a {}, comes from nowhere: {body}", family.name, family.kind);
            }
        }
    }

    /// Whatever else is in the report, and whatever an earlier value of the same key was.
    #[test]
    fn good_values_are_exposed_exactly(
        (row, source, good) in good(), mut members in any_members(), place in any::<Index>(), before in any_value(),
    ) {
        // Another key of the same statistic may win.
        let rows = ROWS.iter().filter(|other| other.standard.name == row.standard.name);
        let keys: Vec<_> = rows.flat_map(Row::sources).map(|source| source.key).collect();
        members.retain(|(key, _)| !keys.contains(&&**key));
        let place = place.index(members.len() + 1);
        members.insert(place, (source.key.to_owned(), good.written.clone()));
        members.insert(0, (source.key.to_owned(), before));
        members.extend(of_a_bridge(&keys));
        let body = report(&members);
        for format in [OpenMetrics, Text] {
            for (names, expected) in [(Standard, &good.standard), (Legacy, &good.legacy)] {
                let scrape = scrape(&body, names, format);
                for (name, value) in expected {
                    let exposed = scrape.value(name);
                    let as_expected = exposed.is_some_and(|exposed| is(exposed, value));
                    prop_assert!(as_expected, "{name} is {exposed:?}, not {value:?}: {body}");
                }
                // Nothing beside them. In 0.0.4 the count and the sum may be families of their own.
                let own: BTreeSet<_> = expected.iter().filter_map(|(name, _)| name.split('{').next()).collect();
                let mut families = scrape.families;
                families.retain(|family| family.samples.iter().any(|sample| own.contains(&*sample.name)));
                let samples: usize = families.iter().map(|family| family.samples.len()).sum();
                prop_assert_eq!(samples, expected.len(), "{:?}: {}", families, body);
            }
        }
    }

    /// Any number of the four, in one sample under one name, and in a sample each under older names.
    #[test]
    fn label_values_survive_escaping(texts in vec(option::of(any_text()), INFO.len()), mut members in any_members()) {
        members.retain(|(key, _)| !INFO.contains(&&**key));
        let texts: Vec<_> = INFO.iter().zip(texts).filter_map(|(key, text)| Some(((*key).to_owned(), text?))).collect();
        members.extend(texts.iter().map(|(key, text)| (key.clone(), quoted(text))));
        // Labels alone are no statistics.
        members.extend(of_a_bridge(&[]));
        let body = report(&members);
        for format in [OpenMetrics, Text] {
            let labels = |names, name: &str| {
                let families = scrape(&body, names, format).families;
                let samples = families.into_iter().flat_map(|family| family.samples);
                // The name of an unknown statistic may end in it, if no text does.
                let samples = samples.filter(|sample| sample.name == name && !sample.labels.is_empty());
                samples.map(|sample| sample.labels).collect::<Vec<_>>()
            };
            let together = if texts.is_empty() { Vec::new() } else { vec![texts.clone()] };
            prop_assert_eq!(labels(Standard, "jitsi_bridge_info"), together, "{}", &body);
            for key in INFO {
                let alone: Vec<_> = texts.iter().filter(|(own, _)| own == key).map(|text| vec![text.clone()]).collect();
                prop_assert_eq!(labels(Legacy, &format!("jitsi_{key}_info")), alone, "{}", &body);
            }
        }
    }

    #[test]
    fn order_is_that_of_the_catalogue(members in btree_map(any_key(), any_value(), 1..12)) {
        let mut members: Vec<_> = members.into_iter().collect();
        let forwards = report(&members);
        members.reverse();
        let backwards = report(&members);
        for names in [Standard, Legacy] {
            prop_assert_eq!(scrape(&forwards, names, OpenMetrics).text, scrape(&backwards, names, OpenMetrics).text);
        }
    }

    /// Bytes that are no report any more, or another one.
    #[test]
    fn damaged_bytes_are_exposed_validly(
        which in any::<Index>(), damage in vec((any::<Index>(), any::<u8>(), 0..4u8), 1..6), legacy in any::<bool>(),
    ) {
        let files = json_files(&fixtures());
        let mut body = std::fs::read(which.get(&files)).unwrap();
        for (place, byte, how) in damage {
            let place = place.index(body.len().max(1));
            match how {
                0 if place < body.len() => body[place] = byte,
                1 if place < body.len() => drop(body.remove(place)),
                2 => body.insert(place, byte),
                // One time in twenty: most truncations are the same.
                _ if byte < 13 => body.truncate(place),
                _ => body.insert(place, b"{}[]\",:-.e0"[usize::from(byte) % 11]),
            }
        }
        check_scrape(&body, if legacy { Legacy } else { Standard });
    }
}

/// The fixtures themselves, which a generator rarely comes near.
#[test]
fn fixtures_are_exposed_validly_and_completely() {
    let folders = [fixtures(), fixtures().join("captured"), fixtures().join("native")];
    for file in folders.iter().flat_map(|folder| json_files(folder)) {
        let body = std::fs::read(file).unwrap();
        for names in [Standard, Legacy] {
            check_scrape(&body, names);
        }
    }
}

/// A statistic that stands for the rest: key, standard name, legacy name.
const OTHER: (&str, &str, &str) = ("total_visitors", "jitsi_visitors_created_total", "jitsi_total_visitors");

#[test]
fn odd_values_do_not_affect_others() {
    let odd = [
        "\"x\"",
        "\"12\"",
        "-1",
        "1.5",
        "-1e400",
        "[null]",
        "[1,[2]]",
        "{\"a\": {\"b\": []}}",
        "18446744073709551616",
        "-0",
        "1E-7",
    ];
    for value in ODD.iter().chain(&odd) {
        // All keys but the one, with the same odd value.
        let keys = sources().into_iter().map(|(_, source)| source.key).filter(|key| *key != OTHER.0);
        let mut members: Vec<_> = keys.map(|key| (key.to_owned(), (*value).to_owned())).collect();
        members.extend(of_a_bridge(&[]));
        members.extend([(OTHER.0.to_owned(), "6".to_owned()), ("z_other".to_owned(), "5".to_owned())]);
        for (names, other) in [(Standard, OTHER.1), (Legacy, OTHER.2)] {
            let scrape = check_scrape(report(&members).as_bytes(), names);
            assert_eq!((scrape.value("jitsi_z_other"), scrape.value(other)), (Some("5"), Some("6")), "{value}");
        }
    }
}

/// A response that repeated the key of an object before each of its members would have 95 MB for a report of 256 KB.
#[test]
fn response_size_is_bounded() {
    let limit = jitsiexporter::bridge::MAX_BODY - 60;
    // Members in so many bytes.
    let members = |limit: usize| {
        let all = (0..).map(|number| format!("\"{number:x}\":1"));
        let mut length = 0;
        let fit = all.take_while(|member| {
            length += member.len() + 1;
            length <= limit
        });
        fit.collect::<Vec<_>>().join(",")
    };
    let nested = |length: usize| {
        format!("{{\"threads\":1,\"visitors\":1,\"{}\":{{{}}}}}", "k".repeat(length), members(limit - length))
    };
    let sizes = format!("{{\"threads\":1,\"visitors\":1,\"conference_sizes\":[{}1]}}", "1,".repeat(limit / 2 - 10));
    let object = format!("\"{}\":{{", "k".repeat(12));
    let deep = format!("{{\"threads\":1,\"visitors\":1,{}\"x\":1{}}}", object.repeat(16), "}".repeat(16));
    // Histograms of 1,000 buckets, under keys of so many bytes.
    let histograms = |length: usize| {
        let buckets: Vec<_> = (0..1000).map(|bound| format!("\"bucket_le_{bound}\":0")).collect();
        let one =
            |key| format!("\"{key:0length$}\":{{{},\"bucket_le_+Inf\":0,\"count\":0,\"sum\":0}}", buckets.join(","));
        let all: Vec<_> = (0..14).map(one).collect();
        format!("{{\"threads\":1,\"visitors\":1,{}}}", all.join(","))
    };
    let bodies = [
        histograms(1),
        histograms(150),
        format!("{{\"threads\":1,\"visitors\":1,{}}}", members(limit)),
        nested(190),
        nested(1000),
        nested(100_000),
        sizes,
        deep,
    ];
    for body in bodies {
        for (names, format) in [(Standard, OpenMetrics), (Standard, Text), (Legacy, OpenMetrics), (Legacy, Text)] {
            let scrape = scrape(&body, names, format);
            assert_eq!(scrape.value("jitsi_threads"), Some("1"), "{}", &body[..40]);
            let most = 4096 + 4 * MAX_KEYS + 200 * MAX_UNKNOWN;
            assert!(scrape.text.len() <= most, "{} bytes of {}", scrape.text.len(), &body[..40]);
        }
    }
    // A current bridge is far from all of that.
    assert!(CURRENT.len() * 10 < MAX_KEYS && support::exposition::members(CURRENT).unwrap().len() * 10 < MAX_UNKNOWN);
}

#[test]
fn limits_are_exact() {
    // Members whose keys have four bytes.
    let numbered = |number: usize| (0..number).map(|key| format!("\"{key:04}\":1")).collect::<Vec<_>>().join(",");
    let key = |length: usize| format!("\"{}\":2", "k".repeat(length));
    let sizes = |buckets: usize| format!("\"conference_sizes\":[{}1]", "1,".repeat(buckets - 1));
    let cumulative = |buckets: usize| {
        let bounds = (1..buckets).map(|bound| format!("\"bucket_le_{bound}.0\":1")).collect::<Vec<_>>().join(",");
        format!("\"conference_sizes\":{{{bounds},\"bucket_le_+Inf\":1,\"count\":1,\"sum\":1}}")
    };
    let nested = |members: usize| format!("\"{}\":{{{}}}", "k".repeat(MAX_KEY - 5), numbered(members));
    // The object takes room, too.
    let room = (MAX_KEYS - MAX_KEY) / MAX_KEY;
    for (members, unexposed) in [
        (key(MAX_KEY), "0"),
        (key(MAX_KEY + 1), "1"),
        (sizes(MAX_BUCKETS), "0"),
        (sizes(MAX_BUCKETS + 1), "1"),
        (cumulative(MAX_BUCKETS), "0"),
        (cumulative(MAX_BUCKETS + 1), "1"),
        (numbered(MAX_UNKNOWN), "0"),
        (numbered(MAX_UNKNOWN + 1), "1"),
        (nested(room), "0"),
        (nested(room + 1), "1"),
        (nested(room + 7), "7"),
    ] {
        let scrape = check_scrape(format!("{{\"threads\":1,\"visitors\":1,{members}}}").as_bytes(), Standard);
        assert_eq!(scrape.value("jitsi_unexposed_values"), Some(unexposed), "{}", &members[..40]);
    }
}

/// The tests find only what the reader of expositions rejects.
#[test]
fn reader_rejects_invalid_expositions() {
    let end = |format| if format == OpenMetrics { "# EOF\n" } else { "" };
    let is_valid = |text: &str, format| Exposition::read(&format!("{text}{}", end(format)), format).is_ok();
    let gauge = "# HELP x A.\n# TYPE x gauge\nx 1\n";
    let histogram = "# HELP y A.\n# TYPE y histogram\n\
        y_bucket{le=\"1.0\"} 1\ny_bucket{le=\"+Inf\"} 2\ny_count 2\ny_sum 1.0\n";
    // Those of a gauge histogram, as a family of its own.
    let buckets =
        histogram.replace(" y ", " y_bucket ").replace("histogram", "untyped").replace("y_count 2\ny_sum 1.0\n", "");
    let faults = [
        // Lines and values.
        (gauge, "x 1", "x  1"),
        (gauge, "x 1", "x 1 "),
        (gauge, "x 1", "x 1 123"),
        (gauge, "x 1", "x"),
        (gauge, "x 1", "x y"),
        (gauge, "x 1", "x 0x1"),
        (gauge, "x 1", "x 1."),
        (gauge, "x 1", "x 1\r"),
        (gauge, "x 1", "x 1\n"),
        (gauge, "x 1\n", "x 1"),
        (gauge, "x 1", "x 1\n# a comment"),
        (gauge, "x 1", "x 1\n# EOF"),
        // Names and labels.
        (gauge, "x", "1x"),
        (gauge, "x", "\u{e4}"),
        (gauge, "x 1", "x{} 1"),
        (gauge, "x 1", "x{b=1} 1"),
        (gauge, "x 1", "x{1b=\"\"} 1"),
        (gauge, "x 1", "x{b=\"y\",b=\"z\"} 1"),
        (gauge, "x 1", "x{b=\"y\"z\"} 1"),
        (gauge, "x 1", "x{b=\"\\y\"} 1"),
        (gauge, "x 1", "x{b=\"y\\\"} 1"),
        (gauge, "x 1", "x{b=\"y\"}1"),
        // Families.
        (gauge, "x 1\n", ""),
        (gauge, "x 1", "z 1"),
        (gauge, "x 1", "x_y 1"),
        (gauge, "x 1", "x 1\nx 2"),
        (gauge, "x 1", "x{b=\"\",c=\"\"} 1\nx{c=\"\",b=\"\"} 2"),
        (gauge, "x 1\n", "x 1\n# HELP x A.\n# TYPE x gauge\nx{b=\"\"} 1\n"),
        (gauge, "x 1", "x 1\n# HELP z Z.\n# TYPE z gauge\nz 1\nx{b=\"\"} 2"),
        (gauge, "# HELP x A.\n", ""),
        (gauge, "A.", "A\\."),
        (gauge, "# TYPE x gauge\n", ""),
        (gauge, "# TYPE x gauge\n", "# TYPE x gauge\n# TYPE x gauge\n"),
        (gauge, "# TYPE x", "# TYPE z"),
        (gauge, "x 1", "x 1\n# TYPE x gauge"),
        (gauge, "gauge", "gorge"),
        (gauge, "gauge\n", "gauge\n# UNIT x seconds\n"),
        // Counters, in either format, and labels.
        (gauge, "gauge\nx 1", "counter\nx_total -1"),
        (gauge, "gauge\nx 1", "counter\nx_total NaN"),
        (gauge, "gauge\nx 1", "counter\nx -1"),
        (gauge, "gauge\nx 1", "counter\nx NaN"),
        (gauge, "gauge\nx 1\n", "counter\nx_total 1\n# HELP x_total A.\n# TYPE x_total gauge\nx_total{b=\"\"} 1\n"),
        (gauge, "A.\n# TYPE x gauge\nx 1", "A.\n# TYPE x_info gauge\nx_info 2"),
        // Distributions.
        (histogram, "le=\"+Inf\"", "le=\"2.0\""),
        (histogram, "le=\"1.0\"", "le=\"1\""),
        (histogram, "le=\"1.0\"", "ge=\"1.0\""),
        (histogram, "le=\"1.0\"} 1", "le=\"1.0\"} 3"),
        (histogram, "le=\"1.0\"} 1", "le=\"1.0\"} 0.5"),
        (histogram, "le=\"1.0\"} 1", "le=\"1.0\"} 1\ny_bucket{le=\"1.00\"} 1"),
        (histogram, "y_bucket{le=\"+Inf\"} 2\ny_count 2", "y_count 2\ny_bucket{le=\"+Inf\"} 2"),
        (histogram, "y_count 2", "y_count 3"),
        (histogram, "y_count 2\n", ""),
        (histogram, "y_sum 1.0\n", ""),
        (histogram, "y_sum 1.0", "y_sum -1.0"),
        (histogram, "y_sum 1.0", "y_sum NaN"),
        (histogram, "y_sum 1.0\n", "y_sum 1.0\n# HELP y_sum A.\n# TYPE y_sum gauge\ny_sum{b=\"\"} 1\n"),
    ];
    for format in [OpenMetrics, Text] {
        let labelled = gauge.replace("x 1", "x{b=\"\\\\\\\"\\n\",c=\"\"} -1.5e-7");
        for valid in [gauge, histogram, &labelled] {
            assert!(is_valid(valid, format), "{valid}");
        }
        for (valid, part, fault) in faults {
            let spoilt = valid.replace(part, fault);
            assert!(spoilt != valid && !is_valid(&spoilt, format), "{spoilt}");
        }
    }
    // What only one of the formats has.
    for (open_metrics, text, valid) in [
        (false, true, gauge.replace("A.", "\"A.\"")),
        (false, true, gauge.replace("gauge", "untyped")),
        (true, false, gauge.replace("gauge", "unknown")),
        (false, true, gauge.replace("gauge", "counter")),
        (true, false, gauge.replace("gauge\nx", "counter\nx_total")),
        (false, false, gauge.replace("gauge\nx", "info\nx_info")),
        (true, true, gauge.replace('x', "x_info")),
        (true, false, gauge.replace('x', "x_seconds").replace("gauge\n", "gauge\n# UNIT x_seconds seconds\n")),
        (
            true,
            false,
            histogram.replace("histogram", "gaugehistogram").replace("y_", "y_g").replace("gbucket", "bucket"),
        ),
        (false, false, histogram.replace("y_count 2\ny_sum 1.0\n", "")),
        (false, true, buckets.clone()),
        (false, false, buckets.replace("y_bucket{le=\"1.0\"} 1", "y_bucket{le=\"1.0\"} 3")),
        (true, false, gauge.replace("x 1", "x inf")),
        (true, true, gauge.replace("x 1", "x -Inf")),
    ] {
        assert_eq!((is_valid(&valid, OpenMetrics), is_valid(&valid, Text)), (open_metrics, text), "{valid}");
    }
    for text in [gauge.to_owned(), format!("{gauge}# EOF"), format!("{gauge}# EOF\n\n")] {
        assert!(Exposition::read(&text, OpenMetrics).is_err(), "{text}");
    }
}
