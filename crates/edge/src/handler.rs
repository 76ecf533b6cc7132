//! Pools as handlers, and a gateway's word to other nodes: whether it could serve, and that it would rather not.

mod scripts;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tandem_http::{
    CUT_OFF, Cx, ELSEWHERE_FIELD, FAILED_FIELD, Handler, PROBE_FIELD, Plan, Reply, Request, Step,
};
use tandem_model::Overrides;

use crate::pool::{Pool, PoolAttempts, Settings};

/// Hands every request to a pool. Of a gateway's pool it also answers the probes of other nodes.
pub struct PoolHandler {
    pool: Arc<Pool>,
    over: Overrides,
    /// The pool's settings and what the route makes of them.
    settings: ArcSwapOption<(Arc<Settings>, Arc<Settings>)>,
}

impl PoolHandler {
    /// A handler for a pool.
    pub fn new(pool: Arc<Pool>) -> Self {
        Self::over(pool, Overrides::default())
    }

    /// A handler for a pool, of a route that says some things differently.
    pub fn over(pool: Arc<Pool>, over: Overrides) -> Self {
        Self {
            pool,
            over,
            settings: ArcSwapOption::empty(),
        }
    }

    /// The tries of a connection that is passed on as it is.
    pub(crate) fn connection(&self, client: IpAddr, cx: &Cx) -> PoolAttempts {
        PoolAttempts::connection(self.pool.clone(), self.settings(), client).on(cx.worker)
    }

    /// The pool's settings as the route wants them; worked out when the pool's are others than the last time.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        let settings = self.pool.settings();
        if self.over.is_empty() {
            return settings;
        }
        if let Some(known) = &*self.settings.load()
            && Arc::ptr_eq(&known.0, &settings)
        {
            return known.1.clone();
        }
        let mine = Arc::new(settings.over(&self.over));
        self.settings
            .store(Some(Arc::new((settings, mine.clone()))));
        mine
    }
}

impl Handler for PoolHandler {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let pool = &self.pool;
        let plan = if pool.gateway && is_probe(request) {
            let standing = match (pool.is_usable(), pool.is_cut_off()) {
                (false, _) => Standing::Out,
                (true, true) => Standing::CutOff,
                (true, false) => Standing::Well,
            };
            answer(&pool.service, standing, cx)
        } else if pool.gateway && pool.is_cut_off() && is_anyones(request) {
            cx.leave_uncounted();
            Plan::Unlogged(Box::new(Plan::Bytes(declined(&pool.service))))
        } else {
            let settings = self.settings();
            let program = settings.fastcgi.clone();
            let attempts = PoolAttempts::new(pool.clone(), settings, request).on(cx.worker);
            if let Some(program) = &program {
                return scripts::ask(attempts, program, request);
            }
            Plan::Forward(Box::new(attempts))
        };
        Step::Plan(plan)
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
            return Step::Plan(answer(&self.service, Standing::Well, cx));
        }
        self.inner.step(request, cx)
    }
}

/// Nodes alone may ask: from anyone else the field means nothing.
fn is_probe(request: &Request<'_>) -> bool {
    request.from_node && request.field(PROBE_FIELD).is_some()
}

/// Whether a node says that another one can serve the request as well.
fn is_anyones(request: &Request<'_>) -> bool {
    request.from_node && request.field(ELSEWHERE_FIELD).is_some()
}

/// What a node is told that passes a request to one that does not reach the sessions.
fn declined(service: &Arc<str>) -> Reply {
    let mut reply = Reply::text(503, service, "this node does not reach the sessions\n");
    let mark = format!("{FAILED_FIELD}: cut-off\r\n");
    reply.fields = [&reply.fields, mark.as_bytes()].concat().into();
    reply
}

/// How a gateway stands.
#[derive(Clone, Copy)]
enum Standing {
    Well,
    /// It can serve, and its node does not reach the sessions.
    CutOff,
    /// Nothing behind it can be reached.
    Out,
}

/// What is said to a probe. Probes come every few seconds from every listener: they are not written to the access log,
/// and are nobody's requests.
fn answer(service: &Arc<str>, standing: Standing, cx: &Cx) -> Plan {
    cx.leave_uncounted();
    let reply = match standing {
        Standing::Well => Reply {
            status: 204,
            fields: Bytes::new(),
            body: Bytes::new(),
            service: service.clone(),
            close: false,
        },
        Standing::CutOff => {
            Reply::text(CUT_OFF, service, "this node does not reach the sessions\n")
        }
        Standing::Out => Reply::text(
            503,
            service,
            "no instance of this service can be reached here\n",
        ),
    };
    Plan::Unlogged(Box::new(Plan::Bytes(reply)))
}

#[cfg(test)]
mod tests;
