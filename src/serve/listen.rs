//! The address to listen on, as people type it, and the sockets it stands for.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::str::FromStr;

/// How often port 0 is tried on a host with several addresses before giving up: the port that the system picks for the first
/// address may be taken on another one.
const PORT_ATTEMPTS: usize = 16;

/// An address to listen on. Without a host, every interface, IPv4 and IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// A name or an address, without brackets.
    pub host: Option<String>,
    /// 0 lets the system choose.
    pub port: u16,
}

impl FromStr for Listen {
    type Err = &'static str;

    /// Reads `host:port`, `[address]:port` or `:port`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not host:port or :port";
        let (host, port) = text.rsplit_once(':').ok_or(WRONG)?;
        let port = port.parse().map_err(|_| WRONG)?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').ok_or(WRONG)?,
            None if host.contains(':') => return Err("needs brackets around an IPv6 address"),
            None => host,
        };
        if host.contains(['[', ']', '/', '@']) {
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
    /// Binds every address of the host, IPv4 first, all on the same port.
    ///
    /// # Errors
    ///
    /// The host does not resolve, or one of its addresses is in use, or none of them belongs to this machine.
    pub fn bind(&self) -> io::Result<Vec<TcpListener>> {
        match &self.host {
            Some(host) => bind_each((&**host, self.port).to_socket_addrs()?.collect()),
            None => bind_every_interface(self.port),
        }
    }
}

/// The URLs of `/metrics` on these listeners, for the log.
#[must_use]
pub fn urls(scheme: &str, listeners: &[TcpListener]) -> String {
    let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
    addresses.map(|address| format!("{scheme}://{address}/metrics")).collect::<Vec<_>>().join(" and ")
}

fn bind_each(mut addresses: Vec<SocketAddr>) -> io::Result<Vec<TcpListener>> {
    addresses.sort();
    addresses.dedup();
    let system_picks = addresses.iter().all(|address| address.port() == 0);
    let mut bound = bind_once(&addresses);
    for _ in 1..PORT_ATTEMPTS {
        match &bound {
            Err(error) if system_picks && error.kind() == ErrorKind::AddrInUse => bound = bind_once(&addresses),
            _ => break,
        }
    }
    bound
}

/// Binds all addresses that this machine has. It may lack some: `localhost` is `::1` as well where IPv6 is off.
fn bind_once(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut lacking = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        let port = match listeners.first() {
            Some(first) => first.local_addr()?.port(),
            None => address.port(),
        };
        let mut address = *address;
        address.set_port(port);
        match TcpListener::bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                return Err(error);
            }
            Err(error) => lacking = error,
        }
    }
    if listeners.is_empty() { Err(lacking) } else { Ok(listeners) }
}

/// Usually one IPv6 socket accepts IPv4 as well, unless the system keeps them apart (`net.ipv6.bindv6only`) or has no IPv6.
fn bind_every_interface(port: u16) -> io::Result<Vec<TcpListener>> {
    let any = |address: IpAddr, port| TcpListener::bind((address, port));
    let Ok(v6) = any(Ipv6Addr::UNSPECIFIED.into(), port) else {
        return Ok(vec![any(Ipv4Addr::UNSPECIFIED.into(), port)?]);
    };
    // Fails as "in use" if the first socket accepts IPv4.
    let v4 = any(Ipv4Addr::UNSPECIFIED.into(), v6.local_addr()?.port()).ok();
    Ok([Some(v6), v4].into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::{Listen, bind_each, urls};
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
            "a/b:1",
            "a@b:1",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    /// The addresses bound, each of which accepts connections. What this machine lacks (IPv6) is left out.
    fn bound(texts: &[&str]) -> Vec<SocketAddr> {
        let listeners = bind_each(addresses(texts)).unwrap();
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
        let error = bind_each(addresses(&["203.0.113.1:0"])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn refuses_if_one_address_is_in_use() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind_each(addresses(&[&format!("203.0.113.1:{port}"), &format!("127.0.0.1:{port}")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn localhost_includes_ipv4() {
        let listeners = Listen { host: Some("localhost".to_owned()), port: 0 }.bind().unwrap();
        assert_eq!(listeners[0].local_addr().unwrap().ip().to_string(), "127.0.0.1");
    }
}
