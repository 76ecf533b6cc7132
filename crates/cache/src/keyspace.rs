//! The cache behind the server loop.

use std::sync::Arc;

use tandem_memcache::{Answer, Details, Extended, Fit, Hit, Keyspace, Op, Reply, Sink};

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

    /// Shows what is there of these keys until it comes to more than `bytes`. Returns how many keys were answered.
    fn within(&self, keys: &[&[u8]], bytes: usize, sink: &mut dyn Sink) -> usize {
        let mut within = Within {
            sink,
            left: bytes,
            is_over: false,
        };
        let now = self.clock.now();
        let fits = |key: &&&[u8]| {
            let keys = std::slice::from_ref(*key);
            self.cache.apply(&Op::Get { keys }, now, &mut within);
            !within.is_over
        };
        keys.iter().take_while(fits).count()
    }
}

/// Passes hits on while their values fit into what is left.
struct Within<'s> {
    sink: &'s mut dyn Sink,
    left: usize,
    is_over: bool,
}

impl Within<'_> {
    fn takes(&mut self, hit: &Hit<'_>) -> bool {
        match self.left.checked_sub(hit.value.len()) {
            Some(left) if !self.is_over => {
                self.left = left;
                true
            }
            _ => {
                self.is_over = true;
                false
            }
        }
    }
}

impl Sink for Within<'_> {
    fn hit(&mut self, hit: Hit<'_>) {
        if self.takes(&hit) {
            self.sink.hit(hit);
        }
    }

    fn detailed(&mut self, hit: Hit<'_>, details: Details) {
        if self.takes(&hit) {
            self.sink.detailed(hit, details);
        }
    }
}

/// Hits of which only the sizes are asked for.
struct Unseen;

impl Sink for Unseen {
    fn hit(&mut self, _: Hit<'_>) {}
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

    fn takes(&self, op: &Op<'_>) -> usize {
        match op {
            Op::Get { .. } | Op::GetAndTouch { .. } => self.cache.options().max_item,
            _ => 0,
        }
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn get_within<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
        bytes: usize,
        sink: &'a mut dyn Sink,
    ) -> Answer<'a> {
        let count = self.within(keys, bytes, sink);
        Answer::Now(if count == keys.len() {
            Reply::End
        } else {
            Reply::Partly(count)
        })
    }

    fn fit<'a>(&'a self, keys: &'a [&'a [u8]], bytes: usize) -> Fit<'a> {
        let count = self.within(keys, bytes, &mut Unseen);
        Box::pin(std::future::ready(count))
    }

    fn set_refused(&self, key: &[u8]) {
        self.cache.forget(key);
    }
}
