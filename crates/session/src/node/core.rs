//! One replica: Raft on its storage, and the tasks beside it. It knows nothing of threads and sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use tandem_net::cluster::ClusterId;
use tandem_telemetry::{Events, Telemetry};
use tokio::sync::{Notify, watch};

use super::acknowledged::Acknowledged;
use super::clients::Clients;
use super::distance::Distances;
use super::elsewhere::Elsewhere;
use super::failover::run as watch_leader;
use super::guard::Guard;
use super::hand_over;
use super::members::{Members, Recorder};
use super::naming::Naming;
use super::network::{Networks, Rot};
use super::observe::{Observer, Retention};
use super::pending::Pending;
use super::reads::Reads;
use super::redundancy::Redundancy;
use super::replicas::Replicas;
use super::view::{ClusterView, Published};
use super::writes::Writes;
use super::{ELECTION_MIN, HEARTBEAT, LEADER_LEASE, NodeOptions, Raft, StartError};
use crate::home::{Belonging, Home, anew, let_go};
use crate::machine::Machine;
use crate::peers::{Peers, Voter};
use crate::rt::{Instant, sleep, sleep_until, spawn, timeout};
use crate::watched::panicked;

/// How often is looked whether Raft has stopped.
const LOOK: Duration = Duration::from_millis(200);
/// Raft's own end takes at most so long.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Why a replica ended by itself.
pub enum Failed {
    /// One of its tasks panicked, and said this.
    Panicked(String),
    /// Raft stopped, for this reason.
    Stopped(String),
}

/// A replica that runs on the current runtime. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    /// What agents ask.
    pub clients: Arc<Clients>,
    /// What other replicas ask.
    pub replicas: Arc<Replicas>,
    raft: Raft,
    view: ClusterView,
    belonging: Arc<Belonging>,
    leader_gone: Arc<Notify>,
    telemetry: Telemetry,
    /// The state directory stays this replica's for as long as it runs.
    #[cfg_attr(not(test), expect(dead_code, reason = "held, not read"))]
    home: Arc<Home>,
}

impl Core {
    /// Starts the replica of an open state directory, and its tasks.
    pub async fn start(
        mut home: Home,
        options: &NodeOptions,
        voters: watch::Receiver<Arc<[Voter]>>,
        telemetry: &Telemetry,
        retention: Retention,
    ) -> Result<Self, StartError> {
        let events = telemetry.events.clone();
        if let Some(why) = &home.lost {
            let what = format!("the state that was here is lost ({why}): joins as a new replica");
            events.warning(format!("sessions/{}", options.node), what);
        }
        if home.alone {
            let what = "goes on without the others, as ordered: everything in its log counts as committed, and they are taken in as new replicas";
            events.warning(format!("sessions/{}", options.node), what);
        }
        if voters
            .borrow()
            .iter()
            .any(|voter| voter.name == options.node)
        {
            // The file names it again.
            let _ = let_go::unmark(&home.directory);
        } else if !home.log.is_blank() {
            let what = "the file does not name this node as a session node any more, and it was not let go of: what it holds stays part of the tier until others have it";
            events.info("sessions", what);
        }
        if home.holds && anew::is_over(&home.directory).unwrap_or(false) {
            let what = format!(
                "there was an order to begin anew ({}) here: this node holds what is stored, so that it is not carried out",
                anew::ORDER
            );
            events.warning(format!("sessions/{}", options.node), what);
        }
        let was_blank = home.log.is_blank();
        let machine = Machine::new(&mut home);
        let replica = machine.replica();
        let belonging = Belonging::new(&home.directory, home.cluster, home.durable, &home.hold);
        let belonging = Arc::new(belonging);
        let peers = Arc::new(Peers::new(
            (&options.node, options.incarnation),
            options.key.clone(),
            belonging.id().clone(),
            options.outgoing,
            voters,
        ));
        let votes_from = if was_blank {
            Instant::now()
        } else {
            Instant::now() + LEADER_LEASE + HEARTBEAT
        };
        let config =
            config().map_err(|error| StartError::new(format!("Raft's settings: {error}")))?;
        let (log, rot) = (home.log.clone(), Rot::default());
        let distances = Distances::default();
        let raft = Raft::new(
            home.id,
            Arc::new(config),
            Networks {
                peers: peers.clone(),
                acknowledged: Acknowledged::default(),
                rot: rot.clone(),
                distances: distances.clone(),
            },
            log.clone(),
            machine,
        )
        .await
        .map_err(|error| StartError::new(format!("could not start the replica: {error}")))?;
        let view = ClusterView::new(&options.node, &raft);
        let writes = Writes::start(raft.clone(), replica.clone());
        let elsewhere = Arc::new(Elsewhere {
            others: options.others.clone(),
            beside: options.beside.clone(),
            served: options.served.clone(),
            directory: home.directory.clone(),
            since: Instant::now(),
        });
        let clients = Arc::new(Clients {
            view: view.clone(),
            replica: replica.clone(),
            reads: Reads::start(raft.clone(), view.clone()),
            writes: writes.clone(),
            peers: peers.clone(),
            guard: options
                .guard
                .as_ref()
                .map(|(patterns, hold)| Guard::new(patterns, hold.as_millis() as u64))
                .unwrap_or_default(),
            limit: options.memory,
            pending: Pending::default(),
            unanswered: std::sync::Mutex::default(),
            remembered: home.remembered.clone(),
            belonging: belonging.clone(),
            elsewhere: elsewhere.clone(),
            leaving: AtomicBool::new(false),
        });
        let replicas = Arc::new(Replicas {
            id: home.id,
            raft: raft.clone(),
            log: log.clone(),
            events: events.clone(),
            view: view.clone(),
            directory: home.directory.clone(),
            belonging: belonging.clone(),
            votes_from,
            incoming: std::sync::Mutex::default(),
        });
        let members = Members {
            raft: raft.clone(),
            view: view.clone(),
            peers: peers.clone(),
            events: events.clone(),
            remembered: home.remembered.clone(),
            naming: Naming {
                view: view.clone(),
                peers: peers.clone(),
                writes: writes.clone(),
                belonging: belonging.clone(),
            },
            elsewhere,
            log: log.clone(),
        };
        spawn(members.run());
        let recorder = Recorder {
            view: view.clone(),
            directory: home.directory.clone(),
            hold: home.hold.clone(),
            remembered: home.remembered.clone(),
        };
        spawn(recorder.run());
        let redundancy = Redundancy::default();
        let observer = Observer {
            raft: raft.clone(),
            view: view.clone(),
            peers: peers.clone(),
            replica: replica.clone(),
            log,
            writes,
            events,
            limit: options.memory,
            retention,
            rot,
            distances,
            redundancy: redundancy.clone(),
            directory: home.directory.clone(),
        };
        spawn(observer.run());
        let leader_gone = Arc::new(Notify::new());
        spawn(watch_leader(
            raft.clone(),
            view.clone(),
            peers,
            leader_gone.clone(),
            votes_from,
        ));
        let elections = raft.clone();
        spawn(async move {
            sleep_until(votes_from).await;
            elections.runtime_config().elect(true);
        });
        let published = Published {
            view: view.clone(),
            replica,
            limit: options.memory,
            redundancy,
            directory: home.directory.clone(),
        };
        telemetry.registry.publish("sessions", Arc::new(published));
        Ok(Self {
            clients,
            replicas,
            raft,
            view,
            belonging,
            leader_gone,
            telemetry: telemetry.clone(),
            home: Arc::new(home),
        })
    }

    /// A connection that the replica of node `peer` made to this one has ended: its process may be gone.
    pub fn connection_ended(&self, peer: &str) {
        if self.view.leader().is_some_and(|leader| leader.name == peer) {
            self.leader_gone.notify_one();
        }
    }

    /// Ends when Raft has stopped by itself, and says why: its log could not be written, most likely. Also when one of the
    /// replica's tasks has panicked.
    pub async fn failure(&self) -> Failed {
        loop {
            if let Some(said) = panicked() {
                return Failed::Panicked(said);
            }
            if let Err(error) = &self.view.borrow().running_state {
                return Failed::Stopped(error.to_string());
            }
            sleep(LOOK).await;
        }
    }

    /// Where its events go.
    pub fn events(&self) -> &Events {
        &self.telemetry.events
    }

    /// The cluster that it is part of.
    pub fn cluster(&self) -> &ClusterId {
        self.belonging.id()
    }

    /// Its log.
    #[cfg(test)]
    pub fn log(&self) -> &crate::log::LogStore {
        &self.home.log
    }

    /// The cluster as this replica sees it.
    #[cfg(test)]
    pub fn view(&self) -> &ClusterView {
        &self.view
    }

    /// Hands leadership over, if it is here, and stops Raft.
    pub async fn stop(&self) {
        self.clients.reads.give_away();
        self.clients.leaving.store(true, Relaxed);
        hand_over::run(&self.raft, &self.view, &self.clients.peers).await;
        let _ = timeout(SHUTDOWN, self.raft.shutdown()).await;
        let subject = format!("sessions/{}", self.view.name());
        self.telemetry.events.info(subject, "stopped, as ordered");
    }
}

fn config() -> Result<Config, openraft::ConfigError> {
    let config = Config {
        cluster_name: "tandem sessions".into(),
        heartbeat_interval: HEARTBEAT.as_millis() as u64,
        election_timeout_min: ELECTION_MIN.as_millis() as u64,
        // Openraft's lease is its longest election timeout.
        election_timeout_max: LEADER_LEASE.as_millis() as u64,
        snapshot_policy: SnapshotPolicy::Never,
        // The observer says what may go: by bytes, as entries are of any size.
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: 256,
        install_snapshot_timeout: 10_000,
        // Allowed when the promises of the last run are over.
        enable_elect: false,
        enable_pre_vote: Some(true),
        // A leader that was restarted is elected like anyone.
        enable_leader_restore: Some(false),
        // A leader whose heartbeats arrive and whose answers do not must not keep the others from electing.
        quorum_loss_probe_interval: Some(2 * (LEADER_LEASE.as_millis() as u64) + 200),
        ..Config::default()
    };
    config.validate()
}
