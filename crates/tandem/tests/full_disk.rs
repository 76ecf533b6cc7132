//! A session node whose disk is full: the others go on, and it is back when there is room, as who it was.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use common::node::Node;
use common::{get, wait_until};
use tandem_history::torture::Nodes;

const NAMES: [&str; 4] = ["cache1", "cache2", "edge", "app1"];
const SESSIONS: &str = r#"
on     = ["cache1", "cache2"]
third  = "edge"
agents = ["app1"]
memory = "256 MiB"
"#;
const SIZE: usize = 200_000;

/// A file system of its own for a node's state, which takes so much.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this user may not mount one.
    fn mount(at: PathBuf) -> Option<Self> {
        Self::mount_with(at, "size=12m")
    }

    fn mount_with(at: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&at)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        println!("skipped: no file system can be mounted");
        None
    }

    fn grow(&self) {
        self.remount("size=512m");
    }

    fn remount(&self, options: &str) {
        let remounted = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .status();
        assert!(remounted.is_ok_and(|status| status.success()), "mount");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still runs there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(nodes: &Nodes) -> Self {
        let stream = TcpStream::connect(nodes.agent("app1")).expect("the agent listens");
        Self(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        line
    }

    fn set(&mut self, key: usize) {
        let mut request = format!("set k{key} 0 0 {SIZE}\r\n").into_bytes();
        request.resize(request.len() + SIZE, b'a' + (key % 26) as u8);
        request.extend_from_slice(b"\r\n");
        self.0.get_mut().write_all(&request).expect("it is there");
        assert_eq!(self.line(), "STORED\r\n");
    }

    fn holds(&mut self, key: usize) -> bool {
        let request = format!("get k{key}\r\n");
        self.0
            .get_mut()
            .write_all(request.as_bytes())
            .expect("it is there");
        if !self.line().starts_with("VALUE") {
            return false;
        }
        let mut value = vec![0; SIZE + 2];
        self.0.read_exact(&mut value).expect("the value");
        assert_eq!(self.line(), "END\r\n");
        value[..SIZE].iter().all(|&b| b == b'a' + (key % 26) as u8)
    }
}

#[test]
fn a_replica_whose_disk_was_full_is_back_when_there_is_room_and_nothing_is_lost() {
    // The first is the one that leads.
    for (full, other) in [("cache1", "cache2"), ("cache2", "cache1")] {
        fill(full, other);
    }
}

fn fill(full: &str, other: &str) {
    let Some((nodes, dir)) = common::namespaces::nodes(&NAMES, SESSIONS) else {
        return;
    };
    let Some(disk) = Disk::mount(nodes.state(full)) else {
        return;
    };
    nodes.start_all().unwrap_or_else(|why| panic!("{why}"));
    nodes.enter().unwrap_or_else(|why| panic!("{why}"));
    let mut client = Client::new(&nodes);
    let mut stored = 0;
    wait_until("its disk is full", || {
        client.set(stored);
        stored += 1;
        nodes
            .log(full)
            .contains("the replica on this node has stopped")
    });
    for _ in 0..10 {
        client.set(stored);
        stored += 1;
    }
    disk.grow();
    nodes.until_whole().unwrap_or_else(|why| panic!("{why}"));
    let log = nodes.log(full);
    assert!(log.contains("is started again"), "{log}");
    assert!(!log.contains("is lost"), "it is who it was: {log}");
    // It counts: with it alone beside the last one everything is there.
    nodes.kill(other).unwrap_or_else(|why| panic!("{why}"));
    let missing: Vec<_> = (0..stored).filter(|&key| !client.holds(key)).collect();
    assert!(missing.is_empty(), "{missing:?} of {stored}");
    drop((nodes, disk, dir));
}

/// A site, an application, and a session node, whose agent is at the second address.
fn tables() -> String {
    let tandem = env!("CARGO_BIN_EXE_tandem");
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ path = \"/test*\", to = \"app\" }}, {{ to = \"www\" }}]\n\
         [site.www]\nroot = \"www\"\n\
         [app.app]\nrun = [\"{tandem}\", \"demo-app\", \"--host\", \"{{host}}\", \"--port\", \"{{port}}\"]\n\
         [sessions]\nmemory = \"64 MiB\"\nagent = \"127.0.0.1:{{b}}\"\n"
    )
}

/// Starts a node whose state is on a disk that takes nothing, and gives it room. What it said.
fn starts_on(why: &str, options: &str, fill: fn(&Disk), room: fn(&Disk)) -> Option<String> {
    let mut disk = None;
    let prepare = |dir: &common::Dir| {
        disk = Disk::mount_with(dir.path().join("state"), options);
        disk.iter().for_each(fill);
    };
    let node = Node::start_with(&tables(), prepare);
    let disk = disk?;
    let serves = || {
        assert_eq!(get(node.address(), "/").text(), "a page");
        wait_until("the application serves", || {
            get(node.address(), "/test/alive.txt").status == 200
        });
    };
    serves();
    let log = node.log();
    let state = node.dir.path().join("state");
    let told = |what: &str| {
        let line = log.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{what}: {log}"));
        assert!(line.contains(" error "), "{line}");
        assert!(line.contains(why) && line.contains("make room"), "{line}");
        assert!(line.contains(&*state.to_string_lossy()), "{line}");
    };
    told("could not open the session state in ");
    told("tries again every 2 s");
    let pid_file = state.join("local/tandem.pid");
    let pid = || std::fs::read_to_string(&pid_file).unwrap_or_default();
    assert_eq!(pid(), "");
    room(&disk);
    wait_until("its number is written", || {
        pid() == format!("{}\n", node.id())
    });
    let agent = TcpStream::connect(node.second()).expect("the agent listens");
    let mut client = Client(BufReader::new(agent));
    wait_until("sessions are stored", || {
        let set = b"set a 0 0 1\r\n1\r\n";
        client.0.get_mut().write_all(set).expect("it is there");
        client.line() == "STORED\r\n"
    });
    serves();
    wait_until("requests are logged", || {
        node.access_log().contains("GET /")
    });
    let log = node.log();
    assert!(!log.contains("is lost"), "nothing was there to lose: {log}");
    drop(node);
    drop(disk);
    Some(log)
}

#[test]
fn a_node_starts_on_a_disk_that_is_full_and_has_its_sessions_when_there_is_room() {
    let fill = |disk: &Disk| {
        let ballast = std::fs::File::create(disk.0.join("ballast")).expect("a file");
        let filled = std::io::copy(&mut std::io::repeat(b'x'), &mut &ballast);
        filled.expect_err("it is full at some time");
    };
    let room = |disk: &Disk| disk.remount("size=64m");
    starts_on("No space left on device", "size=1m", fill, room);
}

#[test]
fn a_node_starts_on_a_disk_that_is_read_only_and_has_its_sessions_when_it_is_not() {
    let lock = |disk: &Disk| disk.remount("ro");
    let room = |disk: &Disk| disk.remount("rw");
    starts_on("Read-only file system", "size=64m", lock, room);
}
