#!/usr/bin/env python3
"""Runs a binary as a user would, from its first log line to its last.

    deploy/check/smoke.py target/dist/x86_64-unknown-linux-musl/release/jitsiexporter
    deploy/check/smoke.py qemu-aarch64-static target/dist/aarch64-unknown-linux-musl/release/jitsiexporter

The last argument is the binary; an emulator may stand before it. Needs openssl for the certificates.
"""

import pathlib
import re
import ssl
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests/tools"))

from programs import FIXTURES, Bridge, Certificates, Failure, environment, exporter, script

REPORT = (FIXTURES / "2026-08-head.json").read_bytes()
# Emulated programs are slow, on a machine that compiles at the same time in particular.
LIMIT = 300
PROGRAM = sys.argv[1:]


def check(good, what):
    if not good:
        raise Failure(what)
    print(f"smoke: {what}", flush=True)


def response(path):
    return (200, REPORT) if path == "/colibri/stats" else (404,)


def run(*args):
    """Exit code, output and log of the program when it ends by itself."""
    done = subprocess.run([*PROGRAM, *args], capture_output=True, text=True, check=False, env=environment())
    return done.returncode, done.stdout, done.stderr


def check_demo():
    with exporter(*PROGRAM, "--demo") as demo:
        check(demo.log[0], f"its first line has the address: {demo.log[0].strip()}")
        kind, text = demo.get("/metrics", "application/openmetrics-text;version=1.0.0")
        check(kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n"), f"OpenMetrics as {kind}")
        samples = text.count("\njitsi_")
        check("\njitsi_up 1\n" in text and samples > 80, f"{samples} samples, jitsi_up 1")
        kind, text = demo.get("/metrics", "text/plain;version=0.0.4")
        check(kind.startswith("text/plain") and "\njitsi_up 1\n" in text and "# EOF" not in text, f"text as {kind}, jitsi_up 1")
        check(demo.get("/health")[1].strip() == "ok", "/health says ok")
        print(f"smoke: at most {demo.memory():.1f} MB resident")
    check("stopped" in demo.log[-1], "the log says that it stopped")


def check_tls(folder):
    """A bridge behind https, by its name: static programs resolve names by themselves."""
    certificates = Certificates(folder)
    certificates.authority("ca")
    certificates.signed("bridge", "ca", "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "bridge.pem", folder / "bridge.key")
    url = f"https://localhost:{Bridge(response, context=context).server_port}"
    with exporter(*PROGRAM, "--url", url, "--ca-file", f"{folder}/ca.pem") as trusting:
        check("\njitsi_up 1\n" in trusting.get("/metrics")[1], "a bridge behind https, by --ca-file: jitsi_up 1")
        print(f"smoke: at most {trusting.memory():.1f} MB resident with TLS")
    with exporter(*PROGRAM, "--url", url) as refusing:
        text = refusing.get("/metrics")[1]
        refused = "\njitsi_up 0\n" in text and 'jitsi_scrape_error{reason="tls"} 1' in text
        check(refused, "without --ca-file its certificate is refused: jitsi_up 0, reason tls")
    check("--ca-file" in "".join(refusing.log), "the log names --ca-file")


def main():
    code, out, _ = run("--version")
    check(code == 0 and re.fullmatch(r"jitsiexporter \d+\.\d+\.\d+\S*( \([0-9a-f]{12}\))?\n", out), f"--version says {out.strip()}")
    check_demo()
    with tempfile.TemporaryDirectory(prefix="smoke-") as folder:
        folder = pathlib.Path(folder)
        check_tls(folder)
        code, out, _ = run("--once", "--url", Bridge(response).url.replace("127.0.0.1", "localhost"), "--legacy-names")
        check(code == 0 and "\njitsi_conferences " in out, "--once prints a scrape")
        code, _, log = run("--ca-file", f"{folder}/absent.pem")
        check(code == 2 and "absent.pem" in log, f"a wrong --ca-file: {log.strip()}")
    return []


script(main, LIMIT)
