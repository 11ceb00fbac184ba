//! Addresses to listen on: parsing, and binding their sockets.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use socket2::SockRef;

use crate::resolve::{AddrFamily, is_localhost, look_up};

/// How many times port 0 is tried on a host with several addresses. The port that the system picks for the first address may be in
/// use on another one.
const PORT_ATTEMPTS: usize = 16;

/// An address to listen on. Without a host, every interface, IPv4 and IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A name or an IP address, without brackets. `None` is every interface.
    pub host: Option<String>,
    /// 0 lets the system choose.
    pub port: u16,
}

impl FromStr for Listen {
    type Err = &'static str;

    /// Reads `host:port`, `[address]:port` or `:port`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not host:port or :port";
        if text.contains("://") {
            return Err("has a scheme, and should be just host:port or :port");
        }
        if text.contains('/') {
            return Err("has a path, and should be just host:port or :port");
        }
        if text.contains(',') {
            return Err("has a comma: repeat the option for each address");
        }
        let (host, port) = text.rsplit_once(':').ok_or(WRONG)?;
        let port = port.parse().map_err(|_| WRONG)?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').ok_or(WRONG)?,
            None if host.contains(':') => return Err("needs brackets around an IPv6 address"),
            None => host,
        };
        if host.contains(|letter: char| !letter.is_ascii_alphanumeric() && !"-._:%".contains(letter)) {
            return Err(WRONG);
        }
        Ok(Self { host: (!host.is_empty()).then(|| host.to_owned()), port })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{}:{}", host.as_deref().unwrap_or_default(), self.port),
        }
    }
}

impl Listen {
    /// Binds every address of the host, IPv4 first, all on the same port. Addresses at which `others` already accept connections
    /// are skipped.
    fn bind(&self, others: &[&TcpListener]) -> io::Result<Vec<TcpListener>> {
        match &self.host {
            Some(host) => bind_each(self.addresses(host)?, others),
            None => port_attempts(self.port == 0, || bind_every_interface(self.port, others)),
        }
    }

    fn addresses(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        if is_localhost(host) {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(loopback.map(|ip| SocketAddr::new(ip, self.port)).into());
        }
        let port = self.port.to_string();
        let of_family = |family: AddrFamily| look_up(host, &port, family.into());
        match (of_family(AddrFamily::Inet), of_family(AddrFamily::Inet6)) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok([v4, v6].into_iter().flatten().flatten().collect()),
        }
    }

    /// The order of binding: a socket for every interface must be bound before sockets for single addresses of the same port.
    fn rank(&self) -> u8 {
        match self.host.as_ref().map(|host| host.parse()) {
            None => 0,
            Some(Ok(IpAddr::V6(ip))) if ip.is_unspecified() => 0,
            Some(Ok(IpAddr::V4(ip))) if ip.is_unspecified() => 1,
            Some(_) => 2,
        }
    }
}

/// Binds all addresses of a list. They may overlap.
///
/// # Errors
///
/// Returns the address at fault: its host does not resolve, or one of its IP addresses is in use, or none of them is of this
/// machine.
pub fn bind(all: &[Listen]) -> Result<Vec<TcpListener>, (&Listen, io::Error)> {
    let mut bound: Vec<(usize, TcpListener)> = Vec::new();
    let mut ranked: Vec<_> = all.iter().enumerate().collect();
    ranked.sort_by_key(|(_, listen)| listen.rank());
    for (place, listen) in ranked {
        let others: Vec<_> = bound.iter().map(|(_, listener)| listener).collect();
        let listeners = listen.bind(&others).map_err(|error| (listen, error))?;
        bound.extend(listeners.into_iter().map(|listener| (place, listener)));
    }
    bound.sort_by_key(|(place, _)| *place);
    Ok(bound.into_iter().map(|(_, listener)| listener).collect())
}

/// Whether one of these sockets accepts connections to an address that is in use. A socket for every IPv6 interface may accept IPv4
/// as well.
fn includes(others: &[&TcpListener], address: SocketAddr) -> bool {
    others.iter().any(|listener| {
        let is_wider = |ip: IpAddr| {
            ip.is_unspecified() && (ip.is_ipv4() == address.is_ipv4() || ip.is_ipv6() && accepts_ipv4(listener))
        };
        let other = listener.local_addr();
        other.is_ok_and(|other| other.port() == address.port() && (other.ip() == address.ip() || is_wider(other.ip())))
    })
}

/// Whether a socket for every IPv6 interface accepts IPv4 as well. `net.ipv6.bindv6only` is the default of the system.
fn accepts_ipv4(listener: &TcpListener) -> bool {
    SockRef::from(listener).only_v6().is_ok_and(|only_v6| !only_v6)
}

/// The URLs of `/metrics` on these listeners, for the log.
#[must_use]
pub fn urls(scheme: &str, listeners: &[TcpListener]) -> String {
    let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
    addresses.map(|address| format!("{scheme}://{address}/metrics")).collect::<Vec<_>>().join(" and ")
}

fn bind_each(mut addresses: Vec<SocketAddr>, others: &[&TcpListener]) -> io::Result<Vec<TcpListener>> {
    addresses.sort();
    addresses.dedup();
    let system_picks = addresses.iter().all(|address| address.port() == 0);
    port_attempts(system_picks, || bind_once(&addresses, others))
}

/// Binds again with another port while the one that the system picked is in use.
fn port_attempts(system_picks: bool, bind: impl Fn() -> io::Result<Vec<TcpListener>>) -> io::Result<Vec<TcpListener>> {
    let mut bound = bind();
    for _ in 1..PORT_ATTEMPTS {
        match &bound {
            Err(error) if system_picks && error.kind() == ErrorKind::AddrInUse => bound = bind(),
            _ => break,
        }
    }
    bound
}

/// Binds all addresses that this machine has. It may lack some: `localhost` includes `::1` even where IPv6 is off.
fn bind_once(addresses: &[SocketAddr], others: &[&TcpListener]) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut failed = Some(io::Error::new(ErrorKind::NotFound, "the host has no address"));
    for address in addresses {
        let port = match listeners.first() {
            Some(first) => first.local_addr()?.port(),
            None => address.port(),
        };
        let mut address = *address;
        address.set_port(port);
        match TcpListener::bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && includes(others, address) => failed = None,
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                return Err(error);
            }
            Err(error) => failed = failed.and(Some(error)),
        }
    }
    match failed {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

/// Usually one IPv6 socket accepts IPv4 as well, unless the system separates them (`net.ipv6.bindv6only`) or lacks IPv6.
fn bind_every_interface(port: u16, others: &[&TcpListener]) -> io::Result<Vec<TcpListener>> {
    let v6 = match bind_once(&[(Ipv6Addr::UNSPECIFIED, port).into()], others) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
        v6 => v6.unwrap_or_default(),
    };
    let port = v6.first().and_then(|listener| listener.local_addr().ok()).map_or(port, |address| address.port());
    match bind_once(&[(Ipv4Addr::UNSPECIFIED, port).into()], others) {
        // In use by the first socket, which accepts IPv4, or there is no IPv4.
        Err(error) if v6.iter().any(|v6| error.kind() != ErrorKind::AddrInUse || accepts_ipv4(v6)) => Ok(v6),
        v4 => Ok(v6.into_iter().chain(v4?).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Listen, bind, bind_each, urls};
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn reads_and_displays_addresses() {
        for (text, host, port) in [
            (":9700", None, 9700),
            ("localhost:0", Some("localhost"), 0),
            ("127.0.0.1:65535", Some("127.0.0.1"), 65535),
            ("[::1]:9700", Some("::1"), 9700),
            ("[fe80::1%eth0]:9700", Some("fe80::1%eth0"), 9700),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.host.as_deref(), listen.port), (host, port));
            assert_eq!(listen.to_string(), text);
        }
        assert_eq!("[localhost]:1".parse::<Listen>().unwrap().to_string(), "localhost:1");
        assert_eq!("[]:1".parse::<Listen>().unwrap().to_string(), ":1");
        for text in [
            "",
            "9700",
            ":",
            ":x",
            ":65536",
            "::1:9700",
            "[::1:9700",
            "[[::1]]:9700",
            "[[x]:1",
            "[x]]:1",
            "x]:1",
            "a[b:1",
            "a@b:1",
            "{port}:1",
            "a b:1",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        for (text, complaint) in [
            ("http://localhost:9700", "has a scheme"),
            ("tcp://[::1]:9700", "has a scheme"),
            ("localhost:9700/metrics", "has a path"),
            ("unix:/run/x", "has a path"),
            ("127.0.0.1:9700,[::1]:9700", "has a comma"),
            ("::1:9700", "needs brackets"),
        ] {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(error.starts_with(complaint), "{text}: {error}");
        }
    }

    /// The addresses that are bound, after checking that each accepts connections. Those that this machine lacks (IPv6) are left
    /// out.
    fn bound(texts: &[&str]) -> Vec<SocketAddr> {
        let listeners = bind_each(addresses(texts), &[]).unwrap();
        let bound: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        for address in &bound {
            TcpStream::connect(address).unwrap();
        }
        bound
    }

    #[test]
    fn binds_all_addresses_on_one_port_ipv4_first() {
        let bound = bound(&["[::1]:0", "127.0.0.1:0", "127.0.0.1:0"]);
        let ips: Vec<_> = bound.iter().map(|address| address.ip().to_string()).collect();
        let ipv6 = TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(ips, ["127.0.0.1", "::1"][..if ipv6 { 2 } else { 1 }]);
        assert!(bound.iter().all(|address| address.port() == bound[0].port()), "{bound:?}");
    }

    #[test]
    fn urls_name_every_listener() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, other] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        assert_eq!(urls("https", &listeners[..1]), format!("https://{one}/metrics"));
        assert_eq!(urls("http", &listeners), format!("http://{one}/metrics and http://{other}/metrics"));
    }

    #[test]
    fn skips_addresses_of_other_machines() {
        assert_eq!(bound(&["203.0.113.1:0", "127.0.0.1:0"]).len(), 1);
        let error = bind_each(addresses(&["203.0.113.1:0"]), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn refuses_if_one_address_is_in_use() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let both = addresses(&[&format!("203.0.113.1:{port}"), &format!("127.0.0.1:{port}")]);
        let error = bind_each(both, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    /// The addresses that are bound for a list.
    fn bound_for(texts: &[String]) -> Vec<String> {
        let all: Vec<Listen> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let listeners = bind(&all).unwrap_or_else(|(listen, error)| panic!("{listen}: {error}"));
        listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
    }

    #[test]
    fn localhost_is_the_loopback_in_any_spelling() {
        let both = TcpListener::bind("[::1]:0").is_ok();
        for name in ["localhost", "LOCALHOST", "localhost.", "LocalHost."] {
            let bound = bound_for(&[format!("{name}:0")]);
            assert!(bound[0].starts_with("127.0.0.1:") && bound.len() == 1 + usize::from(both), "{name}: {bound:?}");
        }
    }

    #[test]
    fn binds_a_list_in_its_order_and_overlaps_once() {
        // Ports below the range from which the system picks for port 0.
        let begin = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
        let mut free = (begin..).filter(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
        let (one, other) = (free.next().unwrap(), free.next().unwrap());
        let [v4, same] = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{one}"));
        let more = format!("127.0.0.2:{other}");
        assert_eq!(bound_for(&[more.clone(), v4.clone(), more.clone()]), [more.clone(), v4.clone()]);
        assert_eq!(bound_for(&[v4.clone(), same.clone(), v4.clone()])[0], v4);
        let every = [format!(":{one}"), format!("0.0.0.0:{one}"), format!("[::]:{one}")];
        for every in &every[..if TcpListener::bind("[::1]:0").is_ok() { 3 } else { 2 }] {
            let bound = bound_for(&[v4.clone(), every.clone(), more.clone(), every.clone(), same.clone()]);
            let unspecified = bound.iter().filter(|address| address.starts_with(['[', '0'])).count();
            assert!(unspecified >= 1 && !bound.contains(&v4) && bound.contains(&more), "{every}: {bound:?}");
        }
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let all = [more, taken.local_addr().unwrap().to_string()].map(|text| text.parse().unwrap());
        let (at_fault, error) = bind(&all).unwrap_err();
        assert_eq!((at_fault, error.kind()), (&all[1], ErrorKind::AddrInUse));
    }
}
