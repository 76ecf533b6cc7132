//! A request's head as offsets into its bytes.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::field::{Fields, Kind, decimal, head_end, members, part, range};
use crate::path::{self, PathError};
use crate::strictness::{self, Rule};
use tandem_model::Limits;

/// The most fields a head may have, unless a listener's limits say otherwise.
pub const MAX_FIELDS: usize = 100;
/// The most that limits can allow: room for so many is made on the stack.
const MOST_FIELDS: usize = 250;
/// The most bytes a head may have, with its empty line, unless a listener's limits say otherwise.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most bytes a target may have, unless a listener's limits say otherwise.
pub const MAX_TARGET: usize = 8 * 1024;

/// The most that stands around a target in its line, in bytes: a method, a version, two spaces, CR and LF.
const AROUND_TARGET: usize = 64;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, with its empty line.
    pub head: usize,
    /// Fields, 250 at most.
    pub fields: usize,
    /// Bytes of its target.
    pub target: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head: MAX_HEAD,
            fields: MAX_FIELDS,
            target: MAX_TARGET,
        }
    }
}

impl From<&Limits> for HeadLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            head: limits.head.0 as usize,
            fields: usize::from(limits.fields),
            target: limits.uri.0 as usize,
        }
    }
}

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

/// Why a head is refused: the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadError(pub &'static Rule);

impl HeadError {
    /// The status it is answered with before the connection is closed.
    pub fn status(self) -> u16 {
        self.0.status
    }

    /// The rule that was broken, for the page that the client is sent.
    pub fn words(self) -> &'static str {
        self.0.words
    }
}

impl From<PathError> for HeadError {
    fn from(error: PathError) -> Self {
        Self(match error {
            PathError::Climbs => strictness::CLIMBS,
            PathError::Nul => strictness::PATH_NUL,
            PathError::Escape => strictness::ESCAPE,
            PathError::Relative => strictness::NO_PATH,
        })
    }
}

/// A parsed request head. Kept by the connection and filled anew for each request, so that its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Head {
    length: usize,
    minor: u8,
    http2: bool,
    method: Range<u32>,
    target: Range<u32>,
    /// The target where it is not as it was sent; else empty.
    rooted: Vec<u8>,
    path: Path,
    host: Option<Range<u32>>,
    pub(crate) fields: Fields,
    body: BodyLength,
    keep_alive: bool,
    expects_continue: bool,
    upgrade: bool,
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
        let limits = HeadLimits::default();
        match end_of_head(bytes, &mut 0, &limits)? {
            Some(length) => self.read(&bytes[..length], &limits).map(|()| true),
            None => Ok(false),
        }
    }

    /// Reads a head that is complete: `bytes` ends with its empty line.
    pub(crate) fn read(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
        let mut slots = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let slots = &mut slots[..limits.fields.min(MOST_FIELDS)];
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(bytes, slots) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => self.length = length,
            Ok(_) => return Err(HeadError(strictness::EMPTY_LINE)),
            Err(error) => return Err(refusal(error, bytes)),
        }
        self.minor = parsed.version.unwrap_or(1);
        self.http2 = false;
        self.method = range(bytes, parsed.method.unwrap_or_default().as_bytes());
        self.target = range(bytes, parsed.path.unwrap_or_default().as_bytes());
        self.fields.read(bytes, parsed.headers);
        self.read_fields(bytes)?;
        self.read_target(bytes, limits)
    }

    /// Reads the head that stands for one of HTTP/2.
    pub(crate) fn read_http2(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<(), HeadError> {
        self.read(bytes, limits)?;
        self.http2 = true;
        Ok(())
    }

    /// As it is written in an access log: `HTTP/1.1`.
    pub fn version(&self) -> &'static str {
        match (self.http2, self.minor) {
            (true, _) => "HTTP/2.0",
            (false, 0) => "HTTP/1.0",
            (false, _) => "HTTP/1.1",
        }
    }

    /// The head's length in bytes; the body follows.
    pub fn length(&self) -> usize {
        self.length
    }

    /// 0 for HTTP/1.0, 1 for HTTP/1.1 and what came as HTTP/2.
    pub fn minor(&self) -> u8 {
        self.minor
    }

    /// The method.
    pub fn method<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        part(bytes, &self.method)
    }

    /// The target in origin form: path and query, or `*`.
    pub fn target<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        if self.rooted.is_empty() {
            part(bytes, &self.target)
        } else {
            &self.rooted
        }
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
        self.host.as_ref().map_or(b"", |host| part(bytes, host))
    }

    /// All fields, in order.
    pub fn fields<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.fields
            .iter()
            .map(move |field| (part(bytes, &field.name), part(bytes, &field.value)))
    }

    /// The same request for another target in origin form, `path` being the normal form of its path.
    pub(crate) fn moved(&self, target: Vec<u8>, path: Vec<u8>) -> Self {
        Self {
            rooted: target,
            path: Path::Decoded(path),
            ..self.clone()
        }
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

    /// Whether the client takes fields behind the body of the answer (RFC 9110 section 10.1.4).
    pub fn wants_trailers(&self, bytes: &[u8]) -> bool {
        self.fields
            .values(bytes, Kind::Te)
            .flat_map(members)
            .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    }

    /// Whether the client asks to go on in another protocol (RFC 9110 section 7.8): it has no body, and the protocol is
    /// not HTTP itself, which would let requests past the routes.
    pub fn upgrade(&self) -> bool {
        self.upgrade
    }

    fn read_fields(&mut self, bytes: &[u8]) -> Result<(), HeadError> {
        let (mut length, mut coding, mut host) = (None, false, None);
        let (mut close, mut keep, mut expects, mut upgrade, mut protocol) =
            (false, false, false, false, true);
        let mut nominated: Option<Vec<Range<u32>>> = None;
        for field in self.fields.iter() {
            let text = part(bytes, &field.value);
            match field.kind {
                Kind::Host => {
                    if host.replace(field.value.clone()).is_some() {
                        return Err(HeadError(strictness::TWO_HOSTS));
                    }
                    if !is_host(text) {
                        return Err(HeadError(strictness::HOST));
                    }
                }
                Kind::ContentLength => {
                    let n = decimal(text).ok_or(HeadError(strictness::LENGTH))?;
                    if length.replace(n).is_some() {
                        return Err(HeadError(strictness::TWO_LENGTHS));
                    }
                }
                Kind::TransferEncoding => {
                    if coding || !text.eq_ignore_ascii_case(b"chunked") {
                        return Err(HeadError(strictness::CODING));
                    }
                    coding = true;
                }
                Kind::Connection => {
                    for option in members(text) {
                        match option {
                            o if o.eq_ignore_ascii_case(b"close") => close = true,
                            o if o.eq_ignore_ascii_case(b"keep-alive") => keep = true,
                            o if o.eq_ignore_ascii_case(b"upgrade") => upgrade = true,
                            o => nominated.get_or_insert_default().push(range(bytes, o)),
                        }
                    }
                }
                Kind::Upgrade => protocol &= is_foreign(text),
                Kind::Expect => expects |= text.eq_ignore_ascii_case(b"100-continue"),
                _ => {}
            }
        }
        if coding && length.is_some() {
            return Err(HeadError(strictness::LENGTH_AND_CODING));
        }
        if coding && self.minor == 0 {
            return Err(HeadError(strictness::CODING_IN_1_0));
        }
        if host.is_none() && self.minor == 1 {
            return Err(HeadError(strictness::NO_HOST));
        }
        for option in nominated.unwrap_or_default() {
            self.fields.nominate(bytes, part(bytes, &option));
        }
        self.host = host;
        self.body = match length {
            _ if coding => BodyLength::Chunked,
            None | Some(0) => BodyLength::None,
            Some(n) => BodyLength::Known(n),
        };
        self.keep_alive = !close && (self.minor == 1 || keep);
        self.expects_continue = expects && self.minor == 1 && self.body != BodyLength::None;
        self.upgrade = upgrade
            && protocol
            && self.minor == 1
            && self.body == BodyLength::None
            && self.fields.values(bytes, Kind::Upgrade).count() == 1;
        Ok(())
    }

    fn read_target(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
        self.rooted.clear();
        let text = part(bytes, &self.target);
        if text.len() > limits.target {
            return Err(HeadError(strictness::TARGET_TOO_LONG));
        }
        let method = part(bytes, &self.method);
        if method == b"CONNECT" {
            return Err(HeadError(strictness::CONNECT));
        }
        if !text.iter().all(|&b| matches!(b, b'!'..=b'~') && b != b'#') {
            return Err(HeadError(strictness::TARGET_BYTE));
        }
        let absolute = scheme(text);
        if let Some(scheme) = absolute {
            let rest = &text[scheme..];
            let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
            if end == 0 || !is_host(&rest[..end]) {
                return Err(HeadError(strictness::AUTHORITY));
            }
            let start = self.target.start + scheme as u32;
            self.host = Some(start..start + end as u32);
            self.target.start = start + end as u32;
        }
        let text = part(bytes, &self.target);
        if text == b"*" && method == b"OPTIONS" {
            self.path = Path::AsSent(self.target.clone());
            return Ok(());
        }
        if absolute.is_some() && matches!(text.first(), None | Some(b'?')) {
            // The absolute form of a root may leave the slash out (RFC 9112 section 3.2.1); of the whole server it
            // has to (section 3.2.4).
            if method == b"OPTIONS" && text.is_empty() {
                self.rooted.push(b'*');
                self.path = Path::Decoded(b"*".to_vec());
                return Ok(());
            }
            self.rooted.push(b'/');
            self.rooted.extend_from_slice(text);
            self.path = Path::Decoded(b"/".to_vec());
            return Ok(());
        }
        let end = memchr::memchr(b'?', text).unwrap_or(text.len());
        let start = self.target.start;
        self.path = match path::normal(&text[..end])? {
            std::borrow::Cow::Borrowed(_) => Path::AsSent(start..start + end as u32),
            std::borrow::Cow::Owned(decoded) => Path::Decoded(decoded),
        };
        Ok(())
    }
}

/// Looks for the end of a head, of which `seen` bytes were looked at before.
pub(crate) fn end_of_head(
    bytes: &[u8],
    seen: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, HeadError> {
    if let Some(&first) = bytes.first()
        && !crate::chunked::is_token(first)
    {
        return Err(HeadError(strictness::NOT_HTTP));
    }
    let end = head_end(bytes, seen).map_err(|()| HeadError(strictness::LINE_END))?;
    let so_far = end.unwrap_or(bytes.len());
    let line = limits.target + AROUND_TARGET;
    if so_far > line && memchr::memchr(b'\n', &bytes[..line]).is_none() {
        return Err(HeadError(strictness::TARGET_TOO_LONG));
    }
    if so_far > limits.head || (end.is_none() && so_far >= limits.head) {
        return Err(HeadError(strictness::HEAD_TOO_LARGE));
    }
    Ok(end)
}

/// What httparse found wrong, in words.
fn refusal(error: httparse::Error, bytes: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError(strictness::HEAD_TOO_LARGE),
        httparse::Error::Version => {
            let line = memchr::memchr(b'\r', bytes).map_or(bytes, |end| &bytes[..end]);
            let version = line.rsplit(|&b| b == b' ').next().unwrap_or_default();
            match version.strip_prefix(b"HTTP/") {
                Some(b"1.0" | b"1.1") => HeadError(strictness::REQUEST_LINE),
                Some([b'0'..=b'9', b'.', b'0'..=b'9']) => HeadError(strictness::VERSION),
                _ => HeadError(strictness::NOT_HTTP),
            }
        }
        httparse::Error::HeaderName => HeadError(name_rule(bytes)),
        httparse::Error::HeaderValue => HeadError(strictness::FIELD_VALUE),

        _ => HeadError(strictness::REQUEST_LINE),
    }
}

/// The rule that a field's name breaks: the first one of the head that is no name.
fn name_rule(bytes: &[u8]) -> &'static Rule {
    let lines = bytes.split(|&b| b == b'\n').skip(1);
    for line in lines {
        if let [b' ' | b'\t', ..] = line {
            return strictness::FOLDED;
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            break;
        };
        let name = &line[..colon];
        if !name.is_empty() && name.iter().copied().all(crate::chunked::is_token) {
            continue;
        }
        let spaced = matches!(name.trim_ascii_end(), bare if bare.len() < name.len()
            && bare.iter().copied().all(crate::chunked::is_token));
        return if spaced {
            strictness::SPACE_BEFORE_COLON
        } else {
            strictness::FIELD_NAME
        };
    }
    strictness::FIELD_NAME
}

/// The length of `http://` or `https://`, if the target begins with it.
fn scheme(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .map(<[u8]>::len)
}

/// A host and perhaps a port (RFC 3986 section 3.2), narrower than the grammar: what splits lists, paths or user names
/// for some parser is not in it. Empty is allowed (RFC 9112 section 3.2).
pub(crate) fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else {
                return false;
            };
            let inside = |&b: &u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
            if end == 0 || !rest[..end].iter().all(inside) {
                return false;
            }
            (&rest[..0], &rest[end + 1..])
        }
        _ => text.split_at(memchr::memchr(b':', text).unwrap_or(text.len())),
    };
    let name = |&b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&b);
    let port_is_fine = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host.iter().all(name) && port_is_fine
}

/// A protocol other than HTTP.
fn is_foreign(protocol: &[u8]) -> bool {
    let begins = |name: &[u8]| {
        protocol
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    !protocol.is_empty()
        && !begins(b"h2c")
        && !begins(b"http")
        && !begins(b"tls")
        && !protocol.contains(&b',')
}

#[cfg(test)]
mod tests;
