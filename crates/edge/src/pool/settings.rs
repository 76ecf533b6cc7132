//! What the file says of a pool apart from who its servers are.

use tandem_model::{Check, PoolPlan, Spread, Timeouts};

/// Part of a pool's snapshot, so that a request that has begun keeps what it began with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) spread: Spread,
    pub(crate) check: Check,
    pub(crate) timeouts: Timeouts,
}

impl Settings {
    pub(crate) fn of(plan: &PoolPlan) -> Self {
        Self {
            spread: plan.spread.clone(),
            check: plan.check.clone(),
            timeouts: plan.timeouts,
        }
    }
}
