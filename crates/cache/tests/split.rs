//! What a client says does not depend on how the network cuts it, in any protocol; and no bytes are too strange.

mod common;

use common::{context, keyspace, talk};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tandem_cache::CacheOptions;
use tandem_memcache::{Limits, Parsed, binary, text};

/// A part of a conversation in the text protocol and its meta commands, right or wrong.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just("get a b\r\n"),
        Just("set a 1 0 3\r\nabc\r\n"),
        Just("set a 1 0 3 noreply\r\nabc\r\n"),
        Just("set a 0 0 3\r\nabcd\r\n"),
        Just("set a 0 0 9999999\r\n"),
        Just("mg a v t c k O1\r\n"),
        Just("mg b N60 v\r\n"),
        Just("ms a 3 c T60\r\nxyz\r\n"),
        Just("ms a 3 bad\r\nxyz\r\n"),
        Just("ms YQ== 2 b k\r\nhi\r\n"),
        Just("md a I\r\n"),
        Just("ma n N0 J7 v\r\n"),
        Just("mn\r\n"),
        Just("me a\r\n"),
        Just("incr n 5\r\n"),
        Just("\r\n"),
    ];
    prop_oneof![
        9 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>().prop_filter("not binary", |&b| b != 0x80), 0..12),
    ]
}

/// The packet that asks for statistics; with a key, for those of one kind.
const STAT: u8 = 0x10;

/// A packet, whose lengths may be wrong.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let extras = prop_oneof![Just(0usize), Just(4), Just(8), Just(20)];
    (0u8..0x26, extras, 0usize..4, 0usize..9, 0usize..40).prop_map(
        |(opcode, extras, key, value, off)| {
            // Statistics of the process and its time are others each time.
            let key = if opcode == STAT { key.max(1) } else { key };
            let body = (extras + key + value).saturating_sub(usize::from(off == 0));
            let mut packet = vec![0x80, opcode, 0, key as u8, extras as u8, 0, 0, 0];
            packet.extend_from_slice(&(body as u32).to_be_bytes());
            packet.extend_from_slice(&[0; 12]);
            packet.resize(packet.len() + extras, 0);
            packet.extend_from_slice(&b"abcd"[..key]);
            packet.extend_from_slice(&b"123456789"[..value]);
            packet
        },
    )
}

/// Shards count their versions each, and which key is in which differs from cache to cache.
fn one_shard() -> CacheOptions {
    CacheOptions {
        shards: 1,
        ..CacheOptions::default()
    }
}

/// The same answers to a conversation in one piece and in pieces of these sizes.
fn check(conversations: impl Strategy<Value = Vec<Vec<u8>>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let sizes = proptest::collection::vec(1usize..40, 1..20);
    let result = runner.run(&(conversations, sizes), |(parts, sizes)| {
        let whole = parts.concat();
        let mut pieces = Vec::new();
        let mut rest = &whole[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        let at_once =
            runtime.block_on(async { talk(&keyspace(one_shard()), &context(), &[&whole]).await });
        let in_pieces =
            runtime.block_on(async { talk(&keyspace(one_shard()), &context(), &pieces).await });
        prop_assert_eq!(at_once, in_pieces);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn text_and_meta_commands_mean_the_same_however_they_are_cut() {
    check(proptest::collection::vec(words(), 1..20));
}

#[test]
fn packets_mean_the_same_however_they_are_cut() {
    check(proptest::collection::vec(packet(), 1..20));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_for_a_parser(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        meta in "m[gsdaen] [a-z=]{0,6}( [ -~]{0,5}){0,6}\r\n",
    ) {
        let limits = Limits { max_value: 1000 };
        for input in [&bytes[..], meta.as_bytes()] {
            match text::parse(input, 0, limits) {
                Parsed::More { need, scanned } => prop_assert!(need > input.len() && scanned <= input.len()),
                Parsed::Request { consumed, .. } => prop_assert!((1..=input.len()).contains(&consumed)),
                Parsed::Refused(refusal) => prop_assert!((1..=input.len()).contains(&refusal.consumed)),
                Parsed::Close(_) => {}
            }
        }
        let mut packet = bytes.clone();
        packet.insert(0, binary::MAGIC);
        match binary::parse(&packet, limits, true) {
            binary::Parsed::More { need } => prop_assert!(need > packet.len()),
            binary::Parsed::Request { consumed, .. } | binary::Parsed::Refused { consumed, .. } => {
                prop_assert!((1..=packet.len()).contains(&consumed));
            }
            binary::Parsed::Close(_) => {}
        }
    }
}
