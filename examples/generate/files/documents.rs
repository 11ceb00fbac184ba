//! The marked blocks in documents: `<!-- NAME:begin -->` to `<!-- NAME:end -->` in any Markdown file.

use std::fmt::Write as _;

use jitsiexporter::cli::{self, CliOption};
use jitsiexporter::error;
use jitsiexporter::metrics::catalogue::{OWN, ROWS, Source};

use super::{File, files_below, has_extension, options, read, root};

/// A block's name and what makes its content.
type Block = (&'static str, fn() -> String);

/// Every block that a document may have.
const BLOCKS: [Block; 6] = [
    ("options", table_of_options),
    ("help", || format!("```\n{}```\n", cli::help())),
    ("own", own),
    ("metrics", metrics),
    ("reasons", reasons),
    ("targets", targets),
];

/// The documents that have a block, with its present content.
pub fn files() -> Vec<File> {
    let places = ["README.md", "CONTRIBUTING.md"].into_iter().filter(|path| root().join(path).exists());
    let mut documents: Vec<_> = places.map(str::to_owned).collect();
    documents.extend(["docs", "deploy"].into_iter().flat_map(files_below).filter(|path| has_extension(path, "md")));
    let files = documents.into_iter().filter_map(|path| {
        let text = read(&path);
        text.contains(":begin -->").then(|| File { content: filled(&path, &text), path })
    });
    files.collect()
}

/// A block that `make readers-table` writes, because it needs the readers.
const READERS: &str = "readers";

fn filled(path: &str, text: &str) -> String {
    const BEGIN: &str = ":begin -->\n";
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let name = before.rsplit_once("<!-- ").map_or("", |(_, name)| name);
        let end = format!("<!-- {name}:end -->");
        let (now, after) = after.split_once(&end).unwrap_or_else(|| panic!("{path}: {end} is missing"));
        let content = match BLOCKS.iter().find(|(known, _)| *known == name) {
            Some((_, content)) => content(),
            None if name == READERS => now.to_owned(),
            None => panic!("{path}: there is no block {name:?}"),
        };
        filled.extend([before, BEGIN, &content, &end]);
        rest = after;
    }
    filled + rest
}

fn table_of_options() -> String {
    let mut table = String::from("| option | default | environment | meaning |\n|---|---|---|---|\n");
    for CliOption { name, value, default, variable, help, .. } in options::own() {
        let option = format!("--{name} {value}");
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let help = help.replace('<', "&lt;").replace('>', "&gt;");
        writeln!(table, "| `{}` | {} | {} | {help} |", option.trim_end(), code(default), code(variable)).unwrap();
    }
    table
}

/// The metrics about the scrape.
fn own() -> String {
    let mut table = String::from("| metric | meaning |\n|---|---|\n");
    for own in OWN {
        let label = match own.name {
            "jitsi_scrape_error" => "{reason=\"…\"}",
            "jitsi_exporter_build_info" => "{version=\"…\", revision=\"…\"}",
            _ => "",
        };
        let more = if own.name == "jitsi_scrape_error" {
            let mut reasons: Vec<_> = error::table().map(|row| format!("`{}`", row.reason)).collect();
            reasons.dedup();
            format!(" Present only while `jitsi_up` is 0. `reason` is one of {}.", reasons.join(", "))
        } else {
            String::new()
        };
        writeln!(table, "| `{}{label}` | {}{more} |", own.name, own.help).unwrap();
    }
    table
}

/// The metrics about the bridge.
fn metrics() -> String {
    let mut table = String::from(
        "| metric | type | key in `/colibri/stats` | key in the bridge's `/metrics` | meaning |\n|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let (help, _) = row.legacy.help.rsplit_once(" (").expect("help ends with the keys");
        let source = |source: Option<Source>| {
            let Some(Source { key, unit }) = source else { return String::new() };
            let unit = unit.in_help().strip_prefix(", ").map(|unit| format!(" ({unit})")).unwrap_or_default();
            format!("`{key}`{unit}")
        };
        let (stats, native) = (source(row.stats), source(row.native));
        writeln!(table, "| `{}` | {} | {stats} | {native} | {help} |", row.standard.name, row.kind.type_name())
            .unwrap();
    }
    table.replace("|  |", "| |")
}

/// Why a scrape fails, and what to do.
fn reasons() -> String {
    let mut table = String::from("| reason | what the log says | what to do |\n|---|---|---|\n");
    for error::Explanation { reason, what, remedy } in error::table() {
        writeln!(table, "| `{reason}` | {what} | {remedy} |").unwrap();
    }
    table
}

/// The targets of the Makefile that have a `##` comment.
fn targets() -> String {
    let mut table = String::from("| target | |\n|---|---|\n");
    for line in read("Makefile").lines() {
        let Some((rule, comment)) = line.split_once(" ## ") else { continue };
        let target = rule.split(':').next().expect("split gives one at least");
        writeln!(table, "| `make {target}` | {comment} |").unwrap();
    }
    table
}
