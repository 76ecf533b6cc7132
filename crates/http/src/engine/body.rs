//! A request's body on its way in: plain bytes, whatever its framing.

use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;

use super::buffers::{Buf, Buffers};
use super::client::{Client, Wire};
use super::held::Held;
use crate::chunked::Chunked;
use crate::head::{BodyLength, MAX_HEAD};
use crate::policy::strip;
use crate::trailers;

/// The most of a body that is kept so that it can be sent again, in bytes.
const REPLAY: usize = 64 * 1024;

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The client closed or broke the connection.
    Gone,
    /// The chunked coding is broken.
    Malformed,
    /// It is larger than it may be.
    TooLarge,
    /// It was to be held on a disk, which failed or has no room.
    Disk,
}

/// A part of a body.
pub(super) struct Piece<'b> {
    pub data: &'b [u8],
    /// It is the last, and the trailers that follow may be passed on.
    pub last: Option<&'b [u8]>,
    /// It can be sent again, and all that came before it.
    pub is_kept: bool,
}

enum Left {
    Nothing,
    Bytes(u64),
    Chunks(Chunked),
    /// Until the client's stream ends.
    Stream,
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
    /// All of it, where it is held until it is whole and too large to be kept.
    held: Option<Held>,
    /// How much more may come of a body that does not say its length.
    allowed: u64,
    /// The lines of the fields behind it that may be passed on, when it has ended.
    trailers: Vec<u8>,
    /// Names of those that may not.
    left_out: Vec<u8>,
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
            held: None,
            allowed: u64::MAX,
            trailers: Vec::new(),
            left_out: Vec::new(),
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

    /// A body that comes by itself, on a stream.
    pub fn of_stream(length: BodyLength, buffers: &Rc<Buffers>) -> Self {
        let (mut body, _) = Self::new(BodyLength::None, b"", buffers);
        body.left = match length {
            BodyLength::None => Left::Nothing,
            BodyLength::Known(n) => Left::Bytes(n),
            BodyLength::Chunked => Left::Stream,
        };
        body
    }

    /// Sets how large it may be in all.
    pub fn allow(&mut self, most: u64) {
        self.allowed = most;
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
            Left::Chunks(_) | Left::Stream => None,
        }
    }

    /// The lines of the fields behind it that may be passed on; known when it has ended.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Fields behind it that may not be passed on, by their names, each ended by a line feed: what a client may not say in
    /// the head it may not say there either.
    pub fn leave_out(&mut self, names: &[u8]) {
        strip(&mut self.trailers, 0, names);
        if matches!(self.left, Left::Chunks(_) | Left::Stream) {
            names.clone_into(&mut self.left_out);
        }
    }

    /// Whether what was read of it can be sent again.
    pub fn can_replay(&self) -> bool {
        !self.lost || self.held.is_some()
    }

    /// It as a whole, where it is held.
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// Reads some of it, to be held until it is whole.
    pub async fn hold(&mut self, client: &Client) -> Result<(), BodyError> {
        let begun = self.first.len() + self.kept.len();
        let fits = match self.left() {
            Some(left) => left.saturating_add(begun as u64) <= REPLAY as u64,
            // Nothing more than what is kept may be needed.
            None => begun == 0,
        };
        if self.held.is_none() && !fits {
            let mut held = Held::begin().await.map_err(|_| BodyError::Disk)?;
            let begun = [self.first, &self.kept].concat();
            held.add(begun).await.map_err(|_| BodyError::Disk)?;
            (self.first, self.kept, self.lost) = (b"", Vec::new(), true);
            self.held = Some(held);
        }
        let mut held = self.held.take();
        let piece = self.next(client).await?;
        if let Some(held) = &mut held {
            let added = held.add(piece.data.to_vec()).await;
            added.map_err(|_| BodyError::Disk)?;
        }
        self.held = held;
        Ok(())
    }

    /// Whether it can be sent again whatever comes of it: it is known to be small, or not to be there.
    pub fn is_small(&self) -> bool {
        let begun = self.first.len() + self.kept.len();
        let fits = |left: u64| left.saturating_add(begun as u64) <= REPLAY as u64;
        !self.lost && self.left().is_some_and(fits)
    }

    /// What was read of it so far, to be sent first: in two parts.
    pub fn begun(&self) -> (&'a [u8], &[u8]) {
        (self.first, &self.kept)
    }

    /// The next bytes of it; none only at the end. Dropping the future loses nothing.
    pub async fn next(&mut self, client: &Client) -> Result<Piece<'_>, BodyError> {
        let data = self.read(client).await?;
        let raw = self.raw.as_ref().map_or(&b""[..], Buf::all);
        Ok(Piece {
            data: &raw[data],
            last: self.is_complete().then_some(&*self.trailers),
            is_kept: self.can_replay(),
        })
    }

    /// Reads the next bytes; returns where in the buffer they are.
    async fn read(&mut self, client: &Client) -> Result<Range<usize>, BodyError> {
        let (data, consumed) = loop {
            let is_large = match &self.left {
                Left::Nothing => return Ok(0..0),
                Left::Bytes(n) => *n > MAX_HEAD as u64,
                Left::Chunks(_) | Left::Stream => true,
            };
            if self.raw.as_ref().is_none_or(|raw| raw.filled().is_empty()) {
                // A client that takes its time holds no buffer meanwhile.
                self.raw = None;
                let readable = poll_fn(|cx| client.poll_readable(cx)).await;
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
                match client.read(raw.space()).await {
                    Ok(0) if matches!(self.left, Left::Stream) => {
                        let trailers = client.trailers().await;
                        self.trailers = trailers::passed(trailers.map_err(|_| BodyError::Gone)?);
                        strip(&mut self.trailers, 0, &self.left_out);
                        self.left = Left::Nothing;
                        return Ok(0..0);
                    }
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
                        self.trailers = trailers::passed(chunked.take_trailers());
                        strip(&mut self.trailers, 0, &self.left_out);
                        self.left = Left::Nothing;
                    }
                    (decoded.data, decoded.consumed)
                }
                Left::Stream => (raw.filled().len(), raw.filled().len()),
            };
            if data > 0 || matches!(self.left, Left::Nothing) {
                break (data, consumed);
            }
            raw.consume(consumed);
        };
        let Some(raw) = &mut self.raw else {
            return Ok(0..0);
        };
        let start = raw.consume_from(consumed);
        let range = start..start + data;
        let data = &raw.all()[range.clone()];
        self.allowed = match self.allowed.checked_sub(data.len() as u64) {
            Some(allowed) => allowed,
            None => return Err(BodyError::TooLarge),
        };
        if !self.lost {
            if self.first.len() + self.kept.len() + data.len() <= REPLAY {
                self.kept.extend_from_slice(data);
            } else {
                self.lost = true;
                self.kept = Vec::new();
            }
        }
        Ok(range)
    }

    /// How much of it may be taken from the connection without being seen here: when it says its length, cannot be sent
    /// again anyway, and nothing of it waits here.
    pub fn unseen(&self) -> Option<u64> {
        match self.left {
            Left::Bytes(n) => Some(n).filter(|_| self.lost && self.raw.is_none()),
            _ => None,
        }
    }

    /// So much was taken.
    pub fn take(&mut self, n: u64) {
        if let Left::Bytes(left) = &mut self.left {
            debug_assert!(n <= *left, "no more than there is");
            *left -= n;
            if *left == 0 {
                self.left = Left::Nothing;
            }
        }
    }

    /// Reads and drops the rest, at most `most` bytes of it. `false` when there is more, or it broke.
    pub async fn discard(&mut self, client: &Client, most: u64) -> bool {
        self.lost = true;
        let mut read = 0;
        while read <= most {
            match self.next(client).await {
                Ok(Piece { last: Some(_), .. }) => return true,
                Ok(piece) => read += piece.data.len() as u64,
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
