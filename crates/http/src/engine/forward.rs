//! Forwarding: servers are tried until one answers or the one retry rule says stop.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tandem_net::{Moment, Socket};
use tandem_telemetry::{Phase, Severity, Stopped};

use super::body::Body;
use super::clock::{Clock, Elapsed};
use super::connection::{After, Conn, Exchange, Outs};
use super::download::Instead;
use super::exchange::{Done, exchange};
use super::gone::Watch;
use super::held::hold;
use super::pool::{Alike, Key};
use super::reply;
use crate::handler::{Attempts, Cause, Failure, Outcome, Queue, Stage, Upstream};
use crate::policy::ErrorPages;
use crate::request_id::{DIGITS, RequestId};

/// What became of a forwarded request.
pub(super) enum Forwarded {
    /// The client has an answer, or is gone.
    Answered(After),
    /// A server has answered, and something else is to be sent.
    Instead(Instead),
}

/// Tells the pool how the request ended, however it does: also when this connection's task is dropped or panics.
struct Tries<'a> {
    clock: &'a Clock,
    attempts: Box<dyn Attempts>,
    begun: Moment,
    status: u16,
    failure: Option<Failure>,
    /// When the last try began.
    tried: Option<Moment>,
    first_byte: Option<Duration>,
}

impl Drop for Tries<'_> {
    fn drop(&mut self) {
        let now = self.clock.now();
        self.attempts.done(&Outcome {
            status: self.status,
            failure: self.failure,
            total: now - self.begun,
            tried: self.tried.map_or(Duration::ZERO, |tried| now - tried),
            first_byte: self.first_byte,
        });
    }
}

/// Tries servers in turn and passes the first answer on. `missing`: a 404 is not passed on, if the request's body is still
/// there for whoever is asked instead.
pub(super) async fn forward(
    x: &mut Exchange<'_>,
    attempts: Box<dyn Attempts>,
    body: &mut Body<'_>,
    missing: bool,
    outs: &mut Outs<'_>,
) -> Forwarded {
    let mut tries = Tries {
        clock: &x.conn.clock,
        attempts,
        begun: x.record.begun,
        status: 0,
        failure: None,
        tried: None,
        first_byte: None,
    };
    x.record.service = Some(tries.attempts.service().clone());
    // Before a server is chosen: it has room for others until then.
    if tries.attempts.wants_whole()
        && !body.is_complete()
        && let Err(done) = Box::pin(hold(x, body)).await
    {
        return ended(x, tries, body, done, outs).await;
    }
    loop {
        let mut next = tries.attempts.next(tries.failure.as_ref());
        if next.is_none() && tries.failure.is_none_or(|failure| failure.retryable) {
            let watch = Watch::new(&x.conn.client);
            let may_ask = x.request.head.minor() == 1;
            let gone = poll_fn(|cx| watch.poll(cx, may_ask));
            let queued = &mut x.record.queued;
            match wait(x.conn, &mut *tries.attempts, gone, queued).await {
                Wait::Over(upstream) => next = upstream,
                Wait::Busy(stopped) => {
                    tries.failure = Some(busy());
                    x.record.end_by(stopped, Phase::Queue);
                }
                Wait::Gone => {
                    x.record.end_by(Stopped::Client, Phase::Queue);
                    return Forwarded::Answered(After::Abort);
                }
            }
        }
        let upstream = match (next, tries.failure) {
            (Some(upstream), None) => upstream,
            (Some(upstream), Some(failure)) if failure.retryable => {
                x.record.retries += 1;
                upstream
            }
            (_, failure) => {
                let out = tries.attempts.is_out();
                let failed = failed(x, body, failure, out, outs).await;
                tries.status = match failed {
                    Forwarded::Instead(Instead::Page(status)) => status,
                    _ => x.record.status,
                };
                return failed;
            }
        };
        tries.failure = None;
        let done = attempt(x, &*tries.attempts, &upstream, body, missing, outs).await;
        x.record.server = Some(upstream.name);
        (tries.tried, tries.first_byte) = (x.record.tried, x.record.until_first_byte());
        match done {
            Done::Answered { after, .. } => {
                tries.status = x.record.status;
                return Forwarded::Answered(after);
            }
            Done::Instead { status, what, .. } => {
                tries.status = status;
                return Forwarded::Instead(what);
            }
            Done::Failed(failure) => {
                tell(x, failure);
                tries.failure = Some(failure);
            }
            Done::Broken(failure) => {
                // The pool hears of it as of any failed try; there can be no other.
                tries.failure = Some(failure);
                tries.status = x.record.status;
                x.record.end_by(by(failure.cause), Phase::Body);
                let _ = tries.attempts.next(Some(&failure));
                return Forwarded::Answered(After::Abort);
            }
            done @ (Done::Refused(..) | Done::Stopped(..)) => {
                return ended(x, tries, body, done, outs).await;
            }
        }
    }
}

/// What is done where the client's part of an exchange went wrong.
async fn ended(
    x: &mut Exchange<'_>,
    mut tries: Tries<'_>,
    body: &mut Body<'_>,
    done: Done,
    outs: &mut Outs<'_>,
) -> Forwarded {
    tries.status = match done {
        Done::Refused(status, _) => status,
        _ => 0,
    };
    let service = tries.attempts.service().clone();
    // The server has no part in it any more, and may have others.
    drop(tries);
    match done {
        Done::Refused(status, words) => {
            let by = match status {
                408 => Stopped::ClientTimeout,
                _ => Stopped::Refused,
            };
            x.record.end_by(by, Phase::Request);
            let leads = |pages: &ErrorPages| pages.leads(status);
            if x.request.only_asks() || x.pages(status).is_some_and(leads) {
                return Forwarded::Instead(Instead::Page(status));
            }
            let mut page = reply::page(status, words, &service);
            page.close = true;
            let after = reply::bytes(x, body, page, outs.response_out).await;
            Forwarded::Answered(after)
        }
        Done::Stopped(stopped, phase) => {
            x.record.end_by(stopped, phase);
            Forwarded::Answered(After::Abort)
        }
        _ => Forwarded::Answered(After::Abort),
    }
}

/// Tells of a failed try, where the log wants to know.
fn tell(x: &Exchange<'_>, failure: Failure) {
    let events = &x.conn.shared().telemetry.events;
    if !events.logs(Severity::Debug) {
        return;
    }
    let service = x.record.service.as_deref().unwrap_or_default();
    let server = x.record.server.as_deref().unwrap_or_default();
    events.debug(&format!("{service}/{server}"), || {
        let target = String::from_utf8_lossy(x.request.target());
        let id = RequestId::of(&x.request, &x.cx);
        let mut digits = [0; DIGITS];
        let id = String::from_utf8_lossy(id.text(&mut digits));
        let Failure { stage, cause, .. } = failure;
        format!("a try failed ({stage:?}, {cause:?}) of {target:?}, request {id}")
    });
}

/// Tells of a server that does not speak TLS as it should, or is not who it should be: without checks nobody else does.
#[cold]
fn tell_unsure(x: &Exchange<'_>, upstream: &Upstream, error: &io::Error) {
    if upstream.tls.is_none() || error.kind() != io::ErrorKind::InvalidData {
        return;
    }
    let service = x.record.service.as_deref().unwrap_or_default();
    let subject = format!("{service}/{}", upstream.name);
    let what = format!("a TLS handshake failed: {error}");
    let shared = x.conn.shared();
    shared.unsure.tell(shared, || (subject, what));
}

/// How a wait for a server ended.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made, once a wait"
)]
pub(super) enum Wait {
    /// There is one, or none is worth waiting for.
    Over(Option<Upstream>),
    /// All were busy for too long, or too many wait.
    Busy(Stopped),
    /// The client left.
    Gone,
}

/// Waits in the pool's queue, if that says so, and adds how long to `queued`. A client that leaves (`gone`) makes room
/// for those behind it.
pub(super) async fn wait(
    conn: &Conn,
    attempts: &mut dyn Attempts,
    gone: impl Future<Output = ()>,
    queued: &mut Duration,
) -> Wait {
    let limit = match attempts.queue() {
        Queue::Nothing => return Wait::Over(None),
        Queue::Full => return Wait::Busy(Stopped::QueueFull),
        Queue::Wait(limit) => limit,
    };
    let begun = Moment::now();
    let waited = {
        let place = pin!(poll_fn(|cx| attempts.poll_queue(cx)));
        let gone = pin!(gone);
        let waited = conn.clock.limit(limit, select(place, gone)).await;
        waited.map(|first| match first {
            Either::Left((upstream, _)) => Some(upstream),
            Either::Right(_) => None,
        })
    };
    *queued += begun.elapsed();
    match waited {
        Ok(Some(upstream)) => Wait::Over(upstream),
        Ok(None) => Wait::Gone,
        Err(Elapsed) => {
            // Before the client is told, which may take it long to hear.
            attempts.stop_waiting();
            Wait::Busy(Stopped::QueueTimeout)
        }
    }
}

/// What became of a request that found no server with room.
pub(super) fn busy() -> Failure {
    Failure {
        stage: Stage::Unsent,
        cause: Cause::Busy,
        retryable: false,
        by_gateway: false,
    }
}

/// What is said when no server is left.
const NO_SERVER: &str = "no server is available";

/// Who is to blame for a failure.
pub(super) fn by(cause: Cause) -> Stopped {
    match cause {
        Cause::Refused | Cause::Broken | Cause::Malformed | Cause::Status(_) => Stopped::Server,
        Cause::Timeout => Stopped::ServerTimeout,
        Cause::NoServer | Cause::CutOff => Stopped::NoServer,
        // A gateway that says so.
        Cause::Busy => Stopped::QueueFull,
    }
}

/// No server answered; `out`: none is left that could be asked.
async fn failed(
    x: &mut Exchange<'_>,
    body: &mut Body<'_>,
    failure: Option<Failure>,
    out: bool,
    outs: &mut Outs<'_>,
) -> Forwarded {
    let (status, words) = match failure.map_or(Cause::NoServer, |failure| failure.cause) {
        // 503, as the next request will be: whoever asks again later may be served.
        Cause::Refused | Cause::Broken | Cause::Timeout
            if out && failure.is_some_and(|failure| failure.stage == Stage::Unsent) =>
        {
            (503, NO_SERVER)
        }
        Cause::Broken if failure.is_some_and(|failure| failure.stage != Stage::Unsent) => {
            (502, "the server broke off before it had answered")
        }
        Cause::Refused | Cause::Broken => (502, "the server could not be reached"),
        Cause::Malformed => (
            502,
            "the server's answer is malformed, or its head has more than 16 KiB or 100 fields",
        ),
        Cause::Timeout => (504, "the server did not answer in time"),
        Cause::NoServer => (503, NO_SERVER),
        Cause::CutOff => (503, "the node that was asked does not reach the sessions"),
        Cause::Busy => (503, "all servers are busy"),
        Cause::Status(status) => (status, "the server could not answer"),
    };
    let cause = failure.map_or(Cause::NoServer, |failure| failure.cause);
    let phase = match (cause, failure.map(|failure| failure.stage)) {
        (Cause::NoServer | Cause::CutOff | Cause::Busy, _) | (_, None) => Phase::Queue,
        (_, Some(Stage::Unsent)) => Phase::Connect,
        (_, Some(Stage::Unanswered | Stage::Answered)) => Phase::Answer,
    };
    x.record.end_by(by(cause), phase);
    let leads = |pages: &ErrorPages| pages.leads(status);
    if x.request.only_asks() || x.pages(status).is_some_and(leads) {
        return Forwarded::Instead(Instead::Page(status));
    }
    let mut page = reply::page(status, words, &x.service());
    if x.snapshot.config.internal && x.request.from_node {
        match failure.map_or(Stage::Unsent, |failure| failure.stage) {
            Stage::Unsent if failure.is_some_and(|failure| failure.cause == Cause::Busy) => {
                reply::mark(&mut page, "busy");
            }
            Stage::Unsent => reply::mark(&mut page, "unsent"),
            Stage::Unanswered => reply::mark(&mut page, "unanswered"),
            Stage::Answered => {}
        }
    }
    Forwarded::Answered(reply::bytes(x, body, page, outs.response_out).await)
}

/// Tries one server: on an idle connection if there is one, else on a new one.
///
/// A server closes idle connections as it likes; when that crosses the request, and the one rule allows another try, it
/// is no failure of the server: it gets its try on a new connection.
async fn attempt(
    x: &mut Exchange<'_>,
    attempts: &dyn Attempts,
    upstream: &Upstream,
    body: &mut Body<'_>,
    missing: bool,
    outs: &mut Outs<'_>,
) -> Done {
    let key = Key::new(upstream, x);
    let now = x.conn.clock.now();
    let alike = x.conn.shared().pool.alike(&key);
    // A program that does not speak HTTP has one request a connection.
    let idle = match upstream.fastcgi {
        None => alike.take(now),
        Some(_) => None,
    };
    if let Some(socket) = idle {
        x.record.reuse(now);
        match exchange(x, attempts, upstream, &socket, body, missing, outs).await {
            Done::Failed(Failure {
                cause: Cause::Broken,
                retryable: true,
                by_gateway: false,
                ..
            }) => {}
            done => return kept(x, &alike, socket, done),
        }
    }
    x.record.open(x.conn.clock.now());
    let open = x.conn.clock.limit(upstream.timeouts.connect, key.open());
    // What opening takes of memory, with TLS above all, lives no longer than that.
    let opened = Box::pin(open).await;
    x.record
        .opened(x.conn.clock.now(), matches!(opened, Ok(Ok(_))));
    let cause = match opened {
        Ok(Ok(socket)) => {
            let done = exchange(x, attempts, upstream, &socket, body, missing, outs).await;
            if upstream.fastcgi.is_some() {
                return done;
            }
            return kept(x, &alike, socket, done);
        }
        Ok(Err(e)) => {
            tell_unsure(x, upstream, &e);
            cause(&e)
        }
        Err(Elapsed) => Cause::Timeout,
    };
    Done::Failed(failure(x, body, Stage::Unsent, cause, false))
}

/// Keeps the connection for the next request, if it can be used again.
fn kept(x: &Exchange<'_>, alike: &Alike, socket: Socket, done: Done) -> Done {
    if let Done::Answered { reusable: true, .. } | Done::Instead { reusable: true, .. } = done {
        alike.put(socket, x.conn.clock.now());
    }
    done
}

/// Why no connection could be opened.
pub(super) fn cause(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Cause::Refused,
        io::ErrorKind::TimedOut => Cause::Timeout,
        _ => Cause::Broken,
    }
}

/// The one retry rule: nothing sent: any method; no byte of an answer: methods that may be repeated (RFC 9110 section
/// 9.2.2); else never. And what was read of the body must still be there.
pub(super) fn failure(
    x: &Exchange<'_>,
    body: &Body<'_>,
    stage: Stage,
    cause: Cause,
    by_gateway: bool,
) -> Failure {
    let allowed = match stage {
        Stage::Unsent => true,
        Stage::Unanswered => is_repeatable(x),
        Stage::Answered => false,
    };
    Failure {
        stage,
        cause,
        retryable: allowed && body.can_replay(),
        by_gateway,
    }
}

/// Whether it does no harm to carry out the request twice (RFC 9110 section 9.2.2).
pub(super) fn is_repeatable(x: &Exchange<'_>) -> bool {
    let method = matches!(
        x.request.method(),
        b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE"
    );
    method && !x.request.head.upgrade()
}
