//! Idle connections to servers, of one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tandem_net::{Socket, connect};

use crate::Upstream;
use crate::handler::Endpoint;

/// Idle connections kept for one server.
const MOST: usize = 64;
/// How long one is kept: below the five seconds after which common servers (Node, gunicorn, Apache) close it, so that a
/// request seldom meets a closing one.
const IDLE: Duration = Duration::from_secs(4);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    to: Endpoint,
    from: Option<IpAddr>,
}

struct Idle {
    socket: Socket,
    since: Instant,
}

/// The idle connections of a worker.
#[derive(Default)]
pub(super) struct Pool(RefCell<HashMap<Key, Vec<Idle>, foldhash::fast::RandomState>>);

impl Pool {
    /// A living connection, the one used last: its window is open widest and it is the least likely to be closed.
    pub fn take(&self, upstream: &Upstream) -> Option<Socket> {
        let mut pool = self.0.borrow_mut();
        let idle = pool.get_mut(&key(upstream))?;
        while let Some(Idle { socket, since }) = idle.pop() {
            if since.elapsed() < IDLE && is_quiet(&socket) {
                return Some(socket);
            }
        }
        None
    }

    /// Keeps a connection that waits for its next request.
    pub fn put(&self, upstream: &Upstream, socket: Socket) {
        let mut pool = self.0.borrow_mut();
        let idle = pool.entry(key(upstream)).or_default();
        if idle.len() < MOST {
            let since = Instant::now();
            idle.push(Idle { socket, since });
        }
    }

    /// Closes what is too old or was closed by the server.
    pub fn sweep(&self) {
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE && is_quiet(&idle.socket));
            !idle.is_empty()
        });
    }
}

fn key(upstream: &Upstream) -> Key {
    Key {
        to: upstream.address.clone(),
        from: upstream.from,
    }
}

/// Nothing has come on an idle connection: neither its end nor an answer nobody asked for. Makes a system call only when
/// the event loop has said that something can be read.
fn is_quiet(socket: &Socket) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    match socket.poll_readable(&mut cx) {
        Poll::Pending => true,
        Poll::Ready(Err(_)) => false,
        Poll::Ready(Ok(())) => socket.poll_read(&mut cx, &mut [0]).is_pending(),
    }
}

/// Opens a connection.
pub(crate) async fn open(to: &Endpoint, from: Option<IpAddr>) -> io::Result<Socket> {
    match to {
        Endpoint::Tcp(to) => connect::tcp(*to, from).await,
        Endpoint::Unix(path) => connect::unix(Path::new(&**path)).await,
    }
}
