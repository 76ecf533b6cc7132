//! The table of keys: every key is one row with its name, kind, default, a line of documentation and the way it is
//! read. The checker, the reference page and the suggestions all come from these rows.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::reader::Reader;
use crate::span::{At, Item, Span};
use crate::suggest::did_you_mean;

/// A kind of value: what it is called, and how it is read.
pub(crate) struct Kind<T> {
    pub text: &'static str,
    pub read: fn(&mut Reader<'_>, &Item<'_>) -> Option<T>,
}

/// What holds when a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It cannot be left out.
    Required,
    /// It can be left out only in a file without `[nodes]`.
    WithNodes,
    /// This is taken, as it would be written.
    Default(&'static str),
    /// This is the case, in words.
    Else(&'static str),
}

/// A key as the reference shows it.
pub(crate) struct Row {
    pub name: &'static str,
    pub kind: &'static str,
    pub need: Need,
    pub doc: &'static str,
    pub available: bool,
}

/// Rows that read into a `D`.
pub(crate) trait Key<D>: Sync {
    fn rows(&self) -> Vec<Row>;

    /// Whether these are the rows of another table, which describes them.
    fn borrowed(&self) -> bool {
        false
    }

    /// Reads `item` if `name` is one of these rows, and says whether it is.
    fn read(
        &self,
        name: &At<&str>,
        draft: &mut D,
        item: &Item<'_>,
        reader: &mut Reader<'_>,
    ) -> bool;
}

/// A key that this version understands.
pub(crate) struct Ready<D, T> {
    name: &'static str,
    kind: Kind<T>,
    need: Need,
    doc: &'static str,
    set: fn(&mut D, At<T>),
}

/// A key of the language that this version does not have.
pub(crate) struct NotYet {
    name: &'static str,
    kind: &'static str,
    doc: &'static str,
}

/// A key that belongs elsewhere, where people look for it.
pub(crate) struct Elsewhere {
    name: &'static str,
    message: &'static str,
    hint: &'static str,
}

/// The rows of another table, read into a part of the draft.
pub(crate) struct Part<D: 'static, E: 'static> {
    pub table: &'static Table<E>,
    pub of: fn(&mut D) -> &mut E,
}

pub(crate) const fn key<D, T>(
    name: &'static str,
    kind: Kind<T>,
    need: Need,
    doc: &'static str,
    set: fn(&mut D, At<T>),
) -> Ready<D, T> {
    Ready {
        name,
        kind,
        need,
        doc,
        set,
    }
}

pub(crate) const fn not_yet(name: &'static str, kind: &'static str, doc: &'static str) -> NotYet {
    NotYet { name, kind, doc }
}

pub(crate) const fn elsewhere(
    name: &'static str,
    message: &'static str,
    hint: &'static str,
) -> Elsewhere {
    Elsewhere {
        name,
        message,
        hint,
    }
}

/// The sentence for what the language has and this version has not.
pub(crate) fn unavailable(what: &str) -> String {
    format!("`{what}` is not available yet in this version")
}

impl<D, T> Key<D> for Ready<D, T> {
    fn rows(&self) -> Vec<Row> {
        vec![Row {
            name: self.name,
            kind: self.kind.text,
            need: self.need,
            doc: self.doc,
            available: true,
        }]
    }

    fn read(
        &self,
        name: &At<&str>,
        draft: &mut D,
        item: &Item<'_>,
        reader: &mut Reader<'_>,
    ) -> bool {
        if name.value != self.name {
            return false;
        }
        if let Some(value) = (self.kind.read)(reader, item) {
            (self.set)(draft, At::new(value, item.span()));
        }
        true
    }
}

impl<D> Key<D> for NotYet {
    fn rows(&self) -> Vec<Row> {
        vec![Row {
            name: self.name,
            kind: self.kind,
            need: Need::Else(""),
            doc: self.doc,
            available: false,
        }]
    }

    fn read(&self, name: &At<&str>, _: &mut D, _: &Item<'_>, reader: &mut Reader<'_>) -> bool {
        if name.value != self.name {
            return false;
        }
        reader.wrong(&name.span, unavailable(self.name));
        true
    }
}

impl<D> Key<D> for Elsewhere {
    /// The reference does not have it here.
    fn rows(&self) -> Vec<Row> {
        Vec::new()
    }

    fn read(&self, name: &At<&str>, _: &mut D, _: &Item<'_>, reader: &mut Reader<'_>) -> bool {
        if name.value != self.name {
            return false;
        }
        reader.wrong_hint(&name.span, self.message, Some(self.hint.into()));
        true
    }
}

impl<D, E: Default> Key<D> for Part<D, E> {
    fn rows(&self) -> Vec<Row> {
        self.table.rows()
    }

    fn borrowed(&self) -> bool {
        true
    }

    fn read(
        &self,
        name: &At<&str>,
        draft: &mut D,
        item: &Item<'_>,
        reader: &mut Reader<'_>,
    ) -> bool {
        let part = (self.of)(draft);
        let mut keys = self.table.keys.iter();
        keys.any(|key| key.read(name, part, item, reader))
    }
}

/// A kind of table of the file.
pub(crate) struct Table<D: 'static> {
    /// As it is written: `[site.NAME]`, `check`.
    pub heading: &'static str,
    /// What to call it in a message, when the section's name does not say it: "`check`".
    pub label: &'static str,
    pub doc: &'static str,
    pub keys: &'static [&'static dyn Key<D>],
}

/// A table of the file that was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section<D> {
    pub draft: D,
    /// Where to point for the whole.
    pub span: Span,
    /// The keys that are there, also those that could not be read.
    pub present: BTreeMap<String, Span>,
    /// Something in it could not be read.
    pub broken: bool,
}

impl<D> Section<D> {
    pub fn has(&self, key: &str) -> bool {
        self.present.contains_key(key)
    }

    /// Where a key is, or else the section.
    pub fn place(&self, key: &str) -> Span {
        self.present.get(key).unwrap_or(&self.span).clone()
    }
}

/// A table with a name, `[site.www]`.
pub(crate) struct Named<D> {
    pub name: At<String>,
    pub section: Section<D>,
}

impl<D: Default> Table<D> {
    /// Reads a table by its rows. `header` is where to point when something is missing.
    pub fn read(&self, reader: &mut Reader<'_>, header: Span, table: &DeTable<'_>) -> Section<D> {
        let before = reader.mistakes();
        let mut draft = D::default();
        let mut present = BTreeMap::new();
        for (name, item) in in_order(table) {
            present.insert(name.value.to_owned(), name.span.clone());
            let mut keys = self.keys.iter();
            if !keys.any(|key| key.read(&name, &mut draft, item, reader)) {
                let hint = did_you_mean(name.value, self.rows().iter().map(|row| row.name));
                let place = self.place(reader);
                reader.wrong_hint(
                    &name.span,
                    format!("unknown key `{}`{place}", name.value),
                    hint,
                );
            }
        }
        for row in self.rows() {
            let needed = match row.need {
                Need::Required => true,
                Need::WithNodes => reader.has_nodes,
                Need::Default(_) | Need::Else(_) => false,
            };
            if needed && !present.contains_key(row.name) && !reader.is_broken() {
                let place = self.place(reader);
                reader.wrong(&header, format!("`{}` is missing{place}", row.name));
            }
        }
        Section {
            draft,
            span: header,
            present,
            broken: reader.mistakes() != before,
        }
    }

    /// Reads an inline table.
    pub fn read_item(&self, reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Section<D>> {
        let DeValue::Table(table) = item.get_ref() else {
            reader.expected(item, &format!("a table like {}", self.heading));
            return None;
        };
        Some(self.read(reader, item.span(), table))
    }

    fn place(&self, reader: &Reader<'_>) -> String {
        match (self.label, reader.section.as_str()) {
            ("", "") => String::new(),
            ("", section) => format!(" in {section}"),
            (label, "") => format!(" in {label}"),
            (label, section) => format!(" in {label} of {section}"),
        }
    }
}

impl<D> Table<D> {
    fn rows(&self) -> Vec<Row> {
        self.keys.iter().flat_map(|key| key.rows()).collect()
    }
}

/// Reads `[kind.NAME]` tables, in the order of the file.
pub(crate) fn named<D: Default>(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    kind: &str,
    table: &Table<D>,
) -> Option<Vec<Named<D>>> {
    let DeValue::Table(tables) = item.get_ref() else {
        reader.expected(item, &format!("tables, [{kind}.NAME]"));
        return None;
    };
    let mut list = Vec::new();
    for (name, item) in in_order(tables) {
        let DeValue::Table(body) = item.get_ref() else {
            reader.wrong(
                &name.span,
                format!(
                    "`{}` stands in no {kind}: each has a name, [{kind}.NAME]",
                    name.value
                ),
            );
            continue;
        };
        reader.section = format!("[{kind}.{}]", name.value);
        let section = table.read(reader, name.span.clone(), body);
        reader.section.clear();
        list.push(Named {
            name: At::new(name.value.to_owned(), name.span),
            section,
        });
    }
    Some(list)
}

/// The entries of a table in the order of the file.
pub(crate) fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(At<&'t str>, &'t Item<'i>)> {
    let mut entries: Vec<(&Spanned<DeString<'i>>, &Item<'i>)> = table
        .iter()
        // The parser's stand-in for a value that is not there; it has said so.
        .filter(|(_, item)| !(item.get_ref().is_integer() && item.span() == (0..0)))
        .collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
        .into_iter()
        .map(|(name, item)| (At::new(name.get_ref().as_ref(), name.span()), item))
        .collect()
}

/// A table whatever it reads into, for the reference.
pub(crate) trait Described: Sync {
    fn heading(&self) -> &'static str;
    fn doc(&self) -> &'static str;
    /// Its own rows, without those of tables it includes.
    fn rows(&self) -> Vec<Row>;
}

impl<D> Described for Table<D> {
    fn heading(&self) -> &'static str {
        self.heading
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn rows(&self) -> Vec<Row> {
        let own = self.keys.iter().filter(|key| !key.borrowed());
        own.flat_map(|key| key.rows()).collect()
    }
}
