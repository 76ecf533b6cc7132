//! What goes with the mode of a listener, and what a service needs for it.

use tandem_model::{
    Balance, Cluster, Conditions, Mode, Overrides, Policies, Service, Stick, StickBy,
};

use crate::keys::file::Draft;
use crate::keys::{listener, route};
use crate::reader::Reader;
use crate::span::{At, Span};
use crate::table::Named;

/// Keys of a listener that say something of requests.
const OF_HTTP: [&str; 2] = ["http2", "request-id"];

pub(crate) fn check(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    for named in &draft.listeners {
        let mine = &named.section.draft;
        let (to, route) = (named.section.has("to"), named.section.has("route"));
        match mine.listener.mode {
            Mode::Http => {
                if to {
                    let hint = "with `mode = \"tcp\"`; here it is route = [{ to = \"NAME\" }]";
                    let place = named.section.place("to");
                    reader.wrong_hint(
                        &place,
                        "`to` is of listeners in TCP mode",
                        Some(hint.into()),
                    );
                } else if !route && !reader.is_broken() {
                    let message = format!("`route` is missing in [listener.{}]", named.name.value);
                    reader.wrong(&named.section.span, message);
                }
                let tls = mine.listener.tls.as_ref();
                let asks_clients = tls.is_some_and(|tls| tls.client_ca.is_some());
                for route in &mine.routes {
                    over_http(route, asks_clients, reader);
                }
            }
            Mode::Tcp => tcp(named, (to, route), cluster, reader),
        }
        for route in &mine.routes {
            signed(&route.over, &route.span, cluster, reader);
        }
    }
    let apps = draft.apps.iter().map(|app| {
        let section = &app.section;
        (
            section.draft.app.spread.stick.as_ref(),
            section.place("stick"),
        )
    });
    let backends = draft.backends.iter().map(|backend| {
        let section = &backend.section;
        (
            section.draft.backend.spread.stick.as_ref(),
            section.place("stick"),
        )
    });
    for (stick, place) in apps.chain(backends) {
        needs_key(stick, &place, cluster, reader);
    }
}

fn signed(over: &Overrides, place: &Span, cluster: &Cluster, reader: &mut Reader<'_>) {
    needs_key(over.stick.as_ref(), place, cluster, reader);
}

fn needs_key(stick: Option<&Stick>, place: &Span, cluster: &Cluster, reader: &mut Reader<'_>) {
    if let Some(Stick {
        by: StickBy::Cookie(cookie),
        ..
    }) = stick
        && cookie.signed
        && cluster.key.is_none()
    {
        let hint = Some("`tandem key` makes one: [cluster] key = \"...\"".into());
        reader.wrong_hint(place, "a signed cookie needs the key of the cluster", hint);
    }
}

/// In HTTP mode nothing asks for the name of TLS: it is ended here, and `host` says what was asked for. What clients prove is
/// known where they are asked.
fn over_http(route: &route::Draft, asks_clients: bool, reader: &mut Reader<'_>) {
    if names_sni(&route.when) {
        let hint = Some("`host` is what was asked for".into());
        reader.wrong_hint(
            &route.span,
            "`sni` is of listeners with `mode = \"tcp\"`",
            hint,
        );
    }
    if !asks_clients && names_client_cert(&route.when) {
        let hint =
            "tls = { certs = ..., client-ca = \"authorities.pem\", client-cert = \"optional\" }";
        let message = "the listener asks no client for a certificate, so that none has one";
        reader.wrong_hint(&route.span, message, Some(hint.into()));
    }
    for route in route.nested.iter().flatten() {
        over_http(route, asks_clients, reader);
    }
}

fn names_client_cert(when: &Conditions) -> bool {
    when.client_cert.is_some() || when.not.as_deref().is_some_and(names_client_cert)
}

fn names_sni(when: &Conditions) -> bool {
    !when.sni.is_empty() || when.not.as_deref().is_some_and(names_sni)
}

fn tcp(
    named: &Named<listener::Draft>,
    (to, route): (bool, bool),
    cluster: &Cluster,
    reader: &mut Reader<'_>,
) {
    let mine = &named.section.draft;
    match (to, route) {
        (true, true) => {
            let message = "`to` and `route`: one of them says where connections go";
            reader.wrong(&named.section.place("route"), message);
        }
        (false, false) if !reader.is_broken() => {
            let message = format!("`to` is missing in [listener.{}]", named.name.value);
            reader.wrong(&named.section.span, message);
        }
        _ => {}
    }
    for key in ["errors", "maintenance"] {
        if named.section.has(key) {
            let message = format!("`{key}` is of listeners with `mode = \"http\"`");
            reader.wrong(&named.section.place(key), message);
        }
    }
    for key in OF_HTTP.iter().filter(|key| named.section.has(key)) {
        let message = format!("`{key}` is of requests, and `mode = \"tcp\"` knows none");
        reader.wrong(&named.section.place(key), message);
    }
    limits(named, reader);
    if let Some(to) = &mine.to {
        backend(to, &Overrides::default(), cluster, reader);
    }
    for route in &mine.routes {
        of_tcp(route, mine.listener.tls.is_some(), cluster, reader);
    }
}

/// Limits and time limits that only requests come to.
fn limits(named: &Named<listener::Draft>, reader: &mut Reader<'_>) {
    let mine = &named.section.draft;
    for (name, place) in &mine.limits_at {
        if !["connections", "beyond", "per-source", "per-source-rate"].contains(&name.as_str()) {
            let message = format!("`{name}` is of requests, and `mode = \"tcp\"` knows none");
            reader.wrong(place, message);
        }
    }
    if let Some(place) = mine.timeouts_at.get("body") {
        let message = "`body` is of requests, and `mode = \"tcp\"` knows none";
        let hint = Some("`idle` is how long a connection may be silent".into());
        reader.wrong_hint(place, message, hint);
    }
    let begins = mine.listener.tls.is_some()
        || mine.listener.proxy_protocol
        || mine.routes.iter().any(wants_name);
    if let Some(place) = mine.timeouts_at.get("head").filter(|_| !begins) {
        let message = "`head` is of what comes first: nothing does here without `tls`, `proxy-protocol` and `sni`";
        let hint = Some("`idle` is how long a connection may be silent".into());
        reader.wrong_hint(place, message, hint);
    }
    // Whose connections are counted one by one depends on it.
    let limits = &mine.listener.limits;
    let counts = limits.per_source.is_some() || limits.per_source_rate.is_some();
    if named.section.has("trust") && !mine.listener.proxy_protocol && !counts {
        let message = "whose word is taken matters where somebody is asked: this listener has no `proxy-protocol`";
        reader.wrong(&named.section.place("trust"), message);
    }
}

fn wants_name(route: &route::Draft) -> bool {
    names_sni(&route.when) || route.nested.iter().flatten().any(wants_name)
}

/// A route of connections: they have no heads to look at.
fn of_tcp(route: &route::Draft, ends_tls: bool, cluster: &Cluster, reader: &mut Reader<'_>) {
    if asks_http(&route.when) {
        let message =
            "a connection has only `sni` and `source`: `mode = \"tcp\"` looks at nothing else";
        reader.wrong(&route.span, message);
    }
    if names_sni(&route.when) && ends_tls {
        let message =
            "`sni` is read where TLS is passed on, and this listener has `tls` of its own";
        reader.wrong(&route.span, message);
    }
    if route.policies != Policies::default() {
        let message =
            "what is done to requests and answers is of HTTP, and `mode = \"tcp\"` knows none";
        reader.wrong(&route.span, message);
    }
    if !route.split.is_empty() {
        let message = "requests are split, and `mode = \"tcp\"` knows none";
        reader.wrong(&route.span, message);
    } else if !route.missing.is_empty() {
        reader.wrong(
            &route.span,
            "`missing` is of requests, and `mode = \"tcp\"` knows none",
        );
    }
    if route.to.is_none()
        && route.split.is_empty()
        && route.nested.is_none()
        && !route.broken
        && !route.denies()
    {
        let message = "with `mode = \"tcp\"` a route has `to`, `route` or `deny`";
        reader.wrong(&route.span, message);
    }
    if route
        .over
        .retry
        .as_ref()
        .is_some_and(|retry| !retry.on.is_empty())
    {
        let message = "`on` of `retry` is of answers, and `mode = \"tcp\"` knows none";
        reader.wrong(&route.span, message);
    }
    if let Some(to) = &route.to {
        backend(to, &route.over, cluster, reader);
    }
    for route in route.nested.iter().flatten() {
        of_tcp(route, ends_tls, cluster, reader);
    }
}

fn asks_http(when: &Conditions) -> bool {
    let allowed = Conditions {
        source: when.source.clone(),
        sni: when.sni.clone(),
        not: when.not.clone(),
        ..Conditions::default()
    };
    *when != allowed || when.not.as_deref().is_some_and(asks_http)
}

/// Where connections go: something that knows them.
fn backend(to: &At<String>, over: &Overrides, cluster: &Cluster, reader: &mut Reader<'_>) {
    let name = &to.value;
    let backend = match cluster.service(name) {
        Some(Service::Backend(backend)) => backend,
        Some(other) => {
            let message = format!(
                "`{name}` is {} {}, which speaks HTTP: `mode = \"tcp\"` leads to a backend",
                if other.kind() == "app" { "an" } else { "a" },
                other.kind()
            );
            return reader.wrong(&to.span, message);
        }
        // It was said that there is none.
        None => return,
    };
    let by_head = matches!(
        backend.spread.balance,
        Balance::Uri | Balance::Header(_) | Balance::Cookie(_)
    );
    if by_head {
        let message = format!(
            "`{name}` is balanced by what a request says, and `mode = \"tcp\"` knows no requests"
        );
        reader.wrong(&to.span, message);
    }
    let stick = over.stick.as_ref().or(backend.spread.stick.as_ref());
    if stick.is_some_and(|stick| !matches!(stick.by, StickBy::Source { .. })) {
        let message =
            format!("`{name}` sticks by a cookie: with `mode = \"tcp\"` it can be by \"source\"");
        reader.wrong(&to.span, message);
    }
}
