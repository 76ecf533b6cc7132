//! One item as it lies in the arena: these fields, then its key and its value.

use crate::arena::{Id, NONE};
use crate::rules::Expiry;

/// Neighbours in a list.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Link {
    pub(crate) before: Id,
    pub(crate) behind: Id,
}

impl Link {
    pub(crate) const ALONE: Self = Self {
        before: NONE,
        behind: NONE,
    };
}

/// Which of the eviction queues an item is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// New ones.
    Small,
    /// Those that were asked for again.
    Main,
}

/// The fields of an item. Nothing but integers, and no padding: see [`crate::sys`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Item {
    /// The arena's: the size of the block and what it is.
    pub(crate) tag: u32,
    /// Bytes of the value.
    pub(crate) value_len: u32,
    pub(crate) version: u64,
    pub(crate) expiry: Expiry,
    /// The client's own 32 bits.
    pub(crate) flags: u32,
    pub(crate) hash: u32,
    /// When it was last asked for, in seconds of the store's clock.
    accessed: u32,
    /// Which list of the wheel it is in.
    pub(crate) bucket: u16,
    /// Bytes of the key.
    pub(crate) key_len: u8,
    /// How often it was asked for lately, its queue, and what is remarkable about it.
    marks: u8,
    pub(crate) in_queue: Link,
    pub(crate) in_wheel: Link,
}

const _: () = assert!(
    size_of::<Item>() == 5 * 4 + 2 * 8 + 2 + 1 + 1 + 2 * size_of::<Link>(),
    "there is no padding"
);

/// How often it was asked for lately, at most this.
const USED: u8 = 3;
/// It is in the main queue.
const MAIN: u8 = 4;
/// It was asked for.
const FETCHED: u8 = 8;
/// It is stale: shown, and to be renewed.
const STALE: u8 = 16;
/// A client was told to renew it.
const TAKEN: u8 = 32;
/// Its version was chosen by a client.
const CHOSEN: u8 = 64;

impl Item {
    /// A new item's fields, but for the arena's own.
    pub(crate) fn begin(
        &mut self,
        key_len: u8,
        value_len: u32,
        hash: u32,
        flags: u32,
        expiry: Expiry,
    ) {
        *self = Self {
            tag: self.tag,
            value_len,
            version: 0,
            expiry,
            flags,
            hash,
            accessed: 0,
            bucket: 0,
            key_len,
            marks: 0,
            in_queue: Link::ALONE,
            in_wheel: Link::ALONE,
        };
    }

    /// Of use once more.
    pub(crate) fn touch(&mut self) {
        self.set_used((self.used() + 1).min(USED));
    }

    /// How often it was of use lately, at most 3.
    pub(crate) const fn used(&self) -> u8 {
        self.marks & USED
    }

    pub(crate) fn set_used(&mut self, used: u8) {
        self.marks = self.marks & !USED | used & USED;
    }

    pub(crate) const fn queue(&self) -> Queue {
        if self.marks & MAIN == 0 {
            Queue::Small
        } else {
            Queue::Main
        }
    }

    pub(crate) fn set_queue(&mut self, queue: Queue) {
        self.marks = match queue {
            Queue::Small => self.marks & !MAIN,
            Queue::Main => self.marks | MAIN,
        };
    }

    /// Asked for at `now` (milliseconds).
    pub(crate) fn fetched(&mut self, now: u64) {
        self.touch();
        self.marks |= FETCHED;
        self.accessed = seconds(now);
    }

    /// Stored anew at `now` (milliseconds): nobody has asked for it as it is.
    pub(crate) fn renewed(&mut self, now: u64) {
        self.marks &= USED | MAIN;
        self.accessed = seconds(now);
    }

    pub(crate) const fn was_fetched(&self) -> bool {
        self.marks & FETCHED != 0
    }

    pub(crate) const fn is_stale(&self) -> bool {
        self.marks & STALE != 0
    }

    /// A client was told to renew it, and nobody has yet.
    pub(crate) const fn is_taken(&self) -> bool {
        self.marks & TAKEN != 0
    }

    /// Its version says nothing about when it was stored.
    pub(crate) const fn has_chosen_version(&self) -> bool {
        self.marks & CHOSEN != 0
    }

    pub(crate) fn take(&mut self) {
        self.marks |= TAKEN;
    }

    /// It is stale from now on, and a client is to be found that renews it unless one was `taken` already.
    pub(crate) fn spoil(&mut self, taken: bool) {
        self.marks = self.marks & !TAKEN | STALE | if taken { TAKEN } else { 0 };
    }

    /// It has a version of a client's choice.
    pub(crate) fn choose_version(&mut self, version: u64) {
        self.version = version;
        self.marks |= CHOSEN;
    }

    /// Seconds since it was asked for or stored.
    pub(crate) fn idle(&self, now: u64) -> u64 {
        u64::from(seconds(now).wrapping_sub(self.accessed))
    }
}

fn seconds(now: u64) -> u32 {
    (now / 1000) as u32
}
