#!/usr/bin/env bash
# One would guess that Datadog's OpenMetrics check (V2) with the metrics [".+"] submits every number of a page, and an untyped one as a
# gauge, as most readers do.
# What happens: a metric without a type, or of type untyped, is left out; the check succeeds, and only the debug log says so. An entry
# with the type before the pattern brings it back.
# Who meets it: users of exporters that cannot know the types, such as bridges from SNMP or JMX: part of the metrics never arrives.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
# The parts of the package's extra "deps" that the check imports.
"$folder/python/bin/pip" install --quiet --disable-pip-version-check datadog-checks-base==38.7.0 prometheus-client==0.26.0 binary==1.0.2 \
    cachetools==7.2.0 lazy-loader==0.5 pydantic==2.13.5 python-dateutil==2.9.0.post0 pyyaml==6.0.3 requests==2.34.2 \
    requests-unixsocket2==1.0.1 simplejson==4.1.2 wrapt==2.3.0
"$folder/python/bin/python" - <<'END'
import http.server
import threading

from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator

PAGE = b"# TYPE known gauge\nknown 1\n# TYPE untyped untyped\nuntyped 2\nwithout 3\n"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


def submitted(metrics):
    aggregator.reset()
    instance = {"openmetrics_endpoint": f"http://127.0.0.1:{server.server_port}/", "namespace": "x", "metrics": metrics}
    error = OpenMetricsBaseCheckV2("x", {}, [instance]).run()
    names = sorted(aggregator.metric_names)
    print(f"{metrics}: {names}, error {error!r}")
    assert not error
    return names


print("datadog-checks-base 38.7.0, given known, untyped and without:")
assert submitted([".+"]) == ["x.known"]
assert submitted([{"untyped": {"type": "gauge"}, "without": {"type": "gauge"}}, ".+"]) == ["x.known", "x.untyped", "x.without"]
END
