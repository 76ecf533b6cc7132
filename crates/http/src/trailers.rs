//! Fields behind a body (RFC 9110 section 6.5): which of them are passed on.

use crate::field::{Kind, kind};

/// Fields that mean something before the body or not at all: those that route a message, that prove who sent it, that say how
/// its body is to be read, or that caches and browsers act on (section 6.5.1). One that came late must not be taken for
/// one that came in time.
const NEVER: [&[u8]; 33] = [
    b"accept-encoding",
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-range",
    b"content-type",
    b"cookie",
    b"etag",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"referer",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
    b"x-real-ip",
];

/// Of complete lines those that are passed on, as they came.
pub(crate) fn passed(lines: Vec<u8>) -> Vec<u8> {
    if lines.is_empty() {
        return lines;
    }
    let kept = lines.split_inclusive(|&b| b == b'\n').filter(|line| {
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        kind(name) == Kind::Other && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
    });
    kept.flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_routes_proves_or_delimits_is_not_passed_on_behind_a_body() {
        let lines = "Checksum: abc\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nX_Forwarded_For: 1.2.3.4\r\n\
                     tandem-failed: unsent\r\nAUTHORIZATION: Basic x\r\nSet-Cookie: a=b\r\nConnection: x\r\nTrailer: y\r\ngrpc-status: 0\r\n";
        assert_eq!(
            String::from_utf8(passed(lines.into())).unwrap(),
            "Checksum: abc\r\ngrpc-status: 0\r\n"
        );
        assert!(passed(Vec::new()).is_empty());
    }
}
