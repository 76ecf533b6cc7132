//! Where a node listens for HTTP: bound first, opened when there is someone to answer, exchanged by a reload.

mod shown;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem_admin::{Access, AdminHandler};
use tandem_edge::{Router, TcpRouter};
use tandem_http::policy::{ErrorPages, Maintenance, Works};
use tandem_http::{Admission, Engine, Handler, ListenerConfig, ListenerMeters};
use tandem_model::{
    AccessFormat, Address, Limits, ListenerPlan, ListenerTls, Mode, NodePlan, Overrides, Timeouts,
};
use tandem_net::listen::{self, Bound};
use tandem_net::workers::{self, WorkerCx, Workers};
use tandem_net::{ClientRule, Pipe, ServerTls};
use tandem_telemetry::{Control as _, Telemetry};
use tokio::sync::{mpsc, oneshot};

use super::services::Services;
use super::shared;
use super::succession::{Legacy, Role};
use crate::exit::{Failure, Result};
use crate::process;

/// How long workers may take beyond draining.
const GRACE: Duration = Duration::from_secs(2);

/// Bound sockets by their address as written.
pub struct Sockets {
    listeners: BTreeMap<Address, Vec<Bound>>,
    admin: Option<(Address, Vec<Bound>)>,
    own: Option<(Address, Vec<Bound>)>,
}

/// The socket in the state directory by which the command line speaks to the node.
pub const OWN_SOCKET: &str = "admin.sock";

/// What is to be answered at which address.
pub struct Configs {
    doors: Vec<(Address, Arc<ListenerConfig>)>,
    /// By the listener: the switch of its works, and whether the file says that they go on.
    works: BTreeMap<String, (Arc<Works>, bool)>,
    /// Whom the works of a listener do not hold off.
    allow: BTreeMap<String, Vec<String>>,
}

/// What of listeners goes on through a reload, by their names.
#[derive(Default)]
pub struct Before {
    certificates: BTreeMap<String, Arc<ServerTls>>,
    admissions: BTreeMap<String, Arc<Admission>>,
    works: BTreeMap<String, Arc<Works>>,
}

impl Before {
    /// Of another process: the works that went on there, and whether its file said so.
    pub fn left(works: &BTreeMap<String, (bool, bool)>) -> Self {
        let left = works.iter().map(|(listener, &(now, file))| {
            let works = Works::new(file);
            // Of works both can be ordered.
            let _ = if now {
                works.maintenance()
            } else {
                works.ready()
            };
            (listener.clone(), Arc::new(works))
        });
        Self {
            works: left.collect(),
            ..Self::default()
        }
    }
}

/// Where sockets come from at the start.
#[derive(Default)]
pub struct Origin {
    /// Another process that has the addresses lets go of them soon.
    pub beside: bool,
    /// Bound sockets that were handed over, by what they are bound to.
    pub handed: BTreeMap<Address, OwnedFd>,
    /// The sockets of the process whose place is taken.
    pub legacy: Legacy,
}

impl Origin {
    fn bind(
        &mut self,
        role: Role,
        address: &Address,
        workers: usize,
    ) -> std::result::Result<Vec<Bound>, String> {
        let left = self.legacy.take(role, address);
        if !left.is_empty() {
            let taken = left.into_iter().map(|at| listen::take_over(at, workers));
            return taken.collect::<std::io::Result<_>>().map_err(|error| {
                format!("cannot listen on the sockets of the running node for {address}: {error}")
            });
        }
        if let Some(socket) = self.handed.remove(address) {
            let adopted = listen::adopt(socket, workers);
            return adopted.map(|bound| vec![bound]).map_err(|error| {
                format!("cannot listen on the socket that was handed over for {address}: {error}")
            });
        }
        let bound = if self.beside {
            listen::bind_beside(address, workers)
        } else {
            listen::bind(address, workers)
        };
        bound.map_err(|error| error.to_string())
    }
}

/// Binds every listener and the admin pages, for so many workers.
pub fn bind(
    plan: &NodePlan,
    workers: usize,
    origin: &mut Origin,
    telemetry: &Telemetry,
) -> Result<Sockets> {
    let mut wrong = Vec::new();
    let listeners = bind_all(plan, workers, |_| true, origin, &mut wrong);
    let own = bind_own(plan, origin, telemetry);
    let mut admin = None;
    if let Some(address) = &plan.admin {
        match origin.bind(Role::Door, address, workers) {
            Ok(bound) => admin = Some((address.clone(), bound)),
            Err(error) => wrong.push(format!("admin pages: {error}")),
        }
    }
    all_or_none(
        Sockets {
            listeners,
            admin,
            own,
        },
        &wrong,
    )
}

/// Binds the socket of the node's user. Where it cannot be, only the command line is the poorer.
fn bind_own(
    plan: &NodePlan,
    origin: &mut Origin,
    telemetry: &Telemetry,
) -> Option<(Address, Vec<Bound>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = plan.state.join(OWN_SOCKET);
    let address = Address::Unix(path.to_string_lossy().into_owned());
    let bound = origin.bind(Role::Own, &address, 1).and_then(|bound| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| process::give(&path, plan.user.as_deref(), plan.group.as_deref()))
            .map_err(|error| error.to_string())?;
        Ok(Some((address, bound)))
    });
    bound.unwrap_or_else(|why| {
        let what = format!(
            "commands cannot reach this node by {}: {why}",
            path.display()
        );
        telemetry.events.warning("node", what);
        None
    })
}

/// What callers of the admin address must prove.
pub fn access(plan: &NodePlan) -> Access {
    match (&plan.admin_token, &plan.admin) {
        (Some(token), _) => Access::Token(token.reveal().into()),
        (None, Some(Address::Unix(_))) => Access::Owner,
        (None, _) => Access::Local,
    }
}

fn bind_all(
    plan: &NodePlan,
    workers: usize,
    wanted: impl Fn(&Address) -> bool,
    origin: &mut Origin,
    wrong: &mut Vec<String>,
) -> BTreeMap<Address, Vec<Bound>> {
    let mut listeners = BTreeMap::new();
    for listener in &plan.listeners {
        for address in listener.bind.iter().filter(|address| wanted(address)) {
            match origin.bind(Role::Door, address, workers) {
                Ok(bound) => {
                    listeners.insert(address.clone(), bound);
                }
                Err(error) => wrong.push(format!("listener {}: {error}", listener.name)),
            }
        }
    }
    listeners
}

fn all_or_none(sockets: Sockets, wrong: &[String]) -> Result<Sockets> {
    if wrong.is_empty() {
        Ok(sockets)
    } else {
        Err(Failure::usage(wrong.join("\ntandem: ")))
    }
}

/// Connections from clients that a worker may hold. A proxied request takes a second descriptor, and some have a pipe.
pub fn connections(descriptors: u64, workers: usize) -> usize {
    let workers = workers.max(1) as u64;
    let reserved = process::RESERVED + workers * Pipe::DESCRIPTORS as u64;
    let each = descriptors.saturating_sub(reserved).max(64) / 2 / workers;
    usize::try_from(each).unwrap_or(usize::MAX)
}

/// Compiles what is answered at each address of the plan.
///
/// Certificates that are as they were are not set up anew, so that clients are resumed; and what was ordered about works
/// at run time goes on.
pub fn configure(
    plan: &NodePlan,
    services: &Services,
    rule: &ClientRule,
    before: &Before,
    telemetry: &Telemetry,
) -> Result<Configs> {
    let mut configs = Configs {
        doors: Vec::new(),
        works: BTreeMap::new(),
        allow: BTreeMap::new(),
    };
    let missing = Services::nobody();
    for listener in &plan.listeners {
        if let Some(path) = &listener.log {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| {
                Failure::usage(format!(
                    "listener {}: the access log {} cannot be opened: {error}",
                    listener.name,
                    path.display()
                ))
            })?;
        }
        let handler = |id: usize, over: &Overrides| {
            let found = plan.targets.get(id);
            let found = found.and_then(|target| services.handler(target, listener.internal, over));
            found.unwrap_or_else(|| missing.clone())
        };
        let connections = |id: usize, over: &Overrides| {
            let target = plan.targets.get(id)?;
            services.connections(target, over)
        };
        let router = match listener.mode {
            Mode::Http => Router::new(listener, &handler)
                .map(|router| (router.labels(), Arc::new(router) as Arc<dyn Handler>)),
            Mode::Tcp => TcpRouter::new(listener, &connections)
                .map(|router| (router.labels(), Arc::new(router) as _)),
        };
        let (labels, mut handler) = router.map_err(|error| Failure::usage(error.to_string()))?;
        let name = shared(&listener.name);
        let wrong = |what| Failure::usage(format!("listener {}: {what}", listener.name));
        if let Some(said) = &listener.maintenance {
            let known = before.works.get(&listener.name).cloned();
            let known = known.unwrap_or_else(|| Arc::new(Works::new(said.active)));
            let around = Maintenance::new(said, known.clone(), &name, handler).map_err(wrong)?;
            handler = Arc::new(around);
            configs
                .works
                .insert(listener.name.clone(), (known, said.active));
            let allow = said.allow.iter().map(ToString::to_string).collect();
            configs.allow.insert(listener.name.clone(), allow);
        }
        let config = Arc::new(ListenerConfig {
            name,
            handler,
            timeouts: listener.timeouts,
            rule: ClientRule {
                nodes: rule.nodes.clone(),
                trust: listener.trust.clone(),
            },
            http2: listener.http2 && listener.mode == Mode::Http,
            limits: listener.limits,
            admission: before
                .admissions
                .get(&listener.name)
                .cloned()
                .unwrap_or_default(),
            proxy_protocol: listener.proxy_protocol,
            tls: listener
                .tls
                .as_ref()
                .map(|tls| server_tls(&listener.name, tls, before))
                .transpose()?,
            internal: listener.internal,
            errors: ErrorPages::read(&listener.errors).map_err(wrong)?,
            log: listener.log.clone(),
            log_format: listener.log_format.clone(),
            request_id: listener.request_id,
            meters: meters(listener, &labels, telemetry),
        });
        let addresses = listener.bind.iter().cloned();
        let doors = addresses.map(|address| (address, config.clone()));
        configs.doors.extend(doors);
    }
    Ok(configs)
}

/// What a listener counts with. The door of a service is told from a listener of the same name.
fn meters(plan: &ListenerPlan, labels: &[String], telemetry: &Telemetry) -> ListenerMeters {
    let name = if plan.internal {
        format!("{}/door", plan.name)
    } else {
        plan.name.clone()
    };
    ListenerMeters::new(
        &telemetry.meters,
        &name,
        labels.iter().map(String::as_str),
        plan.targets.keys().map(String::as_str),
    )
}

/// The certificates that a listener has, or is to have.
fn server_tls(listener: &str, tls: &ListenerTls, before: &Before) -> Result<Arc<ServerTls>> {
    let loaded = match before.certificates.get(listener) {
        Some(before) => before.reload(tls),
        None => ServerTls::load(tls),
    };
    loaded.map_err(|error| Failure::usage(format!("listener {listener}: {error}")))
}

/// The listener of admin pages.
pub fn admin_config(handler: Arc<dyn Handler>) -> ListenerConfig {
    ListenerConfig {
        name: shared("admin"),
        handler,
        timeouts: Timeouts::default(),
        rule: ClientRule::default(),
        proxy_protocol: false,
        tls: None,
        http2: false,
        limits: Limits::default(),
        admission: Arc::default(),
        internal: false,
        errors: None,
        log: None,
        log_format: AccessFormat::Combined,
        request_id: false,
        meters: ListenerMeters::default(),
    }
}

/// Open doors, and the workers behind them.
pub struct Doors {
    open: BTreeMap<Address, Arc<ArcSwap<ListenerConfig>>>,
    /// With what the file says.
    works: BTreeMap<String, (Arc<Works>, bool)>,
    telemetry: Telemetry,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    workers: Workers,
    /// The sockets that the workers listen at, for a process that takes this one's place.
    held: Vec<Held>,
}

/// Duplicates of the sockets at one place.
struct Held {
    role: Role,
    address: Address,
    sockets: Vec<OwnedFd>,
}

/// How the doors are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Idle connections end at once, requests in flight may take so long to finish.
    Within(Duration),
    /// Another process listens here: idle connections end after one more answer, the last ones after so long.
    Succeeded(Duration),
}

/// What a worker is told. There are few of them: one for each address that a reload changes.
enum Order {
    /// Listen here, too.
    Open(Option<Address>, OwnedFd, Arc<ArcSwap<ListenerConfig>>),
    /// Listen here no more.
    Close(Address),
    /// Open your logs anew.
    ReopenLogs,
    /// Say that you live.
    Answer(oneshot::Sender<()>),
    /// How it is to end once it is stopped.
    End(Closing),
}

/// Asks the workers whether they live.
pub struct Pulse(Vec<mpsc::UnboundedSender<Order>>);

impl Pulse {
    /// Whether every worker answers within `limit`.
    pub async fn beats(&self, limit: Duration) -> bool {
        let asked: Vec<_> = self
            .0
            .iter()
            .map(|worker| {
                let (answer, answered) = oneshot::channel();
                // A worker that is gone answers by dropping it.
                let _ = worker.send(Order::Answer(answer));
                answered
            })
            .collect();
        let all = futures_util::future::try_join_all(asked);
        matches!(tokio::time::timeout(limit, all).await, Ok(Ok(_)))
    }
}

impl Doors {
    /// Starts the workers, each with `most` connections at most, and opens every door.
    pub fn open(
        mut sockets: Sockets,
        configs: Configs,
        [admin, owner]: [AdminHandler; 2],
        workers: usize,
        most: usize,
        telemetry: &Telemetry,
    ) -> Result<Self> {
        let (orders, queues): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let queues: Mutex<Vec<_>> = Mutex::new(queues.into_iter().map(Some).collect());
        let reports = telemetry.clone();
        let work = move |cx: WorkerCx| {
            let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.get_mut(cx.index).and_then(Option::take);
            worker(cx, queue, most, reports.clone())
        };
        let workers = workers::start(process::WORKER, workers, work)
            .map_err(|error| Failure::failed(format!("cannot start the workers: {error}")))?;
        let mut doors = Self {
            open: BTreeMap::new(),
            works: BTreeMap::new(),
            telemetry: telemetry.clone(),
            orders,
            workers,
            held: Vec::new(),
        };
        let (admin_at, own_at) = (sockets.admin.take(), sockets.own.take());
        for (role, handler, at) in [(Role::Door, admin, admin_at), (Role::Own, owner, own_at)] {
            let Some((address, bound)) = at else { continue };
            let config = Arc::new(ArcSwap::from_pointee(admin_config(Arc::new(handler))));
            doors.deal(role, &address, None, bound, &config);
        }
        doors.exchange(sockets, configs);
        Ok(doors)
    }

    /// What of the listeners goes on.
    pub fn before(&self) -> Before {
        let configs = self.open.values().map(|config| config.load());
        let certificates =
            configs.filter_map(|config| Some((config.name.to_string(), config.tls.clone()?)));
        let configs = self.open.values().map(|config| config.load());
        let admissions = configs.map(|config| (config.name.to_string(), config.admission.clone()));
        Before {
            admissions: admissions.collect(),
            certificates: certificates.collect(),
            works: self
                .works
                .iter()
                .map(|(listener, (works, _))| (listener.clone(), works.clone()))
                .collect(),
        }
    }

    /// By the listener: whether works go on, and whether the file says so.
    pub fn works(&self) -> BTreeMap<String, (bool, bool)> {
        let works = self.works.iter();
        works
            .map(|(listener, (works, file))| (listener.clone(), (works.go_on(), *file)))
            .collect()
    }

    /// Binds the addresses of `plan` at which nothing is open yet, or none of them.
    pub fn bind_new(&self, plan: &NodePlan, workers: usize) -> Result<Sockets> {
        let mut wrong = Vec::new();
        let is_new = |address: &Address| !self.open.contains_key(address);
        let listeners = bind_all(plan, workers, is_new, &mut Origin::default(), &mut wrong);
        all_or_none(
            Sockets {
                listeners,
                admin: None,
                own: None,
            },
            &wrong,
        )
    }

    /// From now on these configurations are answered with: at open doors for the next request, at new ones from the
    /// first. Doors without a configuration are closed: idle connections end, requests in flight finish.
    pub fn exchange(&mut self, mut sockets: Sockets, configs: Configs) {
        shown::publish(&configs, &self.telemetry);
        self.works.clear();
        for (listener, (works, active)) in configs.works {
            works.follow(active);
            let name = format!("listener/{listener}");
            self.telemetry.registry.control(&name, works.clone());
            self.works.insert(listener, (works, active));
        }
        let configs = configs.doors;
        let closing: Vec<Address> = self
            .open
            .keys()
            .filter(|address| !configs.iter().any(|(stays, _)| stays == *address))
            .cloned()
            .collect();
        for address in closing {
            self.open.remove(&address);
            self.held.retain(|held| held.address != address);
            for worker in &self.orders {
                let _ = worker.send(Order::Close(address.clone()));
            }
        }
        for (address, config) in configs {
            if let Some(open) = self.open.get(&address) {
                open.store(config);
                continue;
            }
            let config = Arc::new(ArcSwap::new(config));
            let bound = sockets.listeners.remove(&address).unwrap_or_default();
            self.deal(Role::Door, &address, Some(&address), bound, &config);
            self.open.insert(address, config);
        }
    }

    /// Has every worker open its access logs anew.
    pub fn reopen_logs(&self) {
        for worker in &self.orders {
            let _ = worker.send(Order::ReopenLogs);
        }
    }

    /// Asks the workers, from anywhere, whether they live.
    pub fn pulse(&self) -> Pulse {
        Pulse(self.orders.clone())
    }

    /// Gives each worker its sockets of a door; `listener` is the name under which it may be closed.
    fn deal(
        &mut self,
        role: Role,
        address: &Address,
        listener: Option<&Address>,
        bound: Vec<Bound>,
        config: &Arc<ArcSwap<ListenerConfig>>,
    ) {
        for place in bound {
            let held: std::io::Result<Vec<_>> =
                place.sockets.iter().map(OwnedFd::try_clone).collect();
            match held {
                Ok(sockets) => self.held.push(Held {
                    role,
                    address: address.clone(),
                    sockets,
                }),
                Err(error) => self.telemetry.events.warning(
                    "node",
                    format!("an upgrade could not hand over the sockets of {address}: {error}"),
                ),
            }
            // Of a process that had more workers there are more than one for each.
            for (socket, worker) in place.sockets.into_iter().zip(self.orders.iter().cycle()) {
                let _ = worker.send(Order::Open(listener.cloned(), socket, config.clone()));
            }
        }
    }

    /// The sockets, by what they are for and where they are: descriptors that share theirs with the workers'.
    pub fn sockets(&self) -> std::io::Result<Vec<(Role, Address, Vec<OwnedFd>)>> {
        let shared = |held: &Held| {
            let sockets = held.sockets.iter().map(OwnedFd::try_clone);
            let sockets: std::io::Result<_> = sockets.collect();
            Ok((held.role, held.address.clone(), sockets?))
        };
        self.held.iter().map(shared).collect()
    }

    /// Stops listening, lets requests in flight finish, ends the workers.
    pub async fn stop(mut self, how: Closing, telemetry: &Telemetry) {
        self.held.clear();
        for worker in &self.orders {
            let _ = worker.send(Order::End(how));
        }
        // The workers take it before they are stopped.
        let _ = self.pulse().beats(GRACE).await;
        self.workers.stop();
        let (Closing::Within(drain) | Closing::Succeeded(drain)) = how;
        let joined = tokio::task::spawn_blocking(move || self.workers.join(drain + GRACE)).await;
        if let Ok(Err(unclean)) = joined {
            let what = format!("workers did not end in order: {unclean:?}");
            telemetry.events.warning("node", what);
        }
    }
}

async fn worker(
    mut cx: WorkerCx,
    orders: Option<mpsc::UnboundedReceiver<Order>>,
    most: usize,
    telemetry: Telemetry,
) {
    let engine = Engine::new(cx.index, most, telemetry.clone());
    let mut open = Vec::new();
    let end = Cell::new(Closing::Within(super::DRAIN));
    let carry_out = async {
        let Some(mut orders) = orders else { return };
        while let Some(order) = orders.recv().await {
            match order {
                Order::Open(address, socket, config) => {
                    let name = config.load().name.clone();
                    match engine.listen(socket, config) {
                        Ok(listening) => open.push((address, listening)),
                        Err(error) => telemetry.events.error(
                            format!("listener {name}"),
                            format!("cannot listen: {error}"),
                        ),
                    }
                }
                Order::ReopenLogs => {
                    if let Err((path, error)) = engine.reopen_logs() {
                        let what = format!("{} cannot be opened anew: {error}", path.display());
                        telemetry.events.error("access log", what);
                    }
                }
                Order::Answer(answer) => {
                    let _ = answer.send(());
                }
                Order::End(how) => end.set(how),
                Order::Close(address) => {
                    for (_, listening) in
                        open.iter().filter(|(at, _)| at.as_ref() == Some(&address))
                    {
                        listening.close();
                    }
                    open.retain(|(at, _)| at.as_ref() != Some(&address));
                }
            }
        }
    };
    let mut stop = cx.stop.clone();
    tokio::select! {
        () = carry_out => cx.stop.ordered().await,
        () = stop.ordered() => {}
    }
    match end.get() {
        Closing::Within(drain) => engine.drain(drain).await,
        Closing::Succeeded(drain) => engine.retire(drain).await,
    };
}
