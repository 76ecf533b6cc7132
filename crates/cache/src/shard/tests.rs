use proptest::prelude::*;

use super::*;

const ROOMY: Bounds = Bounds {
    memory: 1 << 24,
    max_item: 1 << 20,
    evict: true,
};

fn new(bounds: Bounds) -> Shard {
    Shard::new(bounds, Arc::default(), 0, 1)
}

/// Collects what a retrieval finds.
#[derive(Default)]
struct Found(Vec<(Vec<u8>, u64)>);

impl Sink for Found {
    fn hit(&mut self, hit: Hit<'_>) {
        self.0.push((hit.value.to_vec(), hit.version));
    }
}

fn hash(key: &[u8]) -> u32 {
    match key {
        // Few values, so that different keys collide.
        [byte] => u32::from(byte % 7),
        _ => key.iter().fold(0, |hash: u32, &b| {
            hash.wrapping_mul(31).wrapping_add(b.into())
        }),
    }
}

fn get(shard: &mut Shard, key: &[u8], now: u64) -> Option<Vec<u8>> {
    let mut found = Found::default();
    shard.get(key, hash(key), None, now, &mut found);
    found.0.pop().map(|(value, _)| value)
}

fn change(shard: &mut Shard, op: &Op<'_>, now: u64) -> Reply {
    let (Op::Store { key, .. }
    | Op::Delete { key }
    | Op::Touch { key, .. }
    | Op::Arithmetic { key, .. }) = *op
    else {
        panic!("not a change: {op:?}");
    };
    shard.change(op, key, hash(key), now)
}

fn store<'a>(mode: Mode, key: &'a [u8], value: &'a [u8], life: Lifetime) -> Op<'a> {
    Op::Store {
        mode,
        key,
        flags: 0,
        life,
        value,
    }
}

fn set<'a>(key: &'a [u8], value: &'a [u8]) -> Op<'a> {
    store(Mode::Set, key, value, Lifetime::Forever)
}

/// An item is in index, arena, queues and accounts, or in none of them.
fn check_invariants(shard: &Shard) {
    let ids: Vec<Id> = shard.index.iter().copied().collect();
    assert_eq!(ids.len(), shard.arena.ids().count());
    let charged: usize = ids.iter().map(|&id| shard.arena.charge(id)).sum();
    assert_eq!(charged, shard.arena.used());
    assert_eq!(charged, shard.eviction.bytes());
    let bytes: usize = ids.iter().map(|&id| shard.arena.item_size(id)).sum();
    assert_eq!(bytes, shard.bytes());
    let sum = |field: fn(&ClassCounters) -> u64| shard.classes.iter().map(field).sum::<u64>();
    assert_eq!(sum(|class| class.number), ids.len() as u64);
    assert_eq!(sum(|class| class.mem_requested), bytes as u64);
    shard.arena.check();
}

#[test]
fn an_item_lives_to_the_millisecond() {
    let mut shard = new(ROOMY);
    let op = store(Mode::Set, b"lock", b"1", Lifetime::Millis(5_000));
    assert_eq!(change(&mut shard, &op, 777), Reply::Stored);
    assert_eq!(get(&mut shard, b"lock", 5_776), Some(b"1".to_vec()));
    let again = store(Mode::Add, b"lock", b"2", Lifetime::Millis(5_000));
    assert_eq!(change(&mut shard, &again, 5_776), Reply::NotStored);
    assert_eq!(get(&mut shard, b"lock", 5_777), None);
    assert_eq!(shard.counters.get_expired, 1);
    assert_eq!(change(&mut shard, &again, 5_777), Reply::Stored);
    check_invariants(&shard);
}

#[test]
fn what_is_over_is_freed_by_operations_on_other_keys() {
    let mut shard = new(ROOMY);
    for i in 0..100u32 {
        let op_key = i.to_be_bytes();
        change(
            &mut shard,
            &store(Mode::Set, &op_key, b"x", Lifetime::Millis(10_000)),
            0,
        );
    }
    change(&mut shard, &set(b"other", b"x"), 0);
    assert_eq!(shard.count(), 101);
    for _ in 0..100 {
        get(&mut shard, b"other", 12_000);
    }
    assert_eq!(shard.count(), 1);
    assert_eq!(shard.counters.reclaimed, 100);
    check_invariants(&shard);
}

#[test]
fn a_flush_takes_what_was_there_and_spares_what_comes() {
    let mut shard = new(ROOMY);
    change(&mut shard, &set(b"a", b"old"), 10);
    shard.flush(10, 10);
    assert_eq!(get(&mut shard, b"a", 10), None);
    change(&mut shard, &set(b"a", b"new"), 10);
    assert_eq!(get(&mut shard, b"a", 10), Some(b"new".to_vec()));
    check_invariants(&shard);
}

#[test]
fn a_delayed_flush_comes_at_its_millisecond_and_a_later_one_replaces_it() {
    let mut shard = new(ROOMY);
    change(&mut shard, &set(b"a", b"1"), 0);
    shard.flush(2_000, 0);
    change(&mut shard, &set(b"b", b"2"), 1_999);
    assert_eq!(get(&mut shard, b"a", 1_999), Some(b"1".to_vec()));
    assert_eq!(get(&mut shard, b"a", 2_000), None);
    assert_eq!(get(&mut shard, b"b", 2_000), None);
    shard.flush(9_000, 2_000);
    shard.flush(2_000, 2_000);
    change(&mut shard, &set(b"a", b"1"), 3_000);
    assert_eq!(get(&mut shard, b"a", 9_500), Some(b"1".to_vec()));
    assert_eq!(shard.count(), 1, "flushed items are freed");
}

#[test]
fn keys_that_are_asked_for_again_survive_a_scan() {
    let mut shard = new(Bounds {
        memory: 100_000,
        ..ROOMY
    });
    for i in 0..50u32 {
        change(&mut shard, &set(&i.to_be_bytes(), &[0; 100]), 0);
        get(&mut shard, &i.to_be_bytes(), 0);
    }
    for i in 1_000..20_000u32 {
        change(&mut shard, &set(&i.to_be_bytes(), &[0; 100]), 0);
    }
    let left = (0..50u32).filter(|i| get(&mut shard, &i.to_be_bytes(), 0).is_some());
    assert_eq!(left.count(), 50);
    check_invariants(&shard);
}

#[test]
fn without_eviction_a_full_cache_refuses_until_something_is_over() {
    let mut shard = new(Bounds {
        memory: 10_000,
        evict: false,
        ..ROOMY
    });
    let mut stored = 0u32;
    let life = Lifetime::Millis(60_000);
    while change(
        &mut shard,
        &store(Mode::Set, &stored.to_be_bytes(), &[0; 500], life),
        0,
    ) == Reply::Stored
    {
        stored += 1;
    }
    assert!(stored > 10);
    assert_eq!(shard.counters.evictions, 0);
    assert_eq!(get(&mut shard, &0u32.to_be_bytes(), 1), Some(vec![0; 500]));
    let grown = store(Mode::Append, b"\0\0\0\0", &[0; 500], Lifetime::Forever);
    assert_eq!(
        change(&mut shard, &grown, 1),
        Reply::ServerError("out of memory storing object".into())
    );
    assert_eq!(
        change(&mut shard, &set(b"late", &[0; 500]), 62_000),
        Reply::Stored
    );
    check_invariants(&shard);
}

#[test]
fn a_set_that_is_too_large_leaves_no_stale_value() {
    let mut shard = new(Bounds {
        max_item: 1_000,
        ..ROOMY
    });
    let too_large = Reply::ServerError("object too large for cache".into());
    change(&mut shard, &set(b"k", b"old"), 0);
    let add = store(Mode::Add, b"k", &[0; 1_000], Lifetime::Forever);
    assert_eq!(change(&mut shard, &add, 0), too_large);
    let append = store(Mode::Append, b"k", &[0; 937], Lifetime::Forever);
    assert_eq!(change(&mut shard, &append, 0), Reply::Stored);
    assert_eq!(change(&mut shard, &append, 0), too_large);
    assert_eq!(get(&mut shard, b"k", 0).map(|value| value.len()), Some(940));
    assert_eq!(change(&mut shard, &set(b"k", &[0; 941]), 0), too_large);
    assert_eq!(get(&mut shard, b"k", 0), None);
    check_invariants(&shard);
}

#[test]
fn every_change_takes_a_new_version_and_a_touch_does_not() {
    let mut shard = new(ROOMY);
    let version = |shard: &mut Shard| {
        let mut found = Found::default();
        shard.get(b"k", hash(b"k"), None, 0, &mut found);
        found.0[0].1
    };
    change(&mut shard, &set(b"k", b"1"), 0);
    let first = version(&mut shard);
    let op = Op::Touch {
        key: b"k",
        life: Lifetime::Millis(9),
    };
    change(&mut shard, &op, 0);
    assert_eq!(version(&mut shard), first);
    let op = Op::Arithmetic {
        key: b"k",
        delta: 1,
        down: false,
    };
    change(&mut shard, &op, 0);
    let second = version(&mut shard);
    assert!(second > first);
    change(&mut shard, &Op::Delete { key: b"k" }, 0);
    change(&mut shard, &set(b"k", b"1"), 0);
    assert!(version(&mut shard) > second);
}

proptest! {
    #[test]
    fn memory_is_accounted_to_the_byte_and_never_above_the_limit(
        evict: bool,
        steps in proptest::collection::vec((0u8..6, 0u8..40, 0usize..3_000, 0u64..3_000), 1..400),
    ) {
        let mut shard = new(Bounds { memory: 30_000, max_item: 2_500, evict });
        let mut now = 0;
        for (what, key, size, time) in steps {
            let key = [key];
            let value = vec![b'1'; size];
            match what {
                0 => now += time,
                1 => {
                    change(&mut shard, &Op::Delete { key: &key }, now);
                }
                2 => {
                    get(&mut shard, &key, now);
                }
                3 => {
                    change(&mut shard, &store(Mode::Append, &key, &value, Lifetime::Forever), now);
                }
                4 => {
                    let op = store(Mode::Set, &key, &value, Lifetime::Millis(time));
                    let reply = change(&mut shard, &op, now);
                    let fits = item_size(1, 0, size) <= 2_500;
                    prop_assert!(!evict || fits == (reply == Reply::Stored));
                }
                _ => shard.flush(now + time / 10, now),
            }
            check_invariants(&shard);
        }
    }
}

/// Sizes that change their mind, with keys of use among them: memory stays what it is, and most of it is items.
#[test]
fn memory_is_full_of_items_whatever_sizes_come_one_after_the_other() {
    const MEMORY: usize = 4 << 20;
    let mut shard = new(Bounds {
        memory: MEMORY,
        max_item: 1 << 18,
        evict: true,
    });
    let mut random = 1u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random >> 8
    };
    let mut number = 0u32;
    for size in [100, 300, 2_000, 150, 8_000, 700, 100_000, 0, 120, 3_000, 30] {
        let mut stored = 0;
        while stored < MEMORY * 3 / 2 {
            // 0: all sizes up to 16 KiB, each power of two as often as the next.
            let size = match size {
                0 => (1 << (next() % 14)) + next() as usize % 100,
                size => size,
            };
            let reply = change(&mut shard, &set(&number.to_be_bytes(), &vec![1; size]), 0);
            assert_eq!(reply, Reply::Stored);
            stored += size;
            if number.is_multiple_of(3) {
                let old = number - next() % (number.min(5_000) + 1);
                get(&mut shard, &old.to_be_bytes(), 0);
                get(&mut shard, &number.saturating_sub(20).to_be_bytes(), 0);
            }
            number += 1;
        }
        check_invariants(&shard);
        let around = shard.index.allocation_size() + shard.eviction.overhead();
        assert!(shard.arena.capacity() + around <= MEMORY);
        let filled = shard.arena.used() as f64 / MEMORY as f64;
        assert!(filled > 0.75, "{filled:.2} after values of {size} bytes");
    }
}
