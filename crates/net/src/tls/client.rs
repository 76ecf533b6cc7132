//! TLS towards servers: whom to trust, and which name their certificates must have.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tandem_model::BackendTls;

use super::certificates::{File, Keys, certified};
use super::named::Named;
use super::{Digest, TlsError, digest, roots, unusable};

/// Where Debian, Fedora, SUSE and Alpine keep the authorities that the machine trusts.
const MACHINES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is needed to speak TLS to the servers of a backend. All workers share one, and with it the sessions that can be
/// resumed.
pub struct ClientTls {
    pub(crate) http1: Arc<ClientConfig>,
    /// Where it is not known what is spoken.
    pub(crate) unknown: Arc<ClientConfig>,
    /// The name for all servers.
    name: Option<TlsName>,
    settings: BackendTls,
    digest: Digest,
}

/// The name or address that a server's certificate must have; a name is also asked for (SNI).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(Arc<ServerName<'static>>);

impl TlsName {
    /// Of a host as written; `None` when it is neither a name nor an address.
    pub fn of(host: &str) -> Option<Self> {
        let name = ServerName::try_from(host.to_owned()).ok()?;
        Some(Self(Arc::new(name)))
    }
}

impl ClientTls {
    /// Reads authorities and certificate. Blocks; not for a worker.
    ///
    /// # Errors
    /// When a file is missing, or is not what it should be.
    pub fn load(settings: &BackendTls) -> Result<Arc<Self>, TlsError> {
        Self::read(settings, None)
    }

    /// Reads them anew, perhaps by other settings. When nothing is different it is this one again.
    ///
    /// # Errors
    /// As [`load`](Self::load); the old one can be used further.
    pub fn reload(self: &Arc<Self>, settings: &BackendTls) -> Result<Arc<Self>, TlsError> {
        Self::read(settings, Some(self))
    }

    /// The name for a server whose own is `host`; `None` when neither can be one.
    pub(crate) fn name(&self, host: Option<&TlsName>) -> Option<ServerName<'static>> {
        let name = self.name.as_ref().or(host)?;
        Some((*name.0).clone())
    }

    fn read(settings: &BackendTls, before: Option<&Arc<Self>>) -> Result<Arc<Self>, TlsError> {
        let authorities = settings.verify.then(|| authorities(settings)).transpose()?;
        let own = settings.cert.as_deref().map(File::read).transpose()?;
        let key = settings.key.as_deref().map(File::read).transpose()?;
        let digest = digest(authorities.iter().chain(&own).chain(&key));
        if let Some(before) = before.filter(|b| b.digest == digest && b.settings == *settings) {
            return Ok(before.clone());
        }
        let name = match &settings.name {
            None => None,
            Some(name) => Some(TlsName::of(name).ok_or_else(|| {
                TlsError(format!("`{name}` is no name that a certificate can have"))
            })?),
        };
        let named = settings.ca.is_some();
        let config = client_config(authorities.as_ref(), named, own.as_ref(), key.as_slice())?;
        let mut unknown = config.clone();
        unknown.alpn_protocols.clear();
        Ok(Arc::new(Self {
            http1: Arc::new(config),
            unknown: Arc::new(unknown),
            name,
            settings: settings.clone(),
            digest,
        }))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// Made from the same settings and files.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.settings == other.settings
    }
}

impl Eq for ClientTls {}

fn authorities(settings: &BackendTls) -> Result<File, TlsError> {
    match &settings.ca {
        Some(path) => File::read(path),
        None => {
            let found = MACHINES.iter().map(Path::new).find(|path| path.exists());
            File::read(found.ok_or_else(|| {
                TlsError(
                    "this machine has no list of trusted authorities (install ca-certificates, or name a `ca`)".into(),
                )
            })?)
        }
    }
}

/// `named`: the authorities are not the machine's, but those that were chosen for these servers.
fn client_config(
    authorities: Option<&File>,
    named: bool,
    own: Option<&File>,
    keys: &[File],
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match authorities {
        Some(file) if named => {
            let certificates = CertificateDer::pem_slice_iter(&file.text).filter_map(Result::ok);
            let verifier = Named::new(roots(file)?, certificates.collect(), provider)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
        Some(file) => builder.with_root_certificates(roots(file)?),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider))),
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let own = certified(file, &Keys::new(keys, &default_provider()))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes any certificate; that the server has its key is still proven.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
