//! Operation identities: who asks, the number of each operation, and which are still open.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::state::AgentId;

/// The agent's identity in the keyspace, and its operations in flight.
#[derive(Default)]
pub struct Identity {
    numbers: Mutex<Numbers>,
    /// Held by whoever registers, so that many operations that find no identity ask for one together.
    pub registering: tokio::sync::Mutex<()>,
    /// Held by whoever was told that too many values are on their way, so that one after the other tries again.
    pub crowded: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Numbers {
    agent: Option<AgentId>,
    last: u64,
    open: BTreeSet<u64>,
}

/// An operation in flight. Its number is open as long as this is held.
pub struct Ticket<'a> {
    identity: &'a Identity,
    /// The identity it is under.
    pub agent: AgentId,
    /// Its number.
    pub sequence: u64,
}

impl Identity {
    /// Opens the next operation; `None` without an identity.
    pub fn open(&self) -> Option<Ticket<'_>> {
        let mut numbers = self.lock();
        let agent = numbers.agent?;
        numbers.last += 1;
        let sequence = numbers.last;
        numbers.open.insert(sequence);
        Some(Ticket {
            identity: self,
            agent,
            sequence,
        })
    }

    /// Whether there is an identity.
    pub fn is_known(&self) -> bool {
        self.lock().agent.is_some()
    }

    /// The keyspace gave this identity.
    pub fn set(&self, agent: AgentId) {
        self.lock().agent = Some(agent);
    }

    /// The keyspace does not know `agent` any more.
    pub fn forget(&self, agent: AgentId) {
        let mut numbers = self.lock();
        if numbers.agent == Some(agent) {
            numbers.agent = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// The lowest number that is open.
    pub fn lowest_open(&self) -> u64 {
        let numbers = self.identity.lock();
        numbers.open.first().copied().unwrap_or(self.sequence)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        // Numbers go on rising through a change of identity, so that none is open twice.
        self.identity.lock().open.remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_raises_the_lowest_open_number() {
        let identity = Identity::default();
        assert!(identity.open().is_none());
        let agent = AgentId {
            number: 7,
            nonce: 8,
        };
        identity.set(agent);
        let first = identity.open().unwrap();
        let second = identity.open().unwrap();
        assert_eq!(
            (second.agent, second.lowest_open()),
            (agent, first.sequence)
        );
        drop(first);
        assert_eq!(second.lowest_open(), second.sequence);
    }
}
