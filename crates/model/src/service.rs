//! Services: what a route can lead to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::{Address, Check, Spread, Timeouts};

/// A named service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Files.
    Site(Site),
    /// An application on nodes of the cluster.
    App(App),
    /// Servers outside the cluster.
    Backend(Backend),
}

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
    /// `gzip`.
    Gzip,
}

impl Coding {
    /// All of them, the one that makes text smallest first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in HTTP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What is added to a file's name, dot included.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// One rule of who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// These may.
    Allow(Vec<IpNet>),
    /// These may not.
    Deny(Vec<IpNet>),
}

/// Files from a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// The nodes it is on.
    pub on: Vec<String>,
    /// Where it listens for listeners on other nodes.
    pub port: Option<u16>,
    /// The directory. Nothing outside of it is ever read.
    pub root: PathBuf,
    /// File names answered for a directory.
    pub index: Vec<String>,
    /// Ends of names that are looked for behind a path that is no file: `.html`, `/index.html`.
    pub suffixes: Vec<String>,
    /// The name below the root of the file that is served where there is none.
    pub fallback: Option<String>,
    /// Other directories, by the path they are seen under.
    pub aliases: BTreeMap<String, PathBuf>,
    /// More types by suffix (without the dot), before the built-in table; `*` is the type of every other file.
    pub types: BTreeMap<String, String>,
    /// The built-in table is not asked: types are those of `types` alone.
    pub only_types: bool,
    /// The charset that text of the built-in table is said to be in; `None` is UTF-8, empty says nothing.
    pub charset: Option<String>,
    /// How long clients may keep files, by media type (`text/css`, `image/*`, `*`).
    pub expires: BTreeMap<String, Duration>,
    /// Codings of siblings (`a.css.gz`) that are sent in place of a file, the preferred first.
    pub precompressed: Vec<Coding>,
    /// Compress text as it is asked for, and keep the result.
    pub compress: bool,
    /// Show what is in a directory without an index.
    pub listing: bool,
    /// A directory is nothing: neither its index, nor a listing, nor the way to it with a slash.
    pub only_files: bool,
    /// The path of a page with counters, in the words of nginx's `stub_status`.
    pub status: Option<String>,
    /// Clients that may ask; empty is everyone.
    pub allow: Vec<IpNet>,
    /// Clients that may not, asked first.
    pub deny: Vec<IpNet>,
    /// Who may ask, in order, in place of the two: the first rule that names a client decides, and whom none names may.
    pub access: Vec<Access>,
    /// Names of files below the root that are sent with an error, by its status.
    pub errors: BTreeMap<u16, String>,
    /// Serve names that begin with a dot.
    pub hidden: bool,
    /// How listeners on other nodes check it.
    pub check: Check,
    /// What plays it in a rehearsal.
    pub rehearse: Option<Rehearsal>,
}

/// An application behind a gateway on each of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: String,
    /// The nodes it is on.
    pub on: Vec<String>,
    /// Where its gateways listen for listeners on other nodes.
    pub port: Option<u16>,
    /// What is behind the gateway.
    pub program: Program,
    /// Requests per node, relative to the others; 1 unless given.
    pub weight: BTreeMap<String, u16>,
    /// How requests are spread over its servers.
    pub spread: Spread,
    /// How many requests each of its instances has in flight at most.
    pub max_connections: Option<u32>,
    /// How listeners check the gateways, and gateways the program.
    pub check: Check,
    /// Connections to the program begin with a PROXY header that says who the client is.
    pub send_proxy: Option<ProxyVersion>,
    /// The program speaks FastCGI, uwsgi or SCGI and not HTTP.
    pub fastcgi: Option<Arc<FastCgi>>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What plays it in a rehearsal.
    pub rehearse: Option<Rehearsal>,
}

/// What an application runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// It runs already, there.
    Proxy(Address),
    /// Tandem starts it.
    Run {
        /// Program and arguments; `{port}`, `{host}`, `{node}`, `{instance}` and `{sessions}` are filled in.
        command: Vec<String>,
        /// Where it starts; `None` is the directory of the cluster file.
        dir: Option<PathBuf>,
        /// More environment, filled in likewise.
        env: BTreeMap<String, String>,
        /// Run as this user.
        user: Option<String>,
        /// How many on each node.
        instances: u16,
        /// From SIGTERM to SIGKILL.
        stop_timeout: Duration,
    },
}

/// How TLS is spoken to the servers of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// A PEM file of the authorities that servers' certificates are to be signed by; `None` is the machine's.
    pub ca: Option<PathBuf>,
    /// The name that is asked for and that certificates must have; `None` is each server's own as written.
    pub name: Option<String>,
    /// Whether certificates are looked at at all.
    pub verify: bool,
    /// A PEM file with the certificate and key that are shown to servers that ask for one.
    pub cert: Option<PathBuf>,
    /// A PEM file with its key, where that is in another one.
    pub key: Option<PathBuf>,
}

impl Default for BackendTls {
    fn default() -> Self {
        Self {
            ca: None,
            name: None,
            verify: true,
            cert: None,
            key: None,
        }
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The protocols of programs that get what CGI has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// FastCGI, as PHP-FPM speaks it.
    #[default]
    FastCgi,
    /// uWSGI's own.
    Uwsgi {
        /// Which of its plugins is asked (`modifier1`); 0 is Python's.
        modifier: u8,
    },
    /// SCGI.
    Scgi,
}

impl Protocol {
    /// The key of a service that says it.
    pub fn key(self) -> &'static str {
        match self {
            Self::FastCgi => "fastcgi",
            Self::Uwsgi { .. } => "uwsgi",
            Self::Scgi => "scgi",
        }
    }
}

/// How a program is asked over FastCGI, or a protocol that has the same parameters, and which script of its files it is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastCgi {
    /// What is spoken.
    pub protocol: Protocol,
    /// The directory of its scripts; `None` for a program that answers every path itself.
    pub root: Option<PathBuf>,
    /// Programs get the directory with its symbolic links followed, as they are at each request.
    pub real_root: bool,
    /// How the names of scripts end, with the dot; empty where every file is one.
    pub extension: String,
    /// What follows a script in the path is handed to it; else such a path is no script's.
    pub path_info: bool,
    /// The script of a directory.
    pub index: String,
    /// The script that answers where there is none: a path from the root.
    pub front: Option<String>,
    /// The one script that answers every path.
    pub script: Option<String>,
    /// Parameters beside the usual ones, or in their place.
    pub params: BTreeMap<String, String>,
}

impl Default for FastCgi {
    fn default() -> Self {
        Self {
            protocol: Protocol::default(),
            root: None,
            real_root: false,
            extension: ".php".into(),
            path_info: false,
            index: "index.php".into(),
            front: None,
            script: None,
            params: BTreeMap::new(),
        }
    }
}

/// Servers outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Vec<BackendServer>,
    /// How requests are spread over its servers.
    pub spread: Spread,
    /// How they are checked.
    pub check: Check,
    /// How often names of servers are looked up again.
    pub resolve: Duration,
    /// How TLS is spoken to them; `None` is plain.
    pub tls: Option<BackendTls>,
    /// Connections to them begin with a PROXY header that says who the client is.
    pub send_proxy: Option<ProxyVersion>,
    /// They speak FastCGI, uwsgi or SCGI and not HTTP.
    pub fastcgi: Option<Arc<FastCgi>>,
    /// The address that connections to them come from; `None` leaves it to the system.
    pub source: Option<IpAddr>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What plays it in a rehearsal.
    pub rehearse: Option<Rehearsal>,
}

/// How often names are looked up again, unless the file says otherwise.
pub const RESOLVE: Duration = Duration::from_secs(10);

/// One server of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendServer {
    /// Its name; its address unless given.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Its share of requests, 0 to 256.
    pub weight: u16,
    /// Used only when no other is up.
    pub backup: bool,
    /// How many requests it has in flight at most, from each node.
    pub max_connections: Option<u32>,
    /// What cookies that keep a client with it call it; `None` is its name, or what stands for that.
    pub stick_id: Option<String>,
}

/// What plays a service in rehearsals and drills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rehearsal {
    /// This program, by the rules of `run`.
    Run(Vec<String>),
    /// Something that runs already, there.
    Proxy(Address),
    /// This directory.
    Root(PathBuf),
}

impl Service {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Site(site) => &site.name,
            Self::App(app) => &app.name,
            Self::Backend(backend) => &backend.name,
        }
    }

    /// The key it is written under: `site`, `app`, `backend`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Site(_) => "site",
            Self::App(_) => "app",
            Self::Backend(_) => "backend",
        }
    }

    /// The nodes it is on; none for a backend.
    pub fn on(&self) -> &[String] {
        match self {
            Self::Site(site) => &site.on,
            Self::App(app) => &app.on,
            Self::Backend(_) => &[],
        }
    }

    /// The port it listens on for listeners of other nodes.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Site(site) => site.port,
            Self::App(app) => app.port,
            Self::Backend(_) => None,
        }
    }
}
