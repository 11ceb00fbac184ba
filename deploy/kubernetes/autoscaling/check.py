#!/usr/bin/env python3
"""Runs the queries of deploy/kubernetes/autoscaling on a real Prometheus that scrapes real exporters, and checks the results.

One exporter stands before each bridge of four namespaces: a busy one with bridges that drain and one that is down, a quiet one,
one in which all bridges drain, and one with the bridge's own metrics as the source. For the scaler that asks the exporters
itself, the response to a client without an Accept header is read as that scaler reads it: by the parser of promtool check
metrics, which is the same one, and as a gauge.

Needs prometheus (Debian package of that name), which brings promtool.

    deploy/kubernetes/autoscaling/check.py target/debug/jitsiexporter
"""

import contextlib
import http.client
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "tests/tools"))
sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "deploy/prometheus/check"))

from observability import configuration
from programs import ROOT, Bridge, exporter, prometheus, script

FOLDER = ROOT / "deploy/kubernetes/autoscaling"
LIMIT = 60
# The namespace in the manifests.
NAMESPACE = "jitsi"

UP = {"drain": False, "graceful_shutdown": False, "shutting_down": False}
# Namespace and pod: the report at the path, None if the bridge is down.
FLEET = {
    ("jitsi", "busy"): ("/colibri/stats", UP | {"stress_level": 0.5}),
    ("jitsi", "calm"): ("/colibri/stats", UP | {"stress_level": 0.25}),
    # A JVM that cannot read its CPU load.
    ("jitsi", "blind"): ("/colibri/stats", UP | {"stress_level": -1.1}),
    ("jitsi", "drained"): ("/colibri/stats", UP | {"stress_level": 0.9, "drain": True}),
    ("jitsi", "stopping"): ("/colibri/stats", UP | {"stress_level": 0.8, "graceful_shutdown": True}),
    ("jitsi", "stopped"): ("/colibri/stats", {"stress_level": 0.7, "shutting_down": True}),
    ("jitsi", "down"): ("/colibri/stats", None),
    # The drained one would raise the mean above 0.1.
    ("quiet", "one"): ("/colibri/stats", UP | {"stress_level": 0.125}),
    ("quiet", "two"): ("/colibri/stats", UP | {"stress_level": 0.0625}),
    ("quiet", "drained"): ("/colibri/stats", UP | {"stress_level": 0.9, "drain": True}),
    ("leaving", "one"): ("/colibri/stats", UP | {"stress_level": 0.5, "drain": True}),
    ("native", "one"): ("/metrics", {"stress": 0.75, "drain_mode": False, "graceful_shutdown": False}),
    ("native", "two"): ("/metrics", {"stress": 0.25, "drain_mode": True, "graceful_shutdown": False}),
}
# What the two triggers are in each namespace; None is no result. Three bridges of the first are neither draining nor down.
EXPECTED = {
    "jitsi": {"load": 0.75, "hold": 3},
    "quiet": {"load": 0.1875, "hold": 0},
    "leaving": {"load": None, "hold": None},
    "native": {"load": 0.75, "hold": 1},
    "none": {"load": None, "hold": None},
}


def response(path):
    namespace, pod, *_ = path.strip("/").split("/")
    document = FLEET[namespace, pod][1]
    return (200, json.dumps(document).encode()) if document else (502, b"")


def blocks(text, key):
    """The values of a key of YAML that are literal blocks."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() == f"{key}: |":
            indent = len(line) - len(line.lstrip())
            block = []
            for inner in lines[number + 1 :]:
                if inner.strip() and len(inner) - len(inner.lstrip()) <= indent:
                    break
                block.append(inner)
            found.append("\n".join(block))
    return found


def queries(namespace):
    """Each query as KEDA, or prometheus-adapter for a HorizontalPodAutoscaler of this namespace, asks it."""
    keda = (FOLDER / "keda-prometheus.yaml").read_text()
    names = re.findall(r"^ +name: (load|hold)$", keda, re.M)
    for name, query in zip(names, blocks(keda, "query"), strict=True):
        assert f'namespace="{NAMESPACE}"' in query
        yield f"keda-prometheus.yaml {name}", name, query.replace(f'namespace="{NAMESPACE}"', f'namespace="{namespace}"')
    adapter = (FOLDER / "prometheus-adapter.yaml").read_text()
    names = re.findall(r"^ +as: jitsi_bridges_(load|hold)$", adapter, re.M)
    for name, query in zip(names, blocks(adapter, "metricsQuery"), strict=True):
        filled = query.replace("<<.Series>>", "jitsi_stress_level").replace("<<.LabelMatchers>>", f'namespace="{namespace}"')
        assert "<<" not in filled
        yield f"prometheus-adapter.yaml {name}", name, filled


def check_queries(server, complain):
    asked = 0
    for namespace, expected in EXPECTED.items():
        for what, name, query in queries(namespace):
            asked += 1
            # More than one element is an error in KEDA.
            values = [float(series["value"][1]) for series in server.query(query)]
            wanted = [] if expected[name] is None else [expected[name]]
            if len(values) != len(wanted) or not all(math.isclose(*pair, abs_tol=1e-9) for pair in zip(values, wanted)):
                complain(f"{what} in the namespace {namespace}: {values} instead of {wanted}")
    return asked


def check_direct(targets, complain):
    """Asks the exporters as the metrics-api scaler does: without Accept, for one gauge, and adds up what it gets."""
    name = re.search(r"valueLocation: (\w+)", (FOLDER / "keda-metrics-api.yaml").read_text())[1]
    total = 0
    for pod in ("busy", "calm", "down"):
        connection = http.client.HTTPConnection(targets["jitsi", pod], timeout=10)
        connection.putrequest("GET", "/metrics", skip_accept_encoding=True)
        connection.putheader("User-Agent", "Go-http-client/1.1")
        connection.endheaders()
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200 or not response.headers["Content-Type"].startswith("text/plain; version=0.0.4"):
            complain(f"metrics-api: {response.status} {response.headers['Content-Type']}")
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=20)
        if "parsing error" in done.stderr:
            complain(f"metrics-api: {done.stderr}")
        found = re.findall(rf"^{name} (\S+)$", text, re.M)
        if found and f"# TYPE {name} gauge\n" not in text:
            complain(f"metrics-api: {name} is not a gauge")
        if bool(found) != (pod != "down"):
            complain(f"metrics-api: {pod} says {found}")
        total += sum(map(float, found))
    if total != 0.75:
        complain(f"metrics-api: the sum is {total}")


def main():
    binary = os.path.abspath(sys.argv[1])
    complaints = []
    bridge = Bridge(response)
    with contextlib.ExitStack() as stack:
        targets = {
            (namespace, pod): stack.enter_context(exporter(binary, "--url", f"{bridge.url}/{namespace}/{pod}{path}")).address
            for (namespace, pod), (path, _) in FLEET.items()
        }
        check_direct(targets, complaints.append)
        # The labels that a PodMonitor gives.
        labels = lambda name: {"instance": f"{name[0]}-{name[1]}", "namespace": name[0], "pod": name[1]}
        server = stack.enter_context(prometheus("prometheus", configuration({"jitsi": targets}, labels)))
        while not server.query(f"count(jitsi_up) == {len(targets)}"):
            time.sleep(0.2)
        asked = check_queries(server, complaints.append)
    print(f"{asked} queries of autoscaling, {len(targets)} bridges")
    return complaints


if __name__ == "__main__":
    script(main, LIMIT)
