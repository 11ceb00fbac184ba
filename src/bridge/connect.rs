//! Connections to the bridge: name resolution, TCP, TLS, and how long they wait.
//!
//! By default ureq resolves the name before it looks for a pooled connection, in a new thread for each request. Here a name is
//! resolved only when a new connection is needed, so a request on a pooled connection needs neither a thread nor a name server.

use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};
use ureq::{Error, Timeout};

use super::notes::{Note, Notes};
use super::{INPUT_BUFFER, OUTPUT_BUFFER, is_no_descriptor, tls, unreachable};
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

/// Timeouts of a socket are rounded down to a multiple of this, so that every scrape needs the same ones and sets them once. A socket
/// that wakes up early waits again.
const GRANULE: Duration = Duration::from_millis(100);

thread_local! {
    /// Whether this thread has made a connection since the last call of [`connected`].
    static CONNECTED: Cell<bool> = const { Cell::new(false) };
    /// When this thread stops waiting for the bridge.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Sets the deadline of this thread for everything that it waits for. ureq's own timeouts would need a configuration for each request,
/// and it takes the timeout of a body before it knows the status.
pub(super) fn wait_until(deadline: Instant) {
    DEADLINE.set(Some(deadline));
}

/// The time until the deadline. Zero if there is none left.
pub(super) fn left() -> Duration {
    DEADLINE.get().map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()))
}

/// A TCP connection that waits until the deadline of the thread that uses it.
pub(super) struct Tcp {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// The timeouts that are set.
    read: Duration,
    write: Duration,
    /// Whether bytes have been read since the last call of [`Transport::is_open`].
    is_fresh: bool,
}

impl Tcp {
    fn new(stream: TcpStream) -> Self {
        let buffers = LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER);
        Self { stream, buffers, read: Duration::ZERO, write: Duration::ZERO, is_fresh: false }
    }
}

/// Repeats a system call until it succeeds, fails, or the time is over. `last` is the timeout that the socket has.
fn retry(
    last: &mut Duration,
    set: impl Fn(Option<Duration>) -> io::Result<()>,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Result<usize, Error> {
    loop {
        let left = left();
        if left.is_zero() {
            return Err(Error::Timeout(Timeout::Global));
        }
        let rest = Duration::from_nanos((left.subsec_nanos() % GRANULE.subsec_nanos()).into());
        let timeout = if left < GRANULE { left } else { left.saturating_sub(rest) };
        if timeout != *last {
            match set(Some(timeout)) {
                Ok(()) => *last = timeout,
                // macOS may refuse once the bridge has closed, although its response can still be read.
                Err(error) if cfg!(target_os = "macos") && error.kind() == ErrorKind::InvalidInput => {}
                Err(error) => return Err(error.into()),
            }
        }
        match call() {
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            result => return Ok(result?),
        }
    }
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let Self { stream, buffers, write, .. } = self;
        let mut output = &buffers.output()[..amount];
        while !output.is_empty() {
            match retry(write, |timeout| stream.set_write_timeout(timeout), || (&*stream).write(output))? {
                0 => return Err(Error::Io(ErrorKind::WriteZero.into())),
                written => output = &output[written..],
            }
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let Self { stream, buffers, read, .. } = self;
        let input = buffers.input_append_buf();
        let amount = retry(read, |timeout| stream.set_read_timeout(timeout), || (&*stream).read(input))?;
        buffers.input_appended(amount);
        self.is_fresh = amount > 0;
        Ok(amount > 0)
    }

    /// ureq asks before it pools a connection, and again before it uses it. The second answer decides, so the first makes no system
    /// call.
    fn is_open(&mut self) -> bool {
        if mem::take(&mut self.is_fresh) {
            return true;
        }
        // Open means that a read would block: no end, no error, no unexpected bytes.
        recv(&self.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) == Err(Errno::AGAIN)
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
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
    tls: RustlsConnector,
}

impl Connector for Connect {
    type Out = <RustlsConnector as Connector<Tcp>>::Out;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        CONNECTED.set(true);
        let addresses = self.resolve(details.uri).map_err(failed)?;
        let stream = first(&addresses, |address, timeout| TcpStream::connect_timeout(&address, timeout));
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(|error| {
            failed(match error.kind() {
                ErrorKind::TimedOut => Cause::ConnectTimeout.into(),
                ErrorKind::ConnectionRefused => Cause::Refused.into(),
                _ => unreachable(&error),
            })
        })?;
        // `request_level` is off because the TLS settings never differ from the agent's. If it were on, ureq would read the root
        // certificates again for each connection.
        let details = ConnectionDetails {
            addrs: details.resolver.empty(),
            request_level: false,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
            ..*details
        };
        self.tls.connect(&details, Some(Tcp::new(stream))).map_err(|error| {
            failed(match error {
                Error::Timeout(_) => Cause::HandshakeTimeout.into(),
                Error::Io(error) => tls::error(&error).unwrap_or_else(|| Cause::HandshakeClosed.into()),
                error => Cause::Handshake.with(error),
            })
        })
    }
}

/// Connects to the first address that accepts. If there are several, each is tried briefly, so that an address that drops packets
/// does not use up the time of the others. If none accepts, all are tried again in the rest of the time.
fn first<T>(addresses: &[SocketAddr], connect: impl Fn(SocketAddr, Duration) -> io::Result<T>) -> io::Result<T> {
    let connect = |address: &SocketAddr, share: usize, most: Duration| {
        let timeout = most.min(left() / u32::try_from(share).unwrap_or(u32::MAX));
        // The standard library refuses a timeout of zero.
        connect(*address, timeout.max(Duration::from_millis(1)))
    };
    let number = addresses.len();
    if number > 1 {
        for address in addresses {
            if let Ok(connection) = connect(address, number + 1, ATTEMPT_DELAY) {
                return Ok(connection);
            }
        }
    }
    let mut last = Err(ErrorKind::AddrNotAvailable.into());
    for (rank, address) in addresses.iter().enumerate() {
        if left().is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        last = connect(address, number - rank, Duration::MAX);
        if last.is_ok() {
            break;
        }
    }
    last
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
        Self { lookups: Lookups::default(), notes, tls: RustlsConnector::default() }
    }

    /// The addresses of the host of the URL.
    #[cold]
    fn resolve(&self, uri: &Uri) -> Result<Vec<SocketAddr>, ScrapeError> {
        let host = uri.scheme().zip(uri.authority());
        let host = host.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let host = host.unwrap_or_default();
        if let Some(addresses) = literal(&host) {
            return Ok(addresses);
        }
        let lookup = move |family| {
            let (name, port) = host.rsplit_once(':').unwrap_or((&host, ""));
            resolve::look_up(name, port, family)
        };
        let found = look_up(&self.lookups, left(), lookup).ok_or(Cause::ResolveTimeout)?;
        let found = found.map_err(|error| unresolved(uri.host().unwrap_or_default(), &error))?;
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

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(number: u8) -> SocketAddr {
        ([192, 0, 2, number], 8080).into()
    }

    /// Connects to numbered addresses: 1 accepts, 2 refuses, 3 and 4 do not answer. Returns the result, and how long each was
    /// tried.
    fn connect(all: &[u8], left: Duration) -> (io::Result<u8>, Vec<(u8, Duration)>) {
        let tried = Mutex::new(Vec::new());
        let all: Vec<_> = all.iter().map(|&number| address(number)).collect();
        wait_until(Instant::now() + left);
        let result = first(&all, |tries, timeout| {
            let number = (1..=4).find(|&number| tries == address(number)).unwrap();
            tried.lock().unwrap().push((number, timeout));
            match number {
                1 => Ok(1),
                2 => Err(ErrorKind::ConnectionRefused.into()),
                _ => Err(ErrorKind::TimedOut.into()),
            }
        });
        (result, tried.into_inner().unwrap())
    }

    #[test]
    fn tries_the_next_address_when_one_does_not_answer() {
        let (result, tried) = connect(&[3, 2, 1], 100 * SECOND);
        assert_eq!(result.unwrap(), 1);
        assert_eq!(tried, [(3, ATTEMPT_DELAY), (2, ATTEMPT_DELAY), (1, ATTEMPT_DELAY)]);
        assert!(ATTEMPT_DELAY < Duration::from_millis(300));
    }

    #[test]
    fn gives_addresses_that_did_not_accept_the_rest_of_the_time() {
        let (result, tried) = connect(&[3, 2, 4], 100 * SECOND);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        let again: Vec<_> = tried[3..].iter().map(|(number, timeout)| (*number, timeout.as_secs())).collect();
        assert_eq!(again, [(3, 33), (2, 49), (4, 99)]);
    }

    #[test]
    fn times_out_if_no_time_is_left() {
        let (result, _) = connect(&[3, 2], Duration::ZERO);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
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
