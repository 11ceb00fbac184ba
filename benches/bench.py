#!/usr/bin/env python3
"""Measures the released program beside nginx as a plain reverse proxy, the release before it, a glibc build and other exporters, and
prints a table in Markdown, as it stands in docs/speed.md. Needs nginx and wrk. All traffic stays on the loopback.

    BINARY=path     the released program; `make released` unpacks it from a release archive to target/released, the default
    PEER="/path/to/exporter -videobridge-url {url} -web.listen-address {addr}"
                    another exporter; PEER2 and so on add more. The table has the ratio to PEER
    BASELINE=path   the release before; without it, cargo builds it from its commit, as it shipped: static, for which it needs what
                    `make bench-instructions` needs. BASELINE=no leaves the column out
    GLIBC=path      the glibc build; without it, cargo builds it. GLIBC=no leaves the column out
    ROUNDS=7        rounds; every round measures everything, so that a busy moment of the machine affects all alike
    SECONDS=1       length of one measurement
    STARTS=10       how often each program is started to time its first answer
    PACED=20        number of scrapes at a rate of one a second
"""

import contextlib
import dataclasses
import http.client
import os
import pathlib
import platform
import re
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from report import CURRENT, NATIVE, ROOT, enlarged

# The release with which the table compares.
BASELINE, BASELINE_COMMIT = "1.1.0", "32c5669a948a17d2968371ebc83a916fa131e67e"
STATIC = "x86_64-unknown-linux-musl" if platform.machine() == "x86_64" else "aarch64-unknown-linux-musl"

sys.path.append(str(ROOT / "tests/tools"))
from programs import Certificates, Failure, output, running, script

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"

ONE, MANY = 1, 8  # clients

NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
{further}
}}
"""

BRIDGE = """\
    open_file_cache max=10;
    server {{ listen 127.0.0.1:{port}; root {documents}; }}
"""

PROXY = """\
    upstream bridge {{ server {bridge}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port}{tls};
        location = /metrics {{
            proxy_pass http://bridge{path};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


# For nginx; the exporter gets the same files.
PROXY_TLS = " ssl; ssl_certificate {files}/cert.pem; ssl_certificate_key {files}/cert.key"
WEB_CONFIG = "tls_server_config:\n  cert_file: cert.pem\n  key_file: cert.key\n"


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def setting(name, default):
    value = os.environ.get(name) or default
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise Failure(f"{name}={value}: not a whole number of at least 1")
    return number


def find(program, package):
    # Debian installs nginx in a folder that only root's PATH has.
    path = shutil.which(program, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if not path:
        raise Failure(f"{program} is not installed: apt-get install {package}")
    return path


def build(*command):
    """Runs a build in the repository; its progress goes to standard error."""
    say(shlex.join(command))
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode:
        raise Failure("the build failed")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, process, name):
    """Waits until the port accepts connections."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failure(f"{name} ended with {process.returncode} at its start")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise Failure(f"{name} does not listen on 127.0.0.1:{port}")


@dataclasses.dataclass
class Program:
    """A program that answers scrapes: how to start it, and its process once it runs."""

    name: str
    command: list  # with {port} in it
    directory: pathlib.Path
    port: int = 0
    process: subprocess.Popen = None
    scheme: str = "http"

    def start(self, stack, wait=True):
        """Starts it; it ends with the stack."""
        self.port = free_port()
        command = [word.replace("{port}", str(self.port)) for word in self.command]
        configuration = self.directory / "template"
        if configuration.exists():
            (self.directory / "nginx.conf").write_text(configuration.read_text().replace("{port}", str(self.port)))
        with open(self.directory / "log", "wb") as log:
            self.process = stack.enter_context(running(*command, stdout=log, stderr=log, cwd=self.directory))
        if wait:
            wait_for(self.port, self.process, self.name)

    def memory(self, field):
        """A field of /proc/PID/status in bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def cpu(self):
        """Seconds of CPU since the start, of all threads, those that have ended included."""
        # Python lacks clock_getcpuclockid(3): the clock of a process is the complement of its id, and CPUCLOCK_SCHED.
        return time.clock_gettime(~self.process.pid << 3 | 2)


@dataclasses.dataclass
class Measurement:
    p50: float
    p99: float
    cpu: float  # per scrape
    rate: float


@dataclasses.dataclass
class Column:
    """A column of the table: a program in front of a bridge, once more in front of one with a large report, in front of the own
    metrics of a bridge, and over TLS."""

    label: str
    program: Program
    large: Program
    native: Program = None
    tls: Program = None
    binary: pathlib.Path = None  # the file whose size is shown
    accept: str = ""
    rounds: dict = dataclasses.field(default_factory=dict)  # name of a load -> [Measurement]
    figures: dict = dataclasses.field(default_factory=dict)  # everything that is not measured in rounds


def ratio(mine, other, load, field):
    """The median of the ratios within each round."""
    pairs = zip(mine.rounds[load], other.rounds[load])
    return statistics.median(getattr(one, field) / getattr(two, field) for one, two in pairs)


def measure(wrk, column, program, clients, seconds):
    command = [wrk, "-t1", f"-c{clients}", f"-d{seconds}s", "--latency"]
    if column.accept:
        command += ["-H", f"Accept: {column.accept}"]
    before = program.cpu()
    text = output(*command, f"{program.scheme}://127.0.0.1:{program.port}/metrics", timeout=seconds + 30)
    cpu = program.cpu() - before
    if "Socket errors" in text or "Non-2xx" in text:
        raise Failure(f"{column.label}: not every scrape was answered:\n{text}")
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
    latency = {share: float(number) * units[unit]
               for share, number, unit in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)}
    requests, elapsed, unit = re.search(r"(\d+) requests in ([\d.]+)(ms|s)", text).groups()
    requests, elapsed = int(requests), float(elapsed) * units[unit]
    if not requests:
        raise Failure(f"{column.label}: no scrape was answered")
    return Measurement(latency["50"], latency["99"], cpu / requests, requests / elapsed)


def scrape(connection, column):
    connection.request("GET", "/metrics", headers={"Accept": column.accept} if column.accept else {})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise Failure(f"{column.label}: status {answer.status}")
    return answer, body


def check(column, program, families):
    """One scrape, and whether it is a complete one."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)) as connection:
        answer, body = scrape(connection, column)
    if column.accept:
        kind = column.accept.partition(";")[0]
        if b"\njitsi_up 1\n" not in body or body.count(b"# TYPE ") < families \
                or not answer.getheader("Content-Type", "").startswith(kind):
            raise Failure(f"{column.label}: not a complete scrape:\n{body[:500].decode()}")


def paced(columns, count):
    """CPU time of a scrape at one scrape a second, with cold caches. The connection is kept open, as by Prometheus."""
    connections = [http.client.HTTPConnection("127.0.0.1", column.program.port, timeout=10) for column in columns]
    try:
        for connection, column in zip(connections, columns):
            scrape(connection, column)
        before = [column.program.cpu() for column in columns]
        for _ in range(count):
            time.sleep(1)
            for connection, column in zip(connections, columns):
                scrape(connection, column)
        time.sleep(0.01)
        for column, start in zip(columns, before):
            column.figures["paced"] = (column.program.cpu() - start) / count
    finally:
        for connection in connections:
            connection.close()


def first_answer(program):
    """Seconds from the start of the process to the last byte of the first complete answer."""
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        begin = time.perf_counter()
        program.start(stack, wait=False)
        while time.perf_counter() < begin + 10 and program.process.poll() is None:
            try:
                connection = socket.create_connection(("127.0.0.1", program.port), timeout=10)
            except ConnectionRefusedError:
                time.sleep(0.0002)
                continue
            with connection:
                connection.sendall(request)
                answer = b""
                while part := connection.recv(1 << 16):
                    answer += part
            if answer.startswith(b"HTTP/1.1 200 "):
                return time.perf_counter() - begin
            break
    raise Failure(f"{program.name} did not answer after its start")


def nginx(executable, directory, further):
    """nginx as one process that keeps all its files in the directory."""
    directory.mkdir()
    compiled = subprocess.run([executable, "-V"], capture_output=True, text=True).stderr
    paths = [f"    {module}_temp_path {directory}/{module};" for module in ("fastcgi", "uwsgi", "scgi")
             if f"--without-http_{module}_module" not in compiled]
    template = NGINX.format(directory=directory, further="\n".join([*paths, further]))
    (directory / "template").write_text(template)
    return [executable, "-p", str(directory), "-c", str(directory / "nginx.conf")]


def glibc():
    """The program as cargo builds it on a system with glibc, or none."""
    given = os.environ.get("GLIBC")
    if given:
        return None if given == "no" else executable(given)
    build(find("cargo", "cargo (or https://rustup.rs)"), "build", "--release", "--quiet")
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "jitsiexporter"


def baseline():
    """The binary of the release before, or none."""
    given = os.environ.get("BASELINE")
    if given:
        return None if given == "no" else executable(given)
    place = ROOT / "target" / f"baseline-{BASELINE}"
    binary = place / STATIC / "release" / "jitsiexporter"
    if not binary.exists():
        source = place / "source"
        source.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", BASELINE_COMMIT], cwd=ROOT, stdout=subprocess.PIPE)
        if archive.returncode or subprocess.run(["tar", "-x", "-C", source], input=archive.stdout).returncode:
            raise Failure(f"the repository does not have the commit of {BASELINE}")
        build(find("cargo", "cargo (or https://rustup.rs)"), "build", "--release", "--locked", "--quiet", "--target", STATIC,
              "--target-dir", str(place), "--manifest-path", str(source / "Cargo.toml"))
    return binary


def executable(name):
    path = shutil.which(name)
    if not path:
        raise Failure(f"{name} is not a program")
    return pathlib.Path(path).resolve()


def peers(environment):
    """The commands of PEER, PEER2, ..."""
    for variable in sorted(name for name in environment if re.fullmatch(r"PEER\d*", name)):
        words = shlex.split(environment[variable])
        if not words:
            continue
        if "{addr}" not in environment[variable] or "{url}" not in environment[variable]:
            raise Failure(f"{variable} has no {{url}} or no {{addr}} in it")
        words = [word.replace("{addr}", "127.0.0.1:{port}") for word in words]
        yield variable, executable(words[0]), words[1:]


def microseconds(seconds):
    return f"{seconds * 1e6:,.0f} us"


def milliseconds(seconds):
    return f"{seconds * 1e3:.1f} ms"


def megabytes(amount):
    return f"{amount / 1e6:.1f} MB"


def per_second(rate):
    return f"{rate:,.0f}"


# The loads, by name: the program of a column that gets it, and the number of clients.
LOADS = {
    "one": (lambda column: column.program, ONE),
    "many": (lambda column: column.program, MANY),
    "large": (lambda column: column.large, ONE),
    "native": (lambda column: column.native, ONE),
    "tls": (lambda column: column.tls, ONE),
}

# What a row says, how its values are written, and where they come from: a load and a field of its measurements, or a figure.
ROWS = [
    ("p50 of a scrape, one client", microseconds, ("one", "p50")),
    ("p99 of a scrape, one client", microseconds, ("one", "p99")),
    ("CPU per scrape, one client", microseconds, ("one", "cpu")),
    ("CPU per scrape, one scrape a second", microseconds, "paced"),
    (f"scrapes per second, {MANY} clients", per_second, ("many", "rate")),
    (f"CPU per scrape, {MANY} clients", microseconds, ("many", "cpu")),
    ("p50, report ten times as large", microseconds, ("large", "p50")),
    ("CPU per scrape, report ten times as large", microseconds, ("large", "cpu")),
    ("p50, the bridge's own metrics", microseconds, ("native", "p50")),
    ("CPU per scrape, the bridge's own metrics", microseconds, ("native", "cpu")),
    ("resident memory, idle", megabytes, "idle"),
    ("resident memory, after the load", megabytes, "load"),
    ("resident memory, peak", megabytes, "peak"),
    ("start to first answer", milliseconds, "start"),
    ("binary", megabytes, "size"),
    ("p50 of a scrape over TLS, one client", microseconds, ("tls", "p50")),
    ("CPU per scrape over TLS, one client", microseconds, ("tls", "cpu")),
]


def table(columns, main, others):
    """The rows, with the ratio of the main column to each of some others."""
    def value(column, source):
        if isinstance(source, str):
            return column.figures.get(source)
        load, field = source
        if load not in column.rounds:
            return None
        return statistics.median(getattr(one, field) for one in column.rounds[load])

    def compared(other, source):
        if not isinstance(source, str):
            if source[0] not in main.rounds or source[0] not in other.rounds:
                return ""
            return f"{ratio(main, other, *source):.2f}"
        mine, its = value(main, source), value(other, source)
        return f"{mine / its:.2f}" if mine and its else ""

    yield ["", *[column.label for column in columns], *[f"to {other.label}" for other in others]]
    yield ["---"] + ["---:"] * (len(columns) + len(others))
    for what, write, source in ROWS:
        values = [value(column, source) for column in columns]
        cells = [write(number) if number is not None else "" for number in values]
        yield [what, *cells, *[compared(other, source) for other in others]]


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (f"{model[1] if model else 'unknown processor'}, {cores} cores, {platform.system()} {platform.machine()}, "
            f"load {load:.1f} before the run")


def run(stack, directory):
    rounds, seconds = setting("ROUNDS", 7), setting("SECONDS", 1)
    starts, pace = setting("STARTS", 10), setting("PACED", 20)
    server = find("nginx", "nginx-light")
    wrk = find("wrk", "wrk")
    binary = executable(os.environ.get("BINARY") or str(ROOT / "target" / "released" / "jitsiexporter"))
    comparison, before = glibc(), baseline()

    documents = directory / "documents"
    paths = {"program": "/colibri/stats", "large": "/large/stats", "native": "/metrics"}
    for path, text in zip(paths.values(), (CURRENT.read_text(), enlarged(), NATIVE.read_text())):
        file = documents / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    bridge = Program("bridge", nginx(server, directory / "bridge", BRIDGE.format(port="{port}", documents=documents)),
                     directory / "bridge")
    bridge.start(stack)
    address = f"127.0.0.1:{bridge.port}"

    def in_front_of(reports, name, command):
        """The same command in front of each of the reports."""
        for report, path in ((report, paths[report]) for report in reports):
            place = directory / f"{name}-{report}"
            place.mkdir()
            words = [word.replace("{url}", f"http://{address}{path}") for word in command]
            yield Program(name, words, place)

    def proxies():
        for report, path in paths.items():
            place = directory / f"proxy-{report}"
            configuration = PROXY.format(port="{port}", bridge=address, path=path, tls="")
            yield Program("nginx", nginx(server, place, configuration), place)
        place = directory / "proxy-tls"
        configuration = PROXY.format(port="{port}", bridge=address, path=paths["program"], tls=PROXY_TLS.format(files=files))
        yield Program("nginx", nginx(server, place, configuration), place, scheme="https")

    def ours(label, name, binary):
        command = [str(binary), "--url", "{url}", "--listen-address", "127.0.0.1:{port}"]
        return Column(label, *in_front_of(paths, name, command), binary=binary, accept=OPEN_METRICS)

    # A key on the curve that both programs use for the handshake. A scrape needs no handshake, because the connection is kept open.
    files = directory / "tls"
    files.mkdir()
    Certificates(files).authority("cert")
    (files / "web.yml").write_text(WEB_CONFIG)

    proxy = Column("nginx as a proxy", *proxies())
    main = ours("jitsiexporter", "jitsiexporter", binary)
    secure = [*main.program.command, "--web-config-file", str(files / "web.yml")]
    place = directory / "jitsiexporter-tls"
    place.mkdir()
    main.tls = Program("jitsiexporter", secure, place, scheme="https")
    earlier = [ours(f"jitsiexporter {BASELINE}", "baseline", before)] if before else []
    built = [ours("jitsiexporter, glibc", "glibc", comparison)] if comparison else []
    # Other exporters read /colibri/stats only.
    others = [Column(program.name, *in_front_of(["program", "large"], variable, [str(program), *words]), binary=program)
              for variable, program, words in peers(os.environ)]
    columns = [proxy, main, *earlier, *built, *others]
    host = machine()
    version = output(binary, "--version").strip()

    say(f"{starts} starts of each program")
    times = [[first_answer(column.program) for column in columns] for _ in range(starts)]
    for column, each in zip(columns, zip(*times)):
        column.figures["start"] = statistics.median(each)
        if column.binary:
            column.figures["size"] = column.binary.stat().st_size

    for column in columns:
        column.program.start(stack)
        column.large.start(stack)
        for program in filter(None, (column.native, column.tls)):
            program.start(stack)
    time.sleep(0.5)
    for column in columns:
        column.figures["idle"] = column.program.memory("VmRSS")
    for column in columns:
        check(column, column.program, families=80)
        check(column, column.large, families=800)
        if column.native:
            check(column, column.native, families=110)

    say(f"{pace} scrapes of each program, one a second")
    paced(columns, pace)

    # The columns of a load are measured one right after the other, because they are compared with each other.
    for number in range(1, rounds + 1):
        for load, (program, clients) in LOADS.items():
            say(f"round {number} of {rounds}: {load}")
            for column in columns:
                if not program(column):
                    continue
                found = measure(wrk, column, program(column), clients, seconds)
                column.rounds.setdefault(load, []).append(found)
    for column in columns:
        column.figures["load"] = column.program.memory("VmRSS")
        column.figures["peak"] = column.program.memory("VmHWM")

    for row in table(columns, main, [proxy, *earlier, *others[:1]]):
        print("| " + " | ".join(row) + " |")
    print()
    print(f"{version} on {host}. Medians of {rounds} interleaved round{'s' if rounds > 1 else ''} of {seconds} s with wrk on the "
          f"loopback; a ratio is the median of the ratios within each round. 1 MB is 1,000,000 bytes.")


def main():
    # The directory is removed last, because the processes use files in it.
    with tempfile.TemporaryDirectory(prefix="jitsiexporter-bench-") as directory, contextlib.ExitStack() as stack:
        run(stack, pathlib.Path(directory))
    return []


if __name__ == "__main__":
    script(main)
