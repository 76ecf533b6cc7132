//! A response's head as offsets into its bytes, read with the same care as a request's.

use std::ops::Range;

use crate::again::Last;
use crate::field::{Fields, Kind, decimal, head_end, is_plain, members, part, range};
use crate::handler::{Cause, Stage};
use crate::head::{MAX_FIELDS, MAX_HEAD};
use crate::lines::{self, Fault};

/// An answer that is not HTTP/1.x, or that two parsers could read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// How the body of a response is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delimited {
    /// There is none, whatever the fields say.
    #[default]
    Empty,
    /// So many bytes.
    Known(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection.
    ByClose,
}

/// A parsed response head. Filled anew for each response, so that its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    minor: u8,
    status: u16,
    reason: Range<u32>,
    pub(crate) fields: Fields,
    length: Option<u64>,
    plain_length: bool,
    chunked: bool,
    keep_alive: bool,
    /// What all of this was read from.
    last: Last,
}

impl ResponseHead {
    /// Reads a head from the beginning of `bytes` into `self`; returns its length. `Ok(None)`: not complete yet.
    ///
    /// # Errors
    /// When it breaks a rule of the strictness list.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        self.take(bytes, &mut 0)
    }

    /// Looks for the end of a head at the beginning of `bytes`, of which `seen` bytes were looked at before.
    fn end(bytes: &[u8], seen: &mut usize) -> Result<Option<usize>, Malformed> {
        if !b"HTTP/1.".starts_with(&bytes[..bytes.len().min(7)]) {
            return Err(Malformed);
        }
        let end = head_end(bytes, seen).map_err(|()| Malformed)?;
        match end.unwrap_or(bytes.len()) {
            n if n > MAX_HEAD || (end.is_none() && n == MAX_HEAD) => Err(Malformed),
            _ => Ok(end),
        }
    }

    /// Reads a head that is complete: `bytes` ends with its empty line.
    ///
    /// # Errors
    /// When it breaks a rule of the strictness list.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.read_whole(bytes, MAX_FIELDS)
    }

    /// As [`read`](Self::read), of one that was written here: it may have any number of fields, those of a server's answer and
    /// what routes add to them.
    ///
    /// # Errors
    /// When it breaks another rule.
    pub(crate) fn read_own(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.read_whole(bytes, usize::MAX)
    }

    fn read_whole(&mut self, bytes: &[u8], most: usize) -> Result<(), Malformed> {
        match self.begin(bytes, most) {
            Ok(length) if length == bytes.len() => Ok(()),
            _ => Err(Malformed),
        }
    }

    /// Reads a head from the beginning of `bytes`, of which `seen` were looked at before in vain; returns its length when
    /// it is complete.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        seen: &mut usize,
    ) -> Result<Option<usize>, Malformed> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if *seen == 0
            && let Some(length) = self.last.begins(bytes)
        {
            return Ok(Some(length));
        }
        // Nearly all come as a whole. What is wrong is found by the way that those take that do not.
        if *seen == 0
            && let Ok(length) = self.begin(bytes, MAX_FIELDS)
            && length <= MAX_HEAD
        {
            self.last.remember(&bytes[..length], 0);
            return Ok(Some(length));
        }
        let Some(length) = Self::end(bytes, seen)? else {
            return Ok(None);
        };
        self.read(&bytes[..length])?;
        Ok(Some(length))
    }

    /// Reads a head that `bytes` begin with; returns its length.
    fn begin(&mut self, bytes: &[u8], most: usize) -> Result<usize, Malformed> {
        self.last.forget();
        let line = bytes.strip_prefix(b"HTTP/1.").ok_or(Malformed)?;
        let [minor @ b'0'..=b'1', b' ', code @ .., _] = line.get(..6).ok_or(Malformed)? else {
            return Err(Malformed);
        };
        self.minor = minor - b'0';
        self.status = match decimal(code) {
            Some(code) if code >= 100 => code as u16,
            _ => return Err(Malformed),
        };
        // "HTTP/1.1 200": what follows is the line's end, or a space and the reason.
        let code_end = 12;
        let reason = code_end + usize::from(bytes.get(code_end) == Some(&b' '));
        let (end, byte) = lines::value(bytes, reason).map_err(|_| Malformed)?;
        if reason == code_end && end > reason {
            return Err(Malformed);
        }
        self.reason = reason as u32..end as u32;
        let fields = lines::line_end(bytes, end, byte, Fault::Value).map_err(|_| Malformed)?;
        let length = self.fields.read(bytes, fields, most);
        let length = length.map_err(|_| Malformed)?;
        self.read_fields(bytes)?;
        Ok(length)
    }

    fn read_fields(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let (mut length, mut plain) = (None, true);
        let (mut chunked, mut close, mut keep) = (false, false, false);
        let mut nominated: Option<Vec<Range<u32>>> = None;
        for field in self.fields.iter() {
            let text = part(bytes, &field.value);
            match field.kind {
                Kind::ContentLength => {
                    let n = decimal(text).ok_or(Malformed)?;
                    if length.replace(n).is_some() {
                        return Err(Malformed);
                    }
                    plain = is_plain(bytes, field);
                }
                Kind::TransferEncoding => {
                    if chunked || !text.eq_ignore_ascii_case(b"chunked") {
                        return Err(Malformed);
                    }
                    chunked = true;
                }
                Kind::Connection => {
                    for option in members(text) {
                        match option {
                            o if o.eq_ignore_ascii_case(b"close") => close = true,
                            o if o.eq_ignore_ascii_case(b"keep-alive") => keep = true,
                            o if o.eq_ignore_ascii_case(b"upgrade") => {}
                            o => nominated.get_or_insert_default().push(range(bytes, o)),
                        }
                    }
                }
                _ => {}
            }
        }
        if chunked && (length.is_some() || self.minor == 0) {
            return Err(Malformed);
        }
        for option in nominated.unwrap_or_default() {
            self.fields.nominate(bytes, part(bytes, &option));
        }
        self.length = length;
        self.plain_length = plain;
        self.chunked = chunked;
        self.keep_alive = !close && (self.minor == 1 || keep);
        Ok(())
    }

    /// The status code, 100 to 999.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase, as it came.
    pub fn reason<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        part(bytes, &self.reason)
    }

    /// Whether it says when it was made.
    pub(crate) fn is_dated(&self) -> bool {
        self.fields.iter().any(|field| field.kind == Kind::Date)
    }

    /// Whether the server keeps the connection.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// The Content-Length field.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether that is written as everybody writes it.
    pub(crate) fn has_plain_length(&self) -> bool {
        self.plain_length
    }

    /// The values of all fields of this name, in order.
    pub(crate) fn values<'a>(
        &'a self,
        bytes: &'a [u8],
        name: &'a str,
    ) -> impl Iterator<Item = &'a [u8]> {
        let named = self
            .fields
            .iter()
            .filter(move |field| part(bytes, &field.name).eq_ignore_ascii_case(name.as_bytes()));
        named.map(|field| part(bytes, &field.value))
    }

    /// The first of them.
    pub(crate) fn value<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let mut fields = self.fields.iter();
        let field =
            fields.find(|field| part(bytes, &field.name).eq_ignore_ascii_case(name.as_bytes()))?;
        Some(part(bytes, &field.value))
    }

    /// How the body is delimited, given whether the request was a HEAD.
    pub fn body(&self, head: bool) -> Delimited {
        match self.length {
            _ if head || matches!(self.status, 100..200 | 204 | 304) => Delimited::Empty,
            _ if self.chunked => Delimited::Chunked,
            Some(0) => Delimited::Empty,
            Some(n) => Delimited::Known(n),
            None => Delimited::ByClose,
        }
    }

    /// Whether a node says that an error is its own.
    pub(crate) fn is_nodes_own(&self, bytes: &[u8]) -> bool {
        self.internal(bytes, crate::OWN_FIELD).is_some()
    }

    /// What a node says in a field between nodes.
    fn internal<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let mut fields = self.fields.iter();
        fields
            .find(|field| {
                field.kind == Kind::Internal
                    && part(bytes, &field.name).eq_ignore_ascii_case(name.as_bytes())
            })
            .map(|field| part(bytes, &field.value))
    }

    /// What a gateway says of its own 502, 503 or 504: how far the try had come, and what went wrong.
    pub fn mark(&self, bytes: &[u8]) -> Option<(Stage, Cause)> {
        let cause = match self.status {
            502 => Cause::Broken,
            503 => Cause::NoServer,
            504 => Cause::Timeout,
            _ => return None,
        };
        match self.internal(bytes, crate::FAILED_FIELD)? {
            b"unsent" => Some((Stage::Unsent, cause)),
            b"busy" => Some((Stage::Unsent, Cause::Busy)),
            b"cut-off" => Some((Stage::Unsent, Cause::CutOff)),
            b"unanswered" => Some((Stage::Unanswered, cause)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<ResponseHead>, Malformed> {
        let Some(end) = ResponseHead::end(text.as_bytes(), &mut 0)? else {
            return Ok(None);
        };
        let mut head = ResponseHead::default();
        head.read(&text.as_bytes()[..end])?;
        Ok(Some(head))
    }

    #[test]
    fn the_body_is_delimited_as_the_rfc_says() {
        for (head, is_head, expected) in [
            (
                "200 OK\r\nContent-Length: 5\r\n",
                false,
                Delimited::Known(5),
            ),
            ("200 OK\r\nContent-Length: 5\r\n", true, Delimited::Empty),
            ("200 OK\r\nContent-Length: 0\r\n", false, Delimited::Empty),
            (
                "200 OK\r\nTransfer-Encoding: Chunked\r\n",
                false,
                Delimited::Chunked,
            ),
            ("200 OK\r\n", false, Delimited::ByClose),
            (
                "304 Not Modified\r\nContent-Length: 5\r\n",
                false,
                Delimited::Empty,
            ),
            ("204 No Content\r\n", false, Delimited::Empty),
            ("103 Early Hints\r\n", false, Delimited::Empty),
            ("200\r\nContent-Length: 1\r\n", false, Delimited::Known(1)),
        ] {
            let parsed = parse(&format!("HTTP/1.1 {head}\r\n")).unwrap().unwrap();
            assert_eq!(parsed.body(is_head), expected, "{head}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_malformed() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: y\nY: z\r\n\r\n",
            "HTTP/1.1 200 OK\nX: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "SSH-2.0-OpenSSH",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(
                parse(text).unwrap_err(),
                Malformed,
                "{}",
                text.escape_debug()
            );
        }
        let huge = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD));
        assert_eq!(parse(&huge).unwrap_err(), Malformed);
        assert!(parse("HTT").unwrap().is_none());
    }

    #[test]
    fn only_a_gateways_own_errors_carry_its_mark() {
        for (head, expected) in [
            (
                "502 Bad Gateway\r\ntandem-failed: unsent\r\n",
                Some((Stage::Unsent, Cause::Broken)),
            ),
            (
                "503 X\r\ntandem-failed: busy\r\n",
                Some((Stage::Unsent, Cause::Busy)),
            ),
            (
                "503 X\r\ntandem-failed: cut-off\r\n",
                Some((Stage::Unsent, Cause::CutOff)),
            ),
            (
                "504 X\r\nTandem-Failed: unanswered\r\n",
                Some((Stage::Unanswered, Cause::Timeout)),
            ),
            ("502 X\r\ntandem-failed: maybe\r\n", None),
            ("200 OK\r\ntandem-failed: unsent\r\n", None),
        ] {
            let text = format!("HTTP/1.1 {head}\r\n");
            assert_eq!(
                parse(&text).unwrap().unwrap().mark(text.as_bytes()),
                expected
            );
        }
    }

    #[test]
    fn a_head_that_comes_again_is_read_alike_and_one_that_is_longer_is_another() {
        let mut used = ResponseHead::default();
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA:",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 204 OK\r\n\r\n",
            "HTTP/1.1 204 OK\r\n\r\n",
        ] {
            let mut fresh = ResponseHead::default();
            let expected = fresh.parse(text.as_bytes());
            assert_eq!(used.parse(text.as_bytes()), expected, "{text}");
            if let Ok(Some(_)) = expected {
                assert_eq!(format!("{used:?}"), format!("{fresh:?}"), "{text}");
            }
        }
    }
}
