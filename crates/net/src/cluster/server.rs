//! The side that is connected to: the port, its hello, and the loop that answers requests.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tandem_telemetry::Events;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::frame::{self, Kind};
use super::hello::{self, Client, ClusterKey, HelloError, Kept};
use super::hellos::{Hellos, Place};
use super::id::ClusterId;
use super::presence::{Presence, Present, Twice, Verdict};
use crate::listen::BACKLOG;
use crate::near::settle;

/// A peer has this long to finish its hello.
const HELLO: Duration = Duration::from_secs(5);
/// Connections open at once whose hello is over: a few for each node of a large cluster.
const MAX_CONNECTIONS: usize = 3_072;
/// One on which nothing was said for so long is looked after,
const SILENT: Duration = Duration::from_secs(15);
/// so often: a peer whose machine lost its power must not look as if it were there.
const PROBE: Duration = Duration::from_secs(5);
/// And such whose hello is not.
const MAX_HELLOS: usize = 1_024;
/// Requests of one connection worked on at once; the next wait in the socket.
const MAX_PENDING: usize = 4_096;
/// Unsent answer bytes of one connection above which no further request is read, and no further answer taken from
/// those who have one: what they hold is mostly shared with the state, and an answer is a copy.
const MAX_UNSENT: usize = 8 * 1024 * 1024;
/// A buffer that held more unsent bytes than this is given back when they are sent: a burst of large answers must not
/// stay in memory for as long as the connection lives.
const KEEP: usize = 1024 * 1024;
/// The same refusal of the same peer is an event once in so long.
const REPEAT: Duration = Duration::from_mins(1);

/// A connection whose hello is over. It belongs to whoever registered its purpose.
pub struct Accepted {
    /// The node that connected, as it proved.
    pub peer: String,
    /// Where it connected from.
    pub address: SocketAddr,
    /// The cluster that it says it is part of: the one of the purpose, where both are part of one.
    pub cluster: Option<u64>,
    /// The cluster that it was told this node is part of, of those that have a part in the purpose.
    pub told: Option<u64>,
    stream: std::net::TcpStream,
    /// Of one that can be told apart from others of its name.
    present: Option<Present>,
    _permit: OwnedSemaphorePermit,
}

type Acceptor = Arc<dyn Fn(Accepted) + Send + Sync>;

/// What the connections of a cluster port are for. Cheap to clone.
#[derive(Clone, Default)]
pub struct Purposes(Arc<Mutex<HashMap<String, (ClusterId, Acceptor)>>>);

impl Purposes {
    /// From now on connections opened for `purpose` are given to `acceptor`, on the port's runtime: it should move
    /// them to its own.
    pub fn register(&self, purpose: &str, acceptor: impl Fn(Accepted) + Send + Sync + 'static) {
        self.register_in(&ClusterId::default(), purpose, acceptor);
    }

    /// As [`register`](Self::register), and nodes that are part of another cluster are refused in words.
    pub fn register_in(
        &self,
        cluster: &ClusterId,
        purpose: &str,
        acceptor: impl Fn(Accepted) + Send + Sync + 'static,
    ) {
        let known = (cluster.clone(), Arc::new(acceptor) as Acceptor);
        self.lock().insert(purpose.into(), known);
    }

    /// From now on connections opened for `purpose` are refused in words.
    pub fn unregister(&self, purpose: &str) {
        self.lock().remove(purpose);
    }

    fn get(&self, purpose: &str) -> Option<(ClusterId, Acceptor)> {
        self.lock().get(purpose).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (ClusterId, Acceptor)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cluster port of a node.
pub struct ClusterServer {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    key: ClusterKey,
    purposes: Purposes,
    events: Events,
    connections: Arc<Semaphore>,
    hellos: Hellos,
    presence: Presence,
    /// When each peer's refusal was last told.
    told: Mutex<HashMap<(IpAddr, String), Instant>>,
}

impl ClusterServer {
    /// Takes the port. Nothing is accepted before [`Self::serve`].
    pub async fn bind(
        address: SocketAddr,
        name: &str,
        key: ClusterKey,
        events: Events,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        SockRef::from(&listener).listen(BACKLOG)?;
        Ok(Self::on(listener, name, key, events, MAX_HELLOS))
    }

    /// As [`bind`](Self::bind), at a port that another process listened at.
    pub fn take_over(
        listener: std::net::TcpListener,
        name: &str,
        key: ClusterKey,
        events: Events,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self::on(listener, name, key, events, MAX_HELLOS))
    }

    pub(super) fn on(
        listener: TcpListener,
        name: &str,
        key: ClusterKey,
        events: Events,
        hellos: usize,
    ) -> Self {
        let shared = Shared {
            name: name.into(),
            key,
            purposes: Purposes::default(),
            events,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            hellos: Hellos::new(hellos),
            presence: Presence::default(),
            told: Mutex::default(),
        };
        Self {
            listener,
            shared: Arc::new(shared),
        }
    }

    /// Its listening socket, for a process that takes it over.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where purposes are registered, before or while it serves.
    pub fn purposes(&self) -> Purposes {
        self.shared.purposes.clone()
    }

    /// Accepts connections until `shutdown` completes. Connections that were handed over live on.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        self.serve_until(shutdown).await;
    }

    /// As [`serve`](Self::serve), after which it may serve again: the kernel holds what comes meanwhile.
    pub async fn serve_until(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let (stream, address) = tokio::select! {
                () = &mut shutdown => return,
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(_) => {
                        // Out of descriptors, or a connection that died in the queue: wait for better times.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                },
            };
            let shared = self.shared.clone();
            let place = shared.hellos.enter(address.ip());
            tokio::spawn(async move { shared.welcome(stream, address, place).await });
        }
    }
}

impl Shared {
    async fn welcome(&self, mut stream: TcpStream, address: SocketAddr, mut place: Place) {
        let known = |purpose: &str| Some(self.purposes.get(purpose)?.0);
        let mut present = None;
        let admit = |client: &Client| {
            present = self.admit(client, address.ip())?;
            Ok(())
        };
        let hello = hello::accept(&mut stream, &self.key, &self.name, known, admit);
        let Client {
            name: peer,
            purpose,
            cluster,
            told,
            ..
        } = match tokio::select! {
            ended = timeout(HELLO, hello) => ended,
            () = place.taken() => {
                let why = "more connections are being opened than there is room for, most of them from there";
                return self.tell(address, why);
            }
        } {
            Ok(Ok(who)) => who,
            // A peer that died or looked whether the port is open is no news.
            Ok(Err(HelloError::Io(_) | HelloError::NotYet)) => return,
            Ok(Err(error)) => return self.tell(address, &error.to_string()),
            Err(_) => return self.tell(address, "its hello took too long"),
        };
        drop(place);
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            return self.tell(address, "too many connections");
        };
        let Some((_, acceptor)) = self.purposes.get(&purpose) else {
            return;
        };
        if prepare(&stream).is_err() {
            return;
        }
        if let Ok(stream) = stream.into_std() {
            acceptor(Accepted {
                peer,
                address,
                cluster,
                told,
                stream,
                present,
                _permit: permit,
            });
        }
    }

    /// Whether one that has proved who it is is the only one of that name.
    fn admit(&self, client: &Client, address: IpAddr) -> Result<Option<Present>, Kept> {
        let (name, server) = (&client.name, &self.name);
        let who = (client.incarnation, address);
        let (verdict, twice) = self
            .presence
            .enter(name, who, client.challenged, Instant::now());
        if let Some(Twice { first, second }) = twice {
            let what = format!(
                "node {name} runs twice: at {first}, and at {second} by a process that came later and is refused here. Is that a \
                 copy of its machine or of its state directory? Stop it; a node of its own takes a name of its own in the file, \
                 and a state directory that is empty"
            );
            if self.is_news(address, &what) {
                self.events.error(format!("nodes/{name}"), what);
            }
        }
        match verdict {
            Verdict::Welcome(present) => Ok(present),
            Verdict::Later => Err(Kept::Waiting(format!(
                "node {server} sees another process of node {name}, and finds out whether that still runs"
            ))),
            Verdict::Refused(at) => Err(Kept::Out(format!(
                "node {name} runs twice: node {server} knows it at {at}, and this is another process. Stop it, or the other one, \
                 as one of them is a copy; a node of its own takes a name of its own in the file, and a state directory that is \
                 empty"
            ))),
        }
    }

    fn tell(&self, address: SocketAddr, why: &str) {
        if self.is_news(address.ip(), why) {
            let what = format!("refused a connection from {}: {why}", address.ip());
            self.events.warning("cluster port", what);
        }
    }

    /// Whether this was not said of that address just now.
    fn is_news(&self, address: IpAddr, what: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        told.retain(|_, at| now - *at < REPEAT);
        told.len() < MAX_CONNECTIONS && told.insert((address, what.into()), now).is_none()
    }
}

/// How every cluster connection is set up: no delay, and the kernel gives up on a peer that is silent for long.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    settle(stream, stream.peer_addr()?.ip());
    SockRef::from(stream).set_tcp_user_timeout(Some(Duration::from_secs(10)))?;
    let keepalive = TcpKeepalive::new().with_time(SILENT).with_interval(PROBE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// What a handler makes of a request.
pub enum Answer<F> {
    /// It is known at once: nothing is waited for, and no future is kept.
    Now(Bytes),
    /// It will be.
    Later(F),
    /// There is none over this connection, which ends: its other side is to make another.
    Never,
}

/// Answers the requests of one connection until it closes. Requests are worked on side by side, and answered in the
/// order in which they are done.
///
/// The error says how the connection ended, when it was not by the peer's orderly close.
pub async fn serve<F>(accepted: Accepted, handler: impl Fn(Bytes) -> Answer<F>) -> io::Result<()>
where
    F: Future<Output = Bytes>,
{
    let mut present = accepted.present;
    let mut stream = TcpStream::from_std(accepted.stream)?;
    let (mut reader, mut writer) = stream.split();
    let mut input = BytesMut::with_capacity(16 * 1024);
    let mut output = BytesMut::new();
    let mut most_unsent = 0;
    let mut pending = FuturesUnordered::new();
    loop {
        while pending.len() < MAX_PENDING && output.len() < MAX_UNSENT {
            let Some(request) = frame::take(&mut input)? else {
                break;
            };
            match request.kind {
                Kind::Request => {
                    let id = request.id;
                    match handler(request.body) {
                        Answer::Now(answer) => put_answer(&mut output, id, &answer),
                        Answer::Later(answer) => pending.push(async move { (id, answer.await) }),
                        Answer::Never => return Ok(()),
                    }
                }
                Kind::Ping => frame::put(&mut output, request.id, Kind::Pong, b""),
                Kind::Answer | Kind::Pong => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        // What is done by now goes out in one system call.
        while output.len() < MAX_UNSENT
            && let Some(Some((id, answer))) = pending.next().now_or_never()
        {
            put_answer(&mut output, id, &answer);
        }
        most_unsent = most_unsent.max(output.len());
        if output.is_empty() && most_unsent > KEEP {
            output = BytesMut::new();
            most_unsent = 0;
        }
        let has_room = output.len() < MAX_UNSENT;
        let may_read = pending.len() < MAX_PENDING && has_room;
        tokio::select! {
            biased;
            Some((id, answer)) = pending.next(), if has_room && !pending.is_empty() => put_answer(&mut output, id, &answer),
            written = writer.write_buf(&mut output), if !output.is_empty() => { written?; }
            read = reader.read_buf(&mut input), if may_read => {
                if read? == 0 {
                    return Ok(());
                }
            }
            () = dismissed(present.as_mut()) => return Ok(()),
        }
    }
}

/// Waits until the connection is to be closed.
async fn dismissed(present: Option<&mut Present>) {
    match present {
        Some(present) => present.dismissed().await,
        None => std::future::pending().await,
    }
}

fn put_answer(output: &mut BytesMut, id: u64, answer: &[u8]) {
    debug_assert!(
        answer.len() <= frame::MAX_FRAME,
        "handlers split what is larger"
    );
    frame::put(output, id, Kind::Answer, answer);
}
