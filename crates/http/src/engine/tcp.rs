//! A connection that is passed on as it is: a listener in TCP mode.
//!
//! 1. whose it is, and, where a route asks for it, which name its TLS asks for, is found out;
//! 2. servers are tried until one takes a connection, by the pool's rules; nothing of the client's was sent before, so
//!    each may be tried;
//! 3. bytes go both ways until both sides have ended, each in its own time, or nobody says anything for too long.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tandem_net::socket::Sight;
use tandem_net::{Moment, Pipe, Socket, Within, proxy};
use tandem_telemetry::meters::add;
use tandem_telemetry::{AccessRecord, Ended, Phase, Stopped};

use super::admission::Denied;
use super::buffers::Buffers;
use super::client::Client;
use super::clock::Elapsed;
use super::connection::Conn;
use super::forward::{self, Wait};
use super::record::micros;
use super::stream::{End, Moved, stream};
use super::{Snapshot, pool, tunnel};
use crate::handler::{
    Attempts, Cause, Connection, Connections, Cx, Failure, Outcome, Stage, Upstream,
};

/// Full reads in a row after which bytes are moved by the kernel alone: it is a stream.
const STREAM: u32 = 4;

/// How often a client that waits, and has said something, is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What is remembered of a connection for the log, told to the pool however it ends.
struct Passing<'a> {
    conn: &'a Conn,
    client: &'a Socket,
    snapshot: &'a Snapshot,
    attempts: Option<Box<dyn Attempts>>,
    cx: Cx,
    begun: Moment,
    name: Option<String>,
    failure: Option<Failure>,
    /// 200 when a server took it; else the status that a request would have got.
    status: u16,
    server: Option<Arc<str>>,
    retries: u32,
    queued: Duration,
    /// When the last try began.
    tried: Option<Moment>,
    connected: Option<Moment>,
    up: Cell<u64>,
    down: Cell<u64>,
    first_byte: Cell<Option<Moment>>,
    ended: Option<Ended>,
}

/// Passes a connection on; returns when it is over.
pub(super) async fn pass(conn: &Conn, snapshot: Rc<Snapshot>, connections: &dyn Connections) {
    // HTTP/2 is never spoken here.
    let Client::Http1(client) = &conn.client else {
        return;
    };
    let mut passing = Passing::new(conn, client, &snapshot);
    passing.run(connections).await;
}

/// Closes a connection that is one too many, without a byte: whatever is spoken on it, it is not for this side to speak.
pub(super) fn turn_away(conn: &Conn, snapshot: &Snapshot, denied: Denied) {
    let Client::Http1(client) = &conn.client else {
        return;
    };
    add(&conn.shared().counters().refused, 1);
    let mut passing = Passing::new(conn, client, snapshot);
    passing.status = match denied {
        Denied::Full => 503,
        Denied::Source => 429,
    };
    passing.over(Stopped::Refused, Phase::Request);
}

impl<'a> Passing<'a> {
    fn new(conn: &'a Conn, client: &'a Socket, snapshot: &'a Snapshot) -> Self {
        let begun = Moment::now();
        Self {
            conn,
            client,
            snapshot,
            attempts: None,
            cx: Cx::new(conn.shared().worker, begun),
            begun,
            name: None,
            failure: None,
            status: 0,
            server: None,
            retries: 0,
            queued: Duration::ZERO,
            tried: None,
            connected: None,
            up: Cell::new(0),
            down: Cell::new(0),
            first_byte: Cell::new(None),
            ended: None,
        }
    }

    async fn run(&mut self, connections: &dyn Connections) {
        let limit = self.snapshot.config.timeouts.head;
        if connections.wants_name() && !self.client.is_tls() {
            let name = self.client.peek_name();
            self.name = match self.conn.clock.limit(limit, name).await {
                Ok(Ok(name)) => name,
                Ok(Err(_)) => return self.over(Stopped::Client, Phase::Request),
                Err(Elapsed) => return self.over(Stopped::ClientTimeout, Phase::Request),
            };
        }
        let connection = Connection {
            client: self.conn.peer.ip().to_canonical(),
            name: self.name.as_deref(),
        };
        self.attempts = connections.connect(&connection, &self.cx);
        if self.attempts.is_none() {
            self.status = 403;
            self.over(Stopped::Refused, Phase::Request);
            return;
        }
        let Some((server, idle)) = self.connect().await else {
            return;
        };
        self.status = 200;
        let idle = idle.unwrap_or(self.snapshot.config.timeouts.idle);
        let cut = self.attempts.as_ref().and_then(|attempts| attempts.cut());
        let ended = tunnel::until_cut(cut, self.both(&server, idle)).await;
        let by = match ended {
            None => Stopped::Server,
            Some(Ok((Ok(()), Ok(())))) => Stopped::No,
            Some(Ok((Err(End::To), _) | (_, Err(End::From)))) => Stopped::Server,
            Some(Ok(_)) => Stopped::Client,
            Some(Err(Elapsed)) => Stopped::Idle,
        };
        self.over(by, Phase::Body);
    }

    fn over(&mut self, by: Stopped, phase: Phase) {
        if by != Stopped::No {
            self.ended = Some(Ended { by, phase });
        }
    }

    /// The connection to the first server that takes one, and how long it may be idle where its route says so.
    async fn connect(&mut self) -> Option<(Socket, Option<Duration>)> {
        let conn = self.conn;
        loop {
            let attempts = &mut **self.attempts.as_mut()?;
            let mut next = attempts.next(self.failure.as_ref());
            if next.is_none() {
                match forward::wait(conn, attempts, gone(self.client), &mut self.queued).await {
                    Wait::Over(upstream) => next = upstream,
                    Wait::Busy(by) => {
                        self.status = 503;
                        self.failure = Some(forward::busy());
                        self.over(by, Phase::Queue);
                        return None;
                    }
                    Wait::Gone => {
                        self.over(Stopped::Client, Phase::Queue);
                        return None;
                    }
                }
            }
            let Some(upstream) = next else {
                let out = attempts.is_out();
                self.status = match self.failure.map(|failure| failure.cause) {
                    None => 503,
                    Some(_) if out => 503,
                    Some(Cause::Timeout) => 504,
                    Some(_) => 502,
                };
                match self.failure.map(|failure| failure.cause) {
                    None => self.over(Stopped::NoServer, Phase::Queue),
                    Some(cause) => self.over(forward::by(cause), Phase::Connect),
                }
                return None;
            };
            self.retries += u32::from(self.failure.is_some());
            self.server = Some(upstream.name.clone());
            self.tried = Some(Moment::now());
            let open = open(&upstream, conn);
            let cause = match conn.clock.limit(upstream.timeouts.connect, open).await {
                Ok(Ok(socket)) => {
                    self.failure = None;
                    self.connected = Some(Moment::now());
                    return Some((socket, upstream.idle));
                }
                Ok(Err(e)) => forward::cause(&e),
                Err(Elapsed) => Cause::Timeout,
            };
            self.failure = Some(Failure {
                stage: Stage::Unsent,
                cause,
                retryable: true,
                by_gateway: false,
            });
        }
    }

    /// Both ways, until both have ended.
    async fn both(
        &self,
        server: &Socket,
        limit: Duration,
    ) -> Result<(Result<(), End>, Result<(), End>), Elapsed> {
        let client = self.client;
        let (clock, buffers) = (&self.conn.clock, &self.conn.shared().buffers);
        clock.allow(limit);
        let count = |count: &Cell<u64>, n: usize| {
            count.set(count.get() + n as u64);
            clock.allow(limit);
        };
        let upward = copy(client, server, buffers, |n| count(&self.up, n));
        let downward = copy(server, client, buffers, |n| {
            if self.first_byte.get().is_none() {
                self.first_byte.set(Some(Moment::now()));
            }
            count(&self.down, n);
        });
        tunnel::both(clock, upward, downward).await
    }
}

impl Drop for Passing<'_> {
    /// Also when the connection is cut off: the pool must not count it for ever, and the log has a line for each.
    fn drop(&mut self) {
        let now = Moment::now();
        let since = |at: Option<Moment>| at.map(|at| now - at).unwrap_or_default();
        let first_byte = self.first_byte.get().zip(self.connected);
        if let Some(attempts) = &mut self.attempts {
            attempts.done(&Outcome {
                status: self.status,
                failure: self.failure,
                total: now - self.begun,
                tried: since(self.tried),
                first_byte: first_byte.map(|(first, connected)| first - connected),
            });
        }
        let service = self.attempts.as_ref().map_or("", |a| &**a.service());
        self.snapshot.config.meters.note(
            &self.cx,
            service,
            self.status,
            self.down.get(),
            self.retries,
            now - self.begun,
        );
        let shared = self.conn.shared();
        let counters = shared.counters();
        counters.answered(self.status, self.down.get(), self.retries);
        if let Some(log) = &self.snapshot.log {
            let config = &self.snapshot.config;
            let opened = self.connected.zip(self.tried);
            log.record(
                tandem_net::coarse_time(),
                &config.log_format,
                &AccessRecord {
                    client: self.conn.peer.ip().to_canonical(),
                    port: self.conn.peer.port(),
                    user: b"",
                    method: b"TCP",
                    target: self.name.as_deref().unwrap_or(&config.name).as_bytes(),
                    version: "",
                    host: self.name.as_deref().unwrap_or_default().as_bytes(),
                    status: self.status,
                    bytes: self.down.get(),
                    received: Some(self.up.get()),
                    referer: b"",
                    agent: b"",
                    listener: &config.name,
                    route: config.meters.label(&self.cx),
                    service,
                    server: self.server.as_deref().unwrap_or_default(),
                    retries: self.retries,
                    queue: micros(self.queued),
                    connect: opened.map_or(0, |(connected, tried)| micros(connected - tried)),
                    first_byte: first_byte
                        .map_or(0, |(first, connected)| micros(first - connected)),
                    total: micros(now - self.begun),
                    ended: self.ended,
                    id: b"",
                    field: &|_| b"",
                },
            );
        }
    }
}

/// Ready when a client that waits is gone. One that ends its side before it has a server is: whether it would still have
/// listened cannot be asked, and a place in the queue is not kept for nobody.
async fn gone(client: &Socket) {
    // What it says first is left for the server, and hides its end.
    if poll_fn(|cx| client.poll_sight(cx)).await == Sight::Bytes {
        while !client.has_left() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Opens a connection to a server, with all that comes before the client's first byte.
async fn open(upstream: &Upstream, conn: &Conn) -> io::Result<Socket> {
    let mut socket = pool::open(&upstream.address, upstream.from).await?;
    if let Some(version) = upstream.proxy {
        let to: Option<SocketAddr> = conn.client.local_address();
        let header = proxy::header(version, Some(conn.peer), to);
        socket.write_all(&header).await?;
    }
    if let Some(tls) = &upstream.tls {
        socket
            .connect_tls(tls, upstream.host.as_ref(), Within::Unknown)
            .await?;
    }
    Ok(socket)
}

/// Copies until `from` ends, and tells `to`. Holds a buffer, or a pipe, only while bytes are on their way.
async fn copy(
    from: &Socket,
    to: &Socket,
    buffers: &Rc<Buffers>,
    progress: impl Fn(usize),
) -> Result<(), End> {
    let mut full = 0;
    loop {
        let readable = poll_fn(|cx| from.poll_readable(cx)).await;
        readable.map_err(|_| End::From)?;
        if full >= STREAM
            && Pipe::suits(from, to)
            && let Some(pipe) = Pipe::take()
        {
            let mut endless = u64::MAX;
            match stream(from, to, pipe, &mut endless, |_| {}, &progress).await? {
                Moved::Waits { streams: true } => {}
                Moved::Waits { streams: false } => full = 0,
                Moved::Ended | Moved::All => {
                    to.finish();
                    return Ok(());
                }
            }
            continue;
        }
        let mut buf = buffers.small();
        let n = from.read(buf.space()).await.map_err(|_| End::From)?;
        if n == 0 {
            to.finish();
            return Ok(());
        }
        buf.fill(n);
        full = if n == buf.capacity() { full + 1 } else { 0 };
        let mut left = buf.filled();
        while !left.is_empty() {
            let n = to.write(&[IoSlice::new(left)], false).await;
            let n = n.map_err(|_| End::To)?;
            progress(n);
            left = &left[n..];
        }
    }
}
