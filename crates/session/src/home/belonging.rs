//! Which cluster a replica is part of.
//!
//! Two clusters may share a key: production and what was copied from it to try something, or one that was formed anew after
//! the states of most voters were removed, and the state that was left. A replica that holds what one of them
//! acknowledged must neither vote in the other nor be written over by its leader. So whoever forms a cluster gives it an
//! identity. It is on record beside the state, goes with it, and is said with each connection between nodes; a replica that has
//! none joins the cluster of whoever leads it. What an operator has go on alone is another cluster.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tandem_net::cluster::ClusterId;
use tokio::sync::Mutex;

use super::Hold;
use crate::log::files;
use crate::rt::blocking;

const NAME: &str = "cluster";

/// What is on record. None when that cannot be read: whoever leads this replica says it again.
pub fn read(directory: &Path) -> Option<u64> {
    files::read(&directory.join(NAME)).ok().flatten()
}

/// Puts it on record.
pub fn write(directory: &Path, id: u64, durable: bool) -> io::Result<()> {
    files::write(&directory.join(NAME), &id, durable)
}

/// The record of one replica.
pub struct Belonging {
    id: ClusterId,
    directory: PathBuf,
    durable: bool,
    hold: Hold,
    /// Held while the record is written.
    turn: Mutex<()>,
    deciding: AtomicBool,
}

impl Belonging {
    pub fn new(directory: &Path, id: Option<u64>, durable: bool, hold: &Hold) -> Self {
        let known = ClusterId::default();
        known.set(id);
        Self {
            id: known,
            directory: directory.into(),
            durable,
            hold: hold.clone(),
            turn: Mutex::default(),
            deciding: AtomicBool::new(false),
        }
    }

    /// The cluster, for those that say it.
    pub fn id(&self) -> &ClusterId {
        &self.id
    }

    /// From now on the replica is part of this cluster, unless it is part of one: whether it is part of this one.
    pub async fn join(&self, id: u64) -> io::Result<bool> {
        let _turn = self.turn.lock().await;
        if let Some(own) = self.id.get() {
            return Ok(own == id);
        }
        self.record(id).await?;
        Ok(true)
    }

    /// The replica, which holds nothing, is about to form this cluster, unless it was taken in by another meanwhile.
    pub async fn form(&self, id: u64) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        if self.id.get().is_some() {
            return Err(io::Error::other("it was taken in by another meanwhile"));
        }
        self.record(id).await
    }

    /// No cluster was formed.
    pub async fn leave(&self) {
        let _turn = self.turn.lock().await;
        self.id.set(None);
        // What is left there counts only beside a log, and the next record replaces it.
        let _ = std::fs::remove_file(self.directory.join(NAME));
    }

    async fn record(&self, id: u64) -> io::Result<()> {
        if self.durable {
            let (directory, hold) = (self.directory.clone(), self.hold.clone());
            // Elsewhere: a disk that is busy may take seconds.
            blocking(move || {
                hold.go_on()?;
                write(&directory, id, true)
            })
            .await?;
        } else {
            write(&self.directory, id, false)?;
        }
        self.id.set(Some(id));
        Ok(())
    }

    /// This leader is about to give an identity to a cluster that has none, or has given up doing so.
    pub fn set_deciding(&self, is: bool) {
        self.deciding.store(is, SeqCst);
    }

    /// Whether it is about to.
    pub fn is_deciding(&self) -> bool {
        self.deciding.load(SeqCst)
    }
}
