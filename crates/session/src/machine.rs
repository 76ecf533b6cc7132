//! The state machine as openraft drives it: applying entries, taking and installing snapshots.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};

use crate::clock::KeyspaceClock;
use crate::home::{Hold, Home};
use crate::rt::{Pace, blocking, let_go};
use crate::snapshot::{self, SnapshotFile};
use crate::state::State;
use crate::types::{LogId, Membership, NodeId, SnapshotMeta, Types};

/// The state with what Raft has to know of it.
#[derive(Debug, Default)]
pub struct Replica {
    /// The keyspace.
    pub state: State,
    /// The keyspace's clock, continued by this machine's.
    pub clock: KeyspaceClock,
    /// The last entry applied.
    pub applied: Option<LogId>,
    membership: Membership,
    #[cfg(test)]
    stamped: Option<crate::sim::audit::Stamped>,
}

/// The replica, shared by whoever applies to it and whoever reads. Locked for moments only, never across an await.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Replica>>);

impl Shared {
    /// Locks it. A panic when another panic has left it half changed: nobody is answered by that, and the replica is started
    /// again.
    pub fn lock(&self) -> MutexGuard<'_, Replica> {
        self.0
            .lock()
            .expect("a panic while the state was in use has ended this replica")
    }

    /// Locks it, whatever has happened: for numbers alone.
    pub fn look(&self) -> MutexGuard<'_, Replica> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The snapshot that counts. Held while one is made current, so that an older one cannot replace a newer.
type Current = Arc<Mutex<Option<(SnapshotMeta, SnapshotFile)>>>;

/// What openraft drives.
pub struct Machine {
    id: NodeId,
    replica: Shared,
    directory: PathBuf,
    durable: bool,
    current: Current,
    hold: Hold,
}

impl Machine {
    /// The machine of an open state directory, with what its snapshot holds.
    pub fn new(home: &mut Home) -> Self {
        let mut replica = Replica::default();
        let mut current = None;
        if let Some((meta, state, file)) = home.snapshot.take() {
            replica.install(&meta, state);
            current = Some((meta, file));
        }
        Self {
            id: home.id,
            replica: Shared(Arc::new(Mutex::new(replica))),
            directory: home.directory.clone(),
            durable: home.durable,
            current: Arc::new(Mutex::new(current)),
            hold: home.hold.clone(),
        }
    }

    /// The replica.
    pub fn replica(&self) -> Shared {
        self.replica.clone()
    }
}

impl Replica {
    /// Puts the state of a snapshot in the place of what was there, which is returned.
    fn install(&mut self, meta: &SnapshotMeta, state: State) -> State {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.clock.follow(state.now());
        #[cfg(test)]
        {
            self.stamped = None;
        }
        std::mem::replace(&mut self.state, state)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        let replica = self.replica.lock();
        Ok((replica.applied, replica.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let log_id = entry.log_id();
            let mut replica = self.replica.lock();
            let mut outcomes = Vec::new();
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(batch) => {
                    #[cfg(test)]
                    crate::sim::audit::applied(
                        &mut replica.stamped,
                        log_id.committed_leader_id().node_id,
                        batch.stamp,
                    );
                    outcomes = replica.state.apply(log_id.index(), batch);
                    let now = replica.state.now();
                    if log_id.committed_leader_id().node_id == self.id {
                        replica.clock.saw(now);
                    } else {
                        replica.clock.follow(now);
                    }
                }
                EntryPayload::Membership(membership) => {
                    replica.membership = Membership::new(Some(log_id), membership.clone());
                }
            }
            replica.applied = Some(log_id);
            let gone = replica.state.take_gone();
            drop(replica);
            if !gone.is_empty() {
                // A million items take half a second to go: too long for heartbeats.
                let_go(gone);
            }
            if let Some(responder) = responder {
                responder.send(outcomes);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            replica: self.replica.clone(),
            directory: self.directory.clone(),
            durable: self.durable,
            current: self.current.clone(),
            hold: self.hold.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        file: SnapshotFile,
    ) -> io::Result<()> {
        let (directory, durable, current) =
            (self.directory.clone(), self.durable, self.current.clone());
        let (replica, hold) = (self.replica.clone(), self.hold.clone());
        let expected = meta.clone();
        blocking(move || {
            let (meta, state) = file.load(Pace::behind(&hold))?;
            if meta != expected {
                return Err(crate::types::invalid(
                    "the snapshot is of another index than announced",
                ));
            }
            let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
            if current
                .as_ref()
                .is_none_or(|(old, _)| old.last_log_id <= meta.last_log_id)
            {
                file.make_current(&directory, durable)?;
                *current = Some((meta.clone(), file));
            }
            drop(current);
            let old = replica.lock().install(&meta, state);
            // Here and not on the thread that serves: a large state takes a while to go.
            drop(old);
            Ok(())
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = current.clone();
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

type SnapshotOf = openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>;

/// Takes one snapshot, while the machine goes on.
pub struct Builder {
    replica: Shared,
    directory: PathBuf,
    durable: bool,
    current: Current,
    hold: Hold,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let (view, meta) = {
            let replica = self.replica.lock();
            let meta = SnapshotMeta {
                last_log_id: replica.applied,
                last_membership: replica.membership.clone(),
            };
            (replica.state.view(), meta)
        };
        let (directory, durable, current) =
            (self.directory.clone(), self.durable, self.current.clone());
        let hold = self.hold.clone();
        #[cfg(test)]
        let replica = self.replica.clone();
        blocking(move || {
            #[cfg(test)]
            let meta = if crate::sim::is_broken(crate::sim::Broken::SnapshotWithoutItsLog) {
                SnapshotMeta {
                    last_log_id: replica.lock().applied,
                    ..meta
                }
            } else {
                meta
            };
            let file = snapshot::write(&directory, &meta, view, Pace::behind(&hold))?;
            let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
            if current
                .as_ref()
                .is_none_or(|(old, _)| old.last_log_id <= meta.last_log_id)
            {
                file.make_current(&directory, durable)?;
                *current = Some((meta.clone(), file.clone()));
            }
            Ok(Snapshot {
                meta,
                snapshot: file,
            })
        })
        .await
    }
}
