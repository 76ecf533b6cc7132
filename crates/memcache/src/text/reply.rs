//! Answers in the text protocol.

use crate::keyspace::{Hit, Sink};
use crate::op::Reply;
use crate::request::WireError;

/// Writes a reply. `End` closes a retrieval whose hits are written already.
pub fn write(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::End => out.extend_from_slice(b"END\r\n"),
        Reply::Stored => out.extend_from_slice(b"STORED\r\n"),
        Reply::NotStored => out.extend_from_slice(b"NOT_STORED\r\n"),
        Reply::Exists => out.extend_from_slice(b"EXISTS\r\n"),
        Reply::NotFound => out.extend_from_slice(b"NOT_FOUND\r\n"),
        Reply::Deleted => out.extend_from_slice(b"DELETED\r\n"),
        Reply::Touched => out.extend_from_slice(b"TOUCHED\r\n"),
        Reply::Ok => out.extend_from_slice(b"OK\r\n"),
        Reply::Number(number) => {
            decimal(out, *number);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Stats(lines) => {
            for (name, value) in lines {
                for part in ["STAT ", name, " ", value, "\r\n"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
            out.extend_from_slice(b"END\r\n");
        }
        Reply::ClientError(what) => line(out, "CLIENT_ERROR ", what),
        Reply::ServerError(what) => line(out, "SERVER_ERROR ", what),
    }
}

/// Writes an error of the protocol.
pub fn write_error(out: &mut Vec<u8>, error: WireError) {
    match error {
        WireError::Unknown => out.extend_from_slice(b"ERROR\r\n"),
        WireError::Client(what) => line(out, "CLIENT_ERROR ", what),
        WireError::Server(what) => line(out, "SERVER_ERROR ", what),
    }
}

/// Writes `VERSION ...`.
pub fn write_version(out: &mut Vec<u8>, version: &str) {
    line(out, "VERSION ", version);
}

fn line(out: &mut Vec<u8>, word: &str, rest: &str) {
    for part in [word, rest, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Writes hits as `VALUE` blocks, straight into the output.
pub struct Hits<'a> {
    out: &'a mut Vec<u8>,
    versions: bool,
}

impl<'a> Hits<'a> {
    /// Hits with their `cas unique` or without.
    pub fn new(out: &'a mut Vec<u8>, versions: bool) -> Self {
        Self { out, versions }
    }
}

impl Sink for Hits<'_> {
    fn hit(&mut self, hit: Hit<'_>) {
        // VALUE, three numbers of at most 10, 10 and 20 digits, spaces and two line ends.
        const AROUND: usize = 64;
        let out = &mut *self.out;
        out.reserve(hit.key.len() + hit.value.len() + AROUND);
        out.extend_from_slice(b"VALUE ");
        out.extend_from_slice(hit.key);
        out.push(b' ');
        decimal(out, u64::from(hit.flags));
        out.push(b' ');
        decimal(out, hit.value.len() as u64);
        if self.versions {
            out.push(b' ');
            decimal(out, hit.version);
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(hit.value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a number without the detour over `fmt`, which costs more than the rest of a reply.
fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 4_294_967_295, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
