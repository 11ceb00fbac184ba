//! What the log has to say once about a bridge.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is noted. Each kind is noted once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// The first path answers.
    First = 1,
    /// The second path answers, after 404 for the first.
    Second = 2,
    /// The host name has several addresses.
    Addresses = 4,
}

/// Notes that wait for the log.
#[derive(Debug, Default)]
pub(super) struct Notes {
    noted: AtomicU8,
    waiting: Mutex<Vec<String>>,
}

impl Notes {
    /// Notes something, if it has not been noted before.
    pub(super) fn add(&self, note: Note, text: impl FnOnce() -> String) {
        let bit = note as u8;
        if self.noted.load(Ordering::Relaxed) & bit == 0 && self.noted.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(text());
        }
    }

    /// The notes that nobody has taken yet.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
