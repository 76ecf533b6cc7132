//! A request on its way to a server, and pieces of a body on their way to either side.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write as _};
use std::time::Duration;

use tandem_net::{Pipe, Socket};

use super::body::{Body, BodyError};
use super::client::Wire;
use super::connection::Conn;
use super::exchange::{Flow, Waits};
use super::held::Held;
use super::stream::{End, Moved, PIECE, WORTH, stream};
use crate::fastcgi;

/// Up to this size a piece of a body is copied behind its head, in bytes: cheaper than handing the kernel a list.
const COPIED: usize = 4096;

/// How pieces of a body are told apart from what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By a length that was said before, or by the end of the connection.
    Plain,
    /// As chunks.
    Chunks,
    /// As records of FastCGI.
    Records,
}

/// Why a request could not be sent.
pub(super) enum UploadError {
    /// Its body ended before its end.
    Body(BodyError),
    /// The server takes no more.
    Server,
}

/// How long may pass between two pieces of a body.
#[derive(Clone, Copy)]
pub(super) struct Pauses {
    /// Until the client sends the next one.
    pub client: Duration,
    /// Until the server takes it.
    pub server: Duration,
}

/// Sends the head in `out` and the body.
pub(super) async fn upload(
    conn: &Conn,
    socket: &Socket,
    body: &mut Body<'_>,
    out: &mut Vec<u8>,
    framing: Framing,
    flow: &Flow<'_>,
    pauses: Pauses,
) -> Result<(), UploadError> {
    let took = |n: usize| {
        flow.sent.set(flow.sent.get() + n as u64);
        flow.clock.allow(pauses.server);
    };
    flow.clock.allow(pauses.server);
    if let Some(held) = body.held() {
        return upload_held(socket, held, out, framing, took).await;
    }
    let mut last = body.is_complete();
    let (first, kept) = body.begun();
    let end = last.then(|| body.trailers());
    if first.is_empty() || kept.is_empty() {
        let data = if first.is_empty() { kept } else { first };
        if framing == Framing::Records {
            emit_all(socket, out, data, framing, end, took).await
        } else {
            emit(socket, out, data, framing, end, took).await
        }
    } else {
        match emit_all(socket, out, first, framing, None, took).await {
            Ok(()) => emit_all(socket, out, kept, framing, end, took).await,
            failed => failed,
        }
    }
    .map_err(|_| UploadError::Server)?;
    let may_stream = framing == Framing::Plain;
    let mut streams = may_stream;
    while !last {
        flow.upload.set(Waits::Client);
        flow.clock.allow(pauses.client);
        if streams {
            streams = unseen(conn, socket, body, flow, pauses.server, took).await?;
            flow.left.set(body.left());
            last = body.is_complete();
            continue;
        }
        let piece = body.next(&conn.client).await.map_err(UploadError::Body)?;
        last = piece.last.is_some();
        flow.replays.set(piece.is_kept);
        streams = may_stream && piece.data.len() >= PIECE;
        flow.clock.allow(pauses.server);
        flow.upload.set(Waits::Server);
        emit_all(socket, out, piece.data, framing, piece.last, took)
            .await
            .map_err(|_| UploadError::Server)?;
        flow.left.set(body.left());
    }
    body.release();
    Ok(())
}

/// Sends the head in `out` and a body that is held.
async fn upload_held(
    socket: &Socket,
    held: &Held,
    out: &mut Vec<u8>,
    framing: Framing,
    took: impl Fn(usize),
) -> Result<(), UploadError> {
    let mut at = 0;
    while at < held.len() {
        let piece = held.piece(at).await;
        let piece = piece.map_err(|_| UploadError::Body(BodyError::Disk))?;
        at += piece.len() as u64;
        let end = (at == held.len()).then_some(&b""[..]);
        let sent = emit_all(socket, out, &piece, framing, end, &took).await;
        sent.map_err(|_| UploadError::Server)?;
    }
    Ok(())
}

/// Has the kernel move what is there of a large body. Whether the rest of it is to go the same way.
async fn unseen(
    conn: &Conn,
    socket: &Socket,
    body: &mut Body<'_>,
    flow: &Flow<'_>,
    limit: Duration,
    took: impl Fn(usize),
) -> Result<bool, UploadError> {
    body.release();
    let (Some(client), Some(mut left)) = (conn.client.moves(socket), body.unseen()) else {
        return Ok(false);
    };
    if left < WORTH {
        return Ok(false);
    }
    let readable = poll_fn(|cx| client.poll_readable(cx)).await;
    readable.map_err(|_| UploadError::Body(BodyError::Gone))?;
    let Some(pipe) = Pipe::take() else {
        return Ok(false);
    };
    let taken = |n: usize| {
        body.take(n as u64);
        flow.clock.allow(limit);
        flow.upload.set(Waits::Server);
    };
    match stream(client, socket, pipe, &mut left, taken, took).await {
        Ok(Moved::All) => Ok(false),
        Ok(Moved::Waits { streams }) => Ok(streams),
        Ok(Moved::Ended) | Err(End::From) => Err(UploadError::Body(BodyError::Gone)),
        Err(End::To) => Err(UploadError::Server),
    }
}

/// As [`emit`], of what may be more than one record takes.
async fn emit_all(
    to: &impl Wire,
    out: &mut Vec<u8>,
    mut data: &[u8],
    framing: Framing,
    last: Option<&[u8]>,
    took: impl Fn(usize),
) -> io::Result<()> {
    while framing == Framing::Records && data.len() > fastcgi::MOST {
        let (piece, rest) = data.split_at(fastcgi::MOST);
        emit(to, out, piece, framing, None, &took).await?;
        data = rest;
    }
    emit(to, out, data, framing, last, took).await
}

/// Sends what is in `out` (and empties it) and `data` in its framing; `last` ends a body, in chunks with the trailers that
/// may be passed on of the lines it holds.
pub(super) async fn emit(
    to: &impl Wire,
    out: &mut Vec<u8>,
    data: &[u8],
    framing: Framing,
    last: Option<&[u8]>,
    took: impl Fn(usize),
) -> io::Result<()> {
    match framing {
        Framing::Chunks if !data.is_empty() => {
            let _ = write!(out, "{:x}\r\n", data.len());
        }
        Framing::Records if !data.is_empty() => {
            out.extend_from_slice(&fastcgi::header(data.len()));
        }
        _ => {}
    }
    let end;
    let tail: &[u8] = match (framing, data.is_empty(), last) {
        (Framing::Chunks, false, None) => b"\r\n",
        (Framing::Chunks, false, Some(b"")) => b"\r\n0\r\n\r\n",
        (Framing::Chunks, true, Some(b"")) => b"0\r\n\r\n",
        (Framing::Chunks, empty, Some(trailers)) => {
            let begin: &[u8] = if empty { b"0\r\n" } else { b"\r\n0\r\n" };
            end = [begin, trailers, b"\r\n"].concat();
            &end
        }
        (Framing::Records, _, Some(_)) => &fastcgi::end_of_body(),
        _ => b"",
    };
    let mut sent = 0;
    let mut pieces;
    let mut left: &mut [IoSlice<'_>] = if data.len() <= COPIED {
        out.extend_from_slice(data);
        out.extend_from_slice(tail);
        if !out.is_empty()
            && let Some(n) = to.write_now(out)
        {
            sent = n?;
            took(sent);
        }
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
    IoSlice::advance_slices(&mut left, sent);
    while !left.is_empty() {
        let n = to.write(left, false).await?;
        took(n);
        IoSlice::advance_slices(&mut left, n);
    }
    out.clear();
    Ok(())
}
