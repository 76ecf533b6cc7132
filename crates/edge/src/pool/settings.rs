//! What the file says of a pool apart from who its servers are.

use std::sync::Arc;

use tandem_http::ClientTls;
use tandem_model::{Check, PoolPlan, ProxyVersion, Spread, Timeouts};

/// Part of a pool's snapshot, so that a request that has begun keeps what it began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) spread: Spread,
    pub(crate) check: Check,
    pub(crate) timeouts: Timeouts,
    pub(crate) proxy: Option<ProxyVersion>,
    /// Its servers speak TLS.
    pub(super) secure: bool,
    /// How; given by [`super::Pool::secure`].
    pub(crate) tls: Option<Arc<ClientTls>>,
}

impl Settings {
    pub(crate) fn of(plan: &PoolPlan) -> Self {
        Self {
            spread: plan.spread.clone(),
            check: plan.check.clone(),
            timeouts: plan.timeouts,
            proxy: plan.send_proxy,
            secure: plan.tls.is_some(),
            tls: None,
        }
    }

    /// Whether a server can be spoken to as the file says: never plain where it says TLS.
    pub(crate) fn is_ready(&self) -> bool {
        self.tls.is_some() == self.secure
    }
}
