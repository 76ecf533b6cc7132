//! What an operator asks of the keyspace: what is there, what it holds, and that it be gone.

use std::fmt;

use tandem_cache::rules::Expiry;
use tandem_telemetry::Events;

use super::route::{DEADLINE, Failure};
use super::{Agent, AgentOptions, Voter};
use crate::rt::Instant;
use crate::state::{Command, Found, Item, Key, Outcome, Wanted};
use crate::wire::{Request, Response};

/// Keys that are named in one answer, at most.
pub const MOST: u32 = 10_000;

/// Asks the leader, as an agent does, for whoever operates the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Operator(Agent);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What was asked makes no sense.
    Malformed(String),
    /// Nobody who knows could be asked; nothing was done.
    Unreachable(String),
    /// It may have been done.
    Unknown(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => f.write_str(why),
            Self::Unreachable(why) => {
                write!(
                    f,
                    "the session tier does not answer, nothing was done: {why}"
                )
            }
            Self::Unknown(why) => write!(f, "outcome unknown: {why}"),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure { unknown: true, why } => Self::Unknown(why),
            Failure { why, .. } => Self::Unreachable(why),
        }
    }
}

impl Operator {
    /// As [`Agent::start`], but it says nothing of itself in the node's status.
    pub fn new(options: AgentOptions, events: Events) -> Self {
        Self(Agent::new(options, events))
    }

    /// Says which nodes the file names now.
    pub fn set_voters(&self, voters: Vec<Voter>) {
        self.0.set_voters(voters);
    }

    /// Counts the keys that begin with a prefix, and names the first, at most [`MOST`].
    ///
    /// # Errors
    ///
    /// [`Refusal::Unreachable`].
    pub async fn find(&self, mut wanted: Wanted) -> Result<Found, Refusal> {
        wanted.most = wanted.most.min(MOST);
        let deadline = Instant::now() + DEADLINE;
        let ask = || Request::Find(wanted.clone());
        // Reading again is never wrong.
        let answer = self.0.0.route.ask(deadline, ask).await;
        match answer.map(|answered| answered.response) {
            Ok(Response::Found(found)) => Ok(*found),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) => Err(Refusal::Unreachable(failure.why)),
        }
    }

    /// The item under a key, and the milliseconds it has left; those are `None` for one that lives for ever.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`] for what cannot be a key, and [`Refusal::Unreachable`].
    pub async fn item(&self, key: &[u8]) -> Result<Option<(Item, Option<u64>)>, Refusal> {
        let key = valid(key)?;
        let deadline = Instant::now() + DEADLINE;
        let ask = || Request::Read(vec![key.clone()]);
        let answer = self.0.0.route.ask(deadline, ask).await;
        match answer.map(|answered| answered.response) {
            Ok(Response::Items { now, mut items }) => Ok(items.pop().flatten().map(|item| {
                let remaining = Expiry::at(item.expiry).remaining(now);
                (item, remaining)
            })),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) => Err(Refusal::Unreachable(failure.why)),
        }
    }

    /// Deletes a key as a logout does, under the guard of the file; whether it was there.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn delete(&self, key: &[u8]) -> Result<bool, Refusal> {
        let key = valid(key)?;
        let command = Command::Delete { key, guard: 0 };
        let changed = self.0.keyspace().change(vec![command]).await;
        match changed.map(|(_, outcomes)| outcomes) {
            Ok(outcomes) => match outcomes[..] {
                [Outcome::Deleted] => Ok(true),
                [Outcome::NotFound] => Ok(false),
                _ => Err(Refusal::Unknown(format!(
                    "an unexpected answer: {outcomes:?}"
                ))),
            },
            Err(failure) => Err(failure.into()),
        }
    }
}

fn valid(key: &[u8]) -> Result<Key, Refusal> {
    Key::try_from(key).map_err(|error| Refusal::Malformed(error.to_string()))
}

fn unexpected(response: &Response) -> Refusal {
    Refusal::Unreachable(match response {
        Response::Malformed(why) => {
            format!("the leader, perhaps of an older version, refuses: {why}")
        }
        _ => "an unexpected answer".into(),
    })
}
