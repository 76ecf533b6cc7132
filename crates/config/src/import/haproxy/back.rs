//! Backends: servers and how requests are spread over them.

use super::super::document::{Section, Table, Value, own_id};
use super::super::sources::Spot;
use super::Translator;
use super::bind;
use super::proxy::Proxy;
use super::server::{self, Server, Settings, Tls};
use super::units::{self, MILLISECONDS, SECONDS};
use super::words::Line;
use crate::suggest::did_you_mean;

impl Translator<'_> {
    /// The servers of a section.
    pub fn servers(&mut self, proxy: &Proxy<'_>) -> Vec<Server> {
        let mut defaults = Settings::default();
        // Of the section's own, each counts for the servers behind it.
        for line in proxy.all("default-server") {
            if !proxy.own("default-server").any(|own| own.spot == line.spot) {
                defaults = server::defaults(defaults, line, &mut self.verdicts);
            }
        }
        let mut servers: Vec<Server> = Vec::new();
        for line in &proxy.section.lines {
            let server = match line.word(0) {
                "default-server" => {
                    defaults = server::defaults(defaults, line, &mut self.verdicts);
                    continue;
                }
                "server" => server::server(&defaults, line, &mut self.verdicts),
                "server-template" => server::template(&defaults, line, &mut self.verdicts),
                _ => continue,
            };
            let Some(server) = server else { continue };
            if servers.iter().any(|before| before.name == server.name) {
                self.verdicts.refuse(
                    line.spot,
                    line.at(1),
                    format!("there are two servers '{}'", server.name),
                );
                continue;
            }
            servers.push(server);
        }
        servers
    }

    /// Writes the backend of a section, under `name`. `port` is where clients come to, for servers without a port.
    pub fn backend(
        &mut self,
        proxy: &Proxy<'_>,
        name: &str,
        servers: &[Server],
        port: Option<u16>,
    ) {
        let head = &proxy.section.head;
        let mut out = Section::named("backend", name, Some(head.spot));
        out.comment = head.shown();
        let stick = if Self::learns(proxy) {
            self.learned(proxy)
        } else {
            self.stick(proxy, servers)
        };
        let (mut list, mut ids) = (Vec::new(), Vec::new());
        for server in servers {
            if !self.runs(server) {
                self.verdicts.note(
                    server.line.spot,
                    format!("server {} is disabled: it is left out", server.name),
                );
                continue;
            }
            if server.settings.disabled {
                self.verdicts.note(
                    server.line.spot,
                    format!(
                        "server {} is disabled: it is in maintenance until `enable server`",
                        server.name
                    ),
                );
            }
            if let Some(mut value) = self.one_server(server, port, stick.is_some()) {
                if let Some(id) = own_id(&mut value, &mut ids) {
                    let message = format!(
                        "clients with the cookie {id} go to the first server that has it, not to this one"
                    );
                    self.verdicts.note(server.line.spot, message);
                }
                list.push((value, server.line.spot));
            }
        }
        let spot = list.first().map_or(head.spot, |(_, spot)| *spot);
        let list = list.into_iter().map(|(value, _)| value).collect();
        out.put_at("servers", Value::List(list), spot);
        self.check(proxy, servers, port, &mut out);
        self.balance(proxy, &mut out);
        if let Some(value) = stick {
            out.put("stick", value);
        }
        let backups = servers.iter().filter(|server| server.settings.backup);
        if let Some(line) = proxy.get("option allbackups") {
            self.verdicts.translated(line.spot);
            if backups.count() > 1 {
                out.put_at("backups", Value::text("all"), line.spot);
            }
        }
        self.cut(servers, &mut out);
        self.send_proxy(servers, &mut out);
        self.source(proxy, servers, &mut out);
        self.retry(proxy, &mut out);
        if let Some(slow) = servers.iter().find_map(|server| server.settings.slow_start)
            && let Some(slow) = units::shown(slow)
        {
            out.put("slow-start", Value::text(slow));
        }
        self.server_timeouts(proxy, &mut out);
        self.server_tls(servers, &mut out);
        self.document.sections.push(out);
    }

    /// `on-marked-down` and `on-marked-up`: they hold for all servers of a backend.
    fn cut(&mut self, servers: &[Server], out: &mut Section) {
        let on = |cuts: fn(&Settings) -> bool| servers.iter().filter(move |s| cuts(&s.settings));
        let mut words = Vec::new();
        let mut spot = None;
        if let Some(first) = on(|settings| settings.cut_when_down).next() {
            words.push("down");
            spot = Some(first.line.spot);
            if on(|settings| settings.cut_when_down).count() < servers.len() {
                let what =
                    "`on-marked-down shutdown-sessions` holds for all servers of the backend";
                self.verdicts.note(first.line.spot, what);
            }
        }
        // Nothing comes up that is no backup.
        let ups = |settings: &Settings| settings.cut_when_up && !settings.backup;
        if let Some(first) = on(ups).next() {
            words.push("backups");
            spot = spot.or(Some(first.line.spot));
            let all = on(|settings| !settings.backup).count();
            if on(ups).count() < all {
                let what =
                    "`on-marked-up shutdown-backup-sessions` holds for all servers of the backend";
                self.verdicts.note(first.line.spot, what);
            }
        }
        if let Some(spot) = spot {
            out.put_at("cut", Value::texts(words), spot);
        }
    }

    /// One that is disabled is there where a command can enable it, and then it must be reached as the others are.
    fn runs(&self, server: &Server) -> bool {
        !server.settings.disabled || !self.process.commands.sockets.is_empty()
    }

    /// `send-proxy`: one for all servers of a backend.
    fn send_proxy(&mut self, servers: &[Server], out: &mut Section) {
        let mut servers = servers.iter().filter(|server| self.runs(server));
        let Some(first) = servers.next() else { return };
        let version = first.settings.proxy;
        let other = servers.find(|server| server.settings.proxy != version);
        if let Some(other) = other {
            self.verdicts.refuse(
                other.line.spot,
                other.line.spot,
                "the servers of a backend are told of clients alike: `send-proxy` of all or of none",
            );
        }
        if let Some(version) = version {
            let version = Value::text(format!("v{version}"));
            out.put_at("send-proxy", version, first.line.spot);
        }
    }

    /// `source ADDRESS` of the section, or of its servers: one for all of them.
    fn source(&mut self, proxy: &Proxy<'_>, servers: &[Server], out: &mut Section) {
        let mut all = None;
        if let Some(line) = proxy.get("source") {
            self.verdicts.translated(line.spot);
            if let Some(word) = line.words.get(2) {
                let what = "connections come from an address of the machine, by its own ways";
                self.verdicts.refuse(line.spot, word.spot, what);
            }
            match server::source(line.word(1), line.at(1)) {
                Ok(ip) => all = ip.map(|ip| (ip, line.spot)),
                Err(refusal) => refusal.tell(line.spot, &mut self.verdicts),
            }
        }
        let of = |server: &Server| {
            let own = server.settings.source.map(|ip| (ip, server.line.spot));
            own.or(all)
        };
        let mut servers = servers.iter().filter(|server| self.runs(server));
        let Some(first) = servers.next().map(of) else {
            return;
        };
        let ip = |of: Option<(std::net::IpAddr, Spot)>| of.map(|(ip, _)| ip);
        let other = servers.find(|server| ip(of(server)) != ip(first));
        if let Some(other) = other {
            self.verdicts.refuse(
                other.line.spot,
                other.line.spot,
                "the servers of a backend are reached from one address: `source` of all, or two backends",
            );
        }
        if let Some((ip, spot)) = first {
            out.put_at("source", Value::text(ip.to_string()), spot);
        }
    }

    /// Looks at what a section without servers says of spreading requests.
    pub fn spread(&mut self, proxy: &Proxy<'_>) {
        let mut nowhere = Section::new("backend", None);
        self.balance(proxy, &mut nowhere);
        self.server_timeouts(proxy, &mut nowhere);
        let _ = self.asked(proxy);
        let _ = self.stick(proxy, &[]);
        let _ = self.learned(proxy);
        let _ = self.retry_on(proxy);
        if let Some((line, at)) = proxy.argument("retries") {
            let _ = self.number(line, at);
        }
    }

    fn one_server(&mut self, server: &Server, port: Option<u16>, stick: bool) -> Option<Value> {
        let settings = &server.settings;
        let line = &server.line;
        let mut address = server.address.clone();
        let has_port = address.starts_with("unix:")
            || address
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !has_port {
            let Some(port) = port else {
                // `_http._tcp.name` and the like.
                let message = if address.starts_with('_') {
                    "a name of a service (SRV) is not looked up: name the servers, with their ports"
                } else {
                    "a server without a port has the one that the client came to, and clients come to several or to none here: write its port"
                };
                self.verdicts.refuse(line.spot, line.at(2), message);
                return None;
            };
            address = format!("{address}:{port}");
        }
        let mut table = Table::default().with("address", Value::text(&address));
        table.put(
            "name",
            Value::text(super::super::names::normal(&server.name)),
        );
        if let Some(weight) = settings.weight.filter(|weight| *weight != 1) {
            table.put("weight", Value::plain(weight));
        }
        if settings.backup {
            table.put("backup", Value::plain(true));
        }
        if let Some(most) = settings.max_connections {
            table.put("max-connections", Value::plain(most));
        }
        match &settings.cookie {
            Some(cookie) if stick => table.put("stick-id", Value::text(cookie)),
            Some(_) => self.verdicts.note(
                line.spot,
                "`cookie` of a server has no effect without `cookie` of the backend",
            ),
            None => {}
        }
        Some(Value::Table(table))
    }

    fn balance(&mut self, proxy: &Proxy<'_>, out: &mut Section) {
        let Some(line) = proxy.get("balance") else {
            return;
        };
        self.verdicts.translated(line.spot);
        let word = line.word(1);
        let (name, arg) = match word.split_once('(') {
            Some((name, rest)) => (name, rest.trim_end_matches(')').to_owned()),
            None => (word, line.word(2).to_owned()),
        };
        let text = match name {
            // HAProxy's own, and that of `balance` alone.
            "roundrobin" | "" => return,
            "static-rr" => {
                self.verdicts.note(
                    line.spot,
                    "`static-rr` is round-robin: weights may change at run time",
                );
                return;
            }
            "leastconn" => "least-connections".into(),
            "first" => "first".into(),
            "source" => "source".into(),
            "uri" => {
                if line.words.len() > 2 {
                    self.verdicts.note(line.spot, "the whole path is hashed");
                }
                "uri".into()
            }
            "random" => "random".into(),
            "hdr" => format!("header:{arg}"),
            "hash" if arg.starts_with("req.hdr(") || arg.starts_with("hdr(") => {
                let name = arg
                    .split_once('(')
                    .map_or("", |(_, rest)| rest)
                    .trim_end_matches(')');
                format!("header:{name}")
            }
            "url_param" | "rdp-cookie" | "hash" | "log-hash" | "sticky" | "log-sticky" => {
                self.verdicts.refuse(
                    line.spot,
                    line.at(1),
                    format!("'balance {name}' is not translated"),
                );
                return;
            }
            other => {
                let names = [
                    "roundrobin",
                    "static-rr",
                    "leastconn",
                    "first",
                    "source",
                    "uri",
                    "random",
                    "hdr",
                ];
                self.verdicts.refuse_hint(
                    line.spot,
                    line.at(1),
                    format!("'balance' does not know '{other}'"),
                    did_you_mean(other, names),
                );
                return;
            }
        };
        out.put_at("balance", Value::Text(text), line.spot);
    }

    /// `cookie NAME insert|prefix|rewrite ...`.
    fn stick(&mut self, proxy: &Proxy<'_>, servers: &[Server]) -> Option<Value> {
        let line = proxy.get("cookie").filter(|_| !proxy.is_tcp())?;
        let mut table = Table::default();
        let words = line.from(2);
        let has = |name: &str| words.iter().any(|word| word.text == name);
        self.verdicts.translated(line.spot);
        let by = if has("insert") {
            "cookie"
        } else if has("prefix") {
            "prefix"
        } else {
            self.verdicts.refuse(
                line.spot,
                line.spot,
                "a cookie is inserted or prefixed: 'rewrite' and plain persistence are not translated",
            );
            return None;
        };
        table.put("by", Value::text(by));
        table.put("name", Value::text(line.word(1)));
        // HAProxy adds no attributes of its own.
        if by == "cookie" {
            table.put("http-only", Value::plain(has("httponly")));
            table.put("same-site", Value::plain(false));
            if has("secure") {
                table.put("secure", Value::plain(true));
            }
        }
        if by == "cookie" && !has("indirect") {
            self.verdicts.note(
                line.spot,
                "servers do not see the cookie, as with `indirect`",
            );
        }
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.text.as_str() {
                "insert" | "prefix" | "httponly" | "secure" => {}
                "indirect" if by == "cookie" => {}
                "indirect" | "nocache" | "postonly" | "preserve" => {
                    let why = match word.text.as_str() {
                        "nocache" => "the answer that sets the cookie is marked private by itself",
                        "postonly" => "the cookie is set with the first answer",
                        _ => "the cookie is Tandem's alone",
                    };
                    self.verdicts
                        .note(line.spot, format!("`{}`: {why}", word.text));
                }
                "domain" => {
                    if let Some(domain) = words.next() {
                        table.put("domain", Value::text(domain.text.trim_start_matches('.')));
                    }
                }
                "maxlife" | "maxidle" => {
                    let value = words.next().map_or("", |word| word.text.as_str());
                    let Some(time) = units::time(value, SECONDS) else {
                        let message =
                            format!("'{value}' is no time: a number and us, ms, s, m, h or d");
                        self.verdicts.refuse(line.spot, word.spot, message);
                        continue;
                    };
                    if let Some(surplus) = units::surplus(value) {
                        self.verdicts.note(line.spot, surplus);
                    }
                    if let Some(time) = units::shown(time) {
                        table.put("max-age", Value::text(time));
                        self.verdicts.note(
                            line.spot,
                            format!("`{}` is how long the browser keeps the cookie", word.text),
                        );
                    }
                }
                "attr" => {
                    let word = words.next().map_or("", |word| word.text.as_str());
                    match word.to_ascii_lowercase().strip_prefix("samesite=") {
                        Some(site) => table.put("same-site", Value::text(site)),
                        None => self.verdicts.refuse(
                            line.spot,
                            line.spot,
                            format!("the attribute '{word}' is not translated"),
                        ),
                    }
                }
                "dynamic" => self.verdicts.note(
                    line.spot,
                    "`dynamic`: ids of servers are made by themselves",
                ),
                other => {
                    let names = [
                        "insert", "prefix", "indirect", "nocache", "postonly", "preserve",
                        "httponly", "secure", "domain", "maxidle", "maxlife", "attr",
                    ];
                    self.verdicts.refuse_hint(
                        line.spot,
                        word.spot,
                        format!("'cookie' does not know '{other}'"),
                        did_you_mean(other, names),
                    );
                }
            }
        }
        if !servers
            .iter()
            .any(|server| server.settings.cookie.is_some())
        {
            self.verdicts.without(line.spot, "no server has a `cookie`");
            return None;
        }
        Some(Value::Table(table))
    }

    fn server_timeouts(&mut self, proxy: &Proxy<'_>, out: &mut Section) {
        let mut table = Table::default();
        let mut spot = None;
        for (names, keys) in [
            (["timeout connect", "contimeout"], &["connect"][..]),
            (["timeout server", "srvtimeout"], &["first-byte", "body"]),
        ] {
            if let Some((line, time)) = self.one_time(proxy, &names) {
                for key in keys {
                    table.put(key, Value::text(&time));
                }
                spot = spot.or(Some(line.spot));
            }
        }
        if let (false, Some(spot)) = (table.is_empty(), spot) {
            out.put_at("timeouts", Value::Table(table), spot);
        }
        if let Some((line, time)) = self.one_time(proxy, &["timeout queue"]) {
            let table = Table::default().with("timeout", Value::text(time));
            out.put_at("queue", Value::Table(table), line.spot);
        }
    }

    fn server_tls(&mut self, servers: &[Server], out: &mut Section) {
        let with: Vec<(&Tls, Spot)> = servers
            .iter()
            .filter_map(|server| Some((server.settings.tls.as_ref()?, server.line.spot)))
            .collect();
        let Some((tls, spot)) = with.first() else {
            return;
        };
        if with.len() != servers.len() || with.iter().any(|(other, _)| other != tls) {
            self.verdicts.refuse(
                *spot,
                *spot,
                "servers of one backend all speak TLS in the same way, or none does",
            );
            return;
        }
        let mut table = Table::default();
        if !tls.verify {
            table.put("verify", Value::plain(false));
        } else if let Some(ca) = tls.ca.as_ref().filter(|ca| !ca.starts_with('@')) {
            table.put("ca", Value::text(self.bases.authority(ca)));
        }
        match &tls.sni {
            Some(name) => table.put("name", Value::text(name)),
            None if tls.verify => self.verdicts.note(
                *spot,
                "a certificate must have the server's name or address as written here; HAProxy looks at it with `verifyhost` only",
            ),
            None => {}
        }
        if let Some(cert) = &tls.cert {
            let cert = self.bases.certificate(cert);
            if let Some(key) = bind::key_of(&cert) {
                table.put("key", Value::text(key));
            }
            table.put("cert", Value::text(cert));
        }
        let value = if table.is_empty() {
            Value::plain(true)
        } else {
            Value::Table(table)
        };
        out.put_at("tls", value, *spot);
    }

    /// The time of the first of some directives that is there.
    pub fn one_time<'p>(
        &mut self,
        proxy: &Proxy<'p>,
        names: &[&str],
    ) -> Option<(&'p Line, String)> {
        for name in names {
            if let Some((line, at)) = proxy.argument(name) {
                if !name.contains(' ') {
                    self.verdicts.note(
                        line.spot,
                        format!("`{name}` is `{}` since HAProxy 2.1", names[0]),
                    );
                }
                return Some((line, self.time(line, at)?));
            }
        }
        None
    }

    /// The time at a word of a line, as the cluster file writes it.
    pub fn time(&mut self, line: &Line, at: usize) -> Option<String> {
        self.verdicts.translated(line.spot);
        match units::time(line.word(at), MILLISECONDS) {
            Some(time) => {
                if let Some(surplus) = units::surplus(line.word(at)) {
                    self.verdicts.note(line.spot, surplus);
                }
                let shown = units::shown(time);
                if shown.is_none() {
                    self.verdicts.note(
                        line.spot,
                        "0 is no limit in HAProxy; here it is the usual limit",
                    );
                }
                shown
            }
            None => {
                self.verdicts.refuse(
                    line.spot,
                    line.at(at),
                    format!(
                        "'{}' is no time: a number and us, ms, s, m, h or d",
                        line.word(at)
                    ),
                );
                None
            }
        }
    }

    pub fn number(&mut self, line: &Line, at: usize) -> Option<u64> {
        self.verdicts.translated(line.spot);
        let number = line.word(at).parse().ok();
        if number.is_none() {
            self.verdicts.refuse(
                line.spot,
                line.at(at),
                format!("'{}' is no number", line.word(at)),
            );
        }
        number
    }
}
