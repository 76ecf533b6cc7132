//! The engine: one per worker. It owns the worker's connections, buffers and idle upstream connections, and carries
//! out what handlers plan.
//!
//! The way of a request: [`opening`] takes what comes before the first, [`connection`] (or [`http2`], for a stream of it) waits,
//! reads and parses the head; the listener's handler plans; [`reply`] sends
//! answers from memory and files, [`authorize`] asks whether the request may pass, [`forward`] tries servers, [`exchange`] moves one request ([`upload`]) and its
//! answer ([`download`]) between client and server while [`gone`] watches the client, [`tunnel`] what follows an upgrade; [`record`] logs and counts. Connections of
//! listeners in TCP mode are passed on by [`tcp`]. Where bytes come in streams and nobody reads them, [`stream`] has the kernel move them.

mod admission;
mod authorize;
mod body;
mod buffers;
mod client;
mod clock;
mod connection;
mod disk;
mod download;
mod exchange;
mod forward;
mod gone;
mod hand_over;
mod held;
mod http2;
mod meters;
mod opening;
mod pool;
mod record;
mod reply;
mod spare;
mod stream;
mod tcp;
mod tunnel;
mod upload;
mod waiting;
mod whole;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use tandem_model::{AccessFormat, Limits, Timeouts};
use tandem_net::{Accepted, Acceptor, ClientRule, ServerTls};
use tandem_telemetry::meters::Connections;
use tandem_telemetry::{AccessLog, Telemetry, WorkerCounters, Written};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};

pub use admission::Admission;
use admission::Admitted;
pub use meters::ListenerMeters;
pub(crate) use pool::open;
pub(crate) use reply::reason;

use crate::Handler;
use crate::policy::ErrorPages;

/// Between two rounds of flushing logs and closing old idle connections.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// What a listener does: a snapshot that is never changed, only replaced. A request is carried out by the one it began
/// with.
pub struct ListenerConfig {
    /// The listener's name, for events.
    pub name: Arc<str>,
    /// Who answers.
    pub handler: Arc<dyn Handler>,
    /// Time limits towards clients.
    pub timeouts: Timeouts,
    /// Who the client is.
    pub rule: ClientRule,
    /// Connections begin with a PROXY header; those of strangers are closed.
    pub proxy_protocol: bool,
    /// Speak TLS. New connections use what is here when they are taken.
    pub tls: Option<Arc<ServerTls>>,
    /// Speak HTTP/2 too: with TLS, to clients that choose it (ALPN); without, to those that begin with it.
    pub http2: bool,
    /// How much a client may ask for.
    pub limits: Limits,
    /// The connections that it has, for those limits.
    pub admission: Arc<Admission>,
    /// This is the door of a service for the file's own listeners: nodes are told why a try failed.
    pub internal: bool,
    /// Servers may hand requests over: an answer that names a path is what the handler has there.
    pub hands_over: bool,
    /// Pages of errors, where routes have none of their own.
    pub errors: Option<Arc<ErrorPages>>,
    /// The access log's file.
    pub log: Option<PathBuf>,
    /// Its lines.
    pub log_format: AccessFormat,
    /// Requests get an id: servers are told it, and the access log has it.
    pub request_id: bool,
    /// What is counted of it, and with what.
    pub meters: ListenerMeters,
}

/// The engine of one worker. Made and used on the worker's own thread; clones are the same engine.
#[derive(Clone)]
pub struct Engine(Rc<Shared>);

/// A socket that is being listened on by one engine. Dropping it changes nothing.
pub struct Listening {
    door: Rc<Door>,
    shared: Rc<Shared>,
    accepting: [AbortHandle; 2],
    address: Option<SocketAddr>,
}

/// What the connections of a worker share.
struct Shared {
    worker: usize,
    telemetry: Telemetry,
    most: usize,
    buffers: Rc<buffers::Buffers>,
    pool: pool::Pool,
    date: clock::Date,
    warm: RefCell<disk::Warm>,
    /// Files that could not be sent as was promised.
    broken: opening::Failed,
    /// Servers with which TLS did not come about.
    unsure: opening::Failed,
    /// Requests of which nobody could say whether they may pass.
    undecided: opening::Failed,
    logs: RefCell<HashMap<PathBuf, AccessLog>>,
    draining: Cell<Draining>,
    /// How to wake each open connection: used to close idle ones.
    open: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    /// Of those, the ones that hold the state of their last request for the next one.
    expecting: Cell<usize>,
    /// Told whenever a connection ends.
    ended: Notify,
    accepting: RefCell<Vec<AbortHandle>>,
}

/// Which connections are closed since the engine ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Draining {
    /// None: it does not end.
    #[default]
    No,
    /// Those on which nothing was asked, and the others after their answer.
    Idle,
    /// Each after an answer.
    Answered,
}

/// What the connections of one listening socket share.
struct Door {
    /// As it is now; whether it is another one costs a look.
    config: RefCell<Cache<Arc<ArcSwap<ListenerConfig>>, Arc<ListenerConfig>>>,
    seen: RefCell<Rc<Snapshot>>,
    /// Of its socket; 0 where that has none.
    port: u16,
    closed: Cell<bool>,
    /// Connections that came by it and are open.
    open: Cell<u64>,
    /// Of those that have places others may wait for, the ones that are kept and on which nothing is asked.
    kept: Cell<u32>,
    /// PROXY headers that were not there, or not believed.
    headers: opening::Failed,
    /// TLS handshakes that failed.
    handshakes: opening::Failed,
    /// HTTP/2 connections that were ended for what they sent.
    floods: opening::Failed,
}

/// A configuration with what this worker opened for it.
struct Snapshot {
    config: Arc<ListenerConfig>,
    log: Option<AccessLog>,
}

impl Engine {
    /// The engine of worker `worker`, with at most `most` connections from clients at once. Must be called within the
    /// worker's runtime.
    pub fn new(worker: usize, most: usize, telemetry: Telemetry) -> Self {
        let shared = Rc::new(Shared {
            worker,
            telemetry,
            most: most.max(1),
            buffers: Rc::default(),
            pool: pool::Pool::default(),
            date: clock::Date::default(),
            warm: RefCell::default(),
            broken: opening::Failed::default(),
            unsure: opening::Failed::default(),
            undecided: opening::Failed::default(),
            logs: RefCell::default(),
            draining: Cell::default(),
            open: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            expecting: Cell::new(0),
            ended: Notify::new(),
            accepting: RefCell::default(),
        });
        spawn_local(housekeeping(Rc::downgrade(&shared)));
        Self(shared)
    }

    /// Serves a listening, non-blocking socket (see [`tandem_net::listen::bind`]). `config` may be replaced at any time.
    ///
    /// # Errors
    /// When the event loop cannot watch the socket.
    pub fn listen(
        &self,
        socket: OwnedFd,
        config: Arc<ArcSwap<ListenerConfig>>,
    ) -> io::Result<Listening> {
        let shared = self.0.clone();
        let acceptor = Acceptor::new(socket)?;
        let address = acceptor.address();
        let seen = RefCell::new(Rc::new(shared.snapshot(config.load_full())));
        let door = Rc::new(Door {
            config: RefCell::new(Cache::new(config)),
            seen,
            port: address.map_or(0, |address| address.port()),
            closed: Cell::new(false),
            open: Cell::new(0),
            kept: Cell::new(0),
            headers: opening::Failed::default(),
            handshakes: opening::Failed::default(),
            floods: opening::Failed::default(),
        });
        let task = spawn_local(accept(shared.clone(), door.clone(), acceptor));
        let pressed = spawn_local(pressed(Rc::downgrade(&shared), Rc::downgrade(&door)));
        let accepting = [task.abort_handle(), pressed.abort_handle()];
        shared.accepting.borrow_mut().extend(accepting.clone());
        Ok(Listening {
            door,
            shared,
            accepting,
            address,
        })
    }

    /// Ends in order: takes no more connections, closes idle ones, lets requests in flight finish for at most `within`.
    /// Returns how many connections were left then; they are cut off when the worker ends.
    pub async fn drain(&self, within: Duration) -> usize {
        self.end(Draining::Idle, within).await
    }

    /// As [`drain`](Self::drain), for a worker whose place another process takes: idle connections are not closed but
    /// answered once more, since their clients may be about to ask.
    pub async fn retire(&self, within: Duration) -> usize {
        self.end(Draining::Answered, within).await
    }

    async fn end(&self, how: Draining, within: Duration) -> usize {
        let shared = &self.0;
        shared.draining.set(how);
        for accepting in shared.accepting.borrow_mut().drain(..) {
            accepting.abort();
        }
        shared.wake_all();
        let empty = async {
            while shared.count.get() > 0 {
                shared.ended.notified().await;
            }
        };
        let _ = tokio::time::timeout(within, empty).await;
        shared.flush_logs();
        shared.count.get()
    }

    /// Opens every access log anew, as after a rotation.
    ///
    /// # Errors
    /// The first file that cannot be opened, and why; that log goes on in its old file.
    pub fn reopen_logs(&self) -> Result<(), (PathBuf, io::Error)> {
        let mut result = Ok(());
        for (path, log) in &*self.0.logs.borrow() {
            if let Err(e) = log.reopen() {
                result = result.and(Err((path.clone(), e)));
            }
        }
        result
    }

    /// Connections from clients that are open now.
    pub fn connections(&self) -> usize {
        self.0.count.get()
    }
}

impl Listening {
    /// Where it listens; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Takes no more connections here. Idle ones are closed, requests in flight finish.
    pub fn close(&self) {
        for task in &self.accepting {
            task.abort();
        }
        self.door.closed.set(true);
        self.shared.wake_all();
    }
}

impl Shared {
    fn counters(&self) -> &WorkerCounters {
        self.telemetry.counters.worker(self.worker)
    }

    fn wake_all(&self) {
        for waker in self.open.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Writes what the access logs have gathered. Requests go on when a disk is full; that it is, is said once.
    fn flush_logs(&self) {
        for (path, log) in &*self.logs.borrow() {
            let events = &self.telemetry.events;
            let subject = || format!("access log {}", path.display());
            match log.flush() {
                Written::All => {}
                Written::Failing(why) => events.error(
                    subject(),
                    format!(
                        "worker {} cannot write to it ({why}): requests go on and are not logged until it has room",
                        self.worker
                    ),
                ),
                Written::Again(lost) => events.info(
                    subject(),
                    format!("worker {} writes to it again; {lost} bytes were lost", self.worker),
                ),
            }
        }
    }

    /// Opens what a configuration needs on this worker.
    fn snapshot(&self, config: Arc<ListenerConfig>) -> Snapshot {
        let log = config.log.as_ref().and_then(|path| {
            let mut logs = self.logs.borrow_mut();
            if let Some(log) = logs.get(path) {
                return Some(log.clone());
            }
            match AccessLog::open(path) {
                Ok(log) => Some(logs.entry(path.clone()).or_insert(log).clone()),
                Err(e) => {
                    self.telemetry.events.error(
                        format!("listener {}", config.name),
                        format!(
                            "the access log {} cannot be opened ({e}): requests are not logged",
                            path.display()
                        ),
                    );
                    None
                }
            }
        });
        Snapshot { config, log }
    }
}

impl Door {
    /// Whom events of it are about.
    fn subject(&self) -> String {
        format!("listener {}", self.seen.borrow().config.name)
    }

    /// The configuration as it is now. Costs no write to memory that other workers read.
    fn snapshot(&self, shared: &Shared) -> Rc<Snapshot> {
        let mut config = self.config.borrow_mut();
        let current = config.load();
        let mut seen = self.seen.borrow_mut();
        if !Arc::ptr_eq(current, &seen.config) {
            let next = Rc::new(shared.snapshot(current.clone()));
            let (from, to) = (&seen.config.meters, &next.config.meters);
            if !Arc::ptr_eq(&from.connections, &to.connections) {
                // The listener has another name.
                let from = from.connections.of(shared.worker);
                from.moved(to.connections.of(shared.worker), self.open.get());
            }
            *seen = next;
        }
        seen.clone()
    }

    /// What this worker counts its connections with.
    fn connections(&self, shared: &Shared, count: impl FnOnce(&Connections)) {
        let seen = self.seen.borrow();
        count(seen.config.meters.connections.of(shared.worker));
    }
}

/// A connection's place among the open ones.
struct Place {
    shared: Rc<Shared>,
    index: usize,
}

impl Place {
    fn new(shared: &Rc<Shared>, waker: Waker) -> Self {
        let index = match shared.free.borrow_mut().pop() {
            Some(index) => {
                shared.open.borrow_mut()[index] = Some(waker);
                index
            }
            None => {
                let mut open = shared.open.borrow_mut();
                open.push(Some(waker));
                open.len() - 1
            }
        };
        Self {
            shared: shared.clone(),
            index,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open.borrow_mut()[self.index] = None;
        self.shared.free.borrow_mut().push(self.index);
    }
}

/// Counts a connection from when it was taken to its end, however it ends.
struct Counted {
    shared: Rc<Shared>,
    door: Rc<Door>,
}

impl Counted {
    fn new(shared: &Rc<Shared>, door: &Rc<Door>) -> Self {
        shared.count.set(shared.count.get() + 1);
        shared.counters().accepted.fetch_add(1, Relaxed);
        shared.counters().open.fetch_add(1, Relaxed);
        door.open.set(door.open.get() + 1);
        door.connections(shared, |mine| mine.came(1));
        Self {
            shared: shared.clone(),
            door: door.clone(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self { shared, door } = self;
        door.open.set(door.open.get() - 1);
        door.connections(shared, |mine| mine.ended(1));
        shared.count.set(shared.count.get() - 1);
        shared.counters().open.fetch_sub(1, Relaxed);
        if std::thread::panicking() {
            shared.counters().panics.fetch_add(1, Relaxed);
        }
        shared.ended.notify_waiters();
        shared.ended.notify_one();
    }
}

async fn accept(shared: Rc<Shared>, door: Rc<Door>, acceptor: Acceptor) {
    let mut told = false;
    loop {
        while shared.count.get() >= shared.most {
            shared.ended.notified().await;
        }
        let starved = |e: io::Error| {
            // Said once until it works again: it may happen fifty times a second.
            if !std::mem::replace(&mut told, true) {
                shared.telemetry.events.error(
                    door.subject(),
                    format!("connections wait to be taken: {e}; raise the descriptor limit"),
                );
            }
        };
        let taken = match admission::waits(&door.snapshot(&shared).config.limits) {
            None => acceptor.accept(starved).await.map(|one| Some((one, None))),
            Some(_) => one_with_a_place(&shared, &door, &acceptor, starved).await,
        };
        match taken {
            Ok(Some((accepted, admitted))) => {
                told = false;
                let door = door.clone();
                let conn = connection::Conn::new(&shared, door, accepted, admitted);
                spawn_local(connection::run(conn));
            }
            Ok(None) => {}
            Err(e) => {
                shared.telemetry.events.error(
                    door.subject(),
                    format!("it no longer takes connections: {e}"),
                );
                return;
            }
        }
    }
}

/// The next connection of a listener that lets connections wait, once it has a place. `None` when it has gone meanwhile:
/// its place is not kept for the next, which may be long in coming.
async fn one_with_a_place(
    shared: &Rc<Shared>,
    door: &Door,
    acceptor: &Acceptor,
    starved: impl FnMut(io::Error),
) -> io::Result<Option<(Accepted, Option<Admitted>)>> {
    acceptor.asked().await?;
    let mut admitted = None;
    // A reload may change, or end, what is waited for.
    while admitted.is_none() {
        let config = door.snapshot(shared).config.clone();
        let Some(most) = admission::waits(&config.limits) else {
            break;
        };
        admitted = config.admission.place(most).await;
    }
    let accepted = acceptor.accept_one(starved).await?;
    Ok(accepted.map(|accepted| (accepted, admitted)))
}

/// Wakes connections that are kept and idle when a place is waited for, on whatever worker: one of them ends.
async fn pressed(shared: Weak<Shared>, door: Weak<Door>) {
    loop {
        let Some(config) = shared.upgrade().zip(door.upgrade()).map(|(shared, door)| {
            let snapshot = door.snapshot(&shared);
            snapshot.config.clone()
        }) else {
            return;
        };
        let admission = config.admission.clone();
        drop(config);
        admission.pressed().await;
        if let Some((shared, door)) = shared.upgrade().zip(door.upgrade())
            && door.kept.get() > 0
        {
            shared.wake_all();
        }
    }
}

/// Ends when the engine is gone.
async fn housekeeping(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.flush_logs();
        shared.pool.sweep();
        shared.buffers.rest();
        // Listeners that were closed by a reload are forgotten.
        shared
            .accepting
            .borrow_mut()
            .retain(|task| !task.is_finished());
    }
}
