//! The applications of a node, and their instances as the edge wants to know them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::Path;

use tandem_app::{AppContext, AppHandle, Instance, Ports, STARTUP};
use tandem_edge::{InstanceAddress, Instances};
use tandem_http::handler::Endpoint;
use tandem_model::{Address, App, NodePlan, Program};
use tandem_telemetry::Telemetry;
use tokio::sync::watch;
use tokio::task::spawn_local;

use crate::exit::{Failure, Result};

/// The applications of this node.
pub struct Apps {
    handles: Vec<AppHandle>,
    /// Where their instances are, by application.
    pub instances: Instances,
}

impl Apps {
    /// Starts them, without waiting for them.
    pub fn start(plan: &NodePlan, base: &Path, telemetry: &Telemetry) -> Result<Self> {
        let keeper = std::env::current_exe().map_err(|error| {
            Failure::failed(format!("cannot find this program's own file: {error}"))
        })?;
        let context = AppContext {
            node: plan.node.clone(),
            host: plan
                .local
                .parse()
                .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            sessions: plan
                .sessions
                .as_ref()
                .and_then(|sessions| sessions.agent.as_ref())
                .map(Address::to_string),
            keeper,
            dir: base.to_owned(),
            first_port: None,
            ports: Ports::default(),
            startup: STARTUP,
            telemetry: telemetry.clone(),
        };
        let mut apps = Self {
            handles: Vec::new(),
            instances: BTreeMap::new(),
        };
        for app in &plan.apps {
            let handle = AppHandle::start(app, &context)
                .map_err(|error| Failure::usage(error.to_string()))?;
            apps.instances.insert(
                app.name.clone(),
                follow(&plan.node, app, handle.instances()),
            );
            apps.handles.push(handle);
        }
        Ok(apps)
    }

    /// Stops them all at the same time.
    pub async fn stop(self) {
        futures_util::future::join_all(self.handles.into_iter().map(AppHandle::stop)).await;
    }
}

/// Translates the list of instances, now and whenever it changes.
fn follow(
    node: &str,
    app: &App,
    mut from: watch::Receiver<Vec<Instance>>,
) -> watch::Receiver<Vec<InstanceAddress>> {
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
    let (to, out) = watch::channel(first);
    spawn_local(async move {
        while from.changed().await.is_ok() {
            let list = translate(&from.borrow_and_update());
            to.send_replace(list);
        }
        // The application's role is gone: so are its instances.
        to.send_replace(Vec::new());
        to.closed().await;
    });
    out
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
