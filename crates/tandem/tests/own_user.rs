//! A node that starts as root and becomes another user: what it opens before, and what that user can make of it.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};

use rustix::process::Signal;

use common::{Dir, certificate, ports, send, stderr, stdout, tandem, wait_until};

/// Of no other: the user and the group that these tests become, by their numbers.
const NOBODY: (&str, u32) = ("nobody", 65_534);

/// A process of a file.
struct Started {
    dir: Dir,
    child: Child,
}

impl Started {
    /// Starts it with these words about the cluster, in a directory that `prepare` made ready.
    fn with(words: &str, prepare: impl FnOnce(&Dir)) -> Self {
        Self::under("022", words, prepare)
    }

    /// As [`with`](Self::with), under another umask.
    fn under(umask: &str, words: &str, prepare: impl FnOnce(&Dir)) -> Self {
        let dir = Dir::new();
        prepare(&dir);
        let text = format!(
            "[cluster]\nstate = \"state\"\nworkers = 1\n{}\n[listener.web]\nbind = \"{}\"\nroute = {{ respond = 200 }}\n",
            words.replace("{dir}", &dir.path().to_string_lossy()),
            ports::free()
        );
        let file = dir.file("cluster.toml", &text);
        let errors = fs::File::create(dir.path().join("errors")).expect("a file");
        let child = std::process::Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\" run \"$1\"")])
            .args([env!("CARGO_BIN_EXE_tandem"), &file])
            .stdin(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("a shell");
        Self { dir, child }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    /// Waits until it serves, by what it says in this file.
    fn serves(self, log: &str) -> Self {
        wait_until("the node serves", || self.said(log).contains("serves as"));
        self
    }

    /// Asks it something by its own socket.
    fn asked(&self, words: &[&str]) -> Output {
        let socket = format!("unix:{}", self.at("state/local/admin.sock").display());
        let mut command = tandem();
        command.args(words).args(["--admin", &socket]);
        command.output().expect("the binary runs")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // By its pid file, as another process may have its place.
        if let Ok(pid) = self.said("state/local/tandem.pid").trim().parse() {
            send(pid, Signal::TERM);
            wait_until("it ends", || {
                !common::runs(pid) || common::state(pid) == Some('Z')
            });
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    let is_root = rustix::process::getuid().is_root();
    if !is_root {
        println!("skipped: only root becomes another user");
    }
    is_root
}

/// A directory of the user's own.
fn of_nobody(dir: &Dir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::create_dir_all(&path).expect("a directory");
    chown(&path, Some(NOBODY.1), Some(NOBODY.1)).expect("root gives it away");
    path
}

#[test]
fn root_follows_no_link_that_the_user_left_in_the_state_directory() {
    if !is_root() {
        return;
    }
    let words = format!("admin = false\nuser = \"{}\"", NOBODY.0);
    let mut node = Started::with(&words, |dir| {
        let victim = dir.file("victim", "of root");
        let state = of_nobody(dir, "state/local");
        symlink(victim, state.join("tandem.pid")).expect("a link");
    });
    wait_until("it ends", || !matches!(node.child.try_wait(), Ok(None)));
    assert!(
        node.said("errors").contains("symbolic link"),
        "{}",
        node.said("errors")
    );
    let victim = fs::metadata(node.at("victim")).expect("it is there");
    assert_eq!((node.said("victim").as_str(), victim.uid()), ("of root", 0));
}

#[test]
fn root_follows_no_link_that_the_user_left_in_the_place_of_the_log() {
    if !is_root() {
        return;
    }
    let words = format!(
        "admin = false\nuser = \"{}\"\nlog = \"{{dir}}/log/node.log\"",
        NOBODY.0
    );
    let mut node = Started::with(&words, |dir| {
        let victim = dir.file("victim", "of root");
        let link = of_nobody(dir, "log").join("node.log");
        symlink(victim, &link).expect("a link");
        std::os::unix::fs::lchown(&link, Some(NOBODY.1), None).expect("root gives it away");
    });
    wait_until("it ends", || !matches!(node.child.try_wait(), Ok(None)));
    assert!(
        node.said("errors").contains("symbolic link"),
        "{}",
        node.said("errors")
    );
    assert_eq!(node.said("victim"), "of root");
}

#[test]
fn a_log_that_root_opened_is_opened_anew_by_the_user_and_by_the_process_that_follows() {
    if !is_root() {
        return;
    }
    let words = format!(
        "admin = false\nuser = \"{}\"\nlog = \"{{dir}}/log/node.log\"",
        NOBODY.0
    );
    let node = Started::with(&words, |dir| {
        of_nobody(dir, "log");
    });
    let node = node.serves("log/node.log");
    fs::rename(node.at("log/node.log"), node.at("log/node.log.1")).expect("it is rotated");
    send(node.child.id(), Signal::USR1);
    wait_until("it is opened anew", || {
        node.said("log/node.log").contains("opened anew")
    });
    // Also one that root made, and that is still there.
    let upgraded = node.asked(&["upgrade"]);
    let said = stdout(&upgraded) + &stderr(&upgraded);
    assert!(upgraded.status.success(), "{said}");

    let first = Started::with(&words, |dir| {
        of_nobody(dir, "log");
    });
    let first = first.serves("log/node.log");
    let upgraded = first.asked(&["upgrade"]);
    let said = stdout(&upgraded) + &stderr(&upgraded);
    assert!(upgraded.status.success(), "{said}");
}

#[test]
fn the_sockets_of_the_admin_pages_let_in_the_nodes_user_alone_whatever_the_umask() {
    let user = if is_root() {
        format!("user = \"{}\"\n", NOBODY.0)
    } else {
        String::new()
    };
    let words = format!("admin = \"unix:{{dir}}/pages.sock\"\n{user}");
    let node = Started::under("0", &words, |_| {}).serves("errors");
    let own = rustix::process::getuid().as_raw();
    let owner = if own == 0 { NOBODY.1 } else { own };
    for name in ["pages.sock", "state/local/admin.sock"] {
        let found = fs::metadata(node.at(name)).expect("a socket");
        assert_eq!(
            (found.permissions().mode() & 0o777, found.uid()),
            (0o600, owner),
            "{name}"
        );
    }
}

#[test]
fn a_log_is_opened_anew_where_it_is_also_when_the_file_names_another_by_now() {
    let words = "admin = false\nlog = \"{dir}/one.log\"";
    let node = Started::with(words, |_| {}).serves("one.log");
    let text = node.said("cluster.toml").replace("one.log", "two.log");
    node.dir.file("cluster.toml", &text);
    send(node.child.id(), Signal::HUP);
    wait_until("it is reloaded", || {
        node.said("one.log").contains("reloaded: ")
    });
    assert!(
        node.said("one.log")
            .contains("log was changed: it takes effect at the next start")
    );
    fs::rename(node.at("one.log"), node.at("one.log.1")).expect("it is rotated");
    send(node.child.id(), Signal::USR1);
    wait_until("it is opened anew", || {
        node.said("one.log").contains("opened anew") || node.said("two.log").contains("opened anew")
    });
    assert_eq!(node.said("two.log"), "", "not before the next start");
}

#[test]
fn sessions_on_the_disk_are_for_the_nodes_user_alone_whatever_the_umask() {
    let agent = ports::free();
    let words = format!("admin = false\n[sessions]\nagent = \"{agent}\"");
    let node = Started::under("0", &words, |_| {}).serves("errors");
    let found = fs::metadata(node.at("state/local/sessions")).expect("a directory");
    assert_eq!(found.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_rehearsal_that_another_user_put_in_ones_place_is_not_believed() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    of_nobody(&dir, "tandem-0");
    let place = of_nobody(&dir, "tandem-0/1");
    let state = serde_json::json!({
        "kind": "demo", "pid": 1, "cluster": "theirs", "network": 1, "dir": place, "front": null, "admin": "127.0.0.1:1",
    });
    fs::write(place.join("rehearsal.json"), state.to_string()).expect("a file");
    let socket = std::os::unix::net::UnixListener::bind(place.join("control.sock"));
    let socket = socket.expect("a socket");
    socket.set_nonblocking(true).expect("it does not wait");
    let listed = || {
        let mut command = tandem();
        command
            .args(["node", "kill", "edge"])
            .env("TMPDIR", dir.path());
        command.output().expect("the binary runs")
    };
    assert!(!listed().status.success());
    assert!(socket.accept().is_err(), "nothing is ordered there");
}

#[test]
fn programs_have_the_home_of_the_user_that_the_node_became() {
    if !is_root() {
        return;
    }
    let words = format!(
        "admin = false\nuser = \"{}\"\n[app.told]\nrun = [\"sh\", \"-c\", \"echo $HOME,$USER,$LOGNAME,; exec sleep 4711\"]",
        NOBODY.0
    );
    let node = Started::with(&words, |_| {}).serves("errors");
    let passwd = fs::read_to_string("/etc/passwd").expect("users");
    let line = passwd.lines().find(|line| line.starts_with("nobody:"));
    let home = line
        .and_then(|line| line.split(':').nth(5))
        .expect("a home");
    let told = format!("app told/0: {home},nobody,nobody,\n");
    wait_until("the program says it", || {
        node.said("errors").contains(&told)
    });
}

/// Whether who is at this address has the certificate, which is trusted alone.
fn shows(at: &str, certificate: &str) -> bool {
    let port = at.rsplit_once(':').expect("a port").1;
    let asked = std::process::Command::new("curl")
        .args(["-s", "-o", "/dev/null", "--cacert", certificate])
        .arg(format!("https://localhost:{port}/"))
        .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
        .status();
    asked.expect("curl is there").success()
}

#[test]
fn keys_of_root_are_read_at_the_start_with_a_reload_and_by_the_process_that_follows() {
    if !is_root() {
        return;
    }
    let [old, new, last] = [(); 3].map(|()| certificate::localhost().0);
    let at = ports::free().to_string();
    let words = format!(
        "admin = false\nuser = \"{}\"\n[listener.tls]\nbind = \"{at}\"\ntls = \"keys/key.pem\"\nroute = {{ respond = 200 }}",
        NOBODY.0
    );
    let of_root = |dir: &Dir, text: &str| {
        let file = dir.file("keys/key.pem", text);
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("root's own");
        let keys = dir.path().join("keys");
        fs::set_permissions(keys, fs::Permissions::from_mode(0o700)).expect("root's own");
    };
    let node = Started::with(&words, |dir| {
        for (name, text) in [("old", &old), ("new", &new), ("last", &last)] {
            dir.file(name, text);
        }
        of_root(dir, &old);
    });
    let node = node.serves("errors");
    let trusted = |name: &str| node.at(name).display().to_string();
    assert!(shows(&at, &trusted("old")) && !shows(&at, &trusted("new")));

    of_root(&node.dir, &new);
    // The file, too, is root's from now on.
    let file = node.at("cluster.toml");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("root's own");
    send(node.child.id(), Signal::HUP);
    wait_until("it is reloaded", || {
        node.said("errors").contains("reloaded: ")
    });
    assert!(shows(&at, &trusted("new")), "{}", node.said("errors"));

    let upgraded = node.asked(&["upgrade"]);
    let said = stdout(&upgraded) + &stderr(&upgraded);
    assert!(upgraded.status.success(), "{said}");
    of_root(&node.dir, &last);
    let pid = node.said("state/local/tandem.pid");
    let pid: u32 = pid.trim().parse().expect("a number");
    send(pid, Signal::HUP);
    wait_until("it is reloaded", || shows(&at, &trusted("last")));

    // What serves others has nothing of it, in effect or in reserve.
    let tasks = format!("/proc/{pid}/task");
    let mut workers = 0;
    for task in fs::read_dir(tasks).expect("threads").flatten() {
        let of = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let right = |name: &str| {
            let status = of("status");
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok())
        };
        assert_eq!(right("CapEff:").unwrap_or(0), 0, "{}", of("comm"));
        if of("comm").starts_with("worker") {
            workers += 1;
            assert_eq!(right("CapPrm:"), Some(0), "{}", of("comm"));
        }
    }
    assert_eq!(workers, 1, "its name is known");
}
