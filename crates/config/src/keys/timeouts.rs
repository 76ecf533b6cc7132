//! `timeouts`: how long to wait.

use tandem_model::Timeouts;

use crate::kinds::DURATION;
use crate::table::Need::Default as Is;
use crate::table::{Kind, Table, key};

pub(crate) const TIMEOUTS: Kind<Timeouts> = Kind {
    text: "table of timeouts",
    read: |reader, item| Some(KEYS.read_item(reader, item)?.draft),
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
            Is("\"1m\""),
            "Between two requests of a connection.",
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
