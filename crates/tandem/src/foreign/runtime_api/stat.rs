//! `show stat`: a row for each frontend, server and backend.

use tandem_config::import::{Level, ProxyNames, ServerNames};
use tandem_telemetry::status::{CheckKind, CheckOutcome, CheckStatus};
use tandem_telemetry::{Health, ServerStatus};

use super::counts::{self, Counted, Of, Seen};
use super::fields::Row;
use super::output;
use super::session::Session;
use super::table::Outcome;
use super::watch::Watched;

/// Kinds of rows, as bits of a number that is asked for.
const FRONTENDS: i64 = 1;
const BACKENDS: i64 = 2;
const SERVERS: i64 = 4;

/// Which rows are wanted.
struct Wanted {
    /// By name, or by number; -1 is all.
    proxy: Option<String>,
    kinds: i64,
    server: i64,
    up: bool,
    no_maintenance: bool,
}

/// `show stat [{<iid>|<proxy>} <type> <sid>] [typed|json] [up|no-maint]`
pub fn show(session: &Session, words: &[&str]) -> Outcome {
    let mut wanted = Wanted {
        proxy: None,
        kinds: -1,
        server: -1,
        up: false,
        no_maintenance: false,
    };
    let commands = session.runtime.commands();
    let mut options = words;
    if let [proxy, kinds, server, rest @ ..] = words {
        let number = |text: &str| text.parse::<i64>().unwrap_or(0);
        wanted.kinds = number(kinds);
        wanted.server = number(server);
        if *proxy != "-1" {
            let id = proxy.parse::<u32>().ok();
            let is = |known: &&ProxyNames| known.name == *proxy || Some(known.id) == id;
            match commands.proxies.iter().find(is) {
                Some(known) => wanted.proxy = Some(known.name.clone()),
                // A number that nobody has shows nothing.
                None if id.is_some() => wanted.kinds = 0,
                None => return Outcome::Text("No such proxy.\n".into()),
            }
        }
        options = rest;
    }
    wanted.up = options.contains(&"up");
    wanted.no_maintenance = options.contains(&"no-maint");
    let rows = rows(session, &wanted);
    Outcome::Text(if options.contains(&"json") {
        output::json(&rows)
    } else if options.contains(&"typed") {
        output::typed(&rows)
    } else {
        output::csv(&rows)
    })
}

fn rows(session: &Session, wanted: &Wanted) -> Vec<Row> {
    let Some(node) = session.runtime.node() else {
        return Vec::new();
    };
    let commands = session.runtime.commands();
    let mut watch = node.watch.borrow_mut();
    let all = counts::all(&commands, &node.telemetry);
    let mut rows = Vec::new();
    for seen in &all {
        let (kind, id) = match &seen.of {
            Of::Front => (FRONTENDS, 0),
            Of::Back(_) => (BACKENDS, 0),
            Of::Server(server, _) => (SERVERS, i64::from(server.id)),
        };
        let is_named = |name: &String| *name == seen.proxy.name;
        if wanted.kinds & kind == 0
            || !wanted.proxy.as_ref().is_none_or(is_named)
            || (wanted.server != -1 && wanted.server != id)
        {
            continue;
        }
        let mut row = row(seen, &all, watch.of(seen));
        if session.level == Level::User {
            // Where servers are, and what takes a client to one, is not for everybody.
            row.hide("addr");
            row.hide("cookie");
        }
        let status = row.get("status").unwrap_or_default();
        let is_server = kind == SERVERS;
        let is_hidden = (wanted.no_maintenance && status.starts_with("MAINT"))
            || (wanted.up && (status.starts_with("MAINT") || status.starts_with("DOWN")));
        if !(is_server && is_hidden) {
            rows.push(row);
        }
    }
    rows
}

fn row(seen: &Seen<'_>, all: &[Seen<'_>], watched: &Watched) -> Row {
    let proxy = seen.proxy;
    let (kind, number, id) = match &seen.of {
        Of::Front => ('F', 0, 0),
        Of::Back(_) => ('B', 1, 0),
        Of::Server(server, _) => ('S', 2, server.id),
    };
    let mut row = Row::new(kind, proxy.id, id);
    row.put("pxname", &proxy.name);
    row.put("svname", seen.of.name());
    row.put("pid", 1);
    row.put("iid", proxy.id);
    row.put("sid", id);
    row.put("type", number);
    row.put("mode", if proxy.is_http { "http" } else { "tcp" });
    row.put("scur", seen.current);
    row.put("smax", watched.current_most);
    let counted = watched.counted(&seen.counted);
    common(&mut row, proxy, &counted, watched);
    match &seen.of {
        Of::Front => front(&mut row, proxy, &counted, watched),
        Of::Server(names, statuses) => server(&mut row, names, statuses, &counted),
        Of::Back(waiting) => back(&mut row, proxy, *waiting, all, watched),
    }
    if !matches!(seen.of, Of::Front) {
        row.put("lbtot", counted.sessions);
        row.put("econ", counted.failures);
        if row.kind == 'B' {
            row.put("wretr", counted.retries);
        }
        for (column, value) in [("ttime", seen.took_ms), ("rtime", seen.first_byte_ms)] {
            row.put(column, value.unwrap_or(0));
        }
    }
    row
}

fn common(row: &mut Row, proxy: &ProxyNames, counted: &Counted, watched: &Watched) {
    row.put("stot", counted.sessions);
    if row.kind != 'S' {
        // Of servers alone they are not counted.
        row.put("bout", counted.bytes);
    }
    row.put("rate", watched.session_rate);
    row.put("rate_max", watched.session_rate_most);
    if !proxy.is_http {
        return;
    }
    let columns = [
        "hrsp_1xx",
        "hrsp_2xx",
        "hrsp_3xx",
        "hrsp_4xx",
        "hrsp_5xx",
        "hrsp_other",
    ];
    for (column, code) in columns.into_iter().zip(counted.codes) {
        row.put(column, code);
    }
    row.put("req_tot", counted.requests);
}

fn front(row: &mut Row, proxy: &ProxyNames, counted: &Counted, watched: &Watched) {
    row.put("status", "OPEN");
    if let Some(most) = proxy.connections {
        row.put("slim", most);
    }
    row.put("rate_lim", 0);
    row.put("conn_rate", watched.session_rate);
    row.put("conn_rate_max", watched.session_rate_most);
    row.put("conn_tot", counted.sessions);
    let is_http = u64::from(proxy.is_http);
    row.put("req_rate", watched.request_rate * is_http);
    row.put("req_rate_max", watched.request_rate_most * is_http);
    row.put("req_tot", counted.requests * is_http);
}

fn back(row: &mut Row, proxy: &ProxyNames, waiting: u64, all: &[Seen<'_>], watched: &Watched) {
    let (mut weight, mut active, mut backup) = (0, 0, 0);
    for seen in all.iter().filter(|seen| seen.proxy.id == proxy.id) {
        let Of::Server(names, statuses) = &seen.of else {
            continue;
        };
        if !is_usable(statuses) {
            continue;
        }
        weight += weight_of(names, statuses);
        if names.is_backup {
            backup += 1;
        } else {
            active += 1;
        }
    }
    row.put("qcur", waiting);
    row.put("qmax", watched.queued_most);
    let is_up = active + backup > 0 || proxy.servers.is_empty();
    row.put("status", if is_up { "UP" } else { "DOWN" });
    row.put("weight", weight);
    row.put("uweight", weight);
    row.put("act", active);
    row.put("bck", backup);
    row.put("algo", &proxy.balance);
}

fn server(row: &mut Row, names: &ServerNames, statuses: &[ServerStatus], counted: &Counted) {
    let status = status(names, statuses);
    let weight = weight_of(names, statuses);
    // What waits, waits for any server of the backend.
    row.put("qcur", 0);
    row.put("qmax", 0);
    if let Some(most) = names.connections {
        row.put("slim", most);
    }
    row.put("status", status);
    row.put("weight", weight);
    row.put("uweight", weight);
    row.put("act", u8::from(!names.is_backup));
    row.put("bck", u8::from(names.is_backup));
    let first = statuses.first();
    row.put("lastchg", first.map_or(0, |one| one.changed_ms / 1000));
    row.put("addr", first.map_or(&names.address, |one| &one.address));
    if let Some(cookie) = &names.cookie {
        row.put("cookie", cookie);
    }
    if !names.is_checked {
        return;
    }
    row.put("chkfail", counted.failed_checks);
    row.put("chkdown", counted.downs);
    row.put("downtime", counted.down_ms / 1000);
    row.put("check_rise", names.rise);
    row.put("check_fall", names.fall);
    let health = if is_up(statuses) {
        names.rise + names.fall - 1
    } else {
        0
    };
    row.put("check_health", health);
    if let Some(check) = first.and_then(|one| one.check.as_ref())
        && status != "MAINT"
    {
        let (code, what) = check_code(check);
        row.put("check_status", code);
        if let Some(status) = check.status {
            row.put("check_code", status);
        }
        row.put("check_duration", check.took_ms);
        row.put("check_desc", what);
        row.put("last_chk", &check.what);
    }
}

/// Whether checks and requests say that it works. Of a backend that nothing leads to nobody has said anything.
pub fn is_up(statuses: &[ServerStatus]) -> bool {
    let is_up = |one: &ServerStatus| !matches!(one.health, Health::Down | Health::Maintenance);
    statuses.is_empty() || statuses.iter().any(is_up)
}

/// Whether it gets new requests.
fn is_usable(statuses: &[ServerStatus]) -> bool {
    let takes = |one: &ServerStatus| matches!(one.health, Health::Up | Health::Starting);
    statuses.is_empty() || statuses.iter().any(|one| takes(one) && one.weight > 0)
}

/// Its share; by the file, as long as it has no address.
pub fn weight_of(names: &ServerNames, statuses: &[ServerStatus]) -> u32 {
    statuses
        .first()
        .map_or(names.weight, |one| one.weight)
        .into()
}

/// Its state in HAProxy's words.
fn status(names: &ServerNames, statuses: &[ServerStatus]) -> &'static str {
    let any = |health: Health| statuses.iter().any(|one| one.health == health);
    if any(Health::Maintenance) {
        "MAINT"
    } else if !is_up(statuses) {
        "DOWN"
    } else if any(Health::Draining) {
        "DRAIN"
    } else if names.is_checked && !statuses.is_empty() {
        "UP"
    } else {
        "no check"
    }
}

/// A check in HAProxy's words: a code, and what it means.
fn check_code(check: &CheckStatus) -> (&'static str, &'static str) {
    use CheckKind::{Http, Talk, Tcp, Tls};
    match (check.outcome, check.kind) {
        (CheckOutcome::Passed, Tcp) => ("L4OK", "Layer4 check passed"),
        (CheckOutcome::Passed, Tls) => ("L6OK", "Layer6 check passed"),
        (CheckOutcome::Passed, Http | Talk) => ("L7OK", "Layer7 check passed"),
        (CheckOutcome::Unreachable, _) | (CheckOutcome::Wrong, Tcp) => {
            ("L4CON", "Layer4 connection problem")
        }
        (CheckOutcome::Late, Tcp) => ("L4TOUT", "Layer4 timeout"),
        (CheckOutcome::Late, Tls) => ("L6TOUT", "Layer6 timeout"),
        (CheckOutcome::Late, Http | Talk) => ("L7TOUT", "Layer7 timeout"),
        (CheckOutcome::Wrong, Tls) => ("L6RSP", "Layer6 invalid response"),
        (CheckOutcome::Wrong, _) if check.status.is_some() => ("L7STS", "Layer7 wrong status"),
        (CheckOutcome::Wrong, _) => ("L7RSP", "Layer7 invalid response"),
    }
}

/// The number that `show servers state` has for a check.
pub fn check_number(check: Option<&CheckStatus>) -> u8 {
    match check.map_or("INI", |check| check_code(check).0) {
        "L4OK" => 6,
        "L4TOUT" => 7,
        "L4CON" => 8,
        "L6OK" => 9,
        "L6TOUT" => 10,
        "L6RSP" => 11,
        "L7TOUT" => 12,
        "L7RSP" => 13,
        "L7OK" => 15,
        "L7STS" => 17,
        _ => 1,
    }
}
