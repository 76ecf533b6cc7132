//! Answers in the text protocol.

use crate::class::Classes;
use crate::extended::Details;
use crate::keyspace::{Hit, Sink};
use crate::op::Reply;
use crate::request::WireError;

/// Writes a reply. `End` closes a retrieval whose hits are written already; one that goes on says nothing.
pub fn write(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::End => out.extend_from_slice(b"END\r\n"),
        Reply::Partly(_) => {}
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
        WireError::Line(what) => line(out, "", what),
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

/// Writes items as the lines of `lru_crawler metadump`.
pub(crate) struct Dump<'a> {
    out: &'a mut Vec<u8>,
    /// Seconds.
    unix_now: u64,
    classes: &'a Classes,
    /// One bit per class.
    chosen: u64,
}

impl<'a> Dump<'a> {
    pub(crate) fn new(
        out: &'a mut Vec<u8>,
        unix_now: u64,
        classes: &'a Classes,
        chosen: u64,
    ) -> Self {
        Self {
            out,
            unix_now,
            classes,
            chosen,
        }
    }
}

impl Sink for Dump<'_> {
    fn hit(&mut self, hit: Hit<'_>) {
        self.detailed(hit, Details::default());
    }

    fn detailed(&mut self, hit: Hit<'_>, details: Details) {
        let size = crate::item_size(hit.key.len(), hit.flags, hit.value.len());
        let class = self.classes.of(size);
        if self.chosen >> class & 1 == 0 {
            return;
        }
        let out = &mut *self.out;
        out.extend_from_slice(b"key=");
        for &byte in hit.key {
            // As in a URL: whatever is in a key, a line stays a line.
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                out.push(byte);
            } else {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte)]);
            }
        }
        out.extend_from_slice(b" exp=");
        match hit.remaining {
            Some(left) => decimal(out, self.unix_now + left.div_ceil(1000)),
            None => out.extend_from_slice(b"-1"),
        }
        out.extend_from_slice(b" la=");
        decimal(out, self.unix_now.saturating_sub(details.idle));
        out.extend_from_slice(b" cas=");
        decimal(out, hit.version);
        out.extend_from_slice(if details.fetched {
            b" fetch=yes cls="
        } else {
            b" fetch=no cls="
        });
        decimal(out, class as u64);
        out.extend_from_slice(b" size=");
        decimal(out, size as u64);
        out.push(b'\n');
    }
}

/// Writes items as the lines of `stats cachedump`, up to a number of them and 2 MiB (memcached's own bound).
pub(crate) struct CacheDump<'a> {
    out: &'a mut Vec<u8>,
    /// Seconds.
    unix_now: u64,
    left: u64,
    end: usize,
    classes: &'a Classes,
    class: usize,
}

impl<'a> CacheDump<'a> {
    /// `limit` 0 is no limit but that of bytes.
    pub(crate) fn new(
        out: &'a mut Vec<u8>,
        unix_now: u64,
        limit: u64,
        classes: &'a Classes,
        class: usize,
    ) -> Self {
        let end = out.len() + 2 * 1024 * 1024;
        Self {
            out,
            unix_now,
            left: if limit == 0 { u64::MAX } else { limit },
            end,
            classes,
            class,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.left == 0 || self.out.len() >= self.end
    }
}

impl Sink for CacheDump<'_> {
    fn hit(&mut self, hit: Hit<'_>) {
        // A key that is no word of the text protocol would break the line.
        let size = crate::item_size(hit.key.len(), hit.flags, hit.value.len());
        let other = self.classes.of(size) != self.class;
        if other || self.is_full() || !crate::text::is_key(hit.key) {
            return;
        }
        self.left -= 1;
        let out = &mut *self.out;
        out.extend_from_slice(b"ITEM ");
        out.extend_from_slice(hit.key);
        out.extend_from_slice(b" [");
        decimal(out, hit.value.len() as u64);
        out.extend_from_slice(b" b; ");
        let end = hit
            .remaining
            .map(|left| self.unix_now + left.div_ceil(1000));
        decimal(out, end.unwrap_or(0));
        out.extend_from_slice(b" s]\r\n");
    }
}

/// Appends a number without the detour over `fmt`, which costs more than the rest of a reply.
pub(crate) fn decimal(out: &mut Vec<u8>, mut number: u64) {
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
