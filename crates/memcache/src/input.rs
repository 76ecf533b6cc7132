//! The bytes a client has sent and the loop has not yet used.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::context::{BUFFER, ServerContext};
use crate::drain::Seat;
use crate::room::{Room, STANDSTILL, Share, sending};
use crate::text::{MAX_LINE, MAX_RETRIEVAL_LINE};

/// A beginning of a request up to this size is kept apart while the connection waits for the rest, so that
/// many slow clients do not hold a whole buffer each.
const PARKED: usize = 1024;

/// A value up to this size is read without room being kept for its request.
pub(crate) const SMALL_VALUE: usize = 64 * 1024;
/// So much of a request a connection may hold without having taken room: a small value, the longest line or head that
/// can be before one, and its end.
pub(crate) const ALONE: usize = SMALL_VALUE + 2 * MAX_LINE;

/// What came of waiting for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There are more bytes than before.
    Bytes,
    /// There will be none: the client is done, or the server stops.
    Over,
    /// The client was silent for too long.
    Silent,
    /// There was no room for all of the request in time, or it was needed for others. Nothing more of it may be kept.
    Crowded,
}

/// How much of a request is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// So many bytes, before it makes sense to look again.
    pub(crate) need: usize,
    /// So many it comes to at most.
    pub(crate) most: usize,
}

impl Wanted {
    /// All of a request whose length is known.
    pub(crate) const fn exactly(need: usize) -> Self {
        Self { need, most: need }
    }

    /// More of a line whose end is not there.
    pub(crate) const fn line(need: usize) -> Self {
        let most = if need > ALONE {
            MAX_RETRIEVAL_LINE
        } else {
            need
        };
        Self { need, most }
    }
}

/// A window over a buffer that is borrowed from the worker while there is something in it.
pub(crate) struct Input<'c> {
    cx: &'c ServerContext,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// The room for the request at the beginning, and since when it is taken.
    share: Option<(Share<'c>, Instant)>,
}

impl<'c> Input<'c> {
    pub(crate) fn new(cx: &'c ServerContext) -> Self {
        Self {
            cx,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            timer: None,
            share: None,
        }
    }

    /// The room of which the request at the beginning has some.
    pub(crate) fn room(&self) -> Option<&'c Room> {
        self.share.as_ref().and(self.cx.options.incoming.as_deref())
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
        if self.share.is_some() {
            self.give_room_back();
        }
    }

    /// What is left of a large request that is over, or of what came behind it, fits into a buffer: the rest goes, and then
    /// the room for it.
    fn give_room_back(&mut self) {
        let held = self.end - self.start;
        if held > BUFFER {
            return;
        }
        let mut buffer = Vec::new();
        if held > 0 {
            buffer = self.cx.take_input();
            buffer[..held].copy_from_slice(&self.buffer[self.start..self.end]);
        }
        self.buffer = buffer;
        (self.start, self.end) = (0, held);
        self.share = None;
    }

    /// Waits for bytes, so that those that are needed fit; what is gathered never outgrows them by more than a buffer.
    pub(crate) async fn fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        wanted: Wanted,
        seat: &Seat<'_>,
    ) -> io::Result<Filled> {
        let cx = self.cx;
        if let Some(room) = &cx.options.incoming
            && wanted.need > ALONE
        {
            match &self.share {
                Some((share, since)) => {
                    if room.is_wanted() && since.elapsed() > sending(share) {
                        return Ok(Filled::Crowded);
                    }
                }
                None if self.end - self.start < BUFFER => {}
                None => {
                    // Rare, and larger than all that waits otherwise.
                    let taken = Box::pin(take(room, wanted.most, seat)).await;
                    match taken {
                        Ok(share) => self.share = Some((share, Instant::now())),
                        Err(instead) => return Ok(instead),
                    }
                }
            }
        }
        let options = &cx.options;
        let patience = if self.start == self.end {
            options.idle_timeout
        } else {
            Some(options.stall_timeout)
        };
        let since = patience.map(|_| Instant::now());
        poll_fn(|task| {
            self.make_room(wanted.need);
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
            if seat.should_end(task.waker(), self.start == self.end) {
                return Poll::Ready(Ok(Filled::Over));
            }
            let (Some(patience), Some(since)) = (patience, since) else {
                return Poll::Pending;
            };
            let Some(room) = self.room() else {
                ready!(self.poll_timer(task, since, patience));
                return Poll::Ready(Ok(Filled::Silent));
            };
            // Looked after more often: who waits for room does not wake those who have it.
            let mut look = STANDSTILL.min(patience);
            loop {
                ready!(self.poll_timer(task, since, look));
                let silent = since.elapsed();
                if room.is_wanted() {
                    return Poll::Ready(Ok(Filled::Crowded));
                }
                if silent >= patience {
                    return Poll::Ready(Ok(Filled::Silent));
                }
                look = (silent + STANDSTILL).min(patience);
            }
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
            // A length that a client only claims costs nothing: the buffer grows as the bytes come. Of a line, whose length
            // nobody knows, more than the next byte is read at a time.
            let length = self.buffer.len();
            let mut size = need.max(length + BUFFER).min(length * 2);
            if self.cx.options.incoming.is_some() && self.share.is_none() {
                size = size.min(ALONE);
            }
            self.buffer.reserve_exact(size - length);
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

/// Takes room for a request that comes to `most` bytes; nothing of it is read meanwhile.
async fn take<'r>(room: &'r Room, most: usize, seat: &Seat<'_>) -> Result<Share<'r>, Filled> {
    let mut taking = pin!(room.take(most));
    poll_fn(|task| {
        if let Poll::Ready(share) = taking.as_mut().poll(task) {
            return Poll::Ready(share.ok_or(Filled::Crowded));
        }
        if seat.should_end(task.waker(), false) {
            return Poll::Ready(Err(Filled::Over));
        }
        Poll::Pending
    })
    .await
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        self.cx.give_input(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;
    use crate::context::ServerOptions;
    use crate::stats::ServerStats;

    fn context() -> ServerContext {
        let options = ServerOptions::new("1", || 0);
        ServerContext::new(options, Arc::new(ServerStats::new(1, 10, 0)), 0)
    }

    /// Polls `fill` once more, after which it waits.
    async fn fill_then_wait(
        input: &mut Input<'_>,
        stream: &mut tokio::io::DuplexStream,
        need: usize,
    ) {
        let seat = input.cx.drain.seat();
        let fill = input.fill(stream, Wanted::exactly(need), &seat);
        tokio::pin!(fill);
        let waits = poll_fn(|task| Poll::Ready(fill.as_mut().poll(task).is_pending())).await;
        assert!(waits);
    }

    #[tokio::test]
    async fn a_claimed_length_takes_no_memory_before_its_bytes_come() {
        let cx = context();
        let (mut client, mut server) = duplex(1 << 20);
        let mut input = Input::new(&cx);
        let seat = cx.drain.seat();
        let mut held = Vec::new();
        for size in [10, BUFFER - 10, BUFFER, 1] {
            client.write_all(&vec![0; size]).await.unwrap();
            let before = input.bytes().len();
            while input.bytes().len() < before + size {
                let all = Wanted::exactly(128 << 20);
                let filled = input.fill(&mut server, all, &seat).await.unwrap();
                assert_eq!(filled, Filled::Bytes);
            }
            held.push(input.buffer.len());
        }
        assert_eq!(held, [BUFFER, BUFFER, 2 * BUFFER, 4 * BUFFER]);
    }

    #[tokio::test]
    async fn a_long_line_is_read_in_few_pieces() {
        let cx = context();
        let (mut client, mut server) = duplex(1 << 20);
        client.write_all(&vec![b'k'; 1 << 20]).await.unwrap();
        let mut input = Input::new(&cx);
        let seat = cx.drain.seat();
        let mut reads = 0;
        while input.bytes().len() < 1 << 20 {
            let more = Wanted::line(input.bytes().len() + 1);
            input.fill(&mut server, more, &seat).await.unwrap();
            reads += 1;
        }
        assert!(reads <= (1 << 20) / BUFFER, "{reads} reads");
    }

    #[tokio::test]
    async fn a_waiting_connection_holds_no_more_than_the_beginning_it_has() {
        let cx = context();
        let (mut client, mut server) = duplex(1 << 20);
        let mut input = Input::new(&cx);
        fill_then_wait(&mut input, &mut server, 1).await;
        assert_eq!(input.buffer.capacity(), 0);
        client.write_all(b"get half").await.unwrap();
        let seat = cx.drain.seat();
        let some = Wanted::exactly(1);
        input.fill(&mut server, some, &seat).await.unwrap();
        fill_then_wait(&mut input, &mut server, 9).await;
        assert_eq!(input.buffer, b"get half");
        client.write_all(&vec![b'k'; 3 * BUFFER]).await.unwrap();
        while input.bytes().len() < 8 + 3 * BUFFER {
            let more = Wanted::line(input.bytes().len() + 1);
            input.fill(&mut server, more, &seat).await.unwrap();
        }
        assert!(input.bytes().starts_with(b"get halfkkk"));
        input.consume(input.bytes().len());
        fill_then_wait(&mut input, &mut server, 1).await;
        assert_eq!(input.buffer.capacity(), 0);
    }
}
