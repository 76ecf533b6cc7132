//! A cluster as a cluster file.

mod policy;
mod route;
mod service;
mod spread;
pub(crate) mod text;

use std::fmt::Write;

use tandem_model::{
    AccessFormat, Action, Admin, Beyond, ClientCert, Cluster, Limits, Listener, LogFormat, LogTo,
    Mode, Node, Secret, Sessions, Size, Timeouts, TlsVersion,
};

use crate::duration;
use crate::keys::{cluster, listener, sessions};
use crate::lower::{default_agents, only_node};
use text::{Pairs, list, quoted};

/// Writes `cluster` as a cluster file that reads back as the same. What is the default is left out. The key of the
/// nodes is in it as it is: the text is as secret as the key.
pub fn emit(cluster: &Cluster) -> String {
    let mut sections = Vec::new();
    // Without [nodes] there is one node, and everything is on it.
    let alone = cluster.nodes == [only_node()];
    let implied_on: Vec<String> = if alone {
        vec![only_node().name]
    } else {
        let mut nodes = Pairs::default();
        for each in &cluster.nodes {
            nodes.put(&each.name, node(each));
        }
        sections.push(nodes.section("nodes"));
        Vec::new()
    };
    let common = common(cluster);
    if !common.is_empty() {
        sections.push(common.section("cluster"));
    }
    for each in &cluster.listeners {
        sections.push(listener(each, &implied_on));
    }
    for each in &cluster.services {
        sections.push(service::service(each, &implied_on));
    }
    if let Some(mine) = &cluster.sessions {
        sections.push(sessions(cluster, mine, &implied_on).section("sessions"));
    }
    sections.join("\n")
}

fn node(node: &Node) -> String {
    let Some(workers) = node.workers else {
        return quoted(&node.address);
    };
    let mut table = Pairs::default();
    table.put("address", quoted(&node.address));
    table.put("workers", workers.to_string());
    table.inline()
}

fn common(cluster: &Cluster) -> Pairs {
    let usual = cluster::Draft::default().cluster;
    let mut pairs = Pairs::default();
    pairs.put_unless("name", &cluster.name, &usual.name, |name| quoted(name));
    if let Some(key) = cluster.key.as_ref().map(Secret::reveal) {
        pairs.put("key", quoted(key));
    }
    pairs.put_unless("port", &cluster.port, &usual.port, ToString::to_string);
    pairs.put_unless("state", &cluster.state, &usual.state, |state| {
        quoted(&state.to_string_lossy())
    });
    if let Some(user) = &cluster.user {
        pairs.put("user", quoted(user));
    }
    if let Some(group) = &cluster.group {
        pairs.put("group", quoted(group));
    }
    if let Some(workers) = cluster.workers {
        pairs.put("workers", workers.to_string());
    }
    pairs.put_unless("admin", &cluster.admin, &usual.admin, |admin| match admin {
        Admin::At(address) => quoted(&address.to_string()),
        Admin::Off => "false".into(),
    });
    pairs.put_unless("log", &cluster.log, &usual.log, |log| match log {
        LogTo::Stderr => quoted("stderr"),
        LogTo::File(path) => quoted(path),
    });
    if let Some(token) = &cluster.admin_token {
        pairs.put("admin-token", quoted(token.reveal()));
    }
    pairs.put_unless(
        "log-format",
        &cluster.log_format,
        &usual.log_format,
        |format| {
            quoted(match format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            })
        },
    );
    pairs.put_unless("log-level", &cluster.log_level, &usual.log_level, |level| {
        quoted(level.name())
    });
    let format = &cluster.access_format;
    pairs.put_unless("access-format", format, &usual.access_format, access_format);
    pairs
}

fn access_format(format: &AccessFormat) -> String {
    match format {
        AccessFormat::Combined => quoted("combined"),
        AccessFormat::Json => quoted("json"),
        AccessFormat::Own(template) => quoted(&template.to_string()),
    }
}

fn access_log(pairs: &mut Pairs, mine: &Listener) {
    let file = mine.log.as_deref();
    let usual = file == Some(listener::ACCESS_LOG);
    match (file, &mine.log_format) {
        (None, _) => pairs.put("log", "false"),
        (Some(_), None) if usual => {}
        (Some(path), None) => pairs.put("log", quoted(path)),
        (Some(path), Some(format)) => {
            let mut table = Pairs::default();
            if !usual {
                table.put("file", quoted(path));
            }
            table.put("format", access_format(format));
            pairs.put("log", table.inline());
        }
    }
}

fn listener(mine: &Listener, implied_on: &[String]) -> String {
    let usual = listener::Draft::default().listener;
    let mut pairs = Pairs::default();
    if mine.on != implied_on {
        pairs.put("on", list(mine.on.iter().map(|node| quoted(node))));
    }
    pairs.put(
        "bind",
        list(mine.bind.iter().map(|bind| quoted(&bind.to_string()))),
    );
    pairs.put_unless("mode", &mine.mode, &usual.mode, |_| quoted("tcp"));
    if let Some(tls) = &mine.tls {
        let certs = list(tls.certs.iter().map(|path| quoted(&path.to_string_lossy())));
        let mut table = Pairs::default();
        if !tls.keys.is_empty() {
            let keys = tls.keys.iter().map(|path| quoted(&path.to_string_lossy()));
            table.put("keys", list(keys));
        }
        if let Some(path) = &tls.client_ca {
            table.put("client-ca", quoted(&path.to_string_lossy()));
        }
        table.put_unless(
            "client-cert",
            &tls.client_cert,
            &ClientCert::default(),
            |_| quoted("optional"),
        );
        if !tls.client_crl.is_empty() {
            let lists = tls.client_crl.iter();
            table.put(
                "client-crl",
                list(lists.map(|path| quoted(&path.to_string_lossy()))),
            );
        }
        if tls.strict_sni {
            table.put("strict-sni", "true".to_owned());
        }
        table.put_unless("min", &tls.min, &TlsVersion::default(), |_| quoted("1.3"));
        if table.is_empty() {
            pairs.put("tls", certs);
        } else {
            table.put("certs", certs);
            pairs.put("tls", table.inline());
        }
    }
    if let Some(http2) = mine.http2 {
        pairs.put("http2", http2.to_string());
    }
    put_limits(&mut pairs, &mine.limits);
    pairs.put_unless(
        "proxy-protocol",
        &mine.proxy_protocol,
        &usual.proxy_protocol,
        ToString::to_string,
    );
    if !mine.trust.is_empty() {
        pairs.put(
            "trust",
            list(mine.trust.iter().map(|net| quoted(&net.to_string()))),
        );
    }
    service::put_timeouts_unless(&mut pairs, &mine.timeouts, &Timeouts::of(mine.mode));
    access_log(&mut pairs, mine);
    pairs.put_unless(
        "request-id",
        &mine.request_id,
        &usual.request_id,
        ToString::to_string,
    );
    policy::errors(&mut pairs, &mine.errors);
    policy::maintenance(&mut pairs, mine.maintenance.as_ref());
    if let Some(to) = only_to(mine) {
        pairs.put("to", quoted(to));
        return pairs.section(&format!("listener.{}", text::key(&mine.name)));
    }
    let mut routes = String::from("[\n");
    for each in &mine.routes {
        let _ = writeln!(routes, "  {},", route::route(each).inline());
    }
    pairs.put("route", routes + "]");
    pairs.section(&format!("listener.{}", text::key(&mine.name)))
}

/// The one service that a listener in TCP mode passes everything on to, when nothing else is said of it.
fn only_to(listener: &Listener) -> Option<&str> {
    match (listener.mode, &listener.routes[..]) {
        (Mode::Tcp, [route])
            if route.name.is_none()
                && route.when.is_empty()
                && route.over.is_empty()
                && route.log =>
        {
            match &route.action {
                Action::To(service) => Some(service),
                _ => None,
            }
        }
        _ => None,
    }
}

fn put_limits(pairs: &mut Pairs, mine: &Limits) {
    let usual = Limits::default();
    let size = |size: &Size| quoted(&size.to_string());
    let mut table = Pairs::default();
    for (key, most) in [
        ("connections", mine.connections),
        ("per-source", mine.per_source),
    ] {
        if let Some(most) = most {
            table.put(key, most.to_string());
        }
    }
    if let Some(rate) = &mine.per_source_rate {
        table.put("per-source-rate", policy::rate(rate));
    }
    if mine.beyond == Beyond::Wait {
        table.put("beyond", quoted("wait"));
    }
    table.put_unless("head", &mine.head, &usual.head, size);
    table.put_unless("fields", &mine.fields, &usual.fields, ToString::to_string);
    table.put_unless("uri", &mine.uri, &usual.uri, size);
    if let Some(body) = &mine.body {
        table.put("body", size(body));
    }
    table.put_unless(
        "streams",
        &mine.streams,
        &usual.streams,
        ToString::to_string,
    );
    if !table.is_empty() {
        pairs.put("limits", table.inline());
    }
}

fn sessions(cluster: &Cluster, mine: &Sessions, implied_on: &[String]) -> Pairs {
    let usual = sessions::Draft::default().sessions;
    let mut pairs = Pairs::default();
    let nodes = |names: &[String]| list(names.iter().map(|node| quoted(node)));
    if mine.on != implied_on {
        pairs.put("on", nodes(&mine.on));
    }
    pairs.put_unless("memory", &mine.memory, &usual.memory, |memory| {
        quoted(&memory.to_string())
    });
    if mine.agents != default_agents(&cluster.services) {
        pairs.put("agents", nodes(&mine.agents));
    }
    pairs.put_unless("agent", &mine.agent, &usual.agent, |agent| {
        quoted(&agent.to_string())
    });
    if let Some(third) = &mine.third
        && Some(third) != placed_third(cluster).as_ref()
    {
        pairs.put("third", quoted(third));
    }
    pairs.put_unless(
        "durable",
        &mine.durable,
        &usual.durable,
        ToString::to_string,
    );
    if let Some(guard) = &mine.guard {
        let mut table = Pairs::default();
        table.put("keys", route::patterns(&guard.keys));
        table.put("for", quoted(&duration::show(guard.hold)));
        pairs.put("guard", table.inline());
    }
    pairs
}

/// Where the third copy would be if the file did not say.
fn placed_third(cluster: &Cluster) -> Option<String> {
    let mut cluster = cluster.clone();
    cluster.sessions.as_mut()?.third = None;
    cluster.place_third();
    cluster.sessions?.third
}

#[cfg(test)]
mod tests;
