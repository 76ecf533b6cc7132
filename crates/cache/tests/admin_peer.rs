//! Commands about the server itself: the same lines to memcached itself and to this crate, the same answers back.
//!
//! Left out: `slabs reassign` between classes that exist, as pages are not here, and what shows sizes of memory.

mod common;

use std::time::{Duration, Instant};

use common::DEADLINE;
use common::peer::{Pair, shown};

#[test]
fn every_command_about_the_server_is_answered_as_by_memcached() {
    let Some(pair) = Pair::start("admin") else {
        return;
    };
    let mut differing = Vec::new();
    for line in [
        "slabs",
        "slabs foo",
        "slabs reassign",
        "slabs reassign 1",
        "slabs reassign x y",
        "slabs reassign 1 1",
        "slabs reassign -1 1",
        "slabs reassign 100 1",
        "slabs reassign 1 100",
        "slabs reassign 1 2",
        "slabs reassign 1 2 3",
        "slabs automove",
        "slabs automove 0",
        "slabs automove 1",
        "slabs automove 2",
        "slabs automove 3",
        "slabs automove x",
        "slabs automove ratio 0.8",
        "slabs automove ratio x",
        "slabs automove ratio",
        "slabs automove 1 noreply",
        "slabs automove 0 noreply",
        "lru",
        "lru foo",
        "lru tune",
        "lru tune 10 25 0.1 2.0",
        "lru tune 10",
        "lru tune 60 50 0.1 2.0",
        "lru tune 10 25 0 2.0",
        "lru tune x 25 0.1 2.0",
        "lru mode foo",
        "lru mode",
        "lru mode flat",
        "lru temp_ttl 9",
        "lru temp_ttl -1",
        "lru temp_ttl",
        "lru temp_ttl x",
        "lru_crawler",
        "lru_crawler foo",
        "lru_crawler enable x",
        "lru_crawler crawl",
        "lru_crawler crawl 1",
        "lru_crawler enable",
        "lru_crawler crawl 1",
        "lru_crawler crawl 0",
        "lru_crawler crawl 300",
        "lru_crawler crawl x",
        "lru_crawler enable",
        "lru_crawler sleep",
        "lru_crawler sleep 5",
        "lru_crawler sleep 1000001",
        "lru_crawler sleep x",
        "lru_crawler tocrawl 10",
        "lru_crawler tocrawl x",
        "lru_crawler tocrawl",
        "lru_crawler metadump",
        "lru_crawler metadump 300",
        "lru_crawler metadump x",
        "lru_crawler disable",
        "lru_crawler crawl 1",
        "lru_crawler disable",
        "watch foo",
        "watch fetchers foo",
        "watch all",
        "stats detail",
        "stats detail foo",
        "stats detail on",
        "stats detail dump",
        "get a:1 a:2 b",
        "delete a:1",
        "set a:1 0 0 1\r\n1",
        "get a:1 b:1",
        "set :x 0 0 1\r\n1",
        "incr a:1 1",
        "touch a:1 0",
        "stats detail dump",
        "stats reset",
        "stats detail dump",
        "stats detail off",
        "stats detail on x",
        "stats detail off",
        "stats sizes",
        "flush_all",
        "stats sizes_enable",
        "set b 0 0 1\r\n1",
        "stats sizes",
        "set c 0 0 100\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        "delete b",
        "delete a:1",
        "delete :x",
        "stats sizes",
        "stats sizes_disable",
        "stats sizes",
        "stats cachedump",
        "stats cachedump 1",
        "stats cachedump 1 -1",
        "stats cachedump 0 0",
        "stats cachedump 300 0",
        "stats cachedump x 0",
        "stats cachedump 4 0",
        "stats extstore",
        "stats proxy",
        "stats malloc",
        "stats topkeys",
        "stats dump",
        "refresh_certs",
        "extstore",
        "extstore foo",
        "debugtime p",
        "debugitem",
        "misbehave",
        "shutdown",
        "shutdown graceful",
        "shutdown foo",
        "verbosity 1 2 3",
        "verbosity",
        "verbosity 0",
        "cache_memlimit",
        "cache_memlimit 1",
        "cache_memlimit x",
        "cache_memlimit 10000000000",
        "cache_memlimit 64",
        "cache_memlimit 64 noreply",
        "version",
        "mn",
    ] {
        let conversation = format!("{line}\r\nquit\r\n");
        let [ours, theirs] = once_settled(|| pair.talk(conversation.as_bytes()));
        if line == "version" {
            continue;
        }
        // Prefixes come in an order of each server's own.
        let sorted = |answers: &[u8]| {
            let mut lines: Vec<_> = answers.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
            lines.sort();
            lines
        };
        if sorted(&ours) != sorted(&theirs) {
            differing.push((line, shown(&ours), shown(&theirs)));
        }
    }
    assert!(
        differing.is_empty(),
        "command, ours, theirs: {differing:#?}"
    );
}

/// What both answer once memcached's crawler, a thread that starts and ends in its own time, has done what it was told:
/// until then "crawl" is answered with `BUSY`, and after "disable" with an unknown error.
fn once_settled(mut ask: impl FnMut() -> [Vec<u8>; 2]) -> [Vec<u8>; 2] {
    let since = Instant::now();
    loop {
        let answers = ask();
        let moving =
            answers[1].starts_with(b"BUSY") || answers[1].starts_with(b"ERROR an unknown error");
        if !moving || since.elapsed() > DEADLINE {
            return answers;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The lines that memcached-tool, the munin plugins and collectd read, and their order within a class.
#[test]
fn statistics_have_the_names_that_memcacheds_have() {
    let Some(pair) = Pair::start("stat-names") else {
        return;
    };
    let conversation = "set a 0 0 1\r\n1\r\nget a b\r\nset c 0 0 2000 noreply\r\n".to_owned()
        + &"x".repeat(2000)
        + "\r\n";
    for what in ["", " settings", " items", " slabs", " conns"] {
        let answers = pair.talk(format!("{conversation}stats{what}\r\nquit\r\n").as_bytes());
        let [ours, theirs] = answers.map(|answers| {
            let text = String::from_utf8(answers).unwrap();
            let names = text.lines().filter_map(|line| line.strip_prefix("STAT "));
            let names = names.filter_map(|line| Some(line.split_once(' ')?.0.to_owned()));
            names.collect::<Vec<String>>()
        });
        // A connection's number is each server's own, and what is of memcached's library or options that are not here.
        let foreign = |name: &str| {
            what == " conns"
                || name.starts_with("ext_")
                || name.starts_with("ssl_")
                || [
                    "libevent",
                    "response_obj_count",
                    "response_obj_bytes",
                    "read_buf_bytes_free",
                    "reserved_fds",
                    "unexpected_napi_ids",
                    "round_robin_fallback",
                    "num_napi_ids",
                    "slab_automove_freeratio",
                ]
                .contains(&name)
        };
        let missing: Vec<_> = theirs
            .iter()
            .filter(|name| !foreign(name) && !ours.contains(name))
            .collect();
        assert!(missing.is_empty(), "stats{what} lacks {missing:?}");
        if what == " conns" {
            let kinds = |names: &[String]| {
                let kinds = names
                    .iter()
                    .filter_map(|name| Some(name.split_once(':')?.1.to_owned()));
                kinds.collect::<std::collections::BTreeSet<_>>()
            };
            assert!(!kinds(&theirs).is_empty());
        }
    }
}
