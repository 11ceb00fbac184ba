//! Notes about a bridge that are logged once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::lock::lock;

/// The kinds of notes. Each is logged once.
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
    /// Adds a note, unless one of this kind was added before.
    pub(super) fn add(&self, note: Note, text: impl FnOnce() -> String) {
        let bit = note as u8;
        if self.noted.load(Ordering::Relaxed) & bit == 0 && self.noted.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            lock(&self.waiting).push(text());
        }
    }

    /// Removes the notes that wait for the log, and returns them.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.waiting))
    }
}
