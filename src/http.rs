//! HTTP towards the clients: listeners, connections, graceful stop. What is answered is up to a [`Site`].
//!
//! # A thread for each connection
//!
//! A scrape blocks: it waits for the bridge. So each connection has a thread of its own, which reads the request, makes the
//! answer and writes it, without handing anything over to another thread; that is what makes a scrape fast (`make bench`
//! measures it). hyper, which is asynchronous, is driven by that thread over a socket that blocks: when hyper asks for bytes,
//! the thread waits for them, and nothing is left for a runtime to do. A connection costs one descriptor and the part of its
//! stack that it touches.
//!
//! A thread in a `read` hears nothing, so whoever wants something of it says so on its socket: closing the reading half of it
//! is how the graceful stop ends an idle connection, and how room is made for a new client when there are too many.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{self, Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};

use crate::log;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a request is complete, from its first byte on, or from when the connection was made.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without taking anything of its answer.
    pub write: Duration,
    /// For all requests in flight together, once it has to end.
    pub grace: Duration,
}

impl Timeouts {
    /// What the exporter gives its clients. To be idle is allowed for longer than a minute, the longest usual scrape interval,
    /// so that Prometheus finds its connection open again.
    pub const USUAL: Self = Self {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(90),
        write: Duration::from_secs(5),
        grace: Duration::from_secs(5),
    };
}

/// The largest head of a request. Prometheus sends 400 bytes.
pub const MAX_HEAD: usize = 16 * 1024;

/// How many connections are open at the same time. With the descriptors of as many fetches as run at once it stays well
/// below 1,024, the usual limit. One more takes the place of the one that has been silent for the longest.
pub const MAX_CONNECTIONS: usize = 256;

/// Only the pages that are touched cost memory. The deepest use is a TLS handshake in an unoptimised build.
const STACK: usize = 1024 * 1024;

/// What is read at once. A request of Prometheus fits, with its 400 bytes.
const CHUNK: usize = 1024;

/// What a client asks for.
#[derive(Debug)]
pub struct Request<'a>(&'a hyper::Request<Incoming>);

impl Request<'_> {
    /// The path, without a query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.uri().path()
    }

    /// The value of a header; several lines of one name are joined by commas. Empty without the header, and without what is
    /// no text in it.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let lines = self.0.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        lines.collect::<Vec<_>>().join(",")
    }
}

/// What it gets.
#[derive(Debug)]
pub struct Reply {
    /// An HTTP status.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The whole answer.
    pub body: String,
}

impl Reply {
    /// A line of plain text.
    #[must_use]
    pub fn text(status: u16, line: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{line}\n") }
    }
}

/// What is served. A site sees GET and HEAD requests only; the others have been answered 405.
pub trait Site: Send + Sync + 'static {
    /// Makes the answer. May block; runs in the thread of the connection.
    fn respond(&self, request: &Request) -> Reply;
}

/// Serves until `stop` is ready, then answers what is in flight, as long as [`Timeouts::grace`] lasts.
///
/// Has to be called within a tokio runtime with I/O and time. Connections still busy after that end with the process.
///
/// # Errors
///
/// If a listener cannot be used.
pub async fn serve(
    listeners: Vec<TcpListener>,
    site: Arc<impl Site>,
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
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Connections::default());

    let mut stop = pin!(stop);
    while let Some(accepted) = poll_fn(|cx| {
        if stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let ready = listeners.iter().find_map(|listener| match listener.poll_accept(cx) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, |accepted| Poll::Ready(Some(accepted)))
    })
    .await
    {
        let started = accepted
            .and_then(|(stream, _)| stream.into_std())
            .and_then(|stream| start(stream, &connections, Arc::clone(&site), timeouts, graceful.watcher()));
        if let Err(error) = started {
            // A client that has gone again is its own business. Without descriptors or threads a pause lets some come free.
            if !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) {
                log::line(format_args!("cannot take a connection: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    drop(listeners);
    connections.stop();
    // The error is that the time is up.
    let _ = tokio::time::timeout(timeouts.grace, graceful.shutdown()).await;
    Ok(())
}

/// Starts the thread of a connection.
fn start(
    stream: TcpStream,
    connections: &Arc<Connections>,
    site: Arc<impl Site>,
    timeouts: Timeouts,
    watcher: Watcher,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(timeouts.write))?;
    let connection = Connections::add(connections, stream)?;
    let builder = thread::Builder::new().name("connection".to_owned()).stack_size(STACK);
    builder.spawn(move || converse(&connection, &site, timeouts, watcher)).map(drop)
}

/// Speaks HTTP on a connection until one side has had enough.
fn converse(connection: &Open, site: &Arc<impl Site>, timeouts: Timeouts, watcher: Watcher) {
    let service = service_fn(|request| {
        connection.client.busy();
        future::ready(Ok::<_, Infallible>(respond(&**site, &request, connection)))
    });
    let mut http = http1::Builder::new();
    // Half-closed clients get their answer. It also keeps hyper from reading ahead to see whether a client has gone, which
    // would wait for the next request before this one is answered.
    http.half_close(true).max_buf_size(MAX_HEAD);
    let socket = Socket::new(Arc::clone(&connection.client), timeouts);
    let mut conversation = pin!(watcher.watch(http.serve_connection(socket, service)));
    // All waiting is done within a poll, so nobody ever has to be woken.
    let mut cx = Context::from_waker(Waker::noop());
    let mut idle = 0;
    let mut calls = 0;
    while conversation.as_mut().poll(&mut cx).is_pending() {
        // hyper is pending between two requests. Were it ever to wait for anything but the socket, this would spin.
        let now = connection.client.calls.load(Ordering::Relaxed);
        idle = if now == calls { idle + 1 } else { 0 };
        calls = now;
        if idle > 16 {
            break;
        }
    }
}

fn respond(site: &impl Site, request: &hyper::Request<Incoming>, connection: &Open) -> hyper::Response<String> {
    let allowed = matches!(*request.method(), Method::GET | Method::HEAD);
    let reply = if allowed {
        // A bug that one report brings out must not take the process down.
        catch_unwind(AssertUnwindSafe(|| site.respond(&Request(request))))
            .unwrap_or_else(|_| Reply::text(500, "internal error, see the log of the exporter"))
    } else {
        Reply::text(405, "only GET and HEAD")
    };
    let mut response = hyper::Response::new(reply.body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if !allowed {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    // A request that is refused may have a body, which nobody will read.
    if !allowed || connection.registry.stopping.load(Ordering::Relaxed) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The open connections.
#[derive(Default)]
struct Connections {
    open: Mutex<HashMap<u64, Arc<Client>>>,
    number: AtomicU64,
    stopping: AtomicBool,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Client>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection, and if it is one too many, ends the one whose client has been silent for the longest.
    fn add(connections: &Arc<Self>, stream: TcpStream) -> io::Result<Open> {
        let client = Arc::new(Client::new(stream));
        let number = connections.number.fetch_add(1, Ordering::Relaxed);
        let mut open = connections.lock();
        if open.len() >= MAX_CONNECTIONS {
            let silent = open.iter().map(|(number, client)| (client.silent_since.load(Ordering::Relaxed), *number));
            match silent.min() {
                Some((since, silent)) if since != BUSY => {
                    // Out of the registry at once, because its thread takes a moment to end.
                    if let Some(client) = open.remove(&silent) {
                        client.end(Shutdown::Both);
                    }
                }
                _ => return Err(io::Error::other("all connections are busy")),
            }
        }
        open.insert(number, Arc::clone(&client));
        Ok(Open { registry: Arc::clone(connections), number, client })
    }

    /// Lets no connection wait for another request.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.lock().values().for_each(|client| client.end(Shutdown::Read));
    }
}

/// An entry in [`Connections`], until it is dropped.
struct Open {
    registry: Arc<Connections>,
    number: u64,
    client: Arc<Client>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.number);
    }
}

/// The client at the other end of a connection.
struct Client {
    stream: TcpStream,
    accepted: Instant,
    /// When it began to owe us a request, in milliseconds of [`clock`]; [`BUSY`] while we owe it an answer.
    silent_since: AtomicU64,
    /// How often the socket was read or written.
    calls: AtomicU64,
}

const BUSY: u64 = u64::MAX;

impl Client {
    fn new(stream: TcpStream) -> Self {
        let accepted = Instant::now();
        Self { stream, accepted, silent_since: AtomicU64::new(clock(accepted)), calls: AtomicU64::new(0) }
    }

    fn busy(&self) {
        self.silent_since.store(BUSY, Ordering::Relaxed);
    }

    fn end(&self, how: Shutdown) {
        // The error is that the client has gone.
        let _ = self.stream.shutdown(how);
    }
}

/// Milliseconds since the process first asked.
fn clock(now: Instant) -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(|| now);
    u64::try_from(now.saturating_duration_since(start).as_millis()).unwrap_or(BUSY - 1)
}

/// A socket that blocks, for hyper: it waits when it is polled, and is never pending.
struct Socket {
    client: Arc<Client>,
    timeouts: Timeouts,
    /// Until when the head that has begun must be complete.
    head_due: Option<Instant>,
    /// The timeout that the socket has for reading now.
    timeout: Duration,
}

impl Socket {
    fn new(client: Arc<Client>, timeouts: Timeouts) -> Self {
        let head_due = Some(client.accepted + timeouts.head);
        Self { client, timeouts, head_due, timeout: Duration::ZERO }
    }

    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let limit = match self.head_due {
            Some(due) => due.saturating_duration_since(Instant::now()),
            None => self.timeouts.idle,
        };
        if limit.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        // Between two requests the timeout is always the same, and costs no system call.
        if limit != self.timeout {
            self.client.stream.set_read_timeout(Some(limit))?;
            self.timeout = limit;
        }
        let amount = retry(|| (&self.client.stream).read(chunk))?;
        if self.head_due.is_none() {
            self.head_due = Some(Instant::now() + self.timeouts.head);
        }
        Ok(amount)
    }

    fn written(&mut self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        self.head_due = None;
        self.client.silent_since.store(clock(Instant::now()), Ordering::Relaxed);
        self.client.calls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(written)
    }
}

/// Once more if a signal came between. A timeout is an error like any other here: the connection ends.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Read for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.client.calls.fetch_add(1, Ordering::Relaxed);
        // Read here and copied, because writing into hyper's buffer directly would be unsafe code.
        let mut chunk = [0; CHUNK];
        let room = buffer.remaining().min(CHUNK);
        Poll::Ready(this.read(&mut chunk[..room]).map(|amount| buffer.put_slice(&chunk[..amount])))
    }
}

impl Write for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// Head and body leave in one system call, and neither is copied.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = retry(|| (&this.client.stream).write_vectored(parts));
        this.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.end(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}
