//! Restarts of the bridge: a process that is killed in the middle of its responses and starts again on the same port.

#[path = "support/crowd.rs"]
mod crowd;
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, sleep};
use std::time::Duration;

use crowd::{expected, timeless};
use support::Then::KeepAlive;
use support::{CURRENT, Exporter, FakeBridge, reason, response, sample};

/// The variable that makes this test program a bridge on that port.
const PORT: &str = "TEST_BRIDGE_PORT";

/// Not a test, but the bridge of the test below, which runs this program again with [`PORT`] set.
#[test]
fn bridge_process() {
    let Ok(port) = std::env::var(PORT) else { return };
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    // How many bytes of the next response are sent; 0 means all.
    let limit = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&limit);
    let _bridge = FakeBridge::listen(listener, move |stream, _| {
        let answer = response("200 OK", "application/json", CURRENT);
        let limit = own.swap(0, Ordering::SeqCst);
        if limit > 0 {
            stream.write_all(&answer.as_bytes()[..limit])?;
            println!("half");
            loop {
                thread::park();
            }
        }
        // In pieces, so that a kill can come within the head or the body.
        for piece in answer.as_bytes().chunks(700) {
            stream.write_all(piece)?;
            sleep(Duration::from_millis(2));
        }
        Ok(KeepAlive)
    });
    println!("ready");
    // Ends with the test that started it, even if that fails before it kills this process.
    for line in std::io::stdin().lines().map_while(Result::ok) {
        limit.store(line.parse().unwrap(), Ordering::SeqCst);
    }
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Process {
    fn start(port: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "bridge_process", "--nocapture"]).env(PORT, port.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.try_for_each(|line| sender.send(line)));
        let process = Self { child, stdin, lines };
        assert!(process.says("ready"), "the bridge does not start");
        process
    }

    /// Waits for a line. The test harness may have written the beginning of it.
    fn says(&self, what: &str) -> bool {
        // It takes that long only if the bridge or its clients have ended.
        let mut lines = std::iter::from_fn(|| self.lines.recv_timeout(Duration::from_secs(60)).ok());
        lines.any(|line| line.ends_with(what))
    }

    /// Makes the next response stop after this many bytes, and waits until they are sent.
    fn stops_after(&mut self, bytes: usize) -> bool {
        writeln!(self.stdin, "{bytes}").is_ok() && self.says("half")
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn first_scrape_after_a_restart_is_complete() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
    // If the machine stalls between half a response and the kill, the scrape still waits for the other half.
    let exporter = Exporter::before(&format!("http://127.0.0.1:{port}"), &["--timeout", "30"]);
    let good = expected(CURRENT);
    let right = |what: &str| {
        let first = exporter.metrics();
        assert_eq!(sample(&first, "jitsi_up"), Some("1"), "{what}: {first}\n{:#?}", exporter.log());
        assert_eq!(timeless(&first), good, "{what}");
    };
    let (mut complete, mut down) = (0, 0);
    let mut bridge = Process::start(port);
    right("at first");
    for round in 0..20 {
        // Six scrapes at once leave six idle connections. The two clients of the next step use two of them.
        thread::scope(|scope| {
            (0..6).for_each(|_| drop(scope.spawn(|| assert_eq!(timeless(&exporter.metrics()), good))));
        });

        // These clients get the whole report or nothing of it. The kill cuts one of their responses.
        let stop = AtomicBool::new(false);
        let (up, cut, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let text = exporter.metrics();
                        if sample(&text, "jitsi_up") == Some("1") {
                            assert_eq!(timeless(&text), good);
                            up.fetch_add(1, Ordering::SeqCst);
                            continue;
                        }
                        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), 5, "{text}");
                        // An incomplete body is malformed. Without any response the reason is connect.
                        match reason(&text) {
                            Some("malformed") => cut.fetch_add(1, Ordering::SeqCst),
                            Some("connect") => refused.fetch_add(1, Ordering::SeqCst),
                            _ => panic!("{text}"),
                        };
                    }
                });
            }
            sleep(Duration::from_millis(40 + round * 7));
            // At another place of the body each time.
            let half = bridge.stops_after(200 + usize::try_from(round).unwrap() * 100);
            // The clients end, so the idle connections of the exporter are stale when the bridge is back.
            stop.store(true, Ordering::SeqCst);
            bridge.kill();
            assert!(half, "round {round}: the bridge does not respond");
        });
        let (up, cut, refused) = (up.into_inner(), cut.into_inner(), refused.into_inner());
        assert!(cut > 0, "round {round}: {up} responses complete, none cut, {refused} not begun");
        complete += up;
        down += cut + refused;
        // Sometimes there is a scrape while the bridge is down.
        if round % 4 == 0 {
            assert_eq!(reason(&exporter.metrics()), Some("connect"), "round {round}");
        }
        bridge = Process::start(port);
        right(&format!("after restart {round}"));
    }
    println!(
        "20 restarts: {complete} responses complete, {down} without statistics, the first after each restart complete"
    );
    assert!(complete > 0, "nothing was complete");
}
