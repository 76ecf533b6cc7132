//! The bytes a client has sent and the loop has not yet used.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::context::{BUFFER, ServerContext};
use crate::drain::Seat;

/// A beginning of a request up to this size is kept apart while the connection waits for the rest, so that
/// many slow clients do not hold a whole buffer each.
const PARKED: usize = 1024;

/// What came of waiting for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There are more bytes than before.
    Bytes,
    /// There will be none: the client is done or was silent too long, or the server stops.
    Over,
}

/// A window over a buffer that is borrowed from the worker while there is something in it.
pub(crate) struct Input<'c> {
    cx: &'c ServerContext,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'c> Input<'c> {
    pub(crate) fn new(cx: &'c ServerContext) -> Self {
        Self {
            cx,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            timer: None,
        }
    }

    /// The unused bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// These are used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Waits for bytes, so that `need` of them fit; what is gathered never outgrows `need` by more than a buffer.
    pub(crate) async fn fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        need: usize,
        seat: &Seat<'_>,
    ) -> io::Result<Filled> {
        let options = &self.cx.options;
        let patience = if self.start == self.end {
            options.idle_timeout
        } else {
            Some(options.stall_timeout)
        };
        let since = patience.map(|_| Instant::now());
        poll_fn(|task| {
            self.make_room(need);
            let mut space = ReadBuf::new(&mut self.buffer[self.end..]);
            match Pin::new(&mut *stream).poll_read(task, &mut space) {
                Poll::Ready(Ok(())) => {
                    let count = space.filled().len();
                    self.end += count;
                    self.cx.stats.count_read(self.cx.worker, count);
                    return Poll::Ready(Ok(if count == 0 {
                        Filled::Over
                    } else {
                        Filled::Bytes
                    }));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            self.park();
            if seat.should_end(task.waker()) {
                return Poll::Ready(Ok(Filled::Over));
            }
            if let (Some(patience), Some(since)) = (patience, since) {
                ready!(self.poll_timer(task, since, patience));
                return Poll::Ready(Ok(Filled::Over));
            }
            Poll::Pending
        })
        .await
    }

    /// Ready when `patience` is over. The timer is moved only when it rings, not with every request.
    fn poll_timer(
        &mut self,
        task: &mut Context<'_>,
        since: Instant,
        patience: Duration,
    ) -> Poll<()> {
        let until = since + patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        // One that was set for a longer patience must not ring too late.
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        loop {
            ready!(timer.as_mut().poll(task));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }

    fn make_room(&mut self, need: usize) {
        if self.buffer.len() < BUFFER {
            let mut buffer = self.cx.take_input();
            buffer[..self.end - self.start].copy_from_slice(&self.buffer[self.start..self.end]);
            (self.start, self.end) = (0, self.end - self.start);
            self.buffer = buffer;
        }
        if self.start > 0 && self.start + need > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            // A length that a client only claims costs nothing: the buffer grows as the bytes come.
            let size = need.min(self.buffer.len() * 2);
            self.buffer.resize(size, 0);
        }
    }

    /// Gives the buffer back before a wait, unless much is in it.
    fn park(&mut self) {
        let held = self.end - self.start;
        if held <= PARKED && self.buffer.len() >= BUFFER {
            let parked = self.buffer[self.start..self.end].to_vec();
            self.cx
                .give_input(std::mem::replace(&mut self.buffer, parked));
            (self.start, self.end) = (0, held);
        }
    }
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        self.cx.give_input(std::mem::take(&mut self.buffer));
    }
}
