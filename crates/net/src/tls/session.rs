//! TLS between a socket and its user, without a buffer of our own beside those of rustls.
//!
//! A write that has to wait has been taken already: its bytes are records that the kernel does not take yet. It is
//! told of as written only when the kernel has them all, so that whoever waits for a write waits for the wire, as
//! with a plain socket. A caller that gives such a write up must give the connection up.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustls::{Connection, ProtocolVersion};
use tokio::io::unix::AsyncFd;

use super::words;

/// The most plaintext that one write takes, in bytes: four records.
const WRITE: usize = 64 * 1024;

/// One end of a TLS connection.
#[derive(Debug)]
pub(crate) struct Session {
    tls: Connection,
    /// Plaintext that became records which the kernel has not taken yet.
    taken: usize,
    /// The peer has closed the connection below TLS.
    ended: bool,
    /// The next write is the last one.
    is_last: bool,
}

impl Session {
    pub fn new(tls: impl Into<Connection>) -> Self {
        let mut tls = tls.into();
        // Writes are bounded here.
        tls.set_buffer_limit(None);
        Self {
            tls,
            taken: 0,
            ended: false,
            is_last: false,
        }
    }

    /// The next write that takes all it is given is the last one: what TLS has to say of that goes with it.
    pub fn conclude_with_next_write(&mut self) {
        self.is_last = true;
    }

    /// What was chosen in the handshake (ALPN).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The certificate that the peer has proved to be its own, in this handshake or in the one of the session that was
    /// resumed; as DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        let chain = self.tls.peer_certificates()?;
        chain.first().map(AsRef::as_ref)
    }

    /// Ready when the handshake is over.
    pub fn poll_handshake(
        &mut self,
        fd: &AsyncFd<OwnedFd>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_flush(fd, cx))?;
            if self.tls.is_handshaking() && ready!(self.poll_receive(fd, cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if self.owes_tickets_only() {
            let state = self.tls.process_new_packets().map_err(broken)?;
            // They go with the answer of a request that is here already. A client that has not sent it yet may be waiting
            // for a sign that its last words have arrived (Nagle's algorithm), and gets them at once.
            if state.plaintext_bytes_to_read() > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_flush(fd, cx)
    }

    /// Whether the handshake is over for the client: what a server still sends of it (TLS 1.3) are session tickets, which
    /// are of use to later connections alone.
    fn owes_tickets_only(&self) -> bool {
        let is_server = matches!(self.tls, Connection::Server(_));
        is_server && self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Ready when plaintext, the end or an error can be read.
    pub fn poll_readable(
        &mut self,
        fd: &AsyncFd<OwnedFd>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            // An empty read says whether there is something, and takes nothing.
            let state = self.tls.process_new_packets().map_err(broken)?;
            if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() || self.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(fd, cx))?;
        }
    }

    /// Ready when plaintext can be read, with its length, or there will be none: 0.
    pub fn poll_sight(
        &mut self,
        fd: &AsyncFd<OwnedFd>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_readable(fd, cx))?;
        let state = self.tls.process_new_packets().map_err(broken)?;
        Poll::Ready(Ok(state.plaintext_bytes_to_read()))
    }

    /// Reads plaintext; 0 is the end that the peer has announced.
    pub fn poll_read(
        &mut self,
        fd: &AsyncFd<OwnedFd>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.tls.reader().read(buf) {
                // An end without close_notify is an error of rustls (RFC 8446 section 6.1): what came may be cut.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            ready!(self.poll_receive(fd, cx))?;
        }
    }

    /// Writes some of `pieces`.
    pub fn poll_write(
        &mut self,
        fd: &AsyncFd<OwnedFd>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            if length <= WRITE {
                // Together, they are in one record where there is room.
                self.taken = self.tls.writer().write_vectored(pieces)?;
            } else {
                for piece in pieces {
                    let part = &piece[..piece.len().min(WRITE - self.taken)];
                    self.tls.writer().write_all(part)?;
                    self.taken += part.len();
                }
            }
            if self.is_last && self.taken == length {
                self.tls.send_close_notify();
            }
        }
        ready!(self.poll_flush(fd, cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken)))
    }

    /// Reads from `file` what a write takes, and writes it.
    pub fn poll_send_file(
        &mut self,
        fd: &AsyncFd<OwnedFd>,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        if self.taken > 0 {
            return self.poll_write(fd, cx, &[]);
        }
        let mut content = vec![0; count.min(WRITE)];
        let n = loop {
            match rustix::io::pread(file, &mut content[..], offset) {
                Err(Errno::INTR) => {}
                read => break read?,
            }
        };
        self.poll_write(fd, cx, &[IoSlice::new(&content[..n])])
    }

    /// Says that no more will come, if the kernel takes it at once: the connection may be gone.
    pub fn close_notify(&mut self, fd: &AsyncFd<OwnedFd>) {
        self.tls.send_close_notify();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.poll_flush(fd, &mut cx);
    }

    /// Reads from the socket and deciphers. 0 is the end of the connection.
    fn poll_receive(
        &mut self,
        fd: &AsyncFd<OwnedFd>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(fd.poll_read_ready(cx))?;
            match self.tls.read_tls(&mut Wire(fd)) {
                Ok(n) => {
                    self.ended |= n == 0;
                    let was_handshaking = self.tls.is_handshaking();
                    let result = self.tls.process_new_packets();
                    let is_over = was_handshaking && !self.tls.is_handshaking();
                    // Answers of TLS itself, an alert among them; what the kernel does not take now goes with the
                    // next write.
                    let waits = result.is_ok() && is_over && self.owes_tickets_only();
                    if self.tls.wants_write() && !waits {
                        let _ = self.poll_flush(fd, cx);
                    }
                    return Poll::Ready(result.map(|_| n).map_err(broken));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Hands all records to the kernel.
    fn poll_flush(&mut self, fd: &AsyncFd<OwnedFd>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut ready = ready!(fd.poll_write_ready(cx))?;
            match self.tls.write_tls(&mut Wire(fd)) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words::of_tls(&error))
}

/// The socket's system calls as rustls wants them.
struct Wire<'a>(&'a AsyncFd<OwnedFd>);

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(self.0.get_ref(), &mut *buf, RecvFlags::empty()) {
                Ok((n, _)) => return Ok(n),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let sent = rustix::net::sendmsg(
                self.0.get_ref().as_fd(),
                pieces,
                &mut SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            );
            match sent {
                Ok(n) => return Ok(n),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
