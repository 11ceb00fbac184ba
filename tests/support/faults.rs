//! Faults of a bridge, or of another server at its URL, and the reason that the exporter reports for each.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Then::{self, Close, KeepAlive};
use super::{CURRENT, Exporter, ok, response};

pub struct Fault {
    pub name: &'static str,
    /// The label `reason`.
    pub reason: &'static str,
    /// Words of the log line.
    pub log: &'static str,
    pub respond: fn(&mut TcpStream) -> io::Result<Then>,
}

/// Words of the log line for broken framing.
const BROKEN: &str = "the framing of the response is broken: ";

/// Longer than the budget in every test that uses the faults.
pub const SILENCE: Duration = Duration::from_secs(1);

/// Faults that take the whole budget of a scrape.
pub const SLOW: &[Fault] = &[
    fault("silence", "timeout", "timed out while waiting for the response", |_| {
        sleep(SILENCE);
        Ok(Close)
    }),
    fault("dripping head", "timeout", "timed out while waiting for the response", |stream| drip(stream, 0)),
    fault("dripping body", "timeout", "timed out while waiting for the response", |stream| drip(stream, 150)),
    fault("half a body and silence", "timeout", "timed out while waiting for the response", |stream| {
        stream.write_all(&ok(CURRENT).as_bytes()[..1500])?;
        sleep(SILENCE);
        Ok(Close)
    }),
];

/// Faults that are detected at once.
pub const QUICK: &[Fault] = &[
    fault("close without a response", "connect", "the connection was closed before a response", |_| Ok(Close)),
    fault("half a head", "connect", "the connection was closed before a response", |stream| {
        end(stream, "HTTP/1.1 200 OK\r\nContent-Ty")
    }),
    fault("half a body", "malformed", "the response is incomplete", |stream| end(stream, &ok(CURRENT)[..1500])),
    fault("half a chunk", "malformed", "the response is incomplete", |stream| {
        end(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"conferences\":")
    }),
    fault("endless head", "too_large", "larger than 8 KiB", |stream| {
        repeat(stream, "", &format!("X-Filler: {}\r\n", "x".repeat(500)))
    }),
    fault("endless body", "too_large", "larger than 256 KiB", |stream| {
        repeat(stream, "Transfer-Encoding: chunked\r\n\r\n", &format!("1000\r\n{}\r\n", " ".repeat(0x1000)))
    }),
    fault("endless body without a length", "too_large", "larger than 256 KiB", |stream| {
        repeat(stream, "\r\n", &" ".repeat(0x1000))
    }),
    // The rest of the body never comes, and is not awaited.
    fault("large body, declared", "too_large", "larger than 256 KiB", |stream| {
        keep(stream, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{")
    }),
    // The connection must not be used again.
    fault(
        "a response too many",
        "status",
        "status 404; the REST API is off, or the port is the public one",
        |stream| {
            let page = response("404 Not Found", "text/html", "<html>404</html>");
            keep(stream, &format!("{page}{page}"))
        },
    ),
    fault("204", "status", "status 204; is this a bridge's /colibri/stats", |stream| {
        keep(stream, "HTTP/1.1 204 No Content\r\n\r\n")
    }),
    // The bodies of these are never read as statistics.
    fault("301", "status", "status 301: to http://127.0.0.1:1/x?***; redirects are not followed", |stream| {
        status(stream, "301 Moved\r\nLocation: http://127.0.0.1:1/x?token=secret")
    }),
    fault("302 to nowhere", "status", "status 302; redirects are not followed", |stream| status(stream, "302 Found")),
    fault("400", "status", "status 400; a proxy says this if the port speaks TLS: use https:// in --url", |stream| {
        status(stream, "400 Bad Request")
    }),
    fault("401", "status", "status 401; give user and password", |stream| status(stream, "401 Unauthorized")),
    fault("406", "status", "status 406; is this a bridge's", |stream| status(stream, "406 Not Acceptable")),
    fault("500", "status", "status 500; is this a bridge's", |stream| status(stream, "500 Server Error")),
    fault("502", "status", "status 502; a proxy answers, and the bridge behind it does not", |stream| {
        status(stream, "502 Bad Gateway")
    }),
    fault("HTML", "malformed", "the response is not JSON: it begins with \"<!DOCTYPE html>", |stream| {
        keep(stream, &response("200 OK", "text/html", "<!DOCTYPE html><html></html>"))
    }),
    fault("half a document", "malformed", "the response is not JSON: EOF while parsing", |stream| {
        keep(stream, &ok(&CURRENT[..CURRENT.len() / 2]))
    }),
    // Bytes on the connection that are no part of a response, or not of this one.
    fault("garbage for a chunk", "malformed", BROKEN, |stream| chunked(stream, "zz\r\n{}\r\n0\r\n\r\n")),
    fault("a chunk longer than its length", "malformed", BROKEN, |stream| chunked(stream, "1\r\n{}\r\n0\r\n\r\n")),
    fault("chunks announced, but not sent", "malformed", BROKEN, |stream| chunked(stream, "{}\r\n")),
    fault("a length that is not a number", "malformed", BROKEN, |stream| {
        end(stream, "HTTP/1.1 200 OK\r\nContent-Length: some\r\n\r\n{}")
    }),
    fault("two lengths", "malformed", BROKEN, |stream| {
        end(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}")
    }),
    fault("a broken header", "malformed", BROKEN, |stream| end(stream, "HTTP/1.1 200 OK\r\nNo header\r\n\r\n{}")),
    fault("a length longer than the body", "malformed", "the response is incomplete", |stream| {
        end(stream, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}")
    }),
    // A bridge sends OpenMetrics to a client that accepts anything.
    fault("Prometheus text", "malformed", "Prometheus text, not JSON; a proxy before the bridge drops", |stream| {
        keep(stream, &response("200 OK", "text/plain", "# HELP jitsi_jvb_conferences x\n"))
    }),
    fault("empty body", "malformed", "the response is not JSON: it is empty", |stream| keep(stream, &ok(""))),
    fault("empty object", "no_statistics", "empty object", |stream| keep(stream, &ok("{}"))),
    fault("not UTF-8", "malformed", "the response is not JSON", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"\xff\":").map(|()| KeepAlive)
    }),
    fault("SSH", "malformed", "the response is not HTTP", |stream| end(stream, "SSH-2.0-OpenSSH_9.2\r\n\r\n")),
];

/// Valid responses, sent in different ways.
pub const GOOD: &[fn(&mut TcpStream) -> io::Result<Then>] = &[
    |stream| keep(stream, &ok(CURRENT)),
    |stream| end(stream, &response("200 OK\r\nConnection: close", "application/json", CURRENT)),
    |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for chunk in CURRENT.as_bytes().chunks(700) {
            stream.write_all(format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)).as_bytes())?;
        }
        keep(stream, "0\r\n\r\n")
    },
    |stream| end(stream, &format!("HTTP/1.0 200 OK\r\n\r\n{CURRENT}")),
];

/// The longest line of the log, in characters, for a URL of a usual length.
const MAX_LINE: usize = 320;
const USUAL_URL: usize = "http://127.0.0.1:65535/colibri/stats".len();

/// Asserts that one scrape fails for this reason, with these words in the log. The budget is long enough for a busy machine,
/// because the scrape does not use it up.
#[track_caller]
pub fn assert_failure(url: &str, args: &[&str], reason: &str, words: &str) -> Exporter {
    let exporter = Exporter::before(url, &[&["--timeout", "30"], args].concat());
    let scrape = exporter.metrics();
    let line = exporter.wait_for_log(&format!("{url}: "));
    assert_eq!(scrape.reason(), Some(reason), "{line}");
    assert!(line.contains(words), "{words:?} is not in {line:?}");
    assert!(line.len() <= MAX_LINE || url.len() > USUAL_URL, "{} characters: {line}", line.len());
    if let Some(code) = words.strip_prefix("status ") {
        let series = format!("jitsi_scrape_error{{reason=\"status\",code=\"{}\"}}", &code[..3]);
        assert_eq!(scrape.value(&series), Some("1"), "{}", scrape.text);
    }
    exporter
}

/// Scrapes a bridge that does not respond in time. Asserts that each scrape ends with the budget and not before. The delay of the
/// quickest scrape is the exporter's; the others may be later if the machine is busy.
pub fn assert_timeout(url: &str, words: &str) {
    let budget = Duration::from_millis(600);
    let by_option = Exporter::before(url, &["--timeout", "0.6"]);
    let by_header = Exporter::before(url, &["--timeout", "100"]);
    // The exporter subtracts a quarter of it as its margin.
    let header = [("X-Prometheus-Scrape-Timeout-Seconds", "0.8")];
    for (exporter, headers) in [(&by_option, &[][..]), (&by_header, &header)] {
        let late = (0..4).map(|_| {
            let start = Instant::now();
            let scrape = exporter.request("GET", "/metrics", headers).exposition();
            assert_eq!(scrape.reason(), Some("timeout"), "{}", scrape.text);
            start.elapsed().checked_sub(budget).expect("not before the budget ends")
        });
        let least = late.min().unwrap();
        assert!(least < Duration::from_millis(300), "at least {least:?} late");
        exporter.wait_for_log(words);
    }
}

const fn fault(
    name: &'static str,
    reason: &'static str,
    log: &'static str,
    respond: fn(&mut TcpStream) -> io::Result<Then>,
) -> Fault {
    Fault { name, reason, log, respond }
}

/// Sends text as the chunks of a body and closes the connection.
fn chunked(stream: &mut TcpStream, text: &str) -> io::Result<Then> {
    end(stream, &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text}"))
}

/// Sends text and keeps the connection.
fn keep(stream: &mut TcpStream, text: &str) -> io::Result<Then> {
    stream.write_all(text.as_bytes()).map(|()| KeepAlive)
}

/// Sends text and closes the connection.
fn end(stream: &mut TcpStream, text: &str) -> io::Result<Then> {
    stream.write_all(text.as_bytes()).map(|()| Close)
}

/// Sends a good report with another status.
fn status(stream: &mut TcpStream, status: &str) -> io::Result<Then> {
    keep(stream, &response(status, "application/json", CURRENT))
}

/// Sends `begin`, then `part` repeatedly until the exporter closes the connection.
fn repeat(stream: &mut TcpStream, begin: &str, part: &str) -> io::Result<Then> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{begin}").as_bytes())?;
    loop {
        stream.write_all(part.as_bytes())?;
    }
}

/// Sends the first bytes at once, then the others one by one, for [`SILENCE`].
fn drip(stream: &mut TcpStream, at_once: usize) -> io::Result<Then> {
    let response = ok(CURRENT);
    let (begin, rest) = response.as_bytes().split_at(at_once);
    stream.write_all(begin)?;
    for byte in rest.iter().take(40) {
        stream.write_all(&[*byte])?;
        sleep(SILENCE / 40);
    }
    Ok(Close)
}
