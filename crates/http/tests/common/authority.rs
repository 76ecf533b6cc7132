//! Certificates made for a test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, DnValue, IsCa,
    KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tandem_model::ListenerTls;

/// An authority and what it signed, in a directory that is removed at the end.
pub struct Authority {
    pub dir: PathBuf,
    pub issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let dir = format!("tandem-tls-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.join("ca.crt"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Writes a chain and its key as one file.
    pub fn sign(&self, file: &str, names: &[&str]) -> PathBuf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let path = self.dir.join(file);
        std::fs::write(&path, signed.pem() + &key.serialize_pem()).unwrap();
        path
    }

    /// As [`sign`](Self::sign), for a client of this subject.
    pub fn sign_as(&self, file: &str, subject: &[(DnType, DnValue)]) -> PathBuf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let path = self.dir.join(file);
        std::fs::write(&path, signed.pem() + &key.serialize_pem()).unwrap();
        path
    }

    /// As [`sign`](Self::sign), for a client, until this second.
    pub fn sign_until(&self, file: &str, end: time::OffsetDateTime) -> PathBuf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["client".into()]).unwrap();
        params.not_after = end;
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let path = self.dir.join(file);
        std::fs::write(&path, signed.pem() + &key.serialize_pem()).unwrap();
        path
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_with(None)
    }

    pub fn client_with(&self, own: Option<&Path>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let chain = CertificateDer::pem_file_iter(path).unwrap();
                let key = PrivateKeyDer::from_pem_file(path).unwrap();
                builder
                    .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
                    .unwrap()
            }
        };
        Arc::new(config)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn certs(paths: &[PathBuf]) -> ListenerTls {
    ListenerTls {
        certs: paths.to_vec(),
        ..ListenerTls::default()
    }
}
