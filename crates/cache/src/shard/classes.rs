//! Counters of the items of one class of sizes, for `stats items` and `stats slabs`.

use tandem_memcache::{Mode, Op, Reply};

use super::Shard;
use crate::arena::Id;

/// What a class has and what was done with it. The names are memcached's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClassCounters {
    pub number: u64,
    pub mem_requested: u64,
    pub evicted: u64,
    pub evicted_nonzero: u64,
    /// Seconds since the last one that was evicted had been asked for.
    pub evicted_time: u64,
    pub evicted_unfetched: u64,
    pub expired_unfetched: u64,
    pub reclaimed: u64,
    pub outofmemory: u64,
    pub get_hits: u64,
    pub cmd_set: u64,
    pub delete_hits: u64,
    pub incr_hits: u64,
    pub decr_hits: u64,
    pub cas_hits: u64,
    pub cas_badval: u64,
    pub touch_hits: u64,
}

impl ClassCounters {
    pub(crate) fn add(&mut self, other: &Self) {
        self.number += other.number;
        self.mem_requested += other.mem_requested;
        self.evicted += other.evicted;
        self.evicted_nonzero += other.evicted_nonzero;
        self.evicted_time = self.evicted_time.max(other.evicted_time);
        self.evicted_unfetched += other.evicted_unfetched;
        self.expired_unfetched += other.expired_unfetched;
        self.reclaimed += other.reclaimed;
        self.outofmemory += other.outofmemory;
        self.get_hits += other.get_hits;
        self.cmd_set += other.cmd_set;
        self.delete_hits += other.delete_hits;
        self.incr_hits += other.incr_hits;
        self.decr_hits += other.decr_hits;
        self.cas_hits += other.cas_hits;
        self.cas_badval += other.cas_badval;
        self.touch_hits += other.touch_hits;
    }

    /// What was done is forgotten; what there is stays.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            number: self.number,
            mem_requested: self.mem_requested,
            ..Self::default()
        };
    }
}

impl Shard {
    /// The counters of the class that an item of so many bytes belongs to.
    pub(super) fn class(&mut self, size: usize) -> &mut ClassCounters {
        let class = self.shared.classes.of(size);
        if self.classes.len() <= class {
            self.classes.resize(class + 1, ClassCounters::default());
        }
        &mut self.classes[class]
    }

    pub(super) fn class_of(&mut self, id: Id) -> &mut ClassCounters {
        let size = self.arena.item_size(id);
        self.class(size)
    }

    /// An item is there, or has this size from now on.
    pub(super) fn count_in(&mut self, id: Id) {
        self.count_size_in(self.arena.item_size(id));
    }

    pub(super) fn count_size_in(&mut self, size: usize) {
        self.bytes += size;
        let class = self.class(size);
        class.number += 1;
        class.mem_requested += size as u64;
    }

    /// An item goes, or will have another size.
    pub(super) fn count_out(&mut self, id: Id) {
        self.count_size_out(self.arena.item_size(id));
    }

    pub(super) fn count_size_out(&mut self, size: usize) {
        self.bytes -= size;
        let class = self.class(size);
        class.number -= 1;
        class.mem_requested -= size as u64;
    }

    /// Counts a change of the item that is there afterwards, or was before.
    pub(super) fn count_in_class(&mut self, op: &Op<'_>, reply: &Reply, size: usize) {
        let class = self.class(size);
        match (op, reply) {
            (Op::Store { mode, .. }, _) => {
                class.cmd_set += 1;
                if let Mode::Cas(_) = mode {
                    class.cas_hits += u64::from(*reply == Reply::Stored);
                    class.cas_badval += u64::from(*reply == Reply::Exists);
                }
            }
            (Op::Delete { .. }, Reply::Deleted) => class.delete_hits += 1,
            (Op::Touch { .. }, Reply::Touched) => class.touch_hits += 1,
            (Op::Arithmetic { down, .. }, Reply::Number(_)) => {
                *if *down {
                    &mut class.decr_hits
                } else {
                    &mut class.incr_hits
                } += 1;
            }
            _ => {}
        }
    }
}
