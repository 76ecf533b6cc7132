//! Tables of directives: one row for each directive of another program's language. What is understood, what is not,
//! the suggestions for misspelt words and the reference pages all come from these rows.

use std::fmt::Write as _;

use crate::suggest::nearest;

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It is translated; the words say into what.
    To(&'static str),
    /// It has no effect here; the words say why that is right.
    Without(&'static str),
    /// It is known and cannot be translated; the words say why, or what to do.
    Refused(&'static str),
    /// The same, unless it is switched off: `off` or `0`.
    RefusedOn(&'static str),
}

/// One directive.
pub(crate) struct Row {
    /// Its word or words: `option httplog`; with a star at its end all words that begin so.
    pub name: &'static str,
    /// Where it may stand: bits, whose names the table knows.
    pub places: u16,
    /// How many arguments follow its name, at least and at most.
    pub args: (u8, u8),
    pub how: How,
}

/// Any number of arguments.
pub(crate) const MANY: u8 = u8::MAX;

pub(crate) const fn to(name: &'static str, places: u16, args: (u8, u8), into: &'static str) -> Row {
    Row {
        name,
        places,
        args,
        how: How::To(into),
    }
}

pub(crate) const fn without(
    name: &'static str,
    places: u16,
    args: (u8, u8),
    why: &'static str,
) -> Row {
    Row {
        name,
        places,
        args,
        how: How::Without(why),
    }
}

pub(crate) const fn refused(
    name: &'static str,
    places: u16,
    args: (u8, u8),
    why: &'static str,
) -> Row {
    Row {
        name,
        places,
        args,
        how: How::Refused(why),
    }
}

pub(crate) const fn refused_on(
    name: &'static str,
    places: u16,
    args: (u8, u8),
    why: &'static str,
) -> Row {
    Row {
        name,
        places,
        args,
        how: How::RefusedOn(why),
    }
}

/// A language: its rows, and the names of the places they may stand at.
pub(crate) struct Language {
    pub title: &'static str,
    pub introduction: &'static str,
    pub places: &'static [(u16, &'static str)],
    pub rows: &'static [&'static [Row]],
}

impl Language {
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.rows.iter().copied().flatten()
    }

    /// The row of a name at a place, or else of that name at another.
    pub fn find(&self, name: &str, place: u16) -> Option<&'static Row> {
        let named = || self.rows().filter(|row| row.name == name);
        named()
            .find(|row| row.places & place != 0)
            .or_else(|| named().next())
            .or_else(|| self.family(name))
    }

    /// The row of all words that begin alike. A word that is nearly one with a row of its own was meant to be that one.
    fn family(&self, name: &str) -> Option<&'static Row> {
        let begins = |row: &&Row| {
            let prefix = row.name.strip_suffix('*');
            prefix.is_some_and(|prefix| name.starts_with(prefix))
        };
        let family = self.rows().find(begins)?;
        let prefix = family.name.trim_end_matches('*');
        // One that would do something, or be refused: the others change nothing.
        let own = self
            .rows()
            .filter(|row| row.name.starts_with(prefix))
            .filter(|row| matches!(row.how, How::Refused(_) | How::To(_)))
            .map(|row| row.name);
        nearest(name, own).is_none().then_some(family)
    }

    /// The sentence for a word that is no directive.
    pub fn suggest(&self, name: &str, place: u16) -> Option<String> {
        let here = self.rows().filter(|row| row.places & place != 0);
        nearest(name, here.map(|row| row.name))
            .or_else(|| nearest(name, self.rows().map(|row| row.name)))
            .map(|near| format!("did you mean `{near}`?"))
    }

    /// The names of places.
    pub fn named(&self, places: u16) -> String {
        let names: Vec<&str> = self
            .places
            .iter()
            .filter(|(bit, _)| places & bit != 0)
            .map(|(_, name)| *name)
            .collect();
        names.join(", ")
    }

    /// The reference page, as Markdown.
    pub fn reference(&self) -> String {
        let mut page = format!(
            "# {}\n\n<!-- Made from the table of directives (crates/config/src/import): change it there. -->\n\n{}\n",
            self.title, self.introduction
        );
        type Pick = fn(&How) -> Option<String>;
        let kinds: [(&str, &str, Pick); 3] = [
            ("Translated", "becomes", |how| match how {
                How::To(words) => Some((*words).to_owned()),
                _ => None,
            }),
            (
                "Accepted, without effect here",
                "because",
                |how| match how {
                    How::Without(words) => Some((*words).to_owned()),
                    _ => None,
                },
            ),
            ("Refused", "because", |how| match how {
                How::Refused(words) => Some((*words).to_owned()),
                How::RefusedOn(words) => Some(format!("unless it is `off`: {words}")),
                _ => None,
            }),
        ];
        for (heading, column, pick) in kinds {
            let _ = write!(
                page,
                "\n## {heading}\n\n| directive | in | {column} |\n|---|---|---|\n"
            );
            let mut rows: Vec<&Row> = self.rows().filter(|row| pick(&row.how).is_some()).collect();
            rows.sort_by_key(|row| row.name);
            for row in rows {
                let words = pick(&row.how).unwrap_or_default();
                let _ = writeln!(
                    page,
                    "| `{}` | {} | {words} |",
                    row.name,
                    self.named(row.places)
                );
            }
        }
        page
    }
}
