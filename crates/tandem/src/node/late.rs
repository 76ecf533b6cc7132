//! What a node writes for others to find it, where its disk took nothing when it started: it serves without, and tries again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem_telemetry::Events;
use tandem_telemetry::disk::is_of_disk;

use crate::exit::{Failure, Result};
use crate::process::PidFile;

/// Between two tries.
pub const PAUSE: Duration = Duration::from_secs(2);

/// What is to be tried again.
#[derive(Default)]
pub struct Late {
    /// The state directory, where it could not be made.
    state: Option<PathBuf>,
    /// Pid files that could not be made, or have no number.
    pid_files: Vec<PathBuf>,
}

impl Late {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.state.is_none() && self.pid_files.is_empty()
    }

    /// Makes the state directory.
    pub fn make_state(&mut self, state: &Path, events: &Events) -> io::Result<()> {
        match std::fs::create_dir_all(state) {
            Err(error) if is_of_disk(&error) => {
                tell(events, "cannot make the state directory", state, &error);
                self.state = Some(state.into());
                Ok(())
            }
            made => made,
        }
    }

    /// Whether this error is one that passes; then an event says so, and the pid file is tried again.
    pub fn is_for_later(&mut self, pid_file: &Path, error: &io::Error, events: &Events) -> bool {
        let is_in = |state: &PathBuf| pid_file.starts_with(state);
        let waits_for_state = self.state.as_ref().is_some_and(is_in);
        if !is_of_disk(error) && !waits_for_state {
            return false;
        }
        let pid_file = pid_file.to_owned();
        if !self.pid_files.contains(&pid_file) {
            if !waits_for_state {
                tell(events, "cannot write", &pid_file, error);
            }
            self.pid_files.push(pid_file);
        }
        true
    }

    /// Writes this process's number into a pid file, or does it later.
    pub fn claim(&mut self, file: &PidFile, events: &Events) -> Result<()> {
        match file.claim() {
            Err(error) if !self.is_for_later(file.path(), &error, events) => {
                let what = format!("cannot write {}: {error}", file.path().display());
                Err(Failure::failed(what))
            }
            _ => Ok(()),
        }
    }

    /// Tries again what could not be done.
    pub fn try_again(&mut self, files: &mut Vec<PidFile>, events: &Events) {
        if let Some(state) = &self.state
            && std::fs::create_dir_all(state).is_ok()
        {
            self.state = None;
        }
        self.pid_files.retain(|path| {
            let written = match files.iter().find(|file| file.path() == path) {
                Some(file) => file.claim(),
                None => PidFile::lock(path).and_then(|file| {
                    let claimed = file.claim();
                    files.push(file);
                    claimed
                }),
            };
            if written.is_ok() {
                events.info("node", format!("{} is written now", path.display()));
            }
            written.is_err()
        });
    }
}

fn tell(events: &Events, what: &str, path: &Path, error: &io::Error) {
    let path = path.display();
    let seconds = PAUSE.as_secs();
    events.error(
        "node",
        format!(
            "{what} {path}: {error}; the node serves without it and tries again every {seconds} s: make room on its disk, or \
             have it written to again"
        ),
    );
}
