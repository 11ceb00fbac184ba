//! Serving: HTTP on each connection, and the graceful stop. A [`Handler`] makes the responses.
//!
//! A handler may block: it is called on the thread of its connection, so it does not delay other connections.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::time::{sleep, timeout};

use super::connections::{Connections, Slot};
use super::request::{Method, Request, Response, StatusCode, header};
use super::web_config::{Access, Rules, Stream, WebConfig};

/// The timeouts of clients.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// How long a client may take to complete the head of its next request, after it connected or got the previous response.
    pub head: Duration,
    /// How long a client may accept no byte of a response. Enforced on Linux only.
    pub write: Duration,
    /// How long the requests in flight may take in total, once the exporter stops.
    pub grace: Duration,
}

impl Timeouts {
    /// The timeouts of the exporter. A connection may stay idle for longer than a minute, the longest common scrape interval, so
    /// that Prometheus can reuse it.
    pub const DEFAULT: Self = Self { head: HEAD_TIMEOUT, write: WRITE_TIMEOUT, grace: GRACE };
}

const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(5);

/// The largest head of a request, in bytes. Prometheus sends 400 bytes.
pub const MAX_REQUEST_HEAD: usize = 16 * 1024;

/// How long a client may still take to complete the head of a request once the exporter stops.
const STOP_HEAD: Duration = Duration::from_secs(1);

/// The methods that are supported.
const ALLOWED: &str = "GET, HEAD, OPTIONS";

/// Makes the responses.
pub trait Handler: Send + Sync + 'static {
    /// Responds to a GET or HEAD request. May block: it runs on the thread of the connection.
    fn respond(&self, request: &Request) -> Response;

    /// Whether this path needs no password, if passwords are configured.
    fn is_public(&self, _path: &str) -> bool {
        false
    }
}

/// Serves until `stop` is ready, then completes the requests in flight, for at most [`Timeouts::grace`]. Requests that still run
/// after that end with the process. `web_config` decides which clients are served; without it, all clients are.
///
/// Must be called within a tokio runtime with I/O and time.
///
/// # Errors
///
/// If a listener cannot be used.
pub async fn serve(
    listeners: Vec<TcpListener>,
    handler: Arc<impl Handler>,
    web_config: Option<Arc<WebConfig>>,
    timeouts: Timeouts,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let server = Arc::new(Server { web_config, timeouts, stopping: AtomicBool::new(false) });
    let mut connections = Connections::new(listeners)?;
    let graceful = GracefulShutdown::new();
    if let Some(web_config) = &server.web_config {
        web_config.log_notes();
    }

    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = connections.accept() => accepted?,
        };
        let connection = Connection { handler: Arc::clone(&handler), server: Arc::clone(&server) };
        let watcher = graceful.watcher();
        accepted.serve(move |runtime, stream, slot| {
            // Errors are the client's: it has disconnected, or it sent something that is not HTTP, which has been answered.
            let _ = runtime.block_on(connection.serve(stream, &slot, watcher));
        });
    }

    connections.close_listeners();
    server.stopping.store(true, Relaxed);
    let grace = async {
        sleep(STOP_HEAD.min(timeouts.grace)).await;
        connections.close_idle();
        sleep(timeouts.grace.saturating_sub(STOP_HEAD)).await;
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = grace => {}
    }
    Ok(())
}

/// State that all connections share.
struct Server {
    web_config: Option<Arc<WebConfig>>,
    timeouts: Timeouts,
    stopping: AtomicBool,
}

/// A connection, owned by its thread.
struct Connection<H> {
    handler: Arc<H>,
    server: Arc<Server>,
}

impl<H: Handler> Connection<H> {
    /// Speaks HTTP until one side closes the connection.
    async fn serve(&self, stream: TcpStream, slot: &Slot, watcher: Watcher) -> io::Result<()> {
        let Server { web_config, timeouts, .. } = &*self.server;
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(timeouts.write))?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let served = async {
            let stream: Stream = match web_config {
                None => Box::pin(stream),
                Some(web_config) => timeout(timeouts.head, web_config.accept(stream)).await??,
            };
            let service = service_fn(async |request| {
                slot.set_busy();
                let response = self.respond(&Request::from(request)).await;
                slot.set_idle();
                Ok::<_, Infallible>(response.0)
            });
            let mut http = http1::Builder::new();
            // A client that closes its sending half still gets its response.
            http.half_close(true)
                .max_buf_size(MAX_REQUEST_HEAD)
                .timer(TokioTimer::new())
                .header_read_timeout(timeouts.head);
            watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await.map_err(io::Error::other)
        };
        tokio::select! {
            served = served => served,
            () = slot.closed() => Ok(()),
        }
    }

    /// Checks a request by the rules of HTTP and of the web configuration, then passes it to the handler.
    async fn respond(&self, request: &Request) -> Response {
        let rules = self.server.web_config.as_ref().map(|web_config| web_config.rules());
        let mut response = match self.refuse(request, rules.as_deref()).await {
            Some(refused) => refused,
            None => self.handle(request),
        };
        for (name, value) in rules.iter().flat_map(|rules| rules.headers()) {
            response.0.headers_mut().insert(name.clone(), value.clone());
        }
        let is_wrong = matches!(response.0.status(), StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED);
        // The body of a request is never read, so the connection cannot be used for another one.
        if is_wrong || request.announces_body() || self.server.stopping.load(Relaxed) {
            response.0.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The response to a request that is not passed to the handler.
    async fn refuse(&self, request: &Request, rules: Option<&Rules>) -> Option<Response> {
        if !request.has_valid_host() {
            return Some(Response::text(StatusCode::BAD_REQUEST, "a request needs exactly one valid Host header"));
        }
        let access = match rules {
            Some(rules) if !self.handler.is_public(request.path()) => rules.check(request.authorization()).await,
            _ => Access::Granted,
        };
        match access {
            Access::Granted => None,
            Access::Denied => {
                Some(Response::text(StatusCode::UNAUTHORIZED, "Unauthorized").with(header::WWW_AUTHENTICATE, "Basic"))
            }
            Access::Busy => {
                let line = "too many passwords are waiting to be checked";
                Some(Response::text(StatusCode::SERVICE_UNAVAILABLE, line).with(header::RETRY_AFTER, "1"))
            }
        }
    }

    fn handle(&self, request: &Request) -> Response {
        match *request.method() {
            // A panic in a handler must not end the connection without a response.
            Method::GET | Method::HEAD => catch_unwind(AssertUnwindSafe(|| self.handler.respond(request)))
                .unwrap_or_else(|_| {
                    let line = "internal error, see the log of the exporter";
                    Response::text(StatusCode::INTERNAL_SERVER_ERROR, line)
                }),
            Method::OPTIONS => Response::no_content().with(header::ALLOW, ALLOWED),
            _ => {
                let line = "only GET, HEAD and OPTIONS are supported";
                Response::text(StatusCode::METHOD_NOT_ALLOWED, line).with(header::ALLOW, ALLOWED)
            }
        }
    }
}
