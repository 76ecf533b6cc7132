//! Base64 (RFC 4648 section 4), for keys that are not text.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Decodes `text` into `room`; `None` when it is not base64 in its only spelling or does not fit.
pub(crate) fn decode<'r>(text: &[u8], room: &'r mut [u8]) -> Option<&'r [u8]> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut length = 0;
    let groups = text.len() / 4;
    for (index, group) in text.chunks_exact(4).enumerate() {
        let padding = group.iter().rev().take_while(|&&b| b == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 < groups) {
            return None;
        }
        let mut bits = 0u32;
        for &byte in &group[..4 - padding] {
            bits = bits << 6 | u32::from(value(byte)?);
        }
        bits <<= 6 * padding;
        let bytes = &bits.to_be_bytes()[1..];
        let (taken, rest) = bytes.split_at(3 - padding);
        // Bits that no byte takes must be 0, or one key had several spellings.
        if rest.iter().any(|&b| b != 0) {
            return None;
        }
        room.get_mut(length..length + taken.len())?
            .copy_from_slice(taken);
        length += taken.len();
    }
    room.get(..length)
}

/// Appends `bytes` in base64.
pub(crate) fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    for group in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..4 {
            out.push(if digit <= group.len() {
                DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]
            } else {
                b'='
            });
        }
    }
}

fn value(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..250)) {
            let mut text = Vec::new();
            encode(&mut text, &bytes);
            let mut room = [0; 250];
            prop_assert_eq!(decode(&text, &mut room), Some(&bytes[..]));
        }

        #[test]
        fn a_key_has_one_spelling(text in "[A-Za-z0-9+/=]{0,12}") {
            let mut room = [0; 250];
            if let Some(bytes) = decode(text.as_bytes(), &mut room) {
                let mut again = Vec::new();
                encode(&mut again, bytes);
                prop_assert_eq!(again, text.as_bytes());
            }
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["Zm9", "Zm9v!", "Z===", "Zm=v", "Zm9v====", "Zh=="] {
            assert_eq!(decode(text.as_bytes(), &mut [0; 250]), None, "{text}");
        }
        assert_eq!(decode(b"Zm9v", &mut [0; 250]), Some(&b"foo"[..]));
        assert_eq!(decode(b"Zm9v", &mut [0; 2]), None, "no room");
    }
}
