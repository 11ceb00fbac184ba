//! The log: lines on standard error, for systemd, a container engine or a person.

use std::fmt;
use std::io::{self, Write as _};

/// Writes one line: control characters, such as a line break in a quoted argument, become spaces. Write errors are ignored:
/// `eprintln` would panic on a closed standard error.
pub fn line(text: fmt::Arguments) {
    let line = text.to_string().replace(char::is_control, " ");
    let _ = writeln!(io::stderr().lock(), "jitsiexporter: {line}");
}
