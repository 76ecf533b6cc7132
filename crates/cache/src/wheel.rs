//! When items end, so that their memory is freed without looking for them.
//!
//! A hierarchical timing wheel: five levels of 64 lists; a list of level n holds the items that end within a
//! span of 64^n ticks. Adding and removing are constant; each item moves down a level at most four times. Whether
//! an item is over is judged by its own expiry, to the millisecond, wherever it is asked for; the wheel only says
//! which memory can be freed, a tick later at most.

use crate::arena::{Arena, Id, NONE};
use crate::item::Link;
use crate::rules::Expiry;

const LEVELS: usize = 5;
/// A tick has 1,024 ms.
const TICK_BITS: u32 = 10;
const SPAN_BITS: u32 = 6;
const SPAN: usize = 1 << SPAN_BITS;
/// The list of items that were over when they were added.
const DUE: usize = LEVELS * SPAN;
/// Not in the wheel.
const OUTSIDE: u16 = u16::MAX;

/// The wheel of a shard.
pub(crate) struct Wheel {
    /// All lists whose span began before this tick are empty.
    elapsed: u64,
    /// One bit per list that is not empty.
    occupied: [u64; LEVELS],
    heads: [Id; DUE + 1],
    /// The list that is being emptied. Nothing is added to it meanwhile: its span has begun, so what ends within it
    /// belongs to lower levels.
    open: usize,
}

impl Wheel {
    pub(crate) const fn new() -> Self {
        Self {
            elapsed: 0,
            occupied: [0; LEVELS],
            heads: [NONE; DUE + 1],
            open: DUE,
        }
    }

    /// Adds an item that is in no list. Items without an end need none.
    pub(crate) fn add(&mut self, arena: &mut Arena, id: Id) {
        let bucket = match end_tick(arena[id].expiry) {
            None => {
                arena[id].bucket = OUTSIDE;
                return;
            }
            Some(tick) => self.bucket(tick),
        };
        if bucket != DUE {
            self.occupied[bucket / SPAN] |= 1 << (bucket % SPAN);
        }
        let head = std::mem::replace(&mut self.heads[bucket], id);
        if head != NONE {
            arena[head].in_wheel.before = id;
        }
        let item = &mut arena[id];
        item.bucket = bucket as u16;
        item.in_wheel = Link {
            before: NONE,
            behind: head,
        };
    }

    /// Takes an item out of its list, if it is in one.
    pub(crate) fn remove(&mut self, arena: &mut Arena, id: Id) {
        let item = &mut arena[id];
        let Link { before, behind } = std::mem::replace(&mut item.in_wheel, Link::ALONE);
        let bucket = std::mem::replace(&mut item.bucket, OUTSIDE);
        if bucket == OUTSIDE {
            return;
        }
        let bucket = usize::from(bucket);
        if behind != NONE {
            arena[behind].in_wheel.before = before;
        }
        if before == NONE {
            self.heads[bucket] = behind;
            if behind == NONE && bucket != DUE {
                self.occupied[bucket / SPAN] &= !(1 << (bucket % SPAN));
            }
        } else {
            arena[before].in_wheel.behind = behind;
        }
    }

    /// An item has moved to another block, its fields with it.
    pub(crate) fn renamed(&mut self, arena: &mut Arena, new: Id) {
        let item = &arena[new];
        let Link { before, behind } = item.in_wheel;
        let bucket = item.bucket;
        if bucket == OUTSIDE {
            return;
        }
        if before == NONE {
            self.heads[usize::from(bucket)] = new;
        } else {
            arena[before].in_wheel.behind = new;
        }
        if behind != NONE {
            arena[behind].in_wheel.before = new;
        }
    }

    /// Looks for an item that is over at `now` (milliseconds), in no more than `steps`, which it counts down. The
    /// item is out of the wheel then. `None`: there is none, or no step is left.
    pub(crate) fn next_over(
        &mut self,
        arena: &mut Arena,
        now: u64,
        steps: &mut usize,
    ) -> Option<Id> {
        let now = now >> TICK_BITS;
        while *steps > 0 {
            let id = match self.heads[DUE] {
                NONE => self.heads[self.open],
                due => due,
            };
            if id == NONE {
                // Closed first: the list may be filled again, for its next turn.
                self.open = DUE;
                self.open = self.begun(now)?;
                continue;
            }
            *steps -= 1;
            self.remove(arena, id);
            if end_tick(arena[id].expiry).is_some_and(|tick| tick <= now) {
                return Some(id);
            }
            // One of a higher level: its end is in a list of a lower level now.
            self.add(arena, id);
        }
        None
    }

    /// The earliest list, if its span has begun.
    fn begun(&mut self, now: u64) -> Option<usize> {
        if now <= self.elapsed {
            return None;
        }
        // Lists of a lower level begin before those of a higher one: the first is the earliest.
        let level = (0..LEVELS).find(|&level| self.occupied[level] != 0);
        if let Some(level) = level {
            let bits = SPAN_BITS * level as u32;
            let at = (self.elapsed >> bits) as usize % SPAN;
            let ahead = self.occupied[level]
                .rotate_right(at as u32)
                .trailing_zeros() as usize;
            let list = (at + ahead) % SPAN;
            let turn = (self.elapsed >> bits >> SPAN_BITS) + u64::from(list < at);
            let begins = (turn << SPAN_BITS | list as u64) << bits;
            if begins <= now {
                self.elapsed = begins;
                return Some(level * SPAN + list);
            }
        }
        self.elapsed = now;
        None
    }

    fn bucket(&self, tick: u64) -> usize {
        if tick <= self.elapsed {
            return DUE;
        }
        let differing = (tick ^ self.elapsed) | (SPAN as u64 - 1);
        let level = (differing.ilog2() / SPAN_BITS) as usize;
        if level < LEVELS {
            let list = (tick >> (SPAN_BITS * level as u32)) as usize % SPAN;
            return level * SPAN + list;
        }
        // Beyond the turn of the highest level (34 years): the list of its end, or the one that comes last, where it
        // is looked at again.
        let bits = SPAN_BITS * (LEVELS - 1) as u32;
        let at = self.elapsed >> bits;
        let ahead = ((tick >> bits) - at).min(SPAN as u64 - 1);
        (LEVELS - 1) * SPAN + (at + ahead) as usize % SPAN
    }
}

/// The first tick that begins when the item is over; `None` for items without an end.
fn end_tick(expiry: Expiry) -> Option<u64> {
    (expiry != Expiry::NEVER).then(|| expiry.millis().div_ceil(1 << TICK_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::arena::words;

    fn item(arena: &mut Arena, expiry: u64) -> Id {
        let id = arena.take(words(1)).unwrap();
        arena.write(id, b"k", 0, 0, Expiry::at(expiry), b"");
        id
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u64),
        Remove(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let life = prop_oneof![
            0u64..5_000,
            0u64..10_000_000,
            0u64..100_000_000_000,
            Just(u64::MAX)
        ];
        let wait = prop_oneof![0u64..3_000, 0u64..5_000_000, 0u64..50_000_000_000];
        prop_oneof![
            4 => life.prop_map(Step::Add),
            1 => any::<usize>().prop_map(Step::Remove),
            2 => wait.prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn every_item_is_found_within_a_tick_of_its_end_and_none_before(
            start in prop_oneof![Just(0u64), Just(1_800_000_000_000)],
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let mut arena = Arena::new(1 << 20);
            let mut wheel = Wheel::new();
            let mut there = BTreeSet::new();
            let mut now = start;
            for step in steps {
                match step {
                    Step::Add(life) => {
                        let id = item(&mut arena, now.saturating_add(life));
                        wheel.add(&mut arena, id);
                        there.insert(id);
                    }
                    Step::Remove(nth) if !there.is_empty() => {
                        let id = *there.iter().nth(nth % there.len()).unwrap();
                        there.remove(&id);
                        wheel.remove(&mut arena, id);
                        arena.give(id);
                    }
                    Step::Remove(_) => {}
                    Step::Wait(time) => {
                        now += time;
                        while let Some(id) = wheel.next_over(&mut arena, now, &mut 10_000) {
                            prop_assert!(arena[id].expiry.is_over(now));
                            prop_assert!(there.remove(&id));
                            arena.give(id);
                        }
                        for &id in &there {
                            prop_assert!(!arena[id].expiry.is_over(now.saturating_sub(1 << TICK_BITS)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_call_does_no_more_work_than_it_was_allowed() {
        let mut arena = Arena::new(1 << 20);
        let mut wheel = Wheel::new();
        for _ in 0..1_000 {
            let id = item(&mut arena, 5_000_000);
            wheel.add(&mut arena, id);
        }
        let mut calls = 0;
        while arena.used() > 0 {
            calls += 1;
            let mut steps = 4;
            while let Some(id) = wheel.next_over(&mut arena, 6_000_000, &mut steps) {
                arena.give(id);
            }
            assert!(calls < 10_000, "the wheel makes no headway");
        }
        assert!(calls >= 1_000 / 4);
    }
}
