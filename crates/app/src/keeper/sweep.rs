//! Killing what a program left behind.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process};

/// How long it may take, for a process that waits for a disk cannot be killed.
const WITHIN: Duration = Duration::from_secs(5);
/// Between two rounds.
const ROUND: Duration = Duration::from_millis(2);

/// Kills every child, and the children that these leave to us, until none is left.
pub(super) fn sweep() {
    let begun = Instant::now();
    loop {
        // An error here is ECHILD: there is no child, not even one that runs.
        while let Ok(ended) = rustix::process::wait(WaitOptions::NOHANG) {
            if ended.is_none() {
                break;
            }
        }
        if !kill_children() {
            return;
        }
        if begun.elapsed() > WITHIN {
            eprintln!("some of its processes cannot be killed");
            return;
        }
        std::thread::sleep(ROUND);
    }
}

/// Kills every child that there is now. Whether there was one.
pub(super) fn kill_children() -> bool {
    let mut any = false;
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    for process in processes.flatten() {
        let pid = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw)
            && parent(pid) == Some(getpid())
        {
            any = true;
            // It is our child, so its pid is its own until we take its status.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    any
}

/// The parent, from proc_pid_stat(5): `pid (name) state ppid ...`, where the name may hold anything.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after = &stat[stat.iter().rposition(|&b| b == b')')? + 1..];
    let after = std::str::from_utf8(after).ok()?;
    Pid::from_raw(after.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_process_is_read() {
        let parent = parent(getpid());
        assert_eq!(parent, rustix::process::getppid());
    }
}
