//! One request's tries at the servers of a pool.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use tandem_http::Request;
use tandem_http::fastcgi::Call;
use tandem_http::handler::{Attempts, Cause, Failure, Outcome, Queue, Stage, Upstream};
use tandem_model::Balance;
use tokio::time::Instant;

use super::queue::{Waiter, Wish};
use super::{Pool, Settings};
use crate::balance;
use crate::health::state::State;
use crate::server::Server;
use crate::stick::Found;

/// The tries of one request, or of one connection in TCP mode.
///
/// The first goes to the server that the client had, or else to the one whose turn it is. After a failure that the one
/// rule lets be repeated, up to `retry` more go to servers that this request did not try yet; when it tried them all,
/// to those again that are still up. Where no server is left it tries those that requests alone have found down, each once. It waits only where all servers are busy: when none is left the request ends, even
/// if one will be up in a moment.
///
/// A server's in-flight count holds for as long as its try; dropping this ends it, and a wait, however the request
/// ended.
pub(crate) struct PoolAttempts {
    pool: Arc<Pool>,
    settings: Arc<Settings>,
    current: Option<Arc<Server>>,
    /// How often its connections had been cut off when it was chosen.
    cuts: u64,
    /// Allocates on the first failure only.
    tried: Vec<Arc<Server>>,
    left: u32,
    /// What the request says of where it wants to go.
    key: Option<u64>,
    /// What it says of the server that its client had.
    found: Found,
    /// There are servers that could be used, and none has room.
    busy: bool,
    /// Where it waits, and since when.
    waiter: Option<(Arc<Waiter>, Instant)>,
    /// The worker that it is on.
    worker: usize,
    /// What a program that speaks FastCGI is asked.
    call: Option<Arc<Call>>,
}

impl PoolAttempts {
    pub(crate) fn new(pool: Arc<Pool>, settings: Arc<Settings>, request: &Request<'_>) -> Self {
        let key = balance::key(&settings.spread.balance, request);
        let found = match &settings.sticker {
            Some(sticker) => sticker.find(request, pool.view.load().servers()),
            None => Found::default(),
        };
        Self::of(pool, settings, key, found)
    }

    /// For a connection that is passed on as it is: all that is known of it is whose it is.
    pub(crate) fn connection(pool: Arc<Pool>, settings: Arc<Settings>, client: IpAddr) -> Self {
        let hash = balance::address(client);
        let key = (settings.spread.balance == Balance::Source).then_some(hash);
        let found = match &settings.sticker {
            Some(sticker) => sticker.find_source(hash, pool.view.load().servers()),
            None => Found::default(),
        };
        Self::of(pool, settings, key, found)
    }

    fn of(pool: Arc<Pool>, settings: Arc<Settings>, key: Option<u64>, found: Found) -> Self {
        Self {
            current: None,
            cuts: 0,
            tried: Vec::new(),
            left: settings.spread.retry.tries,
            key,
            found,
            busy: false,
            waiter: None,
            worker: 0,
            call: None,
            settings,
            pool,
        }
    }

    /// Counts with what belongs to this worker.
    pub(crate) fn on(mut self, worker: usize) -> Self {
        self.worker = worker;
        self
    }

    /// Asks programs that speak FastCGI this.
    pub(crate) fn calling(mut self, call: Call) -> Self {
        self.call = Some(Arc::new(call));
        self
    }

    /// The server that the client had, if this try should go there.
    fn wanted(&self) -> Option<&Arc<Server>> {
        let server = self.found.server.as_ref()?;
        let tried = self.tried.iter().any(|tried| Arc::ptr_eq(tried, server));
        (!tried || self.is_strict()).then_some(server)
    }

    fn is_strict(&self) -> bool {
        self.settings
            .sticker
            .as_ref()
            .is_some_and(|sticker| sticker.is_strict())
    }

    /// The server for the next try.
    fn take(&mut self) -> Option<Arc<Server>> {
        let view = self.pool.view.load();
        let wanted = self.wanted();
        let keeps = |server: &&Arc<Server>| view.keeps(server, self.is_strict(), &self.tried);
        let kept = wanted.filter(keeps).cloned();
        self.busy = match (&kept, wanted) {
            (Some(_), _) => true,
            (None, Some(_)) if self.is_strict() => false,
            _ => !view.is_out(&self.tried),
        };
        // Whoever waits was here before.
        if !self.busy || !self.pool.queue.is_empty() {
            return None;
        }
        match kept {
            Some(server) => server.begin().then_some(server),
            None => view.take(self.key, &self.tried),
        }
    }

    /// Makes this server the one that is tried; the request is counted for it.
    fn go(&mut self, server: Arc<Server>) -> Upstream {
        let settings = &*self.settings;
        let sticker = settings.sticker.as_ref();
        let outside = !server.node;
        let tls = settings.tls.clone().filter(|_| outside);
        let upstream = Upstream {
            address: server.key.endpoint.clone(),
            name: server.key.name.clone(),
            node: server.node,
            elsewhere: server.node && self.pool.view.load().has_another(&self.tried),
            from: server.from,
            host: tls.as_ref().and_then(|_| server.host.clone()),
            tls,
            proxy: settings.proxy.filter(|_| outside),
            fastcgi: self.call.clone().filter(|_| outside),
            timeouts: settings.limits(),
            idle: settings.idle,
            retry_on: settings.retry_on.clone().filter(|_| self.left > 0),
            cookies: sticker
                .and_then(|s| s.keep(&self.found, &server, self.pool.view.load().servers())),
        };
        self.cuts = server.cuts();
        self.current = Some(server);
        upstream
    }

    /// Whether one more try is within the budget.
    fn may_retry(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        match self.settings.spread.retry.budget {
            Some(percent) => self.pool.within_budget(percent, Instant::now()),
            None => true,
        }
    }

    /// Whether there is no other server than those that did not answer in time: to wait as long again for the same one
    /// helps nobody, unless the file gives each try a time of its own.
    fn waited_in_vain(&self, failure: Failure) -> bool {
        failure.cause == Cause::Timeout
            && failure.stage != Stage::Unsent
            && self.settings.spread.retry.timeout.is_none()
            && (self.is_strict() || !self.pool.view.load().has_untried(&self.tried))
    }

    /// Ends the current try.
    fn end(&mut self, failure: Option<Failure>) {
        let Some(server) = self.current.take() else {
            return;
        };
        server.end();
        self.pool.freed();
        if let Some(failure) = failure {
            self.pool.failed(&server, failure);
            self.tried.push(server);
        }
    }

    /// Gives the place in the queue up.
    fn leave(&mut self) {
        if let Some((waiter, _)) = self.waiter.take()
            && let Some(server) = self.pool.queue.leave(&waiter)
        {
            server.end();
            self.pool.freed();
        }
    }
}

impl Attempts for PoolAttempts {
    fn next(&mut self, why: Option<&Failure>) -> Option<Upstream> {
        self.end(why.copied());
        self.busy = false;
        // Who declines a request has spent nothing on it.
        if let Some(failure) = why
            && !(failure.retryable && (failure.cause == Cause::CutOff || self.may_retry()))
        {
            return None;
        }
        if !self.settings.is_ready() || why.is_some_and(|failure| self.waited_in_vain(*failure)) {
            return None;
        }
        let server = self.take()?;
        Some(self.go(server))
    }

    fn queue(&mut self) -> Queue {
        if !std::mem::take(&mut self.busy) {
            return Queue::Nothing;
        }
        let wish = Wish {
            only: self.wanted().cloned(),
            strict: self.is_strict(),
            key: self.key,
            tried: self.tried.clone(),
        };
        let settings = &self.settings.spread.queue;
        let Pool { queue, view, .. } = &*self.pool;
        let waiter = queue.enter(wish, settings.max as usize, || view.load());
        match waiter {
            Some(waiter) => {
                self.waiter = Some((waiter, Instant::now()));
                Queue::Wait(settings.timeout)
            }
            None => {
                self.pool.waits.full.fetch_add(1, Relaxed);
                Queue::Full
            }
        }
    }

    fn poll_queue(&mut self, cx: &mut Context<'_>) -> Poll<Option<Upstream>> {
        let Some((waiter, since)) = &self.waiter else {
            return Poll::Ready(None);
        };
        let place = std::task::ready!(waiter.poll(cx));
        if place.is_some() {
            let waited = self.pool.waits.waited.of(self.worker);
            waited.add(since.elapsed());
        }
        self.waiter = None;
        Poll::Ready(place.map(|server| self.go(server)))
    }

    fn stop_waiting(&mut self) {
        if self.waiter.is_some() {
            self.pool.waits.late.fetch_add(1, Relaxed);
        }
        self.leave();
    }

    fn is_lost(&self) -> bool {
        let is_down = |server: &Arc<Server>| server.state() == State::Down;
        let others = || {
            let view = self.pool.view.load();
            view.is_usable() && view.has_untried(&self.tried)
        };
        self.left > 0 && !self.is_strict() && self.current.as_ref().is_some_and(is_down) && others()
    }

    fn cut(&self) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        let (server, seen) = (self.current.clone()?, self.cuts);
        Some(Box::pin(async move {
            let mut cut = pin!(server.cut_since(seen));
            let mut waiting: Option<Waker> = None;
            // It is asked whenever the connection has something to do. Who waits is in a list that all workers share, under a
            // lock: it is gone to once, and from then on the count says as much.
            poll_fn(|cx| {
                if server.cuts() != seen {
                    return Poll::Ready(());
                }
                if waiting.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                    return Poll::Pending;
                }
                waiting = Some(cx.waker().clone());
                cut.as_mut().poll(cx)
            })
            .await;
        }))
    }

    fn wants_whole(&self) -> bool {
        self.call.is_some()
    }

    fn is_out(&self) -> bool {
        // Without checks nobody knows: a server that refused is only left alone for a moment.
        self.settings.check.timing().is_some() && !self.pool.is_usable()
    }

    fn done(&mut self, outcome: &Outcome) {
        if let (Some(server), None) = (&self.current, outcome.failure) {
            // One that ended by its client says nothing of the server.
            if outcome.status != 0 {
                self.pool.answered(server, outcome.status);
            }
            let meter = &server.meter;
            meter
                .answers
                .answered(self.worker, outcome.status, outcome.tried);
            if let Some(first) = outcome.first_byte {
                meter.first_byte.of(self.worker).add(first);
            }
        }
        // A failure that `next` was told of has ended its try there.
        self.end(outcome.failure);
        self.leave();
    }

    fn service(&self) -> &Arc<str> {
        &self.pool.service
    }
}

impl Drop for PoolAttempts {
    fn drop(&mut self) {
        self.end(None);
        self.leave();
    }
}
