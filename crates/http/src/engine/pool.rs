//! Idle connections to servers, of one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::{Outgoing, ProxyVersion};
use tandem_net::{ClientTls, Moment, Socket, TlsName, Within, connect, proxy};

use super::connection::Exchange;
use crate::Upstream;
use crate::handler::Endpoint;

/// Idle connections kept for one server: more than come at once to one worker as a rule, since those beyond are opened
/// anew for each request. What bounds them in fact is how many were busy at once within [`IDLE`].
const MOST: usize = 4096;
/// How long one is kept: below the five seconds after which common servers (Node, gunicorn, Apache) close it, so that a
/// request seldom meets a closing one.
const IDLE: Duration = Duration::from_secs(4);

/// What makes one connection as good as another.
#[derive(Clone)]
pub(super) struct Key {
    to: Endpoint,
    from: Option<Outgoing>,
    tls: Option<Arc<ClientTls>>,
    host: Option<TlsName>,
    /// What was said of the client when it was opened.
    stated: Option<Stated>,
}

type Stated = (ProxyVersion, SocketAddr, Option<SocketAddr>);

impl Key {
    /// Of the connections that can be used for a request.
    pub fn new(upstream: &Upstream, x: &Exchange<'_>) -> Self {
        Self {
            to: upstream.address.clone(),
            from: upstream.from,
            tls: upstream.tls.clone(),
            host: upstream.tls.as_ref().and_then(|_| upstream.host.clone()),
            stated: upstream.proxy.map(|version| {
                let to = x.conn.client.local_address();
                (version, x.request.client_address(), to)
            }),
        }
    }

    fn tls(&self) -> *const ClientTls {
        self.tls.as_ref().map_or(std::ptr::null(), Arc::as_ptr)
    }

    /// Opens a new one, with all that comes before the first request.
    pub async fn open(&self) -> io::Result<Socket> {
        let mut socket = open(&self.to, self.from).await?;
        if let Some((version, from, to)) = self.stated {
            let header = proxy::header(version, Some(from), to);
            socket.write_all(&header).await?;
        }
        if let Some(tls) = &self.tls {
            socket
                .connect_tls(tls, self.host.as_ref(), Within::Http1)
                .await?;
        }
        Ok(socket)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.to, self.from, self.tls(), &self.stated)
            == (&other.to, other.from, other.tls(), &other.stated)
            && self.host == other.host
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Who differs in the rest alone is rare.
        (&self.to, self.from).hash(state);
    }
}

struct Idle {
    socket: Socket,
    since: Moment,
}

/// The idle connections that are as good as one another.
#[derive(Default)]
pub(super) struct Alike(RefCell<Vec<Idle>>);

impl Alike {
    /// A living connection, the one used last: its window is open widest and it is the least likely to be closed. Nothing
    /// has come over it: neither its end nor an answer nobody asked for.
    pub fn take(&self, now: Moment) -> Option<Socket> {
        let mut idle = self.0.borrow_mut();
        while let Some(Idle { socket, since }) = idle.pop() {
            if now.since(since) < IDLE && socket.is_quiet() {
                return Some(socket);
            }
        }
        None
    }

    /// Keeps a connection that waits for its next request.
    pub fn put(&self, socket: Socket, since: Moment) {
        let mut idle = self.0.borrow_mut();
        if idle.len() < MOST {
            idle.push(Idle { socket, since });
        }
    }
}

/// The idle connections of a worker.
#[derive(Default)]
pub(super) struct Pool(RefCell<HashMap<Key, Rc<Alike>, foldhash::fast::RandomState>>);

impl Pool {
    /// Those that a request can use, and where the one that it opens goes when it has been used.
    pub fn alike(&self, key: &Key) -> Rc<Alike> {
        let mut pool = self.0.borrow_mut();
        if let Some(alike) = pool.get(key) {
            return alike.clone();
        }
        pool.entry(key.clone()).or_default().clone()
    }

    /// Closes what is too old or was closed by the server.
    pub fn sweep(&self) {
        self.0.borrow_mut().retain(|_, alike| {
            let mut idle = alike.0.borrow_mut();
            idle.retain(|idle| idle.since.elapsed() < IDLE && idle.socket.is_quiet());
            // A request that is on its way comes back to them.
            !idle.is_empty() || Rc::strong_count(alike) > 1
        });
    }
}

/// Opens a connection.
pub(crate) async fn open(to: &Endpoint, from: Option<Outgoing>) -> io::Result<Socket> {
    match to {
        Endpoint::Tcp(to) => match from {
            Some(Outgoing::Always(from)) => connect::tcp_from(*to, from).await,
            from => connect::tcp(*to, from.map(Outgoing::ip)).await,
        },
        Endpoint::Unix(path) => connect::unix(Path::new(&**path)).await,
    }
}
