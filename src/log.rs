//! The log: lines on standard error, for systemd, a container engine or a person.

use std::fmt;
use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Writes one line: control characters, such as a line break in a quoted argument, become spaces. Write errors are ignored:
/// `eprintln` would panic on a closed standard error.
///
/// A line is lost if standard error is a pipe or a socket that is full because its reader hangs: waiting for it would hold up
/// scrapes and the stop.
pub fn line(text: fmt::Arguments) {
    let line = format!("jitsiexporter: {}\n", text.to_string().replace(char::is_control, " "));
    let mut log = io::stderr().lock();
    if poll(&mut [PollFd::new(&log, PollFlags::OUT)], Some(&NO_WAIT)) != Ok(0) {
        let _ = log.write_all(line.as_bytes());
    }
}
