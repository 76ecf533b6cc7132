//! `tls` of a listener: certificates and what clients have to prove. `tls` of a backend: what servers have to prove.

use std::path::PathBuf;

use tandem_model::{BackendTls, ClientCert, ListenerTls, TlsVersion};
use toml::de::DeValue;

use crate::kinds::{BOOL, NAME, PATH};
use crate::reader::Reader;
use crate::span::{Item, values};
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else, Required};
use crate::table::{Kind, Table, key};

pub(crate) const TLS: Kind<ListenerTls> = Kind {
    text: "list of certificates, or table",
    read: |reader, item| match item.get_ref() {
        DeValue::Table(_) => {
            let section = KEYS.read_item(reader, item)?;
            for name in ["client-cert", "client-crl"] {
                if section.has(name) && !section.has("client-ca") {
                    let hint = "client-ca = \"authorities.pem\" says whose certificates count";
                    let message = format!("`{name}` says nothing without `client-ca`");
                    reader.wrong_hint(&section.place(name), message, Some(hint.into()));
                }
            }
            Some(section.draft)
        }
        _ => Some(ListenerTls {
            certs: (CERTS.read)(reader, item)?,
            ..ListenerTls::default()
        }),
    },
};

const CERTS: Kind<Vec<PathBuf>> = Kind {
    text: "list of paths",
    read: |reader, item| Some(values(&reader.some(item, Reader::path))),
};

pub(crate) static KEYS: Table<ListenerTls> = Table {
    heading: "tls = { ... }",
    label: "`tls`",
    doc: "How a listener speaks TLS.",
    keys: &[
        &key(
            "certs",
            CERTS,
            Required,
            "PEM files, each with a chain and its key; a file name may have a `*`. Clients get the certificate of the name they ask for, and the first for any other.",
            |t: &mut ListenerTls, v| t.certs = v.value,
        ),
        &key(
            "keys",
            CERTS,
            Else("they are in the files of `certs`"),
            "PEM files with the private keys of certificates whose own files have none; a file name may have a `*`, and the order does not count.",
            |t: &mut ListenerTls, v| t.keys = v.value,
        ),
        &key(
            "client-ca",
            PATH,
            Else("clients are asked for no certificate"),
            "A PEM file of authorities: every client must have a certificate of one of them, or may, by `client-cert`.",
            |t: &mut ListenerTls, v| t.client_ca = Some(v.value),
        ),
        &key(
            "client-cert",
            Kind {
                text: "\"required\" or \"optional\"",
                read: client_cert,
            },
            Is("\"required\""),
            "Whether a client must have a certificate. One that does not verify ends the handshake in any case.",
            |t: &mut ListenerTls, v| t.client_cert = v.value,
        ),
        &key(
            "client-crl",
            CERTS,
            Else("no certificate counts as revoked"),
            "PEM files with the lists of revoked certificates (CRL) of the authorities in `client-ca`, of each of them; a file name may have a `*`. A certificate that is revoked, whose authority has no list here or one that has ended, does not verify.",
            |t: &mut ListenerTls, v| t.client_crl = v.value,
        ),
        &key(
            "min",
            Kind {
                text: "\"1.2\" or \"1.3\"",
                read: version,
            },
            Is("\"1.2\""),
            "The oldest version of TLS that is spoken.",
            |t: &mut ListenerTls, v| t.min = v.value,
        ),
        &key(
            "strict-sni",
            BOOL,
            Is("false"),
            "Only clients that ask for a name that a certificate has get past the handshake; nobody gets the first certificate for another name, or for none.",
            |t: &mut ListenerTls, v| t.strict_sni = v.value,
        ),
    ],
};

/// `None` is plain.
pub(crate) const BACKEND_TLS: Kind<Option<BackendTls>> = Kind {
    text: "true or table",
    read: |reader, item| match item.get_ref() {
        DeValue::Boolean(on) => Some(on.then(BackendTls::default)),
        DeValue::Table(_) => Some(Some(BACKEND.read_item(reader, item)?.draft)),
        _ => {
            reader.expected(item, "true or a table like { ca = \"ca.pem\" }");
            None
        }
    },
};

pub(crate) static BACKEND: Table<BackendTls> = Table {
    heading: "tls = { ... } of a backend",
    label: "`tls`",
    doc: "How TLS is spoken to servers.",
    keys: &[
        &key(
            "ca",
            PATH,
            Else("the authorities that this machine trusts"),
            "A PEM file of authorities: every server's certificate must be signed by one of them, or be one of them.",
            |t: &mut BackendTls, v| t.ca = Some(v.value),
        ),
        &key(
            "name",
            NAME,
            Else("each server's own, as written in `servers`"),
            "The name that servers are asked for (SNI) and that their certificates must have.",
            |t: &mut BackendTls, v| t.name = Some(v.value),
        ),
        &key(
            "verify",
            BOOL,
            Is("true"),
            "Whether certificates must be right. `false` takes any: whoever can step in between can then read along.",
            |t: &mut BackendTls, v| t.verify = v.value,
        ),
        &key(
            "cert",
            PATH,
            Else("none"),
            "A PEM file with a chain and its key, shown to servers that ask clients for a certificate.",
            |t: &mut BackendTls, v| t.cert = Some(v.value),
        ),
        &key(
            "key",
            PATH,
            Else("it is in the file of `cert`"),
            "A PEM file with the private key of `cert`.",
            |t: &mut BackendTls, v| t.key = Some(v.value),
        ),
    ],
};

fn client_cert(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<ClientCert> {
    let words = ["required", "optional"];
    match reader
        .filled(item, "\"required\" or \"optional\"")?
        .as_str()
    {
        "required" => Some(ClientCert::Required),
        "optional" => Some(ClientCert::Optional),
        other => {
            let hint = did_you_mean(other, words);
            let message = "a client's certificate is \"required\" or \"optional\"";
            reader.wrong_hint(&item.span(), message, hint);
            None
        }
    }
}

fn version(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<TlsVersion> {
    match reader.filled(item, "\"1.2\" or \"1.3\"")?.as_str() {
        "1.2" => Some(TlsVersion::V12),
        "1.3" => Some(TlsVersion::V13),
        other => {
            let hint = did_you_mean(other, ["1.2", "1.3"]);
            reader.wrong_hint(&item.span(), "the versions are \"1.2\" and \"1.3\"", hint);
            None
        }
    }
}
