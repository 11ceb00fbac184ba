//! A strict reader of both text formats, written from their specifications and not from the code that writes them: names,
//! labels, escapes, HELP, TYPE, UNIT and EOF, types and their suffixes, contiguous families, unique samples and names.
//! It rejects what the exporter never writes although the specifications allow it (timestamps, exemplars, comments).

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jitsiexporter::error::ScrapeError;
use jitsiexporter::metrics::catalogue::{self, ROWS};
use jitsiexporter::metrics::family::Naming;
use jitsiexporter::metrics::format::Format;
use jitsiexporter::metrics::unknown::{MAX_KEY, MAX_NESTING};
use jitsiexporter::scrape::expose;
use serde_json::value::RawValue;

/// An exposition that has been read to its end.
#[derive(Debug)]
pub struct Exposition {
    pub text: String,
    pub families: Vec<Family>,
}

/// A family as it stands in the text.
#[derive(Debug)]
pub struct Family {
    pub name: String,
    pub kind: String,
    pub help: String,
    pub unit: Option<String>,
    pub samples: Vec<Sample>,
}

/// A line with a value.
#[derive(Debug)]
pub struct Sample {
    /// The name with its labels, as they are written.
    pub series: String,
    pub name: String,
    /// In the order in which they stand.
    pub labels: Vec<(String, String)>,
    /// As it is written.
    pub value: String,
}

impl Exposition {
    /// Reads a text, whose end tells the format. Panics if it is not valid.
    pub fn of(text: impl AsRef<[u8]>) -> Self {
        let text = str::from_utf8(text.as_ref()).unwrap();
        let format = if text.ends_with("# EOF\n") { Format::OpenMetrics } else { Format::Text };
        Self::read(text, format).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub fn read(text: &str, format: Format) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), families: read(text, format)? })
    }

    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.iter().flat_map(|family| &family.samples)
    }

    /// The value of a sample, by its name with labels as they are written.
    pub fn value(&self, series: &str) -> Option<&str> {
        self.samples().find(|sample| sample.series == series).map(|sample| &*sample.value)
    }

    pub fn number(&self, series: &str) -> Option<f64> {
        self.samples().find(|sample| sample.series == series).map(Sample::number)
    }

    pub fn is_up(&self) -> bool {
        self.value("jitsi_up") == Some("1")
    }

    /// The families that are not about the scrape.
    pub fn statistics(&self) -> impl Iterator<Item = &Family> {
        self.families.iter().filter(|family| !catalogue::OWN.iter().any(|own| own.name == family.name))
    }

    /// The label `reason` if the bridge is down. Checks that there are no statistics in this case.
    pub fn reason(&self) -> Option<&str> {
        let error = self.samples().find(|sample| sample.name == "jitsi_scrape_error");
        assert_eq!(error.is_some(), self.value("jitsi_up") == Some("0"), "{}", self.text);
        let error = error?;
        assert_eq!((&*error.value, self.statistics().count()), ("1", 0), "{}", self.text);
        let reason = error.label("reason").expect("a reason");
        assert_eq!(error.label("code").is_some(), reason == "status", "{}", self.text);
        Some(reason)
    }
}

impl Sample {
    pub fn number(&self) -> f64 {
        number(&self.value).expect("the reader has looked at it")
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }
}

/// The suffixes of the samples of a type. `None` if the format does not have this type.
fn suffixes(kind: &str, format: Format) -> Option<&'static [&'static str]> {
    Some(match (kind, format) {
        ("gauge", _) | ("unknown", Format::OpenMetrics) | ("untyped" | "counter", Format::Text) => &[""],
        ("counter", Format::OpenMetrics) => &["_total", "_created"],
        ("histogram", Format::OpenMetrics) => &["_bucket", "_count", "_sum", "_created"],
        ("histogram", Format::Text) => &["_bucket", "_count", "_sum"],
        ("gaugehistogram", Format::OpenMetrics) => &["_bucket", "_gcount", "_gsum"],
        _ => return None,
    })
}

fn read(text: &str, format: Format) -> Result<Vec<Family>, String> {
    let body = match format {
        Format::OpenMetrics => text.strip_suffix("# EOF\n").ok_or_else(|| "the last line is not # EOF".to_owned())?,
        Format::Text => text,
    };
    let mut families: Vec<Family> = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').ok_or_else(|| format!("a line without an end: {rest:?}"))?;
        rest = after;
        read_line(line, format, &mut families).map_err(|error| format!("{error}: {line:?}"))?;
    }
    let mut names = BTreeSet::new();
    let mut series = BTreeSet::new();
    for family in &families {
        check(family).map_err(|error| format!("{error}: {family:?}"))?;
        // A name with each suffix that its type has belongs to the family, whether or not there is such a sample.
        let own = suffixes(&family.kind, format).unwrap_or_default().iter().chain([&""]);
        for name in own.map(|suffix| format!("{}{suffix}", family.name)).collect::<BTreeSet<_>>() {
            if !names.insert(name.clone()) {
                return Err(format!("{name} belongs to two families, {} is one", family.name));
            }
        }
        for sample in &family.samples {
            let mut labels = sample.labels.clone();
            labels.sort();
            if !series.insert((&sample.name, labels)) {
                return Err(format!("twice: {sample:?}"));
            }
        }
    }
    Ok(families)
}

fn read_line(line: &str, format: Format, families: &mut Vec<Family>) -> Result<(), String> {
    if let Some(descriptor) = line.strip_prefix("# ") {
        let mut words = descriptor.splitn(3, ' ');
        let (Some(keyword), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
            return Err("a comment that is not a descriptor".to_owned());
        };
        check_name(name)?;
        if keyword == "HELP" {
            // Here each family begins with its HELP.
            let help = unescape(value, format == Format::OpenMetrics)?;
            let family = Family { name: name.to_owned(), kind: String::new(), help, unit: None, samples: Vec::new() };
            families.push(family);
            return Ok(());
        }
        let family = families.last_mut().filter(|family| family.name == name && family.samples.is_empty());
        let family = family.ok_or_else(|| "a descriptor in another family".to_owned())?;
        match keyword {
            "TYPE" if family.kind.is_empty() => value.clone_into(&mut family.kind),
            "UNIT" if format == Format::OpenMetrics && family.unit.is_none() => family.unit = Some(value.to_owned()),
            _ => return Err("a descriptor that is unknown or comes twice".to_owned()),
        }
        return Ok(());
    }
    let sample = read_sample(line)?;
    if format == Format::Text && sample.number().is_infinite() && !matches!(&*sample.value, "+Inf" | "-Inf") {
        return Err("an infinity that is not +Inf or -Inf".to_owned());
    }
    let family = families.last_mut().ok_or_else(|| "a sample without a family".to_owned())?;
    let suffix = sample.name.strip_prefix(&*family.name);
    let known = suffixes(&family.kind, format).ok_or_else(|| format!("{:?} is not a type", family.kind))?;
    if !suffix.is_some_and(|suffix| known.contains(&suffix)) {
        return Err(format!("a sample in {}, a {}", family.name, family.kind));
    }
    family.samples.push(sample);
    Ok(())
}

fn read_sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("a sample without a value")?;
    let (name, mut rest) = line.split_at(end);
    check_name(name)?;
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
            let valid = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !valid || label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(format!("not a label name: {label:?}"));
            }
            // The end is the first quote that is not escaped.
            let mut escaped = false;
            let end = after.find(|c| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                end
            });
            let (value, after) = after.split_at(end.ok_or("a label value without an end")?);
            if labels.iter().any(|(own, _)| own == label) {
                return Err(format!("the label {label} twice"));
            }
            labels.push((label.to_owned(), unescape(value, true)?));
            if let Some(after) = after.strip_prefix("\",") {
                rest = after;
                continue;
            }
            rest = after.strip_prefix("\"}").ok_or("labels without an end")?;
            break;
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    number(value).ok_or_else(|| format!("not a number: {value:?}"))?;
    let series = line[..line.len() - rest.len()].to_owned();
    Ok(Sample { series, name: name.to_owned(), labels, value: value.to_owned() })
}

/// Parses a value by the grammar of `OpenMetrics`, which is the stricter one.
fn number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_lowercase();
    let word = matches!(&*unsigned, "inf" | "infinity") || text.eq_ignore_ascii_case("nan");
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((&unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let numeric = digits(whole) && digits(fraction) && digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    if word || numeric { text.parse().ok() } else { None }
}

fn check_name(name: &str) -> Result<(), String> {
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
    if valid && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    Err(format!("not a metric name: {name:?}"))
}

/// Undoes escapes. Other backslashes are invalid, and so is a quote unless no quote ends the text.
fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\\') => plain.push('\\'),
                Some('n') => plain.push('\n'),
                Some('"') if quotes => plain.push('"'),
                other => return Err(format!("not an escape: {other:?}")),
            },
            '"' if quotes => return Err("a quote that is not escaped".to_owned()),
            c => plain.push(c),
        }
    }
    Ok(plain)
}

/// Checks the samples of a family against its type.
fn check(family: &Family) -> Result<(), String> {
    if let Some(unit) = family.unit.as_ref().filter(|unit| !family.name.ends_with(&format!("_{unit}"))) {
        return Err(format!("the name does not end in the unit {unit}"));
    }
    if family.samples.is_empty() {
        return Err("a family without a sample".to_owned());
    }
    let values = || family.samples.iter().map(Sample::number);
    match &*family.kind {
        // NaN is not greater than anything.
        "counter" if !values().all(|value| value >= 0.0) => Err("a counter below zero".to_owned()),
        "gauge" if family.name.ends_with("_info") && !values().all(|value| value.to_bits() == 1f64.to_bits()) => {
            Err("an info metric that is not 1".to_owned())
        }
        "histogram" | "gaugehistogram" => check_distribution(family),
        // The buckets of a gauge histogram.
        "untyped" if family.samples[0].label("le").is_some() => check_buckets(family).map(|_| ()),
        _ => Ok(()),
    }
}

/// Checks the buckets, and returns the count of the last one.
fn check_buckets(family: &Family) -> Result<u64, String> {
    let (mut bound, mut below) = (f64::NEG_INFINITY, 0u64);
    let buckets = family.samples.iter().take_while(|sample| sample.name.ends_with("_bucket"));
    for bucket in buckets {
        let le = bucket.label("le").filter(|_| bucket.labels.len() == 1).ok_or("a bucket without le")?;
        if le != "+Inf" && !le.contains('.') {
            return Err(format!("{le} is not how a bound is written"));
        }
        let next = number(le).filter(|next| *next > bound).ok_or("bounds that do not grow")?;
        let count: u64 = bucket.value.parse().map_err(|_| "a bucket that is not a count")?;
        if count < below {
            return Err("buckets that are not cumulative".to_owned());
        }
        (bound, below) = (next, count);
    }
    if bound == f64::INFINITY { Ok(below) } else { Err("no bucket +Inf".to_owned()) }
}

/// A distribution has buckets, then a sum and a count. Some parsers want that order.
fn check_distribution(family: &Family) -> Result<(), String> {
    let last = check_buckets(family)?;
    let (count, sum) = if family.kind == "gaugehistogram" { ("_gcount", "_gsum") } else { ("_count", "_sum") };
    let others: Vec<_> = family.samples.iter().skip_while(|sample| sample.name.ends_with("_bucket")).collect();
    let of = |suffix: &str| others.iter().find(|sample| sample.name == format!("{}{suffix}", family.name));
    let (2, Some(count), Some(sum)) = (others.len(), of(count), of(sum)) else {
        return Err("not one count and one sum after the buckets".to_owned());
    };
    if count.value != last.to_string() {
        return Err("the count is not that of the last bucket".to_owned());
    }
    // NaN is not zero or more.
    if sum.number() >= 0.0 { Ok(()) } else { Err("a sum below zero".to_owned()) }
}

/// In a report of at most this many members, in all objects together, every value is exposed or counted. In a larger report, an
/// object that exceeds a limit counts as one value.
const MEMBERS_BELOW_ALL_LIMITS: usize = 160;

/// Checks what must hold for any report: both formats are valid and agree, the text is the same each time, and each value of the
/// report is exposed or counted. Returns the exposition in `OpenMetrics`.
pub fn check_scrape(body: &[u8], names: Naming) -> Exposition {
    let shown = || String::from_utf8_lossy(&body[..body.len().min(4000)]);
    let expose = |format| {
        let scrape = || expose(Ok(body), || Duration::from_millis(1), names, format);
        let once = scrape();
        assert_eq!(once.text, scrape().text, "another text the second time\n{}", shown());
        let text = str::from_utf8(&once.text).unwrap();
        let read = Exposition::read(text, format).unwrap_or_else(|error| panic!("{error}\n{}\n{text}", shown()));
        assert_eq!(read.families[0].name, "jitsi_up");
        assert_eq!(read.is_up(), once.error.is_none(), "{}", shown());
        assert_eq!(read.reason(), once.error.as_ref().map(ScrapeError::reason), "{}", shown());
        read
    };
    let (open_metrics, text) = (expose(Format::OpenMetrics), expose(Format::Text));
    let up = open_metrics.is_up();
    assert_same(&open_metrics, &text);
    let unexposed: usize =
        open_metrics.value("jitsi_unexposed_values").expect("always there").parse().expect("a count");
    // The test reads the bytes itself, not with the readers of the program that it tests.
    if let Ok(document) = serde_json::from_slice::<&RawValue>(body) {
        let report = report_in(document.get());
        assert!(!up || report.is_some(), "up without a report\n{}", shown());
        if let Some((report, leaves)) =
            report.filter(|_| up).and_then(|report| Some((report, leaves(report, "", MAX_NESTING)?)))
        {
            let (values, once_more) = (values(&open_metrics), usize::from(is_shared(report)));
            if report.bytes().filter(|&b| b == b':').count() <= MEMBERS_BELOW_ALL_LIMITS {
                assert!((leaves..=leaves + once_more).contains(&(values + unexposed)), "{}", shown());
            }
            assert!(values <= leaves + once_more, "{}", shown());
        }
    } else if up {
        // The program accepts control characters in a key, such as a line break.
        let lenient: Vec<_> = body.iter().map(|&b| if b < b' ' { b' ' } else { b }).collect();
        assert!(serde_json::from_slice::<&RawValue>(&lenient).is_ok(), "up without JSON\n{}", shown());
    }
    assert!(up || unexposed == 0, "values from nowhere\n{}", shown());
    open_metrics
}

/// Both formats have the same samples, of types that correspond.
fn assert_same(open_metrics: &Exposition, text: &Exposition) {
    let samples = |exposition: &'_ Exposition| -> BTreeMap<String, (String, String)> {
        let all =
            exposition.families.iter().flat_map(|family| family.samples.iter().map(move |sample| (family, sample)));
        all.map(|(family, sample)| (sample.series.clone(), (family.kind.clone(), sample.value.clone()))).collect()
    };
    let (samples, mut others) = (samples(open_metrics), samples(text));
    for (series, (kind, value)) in samples {
        let (other_kind, other) = others.remove(&series).unwrap_or_else(|| panic!("{series} is not in\n{}", text.text));
        let (number, twin) = (number(&value).unwrap(), number(&other).unwrap());
        let same = number.to_bits() == twin.to_bits() || number.is_nan() && twin.is_nan();
        // Integers to the last digit.
        assert!(same && (value == other || value.contains(['.', 'e', 'f', 'N'])), "{series}: {value} is not {other}");
        let same = match &*kind {
            // Unknown statistics, and counters of older exporters, whose names OpenMetrics does not accept for counters.
            "unknown" => matches!(&*other_kind, "untyped" | "counter"),
            // Three families there.
            "gaugehistogram" => other_kind == if series.contains("_bucket{") { "untyped" } else { "gauge" },
            kind => kind == other_kind,
        };
        assert!(same, "{series} is a {kind} in one format and a {other_kind} in the other");
    }
    assert!(others.is_empty(), "{others:?} are not in\n{}", open_metrics.text);
}

/// The number of values of the report in an `OpenMetrics` exposition. Each label of an info metric is one value, and so is each
/// distribution. Names without a prefix are second names of values.
fn values(exposition: &Exposition) -> usize {
    let of_report = exposition.statistics().filter(|family| family.name.starts_with("jitsi_"));
    let is_info = |family: &Family| family.kind == "gauge" && family.name.ends_with("_info");
    of_report.map(|family| if is_info(family) { family.samples[0].labels.len() } else { 1 }).sum()
}

/// Whether one value can be in two families: `current_endpoints` feeds two, unless the report has a key of `/colibri/stats` for
/// one.
fn is_shared(report: &str) -> bool {
    members(report).is_some_and(|members| members.contains_key("current_endpoints"))
}

/// The object with members that a document is, or that is the only element of its array.
fn report_in(document: &str) -> Option<&str> {
    let alone = || match &*serde_json::from_str::<Vec<&RawValue>>(document).ok()? {
        [element] => Some(element.get()),
        _ => None,
    };
    let object = if document.starts_with('[') { alone()? } else { document };
    object.strip_prefix('{').filter(|inside| inside.trim_start() != "}").map(|_| object)
}

/// The members of an object as they are written. If a key occurs twice, the last one counts. `None` for values that are not
/// objects, and for objects with a key that is not Unicode (half a surrogate pair).
pub fn members(object: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(object).ok()
}

/// The number of values in an object. For a nested object its members count, unless it is a histogram, is nested too deeply, or its
/// keys are too long. `None` if a key cannot be read.
fn leaves(object: &str, prefix: &str, nesting: usize) -> Option<usize> {
    let leaf = |(key, value): (String, &RawValue)| {
        let path = format!("{prefix}{key}");
        let rows = ROWS.iter().filter(|row| row.sources().any(|source| source.key == key));
        let distribution = prefix.is_empty() && rows.into_iter().any(|row| row.kind.is_distribution())
            || members(value.get()).is_some_and(|members| members.keys().any(|key| key.starts_with("bucket_le_")));
        if value.get().starts_with('{') && nesting > 0 && path.len() <= MAX_KEY && !distribution {
            return leaves(value.get(), &format!("{path}_"), nesting - 1);
        }
        Some(1)
    };
    members(object)?.into_iter().map(leaf).sum()
}
