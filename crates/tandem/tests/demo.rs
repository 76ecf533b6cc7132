//! The demo as a newcomer meets it.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use common::{
    Dir, Running, Visitor, get, output, parse, raw, request, runs, send, stderr, stdout, tandem,
    wait_until,
};
use rustix::process::Signal;
use serde_json::{Value, json};

fn demo() -> Running {
    // A proof does not count as the one demo of the machine, so that tests run beside a developer's own.
    Running::start(&[
        "rehearse",
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/six.toml"),
    ])
}

/// Every process of a rehearsal: nodes and applications.
fn pids(running: &Running) -> Vec<u32> {
    let rows = running.rows();
    let nodes = rows.iter().filter_map(|row| row["pid"].as_u64());
    let apps = rows
        .iter()
        .flat_map(|row| row["app_pids"].as_array().into_iter().flatten())
        .filter_map(Value::as_u64);
    nodes.chain(apps).map(|pid| pid as u32).collect()
}

#[test]
fn the_scene_plays_without_a_browser() {
    let proof = output(&["demo", "--prove"]);
    assert!(
        proof.status.success(),
        "{}{}",
        stdout(&proof),
        stderr(&proof)
    );
    assert!(
        stdout(&proof)
            .lines()
            .filter(|line| line.starts_with("ok "))
            .count()
            >= 10,
        "{}",
        stdout(&proof)
    );
}

#[test]
fn pages_come_from_the_applications_in_turn_and_files_from_the_files_node() {
    let demo = demo();
    let front = demo.address();
    let page = get(front, "/");
    assert_eq!((page.status, page.text().trim()), (200, "a static page"));

    let mut visitor = Visitor::new(front);
    let first = visitor.get("/test/session").unwrap();
    let cookie = first
        .field("set-cookie")
        .expect("a session cookie")
        .to_owned();
    assert!(cookie.starts_with("JSESSIONID="), "{cookie}");
    assert!(
        cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Lax")
            && !cookie.contains("Secure"),
        "{cookie}"
    );
    let first = first.json();
    let second = visitor.get("/test/session").unwrap().json();
    let third = visitor.get("/test/session").unwrap().json();
    assert_ne!(first["served_by"], second["served_by"]);
    assert_eq!(first["served_by"], third["served_by"]);
    for key in ["session_id", "created"] {
        assert_eq!(first[key], third[key], "{key}");
    }
    assert_eq!(third["visits"], json!(3));

    let stored = visitor
        .post_json("/test/session", r#"{"key":"cart","value":{"tea":2}}"#)
        .unwrap();
    assert_eq!(stored.status, 200);
    for path in ["/test/", "/test/index.jsp", "/test/index.do"] {
        let page = visitor.get(path).unwrap();
        assert_eq!(page.status, 200, "{path}");
        assert!(
            page.text().contains(first["session_id"].as_str().unwrap()),
            "{path}"
        );
    }
    let last = visitor.get("/test/session").unwrap().json();
    assert_eq!(last["attributes"], json!({"cart": {"tea": 2}}));
}

#[test]
fn an_absent_image_is_asked_of_the_application() {
    let demo = demo();
    let page = get(demo.address(), "/images/absent.png");
    assert_eq!(
        (
            page.status,
            page.text().contains("the application has no such page")
        ),
        (404, true),
        "{page:?}"
    );
}

#[test]
fn malformed_requests_are_refused_and_the_node_lives() {
    let demo = demo();
    let front = demo.address();
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "400"),
        (b"nonsense\r\n\r\n", "400"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "501"),
    ] {
        let answer = String::from_utf8_lossy(&common::raw(front, request).unwrap()).into_owned();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{:?}: {answer}",
            String::from_utf8_lossy(request)
        );
    }
    let big = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let answer = common::raw(front, big.as_bytes()).unwrap_or_default();
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(get(front, "/").status, 200);
    assert_eq!(request(front, "POST", "/", "", b"x").unwrap().status, 405);
}

#[test]
fn every_signal_stops_everything_it_started() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let demo = demo();
        let pids = pids(&demo);
        assert_eq!(pids.len(), 8, "six nodes and two applications");
        demo.stop_by(signal);
        wait_until("all processes are gone", || {
            !pids.iter().any(|&pid| runs(pid))
        });
    }
}

#[test]
fn a_second_signal_stops_everything_at_once() {
    let demo = demo();
    let nodes: Vec<_> = demo
        .rows()
        .iter()
        .filter_map(|row| row["pid"].as_u64())
        .collect();
    // One that does not hear the order to stop holds the others up, for as long as it is given.
    let deaf = nodes[0] as u32;
    common::send(deaf, Signal::STOP);
    let last = *nodes.last().expect("nodes run") as u32;
    // The state file, which says it too, goes when it is told to stop.
    let network = demo.network();
    common::send(demo.pid(), Signal::INT);
    wait_until("it stops", || {
        let list = common::output(&["node", "list", "--rehearsal", &network]);
        !list.status.success()
    });
    demo.stop_by(Signal::INT);
    assert!(!runs(deaf) && !runs(last), "a node outlives the rehearsal");
}

#[test]
fn nothing_outlives_a_rehearsal_that_is_killed() {
    let demo = demo();
    let pids = pids(&demo);
    demo.stop_by(Signal::KILL);
    wait_until("all processes are gone", || {
        !pids.iter().any(|&pid| runs(pid))
    });
}

#[test]
fn a_network_is_not_given_again_before_the_last_node_is_gone() {
    // A node that is slow to go: one that is stopped. Not before its supervisor is killed, when the kernel would wake it, as
    // nobody is left who could; on a machine that has no time it may be gone before.
    let stays = (0..10).find_map(|_| {
        let first = demo();
        let network = first.network();
        let rows = first.rows();
        let slow = rows
            .iter()
            .find(|row| row["node"] == "cache1")
            .and_then(|row| row["pid"].as_u64());
        let slow = slow.expect("cache1 runs") as u32;
        first.stop_by(Signal::KILL);
        common::send(slow, Signal::STOP);
        let mut state = common::state(slow);
        while !matches!(state, None | Some('T' | 'Z' | 'X')) {
            std::thread::yield_now();
            state = common::state(slow);
        }
        (state == Some('T')).then_some((network, slow))
    });
    let (network, slow) = stays.expect("a node that is stopped before it is gone");
    let second = demo();
    assert_ne!(second.network(), network);
    common::send(slow, Signal::CONT);
    wait_until("the slow node is gone", || !runs(slow));
}

#[test]
fn a_taken_port_that_was_asked_for_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let demo = output(&["demo", "--prove", "--port", &port]);
    assert_eq!(demo.status.code(), Some(2));
    assert!(
        stderr(&demo).contains(&format!("port {port} of 127.0.0.1 is taken")),
        "{}",
        stderr(&demo)
    );
}

#[test]
fn nodes_are_killed_and_started_by_name() {
    let demo = demo();
    let wrong = demo.node(&["kill", "app3"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        stderr(&wrong).contains("there are edge, files, app1"),
        "{}",
        stderr(&wrong)
    );
    assert!(stdout(&demo.node(&["kill", "files"])).contains("killed files"));
    let listed = stdout(&demo.node(&["list"]));
    let files = listed
        .lines()
        .find(|line| line.starts_with("files"))
        .unwrap_or_default();
    assert!(files.contains("down"), "{listed}");
    assert!(stdout(&demo.node(&["kill", "app1"])).contains("killed app1"));
    let again = demo.node(&["kill", "app1", "--app"]);
    assert_eq!(stderr(&again), "tandem: app1 does not run\n");
    assert!(demo.node(&["start", "app1"]).status.success());
    assert!(demo.node(&["start", "files"]).status.success());
    demo.wait_until_well();
    assert_eq!(get(demo.address(), "/").status, 200);
}

#[test]
fn the_status_page_shows_every_node() {
    let demo = demo();
    let admin = demo.state()["admin"].as_str().unwrap().to_owned();
    let admin = admin
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .parse()
        .unwrap();
    assert!(
        get(admin, "/")
            .text()
            .contains("<title>Tandem status</title>")
    );
    // By name it answers to `localhost` alone: any other could be another site's.
    assert_eq!(get(admin, "/api/v1/nodes").status, 403);
    let ask = b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let rows = parse(&raw(admin, ask).expect("an answer")).expect("a whole answer");
    let rows = rows.json();
    let names: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["node"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["edge", "files", "app1", "app2", "cache1", "cache2"]);
}

#[test]
fn a_second_demo_names_the_first_and_stop_ends_it() {
    if common::demo_runs() {
        eprintln!("skipped: a demo runs on this machine");
        return;
    }
    let mut first = Running::start(&["demo"]);
    let second = output(&["demo"]);
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    assert!(
        said.contains(&format!("pid {}", first.pid())) && said.contains("tandem demo --stop"),
        "{said}"
    );
    assert_eq!(
        get(first.address(), "/stylesheets/demo.css").field("content-type"),
        Some("text/css; charset=utf-8")
    );
    let stopped = output(&["demo", "--stop"]);
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    assert!(first.wait().success());
}

#[test]
fn a_rehearsal_whose_application_does_not_start_says_so_while_it_waits() {
    let dir = Dir::new();
    let file = dir.file(
        "cluster.toml",
        "[app.shop]\nrun = [\"sh\", \"-c\", \"echo no engine here; exit 1\"]\n",
    );
    let mut child = tandem()
        .args(["rehearse", &file])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let said = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let mut lines = said.lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("is not ready yet"));
    let line = line.expect("it is said");
    assert!(line.contains("shop/0: it exited with status 1"), "{line}");
    let log = line.rsplit_once("(its log: ").expect("its log is named").1;
    let log = std::fs::read_to_string(log.trim_end_matches(')')).expect("it is there");
    assert!(log.contains("no engine here"), "{log}");
    send(child.id(), Signal::TERM);
    child.wait().expect("it ends");
}
