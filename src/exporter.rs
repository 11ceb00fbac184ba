//! What the exporter answers: routes, the budget of a scrape, and how many run at once.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::bridge::Bridge;
use crate::family::Names;
use crate::format::Format;
use crate::http::{Reply, Request, Site};
use crate::log;
use crate::scrape::{Scrape, scrape};

/// The header in which Prometheus says how long it will wait.
const SCRAPE_TIMEOUT: &str = "X-Prometheus-Scrape-Timeout-Seconds";

/// What is kept back of the scraper's timeout for reading, rendering and the way back, or a quarter of it if that is less:
/// an answer that says `jitsi_up 0` is worth more than one that comes too late.
const MARGIN: Duration = Duration::from_millis(500);

/// The exporter of one bridge.
#[derive(Debug)]
pub struct Exporter {
    bridge: Bridge,
    names: Names,
    timeout: Duration,
    permits: Permits,
}

impl Exporter {
    /// An exporter that gives a fetch at most `timeout`, and runs at most `max_scrapes` at once.
    #[must_use]
    pub fn new(bridge: Bridge, names: Names, timeout: Duration, max_scrapes: usize) -> Self {
        Self { bridge, names, timeout, permits: Permits { free: AtomicUsize::new(max_scrapes), all: max_scrapes } }
    }

    /// One scrape, as if a client that says nothing of time had asked for it. Trouble goes to the log.
    pub fn scrape(&self, format: Format) -> Scrape {
        self.scrape_within(self.timeout, format)
    }

    /// Closes the connections to the bridge that nobody needs any more.
    pub fn close_idle(&self) {
        self.bridge.close_idle();
    }

    fn scrape_within(&self, budget: Duration, format: Format) -> Scrape {
        let scrape = scrape(&self.bridge, budget, self.names, format);
        if let Some(error) = &scrape.error {
            log::line(format_args!("{}: {error:#}", self.bridge.url()));
        }
        scrape
    }

    fn metrics(&self, request: &Request) -> Reply {
        let Some(_permit) = self.permits.take() else {
            return Reply::text(503, &format!("{} scrapes are running already (--max-scrapes)", self.permits.all));
        };
        let format = Format::negotiate(&request.header("accept"));
        let budget = budget(&request.header(SCRAPE_TIMEOUT), self.timeout);
        let scrape = self.scrape_within(budget, format);
        Reply { status: 200, content_type: format.content_type(), body: scrape.text }
    }

    fn page(&self) -> Reply {
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>jitsiexporter</title></head>\n<body>\n\
             <h1>jitsiexporter {}</h1>\n<p>Prometheus exporter for the Jitsi Videobridge.</p>\n<p>Bridge: ",
            env!("CARGO_PKG_VERSION")
        );
        page.push_str(&escape(&self.bridge.url().to_string()));
        let _ = write!(
            page,
            "</p>\n<ul>\n<li><a href=\"metrics\">metrics</a>: asks the bridge, now</li>\n\
             <li><a href=\"health\">health</a>: does not</li>\n</ul>\n</body>\n</html>\n"
        );
        Reply { status: 200, content_type: "text/html; charset=utf-8", body: page }
    }
}

impl Site for Exporter {
    fn respond(&self, request: &Request) -> Reply {
        match request.path() {
            "/metrics" => self.metrics(request),
            "/health" => Reply { status: 200, content_type: "text/plain; charset=utf-8", body: "ok".to_owned() },
            "/" => self.page(),
            _ => Reply::text(404, "not found; there are /metrics, /health and /"),
        }
    }
}

/// A text within HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The time for a fetch: the usual timeout, or less if the scraper will not wait that long. A header that is nonsense is as
/// good as none. Public for the fuzzer.
#[must_use]
pub fn budget(header: &str, timeout: Duration) -> Duration {
    let seconds = header.trim().parse().unwrap_or(f64::NAN);
    match Duration::try_from_secs_f64(seconds) {
        Ok(wait) if !wait.is_zero() => timeout.min(wait.saturating_sub(MARGIN.min(wait / 4))),
        _ => timeout,
    }
}

/// How many scrapes may run. There is no queue: behind a bridge that hangs it would only make everybody late.
#[derive(Debug)]
struct Permits {
    free: AtomicUsize,
    all: usize,
}

/// Lives as long as the thread is at work on the scrape, whether or not the client is still there.
struct Permit<'a>(&'a Permits);

impl Permits {
    fn take(&self) -> Option<Permit<'_>> {
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1));
        taken.ok().map(|_| Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_the_timeout_or_less() {
        let seconds = Duration::from_secs_f64;
        for (header, expected) in [
            ("", 5.0),
            ("10", 5.0),
            ("5.5", 5.0),
            ("3", 2.5),
            ("1", 0.75),
            ("1.000000", 0.75),
            (" 0.4 ", 0.3),
            ("0", 5.0),
            ("-1", 5.0),
            ("NaN", 5.0),
            ("inf", 5.0),
            ("1e300", 5.0),
            ("ten", 5.0),
            ("1,2", 5.0),
        ] {
            assert_eq!(budget(header, seconds(5.0)), seconds(expected), "{header:?}");
        }
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escape("http://[::1]/?a=<b>&c"), "http://[::1]/?a=&lt;b&gt;&amp;c");
    }

    #[test]
    fn there_are_as_many_permits_as_were_given() {
        let permits = Permits { free: AtomicUsize::new(2), all: 2 };
        let first = permits.take();
        let second = permits.take();
        assert!(first.is_some() && second.is_some() && permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
    }
}
