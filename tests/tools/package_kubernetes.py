#!/usr/bin/env python3
"""Holds the Kubernetes files to the schemas of Kubernetes and of the Prometheus operator, and to what a cluster and the chart need.

Needs PyPI (kubernetes-validate, which brings the schemas of Kubernetes) and, for the PodMonitor, node, npm and its registry
(@kubernetes-models/prometheus-operator). What it installs it keeps in target/tools.
"""

import json
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy/kubernetes"
TOOLS = ROOT / "target/tools"
PYTHON = ["kubernetes-validate==1.37.0"]
NPM = ["@kubernetes-models/prometheus-operator@6.0.0"]
# The first has sidecars among the init containers; the last is the newest that has a schema.
RELEASES = ["1.29", "1.37"]

failed = []


def check(good, what):
    if not good:
        failed.append(what)
        print(f"kubernetes: FAILED: {what}")


def install():
    """Puts what is needed into target/tools, and goes on in that Python."""
    python = TOOLS / "python-kubernetes"
    if not (python / "ok").exists():
        venv.create(python, clear=True, with_pip=True)
        subprocess.run([python / "bin/pip", "install", "--quiet", *PYTHON], check=True)
        (python / "ok").touch()
    npm = TOOLS / "npm-kubernetes"
    if not (npm / "node_modules").exists():
        npm.mkdir(parents=True, exist_ok=True)
        (npm / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *NPM]
        subprocess.run(command, cwd=npm, check=True, timeout=300)
    again = [python / "bin/python3", __file__, "--installed"]
    return subprocess.run(again, timeout=300).returncode


def manifest(document, what):
    """Holds one document to Kubernetes' schemas; strictly, so that a key that does not exist is found."""
    import kubernetes_validate

    for release in RELEASES:
        try:
            kubernetes_validate.validate(document, release, strict=True)
        except kubernetes_validate.ValidationError as error:
            return f"{what}, Kubernetes {release}: {error.message}"
    return None


def pod_monitor(document):
    program = """
        import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
        new PodMonitor(JSON.parse(process.argv[1])).validate();
    """
    command = ["node", "--input-type=module", "--eval", program, json.dumps(document)]
    done = subprocess.run(command, cwd=TOOLS / "npm-kubernetes", capture_output=True, text=True, timeout=60)
    return done.stderr if done.returncode else None


def restricted(container, pod):
    """The restricted Pod Security Standard, as far as it is about a container."""
    security = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    return (
        security.get("allowPrivilegeEscalation") is False
        and security.get("capabilities", {}).get("drop") == ["ALL"]
        and not security.get("capabilities", {}).get("add")
        and security.get("runAsNonRoot") is True
        and security.get("runAsUser") != 0
        and security.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost")
        and not security.get("privileged")
    )


def exporter(container, what):
    """What every container of the exporter has, wherever it stands."""
    security = container["securityContext"]
    check(security["readOnlyRootFilesystem"] is True and security["runAsUser"] == 10001, f"{what}: root or user")
    limits = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}}
    check(container["resources"] == limits, f"{what}: requests and limits are not the chart's")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    check(ports == {"jitsi-metrics": 9700}, f"{what}: its ports are {ports}")
    probes = [probe for name, probe in container.items() if name.endswith("Probe")]
    check(probes and all(probe["httpGet"] == {"path": "/health", "port": "jitsi-metrics"} for probe in probes), f"{what}: probes")


def main():
    import yaml

    sidecar, monitor, legacy, standard = (
        yaml.safe_load((FILES / name).read_text())
        for name in ("sidecar.yaml", "podmonitor.yaml", "jitsi-helm-legacy.yaml", "jitsi-helm.yaml")
    )

    pod = sidecar["spec"]["template"]
    complaint = manifest(sidecar, "sidecar.yaml")
    check(complaint is None, complaint)
    check(all(restricted(container, pod["spec"]) for container in pod["spec"]["containers"]), "sidecar.yaml is not restricted")
    exporter(pod["spec"]["containers"][1], "sidecar.yaml")

    # The chart puts these into a pod; so does this.
    container = standard["jvb"]["extraInitContainers"][0]
    whole = json.loads(json.dumps(sidecar))
    whole["spec"]["template"]["spec"].update(containers=whole["spec"]["template"]["spec"]["containers"][:1], initContainers=[container])
    complaint = manifest(whole, "jitsi-helm.yaml")
    check(complaint is None, complaint)
    check(restricted(container, {}), "jitsi-helm.yaml is not restricted")
    check(container["restartPolicy"] == "Always", "jitsi-helm.yaml: the bridge waits for the end of the exporter")
    exporter(container, "jitsi-helm.yaml")

    # Of the chart nothing changes but the image: templates/jvb/deployment.yaml reads jvb.metrics.image.{repository,tag,pullPolicy}.
    metrics = legacy["jvb"]["metrics"]
    check(set(legacy) == {"jvb"} and set(legacy["jvb"]) == {"metrics"} and set(metrics) == {"enabled", "image"}, "legacy: too much")
    check(set(metrics["image"]) == {"repository", "tag", "pullPolicy"} and metrics["enabled"] is True, "legacy: not the chart's keys")
    check(isinstance(metrics["image"]["tag"], str), "legacy: YAML reads the tag as a number")

    complaint = pod_monitor(monitor)
    check(complaint is None, complaint)
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    for labels in (pod["metadata"]["labels"], standard["jvb"]["podLabels"]):
        check(selected <= labels.items(), f"podmonitor.yaml does not select {labels}")
    endpoints = monitor["spec"]["podMetricsEndpoints"]
    check([endpoint["port"] for endpoint in endpoints] == ["jitsi-metrics"], "podmonitor.yaml names another port")

    # A check that passes everything is no check.
    broken = json.loads(json.dumps(sidecar))
    broken["spec"]["template"]["spec"]["containers"][1]["readynessProbe"] = {}
    check(manifest(broken, "") is not None, "a key that does not exist passes")
    broken = json.loads(json.dumps(monitor))
    broken["spec"]["podMetricsEndpoints"] = "jitsi-metrics"
    check(pod_monitor(broken) is not None, "a PodMonitor with a wrong type passes")

    print("kubernetes: failed" if failed else "kubernetes: ok")
    return 1 if failed else 0


sys.exit(main() if sys.argv[1:] == ["--installed"] else install())
