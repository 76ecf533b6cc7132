//! The cache behind the server loop.

use std::sync::Arc;

use tandem_memcache::{Answer, Extended, Keyspace, Op, Reply, Sink};

use crate::cache::Cache;
use crate::clock::Clock;

/// A cheap handle: each worker has its own, all share the cache.
#[derive(Clone)]
pub struct CacheKeyspace {
    /// The items.
    pub cache: Arc<Cache>,
    /// Their time.
    pub clock: Clock,
}

impl CacheKeyspace {
    /// Serves `cache` by `clock`.
    pub const fn new(cache: Arc<Cache>, clock: Clock) -> Self {
        Self { cache, clock }
    }
}

impl Keyspace for CacheKeyspace {
    fn call<'a>(&'a self, op: Op<'a>, sink: &'a mut dyn Sink) -> Answer<'a> {
        Answer::Now(self.cache.apply(&op, self.clock.now(), sink))
    }

    fn extended<'a>(&'a self, op: Extended<'a>, sink: &'a mut dyn Sink) -> Answer<'a> {
        Answer::Now(self.cache.extended(&op, self.clock.now(), sink))
    }

    fn set_memory(&self, bytes: usize) -> Option<Reply> {
        self.cache.set_memory(bytes);
        Some(Reply::Ok)
    }

    fn collect(&self) {
        let now = self.clock.now();
        while self.cache.sweep(now) {}
    }

    fn dump(&self, part: usize, sink: &mut dyn Sink) -> Option<usize> {
        self.cache.dump(part, self.clock.now(), sink)
    }

    /// One: a call costs next to nothing, and a connection then never gathers more than one large value.
    fn keys_per_call(&self) -> usize {
        1
    }

    fn set_refused(&self, key: &[u8]) {
        self.cache.forget(key);
    }
}
