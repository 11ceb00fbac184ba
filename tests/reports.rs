//! What is exposed of a report, by example: how each kind of value is read, which key wins, and what is not a report.

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

/// The values of a key, and what is exposed of each in standard names. Nothing means that the value is counted as unexposed.
#[track_caller]
fn assert_values(key: &str, name: &str, rows: &[(&str, &str)]) {
    for (written, value) in rows {
        let expected = if value.is_empty() { "unexposed 1".to_owned() } else { format!("{name} {value}") };
        assert_exposed(Standard, &[(&format!("\"{key}\": {written}"), &[&expected])]);
    }
}

#[test]
fn parses_numbers_in_strings() {
    let rows = [
        ("\"689.0096\"", "689.0096"),
        ("\"689,0096\"", "689.0096"),
        ("\" 12 \"", "12"),
        ("\"1.2345678E7\"", "12345678.0"),
        ("\"1.4E-4\"", "0.00014"),
        ("\"NaN\"", "NaN"),
        ("\"-Infinity\"", "-Inf"),
        ("\"\\u0031\"", "1"),
        ("\"nan\"", ""),
        ("\"1,2,3\"", ""),
        ("\"0x10\"", ""),
        ("\"1 2\"", ""),
        ("\"--1\"", ""),
        ("\"e\"", ""),
        ("true", ""),
        ("1e400", ""),
    ];
    assert_values("stress_level", "jitsi_stress_level", &rows);
    // Under a key that the catalogue does not know it is a string.
    assert_values("unheard_of", "", &[("\"5\"", "")]);
}

#[test]
fn keeps_all_digits_of_integers() {
    for digits in ["0", "9007199254740993", "9223372036854775808", "18446744073709551615", "-9223372036854775808"] {
        assert_values("threads", "jitsi_threads", &[(digits, digits)]);
        assert_values("unheard_of", "jitsi_unheard_of", &[(digits, digits)]);
    }
    let most = "18446744073709551615";
    assert_values("total_bytes_sent", "jitsi_sent_bytes_total", &[(most, most)]);
}

#[test]
fn drops_negative_and_nan_counters() {
    let rows = [("5.5", "5.5"), ("\"5\"", "5"), ("-1", ""), ("-0.5", ""), ("\"NaN\"", ""), ("\"-Infinity\"", "")];
    assert_values("total_ice_failed", "jitsi_ice_failed_total", &rows);
}

#[test]
fn parses_booleans() {
    let good = [("true", "1"), ("false", "0"), ("1", "1"), ("0", "0"), ("\"true\"", "1"), ("\"false\"", "0")];
    assert_values("healthy", "jitsi_healthy", &good);
    assert_values("healthy", "", &[("2", ""), ("\"yes\"", ""), ("null", ""), ("[]", "")]);
}

#[test]
fn writes_infinities_as_plus_and_minus_inf_in_text() {
    let report = br#"{"threads": "Infinity", "conferences": "-Infinity", "total_visitors": "Infinity"}"#;
    let scrape = Exposition::of(&expose(Ok(report), || Duration::ZERO, Standard, Text).text);
    let values = ["jitsi_threads", "jitsi_conferences", "jitsi_visitors_created_total"].map(|name| scrape.value(name));
    assert_eq!(values, [Some("+Inf"), Some("-Inf"), Some("+Inf")]);
}

#[test]
fn parses_conference_sizes() {
    let sizes = [
        "jitsi_conference_sizes_bucket{le=\"0.0\"} 1",
        "jitsi_conference_sizes_bucket{le=\"1.0\"} 1",
        "jitsi_conference_sizes_bucket{le=\"2.0\"} 3",
        // The last element stands for that size or more.
        "jitsi_conference_sizes_bucket{le=\"+Inf\"} 4",
        "jitsi_conference_sizes_gcount 4",
        "jitsi_conference_sizes_gsum 7",
    ];
    let rows = ["[1, 0, \"2\", 1.0]", "\"[1, 0, 2, 1]\""].map(|sizes| format!("\"conference_sizes\": {sizes}"));
    assert_exposed(Standard, &[(&rows[0], &sizes), (&rows[1], &sizes)]);
    // A bridge says [] before its first report.
    for odd in ["[]", "\"[]\"", "[-1]", "[1.5]", "[null]", "[18446744073709551615, 1]", "3", "\"x\""] {
        assert_values("conference_sizes", "", &[(odd, "")]);
    }
}

#[test]
fn parses_the_histogram_of_2021() {
    let energy = |buckets: &str, sum: &str| {
        format!("{{\"average\": 1, \"total_value\": {sum}, \"total_count\": 99, \"buckets\": {buckets}}}")
    };
    let good = energy(r#"{"> 7": 4, "<= 7": 3, "p99<=": -1}"#, "33000");
    let samples = [
        "jitsi_tossed_packets_energy_bucket{le=\"7.0\"} 3",
        "jitsi_tossed_packets_energy_bucket{le=\"+Inf\"} 7",
        "jitsi_tossed_packets_energy_count 7",
        "jitsi_tossed_packets_energy_sum 33000",
    ];
    assert_exposed(Standard, &[(&format!("\"tossedPacketsEnergy\": {good}"), &samples)]);
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
        assert_values("tossedPacketsEnergy", "", &[(&energy(buckets, sum), "")]);
    }
}

#[test]
fn parses_the_buckets_of_the_own_metrics() {
    let sizes = r#""conferences_by_size": {"bucket_le_0.0": 0.0, "bucket_le_1.0": 1.0, "bucket_le_2.0": 1.0,
        "bucket_le_+Inf": 3.0, "count": 3.0, "sum": 51.0, "created": 1.795462157345E9}"#;
    let standard = [
        "jitsi_conference_sizes_bucket{le=\"0.0\"} 0",
        "jitsi_conference_sizes_bucket{le=\"1.0\"} 1",
        "jitsi_conference_sizes_bucket{le=\"2.0\"} 1",
        "jitsi_conference_sizes_bucket{le=\"+Inf\"} 3",
        "jitsi_conference_sizes_gcount 3",
        "jitsi_conference_sizes_gsum 51.0",
    ];
    let legacy = ["\"0\"} 0", "\"1\"} 1", "\"2\"} 0", "\"3\"} 2"]
        .map(|size| format!("jitsi_conference_sizes{{conference_size={size}"));
    assert_exposed(Standard, &[(sizes, &standard)]);
    assert_exposed(Legacy, &[(sizes, &legacy.each_ref().map(String::as_str))]);
    // Valid, but a bucket holds several sizes, which legacy names cannot say.
    let wide = r#""conferences_by_size": {"bucket_le_10.0": 1, "bucket_le_+Inf": 2, "count": 2, "sum": 13}"#;
    let standard = [
        "jitsi_conference_sizes_bucket{le=\"10.0\"} 1",
        "jitsi_conference_sizes_bucket{le=\"+Inf\"} 2",
        "jitsi_conference_sizes_gcount 2",
        "jitsi_conference_sizes_gsum 13",
    ];
    assert_exposed(Standard, &[(wide, &standard)]);
    assert_exposed(Legacy, &[(wide, &["unexposed 1"])]);
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
fn legacy_names_have_the_units_of_colibri_stats() {
    assert_exposed(
        Legacy,
        &[
            (r#""incoming_bitrate": 2942920"#, &["jitsi_bit_rate_download 2942.92"]),
            (r#""outgoing_bitrate": 7488000"#, &["jitsi_bit_rate_upload 7488"]),
            (r#""relay_incoming_bitrate": 4001"#, &["jitsi_octo_receive_bitrate 4001"]),
            (r#""average_rtt": 0.5"#, &["jitsi_rtt_aggregate 0.5"]),
            (r#""video_milliseconds_received_total": 1500"#, &["jitsi_total_video_stream_milliseconds_received 1500"]),
            // Of the two older exporters, one prints these with the prefix and the other without.
            (r#""ice_failed_total": 2"#, &["jitsi_total_ice_failed 2", "total_ice_failed 2"]),
            (r#""stress": 0.25"#, &["jitsi_stress_level 0.25"]),
            (r#""drain_mode": true"#, &["jitsi_drain 1"]),
            (r#""current_timestamp": 1787211010030"#, &["jitsi_current_timestamp 1787211010030"]),
            // What /colibri/stats does not have keeps its own key and unit.
            (r#""jvm_gc_time": 403"#, &["jitsi_jvm_gc_time 403"]),
            (r#""xmpp_disconnects_total": 1"#, &["jitsi_xmpp_disconnects_total 1"]),
            (r#""startup_time": 1795462049366"#, &["jitsi_startup_time 1795462049366"]),
        ],
    );
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
        (r#"{"bridge_selector": {"bridge_count": 3}, "conferences": 1}"#, "no_statistics", "those of Jicofo"),
        (r#"{"conferences": 1, "bridge_selector_bridge_count": 3}"#, "no_statistics", "those of Jicofo"),
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
