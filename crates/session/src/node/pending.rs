//! Bytes that changes may add which are on their way into the state.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::state::Operation;

/// All of them. An operation counts once, however often it is asked for meanwhile.
#[derive(Clone, Default)]
pub struct Pending(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    bytes: u64,
    operations: BTreeMap<Id, Operating>,
}

/// Which operation: the agent's number and nonce, and the agent's number for it.
type Id = (u64, u64, u64);

struct Operating {
    bytes: u64,
    /// So many [`Held`] there are.
    times: usize,
}

/// The bytes of an operation count for as long as this is there: with whoever proposes the change, since who asked for it
/// may leave before.
pub struct Held {
    pending: Pending,
    id: Id,
}

impl Pending {
    /// How many there are.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// An operation that is asked for again while it is on its way.
    pub fn again(&self, operation: &Operation) -> Option<Held> {
        let id = id(operation);
        self.lock().operations.get_mut(&id)?.times += 1;
        Some(self.held(id))
    }

    /// Counts what an operation may add.
    pub fn hold(&self, operation: &Operation, bytes: u64) -> Held {
        let id = id(operation);
        let counted = &mut *self.lock();
        match counted.operations.entry(id) {
            Entry::Occupied(mut known) => known.get_mut().times += 1,
            Entry::Vacant(place) => {
                place.insert(Operating { bytes, times: 1 });
                counted.bytes += bytes;
            }
        }
        self.held(id)
    }

    fn held(&self, id: Id) -> Held {
        Held {
            pending: self.clone(),
            id,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let counted = &mut *self.pending.lock();
        let Entry::Occupied(mut known) = counted.operations.entry(self.id) else {
            return;
        };
        known.get_mut().times -= 1;
        if known.get().times == 0 {
            counted.bytes -= known.remove().bytes;
        }
    }
}

fn id(operation: &Operation) -> Id {
    let agent = operation.agent;
    (agent.number, agent.nonce, operation.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{AgentId, Command};

    fn operation(sequence: u64) -> Operation {
        Operation {
            agent: AgentId {
                number: 1,
                nonce: 2,
            },
            sequence,
            lowest_open: 1,
            command: Command::FlushAll { delay: 0 },
        }
    }

    #[test]
    fn an_operation_counts_once_until_it_is_asked_for_no_more() {
        let pending = Pending::default();
        assert!(pending.again(&operation(1)).is_none());
        let first = pending.hold(&operation(1), 100);
        let again = pending.again(&operation(1)).unwrap();
        let other = pending.hold(&operation(2), 10);
        assert_eq!(pending.bytes(), 110);
        drop(first);
        assert_eq!(pending.bytes(), 110);
        drop(again);
        assert_eq!(pending.bytes(), 10);
        drop(other);
        assert_eq!(pending.bytes(), 0);
        assert!(pending.again(&operation(1)).is_none());
    }
}
