//! Heads between HTTP/2 and the form that everything else reads: HTTP/1.1's.
//!
//! A request is written as the head that an HTTP/1.1 client would send, and then read by the same strict parser: what
//! holds for one holds for both. An answer is taken from the head that would be sent over HTTP/1.1.

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use crate::field::{Kind, kind, part};
use crate::head::HeadError;
use crate::response::ResponseHead;
use crate::strictness;

/// Appends a field's line.
pub(super) fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a request's head. Where the body's length is not known it says chunked, which is how it is sent on.
///
/// # Errors
/// When no HTTP/1.1 head says the same.
pub(super) fn write(
    out: &mut Vec<u8>,
    request: &Request<RecvStream>,
    most: usize,
) -> Result<(), HeadError> {
    let (uri, fields) = (request.uri(), request.headers());
    out.clear();
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    let authority = uri.authority().map(http::uri::Authority::as_str);
    match uri.path_and_query() {
        _ if request.method() == http::Method::CONNECT => {
            out.extend_from_slice(authority.unwrap_or_default().as_bytes());
        }
        Some(target) => out.extend_from_slice(target.as_str().as_bytes()),
        None => return Err(HeadError(strictness::NO_PSEUDO_PATH)),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    // RFC 9113 section 8.3.1: `:authority` is the Host field; both may come if they say the same.
    if let Some(authority) = authority {
        let others = fields.get_all(http::header::HOST);
        if others.iter().any(|host| host != authority) {
            return Err(HeadError(strictness::AUTHORITY_AND_HOST));
        }
        if others.iter().nth(1).is_some() {
            return Err(HeadError(strictness::TWO_HOSTS));
        }
        line(out, "host", authority.as_bytes());
    }
    let mut cookies = fields.get_all(http::header::COOKIE).iter().peekable();
    if cookies.peek().is_some() {
        // Section 8.2.3: crumbs of the cookie are one field in HTTP/1.1.
        let cookie: Vec<&[u8]> = cookies.map(HeaderValue::as_bytes).collect();
        line(out, "cookie", &cookie.join(&b"; "[..]));
    }
    for (name, value) in fields {
        match kind(name.as_str().as_bytes()) {
            // Section 8.2.2: these are of HTTP/1's connections. `TE: trailers` is the one that may come.
            Kind::Connection | Kind::TransferEncoding | Kind::Upgrade => {
                return Err(HeadError(strictness::OF_CONNECTIONS));
            }
            Kind::Host if authority.is_some() => {}
            _ if *name == http::header::COOKIE => {}
            _ => line(out, name.as_str(), value.as_bytes()),
        }
    }
    let has_length = fields.contains_key(http::header::CONTENT_LENGTH);
    if !has_length && !request.body().is_end_stream() {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if out.len() > most {
        return Err(HeadError(strictness::HEAD_TOO_LARGE));
    }
    Ok(())
}

/// The answer that a head says; `None` when HTTP/2 cannot.
pub(super) fn response(head: &ResponseHead, bytes: &[u8]) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status()).ok()?;
    let shared = Bytes::copy_from_slice(bytes);
    let fields = response.headers_mut();
    fields.reserve(head.fields.iter().count());
    for field in head.fields.iter() {
        if matches!(
            field.kind,
            Kind::Connection | Kind::TransferEncoding | Kind::Upgrade | Kind::Te | Kind::HopByHop
        ) {
            continue;
        }
        let (name, value) = (part(&shared, &field.name), part(&shared, &field.value));
        append(fields, name, shared.slice_ref(value))?;
    }
    Some(response)
}

/// The fields of complete lines.
pub(super) fn fields(lines: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    let lines = Bytes::copy_from_slice(lines);
    for line in lines.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let colon = memchr::memchr(b':', line)?;
        let value = lines.slice_ref(line[colon + 1..].trim_ascii());
        append(&mut fields, &line[..colon], value)?;
    }
    Some(fields)
}

fn append(fields: &mut HeaderMap, name: &[u8], value: Bytes) -> Option<()> {
    let name = HeaderName::from_bytes(name).ok()?;
    let value = HeaderValue::from_maybe_shared(value).ok()?;
    fields.append(name, value);
    Some(())
}
