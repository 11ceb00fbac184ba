//! The names of the older exporters beside today's: a table for people and recording rules for Prometheus.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jitsiexporter::catalogue::{Kind, OWN, ROWS, Row, Source, Unit, unprefixed};

use super::File;

pub fn files() -> Vec<File> {
    vec![File::new("deploy/prometheus/LEGACY.md", table()), File::new("deploy/prometheus/legacy.yml", rules())]
}

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
    // Older exporters read /colibri/stats only.
    let rows = ROWS.iter().enumerate().filter_map(|(index, row)| Some((index, row, row.stats?)));
    for (index, row, Source { key, unit }) in rows {
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
                note: "The older exporters never exposed it: it is not a number.",
            }),
            Kind::Info => {
                let others = ROWS.iter().filter(|other| other.kind == Kind::Info && other.primary().key != key);
                let others: Vec<_> = others.map(|other| other.primary().key).collect();
                let query = format!("max without ({}) ({}{{{}!=\"\"}})", others.join(", "), row.standard.name, key);
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
                let query = in_old_unit(row.standard.name, unit);
                old.push(simple(row.legacy.name, row.standard.name, query.clone(), ""));
                if let Some(unprefixed) = unprefixed(row) {
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

fn table() -> String {
    let mut text = String::from(
        "# From the names of the older exporters to today's\n\n\
         Written by `make generate` from the catalogue; do not edit.\n\n\
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

fn rules() -> String {
    let mut text = String::from(
        "# Written by `make generate` from the catalogue; do not edit.\n\
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
