//! What other replicas ask of this one.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openraft::raft::AppendEntriesResponse;
use openraft::storage::Snapshot;
use tandem_telemetry::Events;

use super::Raft;
use super::acknowledged::is_lost;
use super::view::ClusterView;
use crate::home::Belonging;
use crate::log::LogStore;
use crate::peers::GROUP;
use crate::rt::{Instant, random};
use crate::snapshot::{self, SnapshotFile};
use crate::types::{NodeId, decode_filled, encode, fill_up, invalid};
use crate::wire::{RaftReply, RaftRequest, SnapshotPiece, ToReplica};

/// Answers the other replicas.
pub struct Replicas {
    pub id: NodeId,
    pub raft: Raft,
    pub log: LogStore,
    pub events: Events,
    pub view: ClusterView,
    pub directory: PathBuf,
    pub belonging: Arc<Belonging>,
    /// Before this it votes for nobody: before it was started anew it may have promised a leader not to, for as long
    /// as its lease, and that promise is not on disk.
    pub votes_from: Instant,
    pub incoming: Mutex<Option<Incoming>>,
}

/// A snapshot that is on its way here. There is one at a time: the newest.
pub struct Incoming {
    transfer: u64,
    file: snapshot::Incoming,
    size: u64,
}

/// Whether a replica that holds nothing may hold something when it has answered this. It takes entries from the first on.
fn brings_something(request: &RaftRequest) -> bool {
    match request {
        RaftRequest::Append(rpc) => rpc.prev_log_id.is_none() && !rpc.entries.is_empty(),
        RaftRequest::Snapshot(_) => true,
        _ => false,
    }
}

impl Replicas {
    /// Answers one request of a replica that is part of this cluster, or of an older version.
    pub async fn answer(self: Arc<Self>, body: Bytes, cluster: Option<u64>) -> Bytes {
        let mut is_heartbeat = false;
        let reply = match decode_filled::<ToReplica>(&body) {
            Ok(message) => {
                is_heartbeat = message.request.is_heartbeat();
                self.reply(message, cluster).await
            }
            Err(error) => RaftReply::NotHere(format!("an unreadable request: {error}")),
        };
        // A reply of ours can be encoded; an empty answer is unreadable for the other side, and so as good as none.
        let reply = encode(&reply).unwrap_or_default();
        let reply = if is_heartbeat { fill_up(reply) } else { reply };
        reply.into()
    }

    async fn reply(&self, message: ToReplica, cluster: Option<u64>) -> RaftReply {
        if message.group != GROUP || message.target != self.id {
            return RaftReply::NotHere(
                "the replica that is looked for is not here any more".into(),
            );
        }
        let not_here = |error: &dyn std::fmt::Display| RaftReply::NotHere(error.to_string());
        if let Some(cluster) = cluster
            && let Err(error) = self.must_be_of(cluster, &message.request).await
        {
            return not_here(&error);
        }
        if let RaftRequest::Append(rpc) = &message.request
            && is_lost(message.acknowledged, &rpc.vote, self.log.extent())
        {
            return not_here(&self.lose(message.acknowledged).await);
        }
        match message.request {
            RaftRequest::Append(rpc) => match self.raft.append_entries(rpc).await {
                Ok(response) => {
                    // Else it was no leader, or is none any more.
                    if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                        self.view.hears();
                    }
                    RaftReply::Append(response)
                }
                Err(error) => not_here(&error),
            },
            RaftRequest::Vote(_) | RaftRequest::PreVote(_) if Instant::now() < self.votes_from => {
                RaftReply::NotHere("it was started just now".into())
            }
            RaftRequest::Vote(rpc) => match self.raft.vote(rpc).await {
                Ok(response) => RaftReply::Vote(response),
                Err(error) => not_here(&error),
            },
            RaftRequest::PreVote(rpc) => match self.raft.pre_vote(rpc).await {
                Ok(response) => RaftReply::Vote(response),
                Err(error) => not_here(&error),
            },
            RaftRequest::Transfer(rpc) => match self.raft.handle_transfer_leader(rpc).await {
                Ok(response) => RaftReply::Transfer(response),
                Err(error) => not_here(&error),
            },
            // Boxed: it is rare, and would make the future of every append as large as itself.
            RaftRequest::Snapshot(piece) => Box::pin(self.take(piece)).await,
        }
    }

    /// Whoever knows this replica by its identity, and is part of a cluster, takes it in there if it is part of none: with the
    /// first that it gets. Until then it holds nothing of any cluster, whoever it voted for, and may be taken in by another:
    /// who formed the one may have lost it before anybody else had something of it.
    async fn must_be_of(&self, cluster: u64, request: &RaftRequest) -> io::Result<()> {
        match self.belonging.id().get() {
            Some(own) if own == cluster => return Ok(()),
            Some(_) => {}
            None if self.holds_something() || brings_something(request) => {
                if self.belonging.join(cluster).await? {
                    return Ok(());
                }
            }
            None => return Ok(()),
        }
        Err(invalid("it is part of another cluster"))
    }

    fn holds_something(&self) -> bool {
        let (_, entries) = self.log.extent();
        entries > 0 || self.view.borrow().last_log_index.is_some()
    }

    /// Ends as who it was: it has forgotten what it had acknowledged. What it says to whoever asked it.
    async fn lose(&self, acknowledged: u64) -> String {
        let (_, entries) = self.log.extent();
        let why = format!(
            "the log of this replica has {entries} entries, and it had acknowledged {acknowledged}"
        );
        match self.log.give_up(acknowledged).await {
            Ok(()) => {
                let subject = format!("sessions/{}", self.view.name());
                let what = format!("{why}: what was here is lost");
                self.events.error(subject, what);
                // It is started again, and finds that.
                let _ = self.raft.shutdown().await;
            }
            // A disk that takes nothing: it says so again when it is asked again.
            Err(error) => return format!("{why}, which could not be written down: {error}"),
        }
        why
    }

    async fn take(&self, piece: SnapshotPiece) -> RaftReply {
        let snapshot = match self.write(&piece) {
            Ok(None) => return RaftReply::Snapshot(None),
            Ok(Some(file)) => Snapshot {
                meta: piece.meta,
                snapshot: file,
            },
            Err(error) => return RaftReply::NotHere(error.to_string()),
        };
        match self.raft.install_full_snapshot(piece.vote, snapshot).await {
            Ok(response) => RaftReply::Snapshot(Some(response)),
            Err(error) => RaftReply::NotHere(error.to_string()),
        }
    }

    /// Writes a piece; returns the whole when it was the last.
    fn write(&self, piece: &SnapshotPiece) -> io::Result<Option<SnapshotFile>> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        if piece.offset == 0 {
            // What another transfer left goes first.
            *incoming = None;
            *incoming = Some(Incoming {
                transfer: piece.transfer,
                // A number of its own: a piece that comes twice must not touch what the first began.
                file: snapshot::Incoming::begin(&self.directory, random()?)?,
                size: 0,
            });
        }
        let current = incoming.as_mut();
        let Some(current) =
            current.filter(|c| c.transfer == piece.transfer && c.size == piece.offset)
        else {
            return Err(invalid("a piece of another snapshot"));
        };
        current.file.write_at(&piece.bytes, piece.offset)?;
        current.size += piece.bytes.len() as u64;
        if !piece.last {
            return Ok(None);
        }
        incoming
            .take()
            .map(|incoming| incoming.file.received())
            .transpose()
    }
}
