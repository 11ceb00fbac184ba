//! Runs the pure part of a scrape: reading the report, making families, and rendering them. Nothing is timed here.
//! `make bench-instructions` runs this under callgrind, which counts instructions and calls of the allocator, and compares the counts
//! with the budgets.
//!
//! Usage: `instructions [NAMES FORMAT FILE]...`, with `standard` or `legacy` and `openmetrics` or `text`.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use jitsiexporter::metrics::family::Naming;
use jitsiexporter::metrics::format::Format;
use jitsiexporter::scrape::expose;

/// The allocator of the static builds, as in the program.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> Result<(), Box<dyn Error>> {
    // cargo adds --bench to what it runs.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    for case in arguments.chunks(3) {
        let [names, format, file] = case else { return Err("not NAMES FORMAT FILE".into()) };
        let names = match &**names {
            "standard" => Naming::Standard,
            "legacy" => Naming::Legacy,
            _ => return Err(format!("{names}: neither standard nor legacy").into()),
        };
        let format = match &**format {
            "openmetrics" => Format::OpenMetrics,
            "text" => Format::Text,
            _ => return Err(format!("{format}: neither openmetrics nor text").into()),
        };
        let body = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        // An uncounted pass first, because tables that are made once per process are not part of a scrape.
        pass(&body, names, format);
        counted_pass(&body, names, format);
    }
    Ok(())
}

/// The counted pass. callgrind finds it by this name, so it must remain a separate function.
#[inline(never)]
fn counted_pass(body: &[u8], names: Naming, format: Format) {
    pass(body, names, format);
}

fn pass(body: &[u8], names: Naming, format: Format) {
    // A fixed duration, because its digits are part of the work.
    let elapsed = || Duration::from_micros(250);
    black_box(expose(Ok(black_box(body)), elapsed, names, format));
}
