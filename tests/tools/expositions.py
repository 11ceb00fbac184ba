#!/usr/bin/env python3
"""Holds expositions against the tools that read them, and against an independent reading of what the bridge said.

Checked are the golden files (fixtures/expected/<fixture>.<standard|legacy>.<openmetrics|text>) and, with --binary, what the
program serves for each fixture and for some two hundred odd reports (expositions_odd.py), in both namings and both formats:

  1. `promtool check metrics` accepts text 0.0.4 in standard names. In legacy names, which are not those that
     Prometheus recommends, it must read the text. It reads no OpenMetrics (2.42: 'unknown metric type "info"'); those files
     go through Prometheus' own reader of OpenMetrics instead (`promtool tsdb create-blocks-from openmetrics`, on a copy with
     a time behind each sample, as that command wants).
  2. The strict OpenMetrics parser of the official Python client reads each OpenMetrics file to its end.
  3. A strict reader of either format, line by line (here), and the client's parser of text 0.0.4.
  4. The two formats of one document say the same, sample by sample.
  5. Each sample that the report calls for is there with its value, type and unit, and no other (expositions_reading.py):
     missing, wrong and invented samples are counted, and all three must be 0.

Before all that a golden file is spoilt in many ways, and each must be noticed.

Needs: promtool (Debian package prometheus) and, on the first run, the Python package index, from which the client is installed
into target/. The golden files take a few seconds, a program half a minute. Traffic goes over loopback only.

    tests/tools/expositions.py [--binary target/release/jitsiexporter] [--expected DIR]
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import http.client
import http.server
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
import venv

# Nothing is left behind in the sources.
sys.dont_write_bytecode = True

import expositions_odd
import expositions_reading as reading
from json_handler import JsonHandler

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
CLIENT = "prometheus_client==0.26.0"
VENV = ROOT / "target" / "tools" / CLIENT.replace("==", "-")

FORMATS = {
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "text": "text/plain; version=0.0.4; charset=utf-8",
}

# What promtool calls it when it can read a text, and wishes something were different.
PROMTOOL_LINT = 3

# Legacy names are not what Prometheus recommends.
LINT = {"standard": "silent", "legacy": "lint"}

# Everything that differs from scrape to scrape.
DURATION = "jitsi_scrape_duration_seconds"


def use_client():
    """Goes on in a Python that has the official client, which is installed into the folder of build results if need be."""
    python = VENV / "bin" / "python"
    ready = VENV / "ready"
    if not ready.exists():
        print(f"installing {CLIENT} into {VENV.relative_to(ROOT)}", flush=True)
        try:
            venv.create(VENV, clear=True, with_pip=True)
        except subprocess.CalledProcessError:
            sys.exit("Python cannot make a virtual environment (on Debian: apt-get install python3-venv)")
        pip = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", CLIENT], check=False)
        if pip.returncode != 0:
            sys.exit(f"pip cannot install {CLIENT}")
        ready.touch()
    if pathlib.Path(sys.prefix) != VENV:
        os.execv(python, [python, *sys.argv])


# ---------------------------------------------------------------------------------------------------------------------------
# A strict reader of both formats, line by line.

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
NUMBER = r"NaN|[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
# OpenMetrics reads an infinity in any letters, and the Rust client writes small ones. In text 0.0.4 it has a sign and a capital.
VALUE = {"openmetrics": rf"{NUMBER}|[+-]?[Ii]nf", "text": rf"{NUMBER}|[+-]Inf"}
SAMPLE = {
    form: re.compile(rf"({NAME})(?:\{{((?:{LABEL})(?:,{LABEL})*)\}})? ({value})") for form, value in VALUE.items()
}
METADATA = re.compile(rf"# (HELP|TYPE|UNIT) ({NAME}) (.*)")
HELP_TEXT = {
    "openmetrics": re.compile(r'(?:[^\\"]|\\["\\n])+'),
    "text": re.compile(r"(?:[^\\]|\\[\\n])+"),
}
SUFFIXES = {
    "openmetrics": {
        "gauge": [""], "unknown": [""], "counter": ["_total"], "info": ["_info"],
        "histogram": ["_bucket", "_count", "_sum"], "gaugehistogram": ["_bucket", "_gcount", "_gsum"],
    },
    "text": {"gauge": [""], "untyped": [""], "counter": [""], "histogram": ["_bucket", "_count", "_sum"]},
}


@dataclasses.dataclass
class Family:
    name: str
    help: str | None = None
    type: str | None = None
    unit: str = ""
    # (name, labels) -> the value as it is written, in the order of the text.
    samples: dict = dataclasses.field(default_factory=dict)
    # The labels as they are written, of the same samples.
    written: list = dataclasses.field(default_factory=list)


def unescape(text):
    return re.sub(r'\\(["\\n])', lambda match: "\n" if match.group(1) == "n" else match.group(1), text)


def parse(text, form, wrong):
    """The families by name. What is not as it should be goes to `wrong`."""
    families = {}
    family = None
    lines = text.split("\n")
    if lines.pop() != "":
        wrong("the last line does not end")
    if form == "openmetrics":
        if not lines or lines.pop() != "# EOF":
            wrong("the last line is not # EOF")
    seen = set()
    for line in lines:
        metadata = METADATA.fullmatch(line)
        if metadata:
            word, name, rest = metadata.groups()
            if family is None or family.name != name:
                if name in families:
                    wrong(f"the family {name} comes a second time: {line}")
                family = families.setdefault(name, Family(name))
            if family.samples:
                wrong(f"behind the samples: {line}")
            field = word.lower()
            if getattr(family, field):
                wrong(f"a second {word}: {line}")
            if word == "UNIT" and (form == "text" or not name.endswith(f"_{rest}")):
                wrong(f"a UNIT that may not be: {line}")
            if word == "TYPE" and rest not in SUFFIXES[form]:
                wrong(f"a TYPE that this format does not have: {line}")
            if word == "HELP" and not HELP_TEXT[form].fullmatch(rest):
                wrong(f"HELP that is empty or badly escaped: {line}")
            setattr(family, field, rest)
            continue
        sample = SAMPLE[form].fullmatch(line)
        if not sample:
            wrong(f"no line of this format: {line!r:.200}")
            continue
        name, written, value = sample.groups()
        labels = [label.split("=", 1) for label in re.findall(LABEL, written or "")]
        labels = [(label, unescape(quoted[1:-1])) for label, quoted in labels]
        if len(dict(labels)) != len(labels):
            wrong(f"a label twice: {line}")
        allowed = SUFFIXES[form].get(family.type, []) if family else []
        if family is None or family.help is None or name not in [family.name + suffix for suffix in allowed]:
            wrong(f"a sample that is not of the family above it, or before its HELP and TYPE: {line}")
            continue
        identity = reading.identity(name, labels)
        if identity in seen:
            wrong(f"a second time: {line}")
        seen.add(identity)
        family.samples[identity] = value
        family.written.append((name, written, value))
    for family in families.values():
        check_family(family, form, families, wrong)
    if not text.replace("# ", "").startswith("HELP jitsi_up "):
        wrong("jitsi_up is not the first")
    return families


def check_family(family, form, families, wrong):
    """What the lines of a family have to be together."""
    if family.type is None or family.help is None or not family.samples:
        wrong(f"{family.name}: without HELP, TYPE or samples")
        return
    values = {identity: as_number(value) for identity, value in family.samples.items()}
    if family.type in ("counter", "histogram") and any(not value >= 0 for value in values.values()):
        wrong(f"{family.name}: a counter that is negative or NaN")
    if family.type == "info" and set(values.values()) != {1}:
        wrong(f"{family.name}: an info metric that is not 1")
    if "histogram" in family.type:
        buckets = [(float(dict(labels)["le"]), value) for (name, labels), value in values.items() if name.endswith("_bucket")]
        bounds, counts = zip(*buckets, strict=True) if buckets else ((), ())
        if not bounds or list(bounds) != sorted(set(bounds)) or bounds[-1] != math.inf:
            wrong(f"{family.name}: buckets out of order, or without +Inf: {bounds}")
        elif list(counts) != sorted(counts) or any(count != int(count) for count in counts):
            wrong(f"{family.name}: buckets that do not add up: {counts}")
        else:
            count, total = ("_gcount", "_gsum") if family.type == "gaugehistogram" else ("_count", "_sum")
            count, total = ((family.name + suffix, ()) for suffix in (count, total))
            # In text 0.0.4 a distribution as it is now is three families.
            outside = families.get(f"{family.name}_gcount")
            if form == "text" and outside is not None and count not in values:
                count = (outside.name, ())
                total = (f"{family.name}_gsum", ())
                sums = families.get(total[0])
                values |= {count: as_number(outside.samples.get(count, "NaN"))}
                values |= {total: as_number(sums.samples.get(total, "NaN"))} if sums else {}
            if values.get(count) != counts[-1] or total not in values:
                wrong(f"{family.name}: the count is not that of the last bucket, or there is no sum")


def as_number(text):
    """A number as exact as it is written."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else float(text.replace("Inf", "inf"))


# ---------------------------------------------------------------------------------------------------------------------------
# The checks.

WORDS = {"gauge": "gauge", "unknown": "untyped", "counter": "counter", "info": "gauge", "histogram": "histogram"}


def agree(openmetrics, text, naming, masked, wrong):
    """The two formats of one document: the same samples, and the same said about them. What the Rust client cannot write is
    behind everything else, which is not the same in both."""
    rows = [
        sorted(((family, *row) for family in families.values() for row in family.written), key=lambda row: (row[1], row[2] or ""))
        for families in (openmetrics, text)
    ]
    for (left, *one), (right, *other) in zip(*rows, strict=False):
        # The same float can be written in several ways: 1e23 is 9.999999999999999e22.
        same = as_number(one[2]) == as_number(other[2]) or one[2] == other[2] == "NaN"
        if one[:2] != other[:2] or not (same or one[0] in masked):
            wrong(f"OpenMetrics has {one}, text has {other}")
            return
        if left.help != right.help:
            wrong(f"{left.name}: OpenMetrics and text differ in HELP")
        word = WORDS.get(left.type)
        if left.type == "gaugehistogram":
            word = "gauge" if one[0].endswith(("_gcount", "_gsum")) else "histogram"
        if naming == "legacy" and left.type == "unknown" and right.type == "counter":
            word = "counter"
        if right.type != word:
            wrong(f"{left.name}: {left.type} in OpenMetrics, {right.type} in text")
    if len(rows[0]) != len(rows[1]):
        wrong(f"{len(rows[0])} samples in OpenMetrics, {len(rows[1])} in text")


def compare(families, form, expected, version, wrong):
    """Samples against an independent reading of the report. Returns how many are missing, wrong and invented."""
    got = {identity: value for family in families.values() for identity, value in family.samples.items()}
    types = {family.name: family for family in families.values()}
    count = collections.Counter()

    def finding(kind, what):
        count[kind] += 1
        wrong(f"{kind}: {what}")

    def take(identity, values):
        names = [(name, identity[1]) for name in identity[0].split("|")]
        here = next((name for name in names if name in got), None)
        if here is None:
            finding("missing", f"{reading.shown(identity)} {values}")
        else:
            value = got.pop(here)
            count["samples"] += 1
            if not any(reading.same(value, accepted) for accepted in values):
                finding("wrong", f"{reading.shown(here)} {value}, should be {' or '.join(map(str, values))}")

    # About the scrape.
    there = [identity for identity, value in expected.optional if identity in got and reading.same(got[identity], value)]
    for identity in there:
        del got[identity]
    if len(there) < expected.of_optional:
        finding("missing", f"{expected.of_optional - len(there)} of {len(expected.optional)} samples of unknown keys")
    # What may be there and is not is counted.
    unexposed = expected.unexposed - len(there)
    take(reading.identity("jitsi_up", {}), [expected.up])
    take(reading.identity("jitsi_unexposed_values", {}), [unexposed])
    if not expected.up:
        take(reading.identity("jitsi_scrape_error", {"reason": expected.reason}), [1])
    take(reading.identity("jitsi_exporter_build_info", {"version": version}), [1])
    duration = got.pop(reading.identity(DURATION, {}), "NaN")
    count["samples"] += 1
    if not 0 <= as_number(duration) < 10:
        finding("wrong", f"{DURATION} {duration}")
    # Of the report.
    for identity, values in expected.samples.items():
        take(identity, values)
    for identity, value in got.items():
        finding("invented", f"{reading.shown(identity)} {value}")
    # What is said about them.
    for family in [*reading.OWN, *expected.families]:
        for name, kind in [family.openmetrics()] if form == "openmetrics" else family.text():
            here = next((types[n] for n in name.split("|") if n in types), None)
            if here is None:
                if family not in reading.OWN:
                    finding("wrong", f"there is no family {name}")
                continue
            if here.type != kind:
                finding("wrong", f"{name} is a {here.type}, should be a {kind}")
            if form == "openmetrics" and here.unit != family.unit:
                finding("wrong", f"{name} is in {here.unit!r}, should be in {family.unit!r}")
            if not (here.help or "").endswith(family.help_ends()):
                finding("wrong", f"the help of {name} does not end with {family.help_ends()}: {here.help}")
    return count


class Promtool:
    """Debian's promtool."""

    def __init__(self, binary):
        self.binary = binary
        try:
            out = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"cannot run {binary}: {error} (it is in Debian's package prometheus)")
        self.version = (out.stdout + out.stderr).split("\n")[0]

    def check_metrics(self, text, strict, wrong):
        done = subprocess.run([self.binary, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if done.returncode != 0 and (strict or done.returncode != PROMTOOL_LINT):
            wrong(f"promtool check metrics: {said}")
        elif said and strict:
            wrong(f"promtool check metrics says something: {said}")

    def read_openmetrics(self, text, wrong):
        timed = re.sub(r"^([^#\n].*)$", r"\1 1700000000", text, flags=re.M)
        with tempfile.TemporaryDirectory(prefix="expositions-") as folder:
            file = pathlib.Path(folder) / "openmetrics"
            file.write_text(timed, encoding="utf-8", newline="")
            command = [self.binary, "tsdb", "create-blocks-from", "openmetrics", "--quiet", file, f"{folder}/data"]
            done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            wrong(f"Prometheus' reader of OpenMetrics: {said}")


def read_with_client(text, form, families, wrong):
    """The official client must read it, and see the same samples."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
    from prometheus_client.parser import text_string_to_metric_families as text_0_0_4

    try:
        metrics = list((openmetrics if form == "openmetrics" else text_0_0_4)(text))
    except Exception as error:  # The client raises whatever comes to hand, KeyError and AttributeError among it.
        wrong(f"the parser of the Python client: {error!r}")
        return
    seen = {
        reading.identity(sample.name, sample.labels): float(sample.value) for metric in metrics for sample in metric.samples
    }
    here = {}
    for family in families.values():
        for (name, labels), value in family.samples.items():
            # The client puts _total behind the name of every counter of 0.0.4.
            total = form == "text" and family.type == "counter" and not name.endswith("_total")
            here[f"{name}_total" if total else name, labels] = float(as_number(value))
    if seen.keys() != here.keys():
        wrong(f"the Python client sees other samples: {sorted(map(str, seen.keys() ^ here.keys()))[:5]}")
    elif any(value != here[identity] and not math.isnan(value) for identity, value in seen.items()):
        wrong("the Python client sees other values")


@dataclasses.dataclass
class Document:
    """An answer of a bridge, and what the exporter makes of it in one naming: format -> text."""

    name: str
    naming: str
    body: bytes
    texts: dict
    # What promtool has to say: nothing, nothing but lint, or it is not asked.
    promtool: str = "silent"


class Findings:
    """What is not as it should be, and how much was looked at."""

    def __init__(self):
        self.count = collections.Counter()
        self.problems = []
        self.lock = threading.Lock()

    def about(self, what):
        def wrong(problem):
            with self.lock:
                self.problems.append((what, problem))

        return wrong

    def add(self, count):
        with self.lock:
            self.count += count


def check(document, version, promtool, findings, masked=()):
    """Everything, on one document."""
    expected = reading.read(document.body, document.naming)
    parsed = {}
    for form, text in document.texts.items():
        wrong = findings.about(f"{document.name}, {document.naming} names, {form}")
        parsed[form] = parse(text, form, wrong)
        read_with_client(text, form, parsed[form], wrong)
        if document.promtool and form == "text":
            promtool.check_metrics(text, document.promtool == "silent", wrong)
        elif document.promtool:
            promtool.read_openmetrics(text, wrong)
        count = compare(parsed[form], form, expected, version, wrong)
        findings.add(count + collections.Counter({"expositions": 1, form: 1}))
    if len(parsed) == 2:
        wrong = findings.about(f"{document.name}, {document.naming} names")
        agree(parsed["openmetrics"], parsed["text"], document.naming, masked, wrong)
        findings.add(collections.Counter({"pairs": 1}))


def check_all(documents, version, promtool, findings, masked=()):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for job in [pool.submit(check, document, version, promtool, findings, masked) for document in documents]:
            job.result()


# ---------------------------------------------------------------------------------------------------------------------------
# Where the expositions come from.


def fixtures():
    """The reports: name (captured/... for those that a bridge sent) and bytes."""
    for file in sorted(FIXTURES.glob("**/*.json")):
        name = str(file.relative_to(FIXTURES).with_suffix(""))
        if not name.startswith("expected/"):
            yield name, file.read_bytes()


def golden(expected, findings):
    """The golden files, by document."""
    bodies = dict(fixtures())
    documents = {}
    for file in sorted(expected.glob("**/*")):
        if file.is_dir():
            continue
        match = re.fullmatch(r"(.+)\.(standard|legacy)\.(openmetrics|text)", str(file.relative_to(expected)))
        if not match or match.group(1) not in bodies:
            findings.about(str(file))("a golden file of no fixture")
            continue
        name, naming, form = match.groups()
        document = documents.setdefault((name, naming), Document(name, naming, bodies[name], {}, LINT[naming]))
        document.texts[form] = file.read_bytes().decode()
    for name in bodies:
        for naming in reading.NAMINGS:
            there = documents[name, naming].texts if (name, naming) in documents else {}
            wanted = FORMATS if "/" not in name else ["openmetrics"] if naming == "standard" else []
            for form in wanted:
                if form not in there:
                    findings.about(f"{name}.{naming}.{form}")("there is no such golden file")
    return documents.values()


def version():
    """The exporter's."""
    return re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.M).group(1)


class Bridge(http.server.ThreadingHTTPServer):
    """A bridge on loopback that sends what it is told to."""

    daemon_threads = True
    # A fleet connects at once.
    request_queue_size = 128
    body = b"{}"

    def __init__(self):
        class Handler(JsonHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet, as a bridge sends them.
            wbufsize = 1 << 16

            def do_GET(self):
                self.answer(self.server.report(self.path))

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/colibri/stats"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def report(self, _path):
        return self.body


def environment():
    """Without settings of the exporter and without proxies."""
    return {key: value for key, value in os.environ.items() if not key.startswith("JITSIEXPORTER_") and "proxy" not in key.lower()}


def arguments(url, naming):
    return ["--url", url, *(["--legacy-names"] if naming == "legacy" else [])]


@contextlib.contextmanager
def exporter(binary, url, naming, *more):
    """A running exporter with more arguments; gives the address of its metrics."""
    command = [binary, *arguments(url, naming), "--listen-address", "127.0.0.1:0", *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    # What it says later is read and dropped, so that it never waits for a reader.
    drain = threading.Thread(target=lambda: collections.deque(process.stderr, maxlen=0), daemon=True)
    try:
        first = process.stderr.readline()
        drain.start()
        address = re.search(r"listens on (https?://127\.0\.0\.1:\d+/metrics)", first)
        if not address:
            sys.exit(f"{binary} does not say where it listens: {first}")
        yield address.group(1)
    finally:
        stop(process)
        drain.join()
        process.stderr.close()


def stop(process):
    """It may answer what it has begun, but not for ever."""
    process.terminate()
    try:
        process.wait(7)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url, form):
    # A bridge that hangs should not delay the checks.
    headers = {"Accept": FORMATS[form].replace(" ", ""), "X-Prometheus-Scrape-Timeout-Seconds": "2"}
    request = urllib.request.Request(url, headers=headers)
    with DIRECT.open(request, timeout=10) as answer:
        if answer.headers["Content-Type"] != FORMATS[form]:
            raise OSError(f"asked for {FORMATS[form]}, got {answer.headers['Content-Type']}")
        return answer.read().decode()


def live(binary, findings):
    """What the program serves for each fixture and each odd report."""
    reports = dict(fixtures())
    newest = max(name for name in reports if "/" not in name)
    good = reports[newest]
    odd = {f"odd: {name}": body for name, body in expositions_odd.documents(good)}
    bridge = Bridge()
    for naming in reading.NAMINGS:
        with exporter(binary, bridge.url, naming) as url:
            for name, body in (reports | odd).items():
                # An odd report may have keys of which no good name can be made.
                lint = LINT[naming] if name in reports else "lint" if expositions_odd.IN_FRONT not in name else ""
                bridge.body = body
                document = Document(name, naming, body, {}, lint)
                for form in FORMATS:
                    try:
                        document.texts[form] = fetch(url, form)
                    except (OSError, ValueError, http.client.HTTPException) as error:
                        findings.about(f"{name}, {naming} names, {form}")(f"no answer to GET /metrics: {error!r}")
                yield document
        bridge.body = good
        once = subprocess.run(
            [binary, *arguments(bridge.url, naming), "--once"], capture_output=True, text=True, check=False, env=environment()
        )
        if once.returncode != 0:
            findings.about("--once")(f"exit {once.returncode}: {once.stderr}")
        yield Document(f"--once: {newest}", naming, good, {"text": once.stdout}, LINT[naming])
    bridge.shutdown()


# ---------------------------------------------------------------------------------------------------------------------------
# Does it notice? Each of these spoils a good exposition.


def spoil_pattern(pattern, replacement):
    def spoil(text):
        return re.sub(pattern, replacement, text, count=1, flags=re.M)

    return spoil


SPOILT = {
    "a sample lost": spoil_pattern(r"^jitsi_participants .*\n", ""),
    "a family lost": spoil_pattern(r"^# HELP jitsi_threads .*\n.*\n.*\n", ""),
    "a sample invented": spoil_pattern(
        r"^(# HELP jitsi_threads )", r"# HELP jitsi_new Not known.\n# TYPE jitsi_new gauge\njitsi_new 0\n\1"
    ),
    "the last digit": spoil_pattern(r"^(jitsi_sent_bytes_total \d+)\d$", r"\g<1>9"),
    "a float for an integer": spoil_pattern(r"^(jitsi_participants \d+)$", r"\1.0"),
    "a float next to it": spoil_pattern(r"^(jitsi_rtt_aggregate_seconds 0\.0523125)$", r"\g<1>0000000001"),
    "multiplied, not divided": spoil_pattern(r"^(jitsi_video_stream_received_seconds_total) .*$", r"\1 982331.0040000001"),
    "not converted": spoil_pattern(r"^(jitsi_rtt_aggregate_seconds) .*$", r"\1 52.3125"),
    "a boolean in words": spoil_pattern(r"^(jitsi_graceful_shutdown) 0", r"\1 false"),
    "another type": spoil_pattern(r"^(# TYPE jitsi_participants) gauge", r"\1 counter"),
    "another label": spoil_pattern(r"^(jitsi_bridge_info\{.*)region=", r"\1area="),
    "a label with another value": spoil_pattern(r'region="eu-central"', r'region="eu-west"'),
    "a label with a quote": spoil_pattern(r'region="eu-central"', r'region="eu"central"'),
    "a label with an escape of no format": spoil_pattern(r'region="eu-central"', r'region="eu\\tcentral"'),
    "a comma too many": spoil_pattern(r'"\} 1$', r'",} 1'),
    "a sample twice": spoil_pattern(r"^(jitsi_participants .*\n)", r"\1\1"),
    "a family twice": spoil_pattern(r"^((# HELP jitsi_threads .*\n)(?:.*\n){2})", r"\1\1"),
    "HELP behind the samples": spoil_pattern(r"^(# HELP jitsi_threads .*\n)(.*\n.*\n)", r"\2\1"),
    "no TYPE": spoil_pattern(r"^# TYPE jitsi_threads .*\n", ""),
    "no HELP": spoil_pattern(r"^# HELP jitsi_threads .*\n", ""),
    "HELP of another key": spoil_pattern(r"\(threads or thread_count\)\.$", "(thread)."),
    "a badly escaped HELP": spoil_pattern(r"\(threads or thread_count\)\.$", r"(threads)\\."),
    "a sample in another family": spoil_pattern(r"^(jitsi_threads .*\n)((?:.*\n){2})", r"\2\1"),
    "a name that is none": spoil_pattern(r"^((?:# HELP |# TYPE )?)jitsi_threads", r"\1jitsi-threads"),
    "a bucket lost at the end": spoil_pattern(r'^jitsi_conference_sizes_bucket\{le="\+Inf"\} .*\n', ""),
    "a bucket that is not cumulative": spoil_pattern(r'^(jitsi_conference_sizes_bucket\{le="3\.0"\}) .*$', r"\1 0"),
    "buckets out of order": spoil_pattern(r'^(jitsi_conference_sizes_bucket\{le="2\.0"\} .*\n)(.*\n)', r"\2\1"),
    "a count of its own": spoil_pattern(r"^(jitsi_conference_sizes_gcount) .*$", r"\1 5"),
    "a sum of its own": spoil_pattern(r"^(jitsi_conference_sizes_gsum) .*$", r"\1 15"),
    "a histogram's sum": spoil_pattern(r"^(jitsi_tossed_packets_energy_sum) .*$", r"\1 33001.0"),
    "a histogram's count": spoil_pattern(r"^(jitsi_tossed_packets_energy_count) .*$", r"\1 801"),
    "a negative counter": spoil_pattern(r"^(jitsi_ice_failed_total) .*$", r"\1 -21"),
    "an infinity": spoil_pattern(r"^(jitsi_stress_level) .*$", r"\1 +Inf"),
    "no number": spoil_pattern(r"^(jitsi_stress_level) .*$", r"\1 NaN"),
    "a value in hexadecimal": spoil_pattern(r"^(jitsi_threads) .*$", r"\1 0xa3"),
    "a time behind it": spoil_pattern(r"^(jitsi_threads .*)$", r"\1 1700000000"),
    "two spaces": spoil_pattern(r"^(jitsi_threads) ", r"\1  "),
    "a space at the end": spoil_pattern(r"^(jitsi_threads .*)$", r"\1 "),
    "a carriage return": spoil_pattern(r"^(jitsi_threads .*)$", "\\1\r"),
    "an empty line": spoil_pattern(r"^(# HELP jitsi_threads )", r"\n\1"),
    "a comment": spoil_pattern(r"^(# HELP jitsi_threads )", r"# here we are\n\1"),
    "no last line feed": lambda text: text[:-1],
    "half of it": lambda text: text[: len(text) // 2],
    "nothing": lambda _: "",
    "not up": spoil_pattern(r"^jitsi_up 1", "jitsi_up 0"),
    "another count of what is left": spoil_pattern(r"^(jitsi_unexposed_values) .*$", r"\1 7"),
    "the wrong place for jitsi_up": spoil_pattern(r"^((?:# .*\n)+jitsi_up .*\n)((?:# .*\n)+[^#].*\n)", r"\2\1"),
}
SPOILT_OPENMETRICS = {
    "no UNIT": spoil_pattern(r"^# UNIT jitsi_rtt.*\n", ""),
    "another UNIT": spoil_pattern(r"^(# UNIT jitsi_rtt_aggregate_seconds) .*$", r"\1 milliseconds"),
    "no EOF": spoil_pattern(r"^# EOF\n", ""),
    "lines behind EOF": lambda text: text + "jitsi_more 1\n",
    "untyped": spoil_pattern(r"^(# TYPE jitsi_threads) gauge", r"\1 untyped"),
    "a counter with _total in TYPE": spoil_pattern(r"^(# TYPE jitsi_ice_failed) ", r"\1_total "),
}
SPOILT_TEXT = {
    "UNIT": spoil_pattern(r"^(# TYPE jitsi_rtt_aggregate_seconds .*)$", r"\1\n# UNIT jitsi_rtt_aggregate_seconds seconds"),
    "EOF": lambda text: text + "# EOF\n",
    "unknown": spoil_pattern(r"^(# TYPE jitsi_threads) gauge", r"\1 unknown"),
}
SAMPLE_OF_ALL_KINDS = "2021-12-2.1-595"


def check_checks(documents, version):
    """Spoils one format of a document at a time. Returns how often, and what was not noticed."""
    document = next((d for d in documents if d.name == SAMPLE_OF_ALL_KINDS and d.naming == "standard"), None)
    if document is None or len(document.texts) < 2:
        return 0, [f"there is no exposition of {SAMPLE_OF_ALL_KINDS} to spoil"]
    times, unnoticed = 0, []
    for form, more in [("openmetrics", SPOILT_OPENMETRICS), ("text", SPOILT_TEXT)]:
        for name, spoil in (SPOILT | more).items():
            text = document.texts[form]
            spoilt = spoil(text)
            findings = Findings()
            check(dataclasses.replace(document, texts={form: spoilt}, promtool=""), version, None, findings)
            times += 1
            if spoilt == text or not findings.problems:
                unnoticed.append(f"{form}: {name}" + (" (nothing to spoil)" if spoilt == text else ""))
    # A difference between the formats is the business of another check.
    for name in ("a sample lost", "the last digit", "a label with another value", "HELP of another key", "another type"):
        findings = Findings()
        parsed = {form: parse(text, form, lambda _: None) for form, text in document.texts.items()}
        parsed["text"] = parse(SPOILT[name](document.texts["text"]), "text", lambda _: None)
        agree(parsed["openmetrics"], parsed["text"], "standard", (), findings.about(name))
        times += 1
        if not findings.problems:
            unnoticed.append(f"a difference between the formats: {name}")
    return times, unnoticed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", help="also check what this jitsiexporter serves")
    parser.add_argument("--expected", type=pathlib.Path, default=FIXTURES / "expected", help="the golden files")
    parser.add_argument("--promtool", default="promtool")
    options = parser.parse_args()
    use_client()
    promtool = Promtool(options.promtool)
    print(f"{promtool.version}; {CLIENT}", flush=True)
    findings = Findings()
    documents = list(golden(options.expected, findings))
    total = collections.Counter()
    times, unnoticed = check_checks(documents, version())
    print(f"spoilt on purpose: {times} expositions, unnoticed: {len(unnoticed)}", flush=True)
    for name in unnoticed:
        findings.about("spoilt on purpose")(f"not noticed: {name}")

    def run(what, documents, masked=()):
        findings.count = collections.Counter()
        check_all(documents, version(), promtool, findings, masked)
        count = findings.count
        print(
            f"{what}: {count['expositions']} expositions ({count['openmetrics']} OpenMetrics, {count['text']} text), "
            f"{count['pairs']} pairs, {count['samples']} samples; "
            f"missing {count['missing']}, wrong {count['wrong']}, invented {count['invented']}",
            flush=True,
        )
        total.update(count)

    run("golden files", documents)
    if options.binary:
        run("live", list(live(options.binary, findings)), masked=(DURATION,))
    if not total["expositions"]:
        findings.about("nothing")("neither golden files nor --binary")
    for what, problem in findings.problems:
        print(f"{what}\n    {problem}")
    print(f"problems: {len(findings.problems)}")
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
