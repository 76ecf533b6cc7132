//! What is remembered of a request for the log and the counters.

use std::sync::Arc;
use std::time::Duration;

use tandem_net::Moment;
use tandem_telemetry::meters::add;
use tandem_telemetry::{AccessRecord, Ended, Phase, Stopped, WorkerCounters};

use super::Snapshot;
use super::connection::{Conn, Exchange};
use crate::field::{Kind, part};
use crate::request_id::{DIGITS, RequestId};

/// One request, as it goes.
pub(super) struct Record {
    pub begun: Moment,
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
    pub tried: Option<Moment>,
    /// When it had its connection.
    pub connected: Option<Moment>,
    /// What opening connections took, of all tries.
    pub connecting: Duration,
    /// When the last try's answer began.
    pub first_byte: Option<Moment>,
    pub ended: Option<Ended>,
    pub logged: bool,
}

impl Record {
    pub fn new(begun: Moment) -> Self {
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
            ended: None,
            logged: true,
        }
    }

    /// A try begins that has its connection.
    pub fn reuse(&mut self, now: Moment) {
        (self.tried, self.connected, self.first_byte) = (Some(now), Some(now), None);
    }

    /// A try begins that opens a connection.
    pub fn open(&mut self, now: Moment) {
        (self.tried, self.connected, self.first_byte) = (Some(now), None, None);
    }

    /// The connection is open, or cannot be opened.
    pub fn opened(&mut self, now: Moment, is_open: bool) {
        self.connecting += self.tried.map_or(Duration::ZERO, |tried| now - tried);
        self.connected = is_open.then_some(now);
    }

    /// From the last try's connection to its answer's first byte.
    pub fn until_first_byte(&self) -> Option<Duration> {
        Some(self.first_byte?.since(self.connected?))
    }

    /// Somebody ends it, at a phase; whoever was first is who did.
    pub fn end_by(&mut self, by: Stopped, phase: Phase) {
        if self.ended.is_none() && by != Stopped::No {
            self.ended = Some(Ended { by, phase });
        }
    }

    /// Counts and logs a request whose head could not be read: nothing of it is repeated in the log.
    pub fn refused(&self, conn: &Conn, snapshot: &Snapshot) {
        let counters = conn.shared().counters();
        self.count(counters);
        add(&counters.refused, 1);
        let total = self.begun.elapsed();
        let bytes = self.bytes + self.head_bytes;
        let meters = &snapshot.config.meters;
        meters.refused(conn.shared().worker, self.status, bytes, total);
        if let Some(log) = &snapshot.log {
            log.record(
                tandem_net::coarse_time(),
                &snapshot.config.log_format,
                &AccessRecord {
                    client: conn.peer.ip().to_canonical(),
                    port: conn.peer.port(),
                    user: b"",
                    method: b"-",
                    target: b"-",
                    version: "HTTP/1.1",
                    host: b"",
                    status: self.status,
                    bytes: self.bytes,
                    received: None,
                    referer: b"",
                    agent: b"",
                    listener: &snapshot.config.name,
                    route: "",
                    service: "",
                    server: "",
                    retries: 0,
                    queue: 0,
                    connect: 0,
                    first_byte: 0,
                    total: micros(total),
                    ended: self.ended,
                    id: b"",
                    field: &|_| b"",
                },
            );
        }
    }

    fn count(&self, counters: &WorkerCounters) {
        add(&counters.requests, 1);
        counters.answered(self.status, self.bytes + self.head_bytes, self.retries);
    }
}

/// Counts a request and writes it to the log.
pub(super) fn end(x: &Exchange<'_>) {
    let (record, config) = (&x.record, &x.snapshot.config);
    record.count(x.conn.shared().counters());
    let total = x.conn.clock.read() - record.begun;
    config.meters.count(&x.cx, record, total);
    let Some(log) = x.snapshot.log.as_ref().filter(|_| record.logged) else {
        return;
    };
    let request = &x.request;
    let (mut referer, mut agent) = (&b""[..], &b""[..]);
    for field in request.head.fields.iter() {
        match field.kind {
            Kind::Referer => referer = part(request.bytes, &field.value),
            Kind::Agent => agent = part(request.bytes, &field.value),
            _ => {}
        }
    }
    let edits = x.edits.as_deref();
    let mut digits = [0; DIGITS];
    let id = match edits.map(|edits| edits.id.as_bytes()) {
        Some(id) if !id.is_empty() => id,
        _ if config.request_id => RequestId::of(request, &x.cx).text(&mut digits),
        _ => b"",
    };
    log.record(
        tandem_net::coarse_time(),
        &config.log_format,
        &AccessRecord {
            client: request.client,
            port: request.client_port().unwrap_or(0),
            user: edits.map_or(b"", |edits| edits.user.as_bytes()),
            method: request.method(),
            target: request.target(),
            version: request.head.version(),
            host: request.head.host(request.bytes),
            status: record.status,
            bytes: record.bytes,
            received: None,
            referer,
            agent,
            listener: &config.name,
            route: config.meters.label(&x.cx),
            service: record.service.as_deref().unwrap_or_default(),
            server: record.server.as_deref().unwrap_or_default(),
            retries: record.retries,
            queue: micros(record.queued),
            connect: micros(record.connecting),
            first_byte: record.until_first_byte().map_or(0, micros),
            total: micros(total),
            ended: record.ended,
            id,
            field: &|name| request.field(name).unwrap_or_default(),
        },
    );
}

/// In microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}
