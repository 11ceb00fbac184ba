//! A million scrapes, one in ten of a bridge that misbehaves: memory and descriptors are the same at the end as after the first
//! tenth. Takes minutes and runs when it is asked for: `make soak`.

#[path = "support/crowd.rs"]
mod crowd;
mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crowd::{Bridge, Client, descriptors, expected, exporter, memory, scattered, threads, timeless};
use support::{CURRENT, reason, response, sample};

/// Sends what a bridge says on its bad days; `false` closes the connection.
fn fault(stream: &mut TcpStream, which: usize) -> std::io::Result<bool> {
    let good = response("200 OK", "application/json", CURRENT);
    let answer = match which % 100 {
        // Rarely, because each takes the whole budget.
        0 => {
            thread::sleep(Duration::from_millis(250));
            return Ok(false);
        }
        1..12 => return Ok(false),
        12..24 => {
            stream.write_all(&good.as_bytes()[..good.len() / 2])?;
            return Ok(false);
        }
        24..34 => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{")?;
            return Ok(false);
        }
        34..44 => {
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")?;
            return Ok(false);
        }
        44..58 => response("404 Not Found", "text/html", "<html>404</html>"),
        58..72 => response("200 OK", "text/html", "<!DOCTYPE html><html></html>"),
        72..86 => response("200 OK", "application/json", &CURRENT[..CURRENT.len() / 2]),
        _ => response("200 OK", "application/json", "{}"),
    };
    stream.write_all(answer.as_bytes())?;
    Ok(true)
}

#[test]
#[ignore = "a million scrapes take minutes: make soak"]
fn memory_and_descriptors_stay_where_they_are() {
    let wanted = std::env::var("SOAK_SCRAPES").ok().map_or(1_000_000, |number| number.parse().expect("a number"));
    let bridge = Bridge::start(move |stream, number| {
        let choice = scattered(number);
        if choice.is_multiple_of(10) {
            return fault(stream, choice / 10).unwrap_or(false);
        }
        stream.write_all(response("200 OK", "application/json", CURRENT).as_bytes()).is_ok()
    });
    let exporter = exporter(&bridge, &["--timeout", "0.2"]);
    let (pid, good) = (exporter.pid(), expected(CURRENT));
    let (done, up) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    println!(
        "| scrapes | up | seconds | resident KiB | peak KiB | descriptors | threads |\n|---|---|---|---|---|---|---|"
    );
    let table = thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(exporter.address());
                loop {
                    let number = done.fetch_add(1, Ordering::SeqCst);
                    if number >= wanted {
                        break;
                    }
                    let (status, text) = client.get("/metrics", "");
                    assert_eq!(status, 200, "{text}");
                    assert!(text.ends_with("# EOF\n"), "{text}");
                    if text.contains("\njitsi_up 1\n") {
                        up.fetch_add(1, Ordering::SeqCst);
                        assert!(number % 64 > 0 || timeless(&text) == good, "not the whole report: {text}");
                    } else {
                        assert!(reason(&text).is_some() && sample(&text, "jitsi_threads").is_none(), "{text}");
                    }
                }
            });
        }
        let mut table = Vec::new();
        for tenth in 1..=10 {
            while done.load(Ordering::SeqCst) < wanted / 10 * tenth {
                thread::sleep(Duration::from_millis(20));
            }
            let row = (memory(pid, "VmRSS"), memory(pid, "VmHWM"), descriptors(pid), threads(pid));
            println!(
                "| {} | {} | {:.0} | {} | {} | {} | {} |",
                wanted / 10 * tenth,
                up.load(Ordering::SeqCst),
                start.elapsed().as_secs_f64(),
                row.0,
                row.1,
                row.2,
                row.3
            );
            table.push(row);
        }
        table
    });
    let (first, last) = (table[0], table[9]);
    assert!(up.into_inner() > wanted / 10 * 8, "more failures than faults");
    assert!(last.0 <= first.0 + 1024, "memory grew from {} to {} KiB", first.0, last.0);
    assert!(
        table.iter().all(|row| row.2 <= first.2 + 16 && row.3 <= first.3),
        "descriptors or threads grew: {table:?}"
    );
}
