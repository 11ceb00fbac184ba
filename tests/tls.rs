//! A bridge behind https.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use support::{CURRENT, Exporter, command, reason, response, sample};

/// A file that is removed with its value.
struct PemFile(PathBuf);

impl PemFile {
    fn new(pem: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let file = std::env::temp_dir().join(format!("jitsiexporter-test-{}-{number}.pem", std::process::id()));
        std::fs::write(&file, pem).unwrap();
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for PemFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The certificate of a bridge with its key, and a file with the certificate to trust.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    trusted: PemFile,
}

/// The authority of these tests, new for each.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

impl Identity {
    /// Signed by an authority.
    fn signed(params: &CertificateParams) -> Self {
        let (root, key) = (authority(), KeyPair::generate().unwrap());
        let certificate = params.signed_by(&key, &root).unwrap().der().clone();
        Self { certificate, key, trusted: PemFile::new(&root.pem()) }
    }

    fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), trusted: PemFile::new(&certificate.pem()), key }
    }

    fn config(&self) -> ServerConfig {
        self.config_with(None, &[&TLS12, &TLS13])
    }

    /// The settings of a server that wants client certificates of this authority.
    fn config_with(
        &self,
        clients: Option<CertificateDer<'static>>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
        let verifier = clients.map_or_else(WebPkiClientVerifier::no_client_auth, |authority| {
            let mut roots = RootCertStore::empty();
            roots.add(authority).unwrap();
            WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap()
        });
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let chain = vec![self.certificate.clone()];
        builder.unwrap().with_client_cert_verifier(verifier).with_single_cert(chain, key.into()).unwrap()
    }
}

/// A bridge behind TLS.
struct SecureBridge {
    url: String,
    connections: Arc<AtomicUsize>,
}

/// Serves the sample report with these settings.
fn serve(config: ServerConfig) -> SecureBridge {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/colibri/stats", listener.local_addr().unwrap().port());
    let connections = Arc::new(AtomicUsize::new(0));
    let (made, config) = (Arc::clone(&connections), Arc::new(config));
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            made.fetch_add(1, Ordering::SeqCst);
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
                let mut request = [0; 4096];
                while matches!(stream.read(&mut request), Ok(1..)) {
                    if stream.write_all(response("200 OK", "application/json", CURRENT).as_bytes()).is_err() {
                        break;
                    }
                }
                // An alert would be lost if the connection were closed before everything has been read.
                while matches!(stream.sock.read(&mut request), Ok(1..)) {}
            });
        }
    });
    SecureBridge { url, connections }
}

/// One scrape of this URL fails for this reason, with these words in the log.
#[track_caller]
fn assert_failure(url: &str, args: &[&str], expected: &str, words: &str) {
    let exporter = Exporter::before(url, &[&["--timeout", "30"], args].concat());
    let text = exporter.metrics();
    assert_eq!(reason(&text), Some(expected), "{:?}", exporter.log());
    let line = exporter.wait_for_log(words);
    assert!(line.len() <= 200, "{} characters: {line}", line.len());
}

#[test]
fn trusts_the_roots_of_the_ca_file() {
    let identity = Identity::signed(&params(&["localhost"]));
    let bridge = serve(identity.config());
    let exporter = Exporter::before(&bridge.url, &["--ca-file", identity.trusted.path()]);
    for scrape in 0..3 {
        assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"), "scrape {scrape}: {:?}", exporter.log());
    }
    // A shorter budget uses the same connection.
    let answer = exporter.request("GET", "/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", "4")]);
    assert_eq!(sample(&answer.body, "jitsi_up"), Some("1"), "{:?}", exporter.log());
    assert_eq!(bridge.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn rejects_untrusted_certificate() {
    let bridge = serve(Identity::signed(&params(&["localhost"])).config());
    let words = "the certificate is from an unknown issuer; give the root certificate of its authority";
    assert_failure(&bridge.url, &[], "tls", words);
}

#[test]
fn rejects_certificate_of_another_authority_in_one_handshake() {
    let bridge = serve(Identity::signed(&params(&["localhost"])).config());
    let other = Identity::signed(&params(&["localhost"]));
    assert_failure(
        &bridge.url,
        &["--ca-file", other.trusted.path()],
        "tls",
        "the certificate is from an unknown issuer",
    );
    assert_eq!(bridge.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn rejects_certificate_for_another_name() {
    let identity = Identity::signed(&params(&["jvb.example.org", "jvb2.example.org"]));
    let bridge = serve(identity.config());
    let words = "the certificate is for another name: jvb.example.org, jvb2.example.org; use a name of the certificate";
    assert_failure(&bridge.url, &["--ca-file", identity.trusted.path()], "tls", words);
}

#[test]
fn rejects_certificate_without_a_name() {
    let identity = Identity::signed(&params(&[]));
    let bridge = serve(identity.config());
    assert_failure(&bridge.url, &["--ca-file", identity.trusted.path()], "tls", "it has no subjectAltName");
}

#[test]
fn rejects_certificate_outside_its_dates() {
    let (mut expired, mut early) = (params(&["localhost"]), params(&["localhost"]));
    expired.not_after = date_time_ymd(2020, 1, 1);
    early.not_before = date_time_ymd(2999, 1, 1);
    for (params, words) in [(expired, "the certificate has expired"), (early, "the certificate is not valid yet")] {
        let identity = Identity::signed(&params);
        let bridge = serve(identity.config());
        assert_failure(&bridge.url, &["--ca-file", identity.trusted.path()], "tls", words);
    }
}

#[test]
fn accepts_self_signed_certificate_of_a_server_in_the_ca_file() {
    let identity = Identity::self_signed(&params(&["localhost"]));
    let bridge = serve(identity.config());
    assert_failure(&bridge.url, &[], "tls", "or the certificate itself if self-signed, to --ca-file");
    let exporter = Exporter::before(&bridge.url, &["--ca-file", identity.trusted.path()]);
    assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"), "{:?}", exporter.log());
}

#[test]
fn explains_self_signed_certificate_of_an_authority() {
    // What `openssl req -x509` makes by default.
    let mut params = params(&["localhost"]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let identity = Identity::self_signed(&params);
    let bridge = serve(identity.config());
    let words = "the certificate is that of an authority (CA:TRUE); make one for a server";
    assert_failure(&bridge.url, &["--ca-file", identity.trusted.path()], "tls", words);
    assert_failure(&bridge.url, &[], "tls", words);
}

#[test]
fn explains_that_the_bridge_wants_a_client_certificate() {
    let identity = Identity::signed(&params(&["localhost"]));
    // In TLS 1.3 the alert comes after the handshake.
    for version in [&TLS13, &TLS12] {
        let config = identity.config_with(Some(authority().der().clone()), &[version]);
        let bridge = serve(config);
        let words = "the bridge wants a client certificate; jitsiexporter has none";
        assert_failure(&bridge.url, &["--ca-file", identity.trusted.path()], "tls", words);
    }
    // The alert handshake_failure, which OpenSSL sends in TLS 1.2, has several causes.
    let words = "the bridge refused the TLS handshake; it wants a client certificate, or";
    assert_failure(&plain(b"\x15\x03\x03\0\x02\x02\x28"), &[], "tls", words);
}

#[test]
fn says_to_use_https_where_a_port_speaks_tls() {
    let bridge = serve(Identity::signed(&params(&["localhost"])).config());
    let words = "the response is not HTTP: ";
    let url = bridge.url.replace("https", "http");
    assert_failure(&url, &[], "malformed", words);
    assert_failure(&url, &[], "malformed", "if the port speaks TLS, use https:// in --url");
}

/// Answers each connection with these bytes and closes it.
fn plain(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(bytes);
        }
    });
    url
}

#[test]
fn says_to_use_http_where_a_port_does_not_speak_tls() {
    let url = plain(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert_failure(&url, &[], "tls", "the port does not speak TLS; use http:// in --url");
    let words = "the connection was closed during the TLS handshake; if the port speaks plain HTTP, use http://";
    assert_failure(&plain(b""), &[], "tls", words);
}

#[test]
fn ends_a_silent_handshake_with_the_budget() {
    // Connections stay in the queue of this listener.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let exporter = Exporter::before(&format!("https://{}/", listener.local_addr().unwrap()), &["--timeout", "0.5"]);
    let start = Instant::now();
    assert_eq!(reason(&exporter.metrics()), Some("timeout"), "{:?}", exporter.log());
    assert!((0.4..10.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    exporter.wait_for_log("timed out in the TLS handshake");
}

/// Scrapes bridges that send these bytes slowly, one by one. Whether a byte comes just before or just after the end of the budget
/// is chance, so there are several pauses between them.
fn drip(trusted: &PemFile, bytes: impl Fn(&mut TcpStream) -> Vec<u8> + Clone + Send + 'static) {
    let ask = |gap: u64| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let bytes = bytes.clone();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            for byte in bytes(&mut socket) {
                if socket.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(gap));
            }
        });
        let exporter = Exporter::before(&url, &["--timeout", "0.5", "--ca-file", trusted.path()]);
        (gap, exporter)
    };
    for (gap, exporter) in [5, 10, 20, 35, 50, 70, 90].map(ask) {
        let text = exporter.metrics();
        assert_eq!(reason(&text), Some("timeout"), "{gap} ms: {:?}", exporter.log());
        let took: f64 = sample(&text, "jitsi_scrape_duration_seconds").unwrap().parse().unwrap();
        assert!((0.4..10.0).contains(&took), "{gap} ms: {took} s");
    }
}

#[test]
fn ends_a_slow_handshake_with_the_budget() {
    // A record of 16 KiB, which takes more than a minute.
    let record = [&[0x16, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
    drip(&Identity::signed(&params(&["localhost"])).trusted, move |_| record.clone());
}

#[test]
fn ends_a_slow_response_with_the_budget() {
    let identity = Identity::signed(&params(&["localhost"]));
    let config = Arc::new(identity.config());
    drip(&identity.trusted, move |socket| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let _ = connection.complete_io(socket);
        let body = " ".repeat(8000) + CURRENT;
        let _ = connection.writer().write_all(response("200 OK", "application/json", &body).as_bytes());
        let mut record = Vec::new();
        let _ = connection.write_tls(&mut record);
        record
    });
}

#[test]
fn rejects_ca_file_without_a_certificate() {
    for (file, complaint) in [
        ("/no/such/file.pem", "--ca-file: \"/no/such/file.pem\" cannot be read: no such file or directory"),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "/Cargo.toml\" has no PEM certificate"),
        ("/", "cannot be read: is a directory"),
        ("/dev/zero", "\"/dev/zero\" is larger than 4 MiB"),
    ] {
        let output = command(&["--once", "--ca-file", file], &[]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(complaint) && error.lines().count() == 1, "{error}");
    }
}
