//! The cache's lines of `stats`, `stats items` and `stats slabs`, in the names and the shape that tools read.
//!
//! There are no slabs here: classes group items by their size, as memcached would have them. What only a slab could have
//! is as if each class had just the pages that its items fill.

use super::{Cache, lock};
use crate::shard::ClassCounters;

/// Names of what memcached counts and what cannot happen here: tools ask for them.
const NEVER: &[&str] = &[
    "slab_reassign_rescues",
    "slab_reassign_chunk_rescues",
    "slab_reassign_evictions_nomem",
    "slab_reassign_inline_reclaim",
    "slab_reassign_busy_items",
    "slab_reassign_busy_deletes",
    "slab_reassign_running",
    "slabs_moved",
    "lru_crawler_running",
    "lru_crawler_starts",
    "lru_maintainer_juggles",
    "malloc_fails",
    "slab_global_page_pool",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "lru_bumps_dropped",
];
/// The same, of `stats items`.
const NEVER_OF_A_CLASS: &[&str] = &[
    "tailrepairs",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
];

type Lines = Vec<(String, String)>;

impl Cache {
    pub(super) fn general(&self) -> Lines {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: u64| lines.push((name.to_owned(), value.to_string()));
        for (name, value) in self.counters().lines() {
            line(name, value);
        }
        let index = self.index_bytes();
        line("limit_maxbytes", self.memory() as u64);
        line("hash_power_level", u64::from((index / 8).max(1).ilog2()));
        line("hash_bytes", index as u64);
        line("hash_is_expanding", 0);
        line("bytes", self.bytes() as u64);
        line("curr_items", self.items() as u64);
        for name in NEVER {
            line(name, 0);
        }
        lines
    }

    pub(super) fn item_lines(&self, now: u64) -> Lines {
        let ages = self.parts.iter().map(|part| lock(part).age(now));
        let age = ages.max().unwrap_or(0);
        let mut lines = Vec::new();
        for (number, class) in self.classes() {
            let mut line = |name: &str, value: u64| {
                lines.push((format!("items:{number}:{name}"), value.to_string()));
            };
            line("number", class.number);
            line("number_hot", 0);
            line("number_warm", 0);
            line("number_cold", class.number);
            line("age_hot", 0);
            line("age_warm", 0);
            line("age", age);
            line("mem_requested", class.mem_requested);
            line("evicted", class.evicted);
            line("evicted_nonzero", class.evicted_nonzero);
            line("evicted_time", class.evicted_time);
            line("outofmemory", class.outofmemory);
            line("reclaimed", class.reclaimed);
            line("expired_unfetched", class.expired_unfetched);
            line("evicted_unfetched", class.evicted_unfetched);
            for name in NEVER_OF_A_CLASS {
                line(name, 0);
            }
            line("hits_to_hot", 0);
            line("hits_to_warm", 0);
            line("hits_to_cold", class.get_hits);
            line("hits_to_temp", 0);
        }
        lines
    }

    pub(super) fn slab_lines(&self) -> Lines {
        let mut lines = Vec::new();
        let (mut active, mut total) = (0, 0);
        for (number, class) in self.classes() {
            let (size, per_page) = self.shared_class(number);
            let pages = class.number.div_ceil(per_page.max(1));
            active += 1;
            total += pages;
            let mut line = |name: &str, value: u64| {
                lines.push((format!("{number}:{name}"), value.to_string()));
            };
            line("chunk_size", size);
            line("chunks_per_page", per_page);
            line("total_pages", pages);
            line("total_chunks", pages * per_page);
            line("used_chunks", class.number);
            line("free_chunks", pages * per_page - class.number);
            line("free_chunks_end", 0);
            line("get_hits", class.get_hits);
            line("cmd_set", class.cmd_set);
            line("delete_hits", class.delete_hits);
            line("incr_hits", class.incr_hits);
            line("decr_hits", class.decr_hits);
            line("cas_hits", class.cas_hits);
            line("cas_badval", class.cas_badval);
            line("touch_hits", class.touch_hits);
        }
        lines.push(("active_slabs".into(), active.to_string()));
        lines.push(("total_malloced".into(), (total << 20).to_string()));
        lines
    }

    /// The classes that have items, or had some since the last reset, by their numbers.
    fn classes(&self) -> Vec<(usize, ClassCounters)> {
        let mut sum: Vec<ClassCounters> = Vec::new();
        for part in &self.parts {
            let shard = lock(part);
            if sum.len() < shard.classes.len() {
                sum.resize(shard.classes.len(), ClassCounters::default());
            }
            for (all, one) in sum.iter_mut().zip(&shard.classes) {
                all.add(one);
            }
        }
        let used = |class: &ClassCounters| class.number > 0 || class.cmd_set > 0;
        let numbered = sum.into_iter().enumerate();
        numbered.filter(|(_, class)| used(class)).collect()
    }
}
