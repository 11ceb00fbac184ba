//! One scrape, from budget to text: the story from top to bottom.

use std::fmt;
use std::time::{Duration, Instant};

use crate::bridge::{Bridge, FetchError};
use crate::catalogue::{BUILD_INFO, SCRAPE_DURATION, SCRAPE_ERROR, UNEXPOSED_VALUES, UP};
use crate::family::{self, Family, Metric, Names};
use crate::format::Format;
use crate::render::render;
use crate::report::{Number, Report, ReportError};

/// What came of a scrape.
#[derive(Debug)]
pub struct Scrape {
    /// The whole exposition, valid whatever the bridge sent.
    pub text: String,
    /// Whether the bridge answered with statistics.
    pub up: bool,
    /// What is worth a line in the log: why the bridge is not up, or that it is no bridge.
    pub trouble: Option<Trouble>,
}

/// Fetches the report of the bridge and exposes it. Blocks for at most the budget.
#[must_use]
pub fn scrape(bridge: &Bridge, budget: Duration, names: Names, format: Format) -> Scrape {
    let start = Instant::now();
    let body = bridge.fetch(budget);
    expose(body.as_deref().map_err(Clone::clone), || start.elapsed(), names, format)
}

/// Exposes what came of a fetch; `elapsed` is asked for the duration of the scrape once the report has been read. A pure
/// function otherwise.
#[must_use]
pub fn expose(
    body: Result<&[u8], FetchError>,
    elapsed: impl FnOnce() -> Duration,
    names: Names,
    format: Format,
) -> Scrape {
    let report = body.map_err(Trouble::Fetch).and_then(|body| Report::parse(body).map_err(Trouble::Report));
    let (mut families, unexposed) = report.as_ref().map(|report| family::families(report, names)).unwrap_or_default();
    let duration = Number::Float(elapsed().as_secs_f64());
    let up = report.is_ok();

    let reason = report.as_ref().err().map(|trouble| (trouble.reason().into(), Number::Unsigned(1)));
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let of_scrape = [
        Some(Family::new(&UP, Metric::Gauge(Number::Unsigned(up.into())))),
        reason.map(|reason| Family::new(&SCRAPE_ERROR, Metric::Labelled("reason", vec![reason]))),
        Some(Family::new(&SCRAPE_DURATION, Metric::Gauge(duration))),
        Some(Family::new(&UNEXPOSED_VALUES, Metric::Gauge(Number::Unsigned(unexposed)))),
        Some(Family::new(&BUILD_INFO, Metric::Info(version))),
    ];
    families.splice(0..0, of_scrape.into_iter().flatten());

    let trouble = match report {
        Ok(report) => report.get(KEY_OF_JICOFO).map(|_| Trouble::Jicofo),
        Err(trouble) => Some(trouble),
    };
    // Writing to a String cannot fail; were it to, no answer would be better than half of one.
    Scrape { text: render(families, format).unwrap_or_default(), up, trouble }
}

/// A key at the top of Jicofo's `/stats`, in every release, and in no report of a bridge.
const KEY_OF_JICOFO: &str = "bridge_selector";

/// What is wrong with a scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no answer.
    Fetch(FetchError),
    /// There is one, and it is no report.
    Report(ReportError),
    /// It is the report of another component. Its numbers are exposed all the same.
    Jicofo,
}

impl Trouble {
    fn reason(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.reason(),
            Self::Report(error) => error.reason(),
            Self::Jicofo => "wrong_component",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.remedy(),
            Self::Report(error) => error.remedy(),
            Self::Jicofo => "give the URL of the bridge, whose port is 8080; Jicofo has a /metrics of its own",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(error) => error.fmt(f)?,
            Self::Report(error) => error.fmt(f)?,
            Self::Jicofo => f.write_str("these are the statistics of Jicofo, not of a bridge")?,
        }
        write!(f, " ({})", self.remedy())
    }
}
