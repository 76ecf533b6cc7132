//! When a route applies.

use std::collections::BTreeMap;

use tandem_model::{Conditions, Pattern, Presence, route::Field};
use toml::de::DeValue;

use crate::keys::check::method;
use crate::kinds::{BOOL, NETS, is_expression};
use crate::reader::Reader;
use crate::span::{Item, values};
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, in_order, key};

/// The conditions of a route, and of `not`.
pub(crate) static KEYS: Table<Conditions> = Table {
    heading: "route = [{ conditions }]",
    label: "`not`",
    doc: "When a route applies. All conditions that are given must hold; of a list, one. Patterns have one `*` anywhere (`/api/*`, `*.js`), or are `~` and a regular expression; paths are compared in their normal form, without the query.",
    keys: &[
        &key(
            "host",
            Kind {
                text: "list of patterns",
                read: |reader, item| Some(values(&reader.some(item, host))),
            },
            Else("any"),
            "The Host field without its port, compared without case.",
            |c: &mut Conditions, v| c.host = v.value,
        ),
        &key(
            "path",
            Kind {
                text: "list of patterns",
                read: |reader, item| Some(values(&reader.some(item, path))),
            },
            Else("any"),
            "The normal form of the path.",
            |c: &mut Conditions, v| c.path = v.value,
        ),
        &key(
            "ignore-case",
            BOOL,
            Is("false"),
            "Compare paths without case.",
            |c: &mut Conditions, v| {
                c.ignore_case = v.value;
            },
        ),
        &key(
            "method",
            Kind {
                text: "list of methods",
                read: |reader, item| Some(values(&reader.some(item, method))),
            },
            Else("any"),
            "The method.",
            |c: &mut Conditions, v| c.method = v.value,
        ),
        &key(
            "header",
            Kind {
                text: "table of patterns",
                read: headers,
            },
            Else("any"),
            "Fields of the head: `{ X-Canary = \"1\" }`; `\"*\"` is: it is there.",
            |c: &mut Conditions, v| c.header = v.value,
        ),
        &key(
            "query",
            FIELD,
            Else("any"),
            "Parameters of the query, likewise.",
            |c: &mut Conditions, v| {
                c.query = v.value;
            },
        ),
        &key(
            "cookie",
            FIELD,
            Else("any"),
            "Cookies, likewise.",
            |c: &mut Conditions, v| {
                c.cookie = v.value;
            },
        ),
        &key(
            "source",
            NETS,
            Else("any"),
            "The client's address.",
            |c: &mut Conditions, v| {
                c.source = v.value;
            },
        ),
        &key(
            "internal",
            BOOL,
            Is("false"),
            "The path is one that a server named in `X-Accel-Redirect` of its answer, or a route in `authorize` or `errors`: no client gets there by itself.",
            |c: &mut Conditions, v| c.internal = v.value,
        ),
        &key(
            "client-cert",
            Kind {
                text: "list of patterns",
                read: presence,
            },
            Else("any client, with a certificate or without"),
            "The client has a certificate whose common name (CN) is one of these, compared with case; `\"*\"` is: it has one. Of listeners with `tls.client-ca`.",
            |c: &mut Conditions, v| c.client_cert = Some(v.value),
        ),
        &key(
            "not",
            Kind {
                text: "table of conditions",
                read: not,
            },
            Else("nothing"),
            "None of these may hold.",
            |c: &mut Conditions, v| c.not = Some(Box::new(v.value)),
        ),
        &key(
            "sni",
            Kind {
                text: "list of patterns",
                read: |reader, item| Some(values(&reader.some(item, host))),
            },
            Else("any"),
            "The name a TLS client asks for, with `mode = \"tcp\"`: it is read, and TLS passed on as it is.",
            |c: &mut Conditions, v| c.sni = v.value,
        ),
    ],
};

const FIELD: Kind<Field> = Kind {
    text: "table of patterns",
    read: |reader, item| field(reader, item, |_| true),
};

fn not(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Conditions> {
    let section = KEYS.read_item(reader, item)?;
    if section.present.is_empty() {
        reader.wrong(&item.span(), "an empty `not` never holds");
    }
    Some(section.draft)
}

/// A pattern whose regular expression is one.
fn pattern(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Pattern> {
    reader.parsed(item, "a pattern", |text| {
        let pattern = Pattern::parse(text).map_err(str::to_owned)?;
        if let Pattern::Regex(regex) = &pattern {
            is_expression(regex)?;
        }
        Ok::<_, String>(pattern)
    })
}

fn path(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Pattern> {
    let pattern = pattern(reader, item)?;
    let (first, literal) = match &pattern {
        Pattern::Exact(text) => (text, text.clone()),
        Pattern::Star(prefix, suffix) => (prefix, format!("{prefix}*{suffix}")),
        Pattern::Regex(_) => return Some(pattern),
    };
    let starts = first.starts_with('/') || first.is_empty();
    if !starts {
        let hint = Some(format!("write \"/{literal}\""));
        reader.wrong_hint(&item.span(), "a path begins with / or *", hint);
        return None;
    }
    if let Some(code) = encoding(&literal) {
        let message = format!("paths are compared decoded: in theirs there is no `{code}`");
        reader.wrong_hint(&item.span(), message, Some(meant(&literal)));
        return None;
    }
    if let Some((path, query)) = literal.split_once('?') {
        let message = "paths are compared without the query";
        let name = query.split(['=', '&']).next().unwrap_or_default();
        let hint = match (path, name) {
            (_, "" | "*") | ("", _) => {
                format!("a `?` in the path itself: {:?}", expression(&literal))
            }
            _ => format!(
                "a parameter is asked for by `query`: {{ path = {path:?}, query = {{ {name:?} = \"*\" }} }}"
            ),
        };
        reader.wrong_hint(&item.span(), message, Some(hint));
        return None;
    }
    for never in ["//", "/./", "/../"] {
        if literal.contains(never) {
            let why = format!("this never matches: the normal form of a path has no `{never}`");
            reader.wrong(&item.span(), why);
            return None;
        }
    }
    Some(pattern)
}

/// The first percent-encoding in a text.
pub(crate) fn encoding(text: &str) -> Option<&str> {
    let is_hex = |b: &u8| b.is_ascii_hexdigit();
    let at = text.match_indices('%').map(|(at, _)| at).find(|&at| {
        let code = text.as_bytes().get(at + 1..at + 3);
        code.is_some_and(|code| code.iter().all(is_hex))
    })?;
    Some(&text[at..at + 3])
}

/// What was meant by a path that is percent-encoded.
fn meant(literal: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = literal;
    while let Some(code) = encoding(rest) {
        let (before, after) = rest.split_once(code).unwrap_or((rest, ""));
        bytes.extend_from_slice(before.as_bytes());
        bytes.extend(u8::from_str_radix(&code[1..], 16));
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    let is_plain = |text: &String| {
        let stars = |text: &str| text.matches('*').count();
        !text.contains(|c: char| c.is_control() || c == '?') && stars(text) == stars(literal)
    };
    match String::from_utf8(bytes).ok().filter(is_plain) {
        Some(text) => format!("write {text:?}"),
        None => format!(
            "an expression may still ask for what stands there: {:?}",
            expression(literal)
        ),
    }
}

/// A pattern with at most one star, as an expression.
pub(crate) fn expression(pattern: &str) -> String {
    match pattern.split_once('*') {
        Some(("", suffix)) => format!("~{}$", regex::escape(suffix)),
        Some((prefix, "")) => format!("~^{}", regex::escape(prefix)),
        Some((prefix, suffix)) => {
            let (prefix, suffix) = (regex::escape(prefix), regex::escape(suffix));
            format!("~^{prefix}(?s:.*){suffix}$")
        }
        None => format!("~^{}$", regex::escape(pattern)),
    }
}

fn host(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Pattern> {
    let pattern = pattern(reader, item)?;
    if let Pattern::Exact(text) | Pattern::Star(_, text) = &pattern {
        let port = text.rsplit_once(':').map(|(_, port)| port);
        if text.contains('/')
            || port.is_some_and(|port| port.parse::<u16>().is_ok()) && !text.ends_with(']')
        {
            reader.wrong(
                &item.span(),
                "a host is a name, without scheme, port or path",
            );
            return None;
        }
    }
    Some(pattern)
}

fn field(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    name_is_good: fn(&str) -> bool,
) -> Option<Field> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.expected(item, "a table like { NAME = \"value\" }");
        return None;
    };
    let mut field = BTreeMap::new();
    for (name, item) in in_order(table) {
        if name.value.is_empty() || !name_is_good(name.value) {
            reader.wrong(&name.span, "this is no name of a field");
        }
        if let Some(presence) = presence(reader, item) {
            field.insert(name.value.to_owned(), presence);
        }
    }
    Some(field)
}

/// `None` when it was said what is wrong.
fn presence(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Presence> {
    let patterns = values(&reader.some(item, pattern));
    match &patterns[..] {
        [] => None,
        [Pattern::Star(prefix, suffix)] if prefix.is_empty() && suffix.is_empty() => {
            Some(Presence::Present)
        }
        _ => Some(Presence::OneOf(patterns)),
    }
}

fn headers(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Field> {
    // RFC 9110 section 5.6.2: a field's name is a token.
    field(reader, item, |name| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    })
}
