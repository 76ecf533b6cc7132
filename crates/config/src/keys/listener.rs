//! `[listener.NAME]`: where requests come in.

use std::collections::BTreeMap;

use tandem_model::{Address, Errors, Limits, Listener, Mode, Timeouts};

use crate::keys::access_log::LOG;
use crate::keys::errors::ERRORS;
use crate::keys::limits::LIMITS;
use crate::keys::maintenance::MAINTENANCE;
use crate::keys::route::{self, ROUTES};
use crate::keys::timeouts;
use crate::keys::tls::TLS;
use crate::kinds::{BIND, BOOL, NAME, NETS, NODES};
use crate::reader::Reader;
use crate::span::{At, Item, Span};
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else, Required, WithNodes};
use crate::table::{Kind, Table, key};

/// The access log of a listener that does not say otherwise.
pub(crate) const ACCESS_LOG: &str = "access.log";

pub(crate) struct Draft {
    pub listener: Listener,
    pub on: Option<Vec<At<String>>>,
    pub bind: Vec<At<Address>>,
    pub routes: Vec<route::Draft>,
    /// Where connections go, in TCP mode.
    pub to: Option<At<String>>,
    /// Where each of its time limits is.
    pub timeouts_at: BTreeMap<String, Span>,
    /// Where each of its limits is.
    pub limits_at: BTreeMap<String, Span>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            listener: Listener {
                name: String::new(),
                on: Vec::new(),
                bind: Vec::new(),
                mode: Mode::default(),
                tls: None,
                http2: None,
                limits: Limits::default(),
                proxy_protocol: false,
                trust: Vec::new(),
                routes: Vec::new(),
                errors: Errors::new(),
                maintenance: None,
                timeouts: Timeouts::default(),
                log: Some(ACCESS_LOG.into()),
                log_format: None,
                request_id: true,
            },
            on: None,
            bind: Vec::new(),
            routes: Vec::new(),
            to: None,
            timeouts_at: BTreeMap::new(),
            limits_at: BTreeMap::new(),
        }
    }
}

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "[listener.NAME]",
    label: "",
    doc: "Where requests come in, and where they go.",
    keys: &[
        &key(
            "on",
            NODES,
            WithNodes,
            "The nodes it is on.",
            |d: &mut Draft, v| d.on = Some(v.value),
        ),
        &key(
            "bind",
            BIND,
            Required,
            "Its addresses on each of them: `\":80\"`, `\"192.168.0.10:80\"`, `\"[::1]:80\"`, `\"unix:/run/web.sock\"`.",
            |d: &mut Draft, v| d.bind = v.value,
        ),
        &key(
            "mode",
            Kind {
                text: "\"http\" or \"tcp\"",
                read: mode,
            },
            Is("\"http\""),
            "What it speaks. With `tcp` connections are passed on as they are; its routes have no conditions but `sni` and `source`, and lead to backends.",
            |d: &mut Draft, v| d.listener.mode = v.value,
        ),
        &key(
            "trust",
            NETS,
            Else("no one but the nodes"),
            "Peers, besides the nodes of the file, whose word on the client's address is taken.",
            |d: &mut Draft, v| d.listener.trust = v.value,
        ),
        &key(
            "route",
            ROUTES,
            Else("required; with `mode = \"tcp\"` it may be `to`"),
            "Where requests go: the first that matches decides.",
            |d: &mut Draft, v| {
                d.routes = v.value;
            },
        ),
        &key(
            "timeouts",
            timeouts::OF_LISTENER,
            Else("all defaults"),
            "Time limits.",
            |d: &mut Draft, v| (d.listener.timeouts, d.timeouts_at) = v.value,
        ),
        &key(
            "log",
            LOG,
            Is("true"),
            "The access log: its path, relative to the node's state directory, or a table; `true` is `\"access.log\"`; `{node}` is the node's name.",
            |d: &mut Draft, v| {
                d.listener.log = v.value.file();
                d.listener.log_format = v.value.format;
            },
        ),
        &key(
            "request-id",
            BOOL,
            Is("true"),
            "Each request gets an id, unless a node or a peer in `trust` has given it one: servers get it as `X-Request-Id`, access logs have it.",
            |d: &mut Draft, v| d.listener.request_id = v.value,
        ),
        &key(
            "tls",
            TLS,
            Else("plain"),
            "Certificates, so that it speaks TLS; a list is short for `{ certs = [...] }`.",
            |d: &mut Draft, v| d.listener.tls = Some(v.value),
        ),
        &key(
            "http2",
            BOOL,
            Else("true with `tls`, false without"),
            "Speak HTTP/2 too: with `tls` to clients that choose it in the handshake, without to those that begin with it.",
            |d: &mut Draft, v| d.listener.http2 = Some(v.value),
        ),
        &key(
            "proxy-protocol",
            BOOL,
            Is("false"),
            "Connections begin with a PROXY header (version 1 or 2); only nodes and those in `trust` may open them.",
            |d: &mut Draft, v| d.listener.proxy_protocol = v.value,
        ),
        &key(
            "to",
            NAME,
            Else("`route` says"),
            "The backend that all connections go to, with `mode = \"tcp\"`.",
            |d: &mut Draft, v| d.to = Some(v),
        ),
        &key(
            "limits",
            LIMITS,
            Else("all defaults"),
            "How much a client may ask for.",
            |d: &mut Draft, v| (d.listener.limits, d.limits_at) = v.value,
        ),
        &key(
            "errors",
            ERRORS,
            Else("a line of text each"),
            "Pages of errors: `{ 404 = \"404.html\", 5xx = \"sorry.html\" }`.",
            |d: &mut Draft, v| d.listener.errors = v.value,
        ),
        &key(
            "maintenance",
            MAINTENANCE,
            Else("off, and a line of text"),
            "What is answered while works go on.",
            |d: &mut Draft, v| d.listener.maintenance = Some(v.value),
        ),
    ],
};

fn mode(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Mode> {
    match reader.filled(item, "\"http\" or \"tcp\"")?.as_str() {
        "http" => Some(Mode::Http),
        "tcp" => Some(Mode::Tcp),
        other => {
            let hint = did_you_mean(other, ["http", "tcp"]);
            reader.wrong_hint(&item.span(), "the mode is \"http\" or \"tcp\"", hint);
            None
        }
    }
}
