//! Requests that a server hands over: its answer names a path (`X-Accel-Redirect`), and what is there is sent in its place.
//!
//! So an application says who may have a file, and a site sends it. The routes of the listener are asked again, as for a
//! GET of that path with the client's other fields; a route with `internal` is asked for nothing else. Of the server's
//! answer stays what says what the client has before it, and its cookies; the rest is dropped with its content.

use super::body::Body;
use super::connection::{After, Exchange, Outs, answer};
use super::record::Record;
use super::reply;
use crate::Request;
use crate::field::{Kind, members, part};
use crate::handler::Cx;
use crate::head::{BodyLength, Head, HeadLimits};
use crate::policy::Edits;
use crate::response::ResponseHead;

/// How often one request may be handed over.
const MOST: u8 = 10;
/// The field that names the path.
const TO: &str = "X-Accel-Redirect";
/// The fields of the server's answer that stay, in any case; of an error only the cookies do.
const STAY: [&str; 4] = [
    "Content-Type",
    "Content-Disposition",
    "Cache-Control",
    "Expires",
];

/// The fields by which an error says what to do about it (RFC 9110 sections 11.6.1, 10.2.3 and 10.2.1): they belong to its status.
const OF_ERROR: [&str; 3] = ["WWW-Authenticate", "Retry-After", "Allow"];
/// Errors of a body that is not read on.
const OF_BODY: [u16; 3] = [400, 408, 413];

/// A request that was handed over.
pub(super) struct HandedOver {
    /// The path and the query, encoded.
    target: Vec<u8>,
    /// What stays of the answer.
    edits: Edits,
    /// The status of the error that leads there.
    error: Option<u16>,
}

impl HandedOver {
    /// What `head`, an answer, names; `None` when it names nothing.
    pub fn read(response: &ResponseHead, head: &[u8]) -> Option<Self> {
        let to = response.value(head, TO)?;
        Some(Self {
            target: encoded(to),
            edits: stay(response, head),
            error: None,
        })
    }

    /// What an error leads to, which has these fields. Its own errors have no others in their place.
    pub fn of_error(path: &[u8], status: u16, shown: Option<u16>, fields: &[u8]) -> Self {
        let mut edits = Edits {
            status: shown,
            keeps_page: true,
            ..Edits::default()
        };
        if shown == Some(status) {
            for name in OF_ERROR {
                let mut is_first = true;
                for line in fields.split(|&b| b == b'\n') {
                    let Some((name_of, value)) = line.split_at_checked(name.len()) else {
                        continue;
                    };
                    let Some(value) = value.strip_prefix(b":") else {
                        continue;
                    };
                    if name_of.eq_ignore_ascii_case(name.as_bytes()) {
                        if std::mem::take(&mut is_first) {
                            edits.response.remove(name);
                        }
                        edits.response.add(name, value);
                    }
                }
            }
        }
        Self {
            target: encoded(path),
            edits,
            error: Some(status),
        }
    }

    /// What the server's cookies became on their way: the lines of `Set-Cookie` as the client gets them.
    pub fn with_cookies(&mut self, lines: &[u8]) {
        for line in lines.split(|&b| b == b'\n') {
            let value = line.split_at_checked(SET_COOKIE.len());
            if let Some((name, value)) = value
                && name.eq_ignore_ascii_case(SET_COOKIE)
            {
                self.edits.response.add("Set-Cookie", value);
            }
        }
    }
}

const SET_COOKIE: &[u8] = b"Set-Cookie:";

/// What hides the field from clients, in answers before the last one.
pub(super) fn hidden() -> Edits {
    let mut edits = Edits::default();
    edits.response.remove(TO);
    edits
}

/// A path as a request has it: what may not stand there is percent-encoded, what is encoded stays.
fn encoded(path: &[u8]) -> Vec<u8> {
    let mut target = Vec::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'!'..=b'~' if !b"\"#<>\\^`{|}".contains(&byte) => target.push(byte),
            _ => target.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    target
}

/// What stays of an answer but for its cookies.
fn stay(response: &ResponseHead, head: &[u8]) -> Edits {
    let mut edits = Edits::default();
    for name in STAY {
        // An empty one says nothing: the file's own stays.
        let mut values = response.values(head, name);
        if let Some(value) = values.find(|value| !value.is_empty()) {
            edits.success.remove(name);
            edits.success.add(name, value);
        }
    }
    edits
}

/// What a request is copied for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// It is answered to the client.
    Answer,
    /// It is an error that is answered: what the client has already is not what is sent.
    Error,
    /// It only asks: by a GET, and for all that there is.
    Question,
}

/// The head of a GET, or HEAD, of `target` by the client of `x`, without what belongs to its body.
pub(super) fn head(x: &Exchange<'_>, target: &[u8], keep: bool, to: Copied) -> Vec<u8> {
    let (came, bytes) = (x.request.head, x.request.bytes);
    let mut head = Vec::with_capacity(bytes.len() + target.len());
    head.extend_from_slice(if x.is_head() && to != Copied::Question {
        b"HEAD "
    } else {
        b"GET "
    });
    head.extend_from_slice(target);
    head.extend_from_slice(b" HTTP/1.");
    head.push(b'0' + came.minor());
    head.extend_from_slice(b"\r\n");
    let host = came.host(bytes);
    if !host.is_empty() {
        head.extend_from_slice(b"Host: ");
        head.extend_from_slice(host);
        head.extend_from_slice(b"\r\n");
    }
    for field in came.fields.iter() {
        let (name, value) = (part(bytes, &field.name), part(bytes, &field.value));
        let of_its_body = name.len() > 8 && name[..8].eq_ignore_ascii_case(b"content-");
        // An answer of several parts has a type of its own, in place of the one that was said.
        let several = name.eq_ignore_ascii_case(b"range") && members(value).nth(1).is_some();
        // But for the coding, which is a wish.
        let is_condition = field.kind == Kind::Condition && name.len() != "accept-encoding".len();
        let is_condition = is_condition && to != Copied::Answer;
        let stays = !matches!(
            field.kind,
            Kind::Host
                | Kind::ContentLength
                | Kind::TransferEncoding
                | Kind::Connection
                | Kind::Upgrade
                | Kind::Expect
                | Kind::Te
                | Kind::HopByHop
        );
        if stays && !of_its_body && !several && !is_condition {
            head.extend_from_slice(name);
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(match (keep, came.minor()) {
        (false, _) => b"Connection: close\r\n",
        (true, 0) => b"Connection: keep-alive\r\n",
        (true, _) => b"",
    });
    head.extend_from_slice(b"\r\n");
    head
}

/// Answers a request with what is at the path that it was handed over to. It stays one request: of the log, of the
/// counters, and of the connection.
pub(super) async fn go(
    x: &mut Exchange<'_>,
    body: &Body<'_>,
    to: HandedOver,
    outs: Outs<'_>,
) -> After {
    if x.handed >= MOST {
        let words = "the request was handed over too often";
        return wrong(x, body, to.error, (500, words), outs).await;
    }
    let is_spoilt = to.error.is_some_and(|status| OF_BODY.contains(&status)) && !body.is_complete();
    let keep = x.may_keep(body.left()) && !is_spoilt;
    let copied = if to.edits.keeps_page {
        Copied::Error
    } else {
        Copied::Answer
    };
    let bytes = head(x, &to.target, keep, copied);
    let mut parsed = Box::new(Head::default());
    let limits = HeadLimits::from(&x.snapshot.config.limits);
    let taken = parsed.take(&bytes, &mut 0, &limits);
    if taken != Ok(Some(bytes.len())) || !to.target.starts_with(b"/") {
        let words = "the request was handed over to something that is no path";
        return wrong(x, body, to.error, (502, words), outs).await;
    }
    // What handed it over is none of the service that answers.
    (x.record.server, x.record.first_byte) = (None, None);
    let (mut nothing, _) = Body::new(BodyLength::None, b"", &x.conn.shared().buffers);
    let mut came = x.request.as_it_came();
    // What an error leads to may have the client's path in it, and a server that is asked there may name it again.
    came.by_client |= to.edits.keeps_page;
    // What the one before has said stays, too.
    let mut stays = x.stays.as_deref().cloned().unwrap_or_default();
    stays.then(to.edits);
    let now = x.cx.now;
    let empty = Cx::new(x.cx.worker, now);
    let mut y = Exchange {
        conn: x.conn,
        snapshot: x.snapshot,
        request: Request {
            head: &parsed,
            bytes: &bytes,
            came: Some(came),
            ..x.request
        },
        peer: x.peer,
        cx: std::mem::replace(&mut x.cx, empty),
        record: std::mem::replace(&mut x.record, Record::new(now)),
        edits: Some(Box::new(stays.clone())),
        waits: false,
        behind: &[],
        handed: x.handed + 1,
        stays: Some(Box::new(stays)),
        heard: None,
    };
    let after = Box::pin(answer(&mut y, &mut nothing, outs)).await;
    (x.cx, x.record) = (y.cx, y.record);
    after
}

/// Answers that a request cannot be handed over; an error stays that which it is.
async fn wrong(
    x: &mut Exchange<'_>,
    body: &Body<'_>,
    error: Option<u16>,
    (status, words): (u16, &str),
    outs: Outs<'_>,
) -> After {
    let (status, words) = error.map_or((status, words), |error| (error, reply::reason(error)));
    let page = reply::page(status, words, &x.service());
    reply::bytes(x, body, page, outs.response_out).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Option<HandedOver> {
        let mut response = ResponseHead::default();
        response.read(head.as_bytes()).unwrap();
        HandedOver::read(&response, head.as_bytes())
    }

    #[test]
    fn what_a_server_names_is_brought_into_the_form_of_a_request() {
        for (named, target) in [
            ("/vault/a.pdf", "/vault/a.pdf"),
            ("/a b/ü.pdf?x=1", "/a%20b/%C3%BC.pdf?x=1"),
            ("/a%20b", "/a%20b"),
            ("/\"<>\\^`{|}#", "/%22%3C%3E%5C%5E%60%7B%7C%7D%23"),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\nx-accel-REDIRECT: {named}\r\n\r\n");
            let handed = read(&head).expect("a path");
            assert_eq!(String::from_utf8_lossy(&handed.target), target);
        }
        assert!(read("HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\n\r\n").is_none());
    }

    #[test]
    fn what_an_error_leads_to_says_what_to_do_about_it_where_its_status_is_shown() {
        let fields = b"Content-Type: text/plain\r\nwww-authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Bearer\r\n";
        for (shown, stays) in [(Some(401), 2), (Some(403), 0), (None, 0)] {
            let led = HandedOver::of_error(b"/login", 401, shown, fields);
            let mut out = b"Content-Type: text/html\r\nWWW-Authenticate: Other\r\n".to_vec();
            led.edits.answer(401, &mut out, 0);
            let out = String::from_utf8_lossy(&out).into_owned();
            assert!(out.starts_with("Content-Type: text/html\r\n"), "{out}");
            let said = "WWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Bearer\r\n";
            assert_eq!(out.contains(said), stays == 2, "{out}");
            assert_eq!(out.contains("Other"), stays == 0, "{out}");
        }
        let led = HandedOver::of_error(b"/slow", 429, Some(429), b"Retry-After: 6\r\n");
        let mut out = Vec::new();
        led.edits.answer(429, &mut out, 0);
        assert_eq!(out, b"Retry-After: 6\r\n");
    }

    #[test]
    fn of_the_answer_stays_what_it_says_of_the_file_and_its_cookies() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/pdf\r\nContent-Disposition: attachment\r\nExpires: 0\r\n\
                    X-Secret: 1\r\nCache-Control:\r\nContent-Length: 0\r\nETag: \"1\"\r\nX-Accel-Redirect: /a\r\n\r\n";
        let mut handed = read(head).unwrap();
        handed.with_cookies(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nX: y\r\nset-cookie: b=2\r\n",
        );
        let mut out =
            b"Content-Type: text/plain\r\nCache-Control: no-cache\r\nETag: \"2\"\r\n".to_vec();
        handed.edits.answer(200, &mut out, 0);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "Cache-Control: no-cache\r\nETag: \"2\"\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n\
             Content-Type: application/pdf\r\nContent-Disposition: attachment\r\nExpires: 0\r\n"
        );
        let mut out = b"Content-Type: text/plain\r\n".to_vec();
        handed.edits.answer(404, &mut out, 0);
        let out = String::from_utf8_lossy(&out).into_owned();
        assert!(
            out.starts_with("Content-Type: text/plain\r\nSet-Cookie: a=1"),
            "{out}"
        );
    }
}
