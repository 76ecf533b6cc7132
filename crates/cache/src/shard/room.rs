//! Room for an item: a free block, or one that others have to leave.

use tandem_memcache::watch::EVICTIONS;

use super::Shard;
use crate::arena::{Id, words};

/// Steps before a store without eviction is refused: what is over must not keep out what lives.
const MANY_STEPS: usize = 256;
/// Items that are evicted for a block of any size before a stretch is cleared.
const FEW: u32 = 8;
/// Memory is fragmented when more than one part in so many is free though nothing fits.
const FRAGMENTED: usize = 12;
/// Words that are cut off the arena at a time.
const CUT: usize = 1 << 17;

impl Shard {
    /// A block of so many words. `found`, an item that is to be kept if possible, becomes `None` when it had to go, or
    /// its other name when it had to move.
    pub(super) fn room(&mut self, wanted: u32, found: &mut Option<Id>, now: u64) -> Option<Id> {
        if self.fits(wanted)
            && let Some(id) = self.arena.take(wanted)
        {
            return Some(id);
        }
        if !self.bounds.evict {
            self.housekeeping(now, MANY_STEPS);
            return self.fits(wanted).then(|| self.arena.take(wanted)).flatten();
        }
        if self.is_fragmented()
            && let Some(start) = self
                .arena
                .largest()
                .filter(|&id| self.arena.to_end(id) >= wanted)
        {
            self.evacuate(start, wanted, found, now);
            self.arena.keep(start, wanted);
            return Some(start);
        }
        // In their turn, as long as that may help: neighbours were stored together and often go together.
        let (mut freed, mut count) = (0, 0);
        while count < FEW || freed < wanted {
            let victim = self.victim()?;
            freed += self.arena.size(victim);
            count += 1;
            self.evict(victim, found, now);
            if let Some(id) = self.arena.take(wanted) {
                return Some(id);
            }
        }
        // There is room in sum, but not in one piece.
        let start = self.victim().filter(|&id| self.arena.to_end(id) >= wanted);
        let start = start.or_else(|| self.arena.first(wanted))?;
        self.evacuate(start, wanted, found, now);
        self.arena.keep(start, wanted);
        Some(start)
    }

    /// Without eviction the index and the rest must find room within the bound beside the items.
    fn fits(&self, wanted: u32) -> bool {
        self.bounds.evict || self.used() + wanted as usize * 8 <= self.bounds.memory
    }

    /// Much is free, in pieces too small for what is wanted now: items are to move together rather than go.
    fn is_fragmented(&self) -> bool {
        self.arena.used() < self.arena.capacity() / FRAGMENTED * (FRAGMENTED - 1)
    }

    fn victim(&mut self) -> Option<Id> {
        let limit = self.arena.capacity();
        self.eviction.choose(&mut self.arena, limit)
    }

    /// An item makes room, and its block is free.
    fn evict(&mut self, id: Id, found: &mut Option<Id>, now: u64) {
        if *found == Some(id) {
            *found = None;
        }
        self.count_evicted(id, now);
        self.discard(id);
    }

    fn count_evicted(&mut self, id: Id, now: u64) {
        if self.is_flushed(id) || self.arena[id].expiry.is_over(now) {
            self.count_reclaimed(id);
        } else {
            let item = &self.arena[id];
            let (fetched, idle) = (item.was_fetched(), item.idle(now));
            let left = item.expiry.remaining(now);
            self.counters.evictions += 1;
            self.counters.evicted_unfetched += u64::from(!fetched);
            let class = self.class_of(id);
            class.evicted += 1;
            class.evicted_nonzero += u64::from(left.is_some());
            class.evicted_time = idle;
            class.evicted_unfetched += u64::from(!fetched);
            if self.shared.watch.wants(EVICTIONS) {
                let ttl = left.map_or(0, |left| left.div_ceil(1000) as i64);
                let size = self.arena.item_size(id);
                let class = self.shared.classes.of(size);
                let value = self.arena[id].value_len as usize;
                let key = self.arena.key(id);
                self.shared
                    .watch
                    .evicted(key, fetched, ttl, idle, class, value);
            }
        }
    }

    /// Makes the blocks from `start` on one held block of at least so many words. Items move elsewhere if they fit
    /// anywhere; those that were of no use lately only if memory is fragmented.
    fn evacuate(&mut self, start: Id, wanted: u32, found: &mut Option<Id>, now: u64) {
        // What is free there already must not be where they move to.
        let (mut id, mut count) = (start, 0);
        loop {
            count += self.arena.size(id);
            if self.arena.is_free(id) {
                self.arena.hold(id);
            }
            match self.arena.behind(id) {
                Some(behind) if count < wanted => id = behind,
                _ => break,
            }
        }
        self.vacate(start, found, now);
        while self.arena.size(start) < wanted {
            let Some(behind) = self.arena.behind(start) else {
                break;
            };
            self.vacate(behind, found, now);
            self.arena.absorb(start);
        }
    }

    /// Makes a block a held one.
    fn vacate(&mut self, id: Id, found: &mut Option<Id>, now: u64) {
        if self.arena.is_held(id) {
            return;
        }
        if self.arena.is_free(id) {
            return self.arena.hold(id);
        }
        let item = &self.arena[id];
        let of_use = item.used() > 0 || *found == Some(id) || self.is_fragmented();
        let size = words(usize::from(item.key_len) + item.value_len as usize);
        let other = of_use.then(|| self.arena.take(size)).flatten();
        match other {
            Some(other) => {
                self.arena.copy(id, other, true);
                self.renamed(id, other);
                if *found == Some(id) {
                    *found = Some(other);
                }
            }
            None => {
                if *found == Some(id) {
                    *found = None;
                }
                self.count_evicted(id, now);
                self.take_out(id);
            }
        }
        self.arena.hold(id);
    }

    /// Fits the arena to what the index and eviction have come to take, or a changed bound leaves it; in steps. True:
    /// there is more to do. Without eviction nothing is cut off: items only find less room.
    pub(crate) fn fit(&mut self, now: u64) -> bool {
        let around = self.index.allocation_size() + self.eviction.overhead();
        self.around = around;
        let least = self.bounds.max_item.min(self.bounds.memory / 2) + 1024;
        let target = self.bounds.memory.saturating_sub(around).max(least) / 8;
        let capacity = self.arena.capacity() / 8;
        if !self.bounds.evict || capacity <= target {
            return false;
        }
        let excess = (capacity - target).min(CUT);
        if let Some((start, to_end)) = self.arena.tail(excess) {
            self.evacuate(start, to_end, &mut None, now);
            self.arena.cut(start, excess as u32);
        }
        capacity - excess > target
    }

    /// Another bound of memory. What is over it goes with [`Shard::fit`].
    pub(crate) fn set_memory(&mut self, memory: usize) {
        let more =
            memory.saturating_sub(self.bounds.memory.max(self.arena.capacity() + self.around));
        self.bounds.memory = memory;
        self.arena.grow(more);
    }

    /// After something was stored: whether [`Shard::fit`] is due.
    pub(super) fn has_grown_around(&self) -> bool {
        self.index.allocation_size() + self.eviction.overhead() > self.around
    }
}
