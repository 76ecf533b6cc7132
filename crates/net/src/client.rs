//! The client address rule: whose word is taken on who the client is.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A node of the file: its internal fields and its word on the client are taken.
    Node,
    /// In the listener's `trust`: its word on the client is taken.
    Trusted,
    /// Anyone else: it is the client.
    Stranger,
}

/// The nodes of the file, and the listener's `trust`.
#[derive(Clone, Debug, Default)]
pub struct ClientRule {
    /// Addresses of the nodes.
    pub nodes: HashSet<IpAddr>,
    /// Other proxies whose word is taken.
    pub trust: Vec<IpNet>,
}

impl ClientRule {
    /// What the peer of a connection is.
    pub fn peer(&self, peer: IpAddr) -> Peer {
        let peer = peer.to_canonical();
        if self.nodes.contains(&peer) {
            Peer::Node
        } else if self.trust.iter().any(|net| net.contains(&peer)) {
            Peer::Trusted
        } else {
            Peer::Stranger
        }
    }

    /// The client of a request: the rightmost entry of X-Forwarded-For that is neither a node nor trusted, when the
    /// peer is one of these; else the peer itself.
    ///
    /// `forwarded` are the values of all X-Forwarded-For fields, in order. An entry that is no address hides all to its
    /// left; when every entry is trusted the leftmost is the client.
    pub fn client<'a>(
        &self,
        peer: SocketAddr,
        forwarded: impl Iterator<Item = &'a [u8]>,
    ) -> (IpAddr, Peer) {
        let address = peer.ip().to_canonical();
        let kind = self.peer(address);
        if kind == Peer::Stranger {
            return (address, kind);
        }
        let (mut stranger, mut first) = (None, None);
        for entry in forwarded.flat_map(|value| value.split(|&b| b == b',')) {
            match parse(entry.trim_ascii()) {
                Some(ip) if self.peer(ip) == Peer::Stranger => stranger = Some(ip),
                Some(ip) => first = first.or(Some(ip)),
                None => (stranger, first) = (None, None),
            }
        }
        (stranger.or(first).unwrap_or(address), kind)
    }
}

/// An address, also in brackets and with a port, as some proxies write it.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let ip = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|at| at.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> (String, Peer) {
        let rule = ClientRule {
            nodes: HashSet::from(["10.0.0.1".parse().unwrap()]),
            trust: vec!["172.16.0.0/12".parse().unwrap()],
        };
        let (ip, kind) = rule.client(
            SocketAddr::new(peer.parse().unwrap(), 1),
            forwarded.iter().map(|value| value.as_bytes()),
        );
        (ip.to_string(), kind)
    }

    #[test]
    fn a_stranger_is_the_client_whatever_it_states() {
        assert_eq!(
            client("192.0.2.1", &["10.0.0.1, 1.2.3.4"]),
            ("192.0.2.1".into(), Peer::Stranger)
        );
    }

    #[test]
    fn the_rightmost_entry_that_is_not_trusted_is_the_client() {
        for (forwarded, expected) in [
            (&["1.2.3.4"][..], "1.2.3.4"),
            (&["9.9.9.9, 1.2.3.4, 172.16.5.5"], "1.2.3.4"),
            (&["9.9.9.9", "1.2.3.4", "10.0.0.1"], "1.2.3.4"),
            (&["1.2.3.4, unknown, 172.16.5.5"], "172.16.5.5"),
            (&["1.2.3.4, unknown"], "10.0.0.1"),
            (&["172.16.1.1, 172.16.2.2"], "172.16.1.1"),
            (&["[2001:db8::1]:443"], "2001:db8::1"),
            (&["::ffff:1.2.3.4"], "1.2.3.4"),
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(
                client("10.0.0.1", forwarded),
                (expected.into(), Peer::Node),
                "{forwarded:?}"
            );
        }
        assert_eq!(
            client("::ffff:172.16.0.1", &["1.2.3.4"]),
            ("1.2.3.4".into(), Peer::Trusted)
        );
    }
}
