//! The answers that are gathered for one write.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::timeout;

use crate::context::ServerContext;

/// So much is gathered before it is written, though more input waits.
const GATHER: usize = 64 * 1024;

/// Answers not yet written.
pub(crate) struct Output<'c> {
    cx: &'c ServerContext,
    bytes: Vec<u8>,
}

impl<'c> Output<'c> {
    pub(crate) fn new(cx: &'c ServerContext) -> Self {
        Self {
            cx,
            bytes: Vec::new(),
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
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let count =
                bounded(limit, |task| Pin::new(&mut *stream).poll_write(task, rest)).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[count..];
        }
        bounded(limit, |task| Pin::new(&mut *stream).poll_flush(task)).await?;
        let written = self.bytes.len();
        self.cx.stats.count_written(self.cx.worker, written);
        self.cx.give_output(std::mem::take(&mut self.bytes));
        Ok(())
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
