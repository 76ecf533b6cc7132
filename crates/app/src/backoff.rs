//! How long to wait before a program is started again.

use std::time::Duration;

/// The first pause that is one.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(10);
/// After so long in service a program is believed to be well, and the pauses begin anew.
pub(crate) const WELL: Duration = Duration::from_secs(10);

/// Nothing at first (a single crash should cost as little as possible), then 100 ms, doubled up to 10 s.
#[derive(Default)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The pause after a run that was in service for so long.
    pub(crate) fn after(&mut self, served: Duration) -> Duration {
        if served >= WELL {
            self.next = Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).clamp(SHORTEST, LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_begin_anew_after_a_good_run() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..10)
            .map(|_| backoff.after(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
        );
        assert_eq!(backoff.after(WELL), Duration::ZERO);
        assert_eq!(backoff.after(Duration::from_secs(9)), SHORTEST);
    }
}
