//! A bound on what a program prints: the log is on the disk that has the session state, too.

use std::time::{Duration, Instant};

use tandem_telemetry::Events;

/// What is counted together.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines of an instance in a window. A large Java application's start, or the traces of a bad minute, have fewer.
const MOST_LINES: u64 = 10_000;
/// Bytes of those lines.
const MOST_BYTES: u64 = 4 << 20;

/// Counts the lines of one window after the other.
#[derive(Debug)]
struct Bound {
    since: Instant,
    lines: u64,
    bytes: u64,
    left_out: u64,
    /// Lines of the window before were left out: what goes on is told of once.
    goes_on: bool,
}

/// What is to be done with a line.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// So many lines were left out before it, and nothing has said so yet.
    left_out: u64,
    goes: Goes,
}

#[derive(Debug, PartialEq, Eq)]
enum Goes {
    Through,
    /// It is the first one of a flood that is left out.
    NoFurther,
    Nowhere,
}

impl Bound {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            lines: 0,
            bytes: 0,
            left_out: 0,
            goes_on: false,
        }
    }

    fn line(&mut self, now: Instant, length: usize) -> Verdict {
        let mut left_out = 0;
        if now.saturating_duration_since(self.since) >= WINDOW {
            left_out = self.left_out;
            *self = Self::new(now);
            self.goes_on = left_out > 0;
        }
        let goes = if self.left_out == 0 && self.lines < MOST_LINES && self.bytes < MOST_BYTES {
            self.lines += 1;
            self.bytes += length as u64;
            Goes::Through
        } else {
            self.left_out += 1;
            if self.left_out == 1 && !self.goes_on {
                Goes::NoFurther
            } else {
                Goes::Nowhere
            }
        };
        Verdict { left_out, goes }
    }
}

/// Where the lines of a program go: to the node's log, as many as may.
pub(crate) struct Sink {
    events: Events,
    subject: String,
    bound: Bound,
}

impl Sink {
    pub(crate) fn new(events: &Events, subject: &str) -> Self {
        Self {
            events: events.clone(),
            subject: subject.into(),
            bound: Bound::new(Instant::now()),
        }
    }

    pub(crate) fn line(&mut self, line: &[u8]) {
        let verdict = self.bound.line(Instant::now(), line.len());
        self.tell(verdict.left_out);
        match verdict.goes {
            Goes::Through => self.events.output(&self.subject, line),
            Goes::NoFurther => self.events.warning(
                self.subject.clone(),
                format!(
                    "it prints more than {MOST_LINES} lines or {} MiB in {} s: the rest of them is left out",
                    MOST_BYTES >> 20,
                    WINDOW.as_secs()
                ),
            ),
            Goes::Nowhere => {}
        }
    }

    fn tell(&self, left_out: u64) {
        if left_out > 0 {
            let what = format!("({left_out} lines that it printed were left out)");
            self.events.output(&self.subject, what.as_bytes());
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.tell(self.bound.left_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(left_out: u64) -> Verdict {
        let goes = Goes::Through;
        Verdict { left_out, goes }
    }

    #[test]
    fn a_flood_is_bounded_in_lines_and_told_of_once_a_window() {
        let start = Instant::now();
        let mut bound = Bound::new(start);
        for _ in 0..MOST_LINES {
            assert_eq!(bound.line(start, 10), through(0));
        }
        assert_eq!(bound.line(start, 10).goes, Goes::NoFurther);
        for _ in 0..99 {
            assert_eq!(bound.line(start, 10).goes, Goes::Nowhere);
        }
        let later = start + WINDOW;
        assert_eq!(bound.line(later, 10), through(100));
        for _ in 1..MOST_LINES {
            assert_eq!(bound.line(later, 10), through(0));
        }
        assert_eq!(bound.line(later, 10).goes, Goes::Nowhere, "it goes on");
        assert_eq!(bound.line(later + WINDOW, 10), through(1));
        let calm = later + 2 * WINDOW;
        assert_eq!(bound.line(calm, 10), through(0));
    }

    #[test]
    fn a_flood_is_bounded_in_bytes() {
        let start = Instant::now();
        let mut bound = Bound::new(start);
        let length = 8 * 1024;
        let lines = MOST_BYTES / 8 / 1024;
        for _ in 0..lines {
            assert_eq!(bound.line(start, length), through(0));
        }
        assert_eq!(bound.line(start, length).goes, Goes::NoFurther);
        assert_eq!(bound.line(start, 1).goes, Goes::Nowhere, "also short ones");
    }
}
