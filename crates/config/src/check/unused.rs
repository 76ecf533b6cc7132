//! Keys that do nothing where they stand. Whoever writes one relies on it.

use std::collections::BTreeSet;

use tandem_model::{Cluster, Mode, Service};

use crate::keys::file::Draft;
use crate::keys::{listener, route};
use crate::reader::Reader;
use crate::table::Named;

pub(super) fn check(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    for listener in &draft.listeners {
        for route in &listener.section.draft.routes {
            to_files(listener, route, cluster, reader);
        }
    }
    of_requests(draft, reader);
    for app in draft.apps.iter().map(|app| &app.section.draft) {
        for key in ["head", "idle"] {
            if let Some(place) = app.timeouts_at.get(key).filter(|_| app.app.port.is_none()) {
                let message = format!("`{key}` is of the app's `port`, and it has none");
                let hint = format!("of clients: [listener.NAME] timeouts = {{ {key} = \"...\" }}");
                reader.wrong_hint(place, message, Some(hint));
            }
        }
    }
}

/// Files of the listener's own nodes are sent without asking anybody.
fn to_files(
    listener: &Named<listener::Draft>,
    route: &route::Draft,
    cluster: &Cluster,
    reader: &mut Reader<'_>,
) {
    for nested in route.nested.iter().flatten() {
        to_files(listener, nested, cluster, reader);
    }
    let Some(to) = route.to.as_ref().filter(|_| route.missing.is_empty()) else {
        return;
    };
    let Some(Service::Site(site)) = cluster.service(&to.value) else {
        return;
    };
    let mut listeners = cluster.listeners.iter();
    let here = listeners.find(|other| other.name == listener.name.value);
    let is_here = here.is_some_and(|here| here.on.iter().all(|node| site.on.contains(node)));
    if is_here && !route.over.is_empty() {
        let message = format!(
            "`{}` is a site of the same nodes: `stick`, `retry` and `timeouts` are of servers that are asked",
            to.value
        );
        reader.wrong(&route.span, message);
    }
}

/// What a backend says of requests, where only connections lead to it.
fn of_requests(draft: &Draft, reader: &mut Reader<'_>) {
    let (mut http, mut tcp) = (BTreeSet::new(), BTreeSet::new());
    for listener in &draft.listeners {
        let mine = &listener.section.draft;
        let found = match mine.listener.mode {
            Mode::Http => &mut http,
            Mode::Tcp => &mut tcp,
        };
        found.extend(mine.to.as_ref().map(|to| to.value.as_str()));
        mine.routes.iter().for_each(|route| leads(route, found));
    }
    for backend in &draft.backends {
        let (section, name) = (&backend.section, backend.name.value.as_str());
        if http.contains(name) || !tcp.contains(name) {
            continue;
        }
        if !section.draft.backend.spread.retry.on.is_empty() {
            let message =
                "`on` of `retry` is of answers, and only listeners with `mode = \"tcp\"` lead here";
            reader.wrong(&section.place("retry"), message);
        }
        if let Some(program) = &section.draft.backend.fastcgi {
            let key = program.protocol.key();
            let message = format!(
                "`{key}` is of requests, and only listeners with `mode = \"tcp\"` lead here"
            );
            reader.wrong(&section.place(key), message);
        }
    }
}

fn leads<'a>(route: &'a route::Draft, found: &mut BTreeSet<&'a str>) {
    let split = route.split.iter().map(|(to, _)| to);
    let all = route.to.iter().chain(split).chain(&route.missing);
    found.extend(all.map(|to| to.value.as_str()));
    for nested in route.nested.iter().flatten() {
        leads(nested, found);
    }
}
