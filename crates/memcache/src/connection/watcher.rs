//! A connection that watches: it sends no more commands, and is told what happens.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::context::ServerContext;
use crate::drain::Seat;

/// What woke a watcher.
enum Woken {
    /// There is something to be told.
    More,
    /// The client left, or the server stops.
    Over,
}

/// Tells `classes` until the client leaves or the server stops. What the client sends is thrown away. One that does not
/// read is no trouble: what is kept for it is bounded, and what it misses is counted.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &ServerContext,
    classes: u8,
    seat: &Seat<'_>,
) -> io::Result<()> {
    let watching = cx.stats.watch().join(classes);
    let mut lines = b"OK\r\n".to_vec();
    loop {
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let count = poll_fn(|task| {
                if let Poll::Ready(count) = Pin::new(&mut *stream).poll_write(task, rest) {
                    return Poll::Ready(count);
                }
                match left(stream, task, seat) {
                    Poll::Ready(()) => Poll::Ready(Ok(0)),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await?;
            if count == 0 {
                return Ok(());
            }
            cx.stats.count_written(cx.worker, count);
            rest = &rest[count..];
        }
        lines.clear();
        watching.take(&mut lines);
        if !lines.is_empty() {
            continue;
        }
        let mut more = pin!(watching.watcher.more.notified());
        let woken = poll_fn(|task| {
            if left(stream, task, seat).is_ready() {
                return Poll::Ready(Woken::Over);
            }
            more.as_mut().poll(task).map(|()| Woken::More)
        });
        if let Woken::Over = woken.await {
            return Ok(());
        }
    }
}

/// Ready when the client has left or the server stops.
fn left<S: AsyncRead + Unpin>(
    stream: &mut S,
    task: &mut std::task::Context<'_>,
    seat: &Seat<'_>,
) -> Poll<()> {
    loop {
        let mut scratch = [0; 256];
        let mut space = ReadBuf::new(&mut scratch);
        match Pin::new(&mut *stream).poll_read(task, &mut space) {
            Poll::Ready(Ok(())) if !space.filled().is_empty() => {}
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => break,
        }
    }
    if seat.should_end(task.waker(), true) {
        return Poll::Ready(());
    }
    Poll::Pending
}
