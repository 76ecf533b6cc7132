//! Step 3: from the path of a request to names below the root.

/// A longer path cannot be opened (PATH_MAX, in bytes, with its final NUL).
const LONGEST: usize = 4_095;

/// The name below the root of a path in its normal form, without the leading slash; empty for the root itself. `None`
/// when nothing is ever served there: hidden names (unless they are `shown`), names that no file can have.
pub(crate) fn below_root(path: &[u8], shown: bool) -> Option<&[u8]> {
    let name = path.strip_prefix(b"/")?;
    if name.len() > LONGEST || name.contains(&0) {
        return None;
    }
    if !shown
        && name
            .split(|&b| b == b'/')
            .enumerate()
            .any(|(at, part)| is_hidden(at, part))
    {
        return None;
    }
    Some(name)
}

/// Begins with a dot: `.git`, `.htpasswd`, `.env`. `/.well-known/` alone is made to be read by everyone (RFC 8615).
fn is_hidden(at: usize, part: &[u8]) -> bool {
    part.first() == Some(&b'.') && !(at == 0 && part == b".well-known")
}

/// The target of the redirect from a directory's path to the same with a slash, as the value of `Location`. `before` is
/// what a route took off the path.
///
/// It is written from the normal form and not from what was sent, so that `//elsewhere/x` never leads to another
/// host; the query is kept.
pub(crate) fn with_slash(before: &[u8], path: &[u8], query: &[u8]) -> String {
    let mut location = escaped(before, is_path) + &escaped(path, is_path);
    location.push('/');
    add_query(&mut location, query);
    location
}

/// The same, relative to what the client asked for (RFC 9110 section 10.2.2).
pub(crate) fn beside(path: &[u8], query: &[u8]) -> String {
    let mut location = format!("./{}/", escaped(last(path), is_plain));
    add_query(&mut location, query);
    location
}

/// The last segment of a path.
pub(crate) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or_default()
}

fn add_query(location: &mut String, query: &[u8]) {
    if !query.is_empty() {
        location.push('?');
        location.push_str(&escaped(query, |b| b.is_ascii_graphic()));
    }
}

fn is_path(b: u8) -> bool {
    b == b'/' || is_plain(b)
}

/// Whether a byte of a path segment stands for itself (RFC 3986 section 3.3). `&` and `'` would, but not in a page.
pub(crate) fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$()*+,;=:@".contains(&b)
}

/// Bytes with all but the plain ones as `%XX`.
pub(crate) fn escaped(bytes: &[u8], plain: impl Fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len() + 2);
    for &b in bytes {
        if plain(b) {
            out.push(char::from(b));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(b >> 4)]));
            out.push(char::from(DIGITS[usize::from(b & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_are_refused_unless_shown() {
        for (path, served) in [
            ("/", true),
            ("/a/b.txt", true),
            ("/a.b/..c", false),
            ("/.git/config", false),
            ("/a/.env", false),
            ("/.well-known/security.txt", true),
            ("/a/.well-known/x", false),
            ("/.well-known/.hidden", false),
            ("/.well-known-not", false),
        ] {
            assert_eq!(
                below_root(path.as_bytes(), false).is_some(),
                served,
                "{path}"
            );
            assert!(below_root(path.as_bytes(), true).is_some(), "{path}");
        }
        assert_eq!(below_root(b"/a\0b", true), None);
        assert_eq!(below_root(b"*", true), None);
        assert_eq!(
            below_root(&[b"/".as_slice(), &[b'a'; 5_000]].concat(), true),
            None
        );
    }

    #[test]
    fn a_redirect_stays_on_this_host_and_on_one_line() {
        for (path, query, expected) in [
            (b"/docs".as_slice(), b"".as_slice(), "/docs/"),
            (b"/docs", b"a=1&b=2", "/docs/?a=1&b=2"),
            (b"/a b", b"", "/a%20b/"),
            (b"/\\evil.example", b"", "/%5Cevil.example/"),
            (b"/a\r\nSet-Cookie: x", b"", "/a%0D%0ASet-Cookie:%20x/"),
            (b"/\xff", b"\xff\r\n", "/%FF/?%FF%0D%0A"),
            (b"/100%?", b"", "/100%25%3F/"),
        ] {
            assert_eq!(with_slash(b"", path, query), expected);
            assert_eq!(beside(path, query), format!(".{expected}"));
            let before = with_slash(b"/a b", path, query);
            assert_eq!(before, format!("/a%20b{expected}"));
        }
    }
}
