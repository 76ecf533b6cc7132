//! The search for an order that explains a key's history.
//!
//! After Wing and Gong, with the memory of Lowe ("Testing for linearizability", 2017): operations are put into the
//! order as late as possible, just before an answer needs them; what was tried in vain (a place in the history, a set
//! of operations done, a state) is not tried again. Two things keep it near linear. An operation that changes nothing
//! is done as soon as it fits. And since values are unique, a value that others are still to see is not left.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::AddAssign;
use std::sync::Arc;

use crate::explain::{Violation, explain};
use crate::model::{Limits, State, number, step};
use crate::record::{Call, EVERY, Operation, Outcome, Value};

/// What the histories of all keys prove.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Operations that were looked at.
    pub operations: usize,
    /// Those of unknown outcome, reads not counted.
    pub unknown: usize,
    /// Keys.
    pub keys: usize,
    /// One for each key whose history has no explanation.
    pub violations: Vec<Violation>,
    /// Keys whose search took too long.
    pub undecided: Vec<Arc<str>>,
}

impl Verdict {
    /// Whether every promise was kept, as far as these histories show.
    pub fn holds(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }
}

impl AddAssign for Verdict {
    /// Both together: of histories that share no key.
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.keys += other.keys;
        self.violations.extend(other.violations);
        self.undecided.extend(other.undecided);
    }
}

/// Checks a history, in any order, of any keys that begin absent.
pub fn check(history: impl IntoIterator<Item = Operation>, limits: &Limits) -> Verdict {
    let mut keys: BTreeMap<Arc<str>, Vec<Operation>> = BTreeMap::new();
    let mut verdict = Verdict::default();
    let mut every = Vec::new();
    for operation in history {
        verdict.operations += 1;
        if operation.outcome == Outcome::Unknown && !operation.reads() {
            verdict.unknown += 1;
        }
        if *operation.key == *EVERY {
            every.push(due(operation, limits));
            continue;
        }
        keys.entry(operation.key.clone())
            .or_default()
            .push(operation);
    }
    verdict.keys = keys.len();
    for (key, mut operations) in keys {
        operations.extend(every.iter().map(|operation| Operation {
            key: key.clone(),
            ..operation.clone()
        }));
        operations.retain(|op| {
            op.outcome != Outcome::Failed && !(op.reads() && op.outcome == Outcome::Unknown)
        });
        operations.sort_by_key(|op| (op.invoked, op.returned));
        match search(&operations, limits) {
            Found::Order => {}
            Found::Nothing => verdict.violations.push(explain(key, &operations, limits)),
            Found::TooLong => verdict.undecided.push(key),
        }
    }
    verdict
}

/// What is asked for later takes effect then, or any time after: the clock that it waits for may stand still.
fn due(operation: Operation, limits: &Limits) -> Operation {
    match operation.call {
        Call::FlushAll { delay } if delay > 0 && operation.outcome != Outcome::Failed => {
            Operation {
                invoked: (operation.invoked + delay).saturating_sub(limits.early),
                outcome: Outcome::Unknown,
                ..operation
            }
        }
        _ => operation,
    }
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is an order.
    Order,
    /// There is none.
    Nothing,
    /// It took more than [`Limits::steps`].
    TooLong,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Invoked(usize),
    Returned(usize),
}

/// A choice that was made: undone when what follows fails.
struct Choice {
    event: usize,
    trail: usize,
    state: State,
    rest: Vec<(usize, State)>,
    memory: (u64, u64),
}

struct Search<'a> {
    operations: &'a [Operation],
    limits: &'a Limits,
    events: Vec<Event>,
    /// Where in `events` the search is.
    at: usize,
    state: State,
    done: Vec<bool>,
    /// Of all that is done, in the order it was done.
    trail: Vec<usize>,
    done_hash: u64,
    /// Invoked and not returned; of unknown outcome ones for ever.
    pending: Vec<usize>,
    /// What is still to be seen, by value.
    unseen: HashMap<Value, usize>,
    sees: Vec<Option<Value>>,
    failed: HashSet<(u64, u64)>,
    steps: u64,
}

/// Looks for an order of one key's operations, which are sorted by the time they were invoked.
pub fn search(operations: &[Operation], limits: &Limits) -> Found {
    let mut events: Vec<(u64, Event)> = Vec::with_capacity(operations.len() * 2);
    for (i, op) in operations.iter().enumerate() {
        events.push((op.invoked, Event::Invoked(i)));
        if op.outcome != Outcome::Unknown {
            events.push((op.returned, Event::Returned(i)));
        }
    }
    // At one moment what begins comes before what ends: they overlap.
    events.sort();
    let sees = observations(operations);
    let mut unseen = HashMap::new();
    for value in sees.iter().flatten() {
        *unseen.entry(value.clone()).or_default() += 1;
    }
    Search {
        operations,
        limits,
        events: events.into_iter().map(|(_, event)| event).collect(),
        at: 0,
        state: State::default(),
        done: vec![false; operations.len()],
        trail: Vec::new(),
        done_hash: 0,
        pending: Vec::new(),
        unseen,
        sees,
        failed: HashSet::new(),
        steps: 0,
    }
    .run()
}

/// For each operation the value it saw, where that value can be there only once.
fn observations(operations: &[Operation]) -> Vec<Option<Value>> {
    let mut writers: HashMap<&Value, usize> = HashMap::new();
    let mut tokens: HashMap<u64, &Value> = HashMap::new();
    for op in operations {
        if let Some(value) = op.stores() {
            *writers.entry(value).or_default() += 1;
        }
        if let Outcome::Hit(value, Some(token)) = &op.outcome {
            tokens.insert(*token, value);
        }
    }
    let numbers_are_unique = numbers_are_unique(operations);
    let once = |value: &Value| {
        writers.get(value).is_none_or(|writers| *writers < 2)
            && (numbers_are_unique || number(value).is_none())
    };
    let by_token = |op: &Operation| match (&op.call, &op.outcome) {
        (Call::Cas { token, .. }, Outcome::Stored)
        | (Call::At { token, .. }, Outcome::Stored | Outcome::Deleted) => {
            tokens.get(token).map(|v| (*v).clone())
        }
        _ => None,
    };
    let seen = operations
        .iter()
        .map(|op| match (op.call.change(), &op.outcome) {
            (_, Outcome::Hit(value, _)) => Some(value.clone()),
            (Call::Count { initial, .. }, Outcome::Number(sum))
                if number(initial) == Some(*sum) =>
            {
                None
            }
            (Call::Incr { delta } | Call::Count { delta, .. }, Outcome::Number(sum)) => {
                Some(sum.wrapping_sub(*delta).to_string().into_bytes().into())
            }
            (Call::Decr { delta }, Outcome::Number(rest)) => {
                Some(rest.wrapping_add(*delta).to_string().into_bytes().into())
            }
            _ => by_token(op),
        });
    seen.map(|value| value.filter(once)).collect()
}

/// Whether the numbers stored lie so far apart that no sum of changes leads from one to another, and each leads to a
/// number once.
fn numbers_are_unique(operations: &[Operation]) -> bool {
    let (mut up, mut down) = (0, 0);
    for op in operations {
        match op.call.change() {
            Call::Incr { delta } | Call::Count { delta, .. } => up += u128::from(*delta),
            Call::Decr { delta } => down += u128::from(*delta),
            _ => {}
        }
    }
    if up > 0 && down > 0 {
        return false;
    }
    let reach = up + down;
    let stored = operations.iter().filter_map(Operation::stores);
    let mut bases: Vec<u128> = stored
        .filter_map(|value| number(value).map(u128::from))
        .collect();
    bases.sort_unstable();
    let apart = bases.windows(2).all(|two| two[1] - two[0] > reach);
    apart
        && bases.first().is_none_or(|first| *first >= down)
        && bases
            .last()
            .is_none_or(|last| last + reach <= u128::from(u64::MAX))
}

impl Search<'_> {
    fn run(mut self) -> Found {
        let mut choices: Vec<Choice> = Vec::new();
        loop {
            let Some(event) = self.events.get(self.at).copied() else {
                return Found::Order;
            };
            match event {
                Event::Invoked(i) => {
                    self.pending.push(i);
                    self.do_if_idle(i);
                    self.at += 1;
                    continue;
                }
                Event::Returned(i) if self.done[i] => {
                    self.pending.retain(|p| *p != i);
                    self.at += 1;
                    continue;
                }
                Event::Returned(_) => {}
            }
            self.steps += 1;
            if self.steps > self.limits.steps {
                return Found::TooLong;
            }
            let memory = self.memory();
            let rest = if self.failed.contains(&memory) {
                Vec::new()
            } else {
                self.candidates(event)
            };
            choices.push(Choice {
                event: self.at,
                trail: self.trail.len(),
                state: self.state.clone(),
                rest,
                memory,
            });
            // Go back to the last choice that has another way to go.
            loop {
                let Some(choice) = choices.last_mut() else {
                    return Found::Nothing;
                };
                if let Some((i, state)) = choice.rest.pop() {
                    let (event, trail, before) = (choice.event, choice.trail, choice.state.clone());
                    self.back_to(event, trail, before);
                    self.take(i, state);
                    break;
                }
                self.failed.insert(choice.memory);
                choices.pop();
            }
        }
    }

    /// What could be done next so that the operation that returns here gets done; the best last.
    fn candidates(&self, event: Event) -> Vec<(usize, State)> {
        let (Event::Returned(wanted) | Event::Invoked(wanted)) = event;
        let sees = match &self.operations[wanted].outcome {
            Outcome::Hit(value, _) => Some(value),
            _ => self.sees[wanted].as_ref(),
        };
        let mut found = Vec::new();
        for &i in &self.pending {
            if self.done[i] {
                continue;
            }
            let op = &self.operations[i];
            for state in step(&self.state, op, self.limits) {
                let idle = state == self.state && !op.may_be_idle();
                if (i != wanted && idle) || self.leaves_unseen(i, &state) {
                    continue;
                }
                let rank = if i == wanted {
                    3
                } else if sees.is_some() && op.stores() == sees {
                    2
                } else {
                    u8::from(op.outcome != Outcome::Unknown)
                };
                found.push((rank, i, state));
            }
        }
        // Of equals the one that has to be done first.
        found.sort_by_key(|(rank, i, _)| (*rank, u64::MAX - self.operations[*i].until()));
        found.into_iter().map(|(_, i, state)| (i, state)).collect()
    }

    /// Whether the value that is there would go while others are still to see it.
    fn leaves_unseen(&self, by: usize, next: &State) -> bool {
        let Some(now) = &self.state.item else {
            return false;
        };
        if next
            .item
            .as_ref()
            .is_some_and(|next| next.value == now.value)
        {
            return false;
        }
        let own = usize::from(self.sees[by].as_ref() == Some(&now.value));
        self.unseen.get(&now.value).is_some_and(|left| *left > own)
    }

    fn take(&mut self, i: usize, state: State) {
        self.mark(i);
        if state != self.state {
            self.state = state;
            for p in 0..self.pending.len() {
                self.do_if_idle(self.pending[p]);
            }
        }
    }

    /// Does an operation that fits now and changes nothing, when waiting could not help it.
    fn do_if_idle(&mut self, i: usize) {
        let op = &self.operations[i];
        if !self.done[i]
            && op.outcome != Outcome::Unknown
            && !op.may_be_idle()
            && step(&self.state, op, self.limits).any(|next| next == self.state)
        {
            self.mark(i);
        }
    }

    fn mark(&mut self, i: usize) {
        self.done[i] = true;
        self.trail.push(i);
        self.done_hash ^= mix(i as u64);
        if let Some(value) = &self.sees[i] {
            *self.unseen.entry(value.clone()).or_default() -= 1;
        }
    }

    fn back_to(&mut self, event: usize, trail: usize, state: State) {
        for i in self.trail.drain(trail..) {
            self.done[i] = false;
            self.done_hash ^= mix(i as u64);
            if let Some(value) = &self.sees[i] {
                *self.unseen.entry(value.clone()).or_default() += 1;
            }
        }
        while self.at > event {
            self.at -= 1;
            match self.events[self.at] {
                Event::Invoked(i) => self.pending.retain(|p| *p != i),
                Event::Returned(i) => self.pending.push(i),
            }
        }
        self.state = state;
    }

    fn memory(&self) -> (u64, u64) {
        let mut hasher = DefaultHasher::new();
        (self.at, &self.state).hash(&mut hasher);
        (hasher.finish(), self.done_hash)
    }
}

/// Spreads a number over 64 bits (the finalizer of splitmix64).
fn mix(i: u64) -> u64 {
    let x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
