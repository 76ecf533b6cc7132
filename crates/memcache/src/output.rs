//! The answers that are gathered for one write.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, timeout};

use crate::context::ServerContext;
use crate::extended::{Action, Extended};
use crate::keyspace::Keyspace;
use crate::op::Op;
use crate::room::{self, Room, STANDSTILL, Share, WRITING};

/// So much is gathered before it is written, though more input waits.
const GATHER: usize = 64 * 1024;

/// How much may be found of what is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Granted {
    /// Whatever there is.
    All,
    /// Values of so many bytes together.
    Little(usize),
    /// Nothing: there was no room in time.
    Nothing,
}

/// Answers not yet written.
pub(crate) struct Output<'c> {
    cx: &'c ServerContext,
    bytes: Vec<u8>,
    /// The room for what a retrieval finds, until that is written.
    share: Option<Share<'c>>,
    /// The room of which there was enough for all that an immediate store may find: what it did find is taken of it.
    owes: Option<&'c Room>,
    /// The room that the request itself takes up, which is being answered.
    request: Option<&'c Room>,
    /// How long was written while it did.
    written_for: Duration,
}

impl<'c> Output<'c> {
    pub(crate) fn new(cx: &'c ServerContext) -> Self {
        Self {
            cx,
            bytes: Vec::new(),
            share: None,
            owes: None,
            request: None,
            written_for: Duration::ZERO,
        }
    }

    /// Says of which room the next request has some, until it is answered.
    pub(crate) fn set_request_room(&mut self, room: Option<&'c Room>) {
        self.request = room;
        self.written_for = Duration::ZERO;
    }

    /// The room that an operation needs before it begins, and how much of it; `None` when it needs none.
    fn room_for<K: Keyspace + ?Sized>(
        &mut self,
        keyspace: &K,
        op: &Op<'_>,
    ) -> Option<(&'c Room, usize)> {
        let room = self.cx.room.as_ref()?;
        let most = keyspace.takes(op);
        // Whoever has room and waits for more could wait for another that does the same.
        debug_assert!(most == 0 || self.share.is_none());
        // Besides what it finds there may be answers that were gathered before.
        if most > 0 && keyspace.is_immediate() && room.free() >= most + 2 * GATHER {
            self.owes = Some(room);
            return None;
        }
        (most > 0).then_some((room, most))
    }

    /// Takes room for what an operation may take, and says how many of its keys to ask for, where it asks for keys; 0: there
    /// was no room in time. What is gathered is written before it waits.
    pub(crate) async fn reserve<S: AsyncWrite + Unpin, K: Keyspace + ?Sized>(
        &mut self,
        stream: &mut S,
        keyspace: &K,
        op: &Op<'_>,
    ) -> io::Result<usize> {
        let keys = match op {
            Op::Get { keys } | Op::GetAndTouch { keys, .. } => *keys,
            _ => &[],
        };
        let all = keys.len().max(1);
        let Some((room, most)) = self.room_for(keyspace, op) else {
            return Ok(all);
        };
        self.share = room.take_now(most);
        if self.share.is_some() {
            return Ok(all);
        }
        self.flush(stream).await?;
        if !keys.is_empty() {
            let small = keyspace.fit(keys, GATHER).await;
            if small > 0 {
                return Ok(small.min(all));
            }
        }
        self.share = room.take(most).await;
        Ok(if self.share.is_some() { all } else { 0 })
    }

    /// As [`reserve`](Self::reserve), of a `Get` that need not wait: if there is no room now, what is little can be asked for
    /// without any. `waits`: that was done, and the first key's value is not.
    pub(crate) async fn reserve_all_or_little<S: AsyncWrite + Unpin, K: Keyspace + ?Sized>(
        &mut self,
        stream: &mut S,
        keyspace: &K,
        keys: &[&[u8]],
        waits: bool,
    ) -> io::Result<Granted> {
        let Some((room, most)) = self.room_for(keyspace, &Op::Get { keys }) else {
            return Ok(Granted::All);
        };
        self.share = room.take_now(most);
        if self.share.is_none() {
            if !waits {
                return Ok(Granted::Little(GATHER));
            }
            self.flush(stream).await?;
            self.share = room.take(most).await;
        }
        Ok(match self.share {
            Some(_) => Granted::All,
            None => Granted::Nothing,
        })
    }

    /// As [`reserve`](Self::reserve), for one key; a plain `Get` as by [`reserve_all_or_little`](Self::reserve_all_or_little).
    pub(crate) async fn reserve_for<S: AsyncWrite + Unpin, K: Keyspace + ?Sized>(
        &mut self,
        stream: &mut S,
        keyspace: &K,
        op: &Extended<'_>,
        waits: bool,
    ) -> io::Result<Granted> {
        let keys = &[op.key][..];
        if op.is_plain_get() {
            let granted = self.reserve_all_or_little(stream, keyspace, keys, waits);
            return granted.await;
        }
        let op = match op.action {
            Action::Get { .. } => Op::Get { keys },
            Action::Store {
                mode,
                flags,
                life,
                value,
                ..
            } => Op::Store {
                mode,
                key: op.key,
                flags,
                life,
                value,
            },
            _ => return Ok(Granted::All),
        };
        Ok(match self.reserve(stream, keyspace, &op).await? {
            0 => Granted::Nothing,
            _ => Granted::All,
        })
    }

    /// The operation is over: gives back the room that what it found does not take, or takes what it does.
    pub(crate) fn settle(&mut self) {
        let owed = self.owes.take();
        if !self.is_full() {
            self.share = None;
        } else if let Some(share) = &mut self.share {
            room::shrink(share, self.bytes.len());
        } else if let Some(room) = owed {
            self.share = room.take_now(self.bytes.len());
        }
    }

    /// Where answers are appended.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = self.cx.take_output();
        }
        &mut self.bytes
    }

    /// Whether to write before going on.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= GATHER
    }

    /// Writes all that is gathered. A client that takes nothing for the write timeout is an error.
    pub(crate) async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let limit = self.cx.options.write_timeout;
        let value = self.cx.room.as_ref().filter(|_| self.share.is_some());
        let held = [value, self.request];
        let begun = held.iter().any(Option::is_some).then(Instant::now);
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let write = |task: &mut Context<'_>| Pin::new(&mut *stream).poll_write(task, rest);
            let count = match begun {
                None => bounded(limit, write).await?,
                Some(_) => while_unwanted(&held, limit, write).await?,
            };
            if let Some(taken) = begun.map(|begun| begun.elapsed()) {
                // A request is held until all of its answer is written, in how many pieces ever.
                let times = [taken, taken + self.written_for];
                let mut late = held.iter().zip(times).filter(|(_, time)| *time > WRITING);
                if late.any(|(room, _)| is_wanted(*room)) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[count..];
        }
        bounded(limit, |task| Pin::new(&mut *stream).poll_flush(task)).await?;
        self.written_for += begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        let written = self.bytes.len();
        self.cx.stats.count_written(self.cx.worker, written);
        self.cx.give_output(std::mem::take(&mut self.bytes));
        self.share = None;
        Ok(())
    }
}

fn is_wanted(room: Option<&Room>) -> bool {
    room.is_some_and(Room::is_wanted)
}

/// As [`bounded`], but at most [`STANDSTILL`] when somebody waits for room that is held meanwhile.
async fn while_unwanted<T>(
    held: &[Option<&Room>],
    limit: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match bounded(STANDSTILL.min(limit), &mut poll).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if held.iter().copied().any(is_wanted) || begun.elapsed() >= limit {
                    return Err(error);
                }
            }
            result => return result,
        }
    }
}

/// Polls until ready, for at most `limit`. A timer is made only when the first poll was in vain.
async fn bounded<T>(
    limit: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    if let Poll::Ready(result) = poll_fn(|task| Poll::Ready(poll(task))).await {
        return result;
    }
    match timeout(limit, poll_fn(poll)).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
