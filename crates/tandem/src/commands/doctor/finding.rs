//! What a doctor has to say.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct Findings(Vec<(Grade, String)>);

impl Findings {
    /// As it should be.
    pub fn good(&mut self, text: impl Into<String>) {
        self.0.push((Grade::Good, text.into()));
    }

    /// It works, and could be better.
    pub fn note(&mut self, text: impl Into<String>) {
        self.0.push((Grade::Note, text.into()));
    }

    /// It does not work; `text` ends with the remedy.
    pub fn wrong(&mut self, text: impl Into<String>) {
        self.0.push((Grade::Wrong, text.into()));
    }

    /// Whether nothing is wrong.
    pub fn all_is_well(&self) -> bool {
        self.0.iter().all(|(grade, _)| *grade != Grade::Wrong)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (grade, text) in &self.0 {
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
