//! The Location of a redirect.

use std::sync::Arc;

use bytes::Bytes;
use tandem_http::{Reply, Request};

/// A redirect with its address in parts.
pub(super) struct Redirect {
    parts: Vec<Part>,
    status: u16,
    service: Arc<str>,
}

enum Part {
    Text(Box<[u8]>),
    /// The request's host without its port.
    Host,
    /// Path and query as they came.
    Uri,
    /// The path as it came: the normal form is decoded, and could hold anything.
    Path,
    /// The query as it came, without the question mark.
    Query,
}

impl Redirect {
    /// Reads an address with `{host}`, `{uri}`, `{path}` and `{query}`. `service` is who answers, for the log.
    pub(super) fn new(to: &str, status: u16, service: &Arc<str>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = to;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or("a { of the redirect is not closed")?;
            if !text.is_empty() {
                parts.push(Part::Text(text.as_bytes().into()));
            }
            parts.push(match name {
                "host" => Part::Host,
                "uri" => Part::Uri,
                "path" => Part::Path,
                "query" => Part::Query,
                _ => return Err(format!("a redirect has no {{{name}}}")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().into()));
        }
        Ok(Self {
            parts,
            status,
            service: service.clone(),
        })
    }

    /// The answer to a request; 400 when it names no usable host and the address needs one.
    pub(super) fn reply(&self, request: &Request<'_>) -> Reply {
        let Some(location) = self.location(request) else {
            return Reply::text(400, &self.service, "The request names no usable host\n");
        };
        let mut fields = Vec::with_capacity(location.len() + 12);
        fields.extend_from_slice(b"Location: ");
        fields.extend_from_slice(&location);
        fields.extend_from_slice(b"\r\n");
        Reply {
            status: self.status,
            fields: fields.into(),
            body: Bytes::new(),
            service: self.service.clone(),
            close: false,
        }
    }

    fn location(&self, request: &Request<'_>) -> Option<Vec<u8>> {
        let target = request.target();
        let path = target.split(|&b| b == b'?').next().unwrap_or_default();
        let mut out = Vec::with_capacity(target.len() + 64);
        for part in &self.parts {
            match part {
                Part::Text(text) => append(&mut out, text, false),
                Part::Host => {
                    let host = request.host();
                    if host.is_empty() || !host.iter().all(|&b| is_host(b)) {
                        return None;
                    }
                    out.extend_from_slice(host);
                }
                Part::Uri => local(&mut out, target),
                Part::Path => local(&mut out, path),
                Part::Query => append(&mut out, request.query(), true),
            }
        }
        Some(out)
    }
}

/// Appends a path; of an absolute target without one it is the root. At the beginning of a Location two slashes would name another host (RFC 3986 section 4.2).
fn local(out: &mut Vec<u8>, path: &[u8]) {
    let slashes = path.iter().take_while(|&&b| b == b'/').count();
    let skip = if out.is_empty() {
        slashes.saturating_sub(1)
    } else {
        0
    };
    let path = if path.is_empty() { b"/" } else { &path[skip..] };
    append(out, path, true);
}

/// Appends what may stand in a field's value and escapes the rest. Of what a client sent the backslash is escaped
/// too: browsers read it as a slash.
fn append(out: &mut Vec<u8>, text: &[u8], foreign: bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &b in text {
        if b.is_ascii_graphic() && !(foreign && b == b'\\') {
            out.push(b);
        } else {
            out.extend([b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
}

/// What a host name or address literal is made of.
fn is_host(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_request;

    fn location(to: &str, head: &str) -> Option<String> {
        let redirect = Redirect::new(to, 301, &"web".into()).expect("it is a redirect");
        with_request(head, |request| {
            let location = redirect.location(request)?;
            Some(String::from_utf8(location).expect("it is ASCII"))
        })
    }

    #[test]
    fn host_uri_path_and_query_are_filled_in() {
        let head = "GET /a%0d%0a/b?x=1 HTTP/1.1\r\nHost: Example.com:8080\r\n\r\n";
        for (to, expected) in [
            ("https://{host}{uri}", "https://Example.com/a%0d%0a/b?x=1"),
            ("/new{path}", "/new/a%0d%0a/b"),
            ("/search?{query}&y", "/search?x=1&y"),
            ("/plain ü", "/plain%20%C3%BC"),
        ] {
            assert_eq!(location(to, head).as_deref(), Some(expected), "{to}");
        }
        let head = "GET http://example.com HTTP/1.1\r\nHost: a\r\n\r\n";
        let expected = "https://example.com/";
        assert_eq!(
            location("https://{host}{uri}", head).as_deref(),
            Some(expected)
        );
    }

    #[test]
    fn a_path_cannot_lead_to_another_host() {
        let head = "GET //evil.example/x HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(
            location("{path}/", head).as_deref(),
            Some("/evil.example/x/")
        );
        let head = "GET /\\evil.example HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(location("{uri}", head).as_deref(), Some("/%5Cevil.example"));
    }

    #[test]
    fn without_a_usable_host_there_is_no_address() {
        for head in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a'b\r\n\r\n",
        ] {
            assert_eq!(location("https://{host}/", head), None, "{head}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert!(Redirect::new("https://{hots}/", 301, &"web".into()).is_err());
        assert!(Redirect::new("https://{host", 301, &"web".into()).is_err());
    }
}
