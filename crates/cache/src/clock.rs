//! The millisecond clock of a running cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Milliseconds that never go back. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Since(Instant),
    Set(Arc<AtomicU64>),
}

impl Clock {
    /// The system's monotonic clock, beginning at 0 now: setting the wall clock changes no item's life.
    pub fn monotonic() -> Self {
        Self(Source::Since(Instant::now()))
    }

    /// A clock that stands until it is moved: for tests, and for a store whose time comes from a log.
    pub fn standing(now: u64) -> Self {
        Self(Source::Set(Arc::new(AtomicU64::new(now))))
    }

    /// Milliseconds.
    pub fn now(&self) -> u64 {
        match &self.0 {
            Source::Since(start) => start.elapsed().as_millis() as u64,
            Source::Set(now) => now.load(Relaxed),
        }
    }

    /// Moves a standing clock on by so many milliseconds. A monotonic one moves by itself.
    pub fn advance(&self, by: u64) {
        if let Source::Set(now) = &self.0 {
            now.fetch_add(by, Relaxed);
        }
    }
}
