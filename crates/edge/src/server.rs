//! One server of a pool: what is known of it, and what has been asked of it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tandem_http::handler::Endpoint;
use tandem_model::Timing;
use tandem_telemetry::{Health, ServerStatus};
use tokio::sync::Notify;

use crate::control::Order;
use crate::health::state::{State, Vitals};

/// What makes a server the same one across changes of a pool's membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerKey {
    /// Its name within the service.
    pub(crate) name: Arc<str>,
    /// Where it is.
    pub(crate) endpoint: Endpoint,
}

/// A server. Its state outlives changes of the pool as long as its key does.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) key: ServerKey,
    /// A node of the file.
    pub(crate) node: bool,
    /// Connections to it come from here.
    pub(crate) from: Option<IpAddr>,
    backup: AtomicBool,
    weight: AtomicU16,
    draining: AtomicBool,
    counts: Counts,
    failures: AtomicU64,
    /// Read and written by checks, failures and status; never by a request that goes well.
    vitals: Mutex<Vitals>,
    /// Asks its checker to check now.
    pub(crate) wake: Notify,
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
        from: Option<IpAddr>,
        weight: u16,
        backup: bool,
        vitals: Vitals,
    ) -> Self {
        Self {
            key,
            node,
            from,
            backup: AtomicBool::new(backup),
            weight: AtomicU16::new(weight),
            draining: AtomicBool::new(false),
            counts: Counts::default(),
            failures: AtomicU64::new(0),
            vitals: Mutex::new(vitals),
            wake: Notify::new(),
        }
    }

    pub(crate) fn vitals(&self) -> MutexGuard<'_, Vitals> {
        self.vitals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> State {
        self.vitals().state()
    }

    pub(crate) fn weight(&self) -> u16 {
        self.weight.load(Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(crate) fn is_backup(&self) -> bool {
        self.backup.load(Relaxed)
    }

    pub(crate) fn set_backup(&self, backup: bool) {
        self.backup.store(backup, Relaxed);
    }

    /// Returns whether that is a change.
    pub(crate) fn obey(&self, order: Order) -> bool {
        match order {
            Order::Drain => !self.draining.swap(true, Relaxed),
            Order::Ready => self.draining.swap(false, Relaxed),
            Order::Weight(weight) => self.weight.swap(weight, Relaxed) != weight,
        }
    }

    pub(crate) fn begin(&self) {
        self.counts.begun.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.counts.ended.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Requests in flight. Read in this order it is never negative.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended = self.counts.ended.load(Relaxed);
        self.counts.begun.load(Relaxed).saturating_sub(ended)
    }

    pub(crate) fn status(&self) -> ServerStatus {
        let (state, reason) = {
            let vitals = self.vitals();
            (vitals.state(), vitals.reason().to_owned())
        };
        let health = match state {
            State::Down | State::Returning => Health::Down,
            _ if self.is_draining() => Health::Draining,
            State::Starting => Health::Starting,
            State::Up => Health::Up,
        };
        ServerStatus {
            name: self.key.name.to_string(),
            address: show(&self.key.endpoint),
            health,
            reason,
            weight: self.weight(),
            in_flight: self.in_flight(),
            requests: self.counts.begun.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }

    /// How long until the next check.
    pub(crate) fn pause(&self, timing: &Timing) -> std::time::Duration {
        self.vitals().pause(timing)
    }
}

/// `host:port` or `unix:/path`.
pub(crate) fn show(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(path) => format!("unix:{path}"),
    }
}
