//! Checks the dashboards, the rules and the documents in `deploy/` against the catalogue: every metric name in them exists, and
//! every panel and every alert is complete.
//!
//! Checks that need Prometheus or Grafana's schema are in `deploy/prometheus/check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use jitsiexporter::metrics::catalogue::{OWN, ROWS, Row};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const DASHBOARDS: [&str; 2] = ["deploy/grafana/jitsi-videobridge.json", "deploy/grafana/jitsi-fleet.json"];
const RULES: &str = "deploy/prometheus/rules.yml";
const RUNBOOK: &str = "deploy/prometheus/RUNBOOK.md";
const TESTS: &str = "deploy/prometheus/tests";
const AUTOSCALING: &str = "deploy/kubernetes/autoscaling/keda-prometheus.yaml";
const LEGACY_RULES: &str = "deploy/prometheus/legacy.yml";
const LEGACY_TABLE: &str = "deploy/prometheus/LEGACY.md";

/// The data source that every part of a dashboard uses.
const DATASOURCE: &str = "${datasource}";

/// The types of panels that may be used: those here come with Grafana, others could need a plugin.
const PANELS: [&str; 6] = ["stat", "timeseries", "state-timeline", "heatmap", "bargauge", "table"];

/// The metrics on the dashboards that bridges of 2026 do not send in either source.
const OLDER_BRIDGES: [&str; 4] = [
    "jitsi_jitter_aggregate_seconds",
    "jitsi_cpu_usage",
    "jitsi_machine_memory_used_bytes",
    "jitsi_machine_memory_bytes",
];

/// The metrics that Prometheus itself writes about alerts.
const ALERT_METRICS: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// Metrics of other programs that documents mention: of an older exporter, and of the bridge itself.
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

fn field<'a>(node: &'a Yaml, key: &str) -> Option<&'a str> {
    node[key].as_str()
}

// Names

/// The names of all samples that the exporter can expose.
fn exposed() -> BTreeSet<String> {
    let samples = |row: &'static Row| {
        row.kind.sample_suffixes().iter().map(|suffix| format!("{}{suffix}", row.standard.family_name()))
    };
    let rows = ROWS.iter().flat_map(samples);
    rows.chain(OWN.iter().map(|own| own.name.to_owned())).collect()
}

/// The rules in a file: the name that a recording rule writes, with the rule.
fn rules(path: &str) -> Vec<(Option<String>, Yaml)> {
    let groups = yaml(&read(path));
    let groups = groups["groups"].as_vec().expect("a file of rules has groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_vec().expect("a group has rules").clone());
    rules.map(|rule| (field(&rule, "record").map(str::to_owned), rule)).collect()
}

fn recorded(path: &str) -> BTreeSet<String> {
    rules(path).into_iter().filter_map(|(record, _)| record).collect()
}

/// The names that queries may use: exposed, recorded, or written by Prometheus.
fn in_queries() -> BTreeSet<String> {
    let mut names = exposed();
    names.extend(recorded(RULES));
    names.extend(ALERT_METRICS.map(str::to_owned));
    names
}

/// The legacy names.
fn legacy() -> BTreeSet<String> {
    let mut names: BTreeSet<_> = ROWS.iter().map(|row| row.legacy.name.to_owned()).collect();
    names.extend(recorded(LEGACY_RULES));
    names
}

/// The names that prose may use. They include names of families whose samples have other names.
fn in_prose() -> BTreeSet<String> {
    let mut names = in_queries();
    names.extend(ROWS.iter().map(|row| row.standard.name.to_owned()));
    names
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The words of a text that look like a metric: those that begin with `jitsi_`, alone or behind the level of a recording rule.
/// `jitsi_(a|b)`, as in a regular expression, is two of them.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("jitsi_") {
        let before = &text[..start];
        let word_start = before.trim_end_matches(is_name).len();
        if !(word_start == start || before.ends_with(':')) {
            continue;
        }
        let end = text.len() - text[start..].trim_start_matches(is_name).len();
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

/// The words that are not in `known`. A word that ends in `_` stands for all names that begin so.
fn misspelt(text: &str, known: &BTreeSet<String>) -> Vec<String> {
    let exists =
        |word: &String| known.contains(word) || word.ends_with('_') && known.iter().any(|name| name.starts_with(word));
    words(text).into_iter().filter(|word| !exists(word)).collect()
}

/// The selectors of a query: a name, which may be empty, and the matchers in braces behind it.
fn selectors(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('}').filter_map(|part| part.split_once('{')).map(|(before, matchers)| {
        let name = &before[before.trim_end_matches(is_name).len()..];
        (name, matchers)
    })
}

#[test]
fn every_metric_in_the_rules_exists() {
    let known = in_queries();
    for file in [RULES, RUNBOOK, AUTOSCALING].map(str::to_owned).into_iter().chain(test_files()) {
        let known =
            if file.ends_with("legacy.yml") { known.union(&legacy()).cloned().collect() } else { known.clone() };
        assert_eq!(misspelt(&read(&file), &known), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn every_metric_in_the_dashboards_exists() {
    let known = in_queries();
    for (path, board) in &*BOARDS {
        assert_eq!(misspelt(&read(path), &in_prose()), Vec::<String>::new(), "{path}");
        for (place, query) in queries(board) {
            let place = format!("{path}: {place}: {query}");
            assert_eq!(misspelt(&query, &known), Vec::<String>::new(), "{place}");
            for (name, matchers) in selectors(&query).filter(|(name, _)| !name.is_empty()) {
                assert!(name == "up" || known.contains(name), "{place}: {name}{{{matchers}}}");
            }
        }
    }
}

#[test]
fn every_metric_in_the_documents_exists() {
    let known = in_prose().union(&legacy()).cloned().collect();
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for path in docs.chain(["README.md", "CONTRIBUTING.md", LEGACY_TABLE, LEGACY_RULES].map(|path| root().join(path))) {
        let mut wrong = misspelt(&read(&path), &known);
        wrong.retain(|word| !FOREIGN.iter().any(|foreign| word.starts_with(foreign)));
        assert_eq!(wrong, Vec::<String>::new(), "{}", path.display());
    }
}

// Dashboards

/// The dashboards, by path.
static BOARDS: LazyLock<[(&str, Value); 2]> = LazyLock::new(|| {
    DASHBOARDS.map(|path| (path, serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))))
});

/// The elements of an array in a dashboard. An absent array has none.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The panels, rows included. A collapsed row holds its panels inside.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    list(&board["panels"]).flat_map(|row| std::iter::once(row).chain(list(&row["panels"])))
}

/// The panels of these types on all dashboards, each with the place where it is.
fn panels_of(kinds: &[&str]) -> Vec<(String, &'static Value)> {
    let all = BOARDS.iter().flat_map(|(path, board)| panels(board).map(move |panel| (*path, panel)));
    let of_kinds = all.filter(|(_, panel)| kinds.contains(&text(&panel["type"])));
    let found: Vec<_> = of_kinds.map(|(path, panel)| (format!("{path}: {}", panel["title"]), panel)).collect();
    assert!(!found.is_empty(), "no panel is one of {kinds:?}");
    found
}

/// All queries of a dashboard, each with the place where it is.
fn queries(board: &Value) -> Vec<(String, String)> {
    let of_panels = panels(board).flat_map(|panel| {
        list(&panel["targets"]).map(move |target| (format!("panel {}", panel["title"]), text(&target["expr"])))
    });
    let annotations = list(&board["annotations"]["list"])
        .map(|annotation| (format!("annotation {}", annotation["name"]), text(&annotation["expr"])));
    let variables = list(&board["templating"]["list"]).filter(|variable| variable["type"] == "query").map(|variable| {
        let query = text(&variable["query"]["query"]);
        let inner = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
        let metric = inner.and_then(|inner| inner.rsplit_once(',')).expect("label_values(metric, label)").0;
        (format!("variable {}", variable["name"]), metric)
    });
    of_panels.chain(annotations).chain(variables).map(|(place, query)| (place, query.to_owned())).collect()
}

/// The queries of all dashboards.
fn all_queries() -> impl Iterator<Item = (String, String)> {
    BOARDS.iter().flat_map(|(path, board)| {
        queries(board).into_iter().map(move |(place, query)| (format!("{path}: {place}: {query}"), query))
    })
}

/// The field overrides of a panel: what they match, and the value of each property.
fn overrides(panel: &Value) -> impl Iterator<Item = (&str, BTreeMap<&str, &Value>)> {
    list(&panel["fieldConfig"]["overrides"]).map(|one| {
        let properties = list(&one["properties"]).map(|property| (text(&property["id"]), &property["value"]));
        (text(&one["matcher"]["options"]), properties.collect())
    })
}

#[test]
fn dashboards_can_be_provisioned() {
    let mut ids = BTreeSet::new();
    for (path, board) in &*BOARDS {
        // They can be provisioned as they are; an id belongs to one Grafana.
        for key in ["__inputs", "__requires", "id"] {
            assert!(board[key].is_null(), "{path}: {key}");
        }
        for key in ["uid", "title", "description"] {
            assert!(!text(&board[key]).is_empty(), "{path}: {key}");
        }
        assert!(ids.insert(text(&board["uid"])), "{path}: uid");
        assert!(board["schemaVersion"].as_u64() >= Some(38), "{path}: Grafana 10");
        assert!(panels(board).count() > 10, "{path}: panels");
        let first = &board["templating"]["list"][0];
        assert_eq!((&first["type"], &first["query"]), (&"datasource".into(), &"prometheus".into()), "{path}");
        assert_eq!(format!("${{{}}}", text(&first["name"])), DATASOURCE, "{path}");
        for variable in list(&board["templating"]["list"]) {
            if variable["type"] == "datasource" {
                assert_eq!(variable["current"]["value"], "default", "{path}: else the first by name is chosen");
            } else {
                // The label cluster may be absent. But "all jobs" means all jobs of exporters, not every job.
                let all =
                    if variable["name"] == "cluster" && variable["includeAll"] == true { Some(".*") } else { None };
                assert_eq!(variable["allValue"].as_str(), all, "{path}: {}", variable["name"]);
            }
        }
    }
}

#[test]
fn data_source_is_always_the_variable() {
    fn check(value: &Value, path: &str) {
        match value {
            Value::Object(members) => {
                if let Some(source) = members.get("datasource") {
                    assert_eq!((&source["uid"], &source["type"]), (&DATASOURCE.into(), &"prometheus".into()), "{path}");
                }
                members.values().for_each(|member| check(member, path));
            }
            Value::Array(members) => members.iter().for_each(|member| check(member, path)),
            _ => {}
        }
    }
    for (path, board) in &*BOARDS {
        check(board, path);
    }
    for (place, panel) in panels_of(&PANELS) {
        for part in list(&panel["targets"]).chain([panel]) {
            assert!(part["datasource"].is_object(), "{place}: {part}");
        }
    }
}

#[test]
fn panels_have_description_unit_and_thresholds() {
    for (path, board) in &*BOARDS {
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in panels(board) {
            let title = text(&panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{path}: {title}: id");
            assert!(titles.insert(title) && !title.is_empty(), "{path}: {title}: title");
            assert!(
                panel["type"] == "row" || PANELS.contains(&text(&panel["type"])),
                "{path}: {title}: {}",
                panel["type"]
            );
        }
    }
    for (place, panel) in panels_of(&PANELS) {
        let description = text(&panel["description"]);
        assert!(description.len() > 60 && description.ends_with(['.', '?']), "{place}: {description}");
        let defaults = &panel["fieldConfig"]["defaults"];
        for key in ["unit", "noValue"] {
            assert!(!text(&defaults[key]).is_empty(), "{place}: {key}");
        }
        // The first threshold is the colour of the rest.
        let steps: Vec<_> = list(&defaults["thresholds"]["steps"]).map(|step| step["value"].as_f64()).collect();
        assert!(steps[0].is_none() && steps.is_sorted(), "{place}: {steps:?}");
        let refs: BTreeSet<_> = list(&panel["targets"]).map(|target| text(&target["refId"])).collect();
        assert!(!refs.is_empty() && refs.len() == list(&panel["targets"]).count(), "{place}: queries");
    }
}

#[test]
fn panels_do_not_overlap() {
    for (path, board) in &*BOARDS {
        let mut taken = BTreeMap::new();
        // Grafana moves what is below a collapsed row when it is opened.
        let unfolded = list(&board["panels"]).map(|panel| (0, panel));
        let folded = list(&board["panels"])
            .flat_map(|row| list(&row["panels"]).map(|panel| (row["id"].as_u64().unwrap(), panel)));
        for (row, panel) in unfolded.chain(folded) {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a whole number"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{path}: {} is out of the grid", panel["title"]);
            for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (row, y, x))) {
                let other = taken.insert(cell, &panel["title"]);
                assert_eq!(other, None, "{path}: {} overlaps", panel["title"]);
            }
        }
    }
}

/// What selects the bridges of each dashboard. Bridges can share job and instance and differ in cluster, which need not exist.
const CHOSEN: [&str; 2] =
    ["job=\"$job\", cluster=~\"($cluster)?\", instance=\"$instance\"", "job=~\"$job\", cluster=~\"$cluster\""];

#[test]
fn queries_select_the_chosen_bridges() {
    for ((path, board), chosen) in BOARDS.iter().zip(CHOSEN) {
        for (place, query) in queries(board) {
            let place = format!("{path}: {place}: {query}");
            assert!(!query.contains("vector("), "{place}: vector() invents a value");
            let named = query.split("on (").skip(1).chain(query.split("by (").skip(1));
            for labels in named.map(|rest| rest.split(')').next().unwrap()) {
                assert!(
                    ["le", "why", "region", "version", "region, version", "cluster, job"].contains(&labels),
                    "{place}"
                );
            }
            for rated in query.split("rate(").skip(1) {
                let range = rated.split_once('[').expect("a rate has a range").1;
                assert!(range.starts_with("$__rate_interval]"), "{place}");
            }
            // Ratios of events need a minimum of events.
            for divisor in query.split("/ (").skip(1).filter(|divisor| divisor.contains("increase(")) {
                assert!(divisor.contains(">= "), "{place}");
            }
            if place.contains(": variable ") {
                continue;
            }
            let mut selected = words(&query).len();
            for (name, matchers) in selectors(&query) {
                // The query whether the rules are loaded is about the whole job.
                let whole_job = ALERT_METRICS.contains(&name) || name.contains(':');
                let wanted = if whole_job { chosen.split(',').next().unwrap() } else { chosen };
                assert!(matchers.contains(wanted), "{place}: {name}{{{matchers}}}");
                selected -= words(name).len() + words(matchers).len();
            }
            assert_eq!(selected, 0, "{place}: a metric without matchers");
        }
    }
}

#[test]
fn tiles_bars_and_tables_use_instant_queries() {
    // A range query shows the last value of the range, even if the bridge has been down for hours.
    for (place, panel) in panels_of(&["stat", "bargauge", "table"]) {
        for target in list(&panel["targets"]) {
            assert_eq!((&target["instant"], &target["range"]), (&true.into(), &false.into()), "{place}");
        }
    }
}

#[test]
fn state_timelines_map_every_state_to_a_word_and_a_colour() {
    for (place, panel) in panels_of(&["state-timeline"]) {
        let defaults = &panel["fieldConfig"]["defaults"];
        // With the colour mode "thresholds" and merged values Grafana ignores the value mappings.
        assert_eq!(defaults["color"]["mode"], "fixed", "{place}");
        let overridden = overrides(panel).filter_map(|(_, properties)| properties.get("mappings").copied());
        for mappings in overridden.chain([&defaults["mappings"]]) {
            for state in ["0", "1"] {
                let shown = &mappings[0]["options"][state];
                assert!(shown["text"].is_string() && shown["color"].is_string(), "{place}: {state}: {mappings}");
            }
        }
    }
}

#[test]
fn top_row_has_at_most_six_tiles_with_alerts_first() {
    for (path, board) in &*BOARDS {
        let top: Vec<_> = panels(board).filter(|panel| panel["gridPos"]["y"] == 1).collect();
        assert!(top.iter().all(|panel| panel["type"] == "stat") && top.len() <= 6, "{path}: {} tiles", top.len());
        let asks = |panel: &Value, name: &str| panel["targets"].to_string().contains(name);
        assert!(top[..2].iter().any(|panel| asks(panel, "ALERTS{")), "{path}: a tile counts the firing alerts");
        let mut tables = panels(board).filter(|panel| panel["type"] == "table");
        assert!(tables.any(|panel| asks(panel, "ALERTS_FOR_STATE{")), "{path}: a table names the firing alerts");
        for panel in top {
            let words = text(&panel["title"]).len() + text(&panel["fieldConfig"]["defaults"]["noValue"]).len();
            assert!(words <= 28, "{path}: {}: too long for a tile at 1280 pixels", panel["title"]);
        }
    }
}

#[test]
fn panels_that_only_older_bridges_fill_are_in_a_collapsed_row() {
    let board = &BOARDS[0].1;
    let row = list(&board["panels"]).last().expect("a last row");
    assert_eq!((&row["title"], &row["collapsed"]), (&"Older bridges".into(), &true.into()));
    for panel in panels(board).filter(|panel| panel["type"] != "row") {
        let names: Vec<_> = list(&panel["targets"]).flat_map(|target| words(text(&target["expr"]))).collect();
        let old = !names.is_empty() && names.iter().all(|name| OLDER_BRIDGES.contains(&name.as_str()));
        assert_eq!(old, list(&row["panels"]).any(|inside| inside == panel), "{}: {names:?}", panel["title"]);
    }
}

#[test]
fn every_bar_and_row_links_to_its_bridge() {
    let variables: BTreeSet<_> =
        list(&BOARDS[0].1["templating"]["list"]).map(|variable| text(&variable["name"])).collect();
    for (path, board) in &*BOARDS {
        for tag in list(&board["links"]).flat_map(|link| list(&link["tags"])) {
            assert!(BOARDS.iter().all(|(_, other)| list(&other["tags"]).any(|own| own == tag)), "{path}: {tag}");
        }
    }
    for (place, panel) in panels_of(&PANELS) {
        let renamed = list(&panel["transformations"]).filter_map(|step| step["options"]["renameByName"].as_object());
        let columns: BTreeSet<_> = renamed.flat_map(|names| names.values().map(text)).collect();
        let overridden = overrides(panel).filter_map(|(_, set)| set.get("links").copied());
        let links = [&panel["fieldConfig"]["defaults"]["links"]].into_iter().chain(overridden).flat_map(list);
        let urls: Vec<_> = links.map(|link| text(&link["url"])).collect();
        let legend = list(&panel["targets"]).any(|target| text(&target["legendFormat"]).contains("{{instance}}"));
        assert_eq!(columns.contains("Bridge") || legend, !urls.is_empty(), "{place}: what names a bridge leads to it");
        for url in urls {
            let place = format!("{place}: {url}");
            let (target, query) = url.strip_prefix("/d/").and_then(|url| url.split_once('?')).expect("a dashboard");
            assert!(BOARDS.iter().any(|(_, board)| board["uid"] == target), "{place}");
            for part in ["${datasource:queryparam}", "${__url_time_range}"] {
                assert!(query.contains(part), "{place}");
            }
            let mut passed = BTreeSet::from(["datasource"]);
            for part in query.split('&').filter_map(|part| part.strip_prefix("var-")) {
                let (name, value) = part.split_once('=').expect("a value");
                passed.insert(name);
                let column = value.strip_prefix("${__data.fields.").and_then(|value| value.strip_suffix('}'));
                let of_field = value.strip_prefix("${__field.labels.").and_then(|value| value.strip_suffix('}'));
                // A link keeps the text of a label that is absent, so this one is "-" then.
                let others = ["job", "instance", "cluster_link"];
                let known = value == "${__value.raw}" || of_field.is_some_and(|label| others.contains(&label));
                assert!(column.map_or(known, |column| columns.contains(column)), "{place}: {value}");
            }
            assert_eq!(passed, variables, "{place} sets every variable");
        }
    }
}

#[test]
fn rows_and_panels_that_texts_name_exist() {
    let mut checked = 0;
    let own = BOARDS.iter().map(|(path, board)| (*path, vec![board]));
    for (path, boards) in own.chain([(RULES, BOARDS.iter().map(|(_, board)| board).collect())]) {
        let text_ = read(path);
        for word in ["row ", "panel "] {
            for rest in text_.split(word).skip(1).filter(|rest| rest.starts_with(char::is_uppercase)) {
                let named = |panel: &Value| {
                    (panel["type"] == "row") == (word == "row ") && rest.starts_with(text(&panel["title"]))
                };
                assert!(boards.iter().any(|board| panels(board).any(named)), "{word}{}", rest.lines().next().unwrap());
                checked += 1;
            }
        }
    }
    assert!(checked >= 5, "{checked}");
}

#[test]
fn pictures_of_dashboards_are_small_and_linked() {
    /// The largest size of a picture, in bytes.
    const LARGEST: usize = 300 * 1024;
    for path in ["docs/images/fleet.png", "docs/images/videobridge.png"] {
        let picture = fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(read("README.md").contains(&format!("]({path})")), "{path}");
        assert!(picture.starts_with(b"\x89PNG") && picture.len() <= LARGEST, "{path}: {} bytes", picture.len());
    }
}

#[test]
fn stress_has_the_limits_of_the_alerts() {
    for (place, panel) in panels_of(&PANELS) {
        let of_panel =
            (text(&panel["title"]).contains("tress")).then_some(&panel["fieldConfig"]["defaults"]["thresholds"]);
        let of_column = overrides(panel).filter(|(name, _)| *name == "Stress").map(|(_, set)| set["thresholds"]);
        for limits in
            of_panel.filter(|_| panel["fieldConfig"]["defaults"]["unit"] == "percentunit").into_iter().chain(of_column)
        {
            let steps = list(&limits["steps"]).filter(|step| step["value"].as_f64() > Some(0.0));
            let found: Vec<_> = steps.map(|step| (step["value"].as_f64().unwrap(), text(&step["color"]))).collect();
            assert!(found.is_empty() || found == [(0.8, "orange"), (1.0, "red")], "{place}: {found:?}");
        }
    }
}

#[test]
fn axes_and_legends_fit_what_is_counted() {
    for (place, panel) in panels_of(&["timeseries"]) {
        let defaults = &panel["fieldConfig"]["defaults"];
        let calculated = text(&panel["options"]["legend"]["calcs"][0]);
        assert!(["max", "min"].contains(&calculated), "{place}: the legend shows {calculated}, not an extreme");
        let bounded = defaults["max"].is_number() || defaults["custom"]["axisSoftMax"].is_number();
        match text(&defaults["unit"]) {
            "short" => assert_eq!(defaults["decimals"], 0, "{place}: an axis of counts has no halves"),
            "percentunit" => assert!(bounded, "{place}: else all zeros go up to 10000%"),
            _ => {}
        }
    }
}

#[test]
fn lines_for_failures_are_not_green() {
    const BAD: [&str; 9] =
        ["fail", "drop", "disconnect", "no channel", "no DTLS", "loss", "oversend", "suspended", "stolen"];
    let mut checked = 0;
    for (place, panel) in panels_of(&["timeseries"]) {
        let legends = list(&panel["targets"]).map(|target| text(&target["legendFormat"]));
        for legend in legends.filter(|legend| BAD.iter().any(|bad| legend.contains(bad))) {
            // A pattern of an override is a prefix, or alternatives of prefixes.
            let matches = |pattern: &str| {
                let prefix = |one: &str| one.strip_suffix(".*").is_some_and(|prefix| legend.starts_with(prefix));
                pattern.split('|').any(|one| legend == one || prefix(one))
            };
            let set = overrides(panel).find(|(pattern, _)| matches(pattern));
            let set = set.and_then(|(_, set)| set.get("color").copied());
            let color = set.unwrap_or(&panel["fieldConfig"]["defaults"]["color"]);
            assert_eq!(color["mode"], "fixed", "{place}: {legend}");
            assert!(!text(&color["fixedColor"]).contains("green"), "{place}: {legend}");
            checked += 1;
        }
    }
    assert!(checked >= 10, "{checked}");
}

#[test]
fn restarts_are_found_across_an_outage() {
    // resets() needs both sides of the restart within its window, and $__rate_interval is often a minute.
    for path in DASHBOARDS {
        let restarts = all_queries().filter(|(place, _)| place.starts_with(path) && place.contains("Restarts"));
        let right = |query: &str| query.contains("[1d] offset $__interval") && !query.contains("resets(");
        let found: Vec<_> = restarts.map(|(place, query)| (right(&query), place)).collect();
        assert!(!found.is_empty() && found.iter().all(|(right, _)| *right), "{path}: {found:?}");
    }
}

// Rules

fn test_files() -> Vec<String> {
    let files = fs::read_dir(root().join(TESTS)).expect("tests of the rules");
    files.map(|file| format!("{TESTS}/{}", file.unwrap().file_name().into_string().unwrap())).collect()
}

/// The alerts of rules.yml by name.
fn alerts() -> BTreeMap<String, Yaml> {
    rules(RULES).into_iter().filter_map(|(_, rule)| Some((field(&rule, "alert")?.to_owned(), rule))).collect()
}

#[test]
fn alerts_have_severity_texts_and_a_runbook_section() {
    let runbook = read(RUNBOOK);
    let sections: BTreeMap<_, _> = runbook.split("\n## ").skip(1).filter_map(|rest| rest.split_once('\n')).collect();
    let mut names: BTreeSet<_> = sections.keys().map(|name| (*name).to_owned()).collect();
    assert!(names.remove("How the alerts treat failed scrapes"), "{names:?}");
    assert_eq!(names, alerts().into_keys().collect(), "sections of the runbook, and alerts");
    for (name, rule) in alerts() {
        assert!(["critical", "warning", "info"].contains(&field(&rule["labels"], "severity").unwrap()), "{name}");
        let annotation = |key| field(&rule["annotations"], key).unwrap_or_else(|| panic!("{name} has no {key}"));
        assert!(!annotation("summary").is_empty(), "{name}");
        for part in ["$value", "irst check"] {
            assert!(annotation("description").contains(part), "{name}: the description has no {part}");
        }
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOK}#{}", name.to_lowercase()));
        for part in ["**Meaning.**", "**Check.**", "**Do.**"] {
            assert!(sections[&*name].contains(part), "the runbook has no {part} for {name}");
        }
    }
}

#[test]
fn released_rules_link_to_the_runbook_of_the_release() {
    let script = root().join("deploy/prometheus/released.sh");
    let address = "https://example.org/owner/name";
    let printed = Command::new(script).env("REPOSITORY_ADDRESS", address).output().expect("a shell");
    let page = format!("{address}/blob/v{}/{RUNBOOK}", env!("CARGO_PKG_VERSION"));
    // The command at the head of the file names the path that it replaces.
    let (head, groups) =
        read(RULES).split_once("groups:").map(|(head, rest)| (head.to_owned(), rest.to_owned())).unwrap();
    assert!(head.contains(&format!("sed -i 's|{RUNBOOK}|")), "{head}");
    let expected = format!("{head}groups:{}", groups.replace(RUNBOOK, &page));
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), expected);
    assert_eq!(expected.matches(&page).count(), alerts().len());
}

#[test]
fn rules_match_on_all_labels_of_the_target() {
    for (record, rule) in rules(RULES) {
        let name = record.as_deref().or_else(|| field(&rule, "alert")).expect("a name");
        let query = field(&rule, "expr").expect("an expression");
        // Bridges can share job and instance. Only this rule is about several bridges, and names the labels that they share.
        let shared = "(cluster, namespace, job, region";
        for matched in query.split("on (").skip(1).chain(query.split("by (").skip(1)) {
            assert!(format!("({matched}").starts_with(shared), "{name}: {query}");
        }
        // "for" starts again when a scrape fails. A query in an annotation runs at another time than the rule, with the labels
        // that it names.
        assert!(rule["for"].is_badvalue(), "{name}: for");
        for (key, text) in rule["annotations"].as_hash().into_iter().flatten() {
            assert!(!text.as_str().unwrap().contains("query"), "{name}: {key:?}");
        }
    }
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let mut found = BTreeSet::new();
    for tests in test_files().into_iter().map(|file| yaml(&read(file))) {
        let tests = tests["tests"].as_vec().expect("tests").iter();
        for case in tests.flat_map(|test| test["alert_rule_test"].as_vec().into_iter().flatten()) {
            let fires = !case["exp_alerts"].as_vec().expect("exp_alerts").is_empty();
            found.insert((field(case, "alertname").expect("a name").to_owned(), fires));
        }
    }
    assert_eq!(found, alerts().into_keys().flat_map(|name| [(name.clone(), false), (name, true)]).collect());
}

#[test]
fn recording_rules_do_not_clash_with_exposed_names() {
    for name in recorded(RULES) {
        assert!(name.contains(':'), "{name}: a colon tells a recorded name from an exposed one");
    }
    let both: Vec<_> = recorded(LEGACY_RULES).intersection(&exposed()).cloned().collect();
    assert_eq!(both, Vec::<String>::new(), "names that the exporter itself exposes");
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
