//! `stream`: connections that are passed on as they are, or whose TLS ends here. A server is a listener in TCP mode.
//!
//! nginx asks in this order: who the client is (`set_real_ip_from`), how many connections it has (`limit_conn`), whether it
//! may come (`allow`, `deny`), TLS, the first bytes (`ssl_preread`); then where to. A `map` or `geo` in `proxy_pass` becomes a
//! route for each of its values, in the order in which nginx chooses.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::document::{Route, Section, Table, Value};
use super::super::logic::{Either, Literal, Subject, guard};
use super::super::sources::Spot;
use super::condition::Wanted;
use super::listen::{self, Listen};
use super::location::answer;
use super::made::Made;
use super::scope::{Access, Scope, Set};
use super::tree::Directive;
use super::upstream::Target;
use super::variables::{self, Piece};
use super::{Door, Translator, shown, simplified, uses_port};
use crate::duration;

mod settings;
#[cfg(test)]
mod tests;

pub(crate) use settings::Settings;
use settings::is_on;

/// nginx's time limits where the file says none.
const PREREAD: Duration = Duration::from_secs(30);
const HEADER: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_mins(1);

/// Whether the first bytes of a connection are looked at (`ssl_preread`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preread {
    Off,
    On,
}

/// A server, and the addresses it is alone at.
struct Server<'a> {
    directive: &'a Directive,
    listens: Vec<Listen>,
}

impl<'a> Translator<'a> {
    /// `stream`.
    pub fn stream(&mut self, stream: &'a Directive) {
        let outer = self.scope(&Scope::default(), stream.inner());
        self.upstreams = BTreeMap::new();
        self.read_upstreams(stream.inner());
        self.made = Made::read(stream.inner(), &mut self.verdicts);
        let by_port = uses_port(stream.inner());
        for server in self.stream_servers(stream.inner()) {
            self.stream_server(&server, &outer, by_port);
        }
        self.made.tell(&mut self.verdicts, "");
        self.tell_upstreams("connections");
    }

    /// The servers of a stream. Of those at one address nginx takes none.
    fn stream_servers(&mut self, list: &'a [Directive]) -> Vec<Server<'a>> {
        let mut servers: Vec<Server<'a>> = Vec::new();
        // Whether it is for IPv6: both at all addresses are one here.
        let mut known: Vec<(String, bool)> = Vec::new();
        for directive in list.iter().filter(|directive| directive.is("server")) {
            self.verdicts.translated(directive.spot);
            let mut listens: Vec<Listen> = Vec::new();
            let all = directive.inner().iter();
            for word in all.filter(|inner| inner.is("listen")) {
                let Some(listen) = listen::read_of_stream(word, &mut self.verdicts) else {
                    continue;
                };
                let address = shown(&listen.address);
                let key = (address.clone(), word.arg(0).starts_with("[::]"));
                let is_mine = listens.iter().any(|mine| mine.address == listen.address);
                if known.contains(&key) {
                    let message = format!("duplicate \"{address}\" address and port pair");
                    self.verdicts.refuse(listen.spot, word.at(0), message);
                } else if !is_mine && known.iter().any(|(other, _)| *other == address) {
                    let message =
                        "all addresses of IPv4 and IPv6 are one here, and another server has them";
                    self.verdicts.refuse(listen.spot, word.at(0), message);
                }
                known.push(key);
                if !is_mine {
                    listens.push(listen);
                }
            }
            if !directive.inner().iter().any(|inner| inner.is("listen")) {
                let message = "no \"listen\" is defined for server";
                self.verdicts
                    .refuse(directive.spot, directive.spot, message);
            }
            servers.push(Server { directive, listens });
        }
        servers
    }

    fn stream_server(&mut self, server: &Server<'a>, outer: &Scope, by_port: bool) {
        let list = server.directive.inner();
        let scope = self.scope(outer, list);
        let Some(pass) = list.iter().find(|inner| inner.is("proxy_pass")) else {
            let spot = server.directive.spot;
            let message = "no handler for server: `proxy_pass` says where connections go";
            self.verdicts.refuse(spot, spot, message);
            return;
        };
        self.verdicts.translated(pass.spot);
        let mut groups: Vec<Vec<&Listen>> = Vec::new();
        for listen in &server.listens {
            let same = groups.iter_mut().find(|group| {
                !by_port && (group[0].tls, group[0].proxy) == (listen.tls, listen.proxy)
            });
            match same {
                Some(group) => group.push(listen),
                None => groups.push(vec![listen]),
            }
        }
        for group in groups {
            self.stream_listener(server.directive, &group, &scope, pass);
        }
    }

    /// A listener at some addresses of a server.
    fn stream_listener(
        &mut self,
        server: &Directive,
        listens: &[&Listen],
        scope: &Scope,
        pass: &Directive,
    ) {
        let first = listens[0];
        let stream = &scope.stream;
        let is_preread = is_on(stream.preread.as_ref());
        let door = Door {
            port: first.port,
            tls: first.tls,
            asks_clients: false,
            body: 0,
            stream: Some(if is_preread {
                Preread::On
            } else {
                Preread::Off
            }),
        };
        let Some(routes) = self.destinations(pass, scope, &door) else {
            return;
        };
        let asks_name = routes.iter().any(asks_name);
        if let Some(set) = stream
            .preread
            .as_ref()
            .filter(|set| set.value && !asks_name)
        {
            let message = "nothing asks for the name: connections are passed on at once";
            self.verdicts.note(set.spot, message);
        }
        let routes = admitted(&scope.access, routes);
        let wanted = format!("tcp-{}", first.port.unwrap_or(0));
        let name = self.listeners.name(&first.address, &wanted);
        let mut out = Section::named("listener", &name, Some(first.spot));
        out.comment = "stream server".into();
        let bind = listens.iter().map(|listen| Value::text(&listen.address));
        out.put_at("bind", Value::List(bind.collect()), first.spot);
        out.put("mode", Value::text("tcp"));
        if first.tls {
            self.knows_authorities(scope);
            let certs = self.certificates(scope, server.spot, first.spot);
            out.put_at("tls", self.speaks(certs, scope, false), first.spot);
        }
        if first.proxy {
            out.put_at("proxy-protocol", Value::plain(true), first.spot);
        }
        let trust = self.trust_of_stream(first, scope);
        if !trust.is_empty() {
            out.put("trust", Value::texts(trust));
        }
        if let Some(most) = self.connections_at_once(scope) {
            let limits = Table::default().with("per-source", Value::plain(most));
            out.put("limits", Value::Table(limits));
        }
        let timeouts = self.stream_timeouts(first, asks_name, stream);
        if !timeouts.is_empty() {
            out.put("timeouts", Value::Table(timeouts));
        }
        // A stream has no log that it is not told of.
        self.log(scope, None, &mut out);
        match &routes[..] {
            [only] if only.table.0.len() == 1 && only.table.has("to") => {
                let to = only.table.get("to").cloned();
                out.put_at("to", to.unwrap_or(Value::text("")), pass.spot);
            }
            _ => out.put("route", Value::Routes(routes)),
        }
        self.document.sections.push(out);
    }

    /// `timeouts` of a listener: what comes first has one for all of it.
    fn stream_timeouts(&mut self, listen: &Listen, asks_name: bool, stream: &Settings) -> Table {
        let mut limit = |set: &Option<Set<Duration>>, usual: Duration| match set {
            Some(set) if set.value.is_zero() => {
                let message = "0 is not translated: the usual time limit holds";
                self.verdicts.note(set.spot, message);
                usual
            }
            Some(set) => set.value,
            None => usual,
        };
        let header = limit(&stream.header_timeout, HEADER);
        let handshake = limit(&stream.handshake_timeout, HANDSHAKE);
        let preread = limit(&stream.preread_timeout, PREREAD);
        let idle = limit(&stream.idle, Duration::ZERO);
        let head = match (listen.proxy, listen.tls, asks_name) {
            (true, true, _) => header + handshake,
            (false, true, _) => handshake,
            (true, false, true) => header.max(preread),
            (true, false, false) => header,
            (false, false, true) => preread,
            (false, false, false) => Duration::ZERO,
        };
        let mut timeouts = Table::default();
        for (key, time) in [("head", head), ("idle", idle)] {
            if !time.is_zero() {
                timeouts.put(key, Value::text(duration::show(time)));
            }
        }
        timeouts
    }

    /// Where connections go.
    fn destinations(&mut self, pass: &Directive, scope: &Scope, door: &Door) -> Option<Vec<Route>> {
        let (spot, given) = (pass.spot, pass.arg(0));
        let refuse = |translator: &mut Self, message: String| {
            translator.verdicts.refuse(spot, pass.at(0), message);
            None
        };
        let pieces = match variables::pieces(given) {
            Ok(pieces) => pieces,
            Err(message) => return refuse(self, message),
        };
        let mut names: Vec<&str> = pieces.iter().filter_map(Piece::name).collect();
        names.dedup();
        let name = match names[..] {
            [] => return Some(vec![self.destination(given, pass, scope, false)?]),
            [name] if self.made.has(name) => name,
            [name] => {
                return refuse(
                    self,
                    format!(
                        "\"${name}\" is worked out for each connection: a `map` says which server it leads to"
                    ),
                );
            }
            _ => return refuse(self, "one variable says which server it is".into()),
        };
        let verdicts = &mut self.verdicts;
        let note = &mut |text: &'static str| verdicts.note(spot, text);
        let chosen = match self.made.chosen(name, door, note) {
            Ok(chosen) => chosen.merged(),
            Err(message) => return refuse(self, format!("${name} is not translated: {message}")),
        };
        let mut routes = Vec::new();
        let default = (Either::always(), chosen.default.clone());
        let entries = chosen.entries.into_iter().map(|e| (e.when, e.value));
        for (when, value) in entries.chain([default]) {
            if value.contains('$') {
                return refuse(
                    self,
                    format!(
                        "\"{value}\" is worked out for each connection: a value names an upstream, or a server with its port"
                    ),
                );
            }
            let to = variables::replaced(given, &|_| Some(value.clone()));
            let route = self.destination(&to, pass, scope, true)?;
            for together in &when.0 {
                routes.extend(guard(together, std::slice::from_ref(&route), spot));
            }
            if when == Either::always() {
                break;
            }
        }
        if door.tls && routes.iter().any(asks_name) {
            return refuse(
                self,
                "the name is read where TLS is passed on, and `listen ... ssl` ends it here".into(),
            );
        }
        Some(simplified(routes))
    }

    /// The route to an upstream or a server. What names none is closed.
    fn destination(
        &mut self,
        to: &str,
        pass: &Directive,
        scope: &Scope,
        is_value: bool,
    ) -> Option<Route> {
        let spot = pass.spot;
        if to.is_empty() {
            return Some(answer(
                Table::default().with("deny", Value::plain(true)),
                spot,
            ));
        }
        if !self.upstreams.contains_key(to) {
            let (host, port) = to.rsplit_once(':').unwrap_or((to, ""));
            let is_server = to.starts_with("unix:")
                || (!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
            if !is_server {
                let message = format!("no port in upstream \"{to}\"");
                let hint = Some("there is no `upstream` of that name".to_owned());
                self.verdicts.refuse_hint(spot, pass.at(0), message, hint);
                return None;
            }
            if !is_value && self.upstreams.contains_key(host) {
                let message = format!("upstream \"{host}\" may not have port {port}");
                self.verdicts.refuse(spot, pass.at(0), message);
                return None;
            }
            let literal = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
            if is_value && !literal && !to.starts_with("unix:") {
                self.verdicts.note(
                    spot,
                    "the system's resolver looks up what a value names; nginx asks that of `resolver`, and without one it closes the connection",
                );
            }
        }
        let target = Target {
            tls: is_on(scope.stream.tls.as_ref()),
            host: to.to_owned(),
            uri: None,
        };
        let service = self.backend(&target, scope, None, spot);
        Some(answer(
            Table::default().with("to", Value::text(service)),
            spot,
        ))
    }
}

/// Whether a route asks for the name of TLS.
fn asks_name(route: &Route) -> bool {
    let nested = |value: &Value| match value {
        Value::Routes(routes) => routes.iter().any(asks_name),
        Value::Table(table) => table.has("sni"),
        _ => false,
    };
    route.table.has("sni") || route.table.0.iter().any(|(_, value)| nested(value))
}

/// `allow` and `deny` before what is done with those that may come.
fn admitted(access: &[Access], inner: Vec<Route>) -> Vec<Route> {
    // Those of one kind, one after the other, are one question.
    let mut asked: Vec<(bool, Vec<String>, Spot)> = Vec::new();
    let mut last = None;
    for rule in access {
        if rule.network == "all" {
            last = Some(rule);
            break;
        }
        match asked.last_mut() {
            Some((allow, networks, _)) if *allow == rule.allow => {
                networks.push(rule.network.clone());
            }
            _ => asked.push((rule.allow, vec![rule.network.clone()], rule.spot)),
        }
    }
    let closed = |spot| answer(Table::default().with("deny", Value::plain(true)), spot);
    let source = |patterns, not| Literal {
        subject: Subject::Source,
        patterns,
        fold: false,
        not,
    };
    let rest = match last.filter(|rule| !rule.allow) {
        Some(rule) => vec![closed(rule.spot)],
        None => inner.clone(),
    };
    // `allow A; deny all;` closes all others.
    if let ([(true, networks, spot)], [only]) = (&asked[..], &rest[..])
        && only.table.has("deny")
        && last.is_some()
    {
        let others = vec![source(networks.clone(), true)];
        let mut routes = guard(&others, &[closed(*spot)], *spot);
        routes.extend(inner);
        return routes;
    }
    let mut routes = Vec::new();
    for (allow, networks, spot) in asked {
        let closed = [closed(spot)];
        let done = if allow { &inner[..] } else { &closed[..] };
        routes.extend(guard(&vec![source(networks, false)], done, spot));
    }
    routes.extend(rest);
    routes
}

/// A condition on a variable of a stream; `None` for what is asked as in http.
pub(super) fn asked(
    variable: &str,
    wanted: Wanted,
    value: &str,
    preread: Preread,
    note: &mut dyn FnMut(&'static str),
) -> Option<Result<Either, String>> {
    let constant = |text: &str| Some(Ok(Either::constant(wanted.holds(value, text))));
    let sni = |pattern: String, not| {
        Some(Ok(Either::of(Literal {
            subject: Subject::Sni,
            patterns: vec![pattern],
            fold: false,
            not,
        })))
    };
    match (variable, preread) {
        ("remote_addr" | "server_port", _) => None,
        ("protocol", _) => constant("TCP"),
        (
            "ssl_preread_server_name" | "ssl_preread_protocol" | "ssl_preread_alpn_protocols",
            Preread::Off,
        ) => constant(""),
        ("ssl_preread_server_name", Preread::On) => match wanted {
            Wanted::Equal if value.is_empty() => sni("*".into(), true),
            Wanted::Equal if value.contains('*') || value.starts_with('~') => {
                sni(format!("~^{}$", regex::escape(value)), false)
            }
            Wanted::Equal => sni(value.to_owned(), false),
            Wanted::Regex(fold) => {
                if !fold {
                    note("a name is compared whatever its case, also with an expression");
                }
                sni(format!("~{value}"), false)
            }
            Wanted::Present => sni("*".into(), false),
        },
        ("ssl_preread_protocol", Preread::On) => Some(Err(
            "of the first bytes only the name that TLS asks for is known, not its version".into(),
        )),
        ("ssl_preread_alpn_protocols", Preread::On) => Some(Err(
            "of the first bytes only the name that TLS asks for is known, not the protocols in it"
                .into(),
        )),
        _ => Some(Err(format!(
            "of a connection the client's address is asked, and the name that TLS asks for, not \"${variable}\""
        ))),
    }
}
