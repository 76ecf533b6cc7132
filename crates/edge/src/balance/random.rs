//! The less busy one of two servers drawn by lot (Mitzenmacher, "The Power of Two Choices"): nearly as even as asking
//! all, without all listeners running to the same one.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::hash::mix;
use super::least_connections::less_busy;
use crate::server::Server;

/// The servers and the lots.
#[derive(Debug)]
pub(crate) struct Random {
    /// Index, weight, and the sum of weights up to and with this one.
    servers: Box<[(u32, u16, u64)]>,
    lots: AtomicU64,
}

impl Random {
    pub(crate) fn new(servers: &[(u32, u16)]) -> Self {
        let mut sum = 0;
        let servers = servers.iter().map(|&(index, weight)| {
            sum += u64::from(weight);
            (index, weight, sum)
        });
        Self {
            servers: servers.collect(),
            lots: AtomicU64::new(RandomState::new().hash_one(0)),
        }
    }

    pub(crate) fn pick(&self, all: &[Arc<Server>], skip: impl Fn(u32) -> bool) -> Option<u32> {
        let (a, b) = (self.draw(&skip)?, self.draw(&skip)?);
        let load = |index: u32| all[index as usize].in_flight() + 1;
        let ((a, weight), (b, other)) = (a, b);
        let less = a != b && less_busy((load(b), other), (load(a), weight));
        Some(if less { b } else { a })
    }

    /// One by lot; the lot of one that is to be skipped falls to the next that is not.
    fn draw(&self, skip: impl Fn(u32) -> bool) -> Option<(u32, u16)> {
        let &(_, _, total) = self.servers.last()?;
        // Steele, Lea and Flood's SplitMix64: a counter, well mixed.
        let lot = mix(self.lots.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed)) % total;
        let at = self.servers.partition_point(|&(_, _, sum)| sum <= lot);
        let (before, from) = self.servers.split_at(at);
        let mut round = from.iter().chain(before);
        let found = round.find(|(index, ..)| !skip(*index));
        found.map(|&(index, weight, _)| (index, weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::servers;

    fn shares(random: &Random, all: &[Arc<Server>], n: usize) -> Vec<usize> {
        let mut shares = vec![0; all.len()];
        for _ in 0..n {
            shares[random.pick(all, |_| false).expect("there are servers") as usize] += 1;
        }
        shares
    }

    #[test]
    fn idle_servers_have_shares_by_weight() {
        let all = servers(&[0, 0, 0]);
        let even = shares(&Random::new(&[(0, 1), (1, 1), (2, 1)]), &all, 30_000);
        assert!(
            even.iter().all(|share| (9_000..11_000).contains(share)),
            "{even:?}"
        );
    }

    #[test]
    fn the_busiest_is_never_taken_before_another_that_was_drawn() {
        let all = servers(&[50, 0, 0]);
        let shares = shares(&Random::new(&[(0, 1), (1, 1), (2, 1)]), &all, 9_000);
        // Only when both lots are its own.
        assert!((700..1_300).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn one_that_is_to_be_skipped_is_not_taken() {
        let all = servers(&[0, 0]);
        let random = Random::new(&[(0, 1), (1, 1)]);
        for _ in 0..100 {
            assert_eq!(random.pick(&all, |index| index == 0), Some(1));
        }
        assert_eq!(random.pick(&all, |_| true), None);
        assert_eq!(Random::new(&[]).pick(&all, |_| false), None);
    }
}
