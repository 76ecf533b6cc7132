//! One node: the model's plan for it, put together and run.
//!
//! 1. everything that can be wrong with this machine is found out: addresses bound, roots opened, users known;
//! 2. applications start; services become handlers; routes are compiled;
//! 3. workers serve; the control thread checks, follows applications and waits for orders: to reload, to stop;
//! 4. stopping, in order: listeners drain, applications stop, the agent ends, leadership is handed over.

mod apps;
mod cluster_port;
mod configuration;
mod doors;
mod end;
mod manager;
mod orders;
mod others;
mod reload;
mod services;
mod sessions;

pub use doors::{OWN_SOCKET, Origin, admin_config};
pub use end::Signals;

use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_admin::{Access, AdminHandler, Api, NodeInfo};
use tandem_model::{LogFormat, LogLevel, LogTo, NodePlan};
use tandem_net::ClientRule;
use tandem_telemetry::event::Log;
use tandem_telemetry::{Severity, Telemetry};
use tokio::runtime::LocalRuntime;

use cluster_port::ClusterPort;

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
    /// What the file says, as checked.
    pub text: String,
    /// Another process may hold the pid file for a while.
    pub follows: bool,
    /// Where the sockets of listeners come from.
    pub origin: Origin,
    /// What signals mean.
    pub signals: Signals,
    /// Called when the node serves.
    pub on_ready: Option<Box<dyn FnOnce() -> Result<()>>>,
    /// Reads the file again and says what this node is to do now.
    pub reread: Box<dyn Fn() -> Result<Read>>,
}

/// A file that was read.
pub struct Read {
    /// What this node is to do by it.
    pub plan: NodePlan,
    /// The whole of it as checked, in the words of a cluster file, without secrets.
    pub text: String,
}

/// Runs a node until a signal ends it.
pub fn run(plan: NodePlan, mut options: Options) -> Result {
    let origin = std::mem::take(&mut options.origin);
    let started = Instant::now();
    if let LogTo::File(path) = &plan.log {
        process::log_to(Path::new(path))
            .map_err(|error| Failure::usage(format!("cannot write the log {path}: {error}")))?;
    }
    let descriptors = process::raise_descriptor_limit();
    let workers = plan.workers.map_or_else(process::cores, usize::from);
    let telemetry = Telemetry::new(&plan.node, workers, Log::Stderr);
    set_log(&plan, &telemetry);
    let rule = client_rule(&plan)?;
    let state = plan.state.clone();
    std::fs::create_dir_all(&state).map_err(|error| {
        Failure::usage(format!(
            "cannot make the state directory {}: {error}",
            state.display()
        ))
    })?;
    let _pid = match options.pid_file.as_deref() {
        Some(path) if options.follows => Some(PidFile::create(path).map_err(|error| {
            Failure::usage(format!("cannot write {}: {error}", path.display()))
        })?),
        Some(path) => Some(pid_file(path)?),
        None => None,
    };
    let _state_pid = pid_file(&state.join("tandem.pid"))?;
    let bound = doors::bind(&plan, workers, origin, &telemetry)?;
    let agent_door = sessions::bind_agent(&plan)?;
    let runtime = LocalRuntime::new()
        .map_err(|error| Failure::failed(format!("cannot start an event loop: {error}")))?;
    let cluster_port = runtime.block_on(ClusterPort::bind(&plan, &telemetry))?;
    process::become_user(plan.user.as_deref(), plan.group.as_deref(), &state)?;

    let info = NodeInfo {
        cluster: plan.cluster.clone(),
        node: plan.node.clone(),
        address: plan.address.clone(),
        roles: options.roles.clone(),
        version: env!("CARGO_PKG_VERSION"),
        started,
    };
    let outcome = runtime.block_on(async {
        let mut end = end::End::new(options.tethered, options.signals)?;
        let sessions =
            sessions::Sessions::start(&plan, &cluster_port, agent_door, &telemetry).await?;
        let apps = apps::Apps::start(&plan, &options.base, &telemetry)?;
        let services = services::Services::build(&plan, &apps, workers, &telemetry, None)?;
        services.resolve().await;
        let configs = doors::configure(&plan, &services, &rule, &doors::Before::default())?;
        let most = doors::connections(descriptors, workers);
        let roles = info.roles.join(", ");
        let (orders, mut given) = orders::channel();
        let others = others::Peers::start(&plan, &cluster_port.key);
        let api = Api::new(info, telemetry.clone(), Arc::new(orders), Arc::new(others));
        if let Some(purposes) = cluster_port.purposes() {
            others::answer(&purposes, api.clone());
        }
        let _port = cluster_port.serve();
        let access = doors::access(&plan);
        let admin = AdminHandler::node(api.clone(), access);
        let owner = AdminHandler::node(api, Access::Owner);
        let doors = doors::Doors::open(bound, configs, [admin, owner], workers, most, &telemetry)?;
        let checks = tokio::task::spawn_local(services.checks());
        telemetry.events.info("node", format!("serves as {roles}"));
        let manager = manager::Manager::new(doors.pulse());
        manager.ready(&format!("serves as {roles}"));
        if let Some(on_ready) = options.on_ready.take() {
            on_ready()?;
        }

        let mut node = reload::Running {
            plan,
            text: options.text.clone(),
            workers,
            telemetry: telemetry.clone(),
            sessions,
            apps,
            services,
            doors,
            checks,
        };
        let mut at_once = false;
        let why = loop {
            let order = tokio::select! {
                order = end.wait() => order,
                Some(given) = given.recv() => {
                    let outcome = node.obey(given.order, &options, &manager).await;
                    let _ = given.outcome.send(outcome);
                    continue;
                }
            };
            match order {
                end::Order::Stop(why) => break why,
                end::Order::ReopenLogs => node.reopen_logs(),
                end::Order::StopNow(why) => {
                    at_once = true;
                    break why;
                }
                end::Order::Reload => {
                    let _ = node.reload(&*options.reread, &manager).await;
                }
            }
        };
        manager.stopping(why);
        telemetry.events.info("node", format!("stops: {why}"));
        tokio::select! {
            () = node.stop(if at_once { Duration::ZERO } else { DRAIN }) => {}
            why = end.wait_again() => telemetry.events.warning("node", format!("stops at once: {why}")),
        }
        Ok(ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(LAST);
    outcome
}

/// How the log is written.
fn set_log(plan: &NodePlan, telemetry: &Telemetry) {
    telemetry
        .events
        .set_json(plan.log_format == LogFormat::Json);
    telemetry.events.set_level(match plan.log_level {
        LogLevel::Debug => Severity::Debug,
        LogLevel::Info => Severity::Info,
        LogLevel::Warning => Severity::Warning,
        LogLevel::Error => Severity::Error,
    });
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
