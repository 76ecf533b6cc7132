//! Where a node listens for HTTP: bound first, opened when there is someone to answer, exchanged by a reload.

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
use tandem_http::{Admission, Engine, Handler, ListenerConfig};
use tandem_model::{Address, Limits, ListenerTls, Mode, NodePlan, Overrides, Timeouts};
use tandem_net::listen::{self, Bound};
use tandem_net::workers::{self, WorkerCx, Workers};
use tandem_net::{ClientRule, Pipe, ServerTls};
use tandem_telemetry::Telemetry;
use tokio::sync::{mpsc, oneshot};

use super::services::Services;
use super::shared;
use crate::exit::{Failure, Result};
use crate::process;

/// Descriptors that are not for clients: files, logs, checks, the session tier.
const RESERVED: u64 = 500;
/// How long workers may take beyond draining.
const GRACE: Duration = Duration::from_secs(2);

/// Bound sockets by their address as written.
pub struct Sockets {
    listeners: BTreeMap<Address, Vec<Bound>>,
    admin: Vec<Bound>,
    own: Vec<Bound>,
}

/// The socket in the state directory by which the command line speaks to the node.
pub const OWN_SOCKET: &str = "admin.sock";

/// What is to be answered at which address.
pub struct Configs {
    doors: Vec<(Address, Arc<ListenerConfig>)>,
    /// By the listener: the switch of its works, and whether the file says that they go on.
    works: BTreeMap<String, (Arc<Works>, bool)>,
}

/// What of listeners goes on through a reload, by their names.
#[derive(Default)]
pub struct Before {
    certificates: BTreeMap<String, Arc<ServerTls>>,
    admissions: BTreeMap<String, Arc<Admission>>,
    works: BTreeMap<String, Arc<Works>>,
}

/// Where sockets come from at the start.
#[derive(Default)]
pub struct Origin {
    /// Another process that has the addresses lets go of them soon.
    pub beside: bool,
    /// Bound sockets that were handed over, by what they are bound to.
    pub handed: BTreeMap<Address, OwnedFd>,
}

impl Origin {
    fn bind(
        &mut self,
        address: &Address,
        workers: usize,
    ) -> std::result::Result<Vec<Bound>, String> {
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
    mut origin: Origin,
    telemetry: &Telemetry,
) -> Result<Sockets> {
    let mut wrong = Vec::new();
    let listeners = bind_all(plan, workers, |_| true, &mut origin, &mut wrong);
    let own = bind_own(plan, telemetry);
    let mut admin = Vec::new();
    if let Some(address) = &plan.admin {
        match origin.bind(address, workers) {
            Ok(bound) => admin = bound,
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
fn bind_own(plan: &NodePlan, telemetry: &Telemetry) -> Vec<Bound> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = plan.state.join(OWN_SOCKET);
    let bound = listen::bind(&Address::Unix(path.to_string_lossy().into_owned()), 1);
    let bound = bound.map_err(|error| error.to_string()).and_then(|bound| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| process::give(&path, plan.user.as_deref(), plan.group.as_deref()))
            .map_err(|error| error.to_string())?;
        Ok(bound)
    });
    bound.unwrap_or_else(|why| {
        let what = format!(
            "commands cannot reach this node by {}: {why}",
            path.display()
        );
        telemetry.events.warning("node", what);
        Vec::new()
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
            match origin.bind(address, workers) {
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
    let reserved = RESERVED + workers * Pipe::DESCRIPTORS as u64;
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
) -> Result<Configs> {
    let mut configs = Configs {
        doors: Vec::new(),
        works: BTreeMap::new(),
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
        let router: std::result::Result<Arc<dyn Handler>, _> = match listener.mode {
            Mode::Http => Router::new(listener, &handler).map(|router| Arc::new(router) as _),
            Mode::Tcp => TcpRouter::new(listener, &connections).map(|router| Arc::new(router) as _),
        };
        let mut handler = router.map_err(|error| Failure::usage(error.to_string()))?;
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
        });
        let addresses = listener.bind.iter().cloned();
        let doors = addresses.map(|address| (address, config.clone()));
        configs.doors.extend(doors);
    }
    Ok(configs)
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
    }
}

/// Open doors, and the workers behind them.
pub struct Doors {
    open: BTreeMap<Address, Arc<ArcSwap<ListenerConfig>>>,
    works: BTreeMap<String, Arc<Works>>,
    telemetry: Telemetry,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    workers: Workers,
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
    /// How long requests in flight may take from now on to finish, once it is stopped.
    Drain(Duration),
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
        let workers = workers::start("worker", workers, work)
            .map_err(|error| Failure::failed(format!("cannot start the workers: {error}")))?;
        let mut doors = Self {
            open: BTreeMap::new(),
            works: BTreeMap::new(),
            telemetry: telemetry.clone(),
            orders,
            workers,
        };
        for (handler, bound) in [(admin, &mut sockets.admin), (owner, &mut sockets.own)] {
            let config = Arc::new(ArcSwap::from_pointee(admin_config(Arc::new(handler))));
            doors.deal(None, std::mem::take(bound), &config);
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
            works: self.works.clone(),
        }
    }

    /// Binds the addresses of `plan` at which nothing is open yet, or none of them.
    pub fn bind_new(&self, plan: &NodePlan, workers: usize) -> Result<Sockets> {
        let mut wrong = Vec::new();
        let is_new = |address: &Address| !self.open.contains_key(address);
        let listeners = bind_all(plan, workers, is_new, &mut Origin::default(), &mut wrong);
        all_or_none(
            Sockets {
                listeners,
                admin: Vec::new(),
                own: Vec::new(),
            },
            &wrong,
        )
    }

    /// From now on these configurations are answered with: at open doors for the next request, at new ones from the
    /// first. Doors without a configuration are closed: idle connections end, requests in flight finish.
    pub fn exchange(&mut self, mut sockets: Sockets, configs: Configs) {
        self.works.clear();
        for (listener, (works, active)) in configs.works {
            works.follow(active);
            let name = format!("listener/{listener}");
            self.telemetry.registry.control(&name, works.clone());
            self.works.insert(listener, works);
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
            self.deal(Some(&address), bound, &config);
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

    /// Gives each worker its socket of a door.
    fn deal(
        &self,
        address: Option<&Address>,
        bound: Vec<Bound>,
        config: &Arc<ArcSwap<ListenerConfig>>,
    ) {
        for place in bound {
            for (socket, worker) in place.sockets.into_iter().zip(&self.orders) {
                let _ = worker.send(Order::Open(address.cloned(), socket, config.clone()));
            }
        }
    }

    /// Stops listening, lets requests in flight finish within `drain`, ends the workers.
    pub async fn stop(self, drain: Duration, telemetry: &Telemetry) {
        if drain != super::DRAIN {
            for worker in &self.orders {
                let _ = worker.send(Order::Drain(drain));
            }
            // The workers take it before they are stopped.
            let pulse = self.pulse();
            let _ = pulse.beats(GRACE).await;
        }
        self.workers.stop();
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
    let drain = Cell::new(super::DRAIN);
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
                Order::Drain(within) => drain.set(within),
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
    engine.drain(drain.get()).await;
}
