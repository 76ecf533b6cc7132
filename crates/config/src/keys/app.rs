//! `[app.NAME]`: an application behind a gateway on each of its nodes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tandem_model::{Address, App, Check, Program, Spread, Timeouts};
use toml::de::DeValue;

use crate::keys::check::NODE_CHECK;
use crate::keys::fastcgi::{FASTCGI, SCGI, UWSGI};
use crate::keys::rehearse::{COMMAND, REHEARSE};
use crate::keys::spread;
use crate::keys::timeouts::OF_APP;
use crate::kinds::{
    ADDRESS, CONNECTIONS, COUNT_OR_NONE, DURATION, MAP, NAME, NODES, PATH, PORT, PROXY_VERSION,
    weight,
};
use crate::reader::Reader;
use crate::span::{At, Item, Span};
use crate::table::Need::{Default as Is, Else, WithNodes};
use crate::table::{Kind, Part, Table, in_order, key};

/// From SIGTERM to SIGKILL.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Keys that say how `run` runs.
pub(crate) const OF_RUN: [&str; 5] = ["dir", "env", "user", "instances", "stop-timeout"];

pub(crate) struct Draft {
    pub app: App,
    pub on: Option<Vec<At<String>>>,
    pub weight: Vec<(At<String>, u16)>,
    proxy: Option<Address>,
    run: Option<Vec<String>>,
    dir: Option<PathBuf>,
    env: BTreeMap<String, String>,
    user: Option<String>,
    pub instances: u16,
    stop_timeout: Duration,
    /// Where each of its time limits is.
    pub timeouts_at: BTreeMap<String, Span>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            app: App {
                name: String::new(),
                on: Vec::new(),
                port: None,
                program: Program::Proxy(Address::tcp("", 0)),
                weight: BTreeMap::new(),
                spread: Spread::default(),
                max_connections: None,
                check: Check::default(),
                send_proxy: None,
                fastcgi: None,
                timeouts: Timeouts::default(),
                rehearse: None,
            },
            on: None,
            weight: Vec::new(),
            proxy: None,
            run: None,
            dir: None,
            env: BTreeMap::new(),
            user: None,
            instances: 1,
            stop_timeout: STOP_TIMEOUT,
            timeouts_at: BTreeMap::new(),
        }
    }
}

impl Draft {
    /// The user that its program runs as, if it says one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// What it runs as; `None` when neither `proxy` nor `run` could be read.
    pub fn program(&self) -> Option<Program> {
        let run = self.run.as_ref().map(|command| Program::Run {
            command: command.clone(),
            dir: self.dir.clone(),
            env: self.env.clone(),
            user: self.user.clone(),
            instances: self.instances,
            stop_timeout: self.stop_timeout,
        });
        run.or_else(|| self.proxy.clone().map(Program::Proxy))
    }
}

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "[app.NAME]",
    label: "",
    doc: "An application, behind a gateway on each of its nodes. It has either `proxy` or `run`. `run`, `env` and `rehearse.run` may write `{port}`, `{host}`, `{node}`, `{instance}` and `{sessions}`; the program finds the same in `PORT`, `HOST`, `TANDEM_NODE`, `TANDEM_INSTANCE` and `TANDEM_SESSIONS`. If the cluster has a key, `TANDEM_SESSION_KEY` is one made from it, for applications that seal their sessions.",
    keys: &[
        &key(
            "on",
            NODES,
            WithNodes,
            "The nodes it is on.",
            |d: &mut Draft, v| d.on = Some(v.value),
        ),
        &key(
            "port",
            PORT,
            Else("only listeners of its own nodes reach it"),
            "Where its gateways listen for listeners on other nodes.",
            |d: &mut Draft, v| d.app.port = Some(v.value),
        ),
        &key(
            "proxy",
            ADDRESS,
            Else("`run` is given"),
            "It runs already, there: `\"127.0.0.1:8080\"` or `\"unix:/run/app.sock\"`.",
            |d: &mut Draft, v| d.proxy = Some(v.value),
        ),
        &key(
            "run",
            COMMAND,
            Else("`proxy` is given"),
            "Tandem starts it, watches it and restarts it: program and arguments. It stays in the foreground.",
            |d: &mut Draft, v| d.run = Some(v.value),
        ),
        &key(
            "dir",
            PATH,
            Else("the directory of the cluster file"),
            "Where `run` starts.",
            |d: &mut Draft, v| {
                d.dir = Some(v.value);
            },
        ),
        &key(
            "env",
            MAP,
            Else("nothing more"),
            "More environment for `run`.",
            |d: &mut Draft, v| d.env = v.value,
        ),
        &key(
            "user",
            NAME,
            Else("the node's"),
            "The user `run` runs as.",
            |d: &mut Draft, v| {
                d.user = Some(v.value);
            },
        ),
        &key(
            "instances",
            COUNT_OR_NONE,
            Is("1"),
            "How many of `run` on each node.",
            |d: &mut Draft, v| {
                d.instances = v.value as u16;
            },
        ),
        &key(
            "stop-timeout",
            DURATION,
            Is("\"10s\""),
            "From SIGTERM to SIGKILL, for `run`.",
            |d: &mut Draft, v| {
                d.stop_timeout = v.value;
            },
        ),
        &key(
            "weight",
            Kind {
                text: "table of numbers by node",
                read: weights,
            },
            Else("1 for each"),
            "Requests per node, relative to the others, 0 to 256: `{ app1 = 3 }`.",
            |d: &mut Draft, v| d.weight = v.value,
        ),
        &Part {
            table: &spread::KEYS,
            of: |d: &mut Draft| &mut d.app.spread,
        },
        &key(
            "max-connections",
            CONNECTIONS,
            Else("no limit"),
            "How many requests each of its instances has in flight at most.",
            |d: &mut Draft, v| {
                d.app.max_connections = Some(v.value);
            },
        ),
        &key(
            "check",
            NODE_CHECK,
            Is("\"tcp\""),
            "How listeners check the gateways, and gateways the program. After a reload a new program takes over when it has passed once.",
            |d: &mut Draft, v| d.app.check = v.value,
        ),
        &key(
            "send-proxy",
            PROXY_VERSION,
            Else("none"),
            "Connections from the gateways to the program begin with a PROXY header that says who the client is.",
            |d: &mut Draft, v| d.app.send_proxy = Some(v.value),
        ),
        &key(
            "fastcgi",
            FASTCGI,
            Else("it speaks HTTP"),
            "The program speaks FastCGI; `true` is short for `{}`.",
            |d: &mut Draft, v| d.app.fastcgi = v.value.or(d.app.fastcgi.take()),
        ),
        &key(
            "uwsgi",
            UWSGI,
            Else("it speaks HTTP"),
            "The program speaks uWSGI's protocol; `true` is short for `{}`.",
            |d: &mut Draft, v| d.app.fastcgi = v.value.or(d.app.fastcgi.take()),
        ),
        &key(
            "scgi",
            SCGI,
            Else("it speaks HTTP"),
            "The program speaks SCGI; `true` is short for `{}`.",
            |d: &mut Draft, v| d.app.fastcgi = v.value.or(d.app.fastcgi.take()),
        ),
        &key(
            "timeouts",
            OF_APP,
            Else("all defaults"),
            "Time limits.",
            |d: &mut Draft, v| (d.app.timeouts, d.timeouts_at) = v.value,
        ),
        &key(
            "rehearse",
            REHEARSE,
            Else("`run` itself; a stand-in for `proxy`"),
            "What plays it in a rehearsal.",
            |d: &mut Draft, v| d.app.rehearse = Some(v.value),
        ),
    ],
};

fn weights(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Vec<(At<String>, u16)>> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.expected(item, "a table like { app1 = 3 }");
        return None;
    };
    let entries = in_order(table);
    Some(
        entries
            .into_iter()
            .filter_map(|(name, item)| {
                let weight = weight(reader, item)?;
                Some((At::new(name.value.to_owned(), name.span), weight))
            })
            .collect(),
    )
}
