//! A stream socket on this worker's event loop, with every system call in view.
//!
//! `tokio::net::TcpStream` would do most of this. What it does not do: one type for TCP and Unix sockets, reading and
//! writing through `&self` from two halves of one task, `sendfile`, and saying how many system calls a read takes. A
//! read that does not fill its buffer has emptied the socket, so the next wait goes straight to the event loop and not
//! through a `recv` that answers EAGAIN.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A connected stream socket, TCP or Unix. Dropping it closes it.
#[derive(Debug)]
pub struct Socket(AsyncFd<OwnedFd>);

impl Socket {
    /// Takes a connected socket, already in non-blocking mode, onto the event loop of the current worker.
    ///
    /// # Errors
    /// When the event loop cannot watch it (out of memory or of watches).
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        crate::sys::watch(fd, Interest::READABLE | Interest::WRITABLE).map(Self)
    }

    /// Ready when something can be read: bytes, the end, or an error. Makes no system call.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx).map_ok(|_| ())
    }

    /// As [`poll_readable`](Self::poll_readable), for writing; also how the end of a connect is told.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx).map_ok(|_| ())
    }

    /// Reads some bytes; 0 is the peer's end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            match rustix::net::recv(self.0.get_ref(), &mut *buf, RecvFlags::empty()) {
                Ok((n, _)) => {
                    // Edge-triggered epoll tells of bytes that come later, so a short read has emptied the socket.
                    if 0 < n && n < buf.len() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
    }

    /// Writes some of `pieces`, in order. With `more`, the kernel may wait a little for what follows.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        let mut flags = SendFlags::NOSIGNAL;
        if more {
            flags |= SendFlags::MORE;
        }
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            let sent = match pieces {
                [one] => rustix::net::send(self.0.get_ref(), one, flags),
                _ => rustix::net::sendmsg(
                    self.0.get_ref(),
                    pieces,
                    &mut SendAncillaryBuffer::default(),
                    flags,
                ),
            };
            match sent {
                Ok(n) => {
                    // A short write has filled the socket: the next one waits for the event loop.
                    if n < pieces.iter().map(|piece| piece.len()).sum() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
    }

    /// Sends up to `count` bytes of `file` from `offset` without copying them through this process. 0 means that the
    /// file ends before.
    pub fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        mut offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            match rustix::fs::sendfile(self.0.get_ref(), file, Some(&mut offset), count) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
    }

    /// Reads some bytes; 0 is the peer's end.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Writes some of `pieces`.
    pub async fn write(&self, pieces: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write(cx, pieces, more)).await
    }

    /// Writes all of `bytes`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self.write(&[IoSlice::new(bytes)], false).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Sends a part of `file`; see [`poll_send_file`](Self::poll_send_file).
    pub async fn send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send_file(cx, file, offset, count)).await
    }

    /// Tells the peer that no more will come. The other direction stays open.
    pub fn finish(&self) {
        // The only failure is that the connection is gone, which the next read tells too.
        let _ = rustix::net::shutdown(self.0.get_ref(), Shutdown::Write);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
