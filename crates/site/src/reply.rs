//! Step 8: from what was found to what is sent.

use std::sync::Arc;

use bytes::Bytes;
use tandem_http::{FileBody, Plan, Reply};

use crate::condition::{Conditions, Verdict};
use crate::entry::{Content, Entry, seconds_now};
use crate::method::ALLOW;
use crate::range::{self, Range};

/// Sends a file, or the part of it that was asked for, or that the client has it already. `head`: only the head is
/// wanted, for which Range has no meaning (RFC 9110 section 14.2).
pub(crate) fn file(
    entry: &Entry,
    head: bool,
    conditions: &Conditions<'_>,
    service: &Arc<str>,
) -> Plan {
    match conditions.verdict(entry.compared_by()) {
        Verdict::Proceed => {}
        Verdict::Failed => return page(412, service),
        Verdict::NotModified => {
            return Plan::Bytes(Reply {
                status: 304,
                fields: entry.validator_fields(),
                body: Bytes::new(),
                service: service.clone(),
                close: false,
            });
        }
    }
    let range = match conditions.range(entry.compared_by(), seconds_now) {
        Some(field) if !head => range::select(field, entry.size),
        _ => Range::Whole,
    };
    match range {
        Range::Whole => part(entry, 200, entry.fields.clone(), 0, entry.size, service),
        Range::Part { offset, length } => {
            let mut fields = Vec::with_capacity(entry.fields.len() + 64);
            fields.extend_from_slice(&entry.fields);
            let last = offset + length - 1;
            let line = format!("Content-Range: bytes {offset}-{last}/{}\r\n", entry.size);
            fields.extend_from_slice(line.as_bytes());
            part(entry, 206, fields.into(), offset, length, service)
        }
        Range::Nowhere => with(
            416,
            service,
            &format!("Content-Range: bytes */{}\r\n", entry.size),
        ),
    }
}

fn part(
    entry: &Entry,
    status: u16,
    fields: Bytes,
    offset: u64,
    length: u64,
    service: &Arc<str>,
) -> Plan {
    let service = service.clone();
    match &entry.content {
        Content::Memory(bytes) => Plan::Bytes(Reply {
            status,
            fields,
            body: bytes.slice(offset as usize..(offset + length) as usize),
            service,
            close: false,
        }),
        Content::File(file) => Plan::File(FileBody {
            status,
            fields,
            file: file.clone(),
            offset,
            length,
            service,
        }),
    }
}

/// The answer to OPTIONS.
pub(crate) fn options(service: &Arc<str>) -> Plan {
    Plan::Bytes(Reply {
        status: 204,
        fields: Bytes::from_static(ALLOW.as_bytes()),
        body: Bytes::new(),
        service: service.clone(),
        close: false,
    })
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
    Plan::Bytes(Reply {
        status,
        fields: match more {
            "" => Bytes::from_static(HTML.as_bytes()),
            more => Bytes::from([HTML, more].concat()),
        },
        body: Bytes::from_static(text(status).as_bytes()),
        service: service.clone(),
        close: false,
    })
}

const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";

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
