//! The keyspace's clock as one replica continues it.
//!
//! The clock is what the leader stamps entries with. A new leader goes on from the last stamp it applied, by its own
//! monotonic clock: never back, and never ahead of the time that really passed. Wall clocks are not looked at, and no
//! machine's clock is compared with another's.
//!
//! A replica that follows goes back when its leader is behind: by the leader's stamps lives were given, and a
//! replica that kept what it had of an earlier leader's clock would, once it leads, end them early.

use crate::rt::Instant;

/// A clock in milliseconds, set by the stamps seen.
#[derive(Clone, Copy, Debug)]
pub struct KeyspaceClock {
    stamp: u64,
    at: Instant,
}

impl Default for KeyspaceClock {
    fn default() -> Self {
        Self {
            stamp: 0,
            at: Instant::now(),
        }
    }
}

impl KeyspaceClock {
    /// An entry of another leader with this stamp was applied just now.
    pub fn follow(&mut self, stamp: u64) {
        *self = Self {
            stamp,
            at: Instant::now(),
        };
    }

    /// An entry of this replica's own with this stamp was applied just now: it cannot be ahead.
    pub fn saw(&mut self, stamp: u64) {
        if stamp > self.now() {
            self.follow(stamp);
        }
    }

    /// What time it is.
    pub fn now(&self) -> u64 {
        #[cfg(test)]
        if crate::sim::is_broken(crate::sim::Broken::WallClockExpiry) {
            return crate::sim::world::wall_clock();
        }
        self.stamp + self.at.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rt::sleep;
    use crate::sim::alone;

    #[test]
    fn a_follower_is_never_ahead_of_a_leader_whose_clock_is_behind() {
        alone(async {
            let mut clock = KeyspaceClock::default();
            clock.follow(5_000);
            // The next leader had heard of less.
            clock.follow(4_900);
            sleep(Duration::from_millis(70)).await;
            assert_eq!(clock.now(), 4_970);
            clock.saw(10);
            assert_eq!(clock.now(), 4_970);
        });
    }

    #[test]
    fn an_own_stamp_moves_the_clock_forward_and_never_back() {
        alone(async {
            let mut clock = KeyspaceClock::default();
            clock.saw(5_000);
            assert_eq!(clock.now(), 5_000);
            sleep(Duration::from_millis(30)).await;
            clock.saw(5_010);
            assert_eq!(clock.now(), 5_030);
        });
    }
}
