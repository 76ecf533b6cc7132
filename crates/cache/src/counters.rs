//! What a cache has done, for `stats`.

use std::ops::AddAssign;

use tandem_memcache::{Mode, Op, Reply};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a shard, or of all shards added up. Plain numbers: a shard's lock guards them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Names as `stats` shows them, and values.
            pub fn lines(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Keys asked for.
    cmd_get,
    /// Storage commands.
    cmd_set,
    /// `flush_all` commands.
    cmd_flush,
    /// `touch` and `gat` keys.
    cmd_touch,
    /// Keys found.
    get_hits,
    /// Keys not found.
    get_misses,
    /// Keys not found because they were over.
    get_expired,
    /// Keys not found because of a `flush_all`.
    get_flushed,
    /// Deletes of nothing.
    delete_misses,
    /// Deletes.
    delete_hits,
    /// `incr` of nothing.
    incr_misses,
    /// `incr`.
    incr_hits,
    /// `decr` of nothing.
    decr_misses,
    /// `decr`.
    decr_hits,
    /// `cas` of nothing.
    cas_misses,
    /// `cas` that stored.
    cas_hits,
    /// `cas` of an item changed meanwhile.
    cas_badval,
    /// `touch` and `gat` that found the item.
    touch_hits,
    /// `touch` and `gat` of nothing.
    touch_misses,
    /// Storage commands refused for the item's size.
    store_too_large,
    /// Storage commands refused for want of memory.
    store_no_memory,
    /// Items ever stored.
    total_items,
    /// Items that lived and had to make room.
    evictions,
    /// Items that were over and freed, or made room.
    reclaimed,
    /// Items that were over and had never been asked for.
    expired_unfetched,
    /// Items that had to make room and had never been asked for.
    evicted_unfetched,
}

impl Counters {
    /// Counts a change by what it came to.
    pub(crate) fn count_change(&mut self, op: &Op<'_>, reply: &Reply) {
        let found = !matches!(reply, Reply::NotFound);
        let (hits, misses) = match op {
            Op::Store { mode, .. } => {
                self.cmd_set += 1;
                if matches!(mode, Mode::Cas(_)) {
                    match reply {
                        Reply::Stored => self.cas_hits += 1,
                        Reply::Exists => self.cas_badval += 1,
                        Reply::NotFound => self.cas_misses += 1,
                        _ => {}
                    }
                }
                return;
            }
            Op::Touch { .. } => {
                self.cmd_touch += 1;
                (&mut self.touch_hits, &mut self.touch_misses)
            }
            Op::Delete { .. } => (&mut self.delete_hits, &mut self.delete_misses),
            Op::Arithmetic { down: false, .. } => (&mut self.incr_hits, &mut self.incr_misses),
            Op::Arithmetic { down: true, .. } => (&mut self.decr_hits, &mut self.decr_misses),
            Op::Get { .. } | Op::GetAndTouch { .. } | Op::FlushAll { .. } | Op::Stats { .. } => {
                return;
            }
        };
        *if found { hits } else { misses } += 1;
    }
}
