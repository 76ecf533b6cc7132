//! What is remembered of a request for the log and the counters.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tandem_telemetry::{AccessLog, AccessRecord, Stopped, WorkerCounters};

use crate::Request;
use crate::policy::Edits;

/// One request, as it goes.
pub(super) struct Record {
    pub begun: Instant,
    /// 0 until an answer was sent.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: u64,
    /// Head bytes sent.
    pub head_bytes: u64,
    pub service: Option<Arc<str>>,
    pub server: Option<Arc<str>>,
    pub retries: u32,
    /// In queues, in all.
    pub queued: Duration,
    /// When the last try began.
    pub tried: Option<Instant>,
    /// When it had its connection.
    pub connected: Option<Instant>,
    /// What opening connections took, of all tries.
    pub connecting: Duration,
    /// When the last try's answer began.
    pub first_byte: Option<Instant>,
    pub stopped: Stopped,
    pub logged: bool,
}

impl Record {
    pub fn new(begun: Instant) -> Self {
        Self {
            begun,
            status: 0,
            bytes: 0,
            head_bytes: 0,
            service: None,
            server: None,
            retries: 0,
            queued: Duration::ZERO,
            tried: None,
            connected: None,
            connecting: Duration::ZERO,
            first_byte: None,
            stopped: Stopped::No,
            logged: true,
        }
    }

    /// A try begins that has its connection.
    pub fn reuse(&mut self) {
        let now = Instant::now();
        (self.tried, self.connected, self.first_byte) = (Some(now), Some(now), None);
    }

    /// A try begins that opens a connection.
    pub fn open(&mut self) {
        (self.tried, self.connected, self.first_byte) = (Some(Instant::now()), None, None);
    }

    /// The connection is open, or cannot be opened.
    pub fn opened(&mut self, is_open: bool) {
        let now = Instant::now();
        self.connecting += self.tried.map_or(Duration::ZERO, |tried| now - tried);
        self.connected = is_open.then_some(now);
    }

    /// From the last try's connection to its answer's first byte.
    pub fn until_first_byte(&self) -> Option<Duration> {
        Some(self.first_byte?.duration_since(self.connected?))
    }

    /// Counts the request and writes it to the log.
    pub fn end(
        &self,
        request: &Request<'_>,
        edits: Option<&Edits>,
        counters: &WorkerCounters,
        log: Option<&AccessLog>,
        meter: impl FnOnce(&Self, Duration),
    ) {
        self.count(counters);
        let total = self.begun.elapsed();
        meter(self, total);
        let Some(log) = log.filter(|_| self.logged) else {
            return;
        };
        let micros = |at: Option<Instant>| {
            at.map_or(0, |at| at.duration_since(self.begun).as_micros() as u64)
        };
        let (mut referer, mut agent) = (&b""[..], &b""[..]);
        for (name, value) in request.fields() {
            match name.len() {
                7 if name.eq_ignore_ascii_case(b"referer") => referer = value,
                10 if name.eq_ignore_ascii_case(b"user-agent") => agent = value,
                _ => {}
            }
        }
        log.record(&AccessRecord {
            client: request.client,
            user: edits.map_or(b"", |edits| edits.user.as_bytes()),
            method: request.method(),
            target: request.target(),
            version: request.head.version(),
            status: self.status,
            bytes: self.bytes,
            referer,
            agent,
            service: self.service.as_deref().unwrap_or_default(),
            server: self.server.as_deref().unwrap_or_default(),
            retries: self.retries,
            connect: micros(self.connected),
            first_byte: micros(self.first_byte),
            total: total.as_micros() as u64,
            stopped: self.stopped,
            id: edits.map_or(b"", |edits| edits.id.as_bytes()),
        });
    }

    /// Counts and logs a request whose head could not be read: nothing of it is repeated in the log.
    pub fn refused(
        &self,
        client: std::net::IpAddr,
        counters: &WorkerCounters,
        log: Option<&AccessLog>,
        meter: impl FnOnce(u16, u64, Duration),
    ) {
        self.count(counters);
        let total = self.begun.elapsed();
        meter(self.status, self.bytes + self.head_bytes, total);
        counters.refused.fetch_add(1, Relaxed);
        if let Some(log) = log {
            log.record(&AccessRecord {
                client,
                user: b"",
                method: b"-",
                target: b"-",
                version: "HTTP/1.1",
                status: self.status,
                bytes: self.bytes,
                referer: b"",
                agent: b"",
                service: "",
                server: "",
                retries: 0,
                connect: 0,
                first_byte: 0,
                total: total.as_micros() as u64,
                stopped: self.stopped,
                id: b"",
            });
        }
    }

    fn count(&self, counters: &WorkerCounters) {
        counters.requests.fetch_add(1, Relaxed);
        counters
            .bytes_out
            .fetch_add(self.bytes + self.head_bytes, Relaxed);
        if self.retries > 0 {
            counters.retries.fetch_add(u64::from(self.retries), Relaxed);
        }
        if self.status >= 500 {
            counters.errors.fetch_add(1, Relaxed);
        }
    }
}
