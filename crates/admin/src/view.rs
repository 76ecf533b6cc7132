//! What the pages show.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tandem_telemetry::counters::Totals;
use tandem_telemetry::{Event, Health, NodeStatus, Telemetry};

/// How many events a page shows.
const EVENTS: usize = 50;

/// What a node is, apart from how it does.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// Its address.
    pub address: String,
    /// What it does, in words of the file: `listener web`, `app shop`, `sessions`.
    pub roles: Vec<String>,
    /// The version of the program.
    pub version: &'static str,
    /// When it started.
    pub started: Instant,
}

/// All that a node says of itself: `GET /api/v1/node`.
#[derive(Clone, Debug, Serialize)]
pub struct NodeView {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The version of the program.
    pub version: &'static str,
    /// The node's process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// What its roles say.
    pub status: NodeStatus,
    /// What time it has, in milliseconds since 1970.
    pub now: u64,
    /// What its workers counted.
    pub counters: Totals,
    /// The last events.
    pub events: Vec<Event>,
}

impl NodeView {
    /// A node as it is now.
    pub fn now(info: &NodeInfo, telemetry: &Telemetry) -> Self {
        Self {
            cluster: info.cluster.clone(),
            node: info.node.clone(),
            version: info.version,
            pid: std::process::id(),
            uptime: info.started.elapsed().as_secs(),
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            status: telemetry.registry.status(),
            counters: telemetry.counters.totals(),
            events: telemetry.events.last(EVENTS),
        }
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// Its process runs, and all it says of itself is well.
    Up,
    /// Its process runs; something is starting, or reduced.
    Partly,
    /// Its process does not run.
    Down,
}

/// One node in a list: `GET /api/v1/nodes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The node's name.
    pub node: String,
    /// What it does.
    pub roles: Vec<String>,
    /// Its address.
    pub address: String,
    /// The node's process.
    pub pid: Option<u32>,
    /// The processes of its applications.
    pub app_pids: Vec<u32>,
    /// How it is.
    pub state: RowState,
    /// Why it is so, when it is not up.
    pub reason: String,
    /// What its roles say.
    pub status: NodeStatus,
    /// Its last events, as text.
    pub events: Vec<String>,
}

impl Row {
    /// A node's own row.
    pub fn now(info: &NodeInfo, telemetry: &Telemetry) -> Self {
        let view = NodeView::now(info, telemetry);
        let (state, reason) = Self::judge(&view.status);
        Self {
            node: view.node,
            roles: info.roles.clone(),
            address: info.address.clone(),
            pid: Some(view.pid),
            app_pids: app_pids(&view.status),
            state,
            reason,
            status: view.status,
            events: view.events.iter().map(line).collect(),
        }
    }

    /// Judges a running node by what it says of itself.
    pub fn judge(status: &NodeStatus) -> (RowState, String) {
        let mut reasons = Vec::new();
        for listener in status.listeners.iter().filter(|l| l.maintenance) {
            reasons.push(format!("listener {}: in maintenance", listener.name));
        }
        for app in &status.apps {
            for instance in app
                .instances
                .iter()
                .filter(|instance| instance.health != Health::Up)
            {
                reasons.push(format!(
                    "{}/{}: {}",
                    app.name, instance.index, instance.reason
                ));
            }
        }
        for service in &status.services {
            for server in service
                .servers
                .iter()
                .filter(|server| server.health != Health::Up)
            {
                reasons.push(format!(
                    "{}/{}: {}",
                    service.name, server.name, server.reason
                ));
            }
        }
        // An agent learns of the leader when it is first asked, and only the leader knows how its followers are.
        if let Some(sessions) = status
            .sessions
            .as_ref()
            .filter(|sessions| sessions.role != "agent")
        {
            if sessions.leader.is_none() {
                reasons.push("sessions: no leader".into());
            }
            let lagging = sessions
                .voters
                .iter()
                .filter(|voter| sessions.role == "leader" && voter.health != Health::Up);
            reasons.extend(lagging.map(|voter| format!("sessions/{}: not in step", voter.node)));
        }
        let state = if reasons.is_empty() {
            RowState::Up
        } else {
            RowState::Partly
        };
        (state, reasons.join("; "))
    }
}

/// Where a page's rows come from: the node itself, or a supervisor that gathers.
pub trait Rows: Send + Sync {
    /// The nodes, as they are now. Must not block.
    fn rows(&self) -> Vec<Row>;
}

impl<R: Rows + ?Sized> Rows for Arc<R> {
    fn rows(&self) -> Vec<Row> {
        (**self).rows()
    }
}

/// The processes of a node's applications.
fn app_pids(status: &NodeStatus) -> Vec<u32> {
    status
        .apps
        .iter()
        .flat_map(|app| &app.instances)
        .filter_map(|instance| instance.pid)
        .collect()
}

fn line(event: &Event) -> String {
    format!(
        "{} {} {}: {}",
        event.at, event.severity, event.subject, event.what
    )
}
