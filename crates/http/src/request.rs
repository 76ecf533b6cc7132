//! A request as handlers see it.

use std::net::{IpAddr, SocketAddr};

use tandem_net::ClientCertificate;

use crate::head::{BodyLength, Head};

/// One request: its head, and who sent it. Borrowed from the connection while a handler looks at it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The parsed head.
    pub head: &'a Head,
    /// The bytes that the head's offsets point into.
    pub bytes: &'a [u8],
    /// The client by the client address rule: the peer, unless the peer is a node or trusted.
    pub client: IpAddr,
    /// Who opened the connection.
    pub peer: SocketAddr,
    /// The peer is a node of the file: internal fields of its are taken.
    pub from_node: bool,
    /// The peer is a node of the file or in `trust`: what it states of the client is taken.
    pub trusted: bool,
    /// The client came by TLS (as this node or a trusted peer knows).
    pub secure: bool,
    /// The port of the listener that was asked; 0 where it has none.
    pub port: u16,
    /// What the client asked for, where this is another request on its behalf: its path is not one that the client named.
    pub came: Option<Came<'a>>,
    /// The certificate that the client has proved to be its own: of its connection to this node, whoever states it.
    pub certificate: Option<&'a ClientCertificate>,
}

/// A client's request in whose place another one is asked.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// Its target as it came.
    pub target: &'a [u8],
    /// The other one only asks whether it may pass: nobody gets the answer.
    pub asks: bool,
    /// The target of the other one may have parts of the client's, filled in: it is no word of a server's or the file's alone.
    pub by_client: bool,
}

impl<'a> Request<'a> {
    /// The path is one that a server or a route has named, and not the client.
    pub fn is_handed(&self) -> bool {
        self.came.is_some()
    }

    /// It asks whether another one may pass, and nobody gets its answer.
    pub fn only_asks(&self) -> bool {
        self.came.is_some_and(|came| came.asks)
    }

    /// The client's own method and target, whatever is asked on its behalf. What is answered in the place of a request has a
    /// method of its own.
    pub fn as_it_came(&self) -> Came<'a> {
        let method = self.method();
        match self.came {
            Some(came) if came.asks => came,
            Some(came) => Came { method, ..came },
            None => Came {
                method,
                target: self.target(),
                asks: false,
                by_client: false,
            },
        }
    }

    /// `GET`, `POST`, ...
    pub fn method(&self) -> &'a [u8] {
        self.head.method(self.bytes)
    }

    /// Whether it is `GET` or `HEAD`.
    pub fn is_read(&self) -> bool {
        matches!(self.method(), b"GET" | b"HEAD")
    }

    /// The target as it came: path and query.
    pub fn target(&self) -> &'a [u8] {
        self.head.target(self.bytes)
    }

    /// The path in its normal form (see [`crate::path::normal`]).
    pub fn path(&self) -> &'a [u8] {
        self.head.path(self.bytes)
    }

    /// What `strip` took off the beginning of the path, in its normal form: with [`path`](Self::path) behind it, it is what the
    /// client asked for. Empty when nothing was, or when the path was changed in another way, too.
    pub fn stripped(&self) -> &'a [u8] {
        self.head.stripped()
    }

    /// The path as it came, percent-encoded; of an absolute target without one it is the root.
    pub fn encoded_path(&self) -> &'a [u8] {
        let target = self.target();
        &target[..memchr::memchr(b'?', target).unwrap_or(target.len())]
    }

    /// What follows the `?`, not decoded; empty without one.
    pub fn query(&self) -> &'a [u8] {
        let target = self.target();
        memchr::memchr(b'?', target).map_or(b"", |at| &target[at + 1..])
    }

    /// The first parameter of the query of this name that has a value, not decoded. The case of the name does not matter.
    pub fn arg(&self, name: &str) -> Option<&'a [u8]> {
        self.query().split(|&b| b == b'&').find_map(|pair| {
            let (known, value) = pair.split_at_checked(name.len())?;
            let value = value.strip_prefix(b"=")?;
            known.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
        })
    }

    /// The client, with the port of its connection; 0 where a proxy stated who the client is.
    pub(crate) fn client_address(&self) -> SocketAddr {
        SocketAddr::new(self.client, self.client_port().unwrap_or(0))
    }

    /// The client's port, unless a proxy stated who the client is.
    pub fn client_port(&self) -> Option<u16> {
        (self.client.to_canonical() == self.peer.ip().to_canonical()).then(|| self.peer.port())
    }

    /// The host without port, in the case it came; empty for HTTP/1.0 without one.
    pub fn host(&self) -> &'a [u8] {
        let host = self.head.host(self.bytes);
        match host.iter().rposition(|&b| b == b':') {
            Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
            _ => host,
        }
    }

    /// The first field of this name, compared without case; spaces around the value removed.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// All fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.head.fields(self.bytes)
    }

    /// Whether its sender takes fields behind the body of the answer (RFC 9110 section 10.1.4).
    pub fn wants_trailers(&self) -> bool {
        self.head.wants_trailers(self.bytes)
    }

    /// A cookie's value (RFC 6265 section 4.2), as it came.
    pub fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        self.fields()
            .filter(|(field, _)| field.eq_ignore_ascii_case(b"cookie"))
            .flat_map(|(_, value)| value.split(|&b| b == b';'))
            .find_map(|pair| {
                pair.trim_ascii()
                    .strip_prefix(name.as_bytes())?
                    .strip_prefix(b"=")
            })
    }

    /// How its body is delimited.
    pub fn body(&self) -> BodyLength {
        self.head.body()
    }
}
