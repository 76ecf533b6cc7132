//! A request's head as offsets into its bytes.

use std::ops::Range;

use crate::again::Last;
use crate::field::{Fields, Kind, decimal, head_end, is_plain, members, part, range, shifted};
use crate::lines::{self, Fault, is_token};
use crate::path::{self, PathError};
use crate::strictness::{self, Rule};
use tandem_model::Limits;

/// The most fields a head may have, unless a listener's limits say otherwise.
pub const MAX_FIELDS: usize = 100;
/// The most that limits can allow.
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
            PathError::Parameter => strictness::DOTS_PARAMETER,
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
    /// What was taken off the beginning of the path.
    stripped: Vec<u8>,
    host: Option<Range<u32>>,
    pub(crate) fields: Fields,
    /// The Host field.
    stated: Option<Range<u32>>,
    body: BodyLength,
    plain_length: bool,
    keep_alive: bool,
    expects_continue: bool,
    upgrade: bool,
    /// Where the fields begin.
    first_field: usize,
    /// What all of this was read from, and under which limits.
    last: Last,
    limits: HeadLimits,
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
        let taken = self.take(bytes, &mut 0, &HeadLimits::default())?;
        Ok(taken.is_some())
    }

    /// Reads a head from the beginning of `bytes`, of which `seen` were looked at before in vain; returns its length when
    /// it is complete.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        seen: &mut usize,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HeadError> {
        if *seen == 0 && self.is_again(bytes, limits) {
            return Ok(Some(self.length));
        }
        // Nearly all come as a whole. What is wrong is found by the way that those take that do not, so that what is
        // said of it does not depend on how it comes.
        if *seen == 0
            && let Ok(length) = self.lines(bytes, limits)
            && length <= limits.head
            && self.read_target(bytes, limits).is_ok()
        {
            self.remember(&bytes[..length], limits);
            return Ok(Some(length));
        }
        // Something of both heads is left behind.
        self.last.forget();
        let Some(length) = end_of_head(bytes, seen, limits)? else {
            return Ok(None);
        };
        self.read(&bytes[..length], limits)?;
        Ok(Some(length))
    }

    /// Reads a head that is complete: `bytes` ends with its empty line.
    pub(crate) fn read(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
        self.last.forget();
        match self.lines(bytes, limits) {
            Ok(length) if length == bytes.len() => self.read_target(bytes, limits),
            Ok(_) => Err(HeadError(strictness::EMPTY_LINE)),
            Err(Wrong::Line(rule)) => Err(HeadError(rule)),
            Err(Wrong::Meaning(error)) => Err(error),
            Err(Wrong::Field(fault)) => Err(HeadError(match fault {
                Fault::TooMany => strictness::HEAD_TOO_LARGE,
                Fault::Value => strictness::FIELD_VALUE,
                Fault::LineEnd => strictness::LINE_END,
                Fault::Name | Fault::Short => name_rule(bytes),
            })),
        }
    }

    /// Whether `bytes` begin with the head that was read last.
    fn is_again(&mut self, bytes: &[u8], limits: &HeadLimits) -> bool {
        let again = self.limits == *limits && self.last.begins(bytes).is_some();
        if again {
            self.http2 = false;
        }
        again
    }

    fn remember(&mut self, bytes: &[u8], limits: &HeadLimits) {
        self.last.remember(bytes, self.first_field);
        self.limits = *limits;
    }

    /// Finds the parts of a head that `bytes` begin with, and what its fields mean; returns its length.
    fn lines(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<usize, Wrong> {
        let minor = self.minor;
        self.first_field = self.request_line(bytes)?;
        let last = self.last.fields(&bytes[self.first_field..]);
        let is_last = self.minor == minor && self.limits == *limits;
        if let Some((first, length)) = last.filter(|_| is_last) {
            let further = (self.first_field as u32).wrapping_sub(first as u32);
            self.fields.shift(further);
            self.stated = self.stated.take().map(|host| shifted(&host, further));
            self.length = self.first_field + length;
        } else {
            let most = limits.fields.min(MOST_FIELDS);
            let length = self.fields.read(bytes, self.first_field, most);
            self.length = length.map_err(Wrong::Field)?;
            self.read_fields(bytes).map_err(Wrong::Meaning)?;
        }
        self.host = self.stated.clone();
        Ok(self.length)
    }

    /// Finds the parts of the first line; returns where the next one begins.
    fn request_line(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        let malformed = |_| Wrong::Line(strictness::REQUEST_LINE);
        let (end, byte) = lines::token(bytes, 0).map_err(malformed)?;
        self.method = 0..end as u32;
        let target = end + 1;
        if end == 0 || byte != b' ' {
            return Err(Wrong::Line(strictness::REQUEST_LINE));
        }
        let (end, byte) = lines::text::<true>(bytes, target).map_err(malformed)?;
        self.target = target as u32..end as u32;
        if end == target || byte != b' ' {
            return Err(Wrong::Line(strictness::REQUEST_LINE));
        }
        let version = &bytes[end + 1..];
        self.minor = match version.get(..VERSION.len() + 3) {
            Some([version @ .., minor @ b'0'..=b'1', b'\r', b'\n']) if version == VERSION => {
                minor - b'0'
            }
            _ => return Err(Wrong::Line(version_rule(version))),
        };
        self.http2 = false;
        Ok(end + 1 + VERSION.len() + 3)
    }

    /// Reads the head that stands for one of HTTP/2.
    pub(crate) fn read_http2(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<(), HeadError> {
        if !self.is_again(bytes, limits) {
            self.read(bytes, limits)?;
            if bytes.len() <= limits.head {
                self.remember(bytes, limits);
            }
        }
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

    /// Whether it has a field that makes its answer conditional or partial (RFC 9110 sections 13 and 14), or an
    /// Accept-Encoding field.
    pub fn has_conditions(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| field.kind == Kind::Condition)
    }

    /// The same request for another target in origin form, `path` being the normal form of its path and `stripped` what it
    /// lacks at its beginning, if that is all that it was changed by.
    pub(crate) fn moved(&self, target: Vec<u8>, path: Vec<u8>, stripped: Vec<u8>) -> Self {
        Self {
            rooted: target,
            path: Path::Decoded(path),
            stripped,
            ..self.clone()
        }
    }

    /// What was taken off the beginning of the path that the client asked for.
    pub(crate) fn stripped(&self) -> &[u8] {
        &self.stripped
    }

    /// How the body is delimited.
    pub fn body(&self) -> BodyLength {
        self.body
    }

    /// Whether its Content-Length, if there is one, is written as everybody writes it.
    pub(crate) fn has_plain_length(&self) -> bool {
        self.plain_length
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
        let (mut length, mut plain, mut coding, mut host) = (None, true, false, None);
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
                    plain = is_plain(bytes, field);
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
        self.stated = host;
        self.plain_length = plain;
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
        // All of them are looked at, many at once.
        let bad = |&b: &u8| !matches!(b, b'!'..=b'~') || b == b'#';
        if text.iter().fold(false, |found, b| found | bad(b)) {
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
fn end_of_head(
    bytes: &[u8],
    seen: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, HeadError> {
    match bytes.first() {
        Some(b'\r' | b'\n') => return Err(HeadError(strictness::EMPTY_LINE)),
        Some(&first) if !is_token(first) => return Err(HeadError(strictness::NOT_HTTP)),
        _ => {}
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

/// What the version in a request line begins with; one digit follows.
const VERSION: &[u8] = b"HTTP/1.";

/// What is wrong with a head.
enum Wrong {
    /// Its first line breaks this rule.
    Line(&'static Rule),
    /// One of its fields.
    Field(Fault),
    /// What its fields say.
    Meaning(HeadError),
}

/// The rule that what follows a target breaks, which is none of the two versions and a line's end.
fn version_rule(rest: &[u8]) -> &'static Rule {
    let line = memchr::memchr(b'\r', rest).map_or(rest, |end| &rest[..end]);
    // "HTTP/1.1 " and "x HTTP/1.1" are wrong for their spaces.
    let version = line.trim_ascii_end().rsplit(|&b| b == b' ').next();
    let version = version.unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some(b"1.0" | b"1.1") => strictness::REQUEST_LINE,
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => strictness::VERSION,
        _ => strictness::NOT_HTTP,
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
        if !name.is_empty() && name.iter().copied().all(is_token) {
            continue;
        }
        let spaced = matches!(name.trim_ascii_end(), bare if bare.len() < name.len()
            && bare.iter().copied().all(is_token));
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
        _ => {
            let end = text.iter().position(|&b| b == b':');
            text.split_at(end.unwrap_or(text.len()))
        }
    };
    let name = |&b: &u8| NAME[usize::from(b)];
    let port_is_fine = match port {
        [] => true,
        [b':', digits @ ..] => {
            let is_one = digits.len() < 5 || digits.len() == 5 && digits <= &b"65535"[..];
            is_one && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    (host.iter().all(name) || is_encoded(host, name)) && port_is_fine
}

/// Whether there are bytes for which `name` holds, and others that are percent-encoded.
fn is_encoded(mut host: &[u8], name: impl Fn(&u8) -> bool) -> bool {
    loop {
        host = match host {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if name(byte) => rest,
            _ => return false,
        };
    }
}

/// The bytes of a registered name (RFC 3986 section 3.2.2), but for the comma.
const NAME: [bool; 256] = lines::alphanumeric_or(b"-._~!$&'()*+;=");

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
