//! Step 9: from what was found to what is sent.

use std::sync::Arc;

use bytes::Bytes;
use tandem_http::{FileBody, Plan, Reply};

use crate::Ask;
use crate::condition::Verdict;
use crate::entry::{Content, Entry, seconds_now};
use crate::flv;
use crate::method::ALLOW;
use crate::multipart::Multipart;
use crate::range::{self, Range};

/// What is sent of a file.
pub(crate) enum Sent {
    /// This.
    Plan(Plan),
    /// Several parts, which are to be read together first: [`Multipart::read`].
    Parts(Multipart),
}

/// Sends a file, or the part of it that was asked for, or that the client has it already. Range has no meaning for HEAD
/// (RFC 9110 section 14.2).
pub(crate) fn file(entry: &Arc<Entry>, ask: &Ask<'_>, service: &Arc<str>) -> Sent {
    let conditions = &ask.conditions;
    match conditions.verdict(entry.compared_by()) {
        Verdict::Proceed => {}
        Verdict::Failed => return Sent::Plan(page(412, service)),
        Verdict::NotModified => {
            return Sent::Plan(bytes(304, entry.validator_fields(), Bytes::new(), service));
        }
    }
    if entry.coding.is_none()
        && let Some(start) = flv::start(&ask.path, &ask.query, entry.size)
    {
        return Sent::Plan(video(entry, start, service));
    }
    // A part of what was compressed on the way could not be told from a part of what is compressed anew.
    let range = match conditions.range(entry.compared_by(), seconds_now) {
        Some(field) if !ask.head && !entry.is_made() => range::select(field, entry.size),
        _ => Range::Whole,
    };
    Sent::Plan(match range {
        Range::Whole => part(entry, 200, entry.fields.clone(), 0, entry.size, service),
        Range::Part { offset, length } => {
            let mut fields = Vec::with_capacity(entry.fields.len() + 64);
            fields.extend_from_slice(&entry.fields);
            let last = offset + length - 1;
            let line = format!("Content-Range: bytes {offset}-{last}/{}\r\n", entry.size);
            fields.extend_from_slice(line.as_bytes());
            part(entry, 206, fields.into(), offset, length, service)
        }
        Range::Parts(parts) => {
            return Sent::Parts(Multipart::new(entry.clone(), parts, service.clone()));
        }
        Range::Nowhere => with(
            416,
            service,
            &format!("Content-Range: bytes */{}\r\n", entry.size),
        ),
    })
}

fn part(
    entry: &Entry,
    status: u16,
    fields: Bytes,
    offset: u64,
    length: u64,
    service: &Arc<str>,
) -> Plan {
    match &entry.content {
        Content::Memory(content) => {
            let content = content.slice(offset as usize..(offset + length) as usize);
            bytes(status, fields, content, service)
        }
        Content::File(file) => Plan::File(FileBody {
            status,
            fields,
            before: Bytes::new(),
            file: file.clone(),
            offset,
            length,
            service: service.clone(),
        }),
    }
}

/// A video from `start`, as one of its own. Its tag may be that of the file: another query is another resource.
fn video(entry: &Entry, start: u64, service: &Arc<str>) -> Plan {
    let fields = entry.rangeless_fields();
    match &entry.content {
        Content::Memory(content) => {
            let body = [flv::HEAD, &content[start as usize..]].concat();
            bytes(200, fields, Bytes::from(body), service)
        }
        Content::File(file) => Plan::File(FileBody {
            status: 200,
            fields,
            before: Bytes::from_static(flv::HEAD),
            file: file.clone(),
            offset: start,
            length: entry.size - start,
            service: service.clone(),
        }),
    }
}

/// An answer from memory.
pub(crate) fn bytes(status: u16, fields: Bytes, body: Bytes, service: &Arc<str>) -> Plan {
    Plan::Bytes(Reply {
        status,
        fields,
        body,
        service: service.clone(),
        close: false,
    })
}

/// A page that is another one next time.
pub(crate) fn fresh(page: Bytes, fields: &str, service: &Arc<str>) -> Plan {
    let fields = [fields, "Cache-Control: no-store\r\n"].concat();
    bytes(200, Bytes::from(fields), page, service)
}

/// The answer to OPTIONS.
pub(crate) fn options(service: &Arc<str>) -> Plan {
    let fields = Bytes::from_static(ALLOW.as_bytes());
    bytes(204, fields, Bytes::new(), service)
}

/// Sends a client from a directory's path to the same with a slash, so that relative links in it work.
pub(crate) fn redirect(location: &str, service: &Arc<str>) -> Plan {
    with(301, service, &format!("Location: {location}\r\n"))
}

/// A page for a person who followed a link.
pub(crate) fn page(status: u16, service: &Arc<str>) -> Plan {
    let more = if status == 405 { ALLOW } else { "" };
    with(status, service, more)
}

fn with(status: u16, service: &Arc<str>, more: &str) -> Plan {
    let fields = match more {
        "" => Bytes::from_static(HTML.as_bytes()),
        more => Bytes::from([HTML, more].concat()),
    };
    bytes(
        status,
        fields,
        Bytes::from_static(text(status).as_bytes()),
        service,
    )
}

/// The field of pages of ours.
pub(crate) const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";

macro_rules! html {
    ($title:literal, $text:literal) => {
        concat!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>",
            $title,
            "</title>\n<h1>",
            $title,
            "</h1>\n<p>",
            $text,
            "</p>\n"
        )
    };
}

fn text(status: u16) -> &'static str {
    match status {
        301 => html!(
            "Moved permanently",
            "This is a directory: its address ends with a slash."
        ),
        403 => html!("Forbidden", "You may not see this."),
        404 => html!("Not found", "There is nothing at this address."),
        405 => html!(
            "Method not allowed",
            "A file can be asked for with GET and HEAD."
        ),
        412 => html!(
            "Precondition failed",
            "This is not the version you asked about."
        ),
        416 => html!("Range not satisfiable", "The file does not reach that far."),
        503 => html!(
            "Service unavailable",
            "The server is busy. Please try again in a moment."
        ),
        _ => html!("Internal server error", "The file could not be read."),
    }
}
