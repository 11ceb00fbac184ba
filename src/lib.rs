//! A Prometheus exporter for the Jitsi Videobridge: each GET of `/metrics` makes one GET of the bridge's statistics and
//! renders them. It does not poll, and remembers nothing between scrapes.
//!
//! This is a program. Its modules are public only for `main`, tests, benchmarks and fuzzing. Their interface is not stable, and
//! docs.rs shows only the modules that `main` uses.
//!
//! # The map
//!
//! Three folders, one for each layer, and the files that join them. A module uses only modules below it.
//!
//! ```text
//!  main ── cli                    what was typed -> Config
//!    │
//!  serve/                         an exporter's HTTP side; knows nothing of Jitsi
//!    │  ├── listen                  an address -> its sockets
//!    │  ├── http                    serving, and the graceful stop (hyper)
//!    │  │    ├── connections          limit, eviction, a thread for each connection (tokio)
//!    │  │    └── web_config/          TLS, client certificates, passwords (tokio-rustls, bcrypt, yaml-rust2, ...)
//!    │  └── request                 Request -> Response, what a handler sees
//!  exporter                       routes, permits, the budget of a scrape
//!    │  budget, names, format
//!  scrape                         one scrape, top to bottom:
//!    ├── bridge/                    bytes    = bridge.fetch(budget)          one blocking GET, or a second after 404 (ureq)
//!    └── metrics/                   bytes -> text, pure
//!         ├── family                  families = family::read(bytes, names)    what is exposed, under which name
//!         │    ├── report               JSON -> values (serde_json, humantime)
//!         │    ├── catalogue            the table: one row per statistic
//!         │    ├── distribution         arrays and buckets
//!         │    └── unknown              what the catalogue does not list
//!         └── render ── format        text     = render(families, format)      the two text formats (prometheus-client, dtoa, itoa)
//!              └── piece                pieces of text, made once
//! ```
//!
//! | to add | touch |
//! |---|---|
//! | a statistic | a row in [`metrics::catalogue`] |
//! | a kind of metric, or a unit | the types `Kind` and `Unit` in [`metrics::catalogue`] |
//! | an option | a row of [`cli::OPTIONS`] and a field of [`cli::Config`] |
//! | a way to fail | a row in the table of [`error`]: reason, cause, remedy; and where it occurs |
//! | a page | a route in [`exporter`] |
//! | a key of the web configuration | `serve::web_config::settings`, and where it takes effect |
//!
//! | other modules | |
//! |---|---|
//! | [`error`] | why a scrape failed |
//! | [`file`](mod@file) | files that options name |
//! | [`lock`] | locking a mutex that a panic may have poisoned |
//! | [`log`] | one line at a time to standard error |
//! | [`resolve`] | host names -> addresses (dns-lookup) |
//! | [`story`] | which scrapes are logged |
//! | [`words`] | quoting of typed text and system errors for the log |
//! | [`demo`] | the simulated bridge of `--demo` |
//!
//! Each third-party package is used by one module, which the map names in parentheses. The exceptions are tokio ([`serve`] and
//! `main`), base64 ([`serve`] and [`bridge`]) and rustix ([`log`] and [`bridge`]).
//! `make lint` checks this.

pub mod bridge;
pub mod cli;
pub mod demo;
#[cfg_attr(docsrs, doc(hidden))]
pub mod error;
pub mod exporter;
#[cfg_attr(docsrs, doc(hidden))]
pub mod file;
#[cfg_attr(docsrs, doc(hidden))]
pub mod lock;
pub mod log;
pub mod metrics;
#[cfg_attr(docsrs, doc(hidden))]
pub mod resolve;
#[cfg_attr(docsrs, doc(hidden))]
pub mod scrape;
pub mod serve;
#[cfg_attr(docsrs, doc(hidden))]
pub mod story;
#[cfg_attr(docsrs, doc(hidden))]
pub mod words;
