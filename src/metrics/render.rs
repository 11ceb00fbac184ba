//! Metric families as text, in either format.
//!
//! prometheus-client writes OpenMetrics. It can write text 0.0.4 as well, because the type given to `encode_descriptor` only sets
//! the word after `# TYPE`, and the method called on the result only sets the suffix. What it cannot write is written here, after
//! all other families: gauge histograms, and in 0.0.4 the type `untyped` and infinite values.

use std::fmt::{self, Write};
use std::sync::LazyLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::distribution::Distribution;
use crate::metrics::family::{Family, Metric};
use crate::metrics::format::Format;
use crate::metrics::report::Number;

/// Writes the whole exposition.
///
/// # Errors
///
/// Never in practice: writing to a `Text` does not fail.
pub fn render(mut families: Vec<Family>, format: Format) -> Result<String, fmt::Error> {
    // HELP, TYPE, UNIT and one sample, each with the name. Numbers are short, and distributions are few.
    let bytes = families.iter().map(|family| 4 * family.name().len() + family.help().len() + 40).sum();
    let mut text = Text::with_capacity(bytes);
    let written_here: Vec<_> = families.extract_if(.., |family| is_written_here(family, format)).collect();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(FamilyCollector { families, format }));
    encode_registry(&mut text, &registry)?;
    for family in &written_here {
        write_here(&mut text, family, format)?;
    }
    if format == Format::OpenMetrics {
        encode_eof(&mut text)?;
    }
    text.into_string()
}

/// The families that prometheus-client can write. A registry owns what it encodes, so each scrape has its own, which is cheap.
#[derive(Debug)]
struct FamilyCollector {
    families: Vec<Family>,
    format: Format,
}

impl Collector for FamilyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.families.iter().try_for_each(|family| encode(&mut encoder, family, self.format))
    }
}

/// A text that is written in short pieces.
///
/// prometheus-client writes about 1,500 pieces of a few bytes for a report. A `String` calls `memcpy` for each of them, which took
/// a quarter of the time of a scrape with musl, the C library of the static builds. Pieces of a fixed size are copied without a
/// call.
struct Text {
    /// Zeros after `length`.
    bytes: Vec<u8>,
    length: usize,
}

impl Text {
    fn with_capacity(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], length: 0 }
    }

    fn into_string(mut self) -> Result<String, fmt::Error> {
        self.bytes.truncate(self.length);
        String::from_utf8(self.bytes).map_err(|_| fmt::Error)
    }
}

impl Write for Text {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let from = piece.as_bytes();
        let end = self.length + from.len();
        match self.bytes.get_mut(self.length..end) {
            Some(to) if from.len() <= SHORT => {
                copy_short(to, from);
                self.length = end;
            }
            _ => self.write_long(from),
        }
        Ok(())
    }
}

impl Text {
    /// Writes a piece that is long or does not fit. It is a separate function so that `write_str` needs no stack frame.
    #[cold]
    #[inline(never)]
    fn write_long(&mut self, piece: &[u8]) {
        let end = self.length + piece.len();
        if end > self.bytes.len() {
            self.bytes.resize((2 * self.bytes.len()).max(end), 0);
        }
        self.bytes[self.length..end].copy_from_slice(piece);
        self.length = end;
    }
}

/// The length up to which pieces are copied without a call.
const SHORT: usize = 128;

/// Copies bytes to a slice of the same length, as a head and a tail that may overlap. (A loop would be compiled into a call of
/// `memcpy`.)
fn copy_short(to: &mut [u8], from: &[u8]) {
    fn ends<const SIZE: usize>(to: &mut [u8], from: &[u8]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<SIZE>(), from.first_chunk::<SIZE>()) {
            *to = *from;
        }
        if let (Some(to), Some(from)) = (to.last_chunk_mut::<SIZE>(), from.last_chunk::<SIZE>()) {
            *to = *from;
        }
    }
    match from.len() {
        0..2 => ends::<1>(to, from),
        2..=4 => ends::<2>(to, from),
        5..=8 => ends::<4>(to, from),
        9..=16 => ends::<8>(to, from),
        17..=32 => ends::<16>(to, from),
        33..=64 => ends::<32>(to, from),
        _ => ends::<64>(to, from),
    }
}

fn encode(encoder: &mut DescriptorEncoder, family: &Family, format: Format) -> fmt::Result {
    use Format::{OpenMetrics, Text};
    // In 0.0.4 a family has the name of its samples, there are no units, and an info metric is a gauge.
    let (name, unit) = match format {
        OpenMetrics => (family.stem(), family.unit().map(unit)),
        Text => (family.name(), None),
    };
    // OpenMetrics requires this suffix of counters. Legacy counters without it are of unknown type there.
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

/// A unit in the type of prometheus-client, which owns its text.
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

/// Whether prometheus-client cannot write a family.
fn is_written_here(family: &Family, format: Format) -> bool {
    match family.metric {
        Metric::Sizes(_) => true,
        Metric::Unknown(_) => format == Format::Text,
        Metric::Gauge(number) | Metric::Counter(number) => format == Format::Text && number.as_f64().is_infinite(),
        _ => false,
    }
}

fn write_here(text: &mut Text, family: &Family, format: Format) -> fmt::Result {
    let (kind, number) = match &family.metric {
        Metric::Sizes(sizes) => return write_sizes(text, family, sizes, format),
        Metric::Unknown(number) => ("untyped", *number),
        Metric::Gauge(number) => ("gauge", *number),
        Metric::Counter(number) => ("counter", *number),
        _ => return Err(fmt::Error),
    };
    let name = family.name();
    write_head(text, name, family.help(), kind)?;
    match number.as_f64() {
        f64::INFINITY => writeln!(text, "{name} +Inf"),
        f64::NEG_INFINITY => writeln!(text, "{name} -Inf"),
        _ => writeln!(text, "{name} {number}"),
    }
}

/// Writes a gauge histogram. 0.0.4 has no such type: there it becomes a histogram of the buckets and two gauges, as the official
/// Python client writes it.
fn write_sizes(text: &mut Text, family: &Family, sizes: &Distribution, format: Format) -> fmt::Result {
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

fn write_head(text: &mut Text, name: &str, help: &str, kind: &str) -> fmt::Result {
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

/// [`Metric::Counter`] is never negative.
impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder) -> fmt::Result {
        match *self {
            Self::Unsigned(number) => EncodeCounterValue::encode(&number, encoder),
            Self::Negative(_) => Err(fmt::Error),
            Self::Float(number) => EncodeCounterValue::encode(&number, encoder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_takes_pieces_of_every_length() {
        let all: String = ('a'..='z').chain('A'..='Z').cycle().take(200).collect();
        for length in 0..all.len() {
            let mut text = Text::with_capacity(length / 2);
            for piece in [&all[..length], "é", &all[length..], ""] {
                text.write_str(piece).unwrap();
            }
            assert_eq!(text.into_string().unwrap(), format!("{}é{}", &all[..length], &all[length..]));
        }
    }
}
