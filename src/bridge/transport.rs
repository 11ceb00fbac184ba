//! How the bytes travel: a connector, a transport and name resolution for ureq.
//!
//! ureq's own are made for the internet at large. Ours exist for these reasons, each measured by `make bench`:
//!
//! - ureq resolves before it looks into its pool, and with any timeout in a new thread, IP addresses included. Here a name is
//!   resolved when a connection is really made, and only a real name costs a thread.
//! - ureq sets a socket timeout anew for every read and write. Here it is left alone while it is near enough.
//! - ureq cannot tell a connection that died while it was kept from a bridge that is down. Here the first says [`Stale`].

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};

use crate::error::{Cause, ScrapeError};

/// A socket timeout may be this much longer than what is left of the budget. It saves two system calls in a scrape, and is
/// well below the margin that the budget leaves for the way back.
const TIMEOUT_SLACK: Duration = Duration::from_millis(100);

/// What a kept connection says when it turns out to be dead: nothing was answered on it, so asking again on a new one is
/// no second request to the bridge.
#[derive(Debug)]
pub(super) struct Stale;

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bridge closed a connection that was kept")
    }
}

impl std::error::Error for Stale {}

/// Gives ureq no addresses, because the connector finds them itself when it needs any.
#[derive(Debug)]
pub(super) struct Deferred;

impl Resolver for Deferred {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

/// Makes TCP connections.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    names: Names,
}

impl Connector for Tcp {
    type Out = Stream;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Stream>, Error> {
        let deadline = Instant::now().checked_add(left(details.timeout)?);
        let deadline = deadline.ok_or(Error::Timeout(details.timeout.reason))?;
        let port = port(details.uri);
        let host = details.uri.host().unwrap_or_default();
        let addresses = self.names.resolve(host, deadline).map_err(failed)?;

        let mut errors = Vec::new();
        for (address, others) in addresses.iter().zip((0..addresses.len()).rev()) {
            let address = SocketAddr::new(*address, port);
            let share = share(deadline.saturating_duration_since(Instant::now()), others);
            if share.is_zero() {
                return Err(failed(Cause::ConnectTimeout.into()));
            }
            match TcpStream::connect_timeout(&address, share) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    let config = details.config;
                    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
                    return Ok(Some(Stream {
                        socket,
                        buffers,
                        timeouts: [Duration::MAX; 2],
                        kept: false,
                        used: false,
                        answered: false,
                    }));
                }
                Err(error) if error.kind() == ErrorKind::TimedOut && others == 0 => {
                    return Err(failed(Cause::ConnectTimeout.into()));
                }
                Err(error) => errors.push(format!("{address}: {}", plain(&error))),
            }
        }
        let refused = errors.iter().all(|error| error.ends_with("connection refused"));
        Err(failed((if refused { Cause::Refused } else { Cause::Unreachable }).with(errors.join(", "))))
    }
}

/// The port of a URL, or that of its scheme.
fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 })
}

/// How long an address may take, which may be one that swallows packets, so that there is time to try the others as well.
fn share(left: Duration, others: usize) -> Duration {
    left / u32::try_from(others + 1).unwrap_or(u32::MAX)
}

fn failed(error: ScrapeError) -> Error {
    Error::Other(Box::new(error))
}

/// What is left of the budget. ureq itself would give another second for each read when nothing is, and asks whether it is so
/// for plain connections only.
fn left(timeout: NextTimeout) -> Result<Duration, Error> {
    if timeout.after.is_zero() {
        return Err(Error::Timeout(timeout.reason));
    }
    Ok(timeout.not_zero().map_or(Duration::MAX, |left| *left))
}

/// An error of the operating system in its own words, without Rust's error number behind them.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// A TCP connection to the bridge, with what has to be known of it to keep it.
pub(super) struct Stream {
    socket: TcpStream,
    buffers: LazyBuffers,
    /// The timeouts for reading and writing that the socket has now.
    timeouts: [Duration; 2],
    /// It lies in the pool.
    kept: bool,
    /// It has lain in the pool before.
    used: bool,
    /// Part of the answer to the current request has come.
    answered: bool,
}

impl Stream {
    /// Sets a socket timeout, unless the one that is set is as good.
    fn limit(
        &mut self,
        direction: usize,
        timeout: NextTimeout,
        set: fn(&TcpStream, Option<Duration>) -> io::Result<()>,
    ) -> Result<(), Error> {
        let left = left(timeout)?;
        let current = &mut self.timeouts[direction];
        if !(left..=left.saturating_add(TIMEOUT_SLACK)).contains(current) {
            set(&self.socket, Some(left.max(Duration::from_millis(1))))?;
            *current = left;
        }
        Ok(())
    }

    /// What to make of an end or an error of the connection: the bridge's fault, or one that came with being kept.
    fn broken(&self, error: io::Error) -> Error {
        let ended = matches!(
            error.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::UnexpectedEof
        );
        if ended && self.used && !self.answered {
            return Error::Io(io::Error::new(error.kind(), Stale));
        }
        Error::Io(error)
    }
}

impl Transport for Stream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.answered = false;
        self.limit(1, timeout, TcpStream::set_write_timeout)?;
        let output = &self.buffers.output()[..amount];
        match (&self.socket).write_all(output) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Error::Timeout(timeout.reason)),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.limit(0, timeout, TcpStream::set_read_timeout)?;
        loop {
            match (&self.socket).read(self.buffers.input_append_buf()) {
                Ok(0) if self.used && !self.answered => return Err(self.broken(ErrorKind::UnexpectedEof.into())),
                Ok(amount) => {
                    self.answered = true;
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(Error::Timeout(timeout.reason)),
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// ureq asks when it puts a connection into its pool and when it takes it out again. Only the second time is worth three
    /// system calls: it finds a connection that the bridge has closed, and bytes that nobody asked for.
    fn is_open(&mut self) -> bool {
        self.kept = !self.kept;
        if self.kept {
            self.used = true;
            return true;
        }
        let silent = || -> io::Result<bool> {
            self.socket.set_nonblocking(true)?;
            let silent = matches!(self.socket.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
            self.socket.set_nonblocking(false)?;
            Ok(silent)
        };
        silent().unwrap_or(false)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Puts TLS on a connection where the URL asks for it.
#[derive(Debug, Default)]
pub(super) struct Tls(RustlsConnector);

impl Connector<Stream> for Tls {
    type Out = <RustlsConnector as Connector<Stream>>::Out;

    fn connect(&self, details: &ConnectionDetails, chained: Option<Stream>) -> Result<Option<Self::Out>, Error> {
        self.0.connect(details, chained).map_err(|error| {
            failed(match error {
                Error::Timeout(_) => Cause::HandshakeTimeout.into(),
                Error::Io(error) => Cause::Handshake.with(plain(&error)),
                error => Cause::Handshake.with(error),
            })
        })
    }
}

/// Finds the addresses of a host.
#[derive(Debug, Default)]
struct Names {
    /// The lookup under way, if there is one.
    current: Mutex<Option<Arc<Lookup>>>,
}

/// A lookup in a thread of its own, because the system's resolver knows no deadline. It may outlive the scrape that began it;
/// the next scrape then waits for the same one, so that a dead name server never holds more than one thread.
#[derive(Debug, Default)]
struct Lookup {
    found: Mutex<Option<Result<Vec<IpAddr>, String>>>,
    done: Condvar,
}

impl Names {
    fn resolve(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, ScrapeError> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        // RFC 6761, 6.3: this name is always the loopback, and a container may have no /etc/hosts to say so.
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let failed = |error: String| Cause::UnknownHost.with(format_args!("\"{host}\": {error}"));
        let lookup = self.lookup(host).map_err(|error| failed(error.to_string()))?;
        let mut found = lookup.found.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = &*found {
                return found.clone().map_err(failed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ScrapeError::from(Cause::ResolveTimeout));
            }
            found = lookup.done.wait_timeout(found, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The lookup that is under way, or a new one. What an earlier one found is not remembered.
    fn lookup(&self, host: &str) -> io::Result<Arc<Lookup>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = &*current
            && lookup.found.lock().unwrap_or_else(PoisonError::into_inner).is_none()
        {
            return Ok(Arc::clone(lookup));
        }
        let lookup = Arc::new(Lookup::default());
        let (target, name) = (Arc::clone(&lookup), host.to_owned());
        thread::Builder::new().name("resolve".to_owned()).spawn(move || {
            let found = (&*name, 0).to_socket_addrs();
            let found = found.map(|addresses| addresses.map(|address| address.ip()).collect()).map_err(|error| {
                let text = error.to_string();
                text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_lowercase()
            });
            *target.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            target.done.notify_all();
        })?;
        *current = Some(Arc::clone(&lookup));
        Ok(lookup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_that_hangs_is_waited_for_once_and_not_beyond_the_budget() {
        let hanging = Arc::new(Lookup::default());
        let names = Names { current: Mutex::new(Some(Arc::clone(&hanging))) };
        let soon = || Instant::now() + Duration::from_millis(100);
        for _ in 0..2 {
            let start = Instant::now();
            assert_eq!(names.resolve("jvb", soon()), Err(ScrapeError::from(Cause::ResolveTimeout)));
            assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
        }
        // The name server answers after all: whoever waits then gets it.
        let addresses = vec![IpAddr::from(Ipv4Addr::new(192, 0, 2, 7))];
        thread::scope(|scope| {
            let (waiting, deadline) = (&names, Instant::now() + Duration::from_secs(30));
            let waiting = scope.spawn(move || waiting.resolve("jvb", deadline));
            // This test, the names, and who waits.
            while Arc::strong_count(&hanging) < 3 {
                thread::yield_now();
            }
            *hanging.found.lock().unwrap() = Some(Ok(addresses.clone()));
            hanging.done.notify_all();
            assert_eq!(waiting.join().unwrap(), Ok(addresses.clone()));
        });
    }

    #[test]
    fn ports_are_those_of_the_scheme() {
        for (url, expected) in
            [("http://jvb/", 80), ("https://jvb/", 443), ("http://jvb:443/", 443), ("https://jvb:80/", 80)]
        {
            assert_eq!(port(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn each_address_gets_its_share_of_what_is_left() {
        let second = Duration::from_secs(1);
        assert_eq!(
            (share(6 * second, 0), share(6 * second, 2), share(4 * second, 1)),
            (6 * second, 2 * second, 2 * second)
        );
    }

    #[test]
    fn addresses_and_localhost_are_not_looked_up() {
        let names = Names { current: Mutex::new(Some(Arc::default())) };
        let resolve = |host| names.resolve(host, Instant::now()).unwrap();
        assert_eq!(resolve("192.0.2.7"), [IpAddr::from(Ipv4Addr::new(192, 0, 2, 7))]);
        assert_eq!(resolve("[::1]"), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(resolve("LocalHost"), [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
    }

    #[test]
    fn what_was_found_is_not_remembered() {
        let done = Arc::new(Lookup { found: Mutex::new(Some(Ok(Vec::new()))), done: Condvar::new() });
        let names = Names { current: Mutex::new(Some(done)) };
        // No resolver can ask for a label of more than 63 bytes, so this one is answered at once.
        let name = "x".repeat(64);
        let found = names.resolve(&name, Instant::now() + Duration::from_secs(30));
        assert!(matches!(&found, Err(error) if error.cause() == Cause::UnknownHost), "{found:?}");
    }
}
