//! Where a node listens for HTTP: bound first, opened when there is someone to answer, exchanged by a reload.

mod configs;
mod shown;
mod sockets;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem_admin::{Access, AdminHandler};
use tandem_http::policy::Works;
use tandem_http::{Engine, ListenerConfig};
use tandem_model::{Address, NodePlan};
use tandem_net::Pipe;
use tandem_net::listen::Bound;
use tandem_net::workers::{self, WorkerCx, Workers};
use tandem_telemetry::Telemetry;
use tokio::sync::{mpsc, oneshot};

pub use configs::{Before, Configs, admin_config, configure};
pub use sockets::{OWN_SOCKET, Origin, Sockets, bind};

use super::succession::Role;
use crate::exit::{Failure, Result};
use crate::process;
use sockets::{all_or_none, bind_all};

/// How long workers may take beyond draining.
pub const GRACE: Duration = Duration::from_secs(2);

/// What callers of the admin address must prove.
pub fn access(plan: &NodePlan) -> Access {
    match (&plan.admin_token, &plan.admin) {
        (Some(token), _) => Access::Token(token.reveal().into()),
        (None, Some(Address::Unix(_))) => Access::Owner,
        (None, _) => Access::Local,
    }
}

/// Connections from clients that a worker may hold. A proxied request takes a second descriptor, and some have a pipe.
pub fn connections(descriptors: u64, workers: usize) -> usize {
    let workers = workers.max(1) as u64;
    let reserved = process::RESERVED + workers * Pipe::DESCRIPTORS as u64;
    let each = descriptors.saturating_sub(reserved).max(64) / 2 / workers;
    usize::try_from(each).unwrap_or(usize::MAX)
}

/// Open doors, and the workers behind them.
pub struct Doors {
    open: BTreeMap<Address, Arc<ArcSwap<ListenerConfig>>>,
    /// With what the file says.
    works: BTreeMap<String, (Arc<Works>, bool)>,
    telemetry: Telemetry,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    workers: Workers,
    /// Connections that had not ended when their worker did.
    cut: Arc<AtomicUsize>,
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
        let (reports, cut) = (telemetry.clone(), Arc::new(AtomicUsize::new(0)));
        let left = cut.clone();
        let work = move |cx: WorkerCx| {
            let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.get_mut(cx.index).and_then(Option::take);
            worker(cx, queue, most, reports.clone(), left.clone())
        };
        let workers = workers::start(process::WORKER, workers, work)
            .map_err(|error| Failure::failed(format!("cannot start the workers: {error}")))?;
        let mut doors = Self {
            open: BTreeMap::new(),
            works: BTreeMap::new(),
            telemetry: telemetry.clone(),
            orders,
            workers,
            cut,
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
        let stays = |address: &Address| plan.listeners.iter().any(|l| l.bind.contains(address));
        let leaving = self.open.keys().filter(|address| !stays(address));
        let mut origin = Origin {
            leaving: leaving.filter_map(Address::port).collect(),
            ..Origin::default()
        };
        let listeners = bind_all(plan, workers, is_new, &mut origin, &mut wrong);
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
                let before = open.swap(config.clone());
                // Those who wait for a place wait by what the file said before.
                before.admission.changed();
                config.admission.changed();
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

    /// Stops listening, lets requests in flight finish, ends the workers. Returns how many connections were cut off.
    pub async fn stop(mut self, how: Closing, telemetry: &Telemetry) -> usize {
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
        self.cut.load(Relaxed)
    }
}

async fn worker(
    mut cx: WorkerCx,
    orders: Option<mpsc::UnboundedReceiver<Order>>,
    most: usize,
    telemetry: Telemetry,
    cut: Arc<AtomicUsize>,
) {
    let engine = Engine::new(cx.index, most, telemetry.clone());
    let mut open = Vec::new();
    // Whoever drops the doors without a word has nobody left to wait for.
    let end = Cell::new(Closing::Within(Duration::ZERO));
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
    let left = match end.get() {
        Closing::Within(drain) => engine.drain(drain).await,
        Closing::Succeeded(drain) => engine.retire(drain).await,
    };
    cut.fetch_add(left, Relaxed);
}
