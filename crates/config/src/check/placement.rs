//! What stands where: nodes, keys, applications, sites and the copies of sessions.

use std::collections::BTreeMap;

use tandem_model::{Address, Cluster, Listener, Program, Secret, Service};

use super::ports::ip_of;
use crate::keys::app::OF_RUN;
use crate::keys::file::Draft;
use crate::reader::Reader;

/// A key with fewer characters is too easily guessed.
const SHORT_KEY: usize = 16;

pub(crate) fn check(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    nodes(draft, cluster, reader);
    for app in &draft.apps {
        let section = &app.section;
        let name = &app.name.value;
        match (section.has("proxy"), section.has("run")) {
            (true, true) => reader.wrong(
                &section.place("run"),
                format!(
                    "`{name}` has both `proxy` and `run`: it runs already, or Tandem starts it"
                ),
            ),
            (false, false) if !reader.is_broken() => reader.wrong_hint(
                &section.span,
                format!("`{name}` has neither `proxy` nor `run`"),
                Some("proxy = \"127.0.0.1:8080\", or run = [\"program\", \"argument\"]".into()),
            ),
            (true, false) => {
                for key in OF_RUN.iter().filter(|key| section.has(key)) {
                    let message = format!("`{key}` goes with `run`, and `{name}` has `proxy`");
                    reader.wrong(&section.place(key), message);
                }
            }
            _ => {}
        }
        if section.has("instances") && section.draft.instances == 0 {
            let message = format!("`{name}` has no instances: nothing would answer");
            reader.wrong(&section.place("instances"), message);
        }
        if let Some(Service::App(app)) = cluster.service(name)
            && !app.on.is_empty()
            && app.on.iter().all(|node| app.weight.get(node) == Some(&0))
        {
            let message = format!("all weights of `{name}` are 0: nothing would answer");
            reader.wrong(&section.place("weight"), message);
        }
    }
    for site in &draft.sites {
        let section = &site.section;
        if section.draft.site.only_files && section.draft.site.listing {
            let message =
                "with `directories = false` there is no directory that `listing` could show";
            reader.wrong(&section.place("listing"), message);
        }
        let mut suffixes = section.draft.site.suffixes.iter();
        let is_suffix = |suffix: &String| {
            let name = suffix.strip_prefix('/').unwrap_or(suffix);
            let dots = name.split('/').any(|part| matches!(part, "" | "." | ".."));
            suffix.starts_with(['.', '/']) && !dots && !suffix.contains('\0')
        };
        if let Some(suffix) = suffixes.find(|suffix| !is_suffix(suffix)) {
            let message = format!("`{suffix}` is nothing that a name ends with");
            let hint = "`.html`, or `/index.html` for a file in a directory of that name";
            reader.wrong_hint(&section.place("suffixes"), message, Some(hint.into()));
        }
        for key in ["allow", "deny"] {
            if section.has("access") && section.has(key) {
                let message = format!("`{key}` and `access` both say who may ask");
                let hint = "write it as a rule of `access`, at its place in the order";
                reader.wrong_hint(&section.place(key), message, Some(hint.into()));
            }
        }
    }
    for backend in &draft.backends {
        let servers = &backend.section.draft.servers;
        if !servers.is_empty() && servers.iter().all(|server| server.value.weight == 0) {
            let message = format!(
                "all weights of `{}` are 0: nothing would answer",
                backend.name.value
            );
            reader.wrong(&backend.section.place("servers"), message);
        }
        if let Some(tls) = &backend.section.draft.backend.tls
            && tls.verify
            && tls.name.is_none()
            && let Some(unix) = servers
                .iter()
                .find(|server| matches!(server.value.address, Address::Unix(_)))
        {
            let message = format!(
                "{} has no name that its certificate could be compared with: `tls` of `{}` needs `name`",
                unix.value.address, backend.name.value
            );
            reader.wrong(&backend.section.place("tls"), message);
        }
    }
    third(draft, reader);
}

fn nodes(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    let Some(nodes) = &draft.nodes else { return };
    let mut first: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !node.broken) {
        let line = reader.line(&node.address.span);
        if let Some((other, line)) = first.get(node.address.value.as_str()) {
            let message = format!(
                "`{}` has the address of `{other}` in line {line}",
                node.name.value
            );
            reader.wrong(&node.address.span, message);
        } else {
            first.insert(&node.address.value, (&node.name.value, line));
        }
    }
    let given = |key| {
        draft
            .cluster
            .as_ref()
            .is_some_and(|section| section.has(key))
    };
    if nodes.len() > 1 && cluster.key.is_none() && !given("key") && !given("key-file") {
        let span = match (&draft.cluster, &nodes[..]) {
            (Some(section), _) => section.span.clone(),
            (None, [_, second, ..]) => second.name.span.clone(),
            (None, _) => 0..0,
        };
        reader.wrong_hint(
            &span,
            "several nodes need a key, which they prove to one another",
            Some("`tandem key` makes one: [cluster] key = \"${TANDEM_KEY}\"".into()),
        );
    }
}

fn third(draft: &Draft, reader: &mut Reader<'_>) {
    let Some(section) = &draft.sessions else {
        return;
    };
    let Some(third) = &section.draft.third else {
        return;
    };
    let on = section.draft.on.as_deref().unwrap_or_default();
    if on.iter().any(|node| node.value == third.value) {
        reader.wrong(
            &third.span,
            format!("`{}` holds a copy already", third.value),
        );
    } else if on.len() != 2 {
        let message = format!("`third` goes with two nodes in `on`, not with {}", on.len());
        reader.wrong(&third.span, message);
    }
}

/// What is no mistake, but worth saying.
pub(crate) fn notes(cluster: &Cluster) -> Vec<String> {
    let mut notes = cluster.session_advice();
    if let Some(sessions) = &cluster.sessions {
        let voters = sessions.voters().len();
        if voters > 2 && voters.is_multiple_of(2) {
            notes.push(format!(
                "sessions: {voters} copies bear no more deaths than {}: an odd number is better",
                voters - 1
            ));
        }
        if let Address::Tcp { host, .. } = &sessions.agent
            && !sessions.agents.is_empty()
            && !ip_of(host).is_some_and(|ip| ip.is_loopback())
        {
            notes.push(format!(
                "sessions: the agent asks nobody who he is, and {} is not of the loopback: everybody who reaches it reads and \
                 writes all sessions",
                sessions.agent
            ));
        }
        if sessions.agents.is_empty() {
            notes.push("sessions: no node has an agent, as there is no app: see `agents`".into());
        }
    }
    if cluster.listeners.is_empty() {
        notes.push("there is no listener: nothing comes in".into());
    }
    let mut reached = std::collections::BTreeSet::new();
    for listener in &cluster.listeners {
        reached.extend(listener.services());
    }
    for service in &cluster.services {
        if !reached.contains(service.name()) {
            notes.push(format!(
                "{} `{}`: no route leads to it",
                service.kind(),
                service.name()
            ));
        }
        if let Service::App(app) = service
            && let Program::Run { command, .. } = &app.program
        {
            notes.extend(placeholders(&app.name, command));
        }
    }
    notes.extend(loops(cluster));
    notes.extend(super::apart::notes(cluster));
    let short = |key: &Secret| key.reveal().chars().count() < SHORT_KEY;
    if cluster.nodes.len() > 1 && cluster.key.as_ref().is_some_and(short) {
        notes.push("the key is short and may be guessed: `tandem key` makes a good one".into());
    }
    notes
}

/// Listeners with a server behind them that is themselves. A rewrite may end what goes round there; else one request takes
/// every descriptor that there is.
fn loops(cluster: &Cluster) -> Vec<String> {
    let mut notes = Vec::new();
    for listener in &cluster.listeners {
        let reached = listener.services();
        for service in &cluster.services {
            if let Service::Backend(backend) = service
                && reached.iter().any(|name| *name == backend.name)
                && let Some(server) = (backend.servers.iter()).find(|server| {
                    listener
                        .bind
                        .iter()
                        .any(|at| is_one(cluster, listener, at, &server.address))
                })
            {
                notes.push(format!(
                    "backend `{}`: its server {} is listener `{}`, which leads to it: a request may go round without end",
                    backend.name, server.address, listener.name
                ));
            }
        }
    }
    notes
}

/// Whether who connects to `server` on a node of the listener may come to its address `bind`.
fn is_one(cluster: &Cluster, listener: &Listener, bind: &Address, server: &Address) -> bool {
    let (Address::Tcp { host, port }, Address::Tcp { host: to, port: at }) = (bind, server) else {
        return bind == server;
    };
    let mut nodes = (cluster.nodes.iter()).filter(|node| listener.on.contains(&node.name));
    let is_all = host.is_empty() || ip_of(host).is_some_and(|ip| ip.is_unspecified());
    port == at
        && match ip_of(to) {
            Some(to) if is_all => {
                to.is_loopback() || nodes.any(|node| ip_of(&node.address) == Some(to))
            }
            to => to.is_some() && to == ip_of(host),
        }
}

/// Arguments that look like a misspelt `{port}`.
fn placeholders(app: &str, command: &[String]) -> Vec<String> {
    const KNOWN: [&str; 5] = ["port", "host", "node", "instance", "sessions"];
    let mut notes = Vec::new();
    for argument in command {
        for part in argument.split('{').skip(1) {
            let Some((name, _)) = part.split_once('}') else {
                continue;
            };
            if KNOWN.contains(&name) {
                continue;
            }
            if let Some(near) = crate::suggest::nearest(name, KNOWN) {
                notes.push(format!(
                    "app `{app}`: `{{{name}}}` in `run` is not filled in; did you mean `{{{near}}}`?"
                ));
            }
        }
    }
    notes
}
