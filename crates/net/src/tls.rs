//! TLS: towards clients, certificates by the name asked for ([`ServerTls`]); towards servers, whom to trust
//! ([`ClientTls`]).
//!
//! A [`ServerTls`] is never changed: new certificates are a new one, and connections go on with the one they began
//! with. All workers share one, and with it the keys of session tickets, so that a client that returns to another
//! worker is resumed.

mod certificates;
mod client;
mod der;
mod expiry;
mod identity;
mod name;
mod named;
mod session;
mod words;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{
    CipherSuite, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    version,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use sha2::{Digest as _, Sha256};
use tandem_model::{ClientCert, ListenerTls, TlsVersion};

use certificates::File;
pub use client::{ClientTls, TlsName};
pub use expiry::{Expiry, expiries, revocations};
pub use identity::ClientCertificate;
pub(crate) use session::Session;

/// What is spoken within TLS, as far as the two sides agree on that in the handshake (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, or HTTP/1.1.
    Http2,
    /// Whatever it is: nothing is said of it.
    Unknown,
}

/// Session tickets sent after a TLS 1.3 handshake: one is used up by each connection that resumes.
const TICKETS: usize = 2;

/// What a listener needs to speak TLS.
pub struct ServerTls {
    /// For listeners that speak HTTP/1.1 only.
    pub(crate) http1: Arc<ServerConfig>,
    /// For those that speak HTTP/2 as well.
    pub(crate) http2: Arc<ServerConfig>,
    /// For those that do not know what is spoken.
    pub(crate) unknown: Arc<ServerConfig>,
    settings: ListenerTls,
    /// Of all files it was made from.
    digest: Digest,
}

type Digest = [u8; 32];

/// Why TLS cannot be spoken, in one sentence.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    fn at(path: &Path, what: impl fmt::Display) -> Self {
        Self(format!("{}: {what}", path.display()))
    }
}

impl ServerTls {
    /// Reads the certificates. Blocks; not for a worker.
    ///
    /// # Errors
    /// When a file is missing, or is not what it should be.
    pub fn load(settings: &ListenerTls) -> Result<Arc<Self>, TlsError> {
        Self::read(settings, None)
    }

    /// Reads the certificates anew, perhaps by other settings. When nothing is different it is this one again. Else
    /// tickets that were given out stay good; where clients are asked for certificates there are none.
    ///
    /// # Errors
    /// As [`load`](Self::load); the old ones can be used further.
    pub fn reload(self: &Arc<Self>, settings: &ListenerTls) -> Result<Arc<Self>, TlsError> {
        Self::read(settings, Some(self))
    }

    fn read(settings: &ListenerTls, before: Option<&Arc<Self>>) -> Result<Arc<Self>, TlsError> {
        let certs = certificates::read(&settings.certs)?;
        let authorities = settings.client_ca.as_deref().map(File::read).transpose()?;
        let revoked = certificates::read(&settings.client_crl)?;
        let keys = certificates::read(&settings.keys)?;
        let files = certs.iter().chain(&keys).chain(&authorities);
        let digest = digest(files.chain(&revoked));
        let tickets = match before {
            Some(before) if before.digest == digest && before.settings == *settings => {
                return Ok(before.clone());
            }
            // A session would be that of a certificate which has ended or was replaced meanwhile: whoever has to prove who
            // they are does so each time.
            _ if authorities.is_some() => None,
            Some(before) if before.settings.client_ca.is_none() => {
                Some(before.http1.ticketer.clone())
            }
            _ => {
                let keys = Ticketer::new();
                Some(keys.map_err(|e| TlsError(format!("no keys for session tickets: {e}")))?)
            }
        };
        let clients = authorities.as_ref().map(|file| (file, &revoked[..]));
        let config = server_config(settings, (&certs, &keys), clients, tickets)?;
        let mut http2 = config.clone();
        http2.alpn_protocols.insert(0, b"h2".to_vec());
        let mut unknown = config.clone();
        unknown.alpn_protocols.clear();
        Ok(Arc::new(Self {
            http1: Arc::new(config),
            http2: Arc::new(http2),
            unknown: Arc::new(unknown),
            settings: settings.clone(),
            digest,
        }))
    }
}

fn digest<'a>(files: impl Iterator<Item = &'a File>) -> Digest {
    let mut hash = Sha256::new();
    for file in files {
        hash.update((file.text.len() as u64).to_le_bytes());
        hash.update(&file.text);
    }
    hash.finalize().into()
}

fn server_config(
    settings: &ListenerTls,
    (certs, keys): (&[File], &[File]),
    clients: Option<(&File, &[File])>,
    tickets: Option<Arc<dyn ProducesTickets>>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider());
    let certificates = certificates::parse(certs, keys, settings.strict_sni, &provider)?;
    let versions: &[&SupportedProtocolVersion] = match settings.min {
        TlsVersion::V12 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(unusable)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((file, revoked)) => {
            let roots = Arc::new(roots(file)?);
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            if !revoked.is_empty() {
                // A list that has ended says nothing of who was revoked since.
                verifier = verifier
                    .with_crls(revocation_lists(revoked)?)
                    .enforce_revocation_expiration();
            }
            if settings.client_cert == ClientCert::Optional {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build().map_err(|e| TlsError::at(&file.path, e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Tickets hold the state at the client; a table here would be a lock that all workers take.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = tickets.as_ref().map_or(0, |_| TICKETS);
    if let Some(tickets) = tickets {
        config.ticketer = tickets;
    }
    // The cheapest of the suites, all of which are good; what OpenSSL's clients put first costs a handshake a tenth more.
    config.ignore_client_order = true;
    Ok(config)
}

/// The suites with AES-128 and SHA-256 first: processors have instructions for both, but few for SHA-384, which keys are
/// derived with many times in a handshake.
fn provider() -> CryptoProvider {
    let mut provider = default_provider();
    let is_first = |suite: &SupportedCipherSuite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    provider.cipher_suites.sort_by_key(|suite| !is_first(suite));
    provider
}

fn unusable(error: rustls::Error) -> TlsError {
    TlsError(format!("TLS cannot be set up: {error}"))
}

/// The lists in PEM files, each of which has one at least.
fn revocation_lists(
    files: &[File],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let mut all = Vec::new();
    for file in files {
        let before = all.len();
        for list in CertificateRevocationListDer::pem_slice_iter(&file.text) {
            all.push(list.map_err(|e| TlsError::at(&file.path, words::of_pem(&e)))?);
        }
        if all.len() == before {
            let what = "there is no list of revoked certificates (X509 CRL, as PEM) in it";
            return Err(TlsError::at(&file.path, what));
        }
    }
    Ok(all)
}

/// The authorities in a PEM file.
fn roots(file: &File) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&file.text) {
        let added = authority
            .map_err(|e| words::of_pem(&e))
            .and_then(|authority| roots.add(authority).map_err(|e| words::of_tls(&e)));
        added.map_err(|e| TlsError::at(&file.path, e))?;
    }
    if roots.is_empty() {
        return Err(TlsError::at(&file.path, "there is no certificate in it"));
    }
    Ok(roots)
}
