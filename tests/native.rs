//! The bridge's own metrics as the source: running bridges, asked for `/metrics` as JSON (`X.json`), as text
//! (`X.openmetrics`) and for `/colibri/stats` (`X.stats.json`) at one moment.

#[path = "support/exposition.rs"]
mod exposition;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use exposition::{Family, members, own, read};
use jitsiexporter::catalogue::{Kind, ROWS, Row, Source, Unit};
use jitsiexporter::family::Naming::{self, Legacy, Standard};
use jitsiexporter::format::Format::{OpenMetrics, Text};
use jitsiexporter::scrape::expose;
use support::{fixtures, json_files, sample};

/// A moment of a running bridge.
struct Moment {
    name: String,
    native: String,
    stats: String,
    text: String,
}

/// The reports in `fixtures/native` that are there in all three forms.
fn moments() -> Vec<Moment> {
    let mut moments = Vec::new();
    for path in json_files(&fixtures().join("native")) {
        let read = |extension| fs::read_to_string(path.with_extension(extension)).ok();
        if let (Some(stats), Some(text)) = (read("stats.json"), read("openmetrics")) {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            moments.push(Moment { name, native: read("json").unwrap(), stats, text });
        }
    }
    assert!(moments.len() >= 2, "only {} moments", moments.len());
    moments
}

fn open_metrics(report: &str, names: Naming) -> String {
    expose(Ok(report.as_bytes()), || Duration::from_millis(1), names, OpenMetrics).text
}

fn families(report: &str, names: Naming) -> BTreeMap<String, Family> {
    let families = read(&open_metrics(report, names), OpenMetrics).unwrap();
    families.into_iter().filter(|family| !own(&family.name)).map(|family| (family.name.clone(), family)).collect()
}

/// The rows that a key of the bridge's own metrics feeds.
fn rows_of(key: &str) -> impl Iterator<Item = (&'static Row, Source)> + '_ {
    ROWS.iter().filter_map(move |row| Some((row, row.native.filter(|source| source.key == key)?)))
}

#[test]
fn every_native_key_is_in_the_catalogue() {
    for moment in moments() {
        for (key, _) in members(&moment.native).unwrap() {
            assert!(rows_of(&key).next().is_some(), "{}: {key} is not in the catalogue", moment.name);
        }
        for names in [Standard, Legacy] {
            let text = open_metrics(&moment.native, names);
            assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("0"), "{}", moment.name);
            let unknown: Vec<_> = text.lines().filter(|line| line.contains("Statistic unknown")).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", moment.name);
        }
    }
}

/// Sent by builds 773 to 780 only, of which there is no report.
const WITHOUT_FIXTURE: &str = "total_conferences";

#[test]
fn every_key_of_the_catalogue_is_in_a_fixture() {
    let folders = [fixtures(), fixtures().join("captured"), fixtures().join("native")];
    let (mut stats, mut native) = (BTreeSet::new(), BTreeSet::new());
    for path in folders.iter().flat_map(|folder| json_files(folder)) {
        let report = fs::read_to_string(&path).unwrap();
        // One release sent the object in an array.
        let object = report.trim().trim_start_matches('[').trim_end_matches(']');
        let is_native = path.parent() == Some(&folders[2]) && !path.to_str().unwrap().ends_with(".stats.json");
        let seen = if is_native { &mut native } else { &mut stats };
        seen.extend(members(object).unwrap().into_keys());
    }
    for row in ROWS {
        for (source, seen, folder) in [(row.stats, &stats, "fixtures"), (row.native, &native, "fixtures/native")] {
            if let Some(Source { key, .. }) = source.filter(|source| source.key != WITHOUT_FIXTURE) {
                assert!(seen.contains(key), "no report in {folder} has {key}");
            }
        }
    }
}

/// The bit rates in `/colibri/stats` are truncated to kilobits since 2.3-95, which is what may lie between the two.
fn within_truncation(row: &Row, native: f64, stats: f64, names: Naming) -> bool {
    let kilobit = match (row.stats.map(|source| source.unit), names) {
        (Some(Unit::KilobitsPerSecond), Standard) => 125.0,
        (Some(Unit::KilobitsPerSecond), Legacy) => 1.0,
        _ => return native.to_bits() == stats.to_bits(),
    };
    (stats..stats + kilobit).contains(&native)
}

#[test]
fn both_sources_give_equal_values() {
    for moment in moments() {
        let keys: BTreeSet<_> = members(&moment.native).unwrap().into_keys().collect();
        let stats_keys: BTreeSet<_> = members(&moment.stats).unwrap().into_keys().collect();
        for names in [Standard, Legacy] {
            let (native, stats) = (families(&moment.native, names), families(&moment.stats, names));
            let twins = ROWS.iter().filter(|row| row.native.is_some_and(|source| keys.contains(source.key)));
            let twins = twins.filter(|row| row.stats.is_some_and(|source| stats_keys.contains(source.key)));
            let mut compared = 0;
            for row in twins.filter(|row| row.kind != Kind::Info) {
                let descriptor = if names == Standard { &row.standard } else { &row.legacy };
                let name = descriptor.name.strip_suffix("_total").filter(|_| row.kind == Kind::Counter);
                let name = name.unwrap_or(descriptor.name);
                let (one, other) = (&native[name], &stats[name]);
                assert_eq!((&one.kind, &one.unit, &one.help), (&other.kind, &other.unit, &other.help), "{name}");
                assert_eq!(one.samples.len(), other.samples.len(), "{name}");
                for (one, other) in one.samples.iter().zip(&other.samples) {
                    assert_eq!(one.series(), other.series());
                    let (value, twin) = (one.number(), other.number());
                    assert!(
                        within_truncation(row, value, twin, names),
                        "{name}: {value} is not {twin} ({})",
                        moment.name
                    );
                }
                compared += 1;
            }
            assert!(compared > keys.len() / 2, "{compared} twins of {} keys", keys.len());
        }
    }
}

/// What the bridge's own text exposition says of a key: the type, the help text and the samples.
struct Witness<'a> {
    kind: &'a str,
    help: &'a str,
    samples: Vec<(&'a str, f64)>,
}

fn witness<'a>(text: &'a str, key: &str) -> Option<Witness<'a>> {
    let name = format!("jitsi_jvb_{key}");
    let line = |keyword: &str| {
        text.lines().find_map(|line| line.strip_prefix(&format!("# {keyword} {name} ")).map(str::trim_end))
    };
    let samples = text.lines().filter_map(|line| line.strip_prefix(&name)?.rsplit_once(' '));
    let samples = samples
        .filter(|(rest, _)| rest.is_empty() || rest.starts_with("_bucket") || matches!(*rest, "_count" | "_sum"));
    let samples = samples.map(|(rest, value)| (rest, value.parse().unwrap())).collect();
    Some(Witness { kind: line("TYPE")?, help: line("HELP")?, samples })
}

/// The bridge registers these as gauges, but they only grow.
const GAUGES_THAT_GROW: [&str; 3] = ["jvm_gc_count", "jvm_gc_time", "endpoints_with_spurious_remb"];

#[test]
fn kinds_and_units_agree_with_the_text_of_the_bridge() {
    let mut units = BTreeSet::new();
    for moment in moments() {
        for (key, _) in members(&moment.native).unwrap() {
            let own_key = if key == "region" { "region_info" } else { &key };
            let witness = witness(&moment.text, own_key).unwrap_or_else(|| panic!("{key} is not in the text"));
            for (row, source) in rows_of(&key) {
                let kind = match row.kind {
                    Kind::Counter if !GAUGES_THAT_GROW.contains(&source.key) => "counter",
                    Kind::Sizes | Kind::Histogram => "histogram",
                    _ => "gauge",
                };
                assert_eq!(witness.kind, kind, "{key}");
                // The unit, where the bridge's help text or its own name of the statistic tells.
                let words: Vec<_> = witness.help.split(|c: char| !c.is_alphanumeric()).collect();
                let told = [
                    ("bps", Unit::BitsPerSecond),
                    ("pps", Unit::PacketsPerSecond),
                    ("ms", Unit::Milliseconds),
                    ("milliseconds", Unit::Milliseconds),
                    ("bytes", Unit::Bytes),
                    ("fraction", Unit::Plain),
                    ("Fraction", Unit::Plain),
                ];
                for (_, unit) in told.iter().filter(|(word, _)| words.contains(word)) {
                    assert_eq!(source.unit, *unit, "{key}: {}", witness.help);
                    units.insert(format!("{unit:?}"));
                }
            }
        }
    }
    assert_eq!(units.len(), 5, "the help texts tell all units: {units:?}");
}

#[test]
fn values_agree_with_the_text_of_the_bridge() {
    for moment in moments() {
        let families = families(&moment.native, Standard);
        for (key, _) in members(&moment.native).unwrap() {
            for (row, source) in rows_of(&key).filter(|(row, _)| row.kind != Kind::Info) {
                let witness = witness(&moment.text, &key).unwrap();
                let suffix = if row.kind == Kind::Counter { "_total" } else { "" };
                let family = &families[row.standard.name.strip_suffix(suffix).unwrap()];
                assert_eq!(family.samples.len(), witness.samples.len(), "{key}");
                let (times, over) = source.unit.ratio();
                let expected = |rest: &str, value: f64| {
                    // The gauge histogram calls its count and its sum by other names.
                    let rest = if row.kind == Kind::Sizes {
                        rest.replace("_count", "_gcount").replace("_sum", "_gsum")
                    } else {
                        rest.to_owned()
                    };
                    (rest.replace(",}", "}"), value * f64::from(times) / f64::from(over))
                };
                let expected: BTreeMap<_, _> =
                    witness.samples.iter().map(|(rest, value)| expected(rest, *value)).collect();
                for sample in &family.samples {
                    let bucket = sample.labels.first().map(|(label, value)| format!("{{{label}=\"{value}\"}}"));
                    let rest =
                        format!("{}{}", sample.name.strip_prefix(&*family.name).unwrap(), bucket.unwrap_or_default());
                    let rest = if row.kind == Kind::Counter { String::new() } else { rest };
                    let expected =
                        expected.get(&rest).unwrap_or_else(|| panic!("{key}: {rest} is not in {expected:?}"));
                    let value = sample.number();
                    assert!(
                        (value - expected).abs() <= expected.abs() * 1e-15,
                        "{key}{rest}: {value} is not {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn endpoints_and_participants_share_a_key() {
    let text = open_metrics(r#"{"current_endpoints": 10}"#, Standard);
    assert_eq!(sample(&text, "jitsi_endpoints"), Some("10"));
    assert_eq!(sample(&text, "jitsi_participants"), Some("10"));
    assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("0"));
    // A value that nothing can be made of is one value.
    let text = open_metrics(r#"{"current_endpoints": null, "conferences": 1}"#, Standard);
    assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("1"));
}

#[test]
fn stats_key_wins_over_native_key() {
    for report in [r#"{"threads": 3, "thread_count": 4}"#, r#"{"thread_count": 4, "threads": 3}"#] {
        let text = open_metrics(report, Standard);
        assert_eq!(sample(&text, "jitsi_threads"), Some("3"), "{report}");
        assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("1"), "{report}");
    }
    // Whichever can be read.
    let text = open_metrics(r#"{"threads": null, "thread_count": 4}"#, Standard);
    assert_eq!(sample(&text, "jitsi_threads"), Some("4"));
    assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("1"));
    // An object is several statistics, which the catalogue does not know.
    let text = open_metrics(r#"{"threads": 3, "thread_count": {"daemon": 4, "other": 5}}"#, Standard);
    assert_eq!(sample(&text, "jitsi_threads"), Some("3"));
    assert_eq!(sample(&text, "jitsi_thread_count_other"), Some("5"));
    assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("0"));
    // The shared key still has a use.
    let text = open_metrics(r#"{"endpoints": 5, "current_endpoints": 7}"#, Standard);
    assert_eq!(sample(&text, "jitsi_endpoints"), Some("5"));
    assert_eq!(sample(&text, "jitsi_participants"), Some("7"));
    assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("0"));
}

#[test]
fn legacy_names_have_the_units_of_colibri_stats() {
    for (key, value, name, expected) in [
        ("incoming_bitrate", "2942920", "jitsi_bit_rate_download", "2942.92"),
        ("outgoing_bitrate", "7488000", "jitsi_bit_rate_upload", "7488"),
        ("relay_incoming_bitrate", "4001", "jitsi_octo_receive_bitrate", "4001"),
        ("average_rtt", "0.5", "jitsi_rtt_aggregate", "0.5"),
        ("video_milliseconds_received_total", "1500", "jitsi_total_video_stream_milliseconds_received", "1500"),
        ("ice_failed_total", "2", "jitsi_total_ice_failed", "2"),
        ("ice_failed_total", "2", "total_ice_failed", "2"),
        ("stress", "0.25", "jitsi_stress_level", "0.25"),
        ("drain_mode", "true", "jitsi_drain", "1"),
        // What /colibri/stats does not have keeps its own key and unit.
        ("jvm_gc_time", "403", "jitsi_jvm_gc_time", "403"),
        ("xmpp_disconnects_total", "1", "jitsi_xmpp_disconnects_total", "1"),
        ("startup_time", "1795462049366", "jitsi_startup_time", "1795462049366"),
    ] {
        let report = format!("{{\"conferences\": 0, \"{key}\": {value}}}");
        for format in [OpenMetrics, Text] {
            let text = expose(Ok(report.as_bytes()), || Duration::ZERO, Legacy, format).text;
            assert_eq!(sample(&text, name), Some(expected), "{text}");
        }
    }
}

#[test]
fn conference_sizes_have_the_exact_count_and_sum() {
    let report = r#"{"conferences_by_size": {"bucket_le_0.0": 0.0, "bucket_le_1.0": 1.0, "bucket_le_2.0": 1.0,
        "bucket_le_+Inf": 3.0, "count": 3.0, "sum": 51.0, "created": 1.795462157345E9}}"#;
    let text = open_metrics(report, Standard);
    for (name, value) in [
        ("jitsi_conference_sizes_bucket{le=\"0.0\"}", "0"),
        ("jitsi_conference_sizes_bucket{le=\"1.0\"}", "1"),
        ("jitsi_conference_sizes_bucket{le=\"2.0\"}", "1"),
        ("jitsi_conference_sizes_bucket{le=\"+Inf\"}", "3"),
        ("jitsi_conference_sizes_gcount", "3"),
        ("jitsi_conference_sizes_gsum", "51.0"),
        ("jitsi_unexposed_values", "0"),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{text}");
    }
    let text = open_metrics(report, Legacy);
    for (size, value) in [("0", "0"), ("1", "1"), ("2", "0"), ("3", "2")] {
        assert_eq!(
            sample(&text, &format!("jitsi_conference_sizes{{conference_size=\"{size}\"}}")),
            Some(value),
            "{text}"
        );
    }
}

#[test]
fn broken_distributions_are_counted() {
    for (what, buckets) in [
        ("falling counts", r#""bucket_le_0.0": 2, "bucket_le_1.0": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#),
        ("without +Inf", r#""bucket_le_0.0": 1, "bucket_le_1.0": 2, "count": 2, "sum": 1"#),
        ("without buckets", r#""count": 0, "sum": 0"#),
        ("a bound that is not a number", r#""bucket_le_x": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#),
        ("a bound of NaN", r#""bucket_le_NaN": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#),
        ("an empty bound", r#""bucket_le_": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#),
        ("one bound twice", r#""bucket_le_1.0": 1, "bucket_le_1": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#),
        ("a fraction of a conference", r#""bucket_le_0.0": 0.5, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#),
        ("a negative count", r#""bucket_le_0.0": -1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#),
        ("another count", r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "count": 3, "sum": 1"#),
        ("no count", r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "sum": 1"#),
        ("no sum", r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "count": 2"#),
        ("a negative sum", r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "count": 2, "sum": -1"#),
        ("a sum of NaN", r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "count": 2, "sum": "NaN""#),
        ("null", r#""bucket_le_0.0": null, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#),
    ] {
        for key in ["conferences_by_size", "tossed_packets_energy"] {
            let report = format!("{{\"conferences\": 3, \"{key}\": {{{buckets}}}, \"thread_count\": 5}}");
            for names in [Standard, Legacy] {
                let text = open_metrics(&report, names);
                assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("1"), "{what}\n{text}");
                assert_eq!(sample(&text, "jitsi_conferences"), Some("3"), "{what}");
                assert_eq!(sample(&text, "jitsi_threads"), Some("5"), "{what}");
                assert!(!text.contains("jitsi_conference_sizes") && !text.contains("tossed"), "{what}\n{text}");
            }
        }
    }
    // Valid, but a bucket holds several sizes, which legacy names cannot say.
    let report = r#"{"conferences_by_size": {"bucket_le_10.0": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 13}}"#;
    assert_eq!(sample(&open_metrics(report, Standard), "jitsi_conference_sizes_bucket{le=\"10.0\"}"), Some("1"));
    assert_eq!(sample(&open_metrics(report, Legacy), "jitsi_unexposed_values"), Some("1"));
}

#[test]
fn documents_without_statistics_are_refused() {
    for report in [
        r#"{"name": "JVB", "version": "2.3.312", "os": "Linux"}"#,
        r#"{"status": "UP", "uptime": 12}"#,
        r#"{"region": "eu"}"#,
    ] {
        let text = open_metrics(report, Standard);
        assert_eq!(support::reason(&text), Some("no_statistics"), "{report}\n{text}");
        assert!(!text.contains("uptime"), "{text}");
    }
    let text = open_metrics(r#"{"uptime": 12, "healthy": true}"#, Standard);
    assert_eq!(sample(&text, "jitsi_uptime"), Some("12"));
}
