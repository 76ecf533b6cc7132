//! Stopping a node: in order, and by force when it does not.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Settings, exit_codes};
use crate::exit::{Failure, Result};
use crate::process::Holder;

/// How often the pid file is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the kernel may take to end a killed process.
const KILLED: Duration = Duration::from_secs(10);

/// Sends a signal to the process that holds the pid file.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(number) = number else {
        return Err(Failure::failed(format!("{pid} is no process")));
    };
    kill_process(number, signal).map_err(|error| match error {
        rustix::io::Errno::PERM => exit_codes::forbidden(format!(
            "the process {pid} belongs to another user: do this as root"
        )),
        _ => Failure::failed(format!("cannot signal the process {pid}: {error}")),
    })
}

/// SIGTERM, and SIGKILL when it has not ended within `within`. Returns when it no longer holds its pid file.
pub fn stop(settings: &Settings, pid: u32, within: Duration) -> Result<()> {
    signal(pid, Signal::TERM)?;
    if gone(settings, pid, within)? {
        return Ok(());
    }
    eprintln!(
        "tandem: the process {pid} has not ended after {} s: it is killed",
        within.as_secs()
    );
    signal(pid, Signal::KILL)?;
    if gone(settings, pid, KILLED)? {
        let _ = std::fs::remove_file(&settings.pid_file);
        return Ok(());
    }
    Err(Failure::failed(format!("the process {pid} does not end")))
}

fn gone(settings: &Settings, pid: u32, within: Duration) -> Result<bool> {
    let begun = Instant::now();
    loop {
        // The lock goes a moment before the process.
        if settings.holder()? != Holder::Runs(pid) && !runs(pid) {
            return Ok(true);
        }
        if begun.elapsed() >= within {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether there is such a process; one that has ended and waits for its parent is none.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest.trim_start());
        !state.starts_with('Z')
    })
}
