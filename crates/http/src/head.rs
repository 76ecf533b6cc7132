//! A request's head as offsets into its bytes.

use std::ops::Range;

use crate::path::{self, PathError};

/// The most fields a head may have.
pub const MAX_FIELDS: usize = 100;

/// How the body of a request is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    #[default]
    None,
    /// So many bytes.
    Known(u64),
    /// By chunks.
    Chunked,
}

/// Why a head is refused. [`HeadError::status`] is what the client is answered before the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It is not HTTP, or breaks a rule of the strictness list; the words name the rule.
    Bad(&'static str),
    /// Too many fields or too many bytes of them.
    TooLarge,
    /// The target is too long.
    TargetTooLong,
    /// Not HTTP/1.0 or 1.1.
    Version,
    /// A transfer coding other than chunked.
    Coding,
}

impl HeadError {
    /// The status it is answered with.
    pub fn status(self) -> u16 {
        match self {
            Self::Bad(_) => 400,
            Self::TooLarge => 431,
            Self::TargetTooLong => 414,
            Self::Version => 505,
            Self::Coding => 501,
        }
    }
}

impl From<PathError> for HeadError {
    fn from(error: PathError) -> Self {
        Self::Bad(match error {
            PathError::Climbs => "the path climbs above the root",
            PathError::Nul => "the path has an encoded NUL",
            PathError::Escape => "the path has an incomplete escape",
            PathError::Relative => "the target is no path",
        })
    }
}

/// A parsed request head. Kept by the connection and filled anew for each request, so that its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Head {
    length: usize,
    minor: u8,
    method: Range<u32>,
    target: Range<u32>,
    path: Path,
    host: Range<u32>,
    fields: Vec<(Range<u32>, Range<u32>)>,
    body: BodyLength,
    keep_alive: bool,
    expects_continue: bool,
}

/// The normal form of the path: a part of the target as it is, or worked out.
#[derive(Clone, Debug)]
enum Path {
    AsSent(Range<u32>),
    Decoded(Vec<u8>),
}

impl Default for Path {
    fn default() -> Self {
        Self::AsSent(0..0)
    }
}

impl Head {
    /// Reads a head from the beginning of `bytes` into `self`. `Ok(false)`: not complete yet.
    ///
    /// Leading empty lines are not skipped here (RFC 9112 section 2.2 leaves that to the reader of the connection).
    pub fn parse(&mut self, bytes: &[u8]) -> Result<bool, HeadError> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut slots);
        match parsed.parse(bytes) {
            Ok(httparse::Status::Partial) => return Ok(false),
            Ok(httparse::Status::Complete(length)) => self.length = length,
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
            Err(httparse::Error::Version) => return Err(HeadError::Version),
            Err(_) => return Err(HeadError::Bad("this is not HTTP")),
        }
        let at = |part: &[u8]| -> Range<u32> {
            let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
            start as u32..(start + part.len()) as u32
        };
        self.minor = parsed.version.unwrap_or(1);
        self.method = at(parsed.method.unwrap_or_default().as_bytes());
        self.target = at(parsed.path.unwrap_or_default().as_bytes());
        self.fields.clear();
        self.fields.extend(
            parsed
                .headers
                .iter()
                .map(|field| (at(field.name.as_bytes()), at(field.value.trim_ascii()))),
        );
        self.read_fields(bytes)?;
        self.read_target(bytes)?;
        Ok(true)
    }

    /// The head's length in bytes; the body follows.
    pub fn length(&self) -> usize {
        self.length
    }

    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub fn minor(&self) -> u8 {
        self.minor
    }

    /// The method.
    pub fn method<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        part(bytes, &self.method)
    }

    /// The target in origin form: path and query, or `*`.
    pub fn target<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        part(bytes, &self.target)
    }

    /// The path in its normal form.
    pub fn path<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        match &self.path {
            Path::AsSent(range) => part(bytes, range),
            Path::Decoded(path) => path,
        }
    }

    /// The Host field, or the authority of an absolute target, which wins (RFC 9112 section 3.2.2).
    pub fn host<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        part(bytes, &self.host)
    }

    /// All fields, in order.
    pub fn fields<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.fields
            .iter()
            .map(move |(name, value)| (part(bytes, name), part(bytes, value)))
    }

    /// How the body is delimited.
    pub fn body(&self) -> BodyLength {
        self.body
    }

    /// Whether the client wants the connection kept (RFC 9112 section 9.3).
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    fn read_fields(&mut self, bytes: &[u8]) -> Result<(), HeadError> {
        let (mut length, mut coding, mut host) = (None, false, None);
        let (mut close, mut keep, mut expects) = (false, false, false);
        for (name, value) in &self.fields {
            let text = part(bytes, value);
            match part(bytes, name) {
                n if n.eq_ignore_ascii_case(b"host") => {
                    if host.replace(value.clone()).is_some() {
                        return Err(HeadError::Bad("there are two Host fields"));
                    }
                }
                n if n.eq_ignore_ascii_case(b"content-length") => {
                    if length
                        .replace(
                            decimal(text).ok_or(HeadError::Bad("Content-Length is no number"))?,
                        )
                        .is_some()
                    {
                        return Err(HeadError::Bad("there are two Content-Length fields"));
                    }
                }
                n if n.eq_ignore_ascii_case(b"transfer-encoding") => {
                    if coding || !text.eq_ignore_ascii_case(b"chunked") {
                        return Err(HeadError::Coding);
                    }
                    coding = true;
                }
                n if n.eq_ignore_ascii_case(b"connection") => {
                    for token in text.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                        close |= token.eq_ignore_ascii_case(b"close");
                        keep |= token.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                n if n.eq_ignore_ascii_case(b"expect") => {
                    expects |= text.eq_ignore_ascii_case(b"100-continue")
                }
                _ => {}
            }
        }
        if coding && (length.is_some() || self.minor == 0) {
            return Err(HeadError::Bad(
                "Transfer-Encoding with Content-Length, or in HTTP/1.0",
            ));
        }
        if host.is_none() && self.minor == 1 {
            return Err(HeadError::Bad("there is no Host field"));
        }
        self.host = host.unwrap_or(0..0);
        self.body = match length {
            _ if coding => BodyLength::Chunked,
            None | Some(0) => BodyLength::None,
            Some(n) => BodyLength::Known(n),
        };
        self.keep_alive = !close && (self.minor == 1 || keep);
        self.expects_continue = expects && self.minor == 1;
        Ok(())
    }

    fn read_target(&mut self, bytes: &[u8]) -> Result<(), HeadError> {
        let mut target = self.target.clone();
        let text = part(bytes, &target);
        if let Some(rest) = text
            .strip_prefix(b"http://")
            .or_else(|| text.strip_prefix(b"https://"))
        {
            let skipped = (text.len() - rest.len()) as u32;
            let authority = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len()) as u32;
            self.host = target.start + skipped..target.start + skipped + authority;
            target.start += skipped + authority;
            self.target = target.clone();
        }
        let text = part(bytes, &target);
        if text == b"*" && part(bytes, &self.method) == b"OPTIONS" {
            self.path = Path::AsSent(target);
            return Ok(());
        }
        let end = memchr::memchr(b'?', text).unwrap_or(text.len());
        self.path = match path::normal(&text[..end])? {
            std::borrow::Cow::Borrowed(_) => Path::AsSent(target.start..target.start + end as u32),
            std::borrow::Cow::Owned(decoded) => Path::Decoded(decoded),
        };
        Ok(())
    }
}

fn part<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    &bytes[range.start as usize..range.end as usize]
}

/// One or more digits and nothing else, below 2^63.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        text.iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
    )
}
