//! The listener of an address: what it takes of clients, its TLS, and the routes of its servers.

use super::super::document::{self, Table, Value};
use super::super::logic::{Literal, Subject, guard};
use super::super::sources::Spot;
use super::listen::Listen;
use super::scope::{self, Scope, VerifyClient};
use super::{Door, Server, Translator, shown, units};

/// What nginx takes of a body where `client_max_body_size` says nothing, in bytes.
const MOST_BODY: u64 = 1 << 20;

/// What a place takes of a body; 0 is all of it.
fn max_body(scope: &Scope) -> u64 {
    scope.max_body.as_ref().map_or(MOST_BODY, |set| set.value)
}

/// `limits` of the routes of a place that takes other bodies than its listener.
pub(crate) fn route_limits(scope: &Scope, door: &Door) -> Option<Table> {
    let body = match max_body(scope) {
        same if same == door.body => return None,
        0 => Value::plain(false),
        most => Value::text(units::show_size(most)),
    };
    Some(Table::default().with("body", body))
}

impl<'a> Translator<'a> {
    pub fn listener(
        &mut self,
        listen: &Listen,
        members: &[&Server<'a>],
        default: &Server<'a>,
        tls: bool,
        proxy: bool,
    ) {
        let wanted = match (tls, listen.port) {
            (true, Some(443)) => "web-tls".to_owned(),
            (true, _) => "tls".to_owned(),
            (false, Some(80)) => "web".to_owned(),
            (false, Some(port)) => format!("web-{port}"),
            (false, None) => "web".to_owned(),
        };
        let name = self.listeners.name(&listen.address, &wanted);
        let mut out = document::Section::named("listener", &name, Some(listen.spot));
        out.comment = format!("listen {}", shown(&listen.address));
        out.put_at(
            "bind",
            Value::List(vec![Value::text(&listen.address)]),
            listen.spot,
        );
        // Whose settings of TLS are the listener's.
        let speaks = if default.scope.rejects_handshakes() {
            let others = members.iter().copied();
            let mut others = others.filter(|server| !server.scope.rejects_handshakes());
            others.next().unwrap_or(default)
        } else {
            default
        };
        if tls {
            self.tls(listen, members, default, speaks, &mut out);
        }
        if proxy {
            out.put_at("proxy-protocol", Value::plain(true), listen.spot);
        }
        let scope = &default.scope;
        let trust = self.trust(listen, members, proxy);
        if !trust.is_empty() {
            out.put("trust", Value::texts(trust));
        }
        let body = Self::body_limit(default, &mut out);
        self.listener_limits(scope, &mut out);
        let usual = self.options.access_log.clone();
        self.log(scope, Some(usual).filter(|path| !path.is_empty()), &mut out);
        let door = Door {
            port: listen.port,
            tls,
            asks_clients: tls && speaks.scope.clients().is_some(),
            body,
            stream: None,
        };
        let mut routes = Vec::new();
        for (patterns, server) in self.ranked(members, default) {
            let inner = self.server_routes(server, &door);
            let host = Literal {
                subject: Subject::Host,
                patterns,
                fold: false,
                not: false,
            };
            routes.extend(guard(&vec![host], &inner, server.directive.spot));
        }
        routes.extend(self.server_routes(default, &door));
        out.put("route", Value::Routes(routes));
        self.document.sections.push(out);
    }

    /// The access log of a listener; `usual` where the file names none and is run as it is.
    pub fn log(&mut self, scope: &Scope, usual: Option<String>, out: &mut document::Section) {
        match scope
            .access_log
            .as_ref()
            .map(|set| (set.value.as_str(), set.spot))
        {
            Some(("off", spot)) => out.put_at("log", Value::plain(false), spot),
            Some((path, spot)) if path.starts_with("syslog:") => {
                self.verdicts.note(spot, "the access log is a file");
            }
            Some((path, spot)) => {
                let path = self.path(path);
                out.put_at("log", Value::text(path), spot);
            }
            None if self.options.direct => {
                out.put("log", usual.map_or(Value::plain(false), Value::text));
            }
            None => {}
        }
    }

    /// What the default server takes; routes of places that say otherwise have their own.
    fn body_limit(default: &Server<'a>, out: &mut document::Section) -> u64 {
        let said = default.scope.max_body.as_ref();
        let value = max_body(&default.scope);
        if value == 0 {
            return value;
        }
        let limits = Table::default().with("body", Value::text(units::show_size(value)));
        match said {
            Some(set) => out.put_at("limits", Value::Table(limits), set.spot),
            None => out.put("limits", Value::Table(limits)),
        }
        value
    }

    fn listener_limits(&mut self, scope: &Scope, out: &mut document::Section) {
        let mut timeouts = Table::default();
        let mut spot = None;
        for (key, set) in [
            ("head", &scope.header_timeout),
            ("body", &scope.body_timeout),
            ("idle", &scope.keepalive),
        ] {
            let Some(set) = set else { continue };
            if set.value.is_zero() {
                self.verdicts
                    .note(set.spot, "0 is not translated: the usual time limit holds");
                continue;
            }
            timeouts.put(key, Value::text(crate::duration::show(set.value)));
            spot = Some(set.spot);
        }
        if let Some(spot) = spot {
            out.put_at("timeouts", Value::Table(timeouts), spot);
        }
    }

    fn tls(
        &mut self,
        listen: &Listen,
        members: &[&Server<'a>],
        default: &Server<'a>,
        speaks: &Server<'a>,
        out: &mut document::Section,
    ) {
        self.client_certificates(members, speaks);
        let mut found = Certificates::default();
        // The first answers for unknown names.
        let rest = members
            .iter()
            .copied()
            .filter(|server| !std::ptr::eq(*server, default));
        for server in std::iter::once(default).chain(rest) {
            let scope = &server.scope;
            if let Some(set) = scope.reject_handshake.as_ref().filter(|set| set.value) {
                if !std::ptr::eq(server, default) {
                    self.verdicts.refuse(
                        set.spot,
                        set.spot,
                        "the handshake is refused to those that ask for no name with a certificate, in the default server of an \
                         address: for other names leave the server out",
                    );
                }
                continue;
            }
            let own = self.certificates(scope, server.directive.spot, listen.spot);
            found.join(own);
        }
        if found.chains.is_empty()
            && let Some(set) = default
                .scope
                .reject_handshake
                .as_ref()
                .filter(|set| set.value)
        {
            let message = "all servers of this address refuse the handshake: leave them out";
            self.verdicts.refuse(set.spot, set.spot, message);
        }
        let value = self.speaks(found, &speaks.scope, default.scope.rejects_handshakes());
        out.put_at("tls", value, listen.spot);
    }

    /// The files with the certificates of a server.
    pub fn certificates(&mut self, scope: &Scope, server: Spot, listen: Spot) -> Certificates {
        if scope.certificates.is_empty() {
            let message = "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive";
            self.verdicts.refuse(server, listen, message);
        }
        let mut found = Certificates::default();
        for (number, cert) in scope.certificates.iter().enumerate() {
            match scope.keys.get(number) {
                Some(key) => {
                    let (chain, key) = self.certificate(cert, key);
                    found.join(Certificates {
                        chains: vec![chain],
                        keys: Vec::from_iter(key),
                    });
                }
                None => self.verdicts.refuse(
                    cert.spot,
                    cert.spot,
                    format!(
                        "no \"ssl_certificate_key\" is defined for certificate \"{}\"",
                        cert.value
                    ),
                ),
            }
        }
        found
    }

    /// `tls` of a listener that speaks it by these settings.
    pub fn speaks(&self, found: Certificates, scope: &Scope, is_strict: bool) -> Value {
        let certs = Value::texts(found.chains);
        let mut table = Table::default();
        if !found.keys.is_empty() {
            table.put("keys", Value::texts(found.keys));
        }
        if let Some(clients) = scope.clients() {
            table.put("client-ca", Value::text(self.beside(clients.authorities)));
            if clients.verify == VerifyClient::Optional {
                table.put("client-cert", Value::text("optional"));
            }
            if let Some(lists) = clients.revoked {
                table.put("client-crl", Value::text(self.beside(lists)));
            }
        }
        if is_strict {
            table.put("strict-sni", Value::plain(true));
        }
        if scope.only_tls13.as_ref().is_some_and(|set| set.value) {
            table.put("min", Value::text("1.3"));
        }
        if table.is_empty() {
            return certs;
        }
        table.0.insert(0, ("certs".into(), certs));
        Value::Table(table)
    }

    /// Who asks clients for certificates knows whose.
    pub fn knows_authorities(&mut self, scope: &Scope) {
        let asks = scope.verify_client.as_ref();
        if let Some(set) = asks.filter(|set| set.value != VerifyClient::Off)
            && scope.client_ca.is_none()
        {
            let message = "no \"ssl_client_certificate\" for \"ssl_verify_client\"";
            self.verdicts.refuse(set.spot, set.spot, message);
        }
    }

    /// A listener asks all clients for certificates, or none.
    fn client_certificates(&mut self, members: &[&Server<'a>], speaks: &Server<'a>) {
        let members = members.iter();
        for server in members.filter(|server| !server.scope.rejects_handshakes()) {
            let scope = &server.scope;
            self.knows_authorities(scope);
            let asks = scope.verify_client.as_ref();
            if let Some(set) = asks.filter(|set| set.value == VerifyClient::Optional) {
                self.verdicts.note(
                    set.spot,
                    "a certificate that does not verify ends the handshake; nginx answers 400",
                );
            }
            if scope.clients() != speaks.scope.clients() {
                let set = server.scope.verify_client.as_ref();
                let set = set.or(speaks.scope.verify_client.as_ref());
                let spot = set.map_or(server.directive.spot, |set| set.spot);
                self.verdicts.refuse(
                    spot,
                    spot,
                    "all servers of an address ask clients for a certificate of the same authorities, or none does: give \
                     this one an address of its own",
                );
                return;
            }
        }
    }

    /// A path as nginx takes those of certificates: from the directory of the file.
    pub fn beside(&self, path: &str) -> String {
        if path.starts_with('/') || !self.options.direct {
            path.to_owned()
        } else {
            format!("{}/{path}", self.config_directory())
        }
    }

    /// The file of a chain, and that of its key where it is another one.
    pub fn certificate(
        &mut self,
        cert: &scope::Set<String>,
        key: &scope::Set<String>,
    ) -> (String, Option<String>) {
        for set in [cert, key] {
            if set.value.contains('$') {
                let message = "a certificate is named, not worked out for each connection";
                self.verdicts.refuse(set.spot, set.spot, message);
            }
        }
        let (chain, secret) = (self.beside(&cert.value), self.beside(&key.value));
        if self.options.direct && secret != chain {
            for (path, set) in [(&chain, cert), (&secret, key)] {
                if let Err(error) = std::fs::File::open(path) {
                    let message = format!("cannot load \"{path}\": {error}");
                    self.verdicts.refuse(set.spot, set.spot, message);
                }
            }
        }
        let secret = Some(secret).filter(|secret| *secret != chain);
        (chain, secret)
    }
}

/// Files with certificates and their keys, each once.
#[derive(Default)]
pub struct Certificates {
    chains: Vec<String>,
    keys: Vec<String>,
}

impl Certificates {
    fn join(&mut self, others: Self) {
        for (all, more) in [
            (&mut self.chains, others.chains),
            (&mut self.keys, others.keys),
        ] {
            for path in more {
                if !all.contains(&path) {
                    all.push(path);
                }
            }
        }
    }
}
