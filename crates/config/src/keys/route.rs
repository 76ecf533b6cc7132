//! `route`: which request goes where.

use std::collections::BTreeMap;

use tandem_model::{Action, Conditions, Pattern, Presence, Route, route::Field};
use toml::de::DeValue;

use crate::keys::check::method;
use crate::kinds::{BOOL, NAME, NETS, STATUS};
use crate::reader::Reader;
use crate::span::{At, Item, Span, values};
use crate::table::Need::{Default as Is, Else, Required};
use crate::table::{Kind, Part, Section, Table, in_order, key, not_yet, unavailable};

/// The keys that say what a route does.
const ACTIONS: [&str; 5] = ["to", "route", "redirect", "respond", "deny"];

/// A route and where its parts stand.
pub(crate) struct Draft {
    pub when: Conditions,
    pub to: Option<At<String>>,
    pub nested: Option<Vec<Draft>>,
    other: Option<Action>,
    pub missing: Option<At<String>>,
    pub log: bool,
    pub span: Span,
    pub line: u32,
    /// Something in it could not be read: what it matches is not known.
    pub broken: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            when: Conditions::default(),
            to: None,
            nested: None,
            other: None,
            missing: None,
            log: true,
            span: 0..0,
            line: 0,
            broken: false,
        }
    }
}

impl Draft {
    /// The route as the model has it. What a group of routes says of the log holds for its routes too.
    pub fn lower(&self, log: bool) -> Route {
        let log = log && self.log;
        let action = match (&self.to, &self.nested, &self.other) {
            (Some(to), _, _) => Action::To(to.value.clone()),
            (None, Some(nested), _) => {
                Action::Routes(nested.iter().map(|route| route.lower(log)).collect())
            }
            (None, None, Some(other)) => other.clone(),
            // Only where something was wrong, and has been said.
            (None, None, None) => Action::Deny,
        };
        Route {
            when: self.when.clone(),
            action,
            missing: self.missing.as_ref().map(|at| at.value.clone()),
            log,
            line: self.line,
        }
    }
}

pub(crate) const ROUTES: Kind<Vec<Draft>> = Kind {
    text: "list of routes",
    read: |reader, item| {
        let list = reader.some(item, one);
        Some(list.into_iter().map(|at| at.value).collect())
    },
};

pub(crate) static CONDITIONS: Table<Conditions> = Table {
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
            "not",
            Kind {
                text: "table of conditions",
                read: not,
            },
            Else("nothing"),
            "None of these may hold.",
            |c: &mut Conditions, v| c.not = Some(Box::new(v.value)),
        ),
        &not_yet("sni", "list of patterns", "The name a TLS client asks for."),
    ],
};

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "route = [{ ... }]",
    label: "a route",
    doc: "What a route does: one of `to`, `route`, `redirect`, `respond` and `deny`; and what goes with it.",
    keys: &[
        &Part {
            table: &CONDITIONS,
            of: |route: &mut Draft| &mut route.when,
        },
        &key(
            "to",
            Kind {
                text: "service",
                read: service,
            },
            Else(""),
            "Hand the request to this service.",
            |d: &mut Draft, v| d.to = Some(v),
        ),
        &key(
            "route",
            ROUTES,
            Else(""),
            "Ask these in turn; their conditions are added.",
            |d: &mut Draft, v| {
                d.nested = Some(v.value);
            },
        ),
        &key(
            "redirect",
            Kind {
                text: "URL, or table",
                read: redirect,
            },
            Else(""),
            "Answer with a Location; `{host}`, `{uri}`, `{path}` and `{query}` are filled in.",
            |d: &mut Draft, v| d.other = Some(v.value),
        ),
        &key(
            "respond",
            Kind {
                text: "status code, or table",
                read: respond,
            },
            Else(""),
            "Answer with this status and text.",
            |d: &mut Draft, v| d.other = Some(v.value),
        ),
        &key(
            "deny",
            Kind {
                text: "true",
                read: deny,
            },
            Else(""),
            "Answer 403.",
            |d: &mut Draft, v| d.other = Some(v.value),
        ),
        &key(
            "missing",
            NAME,
            Else("the 404 stands"),
            "A service that is asked when the answer to a GET or HEAD is 404.",
            |d: &mut Draft, v| {
                d.missing = Some(v);
            },
        ),
        &key(
            "log",
            BOOL,
            Is("true"),
            "Whether requests are written to the access log.",
            |d: &mut Draft, v| {
                d.log = v.value;
            },
        ),
        &not_yet("split-by", "text", "What decides on a client's share."),
        &not_yet("strip", "text", "What is taken off the path."),
        &not_yet("rewrite", "text or table", "What becomes of the path."),
        &not_yet(
            "headers",
            "table",
            "What is set, added and removed in heads.",
        ),
        &not_yet("auth", "table", "Who may ask."),
        &not_yet("rate", "text or table", "How often a client may ask."),
        &not_yet("stick", "table", "Keep a client with its server."),
        &not_yet("retry", "number", "Tries after the first for one request."),
        &not_yet("timeouts", "table of timeouts", "Time limits."),
        &not_yet("compress", "true, false or table", "Compress answers."),
        &not_yet("errors", "table", "Pages for error statuses."),
    ],
};

#[derive(Default)]
pub(crate) struct RedirectDraft {
    to: Option<String>,
    status: Option<u16>,
}

pub(crate) static REDIRECT: Table<RedirectDraft> = Table {
    heading: "redirect = { ... }",
    label: "`redirect`",
    doc: "`redirect = \"URL\"` is short for `redirect = { to = \"URL\" }`.",
    keys: &[
        &key(
            "to",
            Kind {
                text: "URL",
                read: location,
            },
            Required,
            "The address.",
            |d: &mut RedirectDraft, v| d.to = Some(v.value),
        ),
        &key(
            "status",
            Kind {
                text: "301, 302, 303, 307 or 308",
                read: |reader, item| {
                    let status = reader.integer(item, 300..=399, "a status code of a redirect")?;
                    if [301, 302, 303, 307, 308].contains(&status) {
                        return Some(status as u16);
                    }
                    reader.wrong(&item.span(), "a redirect is 301, 302, 303, 307 or 308");
                    None
                },
            },
            Is("302"),
            "The status code.",
            |d: &mut RedirectDraft, v| d.status = Some(v.value),
        ),
    ],
};

#[derive(Default)]
pub(crate) struct RespondDraft {
    status: Option<u16>,
    body: String,
}

pub(crate) static RESPOND: Table<RespondDraft> = Table {
    heading: "respond = { ... }",
    label: "`respond`",
    doc: "`respond = 421` is short for `respond = { status = 421 }`.",
    keys: &[
        &key(
            "status",
            ANSWER,
            Required,
            "The status code.",
            |d: &mut RespondDraft, v| {
                d.status = Some(v.value);
            },
        ),
        &key(
            "body",
            Kind {
                text: "text",
                read: |reader, item| reader.text(item, "text"),
            },
            Is("\"\""),
            "The text sent with it.",
            |d: &mut RespondDraft, v| d.body = v.value,
        ),
        &not_yet("file", "path", "A file sent with it."),
        &not_yet("headers", "table", "Fields sent with it."),
    ],
};

/// A status that ends a request.
const ANSWER: Kind<u16> = Kind {
    text: STATUS.text,
    read: |reader, item| Some(reader.integer(item, 200..=599, "a status code")? as u16),
};

const FIELD: Kind<Field> = Kind {
    text: "table of patterns",
    read: |reader, item| field(reader, item, |_| true),
};

fn one(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Draft> {
    let section = KEYS.read_item(reader, item)?;
    action(reader, &section);
    let mut draft = section.draft;
    draft.span = item.span();
    draft.line = reader.line(&draft.span) as u32;
    draft.broken = section.broken;
    Some(draft)
}

/// A route does one thing.
fn action(reader: &mut Reader<'_>, section: &Section<Draft>) {
    let actions: Vec<&str> = ACTIONS
        .into_iter()
        .filter(|action| section.has(action))
        .collect();
    match actions[..] {
        [_] => {}
        // An unknown key may be a misspelt action.
        [] if section.broken => {}
        [] => {
            let list = "one of `to`, `route`, `redirect`, `respond` and `deny`";
            reader.wrong(
                &section.span,
                format!("this route does nothing: it needs {list}"),
            );
        }
        [first, second, ..] => reader.wrong(
            &section.place(second),
            format!("a route does one thing: `{first}` or `{second}`"),
        ),
    }
    if section.has("missing") && !section.has("to") && !section.broken {
        reader.wrong(&section.place("missing"), "`missing` goes with `to`");
    }
}

fn not(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Conditions> {
    let section = CONDITIONS.read_item(reader, item)?;
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
            regex::Regex::new(regex).map_err(|error| {
                // The last line of the message says what; the others draw the place.
                let message = error.to_string();
                let last = message.lines().last().unwrap_or_default();
                let reason = last.strip_prefix("error: ").unwrap_or(last);
                format!("this is no regular expression: {reason}")
            })?;
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
    for never in ["//", "/./", "/../"] {
        if literal.contains(never) {
            let why = format!("this never matches: the normal form of a path has no `{never}`");
            reader.wrong(&item.span(), why);
            return None;
        }
    }
    Some(pattern)
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
        let patterns = values(&reader.some(item, pattern));
        let presence = match &patterns[..] {
            [] => continue,
            [Pattern::Star(prefix, suffix)] if prefix.is_empty() && suffix.is_empty() => {
                Presence::Present
            }
            _ => Presence::OneOf(patterns),
        };
        field.insert(name.value.to_owned(), presence);
    }
    Some(field)
}

fn headers(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Field> {
    // RFC 9110 section 5.6.2: a field's name is a token.
    field(reader, item, |name| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    })
}

fn service(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    if let DeValue::Table(_) = item.get_ref() {
        reader.wrong(&item.span(), unavailable("to = { ... }"));
        return None;
    }
    reader.filled(item, "the name of a service")
}

fn location(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    reader.parsed(item, "a URL like \"https://{host}{uri}\"", |text| {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            Err("a URL has no spaces")
        } else {
            Ok(text.to_owned())
        }
    })
}

fn redirect(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Action> {
    let draft = match item.get_ref() {
        DeValue::Table(_) => REDIRECT.read_item(reader, item)?.draft,
        _ => RedirectDraft {
            to: Some(location(reader, item)?),
            status: None,
        },
    };
    Some(Action::Redirect {
        to: draft.to?,
        status: draft.status.unwrap_or(302),
    })
}

fn respond(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Action> {
    let draft = match item.get_ref() {
        DeValue::Table(_) => RESPOND.read_item(reader, item)?.draft,
        _ => RespondDraft {
            status: Some((ANSWER.read)(reader, item)?),
            body: String::new(),
        },
    };
    Some(Action::Respond {
        status: draft.status?,
        body: draft.body,
    })
}

fn deny(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Action> {
    if reader.bool(item)? {
        return Some(Action::Deny);
    }
    reader.wrong(&item.span(), "`deny` is true or left out");
    None
}
