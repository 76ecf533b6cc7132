//! A process for each node, none of which outlives this.

use std::collections::HashMap;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::stage::PATIENCE;

#[derive(Default)]
pub struct Processes(Mutex<HashMap<String, Child>>);

impl Processes {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a node's process. It is an error while the one before still runs.
    pub fn start(&self, node: &str, command: &mut Command) -> Result<(), String> {
        let mut all = self.all();
        if let Some(child) = all.get_mut(node)
            && matches!(child.try_wait(), Ok(None))
        {
            return Err(format!("{node} runs already"));
        }
        let child = command.spawn();
        let child = child.map_err(|error| format!("cannot start {node}: {error}"))?;
        all.insert(node.to_owned(), child);
        Ok(())
    }

    /// Kills a node's process.
    pub fn kill(&self, node: &str) -> Result<(), String> {
        let child = self.all().remove(node);
        let mut child = child.ok_or_else(|| format!("{node} does not run"))?;
        let killed = child.kill().and_then(|()| child.wait());
        let failed = |error| format!("cannot kill {node}: {error}");
        killed.map(drop).map_err(failed)
    }

    /// A node's process, if it runs.
    pub fn pid(&self, node: &str) -> Option<u32> {
        let mut all = self.all();
        let child = all.get_mut(node)?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let mut all = self.all();
        for child in all.values() {
            signal(child.id(), Signal::CONT);
            signal(child.id(), Signal::TERM);
        }
        all.values_mut().for_each(end);
    }
}

/// Sends a signal to a process of the stage.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

/// Asks a process to end, and waits until it has.
pub fn stop(child: &mut Child) {
    signal(child.id(), Signal::TERM);
    end(child);
}

/// Waits until a process that was asked to has ended; one that does not is killed.
fn end(child: &mut Child) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}
