//! The step between keeper and program.
//!
//! Its standard input is a pipe to the keeper. It says there why the program cannot be started; the pipe's end without
//! a word means that it was.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Gid, Pid, Signal, Uid};

use super::Orders;
use crate::sys;
use crate::user::Ids;

/// As shells say it: found, but not run.
const NOT_RUN: u8 = 126;

/// Leads a session of its own, becomes the user, and becomes the program; returns only if that fails.
pub(super) fn start(orders: &Orders, keeper: Pid) -> ExitCode {
    // A copy that the program does not inherit.
    let Ok(pipe) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(NOT_RUN);
    };
    let error = match prepare(orders.user.as_ref(), keeper) {
        Ok(()) => Command::new(&orders.command[0])
            .args(&orders.command[1..])
            .exec(),
        Err(error) => error,
    };
    // When nobody reads it, there is nobody to be told.
    let _ = write!(File::from(pipe), "{}: {error}", orders.command[0].display());
    ExitCode::from(NOT_RUN)
}

fn prepare(user: Option<&Ids>, keeper: Pid) -> io::Result<()> {
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::process::setsid()?;
    if let Some(ids) = user {
        let groups: Vec<Gid> = ids.groups.iter().map(|id| Gid::from_raw(*id)).collect();
        // These change one thread, which is all of this process.
        rustix::thread::set_thread_groups(&groups)?;
        let (gid, uid) = (Gid::from_raw(ids.gid), Uid::from_raw(ids.uid));
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    // After the change of user, which takes it back. A keeper that died before this line is noticed by the next.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(keeper) {
        return Err(io::Error::other("its keeper is gone"));
    }
    sys::heed_signals();
    Ok(())
}
