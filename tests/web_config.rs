//! `--web-config-file`: which clients are served.

#[path = "support/locked.rs"]
mod locked;
mod support;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use locked::{
    Authority, Connection, Folder, HALF, Identity, authority, authorization, basic, client, client_of, get, hash, users,
};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType, date_time_ymd};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use support::{Answer, CURRENT, Exporter, Exposition, FakeBridge, command, eventually, run};

/// The section for TLS with the files that [`Server`] writes.
const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

/// Certificates of kinds that are not supported.
const KINDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kinds");

/// An exporter with a web configuration.
struct Server {
    exporter: Exporter,
    folder: Folder,
    root: Authority,
    _bridge: FakeBridge,
}

impl Server {
    /// Starts one. `files` are written beside `web.yml`, `cert.pem` and `key.pem`.
    fn start(config: &str, files: &[(&str, &str)]) -> Self {
        let (folder, root) = (Folder::new(), authority("root"));
        let identity = Identity::server(&root);
        folder.write("cert.pem", &identity.pem);
        folder.write("key.pem", &identity.key);
        for (name, content) in files {
            folder.write(name, content);
        }
        let file = folder.write("web.yml", config);
        let bridge = FakeBridge::json(CURRENT);
        let exporter = Exporter::before(&bridge.url(), &["--web-config-file", &file]);
        Self { exporter, folder, root, _bridge: bridge }
    }

    fn address(&self) -> SocketAddr {
        self.exporter.address()
    }

    fn client(&self) -> Arc<ClientConfig> {
        client(&self.root, None)
    }

    /// Whether a client gets the metrics.
    fn lets_in(&self, client: &Arc<ClientConfig>) -> bool {
        get(self.address(), client, "/metrics", "").is_ok_and(|got| {
            assert!(got.status == 200 && Exposition::of(&got.body).is_up(), "{got:?}");
            true
        })
    }

    /// The response that a user gets over plain HTTP.
    fn answer(&self, user: &str, password: &str) -> Answer {
        let header = basic(user, password);
        let value = header.trim_end().strip_prefix("Authorization: ").unwrap();
        self.exporter.request("GET", "/metrics", &[("Authorization", value)])
    }

    fn status(&self, user: &str, password: &str) -> u16 {
        self.answer(user, password).status
    }
}

#[test]
fn serves_over_tls() {
    let server = Server::start(TLS, &[]);
    let mut connection = Connection::open(server.address(), &server.client()).unwrap();
    for path in ["/metrics", "/health", "/", "/metrics"] {
        assert_eq!(connection.get(path, "").unwrap().status, 200, "{path}");
    }
    assert_eq!(connection.get("/none", "").unwrap().status, 404);
    assert!(server.exporter.log()[0].contains("listens on https://"), "{:?}", server.exporter.log());
    // A client that trusts another root.
    assert!(!server.lets_in(&client(&authority("other"), None)));
    let line = "failed: the client does not trust the certificate in cert_file (alert unknown_ca)";
    server.exporter.wait_for_log(line);
}

#[test]
fn plain_http_on_the_tls_port_gets_400() {
    let server = Server::start(TLS, &[]);
    let answer = server.exporter.get("/metrics");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, "Client sent an HTTP request to an HTTPS server.\n");
    server.exporter.wait_for_log("TLS handshake with 127.0.0.1 failed: the client speaks plain HTTP");
    assert!(server.lets_in(&server.client()));
}

/// The rows of the table: kind, expectation, and a configuration or credentials.
fn table() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let rows = include_str!("web_config.tsv").lines().filter(|line| !line.starts_with('#'));
    let users = users(&[("alice", "secret"), ("bob", "")], 4);
    rows.map(move |row| {
        let mut columns = row.splitn(3, '\t');
        let [kind, expected, text] = [(); 3].map(|()| columns.next().expect("three columns"));
        let text = text
            .replace("\\n", "\n")
            .replace("\\t", "\t")
            .replace("SERVER", "cert_file: server.pem, key_file: server.key");
        (kind, expected, text.replace("USERS", &users))
    })
}

/// The files that the table names, and its clients.
struct Files {
    folder: Folder,
    root: Authority,
    clients: Vec<(&'static str, Option<Identity>)>,
}

impl Files {
    fn new() -> Self {
        let (folder, root) = (Folder::new(), authority("root"));
        let (clients, another, forger) = (authority("clients"), authority("another"), authority("clients"));
        let of = |issuer, usage: Option<ExtendedKeyUsagePurpose>, name: &str| {
            Identity::new(issuer, |params| {
                params.extended_key_usages = usage.into_iter().collect();
                params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
            })
        };
        let listed = |years: [i32; 2], usages: &[ExtendedKeyUsagePurpose]| {
            Identity::new(None, |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                [params.not_before, params.not_after] = years.map(|year| date_time_ymd(year, 1, 1));
                params.extended_key_usages = usages.to_vec();
            })
        };
        let from_client = Some(ExtendedKeyUsagePurpose::ClientAuth);
        let named = "prometheus.example";
        let identities = vec![
            ("client", of(Some(&clients), from_client.clone(), named)),
            ("other", of(Some(&clients), None, "other.example")),
            ("server", of(Some(&clients), Some(ExtendedKeyUsagePurpose::ServerAuth), named)),
            ("stranger", of(Some(&another), from_client, named)),
            // An issuer of the right name with another key.
            ("forged", of(Some(&forger), None, "other.example")),
            ("expired", Identity::new(Some(&clients), |params| params.not_after = date_time_ymd(2020, 1, 1))),
            ("early", Identity::new(Some(&clients), |params| params.not_before = date_time_ymd(4000, 1, 1))),
            // Signed by itself, and in client_ca_file.
            ("listed", listed([2010, 4000], &[])),
            ("listed-expired", listed([2010, 2020], &[])),
            ("listed-early", listed([4000, 4010], &[])),
            ("listed-unfit", listed([2010, 4000], &[ExtendedKeyUsagePurpose::ServerAuth])),
            ("unknown", Identity::new(None, |_| {})),
        ];
        let listed = identities.iter().filter(|(name, _)| name.starts_with("listed"));
        let listed: String = listed.map(|(_, identity)| &*identity.pem).collect();
        folder.write("ca.pem", &(clients.pem() + &listed));
        folder.write("another.pem", &another.pem());
        let kinds = [("P-384", &PKCS_ECDSA_P384_SHA384), ("Ed25519", &PKCS_ED25519)];
        let others = ["server", "renewed", "other"].map(|name| (name, &PKCS_ECDSA_P256_SHA256));
        for (name, kind) in kinds.into_iter().chain(others) {
            let identity = Identity::server_with(&root, &KeyPair::generate_for(kind).unwrap());
            folder.write(&format!("{name}.pem"), &identity.pem);
            folder.write(&format!("{name}.key"), &identity.key);
        }
        for file in std::fs::read_dir(KINDS).unwrap().map(|entry| entry.unwrap()) {
            let content = std::fs::read_to_string(file.path()).unwrap();
            folder.write(file.file_name().to_str().unwrap(), &content);
        }
        folder.write("empty.pem", "");
        folder.write("broken.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
        folder.write("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        folder.write("locked.key", locked);
        let certified = identities.into_iter().map(|(name, identity)| (name, Some(identity)));
        Self { folder, root, clients: [("none", None)].into_iter().chain(certified).collect() }
    }

    /// Whether a client gets the metrics and the state of health.
    fn admits(address: SocketAddr, client: &Arc<ClientConfig>, password: &str) -> bool {
        let [metrics, health] = ["/metrics", "/health"].map(|path| get(address, client, path, password));
        let statuses = (metrics.map(|got| got.status).ok(), health.map(|got| got.status).ok());
        assert!([(Some(200), Some(200)), (None, None)].contains(&statuses), "{statuses:?}");
        statuses.0.is_some()
    }
}

#[test]
fn serves_the_clients_of_the_table() {
    let files = Files::new();
    let file = files.folder.write("web.yml", "");
    let mut started = None;
    for (kind, expected, config) in table().filter(|(kind, ..)| ["serve", "change"].contains(kind)) {
        files.folder.replace("web.yml", &config);
        if kind == "serve" {
            let arguments = ["--demo", "--listen-address", "127.0.0.1:0", "--web-config-file", &file];
            started = Some(Exporter::start(&arguments, &[]));
        }
        let exporter: &Exporter = started.as_ref().expect("a row to serve before one to change");
        let has_users = config.contains("alice: ");
        let password = if has_users { basic("alice", "secret") } else { String::new() };
        let over_http = |header: &str| {
            let value = header.trim_end().strip_prefix("Authorization: ");
            let headers: Vec<_> = value.map(|value| ("Authorization", value)).into_iter().collect();
            exporter.request("GET", "/metrics", &headers).status
        };
        let words: Vec<_> = expected.split(' ').collect();
        let (scheme, status) = if words == ["http"] { ("http", 200) } else { ("https", 400) };
        let first_line = &exporter.log()[0];
        assert!(first_line.contains(&format!("listens on {scheme}://")), "{config}: {first_line}");
        assert_eq!(over_http(&password), status, "{config}");
        let mut admitted = None;
        for (version, protocol) in [("TLS12", &TLS12), ("TLS13", &TLS13)].into_iter().filter(|_| scheme == "https") {
            let by_version = words.contains(&version) || !words.iter().any(|word| word.starts_with("TLS"));
            for (name, identity) in &files.clients {
                let client = client_of(&files.root, identity.as_ref(), &[protocol]);
                let wanted = by_version && (words.contains(name) || *name != "none" && words.contains(&"any"));
                assert_eq!(
                    Files::admits(exporter.address(), &client, &password),
                    wanted,
                    "{name} by {version}: {config}"
                );
                admitted = admitted.or(wanted.then_some(client));
            }
        }
        // Twice: the second time a right password is known.
        let users: Vec<_> = table().filter(|(kind, ..)| has_users && *kind == "user").collect();
        for (_, status, credentials) in users.iter().chain(&users) {
            let header = if credentials.is_empty() { String::new() } else { authorization(credentials) };
            let found = match &admitted {
                Some(client) => get(exporter.address(), client, "/metrics", &header).unwrap().status,
                None => over_http(&header),
            };
            assert_eq!(found.to_string(), *status, "{credentials}: {config}");
        }
    }
}

#[test]
fn names_the_kind_of_a_client_certificate_that_is_not_supported() {
    let read = |name: &str| std::fs::read_to_string(format!("{KINDS}/{name}.pem")).unwrap();
    let config = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n");
    for (kind, why) in [
        (
            "P-521",
            "is not accepted: a key of this kind is not supported with this signature: P-521, ECDSA with SHA-256",
        ),
        ("Ed448", "is not accepted: a signature of this kind is not supported: Ed448"),
        ("RSA-PSS", "is not accepted: a signature of this kind is not supported: RSA-PSS"),
        ("RSA-1024", "is not accepted: an RSA key of this size is not supported: 1024 bits (2048 to 8192 are)"),
        ("SHA-512", "is not accepted: a signature of this kind is not supported: ECDSA with SHA-512"),
        ("SHA-1", "is not accepted: a signature of this kind is not supported: ECDSA with SHA-1"),
    ] {
        // One for each, because failed handshakes are logged every ten seconds only.
        let server = Server::start(&config, &[("clients.pem", &read("authorities"))]);
        let client = client(&server.root, Some(&Identity::from_pem(&read(&format!("client-{kind}")))));
        assert!(!server.lets_in(&client), "{kind}");
        server.exporter.wait_for_log(&format!("failed: the client's certificate {why}"));
    }
}

#[test]
fn adds_headers_to_every_response() {
    let config = |value: &str| {
        let users = users(&[("alice", "secret")], 4);
        format!(
            "http_server_config:\n  headers:\n    X-Frame-Options: {value}\n    X-XSS-Protection: 1; mode=block\n{users}"
        )
    };
    let server = Server::start(&config("deny"), &[]);
    let has = |value: &str| {
        let credentials = basic("alice", "secret").trim_end().replace("Authorization: ", "");
        let authorization = [("Authorization", &*credentials)];
        for (method, path, headers, status) in [
            ("GET", "/metrics", &authorization[..], 200),
            ("GET", "/metrics", &[], 401),
            ("HEAD", "/health", &[], 200),
            ("GET", "/none", &authorization, 404),
            ("POST", "/metrics", &authorization, 405),
            ("OPTIONS", "/", &authorization, 204),
        ] {
            let answer = server.exporter.request(method, path, headers);
            assert_eq!(answer.status, status, "{method} {path}");
            let found = (answer.header("x-frame-options"), answer.header("x-xss-protection"));
            assert_eq!(found, (Some(value), Some("1; mode=block")), "{method} {path}");
        }
    };
    has("deny");
    server.folder.replace("web.yml", &config("sameorigin"));
    has("sameorigin");
}

#[test]
fn logs_once_what_is_left_out() {
    let ciphers = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_X";
    let config = format!(
        "{TLS}  min_version: TLS11\n  cipher_suites: [{ciphers}]\n  curve_preferences: [CurveP521, CurveP384]\n"
    );
    let server = Server::start(&config, &[]);
    for _ in 0..3 {
        assert!(server.lets_in(&server.client()));
    }
    server.exporter.wait_for_log("curve_preferences");
    let log = server.exporter.log();
    for note in [
        "web.yml: tls_server_config.min_version: TLS11 is not supported and read as TLS12",
        "web.yml: tls_server_config.cipher_suites: not supported and left out: TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_X",
        "web.yml: tls_server_config.curve_preferences: not supported and left out: CurveP521",
    ] {
        assert_eq!(log.iter().filter(|line| line.ends_with(note)).count(), 1, "{note}: {log:#?}");
    }
}

#[test]
fn requires_an_allowed_san() {
    let root = authority("clients");
    let identity = |names: &[SanType]| Identity::new(Some(&root), |params| params.subject_alt_names = names.to_vec());
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let ip = |address: &str| SanType::IpAddress(address.parse::<IpAddr>().unwrap());
    let sans = "[prometheus.example, 10.1.2.3, '2001:db8::1', me@example.org, 'spiffe://example.org/prometheus', '*.w.example']";
    let config = format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: {sans}\n"
    );
    let server = Server::start(&config, &[("ca.pem", &root.pem())]);
    for (names, allowed) in [
        (vec![dns("prometheus.example")], true),
        (vec![dns("other.example"), dns("prometheus.example")], true),
        (vec![ip("10.1.2.3")], true),
        (vec![ip("2001:db8:0::1")], true),
        (vec![SanType::Rfc822Name("me@example.org".try_into().unwrap())], true),
        (vec![SanType::URI("spiffe://example.org/prometheus".try_into().unwrap())], true),
        (vec![dns("*.w.example")], true),
        // Only an exact match counts.
        (vec![dns("a.w.example")], false),
        (vec![dns("Prometheus.example")], false),
        (vec![dns("a.prometheus.example")], false),
        (vec![ip("10.1.2.4")], false),
        (vec![SanType::URI("spiffe://example.org/".try_into().unwrap())], false),
        (vec![], false),
    ] {
        assert_eq!(server.lets_in(&client(&server.root, Some(&identity(&names)))), allowed, "{names:?}");
    }
    server
        .exporter
        .wait_for_log("the client's certificate is not accepted: none of its names is in client_allowed_sans");
}

#[test]
fn every_path_but_health_requires_a_password() {
    let server = Server::start(&users(&[("alice", "secret")], 4), &[]);
    let without = |method: &str, path: &str| server.exporter.request(method, path, &[]);
    for (method, path) in [
        ("GET", "/metrics"),
        ("HEAD", "/metrics"),
        ("POST", "/metrics"),
        ("GET", "/"),
        ("GET", "/none"),
        ("GET", "/health/"),
        ("GET", "//health"),
        ("GET", "/health/../metrics"),
        ("GET", "/Health"),
    ] {
        let refused = without(method, path);
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("basic")), "{method} {path}");
        assert_eq!(refused.body, if method == "HEAD" { "" } else { "Unauthorized\n" }, "{method} {path}");
        for word in ["jitsi", "bridge", "127.0.0.1", "alice", "$2y$"] {
            assert!(!refused.head.contains(word) && !refused.body.contains(word), "{word}: {refused:?}");
        }
    }
    assert_eq!((without("GET", "/health").status, &*without("GET", "/health").body), (200, "ok"));
    assert_eq!(without("GET", "/health?x").status, 200);
}

#[test]
fn unknown_user_gets_the_response_of_a_wrong_password() {
    let server = Server::start(&users(&[("alice", "secret"), ("bob", "secret")], 4), &[]);
    let answer = |user: &str| {
        let answer = server.answer(user, "wrong");
        let head: Vec<_> = answer.head.lines().filter(|line| !line.starts_with("date: ")).map(str::to_owned).collect();
        (head, answer.body)
    };
    assert_eq!(answer("alice"), answer("mallory"));
    // An unknown user cannot use the right password of another user.
    assert_eq!(server.status("mallory", "secret"), 401);
}

/// The CPU time of a process, in hundredths of a second.
#[cfg(target_os = "linux")]
fn cpu(exporter: &Exporter) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", exporter.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [11, 12].map(|field| fields[field].parse::<u64>().unwrap()).iter().sum()
}

#[cfg(target_os = "linux")]
#[test]
fn hashes_a_right_password_once_and_a_wrong_one_always() {
    let server = Server::start(&users(&[("alice", "secret")], 10), &[]);
    assert_eq!(server.status("alice", "secret"), 200);
    let of = |requests: u64, user: &str, password: &str, status: u16| {
        let before = cpu(&server.exporter);
        (0..requests).for_each(|_| assert_eq!(server.status(user, password), status));
        cpu(&server.exporter) - before
    };
    let right = of(200, "alice", "secret", 200);
    assert!(right < 100, "{right} hundredths of a second for 200 scrapes");
    let (wrong, unknown) = (of(8, "alice", "wrong", 401), of(8, "mallory", "wrong", 401));
    assert!(wrong > 10 && unknown > 10, "{wrong} {unknown}");
    assert!(unknown < 2 * wrong && wrong < 2 * unknown, "{wrong} {unknown}");
}

#[test]
fn wrong_passwords_do_not_delay_known_clients() {
    let server = Server::start(&users(&[("alice", "secret"), ("bob", "secret")], 10), &[]);
    assert_eq!(server.status("alice", "secret"), 200);
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..8 {
            let (server, stop, refused) = (&server, &stop, &refused);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let user = ["alice", "bob", "carol"][number % 3];
                    let status = server.status(user, &format!("wrong {client} {number}"));
                    // On a very busy machine a password may wait for too long.
                    assert!([401, 503].contains(&status), "{status}");
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let refusals = |number: usize| {
            let until = refused.load(Ordering::SeqCst) + number;
            let mut known = 0;
            while refused.load(Ordering::SeqCst) < until {
                assert_eq!(server.status("alice", "secret"), 200);
                known += 1;
            }
            known
        };
        let known = refusals(12);
        // A right password that was not checked before, sent repeatedly, as by Prometheus.
        let new = eventually(Duration::from_secs(60), || (server.status("bob", "secret") == 200).then_some(()));
        stop.store(true, Ordering::SeqCst);
        assert!(known > 12, "only {known} scrapes beside 12 wrong passwords");
        assert!(new.is_some(), "a right password was never checked");
    });
}

#[test]
fn excess_wrong_passwords_get_503() {
    let server = Server::start(&users(&[("alice", "secret")], 10), &[]);
    assert_eq!(server.status("alice", "secret"), 200);
    let busy = thread::scope(|scope| {
        let clients: Vec<_> = (0..100)
            .map(|number| {
                scope.spawn({
                    let server = &server;
                    move || server.status("alice", &format!("wrong {number}"))
                })
            })
            .collect();
        assert_eq!(server.status("alice", "secret"), 200);
        let statuses: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 503).count()
    });
    assert!(busy > 10, "{busy} of 100 were turned away");
    assert_eq!(server.status("alice", "secret"), 200);
}

#[test]
fn refuses_in_one_line_with_file_and_key() {
    let files = Files::new();
    let path = files.folder.path().to_str().unwrap();
    let refused = |file: &str, message: &str| {
        let (code, _, log) = run(&["--demo", "--listen-address", "127.0.0.1:0", "--web-config-file", file]);
        let expected = format!("jitsiexporter: {file}: {message}\n").replace("FOLDER", path);
        assert_eq!((code, log), (Some(1), expected));
    };
    for (_, message, config) in table().filter(|(kind, ..)| ["refuse", "strict"].contains(kind)) {
        refused(&files.folder.write("web.yml", &config), message);
    }
    // Not in the table, because node_exporter would read it forever.
    let endless = "tls_server_config: {cert_file: /dev/zero, key_file: server.key}";
    refused(&files.folder.write("web.yml", endless), "tls_server_config.cert_file: /dev/zero is not a file");
    refused("/no/such/web.yml", "cannot be read: no such file or directory");
}

#[test]
fn resolves_a_bare_file_name_in_the_working_directory() {
    let server = Server::start(TLS, &[]);
    let mut command = command(&["--demo", "--listen-address", "127.0.0.1:0", "--web.config.file=web.yml"], &[]);
    command.current_dir(server.folder.path());
    let exporter = Exporter::spawn(command).unwrap_or_else(|log| panic!("{log:?}"));
    assert_eq!(get(exporter.address(), &server.client(), "/health", "").unwrap().status, 200);
}

#[test]
fn reloads_when_a_symbolic_link_is_switched() {
    // As Kubernetes mounts a Secret: file -> ..data/file, ..data -> a folder that is replaced.
    let server = Server::start("", &[]);
    let folder = &server.folder;
    let lay = |name: &str, identity: &Identity| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        folder.write(&format!("{name}/tls.crt"), &identity.pem);
        folder.write(&format!("{name}/tls.key"), &identity.key);
        symlink(name, folder.path().join("..data_tmp")).unwrap();
        std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    lay("..first", &Identity::server(&server.root));
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), folder.path().join(file)).unwrap();
    }
    let file = folder.write("tls.yml", "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n");
    let exporter = Exporter::start(&["--demo", "--listen-address", "127.0.0.1:0", "--web-config-file", &file], &[]);
    let certificate = || Connection::open(exporter.address(), &server.client()).unwrap().certificate();
    let first = certificate();
    assert_eq!(certificate(), first);
    lay("..second", &Identity::server(&server.root));
    let second = certificate();
    assert_ne!(second, first);
    assert_eq!(certificate(), second);
}

#[test]
fn reloads_passwords_and_client_authorities() {
    let (one, two) = (authority("one"), authority("two"));
    let config = |password: &str| {
        let tls = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n");
        tls + &users(&[("alice", password)], 4)
    };
    let server = Server::start(&config("old"), &[("ca.pem", &one.pem())]);
    let of = |root| client(&server.root, Some(&Identity::new(Some(root), |_| {})));
    let (first, second) = (of(&one), of(&two));
    let mut kept = Connection::open(server.address(), &first).unwrap();
    let mut status = |password| kept.get("/metrics", &basic("alice", password)).unwrap().status;
    assert_eq!((status("old"), status("new")), (200, 401));
    server.folder.replace("web.yml", &config("new"));
    assert_eq!((status("old"), status("new")), (401, 200), "on the same connection");

    assert!(Connection::open(server.address(), &second).and_then(|mut new| new.get("/health", "")).is_err());
    server.folder.replace("ca.pem", &two.pem());
    assert_eq!(get(server.address(), &second, "/health", "").unwrap().status, 200);
    assert!(get(server.address(), &first, "/health", "").is_err());
    assert_eq!(status("new"), 200, "a connection that is kept");
}

#[test]
fn keeps_the_last_good_files_and_logs_once() {
    let server = Server::start(&(TLS.to_owned() + &users(&[("alice", "secret")], 4)), &[]);
    let (client, header) = (server.client(), basic("alice", "secret"));
    let works = || {
        for _ in 0..3 {
            assert_eq!(get(server.address(), &client, "/metrics", &header).unwrap().status, 200);
        }
    };
    works();
    let good = std::fs::read_to_string(server.folder.path().join("cert.pem")).unwrap();
    let mut reported = 0;
    for (file, broken, complaint) in [
        ("web.yml", "{", "is not valid YAML"),
        ("web.yml", "tls_config:\n", "\"tls_config\" is not a key of a web configuration file"),
        ("web.yml", "basic_auth_users:\n  alice: topsecret\n", "the password of user alice is not a bcrypt hash"),
        ("cert.pem", "", "holds no PEM certificate"),
        ("cert.pem", &*Identity::server(&server.root).pem, "does not fit cert_file"),
        ("key.pem", "", "holds no PEM private key"),
        // A file that is read while it is being written must not drop a requirement.
        ("web.yml", "", "tls_server_config is gone, which takes a restart"),
        ("web.yml", TLS, "basic_auth_users is gone, which takes a restart"),
    ] {
        let before = std::fs::read_to_string(server.folder.path().join(file)).unwrap();
        server.folder.write(file, broken);
        works();
        let line = server.exporter.wait_for_log(complaint);
        assert!(line.ends_with("; what was read before stays in use"), "{line}");
        reported += 1;
        server.folder.write(file, &before);
        works();
    }
    std::fs::remove_file(server.folder.path().join("cert.pem")).unwrap();
    works();
    server
        .exporter
        .wait_for_log("cert.pem cannot be read: no such file or directory; what was read before stays in use");
    server.folder.write("cert.pem", &good);
    works();
    let log = server.exporter.log();
    assert_eq!(log.iter().filter(|line| line.contains("stays in use")).count(), reported + 1, "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("topsecret") || line.contains("$2y$")), "{log:#?}");
}

#[test]
fn reloads_once_descriptors_are_available_again() {
    let server = Server::start(&users(&[("alice", "old")], 4), &[]);
    let mut kept = server.exporter.open("");
    let mut status = |password| {
        write!(kept, "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", basic("alice", password)).unwrap();
        let mut answer = [0; 4096];
        let length = kept.read(&mut answer).unwrap();
        Answer::parse(&answer[..length]).status
    };
    assert_eq!(status("old"), 200);
    server.folder.replace("web.yml", &users(&[("alice", "new")], 4));
    // Longer than the clock tick of file systems.
    sleep(Duration::from_millis(100));

    let process = Pid::from_raw(server.exporter.pid().try_into().unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(process, Resource::Nofile, Rlimit { current: Some(0), maximum }).unwrap();
    assert_eq!(status("old"), 200);
    server.exporter.wait_for_log("web.yml: cannot be read: too many open files");
    prlimit(process, Resource::Nofile, before).unwrap();
    assert_eq!(status("new"), 200);
}

#[test]
fn loosening_requires_a_restart() {
    let ca = authority("clients");
    let required = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n");
    for (before, after, what) in [
        (required.clone(), TLS, "client certificates are no longer required"),
        (format!("{required}  client_allowed_sans: [a.example]\n"), &*required, "client_allowed_sans is gone"),
        (format!("{required}  min_version: TLS13\n"), &*required, "min_version is lower"),
    ] {
        let server = Server::start(&before, &[("ca.pem", &ca.pem())]);
        server.folder.replace("web.yml", after);
        assert!(!server.lets_in(&server.client()));
        server.exporter.wait_for_log(&format!("{what}, which takes a restart"));
    }

    let server = Server::start("", &[]);
    assert_eq!(server.exporter.get("/metrics").status, 200);
    server.folder.replace("web.yml", &users(&[("alice", "secret")], 4));
    assert_eq!(server.exporter.get("/metrics").status, 401, "a stricter file is used at once");
    assert_eq!(server.status("alice", "secret"), 200);
    server.folder.replace("web.yml", TLS);
    assert_eq!(server.status("alice", "secret"), 200);
    server.exporter.wait_for_log("tls_server_config is new, which takes a restart");
}

#[test]
fn renewal_under_load_fails_no_scrape() {
    let config = |password: &str| TLS.to_owned() + &users(&[("alice", "secret"), ("bob", password)], 4);
    let server = Server::start(&config("0"), &[]);
    let (client, header) = (server.client(), basic("alice", "secret"));
    let (stop, scrapes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..4 {
            let (server, client, header, stop, scrapes) = (&server, &client, &header, &stop, &scrapes);
            scope.spawn(move || {
                let mut kept = Connection::open(server.address(), client).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    let got = if number % 2 == 0 {
                        kept.get("/metrics", header)
                    } else {
                        get(server.address(), client, "/metrics", header)
                    };
                    let got = got.unwrap_or_else(|error| panic!("{error}: {:#?}", server.exporter.log()));
                    assert!(got.status == 200 && Exposition::of(&got.body).is_up(), "{got:?}");
                    scrapes.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for number in 0..20_usize {
            let renewed = Identity::server(&server.root);
            // Between the two writes the key does not fit, and the last valid pair stays in use.
            let mut files = [("cert.pem", &renewed.pem), ("key.pem", &renewed.key)];
            files.rotate_left(number % 2);
            for (name, content) in files {
                if number % 4 < 2 {
                    server.folder.replace(name, content);
                } else {
                    server.folder.write(name, content);
                }
            }
            let mut new = Connection::open(server.address(), &client).unwrap();
            assert_eq!(new.certificate(), renewed.der.as_ref(), "{number}");
            assert_eq!(new.get("/metrics", &header).unwrap().status, 200, "{number}");
            server.folder.write("web.yml", &config(&number.to_string()));
            let before = scrapes.load(Ordering::SeqCst);
            eventually(Duration::from_secs(30), || (scrapes.load(Ordering::SeqCst) > before + 8).then_some(()));
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(scrapes.load(Ordering::SeqCst) > 160, "{scrapes:?}");
    assert_eq!(get(server.address(), &client, "/metrics", &basic("bob", "19")).unwrap().status, 200);
}

#[test]
fn shows_neither_passwords_nor_hashes() {
    let hash = hash("s3cret", 4);
    let config = format!("{TLS}basic_auth_users:\n  alice: {hash}\n");
    let server = Server::start(&config, &[]);
    let client = server.client();
    for (user, password) in [("alice", "s3cret"), ("alice", "s3cret2"), ("s3cret", "alice")] {
        for path in ["/metrics", "/", "/none", "/health"] {
            let got = get(server.address(), &client, path, &basic(user, password)).unwrap();
            assert!(!format!("{got:?}").contains("s3cret") && !got.body.contains(&hash), "{got:?}");
        }
    }
    server.folder.write("web.yml", &format!("basic_auth_users:\n  {hash}: alice\n  s3cret: s3cret\n"));
    get(server.address(), &client, "/metrics", &basic("alice", "s3cret")).unwrap();
    server.exporter.wait_for_log("stays in use");
    let log = server.exporter.log().join("\n");
    assert!(!log.contains("s3cret") && !log.contains(&hash) && !log.contains(&hash[7..]), "{log}");
}

#[test]
fn slow_and_malformed_handshakes_do_not_delay_a_scrape() {
    let server = Server::start(TLS, &[]);
    let client = server.client();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(server.address()).unwrap();
                for byte in [HALF, &[0; 500]].concat() {
                    if stop.load(Ordering::SeqCst) || stream.write_all(&[byte]).is_err() {
                        break;
                    }
                    sleep(Duration::from_millis(20));
                }
            });
        }
        for bytes in [
            &b"\x16\x03\x01\xff\xff"[..],
            b"\0\0\0\0\0\0\0\0",
            b"\x80\x2e\x01\x03\x01",
            b"SSH-2.0-x\r\n",
            &[0xff; 4096],
        ] {
            for _ in 0..20 {
                let mut stream = server.exporter.open(bytes);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
            assert!(server.lets_in(&client));
        }
        stop.store(true, Ordering::SeqCst);
    });
    // The log has a few lines for all of them together.
    let lines = server.exporter.log().len();
    assert!(lines < 10, "{:#?}", server.exporter.log());
}

#[test]
fn stop_does_not_wait_for_handshakes() {
    let server = Server::start(TLS, &[]);
    let _stalled: Vec<_> = (0..5).map(|_| server.exporter.open(HALF)).collect();
    assert!(server.lets_in(&server.client()));
    server.exporter.signal(rustix::process::Signal::TERM);
    let Server { exporter, .. } = server;
    let status = exporter.wait(Duration::from_secs(30)).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn hangup_reads_the_web_configuration_again() {
    let folder = Folder::new();
    let file = folder.write("web.yml", "{}\n");
    let exporter = Exporter::before("http://127.0.0.1:1", &["--web-config-file", &file]);
    exporter.signal(rustix::process::Signal::HUP);
    exporter.wait_for_log("SIGHUP: reading the web configuration and its files again");
    folder.write("web.yml", "tls_server_confg: {}\n");
    exporter.signal(rustix::process::Signal::HUP);
    // Without any client.
    let line = exporter.wait_for_log("what was read before stays in use");
    assert!(line.contains("web.yml: ") && line.contains("tls_server_confg"), "{line}");
    assert_eq!(exporter.get("/health").status, 200);
}
