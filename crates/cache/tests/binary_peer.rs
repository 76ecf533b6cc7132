//! The binary protocol: the same packets to memcached itself and to this crate, the same answers back, except for the
//! versions themselves.

mod common;

use common::peer::{Pair, shown};
use proptest::prelude::*;

/// A packet of the binary protocol.
#[derive(Clone, Debug, Default)]
struct Packet {
    opcode: u8,
    extras: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    cas: u64,
}

impl Packet {
    fn new(opcode: u8, key: &str, extras: &[u8], value: &str) -> Self {
        Self {
            opcode,
            extras: extras.to_vec(),
            key: key.into(),
            value: value.into(),
            cas: 0,
        }
    }

    fn cas(mut self, cas: u64) -> Self {
        self.cas = cas;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let body = self.extras.len() + self.key.len() + self.value.len();
        let mut bytes = vec![0x80, self.opcode];
        bytes.extend_from_slice(&(self.key.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[self.extras.len() as u8, 0, 0, 0]);
        bytes.extend_from_slice(&(body as u32).to_be_bytes());
        bytes.extend_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        bytes.extend_from_slice(&self.cas.to_be_bytes());
        for part in [&self.extras, &self.key, &self.value] {
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// Answers in a readable form, whose versions are only said to be there.
fn comparable(mut answers: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while answers.len() >= 24 {
        let (head, rest) = answers.split_at(24);
        let body = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let (body, rest) = rest.split_at(body.min(rest.len()));
        let cas = head[16..].iter().any(|&b| b != 0);
        all.push(format!("{:x?} cas {cas} {:?}", &head[..16], shown(body)));
        answers = rest;
    }
    if !answers.is_empty() {
        all.push(format!("rest {:?}", shown(answers)));
    }
    all
}

fn end() -> Vec<u8> {
    Packet::new(0x07, "", b"", "").bytes()
}

#[test]
fn every_packet_is_answered_as_by_memcached() {
    let Some(pair) = Pair::start("packets") else {
        return;
    };
    let store = [0, 0, 0, 5, 0, 0, 0, 0];
    let mut count = [0u8; 20];
    count[7] = 1;
    count[15] = 10;
    let mut no_create = count;
    no_create[16..].fill(0xff);
    let noop = || Packet::new(0x0a, "", b"", "");
    let long = "k".repeat(251);
    let longest = "k".repeat(250);
    let large = "v".repeat(1_100_000);
    let packets = vec![
        Packet::new(0x01, "k", &store, "v"),
        Packet::new(0x00, "k", b"", ""),
        Packet::new(0x0c, "k", b"", ""),
        Packet::new(0x00, "no", b"", ""),
        Packet::new(0x0c, "no", b"", ""),
        Packet::new(0x09, "no", b"", ""),
        Packet::new(0x09, "k", b"", ""),
        Packet::new(0x0d, "no", b"", ""),
        Packet::new(0x0d, "k", b"", ""),
        Packet::new(0x02, "k", &store, "v"),
        Packet::new(0x12, "k", &store, "v"),
        Packet::new(0x03, "no", &store, "v"),
        Packet::new(0x13, "no", &store, "v"),
        Packet::new(0x01, "k", &store, "v").cas(99_999),
        Packet::new(0x11, "k", &store, "v").cas(99_999),
        Packet::new(0x01, "no", &store, "v").cas(99_999),
        Packet::new(0x02, "no", &store, "v").cas(9),
        Packet::new(0x03, "no", &store, "v").cas(9),
        Packet::new(0x04, "k", b"", "").cas(99_999),
        Packet::new(0x04, "k", b"", ""),
        Packet::new(0x04, "k", b"", ""),
        Packet::new(0x14, "k", b"", ""),
        Packet::new(0x11, "k", &store, "v"),
        Packet::new(0x14, "k", b"", ""),
        Packet::new(0x01, "k", &store, "v"),
        Packet::new(0x05, "n", &count, ""),
        Packet::new(0x05, "n", &count, ""),
        Packet::new(0x06, "n", &count, ""),
        Packet::new(0x15, "n", &count, ""),
        Packet::new(0x16, "n", &no_create, ""),
        Packet::new(0x05, "n2", &no_create, ""),
        Packet::new(0x15, "n2", &no_create, ""),
        Packet::new(0x05, "k", &count, ""),
        Packet::new(0x05, "n", &count, "").cas(99_999),
        Packet::new(0x05, "n9", &count, "").cas(99_999),
        Packet::new(0x0e, "k", b"", "xx"),
        Packet::new(0x0e, "no", b"", "xx"),
        Packet::new(0x0f, "k", b"", "xx"),
        Packet::new(0x19, "k", b"", "xx"),
        Packet::new(0x1a, "no", b"", "xx"),
        Packet::new(0x0e, "k", b"", "xx").cas(99_999),
        Packet::new(0x1c, "k", &[0; 4], ""),
        Packet::new(0x1c, "no", &[0; 4], ""),
        Packet::new(0x1d, "k", &[0; 4], ""),
        Packet::new(0x1d, "no", &[0; 4], ""),
        Packet::new(0x23, "k", &[0; 4], ""),
        Packet::new(0x23, "no", &[0; 4], ""),
        Packet::new(0x1e, "no", &[0; 4], ""),
        Packet::new(0x24, "no", &[0; 4], ""),
        Packet::new(0x24, "k", &[0; 4], ""),
        noop(),
        Packet::new(0x0b, "", b"", ""),
        Packet::new(0x17, "", b"", ""),
        Packet::new(0x08, "", b"", ""),
        Packet::new(0x08, "", &[0; 4], ""),
        Packet::new(0x18, "", b"", ""),
        Packet::new(0x10, "foo", b"", ""),
        Packet::new(0x10, "reset", b"", ""),
        Packet::new(0x55, "", b"", ""),
        Packet::new(0x20, "", b"", ""),
        Packet::new(0x00, "", b"", ""),
        Packet::new(0x00, "k", b"1234", ""),
        Packet::new(0x01, "k", b"", "v"),
        Packet::new(0x01, "k", &store, ""),
        Packet::new(0x01, "k", &store, &large),
        Packet::new(0x11, "k", &store, &large),
        Packet::new(0x00, "k", b"", ""),
        Packet::new(0x00, &long, b"", ""),
        Packet::new(0x01, &long, &store, "v"),
        Packet::new(0x01, &longest, &store, "v"),
        Packet::new(0x01, "a b\r\n", &store, "v"),
        Packet::new(0x0c, "a b\r\n", b"", ""),
        Packet::new(0x0a, "k", b"", ""),
        Packet::new(0x0b, "k", b"", ""),
        Packet::new(0x07, "k", b"", ""),
        Packet::new(0x1c, "k", b"", ""),
        Packet::new(0x05, "n", &count, "xx"),
        Packet::new(0x04, "k", b"1234", ""),
        Packet::new(0x0e, "k", b"1234", "x"),
        Packet::new(0x10, "x", b"1234", ""),
    ];
    for packet in packets {
        let conversation = [packet.bytes(), noop().bytes(), end()].concat();
        let [answers, theirs] = pair.talk(&conversation).map(|answers| comparable(&answers));
        let Packet { opcode, key, .. } = &packet;
        assert_eq!(answers, theirs, "to {opcode:#x} {:?}", shown(key));
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    let key = prop_oneof![Just("a"), Just("b"), Just("c")];
    let cas = prop_oneof![5 => Just(0u64), 1 => Just(99_999_999)];
    let store = proptest::sample::select(vec![0x01u8, 0x02, 0x03, 0x11, 0x12, 0x13]);
    let join = proptest::sample::select(vec![0x0eu8, 0x0f, 0x19, 0x1a]);
    let get = proptest::sample::select(vec![0x00u8, 0x09, 0x0c, 0x0d]);
    let touch = proptest::sample::select(vec![0x1cu8, 0x1d, 0x23, 0x1e, 0x24]);
    let delete = proptest::sample::select(vec![0x04u8, 0x14]);
    let count = proptest::sample::select(vec![0x05u8, 0x06, 0x15, 0x16]);
    prop_oneof![
        (
            store,
            key.clone(),
            "[1-9][0-9]{0,4}",
            any::<u32>(),
            cas.clone()
        )
            .prop_map(|(op, key, value, flags, cas)| {
                let extras = [flags.to_be_bytes(), [0; 4]].concat();
                Packet::new(op, key, &extras, &value).cas(cas)
            }),
        (join, key.clone(), "[1-9]{1,3}", cas.clone())
            .prop_map(|(op, key, value, cas)| Packet::new(op, key, b"", &value).cas(cas)),
        (get, key.clone()).prop_map(|(op, key)| Packet::new(op, key, b"", "")),
        (touch, key.clone()).prop_map(|(op, key)| Packet::new(op, key, &900u32.to_be_bytes(), "")),
        (delete, key.clone(), cas.clone())
            .prop_map(|(op, key, cas)| Packet::new(op, key, b"", "").cas(cas)),
        (count, key, 0u64..20, any::<bool>(), cas).prop_map(|(op, key, delta, create, cas)| {
            // Only up: a number that gets shorter is padded with spaces, or not while memcached still sends it.
            let op = if op & 1 == 0 { op - 1 } else { op };
            let mut extras = [delta.to_be_bytes(), 7u64.to_be_bytes()].concat();
            extras.extend_from_slice(&if create { 900u32 } else { u32::MAX }.to_be_bytes());
            Packet::new(op, key, &extras, "").cas(cas)
        }),
    ]
}

#[test]
fn any_packets_are_answered_as_by_memcached() {
    let Some(pair) = Pair::start("random-packets") else {
        return;
    };
    pair.talk_at_random(
        packet(),
        60,
        |packets| {
            let mut conversation = Packet::new(0x08, "", b"", "").bytes();
            conversation.extend(packets.iter().flat_map(Packet::bytes));
            conversation.extend(end());
            conversation
        },
        |answers| {
            let [ours, theirs] = answers.map(|answers| comparable(&answers));
            let differing = ours.iter().zip(&theirs).find(|(one, other)| one != other);
            prop_assert_eq!(differing, None);
            prop_assert_eq!(ours.len(), theirs.len());
            Ok(())
        },
    );
}
