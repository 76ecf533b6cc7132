//! Frontends: listeners and their routes.

use super::super::document::{Route, Section, Table, Value};
use super::super::logic::Either;
use super::Translator;
use super::acl::Connection;
use super::bind::{self, Door};
use super::changed::Changed;
use super::pages::PAGES;
use super::proxy::Proxy;
use super::rules::{self, Deed, Step};

/// More routes than this are refused: conditions on changes multiply them.
const MOST: usize = 16_384;

impl Translator<'_> {
    /// The addresses of a section, those that are listened on alike together.
    pub fn doors(&mut self, proxy: &Proxy<'_>) -> Vec<Door> {
        let mut doors: Vec<Door> = Vec::new();
        let head = &proxy.section.head;
        // `frontend main *:80`, as it was before HAProxy 1.7; options may follow.
        let inline = head.from(2);
        let inline = inline
            .first()
            .filter(|word| word.text != "from" && !word.text.is_empty());
        let mut found = Vec::new();
        if inline.is_some() {
            found.extend(bind::read(
                head,
                head.from(2),
                &self.bases,
                &mut self.verdicts,
            ));
            self.verdicts.note(
                head.spot,
                format!(
                    "an address behind the name of a {} is a `bind` line since HAProxy 1.7",
                    head.word(0)
                ),
            );
        }
        for line in proxy.own("bind") {
            found.extend(bind::read(
                line,
                line.from(1),
                &self.bases,
                &mut self.verdicts,
            ));
        }
        for door in found {
            // Conditions on the connection are decided for each listener.
            let mixed = proxy
                .section
                .lines
                .iter()
                .any(|line| line.words.iter().any(|word| word.text.contains("dst_port")));
            let like =
                |other: &&mut Door| other.is_like(&door) && (!mixed || other.port() == door.port());
            match doors.iter_mut().find(like) {
                // All addresses of IPv4 and all of IPv6 are the same ones here.
                Some(same) => {
                    for address in door.addresses {
                        if !same.addresses.contains(&address) {
                            same.addresses.push(address);
                        }
                    }
                }
                None => doors.push(door),
            }
        }
        if doors.is_empty() && proxy.section.kind == super::table::FRONTEND {
            self.verdicts
                .note(head.spot, "nothing is bound: no request comes here");
        }
        doors
    }

    /// Writes the listeners of a section.
    pub fn listeners(&mut self, proxy: &Proxy<'_>, doors: &[Door]) {
        let several = doors.len() > 1;
        for (number, door) in doors.iter().enumerate() {
            let wanted = if several && door.tls.is_some() {
                format!("{}-tls", proxy.name())
            } else if number > 0 {
                format!("{}-{}", proxy.name(), number + 1)
            } else {
                proxy.name().to_owned()
            };
            let name = self
                .listeners
                .name(&format!("{}/{number}", proxy.name()), &wanted);
            let mut out = Section::named("listener", &name, Some(door.spot));
            let head = &proxy.section.head;
            out.comment = head.shown();
            let addresses = door.addresses.iter().map(|(address, _)| address.clone());
            out.put_at("bind", Value::texts(addresses), door.spot);
            Self::listener_tls(door, &mut out);
            if door.proxy {
                out.put_at("proxy-protocol", Value::plain(true), door.spot);
                // HAProxy believes whoever connects to such an address.
                out.put_at("trust", Value::texts(["0.0.0.0/0", "::/0"]), door.spot);
            }
            self.client_timeouts(proxy, &mut out);
            self.most_connections(proxy, several, &mut out);
            if !proxy.is_tcp() {
                let pages = PAGES.iter().flat_map(|name| proxy.all(name)).collect();
                if let Some((table, spot)) = self.error_pages(proxy.name(), pages) {
                    out.put_at("errors", Value::Table(table), spot);
                }
            }
            let logs = self.logs(proxy);
            let format = self.log_format(proxy, logs).map(Value::text);
            let mut log = Table::default();
            if self.options.direct {
                let path = self.options.access_log.as_str();
                if logs && !path.is_empty() {
                    log.put("file", Value::text(path));
                } else {
                    out.put("log", Value::plain(false));
                }
            }
            match (format, log.get("file").cloned()) {
                (Some(format), file) if file.is_some() || !self.options.direct => {
                    log.put("format", format);
                    out.put("log", Value::Table(log));
                }
                (_, Some(file)) => out.put("log", file),
                _ => {}
            }
            if proxy.is_tcp() {
                out.put("mode", Value::text("tcp"));
            }
            let routes = self.routes(proxy, door);
            self.put_clients(&mut out);
            out.put("route", Value::Routes(routes));
            self.document.sections.push(out);
        }
    }

    fn listener_tls(door: &Door, out: &mut Section) {
        let Some(tls) = &door.tls else { return };
        let places = tls.certs.iter().map(|path| {
            if path.ends_with('/') || std::path::Path::new(path).is_dir() {
                format!("{}/*.pem", path.trim_end_matches('/'))
            } else {
                path.clone()
            }
        });
        let places: Vec<String> = places.collect();
        let keys: Vec<String> = places
            .iter()
            .filter_map(|place| bind::key_of(place))
            .collect();
        let certs = Value::texts(places);
        if tls.client_ca.is_none() && !tls.min13 && !tls.strict_sni && keys.is_empty() {
            return out.put_at("tls", certs, door.spot);
        }
        let mut table = Table::default().with("certs", certs);
        if !keys.is_empty() {
            table.put("keys", Value::texts(keys));
        }
        if let Some(ca) = &tls.client_ca {
            table.put("client-ca", Value::text(ca));
            if tls.is_optional {
                table.put("client-cert", Value::text("optional"));
            }
            if let Some(lists) = &tls.client_crl {
                table.put("client-crl", Value::text(lists));
            }
        }
        if tls.strict_sni {
            table.put("strict-sni", Value::plain(true));
        }
        if tls.min13 {
            table.put("min", Value::text("1.3"));
        }
        out.put_at("tls", Value::Table(table), door.spot);
    }

    fn client_timeouts(&mut self, proxy: &Proxy<'_>, out: &mut Section) {
        let client = self.one_time(proxy, &["timeout client", "clitimeout"]);
        let head = self.one_time(proxy, &["timeout http-request"]);
        let idle = self.one_time(proxy, &["timeout http-keep-alive"]);
        let mut table = Table::default();
        let mut spot = None;
        if let Some((line, time)) = head {
            table.put("head", Value::text(time));
            spot = Some(line.spot);
        }
        if let Some((line, time)) = &client {
            table.put("body", Value::text(time));
            spot = spot.or(Some(line.spot));
        }
        if let Some((line, time)) = idle.or(client) {
            table.put("idle", Value::text(time));
            spot = spot.or(Some(line.spot));
        }
        if let Some(spot) = spot {
            if proxy.is_tcp() {
                // Bytes that pass have one limit.
                table.0.retain(|(key, _)| key == "idle");
            }
            out.put_at("timeouts", Value::Table(table), spot);
        }
    }

    /// `maxconn`, of the section or of all: what is beyond waits.
    fn most_connections(&mut self, proxy: &Proxy<'_>, several: bool, out: &mut Section) {
        let own = proxy.get("maxconn").and_then(|line| {
            let number = self.number(line, 1)?;
            // 0 is the usual number.
            (number > 0).then_some((line.spot, number))
        });
        // Both hold: the smaller one counts, and the section's where they are the same.
        let both = own.into_iter().chain(self.maxconn);
        let Some((spot, most)) = both.min_by_key(|(_, number)| *number) else {
            return;
        };
        if several {
            let what =
                "each listener has so many connections, where HAProxy counts those of all together";
            self.verdicts.note(spot, what);
        }
        // More than any node has.
        let most = most.min(1_000_000);
        let limits = Table::default()
            .with("connections", Value::plain(most))
            .with("beyond", Value::text("wait"));
        out.put_at("limits", Value::Table(limits), spot);
    }

    fn logs(&mut self, proxy: &Proxy<'_>) -> bool {
        let lines = proxy.all("log");
        for line in &lines {
            self.verdicts.translated(line.spot);
        }
        !lines.is_empty()
    }

    /// The routes of a listener.
    fn routes(&mut self, proxy: &Proxy<'_>, door: &Door) -> Vec<Route> {
        let acls = self.acls(proxy);
        let connection = Connection {
            tls: door.tls.is_some(),
            asks_clients: door.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
            is_answer: false,
            port: door.port(),
        };
        let mut steps = self.steps(proxy, &acls, connection);
        let is_http = !proxy.is_tcp();
        if is_http && let Some(step) = self.compression(proxy, proxy.get("compression algo")) {
            steps.insert(0, step);
        }
        if is_http {
            // HAProxy adds it when all rules have been asked: they do not see it.
            steps.extend(self.request_id(proxy));
            steps.extend(Self::client_field(proxy));
        }
        if is_http && let Some(line) = proxy.get("monitor-uri") {
            self.verdicts.translated(line.spot);
            let when = Either::of(super::super::logic::Literal {
                subject: super::super::logic::Subject::Path,
                patterns: vec![line.word(1).to_owned()],
                fold: false,
                not: false,
            });
            // HAProxy's own page.
            let page = "<html><body><h1>200 OK</h1>\nService ready.\n</body></html>\n";
            let fields = Table::default()
                .with("Content-Type", Value::text("text/html"))
                .with("Cache-Control", Value::text("no-cache"));
            let respond = Table::default()
                .with("status", Value::plain(200))
                .with("body", Value::text(page))
                .with("headers", Value::Table(fields));
            let answer = Table::default()
                .with("respond", Value::Table(respond))
                .with("log", Value::plain(false));
            steps.insert(0, Step::new(when, Deed::Answer(answer), line.spot));
        }
        for line in proxy.own("use_backend") {
            let expanded = match acls.vars.expand(line) {
                Ok(expanded) => expanded,
                Err(refusal) => {
                    refusal.tell(line.spot, &mut self.verdicts);
                    continue;
                }
            };
            let line = expanded.as_ref().unwrap_or(line);
            let (words, condition) = rules::split(line.from(1));
            let Some(backend) = words.first() else {
                self.verdicts.refuse(
                    line.spot,
                    line.spot,
                    "which backend? use_backend NAME if ...",
                );
                continue;
            };
            if let Some(mapped) = self.mapped(line, backend, condition, &acls, connection) {
                steps.extend(mapped);
                continue;
            }
            let when =
                match rules::when(condition, &acls, connection, line.spot, &mut self.verdicts) {
                    Ok(when) => when,
                    Err(refusal) => {
                        refusal.tell(line.spot, &mut self.verdicts);
                        continue;
                    }
                };
            self.verdicts.translated(line.spot);
            let deed = self.to(&backend.text, line.spot, backend.spot);
            steps.push(Step::new(when, deed, line.spot));
        }
        let last = proxy.get("default_backend");
        if proxy.is_listen() && last.is_none() {
            steps.extend(self.server_steps(proxy, &acls, connection));
        }
        let (name, spot, at) = match last {
            Some(line) => (line.word(1).to_owned(), line.spot, line.at(1)),
            None => (
                proxy.name().to_owned(),
                proxy.section.head.spot,
                proxy.section.head.spot,
            ),
        };
        if let Some(line) = last {
            self.verdicts.translated(line.spot);
        }
        let deed = if last.is_some() || (proxy.is_listen() && self.has_servers(&name)) {
            self.to(&name, spot, at)
        } else {
            Deed::Answer(rules::nowhere(proxy))
        };
        steps.push(Step::new(Either::always(), deed, spot));
        let mut budget = MOST;
        let came = Changed::default();
        let routes = self.build(&steps, connection, &came, &mut budget);
        if budget == 0 {
            self.verdicts.refuse(
                proxy.section.head.spot,
                proxy.section.head.spot,
                format!("conditions on changes multiply to more than {MOST} routes"),
            );
        }
        routes
    }
}
