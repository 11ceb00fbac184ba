//! Passwords: HTTP basic authentication against bcrypt hashes.
//!
//! A bcrypt hash takes tens of milliseconds on purpose, so it is computed once for a password that is right. From then on the
//! user is recognised by a keyed hash of that password, which takes a microsecond. Every other password waits in a queue for
//! one thread: wrong passwords use at most one core, however many clients send them, and do not delay clients that are
//! recognised.
//!
//! The queue is short, so that a new client with the right password gets its turn within a scrape timeout, and it is shared
//! fairly between addresses: an address that floods it loses places to the others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bcrypt::HashParts;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How many passwords wait to be checked. At a cost of 10, some 50 ms each, the last one waits for a second.
const MAX_WAITING: usize = 16;

/// How long a request waits for its password to be checked: Prometheus' default scrape timeout, after which it has given up.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The costs that bcrypt allows.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// Stack of the thread that computes hashes. bcrypt keeps 4 KiB of state on it.
const STACK: usize = 128 * 1024;

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

/// A panic while one of these locks is held cannot leave a half-written value.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks passwords.
pub struct Gate {
    /// Made at the start and known to this process only.
    key: Arc<hmac::Key>,
    queue: Arc<Mutex<Queue>>,
}

impl Gate {
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn new() -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| "the system has no random numbers")?;
        Ok(Self { key: Arc::new(key), queue: Arc::default() })
    }

    /// Decides on the value of an `Authorization` header. Returns at once unless a hash has to be computed.
    pub async fn check(&self, users: &Users, authorization: Option<&[u8]>, client: IpAddr) -> Access {
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
        let (answer, answered) = oneshot::channel();
        let job = Job { user: Arc::clone(user), counts: known.is_some(), password, source: source(client), answer };
        if !self.enqueue(job) {
            return Access::Busy;
        }
        match timeout(MAX_WAIT, answered).await {
            Ok(Ok(true)) => Access::Granted,
            Ok(Ok(false)) => Access::Denied,
            // Displaced by a client with fewer places in the queue, or too late.
            Ok(Err(_)) | Err(_) => Access::Busy,
        }
    }

    fn decoy<'a>(&self, users: &'a Users, name: &[u8]) -> Option<&'a Arc<User>> {
        let tag = hmac::sign(&self.key, name);
        let number = tag.as_ref().iter().take(4).fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        users.0.values().nth(number % users.0.len())
    }

    /// Queues a job, and starts the thread unless it runs. False if there is no room.
    fn enqueue(&self, job: Job) -> bool {
        let mut queue = lock(&self.queue);
        if !queue.push(job) {
            return false;
        }
        if !queue.running {
            let (waiting, key) = (Arc::clone(&self.queue), Arc::clone(&self.key));
            let thread = thread::Builder::new().name("passwords".to_owned()).stack_size(STACK);
            queue.running = thread.spawn(move || work(&waiting, &key)).is_ok();
            if !queue.running {
                queue.jobs.clear();
            }
        }
        true
    }
}

/// A password to be checked.
struct Job {
    user: Arc<User>,
    /// False for an unknown user, whose password is wrong whatever the hash says.
    counts: bool,
    password: Vec<u8>,
    source: IpAddr,
    answer: oneshot::Sender<bool>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: bool,
}

impl Queue {
    /// Adds a job. If the queue is full, it takes the place of the last one of the address that has most places, unless the
    /// client's own address would then have more than that.
    fn push(&mut self, job: Job) -> bool {
        if self.jobs.len() >= MAX_WAITING {
            let mut places = HashMap::<IpAddr, usize>::new();
            self.jobs.iter().for_each(|job| *places.entry(job.source).or_default() += 1);
            let own = places.get(&job.source).copied().unwrap_or(0);
            let largest = places.into_iter().max_by_key(|(_, places)| *places);
            let Some((largest, _)) = largest.filter(|(_, places)| *places > own + 1) else { return false };
            let Some(last) = self.jobs.iter().rposition(|job| job.source == largest) else { return false };
            self.jobs.remove(last);
        }
        self.jobs.push_back(job);
        true
    }
}

/// Computes one hash after the other until the queue is empty.
fn work(queue: &Mutex<Queue>, key: &hmac::Key) {
    loop {
        let job = {
            let mut queue = lock(queue);
            let Some(job) = queue.jobs.pop_front() else {
                queue.running = false;
                return;
            };
            job
        };
        // Its client has given up.
        if job.answer.is_closed() {
            continue;
        }
        // It may have been recognised while it waited, by an earlier request of the same client.
        let recognised = job.counts && job.user.recognises(&job.password, key);
        let right = recognised || (bcrypt::verify(&job.password, &job.user.hash).unwrap_or(false) && job.counts);
        if right {
            *job.user.right() = Some(hmac::sign(key, &job.password));
        }
        // The error is that the client has given up.
        let _ = job.answer.send(right);
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

/// Whose places in the queue a client takes: those of its address, or of its network in IPv6, where one host has many.
fn source(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(source: &str) -> (Job, oneshot::Receiver<bool>) {
        let user = Arc::new(User { hash: String::new(), right: Mutex::new(None) });
        let (answer, answered) = oneshot::channel();
        let source = super::source(source.parse().unwrap());
        (Job { user, counts: true, password: Vec::new(), source, answer }, answered)
    }

    #[test]
    fn queue_is_bounded_and_shared_between_addresses() {
        let mut queue = Queue::default();
        let mut flood: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let (job, answered) = job("192.0.2.1");
                assert!(queue.push(job));
                answered
            })
            .collect();
        let (one_too_many, _answered) = job("192.0.2.1");
        assert!(!queue.push(one_too_many), "an address does not displace itself");

        let (other, mut answered) = job("192.0.2.2");
        assert!(queue.push(other));
        assert_eq!(queue.jobs.len(), MAX_WAITING);
        assert!(matches!(answered.try_recv(), Err(oneshot::error::TryRecvError::Empty)), "it waits");
        let displaced = flood.pop().unwrap().try_recv();
        assert!(matches!(displaced, Err(oneshot::error::TryRecvError::Closed)), "the last one of the flood");

        // Two that flood share the places.
        let places = |queue: &Queue, source: &str| {
            queue.jobs.iter().filter(|job| job.source == source.parse::<IpAddr>().unwrap()).count()
        };
        while queue.push(job("192.0.2.2").0) {}
        assert_eq!((places(&queue, "192.0.2.1"), places(&queue, "192.0.2.2")), (MAX_WAITING / 2, MAX_WAITING / 2));
        // A third takes only as many as leave the others no fewer than it has itself.
        while queue.push(job("192.0.2.3").0) {}
        assert_eq!(places(&queue, "192.0.2.3"), MAX_WAITING / 3);
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_places() {
        let source = |address: &str| source(address.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

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
