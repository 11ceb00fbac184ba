//! Faults of the bridge: each gives `jitsi_up 0` and the right reason within the budget, and the next scrape of a healthy bridge is
//! complete.

#[path = "support/faults.rs"]
mod faults;
mod support;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use faults::{QUICK, SLOW};
use jitsiexporter::bridge::MAX_BODY;
use support::Then::{Close, KeepAlive};
use support::{CURRENT, Exporter, FakeBridge, command, eventually, reason, response, sample};
use tokio::net::TcpSocket;

/// The longest line of the log, in characters, for a URL of a usual length.
const MAX_LINE: usize = 200;
const USUAL_URL: usize = "http://127.0.0.1:65535/colibri/stats".len();

/// One scrape of a faulty bridge: the reason, and the line in the log. The budget is long enough for a busy machine, because it is
/// not used up.
fn failure(url: &str) -> (String, String) {
    let exporter = Exporter::before(url, &["--timeout", "30"]);
    let text = exporter.metrics();
    assert_eq!(sample(&text, "jitsi_up"), Some("0"), "{text}");
    assert!(!text.contains("jitsi_conferences"), "invented statistics: {text}");
    let reason = reason(&text).expect("a reason").to_owned();
    let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
    let line = exporter.wait_for_log(&format!("{}: ", shown.trim_start_matches("http://")));
    assert!(line.len() <= MAX_LINE || shown.len() > USUAL_URL, "{} characters: {line}", line.len());
    (reason, line)
}

/// Scrapes of a bridge that does not respond in time: each ends with the budget and not before. How late the quickest of them is
/// depends on the exporter, how late the others are on the machine.
fn assert_timeout(url: &str, words: &str) {
    let budget = Duration::from_millis(600);
    let by_option = Exporter::before(url, &["--timeout", "0.6"]);
    let by_header = Exporter::before(url, &["--timeout", "100"]);
    // The exporter subtracts a quarter of it as its margin.
    let header = [("X-Prometheus-Scrape-Timeout-Seconds", "0.8")];
    for (exporter, headers) in [(&by_option, &[][..]), (&by_header, &header)] {
        let late = (0..4).map(|_| {
            let start = Instant::now();
            let text = exporter.request("GET", "/metrics", headers).body;
            assert_eq!(reason(&text), Some("timeout"), "{text}");
            assert!(!text.contains("jitsi_conferences"), "invented statistics: {text}");
            start.elapsed().checked_sub(budget).expect("not before the budget ends")
        });
        let least = late.min().unwrap();
        assert!(least < Duration::from_millis(300), "at least {least:?} late");
        exporter.wait_for_log(words);
    }
}

/// One scrape of a bridge that sends these bytes and closes.
fn failure_of(bytes: impl Into<Vec<u8>>) -> (String, String) {
    failure(&FakeBridge::bytes(bytes).url())
}

#[track_caller]
fn assert_failure((reason, log): (String, String), expected: &str, words: &str) {
    assert_eq!(reason, expected, "{log}");
    assert!(log.contains(words), "{words:?} is not in {log:?}");
}

/// A URL at which nothing listens, as long as the socket lives.
fn nowhere() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/colibri/stats", socket.local_addr().unwrap());
    (socket, url)
}

#[test]
fn reports_a_refused_connection() {
    let (_socket, url) = nowhere();
    assert_failure(failure(&url), "connect", "connection refused; is the bridge running");
}

#[test]
fn reports_an_unknown_host_name() {
    // A label longer than 63 bytes is refused without a name server.
    let name = format!("{}.invalid", "x".repeat(64));
    let url = format!("http://{name}/colibri/stats");
    assert_failure(failure(&url), "resolve", &format!("cannot resolve the host name: \"{name}\""));
}

#[test]
fn ends_the_wait_for_a_bridge_that_does_not_accept_with_the_budget() {
    // The connections of this listener stay in its queue.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/colibri/stats", listener.local_addr().unwrap());
    assert_timeout(&url, "timed out while");
}

/// A listener whose accept queue is full, so that the system drops packets for it, as a firewall does; and what fills the queue.
fn black_hole(port: u16) -> std::io::Result<(tokio::net::TcpListener, Vec<TcpStream>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], port).into())?;
        socket.listen(1)
    })?;
    let address = listener.local_addr().unwrap();
    let room = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let queue: Vec<_> = std::iter::from_fn(|| room().ok()).take(100).collect();
    assert!(queue.len() < 100, "the queue does not fill up");
    Ok((listener, queue))
}

#[test]
fn reports_a_full_accept_queue_as_timeout() {
    let (listener, _queue) = black_hole(0).unwrap();
    assert_timeout(&format!("http://{}/", listener.local_addr().unwrap()), "timed out while connecting");
}

#[test]
fn tries_the_next_address_of_a_name_soon() {
    // The addresses of localhost are 127.0.0.1, where packets are dropped, and ::1, where the bridge is. A port that is free on one
    // may be in use on the other.
    let both = || {
        let bridge = TcpListener::bind("[::1]:0").ok()?;
        let port = bridge.local_addr().unwrap().port();
        black_hole(port).ok().map(|black_hole| (bridge, black_hole, port))
    };
    let Some((listener, _black_hole, port)) = (0..10).find_map(|_| both()) else {
        assert!(TcpListener::bind("[::1]:0").is_err(), "no port is free on both addresses");
        println!("not tested: this machine has no IPv6");
        return;
    };
    let answer = response("200 OK", "application/json", CURRENT);
    let _bridge = FakeBridge::listen(listener, move |stream, _| stream.write_all(answer.as_bytes()).map(|()| Close));
    let exporter = Exporter::before(&format!("http://localhost:{port}"), &["--timeout", "60"]);
    let text = exporter.metrics();
    assert_eq!(sample(&text, "jitsi_up"), Some("1"), "{:?}", exporter.log());
    let took: f64 = sample(&text, "jitsi_scrape_duration_seconds").unwrap().parse().unwrap();
    // 0.25 s on a machine that is not busy. Half of the budget for each address would be 30 s.
    assert!((0.2..20.0).contains(&took), "{took} s");
}

#[test]
fn reports_each_fault() {
    for fault in QUICK {
        let bridge = FakeBridge::try_start(|stream, _| (fault.respond)(stream));
        let (reason, log) = failure(&bridge.url());
        assert_eq!(reason, fault.reason, "{}: {log}", fault.name);
        assert!(log.contains(fault.log), "{}: {log}", fault.name);
    }
}

#[test]
fn ends_slow_responses_with_the_budget() {
    for fault in SLOW {
        let bridge = FakeBridge::try_start(|stream, _| (fault.respond)(stream));
        assert_timeout(&bridge.url(), fault.log);
    }
}

#[test]
fn reports_a_connection_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/colibri/stats", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // Closing a socket with unread data resets the connection.
        let _ = stream.peek(&mut [0]);
    });
    assert_failure(failure(&url), "connect", "the connection was closed before a response");
}

#[test]
fn reports_an_incomplete_body() {
    let answer = response("200 OK", "application/json", CURRENT);
    assert_failure(failure_of(&answer.as_bytes()[..answer.len() - 100]), "malformed", "the response is incomplete");
    let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"conferences\":";
    assert_failure(failure_of(chunk), "malformed", "the response is incomplete");
}

#[test]
fn names_both_ways_to_statistics_for_404() {
    let page = response("404 Not Found", "text/html", "<html><body><h2>HTTP ERROR 404</h2></body></html>");
    let bridge = FakeBridge::bytes(page);
    let words = "status 404; use --url http://HOST:8080/metrics, or enable REST: videobridge.apis.rest.enabled = true";
    assert_failure(failure(&bridge.url()), "status", words);
    let words = "status 404; bridges before 2022 have no /metrics: use --url http://HOST:8080/colibri/stats";
    assert_failure(failure(&bridge.url().replace("/colibri/stats", "/metrics")), "status", words);
}

#[test]
fn has_a_remedy_for_each_status() {
    for (status, words) in [
        ("204 No Content", "status 204; is this a bridge's /colibri/stats"),
        ("301 Moved Permanently\r\nLocation: http://127.0.0.1:1/", "status 301; redirects are not followed"),
        ("302 Found", "status 302; redirects are not followed"),
        ("400 Bad Request", "status 400; a proxy says this if the port speaks TLS: use https:// in --url"),
        ("401 Unauthorized", "status 401; give user and password"),
        ("406 Not Acceptable", "status 406; is this a bridge's /colibri/stats"),
        ("500 Server Error", "status 500; is this a bridge's /colibri/stats"),
        ("502 Bad Gateway", "status 502; a proxy answers, and the bridge behind it does not"),
        ("503 Service Unavailable", "status 503; a proxy answers, and the bridge behind it does not"),
        ("504 Gateway Timeout", "status 504; a proxy answers, and the bridge behind it does not"),
    ] {
        // The body of such a response is not read as statistics.
        let bridge = FakeBridge::bytes(response(status, "application/json", CURRENT));
        assert_failure(failure(&bridge.url()), "status", words);
        let label = format!("jitsi_scrape_error{{reason=\"status\",code=\"{}\"}}", &status[..3]);
        let text = Exporter::before(&bridge.url(), &[]).metrics();
        assert_eq!(sample(&text, &label), Some("1"), "{text}");
    }
}

#[test]
fn quotes_the_beginning_of_an_html_page() {
    let page = response("200 OK", "text/html", "<!DOCTYPE html>\n<html>\"Welcome\"</html>");
    assert_failure(failure_of(page), "malformed", "it begins with \"<!DOCTYPE html>\\n<html>\\\"Welcome");
}

/// A valid report of this size in bytes.
fn report_of(size: usize) -> String {
    let (head, tail) = ("{\"conferences\":4,\"filler\":\"", "\"}");
    format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()))
}

#[test]
fn limits_a_body_with_a_length() {
    let bridge = FakeBridge::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{");
        sleep(Duration::from_secs(20));
        Close
    });
    assert_failure(failure(&bridge.url()), "too_large", "larger than 256 KiB");
    assert_failure(
        failure_of(response("200 OK", "application/json", &report_of(MAX_BODY + 1))),
        "too_large",
        "256 KiB",
    );
}

#[test]
fn limits_a_body_that_ends_with_the_connection() {
    let bridge = FakeBridge::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 4096]).is_ok() {}
        Close
    });
    assert_failure(failure(&bridge.url()), "too_large", "larger than 256 KiB");
}

#[test]
fn accepts_the_largest_body_and_not_one_byte_more() {
    for (size, expected) in [(MAX_BODY, None), (MAX_BODY + 1, Some("too_large"))] {
        let report = report_of(size);
        for answer in [
            response("200 OK", "application/json", &report),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{report}\r\n0\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n\r\n{report}"),
            format!("HTTP/1.0 200 OK\r\n\r\n{report}"),
        ] {
            let bridge = FakeBridge::bytes(answer);
            let text = Exporter::before(&bridge.url(), &[]).metrics();
            assert_eq!(reason(&text), expected, "{size}");
            assert_eq!(sample(&text, "jitsi_conferences").is_some(), expected.is_none(), "{size}: {text}");
        }
    }
}

#[test]
fn reports_bodies_that_are_not_a_report() {
    for (body, reason, words) in [
        (&b"{\"conferences\": \"\xff\"}"[..], "malformed", "invalid utf-8"),
        (b"{\"conferences\": 4", "malformed", "EOF while parsing"),
        (b"", "malformed", "the response is not JSON: it is empty"),
        (b"{}", "no_statistics", "videobridge.stats.enabled"),
        (b"null", "no_statistics", "the response is not a JSON object: null"),
        (b"[]", "no_statistics", "the response is not a JSON object: an empty array"),
    ] {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_failure(failure_of([head.as_bytes(), body].concat()), reason, words);
    }
}

#[test]
fn skips_only_the_deeply_nested_value() {
    let deep = format!("{{\"conferences\":4,\"deep\":{}{}}}", "[".repeat(120_000), "]".repeat(120_000));
    let bridge = FakeBridge::bytes(response("200 OK", "application/json", &deep));
    let text = Exporter::before(&bridge.url(), &[]).metrics();
    assert_eq!(sample(&text, "jitsi_conferences"), Some("4"), "{text}");
    assert_eq!(sample(&text, "jitsi_unexposed_values"), Some("1"), "{text}");
}

#[test]
fn sends_credentials_and_query_and_shows_neither() {
    let bridge = FakeBridge::start(|stream, _| {
        let _ = stream.write_all(response("401 Unauthorized", "text/plain", "").as_bytes());
        KeepAlive
    });
    let url = bridge.url().replace("://", "://me:se%40cret@") + "?token=cretin";
    let exporter = Exporter::before(&url, &[]);
    let text = exporter.metrics();
    exporter.wait_for_log("status 401");
    let page = exporter.get("/").body;
    assert!(page.contains(&bridge.url()), "{page}");
    for shown in [text, page, exporter.log().join("\n")] {
        assert!(!shown.contains("cret") && !shown.contains("me:"), "{shown}");
    }
    let request = bridge.requests().remove(0).to_ascii_lowercase();
    assert!(request.contains("authorization: basic bwu6c2vay3jlda==\r\n"), "{request}");
    assert!(request.starts_with("get /colibri/stats?token=cretin http/1.1\r\n"), "{request}");
}

#[test]
fn accepts_the_longest_url_and_not_one_byte_more() {
    let bridge = FakeBridge::json(CURRENT);
    let filled = |scheme: &str, rest: &str, length: usize| {
        format!("{scheme}{}{rest}", "x".repeat(length - scheme.len() - rest.len()))
    };
    let authority = bridge.address().to_string();
    for (scheme, rest) in
        [(format!("http://{authority}/"), String::new()), ("http://me:".to_owned(), format!("@{authority}/"))]
    {
        let exporter = Exporter::before(&filled(&scheme, &rest, 2048), &[]);
        assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"), "{:?}", exporter.log());
        let output = command(&["--once", "--url", &filled(&scheme, &rest, 2049)], &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error, "jitsiexporter: --url: a URL of 2049 bytes is too long; 2048 are the most\n");
    }
}

#[test]
fn sends_one_request_for_json_per_scrape() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    exporter.get("/health");
    exporter.get("/");
    assert_eq!(bridge.hits(), 0);
    for scrapes in 1..=3 {
        exporter.metrics();
        assert_eq!(bridge.hits(), scrapes);
    }
    assert_eq!(bridge.accepted(), 1, "the connection is reused");
    let head = bridge.requests().remove(0);
    assert!(head.contains("accept: application/json\r\n"), "{head}");
    assert!(head.contains("user-agent: jitsiexporter/"), "{head}");
}

#[test]
fn ignores_proxies_in_the_environment() {
    let bridge = FakeBridge::json(CURRENT);
    let (_socket, proxy) = nowhere();
    let variables = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let environment: Vec<_> = variables.map(|name| (name, &*proxy)).to_vec();
    let exporter = Exporter::start(&["--url", &bridge.url(), "--listen-address", "127.0.0.1:0"], &environment);
    assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"));
}

#[test]
fn recovers_with_the_next_scrape() {
    let bad = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&bad);
    let bridge = FakeBridge::start(move |stream, _| {
        let good = response("200 OK", "application/json", CURRENT);
        let answer =
            if switch.load(Ordering::SeqCst) { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{" } else { &good };
        let _ = stream.write_all(answer.as_bytes());
        if switch.load(Ordering::SeqCst) { Close } else { KeepAlive }
    });
    let exporter = Exporter::before(&bridge.url(), &[]);
    for round in 0..5 {
        bad.store(true, Ordering::SeqCst);
        assert_eq!(reason(&exporter.metrics()), Some("malformed"), "round {round}");
        bad.store(false, Ordering::SeqCst);
        assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"), "round {round}");
    }
}

#[test]
fn retries_a_stale_connection() {
    // The bridge responds once on each connection, keeps it open, and closes it when it gets the next request.
    let answer = response("200 OK", "application/json", CURRENT);
    let bridge = FakeBridge::start(move |stream, _| {
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = std::io::Read::read(stream, &mut [0; 1024]);
        Close
    });
    let exporter = Exporter::before(&bridge.url(), &[]);
    for round in 0..10 {
        assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"), "round {round}: {:?}", exporter.log());
    }
}

#[test]
fn discards_bytes_beyond_the_content_length() {
    let strays = Arc::new(AtomicUsize::new(0));
    let sent = Arc::clone(&strays);
    let bridge = FakeBridge::start(move |stream, number| {
        let report = format!("{{\"conferences\":{number}}}");
        let stray = response("200 OK", "application/json", "{\"conferences\":77}");
        let _ = stream.write_all(response("200 OK", "application/json", &report).as_bytes());
        sleep(Duration::from_millis(20));
        let _ = stream.write_all(stray.as_bytes());
        sent.fetch_add(1, Ordering::SeqCst);
        KeepAlive
    });
    let exporter = Exporter::before(&bridge.url(), &[]);
    for number in 0..5 {
        assert_eq!(sample(&exporter.metrics(), "jitsi_conferences"), Some(&*number.to_string()));
        let sent = || (strays.load(Ordering::SeqCst) > number).then_some(());
        eventually(Duration::from_secs(10), sent).expect("the bridge continues");
    }
}
