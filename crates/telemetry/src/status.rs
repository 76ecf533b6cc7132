//! What is, as a snapshot: each role publishes its part, the pages and the command line read it as JSON.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Control;

/// Whether something can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Yes.
    Up,
    /// No.
    Down,
    /// Not known yet: no check has ended.
    Starting,
    /// Yes, but it takes no new requests, by order.
    Draining,
    /// It takes no requests and is not checked, by order.
    Maintenance,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Up,
        Self::Down,
        Self::Starting,
        Self::Draining,
        Self::Maintenance,
    ];

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::Maintenance => "maintenance",
        }
    }
}

/// How a server is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// A connection is opened.
    Tcp,
    /// TLS is spoken.
    Tls,
    /// A request is sent.
    Http,
    /// Bytes are sent and expected.
    Talk,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// All is well.
    Passed,
    /// There was no connection.
    Unreachable,
    /// It took too long.
    Late,
    /// Something else was said than was to be.
    Wrong,
}

/// The last check of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// How it was checked.
    pub kind: CheckKind,
    /// What that came to.
    pub outcome: CheckOutcome,
    /// The status that it answered, where that is what was wrong.
    pub status: Option<u16>,
    /// What was wrong; empty when nothing was.
    pub what: String,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// One server of a service, as this node's edge sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name within the service.
    pub name: String,
    /// `host:port` or `unix:/path`.
    pub address: String,
    /// Whether it gets requests.
    pub health: Health,
    /// Why it is in this state.
    pub reason: String,
    /// Its share of requests.
    pub weight: u16,
    /// Requests in flight from this node.
    pub in_flight: u64,
    /// Requests sent to it.
    pub requests: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Milliseconds since it went down, came up, or was told to do something else.
    #[serde(default)]
    pub changed_ms: u64,
    /// How often it went down.
    #[serde(default)]
    pub downs: u64,
    /// Milliseconds in which it was down.
    #[serde(default)]
    pub down_ms: u64,
    /// Checks that failed while it was up.
    #[serde(default)]
    pub failed_checks: u64,
    /// Its last check.
    #[serde(default)]
    pub check: Option<CheckStatus>,
}

/// One service that this node's listeners route to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name in the file.
    pub name: String,
    /// `site`, `app`, `backend`.
    pub kind: String,
    /// Requests that wait for one of its servers to have room.
    #[serde(default)]
    pub waiting: u64,
    /// Its servers; empty when it is answered in process.
    pub servers: Vec<ServerStatus>,
}

/// One place where requests come in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name in the file.
    pub name: String,
    /// Its addresses on this node.
    pub bind: Vec<String>,
    /// Clients are shown the maintenance page.
    pub maintenance: bool,
    /// Clients that are served nevertheless.
    pub allow: Vec<String>,
    /// Connections that are open.
    pub connections: u64,
}

/// One running instance of an application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppInstance {
    /// Counted from 0.
    pub index: u16,
    /// The process, when there is one.
    pub pid: Option<u32>,
    /// Where it listens.
    pub address: String,
    /// Whether it runs.
    pub health: Health,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it is in this state.
    pub reason: String,
}

/// One application that this node runs or stands before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppStatus {
    /// Its name in the file.
    pub name: String,
    /// Its instances on this node.
    pub instances: Vec<AppInstance>,
}

/// One voter of the session tier as the asked node knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VoterStatus {
    /// The node's name.
    pub node: String,
    /// Whether the leader heard from it lately; on a follower: as far as it knows.
    pub health: Health,
    /// The last log index known to be on it, when known.
    pub matched: Option<u64>,
    /// Milliseconds since it answered the leader last, as the leader knows: `None` on other nodes, and as long as it has
    /// not answered this leader.
    #[serde(default)]
    pub heard_ms: Option<u64>,
}

/// What an agent's operations came to, since its node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Requests to the leader.
    pub operations: u64,
    /// How often one was sent again: to another node, or when somebody led again.
    pub retries: u64,
    /// Those that were given up and certainly not done.
    pub failed: u64,
    /// Those that were given up and may have been done.
    pub unknown: u64,
}

/// The session tier as this node sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SessionStatus {
    /// `leader`, `follower`, `learner`, `candidate` or `agent` (no voter here).
    pub role: String,
    /// Who leads, as far as this node knows.
    pub leader: Option<String>,
    /// The Raft term.
    pub term: u64,
    /// The last log index applied here.
    pub applied: u64,
    /// All voters.
    pub voters: Vec<VoterStatus>,
    /// Items held here.
    pub items: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes they may take.
    pub limit: u64,
    /// Milliseconds since the snapshot that is on disk here was taken.
    #[serde(default)]
    pub snapshot_age_ms: Option<u64>,
    /// Whether this node leads and changes are not on all voters.
    #[serde(default)]
    pub is_degraded: bool,
    /// Milliseconds in which that was so, since the node started.
    #[serde(default)]
    pub degraded_ms: u64,
    /// Where this node leads: what the change of voters that the file wants waits for.
    #[serde(default)]
    pub waits: Option<String>,
    /// The agent here.
    #[serde(default)]
    pub agent: Option<AgentStatus>,
}

/// What the process takes of its machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its workers, by their index.
    pub workers: Vec<WorkerStatus>,
    /// Processor time, in microseconds.
    pub cpu_micros: u64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Descriptors that are open.
    pub descriptors: u64,
    /// Descriptors that may be open.
    pub descriptor_limit: u64,
}

/// What a worker takes of its machine.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Time on a processor, in microseconds.
    pub busy_micros: u64,
    /// Time that it wanted one and had none, in microseconds.
    pub waited_micros: u64,
}

/// All that one node says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Where requests come in.
    #[serde(default)]
    pub listeners: Vec<ListenerStatus>,
    /// Services routed to.
    pub services: Vec<ServiceStatus>,
    /// Applications run.
    pub apps: Vec<AppStatus>,
    /// The session tier.
    pub sessions: Option<SessionStatus>,
    /// Its process.
    #[serde(default)]
    pub process: ProcessStatus,
    /// The first digits of the hash of the configuration that is in effect, secrets left out: whether two nodes run by the
    /// same file.
    #[serde(default)]
    pub file: Option<String>,
}

/// A role's part of the status.
pub trait StatusSource: Send + Sync {
    /// Adds what this role knows, as it is now. Must not block.
    fn fill(&self, status: &mut NodeStatus);
}

/// Where roles register what can be read and what can be done. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    sources: BTreeMap<String, Arc<dyn StatusSource>>,
    controls: BTreeMap<String, Arc<dyn Control>>,
}

impl Registry {
    /// Adds or replaces a source of status under a name of the role's choosing.
    pub fn publish(&self, name: &str, source: Arc<dyn StatusSource>) {
        self.lock().sources.insert(name.into(), source);
    }

    /// Takes a source of status away.
    pub fn withdraw(&self, name: &str) {
        self.lock().sources.remove(name);
    }

    /// Takes `own` away; another source that has come in its place stays.
    pub fn withdraw_own(&self, name: &str, own: &dyn StatusSource) {
        let mut inner = self.lock();
        let shown = inner.sources.get(name);
        if shown.is_some_and(|shown| std::ptr::addr_eq(Arc::as_ptr(shown), own)) {
            inner.sources.remove(name);
        }
    }

    /// Adds or replaces a control, named `service/server` or `listener/name`.
    pub fn control(&self, name: &str, control: Arc<dyn Control>) {
        self.lock().controls.insert(name.into(), control);
    }

    /// Takes `own` away, and shows again what it covered. What has come over it stays.
    pub fn uncover_control(
        &self,
        name: &str,
        own: &dyn Control,
        covered: Option<Arc<dyn Control>>,
    ) {
        let mut inner = self.lock();
        let shown = inner.controls.get(name);
        if !shown.is_some_and(|shown| std::ptr::addr_eq(Arc::as_ptr(shown), own)) {
            return;
        }
        match covered {
            Some(covered) => inner.controls.insert(name.into(), covered),
            None => inner.controls.remove(name),
        };
    }

    /// The names of all controls, sorted.
    pub fn controls(&self) -> Vec<String> {
        self.lock().controls.keys().cloned().collect()
    }

    /// Finds a control by its name.
    pub fn find_control(&self, name: &str) -> Option<Arc<dyn Control>> {
        self.lock().controls.get(name).cloned()
    }

    /// Asks every source.
    pub fn status(&self) -> NodeStatus {
        let sources: Vec<_> = self.lock().sources.values().cloned().collect();
        let mut status = NodeStatus::default();
        for source in sources {
            source.fill(&mut status);
        }
        status
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
