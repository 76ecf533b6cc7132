//! What no server can do without: a loop that waits, takes a request with `recv` and answers it with one `send` of bytes
//! that were ready before. It reads nothing of the request. What it costs is the kernel's part of a small answer.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

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

/// Serves until it is killed.
pub fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let key = |fd: i32| EventData::new_u64(fd as u64);
    epoll::add(&epoll, &listener, key(listener.as_raw_fd()), EventFlags::IN)?;
    let mut open: HashMap<u64, TcpStream> = HashMap::new();
    let answer = answer();
    let mut request = [0; 16 * 1024];
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let which = event.data.u64();
            let Some(stream) = open.get(&which) else {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let flags = EventFlags::IN | EventFlags::ET;
                epoll::add(&epoll, &stream, key(stream.as_raw_fd()), flags)?;
                open.insert(stream.as_raw_fd() as u64, stream);
                continue;
            };
            match rustix::net::recv(stream, &mut request, RecvFlags::empty()) {
                Ok((n, _)) if n > 0 => {
                    rustix::net::send(stream, &answer, SendFlags::NOSIGNAL)?;
                }
                _ => drop(open.remove(&which)),
            }
        }
    }
}
