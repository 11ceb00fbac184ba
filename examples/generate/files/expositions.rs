//! The expected exposition of each fixture ("golden files"), reports of the demo's bridge, and the catalogue.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use jitsiexporter::demo;
use jitsiexporter::metrics::catalogue::{ROWS, Source};
use jitsiexporter::metrics::family::Naming::{Legacy, Standard};
use jitsiexporter::metrics::format::Format::{OpenMetrics, Text};
use jitsiexporter::scrape::expose;

use super::{File, files_below, has_extension, root};

const FIXTURES: &str = "fixtures/";
pub const EXPECTED: &str = "fixtures/expected/";

pub fn files() -> Vec<File> {
    let mut files = vec![demo_reports(), catalogue()];
    for fixture in files_below(FIXTURES).into_iter().filter(|path| has_extension(path, "json")) {
        let captured = fixture.starts_with("fixtures/captured/");
        // There are many captured reports, and they are similar: only the two variants that differ most.
        let variants = [(Standard, OpenMetrics), (Legacy, Text), (Standard, Text), (Legacy, OpenMetrics)];
        for (names, format) in variants.into_iter().take(if captured { 2 } else { 4 }) {
            let body = fs::read(root().join(&fixture)).expect("the file was just found");
            // The duration is the only sample that differs from scrape to scrape.
            let exposition = expose(Ok(&body), || Duration::from_millis(1), names, format).text;
            let mut exposition = String::from_utf8(exposition).expect("it is UTF-8");
            // The commit of the build also differs.
            if let Some(revision) = option_env!("BUILD_REVISION") {
                exposition = exposition.replace(&format!(",revision=\"{revision}\""), "");
            }
            let name = fixture.trim_start_matches(FIXTURES).trim_end_matches(".json");
            let names = if names == Standard { "standard" } else { "legacy" };
            let format = if format == OpenMetrics { "openmetrics" } else { "text" };
            files.push(File::new(format!("{EXPECTED}{name}.{names}.{format}"), exposition));
        }
    }
    files
}

/// Unix times in milliseconds: the start of the simulation, when every counter is 0; a Tuesday at 3:00, 6:45 and 10:00; and half
/// a second before 2028.
const MOMENTS: [u64; 5] =
    [1_793_577_600_000, 1_794_279_600_000, 1_794_293_100_250, 1_794_304_800_000, 1_830_297_599_500];

fn demo_reports() -> File {
    let reports = MOMENTS.map(Duration::from_millis).map(|now| [demo::stats(now), demo::native(now)]);
    let content = reports.concat().into_iter().map(|report| report.replace(',', ",\n") + "\n").collect();
    File::new(format!("{FIXTURES}demo.txt"), content)
}

/// The catalogue, for tests that are not written in Rust.
fn catalogue() -> File {
    let mut table = String::from("metric\tkind\tbase_unit\tstats_key\tstats_unit\tnative_key\tnative_unit\thelp\n");
    for row in ROWS {
        let source = |source: Option<Source>| {
            source.map_or_else(|| "\t".to_owned(), |Source { key, unit }| format!("{key}\t{unit:?}"))
        };
        let (stats, native) = (source(row.stats), source(row.native));
        let (name, unit, help) = (row.standard.name, row.standard.unit.unwrap_or_default(), row.legacy.help);
        writeln!(table, "{name}\t{:?}\t{unit}\t{stats}\t{native}\t{help}", row.kind).unwrap();
    }
    File::new(format!("{FIXTURES}catalogue.tsv"), table)
}
