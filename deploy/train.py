#!/usr/bin/env python3
"""Scrapes an instrumented binary as Prometheus does. The binary counts how often each part of its code runs, and writes this profile to
the file that LLVM_PROFILE_FILE names. The compiler optimises for the profile. Called by deploy/dist.sh.

    LLVM_PROFILE_FILE=folder/%p.profraw deploy/train.py [EMULATOR] BINARY

The reports are those of running bridges, not those of the benchmark. The training does not use TLS: it would make the binary larger, and
TLS not faster.
"""

import contextlib
import http.client
import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests/tools"))

from programs import FIXTURES, PATIENCE, Bridge, Failure, exporter, script

PROGRAM = sys.argv[1:]
# An emulated program takes minutes.
LIMIT = 900

# What Prometheus 3 sends.
PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
              "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/3.5.0",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}
TEXT = {"Accept": "text/plain;version=0.0.4;q=1,*/*;q=0.1", "User-Agent": "Go-http-client/1.1"}

CURRENT = (FIXTURES / "captured/2026-08-2.3-312-media3.json").read_bytes()
OLDER = (FIXTURES / "captured/2021-12-2.1-592-media3.json").read_bytes()
NATIVE = (FIXTURES / "native/2026-08-2.3-312-relays.json").read_bytes()
# With some statistics that the exporter does not know.
KNOWN = json.loads(CURRENT)
LATER = json.dumps(KNOWN | {f"new_{key}": KNOWN[key] for key in list(KNOWN)[:20]}).encode()

# For each exporter its options, and the reports of its bridge, each with the headers of the client and the number of scrapes. There are
# few exporters and many scrapes, so that the compiler takes the code of the start for rare.
LOADS = [
    ([], [(CURRENT, PROMETHEUS, 4000), (NATIVE, PROMETHEUS, 3000), (OLDER, PROMETHEUS, 1000), (LATER, PROMETHEUS, 1000)]),
    (["--legacy-names"], [(CURRENT, TEXT, 2000)]),
]


def answering(report):
    """The response of a bridge with this report for a path. The bridge's own metrics have another path."""
    path = "/metrics" if report is NATIVE else "/colibri/stats"
    return lambda asked: (200, report) if asked == path else (404, b"not found", "text/html")


def scrape(connection, headers):
    connection.request("GET", "/metrics", headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    if response.status != 200 or "\njitsi_up 1\n" not in text:
        raise Failure(f"status {response.status}: {text[:500]}")


def main():
    bridge = Bridge()
    for options, loads in LOADS:
        with exporter(*PROGRAM, "--url", bridge.url, *options) as started:
            connection = http.client.HTTPConnection("127.0.0.1", started.port, timeout=PATIENCE)
            with contextlib.closing(connection):
                for report, headers, scrapes in loads:
                    bridge.response = answering(report)
                    for _ in range(scrapes):
                        scrape(connection, headers)
                    print(f"train: {scrapes} scrapes", *options, flush=True)
    return []


script(main, LIMIT)
