//! What the API needs of the program around it.

use std::future::{Future, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

use crate::api::{Answer, Call};

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
    /// Say what configuration is in effect.
    Configuration,
    /// Say what is different in the file.
    Difference,
}

/// How an order went: JSON, or why not.
pub type Done = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;

/// Whoever runs the node.
pub trait Operations: Send + Sync {
    /// Gives an order. The answer comes when it was carried out; how long that may take is the order's own matter.
    fn order(&self, order: Order) -> Done;
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
    fn order(&self, _: Order) -> Done {
        Box::pin(ready(Err("this cannot be ordered here".into())))
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
