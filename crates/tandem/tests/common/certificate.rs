//! Certificates for localhost, made anew.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, DnValue, IsCa, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

/// The serial number of `odd`.
const ODD: [u8; 3] = [0xff, 0, 2];

/// A certificate that signs itself, and its key behind it, as PEM; and the certificate as DER.
pub fn localhost() -> (String, Vec<u8>) {
    localhost_with(|_| {})
}

/// As [`localhost`], with something else in it.
pub fn localhost_with(change: impl FnOnce(&mut CertificateParams)) -> (String, Vec<u8>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".into()]).expect("a name");
    change(&mut params);
    let signed = params.self_signed(&key).expect("a certificate");
    (signed.pem() + &key.serialize_pem(), signed.der().to_vec())
}

/// An authority (`ca`), and what clients have: `ann` and `odd` of it, `forged` of another of the same name. As PEM, that of
/// clients with their keys behind it. Two lists of the authority revoke `odd`: `revoked`, and `ended`, which is of last year.
pub fn clients() -> Vec<(&'static str, String)> {
    let (ca, other) = (authority(), authority());
    let text = |text: &str| DnValue::Utf8String(text.into());
    let ann = [
        (
            DnType::CountryName,
            DnValue::PrintableString("DE".try_into().expect("letters")),
        ),
        (DnType::OrganizationName, text("Example, Inc.")),
        (DnType::CommonName, text("ann")),
    ];
    let odd = [
        (
            DnType::OrganizationalUnitName,
            text("#1 \\ \"of\" <us>; a+b "),
        ),
        (DnType::CommonName, text("jürgen\r\nX-Admin: 1")),
        // emailAddress, and one that nobody knows.
        (
            DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
            text("j@example.net"),
        ),
        (
            DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99_999, 1]),
            text("x"),
        ),
    ];
    vec![
        ("ca", ca.pem()),
        ("ann", client(&ca, &ann, &[0x7f, 0xab, 1])),
        ("odd", client(&ca, &odd, &ODD)),
        ("forged", client(&other, &ann, &[0x7f, 0xab, 1])),
        ("revoked", without_odd(&ca, 2099)),
        ("ended", without_odd(&ca, 2025)),
    ]
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A list that revokes `odd`, good until that year.
fn without_odd(ca: &CertifiedIssuer<'static, KeyPair>, until: i32) -> String {
    let made = date_time_ymd(2024, 1, 1);
    let list = CertificateRevocationListParams {
        this_update: made,
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from_slice(&ODD),
            revocation_time: made,
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let signed = list.signed_by(ca).expect("signed");
    signed.pem().expect("text")
}

fn client(
    ca: &CertifiedIssuer<'static, KeyPair>,
    subject: &[(DnType, DnValue)],
    serial: &[u8],
) -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    let signed = params.signed_by(&key, ca).expect("signed");
    signed.pem() + &key.serialize_pem()
}
