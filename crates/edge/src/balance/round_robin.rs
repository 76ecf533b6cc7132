//! Exact smooth weighted round robin.
//!
//! The whole round is worked out beforehand; taking a turn is one relaxed `fetch_add` on a ticket that all workers
//! share. So alternation is exact whichever worker serves a request, and costs nothing when weights differ.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A round and the place in it.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    /// Server indices; each occurs as often as its weight, divided by the common divisor of all, says.
    slots: Box<[u32]>,
    ticket: Ticket,
}

/// On cache lines of its own: it is the one thing here that every request writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Ticket(AtomicU64);

impl RoundRobin {
    /// A round of these servers: index and weight. Weight 0 takes no turn.
    pub(crate) fn new(servers: &[(u32, u16)]) -> Self {
        Self {
            slots: smooth(servers),
            ticket: Ticket::default(),
        }
    }

    /// Goes on where `before` was: the next turn is that of the server after the one that had the last turn, so that
    /// nobody has two in a row only because another server came or went.
    pub(crate) fn resume(&mut self, before: &Self, renumber: impl Fn(u32) -> Option<u32>) {
        if self.slots.is_empty() || before.slots.is_empty() {
            return;
        }
        let next = before.ticket.0.load(Relaxed);
        let length = before.slots.len() as u64;
        // What lies behind the ticket was taken, or stands for what was taken from the round before that one.
        let after = (1..=next.min(length)).find_map(|back| {
            let index = renumber(before.slots[((next - back) % length) as usize])?;
            self.slots.iter().position(|&slot| slot == index)
        });
        self.ticket = Ticket(AtomicU64::new(after.map_or(0, |at| at as u64 + 1)));
    }

    /// Takes a turn. A server that is to be skipped gives its turn to the next in the round that is not; the turns of
    /// all others stay where they are.
    pub(crate) fn pick(&self, skip: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let length = self.slots.len();
        let turn = (self.ticket.0.fetch_add(1, Relaxed) % length as u64) as usize;
        let (before, from) = self.slots.split_at(turn);
        from.iter().chain(before).copied().find(|&slot| !skip(slot))
    }
}

/// The order of nginx's smooth weighted round robin: at each step every server gains its weight, the one that has most
/// takes the turn and pays the sum of all weights. Costs servers x slots; made anew only when a server changes.
fn smooth(servers: &[(u32, u16)]) -> Box<[u32]> {
    let divisor = servers
        .iter()
        .fold(0, |sum, &(_, weight)| gcd(sum, u64::from(weight)));
    if divisor == 0 {
        return Box::default();
    }
    // Index, weight, and what it has gained.
    let mut gains: Vec<(u32, i64, i64)> = servers
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|&(index, weight)| (index, (u64::from(weight) / divisor) as i64, 0))
        .collect();
    let total: i64 = gains.iter().map(|(_, weight, _)| weight).sum();
    (0..total)
        .map(|_| {
            let mut best = 0;
            for i in 0..gains.len() {
                gains[i].2 += gains[i].1;
                if gains[i].2 > gains[best].2 {
                    best = i;
                }
            }
            gains[best].2 -= total;
            gains[best].0
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn turns(round: &RoundRobin, n: usize) -> Vec<u32> {
        (0..n)
            .map(|_| round.pick(|_| false).expect("there are servers"))
            .collect()
    }

    #[test]
    fn equal_weights_alternate_strictly() {
        assert_eq!(
            turns(&RoundRobin::new(&[(0, 5), (1, 5)]), 6),
            [0, 1, 0, 1, 0, 1]
        );
        assert_eq!(
            turns(&RoundRobin::new(&[(0, 1), (1, 1), (2, 1)]), 6),
            [0, 1, 2, 0, 1, 2]
        );
    }

    #[test]
    fn weights_are_spread_smoothly() {
        assert_eq!(
            turns(&RoundRobin::new(&[(0, 3), (1, 1)]), 8),
            [0, 0, 1, 0, 0, 0, 1, 0]
        );
        assert_eq!(
            turns(&RoundRobin::new(&[(0, 5), (1, 1), (2, 1)]), 7),
            [0, 0, 1, 0, 2, 0, 0]
        );
    }

    #[test]
    fn weight_zero_takes_no_turn() {
        assert_eq!(turns(&RoundRobin::new(&[(0, 0), (1, 2)]), 3), [1, 1, 1]);
        assert_eq!(RoundRobin::new(&[(0, 0)]).pick(|_| false), None);
        assert_eq!(RoundRobin::new(&[]).pick(|_| false), None);
    }

    #[test]
    fn a_skipped_server_gives_its_turn_to_the_next_only() {
        let round = RoundRobin::new(&[(0, 1), (1, 1), (2, 1)]);
        assert_eq!(round.pick(|slot| slot == 0), Some(1));
        assert_eq!(turns(&round, 3), [1, 2, 0]);
        assert_eq!(round.pick(|_| true), None);
    }

    #[test]
    fn nobody_has_two_turns_in_a_row_because_another_went_or_came() {
        for taken in 1..7 {
            let three = RoundRobin::new(&[(0, 1), (1, 1), (2, 1)]);
            let last = *turns(&three, taken).last().expect("one at least");
            for gone in 0..3 {
                let left: Vec<u32> = (0..3).filter(|&i| i != gone).collect();
                let mut two = RoundRobin::new(&[(0, 1), (1, 1)]);
                two.resume(&three, |old| {
                    left.iter().position(|&i| i == old).map(|i| i as u32)
                });
                let next = left[two.pick(|_| false).expect("two are left") as usize];
                assert_ne!(next, last, "{gone} went after {taken} turns");

                let mut back = RoundRobin::new(&[(0, 1), (1, 1), (2, 1)]);
                back.resume(&two, |i| Some(left[i as usize]));
                assert_ne!(back.pick(|_| false), Some(next), "{gone} came back");
            }
        }
    }

    #[test]
    fn a_round_from_which_nothing_was_taken_leaves_the_next_at_its_beginning() {
        let before = RoundRobin::new(&[(0, 1), (1, 1)]);
        let mut after = RoundRobin::new(&[(0, 1), (1, 1)]);
        after.resume(&before, Some);
        assert_eq!(turns(&after, 2), [0, 1]);
    }

    #[test]
    fn counts_are_exact_whoever_takes_the_turns() {
        let round = RoundRobin::new(&[(0, 3), (1, 1), (2, 4)]);
        let mut sums = BTreeMap::new();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| turns(&round, 1000)))
                .collect();
            for worker in workers {
                for slot in worker.join().expect("no worker panics") {
                    *sums.entry(slot).or_insert(0) += 1;
                }
            }
        });
        assert_eq!(sums, BTreeMap::from([(0, 3000), (1, 1000), (2, 4000)]));
    }

    proptest! {
        #[test]
        fn each_server_has_its_share_of_every_round(weights in proptest::collection::vec(0u16..=256, 1..8)) {
            let servers: Vec<(u32, u16)> = weights.iter().enumerate().map(|(i, &w)| (i as u32, w)).collect();
            let slots = smooth(&servers);
            let total: usize = weights.iter().map(|&w| usize::from(w)).sum();
            for &(index, weight) in &servers {
                let count = slots.iter().filter(|&&slot| slot == index).count();
                prop_assert_eq!(count * total, usize::from(weight) * slots.len());
            }
        }
    }
}
