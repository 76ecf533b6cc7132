//! `timeouts`: how long to wait.

use tandem_model::{RouteTimeouts, Timeouts};

use crate::kinds::DURATION;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

pub(crate) const TIMEOUTS: Kind<Timeouts> = Kind {
    text: "table of timeouts",
    read: |reader, item| Some(KEYS.read_item(reader, item)?.draft),
};

/// Those of a listener, and whether they say how long a connection may be idle: that depends on the mode.
pub(crate) const OF_LISTENER: Kind<(Timeouts, bool)> = Kind {
    text: TIMEOUTS.text,
    read: |reader, item| {
        let section = KEYS.read_item(reader, item)?;
        Some((section.draft, section.has("idle")))
    },
};

pub(crate) static KEYS: Table<Timeouts> = Table {
    heading: "timeouts = { ... }",
    label: "`timeouts`",
    doc: "Each is the longest time without progress, except where said.",
    keys: &[
        &key(
            "head",
            DURATION,
            Is("\"10s\""),
            "From a request's first byte to the end of its head, in all.",
            |t: &mut Timeouts, v| t.head = v.value,
        ),
        &key(
            "body",
            DURATION,
            Is("\"30s\""),
            "Between two pieces of a body, either way.",
            |t: &mut Timeouts, v| {
                t.body = v.value;
            },
        ),
        &key(
            "idle",
            DURATION,
            Else("`\"1m\"`; of a listener in TCP mode `\"10m\"`"),
            "Between two requests of a connection; in TCP mode and after an upgrade without a byte either way.",
            |t: &mut Timeouts, v| {
                t.idle = v.value;
            },
        ),
        &key(
            "connect",
            DURATION,
            Is("\"2s\""),
            "To open a connection to a server, in all.",
            |t: &mut Timeouts, v| {
                t.connect = v.value;
            },
        ),
        &key(
            "first-byte",
            DURATION,
            Is("\"1m\""),
            "From a request's end to the first byte of its answer.",
            |t: &mut Timeouts, v| t.first_byte = v.value,
        ),
    ],
};

pub(crate) const OF_ROUTE: Kind<RouteTimeouts> = Kind {
    text: TIMEOUTS.text,
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
    ],
};
