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
    /// Keys whose delete forbids a plain `set` for a while.
    pub guard: Option<Guard>,
}

/// Keys whose delete forbids a plain `set` for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// How they begin.
    pub prefix: &'static str,
    /// For how long, in microseconds.
    pub hold: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            early: 0,
            late: 0,
            touch_slack: 0,
            steps: 20_000_000,
            guard: None,
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

/// A key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// What is there.
    pub item: Option<Item>,
    /// A plain `set` is certainly refused before the one, and certainly not after the other.
    guarded: Option<(u64, u64)>,
}

/// The states that `op` can lead to from `state` when it is told what it was told; none if it cannot have been. An
/// operation of unknown outcome that would change nothing is not taken: leaving it out is the same.
pub fn step(state: &State, op: &Operation, limits: &Limits) -> impl Iterator<Item = State> + use<> {
    let is_set = matches!(op.call, Call::Set { .. });
    let may_be_free = state.guarded.is_none_or(|(least, _)| op.until() >= least);
    let may_be_guarded = state.guarded.is_some_and(|(_, most)| op.invoked <= most);
    let (live, gone) = match &state.item {
        _ if is_set && op.outcome == Outcome::NotStored => {
            (may_be_guarded.then(|| state.item.clone()), None)
        }
        _ if is_set && !may_be_free => (None, None),
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
    // A later delete holds longer, whatever is known of the moments of both.
    let guarded = guard(op, limits).map(|hold| {
        let (least, most) = span(op, Some(hold), 0, limits);
        let before = state.guarded.unwrap_or_default();
        (least.max(before.0), most.max(before.1))
    });
    let guarded = guarded.or(state.guarded);
    let item = live.into_iter().chain(gone);
    item.map(move |item| State { item, guarded })
}

/// For how long `op` forbids a plain `set`, if it does.
fn guard(op: &Operation, limits: &Limits) -> Option<u64> {
    let guard = limits.guard?;
    // One that compared in vain deleted nothing.
    let deletes = *op.call.change() == Call::Delete && op.outcome != Outcome::Exists;
    let forbids = deletes && op.key.starts_with(guard.prefix);
    forbids.then_some(guard.hold)
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

fn stored(value: &Value, op: &Operation, life: Option<u64>, limits: &Limits) -> After {
    let (earliest, latest) = span(op, life, 0, limits);
    Some(Item {
        value: value.clone(),
        token: None,
        earliest,
        latest,
    })
}

fn changed(item: &Item, value: Vec<u8>) -> After {
    Some(Item {
        value: value.into(),
        token: None,
        ..*item
    })
}

/// What is there after an operation: an item or none.
type After = Option<Item>;

/// From an item that is there. `Some` when it can be.
fn present(item: &Item, op: &Operation, limits: &Limits) -> Option<After> {
    let unknown = op.outcome == Outcome::Unknown;
    let told = |outcome: Outcome| unknown || op.outcome == outcome;
    let same = || Some(Some(item.clone()));
    // A token was seen before it was used: an item whose token nobody saw has another.
    if let Call::Cas { token, .. } | Call::At { token, .. } = &op.call
        && item.token != Some(*token)
    {
        return if op.outcome == Outcome::Exists {
            same()
        } else {
            None
        };
    }
    match op.call.change() {
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
        Call::Cas { value, life, .. } if told(Outcome::Stored) => {
            Some(stored(value, op, *life, limits))
        }
        Call::Add { .. } if op.outcome == Outcome::NotStored => same(),
        Call::Append { tail } if told(Outcome::Stored) => {
            Some(changed(item, [&item.value[..], tail].concat()))
        }
        Call::Prepend { head } if told(Outcome::Stored) => {
            Some(changed(item, [&head[..], &item.value].concat()))
        }
        Call::Delete if told(Outcome::Deleted) => Some(None),
        Call::FlushAll { .. } if told(Outcome::Ok) => Some(None),
        Call::Incr { delta } | Call::Count { delta, .. } => {
            let sum = number(&item.value)?.wrapping_add(*delta);
            told(Outcome::Number(sum)).then(|| changed(item, digits(sum, item)))
        }
        Call::Decr { delta } => {
            let rest = number(&item.value)?.saturating_sub(*delta);
            told(Outcome::Number(rest)).then(|| changed(item, digits(rest, item)))
        }
        Call::Touch { life } if told(Outcome::Touched) => Some(touched(item, op, *life, limits)),
        Call::GetAndTouch { life } if told(Outcome::Hit(item.value.clone(), None)) => {
            Some(touched(item, op, *life, limits))
        }
        _ => None,
    }
}

fn touched(item: &Item, op: &Operation, life: Option<u64>, limits: &Limits) -> After {
    let (earliest, latest) = span(op, life, limits.touch_slack, limits);
    Some(Item {
        earliest,
        latest,
        ..item.clone()
    })
}

/// A number as it takes the place of another: never with fewer bytes.
fn digits(number: u64, before: &Item) -> Vec<u8> {
    format!("{number:<0$}", before.value.len()).into_bytes()
}

/// From no item.
fn absent(op: &Operation, limits: &Limits) -> Option<After> {
    let stores = matches!(op.outcome, Outcome::Unknown | Outcome::Stored);
    match (op.call.change(), &op.outcome) {
        (Call::Set { value, life } | Call::Add { value, life }, _) if stores => {
            Some(stored(value, op, *life, limits))
        }
        (Call::Count { initial, life, .. }, Outcome::Unknown) => {
            Some(stored(initial, op, *life, limits))
        }
        (Call::Count { initial, life, .. }, Outcome::Number(told))
            if number(initial) == Some(*told) =>
        {
            Some(stored(initial, op, *life, limits))
        }
        // It changes what may come after it.
        (Call::Delete, Outcome::Unknown) if guard(op, limits).is_some() => Some(None),
        (Call::Get | Call::Gets | Call::GetAndTouch { .. }, Outcome::Miss)
        | (Call::Replace { .. } | Call::Append { .. } | Call::Prepend { .. }, Outcome::NotStored)
        | (
            Call::Cas { .. }
            | Call::Delete
            | Call::Incr { .. }
            | Call::Decr { .. }
            | Call::Touch { .. },
            Outcome::NotFound,
        )
        | (Call::FlushAll { .. }, Outcome::Ok) => Some(None),
        _ => None,
    }
}

/// A value as the number it is.
pub fn number(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    digits.trim_end_matches(' ').parse().ok()
}
