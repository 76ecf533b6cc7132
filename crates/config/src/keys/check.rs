//! `check`: how the servers of a service are checked.

use std::time::Duration;

use tandem_model::{Check, HttpCheck, Timing};
use toml::de::DeValue;

use crate::kinds::{COUNT, DURATION, STATUS, TEXT};
use crate::reader::Reader;
use crate::span::Item;
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

pub(crate) const CHECK: Kind<Check> = Kind {
    text: "\"tcp\", false or table of a check",
    read,
};

#[derive(Default)]
pub(crate) struct Draft {
    path: Option<String>,
    host: Option<String>,
    method: Option<String>,
    status: Option<u16>,
    every: Option<Duration>,
    fast: Option<Duration>,
    rise: Option<u32>,
    fall: Option<u32>,
    timeout: Option<Duration>,
}

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "check = { ... }",
    label: "`check`",
    doc: "With `path` a request is sent; without, a connection is opened. `check = \"tcp\"` is the default, `check = false` is no check.",
    keys: &[
        &key(
            "path",
            Kind {
                text: "path of a URL",
                read: |reader, item| {
                    reader.parsed(item, "a path like \"/alive\"", |text| {
                        if text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic()) {
                            Ok(text.to_owned())
                        } else {
                            Err("the path of a check begins with / and has no spaces")
                        }
                    })
                },
            },
            Else("a connection is opened"),
            "What is asked for.",
            |d: &mut Draft, v| d.path = Some(v.value),
        ),
        &key(
            "host",
            TEXT,
            Else("the server's address"),
            "The Host field of the request.",
            |d: &mut Draft, v| {
                d.host = Some(v.value);
            },
        ),
        &key(
            "method",
            METHOD,
            Is("\"GET\""),
            "The method of the request.",
            |d: &mut Draft, v| {
                d.method = Some(v.value);
            },
        ),
        &key(
            "status",
            STATUS,
            Else("any of 200 to 399"),
            "The expected status.",
            |d: &mut Draft, v| {
                d.status = Some(v.value);
            },
        ),
        &key(
            "every",
            DURATION,
            Is("\"2s\""),
            "Between two checks of a server whose state is settled.",
            |d: &mut Draft, v| d.every = Some(v.value),
        ),
        &key(
            "fast",
            DURATION,
            Else("200ms, or `every` if that is shorter"),
            "Between two checks while the state is changing.",
            |d: &mut Draft, v| d.fast = Some(v.value),
        ),
        &key(
            "rise",
            COUNT,
            Is("2"),
            "Good answers in a row until a server is up.",
            |d: &mut Draft, v| {
                d.rise = Some(v.value);
            },
        ),
        &key(
            "fall",
            COUNT,
            Is("3"),
            "Bad answers in a row until it is down.",
            |d: &mut Draft, v| {
                d.fall = Some(v.value);
            },
        ),
        &key(
            "timeout",
            DURATION,
            Else("as `every`"),
            "How long one check may take.",
            |d: &mut Draft, v| {
                d.timeout = Some(v.value);
            },
        ),
    ],
};

/// A method: a token in capitals, as all registered ones are.
pub(crate) const METHOD: Kind<String> = Kind {
    text: "method",
    read: method,
};

pub(crate) fn method(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    let text = reader.filled(item, "a method like \"GET\"")?;
    if text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
        return Some(text);
    }
    let hint = text
        .bytes()
        .all(|b| b.is_ascii_alphabetic())
        .then(|| format!("write \"{}\"", text.to_uppercase()));
    reader.wrong_hint(&item.span(), "a method is written in capitals", hint);
    None
}

/// The timing that follows from what was given: [`Timing::default`], and what depends on `every`.
pub(crate) fn timing(every: Option<Duration>) -> Timing {
    let settled = Timing::default();
    let every = every.unwrap_or(settled.every);
    Timing {
        every,
        fast: settled.fast.min(every),
        timeout: every,
        ..settled
    }
}

fn read(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Check> {
    match item.get_ref() {
        DeValue::Boolean(false) => return Some(Check::Off),
        DeValue::String(text) if text == "tcp" => return Some(Check::default()),
        DeValue::String(text) => {
            let hint = if text.starts_with('/') {
                Some(format!("write {{ path = {text:?} }}"))
            } else {
                did_you_mean(text, ["tcp"])
            };
            reader.wrong_hint(&item.span(), "a check is \"tcp\", false or a table", hint);
            return None;
        }
        DeValue::Table(_) => {}
        _ => {
            reader.expected(item, "\"tcp\", false or a table like { path = \"/alive\" }");
            return None;
        }
    }
    let section = KEYS.read_item(reader, item)?;
    if !section.has("path") {
        for key in ["host", "method", "status"] {
            if section.has(key) {
                reader.wrong(
                    &section.place(key),
                    format!("`{key}` of a check goes with a `path`"),
                );
            }
        }
    }
    let draft = section.draft;
    let mut timing = timing(draft.every);
    timing.fast = draft.fast.unwrap_or(timing.fast);
    timing.rise = draft.rise.unwrap_or(timing.rise);
    timing.fall = draft.fall.unwrap_or(timing.fall);
    timing.timeout = draft.timeout.unwrap_or(timing.timeout);
    Some(match draft.path {
        None => Check::Tcp(timing),
        Some(path) => {
            let request = HttpCheck {
                path,
                host: draft.host,
                method: draft.method.unwrap_or_else(|| "GET".into()),
                status: draft.status,
            };
            Check::Http(request, timing)
        }
    })
}
