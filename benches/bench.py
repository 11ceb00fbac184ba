#!/usr/bin/env python3
"""Measures the exporter beside nginx as a plain reverse proxy, and beside other exporters if there are any, and prints one
table in Markdown with the goals. Needs nginx and wrk. All traffic stays on the loopback.

    BINARY=path     measure this program instead of building the release
    PEER="/path/to/exporter -videobridge-url {url} -web.listen-address {addr}"
                    another exporter; PEER2 and so on are further ones. The goals are held against PEER
    ROUNDS=3        rounds; every round measures everything, so that a busy moment of the machine hits all alike
    SECONDS=3       length of one measurement
    STARTS=10       how often each program is started to see when it first answers
    PACED=10        how many scrapes are made at one a second

A goal that is not met is no error: times depend on the machine and on what else runs there.
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
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from report import CURRENT, ROOT, enlarged  # noqa: E402

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
TEXT = "text/plain; version=0.0.4"

ONE, MANY = 1, 8  # clients

# The limits of a small sidecar: CPU time for each second, and bytes.
SIDECAR_CPU = 20e-3
SIDECAR_MEMORY = 32 * 2**20

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
        listen 127.0.0.1:{port};
        location = /metrics {{
            proxy_pass http://bridge/colibri/stats;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


class Failure(Exception):
    """Why there is no table, in a sentence."""


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
    # Debian has nginx where only root looks.
    path = shutil.which(program, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if not path:
        raise Failure(f"{program} is not installed: apt-get install {package}")
    return path


class Children:
    """The processes of this run. None is left when it ends, whatever ended it."""

    SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

    def __init__(self):
        self.running = []
        self.starting = False
        self.signal = None

    def __enter__(self):
        for signum in self.SIGNALS:
            signal.signal(signum, self.interrupt)
        return self

    def interrupt(self, signum, _):
        for each in self.SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        self.signal = signal.Signals(signum).name
        # A process that is just being started would not be known yet, and would stay.
        if not self.starting:
            raise KeyboardInterrupt(self.signal)

    def start(self, command, **options):
        self.starting = True
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
            self.running.append(process)
        except OSError as error:
            raise Failure(f"cannot start {command[0]}: {error.strerror}") from error
        finally:
            self.starting = False
        if self.signal:
            raise KeyboardInterrupt(self.signal)
        return process

    def output(self, command):
        """What a command prints."""
        process = self.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text, _ = process.communicate()
        self.running.remove(process)
        if process.returncode:
            raise Failure(f"{shlex.join(map(str, command))} ended with {process.returncode}:\n{text}")
        return text

    def stop(self, process):
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.running.remove(process)

    def __exit__(self, *_):
        for signum in self.SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        for process in self.running:
            process.terminate()
        for process in self.running[:]:
            self.stop(process)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, process, name):
    """Waits until somebody listens."""
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
    """A program that answers scrapes: how to start it, and its process once that has been done."""

    name: str
    command: list  # {port} is to be filled in
    directory: pathlib.Path
    binary: pathlib.Path = None
    port: int = 0
    process: subprocess.Popen = None
    memory: dict = dataclasses.field(default_factory=dict)

    def start(self, children, wait=True):
        self.port = free_port()
        command = [word.replace("{port}", str(self.port)) for word in self.command]
        configuration = self.directory / "template"
        if configuration.exists():
            (self.directory / "nginx.conf").write_text(configuration.read_text().replace("{port}", str(self.port)))
        with open(self.directory / "log", "wb") as log:
            self.process = children.start(command, stdout=log, stderr=log, cwd=self.directory)
        if wait:
            wait_for(self.port, self.process, self.name)

    def status(self, field):
        """A field of /proc/PID/status in bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def cpu(self):
        """Seconds of CPU since the start, in steps of a clock tick."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fine_cpu(self):
        """The same to the nanosecond, of the threads that are alive."""
        threads = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@dataclasses.dataclass
class Subject:
    """What one measurement is of: a program, asked in one way."""

    label: str
    program: Program
    accept: str = ""
    rounds: dict = dataclasses.field(default_factory=dict)  # number of clients -> [Measurement]

    def median(self, clients, field):
        return statistics.median(getattr(one, field) for one in self.rounds[clients])

    def ratio(self, other, clients, field):
        """To another subject: the median of the ratios within each round."""
        pairs = zip(self.rounds[clients], other.rounds[clients])
        return statistics.median(getattr(mine, field) / getattr(its, field) for mine, its in pairs)


@dataclasses.dataclass
class Measurement:
    p50: float
    p99: float
    cpu: float  # per scrape
    rate: float


def measure(children, wrk, subject, clients, seconds):
    program = subject.program
    command = [wrk, "-t1", f"-c{clients}", f"-d{seconds}s", "--latency"]
    if subject.accept:
        command += ["-H", f"Accept: {subject.accept}"]
    before = program.cpu()
    text = children.output([*command, f"http://127.0.0.1:{program.port}/metrics"])
    cpu = program.cpu() - before
    if "Socket errors" in text or "Non-2xx" in text:
        raise Failure(f"{subject.label}: not every scrape was answered:\n{text}")
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
    latency = {share: float(number) * units[unit]
               for share, number, unit in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)}
    requests, elapsed, unit = re.search(r"(\d+) requests in ([\d.]+)(ms|s)", text).groups()
    requests, elapsed = int(requests), float(elapsed) * units[unit]
    if not requests:
        raise Failure(f"{subject.label}: no scrape was answered")
    return Measurement(latency["50"], latency["99"], cpu / requests, requests / elapsed)


def scrape(connection, subject):
    connection.request("GET", "/metrics", headers={"Accept": subject.accept} if subject.accept else {})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise Failure(f"{subject.label}: status {answer.status}")
    return answer, body


def check(subject, families=0):
    """One scrape, and whether it is what is to be measured."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", subject.program.port, timeout=10)) as connection:
        answer, body = scrape(connection, subject)
    if families:
        kind = subject.accept.partition(";")[0]
        if b"\njitsi_up 1\n" not in body or body.count(b"# TYPE ") < families \
                or not answer.getheader("Content-Type", "").startswith(kind):
            raise Failure(f"{subject.label}: not the answer that was to be measured:\n{body[:500].decode()}")


def paced(subjects, count):
    """CPU of a scrape when there is one in a second: nothing is warm then, and a connection is kept as Prometheus keeps it."""
    connections = [http.client.HTTPConnection("127.0.0.1", subject.program.port, timeout=10) for subject in subjects]
    try:
        for connection, subject in zip(connections, subjects):
            scrape(connection, subject)
        before = [subject.program.fine_cpu() for subject in subjects]
        for _ in range(count):
            time.sleep(1)
            for connection, subject in zip(connections, subjects):
                scrape(connection, subject)
        time.sleep(0.01)
        spent = [subject.program.fine_cpu() - start for subject, start in zip(subjects, before)]
        return [seconds / count for seconds in spent]
    except OSError:  # a kernel without schedstat
        return [None] * len(subjects)
    finally:
        for connection in connections:
            connection.close()


def first_answer(children, program):
    """Seconds from the start of the process to the last byte of the first complete answer."""
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    begin = time.perf_counter()
    program.start(children, wait=False)
    try:
        while time.perf_counter() < begin + 10:
            try:
                connection = socket.create_connection(("127.0.0.1", program.port), timeout=10)
            except ConnectionRefusedError:
                if program.process.poll() is not None:
                    break
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
        raise Failure(f"{program.name} gave no answer after its start")
    finally:
        children.stop(program.process)


def nginx(executable, directory, further):
    """nginx as one process, all of whose files lie in the directory."""
    directory.mkdir()
    compiled = subprocess.run([executable, "-V"], capture_output=True, text=True).stderr
    paths = [f"    {module}_temp_path {directory}/{module};" for module in ("fastcgi", "uwsgi", "scgi")
             if f"--without-http_{module}_module" not in compiled]
    template = NGINX.format(directory=directory, further="\n".join([*paths, further]))
    (directory / "template").write_text(template)
    return [executable, "-p", str(directory), "-c", str(directory / "nginx.conf")]


def build(children):
    cargo = find("cargo", "cargo (or https://rustup.rs)")
    say("cargo build --release")
    process = children.start([cargo, "build", "--release", "--quiet"], cwd=ROOT)
    if process.wait():
        raise Failure("the build failed")
    children.running.remove(process)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return ROOT / target / "release" / "jitsiexporter"


def peers(environment, url, directory):
    """The programs of PEER, PEER2, ..."""
    for variable in sorted(name for name in environment if re.fullmatch(r"PEER\d*", name)):
        words = shlex.split(environment[variable])
        if not words:
            continue
        if "{addr}" not in environment[variable] or "{url}" not in environment[variable]:
            raise Failure(f"{variable} has no {{url}} or no {{addr}} in it")
        words = [word.replace("{url}", url).replace("{addr}", "127.0.0.1:{port}") for word in words]
        binary = shutil.which(words[0])
        if not binary:
            raise Failure(f"{variable}: there is no program {words[0]}")
        place = directory / variable
        place.mkdir()
        binary = pathlib.Path(binary).resolve()
        yield Program(pathlib.Path(words[0]).name, [str(binary), *words[1:]], place, binary)


def microseconds(seconds):
    return f"{seconds * 1e6:,.0f} us"


def milliseconds(seconds):
    return f"{seconds * 1e3:.1f} ms"


def megabytes(amount):
    return f"{amount / 1e6:.1f} MB"


def per_second(rate):
    return f"{rate:,.0f}"


@dataclasses.dataclass
class Results:
    proxy: Subject
    main: Subject
    peers: list
    variants: list
    large: Subject
    starts: dict  # name of a program -> seconds
    paced: dict  # name of a program -> seconds of CPU, or None

    def rows(self):
        """The rows of the table: what, the values of the columns, what is held against a goal, and whether it is met."""
        columns = [self.proxy, self.main, *self.peers]
        peer = self.peers[0] if self.peers else None

        def row(what, write, value, *goals):
            return what, [write(value(column)) if value(column) is not None else "" for column in columns], goals

        def at_most(goal, other, field, clients=ONE):
            ratio = self.main.ratio(other, clients, field)
            return f"at most {goal} of {other.label}", f"{ratio:.2f}", ratio <= goal

        def limit(goal, write, value):
            return f"at most {write(goal)}", write(value), value <= goal

        against_peer = lambda goal, field: [at_most(goal, peer, field)] if peer else []
        memory = lambda when: lambda column: column.program.memory[when]
        own = self.main.program
        yield row("p50, one client", microseconds, lambda column: column.median(ONE, "p50"),
                  *against_peer(0.5, "p50"), at_most(1.5, self.proxy, "p50"))
        yield row("p99, one client", microseconds, lambda column: column.median(ONE, "p99"))
        yield row("CPU per scrape, one client", microseconds, lambda column: column.median(ONE, "cpu"),
                  *against_peer(0.33, "cpu"))
        yield row("CPU per scrape, one scrape a second", microseconds, lambda column: self.paced[column.program.name])
        ratio = self.main.ratio(peer, MANY, "rate") if peer else None
        yield row(f"scrapes per second, {MANY} clients", per_second, lambda column: column.median(MANY, "rate"),
                  *([(f"at least 2.5 of {peer.label}", f"{ratio:.2f}", ratio >= 2.5)] if peer else []))
        yield row("resident memory, idle", megabytes, memory("idle"), limit(3e6, megabytes, own.memory["idle"]))
        yield row("resident memory, after the first scrape", megabytes, memory("first"))
        yield row("resident memory, after the load", megabytes, memory("load"),
                  limit(5e6, megabytes, own.memory["load"]))
        yield row("of that, anonymous (not pages of files)", megabytes, memory("anonymous"))
        yield row("resident memory, peak", megabytes, memory("peak"))
        size = lambda column: column.program.binary.stat().st_size if column.program.binary else None
        yield row("binary", megabytes, size, limit(3e6, megabytes, size(self.main)))
        start = lambda column: self.starts.get(column.program.name)
        yield row("start to first answer", milliseconds, start, limit(10e-3, milliseconds, start(self.main)))

        def variant(what, write, value, subject, *goals):
            return what, ["", write(value(subject)), *[""] * len(self.peers)], goals

        p50 = lambda subject: subject.median(ONE, "p50")
        cpu = lambda subject: subject.median(ONE, "cpu")
        for subject in self.variants:
            yield variant(f"p50, {subject.label}", microseconds, p50, subject)
            yield variant(f"CPU per scrape, {subject.label}", microseconds, cpu, subject)
        ratio = self.large.ratio(self.main, ONE, "p50")
        yield variant(f"p50, {self.large.label}", microseconds, p50, self.large,
                      ("at most 10 times the p50", f"{ratio:.1f}", ratio <= 10))
        yield variant(f"CPU per scrape, {self.large.label}", microseconds, cpu, self.large)

    def print(self):
        names = [self.proxy.label, self.main.label, *[peer.label for peer in self.peers]]
        print("| | " + " | ".join(names) + " | goal | here | met |")
        print("|---|" + "---:|" * len(names) + "---|---:|---|")
        for what, values, goals in self.rows():
            goal, here, met = [" <br> ".join(column) for column in zip(
                *[(goal, here, "yes" if met else "no") for goal, here, met in goals])] or ["", "", ""]
            print("| " + " | ".join([what, *values, goal, here, met]) + " |")

    def print_sidecar(self):
        warm = self.main.median(ONE, "cpu")
        cost = self.paced[self.main.program.name] or warm
        peak = self.main.program.memory["peak"]
        print(f"A scrape a second takes {microseconds(cost)} of CPU each second, {cost / SIDECAR_CPU:.1%} of a limit of 20m; "
              f"that limit allows {SIDECAR_CPU / warm:,.0f} scrapes a second. "
              f"The peak of memory is {peak / SIDECAR_MEMORY:.0%} of 32 MiB.")


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (f"{model[1] if model else 'unknown processor'}, {cores} cores, {platform.system()} {platform.release()} "
            f"{platform.machine()}, load {load:.1f} before the run")


def run(children, directory):
    rounds, seconds = setting("ROUNDS", 3), setting("SECONDS", 3)
    starts, pace = setting("STARTS", 10), setting("PACED", 10)
    server = find("nginx", "nginx-light")
    wrk = find("wrk", "wrk")
    given = os.environ.get("BINARY")
    binary = pathlib.Path(given).resolve() if given else build(children)
    if not os.access(binary, os.X_OK):
        raise Failure(f"{binary} is no program")

    documents = directory / "documents"
    for place, text in ("colibri", CURRENT.read_text()), ("large", enlarged()):
        (documents / place).mkdir(parents=True)
        (documents / place / "stats").write_text(text)
    bridge = Program("bridge", nginx(server, directory / "bridge", BRIDGE.format(port="{port}", documents=documents)),
                     directory / "bridge")
    bridge.start(children)
    address = f"127.0.0.1:{bridge.port}"
    url = f"http://{address}/colibri/stats"

    proxy = Program("nginx", nginx(server, directory / "proxy", PROXY.format(port="{port}", bridge=address)),
                    directory / "proxy")

    def exporter(name, *options, url=url):
        (directory / name).mkdir()
        command = [str(binary), "--url", url, "--listen-address", "127.0.0.1:{port}", *options]
        return Program(name, command, directory / name, binary)

    standard = exporter("standard")
    legacy = exporter("legacy", "--legacy-names")
    large = exporter("large", url=f"http://{address}/large/stats")
    others = list(peers(os.environ, url, directory))

    results = Results(
        proxy=Subject("nginx as a proxy", proxy),
        main=Subject("jitsiexporter", standard, OPEN_METRICS),
        peers=[Subject(program.name, program) for program in others],
        variants=[
            Subject("text 0.0.4", standard, TEXT),
            Subject("legacy names", legacy, OPEN_METRICS),
            Subject("legacy names, text 0.0.4", legacy, TEXT),
        ],
        large=Subject("report ten times as large", large, OPEN_METRICS),
        starts={}, paced={},
    )
    host = machine()
    version = children.output([str(binary), "--version"]).strip()

    columns = [results.proxy, results.main, *results.peers]
    say(f"{starts} starts of each program")
    measured = [column.program for column in columns]
    times = {program.name: [] for program in measured}
    for _ in range(starts):
        for program in measured:
            times[program.name].append(first_answer(children, program))
    results.starts = {name: statistics.median(each) for name, each in times.items()}

    for program in [*measured, legacy, large]:
        program.start(children)
    time.sleep(0.5)
    for program in measured:
        program.memory["idle"] = program.status("VmRSS")
    for column in columns:
        check(column, families=80 if column is results.main else 0)
        column.program.memory["first"] = column.program.status("VmRSS")
    for subject in results.variants:
        check(subject, families=80)
    check(results.large, families=800)

    say(f"{pace} scrapes of each program, one a second")
    results.paced = dict(zip([column.program.name for column in columns], paced(columns, pace)))

    # What is held against each other is measured one after the other.
    subjects = [results.proxy, results.large, results.main, *results.peers, *results.variants]
    for number in range(1, rounds + 1):
        for clients in ONE, MANY:
            for subject in subjects:
                if clients == MANY and subject not in columns:
                    continue
                say(f"round {number} of {rounds}, {clients} client{'s' if clients > 1 else ''}: {subject.label}")
                found = measure(children, wrk, subject, clients, seconds)
                subject.rounds.setdefault(clients, []).append(found)
    for program in measured:
        program.memory["load"] = program.status("VmRSS")
        program.memory["anonymous"] = program.status("RssAnon")
        program.memory["peak"] = program.status("VmHWM")

    results.print()
    print()
    print(f"{version} on {host}. Medians of {rounds} interleaved round{'s' if rounds > 1 else ''} of {seconds} s with wrk on the loopback; a ratio is "
          f"the median of those within each round. 1 MB is 1,000,000 bytes.")
    print()
    results.print_sidecar()


def main():
    try:
        # The directory is left last: the processes have files in it.
        with tempfile.TemporaryDirectory(prefix="jitsiexporter-bench-") as directory, Children() as children:
            run(children, pathlib.Path(directory))
    except Failure as failure:
        say(failure)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        say(f"interrupted by {interrupt}; everything has been stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
