//! Ends the idle connections of a worker at a graceful stop, or hands them over, without a lock or a shared line on their
//! way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use tokio::sync::Notify;

use crate::context::ServerContext;

/// The connections of one worker that may have to be told to end.
#[derive(Default)]
pub(crate) struct Drain {
    mode: Cell<Mode>,
    seats: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    taken: Cell<usize>,
    emptied: Notify,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// They are served.
    #[default]
    Off,
    /// They end where they would wait.
    End,
    /// They are handed over where they would wait for a request; within one they are served.
    Release,
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
        self.came();
        Seat {
            drain: self,
            index,
            within: Cell::new(false),
        }
    }

    /// From now on connections end where they would wait for a request.
    pub(crate) fn begin(&self) {
        self.set(Mode::End);
    }

    /// From now on connections are handed over where they would wait for a request.
    pub(crate) fn release(&self) {
        self.set(Mode::Release);
    }

    fn set(&self, mode: Mode) {
        self.mode.set(mode);
        for waker in self.seats.borrow_mut().iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    fn came(&self) {
        self.taken.set(self.taken.get() + 1);
    }

    fn left(&self) {
        self.taken.set(self.taken.get() - 1);
        if self.taken.get() == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// Returns when no connection is left.
    pub(crate) async fn emptied(&self) {
        while self.taken.get() > 0 {
            self.emptied.notified().await;
        }
    }
}

/// A connection from when it was taken to when nothing of it is left here: before it has its seat, and until it was handed
/// over.
pub(crate) struct Present(Rc<ServerContext>);

impl Present {
    pub(crate) fn new(cx: &Rc<ServerContext>) -> Self {
        cx.drain.came();
        Self(cx.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.drain.left();
    }
}

/// A connection that can be told to end.
pub(crate) struct Seat<'d> {
    drain: &'d Drain,
    index: usize,
    within: Cell<bool>,
}

impl Seat<'_> {
    /// Whether to end, where it waits `at_rest`, for a request and not for the rest of one; if not yet, the task will be
    /// woken when it is.
    pub(crate) fn should_end(&self, waker: &Waker, at_rest: bool) -> bool {
        match self.drain.mode.get() {
            Mode::Off => {}
            Mode::End => return true,
            Mode::Release if at_rest && !self.within.get() => return true,
            Mode::Release => {}
        }
        let seat = &mut self.drain.seats.borrow_mut()[self.index];
        if !seat.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *seat = Some(waker.clone());
        }
        false
    }

    /// Whether what ended here is to be handed over.
    pub(crate) fn is_released(&self) -> bool {
        self.drain.mode.get() == Mode::Release
    }

    /// Says that it is within a request although nothing of that is kept.
    pub(crate) fn set_within(&self, within: bool) {
        self.within.set(within);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.drain.seats.borrow_mut()[self.index] = None;
        self.drain.free.borrow_mut().push(self.index);
        self.drain.left();
    }
}
