//! Who may ask for changes, and what was answered: a retried operation gets its recorded answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Command, Operation, Outcome};

/// An agent that asked for nothing for so long, by the keyspace's clock, is forgotten. Its identity is never given
/// again, so that an operation of it that still arrives is refused and not taken for a new one.
const IDLE: u64 = 60 * 60 * 1000;
/// Agents known at once; beyond, the one that was silent longest is forgotten.
const MAX_AGENTS: usize = 1024;
/// Operations that one agent may have open.
const MAX_OPEN: usize = 16 * 1024;

/// Bytes of values that recorded answers of one agent may hold, and one value more. Its further `gat`s are refused until
/// it has heard of those: a record of a snapshot is one agent.
const MAX_HELD: usize = 4 << 20;

/// What such a `gat` is told: it may be asked again.
pub const TOO_MANY_VALUES: &str = "too many values are on their way to one agent";

/// What is remembered of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    nonce: u64,
    /// When it last asked for something.
    seen: u64,
    lowest_open: u64,
    answers: BTreeMap<u64, Outcome>,
    /// Bytes of values in them.
    #[serde(skip)]
    held: usize,
}

impl Agent {
    /// Bytes of it in a snapshot, roughly.
    pub fn weight(&self) -> usize {
        256 + self.answers.len() * 16 + self.held
    }

    fn count(&mut self) {
        self.held = self.answers.values().map(held).sum();
    }
}

fn held(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Hit(item) => item.value.len(),
        _ => 0,
    }
}

/// All agents. Cheap to clone; each agent is copied when it changes while a clone still holds it.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    known: BTreeMap<u64, Arc<Agent>>,
    /// When idle agents are looked for next.
    sweep: u64,
}

/// Whether an operation is to be applied.
pub enum Ticket {
    /// It is new.
    New,
    /// It was applied before, with this outcome.
    Done(Outcome),
    /// It must not be applied.
    Refused(Outcome),
}

impl Agents {
    pub fn register(&mut self, id: u64, nonce: u64, now: u64) -> Outcome {
        if self.known.len() >= MAX_AGENTS {
            let silent = self
                .known
                .iter()
                .min_by_key(|(id, agent)| (agent.seen, **id));
            if let Some(id) = silent.map(|(id, _)| *id) {
                self.known.remove(&id);
            }
        }
        let agent = Agent {
            nonce,
            seen: now,
            ..Agent::default()
        };
        self.known.insert(id, Arc::new(agent));
        Outcome::Registered(id)
    }

    /// Judges an operation, and forgets what its agent no longer waits for.
    pub fn admit(&mut self, operation: &Operation, now: u64) -> Ticket {
        let known = self.known.get_mut(&operation.agent.number);
        let Some(agent) = known.filter(|agent| agent.nonce == operation.agent.nonce) else {
            return Ticket::Refused(Outcome::UnknownAgent);
        };
        let agent = Arc::make_mut(agent);
        agent.seen = now;
        if operation.lowest_open > agent.lowest_open {
            agent.lowest_open = operation.lowest_open;
            let open = agent.answers.split_off(&operation.lowest_open);
            let forgotten = std::mem::replace(&mut agent.answers, open);
            agent.held -= forgotten.values().map(held).sum::<usize>();
        }
        if operation.sequence < agent.lowest_open {
            return Ticket::Refused(Outcome::Closed);
        }
        #[cfg(test)]
        if crate::sim::is_broken(crate::sim::Broken::NoOperationIds) {
            return Ticket::New;
        }
        if let Some(outcome) = agent.answers.get(&operation.sequence) {
            return Ticket::Done(outcome.clone());
        }
        if agent.answers.len() >= MAX_OPEN {
            return Ticket::Refused(Outcome::Refused("too many operations are open".into()));
        }
        if agent.held >= MAX_HELD && matches!(operation.command, Command::GetAndTouch { .. }) {
            return Ticket::Refused(Outcome::Refused(TOO_MANY_VALUES.into()));
        }
        Ticket::New
    }

    pub fn record(&mut self, operation: &Operation, outcome: Outcome) {
        if let Some(agent) = self.known.get_mut(&operation.agent.number) {
            let agent = Arc::make_mut(agent);
            agent.held += held(&outcome);
            agent.answers.insert(operation.sequence, outcome);
        }
    }

    pub fn expire(&mut self, now: u64) {
        if now >= self.sweep {
            self.sweep = now + IDLE / 60;
            self.known.retain(|_, agent| agent.seen + IDLE > now);
        }
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn sweep(&self) -> u64 {
        self.sweep
    }

    pub fn set_sweep(&mut self, sweep: u64) {
        self.sweep = sweep;
    }

    pub fn restore(&mut self, id: u64, mut agent: Agent) {
        agent.count();
        self.known.insert(id, Arc::new(agent));
    }

    pub fn into_known(self) -> BTreeMap<u64, Arc<Agent>> {
        self.known
    }
}
