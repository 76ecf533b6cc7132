//! Reads single values out of the TOML tree and collects what is wrong with them.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use crate::diagnostics::{Lines, Mistake};
use crate::expand::expand;
use crate::span::{At, Item, Span};
use crate::suggest::did_you_mean;

/// Reading a file: where it is, what it may use, what was wrong so far.
pub(crate) struct Reader<'a> {
    pub text: &'a str,
    /// Relative paths start here.
    pub base: &'a Path,
    env: &'a dyn Fn(&str) -> Option<String>,
    lines: Lines,
    mistakes: Vec<Mistake>,
    /// Where we are, for messages: `[site.www]`.
    pub section: String,
    /// The file names its machines, so that `on` is needed.
    pub has_nodes: bool,
    /// Lines that are no TOML: nothing more is said about them, and nothing is called missing.
    broken_lines: Vec<Span>,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str, base: &'a Path, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            text,
            base,
            env,
            lines: Lines::of(text),
            mistakes: Vec::new(),
            section: String::new(),
            has_nodes: false,
            broken_lines: Vec::new(),
        }
    }

    /// The line of a place, from 1.
    pub fn line(&self, span: &Span) -> usize {
        self.lines.line(span.start)
    }

    /// Takes over what the TOML parser said.
    pub fn syntax(&mut self, errors: Vec<toml::de::Error>) {
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            // What follows from the first mistake of a line is not worth saying.
            if self.on_broken_line(&span) {
                continue;
            }
            let start = self.text[..self.boundary(span.start)]
                .rfind('\n')
                .map_or(0, |i| i + 1);
            let end = self.text[self.boundary(span.end.max(span.start))..]
                .find('\n')
                .map_or(self.text.len(), |i| {
                    self.boundary(span.end.max(span.start)) + i
                });
            self.broken_lines.push(start..end + 1);
            let (message, hint) = plain_syntax(error.message(), self.text, &span);
            self.mistakes.push(Mistake {
                span: Some(span),
                message,
                hint,
            });
        }
    }

    fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    fn on_broken_line(&self, span: &Span) -> bool {
        self.broken_lines
            .iter()
            .any(|line| line.contains(&span.start))
    }

    /// Whether the file is no TOML in places, so that the tree may lack things.
    pub fn is_broken(&self) -> bool {
        !self.broken_lines.is_empty()
    }

    /// How many mistakes there are so far.
    pub fn mistakes(&self) -> usize {
        self.mistakes.len()
    }

    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    pub fn wrong(&mut self, span: &Span, message: impl Into<String>) {
        self.wrong_hint(span, message, None);
    }

    pub fn wrong_hint(&mut self, span: &Span, message: impl Into<String>, hint: Option<String>) {
        if !self.on_broken_line(span) {
            self.mistakes.push(Mistake {
                span: Some(span.clone()),
                message: message.into(),
                hint,
            });
        }
    }

    /// Says that something else was expected than what is there.
    pub fn expected(&mut self, item: &Item<'_>, what: &str) {
        self.expected_hint(item, what, None);
    }

    pub fn expected_hint(&mut self, item: &Item<'_>, what: &str, hint: Option<String>) {
        let found = match item.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong_hint(
            &item.span(),
            format!("expected {what}, found {found}"),
            hint,
        );
    }

    /// Text, with its variables put in.
    pub fn text(&mut self, item: &Item<'_>, what: &str) -> Option<String> {
        let DeValue::String(text) = item.get_ref() else {
            self.expected(item, what);
            return None;
        };
        match expand(text, self.env) {
            Ok(text) => Some(text),
            Err(wrong) => {
                for unexpanded in wrong {
                    let place = self.place_in(item, &text[unexpanded.part.clone()]);
                    self.wrong(&place, unexpanded.message);
                }
                None
            }
        }
    }

    /// Where a part of a text stands.
    pub fn place_in(&self, item: &Item<'_>, part: &str) -> Span {
        let span = item.span();
        // Escapes and variables may have moved it: look for it as it stands in the file.
        let place = self.text.get(span.clone()).and_then(|raw| raw.find(part));
        place.map_or(span.clone(), |at| {
            span.start + at..span.start + at + part.len()
        })
    }

    /// Text that says something.
    pub fn filled(&mut self, item: &Item<'_>, what: &str) -> Option<String> {
        let text = self.text(item, what)?;
        if text.trim().is_empty() {
            self.wrong(&item.span(), format!("expected {what}, found empty text"));
            return None;
        }
        if text.contains('\0') {
            self.wrong(
                &item.span(),
                format!("expected {what}, found text with a NUL"),
            );
            return None;
        }
        Some(text)
    }

    /// Text that `parse` understands.
    pub fn parsed<T, E: std::fmt::Display>(
        &mut self,
        item: &Item<'_>,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.filled(item, what)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(&item.span(), error.to_string());
                None
            }
        }
    }

    /// One of a few words, each with what it means.
    pub fn one_of<T: Copy>(&mut self, item: &Item<'_>, words: &[(&'static str, T)]) -> Option<T> {
        let names = words.iter().map(|(word, _)| *word);
        let all: Vec<String> = names.clone().map(|word| format!("\"{word}\"")).collect();
        let all = all.join(" or ");
        let given = self.filled(item, &all)?;
        let found = words.iter().find(|(word, _)| *word == given);
        if found.is_none() {
            let hint = did_you_mean(&given, names);
            self.wrong_hint(&item.span(), format!("expected {all}"), hint);
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// A whole number within a range.
    pub fn integer(
        &mut self,
        item: &Item<'_>,
        range: RangeInclusive<i64>,
        what: &str,
    ) -> Option<i64> {
        let DeValue::Integer(number) = item.get_ref() else {
            let quoted = item
                .get_ref()
                .as_str()
                .and_then(|text| text.trim().parse().ok());
            let quoted = quoted.filter(|number| range.contains(number));
            let hint = quoted.map(|number| format!("write {number}, without quotes"));
            self.expected_hint(item, what, hint);
            return None;
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (from, to) = (range.start(), range.end());
                self.wrong(
                    &item.span(),
                    format!("expected {what}, from {from} to {to}"),
                );
                None
            }
        }
    }

    pub fn bool(&mut self, item: &Item<'_>) -> Option<bool> {
        let DeValue::Boolean(value) = item.get_ref() else {
            self.expected(item, "true or false");
            return None;
        };
        Some(*value)
    }

    /// A list, or its single element.
    pub fn list<T>(
        &mut self,
        item: &Item<'_>,
        one: impl Fn(&mut Self, &Item<'_>) -> Option<T>,
    ) -> Vec<At<T>> {
        let at = |reader: &mut Self, item: &Item<'_>| {
            one(reader, item).map(|value| At::new(value, item.span()))
        };
        match item.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| at(self, item)).collect(),
            _ => at(self, item).into_iter().collect(),
        }
    }

    /// A list, or its single element, that is not empty.
    pub fn some<T>(
        &mut self,
        item: &Item<'_>,
        one: impl Fn(&mut Self, &Item<'_>) -> Option<T>,
    ) -> Vec<At<T>> {
        if matches!(item.get_ref(), DeValue::Array(items) if items.is_empty()) {
            self.wrong(&item.span(), "this list is empty");
        }
        self.list(item, one)
    }

    /// A path, relative to the file.
    pub fn path(&mut self, item: &Item<'_>) -> Option<PathBuf> {
        let text = self.filled(item, "a path")?;
        if let Some(part) = of_shell(&text) {
            let message = format!("`{part}` is a shell's: here it is the name of a directory");
            let hint = match part.strip_prefix('$') {
                Some(name) => format!(
                    "write the directory out, or ${{{name}}} for a variable of the environment"
                ),
                None => {
                    "write the directory out, or ${HOME} for a variable of the environment".into()
                }
            };
            self.wrong_hint(&item.span(), message, Some(hint));
            return None;
        }
        Some(self.base.join(text))
    }
}

/// What of a path a shell would have put something else in for: `~` at its beginning, or `$NAME`.
fn of_shell(path: &str) -> Option<&str> {
    if path.split('/').next() == Some("~") {
        return Some("~");
    }
    let is_variable = |part: &&str| {
        let name = part.strip_prefix('$').unwrap_or_default();
        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    path.split('/').find(is_variable)
}

/// The parser's words, in ours where they would puzzle.
fn plain_syntax(message: &str, text: &str, span: &Span) -> (String, Option<String>) {
    let part = text.get(span.clone()).unwrap_or("").trim();
    if message == "duplicate key" {
        return (
            format!("`{part}` is written twice"),
            Some("it stands further up already".into()),
        );
    }
    // What is written without quotes is taken for a number or a date.
    let unquoted = [
        "string values must be quoted",
        "invalid float",
        "invalid integer",
        "invalid date",
    ];
    if unquoted.iter().any(|start| message.starts_with(start)) {
        let message = if part.is_empty() {
            "a value is missing"
        } else {
            "this is no TOML value: text is written in quotes"
        };
        return (message.into(), None);
    }
    (format!("this is not TOML: {message}"), None)
}
