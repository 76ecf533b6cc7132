//! What each operation does to one item: the meaning of memcached's commands, as a pure function.
//!
//! The cache and the replicated keyspace both decide by [`decide`], so that they cannot differ.

use std::borrow::Cow;

use tandem_memcache::{Lifetime, Mode, Op, Reply};

/// When an item ends, in milliseconds of the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Expiry(u64);

impl Expiry {
    /// No end.
    pub const NEVER: Self = Self(u64::MAX);

    /// The end of an item stored at `now` for `life`.
    pub fn after(now: u64, life: Lifetime) -> Self {
        match life {
            Lifetime::Forever => Self::NEVER,
            Lifetime::Millis(ms) => Self(now.saturating_add(ms).min(u64::MAX - 1)),
        }
    }

    /// From the clock's milliseconds; `u64::MAX` is never.
    pub const fn at(millis: u64) -> Self {
        Self(millis)
    }

    /// The clock's milliseconds at the end; `u64::MAX` is never.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whether it is over at `now`. An item that lives 5 s is gone when 5 s have passed, not before.
    pub const fn is_over(self, now: u64) -> bool {
        self.0 <= now
    }

    /// Milliseconds left at `now`; `None` is for ever.
    pub fn remaining(self, now: u64) -> Option<u64> {
        (self != Self::NEVER).then(|| self.0.saturating_sub(now))
    }
}

/// The item that is there, and alive, when an operation comes.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// The client's own 32 bits.
    pub flags: u32,
    /// Its version: what a `gets` shows.
    pub version: u64,
    /// When it ends.
    pub expiry: Expiry,
    /// Its bytes.
    pub value: &'a [u8],
}

/// What becomes of the item.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Nothing.
    Keep,
    /// It is, or is replaced by, this. It takes a new version.
    Put {
        /// The client's own 32 bits.
        flags: u32,
        /// When it ends.
        expiry: Expiry,
        /// Borrowed when it is the operation's own value, owned when it was worked out.
        value: Cow<'a, [u8]>,
    },
    /// It ends at another time; value and version stay.
    Touch(Expiry),
    /// It is gone.
    Remove,
}

/// Decides a single-key change: what happens to the item and what the client is told.
///
/// `current` is the live item under the key (an expired one is `None`), `now` the store's clock in milliseconds.
/// Retrievals, `flush_all` and `stats` are not changes of one item; they yield `Keep` and `Reply::Ok`.
pub fn decide<'a>(current: Option<Current<'_>>, op: &Op<'a>, now: u64) -> (Effect<'a>, Reply) {
    match *op {
        Op::Store {
            mode,
            flags,
            life,
            value,
            ..
        } => store(current, mode, flags, Expiry::after(now, life), value),
        Op::Delete { .. } => match current {
            Some(_) => (Effect::Remove, Reply::Deleted),
            None => (Effect::Keep, Reply::NotFound),
        },
        Op::Touch { life, .. } => match current {
            Some(_) => (Effect::Touch(Expiry::after(now, life)), Reply::Touched),
            None => (Effect::Keep, Reply::NotFound),
        },
        Op::Arithmetic { delta, down, .. } => arithmetic(current, delta, down),
        Op::Get { .. } | Op::GetAndTouch { .. } | Op::FlushAll { .. } | Op::Stats { .. } => {
            (Effect::Keep, Reply::Ok)
        }
    }
}

fn store<'a>(
    current: Option<Current<'_>>,
    mode: Mode,
    flags: u32,
    expiry: Expiry,
    value: &'a [u8],
) -> (Effect<'a>, Reply) {
    let put = (
        Effect::Put {
            flags,
            expiry,
            value: Cow::Borrowed(value),
        },
        Reply::Stored,
    );
    match (mode, current) {
        (Mode::Set, _) | (Mode::Add, None) | (Mode::Replace, Some(_)) => put,
        (Mode::Add, Some(_)) | (Mode::Replace | Mode::Append | Mode::Prepend, None) => {
            (Effect::Keep, Reply::NotStored)
        }
        (Mode::Append, Some(item)) => joined(item, item.value, value),
        (Mode::Prepend, Some(item)) => joined(item, value, item.value),
        (Mode::Cas(version), Some(item)) if version == item.version => put,
        (Mode::Cas(_), Some(_)) => (Effect::Keep, Reply::Exists),
        (Mode::Cas(_), None) => (Effect::Keep, Reply::NotFound),
    }
}

fn joined(item: Current<'_>, first: &[u8], second: &[u8]) -> (Effect<'static>, Reply) {
    let value = Cow::Owned([first, second].concat());
    (
        Effect::Put {
            flags: item.flags,
            expiry: item.expiry,
            value,
        },
        Reply::Stored,
    )
}

fn arithmetic(current: Option<Current<'_>>, delta: u64, down: bool) -> (Effect<'static>, Reply) {
    let Some(item) = current else {
        return (Effect::Keep, Reply::NotFound);
    };
    let Some(number) = decimal(item.value) else {
        let error = "cannot increment or decrement non-numeric value";
        return (Effect::Keep, Reply::ClientError(Cow::Borrowed(error)));
    };
    let number = if down {
        number.saturating_sub(delta)
    } else {
        number.wrapping_add(delta)
    };
    let mut digits = number.to_string().into_bytes();
    // memcached never shortens a number in place: "decr" of 10 leaves "9 " (doc/protocol.txt, "Increment/Decrement").
    while digits.len() < item.value.len() {
        digits.push(b' ');
    }
    (
        Effect::Put {
            flags: item.flags,
            expiry: item.expiry,
            value: Cow::Owned(digits),
        },
        Reply::Number(number),
    )
}

/// Reads an unsigned decimal as memcached does, by `strtoull`: spaces before it, a plus sign, and anything behind it
/// after a space are passed over; it must fit in 64 bits.
fn decimal(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii_start();
    let end = value.iter().position(u8::is_ascii_whitespace);
    let digits = &value[..end.unwrap_or(value.len())];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn item(value: &[u8]) -> Current<'_> {
        Current {
            flags: 7,
            version: 42,
            expiry: Expiry::at(NOW + 9),
            value,
        }
    }

    fn storing(mode: Mode) -> Op<'static> {
        Op::Store {
            mode,
            key: b"k",
            flags: 1,
            life: Lifetime::Millis(5_000),
            value: b"new",
        }
    }

    #[test]
    fn conditional_stores_hold_to_their_condition() {
        for (mode, absent, present) in [
            (Mode::Set, Reply::Stored, Reply::Stored),
            (Mode::Add, Reply::Stored, Reply::NotStored),
            (Mode::Replace, Reply::NotStored, Reply::Stored),
            (Mode::Append, Reply::NotStored, Reply::Stored),
            (Mode::Prepend, Reply::NotStored, Reply::Stored),
            (Mode::Cas(42), Reply::NotFound, Reply::Stored),
            (Mode::Cas(41), Reply::NotFound, Reply::Exists),
        ] {
            assert_eq!(
                decide(None, &storing(mode), NOW).1,
                absent,
                "{mode:?} without an item"
            );
            assert_eq!(
                decide(Some(item(b"old")), &storing(mode), NOW).1,
                present,
                "{mode:?} with an item"
            );
        }
    }

    #[test]
    fn append_keeps_flags_and_lifetime() {
        let (effect, _) = decide(Some(item(b"old")), &storing(Mode::Append), NOW);
        let value = Cow::Borrowed(&b"oldnew"[..]);
        assert_eq!(
            effect,
            Effect::Put {
                flags: 7,
                expiry: Expiry::at(NOW + 9),
                value
            }
        );
    }

    #[test]
    fn numbers_wrap_up_and_stop_at_zero() {
        let up = Op::Arithmetic {
            key: b"k",
            delta: 1,
            down: false,
        };
        let down = Op::Arithmetic {
            key: b"k",
            delta: 11,
            down: true,
        };
        assert_eq!(
            decide(Some(item(b"18446744073709551615")), &up, NOW).1,
            Reply::Number(0)
        );
        assert_eq!(decide(Some(item(b"10")), &down, NOW).1, Reply::Number(0));
        let (effect, _) = decide(Some(item(b"10")), &down, NOW);
        let Effect::Put { value, .. } = effect else {
            panic!("not stored: {effect:?}")
        };
        assert_eq!(&*value, b"0 ");
        assert!(matches!(
            decide(Some(item(b"ten")), &up, NOW).1,
            Reply::ClientError(_)
        ));
    }

    #[test]
    fn a_five_second_item_lives_five_seconds() {
        let expiry = Expiry::after(NOW, Lifetime::Millis(5_000));
        assert!(!expiry.is_over(NOW + 4_999));
        assert!(expiry.is_over(NOW + 5_000));
        assert!(!Expiry::after(NOW, Lifetime::Forever).is_over(u64::MAX - 1));
    }
}
