//! Cookies that are changed on their way (RFC 6265): what a server is not to see, and what a client gets besides.

use crate::handler::{CookieEdits, CookiePrefix};

/// What ends the prefix of a value.
const DELIMITER: u8 = b'~';

/// Appends the Cookie field as the server gets it, made of the values of those that came; nothing when no cookie is left.
pub(crate) fn request<'a>(
    out: &mut Vec<u8>,
    edits: &CookieEdits,
    values: impl Iterator<Item = &'a [u8]>,
) {
    let mut begun = false;
    for pair in pairs(values) {
        let (name, value) = split(pair);
        if edits
            .hide
            .as_ref()
            .is_some_and(|hide| name == hide.as_bytes())
        {
            continue;
        }
        out.extend_from_slice(if begun { b"; " } else { b"Cookie: " });
        begun = true;
        let prefixed = edits.prefix.as_ref();
        let cut = match (prefixed, value) {
            (Some(prefix), Some(value)) if name == prefix.name.as_bytes() => {
                memchr::memchr(DELIMITER, value).map(|at| &value[at + 1..])
            }
            _ => None,
        };
        match cut {
            Some(value) => {
                out.extend_from_slice(name);
                out.push(b'=');
                out.extend_from_slice(value);
            }
            None => out.extend_from_slice(pair),
        }
    }
    if begun {
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the Set-Cookie fields as the client gets them. A cookie that is emptied, as one that is deleted, stays so.
pub(crate) fn response<'a>(
    out: &mut Vec<u8>,
    prefix: &CookiePrefix,
    values: impl Iterator<Item = &'a [u8]>,
) {
    for line in values {
        out.extend_from_slice(b"Set-Cookie: ");
        let begins = line
            .strip_prefix(prefix.name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .filter(|value| !matches!(value.first(), None | Some(b';')));
        match begins {
            Some(rest) => {
                out.extend_from_slice(prefix.name.as_bytes());
                out.push(b'=');
                out.extend_from_slice(prefix.value.as_bytes());
                out.push(DELIMITER);
                out.extend_from_slice(rest);
            }
            None => out.extend_from_slice(line),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The pairs of Cookie fields.
fn pairs<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    values
        .flat_map(|value| value.split(|&b| b == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn split(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], Some(&pair[at + 1..])),
        None => (pair, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(edits: &CookieEdits, values: &[&str]) -> String {
        let mut out = Vec::new();
        request(&mut out, edits, values.iter().map(|value| value.as_bytes()));
        String::from_utf8(out).expect("text")
    }

    fn prefixed() -> CookiePrefix {
        CookiePrefix {
            name: "sid".into(),
            value: "app1".into(),
        }
    }

    #[test]
    fn a_hidden_cookie_does_not_reach_the_server_and_the_others_do() {
        let edits = CookieEdits {
            hide: Some("tandem".into()),
            ..CookieEdits::default()
        };
        for (came, goes) in [
            (&["tandem=a"][..], ""),
            (&["a=1; tandem=x; b=2"], "Cookie: a=1; b=2\r\n"),
            (&["tandem=x;a=1", "b=2; tandem=y"], "Cookie: a=1; b=2\r\n"),
            (
                &["xtandem=1; tandems=2; Tandem=3"],
                "Cookie: xtandem=1; tandems=2; Tandem=3\r\n",
            ),
            (&["odd; =x; tandem"], "Cookie: odd; =x\r\n"),
            (&[], ""),
        ] {
            assert_eq!(sent(&edits, came), goes, "{came:?}");
        }
    }

    #[test]
    fn a_prefix_is_taken_off_and_put_on() {
        let edits = CookieEdits {
            prefix: Some(prefixed()),
            ..CookieEdits::default()
        };
        for (came, goes) in [
            ("sid=app1~abc", "Cookie: sid=abc\r\n"),
            ("sid=app2~a~b; x=1~2", "Cookie: sid=a~b; x=1~2\r\n"),
            ("sid=abc", "Cookie: sid=abc\r\n"),
        ] {
            assert_eq!(sent(&edits, &[came]), goes, "{came}");
        }
        let mut out = Vec::new();
        let lines = ["sid=abc; Path=/", "sid=; Max-Age=0", "sids=1", "x=1"];
        response(
            &mut out,
            &prefixed(),
            lines.iter().map(|line| line.as_bytes()),
        );
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "Set-Cookie: sid=app1~abc; Path=/\r\nSet-Cookie: sid=; Max-Age=0\r\nSet-Cookie: sids=1\r\nSet-Cookie: x=1\r\n"
        );
    }
}
