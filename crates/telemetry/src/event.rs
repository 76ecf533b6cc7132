//! Events: every change an operator would want to know of, with its reason.

mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use writer::Writer;

/// How many of the last events a node keeps for its pages.
const KEPT: usize = 1_000;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Of use when looking for a cause: written to the log only when the level is lowered to it, never kept.
    Debug,
    /// As expected: a server came up, a leader was elected.
    Info,
    /// Redundancy or capacity is reduced, requests are still served.
    Warning,
    /// Something that should be served is not.
    Error,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warning, Self::Error];

    /// The severity of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One change, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its number on this node: it only grows, and begins anew with the process.
    pub seq: u64,
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
    /// The process's standard error (which a service manager or a rehearsal turns into a file). Whoever has an event
    /// writes it, until [`Events::write_apart`].
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
    writer: Writer,
    /// The least severity that is written to the log.
    level: AtomicU8,
    /// Lines of the log are JSON objects.
    json: AtomicBool,
    kept: Mutex<VecDeque<Event>>,
    last: AtomicU64,
    /// How many of each severity.
    counts: [AtomicU64; 4],
}

impl Events {
    /// The events of `node`.
    pub fn new(node: &str, log: Log) -> Self {
        let kept = Mutex::new(VecDeque::with_capacity(64));
        Self(Arc::new(Inner {
            node: node.into(),
            log,
            writer: Writer::new(),
            level: AtomicU8::new(Severity::Info as u8),
            json: AtomicBool::new(false),
            kept,
            last: AtomicU64::new(0),
            counts: Default::default(),
        }))
    }

    /// From now on a thread writes the log, to `out`: a log that is stuck holds up nobody who has an event. Then some are
    /// left out and counted.
    ///
    /// # Errors
    /// When there is no thread to be had; then all is as it was.
    pub fn write_apart(&self, out: impl std::io::Write + Send + 'static) -> std::io::Result<()> {
        self.0.writer.start(out)
    }

    /// Waits until what was said is written, but no longer than this.
    pub fn flush(&self, within: Duration) {
        self.0.writer.flush(within);
    }

    /// From now on the log has what is at least so severe. What is kept does not change.
    pub fn set_level(&self, level: Severity) {
        self.0.level.store(level as u8, Relaxed);
    }

    /// Whether lines of the log are JSON objects from now on.
    pub fn set_json(&self, json: bool) {
        self.0.json.store(json, Relaxed);
    }

    /// Whether something of this severity is written to the log: to be asked before a text is made for nothing.
    pub fn logs(&self, level: Severity) -> bool {
        level as u8 >= self.0.level.load(Relaxed)
    }

    /// Of use when looking for a cause; `what` is made only when the log wants it.
    pub fn debug(&self, subject: &str, what: impl FnOnce() -> String) {
        if self.logs(Severity::Debug) {
            self.emit(Severity::Debug, subject.into(), what());
        }
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
        self.0.counts[severity as usize].fetch_add(1, Relaxed);
        let at = rfc3339(OffsetDateTime::now_utc());
        let mut event = Event {
            seq: 0,
            at,
            node: self.0.node.clone(),
            severity,
            subject: harmless(subject),
            what: harmless(what),
        };
        if severity > Severity::Debug {
            let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
            // Numbered under the lock, so that they are kept in their order.
            event.seq = self.0.last.fetch_add(1, Relaxed) + 1;
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(event.clone());
        }
        if matches!(self.0.log, Log::Stderr) && self.logs(severity) {
            let line = self.line(&event).into_bytes();
            self.0.writer.say(line, |lost| self.left_out(lost));
        }
    }

    /// A line of the log about those that it has not.
    fn left_out(&self, lines: u64) -> Vec<u8> {
        let event = Event {
            seq: 0,
            at: rfc3339(OffsetDateTime::now_utc()),
            node: self.0.node.clone(),
            severity: Severity::Warning,
            subject: "log".into(),
            what: format!("{lines} lines were left out: whoever takes them was stuck"),
        };
        self.line(&event).into_bytes()
    }

    fn line(&self, event: &Event) -> String {
        if self.0.json.load(Relaxed)
            && let Ok(line) = serde_json::to_string(event)
        {
            return line + "\n";
        }
        format!(
            "{} {} {:7} {}: {}\n",
            event.at, event.node, event.severity, event.subject, event.what
        )
    }

    /// Writes a line that a program printed to the log, as `<time> <node> <subject>: <line>`, with control characters as
    /// `\xHH`: none of them reaches a terminal, and no line is made to look like two. It is no event: it is not kept.
    /// Waits a while when the log is stuck, so it is not for a thread that has other work.
    pub fn output(&self, subject: &str, line: &[u8]) {
        if matches!(self.0.log, Log::Silent) {
            return;
        }
        let at = rfc3339(OffsetDateTime::now_utc());
        let text = if self.0.json.load(Relaxed) {
            let object = serde_json::json!({
                "at": at,
                "node": &*self.0.node,
                "subject": subject,
                "output": String::from_utf8_lossy(line),
            });
            json_line(&object).into_bytes()
        } else {
            let mut text = format!("{at} {} {subject}: ", self.0.node).into_bytes();
            printable(&mut text, line);
            text.push(b'\n');
            text
        };
        self.0.writer.print(text, |lost| self.left_out(lost));
    }

    /// At most `n` events after the one of this number, oldest first; the last ones, when there are more.
    pub fn after(&self, seq: u64, n: usize) -> Vec<Event> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.partition_point(|event| event.seq <= seq);
        let first = first.max(kept.len().saturating_sub(n));
        kept.iter().skip(first).cloned().collect()
    }

    /// How many there were of each severity, in the order of [`Severity::ALL`]; of debug those that the log wanted.
    pub fn counts(&self) -> [u64; 4] {
        self.0.counts.each_ref().map(|count| count.load(Relaxed))
    }

    /// The number of the last event; 0 before the first.
    pub fn last_number(&self) -> u64 {
        self.0.last.load(Relaxed)
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

/// A JSON object as a line: also the control characters that JSON lets stand in a text are written out.
fn json_line(object: &serde_json::Value) -> String {
    let text = object.to_string();
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_control() {
            // Writing to a text does not fail.
            let _ = fmt::Write::write_fmt(&mut line, format_args!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

/// A text that moves no terminal, whoever had a part in it: its control characters, but for line ends and tabs, are
/// written as `\xHH`.
pub fn harmless(text: String) -> String {
    let is_bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_bad) {
        return text;
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push(b'\n');
        }
        printable(&mut out, line.as_bytes());
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends a line with its control characters as `\xHH`, but for tabs: those of ASCII, and those of Latin-1 as UTF-8 has
/// them (U+0080 to U+009F), which some terminals obey as well. All else stays, also what is no UTF-8.
fn printable(out: &mut Vec<u8>, line: &[u8]) {
    let mut rest = line;
    while let [first, after @ ..] = rest {
        let length = match (first, after) {
            (0..=8 | 10..=0x1f | 0x7f, _) => 1,
            (0xc2, [0x80..=0x9f, ..]) => 2,
            _ => 0,
        };
        for byte in &rest[..length] {
            // Writing to a vector does not fail.
            let _ = write!(out, "\\x{byte:02X}");
        }
        if length == 0 {
            out.push(*first);
        }
        rest = &rest[length.max(1)..];
    }
}

/// `2026-11-23T14:05:09.123Z`
pub fn rfc3339(t: OffsetDateTime) -> String {
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
    fn what_a_program_prints_moves_no_terminal() {
        let mut text = Vec::new();
        let line = "\u{1b}[31mred\0 a\rb\u{9b}2J \tå \u{7f}".as_bytes();
        printable(&mut text, line);
        let expected = b"\\x1B[31mred\\x00 a\\x0Db\\xC2\\x9B2J \t\xc3\xa5 \\x7F";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_event_moves_a_terminal_whoever_had_a_part_in_it() {
        let events = Events::new("edge", Log::Silent);
        events.info("audit\u{7}", "by \u{9b}2J\u{1b}[31m\u{7f}å:\n a\tb");
        let event = &events.last(1)[0];
        assert_eq!(event.subject, "audit\\x07");
        assert_eq!(event.what, "by \\xC2\\x9B2J\\x1B[31m\\x7Få:\n a\tb");
    }

    #[test]
    fn a_line_of_json_moves_no_terminal_and_says_the_same() {
        let object = serde_json::json!({ "output": "\u{9b}2J\u{1b}\u{7f}å" });
        let line = json_line(&object);
        assert_eq!(line, "{\"output\":\"\\u009b2J\\u001b\\u007få\"}\n");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read, object);
    }

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
        assert_eq!(events.after(last[0].seq, 2)[1], events.last(1)[0]);
        assert_eq!(events.after(events.last_number(), 10), []);
    }
}
