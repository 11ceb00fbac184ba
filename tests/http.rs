//! HTTP: routes, formats, limits, graceful stop, and clients that misbehave.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jitsiexporter::demo::Demo;
use jitsiexporter::http::{Handler, MAX_CONNECTIONS, Request, Response, Timeouts, ok, serve};
use rustix::process::Signal;
use support::Then::KeepAlive;
use support::{Answer, CURRENT, Exporter, FakeBridge, eventually, response, sample};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A bridge that answers after a while.
fn slow(delay: Duration) -> FakeBridge {
    FakeBridge::start(move |stream, _| {
        thread::sleep(delay);
        let _ = stream.write_all(response("200 OK", "application/json", CURRENT).as_bytes());
        KeepAlive
    })
}

#[test]
fn routes() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    for (path, status, content_type, words) in [
        ("/metrics", 200, OPEN_METRICS, "jitsi_up 1"),
        ("/metrics?collect=all", 200, OPEN_METRICS, "jitsi_up 1"),
        ("/health", 200, "text/plain; charset=utf-8", "ok"),
        ("/", 200, "text/html; charset=utf-8", "<a href=\"metrics\">"),
        ("/metrics/", 404, "text/plain; charset=utf-8", "not found"),
        ("/colibri/stats", 404, "text/plain; charset=utf-8", "not found"),
        ("/probe?target=http://127.0.0.1:1/", 404, "text/plain; charset=utf-8", "not found"),
    ] {
        let get = exporter.get(path);
        assert_eq!((get.status, get.header("content-type")), (status, Some(content_type)), "{path}");
        assert!(get.body.contains(words), "{path}: {}", get.body);
        assert_eq!(get.header("content-length"), Some(&*get.body.len().to_string()), "{path}");
        let head = exporter.request("HEAD", path, &[]);
        assert_eq!((head.status, head.header("content-type"), &*head.body), (status, Some(content_type), ""), "{path}");
        assert!(head.header("content-length").is_some(), "{path}: {}", head.head);
    }
    assert_eq!(exporter.get("/health").body, "ok");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] {
        let answer = exporter.request(method, "/metrics", &[("Content-Length", "0")]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("get, head")), "{method}");
    }
}

#[test]
fn landing_page_escapes_the_url() {
    let exporter = Exporter::before("http://127.0.0.1:1/a&b?token=secret", &[]);
    let page = exporter.get("/").body;
    assert!(page.contains("http://127.0.0.1:1/a&amp;b?***"), "{page}");
    assert!(page.contains(env!("CARGO_PKG_VERSION")), "{page}");
}

#[test]
fn format_and_content_type_follow_accept() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    for (headers, content_type) in [
        (&[("Accept", "")][..], TEXT),
        (&[("Accept", "*/*")], OPEN_METRICS),
        (&[("Accept", "text/plain;version=1.0.0")], TEXT),
        (&[("Accept", "text/html,*/*;q=0.8")], TEXT),
        (&[("Accept", "text/html;q=0, */*")], OPEN_METRICS),
        (&[("Accept", "text/plain;version=0.0.4")], TEXT),
        (&[("Accept", "application/openmetrics-text;version=1.0.0;q=0.4"), ("Accept", "text/plain;q=0.6")], TEXT),
        (&[("Accept", "\u{e9}")], TEXT),
    ] {
        let answer = exporter.request("GET", "/metrics", headers);
        assert_eq!(answer.header("content-type"), Some(content_type), "{headers:?}");
        assert_eq!(answer.body.ends_with("\n# EOF\n"), content_type == OPEN_METRICS, "{headers:?}");
    }
    let without = exporter.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(Answer::parse(&without).header("content-type"), Some(TEXT));
}

/// A bridge that answers once it may.
fn gated() -> (FakeBridge, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let bridge = FakeBridge::start(move |stream, _| {
        eventually(Duration::from_secs(60), || open.load(Ordering::SeqCst).then_some(()));
        let _ = stream.write_all(response("200 OK", "application/json", CURRENT).as_bytes());
        KeepAlive
    });
    (bridge, gate)
}

/// Waits until a bridge has had so many requests.
fn wait_for_requests(bridge: &FakeBridge, number: usize) {
    let all = eventually(Duration::from_secs(30), || (bridge.hits() == number).then_some(()));
    assert!(all.is_some(), "{} requests of {number} are under way", bridge.hits());
}

#[test]
fn scrapes_above_the_limit_get_503() {
    let (bridge, gate) = gated();
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "60", "--max-scrapes", "2"]);
    thread::scope(|scope| {
        let running: Vec<_> = (0..2).map(|_| scope.spawn(|| exporter.get("/metrics"))).collect();
        wait_for_requests(&bridge, 2);
        // The others do not end before this one is answered.
        let refused = exporter.get("/metrics");
        assert_eq!(refused.status, 503);
        assert!(refused.body.contains("2 scrapes are running already (--max-scrapes)"), "{}", refused.body);
        assert_eq!(exporter.get("/health").status, 200);
        gate.store(true, Ordering::SeqCst);
        for scrape in running {
            assert_eq!(sample(&scrape.join().unwrap().body, "jitsi_up"), Some("1"));
        }
    });
    assert_eq!(exporter.get("/metrics").status, 200);
    assert_eq!(bridge.hits(), 3);
}

#[test]
fn permit_is_held_until_the_fetch_ends() {
    let (bridge, gate) = gated();
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "60", "--max-scrapes", "1"]);
    let mut client = TcpStream::connect(exporter.address()).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    wait_for_requests(&bridge, 1);
    drop(client);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(exporter.get("/metrics").status, 503);
    assert_eq!(bridge.hits(), 1);
    gate.store(true, Ordering::SeqCst);
    let after =
        eventually(Duration::from_secs(10), || Some(exporter.get("/metrics")).filter(|answer| answer.status == 200));
    assert!(after.is_some(), "the permit is lost");
}

/// A socket with a timeout gives an error when its process goes on after it was stopped (signal(7)), as by ctrl-z.
#[test]
fn survives_sigstop_and_sigcont() {
    let (bridge, gate) = gated();
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "60"]);
    let pause = || {
        exporter.signal(Signal::STOP);
        thread::sleep(Duration::from_millis(50));
        exporter.signal(Signal::CONT);
        thread::sleep(Duration::from_millis(50));
    };
    let mut stream = TcpStream::connect(exporter.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // While it waits for a request, for the rest of it, and for the bridge.
    pause();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").unwrap();
    pause();
    stream.write_all(b"Connection: close\r\n\r\n").unwrap();
    wait_for_requests(&bridge, 1);
    pause();
    gate.store(true, Ordering::SeqCst);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(sample(&answer, "jitsi_up"), Some("1"), "{:?}", exporter.log());
}

#[test]
fn stop_completes_requests_in_flight() {
    for signal in [Signal::TERM, Signal::INT] {
        let bridge = slow(Duration::from_secs(1));
        let exporter = Exporter::before(&bridge.url(), &[]);
        let address = exporter.address();
        let connect = move || TcpStream::connect(address).unwrap();
        let (mut idle, mut half) = (connect(), connect());
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        half.write_all(b"GET /metr").unwrap();
        let scrape = thread::spawn(move || {
            let mut stream = connect();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            Answer::parse(&answer)
        });
        eventually(Duration::from_secs(5), || (bridge.hits() == 1).then_some(())).expect("under way");
        let start = Instant::now();
        exporter.signal(signal);
        let answer = scrape.join().unwrap();
        assert_eq!(sample(&answer.body, "jitsi_up"), Some("1"), "{signal:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{signal:?}");
        exporter.wait_for_log("stopped");
        let status = exporter.wait(Duration::from_secs(10)).expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "{signal:?}: waited for those who wait: {:?}",
            start.elapsed()
        );
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn stop_ends_after_the_grace_period() {
    let bridge = slow(Duration::from_secs(60));
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "55"]);
    let mut client = TcpStream::connect(exporter.address()).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    eventually(Duration::from_secs(5), || (bridge.hits() == 1).then_some(())).expect("under way");
    exporter.signal(Signal::TERM);
    let start = Instant::now();
    assert_eq!(exporter.wait(Duration::from_secs(30)).expect("it ends").code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn half_requests_do_not_block_others() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    let _half: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(exporter.address()).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost").unwrap();
            stream
        })
        .collect();
    assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"));
}

#[test]
fn longest_idle_connection_makes_room() {
    let (bridge, gate) = gated();
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "60"]);
    let connect = || {
        let stream = TcpStream::connect(exporter.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let ask = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut answer = [0; 1000];
        let amount = stream.read(&mut answer).unwrap_or(0);
        answer[..amount].starts_with(b"HTTP/1.1 200 ")
    };
    // The oldest connection waits for an answer, the second has just had one, the others have been silent ever since.
    let (mut busy, mut talking) = (connect(), connect());
    busy.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    wait_for_requests(&bridge, 1);
    let mut silent: Vec<_> = (2..MAX_CONNECTIONS).map(|_| connect()).collect();
    // Each connection has a thread; idle times count from when it was accepted.
    let threads = || fs::read_dir(format!("/proc/{}/task", exporter.pid())).map_or(0, Iterator::count);
    eventually(Duration::from_secs(30), || (threads() > MAX_CONNECTIONS).then_some(())).expect("all are accepted");
    assert!(ask(&mut talking));
    let mut late: Vec<_> = (0..50).map(|_| connect()).collect();
    assert!(late.iter_mut().all(ask), "one that came later has no place");
    assert!(ask(&mut talking), "the one that talks lost its place");
    let (gone, left) = silent.split_at_mut(50);
    assert!(gone.iter_mut().all(|stream| matches!(stream.read(&mut [0]), Ok(0))), "the oldest are still there");
    assert!(left.iter_mut().all(ask), "more were closed than had to be");
    gate.store(true, Ordering::SeqCst);
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert_eq!(sample(&answer, "jitsi_up"), Some("1"));
    drop((late, silent, talking));
    let ended = eventually(Duration::from_secs(10), || (threads() < 5).then_some(()));
    assert!(ended.is_some(), "{} threads left", threads());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    let one = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let requests = format!("{}GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", one.repeat(20));
    let answers = String::from_utf8(exporter.send(requests.as_bytes())).unwrap();
    let kinds: Vec<_> = answers.lines().filter(|line| line.starts_with("content-type")).collect();
    assert_eq!(kinds.len(), 41, "{answers}");
    assert!(kinds.iter().step_by(2).take(20).all(|line| line.contains("openmetrics")));
    assert!(answers.ends_with("</html>\n"));
    assert_eq!(bridge.hits(), 20);
}

#[test]
fn half_closed_client_gets_its_response() {
    let bridge = slow(Duration::from_millis(200));
    let exporter = Exporter::before(&bridge.url(), &[]);
    let mut stream = TcpStream::connect(exporter.address()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(sample(&Answer::parse(&answer).body, "jitsi_up"), Some("1"));
}

#[test]
fn malformed_requests_get_an_error_status() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    for (bytes, status) in [
        // hyper hangs up on it without a word.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), None),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\r\n\r\n".to_owned(), Some("400")),
        ("GET /metrics\r\n\r\n".to_owned(), Some("400")),
        (format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000)), Some("431")),
    ] {
        let answer = String::from_utf8(exporter.send(bytes.as_bytes())).unwrap();
        assert_eq!(answer.split(' ').nth(1), status, "{:?}: {answer}", &bytes[..20]);
    }
    // A client that is still sending when the answer comes may see a reset instead of it.
    for head in ["GET /metrics HTTP/1.1\r\nX: ", "GET /"] {
        let refused = (0..20).find_map(|_| {
            let answer = exporter.send(format!("{head}{}", "x".repeat(2 << 20)).as_bytes());
            Some(String::from_utf8(answer).unwrap()).filter(|answer| !answer.is_empty())
        });
        let answer = refused.expect("an answer");
        assert_eq!(answer.split(' ').nth(1), Some("431"), "{head:?}: {answer}");
    }
    assert_eq!(bridge.hits(), 0);
    assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"));
}

/// Requests that announce a body of which no byte comes, and the status of the response.
const ANNOUNCED: [(&str, &str); 3] = [
    ("GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", "200"),
    ("GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "200"),
    ("POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", "405"),
];

#[test]
fn announced_bodies_are_not_awaited() {
    let served = Served::start("fine\n", LONG);
    let begun = ("POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc", "405");
    for (request, status) in ANNOUNCED.into_iter().chain([begun]) {
        let mut stream = served.connect();
        stream.write_all(request.as_bytes()).unwrap();
        // Reads until the connection is closed: a wait for the body would end with the timeout of the test.
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap_or_else(|error| panic!("{request}: {error}"));
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {response}");
        assert!(response.to_ascii_lowercase().contains("connection: close\r\n"), "{request}: {response}");
    }
}

#[test]
fn announced_bodies_do_not_block_others() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    let _waiting: Vec<_> = (0..300)
        .map(|number| {
            let mut stream = TcpStream::connect(exporter.address()).unwrap();
            stream.write_all(ANNOUNCED[number % ANNOUNCED.len()].0.as_bytes()).unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"));
    // In 1.0.0 it was refused, or waited for ten seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn host_must_be_given_once() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    for (request, status) in [
        ("GET /health HTTP/1.1\r\n\r\n", "400"),
        ("GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "400"),
        ("GET /health HTTP/1.1\r\nHost: x y\r\n\r\n", "400"),
        ("GET /health HTTP/1.1\r\nHost: [::1]:9700\r\nConnection: close\r\n\r\n", "200"),
        ("GET /health HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", "200"),
        ("GET /health HTTP/1.0\r\n\r\n", "200"),
        ("GET /health HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", "400"),
    ] {
        let response = String::from_utf8(exporter.send(request.as_bytes())).unwrap();
        assert_eq!(response.split(' ').nth(1), Some(status), "{request:?}: {response}");
    }
}

#[test]
fn date_is_current_on_a_kept_connection() {
    let served = Served::start("fine\n", LONG);
    let mut stream = served.connect();
    let mut date = || {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut response = [0; 1000];
        let amount = stream.read(&mut response).unwrap();
        let response = String::from_utf8_lossy(&response[..amount]).to_ascii_lowercase();
        response.lines().find_map(|line| line.strip_prefix("date: ").map(str::to_owned)).expect("a date")
    };
    let first = date();
    thread::sleep(Duration::from_millis(2100));
    assert_ne!(date(), first);
}

#[test]
fn second_signal_stops_at_once() {
    let bridge = slow(Duration::from_secs(60));
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "55"]);
    let mut client = TcpStream::connect(exporter.address()).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    wait_for_requests(&bridge, 1);
    exporter.signal(Signal::INT);
    // The first signal has been handled once the port is closed.
    let closed = eventually(Duration::from_secs(3), || TcpStream::connect(exporter.address()).err());
    assert!(closed.is_some(), "it still listens");
    let start = Instant::now();
    exporter.signal(Signal::INT);
    assert_eq!(exporter.wait(Duration::from_secs(30)).expect("it ends").code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn idle_connections_make_room_when_descriptors_run_out() {
    let bridge = FakeBridge::json(CURRENT);
    let arguments = ["--url", &bridge.url(), "--listen-address", "127.0.0.1:0"];
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 100; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_jitsiexporter")]).args(arguments);
    let exporter = Exporter::spawn(limited).expect("it starts");
    let _idle: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(exporter.address()).unwrap();
            // After a response, a connection may be idle for longer than the scrapes below wait.
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"), "{:?}", exporter.log());
    }
    let log = exporter.log();
    assert_eq!(log.iter().filter(|line| line.contains("cannot accept a connection")).count(), 1, "{log:?}");
    assert_eq!(log.len(), 2, "{log:?}");
}

/// The limit on threads is one of a user, so this test takes a user that has no other process, which only root can do.
#[test]
fn idle_connections_make_room_when_threads_run_out() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let bridge = FakeBridge::json(CURRENT);
    let process = std::process::id();
    // Where that user can run it.
    let program = std::env::temp_dir().join(format!("jitsiexporter-test-threads-{process}"));
    fs::copy(env!("CARGO_BIN_EXE_jitsiexporter"), &program).unwrap();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "{ ulimit -u 4 || ulimit -p 4; } 2>/dev/null && exec \"$0\" \"$@\""])
        .arg(&program)
        .uid(1_000_000 + process);
    limited.args(["--url", &bridge.url(), "--listen-address", "127.0.0.1:0"]);
    let exporter = Exporter::spawn(limited).expect("it starts");
    fs::remove_file(program).unwrap();
    let _idle: Vec<_> = (0..10).map(|_| TcpStream::connect(exporter.address()).unwrap()).collect();
    for _ in 0..10 {
        assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"), "{:?}", exporter.log());
    }
    let log = exporter.log();
    assert_eq!(log.iter().filter(|line| line.contains("cannot accept a connection")).count(), 1, "{log:?}");
}

#[test]
fn idle_connections_to_the_bridge_are_few() {
    let bridge = slow(Duration::from_millis(300));
    let exporter = Exporter::before(&bridge.url(), &[]);
    thread::scope(|scope| (0..20).for_each(|_| drop(scope.spawn(|| exporter.metrics()))));
    let kept = eventually(Duration::from_secs(2), || (bridge.connections() <= 8).then_some(()));
    assert!(kept.is_some(), "{} connections are kept", bridge.connections());
    // They are reused.
    let accepted = bridge.accepted();
    assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"));
    assert_eq!(bridge.accepted(), accepted);
}

/// Serves a handler without a process around it, for as long as the tests run.
fn within(handler: Arc<impl Handler>, timeouts: Timeouts) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve(vec![listener], handler, None, timeouts, std::future::pending())).unwrap();
    });
    address
}

/// A handler whose connections are counted.
struct Served {
    address: SocketAddr,
    /// Each connection holds a copy, as long as it lasts.
    handler: Arc<Plain>,
}

struct Plain {
    body: String,
    requests: AtomicUsize,
}

impl Handler for Plain {
    fn respond(&self, request: &Request) -> Response {
        self.requests.fetch_add(1, Ordering::SeqCst);
        assert!(request.uri().path() != "/panic", "as it was asked");
        ok("text/plain", self.body.clone())
    }
}

impl Served {
    fn start(body: &str, timeouts: Timeouts) -> Self {
        let handler = Arc::new(Plain { body: body.to_owned(), requests: AtomicUsize::new(0) });
        Self { address: within(Arc::clone(&handler), timeouts), handler }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Waits until it has seen so many requests, and no connection is open any more.
    fn wait_for_the_end_of(&self, requests: usize) {
        let seen = || (self.handler.requests.load(Ordering::SeqCst), Arc::strong_count(&self.handler) - 2);
        let ended = eventually(Duration::from_secs(30), || (seen() == (requests, 0)).then_some(()));
        assert!(ended.is_some(), "requests and open connections: {:?}", seen());
    }
}

/// Long enough to be late by neglect, not by a busy machine.
const SHORT: Duration = Duration::from_secs(1);

/// So long that a test would fail.
const LONG: Timeouts =
    Timeouts { head: Duration::from_secs(3600), write: Duration::from_secs(3600), grace: Duration::from_secs(3600) };

#[test]
fn sample_bridge_routes() {
    let address = within(Arc::new(Demo), LONG);
    for (path, status) in [("/colibri/stats", "200"), ("/colibri/stats/", "404"), ("/", "404")] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{path}: {answer}");
    }
}

#[test]
fn panic_costs_one_response() {
    let served = Served::start("fine\n", LONG);
    // On one connection: the request that panics, and one after it.
    let mut stream = served.connect();
    stream
        .write_all(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(
        answers.starts_with("HTTP/1.1 500 ") && answers.contains("HTTP/1.1 200 ") && answers.ends_with("fine\n"),
        "{answers}"
    );
}

#[test]
fn incomplete_requests_time_out() {
    let served = Served::start("fine\n", Timeouts { head: SHORT, ..LONG });
    let start = Instant::now();
    // One says nothing, one stops midway, and one has a word now and then, for ever.
    let silent = served.connect();
    let mut half = served.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    let mut dripping = served.connect();
    dripping.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    for stream in [&silent, &half] {
        assert_eq!((&mut &*stream).read(&mut [0]).unwrap_or(0), 0, "no answer to that");
        assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    }
    let refused = eventually(Duration::from_secs(30), || dripping.write_all(b"y").err());
    assert!(refused.is_some(), "it goes on for ever");
    served.wait_for_the_end_of(0);
}

#[test]
fn idle_connections_time_out() {
    let served = Served::start("fine\n", Timeouts { head: SHORT, ..LONG });
    let mut stream = served.connect();
    let start = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nfine\n"), "{answer}");
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    served.wait_for_the_end_of(1);
}

#[test]
fn client_that_reads_nothing_is_disconnected() {
    // More than both sockets buffer.
    let served = Served::start(&"x".repeat(64 << 20), Timeouts { write: SHORT, ..LONG });
    let mut stream = served.connect();
    let start = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    served.wait_for_the_end_of(1);
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() < 64 << 20, "it got everything, although it was late");
}

#[test]
fn vanished_clients_leak_nothing() {
    let bridge = slow(Duration::from_millis(100));
    let exporter = Exporter::before(&bridge.url(), &[]);
    exporter.metrics();
    let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", exporter.pid())).map_or(0, Iterator::count);
    eventually(Duration::from_secs(5), || (count("task") == 1).then_some(())).expect("one thread at rest");
    let (descriptors, threads) = (count("fd"), count("task"));
    for round in 0..5 {
        for number in 0..40 {
            let mut stream = TcpStream::connect(exporter.address()).unwrap();
            let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(if number % 2 == 0 { request } else { &request[..20 + round] }).unwrap();
            // With an answer unread, closing resets.
            drop(stream);
        }
    }
    let back = eventually(Duration::from_secs(10), || {
        (count("task") <= threads && count("fd") <= descriptors + 8).then_some(())
    });
    assert!(back.is_some(), "{} threads of {threads}, {} descriptors of {descriptors}", count("task"), count("fd"));
}
