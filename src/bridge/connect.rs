//! New connections to the bridge: name, address, TLS.
//!
//! ureq makes the connections. By itself it resolves before it looks into its pool, in a new thread for each request. Here a name
//! is resolved only when a connection is made, so that an idle connection needs neither thread nor name server.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, time};

use super::tls;
use crate::error::{Cause, ScrapeError};
use crate::file::plain;

/// How long one of several addresses may take before the next is tried (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How many addresses of a name are tried: what ureq has room for.
const MAX_ADDRESSES: usize = 16;

/// How many lookups run at once, as many as scrapes by default. A dead name server leaves each running for half a minute, longer
/// than its scrape.
const MAX_LOOKUPS: usize = 40;

thread_local! {
    /// Whether this thread has made a connection since it last asked.
    static CONNECTED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread has made a connection since the last call. If not, its request used a pooled one.
pub(super) fn connected() -> bool {
    CONNECTED.replace(false)
}

/// Gives ureq no addresses: [`Connect`] resolves.
#[derive(Debug)]
pub(super) struct Later;

impl Resolver for Later {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

/// Makes connections.
#[derive(Debug, Default)]
pub(super) struct Connect {
    /// Each lookup has a clone.
    lookups: Arc<()>,
    tcp: TcpConnector,
    tls: RustlsConnector,
}

type Tcp = <TcpConnector as Connector>::Out;

impl Connector for Connect {
    type Out = <RustlsConnector as Connector<Tcp>>::Out;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        CONNECTED.set(true);
        let deadline = Instant::now() + *details.timeout.after;
        let addresses = self.resolve(details).map_err(failed)?;
        let connect = |addresses: &[_], timeout| self.tcp.connect(&now(details, addresses, timeout), None);
        let stream = first(&addresses, deadline, connect).map_err(|error| {
            failed(match error {
                Error::Timeout(_) => Cause::ConnectTimeout.into(),
                Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => Cause::Refused.into(),
                Error::Io(error) => Cause::Unreachable.with(plain(&error)),
                error => Cause::Unreachable.with(error),
            })
        })?;
        self.tls.connect(&now(details, &[], left(deadline)), stream).map_err(|error| {
            failed(match error {
                Error::Timeout(_) => Cause::HandshakeTimeout.into(),
                Error::Io(error) => tls::error(&error).unwrap_or_else(|| Cause::HandshakeClosed.into()),
                error => Cause::Handshake.with(error),
            })
        })
    }
}

/// Connects to the first address that accepts. Each of several is tried briefly, so that one that swallows packets does not use
/// up the time of the others; if none accepts, all are tried again for the rest of the time.
fn first<T>(
    addresses: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(&[SocketAddr], Duration) -> Result<T, Error>,
) -> Result<T, Error> {
    if let [_, _, ..] = addresses {
        let attempts = u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
        let timeout = ATTEMPT_DELAY.min(left(deadline) / attempts);
        for address in addresses {
            if let Ok(connection) = connect(&[*address], timeout) {
                return Ok(connection);
            }
        }
    }
    connect(addresses, left(deadline))
}

/// The time until a deadline. Not zero, which ureq would take for a second.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// The same details with other addresses and another timeout, counted from now. `request_level` is off because the TLS settings
/// are always those of the agent; with it ureq would read the root certificates again for each connection.
fn now<'a>(details: &ConnectionDetails<'a>, addresses: &[SocketAddr], timeout: Duration) -> ConnectionDetails<'a> {
    let mut addrs = details.resolver.empty();
    for address in addresses {
        addrs.push(*address);
    }
    ConnectionDetails {
        addrs,
        request_level: false,
        now: time::Instant::now(),
        timeout: NextTimeout { after: timeout.into(), ..details.timeout },
        current_time: Arc::clone(&details.current_time),
        run_connector: Arc::clone(&details.run_connector),
        register_shutdown: Arc::clone(&details.register_shutdown),
        ..*details
    }
}

fn failed(error: ScrapeError) -> Error {
    Error::Other(Box::new(error))
}

/// The addresses of the host of a URL, if it is an IP address or `localhost`, which need no lookup.
fn literal(host: &str) -> Option<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Some(vec![address]);
    }
    // RFC 6761, section 6.3: this name is always the loopback, and a container may have no /etc/hosts that says so.
    let (name, port) = host.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| name.trim_end_matches('.').eq_ignore_ascii_case("localhost"))?;
    Some(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()])
}

impl Connect {
    /// The addresses of the host of the URL.
    fn resolve(&self, details: &ConnectionDetails) -> Result<Vec<SocketAddr>, ScrapeError> {
        let host = details.uri.scheme().zip(details.uri.authority());
        let host = host.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let host = host.unwrap_or_default();
        if let Some(addresses) = literal(&host) {
            return Ok(addresses);
        }
        let lookup = move || host.to_socket_addrs().map(|found| found.take(MAX_ADDRESSES).collect());
        let found = look_up(&self.lookups, *details.timeout.after, lookup);
        found.ok_or(Cause::ResolveTimeout)?.map_err(|error| {
            let text = plain(&error);
            let why = text.trim_start_matches("failed to lookup address information: ").to_lowercase();
            Cause::UnknownHost.with(format_args!("{:?}: {why}", details.uri.host().unwrap_or_default()))
        })
    }
}

/// The result of a lookup, if it comes in time and not too many are running. The system's resolver has no deadline, so it runs in
/// a thread, which may outlive its scrape. If that thread cannot be started, the error of starting it is the result.
fn look_up<T: Send + 'static>(
    running: &Arc<()>,
    timeout: Duration,
    lookup: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<io::Result<T>> {
    let running = Arc::clone(running);
    if Arc::strong_count(&running) > MAX_LOOKUPS + 1 {
        return None;
    }
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        let _ = sender.send(lookup());
        drop(running);
    };
    match thread::Builder::new().name("resolve".to_owned()).spawn(run) {
        Ok(_) => receiver.recv_timeout(timeout).ok(),
        Err(error) => Some(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ureq::Timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(number: u8) -> SocketAddr {
        ([192, 0, 2, number], 8080).into()
    }

    type Tried = (Vec<u8>, Duration);

    /// Connects to addresses of which 1 accepts, 2 refuses, 3 and 4 do not answer. The result, and what was tried for how long.
    fn connect(all: &[u8], left: Duration) -> (Result<u8, Error>, Vec<Tried>) {
        let tried = Mutex::new(Vec::new());
        let all: Vec<_> = all.iter().map(|&number| address(number)).collect();
        let result = first(&all, Instant::now() + left, |addresses, timeout| {
            let numbers: Vec<_> = (1..=4).filter(|&number| addresses.contains(&address(number))).collect();
            tried.lock().unwrap().push((numbers.clone(), timeout));
            match numbers[..] {
                [1] => Ok(1),
                [2] => Err(Error::Io(io::ErrorKind::ConnectionRefused.into())),
                _ => Err(Error::Timeout(Timeout::Connect)),
            }
        });
        (result, tried.into_inner().unwrap())
    }

    #[test]
    fn tries_the_next_address_when_one_does_not_answer() {
        let (result, tried) = connect(&[3, 2, 1], 100 * SECOND);
        assert_eq!(result.unwrap(), 1);
        assert_eq!(tried, [(vec![3], ATTEMPT_DELAY), (vec![2], ATTEMPT_DELAY), (vec![1], ATTEMPT_DELAY)]);
        assert!(ATTEMPT_DELAY < Duration::from_millis(300));
    }

    #[test]
    fn gives_addresses_that_did_not_accept_the_rest_of_the_time() {
        let (result, tried) = connect(&[3, 2, 4], 100 * SECOND);
        assert!(matches!(result, Err(Error::Timeout(_))), "{result:?}");
        assert_eq!(tried.len(), 4);
        assert_eq!(tried[3].0, [2, 3, 4]);
        assert!(tried[3].1 > 50 * SECOND, "{tried:?}");
    }

    #[test]
    fn gives_a_single_address_all_the_time() {
        let (_, tried) = connect(&[3], 100 * SECOND);
        assert_eq!(tried.len(), 1);
        assert!(tried[0].1 > 50 * SECOND, "{tried:?}");
    }

    #[test]
    fn divides_a_short_time_between_addresses() {
        let (_, tried) = connect(&[3, 4], SECOND / 10);
        assert!(tried[0].1 <= SECOND / 30, "{tried:?}");
        assert!(tried.iter().all(|(_, timeout)| !timeout.is_zero()), "{tried:?}");
    }

    #[test]
    fn looks_up_neither_addresses_nor_localhost() {
        assert_eq!(literal("192.0.2.1:8080"), Some(vec![address(1)]));
        assert_eq!(literal("[::1]:80"), Some(vec![(Ipv6Addr::LOCALHOST, 80).into()]));
        for name in ["localhost:80", "LocalHost:80", "localhost.:80"] {
            let loopback = vec![(Ipv4Addr::LOCALHOST, 80).into(), (Ipv6Addr::LOCALHOST, 80).into()];
            assert_eq!(literal(name), Some(loopback), "{name}");
        }
        for name in ["jvb:8080", "localhost.example:80", "notlocalhost:80"] {
            assert_eq!(literal(name), None, "{name}");
        }
    }

    #[test]
    fn hanging_lookups_are_limited_and_not_awaited_beyond_the_timeout() {
        let running = Arc::default();
        let (name_server, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        for _ in 0..MAX_LOOKUPS {
            let hangs = Arc::clone(&hangs);
            let lookup = move || Ok(hangs.lock().map(|hangs| hangs.recv().is_ok()).is_ok());
            assert!(look_up(&running, Duration::from_millis(1), lookup).is_none());
        }
        assert_eq!(Arc::strong_count(&running), MAX_LOOKUPS + 1, "not all of them run");
        let one_more = || -> io::Result<()> { panic!("one lookup too many") };
        assert!(look_up(&running, 30 * SECOND, one_more).is_none());
        // The name server answers again, and the lookups end.
        drop(name_server);
        while Arc::strong_count(&running) > 1 {
            thread::yield_now();
        }
        assert!(matches!(look_up(&running, 30 * SECOND, || Ok(1)), Some(Ok(1))));
    }
}
