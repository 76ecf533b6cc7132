//! Ports: that each is wanted once on a machine, and that what others must reach has one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tandem_model::{Address, Cluster, NodePlan, Program};

use crate::keys::file::Draft;
use crate::reader::Reader;
use crate::span::Span;

/// Something that listens.
struct Want {
    node: String,
    /// Nodes on loopback addresses share this machine.
    shares: bool,
    host: String,
    port: u16,
    who: String,
    /// `None`: by default, so that the file has no place for it.
    span: Option<Span>,
}

pub(crate) fn check(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    unreachable_services(draft, cluster, reader);
    let places = Places::of(draft);
    let mut wants = Vec::new();
    for node in &cluster.nodes {
        if let Some(plan) = cluster.for_node(&node.name) {
            wants.extend(places.wants(&plan));
            proxied(draft, &plan, &places.wants(&plan), reader);
        }
    }
    let mut said = BTreeSet::new();
    for (i, second) in wants.iter().enumerate() {
        for first in &wants[..i] {
            if overlap(first, second) && said.insert((&first.who, &second.who, second.port)) {
                conflict(reader, first, second);
            }
        }
    }
}

fn conflict(reader: &mut Reader<'_>, first: &Want, second: &Want) {
    let (pointed, other) = match (&first.span, &second.span) {
        (Some(a), Some(b)) if a.start > b.start => (first, second),
        (Some(_), None) => (first, second),
        _ => (second, first),
    };
    let span = pointed.span.clone().unwrap_or(0..0);
    if first.node != second.node && first.who == second.who {
        let message = format!(
            "nodes `{}` and `{}` are on one machine, and {} is {} for both",
            first.node,
            second.node,
            pointed.who,
            Address::tcp(pointed.host.clone(), pointed.port)
        );
        let hint = if pointed.host.is_empty()
            || ip_of(&pointed.host).is_some_and(|ip| ip.is_unspecified())
        {
            "that is every address of the machine: name one"
        } else {
            "give each of them a loopback address of its own: 127.0.0.1, 127.0.0.2"
        };
        return reader.wrong_hint(&span, message, Some(hint.into()));
    }
    let who = if pointed.who == other.who {
        format!("by {}", pointed.who)
    } else {
        format!("by {} and by {}", other.who, pointed.who)
    };
    let hint = other.span.as_ref().map_or_else(
        || format!("{} takes it unless the file says otherwise", other.who),
        |span| format!("{} takes it in line {}", other.who, reader.line(span)),
    );
    reader.wrong_hint(
        &span,
        format!(
            "port {} of node `{}` is wanted twice: {who}",
            pointed.port, pointed.node
        ),
        Some(hint),
    );
}

/// Where the file says what listens.
struct Places {
    listeners: BTreeMap<String, Vec<Span>>,
    doors: BTreeMap<String, Span>,
    kinds: BTreeMap<String, &'static str>,
    cluster: Option<Span>,
    admin: Option<Span>,
    agent: Option<Span>,
}

impl Places {
    fn of(draft: &Draft) -> Self {
        let key = |key: &str| draft.cluster.as_ref()?.present.get(key).cloned();
        let sites = draft
            .sites
            .iter()
            .map(|s| (s.name.value.clone(), s.section.place("port")));
        let apps = draft
            .apps
            .iter()
            .map(|a| (a.name.value.clone(), a.section.place("port")));
        Self {
            listeners: draft
                .listeners
                .iter()
                .map(|named| {
                    let binds = named.section.draft.bind.iter();
                    (
                        named.name.value.clone(),
                        binds.map(|at| at.span.clone()).collect(),
                    )
                })
                .collect(),
            doors: sites.chain(apps).collect(),
            kinds: draft
                .service_names()
                .into_iter()
                .map(|(kind, name)| (name.value.clone(), kind))
                .collect(),
            cluster: key("port"),
            admin: key("admin"),
            agent: draft
                .sessions
                .as_ref()
                .and_then(|s| s.present.get("agent").cloned()),
        }
    }

    /// Everything that listens on a node.
    fn wants(&self, plan: &NodePlan) -> Vec<Want> {
        let mut wants = Vec::new();
        let ip: Option<IpAddr> = plan.address.parse().ok();
        let mut want = |address: &Address, who: String, span: Option<Span>| {
            // Port 0 is any free port.
            if let Address::Tcp { host, port } = address
                && *port != 0
            {
                wants.push(Want {
                    node: plan.node.clone(),
                    shares: ip.is_some_and(|ip| ip.is_loopback()),
                    host: host.clone(),
                    port: *port,
                    who,
                    span,
                });
            }
        };
        if !plan.peers.is_empty() {
            let address = Address::tcp(plan.address.clone(), plan.cluster_port);
            want(
                &address,
                "the port of [cluster]".into(),
                self.cluster.clone(),
            );
        }
        if let Some(admin) = &plan.admin {
            want(admin, "`admin` of [cluster]".into(), self.admin.clone());
        }
        if let Some(agent) = plan
            .sessions
            .as_ref()
            .and_then(|sessions| sessions.agent.as_ref())
        {
            want(agent, "`agent` of [sessions]".into(), self.agent.clone());
        }
        for listener in &plan.listeners {
            for (i, bind) in listener.bind.iter().enumerate() {
                let name = &listener.name;
                if listener.internal {
                    let kind = self.kinds.get(name).copied().unwrap_or("service");
                    want(
                        bind,
                        format!("{kind} `{name}`"),
                        self.doors.get(name).cloned(),
                    );
                } else {
                    let spans = self.listeners.get(name);
                    let span = spans.and_then(|spans| spans.get(i)).cloned();
                    want(bind, format!("listener `{name}`"), span);
                }
            }
        }
        wants
    }
}

fn overlap(a: &Want, b: &Want) -> bool {
    let same_machine = a.node == b.node || a.shares && b.shares;
    same_machine && a.port == b.port && hosts_overlap(&a.host, &b.host)
}

/// The address that a host stands for, as far as that can be known without asking.
pub(super) fn ip_of(host: &str) -> Option<IpAddr> {
    match host {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        host => host.parse().ok(),
    }
}

/// Whether two sockets on these hosts and one port are in each other's way.
fn hosts_overlap(a: &str, b: &str) -> bool {
    let (x, y) = (ip_of(a), ip_of(b));
    // No host, or ::, takes both families (Linux: an IPv6 socket takes IPv4 too unless told not to).
    let all = |host: &str, ip: Option<IpAddr>| {
        host.is_empty() || ip.is_some_and(|ip| ip.is_ipv6() && ip.is_unspecified())
    };
    if all(a, x) || all(b, y) {
        return true;
    }
    match (x, y) {
        (Some(x), Some(y)) => {
            x == y || x.is_ipv4() == y.is_ipv4() && (x.is_unspecified() || y.is_unspecified())
        }
        // A host name may be any address of the machine.
        (Some(ip), None) | (None, Some(ip)) => ip.is_unspecified(),
        (None, None) => a.eq_ignore_ascii_case(b),
    }
}

/// An application that `proxy` expects where Tandem itself listens: it would call itself for ever.
fn proxied(draft: &Draft, plan: &NodePlan, wants: &[Want], reader: &mut Reader<'_>) {
    for app in &plan.apps {
        let Program::Proxy(Address::Tcp { host, port }) = &app.program else {
            continue;
        };
        if *host != plan.local && *host != plan.address {
            continue;
        }
        let taken = wants
            .iter()
            .find(|want| want.port == *port && hosts_overlap(&want.host, host));
        let (Some(want), Some(named)) = (
            taken,
            draft.apps.iter().find(|named| named.name.value == app.name),
        ) else {
            continue;
        };
        reader.wrong_hint(
            &named.section.place("proxy"),
            format!(
                "`{}` is expected on port {port} of node `{}`, which {} takes itself",
                app.name, plan.node, want.who
            ),
            want.span
                .as_ref()
                .map(|span| format!("{} takes it in line {}", want.who, reader.line(span))),
        );
    }
}

/// Services that a listener on another node leads to, and that listen nowhere.
fn unreachable_services(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    for service in &cluster.services {
        let name = service.name();
        let site = draft
            .sites
            .iter()
            .find(|n| n.name.value == name)
            .map(|n| (&n.name, n.section.has("port")));
        let app = draft
            .apps
            .iter()
            .find(|n| n.name.value == name)
            .map(|n| (&n.name, n.section.has("port")));
        let Some((at, false)) = site.or(app) else {
            continue;
        };
        let far = service
            .on()
            .iter()
            .find(|node| cluster.reached_from_elsewhere(name, node));
        let Some(node) = far else { continue };
        let listener = cluster
            .listeners
            .iter()
            .find(|l| l.services().contains(name) && l.on.iter().any(|on| on != node))
            .map_or("", |l| l.name.as_str());
        reader.wrong_hint(
            &at.span,
            format!("`{name}` needs a `port`: listener `{listener}`, on another node, reaches it on `{node}`"),
            Some("port = 80, say".into()),
        );
    }
}
