//! The generated files: what each of them should contain.

mod debian;
mod documents;
mod expositions;
mod legacy;
mod options;

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the files go.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A generated file.
pub struct File {
    /// Relative to the root.
    pub path: String,
    pub content: String,
}

impl File {
    fn new(path: impl Into<String>, content: String) -> Self {
        Self { path: path.into(), content }
    }
}

/// All generated files. The documents are written by hand but for the marked blocks in them.
pub fn all() -> Vec<File> {
    let mut files = options::files();
    files.extend(legacy::files());
    files.extend(debian::files());
    files.extend(expositions::files());
    files.extend(documents::files());
    files
}

/// Expected expositions whose fixture is gone.
pub fn leftover() -> Vec<String> {
    let wanted: Vec<_> = expositions::files().into_iter().map(|file| file.path).collect();
    files_below(expositions::EXPECTED).into_iter().filter(|path| !wanted.contains(path)).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files in a folder and below it, sorted, relative to the root. None if there is no such folder.
fn files_below(folder: &str) -> Vec<String> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                collect(&entry.path(), found)?;
            } else {
                found.push(entry.path());
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    match collect(&root().join(folder), &mut found) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{folder}: {error}"),
        _ => {}
    }
    let relative = found.iter().map(|path| path.strip_prefix(root()).expect("below the root").to_str().expect("UTF-8"));
    let mut relative: Vec<_> = relative.map(str::to_owned).collect();
    relative.sort();
    relative
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}
