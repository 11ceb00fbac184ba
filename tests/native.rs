//! The bridge's own metrics as the source: running bridges, asked for `/metrics` as JSON (`X.json`), as text
//! (`X.openmetrics`) and for `/colibri/stats` (`X.stats.json`) at one moment.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use jitsiexporter::metrics::catalogue::{Kind, ROWS, Row, Source, Unit};
use jitsiexporter::metrics::family::Naming::{self, Legacy, Standard};
use support::exposition::{Family, check_scrape, members};
use support::{fixtures, json_files};

/// A moment of a running bridge.
struct Moment {
    native: String,
    stats: String,
    text: String,
}

/// The reports in `fixtures/native` that exist in all three forms.
fn moments() -> Vec<Moment> {
    let moment = |path: PathBuf| {
        let read = |extension| fs::read_to_string(path.with_extension(extension)).ok();
        Some(Moment { native: read("json")?, stats: read("stats.json")?, text: read("openmetrics")? })
    };
    let moments: Vec<_> = json_files(&fixtures().join("native")).into_iter().filter_map(moment).collect();
    assert!(moments.len() >= 2, "only {} moments", moments.len());
    moments
}

fn families(report: &str, names: Naming) -> BTreeMap<String, Family> {
    let families = check_scrape(report.as_bytes(), names).families;
    families.into_iter().map(|family| (family.name.clone(), family)).collect()
}

/// The rows that a key of the bridge's own metrics feeds.
fn rows_of(key: &str) -> impl Iterator<Item = (&'static Row, Source)> + '_ {
    ROWS.iter().filter_map(move |row| Some((row, row.native.filter(|source| source.key == key)?)))
}

/// The family of a row in `OpenMetrics`.
fn family<'a>(families: &'a BTreeMap<String, Family>, row: &Row, names: Naming) -> &'a Family {
    let name = if names == Standard { row.standard.name } else { row.legacy.name };
    let stem = name.strip_suffix("_total").filter(|_| row.kind == Kind::Counter);
    &families[stem.unwrap_or(name)]
}

/// A key of builds 773 to 780 only. There is no fixture of these builds.
const WITHOUT_FIXTURE: &str = "total_conferences";

#[test]
fn catalogue_has_every_native_key_and_no_key_without_a_fixture() {
    let folders = [fixtures(), fixtures().join("captured"), fixtures().join("native")];
    let (mut stats, mut native) = (BTreeSet::new(), BTreeSet::new());
    for path in folders.iter().flat_map(|folder| json_files(folder)) {
        let report = fs::read_to_string(&path).unwrap();
        // One release sent the object in an array.
        let keys = members(report.trim().trim_start_matches('[').trim_end_matches(']')).unwrap().into_keys();
        if path.parent() == Some(&folders[2]) && !path.to_str().unwrap().ends_with(".stats.json") {
            native.extend(keys.inspect(|key| assert!(rows_of(key).next().is_some(), "{key} is in {path:?} only")));
        } else {
            stats.extend(keys);
        }
    }
    for row in ROWS {
        for (source, seen, folder) in [(row.stats, &stats, "fixtures"), (row.native, &native, "fixtures/native")] {
            if let Some(Source { key, .. }) = source.filter(|source| source.key != WITHOUT_FIXTURE) {
                assert!(seen.contains(key), "no report in {folder} has {key}");
            }
        }
    }
}

/// Whether the two values differ only by truncation: since 2.3-95, `/colibri/stats` truncates bit rates to kilobits.
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
        let (keys, stats_keys) = (members(&moment.native).unwrap(), members(&moment.stats).unwrap());
        let has = |source: Option<Source>, keys: &BTreeMap<String, _>| {
            source.is_some_and(|source| keys.contains_key(source.key))
        };
        let twins = ROWS.iter().filter(|row| has(row.native, &keys) && has(row.stats, &stats_keys));
        let twins: Vec<_> = twins.filter(|row| row.kind != Kind::Info).collect();
        assert!(twins.len() > keys.len() / 2, "{} twins of {} keys", twins.len(), keys.len());
        for names in [Standard, Legacy] {
            let (native, stats) = (families(&moment.native, names), families(&moment.stats, names));
            for row in &twins {
                let (one, other) = (family(&native, row, names), family(&stats, row, names));
                assert_eq!((&one.kind, &one.unit, &one.help), (&other.kind, &other.unit, &other.help));
                assert_eq!(one.samples.len(), other.samples.len(), "{one:?} {other:?}");
                for (one, other) in one.samples.iter().zip(&other.samples) {
                    assert_eq!(one.series, other.series);
                    assert!(within_truncation(row, one.number(), other.number(), names), "{one:?} is not {other:?}");
                }
            }
        }
    }
}

/// A family in the bridge's own text exposition: the type and the help text.
fn witness<'a>(text: &'a str, key: &str) -> Option<(&'a str, &'a str)> {
    let name = format!("jitsi_jvb_{key}");
    let line = |keyword: &str| {
        text.lines().find_map(|line| line.strip_prefix(&format!("# {keyword} {name} ")).map(str::trim_end))
    };
    Some((line("TYPE")?, line("HELP")?))
}

/// The bridge registers these as gauges, but they only grow.
const GAUGES_THAT_GROW: [&str; 3] = ["jvm_gc_count", "jvm_gc_time", "endpoints_with_spurious_remb"];

#[test]
fn kinds_and_units_agree_with_the_text_of_the_bridge() {
    let mut units = BTreeSet::new();
    for moment in moments() {
        for (key, _) in members(&moment.native).unwrap() {
            let own_key = if key == "region" { "region_info" } else { &key };
            let (text_kind, help) =
                witness(&moment.text, own_key).unwrap_or_else(|| panic!("{key} is not in the text"));
            for (row, source) in rows_of(&key) {
                let kind = match row.kind {
                    Kind::Counter if !GAUGES_THAT_GROW.contains(&source.key) => "counter",
                    Kind::GaugeHistogram | Kind::Histogram => "histogram",
                    _ => "gauge",
                };
                assert_eq!(text_kind, kind, "{key}");
                // The unit, if the bridge's help text or its name of the statistic contains it.
                let words: Vec<_> = help.split(|c: char| !c.is_alphanumeric()).collect();
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
                    assert_eq!(source.unit, *unit, "{key}: {help}");
                    units.insert(format!("{unit:?}"));
                }
            }
        }
    }
    assert_eq!(units.len(), 5, "the help texts tell all units: {units:?}");
}
