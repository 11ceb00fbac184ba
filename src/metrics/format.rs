//! The two text formats, and the choice between them.

use std::iter;

/// A text format of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus, which every client since 2014 reads.
    Text,
}

impl Format {
    /// The value of `Content-Type`. It must be exact, because Prometheus chooses its parser by it.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Chooses the format by the value of the `Accept` header (several lines joined by commas): OpenMetrics, unless the client
    /// prefers `text/plain`, is a browser, which would download OpenMetrics, or sends no `Accept` at all.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        if accept.trim().is_empty() {
            return Self::Text;
        }
        let ranges: Vec<_> = accept.split(',').filter_map(MediaRange::parse).collect();
        let weight = |kind: &str, subtype: &str, version: &str| {
            let matching = ranges.iter().filter(|range| range.covers(kind, subtype, version));
            // The most specific range decides, whatever the weights of the others (RFC 9110, section 12.5.1).
            matching.max_by_key(|range| range.specificity()).map_or(0, |range| range.weight)
        };
        let accepted =
            |kind: &str, subtype: &str| ranges.iter().any(|range| range.is(kind, subtype) && range.weight > 0);
        let open_metrics = weight("application", "openmetrics-text", "1.0.0");
        // A client that asks for another version of the text format (Prometheus 3: 1.0.0) gets 0.0.4, which its parser also reads.
        let other_text = ranges.iter().filter(|range| range.is("text", "plain")).filter_map(|range| range.version);
        let text = other_text.chain(["0.0.4"]).map(|version| weight("text", "plain", version)).max().unwrap_or(0);
        let browser = accepted("text", "html") && !accepted("application", "openmetrics-text");
        if text > open_metrics || browser { Self::Text } else { Self::OpenMetrics }
    }
}

/// One element of an `Accept` header, for example `text/plain;version=0.0.4;q=0.5`.
struct MediaRange<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// The version of the format. Other parameters (`charset`, `escaping`) do not matter for the choice.
    version: Option<&'a str>,
    /// The q-value in thousandths.
    weight: u16,
}

impl<'a> MediaRange<'a> {
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self { kind, subtype, version: None, weight: 1000 };
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("q") => range.weight = weight(value)?,
                name if name.eq_ignore_ascii_case("version") => range.version = Some(value),
                _ => {}
            }
        }
        Some(range)
    }

    fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }

    fn covers(&self, kind: &str, subtype: &str, version: &str) -> bool {
        match (self.kind, self.subtype) {
            ("*", "*") => true,
            (own, "*") => own.eq_ignore_ascii_case(kind),
            _ => self.is(kind, subtype) && self.version.is_none_or(|own| own == version),
        }
    }

    /// The most specific range has the largest.
    fn specificity(&self) -> (bool, bool, bool) {
        (self.kind != "*", self.subtype != "*", self.version.is_some())
    }
}

/// Reads a q-value, in thousandths. `None` if it is not valid; its media range is then ignored.
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut weight = 0;
    for (digit, unit) in fraction.bytes().zip([100, 10, 1].into_iter().chain(iter::repeat(0))) {
        weight += unit * u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    match whole {
        "" if fraction.is_empty() => None,
        // Java leaves the zero out.
        "" | "0" => Some(weight),
        "1" if fraction.bytes().all(|digit| digit == b'0') => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Format::{self, OpenMetrics, Text};

    #[test]
    fn each_client_gets_its_format() {
        for (client, accept, format) in [
            ("no header", "", Text),
            ("an empty header", " ", Text),
            ("curl", "*/*", OpenMetrics),
            (
                "Prometheus 2.42",
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "Prometheus 2.5 to 2.33, which knows a draft only",
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Text,
            ),
            (
                "Prometheus 2.4, with protocol buffers",
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                Text,
            ),
            (
                "Prometheus 3",
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            ("Prometheus 3 limited to its text format", "text/plain;version=1.0.0;escaping=allow-utf-8", Text),
            (
                "Prometheus 3 limited to its text format, as it sends it",
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.5",
                Text,
            ),
            ("Prometheus 3 limited to text 0.0.4", "text/plain;version=0.0.4;q=0.6,*/*;q=0.5", Text),
            ("a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Text),
            ("a client that refuses HTML", "text/html;q=0, */*", OpenMetrics),
            ("a browser that also reads OpenMetrics", "text/html, application/openmetrics-text", OpenMetrics),
            ("text, by name", "text/plain", Text),
            ("text, in capitals and with spaces", "Text/Plain ; Version=0.0.4 ; Q=1.0", Text),
            ("text by wildcard", "text/*", Text),
            ("OpenMetrics and text alike", "text/plain, application/openmetrics-text", OpenMetrics),
            ("the specific range decides", "application/openmetrics-text;q=0.1, text/plain;q=0.2, */*;q=1", Text),
            ("a version decides", "text/plain;version=0.0.4;q=0.2, text/plain, */*;q=0.5", OpenMetrics),
            ("a version decides, at the end", "*/*;q=0.5, text/plain, text/plain;version=0.0.4;q=0.2", OpenMetrics),
            ("a subtype decides", "text/plain;q=0.9, text/*;q=0.2, */*;q=0.5", Text),
            ("a subtype decides, at the end", "*/*;q=0.5, text/*;q=0.2, text/plain;q=0.9", Text),
            ("a type decides", "text/*;q=0.9, */*;q=0.5", Text),
            ("a type decides, at the end", "*/*;q=0.5, text/*;q=0.9", Text),
            ("text refused", "text/plain;q=0, */*", OpenMetrics),
            ("OpenMetrics refused", "application/openmetrics-text;q=0, */*", Text),
            ("neither", "application/json", OpenMetrics),
            ("more digits than RFC 9110 allows", "text/plain;q=0.50001, application/openmetrics-text;q=0.4", Text),
            (
                "no digit before the point, as Java writes it",
                "text/plain;q=.9, application/openmetrics-text;q=.8",
                Text,
            ),
            ("nonsense", ";;,q=1,/,text/plain;q=nan,text/plain;q=7,text/plain;q=.,text/plain;q=1.0001", OpenMetrics),
            ("more nonsense", "text/plain;q=0.x,text/plain;q=0.999x,text/plain;q=1.000x,text/plain;q=", OpenMetrics),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{client}: {accept}");
        }
    }
}
