//! `limits.per-source` of a route: how many requests a client may have at once.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Request;
use crate::handler::{Cx, Handler, Plan, Reply, Step};
use crate::source::network;

/// Parts of the table, so that workers seldom wait for one another.
const PARTS: usize = 16;

/// Who has how many requests, on all workers. Nobody is in it who has none.
#[derive(Debug)]
pub(crate) struct Busy {
    most: u32,
    parts: [Mutex<HashMap<IpAddr, u32>>; PARTS],
    hasher: foldhash::fast::RandomState,
}

/// A request that was let in; it counts as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    busy: Arc<Busy>,
    source: IpAddr,
}

impl Busy {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Lets a request in, unless its client has as many as it may.
    fn take(self: &Arc<Self>, client: IpAddr) -> Option<Held> {
        let source = network(client);
        let mut part = self.part(source);
        let count = part.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(part);
        let busy = self.clone();
        Some(Held { busy, source })
    }

    fn part(&self, source: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let part = &self.parts[self.hasher.hash_one(source) as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether it is this limit that it counts for.
    pub(crate) fn is_of(&self, busy: &Arc<Busy>) -> bool {
        Arc::ptr_eq(&self.busy, busy)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut part = self.busy.part(self.source);
        if let Some(count) = part.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                part.remove(&self.source);
            }
        }
    }
}

/// Asks `inner` unless the client has as many requests as it may; the request counts until it has ended.
pub(super) struct AtOnce {
    pub busy: Arc<Busy>,
    pub inner: Arc<dyn Handler>,
    /// Who refuses, for the log.
    pub name: Arc<str>,
}

impl Handler for AtOnce {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        if request.only_asks() {
            return self.inner.step(request, cx);
        }
        if request.is_handed() && cx.is_held(&self.busy) {
            return self.inner.step(request, cx);
        }
        let Some(held) = self.busy.take(request.client) else {
            let words = "Too many requests at once\n";
            return Step::Plan(Plan::Bytes(Reply::text(429, &self.name, words)));
        };
        cx.hold(held);
        self.inner.step(request, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_as_long_as_it_lasts() {
        let busy = Arc::new(Busy::new(2));
        let take = |client: &str| busy.take(client.parse().unwrap());
        let first = take("2001:db8::1").unwrap();
        let second = take("2001:db8::2:1").unwrap();
        assert!(take("2001:db8::3").is_none());
        let _other = take("192.0.2.1").unwrap();
        let _mapped = take("::ffff:192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        drop(first);
        let third = take("2001:db8::3").unwrap();
        drop((second, third));
        let known: usize = busy
            .parts
            .iter()
            .map(|part| part.lock().unwrap().len())
            .sum();
        assert_eq!(known, 1);
    }
}
