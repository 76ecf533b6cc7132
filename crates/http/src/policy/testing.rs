//! What the tests of policies share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{Cx, Head, Request};

/// Calls `test` with the request of a head. The client is 192.0.2.7, a stranger.
pub(crate) fn with_request<T>(head: &str, test: impl FnOnce(&Request<'_>) -> T) -> T {
    request(head, IpAddr::from([192, 0, 2, 7]), false, test)
}

/// As [`with_request`], from a peer whose word is taken.
pub(crate) fn with_trusted_request<T>(head: &str, test: impl FnOnce(&Request<'_>) -> T) -> T {
    request(head, IpAddr::from([192, 0, 2, 7]), true, test)
}

/// As [`with_request`], from this client.
pub(crate) fn request<T>(
    head: &str,
    client: IpAddr,
    trusted: bool,
    test: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let mut parsed = Head::default();
    assert_eq!(parsed.parse(head.as_bytes()), Ok(true), "{head}");
    test(&Request {
        head: &parsed,
        bytes: head.as_bytes(),
        client,
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        from_node: false,
        trusted,
        secure: false,
        port: 80,
        came: None,
        certificate: None,
    })
}

/// Where handlers are called in tests.
pub(crate) fn cx() -> Cx {
    Cx::new(0, tandem_net::Moment::now())
}
