//! What one key may be after an operation.

use crate::record::{Call, Operation, Outcome, Value};

/// How exactly expiry must be kept. Times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// An item may be gone so long before its life is over.
    pub early: u64,
    /// An item may be there so long after its life is over.
    pub late: u64,
    /// A `touch` may leave an item this part of the wanted life shorter, in percent: small extensions are left out.
    pub touch_slack: u64,
    /// Steps of the search for one key, before it is given up as undecided.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            early: 0,
            late: 0,
            touch_slack: 0,
            steps: 20_000_000,
        }
    }
}

/// An item as far as the answers show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    pub value: Value,
    /// Its token, once a client has seen it.
    token: Option<u64>,
    /// It is certainly there before this.
    earliest: u64,
    /// It is certainly gone after this.
    latest: u64,
}

/// A key: an item or none.
pub type State = Option<Item>;

/// The states that `op` can lead to from `state` when it is told what it was told; none if it cannot have been. An
/// operation of unknown outcome that would change nothing is not taken: leaving it out is the same.
pub fn step(state: &State, op: &Operation, limits: &Limits) -> impl Iterator<Item = State> + use<> {
    let (live, gone) = match state {
        None => (None, absent(op, limits)),
        Some(item) => {
            let live = (op.invoked <= item.latest)
                .then(|| present(item, op, limits))
                .flatten();
            let gone = (op.until() >= item.earliest)
                .then(|| absent(op, limits))
                .flatten();
            let gone = if live == gone { None } else { gone };
            (live, gone)
        }
    };
    live.into_iter().chain(gone)
}

fn span(op: &Operation, life: Option<u64>, slack: u64, limits: &Limits) -> (u64, u64) {
    let Some(life) = life else {
        return (u64::MAX, u64::MAX);
    };
    let least = life - life / 100 * slack;
    (
        (op.invoked + least).saturating_sub(limits.early),
        op.until().saturating_add(life).saturating_add(limits.late),
    )
}

fn stored(value: &Value, op: &Operation, life: Option<u64>, limits: &Limits) -> State {
    let (earliest, latest) = span(op, life, 0, limits);
    Some(Item {
        value: value.clone(),
        token: None,
        earliest,
        latest,
    })
}

/// From an item that is there. `Some(state)` when it can be.
fn present(item: &Item, op: &Operation, limits: &Limits) -> Option<State> {
    let unknown = op.outcome == Outcome::Unknown;
    let told = |outcome: Outcome| unknown || op.outcome == outcome;
    let same = || Some(Some(item.clone()));
    match &op.call {
        Call::Get => match &op.outcome {
            Outcome::Hit(value, _) if *value == item.value => same(),
            _ => None,
        },
        Call::Gets => match &op.outcome {
            Outcome::Hit(value, token) if *value == item.value => {
                if item.token.is_some() && item.token != *token {
                    return None;
                }
                Some(Some(Item {
                    token: *token,
                    ..item.clone()
                }))
            }
            _ => None,
        },
        Call::Set { value, life } if told(Outcome::Stored) => {
            Some(stored(value, op, *life, limits))
        }
        Call::Replace { value, life } if told(Outcome::Stored) => {
            Some(stored(value, op, *life, limits))
        }
        Call::Cas { value, life, token } if item.token == Some(*token) => {
            told(Outcome::Stored).then(|| stored(value, op, *life, limits))
        }
        // A token was seen before it was used: an item whose token nobody saw has another.
        Call::Cas { .. } if op.outcome == Outcome::Exists => same(),
        Call::Add { .. } if op.outcome == Outcome::NotStored => same(),
        Call::Append { tail } if told(Outcome::Stored) => Some(Some(Item {
            value: [&item.value[..], tail].concat().into(),
            token: None,
            ..*item
        })),
        Call::Delete if told(Outcome::Deleted) => Some(None),
        Call::Incr { delta } => {
            let sum = number(&item.value)?.wrapping_add(*delta);
            told(Outcome::Number(sum)).then(|| {
                Some(Item {
                    value: sum.to_string().into_bytes().into(),
                    token: None,
                    ..*item
                })
            })
        }
        Call::Touch { life } if told(Outcome::Touched) => {
            let (earliest, latest) = span(op, *life, limits.touch_slack, limits);
            Some(Some(Item {
                earliest,
                latest,
                ..item.clone()
            }))
        }
        _ => None,
    }
}

/// From no item.
fn absent(op: &Operation, limits: &Limits) -> Option<State> {
    let stores = matches!(op.outcome, Outcome::Unknown | Outcome::Stored);
    match (&op.call, &op.outcome) {
        (Call::Set { value, life } | Call::Add { value, life }, _) if stores => {
            Some(stored(value, op, *life, limits))
        }
        (Call::Get | Call::Gets, Outcome::Miss)
        | (Call::Replace { .. } | Call::Append { .. }, Outcome::NotStored)
        | (
            Call::Cas { .. } | Call::Delete | Call::Incr { .. } | Call::Touch { .. },
            Outcome::NotFound,
        ) => Some(None),
        _ => None,
    }
}

/// A value as the number it is.
pub fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
