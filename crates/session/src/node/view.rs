//! The cluster as this replica sees it now.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::type_config::alias::WatchReceiverOf;
use tandem_telemetry::{Health, NodeStatus, SessionStatus, StatusSource, VoterStatus};

use super::Raft;
use super::redundancy::Redundancy;
use crate::machine::Shared;
use crate::rt::{Instant, age};
use crate::snapshot::snapshot_age;
use crate::types::{Member, NodeId, Types};
use crate::wire::Status;

pub type Metrics = openraft::RaftMetrics<Types>;

/// Reads what openraft says of itself. Cheap to clone.
#[derive(Clone)]
pub struct ClusterView {
    name: Arc<str>,
    id: NodeId,
    metrics: WatchReceiverOf<Types, Metrics>,
    /// When a leader was last heard from. Raft alone does not know: its vote says who led when it was written to disk.
    heard: Arc<Mutex<Option<Instant>>>,
    /// The others go on without this replica, and so does its file.
    let_go: Arc<AtomicBool>,
    /// What a change of voters waits for, as long as this replica leads.
    waits: Arc<Mutex<Option<String>>>,
    /// When an agent was last told that this replica does not lead.
    turned_away: Arc<Mutex<Option<Instant>>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A follower that the leader has heard from this long ago is up,
pub const UP_WITHIN_MS: u128 = 500;
/// and down after so long. Between the two it stays what it was: no flapping.
pub const DOWN_AFTER_MS: u128 = 1_000;
/// A voter this many entries behind is catching up.
pub const BEHIND: u64 = 256;

impl ClusterView {
    pub fn new(name: &str, raft: &Raft) -> Self {
        Self {
            name: name.into(),
            id: *raft.node_id(),
            metrics: raft.metrics(),
            heard: Arc::default(),
            let_go: Arc::default(),
            waits: Arc::default(),
            turned_away: Arc::default(),
        }
    }

    /// Its leader has spoken to this replica just now.
    pub fn hears(&self) {
        *lock(&self.heard) = Some(Instant::now());
    }

    /// Notes whether the others, and the file, go on without this replica.
    pub fn set_let_go(&self, is: bool) {
        self.let_go.store(is, Relaxed);
    }

    /// Whether they do.
    pub fn is_let_go(&self) -> bool {
        self.let_go.load(Relaxed)
    }

    /// An agent that asked for something was turned away.
    pub fn turns_away(&self) {
        *lock(&self.turned_away) = Some(Instant::now());
    }

    /// How long ago that was last.
    pub fn turned_away(&self) -> Option<Duration> {
        let at = (*lock(&self.turned_away))?;
        Some(at.elapsed())
    }

    /// Notes what the change of voters waits for that the file wants.
    pub fn set_waits(&self, what: Option<String>) {
        *lock(&self.waits) = what;
    }

    fn waits(&self) -> Option<String> {
        lock(&self.waits).clone().filter(|_| self.leads())
    }

    /// Who leads, when it is this replica or one that it hears.
    pub fn heard_leader(&self, metrics: &Metrics) -> Option<Member> {
        let heard = || *lock(&self.heard);
        let hears = match metrics.state {
            ServerState::Leader => true,
            _ => heard().is_some_and(|at| at.elapsed().as_millis() < DOWN_AFTER_MS),
        };
        leader(metrics).filter(|_| hears)
    }

    /// This replica's node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This replica's identity.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// A copy of the metrics as they are.
    pub fn metrics(&self) -> Metrics {
        self.metrics.borrow_watched().clone()
    }

    /// The metrics as they are, to be looked at and let go of at once.
    pub fn borrow(&self) -> impl Deref<Target = Metrics> {
        self.metrics.borrow_watched()
    }

    /// Whether this replica leads, as far as it knows.
    pub fn leads(&self) -> bool {
        let metrics = self.metrics.borrow_watched();
        metrics.current_leader == Some(self.id) && metrics.state == ServerState::Leader
    }

    /// Who leads, as far as this replica knows; it may have been a while ago.
    pub fn leader(&self) -> Option<Member> {
        leader(&self.metrics.borrow_watched())
    }

    /// What other nodes are told.
    pub fn status(&self, replica: &Shared, limit: u64) -> Status {
        let replica = replica.look();
        let metrics = self.metrics.borrow_watched();
        Status {
            name: self.name.to_string(),
            id: self.id,
            // A vote alone does not count: who has no log has acknowledged nothing.
            initialized: metrics.last_log_index.is_some(),
            leader: self.heard_leader(&metrics),
            term: metrics.current_term,
            applied: replica.applied.map_or(0, |log_id| log_id.index()),
            items: replica.state.items(),
            bytes: replica.state.bytes(),
            limit,
        }
    }

    /// Whether this replica is part of a cluster, as far as it knows.
    pub fn takes_part(&self) -> bool {
        let metrics = self.metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        membership.get_node(&self.id).is_some() && !self.is_let_go()
    }

    /// Whether a replica is part of the cluster, as was decided last.
    pub fn knows(&self, id: NodeId) -> bool {
        let metrics = self.metrics.borrow_watched();
        let decided = metrics.committed_membership_config.membership();
        let planned = metrics.membership_config.membership();
        decided.get_node(&id).is_some() || planned.get_node(&id).is_some()
    }

    /// Those that vote by what was decided last, and the place of that in the log.
    pub fn voters_decided(&self) -> Option<(u64, Vec<Member>)> {
        let metrics = self.metrics.borrow_watched();
        let decided = &metrics.committed_membership_config;
        let at = decided.log_id().as_ref()?.index();
        let membership = decided.membership();
        let voters = membership.voter_ids();
        let voters = voters.filter_map(|id| membership.get_node(&id).cloned());
        Some((at, voters.collect()))
    }

    /// The voters with their health, as far as known here.
    pub fn voters(&self) -> Vec<VoterStatus> {
        let metrics = self.metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let is_heard = self.heard_leader(&metrics).is_some();
        let voters = membership.voter_ids().map(|id| {
            let node = membership
                .get_node(&id)
                .map_or_else(|| id.to_string(), |m| m.name.clone());
            let mut heard_ms = None;
            let (health, matched) = if id == self.id {
                heard_ms = Some(0);
                (Health::Up, metrics.last_applied.map(|l| l.index()))
            } else if let (Some(heard), Some(replication)) =
                (&metrics.heartbeat, &metrics.replication)
            {
                let heard = heard.get(&id).and_then(|at| at.as_ref());
                let heard = heard.map(|at| age(at).as_millis());
                heard_ms = heard.and_then(|ms| u64::try_from(ms).ok());
                let health = match heard {
                    Some(0..DOWN_AFTER_MS) => Health::Up,
                    _ => Health::Down,
                };
                let matched = replication
                    .get(&id)
                    .and_then(|m| m.as_ref())
                    .map(openraft::LogId::index);
                (health, matched)
            } else if is_heard && metrics.current_leader == Some(id) {
                (Health::Up, None)
            } else {
                (Health::Starting, None)
            };
            VoterStatus {
                node,
                health,
                matched,
                heard_ms,
            }
        });
        voters.collect()
    }
}

/// Who leads by the vote that this replica has, by name and address.
pub fn leader(metrics: &Metrics) -> Option<Member> {
    let id = metrics.current_leader?;
    metrics
        .membership_config
        .membership()
        .get_node(&id)
        .cloned()
}

/// The part of the node's status that is about sessions.
pub struct Published {
    pub view: ClusterView,
    pub replica: Shared,
    pub limit: u64,
    pub redundancy: Redundancy,
    /// The state directory.
    pub directory: PathBuf,
}

impl StatusSource for Published {
    fn fill(&self, status: &mut NodeStatus) {
        if self.view.is_let_go() {
            // No part of the tier any more; what an agent here sees is its own matter.
            return;
        }
        let voters = self.view.voters();
        let known = self.view.status(&self.replica, self.limit);
        let role = match self.view.metrics.borrow_watched().state {
            ServerState::Leader => "leader",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Learner => "learner",
            ServerState::Shutdown => "stopped",
        };
        status.sessions = Some(SessionStatus {
            role: role.into(),
            leader: known.leader.map(|member| member.name),
            term: known.term,
            applied: known.applied,
            voters,
            items: known.items,
            bytes: known.bytes,
            limit: known.limit,
            snapshot_age_ms: snapshot_age(&self.directory),
            is_degraded: self.redundancy.is_degraded(),
            degraded_ms: self.redundancy.degraded().as_millis() as u64,
            waits: self.view.waits(),
            agent: None,
        });
    }
}
