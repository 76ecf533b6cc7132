//! The table of metrics.

use tandem_telemetry::{AgentStatus, Health, ServerStatus, SessionStatus, Severity};

use super::Kind::{Counter, Gauge, Histogram};
use super::{Kind, Metric, Seen, Series, shared};

/// All of them, by what they are about.
pub(super) static METRICS: &[&[Metric]] = &[
    NODE, LISTENERS, ROUTES, SERVICES, SERVERS, APPS, SESSIONS, PROCESS,
];

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    series: fn(&Seen, &mut Series<'_>),
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
        series,
    }
}

static NODE: &[Metric] = &[
    metric(
        "tandem_build_info",
        Gauge,
        &["version", "node"],
        "1; what runs here is in the labels.",
        |seen, out| out.put(&[seen.view.version, &seen.view.node], 1),
    ),
    metric(
        "tandem_uptime_seconds",
        Gauge,
        &[],
        "Seconds since the node started.",
        |seen, out| out.put(&[], seen.view.uptime),
    ),
    metric(
        "tandem_connections_accepted_total",
        Counter,
        &[],
        "Connections accepted.",
        |seen, out| out.put(&[], seen.view.counters.accepted),
    ),
    metric(
        "tandem_connections_open",
        Gauge,
        &[],
        "Connections open now.",
        |seen, out| out.put(&[], seen.view.counters.open),
    ),
    metric(
        "tandem_requests_answering",
        Gauge,
        &[],
        "Requests that are being answered now.",
        |seen, out| out.put(&[], seen.view.counters.answering),
    ),
    metric(
        "tandem_requests_total",
        Counter,
        &[],
        "Requests answered.",
        |seen, out| out.put(&[], seen.view.counters.requests),
    ),
    metric(
        "tandem_requests_refused_total",
        Counter,
        &[],
        "Requests malformed or over a limit.",
        |seen, out| out.put(&[], seen.view.counters.refused),
    ),
    metric(
        "tandem_retries_total",
        Counter,
        &[],
        "Tries at a server after the first.",
        |seen, out| out.put(&[], seen.view.counters.retries),
    ),
    metric(
        "tandem_errors_total",
        Counter,
        &[],
        "Answers of status 500 and above.",
        |seen, out| out.put(&[], seen.view.counters.errors),
    ),
    metric(
        "tandem_sent_bytes_total",
        Counter,
        &[],
        "Bytes sent to clients.",
        |seen, out| out.put(&[], seen.view.counters.bytes_out),
    ),
    metric(
        "tandem_panics_total",
        Counter,
        &[],
        "Panics; each ended one connection.",
        |seen, out| out.put(&[], seen.view.counters.panics),
    ),
    metric(
        "tandem_events_total",
        Counter,
        &["severity"],
        "Events, whatever the log's level.",
        |seen, out| {
            for (severity, count) in Severity::ALL.iter().zip(seen.events) {
                if *severity > Severity::Debug {
                    out.put(&[severity.name()], count);
                }
            }
        },
    ),
];

static LISTENERS: &[Metric] = &[
    metric(
        "tandem_listener_connections_accepted_total",
        Counter,
        &["listener"],
        "Connections that a listener took.",
        |seen, out| {
            for (labels, (accepted, _)) in &seen.listeners {
                out.put(&[&labels[0]], *accepted);
            }
        },
    ),
    metric(
        "tandem_listener_connections_open",
        Gauge,
        &["listener"],
        "Of them, those that are open now.",
        |seen, out| {
            for (labels, (_, open)) in &seen.listeners {
                out.put(&[&labels[0]], *open);
            }
        },
    ),
];

static ROUTES: &[Metric] = &[
    metric(
        "tandem_route_requests_total",
        Counter,
        &["listener", "route", "code"],
        "Requests that a route took, by the class of what was answered.",
        |seen, out| {
            for (labels, answered) in &seen.routes {
                out.codes(&[&labels[0], &labels[1]], &answered.codes);
            }
        },
    ),
    metric(
        "tandem_route_duration_seconds",
        Histogram,
        &["listener", "route"],
        "From a request's head to its answer's end; of a connection that is passed on as it is, its life.",
        |seen, out| {
            for (labels, answered) in &seen.routes {
                out.spread(&[&labels[0], &labels[1]], &answered.time);
            }
        },
    ),
    metric(
        "tandem_route_sent_bytes_total",
        Counter,
        &["listener", "route"],
        "Bytes of their answers.",
        |seen, out| {
            for (labels, answered) in &seen.routes {
                out.put(&[&labels[0], &labels[1]], answered.bytes);
            }
        },
    ),
];

static SERVICES: &[Metric] = &[
    metric(
        "tandem_service_requests_total",
        Counter,
        &["service", "code"],
        "Requests that were answered by a service, or for it where it could not.",
        |seen, out| {
            for (labels, answered) in &seen.services {
                out.codes(&[&labels[0]], &answered.codes);
            }
        },
    ),
    metric(
        "tandem_service_duration_seconds",
        Histogram,
        &["service"],
        "From a request's head to its answer's end, with queue and retries.",
        |seen, out| {
            for (labels, answered) in &seen.services {
                out.spread(&[&labels[0]], &answered.time);
            }
        },
    ),
    metric(
        "tandem_service_sent_bytes_total",
        Counter,
        &["service"],
        "Bytes of its answers.",
        |seen, out| {
            for (labels, answered) in &seen.services {
                out.put(&[&labels[0]], answered.bytes);
            }
        },
    ),
    metric(
        "tandem_service_retries_total",
        Counter,
        &["service"],
        "Tries after the first.",
        |seen, out| {
            for (labels, answered) in &seen.services {
                out.put(&[&labels[0]], answered.retries);
            }
        },
    ),
    metric(
        "tandem_service_servers",
        Gauge,
        &["service"],
        "Its servers; none when it is answered in process.",
        |seen, out| {
            for service in &seen.view.status.services {
                out.put(&[&service.name], service.servers.len() as u64);
            }
        },
    ),
    metric(
        "tandem_service_servers_up",
        Gauge,
        &["service"],
        "Of them, those that get requests.",
        |seen, out| {
            for service in &seen.view.status.services {
                let up = service.servers.iter().filter(|server| is_up(server));
                out.put(&[&service.name], up.count() as u64);
            }
        },
    ),
    metric(
        "tandem_service_queue_length",
        Gauge,
        &["service"],
        "Requests that wait for a server to have room.",
        |seen, out| {
            for service in &seen.view.status.services {
                out.put(&[&service.name], service.waiting);
            }
        },
    ),
    metric(
        "tandem_service_queue_seconds",
        Histogram,
        &["service"],
        "How long requests waited that had to, and got a server.",
        |seen, out| {
            for (labels, queue) in &seen.queues {
                let spread = tandem_telemetry::histogram::Spread::sum(&queue.waited);
                out.spread(&[&labels[0]], &spread);
            }
        },
    ),
    metric(
        "tandem_service_queue_timeouts_total",
        Counter,
        &["service"],
        "Requests that waited for as long as they may and got none.",
        |seen, out| {
            for (labels, queue) in &seen.queues {
                out.put(&[&labels[0]], shared(&queue.late));
            }
        },
    ),
    metric(
        "tandem_service_queue_full_total",
        Counter,
        &["service"],
        "Requests that could not wait, because as many did as may.",
        |seen, out| {
            for (labels, queue) in &seen.queues {
                out.put(&[&labels[0]], shared(&queue.full));
            }
        },
    ),
];

static SERVERS: &[Metric] = &[
    metric(
        "tandem_server_up",
        Gauge,
        &["service", "server"],
        "Whether the server gets requests.",
        |seen, out| servers(seen, |s, labels| out.is(labels, is_up(s))),
    ),
    metric(
        "tandem_server_health",
        Gauge,
        &["service", "server", "health"],
        "1 for what it is: `up`, `down`, `starting`, `draining`, `maintenance`; 0 for the others.",
        |seen, out| {
            servers(seen, |server, labels| {
                for health in Health::ALL {
                    let labels = [labels, &[health.name()]].concat();
                    out.is(&labels, server.health == health);
                }
            });
        },
    ),
    metric(
        "tandem_server_weight",
        Gauge,
        &["service", "server"],
        "The server's share of new requests.",
        |seen, out| servers(seen, |s, labels| out.put(labels, s.weight.into())),
    ),
    metric(
        "tandem_server_requests_total",
        Counter,
        &["service", "server"],
        "Requests sent to the server.",
        |seen, out| servers(seen, |s, labels| out.put(labels, s.requests)),
    ),
    metric(
        "tandem_server_failures_total",
        Counter,
        &["service", "server"],
        "Tries at the server that failed.",
        |seen, out| servers(seen, |s, labels| out.put(labels, s.failures)),
    ),
    metric(
        "tandem_server_in_flight",
        Gauge,
        &["service", "server"],
        "Requests in flight at the server.",
        |seen, out| servers(seen, |s, labels| out.put(labels, s.in_flight)),
    ),
    metric(
        "tandem_server_responses_total",
        Counter,
        &["service", "server", "code"],
        "What the server answered; `none` when the client was gone before.",
        |seen, out| {
            for (labels, (answered, _)) in &seen.servers {
                out.codes(&[&labels[0], &labels[1]], &answered.codes);
            }
        },
    ),
    metric(
        "tandem_server_duration_seconds",
        Histogram,
        &["service", "server"],
        "From a try's beginning to the end of its answer.",
        |seen, out| {
            for (labels, (answered, _)) in &seen.servers {
                out.spread(&[&labels[0], &labels[1]], &answered.time);
            }
        },
    ),
    metric(
        "tandem_server_first_byte_seconds",
        Histogram,
        &["service", "server"],
        "From having a connection to the answer's first byte.",
        |seen, out| {
            for (labels, (_, first_byte)) in &seen.servers {
                out.spread(&[&labels[0], &labels[1]], first_byte);
            }
        },
    ),
];

static APPS: &[Metric] = &[
    metric(
        "tandem_app_up",
        Gauge,
        &["app", "instance"],
        "Whether the instance accepts connections.",
        |seen, out| {
            instances(seen, |i, labels| {
                out.is(labels, i.health == Health::Up);
            });
        },
    ),
    metric(
        "tandem_app_restarts_total",
        Counter,
        &["app", "instance"],
        "How often the instance was started again.",
        |seen, out| instances(seen, |i, labels| out.put(labels, i.restarts)),
    ),
];

static SESSIONS: &[Metric] = &[
    metric(
        "tandem_sessions_leader_known",
        Gauge,
        &[],
        "Whether a leader is known.",
        |seen, out| sessions(seen, |s| out.is(&[], s.leader.is_some())),
    ),
    metric(
        "tandem_sessions_leading",
        Gauge,
        &[],
        "Whether it is this node.",
        |seen, out| sessions(seen, |s| out.is(&[], s.role == "leader")),
    ),
    metric(
        "tandem_sessions_term",
        Gauge,
        &[],
        "The term: it grows with every election.",
        |seen, out| sessions(seen, |s| out.put(&[], s.term)),
    ),
    metric(
        "tandem_sessions_voters",
        Gauge,
        &[],
        "Voters of the session tier.",
        |seen, out| sessions(seen, |s| out.put(&[], s.voters.len() as u64)),
    ),
    metric(
        "tandem_sessions_voters_in_step",
        Gauge,
        &[],
        "Voters that follow.",
        |seen, out| {
            sessions(seen, |s| {
                let follow = s.voters.iter().filter(|voter| voter.health == Health::Up);
                out.put(&[], follow.count() as u64);
            });
        },
    ),
    metric(
        "tandem_sessions_items",
        Gauge,
        &[],
        "Items held here.",
        |seen, out| sessions(seen, |s| out.put(&[], s.items)),
    ),
    metric(
        "tandem_sessions_bytes",
        Gauge,
        &[],
        "Bytes the items take.",
        |seen, out| sessions(seen, |s| out.put(&[], s.bytes)),
    ),
    metric(
        "tandem_sessions_limit_bytes",
        Gauge,
        &[],
        "Bytes they may take.",
        |seen, out| sessions(seen, |s| out.put(&[], s.limit)),
    ),
    metric(
        "tandem_sessions_applied_index",
        Gauge,
        &[],
        "The last log index applied here.",
        |seen, out| sessions(seen, |s| out.put(&[], s.applied)),
    ),
    metric(
        "tandem_sessions_voter_lag_entries",
        Gauge,
        &[],
        "On the leader: entries of the log that the voter furthest behind lacks.",
        |seen, out| sessions(seen, |s| out.put(&[], lag(s))),
    ),
    metric(
        "tandem_sessions_degraded",
        Gauge,
        &[],
        "Whether this node leads and changes are not on all voters.",
        |seen, out| sessions(seen, |s| out.is(&[], s.is_degraded)),
    ),
    metric(
        "tandem_sessions_degraded_seconds_total",
        Counter,
        &[],
        "Time in which that was so.",
        |seen, out| sessions(seen, |s| out.seconds(&[], s.degraded_ms * 1000)),
    ),
    metric(
        "tandem_sessions_snapshot_age_seconds",
        Gauge,
        &[],
        "Time since the snapshot on disk here was taken, where there is one.",
        |seen, out| {
            sessions(seen, |s| {
                if let Some(age) = s.snapshot_age_ms {
                    out.seconds(&[], age * 1000);
                }
            });
        },
    ),
    metric(
        "tandem_agent_operations_total",
        Counter,
        &[],
        "Requests of the agent here to the leader of the session tier.",
        |seen, out| agent(seen, |a| out.put(&[], a.operations)),
    ),
    metric(
        "tandem_agent_retries_total",
        Counter,
        &[],
        "How often the agent sent one again.",
        |seen, out| agent(seen, |a| out.put(&[], a.retries)),
    ),
    metric(
        "tandem_agent_failed_total",
        Counter,
        &[],
        "Those given up and certainly not done.",
        |seen, out| agent(seen, |a| out.put(&[], a.failed)),
    ),
    metric(
        "tandem_agent_unknown_total",
        Counter,
        &[],
        "Those given up that may have been done: outcome unknown.",
        |seen, out| agent(seen, |a| out.put(&[], a.unknown)),
    ),
];

static PROCESS: &[Metric] = &[
    metric(
        "tandem_worker_busy_seconds_total",
        Counter,
        &["worker"],
        "Time that a worker had a processor: its rate is how busy it is, of 1.",
        |seen, out| {
            for (index, worker) in seen.view.status.process.workers.iter().enumerate() {
                out.seconds(&[&index.to_string()], worker.busy_micros);
            }
        },
    ),
    metric(
        "tandem_worker_waited_seconds_total",
        Counter,
        &["worker"],
        "Time that a worker had work and waited for a processor.",
        |seen, out| {
            for (index, worker) in seen.view.status.process.workers.iter().enumerate() {
                out.seconds(&[&index.to_string()], worker.waited_micros);
            }
        },
    ),
    metric(
        "process_cpu_seconds_total",
        Counter,
        &[],
        "Processor time of the whole process.",
        |seen, out| out.seconds(&[], seen.view.status.process.cpu_micros),
    ),
    metric(
        "process_resident_memory_bytes",
        Gauge,
        &[],
        "Memory that it takes.",
        |seen, out| out.put(&[], seen.view.status.process.resident_bytes),
    ),
    metric(
        "process_open_fds",
        Gauge,
        &[],
        "Descriptors that it has open.",
        |seen, out| out.put(&[], seen.view.status.process.descriptors),
    ),
    metric(
        "process_max_fds",
        Gauge,
        &[],
        "Descriptors that it may have open.",
        |seen, out| out.put(&[], seen.view.status.process.descriptor_limit),
    ),
];

fn is_up(server: &ServerStatus) -> bool {
    server.health == Health::Up
}

fn servers(seen: &Seen, mut each: impl FnMut(&ServerStatus, &[&str])) {
    for service in &seen.view.status.services {
        for server in &service.servers {
            each(server, &[&service.name, &server.name]);
        }
    }
}

fn instances(seen: &Seen, mut each: impl FnMut(&tandem_telemetry::AppInstance, &[&str])) {
    for app in &seen.view.status.apps {
        for instance in &app.instances {
            each(instance, &[&app.name, &instance.index.to_string()]);
        }
    }
}

fn agent(seen: &Seen, each: impl FnOnce(&AgentStatus)) {
    if let Some(agent) = seen.view.status.sessions.as_ref().and_then(|s| s.agent) {
        each(&agent);
    }
}

fn lag(sessions: &SessionStatus) -> u64 {
    if sessions.role != "leader" {
        return 0;
    }
    let matched = sessions
        .voters
        .iter()
        .map(|voter| voter.matched.unwrap_or(0));
    let least = matched.min().unwrap_or(sessions.applied);
    sessions.applied.saturating_sub(least)
}

fn sessions(seen: &Seen, each: impl FnOnce(&SessionStatus)) {
    if let Some(sessions) = &seen.view.status.sessions {
        each(sessions);
    }
}
