#!/usr/bin/env bash
# One would guess that the text parser of the official Python client gives each sample the name that its line has.
# What happens: a counter whose name does not end in _total gets that ending, in the sample too. The formatter of the same client then
# writes the new name. The name of the family loses the ending, if it had one.
# Who meets it: programs that look up, filter or forward older exporters' counters, such as x_errors; the sample that they ask for
# does not exist. Datadog's agent is one of those that read with this parser.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check prometheus-client==0.26.0
"$folder/python/bin/python" - <<'END'
from prometheus_client.parser import text_string_to_metric_families as parse

page = "# TYPE x_errors counter\nx_errors 1\n# TYPE y_total counter\ny_total 2\n# TYPE z_errors untyped\nz_errors 3\n"
read = [(family.name, family.type, family.samples[0].name) for family in parse(page)]
print("prometheus_client 0.26.0, family, type and sample of x_errors, y_total and z_errors:")
print(*read, sep="\n")
assert read == [("x_errors", "counter", "x_errors_total"), ("y", "counter", "y_total"), ("z_errors", "unknown", "z_errors")]
END
