//! The applications of a node, and their instances as the edge wants to know them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use tandem_app::{AppContext, AppHandle, Handed, Instance, Ports, STARTUP};
use tandem_edge::{InstanceAddress, Instances};
use tandem_http::handler::Endpoint;
use tandem_model::{Address, NodePlan, Program};
use tandem_net::cluster::ClusterKey;
use tandem_telemetry::Telemetry;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet, spawn_local};

use crate::exit::{Failure, Result};

/// From a new program's first instance until the old program is stopped: its requests in flight finish.
const HAND_OVER: Duration = Duration::from_secs(2);

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

/// A running application.
struct Running {
    program: Program,
    handle: AppHandle,
    follower: AbortHandle,
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
    /// one serves. What is the same is not touched.
    pub fn update(&mut self, plan: &NodePlan) -> Result<()> {
        for app in &plan.apps {
            let old = match self.running.get(&app.name) {
                Some(running) if running.program == app.program => continue,
                _ => self.running.remove(&app.name),
            };
            let handle = AppHandle::start(app, &self.context)
                .map_err(|error| Failure::usage(error.to_string()))?;
            if let Some(old) = old {
                let retire = retire(old, handle.instances());
                self.retiring.spawn_local(retire);
            }
            self.follow(&app.name, &app.program, handle);
        }
        while self.retiring.try_join_next().is_some() {}
        Ok(())
    }

    fn follow(&mut self, app: &str, program: &Program, handle: AppHandle) {
        let list = self.lists.entry(app.into()).or_default().clone();
        let follower = follow(&self.context.node, program, handle.instances(), list);
        let program = program.clone();
        self.running.insert(
            app.into(),
            Running {
                program,
                handle,
                follower,
            },
        );
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
        let run = |running: &Running| matches!(running.program, Program::Run { .. });
        let running = self.running.iter().filter(|(_, running)| run(running));
        running
            .map(|(app, running)| {
                let instances = running.handle.instances();
                let instances = instances.borrow();
                let places = instances.iter().filter_map(|instance| {
                    Some((instance.index, instance.address.to_string().parse().ok()?))
                });
                (app.clone(), places.collect())
            })
            .collect()
    }

    /// Lets go of what Tandem runs: it lives on, and requests still go to it.
    pub async fn release(&mut self) -> Vec<Released> {
        let mut released = Vec::new();
        for (app, running) in std::mem::take(&mut self.running) {
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
            running.follower.abort();
            self.retiring.spawn_local(running.handle.stop());
        }
    }

    /// Stops them all at the same time.
    pub async fn stop(mut self) {
        let stopping = self
            .running
            .into_values()
            .map(|running| running.handle.stop());
        futures_util::future::join_all(stopping).await;
        while self.retiring.join_next().await.is_some() {}
    }
}

/// Stops an old program when the new one serves; it goes on alone when the new one never does.
async fn retire(old: Running, mut new: watch::Receiver<Vec<Instance>>) {
    let serving = new
        .wait_for(|instances| !instances.is_empty())
        .await
        .is_ok();
    old.follower.abort();
    if serving {
        tokio::time::sleep(HAND_OVER).await;
    }
    old.handle.stop().await;
}

/// Translates the list of instances, whenever it changes. An empty first list is not passed on: a new program's list
/// takes the place of the old one's when it has an instance.
fn follow(
    node: &str,
    program: &Program,
    mut from: watch::Receiver<Vec<Instance>>,
    to: watch::Sender<Vec<InstanceAddress>>,
) -> AbortHandle {
    let several = are_several(program);
    let node = node.to_owned();
    let translate = move |instances: &[Instance]| -> Vec<InstanceAddress> {
        let places = instances
            .iter()
            .filter_map(|instance| Some((instance.index, endpoint(&instance.address)?)));
        places
            .map(|(index, endpoint)| InstanceAddress {
                name: name(&node, several, index),
                endpoint,
            })
            .collect()
    };
    let first = translate(&from.borrow_and_update());
    if !first.is_empty() {
        to.send_replace(first);
    }
    let task = spawn_local(async move {
        while from.changed().await.is_ok() {
            let list = translate(&from.borrow_and_update());
            to.send_replace(list);
        }
    });
    task.abort_handle()
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
