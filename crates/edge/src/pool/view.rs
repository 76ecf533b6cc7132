//! A pool as workers see it: an immutable snapshot.

use std::sync::Arc;
use std::time::Duration;

use tandem_model::Backups;

use crate::balance::Balancer;
use crate::health::state::State;
use crate::pool::Settings;
use crate::server::{Mode, STEPS, Server};

/// How often a request may lose a race for the last place of a server before it counts as full.
const RACES: usize = 16;

/// All servers, and the turn among those that can be used.
pub(crate) struct View {
    pub(super) settings: Arc<Settings>,
    servers: Arc<[Arc<Server>]>,
    balancer: Balancer,
    /// Whether each server takes requests of clients that it has already.
    keeping: Box<[Keeping]>,
    /// Those that can be used.
    used: Box<[u32]>,
    /// They reach what they need.
    is_whole: bool,
    /// They are the last resort: requests to them failed, but no check found them down.
    is_last: bool,
    /// Some server is in its slow start.
    warming: bool,
}

/// Whether a server takes requests of clients that it has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Not,
    /// Of those for whom there is no other.
    Last,
    All,
}

/// Which servers take requests: the first kind of which there is one. A server that was not checked yet is used while
/// no other of its rank is known to be up: right after the start all are, and a new one waits for its first check. One
/// that is just coming back is better than an answer that says there is none. One whose node does not reach the sessions
/// comes after all others, whatever its rank. Where none is left, those are tried of which requests alone say that they are
/// down: to ask them costs the request nothing, as it would not be answered otherwise.
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
            .filter(|(_, server)| server.mode() == Mode::Ready && server.weight() > 0)
            .map(|(index, server)| (index, &**server, server.state()))
            .collect();
        let first_only = settings.spread.backups == Backups::First;
        let of_rank = |cut_off: bool, (backup, rank): (bool, State)| {
            let is_of = |(_, server, state): &&(u32, &Server, State)| {
                server.is_backup() == backup && *state == rank && server.is_cut_off() == cut_off
            };
            let of_rank = ready.iter().filter(is_of);
            let most = if backup && first_only { 1 } else { usize::MAX };
            let used = of_rank.map(|(index, server, _)| (*index, server.weight()));
            used.take(most).collect::<Vec<_>>()
        };
        let best = |cut_off| {
            let mut ranks = RANKS.iter().map(|&rank| of_rank(cut_off, rank));
            ranks.find(|used| !used.is_empty())
        };
        let whole = best(false);
        let is_whole = whole.is_some();
        let used = whole.or_else(|| best(true));
        let is_last = used.is_none();
        let used = used.unwrap_or_else(|| {
            let accused = |backup: bool| {
                let is_of = |(_, server, state): &&(u32, &Server, State)| {
                    *state == State::Down && server.is_backup() == backup && server.is_accused()
                };
                let accused = ready.iter().filter(is_of);
                let most = if backup && first_only { 1 } else { usize::MAX };
                let used = accused.map(|(index, server, _)| (*index, server.weight()));
                used.take(most).collect::<Vec<_>>()
            };
            let used = accused(false);
            if used.is_empty() { accused(true) } else { used }
        });
        let (used, warming) = warm(used, &servers, settings.spread.slow_start);
        let mut balancer = Balancer::new(&settings.spread.balance, &used, &servers);
        if let Some(before) = before {
            balancer.resume(&before.balancer, |index| {
                let server = &before.servers[index as usize];
                (0..)
                    .zip(servers.iter())
                    .find(|(_, same)| Arc::ptr_eq(same, server))
                    .map(|(index, _)| index)
            });
        }
        let keeping = servers.iter().map(|server| {
            if server.mode() == Mode::Maintenance || (is_whole && server.is_cut_off()) {
                return Keeping::Not;
            }
            match server.state() {
                State::Up | State::Starting => Keeping::All,
                State::Down if server.is_accused() => Keeping::Last,
                State::Down | State::Returning => Keeping::Not,
            }
        });
        Self {
            settings,
            keeping: keeping.collect(),
            servers,
            balancer,
            is_whole,
            is_last,
            used: used.iter().map(|(index, _)| *index).collect(),
            warming,
        }
    }

    pub(crate) fn servers(&self) -> &Arc<[Arc<Server>]> {
        &self.servers
    }

    /// Whether a server takes a request of a client that it has already: drained ones do, and those of weight 0. Where it is
    /// the client's last resort (a `strict` one has no other) also one that requests alone say is down, unless this one has
    /// `tried` it.
    pub(crate) fn keeps(&self, server: &Arc<Server>, strict: bool, tried: &[Arc<Server>]) -> bool {
        let is_it = |other: &Arc<Server>| Arc::ptr_eq(other, server);
        let at = self.servers.iter().position(is_it);
        match at.map_or(Keeping::Not, |at| self.keeping[at]) {
            Keeping::Not => false,
            Keeping::Last => (strict || self.is_last) && !tried.iter().any(is_it),
            Keeping::All => true,
        }
    }

    /// The server for the next try, with the request counted for it.
    pub(crate) fn take(&self, key: Option<u64>, tried: &[Arc<Server>]) -> Option<Arc<Server>> {
        // Others may be taking the last places: each time round one of them got one.
        for _ in 0..RACES {
            let server = self.pick(key, tried)?;
            if server.begin() {
                return Some(server.clone());
            }
        }
        None
    }

    /// Whether there is no server to take, busy or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Whether there is one that is not just the last resort.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_last
    }

    /// Whether there is no server to take for a request that has `tried` these: nobody tries a last resort twice.
    pub(crate) fn is_out(&self, tried: &[Arc<Server>]) -> bool {
        self.is_last && !self.has_untried(tried)
    }

    /// Whether a server that can be used was not tried.
    pub(crate) fn has_untried(&self, tried: &[Arc<Server>]) -> bool {
        let is_new = |&index: &u32| {
            let server = &self.servers[index as usize];
            !tried.iter().any(|other| Arc::ptr_eq(other, server))
        };
        self.used.iter().any(is_new)
    }

    /// Whether another server than this one and those that were tried can be used, and reaches what it needs.
    pub(crate) fn has_another(&self, tried: &[Arc<Server>]) -> bool {
        self.is_whole && self.used.len() > tried.len() + 1
    }

    /// Whether shares change by themselves.
    pub(crate) fn is_warming(&self) -> bool {
        self.warming
    }

    /// The server for the next try: one that is not among `tried` if there is one, else one that is. None that has as
    /// many requests as it takes, and no last resort twice.
    ///
    /// A retry takes a turn like any other try. So every server is asked in turn, whoever asks, and a retry moves the
    /// alternation of others by no more than the one request that it is to them.
    pub(crate) fn pick(&self, key: Option<u64>, tried: &[Arc<Server>]) -> Option<&Arc<Server>> {
        let all = &self.servers[..];
        let is_full = |index: u32| all[index as usize].is_full();
        let was_tried = |index: u32| {
            let server = &self.servers[index as usize];
            tried.iter().any(|other| Arc::ptr_eq(other, server))
        };
        let skip = |index| was_tried(index) || is_full(index);
        let index = match self.balancer.pick(all, key, skip) {
            None if !tried.is_empty() && !self.is_last => self.balancer.pick(all, key, is_full),
            index => index,
        };
        index.map(|index| &self.servers[index as usize])
    }
}

/// Shares as they are while servers are in their slow start, and whether one is.
fn warm(
    mut used: Vec<(u32, u16)>,
    servers: &[Arc<Server>],
    slow_start: Duration,
) -> (Vec<(u32, u16)>, bool) {
    let step = |index: u32| servers[index as usize].step(slow_start);
    let steps: Vec<u16> = used.iter().map(|(index, _)| step(*index)).collect();
    let warming = steps.iter().any(|&step| step < STEPS);
    if warming {
        // Weights are 256 at most.
        for ((_, weight), step) in used.iter_mut().zip(steps) {
            *weight *= step;
        }
    }
    (used, warming)
}
