//! The state file: how `tandem node` and a second demo find a running rehearsal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::stage;

/// The name of the state file in a rehearsal's directory.
const FILE: &str = "rehearsal.json";

/// What a rehearsal is played for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `tandem demo`
    Demo,
    /// `tandem demo --prove`
    Proof,
    /// `tandem rehearse`
    Rehearsal,
}

/// A running rehearsal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What for.
    pub kind: Kind,
    /// The process that plays it.
    pub pid: u32,
    /// The cluster's name.
    pub cluster: String,
    /// K of its network 127.84.K.0/24.
    pub network: u8,
    /// Its directory.
    pub dir: PathBuf,
    /// The address of the front door, if it has one.
    pub front: Option<String>,
    /// The address of the status page.
    pub admin: String,
}

impl State {
    /// The socket for orders.
    pub fn control(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Writes the state file.
    pub fn write(&self) -> io::Result<()> {
        stage::write_private(&self.dir.join(FILE), &serde_json::to_string_pretty(self)?)
    }

    /// Removes the state file: the rehearsal is over.
    pub fn remove(&self) {
        let _ = fs::remove_file(self.dir.join(FILE));
    }
}

/// The rehearsals of this user that run now, in the order of their networks.
pub fn running() -> Vec<State> {
    let dir = stage::user_dir();
    // What another user put there is not to be believed, and nothing is to be ordered there.
    if !stage::is_ours(&dir).unwrap_or(false) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut found: Vec<State> = entries
        .flatten()
        .filter_map(|entry| read(&entry.path()))
        .collect();
    found.sort_by_key(|state| state.network);
    found
}

/// A state file whose process no longer takes orders is a leftover.
fn read(dir: &Path) -> Option<State> {
    let state: State = serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()?;
    std::os::unix::net::UnixStream::connect(state.control()).ok()?;
    Some(state)
}
