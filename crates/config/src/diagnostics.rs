//! What is wrong with a file: all of it, in the order of the file, each with its place.

use std::fmt;

use crate::span::Span;

/// A line of the file that is shown is never longer than this, in characters.
const WIDEST: usize = 120;

/// Every mistake of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as it was named.
    pub file: String,
    /// Where in it; `None` when it is about the file as a whole.
    pub place: Option<Place>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What may have been meant, or what to do.
    pub hint: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The line itself; of a very long one the part around the column.
    pub source: String,
    /// Characters of `source` before the marked part.
    pub before: usize,
    /// Characters that are marked, at least one.
    pub width: usize,
}

/// A mistake found while reading, before it has a line and a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub span: Option<Span>,
    pub message: String,
    pub hint: Option<String>,
}

impl Diagnostics {
    /// A single mistake about the file as a whole.
    pub(crate) fn of_file(file: &str, message: String, hint: Option<String>) -> Self {
        Self {
            list: vec![Diagnostic {
                file: file.into(),
                place: None,
                message: visible(message),
                hint: hint.map(visible),
            }],
        }
    }

    /// Places mistakes in the text, in its order.
    pub(crate) fn place(file: &str, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.span.as_ref().map(|span| (span.start, span.end)));
        let lines = Lines::of(text);
        let mut list: Vec<Diagnostic> = mistakes
            .into_iter()
            .map(|mistake| Diagnostic {
                file: file.into(),
                place: mistake.span.map(|span| Place::of(text, &lines, &span)),
                message: visible(mistake.message),
                hint: mistake.hint.map(visible),
            })
            .collect();
        list.dedup();
        Self { list }
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "there is always one at least")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Each of them, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(i, _)| i + 1)).collect())
    }

    /// The line of a byte, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.0.partition_point(|&start| start <= at)
    }
}

impl Place {
    /// The place of some bytes of a text.
    pub(crate) fn of(text: &str, lines: &Lines, span: &Span) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let line: Vec<char> = text[line_start..line_end].chars().collect();
        let column = text[line_start..start].chars().count();
        // A span over several lines is marked on its first.
        let marked = text[start..end.min(line_end)].trim_end().chars().count();
        let from = if line.len() > WIDEST {
            column.saturating_sub(WIDEST / 2)
        } else {
            0
        };
        let source: String = line
            .iter()
            .skip(from)
            .take(WIDEST)
            .map(|&c| {
                if c == '\t' || !c.is_control() {
                    c
                } else {
                    '\u{fffd}'
                }
            })
            .collect();
        let source = source.trim_end().to_owned();
        let room = source.chars().count().saturating_sub(column - from);
        Self {
            line: lines.line(start),
            column: column + 1,
            before: column - from,
            width: marked.min(room).max(1),
            source,
        }
    }
}

/// A sentence about what is written in a file, which by an escape (`"\u001b"`) may hold what moves a terminal: that is replaced.
fn visible(text: String) -> String {
    let moves = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
    if text.contains(moves) {
        text.replace(moves, "\u{fffd}")
    } else {
        text
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = self.hint.as_deref().unwrap_or("");
        let Some(place) = &self.place else {
            write!(f, "{}: {}", self.file, self.message)?;
            return if hint.is_empty() {
                Ok(())
            } else {
                write!(f, "\n  {hint}")
            };
        };
        let gutter = place.line.to_string();
        writeln!(
            f,
            "{}:{}:{}: {}",
            self.file, place.line, place.column, self.message
        )?;
        writeln!(f, " {gutter} | {}", place.source)?;
        // Tabs are repeated, so that the caret stands under its character however wide a tab is shown.
        let before: String = place
            .source
            .chars()
            .chain(std::iter::repeat(' '))
            .take(place.before)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let marks = "^".repeat(place.width);
        let line = format!(
            " {:width$} | {before}{marks} {hint}",
            "",
            width = gutter.len()
        );
        f.write_str(line.trim_end())
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.list {
            writeln!(f, "{diagnostic}\n")?;
        }
        match self.list.len() {
            1 => f.write_str("1 mistake"),
            n => write!(f, "{n} mistakes"),
        }
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(span: Span, message: &str) -> Mistake {
        Mistake {
            span: Some(span),
            message: message.into(),
            hint: None,
        }
    }

    #[test]
    fn a_mistake_is_shown_with_its_line_and_a_caret() {
        let text = "a = 1\n\tbé = 22\n";
        let shown = Diagnostics::place(
            "f.toml",
            text,
            vec![mistake(13..15, "no"), mistake(0..1, "who")],
        );
        assert_eq!(
            shown.to_string(),
            "f.toml:1:1: who\n 1 | a = 1\n   | ^\n\nf.toml:2:7: no\n 2 | \tbé = 22\n   | \t     ^^\n\n2 mistakes"
        );
    }

    #[test]
    fn nothing_that_is_quoted_moves_a_terminal() {
        let mut quoting = mistake(0..1, "there is no `\u{1b}[2J\r`");
        quoting.hint = Some("did you mean `\u{9b}m`?".into());
        let shown = Diagnostics::place("f", "\u{1b}[31m", vec![quoting]).to_string();
        let moves = |c: char| c.is_control() && c != '\n';
        assert!(!shown.contains(moves), "{shown:?}");
        assert!(
            shown.contains("there is no `\u{fffd}[2J\u{fffd}`"),
            "{shown}"
        );
        let whole = Diagnostics::of_file("f", "a \u{7}".into(), None).to_string();
        assert!(!whole.contains(moves), "{whole:?}");
    }

    #[test]
    fn places_outside_of_the_text_are_its_end() {
        let shown = Diagnostics::place("f", "ab", vec![mistake(90..95, "gone")]).to_string();
        assert!(shown.starts_with("f:1:3: gone"), "{shown}");
        let shown = Diagnostics::place("f", "", vec![mistake(0..0, "empty")]).to_string();
        assert!(shown.starts_with("f:1:1: empty"), "{shown}");
    }

    #[test]
    fn of_a_long_line_the_part_that_matters_is_shown() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let shown = Diagnostics::place("f", &text, vec![mistake(5000..5001, "here")]);
        let place = shown.iter().next().unwrap().place.clone().unwrap();
        assert_eq!(place.column, 5001);
        assert_eq!(place.source.chars().nth(place.before), Some('X'));
        assert!(place.source.len() <= WIDEST);
    }
}
