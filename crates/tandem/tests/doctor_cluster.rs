//! `tandem doctor`: this machine as the file wants it, and from it the other nodes.

mod common;

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use common::loopback::{Loopback, Runs};
use common::{stderr, stdout, tandem, wait_until};
use serde_json::Value;

/// Two nodes of one file on this machine, neither of which runs yet.
struct Two(Loopback);

impl Two {
    fn new() -> Self {
        let two = Self(Loopback::new());
        two.configure("");
        two
    }

    /// Writes the file, with more tables.
    fn configure(&self, tables: &str) {
        let (host, port) = (self.0.host(1), self.0.port);
        let listener = format!(
            "[listener.web]\non = \"a\"\nbind = \"{host}:{port}\"\nroute = {{ respond = 204 }}\n{tables}"
        );
        let nodes = [("a", 1), ("b", 2)];
        self.0.write("0123456789abcdef0123", &nodes, &listener);
    }

    fn start(&self, node: &str) -> Runs {
        self.0.start(node)
    }

    fn doctor(&self, more: &[&str]) -> Output {
        tandem()
            .args(["doctor", &self.0.file(), "--node", "a"])
            .args(more)
            .env("TANDEM_ETC", self.0.dir.path())
            .output()
            .expect("the binary runs")
    }

    /// Its exit code and what it said.
    fn said(&self) -> (i32, String) {
        let done = self.doctor(&[]);
        let said = stdout(&done) + &stderr(&done);
        (done.status.code().expect("it exits"), said)
    }
}

#[test]
fn a_cluster_that_is_well_is_said_to_be() {
    let two = Two::new();
    let (_a, _b) = (two.start("a"), two.start("b"));
    let (code, said) = two.said();
    assert_eq!(code, 0, "{said}");
    for line in [
        "Node a runs here",
        "Addresses that are held by the node",
        "The node here runs by this file.",
        "Node b answers: the same file, version and time.",
        "The state directory ",
    ] {
        assert!(
            said.contains(&format!("good   {line}")),
            "no {line} in\n{said}"
        );
    }
    let done = two.doctor(&["--json"]);
    let all: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let all = all.as_array().expect("a list");
    assert!(
        all.iter().all(|finding| finding["grade"] == "good"),
        "{all:?}"
    );
    let abouts: Vec<&Value> = all.iter().map(|finding| &finding["about"]).collect();
    for about in ["file", "node", "descriptors", "ports", "disk", "nodes"] {
        assert!(abouts.contains(&&Value::from(about)), "{about} {abouts:?}");
    }
}

#[test]
fn who_has_another_file_and_who_is_not_there_is_named() {
    let two = Two::new();
    let a = two.start("a");
    let b = two.start("b");
    two.configure("[listener.more]\non = \"b\"\nbind = \"127.0.0.1:0\"\nroute = { deny = true }\n");
    let (code, said) = two.said();
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("note   The node here runs by another state of the file"),
        "{said}"
    );
    assert!(
        said.contains("WRONG  Node b runs by another file"),
        "{said}"
    );
    drop(b);
    let (code, said) = two.said();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("WRONG  Node b does not answer at "), "{said}");
    drop(a);

    let port = format!("{}:{}", two.0.host(1), two.0.port);
    let _held = TcpListener::bind(&port).expect("it is free again");
    let (code, said) = two.said();
    assert_eq!(code, 1);
    assert!(said.contains("note   Node a does not run here"), "{said}");
    assert!(
        said.contains(&format!("WRONG  For listener web: {port} is taken")),
        "{said}"
    );
}

#[test]
fn what_will_end_soon_or_has_no_address_is_named_before_it_hurts() {
    let two = Two::new();
    let certificate = |days: i64| {
        let change = |params: &mut rcgen::CertificateParams| {
            params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(60);
            params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        };
        common::certificate::localhost_with(change).0
    };
    for (name, days) in [("old.pem", -1), ("soon.pem", 5), ("new.pem", 60)] {
        two.0.dir.file(name, &certificate(days));
    }
    for (name, text) in common::certificate::clients() {
        two.0.dir.file(&format!("{name}.pem"), &text);
    }
    two.configure(
        "[listener.tls]\non = \"a\"\nbind = \"127.0.0.1:0\"\n\
         tls = { certs = [\"old.pem\", \"soon.pem\", \"new.pem\"], client-ca = \"ca.pem\", client-crl = [\"ended.pem\", \"revoked.pem\"] }\n\
         route = { to = \"gone\" }\n[backend.gone]\nservers = \"no-such-name.invalid:80\"\n",
    );
    let (code, said) = two.said();
    assert_eq!(code, 1, "{said}");
    for line in [
        "old.pem of listener tls has expired: renew it",
        "soon.pem of listener tls expires in 4 days: renew it",
        "new.pem of listener tls is valid for 59 days more.",
        "ended.pem of listener tls, a list of revoked certificates, has ended",
        "revoked.pem of listener tls is good for ",
        "no-such-name.invalid ",
    ] {
        assert!(said.contains(line), "no {line} in\n{said}");
    }

    two.0.dir.file("cluster.toml", "[listner.web]\nbind = 7\n");
    let (code, said) = two.said();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("did you mean"), "{said}");
}

#[test]
fn too_few_descriptors_are_said_by_the_doctor_and_by_the_node_that_starts() {
    let two = Two::new();
    let limited = |args: &[&str]| {
        let mut command = Command::new("sh");
        let tandem = env!("CARGO_BIN_EXE_tandem");
        command
            .args(["-c", "ulimit -n 600 && exec \"$0\" \"$@\"", tandem])
            .args(args)
            .env("TANDEM_ETC", two.0.dir.path())
            .stdin(Stdio::null());
        command
    };
    let file = two.0.file();
    let done = limited(&["doctor", &file, "--node", "a"]).output();
    let said = stdout(&done.expect("the binary runs"));
    assert!(
        said.contains("WRONG  A node started from here is short of descriptors: it may open 600"),
        "{said}"
    );
    let path = two.0.dir.path().join("limited.log");
    let log = std::fs::File::create(&path).expect("a log");
    let child = limited(&["run", &file, "--node", "a"]).stderr(log).spawn();
    let _runs = Runs(child.expect("the binary starts"));
    wait_until("it says so", || {
        std::fs::read_to_string(&path).is_ok_and(|log| log.contains("it may open 600 descriptors"))
    });
}
