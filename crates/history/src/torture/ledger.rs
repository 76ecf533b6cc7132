//! What the clients did, checked round by round while they go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::load::Done;
use crate::{Limits, Operation, Outcome, Verdict, check};

/// Microseconds of a slot of [`Ledger::answered`].
const SLOT: u64 = 10_000;
/// A silence of fewer slots is the ordinary course of things.
const SILENT: usize = 10;

/// The books of a run.
#[derive(Default)]
pub struct Ledger {
    /// What all rounds prove.
    pub verdict: Verdict,
    /// Operations that were refused.
    pub refused: usize,
    /// The longest that one operation took, in microseconds.
    pub longest: u64,
    /// For each 10 ms whether any operation was answered in them.
    answered: Vec<bool>,
}

impl Ledger {
    /// Takes in what `clients` clients did until all have stopped. `broken` is set as soon as a promise is seen broken.
    pub fn keep(
        history: &Receiver<Done>,
        clients: u32,
        limits: &Limits,
        broken: &AtomicBool,
    ) -> Self {
        let mut ledger = Self::default();
        let mut rounds: BTreeMap<u64, (u32, Vec<Operation>)> = BTreeMap::new();
        for done in history {
            ledger.note(&done.operations);
            let (heard, operations) = rounds.entry(done.round).or_default();
            *heard += 1;
            operations.extend(done.operations);
            if *heard == clients {
                let whole = rounds.remove(&done.round).unwrap_or_default();
                ledger.judge(whole.1, limits, broken);
            }
        }
        for (_, operations) in rounds.into_values() {
            ledger.judge(operations, limits, broken);
        }
        ledger
    }

    fn note(&mut self, operations: &[Operation]) {
        for op in operations {
            self.longest = self.longest.max(op.returned - op.invoked);
            match op.outcome {
                Outcome::Failed => self.refused += 1,
                Outcome::Unknown => {}
                _ => {
                    let slot = (op.returned / SLOT) as usize;
                    if self.answered.len() <= slot {
                        self.answered.resize(slot + 1, false);
                    }
                    self.answered[slot] = true;
                }
            }
        }
    }

    fn judge(&mut self, operations: Vec<Operation>, limits: &Limits, broken: &AtomicBool) {
        let found = check(operations, limits);
        if !found.holds() {
            broken.store(true, Ordering::Relaxed);
        }
        self.verdict += found;
    }

    /// Times in which nobody was answered for 100 ms or more.
    pub fn silences(&self) -> Vec<Duration> {
        let runs = self.answered.split(|answered| *answered);
        runs.map(<[bool]>::len)
            .filter(|slots| *slots >= SILENT)
            .map(|slots| Duration::from_micros(slots as u64 * SLOT))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Call, Kind};

    fn operation(key: &str, at: u64, call: Call, outcome: Outcome) -> Operation {
        Operation {
            client: 0,
            key: key.into(),
            invoked: at,
            returned: at + 100,
            call,
            outcome,
        }
    }

    #[test]
    fn a_round_is_judged_with_what_all_clients_did_in_it() {
        let (hand, history) = mpsc::channel();
        let value: crate::Value = (*b"a").into();
        let set = Call::Set {
            value: value.clone(),
            life: None,
        };
        let wrote = operation("k", 1_000, set, Outcome::Stored);
        let saw = operation("k", 2_000, Call::Get, Outcome::Hit(value, None));
        let lost = operation("k", 500_000, Call::Get, Outcome::Miss);
        for operations in [vec![wrote], vec![saw, lost]] {
            let round = 0;
            hand.send(Done { round, operations }).unwrap();
        }
        drop(hand);
        let broken = AtomicBool::new(false);
        let ledger = Ledger::keep(&history, 2, &Limits::default(), &broken);
        let kinds: Vec<Kind> = ledger.verdict.violations.iter().map(|v| v.kind).collect();
        assert_eq!(kinds, [Kind::LostWrite]);
        assert!(broken.into_inner());
        assert_eq!(ledger.verdict.operations, 3);
        assert_eq!(ledger.silences(), [Duration::from_millis(490)]);
    }
}
