//! An exporter's HTTP side: listeners, connections, TLS, passwords and the graceful stop. A [`http::Handler`] makes the responses.
//! It does not know which program it serves; `make lint` checks this.

mod connections;
pub mod http;
pub mod listen;
pub mod request;
pub mod web_config;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use connections::MAX_CONNECTIONS;

/// Locks a mutex, also after a panic in another thread. For values that a panic cannot leave half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
