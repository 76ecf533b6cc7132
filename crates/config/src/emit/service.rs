//! Services as text.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use tandem_model::{
    Access, App, Backend, BackendServer, BackendTls, Check, FastCgi, Program, Protocol,
    ProxyVersion, RESOLVE, Rehearsal, Service, Site, Timeouts, Turn,
};

use super::spread;
use super::text::{Pairs, array, list, quoted};
use crate::duration;
use crate::keys::{app, check, fastcgi, site};

pub(crate) fn service(service: &Service, implied_on: &[String]) -> String {
    let mut pairs = Pairs::default();
    if !matches!(service, Service::Backend(_)) && service.on() != implied_on {
        pairs.put("on", list(service.on().iter().map(|node| quoted(node))));
    }
    if let Some(port) = service.port() {
        pairs.put("port", port.to_string());
    }
    let rehearse = match service {
        Service::Site(mine) => {
            of_site(&mut pairs, mine);
            &mine.rehearse
        }
        Service::App(mine) => {
            of_app(&mut pairs, mine);
            &mine.rehearse
        }
        Service::Backend(mine) => {
            of_backend(&mut pairs, mine);
            &mine.rehearse
        }
    };
    if let Some(rehearsal) = rehearse {
        let mut table = Pairs::default();
        match rehearsal {
            Rehearsal::Run(command) => table.put("run", self::command(command)),
            Rehearsal::Proxy(address) => table.put("proxy", quoted(&address.to_string())),
            Rehearsal::Root(root) => table.put("root", quoted(&root.to_string_lossy())),
        }
        pairs.put("rehearse", table.inline());
    }
    pairs.section(&format!(
        "{}.{}",
        service.kind(),
        super::text::key(service.name())
    ))
}

fn of_site(pairs: &mut Pairs, mine: &Site) {
    let usual = site::Draft::default().site;
    pairs.put("root", quoted(&mine.root.to_string_lossy()));
    pairs.put_unless("index", &mine.index, &usual.index, |index| {
        list(index.iter().map(|name| quoted(name)))
    });
    if !mine.suffixes.is_empty() {
        pairs.put("suffixes", list(mine.suffixes.iter().map(|s| quoted(s))));
    }
    if let Some(fallback) = &mine.fallback {
        pairs.put("fallback", quoted(fallback));
    }
    let aliases = mine.aliases.iter();
    let aliases = aliases.map(|(at, dir)| (at.clone(), dir.to_string_lossy().into_owned()));
    put_map(pairs, "aliases", &aliases.collect());
    put_map(pairs, "types", &mine.types);
    pairs.put_unless(
        "only-types",
        &mine.only_types,
        &usual.only_types,
        ToString::to_string,
    );
    match mine.charset.as_deref() {
        None => {}
        Some("") => pairs.put("charset", "false"),
        Some(charset) => pairs.put("charset", quoted(charset)),
    }
    let expires = mine.expires.iter();
    let expires = expires.map(|(kind, after)| (kind.clone(), duration::show(*after)));
    put_map(pairs, "expires", &expires.collect());
    if !mine.precompressed.is_empty() {
        let codings = mine.precompressed.iter();
        pairs.put(
            "precompressed",
            list(codings.map(|coding| quoted(coding.name()))),
        );
    }
    for (name, mine, usual) in [
        ("compress", mine.compress, usual.compress),
        ("listing", mine.listing, usual.listing),
        ("directories", !mine.only_files, !usual.only_files),
    ] {
        pairs.put_unless(name, &mine, &usual, ToString::to_string);
    }
    if let Some(status) = &mine.status {
        pairs.put("status", quoted(status));
    }
    for (name, nets) in [("allow", &mine.allow), ("deny", &mine.deny)] {
        if !nets.is_empty() {
            pairs.put(name, list(nets.iter().map(|net| quoted(&net.to_string()))));
        }
    }
    if !mine.access.is_empty() {
        pairs.put("access", list(mine.access.iter().map(access)));
    }
    let errors = mine.errors.iter();
    let errors = errors.map(|(status, file)| (status.to_string(), file.clone()));
    put_map(pairs, "errors", &errors.collect());
    pairs.put_unless("hidden", &mine.hidden, &usual.hidden, ToString::to_string);
    put_check(pairs, &mine.check);
}

fn access(rule: &Access) -> String {
    let (name, nets) = match rule {
        Access::Allow(nets) => ("allow", nets),
        Access::Deny(nets) => ("deny", nets),
    };
    let nets = if *nets == site::everyone() {
        quoted(site::ALL)
    } else {
        list(nets.iter().map(|net| quoted(&net.to_string())))
    };
    let mut rule = Pairs::default();
    rule.put(name, nets);
    rule.inline()
}

fn of_app(pairs: &mut Pairs, mine: &App) {
    match &mine.program {
        Program::Proxy(address) => pairs.put("proxy", quoted(&address.to_string())),
        Program::Run {
            command,
            dir,
            env,
            user,
            instances,
            stop_timeout,
        } => {
            pairs.put("run", self::command(command));
            if let Some(dir) = dir {
                pairs.put("dir", quoted(&dir.to_string_lossy()));
            }
            put_map(pairs, "env", env);
            if let Some(user) = user {
                pairs.put("user", quoted(user));
            }
            pairs.put_unless("instances", instances, &1, ToString::to_string);
            pairs.put_unless("stop-timeout", stop_timeout, &app::STOP_TIMEOUT, |stop| {
                quoted(&duration::show(*stop))
            });
        }
    }
    if !mine.weight.is_empty() {
        let mut table = Pairs::default();
        for (node, weight) in &mine.weight {
            table.put(node, weight.to_string());
        }
        pairs.put("weight", table.inline());
    }
    put_max_connections(pairs, mine.max_connections);
    put_check(pairs, &mine.check);
    put_proxy(pairs, mine.send_proxy);
    put_fastcgi(pairs, mine.fastcgi.as_deref());
    spread::put(pairs, &mine.spread);
    put_timeouts(pairs, &mine.timeouts);
}

fn put_proxy(pairs: &mut Pairs, version: Option<ProxyVersion>) {
    if let Some(version) = version {
        let version = match version {
            ProxyVersion::V1 => "v1",
            ProxyVersion::V2 => "v2",
        };
        pairs.put("send-proxy", quoted(version));
    }
}

fn put_fastcgi(pairs: &mut Pairs, fastcgi: Option<&FastCgi>) {
    let Some(mine) = fastcgi else { return };
    let usual = FastCgi::default();
    let mut table = Pairs::default();
    if let Some(root) = &mine.root {
        table.put("root", quoted(&root.to_string_lossy()));
    }
    table.put_unless(
        "real-root",
        &mine.real_root,
        &usual.real_root,
        ToString::to_string,
    );
    if let Some(front) = &mine.front {
        table.put("front", quoted(front));
    }
    if let Some(script) = &mine.script {
        table.put("script", quoted(script));
    }
    table.put_unless("index", &mine.index, &usual.index, |index| quoted(index));
    table.put_unless("extension", &mine.extension, &usual.extension, |with| {
        quoted(if with.is_empty() {
            fastcgi::EVERY
        } else {
            with
        })
    });
    table.put_unless(
        "path-info",
        &mine.path_info,
        &usual.path_info,
        ToString::to_string,
    );
    if let Protocol::Uwsgi {
        modifier: modifier @ 1..,
    } = mine.protocol
    {
        table.put("modifier", modifier.to_string());
    }
    put_map(&mut table, "params", &mine.params);
    let key = mine.protocol.key();
    if table.is_empty() {
        pairs.put(key, "true");
    } else {
        pairs.put(key, table.inline());
    }
}

fn put_tls(pairs: &mut Pairs, tls: &BackendTls) {
    let mut table = Pairs::default();
    for (key, path) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
        if let Some(path) = path {
            table.put(key, quoted(&path.to_string_lossy()));
        }
    }
    if let Some(name) = &tls.name {
        table.put("name", quoted(name));
    }
    table.put_unless("verify", &tls.verify, &true, ToString::to_string);
    if table.is_empty() {
        pairs.put("tls", "true");
    } else {
        pairs.put("tls", table.inline());
    }
}

fn of_backend(pairs: &mut Pairs, mine: &Backend) {
    pairs.put("servers", list(mine.servers.iter().map(server)));
    put_check(pairs, &mine.check);
    if let Some(tls) = &mine.tls {
        put_tls(pairs, tls);
    }
    put_proxy(pairs, mine.send_proxy);
    put_fastcgi(pairs, mine.fastcgi.as_deref());
    if let Some(source) = mine.source {
        pairs.put("source", quoted(&source.to_string()));
    }
    spread::put(pairs, &mine.spread);
    pairs.put_unless("resolve", &mine.resolve, &RESOLVE, |every| {
        quoted(&duration::show(*every))
    });
    put_timeouts(pairs, &mine.timeouts);
}

fn server(server: &BackendServer) -> String {
    let address = server.address.to_string();
    let mut table = Pairs::default();
    table.put("address", quoted(&address));
    table.put_unless("name", &server.name, &address, |name| quoted(name));
    table.put_unless("weight", &server.weight, &1, ToString::to_string);
    table.put_unless("backup", &server.backup, &false, ToString::to_string);
    put_max_connections(&mut table, server.max_connections);
    if let Some(id) = &server.stick_id {
        table.put("stick-id", quoted(id));
    }
    if table.len() == 1 {
        quoted(&address)
    } else {
        table.inline()
    }
}

fn put_max_connections(pairs: &mut Pairs, most: Option<u32>) {
    if let Some(most) = most {
        pairs.put("max-connections", most.to_string());
    }
}

fn command(command: &[String]) -> String {
    array(command.iter().map(|word| quoted(word)))
}

fn put_map(pairs: &mut Pairs, name: &str, map: &BTreeMap<String, String>) {
    if map.is_empty() {
        return;
    }
    let mut table = Pairs::default();
    for (key, value) in map {
        table.put(key, quoted(value));
    }
    pairs.put(name, table.inline());
}

fn put_check(pairs: &mut Pairs, check: &Check) {
    let mut table = Pairs::default();
    let timing = match check {
        Check::Off => return pairs.put("check", "false"),
        Check::Tcp(timing) => timing,
        Check::Tls(timing) => {
            table.put("tls", "true");
            timing
        }
        Check::Http(request, timing) => {
            table.put("path", quoted(&request.path));
            if let Some(host) = &request.host {
                table.put("host", quoted(host));
            }
            if request.method != "GET" {
                table.put("method", quoted(&request.method));
            }
            if !request.status.is_empty() {
                table.put("status", list(request.status.iter().map(statuses)));
            }
            for (key, expected) in [("contains", &request.contains), ("lacks", &request.lacks)] {
                if let Some(expected) = expected {
                    table.put(key, quoted(&expected.to_string()));
                }
            }
            if request.tls {
                table.put("tls", "true");
            }
            timing
        }
        Check::Talk(turns, timing) => {
            match &turns[..] {
                [turn] if *turn != Turn::default() => put_turn(&mut table, turn),
                turns => {
                    let tables = turns.iter().map(|turn| {
                        let mut pairs = Pairs::default();
                        put_turn(&mut pairs, turn);
                        pairs.inline()
                    });
                    table.put("talk", array(tables));
                }
            }
            timing
        }
    };
    if let Some(port) = timing.port {
        table.put("port", port.to_string());
    }
    let first = check::timing(None);
    let usual = check::timing(Some(timing.every));
    let show = |duration: &std::time::Duration| quoted(&duration::show(*duration));
    table.put_unless("every", &timing.every, &first.every, show);
    table.put_unless("fast", &timing.fast, &usual.fast, show);
    table.put_unless("rise", &timing.rise, &usual.rise, ToString::to_string);
    table.put_unless("fall", &timing.fall, &usual.fall, ToString::to_string);
    table.put_unless("timeout", &timing.timeout, &usual.timeout, show);
    table.put_unless("errors", &timing.errors, &0, ToString::to_string);
    if !table.is_empty() {
        pairs.put("check", table.inline());
    }
}

fn put_turn(table: &mut Pairs, turn: &Turn) {
    if let Some(sent) = &turn.send {
        table.put("send", quoted(&sent.to_string()));
    }
    if let Some(expected) = &turn.expect {
        table.put("expect", quoted(&expected.to_string()));
    }
}

pub(super) fn statuses(range: &RangeInclusive<u16>) -> String {
    let (from, to) = (range.start(), range.end());
    if from == to {
        from.to_string()
    } else {
        quoted(&format!("{from}-{to}"))
    }
}

fn put_timeouts(pairs: &mut Pairs, timeouts: &Timeouts) {
    put_timeouts_unless(pairs, timeouts, &Timeouts::default());
}

/// Puts those that differ from what is usual.
pub(crate) fn put_timeouts_unless(pairs: &mut Pairs, timeouts: &Timeouts, usual: &Timeouts) {
    let mut table = Pairs::default();
    for (name, mine, usual) in [
        ("head", timeouts.head, usual.head),
        ("body", timeouts.body, usual.body),
        ("idle", timeouts.idle, usual.idle),
        ("connect", timeouts.connect, usual.connect),
        ("first-byte", timeouts.first_byte, usual.first_byte),
    ] {
        table.put_unless(name, &mine, &usual, |duration| {
            quoted(&duration::show(*duration))
        });
    }
    if !table.is_empty() {
        pairs.put("timeouts", table.inline());
    }
}
