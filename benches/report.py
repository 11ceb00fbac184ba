"""The reports that are measured: that of a current bridge, its own metrics, and a report ten times as large."""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent

CURRENT = ROOT / "fixtures" / "2026-08-head.json"
NATIVE = ROOT / "fixtures" / "native" / "2026-08-2.3-312-media10.json"


def enlarged(times=10):
    """The current report with further numbers, under keys that the exporter does not know, so that it has `times` as many
    keys."""
    report = json.loads(CURRENT.read_text())
    for number in range(len(report) * (times - 1)):
        # Keys as long as the others, and as many fractions among the values.
        report[f"later_statistic_{number:04}"] = number * 7.25 if number % 8 == 0 else number * 1013
    return json.dumps(report, indent=2)
