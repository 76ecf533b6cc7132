//! A request on its way to a server, and pieces of a body on their way to either side.

use std::io::{self, IoSlice, Write as _};
use std::time::Duration;

use tandem_net::Socket;

use super::body::{Body, BodyError};
use super::connection::Conn;
use super::exchange::{Flow, Waits};

/// Up to this size a piece of a body is copied behind its head, in bytes: cheaper than handing the kernel a list.
const COPIED: usize = 4096;

/// Why a request could not be sent.
pub(super) enum UploadError {
    /// Its body ended before its end.
    Body(BodyError),
    /// The server takes no more.
    Server,
}

/// Sends the head in `out` and the body.
pub(super) async fn upload(
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
pub(super) async fn emit(
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
