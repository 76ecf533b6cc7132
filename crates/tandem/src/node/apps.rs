//! The applications of a node, and their instances as the edge wants to know them.

mod hand_over;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use tandem_app::{AppContext, AppHandle, Handed, Instance, Ports, STARTUP};
use tandem_edge::{Admission, InstanceAddress, Instances};
use tandem_http::handler::Endpoint;
use tandem_model::{Address, NodePlan, Program, Target};
use tandem_net::cluster::ClusterKey;
use tandem_telemetry::Telemetry;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet, spawn_local};

use crate::exit::{Failure, Result};
use hand_over::HandOver;

/// The applications of this node.
pub struct Apps {
    context: AppContext,
    /// Where the instances of each application are. A list stays the same when the program changes.
    lists: BTreeMap<String, watch::Sender<Vec<InstanceAddress>>>,
    running: BTreeMap<String, Running>,
    /// Programs that are being stopped.
    retiring: JoinSet<()>,
}

/// An application that nobody watches: its name, what runs, its instances.
pub type Released = (String, Program, Vec<Handed>);

/// A running application: where its instances are is passed on by the follower.
struct Running {
    program: Program,
    handle: AppHandle,
    follower: AbortHandle,
    /// The program whose place it is to take, as long as that one serves.
    hand_over: Option<HandOver>,
}

impl Running {
    /// What serves: the program itself, or the one that it has not followed yet. The other one, if any, comes second.
    fn serving(mut self) -> (Self, Option<Self>) {
        match self.hand_over.take().and_then(HandOver::cancel) {
            Some(old) => {
                // All that it did was to wait.
                self.follower.abort();
                (old, Some(self))
            }
            None => (self, None),
        }
    }

    async fn stop(self) {
        self.follower.abort();
        let listing = self.handle.listing();
        self.handle.stop().await;
        // What has taken its place is shown; what has no place in the file any more is not.
        if let Some(listing) = listing {
            listing.withdraw();
        }
    }
}

impl Apps {
    /// Prepares them: nothing is started before [`update`](Self::update).
    pub fn new(plan: &NodePlan, base: &Path, telemetry: &Telemetry) -> Result<Self> {
        let keeper = std::env::current_exe().map_err(|error| {
            Failure::failed(format!("cannot find this program's own file: {error}"))
        })?;
        let agent = plan
            .sessions
            .as_ref()
            .and_then(|sessions| sessions.agent.as_ref());
        let context = AppContext {
            node: plan.node.clone(),
            host: plan
                .local
                .parse()
                .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            sessions: agent.map(Address::to_string),
            session_key: plan.key.as_ref().map(|key| {
                ClusterKey::new(key.reveal().as_bytes()).derive("sessions of applications")
            }),
            user: plan.user.clone(),
            secrets: plan.key.iter().chain(&plan.admin_token).cloned().collect(),
            keeper,
            dir: base.to_owned(),
            first_port: None,
            ports: Ports::default(),
            startup: STARTUP,
            telemetry: telemetry.clone(),
        };
        let (lists, running) = (BTreeMap::new(), BTreeMap::new());
        let mut apps = Self {
            context,
            lists,
            running,
            retiring: JoinSet::new(),
        };
        apps.prepare(plan)?;
        Ok(apps)
    }

    /// Finds out whether the applications of `plan` can be started, and makes room for their instances. Nothing is
    /// started or stopped.
    pub fn prepare(&mut self, plan: &NodePlan) -> Result<()> {
        for app in &plan.apps {
            if let Program::Run { user, .. } = &app.program {
                tandem_app::ids_to_become(user.as_deref(), None)
                    .map_err(|error| Failure::usage(format!("app {}: {error}", app.name)))?;
            }
            self.lists.entry(app.name.clone()).or_default();
        }
        Ok(())
    }

    /// Where the instances are, by application.
    pub fn instances(&self) -> Instances {
        self.lists
            .iter()
            .map(|(name, list)| (name.clone(), list.subscribe()))
            .collect()
    }

    /// Starts what is new in `plan` and exchanges what runs another program now: the old one is stopped when the new
    /// one serves, which it does when it accepts connections and has passed its check once. What is the same is not
    /// touched.
    pub fn update(&mut self, plan: &NodePlan) -> Result<()> {
        for app in &plan.apps {
            let old = match self.running.get(&app.name) {
                Some(running) if running.program == app.program => continue,
                _ => self.running.remove(&app.name),
            };
            let mut old = match old.map(Running::serving) {
                Some((serving, newer)) => {
                    // One that never came to serve has no say any more.
                    newer.map(|newer| self.retiring.spawn_local(newer.stop()));
                    Some(serving)
                }
                None => None,
            };
            if let Some(serving) = old.take_if(|old| old.program == app.program) {
                // Back to it, before another took its place.
                self.running.insert(app.name.clone(), serving);
                continue;
            }
            let handle = match AppHandle::start(app, &self.context) {
                Ok(handle) => handle,
                Err(error) => {
                    old.map(|old| self.running.insert(app.name.clone(), old));
                    return Err(Failure::usage(error.to_string()));
                }
            };
            match old {
                Some(old) => self.exchange(plan, &app.name, &app.program, old, handle),
                None => self.follow(&app.name, &app.program, handle),
            }
        }
        while self.retiring.try_join_next().is_some() {}
        Ok(())
    }

    /// Goes on with the old program until the new one serves.
    fn exchange(
        &mut self,
        plan: &NodePlan,
        app: &str,
        program: &Program,
        old: Running,
        handle: AppHandle,
    ) {
        let mut pools = plan.targets.iter().filter_map(|target| match target {
            Target::Pool(pool) => Some(pool),
            Target::Site(_) => None,
        });
        let new = hand_over::New {
            app: app.into(),
            node: self.context.node.clone(),
            several: are_several(program),
            instances: handle.instances(),
            listing: handle.listing(),
            admission: pools.find_map(|pool| Admission::of(pool, app)),
            list: self.lists.entry(app.into()).or_default().clone(),
            events: self.context.telemetry.events.clone(),
        };
        if let Some(listing) = old.handle.listing() {
            listing.publish();
        }
        let (hand_over, task, retire) = HandOver::new(old, new);
        let follower = spawn_local(task).abort_handle();
        self.retiring.spawn_local(retire);
        let running = Running {
            program: program.clone(),
            handle,
            follower,
            hand_over: Some(hand_over),
        };
        self.running.insert(app.into(), running);
    }

    fn follow(&mut self, app: &str, program: &Program, handle: AppHandle) {
        let list = self.lists.entry(app.into()).or_default().clone();
        let several = are_several(program);
        let follower = spawn_local(follow(
            self.context.node.clone(),
            several,
            handle.instances(),
            list,
        ));
        let running = Running {
            program: program.clone(),
            handle,
            follower: follower.abort_handle(),
            hand_over: None,
        };
        self.running.insert(app.into(), running);
    }

    /// Says where instances are that will be taken over.
    pub fn expect(
        &mut self,
        plan: &NodePlan,
        instances: &BTreeMap<String, Vec<(u16, SocketAddr)>>,
    ) {
        for app in &plan.apps {
            let known = instances.get(&app.name).zip(self.lists.get(&app.name));
            let Some((places, list)) = known else {
                continue;
            };
            let several = are_several(&app.program);
            let places = places.iter().map(|(index, at)| InstanceAddress {
                name: name(&self.context.node, several, *index),
                endpoint: Endpoint::Tcp(*at),
            });
            list.send_replace(places.collect());
        }
    }

    /// Goes on with applications that another process released. [`update`](Self::update) then exchanges those that are
    /// to run another program.
    pub fn take_over(&mut self, released: Vec<Released>) -> Result<()> {
        for (app, program, handed) in released {
            let handle = AppHandle::take_over(&app, &program, &self.context, handed)
                .map_err(|error| Failure::usage(error.to_string()))?;
            self.follow(&app, &program, handle);
        }
        Ok(())
    }

    /// Where instances are, as far as Tandem runs them.
    pub fn places(&self) -> BTreeMap<String, Vec<(u16, SocketAddr)>> {
        let places = |handle: &AppHandle| {
            let instances = handle.instances();
            let instances = instances.borrow();
            let places = instances.iter().filter_map(|instance| {
                Some((instance.index, instance.address.to_string().parse().ok()?))
            });
            places.collect()
        };
        let mut all = BTreeMap::new();
        for (app, running) in &self.running {
            let mut tell = |running: &Running| {
                if matches!(running.program, Program::Run { .. }) {
                    all.insert(app.clone(), places(&running.handle));
                }
            };
            let pending = running.hand_over.as_ref();
            if !pending.is_some_and(|pending| pending.look_at_old(&mut tell)) {
                tell(running);
            }
        }
        all
    }

    /// Lets go of what Tandem runs: it lives on, and requests still go to it. A new program that does not serve yet is
    /// stopped; whoever takes the others over starts it.
    pub async fn release(&mut self) -> Vec<Released> {
        let mut released = Vec::new();
        for (app, running) in std::mem::take(&mut self.running) {
            let (running, newer) = running.serving();
            newer.map(|newer| self.retiring.spawn_local(newer.stop()));
            match running.program {
                Program::Run { .. } => {
                    let handed = running.handle.release().await;
                    released.push((app, running.program, handed));
                }
                Program::Proxy(_) => {
                    self.running.insert(app, running);
                }
            }
        }
        released
    }

    /// Stops the applications that `plan` does not have.
    pub fn drop_all_but(&mut self, plan: &NodePlan) {
        let stays = |name: &str| plan.apps.iter().any(|app| app.name == name);
        self.lists.retain(|name, list| {
            if !stays(name) {
                list.send_replace(Vec::new());
            }
            stays(name)
        });
        let gone: Vec<String> = self
            .running
            .keys()
            .filter(|name| !stays(name))
            .cloned()
            .collect();
        for running in gone.iter().filter_map(|name| self.running.remove(name)) {
            let (serving, newer) = running.serving();
            // At once: what it says of its end is not for a list that is to stay empty.
            serving.follower.abort();
            for running in [Some(serving), newer].into_iter().flatten() {
                self.retiring.spawn_local(running.stop());
            }
        }
    }

    /// Stops them all at the same time.
    pub async fn stop(mut self) {
        let all = self.running.into_values().flat_map(|running| {
            let (serving, newer) = running.serving();
            [Some(serving), newer].into_iter().flatten()
        });
        futures_util::future::join_all(all.map(Running::stop)).await;
        while self.retiring.join_next().await.is_some() {}
    }
}

/// Translates the list of instances, whenever it changes. An empty first list is not passed on: what takes over from
/// another process has said where they are.
async fn follow(
    node: String,
    several: bool,
    mut from: watch::Receiver<Vec<Instance>>,
    to: watch::Sender<Vec<InstanceAddress>>,
) {
    let first = translate(&node, several, &from.borrow_and_update());
    if !first.is_empty() {
        to.send_replace(first);
    }
    while from.changed().await.is_ok() {
        let list = translate(&node, several, &from.borrow_and_update());
        to.send_replace(list);
    }
}

/// Instances as the edge wants to know them.
fn translate(node: &str, several: bool, instances: &[Instance]) -> Vec<InstanceAddress> {
    let places = instances
        .iter()
        .filter_map(|instance| Some((instance.index, endpoint(&instance.address)?)));
    places
        .map(|(index, endpoint)| InstanceAddress {
            name: name(node, several, index),
            endpoint,
        })
        .collect()
}

/// Whether there may be several instances on a node.
fn are_several(program: &Program) -> bool {
    matches!(program, Program::Run { instances, .. } if *instances > 1)
}

/// What an instance is called among the servers of its application.
fn name(node: &str, several: bool, index: u16) -> String {
    if several {
        format!("{node}/{index}")
    } else {
        node.to_owned()
    }
}

/// Where to connect to. A host name of this machine is looked up once.
fn endpoint(address: &Address) -> Option<Endpoint> {
    match address {
        Address::Unix(path) => Some(Endpoint::Unix(path.as_str().into())),
        Address::Tcp { host, port } => (host.as_str(), *port)
            .to_socket_addrs()
            .ok()?
            .next()
            .map(Endpoint::Tcp),
    }
}
