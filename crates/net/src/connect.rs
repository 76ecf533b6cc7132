//! Opening connections to servers.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::Socket;
use crate::near::settle;

/// Opens a TCP connection to `to`, from the address `from` if this machine has it (else from any), without Nagle's
/// delay. The caller sets the time limit: dropping the future gives up.
///
/// # Errors
/// What the kernel says: refused, unreachable, timed out.
pub async fn tcp(to: SocketAddr, from: Option<IpAddr>) -> io::Result<Socket> {
    let from = from.filter(|from| from.is_ipv4() == to.is_ipv4());
    match connect(new_tcp(to, from)?, &to.into()).await {
        // The address is this machine's no longer, or its ports to this destination are used up.
        Err(e) if from.is_some() && e.kind() == io::ErrorKind::AddrNotAvailable => {
            connect(new_tcp(to, None)?, &to.into()).await
        }
        done => done,
    }
}

/// As [`tcp`], from this address and no other.
///
/// # Errors
/// What the kernel says; that the machine does not have the address, or that it is of another family.
pub async fn tcp_from(to: SocketAddr, from: IpAddr) -> io::Result<Socket> {
    let cannot = |why: &str| {
        let what = format!("a connection to {to} cannot come from {from}: {why}");
        io::Error::new(io::ErrorKind::AddrNotAvailable, what)
    };
    if from.is_ipv4() != to.is_ipv4() {
        return Err(cannot("one is an address of IPv4, the other of IPv6"));
    }
    let socket = plain_tcp(to)?;
    crate::sys::bind_address_no_port(&socket)?;
    match socket.bind(&SocketAddr::new(from, 0).into()) {
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {
            return Err(cannot("this machine does not have that address"));
        }
        bound => bound?,
    }
    connect(socket, &to.into()).await
}

/// Opens a connection to a Unix socket.
///
/// # Errors
/// What the kernel says: no such file, refused.
pub async fn unix(path: &Path) -> io::Result<Socket> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    connect(socket, &SockAddr::unix(path)?).await
}

fn plain_tcp(to: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        Domain::for_address(to),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    settle(&socket, to.ip());
    Ok(socket)
}

fn new_tcp(to: SocketAddr, from: Option<IpAddr>) -> io::Result<socket2::Socket> {
    let socket = plain_tcp(to)?;
    if let Some(from) = from {
        crate::sys::bind_address_no_port(&socket)?;
        match socket.bind(&SocketAddr::new(from, 0).into()) {
            Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {}
            bound => bound?,
        }
    }
    Ok(socket)
}

async fn connect(socket: socket2::Socket, to: &SockAddr) -> io::Result<Socket> {
    // A Unix socket whose queue is full answers EAGAIN and would never become ready: that is an error here.
    let pending = match socket.connect(to) {
        Ok(()) => false,
        Err(e) if e.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => true,
        Err(e) => return Err(e),
    };
    let mut socket = Socket::new(OwnedFd::from(socket))?;
    if pending {
        // Lent as a whole, so that this can be awaited on any thread.
        let whole = &mut socket;
        poll_fn(move |cx| whole.poll_writable(cx)).await?;
        if let Err(e) = rustix::net::sockopt::socket_error(&socket)? {
            return Err(e.into());
        }
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[tokio::test]
    async fn a_connection_comes_from_the_address_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let from = IpAddr::from([127, 0, 0, 9]);
        let socket = tcp(to, Some(from)).await.unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), from);
        drop(socket);
    }

    #[tokio::test]
    async fn an_address_that_is_not_ours_falls_back_to_any() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let _socket = tcp(to, Some(IpAddr::from([192, 0, 2, 1]))).await.unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), Ipv4Addr::LOCALHOST);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        drop(listener);
        let error = tcp(to, None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn an_address_that_is_always_to_be_the_source_is_or_there_is_no_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let _socket = tcp_from(to, "127.0.0.9".parse().unwrap()).await.unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip().to_string(), "127.0.0.9");
        for other in ["192.0.2.1", "::1"] {
            let error = tcp_from(to, other.parse().unwrap()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable, "{error}");
        }
    }
}
