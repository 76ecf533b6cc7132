//! The files that are translated, and places in them.

use crate::diagnostics::{Lines, Place};

/// A file of another program.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As it was named.
    pub name: String,
    pub text: String,
    lines: Lines,
}

/// All files of one translation: those named, and those they include.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(Vec<Source>);

/// Some bytes of one of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Spot {
    pub file: usize,
    pub start: usize,
    pub end: usize,
}

impl Spot {
    /// From the beginning of this to the end of `other`, in the same file.
    pub fn to(self, other: Self) -> Self {
        Self {
            end: if other.file == self.file {
                other.end.max(self.end)
            } else {
                self.end
            },
            ..self
        }
    }
}

impl Sources {
    /// Adds a file and gives its number.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        let text = text.into();
        self.0.push(Source {
            name: name.into(),
            lines: Lines::of(&text),
            text,
        });
        self.0.len() - 1
    }

    pub fn name(&self, file: usize) -> &str {
        self.0.get(file).map_or("", |source| &source.name)
    }

    pub fn text(&self, file: usize) -> &str {
        self.0.get(file).map_or("", |source| &source.text)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The files by name, with what is in them.
    pub fn into_files(self) -> Vec<(String, String)> {
        self.0
            .into_iter()
            .map(|source| (source.name, source.text))
            .collect()
    }

    /// The beginning of a file.
    pub fn beginning(&self, file: usize) -> Spot {
        let text = self.text(file);
        let end = text.find('\n').unwrap_or(text.len());
        Spot {
            file,
            start: 0,
            end,
        }
    }

    /// The line of a spot, from 1.
    pub fn line(&self, spot: Spot) -> usize {
        let source = self.0.get(spot.file);
        source.map_or(1, |source| source.lines.line(spot.start))
    }

    /// The spot with line, column and source, as messages show it.
    pub fn place(&self, spot: Spot) -> Place {
        let span = spot.start..spot.end;
        match self.0.get(spot.file) {
            Some(source) => Place::of(&source.text, &source.lines, &span),
            None => Place::of("", &Lines::of(""), &span),
        }
    }

    /// `FILE:LINE`, with the file's own name only.
    pub fn short(&self, spot: Spot) -> String {
        let name = self.name(spot.file);
        let name = name.rsplit('/').next().unwrap_or(name);
        format!("{name}:{}", self.line(spot))
    }
}
