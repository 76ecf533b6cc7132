//! What a client asks and what it is answered, whichever of the protocols it speaks.

use std::borrow::Cow;

/// How long an item shall live, from an `exptime` (memcached doc/protocol.txt, "Expiration times").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// `0`: until deleted or evicted.
    Forever,
    /// Milliseconds from now; `0` means already expired.
    Millis(u64),
}

/// Above this many seconds an `exptime` is a Unix time, not an offset.
pub(crate) const RELATIVE_LIMIT: i64 = 60 * 60 * 24 * 30;

impl Lifetime {
    /// Reads an `exptime` in seconds. `unix_now` is the wall clock in seconds, used for absolute times only.
    pub fn from_exptime(exptime: i64, unix_now: u64) -> Self {
        match exptime {
            0 => Self::Forever,
            i64::MIN..0 => Self::Millis(0),
            1..=RELATIVE_LIMIT => Self::Millis(exptime as u64 * 1000),
            // As far away as can be told, if it is further.
            _ => {
                let seconds = (exptime as u64).saturating_sub(unix_now);
                Self::Millis(seconds.saturating_mul(1000))
            }
        }
    }
}

/// Which storage command, and what it demands of the item that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Store whatever is there.
    Set,
    /// Store only if nothing is there.
    Add,
    /// Store only if something is there.
    Replace,
    /// Add behind the value that is there; flags and lifetime stay.
    Append,
    /// Add before the value that is there; flags and lifetime stay.
    Prepend,
    /// Store only if the item still has this version (the `cas unique` that a `gets` showed).
    Cas(u64),
}

/// One operation on a keyspace. Keys are valid: 1 to [`crate::MAX_KEY`] bytes, no spaces or control bytes.
#[derive(Clone, Debug)]
pub enum Op<'a> {
    /// `get`, `gets`: hits go to the sink, in the order of the keys.
    Get {
        /// What to look for.
        keys: &'a [&'a [u8]],
    },
    /// `gat`, `gats`: as `get`, and each hit lives on for `life` from now.
    GetAndTouch {
        /// What to look for.
        keys: &'a [&'a [u8]],
        /// The new lifetime.
        life: Lifetime,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Store {
        /// Which of them.
        mode: Mode,
        /// Where.
        key: &'a [u8],
        /// The client's own 32 bits.
        flags: u32,
        /// How long.
        life: Lifetime,
        /// What.
        value: &'a [u8],
    },
    /// `delete`.
    Delete {
        /// What.
        key: &'a [u8],
    },
    /// `touch`.
    Touch {
        /// What.
        key: &'a [u8],
        /// The new lifetime.
        life: Lifetime,
    },
    /// `incr` and `decr` on a decimal value: `incr` wraps at 64 bits, `decr` stops at 0.
    Arithmetic {
        /// What.
        key: &'a [u8],
        /// By how much.
        delta: u64,
        /// `decr` instead of `incr`.
        down: bool,
    },
    /// `flush_all`, in so many milliseconds from now.
    FlushAll {
        /// The delay in milliseconds.
        delay: u64,
    },
    /// `stats [argument]`: lines go to the reply.
    Stats {
        /// What follows the word, if anything.
        argument: &'a [u8],
    },
}

/// What an operation came to. The words are those of memcached's text protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A `Get` or `GetAndTouch` is over; its hits went to the sink.
    End,
    /// The hits of the first so many keys of a `Get` or `GetAndTouch` went to the sink, and there are more keys: the rest is
    /// to be asked for when these are written. At least one, so that it comes to an end, unless no more than so much was to
    /// be found ([`crate::Keyspace::get_within`]).
    Partly(usize),
    /// `STORED`
    Stored,
    /// `NOT_STORED`: the condition of add, replace, append or prepend did not hold.
    NotStored,
    /// `EXISTS`: changed since the `gets`.
    Exists,
    /// `NOT_FOUND`
    NotFound,
    /// `DELETED`
    Deleted,
    /// `TOUCHED`
    Touched,
    /// The new value of incr or decr.
    Number(u64),
    /// `OK`
    Ok,
    /// `STAT name value` lines.
    Stats(Vec<(String, String)>),
    /// `CLIENT_ERROR ...`
    ClientError(Cow<'static, str>),
    /// `SERVER_ERROR ...`
    ServerError(Cow<'static, str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exptime_is_relative_up_to_thirty_days_and_a_unix_time_above() {
        let now = 1_800_000_000;
        assert_eq!(Lifetime::from_exptime(0, now), Lifetime::Forever);
        assert_eq!(Lifetime::from_exptime(-1, now), Lifetime::Millis(0));
        assert_eq!(Lifetime::from_exptime(5, now), Lifetime::Millis(5_000));
        assert_eq!(
            Lifetime::from_exptime(RELATIVE_LIMIT, now),
            Lifetime::Millis(RELATIVE_LIMIT as u64 * 1000)
        );
        assert_eq!(
            Lifetime::from_exptime(now as i64 + 7, now),
            Lifetime::Millis(7_000)
        );
        assert_eq!(
            Lifetime::from_exptime(now as i64 - 7, now),
            Lifetime::Millis(0)
        );
    }

    #[test]
    fn a_time_further_away_than_can_be_told_is_as_far_as_can_be_told() {
        for exptime in [1_129_409_690_047_523_498, i64::MAX] {
            let life = Lifetime::from_exptime(exptime, 1_800_000_000);
            assert_eq!(life, Lifetime::Millis(u64::MAX), "{exptime}");
        }
    }
}
