//! `tls` of a listener: certificates and what clients have to prove.

use std::path::PathBuf;

use tandem_model::{ListenerTls, TlsVersion};
use toml::de::DeValue;

use crate::kinds::PATH;
use crate::reader::Reader;
use crate::span::{Item, values};
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else, Required};
use crate::table::{Kind, Table, key};

pub(crate) const TLS: Kind<ListenerTls> = Kind {
    text: "list of certificates, or table",
    read: |reader, item| match item.get_ref() {
        DeValue::Table(_) => Some(KEYS.read_item(reader, item)?.draft),
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
            "client-ca",
            PATH,
            Else("clients need no certificate"),
            "A PEM file of authorities: every client must have a certificate of one of them.",
            |t: &mut ListenerTls, v| t.client_ca = Some(v.value),
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
    ],
};

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
