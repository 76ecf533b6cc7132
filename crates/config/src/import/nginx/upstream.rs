//! `proxy_pass` and `upstream`: backends.

use super::super::document::{Section, Table, Value, own_id};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::fastcgi::Family;
use super::scope::Scope;
use super::tree::Directive;
use super::{Translator, units};
use crate::duration;
use crate::suggest::did_you_mean;

/// What `proxy_pass` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub tls: bool,
    /// The upstream or `host:port`, as it is written.
    pub host: String,
    /// The path that takes the place of the location's.
    pub uri: Option<String>,
}

/// Reads `http://host:port/uri`.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    let (tls, rest) = if let Some(rest) = text.strip_prefix("http://") {
        (false, rest)
    } else if let Some(rest) = text.strip_prefix("https://") {
        (true, rest)
    } else {
        return Err("invalid URL prefix".into());
    };
    let (host, uri) = if let Some(path) = rest.strip_prefix("unix:") {
        match path.split_once(':') {
            Some((path, uri)) => (format!("unix:{path}"), Some(uri.to_owned())),
            None => (rest.to_owned(), None),
        }
    } else {
        match rest.find(['/', '?', '$']) {
            Some(at) => (rest[..at].to_owned(), Some(rest[at..].to_owned())),
            None => (rest.to_owned(), None),
        }
    };
    if host.is_empty() && !rest.starts_with('$') {
        return Err("no host in upstream".into());
    }
    // All of the request's own path is what passes anyway.
    let uri = uri.filter(|uri| !matches!(uri.as_str(), "$request_uri" | ""));
    if host.is_empty() || host.contains('$') || uri.as_deref().is_some_and(|uri| uri.contains('$'))
    {
        return Err(format!(
            "\"{text}\" is worked out for each request, which is not translated"
        ));
    }
    Ok(Target { tls, host, uri })
}

/// `proxy_next_upstream`: when a request goes to another server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NextUpstream {
    off: bool,
    /// Answers that are tried again.
    on: Vec<u16>,
}

impl NextUpstream {
    pub fn read(directive: &Directive, verdicts: &mut Verdicts) -> Self {
        const WORDS: [&str; 6] = [
            "error",
            "timeout",
            "invalid_header",
            "non_idempotent",
            "off",
            "updating",
        ];
        let spot = directive.spot;
        let mut next = Self::default();
        let named = |word: &str| directive.args.iter().any(|arg| arg.text == word);
        for word in &directive.args {
            match word.text.strip_prefix("http_").map(str::parse::<u16>) {
                Some(Ok(status @ (403 | 404 | 429 | 500 | 502 | 503 | 504))) => {
                    next.on.push(status);
                }
                None if word.text == "off" => next.off = true,
                // In a stream.
                None if word.text == "on" && directive.args.len() == 1 => return next,
                None if WORDS[..4].contains(&&*word.text) => {}
                _ => verdicts.refuse_hint(
                    spot,
                    word.spot,
                    format!("invalid value \"{}\"", word.text),
                    did_you_mean(&word.text, WORDS[..5].iter().copied()),
                ),
            }
        }
        if next.off {
            next.on.clear();
            return next;
        }
        for (word, is_named, what) in [
            (
                "error",
                false,
                "a server that cannot be reached is tried again elsewhere, though `error` is not named",
            ),
            (
                "timeout",
                false,
                "a server that does not answer in time is tried again elsewhere, though `timeout` is not named",
            ),
            (
                "invalid_header",
                true,
                "an answer that cannot be read is not tried again: it is 502",
            ),
            (
                "non_idempotent",
                true,
                "a request whose method may not be repeated is tried again as long as nothing of it was sent",
            ),
        ] {
            if named(word) == is_named {
                verdicts.note(spot, what);
            }
        }
        next
    }
}

/// `retry` of a backend with so many servers.
fn retry(scope: &Scope, servers: usize) -> Option<Value> {
    let next = scope.next_upstream.as_ref().map(|set| &set.value);
    if next.is_some_and(|next| next.off) {
        return Some(Value::plain(0));
    }
    let said = scope.tries.as_ref().filter(|set| set.value > 0);
    let said = said.map(|set| set.value - 1);
    match next {
        // Each server once.
        Some(next) if !next.on.is_empty() && servers > 1 => {
            let each = u64::try_from(servers - 1).unwrap_or(u64::MAX);
            let tries = said.map_or(each, |said| said.min(each));
            if tries == 0 {
                return Some(Value::plain(0));
            }
            let on = next.on.iter().map(Value::plain).collect();
            let table = Table::default().with("tries", Value::plain(tries));
            Some(Value::Table(table.with("on", Value::List(on))))
        }
        _ => said.map(Value::plain),
    }
}

impl Translator<'_> {
    /// The backend for a target under the settings of a place, by its name.
    ///
    /// `program` is what one is told that does not speak HTTP.
    pub fn backend(
        &mut self,
        target: &Target,
        scope: &Scope,
        program: Option<(Family, Table)>,
        spot: Spot,
    ) -> String {
        let pass = match &program {
            Some((family, _)) => family.pass(),
            None => "proxy_pass",
        };
        let mut table = Table::default();
        let upstream = self.upstreams.get(&target.host).copied();
        let servers = match upstream {
            Some(upstream) => self.upstream(upstream, &mut table),
            None => {
                let address = with_port(&target.host, target.tls);
                table.put("servers", Value::text(address));
                1
            }
        };
        // nginx has no checks; with one server there is no other to go to.
        if servers < 2 {
            table.put("check", Value::plain(false));
        }
        if target.tls {
            let tls = self.tls_of_servers(target, upstream.is_some(), scope);
            table.put("tls", tls);
        }
        if scope.stream.sends_header() {
            table.put("send-proxy", Value::text("v1"));
        }
        match program {
            Some((family, told)) if told.is_empty() => table.put(family.key(), Value::plain(true)),
            Some((family, told)) => table.put(family.key(), Value::Table(told)),
            None => {}
        }
        if let Some(retry) = retry(scope, servers) {
            table.put("retry", retry);
        }
        let mut timeouts = Table::default();
        if let Some(set) = &scope.connect_timeout {
            timeouts.put("connect", Value::text(duration::show(set.value)));
        }
        if let Some(set) = &scope.read_timeout {
            timeouts.put("first-byte", Value::text(duration::show(set.value)));
            timeouts.put("body", Value::text(duration::show(set.value)));
        }
        if !timeouts.is_empty() {
            table.put("timeouts", Value::Table(timeouts));
        }
        if let Some(same) = self.backends.iter().find(|backend| backend.table == table) {
            return same.name.clone();
        }
        let wanted = if upstream.is_some() {
            target.host.clone()
        } else {
            target
                .host
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let name = self
            .services
            .name(&format!("backend/{}", self.backends.len()), &wanted);
        let (spot, comment) = match upstream {
            Some(upstream) => (upstream.spot, upstream.shown()),
            None => (spot, format!("{pass} {}", target.host)),
        };
        let mut section = Section::named("backend", &name, Some(spot));
        section.comment = comment;
        section.table = table.clone();
        self.backends.push(super::Backend {
            name: name.clone(),
            table,
            section,
        });
        name
    }

    /// `upstream NAME { ... }`; how many servers it has.
    fn upstream(&mut self, upstream: &Directive, table: &mut Table) -> usize {
        let mut servers = Vec::new();
        let mut balance = None;
        let mut stick = None;
        let all = upstream.inner().iter();
        let is_alone = all.filter(|d| d.is("server")).count() == 1;
        for directive in upstream.inner() {
            let spot = directive.spot;
            match directive.name.text.as_str() {
                "server" => {
                    servers.extend(self.server_of(directive, is_alone));
                    continue;
                }
                "ip_hash" => balance = Some("source".to_owned()),
                "least_conn" => balance = Some("least-connections".into()),
                "random" => balance = Some("random".into()),
                "hash" => {
                    balance = match directive.arg(0) {
                        "$request_uri" | "$uri" => Some("uri".into()),
                        "$remote_addr" | "$binary_remote_addr" => Some("source".into()),
                        key => {
                            let name = key.strip_prefix("$http_").map(|field| {
                                format!("header:{}", super::variables::field_name(field))
                            });
                            let name = name.or_else(|| {
                                key.strip_prefix("$cookie_")
                                    .map(|cookie| format!("cookie:{cookie}"))
                            });
                            if name.is_none() {
                                self.verdicts.refuse(spot, directive.at(0), format!("\"hash {key}\" is not translated: there are $request_uri, $remote_addr, $http_NAME and $cookie_NAME"));
                            }
                            name
                        }
                    };
                }
                "sticky" if directive.arg(0) == "cookie" => {
                    let name = directive.arg(1).to_owned();
                    let mut value = Table::default()
                        .with("by", Value::text("cookie"))
                        .with("name", Value::text(name));
                    for word in directive.args.iter().skip(2) {
                        match word.text.split_once('=') {
                            Some(("domain", domain)) => {
                                value.put("domain", Value::text(domain.trim_start_matches('.')));
                            }
                            Some(("path", path)) => value.put("path", Value::text(path)),
                            Some(("expires", time)) => {
                                if let Some(time) = units::time(time) {
                                    value.put("max-age", Value::text(duration::show(time)));
                                }
                            }
                            None if word.text == "secure" => {
                                value.put("secure", Value::plain(true));
                            }
                            None if word.text == "httponly" => {
                                value.put("http-only", Value::plain(true));
                            }
                            _ => self.verdicts.refuse(
                                spot,
                                word.spot,
                                format!("invalid parameter \"{}\"", word.text),
                            ),
                        }
                    }
                    stick = Some(Value::Table(value));
                }
                "sticky" => self.verdicts.refuse(
                    spot,
                    directive.at(0),
                    "only \"sticky cookie\" is translated",
                ),
                _ => {}
            }
            self.verdicts.translated(spot);
        }
        self.verdicts.translated(upstream.spot);
        let count = servers.len();
        if servers.is_empty() {
            self.verdicts.refuse(
                upstream.spot,
                upstream.spot,
                format!("no servers are inside upstream \"{}\"", upstream.arg(0)),
            );
        }
        let mut ids = Vec::new();
        for server in &mut servers {
            if let Some(id) = own_id(server, &mut ids) {
                let message =
                    format!("clients with the route {id} go to the first server that has it");
                self.verdicts.note(upstream.spot, message);
            }
        }
        table.put("servers", Value::List(servers));
        if let Some(balance) = balance {
            table.put("balance", Value::Text(balance));
        }
        if let Some(stick) = stick {
            table.put("stick", stick);
        }
        count
    }

    /// `server ADDRESS ...` of an upstream.
    fn server_of(&mut self, directive: &Directive, is_alone: bool) -> Option<Value> {
        let spot = directive.spot;
        self.verdicts.translated(spot);
        let address = with_port(directive.arg(0), false);
        let mut table = Table::default().with("address", Value::text(&address));
        for word in directive.args.iter().skip(1) {
            let (name, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
            let number = value.parse::<u32>().ok();
            match (name, number) {
                ("weight", Some(weight)) => {
                    if weight != 1 {
                        table.put("weight", Value::plain(weight.min(256)));
                    }
                }
                ("max_fails", Some(_)) | ("fail_timeout", _) if is_alone && !value.is_empty() => {
                    let message = format!("`{name}` has no effect: it is the only server, and is always asked, as in nginx");
                    self.verdicts.note(spot, message);
                }
                ("max_fails", Some(_)) => self.verdicts.note(
                    spot,
                    "`max_fails` has no effect: a server is out when its checks fail, and what it answers does not count",
                ),
                ("max_conns", Some(0)) => {}
                ("max_conns", Some(most)) => table.put("max-connections", Value::plain(most)),
                ("backup", _) if value.is_empty() => table.put("backup", Value::plain(true)),
                ("down", _) if value.is_empty() => {
                    self.verdicts.note(spot, format!("server {address} is down: it is left out"));
                    return None;
                }
                ("fail_timeout", _) if !value.is_empty() => self.verdicts.note(
                    spot,
                    "`fail_timeout` has no effect: a server that failed is back when its checks succeed",
                ),
                ("slow_start", _) if !value.is_empty() => self.verdicts.note(spot, "`slow_start` is `slow-start` of the whole backend: not translated for one server"),
                ("resolve", _) if value.is_empty() => self.verdicts.note(spot, "names are looked up again by themselves"),
                ("route", _) if !value.is_empty() => table.put("stick-id", Value::text(value)),
                _ => {
                    let known = ["weight", "max_fails", "fail_timeout", "max_conns", "backup", "down", "resolve", "route", "slow_start"];
                    self.verdicts.refuse_hint(spot, word.spot, format!("invalid parameter \"{}\"", word.text), did_you_mean(name, known));
                }
            }
        }
        Some(if table.0.len() == 1 {
            Value::text(address)
        } else {
            Value::Table(table)
        })
    }

    /// `tls` of a backend.
    fn tls_of_servers(&mut self, target: &Target, is_upstream: bool, scope: &Scope) -> Value {
        let mut table = Table::default();
        // nginx verifies only when it is told to.
        let verify = scope.verify.as_ref().filter(|set| set.value);
        match (verify, &scope.tls_ca) {
            (Some(_), Some(ca)) => table.put("ca", Value::text(self.beside(&ca.value))),
            (Some(set), None) => {
                let message = "no proxy_ssl_trusted_certificate for proxy_ssl_verify";
                self.verdicts.refuse(set.spot, set.spot, message);
            }
            (None, _) => table.put("verify", Value::plain(false)),
        }
        match &scope.tls_name {
            // What it is anyway.
            Some(name) if name.value == "$proxy_host" => {}
            Some(name) if name.value.contains('$') => {
                let message = "servers have one name, not one for each request or connection";
                self.verdicts.refuse(name.spot, name.spot, message);
            }
            Some(name) => table.put("name", Value::text(&name.value)),
            None => {}
        }
        // Certificates are compared with what `proxy_pass` says, not with what each server is called.
        let is_asked = verify.is_some() || scope.stream.asks_servers_by_name();
        if is_upstream && is_asked && !table.has("name") {
            table.put("name", Value::text(&target.host));
        }
        match (&scope.tls_cert, &scope.tls_key) {
            (Some(cert), Some(key)) => {
                let (chain, key) = self.certificate(cert, key);
                table.put("cert", Value::text(chain));
                if let Some(key) = key {
                    table.put("key", Value::text(key));
                }
            }
            (Some(cert), None) => self.verdicts.refuse(
                cert.spot,
                cert.spot,
                format!(
                    "no \"proxy_ssl_certificate_key\" is defined for certificate \"{}\"",
                    cert.value
                ),
            ),
            (None, _) => {}
        }
        if table.is_empty() {
            Value::plain(true)
        } else {
            Value::Table(table)
        }
    }
}

/// A host with its port.
fn with_port(host: &str, tls: bool) -> String {
    let has = host.starts_with("unix:")
        || host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if has {
        host.to_owned()
    } else {
        format!("{host}:{}", if tls { 443 } else { 80 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again_is_said_of_the_backend() {
        let retry = |lines: &str| {
            let upstream =
                "upstream u { server 127.0.0.1:82; server 127.0.0.1:83; server 127.0.0.1:84; }";
            let made = super::super::tests::direct(&format!(
                "{upstream} server {{ listen 81; location / {{ {lines} proxy_pass http://u; }} }}"
            ));
            let line = made.text.lines().find(|line| line.starts_with("retry"));
            line.map_or(String::new(), |line| {
                line.split_once("= ").unwrap().1.to_owned()
            })
        };
        for (lines, wanted) in [
            ("", ""),
            ("proxy_next_upstream error timeout;", ""),
            ("proxy_next_upstream off;", "0"),
            (
                "proxy_next_upstream error timeout http_500 http_503;",
                "{ tries = 2, on = [500, 503] }",
            ),
            (
                "proxy_next_upstream error timeout http_404; proxy_next_upstream_tries 2;",
                "{ tries = 1, on = 404 }",
            ),
            (
                "proxy_next_upstream error timeout http_404; proxy_next_upstream_tries 1;",
                "0",
            ),
            ("proxy_next_upstream_tries 2;", "1"),
        ] {
            assert_eq!(retry(lines), wanted, "{lines}");
        }
        let server = |words: &str| {
            format!(
                "server {{ listen 81; location / {{ proxy_next_upstream {words}; proxy_pass http://127.0.0.1:82; }} }}"
            )
        };
        super::super::tests::are_noted(&[
            (&server("timeout"), "though `error` is not named"),
            (&server("error"), "though `timeout` is not named"),
            (&server("error timeout invalid_header"), "it is 502"),
            (
                &server("error timeout non_idempotent"),
                "nothing of it was sent",
            ),
        ]);
        super::super::tests::are_refused(&[(&server("http_501"), "invalid value \"http_501\"")]);
    }

    #[test]
    fn targets_are_taken_apart() {
        let parts = |text: &str| target(text).map(|t| (t.tls, t.host, t.uri));
        assert_eq!(parts("http://app"), Ok((false, "app".into(), None)));
        assert_eq!(
            parts("http://h:81/"),
            Ok((false, "h:81".into(), Some("/".into())))
        );
        assert_eq!(
            parts("https://h/a"),
            Ok((true, "h".into(), Some("/a".into())))
        );
        assert_eq!(
            parts("http://unix:/run/a.sock:/x"),
            Ok((false, "unix:/run/a.sock".into(), Some("/x".into())))
        );
        assert_eq!(
            parts("http://app$request_uri"),
            Ok((false, "app".into(), None))
        );
        assert!(parts("app").is_err() && parts("http://$x").is_err());
    }
}
