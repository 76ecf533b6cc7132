//! What the file says of a pool apart from who its servers are.

use tandem_model::{Balance, Check, PoolPlan, Timeouts};

/// Part of a pool's snapshot, so that a request that has begun keeps what it began with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) balance: Balance,
    pub(crate) check: Check,
    pub(crate) retry: u32,
    pub(crate) timeouts: Timeouts,
}

impl Settings {
    pub(crate) fn of(plan: &PoolPlan) -> Self {
        Self {
            balance: plan.balance,
            check: plan.check.clone(),
            retry: plan.retry,
            timeouts: plan.timeouts,
        }
    }
}
