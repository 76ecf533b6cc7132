//! What ends when, in the order of the clock.

use std::collections::BTreeSet;

use super::Key;

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// An item.
    Item(Key),
    /// The guard of a deleted key.
    Grave(Key),
}

/// Everything that ends some time.
#[derive(Debug, Default)]
pub struct DueQueue(BTreeSet<(u64, Due)>);

impl DueQueue {
    pub fn insert(&mut self, at: u64, what: Due) {
        self.0.insert((at, what));
    }

    pub fn remove(&mut self, at: u64, what: Due) {
        self.0.remove(&(at, what));
    }

    /// When the first ends.
    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out the first, if it is over at `now`.
    pub fn pop(&mut self, now: u64) -> Option<Due> {
        let (at, _) = self.0.first()?;
        if *at > now {
            return None;
        }
        self.0.pop_first().map(|(_, what)| what)
    }
}
