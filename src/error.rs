//! Why a scrape failed: the reason, what happened, and what to do about it.
//!
//! All causes are in one table. The log, `jitsi_scrape_error` and the tables in the documents take their words from it.

use std::fmt;

/// A row of the table of causes.
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

            /// The row of the cause.
            #[must_use]
            pub const fn explanation(self) -> Explanation {
                match self {
                    $(Self::$cause => Explanation { reason: $reason, what: $what, remedy: $remedy },)*
                }
            }
        }
    };
}

// A remedy is one or two short sentences. Together with the cause and a usual URL it must fit into a log line of MAX_LINE.
causes! {
    UnknownHost: "resolve", "cannot resolve the host name",
        "check the host in --url";
    NameServer: "resolve", "cannot resolve the host name for now",
        "check the name server, or use an IP address in --url";
    Refused: "connect", "connection refused",
        "is the bridge running, is the port right? By default it listens on 127.0.0.1 only: run jitsiexporter on the bridge's own host, or in its pod";
    Unreachable: "connect", "cannot connect",
        "check the host in --url and the routes to it. jitsiexporter belongs on the bridge's own host";
    NoDescriptor: "connect", "no file descriptor is free",
        "raise the limit of open files: LimitNOFILE= of systemd, nofile of a container engine, or ulimit -n";
    Closed: "connect", "the TLS connection was closed before a response",
        "is the bridge restarting?";
    ClosedPlain: "connect", "the connection was closed before a response",
        "is the bridge restarting? If the port speaks TLS, use https:// in --url";
    NotTls: "tls", "the port does not speak TLS",
        "use http:// in --url";
    HandshakeClosed: "tls", "the connection was closed during the TLS handshake",
        "if the port speaks plain HTTP, use http:// in --url. Or is the key of the bridge not RSA, P-256, P-384 or Ed25519?";
    ClientCertificate: "tls", "the bridge wants a client certificate",
        "jitsiexporter cannot send one: use the bridge's plain HTTP port, or let /colibri/stats be read without one";
    HandshakeRefused: "tls", "the bridge refused the TLS handshake",
        "it wants a client certificate, or its key is not RSA, P-256, P-384 or Ed25519, or it has no TLS version or cipher in common with jitsiexporter";
    UnknownIssuer: "tls", "the certificate is from an unknown issuer",
        "pass the root certificate of its authority, or the certificate itself if self-signed, to --ca-file";
    BadSignature: "tls", "the signature of the certificate is not valid",
        "is it from another authority of the same name as one in --ca-file, or is an RSA key shorter than 2048 bits?";
    CertificateKind: "tls", "the certificate is of a kind that is not supported",
        "use X.509 v3 with a key that is RSA (2048 bits or more), P-256, P-384 or Ed25519, signed with SHA-256 or SHA-384";
    AuthorityAsServer: "tls", "the certificate is an authority's (CA:TRUE)",
        "make one for a server (openssl req -x509 -addext basicConstraints=CA:FALSE) for --ca-file";
    Expired: "tls", "the certificate has expired",
        "renew the certificate of the bridge";
    NotYetValid: "tls", "the certificate is not valid yet",
        "compare the clocks of both machines";
    WrongName: "tls", "the certificate is for another name",
        "use a name of the certificate in --url";
    NoName: "tls", "the certificate has no name (subjectAltName)",
        "make one with the host of --url as its name: keytool -ext san=dns:HOST, or openssl req -addext subjectAltName=DNS:HOST";
    Handshake: "tls", "the TLS handshake failed",
        "check the certificate and the TLS settings of the bridge or of the proxy before it";
    ResolveTimeout: "timeout", "timed out while resolving the host name",
        "check the name server, or use an IP address in --url";
    ConnectTimeout: "timeout", "timed out while connecting",
        "the bridge is frozen, or a firewall drops the packets: run jitsiexporter on the bridge's own host";
    HandshakeTimeout: "timeout", "timed out in the TLS handshake",
        "the bridge is frozen, or the port does not speak TLS";
    ResponseTimeout: "timeout", "timed out while waiting for the response",
        "the bridge is frozen or overloaded, or --timeout or the scrape timeout is too short";
    NotFound: "status", "status 404 for /colibri/stats",
        "the REST API is off, or the port is the public one. Without a path, --url also asks /metrics, which is on by default. To enable REST: videobridge.apis.rest.enabled = true, in docker COLIBRI_REST_ENABLED=true (older images JVB_ENABLE_APIS=rest,colibri)";
    NotFoundMetrics: "status", "status 404 for /metrics",
        "the bridge is from before 2022, or the port is the public one. Without a path, --url asks /colibri/stats too";
    NotFoundPath: "status", "status 404 for another path",
        "a bridge has /colibri/stats and /metrics on its private port (8080): without a path, --url asks both";
    NotFoundBoth: "status", "status 404 for /colibri/stats and for /metrics",
        "neither /colibri/stats nor /metrics: is it the private port of a bridge (8080), not its public one or Jicofo's? Before 2022 a bridge needs videobridge.apis.rest.enabled = true, in docker COLIBRI_REST_ENABLED=true (older images JVB_ENABLE_APIS=rest,colibri)";
    Redirect: "status", "status 301, 302, 303, 307 or 308",
        "redirects are not followed: set --url to the URL that it leads to";
    BadPath: "status", "status 400 for a path with //",
        "write each slash in the path of --url once";
    BadRequest: "status", "status 400 to http://",
        "a proxy says this if the port speaks TLS: use https:// in --url";
    BadRequestInTls: "status", "status 400 to https://",
        "a proxy says this if it wants a client certificate, and jitsiexporter has none to show";
    Unauthorized: "status", "status 401 or 403",
        "give user and password in --url (http://USER:PASSWORD@HOST/)";
    WrongPassword: "status", "status 401 or 403 though --url has a user",
        "check user and password in --url; in them, @ : / ? # % are written %40 %3A %2F %3F %23 %25";
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
    Framing: "malformed", "the framing of the response is broken",
        "its head, length or chunks are wrong: does a proxy before the bridge change the response?";
    Incomplete: "malformed", "the response is incomplete",
        "is the bridge restarting, or does a proxy before it cut the response?";
    PrometheusText: "malformed", "the response is Prometheus text, not JSON",
        "a proxy before the bridge drops the header Accept: application/json, or this is another exporter";
    NotJson: "malformed", "the response is not JSON",
        "is this a bridge's /colibri/stats or /metrics?";
    NotObject: "no_statistics", "the response is not a JSON object",
        "is this a bridge's /colibri/stats or /metrics?";
    Empty: "no_statistics", "the response is an empty object",
        "the statistics of the bridge are off: set videobridge.stats.enabled = true";
    OtherPath: "no_statistics", "this path does not have the statistics of a bridge",
        "use /colibri/stats or /metrics, or a --url without a path (http://HOST:8080), which asks both";
    NoStatistics: "no_statistics", "the response has no statistics of a bridge",
        "is this the private port of a bridge (8080)? It has them at /colibri/stats and /metrics";
    Jicofo: "no_statistics", "the statistics are Jicofo's, not a bridge's",
        "use the URL of the bridge (port 8080). Prometheus can scrape Jicofo's own /metrics directly";
}

/// The longest detail, in characters. The text of a redirect, a certificate or a library has no limit.
const MAX_DETAIL: usize = 160;

/// All rows of the table, in its order.
pub fn table() -> impl Iterator<Item = Explanation> {
    Cause::ALL.iter().map(|cause| cause.explanation())
}

impl Cause {
    /// An error with this cause and a detail of this case.
    #[must_use]
    pub fn with(self, detail: impl fmt::Display) -> ScrapeError {
        let mut detail = detail.to_string();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
            detail.replace_range(end.., "...");
        }
        ScrapeError { cause: self, detail, code: None, asked: "" }
    }
}

/// Why a scrape failed.
///
/// `{}` is the cause. `{:#}` is the cause and the remedy, as in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeError {
    cause: Cause,
    /// Appended to the words of the table; may be empty.
    detail: String,
    /// The status of the response, if that is the cause.
    code: Option<u16>,
    /// The paths that were asked, if they are not in the URL; may be empty.
    asked: &'static str,
}

impl ScrapeError {
    /// Adds the status of the response.
    #[must_use]
    pub fn code_is(self, code: u16) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Adds the paths that were asked.
    #[must_use]
    pub fn asked(self, paths: &'static str) -> Self {
        Self { asked: paths, ..self }
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
        if !self.asked.is_empty() {
            write!(f, " ({})", self.asked)?;
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
    const MAX_LINE: usize = 330;

    #[test]
    fn log_lines_are_short() {
        for &cause in Cause::ALL {
            let error = ScrapeError { code: (cause.explanation().reason == "status").then_some(404), ..cause.into() };
            let line = format!("jitsiexporter: https://localhost:65535/colibri/stats: {error:#}");
            assert!(line.len() <= MAX_LINE && !line.contains('\n'), "{} characters: {line}", line.len());
        }
    }

    /// Anyone who can reach the bridge's private port can shut the bridge down.
    #[test]
    fn no_remedy_opens_the_private_port() {
        for row in table() {
            for word in ["private.host", "0.0.0.0", "open the", "allow"] {
                assert!(!row.remedy.contains(word), "{}", row.remedy);
            }
        }
    }

    #[test]
    fn details_are_short() {
        let text = Cause::Handshake.with("\u{e9}".repeat(1000)).to_string();
        assert_eq!(text, format!("the TLS handshake failed: {}...", "\u{e9}".repeat(MAX_DETAIL)));
    }

    #[test]
    fn reasons_are_those_of_the_contract() {
        let mut reasons: Vec<_> = table().map(|row| row.reason).collect();
        reasons.dedup();
        let expected = ["resolve", "connect", "tls", "timeout", "status", "too_large", "malformed", "no_statistics"];
        assert_eq!(reasons, expected);
    }
}
