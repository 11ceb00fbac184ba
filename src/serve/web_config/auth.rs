//! Passwords: HTTP basic authentication against bcrypt hashes.
//!
//! A bcrypt hash takes tens of milliseconds on purpose, so it is computed once for a password that is right. From then on the
//! user is recognised by a keyed hash of that password, which takes a microsecond. All other passwords are checked one at a time,
//! in the order in which they came: wrong passwords use at most one core, however many clients send them, and do not delay
//! clients that are recognised.
//!
//! Few passwords may wait, so that the last one gets its turn within a scrape timeout, and their connections leave room for
//! other clients.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bcrypt::HashParts;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::serve::lock;

/// How many passwords wait to be checked. At a cost of 10, some 50 ms each, the last one waits for a second.
const MAX_WAITING: usize = 16;

/// How long a request waits for its password to be checked: Prometheus' default scrape timeout, after which it has given up.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The costs that bcrypt allows.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The password is right, or none is needed.
    Granted,
    /// There is no password, or a wrong one.
    Denied,
    /// Too many passwords wait to be checked.
    Busy,
}

/// Checks the text of a hash.
///
/// # Errors
///
/// What is wrong with it, without the hash.
pub fn validate_hash(hash: &str) -> Result<(), &'static str> {
    let parts = hash.parse::<HashParts>().map_err(|_| "is not a bcrypt hash (htpasswd -nBC 10 USER makes one)")?;
    // Version 2x marks hashes of a faulty implementation, which bcrypt::verify does not imitate.
    let right = COSTS.contains(&parts.get_cost()) && !hash.starts_with("$2x$");
    if right { Ok(()) } else { Err("is a bcrypt hash of a version or cost that is not supported") }
}

/// The users of one state of the configuration.
#[derive(Default)]
pub struct Users(BTreeMap<String, Arc<User>>);

struct User {
    hash: String,
    /// The keyed hash of the password that was right.
    right: Mutex<Option<hmac::Tag>>,
}

impl Users {
    /// Users by their hashes. Those that `before` has with the same hash stay recognised.
    pub fn new(hashes: BTreeMap<String, String>, before: &Self) -> Self {
        let user = |(name, hash): (String, String)| {
            let same = before.0.get(&name).filter(|user| user.hash == hash).map(Arc::clone);
            (name, same.unwrap_or_else(|| Arc::new(User { hash, right: Mutex::new(None) })))
        };
        Self(hashes.into_iter().map(user).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl User {
    fn right(&self) -> MutexGuard<'_, Option<hmac::Tag>> {
        lock(&self.right)
    }

    /// Whether this password was right before. In constant time.
    fn recognises(&self, password: &[u8], key: &hmac::Key) -> bool {
        self.right().as_ref().is_some_and(|right| hmac::verify(key, password, right.as_ref()).is_ok())
    }
}

/// Checks passwords.
pub struct Gate {
    /// Made at the start and known to this process only.
    key: hmac::Key,
    /// Passwords that wait, and the one that is checked.
    places: Semaphore,
    /// Held while a hash is computed. Those that wait for it get it in the order in which they came.
    turn: Semaphore,
}

impl Gate {
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn new() -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| "the system has no random numbers")?;
        Ok(Self { key, places: Semaphore::new(MAX_WAITING), turn: Semaphore::new(1) })
    }

    /// Decides on the value of an `Authorization` header. If a hash has to be computed, that is done here, on the thread of the
    /// connection.
    pub async fn check(&self, users: &Users, authorization: Option<&[u8]>) -> Access {
        if users.is_empty() {
            return Access::Granted;
        }
        let Some((name, password)) = authorization.and_then(credentials) else { return Access::Denied };
        let known = std::str::from_utf8(&name).ok().and_then(|name| users.0.get(name));
        if let Some(user) = known
            && user.recognises(&password, &self.key)
        {
            return Access::Granted;
        }
        // An unknown user takes as long as a known one: its password is checked against the hash of another, always of the
        // same one, and the result does not count.
        let Some(user) = known.or_else(|| self.decoy(users, &name)) else { return Access::Denied };
        let Ok(_place) = self.places.try_acquire() else { return Access::Busy };
        let Ok(Ok(_turn)) = timeout(MAX_WAIT, self.turn.acquire()).await else { return Access::Busy };
        let is_right = known.is_some() && user.recognises(&password, &self.key)
            || bcrypt::verify(&password, &user.hash).unwrap_or(false) && known.is_some();
        if !is_right {
            return Access::Denied;
        }
        *user.right() = Some(hmac::sign(&self.key, &password));
        Access::Granted
    }

    fn decoy<'a>(&self, users: &'a Users, name: &[u8]) -> Option<&'a Arc<User>> {
        let tag = hmac::sign(&self.key, name);
        let number = tag.as_ref().iter().take(4).fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        users.0.values().nth(number % users.0.len())
    }
}

/// User and password of a header `Basic ...`.
fn credentials(authorization: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, encoded) = authorization.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut name = BASE64.decode(encoded).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some((name, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_basic_credentials() {
        let pair = |name: &str, password: &str| Some((name.as_bytes().to_vec(), password.as_bytes().to_vec()));
        for (header, expected) in [
            ("Basic YWxpY2U6c2VjcmV0", pair("alice", "secret")),
            ("bASIC YWxpY2U6c2VjcmV0", pair("alice", "secret")),
            ("Basic YWxpY2U6OmE6", pair("alice", ":a:")),
            ("Basic Og==", pair("", "")),
            ("Basic YWxpY2U=", None),
            ("Basic  YWxpY2U6c2VjcmV0", None),
            ("Basic YWxpY2U6c2VjcmV0 ", None),
            ("Basic", None),
            ("Basic ", None),
            ("Bearer YWxpY2U6c2VjcmV0", None),
            ("", None),
        ] {
            assert_eq!(credentials(header.as_bytes()), expected, "{header}");
        }
    }

    #[test]
    fn validates_hashes() {
        let hash = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        for version in ["$2a$", "$2b$", "$2y$"] {
            assert_eq!(validate_hash(&hash.replace("$2y$", version)), Ok(()));
        }
        for wrong in ["", "secret", "$2x$", "$1$", "$2y$03", "$2y$32", &hash[..59]] {
            let tail = if wrong.len() < 7 && wrong.starts_with('$') { &hash[wrong.len()..] } else { "" };
            let error = validate_hash(&format!("{wrong}{tail}")).unwrap_err();
            assert!(!error.contains(hash), "{wrong}");
        }
    }
}
