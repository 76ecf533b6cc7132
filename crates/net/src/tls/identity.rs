//! Who a client is by its certificate.

use sha2::{Digest as _, Sha256};

use super::der::Parts;
use super::name;

/// The longest serial number that is told of, in bytes: RFC 5280 section 4.1.2.2 allows 20.
const LONGEST_SERIAL: usize = 64;

/// A certificate that a client has proved to be its own. What it says was chosen by whoever asked its authority for it, and
/// is plain text here: what cannot be said so is left out whole, never in part, so that no two names become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject as RFC 4514 writes it, in printable ASCII; empty when it is too long.
    pub subject: Box<str>,
    /// Its first common name, as text; `None` when it has none that is a line of text.
    pub common_name: Option<Box<str>>,
    /// SHA-256 of all of it, 64 lower-case hexadecimal digits.
    pub sha256: Box<str>,
    /// The serial number in upper-case hexadecimal digits, two for each byte; empty when it is negative or too long.
    pub serial: Box<str>,
}

impl ClientCertificate {
    /// Reads a certificate, DER, that was verified.
    pub fn read(der: &[u8]) -> Self {
        let parts = Parts::of(der);
        let subject = parts.as_ref().and_then(|parts| name::read(parts.subject));
        let subject = subject.unwrap_or_default();
        Self {
            common_name: name::common_name(&subject).map(Into::into),
            subject: name::show(&subject).into(),
            sha256: hex(&Sha256::digest(der), b"0123456789abcdef").into(),
            serial: parts.map(|parts| serial(parts.serial)).unwrap_or_default(),
        }
    }
}

/// An integer; the zero byte that keeps a high bit from being a sign is left out.
fn serial(integer: &[u8]) -> Box<str> {
    let digits = match integer {
        [0, rest @ ..] if !rest.is_empty() => rest,
        [0x80..=0xff, ..] => b"",
        all if all.len() > LONGEST_SERIAL => b"",
        all => all,
    };
    hex(digits, b"0123456789ABCDEF").into()
}

/// Two digits for each byte.
pub(super) fn hex(bytes: &[u8], digits: &[u8; 16]) -> String {
    let both = |&b: &u8| [b >> 4, b & 15].map(|half| char::from(digits[usize::from(half)]));
    bytes.iter().flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_written_as_nginx_and_haproxy_write_it() {
        for (integer, expected) in [
            (&b"\0"[..], "00"),
            (b"\x01", "01"),
            (b"\0\xff\x01", "FF01"),
            (b"\x7f\0", "7F00"),
            // Negative ones there should not be.
            (b"\x80", ""),
            (b"", ""),
        ] {
            assert_eq!(&*serial(integer), expected, "{integer:?}");
        }
        assert_eq!(&*serial(&[1; LONGEST_SERIAL + 1]), "");
    }

    #[test]
    fn all_is_read_of_a_certificate() {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::OrganizationName, "Example, Inc.");
        name.push(rcgen::DnType::CommonName, "ann");
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0xab, 1]));
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let read = ClientCertificate::read(made.der());
        assert_eq!(&*read.subject, r"CN=ann,O=Example\, Inc.");
        assert_eq!(read.common_name.as_deref(), Some("ann"));
        assert_eq!(&*read.serial, "AB01");
        let expected = hex(&Sha256::digest(made.der()), b"0123456789abcdef");
        assert_eq!((&*read.sha256, read.sha256.len()), (&*expected, 64));
    }

    #[test]
    fn what_cannot_be_read_has_a_fingerprint_alone() {
        let read = ClientCertificate::read(b"\x30\x02\x30\x00");
        assert_eq!(
            (&*read.subject, read.common_name, &*read.serial),
            ("", None, "")
        );
        assert_eq!(read.sha256.len(), 64);
    }
}
