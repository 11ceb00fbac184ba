#!/usr/bin/env python3
"""Checks the golden files in fixtures/expected with the tools that read expositions.

  1. `promtool check metrics` accepts text 0.0.4 with standard names. With legacy names and odd keys it may complain about names, but must
     read the text. It does not read OpenMetrics (2.42: 'unknown metric type "info"'). That is read by `promtool tsdb create-blocks-from
     openmetrics`, from a copy with a timestamp after each sample, which this command requires.
  2. The official Python client reads it, OpenMetrics with its strict parser.

tests/generated.rs compares the golden files with the output of the program. Their content was reviewed by a person.
tests/properties.rs checks that both formats of random reports have the same samples.

Needs promtool (Debian package prometheus) and, on the first run, the Python package index, from which the client is installed
into target/. Other scripts read golden files with the functions here.

    tests/tools/expositions.py
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

from programs import FIXTURES, Failure, script, use_packages

CLIENT = "prometheus_client==0.26.0"
EXPECTED = FIXTURES / "expected"
NAMINGS = ("standard", "legacy")
FORMATS = ("openmetrics", "text")
LIMIT = 300

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


def identity(name, labels):
    """What tells samples apart. An upper bound is a number, however it is written; the commit of the build is left out."""
    labels = {label: value for label, value in labels.items() if (name, label) != ("jitsi_exporter_build_info", "revision")}
    pairs = ((label, repr(float(value)) if label == "le" else value) for label, value in labels.items())
    return name, tuple(sorted(pairs))


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
            samples[identity(sample.name.removesuffix(added), sample.labels)] = sample.value
    return samples, metadata


def golden(fixture, naming, form):
    """The samples and the metadata that are expected of a fixture."""
    return parse((EXPECTED / f"{fixture}.{naming}.{form}").read_bytes().decode(), form)


def differences(found, wanted):
    """What is missing, wrong or invented, as sentences. Values are compared as text, so that NaN is NaN."""
    for key in wanted.keys() | found.keys():
        if str(found.get(key)) != str(wanted.get(key)):
            yield f"{key} is {found.get(key, 'missing')}, should be {wanted.get(key, 'absent')}"


def check(place, texts):
    """The problems of one exposition, in one format or both, and the number of its samples."""
    problems, samples = [], 0
    strict = ".standard" in place and not place.startswith("odd/")
    for form, text in texts.items():
        found = list(check_with_promtool(text, form, strict))
        try:
            read, _ = parse(text, form)
        except Exception as error:  # The client raises KeyError and AttributeError among others.
            found.append(f"the parser of the Python client: {error!r}")
        else:
            lines = re.findall(r"^[^#].*", text, re.M)
            if len(lines) != len(read) or not text.startswith("# HELP jitsi_up "):
                found.append(f"{len(lines)} lines for {len(read)} samples, or jitsi_up is not the first")
            samples += len(read)
        problems += [f"{place}.{form}: {problem}" for problem in found]
    return problems, samples


def main():
    expositions = {}
    for file in sorted(EXPECTED.glob("**/*.*")):
        place, _, form = str(file.relative_to(EXPECTED)).rpartition(".")
        expositions.setdefault(place, {})[form] = file.read_bytes().decode()
    problems, samples = [], 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found, count in pool.map(check, expositions, expositions.values()):
            problems += found
            samples += count
    print(f"{sum(map(len, expositions.values()))} files, {samples} samples")
    return problems if samples else ["no golden files"]


if __name__ == "__main__":
    use_packages(CLIENT)
    script(main, LIMIT)
