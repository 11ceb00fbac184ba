//! The bridge: one blocking GET of its statistics.
//!
//! This module knows HTTP and its failures, and nothing of JSON. It keeps idle connections between scrapes, and no response.

use std::io::{self, ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{AlertDescription as Alert, CertificateError, InvalidMessage};
use ureq::config::{AutoHeaderValue, Config};
use ureq::http::{Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::error::{Cause, ScrapeError};

mod connect;
mod url;

pub use url::{BridgeUrl, quoted};

/// The largest body that is read. The largest real report has 4 KB; the limit keeps a wrong URL from filling a sidecar's memory.
pub const MAX_BODY: usize = 256 * 1024;

/// The largest head of a response that is read. Real ones have 200 bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Room for a whole response of a current bridge, so that it takes one read. ureq's default of 128 KB shows in the resident
/// memory of every connection.
const INPUT_BUFFER: usize = 16 * 1024;

/// Room for the longest line of a request: its first, or the one with the credentials.
const OUTPUT_BUFFER: usize = 4 * 1024;

// Base64 makes four bytes of three, and no line has more than a hundred bytes beside the URL.
const _: () = assert!(url::MAX_URL * 4 / 3 + 100 < OUTPUT_BUFFER);

// A head must fit with room to spare: a full buffer would look like the end of the connection.
const _: () = assert!(MAX_HEAD < INPUT_BUFFER);

/// How many idle connections are kept. More clients than this at the same time are a benchmark, and connect anew.
const MAX_IDLE: usize = 8;

/// How long an idle connection is kept: longer than the usual scrape interval of 15 s, and shorter than the 30 s after which
/// the bridge (Jetty) closes it, so that the two do not race.
const MAX_IDLE_AGE: Duration = Duration::from_secs(20);

/// The largest file of certificates that is read, in bytes, because a device has no end. The public roots have 220 KB.
const MAX_ROOTS: u64 = 4 << 20;

/// How many names of a certificate an error quotes.
const MAX_NAMES: usize = 3;

/// Certificates that are trusted beside the public ones.
#[derive(Clone, Debug)]
pub struct Roots(Vec<Certificate<'static>>);

impl Roots {
    /// Reads a file of PEM certificates.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is larger than 4 MiB or has no certificate.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut pem = Vec::new();
        let file = std::fs::OpenOptions::new().read(true).open(path);
        let read = file.and_then(|file| file.take(MAX_ROOTS + 1).read_to_end(&mut pem));
        if read.map_err(|error| plain(&error))? as u64 > MAX_ROOTS {
            return Err(format!("it is larger than {} MiB", MAX_ROOTS >> 20));
        }
        let mut roots = Vec::new();
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| format!("not valid PEM: {error}"))? {
                roots.push(certificate);
            }
        }
        if roots.is_empty() {
            return Err("it has no PEM certificate (-----BEGIN CERTIFICATE-----)".to_owned());
        }
        Ok(Self(roots))
    }
}

/// A bridge at a URL.
#[derive(Debug)]
pub struct Bridge {
    url: BridgeUrl,
    agent: Agent,
}

impl Bridge {
    /// A bridge at this URL. `roots` are trusted beside the public ones. Nothing is sent before the first fetch.
    #[must_use]
    pub fn new(url: BridgeUrl, roots: Option<Roots>) -> Self {
        let config = Config::builder()
            // The bridge is local: proxy variables in the environment are not meant for it.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("jitsiexporter/", env!("CARGO_PKG_VERSION")))
            // A bridge responds with 406 to a client that does not accept JSON.
            .accept("application/json")
            .accept_encoding(AutoHeaderValue::None)
            .max_response_header_size(MAX_HEAD)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(MAX_IDLE)
            .max_idle_connections_per_host(MAX_IDLE)
            .max_idle_age(MAX_IDLE_AGE);
        let config = if url.is_https() { config.tls_config(tls_config(roots)) } else { config };
        let agent = Agent::with_parts(config.build(), connect::Connect::default(), connect::Later);
        Self { url, agent }
    }

    /// The URL, which shows neither credentials nor query.
    #[must_use]
    pub fn url(&self) -> &BridgeUrl {
        &self.url
    }

    /// Asks the bridge for its statistics: one GET. The budget bounds everything: resolving, connecting, waiting, and a slow
    /// body. Blocks.
    ///
    /// # Errors
    ///
    /// If there is no response of status 200 and of at most [`MAX_BODY`] bytes.
    pub fn fetch(&self, budget: Duration) -> Result<Vec<u8>, ScrapeError> {
        let deadline = Instant::now() + budget;
        let _ = connect::connected();
        let response = match self.get(budget, MAX_IDLE_AGE) {
            // A pooled connection was closed before any byte of a response: retry once, on a new one.
            Err(Error::Io(error)) if is_closed(&error) && !connect::connected() => {
                self.get(deadline.saturating_duration_since(Instant::now()), Duration::ZERO)
            }
            response => response,
        };
        let response = response.map_err(|error| self.failed(error))?;
        let status = response.status().as_u16();
        if status != 200 {
            let uri = self.url.uri();
            return Err(ScrapeError::status(status, self.url.is_https(), uri.port_u16(), uri.path()));
        }
        self.read_body(response.into_body())
    }

    /// Sends the request and reads the head of the response.
    fn get(&self, budget: Duration, max_idle_age: Duration) -> Result<Response<Body>, Error> {
        let mut request = self.agent.get(self.url.uri());
        if let Some(authorization) = self.url.authorization() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.config().timeout_global(Some(budget)).max_idle_age(max_idle_age).build().call()
    }

    /// Reads a body of at most [`MAX_BODY`] bytes, and keeps no more than that in memory.
    fn read_body(&self, body: Body) -> Result<Vec<u8>, ScrapeError> {
        let capacity = match body.content_length().map(usize::try_from) {
            Some(Ok(length)) if length <= MAX_BODY => length,
            Some(_) => return Err(Cause::LargeBody.into()),
            None => INPUT_BUFFER,
        };
        let mut bytes = Vec::with_capacity(capacity);
        let mut reader = body.into_with_config().limit(MAX_BODY as u64).reader();
        match reader.read_to_end(&mut bytes).map_err(Error::from) {
            Ok(_) => Ok(bytes),
            Err(Error::Io(_)) => Err(Cause::Incomplete.with(format_args!("it stops after {} bytes", bytes.len()))),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Why there is no response.
    fn failed(&self, error: Error) -> ScrapeError {
        let by_scheme = |https, http| if self.url.is_https() { https } else { http };
        match error {
            Error::Timeout(_) => Cause::ResponseTimeout.into(),
            Error::LargeResponseHeader(..) => Cause::LargeHead.into(),
            Error::BodyExceedsLimit(_) => Cause::LargeBody.into(),
            Error::Io(error) if is_closed(&error) => by_scheme(Cause::Closed, Cause::ClosedPlain).into(),
            // In TLS 1.3 the bridge refuses a client without a certificate after the handshake.
            Error::Io(error) => tls_error(&error).unwrap_or_else(|| Cause::Unreachable.with(plain(&error))),
            Error::Other(error) => match error.downcast::<ScrapeError>() {
                Ok(error) => *error,
                Err(error) => Cause::Unreachable.with(error),
            },
            error => by_scheme(Cause::NotHttpInTls, Cause::NotHttp).with(error),
        }
    }
}

/// Trusts the public roots and these. rustls has no other way to both than full certificates.
fn tls_config(roots: Option<Roots>) -> TlsConfig {
    let public = TLS_SERVER_ROOT_CERTS.iter().map(|certificate| Certificate::from_der(certificate));
    let roots = roots.map(|Roots(roots)| roots).unwrap_or_default().into_iter().chain(public).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// Whether the bridge has closed the connection.
fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// What is wrong with TLS, if it is TLS that is wrong.
fn tls_error(error: &io::Error) -> Option<ScrapeError> {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage as Invalid};
    Some(match error.get_ref()?.downcast_ref()? {
        Invalid(InvalidMessage::InvalidContentType) => Cause::NotTls.into(),
        // Java and Go say bad_certificate in TLS 1.2.
        AlertReceived(Alert::CertificateRequired | Alert::BadCertificate) => Cause::ClientCertificate.into(),
        AlertReceived(Alert::HandshakeFailure) => Cause::HandshakeRefused.into(),
        InvalidCertificate(error) => match error {
            // The signature is bad where a trusted root has the name of the issuer, but another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Cause::UnknownIssuer.into(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Cause::Expired.into(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Cause::NotYetValid.into(),
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                Cause::WrongName.with("it has no subjectAltName")
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                let bare = |name: &String| name.replace("DnsName(\"", "").replace("\")", "");
                Cause::WrongName.with(presented.iter().take(MAX_NAMES).map(bare).collect::<Vec<_>>().join(", "))
            }
            CertificateError::Other(error) if error.to_string() == "CaUsedAsEndEntity" => {
                Cause::AuthorityAsServer.into()
            }
            error => Cause::Handshake.with(error),
        },
        error => Cause::Handshake.with(error),
    })
}

/// An error of the operating system in its own words, without Rust's error number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusts_the_public_roots_beside_those_of_the_file() {
        let own = Certificate::from_der(b"own").to_owned();
        let config = tls_config(Some(Roots(vec![own])));
        let RootCerts::Specific(roots) = config.root_certs() else { panic!("{config:?}") };
        assert_eq!(roots.len(), 1 + TLS_SERVER_ROOT_CERTS.len());
        assert!(TLS_SERVER_ROOT_CERTS.len() > 100);
        let mut store = rustls::RootCertStore::empty();
        let (_, ignored) = store.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
        assert_eq!(ignored, 0);
    }
}
