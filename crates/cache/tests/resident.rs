//! `-m` is true: what the process has in memory, whatever sizes come one after the other. A program of its own, so that
//! no other test's memory is counted.

use tandem_cache::{Cache, CacheOptions};
use tandem_memcache::{Hit, Lifetime, Mode, Op, Reply, Sink};

const MEMORY: usize = 64 << 20;
/// What the test itself and the allocator's remains may take besides.
const BASE: usize = 8 << 20;

struct Nothing;

impl Sink for Nothing {
    fn hit(&mut self, _: Hit<'_>) {}
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[test]
fn resident_memory_is_the_limit_whatever_sizes_come() {
    let before = resident();
    let cache = Cache::new(CacheOptions {
        memory: MEMORY,
        ..CacheOptions::default()
    });
    assert!(
        resident() - before < 1 << 20,
        "memory is taken when it is used"
    );
    let mut number = 0u64;
    for size in [100, 2_000, 300, 100_000, 60, 8_000] {
        let value = vec![1; size];
        for _ in 0..MEMORY * 5 / 4 / (size + 70) {
            let key = format!("key{number}");
            let set = Op::Store {
                mode: Mode::Set,
                key: key.as_bytes(),
                flags: 0,
                life: Lifetime::Forever,
                value: &value,
            };
            assert_eq!(cache.apply(&set, 0, &mut Nothing), Reply::Stored);
            // Some are of use, and stay among those that go.
            if number.is_multiple_of(3) {
                let old = format!("key{}", number - number % 5_000);
                let keys = [old.as_bytes()];
                cache.apply(&Op::Get { keys: &keys }, 0, &mut Nothing);
            }
            number += 1;
        }
        let taken = resident() - before;
        assert!(
            taken < MEMORY + MEMORY / 10 + BASE,
            "{taken} bytes after values of {size}"
        );
        assert!(cache.used() <= MEMORY, "{} bytes accounted", cache.used());
        assert!(
            cache.bytes() > MEMORY * 6 / 10,
            "{} bytes of items after values of {size}",
            cache.bytes()
        );
    }
    // Given back when the limit is lowered.
    cache.set_memory(MEMORY / 4);
    while cache.sweep(0) {}
    assert!(cache.used() <= MEMORY / 4);
    let taken = resident().saturating_sub(before);
    assert!(
        taken < MEMORY / 4 + MEMORY / 10 + BASE,
        "{taken} bytes of a quarter"
    );
}
