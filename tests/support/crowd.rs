//! For load tests: a client that keeps its connection, and what /proc says about the exporter.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use jitsiexporter::metrics::family::Naming;
use jitsiexporter::metrics::format::Format;
use jitsiexporter::scrape::expose;

use super::{Answer, BINARY, CURRENT, Exporter};

/// A client that keeps its connection.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(exporter: &Exporter) -> Self {
        Self(BufReader::new(exporter.open("")))
    }

    /// One GET, with whole lines as headers. A response that is cut short is a panic.
    pub fn get(&mut self, path: &str, headers: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).expect("the connection is kept");
        Answer::read(&mut self.0).expect("the whole response")
    }
}

/// Whether the program is a release build. The memory of other builds says nothing.
pub fn is_release() -> bool {
    cfg!(not(debug_assertions)) || std::env::var_os(BINARY).is_some()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How many threads it has.
pub fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// A line of its status in KiB: `VmRSS`, its memory now, or `VmHWM`, the most it ever had.
pub fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("the process lives")
}

/// An exposition without the samples that differ from scrape to scrape, or between two builds.
pub fn timeless(text: &str) -> String {
    let differs = ["jitsi_scrape_duration_seconds ", "jitsi_exporter_build_info{"];
    let same = |line: &&str| !differs.iter().any(|name| line.starts_with(name));
    text.lines().filter(same).collect::<Vec<_>>().join("\n")
}

/// The exposition of the sample report, without the samples that differ.
pub fn expected(format: Format) -> String {
    let text = expose(Ok(CURRENT.as_bytes()), || Duration::ZERO, Naming::Standard, format).text;
    timeless(str::from_utf8(&text).unwrap())
}

/// Pseudo-random numbers, the same in each run.
pub fn scattered(number: usize) -> usize {
    let mut x = number as u64 + 0x9e37_79b9_7f4a_7c15;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((x ^ (x >> 31)) >> 33).expect("31 bits")
}
