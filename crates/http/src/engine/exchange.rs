//! One request to one server and its answer back, both ways at once.
//!
//! The upload and the download are two futures in one task with one timer; a server may answer before it has the whole
//! body. Each says in [`Flow`] how far it is and whom it waits for, so that a failure or a timeout can be blamed.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Write as _};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use tandem_net::Socket;
use tandem_telemetry::Stopped;

use super::body::{Body, BodyError};
use super::buffers::Buf;
use super::clock::Clock;
use super::connection::{After, Conn, Exchange, Outs};
use super::forward::failure;
use super::{reply, tunnel};
use crate::chunked::Chunked;
use crate::handler::{Cause, Endpoint, Failure, Stage, Upstream};
use crate::head::{BodyLength, MAX_HEAD};
use crate::response::{Delimited, Malformed, ResponseHead};
use crate::rewrite::{self, Keep};

/// Up to this size a piece of a body is copied behind its head, in bytes: cheaper than handing the kernel a list.
const COPIED: usize = 4096;
/// Interim answers (1xx) to one request.
const MOST_INTERIM: usize = 16;

/// What became of a request at one server.
pub(super) enum Done {
    /// The client has the answer.
    Answered { after: After, reusable: bool },
    /// The answer is 404, which another handler may better.
    Missing { reusable: bool },
    /// The try failed, and the client has got nothing.
    Failed(Failure),
    /// The server failed after its answer had begun.
    Broken(Failure),
    /// The client's body is malformed or late: it is told so.
    Refused(u16, &'static str),
    /// The client is gone, or takes nothing.
    Stopped(Stopped),
}

/// Whom a direction waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Client,
    Server,
}

/// How far the two directions are.
struct Flow<'a> {
    clock: &'a Clock,
    /// Bytes of the request that the kernel took.
    sent: Cell<u64>,
    /// What is left of the request's body; `Some(0)` when all of it was read.
    left: Cell<Option<u64>>,
    /// The whole request was sent.
    uploaded: Cell<bool>,
    /// A byte of an answer came.
    heard: Cell<bool>,
    /// The client got a byte of the final answer, or may have.
    answering: Cell<bool>,
    upload: Cell<Waits>,
    download: Cell<Waits>,
}

enum UploadError {
    Body(BodyError),
    Server,
}

enum Down {
    Complete {
        after: After,
        reusable: bool,
    },
    Missing {
        reusable: bool,
    },
    /// A gateway says that its own try failed.
    Marked(Stage, Cause),
    Server(Cause),
    Client(Stopped),
}

impl From<Malformed> for Down {
    fn from(_: Malformed) -> Self {
        Self::Server(Cause::Malformed)
    }
}

enum End {
    Upload(BodyError),
    Unsent,
    Down(Down),
    Late,
}

/// Sends the request over `socket` and passes the answer on.
pub(super) async fn exchange(
    x: &mut Exchange<'_>,
    upstream: &Upstream,
    socket: &Socket,
    body: &mut Body<'_>,
    missing: bool,
    outs: &mut Outs<'_>,
) -> Done {
    let conn = x.conn;
    if std::mem::take(&mut x.waits) && !body.is_complete() && body.begun().0.is_empty() {
        let go_on = &mut [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")];
        if let Err(stopped) = conn.send(go_on, x.snapshot.config.timeouts.body).await {
            return Done::Stopped(stopped);
        }
    }
    let out = &mut *outs.request_out;
    out.clear();
    write_head(x, upstream, out);
    let flow = Flow {
        clock: &conn.clock,
        sent: Cell::new(0),
        left: Cell::new(body.left()),
        uploaded: Cell::new(false),
        heard: Cell::new(false),
        answering: Cell::new(false),
        upload: Cell::new(Waits::Server),
        download: Cell::new(Waits::Server),
    };
    let chunk = x.request.head.body() == BodyLength::Chunked;
    let end = {
        let limit = upstream.timeouts.body;
        let upload = pin!(upload(conn, socket, body, out, chunk, &flow, limit));
        let download = pin!(
            Download {
                x,
                upstream,
                socket,
                flow: &flow,
                missing,
                response: outs.response,
                out: outs.response_out,
            }
            .run()
        );
        both(upload, download, &flow, upstream.timeouts.first_byte).await
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
        End::Down(Down::Missing { reusable }) => Done::Missing {
            reusable: reusable && flow.uploaded.get(),
        },
        End::Down(Down::Marked(stage, cause)) => Done::Failed(failure(x, body, stage, cause, true)),
        End::Down(Down::Server(cause)) => fail(x, cause),
        End::Down(Down::Client(stopped)) => Done::Stopped(stopped),
        End::Unsent => fail(x, Cause::Broken),
        End::Upload(BodyError::Malformed) if !flow.answering.get() => {
            Done::Refused(400, "the body's chunks are malformed")
        }
        End::Upload(_) => Done::Stopped(Stopped::Client),
        End::Late => {
            let client = if flow.answering.get() {
                flow.download.get() == Waits::Client
            } else {
                !flow.uploaded.get() && flow.upload.get() == Waits::Client
            };
            match (client, flow.answering.get()) {
                (true, true) => Done::Stopped(Stopped::Timeout),
                (true, false) => Done::Refused(408, "the body did not come in time"),
                (false, _) => fail(x, Cause::Timeout),
            }
        }
    }
}

fn write_head(x: &Exchange<'_>, upstream: &Upstream, out: &mut Vec<u8>) {
    let address = match &upstream.address {
        // Only a request without a Host field needs it.
        Endpoint::Tcp(at) if x.request.head.host(x.request.bytes).is_empty() => at.to_string(),
        Endpoint::Tcp(_) => String::new(),
        Endpoint::Unix(_) => "localhost".into(),
    };
    rewrite::request(
        out,
        &rewrite::Forwarded {
            head: x.request.head,
            bytes: x.request.bytes,
            from: x.request.peer,
            peer: x.peer,
            secure: x.request.secure,
            to_node: upstream.node,
            host: &address,
        },
    );
}

/// Runs both directions until the download ends, or one of them cannot go on.
async fn both(
    mut upload: Pin<&mut impl Future<Output = Result<(), UploadError>>>,
    mut download: Pin<&mut impl Future<Output = Down>>,
    flow: &Flow<'_>,
    first_byte: Duration,
) -> End {
    let mut uploading = true;
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
                flow.clock.allow(first_byte);
            }
        }
        if let Poll::Ready(down) = download.as_mut().poll(cx) {
            return Poll::Ready(End::Down(down));
        }
        flow.clock.poll(cx).map(|_| End::Late)
    })
    .await
}

/// Sends the head in `out` and the body.
async fn upload(
    conn: &Conn,
    socket: &Socket,
    body: &mut Body<'_>,
    out: &mut Vec<u8>,
    chunk: bool,
    flow: &Flow<'_>,
    limit: Duration,
) -> Result<(), UploadError> {
    let took = |n: usize| {
        flow.sent.set(flow.sent.get() + n as u64);
        flow.clock.allow(limit);
    };
    flow.clock.allow(limit);
    let mut last = body.is_complete();
    let (first, kept) = body.begun();
    if first.is_empty() {
        emit(socket, out, kept, chunk, last, took).await
    } else {
        // A body of known length: `kept` follows as it is.
        let ends = last && kept.is_empty();
        match emit(socket, out, first, false, ends, took).await {
            Ok(()) if !kept.is_empty() => emit(socket, out, kept, false, last, took).await,
            sent => sent,
        }
    }
    .map_err(|_| UploadError::Server)?;
    while !last {
        flow.upload.set(Waits::Client);
        let (data, is_last) = body.next(&conn.socket).await.map_err(UploadError::Body)?;
        last = is_last;
        flow.clock.allow(limit);
        flow.upload.set(Waits::Server);
        emit(socket, out, data, chunk, last, took)
            .await
            .map_err(|_| UploadError::Server)?;
        flow.left.set(body.left());
    }
    body.release();
    Ok(())
}

/// Sends what is in `out` (and empties it) and `data`, as a chunk if asked; `last` ends a body in chunks.
async fn emit(
    socket: &Socket,
    out: &mut Vec<u8>,
    data: &[u8],
    chunk: bool,
    last: bool,
    took: impl Fn(usize),
) -> io::Result<()> {
    if chunk && !data.is_empty() {
        let _ = write!(out, "{:x}\r\n", data.len());
    }
    let tail: &[u8] = match (chunk, data.is_empty(), last) {
        (true, false, false) => b"\r\n",
        (true, false, true) => b"\r\n0\r\n\r\n",
        (true, true, true) => b"0\r\n\r\n",
        _ => b"",
    };
    let mut pieces;
    let mut left: &mut [IoSlice<'_>] = if data.len() <= COPIED {
        out.extend_from_slice(data);
        out.extend_from_slice(tail);
        pieces = [IoSlice::new(out), IoSlice::new(b""), IoSlice::new(b"")];
        &mut pieces[..1]
    } else {
        let (begin, end) = (
            usize::from(out.is_empty()),
            3 - usize::from(tail.is_empty()),
        );
        pieces = [IoSlice::new(out), IoSlice::new(data), IoSlice::new(tail)];
        &mut pieces[begin..end]
    };
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let n = socket.write(left, false).await?;
        took(n);
        IoSlice::advance_slices(&mut left, n);
    }
    out.clear();
    Ok(())
}

/// The way back.
struct Download<'d, 'x> {
    x: &'d mut Exchange<'x>,
    upstream: &'d Upstream,
    socket: &'d Socket,
    flow: &'d Flow<'d>,
    missing: bool,
    response: &'d mut ResponseHead,
    out: &'d mut Vec<u8>,
}

impl Download<'_, '_> {
    async fn run(mut self) -> Down {
        match self.answer().await {
            Ok(down) | Err(down) => down,
        }
    }

    async fn answer(&mut self) -> Result<Down, Down> {
        // No buffer is held while the server thinks.
        if poll_fn(|cx| self.socket.poll_readable(cx)).await.is_err() {
            return Err(Down::Server(Cause::Broken));
        }
        let mut buf = self.x.conn.shared().buffers.small();
        let length = self.final_head(&mut buf).await?;
        let status = self.response.status();
        let head = &buf.filled()[..length];
        if status == 101 {
            return self.upgrade(buf, length).await;
        }
        let delimited = self.response.body(self.x.is_head());
        if self.upstream.node
            && let Some(stage) = self.response.mark(head)
        {
            let cause = match status {
                503 => Cause::NoServer,
                504 => Cause::Timeout,
                _ => Cause::Broken,
            };
            return Err(Down::Marked(stage, cause));
        }
        if self.missing && status == 404 {
            let reusable = self.response.keep_alive()
                && match delimited {
                    Delimited::Empty => buf.filled().len() == length,
                    Delimited::Known(n) => (buf.filled().len() - length) as u64 == n,
                    Delimited::Chunked | Delimited::ByClose => false,
                };
            return Ok(Down::Missing { reusable });
        }
        let unknown = matches!(delimited, Delimited::Chunked | Delimited::ByClose);
        let chunk = unknown && self.x.request.head.minor() == 1;
        let keep = reply::keep(self.x, self.flow.left.get(), unknown && !chunk);
        let to_node = self.x.request.from_node;
        self.out.clear();
        rewrite::response(self.out, self.response, head, chunk, keep, to_node);
        buf.consume(length);
        self.x.record.status = status;
        self.x.record.head_bytes += self.out.len() as u64;
        let clean = self.body(buf, delimited, chunk).await?;
        Ok(Down::Complete {
            after: reply::after(keep),
            reusable: clean && self.response.keep_alive(),
        })
    }

    /// Reads until the final answer's head is complete; interim answers are passed on or over. Returns its length.
    async fn final_head(&mut self, buf: &mut Buf) -> Result<usize, Down> {
        let (mut seen, mut interim) = (0, 0);
        loop {
            let Some(length) = ResponseHead::end(buf.filled(), &mut seen)? else {
                if !self.read(buf).await? {
                    return Err(Down::Server(Cause::Broken));
                }
                continue;
            };
            self.response.read(&buf.filled()[..length])?;
            match self.response.status() {
                101 if self.x.request.head.upgrade() => return Ok(length),
                101 => return Err(Down::Server(Cause::Malformed)),
                status @ 100..200 => {
                    interim += 1;
                    if interim > MOST_INTERIM {
                        return Err(Down::Server(Cause::Malformed));
                    }
                    if status == 103 && self.x.request.head.minor() == 1 {
                        self.early_hints(&buf.filled()[..length]).await?;
                    }
                    buf.consume(length);
                    seen = 0;
                }
                _ => return Ok(length),
            }
        }
    }

    async fn early_hints(&mut self, head: &[u8]) -> Result<(), Down> {
        self.out.clear();
        let to_node = self.x.request.from_node;
        rewrite::response(self.out, self.response, head, false, Keep::Implied, to_node);
        self.x.record.head_bytes += self.out.len() as u64;
        self.send(b"", false, false).await
    }

    /// Passes the body on. `true` when it ended where its framing says and nothing follows: the connection can be used
    /// again.
    async fn body(
        &mut self,
        mut buf: Buf,
        delimited: Delimited,
        chunk: bool,
    ) -> Result<bool, Down> {
        let mut left = match delimited {
            Delimited::Empty => {
                self.pass(b"", false, true).await?;
                return Ok(buf.filled().is_empty());
            }
            Delimited::Known(n) => n,
            Delimited::Chunked | Delimited::ByClose => u64::MAX,
        };
        let mut chunked = (delimited == Delimited::Chunked).then(Chunked::default);
        let mut is_large = false;
        loop {
            let (data, consumed, last) = match (delimited, &mut chunked) {
                (Delimited::Known(_), _) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX);
                    let here = here.min(buf.filled().len());
                    left -= here as u64;
                    (here, here, left == 0)
                }
                (_, Some(chunked)) => {
                    let decoded = chunked
                        .decode(buf.filled_mut())
                        .map_err(|_| Down::Server(Cause::Malformed))?;
                    (decoded.data, decoded.consumed, chunked.is_done())
                }
                _ => (buf.filled().len(), buf.filled().len(), false),
            };
            let filled = buf.filled().len() == buf.capacity();
            // The head goes out at once, with what is there of the body.
            if data > 0 || last || !self.out.is_empty() {
                self.pass(&buf.filled()[..data], chunk, last).await?;
            }
            buf.consume(consumed);
            if last {
                return Ok(buf.filled().is_empty());
            }
            is_large |= match delimited {
                Delimited::Known(_) => left > MAX_HEAD as u64,
                _ => filled,
            };
            // All of it was consumed, and a server that takes its time (events, long polls) holds no buffer meanwhile.
            drop(buf);
            self.flow.clock.allow(self.upstream.timeouts.body);
            let socket = self.socket;
            let readable = poll_fn(|cx| socket.poll_readable(cx)).await;
            let buffers = &self.x.conn.shared().buffers;
            buf = if is_large {
                buffers.large()
            } else {
                buffers.small()
            };
            readable.map_err(|_| Down::Server(Cause::Broken))?;
            if !self.read(&mut buf).await? {
                if delimited != Delimited::ByClose {
                    return Err(Down::Server(Cause::Broken));
                }
                self.pass(b"", chunk, true).await?;
                return Ok(false);
            }
        }
    }

    /// Sends a part of the final answer. Until then there is still time for an error of our own.
    async fn pass(&mut self, data: &[u8], chunk: bool, last: bool) -> Result<(), Down> {
        self.flow.answering.set(true);
        self.send(data, chunk, last).await
    }

    /// Sends what is in `out` and a piece of the body to the client.
    async fn send(&mut self, data: &[u8], chunk: bool, last: bool) -> Result<(), Down> {
        let limit = self.x.snapshot.config.timeouts.body;
        let flow = self.flow;
        flow.clock.allow(limit);
        flow.download.set(Waits::Client);
        let socket = &self.x.conn.socket;
        let took = |_| flow.clock.allow(limit);
        let sent = emit(socket, self.out, data, chunk, last, took).await;
        flow.download.set(Waits::Server);
        self.x.record.bytes += data.len() as u64;
        sent.map_err(|_| Down::Client(Stopped::Client))
    }

    /// Reads more from the server; `false` at its end.
    async fn read(&mut self, buf: &mut Buf) -> Result<bool, Down> {
        self.flow.clock.allow(self.upstream.timeouts.body);
        match self.socket.read(buf.space()).await {
            Ok(0) => Ok(false),
            Ok(n) => {
                buf.fill(n);
                if !self.flow.heard.replace(true) {
                    self.x.record.first_byte = Some(Instant::now());
                }
                Ok(true)
            }
            Err(_) => Err(Down::Server(Cause::Broken)),
        }
    }

    /// The server goes on in another protocol: from here on bytes are passed as they are, both ways.
    async fn upgrade(&mut self, mut buf: Buf, length: usize) -> Result<Down, Down> {
        self.out.clear();
        let head = &buf.filled()[..length];
        let to_node = self.x.request.from_node;
        rewrite::response(self.out, self.response, head, false, Keep::Upgrade, to_node);
        self.x.record.status = 101;
        self.x.record.head_bytes += self.out.len() as u64;
        self.flow.answering.set(true);
        self.send(b"", false, false).await?;
        buf.consume(length);
        let (bytes, stopped) = tunnel::run(self.x, self.socket, buf).await;
        self.x.record.bytes += bytes;
        self.x.record.stopped = stopped;
        Ok(Down::Complete {
            after: After::Abort,
            reusable: false,
        })
    }
}
