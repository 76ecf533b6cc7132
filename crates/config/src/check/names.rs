//! Names: that they are well made, given once, and that what they refer to is there.

use std::collections::BTreeMap;

use tandem_model::Cluster;

use crate::keys::file::Draft;
use crate::keys::route;
use crate::reader::Reader;
use crate::span::At;
use crate::suggest::{did_you_mean, nearest};

/// Names of nodes and services become names of files, logs and metrics.
const LONGEST: usize = 32;
/// A rehearsal names a listener on several nodes after itself and each node.
const LONGEST_LISTENER: usize = 2 * LONGEST + 1;

pub(crate) fn check(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    for node in draft.nodes.iter().flatten() {
        well_made(reader, "node", &node.name, LONGEST);
    }
    for listener in &draft.listeners {
        well_made(reader, "listener", &listener.name, LONGEST_LISTENER);
    }
    let services = draft.service_names();
    let mut first: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (kind, name) in &services {
        well_made(reader, kind, name, LONGEST);
        let line = reader.line(&name.span);
        if let Some((kind, line)) = first.get(name.value.as_str()) {
            let message = format!(
                "the name `{}` is taken: by the {kind} in line {line}",
                name.value
            );
            reader.wrong(&name.span, message);
        } else {
            first.insert(&name.value, (kind, line));
        }
    }

    let nodes = |reader: &mut Reader<'_>, list: Option<&Vec<At<String>>>| {
        let list = list.map_or(&[][..], Vec::as_slice);
        for (i, name) in list.iter().enumerate() {
            if list[..i].iter().any(|before| before.value == name.value) {
                reader.wrong(&name.span, format!("`{}` is named twice", name.value));
            }
            node(reader, draft, cluster, name);
        }
    };
    for listener in &draft.listeners {
        nodes(reader, listener.section.draft.on.as_ref());
        for route in &listener.section.draft.routes {
            targets(reader, &services, route);
        }
        if let Some(to) = &listener.section.draft.to {
            service(reader, &services, to);
        }
    }
    for site in &draft.sites {
        nodes(reader, site.section.draft.on.as_ref());
    }
    for app in &draft.apps {
        let mine = &app.section.draft;
        nodes(reader, mine.on.as_ref());
        for (name, _) in &mine.weight {
            let known = node(reader, draft, cluster, name);
            if known
                && let Some(on) = &mine.on
                && !on.iter().any(|at| at.value == name.value)
            {
                let message = format!("`{}` is not on `{}`", app.name.value, name.value);
                reader.wrong(&name.span, message);
            }
        }
    }
    for backend in &draft.backends {
        let servers = &backend.section.draft.servers;
        for (i, server) in servers.iter().enumerate() {
            if servers[..i]
                .iter()
                .any(|before| before.value.name == server.value.name)
            {
                let message = format!("there are two servers `{}`", server.value.name);
                reader.wrong(&server.span, message);
            }
            let id = server.value.stick_id.as_deref();
            let mut before = servers[..i]
                .iter()
                .map(|before| before.value.stick_id.as_deref());
            if let Some(id) = id.filter(|_| before.any(|other| other == id)) {
                let message =
                    format!("there are two servers with the `stick-id` `{id}`: a cookie means one");
                reader.wrong(&server.span, message);
            }
        }
    }
    if let Some(sessions) = &draft.sessions {
        nodes(reader, sessions.draft.on.as_ref());
        nodes(reader, sessions.draft.agents.as_ref());
        if let Some(third) = &sessions.draft.third {
            node(reader, draft, cluster, third);
        }
    }
}

/// A service of the file: its kind and its name.
type Service<'a> = (&'static str, &'a At<String>);

fn well_made(reader: &mut Reader<'_>, kind: &str, name: &At<String>, longest: usize) {
    let text = &name.value;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let starts = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.len() <= longest && text.chars().all(good) && text.starts_with(starts) {
        return;
    }
    let lower = text.to_lowercase();
    let hint = (lower != *text && lower.chars().all(good)).then(|| format!("write `{lower}`"));
    let a = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    reader.wrong_hint(
        &name.span,
        format!("the name of {a} {kind} is made of a-z, 0-9, - and _, begins with a letter or a digit, and has {longest} characters at most"),
        hint,
    );
}

/// Whether a node is there.
fn node(reader: &mut Reader<'_>, draft: &Draft, cluster: &Cluster, name: &At<String>) -> bool {
    if cluster.node(&name.value).is_some() {
        return true;
    }
    let message = format!("there is no node `{}`", name.value);
    let names = cluster.nodes.iter().map(|node| node.name.as_str());
    let hint = if draft.nodes.is_none() {
        Some("a file without [nodes] runs on this machine alone, the node `local`".into())
    } else {
        did_you_mean(&name.value, names.clone())
            .or_else(|| Some(format!("the nodes are {}", listed(names))))
    };
    reader.wrong_hint(&name.span, message, hint);
    false
}

fn targets(reader: &mut Reader<'_>, services: &[Service<'_>], route: &route::Draft) {
    let split = route.split.iter().map(|(name, _)| name);
    for name in route.to.iter().chain(split).chain(&route.missing) {
        service(reader, services, name);
    }
    let mut asked: Vec<&str> = route.to.iter().map(|to| to.value.as_str()).collect();
    for missing in &route.missing {
        if asked.contains(&missing.value.as_str()) {
            reader.wrong(
                &missing.span,
                format!(
                    "`{}` is asked already: `missing` is another one",
                    missing.value
                ),
            );
        }
        asked.push(&missing.value);
    }
    for route in route.nested.iter().flatten() {
        targets(reader, services, route);
    }
}

fn service(reader: &mut Reader<'_>, services: &[Service<'_>], name: &At<String>) {
    let mut names = services.iter().map(|(_, service)| service.value.as_str());
    if names.clone().any(|service| service == name.value) {
        return;
    }
    let hint = match nearest(&name.value, names.clone()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if names.next().is_none() => Some("the file has no site, app or backend".into()),
        None => {
            let all = services.iter().map(|(_, service)| service.value.as_str());
            Some(format!("the services are {}", listed(all)))
        }
    };
    reader.wrong_hint(
        &name.span,
        format!("there is no service `{}`", name.value),
        hint,
    );
}

/// A few names, for a hint.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 8;
    let mut names: Vec<&str> = names.take(MOST + 1).collect();
    if names.len() > MOST {
        names[MOST] = "...";
    }
    names.join(", ")
}
