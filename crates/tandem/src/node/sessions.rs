//! A node's part in the session tier: a replica behind the cluster port, an agent for its applications.

use std::cell::RefCell;
use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tandem_memcache::listen::{accept, finish, hand_over, serve_local, take_over};
use tandem_memcache::{COMPATIBLE_VERSION, Room, ServerContext, ServerOptions, ServerStats};
use tandem_model::{Address, NodePlan};
use tandem_net::cluster::Purposes;
use tandem_net::listen::BACKLOG;
use tandem_net::near::settle;
use tandem_session::agent::{Agent, AgentOptions, Operator, answer_without};
use tandem_session::node::{NodeOptions, Others, Served, SessionNode, Voter, has_sessions};
use tandem_telemetry::Telemetry;
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::cluster_port::ClusterPort;
use super::names::Names;
use super::succession::{Legacy, Line, Role};
use crate::exit::{Failure, Result};

/// Connections from applications at most.
const MAX_CLIENTS: usize = 10_000;
/// Connections from applications at most, of a node that may open so many descriptors: a part of them, so that listeners, the
/// admin socket and the cluster port have theirs whatever applications do. None on a node without an agent.
pub fn most_clients(plan: &NodePlan, descriptors: u64) -> usize {
    let agent = plan.sessions.as_ref().and_then(|part| part.agent.as_ref());
    let part = usize::try_from(descriptors / 4).unwrap_or(MAX_CLIENTS);
    agent.map_or(0, |_| part.min(MAX_CLIENTS))
}

/// Bytes of large values that the agent has under way for its clients together, from the leader and to it: so many of the
/// largest that a fast client never waits, and a small part of what a machine of applications has.
const ROOM: usize = 32 << 20;
/// Bytes of large requests that the agent has read of its clients together and that are not complete: for as many of the
/// largest.
const INCOMING: usize = 32 << 20;

/// In the state directory, beside what a replica has: which tier served the agent here last.
const SERVED: &str = "tier";

/// Connections that are handed over at once.
const BATCH: usize = 128;

/// Binds the agent's door, if this node has an agent.
pub fn bind_agent(plan: &NodePlan, legacy: &mut Legacy) -> Result<Option<TcpListener>> {
    let Some(address) = plan
        .sessions
        .as_ref()
        .and_then(|sessions| sessions.agent.as_ref())
    else {
        return Ok(None);
    };
    let Address::Tcp { host, port } = address else {
        return Err(Failure::usage(
            "[sessions] agent is a TCP address, like \"127.0.0.1:11211\"",
        ));
    };
    if let Some(socket) = legacy.take_one(Role::Agent, address) {
        return Ok(Some(socket.into()));
    }
    let listener = TcpListener::bind((host.as_str(), *port)).map_err(|error| {
        Failure::usage(format!(
            "the agent cannot listen on {address}: {error}; stop what listens there (a memcached?) or name another \
             address: [sessions] agent = \"127.0.0.1:11212\""
        ))
    })?;
    // Each request of PHP opens a connection, and many come at once. It is as good with fewer.
    let _ = rustix::net::listen(&listener, BACKLOG);
    if let Ok(address) = listener.local_addr() {
        settle(&listener, address.ip());
    }
    let set = listener.set_nonblocking(true);
    set.map_err(|error| Failure::failed(format!("the agent's socket: {error}")))?;
    Ok(Some(listener))
}

/// Says who else may ask the agent, where it is not this machine alone.
pub fn warn_of_strangers(door: Option<&TcpListener>, telemetry: &Telemetry) {
    let Some(Ok(address)) = door.map(TcpListener::local_addr) else {
        return;
    };
    if !address.ip().to_canonical().is_loopback() {
        let what = format!(
            "the agent listens on {address}, which is not of the loopback, and asks nobody who he is: everybody who reaches \
             it reads and writes all sessions"
        );
        telemetry.events.warning("sessions", what);
    }
}

/// The session tier's parts that run here.
pub struct Sessions {
    replica: Option<SessionNode>,
    /// How the replica is started, where there is one.
    options: Option<NodeOptions>,
    agent: Option<Running>,
    /// Asks the leader for the admin API.
    operator: Option<Operator>,
    /// No other node takes part.
    alone: bool,
    /// To whom goes what the process whose place was taken still hands over, if not to the agent. There until that has
    /// handed over all that it had.
    adoption: Weak<RefCell<Option<mpsc::UnboundedSender<OwnedFd>>>>,
}

/// Whoever is to serve the agent's connections, and how long those within a request may take.
struct Heir(mpsc::UnboundedSender<OwnedFd>, Duration);

/// The agent's thread.
struct Running {
    agent: Agent,
    stop: watch::Sender<bool>,
    /// How it is to stop, if not as usual.
    heir: mpsc::UnboundedSender<Heir>,
    /// Connections that another process served.
    clients: mpsc::UnboundedSender<std::net::TcpStream>,
    /// Until it is known that it is done.
    ended: Option<oneshot::Receiver<()>>,
    /// Its listening socket, once more.
    door: TcpListener,
}

impl Sessions {
    /// Starts what the plan says. Returns when the replica's state is loaded and the agent listens; the tier forms by
    /// itself, once the port serves. An agent keeps `sight` true while it reaches a leader, and has so many `clients` at most.
    pub async fn start(
        plan: &NodePlan,
        port: &ClusterPort,
        door: Option<TcpListener>,
        sight: watch::Sender<bool>,
        clients: usize,
        telemetry: &Telemetry,
    ) -> Result<Self> {
        let mut sessions = Self {
            replica: None,
            options: None,
            agent: None,
            operator: None,
            alone: plan.peers.is_empty(),
            adoption: Weak::new(),
        };
        let named = plan.sessions.as_ref().filter(|part| part.voter);
        let former = plan.former.as_ref().filter(|_| has_sessions(&plan.state));
        let replica = named.or(former);
        let served = Served::open(&plan.state.join(SERVED), &telemetry.events);
        if plan.sessions.is_none() && replica.is_none() {
            if let Some(purposes) = port.purposes() {
                tokio::task::spawn_local(async move { answer_without(&purposes, served).await });
            }
            return Ok(sessions);
        }
        let voters = voters(plan, port.address(), &Names::Now)?;
        if let Some(part) = replica {
            sessions.options = Some(NodeOptions {
                node: plan.node.clone(),
                voters: voters.clone(),
                state: plan.state.join("sessions"),
                memory: part.memory.0,
                durable: part.durable,
                guard: part
                    .guard
                    .as_ref()
                    .map(|guard| (guard.keys.clone(), guard.hold)),
                outgoing: plan.outgoing,
                key: port.key.clone(),
                incarnation: port.incarnation,
                others: Others::default(),
                beside: beside(plan),
                served: served.clone(),
            });
            sessions.set_others(others_of(plan, &Names::Now));
            sessions.start_replica(port, telemetry).await?;
        }
        if plan.sessions.is_none() {
            return Ok(sessions);
        }
        let options = AgentOptions {
            node: plan.node.clone(),
            voters,
            outgoing: plan.outgoing,
            key: port.key.clone(),
            incarnation: port.incarnation,
            served,
        };
        sessions.operator = Some(Operator::new(options.clone(), telemetry.events.clone()));
        if let Some(door) = door {
            // A replica answers for its node.
            let purposes = port.purposes().filter(|_| replica.is_none());
            sessions.agent = Some(Running::start(
                options, door, sight, clients, purposes, telemetry,
            )?);
        }
        Ok(sessions)
    }

    /// Starts the replica on the state that it has, where there is one and it does not run.
    pub async fn start_replica(&mut self, port: &ClusterPort, telemetry: &Telemetry) -> Result<()> {
        let wanted = self.options.as_ref().filter(|_| self.replica.is_none());
        if let (Some(options), Some(purposes)) = (wanted, port.purposes()) {
            let replica = SessionNode::start(options.clone(), &purposes, telemetry).await;
            self.replica = Some(replica.map_err(|error| Failure::failed(error.to_string()))?);
        }
        Ok(())
    }

    /// Waits until a thread of these has ended by itself, which it should not: a panic is what ends it. What has ended.
    pub async fn broken(&mut self) -> &'static str {
        let agent = async {
            let Some(agent) = &mut self.agent else {
                return pending().await;
            };
            let Some(ended) = &mut agent.ended else {
                return pending().await;
            };
            let _ = ended.await;
            agent.ended = None;
        };
        let replica = async {
            match &mut self.replica {
                Some(replica) => replica.ended().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = agent => "the agent",
            () = replica => "the replica",
        }
    }

    /// Ends the replica, which hands leadership over first. Its state is free for another process then.
    pub async fn stop_replica(&mut self) {
        if let Some(replica) = self.replica.take() {
            replica.stop().await;
        }
    }

    /// The agent's listening socket, for a process that takes this one's place.
    pub fn share_door(&self) -> std::io::Result<Option<OwnedFd>> {
        let door = self.agent.as_ref().map(|agent| agent.door.try_clone());
        Ok(door.transpose()?.map(OwnedFd::from))
    }

    /// Says which nodes hold a replica now.
    pub fn set_voters(&mut self, voters: Vec<Voter>) {
        // A node alone found its own port and stays where it is; without [sessions] there is nobody to name.
        if voters.is_empty() || (voters.len() < 2 && self.alone) {
            return;
        }
        if let Some(options) = &mut self.options {
            options.voters.clone_from(&voters);
        }
        if let Some(replica) = &self.replica {
            replica.set_voters(voters.clone());
        }
        if let Some(agent) = &self.agent {
            agent.agent.set_voters(voters.clone());
        }
        if let Some(operator) = &self.operator {
            operator.set_voters(voters);
        }
    }

    /// Says which other nodes the file has now.
    pub fn set_others(&self, others: Vec<Voter>) {
        if let Some(options) = &self.options {
            options.others.set(others);
        }
    }

    /// Whom the admin API asks of the sessions, on a node that has part in the tier.
    pub fn operator(&self) -> Option<Operator> {
        self.operator.clone()
    }

    /// Goes on with connections that the agent of another process had.
    pub fn adopt(&mut self, mut clients: mpsc::UnboundedReceiver<std::net::TcpStream>) {
        let Some(agent) = &self.agent else { return };
        let (to, heir) = (agent.clients.clone(), Rc::new(RefCell::new(None)));
        self.adoption = Rc::downgrade(&heir);
        tokio::task::spawn_local(async move {
            while let Some(client) = clients.recv().await {
                // Where nobody is left to serve it, it ends.
                let _ = match &*heir.borrow() {
                    Some(heir) => heir.send(client.into()).is_ok(),
                    None => to.send(client).is_ok(),
                };
            }
        });
    }

    /// Ends the agent, whose connections go over `line` to the process that takes this one's place; those within a
    /// request after that, `within` at most. So do those that still come from the process before this one: nobody else
    /// hears what that says.
    pub async fn retire(mut self, line: Line, within: Duration) {
        let (heir, mut released) = mpsc::unbounded_channel::<OwnedFd>();
        if let Some(next) = self.adoption.upgrade() {
            *next.borrow_mut() = Some(heir.clone());
        }
        let mut ended = None;
        if let Some(agent) = self.agent.take() {
            let _ = agent.heir.send(Heir(heir, within));
            agent.stop.send_replace(true);
            ended = agent.ended;
        } else {
            drop(heir);
        }
        let mut late = pin!(sleep(within));
        let (mut batch, mut waits) = (Vec::new(), true);
        loop {
            tokio::select! {
                biased;
                count = released.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    hand_on(line.clone(), std::mem::take(&mut batch)).await;
                }
                () = &mut late, if waits => {
                    waits = false;
                    if let Some(next) = self.adoption.upgrade() {
                        next.borrow_mut().take();
                    }
                }
            }
        }
        if let Some(ended) = ended {
            let _ = ended.await;
        }
        hand_on(line, Vec::new()).await;
    }

    /// Ends the agent, then the replica, which hands leadership over first.
    pub async fn stop(mut self) {
        if let Some(agent) = self.agent.take() {
            drop(agent.door);
            agent.stop.send_replace(true);
            if let Some(ended) = agent.ended {
                let _ = ended.await;
            }
        }
        self.stop_replica().await;
    }
}

/// The nodes that hold a replica by this plan; none without `[sessions]`.
pub fn voters_of(plan: &NodePlan, names: &Names) -> Result<Vec<Voter>> {
    voters(plan, None, names)
}

/// The other nodes of this plan. One whose name nobody knows cannot be asked for anything.
pub fn others_of(plan: &NodePlan, names: &Names) -> Vec<Voter> {
    let peers = plan.peers.iter();
    let known = peers.filter_map(|(name, host)| {
        Some(Voter {
            name: name.clone(),
            address: names.one_address(host, plan.cluster_port).ok()?,
        })
    });
    known.collect()
}

/// Directories beside this node's own with sessions of nodes that the file does not name: it was called otherwise before, or
/// alone, most likely.
fn beside(plan: &NodePlan) -> Vec<String> {
    let is_named =
        |name: &str| name == plan.node || plan.peers.iter().any(|(peer, _)| peer == name);
    let entries = plan.state.parent().map(std::fs::read_dir);
    let entries = entries.into_iter().flatten().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter(|entry| !entry.file_name().to_str().is_some_and(is_named))
        .filter(|entry| has_sessions(&entry.path()))
        .map(|entry| entry.path().display().to_string())
        .collect();
    found.sort();
    found
}

fn voters(plan: &NodePlan, port: Option<SocketAddr>, names: &Names) -> Result<Vec<Voter>> {
    if plan.peers.is_empty()
        && let Some(address) = port
    {
        return Ok(vec![Voter {
            name: plan.node.clone(),
            address,
        }]);
    }
    let address = |address: &Address| match address {
        Address::Tcp { host, port } => names.one_address(host, *port),
        Address::Unix(_) => Err(Failure::usage("the cluster port is a TCP port")),
    };
    plan.voters
        .iter()
        .map(|voter| {
            Ok(Voter {
                name: voter.name.clone(),
                address: address(&voter.address)?,
            })
        })
        .collect()
}

impl Running {
    /// The agent lives on a thread of its own: what it waits for does not delay checks, nor they it.
    fn start(
        options: AgentOptions,
        door: TcpListener,
        sight: watch::Sender<bool>,
        clients: usize,
        purposes: Option<Purposes>,
        telemetry: &Telemetry,
    ) -> Result<Self> {
        let stats = Arc::new(ServerStats::new(1, clients, unix_now()));
        let (stop, stopped) = watch::channel(false);
        let (heir, heirs) = mpsc::unbounded_channel();
        let (clients, adopted) = mpsc::unbounded_channel();
        let (finished, ended) = oneshot::channel::<()>();
        let again = door.try_clone();
        let again =
            again.map_err(|error| Failure::failed(format!("the agent's socket: {error}")))?;
        let agent = Agent::start(options, telemetry);
        let (telemetry, served) = (telemetry.clone(), agent.clone());
        let runtime = move || {
            let _finished = finished;
            tandem_net::privilege::let_go();
            let events = telemetry.events.clone();
            match LocalRuntime::new() {
                Ok(runtime) => {
                    let (looking, asked, remembers) =
                        (served.clone(), served.clone(), served.clone());
                    let answering = async move {
                        match purposes {
                            Some(purposes) => asked.answer(&purposes).await,
                            None => pending().await,
                        }
                    };
                    let serving = serve(served, door, telemetry, stats, stopped, heirs, adopted);
                    runtime.block_on(async {
                        tokio::select! {
                            () = serving => {}
                            () = looking.look(sight) => {}
                            () = remembers.remember() => {}
                            () = answering => {}
                        }
                    });
                }
                Err(error) => {
                    events.error("agent", format!("cannot start: no event loop: {error}"));
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("agent".into())
            .spawn(runtime);
        thread.map_err(|error| {
            Failure::failed(format!("cannot start the agent's thread: {error}"))
        })?;
        Ok(Self {
            agent,
            stop,
            heir,
            clients,
            ended: Some(ended),
            door: again,
        })
    }
}

async fn serve(
    agent: Agent,
    door: TcpListener,
    telemetry: Telemetry,
    stats: Arc<ServerStats>,
    stopped: watch::Receiver<bool>,
    mut heirs: mpsc::UnboundedReceiver<Heir>,
    mut adopted: mpsc::UnboundedReceiver<std::net::TcpStream>,
) {
    let door = match tokio::net::TcpListener::from_std(door) {
        Ok(door) => door,
        Err(error) => {
            return telemetry
                .events
                .error("agent", format!("cannot listen: {error}"));
        }
    };
    let mut options = ServerOptions::new(COMPATIBLE_VERSION, unix_now);
    options.events = Some(telemetry.events.clone());
    options.room = Some(ROOM);
    options.incoming = Some(Arc::new(Room::new(INCOMING)));
    let context = Rc::new(ServerContext::new(options, stats, 0));
    let keyspace = Rc::new(agent.keyspace());
    let events = telemetry.events.clone();
    let take = |stream, admitted| serve_local(stream, admitted, &keyspace, &context);
    let adopt = async {
        while let Some(client) = adopted.recv().await {
            // One that cannot be watched ends, as it does when it is one too many.
            let _ = take_over(client, &keyspace, &context);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = accept(&door, context.stats(), Some(&events), stopped, take) => {}
        () = adopt => {}
    }
    drop(door);
    let Ok(Heir(heir, within)) = heirs.try_recv() else {
        return finish(&context).await;
    };
    // Nobody here has served these yet, and no more come: they go on as they are.
    adopted.close();
    while let Ok(client) = adopted.try_recv() {
        let _ = heir.send(client.into());
    }
    hand_over(&context, heir, within).await;
}

/// Gives connections to the process that takes this one's place. They end with this process if it does not take them. One at
/// a time: what is said over a line is said in several parts.
async fn hand_on(line: Line, clients: Vec<OwnedFd>) {
    let said = tokio::task::spawn_blocking(move || line.hand_over(&clients));
    let _ = said.await;
}

/// Unix seconds.
fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}
