//! One connection from a client: waiting, reading heads, handing requests on.
//!
//! While it waits it holds its socket, its timer and little else; the state of a request is boxed and lives as long as
//! one request soon follows another.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use tandem_net::{Accepted, Peer};
use tandem_telemetry::meters::add;
use tandem_telemetry::{Phase, Stopped};

use super::admission::{Admitted, Denied};
use super::body::Body;
use super::buffers::Buf;
use super::client::{Client, Wire};
use super::clock::{Clock, Elapsed};
use super::download::Instead;
use super::hand_over::HandedOver;
use super::opening::Opened;
use super::record::{self, Record};
use super::waiting::Pace;
use super::whole::Whole;
use super::{
    Counted, Door, Draining, Place, Shared, Snapshot, authorize, forward, hand_over, http2,
    opening, reply, tcp,
};
use crate::Request;
use crate::field::Kind;
use crate::handler::{Cx, Handler, Plan, Step};
use crate::head::{BodyLength, Head, HeadError, HeadLimits};
use crate::policy::authorize::Heard;
use crate::policy::{Edits, ErrorPages};

/// The most of an unread body that is read and dropped to keep a connection, in bytes. A new connection is cheaper than
/// more.
pub(super) const DRAINED: u64 = 64 * 1024;
/// How long a connection is held after the last answer, so that the client can read it before the kernel answers what
/// the client still sends with a reset (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// The most that is read and dropped meanwhile, in bytes.
const LINGERED: usize = 1 << 20;
/// The longest a handler's [`Step::Later`] may take; they have deadlines of their own.
const LATER: Duration = Duration::from_mins(2);
/// Handlers that may be asked in turn for one request.
const MOST_STEPS: usize = 16;

/// One connection.
pub(super) struct Conn {
    pub door: Rc<Door>,
    pub client: Client,
    pub peer: SocketAddr,
    pub clock: Clock,
    pub shared: Rc<Shared>,
    /// A connection counts, a stream of one does not.
    pub counted: Option<Counted>,
    /// Where the listener has limits.
    pub admitted: Option<Box<Admitted>>,
    pub pace: Cell<Pace>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is kept for the next request.
    Keep,
    /// It is closed; the client may still be sending.
    Close,
    /// It is closed at once: the client has gone, or must see that the answer is not complete.
    Abort,
}

/// One request while it is carried out.
pub(super) struct Exchange<'a> {
    pub conn: &'a Conn,
    pub snapshot: &'a Snapshot,
    pub request: Request<'a>,
    pub peer: Peer,
    pub cx: Cx,
    pub record: Record,
    /// What policies change about it.
    pub edits: Option<Box<Edits>>,
    /// The client waits for `100 Continue`, and none was sent.
    pub waits: bool,
    /// What follows the request on the connection.
    pub behind: &'a [u8],
    /// How often servers have handed it over.
    pub handed: u8,
    /// What stays of their answers.
    pub stays: Option<Box<Edits>>,
    /// What a request was answered that only asks.
    pub heard: Option<Box<Heard>>,
}

/// The life of a connection.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn would keep its argument twice, and this is what an idle connection costs"
)]
pub(super) fn run(mut conn: Conn) -> impl Future<Output = ()> + 'static {
    async move {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let _place = Place::new(&conn.shared, waker);
        if opening::is_needed(&conn) {
            match Box::pin(opening::open(&mut conn)).await {
                Opened::Http1 => {}
                Opened::Http2 => return Box::pin(http2::serve(conn)).await,
                Opened::Denied(denied) => {
                    let snapshot = conn.door.snapshot(&conn.shared);
                    if snapshot.config.handler.connections().is_some() {
                        return tcp::turn_away(&conn, &snapshot, denied);
                    }
                    let refuse = reply::refuse(&conn, &snapshot, NoHead::Denied(denied));
                    if Box::pin(refuse).await == After::Close {
                        Box::pin(linger(&conn)).await;
                    }
                    return;
                }
                Opened::Closed => return,
            }
        }
        let snapshot = conn.door.snapshot(&conn.shared);
        if let Some(connections) = snapshot.config.handler.connections() {
            let passing = tcp::pass(&conn, snapshot.clone(), connections);
            return Box::pin(passing).await;
        }
        drop(snapshot);
        while conn.next().await {
            match Box::pin(requests(&conn)).await {
                After::Keep => {}
                After::Close => {
                    Box::pin(linger(&conn)).await;
                    return;
                }
                After::Abort => return,
            }
        }
    }
}

/// Lets the client read the last answer: reads and drops what it sends until it closes.
async fn linger(conn: &Conn) {
    conn.client.finish();
    let (mut deadline, mut read) = (None, 0);
    let mut buf = conn.shared().buffers.small();
    while read < LINGERED {
        let wait = conn.client.read(buf.space());
        match conn.clock.limit_from(&mut deadline, LINGER, wait).await {
            Ok(Ok(n)) if n > 0 => read += n,
            _ => return,
        }
    }
}

impl Conn {
    pub fn new(
        shared: &Rc<Shared>,
        door: Rc<Door>,
        accepted: Accepted,
        admitted: Option<Admitted>,
    ) -> Self {
        let idle = door.seen.borrow().config.timeouts.idle;
        let counted = Some(Counted::new(shared, &door));
        Self {
            door,
            client: Client::Http1(accepted.socket),
            peer: accepted.peer,
            clock: Clock::new(idle),
            shared: shared.clone(),
            counted,
            admitted: admitted.map(Box::new),
            pace: Cell::default(),
        }
    }

    /// What it shares with the worker's other connections.
    pub fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Whether the next answer is the last.
    fn is_ending(&self) -> bool {
        self.shared().draining.get() != Draining::No || self.door.closed.get() || self.makes_room()
    }

    /// Whether it is to end for one that waits.
    pub fn makes_room(&self) -> bool {
        let admitted = self.admitted.as_deref();
        admitted.is_some_and(Admitted::makes_room)
    }

    /// Sends all of `pieces`, each part of it within `limit`.
    pub async fn send(&self, pieces: &mut [IoSlice<'_>], limit: Duration) -> Result<(), Stopped> {
        let mut left: &mut [IoSlice<'_>] = pieces;
        let sent = match left {
            [all] if !all.is_empty() => self.client.write_now(all),
            _ => None,
        };
        let sent = sent.unwrap_or(Ok(0)).map_err(|_| Stopped::Client)?;
        IoSlice::advance_slices(&mut left, sent);
        while !left.is_empty() {
            match self
                .clock
                .limit(limit, self.client.write(left, false))
                .await
            {
                Ok(Ok(n)) => IoSlice::advance_slices(&mut left, n),
                Ok(Err(_)) => return Err(Stopped::Client),
                Err(Elapsed) => return Err(Stopped::ClientTimeout),
            }
        }
        Ok(())
    }
}

/// Counts a request as being in some state, also when its task is dropped or panics.
struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    fn new(gauge: &'a AtomicU64) -> Self {
        add(gauge, 1);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        add(self.0, 1u64.wrapping_neg());
    }
}

/// Reads requests and answers them, until none has come for a while.
async fn requests(conn: &Conn) -> After {
    let shared = conn.shared();
    loop {
        let mut input = shared.buffers.small();
        let mut scratch = shared.buffers.scratch();
        // Until no part of another request is there.
        loop {
            let snapshot = conn.door.snapshot(shared);
            let scratch = &mut *scratch;
            if let Err(none) = read_head(conn, &mut input, &mut scratch.head, &snapshot).await {
                return reply::refuse(conn, &snapshot, none).await;
            }
            let length = scratch.head.length();
            let (bytes, behind) = input.filled().split_at(length);
            let (mut body, used) = Body::new(scratch.head.body(), behind, &shared.buffers);
            let mut x = Exchange::new(conn, &snapshot, &scratch.head, bytes, &behind[used..]);
            let outs = Outs {
                response: &mut scratch.response,
                request_out: &mut scratch.request_out,
                response_out: &mut scratch.response_out,
                whole: &mut scratch.whole,
            };
            let after = respond(&mut x, &mut body, outs).await;
            if after != After::Keep {
                return match after {
                    // With nothing unread the kernel sends no reset, and the client need not be waited for.
                    After::Close if body.is_complete() => {
                        if let Client::Http1(socket) = &conn.client {
                            socket.conclude();
                        }
                        After::Abort
                    }
                    after => after,
                };
            }
            if !body.is_complete() {
                let limit = snapshot.config.timeouts.body;
                let drained = conn
                    .clock
                    .limit(limit, body.discard(&conn.client, DRAINED))
                    .await;
                if drained != Ok(true) {
                    return After::Close;
                }
            }
            match body.into_rest() {
                Some(rest) => input = rest,
                None => input.consume(length + used),
            }
            if input.filled().is_empty() {
                break;
            }
            // Neither the next request nor a small answer has to be waited for: it is a connection's turn that ends.
            tokio::task::coop::consume_budget().await;
        }
        drop((input, scratch));
        if !conn.soon().await {
            return After::Keep;
        }
    }
}

/// Answers one request, and remembers it.
pub(super) async fn respond(x: &mut Exchange<'_>, body: &mut Body<'_>, outs: Outs<'_>) -> After {
    let shared = x.conn.shared();
    let answering = Gauge::new(&shared.counters().answering);
    let most = x
        .snapshot
        .config
        .limits
        .body
        .map_or(u64::MAX, |most| most.0);
    body.allow(most);
    let after = match x.request.body() {
        BodyLength::Known(n) if n > most => {
            Box::pin(dress(x)).await;
            Box::pin(too_large(x, body, outs)).await
        }
        _ => answer(x, body, outs).await,
    };
    drop(answering);
    record::end(x);
    x.cx.let_go(x.record.status);
    after
}

/// Has what its route says of answers hold for one that comes before the route is asked: a browser that is to read an error
/// needs its fields (CORS).
async fn dress(x: &mut Exchange<'_>) {
    let mut step = x.snapshot.config.handler.step(&x.request, &x.cx);
    let mut later = None;
    loop {
        // A password that nobody has tried yet, or a file that is not at hand.
        let plan = match step {
            Step::Plan(plan) => plan,
            Step::Later(future) => match x.conn.clock.limit_from(&mut later, LATER, future).await {
                Ok(plan) => plan,
                Err(Elapsed) => return,
            },
        };
        step = match plan {
            Plan::Edited { plan, edits } => {
                match &mut x.edits {
                    Some(before) => before.then(*edits),
                    none => *none = Some(edits),
                }
                Step::Plan(*plan)
            }
            Plan::Unlogged(plan) => {
                x.record.logged = false;
                Step::Plan(*plan)
            }
            _ => return,
        };
    }
}

/// Answers a request whose body is larger than it may be.
async fn too_large(x: &mut Exchange<'_>, body: &Body<'_>, outs: Outs<'_>) -> After {
    let service = x.snapshot.config.name.clone();
    x.record.end_by(Stopped::Refused, Phase::Request);
    if let Some(to) = x.elsewhere(413, b"") {
        // What is asked in its place has no body.
        x.cx.limit_body(u64::MAX, false);
        return hand_over::go(x, body, to, outs).await;
    }
    let mut page = reply::page(413, reply::TOO_LARGE, &service);
    page.close = true;
    reply::bytes(x, body, page, outs.response_out).await
}

/// Where heads are put together.
pub(super) struct Outs<'a> {
    pub response: &'a mut crate::response::ResponseHead,
    pub request_out: &'a mut Vec<u8>,
    pub response_out: &'a mut Vec<u8>,
    pub whole: &'a mut Whole,
}

/// Why there is no request to answer.
pub(super) enum NoHead {
    /// The client closed the connection.
    Gone,
    /// It took too long.
    Late,
    /// It is malformed or too large.
    Refused(HeadError),
    /// The connection is one too many.
    Denied(Denied),
}

impl From<HeadError> for NoHead {
    fn from(error: HeadError) -> Self {
        Self::Refused(error)
    }
}

async fn read_head(
    conn: &Conn,
    input: &mut Buf,
    head: &mut Head,
    snapshot: &Snapshot,
) -> Result<(), NoHead> {
    let limit = snapshot.config.timeouts.head;
    let limits = HeadLimits::from(&snapshot.config.limits);
    let (mut seen, mut skipped, mut deadline) = (0, false, None);
    let mut reading = None;
    // Where a request was just waited for.
    if input.filled().is_empty()
        && let Some(Ok(n)) = conn.client.read_now(input.space())
    {
        if n == 0 {
            return Err(NoHead::Gone);
        }
        input.fill(n);
    }
    loop {
        // One empty line before a request is passed over (RFC 9112 section 2.2).
        if !skipped && input.filled().starts_with(b"\r\n") {
            input.consume(2);
            skipped = true;
        }
        let filled = input.filled();
        if !filled.is_empty()
            && (skipped || filled != b"\r")
            && head.take(filled, &mut seen, &limits)?.is_some()
        {
            return Ok(());
        }
        // A head that comes in one piece, as nearly all do, is not worth counting.
        if reading.is_none() && !input.filled().is_empty() {
            reading = Some(Gauge::new(&conn.shared().counters().reading));
        }
        if input.space().is_empty() {
            // Rare: heads this large are let in by the listener's limits only.
            *input = conn.shared().buffers.grown(input);
        }
        let read = conn.client.read(input.space());
        match conn.clock.limit_from(&mut deadline, limit, read).await {
            Ok(Ok(n)) if n > 0 => input.fill(n),
            Ok(_) => return Err(NoHead::Gone),
            Err(Elapsed) if input.filled().is_empty() => return Err(NoHead::Gone),
            Err(Elapsed) => return Err(NoHead::Late),
        }
    }
}

impl<'a> Exchange<'a> {
    pub fn new(
        conn: &'a Conn,
        snapshot: &'a Snapshot,
        head: &'a Head,
        bytes: &'a [u8],
        behind: &'a [u8],
    ) -> Self {
        let now = conn.clock.read();
        let stated = head.fields.values(bytes, Kind::ForwardedFor);
        let (client, peer) = snapshot.config.rule.client(conn.peer, stated);
        let stated = head.fields.values(bytes, Kind::ForwardedProto).next();
        let secure = match stated.filter(|_| peer != Peer::Stranger) {
            Some(proto) => proto.eq_ignore_ascii_case(b"https"),
            None => conn.client.is_tls(),
        };
        Self {
            conn,
            snapshot,
            request: Request {
                head,
                bytes,
                client,
                peer: conn.peer,
                from_node: peer == Peer::Node,
                trusted: peer != Peer::Stranger,
                secure,
                port: conn.door.port,
                came: None,
                certificate: conn.client.certificate(),
            },
            peer,
            cx: Cx::new(conn.shared().worker, now),
            record: Record::new(now),
            edits: None,
            waits: head.expects_continue(),
            behind,
            handed: 0,
            stays: None,
            heard: None,
        }
    }

    /// The pages that hold for an error of this status.
    pub fn pages(&self, status: u16) -> Option<&ErrorPages> {
        let edits = self.edits.as_deref();
        if status < 400 || edits.is_some_and(|edits| edits.keeps_page) {
            return None;
        }
        let own = edits.and_then(|edits| edits.errors.as_deref());
        let all = self.snapshot.config.errors.as_deref();
        own.filter(|pages| pages.has(status)).or(all)
    }

    /// Where an error of this status, with these fields, leads, if it does.
    fn elsewhere(&self, status: u16, fields: &[u8]) -> Option<HandedOver> {
        let pages = self.pages(status)?;
        let (path, shown) = pages.path(status, &self.request, &self.cx)?;
        Some(HandedOver::of_error(&path, status, shown, fields))
    }

    /// The status that the client gets of an answer with this one.
    pub fn shown(&self, status: u16) -> u16 {
        let edits = self.edits.as_deref();
        edits.map_or(status, |edits| edits.shown(status))
    }

    pub fn is_head(&self) -> bool {
        self.request.method() == b"HEAD"
    }

    /// Who answers: the service that was asked, or the listener.
    pub fn service(&self) -> Arc<str> {
        let service = self.record.service.as_ref();
        service.unwrap_or(&self.snapshot.config.name).clone()
    }

    /// Whether the connection can be kept after an answer that leaves `left` bytes of the body unread ([`Body::left`]).
    pub fn may_keep(&self, left: Option<u64>) -> bool {
        let drainable = left == Some(0) || (!self.waits && left.is_none_or(|left| left <= DRAINED));
        self.request.head.keep_alive() && !self.conn.is_ending() && drainable
    }
}

/// Who is asked where there is nothing.
struct Fallback {
    then: Arc<dyn Handler>,
    /// What it is asked in the place of changes something about the request.
    is_changed: bool,
    /// What was changed about it before.
    before: Option<Box<Edits>>,
}

/// Has the next one answer in the place of one that has nothing.
fn fall_back(x: &mut Exchange<'_>, fallback: Fallback) -> Step {
    if fallback.is_changed {
        x.edits = fallback.before;
    }
    // A server that had nothing is none of the service that answers.
    (x.record.server, x.record.first_byte) = (None, None);
    fallback.then.step(&x.request, &x.cx)
}

/// Asks the handler, and those it hands on to, and carries out the plan.
pub(super) async fn answer(x: &mut Exchange<'_>, body: &mut Body<'_>, mut outs: Outs<'_>) -> After {
    let mut step = x.snapshot.config.handler.step(&x.request, &x.cx);
    if let Some(most) = x.cx.most_body() {
        body.allow(most);
    }
    let mut fallbacks: Vec<Fallback> = Vec::new();
    let mut later = None;
    for _ in 0..MOST_STEPS {
        let plan = match step {
            Step::Plan(plan) => plan,
            Step::Later(future) => match x.conn.clock.limit_from(&mut later, LATER, future).await {
                Ok(plan) => plan,
                Err(Elapsed) => break,
            },
        };
        step = match plan {
            Plan::Unlogged(plan) => {
                x.record.logged = false;
                Step::Plan(*plan)
            }
            Plan::Edited { plan, edits } => {
                for fallback in fallbacks.iter_mut().filter(|one| !one.is_changed) {
                    fallback.before.clone_from(&x.edits);
                    fallback.is_changed = true;
                }
                match &mut x.edits {
                    Some(before) => before.then(*edits),
                    none => *none = Some(edits),
                }
                Step::Plan(*plan)
            }
            Plan::Authorize(policy) => {
                match Box::pin(authorize::ask(x, &policy.by, &mut outs)).await {
                    Ok(()) => policy.decided(&x.request, &x.cx),
                    Err(after) => return after,
                }
            }
            Plan::Ask(handler) => handler.step(&x.request, &x.cx),
            Plan::OrElse { first, then } => {
                if x.request.is_read() {
                    fallbacks.push(Fallback {
                        then,
                        is_changed: false,
                        before: None,
                    });
                }
                Step::Plan(*first)
            }
            Plan::Bytes(_) if x.cx.is_too_large() => {
                return Box::pin(too_large(x, body, outs)).await;
            }
            Plan::Bytes(reply) => match fallbacks.pop() {
                Some(fallback) if reply.status == 404 => fall_back(x, fallback),
                _ if x.request.only_asks() => return x.hear(reply.status, &reply.fields),
                _ => match x.elsewhere(reply.status, &reply.fields) {
                    Some(to) => return hand_over::go(x, body, to, outs).await,
                    None => return reply::memory(x, body, reply, outs).await,
                },
            },
            Plan::Close(_) if x.request.only_asks() => return x.hear(500, b""),
            Plan::Close(service) => {
                x.record.service = Some(service);
                x.record.end_by(Stopped::Refused, Phase::Request);
                return After::Abort;
            }
            Plan::File(file) => match fallbacks.pop() {
                Some(fallback) if file.status == 404 => fall_back(x, fallback),
                _ if x.request.only_asks() => return x.hear(file.status, &file.fields),
                _ => return reply::file(x, body, file, outs.response_out).await,
            },
            Plan::Forward(attempts) => {
                let missing = !fallbacks.is_empty();
                match forward::forward(x, attempts, body, missing, &mut outs).await {
                    forward::Forwarded::Answered(after) => return after,
                    forward::Forwarded::Instead(Instead::HandedOver(to)) => {
                        return hand_over::go(x, body, *to, outs).await;
                    }
                    forward::Forwarded::Instead(Instead::Heard) => return After::Keep,
                    forward::Forwarded::Instead(Instead::Page(status)) => {
                        if x.request.only_asks() {
                            return x.hear(status, b"");
                        }
                        if let Some(to) = x.elsewhere(status, b"") {
                            return hand_over::go(x, body, to, outs).await;
                        }
                        let page = reply::page(status, reply::reason(status), &x.service());
                        return reply::bytes(x, body, page, outs.response_out).await;
                    }
                    forward::Forwarded::Instead(Instead::Another) => match fallbacks.pop() {
                        Some(fallback) => fall_back(x, fallback),
                        None => break,
                    },
                }
            }
        };
    }
    if x.request.only_asks() {
        return x.hear(503, b"");
    }
    if let Some(to) = x.elsewhere(503, b"") {
        return hand_over::go(x, body, to, outs).await;
    }
    let service = x.snapshot.config.name.clone();
    let page = reply::page(503, "this took too long or went in circles", &service);
    reply::bytes(x, body, page, outs.response_out).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, ListenerConfig};
    use arc_swap::ArcSwap;
    use tandem_net::Socket;
    use tandem_telemetry::{Telemetry, event::Log};
    use tokio::runtime::{Builder, LocalOptions};

    struct Nobody;

    impl crate::Handler for Nobody {
        fn step(&self, _: &Request<'_>, _: &Cx) -> Step {
            unreachable!()
        }
    }

    #[test]
    fn an_idle_connection_keeps_less_than_half_a_kibibyte() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let engine = Engine::new(0, 1, Telemetry::new("n", 1, Log::Silent));
            let config = Arc::new(ArcSwap::from_pointee(ListenerConfig {
                name: "l".into(),
                handler: Arc::new(Nobody),
                timeouts: tandem_model::Timeouts::default(),
                rule: tandem_net::ClientRule::default(),
                proxy_protocol: false,
                tls: None,
                http2: false,
                limits: tandem_model::Limits::default(),
                admission: Arc::default(),
                internal: false,
                hands_over: false,
                errors: None,
                log: None,
                log_format: tandem_model::AccessFormat::Combined,
                request_id: true,
                meters: crate::ListenerMeters::default(),
            }));
            let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
            socket.set_nonblocking(true).unwrap();
            let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listening.set_nonblocking(true).unwrap();
            let door = engine.listen(listening.into(), config).unwrap().door;
            let accepted = Accepted {
                socket: Socket::new(socket.into()).unwrap(),
                peer: ([127, 0, 0, 1], 1).into(),
            };
            let life = run(Conn::new(&engine.0, door, accepted, None));
            let kept = size_of_val(&life)
                + size_of::<tokio::time::Sleep>()
                + size_of::<Option<std::task::Waker>>();
            assert!(kept < 512, "{kept} bytes");
            // Tasks are multiples of 128 bytes: a little more than this takes another step.
            let life = size_of_val(&life);
            assert!(life <= 280, "{life} bytes of {kept}");
        });
    }
}
