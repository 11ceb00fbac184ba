//! An exporter's HTTP side: listeners, connections, TLS, passwords and the graceful stop. It does not know what is
//! served: a [`http::Handler`] makes the responses. `make lint` checks that.

pub mod http;
pub mod listen;
pub mod web_config;
