#!/usr/bin/env python3
"""Starts the container image with the command lines that charts, compose files and guides use for the older exporters.

    deploy/check/image.py [dist/jitsiexporter_<version>_image_x86_64.tar]

Unpacks the archive that deploy/image.sh made and runs it as an engine does: the root is read-only, the user
is 10001 without any capability, /etc/hosts is the engine's, the environment is the image's. Each launch line gets a network of
its own, in which a bridge answers on port 8080, so the real ports are used without conflicts. Needs root.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests/tools"))

from programs import FIXTURES, ROOT, Bridge, Failure, exporter, script

LIMIT = 300
MAX_IMAGE = 4_000_000
MAX_BINARY = 3_500_000
FILES = [
    "jitsiexporter",
    "licenses",
    "licenses/LICENSE-APACHE",
    "licenses/LICENSE-MIT",
    "licenses/THIRD-PARTY-NOTICES",
    "prometheus-jitsi-meet-exporter",
]
# A chart's limit.
MAX_MEMORY = 32
USER = 10001

URL = "-videobridge-url"
LOCAL = "http://localhost:8080/colibri/stats"
OLD = "/prometheus-jitsi-meet-exporter"

# The source of the command line, `command` (which replaces the entry point), `args`, the port, and which names are exposed.
# tests/cli.rs parses more of them.
LAUNCHES = [
    ("the image as it is", None, [], 9700, "standard"),
    ("our README", None, ["--demo"], 9700, "standard"),
    ("jitsi-contrib/jitsi-helm", [OLD, URL, LOCAL], [], 9888, "legacy"),
    ("element-hq/jitsi-helm, KEDA, jitsi-operator", None, [URL, LOCAL], 9888, "legacy"),
    ("openfun/jitsi-k8s, hpi-schul-cloud", None, [URL, LOCAL], 9888, "legacy"),
    ("systemli#93", [OLD], [URL, LOCAL], 9888, "legacy"),
    ("compose: workadventure_monitor", None, [URL, "http://jvb:8080/colibri/stats"], 9888, "legacy"),
    # jitsiexporter (Go). Its own image added -debug and -host=0.0.0.0 to the entry point; ours listens everywhere by itself.
    ("jitsiexporter (Go), its image", ["/jitsiexporter", "-debug=true", "-host=0.0.0.0"], ["-url", LOCAL], 9700, "legacy"),
    (
        "NixOS, services.prometheus.exporters.jitsi",
        ["/jitsiexporter", "-url", LOCAL, "-host", "0.0.0.0", "-port", "9700", "-interval", "30s"],
        [],
        9700,
        "legacy",
    ),
]

# A sample that only standard names contain, and one that only legacy names contain.
STANDARD = "\njitsi_conferences_created_total "
LEGACY = "\njitsi_total_conferences_created "


def check(good, what):
    if not good:
        raise Failure(what)


def unpack(archive, directory):
    """The root of the image, its configuration, and its size."""
    outer = directory / "archive"
    with tarfile.open(archive) as tar:
        tar.extractall(outer)
    manifest = json.loads((outer / "manifest.json").read_text())[0]
    config = json.loads((outer / manifest["Config"]).read_text())
    root = directory / "root"
    root.mkdir()
    size = 0
    for layer in manifest["Layers"]:
        size += (outer / layer).resolve().stat().st_size
        with tarfile.open(outer / layer) as tar:
            tar.extractall(root)
    return root, config, size


def check_start(started, name, port, names, only_v4):
    """A started image: its port, the names of its metrics, its user, its capabilities and its memory."""
    # The probes of Kubernetes have a second.
    health = started.get("/health", timeout=1)[1].strip()
    check((health, started.port) == ("ok", port), f"{name}: port {started.port}, /health says {health!r}")
    texts = [started.get("/metrics")[1]]
    if not only_v4:
        # It listens on IPv4 and IPv6, unless its arguments say otherwise.
        started.url = f"http://[::1]:{port}"
        texts.append(started.get("/metrics")[1])
    for text in texts:
        check("\njitsi_up 1\n" in text, f"{name}: no jitsi_up 1:\n{text}")
        found = "standard" if STANDARD in text else "legacy" if LEGACY in text else "no"
        check(found == names, f"{name}: {found} names, not {names}")
    status = pathlib.Path(f"/proc/{started.process.pid}/status").read_text()
    check(f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status, f"{name}: it is not user {USER}")
    check("CapEff:\t0000000000000000" in status, f"{name}: it has capabilities")
    check(started.memory() < MAX_MEMORY, f"{name}: {started.memory()} MB")
    print(f"image: {name}: port {port}, {names} names, {started.memory():.1f} MB")


def inside(directory):
    """All launch lines, in the namespaces that main() made."""
    directory = pathlib.Path(directory)
    root = directory / "root"
    config = json.loads((directory / "config.json").read_text())
    environment = dict(pair.split("=", 1) for pair in config["Env"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (root / "etc").mkdir()
    # As an engine writes it, with the names of the bridge in the command lines.
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n127.0.0.1 jvb\n")
    subprocess.run(["mount", "--bind", root, root], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
    try:
        (root / "x").touch()
        check(False, "the root is not read-only")
    except OSError:
        pass
    report = (FIXTURES / "2026-08-head.json").read_bytes()
    Bridge(lambda path: (200, report) if path == "/colibri/stats" else (404,), ("0.0.0.0", 8080))
    user = ["chroot", f"--userspec={USER}:{USER}", "--groups=", root]
    # chroot needs these capabilities; they are dropped when the user changes.
    contained = ["setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot,+setuid,+setgid", *user]
    for name, command, args, port, names in LAUNCHES:
        words = [*(config["Entrypoint"] if command is None else command), *args]
        with exporter(*contained, *words, listen=None, env=environment) as started:
            check_start(started, name, port, names, "0.0.0.0" in str(words))
    # As process 1, to which the kernel delivers only signals that have a handler.
    with exporter("unshare", "--pid", "--fork", "--kill-child", *user, "/jitsiexporter", listen=None, env=environment) as first:
        check(first.get("/health")[1].strip() == "ok", "as process 1 it does not answer")
        pid = first.process.pid
        child = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        check(f"NSpid:\t{child}\t1" in pathlib.Path(f"/proc/{child}/status").read_text(), "it is not process 1")
        os.kill(int(child), signal.SIGTERM)
        code = first.process.wait(20)
        check(code == 0, f"as process 1 SIGTERM ends it with {code}")
    print("image: as process 1 it stops at SIGTERM, with 0")
    return []


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside(sys.argv[2])
    archives = sys.argv[1:] or sorted(str(path) for path in (ROOT / "dist").glob("*_image_x86_64.tar"))
    check(len(archives) == 1, "there is not one image in dist/; deploy/image.sh makes it")
    with tempfile.TemporaryDirectory(prefix="jitsiexporter-image-") as directory:
        directory = pathlib.Path(directory)
        # Another user must reach the root.
        directory.chmod(0o755)
        root, config, size = unpack(archives[0], directory)
        found = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        check(found == FILES, f"the image holds {found}")
        check(os.readlink(root / "prometheus-jitsi-meet-exporter") == "jitsiexporter", "the link has another target")
        binary = (root / "jitsiexporter").stat()
        check(binary.st_mode & 0o7777 == 0o755, f"the binary has mode {binary.st_mode:o}")
        check(binary.st_size <= MAX_BINARY and size <= MAX_IMAGE, f"binary {binary.st_size} bytes, image {size} bytes")
        settings = config["config"]
        check(settings["User"] == f"{USER}:{USER}", f"its user is {settings['User']}")
        check(sorted(settings["ExposedPorts"]) == ["9700/tcp", "9888/tcp"], f"its ports are {settings['ExposedPorts']}")
        labels = settings["Labels"]
        for name in ("title", "description", "licenses", "version", "revision"):
            check(labels.get(f"org.opencontainers.image.{name}"), f"it has no label {name}")
        print(f"image: {size} bytes, binary {binary.st_size} bytes, {labels['org.opencontainers.image.version']}", flush=True)
        (directory / "config.json").write_text(json.dumps(settings))
        again = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, __file__, "--inside", str(directory)]
        return ["see above"] if subprocess.run(again, timeout=LIMIT).returncode else []


script(main, LIMIT)
