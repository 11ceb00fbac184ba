//! Files that options name.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::words::plain;

/// The largest file that is read, in bytes: a device may have no end. A file of all public root certificates has 220 KB.
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
