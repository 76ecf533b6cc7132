//! Answers in the binary protocol.

use crate::binary::{Header, Status};
use crate::keyspace::{Hit, Sink};
use crate::op::Reply;

/// The first byte of an answer.
const MAGIC: u8 = 0x81;

/// Writes an answer.
pub(crate) fn write(
    out: &mut Vec<u8>,
    header: Header,
    status: Status,
    version: u64,
    parts: [&[u8]; 3],
) {
    let [extras, key, value] = parts;
    let body = extras.len() + key.len() + value.len();
    out.reserve(24 + body);
    out.extend_from_slice(&[MAGIC, header.opcode]);
    out.extend_from_slice(&(key.len() as u16).to_be_bytes());
    out.extend_from_slice(&[extras.len() as u8, 0]);
    out.extend_from_slice(&(status as u16).to_be_bytes());
    out.extend_from_slice(&(body as u32).to_be_bytes());
    out.extend_from_slice(&header.opaque);
    out.extend_from_slice(&version.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Writes an answer that says no, with memcached's words.
pub(crate) fn write_status(out: &mut Vec<u8>, header: Header, status: Status) {
    let words = match status {
        Status::Ok => "",
        Status::NotFound => "Not found",
        Status::Exists => "Data exists for key.",
        Status::TooLarge => "Too large.",
        Status::Invalid => "Invalid arguments",
        Status::NotStored => "Not stored.",
        Status::NotANumber => "Non-numeric server-side value for incr or decr",
        Status::AuthFailed => "Auth failure.",
        Status::Unknown => "Unknown command",
        Status::NoMemory => "Out of memory",
        Status::Internal => "Internal error",
    };
    write(out, header, status, 0, [b"", b"", words.as_bytes()]);
}

/// Writes what an operation came to if it is an error of the store: its words are the answer's value.
pub(crate) fn write_error(out: &mut Vec<u8>, header: Header, reply: &Reply) {
    let (status, words) = match reply {
        Reply::ClientError(words) if words.contains("non-numeric") => {
            return write_status(out, header, Status::NotANumber);
        }
        Reply::ServerError(words) if words.contains("too large") => {
            return write_status(out, header, Status::TooLarge);
        }
        Reply::ClientError(words) => (Status::Invalid, words),
        Reply::ServerError(words) if words.contains("out of memory") => (Status::NoMemory, words),
        Reply::ServerError(words) => (Status::Internal, words),
        _ => return write_status(out, header, Status::Internal),
    };
    write(out, header, status, 0, [b"", b"", words.as_bytes()]);
}

/// Takes the item that an operation shows: writes it, or keeps its version for the answer.
pub(crate) struct Item<'w> {
    out: &'w mut Vec<u8>,
    header: Header,
    show: Show,
    /// The version of the item, once it was shown.
    pub(crate) version: Option<u64>,
}

/// What of a hit is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nothing: its version is wanted.
    Version,
    /// Its flags.
    Flags,
    /// Flags and value.
    Value,
    /// Flags, key and value.
    KeyAndValue,
}

impl<'w> Item<'w> {
    pub(crate) fn new(out: &'w mut Vec<u8>, header: Header, show: Show) -> Self {
        Self {
            out,
            header,
            show,
            version: None,
        }
    }
}

impl Sink for Item<'_> {
    fn hit(&mut self, hit: Hit<'_>) {
        self.version = Some(hit.version);
        if self.show == Show::Version {
            return;
        }
        let flags = hit.flags.to_be_bytes();
        let key = if self.show == Show::KeyAndValue {
            hit.key
        } else {
            b""
        };
        let value = if self.show == Show::Flags {
            b""
        } else {
            hit.value
        };
        write(
            self.out,
            self.header,
            Status::Ok,
            hit.version,
            [&flags, key, value],
        );
    }
}
