//! An exporter's HTTP side: listeners, connections, TLS, passwords and the graceful stop. It does not know what is
//! served: a [`http::Handler`] makes the responses. `make lint` checks that.

mod connections;
pub mod http;
pub mod listen;
pub mod request;
pub mod web_config;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use connections::MAX_CONNECTIONS;

/// Locks a value that a panic cannot leave half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
