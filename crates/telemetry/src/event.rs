//! Events: every change an operator would want to know of, with its reason.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use time::OffsetDateTime;

/// How many of the last events a node keeps for its pages.
const KEPT: usize = 1_000;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As expected: a server came up, a leader was elected.
    Info,
    /// Redundancy or capacity is reduced, requests are still served.
    Warning,
    /// Something that should be served is not.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One change, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When, in UTC, RFC 3339.
    pub at: String,
    /// On which node.
    pub node: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: `shop/app1`, `sessions/cache1`, `listener web`.
    pub subject: String,
    /// What happened and why, in one sentence without a full stop.
    pub what: String,
}

/// Where events are written as lines.
#[derive(Clone, Debug)]
pub enum Log {
    /// The process's standard error (which a service manager or a rehearsal turns into a file).
    Stderr,
    /// Nowhere; they are only kept for the pages.
    Silent,
}

/// The events of a node. Cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Inner>);

struct Inner {
    node: Arc<str>,
    log: Log,
    kept: Mutex<VecDeque<Event>>,
}

impl Events {
    /// The events of `node`.
    pub fn new(node: &str, log: Log) -> Self {
        let kept = Mutex::new(VecDeque::with_capacity(64));
        Self(Arc::new(Inner {
            node: node.into(),
            log,
            kept,
        }))
    }

    /// Something went as it should.
    pub fn info(&self, subject: impl Into<String>, what: impl Into<String>) {
        self.emit(Severity::Info, subject.into(), what.into());
    }

    /// Redundancy or capacity is reduced.
    pub fn warning(&self, subject: impl Into<String>, what: impl Into<String>) {
        self.emit(Severity::Warning, subject.into(), what.into());
    }

    /// Something that should be served is not.
    pub fn error(&self, subject: impl Into<String>, what: impl Into<String>) {
        self.emit(Severity::Error, subject.into(), what.into());
    }

    fn emit(&self, severity: Severity, subject: String, what: String) {
        let at = rfc3339(OffsetDateTime::now_utc());
        let event = Event {
            at,
            node: self.0.node.clone(),
            severity,
            subject,
            what,
        };
        if matches!(self.0.log, Log::Stderr) {
            let line = format!(
                "{} {} {:7} {}: {}\n",
                event.at, event.node, event.severity, event.subject, event.what
            );
            // A full or closed log must not stop the node; the event is still kept below.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
    }

    /// Writes a line that a program printed to the log, as `<time> <node> <subject>: <line>`. It is no event: it is not
    /// kept. May block while the log does, so it is not for a thread that has other work.
    pub fn output(&self, subject: &str, line: &[u8]) {
        if matches!(self.0.log, Log::Silent) {
            return;
        }
        let at = rfc3339(OffsetDateTime::now_utc());
        let mut text = format!("{at} {} {subject}: ", self.0.node).into_bytes();
        text.extend_from_slice(line);
        text.push(b'\n');
        // One write for a line, so that lines of several programs do not mix. A full or closed log stops nothing.
        let _ = std::io::stderr().lock().write_all(&text);
    }

    /// The last `n` events, oldest first.
    pub fn last(&self, n: usize) -> Vec<Event> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .skip(kept.len().saturating_sub(n))
            .cloned()
            .collect()
    }
}

/// `2026-11-23T14:05:09.123Z`
pub(crate) fn rfc3339(t: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second(),
        t.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_make_room() {
        let events = Events::new("edge", Log::Silent);
        for i in 0..KEPT + 5 {
            events.info("test", i.to_string());
        }
        let last = events.last(usize::MAX);
        assert_eq!(last.len(), KEPT);
        assert_eq!(last[0].what, "5");
        assert_eq!(events.last(1)[0].what, (KEPT + 4).to_string());
    }
}
