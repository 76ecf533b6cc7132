//! Step 5: the files looked at lately.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tandem_http::Moment;

use crate::entry::{Content, Entry};
use crate::root::BELIEVED;
use crate::watch::Belief;

/// Descriptors that a site keeps open, over all workers.
const FILES: usize = 1_024;
/// Memory that a site's small files and fields take, over all workers, in bytes.
const MEMORY: usize = 32 << 20;
/// What the tables take for an entry besides its name (twice) and content, about, in bytes.
const OVERHEAD: usize = 192;
/// How long a watched file is believed to be what it was. The kernel tells of changes; but not of those that are written
/// through a mapping into memory.
const WATCHED: Duration = Duration::from_secs(10);

/// The files of one worker.
///
/// Each worker has its own, on cache lines of its own. The lock is taken by another thread only to put in a file that
/// was read from disk, so it costs what an uncontended lock does, some ten nanoseconds; it is never held over a system
/// call.
#[repr(align(128))]
pub(crate) struct Cache {
    inner: Mutex<Inner>,
    most_files: usize,
    most_memory: usize,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<Arc<[u8]>, Slot, foldhash::fast::RandomState>,
    /// Every name of `slots` once, the next to be considered for eviction first.
    ring: VecDeque<Arc<[u8]>>,
    files: usize,
    memory: usize,
    /// When the site's places were known to be the directories they are.
    placed: Option<Moment>,
}

struct Slot {
    entry: Arc<Entry>,
    /// When it was known to be the file of this name.
    checked: Moment,
    /// It is for as long as this holds.
    belief: Option<Belief>,
    /// Asked for since it was last considered for eviction.
    used: bool,
}

impl Cache {
    /// The share of one of so many workers.
    pub(crate) fn share(workers: usize) -> Self {
        Self::new((FILES / workers).max(16), (MEMORY / workers).max(1 << 20))
    }

    fn new(most_files: usize, most_memory: usize) -> Self {
        Self {
            inner: Mutex::default(),
            most_files,
            most_memory,
        }
    }

    /// The file of this name, if it is certain or was checked lately.
    pub(crate) fn fresh(&self, name: &[u8], now: Moment) -> Option<Arc<Entry>> {
        let mut inner = self.lock();
        let placed = inner.placed;
        let slot = inner.slots.get_mut(name)?;
        let within = |since: Moment, time| now.since(since) < time;
        let time = match &slot.belief {
            Some(belief) if !belief.holds() => return None,
            Some(_) if placed.is_some_and(|placed| within(placed, BELIEVED)) => WATCHED,
            _ => BELIEVED,
        };
        let certain = within(slot.checked, time);
        if !certain {
            return None;
        }
        slot.used = true;
        Some(slot.entry.clone())
    }

    /// Whether the kernel tells of changes to the file of this name.
    #[cfg(test)]
    pub(crate) fn is_watched(&self, name: &[u8]) -> bool {
        let inner = self.lock();
        inner
            .slots
            .get(name)
            .is_some_and(|slot| slot.belief.is_some())
    }

    /// The places were looked at.
    pub(crate) fn place(&self, now: Moment) {
        self.lock().placed = Some(now);
    }

    /// Whether the places must be looked at.
    pub(crate) fn is_unplaced(&self, now: Moment) -> bool {
        let placed = self.lock().placed;
        placed.is_none_or(|placed| now.since(placed) >= BELIEVED)
    }

    /// The file of this name as it was when last checked.
    pub(crate) fn known(&self, name: &[u8]) -> Option<Arc<Entry>> {
        self.lock().slots.get(name).map(|slot| slot.entry.clone())
    }

    /// Keeps a file that was checked at this time, and makes room for it.
    pub(crate) fn keep(
        &self,
        name: &[u8],
        entry: Arc<Entry>,
        checked: Moment,
        belief: Option<Belief>,
    ) {
        let mut inner = self.lock();
        let used = inner.remove(name);
        inner.files += files(&entry);
        inner.memory += cost(name, &entry);
        let key: Arc<[u8]> = name.into();
        if !used {
            inner.ring.push_back(key.clone());
        }
        let slot = Slot {
            entry,
            checked,
            belief,
            used,
        };
        inner.slots.insert(key, slot);
        while inner.files > self.most_files || inner.memory > self.most_memory {
            inner.evict();
        }
    }

    /// Forgets a name that leads to no file any more.
    pub(crate) fn forget(&self, name: &[u8]) {
        let mut inner = self.lock();
        if inner.remove(name) {
            inner.ring.retain(|key| **key != *name);
        }
    }

    /// Forgets everything: the process is short of descriptors.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// The memory accounted for, in bytes.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.lock().memory
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes a name out of the table, not out of the ring. Whether it was there.
    fn remove(&mut self, name: &[u8]) -> bool {
        let Some(slot) = self.slots.remove(name) else {
            return false;
        };
        self.files -= files(&slot.entry);
        self.memory -= cost(name, &slot.entry);
        true
    }

    /// Second chance: the oldest that was not asked for since its last turn goes.
    fn evict(&mut self) {
        while let Some(key) = self.ring.pop_front() {
            match self.slots.get_mut(&key) {
                Some(slot) if slot.used => {
                    slot.used = false;
                    self.ring.push_back(key);
                }
                _ => {
                    self.remove(&key);
                    return;
                }
            }
        }
    }
}

fn files(entry: &Entry) -> usize {
    usize::from(matches!(entry.content, Content::File(_)))
}

fn cost(name: &[u8], entry: &Entry) -> usize {
    name.len() + entry.weight() + OVERHEAD
}
