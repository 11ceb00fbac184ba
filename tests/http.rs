//! HTTP: routes, formats, limits, graceful stop, and timeouts of clients.

mod support;

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jitsiexporter::serve::MAX_CONNECTIONS;
use jitsiexporter::serve::http::{self, Handler, MAX_REQUEST_HEAD, Timeouts};
use jitsiexporter::serve::request::{Request, Response};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use support::Then::KeepAlive;
use support::crowd::threads;
use support::{Answer, CURRENT, Exporter, FakeBridge, command, eventually, ok};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A scrape on a connection that is kept.
const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

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
    for method in ["POST", "PUT", "DELETE", "TRACE", "PATCH", "BREW"] {
        let answer = exporter.request(method, "/metrics", &[("Content-Length", "0")]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("get, head, options")), "{method}");
    }
    // HAProxy checks its servers with `OPTIONS / HTTP/1.0`, unless it is told otherwise.
    for request in ["OPTIONS / HTTP/1.0", "OPTIONS * HTTP/1.1\r\nHost: x", "OPTIONS /metrics HTTP/1.1\r\nHost: x"] {
        let answer = Answer::parse(&exporter.send(format!("{request}\r\nConnection: close\r\n\r\n")));
        assert_eq!((answer.status, answer.header("allow")), (204, Some("get, head, options")), "{request}");
        let framing =
            [answer.header("content-length"), answer.header("content-type"), answer.header("transfer-encoding")];
        assert_eq!((framing, &*answer.body), ([None; 3], ""), "{request}");
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
        (&[("Accept", "text/html,*/*;q=0.8")], TEXT),
        (&[("Accept", "text/html;q=0, */*")], OPEN_METRICS),
        (&[("Accept", "application/openmetrics-text;version=1.0.0;q=0.4"), ("Accept", "text/plain;q=0.6")], TEXT),
        (&[("Accept", "\u{e9}")], TEXT),
    ] {
        let answer = exporter.request("GET", "/metrics", headers);
        assert_eq!(answer.header("content-type"), Some(content_type), "{headers:?}");
        assert_eq!(answer.header("vary"), Some("accept"), "{headers:?}");
        assert_eq!(answer.body.ends_with("\n# EOF\n"), content_type == OPEN_METRICS, "{headers:?}");
    }
    let without = exporter.send("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(Answer::parse(&without).header("content-type"), Some(TEXT));
}

/// A bridge that waits with its responses until the flag is set.
fn gated() -> (FakeBridge, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let bridge = FakeBridge::start(move |stream, _| {
        eventually(Duration::from_secs(60), || open.load(Ordering::SeqCst).then_some(()));
        stream.write_all(ok(CURRENT).as_bytes()).map(|()| KeepAlive)
    });
    (bridge, gate)
}

/// The answer to a scrape on a connection that is closed after it.
fn scraped(mut stream: TcpStream) -> Answer {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer and the end");
    let answer = Answer::parse(&answer);
    assert!(answer.exposition().is_up(), "{answer:?}");
    answer
}

#[test]
fn scrapes_above_the_limit_get_503_until_a_fetch_ends() {
    let (bridge, gate) = gated();
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "60", "--max-scrapes", "2"]);
    thread::scope(|scope| {
        let running = scope.spawn(|| exporter.metrics());
        let leaving = exporter.open(SCRAPE);
        bridge.wait_for_requests(2);
        drop(leaving);
        thread::sleep(Duration::from_millis(200));
        // The permit of a client that has left is in use as long as its fetch.
        let refused = exporter.get("/metrics");
        assert_eq!(refused.status, 503);
        assert!(refused.body.contains("2 scrapes are running already (--max-scrapes)"), "{}", refused.body);
        assert_eq!((exporter.get("/health").status, bridge.hits()), (200, 2));
        gate.store(true, Ordering::SeqCst);
        assert!(running.join().unwrap().is_up());
    });
    let all = || {
        let again: Vec<_> = thread::scope(|scope| {
            let scrapes = [(); 2].map(|()| scope.spawn(|| exporter.get("/metrics").status));
            scrapes.map(|scrape| scrape.join().unwrap()).into()
        });
        (again == [200, 200]).then_some(())
    };
    assert!(eventually(Duration::from_secs(10), all).is_some(), "a permit is lost");
}

/// When a process continues after it was stopped (by ctrl-z), sockets with a timeout return an error (signal(7)).
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
    let mut stream = exporter.open("");
    // While it waits for a request, for the rest of it, and for the bridge.
    pause();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").unwrap();
    pause();
    stream.write_all(b"Connection: close\r\n\r\n").unwrap();
    bridge.wait_for_requests(1);
    pause();
    gate.store(true, Ordering::SeqCst);
    scraped(stream);
}

#[test]
fn stop_completes_requests_in_flight() {
    for signal in [Signal::TERM, Signal::INT] {
        let bridge = FakeBridge::slow(Duration::from_secs(1), CURRENT);
        let exporter = Exporter::before(&bridge.url(), &[]);
        let address = exporter.address();
        // These have nothing to wait for.
        let _idle = [exporter.open("GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), exporter.open("GET /metr")];
        let scrape = exporter.open(SCRAPE);
        bridge.wait_for_requests(1);
        let start = Instant::now();
        exporter.signal(signal);
        assert_eq!(scraped(scrape).header("connection"), Some("close"), "{signal:?}");
        exporter.wait_for_log("stopped");
        let status = exporter.wait(Duration::from_secs(10)).expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(start.elapsed() < Duration::from_secs(4), "{signal:?}: waited for the idle: {:?}", start.elapsed());
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn stop_is_graceful_from_the_first_log_line_on() {
    for _ in 0..20 {
        let exporter = Exporter::before("http://127.0.0.1:1/", &[]);
        exporter.signal(Signal::TERM);
        assert_eq!(exporter.wait(Duration::from_secs(30)).expect("it ends").code(), Some(0));
    }
}

/// The exporter, started by `env` with an option that only GNU env has.
fn by_env(option: &str, args: &[&str]) -> Command {
    let mut command_line = Command::new("env");
    command_line.args(["-i", option]).arg(command(&[], &[]).get_program()).args(args);
    command_line
}

#[test]
fn blocked_or_ignored_signals_of_the_parent_have_an_effect() {
    for option in ["--block-signal=TERM,INT,HUP", "--ignore-signal=TERM,INT,HUP"] {
        for signal in [Signal::TERM, Signal::INT] {
            let exporter = Exporter::spawn(by_env(option, &["--listen-address", "127.0.0.1:0"])).expect("it starts");
            exporter.signal(Signal::HUP);
            exporter.wait_for_log("SIGHUP: nothing to do, there is no web configuration");
            exporter.signal(signal);
            let status = exporter.wait(Duration::from_secs(10)).expect("it ends");
            assert_eq!(status.code(), Some(0), "{option} {signal:?}");
        }
    }
    // A signal that is pending when the program starts. It would end a program without a handler.
    let mut pending = Command::new("env");
    pending.args(["-i", "--block-signal=HUP", "sh", "-c", "kill -HUP $$; exec \"$0\" \"$@\""]);
    pending.arg(command(&[], &[]).get_program()).args(["--listen-address", "127.0.0.1:0"]);
    Exporter::spawn(pending).expect("it starts").wait_for_log("SIGHUP: nothing to do");
    // The file of the option never ends.
    let mut waits = command(&["--listen-address", "127.0.0.1:0", "--ca-file", "/dev/stdin"], &[]);
    let waits = waits.stdin(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(ended_by(waits, Signal::TERM), Some(Signal::TERM.as_raw()));
    // --once installs no handler.
    let bridge = FakeBridge::slow(Duration::from_secs(60), CURRENT);
    let mut once = by_env("--block-signal=TERM", &["--once", "--timeout", "60", "--url", &bridge.url()]);
    let once = once.stdout(Stdio::null()).spawn().unwrap();
    bridge.wait_for_requests(1);
    assert_eq!(ended_by(once, Signal::TERM), Some(Signal::TERM.as_raw()));
}

/// Sends a signal, and returns the signal that the process ends by.
fn ended_by(mut process: Child, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(&process), signal).unwrap();
    let status = eventually(Duration::from_secs(10), || process.try_wait().unwrap());
    process.kill().unwrap();
    status.expect("it ends").signal()
}

#[test]
fn stop_ends_after_the_grace_period_or_a_second_signal() {
    for (again, code, limit) in [(false, 0, 20), (true, 130, 4)] {
        let (bridge, _gate) = gated();
        let exporter = Exporter::before(&bridge.url(), &["--timeout", "55"]);
        let _client = exporter.open(SCRAPE);
        bridge.wait_for_requests(1);
        exporter.signal(Signal::INT);
        // The first signal has been handled once the port is closed.
        let closed = eventually(Duration::from_secs(3), || TcpStream::connect(exporter.address()).err());
        assert!(closed.is_some(), "it still listens");
        let start = Instant::now();
        if again {
            exporter.signal(Signal::INT);
        }
        assert_eq!(exporter.wait(Duration::from_secs(30)).expect("it ends").code(), Some(code));
        assert!(start.elapsed() < Duration::from_secs(limit), "{:?}", start.elapsed());
    }
}

#[test]
fn longest_idle_connection_makes_room() {
    let (bridge, gate) = gated();
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "60"]);
    let ask = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut answer = [0; 1000];
        let amount = stream.read(&mut answer).unwrap_or(0);
        answer[..amount].starts_with(b"HTTP/1.1 200 ")
    };
    // The oldest connection waits for a response, the second has just had one, the others have sent nothing.
    let busy = exporter.open("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    bridge.wait_for_requests(1);
    let mut talking = exporter.open("");
    let mut silent: Vec<_> = (2..MAX_CONNECTIONS).map(|_| exporter.open("")).collect();
    // Each connection has a thread; idle times count from when it was accepted.
    let threads = || threads(exporter.pid());
    eventually(Duration::from_secs(30), || (threads() > MAX_CONNECTIONS).then_some(())).expect("all are accepted");
    assert!(ask(&mut talking));
    let mut late: Vec<_> = (0..50).map(|_| exporter.open("")).collect();
    assert!(late.iter_mut().all(ask), "a later connection was closed");
    assert!(ask(&mut talking), "the connection in use was closed");
    let (gone, left) = silent.split_at_mut(50);
    assert!(gone.iter_mut().all(|stream| matches!(stream.read(&mut [0]), Ok(0))), "the longest idle are still open");
    assert!(left.iter_mut().all(ask), "more were closed than had to be");
    gate.store(true, Ordering::SeqCst);
    scraped(busy);
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
    let answers = String::from_utf8(exporter.send(requests)).unwrap();
    let kinds: Vec<_> = answers.lines().filter(|line| line.starts_with("content-type")).collect();
    assert_eq!(kinds.len(), 41, "{answers}");
    assert!(kinds.iter().step_by(2).take(20).all(|line| line.contains("openmetrics")));
    assert!(answers.ends_with("</html>\n"));
    assert_eq!(bridge.hits(), 20);
}

#[test]
fn half_closed_client_gets_its_response() {
    let bridge = FakeBridge::slow(Duration::from_millis(200), CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    let stream = exporter.open(SCRAPE);
    stream.shutdown(Shutdown::Write).unwrap();
    scraped(stream);
}

#[test]
fn odd_requests_are_answered_at_once_and_their_connection_closed() {
    let bridge = FakeBridge::json(CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    let long = |begin: &str, length: usize| format!("GET /health{begin}{}", "x".repeat(length));
    for (request, status) in [
        // hyper closes the connection without a response.
        ("PRI * HTTP/2.0\r\n\r\nSM", 0),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}", 400),
        ("GET /metrics", 400),
        // Without Host, or with one that is not a host, or two.
        ("GET /health HTTP/1.1", 400),
        ("GET /health HTTP/1.1\r\nHost: x\r\nHost: x", 400),
        ("GET /health HTTP/1.1\r\nHost: x y", 400),
        ("OPTIONS * HTTP/1.1", 400),
        ("GET /health HTTP/1.1\r\nHost: [::1]:9700\r\nConnection: close", 200),
        ("GET /health HTTP/1.1\r\nHost:\r\nConnection: close", 200),
        ("GET /health HTTP/1.0", 200),
        ("GET /health HTTP/1.0\r\nHost: x\r\nHost: y", 400),
        // With a body that never comes.
        ("GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000", 200),
        ("GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked", 200),
        ("POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue", 405),
        ("POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc", 405),
        // With a head that is nearly too large, or that is, or has too many lines.
        (&format!("{}\r\nConnection: close", long(" HTTP/1.1\r\nHost: x\r\nX: ", MAX_REQUEST_HEAD - 4096)), 200),
        (&long(" HTTP/1.1\r\nHost: x\r\nX: ", MAX_REQUEST_HEAD + 4096), 431),
        (&long("?", MAX_REQUEST_HEAD + 4096), 431),
        (&format!("GET /health HTTP/1.1\r\n{}", "X: y\r\n".repeat(1000)), 431),
    ] {
        let shown = &request[..request.len().min(100)];
        let start = Instant::now();
        let answer = Answer::parse(&exporter.send(format!("{request}\r\n\r\n")));
        assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
        // A wait for the body took 10 seconds in 1.0.0.
        assert!(start.elapsed() < Duration::from_secs(9), "{shown:?}: {:?}", start.elapsed());
        let is_closed = status == 0 || shown.contains("HTTP/1.0") || answer.header("connection") == Some("close");
        assert!(is_closed, "{shown:?}: {answer:?}");
    }
    assert_eq!(bridge.hits(), 0);
}

/// An exporter of a user who may have so many threads.
fn limited(threads: usize, user: u32, url: &str) -> Exporter {
    // Where that user can run it.
    let copy = std::env::temp_dir().join(format!("jitsiexporter-test-limits-{user}"));
    fs::copy(command(&[], &[]).get_program(), &copy).unwrap();
    let mut limited = Command::new("sh");
    let limit = format!("{{ ulimit -u {threads} || ulimit -p {threads}; }} 2>/dev/null && exec \"$0\" \"$@\"");
    limited.args(["-c", &limit]).arg(&copy).uid(user);
    limited.args(["--url", url, "--listen-address", "127.0.0.1:0", "--timeout", "60"]);
    let exporter = Exporter::spawn(limited).expect("it starts");
    fs::remove_file(copy).unwrap();
    exporter
}

/// The limit on threads is one of a user, so it takes a user that has no other process, which only root can be.
fn another_user(number: u32) -> Option<u32> {
    (fs::metadata("/proc/self").unwrap().uid() == 0).then(|| (number << 24) + std::process::id())
}

#[test]
fn idle_connections_make_room_when_descriptors_or_threads_run_out() {
    let bridge = FakeBridge::json(CURRENT);
    let few_descriptors = Exporter::before(&bridge.url(), &["--timeout", "60"]);
    limit_descriptors(&few_descriptors, 100);
    let few_threads = another_user(1).map(|user| limited(4, user, &bridge.url()));
    for (exporter, idle) in few_threads.map(|exporter| (exporter, 10)).into_iter().chain([(few_descriptors, 100)]) {
        // After a response, a connection may be idle for longer than the scrapes below wait.
        let _idle: Vec<_> = (0..idle).map(|_| exporter.open("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        for _ in 0..20 {
            assert!(exporter.metrics().is_up(), "{:?}", exporter.log());
        }
        let log = exporter.log();
        assert_eq!((log.len(), log[1].contains("cannot accept a connection")), (2, true), "{log:?}");
    }
}

fn limit_descriptors(exporter: &Exporter, number: u64) {
    let process = Pid::from_raw(exporter.pid().try_into().unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(process, Resource::Nofile, Rlimit { current: Some(number), maximum }).unwrap();
}

/// How many descriptors a connection takes.
const OF_A_CONNECTION: u64 = 5;

/// Sets the limit so that this many descriptors are left.
fn leave_descriptors(exporter: &Exporter, number: u64) {
    let open = fs::read_dir(format!("/proc/{}/fd", exporter.pid())).unwrap();
    let open: Vec<u64> = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let left = |limit: u64| limit - open.iter().map(|open| u64::from(*open < limit)).sum::<u64>();
    limit_descriptors(exporter, (1..4096).find(|limit| left(*limit) == number).unwrap());
}

#[test]
fn last_descriptors_serve_a_connection_until_another_waits() {
    let exporter = Exporter::before("http://127.0.0.1:1/", &[]);
    leave_descriptors(&exporter, OF_A_CONNECTION);
    let mut kept = exporter.open("");
    for _ in 0..2 {
        // Longer than a connection has to be idle before it makes room.
        thread::sleep(Duration::from_millis(500));
        kept.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(kept.read(&mut [0; 1000]).unwrap() > 0, "{:?}", exporter.log());
    }
    assert_eq!(exporter.log().len(), 1, "{:?}", exporter.log());
    assert_eq!(exporter.get("/health").status, 200);
    exporter.wait_for_log("cannot accept a connection");
    assert_eq!(kept.read(&mut [0]).unwrap(), 0);
}

#[test]
fn limit_on_connections_grows_back_after_a_shortage() {
    // A shortage passes when the limit is raised, or when clients leave.
    for (limit, raised, clients) in [(60, 1024, 20), (45, 45, 3)] {
        let (bridge, gate) = gated();
        let exporter = Exporter::before(&bridge.url(), &["--timeout", "60"]);
        limit_descriptors(&exporter, limit);
        let idle: Vec<_> = (0..20).map(|_| exporter.open("")).collect();
        exporter.wait_for_log("cannot accept a connection");
        limit_descriptors(&exporter, raised);
        drop(idle);
        let ended = eventually(Duration::from_secs(10), || (threads(exporter.pid()) == 1).then_some(()));
        assert!(ended.is_some(), "{} threads left", threads(exporter.pid()));
        let scrape = |_| exporter.open("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let scrapes: Vec<_> = (0..clients).map(scrape).collect();
        bridge.wait_for_requests(clients);
        assert_eq!(exporter.get("/health").status, 200);
        gate.store(true, Ordering::SeqCst);
        for scrape in scrapes {
            scraped(scrape);
        }
    }
}

#[test]
fn serves_one_client_at_a_time_with_the_fewest_descriptors() {
    let bridge = FakeBridge::slow(Duration::from_millis(100), CURRENT);
    let exporter = Exporter::before(&bridge.url(), &[]);
    // Room for one connection and one fetch. That is a limit of 16.
    leave_descriptors(&exporter, OF_A_CONNECTION + 1);
    let crowd: Vec<_> = (0..20).map(|_| exporter.open(SCRAPE)).collect();
    exporter.wait_for_log("cannot accept a connection");
    drop(crowd);
    for _ in 0..3 {
        assert_eq!(exporter.get("/health").status, 200, "{:?}", exporter.log());
        assert!(exporter.metrics().is_up(), "{:?}", exporter.log());
    }
    // Beside a connection that stays open.
    let _idle = exporter.open("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(exporter.get("/health").status, 200, "{:?}", exporter.log());
}

#[test]
fn lookup_without_a_thread_is_not_a_timeout() {
    let Some(user) = another_user(2) else { return };
    // One thread accepts, one serves the connection, and none is left.
    let exporter = limited(2, user, "http://bridge.invalid:8080");
    assert_eq!(exporter.metrics().reason(), Some("resolve"));
    exporter.wait_for_log("\"bridge.invalid\": resource temporarily unavailable");
}

#[test]
fn full_log_pipe_delays_neither_scrapes_nor_the_stop() {
    let (log, mut standard_error) = io::pipe().unwrap();
    // A pipe holds 64 KiB. Room is left for the first line.
    standard_error.write_all(&vec![b'\n'; 60 * 1024]).unwrap();
    let url = format!("http://127.0.0.1:1/{}", "x".repeat(2000));
    let mut process = command(&["--url", &url, "--listen-address", "127.0.0.1:0"], &[]);
    let mut process = process.stdout(Stdio::null()).stderr(standard_error).spawn().unwrap();
    let mut log = BufReader::new(log);
    let mut first = String::new();
    while !first.contains("listens on") {
        first.clear();
        log.read_line(&mut first).unwrap();
    }
    // From here on the log is not read. Each SIGHUP writes a line.
    let address = first.split("http://").nth(1).and_then(|url| url.split('/').next()).expect("an address");
    let mut stream = support::open(address, "");
    let mut responds = || {
        kill_process(Pid::from_child(&process), Signal::HUP).unwrap();
        stream.write_all(SCRAPE.as_bytes()).unwrap();
        stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0)
    };
    let responses = (0..1024).take_while(|_| responds()).count();
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let status = eventually(Duration::from_secs(30), || process.try_wait().unwrap());
    process.kill().unwrap();
    assert_eq!((responses, status.and_then(|status| status.code())), (1024, Some(0)));
}

/// A server without a process around it, whose connections are counted. It lasts as long as the tests run.
struct Served {
    address: SocketAddr,
    /// Each open connection holds a clone.
    handler: Arc<Plain>,
}

struct Plain {
    body: String,
    requests: AtomicUsize,
}

impl Handler for Plain {
    fn respond(&self, request: &Request) -> Response {
        self.requests.fetch_add(1, Ordering::SeqCst);
        assert!(request.path() != "/panic", "a panic was asked for");
        Response::ok("text/plain", self.body.clone())
    }
}

impl Served {
    fn start(body: &str, timeouts: Timeouts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handler = Arc::new(Plain { body: body.to_owned(), requests: AtomicUsize::new(0) });
        let own = Arc::clone(&handler);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(http::serve(vec![listener], own, None, timeouts, std::future::pending())).unwrap();
        });
        Self { address, handler }
    }

    fn open(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        support::open(self.address, bytes)
    }

    /// Waits until this many requests have arrived and all connections are closed.
    fn wait_for_the_end_of(&self, requests: usize) {
        let seen = || (self.handler.requests.load(Ordering::SeqCst), Arc::strong_count(&self.handler) - 2);
        let ended = eventually(Duration::from_secs(30), || (seen() == (requests, 0)).then_some(()));
        assert!(ended.is_some(), "requests and open connections: {:?}", seen());
    }
}

/// Short enough for a test, and long compared with the delays of a busy machine.
const SHORT: Duration = Duration::from_secs(1);

/// Longer than any test waits.
const LONG: Timeouts =
    Timeouts { head: Duration::from_secs(3600), write: Duration::from_secs(3600), grace: Duration::from_secs(3600) };

#[test]
fn panic_costs_one_response() {
    let served = Served::start("fine\n", LONG);
    // On one connection: the request that panics, and one after it.
    let panic = "GET /panic HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut stream = served.open(panic);
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(
        answers.starts_with("HTTP/1.1 500 ") && answers.contains("HTTP/1.1 200 ") && answers.ends_with("fine\n"),
        "{answers}"
    );
}

/// Asserts that a client was disconnected after [`SHORT`], and not after hyper's default of 30 seconds.
fn assert_short(start: Instant) {
    assert!((SHORT..20 * SHORT).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[test]
fn incomplete_requests_time_out() {
    let served = Served::start("fine\n", Timeouts { head: SHORT, ..LONG });
    let start = Instant::now();
    // One client sends nothing, one stops midway, and one sends a byte now and then.
    let mut dripping = served.open("GET / HTTP/1.1\r\nX: ");
    for mut stream in [served.open(""), served.open("GET / HTTP/1.1\r\nHo")] {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "half a request is answered");
        assert_short(start);
    }
    let refused = eventually(Duration::from_secs(30), || dripping.write_all(b"y").err());
    assert!(refused.is_some(), "the client that sends a byte now and then is not disconnected");
    assert_short(start);
    served.wait_for_the_end_of(0);
}

#[test]
fn idle_connections_time_out() {
    let served = Served::start("fine\n", Timeouts { head: SHORT, ..LONG });
    let start = Instant::now();
    let mut stream = served.open("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nfine\n"), "{answer}");
    assert_short(start);
    served.wait_for_the_end_of(1);
}

#[test]
fn client_that_reads_nothing_is_disconnected() {
    // More than both sockets buffer.
    let served = Served::start(&"x".repeat(64 << 20), Timeouts { write: SHORT, ..LONG });
    let start = Instant::now();
    let mut stream = served.open("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    served.wait_for_the_end_of(1);
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() < 64 << 20, "the client got the whole response");
}

#[test]
fn date_is_current_on_a_kept_connection() {
    let served = Served::start("fine\n", LONG);
    let mut stream = served.open("");
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
