//! The promises of the project, one by one, on the pure part: bytes of a bridge in, exposition out.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use jitsiexporter::catalogue::{Kind, ROWS};
use jitsiexporter::demo;
use jitsiexporter::family::Naming::{self, Legacy, Standard};
use jitsiexporter::format::Format::{self, OpenMetrics, Text};
use jitsiexporter::scrape::expose;
use serde_json::value::RawValue;
use support::{CURRENT, fixtures, sample};

const ALL: [(Naming, Format); 4] = [(Standard, OpenMetrics), (Standard, Text), (Legacy, OpenMetrics), (Legacy, Text)];

/// A report with one statistic more, so that it is that of a bridge whatever else it has.
fn with_statistic(report: &str) -> String {
    report.replacen('{', "{\"mucs_joined\": 0, ", 1)
}

fn text(report: &str, names: Naming, format: Format) -> String {
    expose(Ok(report.as_bytes()), || Duration::from_millis(1), names, format).text
}

fn open_metrics(report: &str) -> String {
    text(report, Standard, OpenMetrics)
}

/// The value of a sample in standard names, for a report of these members.
fn value(members: &str, name: &str) -> Option<String> {
    let report = with_statistic(&format!("{{{members}}}"));
    let open_metrics = open_metrics(&report);
    let value = sample(&open_metrics, name).map(str::to_owned);
    // Infinities are written differently.
    let text = text(&report, Standard, Text).replace(" +Inf\n", " inf\n").replace(" -Inf\n", " -inf\n");
    assert_eq!(value.as_deref(), sample(&text, name), "the formats differ for {members}");
    value
}

fn unexposed(report: &str) -> u64 {
    let report = with_statistic(report).replace(", }", "}");
    sample(&open_metrics(&report), "jitsi_unexposed_values").unwrap().parse().unwrap()
}

/// The names of all samples, without labels.
fn names(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(['{', ' ']).next().unwrap()).collect()
}

#[test]
fn exposes_every_statistic_with_its_type() {
    for (row, source) in ROWS.iter().flat_map(|row| row.sources().map(move |source| (row, source))) {
        let key = row.primary().key;
        let (value, standard, legacy) = match row.kind {
            Kind::Gauge | Kind::Counter => ("7", row.standard.name.to_owned(), row.legacy.name.to_owned()),
            Kind::Boolean => ("true", row.standard.name.to_owned(), row.legacy.name.to_owned()),
            Kind::Timestamp => ("\"2026-08-20 07:30:10.030\"", row.standard.name.to_owned(), String::new()),
            Kind::Info => {
                let label = format!("{{{key}=\"x\"}}");
                ("\"x\"", format!("{}{label}", row.standard.name), format!("{}{label}", row.legacy.name))
            }
            Kind::Sizes => (
                "[0,1,2]",
                format!("{}_bucket{{le=\"+Inf\"}}", row.standard.name),
                format!("{}{{conference_size=\"2\"}}", row.legacy.name),
            ),
            Kind::Histogram => (
                r#"{"total_value": 9, "buckets": {"<= 7": 1, "> 7": 2}}"#,
                format!("{}_count", row.standard.name),
                format!("{}_count", row.legacy.name),
            ),
        };
        let report = format!("{{\"{}\": {value}}}", source.key);
        for (names, format) in ALL {
            let text = text(&with_statistic(&report), names, format);
            let name = if names == Standard { &standard } else { &legacy };
            if name.is_empty() {
                assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("1"), "{report}");
                continue;
            }
            assert!(sample(&text, name).is_some(), "{report} lacks {name}:\n{text}");
            assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("0"), "{report}");
            let word = match (row.kind, names, format) {
                (Kind::Counter, Legacy, OpenMetrics) if !row.legacy.name.ends_with("_total") => "unknown",
                (Kind::Counter, ..) => "counter",
                (Kind::Info, _, OpenMetrics) => "info",
                (Kind::Sizes, Standard, OpenMetrics) => "gaugehistogram",
                (Kind::Sizes, Standard, Text) | (Kind::Histogram, ..) => "histogram",
                _ => "gauge",
            };
            let types =
                text.lines().filter(|line| line.starts_with("# TYPE ") && !line.contains("jitsi_exporter_build"));
            assert!(
                types.clone().skip(3).any(|line| line.ends_with(&format!(" {word}"))),
                "{report}: no {word} in\n{text}"
            );
        }
    }
}

#[test]
fn does_not_expose_absent_statistics() {
    // The keys of a report, and what each may put into the exposition.
    for (names_, format) in ALL {
        let text = text(r#"{"conferences": 4}"#, names_, format);
        let own = ["jitsi_up", "jitsi_scrape_duration_seconds", "jitsi_unexposed_values", "jitsi_exporter_build_info"];
        let expected: BTreeSet<_> = own.into_iter().chain(["jitsi_conferences"]).collect();
        assert_eq!(names(&text), expected);
    }
    // "[]" is what a bridge says of sizes before its first report: nothing, and not 22 zeros.
    for empty in ["[]", "\"[]\""] {
        let text = open_metrics(&format!("{{\"conferences\": 0, \"conference_sizes\": {empty}}}"));
        assert!(!text.contains("jitsi_conference_sizes"), "{text}");
        assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("1"));
    }
}

#[test]
fn odd_values_do_not_affect_others() {
    let odd = [
        "null",
        "true",
        "false",
        "\"\"",
        "\"x\"",
        "\"12\"",
        "\"1,5\"",
        "-1",
        "1.5",
        "1e400",
        "-1e400",
        "[]",
        "[null]",
        "[1,[2]]",
        "{}",
        "{\"a\": {\"b\": []}}",
        "\"[]\"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"\\ud800\"",
        "18446744073709551616",
        "-0",
        "1E-7",
    ];
    let keys = ROWS.iter().flat_map(|row| row.sources().map(|source| source.key));
    for key in keys.filter(|key| *key != OTHER.0) {
        for odd in odd {
            let report = format!("{{\"{key}\": {odd}, \"z_other\": 5, \"{}\": 6}}", OTHER.0);
            for (names, format) in ALL {
                let text = text(&report, names, format);
                assert_eq!(sample(&text, "jitsi_up"), Some("1"), "{report}");
                assert_eq!(sample(&text, "jitsi_z_other"), Some("5"), "{report}");
                let other = if names == Standard { OTHER.1 } else { OTHER.2 };
                assert_eq!(sample(&text, other), Some("6"), "{report}");
            }
        }
    }
}

/// A statistic that stands for the rest: key, standard name, legacy name.
const OTHER: (&str, &str, &str) = ("total_visitors", "jitsi_visitors_created_total", "jitsi_total_visitors");

#[test]
fn exposes_unknown_numbers_and_booleans() {
    let report = r#"{
        "new_number": 12, "new_float": 1.5, "new_negative": -3, "new_truth": true, "newObject": {"a": 1, "b": {"c": false}},
        "new_string": "x", "new_array": [1], "new_null": null, "odd key-1": 4, "": 5
    }"#;
    for (names, format) in ALL {
        let text = text(&with_statistic(report), names, format);
        let divided = self::text(r#"{"participants": {"udp": 3, "tcp": 1}}"#, names, format);
        assert_eq!(sample(&divided, "jitsi_participants_udp"), Some("3"), "a statistic that has become several");
        for (name, value) in [
            ("jitsi_new_number", "12"),
            ("jitsi_new_float", "1.5"),
            ("jitsi_new_negative", "-3"),
            ("jitsi_new_truth", "1"),
            ("jitsi_newObject_a", "1"),
            ("jitsi_newObject_b_c", "0"),
            ("jitsi_odd_key_1", "4"),
            ("jitsi_", "5"),
            ("jitsi_unexposed_values", "3"),
        ] {
            assert_eq!(sample(&text, name), Some(value), "{name} in\n{text}");
        }
        let word = if format == OpenMetrics { "unknown" } else { "untyped" };
        assert!(text.contains(&format!("# TYPE jitsi_new_number {word}\n")), "{text}");
        assert!(text.contains("# HELP jitsi_odd_key_1 Statistic unknown to this release of the exporter (odd key-1)."));
    }
}

#[test]
fn hostile_reports_are_exposed_validly() {
    // A name that two statistics end in has one sample: the catalogue's, or the exporter's own, or the first of the unknown.
    // The one line of the name, in standard and in legacy names.
    let revision = option_env!("JITSIEXPORTER_REVISION").map(|revision| format!(",revision=\"{revision}\""));
    let labels = format!("version=\"{}\"{}", env!("CARGO_PKG_VERSION"), revision.unwrap_or_default());
    let build = &*format!("jitsi_exporter_build_info{{{labels}}} 1");
    for (clash, standard, legacy) in [
        ("\"up\": 7", "jitsi_up 1", "jitsi_up 1"),
        ("\"exporter_build_info\": 7, \"exporter_build\": 7", build, build),
        // There is no error, and nothing else of that name.
        ("\"scrape_error\": 7", "jitsi_scrape_error", "jitsi_scrape_error"),
        (
            "\"ice_failed\": 7, \"ice_failed_total\": 7, \"total_ice_failed\": 1",
            "jitsi_ice_failed_total 1",
            "jitsi_total_ice_failed 1",
        ),
        (
            "\"conference_sizes_bucket\": 7, \"conference_sizes\": [1]",
            "jitsi_conference_sizes_bucket{le=\"+Inf\"} 1",
            "jitsi_conference_sizes{conference_size=\"0\"} 1",
        ),
        (
            "\"bridge\": 7, \"version\": \"x\"",
            "jitsi_bridge_info{version=\"x\"} 1",
            "jitsi_version_info{version=\"x\"} 1",
        ),
        (
            "\"version_info\": 7, \"version\": \"x\"",
            "jitsi_bridge_info{version=\"x\"} 1",
            "jitsi_version_info{version=\"x\"} 1",
        ),
        ("\"a-b\": 7, \"a b\": 1, \"a_b\": 7", "jitsi_a_b 1", "jitsi_a_b 1"),
        ("\"a\": {\"b\": 7}, \"a_b\": 1", "jitsi_a_b 1", "jitsi_a_b 1"),
    ] {
        for (names, format) in ALL {
            let text = text(&with_statistic(&format!("{{{clash}}}")), names, format);
            let mut samples: Vec<_> = text
                .lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| line.rsplit_once(' ').unwrap().0)
                .collect();
            let all = samples.len();
            samples.sort_unstable();
            samples.dedup();
            assert_eq!(samples.len(), all, "{clash}\n{text}");
            let mut families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
            let all = families.len();
            families.sort_unstable();
            families.dedup_by_key(|line| line.split(' ').next().unwrap());
            assert_eq!(families.len(), all, "{clash}\n{text}");
            let right = if names == Standard { standard } else { legacy };
            let name = |line: &str| line.split(['{', ' ']).next().map(str::to_owned);
            let lines: Vec<_> = text.lines().filter(|line| name(line) == name(right)).collect();
            let expected: Vec<_> = right.contains(' ').then_some(right).into_iter().collect();
            assert_eq!(lines, expected, "{clash}: the wrong one won\n{text}");
        }
    }
    // Labels are escaped, help texts have nothing to escape.
    let text = open_metrics(r#"{"threads": 1, "version": "a\"b\\c\nd", "k\"e\\y\n": 1}"#);
    assert!(text.contains(r#"jitsi_bridge_info{version="a\"b\\c\nd"} 1"#), "{text}");
    assert!(text.contains("release of the exporter (k_e_y_)."), "{text}");
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn parses_numbers_in_strings() {
    for (written, read) in [
        ("\"689.0096\"", Some("689.0096")),
        ("\"689,0096\"", Some("689.0096")),
        ("\"0\"", Some("0")),
        ("\" 12 \"", Some("12")),
        ("\"1.2345678E7\"", Some("12345678.0")),
        ("\"1.4E-4\"", Some("0.00014")),
        ("\"-3\"", Some("-3")),
        ("\"NaN\"", Some("NaN")),
        ("\"Infinity\"", Some("inf")),
        ("\"-Infinity\"", Some("-inf")),
        ("\"\\u0031\"", Some("1")),
        ("\"+5\"", None),
        ("\"inf\"", None),
        ("\"nan\"", None),
        ("\"1.234,5\"", None),
        ("\"1,2,3\"", None),
        ("\"0x10\"", None),
        ("\"1 2\"", None),
        ("\"\"", None),
        ("\"--1\"", None),
        ("\"1e999\"", None),
        ("\"e\"", None),
    ] {
        assert_eq!(value(&format!("\"stress_level\": {written}"), "jitsi_stress_level").as_deref(), read, "{written}");
    }
    // Under a key that the catalogue does not know it is a string.
    assert_eq!(value("\"unheard_of\": \"5\"", "jitsi_unheard_of"), None);
}

#[test]
fn writes_infinities_as_plus_and_minus_inf() {
    for names in [Standard, Legacy] {
        let report =
            r#"{"threads": "Infinity", "conferences": "-Infinity", "total_visitors": "Infinity", "visitors": 1}"#;
        let text = text(report, names, Text);
        let counter = if names == Standard { OTHER.1 } else { OTHER.2 };
        for (name, value) in
            [("jitsi_threads", "+Inf"), ("jitsi_conferences", "-Inf"), (counter, "+Inf"), ("jitsi_visitors", "1")]
        {
            assert_eq!(sample(&text, name), Some(value), "{text}");
        }
        assert!(text.contains(&format!("# TYPE {counter} counter\n")), "{text}");
    }
}

#[test]
fn legacy_names_expose_numeric_timestamps() {
    let report = r#"{"threads": 1, "current_timestamp": 1787211010030}"#;
    for format in [OpenMetrics, Text] {
        let text = text(report, Legacy, format);
        assert_eq!(sample(&text, "jitsi_current_timestamp"), Some("1787211010030"), "{text}");
        assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("0"), "{text}");
    }
}

#[test]
fn keeps_all_digits_of_integers() {
    for digits in [
        "0",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "-9223372036854775808",
    ] {
        assert_eq!(value(&format!("\"threads\": {digits}"), "jitsi_threads").as_deref(), Some(digits));
        assert_eq!(value(&format!("\"unheard_of\": {digits}"), "jitsi_unheard_of").as_deref(), Some(digits));
    }
    assert_eq!(
        value("\"total_bytes_sent\": 18446744073709551615", "jitsi_sent_bytes_total").as_deref(),
        Some("18446744073709551615")
    );
}

#[test]
fn drops_negative_and_nan_counters() {
    for (written, read) in [
        ("5", Some("5")),
        ("5.5", Some("5.5")),
        ("\"5\"", Some("5")),
        ("-1", None),
        ("-0.5", None),
        ("\"NaN\"", None),
        ("\"-Infinity\"", None),
        ("null", None),
    ] {
        let members = format!("\"total_ice_failed\": {written}");
        assert_eq!(value(&members, "jitsi_ice_failed_total").as_deref(), read, "{written}");
        assert_eq!(unexposed(&format!("{{{members}}}")), u64::from(read.is_none()), "{written}");
    }
}

#[test]
fn parses_booleans() {
    for (written, read) in [
        ("true", Some("1")),
        ("false", Some("0")),
        ("1", Some("1")),
        ("0", Some("0")),
        ("\"true\"", Some("1")),
        ("\"false\"", Some("0")),
        ("2", None),
        ("\"yes\"", None),
        ("null", None),
        ("[]", None),
    ] {
        assert_eq!(value(&format!("\"healthy\": {written}"), "jitsi_healthy").as_deref(), read, "{written}");
    }
    assert_eq!(value("\"conferences\": true", "jitsi_conferences"), None);
}

#[test]
fn parses_conference_sizes() {
    let text = open_metrics(r#"{"conference_sizes": [1, 0, "2", 1.0]}"#);
    for (name, value) in [
        ("jitsi_conference_sizes_bucket{le=\"0.0\"}", "1"),
        ("jitsi_conference_sizes_bucket{le=\"1.0\"}", "1"),
        ("jitsi_conference_sizes_bucket{le=\"2.0\"}", "3"),
        ("jitsi_conference_sizes_bucket{le=\"+Inf\"}", "4"),
        ("jitsi_conference_sizes_gcount", "4"),
        ("jitsi_conference_sizes_gsum", "7"),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{text}");
    }
    assert!(!text.contains("le=\"3.0\""), "the last element stands for that size or more: {text}");
    let same = open_metrics(r#"{"conference_sizes": "[1, 0, 2, 1]"}"#);
    assert_eq!(same, text, "an array in a string is that array");
    for odd in ["[-1]", "[1.5]", "[null]", "[18446744073709551615, 1]", "[0, 18446744073709551615, 9]", "3", "\"x\""] {
        let report = format!("{{\"conference_sizes\": {odd}}}");
        assert_eq!(unexposed(&report), 1, "{odd}");
        assert!(!open_metrics(&report).contains("conference_sizes"), "{odd}");
    }
}

#[test]
fn parses_the_histogram_of_2021() {
    let histogram = |buckets: &str, sum: &str| {
        format!(
            r#"{{"tossedPacketsEnergy": {{"average": 1, "max": 9, "total_value": {sum}, "total_count": 99, "buckets": {buckets}}}}}"#
        )
    };
    let text = open_metrics(&histogram(r#"{"> 7": 4, "<= 7": 3, "p99<=": -1}"#, "33000"));
    for (name, value) in [
        ("jitsi_tossed_packets_energy_bucket{le=\"7.0\"}", "3"),
        ("jitsi_tossed_packets_energy_bucket{le=\"+Inf\"}", "7"),
        ("jitsi_tossed_packets_energy_count", "7"),
        ("jitsi_tossed_packets_energy_sum", "33000.0"),
        ("jitsi_unexposed_values", "0"),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{text}");
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
    ] {
        let report = histogram(buckets, sum);
        assert_eq!(unexposed(&report), 1, "{report}");
        assert!(!open_metrics(&report).contains("tossed"), "{report}");
    }
}

#[test]
fn last_of_duplicate_keys_wins() {
    assert_eq!(value(r#""conferences": 1, "conferences": 2"#, "jitsi_conferences").as_deref(), Some("2"));
    assert_eq!(value(r#""unheard_of": 1, "unheard_of": 2"#, "jitsi_unheard_of").as_deref(), Some("2"));
    assert_eq!(value(r#""a": {"b": 1, "b": 2}"#, "jitsi_a_b").as_deref(), Some("2"));
    assert_eq!(value(r#""conferences": 1, "conferences": null"#, "jitsi_conferences"), None);
}

#[test]
fn first_in_the_catalogue_wins_a_name() {
    let report = r#"{"total_conferences": 1, "total_conferences_completed": 2}"#;
    assert_eq!(sample(&open_metrics(report), "jitsi_conferences_completed_total"), Some("2"));
    assert_eq!(unexposed(report), 1);
    assert_eq!(unexposed(r#"{"total_conferences": 1}"#), 0);
}

#[test]
fn counts_values_without_a_metric() {
    for (report, count) in [
        (r#"{"conferences": null}"#, 1),
        (r#"{"conferences": {"a": 1, "b": "x"}}"#, 1),
        (r#"{"tossedPacketsEnergy": {"average": 1, "max": null}}"#, 1),
        (r#"{"a": {}}"#, 0),
        (r#"{"a": {"b": null, "c": "x", "d": [1, 2], "e": 1}}"#, 3),
        (r#"{"a": 1, "A": 2, "a ": 3, "a_": 4}"#, 1),
        (r#"{"version": null, "region": [], "release": 7}"#, 2),
        (r#"{"current_timestamp": "yesterday"}"#, 1),
        (r#"{"a": 1e400}"#, 1),
    ] {
        assert_eq!(unexposed(report), count, "{report}");
    }
}

#[test]
fn limits_nesting() {
    let nested =
        |depth: usize| format!("{{\"conferences\": 4, \"k\": {}1{}}}", "{\"k\":".repeat(depth), "}".repeat(depth));
    assert_eq!(sample(&open_metrics(&nested(15)), &format!("jitsi_k{}", "_k".repeat(15))), Some("1"));
    for depth in [17, 10_000] {
        let report = nested(depth);
        assert_eq!(sample(&open_metrics(&report), "jitsi_conferences"), Some("4"));
        assert_eq!(unexposed(&report), 1);
    }
    let report = format!("{{\"conferences\": 4, \"k\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(sample(&open_metrics(&report), "jitsi_conferences"), Some("4"));
}

#[test]
fn reports_why_a_document_is_not_a_report() {
    for (answer, reason) in [
        ("", "malformed"),
        ("<html>", "malformed"),
        ("{\"conferences\": 4", "malformed"),
        ("{\"conferences\": 4} x", "malformed"),
        ("{\"conferences\": NaN}", "malformed"),
        ("{\"conferences\": 01}", "malformed"),
        ("{'conferences': 4}", "malformed"),
        ("1e400", "malformed"),
        ("{}", "no_statistics"),
        (" { } ", "no_statistics"),
        ("null", "no_statistics"),
        ("5", "no_statistics"),
        ("-5", "no_statistics"),
        ("1.5", "no_statistics"),
        ("true", "no_statistics"),
        ("\"x\"", "no_statistics"),
        ("[]", "no_statistics"),
        ("[{}]", "no_statistics"),
        ("[1]", "no_statistics"),
        ("[[{\"conferences\": 4}]]", "no_statistics"),
        ("[{\"conferences\": 4}, {\"conferences\": 5}]", "no_statistics"),
    ] {
        let text = open_metrics(answer);
        assert_eq!(support::reason(&text), Some(reason), "{answer}");
        assert_eq!(sample(&text, "jitsi_up"), Some("0"), "{answer}");
        assert_eq!(names(&text).len(), 5, "{answer}: more than the scrape's own metrics\n{text}");
    }
    let scrape = expose(Ok(b"{\"conferences\": \"\xff\"}"), || Duration::ZERO, Standard, OpenMetrics);
    assert_eq!(support::reason(&scrape.text), Some("malformed"));
    assert_eq!(sample(&open_metrics("[{\"conferences\": 4}]"), "jitsi_conferences"), Some("4"));
}

#[test]
fn rejects_statistics_of_jicofo() {
    // Its /stats and its own /metrics, with keys that the bridge has as well.
    for report in [
        r#"{"bridge_selector": {"bridge_count": 3}, "conferences": 1, "largest_conference": 2}"#,
        r#"{"conferences": 1, "bridge_selector_bridge_count": 3, "healthy": true}"#,
    ] {
        let scrape = expose(Ok(report.as_bytes()), || Duration::ZERO, Standard, OpenMetrics);
        assert_eq!(support::reason(&scrape.text), Some("no_statistics"));
        assert!(!scrape.text.contains("jitsi_conferences"), "{}", scrape.text);
        assert!(scrape.error.is_some_and(|error| error.to_string().contains("Jicofo")));
    }
}

#[test]
fn legacy_names_match_the_go_exporters() {
    let text = text(CURRENT, Legacy, Text);
    for (name, value) in [
        ("jitsi_bit_rate_download", "12490"),
        ("jitsi_rtt_aggregate", "52.3125"),
        ("jitsi_total_participants", "4851"),
        ("jitsi_participants", "14"),
        ("jitsi_graceful_shutdown", "0"),
        ("jitsi_healthy", "1"),
        ("jitsi_version_info{version=\"2.3.312-ga29d97d13\"}", "1"),
        ("jitsi_region_info{region=\"eu-central\"}", "1"),
        ("jitsi_relay_id_info{relay_id=\"10.0.0.5:4096\"}", "1"),
        ("jitsi_release_info{release=\"1042\"}", "1"),
        // Of the two, one prints these with the prefix and the other without.
        ("jitsi_total_ice_failed", "21"),
        ("total_ice_failed", "21"),
        ("total_ice_succeeded", "4821"),
        ("total_ice_succeeded_relayed", "204"),
    ] {
        assert_eq!(sample(&text, name), Some(value), "{name}");
    }
}

#[test]
fn order_does_not_depend_on_the_report() {
    let forwards = open_metrics(r#"{"b": 1, "a": 2, "threads": 3, "conferences": 4}"#);
    let backwards = open_metrics(r#"{"conferences": 4, "threads": 3, "a": 2, "b": 1}"#);
    assert_eq!(forwards, backwards);
    assert!(forwards.starts_with("# HELP jitsi_up "), "{forwards}");
}

/// The keys of a report.
fn keys(report: &str) -> BTreeSet<String> {
    serde_json::from_str::<BTreeMap<String, &RawValue>>(report).unwrap().into_keys().collect()
}

#[test]
fn demo_has_every_key_of_a_current_bridge() {
    let now = Duration::from_secs(1_794_304_800);
    let (stats, native) = (demo::stats(now), demo::native(now));
    // And the distributions that bridges had there until 2024.
    let more = keys(&stats).difference(&keys(CURRENT)).cloned().collect::<Vec<_>>();
    assert_eq!(
        more,
        ["conference_sizes", "conferences_by_audio_senders", "conferences_by_video_senders", "tossedPacketsEnergy"]
    );
    assert!(keys(CURRENT).is_subset(&keys(&stats)));
    let current = fs::read_to_string(fixtures().join("native/2026-08-2.3-312-media10.json")).unwrap();
    assert_eq!(keys(&native), keys(&current));
    // Both say the same.
    let (stats, native) = (open_metrics(&stats), open_metrics(&native));
    let scraped = |text: &str| -> BTreeSet<_> { text.lines().map(str::to_owned).collect() };
    let both: Vec<_> =
        scraped(&stats).intersection(&scraped(&native)).filter(|line| !line.starts_with('#')).cloned().collect();
    assert!(both.len() > 150, "{both:?}");
    for name in ["jitsi_download_bytes_per_second", "jitsi_conference_sizes_gcount", "jitsi_participants"] {
        assert_eq!(sample(&stats, name), sample(&native, name), "{name}");
    }
}

#[test]
fn demo_is_plausible() {
    let mut now = Duration::from_secs(1_793_577_600);
    let counters: Vec<_> = ROWS.iter().filter(|row| row.kind == Kind::Counter).map(|row| row.standard.name).collect();
    let mut latest: BTreeMap<&str, f64> = BTreeMap::new();
    let mut busiest: f64 = 0.0;
    // More than a week, to every part of a day.
    for _ in 0..200 {
        now += Duration::from_secs(3_893);
        for report in [demo::stats(now), demo::native(now)] {
            let text = open_metrics(&report);
            let value = |name: &str| sample(&text, name).map(|value| value.parse::<f64>().unwrap());
            assert_eq!(value("jitsi_unexposed_values"), Some(0.0));
            for name in &counters {
                let Some(value) = value(name) else { continue };
                let before = latest.insert(name, value);
                assert!(before.is_none_or(|before| before <= value), "{name} falls at {now:?}");
            }
            let gauge = |name: &str| value(name).unwrap();
            let endpoints = gauge("jitsi_endpoints");
            assert!(endpoints >= 1.0 && gauge("jitsi_local_endpoints") >= 0.0);
            assert!(gauge("jitsi_largest_conference") <= endpoints);
            let counted = gauge("jitsi_conference_sizes_gcount");
            assert!((counted - gauge("jitsi_conferences")).abs() < 0.5);
            for part in
                ["inactive_endpoints", "receive_only_endpoints", "local_active_endpoints", "endpoints_sending_video"]
            {
                assert!((0.0..=endpoints).contains(&gauge(&format!("jitsi_{part}"))), "{part} at {now:?}: {text}");
            }
            assert!((0.0..1.5).contains(&gauge("jitsi_stress_level")));
            busiest = busiest.max(endpoints);
            if let Some(time) = value("jitsi_report_timestamp_seconds") {
                assert!((time - now.as_secs_f64()).abs() < 0.002, "{time} is not {now:?}");
            }
        }
    }
    assert!(busiest > 100.0, "{busiest}");
    // The clock of a machine can be wrong.
    assert_eq!(sample(&open_metrics(&demo::stats(Duration::ZERO)), "jitsi_conferences_created_total"), Some("0"));
}

#[test]
fn keeps_keys_with_lone_surrogates_apart() {
    // They end in one name, which is a clash like any other: the second is counted.
    let text = open_metrics(r#"{"threads": 3, "a\ud800": 1, "a\ud801": 2, "b\ud800c": {"d": 4}}"#);
    for (name, value) in [("jitsi_a___", "1"), ("jitsi_b___c_d", "4"), ("jitsi_unexposed_values", "1")] {
        assert_eq!(sample(&text, name), Some(value), "{text}");
    }
}
