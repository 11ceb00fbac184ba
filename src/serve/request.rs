//! A request as a handler sees it, and the response to it.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::time::Duration;

use http_body_util::Full;
use hyper::Version;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

pub use hyper::{Method, StatusCode, header};

/// The header with the timeout of Prometheus, in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// A request. Its body is never read.
#[derive(Debug)]
pub struct Request {
    head: Parts,
    announces_body: bool,
}

impl From<hyper::Request<Incoming>> for Request {
    fn from(request: hyper::Request<Incoming>) -> Self {
        let announces_body = !request.body().is_end_stream();
        Self { head: request.into_parts().0, announces_body }
    }
}

impl Request {
    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The value of `Accept`. Empty if the header is absent.
    #[must_use]
    pub fn accept(&self) -> Cow<'_, str> {
        self.header(ACCEPT)
    }

    /// The timeout of the scraper, if it sends one.
    #[must_use]
    pub fn scrape_timeout(&self) -> Option<Duration> {
        seconds(&self.header(HeaderName::from_static(SCRAPE_TIMEOUT)))
    }

    /// The value of `Authorization`, which may be non-UTF-8.
    pub(super) fn authorization(&self) -> Option<&[u8]> {
        self.head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)
    }

    /// Whether the head announces a body.
    pub(super) fn announces_body(&self) -> bool {
        self.announces_body
    }

    /// RFC 9112, section 3.2: exactly one valid `Host`; HTTP/1.0 may do without.
    pub(super) fn has_valid_host(&self) -> bool {
        let mut hosts = self.head.headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => is_host(host.as_bytes()),
            (None, None) => self.head.version == Version::HTTP_10,
            _ => false,
        }
    }

    /// Several lines of one name are joined by commas; non-ASCII lines are skipped.
    fn header(&self, name: HeaderName) -> Cow<'_, str> {
        let mut lines = self.head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let first = Cow::Borrowed(lines.next().unwrap_or_default());
        lines.fold(first, |lines, line| format!("{lines},{line}").into())
    }
}

/// A positive number of seconds. Anything else is ignored.
fn seconds(header: &str) -> Option<Duration> {
    let seconds = header.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}

/// Whether this is a host with or without a port (RFC 9110, section 7.2). It may be empty, and must not contain a user.
fn is_host(text: &[u8]) -> bool {
    if text.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(text) else { return false };
    let host = authority.host();
    let is_address = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty(),
    };
    // `Authority` does not check the port.
    let is_port =
        |port: &str| port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let port = authority.as_str().strip_prefix(host).map(|rest| rest.strip_prefix(':').unwrap_or(rest));
    is_address && port.is_some_and(is_port)
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Response(pub(super) hyper::Response<Full<Bytes>>);

impl Response {
    /// A response of status 200.
    #[must_use]
    pub fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self(hyper::Response::new(Full::new(body.into()))).with(CONTENT_TYPE, content_type)
    }

    /// A response with a line of plain text.
    #[must_use]
    pub fn text(status: StatusCode, line: &str) -> Self {
        let mut response = Self::ok("text/plain; charset=utf-8", format!("{line}\n"));
        *response.0.status_mut() = status;
        response
    }

    /// A response of status 204.
    #[must_use]
    pub fn no_content() -> Self {
        let mut response = Self(hyper::Response::new(Full::default()));
        *response.0.status_mut() = StatusCode::NO_CONTENT;
        response
    }

    /// Adds a header, or replaces it.
    ///
    /// # Panics
    ///
    /// If the value is not a valid header value.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.0.headers_mut().insert(name, HeaderValue::from_static(value));
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_seconds() {
        for (header, expected) in [
            ("10", Some(10.0)),
            ("1.000000", Some(1.0)),
            (" 0.4 ", Some(0.4)),
            ("", None),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
            ("1e-300", None),
            ("ten", None),
            ("1,2", None),
        ] {
            assert_eq!(seconds(header), expected.map(Duration::from_secs_f64), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn seconds_are_positive(header in "\\PC{0,12}|[0-9]{0,3}\\.[0-9]{1,12}|1e-?[0-9]{1,3}") {
            match (seconds(&header), header.trim().parse::<f64>()) {
                (Some(read), Ok(number)) => {
                    prop_assert!(!read.is_zero() && (read.as_secs_f64() - number).abs() <= 1e-9 * number.max(1.0), "{:?}", read);
                }
                (Some(read), Err(_)) => prop_assert!(false, "{:?}", read),
                (None, number) => prop_assert!(number.is_err() || number.is_ok_and(|number| !(1e-9..=1e18).contains(&number))),
            }
        }
    }

    #[test]
    fn recognises_hosts() {
        for host in ["", "x", "x:1", "x:", "x:65535", "a.example.:80", "10.0.0.1", "[::1]", "[::1]:9700", "a_b-c", "A"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a@b", "a:b@c", "@b", "x:abc", "x:99999", "x:+1", "x:1:2", ":80", "::1", "[::1", "[x]", "[::1]x",
            "[::1]:x", "x y", "x/y", "http://x", "x?", "x#y", "\u{e9}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
