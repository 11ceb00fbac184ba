//! Metric families as text, in either format.
//!
//! prometheus-client writes OpenMetrics. The type given to its `encode_descriptor` only chooses the word behind `# TYPE`, and
//! the method called only the suffix, so it writes text 0.0.4 just as well. Two things it does not have are written here: a
//! distribution as it is now (`gaugehistogram`), and the word `untyped` of 0.0.4.

use std::fmt::{self, Write};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::distribution::Distribution;
use crate::family::{Family, Metric};
use crate::format::Format;
use crate::report::Number;

/// What a family takes in text, give or take: HELP and TYPE are most of it. Only a guess for the first allocation.
const BYTES_PER_FAMILY: usize = 200;

/// Writes the whole exposition.
///
/// # Errors
///
/// None in practice: a `String` takes everything that is written to it.
pub fn render(families: Vec<Family>, format: Format) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(families.len() * BYTES_PER_FAMILY);
    // Shared, because a collector owns what it encodes, and moving families one by one took 5% of a scrape.
    let families = Arc::new(families);
    let mut begin = 0;
    for (place, family) in families.iter().enumerate() {
        if is_written_here(family, format) {
            write_run(&mut text, &families, begin..place, format)?;
            write_here(&mut text, family, format)?;
            begin = place + 1;
        }
    }
    write_run(&mut text, &families, begin..families.len(), format)?;
    if format == Format::OpenMetrics {
        encode_eof(&mut text)?;
    }
    Ok(text)
}

/// Writes the families that prometheus-client can write. A registry for each run is cheap and keeps nothing between scrapes.
fn write_run(text: &mut String, families: &Arc<Vec<Family>>, range: Range<usize>, format: Format) -> fmt::Result {
    if range.is_empty() {
        return Ok(());
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Run { families: Arc::clone(families), range, format }));
    encode_registry(text, &registry)
}

#[derive(Debug)]
struct Run {
    families: Arc<Vec<Family>>,
    range: Range<usize>,
    format: Format,
}

impl Collector for Run {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.families[self.range.clone()].iter().try_for_each(|family| encode(&mut encoder, family, self.format))
    }
}

fn encode(encoder: &mut DescriptorEncoder, family: &Family, format: Format) -> fmt::Result {
    use Format::{OpenMetrics, Text};
    // In 0.0.4 a family has the name of its samples, there are no units, and an info metric is a gauge.
    let (name, unit) = match format {
        OpenMetrics => (family.stem(), family.unit().map(unit)),
        Text => (family.name(), None),
    };
    // In OpenMetrics the name of a counter must end so. Legacy names do not, and those counters are of unknown type there.
    let total = family.name().ends_with("_total");
    let kind = match (&family.metric, format) {
        (Metric::Gauge(_) | Metric::Labelled(..) | Metric::State(_), _) | (Metric::Info(_), Text) => MetricType::Gauge,
        (Metric::Info(_), OpenMetrics) => MetricType::Info,
        (Metric::Counter(_), OpenMetrics) if !total => MetricType::Unknown,
        (Metric::Counter(_), _) => MetricType::Counter,
        (Metric::Histogram(_), _) => MetricType::Histogram,
        (Metric::Unknown(_), _) => MetricType::Unknown,
        (Metric::Sizes(_), _) => return Err(fmt::Error),
    };
    let mut metric = encoder.encode_descriptor(name, family.help(), unit, kind)?;
    match (&family.metric, format) {
        (Metric::Counter(number), OpenMetrics) if total => metric.encode_counter::<NoLabelSet, _, f64>(number, None),
        (Metric::Gauge(number) | Metric::Counter(number) | Metric::Unknown(number), _) => metric.encode_gauge(number),
        (Metric::Labelled(label, samples), _) => samples
            .iter()
            .try_for_each(|(value, number)| metric.encode_family(&[(*label, &**value)])?.encode_gauge(number)),
        (Metric::Info(labels), OpenMetrics) => metric.encode_info(labels),
        (Metric::Info(labels), Text) | (Metric::State(labels), _) => metric.encode_family(labels)?.encode_gauge(&1u64),
        (Metric::Histogram(histogram), _) => {
            let (sum, count) = (histogram.sum().as_f64(), histogram.count());
            metric.encode_histogram::<NoLabelSet>(sum, count, histogram.buckets(), None)
        }
        (Metric::Sizes(_), _) => Err(fmt::Error),
    }
}

/// The encoder wants a unit of its own type, which it cannot make from a borrowed text.
fn unit(name: &'static str) -> &'static Unit {
    static RATES: LazyLock<[Unit; 2]> =
        LazyLock::new(|| ["bytes_per_second", "packets_per_second"].map(|unit| Unit::Other(unit.to_owned())));
    match name {
        "seconds" => &Unit::Seconds,
        "bytes" => &Unit::Bytes,
        "bytes_per_second" => &RATES[0],
        _ => &RATES[1],
    }
}

/// What prometheus-client has no word for.
fn is_written_here(family: &Family, format: Format) -> bool {
    match family.metric {
        Metric::Sizes(_) => true,
        Metric::Unknown(_) => format == Format::Text,
        _ => false,
    }
}

fn write_here(text: &mut String, family: &Family, format: Format) -> fmt::Result {
    match &family.metric {
        Metric::Sizes(sizes) => write_sizes(text, family, sizes, format),
        Metric::Unknown(number) => {
            write_head(text, family.name(), family.help(), "untyped")?;
            writeln!(text, "{} {number}", family.name())
        }
        _ => Err(fmt::Error),
    }
}

/// A distribution as it is now. In 0.0.4, which has no such type, what the official Python client writes for one: a histogram
/// of the buckets, and two gauges.
fn write_sizes(text: &mut String, family: &Family, sizes: &Distribution, format: Format) -> fmt::Result {
    let (name, help) = (family.name(), family.help());
    write_head(text, name, help, if format == Format::OpenMetrics { "gaugehistogram" } else { "histogram" })?;
    let mut cumulative = 0;
    for (bound, count) in sizes.buckets() {
        cumulative += count;
        if bound.is_infinite() {
            writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {cumulative}")?;
        } else {
            writeln!(text, "{name}_bucket{{le=\"{bound:?}\"}} {cumulative}")?;
        }
    }
    for (suffix, value) in [("gcount", Number::Unsigned(sizes.count())), ("gsum", sizes.sum())] {
        if format == Format::Text {
            write_head(text, &format!("{name}_{suffix}"), help, "gauge")?;
        }
        writeln!(text, "{name}_{suffix} {value}")?;
    }
    Ok(())
}

fn write_head(text: &mut String, name: &str, help: &str, kind: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// A number of the bridge, digit for digit.
impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder) -> fmt::Result {
        match *self {
            Self::Unsigned(number) => EncodeGaugeValue::encode(&number, encoder),
            Self::Negative(number) => EncodeGaugeValue::encode(&number, encoder),
            Self::Float(number) => EncodeGaugeValue::encode(&number, encoder),
        }
    }
}

/// A counter is never negative: [`Metric::Counter`] says so.
impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder) -> fmt::Result {
        match *self {
            Self::Unsigned(number) => EncodeCounterValue::encode(&number, encoder),
            Self::Negative(_) => Err(fmt::Error),
            Self::Float(number) => EncodeCounterValue::encode(&number, encoder),
        }
    }
}
