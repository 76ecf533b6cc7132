//! Certificates for localhost, made anew.

use rcgen::CertificateParams;

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
