//! HTTP towards the clients: connections, their limits, and the graceful stop. A [`Handler`] makes the responses.
//!
//! Each connection has a thread with a current-thread runtime of its own, on which hyper serves it. A scrape blocks while the
//! bridge answers, so the handler is simply called on that thread: it delays no other connection, and no scrape is handed to
//! another thread. Compared with one multi-threaded runtime and `block_in_place`, the static build takes 0.76 of the CPU per
//! scrape and 0.7 of the memory; the price is five file descriptors for each connection instead of one.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::log;
use crate::web_config::{Access, Stream, WebConfig};

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
    pub const DEFAULT: Self = Self { head: MAX_IDLE, write: MAX_STALL, grace: GRACE };
}

const MAX_IDLE: Duration = Duration::from_secs(90);
const MAX_STALL: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(5);

/// The largest head of a request, in bytes. Prometheus sends 400.
pub const MAX_HEAD: usize = 16 * 1024;

/// How many connections are open at once. With five descriptors for each, and one for each fetch, the process stays below
/// 1,024, the usual limit. One more takes the place of the connection that has been idle for the longest.
pub const MAX_CONNECTIONS: usize = 128;

/// How many connections are given up when the process runs out of descriptors or threads: enough for 40 fetches, the default
/// of `--max-scrapes`.
const GIVEN_UP: usize = 8;

/// How long a connection may still take to complete the head of a request when the exporter stops.
const STOP_HEAD: Duration = Duration::from_secs(1);

/// Pause before the next attempt when a connection cannot be accepted: time for other connections to end.
const PAUSE: Duration = Duration::from_millis(20);

/// Stack of a connection's thread. Only the pages in use take memory; a TLS handshake in an unoptimised build takes most.
const STACK: usize = 1024 * 1024;

/// A request without its body, which is never read.
#[derive(Debug)]
pub struct Request<'a>(&'a hyper::Request<Incoming>);

impl Request<'_> {
    /// The path, without a query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.uri().path()
    }

    /// The value of a header; several lines of one name are joined by commas. Empty if the header is absent; non-ASCII lines
    /// are skipped.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let lines = self.0.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        lines.collect::<Vec<_>>().join(",")
    }

    fn has_body(&self) -> bool {
        !self.0.body().is_end_stream()
    }

    /// RFC 9112, section 3.2: exactly one valid `Host`; HTTP/1.0 may do without.
    fn has_valid_host(&self) -> bool {
        let mut hosts = self.0.headers().get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok(),
            (None, None) => self.0.version() == Version::HTTP_10,
            _ => false,
        }
    }
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// A further header.
    pub header: Option<(&'static str, &'static str)>,
    /// The whole body.
    pub body: String,
}

impl Response {
    /// A response of status 200.
    #[must_use]
    pub const fn ok(content_type: &'static str, body: String) -> Self {
        Self { status: 200, content_type, header: None, body }
    }

    /// A line of plain text.
    #[must_use]
    pub fn text(status: u16, line: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", header: None, body: format!("{line}\n") }
    }
}

/// What is served.
pub trait Handler: Send + Sync + 'static {
    /// Responds to a GET or HEAD request. May block; runs on the thread of the connection.
    fn respond(&self, request: &Request) -> Response;

    /// Whether a path can be asked for without a password, if passwords are required at all.
    fn is_public(&self, _path: &str) -> bool {
        false
    }
}

/// Serves until `stop` is ready, then completes the requests in flight, for at most [`Timeouts::grace`]. Whom it serves is up
/// to `web_config`; without one, everyone.
///
/// Must be called within a tokio runtime with I/O and time. Requests still running after that end with the process.
///
/// # Errors
///
/// If a listener cannot be used.
pub async fn serve(
    listeners: Vec<TcpListener>,
    handler: Arc<impl Handler>,
    web_config: Option<WebConfig>,
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
    let connections = Arc::new(Connections { web_config, ..Connections::default() });
    let graceful = GracefulShutdown::new();

    let mut stop = pin!(stop);
    loop {
        let (runtime, stream) = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = connections.accept(&listeners) => accepted,
        };
        let connection = Connection::open(&connections);
        let (handler, watcher) = (Arc::clone(&handler), graceful.watcher());
        let thread = thread::Builder::new().name("connection".to_owned()).stack_size(STACK);
        let serve = move || {
            // An error is one of the client's: it has gone, or what it sent is not HTTP and has been answered.
            let _ = runtime.block_on(connection.serve(stream, &*handler, timeouts, watcher));
        };
        if let Err(error) = thread.spawn(serve) {
            connections.give_up(&error).await;
        }
    }

    drop(listeners);
    connections.stopping.store(true, Ordering::Relaxed);
    let stopped = async {
        tokio::select! {
            () = graceful.shutdown() => {}
            () = async {
                sleep(STOP_HEAD).await;
                connections.close_idle();
                std::future::pending::<()>().await;
            } => {}
        }
    };
    // The error is that the grace period is over.
    let _ = timeout(timeouts.grace, stopped).await;
    Ok(())
}

/// The open connections.
#[derive(Default)]
struct Connections {
    web_config: Option<WebConfig>,
    open: Mutex<Open>,
    stopping: AtomicBool,
}

struct Open {
    clients: Vec<Arc<Client>>,
    /// How many there may be.
    limit: usize,
}

impl Default for Open {
    fn default() -> Self {
        Self { clients: Vec::new(), limit: MAX_CONNECTIONS }
    }
}

/// The state of one connection that others need to know.
struct Client {
    /// Since when no request is being answered; `None` while one is.
    idle_since: Mutex<Option<Instant>>,
    close: Notify,
}

impl Client {
    fn idle_since(&self) -> MutexGuard<'_, Option<Instant>> {
        lock(&self.idle_since)
    }
}

/// A panic while one of these locks is held cannot leave a half-written value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    /// Waits for a client, for room, and for what its connection needs.
    async fn accept(&self, listeners: &[tokio::net::TcpListener]) -> (Runtime, TcpStream) {
        loop {
            let accepted = poll_fn(|cx| {
                let ready = listeners.iter().map(|listener| listener.poll_accept(cx));
                ready.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
            });
            let stream = match accepted.await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => stream,
                Err(error) => {
                    self.give_up(&error).await;
                    continue;
                }
            };
            while !self.make_room() {
                sleep(PAUSE).await;
            }
            loop {
                match Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => return (runtime, stream),
                    Err(error) => self.give_up(&error).await,
                }
            }
        }
    }

    /// Closes idle connections, the longest idle first, until there is room for one more. False if the others are all busy.
    fn make_room(&self) -> bool {
        let mut open = lock(&self.open);
        while open.clients.len() >= open.limit {
            let idle = open.clients.iter().enumerate().map(|(place, client)| (*client.idle_since(), place));
            let Some((_, place)) = idle.filter(|(since, _)| since.is_some()).min() else { return false };
            // Removed at once, because its thread takes a moment to end.
            open.clients.swap_remove(place).close.notify_one();
        }
        true
    }

    /// Makes do with fewer connections from now on, because descriptors or threads ran out.
    async fn give_up(&self, error: &io::Error) {
        if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
            return;
        }
        let first = {
            let mut open = lock(&self.open);
            let first = open.limit == MAX_CONNECTIONS;
            open.limit = open.clients.len().saturating_sub(GIVEN_UP).clamp(1, MAX_CONNECTIONS - 1);
            first
        };
        if first {
            log::line(format_args!("cannot accept a connection: {error}; idle connections are closed to make room"));
        }
        self.make_room();
        sleep(PAUSE).await;
    }

    fn close_idle(&self) {
        let open = lock(&self.open);
        open.clients.iter().filter(|client| client.idle_since().is_some()).for_each(|client| client.close.notify_one());
    }
}

/// An entry in [`Connections`], removed when it is dropped.
struct Connection {
    connections: Arc<Connections>,
    client: Arc<Client>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.connections.open).clients.retain(|client| !Arc::ptr_eq(client, &self.client));
    }
}

impl Connection {
    fn open(connections: &Arc<Connections>) -> Self {
        let client = Arc::new(Client { idle_since: Mutex::new(Some(Instant::now())), close: Notify::new() });
        lock(&connections.open).clients.push(Arc::clone(&client));
        Self { connections: Arc::clone(connections), client }
    }

    /// Speaks HTTP until one side closes the connection.
    async fn serve(
        &self,
        stream: TcpStream,
        handler: &impl Handler,
        timeouts: Timeouts,
        watcher: Watcher,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(timeouts.write))?;
        let peer = stream.peer_addr()?.ip();
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let stream = match &self.connections.web_config {
            None => Stream::Plain(stream),
            Some(web_config) => tokio::select! {
                accepted = timeout(timeouts.head, web_config.accept(stream)) => accepted??,
                () = self.client.close.notified() => return Ok(()),
            },
        };
        let service = service_fn(async |request| Ok::<_, Infallible>(self.respond(handler, &request, peer).await));
        let mut http = http1::Builder::new();
        // A client that closes its sending half still gets its response.
        http.half_close(true).max_buf_size(MAX_HEAD).timer(TokioTimer::new()).header_read_timeout(timeouts.head);
        tokio::select! {
            served = watcher.watch(http.serve_connection(TokioIo::new(stream), service)) => {
                served.map_err(io::Error::other)
            }
            () = self.client.close.notified() => Ok(()),
        }
    }

    async fn respond(
        &self,
        handler: &impl Handler,
        request: &hyper::Request<Incoming>,
        peer: IpAddr,
    ) -> hyper::Response<String> {
        *self.client.idle_since() = None;
        let method = request.method();
        let request = Request(request);
        let access = match &self.connections.web_config {
            Some(web_config) if request.has_valid_host() && !handler.is_public(request.path()) => {
                web_config.check(request.0.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes), peer).await
            }
            _ => Access::Granted,
        };
        let (response, valid) = if !request.has_valid_host() {
            (Response::text(400, "a request needs exactly one valid Host header"), false)
        } else if access == Access::Busy {
            let refused = Response::text(503, "too many passwords are waiting to be checked");
            (Response { header: Some(("Retry-After", "1")), ..refused }, true)
        } else if access == Access::Denied {
            let refused = Response::text(401, "Unauthorized");
            (Response { header: Some(("WWW-Authenticate", "Basic")), ..refused }, true)
        } else if !matches!(*method, Method::GET | Method::HEAD) {
            let refused = Response::text(405, "only GET and HEAD are supported");
            (Response { header: Some(("Allow", "GET, HEAD")), ..refused }, false)
        } else {
            // A panic in a scrape must not end the connection without a response.
            let response = catch_unwind(AssertUnwindSafe(|| handler.respond(&request)));
            (response.unwrap_or_else(|_| Response::text(500, "internal error, see the log of the exporter")), true)
        };
        *self.client.idle_since() = Some(Instant::now());

        let mut message = hyper::Response::new(response.body);
        *message.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = message.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(response.content_type));
        if let Some((name, value)) = response.header {
            headers.extend(HeaderName::try_from(name).map(|name| (name, HeaderValue::from_static(value))));
        }
        // A body is never read, so nothing can follow it on this connection.
        if !valid || request.has_body() || self.connections.stopping.load(Ordering::Relaxed) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        message
    }
}
