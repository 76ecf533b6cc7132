//! What holds for a section: its own lines, and those of the `defaults` it is under.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::super::sources::Spot;
use super::sections::{Section, name_of};
use super::table::{DEFAULTS, LISTEN};
use super::words::Line;

/// A frontend, backend or listen section.
pub(crate) struct Proxy<'a> {
    pub section: &'a Section,
    defaults: Option<&'a Section>,
    /// Lines that were asked for: what no one asks for is told.
    used: &'a RefCell<BTreeSet<Spot>>,
}

impl<'a> Proxy<'a> {
    /// A section with the `defaults` that hold for it.
    pub fn new(
        section: &'a Section,
        sections: &'a [Section],
        used: &'a RefCell<BTreeSet<Spot>>,
    ) -> Self {
        let head = &section.head;
        let from = head.words.iter().position(|word| word.text == "from");
        let from = from.map(|at| head.word(at + 1));
        let before = sections
            .iter()
            .take_while(|other| other.head.spot != section.head.spot);
        let defaults = before
            .filter(|other| other.kind == DEFAULTS && from.is_none_or(|name| other.name == name))
            .last();
        Self {
            section,
            defaults,
            used,
        }
    }

    pub fn name(&self) -> &str {
        &self.section.name
    }

    pub fn is_listen(&self) -> bool {
        self.section.kind == LISTEN
    }

    /// Its own lines of a directive.
    pub fn own(&self, name: &str) -> impl Iterator<Item = &'a Line> {
        self.section
            .lines
            .iter()
            .filter(move |line| name_of(line) == name)
    }

    /// The lines of the defaults of a directive, then its own.
    pub fn all(&self, name: &str) -> Vec<&'a Line> {
        let defaults = self.defaults.into_iter().flat_map(|section| &section.lines);
        let lines: Vec<&Line> = defaults
            .chain(&self.section.lines)
            .filter(|line| name_of(line) == name)
            .collect();
        self.used
            .borrow_mut()
            .extend(lines.iter().map(|line| line.spot));
        lines
    }

    /// The line of a directive that counts: its last own one, or the last of the defaults. `no` takes it back.
    pub fn get(&self, name: &str) -> Option<&'a Line> {
        let own = self.own(name).last();
        let line = own.or_else(|| self.all(name).pop())?;
        self.used.borrow_mut().insert(line.spot);
        (line.word(0) != "no").then_some(line)
    }

    /// The argument of a directive of two words or one.
    pub fn argument(&self, name: &str) -> Option<(&'a Line, usize)> {
        let line = self.get(name)?;
        Some((line, name.split(' ').count()))
    }

    pub fn is_tcp(&self) -> bool {
        match self.get("mode") {
            Some(line) => line.word(1) == "tcp",
            // HAProxy's own default.
            None => true,
        }
    }
}
