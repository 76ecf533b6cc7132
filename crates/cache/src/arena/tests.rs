use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

impl Arena {
    /// What holds of blocks at any time.
    pub(crate) fn check(&self) {
        let mut used = 0;
        let mut free = Vec::new();
        for region in 0..self.regions.len() {
            let mut id = (region as Id) << self.shift;
            let mut after_free = false;
            loop {
                let tag = self.tag(id);
                assert_eq!(
                    tag & AFTER_FREE != 0,
                    after_free,
                    "block {id} knows the one before"
                );
                let is_free = self.is_free(id);
                assert!(!(is_free && after_free), "free neighbours are one block");
                if is_free {
                    free.push(id);
                } else {
                    used += self.size(id) as usize;
                }
                after_free = is_free;
                match self.behind(id) {
                    Some(behind) => {
                        if is_free {
                            let (region, at) = self.place(behind);
                            assert_eq!(self.regions[region].halves(at - 1)[1], self.size(id));
                        }
                        id = behind;
                    }
                    None => break,
                }
            }
            assert_eq!(self.to_end(id), self.size(id), "blocks end with the region");
        }
        assert_eq!(used, self.used);
        let mut binned = Vec::new();
        for (number, &head) in self.bins.iter().enumerate() {
            assert_eq!(
                head != NONE,
                self.occupied[number / 64] >> (number % 64) & 1 == 1
            );
            let mut id = head;
            while id != NONE {
                assert_eq!(bin(self.size(id)), number);
                binned.push(id);
                id = self.links(id)[0];
            }
        }
        binned.sort_unstable();
        assert_eq!(
            binned, free,
            "every free block is in its bin, and nothing else"
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    Give(usize),
    Trim(usize, usize),
    Move(usize),
    Grow(usize),
    Cut(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0usize..40, 3 => 0usize..600, 1 => 0usize..20_000];
    prop_oneof![
        8 => size.clone().prop_map(Step::Take),
        5 => any::<usize>().prop_map(Step::Give),
        1 => (any::<usize>(), size).prop_map(|(nth, size)| Step::Trim(nth, size)),
        2 => any::<usize>().prop_map(Step::Move),
        1 => (0usize..5_000).prop_map(Step::Grow),
        1 => (0usize..5_000).prop_map(Step::Cut),
    ]
}

proptest! {
    /// Against a map: whatever is written stays as it was written until it is freed.
    #[test]
    fn blocks_keep_what_was_written_and_free_memory_is_found_again(
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let mut arena = Arena::new(60_000);
        let mut there: BTreeMap<Id, Vec<u8>> = BTreeMap::new();
        let mut number = 0u32;
        for step in steps {
            number += 1;
            let nth = |there: &BTreeMap<Id, Vec<u8>>, nth: usize| {
                (!there.is_empty()).then(|| *there.keys().nth(nth % there.len()).unwrap())
            };
            match step {
                Step::Take(size) => {
                    let value = vec![number as u8; size];
                    if let Some(id) = arena.take(words(4 + size)) {
                        arena.write(id, &number.to_be_bytes(), number, number, Expiry::at(u64::from(number)), &value);
                        prop_assert!(there.insert(id, [&number.to_be_bytes()[..], &value].concat()).is_none());
                    } else {
                        prop_assert!(arena.used() + (words(4 + size) as usize) * WORD > arena.capacity() / 8);
                    }
                }
                Step::Give(which) => {
                    if let Some(id) = nth(&there, which) {
                        there.remove(&id);
                        arena.give(id);
                    }
                }
                Step::Trim(which, size) => {
                    if let Some(id) = nth(&there, which) {
                        let size = size.min(arena.value(id).len());
                        let value = vec![b't'; size];
                        arena.set_value(id, &value);
                        arena.trim(id, words(4 + size));
                        let data = there.get_mut(&id).unwrap();
                        data.truncate(4);
                        data.extend_from_slice(&value);
                    }
                }
                Step::Move(which) => {
                    if let Some(id) = nth(&there, which)
                        && let Some(other) = arena.take(words(there[&id].len()))
                    {
                        arena.copy(id, other, true);
                        arena.give(id);
                        let data = there.remove(&id).unwrap();
                        there.insert(other, data);
                    }
                }
                Step::Grow(bytes) => arena.grow(bytes),
                Step::Cut(size) => {
                    if arena.capacity() < 20_000 {
                        continue;
                    }
                    if let Some((start, _)) = arena.tail(size) {
                        let mut id = Some(start);
                        while let Some(block) = id {
                            there.remove(&block);
                            arena.hold(block);
                            id = arena.behind(block);
                        }
                        while arena.behind(start).is_some() {
                            arena.absorb(start);
                        }
                        arena.cut(start, size as u32);
                    }
                }
            }
            arena.check();
            for (&id, data) in &there {
                prop_assert_eq!(&[arena.key(id), arena.value(id)].concat(), data);
                prop_assert_eq!(arena[id].expiry.millis(), u64::from(arena[id].hash));
            }
            prop_assert_eq!(arena.ids().count(), there.len());
        }
        for id in there.into_keys() {
            arena.give(id);
        }
        arena.check();
        prop_assert_eq!(arena.used(), 0);
    }
}

#[test]
fn every_size_has_its_bin_and_higher_bins_have_larger_blocks() {
    let mut last = 0;
    for power in 1..29 {
        for size in [
            (1u32 << power) - 1,
            1 << power,
            (1 << power) + (1 << (power - 1)),
        ] {
            let this = bin(size);
            assert!(this >= last && this < BINS);
            last = this;
        }
    }
    // All blocks of a higher bin are larger than any of a lower one.
    for size in 2..100_000u32 {
        assert!(bin(size + 1) == bin(size) || bin(size + 1) == bin(size) + 1);
    }
}

#[test]
fn memory_that_was_never_used_is_not_touched() {
    // A free block that ends with its region has no word at its end: the kernel gives no page for it.
    let mut arena = Arena::new(1 << 20);
    let id = arena.take(words(100)).unwrap();
    assert_eq!(id, 0, "from the beginning on");
    arena.give(id);
    let next = arena.take(words(100)).unwrap();
    assert_eq!(next, 0, "what was used is used again");
    arena.check();
}
