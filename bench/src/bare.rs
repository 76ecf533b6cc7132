//! What no server can do without: a loop that waits, takes a request with `recv` and answers it with one `send` of bytes
//! that were ready before; and what no proxy can: one that passes what it takes on with one `send`, both ways. They read
//! nothing of what they pass. What they cost is the kernel's part of a small answer.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags};

/// As many bytes as a site sends of a file of 1 KiB.
fn answer() -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 00:00:00 GMT\r\nContent-Type: \
        application/octet-stream\r\nAccept-Ranges: bytes\r\nLast-Modified: Fri, 27 Nov 2026 00:00:00 GMT\r\nETag: \
        \"18a0000000000000-400\"\r\nContent-Length: 1024\r\n\r\n"
        .to_vec();
    answer.resize(answer.len() + 1_024, b'x');
    answer
}

/// Answers until it is killed.
pub fn serve(address: SocketAddr) -> io::Result<()> {
    let answer = answer();
    let accepted = |client: TcpStream| Ok(vec![(Rc::new(client), None)]);
    run(address, accepted, &mut |stream, _, _| {
        rustix::net::send(stream, &answer, SendFlags::NOSIGNAL).map(drop)
    })
}

/// Passes on what comes until it is killed, each client over a connection of its own to `origin`.
pub fn relay(address: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    let accepted = |client: TcpStream| {
        let server = TcpStream::connect(origin)?;
        server.set_nonblocking(true)?;
        server.set_nodelay(true)?;
        let (client, server) = (Rc::new(client), Rc::new(server));
        let there = (client.clone(), Some(server.clone()));
        Ok(vec![there, (server, Some(client))])
    };
    run(address, accepted, &mut |_, other, piece| {
        let other = other.expect("every connection has another");
        rustix::net::send(other, piece, SendFlags::NOSIGNAL).map(drop)
    })
}

/// A connection, and the one that it is passed on to.
type Open = (Rc<TcpStream>, Option<Rc<TcpStream>>);

/// What is done with a piece that came over a connection, given the other one.
type Came<'a> = dyn FnMut(&TcpStream, Option<&TcpStream>, &[u8]) -> rustix::io::Result<()> + 'a;

/// Accepts, opening what `accepted` says, and hands every piece that comes to `came`, with its connection and the other one.
fn run(
    address: SocketAddr,
    accepted: impl Fn(TcpStream) -> io::Result<Vec<Open>>,
    came: &mut Came<'_>,
) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let key = |fd: i32| EventData::new_u64(fd as u64);
    epoll::add(&epoll, &listener, key(listener.as_raw_fd()), EventFlags::IN)?;
    let mut open: HashMap<u64, Open> = HashMap::new();
    let mut piece = [0; 16 * 1024];
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let which = event.data.u64();
            if which == listener.as_raw_fd() as u64 {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                for (stream, other) in accepted(stream)? {
                    let (fd, flags) = (stream.as_raw_fd(), EventFlags::IN | EventFlags::ET);
                    epoll::add(&epoll, &*stream, key(fd), flags)?;
                    open.insert(fd as u64, (stream, other));
                }
                continue;
            }
            // The other one may have ended just now.
            let Some((stream, other)) = open.get(&which) else {
                continue;
            };
            let passed = match rustix::net::recv(stream, &mut piece, RecvFlags::empty()) {
                Ok((n, _)) if n > 0 => came(stream, other.as_deref(), &piece[..n]).is_ok(),
                _ => false,
            };
            if !passed && let Some((_, Some(other))) = open.remove(&which) {
                open.remove(&(other.as_raw_fd() as u64));
            }
        }
    }
}
