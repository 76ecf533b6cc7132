//! A node that serves files, from outside: what it costs, and what it does when its log has no room.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::calls::{calls, has_strace};
use common::node::Node;
use common::{Dir, get, has, request, wait_until};

/// So many requests on one connection, each answered 200.
fn ask(node: &Node, path: &str, times: usize) {
    let mut stream = TcpStream::connect(node.address()).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let mut length = 0;
    for _ in 0..times {
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = vec![0; 4_096];
        let mut filled = 0;
        while length == 0 || filled < length {
            let n = stream.read(&mut answer[filled..]).expect("it answers");
            assert!(n > 0, "it closed the connection");
            filled += n;
            let text = String::from_utf8_lossy(&answer[..filled]);
            let Some(head) = text.find("\r\n\r\n") else {
                continue;
            };
            assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
            let stated = text.split("Content-Length: ").nth(1).expect("a length");
            let body: usize = stated
                .lines()
                .next()
                .expect("a line")
                .parse()
                .expect("a number");
            length = head + 4 + body;
        }
    }
}

/// One worker, so that it is known which one has the log and whose system calls count.
const PLAIN: &str = "
workers = 1
[listener.web]
bind  = \"127.0.0.1:{a}\"
log   = \"{dir}/logs/access.log\"
route = { to = \"www\" }

[site.www]
root = \"www\"
";

#[test]
fn a_small_file_takes_two_system_calls_and_none_of_the_file_system() {
    if !has_strace() {
        return;
    }
    let prepare = |dir: &Dir| {
        dir.file("www/a.txt", &"x".repeat(1_024));
        dir.file("logs/.keep", "");
    };
    let node = Node::start_with(PLAIN, prepare);
    ask(&node, "/a.txt", 10);
    const TIMES: usize = 1_000;
    let calls = calls(node.id(), || ask(&node, "/a.txt", TIMES));
    let count = |name: &str| calls.get(name).copied().unwrap_or(0);
    let few = TIMES / 20;
    assert!(count("recvfrom") <= TIMES + few, "{calls:?}");
    assert_eq!(count("sendto"), TIMES, "{calls:?}");
    // One wait a request, since there is one connection; waits are shared by connections that are busy together.
    let waits = count("epoll_wait") + count("epoll_pwait") + count("epoll_pwait2");
    let all: usize = calls.values().sum();
    let others = all - waits - count("recvfrom") - count("sendto");
    // The rest is per second and not per request: the log, the root that is looked at, the memory of the beginning.
    assert!(others <= 4 * few, "{calls:?}");
}

#[test]
fn a_log_disk_that_is_full_keeps_no_request_waiting_and_is_said_once() {
    if !has("unshare", &["-rm", "true"]) {
        return;
    }
    let prepare = |dir: &Dir| {
        dir.file("www/a.txt", "a");
        dir.file("logs/.keep", "");
    };
    // A file system of 16 KiB, which nobody else sees.
    let node = Node::start_around(PLAIN, prepare, |dir, command| {
        let script = format!(
            "mount -t tmpfs -o size=16k none '{}/logs' && exec \"$@\"",
            dir.path().display()
        );
        let mut around: Vec<String> = ["unshare", "-rm", "sh", "-c", &script, "sh"]
            .map(Into::into)
            .into();
        around.extend(command);
        around
    });
    let full = "cannot write to it (No space left on device";
    ask(&node, "/a.txt", 1_000);
    wait_until("the log is full", || node.log().contains(full));
    ask(&node, "/a.txt", 1_000);
    // The program itself is what `exec` left of the shell.
    let inside = format!("/proc/{}/root{}/logs", node.id(), node.dir.path().display());
    let log = format!("{inside}/access.log");
    let before = std::fs::read_to_string(&log).expect("the log");
    assert_eq!(before.len(), 16 << 10, "as much as there was room for");
    std::fs::File::options()
        .write(true)
        .open(&log)
        .and_then(|file| file.set_len(100))
        .expect("room is made");
    ask(&node, "/a.txt", 3);
    wait_until("it writes again", || {
        node.log().contains("writes to it again; ")
    });
    let after = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<&str> = after[100..].lines().collect();
    // What was cut stays cut, and what comes after it begins a line of its own.
    assert!(lines.len() >= 4 && lines[0].is_empty(), "{after}");
    for line in &lines[1..] {
        let id = line.rsplit(' ').next().unwrap_or_default();
        let whole = line.starts_with("127.0.0.1 - - [") && id.len() == 32;
        assert!(whole, "{line}");
    }
    assert_eq!(node.log().matches(full).count(), 1);
}

#[test]
fn a_missing_file_goes_to_the_other_service_also_when_the_site_has_a_page_for_it() {
    let tables = "
[listener.web]
bind  = \"127.0.0.1:{a}\"
route = [ { path = \"/only/*\", to = \"www\" }, { to = \"www\", missing = \"other\" } ]

[site.www]
root   = \"www\"
errors = { 404 = \"large.html\" }

[site.other]
root = \"other\"
";
    let prepare = |dir: &Dir| {
        dir.file("www/a.txt", "mine");
        dir.file("www/large.html", &"x".repeat(50_000));
        dir.file("other/b.txt", "theirs");
    };
    let node = Node::start_with(tables, prepare);
    assert_eq!(get(node.address(), "/a.txt").text(), "mine");
    assert_eq!(get(node.address(), "/b.txt").text(), "theirs");
    let nowhere = get(node.address(), "/only/c.txt");
    assert_eq!((nowhere.status, nowhere.text().len()), (404, 50_000));
}

/// A site whose root has `a.txt` and `a.css`, with these keys besides.
fn small_site(keys: &str) -> Node {
    let tables = format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\ntrust = \"127.0.0.0/8\"\nroute = {{ to = \"www\" }}\n\n\
         [site.www]\nroot = \"www\"\n{keys}\n"
    );
    let prepare = |dir: &Dir| {
        std::fs::create_dir(dir.path().join("www")).expect("a root");
        for name in ["a.txt", "a.css", "a.bin"] {
            dir.file(&format!("www/{name}"), "x");
        }
    };
    Node::start_with(&tables, prepare)
}

/// What this client is answered, whose address a proxy that is trusted states.
fn status_for(node: &Node, client: &str) -> u16 {
    let stated = format!("X-Forwarded-For: {client}\r\n");
    let page = request(node.address(), "GET", "/a.txt", &stated, b"");
    page.expect("it answers").status
}

#[test]
fn the_first_access_rule_that_names_a_client_decides() {
    let node = small_site(
        "access = [{ deny = \"10.1.0.7\" }, { allow = [\"10.1.0.0/16\", \"2001:db8::/32\"] }, { deny = \"all\" }]",
    );
    for (client, status) in [
        ("10.1.0.7", 403),
        ("10.1.0.8", 200),
        ("10.2.0.7", 403),
        ("2001:db8::1", 200),
        ("2001:db9::1", 403),
    ] {
        assert_eq!(status_for(&node, client), status, "{client}");
    }
    // Turned round, nobody is left for the second rule.
    let node = small_site("access = [{ deny = \"all\" }, { allow = \"10.1.0.0/16\" }]");
    assert_eq!(status_for(&node, "10.1.0.8"), 403);
}

#[test]
fn text_is_said_to_have_the_charset_of_the_site() {
    for (keys, text, css) in [
        ("", "text/plain; charset=utf-8", "text/css; charset=utf-8"),
        (
            "charset = \"iso-8859-15\"\ntypes = { css = \"text/css; charset=koi8-r\" }",
            "text/plain; charset=iso-8859-15",
            "text/css; charset=koi8-r",
        ),
        ("charset = false", "text/plain", "text/css"),
    ] {
        let node = small_site(keys);
        for (path, kind) in [
            ("/a.txt", text),
            ("/a.css", css),
            ("/a.bin", "application/octet-stream"),
        ] {
            let page = get(node.address(), path);
            assert_eq!(page.field("content-type"), Some(kind), "{keys} {path}");
        }
    }
}

#[test]
fn what_the_server_may_not_read_is_forbidden() {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !has("setpriv", &["--version"]) {
        return;
    }
    let mode = |dir: &Dir, name: &str, bits| {
        let path = dir.path().join(name);
        std::fs::set_permissions(path, PermissionsExt::from_mode(bits)).expect("it is ours");
    };
    let prepare = |dir: &Dir| {
        for (name, text) in [
            ("www/open.txt", "x"),
            ("www/closed.txt", "x"),
            ("www/entered/index.html", "in"),
            ("www/shut/a.txt", "x"),
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below www")).expect("room");
            dir.file(name, text);
        }
        mode(dir, "www/closed.txt", 0o000);
        mode(dir, "www/entered", 0o111);
        mode(dir, "www/shut", 0o000);
    };
    let tables = "[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = { to = \"www\" }\n\n\
                  [site.www]\nroot = \"www\"\nlisting = true\n";
    // Root without what lets it read everything.
    let around = |_: &Dir, command: Vec<String>| {
        let mut around: Vec<String> = Vec::new();
        if is_root {
            let lost = "-dac_override,-dac_read_search";
            around
                .extend(["setpriv", "--inh-caps", lost, "--bounding-set", lost].map(String::from));
        }
        around.extend(command);
        around
    };
    let node = Node::start_around(tables, prepare, around);
    for (path, status) in [
        ("/open.txt", 200),
        ("/closed.txt", 403),
        ("/shut/a.txt", 403),
        ("/shut/", 403),
        ("/entered", 301),
        ("/entered/", 200),
        ("/entered/none.txt", 404),
    ] {
        assert_eq!(get(node.address(), path).status, status, "{path}");
    }
    // The first is told, and the others soon after it are not.
    let told = node.log();
    let told: Vec<_> = told.lines().filter(|line| line.contains("403")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("warning site www: ")
            && told[0].contains("www/closed.txt\" is answered 403: this user may not read it"),
        "{told:?}"
    );
    // The root itself is closed, and opened again.
    for (bits, status) in [(0o000, 403), (0o755, 200)] {
        mode(&node.dir, "www", bits);
        wait_until("the root's mode is noticed", || {
            get(node.address(), "/open.txt").status == status
        });
    }
    mode(&node.dir, "www/shut", 0o755);
}

#[test]
fn a_kernel_that_watches_no_more_directories_is_told_of_and_changes_show_all_the_same() {
    let limited = "echo 2 >/proc/sys/user/max_inotify_watches && exec \"$@\"";
    let alone = ["--user", "--map-root-user", "sh", "-c", limited, "sh"];
    let possible = Command::new("unshare").args(alone).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no user namespace with bounds of its own can be made here");
        return;
    }
    let prepare = |dir: &Dir| {
        for name in ["www/1/a.txt", "www/2/a.txt", "www/3/a.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below www")).expect("room");
            dir.file(name, "old");
        }
    };
    let tables = "[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = { to = \"www\" }\n\n\
                  [site.www]\nroot = \"www\"\n";
    let node = Node::start_around(tables, prepare, |_, command| {
        let around = ["unshare"].into_iter().chain(alone).map(String::from);
        around.chain(command).collect()
    });
    for path in ["/1/a.txt", "/2/a.txt", "/3/a.txt"] {
        assert_eq!(get(node.address(), path).body, b"old");
    }
    wait_until("the bound is told of", || {
        node.log().contains("fs.inotify.max_user_watches")
    });
    for name in ["1/a.txt", "2/a.txt", "3/a.txt"] {
        node.dir.file(&format!("www/{name}"), "new");
        wait_until("the change shows", || {
            get(node.address(), &format!("/{name}")).body == b"new"
        });
    }
    let told = node.log().matches("fs.inotify.max_user_watches").count();
    assert_eq!(told, 1, "it is said once");
}

#[test]
fn a_root_that_the_nodes_user_may_not_enter_is_told_at_the_start_and_by_check() {
    const TABLES: &str = r#"
[listener.web]
bind = "127.0.0.1:{a}"
route = [{ to = "www" }]
[site.www]
root = "www"
"#;
    // Whoever is root may enter everything, until the node becomes somebody else.
    let user = if rustix::process::getuid().is_root() {
        "user = \"nobody\"\n"
    } else {
        ""
    };
    let rights = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    let check = |dir: &Dir| {
        let file = dir.path().join("cluster.toml");
        common::output(&["check", &file.to_string_lossy(), "--here"])
    };
    let close = |dir: &Dir, command| {
        rights(&dir.path().join("www"), 0o600);
        command
    };
    let node = Node::start_around(&format!("{user}{TABLES}"), |_| {}, close);
    let root = node.dir.path().join("www");
    assert_eq!(get(node.address(), "/").status, 403);
    let told = node.log();
    let told = told.lines().find(|line| line.contains("warning"));
    let told = told.expect("a warning");
    assert!(
        told.contains("site www: ") && told.contains(&*root.to_string_lossy()),
        "{told}"
    );
    for closed in [root.clone(), node.dir.path().to_owned()] {
        rights(&root, 0o755);
        rights(&closed, 0o600);
        let said = check(&node.dir);
        // To root the file itself may be read all the same.
        if user.is_empty() && closed != root {
            rights(&closed, 0o755);
            continue;
        }
        rights(&closed, 0o755);
        assert_eq!(said.status.code(), Some(2), "{}", common::stdout(&said));
        let entry = format!("may not enter {}: give it", closed.display());
        assert!(
            common::stdout(&said).contains(&entry),
            "{}",
            common::stdout(&said)
        );
    }
    assert!(check(&node.dir).status.success());
    // Nothing has to be started again.
    wait_until("the page is served", || {
        get(node.address(), "/").status == 200
    });
}

#[test]
fn a_directorys_slash_is_put_behind_the_path_that_was_asked_for() {
    let tables = "
[listener.web]
bind  = \"127.0.0.1:{a}\"
route = [
  { path = \"/s/*\", strip = \"/s\", to = \"www\" },
  { path = \"/moved/*\", rewrite = { \"/moved\" = \"/sub\" }, to = \"www\" },
  { to = \"www\" },
]

[site.www]
root = \"www\"
";
    let prepare = |dir: &Dir| {
        dir.file("www/sub/deep/index.html", "deep");
    };
    let node = Node::start_with(tables, prepare);
    for (path, location) in [
        ("/sub", "/sub/"),
        ("/sub/deep?a=1", "/sub/deep/?a=1"),
        ("/s/sub", "/s/sub/"),
        ("/s/sub/deep?a=1", "/s/sub/deep/?a=1"),
        ("/s//x/../sub", "/s/sub/"),
        // Where it was replaced by something else, that is what is known.
        ("/moved/deep", "/sub/deep/"),
    ] {
        let page = get(node.address(), path);
        assert_eq!(page.status, 301, "{path}");
        assert_eq!(page.field("Location"), Some(location), "{path}");
    }
}
