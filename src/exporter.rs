//! Routes, the time budget of a scrape, and the limit on concurrent scrapes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::bridge::Bridge;
use crate::lock::lock;
use crate::log;
use crate::metrics::family::Naming;
use crate::metrics::format::Format;
use crate::scrape::{Scrape, scrape};
use crate::serve::http::Handler;
use crate::serve::request::{Request, Response, StatusCode, header};
use crate::story::Story;

/// Safety margin subtracted from the scraper's timeout for reading, rendering and the way back, or a quarter of the timeout if
/// that is less. A timeout of the bridge must reach the scraper as `jitsi_up 0` before the scraper gives up.
const MARGIN: Duration = Duration::from_millis(500);

/// If a client waits for less than this, a timeout is not the bridge's fault and is not logged. Any client can send a timeout as
/// short as Prometheus' minimum of a millisecond.
const SHORT: Duration = Duration::from_millis(100);

/// The exporter of one bridge.
#[derive(Debug)]
pub struct Exporter {
    bridge: Bridge,
    names: Naming,
    timeout: Duration,
    permits: Permits,
    story: Mutex<Story>,
}

impl Exporter {
    /// An exporter that waits for the bridge for at most `timeout`, and runs at most `max_scrapes` scrapes at once.
    #[must_use]
    pub fn new(bridge: Bridge, names: Naming, timeout: Duration, max_scrapes: usize) -> Self {
        let permits = Permits { free: AtomicUsize::new(max_scrapes), all: max_scrapes };
        Self { bridge, names, timeout, permits, story: Mutex::default() }
    }

    /// One scrape with the default timeout. A failure is logged.
    pub fn scrape(&self, format: Format) -> Scrape {
        self.scrape_within(Budget { time: self.timeout, is_short: false }, format)
    }

    fn scrape_within(&self, budget: Budget, format: Format) -> Scrape {
        let scrape = scrape(&self.bridge, budget.time, self.names, format);
        // Locked until the line is written, so that lines of concurrent scrapes are not swapped.
        let mut story = lock(&self.story);
        let line = match &scrape.error {
            Some(error) if budget.is_short && error.reason() == "timeout" => None,
            Some(error) => story.failed(error, Instant::now()),
            None => story.succeeded(Instant::now()),
        };
        if let Some(line) = line {
            log::line(format_args!("{}: {line}", self.bridge.url()));
        }
        drop(story);
        scrape
    }

    fn metrics(&self, request: &Request) -> Response {
        let Some(_permit) = self.permits.take() else {
            let line = format!("{} scrapes are running already (--max-scrapes)", self.permits.all);
            return Response::text(StatusCode::SERVICE_UNAVAILABLE, &line);
        };
        let format = Format::negotiate(&request.accept());
        let budget = budget(request.scrape_timeout(), self.timeout);
        let scrape = self.scrape_within(budget, format);
        for note in self.bridge.notes() {
            log::line(format_args!("{}: {note}", self.bridge.url()));
        }
        Response::ok(format.content_type(), scrape.text).with(header::VARY, "Accept")
    }

    fn page(&self) -> Response {
        let (version, bridge) = (env!("CARGO_PKG_VERSION"), escape(&format!("{:#}", self.bridge.url())));
        let page = format!(include_str!("landing.html"), version = version, bridge = bridge);
        Response::ok("text/html; charset=utf-8", page)
    }
}

impl Handler for Exporter {
    fn respond(&self, request: &Request) -> Response {
        match request.path() {
            "/metrics" => self.metrics(request),
            "/health" => Response::ok("text/plain; charset=utf-8", "ok".to_owned()),
            "/" => self.page(),
            _ => Response::text(StatusCode::NOT_FOUND, "not found; there are /metrics, /health and /"),
        }
    }

    /// Probes have no password. `/health` reveals nothing that a client does not learn by connecting.
    fn is_public(&self, path: &str) -> bool {
        path == "/health"
    }
}

/// Escapes text for HTML.
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

/// The time for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    time: Duration,
    /// Whether the client, and not `--timeout`, made it shorter than [`SHORT`].
    is_short: bool,
}

/// `timeout`, or less if the scraper gives up earlier.
fn budget(scrape_timeout: Option<Duration>, timeout: Duration) -> Budget {
    let Some(wait) = scrape_timeout else { return Budget { time: timeout, is_short: false } };
    let time = wait.saturating_sub(MARGIN.min(wait / 4));
    Budget { time: timeout.min(time), is_short: wait < SHORT && time < timeout }
}

/// The limit on concurrent scrapes. There is no queue, because a queue behind a bridge that hangs would delay every scrape.
#[derive(Debug)]
struct Permits {
    free: AtomicUsize,
    all: usize,
}

/// Held until the scrape ends, whether or not the client is still connected.
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn budget_is_at_most_the_timeout() {
        let seconds = Duration::from_secs_f64;
        for (scrape_timeout, expected) in [
            (None, 5.0),
            (Some(10.0), 5.0),
            (Some(5.5), 5.0),
            (Some(3.0), 2.5),
            (Some(1.0), 0.75),
            (Some(0.4), 0.3),
            (Some(0.1), 0.075),
            (Some(0.04), 0.03),
        ] {
            let expected = Budget { time: seconds(expected), is_short: expected < 0.075 };
            assert_eq!(budget(scrape_timeout.map(seconds), seconds(5.0)), expected, "{scrape_timeout:?}");
        }
        // The operator's own limit is not the client's fault.
        assert_eq!(budget(Some(seconds(0.09)), seconds(0.02)), Budget { time: seconds(0.02), is_short: false });
    }

    proptest! {
        #[test]
        fn budget_is_positive_and_ends_before_the_client_gives_up(nanoseconds in 10_u64..) {
            let (wait, usual) = (Duration::from_nanos(nanoseconds), Duration::from_secs(5));
            let time = budget(Some(wait), usual).time;
            prop_assert!(time > Duration::ZERO && time <= usual && time <= wait, "{:?}", time);
        }
    }

    #[test]
    fn escapes_html() {
        assert_eq!(escape("http://[::1]/?a=<b>&c"), "http://[::1]/?a=&lt;b&gt;&amp;c");
    }

    #[test]
    fn permits_are_limited() {
        let permits = Permits { free: AtomicUsize::new(2), all: 2 };
        let first = permits.take();
        let second = permits.take();
        assert!(first.is_some() && second.is_some() && permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
    }
}
