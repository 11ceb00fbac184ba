#!/usr/bin/env python3
"""Gives one web configuration file to this exporter and to node_exporter, and compares who gets in.

node_exporter (Debian: prometheus-node-exporter) is built on Prometheus' exporter-toolkit, which defines the file. For each
configuration both start with the same files, or both refuse to; then clients with every kind of certificate, TLS version and
password ask both for /metrics, and both have to give the same status, or break off. The files are also changed while both run.
What differs on purpose is listed in DIFFERENT. promtool has to accept every example that is shipped.

Needs openssl, promtool and htpasswd (apache2-utils). Traffic goes over loopback only; processes and files are removed at the end.

    tests/tools/web_config.py [--binary target/debug/jitsiexporter] [--peer prometheus-node-exporter]
"""

import argparse
import base64
import collections
import contextlib
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

# How long a program may take to start or to refuse.
PATIENCE = 20

# Examples that are shipped: whole files, blocks of YAML in documents, web.yml in a manifest, and commands that write one.
WHOLE = ["deploy/systemd/web.yml"]
DOCUMENTS = ["docs/web-configuration.md"]
MANIFESTS = ["deploy/kubernetes/tls/secret.yaml"]
SECTION = re.compile(r"^```ya?ml\n((?:#.*\n)*(?:tls_server_config|basic_auth_users):.*?)^```", re.M | re.S)
IN_MANIFEST = re.compile(r"^  web\.yml: \|\n((?:    .*\n|\n)+)", re.M)
SCRIPT = re.compile(r"^```sh\n((?:(?!```).*\n)*cat > web\.yml <<END\n(?:(?!END).*\n)*END\n)", re.M)


class Failure(Exception):
    """The end, with the reason."""


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---------------------------------------------------------------------------------------------------------------------------
# Certificates


class Certificates:
    """Files in a folder, made by openssl as people make them."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("root", "clients", "other"):
            self.authority(name)
        self.signed("server", "root", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.signed("renewed", "root", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        usage = "extendedKeyUsage={}\nsubjectAltName=DNS:prometheus.example,email:me@example.org,IP:10.1.2.3"
        self.signed("client", "clients", usage.format("clientAuth"))
        self.signed("unlisted", "clients", "subjectAltName=DNS:other.example")
        self.signed("for-servers", "clients", usage.format("serverAuth"))
        self.signed("stranger", "other", usage.format("clientAuth"))
        # Signed by itself and listed in client_ca_file.
        self.itself("listed")
        self.itself("unknown")
        (folder / "ca.pem").write_text((folder / "clients.pem").read_text() + (folder / "listed.pem").read_text())

    def key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.folder / f"{name}.key"]

    def authority(self, name):
        run("openssl", "req", "-x509", *self.key(name), "-out", self.folder / f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")

    itself = authority

    def signed(self, name, issuer, extensions):
        folder = self.folder
        (folder / "extensions").write_text(extensions)
        run("openssl", "req", "-new", *self.key(name), "-out", folder / "request", "-subj", f"/CN={name}")
        run("openssl", "x509", "-req", "-in", folder / "request", "-CA", folder / f"{issuer}.pem", "-CAkey",
            folder / f"{issuer}.key", "-CAcreateserial", "-extfile", folder / "extensions", "-days", "2",
            "-out", folder / f"{name}.pem")


CLIENTS = [None, "client", "unlisted", "for-servers", "stranger", "listed", "unknown"]


# ---------------------------------------------------------------------------------------------------------------------------
# The two programs


class Program:
    def __init__(self, name, command):
        self.name, self.port = name, free_port()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*command(f"127.0.0.1:{self.port}")], stdout=subprocess.DEVNULL, stderr=self.log)

    def starts(self):
        """Whether it serves; if not, it has ended."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            # node_exporter listens before it has read the file.
            if "TLS is " in self.said() or " listens on " in self.said():
                return True
            time.sleep(0.02)
        raise Failure(f"{self.name} neither starts nor ends")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()


class Client:
    """What a client brings with it."""

    def __init__(self, folder, tls=True, certificate=None, version=None, credentials=None):
        self.words = f"certificate {certificate}, {version or 'any TLS'}, {credentials or 'no password'}" if tls else f"plain HTTP, {credentials}"
        self.credentials, self.context = credentials, None
        if tls:
            self.context = ssl.create_default_context(cafile=folder / "root.pem")
            if certificate:
                self.context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
            if version:
                self.context.minimum_version = self.context.maximum_version = version

    def asks(self, program, path="/metrics"):
        """The status, or None if the connection is broken off."""
        header = ""
        if self.credentials is not None:
            header = f"Authorization: Basic {base64.b64encode(self.credentials.encode()).decode()}\r\n"
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", program.port), PATIENCE) as plain:
                stream = self.context.wrap_socket(plain, server_hostname="localhost") if self.context else plain
                stream.sendall(request)
                answer = b""
                while b"\r\n" not in answer:
                    part = stream.recv(4096)
                    if not part:
                        return None
                    answer += part
                return int(answer.split()[1])
        except (ssl.SSLError, ConnectionError):
            return None


# ---------------------------------------------------------------------------------------------------------------------------
# What is compared

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
CA = "  client_ca_file: ca.pem\n"
ALLOWED = "  client_allowed_sans: [prometheus.example]\n"

POLICIES = ["NoClientCert", "RequestClientCert", "RequireAnyClientCert", "RequireClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]


def configurations(users):
    """Name, text, and whether it has a key that a peer of some age does not know."""
    yield "empty", "", False
    yield "comments only", "# tls_server_config:\n", False
    yield "empty sections", "tls_server_config:\nbasic_auth_users:\n", False
    yield "TLS", TLS, False
    yield "TLS and passwords", TLS + users, False
    yield "passwords", users, False
    yield "quoted", TLS.replace("server.pem", '"server.pem"').replace("server.key", "'server.key'"), False
    yield "flow style", '{"tls_server_config": {cert_file: server.pem, key_file: server.key}}', False
    for low in ("TLS12", "TLS13"):
        for high in ("TLS12", "TLS13"):
            if low <= high:
                yield f"{low} to {high}", f"{TLS}  min_version: {low}\n  max_version: {high}\n", False
    for policy in POLICIES:
        ca = "" if policy == "NoClientCert" else CA
        yield policy, f"{TLS}  client_auth_type: {policy}\n{ca}", False
        if policy != "NoClientCert":
            yield f"{policy}, names", f"{TLS}  client_auth_type: {policy}\n{ca}{ALLOWED}", True
    yield "all of it", f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n{CA}  min_version: TLS12\n{users}", False
    # What both refuse.
    yield "no YAML", "{", False
    yield "a list", "- tls_server_config\n", False
    yield "an unknown section", "tls_config: {}\n", False
    yield "an unknown key", f"{TLS}  ciphers: []\n", False
    yield "a key twice", f"{TLS}  cert_file: server.pem\n", False
    yield "no key file", "tls_server_config:\n  cert_file: server.pem\n", False
    yield "no certificate", "tls_server_config:\n  key_file: server.key\n", False
    yield "files that are not there", TLS.replace("server", "none"), False
    yield "a key that does not fit", TLS.replace("server.key", "renewed.key"), False
    yield "a key for a certificate", TLS.replace("server.pem", "server.key"), False
    yield "an unknown policy", f"{TLS}  client_auth_type: Sometimes\n", False
    yield "an authority without a policy", TLS + CA, False
    yield "an authority that is not there", f"{TLS}  client_auth_type: RequireAnyClientCert\n  client_ca_file: none.pem\n", False
    yield "an unknown version", f"{TLS}  min_version: TLS14\n", False
    yield "a password that is not hashed", "basic_auth_users:\n  alice: secret\n", False
    yield "an empty hash", "basic_auth_users:\n  alice:\n", False
    yield "users in a list", "basic_auth_users: [alice]\n", False
    yield "a rate that is no number", "rate_limit: often\n", False


# This exporter refuses these, exporter-toolkit does not: a key that would have no effect, or that opens what looks locked.
DIFFERENT = {
    "http_server_config": "http_server_config:\n  http2: false\n",
    "rate_limit": "rate_limit:\n  interval: 1s\n  burst: 2\n",
    "cipher_suites": f"{TLS}  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",
    "curve_preferences": f"{TLS}  curve_preferences: [CurveP256]\n",
    "prefer_server_cipher_suites": f"{TLS}  prefer_server_cipher_suites: true\n",
    "old TLS": f"{TLS}  min_version: TLS10\n",
    "min above max": f"{TLS}  min_version: TLS13\n  max_version: TLS12\n",
    # It would serve plain HTTP.
    "only a version": "tls_server_config:\n  min_version: TLS13\n",
    # Every public authority of the system would be trusted.
    "verification without an authority": f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n",
    "an authority file without a certificate": f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key\n",
}


def clients(folder, config):
    credentials = [None, "alice:secret", "alice:wrong", "mallory:secret", "alice", ":"] if "basic_auth_users:\n" in config else [None]
    if TLS[:17] not in config or "cert_file" not in config:
        return [Client(folder, tls=False, credentials=each) for each in credentials]
    # Twice each: the second time the password is known.
    every = [Client(folder, credentials=each, certificate="client") for each in credentials * 2]
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        every += [Client(folder, certificate=each, version=version) for each in CLIENTS]
    every.append(Client(folder, tls=False))
    return every


class Comparison:
    def __init__(self, binary, peer, folder):
        self.folder, self.wrong, self.answers, self.refusals = folder, [], 0, 0
        self.file = folder / "web.yml"
        self.ours = lambda at: [binary, "--demo", "--listen-address", at, f"--web.config.file={self.file}"]
        self.theirs = lambda at: [peer, "--collector.disable-defaults", f"--web.listen-address={at}", f"--web.config.file={self.file}"]

    @contextlib.contextmanager
    def programs(self, config):
        self.file.write_text(config)
        both = Program("jitsiexporter", self.ours), Program("node_exporter", self.theirs)
        try:
            yield both
        finally:
            for program in both:
                program.stop()

    def compare(self, name, config, ours, theirs):
        for client in clients(self.folder, config):
            got = client.asks(ours), client.asks(theirs)
            self.answers += 1
            if got[0] != got[1]:
                self.wrong.append(f"{name}: {client.words}: {got[0]}, but {got[1]} by node_exporter")

    def configuration(self, name, config, young):
        with self.programs(config) as (ours, theirs):
            starts = ours.starts(), theirs.starts()
            if young and not starts[1] and "not found in type" in theirs.said():
                print(f"  {name}: not compared, node_exporter is too old")
            elif starts[0] != starts[1]:
                self.wrong.append(f"{name}: starts: {starts[0]}, but {starts[1]} for node_exporter\n{ours.said()}{theirs.said()}")
            elif starts[0]:
                self.compare(name, config, ours, theirs)
            else:
                self.refusals += 1
                self.refused_well(name, ours)

    def refused_well(self, name, ours):
        said, status = ours.said(), ours.process.wait()
        if status != 1 or said.count("\n") != 1 or str(self.file) not in said:
            self.wrong.append(f"{name}: status {status}: {said}")

    def different(self):
        for name, config in DIFFERENT.items():
            with self.programs(config) as (ours, theirs):
                if ours.starts():
                    self.wrong.append(f"{name}: it starts")
                else:
                    self.refused_well(name, ours)
                if not theirs.starts() and "not found in type" not in theirs.said():
                    self.wrong.append(f"{name}: node_exporter refuses it too: {theirs.said()}")

    def changes(self, users, others):
        """Files that change while both run."""
        config = f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n{CA}{users}"
        with self.programs(config) as (ours, theirs):
            assert ours.starts() and theirs.starts()
            steps = [
                ("other users", lambda: self.file.write_text(config.replace(users, others))),
                ("the users from before", lambda: self.file.write_text(config)),
                ("another authority", lambda: shutil.copy(self.folder / "other.pem", self.folder / "ca.pem")),
                ("any certificate", lambda: self.file.write_text(config.replace("RequireAndVerify", "RequireAny"))),
                ("TLS 1.3 only", lambda: self.file.write_text(config.replace(TLS, f"{TLS}  min_version: TLS13\n"))),
                ("a renewed certificate", lambda: [shutil.copy(self.folder / f"renewed.{end}", self.folder / f"server.{end}") for end in ("pem", "key")]),
            ]
            self.compare("before a change", config, ours, theirs)
            for name, step in steps:
                step()
                self.compare(f"after a change: {name}", config, ours, theirs)
            if "Traceback" in ours.said() or "panicked" in ours.said():
                self.wrong.append(ours.said())


def examples(folder):
    """Every example that is shipped: where it is from, and its text."""
    for name in WHOLE:
        text = (ROOT / name).read_text()
        yield name, text
        # And as it is when its comments are removed.
        yield f"{name}, uncommented", re.sub(r"^#(?=(?:[a-z_]+|  .*):)", "", text, flags=re.M)
    for name in DOCUMENTS:
        for text in SECTION.findall((ROOT / name).read_text()):
            yield name, text
    for name in MANIFESTS:
        for text in IN_MANIFEST.findall((ROOT / name).read_text()):
            yield name, textwrap.dedent(text)
    # The one that is made by the commands of the README.
    script = SCRIPT.search((ROOT / "README.md").read_text())
    if not script:
        raise Failure("README.md has no commands that write web.yml")
    run("sh", "-e", "-c", script[1], cwd=folder)
    yield "README.md", (folder / "web.yml").read_text()


def check_examples(binary, folder):
    place = folder / "examples"
    place.mkdir()
    found = collections.Counter()
    for name, text in examples(place):
        found[name] += 1
        # The files they name, unless they made them.
        for key, source in (("cert_file", "server.pem"), ("key_file", "server.key"), ("client_ca_file", "clients.pem")):
            for file in re.findall(rf"{key}: *([^\s,}}]+)", text):
                if not (place / file).exists():
                    text = text.replace(f"{key}: {file}", f"{key}: {folder / source}")
        example = place / f"example-{sum(found.values())}.yml"
        example.write_text(text)
        # The promtool of Debian 12 does not know this key yet.
        old = example.with_suffix(".old.yml")
        old.write_text(re.sub(r"^ *client_allowed_sans:.*\n", "", text, flags=re.M))
        run("promtool", "check", "web-config", old)
        program = Program("jitsiexporter", lambda at: [binary, "--demo", "--listen-address", at, "--web-config-file", str(example)])
        try:
            if not program.starts():
                raise Failure(f"{name}: {program.said()}{text}")
            locked = Client(folder, tls="tls_server_config:\n" in text or "tls_server_config: {" in text).asks(program)
            if "uncommented" in name and locked == 200:
                raise Failure(f"{name} locks nothing")
        finally:
            program.stop()
    print(f"{sum(found.values())} examples: promtool and the exporter accept them")
    missing = {*WHOLE, *DOCUMENTS, *MANIFESTS, "README.md"} - set(found)
    if missing:
        raise Failure(f"no example in {', '.join(missing)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", default=ROOT / "target/debug/jitsiexporter", type=pathlib.Path)
    parser.add_argument("--peer", default="prometheus-node-exporter")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        Certificates(folder)

        def users(*pairs):
            lines = [run("htpasswd", "-nbBC", "5", *pair).strip().replace(":", ": ", 1) for pair in pairs]
            return "basic_auth_users:\n" + "".join(f"  {line}\n" for line in lines)

        check_examples(arguments.binary.resolve(), folder)
        comparison = Comparison(arguments.binary.resolve(), arguments.peer, folder)
        alice = users(("alice", "secret"), ("bob", ""))
        for name, config, young in configurations(alice):
            comparison.configuration(name, config, young)
        comparison.different()
        comparison.changes(alice, users(("alice", "wrong"), ("mallory", "secret")))
    print(f"{comparison.answers} answers compared, {comparison.refusals} configurations refused by both, {len(DIFFERENT)} by this exporter only")
    for line in comparison.wrong:
        print(f"  {line}", file=sys.stderr)
    if comparison.wrong or comparison.answers < 200:
        raise Failure(f"{len(comparison.wrong)} differences in {comparison.answers} answers")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"web_config: FAILED: {failure}")
