#!/usr/bin/env bash
# One would guess that a request of ureq on a connection that is kept open writes once and reads once, or a few times for a long body.
# What happens: with a timeout for the whole request, ureq makes eight more system calls. It probes the connection before it uses it and
# before it pools it, each time with three calls: switch the socket to non-blocking, read, switch it back. Before the write and before the
# read it sets the remaining time as the timeout of the socket, which is never the same twice.
# Who meets it: programs that make many small requests to a server nearby, such as exporters. ureq accepts a custom transport, which can
# probe the connection in one call and round the timeouts.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# apt-get downloads as another user.
chmod 777 .
apt-get download -qq strace=6.1-0.1 libunwind8=1.6.2-3
for package in ./*.deb; do dpkg --extract "$package" package; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
edition = "2021"
[dependencies]
ureq = { version = "=3.5.2", default-features = false }
END
cat > src/main.rs <<'END'
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
            if line.is_empty() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).proxy(None).build();
    let agent = ureq::Agent::new_with_config(config);
    for _ in 0..200 {
        assert_eq!(agent.get(&url).call().unwrap().body_mut().read_to_string().unwrap(), "ok");
    }
}
END
cargo build --quiet
libraries=$(dirname "$(find package -name 'libunwind.so.8' | head -n 1)")
LD_LIBRARY_PATH="$libraries" package/usr/bin/strace --follow-forks --summary-only --output counts \
    --trace=ioctl,setsockopt,recvfrom,sendto target/debug/finding
echo "ureq 3.5.2, 200 requests on one connection (the server's calls to receive and send are counted too):"
cat counts
calls() { awk -v name="$1" -v column="$2" '$NF == name { print $column }' counts; }
[ "$(calls ioctl 4)" -ge 796 ]
[ "$(calls setsockopt 4)" -ge 396 ]
# The fifth column counts errors: nothing to read.
[ "$(calls recvfrom 5)" -ge 398 ]
