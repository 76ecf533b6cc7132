//! `tandem status`: whether the node runs.

use std::fmt;

use serde::Serialize;

use super::{Settings, exit_codes};
use crate::process::Holder;

/// Whether a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Running,
    /// It was killed: its pid file is still there.
    Dead,
    /// It does not.
    Stopped,
    /// It cannot be known.
    Unknown,
}

/// What `tandem status` says.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Whether it runs.
    pub state: State,
    /// Its process.
    pub pid: Option<u32>,
    /// Since how many seconds.
    pub uptime: Option<u64>,
    /// Its pid file.
    pub pid_file: String,
    /// Its cluster file.
    pub file: String,
    /// Why it cannot be known, or what it means that it does not run.
    pub reason: Option<String>,
}

impl Status {
    /// Looks.
    pub fn of(settings: &Settings) -> Self {
        let (state, pid, reason) = match settings.holder() {
            Ok(Holder::Runs(pid)) => (State::Running, Some(pid), None),
            Ok(Holder::Gone) => (State::Dead, None, None),
            Ok(Holder::Nobody) => (State::Stopped, None, Some(settings.not_running())),
            Err(failure) => (State::Unknown, None, Some(failure.to_string())),
        };
        Self {
            state,
            pid,
            uptime: pid.and_then(uptime),
            pid_file: settings.pid_file.display().to_string(),
            file: settings.file.display().to_string(),
            reason,
        }
    }

    /// LSB's exit code.
    pub fn code(&self) -> u8 {
        match self.state {
            State::Running => 0,
            State::Dead => exit_codes::DEAD,
            State::Stopped => exit_codes::STOPPED,
            State::Unknown => exit_codes::UNKNOWN,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, self.pid) {
            (State::Running, Some(pid)) => {
                write!(f, "tandem runs (pid {pid}")?;
                if let Some(uptime) = self.uptime {
                    write!(f, ", for {uptime} s")?;
                }
                f.write_str(")")
            }
            (State::Dead, _) => write!(
                f,
                "tandem is dead: it ended without order and left {}",
                self.pid_file
            ),
            _ => f.write_str(self.reason.as_deref().unwrap_or("it cannot be known")),
        }
    }
}

/// Seconds since a process started: its start (field 22 of /proc/PID/stat, in ticks of 1/100 s since boot) against the
/// time since boot.
fn uptime(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may hold anything.
    let after = stat.rsplit_once(')')?.1;
    let started: u64 = after.split_whitespace().nth(19)?.parse().ok()?;
    let boot = std::fs::read_to_string("/proc/uptime").ok()?;
    let now: f64 = boot.split_whitespace().next()?.parse().ok()?;
    Some((now as u64).saturating_sub(started / 100))
}
