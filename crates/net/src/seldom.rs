//! What may happen any number of times and is told of now and then, so that nobody fills a log with it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Moment;

/// Things of one kind, of which one is told of in so long, with the number of the others.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Moment>,
    /// How many were not told of since.
    untold: u64,
}

impl Seldom {
    /// One happens at `now`. `None`: it is not told of, as another one was less than `every` ago; else how many were not since
    /// the last that was.
    pub fn due(&self, now: Moment, every: Duration) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| now.since(last) < every) {
            told.untold += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_long_is_told_of_with_the_number_of_the_others() {
        let (seldom, begun) = (Seldom::default(), Moment::now());
        let minute = Duration::from_mins(1);
        let due = [0, 1, 59, 60, 119, 121].map(|second| {
            let now = begun + Duration::from_secs(second);
            seldom.due(now, minute)
        });
        assert_eq!(due, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
