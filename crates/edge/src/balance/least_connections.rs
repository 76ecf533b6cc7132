//! The server with the fewest requests in flight for its weight; of several, in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::server::Server;

/// The servers, and where to begin to look: behind the one that was chosen last, so that those that are alike share the
/// work, whoever stands between them.
#[derive(Debug)]
pub(crate) struct LeastConnections {
    /// Index and weight.
    servers: Box<[(u32, u16)]>,
    turn: AtomicU64,
}

impl LeastConnections {
    pub(crate) fn new(servers: &[(u32, u16)]) -> Self {
        Self {
            servers: servers.into(),
            turn: AtomicU64::new(0),
        }
    }

    pub(crate) fn resume(&mut self, before: &Self) {
        self.turn = AtomicU64::new(before.turn.load(Relaxed));
    }

    pub(crate) fn pick(&self, all: &[Arc<Server>], skip: impl Fn(u32) -> bool) -> Option<u32> {
        if self.servers.is_empty() {
            return None;
        }
        let turn = (self.turn.load(Relaxed) % self.servers.len() as u64) as usize;
        let (before, from) = self.servers.split_at(turn);
        let mut best: Option<(u32, u16, u64)> = None;
        let mut next = turn;
        for (place, &(index, weight)) in from.iter().chain(before).enumerate() {
            if skip(index) {
                continue;
            }
            // With the request that it would get; but idle servers are alike, whatever their weights, and take turns.
            let load = match all[index as usize].in_flight() {
                0 => 0,
                n => n + 1,
            };
            if best.is_none_or(|(_, other, least)| less_busy((load, weight), (least, other))) {
                best = Some((index, weight, load));
                next = turn + place + 1;
            }
        }
        self.turn.store(next as u64, Relaxed);
        best.map(|(index, ..)| index)
    }
}

/// Whether a load is smaller than another, each for its weight.
pub(super) fn less_busy((load, weight): (u64, u16), (other, others): (u64, u16)) -> bool {
    load * u64::from(others) < other * u64::from(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::servers;

    #[test]
    fn the_least_busy_for_its_weight_is_next() {
        let all = servers(&[2, 1, 4]);
        let least = LeastConnections::new(&[(0, 1), (1, 1), (2, 1)]);
        assert_eq!(least.pick(&all, |_| false), Some(1));
        assert_eq!(least.pick(&all, |index| index == 1), Some(0));
        let weighted = LeastConnections::new(&[(0, 1), (1, 1), (2, 5)]);
        assert_eq!(weighted.pick(&all, |_| false), Some(2));
        assert_eq!(weighted.pick(&all, |_| true), None);
        assert_eq!(LeastConnections::new(&[]).pick(&all, |_| false), None);
    }

    #[test]
    fn idle_servers_take_turns() {
        let all = servers(&[0, 0, 0]);
        let least = LeastConnections::new(&[(0, 1), (1, 1), (2, 1)]);
        let picks: Vec<_> = (0..6).filter_map(|_| least.pick(&all, |_| false)).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn idle_servers_take_turns_behind_busy_ones() {
        let all = servers(&[1, 1, 1, 0, 0]);
        let least = LeastConnections::new(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]);
        let picks: Vec<_> = (0..6).filter_map(|_| least.pick(&all, |_| false)).collect();
        assert_eq!(picks, [3, 4, 3, 4, 3, 4]);
    }

    #[test]
    fn idle_servers_take_turns_whatever_their_weights() {
        let all = servers(&[0, 0]);
        let least = LeastConnections::new(&[(0, 1), (1, 3)]);
        let picks: Vec<_> = (0..4).filter_map(|_| least.pick(&all, |_| false)).collect();
        assert_eq!(picks, [0, 1, 0, 1]);
    }

    #[test]
    fn requests_that_stay_are_spread_exactly_by_weight() {
        let all = servers(&[0, 0, 0]);
        let least = LeastConnections::new(&[(0, 1), (1, 2), (2, 5)]);
        for _ in 0..80 {
            let index = least.pick(&all, |_| false).expect("there are servers");
            assert!(all[index as usize].begin());
        }
        let loads: Vec<u64> = all.iter().map(|server| server.in_flight()).collect();
        assert_eq!(loads, [10, 20, 50]);
    }
}
