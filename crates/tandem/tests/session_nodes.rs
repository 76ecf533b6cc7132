//! What is told of session nodes that come and go by the file, as an operator sees it.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use common::loopback::{Loopback, Runs};
use common::wait_until;

const KEY: &str = "0123456789abcdef0123";
const NODES: [(&str, u8); 5] = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("app", 5)];

/// Session nodes on this machine, and a node with an agent.
struct Tier {
    cluster: Loopback,
    runs: BTreeMap<String, Runs>,
}

impl Tier {
    /// Three of them, with a leader.
    fn start() -> Self {
        let mut tier = Self {
            cluster: Loopback::new(),
            runs: BTreeMap::new(),
        };
        tier.write(&["a", "b", "c"]);
        for node in ["a", "b", "c", "app"] {
            tier.run(node);
        }
        tier.leader(&["a", "b", "c"]);
        tier
    }

    /// Names others in the file.
    fn write(&self, voters: &[&str]) {
        let [first, second, third] = voters else {
            panic!("three of them");
        };
        let tables = format!(
            "[sessions]\non = [\"{first}\", \"{second}\"]\nthird = \"{third}\"\nagents = \"app\"\n\
             agent = \"{}:{}\"\nmemory = \"16 MiB\"\n",
            self.cluster.host(5),
            self.cluster.port
        );
        self.cluster.write(KEY, &NODES, &tables);
    }

    fn run(&mut self, node: &str) {
        // It may not run twice, not even for a moment.
        self.runs.remove(node);
        let runs = self.cluster.start(node);
        self.runs.insert(node.into(), runs);
    }

    fn reload(&self) {
        for node in self.runs.keys() {
            let (code, said) = self.cluster.reload(node);
            assert_eq!(code, 0, "{node}: {said}");
        }
    }

    /// Who leads, when all three vote.
    fn leader<'n>(&self, among: &[&'n str]) -> &'n str {
        let mut leads = None;
        wait_until("all are voters, and one leads", || {
            leads = self.cluster.leader(among);
            leads.is_some_and(|leads| {
                let told = self.cluster.get(leads, "sessions");
                let voters = told["voters"].as_array().expect("a list");
                let well = |name: &&str| {
                    let mut voters = voters.iter();
                    voters.any(|voter| voter["node"] == **name && voter["health"] == "up")
                };
                voters.len() == among.len() && among.iter().all(well)
            })
        });
        leads.expect("one leads")
    }
}

#[test]
fn a_session_node_that_was_let_go_of_says_so_and_raises_no_alarm() {
    for leader_goes in [true, false] {
        let mut tier = Tier::start();
        let leads = tier.leader(&["a", "b", "c"]);
        let is_to_go = |node: &&&str| (**node == leads) == leader_goes;
        let goes = *["a", "b", "c"].iter().find(is_to_go).expect("one goes");
        let mut left = vec!["a", "b", "c", "d"];
        left.retain(|node| *node != goes);
        tier.write(&left);
        tier.run("d");
        tier.reload();
        tier.leader(&left);
        wait_until("it knows that it was let go of", || {
            let log = tier.cluster.log(goes);
            log.contains("this replica was let go of: the file no longer names this node")
        });
        let log = tier.cluster.log(goes);
        assert!(!log.contains(" error "), "{log}");
        let known = tier.cluster.metric(goes, "tandem_sessions_leader_known");
        assert_eq!(known, None, "it is no part of the tier");
        assert_eq!(tier.cluster.get(goes, "nodes")[0]["state"], "up");
        let (_, said) = tier.cluster.asked("app", &["sessions"]);
        let row = format!("{goes} ");
        assert!(!said.lines().any(|line| line.starts_with(&row)), "{said}");

        // Named again, it is one of them.
        tier.write(&["a", "b", "c"]);
        tier.reload();
        tier.leader(&["a", "b", "c"]);
        let known = tier.cluster.metric(goes, "tandem_sessions_leader_known");
        assert_eq!(known, Some(1.0));
    }
}

#[test]
fn a_change_that_waits_for_a_file_or_a_node_is_told_and_agents_keep_to_the_leader_that_the_file_no_longer_names()
 {
    let mut tier = Tier::start();
    let leads = tier.leader(&["a", "b", "c"]);
    let mut wanted = vec!["a", "b", "c", "d"];
    wanted.retain(|node| *node != leads);
    tier.write(&wanted);
    let different = "the nodes run by different files: a, b, c by one, app by another";
    assert_eq!(tier.cluster.reload("app").0, 0);
    let (_, said) = tier.cluster.asked("app", &["sessions"]);
    assert!(said.contains(different), "{said}");
    tier.reload();
    let waits =
        "the change of session nodes in the file waits for d (connection refused); until then ";
    wait_until("it is an event", || tier.cluster.log(leads).contains(waits));
    let (_, said) = tier.cluster.asked("app", &["sessions"]);
    assert!(
        said.contains(&format!("\n{waits}{leads} votes on\n")),
        "{said}"
    );
    assert!(!said.contains("different files"), "{said}");

    let agent = || tier.cluster.get("app", "sessions")["agent"].clone();
    let address = format!("{}:{}", tier.cluster.host(5), tier.cluster.port);
    let mut client = BufReader::new(TcpStream::connect(address).expect("the agent listens"));
    let mut set = || {
        let sent = client.get_mut().write_all(b"set key 0 0 5\r\nvalue\r\n");
        sent.expect("sent");
        let mut line = String::new();
        client.read_line(&mut line).expect("answered");
        assert_eq!(line, "STORED\r\n");
    };
    // It learns who leads.
    set();
    let before = agent();
    for _ in 0..100 {
        set();
    }
    let after = agent();
    let more = |what: &str| {
        after[what].as_u64().expect("a number") - before[what].as_u64().expect("a number")
    };
    assert_eq!((more("operations"), more("retries")), (100, 0));

    tier.run("d");
    tier.leader(&wanted);
    set();
    let (_, said) = tier.cluster.asked("app", &["sessions"]);
    assert!(!said.contains("waits for"), "{said}");
    let told = tier
        .cluster
        .log(leads)
        .matches("in the file waits for d")
        .count();
    assert_eq!(told, 1, "{}", tier.cluster.log(leads));
}

#[test]
fn a_session_node_that_hears_nobody_says_why_and_takes_nothing_on_its_disk_for_the_present() {
    let mut tier = Tier::start();
    let leads = tier.leader(&["a", "b", "c"]);
    let alone = *["a", "b", "c"]
        .iter()
        .find(|node| **node != leads)
        .expect("one");
    // Its machine has another key.
    let file = tier.cluster.dir.path().join("cluster.toml");
    let text = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, text.replace(KEY, "another-key-of-a-cluster")).expect("written");
    tier.run(alone);
    wait_until("it says that it hears nobody", || {
        tier.cluster
            .log(alone)
            .contains("nobody leads, as far as is seen from here")
    });
    let log = tier.cluster.log(alone);
    assert!(log.contains("holds another cluster key than"), "{log}");
    assert!(!log.contains(" leads (term "), "{log}");
    let told = tier.cluster.get(alone, "sessions");
    assert_eq!(told["leader"], serde_json::Value::Null);
    for voter in told["voters"].as_array().expect("a list") {
        assert_eq!(voter["health"] == "up", voter["node"] == alone, "{voter}");
    }
}

#[test]
fn who_must_be_restarted_before_a_change_of_session_nodes_goes_on_is_said() {
    let mut tier = Tier::start();
    // It runs, and has an agent alone.
    tier.write(&["a", "b", "app"]);
    tier.reload();
    wait_until("it is said what the change waits for", || {
        let leads = tier.cluster.leader(&["a", "b", "c"]).unwrap_or("a");
        let (_, said) = tier.cluster.asked(leads, &["sessions"]);
        said.contains("waits for app") && said.contains("and a restart of it is needed")
    });
    tier.run("app");
    tier.leader(&["a", "b", "app"]);
}

/// Asks the agent of `app`: its answer's first line.
fn agent(cluster: &Loopback, request: &str) -> String {
    let stream = TcpStream::connect((cluster.host(5), cluster.port)).expect("the agent listens");
    (&stream).write_all(request.as_bytes()).expect("it reads");
    let mut line = String::new();
    BufReader::new(&stream)
        .read_line(&mut line)
        .expect("it answers");
    line
}

/// Stores some sessions.
fn store(cluster: &Loopback) {
    for i in 0..20 {
        let told = agent(cluster, &format!("set kept{i} 0 0 1\r\n{}\r\n", i % 10));
        assert_eq!(told, "STORED\r\n");
    }
}

/// They are all there.
fn are_kept(cluster: &Loopback) {
    for i in 0..20 {
        let told = agent(cluster, &format!("mg kept{i} v\r\n"));
        assert_eq!(told, "VA 1\r\n", "kept{i}");
    }
}

/// Writes a file of these nodes, three of which hold the sessions.
fn write(cluster: &Loopback, nodes: &[(&str, u8)], [first, second, third]: [&str; 3]) {
    let (host, port) = (cluster.host(5), cluster.port);
    let tables = format!(
        "[sessions]\non = [\"{first}\", \"{second}\"]\nthird = \"{third}\"\nagents = \"app\"\nagent = \"{host}:{port}\"\n\
         memory = \"16 MiB\"\n"
    );
    cluster.write(KEY, nodes, &tables);
}

#[test]
fn session_nodes_that_are_all_others_form_no_tier_beside_the_one_that_has_not_heard_of_it() {
    let mut tier = Tier::start();
    store(&tier.cluster);
    let mut nodes = NODES.to_vec();
    nodes.extend([("e", 6), ("f", 7)]);
    // At first in a file that has the old ones no more: the agent of another node knows of them.
    write(&tier.cluster, &nodes[3..], ["d", "e", "f"]);
    for node in ["d", "e", "f"] {
        tier.run(node);
    }
    let waits = |why: &str| tier.cluster.log("d").contains(why);
    wait_until("it waits for the tier that an agent reaches", || {
        waits("(the agent of app reaches it), and does not know yet that the file names others")
    });
    write(&tier.cluster, &nodes, ["d", "e", "f"]);
    let new = ["d", "e", "f"].map(|node| tier.cluster.reload(node).0);
    assert_eq!(new, [0; 3]);
    wait_until("it waits for the old ones", || {
        waits("which holds what is stored, and does not know yet that the file names others")
    });
    assert!(!waits("formed the cluster"), "{}", tier.cluster.log("d"));
    tier.reload();
    tier.leader(&["d", "e", "f"]);
    are_kept(&tier.cluster);
}

#[test]
fn an_agent_whose_file_names_nobody_any_more_who_votes_goes_to_those_that_serve() {
    let mut tier = Tier::start();
    store(&tier.cluster);
    let mut nodes = NODES.to_vec();
    nodes.extend([("e", 6), ("f", 7)]);
    write(&tier.cluster, &nodes, ["d", "e", "f"]);
    for node in ["d", "e", "f"] {
        tier.run(node);
    }
    // The application's machine comes last.
    for node in ["a", "b", "c"] {
        let (code, said) = tier.cluster.reload(node);
        assert_eq!(code, 0, "{node}: {said}");
    }
    tier.leader(&["d", "e", "f"]);
    for node in ["a", "b", "c"] {
        wait_until("it is let go of", || {
            tier.cluster
                .log(node)
                .contains("this replica was let go of")
        });
    }
    are_kept(&tier.cluster);
    // Whom it follows by now does not lead for ever.
    let leads = tier.leader(&["d", "e", "f"]).to_owned();
    tier.runs.remove(&leads);
    are_kept(&tier.cluster);
}

#[test]
fn a_restart_of_all_amid_an_exchange_of_all_session_nodes_loses_nothing() {
    let mut tier = Tier::start();
    store(&tier.cluster);
    tier.runs.clear();
    let mut nodes = NODES.to_vec();
    nodes.extend([("e", 6), ("f", 7)]);
    write(&tier.cluster, &nodes, ["d", "e", "f"]);
    // The blank ones come first, and the others a moment later.
    for node in ["d", "e", "f", "app", "a", "b", "c"] {
        tier.run(node);
    }
    tier.leader(&["d", "e", "f"]);
    are_kept(&tier.cluster);
    let let_go = "this replica was let go of: the file no longer names this node";
    wait_until("they know", || {
        let mut old = ["a", "b", "c"].iter();
        old.all(|node| tier.cluster.log(node).contains(let_go))
    });

    // What they have is old from here on: started once more they have no part in it.
    assert_eq!(agent(&tier.cluster, "delete kept0\r\n"), "DELETED\r\n");
    tier.runs.clear();
    for node in ["a", "b", "c", "d", "e", "f", "app"] {
        tier.run(node);
    }
    tier.leader(&["d", "e", "f"]);
    assert_eq!(agent(&tier.cluster, "mg kept0 v\r\n"), "EN\r\n");
    assert_eq!(agent(&tier.cluster, "mg kept1 v\r\n"), "VA 1\r\n");
    for node in ["a", "b", "c"] {
        let log = tier.cluster.log(node);
        assert!(!log.contains("sessions:"), "{log}");
    }
}

#[test]
fn session_nodes_that_are_all_called_otherwise_do_not_begin_with_nothing_beside_what_they_had() {
    let mut tier = Tier::start();
    store(&tier.cluster);
    tier.runs.clear();
    let new = [("x", 1), ("y", 2), ("z", 3), ("app", 5)];
    write(&tier.cluster, &new, ["x", "y", "z"]);
    for (node, _) in new {
        tier.run(node);
    }
    wait_until("it says what to do", || {
        let log = tier.cluster.log("x");
        log.contains("it holds sessions of a node that the file does not name")
    });
    let state = |node: &str| tier.cluster.dir.path().join("state").join(node);
    for node in ["x", "y", "z"] {
        tier.runs.remove(node);
        std::fs::remove_dir_all(state(node)).expect("it was there");
    }
    // All of them are on one machine here: each sees what the others left.
    std::fs::rename(state("b"), state("y")).expect("it was there");
    std::fs::write(state("y").join("sessions/go-on-alone"), "").expect("an order");
    for node in ["a", "c"] {
        std::fs::remove_dir_all(state(node)).expect("it was there");
    }
    for node in ["x", "y", "z"] {
        tier.run(node);
    }
    tier.leader(&["x", "y", "z"]);
    are_kept(&tier.cluster);
}

#[test]
fn what_lies_beside_session_nodes_holds_them_up_until_it_is_removed_and_a_name_that_was_a_mistake_never_does()
 {
    let mut tier = Tier::start();
    store(&tier.cluster);
    tier.runs.clear();
    // It waits for others that there are not, and never was part of a tier.
    let mistaken = [("d", 4), ("e", 6), ("f", 7), ("app", 5)];
    write(&tier.cluster, &mistaken, ["d", "e", "f"]);
    tier.run("d");
    tier.runs.clear();
    let new = [("x", 1), ("y", 2), ("z", 3), ("app", 5)];
    write(&tier.cluster, &new, ["x", "y", "z"]);
    for (node, _) in new {
        tier.run(node);
    }
    wait_until("it says what to do", || {
        let log = tier.cluster.log("x");
        log.contains("it holds sessions of a node that the file does not name")
    });
    for node in ["a", "b", "c"] {
        let state = tier.cluster.dir.path().join("state").join(node);
        std::fs::remove_dir_all(state).expect("it was there");
    }
    // They have the addresses of those: that says nothing of what these held on disks that are elsewhere, perhaps.
    wait_until("it says what an agent remembers", || {
        let log = tier.cluster.log("x");
        log.contains("waits for a (")
            && log.contains("the agent of app was served last by the tier")
    });
    let order = tier.cluster.dir.path().join("state/x/sessions/begin-anew");
    std::fs::write(order, "").expect("an order");
    tier.leader(&["x", "y", "z"]);
    store(&tier.cluster);
}

#[test]
fn an_order_to_begin_anew_waits_for_a_node_that_runs_and_holds_what_is_stored_though_the_file_names_it_no_more()
 {
    let mut tier = Tier::start();
    store(&tier.cluster);
    for node in ["app", "b", "c"] {
        tier.runs.remove(node);
    }
    let mut nodes = NODES.to_vec();
    nodes.extend([("e", 6), ("f", 7)]);
    write(&tier.cluster, &nodes[3..], ["d", "e", "f"]);
    for node in ["app", "d", "e", "f"] {
        tier.run(node);
    }
    let says = |tier: &Tier, what: &str| tier.cluster.log("d").contains(what);
    // All of them are on one machine here, and see that it runs there.
    wait_until("it waits", || {
        says(
            &tier,
            "a node that runs there and that the file does not name",
        )
    });
    let order = tier.cluster.dir.path().join("state/d/sessions/begin-anew");
    std::fs::write(&order, "").expect("an order");
    wait_until("it says why not", || {
        says(
            &tier,
            "begin-anew was not carried out, and is removed: a answers that it holds what is stored",
        )
    });
    // What stayed would be carried out as soon as that node is started anew.
    assert!(!order.exists());
    tier.runs.remove("a");
    wait_until("it waits for what that one held", || {
        says(
            &tier,
            "it holds sessions of a node that the file does not name",
        )
    });
    assert!(!says(&tier, "formed the cluster"));
    std::fs::write(&order, "").expect("an order");
    tier.leader(&["d", "e", "f"]);
    wait_until("it is carried out", || !order.exists());
}

#[test]
fn whom_a_tier_did_not_hear_of_when_it_was_formed_is_a_warning_where_there_was_one_before() {
    let mut tier = Tier::start();
    store(&tier.cluster);
    let unheard = "formed without having heard of d: ";
    let log = tier.cluster.log("a");
    let formed = log.lines().find(|line| line.contains(unheard));
    // A first start.
    assert!(
        formed.is_some_and(|line| !line.contains("warning")),
        "{log}"
    );
    tier.runs.clear();
    for node in ["a", "b", "c"] {
        let sessions = format!("state/{node}/sessions");
        std::fs::remove_dir_all(tier.cluster.dir.path().join(sessions)).expect("it was there");
    }
    for node in ["app", "a", "b", "c"] {
        tier.run(node);
    }
    wait_until("it is a warning", || {
        let log = tier.cluster.log("a");
        log.lines()
            .any(|line| line.contains("warning sessions: formed") && line.contains(unheard))
    });
}

#[test]
fn a_first_start_is_no_alarm_at_nodes_that_hold_no_sessions() {
    let mut tier = Tier {
        cluster: Loopback::new(),
        runs: BTreeMap::new(),
    };
    tier.write(&["a", "b", "c"]);
    // One with an agent, and one that has no part at all.
    for node in ["app", "d", "a", "b", "c"] {
        tier.run(node);
    }
    tier.leader(&["a", "b", "c"]);
    for node in ["app", "d", "a", "b", "c"] {
        let log = tier.cluster.log(node);
        assert!(!log.contains("refused a connection"), "{node}: {log}");
    }
}

#[test]
fn session_nodes_that_are_all_others_wait_for_old_ones_that_do_not_run_until_an_operator_gives_them_up_for_good()
 {
    let mut tier = Tier::start();
    store(&tier.cluster);
    let state = tier.cluster.dir.path().join("state");
    assert!(state.join("app/tier").exists(), "before the first answer");
    tier.runs.clear();
    let mut nodes = NODES.to_vec();
    nodes.extend([("e", 6), ("f", 7)]);
    write(&tier.cluster, &nodes, ["d", "e", "f"]);
    for node in ["app", "d", "e", "f"] {
        tier.run(node);
    }
    let says = |tier: &Tier, node: &str, what: &str| tier.cluster.log(node).contains(what);
    // Later than for whom nobody knows anything of is waited.
    wait_until("it is a warning", || {
        says(&tier, "d", "until then no tier is formed, and operations")
    });
    let log = tier.cluster.log("d");
    let known = "the agent of app was served last by the tier ";
    assert!(log.contains(known) && log.contains(" of a, b, c"), "{log}");
    assert!(!log.contains("formed the cluster"), "{log}");
    let warned = "warning sessions: blank here: waits for a (connection refused)";
    assert!(log.contains(warned), "{log}");

    let order = state.join("d/sessions/begin-anew");
    let how = format!("make an empty file {} on d", order.display());
    assert!(log.contains(&how), "{log}");
    std::fs::write(&order, "").expect("an order");
    tier.leader(&["d", "e", "f"]);
    assert_eq!(agent(&tier.cluster, "mg kept0 v\r\n"), "EN\r\n");
    store(&tier.cluster);
    wait_until("the agent says that another tier serves", || {
        let log = tier.cluster.log("app");
        log.contains("of d, e, f serves, and before it was ")
    });
    wait_until("it is carried out", || !order.exists());

    // What was given up is named again, with what it held.
    tier.runs.clear();
    write(&tier.cluster, &nodes, ["a", "b", "c"]);
    for node in ["app", "a", "b", "c"] {
        tier.run(node);
    }
    wait_until("it is refused", || {
        says(&tier, "app", "which was given up here")
    });
    let refused = agent(&tier.cluster, "mg kept0 v\r\n");
    assert!(refused.starts_with("SERVER_ERROR"), "{refused}");
    // By an operator's word.
    tier.runs.remove("app");
    std::fs::remove_file(state.join("app/tier")).expect("the agent's record");
    tier.run("app");
    tier.leader(&["a", "b", "c"]);
    are_kept(&tier.cluster);
}

/// A directory with all that is in another.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for file in std::fs::read_dir(from).expect("it is there") {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("it has a name");
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if path.is_file() {
            std::fs::copy(&path, to.join(name)).expect("copied");
        }
    }
}

#[test]
fn a_copy_of_a_node_that_runs_beside_it_is_refused_and_told_as_an_error_and_restarts_are_not() {
    let mut tier = Tier::start();
    store(&tier.cluster);
    for node in ["a", "b", "c", "app", "a"] {
        tier.run(node);
        tier.leader(&["a", "b", "c"]);
    }
    for node in ["a", "b", "c", "app"] {
        let log = tier.cluster.log(node);
        assert!(!log.contains("runs twice"), "{node}: {log}");
    }
    // Its machine is cloned, and the clone has another address.
    tier.runs.remove("a");
    let dir = tier.cluster.dir.path();
    let clone = dir.join("clone");
    copy(&dir.join("state/a"), &clone.join("state/a"));
    let text = std::fs::read_to_string(tier.cluster.file()).expect("the file");
    let [own, other] = [1, 9].map(|i| format!("a = \"{}\"", tier.cluster.host(i)));
    assert!(text.contains(&own), "{text}");
    std::fs::write(clone.join("cluster.toml"), text.replace(&own, &other)).expect("written");
    tier.run("a");
    tier.leader(&["a", "b", "c"]);
    let log = clone.join("log");
    let copied = common::tandem()
        .arg("run")
        .arg(clone.join("cluster.toml"))
        .args(["--node", "a"])
        .stdin(std::process::Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a log"))
        .spawn();
    let _copied = Runs(copied.expect("the binary starts"));
    wait_until("a peer tells it as an error", || {
        let what = format!(
            " error   nodes/a: node a runs twice: at {}, and at ",
            tier.cluster.host(1)
        );
        ["b", "c"]
            .iter()
            .any(|node| tier.cluster.log(node).contains(&what))
    });
    wait_until("the copy is told", || {
        let log = std::fs::read_to_string(&log).expect("its log");
        log.contains("node a runs twice: node ")
    });
    tier.leader(&["a", "b", "c"]);
    store(&tier.cluster);
    are_kept(&tier.cluster);
}

#[test]
fn two_clusters_that_share_a_state_directory_are_told_to_have_one_each() {
    let mut tier = Tier::start();
    let shared = tier.cluster.dir.path().join("state/a");
    let others = [("x", 11), ("y", 12), ("z", 13)];
    let tables = "[sessions]\non = [\"x\", \"y\"]\nthird = \"z\"\nagents = []\n";
    tier.cluster
        .write("another-key-of-a-cluster", &others, tables);
    for (node, _) in others {
        tier.run(node);
    }
    let what = format!("what becomes of {} on ", shared.display());
    let remedy = ": a node that runs there and that the file does not name has its sessions in it. If that is a node of another \
                  cluster, give this one another `state` in [cluster]";
    wait_until("it is said what to do", || {
        let log = tier.cluster.log("x");
        log.contains(&what) && log.contains(remedy)
    });
    tier.leader(&["a", "b", "c"]);
}
