//! `watch`: what happens, told line by line to those who want to know.
//!
//! Lines are made only while somebody watches. Each watcher has a buffer of [`BUFFER`] bytes; what does not fit because
//! its client reads too slowly is skipped and counted, so that a watcher never holds anybody up. Lines have memcached's
//! form: `ts=1700000000.123456 gid=1 type=item_get key=k status=found clsid=1 cfd=7 size=3`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// Items that are asked for.
pub const FETCHERS: u8 = 1;
/// Items that are stored, or should have been.
pub const MUTATIONS: u8 = 2;
/// Items that make room for others.
pub const EVICTIONS: u8 = 4;
/// Connections that come and go.
pub const CONNECTIONS: u8 = 8;
/// Items that are deleted.
pub const DELETIONS: u8 = 16;
/// Statistics of prefixes are kept: see [`crate::prefix`].
pub(crate) const PREFIXES: u8 = 32;

/// Bytes that wait for a watcher at most (memcached's `watcher_logbuf_size`).
pub const BUFFER: usize = 256 * 1024;

/// All watchers of a server, and the line numbers.
#[derive(Default)]
pub struct Watch {
    /// What anybody watches. The only thing that is looked at while nobody does.
    wanted: AtomicU8,
    watchers: Mutex<Vec<Arc<Watcher>>>,
    lines: AtomicU64,
    sent: AtomicU64,
    skipped: AtomicU64,
}

/// One who watches.
pub(crate) struct Watcher {
    classes: u8,
    waiting: Mutex<Waiting>,
    pub(crate) more: Notify,
    gone: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    skipped: u64,
}

impl Watch {
    /// Whether anybody wants to know of such things.
    pub fn wants(&self, class: u8) -> bool {
        self.flags() & class != 0
    }

    pub(crate) fn flags(&self) -> u8 {
        self.wanted.load(Relaxed)
    }

    pub(crate) fn set_prefixes(&self, on: bool) {
        if on {
            self.wanted.fetch_or(PREFIXES, Relaxed);
        } else {
            self.wanted.fetch_and(!PREFIXES, Relaxed);
        }
    }

    /// Tells those who watch `class` a line, which `write` puts behind its time and number.
    pub fn tell(&self, class: u8, write: impl FnOnce(&mut String)) {
        if !self.wants(class) {
            return;
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let number = self.lines.fetch_add(1, Relaxed) + 1;
        let mut line = String::with_capacity(160);
        let _ = write!(
            line,
            "ts={}.{} gid={number} ",
            now.as_secs(),
            now.subsec_micros()
        );
        write(&mut line);
        line.push('\n');
        for watcher in self.watchers().iter() {
            if watcher.classes & class != 0 {
                self.give(watcher, line.as_bytes());
            }
        }
    }

    fn give(&self, watcher: &Watcher, line: &[u8]) {
        let mut waiting = lock(&watcher.waiting);
        let note = (waiting.skipped > 0).then(|| format!("skipped={}\n", waiting.skipped));
        let note = note.unwrap_or_default();
        if waiting.bytes.len() + note.len() + line.len() > BUFFER {
            waiting.skipped += 1;
            self.skipped.fetch_add(1, Relaxed);
            return;
        }
        waiting.skipped = 0;
        waiting.bytes.extend_from_slice(note.as_bytes());
        waiting.bytes.extend_from_slice(line);
        self.sent.fetch_add(1, Relaxed);
        drop(waiting);
        watcher.more.notify_one();
    }

    /// Another watcher, until it is dropped.
    pub(crate) fn join(self: &Arc<Self>, classes: u8) -> Watching {
        let watcher = Arc::new(Watcher {
            classes,
            waiting: Mutex::default(),
            more: Notify::new(),
            gone: AtomicBool::new(false),
        });
        let mut watchers = self.watchers();
        watchers.push(watcher.clone());
        self.wanted.fetch_or(classes, Relaxed);
        drop(watchers);
        Watching {
            watch: self.clone(),
            watcher,
        }
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Arc<Watcher>>> {
        lock(&self.watchers)
    }

    /// The lines of `stats`.
    pub(crate) fn stats(&self) -> [(&'static str, u64); 5] {
        [
            // No worker has a buffer of its own that could run over.
            ("log_worker_dropped", 0),
            ("log_worker_written", self.lines.load(Relaxed)),
            ("log_watcher_skipped", self.skipped.load(Relaxed)),
            ("log_watcher_sent", self.sent.load(Relaxed)),
            ("log_watchers", self.watchers().len() as u64),
        ]
    }

    /// An item makes room for others. `idle` and `ttl` are seconds; `ttl` is -1 for an item without an end.
    pub fn evicted(
        &self,
        key: &[u8],
        fetched: bool,
        ttl: i64,
        idle: u64,
        class: usize,
        size: usize,
    ) {
        self.tell(EVICTIONS, |line| {
            line.push_str("type=eviction key=");
            encode(line, key);
            let fetched = if fetched { "yes" } else { "no" };
            let _ = write!(
                line,
                " fetch={fetched} ttl={ttl} la={idle} clsid={class} size={size}"
            );
        });
    }

    pub(crate) fn connection(&self, peer: Option<SocketAddr>, number: u64, end: Option<&str>) {
        self.tell(CONNECTIONS, |line| {
            let kind = if end.is_some() {
                "conn_close"
            } else {
                "conn_new"
            };
            let (address, port) = peer.map_or(("unix".to_owned(), 0), |peer| {
                (peer.ip().to_string(), peer.port())
            });
            let transport = if peer.is_some() { "tcp" } else { "unix" };
            let _ = write!(
                line,
                "type={kind} rip={address} rport={port} transport={transport}"
            );
            if let Some(reason) = end {
                let _ = write!(line, " reason={reason}");
            }
            let _ = write!(line, " cfd={number}");
        });
    }
}

/// Somebody's place among the watchers.
pub(crate) struct Watching {
    watch: Arc<Watch>,
    pub(crate) watcher: Arc<Watcher>,
}

impl Watching {
    /// Takes what waits.
    pub(crate) fn take(&self, bytes: &mut Vec<u8>) {
        let mut waiting = lock(&self.watcher.waiting);
        bytes.append(&mut waiting.bytes);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watcher.gone.store(true, Relaxed);
        let mut watchers = self.watch.watchers();
        watchers.retain(|other| !other.gone.load(Relaxed));
        let wanted = watchers
            .iter()
            .fold(0, |sum, watcher| sum | watcher.classes);
        // Under the lock, so that nobody joins between.
        let keep = self.watch.flags() & PREFIXES;
        self.watch.wanted.store(wanted | keep, Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whatever is in a key, a line stays a line: all but letters, digits and `-._~` is encoded as in a URL.
pub(crate) fn encode(line: &mut String, key: &[u8]) {
    for &byte in key {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            line.push(char::from(byte));
        } else {
            let _ = write!(line, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_watcher_is_told_how_much_it_missed() {
        let watch = Arc::new(Watch::default());
        watch.evicted(b"nobody", false, 0, 0, 1, 1);
        let watching = watch.join(EVICTIONS);
        let key = [b'k'; 200];
        for _ in 0..2_000 {
            watch.evicted(&key, false, 0, 0, 1, 1);
            watch.tell(FETCHERS, |_| panic!("nobody watches these"));
        }
        let mut bytes = Vec::new();
        watching.take(&mut bytes);
        assert!(bytes.len() <= BUFFER && bytes.len() > BUFFER - 300);
        watch.evicted(b"a b", true, -1, 7, 2, 9);
        bytes.clear();
        watching.take(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (skipped, line) = text.split_once('\n').unwrap();
        let told = watch.stats();
        assert_eq!(skipped, format!("skipped={}", told[2].1));
        assert!(
            line.ends_with("type=eviction key=a%20b fetch=yes ttl=-1 la=7 clsid=2 size=9\n"),
            "{line}"
        );
        assert_eq!(told[1].1, 2_001);
        assert_eq!(told[3].1 + told[2].1, 2_001);
        drop(watching);
        assert!(!watch.wants(u8::MAX));
        assert_eq!(watch.stats()[4].1, 0);
    }
}
