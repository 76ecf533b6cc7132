//! What the file says of a pool apart from who its servers are.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tandem_http::ClientTls;
use tandem_model::{
    Check, FastCgi, Overrides, Place, PoolPlan, ProxyVersion, Secret, Spread, Stick, Timeouts,
};
use tokio::time::Instant;

use crate::stick::{Sticker, Table};

/// Part of a pool's snapshot, so that a request that has begun keeps what it began with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) spread: Spread,
    pub(crate) check: Check,
    pub(crate) timeouts: Timeouts,
    /// How long a tunnel may be without a byte, where a route says so.
    pub(crate) idle: Option<Duration>,
    pub(crate) proxy: Option<ProxyVersion>,
    /// Those of its servers that are no nodes speak FastCGI.
    pub(crate) fastcgi: Option<Arc<FastCgi>>,
    /// Its servers speak TLS.
    pub(super) secure: bool,
    /// How; given by [`super::Pool::secure`].
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// How often names are looked up again.
    pub(crate) resolve: Duration,
    /// What keeps clients with their servers.
    pub(crate) sticker: Option<Arc<Sticker>>,
    /// Statuses that count as failures.
    pub(crate) retry_on: Option<Arc<[u16]>>,
    pub(super) context: Arc<Context>,
}

/// What a sticker needs to know of its pool.
#[derive(Debug)]
pub(super) struct Context {
    service: Arc<str>,
    gateway: bool,
    secret: Option<Secret>,
    /// The clients that the pool has seen; made when first needed, kept by the pool.
    table: Arc<OnceLock<Arc<Table>>>,
}

impl Context {
    fn sticker(&self, stick: &Stick) -> Arc<Sticker> {
        let table = || {
            let made = || Arc::new(Table::new(Instant::now()));
            self.table.get_or_init(made).clone()
        };
        let secret = self.secret.as_ref();
        Arc::new(Sticker::new(
            stick,
            &self.service,
            self.gateway,
            secret,
            table,
        ))
    }
}

impl Settings {
    pub(crate) fn of(plan: &PoolPlan, table: &Arc<OnceLock<Arc<Table>>>) -> Self {
        let context = Context {
            service: plan.service.as_str().into(),
            gateway: plan.gateway,
            secret: plan.secret.clone(),
            table: table.clone(),
        };
        Self {
            sticker: plan
                .spread
                .stick
                .as_ref()
                .map(|stick| context.sticker(stick)),
            retry_on: statuses(&plan.spread.retry.on),
            spread: plan.spread.clone(),
            check: plan.check.clone(),
            timeouts: plan.timeouts,
            idle: None,
            proxy: plan.send_proxy,
            fastcgi: plan.fastcgi.clone().filter(|_| has_programs(plan)),
            secure: plan.tls.is_some(),
            tls: None,
            resolve: plan.resolve,
            context: Arc::new(context),
        }
    }

    /// As a route wants it.
    pub(crate) fn over(&self, over: &Overrides) -> Self {
        let mut spread = self.spread.clone();
        let mut sticker = self.sticker.clone();
        if let Some(stick) = &over.stick {
            sticker = Some(self.context.sticker(stick));
            spread.stick = Some(stick.clone());
        }
        if let Some(retry) = &over.retry {
            spread.retry = retry.clone();
        }
        let limits = &over.timeouts;
        spread.queue.timeout = limits.queue.unwrap_or(spread.queue.timeout);
        Self {
            sticker,
            retry_on: statuses(&spread.retry.on),
            spread,
            timeouts: Timeouts {
                connect: limits.connect.unwrap_or(self.timeouts.connect),
                first_byte: limits.first_byte.unwrap_or(self.timeouts.first_byte),
                body: limits.body.unwrap_or(self.timeouts.body),
                ..self.timeouts
            },
            idle: limits.idle.or(self.idle),
            ..self.clone()
        }
    }

    /// Time limits of one try.
    pub(crate) fn limits(&self) -> Timeouts {
        match self.spread.retry.timeout {
            None => self.timeouts,
            Some(one) => Timeouts {
                connect: self.timeouts.connect.min(one),
                first_byte: self.timeouts.first_byte.min(one),
                ..self.timeouts
            },
        }
    }

    /// Whether a server can be spoken to as the file says: never plain where it says TLS.
    pub(crate) fn is_ready(&self) -> bool {
        self.tls.is_some() == self.secure
    }
}

/// Whether some server is a program, and not a node that has one.
fn has_programs(plan: &PoolPlan) -> bool {
    let mut places = plan.members.iter().map(|member| &member.place);
    places.any(|place| !matches!(place, Place::Node(_)))
}

fn statuses(on: &[u16]) -> Option<Arc<[u16]>> {
    (!on.is_empty()).then(|| on.into())
}
