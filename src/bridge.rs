//! The bridge: one blocking GET of its statistics.
//!
//! This module knows HTTP and its failures, and nothing of JSON. It keeps idle connections between fetches, and no answer.

use std::io::{self, ErrorKind, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::header;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::Connector as _;
use ureq::{Agent, Body, Error};

use crate::error::{Cause, ScrapeError};

mod transport;
mod url;

pub use url::{BridgeUrl, quoted};

/// The largest answer that is read. The largest real report has 4 KB; the limit keeps a wrong URL from filling a sidecar's
/// memory.
pub const MAX_BODY: usize = 256 * 1024;

/// The largest head of an answer that is read. Real ones have 200 bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Room for a whole answer of a current bridge, so that it takes one read. ureq's own default of 128 KB shows in the resident
/// memory of every connection.
const INPUT_BUFFER: usize = 16 * 1024;

/// Room for the longest line of a request: its first, or the one with the credentials.
const OUTPUT_BUFFER: usize = 4 * 1024;

// Base64 makes four bytes of three, and no line has a hundred bytes that are not of the URL.
const _: () = assert!(url::MAX_URL * 4 / 3 + 100 < OUTPUT_BUFFER);

// A head has to fit with room to spare: a full buffer would look like the end of the connection.
const _: () = assert!(MAX_HEAD < INPUT_BUFFER);

/// How many idle connections are kept. More clients than this at the same time are a benchmark, and they just connect anew.
const MAX_IDLE: usize = 8;

/// How long an idle connection is kept: longer than the usual scrape interval of 15 s, and shorter than the 30 s after which
/// the bridge (Jetty) would close it, so that the two do not race.
const MAX_IDLE_AGE: Duration = Duration::from_secs(20);

/// The largest file of certificates that is read, in bytes: a device has no end. The public roots have 220 KB.
const MAX_ROOTS: u64 = 4 << 20;

/// Certificates that are trusted beside the public ones.
#[derive(Clone, Debug)]
pub struct Roots(Arc<Vec<Certificate<'static>>>);

impl Roots {
    /// Reads a file of PEM certificates.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is larger than 4 MiB or holds no certificate.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut pem = Vec::new();
        let file = std::fs::OpenOptions::new().read(true).open(path);
        let read = file.and_then(|file| file.take(MAX_ROOTS + 1).read_to_end(&mut pem));
        if read.map_err(|error| transport::plain(&error))? as u64 > MAX_ROOTS {
            return Err(format!("it is larger than {} MiB", MAX_ROOTS >> 20));
        }
        let mut roots = Vec::new();
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| format!("not valid PEM: {error}"))? {
                roots.push(certificate);
            }
        }
        if roots.is_empty() {
            return Err("it holds no PEM certificate (-----BEGIN CERTIFICATE-----)".to_owned());
        }
        Ok(Self(Arc::new(roots)))
    }
}

/// A bridge at a URL.
#[derive(Debug)]
pub struct Bridge {
    url: BridgeUrl,
    timeout: Duration,
    /// By the roots of one's own if there are some, then by the public ones. ureq takes the one or the other. The public ones in
    /// a form that could be added to would cost every process 180 KB; a second handshake costs only those who have both.
    routes: Vec<Route>,
}

impl Bridge {
    /// A bridge that is asked for its statistics with `timeout` as the usual budget. Nothing is sent before the first fetch.
    #[must_use]
    pub fn new(url: BridgeUrl, timeout: Duration, roots: Option<Roots>) -> Self {
        let own = roots.map(|Roots(roots)| RootCerts::Specific(roots));
        let routes = own.into_iter().chain([RootCerts::WebPki]).map(|roots| Route::new(timeout, roots)).collect();
        Self { url, timeout, routes }
    }

    /// The URL, which shows no credential.
    #[must_use]
    pub fn url(&self) -> &BridgeUrl {
        &self.url
    }

    /// Asks the bridge for its statistics: one GET, answered within the budget or not at all. The budget, at most the timeout
    /// given to [`Bridge::new`], bounds everything: resolving, connecting, waiting, and a body that drips. Blocks.
    ///
    /// # Errors
    ///
    /// If there is no answer of status 200 and of at most [`MAX_BODY`] bytes.
    pub fn fetch(&self, budget: Duration) -> Result<Vec<u8>, ScrapeError> {
        let deadline = Instant::now() + budget;
        let mut refused = Vec::new();
        for route in &self.routes {
            match route.fetch(&self.url, self.timeout, deadline) {
                Err(error) if error.reason() == "tls" => refused.push(error.to_string()),
                done => return done,
            }
        }
        refused.dedup();
        Err(Cause::Handshake.with(refused.join("; by the public roots: ")))
    }

    /// Closes the connections that have not been used for a while. To be called every now and then.
    pub fn close_idle(&self) {
        self.routes.iter().for_each(Route::close_idle);
    }
}

/// A way to the bridge: whom it trusts, and the connections that were made so.
#[derive(Debug)]
struct Route {
    config: Config,
    connections: Mutex<Connections>,
}

/// ureq's agent, which owns the idle connections, and when it was used last.
#[derive(Debug)]
struct Connections {
    agent: Agent,
    used: Option<Instant>,
}

impl Route {
    fn new(timeout: Duration, roots: RootCerts) -> Self {
        let config = Config::builder()
            // The bridge is local: proxy variables in the environment are not meant for it.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("jitsiexporter/", env!("CARGO_PKG_VERSION")))
            // A bridge answers 406 to what does not take JSON.
            .accept("application/json")
            .accept_encoding(AutoHeaderValue::None)
            .max_response_header_size(MAX_HEAD)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(MAX_IDLE)
            .max_idle_connections_per_host(MAX_IDLE)
            .max_idle_age(MAX_IDLE_AGE)
            .timeout_global(Some(timeout))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        let connections = Mutex::new(Connections { agent: agent(&config), used: None });
        Self { config, connections }
    }

    fn fetch(&self, url: &BridgeUrl, timeout: Duration, deadline: Instant) -> Result<Vec<u8>, ScrapeError> {
        let agent = {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.used = Some(Instant::now());
            connections.agent.clone()
        };
        // Every kept connection may have died with the bridge that it led to; each says so once and is gone.
        for _ in 0..=MAX_IDLE {
            match attempt(&agent, url, timeout, deadline.saturating_duration_since(Instant::now())) {
                Err(Attempt::Stale) => {}
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(body) => return Ok(body),
            }
        }
        Err(Cause::Closed.into())
    }

    fn close_idle(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.used.is_some_and(|used| used.elapsed() > MAX_IDLE_AGE) {
            connections.used = None;
            connections.agent = agent(&self.config);
        }
    }
}

fn attempt(agent: &Agent, url: &BridgeUrl, timeout: Duration, budget: Duration) -> Result<Vec<u8>, Attempt> {
    let mut request = agent.get(url.uri());
    if let Some(authorization) = url.authorization() {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    // The agent's own timeout is the usual budget; a configuration of one request costs a copy of all settings.
    let response = if timeout.saturating_sub(budget) < ROUNDING {
        request.call()
    } else {
        request.config().timeout_global(Some(budget)).build().call()
    };
    let response = response.map_err(Attempt::from)?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(ScrapeError::status(status, url.uri().port_u16(), url.uri().path()).into());
    }
    read_body(response.into_body()).map_err(Attempt::from)
}

/// How much of the budget may have passed before the request leaves and still count as nothing.
const ROUNDING: Duration = Duration::from_millis(1);

fn agent(config: &Config) -> Agent {
    let connector = transport::Tcp::default().chain(transport::Tls::default());
    Agent::with_parts(config.clone(), connector, transport::Deferred)
}

/// Reads a body of at most [`MAX_BODY`] bytes, and keeps no more than that in memory.
fn read_body(body: Body) -> Result<Vec<u8>, ScrapeError> {
    let declared = body.content_length().map(usize::try_from);
    let capacity = match declared {
        Some(Ok(length)) if length <= MAX_BODY => length,
        Some(_) => return Err(Cause::LargeBody.into()),
        None => INPUT_BUFFER,
    };
    let mut reader = body.into_with_config().limit(MAX_BODY as u64).reader();
    let mut bytes = Vec::with_capacity(capacity);
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(match Error::from(error) {
            Error::Io(_) => Cause::Incomplete.with(format_args!("it stops after {} bytes", bytes.len())),
            error => failed(error),
        }),
    }
}

/// How one attempt ended.
enum Attempt {
    /// The kept connection was dead; nothing was asked.
    Stale,
    Failed(ScrapeError),
}

impl From<ScrapeError> for Attempt {
    fn from(error: ScrapeError) -> Self {
        Self::Failed(error)
    }
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) if is_stale(&error) => Self::Stale,
            error => Self::Failed(failed(error)),
        }
    }
}

fn is_stale(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<transport::Stale>)
}

fn failed(error: Error) -> ScrapeError {
    match error {
        Error::Timeout(_) => Cause::ResponseTimeout.into(),
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => Cause::Closed.into(),
        Error::Io(error) if error.kind() == ErrorKind::ConnectionReset => Cause::Closed.with(transport::plain(&error)),
        Error::Io(error) => Cause::Unreachable.with(transport::plain(&error)),
        Error::LargeResponseHeader(..) => Cause::LargeHead.into(),
        Error::BodyExceedsLimit(_) => Cause::LargeBody.into(),
        Error::Other(error) => match error.downcast::<ScrapeError>() {
            Ok(error) => *error,
            Err(error) => Cause::Unreachable.with(error),
        },
        error => Cause::NotHttp.with(error),
    }
}
