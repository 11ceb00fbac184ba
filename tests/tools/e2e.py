#!/usr/bin/env python3
"""A real Prometheus scrapes a fleet of exporters; its API says what it stored.

For each report of fixtures/ there are two exporters, one with standard and one with legacy names. Two more have a bridge that accepts
connections and never responds. The scrape configuration is that of the README, with these targets and a short interval. Another
exporter has a web configuration: TLS, client certificates and a password. One job has the right credentials for it; the other jobs
must be rejected.

For every exporter `up` is 1; the samples of the report's golden file (fixtures/expected) are stored with their values, and no
others, with its types, units and help texts; without a report `jitsi_up` is 0, with the right reason.

The server is `prometheus` (Debian package of that name). The variable PROMETHEUS may name a second one that knows
`scrape_protocols` (2.49 and later): it scrapes once with its defaults and once with each format forced.

    tests/tools/e2e.py target/debug/jitsiexporter
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import socket
import sys
import tempfile
import time

# No __pycache__ among the sources.
sys.dont_write_bytecode = True

import expositions
from programs import (
    FIXTURES, PATIENCE, ROOT, Bridge, Certificates, Failure, exporter, output, prometheus, script, use_packages,
)

JOB = "jitsi"

# The scrape interval, in seconds. Long enough for a silent bridge to be given up in time.
INTERVAL = 4
LIMIT = 300

# The formats of the exporter by the names that Prometheus has for them.
PROTOCOLS = {None: "openmetrics", "OpenMetricsText1.0.0": "openmetrics", "PrometheusText0.0.4": "text"}

# Samples that Prometheus adds to those that it scrapes.
ADDED = re.compile(r"up|scrape_(duration_seconds|samples_scraped|samples_post_metric_relabeling|series_added|timeout_seconds|\w+_bytes|sample_limit)")


@contextlib.contextmanager
def hung_bridge():
    """The URL of a port whose connections stay in the queue of its listener."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclasses.dataclass
class Target:
    """An exporter of the fleet: its bridge, which names it exposes, its address, and the reason if the bridge is down."""

    bridge: str
    naming: str
    address: str
    reason: str = ""

    def __str__(self):
        return f"{self.bridge}, {self.naming} names"

    def expected(self, form):
        """The samples and the metadata that must be stored."""
        if not self.reason:
            return expositions.golden(self.bridge, self.naming, form)
        samples, metadata = expositions.golden("2020-10-stats-disabled", self.naming, form)
        of = lambda reason: expositions.identity("jitsi_scrape_error", {"reason": reason})
        samples[of(self.reason)] = samples.pop(of("no_statistics"))
        return samples, metadata


def start_fleet(binary, stack):
    reports = {file.stem: file.read_bytes() for file in sorted(FIXTURES.glob("*.json"))}
    bridges = Bridge(lambda path: (200, reports[path.split("/")[1]]))
    hung = stack.enter_context(hung_bridge())
    for naming in expositions.NAMINGS:
        rows = [(name, f"{bridges.url}/{name}/colibri/stats") for name in reports]
        for name, url, *reason in [*rows, ("a hung bridge", hung, "timeout")]:
            names = ["--legacy-names"] if naming == "legacy" else []
            started = stack.enter_context(exporter(binary, "--url", url, *names))
            yield Target(name, naming, started.address, *reason)


class Locked:
    """An exporter with TLS, client certificates and a password, and the jobs that scrape it."""

    # Name, authority, whether a client certificate is sent, the password, and what the server says of a job that is refused.
    JOBS = [
        ("locked", "root", True, "secret", ""),
        ("locked-password", "root", True, "wrong", "401"),
        ("locked-certificate", "root", False, "secret", "tls: "),
        ("locked-authority", "clients", True, "secret", "certificate signed by unknown authority"),
    ]

    def __init__(self, binary, stack):
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="e2e-")))
        certificates = Certificates(self.folder)
        certificates.authority("root")
        certificates.authority("clients")
        certificates.signed("server", "root", "subjectAltName=DNS:localhost")
        certificates.signed("client", "clients", "extendedKeyUsage=clientAuth")
        tls = "cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.pem"
        user, password = output("htpasswd", "-nbBC", "10", "prometheus", "secret").strip().split(":")
        (self.folder / "web.yml").write_text(f"tls_server_config: {{{tls}}}\nbasic_auth_users: {{{user}: {password}}}\n")
        self.address = stack.enter_context(exporter(binary, "--demo", "--web-config-file", f"{self.folder}/web.yml")).address

    def jobs(self):
        for name, authority, certificate, password, _ in self.JOBS:
            tls = {"ca_file": f"{self.folder}/{authority}.pem", "server_name": "localhost"}
            if certificate:
                tls |= {"cert_file": f"{self.folder}/client.pem", "key_file": f"{self.folder}/client.key"}
            yield {
                "job_name": name, "scrape_interval": "1s", "scheme": "https", "tls_config": tls,
                "basic_auth": {"username": "prometheus", "password": password}, "static_configs": [{"targets": [self.address]}],
            }

    def check(self, server):
        for name, *_, refusal in self.JOBS:
            [target] = wait_for_scrapes(server, name, [self.address]).values()
            said = target["lastError"]
            if (refusal == "") != (said == "") or refusal not in said:
                yield f"job {name}: expected {refusal or 'no error'!r}, the server says {said!r}"
        # Samples are stored a moment after the target is known to be up.
        until = time.monotonic() + PATIENCE
        while not server.query('jitsi_up{job="locked"} == 1'):
            if time.monotonic() > until:
                yield "jitsi_up of the job locked is not 1"
                break
            time.sleep(0.2)


def configuration(targets, protocol, more):
    """The scrape configuration of the README with other targets, a short interval, more jobs and, if requested, one format only."""
    block = re.search(rf"^```yaml\n(scrape_configs:\n  - job_name: {JOB}\n.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    if not block:
        raise Failure(f"README.md has no yaml block with scrape_configs and the job {JOB}")
    text, intervals = re.subn(r"scrape_interval: \w+", f"scrape_interval: {INTERVAL}s", block[1])
    text, lists = re.subn(r"targets: \[.*\]", lambda _: f"targets: {json.dumps(targets)}", text)
    if (intervals, lists) != (1, 1):
        raise Failure(f"the job {JOB} of the README has {intervals} intervals and {lists} lists of targets:\n{block[1]}")
    if protocol:
        text = text.replace(f"job_name: {JOB}\n", f"job_name: {JOB}\n    scrape_protocols: [{protocol}]\n")
    return text + "".join(f"  - {json.dumps(job)}\n" for job in more)


def wait_for_scrapes(server, job, addresses):
    """The targets of a job by address, once each has been scraped."""
    until = time.monotonic() + PATIENCE
    while True:
        targets = server.targets(job)
        waiting = [address for address in addresses if targets.get(address, {}).get("health", "unknown") == "unknown"]
        if not waiting:
            return targets
        if time.monotonic() > until:
            raise Failure(f"{job}: not scraped after {PATIENCE} s: {waiting}\n{server.log()[-2000:]}")
        time.sleep(0.2)


def selector(labels):
    """A selector of exactly these labels. JSON writes strings as PromQL does."""
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"


def samples_when_up(server, target, until):
    """A target and its samples. If it is not up, the machine may be busy: it is looked at again after a scrape."""
    while True:
        series = server.query(selector(target["labels"]))
        up = any(each["metric"]["__name__"] == "up" and each["value"][1] == "1" for each in series)
        if up and target["health"] == "up" or time.monotonic() > until:
            return target, series
        time.sleep(INTERVAL)
        target = server.targets(JOB)[target["discoveredLabels"]["__address__"]]


def check(server, fleet, form):
    """Every difference, with the exporter that has it."""
    targets = wait_for_scrapes(server, JOB, [one.address for one in fleet])
    until = time.monotonic() + PATIENCE
    found = [samples_when_up(server, targets[one.address], until) for one in fleet]
    metadata = collections.defaultdict(dict)
    for entry in server.get("targets/metadata", match_target=selector({"job": JOB})):
        metadata[entry["target"]["instance"]][entry["metric"]] = entry["type"], entry["unit"], entry["help"]
    for one, (target, series) in zip(fleet, found, strict=True):
        if target["health"] != "up":
            yield f"{one}: is {target['health']} to the server: {target['lastError']}"
        samples, families = one.expected(form)
        yield from (f"{one}: {problem}" for problem in check_samples(series, target["labels"], samples))
        problems = expositions.differences(metadata[target["labels"]["instance"]], families)
        yield from (f"{one}: {problem}" for problem in problems)


def check_samples(series, target, wanted):
    """The faults in the stored samples of one target."""
    stored, added = {}, {}
    for each in series:
        labels = {name: value for name, value in each["metric"].items() if name not in target}
        name, value = labels.pop("__name__"), float(each["value"][1])
        if ADDED.fullmatch(name):
            added[name] = value
        else:
            stored[expositions.identity(name, labels)] = value
    if (added.get("up"), added.get("scrape_samples_scraped")) != (1, len(stored)):
        yield f"{len(stored)} samples are stored, but {added}"
    duration = expositions.identity("jitsi_scrape_duration_seconds", {})
    if not 0 <= stored.get(duration, -1) < 10:
        yield f"wrong duration: {stored.get(duration)}"
    # In Prometheus a label without a value is not a label, and every value is a float.
    wanted = {(name, tuple(label for label in labels if label[1])): float(value) for (name, labels), value in wanted.items()}
    wanted[duration] = stored.get(duration)
    yield from expositions.differences(stored, wanted)


def main():
    binary = os.path.abspath(sys.argv[1])
    second = os.environ.get("PROMETHEUS")
    runs = [("prometheus", None)] + ([(second, protocol) for protocol in PROTOCOLS] if second else [])
    problems = []
    with contextlib.ExitStack() as stack:
        fleet = list(start_fleet(binary, stack))
        locked = Locked(binary, stack)
        for program, protocol in runs:
            start = time.monotonic()
            config = configuration([one.address for one in fleet], protocol, locked.jobs())
            with prometheus(program, config) as server:
                version = server.get("status/buildinfo")["version"]
                problems += [*check(server, fleet, PROTOCOLS[protocol]), *locked.check(server)]
            how = f"{protocol or 'the format it prefers'}: {len(fleet)} exporters, {time.monotonic() - start:.0f} s"
            print(f"{pathlib.Path(program).name} {version}, {how}", flush=True)
    return problems


if __name__ == "__main__":
    use_packages(expositions.CLIENT)
    script(main, LIMIT)
