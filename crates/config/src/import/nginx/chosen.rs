//! A variable whose value is one of several, by what a request has.

use super::super::logic::{Either, Literal, TooMany};
use super::variables::{self, Piece};

/// Values and when they hold: the first that does has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub entries: Vec<Entry>,
    pub default: String,
}

/// One of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub when: Either,
    pub value: String,
    /// The expression that the path fits then, whose finds the value may have; and whether case does not matter to it.
    pub found: Option<(String, bool)>,
    /// The value is neither empty nor `0`, whatever it is then.
    pub is_something: bool,
}

impl Entry {
    pub fn new(when: Either, value: String) -> Self {
        Self {
            when,
            value,
            found: None,
            is_something: false,
        }
    }
}

impl Chosen {
    /// Always the same.
    pub fn fixed(value: &str) -> Self {
        Self {
            entries: Vec::new(),
            default: value.to_owned(),
        }
    }

    pub fn values(&self) -> impl Iterator<Item = &str> {
        let entries = self.entries.iter().map(|entry| entry.value.as_str());
        entries.chain(std::iter::once(self.default.as_str()))
    }

    /// When it has a value for which something holds.
    pub fn when(&self, holds: &dyn Fn(&str) -> bool) -> Result<Either, String> {
        if let Some(value) = self.values().find(|value| value.contains('$')) {
            return Err(format!("\"{value}\" is worked out for each request"));
        }
        let mut either = Either::constant(holds(&self.default));
        // Those that say the same one after the other are one list.
        let held = self.entries.iter().map(|entry| holds(&entry.value));
        let held: Vec<bool> = held.collect();
        let mut end = self.entries.len();
        while end > 0 {
            let truth = held[end - 1];
            let start = held[..end].iter().rposition(|held| *held != truth);
            let start = start.map_or(0, |at| at + 1);
            let mut any = Either::never();
            for entry in &self.entries[start..end] {
                any = any.or(entry.when.clone()).map_err(many)?;
            }
            either = if truth {
                any.or(either).map_err(many)?
            } else {
                any.negated().map_err(many)?.and(&either).map_err(many)?
            };
            end = start;
        }
        Ok(either)
    }

    /// The same with as few entries as say it.
    pub fn merged(mut self) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for entry in self.entries {
            if let Some(last) = entries.last_mut()
                && last.value == entry.value
                && last.is_something == entry.is_something
                && last.found.is_none()
                && entry.found.is_none()
                && let Ok(both) = last.when.clone().or(entry.when.clone())
            {
                last.when = both;
                continue;
            }
            entries.push(entry);
        }
        while (entries.last()).is_some_and(|last| last.value == self.default) {
            entries.pop();
        }
        self.entries = entries;
        self
    }
}

/// Whether a value is neither empty nor `0`; `None` where each request says so.
pub(crate) fn is_something(value: &str) -> Option<bool> {
    let pieces = variables::pieces(value).ok()?;
    let mut literal = String::new();
    let mut fixed = true;
    for piece in pieces {
        match piece {
            Piece::Text(text) => literal.push_str(text),
            Piece::Name { .. } => fixed = false,
        }
    }
    let something = !matches!(literal.as_str(), "" | "0");
    (fixed || something).then_some(something)
}

/// What is left to ask where this is known: questions and whether they hold.
pub(crate) fn left(either: &Either, known: &[(Literal, bool)]) -> Either {
    let truth = |literal: &Literal| {
        known.iter().find_map(|(asked, holds)| {
            let same = asked.subject == literal.subject
                && asked.patterns == literal.patterns
                && asked.fold == literal.fold;
            same.then_some(*holds == (asked.not == literal.not))
        })
    };
    let mut all = Vec::new();
    for together in &either.0 {
        if together.iter().any(|literal| truth(literal) == Some(false)) {
            continue;
        }
        let open = together.iter().filter(|literal| truth(literal).is_none());
        all.push(open.cloned().collect());
    }
    Either(all)
}

pub(crate) fn many(_: TooMany) -> String {
    "this condition has too many alternatives".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::super::logic::Subject;
    use super::*;

    fn host(name: &str) -> Either {
        Either::of(Literal {
            subject: Subject::Host,
            patterns: vec![name.into()],
            fold: false,
            not: false,
        })
    }

    #[test]
    fn what_is_known_is_not_asked_again() {
        let literal = |name: &str| host(name).0[0][0].clone();
        let known = [(literal("a"), true), (literal("b"), false)];
        assert_eq!(left(&host("a"), &known), Either::always());
        assert_eq!(left(&host("b"), &known), Either::never());
        assert_eq!(left(&host("c"), &known), host("c"));
        let not_b = host("b").negated().unwrap();
        assert_eq!(left(&not_b, &known), Either::always());
    }

    #[test]
    fn entries_that_say_the_same_are_one() {
        let entry = |name: &str, value: &str| Entry::new(host(name), value.to_owned());
        let chosen = Chosen {
            entries: vec![entry("a", "1"), entry("b", "1"), entry("c", "")],
            default: String::new(),
        };
        let merged = chosen.merged();
        assert_eq!(merged.entries.len(), 1);
        assert_eq!(merged.entries[0].when.0[0][0].patterns, ["a", "b"]);
    }

    #[test]
    fn something_is_known_by_what_is_written() {
        for (value, known) in [
            ("", Some(false)),
            ("0", Some(false)),
            ("00", Some(true)),
            ("/new/$1", Some(true)),
            ("0$host", None),
            ("$host", None),
        ] {
            assert_eq!(is_something(value), known, "{value}");
        }
    }
}
