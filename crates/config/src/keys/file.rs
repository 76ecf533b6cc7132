//! The whole file.

use toml::de::DeValue;

use crate::keys::{app, backend, cluster, listener, node, sessions, site};
use crate::reader::Reader;
use crate::span::{At, Item};
use crate::table::Need::Else;
use crate::table::{Kind, Named, Section, Table, key, named};

/// A file as it was read.
#[derive(Default)]
pub(crate) struct Draft {
    pub nodes: Option<Vec<node::Entry>>,
    pub cluster: Option<Section<cluster::Draft>>,
    pub listeners: Vec<Named<listener::Draft>>,
    pub sites: Vec<Named<site::Draft>>,
    pub apps: Vec<Named<app::Draft>>,
    pub backends: Vec<Named<backend::Draft>>,
    pub sessions: Option<Section<sessions::Draft>>,
}

/// The tables of a file.
pub(crate) static KEYS: Table<Draft> = Table {
    heading: "the file",
    label: "",
    doc: "What a cluster file is made of.",
    keys: &[
        &key(
            "nodes",
            Kind {
                text: "table",
                read: node::read,
            },
            Else("everything runs on this machine, the node `local`"),
            "The machines.",
            |file: &mut Draft, v| file.nodes = Some(v.value),
        ),
        &key(
            "cluster",
            Kind {
                text: "table",
                read: |reader, item| section(reader, item, "[cluster]", &cluster::KEYS),
            },
            Else("all defaults"),
            "What holds for all machines.",
            |file: &mut Draft, v| file.cluster = Some(v.value),
        ),
        &key(
            "listener",
            Kind {
                text: "tables with names",
                read: |reader, item| named(reader, item, "listener", &listener::KEYS),
            },
            Else("nothing comes in"),
            "Where requests come in, and where they go.",
            |file: &mut Draft, v| file.listeners = v.value,
        ),
        &key(
            "site",
            Kind {
                text: "tables with names",
                read: |reader, item| named(reader, item, "site", &site::KEYS),
            },
            Else("no files"),
            "Files.",
            |file: &mut Draft, v| file.sites = v.value,
        ),
        &key(
            "app",
            Kind {
                text: "tables with names",
                read: |reader, item| named(reader, item, "app", &app::KEYS),
            },
            Else("no applications"),
            "Applications on machines of the file.",
            |file: &mut Draft, v| file.apps = v.value,
        ),
        &key(
            "backend",
            Kind {
                text: "tables with names",
                read: |reader, item| named(reader, item, "backend", &backend::KEYS),
            },
            Else("no other servers"),
            "Servers outside the cluster.",
            |file: &mut Draft, v| file.backends = v.value,
        ),
        &key(
            "sessions",
            Kind {
                text: "table",
                read: |reader, item| section(reader, item, "[sessions]", &sessions::KEYS),
            },
            Else("no sessions are kept"),
            "Where sessions are kept.",
            |file: &mut Draft, v| file.sessions = Some(v.value),
        ),
    ],
};

fn section<D: Default>(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    name: &str,
    table: &Table<D>,
) -> Option<Section<D>> {
    let DeValue::Table(body) = item.get_ref() else {
        reader.expected(item, &format!("a table, {name}"));
        return None;
    };
    reader.section = name.into();
    let section = table.read(reader, item.span(), body);
    reader.section.clear();
    Some(section)
}

impl Draft {
    /// Names of services and where they stand, in the order of the file.
    pub fn service_names(&self) -> Vec<(&'static str, &At<String>)> {
        let sites = self.sites.iter().map(|named| ("site", &named.name));
        let apps = self.apps.iter().map(|named| ("app", &named.name));
        let backends = self.backends.iter().map(|named| ("backend", &named.name));
        let mut names: Vec<_> = sites.chain(apps).chain(backends).collect();
        names.sort_by_key(|(_, name)| name.span.start);
        names
    }
}
