//! Host names: a name server that answers for one family of addresses, and has an error for the other or is silent.
//!
//! The test runs itself again in its own namespaces, where port 53 is free and /etc/resolv.conf names that server. The result
//! depends on the C library, so `JITSIEXPORTER_TEST_BINARY` can name a static build.

mod support;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use support::faults::GOOD;
use support::{Exporter, FakeBridge, command};

/// The codes of the two record types.
const A: u16 = 1;
const AAAA: u16 = 28;

/// The response of the name server to a query.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    /// This many addresses, all on the loopback.
    Addresses(u8),
    /// An error by its code (RFC 1035, section 4.1.1).
    Error(u8),
    Nothing,
}

use Says::{Addresses, Error, Nothing};

/// FORMERR, SERVFAIL, NXDOMAIN, NOTIMP and REFUSED; no record of this type, which is not an error; no response.
const OTHER: &[Says] = &[Error(1), Error(2), Error(3), Error(4), Error(5), Addresses(0), Nothing];

/// The response to a query: its head and question again, and the answers.
fn response(query: &[u8], says: &dyn Fn(u16) -> Says) -> Option<Vec<u8>> {
    let end = query.get(12..)?.iter().position(|&byte| byte == 0)? + 12 + 5;
    let question = query.get(12..end)?;
    let kind = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
    let (code, addresses) = match says(kind) {
        Addresses(number) => (0, number),
        Error(code) => (code, 0),
        Nothing => return None,
    };
    let mut response = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, addresses, 0, 0, 0, 0], question].concat();
    for number in 0..addresses {
        let (length, address) = match kind {
            A => (4, Ipv4Addr::new(127, 0, 0, number + 1).octets().to_vec()),
            _ => (16, Ipv6Addr::LOCALHOST.octets().to_vec()),
        };
        // A pointer to the name in the question, the type, class IN, a minute to live.
        response.extend([&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60, 0, length], &address].concat());
    }
    Some(response)
}

/// A name server at 127.0.0.1, with its responses for A and AAAA.
fn name_server() -> io::Result<Arc<Mutex<[Says; 2]>>> {
    let socket = UdpSocket::bind("127.0.0.1:53")?;
    let says = Arc::new(Mutex::new([Nothing; 2]));
    let own = Arc::clone(&says);
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let [a, aaaa] = *own.lock().unwrap();
            let says = |kind| match kind {
                A => a,
                AAAA => aaaa,
                _ => Error(4),
            };
            if let Some(response) = response(&query[..length], &says) {
                let _ = socket.send_to(&response, client);
            }
        }
    });
    Ok(says)
}

const INSIDE: &str = "JITSIEXPORTER_TEST_NAMESPACE";

/// A shell script that prepares the namespaces, and runs what follows.
const PREPARE: &str = "ip link set lo up && mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";

/// Whether this process runs in its own namespaces. If not, runs the test again there, if the machine allows it.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let file = std::env::temp_dir().join(format!("jitsiexporter-test-{}-{test}.conf", std::process::id()));
    std::fs::write(&file, "nameserver 127.0.0.1\n").unwrap();
    let unshare = |more: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(more).args(["--net", "--mount", "sh", "-c", PREPARE]).arg(&file);
        command
    };
    let works = |more: &[&str]| unshare(more).arg("true").output().is_ok_and(|output| output.status.success());
    // As root, or as an ordinary user who may have a user namespace.
    let options = [&[][..], &["--map-root-user"]].into_iter().find(|more| works(more));
    let status = options.map(|more| {
        let own = std::env::current_exe().unwrap();
        unshare(more).arg(own).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status().unwrap()
    });
    let _ = std::fs::remove_file(&file);
    match status {
        None => println!("not tested: this machine allows no namespaces"),
        Some(status) => assert!(status.success(), "{status}"),
    }
    false
}

#[test]
fn resolves_a_name_if_one_family_fails() {
    if !inside("resolves_a_name_if_one_family_fails") {
        return;
    }
    let says = name_server().unwrap();
    let four = FakeBridge::listen(TcpListener::bind("127.0.0.1:0").unwrap(), |stream, _| GOOD[1](stream));
    let port = four.address().port();
    let six =
        TcpListener::bind(("::1", port)).map(|listener| FakeBridge::listen(listener, |stream, _| GOOD[1](stream)));
    if six.is_err() {
        println!("not tested: this machine has no IPv6");
    }
    let url = format!("http://jvb.example.test:{port}/colibri/stats");
    for &other in OTHER {
        for (answers, tested) in [([Addresses(1), other], true), ([other, Addresses(1)], six.is_ok())] {
            if tested {
                *says.lock().unwrap() = answers;
                let exporter = Exporter::before(&url, &[]);
                assert!(exporter.metrics().is_up(), "{answers:?}: {:?}", exporter.log());
                assert_eq!(exporter.log().len(), 1, "{answers:?}: {:?}", exporter.log());
            }
        }
    }
    *says.lock().unwrap() = [Addresses(1), Addresses(1)];
    let exporter = Exporter::before(&url, &[]);
    assert!(exporter.metrics().is_up() && exporter.log().len() == 1, "{:?}", exporter.log());

    // A name to listen on.
    for answers in [[Addresses(1), Error(4)], [Addresses(1), Error(2)]] {
        *says.lock().unwrap() = answers;
        let exporter = Exporter::start(&["--listen-address", "jvb.example.test:0"], &[]);
        assert_eq!(exporter.get("/health").body, "ok", "{answers:?}");
    }

    // Possibly several machines. This bridge closes each connection, so each scrape looks the name up.
    *says.lock().unwrap() = [Addresses(2), Error(3)];
    let exporter = Exporter::before(&url, &[]);
    for _ in 0..3 {
        assert!(exporter.metrics().is_up(), "{:?}", exporter.log());
    }
    exporter.wait_for_log(
        "the host name has several addresses (127.0.0.1, 127.0.0.2): if they are several bridges, run one",
    );
    assert_eq!(exporter.log().len(), 2, "{:?}", exporter.log());

    for (answers, reason) in
        [([Error(3), Error(3)], "resolve"), ([Error(3), Nothing], "timeout"), ([Nothing; 2], "timeout")]
    {
        *says.lock().unwrap() = answers;
        let exporter = Exporter::before(&url, &["--timeout", "1"]);
        assert_eq!(exporter.metrics().reason(), Some(reason), "{answers:?}: {:?}", exporter.log());
    }
}

/// Whether a line is the error for an address in use: "already in use" in the words of glibc, "in use" in those of musl.
fn is_in_use(line: &str, address: &str) -> bool {
    line.contains(&format!("cannot listen on {address}: address ")) && line.contains("in use; another program has it")
}

#[test]
fn address_in_use_is_an_error_where_the_families_are_apart() {
    if !inside("address_in_use_is_an_error_where_the_families_are_apart") {
        return;
    }
    if std::fs::write("/proc/sys/net/ipv6/bindv6only", "1").is_err() {
        println!("not tested: this machine has no IPv6, or the setting is read-only");
        return;
    }
    for taken in ["127.0.0.1:9700", "[::1]:9700", "0.0.0.0:9700", "[::]:9700"] {
        let _taken = TcpListener::bind(taken).unwrap();
        let log = Exporter::spawn(command(&["--listen-address", ":9700"], &[])).err().expect(taken);
        assert!(is_in_use(&log[0], ":9700"), "{taken}: {log:?}");
    }
    let args = ["--listen-address", ":9700", "--listen-address", "127.0.0.1:9700"];
    let exporter = Exporter::start(&args, &[]);
    assert!(exporter.log()[0].contains("http://[::]:9700/metrics and http://0.0.0.0:9700/metrics, bridge"));
    drop(exporter);
    // The socket for every IPv6 interface does not include this address.
    let _taken = TcpListener::bind("127.0.0.1:9700").unwrap();
    let args = ["--listen-address", "[::]:9700", "--listen-address", "127.0.0.1:9700"];
    let log = Exporter::spawn(command(&args, &[])).err().expect("127.0.0.1 is in use");
    assert!(is_in_use(&log[0], "127.0.0.1:9700"), "{log:?}");
}
