//! Ports for programs that are told theirs before they start.
//!
//! What the kernel gives for port 0 it may give, a moment later, to any connection that goes out, of any test. These are
//! below those that it gives by itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// From here on, so many; Linux gives from 32,768 on by itself.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// An address of this machine alone that nobody listens on, and that no other test of this process gets.
pub fn free() -> SocketAddr {
    let listener = listen();
    listener.local_addr().expect("it has one")
}

/// Listens at such an address. Where it were bound a second time, a program that another test starts just then may hold the
/// first socket for a moment.
pub fn listen() -> TcpListener {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Another process begins elsewhere.
        let place = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (FIRST + place % COUNT) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
    }
}

/// Several ports of the same kind.
pub fn several<const N: usize>() -> [u16; N] {
    [0; N].map(|_| free().port())
}
