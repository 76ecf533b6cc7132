//! Connections that are cut off when their server goes down, or when one comes up that is no backup: databases behind TCP mode,
//! and tunnels of HTTP. Tandem with a cluster file, and with a haproxy.cfg beside the real HAProxy.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use common::node::Node;
use common::{Dir, PATIENCE, has, tandem, wait_until};

/// A database: says its name, then what it is told. It can stop listening, and keeps the connections that it has, as one that
/// hangs.
struct Database {
    name: &'static str,
    address: SocketAddr,
    listens: Arc<AtomicBool>,
}

impl Database {
    fn new(name: &'static str) -> Self {
        let mut database = Self {
            name,
            address: common::ports::free(),
            listens: Arc::default(),
        };
        database.begin();
        database
    }

    fn begin(&mut self) {
        let listener = TcpListener::bind(self.address).expect("its port is free");
        listener.set_nonblocking(true).expect("it can be asked");
        let (name, listens) = (self.name, Arc::new(AtomicBool::new(true)));
        self.listens = listens.clone();
        std::thread::spawn(move || {
            while listens.load(SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        std::thread::spawn(move || talk(name, stream));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
    }

    fn end(&self) {
        self.listens.store(false, SeqCst);
        wait_until("it does not listen", || {
            TcpStream::connect(self.address).is_err()
        });
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.listens.store(false, SeqCst);
    }
}

fn talk(name: &str, mut stream: TcpStream) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.write_all(name.as_bytes());
    common::origin::echo(stream);
}

/// A client whose connection is at a server, by what that said first.
struct Client(TcpStream);

impl Client {
    fn connect(front: SocketAddr) -> Option<(Self, String)> {
        let mut stream = TcpStream::connect(front).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut name = [0; 1];
        stream.read_exact(&mut name).ok()?;
        Some((Self(stream), String::from_utf8_lossy(&name).into_owned()))
    }

    /// One that is at this server.
    fn at(front: SocketAddr, wanted: &str) -> Self {
        let mut found = None;
        wait_until("a connection to the server", || {
            found = Self::connect(front).filter(|(_, name)| name == wanted);
            found.is_some()
        });
        found.expect("there is one").0
    }

    fn says(&mut self, text: &[u8]) -> bool {
        let mut back = vec![0; text.len()];
        self.0.write_all(text).is_ok() && self.0.read_exact(&mut back).is_ok() && back == text
    }

    /// Waits for its end, which neither the server nor the client has asked for.
    fn was_cut(mut self) -> bool {
        match self.0.read(&mut [0; 8]) {
            Ok(0) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
            Ok(_) => false,
        }
    }
}

fn cluster(cut: &str, a: &Database, b: &Database) -> String {
    format!(
        "[listener.db]\nbind = \"127.0.0.1:{{a}}\"\nmode = \"tcp\"\nto = \"db\"\n\
         [backend.db]\nservers = [{{ address = \"{}\", name = \"a\" }}, {{ address = \"{}\", name = \"b\", backup = true }}]\n\
         check = {{ every = \"100ms\", fast = \"100ms\", rise = 2, fall = 2 }}\n{cut}\n",
        a.address, b.address
    )
}

#[test]
fn who_is_connected_to_a_server_that_goes_down_is_cut_off_and_so_are_those_at_backups_when_it_is_back()
 {
    let (mut a, b) = (Database::new("a"), Database::new("b"));
    let node = Node::start(&cluster("cut = [\"down\", \"backups\"]", &a, &b));
    let mut first = Client::at(node.address(), "a");
    assert!(first.says(b"hello"));
    a.end();
    assert!(first.was_cut(), "its server is down");
    let mut second = Client::at(node.address(), "b");
    assert!(second.says(b"hello"));
    a.begin();
    assert!(
        second.was_cut(),
        "its server is a backup, and another one is up"
    );
    assert!(Client::at(node.address(), "a").says(b"again"));
    wait_until("the log says so", || {
        let log = node.access_log();
        log.lines()
            .filter(|line| line.contains("server-failed"))
            .count()
            >= 2
            || log.lines().filter(|line| line.contains("TCP db")).count() >= 2
    });
}

#[test]
fn without_a_word_connections_stay_until_one_of_the_two_ends_them() {
    let (mut a, b) = (Database::new("a"), Database::new("b"));
    let node = Node::start(&cluster("", &a, &b));
    let mut first = Client::at(node.address(), "a");
    a.end();
    let mut second = Client::at(node.address(), "b");
    assert!(first.says(b"still there"));
    a.begin();
    let _ = Client::at(node.address(), "a");
    assert!(second.says(b"still there") && first.says(b"and there"));
}

#[test]
fn a_tunnel_of_http_is_cut_off_too_and_its_server_hears_of_it() {
    let (a, b) = (Database::new(""), Database::new(""));
    let tables = cluster("cut = \"down\"", &a, &b).replace("mode = \"tcp\"\n", "");
    let node = Node::start(&tables.replace("to = \"db\"", "route = { to = \"db\" }"));
    let mut stream = TcpStream::connect(node.address()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request).expect("it is sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let mut client = Client(stream);
    assert!(client.says(b"ping"));
    a.end();
    assert!(client.was_cut());
}

/// A program that was given a haproxy.cfg; it ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        common::send(self.0.id(), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

fn command(socket: &Path, text: &str) {
    let mut stream = UnixStream::connect(socket).expect("the socket is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(text.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "\n", "{text}");
}

/// What becomes of clients when a primary fails, returns, is put into maintenance and out of it, and has its sessions ended.
fn story(mut program: Command) {
    let dir = Dir::new();
    let (mut a, b) = (Database::new("a"), Database::new("b"));
    let (front, socket) = (common::ports::free(), dir.path().join("admin"));
    let text = format!(
        "global\n stats socket {} level admin\n\
         defaults\n mode tcp\n timeout connect 2s\n timeout client 10m\n timeout server 10m\n\
         listen db\n bind {front}\n option tcp-check\n \
         default-server inter 100ms rise 2 fall 2 on-marked-down shutdown-sessions\n \
         server a {} check on-marked-up shutdown-backup-sessions\n server b {} check backup\n",
        socket.display(),
        a.address,
        b.address
    );
    let file = dir.file("h.cfg", &text);
    program
        .args(["-db", "-q", "-f", &file])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let _program = Program(program.spawn().expect("it starts"));
    let first = Client::at(front, "a");
    a.end();
    assert!(first.was_cut(), "down");
    let second = Client::at(front, "b");
    a.begin();
    assert!(second.was_cut(), "up");
    let third = Client::at(front, "a");
    command(&socket, "disable server db/a\n");
    assert!(third.was_cut(), "maintenance");
    let fourth = Client::at(front, "b");
    command(&socket, "enable server db/a\n");
    assert!(fourth.was_cut(), "out of maintenance");
    let mut fifth = Client::at(front, "a");
    command(&socket, "set server db/a state drain\n");
    assert!(fifth.says(b"drained servers keep theirs"));
    command(&socket, "shutdown sessions server db/a\n");
    assert!(fifth.was_cut(), "by order");
}

#[test]
fn on_marked_down_and_on_marked_up_do_what_they_do_in_haproxy() {
    if has("haproxy", &["-v"]) {
        story(Command::new("haproxy"));
    }
    let mut own = tandem();
    own.arg("haproxy");
    story(own);
}
