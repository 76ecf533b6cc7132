//! Buffers of a worker: taken while bytes are on their way, given back when none are.

use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

use super::spare::Spare;
use super::whole::Whole;
use crate::head::{Head, MAX_HEAD};
use crate::response::ResponseHead;

/// A head and the beginning of a body.
const SMALL: usize = MAX_HEAD;
/// A piece of a large body: fewer system calls, and still within a core's second-level cache.
const LARGE: usize = 64 * 1024;
/// Free buffers of each size that are kept, in bytes: as many small ones as there are requests under way on a busy worker,
/// since to make one costs as much as a small request.
const KEPT: usize = 16 << 20;
/// Free scratches that are kept.
const KEPT_SCRATCHES: usize = KEPT / SMALL;
/// A head under construction that grew beyond this is not kept.
const KEPT_OUT: usize = 32 * 1024;

/// The free buffers of a worker.
pub(super) struct Buffers {
    small: Spare<Box<[u8]>>,
    large: Spare<Box<[u8]>>,
    scratches: Spare<Box<Scratch>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            small: Spare::new(KEPT / SMALL),
            large: Spare::new(KEPT / LARGE),
            scratches: Spare::new(KEPT_SCRATCHES),
        }
    }
}

impl Buffers {
    /// A buffer that holds the largest head.
    pub fn small(self: &Rc<Self>) -> Buf {
        self.take(&self.small, SMALL)
    }

    /// A buffer for large bodies.
    pub fn large(self: &Rc<Self>) -> Buf {
        self.take(&self.large, LARGE)
    }

    /// A large buffer with what is in a small one.
    pub fn grown(self: &Rc<Self>, small: &Buf) -> Buf {
        let mut large = self.large();
        let filled = small.filled();
        large.space()[..filled.len()].copy_from_slice(filled);
        large.fill(filled.len());
        large
    }

    #[inline]
    fn take(self: &Rc<Self>, free: &Spare<Box<[u8]>>, size: usize) -> Buf {
        let bytes = free.take();
        Buf {
            bytes: bytes.unwrap_or_else(|| vec![0; size].into_boxed_slice()),
            filled: 0..0,
            home: self.clone(),
        }
    }

    /// Room for the heads of one request.
    pub fn scratch(self: &Rc<Self>) -> Scratched {
        Scratched {
            scratch: Some(self.scratches.take().unwrap_or_default()),
            home: self.clone(),
        }
    }

    /// Gives back to the system what was not needed for a while.
    pub fn rest(&self) {
        self.small.rest();
        self.large.rest();
        self.scratches.rest();
    }
}

/// A buffer and the part of it that is filled. Goes back to its worker when dropped.
pub(super) struct Buf {
    bytes: Box<[u8]>,
    filled: Range<usize>,
    home: Rc<Buffers>,
}

impl Buf {
    /// What was read and not consumed.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.filled.clone()]
    }

    /// The same, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled.clone()]
    }

    /// The room behind what is filled; all of it when nothing is. Empty only when the buffer is full.
    pub fn space(&mut self) -> &mut [u8] {
        if self.filled.start == self.filled.end {
            self.filled = 0..0;
        } else if self.filled.end == self.bytes.len() && self.filled.start > 0 {
            self.bytes.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        &mut self.bytes[self.filled.end..]
    }

    /// `n` bytes were put into [`space`](Self::space).
    pub fn fill(&mut self, n: usize) {
        self.filled.end += n;
    }

    /// The first `n` filled bytes are done with.
    pub fn consume(&mut self, n: usize) {
        self.filled.start += n;
        debug_assert!(self.filled.start <= self.filled.end);
    }

    /// The last `n` filled bytes were none.
    pub fn drop_last(&mut self, n: usize) {
        self.filled.end -= n;
        debug_assert!(self.filled.start <= self.filled.end);
    }

    /// As [`consume`](Self::consume); returns where in [`all`](Self::all) these bytes lie.
    pub fn consume_from(&mut self, n: usize) -> usize {
        let start = self.filled.start;
        self.consume(n);
        start
    }

    /// The whole buffer.
    pub fn all(&self) -> &[u8] {
        &self.bytes
    }

    /// How much it can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let free = if bytes.len() == SMALL {
            &self.home.small
        } else {
            &self.home.large
        };
        free.put(bytes);
    }
}

/// Heads: parsed ones, and those being written.
#[derive(Default)]
pub(super) struct Scratch {
    pub head: Head,
    pub response: ResponseHead,
    /// The head on its way to the server.
    pub request_out: Vec<u8>,
    /// The head on its way to the client.
    pub response_out: Vec<u8>,
    /// The last small answer from memory.
    pub whole: Whole,
}

/// A scratch that goes back to its worker when dropped.
pub(super) struct Scratched {
    scratch: Option<Box<Scratch>>,
    home: Rc<Buffers>,
}

impl Deref for Scratched {
    type Target = Scratch;
    fn deref(&self) -> &Scratch {
        self.scratch.as_ref().expect("taken only by drop")
    }
}

impl DerefMut for Scratched {
    fn deref_mut(&mut self) -> &mut Scratch {
        self.scratch.as_mut().expect("taken only by drop")
    }
}

impl Drop for Scratched {
    fn drop(&mut self) {
        if let Some(mut scratch) = self.scratch.take() {
            for out in [&mut scratch.request_out, &mut scratch.response_out] {
                out.clear();
                out.shrink_to(KEPT_OUT);
            }
            self.home.scratches.put(scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_gives_all_its_room_before_it_is_full() {
        let buffers = Rc::new(Buffers::default());
        let mut buf = buffers.small();
        assert_eq!(buf.space().len(), SMALL);
        buf.fill(SMALL);
        assert!(buf.space().is_empty());
        buf.consume(SMALL - 3);
        assert_eq!(buf.space().len(), SMALL - 3);
        assert_eq!(buf.filled(), [0; 3]);
        buf.consume(3);
        assert_eq!(buf.space().len(), SMALL);
    }
}
