//! The state as a series of records: what a snapshot is made of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::agents::{Agent, Agents};
use super::partition::Partition;
use super::{Item, Key, State};

/// A piece of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The clock and what hangs on it. The first record.
    Clock {
        /// The keyspace's clock.
        now: u64,
        /// When idle agents are looked for next.
        sweep: u64,
        /// The delayed `flush_all`s.
        flushes: Vec<u64>,
    },
    /// One agent.
    Agent(u64, Agent),
    /// One item.
    Item(Key, Item),
    /// One key under guard, and until when.
    Grave(Key, u64),
}

/// The state as it was at one moment, while the state itself goes on. It holds no copy of a value.
#[derive(Debug)]
pub struct View {
    now: u64,
    flushes: Vec<u64>,
    agents: Agents,
    partitions: Vec<Arc<Partition>>,
}

impl State {
    /// The state at this moment. Takes microseconds, whatever the state holds.
    pub fn view(&self) -> View {
        View {
            now: self.now,
            flushes: self.flushes.iter().copied().collect(),
            agents: self.agents.clone(),
            partitions: self.partitions.clone(),
        }
    }
}

impl View {
    /// The parts of the keyspace.
    pub(super) fn into_partitions(self) -> Vec<Arc<Partition>> {
        self.partitions
    }

    /// The records. Each partition is let go when its last record was taken, so that the state need not copy it any
    /// more to change it.
    pub fn into_records(self) -> impl Iterator<Item = Record> {
        let clock = Record::Clock {
            now: self.now,
            sweep: self.agents.sweep(),
            flushes: self.flushes,
        };
        let agents = self.agents.into_known().into_iter();
        let agents = agents.map(|(id, agent)| Record::Agent(id, Agent::clone(&agent)));
        let items = self.partitions.into_iter().flat_map(|partition| {
            let graves = partition.graves.iter();
            let graves = graves.map(|(key, until)| Record::Grave(key.clone(), *until));
            let items = partition.items.iter();
            let items = items.map(|(key, item)| Record::Item(key.clone(), item.clone()));
            items.chain(graves).collect::<Vec<_>>()
        });
        std::iter::once(clock).chain(agents).chain(items)
    }
}

/// A state being put together from its records.
#[derive(Debug, Default)]
pub struct Restoring(State);

impl Restoring {
    /// Adds one record.
    pub fn add(&mut self, record: Record) {
        let state = &mut self.0;
        match record {
            Record::Clock {
                now,
                sweep,
                flushes,
            } => {
                state.now = now;
                state.agents.set_sweep(sweep);
                state.flushes = flushes.into_iter().collect();
            }
            Record::Agent(id, agent) => state.agents.restore(id, agent),
            Record::Item(key, item) => state.put(key, item),
            #[cfg(test)]
            Record::Grave(..)
                if crate::sim::is_broken(crate::sim::Broken::GuardsNotInSnapshots) => {}
            Record::Grave(key, until) => state.add_grave(key, until),
        }
    }

    /// The state, when all records were added.
    pub fn finish(self) -> State {
        self.0
    }
}
