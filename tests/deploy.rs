//! Checks the dashboards, the rules and the documents in `deploy/` against the catalogue: every metric name in them exists, and
//! every panel and every alert says what it has to say.
//!
//! What needs a Prometheus or Grafana's schema is in `tests/tools/observability*`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jitsiexporter::catalogue::{Kind, OWN, ROWS, Row};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const DASHBOARDS: [&str; 2] = ["deploy/grafana/jitsi-videobridge.json", "deploy/grafana/jitsi-fleet.json"];
const RULES: &str = "deploy/prometheus/rules.yml";
const RUNBOOK: &str = "deploy/prometheus/RUNBOOK.md";
const TESTS: &str = "deploy/prometheus/tests";
const LEGACY_RULES: &str = "deploy/prometheus/legacy.yml";
const LEGACY_TABLE: &str = "deploy/prometheus/LEGACY.md";

/// The data source of everything that has one.
const DATASOURCE: &str = "${datasource}";

/// The types of panels that come with Grafana and that are used here. Any other would be a plugin, or needs a look.
const PANELS: [&str; 6] = ["stat", "timeseries", "state-timeline", "heatmap", "bargauge", "table"];

/// The metrics on the dashboards that bridges of 2026 do not send, at neither of their addresses.
const OLDER_BRIDGES: [&str; 4] = [
    "jitsi_jitter_aggregate_seconds",
    "jitsi_cpu_usage",
    "jitsi_machine_memory_used_bytes",
    "jitsi_machine_memory_bytes",
];

/// What Prometheus itself writes about alerts.
const ALERT_METRICS: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// Names that documents may mention though nothing here exposes them: an older exporter's, and those of the bridge itself.
const FOREIGN: [&str; 2] = ["jitsi_fetch_errors", "jitsi_jvb_"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

fn dashboard(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// Names

/// The names of all samples that the exporter can expose.
fn exposed() -> BTreeSet<String> {
    let suffixes = |row: &Row| -> &[&str] {
        match row.kind {
            Kind::Sizes => &["_bucket", "_gcount", "_gsum"],
            Kind::Histogram => &["_bucket", "_count", "_sum"],
            _ => &[""],
        }
    };
    let rows =
        ROWS.iter().flat_map(|row| suffixes(row).iter().map(move |suffix| format!("{}{suffix}", row.standard.name)));
    // The start time: until the catalogue has the bridge's own metrics.
    rows.chain(OWN.iter().map(|own| own.name.to_owned()))
        .chain(["jitsi_startup_timestamp_seconds".to_owned()])
        .collect()
}

/// The rules in a text: the name that a recording rule writes, with the rule.
fn rules(text: &str) -> Vec<(Option<String>, Yaml)> {
    let groups = yaml(text);
    let groups = groups["groups"].as_vec().expect("a file of rules has groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_vec().expect("a group has rules").clone());
    rules.map(|rule| (field(&rule, "record").map(str::to_owned), rule)).collect()
}

fn field<'a>(node: &'a Yaml, key: &str) -> Option<&'a str> {
    node[key].as_str()
}

fn recorded(text: &str) -> BTreeSet<String> {
    rules(text).into_iter().filter_map(|(record, _)| record).collect()
}

/// The names of the older exporters.
fn legacy() -> BTreeSet<String> {
    let mut names: BTreeSet<_> = ROWS.iter().map(|row| row.legacy.name.to_owned()).collect();
    names.extend(recorded(&read(LEGACY_RULES)));
    names
}

/// The families whose name is no sample's: prose may speak of them, a query may not.
fn families() -> BTreeSet<String> {
    ROWS.iter()
        .filter(|row| matches!(row.kind, Kind::Sizes | Kind::Histogram))
        .map(|row| row.standard.name.to_owned())
        .collect()
}

/// What in a text looks like a metric: words that begin with `jitsi_`, alone or behind the level of a recording rule.
/// `jitsi_(a|b)`, as in a regular expression, is two of them.
fn words(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for (start, _) in text.match_indices("jitsi_") {
        let before = &text[..start];
        let word_start = before.len() - before.chars().rev().take_while(|&c| is_part(c)).count();
        if !(word_start == start || before.ends_with(':')) {
            continue;
        }
        let end = start + text[start..].find(|c| !is_part(c)).unwrap_or(text.len() - start);
        let word = text[word_start..end].trim_end_matches(':');
        match text[end..].strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((choices, _)) if word == "jitsi_" => {
                found.extend(choices.split('|').map(|choice| format!("jitsi_{choice}")));
            }
            _ => found.push(word.to_owned()),
        }
    }
    found
}

/// The words that are no name of `known`. A word that ends in `_` stands for all names that begin so.
fn misspelt(text: &str, known: &BTreeSet<String>) -> Vec<String> {
    let exists =
        |word: &String| known.contains(word) || word.ends_with('_') && known.iter().any(|name| name.starts_with(word));
    words(text).into_iter().filter(|word| !exists(word)).collect()
}

/// The metric names of a PromQL expression, each with the label matchers behind it. Names in matchers on `__name__` are not
/// among them.
fn selectors(query: &str) -> Vec<(String, String)> {
    const WORDS: [&str; 6] = ["and", "or", "unless", "offset", "bool", "inf"];
    const LABEL_LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_alphabetic() || c == '_' || c == ':' {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let after = after.trim_start();
            rest = after;
            if LABEL_LISTS.contains(&word) {
                rest = after.split_once(')').filter(|_| after.starts_with('(')).map_or(after, |(_, rest)| rest);
            } else if let Some(matchers) = after.strip_prefix('{') {
                let (matchers, after) = matchers.split_once('}').expect("matchers end");
                found.push((word.to_owned(), matchers.to_owned()));
                rest = after;
            } else if !WORDS.contains(&word) && !["(", "by ", "without "].iter().any(|next| after.starts_with(next)) {
                found.push((word.to_owned(), String::new()));
            }
        } else if c == '{' {
            let (matchers, after) = rest[1..].split_once('}').expect("matchers end");
            found.push((String::new(), matchers.to_owned()));
            rest = after;
        } else if c == '[' {
            rest = rest.split_once(']').expect("ranges end").1;
        } else if c == '"' {
            rest = rest[1..].split_once('"').expect("strings end").1;
        } else if c.is_ascii_digit() || c == '$' {
            rest = rest[1..].trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// The metrics of a query that do not exist.
fn unknown_metrics(query: &str, known: &BTreeSet<String>) -> Vec<String> {
    let mut unknown = misspelt(query, known);
    let names = selectors(query).into_iter().map(|(name, _)| name);
    unknown.extend(names.filter(|name| !name.is_empty() && name != "up" && !known.contains(name)));
    unknown
}

#[test]
fn every_metric_in_the_rules_exists() {
    let mut known = exposed();
    known.extend(recorded(&read(RULES)));
    for (record, rule) in rules(&read(RULES)) {
        let query = field(&rule, "expr").expect("a rule has an expression");
        assert!(
            unknown_metrics(query, &known).is_empty(),
            "{record:?} {:?} in {query}",
            unknown_metrics(query, &known)
        );
    }
    for file in [RULES.to_owned(), RUNBOOK.to_owned()].into_iter().chain(test_files()) {
        let known =
            if file.ends_with("legacy.yml") { known.union(&legacy()).cloned().collect() } else { known.clone() };
        assert_eq!(misspelt(&read(&file), &known), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn every_metric_in_the_dashboards_exists() {
    let mut known = exposed();
    known.extend(recorded(&read(RULES)));
    known.extend(ALERT_METRICS.map(str::to_owned));
    for path in DASHBOARDS {
        let prose: BTreeSet<_> = known.union(&families()).cloned().collect();
        assert_eq!(misspelt(&read(path), &prose), Vec::<String>::new(), "{path}");
        for (place, query) in queries(&dashboard(path)) {
            assert_eq!(unknown_metrics(&query, &known), Vec::<String>::new(), "{path}: {place}: {query}");
        }
    }
}

#[test]
fn every_metric_in_the_documents_exists() {
    let mut known = exposed();
    known.extend([recorded(&read(RULES)), legacy(), families()].into_iter().flatten());
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for path in docs.chain(["README.md", "CONTRIBUTING.md", LEGACY_TABLE, LEGACY_RULES].map(|path| root().join(path))) {
        let mut wrong = misspelt(&read(&path), &known);
        wrong.retain(|word| !FOREIGN.iter().any(|foreign| word.starts_with(foreign)));
        assert_eq!(wrong, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn a_misspelt_metric_is_found() {
    let known = exposed();
    let dashboard = read(DASHBOARDS[0]).replace("jitsi_conferences{", "jitsi_confrences{");
    assert!(misspelt(&dashboard, &known).contains(&"jitsi_confrences".to_owned()));
    for wrong in [
        "rate(jitsi_conferences_created[5m])",
        "jitsi_up and on (job) jitsi_conference_sizes",
        "sum by (job) (jvb_conferences{job=\"a\"})",
        "max without () ({__name__=~\"jitsi_drain|jitsi_drained\"})",
        "jitsi:conferences:sum",
        "instance:jitsi_loss:ratio > 0.5",
    ] {
        assert!(!unknown_metrics(wrong, &known).is_empty(), "{wrong}");
    }
    let right = "up{job=\"a\"} == 0 or 60 * rate(jitsi_ice_failed_total[$__rate_interval]) unless on (job) jitsi_up";
    assert_eq!(unknown_metrics(right, &known), Vec::<String>::new());
    assert_eq!(words("grep '^jitsi_(up|upp) '; jitsi_octo_*"), ["jitsi_up", "jitsi_upp", "jitsi_octo_"]);
    assert_eq!(misspelt("jitsi_octo_* jitsi_okto_*", &known), ["jitsi_okto_"]);
}

// Dashboards

/// All queries of a dashboard, each with the place where it is.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a query is a string").to_owned();
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((format!("panel {}", panel["title"]), text(&target["expr"])));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().expect("annotations") {
        found.push((format!("annotation {}", annotation["name"]), text(&annotation["expr"])));
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if variable["type"] == "query" {
            let query = text(&variable["query"]["query"]);
            let inner = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
            let metric = inner.and_then(|inner| inner.rsplit_once(',')).expect("label_values(metric, label)").0;
            found.push((format!("variable {}", variable["name"]), metric.to_owned()));
        }
    }
    found
}

/// The panels, rows included. A collapsed row holds its panels inside.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let rows = dashboard["panels"].as_array().expect("a dashboard has panels");
    rows.iter().flat_map(|row| std::iter::once(row).chain(row["panels"].as_array().into_iter().flatten())).collect()
}

/// The panels of a type.
fn panels_of_type<'a>(dashboard: &'a Value, kind: &str) -> Vec<&'a Value> {
    panels(dashboard).into_iter().filter(|panel| panel["type"] == kind).collect()
}

/// The field overrides of a panel: what they match, and the value of each property.
fn overrides(panel: &Value) -> Vec<(&str, BTreeMap<&str, &Value>)> {
    let mut found = Vec::new();
    for one in panel["fieldConfig"]["overrides"].as_array().expect("overrides") {
        let properties = one["properties"].as_array().expect("properties").iter();
        let properties = properties.map(|property| (property["id"].as_str().expect("an id"), &property["value"]));
        found.push((one["matcher"]["options"].as_str().expect("a matcher"), properties.collect()));
    }
    found
}

#[test]
fn dashboards_are_what_grafana_imports() {
    for path in DASHBOARDS {
        let board = dashboard(path);
        assert!(board["__inputs"].is_null() && board["__requires"].is_null(), "{path} can be provisioned as it is");
        assert!(board["id"].is_null(), "{path}: the number belongs to one Grafana");
        for key in ["uid", "title", "description"] {
            assert!(board[key].as_str().is_some_and(|text| !text.is_empty()), "{path}: {key}");
        }
        assert!(board["schemaVersion"].as_u64() >= Some(38), "{path}: Grafana 10");
        let variables = board["templating"]["list"].as_array().expect("variables");
        assert_eq!(variables[0]["type"], "datasource", "{path}");
        assert_eq!(variables[0]["query"], "prometheus", "{path}");
        assert_eq!(format!("${{{}}}", variables[0]["name"].as_str().unwrap()), DATASOURCE, "{path}");
    }
    let ids: BTreeSet<_> = DASHBOARDS.iter().map(|path| dashboard(path)["uid"].to_string()).collect();
    assert_eq!(ids.len(), DASHBOARDS.len());
}

#[test]
fn the_data_source_is_always_the_variable() {
    fn check(value: &Value, path: &str) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    if key == "datasource" {
                        assert_eq!(member["uid"], DATASOURCE, "{path}");
                        assert_eq!(member["type"], "prometheus", "{path}");
                    }
                    check(member, path);
                }
            }
            Value::Array(members) => members.iter().for_each(|member| check(member, path)),
            _ => {}
        }
    }
    for path in DASHBOARDS {
        let board = dashboard(path);
        check(&board, path);
        let needs_one = panels(&board).into_iter().filter(|panel| panel["type"] != "row");
        for place in needs_one.flat_map(|panel| panel["targets"].as_array().expect("queries").iter().chain([panel])) {
            assert!(place["datasource"].is_object(), "{path}: {place}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_what_to_do() {
    for path in DASHBOARDS {
        let board = dashboard(path);
        let mut ids = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in panels(&board) {
            let title = panel["title"].as_str().expect("a title");
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{path}: {title}: id");
            assert!(titles.insert(title) && !title.is_empty(), "{path}: {title}: title");
            if panel["type"] == "row" {
                continue;
            }
            assert!(PANELS.contains(&panel["type"].as_str().unwrap()), "{path}: {title}: {}", panel["type"]);
            let description = panel["description"].as_str().unwrap_or_default();
            assert!(description.len() > 60 && description.ends_with(['.', '?']), "{path}: {title}: {description}");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{path}: {title}: unit");
            assert!(defaults["noValue"].as_str().is_some_and(|text| !text.is_empty()), "{path}: {title}: noValue");
            let steps = defaults["thresholds"]["steps"].as_array().expect("thresholds");
            assert!(steps[0]["value"].is_null(), "{path}: {title}: the first threshold is the colour of the rest");
            let values: Vec<_> = steps[1..].iter().map(|step| step["value"].as_f64().expect("a number")).collect();
            assert!(values.is_sorted(), "{path}: {title}: {values:?}");
            let targets = panel["targets"].as_array().expect("queries");
            let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().expect("a refId")).collect();
            assert!(!targets.is_empty() && refs.len() == targets.len(), "{path}: {title}: queries");
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    for path in DASHBOARDS {
        let board = dashboard(path);
        let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
        for panel in panels(&board) {
            let side = |key: &str| panel["gridPos"][key].as_u64().expect("a whole number");
            let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{path}: {} is out of the grid", panel["title"]);
            for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (y, x))) {
                if let Some(other) = taken.insert(cell, panel["title"].to_string()) {
                    panic!("{path}: {} and {other} overlap", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn queries_ask_for_what_is_chosen_and_invent_nothing() {
    for (path, chosen) in DASHBOARDS.into_iter().zip(["job=\"$job\", instance=\"$instance\"", "job=~\"$job\""]) {
        for (place, query) in queries(&dashboard(path)) {
            assert!(!query.contains("vector("), "{path}: {place}: a zero that no bridge said");
            for rated in query.split("rate(").skip(1) {
                let range = rated.split_once('[').expect("a rate has a range").1;
                assert!(range.starts_with("$__rate_interval]"), "{path}: {place}: {query}");
            }
            if place.starts_with("variable") {
                continue;
            }
            for (name, matchers) in selectors(&query) {
                // Whether the rules are loaded is a question about the whole job.
                let whole_job = ALERT_METRICS.contains(&name.as_str()) || name.contains(':');
                let wanted = if whole_job { chosen.split(',').next().unwrap() } else { chosen };
                assert!(matchers.contains(wanted), "{path}: {place}: {name}{{{matchers}}} in {query}");
            }
        }
    }
}

#[test]
fn values_of_now_are_instant_queries() {
    // A range query shows the last value of the range, even if the bridge has been dead for hours since.
    for path in DASHBOARDS {
        let board = dashboard(path);
        for panel in ["stat", "bargauge", "table"].into_iter().flat_map(|kind| panels_of_type(&board, kind)) {
            for target in panel["targets"].as_array().expect("queries") {
                assert_eq!(
                    (&target["instant"], &target["range"]),
                    (&true.into(), &false.into()),
                    "{path}: {}",
                    panel["title"]
                );
            }
        }
    }
}

#[test]
fn state_timelines_map_every_state_to_a_word_and_a_colour() {
    // With the color mode "thresholds" and merged values Grafana ignores the value mappings.
    let mut checked = 0;
    for path in DASHBOARDS {
        for panel in panels_of_type(&dashboard(path), "state-timeline") {
            let defaults = &panel["fieldConfig"]["defaults"];
            assert_eq!(defaults["color"]["mode"], "fixed", "{path}: {}", panel["title"]);
            let overridden =
                overrides(panel).into_iter().filter_map(|(_, properties)| properties.get("mappings").copied());
            for mappings in overridden.collect::<Vec<_>>().into_iter().chain([&defaults["mappings"]]) {
                for state in ["0", "1"] {
                    let shown = &mappings[0]["options"][state];
                    assert!(shown["text"].is_string() && shown["color"].is_string(), "{path}: {state}: {mappings}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 4, "{checked}");
}

#[test]
fn variables_open_on_the_default_data_source_and_on_exporters_only() {
    for path in DASHBOARDS {
        let board = dashboard(path);
        for variable in board["templating"]["list"].as_array().expect("variables") {
            if variable["type"] == "datasource" {
                assert_eq!(variable["current"]["value"], "default", "{path}: else the first by name is chosen");
            } else {
                assert!(variable["allValue"].is_null(), "{path}: All means the jobs of exporters, not every job");
            }
        }
    }
}

#[test]
fn the_top_row_has_at_most_six_tiles_and_the_alerts_first() {
    for path in DASHBOARDS {
        let board = dashboard(path);
        let top: Vec<_> = panels(&board).into_iter().filter(|panel| panel["gridPos"]["y"] == 1).collect();
        assert!(top.iter().all(|panel| panel["type"] == "stat") && top.len() <= 6, "{path}: {} tiles", top.len());
        let asks = |panel: &Value, name: &str| panel["targets"].to_string().contains(name);
        assert!(top[..2].iter().any(|panel| asks(panel, "ALERTS{")), "{path}: a tile counts the firing alerts");
        let tables = panels_of_type(&board, "table");
        assert!(tables.iter().any(|panel| asks(panel, "ALERTS_FOR_STATE{")), "{path}: a table names the firing alerts");
        for panel in top {
            let words = panel["title"].as_str().unwrap().len()
                + panel["fieldConfig"]["defaults"]["noValue"].as_str().unwrap().len();
            assert!(words <= 28, "{path}: {}: too long for a tile at 1280 pixels", panel["title"]);
        }
    }
}

#[test]
fn panels_that_only_older_bridges_fill_are_in_a_collapsed_row() {
    let board = dashboard(DASHBOARDS[0]);
    let row = board["panels"].as_array().unwrap().last().expect("a last row");
    assert_eq!((&row["title"], &row["collapsed"]), (&"Older bridges".into(), &true.into()));
    let inside: BTreeSet<_> = row["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64()).collect();
    for panel in panels(&board).into_iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap().iter();
        let names: Vec<_> = targets.flat_map(|target| words(target["expr"].as_str().unwrap())).collect();
        let old = !names.is_empty() && names.iter().all(|name| OLDER_BRIDGES.contains(&name.as_str()));
        assert_eq!(old, inside.contains(&panel["id"].as_u64()), "{}: {names:?}", panel["title"]);
    }
}

#[test]
fn every_bar_and_row_links_to_its_bridge() {
    let ids: BTreeSet<_> = DASHBOARDS.iter().map(|path| dashboard(path)["uid"].as_str().unwrap().to_owned()).collect();
    let tags: Vec<_> = DASHBOARDS.iter().map(|path| dashboard(path)["tags"].clone()).collect();
    let bridge = dashboard(DASHBOARDS[0]);
    let variables: BTreeSet<_> = bridge["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    for path in DASHBOARDS {
        let board = dashboard(path);
        for link in board["links"].as_array().expect("links").iter().flat_map(|link| link["tags"].as_array().unwrap()) {
            assert!(tags.iter().all(|tags| tags.as_array().unwrap().contains(link)), "{path}: {link}");
        }
        for panel in panels(&board) {
            let place = format!("{path}: {}", panel["title"]);
            let columns: BTreeSet<_> = panel["transformations"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|step| step["options"]["renameByName"].as_object().into_iter().flatten())
                .map(|(_, name)| name.as_str().unwrap())
                .collect();
            let mut links: Vec<_> =
                panel["fieldConfig"]["defaults"]["links"].as_array().into_iter().flatten().collect();
            if panel["type"] != "row" {
                links.extend(overrides(panel).iter().filter_map(|(_, set)| set.get("links")?.as_array()).flatten());
            }
            let legends = panel["targets"].as_array().into_iter().flatten();
            let names_bridges =
                columns.contains("Bridge") || legends.clone().any(|target| target["legendFormat"] == "{{instance}}");
            assert_eq!(names_bridges, !links.is_empty(), "{place}: what names a bridge leads to it");
            for url in links.iter().map(|link| link["url"].as_str().expect("a URL")) {
                let (target, query) = url.strip_prefix("/d/").and_then(|url| url.split_once('?')).expect("a dashboard");
                assert!(ids.contains(target), "{place}: {url}");
                assert!(
                    query.contains("${datasource:queryparam}") && query.contains("${__url_time_range}"),
                    "{place}: {url}"
                );
                let mut passed = BTreeSet::from(["datasource"]);
                for part in query.split('&').filter_map(|part| part.strip_prefix("var-")) {
                    let (name, value) = part.split_once('=').expect("a value");
                    passed.insert(name);
                    if let Some(column) = value.strip_prefix("${__data.fields.") {
                        assert!(columns.contains(column.trim_end_matches('}')), "{place}: {url}");
                    } else if let Some(label) = value.strip_prefix("${__field.labels.") {
                        assert!(["job}", "instance}"].contains(&label), "{place}: {url}");
                    } else {
                        assert_eq!(value, "${__value.raw}", "{place}: {url}");
                    }
                }
                assert_eq!(passed, variables, "{place}: {url} sets every variable");
            }
        }
    }
}

#[test]
fn rows_and_panels_that_texts_name_exist() {
    let mut checked = 0;
    for (text, boards) in
        DASHBOARDS.map(|path| (read(path), vec![path])).into_iter().chain([(read(RULES), DASHBOARDS.to_vec())])
    {
        let boards: Vec<_> = boards.into_iter().map(dashboard).collect();
        for word in ["row ", "panel "] {
            for (start, _) in text.match_indices(word) {
                let rest = &text[start + word.len()..];
                if !rest.starts_with(char::is_uppercase) {
                    continue;
                }
                let named = |panel: &Value| {
                    (panel["type"] == "row") == (word == "row ") && rest.starts_with(panel["title"].as_str().unwrap())
                };
                assert!(boards.iter().flat_map(panels).any(named), "{word}{}", rest.lines().next().unwrap_or_default());
                checked += 1;
            }
        }
    }
    assert!(checked >= 5, "{checked}");
}

#[test]
fn the_dashboards_have_small_pictures() {
    /// What a page with both pictures may cost.
    const LARGEST: u64 = 300 * 1024;
    for path in ["docs/images/fleet.png", "docs/images/videobridge.png"] {
        let picture = fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(picture.starts_with(b"\x89PNG"), "{path}");
        assert!(picture.len() as u64 <= LARGEST, "{path}: {} bytes", picture.len());
    }
}

#[test]
fn axes_fit_what_is_counted() {
    for path in DASHBOARDS {
        let board = dashboard(path);
        for panel in panels_of_type(&board, "timeseries") {
            let place = format!("{path}: {}", panel["title"]);
            let defaults = &panel["fieldConfig"]["defaults"];
            let top = [&defaults["max"], &defaults["custom"]["axisSoftMax"]];
            match defaults["unit"].as_str().expect("a unit") {
                "short" => assert_eq!(defaults["decimals"], 0, "{place}: an axis of counts has no halves"),
                "percentunit" => {
                    assert!(top.iter().any(|top| top.is_number()), "{place}: else all zeros go up to 10000%");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn failures_are_not_green() {
    const BAD: [&str; 9] =
        ["fail", "drop", "disconnect", "no channel", "no DTLS", "loss", "oversend", "suspended", "stolen"];
    let mut checked = 0;
    for path in DASHBOARDS {
        let board = dashboard(path);
        for panel in panels_of_type(&board, "timeseries") {
            let defaults = &panel["fieldConfig"]["defaults"]["color"];
            for target in panel["targets"].as_array().expect("queries") {
                let legend = target["legendFormat"].as_str().unwrap();
                if !BAD.iter().any(|bad| legend.contains(bad)) {
                    continue;
                }
                // A pattern of an override is a prefix, or alternatives of prefixes.
                let matches = |name: &str| {
                    name.split('|')
                        .any(|one| legend == one || one.strip_suffix(".*").is_some_and(|one| legend.starts_with(one)))
                };
                let set = overrides(panel)
                    .into_iter()
                    .find(|(name, _)| matches(name))
                    .and_then(|(_, set)| set.get("color").copied());
                let color = set.unwrap_or(defaults);
                assert_eq!(color["mode"], "fixed", "{path}: {}: {legend}", panel["title"]);
                assert!(
                    !color["fixedColor"].as_str().unwrap().contains("green"),
                    "{path}: {}: {legend}",
                    panel["title"]
                );
                checked += 1;
            }
        }
    }
    assert!(checked >= 10, "{checked}");
}

#[test]
fn ratios_of_events_need_a_minimum_of_events() {
    for path in DASHBOARDS {
        for (place, query) in queries(&dashboard(path)) {
            for divisor in query.split("/ (").skip(1).filter(|divisor| divisor.contains("increase(")) {
                assert!(divisor.contains(">= "), "{path}: {place}: {query}");
            }
        }
    }
}

#[test]
fn restarts_are_found_across_an_outage() {
    // resets() needs both sides of the restart within its window, and $__rate_interval is often a minute.
    for path in DASHBOARDS {
        let board = dashboard(path);
        let restarts: Vec<_> = queries(&board).into_iter().filter(|(place, _)| place.contains("Restarts")).collect();
        assert!(!restarts.is_empty(), "{path}");
        for (place, query) in restarts {
            assert!(
                query.contains("[1d] offset $__interval") && !query.contains("resets("),
                "{path}: {place}: {query}"
            );
        }
    }
}

// Rules

fn test_files() -> Vec<String> {
    let files = fs::read_dir(root().join(TESTS)).expect("tests of the rules");
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.into_iter().map(|name| format!("{TESTS}/{name}")).collect()
}

/// The alerts of rules.yml by name.
fn alerts() -> BTreeMap<String, Yaml> {
    let alerts =
        rules(&read(RULES)).into_iter().filter_map(|(_, rule)| Some((field(&rule, "alert")?.to_owned(), rule)));
    alerts.collect()
}

#[test]
fn every_alert_says_how_bad_what_and_what_to_do() {
    let runbook = read(RUNBOOK);
    let sections: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    let mut expected: BTreeSet<_> = alerts().into_keys().collect();
    expected.insert("How the alerts treat failed scrapes".to_owned());
    assert_eq!(sections, expected, "sections of the runbook, and alerts");
    for (name, rule) in alerts() {
        assert!(["critical", "warning", "info"].contains(&field(&rule["labels"], "severity").unwrap()), "{name}");
        let annotation = |key| field(&rule["annotations"], key).unwrap_or_else(|| panic!("{name} has no {key}"));
        assert!(!annotation("summary").is_empty(), "{name}");
        assert!(annotation("description").contains("$value"), "{name}: the description has the value");
        assert!(annotation("description").contains("irst check"), "{name}: the description says what to check");
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOK}#{}", name.to_lowercase()));
        let section =
            runbook.split(&format!("## {name}\n")).nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        for part in ["**Meaning.**", "**Check.**", "**Do.**"] {
            assert!(section.contains(part), "the runbook has no {part} for {name}");
        }
    }
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in test_files() {
        let tests = yaml(&read(file));
        for test in tests["tests"].as_vec().expect("tests") {
            for case in test["alert_rule_test"].as_vec().into_iter().flatten() {
                let name = field(case, "alertname").expect("a name").to_owned();
                let fires = !case["exp_alerts"].as_vec().expect("exp_alerts").is_empty();
                if fires {
                    firing.insert(name)
                } else {
                    silent.insert(name)
                };
            }
        }
    }
    let alerts: BTreeSet<_> = alerts().into_keys().collect();
    assert_eq!(firing, alerts, "alerts with a case that fires");
    assert_eq!(silent, alerts, "alerts with a case that does not");
}

#[test]
fn recording_rules_write_over_nothing() {
    let exposed = exposed();
    for name in recorded(&read(RULES)) {
        assert!(name.contains(':'), "{name}: a colon tells a recorded name from an exposed one");
    }
    for name in recorded(&read(LEGACY_RULES)) {
        assert!(!exposed.contains(&name), "the exporter itself exposes {name}");
    }
}

#[test]
fn the_example_configurations_name_files_that_exist() {
    let prometheus = yaml(&read("deploy/prometheus/prometheus.yml"));
    for file in prometheus["rule_files"].as_vec().expect("rule files") {
        assert!(root().join("deploy/prometheus").join(file.as_str().unwrap()).exists(), "{file:?}");
    }
    assert_eq!(field(&prometheus["scrape_configs"][0], "job_name"), Some("jitsi"));
    for file in ["dashboards/jitsi.yml", "datasources/prometheus.yml"] {
        assert_eq!(yaml(&read(Path::new("deploy/grafana/provisioning").join(file)))["apiVersion"].as_i64(), Some(1));
    }
}

// Legacy names

#[test]
fn legacy_rules_cover_every_name_that_changed() {
    let table = read(LEGACY_TABLE);
    for row in ROWS.iter().filter(|row| row.stats.is_some()) {
        assert!(table.contains(&format!("| `{}", row.legacy.name)), "{}", row.legacy.name);
    }
    let exposed = exposed();
    let mut recorded = BTreeSet::new();
    for (record, rule) in rules(&read(LEGACY_RULES)) {
        let query = field(&rule, "expr").expect("a rule has an expression");
        assert_eq!(unknown_metrics(query, &exposed), Vec::<String>::new(), "{record:?}");
        let size = field(&rule["labels"], "conference_size").map(str::to_owned);
        assert!(recorded.insert((record.clone(), size)), "two rules record {record:?}");
    }
}
