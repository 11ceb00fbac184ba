#!/usr/bin/env python3
"""Runs the dashboards and the rules on a real Prometheus that scrapes the real exporter.

For each report in fixtures/ a bridge of that era is played, with either source: its gauges move, its counters grow. Some more bridges are down,
draining, unhealthy, dying, restarting, or newer than the exporter. One exporter stands before each of them, and Prometheus scrapes all of them
every second for the better part of a minute. Then:

  * every target that runs is up, so Prometheus reads every answer;
  * every query of both dashboards is answered without an error, for each bridge;
  * it has data where the bridge sends what the query asks for, and none where it sends nothing of it;
  * every query has data for some bridge;
  * the tiles and the table of bridges show the state that each bridge is in, an exporter that ended included, and nothing
    of a bridge that is gone;
  * every rule of rules.yml and legacy.yml evaluates without an error, and every recording rule of rules.yml has data;
  * the names that legacy.yml records have the values that the exporter prints with --legacy-names.

Needs: Python 3.9 and prometheus (Debian: apt-get install prometheus), nothing else. Listens and connects on loopback only, on
ports that the system chooses. Takes about a minute, two at most. Leaves neither process nor file behind.

    tests/tools/observability.py target/debug/jitsiexporter
"""

import argparse
import csv
import json
import math
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import ThreadingHTTPServer

sys.dont_write_bytecode = True

from json_handler import JsonHandler

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARDS = ["deploy/grafana/jitsi-videobridge.json", "deploy/grafana/jitsi-fleet.json"]
RULES = ["deploy/prometheus/rules.yml", "deploy/prometheus/legacy.yml"]

# After this everything is stopped, whatever it was at.
LIMIT = 115
# How long Prometheus collects before it is asked. Rates need some scrapes, rules some evaluations.
COLLECT = 35

# The states in the dashboards, the worst first.
NO_EXPORTER, DOWN, UNHEALTHY, DRAINING, UP = range(5)
# Targets that are not exporters.
OTHERS = ("prometheus", "other pod")

START = time.monotonic()
BEGAN = time.time()
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


# The bridges


def catalogue():
    """The exporter's own table of statistics."""
    with (ROOT / "fixtures/catalogue.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


CATALOGUE = catalogue()
# The kind of each key of either source.
KINDS = {row[key]: row["kind"] for row in CATALOGUE for key in ("stats_key", "native_key") if row[key]}
# Names that no older exporter had: the bridge sends them only in its own metrics.
NEVER_LEGACY = {f"jitsi_{row['native_key']}" for row in CATALOGUE if not row["stats_key"]}


def moved(key, value, seconds):
    """A value of a report, some seconds later."""
    kind = KINDS.get(key)
    if key == "current_timestamp":
        now = time.time()
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}"
    if isinstance(value, bool) or value is None or key == "startup_time":
        return value
    if kind == "Counter":
        return value + int(seconds * (1 + len(key) % 7))
    if kind == "Gauge" and not isinstance(value, str):
        wave = 1 + 0.2 * math.sin(seconds / 7 + len(key))
        return round(value * wave) if isinstance(value, int) else value * wave
    return value


def report(bridge, seconds):
    """The document that a bridge sends: the report of its fixture, moved."""
    document = json.loads(json.dumps(bridge["report"]))
    for part in document if isinstance(document, list) else [document]:
        if bridge["moves"]:
            for key in part:
                part[key] = moved(key, part[key], seconds)
        if bridge["restarts"] and seconds > COLLECT / 2:
            part.update({key: 0 for key in part if KINDS.get(key) == "Counter"})
            if "startup_time" in part:
                part["startup_time"] = int((BEGAN + COLLECT / 2) * 1000)
    return json.dumps(document).encode()


def bridges(folder):
    """All bridges by name: those of the fixtures, once in motion and once frozen, and some in special states."""
    base = {"path": "/colibri/stats", "moves": True, "restarts": False, "dies": False, "status": 200, "body": None}
    played = {}
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text())
        played[path.stem] = dict(base, report=document)
        played[f"frozen-{path.stem}"] = dict(base, report=document, moves=False)
    newest = max(name for name in played if not name.startswith("frozen-"))
    for path in sorted((folder / "native").glob("*.json")):
        if path.stem.endswith(".stats"):  # what /colibri/stats sent at the same moment
            continue
        own = dict(base, report=json.loads(path.read_text()), path="/metrics")
        played[f"native-{path.stem}"] = own
        played[f"frozen-native-{path.stem}"] = dict(own, moves=False)
        played["restarting-native"] = dict(own, restarts=True)
    current = played[newest]["report"]
    played["draining"] = dict(base, report=dict(current, drain=True))
    played["unhealthy"] = dict(base, report=dict(current, healthy=False))
    played["dying"] = dict(base, report=current, dies=True)
    played["restarting"] = dict(base, report=current, restarts=True)
    played["newer"] = dict(base, report=dict(current, future_list=[1, 2], future_text="a", future_number=1))
    played["refusing"] = dict(base, report={}, status=404, body=b"<html>Not Found</html>")
    played["wrong"] = dict(base, report={}, body=b"<html>Welcome</html>")
    played["gone"] = dict(base, report={}, url="http://127.0.0.1:1/colibri/stats")
    return played


class Bridge(JsonHandler):
    """Answers for every bridge, each under a path of its own."""

    protocol_version = "HTTP/1.1"
    bridges = {}

    def do_GET(self):
        bridge = self.bridges.get(urllib.parse.unquote(self.path.strip("/").split("/")[0]))
        status = bridge["status"] if bridge else 404
        seconds = time.monotonic() - START
        body = b"" if not bridge else bridge["body"] or report(bridge, seconds)
        if bridge and bridge["dies"] and seconds > COLLECT / 2:
            status, body = 503, b""
        self.answer(body, status)


class Server(ThreadingHTTPServer):
    """Takes it that an exporter is stopped with its connection open."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


# The processes


class Processes:
    """Whatever is started is ended when this is left."""

    def __init__(self):
        self.running = []

    def __enter__(self):
        return self

    def start(self, command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        self.running.append(process)
        return process

    def __exit__(self, *_):
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        for process in self.running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start_exporter(processes, binary, url):
    """Starts an exporter on a port that the system chooses, and reads the port from its first line."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JITSIEXPORTER_")}
    command = [binary, "--url", url, "--listen-address", "127.0.0.1:0"]
    process = processes.start(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    lines = queue.Queue()

    def drain():  # else the log of failed scrapes would fill the pipe
        for line in process.stderr:
            lines.put(line)

    threading.Thread(target=drain, daemon=True).start()
    line = lines.get(timeout=10)
    found = re.search(r"listens on http://(127\.0\.0\.1:\d+)", line)
    if not found:
        raise SystemExit(f"the exporter says no address: {line}")
    return found[1]


def start_prometheus(processes, program, directory, jobs, labels=lambda name: {"instance": name}):
    """Starts a Prometheus that scrapes the targets of each job, and waits until it is ready."""
    log = open(directory / "prometheus.log", "w+")
    for _ in range(3):  # another program can take the port before Prometheus does
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        static = {
            job: [{"targets": [to or address], "labels": labels(name)} for name, to in targets.items()]
            for job, targets in jobs.items()
        }
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / path) for path in RULES],
            "scrape_configs": [{"job_name": job, "static_configs": configs} for job, configs in static.items()],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        command = [program, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
        command += [f"--web.listen-address={address}", "--log.level=warn"]
        process = processes.start(command, stdout=log, stderr=log)
        while process.poll() is None:
            try:
                HTTP.open(f"http://{address}/-/ready", timeout=2).read()
                return address
            except (OSError, urllib.error.URLError):
                time.sleep(0.2)
    log.seek(0)
    raise SystemExit(f"prometheus does not start:\n{log.read()}")


class Prometheus:
    def __init__(self, address):
        self.address = address

    def get(self, path, **parameters):
        """The data of an answer of the API, or the error as a string."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            answer = json.load(HTTP.open(url, timeout=20))
        except urllib.error.HTTPError as error:
            answer = json.load(error)
        return answer["data"] if answer["status"] == "success" else f"{answer['errorType']}: {answer['error']}"


# The checks


def selectors(expression):
    """For each selector in a query the metrics of which it needs any."""
    if re.fullmatch(r"\w+", expression):
        return [{expression}]
    strings = re.sub(r'"[^"]*"', lambda match: re.sub(r"[{}]", " ", match[0]), expression)
    needs = [set(match.split("|")) for match in re.findall(r'__name__=~"([^"]*)"', strings)]
    return needs + [{match} for match in re.findall(r"([a-zA-Z_:][\w:]*)\{", strings)]


def filled(expression, instance, job="jitsi"):
    values = {"$__rate_interval": "15s", "$__range": "60s", "$__interval": "5s", "$job": job, "$instance": instance}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    left = re.search(r"\$[a-zA-Z_]\w*", expression)
    if left:
        raise SystemExit(f"no value for the variable {left[0]} in {expression}")
    return expression


def queries(board):
    """(place, expression, instant) for everything that the dashboard asks."""
    for row in board["panels"]:
        for panel in [row, *row.get("panels", [])]:  # a collapsed row holds its panels inside
            for target in panel.get("targets", []):
                yield f"{panel['title']} {target['refId']}", target["expr"], target["instant"]
    for annotation in board["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"], False
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            inner = variable["query"]["query"][len("label_values(") : -1]
            yield f"variable {variable['name']}", inner.rsplit(",", 1)[0], True


def run(prometheus, expression, instant, now):
    """Whether there is a number in the answer; a string is the error."""
    if instant:
        data = prometheus.get("query", query=expression, time=now)
    else:
        data = prometheus.get("query_range", query=expression, start=now - 30, end=now, step=5)
    if isinstance(data, str):
        return data
    samples = [value for series in data["result"] for value in series.get("values", [series.get("value")])]
    return any(value != "NaN" for _, value in samples)


def check_dashboard(prometheus, board, names, now, complain):
    one_bridge = any(variable["name"] == "instance" for variable in board["templating"]["list"])
    asked = 0
    for place, expression, instant in queries(board):
        somewhere = False
        for name in names if one_bridge else [None]:
            asked += 1
            here = f"{board['title']}: {place}" + (f" for {name}" if name else "")
            found = run(prometheus, filled(expression, name or "", "jitsi" if name else "jitsi|pods"), instant, now)
            if isinstance(found, str):
                complain(f"{here}: {found}")
                continue
            somewhere |= found
            if not name or "up{" in expression.replace("jitsi_up{", "") or "ALERTS" in expression:
                continue
            needs = selectors(expression)
            sent = [bool(any_of & names[name]) for any_of in needs]
            # Not faults: nothing restarted, nothing happened on a frozen bridge, JVB 1 sends no version.
            happens = name.startswith("frozen-") and "increase(" in expression
            may_lack = "offset $__interval" in expression or happens or '!=""' in expression
            if all(sent) and not found and not may_lack:
                complain(f"{here}: no data, though the bridge sends what it needs: {expression}")
            if not any(sent) and found:
                complain(f"{here}: data that the bridge did not send: {expression}")
        if not somewhere:
            complain(f"{board['title']}: {place}: no data for any bridge: {expression}")
    return asked


def by_instance(prometheus, expression, now):
    """The values of an instant query by instance."""
    data = prometheus.get("query", query=expression, time=now)
    return {series["metric"].get("instance", ""): float(series["value"][1]) for series in data["result"]}


def check_states(prometheus, fleet, bridge, states, now, complain):
    """Holds the tiles and the table of the dashboards against the state that each bridge is in, and has been in for a while."""

    def expressions(board):
        panels = [panel for panel in board["panels"] if panel["type"] in ("stat", "table")]
        return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in panels}

    def whole(expression):
        return by_instance(prometheus, filled(expression, "", "jitsi|pods"), now).get("")

    found = by_instance(prometheus, filled(expressions(fleet)["All bridges"][0], "", "jitsi|pods"), now)
    for name in sorted(set(found) | set(states)):
        if found.get(name) != states.get(name, found.get(name)) or name in OTHERS:
            complain(f"All bridges: the state of {name} is {found.get(name)}, not {states.get(name)}")
    down = sum(state < UNHEALTHY for state in found.values())
    counted = [whole(expression) for expression in expressions(fleet)["Bridges"]]
    if counted != [len(found) - down, down]:
        complain(f"{fleet['title']}: {counted} bridges are up and down, in the table {len(found) - down} and {down}")

    # What is gone has a state, and its exporter a version, but none of its last values.
    for name, state in states.items():
        job = "pods" if name == "dying pod" else "jitsi"
        for title, queries in expressions(bridge).items():
            values = [list(by_instance(prometheus, filled(query, name, job), now).values()) for query in queries]
            if title == "State" and values != [[state]]:
                complain(f"{bridge['title']}: {title} of {name} is {values}, not {state}")
            may_have = ("State", "Alerts", "Firing alerts") + (("Exporter version",) if state == DOWN else ())
            if state < UNHEALTHY and title not in may_have and any(values):
                complain(f"{bridge['title']}: {title} of {name}, which is gone, is {values}")


def check_rules(prometheus, now, complain):
    groups = prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    written = sum(len(re.findall(r"^ *- (?:record|alert): ", (ROOT / path).read_text(), re.M)) for path in RULES)
    if len(rules) != written:
        complain(f"{written} rules are written, {len(rules)} are loaded")
    for rule in rules:
        if rule["health"] != "ok" or rule.get("lastError"):
            complain(f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}: {rule['query']}")
        if rule["type"] == "recording" and ":" in rule["name"] and run(prometheus, rule["name"], True, now) is not True:
            complain(f"rule {rule['name']} records nothing: {rule['query']}")
    return len(rules)


def samples(text):
    """The samples of the text format, without the metrics about the scrape."""
    found = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        series, value = line.rsplit(" ", 1)
        name, _, labels = series.partition("{")
        found[name, tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)))] = float(value)
    own = ("jitsi_up", "jitsi_scrape_", "jitsi_unexposed_values", "jitsi_exporter_build_info")
    return {key: value for key, value in found.items() if not key[0].startswith(own)}


def check_legacy(prometheus, binary, url, name, complain):
    """Holds what legacy.yml records, and what is called the same, against --legacy-names."""
    command = [binary, "--once", "--legacy-names", "--url", url]
    wanted = samples(subprocess.run(command, capture_output=True, text=True, timeout=10).stdout)
    found = {}
    for series in prometheus.get("query", query=f'{{instance="{name}"}}')["result"]:
        labels = {key: value for key, value in series["metric"].items() if key not in ("job", "instance")}
        found[labels.pop("__name__"), tuple(sorted(labels.items()))] = float(series["value"][1])
    for key, value in wanted.items():
        if key[0] in NEVER_LEGACY:
            continue
        if key not in found:
            complain(f"legacy.yml: {name}: {key} is missing")
        elif not math.isclose(found[key], value, rel_tol=1e-12, abs_tol=1e-12):
            complain(f"legacy.yml: {name}: {key} is {found[key]}, --legacy-names says {value}")
    return len(wanted)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("binary", help="the exporter")
    arguments.add_argument("--fixtures", type=pathlib.Path, default=ROOT / "fixtures", help="a folder of reports")
    arguments.add_argument("--prometheus", default="prometheus", help="the program")
    options = arguments.parse_args()
    binary = os.path.abspath(options.binary)
    if not shutil.which(options.prometheus) or not os.access(binary, os.X_OK):
        raise SystemExit(f"needs {options.prometheus} (apt-get install prometheus) and the exporter {binary}")

    def stop(number, _):
        raise SystemExit(f"stopped by {signal.Signals(number).name}")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)
    signal.alarm(LIMIT)

    complaints = []
    Bridge.bridges = bridges(options.fixtures)
    if len(Bridge.bridges) < 20:
        raise SystemExit(f"too few reports in {options.fixtures}")
    server = Server(("127.0.0.1", 0), Bridge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="observability-") as directory, Processes() as processes:
        urls = {
            name: bridge.get("url", f"http://127.0.0.1:{server.server_port}/{urllib.parse.quote(name)}{bridge['path']}")
            for name, bridge in Bridge.bridges.items()
        }
        targets = {name: start_exporter(processes, binary, url) for name, url in urls.items()}
        # Exporters that end half-way, in a job of exporters and in one with other targets, and ports without a listener.
        healthy = next(url for name, url in urls.items() if name == "restarting")
        with Processes() as ending, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            nothing = f"127.0.0.1:{closed.getsockname()[1]}"
            dying = {name: start_exporter(ending, binary, healthy) for name in ("dying exporter", "dying pod")}
            jobs = {
                "jitsi": {**targets, "dying exporter": dying["dying exporter"], "absent exporter": nothing},
                "pods": {"dying pod": dying["dying pod"], "prometheus": None, "other pod": nothing},
            }
            address = start_prometheus(processes, options.prometheus, pathlib.Path(directory), jobs)
            prometheus = Prometheus(address)
            print(f"{len(targets)} bridges, collecting for {COLLECT} s", flush=True)
            time.sleep(COLLECT / 2)
        time.sleep(COLLECT / 2)

        for target in prometheus.get("targets")["activeTargets"]:
            name = target["labels"]["instance"]
            if target["health"] != "up" and name not in ("dying exporter", "absent exporter", "dying pod", "other pod"):
                complaints.append(f"target {name}: {target['lastError']}")
        now = time.time() - 1
        names = {}
        for name in targets:
            series = prometheus.get("series", **{"match[]": f'{{instance="{name}", job="jitsi"}}'})
            names[name] = {labels["__name__"] for labels in series}
        asked = 0
        del names["dying"]  # it has sent everything, and now sends nothing
        boards = [json.loads((ROOT / path).read_text()) for path in DASHBOARDS]
        for board in boards:
            asked += check_dashboard(prometheus, board, names, now, complaints.append)
        states = {"gone": DOWN, "refusing": DOWN, "wrong": DOWN, "dying": DOWN, "unhealthy": UNHEALTHY, "draining": DRAINING}
        states |= {"newer": UP, "restarting": UP, "dying exporter": NO_EXPORTER, "absent exporter": NO_EXPORTER, "dying pod": NO_EXPORTER}
        check_states(prometheus, boards[1], boards[0], states, now, complaints.append)
        rules = check_rules(prometheus, now, complaints.append)
        legacy = 0
        for name, url in urls.items():
            if name.startswith("frozen-"):
                legacy += check_legacy(prometheus, binary, url, name, complaints.append)
        if legacy < 500:
            complaints.append(f"only {legacy} legacy values were compared")
    server.shutdown()
    for complaint in complaints:
        print(complaint)
    seconds = time.monotonic() - START
    print(f"{asked} queries, {rules} rules, {legacy} legacy values, {len(complaints)} complaints, {seconds:.0f} s")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
