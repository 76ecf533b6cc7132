//! What the access log says of requests: in which form, how long each part took, and who ended it.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::node::Node;
use common::origin::{Origin, fine, read_head};
use common::{get, raw, request, wait_until};
use serde_json::Value;

/// A listener whose log is JSON, before these servers of the backend `shop`.
fn json(servers: &[&Origin], keys: &str) -> String {
    let servers: Vec<String> = servers
        .iter()
        .zip(["a", "b"])
        .map(|(o, name)| format!("{{ address = \"{}\", name = \"{name}\" }}", o.address))
        .collect();
    format!(
        "access-format = \"json\"\n[listener.web]\nbind = \"127.0.0.1:{{a}}\"\n\
         route = [{{ path = \"/files/*\", to = \"www\" }}, {{ to = \"shop\", name = \"all\" }}]\n\
         [site.www]\nroot = \"www\"\n[backend.shop]\ncheck = false\nservers = [{}]\n{keys}\n",
        servers.join(", ")
    )
}

/// The record of the request with this target, when it is written.
fn record(node: &Node, target: &str) -> Value {
    let mut found = Value::Null;
    wait_until(&format!("{target} is logged"), || {
        let log = node.access_log();
        let records = log.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
        });
        let mut of_target = records.filter(|record| record["uri"] == target);
        found = of_target.next_back().unwrap_or(Value::Null);
        !found.is_null()
    });
    found
}

/// Answers each connection's first request with these bytes, and closes.
fn saying(bytes: &'static [u8]) -> Origin {
    Origin::start(move |_, mut stream| {
        if read_head(&mut stream).is_some() {
            let _ = stream.write_all(bytes);
        }
    })
}

#[test]
fn a_record_has_who_asked_for_what_who_answered_and_how_long_each_part_took() {
    let origin = Origin::http("a", fine);
    let keys = "queue = { timeout = \"1m\" }";
    let file =
        json(&[&origin], keys).replace("name = \"a\" }", "name = \"a\", max-connections = 1 }");
    let node = Node::start(&file);
    let address = node.address();
    let held = std::thread::spawn(move || get(address, "/hold").status);
    wait_until("the server has it", || !origin.heads().is_empty());
    let fields = "User-Agent: a \"browser\"\r\nReferer: /from\r\n";
    let waits = std::thread::spawn(move || request(address, "GET", "/waits?x=1", fields, b""));
    wait_until("it waits", || {
        node.metric("tandem_service_queue_length{service=\"shop\"}") == Some(1.0)
    });
    // Both are there for at least so long.
    let begun = Instant::now();
    get(address, "/files/nothing");
    let between = begun.elapsed().as_secs_f64() * 1_000.0;
    origin.release();
    assert_eq!(held.join().expect("an answer"), 200);
    let page = waits.join().expect("no panic").expect("an answer");

    let waited = record(&node, "/waits?x=1");
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("version", "HTTP/1.1"),
        ("host", "test.example"),
        ("referer", "/from"),
        ("agent", "a \"browser\""),
        ("listener", "web"),
        ("route", "all"),
        ("service", "shop"),
        ("server", "a"),
        ("ended", "-"),
        ("user", ""),
    ] {
        assert_eq!(waited[name], value, "{name}");
    }
    assert_eq!(
        (&waited["status"], &waited["retries"]),
        (&200.into(), &0.into())
    );
    assert_eq!(waited["bytes"], page.body.len());
    assert!(waited["client_port"].as_u64() > Some(1_023), "{waited}");
    let ms = |record: &Value, name: &str| record[name].as_f64().expect("a number");
    assert!(ms(&waited, "queue_ms") >= between, "{waited} {between}");
    assert!(ms(&waited, "total_ms") >= ms(&waited, "queue_ms"));
    let held = record(&node, "/hold");
    assert!(ms(&held, "first_byte_ms") >= between, "{held} {between}");
    assert!(ms(&held, "total_ms") >= ms(&held, "first_byte_ms"));
    assert_eq!(held["queue_ms"], serde_json::json!(0.0));
    let file = record(&node, "/files/nothing");
    assert_eq!(file["service"], "www");
    assert_eq!(file["route"], "/files/*");
    assert_eq!(file["server"], "");
}

#[test]
fn who_ended_a_request_and_when_is_said_in_words() {
    let refusing = Origin::http("a", fine);
    let node = Node::start(&json(
        &[&refusing],
        "retry = 0\ntimeouts = { first-byte = \"300ms\" }",
    ));
    refusing.close();
    assert_eq!(get(node.address(), "/refused").status, 502);
    assert_eq!(record(&node, "/refused")["ended"], "server-failed/connect");
    let out = node.admin("POST /api/v1/servers/shop/a?state=maintenance");
    assert_eq!(out.status, 200);
    assert_eq!(get(node.address(), "/nobody").status, 503);
    assert_eq!(record(&node, "/nobody")["ended"], "no-server/queue");
    let _ = raw(node.address(), b"GET /x HTTP/1.1\r\nBad Name: 1\r\n\r\n");
    assert_eq!(record(&node, "-")["ended"], "refused/request");

    let silent = Origin::start(|_, mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let short = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    let nonsense = saying(b"NONSENSE\r\n\r\n");
    for (origin, path, status, ended) in [
        (&silent, "/silent", 504, "server-timeout/answer"),
        (&nonsense, "/nonsense", 502, "server-failed/answer"),
    ] {
        let node = Node::start(&json(
            &[origin],
            "retry = 0\ntimeouts = { first-byte = \"300ms\" }",
        ));
        assert_eq!(get(node.address(), path).status, status);
        assert_eq!(record(&node, path)["ended"], ended);
    }
    let node = Node::start(&json(&[&short], "retry = 0"));
    assert!(request(node.address(), "GET", "/short", "", b"").is_err());
    assert_eq!(record(&node, "/short")["ended"], "server-failed/body");
}

#[test]
fn a_client_that_leaves_is_named_with_what_it_waited_for() {
    let origin = Origin::http("a", fine);
    let file =
        json(&[&origin], "").replace("name = \"a\" }", "name = \"a\", max-connections = 1 }");
    let node = Node::start(&file);
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(node.address()).expect("the listener");
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        stream
    };
    let leave = |stream: TcpStream| {
        // A reset: whoever only closes its sending half may still listen.
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&stream, linger).expect("an option");
    };
    let held = ask("/hold");
    wait_until("the server has it", || !origin.heads().is_empty());
    let waiting = ask("/waiting");
    wait_until("it waits", || {
        node.metric("tandem_service_queue_length{service=\"shop\"}") == Some(1.0)
    });
    leave(waiting);
    assert_eq!(record(&node, "/waiting")["ended"], "client-left/queue");
    leave(held);
    let held = record(&node, "/hold");
    assert_eq!(
        (&held["ended"], &held["status"]),
        (&"client-left/answer".into(), &0.into())
    );
    origin.release();
}

#[test]
fn a_requests_id_is_the_same_at_the_server_and_in_the_log_and_only_the_trusted_may_give_one() {
    let origin = Origin::http("a", fine);
    let seen = |path: &str| {
        let heads = origin.heads();
        let head = heads.iter().rev().find(|head| head.contains(path));
        let lines: Vec<String> = head
            .expect("the server had it")
            .lines()
            .filter(|line| {
                line.to_lowercase()
                    .replace('_', "-")
                    .starts_with("x-request-id:")
            })
            .map(|line| line.split_once(": ").expect("a value").1.to_owned())
            .collect();
        lines
    };
    let node = Node::start(&json(&[&origin], ""));
    let stated = "X-Request-ID: mine\r\nx_request_id: mine\r\n";
    get(node.address(), "/new");
    request(node.address(), "GET", "/stated", stated, b"").expect("an answer");
    for path in ["/new", "/stated"] {
        let ids = seen(path);
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(ids[0].len(), 32, "{ids:?}");
        assert_eq!(record(&node, path)["request_id"], ids[0]);
    }
    assert_ne!(seen("/new"), seen("/stated"));

    let trusting = json(&[&origin], "").replace("route = [", "trust = \"127.0.0.1\"\nroute = [");
    let node = Node::start(&trusting);
    request(
        node.address(),
        "GET",
        "/trusted",
        "X-Request-ID: mine\r\n",
        b"",
    )
    .expect("an answer");
    assert_eq!(seen("/trusted"), ["mine"]);
    assert_eq!(record(&node, "/trusted")["request_id"], "mine");

    let off = json(&[&origin], "").replace("route = [", "request-id = false\nroute = [");
    let node = Node::start(&off);
    request(
        node.address(),
        "GET",
        "/off",
        "X-Request-ID: theirs\r\n",
        b"",
    )
    .expect("an answer");
    get(node.address(), "/none");
    assert_eq!(seen("/off"), ["theirs"]);
    assert!(seen("/none").is_empty());
    assert_eq!(record(&node, "/off")["request_id"], "");
}

#[test]
fn a_listener_may_have_a_form_of_its_own_and_reloads_change_it() {
    let file = |format: &str| {
        format!(
            "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nlog = {{ format = '{format}' }}\n\
             route = {{ respond = 204 }}\n"
        )
    };
    let node = Node::start(&file("{method} {status} \"{header:X-A}\" {route}"));
    request(node.address(), "GET", "/", "X-A: 1 \"2\"\r\n", b"").expect("an answer");
    wait_until("it is logged", || {
        node.access_log() == "GET 204 \"1 \\x222\\x22\" *\n"
    });
    let news = node.reload(&file("{client}|{uri}"));
    assert!(news.contains("in effect"), "{news}");
    wait_until("the new form is written", || {
        get(node.address(), "/again");
        node.access_log().ends_with("127.0.0.1|/again\n")
    });
    let news = node.reload(&file("{cleint}"));
    assert!(news.contains("did you mean `client`"), "{news}");
}

#[test]
fn no_request_and_no_start_waits_for_who_reads_a_log() {
    let dir = common::Dir::new();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    let node = Node::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nlog = \"{}\"\nroute = {{ respond = 200 }}\n",
        pipe.display()
    ));
    assert_eq!(get(node.address(), "/unread").status, 200);
    wait_until("it is told", || node.log().contains("cannot write to it"));
    let (tell, told) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut lines = std::io::BufReader::new(std::fs::File::open(pipe).expect("it is there"));
        let mut line = String::new();
        while std::io::BufRead::read_line(&mut lines, &mut line).is_ok_and(|n| n > 0) {
            let _ = tell.send(std::mem::take(&mut line));
        }
    });
    let mut read = String::new();
    wait_until("a line is read", || {
        assert_eq!(get(node.address(), "/read").status, 200);
        read.extend(told.try_iter());
        read.contains("/read")
    });
    assert!(!read.contains("/unread"));
    drop(node);
    reading.join().expect("its end is the end");
}
