//! Connections that stay on this machine.
//!
//! What goes over the loopback device meets no congestion: there is no bandwidth to be found out and no queue to be kept
//! short. The congestion control that an operator has chosen for the world, BBR with its pacing above all, costs such a
//! connection a twentieth of what it costs at all, and finds nothing. They use the kernel's simplest one, which every kernel
//! has. All other connections keep the operator's choice.

use std::net::IpAddr;
use std::os::fd::AsFd;

use rustix::net::sockopt::set_tcp_congestion;

/// RFC 5681, which the kernel has built in.
const SIMPLEST: &str = "reno";

/// Sets up a TCP socket, connected, or listening for such connections, that has or gets its peer by this address.
pub fn settle(socket: &impl AsFd, address: IpAddr) {
    if address.to_canonical().is_loopback() {
        // It is as good without it.
        let _ = set_tcp_congestion(socket, SIMPLEST);
    }
}
