//! Why a scrape failed: the reason, what happened, and what to do about it.
//!
//! All causes are in one table. The log, `jitsi_scrape_error` and the tables in the documents take their words from it.

use std::fmt;

/// What the table of causes says about one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The label `reason` of `jitsi_scrape_error`.
    pub reason: &'static str,
    /// What happened, in the words of the log.
    pub what: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! causes {
    ($($cause:ident: $reason:literal, $what:literal, $remedy:literal;)*) => {
        /// Everything that can go wrong in a scrape.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cause {
            $(#[doc = $what] $cause,)*
        }

        impl Cause {
            /// All causes, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$cause),*];

            /// Its line of the table.
            #[must_use]
            pub const fn explanation(self) -> Explanation {
                match self {
                    $(Self::$cause => Explanation { reason: $reason, what: $what, remedy: $remedy },)*
                }
            }
        }
    };
}

// A remedy is a hint that fits into a log line of 200 characters together with a usual URL and the cause.
causes! {
    UnknownHost: "resolve", "cannot resolve the host name",
        "check the host in --url";
    Refused: "connect", "connection refused",
        "is the bridge running, is the port right? It listens on 127.0.0.1 only by default (videobridge.http-servers.private.host)";
    Unreachable: "connect", "cannot connect",
        "check the host in --url, the routes to it and firewalls";
    Closed: "connect", "the TLS connection was closed before a response",
        "is the bridge restarting?";
    ClosedPlain: "connect", "the connection was closed before a response",
        "is the bridge restarting? If the port speaks TLS, use https:// in --url";
    NotTls: "tls", "the port does not speak TLS",
        "use http:// in --url";
    HandshakeClosed: "tls", "the connection was closed during the TLS handshake",
        "if the port speaks plain HTTP, use http:// in --url";
    ClientCertificate: "tls", "the bridge wants a client certificate",
        "jitsiexporter cannot send one: use the bridge's plain HTTP port, or let /colibri/stats be read without one";
    HandshakeRefused: "tls", "the bridge refused the TLS handshake",
        "it wants a client certificate, or has no TLS version or cipher in common with jitsiexporter";
    UnknownIssuer: "tls", "the certificate is from an unknown issuer",
        "pass the root certificate of its authority, or the certificate itself if self-signed, to --ca-file";
    AuthorityAsServer: "tls", "the certificate is that of an authority (CA:TRUE)",
        "make one for a server (openssl req -x509 -addext basicConstraints=CA:FALSE) for --ca-file";
    Expired: "tls", "the certificate has expired",
        "renew the certificate of the bridge";
    NotYetValid: "tls", "the certificate is not valid yet",
        "compare the clocks of both machines";
    WrongName: "tls", "the certificate is for another name",
        "use a name of the certificate in --url";
    Handshake: "tls", "the TLS handshake failed",
        "check the certificate and the TLS settings of the bridge or of the proxy before it";
    ResolveTimeout: "timeout", "timed out while resolving the host name",
        "check the name server, or use an IP address in --url";
    ConnectTimeout: "timeout", "timed out while connecting",
        "a firewall drops the packets, or the bridge is frozen";
    HandshakeTimeout: "timeout", "timed out in the TLS handshake",
        "the bridge is frozen, or the port does not speak TLS";
    ResponseTimeout: "timeout", "timed out while waiting for the response",
        "the bridge is frozen or overloaded, or --timeout or the scrape timeout is too short";
    NotFound: "status", "status 404",
        "use --url http://HOST:8080/metrics, or enable REST: videobridge.apis.rest.enabled = true (in docker COLIBRI_REST_ENABLED=true)";
    NotFoundMetrics: "status", "status 404 for /metrics",
        "bridges before 2022 have no /metrics: use --url http://HOST:8080/colibri/stats";
    NotFoundPublic: "status", "status 404 from port 9090",
        "9090 is the public port of the bridge: use the private one, 8080";
    Redirect: "status", "status 301, 302, 303, 307 or 308",
        "redirects are not followed: set --url to the URL that it leads to";
    BadRequest: "status", "status 400 to http://",
        "a proxy says this if the port speaks TLS: use https:// in --url";
    BadRequestInTls: "status", "status 400 to https://",
        "a proxy says this if it wants a client certificate, and jitsiexporter has none to show";
    Unauthorized: "status", "status 401 or 403",
        "give user and password in --url (http://USER:PASSWORD@HOST/)";
    Gateway: "status", "status 502, 503 or 504",
        "a proxy answers, and the bridge behind it does not: is the bridge running?";
    Status: "status", "any other status but 200",
        "is this a bridge's /colibri/stats or /metrics?";
    LargeBody: "too_large", "the response is larger than 256 KiB",
        "is this a bridge's /colibri/stats or /metrics?";
    LargeHead: "too_large", "the head of the response is larger than 8 KiB",
        "is this a bridge's /colibri/stats or /metrics?";
    NotHttp: "malformed", "the response is not HTTP",
        "if the port speaks TLS, use https:// in --url";
    NotHttpInTls: "malformed", "the response inside TLS is not HTTP",
        "is this a bridge's /colibri/stats or /metrics?";
    Incomplete: "malformed", "the response is incomplete",
        "is the bridge restarting, or does a proxy before it cut the response?";
    NotJson: "malformed", "the response is not JSON",
        "is this a bridge's /colibri/stats or /metrics?";
    NotObject: "no_statistics", "the response is not a JSON object",
        "is this a bridge's /colibri/stats or /metrics?";
    Empty: "no_statistics", "the response is an empty object",
        "the statistics of the bridge are off: set videobridge.stats.enabled = true";
    NoStatistics: "no_statistics", "the response has no statistic of a bridge",
        "is this a bridge's /colibri/stats or /metrics?";
    Jicofo: "no_statistics", "the statistics are those of Jicofo, not of a bridge",
        "use the URL of the bridge (port 8080). Jicofo has a /metrics of its own";
}

/// All rows of the table, in its order.
pub fn table() -> impl Iterator<Item = Explanation> {
    Cause::ALL.iter().map(|cause| cause.explanation())
}

impl Cause {
    /// This cause with what is known of this one case.
    #[must_use]
    pub fn with(self, detail: impl fmt::Display) -> ScrapeError {
        ScrapeError { cause: self, detail: detail.to_string(), code: None }
    }
}

/// Why a scrape failed.
///
/// `{}` is the cause. `{:#}` is the cause and the remedy, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeError {
    cause: Cause,
    /// Behind the words of the table, if there is something to say.
    detail: String,
    /// The status of the response, if that is the cause.
    code: Option<u16>,
}

impl ScrapeError {
    /// A response of a status other than 200, to a request by TLS or not, for this port and path.
    #[must_use]
    pub fn status(code: u16, is_https: bool, port: Option<u16>, path: &str) -> Self {
        let cause = match code {
            404 if port == Some(9090) => Cause::NotFoundPublic,
            404 if path == "/metrics" => Cause::NotFoundMetrics,
            404 => Cause::NotFound,
            301..=303 | 307 | 308 => Cause::Redirect,
            400 if is_https => Cause::BadRequestInTls,
            400 => Cause::BadRequest,
            401 | 403 => Cause::Unauthorized,
            502..=504 => Cause::Gateway,
            _ => Cause::Status,
        };
        Self { cause, detail: String::new(), code: Some(code) }
    }

    /// What went wrong.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The label `reason` of `jitsi_scrape_error`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.cause.explanation().reason
    }

    /// The label `code`: the status of the response if the reason is `status`.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.code
    }
}

impl From<Cause> for ScrapeError {
    fn from(cause: Cause) -> Self {
        cause.with("")
    }
}

impl fmt::Display for ScrapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.cause.explanation();
        match self.code {
            Some(code) => write!(f, "status {code}")?,
            None => f.write_str(row.what)?,
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if f.alternate() {
            write!(f, "; {}", row.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for ScrapeError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest line of the log for the usual causes, in characters.
    const MAX_LINE: usize = 200;

    #[test]
    fn log_lines_are_short() {
        for &cause in Cause::ALL {
            let error = ScrapeError { code: (cause.explanation().reason == "status").then_some(404), ..cause.into() };
            let line = format!("jitsiexporter: https://localhost:65535/colibri/stats: {error:#}");
            assert!(line.len() <= MAX_LINE, "{} characters: {line}", line.len());
        }
    }

    #[test]
    fn reasons_are_those_of_the_contract() {
        let mut reasons: Vec<_> = table().map(|row| row.reason).collect();
        reasons.dedup();
        let expected = ["resolve", "connect", "tls", "timeout", "status", "too_large", "malformed", "no_statistics"];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn a_status_has_the_remedy_for_its_port_and_path() {
        for (code, port, path, cause) in [
            (404, Some(8080), "/colibri/stats", Cause::NotFound),
            (404, Some(8080), "/metrics", Cause::NotFoundMetrics),
            (404, Some(9090), "/metrics", Cause::NotFoundPublic),
            (404, None, "/colibri/stats", Cause::NotFound),
            (204, None, "/", Cause::Status),
            (304, None, "/", Cause::Status),
            (302, None, "/", Cause::Redirect),
            (307, None, "/", Cause::Redirect),
            (403, None, "/", Cause::Unauthorized),
            (406, None, "/", Cause::Status),
            (500, None, "/", Cause::Status),
            (502, None, "/", Cause::Gateway),
            (504, None, "/", Cause::Gateway),
        ] {
            let error = ScrapeError::status(code, false, port, path);
            assert_eq!((error.cause(), error.code()), (cause, Some(code)), "{code} {port:?} {path}");
            assert_eq!(error.to_string(), format!("status {code}"));
        }
        assert_eq!(ScrapeError::status(400, false, None, "/").cause(), Cause::BadRequest);
        assert_eq!(ScrapeError::status(400, true, None, "/").cause(), Cause::BadRequestInTls);
    }
}
