//! Parameters of a query, as HTML forms write them.

use std::borrow::Cow;

/// The values of a parameter, decoded, in order; a parameter without `=` is empty.
pub(super) fn values<'a>(query: &'a [u8], name: &'a str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    query
        .split(|&b| b == b'&')
        .filter(|pair| !pair.is_empty())
        .filter_map(move |pair| {
            let end = pair.iter().position(|&b| b == b'=');
            let key = &pair[..end.unwrap_or(pair.len())];
            let value = end.map_or(&b""[..], |end| &pair[end + 1..]);
            (*decode(key) == *name.as_bytes()).then(|| decode(value))
        })
}

/// `+` is a space, `%41` is `A`; a `%` without two digits stays.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        out.push(match (b, after) {
            (b'+', _) => b' ',
            (b'%', &[high, low, ref after @ ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b,
            },
            _ => b,
        });
    }
    out.into()
}

fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_once() {
        for (query, name, expected) in [
            ("a=1&b=2&a=3", "a", &["1", "3"][..]),
            ("a", "a", &[""]),
            ("a=", "a", &[""]),
            ("", "a", &[]),
            ("&&=x&a=b=c", "a", &["b=c"]),
            ("%61=x+y%2bz", "a", &["x y+z"]),
            ("a=%2525", "a", &["%25"]),
            ("a=%4&a=%zz&a=%", "a", &["%4", "%zz", "%"]),
            ("A=1", "a", &[]),
        ] {
            let values: Vec<_> = values(query.as_bytes(), name).collect();
            let expected: Vec<_> = expected.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(values, expected, "{query}");
        }
    }
}
