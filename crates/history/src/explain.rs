//! A violation in words: what kind it is, and the shortest part of the history that shows it.

use std::fmt;
use std::sync::Arc;

use crate::check::{Found, search};
use crate::model::Limits;
use crate::record::{Call, Operation, Outcome, Value};

/// Operations that are printed of a violation.
const SHOWN: usize = 40;

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A read showed a value after another had taken its place.
    StaleRead,
    /// A write that was acknowledged is not there.
    LostWrite,
    /// An item is there again after a delete.
    Resurrection,
    /// An item was gone before its life was over.
    EarlyExpiry,
    /// An item that was seen to be gone is there again, though nobody wrote it.
    ExpiryUndone,
    /// An item is there after its life was over.
    LateExpiry,
    /// A value nobody wrote.
    Phantom,
    /// A change of what was there (`incr`, `append`, `cas`, `add`) did not happen exactly once.
    NotOnce,
    /// A plain `set` was taken although a delete forbade it.
    Unguarded,
    /// No order explains the answers; none of the simple reasons is why.
    NotLinearizable,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StaleRead => "stale read",
            Self::LostWrite => "lost write",
            Self::Resurrection => "resurrection after a delete",
            Self::EarlyExpiry => "early expiry",
            Self::ExpiryUndone => "undone expiry",
            Self::LateExpiry => "late expiry",
            Self::Phantom => "value nobody wrote",
            Self::NotOnce => "change not done exactly once",
            Self::Unguarded => "set that a delete forbade",
            Self::NotLinearizable => "answers in no order",
        })
    }
}

/// A broken promise about one key.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The key.
    pub key: Arc<str>,
    /// Which promise.
    pub kind: Kind,
    /// The shortest beginning of the history that has no explanation, without reads that do not matter. The last
    /// operation to return is the one that cannot be.
    pub history: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.key, self.kind)?;
        let left = self.history.len().saturating_sub(SHOWN);
        if left > 0 {
            writeln!(f, "  ({left} earlier operations)")?;
        }
        for operation in &self.history[left..] {
            writeln!(f, "  {operation}")?;
        }
        Ok(())
    }
}

/// Explains why `operations`, sorted by the time they were invoked, have no order.
pub fn explain(key: Arc<str>, operations: &[Operation], limits: &Limits) -> Violation {
    let fails = |history: &[Operation]| search(history, limits) == Found::Nothing;
    // An answer more can only rule out more orders: the first that is too much is found by halving.
    let mut ends: Vec<u64> = operations.iter().map(|op| op.returned).collect();
    ends.sort_unstable();
    ends.dedup();
    let first = ends.partition_point(|end| !fails(&until(operations, *end)));
    let end = ends.get(first).copied().unwrap_or(u64::MAX);
    let mut history = until(operations, end);
    // What only looked can be left out one by one, as long as the rest still has no explanation.
    let mut size = history.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < history.len() {
            let to = (from + size).min(history.len());
            let mut less = history.clone();
            let mut place = 0;
            less.retain(|op| {
                place += 1;
                !(from..to).contains(&(place - 1)) || !op.only_looks()
            });
            if less.len() < history.len() && fails(&less) {
                history = less;
            } else {
                from = to;
            }
        }
        size /= 2;
    }
    Violation {
        kind: kind(&history, limits),
        key,
        history,
    }
}

/// What was known at `end`: what had not returned may have happened or not.
fn until(operations: &[Operation], end: u64) -> Vec<Operation> {
    let begun = operations.iter().filter(|op| op.invoked <= end);
    begun
        .filter_map(|op| {
            let mut op = op.clone();
            if op.returned > end {
                if op.reads() {
                    return None;
                }
                op.outcome = Outcome::Unknown;
            }
            Some(op)
        })
        .collect()
}

/// The simple reason why the operation that returned last cannot be, if there is one.
fn kind(history: &[Operation], limits: &Limits) -> Kind {
    let answered = history.iter().filter(|op| op.outcome != Outcome::Unknown);
    let Some(last) = answered.max_by_key(|op| op.returned) else {
        return Kind::NotLinearizable;
    };
    let before = |op: &&Operation| {
        op.outcome != Outcome::Unknown && op.returned < last.invoked && !std::ptr::eq(*op, last)
    };
    match &last.outcome {
        Outcome::Hit(value, _) => shown(history, last, value, limits),
        Outcome::Number(_) | Outcome::Exists => Kind::NotOnce,
        Outcome::Stored
            if matches!(
                last.call.change(),
                Call::Cas { .. } | Call::Append { .. } | Call::Prepend { .. }
            ) =>
        {
            Kind::NotOnce
        }
        Outcome::Stored if matches!(last.call, Call::Set { .. }) => Kind::Unguarded,
        Outcome::Miss | Outcome::NotFound | Outcome::NotStored | Outcome::Stored => {
            let changes = history.iter().filter(before).filter(|op| !op.only_looks());
            match changes
                .max_by_key(|op| op.returned)
                .map(|op| op.call.change())
            {
                Some(Call::Delete | Call::FlushAll { .. })
                    if matches!(last.call, Call::Add { .. }) =>
                {
                    Kind::Resurrection
                }
                Some(call) if lives(call).is_some() => Kind::EarlyExpiry,
                _ => Kind::LostWrite,
            }
        }
        Outcome::Deleted | Outcome::Touched => {
            let changes = history.iter().filter(before).filter(|op| !op.only_looks());
            match changes
                .max_by_key(|op| op.returned)
                .map(|op| op.call.change())
            {
                Some(Call::Delete | Call::FlushAll { .. }) => Kind::Resurrection,
                _ => Kind::NotLinearizable,
            }
        }
        Outcome::Ok | Outcome::Unknown | Outcome::Failed => Kind::NotLinearizable,
    }
}

fn lives(call: &Call) -> Option<u64> {
    match call.change() {
        Call::Set { life, .. }
        | Call::Add { life, .. }
        | Call::Replace { life, .. }
        | Call::Cas { life, .. }
        | Call::Count { life, .. }
        | Call::Touch { life }
        | Call::GetAndTouch { life } => *life,
        _ => None,
    }
}

/// Why `last` cannot have seen `value`.
fn shown(history: &[Operation], last: &Operation, value: &Value, limits: &Limits) -> Kind {
    let mut writers = history.iter().filter(|op| op.stores() == Some(value));
    let Some(writer) = writers.next() else {
        let grown = history.iter().any(|op| {
            matches!(
                op.call.change(),
                Call::Append { .. }
                    | Call::Prepend { .. }
                    | Call::Incr { .. }
                    | Call::Decr { .. }
                    | Call::Count { .. }
            )
        });
        return if grown { Kind::NotOnce } else { Kind::Phantom };
    };
    let between: Vec<&Operation> = history
        .iter()
        .filter(|op| op.outcome != Outcome::Unknown)
        .filter(|op| op.invoked > writer.until() && op.returned < last.invoked)
        .collect();
    let any = |is: fn(&Operation) -> bool| between.iter().any(|op| is(op));
    if any(|op| matches!(op.outcome, Outcome::Deleted | Outcome::Ok)) {
        Kind::Resurrection
    } else if any(|op| op.outcome == Outcome::Stored || matches!(op.outcome, Outcome::Number(_))) {
        Kind::StaleRead
    } else if any(|op| matches!(op.outcome, Outcome::Miss | Outcome::NotFound)) {
        Kind::ExpiryUndone
    } else if between
        .iter()
        .any(|op| matches!(&op.outcome, Outcome::Hit(other, _) if other != value))
    {
        Kind::StaleRead
    } else if lives(&writer.call).is_some_and(|life| {
        last.invoked
            > writer
                .until()
                .saturating_add(life)
                .saturating_add(limits.late)
    }) {
        Kind::LateExpiry
    } else {
        Kind::NotLinearizable
    }
}
