//! Metrics in Prometheus' text form (exposition format 0.0.4).

use std::fmt::Write as _;

use tandem_telemetry::Health;

use crate::NodeView;

/// All metrics of a node.
pub(crate) fn exposition(view: &NodeView) -> String {
    let mut out = String::with_capacity(4096);
    let c = &view.counters;
    for (name, kind, help, value) in [
        (
            "tandem_connections_accepted_total",
            "counter",
            "Connections accepted.",
            c.accepted,
        ),
        (
            "tandem_connections_open",
            "gauge",
            "Connections open now.",
            c.open,
        ),
        (
            "tandem_requests_total",
            "counter",
            "Requests answered.",
            c.requests,
        ),
        (
            "tandem_requests_refused_total",
            "counter",
            "Requests malformed or over a limit.",
            c.refused,
        ),
        (
            "tandem_retries_total",
            "counter",
            "Tries at a server after the first.",
            c.retries,
        ),
        (
            "tandem_errors_total",
            "counter",
            "Answers of status 500 and above.",
            c.errors,
        ),
        (
            "tandem_sent_bytes_total",
            "counter",
            "Bytes sent to clients.",
            c.bytes_out,
        ),
        (
            "tandem_panics_total",
            "counter",
            "Panics; each ended one connection.",
            c.panics,
        ),
        (
            "tandem_uptime_seconds",
            "gauge",
            "Seconds since the node started.",
            view.uptime,
        ),
    ] {
        let _ = writeln!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    }
    servers(&mut out, view);
    sessions(&mut out, view);
    out
}

fn servers(out: &mut String, view: &NodeView) {
    for (name, kind, help) in [
        (
            "tandem_server_up",
            "gauge",
            "Whether the server gets requests.",
        ),
        (
            "tandem_server_requests_total",
            "counter",
            "Requests sent to the server.",
        ),
        (
            "tandem_server_failures_total",
            "counter",
            "Tries at the server that failed.",
        ),
        (
            "tandem_server_in_flight",
            "gauge",
            "Requests in flight at the server.",
        ),
    ] {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for service in &view.status.services {
            for server in &service.servers {
                let value = match name {
                    "tandem_server_up" => u64::from(server.health == Health::Up),
                    "tandem_server_requests_total" => server.requests,
                    "tandem_server_failures_total" => server.failures,
                    _ => server.in_flight,
                };
                // Names are of letters, digits, dashes and dots: nothing to escape.
                let _ = writeln!(
                    out,
                    "{name}{{service=\"{}\",server=\"{}\"}} {value}",
                    service.name, server.name
                );
            }
        }
    }
}

fn sessions(out: &mut String, view: &NodeView) {
    let Some(sessions) = &view.status.sessions else {
        return;
    };
    let in_step = sessions
        .voters
        .iter()
        .filter(|voter| voter.health == Health::Up)
        .count() as u64;
    for (name, help, value) in [
        (
            "tandem_sessions_leader_known",
            "Whether a leader is known.",
            u64::from(sessions.leader.is_some()),
        ),
        (
            "tandem_sessions_voters",
            "Voters of the session tier.",
            sessions.voters.len() as u64,
        ),
        (
            "tandem_sessions_voters_in_step",
            "Voters that follow.",
            in_step,
        ),
        ("tandem_sessions_items", "Items held here.", sessions.items),
        (
            "tandem_sessions_bytes",
            "Bytes the items take.",
            sessions.bytes,
        ),
        (
            "tandem_sessions_limit_bytes",
            "Bytes they may take.",
            sessions.limit,
        ),
        (
            "tandem_sessions_applied_index",
            "The last log index applied here.",
            sessions.applied,
        ),
    ] {
        let _ = writeln!(
            out,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
        );
    }
}
