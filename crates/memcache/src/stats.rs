//! What a server knows about its connections, for `stats`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::Method;
use crate::context::{Protocols, ServerContext};

/// Bytes of one worker, on cache lines of their own.
#[derive(Default)]
#[repr(align(128))]
struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
}

/// The connections of a server, counted over all its workers.
pub struct ServerStats {
    max_connections: usize,
    /// Unix seconds.
    started: u64,
    open: AtomicUsize,
    accepted: AtomicU64,
    rejected: AtomicU64,
    traffic: Box<[Traffic]>,
    /// Those that are open, by the number of their admission; touched when one comes or goes only.
    connections: Mutex<BTreeMap<u64, Option<SocketAddr>>>,
    /// The number of the last admission.
    admissions: AtomicU64,
}

impl ServerStats {
    /// For a server with so many workers and connections at most, started at `started` (Unix seconds).
    pub fn new(workers: usize, max_connections: usize, started: u64) -> Self {
        Self {
            max_connections,
            started,
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            traffic: (0..workers.max(1)).map(|_| Traffic::default()).collect(),
            connections: Mutex::default(),
            admissions: AtomicU64::new(0),
        }
    }

    /// Counts a new connection, if there is room for one. `peer` is whose it is; a Unix socket's clients have no
    /// address.
    pub fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Option<Admitted> {
        if self.open.fetch_add(1, Relaxed) >= self.max_connections {
            self.open.fetch_sub(1, Relaxed);
            self.rejected.fetch_add(1, Relaxed);
            return None;
        }
        self.accepted.fetch_add(1, Relaxed);
        let number = self.admissions.fetch_add(1, Relaxed) + 1;
        self.known().insert(number, peer);
        Some(Admitted {
            stats: self.clone(),
            number,
        })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Option<SocketAddr>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The lines of `stats conns`. Where memcached has descriptors there are numbers of admission.
    pub(crate) fn connections(&self) -> Vec<(String, String)> {
        let known = self.known();
        let lines = known.iter().map(|(number, peer)| {
            let address = match peer {
                Some(address @ SocketAddr::V4(_)) => format!("tcp:{address}"),
                Some(address @ SocketAddr::V6(_)) => format!("tcp6:{address}"),
                None => "unix".to_owned(),
            };
            (format!("{number}:addr"), address)
        });
        lines.collect()
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Connections turned away because there were too many.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    pub(crate) fn count_read(&self, worker: usize, bytes: usize) {
        let traffic = &self.traffic[worker % self.traffic.len()];
        traffic.read.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn count_written(&self, worker: usize, bytes: usize) {
        let traffic = &self.traffic[worker % self.traffic.len()];
        traffic.written.fetch_add(bytes as u64, Relaxed);
    }

    /// `stats reset`: the counters of what has happened; what is stays.
    pub(crate) fn reset(&self) {
        self.accepted.store(0, Relaxed);
        self.rejected.store(0, Relaxed);
        for traffic in &self.traffic {
            traffic.read.store(0, Relaxed);
            traffic.written.store(0, Relaxed);
        }
    }
}

/// A connection that was counted; dropping it counts it as closed.
pub struct Admitted {
    stats: Arc<ServerStats>,
    number: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.stats.known().remove(&self.number);
        self.stats.open.fetch_sub(1, Relaxed);
    }
}

/// The lines of `stats` that the server knows; those of the keyspace follow.
pub(crate) fn general(cx: &ServerContext) -> Vec<(String, String)> {
    let stats = &*cx.stats;
    let now = (cx.options.unix_clock)();
    let sum = |field: fn(&Traffic) -> &AtomicU64| -> u64 {
        stats.traffic.iter().map(|t| field(t).load(Relaxed)).sum()
    };
    let (user, system) = cpu_times();
    let lines: [(&str, String); 15] = [
        ("pid", std::process::id().to_string()),
        ("uptime", now.saturating_sub(stats.started).to_string()),
        ("time", now.to_string()),
        ("version", cx.options.version.clone()),
        ("pointer_size", usize::BITS.to_string()),
        ("rusage_user", user),
        ("rusage_system", system),
        ("max_connections", stats.max_connections.to_string()),
        ("curr_connections", stats.open().to_string()),
        (
            "total_connections",
            stats.accepted.load(Relaxed).to_string(),
        ),
        ("rejected_connections", stats.rejected().to_string()),
        ("bytes_read", sum(|t| &t.read).to_string()),
        ("bytes_written", sum(|t| &t.written).to_string()),
        ("threads", stats.traffic.len().to_string()),
        ("accepting_conns", "1".into()),
    ];
    lines.map(|(name, value)| (name.to_owned(), value)).into()
}

/// CPU seconds of this process as `stats` shows them, in user and in system mode. Of a kernel that does not tell: 0.
fn cpu_times() -> (String, String) {
    // Ticks of 1/100 s, which is what Linux counts in towards programs, whatever its own tick.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11);
    let mut seconds = || {
        let ticks: u64 = fields
            .next()
            .and_then(|field| field.parse().ok())
            .unwrap_or(0);
        format!("{}.{:02}0000", ticks / 100, ticks % 100)
    };
    (seconds(), seconds())
}

/// The lines of `stats settings` that the server knows.
pub(crate) fn settings(cx: &ServerContext) -> Vec<(String, String)> {
    let idle = cx.options.idle_timeout.map_or(0, |idle| idle.as_secs());
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let method = cx.options.users.as_ref().map(|(method, _)| *method);
    let protocols = match cx.options.protocols {
        Protocols::Auto => "auto-negotiate",
        Protocols::Ascii => "ascii",
        Protocols::Binary => "binary",
    };
    let own = [
        ("maxconns", cx.stats.max_connections.to_string()),
        ("num_threads", cx.stats.traffic.len().to_string()),
        ("idle_timeout", idle.to_string()),
        ("cas_enabled", "yes".into()),
        ("binding_protocol", protocols.into()),
        ("auth_enabled_sasl", yes(method == Some(Method::Sasl))),
        ("auth_enabled_ascii", yes(method == Some(Method::Ascii))),
        ("shutdown_command", yes(cx.options.shutdown.is_some())),
        ("flush_enabled", yes(cx.options.flush)),
        ("dump_enabled", yes(cx.options.dump)),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    cx.options.settings.iter().cloned().chain(own).collect()
}
