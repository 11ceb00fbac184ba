//! A bridge behind https.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::{CURRENT, Exporter, command, reason, response, sample};

/// A certificate, and the file with the root that vouches for it. The file goes with the value.
struct Authority {
    config: Arc<ServerConfig>,
    root: PathBuf,
}

impl Authority {
    /// Vouches for these names.
    fn of(names: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &root).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key.into()).unwrap());

        let name =
            format!("jitsiexporter-test-root-{}-{}.pem", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, root.pem()).unwrap();
        Self { config, root: file }
    }

    /// The path of the file.
    fn file(&self) -> &str {
        self.root.to_str().unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.root);
    }
}

/// A bridge behind TLS.
struct SecureBridge {
    url: String,
    authority: Authority,
    connections: Arc<AtomicUsize>,
}

/// Serves the sample report with a certificate for these names.
fn bridge(names: &[&str]) -> SecureBridge {
    let authority = Authority::of(names);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/colibri/stats", listener.local_addr().unwrap().port());
    let connections = Arc::new(AtomicUsize::new(0));
    let (made, config) = (Arc::clone(&connections), Arc::clone(&authority.config));
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
            });
        }
    });
    SecureBridge { url, authority, connections }
}

#[test]
fn a_root_of_ones_own_is_trusted_beside_the_public_ones() {
    let bridge = bridge(&["localhost"]);
    let exporter = Exporter::before(&bridge.url, &["--ca-file", bridge.authority.file()]);
    for scrape in 0..3 {
        assert_eq!(sample(&exporter.metrics(), "jitsi_up"), Some("1"), "scrape {scrape}: {:?}", exporter.log());
    }
    // A budget of its own does not make another connection of it.
    let answer = exporter.request("GET", "/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", "4")]);
    assert_eq!(sample(&answer.body, "jitsi_up"), Some("1"), "{:?}", exporter.log());
    assert_eq!(bridge.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_certificate_of_nobody_is_refused() {
    let bridge = bridge(&["localhost"]);
    let exporter = Exporter::before(&bridge.url, &[]);
    let text = exporter.metrics();
    assert_eq!(reason(&text), Some("tls"), "{text}");
    exporter.wait_for_log("the TLS handshake failed: invalid peer certificate: UnknownIssuer");
}

#[test]
fn the_public_roots_are_asked_as_well_as_those_of_ones_own() {
    let (bridge, other) = (bridge(&["localhost"]), self::bridge(&["localhost"]));
    let exporter = Exporter::before(&bridge.url, &["--ca-file", other.authority.file()]);
    for scrape in 1..=2 {
        assert_eq!(reason(&exporter.metrics()), Some("tls"));
        assert_eq!(bridge.connections.load(Ordering::SeqCst), 2 * scrape, "one by each");
    }
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let bridge = bridge(&["jvb.example.org"]);
    let exporter = Exporter::before(&bridge.url, &["--ca-file", bridge.authority.file()]);
    assert_eq!(reason(&exporter.metrics()), Some("tls"));
    exporter.wait_for_log("certificate not valid for name");
}

#[test]
fn https_to_a_port_that_speaks_http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, mut stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let _ = stream.read(&mut [0; 1000]);
            if number == 0 {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            }
            // The second is hung up on without a word.
        }
    });
    let exporter = Exporter::before(&url, &[]);
    for _ in 0..2 {
        assert_eq!(reason(&exporter.metrics()), Some("tls"), "{:?}", exporter.log());
    }
}

#[test]
fn a_handshake_that_hangs() {
    // Connections wait in its queue for ever.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let exporter = Exporter::before(&format!("https://{}/", listener.local_addr().unwrap()), &["--timeout", "0.5"]);
    let start = Instant::now();
    assert_eq!(reason(&exporter.metrics()), Some("timeout"), "{:?}", exporter.log());
    assert!((0.4..10.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    exporter.wait_for_log("timed out in the TLS handshake");
}

/// Asks bridges that answer a connection with these bytes, one by one. Whether a byte comes just before or just after the
/// budget has run out is chance, so there are several gaps between them.
fn drip(authority: &Authority, bytes: impl Fn(&mut TcpStream) -> Vec<u8> + Clone + Send + 'static) {
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
        let exporter = Exporter::before(&url, &["--timeout", "0.5", "--ca-file", authority.file()]);
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
fn a_handshake_that_drips() {
    // A record of 16 KiB, which takes more than a minute.
    let record = [&[0x16, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
    drip(&Authority::of(&["localhost"]), move |_| record.clone());
}

#[test]
fn an_answer_that_drips() {
    let authority = Authority::of(&["localhost"]);
    let config = Arc::clone(&authority.config);
    drip(&authority, move |socket| {
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
fn a_file_that_holds_no_certificate_is_a_usage_error() {
    for (file, complaint) in [
        ("/no/such/file.pem", "--ca-file: \"/no/such/file.pem\" cannot be used: no such file or directory"),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "it holds no PEM certificate"),
        ("/", "cannot be used: is a directory"),
        ("/dev/zero", "it is larger than 4 MiB"),
    ] {
        let output = command(&["--once", "--ca-file", file], &[]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(complaint) && error.lines().count() == 1, "{error}");
    }
}
