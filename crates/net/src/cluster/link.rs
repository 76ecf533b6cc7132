//! The side that connects: one connection to one node, shared by any number of requests.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::frame::{self, Kind, MAX_FRAME};
use super::hello::{self, ClusterKey, HelloError};
use super::id::{Accepts, ClusterId};
use super::incarnation::Incarnation;
use super::server::prepare;

/// Connecting, hello included, takes at most this long.
const CONNECT: Duration = Duration::from_secs(1);
/// The kernel sends a lost first packet again after a second. So another connection is tried beside one that has no answer
/// after this long,
const BESIDE: Duration = Duration::from_millis(300);
/// and so many in all.
const MOST_BESIDE: usize = 3;
/// After a failure the next attempt waits this long, twice as long after the next, ...
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// ... up to this.
const BACKOFF_MAX: Duration = Duration::from_millis(250);
/// Requests waiting for the connection's task.
const QUEUE: usize = 4_096;
/// Requests sent and not answered.
const MAX_OUTSTANDING: usize = 8_192;
/// Unsent bytes above which no further request is taken from the queue.
const MAX_UNSENT: usize = 8 * 1024 * 1024;
/// Room for what comes, at first and after a rest, in bytes.
const INPUT: usize = 16 * 1024;
/// With requests outstanding, a peer silent for so long is asked whether it is there,
const PING_AFTER: Duration = Duration::from_millis(700);
/// and given up after so long: a connection through a cut that has healed would else wait for its retransmission.
const SILENCE: Duration = Duration::from_secs(2);
/// How often it is looked how long the peer has been silent. A timer that is earlier than all others costs the runtime
/// a system call; with this one running, neither requests nor their time limits are the earliest.
const WATCH: Duration = Duration::from_millis(100);

/// Whom to connect to, and as whom.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// This node.
    pub node: String,
    /// The node that should be there.
    pub peer: String,
    /// Where its cluster port is.
    pub address: SocketAddr,
    /// What for.
    pub purpose: &'static str,
    /// The cluster's key.
    pub key: ClusterKey,
    /// Which cluster this node is part of, for purposes where it matters. Said with each connection that is made.
    pub cluster: ClusterId,
    /// Which clusters the peer may be part of; `None`: whichever it says.
    pub accepts: Option<Accepts>,
    /// Which start of this node it is.
    pub incarnation: Incarnation,
    /// The local address to connect from, when it matters.
    pub outgoing: Option<IpAddr>,
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub enum LinkError {
    /// Nothing listens there: the process is gone. Not sent.
    Refused,
    /// It cannot be reached. Not sent.
    Unreachable(String),
    /// It was reached, but one of the two refused the other, in these words. Not sent.
    Rejected(String),
    /// Too much is waiting already, or the body is too large. Not sent.
    Busy,
    /// No answer in time.
    Timeout {
        /// Whether the request may have reached the peer.
        sent: bool,
    },
    /// The connection broke after the request was sent.
    Lost,
}

impl LinkError {
    /// Whether the peer may have got the request, and acted on it.
    pub fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::Timeout { sent: true } | Self::Lost)
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::Rejected(why) => f.write_str(why),
            Self::Busy => f.write_str("too many requests are waiting for it"),
            Self::Timeout { .. } => f.write_str("no answer in time"),
            Self::Lost => f.write_str("the connection broke"),
        }
    }
}

impl std::error::Error for LinkError {}

struct Call {
    body: Bytes,
    answer: oneshot::Sender<Result<Bytes, LinkError>>,
    sent: Arc<AtomicBool>,
}

impl Call {
    fn fail(self, error: LinkError) {
        // The caller may have stopped waiting.
        let _ = self.answer.send(Err(error));
    }
}

/// A connection to one node for one purpose: made when first needed, made again when it breaks. Cheap to clone; it
/// closes when the last clone is dropped.
#[derive(Clone)]
pub struct Link {
    calls: mpsc::Sender<Call>,
    peer: Arc<str>,
}

impl Link {
    /// A link whose task runs on the current runtime. Nothing is connected yet.
    pub fn new(options: LinkOptions) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE);
        let peer = options.peer.as_str().into();
        tokio::spawn(run(options, queue));
        Self { calls, peer }
    }

    /// The node at the other end.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Whether its task is gone, which is by a panic: another link is needed.
    pub fn is_over(&self) -> bool {
        self.calls.is_closed()
    }

    /// Sends a request and waits for its answer, at most `limit`.
    pub async fn request(&self, body: Bytes, limit: Duration) -> Result<Bytes, LinkError> {
        if body.len() > MAX_FRAME {
            return Err(LinkError::Busy);
        }
        let (answer, mut answered) = oneshot::channel();
        let sent = Arc::new(AtomicBool::new(false));
        let call = Call {
            body,
            answer,
            sent: sent.clone(),
        };
        self.calls.try_send(call).map_err(|_| LinkError::Busy)?;
        match timeout(limit, &mut answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LinkError::Lost),
            Err(_) => {
                // Closed before `sent` is read: the task marks a call as sent before it looks whether it is closed,
                // so "not sent" here means that it never will be.
                answered.close();
                match answered.try_recv() {
                    Ok(result) => result,
                    Err(_) => Err(LinkError::Timeout {
                        sent: sent.load(SeqCst),
                    }),
                }
            }
        }
    }
}

async fn run(options: LinkOptions, mut queue: mpsc::Receiver<Call>) {
    let mut backoff = BACKOFF_MIN;
    let mut failed: Option<(Instant, LinkError)> = None;
    while let Some(call) = queue.recv().await {
        if call.answer.is_closed() {
            continue;
        }
        if let Some((until, error)) = &failed
            && Instant::now() < *until
        {
            call.fail(error.clone());
            continue;
        }
        let started = Instant::now();
        let error = match connect(&options).await {
            Ok(stream) => {
                failed = None;
                converse(stream, call, &mut queue).await;
                if started.elapsed() > CONNECT {
                    backoff = BACKOFF_MIN;
                    continue;
                }
                // It broke as soon as it was made: not again at once.
                LinkError::Unreachable("the connection broke".into())
            }
            Err(error) => {
                call.fail(error.clone());
                while let Ok(call) = queue.try_recv() {
                    call.fail(error.clone());
                }
                error
            }
        };
        failed = Some((Instant::now() + backoff, error));
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn connect(options: &LinkOptions) -> Result<TcpStream, LinkError> {
    let attempt = async {
        let mut stream = reach(options).await.map_err(unreachable)?;
        prepare(&stream).map_err(unreachable)?;
        let theirs = hello::connect(
            &mut stream,
            &options.key,
            options.purpose,
            (&options.node, options.incarnation),
            &options.peer,
            options.cluster.get(),
        )
        .await
        .map_err(|error| match error {
            HelloError::Io(error) => LinkError::Unreachable(error.to_string()),
            refused => LinkError::Rejected(refused.to_string()),
        })?;
        if let (Some(theirs), Some(accepts)) = (theirs, &options.accepts) {
            accepts.check(theirs).map_err(LinkError::Rejected)?;
        }
        Ok(stream)
    };
    timeout(CONNECT, attempt)
        .await
        .unwrap_or_else(|_| Err(LinkError::Unreachable("no answer to the hello".into())))
}

fn unreachable(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => LinkError::Refused,
        _ => LinkError::Unreachable(error.to_string()),
    }
}

/// The first connection that comes about, or the first word that none will.
async fn reach(options: &LinkOptions) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    attempts.push(open(options));
    loop {
        tokio::select! {
            Some(done) = attempts.next() => return done,
            () = sleep(BESIDE), if attempts.len() < MOST_BESIDE => attempts.push(open(options)),
        }
    }
}

async fn open(options: &LinkOptions) -> io::Result<TcpStream> {
    let socket = match options.address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if let Some(ip) = options.outgoing
        && ip.is_ipv4() == options.address.is_ipv4()
    {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.connect(options.address).await
}

/// Carries requests and answers until the connection breaks or nobody holds the link any more.
async fn converse(mut stream: TcpStream, first: Call, queue: &mut mpsc::Receiver<Call>) {
    let (mut reader, mut writer) = stream.split();
    let mut input = BytesMut::with_capacity(INPUT);
    let mut output = BytesMut::new();
    let mut outstanding = HashMap::new();
    let mut next_id = 0u64;
    let mut batch = vec![first];
    let mut heard = Instant::now();
    let mut pinged = false;
    let mut watch = pin!(sleep(WATCH));
    let mut watching = true;
    loop {
        for call in batch.drain(..) {
            call.sent.store(true, SeqCst);
            if !call.answer.is_closed() {
                next_id += 1;
                if outstanding.is_empty() {
                    heard = Instant::now();
                }
                frame::put(&mut output, next_id, Kind::Request, &call.body);
                outstanding.insert(next_id, call.answer);
            }
        }
        let may_send = output.len() < MAX_UNSENT && outstanding.len() < MAX_OUTSTANDING;
        if !watching && !outstanding.is_empty() {
            watching = true;
            watch.as_mut().reset(Instant::now() + WATCH);
        }
        tokio::select! {
            biased;
            read = reader.read_buf(&mut input) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
                heard = Instant::now();
                pinged = false;
                loop {
                    match frame::take(&mut input) {
                        Ok(Some(frame)) if frame.kind == Kind::Answer => {
                            if let Some(answer) = outstanding.remove(&frame.id) {
                                // The caller may have stopped waiting.
                                let _: Result<_, _> = oneshot::Sender::send(answer, Ok(frame.body));
                            }
                        }
                        Ok(Some(frame)) if frame.kind == Kind::Pong => {}
                        Ok(None) => break,
                        Ok(Some(_)) | Err(_) => return,
                    }
                }
            }
            count = queue.recv_many(&mut batch, 256), if may_send => {
                if count == 0 {
                    return;
                }
            }
            written = writer.write_buf(&mut output), if !output.is_empty() => {
                if written.is_err() {
                    return;
                }
            }
            () = &mut watch, if watching => {
                // It goes on for as long as there are requests now and then, and rests when there are none.
                watching = !outstanding.is_empty();
                watch.as_mut().reset(Instant::now() + WATCH);
                if !watching && input.is_empty() && output.is_empty() {
                    // What a burst made of them is not kept for a time when nothing is asked.
                    (input, output) = (BytesMut::with_capacity(INPUT), BytesMut::new());
                }
                let silent = heard.elapsed();
                if !watching || silent < PING_AFTER {
                    continue;
                }
                if silent >= SILENCE {
                    return;
                }
                if !std::mem::replace(&mut pinged, true) {
                    frame::put(&mut output, 0, Kind::Ping, b"");
                }
            }
        }
    }
}
