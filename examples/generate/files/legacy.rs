//! The legacy names and their standard names: a table for people, recording rules for Prometheus.

use std::fmt::Write as _;

use jitsiexporter::metrics::catalogue::{Kind, ROWS, Source, Unit, unprefixed};

use super::File;

pub fn files() -> Vec<File> {
    vec![File::new("deploy/prometheus/LEGACY.md", table()), File::new("deploy/prometheus/legacy.yml", rules())]
}

/// A legacy name and the query for its value.
struct Old {
    /// The legacy name, with labels if the table shows them.
    name: String,
    /// The standard name.
    current: String,
    /// The query for the legacy value, if there is one.
    query: Option<String>,
    /// The recording rules: label and expression. Empty if both names are the same.
    rules: Vec<(Option<(&'static str, String)>, String)>,
    /// The remark in the table.
    note: &'static str,
}

/// A query that converts a value to the legacy unit.
fn in_old_unit(name: &str, unit: Unit) -> String {
    match unit.ratio() {
        (1, 1) => name.to_owned(),
        (1, over) => format!("{name} * {over}"),
        (times, _) => format!("{name} / {times}"),
    }
}

/// The index of the last element of the array. In 2016 it had 15 elements.
const LAST_SIZE: usize = 21;
const LAST_SIZE_2016: usize = 14;

/// The number of conferences of exactly this size, from cumulative buckets.
fn of_size(name: &str, size: usize) -> String {
    let upto = |le: &str| format!("{name}_bucket{{le=\"{le}\"}}");
    let exactly = |le: &str| format!("{} - ignoring (le) {}", upto(le), upto(&format!("{}.0", size - 1)));
    match size {
        0 => format!("sum without (le) ({})", upto("0.0")),
        LAST_SIZE => exactly("+Inf"),
        // Without this bucket, the array ended here: "that many or more".
        LAST_SIZE_2016 => {
            let bucket = format!("{size}.0");
            format!("{} or ({}) unless ignoring (le) {}", exactly(&bucket), exactly("+Inf"), upto(&bucket))
        }
        _ => exactly(&format!("{size}.0")),
    }
}

/// A name without a query.
fn old(name: &str, current: &str, note: &'static str) -> Old {
    Old { name: name.to_owned(), current: current.to_owned(), query: None, rules: Vec::new(), note }
}

/// A name with a query. It gets a rule, unless it is a standard name too, of the same metric or of another one.
fn simple(name: &str, current: &str, query: String) -> Old {
    let taken = ROWS.iter().any(|row| row.standard.name == name);
    let note = if taken && name != query { "No rule: as a standard name it means something else." } else { "" };
    let rules = if taken || name == query { Vec::new() } else { vec![(None, query.clone())] };
    Old { query: Some(query), rules, ..old(name, current, note) }
}

fn old_names() -> Vec<Old> {
    let mut names = Vec::new();
    // Older exporters read /colibri/stats only.
    let rows = ROWS.iter().enumerate().filter_map(|(index, row)| Some((index, row, row.stats?)));
    for (index, row, Source { key, unit }) in rows {
        let (name, current) = (row.legacy.name, row.standard.name);
        let first_of_name = ROWS[..index].iter().all(|other| other.standard.name != current);
        match row.kind {
            Kind::Timestamp => {
                names.push(old(name, current, "The older exporters never exposed it: it is not a number."));
            }
            Kind::Info => {
                let others = ROWS.iter().filter(|other| other.kind == Kind::Info && other.primary().key != key);
                let others: Vec<_> = others.map(|other| other.primary().key).collect();
                names.push(simple(
                    name,
                    current,
                    format!("max without ({}) ({current}{{{key}!=\"\"}})", others.join(", ")),
                ));
            }
            Kind::Gauge | Kind::Boolean | Kind::Counter if !first_of_name => {
                let note = "Two legacy names have one standard name. Few releases used this one: use the other.";
                names.push(old(name, current, note));
            }
            Kind::Gauge | Kind::Boolean | Kind::Counter => {
                let query = in_old_unit(current, unit);
                let all = [Some(name), unprefixed(row).map(|unprefixed| unprefixed.name)];
                names.extend(all.into_iter().flatten().map(|name| simple(name, current, query.clone())));
            }
            Kind::GaugeHistogram => {
                let rule = |size: usize| (Some(("conference_size", size.to_string())), of_size(current, size));
                let note = "Buckets are cumulative: the number of conferences of one size is a difference.";
                names.push(Old {
                    query: Some(of_size(current, 3)),
                    rules: (0..=LAST_SIZE).map(rule).collect(),
                    ..old(&format!("{name}{{conference_size=\"3\"}}"), &format!("{current}_bucket"), note)
                });
            }
            Kind::Histogram => names.extend(row.kind.sample_suffixes().iter().map(|suffix| {
                let current = format!("{current}{suffix}");
                simple(&format!("{name}{suffix}"), &current, current.clone())
            })),
        }
    }
    names
}

fn table() -> String {
    let mut text = String::from(
        "# Legacy names and standard names\n\n\
         Generated from the catalogue by `make generate`; do not edit.\n\n\
         The *legacy names* are those of the older exporters: each key of the bridge as `jitsi_<key>`, in the unit in which the bridge\n\
         sends it. The *standard names* of this exporter are in base units, and counters end in `_total`. The table lists the standard\n\
         name for each legacy name, and a query for the legacy value. There are three ways to keep a dashboard that uses legacy names:\n\n\
         - edit it with this table;\n\
         - load [legacy.yml](legacy.yml) into Prometheus: recording rules for each legacy name that is not a standard name. They record\n\
         \x20 from the time at which they are loaded, and lag by one evaluation;\n\
         - start the exporter with `--legacy-names`, so that it exposes the legacy names. The dashboards and rules in this repository need\n\
         \x20 the standard names.\n\n\
         `jitsi_fetch_errors` of jitsiexporter (Go) counted failed fetches. The failed scrapes of the last hour, by reason, are\n\
         `count_over_time(jitsi_scrape_error[1h])`.\n\n\
         Before 2.1-158 the bridge sent `octo_receive_bitrate` and `octo_send_bitrate` in kilobits per second. The query returns the\n\
         number that the bridge sent, as the older exporters do.\n\n\
         | legacy name | standard name | legacy value | |\n|---|---|---|---|\n",
    );
    for old in old_names() {
        let query = match &old.query {
            Some(query) if *query == old.name => "the same".to_owned(),
            Some(query) => format!("`{query}`"),
            None => "none".to_owned(),
        };
        let line = format!("| `{}` | `{}` | {query} | {} |", old.name, old.current, old.note);
        writeln!(text, "{}", line.replace("|  |", "| |")).unwrap();
    }
    text
}

fn rules() -> String {
    let mut text = String::from(
        "# Generated from the catalogue by `make generate`; do not edit.\n\
         #\n\
         # Recording rules for dashboards that use the legacy names. LEGACY.md lists all of them, also those that are standard names.\n\
         # Do not use the rules together with --legacy-names, or with an older exporter under the same job and instance: both would\n\
         # write the same series.\n\
         groups:\n  - name: jitsi-legacy\n    rules:\n",
    );
    for old in old_names() {
        let name = old.name.split('{').next().expect("split gives one at least");
        for (label, query) in &old.rules {
            // A plain YAML scalar must not start with a brace or a quote, or contain ": " or " #".
            assert!(
                !query.contains(": ") && !query.contains(" #") && query.starts_with(char::is_alphabetic),
                "{query}"
            );
            writeln!(text, "      - record: {name}\n        expr: {query}").unwrap();
            if let Some((label, value)) = label {
                writeln!(text, "        labels:\n          {label}: \"{value}\"").unwrap();
            }
        }
    }
    text
}
