//! The command line: what it says, and what it refuses.

mod common;

use common::{Dir, has, output, stderr, stdout, tandem};

const SIX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/six.toml");

#[test]
fn every_command_has_help() {
    let overview = stdout(&output(&["--help"]));
    for command in [
        "demo",
        "run",
        "rehearse",
        "check",
        "node",
        "key",
        "memcached",
    ] {
        assert!(overview.contains(command), "{overview}");
        let help = stdout(&output(&[command, "--help"]));
        assert!(
            help.starts_with(&format!("usage: tandem {command}")),
            "{help}"
        );
    }
}

#[test]
fn an_unknown_command_or_option_is_exit_code_2() {
    for args in [
        &["rehears"][..],
        &["demo", "--prot"],
        &["run"],
        &["key", "x"],
        &["node", "kill"],
    ] {
        let wrong = output(args);
        assert_eq!(wrong.status.code(), Some(2), "{args:?}: {}", stderr(&wrong));
        assert!(stderr(&wrong).starts_with("tandem: "), "{}", stderr(&wrong));
    }
}

#[test]
fn two_keys_are_never_the_same() {
    let (one, two) = (stdout(&output(&["key"])), stdout(&output(&["key"])));
    assert_eq!(one.trim().len(), 64);
    assert_ne!(one, two);
}

#[test]
fn check_reports_every_mistake_at_once() {
    let dir = Dir::new();
    let file = dir.file(
        "cluster.toml",
        "[listener.web]\nbind = \":8080\"\nroute = [{ to = \"shpo\" }]\n[app.shop]\nrun = [\"x\"]\ninstnaces = 2\n",
    );
    let checked = output(&["check", &file]);
    assert_eq!(checked.status.code(), Some(2));
    let said = stderr(&checked);
    for part in [
        "shpo",
        "did you mean",
        "instnaces",
        "instances",
        "cluster.toml:3",
        "cluster.toml:6",
    ] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
}

#[test]
fn check_says_where_the_copies_are() {
    let checked = tandem()
        .args(["check", SIX])
        .env("TANDEM_KEY", "the key of a test")
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert!(
        stdout(&checked).contains("third voter is on edge"),
        "{}",
        stdout(&checked)
    );
}

#[test]
fn a_missing_file_and_a_wrong_node_are_one_clear_sentence() {
    let missing = output(&["run", "/nowhere/cluster.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        stderr(&missing).contains("/nowhere/cluster.toml"),
        "{}",
        stderr(&missing)
    );
    let wrong = tandem()
        .args(["run", SIX, "--node", "app9"])
        .env("TANDEM_KEY", "the key of a test")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains("there is no node `app9`"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn a_taken_address_is_one_clear_sentence_with_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = Dir::new();
    dir.file("www/index.html", "x");
    let text = format!(
        "[cluster]\nstate = \"state\"\nadmin = false\n[listener.web]\nbind = \"127.0.0.1:{port}\"\n\
         route = [{{ to = \"www\" }}]\n[site.www]\nroot = \"www\"\n"
    );
    let run = output(&["run", &dir.file("cluster.toml", &text)]);
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(
        stderr(&run).contains(&format!("127.0.0.1:{port}")),
        "{}",
        stderr(&run)
    );
}

#[test]
fn a_rehearsal_can_be_shown_and_shown_is_a_cluster_file() {
    let shown = output(&["rehearse", SIX, "--show"]);
    assert!(shown.status.success(), "{}", stderr(&shown));
    let text = stdout(&shown);
    assert!(
        text.contains("127.84.") && text.contains("demo-app"),
        "{text}"
    );
    let dir = Dir::new();
    let checked = output(&["check", &dir.file("shown.toml", &text)]);
    assert!(checked.status.success(), "{}", stderr(&checked));
}

#[test]
fn memcached_takes_and_gives() {
    // Debian's package is for Debian's own Python, which need not be the first on the path.
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let import = std::process::Command::new(python)
            .args(["-c", "import pymemcache"])
            .output();
        import.is_ok_and(|output| output.status.success())
    });
    let python = python.unwrap_or("/usr/bin/python3");
    if !has(python, &["-c", "import pymemcache"]) {
        return;
    }
    let port = common::ports::free().port().to_string();
    let mut server = tandem()
        .args(["memcached", "-p", &port, "-l", "127.0.0.1", "-u", "root"])
        .spawn()
        .unwrap();
    common::wait_until("the port is open", || {
        std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
    });
    let script = "
import sys
from pymemcache.client.base import Client
c = Client(('127.0.0.1', int(sys.argv[1])))
assert c.set('a', b'1', expire=60) and c.get('a') == b'1'
assert c.incr('a', 4) == 5 and c.decr('a', 2) == 3
value, cas = c.gets('a')
assert c.cas('a', b'x', cas, noreply=False) is True
assert c.cas('a', b'y', cas, noreply=False) is False
assert c.add('a', b'z', noreply=False) is False and c.add('b', b'z', noreply=False)
assert c.append('b', b'!', noreply=False) and c.get('b') == b'z!'
assert c.get_many(['a', 'b', 'c']) == {'a': b'x', 'b': b'z!'}
assert c.touch('a', 10, noreply=False) and c.delete('a', noreply=False) and c.get('a') is None
assert b'version' in c.stats() and c.flush_all(noreply=False) and c.get('b') is None
";
    let spoken = std::process::Command::new(python)
        .args(["-c", script, &port])
        .output()
        .unwrap();
    common::send(server.id(), rustix::process::Signal::TERM);
    let ended = server.wait().unwrap();
    assert!(spoken.status.success(), "{}", stderr(&spoken));
    assert!(ended.success(), "SIGTERM is an orderly end: {ended}");
}
