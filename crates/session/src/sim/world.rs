//! A world of hosts with a clock and a chance of its own: tasks run one at a time, in an order that the seed decides,
//! and time passes only when nobody has anything to do.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use foldhash::fast::FixedState;

/// A host's number. Host 0 is nobody's: what drives the others runs there.
pub type HostId = usize;

type Future_ = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

struct World {
    /// Nanoseconds since the world began.
    now: u64,
    numbers: u64,
    timers: BTreeMap<(u64, u64), Timer>,
    tasks: HashMap<u64, Task, FixedState>,
    /// In the order of their numbers and not of their waking: tokio's channels wake by a chance of their own.
    ready: Arc<Mutex<BTreeSet<u64>>>,
    hosts: Vec<Host>,
    /// Whose task runs.
    host: HostId,
    random: Random,
    /// What happened so far in one number: two runs that differ anywhere have different ones.
    trace: u64,
}

#[derive(Default)]
struct Host {
    paused: bool,
    /// Woken while paused.
    parked: Vec<u64>,
    /// When its machine fell asleep, if it sleeps,
    asleep: Option<u64>,
    /// and for how long it slept before, in nanoseconds.
    slept: u64,
    /// Its monotonic clock, which stands still while it sleeps, is this far ahead of the world's, in nanoseconds,
    offset: u64,
    /// and its wall clock so far off, in milliseconds.
    wall: i64,
}

struct Task {
    host: HostId,
    /// Not there while it runs.
    future: Option<Future_>,
    waker: Waker,
}

enum Timer {
    Wake(Waker),
    Act(Box<dyn FnOnce()>),
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.insert(self.id);
    }
}

/// Random numbers by a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x7461_6e64_656d_2173)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

fn with<T>(f: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| f(world.as_mut().expect("a simulation runs on this thread")))
}

/// Runs `main` on host 0 of a new world with so many hosts until it ends, and returns what it returned and the trace.
pub fn run<T: 'static>(
    seed: u64,
    hosts: usize,
    main: impl Future<Output = T> + 'static,
) -> (T, u64) {
    let world = World {
        now: 0,
        numbers: 0,
        timers: BTreeMap::new(),
        tasks: HashMap::with_hasher(FixedState::with_seed(1)),
        ready: Arc::default(),
        hosts: (0..=hosts).map(|_| Host::default()).collect(),
        host: 0,
        random: Random::new(seed),
        trace: 0,
    };
    WORLD.set(Some(world));
    // Also when a task panics: the next world of this thread must be a new one.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            let world = WORLD.take();
            // What tasks do when they are dropped finds no world any more.
            drop(world);
        }
    }
    let end = End;
    with(|world| {
        for host in 1..world.hosts.len() {
            // Far apart, and far from 0: instants of one host mean nothing to another.
            let offset = world.random.next() % 1_000_000_000_000_000;
            world.hosts[host].offset = 1_000_000_000_000_000 + offset;
        }
        world.hosts[0].offset = 1_000_000_000_000_000;
    });
    let result = Rc::new(RefCell::new(None));
    let slot = result.clone();
    spawn_on(0, async move {
        let value = main.await;
        *slot.borrow_mut() = Some(value);
    });
    loop {
        if let Some(value) = result.take() {
            let trace = with(|world| world.trace);
            drop(end);
            return (value, trace);
        }
        assert!(
            step(),
            "the simulation stands still: every task waits for another"
        );
    }
}

/// Runs one task or lets time pass to the next timer; `false` when there is neither.
fn step() -> bool {
    let next = with(World::take_ready);
    let Some((id, mut future, waker)) = next else {
        let timer = with(|world| {
            let ((at, _), timer) = world.timers.pop_first()?;
            world.now = world.now.max(at);
            Some(timer)
        });
        match timer {
            Some(Timer::Wake(waker)) => waker.wake(),
            Some(Timer::Act(act)) => {
                with(|world| world.host = 0);
                act();
            }
            None => return false,
        }
        return true;
    };
    let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
    let over = with(|world| match (poll, world.tasks.get_mut(&id)) {
        (Poll::Pending, Some(task)) => {
            task.future = Some(future);
            None
        }
        // It ended, or its host crashed while it ran.
        (_, task) => {
            let task = task.is_some().then(|| world.tasks.remove(&id));
            Some((future, task))
        }
    });
    drop(over);
    true
}

impl World {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn take_ready(&mut self) -> Option<(u64, Future_, Waker)> {
        loop {
            let id = {
                let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
                if ready.is_empty() {
                    return None;
                }
                let chosen = (self.random.next() % ready.len() as u64) as usize;
                let id = *ready.iter().nth(chosen)?;
                ready.remove(&id);
                id
            };
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            let host = &mut self.hosts[task.host];
            if host.paused {
                host.parked.push(id);
                continue;
            }
            if let Some(future) = task.future.take() {
                self.host = task.host;
                self.trace = mix(self.trace ^ id ^ self.now << 20);
                return Some((id, future, task.waker.clone()));
            }
        }
    }
}

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

/// Starts a task on a host.
pub fn spawn_on(host: HostId, future: impl Future<Output = ()> + 'static) {
    with(|world| {
        let id = world.number();
        let ready = world.ready.clone();
        let waker = Waker::from(Arc::new(TaskWaker { id, ready }));
        let task = Task {
            host,
            future: Some(Box::pin(future)),
            waker: waker.clone(),
        };
        world.tasks.insert(id, task);
        waker.wake();
    });
}

/// Ends every task of a host, as the death of its process does.
pub fn kill(host: HostId) {
    let dead = with(|world| {
        let mut ids: Vec<_> = world
            .tasks
            .iter()
            .filter(|(_, task)| task.host == host)
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        world.hosts[host].parked.clear();
        world.hosts[host].asleep = None;
        world.hosts[host].paused = false;
        ids.iter()
            .filter_map(|id| world.tasks.remove(id))
            .collect::<Vec<_>>()
    });
    // What they do when they are dropped wakes others.
    drop(dead);
}

/// Stops a host's tasks as SIGSTOP does, or lets them go on.
pub fn pause(host: HostId, paused: bool) {
    with(|world| {
        let there = &mut world.hosts[host];
        there.paused = paused;
        if !paused {
            let parked = std::mem::take(&mut there.parked);
            let mut ready = world.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.extend(parked);
        }
    });
}

/// Has a host's machine fall asleep, with its monotonic clock, or wake up.
pub fn suspend(host: HostId, asleep: bool) {
    with(|world| {
        let (now, there) = (world.now, &mut world.hosts[host]);
        if asleep {
            there.asleep.get_or_insert(now);
        } else if let Some(since) = there.asleep.take() {
            there.offset -= now - since;
            there.slept += now - since;
        }
    });
    pause(host, asleep);
}

/// For how long the machine of the host that asks has slept since it was started, in nanoseconds.
pub fn slept() -> u64 {
    with(|world| world.hosts[world.host].slept)
}

pub fn is_paused(host: HostId) -> bool {
    with(|world| world.hosts[host].paused)
}

/// The host whose task runs.
pub fn here() -> HostId {
    with(|world| world.host)
}

/// Nanoseconds since the world began.
pub fn now() -> u64 {
    with(|world| world.now)
}

/// The monotonic clock of the host that asks, in nanoseconds.
pub fn clock() -> u64 {
    with(|world| world.now + world.hosts[world.host].offset)
}

/// The wall clock of the host that asks, in milliseconds.
pub fn wall_clock() -> u64 {
    with(|world| {
        let now = 1_000_000_000_000 + world.now / 1_000_000;
        now.saturating_add_signed(world.hosts[world.host].wall)
    })
}

/// Sets a host's wall clock so many milliseconds off.
pub fn set_wall_clock(host: HostId, off: i64) {
    with(|world| world.hosts[host].wall = off);
}

/// The next random number.
pub fn random() -> u64 {
    with(|world| world.random.next())
}

/// A random number below `limit`.
pub fn below(limit: u64) -> u64 {
    random() % limit.max(1)
}

/// Whether something happens that happens so many times in a thousand.
pub fn chance(of_thousand: u64) -> bool {
    below(1000) < of_thousand
}

/// Has something done in so many nanoseconds, by nobody.
pub fn later(after: u64, act: impl FnOnce() + 'static) {
    with(|world| {
        let key = (world.now + after, world.number());
        world.timers.insert(key, Timer::Act(Box::new(act)));
    });
}

/// A timer of the host that asks, for when its clock shows `at`; `None` when it does so now.
pub fn timer(at: u64, waker: &Waker) -> Option<(u64, u64)> {
    with(|world| {
        let at = at.saturating_sub(world.hosts[world.host].offset);
        if at <= world.now {
            return None;
        }
        let key = (at, world.number());
        world.timers.insert(key, Timer::Wake(waker.clone()));
        Some(key)
    })
}

/// Takes a timer away.
pub fn cancel(key: (u64, u64)) {
    let timer = WORLD
        .try_with(|world| {
            let mut world = world.try_borrow_mut().ok()?;
            world.as_mut()?.timers.remove(&key)
        })
        .ok()
        .flatten();
    drop(timer);
}
