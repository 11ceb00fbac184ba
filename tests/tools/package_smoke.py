#!/usr/bin/env python3
"""Runs a binary as a user would, from its first log line to its last.

    tests/tools/package_smoke.py target/dist/x86_64-unknown-linux-musl/release/jitsiexporter
    tests/tools/package_smoke.py qemu-aarch64-static target/dist/aarch64-unknown-linux-musl/release/jitsiexporter

The last argument is the binary, those before it are what runs it. Needs openssl for the certificates. Ports are chosen by the
system, nothing leaves the loopback, and what it writes is gone when it ends.
"""

import contextlib
import http.server
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.dont_write_bytecode = True

from json_handler import JsonHandler

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = (ROOT / "fixtures/2026-08-head.json").read_bytes()
# Emulated programs start slowly, on a machine that compiles at the same time in particular.
PATIENCE = 60

PROGRAM = sys.argv[1:]
# The environment without the exporter's variables.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("JITSIEXPORTER_")}


def check(good, what):
    if not good:
        sys.exit(f"smoke: FAILED: {what}")
    print(f"smoke: {what}", flush=True)


class Bridge(JsonHandler):
    """A bridge that answers with one report."""

    def do_GET(self):
        found = self.path == "/colibri/stats"
        self.answer(REPORT if found else b"", 200 if found else 404)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that refuses the certificate is what is wanted here."""


@contextlib.contextmanager
def bridge(certificate=None):
    """A bridge's port; behind https, if it has a certificate."""
    server = Server(("127.0.0.1", 0), Bridge)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Exporter:
    """The program, running; stopped by SIGTERM at the end, which must be a clean end."""

    def __init__(self, *args):
        self.args = [*PROGRAM, "--listen-address", "127.0.0.1:0", *args]

    def __enter__(self):
        self.process = subprocess.Popen(self.args, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.timer = threading.Timer(PATIENCE, self.process.kill)
        self.timer.start()
        started = time.monotonic()
        line = self.process.stderr.readline()
        address = re.search(r"http://(127\.0\.0\.1:\d+)/metrics", line)
        check(address, f"its first line has the address: {line.strip()}")
        self.address = address[1]
        self.get("/health")
        self.start = time.monotonic() - started
        return self

    def get(self, path, accept=None):
        request = urllib.request.Request(f"http://{self.address}{path}", headers={"Accept": accept} if accept else {})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.headers["Content-Type"], response.read().decode()

    def memory(self):
        """The largest resident memory so far, in MB; with an emulator, that of both."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        self.log = self.process.communicate()[1]
        self.timer.cancel()
        if kind is None:
            check(self.process.returncode == 0, f"SIGTERM ends it with 0 (it was {self.process.returncode})")


def run(*args):
    """What it says when it ends by itself."""
    done = subprocess.run([*PROGRAM, *args], capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT)
    return done.returncode, done.stdout, done.stderr


def certificates(directory):
    """A certificate authority of its own, and a certificate for localhost by it."""

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256", "-days", "2"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=an internal authority")
    openssl("req", *curve[:-2], "-keyout", "bridge.key", "-out", "bridge.csr", "-subj", "/CN=localhost")
    (directory / "names").write_text("subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n")
    sign = ["x509", "-req", "-in", "bridge.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    openssl(*sign, "-out", "bridge.pem", "-extfile", "names")
    return directory / "ca.pem", (directory / "bridge.pem", directory / "bridge.key")


def main():
    code, out, _ = run("--version")
    check(code == 0 and re.fullmatch(r"jitsiexporter \d+\.\d+\.\d+\S*( \([0-9a-f]{12}\))?\n", out), f"--version says {out.strip()}")

    with Exporter("--demo") as demo:
        kind, text = demo.get("/metrics", "application/openmetrics-text;version=1.0.0")
        check(kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n"), f"OpenMetrics as {kind}")
        check("\njitsi_up 1\n" in text and text.count("\njitsi_") > 80, f"{text.count(chr(10) + 'jitsi_')} samples, jitsi_up 1")
        kind, text = demo.get("/metrics", "text/plain;version=0.0.4")
        check(kind.startswith("text/plain") and "# EOF" not in text, f"text as {kind}")
        check("\njitsi_up 1\n" in text, "jitsi_up 1 in it")
        check(demo.get("/health")[1].strip() == "ok", "/health says ok")
        print(f"smoke: first answer {demo.start * 1000:.0f} ms after its first line, at most {demo.memory():.1f} MB resident")
    check("stopped" in demo.log, "the log says that it stopped")

    with tempfile.TemporaryDirectory(prefix="jitsiexporter-smoke-") as directory, contextlib.ExitStack() as stack:
        ca, certificate = certificates(pathlib.Path(directory))
        # A name and no address: resolving is what static programs do by themselves.
        url = f"https://localhost:{stack.enter_context(bridge(certificate))}"
        with Exporter("--url", url, "--ca-file", str(ca)) as trusting:
            check("\njitsi_up 1\n" in trusting.get("/metrics")[1], "a bridge behind https, by --ca-file: jitsi_up 1")
            print(f"smoke: at most {trusting.memory():.1f} MB resident with TLS")
        with Exporter("--url", url) as refusing:
            text = refusing.get("/metrics")[1]
            refused = "\njitsi_up 0\n" in text and 'jitsi_scrape_error{reason="tls"} 1' in text
            check(refused, "without --ca-file its certificate is refused: jitsi_up 0, reason tls")
        check("--ca-file" in refusing.log, "and the log names --ca-file")

        url = f"http://localhost:{stack.enter_context(bridge())}"
        code, out, _ = run("--once", "--url", url, "--legacy-names")
        check(code == 0 and "\njitsi_conferences " in out, "--once prints a scrape")

        # Wrong settings get a clear word.
        no_pem = pathlib.Path(directory, "no.pem")
        no_pem.write_text("nothing of the kind\n")
        code, _, log = run("--ca-file", str(no_pem))
        check(code == 2 and "no PEM certificate" in log and str(no_pem) in log, f"a CA file that is no PEM: {log.strip()}")
        code, _, log = run("--ca-file", f"{directory}/absent.pem")
        check(code == 2 and "absent.pem" in log, f"a CA file that is not there: {log.strip()}")
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = taken.getsockname()[1]
        code, _, log = run("--listen-address", f"127.0.0.1:{port}")
        check(code == 1 and f":{port}" in log, f"a port in use: {log.strip()}")


main()
print("smoke: ok")
