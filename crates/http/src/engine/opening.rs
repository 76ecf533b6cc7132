//! What comes before the first request of a connection: a PROXY header, a TLS handshake, the preface of HTTP/2.

use std::io;
use std::time::Duration;

use tandem_net::{Moment, Peer, Seldom, Socket, Within};

use super::admission::Denied;
use super::client::Client;
use super::connection::Conn;
use super::http2::PREFACE;
use super::{Shared, Snapshot};

/// The shortest time between two events of a kind: whoever fails many handshakes must not fill the log.
const QUIET: Duration = Duration::from_mins(1);

/// What went wrong on one worker, of one kind: clients of a listener that were sent away, files that were not sent.
#[derive(Default)]
pub(super) struct Failed(Seldom);

impl Failed {
    /// Notes one, and tells of it (of whom, and what) and of those before it if it is time.
    pub fn tell(&self, shared: &Shared, what: impl FnOnce() -> (String, String)) {
        let Some(others) = self.0.due(Moment::now(), QUIET) else {
            return;
        };
        let others = match others {
            0 => String::new(),
            n => format!("; {n} others since the last was told of"),
        };
        let (subject, what) = what();
        shared.telemetry.events.warning(subject, what + &others);
    }
}

/// What is spoken after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Http1,
    Http2,
    /// Nothing: the connection is one too many.
    Denied(Denied),
    /// Nothing: the connection is to be closed.
    Closed,
}

/// Whether anything comes before the first request.
pub(super) fn is_needed(conn: &Conn) -> bool {
    let seen = conn.door.seen.borrow();
    let config = &seen.config;
    let limits = &config.limits;
    let counts = limits.connections.is_some() && conn.admitted.is_none();
    let sources = limits.per_source.is_some() || limits.per_source_rate.is_some();
    let counted = counts || sources;
    config.proxy_protocol || config.tls.is_some() || config.http2 || counted
}

/// Takes it. All of it has the time that a head has; only on a plain connection that may turn out to speak HTTP/2 the
/// first byte has the time of an idle one.
pub(super) async fn open(conn: &mut Conn) -> Opened {
    let snapshot = conn.door.snapshot(conn.shared());
    let (config, limit) = (&snapshot.config, snapshot.config.timeouts.head);
    // Not the connection's clock, which would have to be borrowed along with what the handshake changes.
    let opened = tokio::time::timeout(limit, steps(conn, &snapshot)).await;
    match opened {
        Ok(Opened::Http1) if config.tls.is_none() && config.http2 => {
            if !conn.next().await {
                return Opened::Closed;
            }
            match &conn.client {
                Client::Http1(socket) => tokio::time::timeout(limit, by_preface(socket))
                    .await
                    .unwrap_or(Opened::Closed),
                Client::Http2(_) => Opened::Closed,
            }
        }
        Ok(opened) => opened,
        Err(_) => Opened::Closed,
    }
}

async fn steps(conn: &mut Conn, snapshot: &Snapshot) -> Opened {
    let config = &snapshot.config;
    let Client::Http1(socket) = &mut conn.client else {
        return Opened::Closed;
    };
    if config.proxy_protocol {
        // Anyone may say anything in a header: it is asked only of those whose word is taken.
        let peer = conn.peer.ip().to_canonical();
        let refused = |what: String| {
            let told = || (conn.door.subject(), what);
            conn.door.headers.tell(&conn.shared, told);
            Opened::Closed
        };
        if config.rule.peer(peer) == Peer::Stranger {
            return refused(format!(
                "a connection of {peer} was closed: a PROXY header is asked of those in `trust` alone, and it is not"
            ));
        }
        match socket.read_proxy_header().await {
            Ok(Some(source)) => conn.peer = source,
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                return refused(format!(
                    "a connection of {peer} was closed: it did not begin with a PROXY header"
                ));
            }
            Err(_) => return Opened::Closed,
        }
    }
    // A proxy stands for many clients, and each of them counts for itself only when it is stated before the connection.
    let ip = conn.peer.ip();
    let source = (config.rule.peer(ip) == Peer::Stranger).then_some(ip);
    let placed = conn.admitted.take().map(|admitted| *admitted);
    match config.admission.admit(&config.limits, source, placed) {
        Ok(admitted) => conn.admitted = Some(Box::new(admitted)),
        // Whoever opens too many is not to get a handshake for each.
        Err(_) if config.tls.is_some() => return Opened::Closed,
        Err(denied) => return Opened::Denied(denied),
    }
    let Some(tls) = &config.tls else {
        return Opened::Http1;
    };
    let within = match config.handler.connections() {
        // Whatever is passed on.
        Some(_) => Within::Unknown,
        None if config.http2 => Within::Http2,
        None => Within::Http1,
    };
    match socket.accept_tls(tls, within).await {
        Ok(()) if socket.alpn_is(b"h2") => Opened::Http2,
        Ok(()) => Opened::Http1,
        // Opened and closed again: a check of the port, or a browser that was faster than its user.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Opened::Closed,
        Err(e) => {
            let client = conn.peer.ip().to_canonical();
            let what = || format!("a TLS handshake with {client} failed: {e}");
            conn.door
                .handshakes
                .tell(conn.shared(), || (conn.door.subject(), what()));
            Opened::Closed
        }
    }
}

/// Looks at what a connection begins with, and leaves it there.
async fn by_preface(socket: &Socket) -> Opened {
    let (mut seen, mut bytes) = (0, [0; PREFACE.len()]);
    loop {
        seen = match socket.peek(&mut bytes, seen).await {
            Ok(n) if n > seen => n,
            // The end: whatever came before it is read as HTTP/1.
            Ok(_) => return Opened::Http1,
            Err(_) => return Opened::Closed,
        };
        if bytes[..seen] != PREFACE[..seen] {
            return Opened::Http1;
        }
        if seen == PREFACE.len() {
            return Opened::Http2;
        }
    }
}
