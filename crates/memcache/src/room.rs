//! What connections may hold together of large values that are under way, and of large requests that are coming in.
//!
//! There are two of these. Who answers a request may have of the first while it waits for the second, never the other
//! way round, so that nobody waits for one that waits for it.
//!
//! The first is for requests ([`crate::input`]): one that outgrows a connection's own bound takes room for all that it will
//! be, and gives it back when it has been answered. Without room it is not read any further.
//!
//! The second is for values ([`crate::output`]). Room is taken for the most that a retrieval can find before it is asked
//! for, so that what is on its way counts too; when the hits are there, all but what they take is given back, and the rest
//! when they are written. An answer that is gathered with others before it is written takes none: each connection may hold
//! that much. When there is no room the store is asked for values that are as small as that, or, before what changes them,
//! which of them are: so clients of large values hold up only one another, and who reads small ones needs no second round.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// So long somebody waits for room.
const WAIT: Duration = Duration::from_secs(5);
/// While others wait for room, a client that has it may take, or send, no byte for so long.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(2);
/// While others wait for room, a client may take so long over what it has in all. Less than they wait.
pub(crate) const WRITING: Duration = Duration::from_secs(4);
/// The same of a request that comes in, for each so many bytes of it: else the largest that a cache may be set up for could
/// never be sent beside others.
const SENDING_BYTES: u32 = 4 << 20;

/// Bytes that connections share, be they of one worker or of several.
pub struct Room {
    total: u32,
    free: Semaphore,
    waiting: AtomicUsize,
}

/// Bytes that one of them has. They are given back when this is dropped.
pub(crate) type Share<'r> = SemaphorePermit<'r>;

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            total,
            free: Semaphore::new(total as usize),
            waiting: AtomicUsize::new(0),
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

    /// What nobody has.
    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Whether somebody waits for room.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }
}

/// Gives back what of `share` is more than `bytes`.
pub(crate) fn shrink(share: &mut Share<'_>, bytes: usize) {
    let spare = share.num_permits().saturating_sub(bytes);
    drop(share.split(spare));
}

/// How long a client may take to send what it has room for, while others wait for some.
pub(crate) fn sending(share: &Share<'_>) -> Duration {
    WRITING * (1 + u32::try_from(share.num_permits()).unwrap_or(u32::MAX) / SENDING_BYTES)
}

/// One who waits, for as long as it does.
struct Waiting<'r>(&'r AtomicUsize);

impl<'r> Waiting<'r> {
    fn new(count: &'r AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
