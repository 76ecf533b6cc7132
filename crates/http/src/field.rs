//! What the engine must know of a field by its name, and copying the fields that stay as they came.

use std::ops::Range;

use crate::lines::{self, Fault};

/// The fields that mean something to the engine. All others pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Passes through.
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    Te,
    Date,
    Cookie,
    SetCookie,
    /// X-Forwarded-For.
    ForwardedFor,
    /// X-Forwarded-Proto.
    ForwardedProto,
    /// X-Forwarded-Host.
    ForwardedHost,
    /// `Forwarded` and the rest of `X-Forwarded-*`: worth as much as the word of who sent it.
    Forwarded,
    /// X-Request-Id.
    RequestId,
    /// Referer.
    Referer,
    /// User-Agent.
    Agent,
    /// What makes an answer conditional or partial, and Accept-Encoding.
    Condition,
    /// `tandem-*`: words between nodes.
    Internal,
    /// Of this connection only: RFC 9110 section 7.6.1 and what the Connection field names.
    HopByHop,
}

/// One field as offsets into the head's bytes.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub name: Range<u32>,
    pub value: Range<u32>,
    pub kind: Kind,
}

/// The prefix of the fields between nodes.
const INTERNAL: &[u8] = b"tandem-";

/// What a field's name says.
///
/// `_` counts as `-` where a client could gain by it: CGI, WSGI and PHP hand `X_Forwarded_For` to the application under
/// the same name as `X-Forwarded-For`.
pub(crate) fn kind(name: &[u8]) -> Kind {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 if is(b"te") => Kind::Te,
        4 if is(b"host") => Kind::Host,
        4 if is(b"date") => Kind::Date,
        5 if is(b"range") => Kind::Condition,
        6 if is(b"expect") => Kind::Expect,
        6 if is(b"cookie") => Kind::Cookie,
        7 if is(b"upgrade") => Kind::Upgrade,
        7 if is(b"trailer") => Kind::HopByHop,
        7 if is(b"referer") => Kind::Referer,
        8 if is(b"if-match") || is(b"if-range") => Kind::Condition,
        9 if is(b"forwarded") => Kind::Forwarded,
        10 if is(b"connection") => Kind::Connection,
        10 if is(b"user-agent") => Kind::Agent,
        10 if is(b"set-cookie") => Kind::SetCookie,
        10 if is(b"keep-alive") => Kind::HopByHop,
        12 if folds(name, b"x-request-id") => Kind::RequestId,
        13 if is(b"if-none-match") => Kind::Condition,
        14 if is(b"content-length") => Kind::ContentLength,
        15 if is(b"accept-encoding") => Kind::Condition,
        16 if is(b"proxy-connection") => Kind::HopByHop,
        17 if is(b"transfer-encoding") => Kind::TransferEncoding,
        17 if is(b"if-modified-since") => Kind::Condition,
        19 if is(b"if-unmodified-since") => Kind::Condition,
        n if n > 12 && begins(name, b"x-forwarded-") => match () {
            () if folds(name, b"x-forwarded-for") => Kind::ForwardedFor,
            () if folds(name, b"x-forwarded-host") => Kind::ForwardedHost,
            () if folds(name, b"x-forwarded-proto") => Kind::ForwardedProto,
            () => Kind::Forwarded,
        },
        n if n > INTERNAL.len() && begins(name, INTERNAL) => Kind::Internal,
        _ => Kind::Other,
    }
}

fn begins(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len() && folds(&name[..prefix.len()], prefix)
}

/// Equal without case and with `_` as `-`; `known` is in lower case.
fn folds(name: &[u8], known: &[u8]) -> bool {
    let fold = |b: u8| match b {
        b'_' => b'-',
        b => b.to_ascii_lowercase(),
    };
    name.len() == known.len() && name.iter().zip(known).all(|(&a, &b)| fold(a) == b)
}

/// The fields of a parsed head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<Field>);

impl Fields {
    /// Reads the lines from `at` on, `most` at most, and the empty line; returns where that ends.
    pub fn read(&mut self, bytes: &[u8], mut at: usize, most: usize) -> Result<usize, Fault> {
        self.0.clear();
        loop {
            let name = at;
            let (colon, byte) = lines::token(bytes, name)?;
            if colon == name {
                return lines::line_end(bytes, colon, byte, Fault::Name);
            }
            if byte != b':' {
                return Err(Fault::Name);
            }
            if self.0.len() == most {
                return Err(Fault::TooMany);
            }
            let is_space = |byte: u8| matches!(byte, b' ' | b'\t');
            let mut begin = colon + 1;
            while bytes.get(begin).copied().is_some_and(is_space) {
                begin += 1;
            }
            let (mut end, byte) = lines::value(bytes, begin)?;
            at = lines::line_end(bytes, end, byte, Fault::Value)?;
            while end > begin && is_space(bytes[end - 1]) {
                end -= 1;
            }
            self.0.push(Field {
                name: name as u32..colon as u32,
                value: begin as u32..end as u32,
                kind: kind(&bytes[name..colon]),
            });
        }
    }

    /// The same fields where their bytes lie so much further on, or before: by two's complement.
    pub fn shift(&mut self, further: u32) {
        for field in &mut self.0 {
            field.name = shifted(&field.name, further);
            field.value = shifted(&field.value, further);
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    /// Values of all fields of a kind, in order.
    pub fn values<'a>(
        &'a self,
        bytes: &'a [u8],
        kind: Kind,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0
            .iter()
            .filter(move |field| field.kind == kind)
            .map(move |field| part(bytes, &field.value))
    }

    /// Marks the fields that a Connection option names as of this connection only. Those that delimit or address the
    /// message cannot be named away.
    pub fn nominate(&mut self, bytes: &[u8], option: &[u8]) {
        for field in &mut self.0 {
            let kept = matches!(
                field.kind,
                Kind::Host
                    | Kind::ContentLength
                    | Kind::TransferEncoding
                    | Kind::Connection
                    | Kind::Upgrade
                    | Kind::Te
            );
            if !kept && part(bytes, &field.name).eq_ignore_ascii_case(option) {
                field.kind = Kind::HopByHop;
            }
        }
    }

    /// Appends the lines of all fields for which `keep` holds, as they came; neighbours in one copy. `bytes` ends with
    /// the head.
    #[inline]
    pub fn copy(&self, out: &mut Vec<u8>, bytes: &[u8], keep: impl Fn(Kind) -> bool) {
        // The empty line's CRLF is not a part of the last field's line.
        let end = bytes.len() - 2;
        let mut from = None;
        for field in &self.0 {
            match (keep(field.kind), from) {
                (true, None) => from = Some(field.name.start as usize),
                (false, Some(start)) => {
                    out.extend_from_slice(&bytes[start..field.name.start as usize]);
                    from = None;
                }
                _ => {}
            }
        }
        if let Some(start) = from {
            out.extend_from_slice(&bytes[start..end]);
        }
    }
}

/// Where `part`, a slice of `bytes`, lies in it.
pub(crate) fn range(bytes: &[u8], part: &[u8]) -> Range<u32> {
    // An empty slice may be one that never was a part of `bytes`.
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    start as u32..(start + part.len()) as u32
}

/// The same part where its bytes lie so much further on, or before: by two's complement.
pub(crate) fn shifted(part: &Range<u32>, further: u32) -> Range<u32> {
    part.start.wrapping_add(further)..part.end.wrapping_add(further)
}

pub(crate) fn part<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    &bytes[range.start as usize..range.end as usize]
}

/// The members of a comma-separated list.
pub(crate) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// One or more digits and nothing else, below 10^18.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        text.iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
    )
}

/// Whether a field's line is its name, a colon, a space and a number as it is written by itself. There may be tabs, more
/// spaces or zeros before it, which some parsers take amiss.
pub(crate) fn is_plain(bytes: &[u8], field: &Field) -> bool {
    let (name, value) = (field.name.end as usize, &field.value);
    let before = &bytes[name..value.start as usize];
    let text = part(bytes, value);
    matches!(before, b":" | b": ")
        && (text == b"0" || !text.starts_with(b"0"))
        && bytes.get(value.end as usize) == Some(&b'\r')
}

/// Looks for the end of a head, `seen` bytes of which were looked at before. Every line must end with CRLF: a bare LF,
/// which RFC 9112 section 2.2 allows to take, some parsers do not.
///
/// `Ok(Some(length))` when it is complete; `Err(())` at a bare LF.
pub(crate) fn head_end(bytes: &[u8], seen: &mut usize) -> Result<Option<usize>, ()> {
    while let Some(at) = memchr::memchr(b'\n', &bytes[*seen..]) {
        let lf = *seen + at;
        *seen = lf + 1;
        if lf == 0 || bytes[lf - 1] != b'\r' {
            return Err(());
        }
        if bytes[..=lf].ends_with(b"\r\n\r\n") {
            return Ok(Some(lf + 1));
        }
    }
    *seen = bytes.len();
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_any_case_and_where_it_matters_with_underscores() {
        for (name, expected) in [
            ("HOST", Kind::Host),
            ("Content-Length", Kind::ContentLength),
            ("Content_Length", Kind::Other),
            ("x_forwarded-FOR", Kind::ForwardedFor),
            ("X-Forwarded-Port", Kind::Forwarded),
            ("X-Forwarded", Kind::Other),
            ("Tandem_Failed", Kind::Internal),
            ("tandem-", Kind::Other),
            ("TE", Kind::Te),
            ("Accept", Kind::Other),
        ] {
            assert_eq!(kind(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_it_is_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        for cut in 0..head.len() {
            let mut seen = 0;
            let first = head_end(&head[..cut], &mut seen).unwrap();
            let end = first.or_else(|| head_end(head, &mut seen).unwrap());
            assert_eq!(end, Some(head.len() - 4), "cut at {cut}");
        }
        assert_eq!(head_end(b"GET / HTTP/1.1\n", &mut 0), Err(()));
        assert_eq!(head_end(b"\n", &mut 0), Err(()));
    }
}
