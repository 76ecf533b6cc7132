//! How the servers of a pool are taken: one algorithm per file.

mod first;
pub(crate) mod hash;
mod key;
mod least_connections;
mod random;
mod round_robin;

use std::sync::Arc;

use tandem_model::Balance;

use crate::server::Server;
use first::First;
use hash::Hash;
pub(crate) use hash::of as hash_of;
pub(crate) use key::{address, key, source};
use least_connections::LeastConnections;
use random::Random;
pub(crate) use round_robin::RoundRobin;

/// The choice among the usable servers of one snapshot of a pool. Servers are known to it by their index in that
/// snapshot. Shared by all workers; replaced as a whole when a server comes, goes or changes its weight.
#[derive(Debug)]
pub(crate) enum Balancer {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    First(First),
    Random(Random),
    /// Requests without a key go in turn.
    Hash(Hash, RoundRobin),
}

impl Balancer {
    /// For these servers of `all`: index and weight, which is not 0.
    pub(crate) fn new(balance: &Balance, servers: &[(u32, u16)], all: &[Arc<Server>]) -> Self {
        let hash = |bounded| {
            let round_robin = RoundRobin::new(servers);
            Self::Hash(Hash::new(servers, all, bounded), round_robin)
        };
        match balance {
            Balance::RoundRobin => Self::RoundRobin(RoundRobin::new(servers)),
            Balance::LeastConnections => Self::LeastConnections(LeastConnections::new(servers)),
            Balance::First => Self::First(First::new(servers)),
            Balance::Random => Self::Random(Random::new(servers)),
            Balance::Source | Balance::Uri => hash(false),
            Balance::Header(_) | Balance::Cookie(_) => hash(true),
        }
    }

    /// Takes over the turn from the balancer of an older snapshot; `renumber` gives a server's index in this one.
    pub(crate) fn resume(&mut self, before: &Self, renumber: impl Fn(u32) -> Option<u32>) {
        match (self, before) {
            (
                Self::RoundRobin(now) | Self::Hash(_, now),
                Self::RoundRobin(before) | Self::Hash(_, before),
            ) => now.resume(before, renumber),
            (Self::LeastConnections(now), Self::LeastConnections(before)) => now.resume(before),
            _ => {}
        }
    }

    /// The server for the next try, not one that is to be skipped. `None` when all are, or there is none.
    pub(crate) fn pick(
        &self,
        all: &[Arc<Server>],
        key: Option<u64>,
        skip: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        match self {
            Self::RoundRobin(round_robin) => round_robin.pick(skip),
            Self::LeastConnections(least) => least.pick(all, skip),
            Self::First(first) => first.pick(skip),
            Self::Random(random) => random.pick(all, skip),
            Self::Hash(hash, round_robin) => match key {
                Some(key) => hash.pick(all, key, skip),
                None => round_robin.pick(skip),
            },
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::health::state::{State, Vitals};
    use crate::server::{Limits, ServerKey};
    use tandem_http::handler::Endpoint;

    /// Servers `s0`, `s1`, ... with so many requests in flight.
    pub(crate) fn servers(in_flight: &[u64]) -> Vec<Arc<Server>> {
        let one = |(i, &n): (usize, &u64)| {
            let key = ServerKey {
                name: format!("s{i}").into(),
                endpoint: Endpoint::Unix(format!("/s{i}").into()),
            };
            let limits = Limits {
                weight: 1,
                backup: false,
                max_connections: None,
            };
            let server = Server::new(
                key,
                false,
                None,
                limits,
                0,
                Vitals::new(State::Up, ""),
                Arc::default(),
            );
            for _ in 0..n {
                server.begin();
            }
            Arc::new(server)
        };
        in_flight.iter().enumerate().map(one).collect()
    }
}
