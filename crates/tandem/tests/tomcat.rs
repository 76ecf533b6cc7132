//! Real Tomcats, with the session manager and nothing else: `examples/tomcat` as it is, two Tomcats in turn without
//! stickiness, while Tomcats, nodes and everything in turn are killed and restarted.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use common::{Dir, Running, Visitor, send, stderr, wait_until};
use rustix::process::Signal;

/// Sessions in use at the same time.
const SESSIONS: usize = 120;
/// Clients, each with its share of the sessions.
const CLIENTS: usize = 6;
/// Small and quick to start: two of them share a laptop with the rest.
const JAVA: &str = "-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:CICompilerCount=1";

/// Path of something in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The session manager's jar; Maven makes it (`mvn -f integrations/tomcat/pom.xml package -DskipTests`).
fn jar(flavour: &str) -> Option<PathBuf> {
    let dir = repository(&format!("integrations/tomcat/{flavour}/target"));
    let found = std::fs::read_dir(dir).ok()?.flatten().find(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with(&format!("tandem-tomcat-{flavour}-"))
            && entry.path().extension().is_some_and(|end| end == "jar")
    })?;
    Some(found.path())
}

/// A Tomcat and the jar for it; without them the test skips, or fails where peers are required.
fn peers(home: &Path, flavour: &str) -> Option<PathBuf> {
    let jar = jar(flavour);
    let missing = match &jar {
        _ if !home.join("bin/catalina.sh").exists() => {
            format!("no Tomcat in {}", home.display())
        }
        None => format!("no {flavour} jar: mvn -f integrations/tomcat/pom.xml package -DskipTests"),
        Some(_) => return jar,
    };
    assert!(
        std::env::var_os("TANDEM_REQUIRE_PEERS").is_none(),
        "{missing}"
    );
    eprintln!("skipped: {missing}");
    None
}

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    /// Connections that nobody took: allowed only while the one front door is restarted.
    refused: AtomicU64,
    door_may_close: AtomicBool,
    stop: AtomicBool,
}

/// One answer of counter.jsp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    n: u64,
    id: String,
    created: String,
    node: String,
}

fn count(text: &str) -> Count {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [n, id, created, node] = words[..] else {
        panic!("no count: {text}");
    };
    Count {
        n: n.parse().unwrap_or_else(|_| panic!("no count: {text}")),
        id: id.into(),
        created: created.into(),
        node: node.into(),
    }
}

/// Uses sessions in turn until told to stop. Panics at the first broken promise.
fn client(front: std::net::SocketAddr, seen: &Seen) {
    let mut sessions: Vec<(Visitor, Count)> = (0..SESSIONS / CLIENTS)
        .map(|_| (Visitor::new(front), Count::default()))
        .collect();
    loop {
        for (visitor, last) in &mut sessions {
            if seen.stop.load(SeqCst) {
                return;
            }
            let page = match visitor.get("/counter.jsp") {
                Ok(page) => page,
                Err(error) if seen.door_may_close.load(SeqCst) => {
                    seen.refused.fetch_add(1, SeqCst);
                    drop(error);
                    thread::sleep(std::time::Duration::from_millis(20));
                    continue;
                }
                Err(error) => panic!("a GET failed: {error}"),
            };
            let text = page.text();
            assert_eq!(page.status, 200, "answered {}: {text}", page.status);
            let now = count(&text);
            assert!(now.n > last.n, "a counter went back: {last:?}, {now:?}");
            if last.n > 0 {
                assert_eq!(
                    (&now.id, &now.created),
                    (&last.id, &last.created),
                    "the session was replaced: {last:?}, {now:?}"
                );
            }
            *last = now;
            seen.answered.fetch_add(1, SeqCst);
        }
    }
}

/// Ends the test early when a client panics.
struct StopOnPanic(Arc<Seen>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        self.0.stop.store(true, SeqCst);
    }
}

/// The cluster file of the example, with what this test adds to the Tomcats' environment.
fn cluster(dir: &Dir, home: &Path, jar: &Path) -> String {
    let example = repository("examples/tomcat");
    let text = std::fs::read_to_string(example.join("cluster.toml")).expect("the example");
    let script = dir.path().join("tomcat/tomcat.sh");
    copy(&example, &dir.path().join("tomcat"));
    dir.file("tomcat/webapps/ROOT/big.jsp", BIG);
    let run = format!(
        "run = [\"sh\", \"{}\"]\nenv = {{ CATALINA_HOME = \"{}\", TANDEM_TOMCAT_JAR = \"{}\", TMPDIR = \"{}\", \
         CATALINA_OPTS = \"{JAVA}\" }}",
        script.display(),
        home.display(),
        jar.display(),
        dir.path().display()
    );
    let plain = "run   = [\"sh\", \"tomcat.sh\"]";
    assert!(text.contains(plain), "the example has changed: {text}");
    dir.file("cluster.toml", &text.replace(plain, &run))
}

/// Puts a large attribute into the session.
const BIG: &str = r#"<%@ page session="true" %><%
session.setAttribute("n", -1);
session.setAttribute("photo", new byte[2000000]);
%>kept"#;

/// Copies a directory.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("a copy");
        }
    }
}

/// A request that makes a session too large is an error, and neither Tomcat knows anything of it afterwards.
fn too_large(front: std::net::SocketAddr) {
    for round in 0..4 {
        let mut visitor = Visitor::new(front);
        for _ in 0..round % 2 {
            Visitor::new(front).get("/who.jsp").expect("a page");
        }
        let counts = |visitor: &mut Visitor, numbers: std::ops::RangeInclusive<u64>| {
            for n in numbers {
                let page = visitor.get("/counter.jsp").expect("a page");
                assert_eq!(count(&page.text()).n, n, "{page:?}");
            }
        };
        counts(&mut visitor, 1..=3);
        let page = visitor.get("/big.jsp").expect("an answer");
        assert_eq!((page.status, page.text().as_str()), (500, ""), "{page:?}");
        counts(&mut visitor, 4..=7);
    }
}

fn scene(home: &Path, flavour: &str, requests: u64) {
    let Some(jar) = peers(home, flavour) else {
        return;
    };
    let dir = Dir::new();
    let file = cluster(&dir, home, &jar);
    let _said = SaidOnFailure(dir.path());
    let cluster = Running::start(&["rehearse", &file]);
    let front = cluster.address();

    // The page alternates, the session does not.
    let mut visitor = Visitor::new(front);
    let mut pages: Vec<Count> = Vec::new();
    for _ in 0..12 {
        let page = visitor.get("/counter.jsp").expect("a page");
        assert_eq!(page.status, 200, "{page:?}");
        pages.push(count(&page.text()));
    }
    for (two, i) in pages.windows(2).zip(2..) {
        assert_ne!(two[0].node, two[1].node, "not in turn: {pages:?}");
        assert_eq!((two[1].n, &two[1].id), (i, &two[0].id), "{pages:?}");
        assert_eq!(two[0].created, two[1].created, "{pages:?}");
    }
    let page = visitor.get("/").expect("a page").text();
    assert!(
        page.contains(&pages[0].id),
        "the page shows its session: {page}"
    );

    login_and_logout(front);
    too_large(front);

    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let seen = seen.clone();
            thread::spawn(move || {
                let stop = StopOnPanic(seen.clone());
                client(front, &seen);
                std::mem::forget(stop);
            })
        })
        .collect();

    let answered = || seen.answered.load(SeqCst);
    let faults = 9;
    let progress = |what: &str| {
        let goal = answered() + requests / (2 * faults + 1);
        wait_until(what, || answered() >= goal || seen.stop.load(SeqCst));
        assert!(!seen.stop.load(SeqCst), "a client failed: {what}");
        println!("{} requests: {what}", answered());
    };
    let node = |args: &[&str]| {
        let done = cluster.node(args);
        assert!(done.status.success(), "{}", stderr(&done));
    };
    progress("in peace");
    node(&["kill", "app1", "--app"]);
    progress("a Tomcat was killed");
    cluster.wait_until_well();
    for killed in [&["app2"][..], &["cache1"], &["app1", "cache2"]] {
        for name in killed {
            node(&["kill", name]);
        }
        progress(&format!("{} killed", killed.join(" and ")));
        for name in killed {
            node(&["start", name]);
        }
        cluster.wait_until_well();
        progress(&format!("{} back", killed.join(" and ")));
    }
    for name in ["app1", "cache1", "app2", "cache2", "edge"] {
        // There is one front door: while it is restarted, nobody comes in.
        seen.door_may_close.store(name == "edge", SeqCst);
        restart(&cluster, name);
        cluster.wait_until_well();
        seen.door_may_close.store(false, SeqCst);
        progress(&format!("{name} restarted"));
    }
    let goal = requests;
    wait_until("all requests", || {
        answered() >= goal || seen.stop.load(SeqCst)
    });
    seen.stop.store(true, SeqCst);
    for client in clients {
        client.join().expect("no client saw a broken promise");
    }
    println!(
        "{} requests, no counter went back, no session was replaced; {} came to a closed door",
        answered(),
        seen.refused.load(SeqCst)
    );
}

/// A login changes the id and leaves the thief of the old one nothing; a logout on one Tomcat is one on the other.
fn login_and_logout(front: std::net::SocketAddr) {
    let text = |visitor: &mut Visitor, path: &str| {
        let page = visitor.get(path).expect("a page");
        assert_eq!(page.status, 200, "{path}: {page:?}");
        page.text()
    };
    for round in 0..6 {
        let mut visitor = Visitor::new(front);
        // Whose turn it is changes with the round: each step comes to each Tomcat.
        for _ in 0..round % 2 {
            text(&mut Visitor::new(front), "/who.jsp");
        }
        assert_eq!(count(&text(&mut visitor, "/counter.jsp")).n, 1);
        let old = visitor.cookie.clone();
        assert_eq!(text(&mut visitor, "/login.jsp?user=ann"), "ann");
        assert_ne!(visitor.cookie, old, "a login changes the id");
        for _ in 0..2 {
            // A request of the page before, which the browser sent before it had the new cookie.
            let mut under_way = Visitor::new(front);
            under_way.cookie.clone_from(&old);
            assert_eq!(text(&mut under_way, "/who.jsp"), "ann", "on each Tomcat");
        }
        assert_eq!(text(&mut visitor, "/who.jsp"), "ann");
        assert_eq!(text(&mut visitor, "/who.jsp"), "ann");
        assert_eq!(count(&text(&mut visitor, "/counter.jsp")).n, 2);
        let cookie = visitor.cookie.clone();
        assert_eq!(text(&mut visitor, "/logout.jsp"), "bye");
        for cookie in [old, cookie] {
            let mut late = Visitor::new(front);
            late.cookie = cookie;
            assert_eq!(text(&mut late, "/who.jsp"), "nobody");
            assert_eq!(text(&mut late, "/who.jsp"), "nobody");
        }
    }
}

/// What the Tomcats said of their sessions, shown when the test fails.
struct SaidOnFailure<'a>(&'a Path);

impl Drop for SaidOnFailure<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let bases = std::fs::read_dir(self.0).into_iter().flatten().flatten();
        for base in bases.map(|entry| entry.path().join("logs")) {
            for log in std::fs::read_dir(base).into_iter().flatten().flatten() {
                let text = std::fs::read(log.path()).unwrap_or_default();
                for line in String::from_utf8_lossy(&text).lines() {
                    if line.contains("io.tandem") || line.contains("SEVERE") {
                        eprintln!("{}: {line}", log.path().display());
                    }
                }
            }
        }
    }
}

/// A graceful end and a new start, as a service manager does it.
fn restart(cluster: &Running, name: &str) {
    let pid = |cluster: &Running| {
        let row = cluster.rows().into_iter().find(|row| row["node"] == name);
        row.and_then(|row| row["pid"].as_u64())
            .map(|pid| pid as u32)
    };
    let old = pid(cluster).expect("a node that runs");
    send(old, Signal::TERM);
    wait_until("the node ends", || !common::runs(old));
    wait_until("the node starts", || {
        cluster.node(&["start", name]).status.success()
            || pid(cluster).is_some_and(|now| now != old)
    });
}

#[test]
fn a_session_survives_whatever_is_killed_on_two_tomcats_10() {
    scene(Path::new("/usr/share/tomcat10"), "jakarta", 20_000);
}

/// A Tomcat from Maven Central, unpacked in the target directory.
fn from_central(version: &str) -> PathBuf {
    let dir = repository("target/tomcats");
    let home = dir.join(format!("apache-tomcat-{version}"));
    if !home.exists() {
        let unpacked = std::process::Command::new("mvn")
            .args([
                "-q",
                "-B",
                "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack",
            ])
            .arg(format!(
                "-Dartifact=org.apache.tomcat:tomcat:{version}:tar.gz"
            ))
            .arg(format!("-DoutputDirectory={}", dir.display()))
            .current_dir(repository("integrations/tomcat/javax"))
            .status();
        assert!(
            unpacked.is_ok_and(|status| status.success()),
            "Maven Central did not give Tomcat {version}"
        );
    }
    home
}

#[test]
#[ignore = "minutes: cargo test -p tandem --test tomcat -- --ignored tomcats_9"]
fn a_session_survives_whatever_is_killed_on_two_tomcats_9() {
    scene(&from_central("9.0.117"), "javax", 100_000);
}

#[test]
#[ignore = "minutes: cargo test -p tandem --test tomcat -- --ignored tomcats_11"]
fn a_session_survives_whatever_is_killed_on_two_tomcats_11() {
    scene(&from_central("11.0.24"), "jakarta", 100_000);
}

#[test]
#[ignore = "minutes: cargo test -p tandem --test tomcat -- --ignored tomcats_10_for_long"]
fn a_session_survives_whatever_is_killed_on_two_tomcats_10_for_long() {
    scene(Path::new("/usr/share/tomcat10"), "jakarta", 100_000);
}
