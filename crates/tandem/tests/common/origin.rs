//! A server behind a node, which a test tells what to say.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

/// Takes an upgrade when it is asked for one, and sends back what comes.
pub fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        let said: &[u8] = if bytes[..n].starts_with(b"GET ") {
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        } else {
            &bytes[..n]
        };
        if stream.write_all(said).is_err() {
            return;
        }
    }
}

/// A server. Its threads end with the test's process.
#[derive(Clone)]
pub struct Origin {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    gate: Arc<(Mutex<bool>, Condvar)>,
    closed: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Origin {
    /// Answers each request with what `answer` makes of its head: a status line and fields, without a body; `x-name` and
    /// the body are the name. A request for `/hold` is answered when [`release`](Self::release) was called.
    pub fn http(name: &'static str, answer: fn(&str) -> &'static str) -> Self {
        Self::start(move |origin, stream| origin.serve(stream, name, answer))
    }

    /// As [`http`](Self::http), at an address of the test's.
    pub fn http_at(
        address: SocketAddr,
        name: &'static str,
        answer: fn(&str) -> &'static str,
    ) -> Self {
        Self::start_at(address, move |origin, stream| {
            origin.serve(stream, name, answer);
        })
    }

    /// Takes an upgrade when it is asked for one, and echoes.
    pub fn echoing() -> Self {
        Self::start(|_, stream| echo(stream))
    }

    /// Hands each connection to `talk`, in a thread of its own.
    pub fn start(talk: impl Fn(Self, TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), talk)
    }

    fn start_at(
        address: SocketAddr,
        talk: impl Fn(Self, TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let origin = Self {
            address: listener.local_addr().expect("an address"),
            heads: Arc::default(),
            gate: Arc::default(),
            closed: Arc::default(),
            open: Arc::default(),
        };
        let (mine, talk) = (origin.clone(), Arc::new(talk));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if mine.closed.load(SeqCst) {
                    return;
                }
                let (origin, talk) = (mine.clone(), talk.clone());
                let [held, last] = [(); 2].map(|()| stream.try_clone().expect("a descriptor"));
                mine.open.lock().expect("no test panics here").push(held);
                std::thread::spawn(move || {
                    talk(origin, stream);
                    let _ = last.shutdown(Shutdown::Both);
                });
            }
        });
        origin
    }

    /// Lets go of what is held, now and later.
    pub fn release(&self) {
        *self.gate.0.lock().expect("no test panics here") = true;
        self.gate.1.notify_all();
    }

    /// Heads of the requests so far; checks are left out.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no test panics here").clone()
    }

    /// Takes no more connections, and ends those that it has.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
        // Wakes the thread that accepts, whose socket is closed with it.
        let _ = TcpStream::connect(self.address);
        for stream in self.open.lock().expect("no test panics here").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        super::wait_until("it is closed", || TcpStream::connect(self.address).is_err());
    }

    fn serve(self, mut stream: TcpStream, name: &str, answer: fn(&str) -> &'static str) {
        while let Some(head) = read_head(&mut stream) {
            if !head.contains("tandem-check") {
                self.heads
                    .lock()
                    .expect("no test panics here")
                    .push(head.clone());
            }
            if head.contains(" /hold ") || head.starts_with("GET /hold") {
                let gate = self.gate.0.lock().expect("no test panics here");
                let _open = self.gate.1.wait_while(gate, |open| !*open);
            }
            let said = answer(&head);
            let length = name.len();
            let text = format!(
                "HTTP/1.1 {said}\r\nX-Name: {name}\r\nContent-Length: {length}\r\n\r\n{name}"
            );
            if stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Reads a head byte by byte; `None` at the end.
pub fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// A server's answer to everything.
pub fn fine(_: &str) -> &'static str {
    "200 OK"
}
