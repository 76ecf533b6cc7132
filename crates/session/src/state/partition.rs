//! A part of the keyspace: what a snapshot shares with the state.

use std::collections::HashMap;
use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::Key;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The client's own 32 bits.
    pub flags: u32,
    /// The version of its last change: the `cas unique`.
    pub version: u64,
    /// When it ends by the keyspace's clock, in milliseconds; `u64::MAX` is never.
    pub expiry: u64,
    /// Its bytes, shared with the log.
    pub value: Bytes,
}

/// What an item takes besides the bytes of key and value: slots in the table and in the queue of what ends when, two
/// allocations with their counts.
const ITEM_OVERHEAD: u64 = 192;

impl Item {
    /// Bytes that the item takes under `key`.
    pub fn cost(&self, key: &[u8]) -> u64 {
        cost(key.len(), self.value.len())
    }
}

/// Bytes that an item of this size takes.
pub fn cost(key: usize, value: usize) -> u64 {
    ITEM_OVERHEAD + key as u64 + value as u64
}

/// Bytes that a grave takes.
pub fn grave_cost(key: &[u8]) -> u64 {
    cost(key.len(), 0)
}

/// Fixed, so that a simulation replays exactly. Keys come from applications that hold the agent's port.
const HASH: FixedState = FixedState::with_seed(0x7461_6e64_656d);

#[derive(Clone, Debug)]
pub struct Partition {
    pub items: HashMap<Key, Item, FixedState>,
    /// Keys that were deleted under guard, and until when.
    pub graves: HashMap<Key, u64, FixedState>,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            items: HashMap::with_hasher(HASH),
            graves: HashMap::with_hasher(HASH),
        }
    }
}

/// Which of `count` partitions holds `key`.
pub fn index(key: &[u8], count: usize) -> usize {
    // Seeded otherwise than the tables: else the keys of one partition would share their low bits in its table.
    let hash = FixedState::with_seed(0x7365_7373_696f).hash_one(key);
    (hash % count as u64) as usize
}
