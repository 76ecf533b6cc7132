//! What replicas and agents say to one another in the frames of the cluster port.
//!
//! Every message names its group of keys and, between replicas, the identity it is meant for: a node that lost its
//! state must not take what was meant for who it was.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::served::Tier;
use crate::state::{Found, GroupId, Item, Key, Operation, Outcome, Wanted};
use crate::types::{Member, NodeId, SnapshotMeta, Types, Vote};

/// The purpose of connections between replicas.
pub const RAFT: &str = "raft";
/// The purpose of connections that ask for operations, from agents and for them.
pub const AGENT: &str = "agent";

/// The purpose of connections that ask a node who holds what is stored, whatever its part is.
pub const HOLDER: &str = "holder";

/// From replica to replica.
#[derive(Serialize, Deserialize)]
pub struct ToReplica {
    pub group: GroupId,
    pub target: NodeId,
    /// So many entries it has acknowledged to this leader; 0 where nobody leads.
    pub acknowledged: u64,
    pub request: RaftRequest,
}

#[derive(Serialize, Deserialize)]
pub enum RaftRequest {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer(TransferLeaderRequest<Types>),
    Snapshot(SnapshotPiece),
}

impl RaftRequest {
    /// Whether it says only that the leader is there, and how far entries are committed.
    pub fn is_heartbeat(&self) -> bool {
        matches!(self, Self::Append(rpc) if rpc.entries.is_empty())
    }
}

/// A piece of a snapshot. Pieces come in order; the last one is answered when the snapshot is installed.
#[derive(Serialize, Deserialize)]
pub struct SnapshotPiece {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    /// Drawn for each transfer.
    pub transfer: u64,
    pub offset: u64,
    pub bytes: Bytes,
    pub last: bool,
}

#[derive(Serialize, Deserialize)]
pub enum RaftReply {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    Transfer(TransferLeaderResponse<Types>),
    /// A piece was taken in, or the whole was installed.
    Snapshot(Option<SnapshotResponse<Types>>),
    /// This replica cannot answer: as good as not reached.
    NotHere(String),
}

/// From an agent to a replica, or from a replica on an agent's behalf.
#[derive(Serialize, Deserialize)]
pub struct FromAgent {
    pub group: GroupId,
    /// A replica that does not lead shall ask the leader: the agent cannot reach it.
    pub forward: bool,
    pub request: Request,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// A new agent wants an identity, with this nonce.
    Register(u64),
    /// At most [`MAX_OPERATIONS`].
    Operate(Vec<Operation>),
    /// The items under these keys.
    Read(Vec<Key>),
    /// Who are you, who leads?
    Status,
    /// Which keys are there?
    Find(Wanted),
    /// How many of the first keys have values of no more than so many bytes together? A guess is enough.
    Fit(Vec<Key>, u64),
    /// The items under these keys, as far as their values come to no more than so many bytes: perhaps none.
    ReadWithin(Vec<Key>, u64),
    /// Who voted beside you, as far as you know?
    Remembered,
    /// Which cluster are you part of?
    Belongs,
    /// Who holds what is stored, as far as you know?
    Holder,
    /// You lead: is this replica part of the cluster?
    Knows(NodeId),
    /// You lead: which cluster is this, and who votes?
    Tier,
}

/// Operations of one request.
pub const MAX_OPERATIONS: usize = 256;

#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// One for each operation; the one of a registration.
    Outcomes {
        /// The keyspace's clock, which expiries are by.
        now: u64,
        outcomes: Vec<Outcome>,
    },
    /// The items under the first keys of a read. When they are fewer than the keys, the rest is to be asked for.
    Items { now: u64, items: Vec<Option<Item>> },
    /// See [`Status`].
    Status(Box<Status>),
    /// Nothing was done: another one leads, as far as this one knows.
    NotLeader(Option<Member>),
    /// Nothing was done, for this reason.
    Unavailable(String),
    /// It may have been done or may yet be.
    Unknown(String),
    /// The request makes no sense.
    Malformed(String),
    /// The keys looked for.
    Found(Box<Found>),
    /// So many fit.
    Fit(usize),
    /// These voted, for all that this replica knows.
    Remembered(Vec<Member>),
    /// See [`Belongs`].
    Belongs(Belongs),
    /// `None`: nobody, as far as this node knows.
    Holder(Option<Holder>),
    /// Whether it is, as was decided last.
    Knows(bool),
    /// `None`: that cannot be said now.
    Tier(Option<Tier>),
}

/// Who holds what is stored, as far as a node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// The replica here, which is part of a cluster.
    Here,
    /// The leader that the agent here reaches.
    By(String),
    /// A node that the file does not name, in this directory of the same machine.
    Beside(String),
    /// The same, and a node that runs uses it.
    Shared(String),
    /// It does not reach one now; this one served it last.
    Remembers(Tier),
    /// The same, and its record of who that was, at this path, cannot be read.
    Forgot(String),
}

/// Which cluster a replica is part of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Belongs {
    pub replica: NodeId,
    /// `None`: it does not know of any.
    pub cluster: Option<u64>,
    /// It leads, and is giving an identity to its cluster.
    pub is_deciding: bool,
}

/// What a replica says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub id: NodeId,
    /// Whether it was ever part of a cluster, as far as its state says.
    pub initialized: bool,
    pub leader: Option<Member>,
    pub term: u64,
    pub applied: u64,
    pub items: u64,
    pub bytes: u64,
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{AgentId, Command, Compared};
    use crate::types::{decode, encode};

    /// What a node of a later version says: the last variant, and one that is not known here.
    fn later(bytes: &[u8], variant: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[variant] = 100;
        bytes
    }

    #[test]
    fn what_a_later_version_asks_is_refused_and_not_taken_for_something_else() {
        let asked = encode(&FromAgent {
            group: 0,
            forward: false,
            request: Request::Register(7),
        });
        let asked = asked.unwrap();
        assert!(decode::<FromAgent>(&asked).is_ok());
        // Group and forward are a byte each.
        assert!(decode::<FromAgent>(&later(&asked, 2)).is_err());
        // The same of a command within an operation, as it is sent, and as it is in the log.
        let operation = |change| Operation {
            agent: AgentId {
                number: 1,
                nonce: 2,
            },
            sequence: 3,
            lowest_open: 3,
            command: Command::Compared {
                key: Key::try_from(&b"k"[..]).unwrap(),
                version: 5,
                change,
            },
        };
        let known = encode(&operation(Compared::Delete { guard: 0 })).unwrap();
        assert!(decode::<Operation>(&known).is_ok());
        for variant in [4, known.len() - 2] {
            assert!(decode::<Operation>(&later(&known, variant)).is_err());
        }
    }
}
