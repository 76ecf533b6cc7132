//! Commands find the node of their machine, and say why they do not.

mod common;

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use common::machine::Machine;
use common::{Running, stderr, stdout};

const SIX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/six.toml");

/// A user that owns nothing here.
const NOBODY: u32 = 65_534;

/// Runs a command; its exit code and what it said.
fn run(mut command: Command) -> (i32, String) {
    let done = command.output().expect("the binary runs");
    let said = stdout(&done) + &stderr(&done);
    (done.status.code().expect("it exits"), said)
}

#[test]
fn another_user_is_told_who_may_ask_the_node() {
    let machine = Machine::new();
    let as_nobody = |args: &[&str]| {
        let mut command = machine.command(args);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    if !as_nobody(&["--version"])
        .output()
        .is_ok_and(|done| done.status.success())
    {
        println!("skipped: this user cannot run the binary as another one");
        return;
    }
    assert_eq!(machine.verb(&["start"]).0, 0);
    for args in [&["server", "list"][..], &["sessions"], &["upgrade"]] {
        let (code, said) = run(as_nobody(args));
        assert_eq!(code, 4, "{args:?}: {said}");
        assert!(
            said.contains("may be opened by root and by the node's user only"),
            "{said}"
        );
    }
    let (_, said) = run(as_nobody(&["doctor"]));
    assert!(
        said.contains("note   Whether node local runs here cannot be seen"),
        "{said}"
    );
    assert!(!said.contains("does not run"), "{said}");
    let taken = format!(
        "note   Addresses that are taken, by the node or by another program, which this user cannot see: {}.",
        machine.address
    );
    assert!(said.contains(&taken), "{said}");
    let (code, said) = run(as_nobody(&["stop"]));
    assert_eq!(code, 4, "{said}");
}

#[test]
fn what_is_wrong_with_the_file_or_the_node_that_was_named_is_said() {
    let machine = Machine::new();
    assert_eq!(machine.verb(&["start"]).0, 0);
    let pid = machine.pid();
    let with = |name: &str, value: &str, args: &[&str]| {
        let mut command = machine.command(args);
        command.env(name, value);
        run(command)
    };
    let absent = machine.at("absent.toml");
    let file = machine.at("etc/cluster.toml");
    for args in [&["upgrade"][..], &["server", "list"], &["logs"]] {
        let (code, said) = with("TANDEM_FILE", &absent, args);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains(&absent), "{args:?}: {said}");
        assert!(!said.contains("rehearsal"), "{args:?}: {said}");
    }
    for (code, said) in [
        with("TANDEM_NODE", "gone", &["upgrade"]),
        with("TANDEM_FILE", &file, &["sessions", "--node", "gone"]),
        machine.verb(&["logs", "--node", "gone"]),
    ] {
        assert_eq!(code, 2, "{said}");
        let why = format!("there is no node `gone` in {file}; there are local");
        assert!(said.contains(&why), "{said}");
    }

    let text = std::fs::read_to_string(&file).expect("its file");
    machine
        .dir
        .file("etc/cluster.toml", &text.replace("/state\"", "/other\""));
    let (code, said) = machine.verb(&["upgrade"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("other/local/admin.sock"), "{said}");
    assert!(
        said.contains(&format!("process {pid} runs by ")) && said.contains("[cluster] state"),
        "{said}"
    );
}

#[test]
fn the_log_is_found_that_start_was_told_to_write() {
    let machine = Machine::new();
    let log = machine.at("another.log");
    assert_eq!(machine.verb(&["start", "--log", &log]).0, 0);
    let (code, said) = machine.verb(&["logs"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("serves as listener web"), "{said}");
    assert_eq!(machine.verb(&["stop"]).0, 0);
    let (code, said) = machine.verb(&["logs"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!(
            "no logs can be read: {} (No such",
            machine.at("log")
        )),
        "{said}"
    );
}

#[test]
fn where_there_is_a_file_no_rehearsal_is_asked_in_its_nodes_place() {
    let _rehearsal = Running::start(&["rehearse", SIX]);
    let machine = Machine::new();
    let orders = [
        &["maintenance", "web", "on"][..],
        &["server", "list"],
        &["sessions"],
        &["log-level", "debug"],
        &["upgrade"],
        &["logs"],
    ];
    // Its node does not run.
    for args in orders {
        let (code, said) = machine.verb(args);
        assert_eq!(code, 1, "{args:?}: {said}");
        assert!(said.contains("a rehearsal runs"), "{args:?}: {said}");
    }
    let file = machine.at("etc/cluster.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    machine
        .dir
        .file("etc/cluster.toml", &text.replace("bind", "bnid"));
    let named = machine.dir.file("named.toml", "[cluter]\n");
    for args in orders {
        let (code, said) = machine.verb(args);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains("did you mean `bind`"), "{args:?}: {said}");
        let mut command = machine.command(args);
        command.env("TANDEM_FILE", &named);
        let (code, said) = run(command);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains("cluter"), "{args:?}: {said}");
    }
    // Where there is none, it is.
    std::fs::remove_file(&file).expect("it is there");
    let (code, said) = machine.verb(&["server", "list"]);
    assert_eq!(code, 0, "{said}");
}
