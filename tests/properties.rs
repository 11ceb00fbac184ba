//! Properties that hold for every report, tested on generated ones: any JSON under any key, known and unknown, in standard and
//! legacy names and in both formats. Cases that a generator rarely reaches are at the end.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jitsiexporter::metrics::catalogue::{self, Kind, ROWS, Row, Source};
use jitsiexporter::metrics::distribution::MAX_BUCKETS;
use jitsiexporter::metrics::family::Naming::{self, Legacy, Standard};
use jitsiexporter::metrics::format::Format::{self, OpenMetrics, Text};
use jitsiexporter::metrics::unknown::{MAX_KEY, MAX_KEYS, MAX_UNKNOWN};
use jitsiexporter::scrape::expose;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use support::exposition::check_scrape;
use support::{CURRENT, Exposition, fixtures, json_files};

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

/// Enough statistics for the report of a bridge, without those under test.
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

/// Keys that give the name of another metric, or nearly.
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

/// Keys that bridges do not use.
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

/// Odd values that bridges have sent.
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

/// Any JSON, with a preference for values that bridges have sent.
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

/// A statistic with a value that is exposed. Labels are not included: they share one sample, and another property tests them.
fn statistic() -> impl Strategy<Value = (&'static Row, Source, String)> {
    let sources: Vec<_> = sources().into_iter().filter(|(row, _)| row.kind != Kind::Info).collect();
    let number = prop_oneof![
        any::<u64>().prop_map(|number| number.to_string()),
        (0.0..1e15f64).prop_map(|number| format!("{number:?}"))
    ];
    (select(sources), number).prop_map(|((row, source), number)| {
        let is_number = matches!(row.kind, Kind::Gauge | Kind::Counter);
        (row, source, if is_number { number } else { example(row.kind).to_owned() })
    })
}

/// A statistic with a value that will be exposed, and another key that gives one of its names, or nearly.
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

/// The texts that are labels, in the order of the catalogue.
const INFO: [&str; 4] = ["version", "release", "region", "relay_id"];

/// Any text, with a preference for long ones and for those that a careless reader or writer would change.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ \t\r\n\"\\\\n]{0,6}", "[ -~]{100,300}"]
}

fn config() -> ProptestConfig {
    // The seeds of failures are not kept; a failure becomes a test below.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) }
}

proptest! {
    #![proptest_config(config())]

    /// Valid in both formats, which agree; no sample twice; every value exposed or counted; the same text each time
    /// ([`check_scrape`]).
    #[test]
    fn reports_are_exposed_validly_and_completely(members in any_members()) {
        for names in [Standard, Legacy] {
            check_scrape(report(&members).as_bytes(), names);
        }
    }

    /// The samples of a statistic are those that it has alone, whatever else is in the report, and whatever an earlier value of the
    /// same key was. What they are alone is in the golden files.
    #[test]
    fn statistics_do_not_depend_on_others(
        (row, source, value) in statistic(), mut members in any_members(), place in any::<Index>(), before in any_value(),
    ) {
        // Another key of the same statistic may win.
        let shares = |other: &&Row| row.standard.name == other.standard.name || other.sources().any(|own| own.key == source.key);
        let keys: Vec<_> = ROWS.iter().filter(shares).flat_map(Row::sources).map(|source| source.key).collect();
        members.retain(|(key, _)| !keys.contains(&&**key));
        let place = place.index(members.len() + 1);
        members.insert(place, (source.key.to_owned(), value.clone()));
        members.insert(0, (source.key.to_owned(), before));
        let without = of_a_bridge(&keys);
        members.extend(without.clone());
        let alone = [without.clone(), vec![(source.key.to_owned(), value)]].concat();
        for (names, format) in [(Standard, OpenMetrics), (Standard, Text), (Legacy, OpenMetrics), (Legacy, Text)] {
            let samples = |members: &[_]| -> BTreeMap<_, _> {
                let families = scrape(&report(members), names, format).families;
                let samples = families.into_iter().flat_map(|family| family.samples);
                samples.map(|sample| (sample.series, (sample.name, sample.value))).collect()
            };
            let (mut expected, without, mut found) = (samples(&alone), samples(&without), samples(&members));
            expected.retain(|series, _| !without.contains_key(series));
            prop_assert!(!expected.is_empty() || names == Legacy && row.kind == Kind::Timestamp, "{:?}", alone);
            let own: BTreeSet<_> = expected.values().map(|(name, _)| name.clone()).collect();
            found.retain(|_, (name, _)| own.contains(name));
            prop_assert_eq!(expected, found, "{}", report(&members));
        }
    }

    /// Any number of the four labels. With standard names they share one sample; with legacy names each has its own.
    #[test]
    fn label_values_survive_escaping(texts in vec(option::of(any_text()), INFO.len()), mut members in any_members()) {
        members.retain(|(key, _)| !INFO.contains(&&**key));
        let texts: Vec<_> = INFO.iter().zip(texts).filter_map(|(key, text)| Some(((*key).to_owned(), text?))).collect();
        members.extend(texts.iter().map(|(key, text)| (key.clone(), quoted(text))));
        // A report with labels only would be rejected.
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
    fn families_are_in_the_order_of_the_catalogue(members in btree_map(any_key(), any_value(), 1..12)) {
        let mut members: Vec<_> = members.into_iter().collect();
        let forwards = report(&members);
        members.reverse();
        let backwards = report(&members);
        for names in [Standard, Legacy] {
            prop_assert_eq!(scrape(&forwards, names, OpenMetrics).text, scrape(&backwards, names, OpenMetrics).text);
        }
    }

    /// Damaged reports, most of which are not valid any more.
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

/// The fixtures, which a generator rarely comes near.
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
    // A current bridge is far below the limits.
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

/// The tests above rely on the reader of expositions, so it must reject whatever is not valid.
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
