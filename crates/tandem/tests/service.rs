//! A node as a service of its machine: verbs and their exit codes, the pid file, the service manager.

mod common;

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread;

use common::machine::Machine;
use common::origin::{Origin, fine};
use common::{Dir, PATIENCE, get, has, runs, send, stderr, stdout, tandem, wait_until};
use rustix::process::Signal;

#[test]
fn verbs_do_what_init_scripts_expect() {
    let machine = Machine::new();
    assert_eq!(machine.verb(&["status"]).0, 3);
    assert_eq!(machine.verb(&["stop"]).0, 0, "what does not run is stopped");
    assert_eq!(machine.verb(&["reload"]).0, 7);
    assert_eq!(machine.verb(&["condrestart"]).0, 0);
    assert_eq!(machine.verb(&["try-restart"]).0, 0);
    assert_eq!(
        machine.verb(&["status"]).0,
        3,
        "and was not started by that"
    );
    assert_eq!(machine.verb(&["configtest"]).0, 0);

    let (code, said) = machine.verb(&["start"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        get(machine.address, "/").text(),
        "first",
        "it serves at once"
    );
    let pid = machine.pid();
    assert_eq!(machine.verb(&["status"]).0, 0);
    let (code, said) = machine.verb(&["start"]);
    assert!(code == 0 && said.contains(&pid.to_string()), "{said}");

    assert_eq!(machine.verb(&["restart"]).0, 0);
    let again = machine.pid();
    assert!(again != pid && !runs(pid));
    assert_eq!(machine.verb(&["try-restart"]).0, 0);
    assert_ne!(machine.pid(), again);

    assert_eq!(machine.verb(&["stop"]).0, 0);
    assert_eq!(machine.verb(&["status"]).0, 3);
    assert!(!machine.dir.path().join("run/tandem.pid").exists());
}

#[test]
fn what_does_not_run_is_said_with_where_it_was_looked_for() {
    let machine = Machine::new();
    let pid_file = machine.dir.path().join("run/tandem.pid");
    for verb in ["status", "stop", "condrestart", "reload"] {
        let (_, said) = machine.verb(&[verb]);
        let wanted = format!("does not run: nobody holds {}", pid_file.display());
        assert!(said.contains(&wanted), "{verb}: {said}");
        assert!(said.contains("--pid-file"), "{verb}: {said}");
    }
    let (code, said) = machine.verb(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &status["state"]), (3, &"stopped".into()));
}

#[test]
fn a_broken_file_stops_nothing_and_says_why() {
    let machine = Machine::new();
    assert_eq!(machine.verb(&["start"]).0, 0);
    let pid = machine.pid();
    machine.configure("respnd = 200");
    for verb in [
        "configtest",
        "reload",
        "force-reload",
        "restart",
        "condrestart",
        "try-restart",
    ] {
        let (code, said) = machine.verb(&[verb]);
        assert_eq!(code, 6, "{verb}: {said}");
        assert!(
            said.contains("respnd") && said.contains("respond"),
            "{said}"
        );
    }
    assert_eq!(machine.pid(), pid);
    assert_eq!(get(machine.address, "/").text(), "first");

    machine.dir.file("etc/cluster.toml", "");
    let (code, said) = machine.verb(&["reload"]);
    assert!(code == 6 && said.contains("describes nothing"), "{said}");
    // What the file alone does not tell.
    machine.configure(&format!(
        "to = \"www\" }}]\n[site.www]\nroot = \"{}\"\n#[{{",
        machine.at("absent")
    ));
    let (code, said) = machine.verb(&["reload"]);
    assert!(
        code == 1 && said.contains("absent does not exist"),
        "{said}"
    );
    assert_eq!(machine.pid(), pid);
    assert_eq!(get(machine.address, "/").text(), "first");

    machine.configure("respond = { status = 200, body = \"second\" }");
    assert_eq!(machine.verb(&["reload"]).0, 0);
    assert_eq!(
        get(machine.address, "/").text(),
        "second",
        "it is in effect"
    );
    assert_eq!(machine.pid(), pid);
}

#[test]
fn a_killed_node_is_told_from_a_stopped_one() {
    let machine = Machine::new();
    assert_eq!(machine.verb(&["start"]).0, 0);
    let pid = machine.pid();
    send(pid, Signal::KILL);
    wait_until("it is gone", || !runs(pid));
    let (code, said) = machine.verb(&["status"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(machine.verb(&["start"]).0, 0, "its pid file is no obstacle");
    assert_eq!(machine.verb(&["status"]).0, 0);
}

#[test]
fn a_node_that_is_started_in_the_moment_of_its_death_runs_afterwards() {
    let machine = Machine::new();
    assert_eq!(machine.verb(&["start"]).0, 0);
    for _ in 0..10 {
        let pid = machine.pid();
        send(pid, Signal::KILL);
        let (code, said) = machine.verb(&["start"]);
        assert!(code == 0 && said.contains("started"), "{said}");
        assert!(!runs(pid) && runs(machine.pid()));
    }
}

#[test]
fn a_node_that_is_started_while_it_stops_runs_afterwards() {
    let (machine, origin) = (Machine::new(), Origin::http("a", fine));
    machine.configure(&format!(
        "to = \"shop\" }}]\n[backend.shop]\ncheck = false\nservers = \"{}\"\n#[{{",
        origin.address
    ));
    assert_eq!(machine.verb(&["start"]).0, 0);
    let pid = machine.pid();
    thread::scope(|threads| {
        let held = threads.spawn(|| get(machine.address, "/hold").status);
        wait_until("it is in flight", || !origin.heads().is_empty());
        send(pid, Signal::TERM);
        wait_until("it stops", || machine.log().contains("stops: SIGTERM"));
        let start = threads.spawn(|| machine.verb(&["start"]));
        origin.release();
        let (code, said) = start.join().expect("no panic");
        assert!(code == 0 && said.contains("started"), "{said}");
        assert_eq!(held.join().expect("no panic"), 200);
    });
    assert_ne!(machine.pid(), pid);
    assert_eq!(get(machine.address, "/").status, 200);
}

#[test]
fn a_node_that_becomes_another_user_is_started_as_any_other() {
    if !rustix::process::getuid().is_root() {
        println!("skipped: only root becomes another user");
        return;
    }
    let machine = Machine::new();
    let text = std::fs::read_to_string(machine.at("etc/cluster.toml")).expect("its file");
    let text = text.replacen("[cluster]\n", "[cluster]\nuser = \"nobody\"\n", 1);
    machine.dir.file("etc/cluster.toml", &text);
    let (code, said) = machine.verb(&["start"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(get(machine.address, "/").text(), "first");
    let (code, said) = machine.verb(&["restart"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(machine.verb(&["stop"]).0, 0);
}

#[test]
fn what_does_not_start_says_why() {
    let machine = Machine::new();
    let _taken = TcpListener::bind(machine.address).expect("the port is free");
    let (code, said) = machine.verb(&["start"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is taken"), "{said}");
    assert_eq!(machine.verb(&["status"]).0, 3);
}

#[test]
fn the_service_manager_hears_of_every_turn() {
    let machine = Machine::new();
    let place = machine.at("notify.sock");
    let ear = UnixDatagram::bind(&place).expect("a socket");
    ear.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let file = machine.at("etc/cluster.toml");
    let mut node = machine
        .command(&["run", &file])
        .env("NOTIFY_SOCKET", &place)
        .env("WATCHDOG_USEC", "200000")
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let hear = |wanted: &str| {
        let mut bytes = [0; 1024];
        loop {
            let length = ear
                .recv(&mut bytes)
                .unwrap_or_else(|_| panic!("in vain: {wanted}"));
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if said.lines().any(|line| line.starts_with(wanted)) {
                return said;
            }
        }
    };
    assert!(hear("READY=1").contains("STATUS=serves as"));
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    send(node.id(), Signal::HUP);
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    hear("READY=1");
    send(node.id(), Signal::TERM);
    // It has more time than a unit may give it.
    assert!(hear("STOPPING=1").contains("EXTEND_TIMEOUT_USEC="));
    assert!(node.wait().expect("it ends").success());
}

#[test]
fn a_service_is_upgraded_in_place_again_and_again_and_the_verbs_follow() {
    let machine = Machine::new();
    assert_eq!(machine.verb(&["start"]).0, 0);
    let mut pids = vec![machine.pid()];
    for body in ["second", "third"] {
        machine.configure(&format!("respond = {{ status = 200, body = \"{body}\" }}"));
        let (code, said) = machine.verb(&["upgrade"]);
        assert_eq!(code, 0, "{said}");
        pids.push(machine.pid());
        assert_eq!(machine.verb(&["status"]).0, 0);
        wait_until("the old process accepts nothing more", || {
            (0..10).all(|_| get(machine.address, "/").text() == body)
        });
    }
    pids.dedup();
    assert_eq!(pids.len(), 3, "{pids:?}");
    let (code, said) = machine.verb(&["start"]);
    assert!(code == 0 && said.contains("runs already"), "{said}");
    assert_eq!(machine.verb(&["stop"]).0, 0);
    for pid in pids {
        wait_until("it has ended", || !runs(pid));
    }
    assert_eq!(machine.verb(&["status"]).0, 3);
}

#[test]
fn the_service_manager_is_told_of_its_new_main_process_before_that_speaks() {
    let machine = Machine::new();
    let place = machine.at("notify.sock");
    let ear = UnixDatagram::bind(&place).expect("a socket");
    ear.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let file = machine.at("etc/cluster.toml");
    let pid_file = machine.at("run/tandem.pid");
    std::fs::create_dir_all(machine.dir.path().join("run")).expect("a directory");
    let mut node = machine
        .command(&["run", &file, "--pid-file", &pid_file])
        .env("NOTIFY_SOCKET", &place)
        .env("WATCHDOG_USEC", "200000")
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let hear = || {
        let mut bytes = [0; 1024];
        let length = ear.recv(&mut bytes).expect("a word");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    while !hear().starts_with("READY=1") {}
    // It waits for an answer, which comes when the main process is told.
    let (code, said) = machine.verb(&["upgrade"]);
    assert_eq!(code, 0, "{said}");
    let pid = machine.pid();
    assert_ne!(pid, node.id());
    let main = loop {
        let said = hear();
        if said.contains("MAINPID=") {
            break said;
        }
        assert!(
            said.starts_with("WATCHDOG=1") || said.starts_with("RELOADING=1"),
            "{said}"
        );
    };
    assert_eq!(main, format!("MAINPID={pid}\nREADY=1"));
    assert!(hear().starts_with("READY=1\nSTATUS=serves as"));
    while !hear().starts_with("WATCHDOG=1") {}
    assert!(node.wait().expect("the first process ends").success());
    assert_eq!(machine.verb(&["stop"]).0, 0);
    while !hear().starts_with("STOPPING=1") {}
}

#[test]
fn install_writes_a_unit_that_systemd_takes() {
    let dir = Dir::new();
    let root = dir.path().to_string_lossy().into_owned();
    let install = |manager: &str| {
        let done = tandem()
            .args(["service", "install", manager, "--root", &root])
            .output()
            .expect("the binary runs");
        assert!(done.status.success(), "{}", stderr(&done));
        stdout(&done)
    };
    assert!(install("--systemd").contains("systemctl"));
    let environment = dir.path().join("etc/tandem/environment");
    std::fs::write(&environment, "TANDEM_KEY=k\n").expect("a file");
    assert!(install("--systemd").contains("kept"), "what is there stays");
    if has("systemd-analyze", &["--version"]) {
        let unit = dir.path().join("etc/systemd/system/tandem.service");
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&unit)
            .output()
            .expect("it runs");
        let said = stderr(&verified);
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("tandem"))
            .collect();
        assert!(ours.is_empty(), "{said}");
    }

    install("--init");
    let script = dir.path().join("etc/init.d/tandem");
    let status = |etc: &str| {
        Command::new(&script)
            .arg("status")
            .env("TANDEM_ETC", etc)
            .env("TANDEM_PID_FILE", dir.path().join("none.pid"))
            .output()
            .expect("a script that runs")
    };
    assert_eq!(status(&root).status.code(), Some(3));
    let wrong = Command::new(&script)
        .arg("dance")
        .output()
        .expect("it runs");
    assert_eq!(wrong.status.code(), Some(2));

    let removed = tandem()
        .args(["service", "uninstall", "--root", &root])
        .output()
        .expect("the binary runs");
    assert!(stdout(&removed).contains("removed") && !script.exists() && environment.exists());
}
