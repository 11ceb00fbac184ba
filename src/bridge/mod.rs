//! The bridge: one blocking GET of its statistics.
//!
//! This module knows HTTP and its failures, but not JSON. Between scrapes it keeps idle connections, but no responses.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::uri::Scheme;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, Error, RequestBuilder};

use crate::error::{Cause, ScrapeError};
use crate::words::plain;

mod connect;
mod explain;
mod notes;
mod tls;
mod url;

pub use explain::document as explain;
pub use tls::Roots;
pub use url::BridgeUrl;

use notes::{Note, Notes};

/// The largest body that is read. The largest real report has 4 KB. The limit keeps a wrong URL from filling a sidecar's memory.
pub const MAX_BODY: usize = 256 * 1024;

/// The largest head of a response that is read. Real ones have 200 bytes.
const MAX_RESPONSE_HEAD: usize = 8 * 1024;

/// Room for a whole response of a current bridge, so that one read is enough. ureq's default of 128 KB would be resident memory for
/// each connection.
const INPUT_BUFFER: usize = 16 * 1024;

/// Room for the longest line of a request: its first, or the one with the credentials.
const OUTPUT_BUFFER: usize = 4 * 1024;

// Base64 encodes three bytes as four. No line has more than a hundred bytes besides the URL.
const _: () = assert!(url::MAX_URL * 4 / 3 + 100 < OUTPUT_BUFFER);

// A head must fit with room to spare: a full buffer would look like the end of the connection.
const _: () = assert!(MAX_RESPONSE_HEAD < INPUT_BUFFER);

/// How many idle connections are kept. Only a benchmark needs more at once; it then opens new connections.
const MAX_IDLE_CONNECTIONS: usize = 8;

/// How long an idle connection is kept: longer than the usual scrape interval of 15 s, and shorter than the 30 s after which
/// the bridge (Jetty) closes it, so that a request does not race with the close.
const MAX_IDLE_AGE: Duration = Duration::from_secs(20);

/// How much of the body of a 404 is read, so that the connection can be used for the next request. A bridge sends 500 bytes.
const MAX_PAGE: u64 = 8 * 1024;

/// How long the rest of the body of a 404 is awaited. It usually comes with the head.
const PAGE_TIMEOUT: Duration = Duration::from_millis(250);

/// A bridge at a URL.
#[derive(Debug)]
pub struct Bridge {
    url: BridgeUrl,
    agent: Agent,
    notes: Arc<Notes>,
}

/// A response of status 200.
#[derive(Debug)]
pub struct Answer<'a> {
    /// At most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
    /// What was asked.
    pub source: Source<'a>,
}

/// What was asked for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    uri: &'a Uri,
    /// Which of the two paths of a bridge, if the URL has none.
    path: Option<Path>,
}

#[derive(Clone, Copy, Debug)]
enum Path {
    First,
    Second,
}

impl Source<'_> {
    /// Adds the paths that were asked to an error, if neither the URL nor the remedy names them.
    fn named(self, error: ScrapeError) -> ScrapeError {
        match self.path {
            Some(Path::First) => error.asked("/colibri/stats"),
            Some(Path::Second) if error.cause() != Cause::NotFoundBoth => {
                error.asked("/metrics, after 404 for /colibri/stats")
            }
            _ => error,
        }
    }
}

impl Bridge {
    /// A bridge at this URL. `roots` are trusted in addition to the public ones. Nothing is sent before the first fetch.
    #[must_use]
    pub fn new(url: BridgeUrl, roots: Option<Roots>) -> Self {
        let config = Config::builder()
            // The bridge is local, so proxy variables in the environment are not meant for it.
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
        let config = if is_https(url.uris().0) { config.tls_config(tls::config(roots)) } else { config };
        let notes = Arc::<Notes>::default();
        let agent = Agent::with_parts(config.build(), connect::Connect::new(Arc::clone(&notes)), connect::Later);
        Self { url, agent, notes }
    }

    /// The URL, which shows neither credentials nor query.
    #[must_use]
    pub fn url(&self) -> &BridgeUrl {
        &self.url
    }

    /// New notes about this bridge for the log. Each is returned once.
    pub fn notes(&self) -> Vec<String> {
        self.notes.take()
    }

    /// Asks the bridge for its statistics: one GET, or a second one if the URL has no path and the first response is 404. The
    /// budget includes everything: resolving, connecting, waiting, and reading a slow body. Blocks.
    ///
    /// # Errors
    ///
    /// If there is no response of status 200 with a body of at most [`MAX_BODY`] bytes.
    pub fn fetch(&self, budget: Duration) -> Result<Answer<'_>, ScrapeError> {
        let deadline = Instant::now() + budget;
        connect::wait_until(deadline);
        let (first, second) = self.url.uris();
        let response = self.ask(first)?;
        let source = Source { uri: first, path: second.map(|_| Path::First) };
        let Some(second) = second.filter(|_| response.status() == StatusCode::NOT_FOUND) else {
            return self.read(source, response);
        };
        // The connection goes back to the pool only if the whole body has been read. Otherwise the second request opens a new one.
        let page = response.into_body().into_with_config().limit(MAX_PAGE);
        connect::wait_until(Instant::now() + PAGE_TIMEOUT.min(connect::left() / 2));
        let _ = page.read_to_vec();
        connect::wait_until(deadline);
        let source = Source { uri: second, path: Some(Path::Second) };
        let response = self.ask(second).map_err(|error| source.named(error))?;
        self.read(source, response)
    }

    /// Notes which path answers, once the answer turns out to be the report of a bridge.
    pub fn accepted(&self, source: Source) {
        let [first, second] = url::PATHS;
        match source.path {
            Some(Path::First) => self.notes.add(Note::First, || format!("{first} answers")),
            Some(Path::Second) => self.notes.add(Note::Second, || format!("{second} answers, after 404 for {first}")),
            None => {}
        }
    }

    /// Sends a request and reads the head of the response.
    #[inline(never)]
    fn ask(&self, uri: &Uri) -> Result<Response<Body>, ScrapeError> {
        let _ = connect::connected();
        let response = match self.get(uri).call() {
            // A pooled connection was closed before any byte of a response: retry once, on a new one.
            Err(Error::Io(error)) if is_closed(&error) && !connect::connected() => {
                self.get(uri).config().max_idle_age(Duration::ZERO).build().call()
            }
            response => response,
        };
        response.map_err(|error| self.failed(error))
    }

    fn get(&self, uri: &Uri) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(uri);
        match self.url.authorization() {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// Reads the body of a response.
    #[inline(never)]
    fn read<'a>(&self, source: Source<'a>, response: Response<Body>) -> Result<Answer<'a>, ScrapeError> {
        if response.status() != StatusCode::OK {
            return Err(source.named(explain::status(&self.url, source.uri, &response)));
        }
        let (body, max) = (response.into_body(), MAX_BODY as u64);
        if body.content_length().is_some_and(|length| length > max) {
            return Err(source.named(Cause::LargeBody.into()));
        }
        // `read_to_vec` would enlarge the vector ten times.
        let length = body.content_length().and_then(|length| usize::try_from(length).ok());
        let mut bytes = Vec::with_capacity(length.unwrap_or_default());
        body.into_with_config().limit(max).reader().read_to_end(&mut bytes).map_err(|error| {
            source.named(match Error::from(error) {
                Error::Io(_) => Cause::Incomplete.into(),
                error => self.failed(error),
            })
        })?;
        Ok(Answer { body: bytes, source })
    }

    /// The error for a request without a response.
    #[cold]
    fn failed(&self, error: Error) -> ScrapeError {
        let by_scheme = |https, http| if is_https(self.url.uris().0) { https } else { http };
        match error {
            Error::Timeout(_) => Cause::ResponseTimeout.into(),
            Error::LargeResponseHeader(..) => Cause::LargeHead.into(),
            Error::BodyExceedsLimit(_) => Cause::LargeBody.into(),
            Error::Io(error) if is_closed(&error) => by_scheme(Cause::Closed, Cause::ClosedPlain).into(),
            // In TLS 1.3 a server rejects a missing client certificate only after the handshake.
            Error::Io(error) => tls::error(&error).unwrap_or_else(|| unreachable(&error)),
            Error::Other(error) => match error.downcast::<ScrapeError>() {
                Ok(error) => *error,
                Err(error) => Cause::Unreachable.with(error),
            },
            Error::Protocol(error) => {
                let error = error.to_string();
                // How the parser's errors about the status line end.
                let is_http = !["version", "status", "token", "new line"].iter().any(|word| error.ends_with(word));
                if is_http { Cause::Framing } else { by_scheme(Cause::NotHttpInTls, Cause::NotHttp) }.with(error)
            }
            error => by_scheme(Cause::NotHttpInTls, Cause::NotHttp).with(error),
        }
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// ENFILE and EMFILE, which have no kind in the standard library: the system or the process has no descriptor left.
fn is_no_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// The error for a connection that cannot be made or has failed.
#[cold]
fn unreachable(error: &io::Error) -> ScrapeError {
    if is_no_descriptor(error) { Cause::NoDescriptor.into() } else { Cause::Unreachable.with(plain(error)) }
}

/// Whether the bridge has closed the connection.
fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
