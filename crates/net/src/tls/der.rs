//! What is read of certificates beyond what verifies them: DER, element by element (X.690).

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, which the version is in.
const VERSION: u8 = 0xa0;

/// Parts of a certificate (RFC 5280 section 4.1), each without its tag and length.
pub(super) struct Parts<'a> {
    /// An integer.
    pub serial: &'a [u8],
    /// Two times.
    pub validity: &'a [u8],
    /// A name.
    pub subject: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Reads what is before the subject's key.
    pub fn of(certificate: &'a [u8]) -> Option<Self> {
        let (certificate, _) = tagged(SEQUENCE, certificate)?;
        let (mut rest, _) = tagged(SEQUENCE, certificate)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest)?.2;
        }
        let (serial, rest) = tagged(INTEGER, rest)?;
        let (_algorithm, rest) = tagged(SEQUENCE, rest)?;
        let (_issuer, rest) = tagged(SEQUENCE, rest)?;
        let (validity, rest) = tagged(SEQUENCE, rest)?;
        let (subject, _) = tagged(SEQUENCE, rest)?;
        Some(Self {
            serial,
            validity,
            subject,
        })
    }
}

/// The content of the first element, which must have this tag, and what follows it.
pub(super) fn tagged(wanted: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, content, behind) = element(bytes)?;
    (tag == wanted).then_some((content, behind))
}

/// The first element: its tag, its content, and what follows it (X.690 section 8.1).
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // No certificate is larger than what four bytes can say.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0, |sum, &b| sum << 8 | usize::from(b));
            (length, rest)
        }
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(length)?;
    Some((tag, content, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_is_no_certificate() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x85\x01\x01\x01\x01\x01",
            b"\x30\x82\xff\xff\x30",
            b"\x30\x02\x30\x00",
            b"\x30\x80\x00\x00",
        ] {
            assert!(Parts::of(bytes).is_none(), "{bytes:?}");
        }
    }
}
