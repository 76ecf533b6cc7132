//! `stats detail`: operations counted by the part of the key before a delimiter.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Prefixes that are counted; more of them are not. memcached has no bound: its clients can make it hold any number.
const MOST: usize = 10_000;

/// What was done with keys of each prefix.
pub(crate) struct Prefixes {
    delimiter: u8,
    counts: Mutex<BTreeMap<Box<[u8]>, Counts>>,
}

#[derive(Default)]
struct Counts {
    get: u64,
    hit: u64,
    set: u64,
    del: u64,
}

impl Prefixes {
    pub(crate) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            counts: Mutex::default(),
        }
    }

    pub(crate) fn got(&self, key: &[u8], hit: bool) {
        self.count(key, |counts| {
            counts.get += 1;
            counts.hit += u64::from(hit);
        });
    }

    pub(crate) fn set(&self, key: &[u8]) {
        self.count(key, |counts| counts.set += 1);
    }

    pub(crate) fn deleted(&self, key: &[u8]) {
        self.count(key, |counts| counts.del += 1);
    }

    fn count(&self, key: &[u8], count: impl FnOnce(&mut Counts)) {
        // A key without the delimiter belongs to no prefix.
        let Some(end) = key.iter().position(|&b| b == self.delimiter) else {
            return;
        };
        let mut all = self.all();
        if let Some(counts) = all.get_mut(&key[..end]) {
            count(counts);
        } else if all.len() < MOST {
            count(all.entry(key[..end].into()).or_default());
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Box<[u8]>, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reset(&self) {
        self.all().clear();
    }

    /// The answer to `stats detail dump`.
    pub(crate) fn dump(&self, out: &mut Vec<u8>) {
        for (prefix, Counts { get, hit, set, del }) in &*self.all() {
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(prefix);
            let counts = format!(" get {get} hit {hit} set {set} del {del}\r\n");
            out.extend_from_slice(counts.as_bytes());
        }
        out.extend_from_slice(b"END\r\n");
    }
}
