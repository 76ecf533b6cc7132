//! `[backend.NAME]`: servers outside the cluster.

use tandem_model::{Address, Backend, BackendServer, Check, RESOLVE, Spread, Timeouts};
use toml::de::DeValue;

use crate::keys::check::CHECK;
use crate::keys::fastcgi::{FASTCGI, SCGI, UWSGI};
use crate::keys::rehearse::REHEARSE;
use crate::keys::spread;
use crate::keys::timeouts::OF_BACKEND;
use crate::keys::tls::BACKEND_TLS;
use crate::kinds::{ADDRESS, BOOL, CONNECTIONS, DURATION, NAME, PROXY_VERSION, WEIGHT, server};
use crate::reader::Reader;
use crate::span::{At, Item};
use crate::table::Need::{Default as Is, Else, Required};
use crate::table::{Kind, Part, Table, key};

pub(crate) struct Draft {
    pub backend: Backend,
    pub servers: Vec<At<BackendServer>>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            backend: Backend {
                name: String::new(),
                servers: Vec::new(),
                spread: Spread::default(),
                check: Check::default(),
                resolve: RESOLVE,
                tls: None,
                send_proxy: None,
                fastcgi: None,
                source: None,
                timeouts: Timeouts::default(),
                rehearse: None,
            },
            servers: Vec::new(),
        }
    }
}

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "[backend.NAME]",
    label: "",
    doc: "Servers outside the cluster.",
    keys: &[
        &key(
            "servers",
            Kind {
                text: "list of servers",
                read: |reader, item| Some(reader.some(item, one)),
            },
            Required,
            "Addresses, or tables of a server.",
            |d: &mut Draft, v| d.servers = v.value,
        ),
        &Part {
            table: &spread::KEYS,
            of: |d: &mut Draft| &mut d.backend.spread,
        },
        &key(
            "check",
            CHECK,
            Is("\"tcp\""),
            "How they are checked.",
            |d: &mut Draft, v| {
                d.backend.check = v.value;
            },
        ),
        &key(
            "resolve",
            DURATION,
            Is("\"10s\""),
            "How often names of servers are looked up again; a name with several addresses is several servers.",
            |d: &mut Draft, v| {
                d.backend.resolve = v.value;
            },
        ),
        &key(
            "timeouts",
            OF_BACKEND,
            Else("all defaults"),
            "Time limits.",
            |d: &mut Draft, v| {
                d.backend.timeouts = v.value;
            },
        ),
        &key(
            "rehearse",
            REHEARSE,
            Else("itself"),
            "What plays it in a rehearsal.",
            |d: &mut Draft, v| {
                d.backend.rehearse = Some(v.value);
            },
        ),
        &key(
            "tls",
            BACKEND_TLS,
            Else("plain"),
            "Speak TLS to the servers; `true` is short for `{}`.",
            |d: &mut Draft, v| d.backend.tls = v.value,
        ),
        &key(
            "send-proxy",
            PROXY_VERSION,
            Else("none"),
            "Connections to the servers begin with a PROXY header that says who the client is.",
            |d: &mut Draft, v| d.backend.send_proxy = Some(v.value),
        ),
        &key(
            "fastcgi",
            FASTCGI,
            Else("they speak HTTP"),
            "The servers speak FastCGI; `true` is short for `{}`.",
            |d: &mut Draft, v| d.backend.fastcgi = v.value.or(d.backend.fastcgi.take()),
        ),
        &key(
            "uwsgi",
            UWSGI,
            Else("they speak HTTP"),
            "The servers speak uWSGI's protocol; `true` is short for `{}`.",
            |d: &mut Draft, v| d.backend.fastcgi = v.value.or(d.backend.fastcgi.take()),
        ),
        &key(
            "scgi",
            SCGI,
            Else("they speak HTTP"),
            "The servers speak SCGI; `true` is short for `{}`.",
            |d: &mut Draft, v| d.backend.fastcgi = v.value.or(d.backend.fastcgi.take()),
        ),
        &key(
            "source",
            Kind {
                text: "IP address",
                read: |reader, item| {
                    reader.parsed(item, "an address like \"10.0.0.5\"", |text| {
                        let ip = text.parse::<std::net::IpAddr>().ok();
                        let ip = ip.filter(|ip| !ip.is_unspecified());
                        ip.ok_or("this is no address of a machine")
                    })
                },
            },
            Else("what the system chooses"),
            "The address that connections to the servers come from, and no other: the machine must have it.",
            |d: &mut Draft, v| d.backend.source = Some(v.value),
        ),
    ],
};

#[derive(Default)]
pub(crate) struct ServerDraft {
    address: Option<Address>,
    name: Option<String>,
    weight: Option<u16>,
    backup: bool,
    max_connections: Option<u32>,
    stick_id: Option<String>,
}

pub(crate) static SERVER: Table<ServerDraft> = Table {
    heading: "servers = [{ ... }]",
    label: "a server",
    doc: "A server of a backend. `\"HOST:PORT\"` is short for `{ address = \"HOST:PORT\" }`.",
    keys: &[
        &key(
            "address",
            ADDRESS,
            Required,
            "Where it listens.",
            |d: &mut ServerDraft, v| {
                d.address = Some(v.value);
            },
        ),
        &key(
            "name",
            NAME,
            Else("its address"),
            "Its name.",
            |d: &mut ServerDraft, v| {
                d.name = Some(v.value);
            },
        ),
        &key(
            "weight",
            WEIGHT,
            Is("1"),
            "Its share of requests.",
            |d: &mut ServerDraft, v| {
                d.weight = Some(v.value);
            },
        ),
        &key(
            "backup",
            BOOL,
            Is("false"),
            "Used only when no other is up.",
            |d: &mut ServerDraft, v| {
                d.backup = v.value;
            },
        ),
        &key(
            "max-connections",
            CONNECTIONS,
            Else("no limit"),
            "How many requests it has in flight at most, from each node.",
            |d: &mut ServerDraft, v| {
                d.max_connections = Some(v.value);
            },
        ),
        &key(
            "stick-id",
            Kind {
                text: "text",
                read: |reader, item| {
                    reader.parsed(item, "a short text", |text| {
                        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_./:".contains(&b);
                        if text.bytes().all(good) {
                            Ok(text.to_owned())
                        } else {
                            Err("the id of a server is made of letters, digits and - _ . / :")
                        }
                    })
                },
            },
            Else("its name; what stands for that when it shows an address"),
            "What cookies that keep a client with it call it: a Tomcat's `jvmRoute`.",
            |d: &mut ServerDraft, v| {
                d.stick_id = Some(v.value);
            },
        ),
    ],
};

fn one(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<BackendServer> {
    let draft = match item.get_ref() {
        DeValue::Table(_) => SERVER.read_item(reader, item)?.draft,
        _ => ServerDraft {
            address: Some(server(reader, item)?),
            ..ServerDraft::default()
        },
    };
    let address = draft.address?;
    Some(BackendServer {
        name: draft.name.unwrap_or_else(|| address.to_string()),
        address,
        weight: draft.weight.unwrap_or(1),
        backup: draft.backup,
        max_connections: draft.max_connections,
        stick_id: draft.stick_id,
    })
}
