//! A stream socket on this worker's event loop, with every system call in view.
//!
//! `tokio::net::TcpStream` would do most of this. What it does not do: one type for TCP and Unix sockets, reading and
//! writing through `&self` from two halves of one task, `sendfile`, and saying how many system calls a read takes. A
//! read that does not fill its buffer has emptied the socket, so the next wait goes straight to the event loop and not
//! through a `recv` that answers EAGAIN.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::splice::FLAGS;
use crate::tls::{ClientCertificate, ClientTls, ServerTls, Session, TlsName, Within};

/// What is tried to be written without asking first whether there is room, in bytes.
const LITTLE: usize = 4 * 1024;

/// A connected stream socket, TCP or Unix, plain or with TLS. Dropping it closes it.
#[derive(Debug)]
pub struct Socket {
    fd: AsyncFd<OwnedFd>,
    /// What a plain socket pays for TLS is one look at this per call.
    tls: Option<Box<Tls>>,
}

/// TLS over a socket, and whom it joins.
#[derive(Debug)]
struct Tls {
    session: RefCell<Session>,
    /// The client's certificate, where the listener asks for one and the client has one.
    client: Option<Arc<ClientCertificate>>,
}

/// What there is to be read, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Bytes.
    Bytes,
    /// The peer has ended its half.
    End,
    /// The connection is broken.
    Broken,
}

impl Socket {
    /// Takes a connected socket, already in non-blocking mode, onto the event loop of the current worker.
    ///
    /// # Errors
    /// When the event loop cannot watch it (out of memory or of watches).
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let fd = crate::sys::watch(fd, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { fd, tls: None })
    }

    /// Goes on in TLS, as the server. The caller sets the time limit: dropping the future gives up, and the socket then
    /// must be dropped too.
    ///
    /// # Errors
    /// When the client does not speak TLS, or nothing that both sides accept. It has been sent an alert.
    pub async fn accept_tls(&mut self, tls: &ServerTls, within: Within) -> io::Result<()> {
        let config = match within {
            Within::Http1 => &tls.http1,
            Within::Http2 => &tls.http2,
            Within::Unknown => &tls.unknown,
        };
        let session = rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        let session = self.handshake(Session::new(session)).await?;
        let client = session.certificate().map(ClientCertificate::read);
        self.tls = Some(Box::new(Tls {
            session: RefCell::new(session),
            client: client.map(Arc::new),
        }));
        Ok(())
    }

    /// Goes on in TLS, as the client of a server whose name or address as written is `host`. As to time, it is
    /// [`accept_tls`](Self::accept_tls).
    ///
    /// # Errors
    /// When the server does not speak TLS, or is not who it should be.
    pub async fn connect_tls(
        &mut self,
        tls: &ClientTls,
        host: Option<&TlsName>,
        within: Within,
    ) -> io::Result<()> {
        let name = tls.name(host).ok_or_else(|| {
            io::Error::other(
                "there is no name that the server's certificate could be compared with",
            )
        })?;
        let config = match within {
            Within::Http1 | Within::Http2 => &tls.http1,
            Within::Unknown => &tls.unknown,
        };
        let session =
            rustls::ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let session = self.handshake(Session::new(session)).await?;
        self.tls = Some(Box::new(Tls {
            session: RefCell::new(session),
            client: None,
        }));
        Ok(())
    }

    async fn handshake(&mut self, mut session: Session) -> io::Result<Session> {
        let fd = &self.fd;
        poll_fn(|cx| session.poll_handshake(fd, cx)).await?;
        Ok(session)
    }

    /// The certificate that the client has proved to be its own; `None` when it has shown none, or was not asked.
    pub fn client_certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.tls.as_ref()?.client.as_ref()
    }

    /// Whether this is the protocol that was chosen in the handshake.
    pub fn alpn_is(&self, protocol: &[u8]) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(|tls| tls.session.borrow().alpn() == Some(protocol))
    }

    /// Its address on this machine; `None` for a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(rustix::net::getsockname(self.fd.get_ref()).ok()?).ok()
    }

    /// Whether what goes over it is enciphered.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Looks at the first bytes and leaves them where they are. Ready when there are more than `seen`, or the peer has
    /// ended: then there are no more than that. Below TLS.
    pub(crate) fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        seen: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.fd.poll_read_ready(cx))?;
            match rustix::net::recv(self.fd.get_ref(), &mut *buf, RecvFlags::PEEK) {
                // What came before the end was all there when that was told of.
                Ok((n, _)) if n > seen || n == 0 || ready.ready().is_read_closed() => {
                    return Poll::Ready(Ok(n));
                }
                // The event loop tells of what comes later, also when this was not read.
                Ok(_) | Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
    }

    /// Looks at the first bytes, more than `seen` of them, and leaves them where they are; no more than that is the peer's
    /// end. Below TLS.
    pub async fn peek(&self, buf: &mut [u8], seen: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_peek(cx, buf, seen)).await
    }

    /// Ready when there is something to be read, with what it is. Makes no system call as long as nothing comes.
    pub fn poll_sight(&self, cx: &mut Context<'_>) -> Poll<Sight> {
        let seen = match &self.tls {
            None => ready!(self.poll_peek(cx, &mut [0], 0)),
            Some(tls) => ready!(tls.session.borrow_mut().poll_sight(&self.fd, cx)),
        };
        Poll::Ready(match seen {
            Ok(0) => Sight::End,
            Ok(_) => Sight::Bytes,
            Err(_) => Sight::Broken,
        })
    }

    /// Whether the kernel knows of an error that no read or write has told of. Telling is once.
    pub fn is_broken(&self) -> bool {
        !matches!(
            rustix::net::sockopt::socket_error(self.fd.get_ref()),
            Ok(Ok(()))
        )
    }

    /// Whether the peer has ended its side or the connection is broken, also when that is behind bytes that were not read.
    pub fn has_left(&self) -> bool {
        let mut seen = [PollFd::new(self.fd.get_ref(), PollFlags::RDHUP)];
        let left = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let told = rustix::event::poll(&mut seen, Some(&Timespec::default()));
        told.is_ok_and(|_| seen[0].revents().intersects(left))
    }

    /// Ready when something can be read: bytes, the end, or an error. Makes no system call on a plain socket.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.tls {
            None => self.fd.poll_read_ready(cx).map_ok(|_| ()),
            Some(tls) => tls.session.borrow_mut().poll_readable(&self.fd, cx),
        }
    }

    /// As [`poll_readable`](Self::poll_readable), for writing; also how the end of a connect is told.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fd.poll_write_ready(cx).map_ok(|_| ())
    }

    /// Reads some bytes; 0 is the peer's end.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(tls) = &self.tls {
            return tls.session.borrow_mut().poll_read(&self.fd, cx, buf);
        }
        loop {
            let mut ready = ready!(self.fd.poll_read_ready(cx))?;
            match rustix::net::recv(self.fd.get_ref(), &mut *buf, RecvFlags::empty()) {
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

    /// As [`poll_read`](Self::poll_read), into room of which nothing was written before: that would have to be filled with
    /// zeros for every read, and there may be much of it. To copy the few bytes that come is cheaper.
    pub fn poll_read_into(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        PIECE.with_borrow_mut(|piece| {
            let room = piece.len().min(buf.remaining());
            let n = ready!(self.poll_read(cx, &mut piece[..room]))?;
            buf.put_slice(&piece[..n]);
            Poll::Ready(Ok(()))
        })
    }

    /// Writes some of `pieces`, in order. With `more`, the kernel may wait a little for what follows.
    ///
    /// On a socket with TLS a write that was pending is taken up by the next one, whatever that is given: ask again with
    /// the same pieces, or give the connection up.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        if let Some(tls) = &self.tls {
            return tls.session.borrow_mut().poll_write(&self.fd, cx, pieces);
        }
        let mut flags = SendFlags::NOSIGNAL;
        if more {
            flags |= SendFlags::MORE;
        }
        let send = || match pieces {
            [one] => rustix::net::send(self.fd.get_ref(), one, flags),
            _ => {
                let no_words = &mut SendAncillaryBuffer::default();
                rustix::net::sendmsg(self.fd.get_ref(), pieces, no_words, flags)
            }
        };
        loop {
            let mut ready = ready!(self.fd.poll_write_ready(cx))?;
            match send() {
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

    /// Sends up to `count` bytes of `file` from `offset`, on a plain socket without copying them through this process. 0
    /// means that the file ends before. As to waiting, it is a write.
    pub fn poll_send_file(
        &self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        mut offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        if let Some(tls) = &self.tls {
            return tls
                .session
                .borrow_mut()
                .poll_send_file(&self.fd, cx, file, offset, count);
        }
        loop {
            let mut ready = ready!(self.fd.poll_write_ready(cx))?;
            match rustix::fs::sendfile(self.fd.get_ref(), file, Some(&mut offset), count) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
    }

    /// Moves up to `count` bytes into a pipe; `None` when there are none now. Of a plain socket, and when it is
    /// readable.
    pub(crate) fn splice_from(&self, pipe: &OwnedFd, count: usize) -> io::Result<Option<usize>> {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let Poll::Ready(ready) = self.fd.poll_read_ready(&mut cx) else {
                return Ok(None);
            };
            let mut ready = ready?;
            match rustix::pipe::splice(self.fd.get_ref(), None, pipe, None, count, FLAGS) {
                Ok(n) => return Ok(Some(n)),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Moves up to `count` bytes, which are there, out of a pipe. Of a plain socket. As to waiting, it is a write.
    pub(crate) fn poll_splice_to(
        &self,
        cx: &mut Context<'_>,
        pipe: &OwnedFd,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.fd.poll_write_ready(cx))?;
            match rustix::pipe::splice(pipe, None, self.fd.get_ref(), None, count, FLAGS) {
                // Bytes are there, so that this is no end.
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
    }

    /// Reads what the event loop has told of, without asking whether it will tell of more: `None` when it has told of
    /// nothing, and of a socket with TLS. For who was just told.
    pub fn read_now(&self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        if self.tls.is_some() {
            return None;
        }
        let mut read = None;
        // The way to say that the socket is empty now is to say that it was before.
        let told = self.fd.try_io(Interest::READABLE, |fd| {
            let (n, _) = rustix::net::recv(fd, &mut *buf, RecvFlags::empty())?;
            read = Some(n);
            if 0 < n && n < buf.len() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        match (read, told) {
            (Some(n), _) => Some(Ok(n)),
            (None, Err(e)) if e.kind() != io::ErrorKind::WouldBlock => Some(Err(e)),
            (None, _) => None,
        }
    }

    /// Writes a little without asking the event loop first: there nearly always is room for that, and to ask costs more than
    /// to try. `None` when it must be asked, and for a socket with TLS.
    pub fn write_now(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        if self.tls.is_some() || bytes.len() > LITTLE {
            return None;
        }
        match rustix::net::send(self.fd.get_ref(), bytes, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            sent => Some(sent.map_err(io::Error::from)),
        }
    }

    /// Whether nothing has come that was not read, as far as the event loop has told.
    pub fn is_quiet(&self) -> bool {
        match self.read_now(&mut [0]) {
            Some(_) => false,
            None if self.tls.is_none() => true,
            None => {
                let mut cx = Context::from_waker(Waker::noop());
                match self.poll_readable(&mut cx) {
                    Poll::Pending => true,
                    Poll::Ready(Err(_)) => false,
                    Poll::Ready(Ok(())) => self.poll_read(&mut cx, &mut [0]).is_pending(),
                }
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
        self.conclude();
        // The only failure is that the connection is gone, which the next read tells too.
        let _ = rustix::net::shutdown(self.fd.get_ref(), Shutdown::Write);
    }

    /// As [`conclude`](Self::conclude), and with the next write that takes all it is given: one packet instead of two.
    pub fn conclude_with_next_write(&self) {
        if let Some(tls) = &self.tls {
            tls.session.borrow_mut().conclude_with_next_write();
        }
    }

    /// Tells the peer, where TLS has a word for it, that all was sent before the connection is closed. Without it the
    /// peer must take what it got for cut short.
    pub fn conclude(&self) {
        if let Some(tls) = &self.tls {
            tls.session.borrow_mut().close_notify(&self.fd);
        }
    }
}

thread_local! {
    /// What [`Socket::poll_read_into`] reads at most: as much as a TLS record holds.
    static PIECE: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 * 1024].into());
}

/// For users that know no more of a stream than that it is one.
impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_read_into(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(&self, cx, &[IoSlice::new(buf)], false)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(&self, cx, bufs, false)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Writes are never held back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}
