//! The bridge: one blocking GET of its statistics.
//!
//! This module knows HTTP and its failures, and nothing of JSON. It keeps idle connections between scrapes, and no response.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::{Response, header};
use ureq::{Agent, Body, Error};

use crate::error::{Cause, ScrapeError};
use crate::file::plain;

mod connect;
mod tls;
mod url;

pub use tls::Roots;
pub use url::{BridgeUrl, quoted};

/// The largest body that is read. The largest real report has 4 KB; the limit keeps a wrong URL from filling a sidecar's memory.
pub const MAX_BODY: usize = 256 * 1024;

/// The largest head of a response that is read. Real ones have 200 bytes.
const MAX_RESPONSE_HEAD: usize = 8 * 1024;

/// Room for a whole response of a current bridge, so that it takes one read. ureq's default of 128 KB shows in the resident
/// memory of every connection.
const INPUT_BUFFER: usize = 16 * 1024;

/// Room for the longest line of a request: its first, or the one with the credentials.
const OUTPUT_BUFFER: usize = 4 * 1024;

// Base64 makes four bytes of three, and no line has more than a hundred bytes besides the URL.
const _: () = assert!(url::MAX_URL * 4 / 3 + 100 < OUTPUT_BUFFER);

// A head must fit with room to spare: a full buffer would look like the end of the connection.
const _: () = assert!(MAX_RESPONSE_HEAD < INPUT_BUFFER);

/// How many idle connections are kept. Only a benchmark has more clients at once; they open new connections.
const MAX_IDLE_CONNECTIONS: usize = 8;

/// How long an idle connection is kept: longer than the usual scrape interval of 15 s, and shorter than the 30 s after which
/// the bridge (Jetty) closes it, so that the two do not race.
const MAX_IDLE_AGE: Duration = Duration::from_secs(20);

/// A bridge at a URL.
#[derive(Debug)]
pub struct Bridge {
    url: BridgeUrl,
    agent: Agent,
}

impl Bridge {
    /// A bridge at this URL. `roots` are trusted in addition to the public ones. Nothing is sent before the first fetch.
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
            .max_response_header_size(MAX_RESPONSE_HEAD)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(MAX_IDLE_CONNECTIONS)
            .max_idle_connections_per_host(MAX_IDLE_CONNECTIONS)
            .max_idle_age(MAX_IDLE_AGE);
        let config = if url.is_https() { config.tls_config(tls::config(roots)) } else { config };
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
        let (body, max) = (response.into_body(), MAX_BODY as u64);
        if body.content_length().is_some_and(|length| length > max) {
            return Err(Cause::LargeBody.into());
        }
        body.into_with_config().limit(max).read_to_vec().map_err(|error| match error {
            Error::Io(_) => Cause::Incomplete.into(),
            error => self.failed(error),
        })
    }

    /// Sends the request and reads the head of the response.
    fn get(&self, budget: Duration, max_idle_age: Duration) -> Result<Response<Body>, Error> {
        let mut request = self.agent.get(self.url.uri());
        if let Some(authorization) = self.url.authorization() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.config().timeout_global(Some(budget)).max_idle_age(max_idle_age).build().call()
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
            Error::Io(error) => tls::error(&error).unwrap_or_else(|| Cause::Unreachable.with(plain(&error))),
            Error::Other(error) => match error.downcast::<ScrapeError>() {
                Ok(error) => *error,
                Err(error) => Cause::Unreachable.with(error),
            },
            error => by_scheme(Cause::NotHttpInTls, Cause::NotHttp).with(error),
        }
    }
}

/// Whether the bridge has closed the connection.
fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
