//! The cache: shards, each behind a short lock.

mod stats;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tandem_memcache::{Classes, Extended, MAX_VALUE, Op, Reply, Sink, Watch};

use crate::counters::Counters;
use crate::shard::{Bounds, ClassCounters, Shard, Shared};

/// How a cache is to be.
#[derive(Clone, Copy, Debug)]
pub struct CacheOptions {
    /// Bytes for items, as [`Cache`] charges them (memcached's `-m`).
    pub memory: usize,
    /// The largest item in bytes, as memcached counts it: key, value and some 60 bytes (`-I`).
    pub max_item: usize,
    /// Evict when memory is short; else refuse to store (`-M`).
    pub evict: bool,
    /// Parts with a lock each, at most; rounded down to a power of two. A part is never so small that an item of
    /// the largest size is a large share of it.
    pub shards: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            memory: 64 * 1024 * 1024,
            max_item: MAX_VALUE,
            evict: true,
            shards: 64,
        }
    }
}

/// A shard has room for so many items of the largest size, or it is the only one.
const LARGEST_PER_SHARD: usize = 8;

/// On cache lines of its own.
#[repr(align(128))]
struct Part(Mutex<Shard>);

/// Items under keys, within a bound of memory.
///
/// Every call says what time it is, in milliseconds of any clock that does not go back. Items lie packed in memory of
/// their own, whose size with the index is the bound: however sizes change, no more is ever used.
pub struct Cache {
    parts: Box<[Part]>,
    shared: Arc<Shared>,
    hasher: RandomState,
    options: CacheOptions,
    /// [`CacheOptions::memory`], unless it was changed.
    memory: AtomicUsize,
}

impl Cache {
    /// An empty cache.
    pub fn new(options: CacheOptions) -> Self {
        Self::watched(options, Classes::default(), Arc::default())
    }

    /// An empty cache whose evictions are told to `watch`, with these classes of sizes in its statistics.
    pub fn watched(options: CacheOptions, classes: Classes, watch: Arc<Watch>) -> Self {
        let shared = Arc::new(Shared { classes, watch });
        let room = options.memory / options.max_item.max(1) / LARGEST_PER_SHARD;
        let most = options.shards.min(room).max(1);
        let count = 1 << most.ilog2();
        let bounds = Bounds {
            memory: options.memory / count,
            max_item: options.max_item,
            evict: options.evict,
        };
        Self {
            parts: (0..count as u64)
                .map(|number| Shard::new(bounds, shared.clone(), number, count as u64))
                .map(|shard| Part(Mutex::new(shard)))
                .collect(),
            hasher: RandomState::default(),
            shared,
            memory: AtomicUsize::new(options.memory),
            options,
        }
    }

    /// The options it was made with.
    pub fn options(&self) -> &CacheOptions {
        &self.options
    }

    /// Carries out an operation at `now` (milliseconds). Hits go to `sink`, in the order of the keys, and the answer
    /// to a retrieval is [`Reply::End`].
    pub fn apply(&self, op: &Op<'_>, now: u64, sink: &mut dyn Sink) -> Reply {
        match *op {
            Op::Get { keys } => self.get(keys, None, now, sink),
            Op::GetAndTouch { keys, life } => self.get(keys, Some(life), now, sink),
            Op::Store { key, .. }
            | Op::Delete { key }
            | Op::Touch { key, .. }
            | Op::Arithmetic { key, .. } => {
                let (mut shard, hash) = self.shard(key);
                shard.change(op, key, hash, now)
            }
            Op::FlushAll { delay } => {
                for part in &self.parts {
                    lock(part).flush(now.saturating_add(delay), now);
                }
                lock(&self.parts[0]).counters.cmd_flush += 1;
                Reply::Ok
            }
            Op::Stats { argument } => self.stats(argument, now),
        }
    }

    /// Carries out an operation of the meta or binary protocol at `now` (milliseconds).
    pub fn extended(&self, op: &Extended<'_>, now: u64, sink: &mut dyn Sink) -> Reply {
        let (mut shard, hash) = self.shard(op.key);
        shard.extended(op, hash, now, sink)
    }

    /// Changes the bound of memory, in bytes. What is over it goes with the next sweeps and stores.
    pub fn set_memory(&self, bytes: usize) {
        self.memory.store(bytes, Relaxed);
        for part in &self.parts {
            lock(part).set_memory(bytes / self.parts.len());
        }
    }

    /// Shows a part of the items that are alive at `now`; returns the number of the next part, if there is one. No
    /// key is asked for thereby. Items that come, go or change while parts are asked for may be shown or not.
    pub fn dump(&self, part: usize, now: u64, sink: &mut dyn Sink) -> Option<usize> {
        let (slice, number) = (part / self.parts.len(), part % self.parts.len());
        let shard = lock(&self.parts[number]);
        shard.dump(slice as u32, now, sink);
        if slice + 1 < shard.slices() as usize {
            return Some(part + self.parts.len());
        }
        (number + 1 < self.parts.len()).then_some(number + 1)
    }

    fn get(
        &self,
        keys: &[&[u8]],
        life: Option<tandem_memcache::Lifetime>,
        now: u64,
        sink: &mut dyn Sink,
    ) -> Reply {
        for key in keys {
            let (mut shard, hash) = self.shard(key);
            shard.get(key, hash, life, now, sink);
        }
        Reply::End
    }

    /// Removes an item without counting it as a `delete`.
    pub fn forget(&self, key: &[u8]) {
        let (mut shard, hash) = self.shard(key);
        shard.forget(key, hash);
    }

    /// Frees items that are over at `now` though nobody calls, a bounded number per shard. True if there may be
    /// more. Items over are invisible without it; it only gives their memory back.
    pub fn sweep(&self, now: u64) -> bool {
        /// Short enough a lock to be no pause.
        const STEPS: usize = 200;
        let mut more = false;
        for part in &self.parts {
            let mut shard = lock(part);
            let before = shard.counters.reclaimed;
            shard.housekeeping(now, STEPS);
            more |= shard.counters.reclaimed != before;
            more |= shard.fit(now);
        }
        more
    }

    /// Bytes of memory for items.
    fn memory(&self) -> usize {
        self.memory.load(Relaxed)
    }

    /// Bytes of all indexes.
    fn index_bytes(&self) -> usize {
        self.parts.iter().map(|part| lock(part).index_bytes()).sum()
    }

    /// Bytes of an item of this class at most, and how many memcached has on a page.
    fn shared_class(&self, class: usize) -> (u64, u64) {
        let classes = &self.shared.classes;
        (classes.size(class) as u64, classes.per_page(class) as u64)
    }

    /// Items in memory, those over but not yet freed included.
    pub fn items(&self) -> usize {
        self.parts.iter().map(|part| lock(part).count()).sum()
    }

    /// Bytes of the items as memcached counts them: see [`tandem_memcache::item_size`].
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| lock(part).bytes()).sum()
    }

    /// Bytes in use, of [`CacheOptions::memory`].
    pub fn used(&self) -> usize {
        self.parts.iter().map(|part| lock(part).used()).sum()
    }

    /// What all shards have done.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for part in &self.parts {
            sum += lock(part).counters;
        }
        sum
    }

    fn shard(&self, key: &[u8]) -> (MutexGuard<'_, Shard>, u32) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        // The shard is chosen by other bits than those that place the item within it.
        let part = (hash >> 32) as usize & (self.parts.len() - 1);
        (lock(&self.parts[part]), hash as u32)
    }

    fn stats(&self, argument: &[u8], now: u64) -> Reply {
        match argument {
            b"" => Reply::Stats(self.general()),
            b"settings" => {
                let line = |name: &str, value: String| (name.to_owned(), value);
                let evict = if self.options.evict { "on" } else { "off" };
                Reply::Stats(vec![
                    line("maxbytes", self.memory.load(Relaxed).to_string()),
                    line("item_size_max", self.options.max_item.to_string()),
                    line("evictions", evict.into()),
                ])
            }
            b"items" => Reply::Stats(self.item_lines(now)),
            b"slabs" => Reply::Stats(self.slab_lines()),
            b"sizes" => {
                let mut counts = BTreeMap::new();
                for part in &self.parts {
                    lock(part).sizes(&mut counts);
                }
                let line = |(size, count): (usize, u64)| (size.to_string(), count.to_string());
                Reply::Stats(counts.into_iter().map(line).collect())
            }
            b"reset" => {
                for part in &self.parts {
                    let mut shard = lock(part);
                    shard.counters = Counters::default();
                    shard.classes.iter_mut().for_each(ClassCounters::reset);
                }
                Reply::Ok
            }
            _ => Reply::ClientError("no such statistics".into()),
        }
    }
}

/// A thread that panicked within an operation must not take the cache with it.
fn lock(part: &Part) -> MutexGuard<'_, Shard> {
    part.0.lock().unwrap_or_else(PoisonError::into_inner)
}
