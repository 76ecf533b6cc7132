//! `retry` and `queue`: what happens to a request that failed, and to one that has to wait.

use std::time::Duration;

use tandem_model::{Queue, Retry};
use toml::de::DeValue;

use crate::kinds::{COUNT_OR_NONE, DURATION};
use crate::reader::Reader;
use crate::span::{Item, values};
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

pub(crate) const RETRY: Kind<Retry> = Kind {
    text: "number, or table",
    read: |reader, item| match item.get_ref() {
        DeValue::Table(_) => {
            let section = KEYS.read_item(reader, item)?;
            for key in ["budget", "on"] {
                if section.draft.tries == 0 && section.has(key) {
                    let message =
                        format!("with `tries = 0` nothing is tried again: `{key}` does nothing");
                    reader.wrong(&section.place(key), message);
                }
            }
            Some(section.draft)
        }
        _ => Some(Retry {
            tries: (COUNT_OR_NONE.read)(reader, item)?,
            ..Retry::default()
        }),
    },
};

pub(crate) static KEYS: Table<Retry> = Table {
    heading: "retry = { ... }",
    label: "`retry`",
    doc: "`retry = 2` is short for `retry = { tries = 2 }`. A request is tried again when nothing of it was sent; or when it was sent, no byte of an answer came, and its method may be repeated (GET, HEAD, OPTIONS, PUT, DELETE, TRACE).",
    keys: &[
        &key(
            "tries",
            COUNT_OR_NONE,
            Is("3"),
            "Tries after the first for one request.",
            |r: &mut Retry, v| r.tries = v.value,
        ),
        &key(
            "timeout",
            DURATION,
            Else("as `timeouts` says"),
            "How long one try may take to connect, and then to the first byte of an answer.",
            |r: &mut Retry, v| r.timeout = Some(v.value),
        ),
        &key(
            "budget",
            Kind {
                text: "percentage",
                read: percentage,
            },
            Else("no limit"),
            "Retries in percent of the requests of the last 10 to 20 seconds, at most, and 10 besides: `\"20%\"`.",
            |r: &mut Retry, v| r.budget = Some(v.value),
        ),
        &key(
            "on",
            Kind {
                text: "list of status codes",
                read: |reader, item| Some(values(&reader.list(item, failure))),
            },
            Else("answers are passed on"),
            "Answers with these statuses are tried again as if there were none, for methods that may be repeated.",
            |r: &mut Retry, v| r.on = v.value,
        ),
    ],
};

fn percentage(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<u32> {
    reader.parsed(item, "a percentage like \"20%\"", |text| {
        let number = text.strip_suffix('%').map(str::trim_end);
        number
            .and_then(|number| number.parse().ok())
            .filter(|&number: &u32| number <= 1_000)
            .ok_or("a budget is a percentage like \"20%\", 1000% at most")
    })
}

fn failure(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<u16> {
    Some(reader.integer(item, 400..=599, "the status code of a failure")? as u16)
}

pub(crate) const QUEUE: Kind<Queue> = Kind {
    text: "table, or false",
    read: |reader, item| match item.get_ref() {
        DeValue::Boolean(false) => Some(Queue {
            max: 0,
            ..Queue::default()
        }),
        DeValue::Table(_) => Some(QUEUE_KEYS.read_item(reader, item)?.draft),
        _ => {
            reader.expected(
                item,
                "a table like { max = 100, timeout = \"5s\" }, or false",
            );
            None
        }
    },
};

pub(crate) static QUEUE_KEYS: Table<Queue> = Table {
    heading: "queue = { ... }",
    label: "`queue`",
    doc: "Where requests wait, first come first served, while all servers have as many as their `max-connections`. `queue = false` is none: they are answered 503 at once.",
    keys: &[
        &key(
            "max",
            Kind {
                text: "number",
                read: |reader, item| {
                    Some(reader.integer(item, 0..=1_000_000, "a number of requests")? as u32)
                },
            },
            Is("1000"),
            "How many wait at most; one more is answered 503 at once.",
            |q: &mut Queue, v| q.max = v.value,
        ),
        &key(
            "timeout",
            DURATION,
            Is("\"5s\""),
            "How long one waits at most; then it is answered 503.",
            |q: &mut Queue, v: crate::span::At<Duration>| q.timeout = v.value,
        ),
    ],
};
