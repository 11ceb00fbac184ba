//! What is exposed of a report, by example: which key wins, what is counted as unexposed, and what is not a report. How values are
//! read is in the golden files, those of `fixtures/odd` among them.

mod support;

use std::fs;
use std::time::Duration;

use jitsiexporter::metrics::family::Naming::{self, Legacy, Standard};
use jitsiexporter::metrics::format::Format::{OpenMetrics, Text};
use jitsiexporter::scrape::expose;
use support::exposition::check_scrape;
use support::{Exposition, fixtures, json_files};

/// The members of reports, and all samples that are exposed of them in both formats. A line `unexposed N` is the number of values
/// without a metric.
#[track_caller]
fn assert_exposed(names: Naming, rows: &[(&str, &[&str])]) {
    for (members, expected) in rows {
        // With two statistics more, so that it is the report of a bridge whatever else it has.
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
    // A bridge says [] before its first report.
    for sizes in ["[]", "\"[]\"", "[-1]", "[1.5]", "[null]", "[18446744073709551615, 1]", "3", "\"x\""] {
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
            // The last of a key that comes twice, even if it cannot be read.
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
                // The statistics of the exporter itself, of which `check_scrape` knows the values.
                (r#""up": 7"#, &["unexposed 1"]),
                (r#""exporter_build_info": 7"#, &["jitsi_media_export_build_info 7"]),
                (r#""exporter": {"up": 7}, "exporter-x": 8"#, &["jitsi_media_export_up 7", "jitsi_media_export_x 8"]),
                (r#""scrape_error": 7"#, &["unexposed 1"]),
                // Of the unknown, the first in the order of the keys.
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
fn exposes_unknown_numbers_and_booleans() {
    for names in [Standard, Legacy] {
        assert_exposed(
            names,
            &[
                (r#""new_number": 12, "new_float": 1.5"#, &["jitsi_new_number 12", "jitsi_new_float 1.5"]),
                (r#""new_negative": -3, "new_truth": true"#, &["jitsi_new_negative -3", "jitsi_new_truth 1"]),
                (r#""newObject": {"a": 1, "b": {"c": false}}"#, &["jitsi_newObject_a 1", "jitsi_newObject_b_c 0"]),
                (r#""odd key-1": 4, "": 5"#, &["jitsi_odd_key_1 4", "jitsi_ 5"]),
                (r#""new_string": "x", "new_array": [1], "new_null": null"#, &["unexposed 3"]),
                // A statistic that has become several.
                (r#""participants": {"udp": 3, "tcp": 1}"#, &["jitsi_participants_udp 3", "jitsi_participants_tcp 1"]),
                // Keys with half a surrogate pair end in one name, which is a clash like any other.
                (
                    r#""a\ud800": 1, "a\ud801": 2, "b\ud800c": {"d": 4}"#,
                    &["jitsi_a___ 1", "jitsi_b___c_d 4", "unexposed 1"],
                ),
            ],
        );
    }
    let help = "Statistic unknown to this release of the exporter (k_e_y_).";
    for (format, kind) in [(OpenMetrics, "unknown"), (Text, "untyped")] {
        let scrape =
            expose(Ok(br#"{"threads": 1, "visitors": 1, "k\"e\\y\n": 1}"#), || Duration::ZERO, Standard, format);
        let scrape = Exposition::of(&scrape.text);
        let family = scrape.statistics().find(|family| family.name == "jitsi_k_e_y_").expect("a valid name");
        assert_eq!((&*family.kind, &*family.help), (kind, help));
    }
}

#[test]
fn counts_values_without_a_metric() {
    assert_exposed(
        Standard,
        &[
            (r#""conferences": null"#, &["unexposed 1"]),
            (r#""tossedPacketsEnergy": {"average": 1, "max": null}"#, &["unexposed 1"]),
            (r#""a": {}"#, &[]),
            (r#""a": {"b": null, "c": "x", "d": [1, 2], "e": 1}"#, &["jitsi_a_e 1", "unexposed 3"]),
            (r#""a": 1, "A": 2, "a ": 3, "a_": 4"#, &["jitsi_a 1", "jitsi_A 2", "jitsi_a_ 3", "unexposed 1"]),
            (r#""version": null, "region": [], "release": 7"#, &["jitsi_bridge_info{release=\"7\"} 1", "unexposed 2"]),
            (r#""current_timestamp": "yesterday""#, &["unexposed 1"]),
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
        ("1e400", "malformed", json),
        ("{}", "no_statistics", "empty object; the statistics of the bridge are off: set videobridge.stats.enabled"),
        (" { } ", "no_statistics", "empty object"),
        ("null", "no_statistics", "the response is not a JSON object: null"),
        ("5", "no_statistics", object),
        ("-5", "no_statistics", object),
        ("1.5", "no_statistics", object),
        ("true", "no_statistics", object),
        ("\"x\"", "no_statistics", object),
        ("[]", "no_statistics", "the response is not a JSON object: an empty array"),
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
        // The /stats and the own /metrics of Jicofo, with keys that the bridge has as well.
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

/// What other URLs of a bridge answer.
#[test]
fn other_documents_of_a_bridge_are_not_a_report() {
    for path in json_files(&fixtures().join("elsewhere")) {
        let body = fs::read(&path).unwrap();
        for names in [Standard, Legacy] {
            assert_eq!(check_scrape(&body, names).reason(), Some("no_statistics"), "{path:?}");
        }
    }
}

#[test]
fn converts_transit_times() {
    let times = r#""rtp_transit_time": {"bucket_le_0.0": 1.0, "bucket_le_5.0": 2.0, "bucket_le_500.0": 2.0,
        "bucket_le_+Inf": 3.0, "count": 3.0, "sum": 30637.0, "created": 1795937259.211}"#;
    let lines = |name: &str, bounds: [&str; 3], sum: &str| {
        let buckets = bounds.iter().chain([&"+Inf"]).zip([1, 2, 2, 3]);
        let buckets = buckets.map(|(bound, count)| format!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        buckets.chain([format!("{name}_count 3"), format!("{name}_sum {sum}")]).collect::<Vec<_>>()
    };
    for (names, lines) in [
        (Standard, lines("jitsi_rtp_transit_time_seconds", ["0.0", "0.005", "0.5"], "30.637")),
        (Legacy, lines("jitsi_rtp_transit_time", ["0.0", "5.0", "500.0"], "30637.0")),
    ] {
        assert_exposed(names, &[(times, &lines.iter().map(String::as_str).collect::<Vec<_>>())]);
    }
    // Two bounds become one.
    let close = r#""rtp_transit_time": {"bucket_le_5e-324": 1, "bucket_le_1e-323": 1, "bucket_le_+Inf": 1, "count": 1, "sum": 0}"#;
    assert_exposed(Standard, &[(close, &["unexposed 1"])]);
}

#[test]
fn exposes_unknown_buckets_as_one_histogram() {
    let delay =
        r#""delay": {"bucket_le_1.0": 2.0, "bucket_le_+Inf": 5.0, "count": 5.0, "sum": 17.0, "created": 1795937259.2}"#;
    let samples = [
        "jitsi_delay_bucket{le=\"1.0\"} 2",
        "jitsi_delay_bucket{le=\"+Inf\"} 5",
        "jitsi_delay_count 5",
        "jitsi_delay_sum 17.0",
    ];
    for names in [Standard, Legacy] {
        let inside = format!("\"future\": {{{delay}}}");
        let inside_samples = samples.map(|sample| sample.replace("_delay", "_future_delay"));
        // Keys that end in a name of the histogram.
        let clash = format!("\"delay_count\": 1, {delay}, \"delay_max\": 2, \"delay_created\": 3");
        let clash_samples = [&samples[..], &["jitsi_delay_max 2", "unexposed 2"]].concat();
        assert_exposed(
            names,
            &[
                (delay, &samples),
                (&inside, &inside_samples.each_ref().map(String::as_str)),
                (&clash, &clash_samples),
                // Contradictory: counted, and no number for each member.
                (
                    r#""delay": {"bucket_le_1.0": 2.0, "bucket_le_+Inf": 5.0, "count": 6.0, "sum": 17.0}"#,
                    &["unexposed 1"],
                ),
                (r#""delay": {"bucket_le_1.0": 2.0}"#, &["unexposed 1"]),
                // No buckets.
                (r#""delay": {"count": 6.0, "sum": 17.0}"#, &["jitsi_delay_count 6.0", "jitsi_delay_sum 17.0"]),
            ],
        );
    }
    // A histogram whose names the catalogue has.
    let taken = r#""conferences": 1, "con": {"x": 1}, "threads": {"bucket_le_+Inf": 1.0, "count": 1.0, "sum": 1.0}, "threads_count": 2"#;
    let samples = [
        "jitsi_conferences 1",
        "jitsi_con_x 1",
        "jitsi_threads_bucket{le=\"+Inf\"} 1",
        "jitsi_threads_count 1",
        "jitsi_threads_sum 1.0",
        "unexposed 1",
    ];
    assert_exposed(Standard, &[(taken, &samples)]);
    let taken =
        r#""conference": {"sizes": {"bucket_le_+Inf": 1.0, "count": 1.0, "sum": 1.0}}, "conference_sizes": [1]"#;
    let samples = [
        "jitsi_conference_sizes_bucket{le=\"+Inf\"} 1",
        "jitsi_conference_sizes_gcount 1",
        "jitsi_conference_sizes_gsum 0",
        "unexposed 1",
    ];
    assert_exposed(Standard, &[(taken, &samples)]);
}
