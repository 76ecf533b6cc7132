//! One stream: the body of a request as bytes to read, an answer as bytes to write.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use tandem_net::ClientCertificate;

use super::{Ends, head};
use crate::field::head_end;
use crate::response::ResponseHead;

/// The most of a body that one write takes, in bytes: as much as h2 may hold of it.
pub(super) const WRITE: usize = 64 * 1024;

/// A request's stream.
pub(in crate::engine) struct Stream {
    body: RefCell<Incoming>,
    answer: RefCell<Answer>,
    /// The request is a HEAD.
    bare: bool,
    ends: Ends,
}

struct Incoming {
    stream: RecvStream,
    /// What came and was not read.
    piece: Bytes,
}

enum Answer {
    /// The final head was not sent yet.
    Head(SendResponse<Bytes>),
    /// So much of the body is to come, if that is known.
    Body(SendStream<Bytes>, Option<u64>),
    Ended,
}

impl Stream {
    pub(super) fn new(
        stream: RecvStream,
        answer: SendResponse<Bytes>,
        bare: bool,
        ends: Ends,
    ) -> Self {
        Self {
            body: RefCell::new(Incoming {
                stream,
                piece: Bytes::new(),
            }),
            answer: RefCell::new(Answer::Head(answer)),
            bare,
            ends,
        }
    }

    pub fn is_tls(&self) -> bool {
        self.ends.tls
    }

    pub fn local_address(&self) -> Option<SocketAddr> {
        self.ends.local
    }

    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.ends.certificate.as_deref()
    }

    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.body.borrow_mut().poll_fill(cx).map_ok(|_| ())
    }

    /// Reads some of the request's body; 0 is its end. What was read may be sent by the client anew.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut body = self.body.borrow_mut();
        if !ready!(body.poll_fill(cx))? {
            return Poll::Ready(Ok(0));
        }
        let n = body.piece.len().min(buf.len());
        body.piece.copy_to_slice(&mut buf[..n]);
        body.stream
            .flow_control()
            .release_capacity(n)
            .map_err(broken)?;
        Poll::Ready(Ok(n))
    }

    /// The lines of what follows the body.
    pub fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let trailers = ready!(self.body.borrow_mut().stream.poll_trailers(cx)).map_err(broken)?;
        let mut lines = Vec::new();
        for (name, value) in trailers.iter().flatten() {
            head::line(&mut lines, name.as_str(), value.as_bytes());
        }
        Poll::Ready(Ok(lines))
    }

    /// Ready when the client no longer wants an answer.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.answer.borrow_mut() {
            Answer::Head(answer) => answer.poll_reset(cx).map(|_| ()),
            Answer::Body(answer, _) => answer.poll_reset(cx).map(|_| ()),
            Answer::Ended => Poll::Pending,
        }
    }

    /// Writes some of `pieces`: as long as the final head was not written they begin with a head, which is in one piece.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut answer = self.answer.borrow_mut();
        let mut first: &[u8] = pieces
            .iter()
            .find(|piece| !piece.is_empty())
            .map_or(b"", |piece| piece);
        let mut written = 0;
        if let Answer::Head(respond) = &mut *answer {
            let length = head_end(first, &mut 0)
                .ok()
                .flatten()
                .ok_or_else(malformed)?;
            if let Some(begun) = self.begin(respond, &first[..length])? {
                *answer = begun;
            }
            (written, first) = (length, &first[length..]);
        }
        if first.is_empty() {
            return Poll::Ready(Ok(written));
        }
        match answer.poll_room(cx, first.len().min(WRITE)) {
            Poll::Ready(room) => {
                let n = room?;
                answer.send(Bytes::copy_from_slice(&first[..n]))?;
                Poll::Ready(Ok(written + n))
            }
            // The head was taken: the next write waits.
            Poll::Pending if written > 0 => Poll::Ready(Ok(written)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sends a head; what follows it, unless it is an interim one.
    fn begin(&self, respond: &mut SendResponse<Bytes>, text: &[u8]) -> io::Result<Option<Answer>> {
        let mut parsed = ResponseHead::default();
        parsed.read_own(text).map_err(|_| malformed())?;
        let response = head::response(&parsed, text).ok_or_else(malformed)?;
        if parsed.status() < 200 {
            respond.send_informational(response).map_err(broken)?;
            return Ok(None);
        }
        let bare = self.bare || matches!(parsed.status(), 204 | 304) || parsed.length() == Some(0);
        let stream = respond.send_response(response, bare).map_err(broken)?;
        Ok(Some(if bare {
            Answer::Ended
        } else {
            Answer::Body(stream, parsed.length())
        }))
    }

    pub async fn send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        let wanted = count.min(WRITE);
        let room =
            std::future::poll_fn(|cx| self.answer.borrow_mut().poll_room(cx, wanted)).await?;
        let mut content = vec![0; room];
        let n = loop {
            match rustix::io::pread(file, &mut content[..], offset) {
                Err(rustix::io::Errno::INTR) => {}
                read => break read?,
            }
        };
        content.truncate(n);
        if n > 0 {
            self.answer.borrow_mut().send(content.into())?;
        }
        Ok(n)
    }

    /// Ends the answer.
    pub fn end(&self, trailers: &[u8]) -> io::Result<()> {
        let mut answer = self.answer.borrow_mut();
        match &mut *answer {
            Answer::Ended => return Ok(()),
            Answer::Head(_) => return Err(malformed()),
            Answer::Body(stream, _) if trailers.is_empty() => {
                stream.send_data(Bytes::new(), true).map_err(broken)?;
            }
            Answer::Body(stream, _) => {
                let trailers = head::fields(trailers).ok_or_else(malformed)?;
                stream.send_trailers(trailers).map_err(broken)?;
            }
        }
        *answer = Answer::Ended;
        Ok(())
    }

    /// Breaks the answer off: the client must not take it for complete.
    pub fn abort(&self) {
        match &mut *self.answer.borrow_mut() {
            Answer::Head(answer) => answer.send_reset(Reason::INTERNAL_ERROR),
            Answer::Body(answer, _) => answer.send_reset(Reason::INTERNAL_ERROR),
            Answer::Ended => {}
        }
    }
}

impl Incoming {
    /// Waits for a piece; `false` at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.piece.is_empty() {
            match ready!(self.stream.poll_data(cx)) {
                Some(piece) => self.piece = piece.map_err(broken)?,
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl Answer {
    /// Waits until the client and the connection take some of `wanted` bytes.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let Self::Body(stream, _) = self else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        stream.reserve_capacity(wanted);
        let room = match stream.capacity() {
            0 => match ready!(stream.poll_capacity(cx)) {
                Some(room) => room.map_err(broken)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        Poll::Ready(Ok(room.min(wanted)))
    }

    /// Sends a piece of the body; the last one ends the answer.
    fn send(&mut self, piece: Bytes) -> io::Result<()> {
        let Self::Body(stream, left) = self else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let last = match left {
            None => false,
            Some(left) => {
                *left = left.checked_sub(piece.len() as u64).ok_or_else(malformed)?;
                *left == 0
            }
        };
        stream.send_data(piece, last).map_err(broken)?;
        if last {
            *self = Self::Ended;
        }
        Ok(())
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
