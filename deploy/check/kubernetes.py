#!/usr/bin/env python3
"""Checks the files in deploy/kubernetes against published schemas, and against what a cluster, the chart and KEDA expect.

Kubernetes' own kinds are validated strictly by kubernetes-validate (PyPI), custom resources by the types and validators of
@kubernetes-models (npm): the TypeScript compiler finds keys that do not exist, the validators find wrong values. The preStop hook
runs against a bridge whose endpoints leave. Needs node, npm, bash, curl and jq. Installs packages in target/tools.
"""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests/tools"))

from programs import ROOT, TOOLS, Bridge, BridgeHandler, Failure, environment, output, script, use_packages

FILES = ROOT / "deploy/kubernetes"
NPM_TOOLS = TOOLS / "npm-kubernetes"
LIMIT = 600
PYTHON = "kubernetes-validate==1.37.0"
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
}

PORT = "jitsi-metrics"
SELECTED = {"jitsiexporter": "sidecar"}

failed = []


def check(good, what):
    if not good:
        failed.append(what)


def install_validators():
    """Installs the packages of npm into target/tools."""
    wanted = "\n".join(NPM)
    if not (NPM_TOOLS / "ok").exists() or (NPM_TOOLS / "ok").read_text() != wanted:
        NPM_TOOLS.mkdir(parents=True, exist_ok=True)
        (NPM_TOOLS / "package.json").write_text('{"private": true}')
        output("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *NPM, cwd=NPM_TOOLS, timeout=LIMIT)
        (NPM_TOOLS / "ok").write_text(wanted)


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
        by_type = {}
        for number, what in enumerate(documents):
            lines = [line for line in done.stdout.splitlines() if f"/{number}.ts(" in line]
            if lines:
                by_type[what] = lines[0]
        if done.returncode and not by_type:
            raise Failure(f"tsc: {done.stdout}{done.stderr}")
    return faults | by_type


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
    expected = {"Deployment", "PodMonitor", "NetworkPolicy", "ScaledObject", "HorizontalPodAutoscaler", "Secret"}
    check(kinds == expected, f"kinds are {kinds}")
    for what, document in objects.items():
        if document["kind"] not in CUSTOM:
            complaint = builtin(document, what)
            check(complaint is None, complaint)
    resources = {what: document for what, document in objects.items() if document["kind"] in CUSTOM}
    for what, fault in custom(resources).items():
        check(False, f"{what}: {fault}")


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
    check("replicas" not in sidecar["spec"], "sidecar.yaml: applying it again undoes the autoscaler")
    probe = pod["containers"][0]["readinessProbe"]["httpGet"]
    check(probe == {"path": "/about/health", "port": 8080}, f"sidecar.yaml: readiness of the bridge is {probe}")
    everyone = pod["initContainers"] + pod["containers"]
    check(all(restricted(container, pod) for container in everyone), "sidecar.yaml is not restricted")
    check_exporter(pod["initContainers"][0], "sidecar.yaml", ["readiness", "liveness"])
    check(pod["terminationGracePeriodSeconds"] >= 3600, "sidecar.yaml: no time to drain")


class EmptyingBridge(BridgeHandler):
    """A bridge whose endpoints leave once it drains, and that fails once meanwhile."""

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
    check("localhost:8080" in command[-1] and "sleep 5" in command[-1], "preStop: the script lacks the address or the pause")
    for dead in (False, True):
        server = Bridge(handler=EmptyingBridge)
        server.drained, server.dead, server.asked, server.endpoints = False, dead, 0, 4
        text = command[-1].replace("localhost:8080", server.address).replace("sleep 5", "sleep 0.05")
        done = subprocess.run(["/bin/bash", *command[1:-1], text], env=environment(), timeout=60, capture_output=True, text=True)
        server.shutdown()
        check(done.returncode == 0 and server.drained, f"preStop: {done.returncode} {done.stderr}")
        # Four requests for four endpoints, and one that failed. A dead bridge is asked for a minute.
        expected = 12 if dead else 5
        check(server.asked == expected, f"preStop: asked {server.asked} times instead of {expected}")


def check_chart(sidecar):
    """The chart puts the container of jitsi-helm.yaml into a pod; so does this. jitsi-helm-legacy.yaml changes only the image."""
    standard, legacy = load("jitsi-helm.yaml")[0], load("jitsi-helm-legacy.yaml")[0]
    container = standard["jvb"]["extraInitContainers"][0]
    whole = copy.deepcopy(sidecar)
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


# Monitoring and autoscaling


def selects(selector, labels):
    """Whether a label selector matches, for the operators in use."""
    absent = [expression["key"] for expression in selector.get("matchExpressions", []) if expression["operator"] == "DoesNotExist"]
    return selector["matchLabels"].items() <= labels.items() and not set(absent) & set(labels)


def check_monitors(sidecar):
    # A pod has TLS or not; each of the two monitors scrapes one kind.
    patched = merged(sidecar, load("tls/sidecar-patch.yaml")[0])
    monitors = {name: load(name)[0] for name in ("podmonitor.yaml", "tls/podmonitor.yaml")}
    for pod, wanted in ((sidecar, "podmonitor.yaml"), (patched, "tls/podmonitor.yaml")):
        labels = pod["spec"]["template"]["metadata"]["labels"]
        found = [name for name, monitor in monitors.items() if selects(monitor["spec"]["selector"], labels)]
        check(found == [wanted], f"{found} select what {wanted} should")
    check(len({monitor["metadata"]["name"] for monitor in monitors.values()}) == 2, "one monitor replaces the other")
    for name, monitor in monitors.items():
        endpoints = monitor["spec"]["podMetricsEndpoints"]
        check([endpoint["port"] for endpoint in endpoints] == [PORT], f"{name}: port")
        check(endpoints[0]["relabelings"] == [{"targetLabel": "job", "replacement": "jitsi"}], f"{name}: job")
    policy = load("networkpolicy.yaml")[0]["spec"]
    check(policy["podSelector"]["matchLabels"] == SELECTED, "networkpolicy.yaml: selector")
    ports = {(port["port"], port.get("endPort"), port["protocol"]) for rule in policy["ingress"] for port in rule["ports"]}
    check(ports == {(10000, 10009, "UDP"), (9700, None, "TCP")}, f"networkpolicy.yaml: ports {ports}")
    check(SELECTED.items() <= sidecar["spec"]["template"]["metadata"]["labels"].items(), "sidecar.yaml: labels")


def check_autoscaling(sidecar):
    """The targets and windows of the three ways to scale. autoscaling/check.py does the rest."""
    name = sidecar["metadata"]["name"]
    keda = load("autoscaling/keda-prometheus.yaml")[0]["spec"]
    hpa = load("autoscaling/hpa.yaml")[0]["spec"]
    chart = load("autoscaling/jitsi-helm.yaml")[0]["jvb"]
    check(hpa["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "hpa.yaml: target")
    check(keda["scaleTargetRef"] == {"name": name}, "keda-prometheus.yaml: target")
    check(keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa["behavior"], "keda-prometheus.yaml: windows differ from hpa.yaml")
    expected = {"enabled": True} | {key: hpa[key] for key in ("minReplicas", "maxReplicas", "behavior", "metrics")}
    check(chart["autoscaling"] == expected, "autoscaling/jitsi-helm.yaml differs from hpa.yaml")
    grace = sidecar["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    check(chart["terminationGracePeriodSeconds"] == grace and chart["portRangeSize"] == 1, "autoscaling/jitsi-helm.yaml: grace period or ports")
    for trigger in keda["triggers"]:
        metadata = trigger["metadata"]
        check(set(metadata) <= TRIGGERS[trigger["type"]], f"a {trigger['type']} trigger takes no {set(metadata) - TRIGGERS[trigger['type']]}")
        check(all(isinstance(value, str) for value in metadata.values()), "keda-prometheus.yaml: a value is not a string")
    adapter = load("autoscaling/prometheus-adapter.yaml")[0]
    server = keda["triggers"][0]["metadata"]["serverAddress"]
    check(f"{adapter['prometheus']['url']}:{adapter['prometheus']['port']}" == server, "prometheus-adapter.yaml: another Prometheus than KEDA's")


def main():
    install_validators()
    sidecar = load("sidecar.yaml")[0]
    check_schemas()
    check_sidecar(sidecar)
    check_drain(sidecar)
    check_chart(sidecar)
    check_tls(sidecar)
    check_monitors(sidecar)
    check_autoscaling(sidecar)
    return failed


use_packages(PYTHON)
script(main, LIMIT)
