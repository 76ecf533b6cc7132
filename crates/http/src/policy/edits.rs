//! What policies change about one request on its way and about its answer.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::compress::Compress;
use super::errors::ErrorPages;
use super::replace::Replacing;
use crate::handler::Plan;

/// Changes to one request and its answer. The engine applies them wherever it writes a head.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// The target that servers get in place of the one that came.
    pub target: Option<Vec<u8>>,
    /// The host that servers get likewise.
    pub host: Option<Vec<u8>>,
    /// To the head of the request on its way to a server.
    pub request: FieldEdits,
    /// To the head of the final answer, whoever gives it.
    pub response: FieldEdits,
    /// To that of one of a status below 400, after these.
    pub success: FieldEdits,
    /// To that of one of some statuses, after these.
    pub by_status: Vec<(Arc<[RangeInclusive<u16>]>, FieldEdits)>,
    /// Pages of errors, before those of the listener.
    pub errors: Option<Arc<ErrorPages>>,
    /// What becomes of a server's answer that is text.
    pub compress: Option<Compress>,
    /// The user that was let in, for the log.
    pub user: String,
    /// The request's id, for the log, where something asked for it.
    pub id: String,
    /// An error's answer brings its own page.
    pub keeps_page: bool,
    /// The status that the client gets in place of the answer's.
    pub status: Option<u16>,
}

impl Edits {
    /// `plan`, an answer that brings its own page: none of `errors` takes its place.
    pub fn kept(plan: Plan) -> Plan {
        Plan::Edited {
            plan: Box::new(plan),
            edits: Box::new(Self {
                keeps_page: true,
                ..Self::default()
            }),
        }
    }

    /// Adds changes that come after these.
    pub fn then(&mut self, later: Self) {
        self.target = later.target.or(self.target.take());
        self.host = later.host.or(self.host.take());
        self.request.then(later.request);
        self.response.then(later.response);
        self.success.then(later.success);
        self.by_status.extend(later.by_status);
        self.errors = later.errors.or(self.errors.take());
        self.compress = later.compress.or(self.compress.take());
        for (text, later) in [(&mut self.user, later.user), (&mut self.id, later.id)] {
            if !later.is_empty() {
                *text = later;
            }
        }
        self.keeps_page |= later.keeps_page;
        self.status = later.status.or(self.status);
    }

    /// The status that the client gets of an answer with this one. One that has no body keeps its own.
    pub(crate) fn shown(&self, status: u16) -> u16 {
        match status {
            ..200 | 204 | 304 => status,
            _ => self.status.unwrap_or(status),
        }
    }

    /// Applies the changes to an answer's lines, as [`FieldEdits::apply`].
    pub fn answer(&self, status: u16, out: &mut Vec<u8>, from: usize) {
        self.response.apply(out, from);
        if status < 400 {
            self.success.apply(out, from);
        }
        for (statuses, edits) in &self.by_status {
            if statuses.iter().any(|range| range.contains(&status)) {
                edits.apply(out, from);
            }
        }
    }
}

/// Changes to the fields of one head: first some are removed, then values replaced, then lines added, those of fields
/// that are missing first.
#[derive(Clone, Debug, Default)]
pub struct FieldEdits {
    /// Names, each ended by a line feed.
    remove: Vec<u8>,
    replace: Vec<Replacing>,
    /// Complete lines.
    lines: Vec<u8>,
    /// Lines of fields that have to be there.
    defaults: Vec<u8>,
}

impl FieldEdits {
    /// Removes all fields of this name; with a `*` at its end, of all names that begin so.
    pub fn remove(&mut self, name: &str) {
        self.remove.extend_from_slice(name.as_bytes());
        self.remove.push(b'\n');
    }

    /// Adds a field unless its value is empty or could end its line: spaces around it are left out.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        push(&mut self.lines, name, value);
    }

    /// Adds a field where it is not there, as [`Self::add`].
    pub(super) fn require(&mut self, name: &str, value: &[u8]) {
        push(&mut self.defaults, name, value);
    }

    /// Replaces values of fields as they came, not those of lines that are added.
    pub(super) fn replace(&mut self, replacing: Replacing) {
        self.replace.push(replacing);
    }

    /// Adds changes that come after these.
    pub fn then(&mut self, later: Self) {
        self.replace.extend(later.replace);
        strip(&mut self.lines, 0, &later.remove);
        strip(&mut self.defaults, 0, &later.remove);
        for line in lines(&later.defaults) {
            // It is there then.
            if !has(&self.lines, name_of(line)) && !has(&self.defaults, name_of(line)) {
                self.defaults.extend_from_slice(line);
            }
        }
        self.remove.extend_from_slice(&later.remove);
        self.lines.extend_from_slice(&later.lines);
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.replace.is_empty()
            && self.lines.is_empty()
            && self.defaults.is_empty()
    }

    /// The names of what is removed, each ended by a line feed, for [`strip`].
    pub(crate) fn removed(&self) -> &[u8] {
        &self.remove
    }

    /// Applies the changes to the lines that `out` holds from `from` on, each ended by CRLF.
    pub fn apply(&self, out: &mut Vec<u8>, from: usize) {
        strip(out, from, &self.remove);
        for replacing in &self.replace {
            replacing.apply(out, from);
        }
        for line in lines(&self.defaults) {
            if !has(&out[from..], name_of(line)) {
                out.extend_from_slice(line);
            }
        }
        out.extend_from_slice(&self.lines);
    }
}

/// Appends a line unless the value is empty or could end it.
fn push(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    let value = value.trim_ascii();
    if value.is_empty() || !is_sound(value) {
        return;
    }
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}

/// Lines with their ends.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split_inclusive(|&b| b == b'\n')
}

fn name_of(line: &[u8]) -> &[u8] {
    &line[..memchr::memchr(b':', line).unwrap_or(line.len())]
}

/// Whether some lines have a field of this name.
fn has(head: &[u8], name: &[u8]) -> bool {
    lines(head).any(|line| same(name_of(line), name))
}

/// Whether a field may have this value. RFC 9110 section 5.5: CR, LF and NUL would be read differently by others; no other
/// control byte is wanted.
pub(super) fn is_sound(value: &[u8]) -> bool {
    let sound = |&b: &u8| b == b'\t' || b >= b' ' && b != 0x7f;
    value.iter().all(sound)
}

/// Takes the lines out of which the name is one of `names`.
pub(crate) fn strip(out: &mut Vec<u8>, from: usize, names: &[u8]) {
    if names.is_empty() {
        return;
    }
    let (mut read, mut kept) = (from, from);
    while read < out.len() {
        let end = memchr::memchr(b'\n', &out[read..]).map_or(out.len(), |at| read + at + 1);
        let line = &out[read..end];
        if !is_one(name_of(line), names) {
            out.copy_within(read..end, kept);
            kept += end - read;
        }
        read = end;
    }
    out.truncate(kept);
}

fn is_one(name: &[u8], names: &[u8]) -> bool {
    names
        .split(|&b| b == b'\n')
        .filter(|wanted| !wanted.is_empty())
        .any(|wanted| match wanted.strip_suffix(b"*") {
            Some(start) => name.len() >= start.len() && same(&name[..start.len()], start),
            None => same(name, wanted),
        })
}

/// Equal without case, and with `_` as `-`: CGI, WSGI and PHP give `X_User` and `X-User` to the application as one.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let fold = |b: u8| match b {
        b'_' => b'-',
        b => b.to_ascii_lowercase(),
    };
    a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| fold(a) == fold(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(edits: &FieldEdits, head: &str) -> String {
        let mut out = head.as_bytes().to_vec();
        edits.apply(&mut out, 3);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_removed_in_any_spelling_and_lines_added() {
        let mut edits = FieldEdits::default();
        edits.remove("X-User");
        edits.remove("x-debug-*");
        edits.add("X-User", b" alice ");
        assert_eq!(
            applied(
                &edits,
                "X-\r\nx_user: eve\r\nA: X-User\r\nX-USER:\r\nX-Debug-A: 1\r\nX-Debug: 2\r\n"
            ),
            "X-\r\nA: X-User\r\nX-Debug: 2\r\nX-User: alice\r\n"
        );
        assert_eq!(applied(&edits, "X-\r\n"), "X-\r\nX-User: alice\r\n");
    }

    #[test]
    fn a_value_that_could_end_its_line_is_not_sent() {
        for value in ["", "  ", "a\r\nB: c", "a\n", "a\0b", "\u{7f}"] {
            let mut edits = FieldEdits::default();
            edits.add("A", value.trim_start_matches(' ').as_bytes());
            // A line feed at the end is trimmed like a space.
            let expected = if value == "a\n" { "A: a\r\n" } else { "" };
            assert_eq!(edits.lines, expected.as_bytes(), "{value:?}");
        }
    }

    #[test]
    fn a_field_that_is_missing_has_its_default() {
        let mut edits = FieldEdits::default();
        edits.require("X-Frame-Options", b"DENY");
        edits.require("A", b"1");
        assert_eq!(
            applied(&edits, "X-\r\nx_frame-options: SAMEORIGIN\r\n"),
            "X-\r\nx_frame-options: SAMEORIGIN\r\nA: 1\r\n"
        );
        // What is removed or set later, and what was set before, is known.
        let (mut first, mut second) = (FieldEdits::default(), FieldEdits::default());
        first.require("A", b"1");
        first.require("B", b"1");
        first.add("C", b"1");
        second.remove("b");
        second.require("A", b"2");
        second.require("C", b"2");
        second.require("D", b"2");
        first.then(second);
        assert_eq!(applied(&first, "X\r\n"), "X\r\nA: 1\r\nD: 2\r\nC: 1\r\n");
    }

    #[test]
    fn changes_of_some_statuses_are_made_to_these_alone() {
        let mut edits = Edits::default();
        edits.response.add("A", b"1");
        let mut errors = FieldEdits::default();
        errors.remove("A");
        errors.add("B", b"1");
        edits.by_status = vec![([404..=404, 500..=599].into(), errors)];
        let answered = |status| {
            let mut out = Vec::new();
            edits.answer(status, &mut out, 0);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(answered(200), "A: 1\r\n");
        assert_eq!(answered(404), "B: 1\r\n");
        assert_eq!(answered(502), "B: 1\r\n");
    }

    #[test]
    fn later_changes_undo_earlier_ones() {
        let (mut first, mut second) = (FieldEdits::default(), FieldEdits::default());
        first.add("A", b"1");
        first.add("B", b"1");
        second.remove("a");
        second.add("C", b"1");
        first.then(second);
        assert_eq!(applied(&first, "X\r\nA: 0\r\n"), "X\r\nB: 1\r\nC: 1\r\n");
    }
}
