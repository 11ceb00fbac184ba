//! Holds the dashboards, the rules and the documents in `deploy/` to the catalogue: every metric name in them exists, every
//! panel and every alert says what it has to say, and the tables for old dashboards are those that the catalogue gives.
//!
//! `UPDATE=1 cargo test --test deploy` rewrites `LEGACY.md` and `legacy.yml`. What needs a Prometheus or Grafana's schema is
//! in `tests/tools/observability*`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use jitsiexporter::catalogue::{Kind, OWN, ROWS, Row, Unit, unprefixed};
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
    rows.chain(OWN.iter().map(|own| own.name.to_owned())).collect()
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
    names.extend(recorded(&legacy_rules()));
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
    let known = exposed();
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
    let documents = ["README.md", "deploy/README.md", "deploy/prometheus/README.md", LEGACY_TABLE, LEGACY_RULES];
    for path in documents.into_iter().filter(|path| root().join(path).exists()) {
        let mut wrong = misspelt(&read(path), &known);
        wrong.retain(|word| !FOREIGN.iter().any(|foreign| word.starts_with(foreign)));
        assert_eq!(wrong, Vec::<String>::new(), "{path}");
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

/// The panels, rows included.
fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("a dashboard has panels")
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
        let needs_one = panels(&board).iter().filter(|panel| panel["type"] != "row");
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
                assert!(matchers.contains(chosen), "{path}: {place}: {name}{{{matchers}}} in {query}");
            }
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
    assert_eq!(sections, alerts().into_keys().collect(), "sections of the runbook, and alerts");
    for (name, rule) in alerts() {
        assert!(["critical", "warning", "info"].contains(&field(&rule["labels"], "severity").unwrap()), "{name}");
        let annotation = |key| field(&rule["annotations"], key).unwrap_or_else(|| panic!("{name} has no {key}"));
        assert!(!annotation("summary").is_empty(), "{name}");
        assert!(annotation("description").contains("$value"), "{name}: the description has the value");
        assert!(annotation("description").contains("Look first"), "{name}: the description says where to look");
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOK}#{}", name.to_lowercase()));
        let section =
            runbook.split(&format!("## {name}\n")).nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        for part in ["**Meaning.**", "**Likely causes.**", "**First commands.**"] {
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
    for name in recorded(&legacy_rules()) {
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

/// A legacy name beside the query that gives its value.
struct Old {
    /// The name, for the table with its labels.
    name: String,
    /// The name that the exporter gives it today.
    today: String,
    /// What gives the old value; `None` if nothing can.
    query: Option<String>,
    /// The recording rules: labels and expressions. None if the name is exposed as it was.
    rules: Vec<(Option<(&'static str, String)>, String)>,
    /// What else the table says.
    note: &'static str,
}

/// The old value out of the new one.
fn in_old_unit(name: &str, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => format!("{name} * 1000"),
        Unit::KilobitsPerSecond => format!("{name} / 125"),
        Unit::BitsPerSecond => format!("{name} * 8"),
        Unit::Megabytes => format!("{name} / 1000000"),
        Unit::Plain | Unit::Seconds | Unit::DateTime | Unit::Bytes | Unit::PacketsPerSecond => name.to_owned(),
    }
}

/// The last element of every array that a release sends, but for the first, which had 15.
const LAST_SIZE: usize = 21;
const LAST_SIZE_2016: usize = 14;

/// The number of conferences of exactly this size, out of cumulative buckets.
fn of_size(name: &str, size: usize) -> String {
    let upto = |le: &str| format!("{name}_bucket{{le=\"{le}\"}}");
    let exactly = |le: &str| format!("{} - ignoring (le) {}", upto(le), upto(&format!("{}.0", size - 1)));
    match size {
        0 => format!("sum without (le) ({})", upto("0.0")),
        LAST_SIZE => exactly("+Inf"),
        // Where there is no such bucket, the array ended here: "that many or more".
        LAST_SIZE_2016 => {
            let bucket = format!("{size}.0");
            format!("{} or ({}) unless ignoring (le) {}", exactly(&bucket), exactly("+Inf"), upto(&bucket))
        }
        _ => exactly(&format!("{size}.0")),
    }
}

fn old_names() -> Vec<Old> {
    let mut old = Vec::new();
    for (index, row) in ROWS.iter().enumerate() {
        let simple = |name: &str, today: &str, query: String, note| {
            let unchanged = name == query;
            let rules = if unchanged { Vec::new() } else { vec![(None, query.clone())] };
            Old { name: name.to_owned(), today: today.to_owned(), query: Some(query), rules, note }
        };
        let first_of_name = ROWS[..index].iter().all(|other| other.standard.name != row.standard.name);
        match row.kind {
            Kind::Timestamp => old.push(Old {
                name: row.legacy.name.to_owned(),
                today: row.standard.name.to_owned(),
                query: None,
                rules: Vec::new(),
                note: "The older exporters never exposed it: it is no number.",
            }),
            Kind::Info => {
                let others = ROWS.iter().filter(|other| other.kind == Kind::Info && other.key != row.key);
                let others: Vec<_> = others.map(|other| other.key).collect();
                let query = format!("max without ({}) ({}{{{}!=\"\"}})", others.join(", "), row.standard.name, row.key);
                old.push(simple(row.legacy.name, row.standard.name, query, ""));
            }
            Kind::Gauge | Kind::Boolean | Kind::Counter if !first_of_name => old.push(Old {
                name: row.legacy.name.to_owned(),
                today: row.standard.name.to_owned(),
                query: None,
                rules: Vec::new(),
                note: "Two old names are one today, and this one was used by few releases: take the other.",
            }),
            Kind::Gauge | Kind::Boolean | Kind::Counter => {
                let query = in_old_unit(row.standard.name, row.unit);
                old.push(simple(row.legacy.name, row.standard.name, query.clone(), ""));
                if let Some(unprefixed) = unprefixed(row.key) {
                    old.push(simple(unprefixed.name, row.standard.name, query, ""));
                }
            }
            Kind::Sizes => old.push(Old {
                name: row.legacy.name.to_owned() + "{conference_size=\"3\"}",
                today: format!("{}_bucket", row.standard.name),
                query: Some(of_size(row.standard.name, 3)),
                rules: (0..=LAST_SIZE)
                    .map(|size| (Some(("conference_size", size.to_string())), of_size(row.standard.name, size)))
                    .collect(),
                note: "The buckets are cumulative: a number is the difference of two.",
            }),
            Kind::Histogram => {
                for suffix in ["_bucket", "_count", "_sum"] {
                    let today = format!("{}{suffix}", row.standard.name);
                    old.push(simple(&format!("{}{suffix}", row.legacy.name), &today, today.clone(), ""));
                }
            }
        }
    }
    // Never a rule for a name that means something else today.
    let exposed = exposed();
    for name in old.iter_mut().filter(|old| !old.rules.is_empty()) {
        if exposed.contains(&name.name) {
            name.rules.clear();
            name.note = "No rule: the name means something else today.";
        }
    }
    old
}

fn legacy_table() -> String {
    let mut text = String::from(
        "# From the names of the older exporters to today's\n\n\
         Written by `UPDATE=1 cargo test --test deploy` from the catalogue; do not edit.\n\n\
         The older exporters print each key of the bridge as `jitsi_<key>`, in the bridge's own unit. This one gives base units and\n\
         `_total` to counters. The table has the name of today for each old one, and the query that gives the old value. There are\n\
         three ways to keep a dashboard that was made for the old names:\n\n\
         - edit it with this table, once and for all;\n\
         - load [legacy.yml](legacy.yml) into Prometheus: recording rules that write each old name that differs. They begin when they\n\
         \x20 are loaded, and lag by one evaluation;\n\
         - start the exporter with `--legacy-names`: then it prints the old names itself, and the dashboards and rules of this folder\n\
         \x20 find nothing.\n\n\
         `jitsi_fetch_errors` of the Go exporter counted failed fetches. Without a counter, the failed scrapes of the last hour are\n\
         `count_over_time(jitsi_scrape_error[1h])`, by reason.\n\n\
         Before 2.1-158 the bridge sent `octo_receive_bitrate` and `octo_send_bitrate` in kilobits. The query gives what the bridge said,\n\
         as the older exporters do.\n\n\
         | old name | name | old value | |\n|---|---|---|---|\n",
    );
    for old in old_names() {
        let query = match &old.query {
            Some(query) if *query == old.name => "the same".to_owned(),
            Some(query) => format!("`{query}`"),
            None => "none".to_owned(),
        };
        let line = format!("| `{}` | `{}` | {query} | {} |", old.name, old.today, old.note);
        writeln!(text, "{}", line.replace("|  |", "| |")).expect("a string takes all");
    }
    text
}

fn legacy_rules() -> String {
    let mut text = String::from(
        "# Written by `UPDATE=1 cargo test --test deploy` from the catalogue; do not edit.\n\
         #\n\
         # The names of the older exporters, as recording rules on today's names: for dashboards that are to go on as they are. Only\n\
         # names that differ; LEGACY.md has all of them. Not together with --legacy-names, nor with an older exporter under the same\n\
         # job and instance: two sources would write one series.\n\
         groups:\n  - name: jitsi-legacy\n    rules:\n",
    );
    for old in old_names() {
        let name = old.name.split('{').next().expect("split gives one at least");
        for (label, query) in &old.rules {
            writeln!(text, "      - record: {name}\n        expr: {}", quoted(query)).expect("a string takes all");
            if let Some((label, value)) = label {
                writeln!(text, "        labels:\n          {label}: \"{value}\"").expect("a string takes all");
            }
        }
    }
    text
}

/// As a YAML scalar. Braces and quotes are only a danger at its beginning, `": "` and `" #"` do not occur in a query.
fn quoted(query: &str) -> String {
    assert!(!query.contains(": ") && !query.contains(" #") && query.starts_with(char::is_alphabetic), "{query}");
    query.to_owned()
}

/// Compares a generated file, or rewrites it if `UPDATE` is set.
fn generated(path: &str, wanted: &str) {
    let path: PathBuf = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, wanted).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs =
        wanted.lines().zip(found.lines().chain(std::iter::repeat(""))).find(|(wanted, found)| wanted != found);
    assert!(
        found == wanted,
        "{} is not what the catalogue gives; UPDATE=1 cargo test --test deploy rewrites it. First difference: {differs:?}",
        path.display()
    );
}

#[test]
fn legacy_tables_are_those_of_the_catalogue() {
    generated(LEGACY_TABLE, &legacy_table());
    generated(LEGACY_RULES, &legacy_rules());
}

#[test]
fn every_legacy_name_is_in_the_table_and_gives_its_own_value() {
    let table = legacy_table();
    for row in ROWS {
        assert!(table.contains(&format!("| `{}", row.legacy.name)), "{}", row.key);
    }
    assert!(
        table.contains(
            "| `jitsi_rtt_aggregate` | `jitsi_rtt_aggregate_seconds` | `jitsi_rtt_aggregate_seconds * 1000` |"
        )
    );
    assert!(table.contains("| `jitsi_participants` | `jitsi_participants` | the same |"));
    let exposed = exposed();
    for old in old_names() {
        for (_, query) in old.rules {
            assert_eq!(unknown_metrics(&query, &exposed), Vec::<String>::new(), "{}", old.name);
        }
    }
    // No series is written by two rules.
    let mut written = BTreeSet::new();
    for (record, rule) in rules(&legacy_rules()) {
        let size = field(&rule["labels"], "conference_size").map(str::to_owned);
        assert!(written.insert((record.clone(), size.clone())), "{record:?} {size:?}");
    }
}
