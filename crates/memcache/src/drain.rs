//! Ends the idle connections of a worker at a graceful stop, without a lock or a shared line on their way.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use tokio::sync::Notify;

/// The connections of one worker that may have to be told to end.
#[derive(Default)]
pub(crate) struct Drain {
    on: Cell<bool>,
    seats: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    taken: Cell<usize>,
    emptied: Notify,
}

impl Drain {
    /// A connection's place.
    pub(crate) fn seat(&self) -> Seat<'_> {
        let free = self.free.borrow_mut().pop();
        let index = free.unwrap_or_else(|| {
            let mut seats = self.seats.borrow_mut();
            seats.push(None);
            seats.len() - 1
        });
        self.taken.set(self.taken.get() + 1);
        Seat { drain: self, index }
    }

    /// From now on connections end where they would wait for a request.
    pub(crate) fn begin(&self) {
        self.on.set(true);
        for waker in self.seats.borrow_mut().iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    /// Returns when no connection is left.
    pub(crate) async fn emptied(&self) {
        while self.taken.get() > 0 {
            self.emptied.notified().await;
        }
    }
}

/// A connection that can be told to end.
pub(crate) struct Seat<'d> {
    drain: &'d Drain,
    index: usize,
}

impl Seat<'_> {
    /// Whether to end; if not yet, the task will be woken when it is.
    pub(crate) fn should_end(&self, waker: &Waker) -> bool {
        if self.drain.on.get() {
            return true;
        }
        let seat = &mut self.drain.seats.borrow_mut()[self.index];
        if !seat.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *seat = Some(waker.clone());
        }
        false
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.drain.seats.borrow_mut()[self.index] = None;
        self.drain.free.borrow_mut().push(self.index);
        self.drain.taken.set(self.drain.taken.get() - 1);
        if self.drain.taken.get() == 0 {
            self.drain.emptied.notify_waiters();
        }
    }
}
