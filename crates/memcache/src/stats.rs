//! What a server knows about its connections, for `stats`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::Method;
use crate::class::Classes;
use crate::context::{Protocols, ServerContext};
use crate::prefix::Prefixes;
use crate::settings::{Settings, yes};
use crate::watch::Watch;

/// What one worker counts, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
    meta: AtomicU64,
}

/// The connections of a server, counted over all its workers, and what else its workers share.
pub struct ServerStats {
    max_connections: usize,
    /// Unix seconds.
    started: u64,
    open: AtomicUsize,
    accepted: AtomicU64,
    rejected: AtomicU64,
    /// Connections at once, at most.
    most: AtomicUsize,
    idle_kicks: AtomicU64,
    auth_commands: AtomicU64,
    auth_errors: AtomicU64,
    traffic: Box<[Traffic]>,
    /// Those that are open, by the number of their admission; touched when one comes or goes only.
    connections: Mutex<BTreeMap<u64, Known>>,
    /// The number of the last admission.
    admissions: AtomicU64,
    /// Where the server listens, as `stats conns` shows it.
    listening: Mutex<Vec<String>>,
    watch: Arc<Watch>,
    classes: Classes,
    pub(crate) prefixes: Prefixes,
    pub(crate) settings: Settings,
}

/// An open connection.
struct Known {
    peer: Option<SocketAddr>,
    /// Unix seconds of its last requests.
    last: Arc<AtomicU64>,
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
            most: AtomicUsize::new(0),
            idle_kicks: AtomicU64::new(0),
            auth_commands: AtomicU64::new(0),
            auth_errors: AtomicU64::new(0),
            traffic: (0..workers.max(1)).map(|_| Traffic::default()).collect(),
            connections: Mutex::default(),
            admissions: AtomicU64::new(0),
            listening: Mutex::default(),
            watch: Arc::default(),
            classes: Classes::default(),
            prefixes: Prefixes::new(b':'),
            settings: Settings::default(),
        }
    }

    /// With these classes of sizes in its statistics.
    pub fn with_classes(mut self, classes: Classes) -> Self {
        self.classes = classes;
        self
    }

    /// Keys' prefixes end before this byte (memcached's `-D`), and are counted from the start on.
    pub fn with_prefixes(mut self, delimiter: u8) -> Self {
        self.prefixes = Prefixes::new(delimiter);
        self.set_detail(true);
        let shown = char::from(delimiter).to_string();
        self.settings.set("stat_key_prefix", shown);
        self
    }

    /// Lines of `stats settings` that only the one who started the server knows.
    pub fn with_settings(self, lines: Vec<(String, String)>) -> Self {
        for (name, value) in lines {
            self.settings.set(&name, value);
        }
        self
    }

    /// Says where the server listens, before any connection is admitted.
    pub fn listens_on(&self, addresses: Vec<String>) {
        self.admissions.store(addresses.len() as u64, Relaxed);
        *lock(&self.listening) = addresses;
    }

    /// Who is told what happens.
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// The classes of sizes in its statistics.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// What must be looked at after an operation; 0 is nothing.
    pub(crate) fn observed(&self) -> u8 {
        self.watch.flags()
    }

    pub(crate) fn set_detail(&self, on: bool) {
        self.watch.set_prefixes(on);
        self.settings.set("detail_enabled", yes(on));
    }

    /// Counts a new connection, if there is room for one. `peer` is whose it is; a Unix socket's clients have no
    /// address.
    pub fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Option<Admitted> {
        let before = self.open.fetch_add(1, Relaxed);
        if before >= self.max_connections {
            self.open.fetch_sub(1, Relaxed);
            self.rejected.fetch_add(1, Relaxed);
            return None;
        }
        self.most.fetch_max(before + 1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
        let number = self.admissions.fetch_add(1, Relaxed) + 1;
        let last = Arc::new(AtomicU64::new(u64::MAX));
        let known = Known {
            peer,
            last: last.clone(),
        };
        self.known().insert(number, known);
        self.watch.connection(peer, number, None);
        Some(Admitted {
            stats: self.clone(),
            number,
            peer,
            last,
            reason: "normal",
        })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        lock(&self.connections)
    }

    /// The lines of `stats conns`, asked by connection number `asking`. Where memcached has descriptors there are
    /// numbers of admission; the sockets that are listened on come first.
    pub(crate) fn connections(&self, asking: u64, now: u64) -> Vec<(String, String)> {
        let listening = lock(&self.listening).clone();
        let mut lines = Vec::new();
        for (index, address) in listening.iter().enumerate() {
            let mut line = |name: &str, value: String| {
                lines.push((format!("{}:{name}", index + 1), value));
            };
            line("addr", address.clone());
            line("state", "conn_listening".into());
            line(
                "secs_since_last_cmd",
                now.saturating_sub(self.started).to_string(),
            );
        }
        for (number, known) in self.known().iter() {
            let mut line = |name: &str, value: String| {
                lines.push((format!("{number}:{name}"), value));
            };
            line("addr", known.peer.map_or_else(|| "unix".to_owned(), shown));
            if let Some(address) = listening.first() {
                line("listen_addr", address.clone());
            }
            let state = if *number == asking {
                "conn_parse_cmd"
            } else {
                "conn_read"
            };
            line("state", state.into());
            let last = known.last.load(Relaxed);
            let last = if last == u64::MAX { now } else { last };
            line("secs_since_last_cmd", now.saturating_sub(last).to_string());
        }
        lines
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// How many connections are taken at once.
    pub fn max_connections(&self) -> usize {
        self.max_connections
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

    pub(crate) fn count_meta(&self, worker: usize) {
        self.traffic[worker % self.traffic.len()]
            .meta
            .fetch_add(1, Relaxed);
    }

    pub(crate) fn count_idle_kick(&self) {
        self.idle_kicks.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_auth(&self, admitted: bool) {
        self.auth_commands.fetch_add(1, Relaxed);
        self.auth_errors.fetch_add(u64::from(!admitted), Relaxed);
    }

    /// `stats reset`: the counters of what has happened; what is stays.
    pub(crate) fn reset(&self) {
        self.accepted.store(0, Relaxed);
        self.rejected.store(0, Relaxed);
        self.idle_kicks.store(0, Relaxed);
        self.auth_commands.store(0, Relaxed);
        self.auth_errors.store(0, Relaxed);
        self.prefixes.reset();
        for traffic in &self.traffic {
            traffic.read.store(0, Relaxed);
            traffic.written.store(0, Relaxed);
            traffic.meta.store(0, Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As `stats conns` says it.
pub fn shown(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { "tcp" } else { "tcp6" };
    format!("{family}:{address}")
}

/// A connection that was counted; dropping it counts it as closed.
pub struct Admitted {
    stats: Arc<ServerStats>,
    number: u64,
    peer: Option<SocketAddr>,
    last: Arc<AtomicU64>,
    reason: &'static str,
}

impl Admitted {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Unix seconds of its last requests, for those who ask.
    pub(crate) fn last(&self) -> Arc<AtomicU64> {
        self.last.clone()
    }

    /// Says why it ends, for those who watch.
    pub(crate) fn ends(&mut self, reason: &'static str) {
        self.reason = reason;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.stats.known().remove(&self.number);
        self.stats.open.fetch_sub(1, Relaxed);
        self.stats
            .watch
            .connection(self.peer, self.number, Some(self.reason));
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
    let buffers = cx.buffers();
    let mut lines: Vec<(&str, String)> = vec![
        ("pid", std::process::id().to_string()),
        ("uptime", now.saturating_sub(stats.started).to_string()),
        ("time", now.to_string()),
        ("version", cx.options.version.clone()),
        ("server", cx.options.server.clone()),
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
        (
            "connection_structures",
            stats.most.load(Relaxed).to_string(),
        ),
        ("response_obj_oom", "0".into()),
        ("read_buf_count", buffers.to_string()),
        (
            "read_buf_bytes",
            (buffers * crate::context::BUFFER).to_string(),
        ),
        ("read_buf_oom", "0".into()),
        ("cmd_meta", sum(|t| &t.meta).to_string()),
    ];
    if cx.options.idle_timeout.is_some() {
        lines.push(("idle_kicks", stats.idle_kicks.load(Relaxed).to_string()));
    }
    lines.extend([
        ("auth_cmds", stats.auth_commands.load(Relaxed).to_string()),
        ("auth_errors", stats.auth_errors.load(Relaxed).to_string()),
        ("bytes_read", sum(|t| &t.read).to_string()),
        ("bytes_written", sum(|t| &t.written).to_string()),
        ("accepting_conns", "1".into()),
        ("listen_disabled_num", "0".into()),
        ("time_in_listen_disabled_us", "0".into()),
        ("threads", stats.traffic.len().to_string()),
        ("conn_yields", "0".into()),
    ]);
    lines.extend(
        stats
            .watch
            .stats()
            .map(|(name, value)| (name, value.to_string())),
    );
    lines
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
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

/// The lines of `stats settings`: the server's, and `more` of the keyspace.
pub(crate) fn settings(cx: &ServerContext, more: Vec<(String, String)>) -> Vec<(String, String)> {
    let idle = cx.options.idle_timeout.map_or(0, |idle| idle.as_secs());
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
        ("binding_protocol", protocols.into()),
        (
            "auth_enabled_sasl",
            yes(method == Some(Method::Sasl)).into(),
        ),
        (
            "auth_enabled_ascii",
            yes(method == Some(Method::Ascii)).into(),
        ),
        (
            "shutdown_command",
            yes(cx.options.shutdown.is_some()).into(),
        ),
        ("flush_enabled", yes(cx.options.flush).into()),
        ("dump_enabled", yes(cx.options.dump).into()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    cx.stats
        .settings
        .lines(own.into_iter().chain(more).collect())
}
