//! The bridge really restarts: a process of its own that is killed in the middle of answers and comes back on the same port.

#[path = "support/crowd.rs"]
mod crowd;
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use crowd::{Bridge, expected, timeless};
use support::{CURRENT, Exporter, reason, response, sample};

/// Makes this test program a bridge on that port.
const PORT: &str = "TEST_BRIDGE_PORT";

/// Not a test of anything, but the bridge of the one below, which starts this program again with [`PORT`] set.
#[test]
fn the_bridge_as_a_process() {
    let Ok(port) = std::env::var(PORT) else { return };
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    let _bridge = Bridge::listen(listener, |stream, _| {
        let answer = response("200 OK", "application/json", CURRENT);
        // In pieces, so that there is a middle: of the head, of the body.
        let sent = answer.as_bytes().chunks(700).try_for_each(|piece| {
            stream.write_all(piece)?;
            sleep(Duration::from_millis(2));
            Ok::<_, std::io::Error>(())
        });
        sent.is_ok()
    });
    println!("ready");
    // Ends with the test that started it, should that not come to killing it.
    let _ = std::io::stdin().read_line(&mut String::new());
}

struct Process(Child);

impl Process {
    fn start(port: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_bridge_as_a_process", "--nocapture"]).env(PORT, port.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with("ready"))), "the bridge does not start");
        // Whoever prints into a closed pipe dies.
        thread::spawn(move || lines.for_each(drop));
        Self(child)
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_first_scrape_after_a_restart_is_right() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
    let exporter = Exporter::before(&format!("http://127.0.0.1:{port}"), &[]);
    let good = expected(CURRENT);
    let (mut cut, mut complete) = (0, 0);
    for round in 0..20 {
        let mut bridge = Process::start(port);
        let first = exporter.metrics();
        assert_eq!(sample(&first, "jitsi_up"), Some("1"), "round {round}: {first}\n{:#?}", exporter.log());
        assert_eq!(timeless(&first), good, "round {round}");

        // Six at once leave six connections behind, of which the two clients of the next step use two.
        thread::scope(|scope| {
            (0..6).for_each(|_| drop(scope.spawn(|| assert_eq!(timeless(&exporter.metrics()), good))));
        });

        // What those two get is all of the report or none of it, and the kill interrupts one of their answers.
        let stop = AtomicBool::new(false);
        let (up, down) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let text = exporter.metrics();
                        if sample(&text, "jitsi_up") == Some("1") {
                            assert_eq!(timeless(&text), good);
                            up.fetch_add(1, Ordering::SeqCst);
                        } else {
                            assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), 5, "{text}");
                            down.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            sleep(Duration::from_millis(40 + round * 7));
            // Nobody asks anew, so the connections that wait in the exporter are dead when the bridge is back.
            stop.store(true, Ordering::SeqCst);
            bridge.kill();
        });
        complete += up.into_inner();
        cut += down.into_inner();
        // Now and then somebody asks while it is away.
        if round % 4 == 0 {
            assert_eq!(reason(&exporter.metrics()), Some("connect"), "round {round}");
        }
    }
    println!("20 restarts: {complete} answers complete, {cut} without statistics, the first after each restart right");
    assert!(complete > 0 && cut > 0, "nothing was interrupted");
}
