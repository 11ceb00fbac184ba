#!/usr/bin/env python3
"""Checks that node_exporter behaves as tests/web_config.tsv says, and that every example of a web configuration is valid.

node_exporter (Debian: prometheus-node-exporter) is built on Prometheus' exporter-toolkit, which defines the format of the file. With each
configuration of the table it must start, or reject the file. Then clients with every kind of certificate, TLS version and password
ask for /metrics. tests/web_config.rs does the same with this exporter. promtool and this exporter must accept every example.

Needs openssl, promtool and htpasswd (apache2-utils).

    tests/tools/web_config.py target/debug/jitsiexporter
"""

import base64
import collections
import contextlib
import os
import pathlib
import re
import shutil
import socket
import ssl
import sys
import tempfile
import textwrap
import time

sys.dont_write_bytecode = True

from programs import PATIENCE, ROOT, Certificates, Failure, exporter, output, running, script

LIMIT = 300

# Certificates of kinds that this exporter does not support.
KINDS = ROOT / "tests/kinds"

# Examples that are shipped: whole files, blocks of YAML in documents, web.yml in a manifest, and commands that write one.
WHOLE = ["deploy/systemd/web.yml"]
DOCUMENTS = ["docs/web-configuration.md"]
MANIFESTS = ["deploy/kubernetes/tls/secret.yaml"]
SECTION = re.compile(r"^```ya?ml\n((?:#.*\n)*(?:tls_server_config|basic_auth_users):.*?)^```", re.M | re.S)
IN_MANIFEST = re.compile(r"^  web\.yml: \|\n((?:    .*\n|\n)+)", re.M)
SCRIPT = re.compile(r"^```sh\n((?:(?!```).*\n)*cat > web\.yml <<END\n(?:(?!END).*\n)*END\n)", re.M)

# node_exporter refuses a key that its version does not know yet with these words.
TOO_OLD = "not found in type"

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
LISTED = ["listed", "listed-expired", "listed-early", "listed-unfit"]
CLIENTS = ["client", "other", "server", "stranger", "forged", "expired", "early", *LISTED, "unknown"]


def write_files(folder):
    """The files of the table."""
    certificates = Certificates(folder)
    certificates.authority("root")
    certificates.authority("clients")
    certificates.authority("another")
    certificates.authority("forger", "clients")
    names = "\nsubjectAltName=DNS:prometheus.example"
    certificates.signed("server-client", "clients", f"extendedKeyUsage=serverAuth{names}")
    certificates.signed("client", "clients", f"extendedKeyUsage=clientAuth{names}")
    certificates.signed("other", "clients", "subjectAltName=DNS:other.example")
    certificates.signed("stranger", "another", f"extendedKeyUsage=clientAuth{names}")
    certificates.signed("forged", "forger")
    certificates.signed("expired", "clients", years=(2010, 2020))
    certificates.signed("early", "clients", years=(2048, 2049))
    certificates.signed("listed", "listed", "basicConstraints=CA:TRUE")
    certificates.signed("listed-expired", "listed-expired", "basicConstraints=CA:TRUE", years=(2010, 2020))
    certificates.signed("listed-early", "listed-early", "basicConstraints=CA:TRUE", years=(2048, 2049))
    certificates.signed("listed-unfit", "listed-unfit", "basicConstraints=CA:TRUE\nextendedKeyUsage=serverAuth")
    certificates.signed("unknown", "unknown")
    for name in ("server", "renewed"):
        certificates.signed(name, "root", "subjectAltName=DNS:localhost")
    certificates.signed("P-384", "root", "subjectAltName=DNS:localhost", key=("ec", "ec_paramgen_curve:P-384"))
    certificates.signed("Ed25519", "root", "subjectAltName=DNS:localhost", key=("ed25519",))
    for file in KINDS.glob("*.pem"):
        shutil.copy(file, folder)
    (folder / "ca.pem").write_text("".join((folder / f"{name}.pem").read_text() for name in ["clients", *LISTED]))
    (folder / "empty.pem").write_text("")
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
    (folder / "odd.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (folder / "locked.key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")


def table():
    """The rows: kind, expectation, and a configuration or credentials."""
    alice, bob = (output("htpasswd", "-nbBC", "5", "", password).strip()[1:] for password in ("secret", ""))
    for line in (ROOT / "tests/web_config.tsv").read_text().splitlines():
        if not line.startswith("#"):
            kind, expected, text = line.split("\t")
            text = text.replace("\\n", "\n").replace("\\t", "\t").replace("SERVER", "cert_file: server.pem, key_file: server.key")
            yield kind, expected, text.replace("USERS", f"basic_auth_users: {{alice: {alice}, bob: {bob}}}")


def context(folder, certificate=None, version=None):
    made = ssl.create_default_context(cafile=folder / "root.pem")
    if certificate:
        # The certificate of the server itself has the name, too.
        name = certificate.replace("server", "server-client")
        made.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def status(port, tls, credentials="", path="/metrics"):
    """The status of a response, or None if the connection is broken off."""
    head = answer(port, tls, credentials, path)
    return int(head.split()[1]) if head else None


def answer(port, tls, credentials="", path="/metrics"):
    """The head of a response; empty if the connection is broken off."""
    header = f"Authorization: Basic {base64.b64encode(credentials.encode()).decode()}\r\n" if credentials else ""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
            stream = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
            stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n".encode())
            return stream.makefile("rb").read().split(b"\r\n\r\n")[0].decode()
    except (ssl.SSLError, ConnectionError):
        return ""


class NodeExporter:
    def __init__(self, folder, stack):
        self.log = folder / "log"
        command = ["prometheus-node-exporter", "--collector.disable-defaults", "--web.listen-address=127.0.0.1:0"]
        log = stack.enter_context(self.log.open("wb"))
        process = stack.enter_context(running(*command, f"--web.config.file={folder}/web.yml", stdout=log, stderr=log))
        until = time.monotonic() + PATIENCE
        # It listens before it reads the file.
        while process.poll() is None and "TLS is " not in self.log.read_text():
            if time.monotonic() > until:
                raise Failure(f"node_exporter neither starts nor ends: {self.log.read_text()}")
            time.sleep(0.02)
        self.serves = process.poll() is None
        if self.serves:
            self.port = int(re.search(r"Listening on.* address=\S*:(\d+)", self.log.read_text())[1])


def check_clients(folder, port, expected, config, users):
    """Every client and every password."""
    password = "alice:secret" if "alice: " in config else ""
    words = expected.split(" ")
    plain = status(port, None, password)
    if words == ["http"]:
        if plain != 200:
            yield f"plain HTTP gets {plain}"
        admitted = [None]
    else:
        if plain != 400:
            yield f"plain HTTP gets {plain}"
        admitted = []
        versions = [version for version in VERSIONS if version in words] or VERSIONS
        for name in ("none", *CLIENTS):
            for version in VERSIONS:
                tls = context(folder, None if name == "none" else name, VERSIONS[version])
                wanted = version in versions and (name in words or "any" in words and name != "none")
                got = status(port, tls, password)
                if got != (200 if wanted else None):
                    yield f"{name} by {version} gets {got}"
                if wanted:
                    admitted.append(tls)
    for name, value in re.findall(r"([A-Z][\w-]+): ([\w=]+)", config) if "headers: {" in config else []:
        if f"\r\n{name}: {value}".lower() not in answer(port, admitted[0], password).lower():
            yield f"no header {name}: {value}"
    for wanted, credentials in users if password else []:
        got = status(port, admitted[0], credentials)
        if got != int(wanted):
            yield f"{credentials!r} gets {got}, not {wanted}"


def check_table(folder):
    rows = list(table())
    users = [(expected, credentials) for kind, expected, credentials in rows if kind == "user"]
    node_exporter = None
    with contextlib.ExitStack() as stack:
        for kind, expected, config in rows:
            (folder / "web.yml").write_text(config)
            if kind in ("refuse", "strict"):
                with contextlib.ExitStack() as once:
                    refusing = NodeExporter(folder, once)
                    if refusing.serves == (kind == "refuse") and TOO_OLD not in refusing.log.read_text():
                        yield f"node_exporter {'serves' if refusing.serves else 'refuses'}: {config}"
            if kind == "serve":
                stack.close()
                node_exporter = NodeExporter(folder, stack)
                if not node_exporter.serves and TOO_OLD not in node_exporter.log.read_text():
                    yield f"node_exporter refuses: {config}"
            if kind in ("serve", "change") and node_exporter.serves:
                problems = check_clients(folder, node_exporter.port, expected, config, users)
                yield from (f"node_exporter: {problem}: {config}" for problem in problems)
    print(f"{len(rows)} rows")


def examples(folder):
    """Every example that is shipped: where it is from, and its text."""
    for name in WHOLE:
        text = (ROOT / name).read_text()
        yield name, text
        # And with its settings no longer commented out.
        yield f"{name}, uncommented", re.sub(r"^#(?=(?:[a-z_]+|  .*):)", "", text, flags=re.M)
    for name in DOCUMENTS:
        for text in SECTION.findall((ROOT / name).read_text()):
            yield name, text
    for name in MANIFESTS:
        for text in IN_MANIFEST.findall((ROOT / name).read_text()):
            yield name, textwrap.dedent(text)
    # The one that is made by the commands of the README.
    commands = SCRIPT.search((ROOT / "README.md").read_text())
    if not commands:
        raise Failure("README.md has no commands that write web.yml")
    output("sh", "-e", "-c", commands[1], cwd=folder)
    yield "README.md", (folder / "web.yml").read_text()


def check_examples(binary, folder):
    place = folder / "examples"
    place.mkdir()
    found = collections.Counter()
    for name, text in examples(place):
        found[name] += 1
        # The files that it names, unless the commands made them.
        for key, source in (("cert_file", "server.pem"), ("key_file", "server.key"), ("client_ca_file", "clients.pem")):
            for file in re.findall(rf"{key}: *([^\s,}}]+)", text):
                if not (place / file).exists():
                    text = text.replace(f"{key}: {file}", f"{key}: {folder / source}")
        example = place / f"example-{sum(found.values())}.yml"
        # The promtool of Debian 12 does not know this key yet.
        example.write_text(re.sub(r"^ *client_allowed_sans:.*\n", "", text, flags=re.M))
        output("promtool", "check", "web-config", example)
        example.write_text(text)
        with exporter(binary, "--demo", "--web-config-file", example) as started:
            tls = context(folder) if started.url.startswith("https") else None
            served = status(started.port, tls) == 200
            if "uncommented" in name and served:
                yield f"{name}: the metrics are served to everybody"
    missing = {*WHOLE, *DOCUMENTS, *MANIFESTS, "README.md"} - set(found)
    if missing:
        yield f"no example in {', '.join(missing)}"
    print(f"{sum(found.values())} examples")


def check_kinds(binary, folder):
    """Client certificates of other kinds: the log of this exporter names them, and node_exporter takes those that Go knows."""
    certificates = Certificates(folder)
    signed = "is not accepted: a signature of this kind is not supported: "
    keyed = "is not accepted: a key of this kind is not supported with this signature: "
    unsent = "the client sent no certificate, or has none of a kind that is supported"
    sized = "is not accepted: an RSA key of this size is not supported: 1024 bits"
    made = {"P-521 key": ("ec", "ec_paramgen_curve:P-521"), "Ed448 key": ("ed448",), "Ed25519 key": ("ed25519",)}
    made |= {"secp256k1 key": ("ec", "ec_paramgen_curve:secp256k1")}
    made |= {"explicit key": ("ec", "ec_paramgen_curve:P-256", "ec_param_enc:explicit")}
    made |= {"P-384 key": ("ec", "ec_paramgen_curve:P-384"), "RSA-PSS key": ("rsa-pss", "rsa_keygen_bits:2048")}
    made |= {f"RSA-{bits} key": ("rsa", f"rsa_keygen_bits:{bits}") for bits in (1024, 2048, 3072, 4096)}
    for name, key in made.items():
        certificates.signed(name, "clients", key=key)
        (folder / f"client-{name}.pem").write_text("".join((folder / f"{name}.{end}").read_text() for end in ("key", "pem")))
    (folder / "kinds.pem").write_text((folder / "clients.pem").read_text() + (KINDS / "authorities.pem").read_text())
    section = "cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: kinds.pem"
    config = folder / "web.yml"
    config.write_text(f"tls_server_config: {{{section}}}")
    # The certificate of a client, the log of this exporter (empty if it serves the client), and whether node_exporter serves it.
    for name, line, by_go in [
        ("P-384 key", None, True),
        ("Ed25519 key", None, True),
        ("RSA-2048 key", None, True),
        ("RSA-3072 key", None, True),
        ("RSA-4096 key", None, True),
        ("RSA-1024 key", sized, True),
        ("P-521 key", unsent, True),
        ("secp256k1 key", unsent, False),
        ("explicit key", f"{keyed}elliptic curve with explicit parameters", False),
        ("Ed448 key", unsent, False),
        ("RSA-PSS key", unsent, False),
        ("P-521", f"{keyed}P-521, ECDSA with SHA-256", True),
        ("Ed448", f"{signed}Ed448", False),
        ("RSA-PSS", f"{signed}RSA-PSS", False),
        ("RSA-1024", sized, True),
        ("SHA-512", f"{signed}ECDSA with SHA-512", True),
        ("SHA-1", f"{signed}ECDSA with SHA-1", False),
        ("version-1", "is of X.509 version 1, which is not supported", True),
    ]:
        tls = ssl.create_default_context(cafile=folder / "root.pem")
        tls.set_ciphers("ALL:@SECLEVEL=0")
        tls.load_cert_chain(folder / f"client-{name}.pem")
        with contextlib.ExitStack() as stack:
            # A new one each time: failed handshakes are logged every ten seconds only.
            own = stack.enter_context(exporter(binary, "--demo", "--web-config-file", config))
            if status(own.port, tls) != (None if line else 200):
                yield f"{name}: {'is served' if line else 'is not served'}"
            until = time.monotonic() + PATIENCE
            while line and not any(line in logged for logged in own.log):
                if time.monotonic() > until:
                    yield f"{name}: the log does not say {line!r}: {own.log}"
                    break
                time.sleep(0.02)
            served = status(NodeExporter(folder, stack).port, tls) == 200
            if served != by_go:
                yield f"{name}: node_exporter {'serves' if served else 'does not serve'} it"
    print("18 kinds of client certificates")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_files(folder)
        binary = os.path.abspath(sys.argv[1])
        return [*check_examples(binary, folder), *check_kinds(binary, folder), *check_table(folder)]


if __name__ == "__main__":
    script(main, LIMIT)
