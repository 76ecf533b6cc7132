//! What a cache shows while there is little room for values.

use std::sync::Arc;

use tandem_cache::{Cache, CacheKeyspace, CacheOptions, Clock};
use tandem_memcache::{Answer, Hit, Keyspace, Lifetime, Mode, Op, Reply, Sink};

#[derive(Default)]
struct Keys(Vec<Vec<u8>>);

impl Sink for Keys {
    fn hit(&mut self, hit: Hit<'_>) {
        self.0.push(hit.key.to_vec());
    }
}

/// `a` and `b` have 100 bytes, `c` has 1,000; there is no `none`.
fn keyspace() -> CacheKeyspace {
    let cache = Arc::new(Cache::new(CacheOptions::default()));
    for (key, size) in [("a", 100), ("b", 100), ("c", 1_000)] {
        let op = Op::Store {
            mode: Mode::Set,
            key: key.as_bytes(),
            flags: 0,
            life: Lifetime::Forever,
            value: &vec![b'v'; size],
        };
        assert_eq!(cache.apply(&op, 1, &mut Keys::default()), Reply::Stored);
    }
    CacheKeyspace::new(cache, Clock::standing(1))
}

fn within(keyspace: &CacheKeyspace, keys: &[&[u8]], bytes: usize) -> (Reply, Vec<Vec<u8>>) {
    let mut seen = Keys::default();
    let Answer::Now(reply) = keyspace.get_within(keys, bytes, &mut seen) else {
        panic!("a cache answers at once");
    };
    (reply, seen.0)
}

#[tokio::test]
async fn values_are_shown_as_far_as_they_fit_and_no_others() {
    let keyspace = keyspace();
    let keys: [&[u8]; 4] = [b"a", b"none", b"c", b"b"];
    let [a, b, c] = [b"a", b"b", b"c"].map(|key| key.to_vec());
    for (bytes, count, shown) in [
        (99, 0, vec![]),
        (100, 2, vec![a.clone()]),
        (1_099, 2, vec![a.clone()]),
        (1_100, 3, vec![a.clone(), c.clone()]),
    ] {
        let expected = (Reply::Partly(count), shown);
        assert_eq!(within(&keyspace, &keys, bytes), expected, "{bytes}");
        assert_eq!(keyspace.fit(&keys, bytes).await, count, "{bytes}");
    }
    assert_eq!(within(&keyspace, &keys, 1_200), (Reply::End, vec![a, c, b]));
    assert_eq!(keyspace.fit(&keys, 1_200).await, 4);
}
