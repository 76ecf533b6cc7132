//! When something happened, as a plain number.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::sys;

/// A moment of the machine's monotonic clock, to the nanosecond.
///
/// `std::time::Instant` says the same in two numbers, which every difference has to put together and check; a request is
/// a dozen differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The time at this moment.
    pub fn now() -> Self {
        Self(sys::monotonic_nanos())
    }

    /// How long it was after `earlier`; nothing when that was later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

/// What is too far away to be told is as far as can be told.
fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos().into())
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(nanos(later)))
    }
}

impl Sub for Moment {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn it_goes_with_the_clock_of_the_standard_library() {
        let (before, moment) = (Instant::now(), Moment::now());
        let (after, later) = (Instant::now(), Moment::now());
        assert!(later >= moment && later - moment >= Duration::ZERO);
        assert!(moment.elapsed() <= before.elapsed());
        assert!(later.elapsed() <= after.elapsed() + Duration::from_mins(1));
    }

    #[test]
    fn differences_are_exact_and_never_wrap() {
        let moment = Moment::now();
        let apart = Duration::new(3, 999_999_999);
        assert_eq!((moment + apart) - moment, apart);
        assert_eq!(moment - (moment + apart), Duration::ZERO);
        assert!(moment + Duration::MAX > moment);
    }
}
