//! Meta commands: the same bytes to memcached itself and to this crate, the same answers back.
//!
//! Versions, times and idle seconds are numbers of each server's own and compared as being there. Flags that only later
//! versions of memcached know are tested by themselves.

mod common;

use common::peer::{Pair, shown};
use common::{context, keyspace, talk};
use proptest::prelude::*;
use tandem_cache::CacheOptions;

const END: &str = "\r\n\r\nquit\r\n";

/// Replaces the numbers that differ between any two servers.
fn comparable(answers: &[u8]) -> String {
    let text = String::from_utf8_lossy(answers);
    let lines = text.split("\r\n").map(|line| {
        let words = line.split(' ').map(|word| {
            let (letter, digits) = word.split_at(word.len().min(1));
            let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let long = digits.len() >= 3;
            match letter {
                "c" if number && digits != "0" => "c#".to_owned(),
                "t" if number && long => "t#".to_owned(),
                "l" if number => "l#".to_owned(),
                _ => word.to_owned(),
            }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

#[test]
fn every_meta_conversation_reads_the_same_as_with_memcached() {
    let Some(pair) = Pair::start("meta-lines") else {
        return;
    };
    let long = "k".repeat(251);
    let opaque = "O".repeat(32);
    for conversation in [
        "mg\r\n",
        "md\r\n",
        "ma\r\n",
        "me\r\n",
        "mn\r\n",
        "mn x\r\n",
        "mx foo\r\n",
        "mg a\r\n",
        "mg a v\r\n",
        "mg a v v\r\n",
        "mg a Z\r\n",
        "mg a !\r\n",
        "mg a q v\r\nmn\r\n",
        "ms a 2\r\nhi\r\n",
        "ms a S2\r\nhi\r\n",
        "ms a 2 T0 F5 c k Oxy\r\nhi\r\n",
        "ms a 2 b\r\nhi\r\nmn\r\n",
        "ms a\r\nmn\r\n",
        "ms a -1\r\nmn\r\n",
        "ms a x\r\nmn\r\n",
        "ms a 2 T\r\nhi\r\nmn\r\n",
        "ms a 2 Fx\r\nhi\r\nmn\r\n",
        "ms a 2 Cx\r\nhi\r\nmn\r\n",
        "ms a 2\r\nhix\r\nmn\r\n",
        "ms a 2 I\r\nhi\r\n",
        "ms a 2 c c\r\nhi\r\nmn\r\n",
        "mg a s v t c f h l k O1 q\r\n",
        "mg a s v t c f h l k O1 q\r\n",
        "mg a k Oq q\r\n",
        "mg nope k O1 q\r\nmn\r\n",
        "mg nope k O1\r\n",
        "md nope k O3\r\n",
        "md nope q\r\nmn\r\n",
        "mg a T\r\n",
        "mg a Tx\r\n",
        "mg a T600 t\r\n",
        "mg a O\r\n",
        "mg a P1 L2 v\r\n",
        "mg a v u\r\n",
        "mg w v N30 t c\r\nmg w v N30 t c\r\nmg w s v N30 t c R50\r\nget w\r\n",
        "ms w 1 c\r\nx\r\nmg w v t\r\n",
        "md w I T300\r\nmg w v t c\r\nmg w v t c\r\nget w\r\n",
        "ms w 2 I C1 c\r\nzz\r\n",
        "ms w 2 C1 c\r\nzz\r\n",
        "md w C999999\r\n",
        "md w q\r\nmn\r\n",
        "ma cnt\r\nma cnt N0 J13 v t c\r\nma cnt v t c\r\nma cnt MD D5 v k\r\nma cnt M- D50 v k\r\n",
        "ma cnt T300 t v q\r\nma cnt q\r\nma cnt t v\r\nma cnt Dx\r\nma cnt Mx\r\nma cnt MI\r\nma cnt M+\r\n",
        "ma cnt k O7 D18446744073709551615 v\r\nma a\r\nma cnt C99999\r\nma cnt b\r\nma cnt c c\r\n",
        "ma none q\r\nma none k O5\r\nmn\r\n",
        "ms ap 1 MA\r\nx\r\nms ap 1 MP\r\ny\r\nmg ap v t\r\nms ap 1 ME q\r\ny\r\nms ap 1 MA\r\nx\r\nms ap 1 MP\r\nw\r\nmg ap v\r\n",
        "ms ap 1 ME k\r\ny\r\nms ap 1 ME q\r\ny\r\nmn\r\nms nop 1 MR k O2\r\ny\r\nms ap 1 MR\r\nz\r\nmg ap v\r\n",
        "ms nop 1 MZ\r\ny\r\nmn\r\nms nop 1 Mset\r\ny\r\nmn\r\n",
        "ms Zm9v 2 b T600 c k\r\nhi\r\nmg Zm9v b k v\r\nmg Zm9 b k v\r\nmd Zm9v b k q\r\nmg Zm9v b k\r\n",
        "ms x 1 C5\r\nx\r\nmd x C5 q\r\nmn\r\nma x C5 N0 c\r\nma x C5000\r\nma x C60000 q\r\n",
        "ms r 1 T20\r\nx\r\nmg r v R30\r\nmg r v R30\r\nmg r v R10\r\nms r 1 T90\r\ny\r\nmg r v R30\r\n",
        "md r I T300 q\r\nmn\r\nmg r v c\r\nmg r v c\r\nms r 1 c\r\nz\r\nmg r v c\r\n",
        "md r I\r\nmg r\r\nmg r k\r\nmg r q\r\nmg r s q\r\nmn\r\n",
        "mg new N30\r\nmg new N30\r\nmg new v\r\nget new\r\nmg new2 N30 k O9\r\n",
        "ms old 1 T-1\r\nx\r\nmg old v\r\nmg old T0\r\nms app 2 MA\r\nhi\r\nms app 1 MA C1\r\nx\r\n",
        "set t 7 0 2\r\nab\r\nmg t f v s\r\nms t 3 F9\r\nabc\r\nget t\r\ndelete t\r\n",
        "me none\r\n",
        "cache_memlimit\r\n",
        "cache_memlimit 4\r\n",
        "cache_memlimit x\r\n",
        "cache_memlimit 64\r\ncache_memlimit 64 noreply\r\nversion x\r\n"
            .trim_end_matches("version x\r\n"),
        "shutdown\r\n",
        "lru_crawler\r\n",
        "lru_crawler foo\r\n",
        "slabs automove 1\r\n",
        &format!("mg {long} v\r\nms {long} 2\r\nhi\r\nmn\r\n"),
        &format!("mg a {opaque}\r\nmg a O{opaque}\r\nms a 2 O{opaque}\r\nhi\r\nmn\r\n"),
        &format!(
            "ms big 2000000\r\n{}\r\nmg big v\r\n",
            "x".repeat(2_000_000)
        ),
    ] {
        let conversation = format!("{conversation}{END}");
        let answers = pair.talk(conversation.as_bytes());
        let [ours, theirs] = answers.map(|answers| comparable(&answers));
        assert_eq!(ours, theirs, "to {:?}", shown(conversation.as_bytes()));
    }
}

fn command() -> impl Strategy<Value = String> {
    let key = prop_oneof![Just("a"), Just("b"), Just("c")];
    // Of their own: whether a counted item stays the same one depends, in memcached, on what it is still sending.
    let number = prop_oneof![Just("n"), Just("m")];
    let opaque = prop_oneof![3 => Just(""), 1 => Just(" O1"), 1 => Just(" q"), 1 => Just(" k q")];
    let get = proptest::sample::subsequence(
        vec![
            "v", "c", "f", "h", "s", "k", "u", "T500", "N600", "R100", "R900",
        ],
        0..6,
    );
    let set = proptest::sample::subsequence(vec!["c", "k", "F7", "T500", "T0", "I"], 0..4);
    let mode = prop_oneof![4 => Just(""), 1 => Just(" ME"), 1 => Just(" MA"), 1 => Just(" MP"), 1 => Just(" MR")];
    let delete = proptest::sample::subsequence(vec!["k", "I", "T500", "C99999999"], 0..3);
    let count = proptest::sample::subsequence(
        vec!["v", "c", "k", "N600", "J7", "D3", "T500", "MD", "C99999999"],
        0..6,
    );
    prop_oneof![
        4 => (key.clone(), get, opaque.clone())
            .prop_map(|(key, flags, more)| format!("mg {key} {}{more}\r\n", flags.join(" ").replace(" k", ""))),
        3 => (key.clone(), set, mode, "[0-9]{1,4}", any::<bool>()).prop_map(|(key, flags, mode, value, quiet)| {
            let quiet = if quiet { "" } else { " q" };
            format!("ms {key} {} {}{mode}{quiet}\r\n{value}\r\n", value.len(), flags.join(" "))
        }),
        1 => (key.clone(), delete).prop_map(|(key, flags)| format!("md {key} {}\r\n", flags.join(" "))),
        2 => (number, count).prop_map(|(key, flags)| format!("ma {key} {}\r\n", flags.join(" "))),
        1 => key.prop_map(|key| format!("get {key}\r\n")),
    ]
}

#[test]
fn any_meta_conversation_reads_the_same_as_with_memcached() {
    let Some(pair) = Pair::start("meta-random") else {
        return;
    };
    pair.talk_at_random(
        command(),
        50,
        |lines| format!("flush_all\r\n{}mn\r\n{END}", lines.concat()).into_bytes(),
        |answers| {
            let [ours, theirs] = answers.map(|answers| comparable(&answers));
            prop_assert_eq!(ours, theirs);
            Ok(())
        },
    );
}

/// What later versions of memcached know.
#[tokio::test]
async fn newer_flags_do_what_memcacheds_document_says() {
    let ours = keyspace(CacheOptions::default());
    let cx = context();
    for (conversation, expected) in [
        ("ms e 1 E500 c\r\nx\r\nmg e c\r\n", "HD c500\r\nHD c500\r\n"),
        ("ms e 1 C500 E400 c s\r\ny\r\n", "HD c400 s1\r\n"),
        ("mg e v C400\r\nmg e v C401\r\n", "HD\r\nVA 1\r\ny\r\n"),
        (
            "ms e 1 F9 T100\r\nz\r\nmd e x\r\nmg e f t v\r\n",
            "HD\r\nHD\r\nVA 0 f0 t100\r\n\r\n",
        ),
        ("md e I E7\r\nmg e c\r\n", "HD\r\nHD c7 X W\r\n"),
        (
            "ms n 1 MA N60\r\nx\r\nms n 1 MA N90\r\ny\r\nmg n v t\r\n",
            "HD\r\nHD\r\nVA 2 t60\r\nxy\r\n",
        ),
        (
            "mg m N60 E77 c\r\nma o N0 J3 E12 c v\r\n",
            "HD c77 W\r\nVA 1 c12\r\n3\r\n",
        ),
        (
            "ms f 1 E99999\r\nx\r\nflush_all\r\nmg f v\r\nms f 1\r\ny\r\nmg f v\r\n",
            "HD\r\nOK\r\nEN\r\nHD\r\nVA 1\r\ny\r\n",
        ),
    ] {
        let answers = talk(&ours, &cx, &[conversation.as_bytes()]).await;
        assert_eq!(shown(&answers), expected, "to {conversation:?}");
    }
}

#[tokio::test]
async fn what_is_known_of_an_item_can_be_seen() {
    // One shard, so that the first version is 1.
    let ours = keyspace(CacheOptions {
        shards: 1,
        ..CacheOptions::default()
    });
    let cx = context();
    let input: &[u8] = b"set k 5 60 3\r\nabc\r\n";
    talk(&ours, &cx, &[input]).await;
    ours.clock.advance(7_000);
    let seen = talk(
        &ours,
        &cx,
        &[b"me k\r\nmg k h l t\r\nmg k h l\r\nlru_crawler metadump all\r\n"],
    )
    .await;
    assert_eq!(
        shown(&seen),
        "ME k exp=-53 la=7 cas=1 fetch=no cls=1 size=67\r\nHD h0 l7 t53\r\nHD h1 l0\r\n\
         key=k exp=1800000053 la=1800000000 cas=1 fetch=yes cls=1 size=67\nEND\r\n"
    );
}
