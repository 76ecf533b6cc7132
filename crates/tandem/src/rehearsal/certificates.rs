//! Certificates for a rehearsal: the real ones are often on other machines only.

use std::path::Path;

use rcgen::{CertificateParams, DnType, KeyPair};
use tandem_model::{BackendTls, Cluster, ListenerTls, Service};
use tandem_net::{ClientTls, ServerTls};

use super::stage::write_private;
use crate::exit::{Failure, Result};

/// Puts a self-signed certificate, made anew, where those of a listener cannot be read here, and leaves out what a
/// backend cannot read. Returns what is to be said
/// of it.
pub fn stand_in(cluster: &mut Cluster, dir: &Path) -> Result<Vec<String>> {
    let mut notices = Vec::new();
    let path = dir.join("stand-in.pem");
    for listener in &mut cluster.listeners {
        let Some(tls) = &mut listener.tls else {
            continue;
        };
        let Err(why) = ServerTls::load(tls) else {
            continue;
        };
        if notices.is_empty() {
            write_private(&path, &make()?).map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        *tls = ListenerTls {
            certs: vec![path.clone()],
            min: tls.min,
            ..ListenerTls::default()
        };
        notices.push(format!(
            "listener {}: a self-signed certificate stands in, and clients need none ({why})",
            listener.name
        ));
    }
    for service in &mut cluster.services {
        if let Service::Backend(backend) = service
            && let Some(tls) = &mut backend.tls
            && let Err(why) = ClientTls::load(tls)
        {
            *tls = BackendTls {
                name: tls.name.take(),
                verify: false,
                ..BackendTls::default()
            };
            notices.push(format!(
                "backend {}: its servers' certificates are not looked at ({why})",
                backend.name
            ));
        }
    }
    Ok(notices)
}

/// A certificate for this machine and its key.
fn make() -> Result<String> {
    let made = || {
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names)?;
        let name = "a rehearsal of Tandem";
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key)?;
        Ok::<_, rcgen::Error>(certificate.pem() + &key.serialize_pem())
    };
    made().map_err(|error| Failure::failed(format!("cannot make a certificate: {error}")))
}
