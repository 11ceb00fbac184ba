//! Examples of reports and what is exposed of them: which key wins, which distributions are contradictory, and what is not a
//! report. The golden files, including those of `fixtures/odd`, test how values are read and which values have no metric.

mod support;

use std::fs;
use std::time::Duration;

use jitsiexporter::metrics::family::Naming::{self, Legacy, Standard};
use jitsiexporter::metrics::format::Format::OpenMetrics;
use jitsiexporter::scrape::expose;
use support::exposition::check_scrape;
use support::{fixtures, json_files};

/// Each row lists the members of a report and all its samples in both formats. A line `unexposed N` is the number of values
/// without a metric.
#[track_caller]
fn assert_exposed(names: Naming, rows: &[(&str, &[&str])]) {
    for (members, expected) in rows {
        // With two more statistics, so that it is always accepted as the report of a bridge.
        let body = format!("{{\"largest_conference\": 0, \"octo_version\": 1, {members}}}");
        let scrape = check_scrape(body.as_bytes(), names);
        let samples = scrape.statistics().flat_map(|family| &family.samples);
        let mut exposed: Vec<_> = samples.map(|sample| format!("{} {}", sample.series, sample.value)).collect();
        let unexposed = scrape.value("jitsi_unexposed_values").unwrap();
        exposed.extend((unexposed != "0").then(|| format!("unexposed {unexposed}")));
        exposed.sort();
        let mut expected = [*expected, &["jitsi_largest_conference 0", "jitsi_octo_version 1"]].concat();
        expected.sort_unstable();
        assert_eq!(exposed, expected, "{members}");
    }
}

#[test]
fn counts_contradictory_sizes_and_ranges_as_unexposed() {
    // A bridge sends [] before its first report.
    for sizes in ["[]", "\"[]\"", "[-1]", "[1.5]", "[null]", "[18446744073709551615, 1]", "\"[1] 2\"", "3", "\"x\""] {
        assert_exposed(Standard, &[(&format!("\"conference_sizes\": {sizes}"), &["unexposed 1"])]);
    }
    for (buckets, sum) in [
        ("{}", "1"),
        (r#"{"<= 7": 3}"#, "1"),
        (r#"{"<= x": 3, "> 7": 1}"#, "1"),
        (r#"{"<= 7": -3, "> 7": 1}"#, "1"),
        (r#"{"<= 7": 18446744073709551615, "> 7": 1}"#, "1"),
        (r#"{"<= 7": 3, "> 7": 1}"#, "-1"),
        (r#"{"<= 7": 3, "> 7": 1}"#, "null"),
        ("[]", "1"),
        // Bounds that are one float.
        (r#"{"<= 9007199254740992": 1, "<= 9007199254740993": 1, "> 127": 1}"#, "1"),
    ] {
        let energy = format!("{{\"average\": 1, \"total_value\": {sum}, \"total_count\": 9, \"buckets\": {buckets}}}");
        assert_exposed(Standard, &[(&format!("\"tossedPacketsEnergy\": {energy}"), &["unexposed 1"])]);
    }
}

#[test]
fn counts_contradictory_buckets_as_unexposed() {
    for buckets in [
        // Counts that fall.
        r#""bucket_le_0.0": 2, "bucket_le_1.0": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#,
        // No bucket, or none for +Inf.
        r#""count": 0, "sum": 0"#,
        r#""bucket_le_0.0": 1, "bucket_le_1.0": 2, "count": 2, "sum": 1"#,
        // A bound that is not a number, or twice the same.
        r#""bucket_le_x": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#,
        r#""bucket_le_NaN": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#,
        r#""bucket_le_": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#,
        r#""bucket_le_1.0": 1, "bucket_le_1": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#,
        // A count that is a fraction, negative, null, missing, or not that of the buckets.
        r#""bucket_le_0.0": 0.5, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#,
        r#""bucket_le_0.0": -1, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#,
        r#""bucket_le_0.0": null, "bucket_le_+Inf": 2, "count": 2, "sum": 1"#,
        r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "sum": 1"#,
        r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "count": 3, "sum": 1"#,
        // A sum that is missing, negative or NaN.
        r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "count": 2"#,
        r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "count": 2, "sum": -1"#,
        r#""bucket_le_0.0": 1, "bucket_le_+Inf": 2, "count": 2, "sum": "NaN""#,
    ] {
        for key in ["conferences_by_size", "tossed_packets_energy"] {
            for names in [Standard, Legacy] {
                assert_exposed(names, &[(&format!("\"{key}\": {{{buckets}}}"), &["unexposed 1"])]);
            }
        }
    }
}

#[test]
fn exposes_one_of_several_values_of_a_statistic() {
    assert_exposed(
        Standard,
        &[
            // If a key occurs twice, the last value counts, even if it cannot be read.
            (r#""conferences": 1, "conferences": 2"#, &["jitsi_conferences 2"]),
            (r#""unheard_of": 1, "unheard_of": 2"#, &["jitsi_unheard_of 2"]),
            (r#""a": {"b": 1, "b": 2}"#, &["jitsi_a_b 2"]),
            (r#""conferences": 1, "conferences": null"#, &["unexposed 1"]),
            // The row that comes first in the catalogue.
            (
                r#""total_conferences": 1, "total_conferences_completed": 2"#,
                &["jitsi_conferences_completed_total 2", "unexposed 1"],
            ),
            (r#""total_conferences": 1"#, &["jitsi_conferences_completed_total 1"]),
            // The key of /colibri/stats, if it can be read.
            (r#""threads": 3, "thread_count": 4"#, &["jitsi_threads 3", "unexposed 1"]),
            (r#""thread_count": 4, "threads": 3"#, &["jitsi_threads 3", "unexposed 1"]),
            (r#""threads": null, "thread_count": 4"#, &["jitsi_threads 4", "unexposed 1"]),
            // An object is several statistics, which the catalogue does not know.
            (r#""threads": 3, "thread_count": {"other": 5}"#, &["jitsi_threads 3", "jitsi_thread_count_other 5"]),
            // Two statistics share a key.
            (r#""current_endpoints": 10"#, &["jitsi_endpoints 10", "jitsi_participants 10"]),
            (r#""endpoints": 5, "current_endpoints": 7"#, &["jitsi_endpoints 5", "jitsi_participants 7"]),
            (r#""current_endpoints": null"#, &["unexposed 1"]),
        ],
    );
}

#[test]
fn unknown_statistics_do_not_replace_known_ones() {
    for names in [Standard, Legacy] {
        assert_exposed(
            names,
            &[
                // The exporter's own metrics, whose values `check_scrape` knows.
                (r#""up": 7"#, &["unexposed 1"]),
                (r#""exporter_build_info": 7"#, &["jitsi_media_export_build_info 7"]),
                (r#""exporter": {"up": 7}, "exporter-x": 8"#, &["jitsi_media_export_up 7", "jitsi_media_export_x 8"]),
                (r#""scrape_error": 7"#, &["unexposed 1"]),
                // Of several unknown statistics with one name, the first in the order of the keys.
                (r#""a-b": 7, "a b": 1, "a_b": 7"#, &["jitsi_a_b 1", "unexposed 2"]),
                (r#""a": {"b": 7}, "a_b": 1"#, &["jitsi_a_b 1", "unexposed 1"]),
            ],
        );
    }
    let ice = r#""ice_failed": 7, "ice_failed_total": 7, "total_ice_failed": 1"#;
    let sizes = r#""conference_sizes_bucket": 7, "conference_sizes": [1]"#;
    let sample = "jitsi_conference_sizes_bucket{le=\"+Inf\"} 1";
    assert_exposed(
        Standard,
        &[
            (ice, &["jitsi_ice_failed_total 1", "unexposed 2"]),
            (sizes, &[sample, "jitsi_conference_sizes_gcount 1", "jitsi_conference_sizes_gsum 0", "unexposed 1"]),
            (r#""bridge_info": 7, "version": "x""#, &["jitsi_bridge_info{version=\"x\"} 1", "unexposed 1"]),
        ],
    );
    let sample = "jitsi_conference_sizes{conference_size=\"0\"} 1";
    assert_exposed(
        Legacy,
        &[
            (ice, &["jitsi_total_ice_failed 1", "total_ice_failed 1", "jitsi_ice_failed 7", "unexposed 1"]),
            (sizes, &[sample, "jitsi_conference_sizes_bucket 7"]),
            (r#""version_info": 7, "version": "x""#, &["jitsi_version_info{version=\"x\"} 1", "unexposed 1"]),
        ],
    );
}

#[test]
fn limits_nesting() {
    let nested = |depth: usize| format!("\"k\": {}1{}", "{\"k\":".repeat(depth), "}".repeat(depth));
    assert_exposed(Standard, &[(&nested(16), &[&format!("jitsi_k{} 1", "_k".repeat(16))])]);
    for value in [nested(17), nested(10_000), format!("\"k\": {}{}", "[".repeat(100_000), "]".repeat(100_000))] {
        assert_exposed(Standard, &[(&value, &["unexposed 1"])]);
    }
}

#[test]
fn explains_documents_that_are_not_a_report() {
    let json = "the response is not JSON: ";
    let object = "the response is not a JSON object: ";
    let statistic = "the response has no statistics of a bridge";
    for (body, reason, words) in [
        ("", "malformed", "the response is not JSON: it is empty"),
        (
            "<html>\n\"An introductory page, of any web server\"</html>",
            "malformed",
            "it begins with \"<html>\\n\\\"An introductory page, of any web\";",
        ),
        ("{\"conferences\": 4", "malformed", "EOF while parsing"),
        ("{\"conferences\": 4} x", "malformed", json),
        ("{\"conferences\": NaN}", "malformed", json),
        ("{\"conferences\": 01}", "malformed", json),
        ("{'conferences': 4}", "malformed", json),
        ("1e400", "no_statistics", "the response is not a JSON object: a number"),
        ("{}", "no_statistics", "empty object; the statistics of the bridge are off: set videobridge.stats.enabled"),
        (" { } ", "no_statistics", "empty object"),
        ("null", "no_statistics", "the response is not a JSON object: null"),
        ("5", "no_statistics", object),
        ("-5", "no_statistics", object),
        ("1.5", "no_statistics", object),
        ("true", "no_statistics", object),
        ("\"x\"", "no_statistics", object),
        ("[]", "no_statistics", "the response is not a JSON object: an array, but not of one object"),
        ("[{}]", "no_statistics", "empty object"),
        ("[1]", "no_statistics", object),
        ("[[{\"conferences\": 4}]]", "no_statistics", object),
        ("[{\"conferences\": 4}, {\"conferences\": 5}]", "no_statistics", object),
        // Other documents, and labels, times and unknown keys alone.
        (r#"{"name": "JVB", "version": "2.3.312", "os": "Linux"}"#, "no_statistics", statistic),
        (r#"{"status": "UP", "uptime": 12}"#, "no_statistics", statistic),
        (r#"{"region": "eu"}"#, "no_statistics", statistic),
        (
            r#"{"region": "eu", "version": "2", "current_timestamp": "2026-08-20 07:30:10.030"}"#,
            "no_statistics",
            statistic,
        ),
        (r#"{"conference_sizes": [1, 2], "conferences_by_audio_senders": [3, 4]}"#, "no_statistics", statistic),
        // One statistic, whatever its value, and the same one twice.
        (r#"{"drain": false}"#, "no_statistics", statistic),
        (r#"{"uptime": 12, "healthy": true}"#, "no_statistics", statistic),
        (r#"{"current_endpoints": 3}"#, "no_statistics", statistic),
        (r#"{"threads": 3, "thread_count": 3}"#, "no_statistics", statistic),
        // Two that cannot be read.
        (
            r#"{"conferences": {}, "participants": null, "healthy": "yes", "total_bytes_sent": -1}"#,
            "no_statistics",
            statistic,
        ),
        // Jicofo's /stats and /metrics, with keys that a bridge also sends.
        (r#"{"bridge_selector": {"bridge_count": 3}, "conferences": 1}"#, "no_statistics", "Jicofo's"),
        (r#"{"conferences": 1, "bridge_selector_bridge_count": 3}"#, "no_statistics", "Jicofo's"),
    ] {
        assert_eq!(check_scrape(body.as_bytes(), Standard).reason(), Some(reason), "{body}");
        let error = expose(Ok(body.as_bytes()), || Duration::ZERO, Standard, OpenMetrics).error.unwrap();
        assert!(format!("{error:#}").contains(words), "{body}: {error:#}");
    }
    assert_eq!(check_scrape(b"{\"conferences\": \"\xff\"}", Standard).reason(), Some("malformed"));
    for report in
        [r#"[{"conferences": 4, "healthy": 1}]"#, r#"{"conferences": "4", "drain_mode": "false", "uptime": 12}"#]
    {
        assert_eq!(check_scrape(report.as_bytes(), Standard).value("jitsi_conferences"), Some("4"));
    }
}

/// The responses of other paths of a bridge.
#[test]
fn other_documents_of_a_bridge_are_not_a_report() {
    for path in json_files(&fixtures().join("elsewhere")) {
        let body = fs::read(&path).unwrap();
        for names in [Standard, Legacy] {
            assert_eq!(check_scrape(&body, names).reason(), Some("no_statistics"), "{path:?}");
        }
    }
}
