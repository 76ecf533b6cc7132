//! A request's body on its way in: plain bytes, whatever its framing.

use std::future::poll_fn;
use std::rc::Rc;

use tandem_net::Socket;

use super::buffers::{Buf, Buffers};
use crate::chunked::Chunked;
use crate::head::{BodyLength, MAX_HEAD};

/// The most of a body that is kept so that it can be sent again, in bytes.
const REPLAY: usize = 64 * 1024;

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The client closed or broke the connection.
    Gone,
    /// The chunked coding is broken.
    Malformed,
}

enum Left {
    Nothing,
    Bytes(u64),
    Chunks(Chunked),
}

/// The body of one request.
pub(super) struct Body<'a> {
    /// The part that came with the head.
    first: &'a [u8],
    left: Left,
    /// What was read of the connection after `first`, not decoded.
    raw: Option<Buf>,
    /// Decoded bytes after `first`, while all of it fits [`REPLAY`].
    kept: Vec<u8>,
    lost: bool,
    buffers: Rc<Buffers>,
}

impl<'a> Body<'a> {
    /// A body of which `behind`, the bytes behind the head, may hold the beginning; returns how many of these belong to
    /// the body as well.
    pub fn new(length: BodyLength, behind: &'a [u8], buffers: &Rc<Buffers>) -> (Self, usize) {
        let mut body = Self {
            first: b"",
            left: Left::Nothing,
            raw: None,
            kept: Vec::new(),
            lost: false,
            buffers: buffers.clone(),
        };
        let used = match length {
            BodyLength::None => 0,
            BodyLength::Known(n) => {
                let here = usize::try_from(n).unwrap_or(usize::MAX).min(behind.len());
                body.first = &behind[..here];
                let left = n - here as u64;
                if left > 0 {
                    body.left = Left::Bytes(left);
                }
                here
            }
            BodyLength::Chunked => {
                body.left = Left::Chunks(Chunked::default());
                // Decoding in place must not touch the head's buffer. Requests in chunks are rare.
                let raw = body.raw.insert(buffers.large());
                raw.space()[..behind.len()].copy_from_slice(behind);
                raw.fill(behind.len());
                behind.len()
            }
        };
        (body, used)
    }

    /// Whether all of it was read.
    pub fn is_complete(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }

    /// How many bytes are still to come; `None` when that is not known.
    pub fn left(&self) -> Option<u64> {
        match self.left {
            Left::Nothing => Some(0),
            Left::Bytes(n) => Some(n),
            Left::Chunks(_) => None,
        }
    }

    /// Whether what was read of it can be sent again.
    pub fn can_replay(&self) -> bool {
        !self.lost
    }

    /// What was read of it so far, to be sent first: in two parts.
    pub fn begun(&self) -> (&'a [u8], &[u8]) {
        (self.first, &self.kept)
    }

    /// The next bytes of it, and whether they are the last; no bytes only at the end. Dropping the future loses nothing.
    pub async fn next(&mut self, socket: &Socket) -> Result<(&[u8], bool), BodyError> {
        let (data, consumed) = loop {
            let is_large = match &self.left {
                Left::Nothing => return Ok((b"", true)),
                Left::Bytes(n) => *n > MAX_HEAD as u64,
                Left::Chunks(_) => true,
            };
            if self.raw.as_ref().is_none_or(|raw| raw.filled().is_empty()) {
                // A client that takes its time holds no buffer meanwhile.
                self.raw = None;
                let readable = poll_fn(|cx| socket.poll_readable(cx)).await;
                readable.map_err(|_| BodyError::Gone)?;
            }
            let raw = self.raw.get_or_insert_with(|| {
                if is_large {
                    self.buffers.large()
                } else {
                    self.buffers.small()
                }
            });
            if raw.filled().is_empty() {
                match socket.read(raw.space()).await {
                    Ok(n) if n > 0 => raw.fill(n),
                    _ => return Err(BodyError::Gone),
                }
            }
            let (data, consumed) = match &mut self.left {
                Left::Nothing => (0, 0),
                Left::Bytes(n) => {
                    let here = usize::try_from(*n).unwrap_or(usize::MAX);
                    let here = here.min(raw.filled().len());
                    *n -= here as u64;
                    if *n == 0 {
                        self.left = Left::Nothing;
                    }
                    (here, here)
                }
                Left::Chunks(chunked) => {
                    let decoded = chunked
                        .decode(raw.filled_mut())
                        .map_err(|_| BodyError::Malformed)?;
                    if chunked.is_done() {
                        self.left = Left::Nothing;
                    }
                    (decoded.data, decoded.consumed)
                }
            };
            if data > 0 || matches!(self.left, Left::Nothing) {
                break (data, consumed);
            }
            raw.consume(consumed);
        };
        let last = self.is_complete();
        let Some(raw) = &mut self.raw else {
            return Ok((b"", last));
        };
        let start = raw.consume_from(consumed);
        let data = &raw.all()[start..start + data];
        if !self.lost {
            if self.first.len() + self.kept.len() + data.len() <= REPLAY {
                self.kept.extend_from_slice(data);
            } else {
                self.lost = true;
                self.kept = Vec::new();
            }
        }
        Ok((data, last))
    }

    /// Reads and drops the rest, at most `most` bytes of it. `false` when there is more, or it broke.
    pub async fn discard(&mut self, socket: &Socket, most: u64) -> bool {
        self.lost = true;
        let mut read = 0;
        while read <= most {
            match self.next(socket).await {
                Ok((_, true)) => return true,
                Ok((data, false)) => read += data.len() as u64,
                Err(_) => return false,
            }
        }
        false
    }

    /// Gives the buffer back if nothing is in it.
    pub fn release(&mut self) {
        self.raw = self.raw.take().filter(|raw| !raw.filled().is_empty());
    }

    /// What was read behind the body's end: the next request's beginning. `None` when nothing was.
    pub fn into_rest(self) -> Option<Buf> {
        self.raw.filter(|raw| !raw.filled().is_empty())
    }
}
