//! One node: the model's plan for it, put together and run.
//!
//! 1. everything that can be wrong with this machine is found out: addresses bound, roots opened, users known;
//! 2. applications start; services become handlers; routes are compiled;
//! 3. workers serve; the control thread checks, follows applications and waits for orders: to reload, to stop;
//! 4. stopping, in order: listeners drain, applications stop, the agent ends, leadership is handed over.
//!
//! A node that takes another process's place ([`succession`]) does 1 and what it can of 2 while that one serves.

mod apps;
mod cluster_port;
mod configuration;
mod doors;
mod end;
mod keyspace;
mod late;
mod manager;
mod names;
mod orders;
mod others;
mod reload;
mod services;
mod sessions;
mod stop;
mod succession;
mod upgrade;
mod warm;

pub use configuration::hash;
pub use doors::{OWN_SOCKET, Origin, admin_config};
pub use end::Signals;
pub use others::Peers;
pub use succession::Predecessor;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_admin::operations::{Refusal, STOP};
use tandem_admin::{Access, AdminHandler, Api, NodeInfo};
use tandem_app::Ids;
use tandem_model::{LogFormat, LogLevel, LogTo, NodePlan};
use tandem_net::privilege;
use tandem_telemetry::disk::is_of_disk;
use tandem_telemetry::event::Log;
use tandem_telemetry::{Severity, Telemetry};
use tokio::runtime::LocalRuntime;
use tokio::sync::watch;

use cluster_port::ClusterPort;
use late::Late;
use names::Names;

use crate::exit::{Failure, Result};
use crate::process::{self, PidFile};

/// How long requests in flight may take to finish when a node of a rehearsal stops, whose supervisor waits 10 s.
const REHEARSED: Duration = Duration::from_secs(8);
/// How long the control thread waits for stragglers (a hung resolver) at the very end.
const LAST: Duration = Duration::from_millis(200);

/// How long the last lines of the log may take at the very end.
const WRITTEN: Duration = Duration::from_secs(1);

/// Is given what the node can be asked and ordered.
pub type OnOpen = Box<dyn FnOnce(&Api, &Telemetry)>;

/// Is told who the process is about to become.
pub type OnUser = Box<dyn FnOnce(&Ids)>;

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
    /// Where `on_ready` puts standard error, unless the file says where the log is.
    pub log: Option<PathBuf>,
    /// Called when the node serves.
    pub on_ready: Option<Box<dyn FnOnce() -> Result<()>>>,
    /// The process whose place is to be taken.
    pub predecessor: Option<Predecessor>,
    /// The arguments with which another binary can take this one's place, or why none can.
    pub succession: std::result::Result<Vec<OsString>, &'static str>,
    /// Called before anybody is served, with what the node can be asked and ordered.
    pub on_open: Option<OnOpen>,
    /// Called as long as the process has the rights that it was started with, when it is to become another user.
    pub on_user: Option<OnUser>,
    /// Called when the node begins to stop: what is in flight may finish, nothing new is taken.
    pub on_stop: Option<Box<dyn FnOnce()>>,
    /// Reads the file again and says what this node is to do now.
    pub reread: Box<dyn Fn() -> Result<Read>>,
}

/// A file that was read.
pub struct Read {
    /// What this node is to do by it.
    pub plan: NodePlan,
    /// The whole of it as checked, in the words of a cluster file, without secrets.
    pub text: String,
    /// Called as soon as it is in effect; who comes to a listener that is there goes by it already.
    pub in_effect: Option<Box<dyn FnOnce()>>,
}

/// Runs a node until a signal ends it, or another process takes its place.
pub fn run(plan: NodePlan, mut options: Options) -> Result {
    let mut origin = std::mem::take(&mut options.origin);
    let mut predecessor = options.predecessor.take();
    let started = Instant::now();
    let mut no_log = None;
    if let LogTo::File(path) = &plan.log {
        let ids = tandem_app::ids_to_become(plan.user.as_deref(), plan.group.as_deref())
            .map_err(|error| Failure::usage(error.to_string()))?;
        if let Err(error) = process::log_to(Path::new(path), ids.as_ref()) {
            let what = format!("cannot write the log {path}: {error}");
            if !is_of_disk(&error) {
                return Err(Failure::usage(what));
            }
            no_log = Some(what);
        }
    }
    let descriptors = process::raise_descriptor_limit();
    let workers = plan.workers.map_or_else(process::cores, usize::from);
    let telemetry = Telemetry::new(&plan.node, workers, Log::Stderr);
    set_log(&plan, &telemetry);
    if let Some(what) = no_log {
        let what = format!(
            "{what}; the node logs to its standard error until SIGUSR1 has it open its logs anew: make room"
        );
        telemetry.events.error("node", what);
    }
    let usage = process::Usage {
        descriptor_limit: descriptors,
    };
    telemetry.registry.publish("process", Arc::new(usage));
    configuration::publish(&options.text, &telemetry);
    let need = process::needed_descriptors(&plan, workers);
    if descriptors < need {
        let what = process::too_few_descriptors(descriptors, need);
        telemetry.events.warning("node", what);
    }
    let rule = Names::Now.client_rule(&plan)?;
    let state = plan.state.clone();
    let mut late = Late::default();
    let made = late.make_state(&state, &telemetry.events);
    made.map_err(|error| {
        Failure::usage(format!(
            "cannot make the state directory {}: {error}",
            state.display()
        ))
    })?;
    if let Some(predecessor) = &mut predecessor {
        privilege::take();
        predecessor.may_be_followed_by(&plan)?;
        origin.legacy = predecessor.legacy();
    }
    let pid_files = {
        let mut take = |path: &Path| pid_file(path, &mut late, &telemetry);
        pid_files(&options, &state, predecessor.as_mut(), &mut take)?
    };
    let bound = doors::bind(&plan, workers, &mut origin, &telemetry)?;
    let agent_door = sessions::bind_agent(&plan, &mut origin.legacy)?;
    sessions::warn_of_strangers(agent_door.as_ref(), &telemetry);
    let runtime = LocalRuntime::new()
        .map_err(|error| Failure::failed(format!("cannot start an event loop: {error}")))?;
    let left = origin.legacy.cluster_port();
    let left_key = predecessor.as_ref().and_then(Predecessor::key);
    let incarnation = predecessor.as_ref().map(Predecessor::incarnation);
    let port = ClusterPort::bind(&plan, left, left_key, incarnation, &telemetry);
    let port = runtime.block_on(port)?;
    // What the file no longer has is the predecessor's to close.
    drop(origin);
    let (user, group) = (plan.user.as_deref(), plan.group.as_deref());
    if let Some(on_user) = options.on_user.take()
        && let Some(ids) = tandem_app::ids_to_become(user, group)
            .map_err(|error| Failure::usage(error.to_string()))?
    {
        on_user(&ids);
    }
    process::become_user(user, group, &state, &pid_files)?;
    let replica = plan.state.join("sessions");
    // What looks at the heap would hold up those whom the replica serves.
    process::give_back_when_it_is_over(move || !replica.exists());
    // Its thread is the user's, too.
    let apart = telemetry.events.write_apart(process::StandardError);
    apart.map_err(|error| Failure::failed(format!("cannot start the log's thread: {error}")))?;

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
        let mut apps = apps::Apps::new(&plan, &options.base, &telemetry)?;
        if let Some(predecessor) = &predecessor {
            apps.expect(&plan, predecessor.instances());
        }
        let services = services::Services::build(&plan, &apps, workers, &telemetry, None)?;
        let before = predecessor.as_ref().map(Predecessor::orders);
        let before = before.map(|orders| doors::Before::left(&orders.works));
        let before = before.unwrap_or_default();
        let configs = doors::configure(&plan, &services, &rule, &before, &telemetry)?;
        let (sight, seen) = watch::channel(true);
        let mut checks = None;
        if let Some(predecessor) = &predecessor {
            services.resolve().await;
            upgrade::obey(predecessor.orders(), &telemetry);
            checks = Some(tokio::task::spawn_local(services.checks(seen.clone())));
            warm::up(&telemetry).await;
            apps.take_over(upgrade::released(predecessor.begin().await?))?;
        }
        let clients = sessions::most_clients(&plan, descriptors);
        let sessions =
            sessions::Sessions::start(&plan, &port, agent_door, sight, clients, &telemetry);
        let mut sessions = sessions.await?;
        apps.update(&plan)?;
        apps.drop_all_but(&plan);
        if predecessor.is_none() {
            services.resolve().await;
        }
        let most = doors::connections(descriptors - clients as u64, workers);
        let roles = info.roles.join(", ");
        let (orders, mut inbox) = orders::channel(keyspace::Keyspace::start(sessions.operator()));
        let others = Arc::new(others::Peers::start(&plan, &port.key, port.incarnation));
        let api = Api::new(info, telemetry.clone(), Arc::new(orders), others.clone());
        let answering = port
            .purposes()
            .map(|purposes| others::answer(&purposes, api.clone()));
        let serving = Some(port.serve());
        if let Some(on_open) = options.on_open.take() {
            on_open(&api, &telemetry);
        }
        let access = doors::access(&plan);
        let admin = AdminHandler::node(api.clone(), access);
        let owner = AdminHandler::node(api, Access::Owner);
        let doors = doors::Doors::open(bound, configs, [admin, owner], workers, most, &telemetry)?;
        let checks =
            checks.unwrap_or_else(|| tokio::task::spawn_local(services.checks(seen.clone())));
        let mut earlier = Vec::new();
        for file in &pid_files {
            late.claim(file, &telemetry.events)?;
        }
        if let Some(mut predecessor) = predecessor {
            predecessor.serves().await;
            sessions.adopt(predecessor.clients());
            earlier = predecessor.lines();
        }
        telemetry.events.info("node", format!("serves as {roles}"));
        let mut manager = manager::Manager::new(doors.pulse());
        manager.ready(&format!("serves as {roles}"));
        if let Some(on_ready) = options.on_ready.take() {
            on_ready()?;
        }

        let log = match &plan.log {
            LogTo::File(path) => Some(PathBuf::from(path)),
            LogTo::Stderr => options.log.take(),
        };
        let mut node = reload::Running {
            started: plan.clone(),
            log,
            plan,
            text: options.text.clone(),
            workers,
            telemetry: telemetry.clone(),
            port,
            serving,
            answering,
            others,
            sessions,
            apps,
            services,
            doors,
            seen,
            checks,
            pid_files,
            earlier,
        };
        let usual = if options.tethered { REHEARSED } else { STOP };
        let mut broken = None;
        let (why, within) = loop {
            let order = tokio::select! {
                order = end.wait() => order,
                part = node.sessions.broken() => {
                    // Nobody is answered by what is left of it. Whoever supervises the node starts it again.
                    let why = format!("{part} of this node has ended by a panic");
                    telemetry.events.error("sessions", format!("{why}: the node ends"));
                    broken = Some(why);
                    break ("a part of it has ended", usual);
                }
                () = tokio::time::sleep(late::PAUSE), if !late.is_empty() => {
                    late.try_again(&mut node.pid_files, &telemetry.events);
                    continue;
                }
                Some(given) = inbox.next() => {
                    if let tandem_admin::Order::Stop { within } = given.order {
                        let told = node.last_words(within);
                        let _ = given.outcome.send(Ok(told));
                        break ("by order", within);
                    }
                    if let tandem_admin::Order::Upgrade { binary, drain } = &given.order {
                        manager.reloading();
                        match node.hand_over(binary, &options.succession).await {
                            Ok((successor, told)) => {
                                manager.succeeded_by(successor.pid);
                                successor.lead().await;
                                inbox.succeeded_by(successor.pid);
                                process::name::drains();
                                let _ = given.outcome.send(Ok(told));
                                node.retire(successor, *drain, &mut end).await;
                                return Ok(ExitCode::SUCCESS);
                            }
                            Err(why) => {
                                manager.ready_again();
                                inbox.goes_on();
                                let _ = given.outcome.send(Err(Refusal::No(why)));
                            }
                        }
                        continue;
                    }
                    let outcome = node.obey(given.order, &options, &manager).await;
                    let _ = given.outcome.send(outcome.map_err(Refusal::No));
                    continue;
                }
            };
            match order {
                end::Order::Stop(why) => break (why, usual),
                end::Order::ReopenLogs => {
                    let _ = node.reopen_logs();
                }
                end::Order::StopNow(why) => break (why, Duration::ZERO),
                end::Order::Reload => {
                    let _ = node.reload(&*options.reread, &manager).await;
                }
            }
        };
        inbox.close();
        if let Some(on_stop) = options.on_stop.take() {
            on_stop();
        }
        process::name::stops();
        manager.stopping(why, node.ends_within(within));
        let seconds = within.as_secs();
        telemetry.events.info(
            "node",
            format!("stops: {why}; what is in flight has {seconds} s"),
        );
        let earlier = node.earlier.clone();
        tokio::select! {
            () = node.stop(within) => {}
            why = end.wait_again() => {
                telemetry.events.warning("node", format!("stops at once: {why}"));
                for line in earlier {
                    line.stops(Duration::ZERO);
                }
            }
        }
        match broken {
            Some(why) => Err(Failure::failed(why)),
            None => Ok(ExitCode::SUCCESS),
        }
    });
    runtime.shutdown_timeout(LAST);
    telemetry.events.flush(WRITTEN);
    outcome
}

/// The pid files: the one that was asked for, and that of the state directory.
fn pid_files(
    options: &Options,
    state: &Path,
    mut predecessor: Option<&mut Predecessor>,
    take: &mut dyn FnMut(&Path) -> Result<Option<PidFile>>,
) -> Result<Vec<PidFile>> {
    let mut files = Vec::new();
    let own = state.join("tandem.pid");
    for path in options.pid_file.as_deref().into_iter().chain([&*own]) {
        let left = predecessor
            .as_mut()
            .and_then(|predecessor| predecessor.pid_file(path));
        files.extend(match left {
            Some(file) => Some(file),
            None if options.follows && path != own => {
                let opened = PidFile::open(path).map_err(|error| {
                    Failure::usage(format!("cannot write {}: {error}", path.display()))
                });
                Some(opened?)
            }
            None => take(path)?,
        });
    }
    Ok(files)
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

/// Takes a pid file: two nodes never share one. Where its disk takes nothing it comes later.
fn pid_file(path: &Path, late: &mut Late, telemetry: &Telemetry) -> Result<Option<PidFile>> {
    let events = &telemetry.events;
    match PidFile::lock(path) {
        Ok(file) => {
            late.claim(&file, events)?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            let held = match process::holder(path) {
                Ok(process::Holder::Runs(pid)) => format!(" (pid {pid})"),
                _ => String::new(),
            };
            Err(Failure::usage(format!(
                "{} is held by a node that runs{held}; stop it first, or give this one a state directory and a pid file \
                 of its own",
                path.display()
            )))
        }
        Err(error) if late.is_for_later(path, &error, events) => Ok(None),
        Err(error) => {
            let what = format!("cannot write {}: {error}", path.display());
            Err(Failure::usage(what))
        }
    }
}

/// The shared form of a name.
fn shared(name: &str) -> Arc<str> {
    Arc::from(name)
}
