//! Which item goes when memory is short: S3-FIFO (Yang et al., SOSP 2023), counted in bytes.
//!
//! New items enter a small queue of a tenth of the memory. One that was asked for again by the time it comes to the
//! queue's end moves to the main queue, the others leave: a scan of keys that are read once passes through the
//! small queue and disturbs nothing. In the main queue an item that was asked for goes round once more. Keys that
//! left the small queue are remembered for a while; if one comes back it enters the main queue at once.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::slots::{Id, Link, NONE, Queue, Slots};

/// A shard looks at no more items than this for one to evict: then the next one goes, asked for or not.
const LOOKS: usize = 64;
/// Memory of a remembered key in bytes: in the ring and in the set.
const GHOST: usize = 12;

/// The two queues of a shard.
pub(crate) struct Eviction {
    small: Fifo,
    main: Fifo,
    ghosts: Ghosts,
}

/// A list of items, the newest first.
struct Fifo {
    first: Id,
    last: Id,
    /// What its items are charged.
    bytes: usize,
    count: usize,
}

impl Fifo {
    const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
        bytes: 0,
        count: 0,
    };

    fn push(&mut self, slots: &mut Slots, id: Id) {
        let second = std::mem::replace(&mut self.first, id);
        if second == NONE {
            self.last = id;
        } else {
            slots[second].in_queue.before = id;
        }
        let item = &mut slots[id];
        item.in_queue = Link {
            before: NONE,
            behind: second,
        };
        self.bytes += item.charge();
        self.count += 1;
    }

    fn take(&mut self, slots: &mut Slots, id: Id) {
        let item = &mut slots[id];
        self.bytes -= item.charge();
        self.count -= 1;
        let Link { before, behind } = std::mem::replace(&mut item.in_queue, Link::ALONE);
        if before == NONE {
            self.first = behind;
        } else {
            slots[before].in_queue.behind = behind;
        }
        if behind == NONE {
            self.last = before;
        } else {
            slots[behind].in_queue.before = before;
        }
    }
}

impl Eviction {
    pub(crate) const fn new() -> Self {
        Self {
            small: Fifo::EMPTY,
            main: Fifo::EMPTY,
            ghosts: Ghosts::new(),
        }
    }

    /// Bytes of bookkeeping that no item is charged.
    pub(crate) fn overhead(&self) -> usize {
        self.ghosts.order.len() * GHOST
    }

    /// A new item.
    pub(crate) fn add(&mut self, slots: &mut Slots, id: Id) {
        let queue = if self.ghosts.recall(slots[id].hash) {
            Queue::Main
        } else {
            Queue::Small
        };
        slots[id].set_queue(queue);
        self.queue(queue).push(slots, id);
    }

    /// An item leaves, for whatever reason.
    pub(crate) fn remove(&mut self, slots: &mut Slots, id: Id) {
        self.queue(slots[id].queue()).take(slots, id);
    }

    /// An item's charge was `before` and is another now.
    pub(crate) fn resized(&mut self, slots: &Slots, id: Id, before: usize) {
        let queue = self.queue(slots[id].queue());
        queue.bytes = queue.bytes - before + slots[id].charge();
    }

    /// The ends of the queues: where the items of before a `flush_all` are found first.
    pub(crate) fn oldest(&self) -> [Id; 2] {
        [self.small.last, self.main.last]
    }

    /// Chooses the item that goes; it stays in its queue until it is removed. `limit` is the shard's memory in bytes.
    pub(crate) fn choose(&mut self, slots: &mut Slots, limit: usize) -> Option<Id> {
        for _ in 0..LOOKS {
            if self.small.bytes > limit / 10 || self.main.last == NONE {
                let id = self.small.last;
                if id == NONE {
                    return None;
                }
                if slots[id].used() == 0 {
                    self.ghosts.remember(slots[id].hash, self.main.count);
                    return Some(id);
                }
                self.small.take(slots, id);
                slots[id].set_queue(Queue::Main);
                slots[id].set_used(0);
                self.main.push(slots, id);
            } else {
                let id = self.main.last;
                if slots[id].used() == 0 {
                    return Some(id);
                }
                let used = slots[id].used();
                slots[id].set_used(used - 1);
                self.main.take(slots, id);
                self.main.push(slots, id);
            }
        }
        Some(if self.main.last == NONE {
            self.small.last
        } else {
            self.main.last
        })
    }

    /// What the items of both queues are charged.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.small.bytes + self.main.bytes
    }

    fn queue(&mut self, queue: Queue) -> &mut Fifo {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }
}

/// The hashes of keys that left the small queue unasked for.
struct Ghosts {
    order: VecDeque<u32>,
    /// The hashes that `order` holds. One that was recalled is missing here and falls out of `order` in its turn.
    known: HashTable<u32>,
}

impl Ghosts {
    const fn new() -> Self {
        Self {
            order: VecDeque::new(),
            known: HashTable::new(),
        }
    }

    /// Remembers as many as there are items in the main queue.
    fn remember(&mut self, hash: u32, most: usize) {
        while self.order.len() >= most.max(16) {
            if let Some(oldest) = self.order.pop_front() {
                self.recall(oldest);
            }
        }
        self.order.push_back(hash);
        self.known
            .entry(spread(hash), |&known| known == hash, |&known| spread(known))
            .or_insert(hash);
    }

    /// Whether it was remembered; it is not any more.
    fn recall(&mut self, hash: u32) -> bool {
        let found = self.known.find_entry(spread(hash), |&known| known == hash);
        found
            .map(hashbrown::hash_table::OccupiedEntry::remove)
            .is_ok()
    }
}

/// The tables take their buckets from low bits and their tags from high ones: 32 bits are spread over 64.
pub(crate) const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
