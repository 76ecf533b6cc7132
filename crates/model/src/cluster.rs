//! The cluster: what one file says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::{
    AccessFormat, Address, Errors, Maintenance, Program, Rate, Route, Secret, Service, Size,
};

/// The port on which nodes talk to one another, unless `[cluster] port` says otherwise.
pub const CLUSTER_PORT: u16 = 7411;
/// The name of the one node of a file without `[nodes]`.
pub const ONLY_NODE: &str = "local";

/// A whole cluster, checked: every name in it resolves, every port is free on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name, for pages and logs.
    pub name: String,
    /// What the nodes prove to one another. Present when there are several nodes.
    pub key: Option<Secret>,
    /// Where nodes talk to one another.
    pub port: u16,
    /// Where nodes keep what must survive a restart; each in a directory of its own name.
    pub state: PathBuf,
    /// The user a node becomes after binding.
    pub user: Option<String>,
    /// The group a node becomes after binding.
    pub group: Option<String>,
    /// Workers of a node; `None` is one for each core.
    pub workers: Option<u16>,
    /// The admin pages of each node.
    pub admin: Admin,
    /// What callers of the admin pages must know, when these are not for the machine alone.
    pub admin_token: Option<Secret>,
    /// Where a node's log goes.
    pub log: LogTo,
    /// What its lines are.
    pub log_format: LogFormat,
    /// The least severity that is written to it.
    pub log_level: LogLevel,
    /// The lines of access logs that do not say otherwise.
    pub access_format: AccessFormat,
    /// The machines, in the order of the file.
    pub nodes: Vec<Node>,
    /// Where requests come in.
    pub listeners: Vec<Listener>,
    /// Where they can go.
    pub services: Vec<Service>,
    /// The session tier.
    pub sessions: Option<Sessions>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address or host name.
    pub address: String,
    /// Its workers, when it differs from the cluster's.
    pub workers: Option<u16>,
}

/// Where admin pages are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// At this address of each node.
    At(Address),
    /// Nowhere.
    Off,
}

/// What the lines of a node's log are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The least severity that a node's log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What reduces redundancy or capacity.
    Warning,
    /// What is not served.
    Error,
}

impl LogLevel {
    /// All levels, the most talkative first.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warning, Self::Error];

    /// Its name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Where a node writes its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Standard error.
    Stderr,
    /// This file; `{node}` is filled in.
    File(String),
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// HTTP.
    #[default]
    Http,
    /// Anything over TCP: connections are passed on as they are.
    Tcp,
}

/// Where requests come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The nodes it is on.
    pub on: Vec<String>,
    /// Its addresses on each of them.
    pub bind: Vec<Address>,
    /// What it speaks.
    pub mode: Mode,
    /// Certificates, and what clients have to prove; `None` is plain.
    pub tls: Option<ListenerTls>,
    /// Whether HTTP/2 is spoken too; `None` is with `tls`.
    pub http2: Option<bool>,
    /// How much a client may ask for.
    pub limits: Limits,
    /// Connections begin with a PROXY header, and only nodes and those in `trust` may open them.
    pub proxy_protocol: bool,
    /// Peers, besides the nodes of the file, whose word on the client's address is taken.
    pub trust: Vec<IpNet>,
    /// First match wins.
    pub routes: Vec<Route>,
    /// Pages of errors, where routes have none of their own.
    pub errors: Errors,
    /// What is answered while works go on.
    pub maintenance: Option<Maintenance>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// The access log: `None` is off; relative to the node's state directory; `{node}` is filled in.
    pub log: Option<String>,
    /// Its lines, where they are not as the cluster's.
    pub log_format: Option<AccessFormat>,
    /// Requests get an id.
    pub request_id: bool,
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTls {
    /// PEM files, each with a chain and its key; a file name may have a `*`. The first answers for unknown names.
    pub certs: Vec<PathBuf>,
    /// PEM files with the keys of those that have none; a file name may have a `*`.
    pub keys: Vec<PathBuf>,
    /// The authorities of clients' certificates; `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must have one.
    pub client_cert: ClientCert,
    /// PEM files with lists of revoked certificates (CRL), of all those authorities; a file name may have a `*`.
    pub client_crl: Vec<PathBuf>,
    /// Only clients that ask for a name that a certificate has get past the handshake.
    pub strict_sni: bool,
    /// The oldest version spoken.
    pub min: TlsVersion,
}

/// Whether a client has to prove who it is. A certificate that does not verify ends the handshake in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCert {
    /// A client without a certificate does not get past the handshake.
    #[default]
    Required,
    /// It does, and is told from others.
    Optional,
}

/// What becomes of connections beyond those that a listener may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beyond {
    /// They are answered 503.
    #[default]
    Refuse,
    /// They stay in the kernel's queue until there is a place.
    Wait,
}

/// How much a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once on each node; `None` is as many as it can hold.
    pub connections: Option<u32>,
    /// What becomes of more.
    pub beyond: Beyond,
    /// Connections of one address at once on each node.
    pub per_source: Option<u32>,
    /// How often one address may connect, to each node.
    pub per_source_rate: Option<Rate>,
    /// A request's head, with its empty line; at most 64 KiB.
    pub head: Size,
    /// Fields of a request's head; at most 250.
    pub fields: u16,
    /// A request's target.
    pub uri: Size,
    /// A request's body.
    pub body: Option<Size>,
    /// Requests of one HTTP/2 connection at once.
    pub streams: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            beyond: Beyond::Refuse,
            per_source: None,
            per_source_rate: None,
            head: Size(16 * 1024),
            fields: 100,
            uri: Size(8 * 1024),
            body: None,
            streams: 100,
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V12,
    /// TLS 1.3.
    V13,
}

/// Time limits of a listener or a service. Each is the longest time without progress, except where said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request's first byte to the end of its head, in all.
    pub head: Duration,
    /// Between two pieces of a body, either way.
    pub body: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// To open a connection to a server, in all.
    pub connect: Duration,
    /// From a request's end to the first byte of its answer.
    pub first_byte: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            connect: Duration::from_secs(2),
            first_byte: Duration::from_mins(1),
        }
    }
}

impl Timeouts {
    /// Those of a listener that speaks `mode`, unless the file says otherwise: what is passed on as it is may be silent
    /// for longer.
    pub fn of(mode: Mode) -> Self {
        let usual = Self::default();
        match mode {
            Mode::Http => usual,
            Mode::Tcp => Self {
                idle: Duration::from_mins(10),
                ..usual
            },
        }
    }
}

/// The session tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// The session nodes as written.
    pub on: Vec<String>,
    /// What each may hold.
    pub memory: Size,
    /// The nodes with an agent.
    pub agents: Vec<String>,
    /// Where agents listen for applications, on each of them.
    pub agent: Address,
    /// The node of the third copy when `on` names two: as written, or as placed by [`Cluster::place_third`].
    pub third: Option<String>,
    /// Whether a write is on disk, not only in memory, before it is answered.
    pub durable: bool,
    /// Deletes that a plain `set` cannot undo.
    pub guard: Option<Guard>,
}

/// Keys whose deletes hold against a plain `set` for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Which keys.
    pub keys: Vec<crate::Pattern>,
    /// For how long.
    pub hold: Duration,
}

impl Sessions {
    /// The nodes that hold a copy and vote: those of `on`, and `third` when they are two.
    pub fn voters(&self) -> Vec<&str> {
        let mut voters: Vec<&str> = self.on.iter().map(String::as_str).collect();
        if let (2, Some(third)) = (voters.len(), &self.third) {
            voters.push(third);
        }
        voters
    }
}

impl Cluster {
    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// A service by its name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name() == name)
    }

    /// What a node does, in the words of the file: `listener web`, `app shop`, `sessions`.
    pub fn roles(&self, node: &str) -> Vec<String> {
        let is_here = |on: &[String]| on.iter().any(|name| name == node);
        let listeners = self.listeners.iter().filter(|l| is_here(&l.on));
        let services = self.services.iter().filter(|s| is_here(s.on()));
        let mut roles: Vec<String> = listeners.map(|l| format!("listener {}", l.name)).collect();
        roles.extend(services.map(|s| format!("{} {}", s.kind(), s.name())));
        if let Some(sessions) = &self.sessions {
            if sessions.voters().contains(&node) {
                roles.push("sessions".into());
            }
            if is_here(&sessions.agents) {
                roles.push("agent".into());
            }
        }
        roles
    }

    /// Lets programs without a `dir` start in `dir`: the directory of the cluster file, which a cluster does not know.
    /// To be called on what a file says, and again on its rehearsal, whose own file stands elsewhere.
    pub fn start_in(&mut self, dir: &Path) {
        for service in &mut self.services {
            if let Service::App(app) = service
                && let Program::Run {
                    dir: start @ None, ..
                } = &mut app.program
            {
                *start = Some(dir.to_path_buf());
            }
        }
    }

    /// Where a third copy goes when `[sessions] on` names two nodes and no third: a listener's node if one is free, so
    /// that a machine that is needed anyway holds it, else the first node that is not yet a session node.
    pub fn place_third(&mut self) {
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        if sessions.on.len() != 2 || sessions.third.is_some() {
            return;
        }
        let listening = self.listeners.iter().flat_map(|listener| &listener.on);
        let all = self.nodes.iter().map(|node| &node.name);
        sessions.third = listening
            .chain(all)
            .find(|name| !sessions.on.contains(name))
            .cloned();
    }

    /// What the placement of the session tier means when a machine dies, in sentences for `check`.
    pub fn session_advice(&self) -> Vec<String> {
        let Some(sessions) = &self.sessions else {
            return Vec::new();
        };
        let voters = sessions.voters();
        let list = voters.join(", ");
        match voters.len() {
            1 => vec![format!(
                "sessions: one copy, on {list}: when {list} dies, sessions stop until it is back"
            )],
            2 => vec![
                format!(
                    "sessions: two copies, on {list}, and no node for a third: a majority of two is both"
                ),
                format!(
                    "when {} or {} dies, sessions are refused until it is back; nothing acknowledged is lost",
                    voters[0], voters[1]
                ),
            ],
            n => {
                let place = match (&sessions.third, sessions.on.len()) {
                    (Some(third), 2) => format!("; the third voter is on {third}"),
                    _ => String::new(),
                };
                vec![format!(
                    "sessions: {n} copies, on {list}{place}: any {} may die",
                    (n - 1) / 2
                )]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::{Stage, rehearse};
    use crate::sample::six;

    #[test]
    fn programs_without_a_dir_start_in_the_files_directory_also_in_a_rehearsal() {
        let stage = Stage {
            network: 1,
            dir: "/tmp/r".into(),
            key: Secret::new("k"),
            stand_in: vec!["tandem".into()],
            ports: std::collections::BTreeMap::new(),
        };
        let mut cluster = rehearse(&six(), &stage).cluster;
        cluster.start_in(Path::new("/etc/tandem"));
        cluster.start_in(Path::new("/elsewhere"));
        let Some(Service::App(app)) = cluster.service("shop") else {
            panic!("an app")
        };
        let Program::Run { dir, .. } = &app.program else {
            panic!("a stand-in")
        };
        assert_eq!(dir.as_deref(), Some(Path::new("/etc/tandem")));
    }
}
