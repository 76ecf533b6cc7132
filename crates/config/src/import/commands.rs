//! What HAProxy's commands (`stats socket`) need to know of a haproxy.cfg: where they are taken, and what things are called
//! there.

use std::time::Duration;

/// Sockets for commands, and the names that commands use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// `stats socket`, in the order of the file.
    pub sockets: Vec<CommandSocket>,
    /// `stats timeout`: who says nothing for so long is let go.
    pub timeout: Duration,
    /// `stats maxconn`: so many connections at once, at all of them together.
    pub connections: usize,
    /// `maxconn` of `global`.
    pub process_connections: Option<u64>,
    /// Frontends, backends and listen sections, in the order of the file.
    pub proxies: Vec<ProxyNames>,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            sockets: Vec::new(),
            // HAProxy's own.
            timeout: Duration::from_secs(10),
            connections: 10,
            process_connections: None,
            proxies: Vec::new(),
        }
    }
}

/// Where commands are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSocket {
    /// Where it is.
    pub place: CommandPlace,
    /// Rights of the file; `None` leaves them to the umask.
    pub mode: Option<u32>,
    /// Who has the file: a name or a number.
    pub user: Option<String>,
    /// Which group has it.
    pub group: Option<String>,
    /// What may be ordered there.
    pub level: Level,
}

/// A path, or an address and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandPlace {
    /// A Unix socket, by its path.
    Unix(String),
    /// `host:port`; an empty host is all addresses.
    Tcp(String),
}

/// What whoever comes by a socket may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Read what tells nothing of clients.
    User,
    /// Read all.
    #[default]
    Operator,
    /// Change things.
    Admin,
}

impl Level {
    /// Its name in a haproxy.cfg.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// A section, as HAProxy calls it and as the cluster file does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyNames {
    /// Its name in the haproxy.cfg.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Whether clients come there.
    pub is_front: bool,
    /// Whether it has servers.
    pub is_back: bool,
    /// Whether it speaks HTTP.
    pub is_http: bool,
    /// What `balance` says.
    pub balance: String,
    /// `maxconn`, of the section or of all.
    pub connections: Option<u64>,
    /// Its listeners in the cluster file.
    pub listeners: Vec<String>,
    /// Its backend there; `None` when nothing came of it.
    pub service: Option<String>,
    /// Its servers, in the order of the file.
    pub servers: Vec<ServerNames>,
}

/// A server, likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    /// Its name in the haproxy.cfg.
    pub name: String,
    /// Its number within the section.
    pub id: u32,
    /// `service/server` in the cluster file; more than one where `use-server` made backends of its own.
    pub places: Vec<(String, String)>,
    /// Its address as written.
    pub address: String,
    /// Its share of requests by the file.
    pub weight: u16,
    /// Whether it is used only when no other is left.
    pub is_backup: bool,
    /// Whether it is checked.
    pub is_checked: bool,
    /// Whether it is spoken to by TLS.
    pub is_tls: bool,
    /// `rise` and `fall`.
    pub rise: u32,
    /// See `rise`.
    pub fall: u32,
    /// Its value in cookies.
    pub cookie: Option<String>,
    /// `maxconn`
    pub connections: Option<u32>,
    /// It begins in maintenance.
    pub is_disabled: bool,
}
