//! One node: the model's plan for it, put together and run.
//!
//! 1. everything that can be wrong with this machine is found out: addresses bound, roots opened, users known;
//! 2. applications start; services become handlers; routes are compiled;
//! 3. workers serve; the control thread checks, follows applications and waits for orders: to reload, to stop;
//! 4. stopping, in order: listeners drain, applications stop, the agent ends, leadership is handed over.

mod apps;
mod doors;
mod end;
mod manager;
mod reload;
mod services;
mod sessions;

pub use doors::admin_config;

use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_admin::NodeInfo;
use tandem_model::{LogTo, NodePlan};
use tandem_net::ClientRule;
use tandem_telemetry::Telemetry;
use tandem_telemetry::event::Log;
use tokio::runtime::LocalRuntime;

use crate::exit::{Failure, Result};
use crate::process::{self, PidFile};

/// How long requests in flight may take to finish when the node stops.
const DRAIN: Duration = Duration::from_secs(8);
/// How long the control thread waits for stragglers (a hung resolver) at the very end.
const LAST: Duration = Duration::from_millis(200);

/// How a node is run, apart from what it does.
pub struct Options {
    /// What the node does, in the words of the file.
    pub roles: Vec<String>,
    /// The directory of the cluster file.
    pub base: PathBuf,
    /// End when standard input does.
    pub tethered: bool,
    /// Where to write the process's number, besides the state directory.
    pub pid_file: Option<PathBuf>,
    /// Reads the file again and says what this node is to do now.
    pub reread: Box<dyn Fn() -> Result<NodePlan>>,
}

/// Runs a node until a signal ends it.
pub fn run(plan: NodePlan, options: Options) -> Result {
    let started = Instant::now();
    if let LogTo::File(path) = &plan.log {
        process::log_to(Path::new(path))
            .map_err(|error| Failure::usage(format!("cannot write the log {path}: {error}")))?;
    }
    let descriptors = process::raise_descriptor_limit();
    let workers = plan.workers.map_or_else(process::cores, usize::from);
    let telemetry = Telemetry::new(&plan.node, workers, Log::Stderr);
    let rule = client_rule(&plan)?;
    let bound = doors::bind(&plan, workers)?;
    let agent_door = sessions::bind_agent(&plan)?;
    let state = plan.state.clone();
    std::fs::create_dir_all(&state).map_err(|error| {
        Failure::usage(format!(
            "cannot make the state directory {}: {error}",
            state.display()
        ))
    })?;
    let runtime = LocalRuntime::new()
        .map_err(|error| Failure::failed(format!("cannot start an event loop: {error}")))?;
    let cluster_port = runtime.block_on(sessions::bind_cluster_port(&plan, &telemetry))?;
    let _pid = options.pid_file.as_deref().map(pid_file).transpose()?;
    process::become_user(plan.user.as_deref(), plan.group.as_deref(), &state)?;
    let _state_pid = pid_file(&state.join("tandem.pid"))?;

    let info = NodeInfo {
        cluster: plan.cluster.clone(),
        node: plan.node.clone(),
        address: plan.address.clone(),
        roles: options.roles,
        version: env!("CARGO_PKG_VERSION"),
        started,
    };
    let outcome = runtime.block_on(async {
        let mut end = end::End::new(options.tethered)?;
        let sessions =
            sessions::Sessions::start(&plan, cluster_port, agent_door, &telemetry).await?;
        let apps = apps::Apps::start(&plan, &options.base, &telemetry)?;
        let services = services::Services::build(&plan, &apps, workers, &telemetry, None)?;
        services.resolve().await;
        let configs = doors::configure(&plan, &services, &rule, &doors::Before::default())?;
        let most = doors::connections(descriptors, workers);
        let doors = doors::Doors::open(bound, configs, &info, workers, most, &telemetry)?;
        let checks = tokio::task::spawn_local(services.checks());
        let roles = info.roles.join(", ");
        telemetry.events.info("node", format!("serves as {roles}"));
        let manager = manager::Manager::new(doors.pulse());
        manager.ready(&format!("serves as {roles}"));

        let mut node = reload::Running {
            plan,
            workers,
            telemetry: telemetry.clone(),
            sessions,
            apps,
            services,
            doors,
            checks,
        };
        let why = loop {
            match end.wait().await {
                end::Order::Stop(why) => break why,
                end::Order::Reload => {
                    manager.reloading();
                    node.reload(&*options.reread).await;
                    manager.ready(&format!("serves as {roles}"));
                }
            }
        };
        manager.stopping(why);
        telemetry.events.info("node", format!("stops: {why}"));
        tokio::select! {
            () = node.stop() => {}
            why = end.wait_again() => telemetry.events.warning("node", format!("stops at once: {why}")),
        }
        Ok(ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(LAST);
    outcome
}

/// Takes a pid file: two nodes never share one.
fn pid_file(path: &Path) -> Result<PidFile> {
    PidFile::lock(path).map_err(|error| {
        Failure::usage(match error.kind() {
            std::io::ErrorKind::WouldBlock => format!(
                "{} is held by a node that runs{}; stop it first, or give this one a state directory and a pid file \
                 of its own",
                path.display(),
                match process::holder(path) {
                    Ok(process::Holder::Runs(pid)) => format!(" (pid {pid})"),
                    _ => String::new(),
                }
            ),
            _ => format!("cannot write {}: {error}", path.display()),
        })
    })
}

/// Who is a node: the addresses of the others.
fn client_rule(plan: &NodePlan) -> Result<ClientRule> {
    let mut rule = ClientRule::default();
    for (name, address) in &plan.peers {
        rule.nodes.extend(look_up(address).map_err(|error| {
            Failure::usage(format!(
                "the address of node {name}, `{address}`, cannot be looked up: {error}"
            ))
        })?);
    }
    Ok(rule)
}

/// The addresses of a host.
fn look_up(host: &str) -> std::io::Result<Vec<IpAddr>> {
    let found = (host, 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
}

/// The shared form of a name.
fn shared(name: &str) -> Arc<str> {
    Arc::from(name)
}
