//! What became of each directive: nothing is dropped silently.

use std::collections::BTreeMap;
use std::fmt;

use super::sources::{Sources, Spot};
use crate::diagnostics::Diagnostic;

/// What became of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is in the cluster file, and means the same.
    Translated,
    /// It is in the cluster file, and something about it is worth knowing.
    Noted,
    /// It has no effect here; the message says why that is right.
    Without,
    /// It cannot be translated.
    Refused,
}

/// A directive and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What became of it.
    pub verdict: Verdict,
    /// Its file, line and column, and why or what is wrong. The message is empty for what is simply translated.
    pub diagnostic: Diagnostic,
}

/// All directives of all files, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    entries: Vec<Entry>,
}

impl Report {
    /// Every entry, in the order of the files.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What could not be translated.
    pub fn refused(&self) -> impl Iterator<Item = &Diagnostic> {
        self.of(Verdict::Refused)
    }

    /// Entries of one kind.
    pub fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Diagnostic> {
        let wanted = move |entry: &&Entry| entry.verdict == verdict;
        self.entries
            .iter()
            .filter(wanted)
            .map(|entry| &entry.diagnostic)
    }

    pub(crate) fn push(&mut self, verdict: Verdict, diagnostic: Diagnostic) {
        self.entries.push(Entry {
            verdict,
            diagnostic,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let translated = self.of(Verdict::Translated).count();
        let (noted, without) = (
            self.of(Verdict::Noted).count(),
            self.of(Verdict::Without).count(),
        );
        let refused = self.of(Verdict::Refused).count();
        writeln!(
            f,
            "{} directives translated, {without} without effect here, {refused} refused",
            translated + noted
        )?;
        for (verdict, heading) in [
            (Verdict::Noted, "translated, worth knowing"),
            (Verdict::Without, "without effect here"),
        ] {
            if self.of(verdict).next().is_some() {
                writeln!(f, "\n{heading}:")?;
            }
            for Diagnostic {
                file,
                place,
                message,
                ..
            } in self.of(verdict)
            {
                let line = place
                    .as_ref()
                    .map_or(String::new(), |p| format!(":{}", p.line));
                writeln!(f, "  {file}{line}: {message}")?;
            }
        }
        if refused > 0 {
            writeln!(f, "\nrefused:")?;
        }
        for diagnostic in self.refused() {
            writeln!(f, "\n{diagnostic}")?;
        }
        Ok(())
    }
}

/// A report in the making: verdicts by spot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdicts {
    found: BTreeMap<Spot, (Verdict, Vec<Said>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    verdict: Verdict,
    message: String,
    hint: Option<String>,
    at: Spot,
}

impl Verdicts {
    /// The directive is in the cluster file.
    pub fn translated(&mut self, directive: Spot) {
        self.found
            .entry(directive)
            .or_insert((Verdict::Translated, Vec::new()));
    }

    /// It is in the cluster file, and this is worth knowing.
    pub fn note(&mut self, directive: Spot, message: impl Into<String>) {
        self.say(directive, Verdict::Noted, directive, message.into(), None);
    }

    /// It has no effect, for this reason.
    pub fn without(&mut self, directive: Spot, message: impl Into<String>) {
        self.say(directive, Verdict::Without, directive, message.into(), None);
    }

    /// Something `at` a place in the directive is wrong.
    pub fn refuse(&mut self, directive: Spot, at: Spot, message: impl Into<String>) {
        self.say(directive, Verdict::Refused, at, message.into(), None);
    }

    /// As [`Self::refuse`], with what may have been meant.
    pub fn refuse_hint(
        &mut self,
        directive: Spot,
        at: Spot,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.say(directive, Verdict::Refused, at, message.into(), hint);
    }

    fn say(
        &mut self,
        directive: Spot,
        verdict: Verdict,
        at: Spot,
        message: String,
        hint: Option<String>,
    ) {
        let said = Said {
            verdict,
            message,
            hint,
            at,
        };
        let (worst, list) = self.found.entry(directive).or_insert((verdict, Vec::new()));
        *worst = verdict.max(*worst);
        if !list.contains(&said) {
            list.push(said);
        }
    }

    /// Takes over what was said of other files.
    pub fn join(&mut self, other: Self) {
        self.found.extend(other.found);
    }

    pub fn has(&self, directive: Spot) -> bool {
        self.found.contains_key(&directive)
    }

    /// The report. What was seen of the files but has no verdict is refused: a directive is never dropped silently.
    pub fn finish(mut self, sources: &Sources, seen: &[(Spot, String)]) -> Report {
        for (spot, words) in seen {
            if !self.has(*spot) {
                self.refuse(*spot, *spot, format!("`{words}` is not translated"));
            }
        }
        let mut report = Report::default();
        for (directive, (worst, list)) in self.found {
            if worst == Verdict::Translated {
                let place = Some(sources.place(directive));
                report.push(
                    worst,
                    Diagnostic {
                        file: sources.name(directive.file).into(),
                        place,
                        message: String::new(),
                        hint: None,
                    },
                );
            }
            let shown = list.into_iter().filter(|said| said.verdict == worst);
            for said in shown {
                report.push(
                    worst,
                    Diagnostic {
                        file: sources.name(said.at.file).into(),
                        place: Some(sources.place(said.at)),
                        message: said.message,
                        hint: said.hint,
                    },
                );
            }
        }
        report
    }
}
