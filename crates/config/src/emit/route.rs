//! Routes as text.

use tandem_model::{Action, Conditions, Content, Pattern, Presence, Route, SplitBy, route::Field};

use super::policy;
use super::spread;
use super::text::{Pairs, list, quoted};
use crate::duration;

pub(crate) fn route(route: &Route) -> Pairs {
    let mut pairs = conditions(&route.when);
    match &route.action {
        Action::To(service) => pairs.put("to", quoted(service)),
        Action::Split { to, by } => {
            let mut table = Pairs::default();
            for (service, weight) in to {
                table.put(service, weight.to_string());
            }
            pairs.put("to", table.inline());
            match by {
                Some(SplitBy::Source) => pairs.put("split-by", quoted("source")),
                Some(SplitBy::Cookie(name)) => {
                    pairs.put("split-by", quoted(&format!("cookie:{name}")));
                }
                None => {}
            }
        }
        Action::Respond {
            status,
            body: Content::Text(body),
            headers,
        } if body.is_empty() && headers.is_empty() => {
            pairs.put("respond", status.to_string());
        }
        Action::Respond {
            status,
            body,
            headers,
        } => {
            let mut table = Pairs::default();
            table.put("status", status.to_string());
            match body {
                Content::Text(body) if body.is_empty() => {}
                Content::Text(body) => table.put("body", quoted(body)),
                Content::File(path) => table.put("file", quoted(&path.to_string_lossy())),
                Content::Template(text) => table.put("template", quoted(&text.to_string())),
            }
            if !headers.is_empty() {
                table.put("headers", policy::fields(headers));
            }
            pairs.put("respond", table.inline());
        }
        Action::Redirect { to, status: 302 } => pairs.put("redirect", quoted(&to.to_string())),
        Action::Redirect { to, status } => {
            let mut table = Pairs::default();
            table.put("to", quoted(&to.to_string()));
            table.put("status", status.to_string());
            pairs.put("redirect", table.inline());
        }
        Action::Deny => pairs.put("deny", "true"),
        Action::Close => pairs.put("deny", quoted("close")),
        Action::Routes(nested) => {
            pairs.put(
                "route",
                list(nested.iter().map(|nested| self::route(nested).inline())),
            );
        }
    }
    if let Some(name) = &route.name {
        pairs.put("name", quoted(name));
    }
    if !route.missing.is_empty() {
        pairs.put(
            "missing",
            list(route.missing.iter().map(|name| quoted(name))),
        );
    }
    if let Some(stick) = &route.over.stick {
        pairs.put("stick", spread::stick(stick));
    }
    if let Some(retry) = &route.over.retry {
        pairs.put("retry", spread::retry(retry));
    }
    let limits = &route.over.timeouts;
    let mut table = Pairs::default();
    for (name, limit) in [
        ("connect", limits.connect),
        ("first-byte", limits.first_byte),
        ("body", limits.body),
        ("queue", limits.queue),
        ("idle", limits.idle),
    ] {
        if let Some(limit) = limit {
            table.put(name, quoted(&duration::show(limit)));
        }
    }
    if !table.is_empty() {
        pairs.put("timeouts", table.inline());
    }
    policy::put(&mut pairs, &route.policies);
    if !route.log {
        pairs.put("log", "false");
    }
    pairs
}

fn conditions(when: &Conditions) -> Pairs {
    let mut pairs = Pairs::default();
    if !when.host.is_empty() {
        pairs.put("host", patterns(&when.host));
    }
    if !when.path.is_empty() {
        pairs.put("path", patterns(&when.path));
    }
    if when.ignore_case {
        pairs.put("ignore-case", "true");
    }
    if !when.method.is_empty() {
        pairs.put(
            "method",
            list(when.method.iter().map(|method| quoted(method))),
        );
    }
    for (name, wanted) in [
        ("header", &when.header),
        ("query", &when.query),
        ("cookie", &when.cookie),
    ] {
        if !wanted.is_empty() {
            pairs.put(name, field(wanted).inline());
        }
    }
    if !when.source.is_empty() {
        pairs.put(
            "source",
            list(when.source.iter().map(|net| quoted(&net.to_string()))),
        );
    }
    if !when.sni.is_empty() {
        pairs.put("sni", patterns(&when.sni));
    }
    if when.internal {
        pairs.put("internal", "true");
    }
    if let Some(wanted) = &when.client_cert {
        pairs.put("client-cert", presence(wanted));
    }
    if let Some(not) = &when.not {
        pairs.put("not", conditions(not).inline());
    }
    pairs
}

pub(crate) fn patterns(patterns: &[Pattern]) -> String {
    list(patterns.iter().map(|pattern| quoted(&pattern.to_string())))
}

fn field(field: &Field) -> Pairs {
    let mut pairs = Pairs::default();
    for (name, presence) in field {
        pairs.put(name, self::presence(presence));
    }
    pairs
}

fn presence(presence: &Presence) -> String {
    match presence {
        Presence::Present => quoted("*"),
        Presence::OneOf(values) => patterns(values),
    }
}
