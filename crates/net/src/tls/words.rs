//! What is wrong with a certificate, in words that say what to do.

use rustls::{CertificateError, Error, InconsistentKeys, OtherError};
use rustls_pki_types::pem;

/// Why a PEM file cannot be read.
pub(super) fn of_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a section has a BEGIN line and no END line: the file was cut off".into()
        }
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is not as it should be".into(),
        pem::Error::Base64Decode(_) => "what is between BEGIN and END is not base64".into(),
        error => error.to_string(),
    }
}

/// Why a handshake failed, or a certificate and its key are of no use.
pub(super) fn of_tls(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the private key is that of another certificate".into()
        }
        Error::InvalidCertificate(why) => {
            format!("the certificate is not accepted: {}", of_certificate(why))
        }
        // As rustls says that its resolver of certificates gave none.
        Error::General(why) if why == "no server certificate chain resolved" => {
            "the client asks for a name that no certificate has, or for none (strict-sni)".into()
        }
        error => error.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "nobody who is trusted signed it".into(),
        CertificateError::Revoked => "its authority has revoked it".into(),
        CertificateError::UnknownRevocationStatus => {
            "no list of revoked certificates (client-crl) is of its authority, or of one above it".into()
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "its authority's list of revoked certificates (client-crl) has ended: fetch a new one and reload".into()
        }
        CertificateError::BadSignature => {
            "the authority of that name that is trusted did not sign it".into()
        }
        CertificateError::Other(OtherError(why)) => {
            let why = why.to_string();
            // The words of rustls-webpki are its names of errors.
            match why.as_str() {
                "CaUsedAsEndEntity" => {
                    "it is that of an authority, and not of a server or client: make one with \
                                        basicConstraints=CA:FALSE"
                        .into()
                }
                "UnsupportedCertVersion" => {
                    "it is not of X.509 version 3: make it with extensions".into()
                }
                _ => why,
            }
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_words() {
        use rustls_pki_types::CertificateDer;
        use rustls_pki_types::pem::PemObject as _;
        let cut = CertificateDer::from_pem_slice(b"-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(of_pem(&cut.unwrap_err()).contains("cut off"));
        let bad = b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        let bad = CertificateDer::from_pem_slice(bad);
        assert!(of_pem(&bad.unwrap_err()).contains("base64"));
        let other = Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
        assert!(of_tls(&other).contains("another certificate"));
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(of_tls(&unknown).contains("signed"));
    }
}
