//! The types that openraft is used with.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::state::{Batch, Outcome};

/// The identity of a replica's state: drawn at random when its state directory is blank, kept as long as the state
/// is. A node that lost its state has another one, so that it cannot vote as who it no longer is.
pub type NodeId = u64;

/// A replica as the membership names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's name in the file.
    pub name: String,
    /// `ip:port` of its cluster port when it was taken in. The file's address goes before it.
    pub address: String,
}

openraft::declare_raft_types!(
    /// What the keyspace's log is made of.
    pub Types:
        D = Arc<Batch>,
        R = Vec<Outcome>,
        NodeId = NodeId,
        Node = Member,
        AsyncRuntime = crate::rt::Runtime,
);

pub type Entry = openraft::type_config::alias::EntryOf<Types>;
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
pub type Membership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// Encodes anything of ours. Only a value that cannot be measured can fail to be encoded, and none of ours is such.
pub fn encode<T: Serialize>(value: &T) -> std::io::Result<Vec<u8>> {
    // Most of what is said is shorter, or has a value of about this size.
    encode_behind(Vec::with_capacity(2 * 1024), value)
}

/// As [`encode`], behind what is in `bytes`.
pub fn encode_behind<T: Serialize>(bytes: Vec<u8>, value: &T) -> std::io::Result<Vec<u8>> {
    postcard::to_extend(value, bytes).map_err(std::io::Error::other)
}

/// Decodes what [`encode`] made; bytes that are left over are an error.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> std::io::Result<T> {
    decode_before(bytes, <[u8]>::is_empty)
}

/// As [`decode`]; zeros may follow ([`fill_up`]).
pub fn decode_filled<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> std::io::Result<T> {
    decode_before(bytes, |rest| rest.iter().all(|b| *b == 0))
}

fn decode_before<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    may_follow: impl Fn(&[u8]) -> bool,
) -> std::io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, rest)) if may_follow(rest) => Ok(value),
        Ok(_) => Err(invalid("bytes are left over")),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

/// Makes a message larger than one packet of Ethernet holds, by zeros behind it.
///
/// Small packets may pass where full ones are lost (a tunnel whose size nobody was told). A leader there would be heard and
/// could do nothing; its heartbeats and their answers must fare as everything else does.
pub fn fill_up(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().max(2 * 1024), 0);
    bytes
}

/// What was read is not what was written.
pub fn invalid(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}
