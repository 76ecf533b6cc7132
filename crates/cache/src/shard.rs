//! A part of the cache with a lock of its own: index, items, wheel and queues, which name the same items.
//!
//! An item is in all four or in none: it enters by [`Shard::insert`] and leaves by [`Shard::discard`], nowhere else.

mod extended;

use hashbrown::HashTable;
use tandem_memcache::{Details, Hit, Lifetime, Mode, Op, Reply, Sink, item_size};

use crate::counters::Counters;
use crate::eviction::{Eviction, spread};
use crate::rules::{self, Effect, Expiry};
use crate::slots::{Id, Item, NONE, Slots, charge};
use crate::wheel::Wheel;

/// Dead items that an operation frees, besides those it comes across.
const STEPS: usize = 4;
/// Steps before a store without eviction is refused: what is over must not keep out what lives.
const MANY_STEPS: usize = 256;

/// Which bounds a shard keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes that its items may be charged.
    pub(crate) memory: usize,
    /// The largest item as memcached counts it, so that the same values are too large here as there: see
    /// [`item_size`].
    pub(crate) max_item: usize,
    /// Make room by evicting; else refuse.
    pub(crate) evict: bool,
}

const TOO_LARGE: &str = "object too large for cache";
const NO_MEMORY: &str = "out of memory storing object";

fn hit<'a>(key: &'a [u8], item: &'a Item, now: u64) -> Hit<'a> {
    Hit {
        key,
        flags: item.flags,
        version: item.version,
        remaining: item.expiry.remaining(now),
        value: item.value(),
    }
}

fn details(item: &Item, now: u64) -> Details {
    Details {
        fetched: item.was_fetched(),
        idle: item.idle(now),
        won: false,
        stale: item.is_stale(),
        taken: item.is_taken(),
    }
}

/// A part of the cache.
pub(crate) struct Shard {
    bounds: Bounds,
    index: HashTable<Id>,
    slots: Slots,
    wheel: Wheel,
    eviction: Eviction,
    /// Bytes that the items are charged.
    used: usize,
    /// The last version given out.
    version: u64,
    /// Items up to this version are flushed.
    flushed: u64,
    /// When a `flush_all` that waits comes into force, by the clock; `u64::MAX` when none waits.
    flush_at: u64,
    /// There may be flushed items in memory.
    sweeping: bool,
    /// A client has chosen an item's version since the last flush.
    chosen_versions: bool,
    pub(crate) counters: Counters,
}

impl Shard {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            index: HashTable::new(),
            slots: Slots::new(),
            wheel: Wheel::new(),
            eviction: Eviction::new(),
            used: 0,
            version: 0,
            flushed: 0,
            flush_at: u64::MAX,
            sweeping: false,
            chosen_versions: false,
            counters: Counters::default(),
        }
    }

    /// Bytes in use, bookkeeping included.
    pub(crate) fn used(&self) -> usize {
        self.used + self.eviction.overhead()
    }

    /// Items in memory.
    pub(crate) const fn count(&self) -> usize {
        self.slots.count()
    }

    /// `get`, and `gat` when `life` is given.
    pub(crate) fn get(
        &mut self,
        key: &[u8],
        hash: u32,
        life: Option<Lifetime>,
        now: u64,
        sink: &mut dyn Sink,
    ) {
        self.housekeeping(now, STEPS);
        self.counters.cmd_get += 1;
        self.counters.cmd_touch += u64::from(life.is_some());
        let Some(id) = self.find_live(key, hash, now, true) else {
            self.counters.get_misses += 1;
            self.counters.touch_misses += u64::from(life.is_some());
            return;
        };
        if let Some(life) = life {
            self.set_expiry(id, Expiry::after(now, life));
            self.counters.touch_hits += 1;
        }
        self.counters.get_hits += 1;
        let item = &mut self.slots[id];
        item.fetched(now);
        sink.hit(hit(key, item, now));
    }

    /// A change of one item, as [`rules::decide`] decides it.
    pub(crate) fn change(&mut self, op: &Op<'_>, key: &[u8], hash: u32, now: u64) -> Reply {
        self.housekeeping(now, STEPS);
        let mut found = self.find_live(key, hash, now, false);
        self.change_found(op, key, hash, &mut found, now)
    }

    /// A change of the live item `found`, which becomes the item that is there afterwards.
    fn change_found(
        &mut self,
        op: &Op<'_>,
        key: &[u8],
        hash: u32,
        found: &mut Option<Id>,
        now: u64,
    ) -> Reply {
        let reply = match self.refusal(op, key, *found) {
            Some(reply) => reply,
            None => self.carry_out(op, key, hash, found, now),
        };
        self.counters.count_change(op, &reply);
        reply
    }

    fn carry_out(
        &mut self,
        op: &Op<'_>,
        key: &[u8],
        hash: u32,
        found: &mut Option<Id>,
        now: u64,
    ) -> Reply {
        let current = found.map(|id| self.slots[id].current());
        let (effect, reply) = rules::decide(current, op, now);
        match (effect, *found) {
            (
                Effect::Put {
                    flags,
                    expiry,
                    value,
                },
                _,
            ) => {
                if !self.make_room(charge(key.len() + value.len()), found, now) {
                    self.counters.store_no_memory += 1;
                    self.forget_replaced(op, *found);
                    return Reply::ServerError(NO_MEMORY.into());
                }
                let id = match *found {
                    Some(id) => {
                        self.replace(id, flags, expiry, &value);
                        id
                    }
                    None => self.insert(Item::new(key, hash, flags, expiry, &value)),
                };
                // A number that is counted stays the same item.
                if matches!(op, Op::Store { .. }) {
                    self.slots[id].renewed(now);
                }
                *found = Some(id);
                self.counters.total_items += u64::from(matches!(op, Op::Store { .. }));
            }
            (Effect::Touch(expiry), Some(id)) => {
                self.set_expiry(id, expiry);
                self.slots[id].fetched(now);
            }
            (Effect::Remove, Some(id)) => self.discard(id),
            (Effect::Keep | Effect::Touch(_) | Effect::Remove, _) => {}
        }
        reply
    }

    /// What is refused for its size, before anything is copied.
    fn refusal(&mut self, op: &Op<'_>, key: &[u8], found: Option<Id>) -> Option<Reply> {
        let Op::Store {
            mode, flags, value, ..
        } = *op
        else {
            return None;
        };
        let (flags, size) = match (mode, found) {
            (Mode::Append | Mode::Prepend, None) => return None,
            (Mode::Append | Mode::Prepend, Some(id)) => {
                let item = &self.slots[id];
                (item.flags, item.value().len() + value.len())
            }
            _ => (flags, value.len()),
        };
        if item_size(key.len(), flags, size) <= self.bounds.max_item {
            return None;
        }
        self.counters.store_too_large += 1;
        self.forget_replaced(op, found);
        Some(Reply::ServerError(TOO_LARGE.into()))
    }

    /// After a `set` that failed nobody shall be served the value that it meant to replace (as in memcached).
    fn forget_replaced(&mut self, op: &Op<'_>, found: Option<Id>) {
        if let (
            Op::Store {
                mode: Mode::Set, ..
            },
            Some(id),
        ) = (op, found)
        {
            self.discard(id);
        }
    }

    /// Removes an item, if it is there.
    pub(crate) fn forget(&mut self, key: &[u8], hash: u32) {
        if let Some(id) = self.find(key, hash) {
            self.discard(id);
        }
    }

    /// `flush_all`: all items that are there when `at` (milliseconds) has come are gone then. It replaces one that
    /// waits.
    pub(crate) fn flush(&mut self, at: u64, now: u64) {
        // One that is due may have waited for the next operation, which is this one.
        self.housekeeping(now, STEPS);
        self.flush_at = at;
        self.housekeeping(now, STEPS);
    }

    /// What every operation does for the whole: a flush whose time has come, and freeing a bounded number of items
    /// that are over.
    pub(crate) fn housekeeping(&mut self, now: u64, steps: usize) {
        if now >= self.flush_at {
            self.flush_at = u64::MAX;
            self.flushed = self.version;
            self.sweeping = true;
            self.discard_chosen_versions();
        }
        let mut left = steps;
        while let Some(id) = self.wheel.next_over(&mut self.slots, now, &mut left) {
            self.reclaim(id);
        }
        if self.sweeping {
            // Whatever came after the flush is newer, so the flushed items are at the ends of the queues.
            for _ in 0..steps {
                let flushed = |id: &Id| *id != NONE && self.is_flushed(*id);
                match self.eviction.oldest().into_iter().find(flushed) {
                    Some(id) => self.reclaim(id),
                    None => {
                        self.sweeping = false;
                        break;
                    }
                }
            }
        }
    }

    fn is_flushed(&self, id: Id) -> bool {
        let item = &self.slots[id];
        // Items with versions of their own went at the flush itself.
        item.version <= self.flushed && !item.has_chosen_version()
    }

    fn find(&self, key: &[u8], hash: u32) -> Option<Id> {
        let same = |&id: &Id| {
            let item = &self.slots[id];
            item.hash == hash && item.key() == key
        };
        self.index.find(spread(hash), same).copied()
    }

    /// Finds an item that is alive at `now`. One that is over is freed on the way, and counted if it was `asked` for.
    fn find_live(&mut self, key: &[u8], hash: u32, now: u64, asked: bool) -> Option<Id> {
        let id = self.find(key, hash)?;
        if self.is_flushed(id) {
            self.counters.get_flushed += u64::from(asked);
        } else if self.slots[id].expiry.is_over(now) {
            self.counters.get_expired += u64::from(asked);
        } else {
            return Some(id);
        }
        self.reclaim(id);
        None
    }

    /// Makes room for an item that is charged `wanted` bytes, in place of `found` if there is one; `found` becomes
    /// `None` when it had to go itself. False: there is no room.
    fn make_room(&mut self, wanted: usize, found: &mut Option<Id>, now: u64) -> bool {
        let memory = self.bounds.memory;
        if wanted > memory {
            return false;
        }
        let freed =
            |shard: &Self, found: Option<Id>| found.map_or(0, |id| shard.slots[id].charge());
        let short =
            |shard: &Self, found: Option<Id>| shard.used() + wanted > memory + freed(shard, found);
        if short(self, *found) && !self.bounds.evict {
            self.housekeeping(now, MANY_STEPS);
            return !short(self, *found);
        }
        while short(self, *found) {
            let Some(id) = self.eviction.choose(&mut self.slots, memory) else {
                return false;
            };
            if *found == Some(id) {
                *found = None;
            }
            if self.is_flushed(id) || self.slots[id].expiry.is_over(now) {
                self.reclaim(id);
            } else {
                self.counters.evictions += 1;
                self.counters.evicted_unfetched += u64::from(!self.slots[id].was_fetched());
                self.discard(id);
            }
        }
        true
    }

    fn insert(&mut self, mut item: Item) -> Id {
        self.version += 1;
        item.version = self.version;
        self.used += item.charge();
        let hash = item.hash;
        let id = self.slots.insert(item);
        let slots = &self.slots;
        self.index
            .insert_unique(spread(hash), id, |&id| spread(slots[id].hash));
        self.wheel.add(&mut self.slots, id);
        self.eviction.add(&mut self.slots, id);
        id
    }

    fn replace(&mut self, id: Id, flags: u32, expiry: Expiry, value: &[u8]) {
        self.version += 1;
        let item = &mut self.slots[id];
        let before = item.charge();
        item.version = self.version;
        item.flags = flags;
        item.set_value(value);
        item.touch();
        let after = item.charge();
        if after != before {
            self.used = self.used - before + after;
            self.eviction.resized(&self.slots, id, before);
        }
        self.set_expiry(id, expiry);
    }

    fn set_expiry(&mut self, id: Id, expiry: Expiry) {
        if self.slots[id].expiry != expiry {
            self.wheel.remove(&mut self.slots, id);
            self.slots[id].expiry = expiry;
            self.wheel.add(&mut self.slots, id);
        }
    }

    /// At a flush: the versions of these items do not say that they are older than it. Such items are rare, and so is
    /// this look at all items of the shard.
    fn discard_chosen_versions(&mut self) {
        if !std::mem::take(&mut self.chosen_versions) {
            return;
        }
        let chosen: Vec<Id> = self
            .slots
            .ids()
            .filter(|&id| self.slots[id].has_chosen_version())
            .collect();
        for id in chosen {
            self.discard(id);
        }
    }

    /// Evicts what is over a bound that was lowered, no more items than `steps`. True: there is more.
    pub(crate) fn shrink(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            if self.used() <= self.bounds.memory || !self.bounds.evict {
                return false;
            }
            let Some(id) = self.eviction.choose(&mut self.slots, self.bounds.memory) else {
                return false;
            };
            self.counters.evictions += 1;
            self.discard(id);
        }
        true
    }

    /// Changes the bound of memory. What is over it goes by [`Shard::shrink`], or when something is stored.
    pub(crate) fn set_memory(&mut self, memory: usize) {
        self.bounds.memory = memory;
    }

    /// Shows the items that are alive at `now`.
    pub(crate) fn dump(&self, now: u64, sink: &mut dyn Sink) {
        for id in self.slots.ids() {
            let item = &self.slots[id];
            if !self.is_flushed(id) && !item.expiry.is_over(now) {
                sink.detailed(hit(item.key(), item, now), details(item, now));
            }
        }
    }

    /// Frees an item that was over.
    fn reclaim(&mut self, id: Id) {
        self.counters.reclaimed += 1;
        self.counters.expired_unfetched += u64::from(!self.slots[id].was_fetched());
        self.discard(id);
    }

    fn discard(&mut self, id: Id) {
        self.wheel.remove(&mut self.slots, id);
        self.eviction.remove(&mut self.slots, id);
        let hash = spread(self.slots[id].hash);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.used -= self.slots.remove(id).charge();
    }
}

#[cfg(test)]
mod tests;
