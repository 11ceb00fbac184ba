//! One scrape, from the time budget to the text.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::bridge::{self, Bridge};
use crate::error::{Cause, ScrapeError};
use crate::metrics::catalogue::{BUILD_INFO, SCRAPE_DURATION, SCRAPE_ERROR, UNEXPOSED_VALUES, UP};
use crate::metrics::family::{self, Families, Family, Metric, Naming};
use crate::metrics::format::Format;
use crate::metrics::render::render;
use crate::metrics::report::Number;

/// The result of a scrape.
#[derive(Debug)]
pub struct Scrape {
    /// The whole exposition, in UTF-8, valid whatever the bridge sent.
    pub text: Vec<u8>,
    /// Why the scrape failed, if it did.
    pub error: Option<ScrapeError>,
}

/// Fetches the report of the bridge and exposes it. Blocks for at most the budget.
#[must_use]
pub fn scrape(bridge: &Bridge, budget: Duration, names: Naming, format: Format) -> Scrape {
    let start = Instant::now();
    let (body, source) = match bridge.fetch(budget) {
        Ok(answer) => (Ok(answer.body), Some(answer.source)),
        Err(error) => (Err(error), None),
    };
    let mut scrape = expose(body, || start.elapsed(), names, format);
    match (source, scrape.error.take()) {
        (Some(source), Some(error)) => scrape.error = Some(bridge::explain(source, error)),
        (Some(source), None) => bridge.accepted(source),
        (None, error) => scrape.error = error,
    }
    scrape
}

/// Exposes the result of a fetch. `elapsed` is called once, after the report has been read; apart from that, the function is pure.
#[must_use]
pub fn expose(
    body: Result<impl AsRef<[u8]>, ScrapeError>,
    elapsed: impl FnOnce() -> Duration,
    names: Naming,
    format: Format,
) -> Scrape {
    // The body is dropped before the text is written: a hostile report and its text together would not fit into a sidecar.
    let families = body.and_then(|body| family::read(body.as_ref(), names)).and_then(of_a_bridge);
    let duration = Number::Float(elapsed().as_secs_f64());
    let (families, error) = match families {
        Ok(families) => (families, None),
        Err(error) => (Families { names, ..Families::default() }, Some(error)),
    };

    let revision = option_env!("BUILD_REVISION").map(|revision| ("revision", revision.into()));
    let version = [("version", env!("CARGO_PKG_VERSION").into())].into_iter().chain(revision).collect();
    let of_scrape = [
        Some((UP, Metric::Number(Number::Unsigned(error.is_none().into())))),
        error.as_ref().map(|error| (SCRAPE_ERROR, Metric::Labels(labels(error)))),
        Some((SCRAPE_DURATION, Metric::Number(duration))),
        Some((UNEXPOSED_VALUES, Metric::Number(Number::Unsigned(families.unexposed)))),
        Some((BUILD_INFO, Metric::Labels(version))),
    ]
    .map(|own| own.map(|(number, metric)| Family { number, metric }));

    Scrape { text: render(&of_scrape, &families, format), error }
}

fn labels(error: &ScrapeError) -> Vec<(&'static str, Cow<'static, str>)> {
    let code = error.code().map(|code| ("code", code.to_string().into()));
    [Some(("reason", error.reason().into())), code].into_iter().flatten().collect()
}

/// A response with fewer readable statistics is not the report of a bridge. Other documents of a bridge, and of Jicofo, can contain
/// one key that is also the key of a statistic. The smallest report of a bridge contains six statistics.
const MIN_READABLE: usize = 2;

/// Refuses a report that is not from a bridge: a wrong URL must not look healthy.
fn of_a_bridge(families: Families) -> Result<Families, ScrapeError> {
    match families {
        Families { is_of_jicofo: true, .. } => Err(Cause::Jicofo.into()),
        Families { readable: ..MIN_READABLE, .. } => Err(Cause::NoStatistics.into()),
        families => Ok(families),
    }
}
