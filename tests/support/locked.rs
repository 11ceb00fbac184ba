//! For tests of the web configuration: certificates, files and a TLS client.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::support::Answer;

/// The beginning of a handshake: the headers of a message that never arrives whole.
pub const HALF: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

/// A folder that is removed when the value is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("jitsiexporter-test-web-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("a new folder");
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in place, as most tools do, and returns its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Replaces a file atomically.
    pub fn replace(&self, name: &str, content: &str) {
        self.write("new", content);
        std::fs::rename(self.0.join("new"), self.0.join(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority that signs certificates.
pub type Authority = CertifiedIssuer<'static, KeyPair>;

pub fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = called(name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn called(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A certificate and its key.
pub struct Identity {
    pub pem: String,
    pub key: String,
    pub der: CertificateDer<'static>,
    pub key_der: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// Signed by an authority, or self-signed.
    pub fn new(issuer: Option<&Authority>, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = called("identity");
        change(&mut params);
        Self::with_key(issuer, &KeyPair::generate().unwrap(), &params)
    }

    fn with_key(issuer: Option<&Authority>, key: &KeyPair, params: &CertificateParams) -> Self {
        let certificate = match issuer {
            Some(issuer) => params.signed_by(key, issuer),
            None => params.self_signed(key),
        };
        let certificate = certificate.unwrap();
        let key_der = PrivatePkcs8KeyDer::from(key.serialize_der());
        Self { pem: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec().into(), key_der }
    }

    /// Reads a file that holds both.
    pub fn from_pem(pem: &str) -> Self {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let key_der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        Self { pem: pem.to_owned(), key: pem.to_owned(), der, key_der }
    }

    /// The certificate of a server at localhost.
    pub fn server(issuer: &Authority) -> Self {
        Self::server_with(issuer, &KeyPair::generate().unwrap())
    }

    /// The same with a key.
    pub fn server_with(issuer: &Authority, key: &KeyPair) -> Self {
        Self::with_key(Some(issuer), key, &CertificateParams::new(["localhost".to_owned()]).unwrap())
    }
}

/// A client that trusts a root.
pub fn client(root: &Authority, identity: Option<&Identity>) -> Arc<ClientConfig> {
    client_of(root, identity, rustls::ALL_VERSIONS)
}

pub fn client_of(
    root: &Authority,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(root.der().to_vec().into()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match identity {
        Some(identity) => {
            let key = identity.key_der.clone_key();
            builder.with_client_auth_cert(vec![identity.der.clone()], key.into()).unwrap()
        }
        None => builder.with_no_client_auth(),
    })
}

/// A TLS connection.
pub struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Connection {
    /// Connects, and completes the handshake as far as the client is concerned.
    pub fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Self(BufReader::new(StreamOwned::new(connection, socket))))
    }

    /// The certificate of the server.
    pub fn certificate(&self) -> Vec<u8> {
        self.0.get_ref().conn.peer_certificates().expect("a handshake")[0].to_vec()
    }

    pub fn get(&mut self, path: &str, headers: &str) -> io::Result<Answer> {
        self.request("GET", path, headers)
    }

    /// One request. `headers` are whole lines.
    pub fn request(&mut self, method: &str, path: &str, headers: &str) -> io::Result<Answer> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        Answer::read(&mut self.0)
    }
}

/// One request on a new connection.
pub fn get(address: SocketAddr, config: &Arc<ClientConfig>, path: &str, headers: &str) -> io::Result<Answer> {
    Connection::open(address, config)?.get(path, headers)
}

/// The `Authorization` header, as a whole line.
pub fn basic(user: &str, password: &str) -> String {
    authorization(&format!("{user}:{password}"))
}

/// The same for credentials that may lack their colon.
pub fn authorization(credentials: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64.encode(credentials))
}

/// A bcrypt hash as htpasswd makes it.
pub fn hash(password: &str, cost: u32) -> String {
    bcrypt::hash(password, cost).unwrap().replacen("$2b$", "$2y$", 1)
}

/// The section with users and their passwords.
pub fn users(passwords: &[(&str, &str)], cost: u32) -> String {
    let lines = passwords.iter().map(|(user, password)| format!("  {user}: {}\n", hash(password, cost)));
    lines.fold("basic_auth_users:\n".to_owned(), |section, line| section + &line)
}
