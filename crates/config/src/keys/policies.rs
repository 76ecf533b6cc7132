//! Policies of a route: what is done to its requests and to their answers.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use tandem_model::policy::untouchable;
use tandem_model::{
    ByStatus, FieldChanges, Headers, PathChange, Policies, Replaced, Side, Substitution, Template,
    TemplateError, Variable,
};
use toml::de::DeValue;

use crate::keys::auth::{AUTH, RATE};
use crate::keys::authorize::AUTHORIZE;
use crate::keys::check::statuses;
use crate::keys::compress::COMPRESS;
use crate::keys::errors::ERRORS;
use crate::keys::limits;
use crate::kinds::is_expression;
use crate::reader::Reader;
use crate::span::{Item, values};
use crate::suggest::did_you_mean;
use crate::table::Need::{self, Else};
use crate::table::{Kind, Ready, Table, in_order, key};

/// What a route says beside its conditions and what it does.
pub(crate) static KEYS: Table<Policies> = Table {
    heading: "route = [{ policies }]",
    label: "a route",
    doc: "What is done to the requests of a route and to their answers, whoever gives them. What a group of routes says holds for each of them that does not say otherwise.",
    keys: &[
        &key(
            "strip",
            Kind {
                text: "path",
                read: |reader, item| prefix(reader, item).map(PathChange::Strip),
            },
            Else("the path stays"),
            "Segments that are taken off the beginning of the path: with `\"/api\"` a service sees `/api/a` as `/a`. The query stays.",
            |p: &mut Policies, v| p.path = Some(v.value),
        ),
        &key(
            "rewrite",
            Kind {
                text: "path, or table",
                read: |reader, item| rewrite(reader, item).map(PathChange::Rewrite),
            },
            Else("the path stays"),
            "What becomes of the path: a path with variables, or a table of prefixes (`{ \"/old\" = \"/new\" }`) and expressions (`{ \"~^/user/(\\\\d+)$\" = \"/profile/{1}\" }`), of which the first that fits is used. The query stays; a `?` begins one that it follows.",
            |p: &mut Policies, v| p.path = Some(v.value),
        ),
        &key(
            "headers",
            Kind {
                text: "table",
                read: |reader, item| {
                    let draft = HEADERS.read_item(reader, item)?.draft;
                    Some(draft)
                },
            },
            Else("heads stay"),
            "What is set, added and removed in heads. A route's own changes come after those of the groups it stands in.",
            |p: &mut Policies, v| p.headers = v.value,
        ),
        &key(
            "auth",
            AUTH,
            Else("everyone"),
            "Who may ask: users and passwords, by HTTP's basic authentication.",
            |p: &mut Policies, v| p.auth = Some(v.value),
        ),
        &key(
            "authorize",
            AUTHORIZE,
            Else("nobody is asked"),
            "A service says for each request whether it may pass: `\"/verify\"` is what it is asked for.",
            |p: &mut Policies, v| p.authorize = Some(v.value),
        ),
        &key(
            "rate",
            RATE,
            Else("as often as it likes"),
            "How often each client may ask: `\"10/s\"`, `{ limit = \"100/m\", burst = 20 }`. That of a group is one for all its routes, and holds beside their own.",
            |p: &mut Policies, v| p.rate = Some(v.value),
        ),
        &key(
            "limits",
            limits::OF_ROUTE,
            Else("as the listener"),
            "How large the bodies of requests may be, more or less than the listener says, and how many requests a client may have at once: `{ body = \"10 MiB\", per-source = 10 }`.",
            |p: &mut Policies, v| {
                p.body = v.value.body;
                p.per_source = v.value.per_source;
            },
        ),
        &key(
            "compress",
            COMPRESS,
            Else("as the server sends it"),
            "Compress what servers answer, for clients that take it.",
            |p: &mut Policies, v| p.compress = Some(v.value),
        ),
        &key(
            "errors",
            ERRORS,
            Else("those of the listener"),
            "Pages of errors, and where they lead: `{ 404 = \"404.html\", 401 = { to = \"/login\" } }`.",
            |p: &mut Policies, v| p.errors = v.value,
        ),
    ],
};

pub(crate) static HEADERS: Table<Headers> = Table {
    heading: "headers = { ... }",
    label: "`headers`",
    doc: "Changes to heads. Fields that delimit a message or belong to a connection cannot be changed, nor can `X-Forwarded-For`.",
    keys: &[
        &key(
            "request",
            Kind {
                text: "table",
                read: |reader, item| changes(reader, item, Side::Request),
            },
            Else("as they came"),
            "Of requests on their way to servers.",
            |h: &mut Headers, v| h.request = v.value,
        ),
        &key(
            "response",
            Kind {
                text: "table",
                read: |reader, item| changes(reader, item, Side::Response),
            },
            Else("as they came"),
            "Of answers on their way to clients, errors among them.",
            |h: &mut Headers, v| h.response = v.value,
        ),
        &key(
            "success",
            Kind {
                text: "table",
                read: |reader, item| changes(reader, item, Side::Response),
            },
            Else("as they came"),
            "Of answers that are no errors, of a status below 400: after `response`.",
            |h: &mut Headers, v| h.success = v.value,
        ),
        &key(
            "by-status",
            Kind {
                text: "list of tables with `status`",
                read: |reader, item| {
                    Some(values(&reader.some(item, |reader, item| {
                        let draft = BY_STATUS.read_item(reader, item)?.draft;
                        let statuses = draft.statuses.clone();
                        let changes = checked(reader, draft, Side::Response);
                        Some(ByStatus { statuses, changes })
                    })))
                },
            },
            Else("as they came"),
            "Of answers of some statuses: `[{ status = \"500-599\", set = { Cache-Control = \"no-store\" } }]`. After `response` and `success`, one after the other.",
            |h: &mut Headers, v| h.by_status = v.value,
        ),
    ],
};

#[derive(Default)]
pub(crate) struct ChangesDraft {
    remove: Vec<crate::span::At<String>>,
    replace: Vec<ReplacedField>,
    set: Vec<Field>,
    add: Vec<Field>,
    default: Vec<Field>,
    /// Of `by-status` alone.
    statuses: Vec<RangeInclusive<u16>>,
}

/// A field's name, where it stands, and what of its values becomes what, step by step.
type ReplacedField = (crate::span::At<String>, Vec<Vec<Substitution>>);

/// A field's name, where it stands, and its values.
struct Field {
    name: crate::span::At<String>,
    values: Vec<Template>,
}

static REMOVE: Ready<ChangesDraft, Vec<crate::span::At<String>>> = key(
    "remove",
    Kind {
        text: "list of names",
        read: |reader, item| {
            Some(reader.list(item, |reader, item| reader.filled(item, "a field's name")))
        },
    },
    Else("nothing"),
    "These fields go. A `*` at the end of a name stands for any rest.",
    |d: &mut ChangesDraft, v| d.remove = v.value,
);

static REPLACE: Ready<ChangesDraft, Vec<ReplacedField>> = key(
    "replace",
    Kind {
        text: "table of tables, or of lists of them",
        read: replaced_fields,
    },
    Else("nothing"),
    "Values of these fields become others, by the first that fits: of the value's beginning (`{ Location = { \"http://10.0.0.1:8080/\" = \"/\" } }`), which is replaced, or of an expression, which stands for the whole value (`{ Set-Cookie = { \"~^(.*); Secure(.*)$\" = \"{1}{2}\" } }`). A list of such tables: one after the other.",
    |d: &mut ChangesDraft, v| d.replace = v.value,
);

/// Fields with one value each.
const ONE_EACH: Kind<Vec<Field>> = Kind {
    text: "table of texts",
    read: |reader, item| {
        fields(reader, item, |reader, item| {
            template(reader, item).map(|one| vec![one])
        })
    },
};

static SET: Ready<ChangesDraft, Vec<Field>> = key(
    "set",
    ONE_EACH,
    Else("nothing"),
    "These fields have this value and no other: `{ X-Request-ID = \"{request-id}\" }`.",
    |d: &mut ChangesDraft, v| d.set = v.value,
);

static ADD: Ready<ChangesDraft, Vec<Field>> = key(
    "add",
    Kind {
        text: "table of lists of texts",
        read: |reader, item| {
            fields(reader, item, |reader, item| {
                Some(values(&reader.some(item, template)))
            })
        },
    },
    Else("nothing"),
    "These fields come on top of those that are there.",
    |d: &mut ChangesDraft, v| d.add = v.value,
);

static DEFAULT: Ready<ChangesDraft, Vec<Field>> = key(
    "default",
    ONE_EACH,
    Else("nothing"),
    "These fields have this value where they are not there.",
    |d: &mut ChangesDraft, v| d.default = v.value,
);

pub(crate) static CHANGES: Table<ChangesDraft> = Table {
    heading: "request = { ... }, response = { ... } and success = { ... }",
    label: "`headers`",
    doc: "First fields are removed, then values replaced, then fields set, then added, then those that are missing. Values may have [variables](#variables); a field whose value turns out empty is left out.",
    keys: &[&REMOVE, &REPLACE, &SET, &ADD, &DEFAULT],
};

/// Changes to the answers of some statuses.
pub(crate) static BY_STATUS: Table<ChangesDraft> = Table {
    heading: "by-status = [{ ... }]",
    label: "`by-status`",
    doc: "What is changed of answers of some statuses, as in `response`.",
    keys: &[
        &key(
            "status",
            Kind {
                text: "list of status codes and ranges",
                read: |reader, item| Some(values(&reader.some(item, statuses))),
            },
            Need::Required,
            "The statuses: `404`, `[404, \"500-599\"]`.",
            |d: &mut ChangesDraft, v| d.statuses = v.value,
        ),
        &REMOVE,
        &REPLACE,
        &SET,
        &ADD,
        &DEFAULT,
    ],
};

fn fields(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    read: fn(&mut Reader<'_>, &Item<'_>) -> Option<Vec<Template>>,
) -> Option<Vec<Field>> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.expected(item, "a table of texts like { X-Name = \"value\" }");
        return None;
    };
    let mut list = Vec::new();
    for (name, item) in in_order(table) {
        if let Some(values) = read(reader, item) {
            let name = crate::span::At::new(name.value.to_owned(), name.span);
            list.push(Field { name, values });
        }
    }
    Some(list)
}

fn changes(reader: &mut Reader<'_>, item: &Item<'_>, side: Side) -> Option<FieldChanges> {
    let draft = CHANGES.read_item(reader, item)?.draft;
    Some(checked(reader, draft, side))
}

/// Changes whose fields may be changed; others are told.
fn checked(reader: &mut Reader<'_>, draft: ChangesDraft, side: Side) -> FieldChanges {
    let mut seen: Vec<&str> = Vec::new();
    let replaced = draft.replace.iter().map(|(name, _)| name);
    let fields = draft.set.iter().chain(&draft.add).chain(&draft.default);
    let named = fields.clone().map(|field| &field.name);
    for name in named.chain(replaced.clone()) {
        if name.value.ends_with('*') {
            reader.wrong(&name.span, "a `*` stands for a rest in `remove` alone");
        }
    }
    let names = fields.map(|field| &field.name);
    for name in draft.remove.iter().chain(names).chain(replaced) {
        if let Some(why) = untouchable(&name.value, side) {
            reader.wrong(&name.span, why);
        }
        if side == Side::Request && name.value.eq_ignore_ascii_case("host") {
            let is_set = draft.set.iter().any(|field| field.name.span == name.span);
            if !is_set {
                let why = "a request has one Host field: it can be `set` alone";
                reader.wrong(&name.span, why);
            }
        }
    }
    for Field { name, values } in draft.add.iter().chain(&draft.default) {
        let mut asked = values.iter().flat_map(Template::variables);
        let proves = asked.any(|variable| matches!(variable, Variable::ClientCert(_)));
        let mut removed = draft.remove.iter();
        let is_ours = removed.any(|other| other.value.eq_ignore_ascii_case(&name.value));
        if side == Side::Request && proves && !is_ours {
            let hint = Some("`set` takes out what the client sent".into());
            let message = "what a client sends in this field by itself would pass beside it";
            reader.wrong_hint(&name.span, message, hint);
        }
    }
    for field in &draft.set {
        let name = &field.name;
        if seen
            .iter()
            .any(|other| other.eq_ignore_ascii_case(&name.value))
        {
            reader.wrong(&name.span, format!("`{}` is set twice", name.value));
        }
        seen.push(&name.value);
    }
    let by_name = |fields: Vec<Field>| fields.into_iter().map(|f| (f.name.value, f.values));
    let only = |fields: Vec<Field>| {
        let fields = by_name(fields);
        let one = |(name, mut values): (String, Vec<Template>)| Some((name, values.pop()?));
        fields.filter_map(one).collect()
    };
    FieldChanges {
        remove: values(&draft.remove),
        replace: (draft.replace.into_iter())
            .map(|(name, rules)| (name.value, rules))
            .collect(),
        add: by_name(draft.add).collect::<BTreeMap<_, _>>(),
        set: only(draft.set),
        default: only(draft.default),
    }
}

/// Fields of an answer and their values.
pub(crate) fn answer_fields(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
) -> Option<BTreeMap<String, Template>> {
    let list = fields(reader, item, |reader, item| {
        template(reader, item).map(|one| vec![one])
    })?;
    let mut map = BTreeMap::new();
    for Field { name, mut values } in list {
        if let Some(why) = untouchable(&name.value, Side::Response) {
            reader.wrong(&name.span, why);
        }
        if name.value.contains('*') {
            reader.wrong(&name.span, "this is no name of a field");
        }
        let asks = values.iter().flat_map(Template::variables);
        if asks.into_iter().any(|variable| *variable == Variable::User) {
            let hint = Some("write it in `headers`".into());
            reader.wrong_hint(&name.span, "`respond` knows no {user}", hint);
        }
        if let Some(value) = values.pop() {
            map.insert(name.value, value);
        }
    }
    Some(map)
}

/// A text with variables.
pub(crate) fn template(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Template> {
    let template = any_template(reader, item, Template::parse)?;
    if template.captures() > 0 {
        let why = format!(
            "{{{}}} is filled in by expressions of `rewrite` and `replace`, and in the `template` of `respond`, alone",
            template.captures()
        );
        reader.wrong(&item.span(), why);
        return None;
    }
    Some(template)
}

/// A text with variables, read by `parse`.
pub(crate) fn any_template(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    parse: fn(&str) -> Result<Template, TemplateError>,
) -> Option<Template> {
    let text = reader.text(item, "text")?;
    let error = match parse(&text) {
        Ok(template) => return Some(template),
        Err(error) => error,
    };
    let hint = error.unknown.as_deref().and_then(|name| {
        let names = Variable::ALL.iter().map(|(name, _)| *name);
        did_you_mean(name, names.filter(|name| name.len() > 1)).or_else(|| {
            let list: Vec<String> = Variable::ALL
                .iter()
                .filter(|(name, _)| name.len() > 1)
                .map(|(name, _)| format!("{{{name}}}"))
                .collect();
            Some(format!("there are {}", list.join(", ")))
        })
    });
    let place = reader.place_in(item, &text[error.at]);
    reader.wrong_hint(&place, error.what, hint);
    None
}

/// Segments at the beginning of a path.
fn prefix(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    let text = reader.filled(item, "a path like \"/api\"")?;
    is_prefix(&text)
        .map_err(|why| reader.wrong(&item.span(), why))
        .ok()?;
    Some(text)
}

fn is_prefix(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("a path begins with /");
    }
    if text.contains(['*', '?', '%']) {
        return Err("this is the beginning of a path as it is compared: without *, ? and %");
    }
    if text.contains("//") || text.split('/').any(|s| s == "." || s == "..") {
        return Err("this never matches: the normal form of a path has no // and no dots");
    }
    Ok(())
}

fn rewrite(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Vec<Substitution>> {
    let DeValue::Table(table) = item.get_ref() else {
        let to = replacement(reader, item, &Replaced::All)?;
        let from = Replaced::All;
        return Some(vec![Substitution { from, to }]);
    };
    let mut list = Vec::new();
    for (name, item) in in_order(table) {
        let from = match name.value.strip_prefix('~') {
            Some(regex) => match expression(reader, &name.span, regex) {
                Some(regex) => Replaced::Regex(regex),
                None => continue,
            },
            None => {
                if let Err(why) = is_prefix(name.value) {
                    let hint = name
                        .value
                        .contains(['(', '^', '$', '*'])
                        .then(|| "a regular expression begins with ~".to_owned());
                    reader.wrong_hint(&name.span, why, hint);
                    continue;
                }
                Replaced::Prefix(name.value.to_owned())
            }
        };
        if let Some(to) = replacement(reader, item, &from) {
            list.push(Substitution { from, to });
        }
    }
    if table.is_empty() {
        reader.wrong(&item.span(), "this table is empty");
    }
    Some(list)
}

/// A regular expression that is one.
fn expression(reader: &mut Reader<'_>, span: &Range<usize>, text: &str) -> Option<String> {
    match is_expression(text) {
        Ok(()) => Some(text.to_owned()),
        Err(why) => {
            reader.wrong(span, why);
            None
        }
    }
}

/// Fields, and what of their values becomes what, step by step.
fn replaced_fields(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Vec<ReplacedField>> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.expected(
            item,
            "a table of fields like { Location = { \"http://old/\" = \"/\" } }",
        );
        return None;
    };
    let mut fields = Vec::new();
    for (name, item) in in_order(table) {
        let steps = values(&reader.list(item, replaced_values));
        fields.push((
            crate::span::At::new(name.value.to_owned(), name.span),
            steps,
        ));
    }
    Some(fields)
}

/// What of a field's values becomes what.
fn replaced_values(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Vec<Substitution>> {
    let DeValue::Table(rules) = item.get_ref() else {
        reader.expected(item, "a table like { \"http://old/\" = \"/\" }");
        return None;
    };
    if rules.is_empty() {
        reader.wrong(&item.span(), "this table is empty");
    }
    let mut list = Vec::new();
    for (old, item) in in_order(rules) {
        let from = match old.value.strip_prefix('~') {
            Some(regex) => expression(reader, &old.span, regex).map(Replaced::Regex),
            None => Some(Replaced::Prefix(old.value.to_owned())),
        };
        if let Some(from) = from
            && let Some(to) = filled_by(reader, item, &from)
        {
            list.push(Substitution { from, to });
        }
    }
    Some(list)
}

/// A template that an expression may fill in.
fn filled_by(reader: &mut Reader<'_>, item: &Item<'_>, from: &Replaced) -> Option<Template> {
    let to = any_template(reader, item, Template::parse)?;
    let groups = match from {
        Replaced::Regex(text) => {
            regex::Regex::new(text).map_or(0, |regex| regex.captures_len() - 1)
        }
        Replaced::All | Replaced::Prefix(_) => 0,
    };
    if usize::from(to.captures()) > groups {
        let why = match groups {
            0 => "there are no parentheses whose find could be filled in".to_owned(),
            n => format!("the expression has {n} parentheses"),
        };
        reader.wrong(&item.span(), format!("{{{}}}: {why}", to.captures()));
        return None;
    }
    Some(to)
}

fn replacement(reader: &mut Reader<'_>, item: &Item<'_>, from: &Replaced) -> Option<Template> {
    let to = filled_by(reader, item, from)?;
    if (to.variables()).any(|v| matches!(v, Variable::Uri | Variable::QueryBehindMark)) {
        reader.wrong_hint(
            &item.span(),
            "the query stays anyway",
            Some("write {path} for {uri}".into()),
        );
        return None;
    }
    let text = to.to_string();
    if !matches!(from, Replaced::Regex(_)) && !text.starts_with('/') && !text.starts_with("{path}")
    {
        reader.wrong(&item.span(), "a path begins with /");
        return None;
    }
    if text.contains('#') {
        reader.wrong(&item.span(), "a path has no #: that stays in the browser");
        return None;
    }
    Some(to)
}
