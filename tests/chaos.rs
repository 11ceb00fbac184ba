//! Everything at once: a bridge with every fault while many clients scrape, and clients that misbehave in every way while one
//! scrapes. Times are measured and printed (`--nocapture`). The limits for the longest times are generous, because the machine
//! may be busy; the limits for the shortest and the median are those in the documents.

#[path = "support/locked.rs"]
mod locked;
mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use jitsiexporter::metrics::format::Format::{self, OpenMetrics, Text};
use locked::{Connection, Folder, HALF, Identity, authority};
use support::crowd::{Client, descriptors, expected, is_release, memory, scattered, threads, timeless};
use support::faults::{GOOD, QUICK, SLOW};
use support::{CURRENT, Exporter, Exposition, FakeBridge, eventually};

/// How late a response may be before a test fails.
const PATIENCE: Duration = Duration::from_secs(3);

/// How late a scrape that times out is, if the machine is not busy.
const LATE: Duration = Duration::from_millis(300);

/// How long a scrape takes beside clients that misbehave, if the machine is not busy.
const NORMAL: Duration = Duration::from_secs(1);

/// The least number of scrapes that are timed, so that a few slow ones do not change the median.
const ENOUGH: usize = 9;

/// The number of idle connections to the bridge that the exporter keeps at most.
const KEPT: usize = 8;

/// How long things took: the shortest, the median and the longest.
fn spread(what: &str, mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    let (shortest, median, longest) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: {shortest:?} to {longest:?}, {median:?} in the median of {}", times.len());
    [shortest, median, longest]
}

/// The numbers of descriptors, threads and connections to the bridge, to which a test must return.
struct AtRest {
    /// Without a connection to the bridge.
    descriptors: usize,
    threads: usize,
}

impl AtRest {
    /// Must be called before the first scrape.
    fn of(exporter: &Exporter, bridge: &FakeBridge) -> Self {
        // An exporter that answers has opened everything else that it needs.
        assert_eq!(exporter.get("/health").status, 200);
        eventually(Duration::from_secs(10), || (threads(exporter.pid()) == 1).then_some(()))
            .expect("one thread at rest");
        assert_eq!(bridge.connections(), 0, "connections before the first scrape");
        Self { descriptors: descriptors(exporter.pid()), threads: threads(exporter.pid()) }
    }

    #[track_caller]
    fn again(&self, what: &str, exporter: &Exporter, bridge: &FakeBridge) {
        let pid = exporter.pid();
        let back = || {
            let open = bridge.connections();
            threads(pid) == self.threads && open <= KEPT && descriptors(pid) == self.descriptors + open
        };
        let back = eventually(Duration::from_secs(20), || {
            // Checked again, because a bridge that sleeps for a second notices only then that a connection has ended.
            let settled = back() && {
                sleep(Duration::from_millis(1500));
                back()
            };
            settled.then_some(())
        });
        println!(
            "{what}: {} threads ({} before), {} descriptors ({}), {} connections to the bridge, peak memory {} KiB",
            threads(pid),
            self.threads,
            descriptors(pid),
            self.descriptors,
            bridge.connections(),
            memory(pid, "VmHWM")
        );
        assert!(back.is_some(), "{what} left something behind");
        // The memory of an unoptimised build says nothing.
        if is_release() {
            assert!(memory(pid, "VmHWM") < 16 * 1024, "{what} took {} KiB", memory(pid, "VmHWM"));
        }
        assert!(exporter.metrics().is_up(), "after {what}");
    }
}

#[test]
fn faulty_bridge_never_spoils_a_response() {
    let faulty = Arc::new(AtomicBool::new(true));
    let good_answers = Arc::new(AtomicUsize::new(0));
    let (switch, counter) = (Arc::clone(&faulty), Arc::clone(&good_answers));
    let bridge = FakeBridge::start(move |stream, number| {
        let choice = scattered(number);
        let place = choice / 2;
        if switch.load(Ordering::SeqCst) && choice.is_multiple_of(2) {
            let all: Vec<_> = QUICK.iter().chain(SLOW).collect();
            return (all[place % all.len()].respond)(stream);
        }
        counter.fetch_add(1, Ordering::SeqCst);
        GOOD[place % GOOD.len()](stream)
    });
    let exporter = Exporter::before(&bridge.url(), &[]);
    let at_rest = AtRest::of(&exporter, &bridge);

    // The scraper's timeout. The exporter uses three quarters of it.
    let (timeout, budget) = ("0.6", Duration::from_millis(450));
    let (took, timed_out) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let (up, down) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<String, usize>::new()));
    let client = |format: Format| {
        let accept = if format == OpenMetrics { "*/*" } else { "text/plain" };
        let good = expected(format);
        let headers = format!("Accept: {accept}\r\nX-Prometheus-Scrape-Timeout-Seconds: {timeout}\r\n");
        let mut connection = Client::connect(&exporter);
        for _ in 0..60 {
            let start = Instant::now();
            let answer = connection.get("/metrics", &headers);
            took.lock().unwrap().push(start.elapsed());
            assert_eq!(answer.status, 200, "{answer:?}");
            let scrape = Exposition::read(&answer.body, format).unwrap_or_else(|error| panic!("{error}\n{answer:?}"));
            if let Some(reason) = scrape.reason() {
                *down.lock().unwrap().entry(reason.to_owned()).or_default() += 1;
                if reason == "timeout" {
                    timed_out.lock().unwrap().push(start.elapsed());
                }
                continue;
            }
            up.fetch_add(1, Ordering::SeqCst);
            assert_eq!(timeless(&scrape.text), good, "not the whole report");
        }
    };
    thread::scope(|scope| {
        for number in 0..8 {
            let client = &client;
            scope.spawn(move || client(if number % 2 == 0 { OpenMetrics } else { Text }));
        }
    });
    let (up, down) = (up.into_inner(), down.into_inner().unwrap());
    println!("480 scrapes: {up} up ({good_answers:?} good answers), {down:?}");
    let [.., longest] = spread("scrapes", took.into_inner().unwrap());
    assert!(longest < budget + PATIENCE, "of a budget of {budget:?}, a scrape took {longest:?}");
    let [shortest, ..] = spread("timeouts", timed_out.into_inner().unwrap());
    // No scrape gave up before its budget had ended.
    assert!((budget..budget + LATE).contains(&shortest), "of a budget of {budget:?}, a timeout took {shortest:?}");
    // Half of the answers were good.
    assert!(up > 100 && up <= good_answers.load(Ordering::SeqCst), "{up} of {good_answers:?}");
    for reason in ["connect", "timeout", "status", "too_large", "malformed", "no_statistics"] {
        assert!(down.contains_key(reason), "no {reason} in {down:?}");
    }
    faulty.store(false, Ordering::SeqCst);
    at_rest.again("chaos", &exporter, &bridge);
}

/// A bridge that answers after a moment, so that there is a middle of a scrape.
fn slow() -> FakeBridge {
    FakeBridge::slow(Duration::from_millis(50), CURRENT)
}

/// Scrapes repeatedly while `trouble` runs, until there are enough scrapes. Returns their number.
fn beside(exporter: &Exporter, what: &str, trouble: impl Fn()) -> usize {
    let done = AtomicBool::new(false);
    let times = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let normal = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let start = Instant::now();
                // On a very busy machine a scrape may be rejected, and is tried again.
                let answer =
                    eventually(PATIENCE, || Some(exporter.get("/metrics")).filter(|answer| answer.status == 200));
                let answer = answer.unwrap_or_else(|| panic!("no answer beside {what}"));
                assert!(answer.exposition().is_up(), "beside {what}");
                times.lock().unwrap().push(start.elapsed());
                sleep(Duration::from_millis(5));
            }
        });
        let troubled = catch_unwind(AssertUnwindSafe(|| {
            trouble();
            while times.lock().unwrap().len() < ENOUGH && !normal.is_finished() {
                trouble();
            }
        }));
        done.store(true, Ordering::SeqCst);
        normal.join().expect("normal scrapes");
        troubled.unwrap_or_else(|panic| resume_unwind(panic));
    });
    let times = times.into_inner().unwrap();
    let number = times.len();
    let [_, median, longest] = spread(&format!("scrapes beside {what}"), times);
    assert!(longest < PATIENCE && median < NORMAL, "beside {what} scrapes took {median:?}, and up to {longest:?}");
    number
}

#[test]
fn waiting_clients_do_not_delay_a_scrape() {
    let half = |number: usize| {
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Filler: xxxxxxxx";
        request[..number % request.len()].to_owned()
    };
    let announced = |number: usize| {
        let method = if number.is_multiple_of(2) { "GET" } else { "POST" };
        let body = ["Content-Length: 9", "Content-Length: 9\r\nExpect: 100-continue", "Transfer-Encoding: chunked"];
        format!("{method} /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", body[number % body.len()])
    };
    for (what, clients, request) in [
        ("200 clients with half a request", 200, &half as &dyn Fn(usize) -> String),
        ("300 clients that announce a body", 300, &announced),
    ] {
        let bridge = slow();
        let exporter = Exporter::before(&bridge.url(), &[]);
        let at_rest = AtRest::of(&exporter, &bridge);
        beside(&exporter, what, || {
            let waiting: Vec<_> = (0..clients).map(|number| exporter.open(request(number))).collect();
            // Longer than rejected scrapes are tried again.
            sleep(PATIENCE + Duration::from_millis(500));
            drop(waiting);
        });
        at_rest.again(what, &exporter, &bridge);
    }
}

#[test]
fn tls_connections_and_stalled_handshakes_take_little_memory() {
    let (folder, root) = (Folder::new(), authority("root"));
    let identity = Identity::server(&root);
    folder.write("cert.pem", &identity.pem);
    folder.write("key.pem", &identity.key);
    let file = folder.write("web.yml", "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n");
    let bridge = slow();
    let exporter = Exporter::before(&bridge.url(), &["--web-config-file", &file]);
    let client = locked::client(&root, None);
    let mut times = Vec::new();
    for _ in 0..3 {
        let open: Vec<_> = (0..100)
            .map(|_| {
                let mut open = Connection::open(exporter.address(), &client).expect("a handshake");
                open.get("/health", "").expect("a response");
                open
            })
            .collect();
        let stalled: Vec<_> = (0..200).map(|number| exporter.open(&HALF[..number % (HALF.len() + 1)])).collect();
        for _ in 0..3 {
            let start = Instant::now();
            let got = locked::get(exporter.address(), &client, "/metrics", "").expect("a response");
            assert!(Exposition::of(&got.body).is_up());
            times.push(start.elapsed());
        }
        drop((open, stalled));
    }
    let [_, median, _] = spread("scrapes beside 200 stalled handshakes", times);
    assert!(median < PATIENCE, "beside 200 stalled handshakes a scrape took {median:?}");
    let peak = memory(exporter.pid(), "VmHWM");
    println!("200 stalled handshakes: peak memory {peak} KiB");
    if is_release() {
        assert!(peak < 24 * 1024, "200 stalled handshakes took {peak} KiB");
    }
}

/// Reports of the largest size that is read, each made to take as much memory as possible.
fn hostile_reports() -> [String; 5] {
    const SIZE: usize = 255 * 1024;
    let fill = |open: &str, part: &str, close: &str| {
        format!("{open}{}{close}", vec![part; (SIZE - open.len() - close.len()) / (part.len() + 1)].join(","))
    };
    [
        fill("{\"conference_sizes\":[", "1", "]}"),
        fill("{", "\"\":1", "}"),
        fill("{\"threads\":1,\"x\":{", "\"\":{}", "}}"),
        fill("{\"conferences_by_size\":{", "\"bucket_le_1.0\":1", "}}"),
        format!("{{\"x\":{}1{}}}", "[".repeat(SIZE / 2 - 10), "]".repeat(SIZE / 2 - 10)),
    ]
}

#[test]
fn hostile_reports_take_little_memory() {
    for (number, report) in hostile_reports().into_iter().enumerate() {
        // All scrapes are under way before the first report comes.
        let bridge = FakeBridge::slow(Duration::from_millis(300), &report);
        let exporter = Exporter::before(&bridge.url(), &[]);
        for _ in 0..3 {
            thread::scope(|scope| {
                for _ in 0..40 {
                    scope.spawn(|| assert_eq!(exporter.get("/metrics").status, 200));
                }
            });
        }
        let peak = memory(exporter.pid(), "VmHWM");
        println!("hostile report {number}: peak memory {peak} KiB after 40 scrapes at once");
        if is_release() {
            assert!(peak < 32 * 1024, "hostile report {number} took {peak} KiB");
        }
    }
}

#[test]
fn vanished_clients_leak_nothing() {
    let bridge = slow();
    let exporter = Exporter::before(&bridge.url(), &["--max-scrapes", "100"]);
    let at_rest = AtRest::of(&exporter, &bridge);
    let (before, rounds) = (bridge.hits(), AtomicUsize::new(0));
    let scrapes = beside(&exporter, "1,000 clients that vanish", || {
        for round in 0..40 {
            let asked = bridge.hits();
            let clients: Vec<_> = (0..25).map(|_| exporter.open("")).collect();
            for mut stream in clients {
                if round % 2 == 0 {
                    // Closed when everything has been read, which sends a FIN.
                    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
                } else {
                    // Closed with an unread response, which sends a reset, while the next scrape is running.
                    let _ = stream
                        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
                    let _ = stream.peek(&mut [0]);
                }
            }
            sleep(Duration::from_millis(40));
            // If the exporter is too busy, more clients would only be rejected.
            eventually(PATIENCE, || (bridge.hits() >= asked + 25).then_some(()));
        }
        rounds.fetch_add(40, Ordering::SeqCst);
    });
    let (clients, begun) = (rounds.into_inner() * 25, bridge.hits() - before - scrapes);
    println!("{clients} clients vanished, behind {begun} of them the bridge was asked");
    // More than half, so that there are some of both kinds.
    assert!(begun >= clients * 3 / 4, "of {clients} clients only {begun} had begun a scrape");
    at_rest.again("1,000 clients that vanish", &exporter, &bridge);
}

#[test]
fn malformed_requests_do_not_delay_a_scrape() {
    let bridge = slow();
    let exporter = Exporter::before(&bridge.url(), &[]);
    let at_rest = AtRest::of(&exporter, &bridge);
    let large = "x".repeat(2 << 20);
    let requests = [
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {large}\r\n\r\n"),
        "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
        format!("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{large}", large.len()),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
        "GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100),
    ];
    let client = || {
        for request in requests.iter().cycle().take(5 * requests.len()) {
            let mut stream = exporter.open(request);
            let _ = stream.shutdown(Shutdown::Write);
            // An error is a reset: the exporter closed before it had read everything.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    };
    beside(&exporter, "malformed requests", || {
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(client))));
    });
    at_rest.again("malformed requests", &exporter, &bridge);
}
