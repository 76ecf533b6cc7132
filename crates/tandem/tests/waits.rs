//! Whatever can be held open has a limit in the file: each is set there, and a socket is held against it.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::node::Node;
use common::origin::{Origin, fine, read_head};
use common::wait_until;

/// What a server does.
#[derive(Clone, Copy)]
enum Server {
    /// Answers.
    Answers,
    /// Reads a head and says nothing more.
    Silent,
    /// Begins an answer and says nothing more.
    Stalls,
    /// Goes on in another protocol, of which nothing is said.
    Upgrades,
}

impl Server {
    fn start(self) -> Origin {
        let said = match self {
            Self::Answers => return Origin::http("a", fine),
            Self::Silent => "",
            Self::Stalls => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            Self::Upgrades => {
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
            }
        };
        Origin::start(move |_, mut stream| {
            while read_head(&mut stream).is_some() {
                if stream.write_all(said.as_bytes()).is_err() {
                    return;
                }
                let _ = stream.read(&mut [0]);
            }
        })
    }
}

/// A limit, and who holds what open against it.
struct Held {
    listener: &'static str,
    route: &'static str,
    backend: &'static str,
    server: Server,
    /// What the client sends; then it waits.
    sent: &'static str,
    /// How the answer begins; empty for none.
    answer: &'static str,
    /// What the access log says of who ended it, where it was cut off.
    mark: &'static str,
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// The connection is kept.
const KEPT: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
const HALF: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";

const PLAIN: Held = Held {
    listener: "",
    route: "",
    backend: "",
    server: Server::Silent,
    sent: GET,
    answer: "",
    mark: "",
};

const TIMES: &[(&str, Held)] = &[
    (
        "head of a listener",
        Held {
            listener: "timeouts = { head = \"100ms\" }",
            sent: "GET / HTTP/1.1\r\nHost:",
            answer: "HTTP/1.1 408 ",
            ..PLAIN
        },
    ),
    (
        "idle of a listener, before a request",
        Held {
            listener: "timeouts = { idle = \"100ms\" }",
            sent: "",
            ..PLAIN
        },
    ),
    (
        "idle of a listener, between requests",
        Held {
            listener: "timeouts = { idle = \"100ms\" }",
            server: Server::Answers,
            sent: KEPT,
            answer: "HTTP/1.1 200 OK\r\n",
            ..PLAIN
        },
    ),
    (
        "idle of a listener, in a tunnel",
        Held {
            listener: "timeouts = { idle = \"100ms\" }",
            server: Server::Upgrades,
            sent: UPGRADE,
            answer: "HTTP/1.1 101 ",
            mark: " idle/",
            ..PLAIN
        },
    ),
    (
        "idle of a route, in a tunnel",
        Held {
            route: "timeouts = { idle = \"100ms\" }",
            server: Server::Upgrades,
            sent: UPGRADE,
            answer: "HTTP/1.1 101 ",
            mark: " idle/",
            ..PLAIN
        },
    ),
    (
        "first-byte of a service",
        Held {
            backend: "timeouts = { first-byte = \"100ms\" }",
            answer: "HTTP/1.1 504 ",
            ..PLAIN
        },
    ),
    (
        "first-byte of a route",
        Held {
            route: "timeouts = { first-byte = \"100ms\" }",
            answer: "HTTP/1.1 504 ",
            ..PLAIN
        },
    ),
    (
        "timeout of retries",
        Held {
            backend: "retry = { tries = 1, timeout = \"100ms\" }",
            answer: "HTTP/1.1 504 ",
            ..PLAIN
        },
    ),
    (
        "body of a service, on its way to a server",
        Held {
            backend: "timeouts = { body = \"100ms\" }",
            sent: HALF,
            answer: "HTTP/1.1 408 ",
            ..PLAIN
        },
    ),
    (
        "body of a service, on its way back",
        Held {
            backend: "timeouts = { body = \"100ms\" }",
            server: Server::Stalls,
            answer: "HTTP/1.1 200 OK\r\n",
            mark: " server-timeout/",
            ..PLAIN
        },
    ),
    (
        "body of a route",
        Held {
            route: "timeouts = { body = \"100ms\" }",
            server: Server::Stalls,
            answer: "HTTP/1.1 200 OK\r\n",
            mark: " server-timeout/",
            ..PLAIN
        },
    ),
];

/// A node before a server of this kind.
fn before(held: &Held, origin: &Origin) -> Node {
    let Held {
        listener,
        route,
        backend,
        ..
    } = held;
    let comma = if route.is_empty() { "" } else { ", " };
    Node::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\n{listener}\nroute = [{{ to = \"shop\"{comma}{route} }}]\n\
         [backend.shop]\nservers = {{ address = \"{}\", name = \"s1\" }}\ncheck = false\n{backend}\n",
        origin.address
    ))
}

/// Less than any limit is unless the file says otherwise, so that none of those lets go in its place.
const HELD: Duration = Duration::from_secs(25);

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address()).expect("a connection");
    stream.set_read_timeout(Some(HELD)).expect("a timeout");
    stream
}

/// What comes until the other side closes.
fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    if let Err(error) = stream.read_to_end(&mut answer) {
        let reset = error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(reset, "it is held for too long: {error}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn nothing_is_held_open_for_longer_than_the_file_says() {
    std::thread::scope(|rows| {
        for (what, held) in TIMES {
            rows.spawn(|| is_let_go(what, held));
        }
    });
}

/// The client is told, and let go, and the log says why.
fn is_let_go(what: &str, held: &Held) {
    let origin = held.server.start();
    let node = before(held, &origin);
    let mut client = connect(&node);
    client.write_all(held.sent.as_bytes()).expect("it is sent");
    let answer = rest(&mut client);
    assert!(answer.starts_with(held.answer), "{what}: {answer}");
    assert_eq!(
        answer.is_empty(),
        held.answer.is_empty(),
        "{what}: {answer}"
    );
    if !held.mark.is_empty() {
        wait_until(what, || {
            let log = node.access_log();
            log.lines().any(|line| line.contains(held.mark))
        });
    }
}

#[test]
fn a_request_waits_in_the_queue_for_as_long_as_its_route_says() {
    let origin = Origin::http("a", fine);
    let held = Held {
        route: "timeouts = { queue = \"100ms\" }",
        backend: "queue = { timeout = \"1h\" }",
        ..PLAIN
    };
    let text = format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"shop\", {} }}]\n[backend.shop]\n\
         servers = {{ address = \"{}\", name = \"a\", max-connections = 1 }}\ncheck = false\n{}\n",
        held.route, origin.address, held.backend
    );
    let node = Node::start(&text);
    let mut first = connect(&node);
    write!(first, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is sent");
    wait_until("the server is busy", || origin.heads().len() == 1);
    let mut late = connect(&node);
    write!(
        late,
        "GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .expect("it is sent");
    let answer = rest(&mut late);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    origin.release();
}

#[test]
fn a_client_whose_name_decides_and_who_does_not_say_it_is_closed() {
    let origin = Origin::http("a", fine);
    let node = Node::start(&format!(
        "[listener.tls]\nbind = \"127.0.0.1:{{a}}\"\nmode = \"tcp\"\ntimeouts = {{ head = \"100ms\" }}\n\
         route = [{{ sni = \"a.example\", to = \"shop\" }}]\n[backend.shop]\nservers = \"{}\"\n",
        origin.address
    ));
    for begins in [&b""[..], b"\x16\x03\x01\x02"] {
        let mut client = connect(&node);
        client.write_all(begins).expect("it is sent");
        assert_eq!(rest(&mut client), "");
    }
    wait_until("the log says why", || {
        let log = node.access_log();
        log.lines()
            .filter(|line| line.contains(" client-timeout/request "))
            .count()
            == 2
    });
}

#[test]
fn nobody_asks_for_more_than_the_file_says() {
    let held = Held {
        listener: "limits = { head = \"1 KiB\", fields = 10, uri = \"64 B\", body = \"10 B\" }",
        ..PLAIN
    };
    let origin = Server::Answers.start();
    let node = before(&held, &origin);
    let long = "a".repeat(1_000);
    for (request, status) in [
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10)),
            431,
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..64]),
            414,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n".into(),
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n"
                .into(),
            413,
        ),
    ] {
        let mut client = connect(&node);
        client.write_all(request.as_bytes()).expect("it is sent");
        let answer = rest(&mut client);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
}

#[test]
fn no_more_connections_are_held_than_the_file_says() {
    for (limit, status) in [("connections", 503), ("per-source", 429)] {
        let listener = format!("limits = {{ {limit} = 2 }}");
        let origin = Server::Answers.start();
        let node = Node::start(&format!(
            "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\n{listener}\nroute = [{{ to = \"shop\" }}]\n\
             [backend.shop]\nservers = \"{}\"\ncheck = false\n",
            origin.address
        ));
        let held: Vec<TcpStream> = (0..2)
            .map(|_| {
                let mut client = connect(&node);
                client.write_all(KEPT.as_bytes()).expect("it is sent");
                assert!(read_head(&mut client).is_some());
                client
            })
            .collect();
        let answer = rest(&mut connect(&node));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{limit}: {answer}"
        );
        drop(held);
        wait_until("there is room again", || {
            let mut client = connect(&node);
            client.write_all(GET.as_bytes()).is_ok()
                && rest(&mut client).starts_with("HTTP/1.1 200 ")
        });
    }
}

/// A listener of two connections, where others wait.
fn with_room_for_two(mode: &str, origin: &Origin) -> String {
    let to = match mode {
        "tcp" => "mode = \"tcp\"\nto = \"shop\"",
        _ => "route = [{ to = \"shop\" }]",
    };
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\n\
         limits = {{ connections = 2, beyond = \"wait\" }}\n{to}\n\
         [backend.shop]\nservers = \"{}\"\ncheck = false\n",
        origin.address
    )
}

/// Asks over a new connection, and says whether the answer comes soon.
fn asks(node: &Node) -> (TcpStream, bool) {
    let mut client = connect(node);
    client.write_all(GET.as_bytes()).expect("it is sent");
    let mut first = [0];
    let soon = Some(Duration::from_millis(300));
    client.set_read_timeout(soon).expect("it has a limit");
    let answered = client.peek(&mut first).is_ok();
    let limit = Some(Duration::from_secs(20));
    client.set_read_timeout(limit).expect("it has a limit");
    (client, answered)
}

#[test]
fn connections_beyond_the_limit_wait_until_one_ends_whichever_worker_they_came_to() {
    for mode in ["http", "tcp"] {
        let origin = Server::Answers.start();
        let node = Node::start(&with_room_for_two(mode, &origin));
        // They have not asked yet, so that they need not make room.
        let mut held: Vec<TcpStream> = (0..2).map(|_| connect(&node)).collect();
        wait_until("both are in", || !asks(&node).1);
        let waiting: Vec<TcpStream> = (0..6)
            .map(|_| {
                let (client, answered) = asks(&node);
                assert!(!answered, "{mode}: it is answered with two others in");
                client
            })
            .collect();
        // One place is enough for all of them, in turn.
        held.pop();
        let waiting: Vec<_> = waiting
            .into_iter()
            .map(|mut client| std::thread::spawn(move || read_head(&mut client)))
            .collect();
        for client in waiting {
            let answer = client.join().expect("it reads").unwrap_or_default();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{mode}: {answer}");
        }
    }
}

#[test]
fn a_connection_that_is_kept_and_idle_makes_room_for_one_that_waits() {
    let origin = Server::Answers.start();
    let node = Node::start(&with_room_for_two("http", &origin));
    let mut kept: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut client = connect(&node);
            client.write_all(KEPT.as_bytes()).expect("it is sent");
            assert!(read_head(&mut client).is_some());
            client
        })
        .collect();
    // They are kept for a minute, and whoever waits does not wait for that. One of each worker, maybe.
    for _ in 0..8 {
        let answer = rest_of(&node);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let mut ended = 0;
    for client in &mut kept {
        client.set_nonblocking(true).expect("it is set");
        let mut all = Vec::new();
        ended += usize::from(client.read_to_end(&mut all).is_ok());
    }
    assert!(ended > 0, "nobody made room");
}

fn rest_of(node: &Node) -> String {
    let mut client = connect(node);
    client.write_all(GET.as_bytes()).expect("it is sent");
    rest(&mut client)
}

#[test]
fn a_reload_that_raises_the_limit_lets_those_in_who_wait() {
    let origin = Server::Answers.start();
    let tables = with_room_for_two("http", &origin);
    let node = Node::start(&tables);
    let _held: Vec<TcpStream> = (0..2).map(|_| connect(&node)).collect();
    wait_until("both are in", || !asks(&node).1);
    let (mut waiting, answered) = asks(&node);
    assert!(!answered);
    node.reload(&tables.replace("connections = 2", "connections = 3"));
    assert!(rest(&mut waiting).starts_with("HTTP/1.1 200 "));
}
