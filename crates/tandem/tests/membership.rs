//! Session nodes that come, go, reboot, fill up and lose their state: real processes in network namespaces.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Dir, PATIENCE, namespaces, wait_until};
use tandem_history::torture::Nodes;

const NAMES: [&str; 4] = ["cache1", "cache2", "edge", "app1"];
const THREE: &str =
    "on = [\"cache1\", \"cache2\"]\nthird = \"edge\"\nagents = \"app1\"\nmemory = \"64 MiB\"\n";
const VOTERS: [&str; 3] = ["cache1", "cache2", "edge"];

/// Nodes, all of them whole, with this thread where their agents can be reached.
fn start(names: &[&str], sessions: &str) -> Option<(Nodes, Dir)> {
    let (nodes, dir) = namespaces::nodes(names, sessions)?;
    done(nodes.start_all());
    done(nodes.enter());
    Some((nodes, dir))
}

#[track_caller]
fn done<T>(outcome: Result<T, String>) -> T {
    outcome.unwrap_or_else(|why| panic!("{why}"))
}

/// A connection to the agent on `app1`.
struct Agent(BufReader<TcpStream>);

impl Agent {
    fn new(nodes: &Nodes) -> Self {
        let stream = TcpStream::connect(nodes.agent("app1")).expect("the agent listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, request: &str) -> String {
        let sent = self.0.get_mut().write_all(request.as_bytes());
        sent.expect("sent");
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("answered");
        line.trim_end().to_owned()
    }

    fn set(&mut self, key: &str, value: &str) -> String {
        self.ask(&format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()))
    }

    /// The value, or the line there is instead of it.
    fn get(&mut self, key: &str) -> String {
        let first = self.ask(&format!("get {key}\r\n"));
        let Some(length) = first
            .strip_prefix("VALUE ")
            .and_then(|head| head.rsplit(' ').next())
        else {
            return first;
        };
        let mut value = vec![0; length.parse::<usize>().expect("a length") + 2];
        self.0.read_exact(&mut value).expect("a value");
        assert_eq!(self.line(), "END");
        String::from_utf8_lossy(&value).trim_end().to_owned()
    }
}

/// The voters by the leader's word, when all of them are well.
fn voters(nodes: &Nodes, names: &[&str]) -> Vec<String> {
    let Some(leader) = nodes.leader(names) else {
        return Vec::new();
    };
    let told = nodes.sessions(leader);
    let voters = told["voters"].as_array().cloned().unwrap_or_default();
    let well = voters.iter().filter(|voter| voter["health"] == "up");
    let mut names: Vec<String> = well
        .filter_map(|voter| Some(voter["node"].as_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn session_nodes_are_replaced_added_and_removed_under_load_without_a_failed_operation() {
    let names = ["cache1", "cache2", "cache3", "edge", "app1"];
    let Some((nodes, _dir)) = start(&names, THREE) else {
        return;
    };
    let stop = AtomicBool::new(false);
    let counted = std::thread::scope(|threads| {
        // However this ends, the load does too.
        let _stopped = Stop(&stop);
        let load = threads.spawn(|| {
            done(nodes.enter());
            let mut agent = Agent::new(&nodes);
            assert_eq!(agent.set("count", "0"), "STORED");
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                // One client alone counts: a change that is lost, repeated or refused is seen at once.
                assert_eq!(agent.ask("incr count 1\r\n"), count.to_string());
                let key = format!("key{count}");
                assert_eq!(agent.set(&key, "there"), "STORED");
            }
            count
        });
        let changes = [
            // Replaced: a new machine is started, the others read the file again, the old one is stopped.
            (
                "on = [\"cache1\", \"cache3\"]\nthird = \"edge\"\n",
                "cache3",
                "cache2",
            ),
            // Added in place of the third.
            (
                "on = [\"cache1\", \"cache2\", \"cache3\"]\n",
                "cache2",
                "edge",
            ),
            // Removed, whoever leads.
            (
                "on = [\"cache2\", \"cache3\"]\nthird = \"edge\"\n",
                "edge",
                "cache1",
            ),
        ];
        for (on, new, old) in changes {
            done(nodes.write(&format!("{on}agents = \"app1\"\nmemory = \"64 MiB\"\n")));
            nodes.stop(new);
            wait_until("it has stopped", || nodes.pid(new).is_none());
            done(nodes.start(new));
            wait_until("it serves", || nodes.sessions(new)["role"].is_string());
            nodes.reload();
            let caches = ["cache1", "cache2", "cache3", "edge"];
            let mut wanted: Vec<String> = caches
                .iter()
                .filter(|name| **name != old)
                .map(|name| (*name).to_owned())
                .collect();
            wanted.sort();
            wait_until(on, || {
                load.is_finished() || voters(&nodes, &caches) == wanted
            });
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap_or_else(|_| {
            let logs = names.map(|node| nodes.log(node)).join("\n");
            panic!("an operation failed:\n{logs}");
        })
    });
    let mut agent = Agent::new(&nodes);
    assert_eq!(agent.get("count"), counted.to_string());
    for i in 1..=counted {
        assert_eq!(agent.get(&format!("key{i}")), "there", "key{i}");
    }
    println!(
        "{counted} increments and {counted} sets through three changes: all there, none failed"
    );
}

#[test]
fn a_rebooted_machine_joins_as_a_new_voter_and_nothing_is_lost() {
    let Some((nodes, _dir)) = start(&NAMES, THREE) else {
        return;
    };
    let mut agent = Agent::new(&nodes);
    // One that follows, then the one that leads.
    for round in 0..2 {
        let leads = nodes.leader(&VOTERS).expect("one leads");
        let victim = if round == 0 {
            VOTERS
                .iter()
                .find(|name| **name != leads)
                .expect("one follows")
        } else {
            leads
        };
        assert_eq!(agent.set(&format!("key{round}"), "before"), "STORED");
        done(nodes.kill(victim));
        assert_eq!(agent.set(&format!("during{round}"), "meanwhile"), "STORED");
        done(nodes.reboot(victim));
        done(nodes.until_whole());
        let log = nodes.log(victim);
        assert!(log.contains("the machine was started anew"), "{log}");
        let taken_in = format!("sessions/{victim}: caught up: it votes");
        assert!(
            VOTERS
                .iter()
                .any(|node| nodes.log(node).contains(&taken_in)),
            "nobody took {victim} in as new"
        );
        for (key, value) in [("key", "before"), ("during", "meanwhile")] {
            assert_eq!(agent.get(&format!("{key}{round}")), value);
        }
    }
}

#[test]
fn with_two_of_three_voters_gone_it_refuses_and_comes_back_with_everything() {
    let Some((nodes, _dir)) = start(&NAMES, THREE) else {
        return;
    };
    let mut agent = Agent::new(&nodes);
    assert_eq!(agent.set("key", "old"), "STORED");
    for gone in [["cache1", "cache2"], ["cache2", "edge"]] {
        for node in gone {
            done(nodes.kill(node));
        }
        // Never a miss, never an old value, never a success. A leader that is left answers for as long as its lease says
        // that nobody else can lead.
        wait_until("it refuses", || {
            let answer = agent.get("key");
            let refused = answer.starts_with("SERVER_ERROR cannot be read now");
            assert!(refused || answer == "old", "{answer}");
            refused
        });
        let refused = agent.set("other", "new");
        assert!(refused.starts_with("SERVER_ERROR"), "{refused}");
        done(nodes.start(gone[0]));
        wait_until("two are enough", || agent.set("again", "x") == "STORED");
        assert_eq!(agent.get("key"), "old");
        done(nodes.start(gone[1]));
        done(nodes.until_whole());
    }
    for node in NAMES {
        done(nodes.kill(node));
    }
    done(nodes.start_all());
    assert_eq!(
        Agent::new(&nodes).get("key"),
        "old",
        "after the death of all at once"
    );
}

#[test]
fn a_full_tier_refuses_new_sessions_in_words_and_keeps_every_old_one() {
    let full = THREE.replace("64 MiB", "1 MiB");
    let Some((nodes, _dir)) = start(&NAMES, &full) else {
        return;
    };
    let mut agent = Agent::new(&nodes);
    let value = "x".repeat(10_000);
    let mut stored = 0;
    let refused = loop {
        match agent.set(&format!("key{stored}"), &value).as_str() {
            "STORED" => stored += 1,
            other => break other.to_owned(),
        }
        assert!(stored < 200, "more than it may hold");
    };
    assert_eq!(refused, "SERVER_ERROR out of memory storing object");
    assert!(stored > 90, "full with {stored} of 10,000 bytes");
    for i in 0..stored {
        assert_eq!(agent.get(&format!("key{i}")), value, "key{i}");
    }
    wait_until("the alarm", || {
        VOTERS
            .iter()
            .all(|node| nodes.log(node).contains("memory is "))
    });
    // Room that was made is used.
    assert_eq!(agent.ask("delete key0\r\n"), "DELETED");
    assert_eq!(agent.set("key0", &value), "STORED");
}

#[test]
fn the_last_voter_with_a_state_goes_on_alone_when_it_is_told_to_and_takes_the_others_in() {
    let Some((nodes, _dir)) = start(&NAMES, THREE) else {
        return;
    };
    let mut agent = Agent::new(&nodes);
    for i in 0..100 {
        assert_eq!(agent.set(&format!("key{i}"), "kept"), "STORED");
    }
    // What only the two others have is lost with them.
    wait_until("the third has all", || {
        nodes.sessions("edge")["items"] == 100
    });
    for node in ["cache1", "cache2"] {
        done(nodes.kill(node));
        done(nodes.forget(node));
        done(nodes.start(node));
    }
    // The two are blank and no majority of what was: nothing is invented.
    let refused = agent.get("key1");
    assert!(refused.starts_with("SERVER_ERROR"), "{refused}");

    nodes.stop("edge");
    wait_until("it has stopped", || nodes.pid("edge").is_none());
    let order = nodes.state("edge").join("sessions/go-on-alone");
    std::fs::write(&order, "").expect("the order is given");
    done(nodes.start("edge"));
    done(nodes.until_whole());
    assert!(!order.exists(), "it was carried out");
    for i in 0..100 {
        assert_eq!(agent.get(&format!("key{i}")), "kept", "key{i}");
    }
    // And it is a tier as before: any one may die.
    done(nodes.kill("edge"));
    assert_eq!(agent.get("key1"), "kept");
    assert_eq!(agent.set("key1", "new"), "STORED");
}
