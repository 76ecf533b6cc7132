//! nginx.conf, translated.
//!
//! 1. [`tree`]: the file and what it includes become a tree of directives;
//! 2. [`check`]: each is looked up in the table ([`table`]), which decides what it can alone;
//! 3. here: servers are gathered by their addresses into listeners ([`listener`]); their names and locations become routes, in the
//!    order in which nginx chooses ([`names`], [`location`]); what a location does ([`content`]) is a site or a backend. What
//!    passes connections on is in [`stream`].

mod answers;
mod authorize;
mod check;
mod choices;
mod chosen;
mod condition;
mod conditional;
mod content;
mod cookies;
mod elsewhere;
mod entry;
mod errors;
mod fallback;
mod fastcgi;
mod given;
mod glob;
mod handing;
mod idioms;
mod listen;
mod listener;
mod location;
mod look_ahead;
mod made;
mod moved;
mod names;
mod proxied;
mod real_ip;
mod referers;
mod renamed;
mod rewriting;
mod satisfy;
mod scope;
mod site;
mod stream;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod tree;
mod types;
mod units;
mod upstream;
mod variables;

use std::collections::BTreeMap;
use std::path::Path;

use super::document::{self, Document, Route, Table, Value};
use super::logic::Literal;
use super::names::Names;
use super::report::Verdicts;
use super::sources::{Sources, Spot};
use super::{Options, Outcome, Process};
use authorize::Asking;
use content::Here;
use given::Given;
use handing::Handing;
use listen::Listen;
use location::{Kind, Location};
use made::Made;
use scope::{Access, Alias, Scope, Set};
use tree::Directive;
use variables::Context;

/// A server block.
pub(crate) struct Server<'a> {
    pub directive: &'a Directive,
    pub scope: Scope,
    pub listens: Vec<Listen>,
    pub names: Vec<(String, Spot)>,
    pub locations: Vec<Location<'a>>,
}

/// What is known of the connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    pub port: Option<u16>,
    pub tls: bool,
    /// Clients are asked for a certificate.
    pub asks_clients: bool,
    /// What it takes of a body, in bytes; 0 is all of it.
    pub body: u64,
    /// Of a stream, and what is looked at there.
    pub stream: Option<stream::Preread>,
}

/// A site that was made, and what for.
struct Site {
    name: String,
    table: Table,
    section: document::Section,
}

/// A backend that was made.
struct Backend {
    name: String,
    table: Table,
    section: document::Section,
}

pub(crate) struct Translator<'a> {
    sources: &'a Sources,
    verdicts: Verdicts,
    options: &'a Options,
    prefix: String,
    /// The number of the main file.
    main: usize,
    upstreams: BTreeMap<String, &'a Directive>,
    made: Made,
    services: Names,
    listeners: Names,
    sites: Vec<Site>,
    backends: Vec<Backend>,
    process: Process,
    document: Document,
    /// The name of this machine, where the file is run on it.
    machine: Option<String>,
    /// Variables that are set.
    given: Given,
    /// The values that variables have where something is done for each of them.
    bound: BTreeMap<String, String>,
    /// What is known of requests there.
    assumed: Vec<(Literal, bool)>,
    /// How many routes that has made.
    cases: usize,
    /// What passes on in places that only something here leads to.
    internal: Vec<Spot>,
    /// Whether applications lead there.
    handing: Handing,
    /// Who is asked whether others may pass.
    asking: Asking,
    /// Servers that requests get to.
    reached: Vec<&'a Directive>,
    /// What `satisfy any` has come to here, and of which rules.
    satisfied: Option<(Vec<Access>, satisfy::By)>,
    /// What clients say of other proxies was told of.
    told_forwarded: bool,
}

/// Translates a file and what it includes. `extra` are directives given on the command line, as of the main block.
pub(crate) fn translate(
    sources: &mut Sources,
    file: usize,
    extra: Option<usize>,
    options: &Options,
) -> Outcome {
    let mut verdicts = Verdicts::default();
    let name = sources.name(file).to_owned();
    let directory = Path::new(&name)
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let mut tree = Vec::new();
    if let Some(extra) = extra {
        tree.extend(tree::read(
            sources,
            extra,
            &directory,
            options.direct,
            &mut verdicts,
        ));
    }
    tree.extend(tree::read(
        sources,
        file,
        &directory,
        options.direct,
        &mut verdicts,
    ));
    let mut seen = Vec::new();
    let mut tree = check::check(tree, table::MAIN, &mut verdicts, &mut seen);
    idioms::translate(&mut tree, &mut verdicts);
    given::fill(&mut tree);
    let mut translator = Translator {
        sources,
        verdicts,
        options,
        prefix: options.directory.clone(),
        main: file,
        upstreams: BTreeMap::new(),
        made: Made::default(),
        services: Names::default(),
        listeners: Names::default(),
        sites: Vec::new(),
        backends: Vec::new(),
        process: Process {
            daemon: true,
            ..Process::default()
        },
        document: Document::default(),
        machine: options.direct.then(machine).flatten(),
        given: Given::default(),
        bound: BTreeMap::new(),
        assumed: Vec::new(),
        cases: 0,
        internal: Vec::new(),
        handing: Handing::default(),
        asking: Asking::default(),
        reached: Vec::new(),
        satisfied: None,
        told_forwarded: false,
    };
    translator.handing = Handing::of(&tree, &mut translator.verdicts);
    translator.given.name_all(&tree);
    translator.asking = Asking::of(&tree);
    let names: Vec<String> = translator.asking.names().cloned().collect();
    translator.given.name(names.into_iter());
    translator.run(&tree);
    for spot in std::mem::take(&mut translator.internal) {
        if !translator.verdicts.has(spot) {
            let message = "nobody outside gets there (`internal`), and nothing that is translated leads there";
            translator.verdicts.without(spot, message);
        }
    }
    if !tree.iter().any(|directive| directive.is("events")) && options.direct {
        let spot = Spot {
            file,
            start: 0,
            end: 0,
        };
        translator
            .verdicts
            .refuse(spot, spot, "no \"events\" section in configuration");
    }
    let Translator {
        verdicts,
        document,
        process,
        ..
    } = translator;
    Outcome {
        document,
        verdicts,
        seen,
        process,
        files: BTreeMap::new(),
    }
}

impl<'a> Translator<'a> {
    fn run(&mut self, tree: &'a [Directive]) {
        self.main(tree);
        for http in tree.iter().filter(|directive| directive.is("http")) {
            self.http(http);
        }
        for stream in tree.iter().filter(|directive| directive.is("stream")) {
            self.stream(stream);
        }
        for site in std::mem::take(&mut self.sites) {
            self.document.sections.push(site.section);
        }
        for backend in std::mem::take(&mut self.backends) {
            self.document.sections.push(backend.section);
        }
    }

    /// The process, and `[cluster]`.
    fn main(&mut self, tree: &[Directive]) {
        let mut out = document::Section::new("cluster", None);
        for directive in tree {
            let spot = directive.spot;
            match directive.name.text.as_str() {
                "user" => {
                    out.put_at("user", Value::text(directive.arg(0)), spot);
                    if let Some(group) = directive.args.get(1) {
                        out.put_at("group", Value::text(&group.text), spot);
                    }
                }
                "worker_processes" if directive.arg(0) == "auto" => {}
                "worker_processes" => match directive.arg(0).parse::<u16>() {
                    Ok(0) | Err(_) => {
                        self.verdicts.refuse(
                            spot,
                            directive.at(0),
                            format!("invalid number \"{}\"", directive.arg(0)),
                        );
                        continue;
                    }
                    Ok(workers) => out.put_at("workers", Value::plain(workers), spot),
                },
                "pid" => self.process.pid_file = Some(self.path(directive.arg(0)).into()),
                "daemon" => match directive.arg(0) {
                    "on" => self.process.daemon = true,
                    "off" => self.process.daemon = false,
                    other => {
                        self.verdicts.refuse(spot, directive.at(0), format!("invalid value \"{other}\" in \"daemon\" directive, it must be \"on\" or \"off\""));
                        continue;
                    }
                },
                "error_log" => match directive.arg(0) {
                    "stderr" => self.process.error_log = None,
                    log if log.starts_with("syslog:") || log.starts_with("memory:") => {
                        self.verdicts
                            .note(spot, "the log goes to standard error or to a file");
                    }
                    log => self.process.error_log = Some(self.path(log).into()),
                },
                "env" => self
                    .verdicts
                    .note(spot, "applications have `env` of their own"),
                _ => continue,
            }
            self.verdicts.translated(spot);
        }
        if let Some(log) = self
            .process
            .error_log
            .as_ref()
            .filter(|_| !self.options.direct)
        {
            out.put("log", Value::text(log.to_string_lossy()));
        }
        if self.options.direct {
            if !out.table.has("workers") && !tree.iter().any(|d| d.is("worker_processes")) {
                out.put("workers", Value::plain(1));
            }
            out.put("admin", Value::plain(false));
        }
        if !out.table.is_empty() {
            let first = tree.iter().find(|d| {
                matches!(
                    d.name.text.as_str(),
                    "user" | "worker_processes" | "error_log"
                )
            });
            out.spot = first.map(|directive| directive.spot);
            out.comment = "main".into();
            self.document.sections.push(out);
        }
    }

    /// The settings within a location.
    pub fn inner_scope(&mut self, outer: &Scope, location: &Location<'_>) -> Scope {
        let list = location.directive.inner();
        self.refuse_real_ip(list);
        let mut scope = self.scope(outer, list);
        if list.iter().any(|directive| directive.is("root")) {
            scope.alias = None;
        }
        if let Some(directive) = list.iter().find(|directive| directive.is("alias")) {
            let at = !matches!(location.kind, Kind::Regex { .. });
            let value = Alias {
                at: at.then(|| location.text.clone()),
                directory: self.path(directive.arg(0)),
            };
            let spot = directive.spot;
            scope.alias = Some(Set { value, spot });
        }
        scope
    }

    /// The settings within a location of a server, wherever it stands.
    pub fn scope_of(&mut self, server: &Server<'a>, location: &Location<'_>) -> Scope {
        let mut around = location::chain(&server.locations, location);
        // That one itself, which may go by another path here.
        around.pop();
        let mut scope = server.scope.clone();
        for outer in around {
            scope = self.inner_scope(&scope, outer);
        }
        let scope = self.inner_scope(&scope, location);
        self.as_satisfied(scope)
    }

    fn scope(&mut self, outer: &Scope, list: &[Directive]) -> Scope {
        let sources = self.sources;
        let file = |spot: Spot| sources.name(spot.file).to_owned();
        outer.within(list, &file, &mut self.verdicts)
    }

    fn http(&mut self, http: &'a Directive) {
        let outer = self.scope(&Scope::default(), http.inner());
        entry::Zone::tell_unused(http, &mut self.verdicts);
        self.read_upstreams(http.inner());
        self.made = Made::read(http.inner(), &mut self.verdicts);
        let mut servers = Vec::new();
        for directive in http
            .inner()
            .iter()
            .filter(|directive| directive.is("server"))
        {
            servers.push(self.server(directive, &outer));
        }
        self.listeners(&servers);
        self.tell_unreached(&servers);
        self.made.tell(
            &mut self.verdicts,
            ", and connections to servers are upgraded by themselves",
        );
        self.tell_upstreams("requests");
    }

    fn read_upstreams(&mut self, list: &'a [Directive]) {
        for upstream in list.iter().filter(|directive| directive.is("upstream")) {
            let name = upstream.arg(0).to_owned();
            if self.upstreams.insert(name.clone(), upstream).is_some() {
                self.verdicts.refuse(
                    upstream.spot,
                    upstream.at(0),
                    format!("duplicate upstream \"{name}\""),
                );
            }
        }
    }

    /// Says of servers whose names all belong to one before them that nothing comes of them, as in nginx.
    fn tell_unreached(&mut self, servers: &[Server<'a>]) {
        for server in servers {
            let mut reached = self.reached.iter();
            if reached.any(|reached| std::ptr::eq(*reached, server.directive)) {
                continue;
            }
            let mut names = server.names.iter().map(|(name, _)| name.as_str());
            let message = if names.any(|name| name != "_") {
                "a server before it has this address and these names: nginx passes it by as well (\"conflicting server name\")"
            } else {
                "it has no name of its own, and another server is the default of its address"
            };
            let mut left = vec![server.directive];
            while let Some(directive) = left.pop() {
                if !self.verdicts.has(directive.spot) || directive.is("server") {
                    self.verdicts.without(directive.spot, message);
                }
                left.extend(directive.inner());
            }
        }
    }

    /// Says of those that nothing passes `what` to that nothing comes of them.
    fn tell_upstreams(&mut self, what: &str) {
        for (_, upstream) in self.upstreams.clone() {
            if self.verdicts.has(upstream.spot) {
                continue;
            }
            for directive in std::iter::once(upstream).chain(upstream.inner()) {
                self.verdicts.without(
                    directive.spot,
                    format!("`{}`: nothing passes {what} to it", directive.shown()),
                );
            }
        }
    }

    fn server(&mut self, directive: &'a Directive, outer: &Scope) -> Server<'a> {
        self.verdicts.translated(directive.spot);
        let list = directive.inner();
        let scope = self.scope(outer, list);
        let mut listens: Vec<Listen> = Vec::new();
        for listen in list.iter().filter(|inner| inner.is("listen")) {
            let Some(mut listen) = listen::read(listen, &mut self.verdicts) else {
                continue;
            };
            listen.tls |= scope.tls;
            // IPv4 and IPv6 on all addresses are one address here.
            match listens
                .iter_mut()
                .find(|other| other.address == listen.address)
            {
                Some(same) => same.default |= listen.default,
                None => listens.push(listen),
            }
        }
        if !list.iter().any(|inner| inner.is("listen")) {
            // nginx takes 8000 when it is not root; a cluster file does not know who will run it.
            listens.push(Listen {
                address: ":80".into(),
                port: Some(80),
                default: false,
                tls: scope.tls,
                proxy: false,
                spot: directive.spot,
            });
        }
        let mut names = Vec::new();
        for inner in list.iter().filter(|inner| inner.is("server_name")) {
            self.verdicts.translated(inner.spot);
            names.extend(inner.args.iter().map(|word| (word.text.clone(), word.spot)));
        }
        let locations = location::read(list, &mut self.verdicts);
        Server {
            directive,
            scope,
            listens,
            names,
            locations,
        }
    }

    /// Servers by their addresses.
    fn listeners(&mut self, servers: &[Server<'a>]) {
        /// Servers at an address: which, and which is asked when no name fits.
        #[derive(Clone, PartialEq, Eq)]
        struct At {
            members: Vec<usize>,
            default: usize,
            tls: bool,
            proxy: bool,
        }
        let mut addresses: Vec<(&Listen, At)> = Vec::new();
        for (number, server) in servers.iter().enumerate() {
            for listen in &server.listens {
                match addresses
                    .iter_mut()
                    .find(|(other, _)| other.address == listen.address)
                {
                    None => addresses.push((
                        listen,
                        At {
                            members: vec![number],
                            default: number,
                            tls: listen.tls,
                            proxy: listen.proxy,
                        },
                    )),
                    Some((first, at)) => {
                        at.members.push(number);
                        at.tls |= listen.tls;
                        at.proxy |= listen.proxy;
                        if listen.default {
                            if first.default {
                                self.verdicts.refuse(
                                    listen.spot,
                                    listen.spot,
                                    format!(
                                        "a duplicate default server for {}",
                                        shown(&listen.address)
                                    ),
                                );
                            }
                            at.default = number;
                            *first = listen;
                        }
                    }
                }
            }
        }
        let mut done: Vec<(At, usize)> = Vec::new();
        for (listen, at) in addresses {
            let by_port = servers
                .iter()
                .any(|server| uses_port(server.directive.inner()));
            let same = done.iter().find(|(other, _)| *other == at && !by_port);
            if let Some((_, section)) = same {
                let section = &mut self.document.sections[*section];
                if let Some((_, Value::List(bind))) =
                    section.table.0.iter_mut().find(|(key, _)| key == "bind")
                {
                    bind.push(Value::text(&listen.address));
                }
                continue;
            }
            let members: Vec<&Server<'a>> =
                at.members.iter().map(|&number| &servers[number]).collect();
            self.listener(listen, &members, &servers[at.default], at.tls, at.proxy);
            done.push((at, self.document.sections.len() - 1));
        }
    }

    /// A text with variables as a template; or the variable that there is not.
    pub fn template(&self, text: &str, context: &Context<'_>) -> Result<String, String> {
        let context = Context {
            machine: self.machine.as_deref(),
            ..*context
        };
        variables::template(&self.known(text), &context)
    }

    pub fn config_directory(&self) -> String {
        let name = self.sources.name(self.main);
        name.rsplit_once('/')
            .map_or(String::new(), |(directory, _)| directory.to_owned())
    }

    /// Servers with the names they are asked by, in the order in which nginx looks.
    fn ranked<'s>(
        &mut self,
        members: &[&'s Server<'a>],
        default: &Server<'a>,
    ) -> Vec<(Vec<String>, &'s Server<'a>)> {
        let mut names: Vec<(names::Name, usize)> = Vec::new();
        for (number, server) in members.iter().enumerate() {
            let empty = [(String::new(), server.directive.spot)];
            let list = if server.names.is_empty() {
                &empty[..]
            } else {
                &server.names
            };
            for (text, spot) in list {
                if text == "_" || (text.contains('$') && !text.starts_with('~')) {
                    continue;
                }
                match names::patterns(text, names.len(), *spot) {
                    Ok(found) => {
                        for name in found {
                            // The first server of a name has it.
                            if names.iter().any(|(other, _)| other.pattern == name.pattern) {
                                self.verdicts.note(
                                    *spot,
                                    format!("conflicting server name \"{text}\", ignored"),
                                );
                            } else {
                                names.push((name, number));
                            }
                        }
                    }
                    Err(message) => self.verdicts.refuse(server.directive.spot, *spot, message),
                }
            }
        }
        names.sort_by(|(a, _), (b, _)| a.rank.cmp(&b.rank));
        let is_default = |number: usize| std::ptr::eq(members[number], default);
        let mut ranked: Vec<(Vec<String>, usize)> = Vec::new();
        for (at, (name, number)) in names.iter().enumerate() {
            // The default's own names matter only before a wider name of another.
            let others = names[at + 1..].iter().filter(|(_, other)| other != number);
            if is_default(*number)
                && !others
                    .clone()
                    .any(|(other, _)| names::overlap(&other.pattern, &name.pattern))
            {
                continue;
            }
            let entry = ranked.iter().rposition(|(_, other)| other == number);
            // Joining an earlier entry of the server passes over those between.
            let joins = entry.filter(|&entry| {
                ranked[entry + 1..]
                    .iter()
                    .all(|(patterns, _)| patterns.iter().all(|p| !names::overlap(p, &name.pattern)))
            });
            match joins {
                Some(entry) => ranked[entry].0.push(name.pattern.clone()),
                None => ranked.push((vec![name.pattern.clone()], *number)),
            }
        }
        ranked
            .into_iter()
            .map(|(patterns, number)| (patterns, members[number]))
            .collect()
    }

    /// What a server does.
    fn server_routes(&mut self, server: &Server<'a>, door: &Door) -> Vec<Route> {
        self.reached.push(server.directive);
        if door.tls && server.scope.rejects_handshakes() {
            return vec![self.no_handshake(server)];
        }
        let here = Here {
            server,
            door,
            scope: &server.scope,
            location: None,
            list: server.directive.inner(),
            spot: server.directive.spot,
            depth: 0,
            before: &[],
            found: None,
            is_error: false,
        };
        self.begin_asking(server);
        let has_pages = !server.scope.error_pages.is_empty();
        self.given.begin(&server.locations, has_pages);
        let mut routes = Vec::new();
        let ends = self.rewriting(here, server.directive.inner(), &mut routes);
        self.given.end_of_server();
        if ends {
            for location in &server.locations {
                self.verdicts
                    .without(location.directive.spot, "the server answers before");
                for inner in location.directive.inner() {
                    if !self.verdicts.has(inner.spot) {
                        self.verdicts
                            .without(inner.spot, "the server answers before");
                    }
                }
            }
            return routes;
        }
        let covered = server.locations.iter().any(|l| {
            l.text == "/" && matches!(l.kind, location::Kind::Prefix | location::Kind::Final)
        });
        let other = if covered {
            if let Some(directive) = here.find("try_files") {
                let message = "it holds where there is no location, and `location /` has all paths";
                self.verdicts.without(directive.spot, message);
            }
            Vec::new()
        } else {
            self.elsewhere(None, |translator| translator.handler(here))
        };
        let locations: Vec<Location<'a>> = server
            .locations
            .iter()
            .filter(|l| l.kind != location::Kind::Named)
            .cloned()
            .collect();
        routes.extend(self.ordered(here, &locations, other));
        let mut routes = simplified(routes);
        routes.splice(..0, self.refusals(here));
        // Named locations that nothing leads to are looked at all the same.
        for location in server
            .locations
            .iter()
            .filter(|l| l.kind == location::Kind::Named)
        {
            if location
                .directive
                .inner()
                .iter()
                .any(|inner| !self.verdicts.has(inner.spot))
            {
                let _ = self.of_location(here, location);
            }
        }
        routes
    }

    /// Nobody gets past the handshake of this server (`ssl_reject_handshake`); who comes by the name of another one and asks
    /// for this one is not answered either.
    fn no_handshake(&mut self, server: &Server<'a>) -> Route {
        let mut left: Vec<&Directive> = server.directive.inner().iter().collect();
        while let Some(directive) = left.pop() {
            if !self.verdicts.has(directive.spot) {
                let message = "nobody gets past the handshake (`ssl_reject_handshake`)";
                self.verdicts.without(directive.spot, message);
            }
            left.extend(directive.inner());
        }
        let table = Table::default().with("deny", Value::text("close"));
        let spot = server.directive.spot;
        Route { table, spot }
    }
}

/// The name of this machine.
fn machine() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    // As nginx has it.
    Some(name.trim().to_lowercase())
}

/// Without routes that do what would be done without them: those before the last that lead where it leads.
fn simplified(mut routes: Vec<Route>) -> Vec<Route> {
    let Some(last) = routes.pop() else {
        return routes;
    };
    let bare = |table: &Table| -> Table {
        let kept = table.0.iter();
        let kept = kept.filter(|(key, _)| !super::logic::CONDITIONS.contains(&key.as_str()));
        Table(kept.cloned().collect())
    };
    if !super::logic::has_conditions(&last.table) {
        while routes
            .last()
            .is_some_and(|route| bare(&route.table) == last.table && !route.table.has("route"))
        {
            routes.pop();
        }
    }
    routes.push(last);
    routes
}

fn shown(address: &str) -> String {
    if address.starts_with(':') {
        format!("0.0.0.0{address}")
    } else {
        address.to_owned()
    }
}

/// Whether something within depends on the port that was asked.
fn uses_port(list: &[Directive]) -> bool {
    list.iter().any(|directive| {
        let says = |text: &str| {
            text.contains("$server_port") || text.contains("$scheme") || text.contains("$https")
        };
        directive.args.iter().any(|word| says(&word.text)) || uses_port(directive.inner())
    })
}
