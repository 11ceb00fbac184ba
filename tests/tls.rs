//! A bridge behind https: which certificates are trusted, why others are rejected, and slow handshakes.

#[path = "support/locked.rs"]
mod locked;
mod support;

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use locked::{Folder, Identity, authority};
use rcgen::{BasicConstraints, CertificateParams, IsCa, SanType, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use support::faults::{assert_failure, assert_timeout};
use support::{CURRENT, Exporter, FakeBridge, ok};

/// The settings of a bridge with this certificate. It may require client certificates of an authority.
fn config(
    identity: &Identity,
    clients: Option<&locked::Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
    let verifier = clients.map_or_else(WebPkiClientVerifier::no_client_auth, |authority| {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap()
    });
    let (chain, key) = (vec![identity.der.clone()], identity.key_der.clone_key());
    builder.unwrap().with_client_cert_verifier(verifier).with_single_cert(chain, key.into()).unwrap()
}

/// A bridge that serves the sample report by TLS.
fn serve(config: ServerConfig) -> FakeBridge {
    let config = Arc::new(config);
    FakeBridge::raw(move |socket| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), &mut *socket);
        while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
            stream.write_all(ok(CURRENT).as_bytes())?;
        }
        // An alert would be lost if the connection were closed before everything has been read.
        while matches!(socket.read(&mut [0; 4096]), Ok(1..)) {}
        Ok(())
    })
}

fn https(bridge: &FakeBridge) -> String {
    format!("https://localhost:{}/colibri/stats", bridge.address().port())
}

/// Both versions of TLS.
const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// Sets the names of a certificate.
fn name(params: &mut CertificateParams, names: &[&str]) {
    let names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
    params.subject_alt_names = names.collect();
}

#[test]
fn trusts_the_certificates_of_the_ca_file() {
    let (folder, root) = (Folder::new(), authority("root"));
    let self_signed = Identity::new(None, |params| name(params, &["localhost"]));
    for (identity, trusted) in [(&Identity::server(&root), &root.pem()), (&self_signed, &self_signed.pem)] {
        let file = folder.write("trusted.pem", trusted);
        // The HTTPS port of a bridge speaks TLS 1.2 only, because its default cipher suites are.
        for versions in [BOTH, &[&TLS12], &[&TLS13]] {
            let bridge = serve(config(identity, None, versions));
            let exporter = Exporter::before(&https(&bridge), &["--ca-file", &file]);
            // A shorter budget uses the same connection.
            for budget in ["30", "30", "4"] {
                let answer = exporter.request("GET", "/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", budget)]);
                assert!(answer.exposition().is_up(), "{:?}", exporter.log());
            }
            assert_eq!(bridge.accepted(), 1);
        }
    }
}

#[test]
fn rejects_certificates_and_says_why() {
    type Change = fn(&mut CertificateParams);
    let (folder, root, other) = (Folder::new(), authority("root"), authority("other"));
    let (signed, self_signed) = (Some(&root), None);
    let nothing: Change = |_| {};
    // What `openssl req -x509` makes by default.
    let is_ca: Change = |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let for_others: Change = |params| name(params, &["jvb.example.org", "jvb2.example.org"]);
    for (issuer, change, trusted, words) in [
        (signed, nothing, "", "from an unknown issuer; pass the root certificate of its authority"),
        (signed, nothing, "other", "the certificate is from an unknown issuer"),
        (self_signed, nothing, "", "or the certificate itself if self-signed, to --ca-file"),
        (self_signed, is_ca, "", "an authority's (CA:TRUE); make one for a server"),
        (self_signed, is_ca, "itself", "an authority's (CA:TRUE); make one for a server"),
        (
            signed,
            for_others,
            "root",
            "is for another name: jvb.example.org, jvb2.example.org; use a name of the certificate",
        ),
        (signed, |params| name(params, &[]), "root", "has no name (subjectAltName); make one with the host of --url"),
        (signed, |params| params.not_after = date_time_ymd(2020, 1, 1), "root", "the certificate has expired"),
        (signed, |params| params.not_before = date_time_ymd(2999, 1, 1), "root", "the certificate is not valid yet"),
    ] {
        let identity = Identity::new(issuer, |params| {
            name(params, &["localhost"]);
            change(params);
        });
        let file = match trusted {
            "root" => folder.write("trusted.pem", &root.pem()),
            "other" => folder.write("trusted.pem", &other.pem()),
            _ => folder.write("trusted.pem", &identity.pem),
        };
        let args: &[&str] = if trusted.is_empty() { &[] } else { &["--ca-file", &file] };
        let bridge = serve(config(&identity, None, BOTH));
        assert_failure(&https(&bridge), args, "tls", words);
        assert_eq!(bridge.accepted(), 1, "{words}: one handshake is enough");
    }
}

#[test]
fn explains_that_the_bridge_wants_a_client_certificate() {
    let (folder, root) = (Folder::new(), authority("root"));
    let file = folder.write("root.pem", &root.pem());
    // In TLS 1.3 the alert comes after the handshake.
    for version in BOTH {
        let bridge = serve(config(&Identity::server(&root), Some(&root), &[version]));
        let words = "the bridge wants a client certificate; jitsiexporter cannot send one";
        assert_failure(&https(&bridge), &["--ca-file", &file], "tls", words);
    }
    // The alerts handshake_failure, which OpenSSL sends in TLS 1.2, and protocol_version have several causes.
    let words = "the bridge refused the TLS handshake; it wants a client certificate, or";
    for alert in [b"\x15\x03\x03\0\x02\x02\x28", b"\x15\x03\x03\0\x02\x02\x46"] {
        assert_failure(&https(&plain(alert)), &[], "tls", words);
    }
}

/// Runs openssl in a folder. None if it is not installed.
fn openssl(folder: &Folder, args: &str) -> Option<()> {
    let mut command = Command::new("openssl");
    match command.args(args.split(' ')).current_dir(folder.path()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
            Some(())
        }
    }
}

/// A server of openssl, which is stopped when the value is dropped. Its output stays open, so that it can write to it.
struct Openssl {
    child: Child,
    port: u16,
    _output: BufReader<ChildStdout>,
}

impl Openssl {
    /// Starts it with `key.pem` and `cert.pem` of a folder, on a port that the system chooses. openssl serves any kind of key.
    fn serve(folder: &Folder) -> Self {
        let args = "s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -cipher ALL:@SECLEVEL=0";
        let mut command = Command::new("openssl");
        command.args(args.split(' ')).current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.by_ref().lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:")?.parse().ok()).expect("openssl serves");
        Self { child, port, _output: output }
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn explains_kinds_of_certificates_that_are_not_supported() {
    let folder = Folder::new();
    let refused = "the bridge refused the TLS handshake; it wants a client certificate, or its key is not RSA, P-256";
    let kind = |detail: &str| format!("of a kind that is not supported: {detail}; use X.509 v3 with a key that is RSA");
    let signed = |algorithm: &str| kind(&format!("it is signed with {algorithm}"));
    for (key, words) in [
        ("ec -pkeyopt ec_paramgen_curve:P-521", refused.to_owned()),
        ("rsa-pss", refused.to_owned()),
        ("ed448", refused.to_owned()),
        ("rsa:2048 -sigopt rsa_padding_mode:pss", signed("RSA-PSS")),
        ("rsa:2048 -sha1", signed("RSA and SHA-1")),
        ("ec -pkeyopt ec_paramgen_curve:P-256 -sha512", signed("ECDSA and SHA-512")),
        ("rsa:1024", "the signature of the certificate is not valid; is it from another authority".to_owned()),
        ("X.509 v1", kind("it is not X.509 v3")),
    ] {
        let made = if key == "X.509 v1" {
            let request = "req -new -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=localhost -out request.pem";
            let sign = "x509 -req -in request.pem -signkey key.pem -out cert.pem";
            openssl(&folder, request).and_then(|()| openssl(&folder, sign))
        } else {
            let names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE";
            openssl(&folder, &format!("req -x509 -nodes -keyout key.pem -out cert.pem {names} -newkey {key}"))
        };
        if made.is_none() {
            println!("not tested: this machine has no openssl");
            return;
        }
        let bridge = Openssl::serve(&folder);
        let trusted = folder.path().join("cert.pem");
        let args = ["--ca-file", trusted.to_str().unwrap()];
        let url = format!("https://localhost:{}/colibri/stats", bridge.port);
        let exporter = assert_failure(&url, &args, "tls", &words);
        assert_eq!(exporter.log().len(), 2, "{:?}", exporter.log());
    }
}

/// Answers each connection with these bytes and closes it.
fn plain(bytes: &'static [u8]) -> FakeBridge {
    FakeBridge::raw(|socket| {
        let _ = socket.read(&mut [0; 1000]);
        socket.write_all(bytes)
    })
}

#[test]
fn says_which_scheme_to_use() {
    let bridge = serve(config(&Identity::server(&authority("root")), None, BOTH));
    let exporter = assert_failure(&bridge.url(), &[], "malformed", "the response is not HTTP: ");
    exporter.wait_for_log("if the port speaks TLS, use https:// in --url");
    let bridge = plain(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert_failure(&https(&bridge), &[], "tls", "the port does not speak TLS; use http:// in --url");
    let words = "the connection was closed during the TLS handshake; if the port speaks plain HTTP, use http://";
    assert_failure(&https(&plain(b"")), &[], "tls", words);
}

#[test]
fn ends_a_silent_handshake_with_the_budget() {
    // Connections stay in the queue of this listener.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_timeout(&format!("https://{}/", listener.local_addr().unwrap()), "timed out in the TLS handshake");
}

/// Scrapes bridges that send these bytes slowly, one by one. Different pauses are tried, because it is chance whether a byte
/// arrives just before or just after the end of the budget.
fn drip(trusted: &str, bytes: impl Fn(&mut TcpStream) -> Vec<u8> + Clone + Send + Sync + 'static) {
    let ask = |gap: u64| {
        let bytes = bytes.clone();
        let bridge = FakeBridge::raw(move |socket| {
            bytes(socket).into_iter().try_for_each(|byte| {
                sleep(Duration::from_millis(gap));
                socket.write_all(&[byte])
            })
        });
        let exporter = Exporter::before(&https(&bridge), &["--timeout", "0.5", "--ca-file", trusted]);
        (gap, exporter, bridge)
    };
    for (gap, exporter, _bridge) in [5, 10, 20, 35, 50, 70, 90].map(ask) {
        let scrape = exporter.metrics();
        assert_eq!(scrape.reason(), Some("timeout"), "{gap} ms: {:?}", exporter.log());
        let took = scrape.number("jitsi_scrape_duration_seconds").unwrap();
        assert!((0.4..10.0).contains(&took), "{gap} ms: {took} s");
    }
}

#[test]
fn ends_slow_handshakes_and_responses_with_the_budget() {
    let (folder, root) = (Folder::new(), authority("root"));
    let trusted = folder.write("root.pem", &root.pem());
    // A record of 16 KiB, which takes more than a minute.
    let record = [&[0x16, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
    drip(&trusted, move |_| record.clone());
    let config = Arc::new(config(&Identity::server(&root), None, BOTH));
    drip(&trusted, move |socket| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let _ = connection.complete_io(socket);
        let _ = connection.writer().write_all(ok(&(" ".repeat(8000) + CURRENT)).as_bytes());
        let mut record = Vec::new();
        let _ = connection.write_tls(&mut record);
        record
    });
}
