//! A node that holds a replica: Raft, its storage, and what replicas and agents ask of it.
//!
//! All of it runs on one thread of its own, so that an operation goes through it without being handed from core to
//! core; only snapshots are written and read elsewhere.

mod acknowledged;
mod awake;
mod clients;
mod core;
mod distance;
mod elsewhere;
mod failover;
mod guard;
mod hand_over;
mod leaderless;
mod life;
mod members;
mod naming;
mod network;
mod observe;
mod panics;
mod pending;
mod present;
mod reads;
mod redundancy;
mod replicas;
mod step;
mod view;
mod writes;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tandem_model::Pattern;
use tandem_net::cluster::{Accepted, Answer, ClusterKey, Incarnation, Purposes, serve};
use tandem_telemetry::Telemetry;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::machine::Machine;
pub use crate::peers::Voter;
use crate::rt::spawn;
pub use crate::served::Served;
use crate::types::Types;
use crate::watched::caught;
use crate::wire;
pub(crate) use core::Core;
pub use distance::FAR;
pub use elsewhere::{Others, has_sessions};
pub(crate) use observe::Retention;

type Raft = openraft::Raft<Types, Machine>;

/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// A follower that heard from its leader votes for nobody else for so long, and campaigns [`ELECTION_MIN`] to this
/// long after, unless the leader is known to be gone ([`failover`]).
const LEADER_LEASE: Duration = Duration::from_millis(300);
const ELECTION_MIN: Duration = Duration::from_millis(200);
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
    /// Which start of the node this is.
    pub incarnation: Incarnation,
    /// All other nodes of the file. They are asked before a cluster is formed.
    pub others: Others,
    /// Directories beside `state` with the state of nodes that the file does not name: no cluster is formed beside them.
    pub beside: Vec<String>,
    /// What the agent on this node remembers of the tier that served it last.
    pub served: Served,
}

/// Why a replica cannot be started: what was being done, and what came of it.
#[derive(Debug)]
pub struct StartError {
    what: String,
    /// It passes when the disk takes again what is written.
    is_of_disk: bool,
}

impl StartError {
    fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            is_of_disk: false,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for StartError {}

/// A replica that runs. Dropping it stops it as a crash would; [`Self::stop`] hands leadership over first.
pub struct SessionNode {
    voters: watch::Sender<Arc<[Voter]>>,
    purposes: Purposes,
    stop: Option<oneshot::Sender<()>>,
    panic: Arc<Notify>,
    /// Until it is known that the thread is done.
    ended: Option<oneshot::Receiver<()>>,
}

impl SessionNode {
    /// Opens the state directory, starts the replica on a thread of its own and registers it at the cluster port.
    /// Returns when its state is loaded; the cluster forms, or takes it in, by itself. A disk that takes nothing is an event:
    /// the replica starts when it does.
    pub async fn start(
        options: NodeOptions,
        purposes: &Purposes,
        telemetry: &Telemetry,
    ) -> Result<Self, StartError> {
        let (node, starting) = Self::begin(options, purposes, telemetry)?;
        match starting.await {
            Ok(Ok(())) => Ok(node),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::new(
                "the session node ended while it was starting",
            )),
        }
    }

    /// Starts the thread. Not a part of the future above, which is compiled where it is awaited: the whole of Raft would
    /// be compiled there with it.
    fn begin(
        options: NodeOptions,
        purposes: &Purposes,
        telemetry: &Telemetry,
    ) -> Result<(Self, oneshot::Receiver<Result<(), StartError>>), StartError> {
        let (voters, watched) = watch::channel(Arc::from(options.voters.clone()));
        let (started, starting) = oneshot::channel();
        let (stop, stopping) = oneshot::channel();
        let (finished, ended) = oneshot::channel::<()>();
        let panic = Arc::new(Notify::new());
        let life = life::Life {
            options,
            purposes: purposes.clone(),
            telemetry: telemetry.clone(),
            voters: watched,
            stopping,
            told: String::new(),
            panics: panics::Panics::default(),
            panic: panic.clone(),
        };
        let thread = thread::Builder::new()
            .name("session".into())
            .spawn(move || {
                let _finished = finished;
                tandem_net::privilege::let_go();
                life.live(started);
            });
        thread.map_err(|error| {
            StartError::new(format!(
                "could not start the thread of the session node: {error}"
            ))
        })?;
        let node = Self {
            voters,
            purposes: purposes.clone(),
            stop: Some(stop),
            panic,
            ended: Some(ended),
        };
        Ok((node, starting))
    }

    /// Says which nodes the file names now. The leader takes in and lets go accordingly.
    pub fn set_voters(&self, voters: Vec<Voter>) {
        self.voters.send_replace(voters.into());
    }

    /// Has one of the replica's tasks panic, to see what comes of it.
    #[doc(hidden)]
    pub fn panic_on_purpose(&self) {
        self.panic.notify_one();
    }

    /// Waits until the replica's thread has ended by itself, which it should not.
    pub async fn ended(&mut self) {
        let Some(ended) = &mut self.ended else {
            return std::future::pending().await;
        };
        // Never sent on: it resolves when the thread is done.
        let _ = ended.await;
        self.ended = None;
    }

    /// Stops as a crash would: nothing is handed over. Returns when the state directory is free again.
    pub async fn crash(mut self) {
        self.stop = None;
        self.until_ended().await;
    }

    /// Hands leadership over, if it is here, and stops.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.until_ended().await;
    }

    async fn until_ended(&mut self) {
        if self.ended.is_some() {
            self.ended().await;
        }
    }
}

impl Drop for SessionNode {
    fn drop(&mut self) {
        unregister(&self.purposes);
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// A replica, with what is Raft's.
    Replica,
    /// An agent, or a replica that asks as one does.
    Agent,
    /// A node that asks who holds what is stored.
    Blank,
}

/// Answers one connection until it ends. How it does is its other side's business; it makes another.
async fn attend(core: &Core, from: From, connection: Accepted) {
    if from == From::Replica {
        let (peer, cluster) = (connection.peer.clone(), connection.cluster);
        let answer = |body| Answer::Later(core.replicas.clone().answer(body, cluster));
        let _ = serve(connection, answer).await;
        core.connection_ended(&peer);
    } else {
        let told = connection.told;
        let answer = |body: Bytes| {
            // An agent that was told that this replica is part of none is to be told, before it relies on what is here.
            if from == From::Agent && told.is_none() && core.cluster().get().is_some() {
                return Answer::Never;
            }
            core.clients.answer(&body)
        };
        let _ = serve(connection, answer).await;
    }
}

/// Takes the cluster port's connections over to this runtime.
fn register(purposes: &Purposes, core: Core) {
    // As many as the port lets through are far fewer than this.
    let (connections, mut accepted) = mpsc::channel::<(From, Accepted)>(8 * 1024);
    let (from_replicas, from_blank) = (connections.clone(), connections.clone());
    // A full queue closes the connection; its other side tries again.
    let cluster = core.cluster().clone();
    purposes.register_in(&cluster, wire::RAFT, move |connection| {
        let _ = from_replicas.try_send((From::Replica, connection));
    });
    purposes.register_in(&cluster, wire::AGENT, move |connection| {
        let _ = connections.try_send((From::Agent, connection));
    });
    // Whoever asks who holds what is stored does not know whether there is a replica.
    purposes.register(wire::HOLDER, move |connection| {
        let _ = from_blank.try_send((From::Blank, connection));
    });
    spawn(async move {
        while let Some((from, connection)) = accepted.recv().await {
            let core = core.clone();
            // A panic ends the connection: the request that brings it about would bring it about on each leader in turn.
            tokio::spawn(async move {
                let peer = connection.peer.clone();
                if let Err(said) = caught(attend(&core, from, connection)).await {
                    let what =
                        format!("a request of {peer} panicked, its connection is closed: {said}");
                    core.events().error("sessions", what);
                }
            });
        }
    });
}

/// The cluster port's connections are refused from now on.
fn unregister(purposes: &Purposes) {
    for purpose in [wire::RAFT, wire::AGENT, wire::HOLDER] {
        purposes.unregister(purpose);
    }
}
