//! The agent: how the applications of a host reach the replicated keyspace.
//!
//! It follows the leader, keeps one connection to each replica it needs, and retries under the same operation
//! identity until a deadline. It must never report a key as missing when it could not learn whether it is there.

mod identity;
mod keyspace;
mod operator;
mod route;
mod sight;

use std::net::IpAddr;
use std::sync::Arc;

use tandem_net::cluster::{ClusterId, ClusterKey};
use tandem_telemetry::{Events, NodeStatus, SessionStatus, StatusSource, Telemetry};
use tokio::sync::watch;

use crate::peers::{Peers, Voter};
use identity::Identity;
pub use keyspace::AgentKeyspace;
pub use operator::{MOST, Operator, Refusal};
use route::Route;

/// What an agent needs to know.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The node's name in the file.
    pub node: String,
    /// All nodes that hold a replica, in the order of the file.
    pub voters: Vec<Voter>,
    /// The address to connect from, when it matters.
    pub outgoing: Option<IpAddr>,
    /// The cluster's key.
    pub key: ClusterKey,
}

/// The client side of the session tier on one host. Cheap to clone.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    voters: watch::Sender<Arc<[Voter]>>,
    route: Route,
    identity: Identity,
}

impl Agent {
    /// An agent whose connections live on the runtime of whoever makes the first request. Nothing is connected yet.
    pub fn start(options: AgentOptions, telemetry: &Telemetry) -> Self {
        let agent = Self::new(options, telemetry.events.clone());
        // Behind "sessions", the replica of the same node, which knows more.
        telemetry
            .registry
            .publish("sessions-agent", Arc::new(agent.clone()));
        agent
    }

    fn new(options: AgentOptions, events: Events) -> Self {
        let (voters, watched) = watch::channel(Arc::from(options.voters));
        let peers = Peers::new(
            &options.node,
            options.key,
            // It keeps nothing.
            ClusterId::default(),
            options.outgoing,
            watched,
        );
        let inner = Inner {
            voters,
            route: Route::new(peers, events),
            identity: Identity::default(),
        };
        Self(Arc::new(inner))
    }

    /// The keyspace as the memcached server loop serves it.
    pub fn keyspace(&self) -> AgentKeyspace {
        AgentKeyspace::new(self.clone())
    }

    /// Says which nodes the file names now.
    pub fn set_voters(&self, voters: Vec<Voter>) {
        self.0.voters.send_replace(voters.into());
    }
}

impl StatusSource for Agent {
    fn fill(&self, status: &mut NodeStatus) {
        let sessions = status.sessions.get_or_insert_with(|| SessionStatus {
            role: "agent".into(),
            leader: self.0.route.leader(),
            voters: self.0.route.voters(),
            ..SessionStatus::default()
        });
        sessions.agent = Some(self.0.route.counted());
    }
}
