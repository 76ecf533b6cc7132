//! What is said. Fields are added, never renamed or taken away: the two sides may be of different versions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tandem_model::Program;

/// Raised when a version no longer understands what another one says.
pub const CONVERSATION: u32 = 1;

/// What the running node has. Descriptors: the sockets, the locks, the lines, in this order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Estate {
    /// [`CONVERSATION`].
    pub conversation: u32,
    /// Its version.
    pub version: String,
    /// Its name.
    pub node: String,
    /// Its state directory.
    pub state: PathBuf,
    /// The cluster's key, when the file has none.
    pub key: Option<Vec<u8>>,
    /// Where it listens.
    pub sockets: Vec<Sockets>,
    /// Its pid files, locked.
    pub locks: Vec<PathBuf>,
    /// How many earlier processes drain still.
    pub earlier: usize,
    /// Where instances of its applications are.
    pub instances: BTreeMap<String, Vec<(u16, SocketAddr)>>,
    /// What was ordered at run time.
    #[serde(default)]
    pub orders: Orders,
    /// Which start of the node it is; 0 where a version does not know of that.
    #[serde(default)]
    pub incarnation: u64,
}

/// What an operator ordered, and holds until the file or the operator says something else.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Orders {
    /// Servers that drain, as `SERVICE/SERVER`.
    pub draining: Vec<String>,
    /// Servers in maintenance.
    pub maintenance: Vec<String>,
    /// Listeners with a maintenance page: whether works go on, and whether the file says so.
    pub works: BTreeMap<String, (bool, bool)>,
}

/// Sockets at one place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sockets {
    /// What for.
    pub role: Role,
    /// Where, as the file writes it.
    pub address: String,
    /// How many.
    pub count: usize,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Listeners, and the admin pages.
    Door,
    /// The owner's socket in the state directory.
    Own,
    /// The session tier's agent.
    Agent,
    /// The cluster port.
    Cluster,
}

/// What the new node says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It could begin.
    Ready {
        /// Its version.
        version: String,
    },
    /// It serves.
    Serves,
    /// It cannot.
    Failed {
        /// Why.
        why: String,
    },
    /// It served, and stops now: what is in flight in the process whose place it took has this long, too.
    Stops {
        /// In milliseconds.
        within_ms: u64,
    },
}

/// What the running node says once the new one is ready.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// It lets go of its applications. Descriptors: three for each instance that has a run.
    Begin {
        /// The applications.
        apps: Vec<App>,
    },
    /// It leads no more.
    Lead,
    /// Connections of the agent: the descriptors.
    Clients,
}

/// An application that is handed over.
#[derive(Debug, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: String,
    /// What runs, as the file said it.
    command: Vec<String>,
    dir: Option<PathBuf>,
    env: BTreeMap<String, String>,
    user: Option<String>,
    instances: u16,
    stop_timeout_ms: u64,
    /// Its instances.
    pub words: Vec<tandem_app::Words>,
}

impl App {
    /// What is said of it; `None` when Tandem does not run it.
    pub fn new(name: &str, program: &Program, words: Vec<tandem_app::Words>) -> Option<Self> {
        let Program::Run {
            command,
            dir,
            env,
            user,
            instances,
            stop_timeout,
        } = program.clone()
        else {
            return None;
        };
        Some(Self {
            name: name.into(),
            command,
            dir,
            env,
            user,
            instances,
            stop_timeout_ms: stop_timeout.as_millis() as u64,
            words,
        })
    }

    /// What runs.
    pub fn program(&self) -> Program {
        Program::Run {
            command: self.command.clone(),
            dir: self.dir.clone(),
            env: self.env.clone(),
            user: self.user.clone(),
            instances: self.instances,
            stop_timeout: Duration::from_millis(self.stop_timeout_ms),
        }
    }
}
