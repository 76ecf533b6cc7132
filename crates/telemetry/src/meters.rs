//! Requests counted and timed by what they concern: a route, a service, a server, a listener.
//!
//! Each worker writes cells of its own, on cache lines of their own, with plain adds; a reader sums them. Whoever counts
//! holds its meter; the registry knows it for only so long. So there are as many as the configuration in effect has
//! routes and servers, whatever clients ask for, and one that a reload leaves alone goes on counting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::histogram::{Histogram, Spread};

/// Adds to a cell that only the caller's worker writes: no locked instruction, no shared cache line.
pub fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
}

/// What belongs to a worker among as many as there are workers, or were when they were made.
pub fn own<T>(all: &[T], worker: usize) -> &T {
    // One beyond the last is rare, and a division is not cheap.
    all.get(worker).unwrap_or_else(|| &all[worker % all.len()])
}

/// A value for each worker, on cache lines of their own. A clone is the same values.
#[derive(Debug)]
pub struct PerWorker<T>(Arc<[Aligned<T>]>);

impl<T> Clone for PerWorker<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Aligned<T>(T);

impl<T: Default> PerWorker<T> {
    /// Values for so many workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Aligned::default()).collect())
    }

    /// The value of one worker.
    pub fn of(&self, worker: usize) -> &T {
        &own(&self.0, worker).0
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|aligned| &aligned.0)
    }
}

impl<T: Default> Default for PerWorker<T> {
    fn default() -> Self {
        Self::new(1)
    }
}

/// The classes of answers, as labels: the last one is of requests whose client was gone before there was an answer.
pub const CODES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// What one worker counted of the answers of a route, a service or a server.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Answers {
    // In this order: with ten thousand routes nearly every answer finds its meter outside the caches, and changes one
    // cache line of it, and the one beside that, instead of four.
    codes: [AtomicU64; CODES.len()],
    bytes: AtomicU64,
    time: Histogram,
    retries: AtomicU64,
}

/// A meter of answers.
pub type Meter = PerWorker<Answers>;

/// Answers, summed over the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// How many of each class of [`CODES`].
    pub codes: [u64; CODES.len()],
    /// How long they took.
    pub time: Spread,
    /// Bytes of them.
    pub bytes: u64,
    /// Tries after the first.
    pub retries: u64,
}

impl Meter {
    /// Counts an answer. `status` is 0 when there was none.
    pub fn answered(&self, worker: usize, status: u16, took: Duration) {
        let mine = self.of(worker);
        let class = match status / 100 {
            class @ 1..=5 => usize::from(class) - 1,
            _ => CODES.len() - 1,
        };
        add(&mine.codes[class], 1);
        mine.time.add(took);
    }

    /// Counts what an answer took of other things.
    pub fn sent(&self, worker: usize, bytes: u64, retries: u32) {
        let mine = self.of(worker);
        add(&mine.bytes, bytes);
        if retries > 0 {
            add(&mine.retries, retries.into());
        }
    }

    /// The sum over all workers.
    pub fn read(&self) -> Answered {
        let mut sum = Answered::default();
        for mine in self.all() {
            for (sum, code) in sum.codes.iter_mut().zip(&mine.codes) {
                *sum += code.load(Relaxed);
            }
            sum.time.add(&mine.time);
            sum.bytes += mine.bytes.load(Relaxed);
            sum.retries += mine.retries.load(Relaxed);
        }
        sum
    }
}

/// What is known of a server beside its answers.
#[derive(Debug, Default)]
pub struct ServerMeter {
    /// Its answers, and how long they took from the try's beginning.
    pub answers: Meter,
    /// From the connection to the first byte of the answer.
    pub first_byte: PerWorker<Histogram>,
}

/// The connections of a listener, as one worker saw them come and go.
#[derive(Debug, Default)]
pub struct Connections {
    accepted: AtomicU64,
    ended: AtomicU64,
}

impl Connections {
    /// So many came.
    pub fn came(&self, n: u64) {
        add(&self.accepted, n);
    }

    /// So many ended.
    pub fn ended(&self, n: u64) {
        add(&self.ended, n);
    }

    /// Those that came are counted elsewhere from now on: so many are open.
    pub fn moved(&self, to: &Self, open: u64) {
        self.ended(open);
        add(&to.ended, open.wrapping_neg());
    }
}

impl PerWorker<Connections> {
    /// Connections accepted, and open now.
    pub fn read(&self) -> (u64, u64) {
        let (mut accepted, mut open) = (0u64, 0u64);
        for mine in self.all() {
            // Read in this order it is never negative.
            let ended = mine.ended.load(Relaxed);
            let came = mine.accepted.load(Relaxed);
            accepted += came;
            open = open.wrapping_add(came.wrapping_sub(ended));
        }
        (accepted, open)
    }
}

/// The queue of a service.
#[derive(Debug, Default)]
pub struct QueueMeter {
    /// How long those waited that got a server.
    pub waited: PerWorker<Histogram>,
    /// Requests that waited for as long as they may.
    pub late: AtomicU64,
    /// Requests that found it full.
    pub full: AtomicU64,
}

/// Two labels' values.
pub type Labels = [Arc<str>; 2];

/// Meters of one kind, by their labels.
#[derive(Debug)]
struct Family<M>(Mutex<BTreeMap<Labels, Weak<M>>>);

impl<M> Default for Family<M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M> Family<M> {
    /// The meter of these labels, which may be counting already.
    fn get(&self, labels: [&str; 2], make: impl FnOnce() -> M) -> Arc<M> {
        let labels = labels.map(Arc::from);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = known.get(&labels).and_then(Weak::upgrade) {
            return meter;
        }
        let meter = Arc::new(make());
        known.insert(labels, Arc::downgrade(&meter));
        meter
    }

    /// Those that somebody counts with.
    fn all(&self) -> Vec<(Labels, Arc<M>)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, meter| meter.strong_count() > 0);
        let alive = known.iter();
        let alive = alive.filter_map(|(labels, meter)| Some((labels.clone(), meter.upgrade()?)));
        alive.collect()
    }
}

/// The meters of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meters(Arc<Families>);

#[derive(Debug)]
struct Families {
    workers: usize,
    routes: Family<Meter>,
    services: Family<Meter>,
    servers: Family<ServerMeter>,
    queues: Family<QueueMeter>,
    listeners: Family<PerWorker<Connections>>,
}

impl Meters {
    /// Meters for so many workers.
    pub fn new(workers: usize) -> Self {
        Self(Arc::new(Families {
            workers,
            routes: Family::default(),
            services: Family::default(),
            servers: Family::default(),
            queues: Family::default(),
            listeners: Family::default(),
        }))
    }

    /// Of the requests that a route of a listener took.
    pub fn route(&self, listener: &str, route: &str) -> Arc<Meter> {
        let make = || Meter::new(self.0.workers);
        self.0.routes.get([listener, route], make)
    }

    /// Of the requests that a service answered.
    pub fn service(&self, service: &str) -> Arc<Meter> {
        let make = || Meter::new(self.0.workers);
        self.0.services.get([service, ""], make)
    }

    /// Of the tries at a server.
    pub fn server(&self, service: &str, server: &str) -> Arc<ServerMeter> {
        self.0.servers.get([service, server], || ServerMeter {
            answers: Meter::new(self.0.workers),
            first_byte: PerWorker::new(self.0.workers),
        })
    }

    /// Of the requests that wait for a server of a service.
    pub fn queue(&self, service: &str) -> Arc<QueueMeter> {
        self.0.queues.get([service, ""], || QueueMeter {
            waited: PerWorker::new(self.0.workers),
            ..QueueMeter::default()
        })
    }

    /// Of a listener's connections.
    pub fn listener(&self, listener: &str) -> Arc<PerWorker<Connections>> {
        let make = || PerWorker::new(self.0.workers);
        self.0.listeners.get([listener, ""], make)
    }

    /// Routes, labelled listener and route.
    pub fn routes(&self) -> Vec<(Labels, Answered)> {
        read(&self.0.routes, Meter::read)
    }

    /// Services.
    pub fn services(&self) -> Vec<(Labels, Answered)> {
        read(&self.0.services, Meter::read)
    }

    /// Servers, labelled service and server, with the time to the first byte.
    pub fn servers(&self) -> Vec<(Labels, (Answered, Spread))> {
        read(&self.0.servers, |meter| {
            (meter.answers.read(), Spread::sum(&meter.first_byte))
        })
    }

    /// The queues of services.
    pub fn queues(&self) -> Vec<(Labels, Arc<QueueMeter>)> {
        self.0.queues.all()
    }

    /// Listeners: connections accepted, and open now.
    pub fn listeners(&self) -> Vec<(Labels, (u64, u64))> {
        read(&self.0.listeners, PerWorker::<Connections>::read)
    }
}

fn read<M, R>(family: &Family<M>, read: impl Fn(&M) -> R) -> Vec<(Labels, R)> {
    let all = family.all().into_iter();
    all.map(|(labels, meter)| (labels, read(&meter))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_the_sum_of_its_workers() {
        let meters = Meters::new(2);
        let meter = meters.route("web", "/api*");
        for (worker, status) in [(0, 200), (1, 204), (1, 503), (0, 0), (1, 999)] {
            meter.answered(worker, status, Duration::from_millis(3));
        }
        meter.sent(0, 10, 1);
        meter.sent(1, 5, 0);
        let [(labels, read)] = &meters.routes()[..] else {
            panic!("one route")
        };
        assert_eq!(labels.each_ref().map(|label| &**label), ["web", "/api*"]);
        assert_eq!(read.codes, [0, 2, 0, 0, 1, 2]);
        assert_eq!((read.time.count(), read.bytes, read.retries), (5, 15, 1));
    }

    #[test]
    fn what_nobody_counts_any_more_is_gone_and_what_goes_on_keeps_its_counts() {
        let meters = Meters::new(1);
        let (kept, gone) = (meters.service("kept"), meters.service("gone"));
        kept.answered(0, 200, Duration::ZERO);
        gone.answered(0, 200, Duration::ZERO);
        let again = meters.service("kept");
        drop((kept, gone));
        let names: Vec<_> = meters.services();
        assert_eq!(names.len(), 1);
        assert_eq!((&*names[0].0[0], names[0].1.codes[1]), ("kept", 1));
        drop(again);
        assert_eq!(meters.services(), []);
    }

    #[test]
    fn open_connections_follow_their_listener_when_it_is_renamed() {
        let meters = Meters::new(2);
        let (old, new) = (meters.listener("old"), meters.listener("new"));
        old.of(0).came(3);
        old.of(1).came(1);
        old.of(0).ended(1);
        assert_eq!(old.read(), (4, 3));
        old.of(0).moved(new.of(0), 2);
        assert_eq!((old.read(), new.read()), ((4, 1), (0, 2)));
        new.of(0).ended(2);
        assert_eq!(new.read(), (0, 0));
    }
}
