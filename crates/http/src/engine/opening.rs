//! What comes before the first request of a connection: a PROXY header, a TLS handshake.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tandem_net::Peer;

use super::Snapshot;
use super::connection::Conn;

/// The shortest time between two events about handshakes of one listener: whoever fails many must not fill the log.
const QUIET: Duration = Duration::from_mins(1);

/// Handshakes that failed, of one listener on one worker.
#[derive(Default)]
pub(super) struct Failed {
    told: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl Failed {
    /// Notes one; returns what is to be said of it and those before it, if it is time.
    fn note(&self, client: IpAddr, error: &io::Error) -> Option<String> {
        let now = Instant::now();
        if self
            .told
            .get()
            .is_some_and(|told| now.duration_since(told) < QUIET)
        {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.told.set(Some(now));
        let others = match self.untold.take() {
            0 => String::new(),
            n => format!("; {n} others failed since the last was told of"),
        };
        Some(format!(
            "a TLS handshake with {client} failed: {error}{others}"
        ))
    }
}

/// Whether anything comes before the first request.
pub(super) fn is_needed(conn: &Conn) -> bool {
    let seen = conn.door.seen.borrow();
    seen.config.proxy_protocol || seen.config.tls.is_some()
}

/// Takes it; `false` when the connection is to be closed. All of it has the time that a head has.
pub(super) async fn open(conn: &mut Conn) -> bool {
    let snapshot = conn.door.snapshot(conn.shared());
    let limit = snapshot.config.timeouts.head;
    // Not the connection's clock, which would have to be borrowed along with what the handshake changes.
    matches!(
        tokio::time::timeout(limit, steps(conn, &snapshot)).await,
        Ok(true)
    )
}

async fn steps(conn: &mut Conn, snapshot: &Snapshot) -> bool {
    let config = &snapshot.config;
    if config.proxy_protocol {
        // Anyone may say anything in a header: it is asked only of those whose word is taken.
        if config.rule.peer(conn.peer.ip()) == Peer::Stranger {
            return false;
        }
        match conn.socket.read_proxy_header().await {
            Ok(Some(source)) => conn.peer = source,
            Ok(None) => {}
            Err(_) => return false,
        }
    }
    let Some(tls) = &config.tls else {
        return true;
    };
    match conn.socket.accept_tls(tls).await {
        Ok(()) => true,
        // Opened and closed again: a check of the port, or a browser that was faster than its user.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(e) => {
            if let Some(what) = conn.door.failed.note(conn.peer.ip().to_canonical(), &e) {
                let events = &conn.shared().telemetry.events;
                events.warning(format!("listener {}", config.name), what);
            }
            false
        }
    }
}
