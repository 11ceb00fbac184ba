"""The programs that the scripts of this folder start, on loopback only: bridges, exporters, Prometheus. All of them end with the
script, also after a failure and after Ctrl-C."""

import contextlib
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import venv
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
# Packages that are installed for a script.
TOOLS = ROOT / "target" / "tools"

# How many seconds a program may take to start or to answer. A busy machine needs more than the program.
PATIENCE = 30

# The proxies of the environment are not used.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failure(Exception):
    """The reason why a script cannot go on."""


def script(main, limit=0):
    """Runs the main function of a script, for at most `limit` seconds if it has a limit. It returns the problems that it found."""
    name = pathlib.Path(sys.argv[0]).stem

    def end(number, _frame):
        raise Failure(f"took longer than {limit} s" if number == signal.SIGALRM else f"stopped by signal {number}")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, end)
    signal.alarm(limit)
    try:
        problems = main()
    except Failure as failure:
        sys.exit(f"{name}: FAILED: {failure}")
    for problem in problems:
        print(problem)
    print(f"{name}: {len(problems)} problems", file=sys.stderr)
    sys.exit(1 if problems else 0)


def use_packages(*packages):
    """Starts the script again in a Python that has these packages. Installs them into target/ if need be."""
    place = TOOLS / f"python-{packages[0]}-{zlib.crc32(' '.join(packages).encode()):08x}"
    python, ready = place / "bin/python", place / "ready"
    if not ready.exists():
        print(f"installing {' '.join(packages)} into {place.relative_to(ROOT)}", flush=True)
        try:
            venv.create(place, clear=True, with_pip=True)
        except subprocess.CalledProcessError:
            sys.exit("Python cannot make a virtual environment (on Debian: apt-get install python3-venv)")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        if subprocess.run(pip, check=False).returncode != 0:
            sys.exit(f"pip cannot install {' '.join(packages)}")
        ready.touch()
    if pathlib.Path(sys.prefix) != place:
        os.execv(python, [python, *sys.argv])


def output(*command, **options):
    """The standard output of a command that has to succeed."""
    try:
        done = subprocess.run(command, **{"capture_output": True, "text": True, "timeout": PATIENCE, **options})
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error}") from error
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def environment():
    """The environment without settings of the exporter and without proxies."""
    return {key: value for key, value in os.environ.items() if not key.startswith("JITSIEXPORTER_") and "proxy" not in key.lower()}


@contextlib.contextmanager
def running(*command, **options):
    """A process that is stopped at the end of the block."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **{"env": environment(), **options})
    except OSError as error:
        raise Failure(f"cannot start {command[0]}: {error}") from error
    try:
        yield process
    finally:
        process.terminate()
        try:
            # It may answer what it has begun.
            process.wait(7)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Exporter:
    """A running exporter: its process, its URL without a path, and the lines of its log so far."""

    def __init__(self, process):
        self.process = process
        self.log = [process.stderr.readline()]
        listens = re.search(r"listens on (https?)://\S+:(\d+)/metrics", self.log[0])
        if not listens:
            raise Failure(f"the exporter does not log where it listens: {self.log[0]}")
        self.port = int(listens[2])
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{listens[1]}://{self.address}"
        # The log is read to its end, so that the exporter never waits for a reader.
        self.reader = threading.Thread(target=lambda: self.log.extend(process.stderr), daemon=True)
        self.reader.start()

    def get(self, path, accept="*/*", timeout=PATIENCE):
        """The content type and the body of a response."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"Accept": accept})
        with HTTP.open(request, timeout=timeout) as response:
            return response.headers["Content-Type"], response.read().decode()

    def memory(self):
        """The largest resident memory so far, in MB, including an emulator's."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


@contextlib.contextmanager
def exporter(*command, listen="127.0.0.1:0", **options):
    """Starts an exporter and stops it at the end of the block. It has to end with exit code 0."""
    address = ["--listen-address", listen] if listen else []
    with running(*command, *address, stderr=subprocess.PIPE, text=True, **options) as process:
        started = Exporter(process)
        yield started
    started.reader.join()
    if process.returncode:
        raise Failure(f"{command} ended with {process.returncode} at SIGTERM: {started.log[-1]}")


class BridgeHandler(http.server.BaseHTTPRequestHandler):
    """Sends the response of the server's function for a path: a status, a body and, if it is not JSON, the type of the body."""

    protocol_version = "HTTP/1.1"
    # Head and body in one packet, as a bridge sends them.
    wbufsize = 1 << 16

    def do_GET(self):
        self.answer(*self.server.response(self.path))

    def answer(self, status, body=b"", kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Bridge(http.server.ThreadingHTTPServer):
    """A bridge, or several of them on one port. `response` gives the arguments of `answer` for a path."""

    daemon_threads = True
    # A fleet of exporters connects at once.
    request_queue_size = 128

    def __init__(self, response=None, address=("127.0.0.1", 0), handler=BridgeHandler, context=None):
        super().__init__(address, handler)
        self.response = response
        self.address = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.address}"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        # A client that breaks off its connection is not an error here.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(*_)


class Prometheus:
    """A running Prometheus."""

    def __init__(self, api, log):
        self.api, self.log = api, log

    def get(self, path, **parameters):
        """The data of a response of its API."""
        url = f"{self.api}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with HTTP.open(url, timeout=PATIENCE) as response:
                return json.load(response)["data"]
        except OSError as error:
            said = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
            raise Failure(f"GET {url}: {error} {said}") from error

    def query(self, expression, **parameters):
        """The series of an instant query."""
        return self.get("query", query=expression, **parameters)["result"]

    def targets(self, job):
        """The targets of a job by address."""
        targets = self.get("targets", state="active")["activeTargets"]
        return {target["discoveredLabels"]["__address__"]: target for target in targets if target["labels"]["job"] == job}


@contextlib.contextmanager
def prometheus(program, config, *options, agent=False):
    """A Prometheus with this configuration, once it is ready. Its data is removed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="prometheus-") as folder:
        folder = pathlib.Path(folder)
        (folder / "prometheus.yml").write_text(config, encoding="utf-8")
        command = [program, f"--config.file={folder}/prometheus.yml", *options]
        command += ["--enable-feature=agent", "--storage.agent.path=data"] if agent else ["--storage.tsdb.path=data"]
        # By default it waits five seconds before it looks at its targets.
        command += ["--web.listen-address=127.0.0.1:0", "--scrape.discovery-reload-interval=1s"]
        with (folder / "log").open("wb") as log, running(*command, stdout=log, stderr=log, cwd=folder) as process:
            read = lambda: (folder / "log").read_text(errors="replace")
            until = time.monotonic() + PATIENCE
            while "Server is ready to receive web requests" not in read():
                if process.poll() is not None or time.monotonic() > until:
                    raise Failure(f"{program} does not start:\n{read()[-2000:]}")
                time.sleep(0.1)
            # The system chose the port.
            address = re.search(r'msg="Listening on".* address=(127\.0\.0\.1:\d+)', read())[1]
            yield Prometheus(f"http://{address}/api/v1", read)


class Certificates:
    """Certificates and keys (NAME.pem, NAME.key) in a folder, made by openssl."""

    # A kind of key for `openssl req -newkey`, and its options.
    P_256 = ("ec", "ec_paramgen_curve:prime256v1")

    # The configuration of `openssl ca`, which can set both dates of a certificate.
    AUTHORITY = """
        [ca]
        default_ca = any
        [any]
        database = index
        new_certs_dir = .
        default_md = sha256
        policy = policy
        rand_serial = yes
        unique_subject = no
        [policy]
        commonName = supplied
    """

    def __init__(self, folder):
        self.folder = folder
        (folder / "authority").write_text(self.AUTHORITY)
        (folder / "index").touch()

    def openssl(self, *arguments):
        output("openssl", *arguments, cwd=self.folder)

    def request(self, name, subject, *more, key=P_256):
        options = [option for pair in key[1:] for option in ("-pkeyopt", pair)]
        self.openssl("req", *more, "-newkey", key[0], *options, "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={subject or name}")

    def authority(self, name, subject=None):
        """A self-signed certificate that may sign others."""
        self.request(name, subject, "-x509", "-out", f"{name}.pem", "-days", "2")

    def signed(self, name, issuer, extensions="basicConstraints=CA:FALSE", years=(2020, 2049), key=P_256):
        """A certificate that is signed by an authority or, if that has its own name, by itself."""
        (self.folder / "extensions").write_text(extensions)
        self.request(name, None, "-new", "-out", "request", key=key)
        by = ["-selfsign"] if name == issuer else ["-cert", f"{issuer}.pem"]
        dates = ["-startdate", f"{years[0]}0101000000Z", "-enddate", f"{years[1]}0101000000Z"]
        ca = ["ca", "-batch", "-notext", "-config", "authority", "-in", "request", "-extfile", "extensions"]
        self.openssl(*ca, *by, "-keyfile", f"{issuer}.key", *dates, "-out", f"{name}.pem")
