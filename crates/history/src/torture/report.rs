//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::ledger::Ledger;
use crate::Verdict;

/// Violations that are printed with their histories.
const SHOWN: usize = 3;

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was broken, in a line.
    pub stage: String,
    /// Each fault: when it began, in seconds, and what it was.
    pub faults: Vec<(f64, String)>,
    /// What the histories prove.
    pub verdict: Verdict,
    /// Operations that were refused: nothing was done.
    pub refused: usize,
    /// Times of 100 ms and more in which no operation of any client was answered.
    pub silences: Vec<Duration>,
    /// The longest that one operation took.
    pub longest: Duration,
    /// How long the load ran.
    pub length: Duration,
}

impl Report {
    pub(super) fn new(
        seed: u64,
        stage: String,
        faults: Vec<(f64, String)>,
        ledger: Ledger,
        length: Duration,
    ) -> Self {
        Self {
            seed,
            stage,
            faults,
            refused: ledger.refused,
            silences: ledger.silences(),
            longest: Duration::from_micros(ledger.longest),
            length,
            verdict: ledger.verdict,
        }
    }

    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.verdict.holds()
    }

    /// How many keys there are for each kind of violation, in words.
    pub fn kinds(&self) -> String {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for violation in &self.verdict.violations {
            *kinds.entry(violation.kind.to_string()).or_default() += 1;
        }
        let kinds: Vec<_> = kinds
            .iter()
            .map(|(kind, count)| format!("{count} x {kind}"))
            .collect();
        kinds.join(", ")
    }

    /// The sum of all silences.
    pub fn unavailable(&self) -> Duration {
        self.silences.iter().sum()
    }
}

/// With the first violations.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, seed {}", self.stage, self.seed)?;
        for (at, what) in &self.faults {
            writeln!(f, "{at:8.2} s  {what}")?;
        }
        let silent = self.silences.iter().max().copied().unwrap_or_default();
        writeln!(
            f,
            "operations          {} in {:.0} s, {} keys\n\
             faults              {}\n\
             outcomes unknown    {}\n\
             refused             {}\n\
             nobody answered     {:.2} s in all, {} times for 100 ms or more, {:.2} s at the longest\n\
             longest operation   {:.3} s\n\
             undecided keys      {}\n\
             violations          {}{}",
            self.verdict.operations,
            self.length.as_secs_f64(),
            self.verdict.keys,
            self.faults.len(),
            self.verdict.unknown,
            self.refused,
            self.unavailable().as_secs_f64(),
            self.silences.len(),
            silent.as_secs_f64(),
            self.longest.as_secs_f64(),
            self.verdict.undecided.len(),
            self.verdict.violations.len(),
            match self.kinds() {
                kinds if kinds.is_empty() => kinds,
                kinds => format!(" ({kinds})"),
            }
        )?;
        let mut violations = self.verdict.violations.iter();
        violations
            .by_ref()
            .take(SHOWN)
            .try_for_each(|violation| write!(f, "\n{violation}"))?;
        match violations.count() {
            0 => Ok(()),
            more => writeln!(f, "\nand {more} more"),
        }
    }
}
