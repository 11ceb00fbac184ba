#!/usr/bin/env python3
"""Checks how many bridges the autoscaling of this folder keeps, over a table of fleets.

promtool evaluates the queries of the manifests over the series of a fleet. From the results and the targets in the manifests, this script
calculates the number of replicas as the controller does. Needs promtool (Debian package prometheus).
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parents[2] / "tests/tools"))

from programs import script, use_packages

LIMIT = 60
# When the bridges change, and when the queries are evaluated, in minutes.
CHANGE, NOW = 10, 20
# The tolerance of the controller: --horizontal-pod-autoscaler-tolerance.
TOLERANCE = 0.1

# A bridge is a number, its stress, or one of these words followed by the stress:
#   dead        it does not answer; the exporter beside it does
#   stopped     its exporter does not answer
#   starting    a new pod whose bridge does not answer yet
#   drained, graceful_shutdown, shutting_down    it is a replica but accepts no new conferences
#   deleted     its pod is terminating: it drains, and is not a replica
#   unseen      the same, without kube-state-metrics
# A row lists the bridges of a fleet, the expected results of load and hold (None is an error), and the expected number of replicas.
NAN, INF = math.nan, math.inf
FLEETS = [
    # Idle, steady and busy fleets.
    ([0.02, 0.02], 0.04, 0, 2),
    ([0.02, 0.02, 0.02], 0.06, 0, 2),
    ([0.09, 0.09, 0.09, 0.09], 0.36, 0, 2),
    ([0.1, 0.1, 0.1], 0.3, 1, 3),
    ([0.2, 0.2, 0.2], 0.6, 1, 3),
    ([0.32, 0.32, 0.32], 0.96, 1, 3),
    ([0.34, 0.34, 0.34], 1.02, 1, 4),
    ([0.5, 0.5], 1, 1, 4),
    ([0.9] * 8, 7.2, 1, 8),
    ([0] * 8, 0, 0, 2),
    # A bridge that does not report must not cause the removal of a working one, and must not hide the load of the others.
    ([0.2, 0.2, "stopped"], 0.7, 1, 3),
    ([0.2, 0.2, "dead"], 0.7, 1, 3),
    ([0.2, 0.2, NAN], 0.7, 1, 3),
    ([0.2, 0.2, INF], 0.7, 1, 3),
    ([0.02, 0.02, "dead"], 0.34, 1, 3),
    ([0.02, 0.02, "stopped"], 0.34, 1, 3),
    ([0.6, "dead"], 0.9, 1, 3),
    ([0.6, "stopped"], 0.9, 1, 3),
    ([0.6, NAN], 0.9, 1, 3),
    (["dead"] * 3, 0.9, 1, 3),
    (["stopped"] * 3, 0.9, 1, 3),
    ([NAN] * 3, 0.9, 1, 3),
    # The JVM cannot read its CPU load.
    ([-1.1] * 3, 0.9, 1, 3),
    ([0.5, 0.25, -1.1], 1.05, 1, 4),
    # The bridge that was just added is not counted twice.
    ([0.4, 0.4, "starting"], 0.8, 1, 3),
    ([0.02, 0.02, "starting"], 0.04, 1, 3),
    # A bridge that drains must not hide the load of the others either; its own stress does not count.
    ([0.2, 0.2, "drained 0.02"], 0.7, 1, 3),
    ([0.2, 0.2, "graceful_shutdown 0.9"], 0.7, 1, 3),
    ([0.2, 0.2, "shutting_down 0.9"], 0.7, 1, 3),
    ([0.6, "drained 0.9"], 0.9, 1, 3),
    ([0.02, 0.02, 0.02, "drained 0.9"], 0.36, 0, 2),
    (["drained 0.5"] * 3, 0.9, None, 3),
    # A pod that is being deleted is not one of the replicas.
    ([0.2, 0.2, "deleted 0.9"], 0.4, 1, 2),
    ([0.02, 0.02, 0.02, "deleted 0.9"], 0.06, 0, 2),
    ([0.32, 0.32, 0.32, "deleted 0.2", "deleted 0.2", "deleted 0.2"], 0.96, 1, 3),
    ([0.2, 0.2, "unseen 0.9"], 0.7, 1, 3),
    ([0.02, 0.02, 0.02, "unseen 0.9"], 0.36, 0, 2),
    # No data.
    ([], None, None, None),
]


def series(number, bridge):
    """What Prometheus has of a bridge: the values of each series, one a minute. Until CHANGE every bridge works."""
    state, stress = bridge.split() if " " in str(bridge) else (str(bridge), str(bridge))
    # From the first value to the second one.
    found = {"up": ("1", "1"), "jitsi_up": ("1", "1"), "jitsi_stress_level": ("0.2", {"nan": "NaN", "inf": "Inf"}.get(stress, stress))}
    found |= {name: ("0", "0") for name in ("jitsi_drain", "jitsi_graceful_shutdown", "jitsi_shutting_down")}
    if state in ("dead", "stopped"):
        found = {name: (before, "stale") for name, (before, _) in found.items()}
        found["up"] = ("1", "1" if state == "dead" else "0")
        found["jitsi_up"] = ("1", "0" if state == "dead" else "stale")
    elif state == "starting":
        found = {"up": ("_", "1"), "jitsi_up": ("_", "0")}
    elif state in ("graceful_shutdown", "shutting_down"):
        found[f"jitsi_{state}"] = ("0", "1")
    elif state in ("drained", "deleted", "unseen"):
        found["jitsi_drain"] = ("0", "1")
        if state == "deleted":
            found["kube_pod_deletion_timestamp"] = ("_", "1")
    change = NOW - 2 if state == "starting" else CHANGE
    for name, (before, after) in found.items():
        # kube-state-metrics is a separate job.
        labels = 'job="kube-state-metrics", uid="x"' if name.startswith("kube") else f'job="jitsi", instance="10.0.0.{number}:9700"'
        values = [before] * change + [after] * (NOW + 1 - change)
        yield {"series": f'{name}{{namespace="jitsi", pod="jvb-{number}", {labels}}}', "values": " ".join(values)}


# Others in the namespace and other namespaces, in every fleet: they must not count.
OTHERS = [
    {"series": 'up{namespace="jitsi", pod="prosody-0", job="prosody"}', "values": f"0x{NOW}"},
    {"series": 'up{namespace="other", pod="jvb-0", job="jitsi"}', "values": f"0x{NOW}"},
    {"series": 'jitsi_stress_level{namespace="other", pod="jvb-1", job="jitsi"}', "values": f"5x{NOW}"},
    {"series": 'kube_pod_deletion_timestamp{namespace="other", pod="jvb-1", job="kube-state-metrics"}', "values": f"1x{NOW}"},
]


def read(name):
    import yaml

    return yaml.safe_load((FOLDER / name).read_text())


def autoscalers():
    """Each way to scale: its name, its limits, and for load and hold the query, the type of target and the target."""
    keda = read("keda-prometheus.yaml")["spec"]
    triggers = {trigger["name"]: trigger for trigger in keda["triggers"]}
    metrics = {
        name: (trigger["metadata"]["query"], trigger.get("metricType", "AverageValue"), float(trigger["metadata"]["threshold"]))
        for name, trigger in triggers.items()
    }
    assert all(trigger["metadata"]["ignoreNullValues"] == "false" for trigger in triggers.values()), "an empty result would be 0"
    yield "keda-prometheus.yaml", (keda["minReplicaCount"], keda["maxReplicaCount"]), metrics

    adapter = {rule["name"]["as"]: rule["metricsQuery"] for rule in read("prometheus-adapter.yaml")["rules"]["external"]}
    hpa, chart = read("hpa.yaml")["spec"], read("jitsi-helm.yaml")["jvb"]["autoscaling"]
    for file, spec in (("hpa.yaml", hpa), ("jitsi-helm.yaml", chart)):
        metrics = {}
        for metric in (metric["external"] for metric in spec["metrics"]):
            name, target = metric["metric"]["name"], metric["target"]
            quantity = target["value" if target["type"] == "Value" else "averageValue"]
            value = int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
            query = adapter[name].replace("<<.LabelMatchers>>", 'namespace="jitsi"')
            metrics[name.removeprefix("jitsi_bridges_")] = (query, target["type"], value)
        yield file, (spec["minReplicas"], spec["maxReplicas"]), metrics


def wanted(replicas, ready, limits, metrics, results):
    """The replicas that the controller wants in the end, None for an error (pkg/controller/podautoscaler, Kubernetes 1.37)."""
    proposals = []
    for name, (_, kind, target) in metrics.items():
        if results[name] is None:
            continue
        # The controller gets thousandths.
        usage, target = round(results[name] * 1000), round(target * 1000)
        each = replicas if kind == "AverageValue" else 1
        ratio = usage / (target * each)
        if 1 - TOLERANCE <= ratio <= 1 + TOLERANCE:
            proposals.append(replicas)
        else:
            proposals.append(math.ceil(usage / target * (1 if kind == "AverageValue" else ready)))
    # With an error, bridges may be added but not removed.
    failed = len(proposals) < len(metrics)
    if not proposals or failed and max(proposals) < replicas:
        return None
    return max(limits[0], min(limits[1], max(proposals)))


def main():
    problems = []
    ways = list(autoscalers())
    queries = {(query, name) for _, _, metrics in ways for name, (query, *_) in metrics.items()}
    if len(queries) != 2:
        problems.append("keda-prometheus.yaml and prometheus-adapter.yaml differ in their queries")
    tests = []
    for fleet, load, hold, expected in FLEETS:
        results = {"load": load, "hold": hold}
        samples = [
            # promtool compares floats bit by bit; whole numbers are exact.
            {
                "expr": f"round(1e6 * ({query}))",
                "eval_time": f"{NOW}m",
                "exp_samples": [] if results[name] is None else [{"labels": "{}", "value": round(1e6 * results[name])}],
            }
            for query, name in sorted(queries)
        ]
        inputs = [one for number, bridge in enumerate(fleet) for one in series(number, bridge)] + OTHERS
        tests.append({"name": str(fleet), "interval": "1m", "input_series": inputs, "promql_expr_test": samples})

        words = [str(bridge).split()[0] for bridge in fleet]
        replicas = sum(word not in ("deleted", "unseen") for word in words)
        # What the readiness probes of sidecar.yaml find.
        ready = sum(word not in ("deleted", "unseen", "dead", "stopped", "starting") for word in words)
        for file, limits, metrics in ways:
            found = wanted(replicas, ready, limits, metrics, results)
            if found != expected:
                problems.append(f"{file}: {fleet}: {found} replicas instead of {expected}")

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "fleets.yml"
        # JSON is YAML.
        path.write_text(json.dumps({"evaluation_interval": "1m", "tests": tests}))
        done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        problems.append(f"promtool:\n{done.stdout}{done.stderr}")
    print(f"{len(FLEETS)} fleets, {len(queries)} queries, {len(ways)} ways to scale")
    return problems


if __name__ == "__main__":
    use_packages("PyYAML==6.0.2")
    script(main, LIMIT)
