//! Memory that a crowd took and left, back to the system.
//!
//! The C library keeps what is freed, but for the heap's end: a process that ten thousand slow clients came to once would
//! keep the memory of their connections for good.

use std::thread;
use std::time::{Duration, Instant};

use tandem_net::{free_memory, give_back_memory};

/// How often the heap is looked at.
const PERIOD: Duration = Duration::from_secs(4);
/// So many bytes are worth the look at the whole heap, and that pages are faulted in again by whoever needs them.
const WORTH: usize = 8 << 20;
/// What changes by more than this in a period is not over.
const QUIET: usize = 1 << 20;

/// A look at the heap, which nobody allocates from meanwhile, and giving back take no larger part of the time than one in so
/// many: they go through all that is free, piece by piece.
const SELDOM: u32 = 1_000;

/// Gives back what was freed whenever a lot was and no more is, as long as the process lives and whenever it `may`. Where
/// there are hundreds of thousands of free pieces, as beside a million sessions, one look takes a tenth of a second.
pub fn give_back_when_it_is_over(may: impl Fn() -> bool + Send + 'static) {
    let watch = move || {
        let mut heap = Heap::default();
        let mut pause = PERIOD;
        loop {
            thread::sleep(pause);
            if !may() {
                continue;
            }
            let begun = Instant::now();
            if heap.is_due(free_memory()) {
                give_back_memory();
            }
            pause = PERIOD.max(begun.elapsed() * SELDOM);
        }
    };
    // Without the thread all else works.
    let _ = thread::Builder::new().name("memory".into()).spawn(watch);
}

/// How much of the heap was free.
#[derive(Debug, Default)]
struct Heap {
    last: usize,
    /// The least since it was given back: what was free all the time is back already.
    least: usize,
}

impl Heap {
    /// Asked once a period, with the bytes that are free now: whether many of them were in use since they were given back, and
    /// no more are coming.
    fn is_due(&mut self, free: usize) -> bool {
        let is_quiet = self.last.abs_diff(free) < QUIET;
        self.last = free;
        self.least = self.least.min(free);
        let is_due = is_quiet && free - self.least >= WORTH;
        if is_due {
            self.least = free;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due<const N: usize>(heap: &mut Heap, mebibytes: [usize; N]) -> [bool; N] {
        mebibytes.map(|free| heap.is_due(free << 20))
    }

    #[test]
    fn what_a_crowd_left_is_given_back_once_when_it_is_over() {
        let mut heap = Heap::default();
        assert_eq!(
            due(&mut heap, [1, 1, 90, 180, 180, 180]),
            [false, false, false, false, true, false]
        );
        // The next one takes of what is free.
        assert_eq!(
            due(&mut heap, [20, 20, 170, 170, 170]),
            [false, false, false, true, false]
        );
    }

    #[test]
    fn what_is_little_and_what_is_used_all_the_time_stays() {
        let mut heap = Heap::default();
        assert_eq!(due(&mut heap, [7, 7, 0, 7, 7]), [false; 5]);
        assert_eq!(due(&mut heap, [30, 10, 25, 5, 40, 20]), [false; 6]);
    }
}
