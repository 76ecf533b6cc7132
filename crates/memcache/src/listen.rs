//! Accepting connections: a bound on their number, no busy loop when descriptors run out, and a graceful stop.

use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tandem_telemetry::Events;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::connection::{End, serve_admitted};
use crate::context::ServerContext;
use crate::drain::Present;
use crate::keyspace::Keyspace;
use crate::stats::{Admitted, ServerStats};

/// How long nothing is accepted after descriptors or memory ran out: the listen queue holds the clients meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// What a client reads that is one too many (as memcached says it).
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";
/// How long connections may take to finish what they are doing when the server stops.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Accepts connections and gives them to `each`, until `shutdown` becomes true or its sender is gone.
///
/// Over the maximum of `stats` a client is told so and hung up on; `events` are told once until one is let in again. An error of `accept` never ends the loop:
/// those of one connection are skipped, those of the process (no descriptors, no memory) make it pause, and are
/// told to `events` once until it works again.
pub async fn accept<L: Listener>(
    listener: &L,
    stats: &Arc<ServerStats>,
    events: Option<&Events>,
    mut shutdown: watch::Receiver<bool>,
    mut each: impl FnMut(L::Stream, Admitted),
) {
    let (mut paused, mut full) = (false, false);
    let stopped = async {
        // An error means that nobody is left who could stop us: stop.
        let _ = shutdown.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => return,
            accepted = listener.next() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                paused = false;
                let Some(admitted) = stats.admit(peer) else {
                    if let (false, Some(events)) = (full, events) {
                        let most = stats.max_connections();
                        let what = format!(
                            "has {most} clients, the most it takes: others are told so and sent away"
                        );
                        events.warning(listener.name(), what);
                    }
                    full = true;
                    L::turn_away(stream);
                    continue;
                };
                full = false;
                each(stream, admitted);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if let (false, Some(events)) = (paused, events) {
                    events.warning(
                        listener.name(),
                        format!("cannot accept connections: {error}"),
                    );
                }
                paused = true;
                tokio::select! {
                    () = &mut stopped => return,
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// Where clients come in.
pub trait Listener {
    /// What a client is talked to over.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// The next client, and its address if it has one.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>>;

    /// What it is called when something is wrong with it.
    fn name(&self) -> String;

    /// Tells a client that it is one too many, as far as its empty window takes it, and hangs up.
    fn turn_away(stream: Self::Stream);
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (stream, peer) = self.accept().await?;
        // A reply must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(peer)))
    }

    fn name(&self) -> String {
        self.local_addr().map_or_else(
            |_| "listener".to_owned(),
            |address| format!("listener {address}"),
        )
    }

    fn turn_away(stream: TcpStream) {
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write(TOO_MANY);
        }
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Option<SocketAddr>)> {
        Ok((self.accept().await?.0, None))
    }

    fn name(&self) -> String {
        "Unix socket".to_owned()
    }

    fn turn_away(stream: UnixStream) {
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write(TOO_MANY);
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
    )
}

/// Serves a listener on the current thread, inside a `LocalRuntime` or `LocalSet`: one local task per connection.
///
/// Returns when `shutdown` has become true (or its sender is gone) and the connections have ended: idle ones at
/// once, busy ones after their answer, all after 5 s at the latest (tasks left then end with the runtime). Do not
/// use `cx` for another server afterwards: it stays in its ending.
pub async fn listen<K: Keyspace + ?Sized + 'static>(
    listener: TcpListener,
    keyspace: Rc<K>,
    cx: Rc<ServerContext>,
    shutdown: watch::Receiver<bool>,
) {
    let events = cx.options.events.clone();
    accept(
        &listener,
        cx.stats(),
        events.as_ref(),
        shutdown,
        |stream, admitted| serve_local(stream, admitted, &keyspace, &cx),
    )
    .await;
    drop(listener);
    finish(&cx).await;
}

/// Serves a connection by a local task of the current thread.
pub fn serve_local<S, K>(
    stream: S,
    mut admitted: Admitted,
    keyspace: &Rc<K>,
    cx: &Rc<ServerContext>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Release + 'static,
    K: Keyspace + ?Sized + 'static,
{
    let present = Present::new(cx);
    let (keyspace, cx) = (keyspace.clone(), cx.clone());
    spawn_local(async move {
        // How a connection ended is its client's affair: resets are everyday, and there is nobody left to tell.
        match serve_admitted(stream, &*keyspace, &cx, Some(&admitted)).await {
            Ok(End::Normal) => {}
            Ok(End::Idle) => admitted.ends("idle_timeout"),
            Ok(End::Released(stream)) => {
                if let (Ok(released), Some(to)) = (stream.release(), cx.heir()) {
                    // Without an heir it ends, as it would have.
                    let _ = to.send(released);
                }
            }
            Err(_) => admitted.ends("error"),
        }
        drop((admitted, present));
    });
}

/// Gives away the connections of `cx` where they wait for a request: to `heir`, which is to serve them from there as new
/// ones. Returns when none is left, or after `within`.
pub async fn hand_over(cx: &ServerContext, heir: UnboundedSender<OwnedFd>, within: Duration) {
    cx.set_heir(Some(heir));
    cx.drain.release();
    let _ = timeout(within, cx.drain.emptied()).await;
    cx.set_heir(None);
}

/// Serves a connection that another process served until it waited for a request.
pub fn take_over<K: Keyspace + ?Sized + 'static>(
    stream: std::net::TcpStream,
    keyspace: &Rc<K>,
    cx: &Rc<ServerContext>,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream)?;
    let peer = stream.peer_addr().ok();
    match cx.stats().admit(peer) {
        Some(admitted) => serve_local(stream, admitted, keyspace, cx),
        None => <TcpListener as Listener>::turn_away(stream),
    }
    Ok(())
}

/// A connection that can be given away.
pub trait Release {
    /// Its descriptor. It is open as long as that.
    fn release(self) -> io::Result<OwnedFd>;
}

impl Release for TcpStream {
    fn release(self) -> io::Result<OwnedFd> {
        Ok(self.into_std()?.into())
    }
}

impl Release for UnixStream {
    fn release(self) -> io::Result<OwnedFd> {
        Ok(self.into_std()?.into())
    }
}

/// Ends the connections of `cx`: idle ones at once, busy ones after their answer. Waits for them for 5 s.
pub async fn finish(cx: &ServerContext) {
    cx.drain.begin();
    let _ = timeout(LAST_ANSWERS, cx.drain.emptied()).await;
}
