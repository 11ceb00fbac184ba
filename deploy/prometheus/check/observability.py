#!/usr/bin/env python3
"""Runs the dashboards and the rules on a real Prometheus that scrapes the real exporter.

Each report in fixtures/ becomes a bridge of that era: its gauges move, its counters grow. Some more bridges are down, draining,
unhealthy, dying, restarting, or newer than the exporter. Each bridge has an exporter, and Prometheus scrapes all of them every second
for most of a minute. The same is done with two agents: one scrapes all exporters, the other scrapes other exporters under some of the
same names. Both send to the Prometheus that evaluates the rules, with different values of the label cluster. In both cases:

  * every target that runs is up, so Prometheus reads every response;
  * every query of both dashboards is answered without an error, for each bridge;
  * a query returns data if the bridge sends the statistics it asks for, and none if the bridge sends none of them;
  * every query has data for some bridge;
  * the tiles and the table of bridges show the state of each bridge, also if its exporter has ended, and no values of a
    bridge that is gone;
  * every rule of rules.yml and legacy.yml evaluates without an error, and every recording rule of rules.yml has data;
  * the names that legacy.yml records have the values of the golden files in legacy names (fixtures/expected);
  * behind agents, no duration grows when an agent is stopped.

Needs prometheus (Debian package of that name). Takes about two minutes, four at most.

    deploy/prometheus/check/observability.py target/debug/jitsiexporter
"""

import contextlib
import csv
import json
import math
import os
import pathlib
import re
import socket
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "tests/tools"))

import expositions
from programs import FIXTURES, ROOT, Bridge, Failure, exporter, prometheus, script, use_packages

DASHBOARDS = ["deploy/grafana/jitsi-videobridge.json", "deploy/grafana/jitsi-fleet.json"]
RULES = ["deploy/prometheus/rules.yml", "deploy/prometheus/legacy.yml"]

# The limit for the whole, and how long Prometheus collects before it is asked. Rates need some scrapes, rules some evaluations.
LIMIT = 240
COLLECT = 35

# The states in the dashboards, the worst first.
NO_EXPORTER, DOWN, UNHEALTHY, DRAINING, STRESSED, UP = range(6)
# Targets that are not exporters.
OTHERS = ("another service", "other pod")

# The clusters of the agents. The second one has other bridges under names of the first.
CLUSTERS = ("a", "b")
TWINS = {"draining": "unhealthy", "unhealthy": "stressed", "newer": "gone", "gone": "draining", "stressed": "newer"}


with (FIXTURES / "catalogue.tsv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
# The kind of each key of either source.
KINDS = {row[key]: row["kind"].lower() for row in ROWS for key in ("stats_key", "native_key")}
# Names that no older exporter had: the bridge sends them only in its own metrics.
NEVER_LEGACY = {f"jitsi_{row['native_key']}" for row in ROWS if not row["stats_key"]}
# The metrics about the scrape.
OWN = re.compile("jitsi_(up|scrape_.*|unexposed_values|exporter_build_info)")


def moved(key, value, seconds):
    """A value of a report, some seconds later."""
    kind = KINDS.get(key)
    if key == "current_timestamp":
        now = time.time()
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}"
    if isinstance(value, bool) or value is None or key == "startup_time":
        return value
    if kind == "counter":
        return value + int(seconds * (1 + len(key) % 7))
    if kind == "gauge" and not isinstance(value, str):
        wave = 1 + 0.2 * math.sin(seconds / 7 + len(key))
        return round(value * wave) if isinstance(value, int) else value * wave
    return value


def response(bridge, seconds):
    """The response of a bridge: the report of its fixture, moved."""
    status = 503 if bridge["dies"] and seconds > COLLECT / 2 else bridge["status"]
    document = json.loads(json.dumps(bridge["report"]))
    for part in document if isinstance(document, list) else [document]:
        if bridge["moves"]:
            for key in part:
                part[key] = moved(key, part[key], seconds)
        if bridge["restarts"] and seconds > COLLECT / 2:
            part.update({key: 0 for key in part if KINDS.get(key) == "counter"})
            if "startup_time" in part:
                part["startup_time"] = int((time.time() - seconds + COLLECT / 2) * 1000)
    return status, json.dumps(document).encode()


def bridges():
    """All bridges by name: one in motion and one frozen for each fixture, and some in special states."""
    base = {"path": "/colibri/stats", "moves": True, "restarts": False, "dies": False, "status": 200}
    played = {}
    for path in sorted(FIXTURES.glob("*.json")):
        played[path.stem] = dict(base, report=json.loads(path.read_text()))
    current = played[max(played)]["report"]
    for path in sorted((FIXTURES / "native").glob("*.json")):
        if path.stem.endswith(".stats"):  # what /colibri/stats sent at the same moment
            continue
        played[f"native-{path.stem}"] = dict(base, report=json.loads(path.read_text()), path="/metrics")
        restarting = dict(played[f"native-{path.stem}"], restarts=True)
    played |= {f"frozen-{name}": dict(bridge, moves=False) for name, bridge in played.items()}
    return played | {
        "restarting-native": restarting,
        "draining": dict(base, report=dict(current, drain=True)),
        "unhealthy": dict(base, report=dict(current, healthy=False)),
        "stressed": dict(base, report=dict(current, stress_level=1.5)),
        "dying": dict(base, report=current, dies=True),
        "restarting": dict(base, report=current, restarts=True),
        "newer": dict(base, report=dict(current, future_list=[1, 2], future_text="a", future_number=1)),
        "refusing": dict(base, report={}, status=404),
        "wrong": dict(base, report={"title": "Welcome"}),
        "gone": base,
    }


def configuration(jobs, labels=lambda name: {"instance": name}, agent_of=None, cluster=""):
    """A configuration that scrapes the targets of each job every second, and sends the samples to `agent_of` if it is an agent.
    JSON is YAML."""
    static = {
        job: [{"targets": [target], "labels": labels(name)} for name, target in targets.items()] for job, targets in jobs.items()
    }
    if agent_of:
        queue = {"batch_send_deadline": "500ms"}
        own = {"remote_write": [{"url": f"{agent_of.api}/write", "queue_config": queue}]}
    else:
        own = {"rule_files": [str(ROOT / path) for path in RULES]}
    return json.dumps(own | {
        "global": {
            "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s",
            "external_labels": {"cluster": cluster} if cluster else {},
        },
        "scrape_configs": [{"job_name": job, "static_configs": configs} for job, configs in static.items()],
    })


# The checks


def selectors(expression):
    """For each selector in a query, the metrics of which it needs at least one."""
    if re.fullmatch(r"\w+", expression):
        return [{expression}]
    strings = re.sub(r'"[^"]*"', lambda match: re.sub(r"[{}]", " ", match[0]), expression)
    needs = [set(match.split("|")) for match in re.findall(r'__name__=~"([^"]*)"', strings)]
    return needs + [{match} for match in re.findall(r"([a-zA-Z_:][\w:]*)\{", strings)]


def filled(expression, instance, job="jitsi", cluster=""):
    values = {"$__rate_interval": "15s", "$__range": "60s", "$__interval": "5s", "$job": job, "$instance": instance}
    # One cluster or none on the dashboard of one bridge, All on the other.
    values |= {"($cluster)": f"({cluster})", "$cluster": ".*"}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    left = re.search(r"\$[a-zA-Z_]\w*", expression)
    if left:
        raise Failure(f"no value for the variable {left[0]} in {expression}")
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


def divisor(expression):
    """What a query divides by, if it has to be large enough: the text in the parentheses."""
    inside = expression.partition(" / (")[2]
    depth = 1
    for end, character in enumerate(inside):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if not depth:
            return inside[:end]
    return None


def has_data(server, expression, instant, now):
    """Whether there is a number in the answer."""
    if instant:
        series = server.query(expression, time=now)
    else:
        series = server.get("query_range", query=expression, start=now - 30, end=now, step=5)["result"]
    return any(value != "NaN" for each in series for _, value in each.get("values", [each.get("value")]))


def check_dashboard(server, board, names, cluster, now, complain):
    one_bridge = any(variable["name"] == "instance" for variable in board["templating"]["list"])
    asked = 0
    for place, expression, instant in queries(board):
        somewhere = False
        for name in names if one_bridge else [None]:
            asked += 1
            here = f"{board['title']}: {place}" + (f" for {name}" if name else "")
            try:
                found = has_data(server, filled(expression, name or "", "jitsi" if name else "jitsi|pods", cluster if name else ""), instant, now)
            except Failure as failure:
                complain(f"{here}: {failure}")
                continue
            somewhere |= found
            if not name or "up{" in expression.replace("jitsi_up{", "") or "ALERTS" in expression:
                continue
            needs = selectors(expression)
            sent = [bool(any_of & names[name]) for any_of in needs]
            # These can be empty: restarts, events on a bridge that does not move, the version of a JVB 1.
            happens = name.startswith("frozen-") and "increase(" in expression
            may_lack = "offset $__interval" in expression or happens or '!=""' in expression
            by = divisor(filled(expression, name, cluster=cluster))
            may_lack = may_lack or by and not has_data(server, by, instant, now)
            if all(sent) and not found and not may_lack:
                complain(f"{here}: no data, though the bridge sends what it needs: {expression}")
            if not any(sent) and found:
                complain(f"{here}: data that the bridge did not send: {expression}")
        if not somewhere:
            complain(f"{board['title']}: {place}: no data for any bridge: {expression}")
    return asked


def by_target(server, expression, now):
    """The values of an instant query by cluster and instance."""
    series = server.query(expression, time=now)
    found = {(each["metric"].get("cluster", ""), each["metric"].get("instance", "")): float(each["value"][1]) for each in series}
    if len(found) != len(series):
        raise Failure(f"several values for one target: {expression}")
    return found


def check_states(server, fleet, bridge, states, now, complain):
    """Compares the tiles and the table of the dashboards with the state of each bridge, which has lasted for a while."""

    def expressions(board):
        panels = [panel for panel in board["panels"] if panel["type"] in ("stat", "table")]
        return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in panels}

    def whole(expression):
        return by_target(server, filled(expression, "", "jitsi|pods"), now).get(("", ""))

    found = by_target(server, filled(expressions(fleet)["All bridges"][0], "", "jitsi|pods"), now)
    for target in sorted(set(found) | set(states)):
        if found.get(target) != states.get(target, found.get(target)) or target[1] in OTHERS:
            complain(f"All bridges: the state of {target} is {found.get(target)}, not {states.get(target)}")
    down = sum(state < UNHEALTHY for state in found.values())
    counted = [whole(expression) for expression in expressions(fleet)["Bridges"]]
    if counted != [len(found) - down, down]:
        complain(f"{fleet['title']}: {counted} bridges are up and down, in the table {len(found) - down} and {down}")

    # A bridge that is gone has a state, but none of its last values is shown.
    for (cluster, name), state in states.items():
        job = "pods" if name == "dying pod" else "jitsi"
        for title, queries in expressions(bridge).items():
            values = [list(by_target(server, filled(query, name, job, cluster), now).values()) for query in queries]
            if title == "State" and values != [[state]]:
                complain(f"{bridge['title']}: {title} of {cluster} {name} is {values}, not {state}")
            if state < UNHEALTHY and title not in ("State", "Alerts", "Firing alerts") and any(values):
                complain(f"{bridge['title']}: {title} of {cluster} {name}, which is gone, is {values}")


def check_rules(server, now, complain):
    groups = server.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    written = sum(len(re.findall(r"^ *- (?:record|alert): ", (ROOT / path).read_text(), re.M)) for path in RULES)
    if len(rules) != written:
        complain(f"{written} rules are written, {len(rules)} are loaded")
    for rule in rules:
        if rule["health"] != "ok" or rule.get("lastError"):
            complain(f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}: {rule['query']}")
        if rule["type"] == "recording" and ":" in rule["name"] and not has_data(server, rule["name"], True, now):
            complain(f"rule {rule['name']} records nothing: {rule['query']}")
    return len(rules)


def check_legacy(server, name, complain):
    """Compares what legacy.yml records, and what has the same name, with the legacy names of a bridge that does not move."""
    fixture = name.removeprefix("frozen-").replace("native-", "native/")
    wanted, _ = expositions.golden(fixture, "legacy", "text")
    never = lambda name: OWN.match(name) or {name, re.sub("_(bucket|sum|count)$", "", name)} & NEVER_LEGACY
    wanted = {sample: value for sample, value in wanted.items() if not never(sample[0])}
    found = {}
    for series in server.query(f'{{instance="{name}"}}'):
        labels = {key: value for key, value in series["metric"].items() if key not in ("job", "instance", "cluster")}
        found[expositions.identity(labels.pop("__name__"), labels)] = float(series["value"][1])
    for sample, value in wanted.items():
        if sample not in found:
            complain(f"legacy.yml: {name}: {sample} is missing")
        elif not math.isclose(found[sample], value, rel_tol=1e-12, abs_tol=1e-12):
            complain(f"legacy.yml: {name}: {sample} is {found[sample]}, the legacy name has {value}")
    return len(wanted)


def check_lost_agent(server, agent, complain):
    """Stops an agent, which leaves no staleness markers. The last values remain visible, and durations must not grow."""
    agent.close()
    time.sleep(3)
    durations = f'jitsi:condition:duration_seconds{{cluster="{CLUSTERS[1]}"}}'
    before = {json.dumps(series["metric"]): series["value"][1] for series in server.query(durations)}
    time.sleep(5)
    after = {json.dumps(series["metric"]): series["value"][1] for series in server.query(durations)}
    if not before or before != after:
        complain(f"durations without samples: {before}, then {after}")


def run(binary, central, complaints):
    """All checks, on a Prometheus that scrapes the exporters itself or on one that receives the samples of agents."""
    start = time.monotonic()
    played = bridges()

    def answer(path):
        name = urllib.parse.unquote(path.split("/")[1])
        if name == "metrics":
            return 200, b"go_goroutines 1\n", "text/plain; version=0.0.4"
        return response(played[name], time.monotonic() - start)

    bridge = Bridge(answer)
    urls = {name: f"{bridge.url}/{urllib.parse.quote(name)}{row['path']}" for name, row in played.items()}
    with contextlib.ExitStack() as stack:
        # A port that refuses connections.
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        nothing = f"127.0.0.1:{closed.getsockname()[1]}"
        urls["gone"] = f"http://{nothing}/colibri/stats"
        targets = {name: stack.enter_context(exporter(binary, "--url", url)).address for name, url in urls.items()}
        # Exporters that end half-way, in a job of exporters and in one with other targets.
        ending = stack.enter_context(contextlib.ExitStack())
        dying = [ending.enter_context(exporter(binary, "--url", urls["restarting"])).address for _ in range(2)]
        jobs = {
            "jitsi": {**targets, "dying exporter": dying[0], "absent exporter": nothing},
            "pods": {"dying pod": dying[1], "another service": bridge.address, "other pod": nothing},
        }
        cluster = ""
        if central:
            cluster = CLUSTERS[0]
            server = stack.enter_context(prometheus("prometheus", configuration({}), "--web.enable-remote-write-receiver"))
            config = configuration(jobs, agent_of=server, cluster=cluster)
            scraper = stack.enter_context(prometheus("prometheus", config, agent=True))
            twins = {"jitsi": {name: targets[twin] for name, twin in TWINS.items()}}
            other = stack.enter_context(contextlib.ExitStack())
            other.enter_context(prometheus("prometheus", configuration(twins, agent_of=server, cluster=CLUSTERS[1]), agent=True))
        else:
            scraper = server = stack.enter_context(prometheus("prometheus", configuration(jobs)))
        print(f"{len(targets)} bridges{' behind agents' if central else ''}, collecting for {COLLECT} s", flush=True)
        time.sleep(COLLECT / 2)
        ending.close()
        time.sleep(COLLECT / 2)

        for target in scraper.get("targets")["activeTargets"]:
            name = target["labels"]["instance"]
            if target["health"] != "up" and name not in ("dying exporter", "absent exporter", "dying pod", "other pod"):
                complaints.append(f"target {name}: {target['lastError']}")
        now = time.time() - (3 if central else 1)
        names = {}
        for name in targets:
            series = server.get("series", **{"match[]": f'{{instance="{name}", job="jitsi", cluster="{cluster}"}}'})
            names[name] = {labels["__name__"] for labels in series}
        del names["dying"]  # it has sent everything, and now sends nothing
        boards = [json.loads((ROOT / path).read_text()) for path in DASHBOARDS]
        asked = sum(check_dashboard(server, board, names, cluster, now, complaints.append) for board in boards)
        states = {
            "gone": DOWN, "refusing": DOWN, "wrong": DOWN, "dying": DOWN, "unhealthy": UNHEALTHY, "draining": DRAINING,
            "stressed": STRESSED, "newer": UP, "restarting": UP,
            "dying exporter": NO_EXPORTER, "absent exporter": NO_EXPORTER, "dying pod": NO_EXPORTER,
        }
        known = {(cluster, name): state for name, state in states.items()}
        known |= {(CLUSTERS[1], name): states[twin] for name, twin in TWINS.items()} if central else {}
        check_states(server, boards[1], boards[0], known, now, complaints.append)
        rules = check_rules(server, now, complaints.append)
        frozen = [name for name in targets if name.startswith("frozen-")]
        legacy = sum(check_legacy(server, name, complaints.append) for name in frozen)
        if central:
            check_lost_agent(server, other, complaints.append)
    print(f"{asked} queries, {rules} rules, {legacy} legacy values", flush=True)


def main():
    complaints = []
    for central in (False, True):
        run(os.path.abspath(sys.argv[1]), central, complaints)
    return complaints


if __name__ == "__main__":
    use_packages(expositions.CLIENT)
    script(main, LIMIT)
