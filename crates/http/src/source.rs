//! Who a client is where clients are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The part of an IPv6 address that one customer has for himself is what follows these bits.
const NETWORK: u128 = !0 << 64;

/// A client's address; of IPv6 its network, which has one customer.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & NETWORK).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
