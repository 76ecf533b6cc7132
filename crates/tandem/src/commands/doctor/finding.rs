//! What a doctor has to say.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works, and could be better.
    Note,
    /// It does not work.
    Wrong,
}

/// Findings, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
    about: &'static str,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// What was looked at: one word.
    pub about: &'static str,
    /// What there is to say, with the remedy if something is wrong.
    pub text: String,
}

impl Findings {
    /// What comes is about this.
    pub fn about(&mut self, what: &'static str) {
        self.about = what;
    }

    /// As it should be.
    pub fn good(&mut self, text: impl Into<String>) {
        self.push(Grade::Good, text.into());
    }

    /// It works, and could be better.
    pub fn note(&mut self, text: impl Into<String>) {
        self.push(Grade::Note, text.into());
    }

    /// It does not work; `text` ends with the remedy.
    pub fn wrong(&mut self, text: impl Into<String>) {
        self.push(Grade::Wrong, text.into());
    }

    fn push(&mut self, grade: Grade, text: String) {
        let about = self.about;
        self.all.push(Finding { grade, about, text });
    }

    /// All of them.
    pub fn all(&self) -> &[Finding] {
        &self.all
    }

    /// Whether nothing is wrong.
    pub fn all_is_well(&self) -> bool {
        self.all.iter().all(|finding| finding.grade != Grade::Wrong)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { grade, text, .. } in &self.all {
            let word = match grade {
                Grade::Good => "good ",
                Grade::Note => "note ",
                Grade::Wrong => "WRONG",
            };
            writeln!(f, "{word}  {text}")?;
        }
        Ok(())
    }
}
