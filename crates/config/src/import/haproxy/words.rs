//! A haproxy.cfg as lines of words (HAProxy's configuration manual, sections 2.1 to 2.4).
//!
//! Words are parted by blanks. A backslash takes the meaning from the next character; `'...'` takes it from all;
//! in `"..."` variables of the environment are put in. `#` begins a comment.

use std::collections::BTreeMap;

use super::super::report::Verdicts;
use super::super::sources::{Sources, Spot};

/// A word as it is meant, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub text: String,
    pub spot: Spot,
}

/// A directive: at least one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub words: Vec<Word>,
    pub spot: Spot,
}

impl Line {
    /// The words from `at` on.
    pub fn from(&self, at: usize) -> &[Word] {
        self.words.get(at..).unwrap_or_default()
    }

    /// A word, or an empty one.
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| &word.text)
    }

    /// The place of a word, or of the whole line.
    pub fn at(&self, at: usize) -> Spot {
        self.words.get(at).map_or(self.spot, |word| word.spot)
    }

    /// All of it, as one text.
    pub fn shown(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(" ")
    }
}

/// Variables for `${NAME}`: those of the process, and what lines of the files make of them for the lines below.
pub(crate) struct Environment<'a> {
    outer: &'a dyn Fn(&str) -> Option<String>,
    /// What was set; `None` is a variable that is gone.
    set: BTreeMap<String, Option<String>>,
    /// The only ones of the process that are left.
    kept: Option<Vec<String>>,
}

impl<'a> Environment<'a> {
    pub fn new(outer: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            outer,
            set: BTreeMap::new(),
            kept: None,
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        if let Some(value) = self.set.get(name) {
            return value.clone();
        }
        let is_kept = (self.kept.as_ref()).is_none_or(|kept| kept.iter().any(|one| one == name));
        is_kept.then(|| (self.outer)(name)).flatten()
    }

    /// Does what a line says of variables.
    fn heed(&mut self, line: &Line) {
        let (name, value) = (line.word(1).to_owned(), line.word(2).to_owned());
        let names = line.from(1).iter().map(|word| word.text.clone());
        match line.word(0) {
            "presetenv" if self.get(&name).is_some() => {}
            "setenv" | "presetenv" => {
                self.set.insert(name, Some(value));
            }
            "unsetenv" => self.set.extend(names.map(|name| (name, None))),
            "resetenv" => {
                let names: Vec<String> = names.collect();
                self.set.retain(|name, _| names.contains(name));
                self.kept = Some(names);
            }
            _ => {}
        }
    }
}

/// Reads a file.
pub(crate) fn lines(
    sources: &Sources,
    file: usize,
    env: &mut Environment<'_>,
    verdicts: &mut Verdicts,
) -> Vec<Line> {
    let text = sources.text(file);
    let mut start = 0;
    let mut lines = Vec::new();
    for raw in text.split_inclusive('\n') {
        let line = raw.trim_end_matches(['\n', '\r']);
        let mut reader = Reader {
            line,
            at: 0,
            spot: |from, to| Spot {
                file,
                start: start + from,
                end: start + to,
            },
            env,
        };
        match reader.words() {
            Ok(words) => {
                if let (Some(first), Some(last)) = (words.first(), words.last()) {
                    let spot = first.spot.to(last.spot);
                    let line = Line { words, spot };
                    env.heed(&line);
                    lines.push(line);
                }
            }
            Err((message, from, to)) => {
                let spot = (reader.spot)(from, to);
                verdicts.refuse(spot, spot, message);
            }
        }
        start += raw.len();
    }
    lines
}

struct Reader<'a, S> {
    line: &'a str,
    at: usize,
    spot: S,
    env: &'a Environment<'a>,
}

/// What is wrong, and from where to where.
type Wrong = (String, usize, usize);

#[derive(Clone, Copy, PartialEq)]
enum Quote {
    None,
    Weak,
    Strong,
}

impl<S: Fn(usize, usize) -> Spot> Reader<'_, S> {
    fn peek(&self) -> Option<char> {
        self.line[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn words(&mut self) -> Result<Vec<Word>, Wrong> {
        let mut words = Vec::new();
        loop {
            while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
                self.next();
            }
            if matches!(self.peek(), None | Some('#')) {
                return Ok(words);
            }
            self.word(&mut words)?;
        }
    }

    /// One word; a variable that stands for several gives several.
    fn word(&mut self, words: &mut Vec<Word>) -> Result<(), Wrong> {
        let start = self.at;
        let mut opened = start;
        let mut quote = Quote::None;
        let mut text = String::new();
        let mut several = Vec::new();
        loop {
            let here = self.at;
            let Some(c) = self.next() else {
                if quote != Quote::None {
                    return Err((
                        "a quote is opened here and not closed".into(),
                        opened,
                        self.at,
                    ));
                }
                break;
            };
            match (quote, c) {
                (Quote::Strong, '\'') | (Quote::Weak, '"') => quote = Quote::None,
                (Quote::Strong, c) => text.push(c),
                (Quote::None, '\'') => (quote, opened) = (Quote::Strong, here),
                (Quote::None, '"') => (quote, opened) = (Quote::Weak, here),
                (_, '\\') => self.escape(quote, &mut text)?,
                (Quote::Weak, '$') => self.variable(&mut text, &mut several)?,
                (Quote::None, c) if c.is_ascii_whitespace() || c == '#' => {
                    self.at = here;
                    break;
                }
                (_, c) => text.push(c),
            }
        }
        several.push(text);
        for text in several {
            words.push(Word {
                text,
                spot: (self.spot)(start, self.at),
            });
        }
        Ok(())
    }

    fn escape(&mut self, quote: Quote, text: &mut String) -> Result<(), Wrong> {
        let start = self.at - 1;
        let Some(c) = self.next() else {
            text.push('\\');
            return Ok(());
        };
        match (quote, c) {
            (_, '\\' | '"' | ' ' | '#' | '\'') | (Quote::Weak, '$') => text.push(c),
            (_, 'n') => text.push('\n'),
            (_, 'r') => text.push('\r'),
            (_, 't') => text.push('\t'),
            (_, 'x') => {
                let digits = self.line.get(self.at..self.at + 2).unwrap_or("");
                let Ok(byte) = u8::from_str_radix(digits, 16) else {
                    return Err(("two hexadecimal digits follow \\x".into(), start, self.at));
                };
                self.at += 2;
                text.push(char::from(byte));
            }
            // What has no meaning stays as it is: a regular expression keeps its backslashes.
            (_, c) => text.extend(['\\', c]),
        }
        Ok(())
    }

    /// `$NAME`, `${NAME}`, `${NAME-default}`, `${NAME[*]}`.
    fn variable(&mut self, text: &mut String, several: &mut Vec<String>) -> Result<(), Wrong> {
        let start = self.at - 1;
        let braced = self.peek() == Some('{');
        let inner = if braced {
            self.next();
            let rest = &self.line[self.at..];
            let Some(end) = rest.find('}') else {
                return Err((
                    "a } closes the name of a variable".into(),
                    start,
                    self.line.len(),
                ));
            };
            self.at += end + 1;
            &rest[..end]
        } else {
            let rest = &self.line[self.at..];
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            self.at += end;
            &rest[..end]
        };
        let (name, default) = match inner.split_once('-') {
            Some((name, default)) if braced => (name, default),
            _ => (inner, ""),
        };
        let (name, listed) = match name.strip_suffix("[*]") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(("this is no name of a variable".into(), start, self.at));
        }
        let value = self.env.get(name).unwrap_or_else(|| default.to_owned());
        if listed {
            let mut parts = value.split_ascii_whitespace().peekable();
            while let Some(part) = parts.next() {
                text.push_str(part);
                if parts.peek().is_some() {
                    several.push(std::mem::take(text));
                }
            }
        } else {
            text.push_str(&value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Vec<String>>, Vec<String>) {
        let mut sources = Sources::default();
        let file = sources.add("h.cfg", text);
        let mut verdicts = Verdicts::default();
        let env = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            "LIST" => Some("a b  c".to_owned()),
            _ => None,
        };
        let lines = lines(&sources, file, &mut Environment::new(&env), &mut verdicts);
        let words = |line: &Line| line.words.iter().map(|w| w.text.clone()).collect();
        let report = verdicts.finish(&sources, &[]);
        let wrong = report.refused().map(|d| d.message.clone()).collect();
        (lines.iter().map(words).collect(), wrong)
    }

    #[test]
    fn quotes_escapes_variables_and_comments_are_haproxys() {
        for (text, words) in [
            ("a b\tc # d", &["a", "b", "c"][..]),
            (r"a\ b \# \x41 c\\d", &["a b", "#", "A", r"c\d"]),
            (
                r#"'a "b" $X \n' "x 'y' \" \$""#,
                &[r#"a "b" $X \n"#, r#"x 'y' " $"#],
            ),
            (
                r#"":${PORT}" "$PORT/" "${NO-1}" $PORT"#,
                &[":8080", "8080/", "1", "$PORT"],
            ),
            (r#"x "${LIST[*]}" y"#, &["x", "a", "b", "c", "y"]),
            (r"path_reg \.jsp$ ^/\d", &["path_reg", r"\.jsp$", r"^/\d"]),
            (r#""" ''"#, &["", ""]),
            // In double quotes, too.
            (
                r#""a\n\t\r\x41\ \#\'\d\1" '\n'"#,
                &["a\n\t\rA #'\\d\\1", "\\n"],
            ),
        ] {
            let (lines, wrong) = read(text);
            assert!(wrong.is_empty(), "{text}: {wrong:?}");
            assert_eq!(lines, [words], "{text}");
        }
        assert!(read("# only\n\n  \n").0.is_empty());
    }

    #[test]
    fn variables_are_for_the_lines_below() {
        let last = |text: &str| read(text).0.pop().unwrap();
        for (lines, value) in [
            ("setenv A 'b c'", "b c"),
            ("setenv A 1\nsetenv A \"${A}2\"", "12"),
            ("presetenv A 1\npresetenv A 2", "1"),
            ("setenv A 1\nunsetenv A", ""),
            ("setenv A 1\nresetenv PORT", ""),
            ("setenv A 1\nresetenv A", "1"),
            ("presetenv PORT 81\nsetenv A \"$PORT\"", "8080"),
            ("resetenv\nsetenv A \"$PORT\"", ""),
        ] {
            let text = format!("{lines}\nx \"${{A}}\"");
            assert_eq!(last(&text), ["x", value], "{lines}");
        }
        assert_eq!(read("x \"${A}\"\nsetenv A 1").0[0], ["x", ""]);
    }

    #[test]
    fn what_is_not_closed_is_told_with_its_place() {
        let (lines, wrong) = read("ok 1\nacl x 'y\nz \"${A\nok \\x4");
        assert_eq!(lines, [["ok", "1"]]);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
    }
}
