//! A part of the cache with a lock of its own: index, items, wheel and queues, which name the same items.
//!
//! An item is in all four or in none: it enters by [`Shard::insert`] and leaves by [`Shard::discard`], nowhere else.

mod classes;
mod extended;
mod room;

use std::sync::Arc;

use hashbrown::HashTable;
use tandem_memcache::{Classes, Details, Hit, Lifetime, Mode, Op, Reply, Sink, Watch, item_size};

use crate::arena::{Arena, Id, NONE, words};
use crate::counters::Counters;
use crate::eviction::{Eviction, spread};
use crate::item::Item;
use crate::rules::{self, Effect, Expiry};

use crate::wheel::Wheel;

/// Dead items that an operation frees, besides those it comes across.
const STEPS: usize = 4;

pub use classes::ClassCounters;

/// What the shards of a cache share.
#[derive(Default)]
pub(crate) struct Shared {
    /// Classes of sizes, for statistics.
    pub(crate) classes: Classes,
    /// Who is told of evictions.
    pub(crate) watch: Arc<Watch>,
}

/// Items of a shard that are shown under one lock, about.
const SLICE: usize = 1 << 15;

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

fn hit<'a>(arena: &'a Arena, key: &'a [u8], id: Id, now: u64) -> Hit<'a> {
    let item = &arena[id];
    Hit {
        key,
        flags: item.flags,
        version: item.version,
        remaining: item.expiry.remaining(now),
        value: arena.value(id),
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
    arena: Arena,
    wheel: Wheel,
    eviction: Eviction,
    /// Bytes of the items as memcached counts them.
    bytes: usize,
    /// Bytes of the index and of what eviction remembers, when the arena's size was last fitted to them.
    around: usize,
    /// The last version given out.
    version: u64,
    /// From one version to the next: the number of shards, so that no two items of a cache have the same.
    step: u64,
    /// Items up to this version are flushed.
    flushed: u64,
    /// When a `flush_all` that waits comes into force, by the clock; `u64::MAX` when none waits.
    flush_at: u64,
    /// There may be flushed items in memory.
    sweeping: bool,
    /// A client has chosen an item's version since the last flush.
    chosen_versions: bool,
    pub(crate) counters: Counters,
    /// By number of class.
    pub(crate) classes: Vec<ClassCounters>,
    shared: Arc<Shared>,
}

impl Shard {
    /// Shard `number`, from 0, of so many.
    pub(crate) fn new(bounds: Bounds, shared: Arc<Shared>, number: u64, shards: u64) -> Self {
        Self {
            bounds,
            index: HashTable::new(),
            arena: Arena::new(bounds.memory),
            wheel: Wheel::new(),
            eviction: Eviction::new(),
            bytes: 0,
            around: 0,
            version: number,
            step: shards,
            flushed: 0,
            flush_at: u64::MAX,
            sweeping: false,
            chosen_versions: false,
            counters: Counters::default(),
            classes: Vec::new(),
            shared,
        }
    }

    /// Bytes in use, bookkeeping included.
    pub(crate) fn used(&self) -> usize {
        self.arena.used() + self.index.allocation_size() + self.eviction.overhead()
    }

    /// Bytes of the items as memcached counts them.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the index.
    pub(crate) fn index_bytes(&self) -> usize {
        self.index.allocation_size()
    }

    /// Items in memory.
    pub(crate) fn count(&self) -> usize {
        self.index.len()
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
        let class = self.class_of(id);
        class.get_hits += 1;
        class.touch_hits += u64::from(life.is_some());
        self.arena[id].fetched(now);
        sink.hit(hit(&self.arena, key, id, now));
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
        let size = match (op, *found) {
            // Where it would have been.
            (Op::Store { flags, value, .. }, None) => item_size(key.len(), *flags, value.len()),
            (_, Some(id)) if !matches!(reply, Reply::Deleted) => self.arena.item_size(id),
            _ => return reply,
        };
        self.count_in_class(op, &reply, size);
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
        let current = found.map(|id| self.arena.current(id));
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
                let Some(id) = self.put(key, hash, flags, expiry, &value, found, now) else {
                    self.counters.store_no_memory += 1;
                    let size = item_size(key.len(), flags, value.len());
                    self.class(size).outofmemory += 1;
                    self.forget_replaced(op, *found);
                    return Reply::ServerError(NO_MEMORY.into());
                };
                // A number that is counted stays the same item.
                if matches!(op, Op::Store { .. }) {
                    self.arena[id].renewed(now);
                }
                *found = Some(id);
                self.counters.total_items += u64::from(matches!(op, Op::Store { .. }));
            }
            (Effect::Touch(expiry), Some(id)) => {
                self.set_expiry(id, expiry);
                self.arena[id].fetched(now);
            }
            (Effect::Remove, Some(id)) => {
                self.class_of(id).delete_hits += 1;
                self.discard(id);
                *found = None;
            }
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
                let item = &self.arena[id];
                (item.flags, item.value_len as usize + value.len())
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
        if self.has_grown_around() {
            self.fit(now);
        }
        if now >= self.flush_at {
            self.flush_at = u64::MAX;
            self.flushed = self.version;
            self.sweeping = true;
            self.discard_chosen_versions();
        }
        let mut left = steps;
        while let Some(id) = self.wheel.next_over(&mut self.arena, now, &mut left) {
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
        let item = &self.arena[id];
        // Items with versions of their own went at the flush itself.
        item.version <= self.flushed && !item.has_chosen_version()
    }

    fn find(&self, key: &[u8], hash: u32) -> Option<Id> {
        let same = |&id: &Id| {
            let item = &self.arena[id];
            item.hash == hash && self.arena.key(id) == key
        };
        self.index.find(spread(hash), same).copied()
    }

    /// Finds an item that is alive at `now`. One that is over is freed on the way, and counted if it was `asked` for.
    fn find_live(&mut self, key: &[u8], hash: u32, now: u64, asked: bool) -> Option<Id> {
        let id = self.find(key, hash)?;
        if self.is_flushed(id) {
            self.counters.get_flushed += u64::from(asked);
        } else if self.arena[id].expiry.is_over(now) {
            self.counters.get_expired += u64::from(asked);
        } else {
            return Some(id);
        }
        self.reclaim(id);
        None
    }

    /// Stores an item, in place of `found` if there is one; `found` becomes `None` when it had to go to make room. `None`:
    /// there is no room.
    #[allow(clippy::too_many_arguments)]
    fn put(
        &mut self,
        key: &[u8],
        hash: u32,
        flags: u32,
        expiry: Expiry,
        value: &[u8],
        found: &mut Option<Id>,
        now: u64,
    ) -> Option<Id> {
        let wanted = words(key.len() + value.len());
        if let Some(id) = *found
            && self.arena.size(id) >= wanted
        {
            self.replace(id, flags, expiry, value);
            let before = self.arena.charge(id);
            self.arena.trim(id, wanted);
            self.eviction.resized(&self.arena, id, before);
            return Some(id);
        }
        let block = self.room(wanted, found, now)?;
        let Some(old) = *found else {
            self.insert(block, key, hash, flags, expiry, value);
            return Some(block);
        };
        self.count_out(old);
        self.arena.copy(old, block, false);
        self.renamed(old, block);
        self.arena.give(old);
        self.arena[block].value_len = 0;
        self.count_in(block);
        self.replace(block, flags, expiry, value);
        Some(block)
    }

    fn insert(&mut self, id: Id, key: &[u8], hash: u32, flags: u32, expiry: Expiry, value: &[u8]) {
        self.version += self.step;
        self.arena.write(id, key, hash, flags, expiry, value);
        self.arena[id].version = self.version;
        self.count_in(id);
        let arena = &self.arena;
        self.index
            .insert_unique(spread(hash), id, |&id| spread(arena[id].hash));
        self.wheel.add(&mut self.arena, id);
        self.eviction.add(&mut self.arena, id);
    }

    /// Another value in the block that the item has.
    fn replace(&mut self, id: Id, flags: u32, expiry: Expiry, value: &[u8]) {
        self.version += self.step;
        let before = self.arena.item_size(id);
        let item = &mut self.arena[id];
        item.version = self.version;
        item.flags = flags;
        item.touch();
        self.arena.set_value(id, value);
        let after = self.arena.item_size(id);
        if after != before {
            self.count_size_out(before);
            self.count_size_in(after);
        }
        self.set_expiry(id, expiry);
    }

    /// An item was copied to another block: all that names it names that one.
    fn renamed(&mut self, old: Id, new: Id) {
        self.wheel.renamed(&mut self.arena, new);
        self.eviction.renamed(&mut self.arena, old, new);
        let hash = spread(self.arena[new].hash);
        if let Some(name) = self.index.find_mut(hash, |&other| other == old) {
            *name = new;
        }
    }

    fn set_expiry(&mut self, id: Id, expiry: Expiry) {
        if self.arena[id].expiry != expiry {
            self.wheel.remove(&mut self.arena, id);
            self.arena[id].expiry = expiry;
            self.wheel.add(&mut self.arena, id);
        }
    }

    /// At a flush: the versions of these items do not say that they are older than it. Such items are rare, and so is
    /// this look at all items of the shard.
    fn discard_chosen_versions(&mut self) {
        if !std::mem::take(&mut self.chosen_versions) {
            return;
        }
        let chosen: Vec<Id> = self
            .arena
            .ids()
            .filter(|&id| self.arena[id].has_chosen_version())
            .collect();
        for id in chosen {
            self.discard(id);
        }
    }

    /// In how many slices the items are shown, so that none is much larger than [`SLICE`] items.
    pub(crate) fn slices(&self) -> u32 {
        (self.count() / SLICE) as u32 + 1
    }

    /// Shows the items of one slice that are alive at `now`.
    pub(crate) fn dump(&self, slice: u32, now: u64, sink: &mut dyn Sink) {
        let slices = self.slices();
        for id in self.arena.ids() {
            let item = &self.arena[id];
            let here = slices == 1 || (spread(item.hash) >> 32) as u32 % slices == slice;
            if here && !self.is_flushed(id) && !item.expiry.is_over(now) {
                let key = self.arena.key(id);
                sink.detailed(hit(&self.arena, key, id, now), details(item, now));
            }
        }
    }

    /// Counts items by their size as memcached counts it, in steps of 32 bytes.
    pub(crate) fn sizes(&self, counts: &mut std::collections::BTreeMap<usize, u64>) {
        for id in self.arena.ids() {
            let size = self.arena.item_size(id).next_multiple_of(32);
            *counts.entry(size).or_default() += 1;
        }
    }

    /// Seconds since the items at the ends of the queues were asked for: what goes next is as old, about.
    pub(crate) fn age(&self, now: u64) -> u64 {
        let ends = self.eviction.oldest().into_iter().filter(|&id| id != NONE);
        ends.map(|id| self.arena[id].idle(now)).max().unwrap_or(0)
    }

    /// Frees an item that was over.
    fn reclaim(&mut self, id: Id) {
        self.count_reclaimed(id);
        self.discard(id);
    }

    fn count_reclaimed(&mut self, id: Id) {
        let unfetched = u64::from(!self.arena[id].was_fetched());
        self.counters.reclaimed += 1;
        self.counters.expired_unfetched += unfetched;
        let class = self.class_of(id);
        class.reclaimed += 1;
        class.expired_unfetched += unfetched;
    }

    fn discard(&mut self, id: Id) {
        self.take_out(id);
        self.arena.give(id);
    }

    /// Takes an item out of everything but its block.
    fn take_out(&mut self, id: Id) {
        self.wheel.remove(&mut self.arena, id);
        self.eviction.remove(&mut self.arena, id);
        let hash = spread(self.arena[id].hash);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.count_out(id);
    }
}

#[cfg(test)]
mod tests;
