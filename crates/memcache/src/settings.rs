//! What `stats settings` shows: memcached's names in memcached's order, with what this server has for each.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names and what they are unless somebody says otherwise. Most are about memcached's own inside; tools and scripts ask
/// for them all the same.
const DEFAULTS: &[(&str, &str)] = &[
    ("maxbytes", "67108864"),
    ("maxconns", "1024"),
    ("tcpport", "0"),
    ("udpport", "0"),
    ("inter", "NULL"),
    ("verbosity", "0"),
    ("oldest", "0"),
    ("evictions", "on"),
    ("domain_socket", "NULL"),
    ("umask", "700"),
    ("shutdown_command", "no"),
    ("growth_factor", "1.25"),
    ("chunk_size", "48"),
    ("num_threads", "4"),
    ("num_threads_per_udp", "0"),
    ("stat_key_prefix", ":"),
    ("detail_enabled", "no"),
    ("reqs_per_event", "20"),
    ("cas_enabled", "yes"),
    ("tcp_backlog", "1024"),
    ("binding_protocol", "auto-negotiate"),
    ("auth_enabled_sasl", "no"),
    ("auth_enabled_ascii", "no"),
    ("item_size_max", "1048576"),
    ("maxconns_fast", "yes"),
    ("hashpower_init", "0"),
    ("slab_reassign", "yes"),
    ("slab_automove", "1"),
    ("slab_automove_ratio", "0.80"),
    ("slab_automove_window", "30"),
    ("slab_chunk_max", "524288"),
    ("lru_crawler", "yes"),
    ("lru_crawler_sleep", "100"),
    ("lru_crawler_tocrawl", "0"),
    ("tail_repair_time", "0"),
    ("flush_enabled", "yes"),
    ("dump_enabled", "yes"),
    ("hash_algorithm", "foldhash"),
    ("lru_maintainer_thread", "yes"),
    ("lru_segmented", "yes"),
    ("hot_lru_pct", "20"),
    ("warm_lru_pct", "40"),
    ("hot_max_factor", "0.20"),
    ("warm_max_factor", "2.00"),
    ("temp_lru", "no"),
    ("temporary_ttl", "61"),
    ("idle_timeout", "0"),
    ("watcher_logbuf_size", "262144"),
    ("worker_logbuf_size", "65536"),
    ("read_buf_mem_limit", "0"),
    ("track_sizes", "no"),
    ("inline_ascii_response", "no"),
    ("ssl_enabled", "no"),
    ("memory_file", "(null)"),
];

/// The settings of a server, shared by its workers.
pub(crate) struct Settings(Mutex<Vec<(String, String)>>);

impl Default for Settings {
    fn default() -> Self {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Self(Mutex::new(DEFAULTS.iter().map(own).collect()))
    }
}

impl Settings {
    pub(crate) fn set(&self, name: &str, value: impl Into<String>) {
        let mut all = self.all();
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.into(),
            None => all.push((name.to_owned(), value.into())),
        }
    }

    /// Whether one that is `yes` or `no` is `yes`.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.all()
            .iter()
            .any(|(known, value)| known == name && value == "yes")
    }

    /// All lines, with `more` in their places.
    pub(crate) fn lines(&self, more: Vec<(String, String)>) -> Vec<(String, String)> {
        for (name, value) in more {
            self.set(&name, value);
        }
        self.all().clone()
    }

    fn all(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As `stats settings` says it.
pub(crate) fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
