//! Things that were used and are kept for the next one who needs such a thing.

use std::cell::{Cell, RefCell};

/// Free things of one kind. The one used last is used first: it is the warmest.
pub(super) struct Spare<T> {
    free: RefCell<Vec<T>>,
    most: usize,
    /// The fewest that were free since [`rest`](Self::rest).
    least: Cell<usize>,
}

impl<T> Spare<T> {
    /// Keeps `most` at most.
    pub fn new(most: usize) -> Self {
        Self {
            free: RefCell::default(),
            most,
            least: Cell::new(0),
        }
    }

    /// One of them, if any is free.
    pub fn take(&self) -> Option<T> {
        let mut free = self.free.borrow_mut();
        let taken = free.pop();
        self.least.set(self.least.get().min(free.len()));
        taken
    }

    /// Gives one back.
    pub fn put(&self, one: T) {
        let mut free = self.free.borrow_mut();
        if free.len() < self.most {
            free.push(one);
        }
    }

    /// Drops half of those that nobody needed since this was last called, the ones unused for longest first: what a burst
    /// took is given back within some seconds, and what a steady load needs stays.
    pub fn rest(&self) {
        let mut free = self.free.borrow_mut();
        let unused = self.least.get().min(free.len());
        free.drain(..unused.div_ceil(2));
        self.least.set(free.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn len(spare: &Spare<usize>) -> usize {
        spare.free.borrow().len()
    }

    #[test]
    fn the_one_used_last_is_used_first_and_only_so_many_are_kept() {
        let spare = Spare::new(2);
        assert_eq!(spare.take(), None);
        for one in 1..=3 {
            spare.put(one);
        }
        assert_eq!(
            [spare.take(), spare.take(), spare.take()],
            [Some(2), Some(1), None]
        );
    }

    #[test]
    fn what_nobody_needs_is_given_back_and_what_is_needed_stays() {
        let spare = Spare::new(100);
        for one in 0..100 {
            spare.put(one);
        }
        spare.rest();
        for _ in 0..20 {
            // Ten are in use at a time.
            let taken: Vec<_> = (0..10).map_while(|_| spare.take()).collect();
            assert_eq!(taken.len(), 10);
            for one in taken {
                spare.put(one);
            }
            spare.rest();
        }
        assert_eq!(len(&spare), 10);
        for _ in 0..10 {
            spare.rest();
        }
        assert_eq!(len(&spare), 0);
    }
}
