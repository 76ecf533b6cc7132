//! Who may ask for changes, and what was answered: a retried operation gets its recorded answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Operation, Outcome};

/// An agent that asked for nothing for so long, by the keyspace's clock, is forgotten. Its identity is never given
/// again, so that an operation of it that still arrives is refused and not taken for a new one.
const IDLE: u64 = 60 * 60 * 1000;
/// Agents known at once; beyond, the one that was silent longest is forgotten.
const MAX_AGENTS: usize = 1024;
/// Operations that one agent may have open.
const MAX_OPEN: usize = 16 * 1024;

/// What is remembered of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    nonce: u64,
    /// When it last asked for something.
    seen: u64,
    lowest_open: u64,
    answers: BTreeMap<u64, Outcome>,
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
            agent.answers = agent.answers.split_off(&operation.lowest_open);
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
        Ticket::New
    }

    pub fn record(&mut self, operation: &Operation, outcome: Outcome) {
        if let Some(agent) = self.known.get_mut(&operation.agent.number) {
            Arc::make_mut(agent)
                .answers
                .insert(operation.sequence, outcome);
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

    pub fn restore(&mut self, id: u64, agent: Agent) {
        self.known.insert(id, Arc::new(agent));
    }

    pub fn into_known(self) -> BTreeMap<u64, Arc<Agent>> {
        self.known
    }
}
