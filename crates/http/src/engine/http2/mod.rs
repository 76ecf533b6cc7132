//! HTTP/2 (RFC 9113) towards clients, on h2's frames, streams and windows.
//!
//! [`serve`] is the life of a connection; each request is a task of its own with a [`Stream`] as its client's end, and
//! from there on goes the way of any other. What bounds a client: the number of its streams, the windows, the size of
//! heads, the buffers of h2 for what it does not take, time limits for everything it owes, and [`guard`] for frames
//! that carry nothing.

mod guard;
mod head;
mod stream;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use tandem_net::ClientCertificate;
use tokio::task::spawn_local;

use super::admission::Admitted;
use super::body::Body;
use super::client::Client;
use super::clock::Clock;
use super::connection::{After, Conn, Exchange, NoHead, Outs, respond};
use super::{Door, Draining, Shared, reply};
use crate::head::{HeadLimits, MAX_HEAD};
use guard::{Account, Guarded};
pub(super) use stream::Stream;
use wire::Wire;

/// What a client sends first when it knows that HTTP/2 is spoken (section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client may send of one body before it is read, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
/// What it may send of all bodies before they are read, in bytes.
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// How long a connection is held after its last word, so that the client hears it.
const LINGER: Duration = Duration::from_secs(2);

/// The requests of a connection that are being answered.
#[derive(Default)]
struct Open {
    count: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// Whom a connection joins.
#[derive(Clone)]
struct Ends {
    tls: bool,
    certificate: Option<Arc<ClientCertificate>>,
    local: Option<SocketAddr>,
    peer: SocketAddr,
}

/// Counts a request for as long as its task lives.
struct Counted(Rc<Open>, Rc<Shared>);

impl Counted {
    fn new(open: &Rc<Open>, shared: &Rc<Shared>) -> Self {
        open.count.set(open.count.get() + 1);
        Self(open.clone(), shared.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if let Some(waker) = &*self.0.waker.borrow() {
            waker.wake_by_ref();
        }
        if std::thread::panicking() {
            self.1.counters().panics.fetch_add(1, Relaxed);
        }
    }
}

/// A connection while it lasts.
struct Life {
    connection: Connection<Guarded, Bytes>,
    wire: Rc<Wire>,
    account: Rc<Account>,
    open: Rc<Open>,
    clock: Clock,
    /// When it was last seen without a request.
    idle_since: Option<Instant>,
    /// It was told that it ends.
    leaving: Option<Instant>,
    /// Where the listener has limits.
    admitted: Option<Box<Admitted>>,
    /// Something was asked.
    answered: bool,
    /// It was answered before, nothing is asked, and its place is one that others may wait for.
    kept: Option<Kept>,
}

/// Counts a connection as one that is kept and idle.
struct Kept(Rc<Door>);

impl Kept {
    fn new(door: &Rc<Door>) -> Self {
        door.kept.set(door.kept.get() + 1);
        Self(door.clone())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.kept.set(self.0.kept.get() - 1);
    }
}

/// Serves a connection whose client speaks HTTP/2.
pub(super) async fn serve(conn: Conn) {
    let Conn {
        door,
        client,
        peer,
        clock,
        shared,
        counted: _counted,
        admitted,
        pace: _,
    } = conn;
    let Client::Http1(socket) = client else {
        return;
    };
    let ends = Ends {
        tls: socket.is_tls(),
        certificate: socket.client_certificate().cloned(),
        local: socket.local_address(),
        peer,
    };
    let wire = Rc::new(Wire::new(socket));
    let (guarded, account) = Guarded::new(wire.clone());
    let config = door.snapshot(&shared).config.clone();
    let (limit, limits) = (config.timeouts.head, config.limits);
    let handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(u32::from(limits.streams))
        .max_header_list_size(limits.head.0 as u32)
        .max_send_buffer_size(stream::WRITE)
        .handshake(guarded);
    let mut handshake = pin!(handshake);
    let handshake = poll_fn(|cx| {
        let done = handshake.as_mut().poll(cx);
        match wire.poll_send(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(None),
            // What could not be sent goes with what follows.
            _ => done.map(Result::ok),
        }
    });
    let Ok(Some(connection)) = clock.limit(limit, handshake).await else {
        return;
    };
    let open = Rc::new(Open::default());
    let mut life = Life {
        connection,
        wire,
        account,
        open: open.clone(),
        clock,
        idle_since: None,
        leaving: None,
        admitted,
        answered: false,
        kept: None,
    };
    while let Some((request, respond)) =
        poll_fn(|cx| life.poll_next(cx, &door, &shared, peer)).await
    {
        let counted = Counted::new(&open, &shared);
        let (door, shared) = (door.clone(), shared.clone());
        spawn_local(answer(
            request,
            respond,
            ends.clone(),
            door,
            shared,
            counted,
        ));
    }
}

impl Life {
    /// The next request; `None` when there will be none and nothing is left to be said.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        door: &Rc<Door>,
        shared: &Rc<Shared>,
        peer: SocketAddr,
    ) -> Poll<Option<(Request<RecvStream>, SendResponse<Bytes>)>> {
        self.account.watch(cx.waker());
        *self.open.waker.borrow_mut() = Some(cx.waker().clone());
        let timeouts = door.seen.borrow().config.timeouts;
        loop {
            if self.account.is_spent() && self.leaving.is_none() {
                self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                self.leaving = Some(Instant::now());
                let what = || {
                    let client = peer.ip().to_canonical();
                    format!(
                        "{client} sent HTTP/2 frames that carry nothing without end: it was sent away"
                    )
                };
                door.floods.tell(shared, || (door.subject(), what()));
            }
            if self.leaving.is_none()
                && (shared.draining.get() != Draining::No
                    || door.closed.get()
                    || (self.kept.is_some() && self.makes_room()))
            {
                self.leave();
            }
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok(request))) => return Poll::Ready(Some(request)),
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            if let Poll::Ready(Err(_)) = self.wire.poll_send(cx) {
                return Poll::Ready(None);
            }
            if self.open.count.get() > 0 {
                self.idle_since = None;
                self.kept = None;
                self.answered = true;
            } else if self.idle_since.is_none() {
                self.wire.rest();
                self.idle_since = Some(Instant::now());
                if self.answered && self.admitted.is_some() {
                    self.kept = Some(Kept::new(door));
                    continue;
                }
            }
            let idle = self.idle_since.map(|since| match self.leaving {
                Some(left) => since.max(left) + LINGER,
                None => since + timeouts.idle,
            });
            let owed = self.account.owes_since().map(|since| since + timeouts.head);
            let Some(deadline) = idle.into_iter().chain(owed).min() else {
                return Poll::Pending;
            };
            self.clock
                .allow(deadline.saturating_duration_since(Instant::now()));
            if self.clock.poll(cx).is_pending() {
                return Poll::Pending;
            }
            // A head that does not come to its end keeps h2 from reading anything else: there is nothing to wait for.
            if self.leaving.is_some() || owed.is_some_and(|owed| owed <= deadline) {
                return Poll::Ready(None);
            }
            self.leave();
        }
    }

    /// Whether it is to end for one that waits.
    fn makes_room(&self) -> bool {
        let admitted = self.admitted.as_deref();
        admitted.is_some_and(Admitted::makes_room)
    }

    /// Tells the client to open no more streams here.
    fn leave(&mut self) {
        self.connection.graceful_shutdown();
        self.leaving = Some(Instant::now());
    }
}

/// Answers one request.
async fn answer(
    request: Request<RecvStream>,
    respond_to: SendResponse<Bytes>,
    ends: Ends,
    door: Rc<Door>,
    shared: Rc<Shared>,
    _counted: Counted,
) {
    let snapshot = door.snapshot(&shared);
    let limits = HeadLimits::from(&snapshot.config.limits);
    let mut scratch = shared.buffers.scratch();
    let scratch = &mut *scratch;
    let text = &mut scratch.request_out;
    let written = head::write(text, &request, limits.head);
    let mut input = if text.len() <= MAX_HEAD {
        shared.buffers.small()
    } else {
        shared.buffers.large()
    };
    // What is longer still was refused.
    let length = text.len().min(input.capacity());
    input.space()[..length].copy_from_slice(&text[..length]);
    input.fill(length);
    let bare = request.method() == Method::HEAD;
    let peer = ends.peer;
    let stream = Stream::new(request.into_body(), respond_to, bare, ends);
    let conn = Conn {
        door,
        client: Client::Http2(Box::new(stream)),
        peer,
        clock: Clock::new(snapshot.config.timeouts.body),
        shared: shared.clone(),
        counted: None,
        admitted: None,
        pace: Cell::default(),
    };
    let bytes = input.filled();
    let after = match written.and_then(|()| scratch.head.read_http2(bytes, &limits)) {
        Err(error) => reply::refuse(&conn, &snapshot, NoHead::Refused(error)).await,
        Ok(()) => {
            let mut body = Body::of_stream(scratch.head.body(), &shared.buffers);
            let mut x = Exchange::new(&conn, &snapshot, &scratch.head, bytes, b"");
            let outs = Outs {
                response: &mut scratch.response,
                request_out: &mut scratch.request_out,
                response_out: &mut scratch.response_out,
                whole: &mut scratch.whole,
            };
            Box::pin(respond(&mut x, &mut body, outs)).await
        }
    };
    let Client::Http2(stream) = &conn.client else {
        return;
    };
    if after == After::Abort || stream.end(b"").is_err() {
        stream.abort();
    }
}
