//! TLS towards clients: certificates by the name asked for, and what a handshake may use.
//!
//! A [`ServerTls`] is never changed: new certificates are a new one, and connections go on with the one they began
//! with. All workers share one, and with it the keys of session tickets, so that a client that returns to another
//! worker is resumed.

mod certificates;
mod session;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tandem_model::{ListenerTls, TlsVersion};

pub(crate) use session::Session;

/// Session tickets sent after a TLS 1.3 handshake: one is used up by each connection that resumes.
const TICKETS: usize = 2;

/// What a listener needs to speak TLS.
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    settings: ListenerTls,
}

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
    pub fn load(settings: &ListenerTls) -> Result<Self, TlsError> {
        let tickets =
            Ticketer::new().map_err(|e| TlsError(format!("no keys for session tickets: {e}")))?;
        Self::with(settings, tickets)
    }

    /// Reads the certificates anew. Tickets that were given out stay good, except where clients have to prove who they
    /// are: who may may have changed.
    ///
    /// # Errors
    /// As [`load`](Self::load); the old ones can be used further.
    pub fn reload(&self) -> Result<Self, TlsError> {
        if self.settings.client_ca.is_some() {
            return Self::load(&self.settings);
        }
        Self::with(&self.settings, self.config.ticketer.clone())
    }

    fn with(settings: &ListenerTls, tickets: Arc<dyn ProducesTickets>) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let certificates = certificates::load(&settings.certs, &provider)?;
        let versions: &[&SupportedProtocolVersion] = match settings.min {
            TlsVersion::V12 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V13 => &[&version::TLS13],
        };
        let unusable = |e: rustls::Error| TlsError(format!("TLS cannot be set up: {e}"));
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(unusable)?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| TlsError::at(path, e))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Tickets hold the state at the client; a table here would be a lock that all workers take.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets;
        config.send_tls13_tickets = TICKETS;
        Ok(Self {
            config: Arc::new(config),
            settings: settings.clone(),
        })
    }
}

/// The authorities in a PEM file.
fn roots(path: &PathBuf) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|e| TlsError::at(path, e))?;
    for authority in found {
        let added = authority
            .map_err(|e| e.to_string())
            .and_then(|authority| roots.add(authority).map_err(|e| e.to_string()));
        added.map_err(|e| TlsError::at(path, e))?;
    }
    if roots.is_empty() {
        return Err(TlsError::at(path, "there is no certificate in it"));
    }
    Ok(roots)
}
