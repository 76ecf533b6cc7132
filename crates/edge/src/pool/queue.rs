//! Requests that wait for a place at a server: first come, first served, whichever worker they are on.
//!
//! The one lock on the way of a request; nobody takes it while all servers have room. Whoever ends a request looks at
//! [`Queue::is_empty`] after it gave its place back, whoever enters looks for a place after it was counted, both in one
//! order of all (`SeqCst`): of the two at least one sees the other, so that no place stays free while someone waits.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::view::View;
use crate::server::Server;

/// The queue of a pool.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Arc<Waiter>>>,
}

/// One request that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    wish: Wish,
    state: Mutex<State>,
}

/// Which server it waits for.
#[derive(Debug)]
pub(crate) struct Wish {
    /// This one, for as long as it can be used.
    pub(crate) only: Option<Arc<Server>>,
    /// When that cannot be used, no other will do.
    pub(crate) strict: bool,
    /// What the request says of where it wants to go.
    pub(crate) key: Option<u64>,
    /// Servers that it tried; others are better.
    pub(crate) tried: Vec<Arc<Server>>,
}

#[derive(Debug)]
enum State {
    Waits(Option<Waker>),
    /// A place at this server is counted for it; `None`: there will be none.
    Given(Option<Arc<Server>>),
    /// It has what it was given, or has left.
    Over,
}

impl Queue {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// How many wait.
    pub(crate) fn len(&self) -> u64 {
        self.waiting.load(SeqCst) as u64
    }

    /// Stands in line behind all others. `None` when more than `max` would wait; not when there is a place at once. `view`
    /// is asked for when it is counted: of servers that change meanwhile either it hears, or whoever changes them of it.
    pub(crate) fn enter<V: Deref<Target = Arc<View>>>(
        &self,
        wish: Wish,
        max: usize,
        view: impl FnOnce() -> V,
    ) -> Option<Arc<Waiter>> {
        let waiter = Arc::new(Waiter {
            wish,
            state: Mutex::new(State::Waits(None)),
        });
        let mut line = self.line();
        line.push_back(waiter.clone());
        self.waiting.store(line.len(), SeqCst);
        self.serve_locked(&mut line, &view());
        if line.len() > max && waiter.waits() {
            // It is the last one.
            line.pop_back();
            self.waiting.store(line.len(), SeqCst);
            return None;
        }
        Some(waiter)
    }

    /// Gives free places to those who wait. Called whenever a place may be free, or servers have changed.
    pub(crate) fn serve(&self, view: &View) {
        if !self.is_empty() {
            self.serve_locked(&mut self.line(), view);
        }
    }

    fn serve_locked(&self, line: &mut VecDeque<Arc<Waiter>>, view: &View) {
        // Once one that takes any server finds none, nobody behind it does.
        let mut none = false;
        line.retain(|waiter| {
            let wish = &waiter.wish;
            let keeps = |server: &&Arc<Server>| view.keeps(server, wish.strict, &wish.tried);
            let bound = wish.only.as_ref().filter(keeps);
            let given = match bound {
                Some(server) if server.begin() => Some(server.clone()),
                Some(_) => return true,
                None if wish.only.is_some() && wish.strict => None,
                None if view.is_out(&wish.tried) => None,
                None if none => return true,
                None => match view.take(wish.key, &wish.tried) {
                    Some(server) => Some(server),
                    None => {
                        // Of a last resort each takes what it has not tried.
                        none = view.is_usable();
                        return true;
                    }
                },
            };
            waiter.give(given);
            false
        });
        self.waiting.store(line.len(), SeqCst);
    }

    /// Gives the place in line up. A place at a server that it was given meanwhile is returned.
    pub(crate) fn leave(&self, waiter: &Arc<Waiter>) -> Option<Arc<Server>> {
        let mut line = self.line();
        line.retain(|other| !Arc::ptr_eq(other, waiter));
        self.waiting.store(line.len(), SeqCst);
        drop(line);
        match std::mem::replace(&mut *waiter.state(), State::Over) {
            State::Given(server) => server,
            State::Waits(_) | State::Over => None,
        }
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Ready with the server at which a place is counted for it; with `None` when there will be none.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Arc<Server>>> {
        let mut state = self.state();
        match &mut *state {
            State::Waits(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Given(server) => {
                let server = server.take();
                *state = State::Over;
                Poll::Ready(server)
            }
            State::Over => Poll::Ready(None),
        }
    }

    fn waits(&self) -> bool {
        matches!(&*self.state(), State::Waits(_))
    }

    /// Only those in line are given something, so it waits.
    fn give(&self, server: Option<Arc<Server>>) {
        let before = std::mem::replace(&mut *self.state(), State::Given(server));
        if let State::Waits(Some(waker)) = before {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
