//! The socket of a connection, and what is to be sent on it.
//!
//! h2 writes the frames of each answer as it has them, and would have each answer sent by itself. Here they are gathered
//! and sent when h2 has nothing more to write for now: answers that became ready in one turn of the event loop share a
//! system call, a segment and, with TLS, a record.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use tandem_net::Socket;
use tokio::io::ReadBuf;

/// The most that is gathered, in bytes. As much again may be on its way inside TLS.
const MOST: usize = 64 * 1024;
/// What is as large as this is not copied but sent at once, behind what was gathered.
const LARGE: usize = 16 * 1024;
/// The room that is kept by a connection that has nothing to send, in bytes.
const KEPT: usize = 16 * 1024;

/// The two ends of a connection's bytes, of which h2 has one and the connection's task the other.
pub(super) struct Wire {
    socket: Socket,
    gathered: RefCell<Vec<u8>>,
    /// So many of those have been sent.
    sent: Cell<usize>,
}

impl Wire {
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            gathered: RefCell::default(),
            sent: Cell::new(0),
        }
    }

    /// Reads some bytes; none is the client's end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read_into(cx, buf)
    }

    /// Takes some of `pieces`, in order. Waits only when as much as may be gathered waits for the client.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if length >= LARGE || self.gathered.borrow().len() + length > MOST {
            ready!(self.poll_send(cx))?;
        }
        if length >= LARGE {
            return self.socket.poll_write(cx, pieces, false);
        }
        let mut gathered = self.gathered.borrow_mut();
        for piece in pieces {
            gathered.extend_from_slice(piece);
        }
        Poll::Ready(Ok(length))
    }

    /// Sends what was gathered. Ready when all of it was taken by the kernel.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.gathered.borrow_mut();
        while self.sent.get() < gathered.len() {
            // TLS takes a write up again that was pending; that what was gathered has grown since does no harm.
            let rest = [IoSlice::new(&gathered[self.sent.get()..])];
            let n = ready!(self.socket.poll_write(cx, &rest, false))?;
            self.sent.set(self.sent.get() + n);
        }
        self.sent.set(0);
        gathered.clear();
        gathered.shrink_to(KEPT);
        Poll::Ready(Ok(()))
    }

    /// Gives back the room of a connection that has nothing to send.
    pub fn rest(&self) {
        let mut gathered = self.gathered.borrow_mut();
        if gathered.is_empty() {
            gathered.shrink_to_fit();
        }
    }

    /// Tells the client that no more will come.
    pub fn finish(&self) {
        self.socket.finish();
    }
}
