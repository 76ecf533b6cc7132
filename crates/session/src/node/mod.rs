//! A node that holds a replica: Raft, its storage, and what replicas and agents ask of it.
//!
//! All of it runs on one thread of its own, so that an operation goes through it without being handed from core to
//! core; only snapshots are written and read elsewhere.

mod clients;
mod failover;
mod guard;
mod members;
mod network;
mod observe;
mod reads;
mod replicas;
mod view;
mod writes;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use tandem_model::Pattern;
use tandem_net::cluster::{Accepted, ClusterKey, Purposes, serve};
use tandem_telemetry::Telemetry;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::home::Home;
use crate::machine::{Machine, Shared};
use crate::peers::Peers;
pub use crate::peers::Voter;
use crate::types::Types;
use crate::wire;
use clients::Clients;
use failover::run as watch_leader;
use guard::Guard;
use members::Members;
use network::Networks;
use observe::Observer;
use reads::Reads;
use replicas::Replicas;
use view::{ClusterView, Published};
use writes::Writes;

type Raft = openraft::Raft<Types, Machine>;

/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// A follower that heard from its leader votes for nobody else for so long, and campaigns [`ELECTION_MIN`] to this
/// long after, unless the leader is known to be gone ([`failover`]).
const LEADER_LEASE: Duration = Duration::from_millis(300);
const ELECTION_MIN: Duration = Duration::from_millis(200);
/// Handing leadership over before a stop takes at most so long.
const HAND_OVER: Duration = Duration::from_secs(2);

/// What a node needs to know to hold a replica.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The node's name in the file.
    pub node: String,
    /// All nodes that hold a replica, in the order of the file, this one included. The first forms the cluster.
    pub voters: Vec<Voter>,
    /// Where log, vote and snapshots are. Nothing else is kept there.
    pub state: PathBuf,
    /// Bytes that items may take.
    pub memory: u64,
    /// Whether an acknowledgement waits for the disks of a majority.
    pub durable: bool,
    /// Keys whose delete forbids a plain `set`, and for how long.
    pub guard: Option<(Vec<Pattern>, Duration)>,
    /// The address to connect from, when it matters.
    pub outgoing: Option<IpAddr>,
    /// The cluster's key.
    pub key: ClusterKey,
}

/// Why a replica cannot be started: what was being done, and what came of it.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A replica that runs. Dropping it stops it as a crash would; [`Self::stop`] hands leadership over first.
pub struct SessionNode {
    voters: watch::Sender<Arc<[Voter]>>,
    purposes: Purposes,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

impl SessionNode {
    /// Opens the state directory, starts the replica on a thread of its own and registers it at the cluster port.
    /// Returns when its state is loaded; the cluster forms, or takes it in, by itself.
    pub async fn start(
        options: NodeOptions,
        purposes: &Purposes,
        telemetry: &Telemetry,
    ) -> Result<Self, StartError> {
        let (voters, watched) = watch::channel(Arc::from(options.voters.clone()));
        let (started, starting) = oneshot::channel();
        let (stop, stopping) = oneshot::channel();
        let (finished, ended) = oneshot::channel::<()>();
        let (thread_purposes, telemetry) = (purposes.clone(), telemetry.clone());
        let thread = thread::Builder::new()
            .name("session".into())
            .spawn(move || {
                let _finished = finished;
                let running = Running::open(&options, telemetry, watched);
                match running {
                    Ok((runtime, running)) => {
                        runtime.block_on(running.run(options, thread_purposes, started, stopping));
                        // What is being written to disk is finished; nothing is waited for on the network.
                        runtime.shutdown_timeout(Duration::from_secs(5));
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            });
        thread.map_err(|error| {
            StartError(format!(
                "could not start the thread of the session node: {error}"
            ))
        })?;
        match starting.await {
            Ok(Ok(())) => Ok(Self {
                voters,
                purposes: purposes.clone(),
                stop: Some(stop),
                ended,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError(
                "the session node ended while it was starting".into(),
            )),
        }
    }

    /// Says which nodes the file names now. The leader takes in and lets go accordingly.
    pub fn set_voters(&self, voters: Vec<Voter>) {
        self.voters.send_replace(voters.into());
    }

    /// Stops as a crash would: nothing is handed over. Returns when the state directory is free again.
    pub async fn crash(mut self) {
        self.stop = None;
        // Never sent on: it resolves when the thread is done.
        let _ = (&mut self.ended).await;
    }

    /// Hands leadership over, if it is here, and stops.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // Never sent on: it resolves when the thread is done.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for SessionNode {
    fn drop(&mut self) {
        self.purposes.unregister(wire::RAFT);
        self.purposes.unregister(wire::AGENT);
    }
}

struct Running {
    home: Home,
    telemetry: Telemetry,
    voters: watch::Receiver<Arc<[Voter]>>,
}

impl Running {
    fn open(
        options: &NodeOptions,
        telemetry: Telemetry,
        voters: watch::Receiver<Arc<[Voter]>>,
    ) -> Result<(tokio::runtime::Runtime, Self), StartError> {
        let home = Home::open(&options.state, &options.node, options.durable).map_err(|error| {
            let path = options.state.display();
            StartError(format!(
                "could not open the session state in {path}: {error}"
            ))
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                StartError(format!(
                    "could not start the session node's runtime: {error}"
                ))
            })?;
        let running = Self {
            home,
            telemetry,
            voters,
        };
        Ok((runtime, running))
    }

    async fn run(
        mut self,
        options: NodeOptions,
        purposes: Purposes,
        started: oneshot::Sender<Result<(), StartError>>,
        stopping: oneshot::Receiver<()>,
    ) {
        let events = self.telemetry.events.clone();
        let subject = format!("sessions/{}", options.node);
        if let Some(why) = &self.home.lost {
            let what = format!("the state that was here is lost ({why}): joins as a new replica");
            events.warning(subject.clone(), what);
        }
        let was_blank = self.home.log.is_blank();
        let machine = Machine::new(&mut self.home);
        let replica = machine.replica();
        let peers = Peers::new(
            &options.node,
            options.key.clone(),
            options.outgoing,
            self.voters.clone(),
        );
        let peers = Arc::new(peers);
        let votes_from = if was_blank {
            Instant::now()
        } else {
            Instant::now() + LEADER_LEASE + HEARTBEAT
        };
        let config = match config() {
            Ok(config) => Arc::new(config),
            Err(error) => {
                let _ = started.send(Err(StartError(format!("Raft's settings: {error}"))));
                return;
            }
        };
        let log = self.home.log.clone();
        let raft = match Raft::new(
            self.home.id,
            config,
            Networks(peers.clone()),
            log.clone(),
            machine,
        )
        .await
        {
            Ok(raft) => raft,
            Err(error) => {
                let _ = started.send(Err(StartError(format!(
                    "could not start the replica: {error}"
                ))));
                return;
            }
        };
        let view = ClusterView::new(&options.node, &raft);
        let writes = Writes::start(raft.clone(), replica.clone());
        let clients = Arc::new(Clients {
            view: view.clone(),
            replica: replica.clone(),
            reads: Reads::start(raft.clone()),
            writes: writes.clone(),
            peers: peers.clone(),
            guard: options
                .guard
                .as_ref()
                .map(|(patterns, hold)| Guard::new(patterns, hold.as_millis() as u64))
                .unwrap_or_default(),
            limit: options.memory,
            pending: AtomicU64::new(0),
            unanswered: std::sync::Mutex::default(),
        });
        let replicas = Arc::new(Replicas {
            id: self.home.id,
            raft: raft.clone(),
            directory: self.home.directory.clone(),
            votes_from,
            incoming: std::sync::Mutex::default(),
        });
        let leader_gone = Arc::new(Notify::new());
        register(
            &purposes,
            clients,
            replicas,
            view.clone(),
            leader_gone.clone(),
        );
        let members = Members {
            raft: raft.clone(),
            view: view.clone(),
            peers: peers.clone(),
            events: events.clone(),
        };
        tokio::spawn(members.run());
        let observer = Observer {
            raft: raft.clone(),
            view: view.clone(),
            replica: replica.clone(),
            log,
            writes,
            events: events.clone(),
            limit: options.memory,
        };
        tokio::spawn(observer.run());
        tokio::spawn(watch_leader(
            raft.clone(),
            view.clone(),
            peers,
            leader_gone,
            votes_from,
        ));
        let elections = raft.clone();
        tokio::spawn(async move {
            sleep_until(votes_from).await;
            elections.runtime_config().elect(true);
        });
        publish(&self.telemetry, &view, replica, options.memory);
        let _ = started.send(Ok(()));

        let ordered = stopping.await.is_ok();
        purposes.unregister(wire::RAFT);
        purposes.unregister(wire::AGENT);
        if ordered {
            hand_over(&raft, &view).await;
            let _ = timeout(HAND_OVER, raft.shutdown()).await;
            events.info(subject, "stopped, as ordered");
        }
    }
}

fn publish(telemetry: &Telemetry, view: &ClusterView, replica: Shared, limit: u64) {
    let published = Published {
        view: view.clone(),
        replica,
        limit,
    };
    telemetry.registry.publish("sessions", Arc::new(published));
}

/// Takes the cluster port's connections over to this runtime.
fn register(
    purposes: &Purposes,
    clients: Arc<Clients>,
    replicas: Arc<Replicas>,
    view: ClusterView,
    leader_gone: Arc<Notify>,
) {
    // As many as the port lets through are far fewer than this.
    let (connections, mut accepted) = mpsc::channel::<(bool, Accepted)>(8 * 1024);
    let from_replicas = connections.clone();
    // A full queue closes the connection; its other side tries again.
    purposes.register(wire::RAFT, move |connection| {
        let _ = from_replicas.try_send((true, connection));
    });
    purposes.register(wire::AGENT, move |connection| {
        let _ = connections.try_send((false, connection));
    });
    tokio::spawn(async move {
        while let Some((from_replica, connection)) = accepted.recv().await {
            let (clients, replicas) = (clients.clone(), replicas.clone());
            let (view, leader_gone) = (view.clone(), leader_gone.clone());
            tokio::spawn(async move {
                // How a connection ends is its other side's business; it makes another.
                if from_replica {
                    let peer = connection.peer.clone();
                    let _ = serve(connection, |body| replicas.clone().answer(body)).await;
                    if view.leader().is_some_and(|leader| leader.name == peer) {
                        leader_gone.notify_one();
                    }
                } else {
                    let _ = serve(connection, |body| clients.clone().answer(body)).await;
                }
            });
        }
    });
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

/// Gives leadership to the voter that has most of the log.
async fn hand_over(raft: &Raft, view: &ClusterView) {
    if !view.leads() {
        return;
    }
    let metrics = view.metrics();
    let voters: Vec<_> = metrics.membership_config.membership().voter_ids().collect();
    let matched = metrics.replication.iter().flatten();
    let best = matched
        .filter(|(id, _)| **id != view.id() && voters.contains(id))
        .max_by_key(|(_, matched)| **matched);
    let Some((to, _)) = best else {
        return;
    };
    if raft.trigger().transfer_leader(*to).await.is_ok() {
        let handed_over = async {
            while view.leads() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        // If it does not come about the others elect when this node is gone.
        let _ = timeout(HAND_OVER, handed_over).await;
    }
}
