//! `[cluster]`: what holds for all machines.

use std::path::PathBuf;

use tandem_model::cluster::CLUSTER_PORT;
use tandem_model::{AccessFormat, Address, Admin, Cluster, LogFormat, LogLevel, LogTo, Secret};
use toml::de::DeValue;

use crate::keys::access_log::FORMAT;
use crate::kinds::{NAME, PATH, PORT, WORKERS, address};
use crate::reader::Reader;
use crate::span::{At, Item};
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

/// Fewer characters are guessed in no time by whoever has seen one cookie that was signed, or one greeting between nodes.
const SHORTEST_KEY: usize = 8;

/// What is said of a key of fewer.
pub(crate) const TOO_SHORT: &str = "a key has 8 characters at least: `tandem key` makes one of 64";

pub(crate) fn is_key(text: &str) -> bool {
    text.chars().count() >= SHORTEST_KEY
}

/// The cluster without its nodes, listeners, services and sessions.
pub(crate) struct Draft {
    pub cluster: Cluster,
    pub key_file: Option<At<PathBuf>>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            cluster: Cluster {
                name: "tandem".into(),
                key: None,
                port: CLUSTER_PORT,
                state: PathBuf::from("/var/lib/tandem"),
                user: None,
                group: None,
                workers: None,
                admin: Admin::At(Address::tcp("127.0.0.1", 8404)),
                admin_token: None,
                log: LogTo::Stderr,
                log_format: LogFormat::Text,
                log_level: LogLevel::Info,
                access_format: AccessFormat::default(),
                nodes: Vec::new(),
                listeners: Vec::new(),
                services: Vec::new(),
                sessions: None,
            },
            key_file: None,
        }
    }
}

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "[cluster]",
    label: "",
    doc: "What holds for all machines.",
    keys: &[
        &key(
            "name",
            NAME,
            Is("\"tandem\""),
            "Its name, for pages and logs.",
            |d: &mut Draft, v| {
                d.cluster.name = v.value;
            },
        ),
        &key(
            "key",
            Kind {
                text: "text",
                read: |reader, item| {
                    reader.parsed(item, "a key", |text| {
                        if is_key(text) {
                            Ok(Secret::new(text))
                        } else {
                            Err(TOO_SHORT)
                        }
                    })
                },
            },
            Else("needed when there are several nodes"),
            "What the nodes prove to one another, 8 characters at least. `tandem key` makes one; keep it out of the file with `\"${TANDEM_KEY}\"`.",
            |d: &mut Draft, v| d.cluster.key = Some(v.value),
        ),
        &key(
            "key-file",
            PATH,
            Else("`key` is used"),
            "A file that holds the key, read when the cluster file is loaded.",
            |d: &mut Draft, v| d.key_file = Some(v),
        ),
        &key(
            "port",
            PORT,
            Is("7411"),
            "Where nodes talk to one another.",
            |d: &mut Draft, v| {
                d.cluster.port = v.value;
            },
        ),
        &key(
            "state",
            PATH,
            Is("\"/var/lib/tandem\""),
            "Where nodes keep what must survive a restart; each in a directory of its own name.",
            |d: &mut Draft, v| d.cluster.state = v.value,
        ),
        &key(
            "user",
            NAME,
            Else("it stays who it is"),
            "The user a node becomes after binding.",
            |d: &mut Draft, v| {
                d.cluster.user = Some(v.value);
            },
        ),
        &key(
            "group",
            NAME,
            Else("the user's"),
            "The group a node becomes after binding.",
            |d: &mut Draft, v| {
                d.cluster.group = Some(v.value);
            },
        ),
        &key(
            "workers",
            WORKERS,
            Else("one for each core"),
            "Workers of a node.",
            |d: &mut Draft, v| {
                d.cluster.workers = Some(v.value);
            },
        ),
        &key(
            "admin",
            Kind {
                text: "address, or false",
                read: admin,
            },
            Is("\"127.0.0.1:8404\""),
            "Where each node serves its admin pages; `\":8404\"` is every address of its machine, `\"unix:/path\"` a socket for the node's user and root alone, `false` nowhere. Where others can reach it, it needs `admin-token`.",
            |d: &mut Draft, v| d.cluster.admin = v.value,
        ),
        &key(
            "admin-token",
            Kind {
                text: "text",
                read: |reader, item| reader.filled(item, "a token").map(Secret::new),
            },
            Else("needed when `admin` is no address of the machine alone"),
            "What callers of the admin pages must know: `Authorization: Bearer TOKEN`. Keep it out of the file: `\"${TANDEM_ADMIN_TOKEN}\"`.",
            |d: &mut Draft, v| d.cluster.admin_token = Some(v.value),
        ),
        &key(
            "log",
            Kind {
                text: "\"stderr\" or path",
                read: log,
            },
            Is("\"stderr\""),
            "Where a node's log goes; `{node}` in a path is the node's name.",
            |d: &mut Draft, v| d.cluster.log = v.value,
        ),
        &key(
            "log-format",
            Kind {
                text: "\"text\" or \"json\"",
                read: |reader, item| {
                    reader.one_of(
                        item,
                        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                    )
                },
            },
            Is("\"text\""),
            "Lines for people, or a JSON object a line.",
            |d: &mut Draft, v| d.cluster.log_format = v.value,
        ),
        &key(
            "log-level",
            Kind {
                text: "\"debug\", \"info\", \"warning\" or \"error\"",
                read: |reader, item| {
                    reader.one_of(item, &LogLevel::ALL.map(|level| (level.name(), level)))
                },
            },
            Is("\"info\""),
            "The least severity that the log has; `tandem log-level` changes it while a node runs.",
            |d: &mut Draft, v| d.cluster.log_level = v.value,
        ),
        &key(
            "access-format",
            FORMAT,
            Is("\"combined\""),
            "The lines of access logs that do not say otherwise, those of the doors of services among them; see `log` of a listener.",
            |d: &mut Draft, v| d.cluster.access_format = v.value,
        ),
    ],
};

fn admin(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Admin> {
    match item.get_ref() {
        DeValue::Boolean(false) => Some(Admin::Off),
        DeValue::String(_) => match address(reader, item, "127.0.0.1")? {
            Address::Tcp { port: 0, .. } => {
                reader.wrong(&item.span(), "the port of the admin pages is not 0");
                None
            }
            address => Some(Admin::At(address)),
        },
        _ => {
            reader.expected(item, "an address like \"127.0.0.1:8404\", or false");
            None
        }
    }
}

fn log(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<LogTo> {
    let text = reader.filled(item, "\"stderr\" or a path")?;
    Some(if text == "stderr" {
        LogTo::Stderr
    } else {
        LogTo::File(reader.base.join(text).to_string_lossy().into_owned())
    })
}
