//! What holds for any stream of bytes, friendly or not.

mod common;

use std::fmt::Write as _;

use common::{context, keyspace, talk};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tandem_cache::CacheOptions;

async fn answers(pieces: &[&[u8]]) -> String {
    // One shard, so that versions are counted alike each time.
    let options = CacheOptions {
        shards: 1,
        ..CacheOptions::default()
    };
    let bytes = talk(&keyspace(options), &context(), pieces).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "(set|add|append) [ab] [0-9] (0|5|-1) 3( noreply)?\r\n[a-z]{3}\r\n",
        "(set|cas) [ab] 0 0 [0-9]{1,2} 1\r\n[a-z]{0,12}\r\n",
        "gets? [abc]( [abc]){0,5}\r?\n",
        "(incr|decr) n [0-9]{1,3}( noreply)?\r\n",
        "(delete|touch|gat|flush_all|verbosity|version|foo)( [ab05]){0,3}\r\n",
        "set n 0 0 2\r\n[0-9]{2}\r\n",
        "set big 0 0 (20000|1048576|3000000)\r\n",
        "get [a-z]{240,260}\r\n",
        " {0,120}(get|set) ([a-z]{1,9} ){300,600}\r\n",
    ];
    prop_oneof![
        12 => text.prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

#[test]
fn splitting_the_input_anywhere_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let requests = proptest::collection::vec(request(), 1..30);
    let cuts = proptest::collection::vec(any::<prop::sample::Index>(), 0..40);
    let result = runner.run(&(requests, cuts), |(requests, cuts)| {
        let stream = requests.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts
            .windows(2)
            .map(|pair| &stream[pair[0]..pair[1]])
            .filter(|piece| !piece.is_empty())
            .collect();
        let whole = runtime.block_on(answers(&[&stream]));
        let split = runtime.block_on(answers(&pieces));
        prop_assert_eq!(whole, split);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        if stream.len() < 2_000 {
            let drop_by_drop = runtime.block_on(answers(&bytes));
            prop_assert_eq!(runtime.block_on(answers(&[&stream])), drop_by_drop);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[tokio::test]
async fn hostile_input_gets_the_right_error_and_the_connection_lives_where_memcacheds_would() {
    let garbage: Vec<u8> = (0..=255).filter(|b| *b != b'\n').collect();
    for (input, expected) in [
        (
            b"set k 0 0 2147483645\r\nthe rest never comes".to_vec(),
            "SERVER_ERROR object too large for cache\r\n",
        ),
        (
            b"set k 0 0 2147483648\r\nversion\r\n".to_vec(),
            "CLIENT_ERROR bad command line format\r\nVERSION 1.6.18\r\n",
        ),
        (
            b"set k 0 0 -2\r\nversion\r\n".to_vec(),
            "CLIENT_ERROR bad command line format\r\nVERSION 1.6.18\r\n",
        ),
        (
            b"set k 0 0 3\r\nabcd\nversion\r\n".to_vec(),
            "CLIENT_ERROR bad data chunk\r\nVERSION 1.6.18\r\n",
        ),
        (
            b"set k\x01 0 0 1\r\nversion\r\n".to_vec(),
            "CLIENT_ERROR bad command line format\r\nVERSION 1.6.18\r\n",
        ),
        (
            [&garbage[..], b"\nversion\r\n"].concat(),
            "ERROR\r\nVERSION 1.6.18\r\n",
        ),
        (vec![b'x'; 1 << 20], "CLIENT_ERROR line too long\r\n"),
        (vec![0; 1 << 20], "CLIENT_ERROR line too long\r\n"),
        (
            [&b"get "[..], &vec![b'x'; 2 << 20]].concat(),
            "CLIENT_ERROR line too long\r\n",
        ),
        (b"set k 0 0 100\r\nhalf".to_vec(), ""),
        (b"get half".to_vec(), ""),
    ] {
        let start = String::from_utf8_lossy(&input[..input.len().min(40)]).into_owned();
        assert_eq!(answers(&[&input]).await, expected, "to {start:?}");
    }
}

#[tokio::test]
async fn a_retrieval_of_many_keys_is_answered_in_their_order() {
    let keyspace = keyspace(CacheOptions::default());
    let cx = context();
    let (mut sets, mut keys, mut hits) = (String::new(), String::new(), String::new());
    for i in 0..2_000 {
        let back = 1_999 - i;
        let _ = write!(sets, "set key{i} {i} 0 5 noreply\r\nvalue\r\n");
        let _ = write!(keys, " key{back} miss{back}");
        let _ = write!(hits, "VALUE key{back} {back} 5\r\nvalue\r\n");
    }
    let input = format!("{sets}get{keys}\r\n");
    let expected = format!("{hits}END\r\n");
    let answers = talk(&keyspace, &cx, &[input.as_bytes()]).await;
    assert_eq!(String::from_utf8(answers).unwrap(), expected);
}

#[tokio::test]
async fn a_cas_stores_once() {
    let keyspace = keyspace(CacheOptions::default());
    let cx = context();
    let shown = talk(&keyspace, &cx, &[b"set k 0 0 1\r\na\r\ngets k\r\n"]).await;
    let shown = String::from_utf8(shown).unwrap();
    let version: u64 = shown
        .lines()
        .find_map(|line| line.strip_prefix("VALUE k 0 1 "))
        .and_then(|version| version.parse().ok())
        .unwrap();
    let again = format!("cas k 0 0 1 {version}\r\nb\r\ncas k 0 0 1 {version}\r\nc\r\nget k\r\n");
    let answers = talk(&keyspace, &cx, &[again.as_bytes()]).await;
    assert_eq!(
        String::from_utf8(answers).unwrap(),
        "STORED\r\nEXISTS\r\nVALUE k 0 1\r\nb\r\nEND\r\n"
    );
}

#[tokio::test]
async fn times_are_exact_and_absolute_ones_are_unix_seconds() {
    let keyspace = keyspace(CacheOptions::default());
    let cx = context();
    let absolute = common::unix_clock() + 10;
    let stores =
        format!("set a 0 5 1\r\nx\r\nset b 0 {absolute} 1\r\nx\r\nset c 0 4102444800 1\r\nx\r\n");
    talk(&keyspace, &cx, &[stores.as_bytes()]).await;
    let mut left = Vec::new();
    for wait in [4_999, 1, 4_999, 1] {
        keyspace.clock.advance(wait);
        let answers = talk(&keyspace, &cx, &[b"get a b c\r\n"]).await;
        let answers = String::from_utf8(answers).unwrap();
        left.push(answers.matches("VALUE").count());
    }
    assert_eq!(left, [3, 2, 2, 1]);
}

#[tokio::test]
async fn statistics_name_what_monitoring_reads() {
    let keyspace = keyspace(CacheOptions::default());
    let cx = context();
    let input = b"set k 0 0 1\r\nx\r\nget k miss\r\ndelete nothing\r\nstats\r\n";
    let answers = String::from_utf8(talk(&keyspace, &cx, &[input]).await).unwrap();
    for line in [
        "STAT version 1.6.18\r\n",
        "STAT pointer_size 64\r\n",
        "STAT cmd_get 2\r\n",
        "STAT cmd_set 1\r\n",
        "STAT get_hits 1\r\n",
        "STAT get_misses 1\r\n",
        "STAT delete_misses 1\r\n",
        "STAT curr_items 1\r\n",
        "STAT total_items 1\r\n",
        "STAT limit_maxbytes 67108864\r\n",
        "STAT evictions 0\r\n",
        "STAT threads 1\r\n",
    ] {
        assert!(answers.contains(line), "no {line:?} in {answers}");
    }
    for name in [
        "pid",
        "uptime",
        "time",
        "bytes",
        "curr_connections",
        "total_connections",
    ] {
        assert!(answers.contains(&format!("STAT {name} ")), "no {name}");
    }
    assert!(answers.ends_with("END\r\n"));
    let input = b"stats reset\r\nstats\r\n";
    let answers = String::from_utf8(talk(&keyspace, &cx, &[input]).await).unwrap();
    assert!(answers.starts_with("RESET\r\n"));
    assert!(answers.contains("STAT cmd_get 0\r\n") && answers.contains("STAT curr_items 1\r\n"));
}

#[tokio::test]
async fn a_step_of_the_wall_clock_changes_no_items_life() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static WALL: AtomicU64 = AtomicU64::new(1_800_000_000);
    let keyspace = keyspace(CacheOptions::default());
    let options = tandem_memcache::ServerOptions::new("1.6.18", || WALL.load(Relaxed));
    let stats = std::sync::Arc::new(tandem_memcache::ServerStats::new(1, 100, 0));
    let cx = tandem_memcache::ServerContext::new(options, stats, 0);
    let stores = b"set a 0 10 1\r\nx\r\nset b 0 1800000010 1\r\nx\r\nset c 0 0 1\r\nx\r\n";
    talk(&keyspace, &cx, &[stores]).await;
    let mut left = Vec::new();
    for (wait, step) in [(0, 1_000_000i64), (9_999, -2_000_000), (1, 3_000_000)] {
        keyspace.clock.advance(wait);
        WALL.store(WALL.load(Relaxed).saturating_add_signed(step), Relaxed);
        let answers = talk(&keyspace, &cx, &[b"get a b c\r\n"]).await;
        left.push(String::from_utf8(answers).unwrap().matches("VALUE").count());
    }
    assert_eq!(left, [3, 3, 1]);
}

/// Client libraries split a line of statistics at its spaces.
#[tokio::test]
async fn every_statistic_is_a_name_and_one_word() {
    let keyspace = keyspace(CacheOptions::default());
    let input = b"set a 0 0 1\r\n1\r\nget a b\r\nstats\r\nstats settings\r\nstats items\r\nstats slabs\r\nstats conns\r\n";
    let answers = talk(&keyspace, &context(), &[input]).await;
    let text = String::from_utf8(answers).unwrap();
    for line in text.lines().filter(|line| line.starts_with("STAT ")) {
        assert_eq!(line.split(' ').count(), 3, "{line:?}");
    }
}

/// A client may keep the versions of several items in one place.
#[tokio::test]
async fn no_two_items_have_the_same_version() {
    let keyspace = keyspace(CacheOptions::default());
    let mut input = String::new();
    for number in 0..1_000 {
        let _ = write!(
            input,
            "set k{number} 0 0 1 noreply\r\nx\r\nmg k{number} c\r\n"
        );
    }
    let answers = talk(&keyspace, &context(), &[input.as_bytes()]).await;
    let text = String::from_utf8(answers).unwrap();
    let versions: std::collections::BTreeSet<_> = text.lines().collect();
    assert_eq!(versions.len(), 1_000);
}
