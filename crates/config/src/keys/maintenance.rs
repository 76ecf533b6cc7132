//! `maintenance`: what a listener answers with while works go on.

use tandem_model::Maintenance;

use crate::kinds::{BOOL, NETS, PATH};
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

pub(crate) const MAINTENANCE: Kind<Maintenance> = Kind {
    text: "table",
    read: |reader, item| Some(KEYS.read_item(reader, item)?.draft),
};

pub(crate) static KEYS: Table<Maintenance> = Table {
    heading: "maintenance = { ... }",
    label: "`maintenance`",
    doc: "While works go on, everyone is answered 503 with a page. It is on when the file says so, and can be put on and off at run time.",
    keys: &[
        &key(
            "page",
            PATH,
            Else("a line of text"),
            "The page, as it was at the start or the last reload; 4 MiB at most.",
            |m: &mut Maintenance, v| m.page = Some(v.value),
        ),
        &key(
            "allow",
            NETS,
            Else("nobody"),
            "Clients that are served nevertheless.",
            |m: &mut Maintenance, v| m.allow = v.value,
        ),
        &key(
            "active",
            BOOL,
            Is("false"),
            "Whether it is on.",
            |m: &mut Maintenance, v| m.active = v.value,
        ),
    ],
};
