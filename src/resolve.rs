//! Lookups of host names, one for each family of addresses.
//!
//! A single lookup of the C library for both families fails as a whole if one of them fails (musl).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

pub use dns_lookup::AddrFamily;
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};

/// Whether this name is always the loopback (RFC 6761, section 6.3): in upper or lower case, with or without a final dot. The system
/// may not know that, for example in a container without /etc/hosts.
#[must_use]
pub fn is_localhost(name: &str) -> bool {
    name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case("localhost")
}

/// The addresses of a name in one family, a number of [`AddrFamily`]. Takes as long as the system's resolver takes.
///
/// # Errors
///
/// If there is none. The kind is `TimedOut` if the name server did not answer, or said that it cannot for now.
pub fn look_up(name: &str, port: &str, family: i32) -> io::Result<Vec<SocketAddr>> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), address: family, ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(name), Some(port), Some(hints)).map_err(|error| match error.kind() {
        LookupErrorKind::Again => io::Error::new(ErrorKind::TimedOut, io::Error::from(error)),
        _ => error.into(),
    })?;
    found.map(|found| Ok(found?.sockaddr)).collect()
}
