//! The simulated bridge of `--demo` sends the statistics of a current bridge, its two sources agree, and its numbers are plausible.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use jitsiexporter::demo;
use jitsiexporter::metrics::catalogue::{Kind, ROWS};
use jitsiexporter::metrics::family::Naming::Standard;
use jitsiexporter::metrics::format::Format::OpenMetrics;
use jitsiexporter::scrape::expose;
use support::exposition::members;
use support::{Answer, CURRENT, Exporter, Exposition, fixtures, json_files, run, send};

fn exposed(report: &str) -> Exposition {
    Exposition::of(&expose(Ok(report.as_bytes()), || Duration::ZERO, Standard, OpenMetrics).text)
}

fn keys(report: &str) -> BTreeSet<String> {
    members(report).unwrap().into_keys().collect()
}

/// The keys of all reports in a folder that are as new as [`CURRENT`], August 2026, or newer.
fn keys_since_current(folder: &str) -> BTreeSet<String> {
    let reports = json_files(&fixtures().join(folder)).into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name >= "2026-08" && !name.ends_with(".stats.json")
    });
    reports.flat_map(|path| keys(&fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn has_every_key_of_a_current_bridge() {
    let now = Duration::from_secs(1_794_304_800);
    let (stats, native) = (demo::stats(now), demo::native(now));
    let current = fs::read_to_string(fixtures().join("native/2026-08-2.3-312-media10.json")).unwrap();
    assert!(keys(&current).is_subset(&keys(&native)));
    assert!(keys(&native).is_subset(&keys_since_current("native")));
    assert!(keys(CURRENT).is_subset(&keys(&stats)));
    // Further keys are the distributions that bridges sent there until 2024.
    let more: Vec<_> = keys(&stats).difference(&keys_since_current("")).cloned().collect();
    let by = ["conferences_by_audio_senders", "conferences_by_video_senders"];
    assert_eq!(more, ["conference_sizes", by[0], by[1], "tossedPacketsEnergy"]);
}

#[test]
fn is_plausible() {
    let mut now = Duration::from_secs(1_793_577_600);
    let mut latest: BTreeMap<&str, f64> = BTreeMap::new();
    let mut busiest: f64 = 0.0;
    // More than a week, to every part of a day.
    for _ in 0..200 {
        now += Duration::from_secs(3_893);
        let [stats, native] = [demo::stats(now), demo::native(now)].map(|report| exposed(&report));
        for scrape in [&stats, &native] {
            assert_eq!(scrape.value("jitsi_unexposed_values"), Some("0"));
            for row in ROWS.iter().filter(|row| row.kind == Kind::Counter) {
                let Some(value) = scrape.number(row.standard.name) else { continue };
                let before = latest.insert(row.standard.name, value);
                assert!(before.is_none_or(|before| before <= value), "{} falls at {now:?}", row.standard.name);
            }
            let gauge = |name: &str| scrape.number(&format!("jitsi_{name}")).unwrap();
            let endpoints = gauge("endpoints");
            assert!(endpoints >= 1.0 && gauge("local_endpoints") >= 0.0);
            assert!(gauge("largest_conference") <= endpoints);
            for (part, whole) in [("conference_sizes_gcount", "conferences"), ("conference_sizes_gsum", "endpoints")] {
                assert!((gauge(part) - gauge(whole)).abs() < 0.5, "{part} at {now:?}");
            }
            assert!((gauge("local_endpoints") + gauge("octo_endpoints") - endpoints).abs() < 0.5);
            for part in
                ["inactive_endpoints", "receive_only_endpoints", "local_active_endpoints", "endpoints_sending_video"]
            {
                assert!((0.0..=endpoints).contains(&gauge(part)), "{part} at {now:?}: {}", scrape.text);
            }
            assert!((0.0..1.5).contains(&gauge("stress_level")));
            busiest = busiest.max(endpoints);
        }
        let time = stats.number("jitsi_report_timestamp_seconds").unwrap();
        assert!((time - now.as_secs_f64()).abs() < 0.002, "{time} is not {now:?}");
    }
    assert!(busiest > 100.0, "{busiest}");
    // The clock of the machine may be wrong.
    assert_eq!(exposed(&demo::stats(Duration::ZERO)).value("jitsi_conferences_created_total"), Some("0"));
}

#[test]
fn both_sources_agree() {
    for step in 0..30 {
        let now = Duration::from_secs(1_794_304_800 + step * 30_001);
        let samples = |report: &str| -> BTreeMap<_, _> {
            exposed(report).samples().map(|sample| (sample.series.clone(), sample.number())).collect()
        };
        let (stats, native) = (samples(&demo::stats(now)), samples(&demo::native(now)));
        assert_eq!(stats, samples(&demo::stats(now)), "the same moment");
        let twins = stats.iter().filter_map(|(series, value)| Some((series, value, native.get(series)?)));
        let twins: Vec<_> = twins
            .inspect(|(series, one, other)| assert!(one.total_cmp(other).is_eq(), "{series} at {now:?}"))
            .collect();
        assert!(twins.len() > 150, "{}", twins.len());
    }
}

#[test]
fn needs_no_bridge() {
    let (code, text, error) = run(&["--once", "--demo"]);
    assert_eq!((code, &*error, Exposition::of(&text).is_up()), (Some(0), "", true));
    let exporter = Exporter::start(&["--demo", "--listen-address", "127.0.0.1:0", "--legacy-names"], &[]);
    assert!(exporter.metrics().value("jitsi_total_participants").is_some());
    // The start line names the simulated bridge, which can be looked at.
    let line = exporter.log().remove(0);
    let (_, bridge) = line.split_once("bridge http://").expect("the URL of the bridge");
    let (address, _) = bridge.split_once("/colibri/stats").expect("its path");
    for (path, status) in [("/colibri/stats", 200), ("/metrics", 200), ("/colibri/stats/", 404), ("/", 404)] {
        let answer = send(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert_eq!(Answer::parse(&answer).status, status, "{path}");
    }
}
