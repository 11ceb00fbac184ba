//! New connections to the bridge: name resolution, TCP, TLS.
//!
//! By default ureq resolves the name before it looks for a pooled connection, in a new thread for each request. Here a name is
//! resolved only when a new connection is needed, so a request on a pooled connection needs neither a thread nor a name server.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport, time,
};

use super::notes::{Note, Notes};
use super::{is_no_descriptor, tls, unreachable};
use crate::error::{Cause, ScrapeError};
use crate::resolve::{self, AddrFamily};
use crate::words::plain;

/// How long an address is tried before the next one (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How many addresses of a name are tried. ureq has room for no more.
const MAX_ADDRESSES: usize = 16;

/// How long to wait for the other family after the first one has addresses (RFC 8305, section 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The limit of concurrent lookups for each family: the default of `--max-scrapes`. With a dead name server a lookup lasts half a
/// minute, longer than its scrape.
const MAX_LOOKUPS: usize = 40;

/// The families of addresses, in the order in which they are tried (RFC 8305, section 4). Without a route, the first fails at once.
const FAMILIES: [AddrFamily; 2] = [AddrFamily::Inet6, AddrFamily::Inet];

thread_local! {
    /// Whether this thread has made a connection since the last call of [`connected`].
    static CONNECTED: Cell<bool> = const { Cell::new(false) };
    /// When this thread stops waiting for bytes of a bridge, besides the timeouts of ureq.
    static UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Reads from a bridge until then at the latest. ureq takes the timeouts of a body before it knows the status.
pub(super) fn read_until<T>(until: Instant, read: impl FnOnce() -> T) -> T {
    UNTIL.set(Some(until));
    let result = read();
    UNTIL.set(None);
    result
}

/// A connection that [`read_until`] applies to.
#[derive(Debug)]
pub(super) struct Limited<T>(T);

impl<T: Transport> Transport for Limited<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let Some(until) = UNTIL.get() else { return self.0.await_input(timeout) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        self.0.await_input(NextTimeout { after: left.min(*timeout.after).into(), ..timeout })
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

/// Whether this thread has made a connection since the last call. If not, its request used a pooled one.
pub(super) fn connected() -> bool {
    CONNECTED.replace(false)
}

/// A resolver that resolves nothing; [`Connect`] does it when a connection is needed.
#[derive(Debug)]
pub(super) struct Later;

impl Resolver for Later {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

#[derive(Debug)]
pub(super) struct Connect {
    lookups: Lookups,
    notes: Arc<Notes>,
    tcp: TcpConnector,
    tls: RustlsConnector,
}

type Tcp = <TcpConnector as Connector>::Out;

impl Connector for Connect {
    type Out = Limited<<RustlsConnector as Connector<Tcp>>::Out>;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        CONNECTED.set(true);
        let deadline = Instant::now() + *details.timeout.after;
        let addresses = self.resolve(details).map_err(failed)?;
        let connect = |addresses: &[_], timeout| self.tcp.connect(&now(details, addresses, timeout), None);
        let stream = first(&addresses, deadline, connect).map_err(|error| {
            failed(match error {
                Error::Timeout(_) => Cause::ConnectTimeout.into(),
                Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => Cause::Refused.into(),
                Error::Io(error) => unreachable(&error),
                error => Cause::Unreachable.with(error),
            })
        })?;
        let connection = self.tls.connect(&now(details, &[], left(deadline)), stream).map_err(|error| {
            failed(match error {
                Error::Timeout(_) => Cause::HandshakeTimeout.into(),
                Error::Io(error) => tls::error(&error).unwrap_or_else(|| Cause::HandshakeClosed.into()),
                error => Cause::Handshake.with(error),
            })
        })?;
        Ok(connection.map(Limited))
    }
}

/// Connects to the first address that accepts. If there are several, each is tried briefly, so that an address that drops packets
/// does not use up the time of the others. If none accepts, all are tried again for the rest of the time.
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

/// The time until a deadline. Never zero, which ureq would treat as a second.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// The same details with other addresses and another timeout, counted from now. `request_level` is off because the TLS settings
/// never differ from the agent's. If it were on, ureq would read the root certificates again for each connection.
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
    let (name, port) = host.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| resolve::is_localhost(name))?;
    Some(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()])
}

impl Connect {
    pub(super) fn new(notes: Arc<Notes>) -> Self {
        Self { lookups: Lookups::default(), notes, tcp: TcpConnector::default(), tls: RustlsConnector::default() }
    }

    /// The addresses of the host of the URL.
    #[cold]
    fn resolve(&self, details: &ConnectionDetails) -> Result<Vec<SocketAddr>, ScrapeError> {
        let host = details.uri.scheme().zip(details.uri.authority());
        let host = host.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let host = host.unwrap_or_default();
        if let Some(addresses) = literal(&host) {
            return Ok(addresses);
        }
        let lookup = move |family| {
            let (name, port) = host.rsplit_once(':').unwrap_or((&host, ""));
            resolve::look_up(name, port, family)
        };
        let found = look_up(&self.lookups, *details.timeout.after, lookup).ok_or(Cause::ResolveTimeout)?;
        let found = found.map_err(|error| unresolved(details.uri.host().unwrap_or_default(), &error))?;
        // A bridge often has one address of each family.
        if found.iter().any(|family| family.len() > 1) {
            let all: Vec<_> = found.iter().flatten().map(|address| address.ip().to_string()).collect();
            let all = all.join(", ");
            self.notes.add(Note::Addresses, || {
                format!("the host name has several addresses ({all}): if they are several bridges, run one exporter for each")
            });
        }
        Ok(in_turn(&found))
    }
}

/// The error for a name without addresses.
#[cold]
fn unresolved(name: &str, error: &io::Error) -> ScrapeError {
    let cause = match error.kind() {
        ErrorKind::TimedOut => Cause::NameServer,
        _ if is_no_descriptor(error) => return Cause::NoDescriptor.into(),
        _ => Cause::UnknownHost,
    };
    cause.with(format_args!("{name:?}: {}", plain(error).to_lowercase()))
}

/// Counts the running lookups of each family: each lookup holds a clone of the `Arc`.
type Lookups = [Arc<()>; FAMILIES.len()];

/// The addresses of each of [`FAMILIES`].
type Found = [Vec<SocketAddr>; FAMILIES.len()];

/// At most [`MAX_ADDRESSES`] addresses, of each family in turn, so that neither family takes up all the room.
fn in_turn(found: &Found) -> Vec<SocketAddr> {
    let longest = found.iter().map(Vec::len).max().unwrap_or_default();
    let all = (0..longest).flat_map(|rank| found.iter().filter_map(move |family| family.get(rank)));
    all.take(MAX_ADDRESSES).copied().collect()
}

/// Looks up a name as IPv6 and as IPv4, in parallel. A single lookup of the C library for both would fail if one of them fails
/// (musl), and would wait for the slower one. Once one family has addresses, the other is awaited only briefly.
///
/// Returns the error for IPv4 if both lookups fail, and `None` if there is no answer in time or if too many lookups are running.
///
/// The system's resolver has no deadline, so each lookup runs in a thread, which may outlive its scrape. If a thread cannot be
/// started, the lookup fails with that error.
fn look_up(
    running: &Lookups,
    timeout: Duration,
    lookup: impl Fn(i32) -> io::Result<Vec<SocketAddr>> + Clone + Send + 'static,
) -> Option<io::Result<Found>> {
    let mut until = Instant::now() + timeout;
    let (sender, receiver) = mpsc::channel();
    for (index, (family, running)) in FAMILIES.into_iter().zip(running).enumerate() {
        let running = Arc::clone(running);
        if Arc::strong_count(&running) > MAX_LOOKUPS + 1 {
            continue;
        }
        let (lookup, results) = (lookup.clone(), sender.clone());
        let run = move || {
            let _ = results.send((index, lookup(family.into())));
            drop(running);
        };
        if let Err(error) = thread::Builder::new().name("resolve".to_owned()).spawn(run) {
            let _ = sender.send((index, Err(error)));
        }
    }
    drop(sender);

    let (mut found, mut errors) = (Found::default(), [None, None]);
    // The loop also ends when every lookup has ended.
    while let Ok((index, result)) = receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
        match result {
            Ok(addresses) => {
                found[index] = addresses;
                until = until.min(Instant::now() + RESOLUTION_DELAY);
            }
            Err(error) => errors[index] = Some(error),
        }
    }
    if found.iter().any(|family| !family.is_empty()) {
        return Some(Ok(found));
    }
    let [first, last] = errors;
    // If only one family has failed, the other may still have addresses.
    first.zip(last).map(|(_, error)| Err(error))
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

    /// Connects to numbered addresses: 1 accepts, 2 refuses, 3 and 4 do not answer. Returns the result, and how long each was
    /// tried.
    fn connect(all: &[u8], left: Duration) -> (Result<u8, Error>, Vec<Tried>) {
        let tried = Mutex::new(Vec::new());
        let all: Vec<_> = all.iter().map(|&number| address(number)).collect();
        let result = first(&all, Instant::now() + left, |addresses, timeout| {
            let numbers: Vec<_> = (1..=4).filter(|&number| addresses.contains(&address(number))).collect();
            tried.lock().unwrap().push((numbers.clone(), timeout));
            match numbers[..] {
                [1] => Ok(1),
                [2] => Err(Error::Io(ErrorKind::ConnectionRefused.into())),
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
    fn failed_lookup_has_the_cause_for_its_error() {
        for (error, expected) in [
            (
                io::Error::other("Name or service not known"),
                "cannot resolve the host name: \"jvb\": name or service not known",
            ),
            (
                io::Error::new(
                    ErrorKind::TimedOut,
                    io::Error::other("failed to lookup address information: Try again"),
                ),
                "cannot resolve the host name for now: \"jvb\": try again",
            ),
            (io::Error::from_raw_os_error(23), "no file descriptor is free"),
            (io::Error::from_raw_os_error(24), "no file descriptor is free"),
        ] {
            assert_eq!(unresolved("jvb", &error).to_string(), expected);
        }
        assert_eq!(unreachable(&io::Error::from_raw_os_error(24)).cause(), Cause::NoDescriptor);
    }

    fn v6(number: u16) -> SocketAddr {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, number], 8080).into()
    }

    /// The result of a lookup, from the results for IPv6 and for IPv4.
    fn found(
        six: fn() -> io::Result<u16>,
        four: fn() -> io::Result<u8>,
        timeout: Duration,
    ) -> Option<io::Result<Found>> {
        let lookup = move |family| {
            let is_four = family == i32::from(AddrFamily::Inet);
            if is_four { four().map(|number| vec![address(number)]) } else { six().map(|number| vec![v6(number)]) }
        };
        look_up(&Lookups::default(), timeout, lookup)
    }

    fn never<T>() -> io::Result<T> {
        thread::sleep(30 * SECOND);
        Err(ErrorKind::TimedOut.into())
    }

    #[test]
    fn failed_or_silent_family_does_not_affect_the_other() {
        let (six, four): (fn() -> _, fn() -> _) = (|| Ok(1), || Ok(1));
        let (no_six, no_four): (fn() -> _, fn() -> _) =
            (|| Err(ErrorKind::NotFound.into()), || Err(ErrorKind::HostUnreachable.into()));
        let only_six = [vec![v6(1)], vec![]];
        let only_four = [vec![], vec![address(1)]];
        for (six, four, expected) in [
            (six, four, [vec![v6(1)], vec![address(1)]]),
            (no_six, four, only_four.clone()),
            (never, four, only_four),
            (six, no_four, only_six.clone()),
            (six, never, only_six),
        ] {
            let start = Instant::now();
            assert_eq!(found(six, four, 20 * SECOND).unwrap().unwrap(), expected);
            assert!(start.elapsed() < 20 * SECOND, "the other family is awaited to the end");
        }
        // An answer that is a little late. A busy machine may make it much later.
        let late = || {
            thread::sleep(RESOLUTION_DELAY / 10);
            Ok(1)
        };
        let both = |_| found(late, four, 20 * SECOND).unwrap().unwrap() == [vec![v6(1)], vec![address(1)]];
        assert!((0..100).any(both), "the other family is not awaited");
        assert_eq!(found(no_six, no_four, 20 * SECOND).unwrap().unwrap_err().kind(), ErrorKind::HostUnreachable);
        for (six, four) in [(never as fn() -> _, no_four), (no_six, never), (never, never)] {
            assert!(found(six, four, RESOLUTION_DELAY).is_none());
        }
    }

    #[test]
    fn takes_addresses_of_each_family_in_turn() {
        assert_eq!(in_turn(&[vec![v6(1), v6(2)], vec![address(1)]]), [v6(1), address(1), v6(2)]);
        let many = in_turn(&[vec![], (0..100).map(address).collect()]);
        assert_eq!(many.len(), MAX_ADDRESSES);
        let many = in_turn(&[(0..100).map(v6).collect(), vec![address(1)]]);
        assert!(many.len() == MAX_ADDRESSES && many.contains(&address(1)), "{many:?}");
    }

    #[test]
    fn hanging_lookups_are_limited_and_not_awaited_beyond_the_timeout() {
        let running = Lookups::default();
        let (name_server, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        for _ in 0..MAX_LOOKUPS {
            let hangs = Arc::clone(&hangs);
            let lookup = move |_| {
                let _ = hangs.lock().map(|hangs| hangs.recv());
                Ok(Vec::new())
            };
            assert!(look_up(&running, Duration::from_millis(1), lookup).is_none());
        }
        for running in &running {
            assert_eq!(Arc::strong_count(running), MAX_LOOKUPS + 1, "not all of them run");
        }
        let one_more = |_| -> io::Result<_> { panic!("one lookup too many") };
        assert!(look_up(&running, 30 * SECOND, one_more).is_none());
        // The limit of one family does not affect the other.
        let one_family = [Arc::clone(&running[0]), Arc::default()];
        let four = |family| Ok(vec![address(u8::try_from(family).unwrap())]);
        assert!(matches!(look_up(&one_family, 30 * SECOND, four), Some(Ok(found)) if found[0].is_empty()));
        drop(one_family);
        // The name server answers again, so the lookups end.
        drop(name_server);
        while running.iter().any(|running| Arc::strong_count(running) > 1) {
            thread::yield_now();
        }
        assert!(matches!(look_up(&running, 30 * SECOND, |_| Ok(vec![address(1)])), Some(Ok(_))));
    }
}
