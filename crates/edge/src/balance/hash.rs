//! Consistent hashing: the same key goes to the same server, from every listener and after every restart, for as long
//! as that server can be used.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar; weights as in Schindelhauer and Schomaker): each server has a
//! score for a key, the lowest wins. When a server goes its keys are dealt among the others by weight and no other key
//! moves; when it returns it has them back. Nothing is built beforehand, a choice costs some 10 ns a server.

use std::sync::Arc;

use crate::server::Server;

/// How much busier than its fair share a server may be before a bounded hash passes its keys on, in percent: Mirrokni,
/// Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads".
const BOUND: u64 = 125;

/// The servers and what they hash to.
#[derive(Debug)]
pub(crate) struct Hash {
    servers: Box<[Place]>,
    total: u64,
    bounded: bool,
}

#[derive(Debug)]
struct Place {
    index: u32,
    weight: u16,
    hash: u64,
}

impl Hash {
    /// For these servers: index and weight. `bounded`: a server that is much busier than the others is passed over.
    pub(crate) fn new(servers: &[(u32, u16)], all: &[Arc<Server>], bounded: bool) -> Self {
        let places = servers.iter().map(|&(index, weight)| Place {
            index,
            weight,
            hash: of(all[index as usize].key.name.as_bytes()),
        });
        Self {
            servers: places.collect(),
            total: servers.iter().map(|&(_, weight)| u64::from(weight)).sum(),
            bounded,
        }
    }

    pub(crate) fn pick(
        &self,
        all: &[Arc<Server>],
        key: u64,
        skip: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        if self.bounded {
            let load = |place: &Place| all[place.index as usize].in_flight();
            let sum: u64 = self.servers.iter().map(load).sum();
            // Shares of all requests in flight with this one, rounded up: so there is always one below its bound.
            let full = |place: &Place| {
                let share = BOUND * (sum + 1) * u64::from(place.weight);
                load(place) >= share.div_ceil(100 * self.total)
            };
            let found = self.lowest(key, |place| skip(place.index) || full(place));
            if found.is_some() {
                return found;
            }
        }
        self.lowest(key, |place| skip(place.index))
    }

    fn lowest(&self, key: u64, skip: impl Fn(&Place) -> bool) -> Option<u32> {
        self.servers
            .iter()
            .filter(|place| !skip(place))
            .map(|place| (place.score(key), place.index))
            .min_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, index)| index)
    }
}

impl Place {
    /// Exponentially distributed with the weight as its rate: of several such, each is the lowest as often as its
    /// share of the weights says.
    fn score(&self, key: u64) -> f64 {
        // 52 random bits between 0 and 1, neither included.
        let uniform = ((mix(key ^ self.hash) >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        -uniform.ln() / f64::from(self.weight)
    }
}

/// The hash of some bytes: FNV-1a, its bits mixed. The same for ever, everywhere.
pub(crate) fn of(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    mix(fnv)
}

/// The finalizer of `SplitMix64`.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balance::testing::servers;

    const KEYS: u64 = 4_000;

    fn placed(weights: &[u16], without: Option<u32>) -> Vec<u32> {
        let all = servers(&vec![0; weights.len()]);
        let used: Vec<(u32, u16)> = (0..).zip(weights.iter().copied()).collect();
        let hash = Hash::new(&used, &all, false);
        (0..KEYS)
            .map(|key| {
                let key = of(&key.to_be_bytes());
                let index = hash.pick(&all, key, |index| Some(index) == without);
                index.expect("there is a server")
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn without_a_server_only_its_keys_move_and_evenly(n in 2usize..12, gone in 0u32..12) {
            let gone = gone % n as u32;
            let (before, after) = (placed(&vec![1; n], None), placed(&vec![1; n], Some(gone)));
            let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            let owned = before.iter().filter(|&&index| index == gone).count();
            prop_assert_eq!(moved, owned);
            let fair = KEYS as f64 / n as f64;
            prop_assert!((owned as f64 - fair).abs() < 6.0 * fair.sqrt(), "{} of {}", owned, KEYS);
            prop_assert!(!after.contains(&gone));
            let most = (0..n as u32).map(|i| after.iter().filter(|&&x| x == i).count()).max().unwrap_or(0);
            let fair = KEYS as f64 / (n - 1) as f64;
            prop_assert!(most as f64 <= fair + 6.0 * fair.sqrt());
        }

        #[test]
        fn shares_follow_weights(weights in proptest::collection::vec(1u16..=256, 1..8)) {
            let placed = placed(&weights, None);
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            for (i, weight) in (0u32..).zip(&weights) {
                let share = placed.iter().filter(|&&index| index == i).count() as f64;
                let fair = KEYS as f64 * f64::from(*weight) / total;
                prop_assert!((share - fair).abs() <= 6.0 * fair.sqrt() + 6.0, "{}: {} not {}", i, share, fair);
            }
        }

        #[test]
        fn a_bounded_hash_lets_no_server_be_much_busier_than_the_others(
            n in 2usize..8,
            keys in proptest::collection::vec(0u64..4, 1..300),
        ) {
            let all = servers(&vec![0; n]);
            let used: Vec<(u32, u16)> = (0..n as u32).map(|index| (index, 1)).collect();
            let hash = Hash::new(&used, &all, true);
            for (sum, key) in (0u64..).zip(keys) {
                let index = hash.pick(&all, mix(key), |_| false).expect("there is a server");
                let server = &all[index as usize];
                server.begin();
                prop_assert!(server.in_flight() <= (125 * (sum + 1)).div_ceil(100 * n as u64));
            }
        }
    }

    #[test]
    fn a_key_goes_where_it_always_went() {
        // Other nodes, and this one after a restart or an update, must agree.
        assert_eq!(placed(&[1, 1, 1], None)[..8], [1, 0, 1, 2, 0, 2, 0, 0]);
    }

    #[test]
    fn a_busy_server_keeps_its_keys_when_it_is_not_bounded() {
        let all = servers(&[100, 0]);
        let used = [(0, 1), (1, 1)];
        let (free, bounded) = (Hash::new(&used, &all, false), Hash::new(&used, &all, true));
        let key = (0..1_000)
            .map(mix)
            .find(|&key| free.pick(&all, key, |_| false) == Some(0));
        let key = key.expect("some key is the first server's");
        assert_eq!(bounded.pick(&all, key, |_| false), Some(1));
        assert_eq!(
            bounded.pick(&all, key, |index| index == 1),
            Some(0),
            "better than none"
        );
    }
}
