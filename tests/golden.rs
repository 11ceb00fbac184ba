//! Golden files: the whole exposition of each fixture, byte for byte. `UPDATE=1 cargo test` rewrites them; then review the
//! difference.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jitsiexporter::family::Names::{self, Legacy, Standard};
use jitsiexporter::format::Format::{self, OpenMetrics, Text};
use jitsiexporter::scrape::expose;

/// The one line that differs from scrape to scrape is the duration; here it is always the same.
fn exposition(fixture: &Path, names: Names, format: Format) -> String {
    let body = fs::read(fixture).unwrap();
    expose(Ok(&body), || Duration::from_millis(1), names, format).text
}

fn expected(fixture: &Path, names: Names, format: Format) -> PathBuf {
    let names = if names == Standard { "standard" } else { "legacy" };
    let format = if format == OpenMetrics { "openmetrics" } else { "text" };
    let relative = fixture.strip_prefix(support::fixtures()).unwrap().with_extension(format!("{names}.{format}"));
    support::fixtures().join("expected").join(relative)
}

fn compare(folder: &Path, variants: &[(Names, Format)]) {
    let mut differences = Vec::new();
    for fixture in support::json_files(folder) {
        for &(names, format) in variants {
            let path = expected(&fixture, names, format);
            let actual = exposition(&fixture, names, format);
            if std::env::var_os("UPDATE").is_some() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &actual).unwrap();
            }
            let golden = fs::read_to_string(&path).unwrap_or_default();
            if golden != actual {
                let line = golden.lines().zip(actual.lines()).find(|(golden, actual)| golden != actual);
                differences.push(format!("{}: {line:?}", path.display()));
            }
        }
    }
    assert!(differences.is_empty(), "UPDATE=1 rewrites the golden files; first differing lines:\n{differences:#?}");
}

#[test]
fn each_era_in_both_namings_and_both_formats() {
    compare(&support::fixtures(), &[(Standard, OpenMetrics), (Standard, Text), (Legacy, OpenMetrics), (Legacy, Text)]);
}

#[test]
fn what_running_bridges_sent() {
    compare(&support::fixtures().join("captured"), &[(Standard, OpenMetrics), (Legacy, Text)]);
}

/// Moments in Unix time: four in the morning, halfway up, the busiest hour, half a second before the year 2028, and the first
/// moment of all, before which there is nothing to count.
const MOMENTS: [f64; 5] = [1_790_395_200.0, 1_790_416_863.25, 1_790_438_400.0, 1_830_297_599.5, 1_704_067_200.0];

#[test]
fn the_day_of_the_demo() {
    let report = |now| jitsiexporter::demo::report(now).replace(',', ",\n") + "\n";
    let actual: String = MOMENTS.into_iter().map(report).collect();
    let path = support::fixtures().join("demo.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &actual).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let line = golden.lines().zip(actual.lines()).find(|(golden, actual)| golden != actual);
    assert!(golden == actual, "UPDATE=1 rewrites {}; first differing line: {line:?}", path.display());
}

#[test]
fn no_golden_file_is_left_over() {
    let folder = support::fixtures();
    for (folder, variants) in [(folder.clone(), 4), (folder.join("captured"), 2)] {
        let golden = folder.strip_prefix(support::fixtures()).unwrap();
        let golden = fs::read_dir(support::fixtures().join("expected").join(golden)).unwrap();
        let golden = golden.filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
        assert_eq!(golden, support::json_files(&folder).len() * variants, "{}", folder.display());
    }
}
