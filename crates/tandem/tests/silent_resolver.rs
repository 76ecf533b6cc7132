//! A node goes on with what it has to do while the resolver does not answer.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::Signal;

use common::node::Node;
use common::{has, send, wait_until};

/// In a mount namespace of its own, where the files of names are the test's.
const PRIVATE: [&str; 2] = ["unshare", "--mount"];

/// The process of the application, from the log.
fn last_pid(log: &str) -> Option<u32> {
    let line = log.lines().rfind(|line| line.contains("it accepts"))?;
    let (_, pid) = line.rsplit_once("(pid ")?;
    pid.trim_end_matches(')').parse().ok()
}

/// Answers what was asked: there is no such name.
fn deny(resolver: &UdpSocket) {
    let mut packet = [0; 1_500];
    while let Ok((length, from)) = resolver.recv_from(&mut packet) {
        // RFC 1035, section 4.1.1: an answer; name error.
        (packet[2], packet[3]) = (packet[2] | 0x80, 0x83);
        let _ = resolver.send_to(&packet[..length], from);
    }
}

#[test]
fn a_program_that_dies_while_a_reload_looks_up_names_is_started_again_at_once() {
    let resolver = UdpSocket::bind("127.0.53.53:53");
    let (Ok(resolver), true) = (resolver, has(PRIVATE[0], &[PRIVATE[1], "true"])) else {
        println!("skipped: only root listens at port 53 and makes mount namespaces");
        return;
    };
    let limit = Some(Duration::from_millis(20));
    resolver.set_read_timeout(limit).expect("a time limit");
    let tandem = env!("CARGO_BIN_EXE_tandem");
    let tables = format!(
        "port = {{b}}\nkey = \"sixteen-letters!\"\n[nodes]\nlocal = \"127.0.0.1\"\nother = \"other.internal\"\n\
         [listener.web]\non = \"local\"\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"app\" }}]\n\
         [app.app]\non = \"local\"\nrun = [\"{tandem}\", \"demo-app\", \"--host\", \"{{host}}\", \"--port\", \"{{port}}\"]\n"
    );
    let node = Node::start_around(
        &tables,
        |dir| {
            dir.file("hosts", "127.0.0.1 localhost\n192.0.2.1 other.internal\n");
            // The resolver's longest patience.
            let conf = "nameserver 127.0.53.53\noptions timeout:30 attempts:1\n";
            dir.file("resolv.conf", conf);
            dir.file("nsswitch.conf", "hosts: files dns\n");
        },
        |dir, command| {
            let at = dir.path().display();
            let mount = format!(
                "for name in hosts resolv.conf nsswitch.conf; do mount --bind {at}/$name /etc/$name || exit; done; \
                 exec \"$@\""
            );
            let around = [PRIVATE[0], PRIVATE[1], "sh", "-c", &mount, "sh"].map(String::from);
            around.into_iter().chain(command).collect()
        },
    );
    wait_until("the program runs", || last_pid(&node.log()).is_some());
    let first = last_pid(&node.log()).expect("it runs");

    node.dir.file("hosts", "127.0.0.1 localhost\n");
    send(node.id(), Signal::HUP);
    wait_until("the resolver is asked", || {
        resolver.peek_from(&mut [0; 1_500]).is_ok()
    });
    send(first, Signal::KILL);
    wait_until("the program runs again", || {
        last_pid(&node.log()) != Some(first)
    });
    assert!(!node.log().contains("reloaded"), "{}", node.log());
    wait_until("the reload is over", || {
        deny(&resolver);
        node.log().contains("reloaded")
    });
    assert!(node.log().contains("`other.internal`, cannot be looked up"));
}
