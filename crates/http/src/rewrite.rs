//! Heads that pass through, written anew: fields that stay are copied as they came, those of one connection only are
//! left out, what delimits the message is made here.

use std::net::SocketAddr;

use tandem_net::Peer;
use tandem_telemetry::decimal;

use crate::cookies;
use crate::engine::reason;
use crate::field::{Kind, members};
use crate::handler::CookieEdits;
use crate::head::{BodyLength, Head};
use crate::policy::Edits;
use crate::policy::compress::Coded;
use crate::response::ResponseHead;

/// A request on its way to a server.
pub(crate) struct Forwarded<'a> {
    pub head: &'a Head,
    /// The head's bytes.
    pub bytes: &'a [u8],
    pub from: SocketAddr,
    pub peer: Peer,
    pub secure: bool,
    /// The server is a node: it takes internal fields.
    pub to_node: bool,
    /// Another node can serve it as well.
    pub elsewhere: bool,
    /// Its id; `None` leaves what it has of that as it came.
    pub id: Option<&'a [u8]>,
    /// The Host field for a request that came without one (HTTP/1.0).
    pub host: &'a str,
    /// What policies change.
    pub edits: Option<&'a Edits>,
    pub cookies: Option<&'a CookieEdits>,
}

/// Appends the head of a request as the server gets it.
pub(crate) fn request(out: &mut Vec<u8>, f: &Forwarded<'_>) {
    let &Forwarded { head, bytes, .. } = f;
    out.extend_from_slice(head.method(bytes));
    out.push(b' ');
    let target = f.edits.and_then(|edits| edits.target.as_deref());
    out.extend_from_slice(target.unwrap_or_else(|| head.target(bytes)));
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    let host = head.host(bytes);
    let host = if host.is_empty() && head.minor() == 0 {
        f.host.as_bytes()
    } else {
        host
    };
    let other = f.edits.and_then(|edits| edits.host.as_deref());
    out.extend_from_slice(other.unwrap_or(host));
    out.extend_from_slice(b"\r\n");
    let fields = out.len();
    let believed = f.peer != Peer::Stranger;
    let internal = f.peer == Peer::Node && f.to_node;
    head.fields.copy(out, bytes, |kind| match kind {
        Kind::Other
        | Kind::Date
        | Kind::SetCookie
        | Kind::Referer
        | Kind::Agent
        | Kind::Condition => true,
        Kind::Cookie => f.cookies.is_none(),
        Kind::ForwardedFor => f.peer == Peer::Node,
        Kind::ForwardedProto | Kind::ForwardedHost | Kind::Forwarded => believed,
        Kind::RequestId => f.id.is_none(),
        Kind::Internal => internal,
        Kind::ContentLength => head.has_plain_length(),
        Kind::Host
        | Kind::TransferEncoding
        | Kind::Connection
        | Kind::Upgrade
        | Kind::Expect
        | Kind::Te
        | Kind::HopByHop => false,
    });
    // Some parsers take its form amiss.
    if !head.has_plain_length() {
        let length = match head.body() {
            BodyLength::Known(length) => length,
            BodyLength::None | BodyLength::Chunked => 0,
        };
        content_length(out, length);
    }
    if let Some(edits) = f.cookies {
        cookies::request(out, edits, head.fields.values(bytes, Kind::Cookie));
    }
    if head.body() == BodyLength::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if let Some(id) = f.id {
        out.extend_from_slice(b"X-Request-Id: ");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\r\n");
    }
    forwarded_for(out, f);
    let has = |kind| believed && head.fields.iter().any(|field| field.kind == kind);
    if !has(Kind::ForwardedProto) {
        out.extend_from_slice(if f.secure {
            b"X-Forwarded-Proto: https\r\n"
        } else {
            b"X-Forwarded-Proto: http\r\n"
        });
    }
    if !has(Kind::ForwardedHost) && !host.is_empty() {
        out.extend_from_slice(b"X-Forwarded-Host: ");
        out.extend_from_slice(host);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(edits) = f.edits {
        edits.request.apply(out, fields);
    }
    if f.elsewhere {
        out.extend_from_slice(crate::ELSEWHERE_FIELD.as_bytes());
        out.extend_from_slice(b": 1\r\n");
    }
    if head.wants_trailers(bytes) {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    if head.upgrade() {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
        upgrade_field(out, head.fields.values(bytes, Kind::Upgrade));
    }
    out.extend_from_slice(b"\r\n");
}

/// X-Forwarded-For: a node's passes as it is; a trusted proxy's gets the proxy itself added; a stranger's is dropped.
fn forwarded_for(out: &mut Vec<u8>, f: &Forwarded<'_>) {
    let stated = || {
        f.head
            .fields
            .values(f.bytes, Kind::ForwardedFor)
            .flat_map(members)
    };
    if f.peer == Peer::Node && stated().next().is_some() {
        return;
    }
    out.extend_from_slice(b"X-Forwarded-For: ");
    if f.peer == Peer::Trusted {
        for entry in stated() {
            out.extend_from_slice(entry);
            out.extend_from_slice(b", ");
        }
    }
    decimal::push_ip(out, f.from.ip().to_canonical());
    out.extend_from_slice(b"\r\n");
}

/// The length of a body.
pub(crate) fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal::push(out, length);
    out.extend_from_slice(b"\r\n");
}

fn upgrade_field<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) {
    for value in values {
        out.extend_from_slice(b"Upgrade: ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

/// What the client is told of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It stays open, as HTTP/1.1 has it anyway.
    Implied,
    /// It stays open, and an HTTP/1.0 client must be told.
    Told,
    /// This is the last answer.
    Close,
    /// It now speaks another protocol.
    Upgrade,
}

impl Keep {
    /// The Connection field.
    pub fn field(self) -> &'static [u8] {
        match self {
            Self::Implied => b"",
            Self::Told => b"Connection: keep-alive\r\n",
            Self::Close => b"Connection: close\r\n",
            Self::Upgrade => b"Connection: Upgrade\r\n",
        }
    }
}

/// A response on its way to a client.
#[derive(Clone, Copy)]
pub(crate) struct Returned<'a> {
    /// Its body is made chunked.
    pub chunk: bool,
    pub keep: Keep,
    /// Internal fields pass.
    pub to_node: bool,
    /// What policies change.
    pub edits: Option<&'a Edits>,
    /// What keeps the client with its server.
    pub cookies: Option<&'a CookieEdits>,
    /// What compression does.
    pub coded: Option<&'a Coded>,
    /// The line that says the time of an answer whose server did not (RFC 9110 section 6.6.1); else empty.
    pub date: &'a [u8],
}

/// Appends the head of a response as the client gets it.
pub(crate) fn response(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8], f: &Returned<'_>) {
    let &Returned {
        chunk,
        keep,
        to_node,
        edits,
        cookies,
        coded,
        date,
    } = f;
    let prefix = cookies.and_then(|edits| edits.prefix.as_ref());
    // RFC 9110 section 8.6: no Content-Length in 1xx and 204.
    let length = !matches!(head.status(), 100..200 | 204);
    let status = edits.map_or(head.status(), |edits| edits.shown(head.status()));
    // RFC 9110 section 15.5.22: it says what to change to.
    let upgrade = keep == Keep::Upgrade || head.status() == 426;
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal::push_status(out, status);
    out.push(b' ');
    out.extend_from_slice(if status == head.status() {
        head.reason(bytes)
    } else {
        reason(status).as_bytes()
    });
    out.extend_from_slice(b"\r\n");
    let fields = out.len();
    head.fields.copy(out, bytes, |kind| match kind {
        Kind::ContentLength => length && head.has_plain_length(),
        Kind::Internal => to_node,
        Kind::TransferEncoding | Kind::Connection | Kind::Upgrade | Kind::Te | Kind::HopByHop => {
            false
        }
        Kind::SetCookie => prefix.is_none(),
        _ => true,
    });
    out.extend_from_slice(date);
    if let Some(stated) = head.length().filter(|_| length && !head.has_plain_length()) {
        content_length(out, stated);
    }
    if let Some(prefix) = prefix {
        cookies::response(out, prefix, head.fields.values(bytes, Kind::SetCookie));
    }
    if let Some(edits) = edits {
        edits.answer(status, out, fields);
    }
    if let Some(coded) = coded {
        coded.apply(out, fields);
    }
    if let Some(line) = cookies.and_then(|edits| edits.set.as_ref()) {
        out.extend_from_slice(line);
    }
    if chunk {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(keep.field());
    if upgrade {
        if keep != Keep::Upgrade {
            out.extend_from_slice(Keep::Upgrade.field());
        }
        upgrade_field(out, head.fields.values(bytes, Kind::Upgrade));
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(peer: Peer, to_node: bool, text: &str) -> String {
        let mut head = Head::default();
        assert!(head.parse(text.as_bytes()).unwrap());
        let mut out = Vec::new();
        let f = Forwarded {
            head: &head,
            bytes: &text.as_bytes()[..head.length()],
            from: "10.0.0.9:1234".parse().unwrap(),
            peer,
            secure: false,
            to_node,
            elsewhere: false,
            id: None,
            host: "server:80",
            edits: None,
            cookies: None,
        };
        request(&mut out, &f);
        String::from_utf8(out).unwrap()
    }

    fn returned(text: &str, chunk: bool, keep: Keep) -> String {
        let mut head = ResponseHead::default();
        head.read(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        let f = Returned {
            chunk,
            keep,
            to_node: false,
            edits: None,
            cookies: None,
            coded: None,
            date: b"",
        };
        response(&mut out, &head, text.as_bytes(), &f);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_loses_the_fields_of_its_connection_and_keeps_the_rest_as_they_came() {
        let sent = forwarded(
            Peer::Stranger,
            true,
            "POST http://b/x?y HTTP/1.1\r\nHost: a\r\nX-A:  1\r\nConnection: keep-alive, X-Hop, Host, Content-Length\r\n\
             x-hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\nProxy-Connection: close\r\nX-B: 2\r\n\
             Content-Length: 5\r\nExpect: 100-continue\r\nUpgrade: websocket\r\nX_Forwarded_For: 6.6.6.6\r\n\
             X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Port: 1\r\ntandem-probe: 1\r\n\r\n",
        );
        assert_eq!(
            sent,
            "POST /x?y HTTP/1.1\r\nHost: b\r\nX-A:  1\r\nX-B: 2\r\nContent-Length: 5\r\nX-Forwarded-For: 10.0.0.9\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
        );
    }

    #[test]
    fn a_length_is_passed_on_as_everybody_writes_it() {
        for (came, goes) in [
            ("content-length:5", "content-length:5"),
            ("Content-Length: 0", "Content-Length: 0"),
            ("Content-Length:\t5", "Content-Length: 5"),
            ("Content-Length:  5", "Content-Length: 5"),
            ("Content-Length: 5 ", "Content-Length: 5"),
            ("Content-Length: 005", "Content-Length: 5"),
            ("Content-Length: 00", "Content-Length: 0"),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{came}\r\nA: b\r\n\r\n");
            let sent = forwarded(Peer::Stranger, false, &text);
            let lengths = sent
                .split("\r\n")
                .filter(|line| line.to_lowercase().contains("length"));
            assert_eq!(lengths.collect::<Vec<_>>(), [goes], "{came:?}");
            let text = format!("HTTP/1.1 200 OK\r\n{came}\r\nA: b\r\n\r\n");
            let sent = returned(&text, false, Keep::Implied);
            let lengths = sent
                .split("\r\n")
                .filter(|line| line.to_lowercase().contains("length"));
            assert_eq!(lengths.collect::<Vec<_>>(), [goes], "{came:?}");
        }
    }

    #[test]
    fn a_nodes_word_passes_unchanged_and_a_trusted_proxys_with_itself_added() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
                    X-Forwarded-Proto: https\r\ntandem-probe: 1\r\n\r\n";
        assert_eq!(
            forwarded(Peer::Node, true, text),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
             X-Forwarded-Proto: https\r\ntandem-probe: 1\r\nX-Forwarded-Host: a\r\n\r\n"
        );
        assert_eq!(
            forwarded(Peer::Trusted, true, text),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.9\r\nX-Forwarded-Host: a\r\n\r\n"
        );
        // What nodes tell one another is nothing to a server that is none.
        assert!(!forwarded(Peer::Node, false, text).contains("tandem-probe"));
    }

    #[test]
    fn a_node_is_told_that_another_can_serve_a_request_and_nobody_else_can_say_so() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nTandem-Elsewhere: 1\r\n\r\n";
        assert!(!forwarded(Peer::Stranger, true, text).contains("lsewhere"));
        let mut head = Head::default();
        assert!(head.parse(text.as_bytes()).unwrap());
        let mut out = Vec::new();
        let f = Forwarded {
            head: &head,
            bytes: text.as_bytes(),
            from: "10.0.0.9:1234".parse().unwrap(),
            peer: Peer::Stranger,
            secure: false,
            to_node: true,
            elsewhere: true,
            id: None,
            host: "server:80",
            edits: None,
            cookies: None,
        };
        request(&mut out, &f);
        assert_eq!(
            String::from_utf8_lossy(&out).matches("lsewhere: 1").count(),
            1
        );
    }

    #[test]
    fn a_request_without_a_host_gets_the_servers() {
        assert!(
            forwarded(Peer::Stranger, false, "GET / HTTP/1.0\r\n\r\n")
                .starts_with("GET / HTTP/1.1\r\nHost: server:80\r\n")
        );
    }

    #[test]
    fn a_response_loses_the_fields_of_its_connection() {
        let text = b"HTTP/1.0 200 Fine\r\nA: 1\r\nConnection: close, B\r\nB: 2\r\nTransfer-Encoding: x\r\n\
                     tandem-failed: unsent\r\nC: 3\r\n\r\n";
        let text = String::from_utf8_lossy(text).replace("Transfer-Encoding: x\r\n", "");
        assert_eq!(
            returned(&text, true, Keep::Close),
            "HTTP/1.1 200 Fine\r\nA: 1\r\nC: 3\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn an_answer_that_asks_for_another_protocol_says_which() {
        assert_eq!(
            returned(
                "HTTP/1.1 426 So\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
                false,
                Keep::Close
            ),
            "HTTP/1.1 426 So\r\nContent-Length: 0\r\nConnection: close\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
    }
}
