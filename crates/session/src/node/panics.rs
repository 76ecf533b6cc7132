//! Panics of a replica in a row: how long is waited before it is started again, and what an operator can do.

use std::path::Path;
use std::time::Duration;

/// Before it is started again for the first time, twice as long after the next, ...
const PAUSE: Duration = Duration::from_secs(2);
/// ... up to this: what brings it about at every start must not fill log and disk.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// One that ran for so long does well: what comes then is no part of the row.
const WELL: Duration = Duration::from_mins(2);
/// From so many on it looks as if its state brings it about.
const MANY: u32 = 3;

/// How many there were.
#[derive(Default)]
pub struct Panics {
    in_a_row: u32,
}

impl Panics {
    /// One more, of a replica that ran for so long: how long is waited now.
    pub fn note(&mut self, ran: Duration) -> Duration {
        if ran >= WELL {
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let doubled = PAUSE.saturating_mul(1 << (self.in_a_row - 1).min(16));
        doubled.min(PAUSE_MAX)
    }

    /// The last one in words.
    pub fn tell(&self, said: &str, pause: Duration, state: &Path) -> String {
        let (count, seconds) = (self.in_a_row, pause.as_secs());
        let often = match count {
            1 => String::new(),
            _ => format!(", {count} times in a row now"),
        };
        let what = format!(
            "the replica on this node has panicked{often}: {said}; the others go on, and it is started again in {seconds} s"
        );
        if count < MANY {
            return what;
        }
        format!(
            "{what}. Where it goes on so and other session nodes are well: `tandem stop`, move {} away, `tandem start`, and the \
             others bring it up to date; what was moved away shows the reason to whoever looks for it. Where there are no \
             others, all that is stored is there: try another version (`tandem upgrade`) first",
            state.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_panics_at_every_start_is_started_ever_more_seldom_until_it_does_well() {
        let mut panics = Panics::default();
        let mut after = |ran| panics.note(Duration::from_secs(ran)).as_secs();
        let pauses: Vec<_> = (0..8).map(|_| after(1)).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!((after(119), after(120), after(0)), (60, 2, 4));
        for _ in 0..100 {
            after(0);
        }
        assert_eq!(after(0), 60);
    }

    #[test]
    fn it_is_said_how_often_and_from_the_third_on_what_can_be_done() {
        let mut panics = Panics::default();
        let mut said = || {
            let pause = panics.note(Duration::ZERO);
            panics.tell("an index", pause, Path::new("/state/sessions"))
        };
        let first = said();
        assert!(first.contains("has panicked: an index; the others go on"));
        assert!(!said().contains("move /state/sessions away"));
        let third = said();
        assert!(third.contains("3 times in a row now: an index"));
        assert!(third.contains("again in 8 s. ") && third.contains("move /state/sessions away"));
    }
}
