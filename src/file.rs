//! Files that options name.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The largest file that is read, in bytes, because a device has no end. The public root certificates have 220 KB.
const MAX: u64 = 4 << 20;

/// Reads a whole file.
///
/// # Errors
///
/// If it cannot be read or is larger than 4 MiB.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX + 1).read_to_end(&mut content));
    read.map_err(|error| format!("cannot be read: {}", plain(&error)))?;
    if content.len() as u64 > MAX {
        return Err(format!("is larger than {} MiB", MAX >> 20));
    }
    Ok(content)
}

/// An error of the operating system in its own words, without those of Rust.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let words = words.strip_prefix("failed to lookup address information: ").unwrap_or(words);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
