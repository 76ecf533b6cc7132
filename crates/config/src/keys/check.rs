//! `check`: how the servers of a service are checked.

use std::ops::RangeInclusive;
use std::time::Duration;

use tandem_model::{Check, Expected, HttpCheck, Sent, Timing, Turn};
use toml::de::DeValue;

use crate::kinds::{BOOL, COUNT, COUNT_OR_NONE, DURATION, PORT, TEXT};
use crate::reader::Reader;
use crate::span::{Item, values};
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

pub(crate) const CHECK: Kind<Check> = Kind {
    text: "\"tcp\", \"tls\", false or table of a check",
    read,
};

/// That of what nodes serve.
pub(crate) const NODE_CHECK: Kind<Check> = Kind {
    text: "\"tcp\", \"tls\", false or table of a check",
    read: |reader, item| {
        let check = read(reader, item)?;
        let message = match &check {
            Check::Talk(..) => {
                "what nodes serve is HTTP, and checked by a `path`: `send` and `expect` are for backends"
            }
            Check::Http(http, _) if http.tls => {
                "what nodes serve is checked as it is served: `tls` with a `path` is for backends"
            }
            _ if check.timing().is_some_and(|timing| timing.port.is_some()) => {
                "what nodes serve is checked where it is served: `port` is for backends"
            }
            Check::Http(http, _) if http.path == WHOLE => {
                "what nodes serve is checked by a `path`: `*` is for backends"
            }
            _ => return Some(check),
        };
        reader.wrong(&item.span(), message);
        Some(check)
    },
};

/// What `OPTIONS` asks of a server as a whole (RFC 9112 section 3.2.4).
const WHOLE: &str = "*";

#[derive(Default)]
pub(crate) struct Draft {
    path: Option<String>,
    host: Option<String>,
    method: Option<String>,
    status: Vec<RangeInclusive<u16>>,
    contains: Option<Expected>,
    lacks: Option<Expected>,
    turn: Turn,
    talk: Vec<Turn>,
    tls: bool,
    port: Option<u16>,
    every: Option<Duration>,
    fast: Option<Duration>,
    rise: Option<u32>,
    fall: Option<u32>,
    timeout: Option<Duration>,
    errors: u32,
}

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "check = { ... }",
    label: "`check`",
    doc: "With `path` a request is sent; without, a connection is opened. `check = \"tcp\"` is the default, `check = \"tls\"` is short for `check = { tls = true }`, `check = false` is no check. A backend with `tls` is checked over TLS.",
    keys: &[
        &key(
            "path",
            Kind {
                text: "path of a URL",
                read: |reader, item| {
                    reader.parsed(item, "a path like \"/alive\"", |text| {
                        let is_path =
                            text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic());
                        if is_path || text == WHOLE {
                            Ok(text.to_owned())
                        } else {
                            Err("the path of a check begins with / and has no spaces")
                        }
                    })
                },
            },
            Else("a connection is opened"),
            "What is asked for; for `OPTIONS` of a backend also `*`, the server as a whole.",
            |d: &mut Draft, v| d.path = Some(v.value),
        ),
        &key(
            "host",
            Kind {
                text: TEXT.text,
                read: |reader, item| {
                    reader.parsed(item, "a host", |text| {
                        if text.bytes().all(|b| b.is_ascii_graphic()) {
                            Ok(text.to_owned())
                        } else {
                            Err("the Host field of a check is of visible ASCII, without spaces")
                        }
                    })
                },
            },
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
            Kind {
                text: "list of status codes and ranges",
                read: |reader, item| Some(values(&reader.some(item, statuses))),
            },
            Else("any of 200 to 399"),
            "The expected statuses: `204`, `[200, \"300-399\"]`.",
            |d: &mut Draft, v| {
                d.status = v.value;
            },
        ),
        &key(
            "contains",
            EXPECTED,
            Else("the body is not looked at"),
            "What has to be in the body of the answer, in its first 64 KiB: text, `~` and a regular expression, or `hex:` and bytes.",
            |d: &mut Draft, v| d.contains = Some(v.value),
        ),
        &key(
            "lacks",
            EXPECTED,
            Else("the body is not looked at"),
            "What must not be in the body of the answer.",
            |d: &mut Draft, v| d.lacks = Some(v.value),
        ),
        &key(
            "send",
            SENT,
            Else("nothing is sent"),
            "Without a `path`: what is sent, as text or as `hex:` and bytes. For backends.",
            |d: &mut Draft, v| d.turn.send = Some(v.value),
        ),
        &key(
            "expect",
            EXPECTED,
            Else("nothing is waited for"),
            "Without a `path`: what has to be in what comes then, within its first 16 KiB and the `timeout`: text, `~` and a regular \
             expression, or `hex:` and bytes. For backends.",
            |d: &mut Draft, v| d.turn.expect = Some(v.value),
        ),
        &key(
            "talk",
            Kind {
                text: "list of tables with `send` and `expect`",
                read: |reader, item| {
                    Some(values(&reader.some(item, |reader, item| {
                        Some(TURN.read_item(reader, item)?.draft)
                    })))
                },
            },
            Else("no more than `send` and `expect`"),
            "Several of them, in turn: `[{ expect = \"220 \" }, { send = \"QUIT\\r\\n\" }]`. What came before is forgotten when \
             something is sent.",
            |d: &mut Draft, v| d.talk = v.value,
        ),
        &key(
            "tls",
            BOOL,
            Is("false"),
            "A TLS handshake has to succeed, and with a `path` the request is sent over it, also where requests are not. The server's certificate is not looked at, unless the backend has `tls`, whose settings hold then.",
            |d: &mut Draft, v| {
                d.tls = v.value;
            },
        ),
        &key(
            "port",
            PORT,
            Else("where requests go"),
            "Another port of the server, where something else says how it is (Patroni's API, `clustercheck`). There neither TLS nor the PROXY protocol is spoken because requests do; `tls = true` is. For backends.",
            |d: &mut Draft, v| d.port = Some(v.value),
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
        &key(
            "errors",
            COUNT_OR_NONE,
            Else("they are not counted"),
            "Requests in a row that fail, or are answered 500, 502, 503 or 504, until a server is down and has to pass checks again.",
            |d: &mut Draft, v| {
                d.errors = v.value;
            },
        ),
    ],
};

/// A turn of `talk`.
pub(crate) static TURN: Table<Turn> = Table {
    heading: "check = { talk = [{ ... }] }",
    label: "a turn of `talk`",
    doc: "One turn of what a server is told and has to say.",
    keys: &[
        &key(
            "send",
            SENT,
            Else("nothing is sent"),
            "What is sent: text, or `hex:` and bytes.",
            |t: &mut Turn, v| t.send = Some(v.value),
        ),
        &key(
            "expect",
            EXPECTED,
            Else("nothing is waited for"),
            "What has to be in what comes then: text, `~` and a regular expression, or `hex:` and bytes.",
            |t: &mut Turn, v| t.expect = Some(v.value),
        ),
    ],
};

const SENT: Kind<Sent> = Kind {
    text: "text, or `hex:` and bytes",
    read: |reader, item| said(reader, item, "text like \"PING\\r\\n\"", Sent::parse),
};

/// A text that may be blank: an empty line is something to say.
fn said<T>(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    what: &str,
    parse: fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    let DeValue::String(text) = item.get_ref() else {
        reader.expected(item, what);
        return None;
    };
    let said = parse(text);
    said.map_err(|wrong| reader.wrong(&item.span(), wrong)).ok()
}

const EXPECTED: Kind<Expected> = Kind {
    text: "text, `~` and a regular expression, or `hex:` and bytes",
    read: |reader, item| {
        let expected = said(reader, item, "text like \"+PONG\"", Expected::parse)?;
        if let Expected::Regex(regex) = &expected
            && let Err(wrong) = crate::kinds::is_expression_of_bytes(regex)
        {
            reader.wrong(&item.span(), wrong);
        }
        Some(expected)
    },
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
        DeValue::String(text) if text == "tls" => return Some(Check::Tls(timing(None))),
        DeValue::String(text) => {
            let hint = if text.starts_with('/') {
                Some(format!("write {{ path = {text:?} }}"))
            } else {
                did_you_mean(text, ["tcp", "tls"])
            };
            reader.wrong_hint(
                &item.span(),
                "a check is \"tcp\", \"tls\", false or a table",
                hint,
            );
            return None;
        }
        DeValue::Table(_) => {}
        _ => {
            reader.expected(
                item,
                "\"tcp\", \"tls\", false or a table like { path = \"/alive\" }",
            );
            return None;
        }
    }
    let section = KEYS.read_item(reader, item)?;
    if !section.has("path") {
        for key in ["host", "method", "status", "contains", "lacks"] {
            if section.has(key) {
                reader.wrong(
                    &section.place(key),
                    format!("`{key}` of a check goes with a `path`"),
                );
            }
        }
    }
    if section.draft.method.as_deref() == Some("HEAD")
        && let Some(key) = ["contains", "lacks"].iter().find(|key| section.has(key))
    {
        let message = format!("an answer to HEAD has no body that `{key}` could look at");
        reader.wrong(&section.place(key), message);
    }
    if section.draft.path.as_deref() == Some(WHOLE)
        && section.draft.method.as_deref() != Some("OPTIONS")
    {
        let message = "`*` is asked for with `method = \"OPTIONS\"`";
        reader.wrong(&section.place("path"), message);
    }
    let talks = ["send", "expect", "talk"].map(|key| section.has(key));
    let other = [("path", section.has("path")), ("tls", section.draft.tls)];
    if talks.contains(&true)
        && let Some((key, _)) = other.iter().find(|(_, is)| *is)
    {
        let message = "a check asks by HTTP (`path`), makes a handshake (`tls`), or sends and expects: one of these";
        reader.wrong(&section.place(key), message);
    }
    if let [true, ..] | [_, true, _] = talks
        && talks[2]
    {
        let message = "`talk` has each `send` and `expect` in its turns";
        reader.wrong(&section.place("talk"), message);
    }
    let draft = section.draft;
    let mut timing = timing(draft.every);
    timing.fast = draft.fast.unwrap_or(timing.fast);
    timing.rise = draft.rise.unwrap_or(timing.rise);
    timing.fall = draft.fall.unwrap_or(timing.fall);
    timing.timeout = draft.timeout.unwrap_or(timing.timeout);
    timing.errors = draft.errors;
    timing.port = draft.port;
    let mut talk = draft.talk;
    if draft.turn != Turn::default() {
        talk.push(draft.turn);
    }
    Some(match draft.path {
        None if !talk.is_empty() => Check::Talk(talk, timing),
        None if draft.tls => Check::Tls(timing),
        None => Check::Tcp(timing),
        Some(path) => {
            let request = HttpCheck {
                path,
                host: draft.host,
                method: draft.method.unwrap_or_else(|| "GET".into()),
                status: draft.status,
                contains: draft.contains,
                lacks: draft.lacks,
                tls: draft.tls,
            };
            Check::Http(request, timing)
        }
    })
}

/// A status code, or a range of them.
pub(crate) fn statuses(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<RangeInclusive<u16>> {
    if let DeValue::String(_) = item.get_ref() {
        return reader.parsed(item, "a range like \"200-299\"", |text| {
            let code = |text: &str| text.trim().parse().ok().filter(|c| (100..=599).contains(c));
            text.split_once('-')
                .and_then(|(from, to)| Some(code(from)?..=code(to)?))
                .filter(|range: &RangeInclusive<u16>| !range.is_empty())
                .ok_or("a range of status codes is written like \"200-299\"")
        });
    }
    let code = reader.integer(item, 100..=599, "a status code")? as u16;
    Some(code..=code)
}
