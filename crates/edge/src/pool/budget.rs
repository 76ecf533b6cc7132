//! The budget of retries: a part of the requests, so that retries do not multiply the load of servers that fail.
//!
//! Requests are counted by the servers anyway; here is only looked when a request has failed. Two windows, the one that
//! runs and the one before it, stand for the last 10 to 20 seconds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(10);
/// Retries that are always allowed within the windows: a percentage of few requests is none.
const FLOOR: u64 = 10;

/// Retries of a pool and the requests that they are compared with.
#[derive(Debug, Default)]
pub(crate) struct Budget(Mutex<Option<Windows>>);

#[derive(Clone, Copy, Debug)]
struct Windows {
    since: Instant,
    /// Tries begun when this window, and the one before it, began.
    begun: [u64; 2],
    /// Retries in each.
    retries: [u64; 2],
}

impl Budget {
    /// Whether one more retry is within `percent` of the requests; it then counts. `begun` are the tries that the
    /// pool's servers have ever begun.
    pub(crate) fn take(&self, percent: u32, begun: u64, now: Instant) -> bool {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Windows {
            since: now,
            begun: [begun; 2],
            retries: [0; 2],
        };
        let windows = windows.get_or_insert(fresh);
        windows.turn(begun, now);
        let retries: u64 = windows.retries.iter().sum();
        let requests = begun
            .saturating_sub(windows.begun[1])
            .saturating_sub(retries);
        let allowed = retries < requests * u64::from(percent) / 100 + FLOOR;
        windows.retries[0] += u64::from(allowed);
        allowed
    }
}

impl Windows {
    fn turn(&mut self, begun: u64, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= 2 * WINDOW || begun < self.begun[0] {
            // Nothing is known of the last seconds; or servers went, and what they had begun with them.
            (self.since, self.begun, self.retries) = (now, [begun; 2], [0; 2]);
        } else if age >= WINDOW {
            self.since += WINDOW;
            self.begun = [begun, self.begun[0]];
            self.retries = [0, self.retries[0]];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `wanted` retries are allowed after `begun` tries; each allowed one begins a try more.
    fn taken(budget: &Budget, wanted: u64, begun: &mut u64, now: Instant) -> u64 {
        let before = *begun;
        for _ in 0..wanted {
            *begun += u64::from(budget.take(20, *begun, now));
        }
        *begun - before
    }

    #[test]
    fn retries_are_a_part_of_the_requests_of_the_last_windows() {
        let (budget, start) = (Budget::default(), Instant::now());
        let mut begun = 0;
        assert_eq!(taken(&budget, 100, &mut begun, start), FLOOR, "of none");
        begun += 1_000;
        let now = start + Duration::from_secs(5);
        assert_eq!(taken(&budget, 1_000, &mut begun, now), 200);
        assert_eq!(taken(&budget, 10, &mut begun, now), 0);
        // They count in the next window too, and no longer in the one after it.
        let now = start + Duration::from_secs(12);
        assert_eq!(taken(&budget, 10, &mut begun, now), 0);
        let now = start + Duration::from_secs(21);
        begun += 100;
        assert_eq!(taken(&budget, 100, &mut begun, now), FLOOR + 20);
    }

    #[test]
    fn after_a_silence_and_when_servers_went_counting_begins_anew() {
        let (budget, start) = (Budget::default(), Instant::now());
        assert_eq!(taken(&budget, 100, &mut 5_000, start), FLOOR);
        assert_eq!(
            taken(&budget, 100, &mut 10, start),
            FLOOR,
            "fewer than before"
        );
        let later = start + 2 * WINDOW;
        assert_eq!(taken(&budget, 100, &mut 10_000, later), FLOOR);
    }
}
