//! How many connections a listener lets in: in all, and from one source.
//!
//! What is one too many is refused; or, where the listener says so, it is left in the kernel's queue until there is a
//! place: each worker looks whether somebody asks at its own socket, takes a place, and only then the connection. Places
//! are given in the order in which workers asked for them.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tandem_model::{Beyond, Limits};
use tandem_net::Moment;
use tokio::sync::Notify;

use crate::policy::rate::Rate;
use crate::source::network;

/// The connections of a listener, on all workers. Goes on from one configuration of it to the next.
///
/// Counted once a connection, and only where there is a limit: no request touches it.
#[derive(Debug, Default)]
pub struct Admission {
    all: AtomicU32,
    /// Workers that wait for a place, since somebody asks at their sockets.
    waiting: AtomicU32,
    /// Connections that end to make room.
    leaving: AtomicU32,
    /// Told when there may be a place.
    freed: Notify,
    /// Told when a place is waited for.
    pressed: Notify,
    sources: Mutex<HashMap<IpAddr, u32>>,
    /// How often each source connects: what was said of it, and who counts. Made when it is first asked for.
    rate: Mutex<Option<(tandem_model::Rate, Arc<Rate>)>>,
}

/// What keeps a connection out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The listener has as many as it may.
    Full,
    /// Its source has as many as it may.
    Source,
}

/// A connection that was let in; it counts as long as this lives.
pub(super) struct Admitted {
    admission: Arc<Admission>,
    all: bool,
    source: Option<IpAddr>,
    leaving: Cell<bool>,
}

/// A worker that waits for a place.
struct Waiting<'a>(&'a Admission);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// How many may be in, where others wait.
pub(super) fn waits(limits: &Limits) -> Option<u32> {
    limits.connections.filter(|_| limits.beyond == Beyond::Wait)
}

impl Admission {
    /// Waits for a place among `most`. `None` when the configuration has changed, or the place went to another; then it is
    /// to be asked for again.
    pub(super) async fn place(self: &Arc<Self>, most: u32) -> Option<Admitted> {
        // Whoever comes when others wait waits behind them.
        if self.waiting.load(SeqCst) == 0 && self.take(most) {
            return Some(self.admitted(true));
        }
        self.waiting.fetch_add(1, SeqCst);
        let waiting = Waiting(self);
        let mut freed = pin!(self.freed.notified());
        freed.as_mut().enable();
        // Those that end from now on tell; one may have ended before.
        if !self.take(most) {
            self.pressed.notify_waiters();
            freed.await;
            if !self.take(most) {
                return None;
            }
        }
        drop(waiting);
        Some(self.admitted(true))
    }

    fn take(&self, most: u32) -> bool {
        let next = |all: u32| (all < most).then_some(all + 1);
        self.all.fetch_update(SeqCst, SeqCst, next).is_ok()
    }

    fn admitted(self: &Arc<Self>, all: bool) -> Admitted {
        Admitted {
            admission: self.clone(),
            all,
            source: None,
            leaving: Cell::new(false),
        }
    }

    /// Has those who wait look at the configuration again.
    pub fn changed(&self) {
        self.freed.notify_waiters();
        self.pressed.notify_waiters();
    }

    /// Waits until a place is waited for, somewhere, or the configuration has changed.
    pub(super) async fn pressed(&self) {
        self.pressed.notified().await;
    }

    /// Lets a connection in, which may have its place already. `source` is none of those that stand for many.
    pub(super) fn admit(
        self: &Arc<Self>,
        limits: &Limits,
        source: Option<IpAddr>,
        placed: Option<Admitted>,
    ) -> Result<Admitted, Denied> {
        let mut admitted = placed.unwrap_or_else(|| self.admitted(false));
        if let Some(most) = limits.connections.filter(|_| !admitted.all) {
            admitted.all = true;
            // One that came as the limit did is let in: it was not left to wait.
            if self.all.fetch_add(1, SeqCst) >= most && limits.beyond == Beyond::Refuse {
                return Err(Denied::Full);
            }
        }
        if let (Some(said), Some(source)) = (limits.per_source_rate, source)
            && self.rate(said).take(source, Moment::now()).is_err()
        {
            return Err(Denied::Source);
        }
        if let (Some(most), Some(source)) = (limits.per_source, source) {
            let source = network(source);
            let mut sources = self.sources();
            let count = sources.entry(source).or_default();
            if *count >= most {
                return Err(Denied::Source);
            }
            *count += 1;
            admitted.source = Some(source);
        }
        Ok(admitted)
    }

    /// Who counts by this limit; another limit begins anew.
    fn rate(&self, said: tandem_model::Rate) -> Arc<Rate> {
        let mut known = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((same, rate)) if *same == said => rate.clone(),
            _ => {
                let rate = Arc::new(Rate::new(&said, &Arc::from("")));
                *known = Some((said, rate.clone()));
                rate
            }
        }
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Whether it is to end, as soon as it may, for one that waits. As many do as are waited for.
    pub fn makes_room(&self) -> bool {
        let Admission {
            waiting, leaving, ..
        } = &*self.admission;
        // Nearly always nobody waits, and this is asked for each answer.
        if self.leaving.get() || waiting.load(Relaxed) == 0 {
            return self.leaving.get();
        }
        let next = |leaves: u32| (leaves < waiting.load(SeqCst)).then_some(leaves + 1);
        let leaves = self.all && leaving.fetch_update(SeqCst, SeqCst, next).is_ok();
        self.leaving.set(leaves);
        leaves
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.leaving.get() {
            self.admission.leaving.fetch_sub(1, SeqCst);
        }
        if self.all {
            self.admission.all.fetch_sub(1, SeqCst);
            if self.admission.waiting.load(SeqCst) > 0 {
                self.admission.freed.notify_one();
            }
        }
        if let Some(source) = self.source {
            let mut sources = self.admission.sources();
            if let Some(count) = sources.get_mut(&source) {
                *count -= 1;
                if *count == 0 {
                    sources.remove(&source);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_source_connects_so_often_however_soon_its_connections_end() {
        let limits = Limits {
            per_source_rate: Some("2/h".parse().unwrap()),
            ..Limits::default()
        };
        let admission = Arc::new(Admission::default());
        let admit = |limits: &Limits, last| {
            let source = Some(IpAddr::from([192, 0, 2, last]));
            admission.admit(limits, source, None).map(drop)
        };
        assert_eq!(admit(&limits, 1), Ok(()));
        assert_eq!(admit(&limits, 1), Ok(()));
        assert_eq!(admit(&limits, 1), Err(Denied::Source));
        assert_eq!(admit(&limits, 2), Ok(()), "another one");
        let more = Limits {
            per_source_rate: Some("3/h".parse().unwrap()),
            ..Limits::default()
        };
        assert_eq!(admit(&more, 1), Ok(()), "by the new limit");
    }

    #[test]
    fn what_is_let_in_counts_as_long_as_it_lasts() {
        let limits = Limits {
            connections: Some(3),
            per_source: Some(2),
            ..Limits::default()
        };
        let admission = Arc::new(Admission::default());
        let admit = |source: &str| admission.admit(&limits, Some(source.parse().unwrap()), None);
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2:1").unwrap();
        assert_eq!(admit("2001:db8::3").err(), Some(Denied::Source));
        let _other = admit("192.0.2.1").unwrap();
        assert_eq!(admit("::ffff:192.0.2.1").err(), Some(Denied::Full));
        drop(first);
        let fourth = admit("::ffff:192.0.2.1").unwrap();
        assert_eq!(admission.sources().len(), 2);
        drop(fourth);
        // Who stands for many is not counted among sources.
        let _node = admission.admit(&limits, None, None).unwrap();
        assert_eq!(admission.all.load(Relaxed), 3);
    }
    #[tokio::test]
    async fn places_are_waited_for_in_order_and_those_in_make_room_for_as_many_as_wait() {
        let admission = Arc::new(Admission::default());
        let (first, second) = (admission.place(2).await, admission.place(2).await);
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(!first.makes_room());
        let mut third = Box::pin(admission.place(2));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(first.makes_room() && first.makes_room() && !second.makes_room());
        let mut fourth = Box::pin(admission.place(2));
        assert!(fourth.as_mut().now_or_never().is_none());
        drop(first);
        assert!(fourth.as_mut().now_or_never().is_none());
        let third = third.await.unwrap();
        // One that no longer waits passes its turn on.
        drop(second);
        drop(fourth);
        let fifth = admission.place(2).await.unwrap();
        assert_eq!(admission.waiting.load(SeqCst), 0);
        assert_eq!(admission.leaving.load(SeqCst), 0);
        drop((third, fifth));
        assert_eq!(admission.all.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn a_changed_configuration_wakes_those_who_wait() {
        let admission = Arc::new(Admission::default());
        let (_first, _second) = (admission.place(2).await, admission.place(2).await);
        let mut third = Box::pin(admission.place(2));
        assert!(third.as_mut().now_or_never().is_none());
        admission.changed();
        assert!(third.await.is_none());
        assert!(admission.place(3).await.is_some());
    }
}
