#!/usr/bin/env python3
"""Checks responses of the exporter with the tools that read them, and with an independent reading of the bridge's report.

For each fixture and for some two hundred odd reports (expositions_odd.py), in both namings and both formats:

  1. `promtool check metrics` accepts text 0.0.4 in standard names. In legacy names, which are not those that
     Prometheus recommends, it must read the text. It does not read OpenMetrics (2.42: 'unknown metric type "info"'): that goes
     through Prometheus' own reader of OpenMetrics (`promtool tsdb create-blocks-from openmetrics`, on a copy with a time
     behind each sample, as that command wants).
  2. The official Python client reads it, OpenMetrics with its strict parser.
  3. Each sample that the report calls for is there with its value, type, unit and help, and no other (expositions_reading.py).
  4. The two formats have the same help texts.

tests/generated.rs compares the golden files, which are for the same fixtures, with what the program writes.

Needs promtool (Debian package prometheus) and, on the first run, the Python package index, from which the client is installed
into target/. Takes half a minute.

    tests/tools/expositions.py target/debug/jitsiexporter
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# No __pycache__ among the sources.
sys.dont_write_bytecode = True

import expositions_odd
import expositions_reading as reading
from programs import FIXTURES, Bridge, Failure, environment, exporter, script, use_packages

CLIENT = "prometheus_client==0.26.0"
LIMIT = 600

ACCEPT = {
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "text": "text/plain; version=0.0.4; charset=utf-8",
}

# The exit code of promtool for a text that it can read and that is not as Prometheus recommends.
PROMTOOL_LINT = 3


def promtool(*arguments, **options):
    """The exit code and the output of promtool."""
    try:
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, **options)
    except OSError as error:
        raise Failure(f"cannot run promtool: {error} (it is in Debian's package prometheus)") from error
    return done.returncode, (done.stdout + done.stderr).strip()


def check_with_promtool(text, form, strict):
    if form == "text":
        code, said = promtool("check", "metrics", input=text)
        if (code or said) and (strict or code not in (0, PROMTOOL_LINT)):
            yield f"promtool check metrics: {said}"
        return
    with tempfile.TemporaryDirectory(prefix="expositions-") as folder:
        file = pathlib.Path(folder) / "openmetrics"
        timed = re.sub(r"^([^#\n].*)$", r"\1 1700000000", text, flags=re.M)
        file.write_text(timed, encoding="utf-8", newline="")
        code, said = promtool("tsdb", "create-blocks-from", "openmetrics", "--quiet", file, f"{folder}/data")
    if code:
        yield f"Prometheus' reader of OpenMetrics: {said}"


def parse(text, form):
    """The samples, and type, unit and help of each family by name, as the official client reads them."""
    from prometheus_client.openmetrics import parser as openmetrics
    from prometheus_client import parser as text_0_0_4

    parser = openmetrics if form == "openmetrics" else text_0_0_4
    samples, metadata = {}, {}
    for metric in parser.text_string_to_metric_families(text):
        name, added = metric.name, ""
        if form == "text" and metric.type == "counter":
            # The client removes _total from the name of a family, or puts it behind the names of the samples.
            added = "_total" if f"# TYPE {name} counter\n" in text else ""
            name += "" if added else "_total"
        metadata[name] = (metric.type, metric.unit, metric.documentation)
        for sample in metric.samples:
            samples[reading.identity(sample.name.removesuffix(added), sample.labels)] = sample.value
    return samples, metadata


def check(what, naming, body, texts, strict):
    """Everything about the response of a bridge, as served in some formats: the problems, and the number of samples."""
    expected = reading.read(body, naming)
    problems, helps, count = [], [], 0
    for form, text in texts.items():
        found = list(check_with_promtool(text, form, strict)) if strict is not None else []
        try:
            samples, metadata = parse(text, form)
        except Exception as error:  # The client raises KeyError and AttributeError among others.
            found.append(f"the parser of the Python client: {error!r}")
        else:
            found += reading.differences(samples, expected.samples)
            found += reading.metadata_differences(metadata, expected.families, form)
            helps.append({name: metadata[name][2] for name in metadata})
            count += len(samples)
            lines = re.findall(r"^[^#].*", text, re.M)
            if len(lines) != len(samples) or not text.startswith("# HELP jitsi_up "):
                found.append(f"{len(lines)} lines for {len(samples)} samples, or jitsi_up is not the first")
        problems += [f"{what}, {naming} names, {form}: {problem}" for problem in found]
    if len(helps) == 2:
        differing = [name for name in helps[0].keys() & helps[1].keys() if helps[0][name] != helps[1][name]]
        problems += [f"{what}, {naming} names: the formats differ in HELP of {name}" for name in differing]
    return problems, count


def fetch(exporter, form):
    kind, text = exporter.get("/metrics", ACCEPT[form].replace(" ", ""))
    if kind != ACCEPT[form]:
        raise Failure(f"asked for {ACCEPT[form]}, got {kind}")
    return text


def fixtures():
    """The reports: name (captured/... for those that a bridge sent) and bytes."""
    for file in sorted(FIXTURES.glob("**/*.json")):
        yield str(file.relative_to(FIXTURES).with_suffix("")), file.read_bytes()


def served(binary):
    """What the program serves for each fixture and each odd report, as arguments of `check`."""
    reports = dict(fixtures())
    newest = max(name for name in reports if "/" not in name)
    odd = {f"odd: {name}": body for name, body in expositions_odd.documents(reports[newest])}
    body = b""
    bridge = Bridge(lambda _: (200, body))
    for naming in reading.NAMINGS:
        command = [binary, "--url", bridge.url, *(["--legacy-names"] if naming == "legacy" else [])]
        with exporter(*command) as started:
            for name, body in (reports | odd).items():
                # Odd keys make odd names, about which promtool may complain. It does not read the same members in another order.
                strict = naming == "standard" if name in reports else None if expositions_odd.IN_FRONT in name else False
                yield name, naming, body, {form: fetch(started, form) for form in reading.FORMATS}, strict
        body = reports[newest]
        once = subprocess.run([*command, "--once"], capture_output=True, text=True, check=True, env=environment())
        yield "--once", naming, body, {"text": once.stdout}, naming == "standard"


def main():
    problems, documents, samples = [], 0, 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for job in [pool.submit(check, *arguments) for arguments in served(os.path.abspath(sys.argv[1]))]:
            found, count = job.result()
            problems += found
            documents, samples = documents + 1, samples + count
    print(f"{documents} documents, {samples} samples")
    return problems


if __name__ == "__main__":
    use_packages(CLIENT)
    script(main, LIMIT)
