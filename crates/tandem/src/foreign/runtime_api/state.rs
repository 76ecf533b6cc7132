//! `show servers state`, `show servers conn`, `show backend`: lists that scripts read.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use tandem_config::import::{ProxyNames, ServerNames};
use tandem_telemetry::status::CheckOutcome;
use tandem_telemetry::{Health, ServerStatus};

use super::counts::{self, Of, Seen};
use super::session::Session;
use super::stat;
use super::table::Outcome;

const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";

/// `show backend`
pub fn backends(session: &Session) -> Outcome {
    let mut out = String::from("# name\n");
    for proxy in &session.runtime.commands().proxies {
        if proxy.is_back {
            let _ = writeln!(out, "{}", proxy.name);
        }
    }
    Outcome::Text(out)
}

/// `show servers state [BACKEND]`
pub fn servers(session: &Session, backend: Option<&&str>) -> Outcome {
    list(session, backend, STATE.to_owned(), line)
}

/// `show servers conn [BACKEND]`
pub fn connections(session: &Session, backend: Option<&&str>) -> Outcome {
    // Kept connections are each worker's own, and are not counted.
    let head = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb idle_lim idle_cur idle_per_thr[1]\n";
    list(
        session,
        backend,
        head.to_owned(),
        |seen, server, statuses| {
            let (address, port) = place(server, statuses.first());
            let (proxy, used) = (seen.proxy, seen.current);
            format!(
                "{}/{} {}/{} {address} {port} - 0 {used} {used} {used} 0 0 -1 0 0\n",
                proxy.name, server.name, proxy.id, server.id
            )
        },
    )
}

fn list(
    session: &Session,
    backend: Option<&&str>,
    mut out: String,
    line: fn(&Seen<'_>, &ServerNames, &[ServerStatus]) -> String,
) -> Outcome {
    let commands = session.runtime.commands();
    let is = |proxy: &ProxyNames| {
        backend.is_none_or(|name| proxy.name == *name || name.parse() == Ok(proxy.id))
    };
    let mut backends = commands.proxies.iter().filter(|proxy| proxy.is_back);
    if !backends.any(is) {
        return Outcome::Text("Can't find backend.\n".into());
    }
    let Some(node) = session.runtime.node() else {
        return Outcome::Text(out);
    };
    for seen in counts::all(&commands, &node.telemetry) {
        if let Of::Server(server, statuses) = &seen.of
            && is(seen.proxy)
        {
            out.push_str(&line(&seen, server, statuses));
        }
    }
    Outcome::Text(out)
}

fn line(seen: &Seen<'_>, server: &ServerNames, statuses: &[ServerStatus]) -> String {
    let first = statuses.first();
    let (address, port) = place(server, first);
    let health = first.map(|one| one.health);
    let is_up = stat::is_up(statuses);
    // Bits of the guide: maintenance by order, by the file; drained by order.
    let orders = match health {
        Some(Health::Maintenance) if server.is_disabled => 0x05,
        Some(Health::Maintenance) => 0x01,
        Some(Health::Draining) => 0x08,
        _ => 0,
    };
    let check = first.and_then(|one| one.check.as_ref());
    let check = check.filter(|_| server.is_checked);
    let result = match check.map(|check| check.outcome) {
        None => 0,
        Some(CheckOutcome::Passed) => 3,
        Some(_) => 2,
    };
    // Configured and enabled; paused in maintenance.
    let state = match (server.is_checked, health) {
        (false, Some(Health::Maintenance)) => 8,
        (false, _) => 0,
        (true, Some(Health::Maintenance)) => 14,
        (true, _) => 6,
    };
    let level = match (is_up, server.is_checked) {
        (false, _) => 0,
        (true, true) => server.rise + server.fall - 1,
        (true, false) => server.rise,
    };
    let host = server.address.rsplit_once(':').map(|(host, _)| host);
    let name = host.filter(|host| {
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        !is_address && !server.address.starts_with("unix:")
    });
    format!(
        "{} {} {} {} {address} {} {orders} {} {} {} {} {result} {level} {state} 0 0 0 {} {port} - {} 0 - - 0\n",
        seen.proxy.id,
        seen.proxy.name,
        server.id,
        server.name,
        if is_up { 2 } else { 0 },
        stat::weight_of(server, statuses),
        server.weight,
        first.map_or(0, |one| one.changed_ms / 1000),
        stat::check_number(check),
        name.unwrap_or("-"),
        u8::from(server.is_tls),
    )
}

/// The address and port of a server; a path has no port.
fn place(server: &ServerNames, status: Option<&ServerStatus>) -> (String, u16) {
    let text = status.map_or(&server.address, |status| &status.address);
    match text.parse::<SocketAddr>() {
        Ok(address) => (address.ip().to_string(), address.port()),
        // Not looked up yet, or a path.
        Err(_) => match text.rsplit_once(':') {
            Some((_, port)) if !text.starts_with("unix:") => {
                ("-".into(), port.parse().unwrap_or(0))
            }
            _ => (text.clone(), 0),
        },
    }
}
