//! A million scrapes. One in ten fails, and in the middle there are 64 clients. Memory, descriptors and threads must not grow,
//! neither before that nor after it. Takes minutes, so it runs on request only: `make soak`.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use jitsiexporter::metrics::format::Format::OpenMetrics;
use support::crowd::{Client, descriptors, expected, memory, scattered, threads, timeless};
use support::faults::{GOOD, QUICK, SLOW};
use support::{Exporter, FakeBridge};

/// How many clients there are, and how many in the fifth and sixth tenth.
const CLIENTS: usize = 8;
const CROWD: usize = 64;

#[test]
#[ignore = "a million scrapes take minutes: make soak"]
fn memory_and_descriptors_do_not_grow() {
    let wanted = std::env::var("SOAK_SCRAPES").ok().map_or(1_000_000, |number| number.parse().expect("a number"));
    let tenth = wanted / 10;
    let bridge = FakeBridge::start(move |stream, number| {
        let choice = scattered(number);
        match choice / 10 {
            _ if !choice.is_multiple_of(10) => GOOD[0](stream),
            // Rarely, because each takes the whole budget.
            fault if fault.is_multiple_of(200) => (SLOW[fault / 200 % SLOW.len()].respond)(stream),
            fault => (QUICK[fault % QUICK.len()].respond)(stream),
        }
    });
    let exporter = Exporter::before(&bridge.url(), &["--timeout", "0.2", "--max-scrapes", "64"]);
    let (pid, good) = (exporter.pid(), expected(OpenMetrics));
    let (done, up) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    println!(
        "| scrapes | clients | up | seconds | resident KiB | peak KiB | descriptors | threads |\n|---|---|---|---|---|---|---|---|"
    );
    // Scrapes until `limit` have been made.
    let client = |limit: usize| {
        let mut client = Client::connect(&exporter);
        loop {
            let number = done.fetch_add(1, Ordering::SeqCst);
            if number >= limit {
                done.fetch_sub(1, Ordering::SeqCst);
                break;
            }
            let answer = client.get("/metrics", "Accept: */*\r\n");
            assert!(answer.status == 200 && answer.body.ends_with("# EOF\n"), "{answer:?}");
            up.fetch_add(usize::from(answer.body.contains("\njitsi_up 1\n")), Ordering::SeqCst);
            // Parsing every response would take longer than the scrapes.
            if number.is_multiple_of(64) {
                let is_complete = answer.exposition().reason().is_some() || timeless(&answer.body) == good;
                assert!(is_complete, "not the whole report: {answer:?}");
            }
        }
    };
    let mut table = Vec::new();
    for number in 1..=10 {
        let clients = if (5..=6).contains(&number) { CROWD } else { CLIENTS };
        thread::scope(|scope| (0..clients).for_each(|_| _ = scope.spawn(|| client(tenth * number))));
        let row = (memory(pid, "VmRSS"), memory(pid, "VmHWM"), descriptors(pid), threads(pid));
        println!(
            "| {} | {clients} | {} | {:.0} | {} | {} | {} | {} |",
            tenth * number,
            up.load(Ordering::SeqCst),
            start.elapsed().as_secs_f64(),
            row.0,
            row.1,
            row.2,
            row.3
        );
        table.push(row);
    }
    assert!(up.into_inner() > wanted / 10 * 8, "more scrapes failed than the bridge had faults");
    // Many clients at once leave free pages between used ones, which the allocator keeps. So the rows after that are compared
    // separately.
    for (from, to) in [(0, 3), (6, 9)] {
        let (from, to) = (table[from], table[to]);
        assert!(to.0 <= from.0 + 1024, "memory grew from {} to {} KiB", from.0, to.0);
        assert!(to.2 <= from.2 + 16 && to.3 <= from.3 + 4, "descriptors or threads grew: {table:?}");
    }
    assert!(table[9].1 < 16 * 1024, "the crowd took {} KiB", table[9].1);
}
