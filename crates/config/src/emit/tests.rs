use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;
use tandem_model::rehearse::rehearse;
use tandem_model::{
    Access, AccessTemplate, Action, Address, App, Backend, BackendServer, BackendTls, Backups,
    Balance, Beyond, ByStatus, Check, ClientCert, Coding, Conditions, Content, Cut, ErrorContent,
    Expected, FastCgi, FieldChanges, Gone, Guard, Headers, HttpCheck, Limits, ListenerTls,
    LogLevel, Mode, Overrides, PathChange, Pattern, Policies, Presence, Program, Protocol,
    ProxyVersion, Queue, Rehearsal, Replaced, Retry, Route, RouteTimeouts, SameSite, Sent, Service,
    Site, Size, Spread, Stage, Stick, StickBy, StickCookie, Substitution, Template, Timeouts,
    Timing, TlsVersion, Turn,
};
use tandem_model::{
    Auth, Authorization, Authorize, BodyLimit, Compress, Compression, Counts, ErrorPage, Errors,
    Maintenance, Rate, SplitBy, Statuses, Users,
};

use super::*;
use crate::parse;

/// Makes clusters out of choices: fewer and smaller choices make smaller clusters.
struct Maker {
    choices: std::vec::IntoIter<u32>,
    nodes: Vec<String>,
    services: usize,
    routes: usize,
    /// The listener asks its clients for certificates.
    asks_clients: bool,
}

const WORDS: [&str; 8] = [
    "x",
    "two words",
    "ünï",
    "q\"uo\\te",
    "${VAR}",
    "$${a",
    "line\nand\ttab\u{1}",
    "a = { b }, [c] # d",
];

impl Maker {
    /// A number below `n`.
    fn below(&mut self, n: u32) -> u32 {
        self.choices.next().unwrap_or(0) % n
    }

    fn often(&mut self) -> bool {
        self.below(2) == 1
    }

    fn word(&mut self) -> String {
        WORDS[self.below(8) as usize].into()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.often().then(|| make(self))
    }

    fn some<T>(&mut self, most: u32, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn on(&mut self) -> Vec<String> {
        let mut on = self.nodes.clone();
        on.retain(|_| self.often());
        if on.is_empty() {
            on.push(self.nodes[0].clone());
        }
        on
    }

    fn duration(&mut self) -> Duration {
        let unit = [1, 1_000, 60_000, 3_600_000][self.below(4) as usize];
        Duration::from_millis(u64::from(1 + self.below(2_000)) * unit)
    }

    fn timeouts(&mut self) -> Timeouts {
        let usual = Timeouts::default();
        let mut one = |usual| self.maybe(Self::duration).unwrap_or(usual);
        Timeouts {
            head: one(usual.head),
            body: one(usual.body),
            idle: one(usual.idle),
            connect: one(usual.connect),
            first_byte: one(usual.first_byte),
        }
    }

    /// Those that a listener has.
    fn of_listener(&mut self) -> Timeouts {
        Timeouts {
            connect: Timeouts::default().connect,
            first_byte: Timeouts::default().first_byte,
            ..self.timeouts()
        }
    }

    /// Those that a service has, with a port of its own or without.
    fn of_service(&mut self, port: bool) -> Timeouts {
        let timeouts = self.timeouts();
        if port {
            return timeouts;
        }
        Timeouts {
            head: Timeouts::default().head,
            idle: Timeouts::default().idle,
            ..timeouts
        }
    }

    /// Who may ask a site: in order, or by the two lists.
    fn access(&mut self) -> Site {
        if self.often() {
            let rule = |m: &mut Self| {
                let nets = (0..=m.below(2)).map(|_| m.net()).collect();
                match m.below(3) {
                    0 => Access::Allow(nets),
                    1 => Access::Deny(nets),
                    _ => Access::Deny(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]),
                }
            };
            Site {
                access: self.some(3, rule),
                ..Site::default()
            }
        } else {
            Site {
                allow: self.some(2, Self::net),
                deny: self.some(2, Self::net),
                ..Site::default()
            }
        }
    }

    fn net(&mut self) -> IpNet {
        let ip: IpAddr = if self.often() {
            [10, 1, 2, self.below(256) as u8].into()
        } else {
            "2001:db8::1".parse().unwrap()
        };
        IpNet::new(ip, self.below(33) as u8).unwrap()
    }

    fn address(&mut self) -> Address {
        let port = 30_000 + self.below(2_000) as u16;
        match self.below(4) {
            0 => Address::Unix("/run/a b.sock".into()),
            1 => Address::tcp("2001:db8::7", port),
            2 => Address::tcp("back.example", port),
            _ => Address::tcp("127.0.0.1", port),
        }
    }

    fn timing(&mut self) -> Timing {
        Timing {
            every: self.duration(),
            fast: self.duration(),
            rise: 1 + self.below(9),
            fall: 1 + self.below(9),
            timeout: self.duration(),
            errors: self.below(9),
            // Of backends alone.
            port: None,
        }
    }

    fn expected(&mut self) -> Expected {
        let texts = ["+PONG\r\n", "~^2[0-9]{2}", "hex:ff00", "hex:7e"];
        Expected::parse(texts[self.below(4) as usize]).unwrap()
    }

    fn talk(&mut self) -> Vec<Turn> {
        (0..=self.below(2))
            .map(|_| Turn {
                send: self.maybe(|m| Sent(vec![m.below(256) as u8, 0xff, b'\n'])),
                expect: self.maybe(Self::expected),
            })
            .collect()
    }

    fn check(&mut self) -> Check {
        let timing = self.maybe(Self::timing).unwrap_or_default();
        match self.below(4) {
            0 => Check::Off,
            1 => Check::Tcp(timing),
            2 => Check::Tls(timing),
            _ => {
                let request = HttpCheck {
                    path: "/alive?a=b".into(),
                    host: self.maybe(|_| "a.example".into()),
                    method: if self.often() { "OPTIONS" } else { "GET" }.into(),
                    status: self.some(2, |m| {
                        let from = 200 + m.below(100) as u16;
                        from..=from + m.below(3) as u16
                    }),
                    contains: self.maybe(Self::expected),
                    lacks: self.maybe(Self::expected),
                    tls: false,
                };
                Check::Http(request, timing)
            }
        }
    }

    /// A check at another port, or over TLS.
    fn elsewhere(&mut self, mut check: Check) -> Check {
        let port = self.maybe(|m| 1 + m.below(65000) as u16);
        match &mut check {
            Check::Off => {}
            Check::Tcp(timing) | Check::Tls(timing) | Check::Talk(_, timing) => timing.port = port,
            Check::Http(http, timing) => {
                timing.port = port;
                http.tls = self.often();
            }
        }
        check
    }

    fn rehearsal(&mut self) -> Rehearsal {
        match self.below(3) {
            0 => Rehearsal::Run(vec!["php".into(), self.word()]),
            1 => Rehearsal::Proxy(self.address()),
            _ => Rehearsal::Root("/tmp/r".into()),
        }
    }

    fn map(&mut self) -> BTreeMap<String, String> {
        self.some(3, |m| (m.word(), m.word())).into_iter().collect()
    }

    fn weight(&mut self, on: &[String]) -> BTreeMap<String, u16> {
        let mut weight = BTreeMap::new();
        for node in on {
            if self.often() {
                weight.insert(node.clone(), 1 + self.below(256) as u16);
            }
        }
        weight
    }

    fn program(&mut self) -> Program {
        if self.often() {
            return Program::Proxy(self.address());
        }
        Program::Run {
            command: vec!["a program".into(), "{port}".into(), self.word()],
            dir: self.maybe(|_| PathBuf::from("/srv/a b")),
            env: self.map(),
            user: self.maybe(Self::word),
            instances: 1 + self.below(3) as u16,
            stop_timeout: self.duration(),
        }
    }

    fn service(&mut self) -> Service {
        self.services += 1;
        let name = format!("s{}", self.services);
        let port = Some(20_000 + self.services as u16);
        let on = self.on();
        let only_files = self.often();
        let check = self.check();
        let fastcgi = self.fastcgi(&check);
        let calls = fastcgi.is_some();
        match self.below(3) {
            0 => Service::Site(Site {
                name,
                on,
                port,
                root: "/srv/www".into(),
                index: self.some(2, Self::word),
                suffixes: self.some(2, |m| format!(".{}", m.word())),
                fallback: self.maybe(Self::word),
                aliases: self
                    .maybe(|m| (format!("/a/{}", m.word()), "/srv/b".into()))
                    .into_iter()
                    .collect(),
                types: self
                    .maybe(|m| (m.word(), "text/x-a; charset=utf-8".into()))
                    .into_iter()
                    .collect(),
                only_types: self.often(),
                expires: self
                    .maybe(|m| ("image/*".into(), m.duration()))
                    .into_iter()
                    .collect(),
                precompressed: self.some(2, |m| Coding::ALL[m.below(3) as usize]),
                compress: self.often(),
                listing: self.often() && !only_files,
                only_files,
                status: self.maybe(|_| "/status".into()),
                hidden: self.often(),
                check,
                rehearse: self.maybe(Self::rehearsal),
                charset: self.maybe(|m| ["", "koi8-r"][m.below(2) as usize].into()),
                errors: self.maybe(|m| (404, m.word())).into_iter().collect(),
                ..self.access()
            }),
            1 => Service::App(App {
                name,
                weight: self.weight(&on),
                on,
                port,
                program: self.program(),
                spread: self.spread(),
                max_connections: self.maybe(|m| 1 + m.below(500)),
                fastcgi,
                check,
                send_proxy: self.proxy_version().filter(|_| !calls),
                timeouts: self.of_service(port.is_some()),
                rehearse: self.maybe(Self::rehearsal),
            }),
            _ => Service::Backend(Backend {
                name,
                servers: (0..=self.below(3)).map(|i| self.server(i)).collect(),
                spread: self.spread(),
                fastcgi,
                check: if self.below(4) == 3 {
                    Check::Talk(self.talk(), self.timing())
                } else {
                    self.elsewhere(check)
                },
                resolve: self.duration(),
                tls: self.maybe(|m| BackendTls {
                    ca: m.maybe(|_| "/tls/ca.pem".into()),
                    name: m.maybe(|_| "inside.example".into()),
                    verify: m.often(),
                    cert: m.maybe(|_| "/tls/own.pem".into()),
                    key: m.maybe(|_| "/tls/own.key".into()),
                }),
                send_proxy: self.proxy_version().filter(|_| !calls),
                source: self.maybe(|m| {
                    [[10, 0, 0, 5].into(), std::net::Ipv6Addr::LOCALHOST.into()]
                        [m.below(2) as usize]
                }),
                timeouts: self.of_service(false),
                rehearse: self.maybe(Self::rehearsal),
            }),
        }
    }

    fn fastcgi(&mut self, check: &Check) -> Option<Arc<FastCgi>> {
        let speaks_http = matches!(check, Check::Http(..));
        let front = self.maybe(|_| "/index.php".to_owned());
        self.maybe(|m| {
            let protocol = match m.below(4) {
                0 => Protocol::Uwsgi { modifier: 0 },
                1 => Protocol::Uwsgi { modifier: 5 },
                2 => Protocol::Scgi,
                _ => Protocol::FastCgi,
            };
            if protocol != Protocol::FastCgi {
                return Arc::new(FastCgi {
                    protocol,
                    params: [("APP_ENV".to_owned(), m.word())].into(),
                    ..FastCgi::default()
                });
            }
            Arc::new(FastCgi {
                protocol,
                root: Some("/var/www/shop".into()),
                extension: [".php", ".cgi", ""][m.below(3) as usize].into(),
                path_info: m.often(),
                real_root: m.often(),
                index: ["index.php", "main.cgi"][m.below(2) as usize].into(),
                front: front.clone(),
                script: m.maybe(|_| "/app.php".into()).filter(|_| front.is_none()),
                params: m
                    .maybe(|m| ("APP_ENV".to_owned(), m.word()))
                    .into_iter()
                    .collect(),
            })
        })
        .filter(|_| !speaks_http)
    }

    fn proxy_version(&mut self) -> Option<ProxyVersion> {
        self.maybe(|m| [ProxyVersion::V1, ProxyVersion::V2][m.below(2) as usize])
    }

    fn spread(&mut self) -> Spread {
        Spread {
            balance: match self.below(8) {
                0 => Balance::RoundRobin,
                1 => Balance::LeastConnections,
                2 => Balance::First,
                3 => Balance::Random,
                4 => Balance::Source,
                5 => Balance::Uri,
                6 => Balance::Header("X-User".into()),
                _ => Balance::Cookie("id".into()),
            },
            slow_start: self.maybe(Self::duration).unwrap_or_default(),
            backups: [Backups::First, Backups::All][self.below(2) as usize],
            cut: Cut {
                down: self.below(2) == 0,
                backups: self.below(2) == 0,
            },
            retry: self.retry(),
            stick: self.maybe(Self::stick),
            queue: Queue {
                max: self.below(2_000),
                timeout: self.duration(),
            },
        }
    }

    fn retry(&mut self) -> Retry {
        Retry {
            tries: 1 + self.below(4),
            timeout: self.maybe(Self::duration),
            budget: self.maybe(|m| m.below(101)),
            on: self.some(2, |m| 500 + m.below(5) as u16),
        }
    }

    fn stick(&mut self) -> Stick {
        let name = |m: &mut Self| ["SRV", "sid"][m.below(2) as usize].to_owned();
        Stick {
            by: match self.below(4) {
                0 => StickBy::Cookie(StickCookie {
                    name: name(self),
                    // Only with a key.
                    signed: self.nodes.len() > 1 && self.often(),
                    path: ["/", "/shop"][self.below(2) as usize].into(),
                    domain: self.maybe(|_| "a.example".into()),
                    secure: self.maybe(Self::often),
                    http_only: self.often(),
                    same_site: self.maybe(|m| SameSite::ALL[m.below(3) as usize]),
                    max_age: self.maybe(Self::duration),
                }),
                1 => StickBy::Prefix { name: name(self) },
                2 => StickBy::JvmRoute { name: name(self) },
                _ => StickBy::Source {
                    expires: self.duration(),
                },
            },
            gone: [Gone::Rebalance, Gone::Fail][self.below(2) as usize],
        }
    }

    fn over(&mut self) -> Overrides {
        Overrides {
            stick: self.maybe(Self::stick),
            retry: self.maybe(Self::retry),
            timeouts: RouteTimeouts {
                connect: self.maybe(Self::duration),
                first_byte: self.maybe(Self::duration),
                body: self.maybe(Self::duration),
                queue: self.maybe(Self::duration),
                idle: self.maybe(Self::duration),
            },
        }
    }

    fn server(&mut self, i: u32) -> BackendServer {
        let address = Address::tcp(format!("10.9.8.{i}"), 80);
        BackendServer {
            name: self
                .maybe(|_| format!("server {i}"))
                .unwrap_or_else(|| address.to_string()),
            address,
            weight: 1 + self.below(256) as u16,
            backup: self.often(),
            max_connections: self.maybe(|m| 1 + m.below(500)),
            stick_id: self.maybe(|m| format!("id-{i}-{}", m.below(9))),
        }
    }

    fn pattern(&mut self) -> Pattern {
        let text = ["a", "a*", "*b", "a*b", "~^a$", "~[${]x"][self.below(6) as usize];
        Pattern::parse(text).unwrap()
    }

    fn field(&mut self) -> BTreeMap<String, Presence> {
        let one = |m: &mut Self| {
            let presence = if m.often() {
                Presence::Present
            } else {
                Presence::OneOf(vec![m.pattern(), m.pattern()])
            };
            (format!("X-{}", m.below(5)), presence)
        };
        self.some(2, one).into_iter().collect()
    }

    fn client_cert(&mut self) -> Option<Presence> {
        let asks = self.asks_clients && self.often();
        asks.then(|| Presence::OneOf(vec![self.pattern(), self.pattern()]))
    }

    fn conditions(&mut self, path: Pattern, deep: bool) -> Conditions {
        Conditions {
            host: self.some(2, Self::pattern),
            path: vec![path],
            ignore_case: self.often(),
            method: self.some(1, |_| "GET".into()),
            header: self.field(),
            query: self.field(),
            cookie: self.field(),
            source: self.some(2, Self::net),
            sni: Vec::new(),
            internal: self.often(),
            client_cert: self.client_cert(),
            not: (deep && self.often()).then(|| {
                let path = Pattern::parse("~not").unwrap();
                Box::new(self.conditions(path, false))
            }),
        }
    }

    fn route(&mut self, log: bool, depth: u32) -> Route {
        self.routes += 1;
        // A path of its own, so that no route takes what is another's.
        let path = Pattern::parse(&format!("/r{}/*", self.routes)).unwrap();
        let log = log && self.often();
        let service = format!("s{}", 1 + self.below(self.services.max(1) as u32));
        let action = match self.below(6) {
            0 if self.services > 0 => Action::To(service),
            4 if self.services > 1 => Action::Split {
                to: vec![("s2".into(), 95), ("s1".into(), self.below(9) as u16)],
                by: match self.below(3) {
                    0 => None,
                    1 => Some(SplitBy::Source),
                    _ => Some(SplitBy::Cookie("id".into())),
                },
            },
            1 if depth > 0 => Action::Routes(
                (0..=self.below(2))
                    .map(|_| self.route(log, depth - 1))
                    .collect(),
            ),
            2 => Action::Respond {
                status: 200 + self.below(400) as u16,
                body: match self.maybe(Self::word) {
                    Some(word) => Content::Text(word),
                    None if self.often() => Content::File("/srv/page.html".into()),
                    None if self.often() => {
                        let text = "{client}:{client-port}\n{{{arg:x}}}\t{?query}${node}";
                        Content::Template(Template::parse_lines(text).unwrap())
                    }
                    None => Content::Text(String::new()),
                },
                headers: self.templates(),
            },
            3 => Action::Redirect {
                to: Template::parse("https://{host}${uri}").unwrap(),
                status: [301, 302, 308][self.below(3) as usize],
            },
            4 => Action::Close,
            _ => Action::Deny,
        };
        let missing = match &action {
            Action::To(to) if self.services > 1 => {
                let other = if to == "s1" { "s2" } else { "s1" };
                let mut missing = self.some(1, |_| other.to_owned());
                if self.services > 2 && !missing.is_empty() && to != "s3" {
                    missing.push("s3".into());
                }
                missing
            }
            _ => Vec::new(),
        };
        // Files of the listener's own nodes are not asked for over connections.
        let asks = match &action {
            Action::To(_) => !missing.is_empty(),
            Action::Split { .. } | Action::Routes(_) => true,
            _ => false,
        };
        Route {
            name: self.maybe(|_| "route-1".to_owned()),
            when: self.conditions(path, true),
            action,
            missing,
            policies: self.policies(),
            log,
            over: if asks {
                self.over()
            } else {
                Overrides::default()
            },
            line: 0,
        }
    }

    /// A listener in TCP mode that leads to this backend.
    fn passing(&mut self, i: u16, to: &str) -> Listener {
        let route = |when| Route {
            name: None,
            when,
            action: Action::To(to.into()),
            missing: Vec::new(),
            policies: Policies::default(),
            log: true,
            over: Overrides::default(),
            line: 0,
        };
        let named = Conditions {
            sni: vec![Pattern::parse("*.example").unwrap()],
            ..Conditions::default()
        };
        let mut routes = vec![route(Conditions::default())];
        if self.often() {
            routes.insert(0, route(named));
        }
        Listener {
            name: format!("tcp-{i}"),
            on: self.on(),
            bind: vec![Address::tcp("", 9000 + i)],
            mode: Mode::Tcp,
            tls: None,
            http2: None,
            limits: Limits::default(),
            proxy_protocol: self.often(),
            trust: Vec::new(),
            routes,
            errors: Errors::new(),
            maintenance: None,
            timeouts: Timeouts {
                idle: self.duration(),
                ..Timeouts::of(Mode::Tcp)
            },
            log: None,
            log_format: None,
            request_id: true,
        }
    }

    fn templates(&mut self) -> BTreeMap<String, Template> {
        let texts = ["a \"{host}\" {{x}}", "{request-id}", ""];
        let mut map = BTreeMap::new();
        for i in 0..self.below(3) {
            let text = texts[self.below(3) as usize];
            map.insert(format!("X-{i}"), Template::parse(text).unwrap());
        }
        map
    }

    fn changes(&mut self) -> FieldChanges {
        FieldChanges {
            remove: self.some(2, |_| "X-Internal-*".into()),
            replace: (self.maybe(|_| {
                let rules = vec![
                    substitution(Replaced::Prefix("http://old:1/".into()), "/"),
                    substitution(Replaced::Regex("^(.*)x$".into()), "{1}{host}"),
                ];
                ("Location".to_owned(), vec![rules; 2])
            }))
            .into_iter()
            .collect(),
            set: self.templates(),
            add: self
                .templates()
                .into_iter()
                .map(|(name, one)| (name, vec![one.clone(), one]))
                .collect(),
            default: self.templates(),
        }
    }

    fn errors(&mut self) -> Errors {
        let statuses = [Statuses::One(404), Statuses::Class(5)];
        let chosen = statuses.into_iter().filter(|_| self.often());
        let chosen: Vec<_> = chosen.collect();
        let page = |statuses| {
            let to = || ErrorContent::Redirect {
                to: Template::parse("https://sorry.example/?{uri}").unwrap(),
                status: 303,
            };
            let path = |status| ErrorContent::Path {
                to: Template::parse("/login?to={path}").unwrap(),
                status,
            };
            let file = || ErrorContent::File("/srv/sorry.html".into());
            let page = ErrorPage {
                content: match self.below(4) {
                    0 => to(),
                    1 => path(None),
                    2 => path(Some(403)),
                    _ => file(),
                },
                upstream: self.often(),
            };
            (statuses, page)
        };
        chosen.into_iter().map(page).collect()
    }

    fn policies(&mut self) -> Policies {
        Policies {
            path: match self.below(4) {
                0 => Some(PathChange::Strip("/r".into())),
                1 => Some(PathChange::Rewrite(vec![substitution(
                    Replaced::All,
                    "/x{path}",
                )])),
                2 => Some(PathChange::Rewrite(vec![
                    substitution(Replaced::Regex("^/(\\d+)".into()), "/{1}?a={1}"),
                    substitution(Replaced::Prefix("/a b".into()), "/b"),
                ])),
                _ => None,
            },
            body: match self.below(3) {
                0 => Some(BodyLimit::Unlimited),
                1 => Some(BodyLimit::Most(Size(10 << 20))),
                _ => None,
            },
            per_source: self.maybe(|made| made.below(99) + 1),
            headers: Headers {
                request: self.changes(),
                response: self.changes(),
                success: self.changes(),
                by_status: self.some(2, |m| ByStatus {
                    statuses: vec![404..=404, 500..=599],
                    changes: m.changes(),
                }),
            },
            auth: match self.below(3) {
                0 => Some(Auth::Off),
                1 => Some(Auth::Basic(Users {
                    realm: self
                        .maybe(|_| "The staff".into())
                        .unwrap_or("Restricted".into()),
                    users: [(
                        "al ice".into(),
                        Secret::new("$apr1$Qk2Pz9aB$vS22i6UwbEMvZMuRyeT8T0"),
                    )]
                    .into(),
                    file: self.maybe(|_| "/srv/staff".into()),
                })),
                _ => None,
            },
            authorize: match self.below(4) {
                0 => Some(Authorize::Off),
                1 => Some(Authorize::By(Authorization {
                    path: "/verify?a=b".into(),
                    timeout: Authorization::TIMEOUT,
                })),
                2 => Some(Authorize::By(Authorization {
                    path: "/verify".into(),
                    timeout: Duration::from_millis(1500),
                })),
                _ => None,
            },
            rate: self.maybe(|m| Rate {
                burst: 1 + m.below(20),
                counts: [Counts::Requests, Counts::Errors][m.below(2) as usize],
                ..["10/s", "7/m", "100/h"][m.below(3) as usize]
                    .parse()
                    .unwrap()
            }),
            compress: match self.below(3) {
                0 => Some(Compress::Off),
                1 => Some(Compress::On(Compression {
                    types: self.some(2, |_| "text/*".into()),
                    min: Size([1024, 7][self.below(2) as usize]),
                    codings: vec![[Coding::Gzip, Coding::Brotli][self.below(2) as usize]],
                })),
                _ => None,
            },
            errors: self.errors(),
        }
    }

    fn access_format(&mut self) -> AccessFormat {
        let own = "{client} \"{header:X-A}\" {{{total}}}";
        match self.below(3) {
            0 => AccessFormat::Combined,
            1 => AccessFormat::Json,
            _ => AccessFormat::Own(AccessTemplate::parse(own).unwrap()),
        }
    }

    fn listener(&mut self, i: u16) -> Listener {
        let host = ["", "192.0.2.1", "::1", "a.example"][self.below(4) as usize];
        let log = match self.below(3) {
            0 => None,
            1 => Some("access.log".into()),
            _ => Some(self.word()),
        };
        let format = (log.is_some() && self.often()).then(|| self.access_format());
        let connections = self.maybe(|m| 1 + m.below(1_000));
        self.asks_clients = false;
        let tls = self.maybe(|m| {
            let client_ca = m.maybe(|_| "/tls/ca.pem".into());
            m.asks_clients = client_ca.is_some();
            ListenerTls {
                certs: (0..=m.below(2))
                    .map(|i| format!("/tls/{i}*.pem").into())
                    .collect(),
                keys: (0..m.below(3))
                    .map(|i| format!("/tls/{i}*.key").into())
                    .collect(),
                client_cert: [ClientCert::Required, ClientCert::Optional]
                    [usize::from(client_ca.is_some() && m.often())],
                client_crl: (0..m.below(3) * u32::from(client_ca.is_some()))
                    .map(|i| format!("/tls/{i}*.crl").into())
                    .collect(),
                client_ca,
                strict_sni: m.often(),
                min: [TlsVersion::V12, TlsVersion::V13][m.below(2) as usize],
            }
        });
        Listener {
            name: format!("web-{i}"),
            on: self.on(),
            bind: (0..=self.below(2) as u16)
                .map(|j| Address::tcp(host, 8000 + 10 * i + j))
                .collect(),
            mode: Mode::Http,
            tls,
            http2: self.maybe(Self::often),
            limits: Limits {
                connections,
                beyond: [Beyond::Refuse, Beyond::Wait]
                    [usize::from(connections.is_some() && self.often())],
                per_source: self.maybe(|m| 1 + m.below(1_000)),
                per_source_rate: self.maybe(|m| Rate {
                    burst: 1 + m.below(20),
                    .."10/s".parse().unwrap()
                }),
                head: Size(1024 << self.below(7)),
                fields: 10 + self.below(241) as u16,
                uri: Size(64 << self.below(11)),
                body: self.maybe(|m| Size(u64::from(m.below(1_000)) << 10)),
                streams: 1 + self.below(1_000) as u16,
            },
            proxy_protocol: self.often(),
            trust: self.some(2, Self::net),
            routes: (0..=self.below(3)).map(|_| self.route(true, 2)).collect(),
            errors: self.errors(),
            maintenance: self.maybe(|m| Maintenance {
                page: m.maybe(|_| "/srv/works.html".into()),
                allow: m.some(2, Self::net),
                active: m.often(),
            }),
            timeouts: self.of_listener(),
            log,
            log_format: format,
            request_id: self.often(),
        }
    }

    fn sessions(&mut self, services: &[Service]) -> Sessions {
        let on = self.on();
        let mut free = self.nodes.clone();
        free.retain(|node| !on.contains(node));
        Sessions {
            third: if on.len() == 2 && self.often() {
                free.pop()
            } else {
                None
            },
            on,
            memory: Size(u64::from(1 + self.below(5_000)) << (20 + 10 * self.below(2))),
            agents: if self.often() {
                default_agents(services)
            } else {
                self.on()
            },
            agent: Address::tcp("127.0.0.1", 11_211 + self.below(2) as u16),
            durable: self.often(),
            guard: self.maybe(|m| Guard {
                keys: vec![Pattern::parse("memc.sess.*").unwrap()],
                hold: m.duration(),
            }),
        }
    }

    fn cluster(&mut self) -> Cluster {
        let mut cluster = crate::keys::cluster::Draft::default().cluster;
        cluster.nodes = match self.below(8) {
            0 => vec![only_node()],
            n => (0..n)
                .map(|i| Node {
                    name: format!("n{i}"),
                    address: if self.often() {
                        format!("10.0.0.{i}")
                    } else {
                        format!("h{i}.example")
                    },
                    workers: self.maybe(|m| 1 + m.below(8) as u16),
                })
                .collect(),
        };
        self.nodes = cluster.nodes.iter().map(|node| node.name.clone()).collect();
        if cluster.nodes.len() > 1 || self.often() {
            cluster.key = Some(Secret::new(format!("{}, of a test", self.word())));
        }
        if self.often() {
            cluster.name = self.word();
            cluster.port = 7_000 + self.below(500) as u16;
            cluster.state = "/var/st ate".into();
            cluster.user = self.maybe(Self::word);
            cluster.group = self.maybe(Self::word);
            cluster.workers = self.maybe(|m| 1 + m.below(8) as u16);
            cluster.admin = if self.often() {
                Admin::Off
            } else {
                Admin::At(Address::Unix("/run/t.sock".into()))
            };
            cluster.admin_token = self.maybe(|m| Secret::new(m.word()));
            cluster.log = LogTo::File("/var/log/{node}.log".into());
            cluster.log_format = LogFormat::Json;
            cluster.access_format = self.access_format();
            cluster.log_level = LogLevel::ALL[self.below(4) as usize];
        }
        cluster.services = self.some(5, Self::service);
        if cluster.user.is_some() {
            // Programs are that user's.
            for service in &mut cluster.services {
                if let Service::App(tandem_model::App {
                    program: Program::Run { user, .. },
                    ..
                }) = service
                {
                    user.clone_from(&cluster.user);
                }
            }
        }
        cluster.listeners = (0..self.below(4) as u16)
            .map(|i| self.listener(i))
            .collect();
        let passed = cluster.services.iter().find_map(|service| match service {
            Service::Backend(backend)
                if matches!(
                    backend.spread.balance,
                    Balance::RoundRobin | Balance::Source | Balance::First
                ) && backend
                    .spread
                    .stick
                    .as_ref()
                    .is_none_or(|stick| matches!(stick.by, StickBy::Source { .. })) =>
            {
                Some(backend.name.clone())
            }
            _ => None,
        });
        if let Some(to) = passed {
            // What is of requests does nothing where only connections come.
            for service in &mut cluster.services {
                match service {
                    Service::Backend(backend) if backend.name == to => {
                        backend.spread.retry.on.clear();
                        backend.fastcgi = None;
                    }
                    _ => {}
                }
            }
            cluster.listeners.push(self.passing(0, &to));
        }
        if self.often() {
            cluster.sessions = Some(self.sessions(&cluster.services));
        }
        cluster.place_third();
        cluster
    }
}

/// Lines are those of a file, and two files may differ in them.
fn without_lines(mut cluster: Cluster) -> Cluster {
    fn clear(routes: &mut [Route]) {
        for route in routes {
            route.line = 0;
            if let Action::Routes(nested) = &mut route.action {
                clear(nested);
            }
        }
    }
    for listener in &mut cluster.listeners {
        clear(&mut listener.routes);
    }
    cluster
}

fn read_back(cluster: &Cluster) -> Cluster {
    let text = emit(cluster);
    match parse(&text, "emitted", Path::new("/elsewhere"), &|_| None) {
        Ok(loaded) => without_lines(loaded.cluster),
        Err(wrong) => panic!("{wrong}\n\n{text}"),
    }
}

proptest! {
    #[test]
    fn an_emitted_cluster_reads_back_as_the_same(choices in prop::collection::vec(any::<u32>(), 0..800)) {
        let mut maker = Maker { choices: choices.into_iter(), nodes: Vec::new(), services: 0, routes: 0, asks_clients: false };
        let cluster = maker.cluster();
        prop_assert_eq!(read_back(&cluster), cluster);
    }
}

fn example(name: &str) -> Cluster {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name);
    let env = |name: &str| (name == "TANDEM_KEY").then(|| "0123456789abcdef".to_owned());
    match crate::load(&path, &env) {
        Ok(loaded) => loaded.cluster,
        Err(wrong) => panic!("{wrong}"),
    }
}

fn stage() -> Stage {
    Stage {
        network: 3,
        dir: "/tmp/rehearsal".into(),
        key: Secret::new("of the rehearsal"),
        stand_in: vec!["/usr/bin/tandem".into(), "demo-app".into()],
        ports: BTreeMap::new(),
    }
}

#[test]
fn rehearsed_examples_read_back_as_the_same() {
    for name in ["six-machines.toml", "one-machine.toml"] {
        let cluster = example(name);
        let rehearsed = rehearse(&cluster, &stage()).cluster;
        assert_eq!(read_back(&rehearsed), without_lines(rehearsed), "{name}");
    }
}

#[test]
fn a_listener_on_several_nodes_is_rehearsed_as_several_and_reads_back() {
    let mut cluster = example("six-machines.toml");
    cluster.listeners[0].on.push("files".into());
    let rehearsed = rehearse(&cluster, &stage()).cluster;
    assert_eq!(rehearsed.listeners[0].name, "web-edge");
    assert_eq!(read_back(&rehearsed), without_lines(rehearsed));
}

#[test]
fn what_is_the_default_is_left_out() {
    let cluster = example("six-machines.toml");
    let text = emit(&cluster);
    let expected = r#"[nodes]
edge   = "192.168.0.168"
files  = "192.168.0.68"
app1   = "192.168.0.69"
app2   = "192.168.0.70"
cache1 = "192.168.0.71"
cache2 = "192.168.0.101"

[cluster]
key = "0123456789abcdef"

[listener.web]
on    = "edge"
bind  = ":80"
route = [
  { path = ["/static*", "/images*", "/javascript*", "/stylesheets*"], to = "www", missing = "shop" },
  { path = ["*.jpg", "*.gif", "*.png", "*.css", "*.js", "*.html", "*.htm"], to = "www", missing = "shop" },
  { path = ["/test*", "*.jsp", "*.do"], to = "shop" },
  { to = "www" },
]

[site.www]
on    = "files"
port  = 80
root  = "/srv/www"
allow = "192.168.0.0/16"

[app.shop]
on    = ["app1", "app2"]
port  = 80
proxy = "127.0.0.1:8080"
check = { path = "/test/alive.txt" }

[sessions]
on     = ["cache1", "cache2"]
memory = "128 MiB"
"#;
    assert_eq!(text, expected);
}

#[test]
fn a_file_without_nodes_stays_one() {
    let text = emit(&example("one-machine.toml"));
    assert!(!text.contains("[nodes]") && !text.contains("on "), "{text}");
}

fn substitution(from: Replaced, to: &str) -> Substitution {
    Substitution {
        from,
        to: Template::parse(to).unwrap(),
    }
}
