//! Any report of a bridge: in standard and in legacy names, both formats are valid, agree, and account for every value.

#![no_main]

#[path = "../../tests/support/exposition.rs"]
mod exposition;

use jitsiexporter::metrics::family::Naming;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for names in [Naming::Standard, Naming::Legacy] {
        exposition::check_scrape(body, names);
    }
});
