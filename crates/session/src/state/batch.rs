//! Entries: what the leader proposes and every replica applies, and what comes of it.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tandem_memcache::{Lifetime, Mode as M, Op, Reply};

use super::Key;
use super::partition::Item;

/// The content of one entry of the log: everything the leader gathered while the previous one was on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The keyspace's clock at the leader, in milliseconds. One that is behind the state's does no harm.
    pub stamp: u64,
    /// At most [`super::MAX_CHANGES`]. None at all just moves the clock.
    pub changes: Vec<Change>,
}

impl Batch {
    /// Bytes it takes, roughly.
    pub fn weight(&self) -> usize {
        let changes = self.changes.iter().map(|change| match change {
            Change::Register { .. } => 24,
            Change::Operation(operation) => operation.command.weight(),
        });
        64 + changes.sum::<usize>()
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes at {} ms", self.changes.len(), self.stamp)
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new agent wants an identity. It gets the version of this change: a number that is given once.
    Register {
        /// Drawn by the agent.
        nonce: u64,
    },
    /// An agent wants something done.
    Operation(Operation),
}

/// An agent's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentId {
    /// What the keyspace gave it.
    pub number: u64,
    /// What it drew itself: should the keyspace be lost as a whole and start anew, the numbers begin again, and one
    /// agent must not be taken for another.
    pub nonce: u64,
}

/// A command and its identity: however often it arrives, it is applied once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who wants it.
    pub agent: AgentId,
    /// The agent's number for it.
    pub sequence: u64,
    /// The lowest number that the agent still waits for: what is below need not be remembered.
    pub lowest_open: u64,
    /// What is wanted.
    pub command: Command,
}

/// How a store command treats what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the words of tandem_memcache::Mode")]
pub enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas(u64),
}

/// What is wanted of one key, or of all. Lifetimes are milliseconds from now; `None` is for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the words of tandem_memcache::Op")]
pub enum Command {
    Store {
        mode: Mode,
        key: Key,
        flags: u32,
        life: Option<u64>,
        value: Bytes,
    },
    Delete {
        key: Key,
        /// For so many milliseconds a plain `set` of the key is refused. Said by the leader, so that no replica
        /// looks at its own configuration; 0 from an agent.
        guard: u64,
    },
    Touch {
        key: Key,
        life: Option<u64>,
    },
    GetAndTouch {
        key: Key,
        life: Option<u64>,
    },
    Arithmetic {
        key: Key,
        delta: u64,
        down: bool,
    },
    FlushAll {
        delay: u64,
    },
    /// Only if the item has this version.
    Compared {
        key: Key,
        version: u64,
        change: Compared,
    },
}

/// What is done to an item that has the version it should have. A store that compares is a [`Mode`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the words of Command")]
pub enum Compared {
    Delete { guard: u64 },
    Arithmetic { delta: u64, down: bool },
    Append { value: Bytes },
    Prepend { value: Bytes },
}

impl Command {
    /// The key it is about, unless it is about all.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Store { key, .. }
            | Self::Delete { key, .. }
            | Self::Touch { key, .. }
            | Self::GetAndTouch { key, .. }
            | Self::Arithmetic { key, .. }
            | Self::Compared { key, .. } => Some(key),
            Self::FlushAll { .. } => None,
        }
    }

    /// Bytes it takes in an entry, roughly.
    pub fn weight(&self) -> usize {
        let value = self.value().map_or(0, Bytes::len);
        value + self.key().map_or(0, |key| key.len()) + 64
    }

    /// The bytes that it stores, alone or with others.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Store { value, .. }
            | Self::Compared {
                change: Compared::Append { value } | Compared::Prepend { value },
                ..
            } => Some(value),
            _ => None,
        }
    }

    /// Whether what it stores is put behind or before what is there.
    pub fn joins(&self) -> bool {
        matches!(
            self,
            Self::Store {
                mode: Mode::Append | Mode::Prepend,
                ..
            } | Self::Compared {
                change: Compared::Append { .. } | Compared::Prepend { .. },
                ..
            }
        )
    }

    /// For how long a plain `set` of the key is refused afterwards; `None` when it deletes nothing.
    pub fn guard(&mut self) -> Option<(&Key, &mut u64)> {
        match self {
            Self::Delete { key, guard }
            | Self::Compared {
                key,
                change: Compared::Delete { guard },
                ..
            } => Some((key, guard)),
            _ => None,
        }
    }

    /// As the rules of items know it. A `GetAndTouch` changes its item as a `touch` does.
    pub(super) fn as_op(&self) -> Op<'_> {
        match self {
            Self::Store {
                mode,
                key,
                flags,
                life,
                value,
            } => Op::Store {
                mode: (*mode).into(),
                key,
                flags: *flags,
                life: lifetime(*life),
                value,
            },
            Self::Delete { key, .. } => Op::Delete { key },
            Self::Touch { key, life } | Self::GetAndTouch { key, life } => Op::Touch {
                key,
                life: lifetime(*life),
            },
            Self::Arithmetic { key, delta, down } => Op::Arithmetic {
                key,
                delta: *delta,
                down: *down,
            },
            Self::FlushAll { delay } => Op::FlushAll { delay: *delay },
            Self::Compared { key, change, .. } => match change {
                Compared::Delete { .. } => Op::Delete { key },
                Compared::Arithmetic { delta, down } => Op::Arithmetic {
                    key,
                    delta: *delta,
                    down: *down,
                },
                Compared::Append { value } => joined(M::Append, key, value),
                Compared::Prepend { value } => joined(M::Prepend, key, value),
            },
        }
    }
}

/// The flags and the life of the item stay.
fn joined<'a>(mode: M, key: &'a [u8], value: &'a [u8]) -> Op<'a> {
    Op::Store {
        mode,
        key,
        flags: 0,
        life: Lifetime::Forever,
        value,
    }
}

fn lifetime(life: Option<u64>) -> Lifetime {
    life.map_or(Lifetime::Forever, Lifetime::Millis)
}

impl From<tandem_memcache::Mode> for Mode {
    fn from(mode: tandem_memcache::Mode) -> Self {
        match mode {
            M::Set => Self::Set,
            M::Add => Self::Add,
            M::Replace => Self::Replace,
            M::Append => Self::Append,
            M::Prepend => Self::Prepend,
            M::Cas(version) => Self::Cas(version),
        }
    }
}

impl From<Mode> for tandem_memcache::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Set => Self::Set,
            Mode::Add => Self::Add,
            Mode::Replace => Self::Replace,
            Mode::Append => Self::Append,
            Mode::Prepend => Self::Prepend,
            Mode::Cas(version) => Self::Cas(version),
        }
    }
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// `STORED`
    Stored,
    /// `NOT_STORED`
    NotStored,
    /// `EXISTS`
    Exists,
    /// `NOT_FOUND`
    NotFound,
    /// `DELETED`
    Deleted,
    /// `TOUCHED`
    Touched,
    /// The new number.
    Number(u64),
    /// `OK`
    Ok,
    /// What a `GetAndTouch` found.
    Hit(Item),
    /// A new agent's number.
    Registered(u64),
    /// Nobody knows this agent (any more): nothing was done. It takes a new identity.
    UnknownAgent,
    /// The agent said before that it no longer waits for this operation: nothing was done.
    Closed,
    /// `CLIENT_ERROR ...`: nothing was done.
    Invalid(Cow<'static, str>),
    /// `SERVER_ERROR ...`: nothing was done.
    Refused(Cow<'static, str>),
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Stored => Self::Stored,
            Reply::NotStored => Self::NotStored,
            Reply::Exists => Self::Exists,
            Reply::NotFound => Self::NotFound,
            Reply::Deleted => Self::Deleted,
            Reply::Touched => Self::Touched,
            Reply::Number(number) => Self::Number(number),
            Reply::Ok | Reply::End | Reply::Partly(_) | Reply::Stats(_) => Self::Ok,
            Reply::ClientError(text) => Self::Invalid(text),
            Reply::ServerError(text) => Self::Refused(text),
        }
    }
}
