//! How the servers of a pool are taken: one algorithm per file.

mod round_robin;

pub(crate) use round_robin::RoundRobin;

use tandem_model::Balance;

/// The choice among the usable servers of one snapshot of a pool. Servers are known to it by their index in that
/// snapshot. Shared by all workers; replaced as a whole when a server comes, goes or changes its weight.
#[derive(Debug)]
pub(crate) enum Balancer {
    RoundRobin(RoundRobin),
}

impl Balancer {
    /// For these servers: index and weight.
    pub(crate) fn new(balance: Balance, servers: &[(u32, u16)]) -> Self {
        match balance {
            Balance::RoundRobin => Self::RoundRobin(RoundRobin::new(servers)),
        }
    }

    /// Takes over the turn from the balancer of an older snapshot; `renumber` gives a server's index in this one.
    pub(crate) fn resume(&mut self, before: &Self, renumber: impl Fn(u32) -> Option<u32>) {
        match (self, before) {
            (Self::RoundRobin(now), Self::RoundRobin(before)) => now.resume(before, renumber),
        }
    }

    /// The server for the next try, not one that is to be skipped. `None` when all are, or there is none.
    pub(crate) fn pick(&self, skip: impl Fn(u32) -> bool) -> Option<u32> {
        match self {
            Self::RoundRobin(round_robin) => round_robin.pick(skip),
        }
    }

    /// Whether there is no server to take.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::RoundRobin(round_robin) => round_robin.is_empty(),
        }
    }
}
