//! Stopping a node: in order, and by force when it does not.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Settings, exit_codes};
use crate::exit::{Failure, Result};
use crate::node::OWN_SOCKET;
use crate::operator::Client;
use crate::process::{self, Holder};

/// For a node that can be asked to say so.
const PROMPT: Duration = Duration::from_secs(5);
/// How long one may take that was sent a signal, beyond what is in flight: its applications are stopped.
const REST: Duration = Duration::from_secs(20);
/// How often the pid file is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// For one that stops, whose requests in flight and applications have their time.
const STOPPING: Duration = Duration::from_mins(2);
/// A SIGKILL that was sent is taken, and shows in what `/proc` says, within this time.
const TAKEN: Duration = Duration::from_millis(100);
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

/// Has the node end, with `within` for what is in flight, and kills it when it hangs. Returns when nobody holds its pid file,
/// with the process that did so last.
pub fn stop(settings: &Settings, within: Duration) -> Result<Option<u32>> {
    let mut stopped = None;
    // Whoever took its place in an upgrade that was under way ends, too.
    while let Holder::Runs(pid) = settings.holder()? {
        stopped = Some(stop_one(settings, pid, within)?);
    }
    Ok(stopped)
}

fn stop_one(settings: &Settings, pid: u32, within: Duration) -> Result<u32> {
    let (pid, at_most) = match ordered(settings, pid, within) {
        Some(ordered) => ordered,
        None => {
            signal(pid, Signal::TERM)?;
            (pid, within.saturating_add(REST))
        }
    };
    if gone(settings, pid, at_most)? {
        return Ok(pid);
    }
    eprintln!(
        "tandem: the process {pid} has not ended after {} s: it is killed",
        at_most.as_secs()
    );
    signal(pid, Signal::KILL)?;
    if gone(settings, pid, KILLED)? {
        let _ = std::fs::remove_file(&settings.pid_file);
        return Ok(pid);
    }
    Err(Failure::failed(format!("the process {pid} does not end")))
}

/// Orders it from the node itself, which knows how long it takes at most; by then it is another process, perhaps. A node that
/// does not answer, or is not found by the file as it is now, can be sent a signal: then its own limit holds.
fn ordered(settings: &Settings, pid: u32, within: Duration) -> Option<(u32, Duration)> {
    let plan = super::plan::checked(settings).ok()?;
    let node = Client::at(&plan.state.join(OWN_SOCKET)).prompt(PROMPT);
    let told = node.get("/api/v1/node", &[]).ok()?.good().ok()?;
    if told["pid"] != pid && settings.holder().ok()? == Holder::Runs(pid) {
        return None;
    }
    let seconds = within.as_secs().to_string();
    let told = node.post("/api/v1/node/stop", &[("within", &seconds)]);
    let told = told.ok()?.good().ok()?;
    let pid = told["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())?;
    Some((pid, Duration::from_secs(told["ends_within"].as_u64()?)))
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

/// Whether the process that holds the pid file is about to end: it stops, or is torn down by the kernel after a SIGKILL or a
/// crash. Its end is waited for then.
pub fn ends(settings: &Settings, pid: u32) -> Result<bool> {
    let begun = Instant::now();
    let within = loop {
        if process::is_dying(pid) {
            break KILLED;
        }
        if process::is_stopping(pid) {
            eprintln!("tandem: process {pid} is stopping: waits for its end");
            break STOPPING;
        }
        if begun.elapsed() >= TAKEN {
            return Ok(false);
        }
        std::thread::sleep(TAKEN / 10);
    };
    if gone(settings, pid, within)? {
        return Ok(true);
    }
    Err(Failure::failed(format!(
        "the process {pid} ends, and has not done so after {} s: `tandem stop --within 0` ends it, then start again",
        within.as_secs()
    )))
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
