//! Metrics in Prometheus' text form (exposition format 0.0.4).
//!
//! [`METRICS`] is the table of all of them: the exposition and the reference page are made from it. Names are stable:
//! one that was published keeps its meaning.

use std::fmt::Write as _;

use tandem_telemetry::{Health, ServerStatus, SessionStatus};

use crate::NodeView;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It only grows, until the node ends.
    Counter,
    /// It is what it is.
    Gauge,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Where a metric's values come from.
enum Of {
    /// One, of the node.
    Node(fn(&NodeView) -> u64),
    /// One for each server that this node leads to, labelled `service` and `server`.
    Server(fn(&ServerStatus) -> u64),
    /// One, of the session tier, where the node has part in it.
    Sessions(fn(&SessionStatus) -> u64),
    /// One for each running instance of an application, labelled `app` and `instance`: up, restarts.
    Instance(fn(&tandem_telemetry::AppInstance) -> u64),
}

struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    of: Of,
}

const fn metric(name: &'static str, kind: Kind, help: &'static str, of: Of) -> Metric {
    Metric {
        name,
        kind,
        help,
        of,
    }
}

use Kind::{Counter, Gauge};
use Of::{Instance, Node, Server, Sessions};

static METRICS: &[Metric] = &[
    metric(
        "tandem_connections_accepted_total",
        Counter,
        "Connections accepted.",
        Node(|n| n.counters.accepted),
    ),
    metric(
        "tandem_connections_open",
        Gauge,
        "Connections open now.",
        Node(|n| n.counters.open),
    ),
    metric(
        "tandem_requests_answering",
        Gauge,
        "Requests that are being answered now.",
        Node(|n| n.counters.answering),
    ),
    metric(
        "tandem_requests_total",
        Counter,
        "Requests answered.",
        Node(|n| n.counters.requests),
    ),
    metric(
        "tandem_requests_refused_total",
        Counter,
        "Requests malformed or over a limit.",
        Node(|n| n.counters.refused),
    ),
    metric(
        "tandem_retries_total",
        Counter,
        "Tries at a server after the first.",
        Node(|n| n.counters.retries),
    ),
    metric(
        "tandem_errors_total",
        Counter,
        "Answers of status 500 and above.",
        Node(|n| n.counters.errors),
    ),
    metric(
        "tandem_sent_bytes_total",
        Counter,
        "Bytes sent to clients.",
        Node(|n| n.counters.bytes_out),
    ),
    metric(
        "tandem_panics_total",
        Counter,
        "Panics; each ended one connection.",
        Node(|n| n.counters.panics),
    ),
    metric(
        "tandem_uptime_seconds",
        Gauge,
        "Seconds since the node started.",
        Node(|n| n.uptime),
    ),
    metric(
        "tandem_server_up",
        Gauge,
        "Whether the server gets requests.",
        Server(|s| u64::from(s.health == Health::Up)),
    ),
    metric(
        "tandem_server_weight",
        Gauge,
        "The server's share of new requests.",
        Server(|s| u64::from(s.weight)),
    ),
    metric(
        "tandem_server_requests_total",
        Counter,
        "Requests sent to the server.",
        Server(|s| s.requests),
    ),
    metric(
        "tandem_server_failures_total",
        Counter,
        "Tries at the server that failed.",
        Server(|s| s.failures),
    ),
    metric(
        "tandem_server_in_flight",
        Gauge,
        "Requests in flight at the server.",
        Server(|s| s.in_flight),
    ),
    metric(
        "tandem_app_up",
        Gauge,
        "Whether the instance accepts connections.",
        Instance(|i| u64::from(i.health == Health::Up)),
    ),
    metric(
        "tandem_app_restarts_total",
        Counter,
        "How often the instance was started again.",
        Instance(|i| i.restarts),
    ),
    metric(
        "tandem_sessions_leader_known",
        Gauge,
        "Whether a leader is known.",
        Sessions(|s| u64::from(s.leader.is_some())),
    ),
    metric(
        "tandem_sessions_voters",
        Gauge,
        "Voters of the session tier.",
        Sessions(|s| s.voters.len() as u64),
    ),
    metric(
        "tandem_sessions_voters_in_step",
        Gauge,
        "Voters that follow.",
        Sessions(in_step),
    ),
    metric(
        "tandem_sessions_items",
        Gauge,
        "Items held here.",
        Sessions(|s| s.items),
    ),
    metric(
        "tandem_sessions_bytes",
        Gauge,
        "Bytes the items take.",
        Sessions(|s| s.bytes),
    ),
    metric(
        "tandem_sessions_limit_bytes",
        Gauge,
        "Bytes they may take.",
        Sessions(|s| s.limit),
    ),
    metric(
        "tandem_sessions_applied_index",
        Gauge,
        "The last log index applied here.",
        Sessions(|s| s.applied),
    ),
];

fn in_step(sessions: &SessionStatus) -> u64 {
    let up = |health: Health| health == Health::Up;
    let voters = sessions.voters.iter();
    voters.filter(|voter| up(voter.health)).count() as u64
}

/// All metrics of a node.
pub(crate) fn exposition(view: &NodeView) -> String {
    let mut out = String::with_capacity(4096);
    for metric in METRICS {
        let Metric {
            name, kind, help, ..
        } = metric;
        let mut lines = String::new();
        // Names are of letters, digits, dashes and dots: nothing to escape.
        match metric.of {
            Of::Node(value) => {
                let _ = writeln!(lines, "{name} {}", value(view));
            }
            Of::Sessions(value) => {
                if let Some(sessions) = &view.status.sessions {
                    let _ = writeln!(lines, "{name} {}", value(sessions));
                }
            }
            Of::Server(value) => {
                for service in &view.status.services {
                    for server in &service.servers {
                        let _ = writeln!(
                            lines,
                            "{name}{{service=\"{}\",server=\"{}\"}} {}",
                            service.name,
                            server.name,
                            value(server)
                        );
                    }
                }
            }
            Of::Instance(value) => {
                for app in &view.status.apps {
                    for instance in &app.instances {
                        let _ = writeln!(
                            lines,
                            "{name}{{app=\"{}\",instance=\"{}\"}} {}",
                            app.name,
                            instance.index,
                            value(instance)
                        );
                    }
                }
            }
        }
        if !lines.is_empty() {
            let kind = kind.name();
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
        }
    }
    out
}

/// `docs/reference/metrics.md`
pub fn reference() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         <!-- Made from the table of metrics (crates/admin/src/metrics.rs): change it there. -->\n\n\
         `GET /metrics` at a node's admin address, in Prometheus' text form (0.0.4). Names and meanings are stable.\n\n\
         | metric | kind | labels | |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels = match metric.of {
            Of::Node(_) | Of::Sessions(_) => "",
            Of::Server(_) => "`service`, `server`",
            Of::Instance(_) => "`app`, `instance`",
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {labels} | {} |",
            metric.name,
            metric.kind.name(),
            metric.help
        );
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_made_from_the_table() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/metrics.md"
        );
        let text = super::reference();
        if std::env::var_os("TANDEM_WRITE_REFERENCE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            text,
            "write it anew: TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-admin the_reference"
        );
    }
}
