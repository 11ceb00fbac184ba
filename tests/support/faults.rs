//! What a bridge, or whatever answers in its place, can do wrong, and the reason that the exporter gives for it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use crate::support::Then::{self, Close, KeepAlive};
use crate::support::{CURRENT, response};

pub struct Fault {
    pub name: &'static str,
    /// The label `reason`.
    pub reason: &'static str,
    /// Words of the log line.
    pub log: &'static str,
    pub respond: fn(&mut TcpStream) -> io::Result<Then>,
}

/// Longer than the budget in every test that uses the faults.
pub const SILENCE: Duration = Duration::from_secs(1);

/// The faults that take the whole budget of a scrape.
pub const SLOW: &[Fault] = &[
    fault("silence", "timeout", "timed out while waiting for the response", |_| {
        sleep(SILENCE);
        Ok(Close)
    }),
    fault("dripping head", "timeout", "timed out while waiting for the response", |stream| drip(stream, 0)),
    fault("dripping body", "timeout", "timed out while waiting for the response", |stream| drip(stream, 150)),
    fault("half a body and silence", "timeout", "timed out while waiting for the response", |stream| {
        stream.write_all(&good().as_bytes()[..1500])?;
        sleep(SILENCE);
        Ok(Close)
    }),
];

/// The faults that are seen at once.
pub const QUICK: &[Fault] = &[
    fault("close without a response", "connect", "closed before a response", |_| Ok(Close)),
    fault("half a head", "connect", "closed before a response", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Ty")?;
        Ok(Close)
    }),
    fault("half a body", "malformed", "incomplete", |stream| {
        stream.write_all(&good().as_bytes()[..1500])?;
        Ok(Close)
    }),
    fault("endless head", "too_large", "larger than 8 KiB", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            stream.write_all(format!("X-Filler: {}\r\n", "x".repeat(500)).as_bytes())?;
        }
    }),
    fault("endless body", "too_large", "larger than 256 KiB", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(format!("1000\r\n{}\r\n", " ".repeat(0x1000)).as_bytes())?;
        }
    }),
    fault("large body, declared", "too_large", "larger than 256 KiB", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{")?;
        Ok(Close)
    }),
    // The connection must not be used again.
    fault("a response too many", "status", "status 404", |stream| {
        let response = response("404 Not Found", "text/html", "<html>404</html>");
        stream.write_all(format!("{response}{response}").as_bytes())?;
        Ok(KeepAlive)
    }),
    fault("406", "status", "status 406", |stream| keep(stream, "406 Not Acceptable", "text/plain", CURRENT)),
    fault("500", "status", "status 500", |stream| keep(stream, "500 Server Error", "application/json", CURRENT)),
    fault("301", "status", "status 301", |stream| {
        keep(stream, "301 Moved\r\nLocation: http://127.0.0.1:1/", "application/json", CURRENT)
    }),
    fault("204", "status", "status 204", |stream| {
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        Ok(KeepAlive)
    }),
    fault("HTML", "malformed", "not JSON", |stream| {
        keep(stream, "200 OK", "text/html", "<!DOCTYPE html><html></html>")
    }),
    fault("half a document", "malformed", "not JSON", |stream| {
        keep(stream, "200 OK", "application/json", &CURRENT[..CURRENT.len() / 2])
    }),
    fault("empty object", "no_statistics", "empty object", |stream| keep(stream, "200 OK", "application/json", "{}")),
    fault("bare NaN", "malformed", "not JSON", |stream| {
        keep(stream, "200 OK", "application/json", "{\"stress_level\": NaN}")
    }),
    fault("not UTF-8", "malformed", "not JSON", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"\xff\":")?;
        Ok(KeepAlive)
    }),
    fault("SSH", "malformed", "not HTTP", |stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")?;
        Ok(Close)
    }),
];

/// Good responses, in the ways in which servers send them.
pub const GOOD: &[fn(&mut TcpStream) -> io::Result<Then>] = &[
    |stream| keep(stream, "200 OK", "application/json", CURRENT),
    |stream| {
        keep(stream, "200 OK\r\nConnection: close", "application/json", CURRENT)?;
        Ok(Close)
    },
    |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for chunk in CURRENT.as_bytes().chunks(700) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
            stream.write_all(chunk)?;
            stream.write_all(b"\r\n")?;
        }
        stream.write_all(b"0\r\n\r\n")?;
        Ok(KeepAlive)
    },
    |stream| {
        stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{CURRENT}").as_bytes())?;
        Ok(Close)
    },
];

const fn fault(
    name: &'static str,
    reason: &'static str,
    log: &'static str,
    respond: fn(&mut TcpStream) -> io::Result<Then>,
) -> Fault {
    Fault { name, reason, log, respond }
}

fn good() -> String {
    response("200 OK", "application/json", CURRENT)
}

/// Sends the first bytes at once, and then one after the other, for [`SILENCE`].
fn drip(stream: &mut TcpStream, at_once: usize) -> io::Result<Then> {
    let response = good();
    let (begin, rest) = response.as_bytes().split_at(at_once);
    stream.write_all(begin)?;
    for byte in rest.iter().take(40) {
        stream.write_all(&[*byte])?;
        sleep(SILENCE / 40);
    }
    Ok(Close)
}

/// Sends a response and keeps the connection.
pub fn keep(stream: &mut TcpStream, status: &str, content_type: &str, body: &str) -> io::Result<Then> {
    stream.write_all(response(status, content_type, body).as_bytes())?;
    Ok(KeepAlive)
}
