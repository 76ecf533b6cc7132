//! One request's tries at the servers of a pool.

use std::sync::Arc;

use tandem_http::Request;
use tandem_http::handler::{Attempts, Failure, Outcome, Upstream};

use super::{Pool, Settings};
use crate::balance;
use crate::server::Server;

/// How often a request may lose a race for the last place of a server before it counts as full.
const RACES: usize = 16;

/// The tries of one request.
///
/// The first goes to the server whose turn it is. After a failure that the one rule lets be repeated, up to
/// `retry` more go to servers that this request did not try yet; when it tried them all, to those again that are
/// still up. Nothing waits here: when no server is left the request ends, even if one will be up in a moment.
///
/// A server's in-flight count holds for as long as its try; dropping this ends it, however the request ended.
pub(crate) struct PoolAttempts {
    pool: Arc<Pool>,
    settings: Arc<Settings>,
    current: Option<Arc<Server>>,
    /// Allocates on the first failure only.
    tried: Vec<Arc<Server>>,
    left: u32,
    /// What the request says of where it wants to go.
    key: Option<u64>,
}

impl PoolAttempts {
    pub(crate) fn new(pool: Arc<Pool>, request: &Request<'_>) -> Self {
        let settings = pool.settings();
        Self {
            current: None,
            tried: Vec::new(),
            left: settings.spread.retry.tries,
            key: balance::key(&settings.spread.balance, request),
            settings,
            pool,
        }
    }

    /// The server for the next try.
    fn take(&self) -> Option<Arc<Server>> {
        let view = self.pool.view.load();
        // Others may be taking the last places: each time round one of them got one.
        for _ in 0..RACES {
            let server = view.pick(self.key, &self.tried)?;
            if server.begin() {
                return Some(server.clone());
            }
        }
        None
    }

    /// Ends the current try.
    fn end(&mut self, failure: Option<Failure>) {
        let Some(server) = self.current.take() else {
            return;
        };
        server.end();
        if let Some(failure) = failure {
            self.pool.failed(&server, failure);
            self.tried.push(server);
        }
    }
}

impl Attempts for PoolAttempts {
    fn next(&mut self, why: Option<&Failure>) -> Option<Upstream> {
        self.end(why.copied());
        if let Some(failure) = why {
            if !failure.retryable {
                return None;
            }
            self.left = self.left.checked_sub(1)?;
        }
        if !self.settings.is_ready() {
            return None;
        }
        let server = self.take()?;
        let outside = !server.node;
        let upstream = Upstream {
            address: server.key.endpoint.clone(),
            name: server.key.name.clone(),
            node: server.node,
            from: server.from,
            tls: self.settings.tls.clone().filter(|_| outside),
            host: server.host.clone(),
            proxy: self.settings.proxy.filter(|_| outside),
            timeouts: self.settings.timeouts,
        };
        self.current = Some(server);
        Some(upstream)
    }

    fn done(&mut self, outcome: &Outcome) {
        // A failure that `next` was told of has ended its try there.
        self.end(outcome.failure);
    }

    fn service(&self) -> &Arc<str> {
        &self.pool.service
    }
}

impl Drop for PoolAttempts {
    fn drop(&mut self) {
        self.end(None);
    }
}
