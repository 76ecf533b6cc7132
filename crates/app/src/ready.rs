//! When a program accepts connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Between two tries, at first and at most.
const FIRST: Duration = Duration::from_millis(5);
const LAST: Duration = Duration::from_millis(200);
/// A try that is not answered for so long has failed.
const TRY: Duration = Duration::from_secs(1);

/// Returns when a connection to `address` is accepted. It may never be: the caller holds a deadline.
pub(crate) async fn accepts(address: SocketAddr) {
    let mut pause = FIRST;
    while !matches!(timeout(TRY, connect(address)).await, Ok(Ok(_))) {
        sleep(pause).await;
        pause = (pause * 2).min(LAST);
    }
}

/// Connects, but never to itself: the kernel may choose the very port that is tried as the connection's own, and TCP
/// lets a socket be its own peer. It would then look as if the program listened, and keep it from doing so.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind((address.ip(), 0).into())?;
    if socket.local_addr()? == address {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_ready_when_it_listens_and_not_before() {
        let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        assert!(
            timeout(Duration::from_millis(300), accepts(address))
                .await
                .is_err()
        );
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        timeout(Duration::from_secs(10), accepts(address))
            .await
            .unwrap();
        drop(listener);
    }
}
