//! A client's end: a connection that speaks HTTP/1, or one stream of a connection that speaks HTTP/2.
//!
//! Everything beyond the codecs works with this. What is written to it is an HTTP/1.1 head and a body that is not in
//! chunks; what is read is the body alone, whatever brought it.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use tandem_net::{ClientCertificate, Pipe, Socket};

use super::http2::Stream;

/// Bytes both ways.
pub(super) trait Wire {
    /// Ready when something can be read: bytes, the end, or an error.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Reads some bytes; 0 is the end.
    fn read(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>>;
    /// Writes a little of what is little, if that can be done at once; `None` when [`write`](Self::write) is to be asked.
    fn write_now(&self, bytes: &[u8]) -> Option<io::Result<usize>>;
    /// Writes some of `pieces`. With `more`, the kernel may wait a little for what follows.
    fn write(&self, pieces: &[IoSlice<'_>], more: bool) -> impl Future<Output = io::Result<usize>>;
    /// Tells the other side that no more will come.
    fn finish(&self);
}

impl Wire for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_readable(cx)
    }

    fn read(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.read(buf)
    }

    fn write_now(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        self.write_now(bytes)
    }

    fn write(&self, pieces: &[IoSlice<'_>], more: bool) -> impl Future<Output = io::Result<usize>> {
        self.write(pieces, more)
    }

    fn finish(&self) {
        self.finish();
    }
}

/// A client's end.
pub(super) enum Client {
    Http1(Socket),
    Http2(Box<Stream>),
}

impl Client {
    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// The connection, if bytes can be moved between it and `server` by the kernel alone.
    pub fn moves(&self, server: &Socket) -> Option<&Socket> {
        match self {
            Self::Http1(socket) => Some(socket).filter(|socket| Pipe::suits(socket, server)),
            Self::Http2(_) => None,
        }
    }

    /// Reads what the event loop has told of; `None` when that is nothing, or cannot be said so simply.
    pub fn read_now(&self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        match self {
            Self::Http1(socket) => socket.read_now(buf),
            Self::Http2(_) => None,
        }
    }

    /// Whether what goes over it is enciphered.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Http1(socket) => socket.is_tls(),
            Self::Http2(stream) => stream.is_tls(),
        }
    }

    /// The certificate that the client has proved to be its own.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        match self {
            Self::Http1(socket) => socket.client_certificate().map(|shared| &**shared),
            Self::Http2(stream) => stream.certificate(),
        }
    }

    /// The address of this machine that the client reached.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(socket) => socket.local_address(),
            Self::Http2(stream) => stream.local_address(),
        }
    }

    /// Sends up to `count` bytes of `file` from `offset`; 0 means that the file ends before.
    pub async fn send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        match self {
            Self::Http1(socket) => socket.send_file(file, offset, count).await,
            Self::Http2(stream) => stream.send_file(file, offset, count).await,
        }
    }

    /// The next write ends the last answer on this connection, whatever it brings.
    pub fn conclude_with_next_write(&self) {
        if let Self::Http1(socket) = self {
            socket.conclude_with_next_write();
        }
    }

    /// The lines of the trailers behind a body that has ended; empty where they are a part of the coding.
    pub async fn trailers(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Http1(_) => Ok(Vec::new()),
            Self::Http2(stream) => poll_fn(|cx| stream.poll_trailers(cx)).await,
        }
    }

    /// Ends the answer, where that is not done by its framing, with these trailers.
    pub fn end(&self, trailers: &[u8]) -> io::Result<()> {
        match self {
            Self::Http1(_) => Ok(()),
            Self::Http2(stream) => stream.end(trailers),
        }
    }
}

impl Wire for Client {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(socket) => socket.poll_readable(cx),
            Self::Http2(stream) => stream.poll_readable(cx),
        }
    }

    async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Http1(socket) => socket.read(buf).await,
            Self::Http2(stream) => poll_fn(|cx| stream.poll_read(cx, buf)).await,
        }
    }

    fn write_now(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        match self {
            Self::Http1(socket) => socket.write_now(bytes),
            Self::Http2(_) => None,
        }
    }

    async fn write(&self, pieces: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        match self {
            Self::Http1(socket) => socket.write(pieces, more).await,
            Self::Http2(stream) => poll_fn(|cx| stream.poll_write(cx, pieces)).await,
        }
    }

    fn finish(&self) {
        if let Self::Http1(socket) = self {
            socket.finish();
        }
    }
}
