//! A node that is stopped: what is in flight has the time that it is said to have, on every process of the node.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use common::machine::Machine;
use common::origin::{Origin, fine};
use common::{PATIENCE, Page, get, parse, runs, send, wait_until};
use rustix::process::Signal;

/// A machine whose node leads to a server that answers when it is told to.
fn started() -> (Machine, Origin) {
    let (machine, origin) = (Machine::new(), Origin::http("a", fine));
    machine.configure(&format!(
        "to = \"shop\" }}]\n[backend.shop]\ncheck = false\nservers = \"{}\"\n#[{{",
        origin.address
    ));
    let (code, said) = machine.verb(&["start"]);
    assert_eq!(code, 0, "{said}");
    (machine, origin)
}

/// A request that is in flight.
struct Held(TcpStream);

impl Held {
    fn new(machine: &Machine, origin: &Origin) -> Self {
        let before = origin.heads().len();
        let mut stream = TcpStream::connect(machine.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream
            .write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("it is taken");
        wait_until("the server has it", || origin.heads().len() > before);
        Self(stream)
    }

    /// Its answer; `None` when it was cut.
    fn answer(mut self) -> Option<Page> {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        parse(&bytes)
    }
}

#[test]
fn what_is_in_flight_has_the_time_that_stop_gives_it_and_the_log_says_how_much_was_cut() {
    let (machine, origin) = started();
    let held = [(); 2].map(|()| Held::new(&machine, &origin));
    let (code, said) = machine.verb(&["stop", "--within", "1"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("stopped"), "{said}");
    let log = machine.log();
    assert!(log.contains("what is in flight has 1 s"), "{log}");
    let cut = log.lines().filter(|line| line.contains(" cut: "));
    let cut: Vec<&str> = cut.collect();
    assert!(
        matches!(cut[..], [line] if line.contains("2 connections cut") && line.contains("within 1 s")),
        "{log}"
    );
    for held in held {
        assert!(held.answer().is_none());
    }
}

#[test]
fn a_request_in_flight_is_answered_while_the_node_stops() {
    let (machine, origin) = started();
    let held = Held::new(&machine, &origin);
    thread::scope(|threads| {
        let stop = threads.spawn(|| machine.verb(&["stop", "--within", "60"]));
        wait_until("it stops", || {
            machine.log().contains("what is in flight has 60 s")
        });
        origin.release();
        assert_eq!(held.answer().expect("a whole answer").status, 200);
        let (code, said) = stop.join().expect("no panic");
        assert_eq!(code, 0, "{said}");
    });
    assert!(!machine.log().contains(" cut: "), "{}", machine.log());
}

#[test]
fn a_signal_gives_as_much_time_as_the_command_does_unless_told_otherwise() {
    let (machine, origin) = started();
    let (pid, held) = (machine.pid(), Held::new(&machine, &origin));
    send(pid, Signal::TERM);
    wait_until("it stops", || {
        machine
            .log()
            .contains("stops: SIGTERM; what is in flight has 30 s")
    });
    origin.release();
    assert_eq!(held.answer().expect("a whole answer").status, 200);
    wait_until("it ends", || !runs(pid));
    let help = common::stdout(&common::output(&["stop", "--help"]));
    assert!(help.contains("before it is cut (30)"), "{help}");
}

#[test]
fn a_node_whose_file_is_broken_is_stopped_all_the_same() {
    let (machine, _origin) = started();
    let pid = machine.pid();
    machine.dir.file("etc/cluster.toml", "x = [");
    let (code, said) = machine.verb(&["stop"]);
    assert_eq!(code, 0, "{said}");
    assert!(!runs(pid));
    assert!(machine.log().contains("stops: SIGTERM"));
}

#[test]
fn what_an_upgrade_left_in_flight_has_the_same_time_and_is_waited_for() {
    let (machine, origin) = started();
    let (first, held) = (machine.pid(), Held::new(&machine, &origin));
    for _ in 0..2 {
        let (code, said) = machine.verb(&["upgrade"]);
        assert_eq!(code, 0, "{said}");
    }
    thread::scope(|threads| {
        let stop = threads.spawn(|| machine.verb(&["stop", "--within", "60"]));
        wait_until("it stops", || {
            machine.log().contains("what is in flight has 60 s")
        });
        assert!(runs(first));
        origin.release();
        assert_eq!(held.answer().expect("a whole answer").status, 200);
        let (code, said) = stop.join().expect("no panic");
        assert_eq!(code, 0, "{said}");
    });
    wait_until("nothing is left", || !runs(first));
    assert!(!machine.log().contains(" cut: "), "{}", machine.log());
}

#[test]
fn what_an_upgrade_left_in_flight_is_cut_when_the_time_is_over() {
    let (machine, origin) = started();
    let (first, held) = (machine.pid(), Held::new(&machine, &origin));
    let (code, said) = machine.verb(&["upgrade"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = machine.verb(&["stop", "--within", "1"]);
    assert_eq!(code, 0, "{said}");
    assert!(held.answer().is_none());
    wait_until("nothing is left", || !runs(first));
    let log = machine.log();
    assert!(log.contains("1 connection cut"), "{log}");
    assert!(log.contains("ends: the node stops"), "{log}");
}

#[test]
fn what_an_upgrade_left_in_flight_outlives_a_new_process_that_is_killed() {
    let (machine, origin) = started();
    let (first, held) = (machine.pid(), Held::new(&machine, &origin));
    let (code, said) = machine.verb(&["upgrade"]);
    assert_eq!(code, 0, "{said}");
    let second = machine.pid();
    send(second, Signal::KILL);
    let (code, said) = machine.verb(&["start"]);
    assert_eq!(code, 0, "{said}");
    assert!(runs(first));
    origin.release();
    assert_eq!(held.answer().expect("a whole answer").status, 200);
    wait_until("it has nothing left", || !runs(first));
}

#[test]
fn upgrades_again_and_again_leave_no_descriptors_behind() {
    let (machine, origin) = started();
    origin.release();
    let mut counts = Vec::new();
    for _ in 0..6 {
        let before = machine.pid();
        let (code, said) = machine.verb(&["upgrade"]);
        assert_eq!(code, 0, "{said}");
        wait_until("the old process has nothing left", || !runs(before));
        assert_eq!(get(machine.address, "/").status, 200);
        let open = || {
            let open = fs::read_dir(format!("/proc/{}/fd", machine.pid()));
            open.expect("it runs").count()
        };
        // Two requests and a connection to the server may be under way.
        counts.push(open());
    }
    let (first, last) = (counts[1], counts[5]);
    assert!(last <= first + 2, "{counts:?}");
}
