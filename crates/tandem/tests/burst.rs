//! A crowd that came once: what it took of a node's memory goes back to the system.

mod common;

use std::io::Write as _;
use std::net::TcpStream;

use common::node::Node;
use common::{get, wait_until};

/// Each holds a buffer of 16 KiB: 12 MiB together. A test may have 1024 descriptors.
const CROWD: usize = 800;
const MIB: f64 = 1024.0 * 1024.0;

const TABLES: &str = r#"workers = 1
[listener.web]
bind = "127.0.0.1:{a}"
log = false
timeouts = { head = "10m" }
route = { to = "www" }
[site.www]
root = "www"
"#;

/// Begins a request and leaves it at that.
fn slow(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.address()).expect("it listens");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n")
        .expect("it is taken");
    stream
}

#[test]
fn the_memory_of_a_crowd_goes_back_to_the_system_also_when_some_of_it_stay() {
    let node = Node::start(TABLES);
    assert_eq!(get(node.address(), "/").status, 200);
    let resident = || {
        let value = node.metric("process_resident_memory_bytes");
        value.expect("a metric") / MIB
    };
    let before = resident();
    let crowd: Vec<TcpStream> = (0..CROWD).map(|_| slow(&node)).collect();
    // The last in the heap: the C library by itself gives back what is behind it.
    let stays = [(); 10].map(|()| slow(&node));
    wait_until("the node has their beginnings", || {
        resident() > before + 11.0
    });
    drop(crowd);
    wait_until("it has given back what they took", || {
        resident() < before + 5.0
    });
    assert_eq!(get(node.address(), "/").status, 200);
    drop(stays);
}
