//! Which nodes are connected, and whether two processes go by one name.
//!
//! A machine that was cloned, or a backup that is restored on a second one, is a node twice. Each start of a node is another
//! incarnation, said in the hello. One that comes after another is a restart, most likely: that the former still runs is proved
//! by nothing but a hello of it whose challenge was made after the later one had been here. So when a second one comes while
//! connections of the first are open, these are closed: who runs opens them anew. A process that has ended, whatever of it is
//! still on its way, cannot answer a challenge, so that no restart is taken for a second process.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::incarnation::Incarnation;

/// So long the one that was here has to come again before another one has its place.
const GRACE: Duration = Duration::from_secs(1);
/// Incarnations that are known of a name.
const MOST: usize = 16;
/// Names that are known; those of a file are far fewer.
const MOST_NAMES: usize = 4_096;

/// Everybody. Cheap to clone.
#[derive(Clone, Default)]
pub struct Presence(Arc<Mutex<HashMap<String, Node>>>);

/// What is known of a name.
#[derive(Default)]
struct Node {
    /// Whose name it is.
    current: Option<(Incarnation, IpAddr)>,
    /// Whose it was, and until when.
    former: VecDeque<(Incarnation, Instant)>,
    /// Those that came while another was here.
    refused: VecDeque<Incarnation>,
    /// One that came, from where and when, and waits for whether the current one comes again.
    newcomer: Option<(Incarnation, IpAddr, Instant)>,
    open: HashMap<u64, (Incarnation, Option<oneshot::Sender<()>>)>,
    next: u64,
}

/// A connection that is open. It is not any more when this is dropped.
pub struct Present {
    presence: Presence,
    name: String,
    number: u64,
    dismissed: oneshot::Receiver<()>,
}

/// What comes of a hello.
pub enum Verdict {
    /// It is who it says.
    Welcome(Option<Present>),
    /// That is not known yet: it may try again.
    Later,
    /// Another one goes by this name, from there.
    Refused(IpAddr),
}

/// A name that two processes go by.
#[derive(Debug, PartialEq, Eq)]
pub struct Twice {
    /// Where the one is that was here before,
    pub first: IpAddr,
    /// and the other.
    pub second: IpAddr,
}

impl Presence {
    /// One that proved to be `name` just now, by a challenge that was made at `challenged`. Whether it may stay, and whether that
    /// showed that the name is used twice.
    pub fn enter(
        &self,
        name: &str,
        (incarnation, address): (Incarnation, IpAddr),
        challenged: Instant,
        now: Instant,
    ) -> (Verdict, Option<Twice>) {
        if incarnation == Incarnation::NONE {
            return (Verdict::Welcome(None), None);
        }
        let mut nodes = lock(&self.0);
        if nodes.len() >= MOST_NAMES && !nodes.contains_key(name) {
            nodes.retain(|_, node| !node.open.is_empty());
        }
        let node = nodes.entry(name.to_owned()).or_default();
        let (is_welcome, twice) = node.judge(incarnation, address, challenged, now);
        let verdict = match is_welcome {
            Some(true) => {
                let (tell, dismissed) = oneshot::channel();
                let number = node.next;
                node.next += 1;
                node.open.insert(number, (incarnation, Some(tell)));
                Verdict::Welcome(Some(Present {
                    presence: self.clone(),
                    name: name.into(),
                    number,
                    dismissed,
                }))
            }
            Some(false) => Verdict::Refused(node.current.map_or(address, |(_, at)| at)),
            None => Verdict::Later,
        };
        (verdict, twice)
    }
}

impl Node {
    /// Whether one that answered may stay, if that is known.
    fn judge(
        &mut self,
        incarnation: Incarnation,
        address: IpAddr,
        challenged: Instant,
        now: Instant,
    ) -> (Option<bool>, Option<Twice>) {
        let Some((current, place)) = self.current else {
            self.current = Some((incarnation, address));
            return (Some(true), None);
        };
        if incarnation == current {
            self.current = Some((incarnation, address));
            // It has answered since the newcomer was here.
            let newcomer = self.newcomer.take_if(|(.., at)| *at <= challenged);
            let twice = newcomer.map(|(newcomer, second, _)| {
                self.refuse(newcomer);
                let first = address;
                Twice { first, second }
            });
            return (Some(true), twice);
        }
        let was = self.former.iter().position(|(it, _)| *it == incarnation);
        if let Some((_, until)) = was.and_then(|at| self.former.get(at)) {
            if *until > challenged {
                return (None, None);
            }
            // It has answered since the current one was here.
            self.former.retain(|(it, _)| *it != incarnation);
            self.refuse(current);
            self.current = Some((incarnation, address));
            let (first, second) = (address, place);
            return (Some(true), Some(Twice { first, second }));
        }
        if self.refused.contains(&incarnation) {
            if self.is_open(current) {
                return (Some(false), None);
            }
            // The other one has ended, as it seems.
            self.replace(incarnation, address, now);
            return (Some(true), None);
        }
        match self.newcomer {
            Some((it, _, at)) if it == incarnation && now - at >= GRACE => {}
            Some((it, ..)) if it == incarnation => return (None, None),
            _ if self.is_open(current) => {
                self.newcomer = Some((incarnation, address, now));
                self.dismiss(current);
                return (None, None);
            }
            _ => {}
        }
        self.replace(incarnation, address, now);
        (Some(true), None)
    }

    /// Another one has the name from now on.
    fn replace(&mut self, incarnation: Incarnation, address: IpAddr, now: Instant) {
        if let Some((former, _)) = self.current.replace((incarnation, address)) {
            self.dismiss(former);
            push(&mut self.former, (former, now));
        }
        self.refused.retain(|it| *it != incarnation);
        self.newcomer = None;
    }

    /// This one came while another was here.
    fn refuse(&mut self, incarnation: Incarnation) {
        self.dismiss(incarnation);
        if !self.refused.contains(&incarnation) {
            push(&mut self.refused, incarnation);
        }
    }

    fn is_open(&self, incarnation: Incarnation) -> bool {
        self.open.values().any(|(it, _)| *it == incarnation)
    }

    /// Has its connections closed.
    fn dismiss(&mut self, incarnation: Incarnation) {
        let its = self.open.values_mut().filter(|(it, _)| *it == incarnation);
        for tell in its.filter_map(|(_, tell)| tell.take()) {
            // It may have ended just now.
            let _ = tell.send(());
        }
    }
}

/// Adds one, and drops the oldest beyond [`MOST`].
fn push<T>(all: &mut VecDeque<T>, one: T) {
    all.push_back(one);
    if all.len() > MOST {
        all.pop_front();
    }
}

impl Present {
    /// Waits until this connection is to be closed, since its node may not be who it says.
    pub async fn dismissed(&mut self) {
        // Told, or with all that is known: then nobody tells.
        if (&mut self.dismissed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        if let Some(node) = lock(&self.presence.0).get_mut(&self.name) {
            node.open.remove(&self.number);
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// One node's name as a peer sees it, by a clock of its own.
    struct Peer(Presence, Cell<Instant>);

    fn old() -> Incarnation {
        Incarnation::of(1)
    }

    fn new() -> Incarnation {
        Incarnation::of(2)
    }

    fn at(who: Incarnation) -> IpAddr {
        [10, 0, 0, who.number() as u8].into()
    }

    impl Peer {
        /// A hello of this one, challenged so long ago; its connection if it is welcome, `None` if it is refused.
        fn pass(&self, time: Duration) {
            self.1.set(self.1.get() + time);
        }

        fn hello(&self, who: Incarnation, ago: Duration) -> (Verdict, Option<Twice>) {
            let now = self.1.get();
            self.0.enter("a", (who, at(who)), now - ago, now)
        }

        #[track_caller]
        fn is_welcome(&self, who: Incarnation) -> Present {
            match self.hello(who, Duration::ZERO) {
                (Verdict::Welcome(Some(present)), None) => present,
                (_, twice) => panic!("not welcome: {twice:?}"),
            }
        }

        #[track_caller]
        fn is_told_to_wait(&self, who: Incarnation) {
            let (verdict, twice) = self.hello(who, Duration::ZERO);
            assert!(matches!(verdict, Verdict::Later));
            assert_eq!(twice, None);
        }

        #[track_caller]
        fn is_refused(&self, who: Incarnation) {
            let (verdict, twice) = self.hello(who, Duration::ZERO);
            assert!(matches!(verdict, Verdict::Refused(_)));
            assert_eq!(twice, None);
        }

        /// The one is welcome, and it is known now that the other one runs, too.
        #[track_caller]
        fn shows(&self, first: Incarnation, second: Incarnation) -> Present {
            let (verdict, twice) = self.hello(first, Duration::ZERO);
            let (first, second) = (at(first), at(second));
            assert_eq!(twice, Some(Twice { first, second }));
            let Verdict::Welcome(Some(present)) = verdict else {
                panic!("not welcome");
            };
            present
        }
    }

    fn peer() -> Peer {
        Peer(Presence::default(), Cell::new(Instant::now() + GRACE))
    }

    fn is_dismissed(present: &mut Present) -> bool {
        present.dismissed.try_recv().is_ok()
    }

    #[test]
    fn restarts_and_connections_that_come_again_are_no_second_process() {
        let peer = peer();
        let connections = [peer.is_welcome(old()), peer.is_welcome(old())];
        drop(connections);
        drop(peer.is_welcome(old()));
        // All of them have ended when the next process comes, and the one after that.
        for number in 2..50 {
            drop(peer.is_welcome(Incarnation::of(number)));
        }
    }

    #[test]
    fn a_machine_that_lost_its_power_and_comes_back_waits_a_moment_for_who_it_was() {
        let peer = peer();
        let mut left = peer.is_welcome(old());
        peer.is_told_to_wait(new());
        assert!(is_dismissed(&mut left));
        peer.pass(GRACE / 2);
        peer.is_told_to_wait(new());
        peer.pass(GRACE / 2);
        let _new = peer.is_welcome(new());
        // What the former had sent before it ended is late, and shows nothing.
        let (verdict, twice) = peer.hello(old(), GRACE);
        assert!(matches!(verdict, Verdict::Later));
        assert_eq!(twice, None);
    }

    #[test]
    fn of_two_that_run_the_later_one_is_refused_until_the_former_has_ended() {
        let peer = peer();
        let mut first = peer.is_welcome(old());
        peer.is_told_to_wait(new());
        assert!(is_dismissed(&mut first));
        drop(first);
        peer.pass(GRACE / 2);
        let again = peer.shows(old(), new());
        for _ in 0..5 {
            peer.pass(GRACE);
            peer.is_refused(new());
            // And the former is not disturbed any more.
            let _another = peer.is_welcome(old());
        }
        drop(again);
        let _new = peer.is_welcome(new());
    }

    #[test]
    fn a_former_one_that_was_silent_for_long_shows_it_when_it_comes_again() {
        let peer = peer();
        drop(peer.is_welcome(old()));
        let mut later = peer.is_welcome(new());
        peer.pass(GRACE * 100);
        let _old = peer.shows(old(), new());
        assert!(is_dismissed(&mut later));
        peer.is_refused(new());
    }

    #[test]
    fn who_says_of_no_incarnation_is_not_told_apart() {
        let peer = peer();
        let _old = peer.is_welcome(old());
        let (verdict, twice) = peer.hello(Incarnation::NONE, Duration::ZERO);
        assert!(matches!(verdict, Verdict::Welcome(None)));
        assert_eq!(twice, None);
        let _still = peer.is_welcome(old());
    }
}
