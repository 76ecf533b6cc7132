//! The normal form of a path: what routes, access rules and files are compared with.

use std::borrow::Cow;

/// Why a path has no normal form. Each is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// `..` above the root.
    Climbs,
    /// An encoded NUL.
    Nul,
    /// `%` without two hexadecimal digits.
    Escape,
    /// It does not begin with a slash.
    Relative,
    /// A dot segment with a parameter, `..;x`: servers that take parameters off before they look at a segment go up there.
    Parameter,
}

/// The normal form: percent-decoded once, dot segments removed (RFC 3986 section 5.2.4), slashes merged. Borrowed
/// when the path is in it already, which is the usual case.
pub fn normal(path: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::Relative);
    }
    if is_normal(path) {
        return Ok(Cow::Borrowed(path));
    }
    without_dots(&decode(path)?).map(Cow::Owned)
}

/// The normal form of a path that is decoded already.
pub(crate) fn without_dots(decoded: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|&b| b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" if !last => {}
            b"." if !last => {}
            b"." => out.push(b'/'),
            [b'.', b';', ..] | [b'.', b'.', b';', ..] => return Err(PathError::Parameter),
            b".." => {
                let parent = out
                    .iter()
                    .rposition(|&b| b == b'/')
                    .ok_or(PathError::Climbs)?;
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

/// No escape, no empty segment, none that may be a dot segment.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0u8;
    for (i, &b) in path.iter().enumerate() {
        match b {
            b'%' | 0 => return false,
            b'/' if before == b'/' => return false,
            b'.' if before == b'/'
                && matches!(path.get(i + 1), None | Some(b'.' | b'/' | b';')) =>
            {
                return false;
            }
            _ => {}
        }
        before = b;
    }
    true
}

fn decode(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(b) = bytes.next() {
        let b = if b == b'%' {
            let high = bytes.next().and_then(hex).ok_or(PathError::Escape)?;
            let low = bytes.next().and_then(hex).ok_or(PathError::Escape)?;
            high << 4 | low
        } else {
            b
        };
        if b == 0 {
            return Err(PathError::Nul);
        }
        out.push(b);
    }
    Ok(out)
}

fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_form_is_decoded_once_without_dots_and_double_slashes() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b", "/a/b"),
            ("//", "/"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../c", "/a/c"),
            ("/%61%2fb", "/a/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/%252e", "/%2e"),
            ("/a/", "/a/"),
            ("/.well-known", "/.well-known"),
            ("/a...b", "/a...b"),
            ("/..a", "/..a"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/...;x", "/...;x"),
            ("/.a;x", "/.a;x"),
        ] {
            assert_eq!(
                normal(path.as_bytes()).as_deref(),
                Ok(expected.as_bytes()),
                "{path}"
            );
        }
    }

    #[test]
    fn what_climbs_or_hides_a_nul_has_none() {
        for (path, expected) in [
            ("/..", PathError::Climbs),
            ("/a/../../b", PathError::Climbs),
            ("/%2e%2e/etc/passwd", PathError::Climbs),
            ("/a%00.jpg", PathError::Nul),
            ("/a%0", PathError::Escape),
            ("/a%zz", PathError::Escape),
            ("/a/..;/b", PathError::Parameter),
            ("/a/..;x=1/b", PathError::Parameter),
            ("/a/%2e.%3B", PathError::Parameter),
            ("/.;/a", PathError::Parameter),
            ("/a/.;x", PathError::Parameter),
            ("a", PathError::Relative),
            ("", PathError::Relative),
        ] {
            assert_eq!(normal(path.as_bytes()), Err(expected), "{path}");
        }
    }
}
