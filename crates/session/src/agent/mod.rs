//! The agent: how the applications of a host reach the replicated keyspace.
//!
//! It follows the leader, keeps one connection to each replica it needs, and retries under the same operation
//! identity until a deadline. It must never report a key as missing when it could not learn whether it is there.

mod identity;
mod keyspace;
mod operator;
mod remember;
mod route;
mod sight;

use std::future::Ready;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tandem_net::cluster::{Answer, ClusterId, ClusterKey, Incarnation, Purposes, serve};
use tandem_telemetry::{Events, NodeStatus, SessionStatus, StatusSource, Telemetry};
use tokio::sync::{mpsc, watch};

use crate::peers::{Peers, Voter};
use crate::rt::spawn;
use crate::served::Served;
use crate::types::{decode, encode};
use crate::wire::{self, FromAgent, Holder, Request, Response};
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
    /// Which start of the node this is.
    pub incarnation: Incarnation,
    /// What this node remembers of the tier that served it last.
    pub served: Served,
}

/// The client side of the session tier on one host. Cheap to clone.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    voters: watch::Sender<Arc<[Voter]>>,
    route: Route,
    identity: Identity,
    served: Served,
    events: Events,
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
            (&options.node, options.incarnation),
            options.key,
            // It keeps nothing.
            ClusterId::default(),
            options.outgoing,
            watched,
        )
        .but_given_up(options.served.clone());
        let inner = Inner {
            voters,
            route: Route::new(peers, events.clone(), options.served.clone()),
            identity: Identity::default(),
            served: options.served,
            events,
        };
        Self(Arc::new(inner))
    }

    /// The keyspace as the memcached server loop serves it.
    pub fn keyspace(&self) -> AgentKeyspace {
        AgentKeyspace::new(self.clone())
    }

    /// Answers other nodes at the cluster port of a node without a replica, for as long as it is polled: who holds what is
    /// stored is all that it can say.
    pub async fn answer(&self, purposes: &Purposes) {
        let agent = self.clone();
        answer(purposes, move || agent.holder()).await;
    }

    fn holder(&self) -> Option<Holder> {
        let route = &self.0.route;
        let remembered = self.0.served.holder();
        if route.is_searching() && remembered.is_some() {
            // Its voters know whether there is one.
            return remembered;
        }
        let reached = route.leader().filter(|_| !route.sight().is_lost());
        reached.map(Holder::By).or(remembered)
    }

    /// Answers one question of another node.
    #[cfg(test)]
    pub(crate) fn answer_to(&self, body: &[u8]) -> Bytes {
        answer_to(body, || self.holder())
    }

    /// Says which nodes the file names now.
    pub fn set_voters(&self, voters: Vec<Voter>) {
        let before = self.0.voters.send_replace(voters.into());
        self.0.route.follows(&before);
    }
}

/// Answers other nodes at the cluster port of a node without a part in the sessions, for as long as it is polled: it knows of
/// nobody who holds what is stored but whom it remembers.
pub async fn answer_without(purposes: &Purposes, served: Served) {
    answer(purposes, move || served.holder()).await;
}

async fn answer(
    purposes: &Purposes,
    holder: impl Fn() -> Option<Holder> + Clone + Send + Sync + 'static,
) {
    // Few ask, and seldom; a full queue closes the connection.
    let (connections, mut accepted) = mpsc::channel(64);
    purposes.register(wire::HOLDER, move |connection| {
        let _ = connections.try_send(connection);
    });
    while let Some(connection) = accepted.recv().await {
        let holder = holder.clone();
        spawn(async move {
            let answer = |body: Bytes| Answer::<Ready<Bytes>>::Now(answer_to(&body, &holder));
            // How it ends is its other side's business.
            let _ = serve(connection, answer).await;
        });
    }
}

fn answer_to(body: &[u8], holder: impl Fn() -> Option<Holder>) -> Bytes {
    let response = match decode::<FromAgent>(body) {
        Ok(message) if matches!(message.request, Request::Holder) => Response::Holder(holder()),
        Ok(_) => Response::Unavailable("this node holds no sessions".into()),
        Err(error) => Response::Malformed(error.to_string()),
    };
    // A response of ours can be encoded.
    encode(&response).unwrap_or_default().into()
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
