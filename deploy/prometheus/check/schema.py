#!/usr/bin/env python3
"""Checks the Grafana dashboards against Grafana's own schema.

Grafana publishes its schema as TypeScript types, in the npm package @grafana/schema. This writes each part of each dashboard
down as a typed TypeScript constant and lets the TypeScript compiler look for members that Grafana does not know, values that
it does not allow and types that are wrong:

  * the dashboard as a whole (panels, variables, annotations, links, time);
  * the options and the custom field options of each panel, against those of its type of panel;
  * each query, against those of the Prometheus data source (10 only: the package of 11 has no types for it).

Checked for two releases of Grafana, the last of 10 and the last of 11. Packages before 10.4 have no types for panels, those
from 12 on none for this kind of dashboard, which Grafana 12 and 13 read all the same. Two changes are made to the types: an
enum becomes the union of its values, because JSON has no enums, and options are optional, because Grafana fills them in.

Needs node, npm and the npm registry.

    deploy/prometheus/check/schema.py [DASHBOARD.json ...]
"""

import copy
import json
import pathlib
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "tests/tools"))

from programs import ROOT, output, script

LIMIT = 600
GRAFANA = ["10.4.19", "11.6.9"]
TYPESCRIPT = "5.9.3"

# The file with the types of each type of panel, and whether the panel defines field options.
PANELS = {
    "stat": ("stat", False),
    "timeseries": ("timeseries", True),
    "state-timeline": ("statetimeline", True),
    "heatmap": ("heatmap", True),
    "bargauge": ("bargauge", False),
    "table": ("table", True),
}


DASHBOARD = "@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen"
COMPOSABLE = "@grafana/schema/dist/esm/raw/composable"
QUERY = f"{COMPOSABLE}/prometheus/dataquery/x/PrometheusDataQuery_types.gen"


def enums_to_unions(text, known):
    """Replaces each enum by the union of its values, and each member of one by its value."""

    def union(match):
        members = re.findall(r"(\w+)\s*=\s*('[^']*'|\"[^\"]*\"|-?\d+)", match.group(3))
        known.update({f"{match.group(2)}.{name}": value for name, value in members})
        return f"{match.group(1)}type {match.group(2)} = {' | '.join(value for _, value in members)};"

    text = re.sub(r"((?:export )?(?:declare )?)(?:const )?enum (\w+) \{(.*?)\}", union, text, flags=re.S)
    for member in re.findall(r"\b(?!common\b|ui\b|raw\b)\w+\.\w+\b", text):
        if member in known:
            text = re.sub(rf"\b(?:\w+\.)?{re.escape(member)}\b", known[member], text)
    return text


def all_panels(dashboard):
    """The panels, rows included. A collapsed row holds its panels inside."""
    return [panel for row in dashboard["panels"] for panel in [row, *row.get("panels", [])]]


def ts(value):
    return json.dumps(value, indent=2)


def program(name, dashboard, with_queries):
    """The TypeScript that says what the parts of the dashboard are."""
    lines = [f"// {name}", f"import type * as D from '{DASHBOARD}';"]
    types = sorted({panel["type"] for panel in all_panels(dashboard)} - {"row"})
    for kind in types:
        folder = PANELS[kind][0]
        file = {"statetimeline": "StateTimeline", "timeseries": "TimeSeries", "bargauge": "BarGauge"}
        file = file.get(folder, folder.capitalize())
        lines.append(f"import type * as {folder} from '{COMPOSABLE}/{folder}/panelcfg/x/{file}PanelCfg_types.gen';")
    if with_queries:
        lines.append(f"import type {{ PrometheusDataQuery }} from '{QUERY}';")
    lines.append("type Deep<T> = T extends (infer U)[] ? Deep<U>[] : T extends object ? { [K in keyof T]?: Deep<T[K]> } : T;")
    # Left out, as the schema does not have them though Grafana writes them itself: "definition" of a variable, and the
    # members that the Prometheus data source adds to an annotation.
    rest = {key: value for key, value in dashboard.items() if key not in ("panels", "annotations", "templating")}
    lines.append(f"export const dashboard: D.Dashboard = {ts(rest)};")
    for index, variable in enumerate(dashboard["templating"]["list"]):
        known = {k: v for k, v in variable.items() if k != "definition"}
        lines.append(f"export const variable_{index}: Deep<D.VariableModel> = {ts(known)};")
    for index, annotation in enumerate(dashboard["annotations"]["list"]):
        own = ("expr", "step", "tagKeys", "textFormat", "titleFormat")
        known = {k: v for k, v in annotation.items() if k not in own}
        lines.append(f"export const annotation_{index}: D.AnnotationQuery = {ts(known)};")
    for panel in all_panels(dashboard):
        name = f"panel_{panel['id']}"
        lines.append(f"// {panel['title']}")
        if panel["type"] == "row":
            lines.append(f"export const {name}: Deep<D.RowPanel> = {ts(panel)};")
            continue
        folder, custom = PANELS[panel["type"]]
        bare = copy.deepcopy(panel)
        options, targets = bare.pop("options"), bare.pop("targets")
        defaults = bare["fieldConfig"]["defaults"].pop("custom", {})
        lines.append(f"export const {name}: Deep<D.Panel> = {ts(bare)};")
        lines.append(f"export const {name}_options: Deep<{folder}.Options> = {ts(options)};")
        if custom:
            lines.append(f"export const {name}_custom: Deep<{folder}.FieldConfig> = {ts(defaults)};")
        elif defaults:
            lines.append(f"export const {name}_custom: never = {ts(defaults)};")
        for target in targets if with_queries else []:
            lines.append(f"export const {name}_query_{target['refId']}: PrometheusDataQuery = {ts(target)};")
    return "\n".join(lines) + "\n"


def check(grafana, dashboards):
    """The complaints of the compiler about the dashboards, held against the types of one release."""
    with tempfile.TemporaryDirectory(prefix="observability-schema-") as directory:
        work = pathlib.Path(directory)
        (work / "package.json").write_text('{"private": true}')
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        install += [f"@grafana/schema@{grafana}", f"typescript@{TYPESCRIPT}"]
        output(*install, cwd=work, timeout=LIMIT)
        schema = work / "node_modules/@grafana/schema/dist"
        types = sorted(path for ending in ("d.ts", "d.mts", "d.cts") for path in schema.rglob(f"*.{ending}"))
        known = {}
        for _ in range(2):  # a member can be used in a file that is read before that of its enum
            for path in types:
                path.write_text(enums_to_unions(path.read_text(), known))
        for name, dashboard in dashboards.items():
            with_queries = (work / f"node_modules/{QUERY}.d.ts").exists()
            (work / f"{name}.ts").write_text(program(name, dashboard, with_queries))
        compiler = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]
        compiler += ["--module", "esnext", "--moduleResolution", "node", *[f"{name}.ts" for name in dashboards]]
        done = subprocess.run(compiler, cwd=work, capture_output=True, text=True, timeout=300)
        complaints = []
        for line in (done.stdout + done.stderr).splitlines():
            place = re.match(r"([\w-]+)\.ts\((\d+),\d+\): error", line)
            if place:
                before = (work / f"{place[1]}.ts").read_text().splitlines()[: int(place[2])]
                constant = next((text for text in reversed(before) if text.startswith("export const")), "")
                complaints.append(f"{line}\n    in {constant[13:].split(' = ')[0]}")
            elif line.strip():
                complaints.append(line)
        if done.returncode and not complaints:
            complaints.append(f"the compiler failed with {done.returncode}")
        return complaints


def main():
    paths = [pathlib.Path(arg) for arg in sys.argv[1:]] or sorted((ROOT / "deploy/grafana").glob("*.json"))
    dashboards = {path.stem: json.loads(path.read_text()) for path in paths}
    return [f"Grafana {grafana}: {complaint}" for grafana in GRAFANA for complaint in check(grafana, dashboards)]


script(main, LIMIT)
