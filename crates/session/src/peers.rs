//! The other replicas: where they are, and links to them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tandem_net::cluster::{Accepts, ClusterId, ClusterKey, Incarnation, LinkError, LinkOptions};
use tokio::sync::watch;

use crate::rt::Link;
use crate::state::GroupId;
use crate::types::{Member, NodeId, decode, encode};
use crate::wire::{AGENT, Belongs, FromAgent, HOLDER, Holder, Request, Response, Status};

/// The only group there is.
pub const GROUP: GroupId = 0;

/// A node of the file that holds a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its name in the file.
    pub name: String,
    /// Its cluster port.
    pub address: SocketAddr,
}

/// Where a link leads, and as part of which cluster: another one takes its place when one of these changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    address: SocketAddr,
    cluster: Option<u64>,
}

/// How to reach the replicas of the file.
pub struct Peers {
    /// This node's name.
    node: String,
    key: ClusterKey,
    cluster: ClusterId,
    accepts: Option<Accepts>,
    incarnation: Incarnation,
    outgoing: Option<IpAddr>,
    voters: watch::Receiver<Arc<[Voter]>>,
    /// Links that ask for operations and status, by name.
    links: Mutex<HashMap<String, (Place, Link)>>,
}

impl Peers {
    pub fn new(
        (node, incarnation): (&str, Incarnation),
        key: ClusterKey,
        cluster: ClusterId,
        outgoing: Option<IpAddr>,
        voters: watch::Receiver<Arc<[Voter]>>,
    ) -> Self {
        Self {
            node: node.into(),
            key,
            cluster,
            accepts: None,
            incarnation,
            outgoing,
            voters,
            links: Mutex::default(),
        }
    }

    /// The same, and only replicas of these clusters are asked.
    pub fn accepting(self, accepts: Accepts) -> Self {
        let accepts = Some(accepts);
        Self { accepts, ..self }
    }

    /// The replicas of the file, this node's included if it is one.
    pub fn voters(&self) -> Arc<[Voter]> {
        self.voters.borrow().clone()
    }

    /// Whether the file names this node as one that holds a replica.
    pub fn names(&self, node: &str) -> bool {
        self.voters.borrow().iter().any(|voter| voter.name == node)
    }

    /// Where a member is: the file's word goes before the membership's.
    pub fn address(&self, member: &Member) -> Option<SocketAddr> {
        let voters = self.voters.borrow();
        let known = voters.iter().find(|v| v.name == member.name);
        known
            .map(|v| v.address)
            .or_else(|| member.address.parse().ok())
    }

    /// A member and where it is.
    pub fn voter(&self, member: &Member) -> Option<Voter> {
        let address = self.address(member)?;
        let name = member.name.clone();
        Some(Voter { name, address })
    }

    /// Where a link to this address leads now.
    pub fn place(&self, address: SocketAddr) -> Place {
        Place {
            address,
            cluster: self.cluster.get(),
        }
    }

    /// A link of one's own.
    pub fn link(&self, name: &str, address: SocketAddr, purpose: &'static str) -> Link {
        Link::new(LinkOptions {
            node: self.node.clone(),
            peer: name.into(),
            address,
            purpose,
            key: self.key.clone(),
            cluster: self.cluster.clone(),
            accepts: self.accepts.clone(),
            incarnation: self.incarnation,
            outgoing: self.outgoing,
        })
    }

    /// The link that asks `name` for operations and status, shared by all who do.
    pub fn asking(&self, name: &str, address: SocketAddr) -> Link {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.place(address);
        match links.get(name) {
            Some((at, link)) if *at == place && !link.is_over() => link.clone(),
            _ => {
                let link = self.link(name, address, AGENT);
                links.insert(name.into(), (place, link.clone()));
                link
            }
        }
    }

    /// Asks a voter who it is and who leads.
    pub async fn status(&self, voter: &Voter, limit: Duration) -> Result<Status, LinkError> {
        match self.ask(voter, Request::Status, limit).await? {
            Response::Status(status) => Ok(*status),
            other => Err(LinkError::Rejected(format!(
                "an unexpected answer: {other:?}"
            ))),
        }
    }

    /// Asks a voter who voted beside it. One of an older version does not know.
    pub async fn remembered(
        &self,
        voter: &Voter,
        limit: Duration,
    ) -> Result<Vec<Member>, LinkError> {
        match self.ask(voter, Request::Remembered, limit).await? {
            Response::Remembered(members) => Ok(members),
            _ => Ok(Vec::new()),
        }
    }

    /// Asks a voter which cluster it is part of. `None`: it is of an older version, which does not know.
    pub async fn belongs(
        &self,
        voter: &Voter,
        limit: Duration,
    ) -> Result<Option<Belongs>, LinkError> {
        match self.ask(voter, Request::Belongs, limit).await? {
            Response::Belongs(belongs) => Ok(Some(belongs)),
            Response::Malformed(_) => Ok(None),
            other => Err(LinkError::Rejected(format!(
                "an unexpected answer: {other:?}"
            ))),
        }
    }

    /// Asks a node who holds what is stored. `None`: it knows of nobody.
    pub async fn holder(&self, node: &Voter, limit: Duration) -> Result<Option<Holder>, LinkError> {
        // A link for this once: there may be many nodes, and they are not asked again when a cluster is formed.
        let link = self.link(&node.name, node.address, HOLDER);
        match Self::ask_over(&link, Request::Holder, limit).await {
            Ok(Response::Holder(holder)) => Ok(holder),
            Ok(_) | Err(LinkError::Rejected(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks whoever was at this address before; what it says, if it is there.
    pub async fn status_of(&self, member: &Member, limit: Duration) -> Result<Status, String> {
        let address = member.address.parse();
        let address = address.map_err(|_| "no address is known of it".to_owned())?;
        let voter = Voter {
            name: member.name.clone(),
            address,
        };
        let answer = self.status(&voter, limit).await;
        answer.map_err(|error| error.to_string())
    }

    /// Asks the leader whether a replica is part of the cluster. `None`: it does not say.
    pub async fn knows(&self, leader: &Voter, id: NodeId, limit: Duration) -> Option<bool> {
        match self.ask(leader, Request::Knows(id), limit).await {
            Ok(Response::Knows(knows)) => Some(knows),
            _ => None,
        }
    }

    async fn ask(
        &self,
        voter: &Voter,
        request: Request,
        limit: Duration,
    ) -> Result<Response, LinkError> {
        let link = self.asking(&voter.name, voter.address);
        Self::ask_over(&link, request, limit).await
    }

    async fn ask_over(
        link: &Link,
        request: Request,
        limit: Duration,
    ) -> Result<Response, LinkError> {
        let message = FromAgent {
            group: GROUP,
            forward: false,
            request,
        };
        let unreadable = |error: std::io::Error| LinkError::Rejected(error.to_string());
        let body = encode(&message).map_err(unreadable)?;
        let answer = link.request(body.into(), limit).await?;
        decode(&answer).map_err(unreadable)
    }
}
