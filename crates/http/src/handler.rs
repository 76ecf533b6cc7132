//! What a handler answers with, and what the engine does with it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tandem_model::{Outgoing, ProxyVersion, Timeouts};
use tandem_net::{ClientTls, Moment, TlsName};

use crate::Request;
use crate::fastcgi::Call;
use crate::policy::Edits;
use crate::policy::authorize::{Authorized, Heard};
use crate::policy::busy::{Busy, Held};
use crate::policy::rate::Rate;
use crate::request_id::Made;

/// Something that can answer requests: a site, the router, admin pages. Shared by all workers, so what it changes is
/// atomic; what belongs to a worker it keeps by [`Cx::worker`].
pub trait Handler: Send + Sync {
    /// Looks at a request and says what is to be done. Must not block.
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step;

    /// What passes whole connections on, of a listener in TCP mode: it is never asked for a step.
    fn connections(&self) -> Option<&dyn Connections> {
        None
    }
}

/// What passes connections on as they are, without knowing what is spoken over them.
pub trait Connections: Send + Sync {
    /// Whether it matters which name a TLS client asks for.
    fn wants_name(&self) -> bool;
    /// The tries for a connection; `None` closes it.
    fn connect(&self, connection: &Connection<'_>, cx: &Cx) -> Option<Box<dyn Attempts>>;
}

/// A connection of a listener in TCP mode.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Who opened it: the peer, or whom its PROXY header states.
    pub client: IpAddr,
    /// The name that its TLS asks for, in small letters; `None` without one, and when nobody wanted to know.
    pub name: Option<&'a str>,
}

/// Where a handler is called.
#[derive(Clone, Debug)]
pub struct Cx {
    /// The index of the worker, from 0.
    pub worker: usize,
    /// The time at which the request's head was complete.
    pub now: Moment,
    /// What the request counts for; its number, or one of the two that are none.
    taken: Cell<u32>,
    /// How large its body may be by its route, in bytes; `None` is as large as its listener takes.
    body: Cell<Option<u64>>,
    /// It is larger.
    too_large: Cell<bool>,
    /// What it counts as until it has ended.
    held: Holding,
    /// The limits that count it if it is answered with an error.
    errors: Watching,
    /// The limits on how often a client may ask that have counted it, by their addresses; 0 is none.
    counted: Cell<[usize; LIMITS]>,
    /// The answer by which it was decided whether it may pass.
    authorized: RefCell<Option<Arc<Heard>>>,
    /// What tells the request from all others, unless it came with that.
    pub(crate) made: Made,
}

/// What a request counts as. A copy counts as nothing: it may outlive the request.
#[derive(Debug, Default)]
struct Holding(RefCell<Vec<Held>>);

impl Clone for Holding {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Limits that wait for the status of an answer, and the client that they are told of. A copy has none.
#[derive(Debug, Default)]
struct Watching(RefCell<Vec<(Arc<Rate>, IpAddr)>>);

impl Clone for Watching {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Limits of nested routes on one request that are remembered.
const LIMITS: usize = 4;

/// No route has taken the request.
const NO_ROUTE: u32 = u32::MAX;
/// It is a word between nodes, and no request of anybody.
const UNCOUNTED: u32 = u32::MAX - 1;

/// What a request counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// No route.
    None,
    /// The route of this number.
    Route(usize),
    /// Nothing.
    Uncounted,
}

impl Cx {
    /// On a worker, of a request whose head was complete at `now`.
    pub fn new(worker: usize, now: Moment) -> Self {
        Self {
            worker,
            now,
            taken: Cell::new(NO_ROUTE),
            body: Cell::new(None),
            too_large: Cell::new(false),
            held: Holding::default(),
            errors: Watching::default(),
            counted: Cell::default(),
            authorized: RefCell::default(),
            made: Made::next(),
        }
    }

    /// The request counts for the route of this number from now on.
    pub fn take_route(&self, number: u32) {
        self.taken.set(number);
    }

    /// The request counts for no route and no service: it is a word between nodes.
    pub fn leave_uncounted(&self) {
        self.taken.set(UNCOUNTED);
    }

    /// The body may have so many bytes, whatever the listener takes; `is_larger` when it is known to have more.
    pub(crate) fn limit_body(&self, most: u64, is_larger: bool) {
        self.body.set(Some(most));
        self.too_large.set(is_larger);
    }

    /// The request counts until it has ended.
    pub(crate) fn hold(&self, held: Held) {
        self.held.0.borrow_mut().push(held);
    }

    /// Whether it counts there already: before it was handed over.
    pub(crate) fn is_held(&self, busy: &Arc<Busy>) -> bool {
        self.held.0.borrow().iter().any(|held| held.is_of(busy))
    }

    /// Whether it has not been counted by this limit, which it is now: once, however often it is handed over. Beyond so many
    /// limits it is, each time.
    pub(crate) fn counts_for(&self, limit: usize) -> bool {
        let mut counted = self.counted.get();
        if counted.contains(&limit) {
            return false;
        }
        if let Some(free) = counted.iter_mut().find(|at| **at == 0) {
            *free = limit;
            self.counted.set(counted);
        }
        true
    }

    /// The answer by which it was decided whether the request may pass, where that was asked.
    pub(crate) fn authorized(&self) -> Option<Arc<Heard>> {
        self.authorized.borrow().clone()
    }

    /// It was decided by this answer.
    pub(crate) fn decide(&self, heard: Heard) {
        self.authorized.replace(Some(Arc::new(heard)));
    }

    /// A limit counts it, if it is answered with an error.
    pub(crate) fn count_errors(&self, rate: Arc<Rate>, client: IpAddr) {
        self.errors.0.borrow_mut().push((rate, client));
    }

    /// It has ended, with an answer of this status.
    pub(crate) fn let_go(&self, status: u16) {
        self.held.0.borrow_mut().clear();
        let mut errors = self.errors.0.borrow_mut();
        if errors.is_empty() {
            return;
        }
        // It counts when it is answered: it may have begun long ago, and others were counted meanwhile.
        let now = Moment::now();
        for (rate, client) in errors.drain(..) {
            rate.answered(client, status, now);
        }
    }

    /// How many bytes the body may have by its route.
    pub(crate) fn most_body(&self) -> Option<u64> {
        self.body.get()
    }

    /// Whether its body is larger than its route takes.
    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large.get()
    }

    pub(crate) fn taken(&self) -> Taken {
        match self.taken.get() {
            NO_ROUTE => Taken::None,
            UNCOUNTED => Taken::Uncounted,
            number => Taken::Route(number as usize),
        }
    }
}

/// A handler's answer: a plan now, or later when it needs something slow (a cold file). Never later on the hot path.
pub enum Step {
    /// Known.
    Plan(Plan),
    /// Being found out. The future ends by itself within the handler's own deadline.
    Later(Pin<Box<dyn Future<Output = Plan>>>),
}

/// What the engine is to do. It does all system calls.
pub enum Plan {
    /// Pass the request to a server.
    Forward(Box<dyn Attempts>),
    /// Send a part of a file.
    File(FileBody),
    /// Send these bytes.
    Bytes(Reply),
    /// Close the connection without an answer; of HTTP/2, the stream. The service is who does, for the log.
    Close(Arc<str>),
    /// Do `first`; when its answer to a GET or HEAD is 404, ask `then` instead and send its answer. What `first` changes
    /// holds for its own answer alone.
    OrElse {
        /// Tried first.
        first: Box<Plan>,
        /// Asked when that has nothing.
        then: Arc<dyn Handler>,
    },
    /// Do `plan`, with these changes to the request as servers get it and to the final answer, whoever gives it.
    /// They come after those of plans around this one.
    Edited {
        /// What is done.
        plan: Box<Plan>,
        /// What is changed.
        edits: Box<Edits>,
    },
    /// Ask this handler what is to be done.
    Ask(Arc<dyn Handler>),
    /// Ask whether the request may pass, and this policy what is to be done by the answer.
    Authorize(Arc<Authorized>),
    /// As `plan`, but do not write it to the access log.
    Unlogged(Box<Plan>),
}

/// An answer from memory.
///
/// The engine adds `Date`, `Connection` and, unless the status has no body (1xx, 204, 304), `Content-Length`. For a
/// HEAD request it sends the head alone.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Complete field lines, each ended by CRLF, without those the engine adds.
    pub fields: Bytes,
    /// The body.
    pub body: Bytes,
    /// The service that answers, for the log.
    pub service: Arc<str>,
    /// Close the connection after it.
    pub close: bool,
}

/// The field that says that a body is plain text.
pub(crate) const PLAIN_FIELD: &[u8] = b"Content-Type: text/plain; charset=utf-8\r\n";

impl Reply {
    /// A plain text answer.
    pub fn text(status: u16, service: &Arc<str>, text: impl Into<String>) -> Self {
        Self {
            status,
            fields: Bytes::from_static(PLAIN_FIELD),
            body: Bytes::from(text.into()),
            service: service.clone(),
            close: false,
        }
    }
}

/// An answer from a file.
#[derive(Clone, Debug)]
pub struct FileBody {
    /// 200 or 206, or that of an error whose page is a file.
    pub status: u16,
    /// Complete field lines, each ended by CRLF, without `Date`, `Connection` and `Content-Length`.
    pub fields: Bytes,
    /// What the body begins with; then comes the part of the file.
    pub before: Bytes,
    /// The open file; shared, so it is read by offset only.
    pub file: Arc<OwnedFd>,
    /// Where to begin, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// The service that answers, for the log.
    pub service: Arc<str>,
}

/// One request's tries at the servers of a pool. Made by edge, driven by the engine.
///
/// The engine calls [`next`](Self::next) with `None` first. When a try fails it calls it again with the failure,
/// whether or not the rule allows another ([`Failure::retryable`]); `None` ends the request with the failure's
/// status. A server that fails in the middle of its answer is told of in the same way; what `next` then returns is not
/// used. It calls [`done`](Self::done) once, last, also when the client went away.
pub trait Attempts {
    /// The next server to try, and an account of why the last one failed.
    fn next(&mut self, why: Option<&Failure>) -> Option<Upstream>;
    /// Asked when [`next`](Self::next) has none: whether one is worth waiting for.
    fn queue(&mut self) -> Queue {
        Queue::Nothing
    }
    /// Ready when the wait that [`queue`](Self::queue) asked for is over: with the server to try, or with none.
    ///
    /// The place in the queue is given up when `self` is dropped, or when [`done`](Self::done) or
    /// [`stop_waiting`](Self::stop_waiting) is called.
    fn poll_queue(&mut self, cx: &mut Context<'_>) -> Poll<Option<Upstream>> {
        let _ = cx;
        Poll::Ready(None)
    }
    /// The wait that [`queue`](Self::queue) asked for is as long as it may be: the place in the queue is given up.
    fn stop_waiting(&mut self) {}

    /// Whether no server is left that could be asked: then a request that could be sent to none is answered as those that
    /// come after it are.
    fn is_out(&self) -> bool {
        false
    }
    /// Whether the server that is asked is down since, and another one could be asked: looked at while no byte of an answer
    /// has come for long. A machine that is gone without a word answers nothing, and breaks no connection.
    fn is_lost(&self) -> bool {
        false
    }
    /// Asked once the server has a connection that goes on without requests (TCP mode, a tunnel): ready when that is to be
    /// cut off. `None` is never.
    fn cut(&self) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        None
    }
    /// Whether a request's body has to be there as a whole before a server gets any of it.
    fn wants_whole(&self) -> bool {
        false
    }
    /// The request is over.
    fn done(&mut self, outcome: &Outcome);
    /// The service's name, for the log.
    fn service(&self) -> &Arc<str>;
}

/// Whether it is worth waiting for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// No: there is none to be used.
    Nothing,
    /// All are busy, and so many wait already that no more may.
    Full,
    /// All are busy: for so long at most.
    Wait(Duration),
}

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where. One of the two.
    pub address: Endpoint,
    /// Its name within the service, for the log.
    pub name: Arc<str>,
    /// It is a node of the file: it marks its own failures, and is told who the client is without further proof.
    pub node: bool,
    /// Another node can serve the request as well: this one may decline it where it does not reach the sessions.
    pub elsewhere: bool,
    /// Connect from this address.
    pub from: Option<Outgoing>,
    /// Speak TLS to it.
    pub tls: Option<Arc<ClientTls>>,
    /// What its certificate is compared with, unless `tls` names one for all servers.
    pub host: Option<TlsName>,
    /// Connections to it begin with a PROXY header.
    pub proxy: Option<ProxyVersion>,
    /// It speaks FastCGI and not HTTP: what it is asked.
    pub fastcgi: Option<Arc<Call>>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// How long a tunnel may be without a byte either way, where that differs from the listener's limit.
    pub idle: Option<Duration>,
    /// Answers with these statuses are failures that may be tried again, if the method may be repeated.
    pub retry_on: Option<Arc<[u16]>>,
    /// What becomes of cookies on their way to the server and back.
    pub cookies: Option<Box<CookieEdits>>,
}

/// What becomes of cookies on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieEdits {
    /// The server does not get the cookie of this name.
    pub hide: Option<Arc<str>>,
    /// The value of the cookie of this name has a prefix that ends with `~`: the server does not get it, and the client
    /// gets it before the value that the server sets.
    pub prefix: Option<CookiePrefix>,
    /// The client gets this: a whole field line with its CRLF.
    pub set: Option<Bytes>,
}

/// A prefix of a cookie's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePrefix {
    /// The cookie's name.
    pub name: Arc<str>,
    /// The prefix, without the `~`.
    pub value: Arc<str>,
}

/// A socket to connect to; also the key of a connection pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(Arc<str>),
}

/// How far a failed try had come (the one retry rule).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The server has not got any of the request.
    Unsent,
    /// It may have got it, no byte of an answer came.
    Unanswered,
    /// A part of the answer came.
    Answered,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing listens there.
    Refused,
    /// The connection broke.
    Broken,
    /// It took too long.
    Timeout,
    /// What came is not HTTP.
    Malformed,
    /// No server could be asked.
    NoServer,
    /// All servers had as many requests as they take, for too long.
    Busy,
    /// Its node does not reach the sessions, and another one may.
    CutOff,
    /// It answered with a status that the pool takes for a failure.
    Status(u16),
}

/// Why a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How far it had come.
    pub stage: Stage,
    /// What went wrong.
    pub cause: Cause,
    /// Whether the one rule allows another try: nothing sent, or no byte of an answer and a method that may be
    /// repeated, and the body can be sent again.
    pub retryable: bool,
    /// The server is a gateway that said so of the program behind it.
    pub by_gateway: bool,
}

/// How a forwarded request ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The status sent to the client; 0 when it was gone.
    pub status: u16,
    /// The last try's failure, if it failed.
    pub failure: Option<Failure>,
    /// From head complete to end of answer.
    pub total: Duration,
    /// From the last try's beginning to the end of the answer.
    pub tried: Duration,
    /// From the last try's connection to the answer's first byte, if one came.
    pub first_byte: Option<Duration>,
}
