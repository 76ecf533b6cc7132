//! What becomes of a node whose agent panics.
//!
//! Nothing of the program panics on demand. So it is the system that breaks a promise: a library that is loaded before the C
//! library answers one thread's `epoll_wait` with an error that there cannot be, and the event loop of that thread panics.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use common::loopback::{Loopback, Runs};
use common::wait_until;

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

int epoll_wait(int fd, struct epoll_event *events, int most, int limit) {
    int (*real)(int, struct epoll_event *, int, int) = dlsym(RTLD_NEXT, "epoll_wait");
    const char *order = getenv("BREAK_AGENT");
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    if (order && !strcmp(name, "agent") && !access(order, F_OK)) {
        errno = EBADF;
        return -1;
    }
    return real(fd, events, most, limit);
}
"#;

#[test]
fn a_panic_of_the_agents_thread_ends_the_node() {
    let cluster = Loopback::new();
    let path = |name: &str| cluster.dir.path().join(name);
    let library = path("broken.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-x", "c", "-", "-ldl", "-o"])
        .arg(&library)
        .stdin(Stdio::piped())
        .spawn()
        .and_then(|mut cc| {
            let mut source = cc.stdin.take().expect("it is piped");
            source.write_all(LIBRARY.as_bytes())?;
            drop(source);
            cc.wait()
        });
    assert!(compiled.expect("what links Rust is there").success());
    let (host, port) = (cluster.host(1), cluster.port);
    let tables = format!("[sessions]\non = \"a\"\nagents = \"a\"\nagent = \"{host}:{port}\"\n");
    cluster.write("0123456789abcdef0123", &[("a", 1)], &tables);
    let order = path("broken");
    let log = std::fs::File::create(path("a.log")).expect("a log");
    let child = common::tandem()
        .args(["run", &cluster.file(), "--node", "a"])
        .env("LD_PRELOAD", &library)
        .env("BREAK_AGENT", &order)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn();
    let mut runs = Runs(child.expect("the binary starts"));
    wait_until("the agent serves", || {
        let Ok(stream) = TcpStream::connect((&*host, port)) else {
            return false;
        };
        let mut line = String::new();
        let asked = (&stream).write_all(b"set key 0 0 1\r\nv\r\n");
        let told = asked.and_then(|()| BufReader::new(&stream).read_line(&mut line));
        told.is_ok() && line == "STORED\r\n"
    });
    let mut ended = None;
    assert!(matches!(runs.0.try_wait(), Ok(None)));
    std::fs::write(&order, "").expect("an order");
    wait_until("the node ends", || {
        ended = runs.0.try_wait().expect("it is this test's");
        ended.is_some()
    });
    let log = cluster.log("a");
    assert_eq!(ended.and_then(|ended| ended.code()), Some(1), "{log}");
    let said = " error   sessions: the agent of this node has ended by a panic: the node ends";
    assert!(log.contains(said), "{log}");
    assert!(log.contains("thread 'agent'"), "{log}");
}
