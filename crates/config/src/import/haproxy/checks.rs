//! `check` of servers: what is asked of them, by `option httpchk`, `tcp-check` and their kind.

use std::time::Duration;

use super::super::document::{Section, Table, Value};
use super::Translator;
use super::acl::Refusal;
use super::patterns::checked;
use super::programs;
use super::proxy::Proxy;
use super::server::{Observed, Server, Settings};
use super::units;
use super::words::{Line, Word};
use crate::suggest::did_you_mean;

/// HAProxy's time between checks, when nothing is said.
const INTER: Duration = Duration::from_secs(2);
/// Options that say what is asked: the last one counts.
const KINDS: [&str; 8] = [
    "option httpchk",
    "option tcp-check",
    "option redis-check",
    "option smtpchk",
    "option mysql-check",
    "option pgsql-check",
    "option ldap-check",
    "option ssl-hello-chk",
];
/// The statuses that a check may have.
pub(crate) const STATUSES: std::ops::RangeInclusive<u16> = 100..=599;

impl Translator<'_> {
    /// `check`: one for all servers of a backend. `client_port` is that of servers without one.
    pub fn check(
        &mut self,
        proxy: &Proxy<'_>,
        servers: &[Server],
        client_port: Option<u16>,
        out: &mut Section,
    ) {
        let checked: Vec<&Server> = servers
            .iter()
            .filter(|server| server.settings.check)
            .collect();
        let Some(first) = checked.first() else {
            for name in KINDS.iter().chain(&["http-check", "tcp-check"]) {
                for line in proxy.own(name) {
                    self.verdicts
                        .without(line.spot, "no server of this section has `check`");
                }
            }
            return out.put("check", Value::plain(false));
        };
        let spot = first.line.spot;
        for server in servers.iter().filter(|server| !server.settings.check) {
            self.verdicts.note(
                server.line.spot,
                "servers of one backend are checked alike: this one is checked too",
            );
        }
        for server in &checked[1..] {
            let timing = |s: &Settings| (s.inter, s.fast, s.rise, s.fall);
            if timing(&server.settings) != timing(&first.settings) {
                self.verdicts.note(
                    server.line.spot,
                    format!(
                        "servers of one backend are checked alike: as {} is",
                        first.name
                    ),
                );
            }
        }
        let mut table = self.asked(proxy);
        if let Err(refusal) = place(&checked, client_port, &mut table) {
            refusal.tell(spot, &mut self.verdicts);
        }
        let every = first.settings.inter.unwrap_or(INTER);
        if every != INTER
            && let Some(every) = units::shown(every)
        {
            table.put("every", Value::text(every));
        }
        if let Some(fast) = first.settings.fast.and_then(units::shown) {
            table.put("fast", Value::text(fast));
        }
        if let Some(rise) = first.settings.rise.filter(|rise| *rise != 2) {
            table.put("rise", Value::plain(rise));
        }
        if let Some(fall) = first.settings.fall.filter(|fall| *fall != 3) {
            table.put("fall", Value::plain(fall));
        }
        if let Some(observed) = first.settings.observe {
            // HAProxy's own number.
            let limit = first.settings.error_limit.unwrap_or(10);
            table.put("errors", Value::plain(limit));
            if observed == Observed::Connections {
                self.verdicts.note(
                    spot,
                    "`observe layer4`: answers of 500, 502, 503 and 504 count, too",
                );
            }
        } else if first.settings.error_limit.is_some() {
            let what = "`error-limit` has no effect without `observe`";
            self.verdicts.note(spot, what);
        }
        if let Some((line, at)) = proxy.argument("timeout check")
            && let Some(time) = self.time(line, at)
        {
            table.put("timeout", Value::text(time));
        }
        if !table.is_empty() {
            out.put_at("check", Value::Table(table), spot);
        }
    }

    /// What is asked of a server: a table without times.
    pub fn asked(&mut self, proxy: &Proxy<'_>) -> Table {
        // Those of a section go before those of its defaults.
        let own = KINDS.iter().flat_map(|name| proxy.own(name));
        let all = KINDS.iter().flat_map(|name| proxy.all(name));
        let last = own.max_by_key(|line| line.spot);
        let last = last.or_else(|| all.max_by_key(|line| line.spot));
        let last = last.filter(|line| line.word(0) != "no");
        let kind = last.map_or("", |line| line.word(1));
        for line in KINDS.iter().flat_map(|name| proxy.own(name)) {
            if Some(line.spot) != last.map(|last| last.spot) {
                self.verdicts.without(
                    line.spot,
                    "of the options that say what a check is the last one counts",
                );
            }
        }
        for (name, option) in [("http-check", "httpchk"), ("tcp-check", "tcp-check")] {
            if kind != option {
                for line in proxy.own(name) {
                    let what = format!("there is no `option {option}`");
                    self.verdicts.without(line.spot, what);
                }
            }
        }
        let Some(line) = last else {
            return Table::default();
        };
        self.verdicts.translated(line.spot);
        match kind {
            "httpchk" => self.http_check(proxy, line),
            "tcp-check" => self.tcp_check(proxy),
            _ => {
                let note = &mut |what: &str| self.verdicts.note(line.spot, what);
                match programs::talk(line, note) {
                    Some(Ok(table)) => table,
                    Some(Err(refusal)) => {
                        refusal.tell(line.spot, &mut self.verdicts);
                        Table::default()
                    }
                    None => Table::default(),
                }
            }
        }
    }

    /// `option tcp-check` and its rules: turns of a talk.
    fn tcp_check(&mut self, proxy: &Proxy<'_>) -> Table {
        let mut turns: Vec<Table> = Vec::new();
        for line in Self::check_rules(proxy, "tcp-check") {
            match turn(line, turns.is_empty()) {
                Ok(None) => self.verdicts.translated(line.spot),
                Ok(Some((key, text))) => {
                    self.verdicts.translated(line.spot);
                    let has = |table: &Table, key: &str| table.0.iter().any(|(has, _)| has == key);
                    match turns.last_mut() {
                        // What is sent and what comes then is one turn.
                        Some(last) if key == "expect" && !has(last, "expect") => {
                            last.put("expect", Value::text(text));
                        }
                        _ => turns.push(Table::default().with(key, Value::text(text))),
                    }
                }
                Err(refusal) => refusal.tell(line.spot, &mut self.verdicts),
            }
        }
        match turns.len() {
            0 => Table::default(),
            1 => turns.remove(0),
            _ => {
                let turns = turns.into_iter().map(Value::Table).collect();
                Table::default().with("talk", Value::List(turns))
            }
        }
    }

    /// Rules of a section, or else of its defaults.
    fn check_rules<'p>(proxy: &Proxy<'p>, name: &str) -> Vec<&'p Line> {
        let own: Vec<&Line> = proxy.own(name).collect();
        if own.is_empty() { proxy.all(name) } else { own }
    }

    /// `option httpchk [METHOD] PATH [VERSION]` and `http-check send`, `expect`.
    fn http_check(&mut self, proxy: &Proxy<'_>, line: &Line) -> Table {
        let mut request = Request::of(line);
        let mut answer = Wanted::default();
        let mut elsewhere = Elsewhere::default();
        for line in Self::check_rules(proxy, "http-check") {
            let done = match line.word(1) {
                "send" if request.is_sent => Err(Refusal::new(
                    line.at(1),
                    "a check is one request: this is another one",
                )),
                "send" => request.send(line, &mut |what| self.verdicts.note(line.spot, what)),
                "expect" => answer.expect(line),
                "connect" if request.is_sent => Err(Refusal::new(
                    line.at(1),
                    "a check is one request over one connection",
                )),
                "connect" => connect(line).map(|connect| {
                    self.verdicts.translated(line.spot);
                    elsewhere = connect;
                }),
                "disable-on-404" | "send-state" | "comment" => {
                    self.verdicts.without(
                        line.spot,
                        "a server is up or down by its checks; it is drained by the admin API",
                    );
                    Ok(())
                }
                other => Err(Refusal {
                    at: line.at(1),
                    message: format!("'http-check {other}' is not translated"),
                    hint: did_you_mean(other, ["send", "expect", "disable-on-404"]),
                }),
            };
            match done {
                Ok(()) if self.verdicts.has(line.spot) => {}
                Ok(()) => self.verdicts.translated(line.spot),
                Err(refusal) => refusal.tell(line.spot, &mut self.verdicts),
            }
        }
        let mut table = Table::default().with("path", Value::text(request.path));
        if let Some(host) = request.host {
            table.put("host", Value::text(host));
        }
        if request.method != "GET" {
            table.put("method", Value::text(request.method));
        }
        answer.put(&mut table);
        if let Some(port) = elsewhere.port {
            table.put("port", Value::plain(port));
        }
        if elsewhere.tls {
            table.put("tls", Value::plain(true));
        }
        table
    }
}

/// What `http-check connect` says of the connection.
#[derive(Default)]
struct Elsewhere {
    port: Option<u16>,
    tls: bool,
}

/// `http-check connect [default] [port N] [ssl]`.
fn connect(line: &Line) -> Result<Elsewhere, Refusal> {
    let mut elsewhere = Elsewhere::default();
    let mut words = line.from(2).iter();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "default" | "linger" => {}
            "comment" | "alpn" => drop(words.next()),
            "ssl" => elsewhere.tls = true,
            "port" => {
                let port = words.next().and_then(|word| word.text.parse().ok());
                let wrong = || Refusal::new(word.spot, "the port of a check is a number");
                elsewhere.port = Some(port.ok_or_else(wrong)?);
            }
            other => {
                return Err(Refusal {
                    at: word.spot,
                    message: format!("'connect {other}' of a check is not translated"),
                    hint: did_you_mean(other, ["port", "ssl", "default"]),
                });
            }
        }
    }
    Ok(elsewhere)
}

/// Where servers are checked, and whether over TLS: alike. A check at another port speaks neither TLS nor the PROXY
/// protocol unless that is said.
fn place(checked: &[&Server], client_port: Option<u16>, table: &mut Table) -> Result<(), Refusal> {
    let port = |server: &Server| {
        let (_, own) = server.address.rsplit_once(':').unwrap_or_default();
        let own = own.parse().ok().or(client_port);
        let port = server.settings.check_port;
        port.filter(|port| Some(*port) != own && !server.address.starts_with("unix:"))
    };
    let (first, others) = checked.split_first().expect("one is checked");
    let of = |server: &Server| {
        (
            port(server),
            server.settings.check_tls,
            server.settings.check_proxy,
        )
    };
    if let Some(other) = others.iter().find(|server| of(server) != of(first)) {
        let message =
            "servers of one backend are checked alike: at one `port`, with `check-ssl` or without";
        return Err(Refusal::new(other.line.spot, message));
    }
    let wrong = |message: &str| Err(Refusal::new(first.line.spot, message));
    let (port, check_tls, check_proxy) = of(first);
    let settings = &first.settings;
    if table.has("port") {
        // That of `http-check connect` goes before those of servers.
    } else if let Some(port) = port {
        table.put("port", Value::plain(port));
        if check_proxy == Some(true) {
            return wrong(
                "a check at another port does not speak the PROXY protocol: `check-send-proxy`",
            );
        }
    } else if check_proxy.is_some_and(|is| is != settings.proxy.is_some()) {
        return wrong("a check where requests go speaks the PROXY protocol as they do");
    } else if check_tls == Some(false) && settings.tls.is_some() {
        return wrong(
            "a check where requests go speaks TLS as they do: `no-check-ssl` goes with a `port`",
        );
    }
    if check_tls == Some(true) && (port.is_some() || settings.tls.is_none()) {
        if ["send", "expect", "talk"].iter().any(|key| table.has(key)) {
            return wrong(
                "what a check sends and expects goes over TLS where requests do: `check-ssl`",
            );
        }
        table.put("tls", Value::plain(true));
    }
    Ok(())
}

/// The request of a check.
struct Request {
    method: String,
    path: String,
    host: Option<String>,
    is_sent: bool,
}

impl Request {
    /// As the option says it.
    fn of(line: &Line) -> Self {
        let words = line.from(2);
        let mut request = Self {
            method: "OPTIONS".into(),
            path: "/".into(),
            host: None,
            is_sent: false,
        };
        match words {
            [] => {}
            [uri] => request.path.clone_from(&uri.text),
            [verb, uri, rest @ ..] => {
                request.method.clone_from(&verb.text);
                request.path.clone_from(&uri.text);
                // The old way to send a Host field: HTTP/1.1\r\nHost:\ name.
                for field in rest.iter().flat_map(|word| word.text.split("\r\n")) {
                    if let Some((name, value)) = field.split_once(':')
                        && name.trim().eq_ignore_ascii_case("host")
                    {
                        request.host = Some(value.trim().to_owned());
                    }
                }
            }
        }
        request
    }

    fn send(&mut self, line: &Line, note: &mut dyn FnMut(String)) -> Result<(), Refusal> {
        let mut words = line.from(2).iter();
        self.is_sent = true;
        while let Some(word) = words.next() {
            let mut next = || words.next().map_or(String::new(), |word| word.text.clone());
            match word.text.as_str() {
                "meth" => self.method = next(),
                "uri" => self.path = next(),
                "ver" | "comment" => drop(next()),
                "hdr" => {
                    let (name, value) = (next(), next());
                    if name.eq_ignore_ascii_case("host") {
                        self.host = Some(value);
                    } else {
                        note("only the Host field of a check is translated".into());
                    }
                }
                other => {
                    let message = format!("'{other}' of a check is not translated");
                    return Err(Refusal::new(word.spot, message));
                }
            }
        }
        if self.path.contains('%') && line.words.iter().any(|word| word.text == "uri-lf") {
            return Err(Refusal::new(line.at(1), "the path of a check is fixed"));
        }
        Ok(())
    }
}

/// What is wanted of an answer.
#[derive(Default)]
struct Wanted {
    /// By its number less the first; `None` is HAProxy's own, which is ours.
    statuses: Option<Vec<bool>>,
    contains: Option<String>,
    lacks: Option<String>,
}

impl Wanted {
    fn expect(&mut self, line: &Line) -> Result<(), Refusal> {
        let expect = Expect::read(line, 2)?;
        let at = expect.value.spot;
        let body = |slot: &mut Option<String>, text: String| {
            if slot.replace(text).is_some() {
                let message =
                    "a body is compared with one text that it has and one that it has not";
                return Err(Refusal::new(at, message));
            }
            Ok(())
        };
        // Statuses that are expected elsewhere stay; without, they are not looked at where the body is.
        match expect.kind {
            "status" | "rstatus" => {
                let matching = if expect.kind == "status" {
                    listed(&expect.value.text)
                } else {
                    expect.regex()?;
                    let regex = regex::Regex::new(&expect.value.text).ok();
                    regex.map(|regex| STATUSES.map(|n| regex.is_match(&n.to_string())).collect())
                };
                let Some(matching) = matching else {
                    let message = format!("'{}' is no list of statuses", expect.value.text);
                    return Err(Refusal::new(at, message));
                };
                let before = self.statuses.take();
                let before = before.unwrap_or_else(|| vec![true; matching.len()]);
                let both = before.iter().zip(matching);
                let both = both.map(|(before, now)| *before && (now != expect.not));
                self.statuses = Some(both.collect());
                return Ok(());
            }
            "string" | "rstring" => {
                let text = if expect.kind == "string" {
                    text_of(&expect.value.text)
                } else {
                    expect.regex()?;
                    format!("~{}", expect.value.text)
                };
                let slot = if expect.not {
                    &mut self.lacks
                } else {
                    &mut self.contains
                };
                body(slot, text)?;
            }
            other => {
                return Err(Refusal {
                    at: line.at(2),
                    message: format!("'http-check expect {other}' is not translated"),
                    hint: did_you_mean(other, ["status", "rstatus", "string", "rstring"]),
                });
            }
        }
        Ok(())
    }

    fn put(self, table: &mut Table) {
        let body = self.contains.is_some() || self.lacks.is_some();
        let statuses = match self.statuses {
            Some(statuses) => Some(ranges(&statuses)),
            // HAProxy does not look at it then.
            None if body => Some(ranges(&STATUSES.map(|_| true).collect::<Vec<_>>())),
            None => None,
        };
        if let Some(statuses) = statuses {
            table.put("status", Value::List(statuses));
        }
        for (key, text) in [("contains", self.contains), ("lacks", self.lacks)] {
            if let Some(text) = text {
                table.put(key, Value::text(text));
            }
        }
    }
}

/// `expect [!] KIND VALUE`, with options that change nothing.
struct Expect<'a> {
    not: bool,
    kind: &'a str,
    value: &'a Word,
}

impl<'a> Expect<'a> {
    fn read(line: &'a Line, mut at: usize) -> Result<Self, Refusal> {
        let (mut not, mut found) = (false, None);
        while let Some(word) = line.words.get(at) {
            let value = line.words.get(at + 1);
            match word.text.as_str() {
                "!" => {
                    not = true;
                    at += 1;
                    continue;
                }
                // They say what is logged.
                "comment" | "on-success" | "on-error" | "status-code" if found.is_none() => {}
                "min-recv" | "ok-status" | "error-status" | "tout-status" => {
                    let message = format!("'{}' of a check is not translated", word.text);
                    return Err(Refusal::new(word.spot, message));
                }
                "hdr" | "fhdr" => {
                    let message = format!("'http-check expect {}' is not translated", word.text);
                    return Err(Refusal::new(word.spot, message));
                }
                kind if found.is_none() => {
                    let Some(value) = value else {
                        let message = format!("what is expected? {kind} VALUE");
                        return Err(Refusal::new(word.spot, message));
                    };
                    found = Some((kind, value));
                }
                other => {
                    let message = format!("'{other}' is not expected here");
                    return Err(Refusal::new(word.spot, message));
                }
            }
            at += 2;
        }
        match found {
            Some((kind, value)) => Ok(Self { not, kind, value }),
            None => Err(Refusal::new(line.spot, "what is expected of the answer?")),
        }
    }

    fn regex(&self) -> Result<(), Refusal> {
        checked(&self.value.text).map_err(|message| Refusal::new(self.value.spot, message))
    }
}

/// A rule of `tcp-check`: a key of a turn and its text, or nothing to be done.
fn turn(line: &Line, is_first: bool) -> Result<Option<(&'static str, String)>, Refusal> {
    let value = line.from(2).first();
    let given = || value.ok_or_else(|| Refusal::new(line.spot, "what is sent?"));
    match line.word(1) {
        "comment" => Ok(None),
        "connect" if is_first && matches!(line.word(2), "" | "default" | "comment" | "linger") => {
            Ok(None)
        }
        "connect" => Err(Refusal::new(
            line.at(1),
            "a check has one connection, as those for requests are: a server is checked where it serves",
        )),
        "send" => {
            let word = given()?;
            ascii(word)?;
            Ok(Some(("send", text_of(&word.text))))
        }
        "send-binary" => Ok(Some(("send", hex(given()?)?))),
        "expect" => {
            let expect = Expect::read(line, 2)?;
            if expect.not {
                let message =
                    "what must not come is known when nothing comes any more: say what has to come";
                return Err(Refusal::new(line.at(2), message));
            }
            let text = match expect.kind {
                "string" => {
                    ascii(expect.value)?;
                    text_of(&expect.value.text)
                }
                "rstring" => {
                    expect.regex()?;
                    format!("~{}", expect.value.text)
                }
                "binary" => hex(expect.value)?,
                other => {
                    return Err(Refusal {
                        at: line.at(2),
                        message: format!("'tcp-check expect {other}' is not translated"),
                        hint: did_you_mean(other, ["string", "rstring", "binary"]),
                    });
                }
            };
            Ok(Some(("expect", text)))
        }
        other => Err(Refusal {
            at: line.at(1),
            message: format!("'tcp-check {other}' is not translated"),
            hint: did_you_mean(other, ["connect", "send", "send-binary", "expect"]),
        }),
    }
}

/// A text that `\xNN` was not put into: which bytes it would be is not known any more.
fn ascii(word: &Word) -> Result<(), Refusal> {
    if word.text.is_ascii() {
        return Ok(());
    }
    let message = "bytes that are no ASCII are written in hexadecimal: send-binary, expect binary";
    Err(Refusal::new(word.spot, message))
}

fn hex(word: &Word) -> Result<String, Refusal> {
    let text = format!("hex:{}", word.text.to_ascii_lowercase());
    match tandem_model::Sent::parse(&text) {
        Ok(sent) => Ok(sent.to_string()),
        Err(message) => Err(Refusal::new(word.spot, message)),
    }
}

/// A text as the cluster file has it.
fn text_of(text: &str) -> String {
    tandem_model::Sent(text.into()).to_string()
}

/// Which statuses a list names: `200`, `200,204`, `200-399`.
fn listed(text: &str) -> Option<Vec<bool>> {
    let mut matching: Vec<bool> = STATUSES.map(|_| false).collect();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        if from > to {
            return None;
        }
        for (is, _) in matching
            .iter_mut()
            .zip(STATUSES)
            .filter(|(_, n)| (from..=to).contains(n))
        {
            *is = true;
        }
    }
    Some(matching)
}

/// Statuses as the cluster file has them.
pub(crate) fn ranges(matching: &[bool]) -> Vec<Value> {
    let mut list: Vec<(u16, u16)> = Vec::new();
    for (n, _) in STATUSES.zip(matching).filter(|(_, is)| **is) {
        match list.last_mut() {
            Some((_, to)) if *to + 1 == n => *to = n,
            _ => list.push((n, n)),
        }
    }
    let value = |(from, to)| {
        if from == to {
            Value::plain(from)
        } else {
            Value::text(format!("{from}-{to}"))
        }
    };
    list.into_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_listed_and_shown_as_ranges() {
        let shown = |text: &str| listed(text).map(|matching| ranges(&matching));
        let wanted = vec![Value::plain(200), Value::text("300-399")];
        assert_eq!(shown("200,300-350,351-399"), Some(wanted));
        assert_eq!(shown("2xx"), None);
        assert_eq!(shown("399-300"), None);
    }
}
