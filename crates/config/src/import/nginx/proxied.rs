//! `proxy_pass`: the way to an application, and what it gets to see.

use super::super::document::{Route, Table, Value};
use super::super::logic::{Literal, Subject, guard};
use super::super::sources::Spot;
use super::Translator;
use super::content::Here;
use super::location::{Kind, answer};
use super::site::Files;
use super::tree::Directive;
use super::upstream::{self, Target};
use super::variables::{self, Context, Piece};

impl<'a> Translator<'a> {
    /// `proxy_pass`.
    pub fn proxied(&mut self, here: Here<'_, 'a>, directive: &Directive) -> Vec<Route> {
        let spot = directive.spot;
        self.verdicts.translated(spot);
        let given = directive.arg(0);
        let pass = self.known(given);
        if given != pass && matches!(pass.as_str(), "http://" | "https://") {
            // A value that names nobody.
            let table = Table::default().with("respond", Value::plain(500));
            return self.dressed(here, vec![answer(table, spot)]);
        }
        let (pass, path) = match self.found_path(here, &pass, spot) {
            Some((base, path)) => (base, Some(path)),
            None => (pass, None),
        };
        let target = match upstream::target(&pass) {
            Ok(target) => target,
            Err(message) => {
                self.verdicts.refuse(spot, directive.at(0), message);
                return Vec::new();
            }
        };
        if let Some(set) = here.scope.without_body.as_ref().filter(|set| set.value)
            && !self.only_decides(here)
        {
            let message = "servers get what clients send, bodies too: `off` is for what `auth_request` asks, which has none";
            self.verdicts.refuse(set.spot, set.spot, message);
        }
        let replaced = here.find("internal").is_some() && self.only_decides(here);
        if given != pass && target.uri.is_some() && !replaced {
            self.verdicts.refuse(
                spot,
                directive.at(0),
                "a path behind a variable takes the place of path and query: leave it out, or rewrite the path",
            );
            return Vec::new();
        }
        let service = self.backend(&target, here.scope, None, spot);
        let mut table = Table::default().with("to", Value::Text(service));
        match &target.uri {
            // Behind a variable it is all of it; what is asked there has no query.
            Some(uri) if given != pass => {
                let uri = uri.replace('{', "{{").replace('}', "}}");
                table.put("rewrite", Value::text(uri));
            }
            _ => self.uri(here, &target, directive, &mut table),
        }
        if let (Some(path), Some(found)) = (path, here.found) {
            let rules = Table::default().with(&format!("~{}", found.whole()), Value::Text(path));
            table.put("rewrite", Value::Table(rules));
        }
        self.request_fields(here, &target, spot, &mut table);
        self.renamed(here, &target, &mut table);
        self.passed(here, table, spot)
    }

    /// `proxy_pass http://app/v1/$1$is_args$args`, by what the location's expression has found: where it goes, and the new path as
    /// a template.
    fn found_path(
        &mut self,
        here: Here<'_, 'a>,
        pass: &str,
        spot: Spot,
    ) -> Option<(String, String)> {
        let host = pass.find("://")? + 3;
        let path = host + pass[host..].find(['/', '$'])?;
        let (base, path) = pass.split_at(path);
        if base.ends_with("unix:") || !path.starts_with('/') || here.found.is_none() {
            return None;
        }
        let queries = [
            "$is_args$args",
            "$is_args$query_string",
            "?$args",
            "?$query_string",
        ];
        let with_query = queries.iter().find_map(|query| path.strip_suffix(query));
        let path = with_query.unwrap_or(path);
        let pieces = variables::pieces(path).ok()?;
        let mut names = pieces.iter().filter_map(Piece::name).peekable();
        let is_found =
            |name: &str| name.len() == 1 && name.starts_with(|c: char| c.is_ascii_digit());
        names.peek()?;
        if !names.all(is_found) || path.contains('?') {
            return None;
        }
        let context = Context {
            captures: true,
            ..here.context()
        };
        let template = self.template(path, &context).ok()?;
        if with_query.is_none() {
            let message =
                "the query that came goes on, as with `$is_args$args` at the end; nginx drops it";
            self.verdicts.note(spot, message);
        }
        Some((base.to_owned(), template))
    }

    /// The routes that pass requests on as `table` says, with what holds at their place.
    pub fn passed(&mut self, here: Here<'_, 'a>, mut table: Table, spot: Spot) -> Vec<Route> {
        if let Some(set) = here.scope.charset.as_ref().filter(|set| set.value != "off") {
            self.verdicts.note(
                set.spot,
                "what servers answer has the charset that they say, and none else",
            );
        }
        self.error_pages(here, false, &mut Files::default(), &mut table);
        if let Some(rules) = here.scope.compression() {
            table.put("compress", Value::Table(rules));
        }
        let mut routes = Vec::new();
        for rule in &here.scope.access {
            let table = if rule.allow {
                table.clone()
            } else {
                Table::default().with("deny", Value::plain(true))
            };
            let all = rule.network == "all";
            let when = if all {
                Vec::new()
            } else {
                vec![Literal {
                    subject: Subject::Source,
                    patterns: vec![rule.network.clone()],
                    fold: false,
                    not: false,
                }]
            };
            routes.extend(guard(&when, &[answer(table, rule.spot)], rule.spot));
            if all {
                return self.dressed(here, simplified(routes));
            }
        }
        routes.push(answer(table, spot));
        self.dressed(here, simplified(routes))
    }

    /// The path that the server is asked for: the part that the location names is replaced.
    fn uri(
        &mut self,
        here: Here<'_, 'a>,
        target: &Target,
        directive: &Directive,
        table: &mut Table,
    ) {
        let (Some(uri), Some(location)) = (&target.uri, here.location) else {
            return;
        };
        match location.kind {
            Kind::Regex { .. } | Kind::Named => {
                self.verdicts.refuse(
                    directive.spot,
                    directive.at(0),
                    "\"proxy_pass\" cannot have URI part in location given by regular expression, or inside named location",
                );
            }
            _ if *uri == location.text => {}
            Kind::Exact => table.put(
                "rewrite",
                Value::text(uri.replace('{', "{{").replace('}', "}}")),
            ),
            _ => {
                let to = uri.replace('{', "{{").replace('}', "}}");
                let from = location.text.as_str();
                if from.ends_with('/') && from.len() > 1 && uri == "/" {
                    table.put("strip", Value::text(from.trim_end_matches('/')));
                } else if from.ends_with('/') && uri.ends_with('/') {
                    let from = from.trim_end_matches('/');
                    let from = if from.is_empty() { "/" } else { from };
                    let rules = Table::default().with(from, Value::text(to));
                    table.put("rewrite", Value::Table(rules));
                } else {
                    let rules = Table::default()
                        .with(&format!("~^{}", regex::escape(from)), Value::text(to));
                    table.put("rewrite", Value::Table(rules));
                }
            }
        }
    }

    /// `proxy_set_header X-Forwarded-For ...`: servers are told who the client is, as far as that is known for certain.
    fn forwarded_for(&mut self, here: Here<'_, 'a>, value: &str, spot: Spot) {
        let message = match value {
            "$proxy_add_x_forwarded_for" | "$remote_addr" => {
                return self.tell_forwarded(here, spot);
            }
            _ if value.starts_with("$http_x_forwarded_for") && is_behind_proxies(here) => {
                let message = "the proxy that asks is added to what it says";
                return self.verdicts.note(spot, message);
            }
            "" => "servers are told who the client is: X-Forwarded-For is not left out",
            _ => {
                "who the client is is not taken from a field that anybody can send: say which proxies are in front of it, \
                 `set_real_ip_from NETWORK; real_ip_header X-Forwarded-For;`, and what these say is passed on, with `$proxy_add_x_forwarded_for`"
            }
        };
        self.verdicts.refuse(spot, spot, message);
    }

    /// Tells once that only proxies that are named are believed.
    fn tell_forwarded(&mut self, here: Here<'_, 'a>, spot: Spot) {
        if self.told_forwarded || is_behind_proxies(here) {
            return;
        }
        self.told_forwarded = true;
        self.verdicts.note(
            spot,
            "servers get the address, scheme and host of whoever connects in X-Forwarded-For, -Proto and -Host, and nothing of what a client \
             says in them, where nginx passes that on or adds to it: proxies in front are named by `set_real_ip_from NETWORK; \
             real_ip_header X-Forwarded-For;`",
        );
    }

    /// `proxy_set_header`, and the Host that nginx sends when it is not told another.
    fn request_fields(
        &mut self,
        here: Here<'_, 'a>,
        target: &Target,
        spot: Spot,
        table: &mut Table,
    ) {
        let port = if target.tls { ":443" } else { ":80" };
        let host = target.host.strip_suffix(port).unwrap_or(&target.host);
        let host = if host.starts_with("unix:") {
            "localhost"
        } else {
            host
        };
        let context = Context {
            proxy_host: host,
            ..here.plain()
        };
        let mut set = Table::default();
        let mut remove = Vec::new();
        let mut has_host = false;
        for field in &here.scope.proxy_headers {
            let name = field.name.to_ascii_lowercase();
            has_host |= name == "host";
            let usual_port = matches!(here.door.port, Some(80 | 443));
            match (name.as_str(), field.value.as_str()) {
                ("host", "$http_host") => {}
                ("host", "$host") if usual_port => {}
                ("x-forwarded-for", value) => self.forwarded_for(here, value, field.spot),
                (name, _) if is_ours(name) => {}
                ("x-forwarded-proto", "$scheme") | ("x-forwarded-host", "$host" | "$http_host") => {
                }
                ("x-forwarded-proto", "$http_x_forwarded_proto")
                | ("x-forwarded-host", "$http_x_forwarded_host")
                    if is_behind_proxies(here) => {}
                (_, "") => remove.push(field.name.clone()),
                (_, value) => match self.template(value, &context) {
                    Ok(value) if value.to_ascii_lowercase().contains("{header:x-forwarded-") => {
                        self.verdicts.note(
                            field.spot,
                            "it is what whoever asks says, here as in nginx: let nobody but the proxies in front reach this address, or name \
                             them (`set_real_ip_from`, `real_ip_header X-Forwarded-For`), and others are not believed",
                        );
                        set.put(&field.name, Value::Text(value));
                    }
                    Ok(value) => set.put(&field.name, Value::Text(value)),
                    Err(variable) => self.verdicts.refuse(
                        field.spot,
                        field.spot,
                        format!("{variable} cannot be filled in here"),
                    ),
                },
            }
        }
        self.tell_forwarded(here, spot);
        if !has_host {
            set.put("Host", Value::text(host));
        }
        if !set.is_empty() {
            table
                .table("headers")
                .table("request")
                .put("set", Value::Table(set));
        }
        if !remove.is_empty() {
            table
                .table("headers")
                .table("request")
                .put("remove", Value::texts(remove));
        }
    }
}

/// Whether the server's file names the proxies whose X-Forwarded-For is believed.
fn is_behind_proxies(here: Here<'_, '_>) -> bool {
    let scope = &here.server.scope;
    let header = scope.real_ip_header.as_ref();
    !scope.trust.is_empty()
        && header.is_some_and(|set| set.value.eq_ignore_ascii_case("X-Forwarded-For"))
}

/// Fields that Tandem says by itself; upgrades are passed on.
pub(crate) fn is_ours(name: &str) -> bool {
    [
        "x-forwarded-for",
        "connection",
        "upgrade",
        "proxy-connection",
        "keep-alive",
        "content-length",
        "transfer-encoding",
        "trailer",
        "te",
        "expect",
    ]
    .iter()
    .any(|ours| name.eq_ignore_ascii_case(ours))
}

/// `allow A; deny all` is one route that denies others than A.
fn simplified(routes: Vec<Route>) -> Vec<Route> {
    let source = |route: &Route| match route.table.get("source") {
        Some(Value::List(list)) if !route.table.has("deny") => Some(list.clone()),
        _ => None,
    };
    let Some((last, before)) = routes.split_last() else {
        return routes;
    };
    let Some(denied) = last.table.get("deny").cloned() else {
        return routes;
    };
    if last.table.has("source") || before.is_empty() {
        return routes;
    }
    let mut sources = Vec::new();
    for route in before {
        match source(route) {
            Some(list) => sources.extend(list),
            None => return routes,
        }
    }
    let mut action = before[0].table.clone();
    action.0.retain(|(key, _)| key != "source");
    let not = Table::default().with("source", Value::List(sources));
    let deny = Table::default()
        .with("not", Value::Table(not))
        .with("deny", denied);
    vec![answer(deny, last.spot), answer(action, before[0].spot)]
}
