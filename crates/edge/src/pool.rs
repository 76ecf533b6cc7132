//! The servers of one service, shared by all workers.

mod attempts;
mod budget;
mod cut_off;
mod members;
mod queue;
mod settings;
mod view;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem_http::ClientTls;
use tandem_http::handler::{Cause, Endpoint, Failure, Stage};
use tandem_model::PoolPlan;
use tandem_telemetry::meters::QueueMeter;
use tandem_telemetry::{NodeStatus, ServiceStatus, StatusSource, Telemetry};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::control::{Order, ServerControl};
use crate::health::state::{Change, State};
use crate::server::{Mode, STEPS, Server};
use crate::stick::Table;

pub(crate) use attempts::PoolAttempts;
use budget::Budget;
use members::Members;
use queue::Queue;
pub(crate) use settings::Settings;
use view::View;

/// A slow start is not worth more than so many new snapshots.
const SHORTEST_STEP: Duration = Duration::from_millis(50);

/// Where one instance of an application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceAddress {
    /// Its name within the service: the node's, `app1`; with several instances on the node `app1/0`, `app1/1`, ...
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// The instances of the applications on this node, by application, as they come and go.
pub type Instances = BTreeMap<String, watch::Receiver<Vec<InstanceAddress>>>;

/// The servers of one service: who they are, how they are, whose turn it is.
///
/// Workers read one immutable view; whatever changes (a check's verdict, a failed request, an order, an
/// instance) makes a new one. A server's own state and counts are kept by its name and address across that.
pub struct Pool {
    pub(crate) service: Arc<str>,
    kind: &'static str,
    /// Its servers are only this node's own: it answers other nodes' probes.
    pub(crate) gateway: bool,
    members: Mutex<Members>,
    view: ArcSwap<View>,
    /// This node does not reach the sessions.
    cut_off: AtomicBool,
    /// Requests that wait for a place at a server.
    queue: Queue,
    /// How long they waited.
    waits: Arc<QueueMeter>,
    budget: Budget,
    /// The servers that clients had, by their addresses.
    table: Arc<OnceLock<Arc<Table>>>,
    /// Counts updates, so that the checks know when to look for their sources anew.
    updates: AtomicU64,
    /// What an operator may do to its servers, by their names.
    controls: Mutex<BTreeMap<Arc<str>, Arc<ServerControl>>>,
    /// Tells the checks that servers came or went.
    pub(crate) changed: Notify,
    telemetry: Telemetry,
    me: Weak<Self>,
}

impl Pool {
    /// The pool of a plan. `instances` has the applications of this node; one that is missing there has no servers.
    ///
    /// Publishes its status and the controls of its servers. Addresses given as names are looked up by
    /// [`resolve`](Self::resolve) or [`crate::run_checks`]; until then such servers are not used.
    pub fn new(plan: &PoolPlan, instances: &Instances, telemetry: &Telemetry) -> Arc<Self> {
        let table = Arc::default();
        let pool = Arc::new_cyclic(|me| Self {
            service: plan.service.as_str().into(),
            kind: plan.kind,
            gateway: plan.gateway,
            members: Mutex::new(Members::new(&plan.members, instances)),
            view: ArcSwap::from_pointee(View::new(
                Arc::default(),
                Arc::new(Settings::of(plan, &table)),
                None,
            )),
            cut_off: AtomicBool::new(false),
            queue: Queue::default(),
            waits: telemetry.meters.queue(&plan.service),
            budget: Budget::default(),
            table,
            updates: AtomicU64::new(0),
            controls: Mutex::default(),
            changed: Notify::new(),
            telemetry: telemetry.clone(),
            me: me.clone(),
        });
        pool.reconcile();
        telemetry.registry.publish(&pool.entry(), pool.clone());
        pool
    }

    /// Whether this is the pool of a plan, whatever its servers: then [`update`](Self::update) brings it in line.
    pub fn is_of(&self, plan: &PoolPlan) -> bool {
        *self.service == *plan.service && self.kind == plan.kind && self.gateway == plan.gateway
    }

    /// Brings the pool in line with a new plan while it serves: the pool's part of a reload.
    ///
    /// A server that is still there by name, address and host as written keeps its health, its counts, the requests in flight and the
    /// operator's orders (its weight is the file's again when that changed). The turn goes on. Requests that have
    /// begun keep their time limits and tries. One that is gone gets nothing new; what it has in flight ends as usual.
    ///
    /// A reload is, for each target of the new plan:
    /// 1. the pool that [`is_of`](Self::is_of) its plan is updated, else there is a [`new`](Self::new) one; with the
    ///    instances of the applications as they are after the reload;
    /// 2. [`resolve`](Self::resolve), so that servers new by name have addresses;
    /// 3. a new [`crate::Router`] over handlers of these pools for each listener, which takes the place of the old one
    ///    (make all of them before step 1: an error then changes nothing);
    /// 4. [`crate::run_checks`] is dropped and begun anew with the pools there are now;
    /// 5. pools that no target has any more are [`retire`](Self::retire)d.
    pub fn update(&self, plan: &PoolPlan, instances: &Instances) {
        let mut settings = Settings::of(plan, &self.table);
        if plan.tls.is_some() {
            // What is there goes on being used until `secure` brings the new.
            settings.tls.clone_from(&self.settings().tls);
        }
        let settings = Arc::new(settings);
        let mut members = self.members();
        members.update(&plan.members, instances);
        let before = self.settings();
        self.updates.fetch_add(1, Relaxed);
        self.reconcile_to(members, settings.clone());
        if before.check != settings.check {
            for server in &*self.servers() {
                if settings.check.timing().is_none() {
                    self.pardon(server, "not checked any more");
                }
                server.wake.notify_one();
            }
        }
    }

    /// Gives it what it speaks TLS with, when its plan says that it does: before the first request, and after each
    /// [`update`](Self::update). Until then its servers are not used.
    pub fn secure(&self, tls: Option<Arc<ClientTls>>) {
        let members = self.members();
        let settings = Settings {
            tls,
            ..(*self.settings()).clone()
        };
        self.renew(members, Arc::new(settings));
    }

    /// Takes the pool out of the status, and its servers from what can be ordered: nothing leads to it any more. Requests
    /// that it has end as usual.
    pub fn retire(&self) {
        self.telemetry.registry.withdraw(&self.entry());
        for (name, control) in std::mem::take(&mut *self.controls()) {
            self.take_away(&name, &control);
        }
    }

    fn take_away(&self, server: &str, control: &ServerControl) {
        let name = format!("{}/{server}", self.service);
        let registry = &self.telemetry.registry;
        registry.uncover_control(&name, control, control.beneath());
    }

    /// Its name among the sources of status.
    fn entry(&self) -> String {
        let side = if self.gateway { "gateway" } else { "edge" };
        format!("{side} {}", self.service)
    }

    /// What the file says of it now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.view.load().settings.clone()
    }

    /// How often it was updated.
    pub(crate) fn updates(&self) -> u64 {
        self.updates.load(Relaxed)
    }

    /// The service's name.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Looks up the addresses of servers that are given by name. Ends within 5 seconds; a name that is not found keeps
    /// the addresses it had.
    pub async fn resolve(&self) {
        let names = self.members().names();
        let found = names.into_iter().map(members::look_up);
        let found = futures_util::future::join_all(found).await;
        let news = self.members().looked_up(found);
        for (member, what) in news {
            self.telemetry
                .events
                .warning(format!("{}/{member}", self.service), what);
        }
        self.reconcile();
    }

    /// Whether the addresses of some servers have to be looked up.
    pub(crate) fn has_names(&self) -> bool {
        !self.members().names().is_empty()
    }

    /// The lists of instances that it follows.
    pub(crate) fn sources(&self) -> Vec<watch::Receiver<Vec<InstanceAddress>>> {
        self.members().sources()
    }

    /// All servers, whatever their state.
    pub(crate) fn servers(&self) -> Arc<[Arc<Server>]> {
        self.view.load().servers().clone()
    }

    /// Whether a request would find a server now that is not just the last resort.
    pub(crate) fn is_usable(&self) -> bool {
        self.view.load().is_usable()
    }

    /// Brings servers in line with addresses and instances as they are now.
    pub(crate) fn reconcile(&self) {
        let members = self.members();
        self.reconcile_to(members, self.settings());
    }

    fn reconcile_to(&self, mut members: MutexGuard<'_, Members>, settings: Arc<Settings>) {
        for name in members.forget() {
            if let Some(control) = self.controls().remove(&name) {
                self.take_away(&name, &control);
            }
        }
        let meters = &self.telemetry.meters;
        members.reconcile(&settings.check, |server| {
            meters.server(&self.service, server)
        });
        if !self.gateway && self.is_cut_off() {
            for server in members.instances() {
                server.set_cut_off(true);
            }
        }
        for name in members.unregistered() {
            self.register(name);
        }
        self.renew(members, settings);
        self.changed.notify_one();
    }

    /// Makes a new view after a server's state, weight or orders changed.
    pub(crate) fn refresh(&self) {
        let members = self.members();
        self.renew(members, self.settings());
    }

    /// The lock is held until the view is stored, so that of two changes at once the later view shows both.
    fn renew(&self, mut members: MutexGuard<'_, Members>, settings: Arc<Settings>) {
        let view = View::new(members.servers(), settings, Some(&self.view.load()));
        let news = members.serves(!view.is_empty());
        self.view.store(Arc::new(view));
        drop(members);
        // Servers that came, or came back, have room for those who wait; with none left nobody waits.
        self.queue.serve(&self.view.load());
        match news {
            Some(true) => self
                .telemetry
                .events
                .info(&*self.service, "is served again"),
            Some(false) => {
                let what = "no server is left, requests to it are answered 503";
                self.telemetry.events.error(&*self.service, what);
            }
            None => {}
        }
    }

    /// A check of `server` that began in `generation` ended.
    pub(crate) fn checked(&self, server: &Server, generation: u64, result: Result<(), String>) {
        let Some(timing) = self.settings().check.timing() else {
            return;
        };
        if server.mode() == Mode::Maintenance {
            return;
        }
        let change = server.vitals().checked(generation, result, &timing);
        self.announce(server, change);
    }

    /// A server that is not checked is used again: it was left alone for long enough.
    pub(crate) fn pardon(&self, server: &Server, reason: &str) {
        let change = server.vitals().pardon(reason);
        self.announce(server, change);
    }

    /// A server is back from maintenance.
    pub(crate) fn forget(&self, server: &Server) {
        let checked = self.settings().check.timing().is_some();
        let change = server.vitals().forget(checked);
        self.announce(server, change);
    }

    /// A try at `server` failed: it counts, is checked at once, and when nothing could be sent it is down at once.
    ///
    /// A connection that broke before the request was sent is not proof enough: the server may just have closed an
    /// idle one.
    pub(crate) fn failed(&self, server: &Server, failure: Failure) {
        if failure.cause == Cause::Busy {
            // A gateway that is full is well.
            return;
        }
        if failure.cause == Cause::CutOff {
            return self.note_cut_off(server, true);
        }
        server.count_failure();
        let why = match failure {
            Failure {
                stage: Stage::Unsent,
                by_gateway: true,
                ..
            } => Some("its gateway could not reach the program"),
            Failure {
                cause: Cause::Refused,
                ..
            } => Some("connection refused"),
            Failure {
                stage: Stage::Unsent,
                cause: Cause::Timeout,
                ..
            } => Some("no connection in time"),
            _ => None,
        };
        let change = why.and_then(|why| server.vitals().unreachable(why));
        self.announce(server, change);
        self.erred(server, || match failure.cause {
            Cause::Refused => "connection refused".into(),
            Cause::Broken => "the connection broke".into(),
            Cause::Timeout => "no answer in time".into(),
            Cause::Malformed => "the answer was malformed".into(),
            Cause::Status(status) => format!("answered {status}"),
            Cause::NoServer | Cause::Busy | Cause::CutOff => "no program to answer".into(),
        });
        server.wake.notify_one();
    }

    /// A try at `server` was answered.
    pub(crate) fn answered(&self, server: &Server, status: u16) {
        if matches!(status, 500 | 502 | 503 | 504) {
            self.erred(server, || format!("answered {status}"));
        } else {
            server.went_well();
        }
    }

    /// Counts an error of `server`; so many in a row as the file says take it down.
    fn erred(&self, server: &Server, what: impl FnOnce() -> String) {
        let row = server.went_wrong();
        let most = self.settings().check.timing().map_or(0, |t| t.errors);
        if most == 0 || row < most {
            return;
        }
        server.went_well();
        let reason = format!("{row} requests in a row failed, the last: {}", what());
        let change = server.vitals().knocked_out(reason);
        self.announce(server, change);
        server.wake.notify_one();
    }

    /// A place at a server is free.
    fn freed(&self) {
        if !self.queue.is_empty() {
            self.queue.serve(&self.view.load());
        }
    }

    /// Whether one more retry is within `percent` of the requests; it then counts.
    fn within_budget(&self, percent: u32, now: Instant) -> bool {
        let begun = self.view.load().servers().iter().map(|s| s.begun()).sum();
        self.budget.take(percent, begun, now)
    }

    /// Acts on a change of state and tells of it.
    fn announce(&self, server: &Server, change: Option<Change>) {
        let Some(Change {
            state,
            reason,
            news,
        }) = change
        else {
            return;
        };
        if news {
            let is_down = matches!(state, State::Down | State::Returning);
            server.history().changed(Instant::now(), is_down);
            let subject = format!("{}/{}", self.service, server.key.name);
            let events = &self.telemetry.events;
            match state {
                State::Up | State::Starting => events.info(subject, format!("up: {reason}")),
                State::Down | State::Returning => {
                    events.warning(subject, format!("down: {reason}"));
                }
            }
        }
        if news {
            self.cut_after(server, state);
        }
        if state == State::Up && news {
            server.came_up();
        }
        self.refresh();
        if self.slow_start().is_some() {
            self.changed.notify_one();
        }
    }

    /// Cuts connections off, as the file says, of a server that went down, or of backups when one came up.
    fn cut_after(&self, server: &Server, state: State) {
        let cut = self.settings().spread.cut;
        match state {
            State::Down | State::Returning if cut.down => server.cut_off(),
            State::Up if cut.backups && !server.is_backup() && server.takes_requests() => {
                for backup in self.servers().iter().filter(|one| one.is_backup()) {
                    backup.cut_off();
                }
            }
            _ => {}
        }
    }

    /// Cuts off the connections of the servers of a name that go on without requests. False when there is none now.
    pub(crate) fn cut_off(&self, server: &str) -> bool {
        let named = self.members().named(server);
        for server in &named {
            server.cut_off();
        }
        if !named.is_empty() {
            let subject = format!("{}/{server}", self.service);
            let what = "its connections of TCP mode and tunnels are cut off by order";
            self.telemetry.events.info(subject, what);
        }
        !named.is_empty()
    }

    /// How long until shares change by themselves: a server is in its slow start.
    pub(crate) fn slow_start(&self) -> Option<Duration> {
        let view = self.view.load();
        let step = view.settings.spread.slow_start / u32::from(STEPS);
        view.is_warming().then(|| step.max(SHORTEST_STEP))
    }

    /// Gives an order to the servers of a name. False when there is none now.
    pub(crate) fn order(&self, server: &str, order: Order) -> bool {
        let mut members = self.members();
        let named = members.named(server);
        let is_out = |server: &Arc<Server>| server.mode() == Mode::Maintenance;
        let were_out = named.iter().any(is_out);
        let Some(changed) = members.order(server, order) else {
            return false;
        };
        self.renew(members, self.settings());
        if changed {
            for server in &named {
                // Its checker begins or rests.
                server.wake.notify_one();
                match order {
                    Order::Maintain => self.cut_after(server, State::Down),
                    // It takes requests at once, unless it was down; then it comes up by its check.
                    Order::Ready if were_out && server.state() == State::Up => {
                        self.cut_after(server, State::Up);
                    }
                    _ => {}
                }
            }
        }
        if changed {
            let what = match order {
                Order::Drain => {
                    "draining by order: no new requests but those of clients that it has".into()
                }
                Order::Maintain => "in maintenance by order: no requests, no checks".into(),
                Order::Ready => "takes requests again by order".into(),
                Order::Weight(weight) => format!("has weight {weight} by order"),
            };
            let subject = format!("{}/{server}", self.service);
            self.telemetry.events.info(subject, what);
        }
        true
    }

    fn register(&self, server: Arc<str>) {
        let name = format!("{}/{server}", self.service);
        let registry = &self.telemetry.registry;
        let beneath = registry.find_control(&name);
        let control = ServerControl::new(self.me.clone(), server.clone(), beneath);
        let control = Arc::new(control);
        registry.control(&name, control.clone());
        self.controls().insert(server, control);
    }

    fn controls(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<ServerControl>>> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatusSource for Pool {
    fn fill(&self, status: &mut NodeStatus) {
        let servers = self.servers();
        let servers = servers.iter().map(|server| server.status());
        let unknown = self.members().not_found();
        let servers: Vec<_> = servers.chain(unknown).collect();
        // A node that is both a listener and one of the service's own has two pools of it; they are one service.
        match status
            .services
            .iter_mut()
            .find(|s| *s.name == *self.service)
        {
            Some(service) => {
                service.waiting += self.queue.len();
                merge(service, servers);
            }
            None => status.services.push(ServiceStatus {
                name: self.service.to_string(),
                kind: self.kind.into(),
                waiting: self.queue.len(),
                servers,
            }),
        }
    }
}

fn merge(service: &mut ServiceStatus, servers: Vec<tandem_telemetry::ServerStatus>) {
    for server in servers {
        match service.servers.iter_mut().find(|s| s.name == server.name) {
            Some(same) => {
                same.in_flight += server.in_flight;
                same.requests += server.requests;
                same.failures += server.failures;
            }
            None => service.servers.push(server),
        }
    }
}

/// Waits until one of the lists changes. Lists that will not change any more are removed.
pub(crate) async fn any_changed(sources: &mut Vec<watch::Receiver<Vec<InstanceAddress>>>) {
    while !sources.is_empty() {
        let changes = sources.iter_mut().map(|source| Box::pin(source.changed()));
        let (change, index, _) = futures_util::future::select_all(changes).await;
        if change.is_ok() {
            return;
        }
        sources.swap_remove(index);
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests;
