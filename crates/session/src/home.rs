//! A replica's state directory: who it is, and whether what it knew is still all there.
//!
//! A replica that may have forgotten what it acknowledged must not vote as who it was: it could help to elect a leader
//! that lacks it. So an identity lives exactly as long as the state it was given with. When the state is lost (corrupted,
//! incomplete, or, without `durable`, older than the machine's last start) what is left of it is put aside and
//! the node is a new one, which the leader takes in in place of the old.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::log::{LogStore, files};
use crate::rt::Pace;
use crate::snapshot::{self, SnapshotFile};
use crate::state::State;
use crate::types::{Member, NodeId, SnapshotMeta, invalid};

mod alone;
pub mod anew;
mod belonging;
mod hold;
pub mod let_go;
pub mod members;

pub use alone::ORDER;
pub use belonging::Belonging;
pub use hold::Hold;

const IDENTITY: &str = "identity";
const LOCK: &str = "lock";
/// Where the last lost state is put, for whoever wants to look at it.
const LOST: &str = "lost";

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    id: NodeId,
    name: String,
    /// The kernel's boot id when the state was last written.
    boot: String,
    /// Whether all that was acknowledged is on disk.
    durable: bool,
}

/// An open state directory.
pub struct Home {
    /// Where it is.
    pub directory: PathBuf,
    /// Who the replica is.
    pub id: NodeId,
    /// Why the state that was here is lost, if it is.
    pub lost: Option<String>,
    /// Whether it was ordered to go on without the others, and does.
    pub alone: bool,
    /// Whether appends wait for the disk.
    pub durable: bool,
    /// Whether there is anything here that others may have been told of. A vote alone is nothing.
    pub holds: bool,
    /// The vote and the log.
    pub log: LogStore,
    /// The last snapshot, read, and its file.
    pub snapshot: Option<(SnapshotMeta, State, SnapshotFile)>,
    /// The cluster that it is part of, if that is known.
    pub cluster: Option<u64>,
    /// Who voted beside it before its state was lost, if it is blank.
    pub remembered: Vec<Member>,
    /// Held as long as this is: two processes must not share a state.
    pub hold: Hold,
}

impl Home {
    /// Opens the state directory of the node `name`, or makes it.
    pub fn open(directory: &Path, name: &str, durable: bool) -> io::Result<Self> {
        // Unreadable only outside Linux's usual mounts; then every start counts as a reboot.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_at(directory, name, durable, boot.trim())
    }

    pub(crate) fn open_at(
        directory: &Path,
        name: &str,
        durable: bool,
        boot: &str,
    ) -> io::Result<Self> {
        make_private(directory)?;
        let hold = Hold::take(directory, LOCK)?;
        snapshot::tidy(directory)?;
        let found = match Self::read(directory, name, durable, boot) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
            other => Ok(other?),
        };
        let lost = match found {
            Ok(Some((identity, log, snapshot))) => {
                let alone = alone::is_ordered(directory);
                let (id, snapshot) = if alone {
                    let id = draw()?;
                    let taken = alone::go_on(directory, id, name, durable, &log, snapshot)?;
                    belonging::write(directory, draw()?, durable)?;
                    (id, Some(taken))
                } else {
                    (identity.id, snapshot)
                };
                if durable {
                    // The process before this one may have been killed before it did, or have failed to.
                    log.flush_all()?;
                    if let Some((_, _, file)) = &snapshot {
                        file.sync()?;
                    }
                }
                // Said, and on the disk, before anything is written the new way.
                let for_good = durable || identity.durable;
                write_identity(directory, id, name, boot, durable, for_good)?;
                if alone {
                    alone::is_done(directory)?;
                }
                log.set_hold(hold.clone());
                // Who holds nothing is part of none, whatever it was about to be, and whoever it voted for.
                let (_, entries) = log.extent();
                let holds = entries > 0 || snapshot.is_some();
                let cluster = belonging::read(directory).filter(|_| holds);
                return Ok(Self {
                    directory: directory.into(),
                    id,
                    lost: None,
                    alone,
                    durable,
                    holds,
                    cluster,
                    remembered: members::read(directory),
                    log,
                    snapshot,
                    hold,
                });
            }
            Ok(None) => None,
            Err(why) => Some(why),
        };
        if alone::is_ordered(directory) {
            let why = lost.as_deref().unwrap_or("there is none");
            let order = directory.join(alone::ORDER);
            return Err(invalid(&format!(
                "{} orders to go on with a state that cannot be used ({why}); remove that file to start as a new replica",
                order.display()
            )));
        }
        put_aside(directory)?;
        let id = draw()?;
        let begun = LogStore::begin(directory, durable)
            // Last: where an identity is, the rest is too, or was lost.
            .and_then(|()| write_identity(directory, id, name, boot, durable, durable));
        if let Err(error) = begun {
            // Else the next start would find a state that nobody had, and take it for a lost one.
            for path in leftovers(directory)? {
                fs::remove_file(path)?;
            }
            return Err(match lost {
                Some(why) => io::Error::new(
                    error.kind(),
                    format!("{error}; the state that was here is lost ({why})"),
                ),
                None => error,
            });
        }
        let log = LogStore::open(directory, durable)?;
        log.set_hold(hold.clone());
        Ok(Self {
            directory: directory.into(),
            id,
            lost,
            alone: false,
            durable,
            holds: false,
            cluster: None,
            remembered: members::read(directory),
            log,
            snapshot: None,
            hold,
        })
    }

    /// What is there; `None` when nothing is. An error of the kind [`io::ErrorKind::InvalidData`]: it is lost.
    #[expect(
        clippy::type_complexity,
        reason = "the parts of a home, for its one caller"
    )]
    fn read(
        directory: &Path,
        name: &str,
        durable: bool,
        boot: &str,
    ) -> io::Result<
        Option<(
            Identity,
            LogStore,
            Option<(SnapshotMeta, State, SnapshotFile)>,
        )>,
    > {
        let Some(identity) = files::read::<Identity>(&directory.join(IDENTITY))? else {
            return if leftovers(directory)?.is_empty() {
                Ok(None)
            } else {
                Err(invalid("there is a state here and nothing says whose"))
            };
        };
        // Who goes on alone may do so by another name.
        if identity.name != name && !alone::is_ordered(directory) {
            // Not a lost state but a wrong path: nothing is touched.
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!(
                    "{} holds the state of node {}, not of {name}; where {name} is to go on with it, and nobody else with \
                     another copy, make an empty file {} in it",
                    directory.display(),
                    identity.name,
                    alone::ORDER
                ),
            ));
        }
        if !identity.durable && (identity.boot != boot || boot.is_empty()) {
            return Err(invalid(
                "the machine was started anew, and the log did not wait for the disk (durable = false)",
            ));
        }
        let log = LogStore::open(directory, durable)?;
        let snapshot = match SnapshotFile::current(directory)? {
            Some(file) => {
                let (meta, state) = file.load(Pace::at_once())?;
                Some((meta, state, file))
            }
            None => None,
        };
        if snapshot.is_some() && log.is_blank() {
            return Err(invalid("the snapshot is there and the vote is not"));
        }
        let covered = snapshot.as_ref().and_then(|(meta, ..)| meta.last_log_id);
        if log.purged() > covered {
            return Err(invalid("the log begins behind the end of the snapshot"));
        }
        Ok(Some((identity, log, snapshot)))
    }
}

/// Makes the directory of the sessions, which are secrets of those who are logged in. One that is there keeps the rights
/// that somebody gave it.
pub fn make_private(directory: &Path) -> io::Result<()> {
    let mut made = fs::DirBuilder::new();
    made.recursive(true).mode(0o700).create(directory)
}

fn write_identity(
    directory: &Path,
    id: NodeId,
    name: &str,
    boot: &str,
    durable: bool,
    for_good: bool,
) -> io::Result<()> {
    let identity = Identity {
        id,
        name: name.into(),
        boot: boot.into(),
        durable,
    };
    files::write(&directory.join(IDENTITY), &identity, for_good)
}

/// Whether there is a state in this directory of a replica that was part of a cluster, and was not let go of.
pub fn is_kept(directory: &Path) -> bool {
    let has = |name: &str| directory.join(name).exists();
    has(IDENTITY) && has(members::NAME) && !let_go::is_marked(directory)
}

/// Whether a replica that runs uses this directory.
pub fn is_used(directory: &Path) -> bool {
    hold::is_held(directory, LOCK)
}

/// Everything in the directory but the lock, what was put aside before, and what outlives a state.
fn leftovers(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        if ![LOCK, LOST, alone::ORDER, anew::ORDER, members::NAME]
            .iter()
            .any(|other| name == *other)
        {
            found.push(file.path());
        }
    }
    Ok(found)
}

fn put_aside(directory: &Path) -> io::Result<()> {
    let leftovers = leftovers(directory)?;
    if leftovers.is_empty() {
        return Ok(());
    }
    let lost = directory.join(LOST);
    match fs::remove_dir_all(&lost) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(&lost)?,
    }
    for path in leftovers {
        if let Some(name) = path.file_name() {
            fs::rename(&path, lost.join(name))?;
        }
    }
    Ok(())
}

/// An identity that nobody had before, by chance alone: 63 bits, never 0.
pub fn draw() -> io::Result<NodeId> {
    let random = crate::rt::random()?;
    Ok((random >> 1).max(1))
}

#[cfg(test)]
mod tests;
