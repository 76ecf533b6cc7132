//! What an operator sees of sessions, and does to them, from the command line.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Output;

use common::{PATIENCE, Running, stderr, stdout, tandem, wait_until};
use serde_json::Value;

const SIX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/six.toml");

struct Cluster(Running);

impl Cluster {
    fn start() -> Self {
        let running = Running::start(&["rehearse", SIX]);
        running.wait_until_well();
        Self(running)
    }

    /// `tandem sessions ...`, asked of this node.
    fn run(&self, node: &str, words: &[&str]) -> Output {
        let state = self.0.state();
        let dir = state["dir"].as_str().expect("a directory");
        tandem()
            .arg("sessions")
            .args(words)
            .env(
                "TANDEM_ADMIN",
                format!("unix:{dir}/state/{node}/admin.sock"),
            )
            .output()
            .expect("the binary runs")
    }

    /// What it says when it must succeed.
    fn said(&self, node: &str, words: &[&str]) -> String {
        let done = self.run(node, words);
        assert!(done.status.success(), "{words:?}: {}", stderr(&done));
        stdout(&done)
    }

    fn json(&self, words: &[&str]) -> Value {
        let text = self.said("edge", &[words, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    /// Asks the first application's agent, in memcached's words, for a line.
    fn agent(&self, request: &str) -> String {
        let rows = self.0.rows();
        let app = rows.iter().find(|row| row["node"] == "app1");
        let host = app.and_then(|row| row["address"].as_str()).expect("app1");
        let mut stream = TcpStream::connect(format!("{host}:11211")).expect("the agent listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut line = String::new();
        let read = BufReader::new(stream).read_line(&mut line);
        read.expect("answered");
        line
    }
}

#[test]
fn sessions_are_counted_found_shown_and_ended() {
    let cluster = Cluster::start();
    for (key, life, value) in [
        ("ann.1", 0, "cart=1"),
        ("ann.2", 3600, "cart=2"),
        ("bob.1", 0, "cart=3"),
    ] {
        let set = format!("set {key} 5 {life} {}\r\n{value}\r\n", value.len());
        assert_eq!(cluster.agent(&set), "STORED\r\n");
    }
    assert!(
        cluster
            .said("edge", &["count", "ann."])
            .starts_with("2 sessions, ")
    );
    assert_eq!(cluster.json(&["count"])["count"], 3);

    let found = cluster.json(&["find", "ann.", "--most", "1"]);
    assert_eq!(
        (&found["count"], &found["keys"][0]["key"]),
        (&2.into(), &"ann.1".into())
    );
    assert_eq!(found["keys"][0]["remaining_ms"], Value::Null);
    let next = cluster.json(&["find", "ann.", "--after", "ann.1"]);
    assert_eq!(next["keys"][0]["key"], "ann.2");
    let left = next["keys"][0]["remaining_ms"].as_u64().expect("a time");
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
    let listed = cluster.said("edge", &["find", "ann."]);
    assert!(
        listed.contains("ann.1") && listed.contains("for ever"),
        "{listed}"
    );

    let shown = cluster.json(&["show", "bob.1"]);
    assert_eq!(
        (&shown["value"], &shown["flags"]),
        (&"cart=3".into(), &5.into())
    );

    let evil = "name=\u{1b}]0;x\u{7}\u{9b}2J\nå";
    let set = format!("set eve.1 0 60 {}\r\n{evil}\r\n", evil.len());
    assert_eq!(cluster.agent(&set), "STORED\r\n");
    let shown = cluster.said("edge", &["show", "eve.1"]);
    assert!(
        shown.contains(", escaped\n\nname=\\x1B]0;x\\x07\\xC2\\x9B2J\nå\n"),
        "no visitor moves the operator's terminal: {shown:?}"
    );
    assert_eq!(cluster.json(&["show", "eve.1"])["value"], evil);
    cluster.said("edge", &["kill", "eve.1"]);

    let named = cluster.agent("set k\u{9b}31m 0 60 1\r\nx\r\n");
    assert_eq!(named, "STORED\r\n");
    let found = cluster.said("edge", &["find", "k"]);
    assert!(
        found.contains("k\\xC2\\x9B31m"),
        "nor does a key: {found:?}"
    );
    let killed = cluster.said("edge", &["kill", "k\u{9b}31m"]);
    assert!(!killed.contains('\u{9b}'), "{killed:?}");

    // The node of the files has no part in the sessions: another one is asked.
    let killed = cluster.said("files", &["kill", "bob.1"]);
    assert!(killed.contains("bob.1 is gone"), "{killed}");
    assert_eq!(cluster.agent("get bob.1\r\n"), "END\r\n");
    for node in ["edge", "files"] {
        let again = cluster.run(node, &["kill", "bob.1"]);
        assert_eq!(again.status.code(), Some(1));
        assert!(
            stderr(&again).contains("there is no session `bob.1`"),
            "{}",
            stderr(&again)
        );
    }
    assert_eq!(cluster.json(&["count"])["count"], 2);
    let wrong = cluster.run("edge", &["show", "no key"]);
    assert!(stderr(&wrong).contains("no spaces"), "{}", stderr(&wrong));
    assert_eq!(cluster.run("edge", &["find"]).status.code(), Some(2));
}

#[test]
fn the_tier_is_shown_with_its_leader_what_voters_lack_and_how_long_it_was_degraded() {
    let cluster = Cluster::start();
    assert_eq!(cluster.agent("set a 0 0 1\r\nb\r\n"), "STORED\r\n");
    let shown = cluster.said("files", &[]);
    assert!(shown.contains(" leads (term "), "{shown}");
    for name in ["edge", "cache1", "cache2", "app1", "app2"] {
        assert!(
            shown.lines().any(|line| line.starts_with(name)),
            "{name}: {shown}"
        );
    }
    let of = |nodes: &Value, node: &str| nodes[node]["body"].clone();
    let nodes = cluster.json(&[]);
    assert!(
        of(&nodes, "app1")["agent"]["operations"].as_u64() >= Some(1),
        "{nodes}"
    );

    let leads = |node: &&str| of(&nodes, node)["role"] == "leader";
    let names = ["edge", "cache1", "cache2"];
    let follower = names.iter().find(|node| !leads(node)).expect("a follower");
    let killed = cluster.0.node(&["kill", follower]);
    assert!(killed.status.success(), "{}", stderr(&killed));
    wait_until("it is known that it does not answer", || {
        let text = cluster.said("files", &["--json"]);
        let nodes: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        let leader = names.iter().map(|node| of(&nodes, node));
        let leader = leader.into_iter().find(|part| part["role"] == "leader");
        let voters = leader.map(|part| part["voters"].clone());
        let voters = voters.as_ref().and_then(Value::as_array);
        let gone = voters.and_then(|voters| voters.iter().find(|v| v["node"] == **follower));
        gone.is_some_and(|gone| gone["heard_ms"].as_u64().is_none_or(|ms| ms > 250))
    });
    assert!(!cluster.said("files", &[]).contains("full redundancy"));
    // From a node that runs for certain.
    wait_until("it is degraded", || {
        cluster.said("files", &[]).contains("degraded, for ")
    });
    let started = cluster.0.node(&["start", follower]);
    assert!(started.status.success(), "{}", stderr(&started));
    wait_until("it is whole again", || {
        cluster
            .said("files", &[])
            .contains("full redundancy; degraded for ")
    });
}
