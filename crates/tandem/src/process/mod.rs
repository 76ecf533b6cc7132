//! What a process settles with its system: descriptors, its log, its user, the pid file, its service manager.

pub mod daemon;
mod dying;
mod limits;
pub mod name;
pub mod notify;
mod pid_file;
mod usage;

pub use dying::is_dying;
pub use limits::{
    RESERVED, most_descriptors, needed_descriptors, raise_descriptor_limit, too_few_descriptors,
};
pub use name::is_stopping;
pub use pid_file::{Holder, PidFile, holder};
pub use usage::{Usage, WORKER};

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use rustix::process::{Gid, Uid};
use tandem_model::Cluster;

use crate::exit::{Failure, Result};

/// Workers when the file does not say: one for each core that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// From now on standard error is this file.
pub fn log_to(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    rustix::stdio::dup2_stderr(&file)?;
    Ok(())
}

/// Becomes the user and group that the file names, and gives them the state directory. To be called before there are
/// other threads: the kernel changes one thread only, those made later inherit it.
pub fn become_user(user: Option<&str>, group: Option<&str>, state: &Path) -> Result<()> {
    let refused = |error: rustix::io::Errno| {
        Failure::failed(format!("cannot become {user:?} {group:?}: {error}"))
    };
    let ids = tandem_app::ids_to_become(user, group)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let Some(ids) = ids else { return Ok(()) };
    for path in [state.to_owned(), state.join("tandem.pid")] {
        std::os::unix::fs::chown(&path, Some(ids.uid), Some(ids.gid)).map_err(|error| {
            Failure::usage(format!(
                "cannot give {} to {user:?}: {error}",
                path.display()
            ))
        })?;
    }
    become_ids(ids.uid, ids.gid, &ids.groups).map_err(refused)
}

/// Looks for what is wrong on this machine for a node, with the rights that it will have.
pub fn check_here(cluster: &Cluster, node: Option<&str>) -> Vec<String> {
    let serving = |look: &(dyn Fn() -> Vec<String> + Sync)| {
        as_user(cluster.user.as_deref(), cluster.group.as_deref(), look)
    };
    tandem_config::check_here(cluster, node, &serving)
}

/// Does something on a thread that becomes the user first, as far as this process may. The kernel changes that thread only.
fn as_user<T: Send>(user: Option<&str>, group: Option<&str>, work: impl FnOnce() -> T + Send) -> T {
    let ids = tandem_app::ids_to_become(user, group).ok().flatten();
    let work = move || {
        if let Some(ids) = ids {
            // Who may not become it looks with its own rights.
            let _ = become_ids(ids.uid, ids.gid, &ids.groups);
        }
        work()
    };
    let done = std::thread::scope(|threads| threads.spawn(work).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Gives a file to the user and group that the file names, if it names any.
pub fn give(path: &Path, user: Option<&str>, group: Option<&str>) -> io::Result<()> {
    let ids = tandem_app::ids_to_become(user, group)
        .map_err(|error| io::Error::other(error.to_string()))?;
    match ids {
        Some(ids) => std::os::unix::fs::chown(path, Some(ids.uid), Some(ids.gid)),
        None => Ok(()),
    }
}

/// Becomes a user, in a group and in further groups: the thread that calls it, and those that it makes later.
pub fn become_ids(uid: u32, gid: u32, groups: &[u32]) -> rustix::io::Result<()> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let groups: Vec<Gid> = groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}
