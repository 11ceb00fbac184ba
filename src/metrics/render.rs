//! Writes metric families as text, in either format.
//!
//! The text of a family, except for numbers and a few labels, depends only on its descriptor. prometheus-client writes this text
//! once per process and format. A scrape copies it and adds numbers and labels.
//!
//! prometheus-client lacks two types, so the word after `# TYPE` is replaced for `gaugehistogram`, and in text 0.0.4 for a
//! `counter` whose name lacks `_total`. The samples of distributions are written here, because prometheus-client writes the
//! buckets of a histogram last in one format, and their bounds differently in the other.

use std::fmt;
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::catalogue::{Descriptor, INDEX, Kind, Naming};
use crate::metrics::distribution::Distribution;
use crate::metrics::family::{Families, Family, Metric};
use crate::metrics::format::Format;
use crate::metrics::piece::{Pieces, append};
use crate::metrics::report::Number;
use crate::metrics::unknown::UnknownValue;

/// Pieces for each format, made when they are first needed. They depend on nothing but the catalogue.
type PerFormat = [OnceLock<Pieces>; 2];

/// Writes the whole exposition: the families about the scrape, then those of the report.
#[must_use]
pub fn render(of_scrape: &[Option<Family>], families: &Families, format: Format) -> Vec<u8> {
    let Families { names, list, unknown, .. } = families;
    let (descriptors, constant) = (INDEX.descriptors(*names), constant_texts(*names, format));
    // HELP, TYPE, UNIT and one sample need less; distributions need more, but there are few.
    let room = (of_scrape.len() + list.len()) * 300 + unknown.len() * 110 + unknown.bytes() * 4;
    let mut text = Vec::with_capacity(room);
    for family in of_scrape.iter().flatten().chain(list) {
        write_family(&mut text, family, descriptors, constant);
    }
    for (name, key, value) in unknown.iter() {
        write_unknown(&mut text, name, key, value, format);
    }
    if format == Format::OpenMetrics {
        append(&mut text, b"# EOF\n");
    }
    text
}

fn write_family(text: &mut Vec<u8>, family: &Family, descriptors: &[&Descriptor], constant: &Pieces) {
    let Family { number, metric } = family;
    let piece = |place| constant.get(PIECES * number + place);
    match metric {
        Metric::Number(value) => {
            append(text, piece(0));
            write_line_end(text, *value);
        }
        Metric::Labels(labels) => {
            append(text, piece(0).trim_ascii_end());
            write_labels(text, labels.iter().map(|(label, value)| (*label, &**value)));
            write_line_end(text, Number::Unsigned(1));
        }
        Metric::BySize(distribution) => {
            let (name, head) = (descriptors[*number].name.as_bytes(), piece(0).trim_ascii_end());
            append(text, head.strip_suffix(name).unwrap_or(head));
            for (size, count) in distribution.by_size().into_iter().flatten() {
                append(text, name);
                write_labels(text, [("conference_size", itoa::Buffer::new().format(size))].into_iter());
                write_line_end(text, Number::Unsigned(count));
            }
        }
        Metric::Distribution(distribution) => {
            append(text, piece(0));
            write_distribution(text, distribution, descriptors[*number].kind, [piece(1), piece(2), piece(3)]);
        }
    }
}

/// Writes the samples of a distribution. `pieces` are the texts before each label or value.
fn write_distribution(text: &mut Vec<u8>, distribution: &Distribution, kind: Kind, [bucket, one, other]: [&[u8]; 3]) {
    let mut cumulative = 0;
    for (bound, count) in distribution.buckets() {
        cumulative += count;
        append(text, bucket);
        // The bounds are the same in both formats, because the labels of a series must not depend on the scraper.
        write_number(text, Number::Float(*bound));
        append(text, b"\"} ");
        write_line_end(text, Number::Unsigned(cumulative));
    }
    let (count, sum) = (Number::Unsigned(distribution.count()), distribution.sum());
    let values = if kind == Kind::Histogram { [sum, count] } else { [count, sum] };
    for (head, value) in [one, other].into_iter().zip(values) {
        append(text, head);
        write_line_end(text, value);
    }
}

/// The texts of all descriptors, each in [`PIECES`] pieces.
fn constant_texts(names: Naming, format: Format) -> &'static Pieces {
    static TEXTS: [PerFormat; 2] = [const { [const { OnceLock::new() }; 2] }; 2];
    TEXTS[names as usize][format as usize].get_or_init(|| {
        INDEX.descriptors(names).iter().flat_map(|descriptor| constant_text(descriptor, format)).collect()
    })
}

/// The number of pieces of a descriptor.
const PIECES: usize = 4;

/// The text of a descriptor, in the pieces between which values are written. For a single value, the text before it. For a
/// distribution, its head, the name of a bucket, and the texts before the other two values.
fn constant_text(descriptor: &Descriptor, format: Format) -> [String; PIECES] {
    let Descriptor { name, kind, unit, help, .. } = *descriptor;
    let stem = descriptor.family_name();
    let stem = unit.and_then(|unit| stem.strip_suffix(unit)?.strip_suffix('_')).unwrap_or(stem);
    let family = |kind| before_value(stem, unit, help, kind, format);
    let one = |text| [text, String::new(), String::new(), String::new()];
    match (kind, format) {
        (Kind::Counter, _) if descriptor.has_suffix() => one(family(MetricType::Counter)),
        (Kind::Counter, Format::OpenMetrics) => one(family(MetricType::Unknown)),
        (Kind::Counter, Format::Text) => one(family(MetricType::Unknown).replacen(" untyped\n", " counter\n", 1)),
        (Kind::Gauge | Kind::Boolean | Kind::Timestamp | Kind::Info, _) => one(family(MetricType::Gauge)),
        // Three families, because text 0.0.4 lacks this type. With another type, readers invent samples or drop the family.
        (Kind::GaugeHistogram, Format::Text) => {
            let family = |suffix, kind| before_value(&format!("{name}{suffix}"), None, help, kind, format);
            let [buckets, count, sum] = ["_bucket", "_gcount", "_gsum"];
            [
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
            [head, format!("{name}{bucket}{{le=\""), format!("{name}{one} "), format!("{name}{other} ")]
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

fn write_unknown(text: &mut Vec<u8>, name: &[u8], key: &[u8], value: &UnknownValue, format: Format) {
    static NUMBER: PerFormat = [const { OnceLock::new() }; 2];
    static HISTOGRAM: PerFormat = [const { OnceLock::new() }; 2];
    let before_value = |kind| {
        let help = format!("Statistic unknown to this release of the exporter ({KEY}).");
        before_value(&NAME.to_string(), None, &help, kind, format)
    };
    let around_names = |text: &str| text.split([NAME, KEY]).map(str::to_owned).collect();
    match value {
        UnknownValue::Number(number) => {
            let pieces = NUMBER[format as usize].get_or_init(|| around_names(&before_value(MetricType::Unknown)));
            let [help, of, kind, sample, end] = [0, 1, 2, 3, 4].map(|number| pieces.get(number));
            for piece in [help, name, of, key, kind, name, sample, name, end] {
                append(text, piece);
            }
            write_line_end(text, *number);
        }
        UnknownValue::Histogram(distribution) => {
            let head = || around_names(&without_sample(before_value(MetricType::Histogram)));
            let pieces = HISTOGRAM[format as usize].get_or_init(head);
            let [help, of, kind, end] = [0, 1, 2, 3].map(|number| pieces.get(number));
            for piece in [help, name, of, key, kind, name, end] {
                append(text, piece);
            }
            let samples = [&b"_bucket{le=\""[..], b"_sum ", b"_count "].map(|suffix| [name, suffix].concat());
            write_distribution(text, distribution, Kind::Histogram, samples.each_ref().map(|sample| &**sample));
        }
    }
}

/// Writes a number and ends the line.
fn write_line_end(text: &mut Vec<u8>, number: Number) {
    write_number(text, number);
    text.push(b'\n');
}

/// Writes a number as prometheus-client would in OpenMetrics; infinities as in 0.0.4, which both formats allow.
fn write_number(text: &mut Vec<u8>, number: Number) {
    match number {
        Number::Unsigned(number) => append(text, itoa::Buffer::new().format(number).as_bytes()),
        Number::Negative(number) => append(text, itoa::Buffer::new().format(number).as_bytes()),
        Number::Float(f64::INFINITY) => append(text, b"+Inf"),
        Number::Float(f64::NEG_INFINITY) => append(text, b"-Inf"),
        Number::Float(number) => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared with the number")]
            let whole = number as u32;
            if f64::from(whole).to_bits() == number.to_bits() {
                // Most floats of a bridge, and cheaper to write.
                append(text, itoa::Buffer::new().format(whole).as_bytes());
                append(text, b".0");
            } else {
                write_fraction(text, number);
            }
        }
    }
}

/// Separate, because its large buffer and many registers would make each integer dearer.
#[inline(never)]
fn write_fraction(text: &mut Vec<u8>, number: f64) {
    append(text, dtoa::Buffer::new().format(number).as_bytes());
}

/// Writes labels and the space after them.
fn write_labels<'a>(text: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut before = b'{';
    for (label, value) in labels {
        text.push(before);
        append(text, label.as_bytes());
        append(text, b"=\"");
        for part in value.split_inclusive(['\\', '"', '\n']) {
            let (plain, escape) = match part.as_bytes().last() {
                Some(b'\\') => (&part[..part.len() - 1], "\\\\"),
                Some(b'"') => (&part[..part.len() - 1], "\\\""),
                Some(b'\n') => (&part[..part.len() - 1], "\\n"),
                _ => (part, ""),
            };
            append(text, plain.as_bytes());
            append(text, escape.as_bytes());
        }
        text.push(b'"');
        before = b',';
    }
    append(text, b"} ");
}
