#!/usr/bin/env python3
"""Checks the files in deploy/kubernetes: against published schemas, and for what a cluster, the chart and KEDA need.

Kubernetes' own kinds are validated strictly by kubernetes-validate (PyPI), custom resources by the types and validators of
@kubernetes-models (npm): the TypeScript compiler finds keys that do not exist, the validators find wrong values. The preStop hook
runs against a bridge that empties. Needs node, npm, bash, curl, jq, openssl and promtool; keeps what it installs in target/tools.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy/kubernetes"
TOOLS = ROOT / "target/tools"
NPM_TOOLS = TOOLS / "npm-kubernetes"
PYTHON = ["kubernetes-validate==1.37.0"]
NPM = ["@kubernetes-models/prometheus-operator@6.0.0", "@kubernetes-models/keda@2.0.0", "typescript@5.9.3"]
# The first release with sidecars among the init containers, and the newest one that has a schema.
RELEASES = ["1.29", "1.37"]
CUSTOM = {
    "PodMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
    "ScaledObject": "@kubernetes-models/keda/keda.sh/v1alpha1",
}

# What each kind of trigger accepts, by KEDA's documentation: in the schema it is a map of strings.
TRIGGERS = {
    "prometheus": {"serverAddress", "query", "threshold", "activationThreshold", "namespace", "ignoreNullValues", "unsafeSsl", "timeout"},
    "metrics-api": {
        "url", "format", "valueLocation", "targetValue", "activationTargetValue", "unsafeSsl", "timeout",
        "aggregateFromKubeServiceEndpoints", "aggregationType",
    },
}

PORT = "jitsi-metrics"
SELECTED = {"jitsiexporter": "sidecar"}

failed = []


def check(good, what):
    if not good:
        failed.append(what)
        print(f"kubernetes: FAILED: {what}")


def install():
    """Installs the tools into target/tools, then goes on in that Python."""
    python = TOOLS / "python-kubernetes"
    wanted = "\n".join(PYTHON)
    if not (python / "ok").exists() or (python / "ok").read_text() != wanted:
        venv.create(python, clear=True, with_pip=True)
        subprocess.run([python / "bin/pip", "install", "--quiet", *PYTHON], check=True)
        (python / "ok").write_text(wanted)
    wanted = "\n".join(NPM)
    if not (NPM_TOOLS / "ok").exists() or (NPM_TOOLS / "ok").read_text() != wanted:
        NPM_TOOLS.mkdir(parents=True, exist_ok=True)
        (NPM_TOOLS / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *NPM]
        subprocess.run(command, cwd=NPM_TOOLS, check=True, timeout=300)
        (NPM_TOOLS / "ok").write_text(wanted)
    again = [python / "bin/python3", __file__, "--installed"]
    return subprocess.run(again, timeout=600).returncode


# Schemas


def builtin(document, what):
    """What is wrong with a document of one of Kubernetes' own kinds, or None."""
    import kubernetes_validate

    for release in RELEASES:
        try:
            kubernetes_validate.validate(document, release, strict=True)
        except kubernetes_validate.ValidationError as error:
            return f"{what}, Kubernetes {release}: {error.message}"
    return None


def custom(documents):
    """What is wrong with each of the custom resources: a dictionary of those that have faults."""
    faults = {}
    with tempfile.TemporaryDirectory(dir=NPM_TOOLS, prefix="check-") as folder:
        folder = pathlib.Path(folder)
        for number, (what, document) in enumerate(documents.items()):
            kind, package = document["kind"], CUSTOM[document["kind"]]
            (folder / f"{number}.ts").write_text(f'import type {{ I{kind} }} from "{package}";\nexport const it: I{kind} = {json.dumps(document)};\n')
            program = f'import {{ {kind} }} from "{package}"; new {kind}({json.dumps(document)}).validate();'
            done = subprocess.run(["node", "--input-type=module", "--eval", program], cwd=NPM_TOOLS, capture_output=True, text=True, timeout=120)
            if done.returncode:
                faults[what] = done.stderr.strip().splitlines()[-1]
        tsc = [NPM_TOOLS / "node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]
        tsc += ["--module", "nodenext", "--moduleResolution", "nodenext", *sorted(folder.glob("*.ts"))]
        done = subprocess.run(tsc, cwd=NPM_TOOLS, capture_output=True, text=True, timeout=300)
        if done.returncode and not done.stdout:
            raise SystemExit(f"tsc: {done.stderr}")
        for number, what in enumerate(documents):
            lines = [line for line in done.stdout.splitlines() if f"/{number}.ts(" in line]
            if lines:
                faults[what] = lines[0]
    return faults


def load(name):
    import yaml

    return [document for document in yaml.safe_load_all((FILES / name).read_text()) if document]


def check_schemas():
    """Every document of every file that is a Kubernetes object."""
    objects = {}
    for path in sorted(FILES.rglob("*.yaml")):
        name = str(path.relative_to(FILES))
        for document in load(name):
            if "kind" in document:
                objects[f"{name}: {document['kind']}"] = document
    kinds = {document["kind"] for document in objects.values()}
    expected = {"Deployment", "PodMonitor", "NetworkPolicy", "ScaledObject", "Service", "HorizontalPodAutoscaler", "Secret"}
    check(kinds == expected, f"kinds are {kinds}")
    for what, document in objects.items():
        if document["kind"] not in CUSTOM:
            complaint = builtin(document, what)
            check(complaint is None, complaint)
    resources = {what: document for what, document in objects.items() if document["kind"] in CUSTOM}
    # These have to be found.
    broken = {}
    for what, document in resources.items():
        copy = json.loads(json.dumps(document))
        copy["spec"]["no_such_key"] = 1
        broken[f"unknown key in {what}"] = copy
        copy = json.loads(json.dumps(document))
        copy["spec"].update({"podMetricsEndpoints": PORT} if document["kind"] == "PodMonitor" else {"maxReplicaCount": "many"})
        broken[f"wrong type in {what}"] = copy
    faults = custom(resources | broken)
    for what in resources:
        check(what not in faults, f"{what}: {faults.get(what)}")
    for what in broken:
        check(what in faults, f"not found: {what}")
    wrong = json.loads(json.dumps(load("sidecar.yaml")[0]))
    wrong["spec"]["template"]["spec"]["initContainers"][0]["readynessProbe"] = {}
    check(builtin(wrong, "") is not None, "not found: unknown key in a container")


# Pods


def restricted(container, pod):
    """Whether a container satisfies the restricted Pod Security Standard."""
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


def check_exporter(container, what, probes, scheme=None):
    """What every container of the exporter has."""
    security = container["securityContext"]
    check(container["restartPolicy"] == "Always", f"{what}: the bridge waits for the end of the exporter")
    check(security["readOnlyRootFilesystem"] is True and security["runAsUser"] == 10001, f"{what}: root or user")
    limits = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}}
    check(container["resources"] == limits, f"{what}: requests and limits are not the chart's")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    check(ports == {PORT: 9700}, f"{what}: its ports are {ports}")
    found = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    target = {"path": "/health", "port": PORT} | ({"scheme": scheme} if scheme else {})
    check(found == {f"{name}Probe": target for name in probes}, f"{what}: probes are {found}")


def check_sidecar(sidecar):
    pod = sidecar["spec"]["template"]["spec"]
    everyone = pod["initContainers"] + pod["containers"]
    check(all(restricted(container, pod) for container in everyone), "sidecar.yaml is not restricted")
    check_exporter(pod["initContainers"][0], "sidecar.yaml", ["readiness", "liveness"])
    check(pod["terminationGracePeriodSeconds"] >= 3600, "sidecar.yaml: no time to drain")


class EmptyingBridge(BaseHTTPRequestHandler):
    """A bridge that its endpoints leave once it drains, and that fails once on the way."""

    def log_message(self, *_):
        pass

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.drained = self.path == "/colibri/drain/enable"
        self.answer(200)

    def do_GET(self):
        server = self.server
        if self.path != "/metrics" or self.headers["Accept"] != "application/json":
            return self.answer(404)
        server.asked += 1
        if server.dead or server.asked == 2:
            return self.answer(503)
        if server.drained:
            server.endpoints -= 1
        self.answer(200, json.dumps({"local_endpoints": max(server.endpoints, 0)}).encode())


def check_drain(sidecar):
    """Runs the preStop hook of sidecar.yaml."""
    command = sidecar["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    check("localhost:8080" in command[-1] and "sleep 5" in command[-1], "preStop: the script is another")
    for dead in (False, True):
        server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyingBridge)
        server.drained, server.dead, server.asked, server.endpoints = False, dead, 0, 4
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = command[-1].replace("localhost:8080", f"127.0.0.1:{server.server_port}").replace("sleep 5", "sleep 0.05")
        environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
        done = subprocess.run(["/bin/bash", *command[1:-1], script], env=environment, timeout=60, capture_output=True, text=True)
        server.shutdown()
        check(done.returncode == 0 and server.drained, f"preStop: {done.returncode} {done.stderr}")
        # 4 endpoints leave in 4 questions; one more got no answer. A dead bridge is asked for a minute.
        expected = 12 if dead else 5
        check(server.asked == expected, f"preStop: asked {server.asked} times instead of {expected}")


def check_chart(sidecar):
    """jitsi-helm.yaml: the chart puts these into a pod; so does this. jitsi-helm-legacy.yaml changes the image and nothing else."""
    standard, legacy = load("jitsi-helm.yaml")[0], load("jitsi-helm-legacy.yaml")[0]
    container = standard["jvb"]["extraInitContainers"][0]
    whole = json.loads(json.dumps(sidecar))
    whole["spec"]["template"]["spec"]["initContainers"] = [container]
    complaint = builtin(whole, "jitsi-helm.yaml")
    check(complaint is None, complaint)
    check(restricted(container, {}), "jitsi-helm.yaml is not restricted")
    check_exporter(container, "jitsi-helm.yaml", ["liveness"])
    check(standard["jvb"]["podLabels"] == SELECTED, "jitsi-helm.yaml: labels")

    # templates/jvb/deployment.yaml reads jvb.metrics.image.{repository,tag,pullPolicy}.
    metrics = legacy["jvb"]["metrics"]
    check(set(legacy) == {"jvb"} and set(legacy["jvb"]) == {"metrics"} and set(metrics) == {"enabled", "image"}, "legacy: too much")
    check(set(metrics["image"]) == {"repository", "tag", "pullPolicy"} and metrics["enabled"] is True, "legacy: not the chart's keys")
    check(isinstance(metrics["image"]["tag"], str), "legacy: YAML reads the tag as a number")


# TLS


def merged(base, patch, keys=("name", "mountPath")):
    """A strategic merge patch, for the lists that are merged by name or by mount path."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {key: merged(base[key], patch[key]) if key in base and key in patch else base.get(key, patch.get(key)) for key in {**base, **patch}}
    if isinstance(base, list) and isinstance(patch, list) and isinstance(patch[0], dict):
        key = next(key for key in keys if key in patch[0])
        patches = {item[key]: item for item in patch}
        old = [merged(item, patches.pop(item[key])) if item[key] in patches else item for item in base]
        return old + list(patches.values())
    return patch


def check_tls(sidecar):
    patched = merged(sidecar, load("tls/sidecar-patch.yaml")[0])
    complaint = builtin(patched, "tls/sidecar-patch.yaml")
    check(complaint is None, complaint)
    pod = patched["spec"]["template"]["spec"]
    check(len(pod["initContainers"]) == 1 and len(pod["volumes"]) == 3, "tls: the patch adds a container or loses a volume")
    exporter = pod["initContainers"][0]
    check_exporter(exporter, "tls/sidecar-patch.yaml", ["readiness", "liveness"], scheme="HTTPS")
    environment = {variable["name"]: variable["value"] for variable in exporter["env"]}
    mount = exporter["volumeMounts"][0]
    check(environment == {"JITSIEXPORTER_WEB_CONFIG_FILE": f"{mount['mountPath']}/web.yml"}, "tls: the file is not where it is mounted")
    volume = next(volume for volume in pod["volumes"] if volume["name"] == mount["name"])
    secret = load("tls/secret.yaml")[0]
    monitor, password = load("tls/podmonitor.yaml")
    sources = [source["secret"]["name"] for source in volume["projected"]["sources"]]
    endpoint = monitor["spec"]["podMetricsEndpoints"][0]
    check(sources == [secret["metadata"]["name"], endpoint["tlsConfig"]["ca"]["secret"]["name"]], f"tls: secrets {sources}")
    used = {endpoint["basicAuth"][part]["name"] for part in ("username", "password")}
    check(used == {password["metadata"]["name"]}, f"tls: the password is in {used}")

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "web.yml").write_text(secret["stringData"]["web.yml"])
        pair = ["-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
        subprocess.run([*command, *pair, "-subj", "/CN=jvb"], check=True, capture_output=True, timeout=30)
        done = subprocess.run(["promtool", "check", "web-config", folder / "web.yml"], capture_output=True, text=True, timeout=30)
        check(done.returncode == 0, f"promtool check web-config: {done.stderr}")


# Monitoring and autoscaling


def check_monitors(sidecar):
    for name in ("podmonitor.yaml", "tls/podmonitor.yaml"):
        spec = load(name)[0]["spec"]
        check(spec["selector"]["matchLabels"] == SELECTED, f"{name}: selector")
        check([endpoint["port"] for endpoint in spec["podMetricsEndpoints"]] == [PORT], f"{name}: port")
    policy = load("networkpolicy.yaml")[0]["spec"]
    check(policy["podSelector"]["matchLabels"] == SELECTED, "networkpolicy.yaml: selector")
    ports = {(port["port"], port["protocol"]) for rule in policy["ingress"] for port in rule["ports"]}
    check(ports == {(10000, "UDP"), (9090, "TCP"), (9700, "TCP")}, f"networkpolicy.yaml: ports {ports}")
    check(SELECTED.items() <= sidecar["spec"]["template"]["metadata"]["labels"].items(), "sidecar.yaml: labels")


def check_autoscaling(sidecar):
    name = sidecar["metadata"]["name"]
    keda = load("autoscaling/keda-prometheus.yaml")[0]["spec"]
    service, direct = load("autoscaling/keda-metrics-api.yaml")
    hpa = load("autoscaling/hpa.yaml")[0]["spec"]
    check(hpa["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "hpa.yaml: target")
    for what, spec in (("keda-prometheus.yaml", keda), ("keda-metrics-api.yaml", direct["spec"])):
        check(spec["scaleTargetRef"] == {"name": name}, f"{what}: target")
        check((spec["minReplicaCount"], spec["maxReplicaCount"]) == (hpa["minReplicas"], hpa["maxReplicas"]), f"{what}: counts")
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        check(behavior == hpa["behavior"], f"{what}: windows differ from hpa.yaml")
        for trigger in spec["triggers"]:
            metadata = trigger["metadata"]
            check(set(metadata) <= TRIGGERS[trigger["type"]], f"{what}: a {trigger['type']} trigger takes no {set(metadata) - TRIGGERS[trigger['type']]}")
            check(all(isinstance(value, str) for value in metadata.values()), f"{what}: a value is not a string")

    # The scaler takes Service and namespace from the name, and wants the port of the pod.
    metadata = direct["spec"]["triggers"][0]["metadata"]
    check(service["spec"]["selector"] == SELECTED and service["spec"]["ports"][0]["targetPort"] == PORT, "keda-metrics-api.yaml: Service")
    check(metadata["url"].startswith(f"http://{service['metadata']['name']}.") and ":9700/metrics" in metadata["url"], "keda-metrics-api.yaml: URL")

    # Triggers and external metrics are the same two, with the same thresholds.
    adapter = load("autoscaling/prometheus-adapter.yaml")[0]["rules"]["external"]
    defined = {rule["name"]["as"] for rule in adapter}
    used = {metric["external"]["metric"]["name"]: metric["external"]["target"]["averageValue"] for metric in hpa["metrics"]}
    check(set(used) == defined, f"hpa.yaml reads {set(used)}, the adapter defines {defined}")
    thresholds = [trigger["metadata"]["threshold"] for trigger in keda["triggers"]]
    check(thresholds == ["0.3", "1"] and list(used.values()) == ["300m", "1"], f"thresholds {thresholds}, {used}")
    check(metadata["targetValue"] == "0.3", "keda-metrics-api.yaml: threshold")


def main():
    sidecar = load("sidecar.yaml")[0]
    check_schemas()
    check_sidecar(sidecar)
    check_drain(sidecar)
    check_chart(sidecar)
    check_tls(sidecar)
    check_monitors(sidecar)
    check_autoscaling(sidecar)
    print("kubernetes: failed" if failed else "kubernetes: ok")
    return 1 if failed else 0


sys.exit(main() if sys.argv[1:] == ["--installed"] else install())
