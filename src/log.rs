//! The log: lines on standard error, for systemd, a container engine or a person.

use std::fmt;
use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The longest line, in bytes: Linux's PIPE_BUF. A pipe that is ready accepts that much without blocking.
const MAX_LINE: usize = 4096;

/// Marks the end of a line that was cut.
const CUT: &str = " ...\n";

/// Writes one line. Control characters, such as a line break in a quoted argument, become spaces. Write errors are ignored:
/// `eprintln!` would panic if standard error is closed.
///
/// If standard error is a pipe or socket that is full because its reader hangs, the line is dropped: waiting would delay scrapes
/// and the stop. For the same reason, a line of more than 4096 bytes is cut.
pub fn line(text: fmt::Arguments) {
    let line = format_line(&text.to_string());
    let mut log = io::stderr().lock();
    let ready = poll(&mut [PollFd::new(&log, PollFlags::OUT)], Some(&NO_WAIT));
    // A poll that a signal interrupts says nothing. It also fails if the limit of open files is 0, and the line is written then.
    if !matches!(ready, Ok(0) | Err(Errno::INTR)) {
        let _ = log.write_all(line.as_bytes());
    }
}

fn format_line(text: &str) -> String {
    let mut line = format!("jitsiexporter: {}\n", text.replace(char::is_control, " "));
    if line.len() > MAX_LINE {
        let end = (0..=MAX_LINE - CUT.len()).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or_default());
        line.push_str(CUT);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_into_a_pipe() {
        assert_eq!(format_line("a\nb\u{1b}"), "jitsiexporter: a b \n");
        let longest = MAX_LINE - "jitsiexporter: \n".len();
        assert_eq!(format_line(&"x".repeat(longest)).len(), MAX_LINE);
        assert!(!format_line(&"x".repeat(longest)).ends_with(CUT));
        for letter in ["x", "\u{e9}", "\u{1f600}"] {
            let line = format_line(&letter.repeat(longest + 1));
            assert!((MAX_LINE - 3..=MAX_LINE).contains(&line.len()) && line.ends_with(CUT), "{}: {letter}", line.len());
        }
    }
}
