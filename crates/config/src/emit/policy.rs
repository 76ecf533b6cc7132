//! Policies of routes as text.

use std::collections::BTreeMap;

use tandem_model::auth::REALM;
use tandem_model::{
    Auth, Authorization, Authorize, BodyLimit, Compress, Compression, Counts, ErrorContent, Errors,
    FieldChanges, Maintenance, PathChange, Policies, Rate, Replaced, Substitution, Template, Users,
};

use super::text::{Pairs, list, quoted};
use crate::duration;

/// How often a client may do something.
pub(crate) fn rate(rate: &Rate) -> String {
    let limit = quoted(&rate.to_string());
    let mut table = Pairs::default();
    table.put("limit", limit.clone());
    table.put_unless("burst", &rate.burst, &rate.requests, ToString::to_string);
    if rate.counts == Counts::Errors {
        table.put("counts", quoted("errors"));
    }
    if table.len() == 1 {
        limit
    } else {
        table.inline()
    }
}

pub(crate) fn put(pairs: &mut Pairs, policies: &Policies) {
    match &policies.path {
        None => {}
        Some(PathChange::Strip(prefix)) => pairs.put("strip", quoted(prefix)),
        Some(PathChange::Rewrite(changes)) if is_text(changes) => {
            let to = changes.iter().map(|change| quoted(&change.to.to_string()));
            pairs.put("rewrite", list(to));
        }
        Some(PathChange::Rewrite(changes)) => {
            pairs.put("rewrite", substitutions(changes));
        }
    }
    let mut headers = Pairs::default();
    for (side, changes) in [
        ("request", &policies.headers.request),
        ("response", &policies.headers.response),
        ("success", &policies.headers.success),
    ] {
        if !changes.is_empty() {
            headers.put(side, self::changes(changes));
        }
    }
    let by_status: Vec<String> = (policies.headers.by_status.iter())
        .map(|one| {
            let mut own = Pairs::default();
            own.put(
                "status",
                list(one.statuses.iter().map(super::service::statuses)),
            );
            put_changes(&mut own, &one.changes);
            own.inline()
        })
        .collect();
    if !by_status.is_empty() {
        headers.put("by-status", list(by_status));
    }
    if !headers.is_empty() {
        pairs.put("headers", headers.inline());
    }
    match &policies.auth {
        None => {}
        Some(Auth::Off) => pairs.put("auth", "false"),
        Some(Auth::Basic(users)) => pairs.put("auth", auth(users)),
    }
    match &policies.authorize {
        None => {}
        Some(Authorize::Off) => pairs.put("authorize", "false"),
        Some(Authorize::By(by)) if by.timeout == Authorization::TIMEOUT => {
            pairs.put("authorize", quoted(&by.path));
        }
        Some(Authorize::By(by)) => {
            let mut table = Pairs::default();
            table.put("path", quoted(&by.path));
            table.put("timeout", quoted(&duration::show(by.timeout)));
            pairs.put("authorize", table.inline());
        }
    }
    if let Some(mine) = &policies.rate {
        pairs.put("rate", rate(mine));
    }
    let mut limits = Pairs::default();
    match policies.body {
        None => {}
        Some(BodyLimit::Unlimited) => limits.put("body", "false"),
        Some(BodyLimit::Most(size)) => limits.put("body", quoted(&size.to_string())),
    }
    if let Some(most) = policies.per_source {
        limits.put("per-source", most.to_string());
    }
    if !limits.is_empty() {
        pairs.put("limits", limits.inline());
    }
    match &policies.compress {
        None => {}
        Some(Compress::Off) => pairs.put("compress", "false"),
        Some(Compress::On(mine)) => pairs.put("compress", compress(mine)),
    }
    errors(pairs, &policies.errors);
}

fn compress(mine: &Compression) -> String {
    let usual = Compression::default();
    let mut table = Pairs::default();
    if !mine.types.is_empty() {
        table.put("types", list(mine.types.iter().map(|kind| quoted(kind))));
    }
    table.put_unless("min", &mine.min, &usual.min, |min| quoted(&min.to_string()));
    table.put_unless("codings", &mine.codings, &usual.codings, |codings| {
        list(codings.iter().map(|coding| quoted(coding.name())))
    });
    if table.is_empty() {
        return "true".into();
    }
    table.inline()
}

fn auth(users: &Users) -> String {
    let mut table = Pairs::default();
    if !users.users.is_empty() {
        let mut hashes = Pairs::default();
        for (name, hash) in &users.users {
            hashes.put(name, quoted(hash.reveal()));
        }
        table.put("users", hashes.inline());
    }
    if let Some(file) = &users.file {
        table.put("file", quoted(&file.to_string_lossy()));
    }
    if users.realm != REALM {
        table.put("realm", quoted(&users.realm));
    }
    table.inline()
}

pub(crate) fn errors(pairs: &mut Pairs, errors: &Errors) {
    let mut table = Pairs::default();
    for (statuses, page) in errors {
        let mut own = Pairs::default();
        match &page.content {
            ErrorContent::File(file) if !page.upstream => {
                table.put(&statuses.to_string(), quoted(&file.to_string_lossy()));
                continue;
            }
            ErrorContent::File(file) => own.put("file", quoted(&file.to_string_lossy())),
            ErrorContent::Redirect { to, status } => {
                own.put("redirect", quoted(&to.to_string()));
                own.put_unless("status", status, &302, ToString::to_string);
            }
            ErrorContent::Path { to, status } => {
                own.put("to", quoted(&to.to_string()));
                if let Some(status) = status {
                    own.put("status", status.to_string());
                }
            }
        }
        own.put_unless("upstream", &page.upstream, &false, ToString::to_string);
        table.put(&statuses.to_string(), own.inline());
    }
    if !table.is_empty() {
        pairs.put("errors", table.inline());
    }
}

pub(crate) fn maintenance(pairs: &mut Pairs, maintenance: Option<&Maintenance>) {
    let Some(mine) = maintenance else { return };
    let mut table = Pairs::default();
    if let Some(page) = &mine.page {
        table.put("page", quoted(&page.to_string_lossy()));
    }
    if !mine.allow.is_empty() {
        let nets = mine.allow.iter().map(|net| quoted(&net.to_string()));
        table.put("allow", list(nets));
    }
    if mine.active {
        table.put("active", "true");
    }
    pairs.put("maintenance", table.inline());
}

/// One path for all is written without a table.
fn is_text(changes: &[Substitution]) -> bool {
    matches!(
        changes,
        [Substitution {
            from: Replaced::All,
            ..
        }]
    )
}

fn changes(changes: &FieldChanges) -> String {
    let mut table = Pairs::default();
    put_changes(&mut table, changes);
    table.inline()
}

fn put_changes(table: &mut Pairs, changes: &FieldChanges) {
    if !changes.remove.is_empty() {
        table.put(
            "remove",
            list(changes.remove.iter().map(|name| quoted(name))),
        );
    }
    if !changes.replace.is_empty() {
        let mut replace = Pairs::default();
        for (name, steps) in &changes.replace {
            let steps = steps.iter().map(|rules| substitutions(rules));
            replace.put(name, list(steps));
        }
        table.put("replace", replace.inline());
    }
    if !changes.set.is_empty() {
        table.put("set", fields(&changes.set));
    }
    if !changes.add.is_empty() {
        let mut add = Pairs::default();
        for (name, values) in &changes.add {
            let values = values.iter().map(|value| quoted(&value.to_string()));
            add.put(name, list(values));
        }
        table.put("add", add.inline());
    }
    if !changes.default.is_empty() {
        table.put("default", fields(&changes.default));
    }
}

/// A table of what becomes what.
fn substitutions(changes: &[Substitution]) -> String {
    let mut table = Pairs::default();
    for change in changes {
        let to = quoted(&change.to.to_string());
        match &change.from {
            Replaced::All => table.put("~^.*$", to),
            Replaced::Prefix(prefix) => table.put(prefix, to),
            Replaced::Regex(regex) => table.put(&format!("~{regex}"), to),
        }
    }
    table.inline()
}

/// Fields and their values.
pub(crate) fn fields(fields: &BTreeMap<String, Template>) -> String {
    let mut table = Pairs::default();
    for (name, value) in fields {
        table.put(name, quoted(&value.to_string()));
    }
    table.inline()
}
