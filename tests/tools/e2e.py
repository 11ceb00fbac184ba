#!/usr/bin/env python3
"""A real Prometheus scrapes a fleet of exporters, and says over its API what it stored.

One exporter in either naming stands in front of each report of fixtures/ (which a loopback server sends), one in front of a
bridge that is not there, and one in front of a bridge that accepts and is silent. The scrape configuration is that of the
README: the first ```yaml block with `job_name: jitsi`. Only its targets are replaced, and its interval is made short (with it, its timeout).

One more exporter has a web configuration: TLS, client certificates and a password. Jobs with `tls_config` and `basic_auth` scrape
it, one as it should be and others that have to be refused.

Then, for every exporter: `up` is 1; every sample that the report calls for is stored with its value, and no other; type, unit
and help are as the catalogue says; without a report `jitsi_up` is 0, with the right reason. What a report calls for is an
independent reading of it (expositions_reading.py).

The server is `prometheus` (Debian package of that name), or the one given. The variable PROMETHEUS may name a second one; if
that is a release that knows `scrape_protocols` (2.49 and later), it scrapes once as it likes and once with each format forced.
Takes some ten seconds for each time, with a limit for the whole. Traffic goes over loopback only; processes and data are
removed at the end, also after a failure and after Ctrl-C.

    tests/tools/e2e.py [--binary target/release/jitsiexporter] [--prometheus prometheus]
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.error
import urllib.parse

# Nothing is left behind in the sources.
sys.dont_write_bytecode = True

import expositions
import expositions_reading as reading
import web_config

ROOT = expositions.ROOT
README = ROOT / "README.md"
JOB = "jitsi"

# How often the server scrapes here. Long enough for a silent bridge to be given up in time.
INTERVAL = 4
# How long all exporters may take until they have been scraped and were up, and how long the whole may take for each time
# a server is run.
PATIENCE = 30
LIMIT = 80

# The formats that the exporter has, by the names that Prometheus has for them.
PROTOCOLS = {None: "openmetrics", "OpenMetricsText1.0.0": "openmetrics", "PrometheusText0.0.4": "text"}

# What Prometheus adds to what it scrapes.
ADDED = re.compile(r"up|scrape_(duration_seconds|samples_scraped|samples_post_metric_relabeling|series_added|timeout_seconds|\w+_bytes|sample_limit)")


class Failure(Exception):
    """The end, with the reason."""


# ---------------------------------------------------------------------------------------------------------------------------
# The fleet.


class Reports(expositions.Bridge):
    """Bridges of all ages on one port, each under its own path."""

    def __init__(self, reports):
        self.reports = reports
        super().__init__()

    def report(self, path):
        return self.reports[path.split("/")[1]]

    def url_of(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}/colibri/stats"


@contextlib.contextmanager
def dead_bridge():
    """A port that is reserved and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/colibri/stats"


@contextlib.contextmanager
def hung_bridge():
    """A port that accepts every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        held = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    held.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/colibri/stats"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()


@dataclasses.dataclass
class Exporter:
    """One of the fleet: what it stands before, and what it must say."""

    name: str
    naming: str
    url: str
    expected: reading.Reading

    @property
    def address(self):
        return urllib.parse.urlsplit(self.url).netloc

    def __str__(self):
        return f"{self.name}, {self.naming} names"


def start_fleet(binary, stack):
    reports = {name: body for name, body in expositions.fixtures() if "/" not in name}
    bridges = Reports(reports)
    stack.callback(bridges.shutdown)
    dead = stack.enter_context(dead_bridge())
    hung = stack.enter_context(hung_bridge())
    fleet = []
    for naming in reading.NAMINGS:
        bridge = [(name, bridges.url_of(name), reading.read(body, naming)) for name, body in reports.items()]
        bridge.append(("a dead bridge", dead, reading.Reading(up=0, reason="connect")))
        bridge.append(("a hung bridge", hung, reading.Reading(up=0, reason="timeout")))
        for name, url, expected in bridge:
            address = stack.enter_context(expositions.exporter(binary, url, naming))
            fleet.append(Exporter(name, naming, address, expected))
    return fleet, bridges.url_of(max(reports))


class Locked:
    """An exporter with TLS, client certificates and a password, and the jobs that scrape it."""

    # Name, whether a client certificate is sent, the password, and what the server says of a job that is refused.
    JOBS = [
        ("locked", True, "secret", ""),
        ("locked-password", True, "wrong", "401"),
        ("locked-certificate", False, "secret", "tls: "),
        ("locked-authority", True, "secret", "certificate signed by unknown authority"),
    ]

    def __init__(self, binary, url, stack):
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="e2e-")))
        web_config.Certificates(self.folder)
        user = web_config.run("htpasswd", "-nbBC", "10", "prometheus", "secret").strip().replace(":", ": ", 1)
        config = f"{web_config.TLS}{web_config.CA}  client_auth_type: RequireAndVerifyClientCert\nbasic_auth_users:\n  {user}\n"
        (self.folder / "web.yml").write_text(config)
        web = "--web-config-file", str(self.folder / "web.yml")
        url = stack.enter_context(expositions.exporter(binary, url, "standard", *web))
        self.address = urllib.parse.urlsplit(url).netloc

    def jobs(self):
        text = ""
        for name, certificate, password, _ in self.JOBS:
            ca = "other" if name == "locked-authority" else "root"
            text += f"- job_name: {name}\n  scrape_interval: 1s\n  scheme: https\n  basic_auth: {{username: prometheus, password: {password}}}\n"
            text += f"  tls_config:\n    ca_file: {self.folder}/{ca}.pem\n    server_name: localhost\n"
            if certificate:
                text += f"    cert_file: {self.folder}/client.pem\n    key_file: {self.folder}/client.key\n"
            text += f"  static_configs: [{{targets: ['{self.address}']}}]\n"
        return text

    def check(self, server, until):
        """What is wrong with the jobs."""
        wrong = []
        for name, _, _, refusal in self.JOBS:
            while True:
                target = next((t for t in server.get("targets", state="active")["activeTargets"] if t["labels"]["job"] == name), None)
                if target and target["health"] != "unknown":
                    break
                if time.monotonic() > until:
                    raise Failure(f"{name} is not scraped")
                time.sleep(0.2)
            said = target["lastError"]
            if (refusal == "") != (said == "") or refusal not in said:
                wrong.append(f"job {name}: expected {refusal or 'no error'!r}, the server says {said!r}")
        while not wrong:
            up = server.get("query", query='jitsi_up{job="locked"}')["result"]
            if [sample["value"][1] for sample in up] == ["1"]:
                break
            if time.monotonic() > until:
                wrong.append(f"jitsi_up of the job locked is {up}")
            time.sleep(0.2)
        return wrong


# ---------------------------------------------------------------------------------------------------------------------------
# The configuration.


def recommended():
    """The scrape configuration of the README."""
    blocks = re.findall(r"^```ya?ml\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S) if README.exists() else []
    for block in blocks:
        if job_in(block):
            return textwrap.dedent(block)
    raise Failure(f"{README.name} has no ```yaml block with job_name: {JOB}")


def job_in(text):
    return re.search(rf"""^( *)- job_name: *["']?{JOB}["']? *(?:#.*)?$""", text, re.M)


def configuration(block, targets, protocol, more):
    """The block with our targets in its job, a short interval and, if need be, one format only; and with more jobs."""
    if not re.search(r"^scrape_configs:", block, re.M):
        block = "scrape_configs:\n" + textwrap.indent(block, "  ")
    job = job_in(block)
    indent = job.group(1)
    end = re.search(rf"^(?:{indent}- |(?!{indent} )[^\s#])", block[job.end() :], re.M)
    end = job.end() + end.start() if end else len(block)
    before, section, after = block[: job.start()], block[job.start() : end], block[end:]
    lists = r"targets:(?: *\[[^\]]*\]| *(?:#.*)?(?:\n +- .*)+)"
    section, found = re.subn(lists, lambda _: f"targets: {json.dumps(targets)}", section)
    if found != 1:
        raise Failure(f"the job {JOB} of the README has {found} lists of static targets, not 1:\n{section}")
    section = re.sub(r"^ *scrape_(?:interval|timeout):.*\n", "", section, flags=re.M)
    head, rest = section.split("\n", 1)
    settings = {"scrape_interval": f"{INTERVAL}s"} | ({"scrape_protocols": f"[{protocol}]"} if protocol else {})
    added = "".join(f"{indent}  {name}: {value}\n" for name, value in settings.items())
    # Other jobs in the same block are the business of other exporters.
    before, after = (re.sub(lists, "targets: []", text) for text in (before, after))
    return f"{before}{textwrap.indent(more, indent)}{head}\n{added}{rest}{after}"


# ---------------------------------------------------------------------------------------------------------------------------
# The server.


class Server:
    """A Prometheus with its data in a folder that goes with it."""

    def __init__(self, binary, config):
        self.folder = tempfile.TemporaryDirectory(prefix="e2e-")
        path = pathlib.Path(self.folder.name)
        (path / "prometheus.yml").write_text(config, encoding="utf-8")
        self.log_file = path / "log"
        command = [
            binary,
            f"--config.file={path}/prometheus.yml",
            f"--storage.tsdb.path={path}/data",
            "--web.listen-address=127.0.0.1:0",
            # Usually it waits five seconds before it looks at its targets.
            "--scrape.discovery-reload-interval=1s",
        ]
        try:
            with self.log_file.open("wb") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log, env=expositions.environment(), cwd=path)
        except OSError as error:
            self.folder.cleanup()
            raise Failure(f"cannot run {binary}: {error} (it is in Debian's package prometheus)") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        expositions.stop(self.process)
        self.folder.cleanup()

    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_for_address(self):
        """The port that the system chose is in the log."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            listens = re.search(r'msg="Listening on".* address=(127\.0\.0\.1:\d+)', self.log())
            if listens and "Server is ready to receive web requests" in self.log():
                self.api = f"http://{listens.group(1)}/api/v1"
                return
            time.sleep(0.1)
        raise Failure(f"the server does not start:\n{self.log()[-2000:]}")

    def get(self, path, **parameters):
        url = f"{self.api}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with expositions.DIRECT.open(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError as error:
            said = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
            raise Failure(f"GET {url}: {error} {said}\n{self.log()[-2000:]}") from error

    def targets(self):
        """By address."""
        targets = self.get("targets", state="active")["activeTargets"]
        return {t["discoveredLabels"]["__address__"]: t for t in targets if t["labels"]["job"] == JOB}

    def wait_for_scrapes(self, fleet, until):
        """The targets by address, when each of the fleet has been scraped."""
        while True:
            targets = self.targets()
            waiting = [e for e in fleet if targets.get(e.address, {}).get("health", "unknown") == "unknown"]
            if not waiting:
                return targets
            if time.monotonic() > until:
                raise Failure(f"not scraped after {PATIENCE} s: {', '.join(map(str, waiting))}\n{self.log()[-2000:]}")
            time.sleep(0.2)

    def look(self, target, until):
        """A target and its samples. If it is not up, the machine may have been busy: it is looked at again after a scrape."""
        while True:
            samples = self.get("query", query=selector(target["labels"]))["result"]
            up = any(s["metric"]["__name__"] == "up" and s["value"][1] == "1" for s in samples)
            if up and target["health"] == "up" or time.monotonic() > until:
                return target, samples
            time.sleep(INTERVAL)
            target = self.targets()[target["discoveredLabels"]["__address__"]]


def selector(labels):
    """A selector of exactly these labels. JSON writes strings as PromQL does."""
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"


def check(server, fleet, form):
    """Everything that is not as it should be, and how much was looked at."""
    until = time.monotonic() + PATIENCE
    targets = server.wait_for_scrapes(fleet, until)
    problems, count = [], collections.Counter()
    if len(targets) != len(fleet):
        problems.append(f"the server has {len(targets)} targets, the fleet has {len(fleet)}")
    looks = [server.look(targets[exporter.address], until) for exporter in fleet]
    metadata = collections.defaultdict(dict)
    for entry in server.get("targets/metadata", match_target=selector({"job": JOB})):
        metadata[entry["target"]["instance"]][entry["metric"]] = entry
    for exporter, (target, samples) in zip(fleet, looks):
        before = len(problems)
        if target["health"] != "up":
            problems.append(f"is {target['health']} to the server: {target['lastError']}")
        check_samples(samples, target["labels"], exporter.expected, problems.append, count)
        check_metadata(metadata[target["labels"]["instance"]], exporter, form, problems.append, count)
        problems[before:] = [f"{exporter}: {problem}" for problem in problems[before:]]
    return problems, count


def check_samples(result, target, expected, wrong, count):
    """What is stored of one target."""
    got, added = {}, {}
    for series in result:
        labels = {name: value for name, value in series["metric"].items() if name not in target}
        name = labels.pop("__name__")
        value = float(series["value"][1])
        if ADDED.fullmatch(name):
            added[name] = value
        else:
            got[reading.identity(name, labels)] = value
    if added.get("up") != 1:
        wrong(f"up is {added.get('up')}")
    if added.get("scrape_samples_scraped") != len(got):
        wrong(f"{added.get('scrape_samples_scraped')} samples scraped, {len(got)} stored")
    if not 0 <= got.pop(reading.identity(expositions.DURATION, {}), math.nan) < INTERVAL:
        wrong(f"{expositions.DURATION} is not there, or nonsense")
    wanted = {
        reading.identity("jitsi_up", {}): [expected.up],
        reading.identity("jitsi_unexposed_values", {}): [expected.unexposed],
        reading.identity("jitsi_exporter_build_info", {"version": VERSION}): [1],
        **expected.samples,
    }
    if not expected.up:
        wanted[reading.identity("jitsi_scrape_error", {"reason": expected.reason})] = [1]
    for identity, values in wanted.items():
        # A label without a value is no label to Prometheus.
        name, labels = identity
        stored = got.pop((name, tuple(label for label in labels if label[1] != "")), None)
        count["samples"] += 1
        if stored is None:
            count["missing"] += 1
            wrong(f"missing: {reading.shown(identity)} {values}")
        elif not any(stored == float(value) or (math.isnan(stored) and math.isnan(value)) for value in values):
            count["wrong"] += 1
            wrong(f"wrong: {reading.shown(identity)} {stored}, should be {values}")
    for identity, value in got.items():
        count["invented"] += 1
        wrong(f"invented: {reading.shown(identity)} {value}")


def check_metadata(entries, exporter, form, wrong, count):
    """Type, unit and help of each family: as the catalogue says, and in the words of the exporter."""
    try:
        served = expositions.parse(expositions.fetch(exporter.url, form), form, wrong)
    except OSError as error:
        wrong(f"GET {exporter.url}: {error}")
        return
    if entries.keys() != served.keys():
        wrong(f"families with metadata: {sorted(entries.keys() ^ served.keys())} at one end only")
    families = [*reading.OWN, *exporter.expected.families]
    if exporter.expected.up:
        families = [family for family in families if family.name != "jitsi_scrape_error"]
    for family in families:
        for name, kind in [family.openmetrics()] if form == "openmetrics" else family.text():
            entry = entries.get(name)
            count["metadata"] += 1
            if entry is None:
                wrong(f"{name} has no metadata")
                continue
            kind = "unknown" if kind == "untyped" else kind
            unit = family.unit if form == "openmetrics" else ""
            if (entry["type"], entry["unit"]) != (kind, unit):
                wrong(f"{name} is a {entry['type']} in {entry['unit']!r}, should be a {kind} in {unit!r}")
            if not entry["help"].endswith(family.help_ends()) or name not in served or entry["help"] != served[name].help:
                wrong(f"the help of {name} should end with {family.help_ends()}: {entry['help']}")


def run(binary, block, fleet, locked, protocol, form):
    """One server, from start to end. Says what it found."""
    start = time.monotonic()
    config = configuration(block, [exporter.address for exporter in fleet], protocol, locked.jobs())
    with Server(binary, config) as server:
        server.wait_for_address()
        version = server.get("status/buildinfo")["version"] or "of unknown version"
        problems, count = check(server, fleet, form)
        problems += locked.check(server, time.monotonic() + PATIENCE)
        if problems:
            problems.append("the end of the server's log:\n" + textwrap.indent(server.log()[-1000:], "    "))
    print(
        f"{pathlib.Path(binary).name} {version}, {protocol or 'the format it prefers'}: {len(fleet)} exporters, "
        f"{count['samples']} samples, {count['metadata']} families with metadata; missing {count['missing']}, "
        f"wrong {count['wrong']}, invented {count['invented']}; {time.monotonic() - start:.0f} s",
        flush=True,
    )
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/jitsiexporter"), help="the jitsiexporter to scrape")
    parser.add_argument("--prometheus", default="prometheus", help="the server")
    options = parser.parse_args()

    def end(number, _frame):
        raise Failure(f"took longer than {LIMIT} s for a server" if number == signal.SIGALRM else "was told to stop")

    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, end)
    try:
        if not shutil.which(options.binary):
            raise Failure(f"there is no {options.binary}: cargo build --release makes it")
        problems = []
        block = recommended()
        with contextlib.ExitStack() as stack:
            signal.alarm(LIMIT)
            fleet, url = start_fleet(options.binary, stack)
            locked = Locked(options.binary, url, stack)
            problems += run(options.prometheus, block, fleet, locked, None, PROTOCOLS[None])
            second = os.environ.get("PROMETHEUS")
            for protocol, form in PROTOCOLS.items() if second else []:
                signal.alarm(LIMIT)
                problems += run(second, block, fleet, locked, protocol, form)
        signal.alarm(0)
    except Failure as failure:
        print(f"e2e: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("e2e: interrupted", file=sys.stderr)
        return 130
    for problem in problems:
        print(problem)
    print(f"problems: {len(problems)}")
    return 1 if problems else 0


VERSION = expositions.version()

if __name__ == "__main__":
    sys.exit(main())
