//! Telling the service manager: `sd_notify(3)`, without its library.
//!
//! One datagram of `KEY=VALUE` lines to the socket that NOTIFY_SOCKET names. Whoever started us without one hears
//! nothing, and nothing fails for it.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A service manager that listens.
pub struct Notify {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notify {
    /// The manager that the environment names.
    pub fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let bytes = name.as_encoded_bytes();
        let to = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name).ok()?,
            None => SocketAddr::from_pathname(&name).ok()?,
        };
        let socket = UnixDatagram::unbound().ok()?;
        // A manager that does not read must not stop us.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, to })
    }

    /// Says it: `READY=1`, `STOPPING=1`, `STATUS=...`; several lines are one message.
    pub fn say(&self, what: &str) {
        let _ = self.socket.send_to_addr(what.as_bytes(), &self.to);
    }
}

/// How often the manager wants to hear that we live: half of WATCHDOG_USEC, if it is meant for this process.
pub fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(pid) = number("WATCHDOG_PID")
        && pid != u64::from(std::process::id())
    {
        return None;
    }
    let micros = number("WATCHDOG_USEC").filter(|&micros| micros > 0)?;
    Some(Duration::from_micros(micros) / 2)
}
