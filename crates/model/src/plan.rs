//! What one node does: the cluster seen from one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::cluster::Guard;
use crate::cluster::Limits;
use crate::{
    AccessFormat, Action, Address, Admin, App, Auth, BackendTls, Check, Cluster, Conditions,
    Content, ErrorContent, Errors, FastCgi, Listener, ListenerTls, LogFormat, LogLevel, LogTo,
    Maintenance, Mode, Overrides, Policies, Program, ProxyVersion, RESOLVE, Route, Secret, Service,
    Sessions, Site, Size, Spread, Timeouts,
};

/// Everything a node needs to know, and nothing about the others but how to reach them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The node's address or host name.
    pub address: String,
    /// What `127.0.0.1` means on this node: itself. Nodes that share a machine differ here.
    pub local: String,
    /// Connections to other nodes come from here, so that they are known as this node's.
    pub outgoing: Option<IpAddr>,
    /// Workers; `None` is one for each core.
    pub workers: Option<u16>,
    /// The node's own state directory.
    pub state: PathBuf,
    /// The user to become after binding.
    pub user: Option<String>,
    /// The group to become after binding.
    pub group: Option<String>,
    /// Where admin pages are served, if they are.
    pub admin: Option<Address>,
    /// What callers of the admin pages must know.
    pub admin_token: Option<Secret>,
    /// Where the log goes; names are filled in.
    pub log: LogTo,
    /// What its lines are.
    pub log_format: LogFormat,
    /// The least severity that it has.
    pub log_level: LogLevel,
    /// What nodes prove to one another.
    pub key: Option<Secret>,
    /// Where this node is reached by the others.
    pub cluster_port: u16,
    /// The other nodes: name and address.
    pub peers: Vec<(String, String)>,
    /// What this node listens on for HTTP: its listeners, and one for each service that others reach here.
    pub listeners: Vec<ListenerPlan>,
    /// Where routes lead, by [`TargetId`].
    pub targets: Vec<Target>,
    /// Applications on this node.
    pub apps: Vec<App>,
    /// The session tier, if this node has part in it.
    pub sessions: Option<SessionPlan>,
    /// How a replica here runs on that the file does not name any more, until it is let go of; `None` where it names this node,
    /// or no tier.
    pub former: Option<SessionPlan>,
    /// The voters of the session tier, also on a node without part in it: one that had part must learn who follows.
    pub voters: Vec<Voter>,
}

/// Index into [`NodePlan::targets`].
pub type TargetId = usize;

/// A listening place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// The listener's name, or the service's for which this node listens.
    pub name: String,
    /// True when this is the door of a service for the cluster's own listeners.
    pub internal: bool,
    /// Its addresses.
    pub bind: Vec<Address>,
    /// What it speaks.
    pub mode: Mode,
    /// Certificates; `None` is plain.
    pub tls: Option<ListenerTls>,
    /// HTTP/2 is spoken too.
    pub http2: bool,
    /// How much a client may ask for.
    pub limits: Limits,
    /// Connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Peers besides the nodes whose word on the client's address is taken.
    pub trust: Vec<IpNet>,
    /// First match wins.
    pub routes: Vec<Route>,
    /// What the names in the routes mean here.
    pub targets: BTreeMap<String, TargetId>,
    /// Pages of errors, where routes have none of their own.
    pub errors: Errors,
    /// What is answered while works go on; `None` where that cannot be.
    pub maintenance: Option<Maintenance>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// The access log, if there is one; absolute.
    pub log: Option<PathBuf>,
    /// Its lines.
    pub log_format: AccessFormat,
    /// Requests get an id.
    pub request_id: bool,
}

/// Where a route leads on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Files, read here.
    Site(Site),
    /// Servers, here or elsewhere.
    Pool(PoolPlan),
}

impl Target {
    /// The service's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Site(site) => &site.name,
            Self::Pool(pool) => &pool.service,
        }
    }
}

/// Servers among which requests are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// The service's name.
    pub service: String,
    /// `site`, `app` or `backend`.
    pub kind: &'static str,
    /// True when these are only this node's own: the other side of a gateway.
    pub gateway: bool,
    /// The servers, in the order of the file.
    pub members: Vec<Member>,
    /// How requests are spread.
    pub spread: Spread,
    /// How servers are checked.
    pub check: Check,
    /// How often names of servers are looked up again.
    pub resolve: Duration,
    /// How TLS is spoken to servers that are no nodes.
    pub tls: Option<BackendTls>,
    /// What connections to servers that are no nodes begin with.
    pub send_proxy: Option<ProxyVersion>,
    /// Servers that are no nodes speak FastCGI and not HTTP.
    pub fastcgi: Option<Arc<FastCgi>>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What signs the cookies that keep clients with their servers.
    pub secret: Option<Secret>,
}

/// One server of a pool, or all instances of an application on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: the node's, or the server's.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Its share of requests, 0 to 256.
    pub weight: u16,
    /// Used only when no other is up.
    pub backup: bool,
    /// How many requests it has in flight at most, from this node.
    pub max_connections: Option<u32>,
    /// What cookies that keep a client with it call it; `None` is its name, or what stands for that.
    pub stick_id: Option<String>,
    /// Connections to it come from this address; `None` leaves it to the kernel.
    pub from: Option<Outgoing>,
}

/// The address that connections to a server come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outgoing {
    /// This one, if the machine has it and the server can be reached from it.
    Preferred(IpAddr),
    /// This one and no other: a connection that cannot come from it is not opened.
    Always(IpAddr),
}

impl Outgoing {
    /// The address.
    pub fn ip(self) -> IpAddr {
        match self {
            Self::Preferred(ip) | Self::Always(ip) => ip,
        }
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Another node of the file: it says of its own failures whether a request may be tried again.
    Node(Address),
    /// A server that is no node.
    Server(Address),
    /// The instances of this application on this node, as they come and go.
    Instances {
        /// The application's name.
        app: String,
    },
}

/// A node's part in the session tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// Whether this node is a voter.
    pub voter: bool,
    /// Where the agent listens, if this node has one.
    pub agent: Option<Address>,
    /// What a voter may hold.
    pub memory: Size,
    /// Whether writes are on disk before they are answered.
    pub durable: bool,
    /// Deletes that a plain `set` cannot undo.
    pub guard: Option<Guard>,
}

/// A voter of the session tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// The node's name.
    pub name: String,
    /// Its cluster port.
    pub address: Address,
}

impl Listener {
    /// The files that its routes and pages are made of, in order.
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = page_files(&self.errors).collect();
        let works = self.maintenance.as_ref();
        files.extend(works.and_then(|works| works.page.as_deref()));
        collect_files(&self.routes, &mut files);
        files
    }

    /// The services its routes can lead to.
    pub fn services(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        collect(&self.routes, &mut names);
        names
    }
}

fn page_files(errors: &Errors) -> impl Iterator<Item = &Path> {
    errors.values().filter_map(|page| match &page.content {
        ErrorContent::File(file) => Some(file.as_path()),
        ErrorContent::Redirect { .. } | ErrorContent::Path { .. } => None,
    })
}

fn collect_files<'a>(routes: &'a [Route], files: &mut Vec<&'a Path>) {
    for route in routes {
        files.extend(page_files(&route.policies.errors));
        if let Some(Auth::Basic(users)) = &route.policies.auth {
            files.extend(users.file.as_deref());
        }
        match &route.action {
            Action::Routes(nested) => collect_files(nested, files),
            Action::Respond {
                body: Content::File(file),
                ..
            } => files.push(file),
            _ => {}
        }
    }
}

fn collect<'a>(routes: &'a [Route], names: &mut BTreeSet<&'a str>) {
    for route in routes {
        names.extend(route.missing.iter().map(String::as_str));
        match &route.action {
            Action::To(service) => {
                names.insert(service);
            }
            Action::Split { to, .. } => names.extend(to.iter().map(|(name, _)| name.as_str())),
            Action::Routes(nested) => collect(nested, names),
            Action::Respond { .. } | Action::Redirect { .. } | Action::Deny | Action::Close => {}
        }
    }
}

impl Cluster {
    /// Whether some listener on another node than `node` leads to `service`.
    pub fn reached_from_elsewhere(&self, service: &str, node: &str) -> bool {
        self.listeners
            .iter()
            .filter(|listener| listener.services().contains(service))
            .flat_map(|listener| &listener.on)
            .any(|on| on != node && !self.serves_in_process(service, on))
    }

    /// Whether a listener on `node` answers `service` itself and asks no other node: a site that is there too.
    fn serves_in_process(&self, service: &str, node: &str) -> bool {
        matches!(self.service(service), Some(Service::Site(site)) if site.on.iter().any(|on| on == node))
    }

    /// What `node` does. `None` when the file has no such node.
    pub fn for_node(&self, node: &str) -> Option<NodePlan> {
        let me = self.node(node)?;
        let ip: Option<IpAddr> = me.address.parse().ok();
        let loopback = ip.is_some_and(|ip| ip.is_loopback());
        let several = self.nodes.len() > 1;
        let view = View {
            cluster: self,
            node,
            local: if loopback {
                me.address.clone()
            } else {
                "127.0.0.1".into()
            },
            outgoing: ip.filter(|_| several),
            outgoing_here: ip.filter(|_| several && loopback),
        };
        let mut targets = Vec::new();
        let listeners = view.listeners(&mut targets);
        Some(NodePlan {
            cluster: self.name.clone(),
            node: node.into(),
            address: me.address.clone(),
            outgoing: view.outgoing,
            workers: me.workers.or(self.workers),
            state: self.state.join(node),
            user: self.user.clone(),
            group: self.group.clone(),
            admin: match &self.admin {
                Admin::At(address) => Some(view.here(address)),
                Admin::Off => None,
            },
            log: match &self.log {
                LogTo::Stderr => LogTo::Stderr,
                LogTo::File(path) => LogTo::File(path.replace("{node}", node)),
            },
            admin_token: self.admin_token.clone(),
            log_format: self.log_format,
            log_level: self.log_level,
            key: self.key.clone(),
            cluster_port: self.port,
            peers: self
                .nodes
                .iter()
                .filter(|peer| peer.name != node)
                .map(|peer| (peer.name.clone(), peer.address.clone()))
                .collect(),
            listeners,
            targets,
            apps: self
                .services
                .iter()
                .filter_map(|service| view.app_here(service))
                .collect(),
            sessions: view.sessions(),
            former: view.former(),
            voters: view.voters(),
            local: view.local,
        })
    }
}

/// The cluster with one node's eyes.
struct View<'a> {
    cluster: &'a Cluster,
    node: &'a str,
    local: String,
    outgoing: Option<IpAddr>,
    outgoing_here: Option<IpAddr>,
}

impl View<'_> {
    /// `127.0.0.1` and `localhost` are this node.
    fn here(&self, address: &Address) -> Address {
        match address {
            Address::Tcp { host, port } if host == "127.0.0.1" || host == "localhost" => {
                Address::tcp(self.local.clone(), *port)
            }
            other => other.clone(),
        }
    }

    fn is_here(&self, on: &[String]) -> bool {
        on.iter().any(|name| name == self.node)
    }

    fn app_here(&self, service: &Service) -> Option<App> {
        let Service::App(app) = service else {
            return None;
        };
        self.is_here(&app.on).then(|| {
            let mut app = app.clone();
            if let Program::Proxy(address) = &app.program {
                app.program = Program::Proxy(self.here(address));
            }
            app
        })
    }

    fn listeners(&self, targets: &mut Vec<Target>) -> Vec<ListenerPlan> {
        let mut plans = Vec::new();
        // One view of a service for all public listeners of the node, so that they share its turn and its health.
        let mut shared = BTreeMap::new();
        for listener in self
            .cluster
            .listeners
            .iter()
            .filter(|l| self.is_here(&l.on))
        {
            let mut names = BTreeMap::new();
            for name in listener.services() {
                let Some(service) = self.cluster.service(name) else {
                    continue;
                };
                let id = *shared.entry(name).or_insert_with(|| {
                    targets.push(self.target(service, false));
                    targets.len() - 1
                });
                names.insert(name.to_owned(), id);
            }
            let mut routes = crate::on_node::routes(&listener.routes, self.node);
            let mut limits = listener.limits;
            limits.body = crate::body_limits::of_routes(&mut routes, limits.body);
            plans.push(ListenerPlan {
                name: listener.name.clone(),
                internal: false,
                bind: listener.bind.clone(),
                mode: listener.mode,
                tls: listener.tls.clone(),
                http2: listener.http2.unwrap_or(listener.tls.is_some()),
                limits,
                proxy_protocol: listener.proxy_protocol,
                trust: listener.trust.clone(),
                routes,
                targets: names,
                errors: crate::on_node::errors(&listener.errors, self.node),
                maintenance: (listener.mode == Mode::Http)
                    .then(|| listener.maintenance.clone().unwrap_or_default()),
                timeouts: listener.timeouts,
                log: self.log_path(listener.log.as_deref()),
                log_format: (listener.log_format.clone())
                    .unwrap_or_else(|| self.cluster.access_format.clone()),
                request_id: listener.request_id,
            });
        }
        for service in self
            .cluster
            .services
            .iter()
            .filter(|s| self.is_here(s.on()))
        {
            let Some(port) = service.port() else { continue };
            if !self
                .cluster
                .reached_from_elsewhere(service.name(), self.node)
            {
                continue;
            }
            targets.push(self.target(service, true));
            plans.push(self.internal(service, port, targets.len() - 1));
        }
        plans
    }

    /// The door of a service for the listeners of other nodes.
    fn internal(&self, service: &Service, port: u16, id: TargetId) -> ListenerPlan {
        let name = service.name();
        let address = self
            .cluster
            .node(self.node)
            .map_or_else(String::new, |n| n.address.clone());
        let timeouts = match service {
            Service::App(app) => app.timeouts,
            Service::Site(_) | Service::Backend(_) => Timeouts::default(),
        };
        ListenerPlan {
            name: name.into(),
            internal: true,
            bind: vec![Address::tcp(address, port)],
            mode: Mode::Http,
            tls: None,
            http2: false,
            limits: Limits::default(),
            proxy_protocol: false,
            trust: Vec::new(),
            routes: vec![Route {
                name: None,
                when: Conditions::default(),
                action: Action::To(name.into()),
                missing: Vec::new(),
                policies: Policies::default(),
                log: true,
                over: Overrides::default(),
                line: 0,
            }],
            targets: BTreeMap::from([(name.into(), id)]),
            errors: Errors::new(),
            maintenance: None,
            timeouts,
            log: self.log_path(Some("access.log")),
            log_format: self.cluster.access_format.clone(),
            request_id: true,
        }
    }

    fn log_path(&self, log: Option<&str>) -> Option<PathBuf> {
        log.map(|path| {
            self.cluster
                .state
                .join(self.node)
                .join(path.replace("{node}", self.node))
        })
    }

    /// A service as requests on this node meet it; `alone` leaves out what is on other nodes.
    fn target(&self, service: &Service, alone: bool) -> Target {
        match service {
            Service::Site(site) if self.is_here(&site.on) => Target::Site(site.clone()),
            Service::Site(site) => Target::Pool(PoolPlan {
                service: site.name.clone(),
                kind: service.kind(),
                gateway: false,
                members: self.node_members(&site.on, site.port.unwrap_or(0), |_| 1),
                spread: Spread::default(),
                check: site.check.clone(),
                resolve: RESOLVE,
                tls: None,
                send_proxy: None,
                fastcgi: None,
                timeouts: Timeouts::default(),
                secret: self.cluster.key.clone(),
            }),
            Service::App(app) => Target::Pool(PoolPlan {
                service: app.name.clone(),
                kind: service.kind(),
                gateway: alone,
                members: self.app_members(app, alone),
                spread: app.spread.clone(),
                check: app.check.clone(),
                resolve: RESOLVE,
                tls: None,
                send_proxy: app.send_proxy,
                fastcgi: app.fastcgi.clone(),
                timeouts: app.timeouts,
                secret: self.cluster.key.clone(),
            }),
            Service::Backend(backend) => Target::Pool(PoolPlan {
                service: backend.name.clone(),
                kind: service.kind(),
                gateway: false,
                members: backend
                    .servers
                    .iter()
                    .map(|server| Member {
                        name: server.name.clone(),
                        place: Place::Server(self.here(&server.address)),
                        weight: server.weight,
                        backup: server.backup,
                        max_connections: server.max_connections,
                        stick_id: server.stick_id.clone(),
                        from: backend
                            .source
                            .map(Outgoing::Always)
                            .or(self.outgoing_here.map(Outgoing::Preferred)),
                    })
                    .collect(),
                spread: backend.spread.clone(),
                check: backend.check.clone(),
                resolve: backend.resolve,
                tls: backend.tls.clone(),
                send_proxy: backend.send_proxy,
                fastcgi: backend.fastcgi.clone(),
                timeouts: backend.timeouts,
                secret: self.cluster.key.clone(),
            }),
        }
    }

    fn app_members(&self, app: &App, alone: bool) -> Vec<Member> {
        let weight = |node: &str| app.weight.get(node).copied().unwrap_or(1);
        if alone {
            return vec![self.instances(app, 1)];
        }
        let mut members = self.node_members(&app.on, app.port.unwrap_or(0), weight);
        for member in &mut members {
            if member.name == self.node {
                *member = self.instances(app, member.weight);
            }
        }
        members
    }

    fn instances(&self, app: &App, weight: u16) -> Member {
        Member {
            name: self.node.into(),
            place: Place::Instances {
                app: app.name.clone(),
            },
            weight,
            backup: false,
            max_connections: app.max_connections,
            stick_id: None,
            from: self.outgoing_here.map(Outgoing::Preferred),
        }
    }

    fn node_members(&self, on: &[String], port: u16, weight: impl Fn(&str) -> u16) -> Vec<Member> {
        on.iter()
            .filter_map(|name| self.cluster.node(name))
            .map(|node| Member {
                name: node.name.clone(),
                place: Place::Node(Address::tcp(node.address.clone(), port)),
                weight: weight(&node.name),
                backup: false,
                max_connections: None,
                stick_id: None,
                from: self.outgoing.map(Outgoing::Preferred),
            })
            .collect()
    }

    fn voters(&self) -> Vec<Voter> {
        let sessions = self.cluster.sessions.as_ref();
        let names = sessions
            .map(|sessions| sessions.voters())
            .unwrap_or_default();
        let nodes = names.iter().filter_map(|name| self.cluster.node(name));
        let voters = nodes.map(|node| Voter {
            name: node.name.clone(),
            address: Address::tcp(node.address.clone(), self.cluster.port),
        });
        voters.collect()
    }

    fn sessions(&self) -> Option<SessionPlan> {
        let sessions = self.cluster.sessions.as_ref()?;
        let voters = sessions.voters();
        let voter = voters.contains(&self.node);
        let agent = self.is_here(&sessions.agents);
        (voter || agent).then(|| SessionPlan {
            voter,
            agent: agent.then(|| self.here(&sessions.agent)),
            ..Self::replica(sessions)
        })
    }

    fn former(&self) -> Option<SessionPlan> {
        let sessions = self.cluster.sessions.as_ref()?;
        let is_voter = sessions.voters().contains(&self.node);
        (!is_voter).then(|| Self::replica(sessions))
    }

    fn replica(sessions: &Sessions) -> SessionPlan {
        SessionPlan {
            voter: true,
            agent: None,
            memory: sessions.memory,
            durable: sessions.durable,
            guard: sessions.guard.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
