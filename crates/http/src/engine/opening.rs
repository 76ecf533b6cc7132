//! What comes before the first request of a connection: a PROXY header, a TLS handshake.

use tandem_net::Peer;

use super::Snapshot;
use super::connection::Conn;

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
    match &config.tls {
        Some(tls) => conn.socket.accept_tls(tls).await.is_ok(),
        None => true,
    }
}
