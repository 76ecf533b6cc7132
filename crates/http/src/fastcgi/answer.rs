//! An answer's CGI head (RFC 3875 section 6) as a head of HTTP.

use crate::head::MAX_HEAD;
use crate::response::Malformed;

/// Gathers the head of one answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The head as HTTP has it, its first line aside.
    fields: Vec<u8>,
    status: Option<Vec<u8>>,
    redirects: bool,
}

impl Answer {
    /// Reads a CGI head from the beginning of `bytes`; returns its length and what it is in HTTP/1.0, as which it says
    /// nothing of the connection. `None`: it is not complete yet.
    ///
    /// # Errors
    /// When a line of it is no field, or it is too long.
    pub fn read(bytes: &[u8]) -> Result<Option<(usize, Vec<u8>)>, Malformed> {
        let mut answer = Self::default();
        let mut at = 0;
        while let Some(end) = memchr::memchr(b'\n', &bytes[at..]) {
            let line = &bytes[at..at + end];
            at += end + 1;
            if at > MAX_HEAD {
                return Err(Malformed);
            }
            match line.strip_suffix(b"\r").unwrap_or(line) {
                b"" => return Ok(Some((at, answer.finish()))),
                line => answer.line(line)?,
            }
        }
        if bytes.len() >= MAX_HEAD {
            return Err(Malformed);
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let colon = memchr::memchr(b':', line).ok_or(Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("status") {
            // Of several the first, as a program that corrects itself says it in one.
            self.status.get_or_insert_with(|| value.into());
            return Ok(());
        }
        // What is said of the connection is said by whoever has it.
        if is("transfer-encoding") || is("connection") || is("keep-alive") || is("upgrade") {
            return Ok(());
        }
        self.redirects |= is("location");
        self.fields.extend_from_slice(name);
        self.fields.extend_from_slice(b": ");
        self.fields.extend_from_slice(value);
        self.fields.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn finish(self) -> Vec<u8> {
        // RFC 3875 section 6.2: a Location alone is a redirect.
        let usual: &[u8] = if self.redirects {
            b"302 Found"
        } else {
            b"200 OK"
        };
        let status = self.status.as_deref().unwrap_or(usual);
        [b"HTTP/1.0 ", status, b"\r\n", &self.fields, b"\r\n"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::{Delimited, ResponseHead};

    fn read(text: &str) -> Option<(usize, String)> {
        let read = Answer::read(text.as_bytes()).unwrap();
        read.map(|(length, head)| (length, String::from_utf8(head).unwrap()))
    }

    #[test]
    fn a_cgi_head_is_one_of_http_with_its_status() {
        for (head, expected) in [
            (
                "Content-type: text/html\r\n\r\n",
                "HTTP/1.0 200 OK\r\nContent-type: text/html\r\n\r\n",
            ),
            (
                "X: 1\nStatus: 404 Not Found\nY:2\n\n",
                "HTTP/1.0 404 Not Found\r\nX: 1\r\nY: 2\r\n\r\n",
            ),
            (
                "Location: /there\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.0 302 Found\r\nLocation: /there\r\n\r\n",
            ),
            (
                "status: 201\r\nLOCATION: /new\r\n\r\n",
                "HTTP/1.0 201\r\nLOCATION: /new\r\n\r\n",
            ),
            ("\r\n", "HTTP/1.0 200 OK\r\n\r\n"),
        ] {
            let with_body = format!("{head}body\n\n");
            let (length, made) = read(&with_body).unwrap();
            assert_eq!((length, &*made), (head.len(), expected));
            let mut parsed = ResponseHead::default();
            parsed.read(made.as_bytes()).unwrap();
            assert!(!parsed.keep_alive());
            assert_eq!(parsed.body(false), Delimited::ByClose);
            // Until the empty line is there it is not complete.
            assert_eq!(read(&head[..head.len() - 1]), None);
        }
    }

    #[test]
    fn what_is_no_head_is_malformed() {
        for bad in ["no field\r\n\r\n", "PHP Warning\nX: 1\n\n"] {
            assert!(Answer::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let long = format!("X: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        assert!(Answer::read(long.as_bytes()).is_err());
        assert!(Answer::read(&long.as_bytes()[..MAX_HEAD]).is_err());
        for bad in [
            "Status: 20\r\n\r\n",
            "Status: abc\r\n\r\n",
            "A\x01: b\r\n\r\n",
            "A: b\rc\r\n\r\n",
        ] {
            let (_, made) = Answer::read(bad.as_bytes()).unwrap().unwrap();
            assert!(ResponseHead::default().read(&made).is_err(), "{bad:?}");
        }
    }
}
