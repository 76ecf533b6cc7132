//! What no safe wrapper does: a descriptor on the event loop, one socket option, the heap, and the clocks.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

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

/// Gives the system back what is free on the heap, wherever it lies. The C library by itself does that only with what is at
/// the heap's end, so that what one connection still holds there keeps all that a thousand others have freed below it.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no preconditions: it takes the locks of the heaps and leaves alone all that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes of the heap that are free, given back to the system or not; 0 where the C library does not say.
pub fn free_memory() -> usize {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call has no preconditions: it takes the locks of the heaps and counts.
        let heaps = unsafe { libc::mallinfo() };
        // Counted modulo 2^32 (mallinfo(3)); the call that counts further is not in every glibc that this runs with.
        heaps.fordblks.cast_unsigned() as usize
    }
    #[cfg(not(target_env = "gnu"))]
    0
}

/// The time since 1970 as of the kernel's last tick: a few milliseconds old at most, at a fifth of the price of the exact
/// one. For what is written with every request.
pub fn coarse_time() -> Duration {
    let (seconds, nanoseconds) = clock(libc::CLOCK_REALTIME_COARSE);
    Duration::new(seconds, nanoseconds)
}

/// Nanoseconds since the machine was started: enough for 584 years.
pub(crate) fn monotonic_nanos() -> u64 {
    let (seconds, nanoseconds) = clock(libc::CLOCK_MONOTONIC);
    seconds * 1_000_000_000 + u64::from(nanoseconds)
}

/// Seconds, and nanoseconds below a thousand million.
fn clock(id: libc::clockid_t) -> (u64, u32) {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live `timespec`, which the call fills in. It cannot fail: every Linux has these clocks
    // (2.6.32), and a failure would leave the zeros.
    unsafe { libc::clock_gettime(id, &raw mut now) };
    (now.tv_sec.max(0) as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn the_coarse_time_is_the_time() {
        let exact = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let apart = exact.abs_diff(super::coarse_time());
        assert!(apart.as_secs() < 60, "{apart:?}");
    }
}
