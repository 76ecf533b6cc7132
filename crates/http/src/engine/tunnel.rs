//! Bytes both ways after an upgrade (RFC 9110 section 7.8), until both sides have ended or neither says anything.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tandem_net::Socket;
use tandem_telemetry::Stopped;

use super::buffers::{Buf, Buffers};
use super::client::Wire;
use super::clock::{Clock, Elapsed};
use super::connection::Exchange;

/// Runs the tunnel; `from_server` is what came behind the server's head. Returns the bytes sent to the client.
///
/// Without a byte either way for the route's idle limit, or else the listener's, it ends.
pub(super) async fn run(
    x: &Exchange<'_>,
    server: &Socket,
    from_server: Buf,
    limit: Option<Duration>,
    cut: Option<CutOff>,
) -> (u64, Stopped) {
    let conn = x.conn;
    let limit = limit.unwrap_or(x.snapshot.config.timeouts.idle);
    let (up, down) = (Cell::new(0), Cell::new(0));
    let progress = |count: &Cell<u64>, n: usize| {
        count.set(count.get() + n as u64);
        conn.clock.allow(limit);
    };
    conn.clock.allow(limit);
    let buffers = &conn.shared().buffers;
    let upward = async {
        write(server, x.behind, |n| progress(&up, n)).await?;
        copy(&conn.client, server, buffers, |n| progress(&up, n)).await
    };
    let downward = async {
        write(&conn.client, from_server.filled(), |n| progress(&down, n)).await?;
        drop(from_server);
        copy(server, &conn.client, buffers, |n| progress(&down, n)).await
    };
    let stopped = match until_cut(cut, both(&conn.clock, upward, downward)).await {
        None => Stopped::Server,
        Some(Ok((Ok(()), Ok(())))) => Stopped::No,
        Some(Ok(_)) => Stopped::Client,
        Some(Err(Elapsed)) => Stopped::Idle,
    };
    (down.get(), stopped)
}

/// Ready when a connection is to be cut off.
pub(super) type CutOff = Pin<Box<dyn Future<Output = ()>>>;

/// Does `work`, unless it is cut off: then `None`.
pub(super) async fn until_cut<T>(cut: Option<CutOff>, work: impl Future<Output = T>) -> Option<T> {
    let Some(cut) = cut else {
        return Some(work.await);
    };
    tokio::select! {
        biased;
        () = cut => None,
        done = work => Some(done),
    }
}

/// What became of each direction; one that the other has ended is well.
type Ends<E> = (Result<(), E>, Result<(), E>);

/// Both ways, until both have ended, or the deadline that they move themselves. A direction that breaks ends the other:
/// there is nobody any more to whom, or from whom, it could go on.
pub(super) async fn both<E>(
    clock: &Clock,
    upward: impl Future<Output = Result<(), E>>,
    downward: impl Future<Output = Result<(), E>>,
) -> Result<Ends<E>, Elapsed> {
    let (mut upward, mut downward) = (pin!(upward), pin!(downward));
    let (mut up, mut down) = (None, None);
    poll_fn(|cx| {
        if up.is_none()
            && let Poll::Ready(end) = upward.as_mut().poll(cx)
        {
            up = Some(end);
        }
        if down.is_none()
            && let Poll::Ready(end) = downward.as_mut().poll(cx)
        {
            down = Some(end);
        }
        match (up.take(), down.take()) {
            (Some(up), Some(down)) => Poll::Ready(Ok((up, down))),
            (Some(end @ Err(_)), None) => Poll::Ready(Ok((end, Ok(())))),
            (None, Some(end @ Err(_))) => Poll::Ready(Ok((Ok(()), end))),
            ends => {
                (up, down) = ends;
                clock.poll(cx).map(Err)
            }
        }
    })
    .await
}

/// Copies until `from` ends, and tells `to`. Holds a buffer only while bytes are on their way.
async fn copy(
    from: &impl Wire,
    to: &impl Wire,
    buffers: &Rc<Buffers>,
    progress: impl Fn(usize),
) -> io::Result<()> {
    loop {
        poll_fn(|cx| from.poll_readable(cx)).await?;
        let mut buf = buffers.small();
        let n = from.read(buf.space()).await?;
        if n == 0 {
            to.finish();
            return Ok(());
        }
        buf.fill(n);
        write(to, buf.filled(), &progress).await?;
    }
}

async fn write(to: &impl Wire, mut bytes: &[u8], progress: impl Fn(usize)) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = to.write(&[IoSlice::new(bytes)], false).await?;
        progress(n);
        bytes = &bytes[n..];
    }
    Ok(())
}
