//! What the API needs of the program around it.

use std::future::{Future, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

use crate::api::{Answer, Call};

/// How long what is in flight may take to finish when a node is stopped and nothing else is said.
pub const STOP: Duration = Duration::from_secs(30);

/// What a node can be ordered, apart from its single servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read the file again and take what is different.
    Reload,
    /// Open the logs anew.
    ReopenLogs,
    /// Let another binary take the process's place.
    Upgrade {
        /// Where it is.
        binary: PathBuf,
        /// How long this process may drain.
        drain: Duration,
    },
    /// End in order.
    Stop {
        /// How long what is in flight may take to finish.
        within: Duration,
    },
    /// Say what configuration is in effect.
    Configuration,
    /// Say what is different in the file.
    Difference,
}

/// What an operator asks of the sessions themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Which keys are there.
    Find {
        /// How they begin.
        prefix: String,
        /// Only those behind this one; empty is from the beginning.
        after: String,
        /// At most so many are named.
        most: u32,
    },
    /// What is under a key.
    Show {
        /// The key.
        key: String,
    },
    /// Delete it.
    Kill {
        /// The key.
        key: String,
    },
}

/// An answer to come. How long that may take is the matter of whoever gives it.
pub type Told = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Why an order was not carried out. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be done, for this reason.
    No(String),
    /// Another process takes this one's place, or has it: whoever orders it again reaches the one that serves.
    Again(String),
}

/// How an order went: JSON, or why not.
pub type Done = Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send>>;

/// Whoever runs the node.
pub trait Operations: Send + Sync {
    /// Whether changes are for this process: not while another one takes its place, nor afterwards, nor while it stops.
    ///
    /// # Errors
    /// Says what to do instead.
    fn takes_changes(&self) -> Result<(), Refusal>;

    /// Gives an order. The answer comes when it was carried out; how long that may take is the order's own matter.
    fn order(&self, order: Order) -> Done;

    /// Asks something of the sessions. A node without part in the session tier answers with status 421.
    fn sessions(&self, ask: Ask) -> Told;
}

/// The other nodes of the file.
pub trait Others: Send + Sync {
    /// Their names.
    fn names(&self) -> Vec<String>;
    /// Passes a call on to one of them. A node that cannot be asked is an answer of status 502.
    fn ask(&self, node: &str, call: &Call) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

/// A node that cannot be ordered anything.
pub struct Fixed;

impl Operations for Fixed {
    fn takes_changes(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn order(&self, _: Order) -> Done {
        let why = "this cannot be ordered here";
        Box::pin(ready(Err(Refusal::No(why.into()))))
    }

    fn sessions(&self, _: Ask) -> Told {
        let why = "this node has no part in the session tier";
        Box::pin(ready(Answer::error(421, why)))
    }
}

/// A node without others.
pub struct Alone;

impl Others for Alone {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn ask(&self, node: &str, _: &Call) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let why = format!("there is no node `{node}`");
        Box::pin(ready(Answer::error(502, why)))
    }
}
