//! Name and password of HTTP's basic authentication (RFC 7617).

use crate::Request;

/// What a client states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub name: String,
    pub password: Vec<u8>,
}

/// What a request states; none when it has no Authorization field, several, or one of another kind.
pub(super) fn credentials(request: &Request<'_>) -> Option<Credentials> {
    let mut fields = request
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"authorization"));
    let (_, value) = fields.next()?;
    if fields.next().is_some() {
        return None;
    }
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let text = decode(rest.trim_ascii())?;
    let colon = memchr::memchr(b':', &text)?;
    Some(Credentials {
        name: String::from_utf8(text[..colon].to_vec()).ok()?,
        password: text[colon + 1..].to_vec(),
    })
}

/// Base64 (RFC 4648 section 4), its padding left out or not.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|&&b| b == b'=').count();
    let digits = &text[..text.len() - padding];
    if padding > 2 || padding > 0 && !text.len().is_multiple_of(4) || digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() * 3 / 4 + 3);
    for four in digits.chunks(4) {
        let mut bits = 0u32;
        for i in 0..4 {
            bits = bits << 6 | four.get(i).map_or(Some(0), |&b| digit(b))?;
        }
        let bytes = bits.to_be_bytes();
        out.extend_from_slice(&bytes[1..four.len()]);
    }
    Some(out)
}

fn digit(b: u8) -> Option<u32> {
    Some(u32::from(match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::with_request;

    fn read(fields: &str) -> Option<(String, String)> {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        with_request(&head, |request| {
            let found = credentials(request)?;
            let password = String::from_utf8(found.password).unwrap();
            Some((found.name, password))
        })
    }

    #[test]
    fn name_and_password_are_read() {
        for (value, name, password) in [
            (
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
                "Aladdin",
                "open sesame",
            ),
            ("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Aladdin", "open sesame"),
            ("BASIC  YTo=", "a", ""),
            ("Basic OmI6Yw==", "", "b:c"),
            ("Basic dGVzdDoxMjPCow==", "test", "123£"),
        ] {
            let expected = Some((name.to_owned(), password.to_owned()));
            assert_eq!(
                read(&format!("Authorization: {value}\r\n")),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn anything_else_is_nobody() {
        for fields in [
            "",
            "Authorization: Bearer QTpi\r\n",
            "Authorization: Basic\r\n",
            "Authorization: Basic QTpi=\r\n",
            "Authorization: Basic Q=pi\r\n",
            "Authorization: Basic QT!i\r\n",
            "Authorization: Basic QUJD\r\n",
            "Authorization: Basic QTpiQ\r\n",
            "Authorization: Basic QTpi\r\nAuthorization: Basic QTpi\r\n",
        ] {
            assert_eq!(read(fields), None, "{fields}");
        }
    }
}
