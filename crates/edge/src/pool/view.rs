//! A pool as workers see it: an immutable snapshot.

use std::sync::Arc;

use crate::balance::Balancer;
use crate::health::state::State;
use crate::pool::Settings;
use crate::server::Server;

/// All servers, and the turn among those that can be used.
pub(crate) struct View {
    pub(super) settings: Arc<Settings>,
    servers: Arc<[Arc<Server>]>,
    balancer: Balancer,
}

/// Which servers take requests: the first kind of which there is one. A server that was not checked yet is used while
/// no other of its rank is known to be up: right after the start all are, and a new one waits for its first check. One
/// that is just coming back is better than an answer that says there is none.
const RANKS: [(bool, State); 6] = [
    (false, State::Up),
    (false, State::Starting),
    (true, State::Up),
    (true, State::Starting),
    (false, State::Returning),
    (true, State::Returning),
];

impl View {
    /// The servers as they are now; the turn goes on from `before`.
    pub(crate) fn new(
        servers: Arc<[Arc<Server>]>,
        settings: Arc<Settings>,
        before: Option<&Self>,
    ) -> Self {
        let ready: Vec<(u32, &Server, State)> = (0..)
            .zip(servers.iter())
            .filter(|(_, server)| !server.is_draining() && server.weight() > 0)
            .map(|(index, server)| (index, &**server, server.state()))
            .collect();
        let used: Vec<(u32, u16)> = RANKS
            .iter()
            .map(|&(backup, rank)| {
                ready
                    .iter()
                    .filter(|(_, server, state)| server.is_backup() == backup && *state == rank)
                    .map(|(index, server, _)| (*index, server.weight()))
                    .collect()
            })
            .find(|used: &Vec<_>| !used.is_empty())
            .unwrap_or_default();
        let mut balancer = Balancer::new(settings.balance, &used);
        if let Some(before) = before {
            balancer.resume(&before.balancer, |index| {
                let server = &before.servers[index as usize];
                (0..)
                    .zip(servers.iter())
                    .find(|(_, same)| Arc::ptr_eq(same, server))
                    .map(|(index, _)| index)
            });
        }
        Self {
            settings,
            servers,
            balancer,
        }
    }

    pub(crate) fn servers(&self) -> Arc<[Arc<Server>]> {
        self.servers.clone()
    }

    /// Whether there is no server to take.
    pub(crate) fn is_empty(&self) -> bool {
        self.balancer.is_empty()
    }

    /// The server for the next try: one that is not among `tried` if there is one, else one that is.
    ///
    /// A retry takes a turn like any other try. So every server is asked in turn, whoever asks, and a retry moves the
    /// alternation of others by no more than the one request that it is to them.
    pub(crate) fn pick(&self, tried: &[Arc<Server>]) -> Option<&Arc<Server>> {
        let was_tried = |index: u32| {
            let server = &self.servers[index as usize];
            tried.iter().any(|other| Arc::ptr_eq(other, server))
        };
        let index = match self.balancer.pick(was_tried) {
            None if !tried.is_empty() => self.balancer.pick(|_| false),
            index => index,
        };
        index.map(|index| &self.servers[index as usize])
    }
}
