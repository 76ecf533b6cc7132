//! One at a time: what several clients wait for is made once.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

/// What is being made. Only threads that may wait come here.
#[derive(Default)]
pub(crate) struct Turns {
    taken: Mutex<HashSet<Vec<u8>>>,
    given: Condvar,
}

/// The right to make something, until it is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    what: Vec<u8>,
}

impl Turns {
    /// Waits until nobody else makes this.
    pub(crate) fn take(&self, what: &[u8]) -> Turn<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while !taken.insert(what.to_vec()) {
            let woken = self.given.wait(taken);
            taken = woken.unwrap_or_else(PoisonError::into_inner);
        }
        Turn {
            turns: self,
            what: what.to_vec(),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let taken = self.turns.taken.lock();
        taken
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.what);
        self.turns.given.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    #[test]
    fn the_same_is_made_by_one_at_a_time_and_others_do_not_wait_for_it() {
        let (turns, making) = (Turns::default(), AtomicU32::new(0));
        let other = turns.take(b"other");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _turn = turns.take(b"this");
                    assert_eq!(making.fetch_add(1, SeqCst), 0);
                    std::thread::yield_now();
                    making.fetch_sub(1, SeqCst);
                });
            }
        });
        drop(other);
        assert!(turns.taken.lock().unwrap().is_empty());
    }
}
