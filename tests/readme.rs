//! The README's tables are those of the code. `UPDATE=1 cargo test` rewrites them.

use std::fmt::Write as _;

use jitsiexporter::catalogue::{OWN, ROWS};
use jitsiexporter::{bridge, cli, family};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

fn readme() -> String {
    std::fs::read_to_string(PATH).unwrap()
}

/// Compares, or rewrites, all sections at once, so that tests that run beside each other do not overwrite one another.
#[test]
fn tables_and_help_are_those_of_the_code() {
    let mut expected = readme();
    for (name, content) in [
        ("options", options()),
        ("help", format!("```\n{}```\n", cli::help())),
        ("own", own()),
        ("metrics", metrics()),
        ("targets", targets()),
    ] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let (before, rest) = expected.split_once(&begin).unwrap_or_else(|| panic!("{begin} is missing"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{end} is missing"));
        expected = format!("{before}{begin}{content}{end}{after}");
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PATH, &expected).unwrap();
    }
    let actual = readme();
    let differing = actual.lines().zip(expected.lines()).find(|(actual, expected)| actual != expected);
    assert!(actual == expected, "UPDATE=1 rewrites the README; first differing line: {differing:?}");
}

fn options() -> String {
    let mut table = String::from("| option | default | environment | meaning |\n|---|---|---|---|\n");
    for option in cli::options() {
        let name = [Some(option.name), option.value].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let code = |text: Option<String>| text.map(|text| format!("`{text}`")).unwrap_or_default();
        let description = option.description.replace('<', "&lt;").replace('>', "&gt;");
        let (default, variable) = (code(option.default), code(option.variable));
        writeln!(table, "| `{name}` | {default} | {variable} | {description} |").unwrap();
    }
    table
}

fn own() -> String {
    let mut table = String::from("| metric | meaning |\n|---|---|\n");
    for own in OWN {
        let label = match own.name {
            "jitsi_scrape_error" => "{reason=\"…\"}",
            "jitsi_exporter_build_info" => "{version=\"…\"}",
            _ => "",
        };
        let only = if own.name == "jitsi_scrape_error" { " Only there when `jitsi_up` is 0." } else { "" };
        writeln!(table, "| `{}{label}` | {}{only} |", own.name, own.help).unwrap();
    }
    table
}

/// The targets of the Makefile that have a `##` comment.
fn targets() -> String {
    let makefile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
    let mut table = String::from("| target | |\n|---|---|\n");
    for line in makefile.lines() {
        let Some((rule, comment)) = line.split_once(" ## ") else { continue };
        let target = rule.split(':').next().expect("split gives one at least");
        writeln!(table, "| `make {target}` | {comment} |").unwrap();
    }
    table
}

fn metrics() -> String {
    let mut table = String::from("| metric | type | key of the bridge | meaning |\n|---|---|---|---|\n");
    for row in ROWS {
        let kind = format!("{:?}", row.kind).to_lowercase();
        // Behind the key, the help text only has the unit of the bridge.
        let (help, unit) = row.legacy.help.rsplit_once(" (").expect("help ends with the key");
        let unit = unit.trim_start_matches(row.key).trim_start_matches(", ").trim_end_matches(").");
        let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
        writeln!(table, "| `{}` | {kind} | `{}`{unit} | {help} |", row.standard.name, row.key).unwrap();
    }
    table
}

#[test]
fn figures_in_the_text_are_those_of_the_code() {
    let readme = readme();
    assert!(readme.contains(&format!("All {} statistics", ROWS.len())));
    assert!(readme.contains(&format!("more than {} KiB", bridge::MAX_BODY / 1024)));
    assert!(readme.contains(&format!("more than {} bytes\n  and what comes after 2,048 unknown", family::MAX_KEY)));
    assert!(readme.contains("unknown statistics or 64 KiB of their keys"));
    assert_eq!((family::MAX_UNKNOWN, family::MAX_KEYS), (2048, 64 * 1024));
}
