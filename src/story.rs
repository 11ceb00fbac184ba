//! Decides which scrapes are logged: one line when scrapes begin to fail, when the cause changes, once an hour while the failure
//! lasts, and when the bridge answers again. A successful scrape is not logged.
//!
//! Only the current failure is remembered. Time is a parameter, so that tests need not wait.

use std::time::{Duration, Instant};

use crate::error::{Cause, ScrapeError};

/// How often a failure is logged while it lasts.
const REMINDER: Duration = Duration::from_secs(3600);

/// A cause that was already logged in the same failure is logged again only after this time, so that alternating causes give one
/// line in it.
const PAUSE: Duration = Duration::from_secs(60);

/// The limit of lines about failures in [`PAUSE`]. Without it, a bridge that fails every other time would be logged at each scrape,
/// and so would two clients if only one of them has a timeout too short for the bridge.
const MAX_LINES: usize = 4;

/// The current failure, and the lines that were logged lately.
#[derive(Debug, Default)]
pub struct Story {
    failure: Option<Failure>,
    /// The times of the lines about failures within the last [`PAUSE`].
    lines: Vec<Instant>,
}

/// Failed scrapes without a successful one between them.
#[derive(Debug)]
struct Failure {
    since: Instant,
    scrapes: u64,
    /// The causes that were logged, the last one at the end.
    logged: Vec<Key>,
    last_line: Instant,
}

/// What makes two causes the same.
type Key = (Cause, Option<u16>);

impl Story {
    /// Records a failed scrape. Returns the line to log, if any.
    pub fn failed(&mut self, error: &ScrapeError, now: Instant) -> Option<String> {
        let Self { failure, lines } = self;
        lines.retain(|line| now.saturating_duration_since(*line) < PAUSE);
        let new = || Failure { since: now, scrapes: 0, logged: Vec::new(), last_line: now };
        let failure = failure.get_or_insert_with(new);
        failure.scrapes += 1;
        let key = (error.cause(), error.code());
        let is_due = match failure.logged.last() {
            None => true,
            Some(last) if *last == key => now.saturating_duration_since(failure.last_line) >= REMINDER,
            Some(_) => !failure.logged.contains(&key) || lines.is_empty(),
        };
        if !is_due || lines.len() >= MAX_LINES {
            return None;
        }
        lines.push(now);
        failure.last_line = now;
        failure.logged.retain(|logged| *logged != key);
        failure.logged.push(key);
        Some(match failure.scrapes {
            1 => format!("{error:#}"),
            scrapes => format!(
                "{error:#} ({scrapes} scrapes have failed in {})",
                length(now.saturating_duration_since(failure.since))
            ),
        })
    }

    /// Records a successful scrape. Returns the line to log if there was a failure that was logged.
    pub fn succeeded(&mut self, now: Instant) -> Option<String> {
        let failure = self.failure.take().filter(|failure| !failure.logged.is_empty())?;
        let scrapes =
            if failure.scrapes == 1 { "1 failed scrape" } else { &format!("{} failed scrapes", failure.scrapes) };
        let length = length(now.saturating_duration_since(failure.since));
        Some(format!("the bridge answers again, after {length} and {scrapes}"))
    }
}

/// A duration in the unit that a person would use.
fn length(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines for scrapes at these seconds. `.` is a successful scrape, another character is a cause.
    fn tell(scrapes: impl IntoIterator<Item = (u64, char)>) -> Vec<(u64, String)> {
        let (mut story, begin) = (Story::default(), Instant::now());
        let lines = scrapes.into_iter().filter_map(|(second, scrape)| {
            let now = begin + Duration::from_secs(second);
            let status = |code| ScrapeError::from(Cause::Status).code_is(code);
            let line = match scrape {
                '.' => story.succeeded(now),
                'r' => story.failed(&Cause::Refused.into(), now),
                't' => story.failed(&Cause::ResponseTimeout.into(), now),
                '4' => story.failed(&status(404), now),
                '5' => story.failed(&status(500), now),
                _ => story.failed(&status(503), now),
            };
            line.map(|line| (second, line.split(';').next().unwrap_or_default().to_owned()))
        });
        lines.collect()
    }

    #[track_caller]
    fn assert_told(scrapes: impl IntoIterator<Item = (u64, char)>, expected: &[(u64, &str)]) {
        let told = tell(scrapes);
        let told: Vec<_> = told.iter().map(|(second, line)| (*second, &**line)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn tells_the_beginning_each_new_cause_and_the_end() {
        assert_told([(0, '.'), (15, '.'), (30, '.')], &[]);
        assert_told(
            [
                (0, '.'),
                (15, 'r'),
                (30, 'r'),
                (45, '3'),
                (60, '3'),
                (75, '4'),
                (90, '.'),
                (105, '.'),
                (120, 'r'),
                (130, '.'),
            ],
            &[
                (15, "connection refused"),
                (45, "status 503"),
                (75, "status 404"),
                (90, "the bridge answers again, after 75 s and 5 failed scrapes"),
                (120, "connection refused"),
                (130, "the bridge answers again, after 10 s and 1 failed scrape"),
            ],
        );
    }

    #[test]
    fn reminds_once_an_hour() {
        let lines: Vec<_> = tell((0..=9000).step_by(15).map(|second| (second, 't')).chain([(9015, '.')]));
        let seconds: Vec<_> = lines.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 3600, 7200, 9015]);
        assert!(lines[3].1.ends_with("after 2 h and 601 failed scrapes"), "{lines:?}");
        let mut story = Story::default();
        let (begin, error) = (Instant::now(), Cause::NotJson.into());
        story.failed(&error, begin);
        let line = story.failed(&error, begin + REMINDER).unwrap();
        assert!(
            line.starts_with("the response is not JSON; ") && line.ends_with("(2 scrapes have failed in 60 min)"),
            "{line}"
        );
    }

    #[test]
    fn alternating_causes_are_one_line_a_minute() {
        let alternating = (0..600).map(|second| (second, ['4', '5', '5'][usize::try_from(second % 3).unwrap()]));
        let lines = tell(alternating);
        // The first two are new.
        assert!((10..=12).contains(&lines.len()), "{lines:#?}");
        assert!(lines.iter().skip(1).zip(&lines[2..]).all(|(one, next)| next.0 >= one.0 + 60), "{lines:#?}");
    }

    #[test]
    fn many_causes_and_short_failures_are_few_lines() {
        // The bridge fails every other time.
        let flapping = tell((0..600).map(|second| (second, if second % 2 == 0 { '4' } else { '.' })));
        assert!((2 * MAX_LINES..=20 * MAX_LINES).contains(&flapping.len()), "{flapping:#?}");
        // More causes than lines.
        let mixed =
            tell((0..600).map(|second| (second, ['4', '5', 'r', 't', '3', '.'][usize::try_from(second % 6).unwrap()])));
        assert!(mixed.len() <= 20 * MAX_LINES, "{mixed:#?}");
        // The last line says how things are.
        for last in [&flapping, &mixed].map(|lines| lines.last().unwrap()) {
            assert!(last.1.starts_with("the bridge answers again"), "{last:?}");
        }
    }

    #[test]
    fn failure_held_back_is_logged_once_there_is_room() {
        let flapping = (0..2 * 4).map(|second| (second, if second % 2 == 0 { '4' } else { '.' }));
        let lines = tell(flapping.chain((8..100).map(|second| (second, '4'))));
        assert_eq!(lines[8], (60, "status 404".to_owned()), "{lines:#?}");
        assert_eq!(lines.len(), 9, "{lines:#?}");
    }

    #[test]
    fn lengths_have_a_unit() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days")] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
    }
}
