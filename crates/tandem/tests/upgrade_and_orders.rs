//! Orders that meet an upgrade: each is carried out by the process that serves, or refused, and none waits for the old one.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;

use common::loopback::Loopback;
use common::machine::Machine;
use common::node::ask_admin;
use common::{Dir, PATIENCE, get, runs, send, wait_until};
use rustix::process::Signal;

/// A machine whose node runs, with a server that can be given orders.
fn started() -> Machine {
    let machine = Machine::new();
    machine.configure(
        "to = \"shop\" }]\n[backend.shop]\ncheck = false\nservers = { address = \"127.0.0.1:9\", name = \"a\" }\n#[{",
    );
    let (code, said) = machine.verb(&["start"]);
    assert_eq!(code, 0, "{said}");
    machine
}

/// A binary that becomes the real one when [`open`](Gate::open) was called.
struct Gate {
    opened: String,
    pid: String,
    binary: String,
}

impl Gate {
    fn new(machine: &Machine) -> Self {
        Self::within(&machine.dir)
    }

    fn within(dir: &Dir) -> Self {
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let (opened, pid) = (at("opened"), at("successor.pid"));
        let tandem = env!("CARGO_BIN_EXE_tandem");
        let script = format!(
            "#!/bin/sh\necho $$ > {pid}\nwhile [ ! -e {opened} ]; do sleep 0.02; done\nexec {tandem} \"$@\"\n"
        );
        let binary = dir.script("gated", &script);
        Self {
            opened,
            pid,
            binary,
        }
    }

    fn open(&self) {
        fs::write(&self.opened, "").expect("the gate opens");
    }

    /// The process that waits before it.
    fn pid(&self) -> u32 {
        let read = || fs::read_to_string(&self.pid).ok()?.trim().parse().ok();
        wait_until("it is started", || read().is_some());
        read().expect("its number")
    }
}

#[test]
fn a_second_upgrade_is_refused_at_once_and_other_orders_reach_the_new_process() {
    let machine = started();
    let (old, gate) = (machine.pid(), Gate::new(&machine));
    thread::scope(|threads| {
        let upgrade = threads.spawn(|| machine.verb(&["upgrade", "--binary", &gate.binary]));
        gate.pid();
        // Nothing opens the gate before these are answered.
        let (code, said) = machine.verb(&["upgrade"]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("another upgrade is under way"), "{said}");
        for change in [
            "node/reload",
            "node/log-level?level=debug",
            "servers/shop/a?state=drain",
            "servers/shop/a?state=drain&nodes=all",
        ] {
            let answer = ask_admin(&machine.socket(), &format!("POST /api/v1/{change}"));
            assert_eq!(answer.status, 503, "{change}");
            assert_eq!(answer.json()["again"], true, "{change}");
        }
        let orders = [
            &["reload"][..],
            &["server", "drain", "shop/a"],
            &["config", "diff"],
        ];
        let orders = orders.map(|words| threads.spawn(|| machine.verb(words)));
        assert_eq!(machine.pid(), old);
        gate.open();
        let (code, said) = upgrade.join().expect("no panic");
        assert_eq!(code, 0, "{said}");
        for order in orders {
            let (code, said) = order.join().expect("no panic");
            assert_eq!(code, 0, "{said}");
        }
    });
    assert_ne!(machine.pid(), old);
    let (_, listed) = machine.verb(&["server", "list"]);
    assert!(listed.contains("draining"), "{listed}");
    let log = machine.log();
    let (_, since) = log.split_once("this one drains").expect("it is upgraded");
    assert!(since.contains("reloaded: the file is in effect"), "{log}");
    // It has minutes for what is left of it, and nothing is.
    wait_until("the old process ends", || !runs(old));
    // And after that an upgrade is one like any other.
    let (code, said) = machine.verb(&["upgrade"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn upgrades_that_are_ordered_together_never_wait_for_what_drains() {
    let machine = started();
    for _ in 0..3 {
        let before = machine.pid();
        let done = thread::scope(|threads| {
            let upgrades = [(); 3].map(|()| threads.spawn(|| machine.verb(&["upgrade"])));
            upgrades.map(|upgrade| upgrade.join().expect("no panic"))
        });
        assert!(done.iter().any(|(code, _)| *code == 0), "{done:?}");
        for (code, said) in done {
            assert!(
                code == 0 || said.contains("another upgrade is under way"),
                "{said}"
            );
        }
        wait_until("the old process ends", || !runs(before));
        assert!(runs(machine.pid()));
        assert_eq!(get(machine.address, "/").status, 502);
    }
}

#[test]
fn an_order_that_reaches_the_old_process_is_told_at_once_who_serves() {
    let machine = started();
    let mut kept = UnixStream::connect(machine.socket()).expect("its socket");
    kept.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let old = machine.pid();
    ask(&mut kept, "GET /api/v1/node");
    let (code, said) = machine.verb(&["upgrade"]);
    assert_eq!(code, 0, "{said}");
    let answer = ask(&mut kept, "POST /api/v1/node/reload");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let serves = format!("process {} serves now", machine.pid());
    assert!(answer.contains(&serves), "{answer}");
    drop(kept);
    wait_until("the old process ends", || !runs(old));
}

/// Asks over a connection that is kept; what is read at once.
fn ask(connection: &mut UnixStream, line: &str) -> String {
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    connection.write_all(head.as_bytes()).expect("it is taken");
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"}\n") {
        let read = connection.read(&mut bytes).expect("an answer");
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_command_whose_node_ends_while_it_waits_says_so() {
    let machine = started();
    let gate = Gate::new(&machine);
    thread::scope(|threads| {
        let upgrade = threads.spawn(|| machine.verb(&["upgrade", "--binary", &gate.binary]));
        let waits = gate.pid();
        send(machine.pid(), Signal::KILL);
        let (code, said) = upgrade.join().expect("no panic");
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("its process ended before it answered"),
            "{said}"
        );
        gate.open();
        wait_until("nothing is left", || !runs(waits));
    });
}

#[test]
fn a_node_that_is_restarted_or_stopped_while_an_upgrade_is_under_way_is_afterwards_what_was_said() {
    for (verb, runs_then) in [("restart", true), ("stop", false)] {
        let machine = started();
        let (old, gate) = (machine.pid(), Gate::new(&machine));
        thread::scope(|threads| {
            let upgrade = threads.spawn(|| machine.verb(&["upgrade", "--binary", &gate.binary]));
            let successor = gate.pid();
            let other = threads.spawn(|| machine.verb(&[verb]));
            gate.open();
            let (code, said) = upgrade.join().expect("no panic");
            // The order to stop may be the first, or the end of the old process.
            assert!(code == 0 || said.contains("the node stop"), "{said}");
            let (code, said) = other.join().expect("no panic");
            assert_eq!(code, 0, "{said}");
            assert!(!said.contains("already"), "{said}");
            wait_until("both have ended", || !runs(old) && !runs(successor));
        });
        assert_eq!(machine.verb(&["status"]).0 == 0, runs_then);
    }
}

#[test]
fn an_order_that_another_node_passes_on_reaches_the_new_process() {
    let cluster = Loopback::new();
    let tables = "[listener.web]\non = [\"a\", \"b\"]\nbind = \"127.0.0.1:0\"\nroute = { to = \"shop\" }\n\
                  [backend.shop]\ncheck = false\nservers = { address = \"127.0.0.1:9\", name = \"s\" }\n";
    cluster.write("0123456789abcdef0123", &[("a", 1), ("b", 2)], tables);
    let (_a, _b) = (cluster.start("a"), cluster.start("b"));
    let gate = Gate::within(&cluster.dir);
    thread::scope(|threads| {
        let upgrade = threads.spawn(|| cluster.asked("b", &["upgrade", "--binary", &gate.binary]));
        let _successor = Ended(gate.pid());
        let order = threads.spawn(|| cluster.asked("a", &["server", "drain", "shop/s"]));
        wait_until("a obeys", || {
            let events = cluster.get("a", "events?subject=audit");
            events.to_string().contains("shop/s: state drain")
        });
        gate.open();
        let (code, said) = upgrade.join().expect("no panic");
        assert_eq!(code, 0, "{said}");
        let (code, said) = order.join().expect("no panic");
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("b: server shop/s: state drain"), "{said}");
        let seen = cluster.get("b", "services");
        assert_eq!(seen[0]["servers"][0]["health"], "draining", "{seen}");
    });
}

/// A process that this test did not start itself, and ends.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        send(self.0, Signal::TERM);
        wait_until("it ends", || !runs(self.0));
    }
}
