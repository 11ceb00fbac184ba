//! The web configuration (`--web-config-file`): TLS, client certificates and passwords for the listener, in the file format
//! of Prometheus' exporter-toolkit.
//!
//! For each new TLS connection, and for each request that needs a password, the files are checked with `stat` and read again if
//! they have changed. There is no polling. A change that cannot be used is logged once, and the previous state stays in use.

mod auth;
mod kinds;
mod settings;
mod tls;

use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::header::{HeaderName, HeaderValue};
use ring::digest::{Context, Digest, SHA256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

pub use self::auth::Access;
use self::auth::{Gate, Users};
use self::settings::Settings;
use self::tls::Pem;
use crate::lock::lock;
use crate::log;

/// Longer than the clock tick of file systems. A file that changed more recently than this may change again and get the same
/// timestamp.
const TICK: Duration = Duration::from_millis(50);

/// At most one failed handshake is logged in this time, because any client can cause one.
const FAILURE_PAUSE: Duration = Duration::from_secs(10);

/// The response to plain HTTP on a TLS port, with the text of Go's server.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// How much of a request is read before [`NOT_TLS`] is sent, in bytes. Closing a connection with unread bytes would reset it, so
/// the client might not see the response.
const NOT_TLS_READ: usize = 4096;

/// A connection with or without TLS. One type for both, so that hyper is compiled once.
pub type Stream = Pin<Box<dyn ReadWrite>>;

/// Reads and writes bytes.
pub trait ReadWrite: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> ReadWrite for T {}

/// A web configuration file in use.
pub struct WebConfig {
    path: PathBuf,
    is_tls: bool,
    state: Mutex<State>,
    failures: Mutex<Failures>,
}

struct State {
    current: Arc<Rules>,
    /// The digest of everything that was read for this state.
    digest: Digest,
    /// The files that were read last, even if they could not be used.
    files: Vec<Watched>,
    /// The last error that was logged, so that it is not repeated.
    complaint: Option<String>,
}

/// What applies to new connections and requests.
pub struct Rules {
    tls: Option<Arc<ServerConfig>>,
    /// What `tls` was made from.
    section: Option<settings::Tls>,
    users: Users,
    gate: Arc<Gate>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Settings of the file that are not supported, for the log.
    notes: Vec<String>,
}

/// A file, and its metadata just before it was read.
struct Watched {
    path: PathBuf,
    /// `None` if the file has to be read again in any case: either it had changed so recently that a further change could get the
    /// same timestamp, or it could not be read.
    stamp: Option<Stamp>,
}

impl Watched {
    fn new(path: &Path) -> Self {
        let stamp = Stamp::of(path);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { path: path.to_owned(), stamp: stamp.is_settled(now).then_some(stamp) }
    }

    fn may_have_changed(&self) -> bool {
        self.stamp != Some(Stamp::of(&self.path))
    }
}

/// The metadata by which a change of a file is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stamp {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    Missing,
}

impl Stamp {
    /// Follows symbolic links, so a link to another file is a change.
    fn of(path: &Path) -> Self {
        fs::metadata(path).map_or(Self::Missing, |file| Self::File {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }

    fn is_settled(&self, now: Duration) -> bool {
        let Self::File { changed: (seconds, nanoseconds), .. } = *self else { return true };
        let (seconds, nanoseconds) = (u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0));
        now.abs_diff(Duration::new(seconds, nanoseconds)) > TICK
    }
}

/// A configuration and everything that was read for it.
struct Contents {
    settings: Settings,
    pem: Option<Pem>,
    digest: Digest,
}

impl Contents {
    /// Reads a configuration file and the files it names, all of which are added to `files`.
    fn read(path: &Path, files: &mut Vec<Watched>) -> Result<Self, String> {
        files.push(Watched::new(path));
        let text = read(path, files)?;
        let mut digest = Context::new(&SHA256);
        digest.update(&text);
        let text = String::from_utf8(text).map_err(|_| "is not UTF-8")?;
        // The parent of a plain file name is the empty path, which stands for the working directory.
        let settings = settings::parse(&text, path.parent().unwrap_or(Path::new("")))?;
        let pem = settings.tls.as_ref().map(|tls| {
            let named = [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()];
            files.extend(named.into_iter().flatten().map(|file| Watched::new(file)));
            let mut read = |key: &str, file: &Path| {
                let content = read(file, files)
                    .map_err(|error| format!("tls_server_config.{key}: {} {error}", file.display()))?;
                digest.update(&(content.len() as u64).to_be_bytes());
                digest.update(&content);
                Ok::<_, String>(content)
            };
            Ok::<_, String>(Pem {
                cert: read("cert_file", &tls.cert_file)?,
                key: read("key_file", &tls.key_file)?,
                client_ca: tls.client_ca_file.as_ref().map(|file| read("client_ca_file", file)).transpose()?,
            })
        });
        Ok(Self { pem: pem.transpose()?, settings, digest: digest.finish() })
    }

    fn build(self, before: &Users, gate: &Arc<Gate>) -> Result<Rules, String> {
        let Settings { tls, users, headers, mut notes } = self.settings;
        let config = match (&tls, &self.pem) {
            (Some(tls), Some(pem)) => Some(tls::server_config(tls, pem, &mut notes)?),
            _ => None,
        };
        let header = |(name, value): (&str, String)| {
            let value =
                HeaderValue::try_from(value.into_bytes()).map_err(|_| format!("{name} is not valid in a header"))?;
            let name = HeaderName::try_from(name).map_err(|_| format!("{name} is not a header"))?;
            Ok::<_, String>((name, value))
        };
        Ok(Rules {
            tls: config,
            section: tls,
            users: Users::new(users, before),
            gate: Arc::clone(gate),
            headers: headers.into_iter().map(header).collect::<Result<_, _>>()?,
            notes,
        })
    }
}

/// Reads one of the files that are watched.
fn read(path: &Path, files: &mut [Watched]) -> Result<Vec<u8>, String> {
    // Opening a named pipe would block until it has a writer.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err("is not a file".to_owned());
    }
    let content = crate::file::read(path);
    if content.is_err() {
        // The error may pass without a change of the file, for example a shortage of descriptors.
        files.iter_mut().filter(|file| file.path == path).for_each(|file| file.stamp = None);
    }
    content
}

impl Rules {
    /// Decides whether a request may pass. `authorization` is the value of its header.
    pub async fn check(&self, authorization: Option<&[u8]>) -> Access {
        self.gate.check(&self.users, authorization).await
    }

    /// Headers to add to each response.
    #[must_use]
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Logs the settings that are not supported.
    fn log(&self, path: &Path) {
        self.notes.iter().for_each(|note| log::line(format_args!("{}: {note}", path.display())));
    }

    /// The requirement that `next` would drop, if any. Dropping one takes a restart, because a file that is read while it is being
    /// written may look like that.
    fn loosened_by(&self, next: &Self) -> Option<&'static str> {
        let of_tls = match (&self.section, &next.section) {
            (Some(_), None) => Some("tls_server_config is gone"),
            // TLS cannot be turned on either: the clients speak plain HTTP.
            (None, Some(_)) => Some("tls_server_config is new"),
            (Some(now), Some(next)) if now.requires_certificate() && !next.requires_certificate() => {
                Some("client certificates are no longer required")
            }
            (Some(now), Some(next)) if now.client_allowed_sans.is_some() && next.client_allowed_sans.is_none() => {
                Some("client_allowed_sans is gone")
            }
            (Some(now), Some(next)) if now.min_version > next.min_version => Some("min_version is lower"),
            _ => None,
        };
        of_tls.or((!self.users.is_empty() && next.users.is_empty()).then_some("basic_auth_users is gone"))
    }
}

impl State {
    /// Reads the files again, and uses them if they are valid.
    fn reload(&mut self, path: &Path) {
        let mut files = Vec::new();
        let next = Contents::read(path, &mut files).and_then(|contents| {
            let digest = contents.digest;
            if digest.as_ref() == self.digest.as_ref() {
                return Ok(None);
            }
            let next = contents.build(&self.current.users, &self.current.gate)?;
            match self.current.loosened_by(&next) {
                Some(what) => Err(format!("{what}, which takes a restart")),
                None => Ok(Some((digest, next))),
            }
        });
        self.files = files;
        match next {
            Ok(next) => {
                self.complaint = None;
                let Some((digest, next)) = next else { return };
                self.digest = digest;
                log::line(format_args!("{} or a file it names has changed and is in use", path.display()));
                next.log(path);
                self.current = Arc::new(next);
            }
            Err(complaint) => {
                if self.complaint.as_ref() != Some(&complaint) {
                    log::line(format_args!("{}: {complaint}; what was read before stays in use", path.display()));
                }
                self.complaint = Some(complaint);
            }
        }
    }
}

impl WebConfig {
    /// Reads a web configuration file and the files it names.
    ///
    /// # Errors
    ///
    /// One line that names the file and the key.
    pub fn load(path: &Path) -> Result<Self, String> {
        let mut files = Vec::new();
        let failed = |error| format!("{}: {error}", path.display());
        let contents = Contents::read(path, &mut files).map_err(failed)?;
        let digest = contents.digest;
        let current = Arc::new(contents.build(&Users::default(), &Arc::new(Gate::new()?)).map_err(failed)?);
        let is_tls = current.tls.is_some();
        let state = Mutex::new(State { current, digest, files, complaint: None });
        Ok(Self { path: path.to_owned(), is_tls, state, failures: Mutex::default() })
    }

    /// Whether the listener speaks TLS. A change takes a restart.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Logs the settings that are not supported.
    pub(super) fn log_notes(&self) {
        lock(&self.state).current.log(&self.path);
    }

    /// Reads the files again, even if they seem unchanged. An error is logged again, because the operator asked for it.
    pub fn reload(&self) {
        let mut state = lock(&self.state);
        state.complaint = None;
        state.reload(&self.path);
    }

    /// The current rules, after reading files that have changed.
    pub fn rules(&self) -> Arc<Rules> {
        let mut state = lock(&self.state);
        if state.files.iter().any(Watched::may_have_changed) {
            state.reload(&self.path);
        }
        Arc::clone(&state.current)
    }

    /// Completes the TLS handshake of a connection, if TLS is on. There is no timeout here; the caller has to set one.
    ///
    /// # Errors
    ///
    /// If the client has disconnected, does not speak TLS, or is rejected. The latter two are logged.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        if !self.is_tls {
            return Ok(Box::pin(stream));
        }
        let client = stream.peer_addr()?.ip();
        match self.handshake(stream).await {
            Ok(stream) => Ok(Box::pin(stream)),
            Err(error) => {
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput) {
                    self.log_failure(client, &error);
                }
                Err(error)
            }
        }
    }

    async fn handshake(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        stream.peek(&mut first).await?;
        if first[0].is_ascii_uppercase() {
            let _ = stream.read(&mut [0; NOT_TLS_READ]).await?;
            stream.write_all(NOT_TLS).await?;
            stream.shutdown().await?;
            return Err(io::Error::new(ErrorKind::InvalidInput, "the client speaks plain HTTP"));
        }
        let config = self.rules().tls.clone().ok_or_else(|| io::Error::other("TLS is off"))?;
        TlsAcceptor::from(config).accept(stream).await
    }

    fn log_failure(&self, client: IpAddr, error: &io::Error) {
        let mut failures = lock(&self.failures);
        if failures.logged.is_some_and(|logged| logged.elapsed() < FAILURE_PAUSE) {
            failures.unlogged += 1;
            return;
        }
        let more = match std::mem::take(&mut failures.unlogged) {
            0 => String::new(),
            more => format!(" (and {more} more before it)"),
        };
        failures.logged = Some(Instant::now());
        let why = tls::failure(error);
        log::line(format_args!("TLS handshake with {client} failed: {why}{more}"));
    }
}

/// Failed handshakes.
#[derive(Default)]
struct Failures {
    logged: Option<Instant>,
    unlogged: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recently_changed_file_is_not_settled() {
        let changed = Duration::new(1000, 5);
        let stamp = Stamp::File { device: 1, inode: 1, size: 1, modified: (900, 0), changed: (1000, 5) };
        assert!(!stamp.is_settled(changed));
        assert!(!stamp.is_settled(changed + TICK));
        assert!(stamp.is_settled(changed + 2 * TICK));
        // The clock was set back.
        assert!(stamp.is_settled(Duration::ZERO));
        assert!(Stamp::Missing.is_settled(changed));
    }

    #[test]
    fn reload_reads_files_that_seem_unchanged() {
        let file = std::env::temp_dir().join(format!("jitsiexporter-test-reload-{}.yml", std::process::id()));
        let write = |value: &str| {
            fs::write(&file, format!("http_server_config: {{headers: {{X-Frame-Options: {value}}}}}")).unwrap();
        };
        write("deny");
        let config = WebConfig::load(&file).unwrap();
        let header = |rules: &Rules| rules.headers()[0].1.to_str().unwrap().to_owned();
        // As if the change were not visible in the metadata.
        lock(&config.state).files.clear();
        write("sameorigin");
        assert_eq!(header(&config.rules()), "deny");
        config.reload();
        assert_eq!(header(&config.rules()), "sameorigin");
        // A broken file changes nothing.
        write("allow");
        config.reload();
        assert_eq!(header(&config.rules()), "sameorigin");
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn settled_file_is_not_read_again() {
        let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(!Watched::new(&old).may_have_changed());
        assert!(!Watched::new(Path::new("/no/such/file")).may_have_changed());
        assert!(Watched { path: old, stamp: Some(Stamp::Missing) }.may_have_changed());
    }
}
