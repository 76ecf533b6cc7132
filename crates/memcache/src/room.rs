//! What the connections of a worker may hold together of large values that are under way.
//!
//! Room is taken for the most that a retrieval can find before it is asked for, so that what is on its way counts too; when
//! the hits are there, all but what they take is given back, and the rest when they are written. An answer that is
//! gathered with others before it is written takes none: each connection may hold that much. When there is no room the
//! store is asked for values that are as small as that, or which of them are, so that clients of large values hold up only
//! one another, and those of small ones need no second round.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// So long a retrieval waits for room.
const WAIT: Duration = Duration::from_secs(5);
/// While others wait for room, a client that has it may take no byte for so long.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(2);
/// While others wait for room, a client may take so long over what it has in all. Less than they wait.
pub(crate) const WRITING: Duration = Duration::from_secs(4);

/// Bytes that connections share.
pub(crate) struct Room {
    total: u32,
    free: Semaphore,
    waiting: Cell<usize>,
}

/// Bytes that one of them has. They are given back when this is dropped.
pub(crate) type Share<'r> = SemaphorePermit<'r>;

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            total,
            free: Semaphore::new(total as usize),
            waiting: Cell::new(0),
        }
    }

    /// What one may have of `bytes`: not more than there is.
    fn bounded(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total)
    }

    /// Room for `bytes`, if nobody has to be waited for.
    pub(crate) fn take_now(&self, bytes: usize) -> Option<Share<'_>> {
        self.free.try_acquire_many(self.bounded(bytes)).ok()
    }

    /// Room for `bytes`, in the order of coming; `None` when there was none in time.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Share<'_>> {
        let _waiting = Waiting::new(&self.waiting);
        let share = timeout(WAIT, self.free.acquire_many(self.bounded(bytes))).await;
        share.ok()?.ok()
    }

    /// Whether somebody waits for room.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.get() > 0
    }
}

/// Gives back what of `share` is more than `bytes`.
pub(crate) fn shrink(share: &mut Share<'_>, bytes: usize) {
    let spare = share.num_permits().saturating_sub(bytes);
    drop(share.split(spare));
}

/// One who waits, for as long as it does.
struct Waiting<'r>(&'r Cell<usize>);

impl<'r> Waiting<'r> {
    fn new(count: &'r Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
