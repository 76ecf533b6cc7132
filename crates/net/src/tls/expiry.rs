//! Until when certificates are valid.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use tandem_model::ListenerTls;

use super::der::{INTEGER, Parts, SEQUENCE, element, tagged};
use super::{TlsError, certificates};

/// A file of a listener that is good for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file.
    pub file: PathBuf,
    /// When the first thing in it to end does so.
    pub at: SystemTime,
}

/// When the lists of revoked certificates of a listener end, by their files. Blocks; not for a worker.
///
/// # Errors
/// When a file is missing.
pub fn revocations(settings: &ListenerTls) -> Result<Vec<Expiry>, TlsError> {
    let lists = certificates::read(&settings.client_crl)?.into_iter();
    let ends = lists.filter_map(|file| {
        let all = CertificateRevocationListDer::pem_slice_iter(&file.text);
        // One that does not say when the next one comes is good for ever.
        let ends = all.filter_map(|list| next_update(&list.ok()?));
        let at = ends.min()?;
        Some(Expiry {
            file: file.path,
            at,
        })
    });
    Ok(ends.collect())
}

/// When the certificates of a listener end, by their files. Blocks; not for a worker.
///
/// # Errors
/// When a file is missing, or has no certificate that can be read.
pub fn expiries(settings: &ListenerTls) -> Result<Vec<Expiry>, TlsError> {
    let files = certificates::read(&settings.certs)?.into_iter();
    let ends = files.map(|file| {
        let mut first: Option<SystemTime> = None;
        for certificate in CertificateDer::pem_slice_iter(&file.text) {
            let certificate = certificate.map_err(|e| TlsError::at(&file.path, e))?;
            let parts = Parts::of(&certificate);
            let end = parts.as_ref().and_then(not_after).ok_or_else(|| {
                TlsError::at(&file.path, "a certificate in it does not say when it ends")
            })?;
            first = Some(first.map_or(end, |first| first.min(end)));
        }
        let at = first.ok_or_else(|| TlsError::at(&file.path, "there is no certificate in it"))?;
        Ok(Expiry {
            file: file.path,
            at,
        })
    });
    ends.collect()
}

/// `nextUpdate` of a list (RFC 5280 section 5.1.2).
fn next_update(list: &[u8]) -> Option<SystemTime> {
    let (list, _) = tagged(SEQUENCE, list)?;
    let (mut rest, _) = tagged(SEQUENCE, list)?;
    if rest.first() == Some(&INTEGER) {
        // The version.
        rest = element(rest)?.2;
    }
    let (_algorithm, rest) = tagged(SEQUENCE, rest)?;
    let (_issuer, rest) = tagged(SEQUENCE, rest)?;
    let (_this_update, _, rest) = element(rest)?;
    let (tag, text, _) = element(rest)?;
    time(tag, text)
}

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a certificate (RFC 5280 section 4.1).
pub(super) fn not_after(certificate: &Parts<'_>) -> Option<SystemTime> {
    let (_, _, end) = element(certificate.validity)?;
    let (tag, text, _) = element(end)?;
    time(tag, text)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = text.strip_suffix(b"Z")?;
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| {
        digits
            .iter()
            .fold(0u64, |sum, b| sum * 10 + u64::from(b - b'0'))
    };
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year = number(&text[..2]);
            (
                if year < 50 { 2000 + year } else { 1900 + year },
                &text[2..],
            )
        }
        (GENERALIZED_TIME, 14) => (number(&text[..4]), &text[4..]),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| number(&rest[at..at + 2]));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days since 1970-01-01; `None` before. Years are taken to begin in March, so that the odd day is their last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // Those from year 0 to 1970-01-01.
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_has_them() {
        for (date, expected) in [
            ((1970, 1, 1), Some(0)),
            ((1970, 3, 1), Some(59)),
            ((2000, 2, 29), Some(11_016)),
            ((2000, 3, 1), Some(11_017)),
            ((2026, 11, 27), Some(20_784)),
            ((1969, 12, 31), None),
        ] {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    #[test]
    fn both_forms_of_time_are_read_and_nothing_else() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(time(UTC_TIME, b"700101000001Z"), at(1));
        assert_eq!(
            time(GENERALIZED_TIME, b"20261127000000Z"),
            at(1_795_737_600)
        );
        for (tag, text) in [
            (UTC_TIME, &b"20261127000000Z"[..]),
            (GENERALIZED_TIME, b"20261127000000"),
            (GENERALIZED_TIME, b"20261327000000Z"),
            (GENERALIZED_TIME, b"2026112700000xZ"),
            (0x0c, b"20261127000000Z"),
            (UTC_TIME, b"Z"),
        ] {
            assert_eq!(time(tag, text), None, "{text:?}");
        }
    }
}
