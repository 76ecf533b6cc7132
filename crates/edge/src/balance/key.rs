//! What of a request decides where it goes.

use std::net::IpAddr;

use tandem_http::Request;
use tandem_model::Balance;

use super::hash;

/// The key of a request for an algorithm that has one; `None` when the request does not say: it then goes in turn.
pub(crate) fn key(balance: &Balance, request: &Request<'_>) -> Option<u64> {
    let filled = |value: Option<&[u8]>| value.filter(|value| !value.is_empty()).map(hash::of);
    match balance {
        Balance::RoundRobin | Balance::LeastConnections | Balance::First | Balance::Random => None,
        Balance::Source => Some(source(request)),
        Balance::Uri => Some(hash::of(request.path())),
        Balance::Header(name) => filled(request.field(name)),
        Balance::Cookie(name) => filled(request.cookie(name)),
    }
}

/// The client's address as a key.
pub(crate) fn source(request: &Request<'_>) -> u64 {
    address(request.client)
}

/// An address as a key.
pub(crate) fn address(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(ip) => hash::of(&ip.octets()),
        IpAddr::V6(ip) => hash::of(&ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_request;

    fn key_of(balance: &Balance, head: &str) -> Option<u64> {
        with_request(head, |request| key(balance, request))
    }

    #[test]
    fn each_algorithm_has_its_key() {
        let head =
            "GET /a/../b?x=1 HTTP/1.1\r\nHost: h\r\nX-User: alice\r\nCookie: id=7; other=x\r\n\r\n";
        let hash = |text: &str| Some(hash::of(text.as_bytes()));
        let header = |name: &str| Balance::Header(name.into());
        assert_eq!(key_of(&Balance::RoundRobin, head), None);
        assert_eq!(
            key_of(&Balance::Source, head),
            Some(hash::of(&[192, 0, 2, 7]))
        );
        assert_eq!(key_of(&Balance::Uri, head), hash("/b"));
        assert_eq!(key_of(&header("x-user"), head), hash("alice"));
        assert_eq!(key_of(&header("X-Nobody"), head), None);
        assert_eq!(key_of(&Balance::Cookie("id".into()), head), hash("7"));
        assert_eq!(key_of(&Balance::Cookie("none".into()), head), None);
    }
}
