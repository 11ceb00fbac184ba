//! An exporter's HTTP side: listeners, connections, TLS, passwords and the graceful stop. A [`http::Handler`] makes the responses.
//! It does not know which program it serves; `make lint` checks this.

mod connections;
pub mod http;
pub mod listen;
pub mod request;
pub mod web_config;

pub use connections::MAX_CONNECTIONS;
