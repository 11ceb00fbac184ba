//! Bridges that fail: each fault gives `jitsi_up 0` and its reason within the budget. The next scrape of a healthy bridge is
//! complete, also after a restart.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, sleep};
use std::time::Duration;

use jitsiexporter::bridge::MAX_BODY;
use jitsiexporter::metrics::format::Format::OpenMetrics;
use support::Then::{Close, KeepAlive};
use support::crowd::{expected, timeless};
use support::faults::{GOOD, QUICK, SLOW, assert_failure, assert_timeout};
use support::{CURRENT, Exporter, FakeBridge, NATIVE, eventually, ok, response, run};
use tokio::net::TcpSocket;

/// A URL at which nothing listens, as long as the socket lives.
fn nowhere() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/colibri/stats", socket.local_addr().unwrap());
    (socket, url)
}

#[test]
fn reports_each_fault_and_recovers() {
    for fault in QUICK {
        let bridge =
            FakeBridge::start(|stream, number| if number == 0 { (fault.respond)(stream) } else { GOOD[0](stream) });
        println!("{}", fault.name);
        let exporter = assert_failure(&bridge.url(), &[], fault.reason, fault.log);
        assert!(exporter.metrics().is_up(), "after {}: {:?}", fault.name, exporter.log());
    }
}

#[test]
fn reports_failures_without_a_response() {
    let (_socket, url) = nowhere();
    assert_failure(&url, &[], "connect", "connection refused; is the bridge running, is the port right?");
    // TCP has no route to the broadcast address, so no packet is sent.
    assert_failure("http://255.255.255.255/colibri/stats", &[], "connect", "check the host in --url and the routes");
    // Closing a socket with unread data resets the connection.
    let reset = FakeBridge::raw(|stream| stream.peek(&mut [0]).map(drop));
    assert_failure(&reset.url(), &[], "connect", "the connection was closed before a response");
    // A label longer than 63 bytes is refused without a name server.
    let name = format!("{}.invalid", "x".repeat(64));
    let words = format!("cannot resolve the host name: \"{name}\"");
    assert_failure(&format!("http://{name}/colibri/stats"), &[], "resolve", &words);
}

#[test]
fn names_the_documents_at_other_paths_of_a_bridge() {
    let idle = include_str!("../fixtures/elsewhere/stats-idle.json");
    for (path, words) in [
        ("/stats", "/stats of a bridge contains debug data; use /colibri/stats or /metrics, or a --url without a path"),
        ("", "the response has no statistics of a bridge (/colibri/stats); is this the private port"),
    ] {
        let bridge = FakeBridge::json(idle);
        let exporter = assert_failure(&format!("http://{}{path}", bridge.address()), &[], "no_statistics", words);
        assert!(!exporter.log().iter().any(|line| line.ends_with(" answers")), "{:?}", exporter.log());
    }
}

#[test]
fn asks_the_second_path_on_the_same_connection_if_the_first_is_404() {
    // The REST API is off.
    let bridge = FakeBridge::by_head(|stream, head| {
        let missing =
            || response("404 Not Found", "text/html;charset=iso-8859-1", &"<html>Not Found</html>".repeat(20));
        let answer = if head.starts_with("GET /metrics ") { ok(NATIVE) } else { missing() };
        stream.write_all(answer.as_bytes()).map(|()| KeepAlive)
    });
    let url = format!("http://{}", bridge.address());
    let exporter = Exporter::before(&url, &[]);
    assert!(exporter.log()[0].contains(&format!("bridge {url} (/colibri/stats, or /metrics if that is 404), names")));
    for scrapes in 1..=3 {
        assert!(exporter.metrics().is_up(), "{:?}", exporter.log());
        assert_eq!((bridge.hits(), bridge.accepted()), (2 * scrapes, 1), "each scrape asks the same way");
    }
    let requests = bridge.requests();
    let paths: Vec<_> = requests.iter().filter_map(|head| head.split(' ').nth(1)).collect();
    assert_eq!(paths, ["/colibri/stats", "/metrics"].repeat(3));
    exporter.wait_for_log(&format!("{url}: /metrics answers, after 404 for /colibri/stats"));
    assert_eq!(exporter.log().len(), 2, "{:?}", exporter.log());
    assert!(exporter.get("/").body.contains(&format!("{url} (/colibri/stats, or /metrics if that is 404)")));
    // A path is asked alone.
    assert_failure(&bridge.url(), &[], "status", "status 404; the REST API is off");
    assert_eq!(bridge.hits(), 7);
    // A query belongs to both.
    assert_eq!(Exporter::before(&format!("{url}?a=b"), &[]).metrics().reason(), Some("status"));
    assert!(bridge.requests()[8].starts_with("GET /metrics?a=b "), "{:?}", bridge.requests());
}

#[test]
fn asks_the_second_path_only_if_the_first_is_404() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&format!("http://{}", bridge.address()), &[]);
    assert!(exporter.metrics().is_up() && exporter.metrics().is_up());
    assert_eq!((bridge.hits(), bridge.accepted()), (2, 1));
    exporter.wait_for_log(": /colibri/stats answers");
    assert_eq!(exporter.log().len(), 2, "{:?}", exporter.log());
    let bridge = FakeBridge::bytes("HTTP/1.1 500 Server Error\r\nContent-Length: 0\r\n\r\n");
    assert_failure(&format!("http://{}", bridge.address()), &[], "status", "status 500 (/colibri/stats); is this");
    assert_eq!(bridge.hits(), 1);
}

#[test]
fn reports_what_the_second_path_says() {
    let missing = || response("404 Not Found", "text/html", "");
    // A bridge that closes the connection of a 404 gets the second request on a new one.
    for (fault, then) in QUICK.iter().zip([KeepAlive, Close].into_iter().cycle()) {
        let bridge = FakeBridge::start(move |stream, number| match number {
            0 => stream.write_all(missing().as_bytes()).map(|()| then),
            1 => (fault.respond)(stream),
            _ => GOOD[0](stream),
        });
        let exporter = Exporter::before(&format!("http://{}", bridge.address()), &[]);
        let scrape = exporter.metrics();
        // Without any byte of a response, a pooled connection looks stale, and the request is repeated.
        let repeated = then == KeepAlive && fault.reason == "connect" && bridge.hits() == 3;
        assert!(repeated || scrape.reason() == Some(fault.reason), "{}: {}", fault.name, scrape.text);
        let answers = exporter.log().iter().any(|line| line.contains("metrics answers"));
        assert!(repeated || !answers, "{}: {:?}", fault.name, exporter.log());
        assert!(exporter.metrics().is_up(), "after {}: {:?}", fault.name, exporter.log());
    }
}

#[test]
fn both_paths_share_the_budget() {
    // Half of the budget goes to the 404.
    let slow = FakeBridge::start(|stream, number| {
        sleep(Duration::from_millis(400));
        let answer = if number % 2 == 0 { response("404 Not Found", "text/html", "") } else { String::new() };
        stream.write_all(answer.as_bytes())?;
        sleep(Duration::from_millis(400 * (number as u64 % 2)));
        Ok(KeepAlive)
    });
    assert_timeout(
        &format!("http://{}", slow.address()),
        "timed out while waiting for the response (/metrics, after 404",
    );
    // The end of the page is not awaited.
    let endless = FakeBridge::start(|stream, number| {
        if number == 1 {
            return GOOD[0](stream);
        }
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\n")?;
        stream.read(&mut [0]).map(|_| Close)
    });
    let exporter = Exporter::before(&format!("http://{}", endless.address()), &["--timeout", "60"]);
    let scrape = exporter.metrics();
    assert!(scrape.is_up(), "{:?}", exporter.log());
    assert!(scrape.number("jitsi_scrape_duration_seconds").unwrap() < 20.0, "{}", scrape.text);
}

#[test]
fn ends_slow_responses_with_the_budget() {
    for fault in SLOW {
        let bridge = FakeBridge::start(|stream, _| (fault.respond)(stream));
        assert_timeout(&bridge.url(), fault.log);
    }
}

/// A listener whose accept queue is full, so that the system drops packets for it like a firewall, and the connections in the
/// queue.
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
fn ends_the_wait_for_a_bridge_that_does_not_accept_with_the_budget() {
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
    let _bridge = FakeBridge::listen(listener, |stream, _| GOOD[1](stream));
    let exporter = Exporter::before(&format!("http://localhost:{port}"), &["--timeout", "60"]);
    let scrape = exporter.metrics();
    assert!(scrape.is_up(), "{:?}", exporter.log());
    let took = scrape.number("jitsi_scrape_duration_seconds").unwrap();
    // 0.25 s on a machine that is not busy. Half of the budget for each address would be 30 s.
    assert!((0.2..20.0).contains(&took), "{took} s");
}

#[test]
fn accepts_the_largest_body_and_not_one_byte_more() {
    for (size, expected) in [(MAX_BODY, None), (MAX_BODY + 1, Some("too_large"))] {
        let report = CURRENT.to_owned() + &" ".repeat(size - CURRENT.len());
        for answer in [
            ok(&report),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{report}\r\n0\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\n\r\n{report}"),
            format!("HTTP/1.0 200 OK\r\n\r\n{report}"),
        ] {
            let bridge = FakeBridge::bytes(answer);
            assert_eq!(Exporter::before(&bridge.url(), &[]).metrics().reason(), expected, "{size}");
        }
    }
}

#[test]
fn sends_credentials_and_query_and_shows_neither() {
    let bridge = FakeBridge::bytes("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let url = bridge.url().replace("://", "://me:se%40cret@") + "?token=cretin";
    let exporter = Exporter::before(&url, &[]);
    let text = exporter.metrics().text;
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
    let authority = bridge.address();
    for (begin, end) in
        [(format!("http://{authority}/"), String::new()), ("http://me:".to_owned(), format!("@{authority}/"))]
    {
        let filled = |length: usize| format!("{begin}{}{end}", "x".repeat(length - begin.len() - end.len()));
        let exporter = Exporter::before(&filled(2048), &[]);
        assert!(exporter.metrics().is_up(), "{:?}", exporter.log());
        let (code, _, error) = run(&["--once", "--url", &filled(2049)]);
        let expected = "jitsiexporter: --url: a URL of 2049 bytes is too long; 2048 are the most\n";
        assert_eq!((code, &*error), (Some(2), expected));
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
fn discards_a_pooled_connection_with_unexpected_bytes() {
    // Some proxies send such a response before they close an idle connection.
    let (written, waiting) = mpsc::channel();
    let bridge = FakeBridge::start(move |stream, _| {
        stream.write_all(ok(CURRENT).as_bytes())?;
        sleep(Duration::from_millis(20));
        stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let _ = written.send(());
        Ok(KeepAlive)
    });
    let exporter = Exporter::before(&bridge.url(), &[]);
    for scrapes in 1..=3 {
        assert!(exporter.metrics().is_up(), "{:?}", exporter.log());
        assert_eq!(bridge.accepted(), scrapes);
        waiting.recv().unwrap();
    }
}

#[test]
fn ignores_proxies_in_the_environment() {
    let bridge = FakeBridge::json(CURRENT);
    let (_socket, proxy) = nowhere();
    let variables = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let environment = variables.map(|name| (name, &*proxy));
    let exporter = Exporter::start(&["--url", &bridge.url(), "--listen-address", "127.0.0.1:0"], &environment);
    assert!(exporter.metrics().is_up());
}

#[test]
fn keeps_few_idle_connections() {
    let bridge = FakeBridge::slow(Duration::from_millis(300), CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    thread::scope(|scope| (0..20).for_each(|_| drop(scope.spawn(|| exporter.metrics()))));
    let kept = eventually(Duration::from_secs(2), || (bridge.connections() <= 8).then_some(()));
    assert!(kept.is_some(), "{} connections are kept", bridge.connections());
    // They are reused.
    let accepted = bridge.accepted();
    assert!(exporter.metrics().is_up());
    assert_eq!(bridge.accepted(), accepted);
}

#[test]
fn retries_a_stale_connection() {
    // The bridge responds once on each connection, keeps it open, and closes it when it gets the next request.
    let bridge = FakeBridge::raw(|stream| {
        if stream.read(&mut [0; 1024])? > 0 {
            stream.write_all(ok(CURRENT).as_bytes())?;
        }
        stream.read(&mut [0; 1024]).map(drop)
    });
    let exporter = Exporter::before(&bridge.url(), &[]);
    for round in 0..10 {
        assert!(exporter.metrics().is_up(), "round {round}: {:?}", exporter.log());
    }
}

#[test]
fn discards_bytes_beyond_the_content_length() {
    let strays = Arc::new(AtomicUsize::new(0));
    let sent = Arc::clone(&strays);
    let bridge = FakeBridge::start(move |stream, number| {
        stream.write_all(ok(&format!("{{\"conferences\":{number},\"healthy\":true}}")).as_bytes())?;
        sleep(Duration::from_millis(20));
        let _ = stream.write_all(ok("{\"conferences\":77,\"healthy\":true}").as_bytes());
        sent.fetch_add(1, Ordering::SeqCst);
        Ok(KeepAlive)
    });
    let exporter = Exporter::before(&bridge.url(), &[]);
    for number in 0..5 {
        assert_eq!(exporter.metrics().value("jitsi_conferences"), Some(&*number.to_string()));
        let sent = || (strays.load(Ordering::SeqCst) > number).then_some(());
        eventually(Duration::from_secs(10), sent).expect("the bridge continues");
    }
}

#[test]
fn first_scrape_after_a_restart_is_complete() {
    let start = |port| {
        FakeBridge::listen(TcpListener::bind(("127.0.0.1", port)).expect("a port"), |stream, _| {
            // In pieces, so that the end can come within the head or the body.
            ok(CURRENT).as_bytes().chunks(700).try_for_each(|piece| {
                sleep(Duration::from_millis(2));
                stream.write_all(piece)
            })?;
            Ok(KeepAlive)
        })
    };
    let mut bridge = start(0);
    let port = bridge.address().port();
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "30"]);
    let good = expected(OpenMetrics);
    for round in 0..20 {
        let first = exporter.metrics();
        assert_eq!(timeless(&first.text), good, "after restart {round}: {:#?}", exporter.log());
        // The end of the bridge cuts responses. A client gets the whole report or nothing of it. The idle connections that the six
        // leave are stale when the bridge is back.
        thread::scope(|scope| {
            for number in 0..6 {
                let (exporter, good) = (&exporter, &good);
                scope.spawn(move || {
                    let scrape = exporter.metrics();
                    // An incomplete body is malformed. Without any response the reason is connect.
                    let reason = scrape.reason();
                    assert!(
                        matches!(reason, Some("malformed" | "connect")) || timeless(&scrape.text) == *good,
                        "{number}: {reason:?}"
                    );
                });
            }
            sleep(Duration::from_millis(round));
            drop(bridge);
        });
        // Sometimes there is a scrape while the bridge is down.
        if round % 4 == 0 {
            assert_eq!(exporter.metrics().reason(), Some("connect"), "round {round}");
        }
        bridge = start(port);
    }
}
