//! Names of X.509 as text.
//!
//! The text is that of RFC 4514 as OpenSSL writes it (`XN_FLAG_RFC2253`), and with it nginx and HAProxy: last part first,
//! all that is not printable ASCII escaped byte by byte. What is in it was written by whoever asked for the certificate.

use std::fmt::Write as _;

use super::der::{OBJECT_IDENTIFIER, SEQUENCE, SET, element, tagged};
use super::identity::hex;

/// A longer text is none, in bytes: it would not fit into heads that servers take.
const LONGEST: usize = 4096;
/// `2.5.4.3`, commonName.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Types that have names, by the names that OpenSSL has for them: below 2.5.4 by their last number.
const OF_X520: [(u8, &str); 18] = [
    (3, "CN"),
    (4, "SN"),
    (5, "serialNumber"),
    (6, "C"),
    (7, "L"),
    (8, "ST"),
    (9, "street"),
    (10, "O"),
    (11, "OU"),
    (12, "title"),
    (13, "description"),
    (17, "postalCode"),
    (41, "name"),
    (42, "GN"),
    (43, "initials"),
    (44, "generationQualifier"),
    (46, "dnQualifier"),
    (65, "pseudonym"),
];
/// The others.
const OTHERS: [(&[u8], &str); 3] = [
    // 1.2.840.113549.1.9.1
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "emailAddress",
    ),
    // 0.9.2342.19200300.100.1.1
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

/// A type and its value.
pub(super) struct Attribute<'a> {
    oid: &'a [u8],
    tag: u8,
    content: &'a [u8],
    /// The value with tag and length.
    value: &'a [u8],
    /// It belongs to the one before it.
    joined: bool,
}

/// The attributes of a name, in the order of the certificate.
pub(super) fn read(mut name: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut attributes = Vec::new();
    while !name.is_empty() {
        let (mut set, behind) = tagged(SET, name)?;
        name = behind;
        let mut joined = false;
        while !set.is_empty() {
            let (attribute, behind) = tagged(SEQUENCE, set)?;
            set = behind;
            let (oid, value) = tagged(OBJECT_IDENTIFIER, attribute)?;
            let (tag, content, _) = element(value)?;
            attributes.push(Attribute {
                oid,
                tag,
                content,
                value,
                joined,
            });
            joined = true;
        }
    }
    Some(attributes)
}

/// The first common name, when it is a line of text that no field of a head or line of a log changes.
pub(super) fn common_name(name: &[Attribute<'_>]) -> Option<String> {
    let attribute = name.iter().find(|attribute| attribute.oid == COMMON_NAME)?;
    let text = attribute.text()?;
    let sound = !text.is_empty()
        && text.len() <= LONGEST
        && text.trim() == text
        && !text.contains(char::is_control);
    sound.then_some(text)
}

/// A name as RFC 4514 writes it; empty when that is too long.
pub(super) fn show(name: &[Attribute<'_>]) -> String {
    let mut out = String::new();
    let mut separator = "";
    for attribute in name.iter().rev() {
        out.push_str(separator);
        attribute.show(&mut out);
        if out.len() > LONGEST {
            return String::new();
        }
        separator = if attribute.joined { "+" } else { "," };
    }
    out
}

impl Attribute<'_> {
    fn show(&self, out: &mut String) {
        let known = known(self.oid);
        match known {
            Some(known) => out.push_str(known),
            None => dotted(self.oid, out),
        }
        out.push('=');
        match self.text().filter(|_| known.is_some()) {
            Some(text) => escape(&text, out),
            // Section 2.4: the value as it is, in hexadecimal digits.
            None => {
                out.push('#');
                out.push_str(&hex(self.value, UPPER));
            }
        }
    }

    /// The value as text, if it is one.
    fn text(&self) -> Option<String> {
        let bytes = self.content;
        match self.tag {
            // UTF8String.
            0x0c => std::str::from_utf8(bytes).ok().map(str::to_owned),
            // NumericString, PrintableString, TeletexString, IA5String, VisibleString: a byte is a character.
            0x12 | 0x13 | 0x14 | 0x16 | 0x1a => {
                Some(bytes.iter().copied().map(char::from).collect())
            }
            // UniversalString and BMPString: four and two bytes are one.
            0x1c => wide::<4>(bytes),
            0x1e => wide::<2>(bytes),
            _ => None,
        }
    }
}

fn wide<const N: usize>(bytes: &[u8]) -> Option<String> {
    let (all, []) = bytes.as_chunks::<N>() else {
        return None;
    };
    let number = |bytes: &[u8; N]| bytes.iter().fold(0, |sum, &b| sum << 8 | u32::from(b));
    all.iter()
        .map(|bytes| char::from_u32(number(bytes)))
        .collect()
}

fn known(oid: &[u8]) -> Option<&'static str> {
    if let [0x55, 4, last] = oid {
        let named = OF_X520.iter().find(|(number, _)| number == last);
        return named.map(|(_, name)| *name);
    }
    let named = OTHERS.iter().find(|(known, _)| *known == oid);
    named.map(|(_, name)| *name)
}

/// An object identifier in numbers (X.690 section 8.19).
fn dotted(oid: &[u8], out: &mut String) {
    let (mut number, mut first) = (0u128, true);
    for &b in oid {
        // What does not fit is no identifier that anybody has.
        number = number.wrapping_shl(7) | u128::from(b & 0x7f);
        if b & 0x80 != 0 {
            continue;
        }
        let _ = if first {
            let root = (number / 40).min(2);
            write!(out, "{root}.{}", number - root * 40)
        } else {
            write!(out, ".{number}")
        };
        (number, first) = (0, false);
    }
}

/// RFC 4514 section 2.4. What is not printable ASCII is escaped too, byte by byte.
fn escape(text: &str, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (at, b) in text.bytes().enumerate() {
        match b {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => out.push('\\'),
            b'#' if at == 0 => out.push('\\'),
            b' ' if at == 0 || at == last => out.push('\\'),
            b' '..=b'~' => {}
            _ => {
                let _ = write!(out, "\\{b:02X}");
                continue;
            }
        }
        out.push(char::from(b));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut out = vec![tag];
        match length {
            0..128 => out.push(length as u8),
            _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        out.extend_from_slice(content);
        out
    }

    fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        let both = [tlv(OBJECT_IDENTIFIER, oid), tlv(tag, value)].concat();
        tlv(SEQUENCE, &both)
    }

    fn cn(tag: u8, value: &[u8]) -> Vec<u8> {
        tlv(SET, &attribute(COMMON_NAME, tag, value))
    }

    fn both(name: &[u8]) -> (String, Option<String>) {
        let name = read(name).unwrap();
        (show(&name), common_name(&name))
    }

    #[test]
    fn the_last_part_of_a_name_comes_first() {
        let mut name = tlv(SET, &attribute(&[0x55, 4, 6], 0x13, b"DE"));
        let joined = [
            attribute(&[0x55, 4, 11], 0x0c, b"Ops"),
            attribute(OTHERS[1].0, 0x0c, b"7"),
        ];
        name.extend(tlv(SET, &joined.concat()));
        name.extend(cn(0x0c, b"ann"));
        name.extend(tlv(SET, &attribute(OTHERS[0].0, 0x16, b"a@b.example")));
        let (subject, common) = both(&name);
        assert_eq!(subject, "emailAddress=a@b.example,CN=ann,UID=7+OU=Ops,C=DE");
        assert_eq!(common.as_deref(), Some("ann"));
        assert_eq!(both(b""), (String::new(), None));
        // Of several common names it is the first.
        let name = [cn(0x0c, b"first"), cn(0x0c, b"second")].concat();
        assert_eq!(
            both(&name),
            ("CN=second,CN=first".into(), Some("first".into()))
        );
    }

    #[test]
    fn nothing_in_a_name_can_end_a_field_or_look_like_another_name() {
        for (tag, value, subject, common) in [
            (0x0c, &b"a,b+c=d"[..], r"CN=a\,b\+c=d", Some("a,b+c=d")),
            (0x0c, b"#a;<\"\\>", r#"CN=\#a\;\<\"\\\>"#, Some("#a;<\"\\>")),
            (0x0c, b" a ", r"CN=\ a\ ", None),
            (0x0c, b"ann\r\nX-Admin: 1", r"CN=ann\0D\0AX-Admin: 1", None),
            (0x0c, b"ann\0", r"CN=ann\00", None),
            (0x0c, b"\x1b[2J\x7f", r"CN=\1B[2J\7F", None),
            (0x0c, "jürgen".as_bytes(), r"CN=j\C3\BCrgen", Some("jürgen")),
            // Latin 1, and what Windows makes.
            (0x14, b"j\xfcrgen", r"CN=j\C3\BCrgen", Some("jürgen")),
            (0x1e, b"\0a\0b", "CN=ab", Some("ab")),
            (0x1c, b"\0\0\0a", "CN=a", Some("a")),
            // C1 control characters.
            (0x0c, "a\u{85}b".as_bytes(), r"CN=a\C2\85b", None),
            // No UTF-8, half a character, no text at all.
            (0x0c, b"\xff", "CN=#0C01FF", None),
            (0x1e, b"\0", "CN=#1E0100", None),
            (0x1e, b"\xd8\0", "CN=#1E02D800", None),
            (0x02, b"\x07", "CN=#020107", None),
            (0x0c, b"", "CN=", None),
        ] {
            let expected = (subject.to_owned(), common.map(str::to_owned));
            assert_eq!(both(&cn(tag, value)), expected, "{value:?}");
        }
    }

    #[test]
    fn a_type_without_a_name_is_written_in_numbers() {
        // 1.3.6.1.4.1.99999.1
        let oid = [0x2b, 6, 1, 4, 1, 0x86, 0x8d, 0x1f, 1];
        let name = tlv(SET, &attribute(&oid, 0x0c, b"x"));
        assert_eq!(both(&name).0, "1.3.6.1.4.1.99999.1=#0C0178");
        let name = tlv(SET, &attribute(&[0x88, 0x37], 0x0c, b"x"));
        assert_eq!(both(&name).0, "2.999=#0C0178");
    }

    #[test]
    fn a_name_that_is_too_long_is_left_out_whole() {
        let name = cn(0x0c, &vec![b'a'; LONGEST - 3]);
        assert_eq!(both(&name).0.len(), LONGEST);
        let name = cn(0x0c, &vec![b'a'; LONGEST + 1]);
        assert_eq!(both(&name), (String::new(), None));
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_its_text_is_one_line(
            values in proptest::collection::vec((any::<u8>(), any::<Vec<u8>>(), any::<Vec<u8>>()), 0..4),
        ) {
            let oids = [COMMON_NAME, OTHERS[0].0];
            let name: Vec<u8> = values
                .iter()
                .flat_map(|(tag, oid, value)| {
                    let tag = [0x0c, 0x13, 0x14, 0x1c, 0x1e, *tag][usize::from(*tag) % 6];
                    let oid = oids.get(oid.len()).copied().unwrap_or(oid);
                    tlv(SET, &attribute(oid, tag, value))
                })
                .collect();
            let (subject, common) = both(&name);
            prop_assert!(subject.bytes().all(|b| matches!(b, b' '..=b'~')), "{}", subject);
            prop_assert!(common.is_none_or(|common| !common.contains(char::is_control)));
        }

        #[test]
        fn no_bytes_make_a_reader_of_names_panic(bytes: Vec<u8>) {
            let name = read(&bytes).unwrap_or_default();
            show(&name);
        }
    }

    #[test]
    fn what_is_cut_short_is_no_name() {
        let whole = cn(0x0c, b"ann");
        for length in 1..whole.len() {
            assert!(read(&whole[..length]).is_none(), "{length}");
        }
    }
}
