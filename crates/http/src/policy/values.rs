//! Templates filled in for a request.

use std::cell::OnceCell;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Captures;
use tandem_model::{ClientCertPart, Part, Template, Variable};
use tandem_net::ClientCertificate;
use time::OffsetDateTime;

use super::authorize::{Heard, is_cookie};
use super::basic::credentials;
use crate::request_id::{DIGITS, RequestId};
use crate::{Cx, Request};

/// What a request fills in. What takes work is worked out once.
pub(super) struct Values<'a> {
    pub request: &'a Request<'a>,
    cx: &'a Cx,
    /// The route asks for a password, so that who the client says it is will be true where it matters.
    pub authenticated: bool,
    id: OnceCell<String>,
}

impl<'a> Values<'a> {
    pub(super) fn new(request: &'a Request<'a>, cx: &'a Cx) -> Self {
        Self {
            request,
            cx,
            authenticated: false,
            id: OnceCell::new(),
        }
    }

    /// What tells this request from all others.
    fn id(&self) -> &str {
        self.id.get_or_init(|| {
            let id = RequestId::of(self.request, self.cx);
            String::from_utf8_lossy(id.text(&mut [0; DIGITS])).into_owned()
        })
    }

    /// The id if something has asked for it; else empty.
    pub(super) fn into_id(self) -> String {
        self.id.into_inner().unwrap_or_default()
    }

    /// Appends a variable as it is.
    fn append(&self, variable: &Variable, out: &mut Vec<u8>) {
        let request = self.request;
        match variable {
            Variable::Host => out.extend_from_slice(request.host()),
            Variable::Uri => out.extend_from_slice(request.as_it_came().target),
            Variable::Path => out.extend_from_slice(request.encoded_path()),
            Variable::NormalPath => out.extend_from_slice(request.path()),
            Variable::Query => out.extend_from_slice(request.query()),
            Variable::QueryBehindMark => {
                let query = request.query();
                if !query.is_empty() {
                    out.push(b'?');
                    out.extend_from_slice(query);
                }
            }
            Variable::Arg(name) => out.extend_from_slice(request.arg(name).unwrap_or_default()),
            Variable::Method => out.extend_from_slice(request.as_it_came().method),
            Variable::Scheme => out.extend_from_slice(scheme(request)),
            Variable::Version => out.extend_from_slice(request.head.version().as_bytes()),
            Variable::Port => {
                if request.port != 0 {
                    let _ = write!(out, "{}", request.port);
                }
            }
            Variable::Client => {
                let _ = write!(out, "{}", request.client.to_canonical());
            }
            Variable::ClientPort => {
                if let Some(port) = request.client_port() {
                    let _ = write!(out, "{port}");
                }
            }
            Variable::ClientCert(part) => out.extend_from_slice(of(request.certificate, *part)),
            Variable::Time => rfc3339(out, tandem_net::coarse_time()),
            Variable::Epoch => {
                let now = tandem_net::coarse_time();
                let _ = write!(out, "{}.{:03}", now.as_secs(), now.subsec_millis());
            }
            Variable::User => {
                if self.authenticated
                    && let Some(stated) = credentials(request)
                {
                    out.extend_from_slice(stated.name.as_bytes());
                }
            }
            Variable::RequestId => out.extend_from_slice(self.id().as_bytes()),
            Variable::Header(name) => {
                out.extend_from_slice(request.field(name).unwrap_or_default());
            }
            Variable::Cookie(name) => {
                out.extend_from_slice(request.cookie(name).unwrap_or_default());
            }
            Variable::Authorized => {
                if let Some(heard) = self.cx.authorized() {
                    let _ = write!(out, "{}", heard.status);
                }
            }
            Variable::AuthorizedField(name) => {
                if let Some(heard) = self.cx.authorized() {
                    heard.append(name, out);
                }
            }
            // Of an expression's own template alone; others are refused when the file is read. The node is filled in before.
            Variable::Capture(_) | Variable::Node => {}
        }
    }
}

/// What is asked of the client's certificate.
fn of(certificate: Option<&ClientCertificate>, part: ClientCertPart) -> &[u8] {
    let Some(certificate) = certificate else {
        return match part {
            ClientCertPart::Verified => b"NONE",
            _ => b"",
        };
    };
    match part {
        ClientCertPart::Verified => "SUCCESS",
        ClientCertPart::Subject => &certificate.subject,
        ClientCertPart::CommonName => certificate.common_name.as_deref().unwrap_or_default(),
        ClientCertPart::Sha256 => &certificate.sha256,
        ClientCertPart::Serial => &certificate.serial,
    }
    .as_bytes()
}

/// The host that was asked for, without its port or with it.
fn is_host(variable: &Variable) -> bool {
    match variable {
        Variable::Host => true,
        Variable::Header(name) => name.eq_ignore_ascii_case("host"),
        _ => false,
    }
}

fn scheme(request: &Request<'_>) -> &'static [u8] {
    if request.secure { b"https" } else { b"http" }
}

/// A time since 1970 as the access log has it.
fn rfc3339(out: &mut Vec<u8>, now: Duration) {
    let text = tandem_telemetry::event::rfc3339(OffsetDateTime::UNIX_EPOCH + now);
    out.extend_from_slice(text.as_bytes());
}

/// A template, ready to be filled in.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready(Vec<Part>);

impl Ready {
    pub(super) fn new(template: &Template) -> Self {
        Self(template.parts().to_vec())
    }

    /// One part of a template.
    pub(super) fn of(part: Part) -> Self {
        Self(vec![part])
    }

    /// The answer whose cookies this is, and the field that sets them, where it is nothing else.
    pub(super) fn cookies(&self, values: &Values<'_>) -> Option<(Arc<Heard>, &str)> {
        match &self.0[..] {
            [Part::Variable(Variable::AuthorizedField(name))] if is_cookie(name) => {
                Some((values.cx.authorized()?, name))
            }
            _ => None,
        }
    }

    /// Appends text and values as they are.
    pub(super) fn plain(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => values.append(variable, out),
            }
        }
    }

    /// Appends an address that is the same for all requests; `false` when it is not.
    pub(super) fn fixed(&self, out: &mut Vec<u8>) -> bool {
        self.0.iter().all(|part| match part {
            Part::Text(text) => {
                escape(out, text.as_bytes(), |b| b.is_ascii_graphic());
                true
            }
            Part::Variable(_) => false,
        })
    }

    /// Appends a content and what an expression has found, until it has more than `most` bytes. `false` when it has.
    pub(super) fn content(
        &self,
        values: &Values<'_>,
        found: Option<&Captures<'_>>,
        most: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        self.0.iter().all(|part| {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(Variable::Capture(number)) => {
                    let group = found.and_then(|found| found.get(usize::from(*number)));
                    out.extend_from_slice(group.map_or(b"", |group| group.as_bytes()));
                }
                Part::Variable(variable) => values.append(variable, out),
            }
            out.len() <= most
        })
    }

    /// Appends an address. `false` when the request names no usable host and the address needs one.
    ///
    /// What may not stand in one is escaped; of what a client sent the backslash too, which browsers read as a slash. A
    /// path at the beginning keeps one slash of several: two would name another host (RFC 3986 section 4.2).
    pub(super) fn location(&self, values: &Values<'_>, out: &mut Vec<u8>) -> bool {
        let mut value = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => escape(out, text.as_bytes(), |b| b.is_ascii_graphic()),
                Part::Variable(variable) if is_host(variable) => {
                    let host = match variable {
                        Variable::Host => values.request.host(),
                        _ => values.request.field("host").unwrap_or_default(),
                    };
                    if host.is_empty() || !host.iter().all(|&b| is_name(b)) {
                        return false;
                    }
                    out.extend_from_slice(host);
                }
                Part::Variable(variable) => {
                    value.clear();
                    values.append(variable, &mut value);
                    let slashes = value.iter().take_while(|&&b| b == b'/').count();
                    let skip = match &out[..] {
                        b"" => slashes.saturating_sub(1),
                        b"/" => slashes,
                        _ => 0,
                    };
                    escape(out, &value[skip..], |b| b.is_ascii_graphic() && b != b'\\');
                }
            }
        }
        true
    }

    /// Appends a part of a path in its normal form, or, after a `?`, of a query.
    pub(super) fn path(
        &self,
        values: &Values<'_>,
        captures: &dyn Fn(u8) -> Option<Vec<u8>>,
        path: &mut Vec<u8>,
        query: &mut Option<Vec<u8>>,
    ) {
        let mut value = Vec::new();
        for part in &self.0 {
            let variable = match part {
                Part::Text(text) => {
                    match query {
                        Some(query) => escape(query, text.as_bytes(), |b| b.is_ascii_graphic()),
                        None => match text.split_once('?') {
                            Some((before, after)) => {
                                path.extend_from_slice(before.as_bytes());
                                let mut begun = Vec::new();
                                escape(&mut begun, after.as_bytes(), |b| b.is_ascii_graphic());
                                *query = Some(begun);
                            }
                            None => path.extend_from_slice(text.as_bytes()),
                        },
                    }
                    continue;
                }
                Part::Variable(variable) => variable,
            };
            value.clear();
            match variable {
                Variable::Capture(number) => value.extend(captures(*number).unwrap_or_default()),
                Variable::Path => value.extend_from_slice(values.request.path()),
                variable => values.append(variable, &mut value),
            }
            match query {
                // A query as it came is one already.
                Some(query) if *variable == Variable::Query => query.extend_from_slice(&value),
                Some(query) => escape(query, &value, is_unreserved),
                None => path.extend_from_slice(&value),
            }
        }
    }
}

/// Appends what `plain` lets pass, and the rest percent-encoded.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8], plain: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &b in text {
        if plain(b) {
            out.push(b);
        } else {
            out.extend([b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
}

/// RFC 3986 section 2.3.
fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~".contains(&b)
}

/// What a host name or address literal is made of.
fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{cx, with_request};

    fn filled(template: &str, head: &str) -> String {
        let ready = Ready::new(&Template::parse(template).unwrap());
        with_request(head, |request| {
            let mut out = Vec::new();
            ready.plain(&Values::new(request, &cx()), &mut out);
            String::from_utf8(out).unwrap()
        })
    }

    #[test]
    fn every_variable_is_filled_in() {
        let head = "GET /a%20b/c?x=1 HTTP/1.1\r\nHost: Example.com:8080\r\nX-A: 7\r\nCookie: id=z; b=1\r\n\r\n";
        for (template, expected) in [
            ("{host}", "Example.com"),
            ("{uri}", "/a%20b/c?x=1"),
            ("{path}", "/a%20b/c"),
            ("{query}", "x=1"),
            ("{method} {scheme} {client}", "GET http 192.0.2.7"),
            ("{header:x-a}{header:None}", "7"),
            ("{cookie:id}{cookie:none}", "z"),
            ("{{{user}}}", "{}"),
            ("{normal-path}", "/a b/c"),
            ("{?query}{arg:X}{arg:y}", "?x=11"),
            ("{version} {port}", "HTTP/1.1 80"),
            // A proxy said who the client is.
            ("{client-port}", ""),
        ] {
            assert_eq!(filled(template, head), expected, "{template}");
        }
        let id = filled("{request-id}", head);
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        assert_eq!(filled("{request-id}{request-id}", head).len(), 64);
    }

    #[test]
    fn what_is_known_of_a_clients_certificate_is_filled_in() {
        let template = "{client-cert}|{client-cert-subject}|{client-cert-cn}|{client-cert-sha256}|{client-cert-serial}";
        let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(filled(template, head), "NONE||||");
        let certificate = ClientCertificate {
            subject: "CN=ann,O=x".into(),
            common_name: Some("ann".into()),
            sha256: "ab".into(),
            serial: "0A".into(),
        };
        let ready = Ready::new(&Template::parse(template).unwrap());
        let out = with_request(head, |request| {
            let request = Request {
                certificate: Some(&certificate),
                ..*request
            };
            let mut out = Vec::new();
            ready.plain(&Values::new(&request, &cx()), &mut out);
            String::from_utf8(out).unwrap()
        });
        assert_eq!(out, "SUCCESS|CN=ann,O=x|ann|ab|0A");
    }

    #[test]
    fn the_first_parameter_that_has_a_value_is_filled_in_as_it_came() {
        for (query, expected) in [
            ("", ""),
            ("?a=1&a=2", "1"),
            ("?aa=1&A=%20x", "%20x"),
            ("?a&b=a=1&a=", ""),
            ("?b&a&a=3", "3"),
        ] {
            let head = format!("GET /{query} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(filled("{arg:a}", &head), expected, "{query}");
        }
        let head = "GET / HTTP/1.0\r\n\r\n";
        assert_eq!(filled("{?query}|{version}", head), "|HTTP/1.0");
    }

    #[test]
    fn the_time_is_that_of_the_rfc() {
        let mut out = Vec::new();
        rfc3339(&mut out, Duration::from_millis(784_111_777_009));
        assert_eq!(out, b"1994-11-06T08:49:37.009Z");
        let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let epoch: f64 = filled("{epoch}", head).parse().unwrap();
        let now = tandem_net::coarse_time().as_secs_f64();
        assert!((epoch - now).abs() < 60.0, "{epoch} {now}");
    }
}
