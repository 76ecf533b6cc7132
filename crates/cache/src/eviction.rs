//! Which item goes when memory is short: S3-FIFO (Yang et al., SOSP 2023), counted in bytes.
//!
//! New items enter a small queue of a tenth of the memory. One that was asked for again by the time it comes to the
//! queue's end moves to the main queue, the others leave: a scan of keys that are read once passes through the
//! small queue and disturbs nothing. In the main queue an item that was asked for goes round once more. Keys that
//! left the small queue are remembered for a while; if one comes back it enters the main queue at once.

use crate::arena::{Arena, Id, NONE};
use crate::item::{Link, Queue};

/// A shard looks at no more items than this for one to evict: then the next one goes, asked for or not.
const LOOKS: usize = 64;
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

    fn push(&mut self, arena: &mut Arena, id: Id) {
        let second = std::mem::replace(&mut self.first, id);
        if second == NONE {
            self.last = id;
        } else {
            arena[second].in_queue.before = id;
        }
        let item = &mut arena[id];
        item.in_queue = Link {
            before: NONE,
            behind: second,
        };
        self.bytes += arena.charge(id);
        self.count += 1;
    }

    fn take(&mut self, arena: &mut Arena, id: Id) {
        self.bytes -= arena.charge(id);
        self.count -= 1;
        let Link { before, behind } = std::mem::replace(&mut arena[id].in_queue, Link::ALONE);
        if before == NONE {
            self.first = behind;
        } else {
            arena[before].in_queue.behind = behind;
        }
        if behind == NONE {
            self.last = before;
        } else {
            arena[behind].in_queue.before = before;
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
        self.ghosts.known.len() * size_of::<Ghost>()
    }

    /// A new item.
    pub(crate) fn add(&mut self, arena: &mut Arena, id: Id) {
        let queue = if self.ghosts.recall(arena[id].hash, self.main.count) {
            Queue::Main
        } else {
            Queue::Small
        };
        arena[id].set_queue(queue);
        self.queue(queue).push(arena, id);
    }

    /// An item leaves, for whatever reason.
    pub(crate) fn remove(&mut self, arena: &mut Arena, id: Id) {
        self.queue(arena[id].queue()).take(arena, id);
    }

    /// An item's charge was `before` and is another now.
    pub(crate) fn resized(&mut self, arena: &Arena, id: Id, before: usize) {
        let queue = self.queue(arena[id].queue());
        queue.bytes = queue.bytes - before + arena.charge(id);
    }

    /// An item has moved to another block, its fields with it.
    pub(crate) fn renamed(&mut self, arena: &mut Arena, old: Id, new: Id) {
        let before_charge = arena.charge(old);
        let queue = self.queue(arena[new].queue());
        queue.bytes = queue.bytes - before_charge + arena.charge(new);
        let Link { before, behind } = arena[new].in_queue;
        if before == NONE {
            queue.first = new;
        } else {
            arena[before].in_queue.behind = new;
        }
        if behind == NONE {
            queue.last = new;
        } else {
            arena[behind].in_queue.before = new;
        }
    }

    /// The ends of the queues: where the items of before a `flush_all` are found first.
    pub(crate) fn oldest(&self) -> [Id; 2] {
        [self.small.last, self.main.last]
    }

    /// Chooses the item that goes; it stays in its queue until it is removed. `limit` is the shard's memory in bytes.
    pub(crate) fn choose(&mut self, arena: &mut Arena, limit: usize) -> Option<Id> {
        for _ in 0..LOOKS {
            if self.small.bytes > limit / 10 || self.main.last == NONE {
                let id = self.small.last;
                if id == NONE {
                    return None;
                }
                if arena[id].used() == 0 {
                    self.ghosts.remember(arena[id].hash, self.main.count);
                    return Some(id);
                }
                self.small.take(arena, id);
                arena[id].set_queue(Queue::Main);
                arena[id].set_used(0);
                self.main.push(arena, id);
            } else {
                let id = self.main.last;
                if arena[id].used() == 0 {
                    return Some(id);
                }
                let used = arena[id].used();
                arena[id].set_used(used - 1);
                self.main.take(arena, id);
                self.main.push(arena, id);
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

/// The hashes of keys that left the small queue unasked for: a table in which each has one place, and a later one takes
/// it from an earlier one.
struct Ghosts {
    known: Vec<Ghost>,
    /// How many have left.
    left: u32,
}

/// A hash, and how many had left before.
#[derive(Clone, Copy)]
struct Ghost {
    hash: u32,
    number: u32,
}

impl Ghosts {
    const fn new() -> Self {
        Self {
            known: Vec::new(),
            left: 0,
        }
    }

    /// Remembers as many as there are items in the main queue, about.
    fn remember(&mut self, hash: u32, most: usize) {
        let wanted = most.max(16).next_power_of_two() / 2;
        if self.known.len() < wanted {
            let forgotten = Ghost {
                hash: !hash,
                number: self.left.wrapping_sub(u32::MAX / 2),
            };
            let before = std::mem::replace(&mut self.known, vec![forgotten; wanted]);
            for ghost in before {
                let at = self.at(ghost.hash);
                self.known[at] = ghost;
            }
        }
        let at = self.at(hash);
        self.known[at] = Ghost {
            hash,
            number: self.left,
        };
        self.left = self.left.wrapping_add(1);
    }

    fn at(&self, hash: u32) -> usize {
        // The length is a power of two; the high bits of the spread hash are its best.
        (spread(hash) >> 32) as usize & (self.known.len() - 1)
    }

    /// Whether it was remembered, not longer ago than `most` others; it is not any more.
    fn recall(&mut self, hash: u32, most: usize) -> bool {
        if self.known.is_empty() {
            return false;
        }
        let at = self.at(hash);
        let ghost = &mut self.known[at];
        let found =
            ghost.hash == hash && (self.left.wrapping_sub(ghost.number) as usize) <= most.max(16);
        if found {
            ghost.hash = !hash;
        }
        found
    }
}

/// The tables take their buckets from low bits and their tags from high ones: 32 bits are spread over 64.
pub(crate) const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
