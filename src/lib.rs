//! A Prometheus exporter for the Jitsi Videobridge: each GET of `/metrics` makes one GET of the bridge's statistics and
//! renders them. It does not poll, and remembers nothing between scrapes.
//!
//! This is a program. Its modules are public for `main`, tests, benchmarks and fuzzing only; they have no stable interface, and
//! docs.rs shows only those that `main` uses.
//!
//! # The map
//!
//! ```text
//!  main ── cli                  what was typed -> Config
//!    │     listen               an address -> its sockets
//!    │
//!   http                        listeners, connections, graceful stop (hyper); a thread for each connection
//!    │ └── web_config           TLS, client certificates, passwords (tokio-rustls, bcrypt, yaml-rust2, ...)
//!    │  Request, Response
//!  exporter                     routes, permits, the budget of a scrape
//!    │  budget, names, format
//!  scrape                       one scrape, top to bottom:
//!    ├── bridge                   bytes    = bridge.fetch(budget)          one blocking GET (ureq)
//!    ├── family                   families = family::read(bytes, names)    what is exposed, under which name
//!    │    ├── report                JSON -> values (serde_json, humantime)
//!    │    ├── catalogue             the table: one row per statistic
//!    │    ├── distribution          arrays and buckets
//!    │    └── unknown               what the catalogue does not have
//!    └── render ── format         text     = render(families, format)      the two text formats (prometheus-client)
//! ```
//!
//! | to add | touch |
//! |---|---|
//! | a statistic | a row in [`catalogue`] |
//! | an option | a row of [`cli::OPTIONS`] and a field of [`cli::Config`] |
//! | a way to fail | a row in the table of [`error`]: reason, cause, remedy; and where it occurs |
//! | a page | a route in [`exporter`] |
//! | a key of the web configuration | `web_config::file`, and where it takes effect |
//!
//! Everything between fetch and text is a pure function. Not on the map are [`error`], why a scrape failed; [`file`](mod@file), files that
//! options name; [`log`], one line at a time to standard error; and [`demo`], the simulated bridge of `--demo`. Each third-party
//! package is used by one module, as the brackets above say (tokio by `http`, `web_config` and `main`); `make lint` checks that.

pub mod bridge;
#[cfg_attr(docsrs, doc(hidden))]
pub mod catalogue;
pub mod cli;
pub mod demo;
#[cfg_attr(docsrs, doc(hidden))]
pub mod distribution;
#[cfg_attr(docsrs, doc(hidden))]
pub mod error;
pub mod exporter;
#[cfg_attr(docsrs, doc(hidden))]
pub mod family;
#[cfg_attr(docsrs, doc(hidden))]
pub mod file;
pub mod format;
pub mod http;
pub mod listen;
pub mod log;
#[cfg_attr(docsrs, doc(hidden))]
pub mod render;
#[cfg_attr(docsrs, doc(hidden))]
pub mod report;
#[cfg_attr(docsrs, doc(hidden))]
pub mod scrape;
pub mod unknown;
pub mod web_config;
