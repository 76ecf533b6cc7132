//! What no safe wrapper does: a descriptor on the event loop, and one socket option.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor watched by the current worker's event loop. Callers keep it as it is: they never take the descriptor
/// out by `get_mut`.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is valid and open until it is dropped, its number does not change, and the `AsyncFd` owns
    // it: it stays open for as long as that lives. Both users (`Socket`, `Acceptor`) keep it private and unchanged.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(|e| e.into_parts().1)
}

/// Leaves the choice of a local port to `connect` (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2), so that binding to an address
/// does not use up one of its 28,000 ephemeral ports per connection, but one per connection and destination.
pub(crate) fn bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the value is a live c_int and its size is
    // given; the kernel copies it during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
