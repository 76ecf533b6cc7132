//! What an operator sees of a running cluster and does to it, from the command line.

mod common;

use std::process::Output;

use common::{Dir, Running, get, stderr, stdout, tandem, wait_until};
use serde_json::Value;

const SIX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/six.toml");

/// A rehearsal of two application servers behind an edge, and the command line beside it.
struct Cluster {
    running: Running,
    etc: Dir,
    admin: String,
}

impl Cluster {
    fn start() -> Self {
        let running = Running::start(&["rehearse", SIX]);
        running.wait_until_well();
        let state = running.state();
        let socket = format!(
            "unix:{}/state/edge/admin.sock",
            state["dir"].as_str().expect("a directory")
        );
        Self {
            running,
            etc: Dir::new(),
            admin: socket,
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        tandem()
            .args(args)
            .env("TANDEM_ETC", self.etc.path())
            .env("TANDEM_ADMIN", &self.admin)
            .output()
            .expect("the binary runs")
    }

    /// What a command that must succeed says.
    fn said(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(done.status.success(), "{args:?}: {}", stderr(&done));
        stdout(&done)
    }

    fn served_by(&self) -> String {
        let page = get(self.running.address(), "/test/session");
        assert_eq!(page.status, 200);
        page.json()["served_by"]
            .as_str()
            .expect("a name")
            .to_owned()
    }
}

#[test]
fn a_server_that_is_drained_gets_nothing_until_it_is_ready() {
    let cluster = Cluster::start();
    let list = cluster.said(&["server", "list", "shop"]);
    assert!(
        list.contains("shop/app1") && list.contains("shop/app2"),
        "{list}"
    );
    let drained = cluster.said(&["server", "drain", "shop/app1"]);
    assert!(
        drained.contains("edge: server shop/app1: state drain"),
        "{drained}"
    );
    for _ in 0..6 {
        assert_eq!(cluster.served_by(), "app2");
    }
    assert!(cluster.said(&["server", "list"]).contains("draining"));
    cluster.said(&["server", "ready", "shop/app1"]);
    wait_until("it serves again", || cluster.served_by() == "app1");

    cluster.said(&["server", "weight", "shop/app2", "0"]);
    for _ in 0..4 {
        assert_eq!(cluster.served_by(), "app1");
    }
    cluster.said(&["server", "weight", "shop/app2", "1"]);

    let wrong = cluster.run(&["server", "drain", "shop/app3"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("shop/app1"), "{}", stderr(&wrong));
    assert_eq!(
        cluster.run(&["server", "drain", "shop"]).status.code(),
        Some(2)
    );
    for weight in ["many", "300"] {
        // The edge has it and says what is wrong; that others do not have it is not said.
        let wrong = cluster.run(&["server", "weight", "shop/app1", weight]);
        assert_eq!(wrong.status.code(), Some(2));
        let why = format!("not at edge: `{weight}` is no weight");
        assert!(stderr(&wrong).contains(&why), "{}", stderr(&wrong));
        assert!(!stderr(&wrong).contains("there is no server"));
    }
    for words in [
        &["log-level", "loud"][..],
        &["events", "--level", "loud"],
        &["sessions", "find", "x", "--most", "0"],
        &["sessions", "find", "x", "--most", "10001"],
    ] {
        let wrong = cluster.run(words);
        assert_eq!(wrong.status.code(), Some(2), "{words:?}");
    }
    cluster.said(&["sessions", "find", "x", "--most", "10000"]);

    // Every change is on record, with who made it.
    let audit = cluster.said(&["events", "--subject", "audit", "-n", "100"]);
    for line in [
        "shop/app1: state drain",
        "shop/app1: state ready",
        "shop/app2: weight 0",
    ] {
        assert!(audit.contains(line), "no {line} in\n{audit}");
    }

    // What all nodes say, in one answer.
    let events = cluster.said(&["events", "-n", "1000", "--json"]);
    for node in ["edge", "files", "app1", "app2", "cache1", "cache2"] {
        assert!(
            events.lines().any(|line| {
                serde_json::from_str::<Value>(line).is_ok_and(|event| event["node"] == node)
            }),
            "nothing of {node} in\n{events}"
        );
    }

    let shown = cluster.said(&["config", "show"]);
    assert!(
        shown.contains("[app.shop]") && !shown.contains("key ="),
        "{shown}"
    );
    assert!(
        cluster
            .said(&["config", "diff"])
            .contains("cache2: as the file says")
    );
    assert!(cluster.said(&["log-level", "error"]).contains("error"));
    // Written in batches, about once a second.
    wait_until("the access log has the requests", || {
        !cluster
            .said(&["logs", "--access", "--node", "edge"])
            .is_empty()
    });
}

#[test]
fn an_address_without_a_node_is_one_clear_sentence() {
    let etc = Dir::new();
    let asked = tandem()
        .args(["server", "list", "--admin", "127.0.0.1:1"])
        .env("TANDEM_ETC", etc.path())
        .output()
        .expect("the binary runs");
    assert_eq!(asked.status.code(), Some(1));
    assert!(stderr(&asked).contains("no answer from the node at 127.0.0.1:1"));
}
