#!/usr/bin/env python3
"""Compares the table of statistics with the keys of a bridge, and names those that have no row.

    tests/tools/keys.py report.json ...         captures of /colibri/stats, or of /metrics as JSON
    tests/tools/keys.py jitsi-videobridge ...   folders: the sources of a bridge, or captures

In sources (Kotlin and Java, without tests) it finds the metrics that are registered and the keys that the response of /colibri/stats
contains. The constants for keys are in jitsi-xmpp-extensions, so name that folder, too. Keys that are not literals are listed for a
person to read. A nested object counts as one key. The exit status is 1 if a key has no row.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# jicoco-metrics appends `_total` to the name of a counter.
REGISTERED = re.compile(r"\bregister(Counter|LongGauge|DoubleGauge|BooleanMetric|Info|Histogram)\(\s*([^,\n]+)")
PUT = re.compile(r"\bput\(\s*(\"[^\"]+\"|[A-Z][A-Z_]+)\s*,")
CONSTANT = re.compile(r"\bString\s+([A-Z][A-Z_]+)\s*=\s*\"([^\"]+)\"")
# Where the keys of /colibri/stats are put together: since 2024, and before.
STATISTICS = re.compile(r"VideobridgeStatistics(Shim)?\.(kt|java)$")


def known():
    lines = (ROOT / "fixtures/catalogue.tsv").read_text(encoding="utf-8").splitlines()
    columns = lines[0].split("\t")
    rows = [dict(zip(columns, line.split("\t"))) for line in lines[1:]]
    return {row[column] for row in rows for column in ("stats_key", "native_key")} - {""}


def captured(path):
    report = json.loads(path.read_text(encoding="utf-8"))
    [report] = report if isinstance(report, list) else [report]
    return {key: str(path) for key in report}


def registered(folder):
    """Keys and where they are, and expressions that are not literals."""
    sources = [path for suffix in ("kt", "java") for path in sorted(folder.rglob(f"*.{suffix}")) if "/test/" not in str(path)]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in sources}
    keys, odd = {}, []
    for path, text in texts.items():
        found = [(match[1], match[2]) for match in REGISTERED.finditer(text)]
        found += [("put", match[1]) for match in PUT.finditer(text)] if STATISTICS.search(path.name) else []
        for how, expression in found:
            name = CONSTANTS.get(expression.strip().rsplit(".", 1)[-1], expression.strip().strip('"'))
            if not re.fullmatch(r"[a-z][a-zA-Z0-9_]*", name) or name == expression.strip():
                odd.append(f"{path}: {expression.strip()}")
                continue
            keys[name if how != "Counter" or name.endswith("_total") else f"{name}_total"] = str(path)
    return keys, odd


def main(places):
    if not places:
        sys.exit(__doc__)
    for path in (path for place in places if place.is_dir() for path in place.rglob("*ColibriStatsExtension.java")):
        CONSTANTS.update(CONSTANT.findall(path.read_text(encoding="utf-8")))
    keys, odd = {}, []
    for place in places:
        for path in sorted(place.rglob("*.json")) if place.is_dir() and not list(place.rglob("*.kt")) else [place]:
            if path.is_dir():
                more, unread = registered(path)
                keys.update(more)
                odd += unread
            else:
                keys.update(captured(path))
    if not keys:
        sys.exit(f"keys: there are no keys in {' '.join(map(str, places))}")
    for line in odd:
        print(f"not a literal: {line}")
    missing = sorted(set(keys) - known())
    for key in missing:
        print(f"no row: {key!a} ({keys[key]})")
    print(f"keys: {len(keys)} keys, {len(missing)} without a row, {len(odd)} to be read by a person")
    sys.exit(1 if missing else 0)


CONSTANTS = {}

if __name__ == "__main__":
    main([pathlib.Path(argument) for argument in sys.argv[1:]])
