//! Writes metric families as text, in either format.
//!
//! The text of a family, except for numbers and a few labels, depends only on its descriptor. prometheus-client writes this text
//! once per process and format. A scrape copies it and adds numbers and labels.
//!
//! prometheus-client lacks two types, so the word after `# TYPE` is replaced for `gaugehistogram`, and in text 0.0.4 for a
//! `counter` whose name lacks `_total`. The samples of distributions are written here, because prometheus-client writes the
//! buckets of a histogram last in one format, and their bounds differently in the other.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::catalogue::{Descriptor, Kind};
use crate::metrics::distribution::Distribution;
use crate::metrics::family::{Families, Family, Metric};
use crate::metrics::format::{Format, PerFormat};
use crate::metrics::report::Number;
use crate::metrics::unknown::UnknownValue;

/// Writes the whole exposition: the families about the scrape, then those of the report.
#[must_use]
pub fn render(of_scrape: &[Family], Families { list, unknown, .. }: &Families, format: Format) -> String {
    // HELP, TYPE, UNIT and one sample need less; distributions need more, but there are few.
    let mut text = String::with_capacity((of_scrape.len() + list.len() + unknown.len()) * 300);
    for families in [of_scrape, list] {
        for family in families {
            write_family(&mut text, family, format);
        }
    }
    for (name, key, value) in unknown.iter() {
        write_unknown(&mut text, name, key, value, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(text: &mut String, Family { descriptor, metric }: &Family, format: Format) {
    let pieces = descriptor.text.get(format, || constant_text(descriptor, format));
    match (metric, &pieces[..]) {
        (Metric::Number(number), [head]) => {
            text.push_str(head);
            write_line_end(text, *number);
        }
        (Metric::Labels(labels), [head]) => {
            text.push_str(head.trim_end());
            write_labels(text, labels.iter().map(|(label, value)| (*label, &**value)));
            write_line_end(text, Number::Unsigned(1));
        }
        (Metric::BySize(distribution), [head]) => {
            text.push_str(head.trim_end().trim_end_matches(descriptor.name));
            for (size, count) in distribution.by_size().into_iter().flatten() {
                text.push_str(descriptor.name);
                write_labels(text, [("conference_size", itoa::Buffer::new().format(size))].into_iter());
                write_line_end(text, Number::Unsigned(count));
            }
        }
        (Metric::Distribution(distribution), [head, bucket, one, other]) => {
            text.push_str(head);
            write_distribution(text, distribution, descriptor.kind, [bucket, one, other]);
        }
        _ => unreachable!("the pieces are those of the kind"),
    }
}

/// Writes the samples of a distribution. `pieces` are the texts before each label or value.
fn write_distribution(text: &mut String, distribution: &Distribution, kind: Kind, [bucket, one, other]: [&str; 3]) {
    let mut cumulative = 0;
    for (bound, count) in distribution.buckets() {
        cumulative += count;
        text.push_str(bucket);
        // The bounds are the same in both formats, because the labels of a series must not depend on the scraper.
        write_number(text, Number::Float(*bound));
        text.push_str("\"} ");
        write_line_end(text, Number::Unsigned(cumulative));
    }
    let (count, sum) = (Number::Unsigned(distribution.count()), distribution.sum());
    let values = if kind == Kind::Histogram { [sum, count] } else { [count, sum] };
    for (head, value) in [one, other].into_iter().zip(values) {
        text.push_str(head);
        write_line_end(text, value);
    }
}

/// The text of a descriptor, in the pieces between which values are written. For a single value, the text before it. For a
/// distribution, its head, the name of a bucket, and the texts before the other two values.
fn constant_text(descriptor: &Descriptor, format: Format) -> Vec<String> {
    let Descriptor { name, kind, unit, help, .. } = *descriptor;
    let stem = descriptor.family_name();
    let stem = unit.and_then(|unit| stem.strip_suffix(unit)?.strip_suffix('_')).unwrap_or(stem);
    let family = |kind| before_value(stem, unit, help, kind, format);
    match (kind, format) {
        (Kind::Counter, _) if descriptor.has_suffix() => vec![family(MetricType::Counter)],
        (Kind::Counter, Format::OpenMetrics) => vec![family(MetricType::Unknown)],
        (Kind::Counter, Format::Text) => vec![family(MetricType::Unknown).replacen(" untyped\n", " counter\n", 1)],
        (Kind::Gauge | Kind::Boolean | Kind::Timestamp | Kind::Info, _) => vec![family(MetricType::Gauge)],
        // Three families, because text 0.0.4 lacks this type. With another type, readers invent samples or drop the family.
        (Kind::GaugeHistogram, Format::Text) => {
            let family = |suffix, kind| before_value(&format!("{name}{suffix}"), None, help, kind, format);
            let [buckets, count, sum] = ["_bucket", "_gcount", "_gsum"];
            vec![
                without_sample(family(buckets, MetricType::Unknown)),
                format!("{name}{buckets}{{le=\""),
                family(count, MetricType::Gauge),
                family(sum, MetricType::Gauge),
            ]
        }
        (Kind::GaugeHistogram | Kind::Histogram, _) => {
            let mut head = without_sample(family(MetricType::Histogram));
            if kind == Kind::GaugeHistogram {
                head = head.replacen(" histogram\n", " gaugehistogram\n", 1);
            }
            let [bucket, one, other] = kind.sample_suffixes() else { unreachable!("distributions have three") };
            vec![head, format!("{name}{bucket}{{le=\""), format!("{name}{one} "), format!("{name}{other} ")]
        }
    }
}

/// The text of a family with one number, up to the number, written by prometheus-client.
fn before_value(stem: &str, unit: Option<&str>, help: &str, kind: MetricType, format: Format) -> String {
    let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Zero { stem: stem.to_owned(), unit, help: help.to_owned(), kind }));
    let mut written = String::new();
    let result = match format {
        Format::OpenMetrics => text::encode_registry(&mut written, &registry),
        Format::Text => prometheus_text::encode(&mut written, &registry),
    };
    result.expect("writing to a string does not fail");
    written.truncate(written.len() - "0\n".len());
    written
}

/// Only HELP, TYPE and UNIT.
fn without_sample(mut before_value: String) -> String {
    before_value.truncate(before_value.rfind('\n').map_or(0, |end| end + 1));
    before_value
}

/// A family whose value is 0.
#[derive(Debug)]
struct Zero {
    stem: String,
    unit: Option<Unit>,
    help: String,
    kind: MetricType,
}

impl Collector for Zero {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(&self.stem, &self.help, self.unit.as_ref(), self.kind)?;
        match self.kind {
            MetricType::Counter => metric.encode_counter::<NoLabelSet, _, f64>(&0u64, None),
            _ => metric.encode_gauge(&0u64),
        }
    }
}

/// Characters that occur neither in a name nor in a help text. They stand for the name and the key of an unknown statistic.
const NAME: char = '\u{1}';
const KEY: char = '\u{2}';

/// The pieces of a text around names and keys.
fn pieces<const N: usize>(text: &str) -> [String; N] {
    let pieces: Vec<_> = text.split([NAME, KEY]).map(str::to_owned).collect();
    pieces.try_into().expect("names and keys are in known places")
}

fn write_unknown(text: &mut String, name: &str, key: &str, value: &UnknownValue, format: Format) {
    static NUMBER: PerFormat<[String; 5]> = PerFormat::new();
    static HISTOGRAM: PerFormat<[String; 4]> = PerFormat::new();
    let before_value = |kind| {
        let help = format!("Statistic unknown to this release of the exporter ({KEY}).");
        before_value(&NAME.to_string(), None, &help, kind, format)
    };
    match value {
        UnknownValue::Number(number) => {
            let [help, of, kind, sample, _] = NUMBER.get(format, || pieces(&before_value(MetricType::Unknown)));
            for part in [help, name, of, key, kind, name, sample, name] {
                text.push_str(part);
            }
            text.push(' ');
            write_line_end(text, *number);
        }
        UnknownValue::Histogram(distribution) => {
            let head = || pieces(&without_sample(before_value(MetricType::Histogram)));
            let [help, of, kind, end] = HISTOGRAM.get(format, head);
            for part in [help, name, of, key, kind, name, end] {
                text.push_str(part);
            }
            let [bucket, sum, count] = ["_bucket{le=\"", "_sum ", "_count "].map(|suffix| format!("{name}{suffix}"));
            write_distribution(text, distribution, Kind::Histogram, [&bucket, &sum, &count]);
        }
    }
}

/// Writes a number and ends the line.
fn write_line_end(text: &mut String, number: Number) {
    write_number(text, number);
    text.push('\n');
}

/// Writes a number as prometheus-client would in OpenMetrics; infinities as in 0.0.4, which both formats allow.
fn write_number(text: &mut String, number: Number) {
    match number {
        Number::Unsigned(number) => text.push_str(itoa::Buffer::new().format(number)),
        Number::Negative(number) => text.push_str(itoa::Buffer::new().format(number)),
        Number::Float(f64::INFINITY) => text.push_str("+Inf"),
        Number::Float(f64::NEG_INFINITY) => text.push_str("-Inf"),
        Number::Float(number) => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared with the number")]
            let whole = number as u32;
            if f64::from(whole).to_bits() == number.to_bits() {
                // Most floats of a bridge, and cheaper to write.
                text.push_str(itoa::Buffer::new().format(whole));
                text.push_str(".0");
            } else {
                write_fraction(text, number);
            }
        }
    }
}

/// Separate, because its large buffer and many registers would make each integer dearer.
#[inline(never)]
fn write_fraction(text: &mut String, number: f64) {
    text.push_str(dtoa::Buffer::new().format(number));
}

/// Writes labels and the space after them.
fn write_labels<'a>(text: &mut String, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut before = '{';
    for (label, value) in labels {
        text.push(before);
        text.push_str(label);
        text.push_str("=\"");
        for part in value.split_inclusive(['\\', '"', '\n']) {
            let (plain, escape) = match part.as_bytes().last() {
                Some(b'\\') => (&part[..part.len() - 1], "\\\\"),
                Some(b'"') => (&part[..part.len() - 1], "\\\""),
                Some(b'\n') => (&part[..part.len() - 1], "\\n"),
                _ => (part, ""),
            };
            text.push_str(plain);
            text.push_str(escape);
        }
        text.push('"');
        before = ',';
    }
    text.push_str("} ");
}
