//! Sentences of `SECURITY.md` that no other test proves, and its references.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use jitsiexporter::metrics::family::Naming::{Legacy, Standard};
use support::exposition::check_scrape;
use support::{CURRENT, Exporter, FakeBridge, response, run};

#[test]
fn clients_cannot_change_the_request_to_the_bridge() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url().replace("://", "://me:secret@"), &[]);
    exporter.metrics();
    for (path, headers) in [
        ("/metrics?target=http://127.0.0.1:1/&url=/colibri/shutdown", &[][..]),
        ("http://127.0.0.1:1/metrics", &[]),
        ("/metrics", &[("Authorization", "Basic eDp5"), ("Cookie", "a=b"), ("X-Forwarded-For", "10.0.0.1")]),
        ("/metrics", &[("Accept", "text/html"), ("Accept-Encoding", "gzip"), ("User-Agent", "curl")]),
        ("/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", "30"), ("Range", "bytes=0-1"), ("Expect", "x")]),
        ("/metrics", &[("Content-Length", "11"), ("Transfer-Encoding", "identity")]),
        ("/metrics", &[("Connection", "upgrade"), ("Upgrade", "h2c"), ("Proxy-Authorization", "Basic eDp5")]),
    ] {
        exporter.request("GET", path, headers);
    }
    // Other paths are not forwarded either.
    for path in ["/colibri/stats", "/metrics/../colibri/shutdown", "//127.0.0.1:1/metrics", "/colibri/conferences"] {
        exporter.request("GET", path, &[]);
    }
    exporter.request("POST", "/metrics", &[("Content-Length", "0")]);
    exporter.request("HEAD", "/metrics", &[]);
    let requests = bridge.requests();
    assert!(requests.len() >= 5, "{requests:#?}");
    let different: BTreeSet<_> = requests.iter().collect();
    assert_eq!(different.len(), 1, "{different:#?}");
    assert!(requests[0].starts_with("GET /colibri/stats HTTP/1.1\r\n"), "{}", requests[0]);
}

#[test]
fn text_of_the_bridge_is_not_exposed() {
    let secret = "s3cr3t";
    for body in [
        format!("<html>{secret}</html>"),
        format!("\"{secret}\""),
        format!("{{\"{secret}\": "),
        format!("{{\"threads\": \"{secret}\", \"new\": \"{secret}\", \"list\": [\"{secret}\"]}}"),
        format!("{{\"current_timestamp\": \"{secret}\", \"healthy\": {{\"why\": \"{secret}\"}}}}"),
    ] {
        for names in [Standard, Legacy] {
            let text = check_scrape(body.as_bytes(), names).text;
            assert!(!text.contains(secret), "{body}: {text}");
        }
    }
}

#[test]
fn log_entries_are_one_line() {
    for args in [
        &["--no\njitsiexporter: such option"][..],
        &["--timeout", "1\n2"],
        &["--listen-address", "x\r\n\u{1b}[2J:1"],
        &["--url", "http://a\nb/"],
        &["--ca-file", "no\nsuch"],
        &["--once=\n"],
    ] {
        let (code, _, log) = run(args);
        let line = log.strip_suffix('\n').expect("a line");
        assert!(matches!(code, Some(1 | 2)) && !line.contains(char::is_control), "{args:?}: {log:?}");
    }
    // The log also quotes the bridge.
    let bridge =
        FakeBridge::bytes(response("200 OK", "text/html", "<html>\n\u{1b}[2J\r\njitsiexporter: \u{85}all is well"));
    let exporter = Exporter::before(&bridge.url(), &[]);
    assert_eq!(exporter.metrics().reason(), Some("malformed"));
    exporter.wait_for_log("it begins with");
    assert_eq!(exporter.log().len(), 2, "{:#?}", exporter.log());
    assert!(exporter.log().iter().all(|line| !line.contains(char::is_control)), "{:#?}", exporter.log());
}

#[test]
fn clients_cannot_fill_the_log() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    exporter.metrics();
    for bytes in [
        "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: x\r\nConnection: close\r\n\r\n",
        "GET /no/such/page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
    ] {
        exporter.send(bytes);
    }
    // A client that gives up at once fails each of its scrapes.
    for timeout in ["0.000001", "1e-9", "0.0001"] {
        for _ in 0..50 {
            exporter.request("GET", "/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", timeout)]);
        }
    }
    exporter.metrics();
    assert_eq!(exporter.log().len(), 1, "{:#?}", exporter.log());

    // A client that gives up a little later fails if the bridge is slow, while another client waits and succeeds.
    let bridge = FakeBridge::slow(Duration::from_millis(150), CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    for _ in 0..12 {
        let hasty = exporter.request("GET", "/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", "0.11")]);
        assert_eq!(hasty.exposition().reason(), Some("timeout"));
        assert!(exporter.metrics().is_up());
    }
    let log = exporter.log();
    assert!(log.len() <= 9 && log.last().unwrap().contains("the bridge answers again, after "), "{log:#?}");
}

#[test]
fn security_page_names_existing_tests_and_limits() {
    let read = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    let (mut tests, mut limits) = (0, 0);
    // The references are in backquotes, as `file: name` or `file: NAME = value`.
    let page = read("SECURITY.md");
    for (file, what) in page.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once(".rs: ")) {
        let code = read(&format!("{file}.rs"));
        if let Some((name, value)) = what.split_once(" = ") {
            limits += 1;
            let lines = code.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("const "));
            let found: Vec<_> = lines.filter(|line| line.starts_with(&format!("{name}:"))).collect();
            assert!(found.len() == 1 && found[0].ends_with(&format!(" = {value};")), "{file}: {what}, but {found:?}");
        } else {
            tests += 1;
            assert!(code.contains(&format!("fn {what}(")), "{file} has no {what}");
        }
    }
    assert!(tests > 20 && limits > 12, "{tests} tests, {limits} limits");
}
