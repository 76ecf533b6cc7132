//! Running the files of other programs: what `tandem haproxy` and `tandem nginx` have in common.
//!
//! The file is translated into a cluster file, in a directory that lives as long as the process; from there on it is
//! run as any other. A reload translates it again.

mod runtime_api;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tandem_config::Loaded;
use tandem_config::import::Translation;
use tandem_model::{Address, Cluster, LogTo, NodePlan};

use crate::commands::run;
use crate::exit::{Failure, Result};
use crate::node::{self, Signals};
use crate::process::{self, daemon};
use runtime_api::RuntimeApi;

/// A directory of this process, gone when it ends.
pub struct Place(PathBuf);

impl Place {
    /// Makes one, named after the program.
    pub fn new(program: &str) -> Result<Self> {
        let name = format!("tandem-{program}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // What a process of this number has left behind.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::DirBuilder::new()
            .mode(0o711)
            .create(&path)
            .map_err(|error| Failure::failed(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes what belongs beside the cluster file.
    fn write(translation: &Translation) -> Result<()> {
        for (path, content) in &translation.files {
            let path = Path::new(path);
            let cannot = |error: std::io::Error| {
                Failure::failed(format!("cannot write {}: {error}", path.display()))
            };
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory).map_err(cannot)?;
            }
            // For nobody else.
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .map_err(cannot)?;
            std::io::Write::write_all(&mut file, content).map_err(cannot)?;
        }
        Ok(())
    }
}

impl Place {
    /// Gives it to the user that the process becomes, who writes there when the files are read again.
    fn give(&self, plan: &NodePlan, translation: &Translation) -> Result<()> {
        let (user, group) = (plan.user.as_deref(), plan.group.as_deref());
        let files = translation.files.keys().map(Path::new);
        let mut all: Vec<&Path> = files
            .flat_map(Path::ancestors)
            .filter(|path| path.starts_with(&self.0))
            .collect();
        all.push(&self.0);
        all.sort_unstable();
        all.dedup();
        // The innermost first: as soon as a directory is given away, others say what is in it.
        for path in all.into_iter().rev() {
            process::give(path, user, group).map_err(|error| {
                Failure::failed(format!("cannot give {} away: {error}", path.display()))
            })?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a file of another program is run.
pub struct Running {
    pub signals: Signals,
    pub daemon: bool,
    pub pid_file: Option<PathBuf>,
    /// Where it writes what it has to say, once it serves; `None` is standard error, and nowhere for a daemon.
    pub log: Option<PathBuf>,
    /// Processes that this one takes over from.
    pub follows: Vec<Follow>,
    /// Bound sockets that were handed over.
    pub handed: BTreeMap<Address, OwnedFd>,
}

/// A process to take over from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    pub pid: i32,
    /// It may finish what is in flight.
    pub in_order: bool,
}

/// Runs what `translate` gives, until a signal ends it. `translate` is called again for a reload.
pub fn serve(
    place: Place,
    mut first: Translation,
    running: Running,
    translate: Box<dyn Fn() -> Result<Translation>>,
) -> Result {
    let directory = place.path().to_owned();
    Place::write(&first)?;
    let loaded = first
        .loaded
        .take()
        .ok_or_else(|| Failure::failed("nothing was translated"))?;
    let first_text = loaded.shown();
    // Who is not root cannot become another.
    let becomes = rustix::process::geteuid().is_root();
    let (plan, roles) = plan_of(loaded, &directory, becomes)?;
    place.give(&plan, &first)?;
    prepare_logs(&plan, running.log.as_deref());
    if running.daemon {
        let name = std::env::args_os().next().unwrap_or_default();
        daemon::detach_here(&name)?;
    }
    let follows = running.follows;
    let commands = RuntimeApi::bind(first.process.commands.clone(), !follows.is_empty())?;
    let (opened, followed) = (commands.clone(), commands.clone());
    let (left, stopped) = (commands.clone(), commands.clone());
    let (is_daemon, log) = (running.daemon, running.log);
    let (also, put) = (follows.clone(), log.clone());
    let on_ready = Box::new(move || {
        if is_daemon {
            daemon::ready(log.is_some())?;
        }
        if let Some(log) = &log {
            process::log_to(log, None).map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", log.display()))
            })?;
        }
        for one in &also {
            signal(
                one.pid,
                if one.in_order {
                    rustix::process::Signal::USR1
                } else {
                    rustix::process::Signal::TERM
                },
            );
        }
        Ok(())
    });
    let base = directory.clone();
    let reread = Box::new(move || {
        let translation = translate()?;
        Place::write(&translation)?;
        match translation.loaded {
            Some(loaded) => {
                let text = loaded.shown();
                let (plan, _) = plan_of(loaded, &directory, becomes)?;
                let (followed, commands) = (followed.clone(), translation.process.commands);
                Ok(node::Read {
                    plan,
                    text,
                    in_effect: Some(Box::new(move || followed.follow(commands))),
                })
            }
            None => Err(Failure::failed(translation.report.to_string())),
        }
    });
    let ended = node::run(
        plan,
        node::Options {
            roles,
            base,
            tethered: false,
            pid_file: running.pid_file,
            follows: true,
            origin: node::Origin {
                beside: !follows.is_empty(),
                handed: running.handed,
                ..node::Origin::default()
            },
            predecessor: None,
            succession: Err(
                "it runs another program's configuration: start the new binary as you would that program's",
            ),
            signals: running.signals,
            on_ready: Some(on_ready),
            log: put,
            text: first_text,
            on_open: Some(Box::new(move |api, telemetry| opened.open(api, telemetry))),
            on_user: Some(Box::new(move |ids| left.become_user(ids))),
            on_stop: Some(Box::new(move || stopped.stop())),
            reread,
        },
    );
    drop(commands);
    drop(place);
    ended
}

/// What the one node of a translated file does; `becomes`: root started it, so that it becomes the user that the file names.
fn plan_of(mut loaded: Loaded, directory: &Path, becomes: bool) -> Result<(NodePlan, Vec<String>)> {
    let cluster: &mut Cluster = &mut loaded.cluster;
    directory.clone_into(&mut cluster.state);
    cluster.log = LogTo::Stderr;
    // The originals make no ids: servers get what they got from them.
    for listener in &mut cluster.listeners {
        listener.request_id = false;
    }
    if !becomes {
        (cluster.user, cluster.group) = (None, None);
    }
    let node = run::this_machine(cluster)?;
    let roles = cluster.roles(&node);
    Ok((run::plan(loaded, &node)?, roles))
}

/// What would keep the sockets for commands from being made on this machine as it is now.
pub fn wrong_with_sockets(translation: &Translation) -> Vec<String> {
    runtime_api::wrong_with(&translation.process.commands)
}

/// Logs are opened by the user that the node becomes: they are made and given to it before. `own` is the node's.
fn prepare_logs(plan: &NodePlan, own: Option<&Path>) {
    let ids = tandem_app::ids_to_become(plan.user.as_deref(), plan.group.as_deref());
    let Ok(Some(ids)) = ids else { return };
    let access = plan.listeners.iter().filter_map(|l| l.log.as_deref());
    // A pipe's reader is not waited for.
    for log in access.chain(own).filter(|path| !process::is_pipe(path)) {
        // What cannot be done is told when the log is opened.
        let _ = process::open_log(log, Some(&ids));
    }
}

/// Sockets of this process that were handed over by whoever started it, by their numbers.
pub fn handed_over() -> BTreeMap<u32, (Address, OwnedFd)> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let mut found = BTreeMap::new();
    let Ok(this) = pidfd_open(getpid(), PidfdFlags::empty()) else {
        return found;
    };
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for number in numbers.filter(|number| *number > 2) {
        let Ok(socket) = pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let address = rustix::net::getsockname(&socket)
            .ok()
            .and_then(|name| std::net::SocketAddr::try_from(name).ok());
        let Some(address) = address.filter(|address| address.port() != 0) else {
            continue;
        };
        if let (Ok(address), Ok(number)) = (address.to_string().parse(), u32::try_from(number)) {
            found.insert(number, (address, socket));
        }
    }
    found
}

/// Sends a signal to a process; one that is gone is no error.
pub fn signal(pid: i32, signal: rustix::process::Signal) -> bool {
    rustix::process::Pid::from_raw(pid)
        .filter(|_| pid > 0)
        .is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}
