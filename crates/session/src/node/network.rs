//! Raft's calls to the other replicas, over the cluster port.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt, unfold};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;

use super::acknowledged::Acknowledged;
use super::distance::Distances;
use crate::peers::{GROUP, Peers, Place};
use crate::rt::{Instant, Link, random, sleep};
use crate::snapshot::{Check, SnapshotFile};
use crate::types::{
    Member, NodeId, SnapshotMeta, Types, Vote, decode_filled, encode, fill_up, invalid,
};
use crate::wire::{RAFT, RaftReply, RaftRequest, SnapshotPiece, ToReplica};

/// Entries may take this long to be on the other replica: a batch is large, a disk slow. Openraft's own limit, one
/// heartbeat, would have them sent again and again.
const APPEND: Duration = Duration::from_secs(2);
/// A vote that takes longer is of no use.
const VOTE: Duration = Duration::from_millis(500);
/// One piece of a snapshot,
const PIECE: Duration = Duration::from_secs(10);
/// the last of which is answered when all is installed.
const INSTALL: Duration = Duration::from_mins(5);
/// Bytes of a piece.
const PIECE_BYTES: usize = 128 * 1024;
/// After a piece, so many times as long as it took is left to those who are served meanwhile: both ends read, write and copy
/// a piece on the thread that serves.
const BREATHING: u32 = 2;

/// Makes the calls' links.
pub struct Networks {
    pub peers: Arc<Peers>,
    pub acknowledged: Acknowledged,
    pub rot: Rot,
    pub distances: Distances,
}

/// Whether a snapshot was found not to be what was written, and why, until whoever makes another has heard. Cheap to clone.
#[derive(Clone, Default)]
pub struct Rot(Arc<Mutex<Option<String>>>);

impl Rot {
    fn found(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why, once.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Calls to one replica. Entries, heartbeats and snapshots each have a link of their own: none waits behind another.
pub struct Network {
    peers: Arc<Peers>,
    acknowledged: Acknowledged,
    rot: Rot,
    distances: Distances,
    target: NodeId,
    member: Member,
    link: Option<(Place, Link)>,
}

impl RaftNetworkFactory<Types> for Networks {
    type Network = Network;

    async fn new_client(&mut self, target: NodeId, member: &Member) -> Network {
        Network {
            peers: self.peers.clone(),
            acknowledged: self.acknowledged.clone(),
            rot: self.rot.clone(),
            distances: self.distances.clone(),
            target,
            member: member.clone(),
            link: None,
        }
    }
}

impl Network {
    async fn call(
        &mut self,
        request: RaftRequest,
        limit: Duration,
    ) -> Result<RaftReply, RPCError<Types>> {
        self.call_who_has(0, request, limit).await
    }

    /// Asks a replica that has acknowledged so many entries.
    async fn call_who_has(
        &mut self,
        acknowledged: u64,
        request: RaftRequest,
        limit: Duration,
    ) -> Result<RaftReply, RPCError<Types>> {
        let message = ToReplica {
            group: GROUP,
            target: self.target,
            acknowledged,
            request,
        };
        let is_heartbeat = message.request.is_heartbeat();
        let body = encode(&message).map_err(|error| unreachable(&error))?;
        let body = if is_heartbeat { fill_up(body) } else { body };
        let link = self.link()?;
        let answer = link.request(body.into(), limit).await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        match decode_filled(&answer).map_err(|error| unreachable(&error))? {
            RaftReply::NotHere(why) => Err(RPCError::Unreachable(Unreachable::from_string(why))),
            reply => Ok(reply),
        }
    }

    /// The link to where the member is now.
    fn link(&mut self) -> Result<Link, RPCError<Types>> {
        let Some(address) = self.peers.address(&self.member) else {
            let why = format!("no address is known of {}", self.member.name);
            return Err(RPCError::Unreachable(Unreachable::from_string(why)));
        };
        let place = self.peers.place(address);
        match &self.link {
            Some((at, link)) if *at == place && !link.is_over() => Ok(link.clone()),
            _ => {
                let link = self.peers.link(&self.member.name, address, RAFT);
                self.link = Some((place, link.clone()));
                Ok(link)
            }
        }
    }

    async fn send_snapshot(
        &mut self,
        vote: Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<SnapshotResponse<Types>, RPCError<Types>> {
        let transfer =
            random().map_err(|error| RPCError::Unreachable(Unreachable::from_string(error)))?;
        let (mut offset, mut check) = (0, Check::default());
        loop {
            let (bytes, last) = read_sound(&file, offset, &mut check).map_err(|error| {
                if file.set_rotten() {
                    self.rot.found(error.to_string());
                }
                unreachable(&error)
            })?;
            let next = offset + bytes.len() as u64;
            let piece = SnapshotPiece {
                vote,
                meta: meta.clone(),
                transfer,
                offset,
                bytes: bytes.into(),
                last,
            };
            let limit = if last { INSTALL } else { PIECE };
            let begun = Instant::now();
            match self.call(RaftRequest::Snapshot(piece), limit).await? {
                RaftReply::Snapshot(Some(response)) => return Ok(response),
                RaftReply::Snapshot(None) if !last => offset = next,
                _ => return Err(unexpected()),
            }
            sleep(begun.elapsed() * BREATHING).await;
        }
    }
}

/// The next piece of a snapshot, and whether it is the last: only such as are what was written.
fn read_sound(file: &SnapshotFile, offset: u64, check: &mut Check) -> io::Result<(Vec<u8>, bool)> {
    if file.is_rotten() {
        return Err(invalid("the snapshot is made anew"));
    }
    let bytes = file.read_at(offset, PIECE_BYTES)?;
    let last = offset + bytes.len() as u64 >= file.size();
    check.see(&bytes)?;
    if last {
        check.end()?;
    }
    Ok((bytes, last))
}

fn unreachable<E: std::error::Error + 'static>(error: &E) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn unexpected() -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::from_string("an unexpected answer"))
}

/// What came of the requests of a stream, in their order.
type Appended<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

/// The next request of a stream that is worth a message.
///
/// One that only says how far entries are committed is not: the next entries say it too, and if none follow the next
/// heartbeat. It would go out just before the answer to whoever wrote, and the next entries would wait for its answer.
/// Where the stream ends with it, it is a question of openraft's that needs its answer.
async fn next_to_send<S>(stream: &mut S) -> Option<AppendEntriesRequest<Types>>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    let mut request = stream.next().await?;
    while request.entries.is_empty() {
        let Some(later) = stream.next().await else {
            break;
        };
        request = later;
    }
    Some(request)
}

impl RaftNetworkV2<Types> for Network {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let (vote, last) = (rpc.vote, rpc.entries.last().map(RaftEntry::log_id));
        let behind = last.or(rpc.prev_log_id).map_or(0, |last| last.index() + 1);
        let before = self.acknowledged.by(self.target, &vote);
        let is_heartbeat = rpc.entries.is_empty();
        let request = RaftRequest::Append(rpc);
        let begun = Instant::now();
        match self.call_who_has(before, request, APPEND).await? {
            RaftReply::Append(response) => {
                if is_heartbeat {
                    self.distances.took(self.target, begun.elapsed());
                }
                let has = match &response {
                    AppendEntriesResponse::Success => behind,
                    AppendEntriesResponse::PartialSuccess(matching) => {
                        matching.map_or(0, |matching| matching.index() + 1)
                    }
                    _ => 0,
                };
                if has > 0 {
                    self.acknowledged.heard(self.target, &vote, has);
                }
                Ok(response)
            }
            _ => Err(unexpected()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Appended<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let appended = unfold(Some((self, input.fuse())), move |state| {
            let option = option.clone();
            async move {
                let (network, mut input) = state?;
                let request = next_to_send(&mut input).await?;
                let prev = request.prev_log_id;
                let last = request.entries.last().map(RaftEntry::log_id).or(prev);
                let answer = match network.append_entries(request, option).await {
                    Ok(answer) => answer,
                    Err(error) => return Some((Err(error), None)),
                };
                let result = answer.into_stream_result(prev, last);
                // Behind entries that were not all taken nothing may follow in this stream.
                let goes_on = result.as_ref().is_ok_and(|matching| *matching == last);
                Some((Ok(result), goes_on.then_some((network, input))))
            }
        });
        let appended: Appended<'s> = Box::pin(appended);
        Box::pin(std::future::ready(Ok(appended)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(RaftRequest::Vote(rpc), VOTE).await? {
            RaftReply::Vote(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(RaftRequest::PreVote(rpc), VOTE).await? {
            RaftReply::Vote(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<
            <openraft::type_config::alias::LeaderIdOf<Types> as openraft::vote::RaftLeaderId>::Committed,
            NodeId,
            Member,
            SnapshotFile,
        >,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot.meta, snapshot.snapshot) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.call(RaftRequest::Transfer(rpc), VOTE).await? {
            RaftReply::Transfer(response) => Ok(response),
            _ => Err(unexpected()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let first = [10, 20, 50].map(Duration::from_millis);
        Some(Backoff::new(
            first
                .into_iter()
                .chain(std::iter::repeat(Duration::from_millis(100))),
        ))
    }
}
