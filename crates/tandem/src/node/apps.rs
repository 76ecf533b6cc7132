//! The applications of a node, and their instances as the edge wants to know them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use tandem_app::{AppContext, AppHandle, Instance, Ports, STARTUP};
use tandem_edge::{InstanceAddress, Instances};
use tandem_http::handler::Endpoint;
use tandem_model::{Address, App, NodePlan, Program};
use tandem_net::cluster::ClusterKey;
use tandem_telemetry::Telemetry;
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};

use crate::exit::{Failure, Result};

/// From a new program's first instance until the old program is stopped: its requests in flight finish.
const HAND_OVER: Duration = Duration::from_secs(2);

/// The applications of this node.
pub struct Apps {
    context: AppContext,
    /// Where the instances of each application are. A list stays the same when the program changes.
    lists: BTreeMap<String, watch::Sender<Vec<InstanceAddress>>>,
    running: BTreeMap<String, Running>,
}

/// A running application.
struct Running {
    program: Program,
    handle: AppHandle,
    follower: AbortHandle,
}

impl Apps {
    /// Starts them, without waiting for them.
    pub fn start(plan: &NodePlan, base: &Path, telemetry: &Telemetry) -> Result<Self> {
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
        };
        apps.prepare(plan)?;
        apps.update(plan)?;
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
                spawn_local(retire(old, handle.instances()));
            }
            let list = self.lists.entry(app.name.clone()).or_default().clone();
            let follower = follow(&self.context.node, app, handle.instances(), list);
            let program = app.program.clone();
            self.running.insert(
                app.name.clone(),
                Running {
                    program,
                    handle,
                    follower,
                },
            );
        }
        Ok(())
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
            spawn_local(running.handle.stop());
        }
    }

    /// Stops them all at the same time.
    pub async fn stop(self) {
        let stopping = self
            .running
            .into_values()
            .map(|running| running.handle.stop());
        futures_util::future::join_all(stopping).await;
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
    app: &App,
    mut from: watch::Receiver<Vec<Instance>>,
    to: watch::Sender<Vec<InstanceAddress>>,
) -> AbortHandle {
    let several = matches!(&app.program, Program::Run { instances, .. } if *instances > 1);
    let node = node.to_owned();
    let translate = move |instances: &[Instance]| -> Vec<InstanceAddress> {
        let name = |index: u16| {
            if several {
                format!("{node}/{index}")
            } else {
                node.clone()
            }
        };
        let places = instances
            .iter()
            .filter_map(|instance| Some((instance.index, endpoint(&instance.address)?)));
        places
            .map(|(index, endpoint)| InstanceAddress {
                name: name(index),
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
