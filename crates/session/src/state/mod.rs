//! The state machine: what the keyspace is after each entry of the log.
//!
//! Pure: no I/O, no clock, no randomness. The same entries give the same state and the same replies on every
//! replica, and a retried operation is applied once.

mod agents;
mod batch;
mod due;
mod found;
mod key;
mod partition;
mod records;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tandem_cache::rules::{Current, Effect, Expiry, decide};
use tandem_memcache::{MAX_VALUE, Reply};

pub use agents::TOO_MANY_VALUES;
use agents::{Agents, Ticket};
pub use batch::{AgentId, Batch, Change, Command, Compared, Mode, Operation, Outcome};
use due::{Due, DueQueue};
pub use found::{Brief, Found, Wanted};
pub use key::{GROUPS, GroupId, InvalidKey, Key, group_of};
use partition::Partition;
pub use partition::{Item, cost, grave_cost};
pub use records::{Record, Restoring, View};

/// The keyspace is cut into so many parts. A snapshot shares them with the state; a part that is changed while a
/// snapshot still holds it is copied first (its keys and pointers; values are never copied). With a million items a
/// part has a thousand, and copying one takes some tens of microseconds.
const PARTITIONS: usize = 1024;
/// How many changes one entry may hold: versions have 16 bits for the position in their entry.
pub const MAX_CHANGES: usize = 4096;
/// At most so many items that are over are taken out with one entry, so that no entry takes long. The others are
/// over all the same: no operation sees them.
const MAX_EXPIRED: usize = 4096;
/// At most so many `flush_all` with a delay are waiting.
const MAX_FLUSHES: usize = 64;

/// The keyspace after some entry of the log.
#[derive(Debug)]
pub struct State {
    /// The keyspace's clock: the highest stamp of an applied entry, in milliseconds.
    now: u64,
    partitions: Vec<Arc<Partition>>,
    /// What ends when. Follows from the partitions.
    due: DueQueue,
    agents: Agents,
    /// When a `flush_all` with a delay is to happen.
    flushes: BTreeSet<u64>,
    items: u64,
    bytes: u64,
    /// So many of them are graves.
    buried: u64,
    /// What a flush took away.
    gone: Vec<Gone>,
}

/// What is no part of the state any more. To let go of it takes as long as there is much of it.
#[derive(Debug)]
pub struct Gone {
    #[cfg_attr(not(test), expect(dead_code, reason = "held, not read"))]
    partitions: Vec<Arc<Partition>>,
    _due: DueQueue,
}

impl Default for State {
    fn default() -> Self {
        Self {
            now: 0,
            partitions: (0..PARTITIONS).map(|_| Arc::default()).collect(),
            due: DueQueue::default(),
            agents: Agents::default(),
            flushes: BTreeSet::new(),
            items: 0,
            bytes: 0,
            buried: 0,
            gone: Vec::new(),
        }
    }
}

impl State {
    /// Applies the entry at `index`; one outcome for each change, in order.
    ///
    /// Indexes rise from entry to entry; an index need not have a batch (Raft's own entries have none).
    pub fn apply(&mut self, index: u64, batch: &Batch) -> Vec<Outcome> {
        debug_assert!(batch.changes.len() <= MAX_CHANGES);
        self.now = self.now.max(batch.stamp);
        self.flush_due();
        self.expire();
        self.agents.expire(self.now);
        let changes = batch.changes.iter().enumerate();
        changes
            .map(|(position, change)| {
                // Unique for each change and higher with each: the same on every replica, for ever.
                let version = index << 16 | position as u64;
                match change {
                    Change::Register { nonce } => self.agents.register(version, *nonce, self.now),
                    Change::Operation(operation) => self.operate(version, operation),
                }
            })
            .collect()
    }

    fn operate(&mut self, version: u64, operation: &Operation) -> Outcome {
        match self.agents.admit(operation, self.now) {
            Ticket::Done(outcome) | Ticket::Refused(outcome) => outcome,
            Ticket::New => {
                // With the value that a `GetAndTouch` found, which is shared with the item: a retry that showed what is
                // there by then would show what was not touched, or nothing where there was something.
                let outcome = self.command(version, &operation.command);
                self.agents.record(operation, outcome.clone());
                outcome
            }
        }
    }

    fn command(&mut self, version: u64, command: &Command) -> Outcome {
        let key = match command {
            Command::FlushAll { delay: 0 } => {
                self.flush();
                return Outcome::Ok;
            }
            Command::FlushAll { delay } => {
                if self.flushes.len() >= MAX_FLUSHES {
                    return Outcome::Refused("too many delayed flush_all are waiting".into());
                }
                self.flushes.insert(self.now.saturating_add(*delay));
                return Outcome::Ok;
            }
            Command::Store { key, .. }
            | Command::Delete { key, .. }
            | Command::Touch { key, .. }
            | Command::GetAndTouch { key, .. }
            | Command::Arithmetic { key, .. }
            | Command::Compared { key, .. } => key,
        };
        if let Command::Store {
            mode: Mode::Set, ..
        } = command
            && self.is_guarded(key)
        {
            return Outcome::NotStored;
        }
        let now = self.now;
        let current = self.get(key);
        if let Command::Compared {
            version: expected,
            change,
            ..
        } = command
            && let Some(item) = current
            && !is_as_expected(item, *expected)
            // An empty value is no number, whatever its version: memcached looks in this order.
            && !(matches!(change, Compared::Arithmetic { .. }) && item.value.is_empty())
        {
            return Outcome::Exists;
        }
        let op = command.as_op();
        let (effect, reply) = decide(current.map(Item::as_current), &op, now);
        match effect {
            Effect::Keep => {}
            Effect::Put {
                flags,
                expiry,
                value,
            } => {
                let value = match (value, command) {
                    // The log and the state share one copy.
                    (Cow::Borrowed(_), Command::Store { value, .. }) => value.clone(),
                    (value, _) => Bytes::copy_from_slice(&value),
                };
                if value.len() > MAX_VALUE {
                    return Outcome::Refused("object too large for cache".into());
                }
                let item = Item {
                    flags,
                    version,
                    expiry: expiry.millis(),
                    value,
                };
                self.put(key.clone(), item);
            }
            Effect::Touch(expiry) => {
                let touched = current.cloned().map(|item| Item {
                    expiry: expiry.millis(),
                    ..item
                });
                if let Some(item) = touched {
                    self.put(key.clone(), item);
                }
            }
            Effect::Remove => self.remove(key),
        }
        if let Command::Delete { guard, .. }
        | Command::Compared {
            change: Compared::Delete { guard },
            ..
        } = command
            && *guard > 0
        {
            self.bury(key, now.saturating_add(*guard));
        }
        match (command, reply) {
            (Command::GetAndTouch { .. }, Reply::Touched) => self.hit(key),
            (_, reply) => Outcome::from(reply),
        }
    }

    /// What was taken away since this was asked last, to be let go of where nobody waits.
    pub fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    /// The item under `key` that is alive by the keyspace's clock.
    pub fn get(&self, key: &[u8]) -> Option<&Item> {
        let item = self.partition(key).items.get(key)?;
        (!Expiry::at(item.expiry).is_over(self.now)).then_some(item)
    }

    fn hit(&self, key: &[u8]) -> Outcome {
        match self.get(key) {
            Some(item) => Outcome::Hit(item.clone()),
            None => Outcome::NotFound,
        }
    }

    /// Whether the answer to a read of `key` is not settled yet at the leader's `clock`: its item would be over by
    /// that clock, but no entry has said so. Such a read waits for an entry, else the next leader, whose clock may
    /// be a little behind, could show the item again.
    pub fn is_unsettled(&self, key: &[u8], clock: u64) -> bool {
        if self.flushes.first().is_some_and(|at| *at <= clock) {
            return true;
        }
        self.get(key)
            .is_some_and(|item| Expiry::at(item.expiry).is_over(clock))
    }

    /// Whether an entry, even an empty one, at `clock` would take something out.
    pub fn has_due(&self, clock: u64) -> bool {
        let flush = self.flushes.first().is_some_and(|at| *at <= clock);
        flush || self.due.first().is_some_and(|at| at <= clock)
    }

    /// The keyspace's clock in milliseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Items held, those that are over but not yet taken out included.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Bytes that the items take, keys and bookkeeping included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many of these bytes are keys under guard.
    pub fn buried(&self) -> u64 {
        self.buried
    }

    /// Whether `key` is on record as guarded, be it for no longer: another delete takes no more room.
    pub fn is_buried(&self, key: &[u8]) -> bool {
        self.partition(key).graves.contains_key(key)
    }

    /// Agents known.
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    fn partition(&self, key: &[u8]) -> &Partition {
        &self.partitions[partition::index(key, PARTITIONS)]
    }

    fn partition_mut(&mut self, key: &[u8]) -> &mut Partition {
        Arc::make_mut(&mut self.partitions[partition::index(key, PARTITIONS)])
    }

    fn put(&mut self, key: Key, item: Item) {
        self.remove(&key);
        self.items += 1;
        self.bytes += item.cost(&key);
        if item.expiry != Expiry::NEVER.millis() {
            self.due.insert(item.expiry, Due::Item(key.clone()));
        }
        self.partition_mut(&key).items.insert(key, item);
    }

    fn remove(&mut self, key: &[u8]) {
        if !self.partition(key).items.contains_key(key) {
            return;
        }
        if let Some((key, item)) = self.partition_mut(key).items.remove_entry(key) {
            self.items -= 1;
            self.bytes -= item.cost(&key);
            if item.expiry != Expiry::NEVER.millis() {
                self.due.remove(item.expiry, Due::Item(key));
            }
        }
    }

    fn is_guarded(&self, key: &[u8]) -> bool {
        let until = self.partition(key).graves.get(key);
        until.is_some_and(|until| *until > self.now)
    }

    fn bury(&mut self, key: &Key, until: u64) {
        self.unbury(key);
        self.add_grave(key.clone(), until);
    }

    /// The key has none.
    fn add_grave(&mut self, key: Key, until: u64) {
        let cost = partition::grave_cost(&key);
        (self.bytes, self.buried) = (self.bytes + cost, self.buried + cost);
        self.due.insert(until, Due::Grave(key.clone()));
        self.partition_mut(&key).graves.insert(key, until);
    }

    fn unbury(&mut self, key: &[u8]) {
        if !self.partition(key).graves.contains_key(key) {
            return;
        }
        if let Some((key, until)) = self.partition_mut(key).graves.remove_entry(key) {
            let cost = partition::grave_cost(&key);
            (self.bytes, self.buried) = (self.bytes - cost, self.buried - cost);
            self.due.remove(until, Due::Grave(key));
        }
    }

    fn expire(&mut self) {
        for _ in 0..MAX_EXPIRED {
            match self.due.pop(self.now) {
                Some(Due::Item(key)) => self.remove(&key),
                Some(Due::Grave(key)) => self.unbury(&key),
                None => return,
            }
        }
    }

    fn flush_due(&mut self) {
        let later = self.flushes.split_off(&(self.now + 1));
        if !std::mem::replace(&mut self.flushes, later).is_empty() {
            self.flush();
        }
    }

    /// Every item goes. Graves stay: a flush does not allow what a delete forbade.
    fn flush(&mut self) {
        let graves: Vec<_> = self
            .partitions
            .iter()
            .flat_map(|p| p.graves.iter().map(|(key, until)| (key.clone(), *until)))
            .collect();
        let blank = (0..PARTITIONS).map(|_| Arc::default()).collect();
        self.gone.push(Gone {
            partitions: std::mem::replace(&mut self.partitions, blank),
            _due: std::mem::take(&mut self.due),
        });
        (self.items, self.bytes, self.buried) = (0, 0, 0);
        for (key, until) in graves {
            self.bury(&key, until);
        }
    }
}

impl Item {
    fn as_current(&self) -> Current<'_> {
        Current {
            flags: self.flags,
            version: self.version,
            expiry: Expiry::at(self.expiry),
            value: &self.value,
        }
    }
}

/// Whether the item has the version that a client compares with.
fn is_as_expected(item: &Item, version: u64) -> bool {
    #[cfg(test)]
    if crate::sim::is_broken(crate::sim::Broken::NothingCompared) {
        return true;
    }
    item.version == version
}

#[cfg(test)]
mod tests;
