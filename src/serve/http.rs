//! HTTP towards the clients: connections, their limits, and the graceful stop. A [`Handler`] makes the responses.
//!
//! Each connection has a thread with a current-thread runtime of its own, on which hyper serves it. A handler may block, so it is
//! simply called on that thread: it delays no other connection, and no request is handed to another thread. That costs less CPU and
//! memory than one multi-threaded runtime with `block_in_place`; the price is five file descriptors for each connection instead of
//! one.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use crate::log;
use crate::serve::web_config::{Access, Stream, WebConfig};
use crate::words::plain;

pub use hyper::StatusCode;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until the head of the next request is complete, counted from the connection or from the previous response.
    pub head: Duration,
    /// Without accepting any byte of a response. Enforced on Linux only.
    pub write: Duration,
    /// For all requests in flight together, once the exporter stops.
    pub grace: Duration,
}

impl Timeouts {
    /// What the exporter allows its clients. A connection may stay idle for longer than the longest common scrape interval, a
    /// minute, so that Prometheus can reuse it.
    pub const DEFAULT: Self = Self { head: HEAD_TIMEOUT, write: WRITE_TIMEOUT, grace: GRACE };
}

const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(5);

/// The largest head of a request, in bytes. Prometheus sends 400.
pub const MAX_REQUEST_HEAD: usize = 16 * 1024;

/// How many connections are open at once. With five descriptors for each, and one for each fetch, the process stays below
/// 1,024, the usual limit. One more takes the place of the connection that has been idle for the longest.
pub const MAX_CONNECTIONS: usize = 128;

/// How many connections are given up when the process runs out of descriptors or threads: enough for 40 fetches, the default
/// of `--max-scrapes`.
const GIVEN_UP: usize = 8;

/// How many connections remain possible after a shortage: enough for some Prometheus servers and a probe. It may have another
/// cause than the connections, and pass.
const MIN_CONNECTIONS: usize = 8;

/// How long a connection may still take to complete the head of a request when the exporter stops.
const STOP_HEAD: Duration = Duration::from_secs(1);

/// Pause before the next attempt when a connection cannot be accepted: time for other connections to end.
const PAUSE: Duration = Duration::from_millis(20);

/// Stack of a connection's thread. Only the pages in use take memory; a TLS handshake in an unoptimised build takes most.
const CONNECTION_STACK: usize = 1024 * 1024;

/// A request. Its body is never read.
pub type Request = hyper::Request<Incoming>;

/// A response with its whole body.
pub type Response = hyper::Response<String>;

/// What is served.
pub trait Handler: Send + Sync + 'static {
    /// Responds to a GET or HEAD request. May block; runs on the thread of the connection.
    fn respond(&self, request: &Request) -> Response;

    /// Whether a path can be asked for without a password, if passwords are required at all.
    fn is_public(&self, _path: &str) -> bool {
        false
    }
}

/// A response of status 200.
#[must_use]
pub fn ok(content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response that is a line of plain text.
#[must_use]
pub fn text(status: StatusCode, line: &str) -> Response {
    let mut response = ok("text/plain; charset=utf-8", format!("{line}\n"));
    *response.status_mut() = status;
    response
}

/// The value of a header of a request; several lines of one name are joined by commas. Empty if the header is absent;
/// non-ASCII lines are skipped.
#[must_use]
pub fn header(request: &Request, name: &str) -> String {
    let lines = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.collect::<Vec<_>>().join(",")
}

/// RFC 9112, section 3.2: exactly one valid `Host`; HTTP/1.0 may do without.
fn has_valid_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok(),
        (None, None) => request.version() == Version::HTTP_10,
        _ => false,
    }
}

/// Serves until `stop` is ready, then completes the requests in flight, for at most [`Timeouts::grace`]. `web_config`
/// decides which clients are served; without one, all are.
///
/// Must be called within a tokio runtime with I/O and time. Requests still running after that end with the process.
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
    let listeners: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        })
        .collect::<io::Result<_>>()?;
    let server = Arc::new(Server { web_config, timeouts, stopping: AtomicBool::new(false) });
    let mut connections = Connections { open: Vec::new(), limit: MAX_CONNECTIONS };
    let graceful = GracefulShutdown::new();

    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = connections.accept(&listeners) => accepted,
        };
        match accepted {
            Ok((thread, stream)) => {
                let connection = Arc::new(Connection {
                    handler: Arc::clone(&handler),
                    server: Arc::clone(&server),
                    idle_since: AtomicU64::new(now()),
                    close: Notify::new(),
                });
                connections.open.push(Arc::downgrade(&connection));
                let watcher = graceful.watcher();
                let serve = move |runtime: Runtime| {
                    // An error is one of the client's: it has gone, or what it sent is not HTTP and has been answered.
                    let _ = runtime.block_on(connection.serve(stream, watcher));
                };
                // The thread waits for this, so it cannot have ended.
                let _ = thread.send(Box::new(serve));
            }
            Err(error) => connections.give_up(&error).await,
        }
    }

    drop(listeners);
    server.stopping.store(true, Relaxed);
    let grace = async {
        sleep(STOP_HEAD.min(timeouts.grace)).await;
        connections.idle().for_each(|(_, connection)| connection.close.notify_one());
        sleep(timeouts.grace.saturating_sub(STOP_HEAD)).await;
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = grace => {}
    }
    Ok(())
}

/// What a thread does once its connection is there.
type Serve = Box<dyn FnOnce(Runtime) + Send>;

/// Starts a thread with a runtime. It ends when the sender is dropped without a job.
async fn start_thread() -> io::Result<oneshot::Sender<Serve>> {
    let (sender, job) = oneshot::channel::<Serve>();
    let (report, started) = oneshot::channel();
    let run = move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let _ = report.send(Ok(sender));
            if let Ok(job) = job.blocking_recv() {
                job(runtime);
            }
        }
        Err(error) => drop(report.send(Err(error))),
    };
    thread::Builder::new().name("connection".to_owned()).stack_size(CONNECTION_STACK).spawn(run)?;
    started.await.map_err(io::Error::other)?
}

const BUSY: u64 = 0;

/// Counts responses and new connections, to tell which connection has been idle for the longest.
static CLOCK: AtomicU64 = AtomicU64::new(BUSY + 1);

fn now() -> u64 {
    CLOCK.fetch_add(1, Relaxed)
}

/// The connections. Those that have ended are removed when room is needed.
struct Connections<H> {
    open: Vec<Weak<Connection<H>>>,
    /// How many there may be.
    limit: usize,
}

impl<H> Connections<H> {
    /// Waits for a client, for room, and for a thread.
    async fn accept(
        &mut self,
        listeners: &[tokio::net::TcpListener],
    ) -> io::Result<(oneshot::Sender<Serve>, TcpStream)> {
        let accepted = poll_fn(|cx| {
            let ready = listeners.iter().map(|listener| listener.poll_accept(cx));
            ready.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        let stream = accepted.await?.0.into_std()?;
        while !self.make_room(self.limit) {
            sleep(PAUSE).await;
        }
        let thread = loop {
            match start_thread().await {
                Ok(thread) => break thread,
                Err(error) => self.give_up(&error).await,
            }
        };
        Ok((thread, stream))
    }

    /// The idle connections, each with the time since when.
    fn idle(&self) -> impl Iterator<Item = (u64, Arc<Connection<H>>)> {
        let open = self.open.iter().filter_map(Weak::upgrade);
        open.map(|connection| (connection.idle_since.load(Relaxed), connection)).filter(|(since, _)| *since != BUSY)
    }

    /// Closes idle connections, the longest idle first, until there is room for one more below the limit. False if the others are
    /// all busy.
    fn make_room(&mut self, limit: usize) -> bool {
        self.open.retain(|connection| connection.strong_count() > 0);
        while self.open.len() >= limit {
            let Some((_, longest)) = self.idle().min_by_key(|(since, _)| *since) else { return false };
            longest.close.notify_one();
            // Removed at once, because its thread takes a moment to end.
            self.open.retain(|connection| connection.as_ptr() != Arc::as_ptr(&longest));
        }
        true
    }

    /// Makes do with fewer connections from now on, because descriptors or threads ran out.
    async fn give_up(&mut self, error: &io::Error) {
        if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
            return;
        }
        if self.limit == MAX_CONNECTIONS {
            log::line(format_args!(
                "cannot accept a connection: {}; idle connections are closed to make room",
                plain(error)
            ));
        }
        self.open.retain(|connection| connection.strong_count() > 0);
        let left = self.open.len().saturating_sub(GIVEN_UP).max(1);
        self.limit = left.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS - 1);
        self.make_room(left);
        sleep(PAUSE).await;
    }
}

/// What all connections share.
struct Server {
    web_config: Option<Arc<WebConfig>>,
    timeouts: Timeouts,
    stopping: AtomicBool,
}

/// A connection, owned by its thread.
struct Connection<H> {
    handler: Arc<H>,
    server: Arc<Server>,
    /// When its last response was ready, by [`CLOCK`]; [`BUSY`] while a request is being answered.
    idle_since: AtomicU64,
    close: Notify,
}

impl<H: Handler> Connection<H> {
    /// Speaks HTTP until one side closes the connection.
    async fn serve(&self, stream: TcpStream, watcher: Watcher) -> io::Result<()> {
        let Server { web_config, timeouts, .. } = &*self.server;
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(timeouts.write))?;
        let peer = stream.peer_addr()?.ip();
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let served = async {
            let stream: Stream = match web_config {
                None => Box::pin(stream),
                Some(web_config) => timeout(timeouts.head, web_config.accept(stream)).await??,
            };
            let service = service_fn(async |request| Ok::<_, Infallible>(self.respond(&request, peer).await));
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
            () = self.close.notified() => Ok(()),
        }
    }

    async fn respond(&self, request: &Request, peer: IpAddr) -> Response {
        self.idle_since.store(BUSY, Relaxed);
        let refused = self.refuse(request, peer).await;
        let mut response = refused.unwrap_or_else(|| {
            // A panic in a scrape must not end the connection without a response.
            catch_unwind(AssertUnwindSafe(|| self.handler.respond(request))).unwrap_or_else(|_| {
                text(StatusCode::INTERNAL_SERVER_ERROR, "internal error, see the log of the exporter")
            })
        });
        self.idle_since.store(now(), Relaxed);

        let is_wrong = matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED);
        // A body is never read, so nothing can follow it on this connection.
        if is_wrong || !request.body().is_end_stream() || self.server.stopping.load(Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The response to a request that the handler does not get to see.
    async fn refuse(&self, request: &Request, peer: IpAddr) -> Option<Response> {
        if !has_valid_host(request) {
            return Some(text(StatusCode::BAD_REQUEST, "a request needs exactly one valid Host header"));
        }
        let access = match &self.server.web_config {
            Some(web_config) if !self.handler.is_public(request.uri().path()) => {
                web_config.check(request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes), peer).await
            }
            _ => Access::Granted,
        };
        let (header, value, status, line) = match access {
            Access::Busy => {
                (RETRY_AFTER, "1", StatusCode::SERVICE_UNAVAILABLE, "too many passwords are waiting to be checked")
            }
            Access::Denied => (WWW_AUTHENTICATE, "Basic", StatusCode::UNAUTHORIZED, "Unauthorized"),
            Access::Granted if matches!(*request.method(), Method::GET | Method::HEAD) => return None,
            Access::Granted => (ALLOW, "GET, HEAD", StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported"),
        };
        let mut response = text(status, line);
        response.headers_mut().insert(header, HeaderValue::from_static(value));
        Some(response)
    }
}
