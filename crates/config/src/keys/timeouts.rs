//! `timeouts`: how long to wait.

use std::collections::BTreeMap;
use std::time::Duration;

use tandem_model::{RouteTimeouts, Timeouts};

use crate::kinds::DURATION;
use crate::span::Span;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Ready, Table, elsewhere, key};

/// Those of a listener, and where each is: what a listener needs depends on its mode.
pub(crate) const OF_LISTENER: Kind<(Timeouts, BTreeMap<String, Span>)> = Kind {
    text: TEXT,
    read: |reader, item| {
        let section = LISTENER.read_item(reader, item)?;
        Some((section.draft, section.present))
    },
};

/// Those of an application, and where each is.
pub(crate) const OF_APP: Kind<(Timeouts, BTreeMap<String, Span>)> = Kind {
    text: TEXT,
    read: |reader, item| {
        let section = APP.read_item(reader, item)?;
        Some((section.draft, section.present))
    },
};

pub(crate) const OF_BACKEND: Kind<Timeouts> = Kind {
    text: TEXT,
    read: |reader, item| Some(BACKEND.read_item(reader, item)?.draft),
};

const TEXT: &str = "table of timeouts";

const DOC: &str = "Each is the longest time without progress, except where said.";

const HEAD: Ready<Timeouts, Duration> = key(
    "head",
    DURATION,
    Is("\"10s\""),
    "From a request's first byte to the end of its head, in all; also a PROXY header and a TLS handshake.",
    |t: &mut Timeouts, v| t.head = v.value,
);

const BODY: Ready<Timeouts, Duration> = key(
    "body",
    DURATION,
    Is("\"30s\""),
    "Between two pieces of a body, either way.",
    |t: &mut Timeouts, v| t.body = v.value,
);

const CONNECT: Ready<Timeouts, Duration> = key(
    "connect",
    DURATION,
    Is("\"2s\""),
    "To open a connection to a server, in all.",
    |t: &mut Timeouts, v| t.connect = v.value,
);

const FIRST_BYTE: Ready<Timeouts, Duration> = key(
    "first-byte",
    DURATION,
    Is("\"1m\""),
    "From a request's end to the first byte of its answer.",
    |t: &mut Timeouts, v| t.first_byte = v.value,
);

const OF_SERVICES: &str = "it is of the service: [backend.NAME] or [app.NAME]; or of a route";
const OF_LISTENERS: &str = "it is of the listener: [listener.NAME] timeouts = { ... }";

pub(crate) static LISTENER: Table<Timeouts> = Table {
    heading: "[listener.NAME] timeouts = { ... }",
    label: "`timeouts`",
    doc: DOC,
    keys: &[
        &HEAD,
        &BODY,
        &key(
            "idle",
            DURATION,
            Else("`\"1m\"`; of a listener in TCP mode `\"10m\"`"),
            "Between two requests of a connection; in TCP mode and after an upgrade without a byte either way.",
            |t: &mut Timeouts, v| t.idle = v.value,
        ),
        &elsewhere(
            "connect",
            "a listener opens no connections to servers",
            OF_SERVICES,
        ),
        &elsewhere(
            "first-byte",
            "a listener does not wait for answers",
            OF_SERVICES,
        ),
    ],
};

pub(crate) static APP: Table<Timeouts> = Table {
    heading: "[app.NAME] timeouts = { ... }",
    label: "`timeouts`",
    doc: DOC,
    keys: &[
        &CONNECT,
        &FIRST_BYTE,
        &BODY,
        &key(
            "head",
            DURATION,
            Is("\"10s\""),
            "At its `port`, where other nodes come in: from a request's first byte to the end of its head, in all.",
            |t: &mut Timeouts, v| t.head = v.value,
        ),
        &key(
            "idle",
            DURATION,
            Is("\"1m\""),
            "At its `port`, where other nodes come in: between two requests of a connection.",
            |t: &mut Timeouts, v| t.idle = v.value,
        ),
    ],
};

pub(crate) static BACKEND: Table<Timeouts> = Table {
    heading: "[backend.NAME] timeouts = { ... }",
    label: "`timeouts`",
    doc: DOC,
    keys: &[
        &CONNECT,
        &FIRST_BYTE,
        &BODY,
        &elsewhere("head", "a backend reads no requests", OF_LISTENERS),
        &elsewhere("idle", "a backend keeps no clients", OF_LISTENERS),
    ],
};

pub(crate) const OF_ROUTE: Kind<RouteTimeouts> = Kind {
    text: TEXT,
    read: |reader, item| Some(ROUTE.read_item(reader, item)?.draft),
};

pub(crate) static ROUTE: Table<RouteTimeouts> = Table {
    heading: "route = [{ timeouts = { ... } }]",
    label: "`timeouts`",
    doc: "Time limits that a route says differently than the service it leads to.",
    keys: &[
        &key(
            "connect",
            DURATION,
            Else("as the service"),
            "To open a connection to a server, in all.",
            |t: &mut RouteTimeouts, v| t.connect = Some(v.value),
        ),
        &key(
            "first-byte",
            DURATION,
            Else("as the service"),
            "From a request's end to the first byte of its answer.",
            |t: &mut RouteTimeouts, v| t.first_byte = Some(v.value),
        ),
        &key(
            "body",
            DURATION,
            Else("as the service"),
            "Between two pieces of a body, either way.",
            |t: &mut RouteTimeouts, v| t.body = Some(v.value),
        ),
        &key(
            "queue",
            DURATION,
            Else("as the service's `queue`"),
            "In the queue, in all.",
            |t: &mut RouteTimeouts, v| t.queue = Some(v.value),
        ),
        &key(
            "idle",
            DURATION,
            Else("as the listener"),
            "After an upgrade (a WebSocket, say) and in TCP mode: without a byte either way.",
            |t: &mut RouteTimeouts, v| t.idle = Some(v.value),
        ),
        &elsewhere(
            "head",
            "which route a request takes is known when its head is read",
            OF_LISTENERS,
        ),
    ],
};
