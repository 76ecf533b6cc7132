//! Several files of one set-up, put together: the load balancer's backends become the sites and applications that the
//! other files say are behind them, each on its machines.

use super::document::{Document, Route, Section, Table, Value};
use super::names::normal;
use super::report::Verdicts;
use super::sources::Spot;
use super::tomcat::Context;

/// A file that says what is behind a backend.
pub(crate) struct Behind {
    /// The backend it was said to be behind, by its name.
    pub of: Option<String>,
    pub what: What,
    /// A place in it, for messages.
    pub spot: Spot,
}

/// What a file is.
pub(crate) enum What {
    /// A nginx.conf.
    Nginx(Document),
    /// A context.xml.
    Tomcat(Context),
}

/// What is known of the machines beside the files.
pub(crate) struct Machines {
    /// The address of the machine that the load balancer is on.
    pub edge: Option<String>,
}

/// A backend of the load balancer.
struct Backend {
    name: String,
    section: usize,
    servers: Vec<Server>,
}

struct Server {
    name: String,
    host: String,
    port: u16,
}

/// Puts files together. `front` is the load balancer's document.
pub(crate) fn together(
    mut front: Document,
    behind: Vec<Behind>,
    machines: &Machines,
    verdicts: &mut Verdicts,
) -> Document {
    let backends = backends(&front);
    let mut nodes: Vec<(String, String, Option<Spot>)> = Vec::new();
    let mut used: Vec<usize> = Vec::new();
    let mut sessions = None;
    let edge = edge_address(&front, machines);
    nodes.push((
        "edge".into(),
        edge.clone().unwrap_or_else(|| "edge".into()),
        None,
    ));
    // Files that say where they belong go first, then those that can tell, then the rest.
    let mut behind = behind;
    behind.sort_by_key(|file| (file.of.is_none(), matches!(file.what, What::Tomcat(_))));
    for file in behind {
        let found = choose(&file, &backends, &used, &front);
        let Some(at) = found else {
            let names: Vec<&str> = backends.iter().map(|b| b.name.as_str()).collect();
            verdicts.refuse_hint(
                file.spot,
                file.spot,
                "none of the load balancer's backends is what this file is behind",
                Some(format!(
                    "say which: NAME=FILE, with a name of {}",
                    names.join(", ")
                )),
            );
            continue;
        };
        let backend = &backends[at];
        let on = place(backend, &mut nodes, front.sections[backend.section].spot);
        match file.what {
            What::Nginx(document) => {
                if file.of.is_none() {
                    verdicts.note(
                        file.spot,
                        format!(
                            "taken to be what backend `{}` leads to; NAME=FILE would say otherwise",
                            backend.name
                        ),
                    );
                }
                used.push(at);
                nginx(&mut front, backend, document, &on, file.spot, verdicts);
            }
            What::Tomcat(context) => {
                if file.of.is_none() {
                    verdicts.note(file.spot, format!("taken to be the Tomcat behind backend `{}`; NAME=FILE would say otherwise", backend.name));
                }
                used.push(at);
                tomcat(&mut front, backend, &on, &context, file.spot, verdicts);
                let mut names = Vec::new();
                for (_, host, _) in &context.memcached {
                    let wanted = format!("cache{}", names.len() + 1);
                    let name = node(&wanted, host, &mut nodes, Some(context.spot));
                    if names.contains(&name) {
                        verdicts.note(
                            context.spot,
                            format!("two memcacheds at {host} are one session node: what is on one machine goes with it"),
                        );
                        continue;
                    }
                    names.push(name);
                }
                if !names.is_empty() {
                    sessions = Some((names, context.spot));
                }
            }
        }
    }
    finish(front, nodes, sessions, edge.is_none(), verdicts)
}

/// The document with its nodes, in the order that people read.
fn finish(
    mut front: Document,
    nodes: Vec<(String, String, Option<Spot>)>,
    sessions: Option<(Vec<String>, Spot)>,
    no_address: bool,
    verdicts: &mut Verdicts,
) -> Document {
    let mut section = Section::new("nodes", None);
    for (name, address, spot) in &nodes {
        match spot {
            Some(spot) => section.put_at(name, Value::text(address), *spot),
            None => section.put(name, Value::text(address)),
        }
    }
    section.comment = "the machines".into();
    if no_address {
        section.comment = "the machines; the files do not say the address of the edge: write it here, or give --edge".into();
    }
    let mut cluster = Section::new("cluster", None);
    cluster.comment = "`tandem key` makes a key; keep it out of the file".into();
    cluster.put("key", Value::plain("\"${TANDEM_KEY}\""));
    front.sections.retain(|section| {
        if section.heading != "cluster" {
            return true;
        }
        for (key, value) in &section.table.0 {
            if matches!(key.as_str(), "user" | "group") {
                let spot = section.spots.iter().find(|(name, _)| name == key).map(|(_, spot)| *spot);
                if let Some(spot) = spot {
                    verdicts.note(spot, "the user of one machine is not that of the others: name one that all have, as `[cluster] user`");
                }
            } else if key == "admin" {
                // Each node serves its pages to its own machine.
                if matches!(value, Value::Text(at) if at.starts_with("127.0.0.1:")) {
                    cluster.table.put(key, value.clone());
                }
            } else if key != "log" {
                cluster.table.put(key, value.clone());
            }
        }
        false
    });
    for listener in front
        .sections
        .iter_mut()
        .filter(|s| s.heading.starts_with("listener."))
    {
        listener
            .table
            .0
            .insert(0, ("on".into(), Value::text("edge")));
    }
    if let Some((names, spot)) = sessions {
        let mut section = Section::new("sessions", Some(spot));
        section.comment = "memcachedNodes".into();
        section.put_at("on", Value::texts(names), spot);
        front.sections.push(section);
    }
    front.sections.splice(0..0, [section, cluster]);
    front
}

fn backends(front: &Document) -> Vec<Backend> {
    let mut found = Vec::new();
    for (number, section) in front.sections.iter().enumerate() {
        let Some(name) = section.heading.strip_prefix("backend.") else {
            continue;
        };
        let list = match section.table.get("servers") {
            Some(Value::List(list)) => list.clone(),
            Some(value) => vec![value.clone()],
            None => continue,
        };
        let servers = list.iter().filter_map(server).collect();
        found.push(Backend {
            name: name.to_owned(),
            section: number,
            servers,
        });
    }
    found
}

fn server(value: &Value) -> Option<Server> {
    let (address, name) = match value {
        Value::Text(address) => (address.clone(), String::new()),
        Value::Table(table) => {
            let text = |key: &str| match table.get(key) {
                Some(Value::Text(text)) => text.clone(),
                _ => String::new(),
            };
            (text("address"), text("name"))
        }
        _ => return None,
    };
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let name = if name.is_empty() { normal(host) } else { name };
    Some(Server {
        name,
        host: host.to_owned(),
        port,
    })
}

/// The address of the load balancer: given, or that of a listener.
fn edge_address(front: &Document, machines: &Machines) -> Option<String> {
    if machines.edge.is_some() {
        return machines.edge.clone();
    }
    front
        .sections
        .iter()
        .filter(|s| s.heading.starts_with("listener."))
        .find_map(|section| {
            let Some(Value::List(list)) = section.table.get("bind") else {
                return None;
            };
            list.iter().find_map(|value| match value {
                Value::Text(text) => {
                    let host = text.rsplit_once(':')?.0;
                    (!host.is_empty() && !host.starts_with("127.") && !host.starts_with("unix"))
                        .then(|| host.to_owned())
                }
                _ => None,
            })
        })
}

/// Which backend a file is behind.
fn choose(file: &Behind, backends: &[Backend], used: &[usize], front: &Document) -> Option<usize> {
    if let Some(name) = &file.of {
        return backends
            .iter()
            .position(|backend| backend.name == normal(name));
    }
    let free: Vec<usize> = (0..backends.len())
        .filter(|at| !used.contains(at))
        .collect();
    let score = |at: usize| -> u32 {
        let backend = &backends[at];
        match &file.what {
            What::Nginx(document) => {
                let ports = ports(document);
                let sites = document
                    .sections
                    .iter()
                    .any(|s| s.heading.starts_with("site."));
                u32::from(
                    backend
                        .servers
                        .iter()
                        .any(|server| ports.contains(&server.port)),
                ) + 2 * u32::from(sites == is_static(backend, front))
            }
            What::Tomcat(_) => {
                2 * u32::from(!is_static(backend, front)) + u32::from(backend.servers.len() > 1)
            }
        }
    };
    let best = free
        .iter()
        .copied()
        .max_by_key(|&at| (score(at), std::cmp::Reverse(at)))?;
    (score(best) > 1 || free.len() == 1).then_some(best)
}

/// Whether a backend is, by its name or by the paths that lead there, one for files.
fn is_static(backend: &Backend, front: &Document) -> bool {
    let named = [
        "static", "file", "image", "img", "asset", "media", "www", "html", "nginx",
    ];
    if named.iter().any(|word| backend.name.contains(word)) {
        return true;
    }
    let mut found = false;
    for section in &front.sections {
        if let Some(Value::Routes(routes)) = section.table.get("route") {
            for route in routes {
                let leads =
                    matches!(route.table.get("to"), Some(Value::Text(to)) if *to == backend.name);
                let shown = format!("{:?}", route.table.get("path"));
                found |= leads
                    && ["*.jpg", "*.css", "*.png", "*.gif"]
                        .iter()
                        .any(|end| shown.contains(end));
            }
        }
    }
    found
}

fn ports(document: &Document) -> Vec<u16> {
    let listeners = document
        .sections
        .iter()
        .filter(|s| s.heading.starts_with("listener."));
    listeners
        .filter_map(|section| match section.table.get("bind") {
            Some(Value::List(list)) => Some(list.clone()),
            _ => None,
        })
        .flatten()
        .filter_map(|value| match value {
            Value::Text(text) => text.rsplit_once(':')?.1.parse().ok(),
            _ => None,
        })
        .collect()
}

/// A node by its address; made when there is none.
fn node(
    wanted: &str,
    host: &str,
    nodes: &mut Vec<(String, String, Option<Spot>)>,
    spot: Option<Spot>,
) -> String {
    if let Some((name, ..)) = nodes.iter().find(|(_, address, _)| address == host) {
        return name.clone();
    }
    let base = normal(wanted);
    let mut name = base.clone();
    let mut number = 1;
    while nodes.iter().any(|(known, ..)| *known == name) {
        number += 1;
        name = format!("{base}-{number}");
    }
    nodes.push((name.clone(), host.to_owned(), spot));
    name
}

/// The nodes of a backend's servers.
fn place(
    backend: &Backend,
    nodes: &mut Vec<(String, String, Option<Spot>)>,
    spot: Option<Spot>,
) -> Vec<String> {
    backend
        .servers
        .iter()
        .map(|server| node(&server.name, &server.host, nodes, spot))
        .collect()
}

/// Keys of a backend that an application has too.
const SHARED: [&str; 7] = [
    "check",
    "balance",
    "stick",
    "retry",
    "queue",
    "timeouts",
    "slow-start",
];

/// The section of a backend becomes that of an application at `proxy`.
fn as_app(front: &mut Document, backend: &Backend, on: &[String], proxy: &str, spot: Spot) {
    let old = front.sections[backend.section].clone();
    let mut new = Section::named("app", &backend.name, old.spot);
    new.comment.clone_from(&old.comment);
    new.put("on", Value::texts(on.to_vec()));
    if let Some(server) = backend.servers.first() {
        new.put("port", Value::plain(server.port));
    }
    new.put_at("proxy", Value::text(proxy), spot);
    for key in SHARED {
        if let Some(value) = old.table.get(key) {
            new.put(key, value.clone());
        }
    }
    new.spots.extend(old.spots.iter().cloned());
    weights(&old, on, &mut new);
    front.sections[backend.section] = new;
}

/// Weights of servers as those of nodes, and the most requests that one has.
fn weights(old: &Section, on: &[String], new: &mut Section) {
    let Some(Value::List(servers)) = old.table.get("servers") else {
        return;
    };
    let mut weights = Table::default();
    for (server, node) in servers.iter().zip(on) {
        if let Value::Table(table) = server {
            if let Some(weight) = table.get("weight") {
                weights.put(node, weight.clone());
            }
            if let Some(most) = table.get("max-connections") {
                new.put("max-connections", most.clone());
            }
        }
    }
    if !weights.is_empty() {
        new.put("weight", Value::Table(weights));
    }
}

fn tomcat(
    front: &mut Document,
    backend: &Backend,
    on: &[String],
    context: &Context,
    spot: Spot,
    verdicts: &mut Verdicts,
) {
    // A nginx before it may have said already where it listens.
    if front.sections[backend.section].heading.starts_with("app.") {
        return;
    }
    match &context.listens {
        Some((at, spot)) => as_app(front, backend, on, at, *spot),
        None => {
            verdicts.note(spot, "Tomcat is taken to listen on 127.0.0.1:8080 of its machine, as it does unless server.xml says otherwise: give that file, too");
            as_app(front, backend, on, "127.0.0.1:8080", spot);
        }
    }
}

/// What a nginx behind a backend does: files become a site on its machines, an application that it passes requests to
/// one behind the gateway there.
fn nginx(
    front: &mut Document,
    backend: &Backend,
    document: Document,
    on: &[String],
    spot: Spot,
    verdicts: &mut Verdicts,
) {
    let listeners: Vec<&Section> = document
        .sections
        .iter()
        .filter(|s| s.heading.starts_with("listener."))
        .collect();
    let wanted = backend.servers.first().map_or(80, |server| server.port);
    let listener = listeners.iter().find(|section| {
        let one = Document {
            sections: vec![(**section).clone()],
            ..Document::default()
        };
        ports(&one).contains(&wanted)
    });
    let Some(listener) = listener.or(listeners.first()) else {
        return verdicts.refuse(spot, spot, "this file listens nowhere");
    };
    let Some(Value::Routes(routes)) = listener.table.get("route") else {
        return;
    };
    let mut sites: Vec<Section> = document
        .sections
        .iter()
        .filter(|s| s.heading.starts_with("site."))
        .cloned()
        .collect();
    let mut routes = routes.clone();
    fold_status(&mut sites, &mut routes);
    // All of it is passed to a program of the same machine.
    if let [only] = &routes[..]
        && let Some(Value::Text(to)) = only.table.get("to")
        && let Some(section) = document
            .sections
            .iter()
            .find(|s| s.heading == format!("backend.{to}"))
    {
        let local = match section.table.get("servers") {
            Some(Value::Text(address)) => Some(address.clone()),
            Some(Value::List(list)) => match &list[..] {
                [Value::Text(address)] => Some(address.clone()),
                [Value::Table(table)] => match table.get("address") {
                    Some(Value::Text(address)) => Some(address.clone()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        let local = local.filter(|address| {
            address.starts_with("127.")
                || address.starts_with("localhost:")
                || address.starts_with("unix:")
        });
        if let Some(address) = local {
            as_app(
                front,
                backend,
                on,
                &address.replace("localhost:", "127.0.0.1:"),
                spot,
            );
            return;
        }
        return verdicts.refuse(
            spot,
            spot,
            "a nginx behind the load balancer passes requests to its own machine, or has files",
        );
    }
    let Some(main) = routes
        .iter()
        .rev()
        .find_map(|route| match route.table.get("to") {
            Some(Value::Text(to)) => Some(to.clone()),
            _ => None,
        })
    else {
        return verdicts.refuse(spot, spot, "no site is in this file");
    };
    let simple = routes.len() == 1;
    let old = front.sections[backend.section].clone();
    let mut added = Vec::new();
    for (port, mut site) in (wanted..).zip(sites) {
        let name = site.heading.trim_start_matches("site.").to_owned();
        let is_main = name == main;
        let mut table = Table::default()
            .with("on", Value::texts(on.to_vec()))
            .with("port", Value::plain(port));
        table.0.extend(site.table.0.iter().cloned());
        if let Some(check) = old.table.get("check") {
            table.put("check", check.clone());
        }
        site.table = table;
        if is_main {
            site.heading = format!("site.{}", crate::emit::text::key(&backend.name));
            front.sections[backend.section] = site;
        } else {
            added.push(site);
        }
    }
    if !added.is_empty() {
        verdicts.note(
            spot,
            "several sites of one machine have a port each, from that of the backend on",
        );
    }
    front.sections.extend(added);
    for key in [
        "balance",
        "retry",
        "queue",
        "timeouts",
        "stick",
        "slow-start",
    ] {
        if let Some((_, spot)) = old
            .spots
            .iter()
            .find(|(name, _)| name == key)
            .filter(|_| old.table.has(key))
        {
            verdicts.note(
                *spot,
                format!(
                    "`{key}` of backend {} is the usual one: sites have their own good values",
                    backend.name
                ),
            );
        }
    }
    if simple && only_to(&routes[0].table) {
        for section in &mut front.sections {
            for (_, value) in &mut section.table.0 {
                if let Value::Routes(outer) = value {
                    untimed(outer, &backend.name);
                }
            }
        }
        return;
    }
    // What nginx asked of paths is asked by the listener.
    rename(&mut routes, &main, &backend.name);
    for section in &mut front.sections {
        if let Some((_, Value::Routes(outer))) =
            section.table.0.iter_mut().find(|(key, _)| key == "route")
        {
            insert(outer, &backend.name, &routes);
        }
    }
}

/// Whether a route does nothing but lead somewhere.
fn only_to(table: &Table) -> bool {
    table.0.len() == 1 && table.has("to")
}

/// A page of counters whose site is otherwise that of another is the other's.
fn fold_status(sites: &mut Vec<Section>, routes: &mut Vec<Route>) {
    let mut at = 0;
    while at < sites.len() {
        let mut plain = sites[at].table.clone();
        let status = plain.get("status").cloned();
        plain.0.retain(|(key, _)| key != "status");
        plain.0.retain(|(key, _)| key != "index");
        let same = sites.iter().position(|other| {
            let mut theirs = other.table.clone();
            theirs.0.retain(|(key, _)| key != "index");
            !other.table.has("status") && theirs == plain
        });
        let (Some(status), Some(same)) = (status, same) else {
            at += 1;
            continue;
        };
        let gone = sites[at].heading.trim_start_matches("site.").to_owned();
        sites[same].table.put("status", status);
        sites.remove(at);
        routes
            .retain(|route| !matches!(route.table.get("to"), Some(Value::Text(to)) if *to == gone));
    }
}

/// Routes that lead to `from` lead to `to`.
fn rename(routes: &mut [Route], from: &str, to: &str) {
    for route in routes {
        for (key, value) in &mut route.table.0 {
            match value {
                Value::Text(text) if matches!(key.as_str(), "to" | "missing") && text == from => {
                    to.clone_into(text);
                }
                Value::Routes(inner) => rename(inner, from, to),
                _ => {}
            }
        }
    }
}

/// Files have no tunnels whose silence a route could limit.
fn untimed(outer: &mut [Route], site: &str) {
    for route in outer {
        let leads = matches!(route.table.get("to"), Some(Value::Text(to)) if to == site);
        route.table.0.retain(|(key, _)| !leads || key != "timeouts");
        for (_, value) in &mut route.table.0 {
            if let Value::Routes(inner) = value {
                untimed(inner, site);
            }
        }
    }
}

/// In place of leading to a backend, routes are asked.
fn insert(outer: &mut [Route], backend: &str, routes: &[Route]) {
    for route in outer {
        let leads = matches!(route.table.get("to"), Some(Value::Text(to)) if to == backend);
        if leads {
            route.table.0.retain(|(key, _)| key != "to");
            route.table.put("route", Value::Routes(routes.to_vec()));
            continue;
        }
        for (_, value) in &mut route.table.0 {
            if let Value::Routes(inner) = value {
                insert(inner, backend, routes);
            }
        }
    }
}
