//! Listeners in TCP mode from outside: connections are passed on as they are.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::node::Node;
use common::origin::Origin;
use common::{PATIENCE, wait_until};

/// Reads to the client's end, and only then answers: its name, how much came, and a checksum.
fn counting(name: &'static str) -> Origin {
    Origin::start(move |_, mut stream| {
        let mut got = Vec::new();
        if stream.read_to_end(&mut got).is_ok() {
            let _ = write!(stream, "{name} {} {}", got.len(), sum(&got));
        }
    })
}

/// Says its name at once, as a mail server does, then whatever it is told.
fn echoing(name: &'static str) -> Origin {
    Origin::start(move |_, mut stream| {
        let _ = stream.write_all(name.as_bytes());
        let mut bytes = [0; 16 * 1024];
        while let Ok(n @ 1..) = stream.read(&mut bytes) {
            if stream.write_all(&bytes[..n]).is_err() {
                return;
            }
        }
    })
}

fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(7, |sum, &b| sum * 31 % 1_000_000_007 + u64::from(b))
}

fn listener(keys: &str, servers: &[&Origin]) -> String {
    let list: Vec<String> = servers
        .iter()
        .enumerate()
        .map(|(i, origin)| format!("{{ address = \"{}\", name = \"s{i}\" }}", origin.address))
        .collect();
    format!(
        "[listener.db]\nbind = \"127.0.0.1:{{a}}\"\nmode = \"tcp\"\nto = \"db\"\n{keys}\n[backend.db]\nservers = [{}]\n",
        list.join(", ")
    )
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// What the server says first.
fn hear(stream: &mut TcpStream, length: usize) -> String {
    let mut said = vec![0; length];
    stream.read_exact(&mut said).expect("it says something");
    String::from_utf8(said).expect("text")
}

/// Sends, ends its side, and reads the answer.
fn send_and_end(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("it is sent");
    stream.shutdown(Shutdown::Write).expect("its side ends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn each_side_ends_in_its_own_time_and_a_large_stream_arrives_whole() {
    let origin = counting("db");
    let node = Node::start(&listener("", &[&origin]));
    assert_eq!(
        send_and_end(node.address(), b"hello"),
        format!("db 5 {}", sum(b"hello"))
    );
    let large: Vec<u8> = (0..20_000_000u32).map(|i| ((i * 13) >> 5) as u8).collect();
    assert_eq!(
        send_and_end(node.address(), &large),
        format!("db {} {}", large.len(), sum(&large))
    );
    wait_until("the log has a line of each", || {
        let log = node.access_log();
        let lines = log.lines().filter(|line| line.contains("\"TCP db\" 200 "));
        let lines: Vec<&str> = lines.collect();
        // Each worker writes its own, so that they are in no order.
        let small = lines.iter().filter(|line| line.contains(" db/s0 0 "));
        let large = lines.iter().filter(|line| line.ends_with(" - 20000000"));
        lines.len() == 2 && small.count() >= 1 && large.count() == 1
    });
}

#[test]
fn what_the_server_says_first_and_what_it_streams_comes_back() {
    let origin = echoing("hello");
    let node = Node::start(&listener("", &[&origin]));
    let mut stream = connect(node.address());
    assert_eq!(hear(&mut stream, 5), "hello");
    let large: Vec<u8> = (0..5_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let (mut writer, sent) = (stream.try_clone().expect("a clone"), large.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).expect("it is sent");
        writer.shutdown(Shutdown::Write).expect("its side ends");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("it comes back");
    writing.join().expect("all was sent");
    assert!(back == large, "{} of {} bytes", back.len(), large.len());
}

#[test]
fn connections_go_in_turn_and_past_a_server_that_refuses() {
    let (a, b) = (echoing("a"), echoing("b"));
    let node = Node::start(&listener("", &[&a, &b]));
    let mut open: Vec<TcpStream> = (0..4).map(|_| connect(node.address())).collect();
    let names: Vec<String> = open.iter_mut().map(|stream| hear(stream, 1)).collect();
    assert_eq!(
        names.iter().filter(|name| *name == "a").count(),
        2,
        "{names:?}"
    );
    a.close();
    for _ in 0..4 {
        assert_eq!(hear(&mut connect(node.address()), 1), "b");
    }
    b.close();
    let mut stream = connect(node.address());
    assert_eq!(
        stream.read(&mut [0]).unwrap_or(0),
        0,
        "closed: nobody is there"
    );
    wait_until("the log says so", || {
        node.access_log().contains("\"TCP db\" 50")
    });
}

/// What a TLS client that asks for this name says first.
fn hello(name: &'static str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    bytes
}

#[test]
fn tls_is_passed_on_untouched_to_the_server_of_the_name_it_asks_for() {
    let (a, b) = (counting("a"), counting("b"));
    let text = format!(
        "[listener.tls]\nbind = \"127.0.0.1:{{a}}\"\nmode = \"tcp\"\nroute = [{{ sni = [\"a.example\", \"*.a.example\"], \
         to = \"a\" }}, {{ sni = \"no.example\", deny = true }}, {{ to = \"b\" }}]\n[backend.a]\nservers = \"{}\"\n\
         [backend.b]\nservers = \"{}\"\n",
        a.address, b.address
    );
    let node = Node::start(&text);
    for (name, expected) in [
        ("a.example", "a"),
        ("X.A.Example", "a"),
        ("b.example", "b"),
        ("10.0.0.1", "b"),
    ] {
        let hello = hello(name);
        let expected = format!("{expected} {} {}", hello.len(), sum(&hello));
        assert_eq!(send_and_end(node.address(), &hello), expected, "{name}");
    }
    // In pieces, and something that is no TLS.
    let hello = hello("www.a.example");
    let mut stream = connect(node.address());
    for piece in hello.chunks(hello.len() / 3) {
        stream.write_all(piece).expect("it is sent");
        std::thread::yield_now();
    }
    stream.shutdown(Shutdown::Write).expect("its side ends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("a "), "{answer}");
    assert!(send_and_end(node.address(), b"SSH-2.0-x\r\n").starts_with("b "));
    let denied = connect(node.address()).write_all(&self::hello("no.example"));
    assert!(denied.is_ok());
    wait_until("the log names it", || {
        let log = node.access_log();
        log.contains("\"TCP www.a.example\" 200 ")
            && log.contains("\"TCP no.example\" 403 ")
            && log.contains(" refused/request - ")
    });
}

#[test]
fn the_clients_address_is_taken_and_stated_by_proxy_headers() {
    let origin = Origin::start(|_, mut stream| {
        let mut got = String::new();
        if stream.read_to_string(&mut got).is_ok() {
            let _ = write!(stream, "<{got}>");
        }
    });
    let text = listener("proxy-protocol = true\ntrust = \"127.0.0.1\"", &[&origin]);
    let node = Node::start(&format!("{text}send-proxy = \"v1\"\ncheck = false\n"));
    let answer = send_and_end(
        node.address(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 5555 80\r\nhello",
    );
    assert!(
        answer.starts_with("<PROXY TCP4 192.0.2.7 ")
            && answer.ends_with(" 5555 ") | answer.ends_with("\r\nhello>"),
        "{answer}"
    );
    wait_until("the log has the client", || {
        node.access_log().starts_with("192.0.2.7 ")
    });
}

/// A connection that is closed at once, or one that waits.
fn turned_away(node: &Node) -> Result<(), TcpStream> {
    let mut stream = connect(node.address());
    let short = Some(Duration::from_millis(200));
    stream.set_read_timeout(short).expect("a timeout");
    let ended = matches!(stream.read(&mut [0]), Ok(0));
    ended.then_some(()).ok_or(stream)
}

#[test]
fn a_connection_waits_for_a_busy_server() {
    let origin = echoing("hello");
    let text =
        listener("", &[&origin]).replace("name = \"s0\"", "name = \"s0\", max-connections = 1");
    let node = Node::start(&format!(
        "{text}check = false\nqueue = {{ max = 1, timeout = \"60s\" }}\n"
    ));
    let mut first = connect(node.address());
    assert_eq!(hear(&mut first, 5), "hello");
    let mut second = connect(node.address());
    // A third finds the queue full, as soon as the second is in it.
    wait_until("the queue is full", || match turned_away(&node) {
        Ok(()) => true,
        // Another worker took it first: then it was the second that found the queue full.
        Err(waits) => {
            second = waits;
            false
        }
    });
    second.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    drop(first);
    assert_eq!(hear(&mut second, 5), "hello");
    wait_until("the log says why", || {
        let log = node.access_log();
        log.lines().any(|line| {
            line.contains("\"TCP db\" 503 0 ")
                && line.contains(" queue-")
                && line.ends_with("/queue - 0")
        })
    });
}

#[test]
fn a_client_that_spoke_and_left_gives_up_its_place_in_the_queue() {
    let origin = echoing("hello");
    let text =
        listener("", &[&origin]).replace("name = \"s0\"", "name = \"s0\", max-connections = 1");
    let node = Node::start(&format!(
        "{text}check = false\nqueue = {{ max = 1, timeout = \"60s\" }}\n"
    ));
    let mut first = connect(node.address());
    assert_eq!(hear(&mut first, 5), "hello");
    let mut leaves = connect(node.address());
    leaves.write_all(b"anybody there?").expect("it is sent");
    wait_until("the queue is full", || match turned_away(&node) {
        Ok(()) => true,
        // Another worker took it first: then it was the other that found the queue full.
        Err(mut waits) => {
            waits.write_all(b"anybody there?").expect("it is sent");
            leaves = waits;
            false
        }
    });
    drop(leaves);
    let mut next = None;
    wait_until("there is room", || {
        next = turned_away(&node).err();
        next.is_some()
    });
    drop(first);
    let mut next = next.expect("it waits");
    next.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(hear(&mut next, 5), "hello");
    wait_until("the log says why", || {
        let log = node.access_log();
        log.lines().any(|line| line.contains(" client-left/queue "))
    });
}

#[test]
fn a_route_says_how_long_its_connections_may_be_silent() {
    let origin = echoing("hello");
    let text = listener("", &[&origin]).replace(
        "to = \"db\"",
        "route = [{ to = \"db\", timeouts = { idle = \"300ms\" } }]",
    );
    let node = Node::start(&text);
    let mut silent = connect(node.address());
    assert_eq!(hear(&mut silent, 5), "hello");
    assert_eq!(silent.read(&mut [0]).expect("it is ended in order"), 0);
    wait_until("the log says why", || {
        node.access_log().contains(" idle/body - 0")
    });
}

#[test]
fn a_silent_connection_ends_and_one_that_speaks_does_not() {
    let origin = echoing("hello");
    let node = Node::start(&listener("timeouts = { idle = \"700ms\" }", &[&origin]));
    let (mut silent, mut lively) = (connect(node.address()), connect(node.address()));
    assert_eq!(hear(&mut silent, 5), "hello");
    assert_eq!(hear(&mut lively, 5), "hello");
    silent.set_nonblocking(true).expect("a mode");
    // Until the silent one is ended, the other speaks.
    wait_until("it is ended", || {
        lively.write_all(b"x").expect("it lives");
        assert_eq!(hear(&mut lively, 1), "x");
        matches!(silent.read(&mut [0]), Ok(0))
    });
    wait_until("the log says why", || {
        node.access_log().contains(" idle/body - 0")
    });
}

#[test]
fn a_clients_address_keeps_it_with_its_server() {
    let (a, b) = (echoing("a"), echoing("b"));
    let node = Node::start(&format!("{}stick = \"source\"\n", listener("", &[&a, &b])));
    let first = hear(&mut connect(node.address()), 1);
    for _ in 0..5 {
        assert_eq!(hear(&mut connect(node.address()), 1), first);
    }
}

#[test]
fn a_connection_that_is_one_too_many_is_closed_without_a_byte() {
    for (limits, status) in [("connections = 1", 503), ("per-source = 1", 429)] {
        let origin = echoing("hello");
        let node = Node::start(&listener(&format!("limits = {{ {limits} }}"), &[&origin]));
        let mut first = connect(node.address());
        assert_eq!(hear(&mut first, 5), "hello");
        let mut second = connect(node.address());
        let mut got = Vec::new();
        second.read_to_end(&mut got).expect("it is closed in order");
        assert_eq!(String::from_utf8_lossy(&got), "", "{limits}");
        wait_until("the log says why", || {
            let line = format!("\"TCP db\" {status} 0 ");
            node.access_log().contains(&line)
        });
        assert_eq!(
            first.write(b"x").map(|_| hear(&mut first, 1)).ok(),
            Some("x".into()),
            "the first goes on"
        );
    }
}

#[test]
fn an_address_connects_so_often_and_is_closed_beyond_that() {
    let origin = echoing("db");
    let keys = "limits = { per-source-rate = { limit = \"1/h\", burst = 3 } }";
    let node = Node::start(&listener(keys, &[&origin]));
    let said = || {
        let mut stream = connect(node.address());
        let mut said = [0; 2];
        stream.read_exact(&mut said).is_ok()
    };
    assert_eq!([(); 5].map(|()| said()), [true, true, true, false, false]);
}
