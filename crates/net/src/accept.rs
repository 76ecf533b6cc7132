//! Taking connections from a listening socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::Socket;
use crate::near::settle;

/// The rest after the kernel refused a connection for want of descriptors or memory: some must be closed first, and
/// asking again at once would only burn the worker.
const REST: Duration = Duration::from_millis(20);

/// A listening socket on this worker's event loop.
#[derive(Debug)]
pub struct Acceptor {
    fd: AsyncFd<OwnedFd>,
    /// Connections of this machine come among others.
    is_open: bool,
}

/// A connection that was taken.
#[derive(Debug)]
pub struct Accepted {
    /// The connection; TCP without Nagle's delay.
    pub socket: Socket,
    /// Who opened it; a Unix socket's peer is 127.0.0.1 with port 0.
    pub peer: SocketAddr,
}

impl Acceptor {
    /// Takes a listening, non-blocking socket (see [`crate::listen::bind`]) onto the current worker's event loop.
    ///
    /// # Errors
    /// When the event loop cannot watch it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let address = SocketAddr::try_from(rustix::net::getsockname(&socket)?).ok();
        if let Some(address) = address {
            // Linux hands these down to the connections: one system call less for each.
            rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
            settle(&socket, address.ip());
        }
        Ok(Self {
            fd: crate::sys::watch(socket, Interest::READABLE)?,
            is_open: address.is_some_and(|address| address.ip().is_unspecified()),
        })
    }

    /// Where it listens; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(rustix::net::getsockname(self.fd.get_ref()).ok()?).ok()
    }

    /// The next connection. Connections that broke before they were taken are passed over; when the process or the
    /// machine is out of descriptors or memory it rests and tries again, and `starved` is told.
    ///
    /// # Errors
    /// When the listening socket itself is broken, which is the end of it.
    pub async fn accept(&self, mut starved: impl FnMut(io::Error)) -> io::Result<Accepted> {
        loop {
            if let Some(accepted) = self.accept_one(&mut starved).await? {
                return Ok(accepted);
            }
        }
    }

    /// As [`accept`](Self::accept), but takes once what is there: `None` when there was nothing to be had.
    ///
    /// # Errors
    /// When the listening socket itself is broken, which is the end of it.
    pub async fn accept_one(
        &self,
        mut starved: impl FnMut(io::Error),
    ) -> io::Result<Option<Accepted>> {
        let mut ready = self.fd.readable().await?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match rustix::net::acceptfrom_with(self.fd.get_ref(), flags) {
            Ok((fd, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                if let Some(peer) = peer.filter(|_| self.is_open) {
                    settle(&fd, peer.ip());
                }
                match Socket::new(fd) {
                    Ok(socket) => {
                        let peer = peer.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
                        return Ok(Some(Accepted { socket, peer }));
                    }
                    Err(e) => starved(e),
                }
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(e @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                starved(e.into());
                tokio::time::sleep(REST).await;
            }
            // The listening socket is no longer one.
            Err(e @ (Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP)) => {
                return Err(e.into());
            }
            // accept(2) hands out errors of the new connection too: ECONNABORTED and those of the network.
            Err(_) => tokio::task::yield_now().await,
        }
        Ok(None)
    }

    /// Waits until a connection is there, and leaves it in the kernel's queue. The event loop remembers that one was
    /// there also when it was the last, so that the kernel is asked.
    ///
    /// # Errors
    /// When the event loop has ended, or the kernel does not tell.
    pub async fn asked(&self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut socket = [PollFd::new(self.fd.get_ref(), PollFlags::IN)];
            match rustix::event::poll(&mut socket, Some(&Timespec::default())) {
                Ok(0) => ready.clear_ready(),
                // What is wrong with the socket is told by accept(2).
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::bind;
    use futures_util::FutureExt as _;
    use tandem_model::Address;

    #[tokio::test]
    async fn connections_are_taken_with_their_peers_address() {
        let bound = bind(&Address::tcp("127.0.0.1", 0), 1).unwrap().remove(0);
        let address = bound.address.unwrap();
        let acceptor = Acceptor::new(bound.sockets.into_iter().next().unwrap()).unwrap();
        assert_eq!(acceptor.address(), Some(address));
        let client = std::net::TcpStream::connect(address).unwrap();
        let accepted = acceptor.accept(|e| panic!("{e}")).await.unwrap();
        assert_eq!(accepted.peer, client.local_addr().unwrap());
        assert!(rustix::net::sockopt::tcp_nodelay(&accepted.socket).unwrap());
        let congestion = rustix::net::sockopt::tcp_congestion(&accepted.socket);
        assert_eq!(congestion.unwrap(), "reno");
        accepted.socket.write_all(b"hello").await.unwrap();
        drop(accepted);
        let mut got = String::new();
        io::Read::read_to_string(&mut &client, &mut got).unwrap();
        assert_eq!(got, "hello");
    }

    #[tokio::test]
    async fn who_asks_is_known_before_the_connection_is_taken_and_only_until_then() {
        let bound = bind(&Address::tcp("127.0.0.1", 0), 1).unwrap().remove(0);
        let address = bound.address.unwrap();
        let acceptor = Acceptor::new(bound.sockets.into_iter().next().unwrap()).unwrap();
        for _ in 0..2 {
            let client = std::net::TcpStream::connect(address).unwrap();
            acceptor.asked().await.unwrap();
            acceptor.asked().await.unwrap();
            let accepted = acceptor.accept_one(|e| panic!("{e}")).await.unwrap();
            assert_eq!(accepted.unwrap().peer, client.local_addr().unwrap());
            // Nobody else is there, which it finds out by asking.
            let mut asked = std::pin::pin!(acceptor.asked());
            assert!(asked.as_mut().now_or_never().is_none());
        }
    }
}
