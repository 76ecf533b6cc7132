//! One request to one server and its answer back, both ways at once.
//!
//! The upload and the download are two futures in one task with one timer; a server may answer before it has the whole
//! body. Each says in [`Flow`] how far it is and whom it waits for, so that a failure or a timeout can be blamed.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tandem_model::Protocol;
use tandem_net::{Moment, Socket};
use tandem_telemetry::{Phase, Stopped};

use super::body::{Body, BodyError};
use super::clock::Clock;
use super::connection::{After, Exchange, Outs};
use super::download::{Down, Download, Instead};
use super::forward::{failure, is_repeatable};
use super::gone::Watch;
use super::held::Held;
use super::reply::TOO_LARGE;
use super::upload::{Framing, Pauses, UploadError, upload};
use crate::fastcgi::{self, Call, Records, TooLong};
use crate::handler::{Attempts, Cause, Endpoint, Failure, Stage, Upstream};
use crate::head::BodyLength;
use crate::request_id::{DIGITS, RequestId};
use crate::{rewrite, strictness};

/// What became of a request at one server.
pub(super) enum Done {
    /// The client has the answer.
    Answered { after: After, reusable: bool },
    /// Something else is sent in place of the answer, whose status is this.
    Instead {
        status: u16,
        what: Instead,
        reusable: bool,
    },
    /// The try failed, and the client has got nothing.
    Failed(Failure),
    /// The server failed after its answer had begun.
    Broken(Failure),
    /// The client's body is malformed or late: it is told so.
    Refused(u16, &'static str),
    /// The client is gone, or takes nothing.
    Stopped(Stopped, Phase),
}

/// Whom a direction waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    Client,
    Server,
}

/// How far the two directions are.
pub(super) struct Flow<'a> {
    pub clock: &'a Clock,
    /// Bytes of the request that the kernel took.
    pub sent: Cell<u64>,
    /// What is left of the request's body; `Some(0)` when all of it was read.
    pub left: Cell<Option<u64>>,
    /// What was read of the body can be sent again.
    pub replays: Cell<bool>,
    /// The whole request was sent.
    pub uploaded: Cell<bool>,
    /// A byte of an answer came.
    pub heard: Cell<bool>,
    /// The client got a byte of the final answer, or may have.
    pub answering: Cell<bool>,
    /// Both sides go on in another protocol.
    pub tunnels: Cell<bool>,
    pub upload: Cell<Waits>,
    pub download: Cell<Waits>,
}

enum End {
    Upload(BodyError),
    Unsent,
    Down(Down),
    Late,
    /// The server is down, and the request may be repeated at another one.
    Lost,
    Gone,
}

/// How often is looked whether a server that has not answered is down meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// The client's body is late.
pub(super) const LATE: Done = Done::Refused(408, "the body did not come in time");

/// What comes of a body that could not be read, as long as the client has got nothing.
pub(super) fn unread(error: BodyError) -> Done {
    match error {
        BodyError::Malformed => Done::Refused(strictness::CHUNKS.status, strictness::CHUNKS.words),
        BodyError::TooLarge => Done::Refused(413, TOO_LARGE),
        BodyError::Disk => Done::Refused(503, NO_ROOM),
        BodyError::Gone => Done::Stopped(Stopped::Client, Phase::Request),
    }
}

/// What is said where a body cannot be held.
const NO_ROOM: &str = "there is no room to hold the body until it is whole";

/// Tells a client that waits for it to send its body.
pub(super) async fn go_on(x: &mut Exchange<'_>, body: &Body<'_>) -> Result<(), Done> {
    if std::mem::take(&mut x.waits) && !body.is_complete() && body.begun().0.is_empty() {
        let go_on = &mut [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")];
        let sent = x.conn.send(go_on, x.snapshot.config.timeouts.body).await;
        sent.map_err(|stopped| Done::Stopped(stopped, Phase::Request))?;
    }
    Ok(())
}

/// Sends the request over `socket` and passes the answer on. The server is one of these `attempts`.
pub(super) async fn exchange(
    x: &mut Exchange<'_>,
    attempts: &dyn Attempts,
    upstream: &Upstream,
    socket: &Socket,
    body: &mut Body<'_>,
    missing: bool,
    outs: &mut Outs<'_>,
) -> Done {
    let conn = x.conn;
    if x.waits
        && let Err(done) = go_on(x, body).await
    {
        return done;
    }
    let out = &mut *outs.request_out;
    out.clear();
    if write_head(x, upstream, body, out) == Err(TooLong) {
        return Done::Refused(431, "the head has more than the program's protocol can say");
    }
    let flow = Flow {
        clock: &conn.clock,
        sent: Cell::new(0),
        left: Cell::new(body.left()),
        replays: Cell::new(body.can_replay()),
        uploaded: Cell::new(false),
        heard: Cell::new(false),
        answering: Cell::new(false),
        tunnels: Cell::new(false),
        upload: Cell::new(Waits::Server),
        download: Cell::new(Waits::Server),
    };
    let program = upstream.fastcgi.as_deref();
    let in_records = program.is_some_and(|call| call.program.protocol == Protocol::FastCgi);
    let framing = match x.request.head.body() {
        _ if upstream.fastcgi.is_some() => {
            if in_records {
                Framing::Records
            } else {
                Framing::Plain
            }
        }
        BodyLength::Chunked => Framing::Chunks,
        BodyLength::None | BodyLength::Known(_) => Framing::Plain,
    };
    if let Some(edits) = &x.edits {
        body.leave_out(edits.request.removed());
    }
    let knows_interim = x.request.head.minor() == 1;
    let end = {
        let (ours, theirs) = (x.snapshot.config.timeouts.body, upstream.timeouts.body);
        let pauses = Pauses {
            client: ours.min(theirs),
            server: theirs,
        };
        let upload = pin!(upload(conn, socket, body, out, framing, &flow, pauses));
        let again = is_repeatable(x);
        let download = pin!(
            Download {
                x,
                attempts,
                upstream,
                socket,
                flow: &flow,
                missing,
                again,
                is_last: false,
                records: in_records.then(Records::default),
                response: outs.response,
                out: outs.response_out,
            }
            .run()
        );
        let watch = Watch::new(&conn.client);
        let gone = |cx: &mut Context<'_>| watch.poll(cx, knows_interim && !flow.answering.get());
        let lost = || again && flow.replays.get() && attempts.is_lost();
        both(
            upload,
            download,
            (gone, lost),
            &flow,
            upstream.timeouts.first_byte,
        )
        .await
    };
    let stage = || match (flow.heard.get(), flow.sent.get()) {
        (true, _) => Stage::Answered,
        (false, 0) => Stage::Unsent,
        (false, _) => Stage::Unanswered,
    };
    let fail = |x: &Exchange<'_>, cause| {
        let failure = failure(x, body, stage(), cause, false);
        if flow.answering.get() {
            Done::Broken(failure)
        } else {
            Done::Failed(failure)
        }
    };
    match end {
        End::Down(Down::Complete { after, reusable }) => Done::Answered {
            after,
            reusable: reusable && flow.uploaded.get(),
        },
        End::Down(Down::Instead { what, reusable }) => Done::Instead {
            status: outs.response.status(),
            what,
            reusable: reusable && flow.uploaded.get(),
        },
        End::Down(Down::Marked(stage, cause)) => Done::Failed(failure(x, body, stage, cause, true)),
        End::Down(Down::Failure(status)) => {
            // Nothing of the answer was passed on: as far as the client can tell there was none.
            Done::Failed(failure(
                x,
                body,
                Stage::Unanswered,
                Cause::Status(status),
                false,
            ))
        }
        End::Down(Down::Server(cause)) => fail(x, cause),
        End::Down(Down::Client(stopped)) => Done::Stopped(stopped, Phase::Body),
        End::Unsent => fail(x, Cause::Broken),
        End::Lost => fail(x, Cause::Timeout),
        End::Upload(error) if !flow.answering.get() => unread(error),
        End::Upload(_) | End::Gone if flow.answering.get() => {
            Done::Stopped(Stopped::Client, Phase::Body)
        }
        End::Upload(_) | End::Gone => Done::Stopped(Stopped::Client, Phase::Answer),
        End::Late => {
            let client = if flow.answering.get() {
                flow.download.get() == Waits::Client
            } else {
                !flow.uploaded.get() && flow.upload.get() == Waits::Client
            };
            match (client, flow.answering.get()) {
                (true, true) => Done::Stopped(Stopped::ClientTimeout, Phase::Body),
                (true, false) => LATE,
                (false, _) => fail(x, Cause::Timeout),
            }
        }
    }
}

/// Appends the request as a program gets it that speaks FastCGI: made of the head that a server of HTTP would get.
fn write_call(
    x: &Exchange<'_>,
    call: &Call,
    head: &[u8],
    body: &Body<'_>,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let (first, kept) = body.begun();
    let held = body.held().map_or(0, Held::len);
    let request = &x.request;
    fastcgi::write(
        out,
        head,
        &fastcgi::Facts {
            call,
            uri: call.uri.as_deref().unwrap_or_else(|| request.target()),
            version: request.head.version(),
            client: request.client_address(),
            server: x.conn.client.local_address(),
            secure: request.secure,
            user: x.edits.as_deref().map_or("", |edits| &edits.user),
            // It is there as a whole.
            length: held + (first.len() + kept.len()) as u64,
        },
    )
}

fn write_head(
    x: &Exchange<'_>,
    upstream: &Upstream,
    body: &Body<'_>,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    if let Some(call) = &upstream.fastcgi {
        let mut head = Vec::new();
        write_http(x, upstream, body, &mut head);
        return write_call(x, call, &head, body, out);
    }
    write_http(x, upstream, body, out);
    Ok(())
}

#[inline]
fn write_http(x: &Exchange<'_>, upstream: &Upstream, body: &Body<'_>, out: &mut Vec<u8>) {
    let address = match &upstream.address {
        // Only a request without a Host field needs it.
        Endpoint::Tcp(at) if x.request.head.host(x.request.bytes).is_empty() => at.to_string(),
        Endpoint::Tcp(_) => String::new(),
        Endpoint::Unix(_) => "localhost".into(),
    };
    let mut digits = [0; DIGITS];
    let id = (x.snapshot.config.request_id).then(|| RequestId::of(&x.request, &x.cx));
    rewrite::request(
        out,
        &rewrite::Forwarded {
            head: x.request.head,
            bytes: x.request.bytes,
            from: x.request.peer,
            peer: x.peer,
            secure: x.request.secure,
            to_node: upstream.node,
            // What is declined must be there to be sent again.
            elsewhere: upstream.elsewhere && body.is_small(),
            id: id.map(|id| id.text(&mut digits)),
            host: &address,
            edits: x.edits.as_deref(),
            cookies: upstream.cookies.as_deref(),
        },
    );
}

/// Runs both directions until the download ends, or one of them cannot go on: the client is `gone`, or the server `lost`.
async fn both(
    mut upload: Pin<&mut impl Future<Output = Result<(), UploadError>>>,
    mut download: Pin<&mut impl Future<Output = Down>>,
    (gone, lost): (impl Fn(&mut Context<'_>) -> Poll<()>, impl Fn() -> bool),
    flow: &Flow<'_>,
    first_byte: Duration,
) -> End {
    let mut uploading = true;
    // When an answer must have begun.
    let mut until = None;
    poll_fn(|cx| {
        if uploading && let Poll::Ready(done) = upload.as_mut().poll(cx) {
            uploading = false;
            match done {
                Ok(()) => flow.uploaded.set(true),
                Err(UploadError::Body(error)) => return Poll::Ready(End::Upload(error)),
                Err(UploadError::Server) if flow.sent.get() == 0 => {
                    return Poll::Ready(End::Unsent);
                }
                // It may have answered before it closed.
                Err(UploadError::Server) => {}
            }
            if !flow.heard.get() {
                until = Some(flow.clock.now() + first_byte);
                flow.clock.allow(first_byte.min(LOOK));
            }
        }
        if let Poll::Ready(down) = download.as_mut().poll(cx) {
            return Poll::Ready(End::Down(down));
        }
        // While it sends it is watched by reading.
        if !uploading && !flow.tunnels.get() && gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        while flow.clock.poll(cx).is_ready() {
            let left = match until {
                Some(until) if !flow.heard.get() => until - Moment::now(),
                _ => Duration::ZERO,
            };
            if left.is_zero() {
                return Poll::Ready(End::Late);
            }
            if lost() {
                return Poll::Ready(End::Lost);
            }
            flow.clock.allow(left.min(LOOK));
        }
        Poll::Pending
    })
    .await
}
