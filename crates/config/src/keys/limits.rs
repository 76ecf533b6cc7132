//! `limits` of a listener, and of a route: how much clients may ask for.

use std::collections::BTreeMap;

use tandem_model::{Beyond, BodyLimit, Counts, Limits, Rate, Size};
use toml::de::DeValue;

use crate::keys::auth::RATE;
use crate::kinds::CONNECTIONS;
use crate::reader::Reader;
use crate::span::{Item, Span};
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

/// Those of a listener, and where each is: what makes sense depends on its mode.
pub(crate) const LIMITS: Kind<(Limits, BTreeMap<String, Span>)> = Kind {
    text: "table of limits",
    read: |reader, item| {
        let section = KEYS.read_item(reader, item)?;
        let limits = section.draft;
        if limits.beyond == Beyond::Wait && limits.connections.is_none() {
            let message =
                "`beyond = \"wait\"` needs `connections`: how many there may be before others wait";
            reader.wrong(&item.span(), message);
        }
        Some((limits, section.present))
    },
};

const BEYOND: Kind<Beyond> = Kind {
    text: "`\"refuse\"` or `\"wait\"`",
    read: |reader, item| reader.one_of(item, &[("refuse", Beyond::Refuse), ("wait", Beyond::Wait)]),
};

const CONNECTS: Kind<Rate> = Kind {
    text: "rate",
    read: |reader, item| {
        let rate = (RATE.read)(reader, item)?;
        if rate.counts == Counts::Errors {
            let message = "connections have no errors: `counts` is of routes";
            reader.wrong(&item.span(), message);
            return None;
        }
        Some(rate)
    },
};

pub(crate) static KEYS: Table<Limits> = Table {
    heading: "limits = { ... }",
    label: "`limits`",
    doc: "How much a client may ask for. Who asks for more is told so by the status.",
    keys: &[
        &key(
            "connections",
            CONNECTIONS,
            Else("as many as the node can hold"),
            "Connections at once, on each node. What becomes of others says `beyond`.",
            |l: &mut Limits, v| l.connections = Some(v.value),
        ),
        &key(
            "beyond",
            BEYOND,
            Is("\"refuse\""),
            "What becomes of connections beyond `connections`: they are answered 503, in TCP mode closed (`\"refuse\"`), or stay in the kernel's \
             queue until another one ends (`\"wait\"`); one that is kept and idle then ends early.",
            |l: &mut Limits, v| l.beyond = v.value,
        ),
        &key(
            "per-source",
            CONNECTIONS,
            Else("no limit"),
            "Connections of one address at once (of IPv6: of one /64), on each node; nodes and those in `trust` are not \
             counted. Others are answered 429; in TCP mode they are closed.",
            |l: &mut Limits, v| l.per_source = Some(v.value),
        ),
        &key(
            "per-source-rate",
            CONNECTS,
            Else("no limit"),
            "How often one address may connect (of IPv6: one /64), to each node: `\"20/s\"`, `{ limit = \"100/m\", burst = 20 }`; nodes and those in \
             `trust` are not counted. Others are answered 429; in TCP mode they are closed.",
            |l: &mut Limits, v| l.per_source_rate = Some(v.value),
        ),
        &key(
            "head",
            Kind {
                text: "size from 1 KiB to 64 KiB",
                read: |reader, item| size(reader, item, 1024..=64 * 1024),
            },
            Is("\"16 KiB\""),
            "A request's head. A larger one is answered 431.",
            |l: &mut Limits, v| l.head = v.value,
        ),
        &key(
            "fields",
            Kind {
                text: "number from 10 to 250",
                read: |reader, item| {
                    let what = "a number of fields";
                    Some(reader.integer(item, 10..=250, what)? as u16)
                },
            },
            Is("100"),
            "Fields of a request's head. More are answered 431.",
            |l: &mut Limits, v| l.fields = v.value,
        ),
        &key(
            "uri",
            Kind {
                text: "size from 64 B to 64 KiB",
                read: |reader, item| size(reader, item, 64..=64 * 1024),
            },
            Is("\"8 KiB\""),
            "A request's target. A longer one is answered 414.",
            |l: &mut Limits, v| l.uri = v.value,
        ),
        &key(
            "body",
            crate::kinds::SIZE,
            Else("no limit"),
            "A request's body. A larger one is answered 413.",
            |l: &mut Limits, v| l.body = Some(v.value),
        ),
        &key(
            "streams",
            Kind {
                text: "number from 1 to 1000",
                read: |reader, item| {
                    let what = "a number of streams";
                    Some(reader.integer(item, 1..=1_000, what)? as u16)
                },
            },
            Is("100"),
            "Requests of one HTTP/2 connection at once. Others are refused, to be sent again.",
            |l: &mut Limits, v| l.streams = v.value,
        ),
    ],
};

/// `limits` of a route.
pub(crate) const OF_ROUTE: Kind<RouteLimits> = Kind {
    text: LIMITS.text,
    read: |reader, item| Some(ROUTE.read_item(reader, item)?.draft),
};

/// What a route takes.
#[derive(Default)]
pub(crate) struct RouteLimits {
    pub body: Option<BodyLimit>,
    pub per_source: Option<u32>,
}

pub(crate) static ROUTE: Table<RouteLimits> = Table {
    heading: "route = [{ limits = { ... } }]",
    label: "`limits`",
    doc: "What a route takes. `body` takes the place of what its listener says, more or less; that of a group holds for each of its routes that does not say otherwise.",
    keys: &[
        &key(
            "body",
            Kind {
                text: "size, or false",
                read: |reader, item| match item.get_ref() {
                    DeValue::Boolean(false) => Some(BodyLimit::Unlimited),
                    _ => (crate::kinds::SIZE.read)(reader, item).map(BodyLimit::Most),
                },
            },
            Else("as the listener"),
            "A request's body; `false` is no limit. A larger one is answered 413.",
            |l: &mut RouteLimits, v| l.body = Some(v.value),
        ),
        &key(
            "per-source",
            CONNECTIONS,
            Else("no limit"),
            "Requests of one address at once (of IPv6: of one /64), on each node. Others are answered 429. That of a group is one for all its routes, and holds beside their own.",
            |l: &mut RouteLimits, v| l.per_source = Some(v.value),
        ),
    ],
};

fn size(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    range: std::ops::RangeInclusive<u64>,
) -> Option<Size> {
    let size = (crate::kinds::SIZE.read)(reader, item)?;
    if range.contains(&size.0) {
        return Some(size);
    }
    let (least, most) = (Size(*range.start()), Size(*range.end()));
    reader.wrong(&item.span(), format!("this is from {least} to {most}"));
    None
}
