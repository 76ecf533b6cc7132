//! What applications print comes to the node's log as lines that are what they look like, and not without bound.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::process::Signal;

use common::node::Node;
use common::{get, send, wait_until};

/// A node whose application is a shell script.
fn printing(script: &str) -> Node {
    Node::start_with(
        "[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = [{ to = \"app\" }]\n[app.app]\nrun = [\"sh\", \"{dir}/print.sh\"]\n",
        |dir| {
            dir.file("print.sh", script);
        },
    )
}

#[test]
fn a_line_that_is_cut_says_so_and_control_characters_are_written_out() {
    let node = printing(
        "head -c 100000 /dev/zero | tr '\\0' x; echo\n\
         printf 'one\\033[2J\\000two\\rthree\\ttabs\\n'\n\
         exec sleep 4711\n",
    );
    let line = |end: &str| {
        let log = node.log();
        let line = log.lines().find(|line| line.ends_with(end));
        line.map(str::to_owned)
    };
    let expected = " local app app/0: one\\x1B[2J\\x00two\\x0Dthree\ttabs";
    wait_until("its second line", || line(expected).is_some());
    let cut = line("x [cut]").expect("the first line, and that it was cut");
    assert_eq!(cut.matches('x').count(), 8 * 1024);
    assert!(!node.log().contains(['\u{1b}', '\0', '\r']));
}

#[test]
fn a_flood_is_left_out_of_the_log_and_counted() {
    let node = printing("seq 1 50000\nexit 3\n");
    wait_until("what was left out is counted", || {
        node.log()
            .contains("(40000 lines that it printed were left out)")
    });
    let log = node.log();
    assert!(
        log.contains(
            "it prints more than 10000 lines or 4 MiB in 10 s: the rest of them is left out"
        ),
        "{log}"
    );
    assert!(log.contains("app app/0: 10000\n"));
    assert!(!log.contains("app app/0: 10001\n"));
}

/// Passes on what comes through a pipe, until it is told to take no more.
fn pass_on(dir: &Path, stop: Arc<AtomicBool>) {
    let (pipe, log) = (dir.join("pipe"), dir.join("log"));
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    std::thread::spawn(move || {
        // Its other end is opened each time that the node is started.
        while let Ok(mut from) = File::open(&pipe) {
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                let to = OpenOptions::new().append(true).open(&log);
                to.and_then(|mut to| to.write_all(&bytes[..read]))
                    .expect("the log is written");
                while stop.load(Relaxed) {
                    std::thread::park();
                }
            }
        }
    });
}

#[test]
fn a_log_that_nobody_reads_any_more_stops_neither_programs_nor_the_node() {
    let demo = env!("CARGO_BIN_EXE_tandem");
    let tables = format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"app\" }}]\n[app.app]\n\
         run = [\"{demo}\", \"demo-app\", \"--host\", \"{{host}}\", \"--port\", \"{{port}}\"]\n\
         [app.loud]\nrun = [\"sh\", \"{{dir}}/loud.sh\"]\n"
    );
    let stop = Arc::<AtomicBool>::default();
    let node = Node::start_around(
        &tables,
        |dir| {
            let flood = "until [ -e go ]; do sleep 0.05; done; seq 1 50000; exec sleep 4711\n";
            dir.file("loud.sh", flood);
            pass_on(dir.path(), stop.clone());
        },
        |dir, command| {
            let script = "cd \"$0\"; exec \"$@\" 2>pipe";
            let dir = dir.path().to_string_lossy().into_owned();
            let around = ["sh", "-c", script, &dir].map(String::from);
            around.into_iter().chain(command).collect()
        },
    );
    wait_until("the application serves", || {
        get(node.address(), "/test/alive.txt").status == 200
    });
    stop.store(true, Relaxed);
    node.dir.file("go", "");
    // A pipe holds 64 KiB.
    let pipe = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(node.dir.path().join("pipe"))
        .expect("the pipe");
    wait_until("the log is stuck", || {
        rustix::io::ioctl_fionread(&pipe).is_ok_and(|held| held > 60 * 1024)
    });
    let instance = || node.admin("GET /api/v1/apps").json()[0]["instances"][0].clone();
    let first = instance()["pid"].as_u64().expect("it runs") as u32;
    send(first, Signal::KILL);
    wait_until("the application is started again", || {
        let now = instance();
        now["health"] == "up" && now["pid"] != first
    });
    assert_eq!(get(node.address(), "/test/alive.txt").status, 200);
    send(node.id(), Signal::TERM);
    wait_until("the node ends", || {
        common::state(node.id()).is_none_or(|state| state == 'Z')
    });
}
