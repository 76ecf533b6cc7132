//! `[nodes]`: the machines.

use tandem_model::Node;
use toml::de::DeValue;

use crate::kinds::WORKERS;
use crate::reader::Reader;
use crate::span::{At, Item};
use crate::table::Need::{Else, Required};
use crate::table::{Kind, Table, in_order, key};

/// A node and where its parts stand.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: At<String>,
    pub address: At<String>,
    pub workers: Option<u16>,
    /// Its address could not be read.
    pub broken: bool,
}

impl Entry {
    pub fn node(&self) -> Node {
        Node {
            name: self.name.value.clone(),
            address: self.address.value.clone(),
            workers: self.workers,
        }
    }
}

#[derive(Default)]
pub(crate) struct Draft {
    address: Option<At<String>>,
    workers: Option<u16>,
}

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "[nodes] NAME = { ... }",
    label: "a node",
    doc: "A machine. `NAME = \"ADDRESS\"` is short for `NAME = { address = \"ADDRESS\" }`.",
    keys: &[
        &key(
            "address",
            Kind {
                text: "address without port",
                read: host,
            },
            Required,
            "Its address or host name, as the other nodes reach it.",
            |d: &mut Draft, v| d.address = Some(v),
        ),
        &key(
            "workers",
            WORKERS,
            Else("as in [cluster]"),
            "Its workers.",
            |d: &mut Draft, v| {
                d.workers = Some(v.value);
            },
        ),
    ],
};

/// Reads the table of nodes.
pub(crate) fn read(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Vec<Entry>> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.expected(item, "a table, [nodes]");
        return None;
    };
    reader.section = "[nodes]".into();
    let mut nodes = Vec::new();
    for (name, item) in in_order(table) {
        let (address, workers) = match item.get_ref() {
            DeValue::Table(table) => {
                let draft = KEYS.read(reader, name.span.clone(), table).draft;
                (draft.address, draft.workers)
            }
            _ => (
                host(reader, item).map(|host| At::new(host, item.span())),
                None,
            ),
        };
        nodes.push(Entry {
            name: At::new(name.value.to_owned(), name.span),
            broken: address.is_none(),
            address: address.unwrap_or_default(),
            workers,
        });
    }
    reader.section.clear();
    if nodes.is_empty() && !reader.is_broken() {
        reader.wrong_hint(
            &item.span(),
            "there is no node",
            Some("without [nodes] everything runs on this machine".into()),
        );
        return None;
    }
    Some(nodes)
}

/// An IP address, or a host name.
fn host(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    reader.parsed(item, "an address like \"192.168.0.10\"", |text| {
        if let Ok(ip) = text.parse::<std::net::IpAddr>() {
            return if ip.is_unspecified() || ip.is_multicast() {
                Err("a node's address is one at which the others reach it")
            } else {
                Ok(text.to_owned())
            };
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.contains(':') {
            Err("a node's address has no port: it is an IP address or a host name")
        } else if text.len() <= 253 && text.chars().all(plain) && !text.starts_with(['-', '.']) {
            if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
                return Err("this is no IP address");
            }
            Ok(text.to_owned())
        } else {
            Err("this is neither an IP address nor a host name")
        }
    })
}
