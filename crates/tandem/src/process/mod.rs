//! What a process settles with its system: descriptors, its log, its user, the pid file, its service manager.

pub mod daemon;
mod dying;
mod limits;
mod memory;
pub mod name;
pub mod notify;
mod pid_file;
mod usage;

pub use dying::is_dying;
pub use limits::{
    RESERVED, most_descriptors, needed_descriptors, raise_descriptor_limit, too_few_descriptors,
};
pub use memory::give_back_when_it_is_over;
pub use name::is_stopping;
pub use pid_file::{Holder, PidFile, holder};
pub use usage::{Usage, WORKER};

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, fchown, lchown};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use tandem_app::Ids;
use tandem_model::Cluster;
use tandem_net::privilege;
use tandem_telemetry::disk::is_of_disk;

use crate::exit::{Failure, Result};

/// Workers when the file does not say: one for each core that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// From now on standard error is this file. `user` is who this process is about to become.
pub fn log_to(path: &Path, user: Option<&Ids>) -> io::Result<()> {
    rustix::stdio::dup2_stderr(open_log(path, user)?)?;
    Ok(())
}

/// Standard error, without the lock that the standard library puts around it: whoever else writes there does not wait for
/// one that is stuck.
pub struct StandardError;

impl io::Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a log, or makes it. It is given to the `user` that this process is about to become, and that opens it again after
/// a rotation; its group stays, whose members may read it. Until then this process may do more than that user: a link
/// that the user left there is not followed.
pub fn open_log(path: &Path, user: Option<&Ids>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    let Some(user) = user else {
        return options.open(path);
    };
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    match options.clone().custom_flags(no_link).open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            // Root's own, /dev/stderr for one, may be followed.
            if std::fs::symlink_metadata(path)?.uid() == 0 {
                return options.open(path);
            }
            Err(io::Error::other(
                "it is a symbolic link that is not root's: name the file itself",
            ))
        }
        opened => {
            let file = opened?;
            if file.metadata()?.is_file() {
                fchown(&file, Some(user.uid), None)?;
            }
            Ok(file)
        }
    }
}

/// Whether a path is that of a pipe, whose reader has to be there before it is opened.
pub fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Becomes the user and group that the file names, and gives them the state directory and the pid file in it. What a reload
/// may need of root's rights stays in reserve. To be called
/// before there are other threads: the kernel changes one thread only, those made later inherit it.
pub fn become_user(
    user: Option<&str>,
    group: Option<&str>,
    state: &Path,
    pid_files: &[PidFile],
) -> Result<()> {
    let refused = |error: rustix::io::Errno| {
        Failure::failed(format!("cannot become {user:?} {group:?}: {error}"))
    };
    let ids = tandem_app::ids_to_become(user, group)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let Some(ids) = ids else { return Ok(()) };
    let given = |path: &Path, given: io::Result<()>| match given {
        // What cannot be written there stops no start; whether it is the user's already shows when it can.
        Err(error) if is_of_disk(&error) || !state.exists() => Ok(()),
        Err(error) => {
            let path = path.display();
            let what = format!("cannot give {path} to {user:?}: {error}");
            Err(Failure::usage(what))
        }
        Ok(()) => Ok(()),
    };
    let (uid, gid) = (Some(ids.uid), Some(ids.gid));
    given(state, std::os::unix::fs::chown(state, uid, gid))?;
    for file in pid_files {
        if file.path().starts_with(state) {
            given(file.path(), file.give(ids.uid, ids.gid))?;
        }
    }
    privilege::keep(|| become_ids(ids.uid, ids.gid, &ids.groups)).map_err(refused)
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

/// Gives a socket to the user and group that the file names, if it names any; no link is followed.
pub fn give(path: &Path, user: Option<&str>, group: Option<&str>) -> io::Result<()> {
    let ids = tandem_app::ids_to_become(user, group)
        .map_err(|error| io::Error::other(error.to_string()))?;
    match ids {
        Some(ids) => lchown(path, Some(ids.uid), Some(ids.gid)),
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
