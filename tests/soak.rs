//! A million scrapes, one in ten of which fails: memory and descriptors are the same at the end as after the first tenth. Takes
//! minutes, so it runs on request only: `make soak`.

#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/faults.rs"]
mod faults;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crowd::{Client, descriptors, expected, exporter, memory, scattered, threads, timeless};
use faults::{GOOD, QUICK, SLOW};
use support::{CURRENT, FakeBridge, reason, sample};

#[test]
#[ignore = "a million scrapes take minutes: make soak"]
fn memory_and_descriptors_do_not_grow() {
    let wanted = std::env::var("SOAK_SCRAPES").ok().map_or(1_000_000, |number| number.parse().expect("a number"));
    let bridge = FakeBridge::try_start(move |stream, number| {
        let choice = scattered(number);
        match choice / 10 {
            _ if !choice.is_multiple_of(10) => GOOD[0](stream),
            // Rarely, because each takes the whole budget.
            fault if fault.is_multiple_of(200) => (SLOW[fault / 200 % SLOW.len()].respond)(stream),
            fault => (QUICK[fault % QUICK.len()].respond)(stream),
        }
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
                    let (status, text) = client.get("/metrics", "Accept: */*\r\n");
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
