//! The other replicas: where they are, and links to them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tandem_net::cluster::{Accepts, ClusterId, ClusterKey, Incarnation, LinkError, LinkOptions};
use tokio::sync::watch;

use crate::rt::Link;
use crate::served::Served;
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
    /// A connection from before a tier was given up may lead to one of its replicas.
    given_up: u64,
}

/// How to reach the replicas of the file.
pub struct Peers {
    /// This node's name.
    node: String,
    key: ClusterKey,
    cluster: ClusterId,
    /// Which tiers are not asked.
    served: Option<Served>,
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
            served: None,
            incarnation,
            outgoing,
            voters,
            links: Mutex::default(),
        }
    }

    /// The same, and no replica of a tier is asked that was given up here.
    pub fn but_given_up(self, served: Served) -> Self {
        let served = Some(served);
        Self { served, ..self }
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
            given_up: self.served.as_ref().map_or(0, Served::times_given_up),
        }
    }

    /// A link of one's own.
    pub fn link(&self, name: &str, address: SocketAddr, purpose: &'static str) -> Link {
        let accepts = self.served.clone();
        let accepts = accepts.map(|served| Accepts::by(move |tier| served.accepts(tier)));
        Link::new(LinkOptions {
            node: self.node.clone(),
            peer: name.into(),
            address,
            purpose,
            key: self.key.clone(),
            cluster: self.cluster.clone(),
            accepts,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::served::Tier;

    #[test]
    fn a_connection_from_before_a_tier_was_given_up_is_not_asked_over() {
        crate::sim::alone(async {
            let served = Served::default();
            let (_file, voters) = watch::channel(Arc::from(Vec::new()));
            let peers = Peers::new(
                ("app", Incarnation::NONE),
                ClusterKey::new(b"key"),
                ClusterId::default(),
                None,
                voters,
            );
            let peers = peers.but_given_up(served.clone());
            let address = ([10, 0, 0, 1], 7411).into();
            let tier = |cluster, decided| Tier {
                cluster,
                decided,
                voters: Vec::new(),
            };
            let mut places = Vec::new();
            for serves in [tier(7, 1), tier(7, 2), tier(8, 1), tier(9, 1)] {
                served.keep(serves).await.unwrap();
                places.push(peers.place(address));
            }
            assert_eq!(places[0], places[1]);
            assert_ne!(places[1], places[2]);
            assert_ne!(places[2], places[3]);
        });
    }
}
