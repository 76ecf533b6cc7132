//! `route`: which request goes where.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tandem_model::{
    Action, Conditions, Content, Overrides, Policies, Route, SplitBy, Template, Variable,
};
use toml::de::DeValue;

use crate::keys::retry::RETRY;
use crate::keys::stick::STICK;
use crate::keys::{conditions, policies, timeouts};
use crate::kinds::{BOOL, NAME, NAMES, PATH, STATUS};
use crate::reader::Reader;
use crate::span::{At, Item, Span, values};
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else, Required};
use crate::table::{Kind, Part, Section, Table, in_order, key};

/// The keys that say what a route does.
const ACTIONS: [&str; 5] = ["to", "route", "redirect", "respond", "deny"];

/// A route and where its parts stand.
pub(crate) struct Draft {
    name: Option<String>,
    pub when: Conditions,
    pub to: Option<At<String>>,
    /// Services and their shares, in place of `to`.
    pub split: Vec<(At<String>, u16)>,
    split_by: Option<SplitBy>,
    pub nested: Option<Vec<Draft>>,
    other: Option<Action>,
    pub missing: Vec<At<String>>,
    pub policies: Policies,
    pub log: bool,
    pub over: Overrides,
    pub span: Span,
    pub line: u32,
    /// Something in it could not be read: what it matches is not known.
    pub broken: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            name: None,
            when: Conditions::default(),
            to: None,
            split: Vec::new(),
            split_by: None,
            nested: None,
            other: None,
            missing: Vec::new(),
            policies: Policies::default(),
            log: true,
            over: Overrides::default(),
            span: 0..0,
            line: 0,
            broken: false,
        }
    }
}

impl Draft {
    /// A route that leads everything to one service.
    pub fn to(to: At<String>) -> Self {
        Self {
            to: Some(to),
            ..Self::default()
        }
    }

    /// The highest number of a find that its content has; 0 when it has none.
    pub fn captures(&self) -> u8 {
        match &self.other {
            Some(Action::Respond {
                body: Content::Template(template),
                ..
            }) => template.captures(),
            _ => 0,
        }
    }

    /// Whether it turns away whoever it matches.
    pub fn denies(&self) -> bool {
        matches!(self.other, Some(Action::Deny | Action::Close))
    }

    /// The route as the model has it. What a group of routes says of the log holds for its routes too.
    pub fn lower(&self, log: bool) -> Route {
        let log = log && self.log;
        let action = match (&self.to, &self.nested, &self.other) {
            _ if !self.split.is_empty() => Action::Split {
                to: (self.split.iter())
                    .map(|(name, weight)| (name.value.clone(), *weight))
                    .collect(),
                by: self.split_by.clone(),
            },
            (Some(to), _, _) => Action::To(to.value.clone()),
            (None, Some(nested), _) => {
                Action::Routes(nested.iter().map(|route| route.lower(log)).collect())
            }
            (None, None, Some(other)) => other.clone(),
            // Only where something was wrong, and has been said.
            (None, None, None) => Action::Deny,
        };
        Route {
            name: self.name.clone(),
            when: self.when.clone(),
            action,
            missing: values(&self.missing),
            policies: self.policies.clone(),
            log,
            over: self.over.clone(),
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

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "route = [{ ... }]",
    label: "a route",
    doc: "What a route does: one of `to`, `route`, `redirect`, `respond` and `deny`; and what goes with it.",
    keys: &[
        &Part {
            table: &conditions::KEYS,
            of: |route: &mut Draft| &mut route.when,
        },
        &Part {
            table: &policies::KEYS,
            of: |route: &mut Draft| &mut route.policies,
        },
        &key(
            "to",
            Kind {
                text: "service, or table of services and weights",
                read: to,
            },
            Else(""),
            "Hand the request to this service, or to each of several by its share: `{ shop = 95, next = 5 }`.",
            |d: &mut Draft, v| match v.value {
                To::One(service) => d.to = Some(service),
                To::Split(services) => d.split = services,
            },
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
            "Answer with a Location; [variables](#variables) are filled in.",
            |d: &mut Draft, v| d.other = Some(v.value),
        ),
        &key(
            "respond",
            Kind {
                text: "status code, or table",
                read: respond,
            },
            Else(""),
            "Answer with this status, and a text or a file.",
            |d: &mut Draft, v| d.other = Some(v.value),
        ),
        &key(
            "deny",
            Kind {
                text: "true or \"close\"",
                read: deny,
            },
            Else(""),
            "Answer 403; or close the connection without an answer.",
            |d: &mut Draft, v| d.other = Some(v.value),
        ),
        &key(
            "missing",
            NAMES,
            Else("the 404 stands"),
            "A service that is asked when the answer to a GET or HEAD is 404; of several each when the one before it has nothing.",
            |d: &mut Draft, v| {
                d.missing = v.value;
            },
        ),
        &key(
            "name",
            NAME,
            Else("its conditions"),
            "What metrics and access logs call it; a group's stands before its routes' conditions.",
            |d: &mut Draft, v| d.name = Some(v.value),
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
        &key(
            "stick",
            STICK,
            Else("as the service"),
            "What keeps a client with its server.",
            |d: &mut Draft, v| d.over.stick = Some(v.value),
        ),
        &key(
            "retry",
            RETRY,
            Else("as the service"),
            "Tries after the first for one request, and more about them.",
            |d: &mut Draft, v| d.over.retry = Some(v.value),
        ),
        &key(
            "timeouts",
            timeouts::OF_ROUTE,
            Else("as the service"),
            "Time limits that differ from those of the service.",
            |d: &mut Draft, v| d.over.timeouts = v.value,
        ),
        &key(
            "split-by",
            Kind {
                text: "\"source\" or \"cookie:NAME\"",
                read: split_by,
            },
            Else("in turn"),
            "What decides on a client's share of `to = { ... }`, so that it keeps its service: its address, or the value of a cookie (its address while it has none).",
            |d: &mut Draft, v| d.split_by = Some(v.value),
        ),
    ],
};

#[derive(Default)]
pub(crate) struct RedirectDraft {
    to: Option<Template>,
    status: Option<u16>,
}

/// The status of a redirect.
pub(crate) const REDIRECTION: Kind<u16> = Kind {
    text: "301, 302, 303, 307 or 308",
    read: |reader, item| {
        let status = reader.integer(item, 300..=399, "a status code of a redirect")?;
        if [301, 302, 303, 307, 308].contains(&status) {
            return Some(status as u16);
        }
        reader.wrong(&item.span(), "a redirect is 301, 302, 303, 307 or 308");
        None
    },
};

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
            REDIRECTION,
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
    template: Option<Template>,
    file: Option<PathBuf>,
    headers: BTreeMap<String, Template>,
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
        &key(
            "template",
            Kind {
                text: "text",
                read: content,
            },
            Else("`body`"),
            "A text sent with it in place of `body`, in which [variables](#variables) are filled in; nothing is escaped. `{1}` is what the expression in `path` has found, of the route or of the nearest group around it that has a path.",
            |d: &mut RespondDraft, v| d.template = Some(v.value),
        ),
        &key(
            "file",
            PATH,
            Else("`body`"),
            "A file sent with it in place of a text, as it was at the start or the last reload; 4 MiB at most. Its type is that of its suffix.",
            |d: &mut RespondDraft, v| d.file = Some(v.value),
        ),
        &key(
            "headers",
            Kind {
                text: "table of texts",
                read: policies::answer_fields,
            },
            Else("none"),
            "Fields sent with it; values may have [variables](#variables).",
            |d: &mut RespondDraft, v| d.headers = v.value,
        ),
    ],
};

/// A status that ends a request.
const ANSWER: Kind<u16> = Kind {
    text: STATUS.text,
    read: |reader, item| Some(reader.integer(item, 200..=599, "a status code")? as u16),
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
    if section.has("strip") && section.has("rewrite") {
        let place = section.place("rewrite");
        reader.wrong(&place, "the path is changed once: `strip` or `rewrite`");
    }
    if section.has("split-by") && section.draft.split.is_empty() && !section.broken {
        let hint = Some("write to = { shop = 95, next = 5 }".into());
        let place = section.place("split-by");
        reader.wrong_hint(&place, "`split-by` goes with several services", hint);
    }
    if let [action @ ("redirect" | "respond" | "deny")] = actions[..] {
        for key in ["stick", "retry", "timeouts"] {
            if section.has(key) {
                let message = format!("`{action}` asks no server: `{key}` is of routes with `to`");
                reader.wrong(&section.place(key), message);
            }
        }
    }
    if section.has("missing") && !section.has("to") && !section.broken {
        reader.wrong(&section.place("missing"), "`missing` goes with `to`");
    }
}

enum To {
    One(At<String>),
    Split(Vec<(At<String>, u16)>),
}

fn to(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<To> {
    let DeValue::Table(table) = item.get_ref() else {
        let name = reader.filled(item, "the name of a service")?;
        return Some(To::One(At::new(name, item.span())));
    };
    let mut services = Vec::new();
    for (name, item) in in_order(table) {
        let weight = reader.integer(item, 0..=10_000, "a weight");
        let name = At::new(name.value.to_owned(), name.span);
        services.push((name, weight? as u16));
    }
    if services.iter().all(|(_, weight)| *weight == 0) {
        reader.wrong(&item.span(), "one of the services has to have a share");
        return None;
    }
    Some(To::Split(services))
}

fn split_by(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<SplitBy> {
    let text = reader.filled(item, "\"source\" or \"cookie:NAME\"")?;
    if text == "source" {
        return Some(SplitBy::Source);
    }
    match text.strip_prefix("cookie:") {
        Some(name) if !name.is_empty() && !name.contains([' ', ';', '=', ',']) => {
            Some(SplitBy::Cookie(name.to_owned()))
        }
        Some(_) => {
            reader.wrong(&item.span(), "this is no name of a cookie");
            None
        }
        None => {
            let hint = did_you_mean(&text, ["source", "cookie:NAME"]);
            let message = "a split is by \"source\" or \"cookie:NAME\"";
            reader.wrong_hint(&item.span(), message, hint);
            None
        }
    }
}

pub(crate) fn location(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Template> {
    let text = reader.filled(item, "a URL like \"https://{host}{uri}\"")?;
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        reader.wrong(&item.span(), "a URL has no spaces");
        return None;
    }
    let to = policies::template(reader, item)?;
    if to.variables().any(|variable| *variable == Variable::User) {
        reader.wrong(&item.span(), "a redirect knows no {user}");
        return None;
    }
    Some(to)
}

/// A text of several lines with variables.
fn content(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Template> {
    let template = policies::any_template(reader, item, Template::parse_lines)?;
    let has_user = template.variables().any(|v| *v == Variable::User);
    if has_user {
        let hint = Some("a service gets it by `headers`".into());
        reader.wrong_hint(&item.span(), "`respond` knows no {user}", hint);
        return None;
    }
    Some(template)
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
        DeValue::Table(_) => {
            let section = RESPOND.read_item(reader, item)?;
            let contents = ["body", "template", "file"].into_iter();
            let contents: Vec<&str> = contents.filter(|key| section.has(key)).collect();
            if let [first, second, ..] = contents[..] {
                let place = section.place(second);
                let why = format!("an answer has one content: `{first}` or `{second}`");
                reader.wrong(&place, why);
            }
            section.draft
        }
        _ => RespondDraft {
            status: Some((ANSWER.read)(reader, item)?),
            ..RespondDraft::default()
        },
    };
    Some(Action::Respond {
        status: draft.status?,
        body: match (draft.file, draft.template) {
            (Some(file), _) => Content::File(file),
            (None, Some(template)) => Content::Template(template),
            (None, None) => Content::Text(draft.body),
        },
        headers: draft.headers,
    })
}

fn deny(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Action> {
    match item.get_ref() {
        DeValue::Boolean(true) => return Some(Action::Deny),
        DeValue::String(text) if text == "close" => return Some(Action::Close),
        _ => {}
    }
    let message = "`deny` is true, or \"close\" for no answer at all, or left out";
    reader.wrong(&item.span(), message);
    None
}
