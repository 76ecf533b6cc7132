//! From what was written to what was meant: drafts into the model.

use tandem_model::cluster::ONLY_NODE;
use tandem_model::{App, Backend, Cluster, Listener, Node, Service, Sessions, Site, Timeouts};

use crate::keys::file::Draft;
use crate::keys::{app, backend, cluster, listener, route, sessions, site};
use crate::span::{At, values};
use crate::table::{Named, Section};

/// The cluster that a draft means. Where something was wrong it is a guess, good enough to look for more mistakes.
pub(crate) fn lower(draft: &Draft) -> Cluster {
    let mut cluster = draft.cluster.as_ref().map_or_else(
        || cluster::Draft::default().cluster,
        |section| section.draft.cluster.clone(),
    );
    cluster.nodes = match &draft.nodes {
        Some(nodes) => nodes.iter().map(crate::keys::node::Entry::node).collect(),
        None => vec![only_node()],
    };
    cluster.listeners = draft
        .listeners
        .iter()
        .map(|named| listener(draft, named))
        .collect();
    let sites = draft
        .sites
        .iter()
        .map(|named| (&named.name, Service::Site(site(draft, named))));
    let apps = draft
        .apps
        .iter()
        .map(|named| (&named.name, Service::App(app(draft, named))));
    let backends = draft
        .backends
        .iter()
        .map(|named| (&named.name, Service::Backend(backend(named))));
    let mut services: Vec<_> = sites.chain(apps).chain(backends).collect();
    services.sort_by_key(|(name, _)| name.span.start);
    cluster.services = services.into_iter().map(|(_, service)| service).collect();
    let sessions = draft.sessions.as_ref();
    cluster.sessions = sessions.map(|section| sessions_of(draft, section, &cluster.services));
    cluster.place_third();
    cluster
}

/// The node of a file without `[nodes]`.
pub(crate) fn only_node() -> Node {
    Node {
        name: ONLY_NODE.into(),
        address: "127.0.0.1".into(),
        workers: None,
    }
}

/// The nodes with an agent when the file does not say: those of all applications.
pub(crate) fn default_agents(services: &[Service]) -> Vec<String> {
    let mut agents: Vec<String> = Vec::new();
    for service in services {
        if let Service::App(app) = service {
            for node in &app.on {
                if !agents.contains(node) {
                    agents.push(node.clone());
                }
            }
        }
    }
    agents
}

fn on(draft: &Draft, on: Option<&Vec<At<String>>>) -> Vec<String> {
    match on {
        Some(on) => values(on),
        None if draft.nodes.is_none() => vec![ONLY_NODE.into()],
        None => Vec::new(),
    }
}

fn listener(draft: &Draft, named: &Named<listener::Draft>) -> Listener {
    let Section { draft: mine, .. } = &named.section;
    let mut listener = Listener {
        name: named.name.value.clone(),
        on: on(draft, mine.on.as_ref()),
        bind: values(&mine.bind),
        routes: mine.routes.iter().map(|route| route.lower(true)).collect(),
        ..mine.listener.clone()
    };
    if !mine.timeouts_at.contains_key("idle") {
        listener.timeouts.idle = Timeouts::of(listener.mode).idle;
    }
    if let Some(to) = &mine.to {
        listener
            .routes
            .push(route::Draft::to(to.clone()).lower(true));
    }
    listener
}

fn site(draft: &Draft, named: &Named<site::Draft>) -> Site {
    let Section { draft: mine, .. } = &named.section;
    Site {
        name: named.name.value.clone(),
        on: on(draft, mine.on.as_ref()),
        ..mine.site.clone()
    }
}

fn app(draft: &Draft, named: &Named<app::Draft>) -> App {
    let Section { draft: mine, .. } = &named.section;
    let mut app = App {
        name: named.name.value.clone(),
        on: on(draft, mine.on.as_ref()),
        weight: mine
            .weight
            .iter()
            .map(|(node, weight)| (node.value.clone(), *weight))
            .collect(),
        ..mine.app.clone()
    };
    if let Some(program) = mine.program() {
        app.program = program;
    }
    app
}

fn backend(named: &Named<backend::Draft>) -> Backend {
    let Section { draft: mine, .. } = &named.section;
    Backend {
        name: named.name.value.clone(),
        servers: values(&mine.servers),
        ..mine.backend.clone()
    }
}

fn sessions_of(
    draft: &Draft,
    section: &Section<sessions::Draft>,
    services: &[Service],
) -> Sessions {
    let mine = &section.draft;
    Sessions {
        on: on(draft, mine.on.as_ref()),
        agents: mine
            .agents
            .as_ref()
            .map_or_else(|| default_agents(services), |at| values(at)),
        third: mine.third.as_ref().map(|at| at.value.clone()),
        ..mine.sessions.clone()
    }
}
