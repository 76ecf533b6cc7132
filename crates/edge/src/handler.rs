//! Pools as handlers, and the answer to a node's question whether it could serve.

use std::sync::Arc;

use bytes::Bytes;
use tandem_http::{Cx, Handler, PROBE_FIELD, Plan, Reply, Request, Step};

use crate::pool::{Pool, PoolAttempts};

/// Hands every request to a pool. Of a gateway's pool it also answers the probes of other nodes.
pub struct PoolHandler(Arc<Pool>);

impl PoolHandler {
    /// A handler for a pool.
    pub fn new(pool: Arc<Pool>) -> Self {
        Self(pool)
    }
}

impl Handler for PoolHandler {
    fn step(&self, request: &Request<'_>, _: &Cx) -> Step {
        let pool = &self.0;
        Step::Plan(if pool.gateway && is_probe(request) {
            answer(&pool.service, pool.is_usable())
        } else {
            Plan::Forward(Box::new(PoolAttempts::new(pool.clone(), request)))
        })
    }
}

/// Answers the probes of other nodes for a handler that can always serve: the door of a site. Other requests are the
/// handler's.
pub struct ProbeHandler {
    service: Arc<str>,
    inner: Arc<dyn Handler>,
}

impl ProbeHandler {
    /// Answers probes for `inner`; `service` is its name in the log.
    pub fn new(service: &str, inner: Arc<dyn Handler>) -> Self {
        Self {
            service: service.into(),
            inner,
        }
    }
}

impl Handler for ProbeHandler {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        if is_probe(request) {
            return Step::Plan(answer(&self.service, true));
        }
        self.inner.step(request, cx)
    }
}

/// Nodes alone may ask: from anyone else the field means nothing.
fn is_probe(request: &Request<'_>) -> bool {
    request.from_node && request.field(PROBE_FIELD).is_some()
}

/// 204 or 503. Probes come every few seconds from every listener: they are not written to the access log.
fn answer(service: &Arc<str>, usable: bool) -> Plan {
    let reply = if usable {
        Reply {
            status: 204,
            fields: Bytes::new(),
            body: Bytes::new(),
            service: service.clone(),
            close: false,
        }
    } else {
        Reply::text(
            503,
            service,
            "no instance of this service can be reached here\n",
        )
    };
    Plan::Unlogged(Box::new(Plan::Bytes(reply)))
}

#[cfg(test)]
mod tests;
