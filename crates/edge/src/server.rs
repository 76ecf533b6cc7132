//! One server of a pool: what is known of it, and what has been asked of it.

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tandem_http::TlsName;
use tandem_http::handler::Endpoint;
use tandem_model::{Member, Outgoing, Timing};
use tandem_telemetry::meters::ServerMeter;
use tandem_telemetry::{Health, ServerStatus};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::control::Order;
use crate::health::history::History;
use crate::health::state::{State, Vitals};

/// What is said of a server whose node does not reach the sessions.
pub(crate) const CUT_OFF: &str = "its node does not reach the sessions, used when no other can be";

/// A slow start gives the full share in so many steps.
pub(crate) const STEPS: u16 = 10;

/// What makes a server the same one across changes of a pool's membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerKey {
    /// Its name within the service.
    pub(crate) name: Arc<str>,
    /// Where it is.
    pub(crate) endpoint: Endpoint,
}

/// What the file says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) weight: u16,
    pub(crate) backup: bool,
    pub(crate) max_connections: Option<u32>,
}

impl Limits {
    pub(crate) fn of(member: &Member) -> Self {
        Self {
            weight: member.weight,
            backup: member.backup,
            max_connections: member.max_connections,
        }
    }
}

/// A server. Its state outlives changes of the pool as long as its key does.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) key: ServerKey,
    /// A node of the file.
    pub(crate) node: bool,
    /// Connections to it come from here.
    pub(crate) from: Option<Outgoing>,
    /// Its host as written, which its certificate must have.
    pub(crate) host: Option<TlsName>,
    backup: AtomicBool,
    weight: AtomicU16,
    /// Requests in flight at most.
    most: AtomicU64,
    /// Stands for it where a word has no room for its name: no other server of the pool has it.
    pub(crate) token: u16,
    /// What the file says that cookies call it.
    stick_id: Mutex<Option<Arc<str>>>,
    /// When it came up; `None` once it has its full share.
    warming: Mutex<Option<Instant>>,
    mode: AtomicU8,
    /// Its node does not reach the sessions.
    cut_off: AtomicBool,
    /// Requests in a row that failed.
    errors: AtomicU32,
    counts: Counts,
    failures: AtomicU64,
    /// What it answered, and how soon.
    pub(crate) meter: Arc<ServerMeter>,
    /// Read and written by checks, failures and status; never by a request that goes well.
    vitals: Mutex<Vitals>,
    /// For status alone.
    history: Mutex<History>,
    /// Asks its checker to check now.
    pub(crate) wake: Notify,
    /// How often its connections were cut off.
    cuts: AtomicU64,
    cut: Notify,
}

/// What an operator wants a server to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Take requests.
    Ready,
    /// Take those of clients that it has already.
    Draining,
    /// Take none, and do not be checked.
    Maintenance,
}

/// Requests begun and ended, on cache lines of their own; what is in flight is the difference.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Server {
    pub(crate) fn new(
        key: ServerKey,
        node: bool,
        from: Option<Outgoing>,
        limits: Limits,
        token: u16,
        vitals: Vitals,
        meter: Arc<ServerMeter>,
    ) -> Self {
        Self {
            key,
            node,
            from,
            host: None,
            backup: AtomicBool::new(limits.backup),
            weight: AtomicU16::new(limits.weight),
            most: AtomicU64::new(most(&limits)),
            token,
            stick_id: Mutex::new(None),
            warming: Mutex::new(None),
            mode: AtomicU8::new(Mode::Ready as u8),
            cut_off: AtomicBool::new(false),
            errors: AtomicU32::new(0),
            counts: Counts::default(),
            failures: AtomicU64::new(0),
            meter,
            vitals: Mutex::new(vitals),
            history: Mutex::new(History::new(Instant::now())),
            wake: Notify::new(),
            cuts: AtomicU64::new(0),
            cut: Notify::new(),
        }
    }

    /// Notes the host as written.
    pub(crate) fn at(mut self, host: Option<TlsName>) -> Self {
        self.host = host;
        self
    }

    pub(crate) fn vitals(&self) -> MutexGuard<'_, Vitals> {
        self.vitals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> State {
        self.vitals().state()
    }

    /// Whether it is down for requests that failed alone.
    pub(crate) fn is_accused(&self) -> bool {
        self.vitals().is_accused()
    }

    pub(crate) fn weight(&self) -> u16 {
        self.weight.load(Relaxed)
    }

    /// Whether new requests may come to it, once it is up.
    pub(crate) fn takes_requests(&self) -> bool {
        self.mode() == Mode::Ready && self.weight() > 0
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.mode.load(Relaxed) {
            m if m == Mode::Ready as u8 => Mode::Ready,
            m if m == Mode::Draining as u8 => Mode::Draining,
            _ => Mode::Maintenance,
        }
    }

    /// What the file says that cookies call it. Not for the way of a request: takes a lock.
    pub(crate) fn stick_id(&self) -> Option<Arc<str>> {
        self.stick_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_stick_id(&self, id: Option<&str>) {
        let mut mine = self.stick_id.lock().unwrap_or_else(PoisonError::into_inner);
        *mine = id.map(Arc::from);
    }

    pub(crate) fn is_backup(&self) -> bool {
        self.backup.load(Relaxed)
    }

    /// Whether its node does not reach the sessions: it is used where no other is.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Relaxed)
    }

    /// Returns whether that is a change.
    pub(crate) fn set_cut_off(&self, is_cut_off: bool) -> bool {
        self.cut_off.swap(is_cut_off, Relaxed) != is_cut_off
    }

    /// Takes over what the file says now, apart from the weight.
    pub(crate) fn limit(&self, limits: &Limits) {
        self.backup.store(limits.backup, Relaxed);
        self.most.store(most(limits), Relaxed);
    }

    /// Returns whether that is a change.
    pub(crate) fn obey(&self, order: Order) -> bool {
        let go = |mode: Mode| {
            let changes = self.mode.swap(mode as u8, Relaxed) != mode as u8;
            if changes {
                self.history().ordered(Instant::now());
            }
            changes
        };
        match order {
            Order::Drain => go(Mode::Draining),
            Order::Maintain => go(Mode::Maintenance),
            Order::Ready => go(Mode::Ready),
            Order::Weight(weight) => self.weight.swap(weight, Relaxed) != weight,
        }
    }

    /// Begins a request, unless the server has as many as it takes: never one more, whoever else begins one.
    ///
    /// `begun` only grows, so that an exchange that succeeds has seen it as it was when `ended` was read, and requests
    /// that end meanwhile only make room.
    pub(crate) fn begin(&self) -> bool {
        let most = self.most.load(Relaxed);
        if most == u64::MAX {
            self.counts.begun.fetch_add(1, SeqCst);
            return true;
        }
        let mut begun = self.counts.begun.load(SeqCst);
        loop {
            if begun.saturating_sub(self.counts.ended.load(SeqCst)) >= most {
                return false;
            }
            match self
                .counts
                .begun
                .compare_exchange_weak(begun, begun + 1, SeqCst, SeqCst)
            {
                Ok(_) => return true,
                Err(now) => begun = now,
            }
        }
    }

    /// Whether it has as many requests as it takes.
    pub(crate) fn is_full(&self) -> bool {
        let most = self.most.load(Relaxed);
        most != u64::MAX && self.in_flight() >= most
    }

    /// It came up now.
    pub(crate) fn came_up(&self) {
        *self.warming() = Some(Instant::now());
    }

    /// How much of its share it gets, in [`STEPS`], when the full one takes so long to reach.
    pub(crate) fn step(&self, slow_start: Duration) -> u16 {
        let mut warming = self.warming();
        let Some(since) = *warming else {
            return STEPS;
        };
        let up = since.elapsed();
        if up >= slow_start {
            *warming = None;
            return STEPS;
        }
        // It is less than the whole, so that this is below STEPS.
        let step = up.as_millis() * u128::from(STEPS) / slow_start.as_millis().max(1);
        (step as u16).clamp(1, STEPS - 1)
    }

    fn warming(&self) -> MutexGuard<'_, Option<Instant>> {
        self.warming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts off the connections that go on without requests.
    pub(crate) fn cut_off(&self) {
        self.cuts.fetch_add(1, SeqCst);
        self.cut.notify_waiters();
    }

    /// How often that was done.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Relaxed)
    }

    /// Ready when it was done once more.
    pub(crate) async fn cut_since(&self, seen: u64) {
        loop {
            let mut notified = std::pin::pin!(self.cut.notified());
            // Who asks first and looks then misses nothing.
            notified.as_mut().enable();
            if self.cuts.load(SeqCst) != seen {
                return;
            }
            notified.await;
        }
    }

    /// Ends a request. In one order with the queue's count of those who wait: see there.
    pub(crate) fn end(&self) {
        self.counts.ended.fetch_add(1, SeqCst);
    }

    /// Tries ever begun.
    pub(crate) fn begun(&self) -> u64 {
        self.counts.begun.load(Relaxed)
    }

    /// A request went well.
    pub(crate) fn went_well(&self) {
        // Read by all workers, and written only after an error.
        if self.errors.load(Relaxed) != 0 {
            self.errors.store(0, Relaxed);
        }
    }

    /// A request failed; returns how many did in a row.
    pub(crate) fn went_wrong(&self) -> u32 {
        self.errors.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Requests in flight. Read in this order it is never negative.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended = self.counts.ended.load(SeqCst);
        self.counts.begun.load(SeqCst).saturating_sub(ended)
    }

    pub(crate) fn status(&self) -> ServerStatus {
        let (state, reason) = {
            let vitals = self.vitals();
            let reason = vitals.reason();
            let reason = if vitals.state() == State::Up && self.is_cut_off() {
                format!("{CUT_OFF}; {reason}")
            } else {
                reason.to_owned()
            };
            (vitals.state(), reason)
        };
        let health = match (self.mode(), state) {
            (Mode::Maintenance, _) => Health::Maintenance,
            (_, State::Down | State::Returning) => Health::Down,
            (Mode::Draining, _) => Health::Draining,
            (Mode::Ready, State::Starting) => Health::Starting,
            (Mode::Ready, State::Up) => Health::Up,
        };
        let (history, now) = (self.history(), Instant::now());
        ServerStatus {
            name: self.key.name.to_string(),
            address: show(&self.key.endpoint),
            health,
            reason,
            weight: self.weight(),
            in_flight: self.in_flight(),
            requests: self.counts.begun.load(Relaxed),
            failures: self.failures.load(Relaxed),
            changed_ms: millis(now - history.since),
            downs: history.downs,
            down_ms: millis(history.down(now)),
            failed_checks: history.failed_checks,
            check: history.last.clone(),
        }
    }

    /// How long until the next check.
    pub(crate) fn pause(&self, timing: &Timing) -> Duration {
        self.vitals().pause(timing)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn most(limits: &Limits) -> u64 {
    limits.max_connections.map_or(u64::MAX, u64::from)
}

/// `host:port` or `unix:/path`.
pub(crate) fn show(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(path) => format!("unix:{path}"),
    }
}
