//! Which server a client's address had last: a table of fixed size without locks.
//!
//! A place is one word: a part of the address's hash, the server, and when it was last used. Whoever finds itself there
//! writes at most once in [`TICK`]. Two that write at once overwrite one another, which costs a client its place, never
//! a wrong server: what is read is one word that somebody wrote.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// Clients that are remembered.
const PLACES: usize = 1 << 16;
/// Places that one address may have: those of one cache line.
const WAYS: usize = 8;
/// The steps in which time is measured.
const TICK: Duration = Duration::from_secs(4);

/// The table of a pool.
#[derive(Debug)]
pub(crate) struct Table {
    places: Box<[Line]>,
    start: Instant,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// A word: 32 bits of the hash, 16 of the server, 16 of the time; 0 is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

impl Word {
    fn new(tag: u32, server: u16, tick: u16) -> Self {
        Self(u64::from(tag) << 32 | u64::from(server) << 16 | u64::from(tick))
    }

    fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn server(self) -> u16 {
        (self.0 >> 16) as u16
    }

    fn tick(self) -> u16 {
        self.0 as u16
    }
}

impl Table {
    pub(crate) fn new(now: Instant) -> Self {
        let lines = (0..PLACES / WAYS).map(|_| Line::default());
        Self {
            places: lines.collect(),
            start: now,
        }
    }

    /// The server that the client with this hash had within `expires`.
    pub(crate) fn find(&self, hash: u64, expires: Duration, now: Instant) -> Option<u16> {
        let (line, tag, tick) = self.place(hash, now);
        let words = line.0.iter().map(|word| Word(word.load(Relaxed)));
        let mut mine = words.filter(|word| word.0 != 0 && word.tag() == tag);
        let word = mine.next()?;
        (age(word, tick) <= ticks(expires)).then(|| word.server())
    }

    /// Notes that the client with this hash has this server now. In the place of the one that was silent for longest.
    pub(crate) fn note(&self, hash: u64, server: u16, now: Instant) {
        let (line, tag, tick) = self.place(hash, now);
        let new = Word::new(tag, server, tick);
        let mut oldest = (&line.0[0], 0);
        for place in &line.0 {
            let word = Word(place.load(Relaxed));
            if word.0 != 0 && word.tag() == tag {
                if word != new {
                    place.store(new.0, Relaxed);
                }
                return;
            }
            let age = match word.0 {
                0 => u32::MAX,
                _ => u32::from(age(word, tick)),
            };
            if age > oldest.1 {
                oldest = (place, age);
            }
        }
        oldest.0.store(new.0, Relaxed);
    }

    fn place(&self, hash: u64, now: Instant) -> (&Line, u32, u16) {
        let line = &self.places[hash as usize % self.places.len()];
        let since = now.saturating_duration_since(self.start);
        // Time goes round in three days; 0 is left out, so that no word is 0.
        let tick = (since.as_secs() / TICK.as_secs() % u64::from(u16::MAX)) as u16 + 1;
        (line, (hash >> 32) as u32, tick)
    }
}

fn age(word: Word, tick: u16) -> u16 {
    if word.tick() <= tick {
        tick - word.tick()
    } else {
        // Round once.
        u16::MAX - word.tick() + tick
    }
}

fn ticks(time: Duration) -> u16 {
    (time.as_secs().div_ceil(TICK.as_secs())).min(u64::from(u16::MAX) / 2) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balance::hash;

    const LIFE: Duration = Duration::from_mins(30);

    #[test]
    fn a_client_is_remembered_until_it_was_silent_for_too_long() {
        let start = Instant::now();
        let table = Table::new(start);
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(table.find(7 << 40, LIFE, start), None);
        table.note(7 << 40, 3, start);
        assert_eq!(table.find(7 << 40, LIFE, at(1_799)), Some(3));
        assert_eq!(table.find(7 << 40, LIFE, at(1_810)), None);
        table.note(7 << 40, 4, at(1_700));
        assert_eq!(table.find(7 << 40, LIFE, at(3_400)), Some(4));
        assert_eq!(table.find(8 << 40, LIFE, start), None, "another");
    }

    #[test]
    fn time_may_go_round() {
        let start = Instant::now();
        let table = Table::new(start);
        let round = u64::from(u16::MAX) * TICK.as_secs();
        let at = |secs| start + Duration::from_secs(secs);
        table.note(1 << 40, 9, at(round - 8));
        assert_eq!(table.find(1 << 40, LIFE, at(round + 100)), Some(9));
        assert_eq!(table.find(1 << 40, LIFE, at(round + 1_900)), None);
    }

    #[test]
    fn of_too_many_the_longest_silent_make_room() {
        let start = Instant::now();
        let table = Table::new(start);
        let client = |i: u64| (i + 1) << 40;
        for i in 0..WAYS as u64 {
            table.note(client(i), i as u16, start + Duration::from_secs(10 * i));
        }
        let now = start + Duration::from_secs(100);
        table.note(client(0), 0, now);
        table.note(client(100), 100, now);
        assert_eq!(table.find(client(1), LIFE, now), None);
        for i in [0, 2, 3, 4, 5, 6, 7, 100] {
            assert_eq!(table.find(client(i), LIFE, now), Some(i as u16), "{i}");
        }
    }

    proptest! {
        #[test]
        fn no_client_ever_gets_the_server_of_another(seed in any::<u64>()) {
            let start = Instant::now();
            let table = Table::new(start);
            let client = |i: u64| hash::of(&(seed ^ i).to_be_bytes());
            for i in 0..3_000u64 {
                table.note(client(i), (i % 1_000) as u16, start);
            }
            let kept = (0..3_000u64).filter(|&i| {
                let found = table.find(client(i), LIFE, start);
                assert!(found.is_none_or(|server| u64::from(server) == i % 1_000));
                found.is_some()
            });
            prop_assert!(kept.count() > 2_900);
        }
    }
}
