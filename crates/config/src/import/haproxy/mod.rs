//! haproxy.cfg, translated.
//!
//! 1. [`words`]: the files become lines of words;
//! 2. [`sections`]: lines become sections; the table of directives ([`table`]) decides what it can alone;
//! 3. here: `global` becomes `[cluster]`, each frontend and listen section its listeners ([`front`]), each backend
//!    with servers a `[backend.NAME]` ([`back`]).

mod acl;
mod answered;
mod back;
mod bind;
mod changed;
mod checks;
mod clients;
mod commands;
mod elements;
mod foresee;
mod format;
mod front;
mod learned;
mod log_format;
mod maps;
mod order;
mod pages;
mod patterns;
mod policies;
pub(crate) use patterns::{checked, network};
mod programs;
mod proxy;
mod retry;
mod rules;
mod sections;
mod server;
mod statistics;
pub(crate) mod table;
mod tables;
#[cfg(test)]
mod tests;
mod units;
mod users;
mod variables;
mod words;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::document::{self, Document, Value};
use super::names::Names;
use super::report::Verdicts;
use super::sources::{Sources, Spot};
use super::{Options, Outcome, Process};
use bind::Bases;
use clients::Clients;
use proxy::Proxy;
use sections::Section;
use server::Server;
use statistics::Shown;
use table::{BACKEND, DEFAULTS, FRONTEND, GLOBAL, LISTEN};
use variables::Vars;
use words::Line;

/// Translates files that are read one after the other.
pub(crate) fn translate(
    sources: &Sources,
    files: &[usize],
    env: &dyn Fn(&str) -> Option<String>,
    options: &Options,
) -> Outcome {
    let mut verdicts = Verdicts::default();
    let mut lines = Vec::new();
    let mut environment = words::Environment::new(env);
    for &file in files {
        lines.extend(words::lines(sources, file, &mut environment, &mut verdicts));
    }
    let seen = lines.iter().map(|line| (line.spot, line.shown())).collect();
    let sections = sections::sections(lines, &mut verdicts);
    let used = RefCell::default();
    let mut translator = Translator {
        sources,
        sections: &sections,
        used: &used,
        vars: Rc::new(Vars::collect(&sections)),
        verdicts,
        document: Document::default(),
        services: Names::default(),
        listeners: Names::default(),
        process: Process::default(),
        files: BTreeMap::new(),
        bases: Bases {
            directory: options.directory.clone(),
            sockets: options.sockets.clone(),
            ..Bases::default()
        },
        options,
        maxconn: None,
        admin: None,
        admin_token: env(statistics::TOKEN).is_some_and(|token| !token.is_empty()),
        clients: Clients::default(),
        taken: Vec::new(),
        known_servers: Vec::new(),
    };
    translator.run();
    let Translator {
        verdicts,
        document,
        process,
        files,
        ..
    } = translator;
    Outcome {
        document,
        verdicts,
        seen,
        process,
        files,
    }
}

struct Translator<'a> {
    sources: &'a Sources,
    sections: &'a [Section],
    used: &'a RefCell<BTreeSet<Spot>>,
    vars: Rc<Vars>,
    verdicts: Verdicts,
    document: Document,
    services: Names,
    listeners: Names,
    process: Process,
    files: BTreeMap<String, Vec<u8>>,
    bases: Bases,
    options: &'a Options,
    /// The connections of all listeners.
    maxconn: Option<(Spot, u64)>,
    /// Where statistics are shown, which the admin pages do.
    admin: Option<Shown>,
    /// Whether the environment has a token for them.
    admin_token: bool,
    /// What the rules of the section at hand say of all its clients.
    clients: Clients,
    /// The ports that listeners take, and where.
    taken: Vec<(u16, Spot)>,
    /// The servers of sections, by their names.
    known_servers: Vec<(String, Vec<Server>)>,
}

impl<'a> Translator<'a> {
    fn run(&mut self) {
        self.global();
        let sections = self.sections;
        for section in sections {
            if section.kind & (FRONTEND | LISTEN) != 0 {
                let proxy = Proxy::new(section, sections, self.used);
                self.front(&proxy);
            }
        }
        for section in sections {
            if section.kind & (BACKEND | LISTEN) != 0 {
                let proxy = Proxy::new(section, sections, self.used);
                self.back(&proxy);
            }
        }
        self.leftovers();
        self.put_admin();
        self.command_names();
        let cluster = &self.document.sections[0];
        if cluster.table.is_empty() {
            self.document.sections.remove(0);
        }
    }

    /// `global`: the process, and `[cluster]`.
    fn global(&mut self) {
        let mut out = document::Section::new("cluster", None);
        let sections = self.sections;
        for section in sections.iter().filter(|section| section.kind == GLOBAL) {
            out.spot = out.spot.or(Some(section.head.spot));
            for line in &section.lines {
                self.verdicts.translated(line.spot);
                match line.word(0) {
                    "daemon" => self.process.daemon = true,
                    "pidfile" => self.process.pid_file = Some(line.word(1).into()),
                    "user" => out.put_at("user", Value::text(line.word(1)), line.spot),
                    "group" => out.put_at("group", Value::text(line.word(1)), line.spot),
                    "nbthread" => {
                        if let Some(workers) = self.number(line, 1) {
                            out.put_at("workers", Value::plain(workers), line.spot);
                        }
                    }
                    "maxconn" => self.maxconn(line),
                    "stats" => self.command_line(line),
                    "set-var" | "set-var-fmt" => self.vars.tell(line, &mut self.verdicts),
                    "log" => {}
                    "crt-base" => line.word(1).clone_into(&mut self.bases.certificates),
                    "ca-base" => line.word(1).clone_into(&mut self.bases.authorities),
                    "ssl-default-bind-options" => self.verdicts.note(
                        line.spot,
                        "TLS 1.2 is the oldest version spoken, and 1.3 the newest",
                    ),
                    // Variables were heeded when the lines were read.
                    _ => {}
                }
            }
        }
        if !out.table.is_empty() {
            out.comment = "global".into();
        }
        self.document.sections.push(out);
    }

    /// `maxconn` of the process: each listener has so many connections at most.
    fn maxconn(&mut self, line: &Line) {
        let number = self.number(line, 1).filter(|number| *number > 0);
        self.maxconn = number.map(|number| (line.spot, number)).or(self.maxconn);
        let fronts = self.sections.iter();
        if fronts.filter(|s| s.kind & (FRONTEND | LISTEN) != 0).count() > 1 {
            let what =
                "each listener has so many connections, where HAProxy counts those of all together";
            self.verdicts.note(line.spot, what);
        }
    }

    fn front(&mut self, proxy: &Proxy<'a>) {
        if self.disabled(proxy) {
            return;
        }
        self.modes(proxy);
        let doors = self.doors(proxy);
        if self.statistics(proxy, &doors) {
            return;
        }
        let taken = doors.iter().flat_map(|door| {
            let ports = door.addresses.iter().filter_map(|(_, port)| *port);
            ports.map(|port| (port, door.spot))
        });
        self.taken.extend(taken);
        self.listeners(proxy, &doors);
    }

    fn back(&mut self, proxy: &Proxy<'a>) {
        if self.disabled(proxy) {
            return;
        }
        self.modes(proxy);
        let servers = self.servers(proxy);
        let port = self.client_port(proxy);
        if servers.is_empty() {
            // Nothing comes of it, but a slip in it is told.
            self.spread(proxy);
        } else {
            let name = self.service(proxy.name());
            self.backend(proxy, &name, &servers, port);
        }
        self.single_servers(proxy, &servers, port);
        self.known_servers.push((proxy.name().to_owned(), servers));
        // Rules of a backend that nothing leads to are looked at all the same.
        if !proxy.is_listen() {
            let connection = acl::Connection {
                tls: false,
                asks_clients: false,
                is_answer: false,
                port,
            };
            let _ = self.policies(proxy);
            let acls = acl::read(proxy.section, &self.vars, &mut self.verdicts);
            for line in &proxy.section.lines {
                let sets_source = line.word(1) == "set-src";
                if order::turn(line).is_some() && !self.verdicts.has(line.spot) && !sets_source {
                    let _ = rules::step(line, &acls, connection, &mut self.verdicts);
                }
            }
        }
    }

    /// Backends of one server, for `use-server`.
    fn single_servers(&mut self, proxy: &Proxy<'_>, servers: &[Server], port: Option<u16>) {
        let mut done = BTreeSet::new();
        for line in proxy.own("use-server") {
            let Some(server) = servers.iter().find(|server| server.name == line.word(1)) else {
                let names = servers.iter().map(|server| server.name.as_str());
                let hint = crate::suggest::did_you_mean(line.word(1), names);
                self.verdicts.refuse_hint(
                    line.spot,
                    line.at(1),
                    format!("there is no server '{}'", line.word(1)),
                    hint,
                );
                continue;
            };
            if done.insert(server.name.clone()) {
                let key = format!("{}/{}", proxy.name(), server.name);
                let name = self
                    .services
                    .name(&key, &format!("{}-{}", proxy.name(), server.name));
                self.verdicts.note(
                    line.spot,
                    "when this server is down the answer is 503: others are not asked",
                );
                let one = std::slice::from_ref(server);
                self.backend(proxy, &name, one, port);
            }
        }
    }

    /// `mode`, and lines that count for nothing else.
    fn modes(&mut self, proxy: &Proxy<'_>) {
        if proxy.is_tcp() {
            for line in proxy
                .section
                .lines
                .iter()
                .filter(|line| order::is_of_http(line))
            {
                let what = format!(
                    "`{}`: it is of HTTP, and this section has `mode tcp`",
                    line.shown()
                );
                self.verdicts.without(line.spot, what);
            }
        }
        if let Some(line) = proxy.get("mode") {
            match line.word(1) {
                "http" | "tcp" => self.verdicts.translated(line.spot),
                other => {
                    let hint = crate::suggest::did_you_mean(other, ["http", "tcp"]);
                    self.verdicts.refuse_hint(
                        line.spot,
                        line.at(1),
                        format!("the mode '{other}' is not translated"),
                        hint,
                    );
                }
            }
        }
        for line in proxy.own("filter") {
            if line.word(1) == "compression" {
                self.verdicts.without(
                    line.spot,
                    "`filter compression`: `compression` alone says what is compressed",
                );
            } else {
                let message = format!(
                    "'filter {}' is not translated: there are no filters",
                    line.word(1)
                );
                self.verdicts.refuse(line.spot, line.at(1), message);
            }
        }
        for line in proxy.all("option forwardfor") {
            self.verdicts.translated(line.spot);
            let mut words = line.from(2).iter();
            while let Some(word) = words.next() {
                match word.text.as_str() {
                    "if-none" => {}
                    "except" => {
                        words.next();
                        self.verdicts.note(
                            line.spot,
                            "whose X-Forwarded-For is believed is said by `trust` of the listener",
                        );
                    }
                    "header" => {
                        let Some(name) = words.next() else {
                            self.verdicts
                                .refuse(line.spot, word.spot, "which field? header NAME");
                            continue;
                        };
                        let name = &name.text;
                        self.verdicts.note(line.spot, format!("{name} has the client's address, and never what a client says in it; X-Forwarded-For is sent besides"));
                    }
                    other => self.verdicts.refuse(
                        line.spot,
                        word.spot,
                        format!("'option forwardfor' does not know '{other}'"),
                    ),
                }
            }
        }
    }

    fn disabled(&mut self, proxy: &Proxy<'_>) -> bool {
        let Some(line) = proxy.get("disabled") else {
            return false;
        };
        for other in proxy.section.lines.iter().chain([&proxy.section.head]) {
            self.verdicts.without(other.spot, "the section is disabled");
        }
        self.verdicts.without(line.spot, "the section is left out");
        true
    }

    /// Lines that nothing asked for: those of defaults that no section is under, and the like.
    fn leftovers(&mut self) {
        for section in self.sections {
            for line in &section.lines {
                if self.verdicts.has(line.spot) {
                    continue;
                }
                if line.word(0) == "timeout" && self.time(line, 2).is_none() {
                    continue;
                }
                let used = self.used.borrow().contains(&line.spot);
                if line.word(0) == "timeout" || section.kind == DEFAULTS {
                    self.verdicts.without(
                        line.spot,
                        format!("`{}`: nothing here needs it", line.shown()),
                    );
                } else if used {
                    self.verdicts.translated(line.spot);
                } else if section.kind == BACKEND || section.kind == LISTEN {
                    self.verdicts.without(
                        line.spot,
                        format!("`{}`: the section has no servers", line.shown()),
                    );
                } else if section.kind == table::USERLIST {
                    self.verdicts
                        .without(line.spot, "no route asks for this list");
                } else if section.kind == table::HTTP_ERRORS {
                    self.verdicts
                        .without(line.spot, "no `errorfiles` names this section");
                } else {
                    self.verdicts.without(
                        line.spot,
                        format!("`{}`: nothing here needs it", line.shown()),
                    );
                }
            }
        }
    }

    /// The one port that clients of a backend come to, if there is only one.
    fn client_port(&mut self, backend: &Proxy<'a>) -> Option<u16> {
        let mut ports = BTreeSet::new();
        let sections = self.sections;
        for section in sections
            .iter()
            .filter(|s| s.kind & (FRONTEND | LISTEN) != 0)
        {
            let proxy = Proxy::new(section, sections, self.used);
            let name = backend.name();
            let leads = |line: &Line| line.word(1) == name || line.word(1).contains("%[");
            let leads_here =
                if backend.is_listen() && proxy.section.head.spot == backend.section.head.spot {
                    true
                } else {
                    proxy.get("default_backend").is_some_and(leads)
                        || proxy.own("use_backend").any(leads)
                };
            if !leads_here {
                continue;
            }
            let mut quiet = Verdicts::default();
            let bases = self.bases.clone();
            let lines = proxy.own("bind").map(|line| (line, 1));
            for (line, from) in lines.chain([(&section.head, 2)]) {
                if let Some(door) = bind::read(line, line.from(from), &bases, &mut quiet) {
                    ports.extend(door.addresses.iter().filter_map(|(_, port)| *port));
                }
            }
        }
        let mut ports = ports.into_iter();
        ports.next().filter(|_| ports.next().is_none())
    }

    fn backend_sections(&self) -> impl Iterator<Item = &'a Section> + use<'a> {
        let sections = self.sections;
        sections
            .iter()
            .filter(|section| section.kind & (BACKEND | LISTEN) != 0)
    }

    fn backend_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.backend_sections().map(|section| section.name.as_str())
    }

    fn section_of_backend(&self, name: &str) -> Option<&'a Section> {
        self.backend_sections().find(|section| section.name == name)
    }

    fn is_backend(&self, name: &str) -> bool {
        self.section_of_backend(name).is_some()
    }

    fn has_servers(&self, name: &str) -> bool {
        self.section_of_backend(name).is_some_and(|section| {
            let server = |line: &Line| matches!(line.word(0), "server" | "server-template");
            section.lines.iter().any(server)
        })
    }

    /// The name in the cluster file of a backend.
    fn service(&mut self, name: &str) -> String {
        self.services.name(name, name)
    }
}
