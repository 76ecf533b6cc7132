//! Items in memory, named by small numbers so that lists, wheel and index can link them without pointers.

use std::ops::{Index, IndexMut};

use crate::rules::{Current, Expiry};

/// Names an item within its shard.
pub(crate) type Id = u32;

/// No item.
pub(crate) const NONE: Id = Id::MAX;

/// Neighbours in a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) before: Id,
    pub(crate) behind: Id,
}

impl Link {
    pub(crate) const ALONE: Self = Self {
        before: NONE,
        behind: NONE,
    };
}

/// Which of the eviction queues an item is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// New ones.
    Small,
    /// Those that were asked for again.
    Main,
}

/// One item.
#[derive(Debug)]
pub(crate) struct Item {
    /// Key and value behind each other: one allocation.
    data: Box<[u8]>,
    key_len: u8,
    pub(crate) version: u64,
    pub(crate) expiry: Expiry,
    pub(crate) flags: u32,
    pub(crate) hash: u32,
    /// When it was last asked for, in seconds of the store's clock.
    pub(crate) accessed: u32,
    /// How often it was asked for lately, its queue, and what is remarkable about it, in a byte: with these and the
    /// rest an item's slot is 64 bytes.
    marks: u8,
    /// Which list of the wheel it is in.
    pub(crate) bucket: u16,
    pub(crate) in_queue: Link,
    pub(crate) in_wheel: Link,
}

/// How often it was asked for lately, at most this.
const USED: u8 = 3;
/// It is in the main queue.
const MAIN: u8 = 4;
/// It was asked for.
const FETCHED: u8 = 8;
/// It is stale: shown, and to be renewed.
const STALE: u8 = 16;
/// A client was told to renew it.
const TAKEN: u8 = 32;
/// Its version was chosen by a client.
const CHOSEN: u8 = 64;

/// What an item takes besides its bytes: its slot and its share of the index.
const AROUND: usize = size_of::<Item>() + 8;

/// Bytes that an item with so much data is charged: the slot, its share of the index, and the allocation as the
/// allocator rounds it.
pub(crate) const fn charge(data: usize) -> usize {
    let allocation = (data + 8).next_multiple_of(16);
    AROUND + if allocation < 32 { 32 } else { allocation }
}

impl Item {
    /// A key has at most 250 bytes.
    pub(crate) fn new(key: &[u8], hash: u32, flags: u32, expiry: Expiry, value: &[u8]) -> Self {
        Self {
            data: [key, value].concat().into_boxed_slice(),
            key_len: key.len() as u8,
            version: 0,
            expiry,
            flags,
            hash,
            accessed: 0,
            marks: 0,
            bucket: 0,
            in_queue: Link::ALONE,
            in_wheel: Link::ALONE,
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.data[..usize::from(self.key_len)]
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.data[usize::from(self.key_len)..]
    }

    pub(crate) fn set_value(&mut self, value: &[u8]) {
        let key_len = usize::from(self.key_len);
        if self.data.len() == key_len + value.len() {
            self.data[key_len..].copy_from_slice(value);
        } else {
            self.data = [&self.data[..key_len], value].concat().into_boxed_slice();
        }
    }

    pub(crate) fn charge(&self) -> usize {
        charge(self.data.len())
    }

    pub(crate) fn current(&self) -> Current<'_> {
        Current {
            flags: self.flags,
            version: self.version,
            expiry: self.expiry,
            value: self.value(),
        }
    }

    /// Of use once more.
    pub(crate) fn touch(&mut self) {
        self.set_used((self.used() + 1).min(USED));
    }

    /// How often it was of use lately, at most 3.
    pub(crate) const fn used(&self) -> u8 {
        self.marks & USED
    }

    pub(crate) fn set_used(&mut self, used: u8) {
        self.marks = self.marks & !USED | used & USED;
    }

    pub(crate) const fn queue(&self) -> Queue {
        if self.marks & MAIN == 0 {
            Queue::Small
        } else {
            Queue::Main
        }
    }

    pub(crate) fn set_queue(&mut self, queue: Queue) {
        self.marks = match queue {
            Queue::Small => self.marks & !MAIN,
            Queue::Main => self.marks | MAIN,
        };
    }

    /// Asked for at `now` (milliseconds).
    pub(crate) fn fetched(&mut self, now: u64) {
        self.touch();
        self.marks |= FETCHED;
        self.accessed = seconds(now);
    }

    /// Stored anew at `now` (milliseconds): nobody has asked for it as it is.
    pub(crate) fn renewed(&mut self, now: u64) {
        self.marks &= USED | MAIN;
        self.accessed = seconds(now);
    }

    pub(crate) const fn was_fetched(&self) -> bool {
        self.marks & FETCHED != 0
    }

    pub(crate) const fn is_stale(&self) -> bool {
        self.marks & STALE != 0
    }

    /// A client was told to renew it, and nobody has yet.
    pub(crate) const fn is_taken(&self) -> bool {
        self.marks & TAKEN != 0
    }

    /// Its version says nothing about when it was stored.
    pub(crate) const fn has_chosen_version(&self) -> bool {
        self.marks & CHOSEN != 0
    }

    pub(crate) fn take(&mut self) {
        self.marks |= TAKEN;
    }

    /// It is stale from now on, and a client is to be found that renews it unless one was `taken` already.
    pub(crate) fn spoil(&mut self, taken: bool) {
        self.marks = self.marks & !TAKEN | STALE | if taken { TAKEN } else { 0 };
    }

    /// It has a version of a client's choice.
    pub(crate) fn choose_version(&mut self, version: u64) {
        self.version = version;
        self.marks |= CHOSEN;
    }

    /// Seconds since it was asked for or stored.
    pub(crate) fn idle(&self, now: u64) -> u64 {
        u64::from(seconds(now).wrapping_sub(self.accessed))
    }
}

fn seconds(now: u64) -> u32 {
    (now / 1000) as u32
}

/// Items per chunk: growing never copies what is there.
const CHUNK: usize = 256;

enum Slot {
    Taken(Item),
    Free { next: Id },
}

/// All items of a shard.
pub(crate) struct Slots {
    chunks: Vec<Vec<Slot>>,
    free: Id,
    count: usize,
}

impl Slots {
    pub(crate) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            count: 0,
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The names of all items, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        let slots = self.chunks.iter().flatten().enumerate();
        slots
            .filter(|(_, slot)| matches!(slot, Slot::Taken(_)))
            .map(|(id, _)| id as Id)
    }

    pub(crate) fn insert(&mut self, item: Item) -> Id {
        self.count += 1;
        if self.free != NONE {
            let id = self.free;
            let slot = &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK];
            if let Slot::Free { next } = *slot {
                self.free = next;
            }
            *slot = Slot::Taken(item);
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.len() - 1;
        self.chunks[chunk].push(Slot::Taken(item));
        (chunk * CHUNK + self.chunks[chunk].len() - 1) as Id
    }

    /// Takes an item out. It must be there.
    pub(crate) fn remove(&mut self, id: Id) -> Item {
        let slot = &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK];
        match std::mem::replace(slot, Slot::Free { next: self.free }) {
            Slot::Taken(item) => {
                self.free = id;
                self.count -= 1;
                item
            }
            Slot::Free { .. } => unreachable!("a list names an item that is gone"),
        }
    }
}

impl Index<Id> for Slots {
    type Output = Item;

    fn index(&self, id: Id) -> &Item {
        match &self.chunks[id as usize / CHUNK][id as usize % CHUNK] {
            Slot::Taken(item) => item,
            Slot::Free { .. } => unreachable!("a list names an item that is gone"),
        }
    }
}

impl IndexMut<Id> for Slots {
    fn index_mut(&mut self, id: Id) -> &mut Item {
        match &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK] {
            Slot::Taken(item) => item,
            Slot::Free { .. } => unreachable!("a list names an item that is gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_place_is_taken_again() {
        let mut slots = Slots::new();
        let item = |key: &[u8]| Item::new(key, 0, 0, Expiry::NEVER, b"value");
        let ids: Vec<Id> = (0..=CHUNK as u32)
            .map(|i| slots.insert(item(&i.to_be_bytes())))
            .collect();
        assert_eq!(slots.remove(ids[7]).key(), 7u32.to_be_bytes());
        assert_eq!(slots.remove(ids[9]).key(), 9u32.to_be_bytes());
        let again = [slots.insert(item(b"a")), slots.insert(item(b"b"))];
        assert_eq!(again, [ids[9], ids[7]]);
        assert_eq!(slots[ids[7]].key(), b"b");
        assert_eq!(slots.count(), CHUNK + 1);
    }

    #[test]
    fn the_charge_covers_the_slot_and_the_allocation() {
        assert!(charge(0) >= size_of::<Slot>() + 32);
        assert_eq!(size_of::<Slot>(), 64);
        assert_eq!(charge(500), AROUND + 512);
        assert_eq!(charge(504), AROUND + 512);
        assert_eq!(charge(505), AROUND + 528);
    }
}
