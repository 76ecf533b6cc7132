//! The cache against the simplest store that could be right.

use std::collections::HashMap;

use proptest::prelude::*;
use tandem_cache::rules::{Current, Effect, Expiry, decide};
use tandem_cache::{Cache, CacheOptions};
use tandem_memcache::{Hit, Lifetime, Mode, Op, Reply, Sink};

/// Key, value, flags and milliseconds left.
type Shown = (Vec<u8>, Vec<u8>, u32, Option<u64>);

#[derive(Default, Debug, PartialEq)]
struct Found(Vec<Shown>);

impl Sink for Found {
    fn hit(&mut self, hit: Hit<'_>) {
        self.0.push((
            hit.key.to_vec(),
            hit.value.to_vec(),
            hit.flags,
            hit.remaining,
        ));
    }
}

/// One map, everything looked at every time.
#[derive(Default)]
struct Plain {
    items: HashMap<Vec<u8>, (Vec<u8>, u32, Expiry)>,
    flush_at: Option<u64>,
}

impl Plain {
    fn apply(&mut self, op: &Op<'_>, now: u64, sink: &mut dyn Sink) -> Reply {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.items.clear();
            self.flush_at = None;
        }
        self.items.retain(|_, item| !item.2.is_over(now));
        match *op {
            Op::Get { keys } => {
                for key in keys {
                    if let Some((value, flags, expiry)) = self.items.get(*key) {
                        sink.hit(Hit {
                            key,
                            flags: *flags,
                            version: 0,
                            remaining: expiry.remaining(now),
                            value,
                        });
                    }
                }
                Reply::End
            }
            Op::FlushAll { delay } => {
                self.flush_at = Some(now + delay);
                if delay == 0 {
                    self.items.clear();
                    self.flush_at = None;
                }
                Reply::Ok
            }
            Op::Store { key, .. }
            | Op::Delete { key }
            | Op::Touch { key, .. }
            | Op::Arithmetic { key, .. } => {
                let current = self.items.get(key).map(|(value, flags, expiry)| Current {
                    flags: *flags,
                    version: 0,
                    expiry: *expiry,
                    value,
                });
                let (effect, reply) = decide(current, op, now);
                match effect {
                    Effect::Keep => {}
                    Effect::Put {
                        flags,
                        expiry,
                        value,
                    } => {
                        self.items
                            .insert(key.to_vec(), (value.into_owned(), flags, expiry));
                    }
                    Effect::Touch(expiry) => {
                        if let Some(item) = self.items.get_mut(key) {
                            item.2 = expiry;
                        }
                    }
                    Effect::Remove => {
                        self.items.remove(key);
                    }
                }
                reply
            }
            Op::GetAndTouch { .. } | Op::Stats { .. } => Reply::Ok,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Store(Mode, u8, Lifetime, Vec<u8>),
    Delete(u8),
    Touch(u8, Lifetime),
    Count(u8, u64, bool),
    Get(u8),
    Flush(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![
        Just(Mode::Set),
        Just(Mode::Set),
        Just(Mode::Add),
        Just(Mode::Replace),
        Just(Mode::Append),
        Just(Mode::Prepend)
    ];
    let life = prop_oneof![
        Just(Lifetime::Forever),
        (0u64..100_000).prop_map(Lifetime::Millis)
    ];
    let value = prop_oneof![
        "[0-9]{1,5}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..50)
    ];
    let key = 0u8..30;
    prop_oneof![
        8 => (mode, key.clone(), life.clone(), value)
            .prop_map(|(mode, key, life, value)| Step::Store(mode, key, life, value)),
        1 => key.clone().prop_map(Step::Delete),
        2 => (key.clone(), life).prop_map(|(key, life)| Step::Touch(key, life)),
        2 => (key.clone(), 0u64..2_000, any::<bool>())
            .prop_map(|(key, delta, down)| Step::Count(key, delta, down)),
        8 => key.prop_map(Step::Get),
        1 => prop_oneof![Just(0u64), 0u64..50_000].prop_map(Step::Flush),
        4 => prop_oneof![0u64..2_000, 0u64..100_000].prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_that_of_a_plain_map(steps in proptest::collection::vec(step(), 1..300)) {
        let cache = Cache::new(CacheOptions { max_item: 4_096, ..CacheOptions::default() });
        let mut plain = Plain::default();
        let mut now = 5;
        for step in steps {
            let key_of = |key: u8| [b'k', key];
            let (key, value);
            let op = match step {
                Step::Wait(time) => {
                    now += time;
                    continue;
                }
                Step::Store(mode, k, life, v) => {
                    (key, value) = (key_of(k), v);
                    Op::Store { mode, key: &key, flags: u32::from(k), life, value: &value }
                }
                Step::Delete(k) => {
                    key = key_of(k);
                    Op::Delete { key: &key }
                }
                Step::Touch(k, life) => {
                    key = key_of(k);
                    Op::Touch { key: &key, life }
                }
                Step::Count(k, delta, down) => {
                    key = key_of(k);
                    Op::Arithmetic { key: &key, delta, down }
                }
                Step::Get(k) => {
                    key = key_of(k);
                    let keys: [&[u8]; 1] = [&key];
                    let (mut found, mut expected) = (Found::default(), Found::default());
                    let op = Op::Get { keys: &keys };
                    cache.apply(&op, now, &mut found);
                    plain.apply(&op, now, &mut expected);
                    prop_assert_eq!(found, expected);
                    continue;
                }
                Step::Flush(delay) => Op::FlushAll { delay },
            };
            let mut nothing = Found::default();
            let expected = plain.apply(&op, now, &mut nothing);
            prop_assert_eq!(cache.apply(&op, now, &mut nothing), expected);
        }
        while cache.sweep(now) {}
        prop_assert!(cache.items() <= 30);
    }
}

#[test]
fn threads_share_a_cache_within_its_memory() {
    let options = CacheOptions {
        memory: 2_000_000,
        max_item: 20_000,
        ..CacheOptions::default()
    };
    let cache = Cache::new(options);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let cache = &cache;
            scope.spawn(move || {
                for i in 0..20_000u32 {
                    let key = (i % 5_000 + thread * 2_500).to_be_bytes();
                    let op = Op::Store {
                        mode: Mode::Set,
                        key: &key,
                        flags: 0,
                        life: Lifetime::Millis(u64::from(i)),
                        value: &vec![0; i as usize % 2_000],
                    };
                    let reply = cache.apply(&op, u64::from(i), &mut Found::default());
                    assert_eq!(reply, Reply::Stored);
                    assert!(cache.used() <= options.memory);
                }
            });
        }
    });
    assert!(cache.counters().evictions > 0);
}

#[test]
fn a_lowered_bound_of_memory_holds_after_the_next_sweeps() {
    let cache = Cache::new(CacheOptions::default());
    for number in 0..20_000u32 {
        let store = Op::Store {
            mode: Mode::Set,
            key: &number.to_be_bytes(),
            flags: 0,
            life: Lifetime::Forever,
            value: &[0; 1000],
        };
        assert_eq!(cache.apply(&store, 0, &mut Nothing), Reply::Stored);
    }
    cache.set_memory(8 << 20);
    while cache.sweep(1) {}
    assert!(cache.used() <= 8 << 20 && cache.items() > 5_000);
}

/// Takes no hits.
struct Nothing;

impl tandem_memcache::Sink for Nothing {
    fn hit(&mut self, _: tandem_memcache::Hit<'_>) {}
}
