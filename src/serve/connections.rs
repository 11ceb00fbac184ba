//! The connections of clients: their limit, the eviction of idle ones, and a thread for each.
//!
//! Each connection is served by its own thread with a current-thread runtime. That takes less CPU and memory than one
//! multi-threaded runtime with `block_in_place`, but five file descriptors for each connection instead of one.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use crate::lock::lock;
use crate::log;
use crate::words::plain;

/// How many connections are open at once. With five descriptors for each, and one for each fetch, the process stays below
/// 1,024, the usual limit. A further connection replaces the one that has been idle for the longest.
pub const MAX_CONNECTIONS: usize = 128;

/// How many connections are closed when the process runs out of descriptors or threads. That frees the descriptors for 40 fetches,
/// the default of `--max-scrapes`.
const GIVEN_UP: usize = 8;

/// How many connections remain possible after a shortage: enough for some Prometheus servers and a probe.
const MIN_CONNECTIONS: usize = 8;

/// By how many connections per second the limit grows after a shortage. The shortage may come from outside the process, and may
/// pass. Without growth, a probe could time out while a few slow scrapes take up the limit.
const GROWTH: usize = 8;

/// How long after its last error a shortage is over. This is longer than the limit takes to grow back, so that clients who cause
/// one shortage after the other cause at most two log lines a minute.
const QUIET: Duration = Duration::from_secs(60);

/// Pause before the next attempt when a connection cannot be accepted, so that other connections can end.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a connection must be idle before it may be closed to make room. If a client has just connected, its request is on its
/// way.
const SETTLED: Duration = Duration::from_millis(200);

/// Stack of a connection's thread, in bytes. Only used pages take memory. A TLS handshake in an unoptimised build needs the most.
const CONNECTION_STACK: usize = 1024 * 1024;

/// State that a connection shares with [`Connections`].
pub struct Slot {
    /// When the client connected or its last response was ready; `None` while a request is being answered.
    idle_since: Mutex<Option<Instant>>,
    close: Notify,
}

impl Slot {
    /// To be called when a request has arrived.
    pub fn set_busy(&self) {
        *lock(&self.idle_since) = None;
    }

    /// To be called when a response is ready.
    pub fn set_idle(&self) {
        *lock(&self.idle_since) = Some(Instant::now());
    }

    /// Waits until the connection has to be closed to make room.
    pub async fn closed(&self) {
        self.close.notified().await;
    }
}

/// A client that has connected.
pub struct Accepted {
    pub stream: TcpStream,
    pub slot: Arc<Slot>,
    thread: oneshot::Sender<Serve>,
}

/// What a connection's thread runs.
type Serve = Box<dyn FnOnce(Runtime) + Send>;

impl Accepted {
    /// Serves the client in its thread.
    pub fn serve(self, serve: impl FnOnce(Runtime, TcpStream, Arc<Slot>) + Send + 'static) {
        let Self { stream, slot, thread } = self;
        // The thread waits for this message, so it is still running.
        let _ = thread.send(Box::new(move |runtime| serve(runtime, stream, slot)));
    }
}

/// The listeners, and the connections that were accepted. Connections that have ended are removed from the list when room is
/// needed.
pub struct Connections {
    listeners: Vec<TcpListener>,
    open: Vec<Weak<Slot>>,
    shortage: Option<Shortage>,
    /// [`QUIET`], but for a test.
    quiet: Duration,
}

impl Connections {
    /// # Errors
    ///
    /// If a listener cannot be used.
    pub fn new(listeners: Vec<std::net::TcpListener>) -> io::Result<Self> {
        let register = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners = listeners.into_iter().map(register).collect::<io::Result<_>>()?;
        Ok(Self { listeners, open: Vec::new(), shortage: None, quiet: QUIET })
    }

    /// Waits for a client, then for room, then for a thread.
    ///
    /// # Errors
    ///
    /// If a listener cannot be used any more.
    pub async fn accept(&mut self) -> io::Result<Accepted> {
        let stream = self.client().await?;
        while !self.make_room(self.limit()) {
            sleep(PAUSE).await;
        }
        let thread = loop {
            match start_thread().await {
                Ok(thread) => break thread,
                Err(error) => self.give_up(&error).await,
            }
        };
        let slot = Arc::new(Slot { idle_since: Mutex::new(Some(Instant::now())), close: Notify::new() });
        self.open.push(Arc::downgrade(&slot));
        Ok(Accepted { stream, slot, thread })
    }

    /// Closes the listeners.
    pub fn close_listeners(&mut self) {
        self.listeners.clear();
    }

    /// Closes the connections that are idle.
    pub fn close_idle(&self) {
        self.idle().for_each(|(_, slot)| slot.close.notify_one());
    }

    async fn client(&mut self) -> io::Result<TcpStream> {
        let mut registered_anew = false;
        loop {
            let accepted = poll_fn(|cx| {
                let ready = self.listeners.iter().map(|listener| listener.poll_accept(cx));
                ready.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
            });
            let accepted = match &self.shortage {
                None => accepted.await,
                Some(shortage) => tokio::select! {
                    accepted = accepted => accepted,
                    () = sleep_until(shortage.last + self.quiet) => {
                        log::line(format_args!("up to {MAX_CONNECTIONS} connections are accepted again"));
                        self.shortage = None;
                        continue;
                    }
                },
            };
            match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => return Ok(stream),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(error) if registered_anew => {
                    self.give_up(&error).await;
                    registered_anew = false;
                }
                // Linux allocates a descriptor before it looks for a client, and tokio tries again after each client. So without a
                // free descriptor, accepting fails even if no client waits. After registering again, tokio tries a listener only
                // once a client waits.
                Err(_) => {
                    self.register_again()?;
                    registered_anew = true;
                }
            }
        }
    }

    fn register_again(&mut self) -> io::Result<()> {
        let listeners = mem::take(&mut self.listeners).into_iter();
        self.listeners =
            listeners.map(|listener| TcpListener::from_std(listener.into_std()?)).collect::<io::Result<_>>()?;
        Ok(())
    }

    /// The current limit on connections.
    fn limit(&self) -> usize {
        self.shortage.as_ref().map_or(MAX_CONNECTIONS, |shortage| shortage.limit_after(shortage.last.elapsed()))
    }

    /// The idle connections, each with the time since which it has been idle.
    fn idle(&self) -> impl Iterator<Item = (Instant, Arc<Slot>)> {
        let open = self.open.iter().filter_map(Weak::upgrade);
        open.filter_map(|slot| {
            let since = *lock(&slot.idle_since);
            Some((since?, slot))
        })
    }

    /// Closes idle connections, the longest idle first, until there is room for one more below the limit. Returns false if the
    /// remaining ones are busy or have only just become idle.
    fn make_room(&mut self, limit: usize) -> bool {
        self.open.retain(|slot| slot.strong_count() > 0);
        while self.open.len() >= limit {
            let settled = self.idle().filter(|(since, _)| since.elapsed() >= SETTLED);
            let Some((_, longest)) = settled.min_by_key(|(since, _)| *since) else { return false };
            longest.close.notify_one();
            // Not counted any more, although its thread takes a moment to end.
            self.open.retain(|slot| slot.as_ptr() != Arc::as_ptr(&longest));
        }
        true
    }

    /// Lowers the limit for a while, because descriptors or threads ran out.
    async fn give_up(&mut self, error: &io::Error) {
        if self.shortage.is_none() {
            log::line(format_args!(
                "cannot accept a connection: {}; idle connections are closed to make room",
                plain(error)
            ));
        }
        self.open.retain(|slot| slot.strong_count() > 0);
        let left = self.open.len().saturating_sub(GIVEN_UP).max(1);
        self.shortage = Some(Shortage { last: Instant::now(), left });
        sleep(PAUSE).await;
        self.make_room(left);
    }
}

/// A shortage of descriptors or threads.
struct Shortage {
    /// When a connection last could not be accepted.
    last: Instant,
    /// How many connections were left open then.
    left: usize,
}

impl Shortage {
    /// The limit on connections this long after the last error.
    fn limit_after(&self, time: Duration) -> usize {
        let grown = usize::try_from(time.as_millis()).unwrap_or(usize::MAX).saturating_mul(GROWTH) / 1000;
        self.left.max(MIN_CONNECTIONS).saturating_add(grown).min(MAX_CONNECTIONS)
    }
}

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

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn limit_grows_back_before_the_shortage_is_over() {
        for (left, seconds, limit) in [
            (1, 0.0, MIN_CONNECTIONS),
            (1, 0.5, MIN_CONNECTIONS + GROWTH / 2),
            (20, 0.0, 20),
            (20, 1.0, 20 + GROWTH),
            (1, QUIET.as_secs_f64(), MAX_CONNECTIONS),
            (MAX_CONNECTIONS, 1.0, MAX_CONNECTIONS),
        ] {
            let shortage = Shortage { last: Instant::now(), left };
            assert_eq!(shortage.limit_after(Duration::from_secs_f64(seconds)), limit, "{left} after {seconds}");
        }
    }

    #[test]
    fn shortage_is_over_after_a_quiet_time() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut connections = Connections::new(vec![listener]).unwrap();
            connections.give_up(&ErrorKind::Other.into()).await;
            // Nobody connects.
            let wait = Duration::from_millis(100);
            assert!(timeout(wait, connections.client()).await.is_err());
            assert!(connections.shortage.is_some(), "it is over too soon");
            connections.quiet = wait;
            assert!(timeout(2 * wait, connections.client()).await.is_err());
            assert!(connections.shortage.is_none() && connections.limit() == MAX_CONNECTIONS);
        });
    }
}
