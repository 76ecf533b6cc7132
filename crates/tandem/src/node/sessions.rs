//! A node's part in the session tier: a replica behind the cluster port, an agent for its applications.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tandem_memcache::listen::{finish, listen};
use tandem_memcache::{ServerContext, ServerOptions, ServerStats};
use tandem_model::{Address, NodePlan, SessionPlan};
use tandem_session::agent::{Agent, AgentOptions};
use tandem_session::node::Voter;
use tandem_session::node::{NodeOptions, SessionNode};
use tandem_telemetry::Telemetry;
use tokio::runtime::LocalRuntime;
use tokio::sync::{oneshot, watch};

use super::cluster_port::{ClusterPort, one_address};
use crate::exit::{Failure, Result};

/// Connections from applications at most.
const MAX_CLIENTS: usize = 10_000;

/// Binds the agent's door, if this node has an agent.
pub fn bind_agent(plan: &NodePlan) -> Result<Option<TcpListener>> {
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
    let listener = TcpListener::bind((host.as_str(), *port)).map_err(|error| {
        Failure::usage(format!(
            "the agent cannot listen on {address}: {error}; stop what listens there (a memcached?) or name another \
             address: [sessions] agent = \"127.0.0.1:11212\""
        ))
    })?;
    let set = listener.set_nonblocking(true);
    set.map_err(|error| Failure::failed(format!("the agent's socket: {error}")))?;
    Ok(Some(listener))
}

/// The session tier's parts that run here.
pub struct Sessions {
    replica: Option<SessionNode>,
    agent: Option<Running>,
    /// No other node takes part.
    alone: bool,
}

/// The agent's thread.
struct Running {
    agent: Agent,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl Sessions {
    /// Starts what the plan says. Returns when the replica's state is loaded and the agent listens; the tier forms by
    /// itself, once the port serves.
    pub async fn start(
        plan: &NodePlan,
        port: &ClusterPort,
        door: Option<TcpListener>,
        telemetry: &Telemetry,
    ) -> Result<Self> {
        let mut sessions = Self {
            replica: None,
            agent: None,
            alone: plan.peers.is_empty(),
        };
        let Some(part) = &plan.sessions else {
            return Ok(sessions);
        };
        let voters = voters(plan, part, port.address())?;
        if let Some(purposes) = port.purposes().filter(|_| part.voter) {
            let options = NodeOptions {
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
            };
            let replica = SessionNode::start(options, &purposes, telemetry).await;
            sessions.replica = Some(replica.map_err(|error| Failure::failed(error.to_string()))?);
        }
        if let Some(door) = door {
            let options = AgentOptions {
                node: plan.node.clone(),
                voters,
                outgoing: plan.outgoing,
                key: port.key.clone(),
            };
            sessions.agent = Some(Running::start(options, door, telemetry)?);
        }
        Ok(sessions)
    }

    /// Says which nodes hold a replica now.
    pub fn set_voters(&self, voters: Vec<Voter>) {
        // A node alone found its own port and stays where it is; without [sessions] there is nobody to name.
        if voters.is_empty() || (voters.len() < 2 && self.alone) {
            return;
        }
        if let Some(replica) = &self.replica {
            replica.set_voters(voters.clone());
        }
        if let Some(agent) = &self.agent {
            agent.agent.set_voters(voters);
        }
    }

    /// Ends the agent, then the replica, which hands leadership over first.
    pub async fn stop(self) {
        if let Some(agent) = self.agent {
            agent.stop.send_replace(true);
            let _ = agent.ended.await;
        }
        if let Some(replica) = self.replica {
            replica.stop().await;
        }
    }
}

/// The nodes that hold a replica by this plan; none without `[sessions]`.
pub fn voters_of(plan: &NodePlan) -> Result<Vec<Voter>> {
    plan.sessions
        .as_ref()
        .map_or(Ok(Vec::new()), |part| voters(plan, part, None))
}

fn voters(plan: &NodePlan, part: &SessionPlan, port: Option<SocketAddr>) -> Result<Vec<Voter>> {
    if plan.peers.is_empty()
        && let Some(address) = port
    {
        return Ok(vec![Voter {
            name: plan.node.clone(),
            address,
        }]);
    }
    let address = |address: &Address| match address {
        Address::Tcp { host, port } => one_address(host, *port),
        Address::Unix(_) => Err(Failure::usage("the cluster port is a TCP port")),
    };
    part.voters
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
    fn start(options: AgentOptions, door: TcpListener, telemetry: &Telemetry) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (finished, ended) = oneshot::channel::<()>();
        let agent = Agent::start(options, telemetry);
        let (telemetry, served) = (telemetry.clone(), agent.clone());
        let runtime = move || {
            let _finished = finished;
            let events = telemetry.events.clone();
            match LocalRuntime::new() {
                Ok(runtime) => runtime.block_on(serve(served, door, telemetry, stopped)),
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
        Ok(Self { agent, stop, ended })
    }
}

async fn serve(
    agent: Agent,
    door: TcpListener,
    telemetry: Telemetry,
    stopped: watch::Receiver<bool>,
) {
    let door = match tokio::net::TcpListener::from_std(door) {
        Ok(door) => door,
        Err(error) => {
            return telemetry
                .events
                .error("agent", format!("cannot listen: {error}"));
        }
    };
    let stats = Arc::new(ServerStats::new(1, MAX_CLIENTS, unix_now()));
    let mut options = ServerOptions::new(env!("CARGO_PKG_VERSION"), unix_now);
    options.events = Some(telemetry.events.clone());
    let context = Rc::new(ServerContext::new(options, stats, 0));
    listen(door, Rc::new(agent.keyspace()), context.clone(), stopped).await;
    finish(&context).await;
}

/// Unix seconds.
fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}
