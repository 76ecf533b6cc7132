//! Client libraries as people use them, each by a small program with every operation it offers, against
//! `tandem memcached`.

mod common;

use std::path::PathBuf;
use std::process::{Child, Command, Output};

use common::{Dir, has, stderr, stdout, tandem};
use rustix::process::Signal;

/// A running `tandem memcached` on a port of its own.
struct Server {
    process: Child,
    port: String,
}

impl Server {
    fn start(more: &[&str]) -> Self {
        let port = common::ports::free().port().to_string();
        let process = tandem()
            .args(["memcached", "-l", "127.0.0.1", "-u", "root", "-p", &port])
            .args(more)
            .spawn()
            .unwrap();
        common::wait_until("the port is open", || {
            std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
        });
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        common::send(self.process.id(), Signal::TERM);
        let _ = self.process.wait();
    }
}

fn program(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// Where .ci/run puts clients that Debian does not have.
fn clients_dir() -> PathBuf {
    std::env::var_os("TANDEM_CLIENTS").map_or_else(|| "/nowhere".into(), PathBuf::from)
}

fn passes(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}",
        stdout(output),
        stderr(output)
    );
}

#[test]
fn memccapable_passes_in_both_protocols() {
    if !has("memccapable", &["-h"]) {
        return;
    }
    let server = Server::start(&[]);
    for (protocol, cases) in [("-a", 27), ("-b", 27)] {
        let tested = Command::new("memccapable")
            .args(["-h", "127.0.0.1", "-p", &server.port, protocol])
            .output()
            .unwrap();
        passes(&tested);
        let text = stdout(&tested);
        assert_eq!(text.matches("[pass]").count(), cases, "{text}");
    }
}

#[test]
fn pymemcaches_own_integration_tests_pass() {
    let python = clients_dir().join("venv/bin/python");
    let python = python.to_string_lossy();
    if !has(&python, &["-c", "import pymemcache.test, pytest"]) {
        return;
    }
    let found = Command::new(&*python)
        .args(["-c", "import pymemcache.test as t; print(t.__path__[0])"])
        .output()
        .unwrap();
    let tests = PathBuf::from(stdout(&found).trim()).join("test_integration.py");
    let server = Server::start(&[]);
    let tested = Command::new(&*python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(tests)
        .args(["--server", "127.0.0.1", "--port", &server.port])
        .output()
        .unwrap();
    passes(&tested);
}

#[test]
fn pylibmc_does_all_it_can() {
    if !has("/usr/bin/python3", &["-c", "import pylibmc"]) {
        return;
    }
    let server = Server::start(&[]);
    let spoken = Command::new("/usr/bin/python3")
        .arg(program("pylibmc_client.py"))
        .arg(&server.port)
        .output();
    passes(&spoken.unwrap());
}

#[test]
fn php_does_all_it_can() {
    if !has("php", &["-r", "exit(class_exists('Memcached') ? 0 : 1);"]) {
        return;
    }
    let server = Server::start(&[]);
    let spoken = Command::new("php")
        .arg(program("php_client.php"))
        .arg(&server.port)
        .output();
    passes(&spoken.unwrap());
}

#[test]
fn memjs_does_all_it_can_with_a_name_and_without() {
    let modules = clients_dir().join("node_modules");
    if !has(
        "node",
        &["-e", &format!("require({:?})", modules.join("memjs"))],
    ) {
        return;
    }
    let dir = Dir::new();
    let users = dir.file("users", "somebody:secret\n");
    let (open, closed) = (Server::start(&[]), Server::start(&["-S", "-Y", &users]));
    for (server, name, password, works) in [
        (&open, "", "", true),
        (&closed, "somebody", "secret", true),
        (&closed, "somebody", "wrong", false),
    ] {
        let spoken = Command::new("node")
            .arg(program("memjs_client.js"))
            .arg(&server.port)
            .env("NODE_PATH", &modules)
            .env("MEMCACHIER_USERNAME", name)
            .env("MEMCACHIER_PASSWORD", password)
            .output()
            .unwrap();
        assert_eq!(spoken.status.success(), works, "{}", stderr(&spoken));
    }
}

#[test]
fn dalli_does_all_it_can() {
    if !has("ruby", &["-e", "require 'dalli'"]) {
        return;
    }
    let server = Server::start(&[]);
    let spoken = Command::new("ruby")
        .arg(program("dalli_client.rb"))
        .arg(&server.port)
        .output();
    passes(&spoken.unwrap());
}

#[test]
fn spymemcached_does_all_it_can() {
    const JAR: &str = "/usr/share/java/spymemcached.jar";
    if !has("test", &["-e", JAR]) || !has("javac", &["-version"]) {
        return;
    }
    let server = Server::start(&[]);
    let spoken = Command::new("java")
        .args(["-cp", JAR])
        .arg(program("SpyClient.java"))
        .arg(&server.port)
        .output();
    passes(&spoken.unwrap());
}

#[test]
fn the_clients_for_rust_do_all_they_can() {
    // Built by .ci/run from tests/clients/rust: a program of its own, so that nobody else has to build its libraries.
    let program = clients_dir().join("rust/debug/rust-clients");
    if !has("test", &["-x", &program.to_string_lossy()]) {
        return;
    }
    let server = Server::start(&[]);
    let spoken = Command::new(program).arg(&server.port).output();
    passes(&spoken.unwrap());
}
