//! Passwords: HTTP basic authentication against bcrypt hashes.
//!
//! A bcrypt hash is slow on purpose, so it is computed only once for a right password. From then on the password is recognised by
//! a keyed hash, which is fast. All other passwords are checked one at a time, in order of arrival. So wrong passwords use at
//! most one core, however many clients send them, and do not delay recognised clients.

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

use crate::lock::lock;
use crate::serve::MAX_CONNECTIONS;

/// How many passwords may wait to be checked. Each takes up a connection, so this leaves half of the connections to recognised
/// clients.
const MAX_WAITING: usize = 64;

const _: () = assert!(MAX_WAITING <= MAX_CONNECTIONS / 2);

/// How long a request waits for its password to be checked: Prometheus' default scrape timeout. After that the client has given up.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The valid costs of bcrypt.
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

/// The alphabet of bcrypt's base64.
const ALPHABET: &[u8] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The index of the last character of the salt in a hash of version 2b.
const SALT_END: usize = 28;

/// Converts a hash to the spelling that the bcrypt crate accepts. Go's bcrypt, which other exporters use, is less strict: it
/// accepts any version, and ignores the four unused bits in the last character of the salt.
///
/// # Errors
///
/// Says what is wrong with the hash, without quoting it.
pub fn canonical_hash(hash: &str) -> Result<String, &'static str> {
    let mut rest = ["$2$", "$2a$", "$2b$", "$2x$", "$2y$"].iter().filter_map(|version| hash.strip_prefix(version));
    let rest = rest.next().ok_or("is not a bcrypt hash (htpasswd -nBC 10 USER makes one)")?;
    let mut canonical = format!("$2b${}", rest.trim_end()).into_bytes();
    if let Some(last) = canonical.get_mut(SALT_END)
        && let Some(bits) = ALPHABET.iter().position(|c| c == last)
    {
        *last = ALPHABET[bits & 0b11_0000];
    }
    let canonical = String::from_utf8(canonical).unwrap_or_default();
    let parts = canonical.parse::<HashParts>().map_err(|_| "is a bcrypt hash that is cut off or damaged")?;
    if COSTS.contains(&parts.get_cost()) { Ok(canonical) } else { Err("is a bcrypt hash of a cost outside 4 to 31") }
}

/// The users of one state of the configuration.
#[derive(Default)]
pub struct Users(BTreeMap<String, Arc<User>>);

struct User {
    hash: String,
    /// The keyed hash of the right password, once it has been checked.
    right: Mutex<Option<hmac::Tag>>,
}

impl Users {
    /// Users with their hashes. A user who is in `before` with the same hash stays recognised.
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

    /// Whether this is the password that was found right before. Takes constant time.
    fn recognises(&self, password: &[u8], key: &hmac::Key) -> bool {
        self.right().as_ref().is_some_and(|right| hmac::verify(key, password, right.as_ref()).is_ok())
    }
}

/// Checks passwords.
pub struct Gate {
    /// Random, made at the start.
    key: hmac::Key,
    /// Limits the passwords that wait or are being checked.
    places: Semaphore,
    /// Held while a hash is computed. Acquired in order of arrival.
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

    /// Checks the value of an `Authorization` header. A hash is computed on the thread of the connection.
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
        // An unknown user must take as long as a known one. So the password is checked against the hash of a known user, always the
        // same one for this name, and the result is ignored.
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
    fn reads_hashes_as_go_does() {
        let hash = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        let canonical = hash.replace("$2y$", "$2b$");
        for version in ["$2$", "$2a$", "$2b$", "$2x$", "$2y$"] {
            assert_eq!(canonical_hash(&hash.replace("$2y$", version)).as_ref(), Ok(&canonical));
        }
        // The last character of the salt is `u`. These differ from it in the unused bits only.
        for last in ["v", "9"] {
            assert_eq!(canonical_hash(&hash.replace("zoub", &format!("zo{last}b"))).as_ref(), Ok(&canonical), "{last}");
        }
        assert_eq!(canonical_hash(&format!("{hash}\n")).as_ref(), Ok(&canonical));
        for (wrong, what) in [
            (String::new(), "is not a bcrypt hash"),
            ("secret".to_owned(), "is not a bcrypt hash"),
            (hash.replace("$2y$", "$1$"), "is not a bcrypt hash"),
            (hash.replace("$2y$", "$2z$"), "is not a bcrypt hash"),
            (hash.replace("$10$", "$03$"), "a cost outside 4 to 31"),
            (hash.replace("$10$", "$32$"), "a cost outside 4 to 31"),
            (hash.replace("$10$", "$x$"), "cut off or damaged"),
            (hash[..59].to_owned(), "cut off or damaged"),
            (format!("{hash}x"), "cut off or damaged"),
            // The last two bits of a hash are 0, so no password fits this one.
            (hash.replace("7zG", "7zH"), "cut off or damaged"),
            (hash.replace("zoub", "zo\u{e9}"), "cut off or damaged"),
        ] {
            let error = canonical_hash(&wrong).unwrap_err();
            assert!(error.contains(what) && !error.contains(hash), "{wrong}: {error}");
        }
    }
}
