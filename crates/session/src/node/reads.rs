//! Reading: linearizable at the leader without an entry, many reads to a round.
//!
//! The leader answers by its lease: a majority acknowledged it less than [`LEASE`] ago, and each of them votes for
//! nobody else for [`super::LEADER_LEASE`] from then on, by its own monotonic clock. When the lease is too old, or cannot be
//! judged since the machine has slept ([`super::awake`]), a round of heartbeats makes it new. Then the state must have applied everything that was committed when the read came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::Linearizer;
use openraft::{LinearizerOption, ServerState};
use tokio::sync::{mpsc, oneshot};

use super::awake::Awake;
use super::view::ClusterView;
use super::{LEADER_LEASE, Raft};
use crate::machine::Replica;
use crate::rt::{age, spawn};
use crate::types::{Member, Types};

/// How old a majority's acknowledgement may be. Well below the lease, for clocks that run at different speeds.
const LEASE: Duration = Duration::from_millis(LEADER_LEASE.as_millis() as u64 * 2 / 3);
/// How long a round may take.
const LIMIT: Duration = Duration::from_millis(500);
/// Reads waiting for a round.
const QUEUE: usize = 16 * 1024;

/// Why a read cannot be answered here and now.
#[derive(Clone, Debug)]
pub enum ReadError {
    /// This replica does not lead.
    NotLeader(Option<Member>),
    /// It leads and cannot prove it, or is not up to date yet.
    Unavailable(String),
}

type Waiting = oneshot::Sender<Result<(), ReadError>>;

/// Where reads wait for their round, if they have to.
#[derive(Clone)]
pub struct Reads {
    rounds: mpsc::Sender<Waiting>,
    view: ClusterView,
    /// This replica has begun to give leadership away: the next leader need not wait until its lease is over.
    given_away: Arc<AtomicBool>,
    awake: Awake,
}

impl Reads {
    /// Starts the task of the rounds, on the current runtime.
    pub fn start(raft: Raft, view: ClusterView) -> Self {
        let (reads, mut queue) = mpsc::channel(QUEUE);
        let awake = Awake::new();
        let machine = awake.clone();
        spawn(async move {
            let mut waiting: Vec<Waiting> = Vec::new();
            while queue.recv_many(&mut waiting, QUEUE).await > 0 {
                let result = round(&raft, &machine).await;
                for read in waiting.drain(..) {
                    // Whoever asked may have given up.
                    let _ = read.send(result.clone());
                }
            }
        });
        Self {
            rounds: reads,
            view,
            given_away: Arc::default(),
            awake,
        }
    }

    /// Whether `replica`, this one's state, has everything now that was acknowledged before this call, as far as that
    /// is known without asking anybody.
    ///
    /// What earlier leaders acknowledged is there when an entry of this leadership is applied; what this one did, it
    /// applied first. No other can lead as long as the lease holds, whatever else this replica has not heard yet: its
    /// end is all that there is to look at. One that the voters are to be without gives its leadership away by itself
    /// soon (openraft's `removed_leader_step_down`), and the next leader need not wait for the lease: from the moment that
    /// it has such a change in its log, which is before anybody commits it, only Raft itself knows.
    pub fn is_ready(&self, replica: &Replica) -> bool {
        let metrics = self.view.borrow();
        let voters = metrics.membership_config.membership().get_joint_config();
        let stays = voters
            .last()
            .is_some_and(|ids| ids.contains(&self.view.id()));
        metrics.state == ServerState::Leader
            && stays
            && replica.applied.map(|log_id| log_id.leader_id) == Some(metrics.vote.leader_id)
            && metrics
                .last_quorum_acked
                .as_ref()
                .is_some_and(|at| age(at) < LEASE)
            && self.awake.for_at_least(LEASE)
            && !self.given_away.load(Relaxed)
    }

    /// Leadership is about to be given away: from now on a read is answered only if Raft itself says that it can be.
    pub fn give_away(&self) {
        self.given_away.store(true, Relaxed);
    }

    /// Waits until the state here has everything that was acknowledged before this call.
    pub async fn ready(&self) -> Result<(), ReadError> {
        let (read, waited) = oneshot::channel();
        if self.rounds.try_send(read).is_err() {
            return Err(ReadError::Unavailable("too many reads are waiting".into()));
        }
        waited
            .await
            .unwrap_or_else(|_| Err(ReadError::Unavailable("the node is stopping".into())))
    }
}

async fn round(raft: &Raft, awake: &Awake) -> Result<(), ReadError> {
    #[cfg(test)]
    if crate::sim::is_broken(crate::sim::Broken::ReadsWithoutLease) {
        return Ok(());
    }
    let may_be_old = awake.for_at_least(LEASE);
    let mut linearizer = confirmed(raft, if may_be_old { LEASE } else { Duration::ZERO }).await?;
    if may_be_old && !awake.for_at_least(LEASE) {
        // It slept meanwhile.
        linearizer = confirmed(raft, Duration::ZERO).await?;
    }
    match linearizer.try_await_ready(raft, Some(LIMIT)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(ReadError::Unavailable(
            "the leader is still catching up".into(),
        )),
        Err(error) => Err(ReadError::Unavailable(error.to_string())),
    }
}

/// A majority has acknowledged this leader, no longer ago than this.
async fn confirmed(raft: &Raft, age: Duration) -> Result<Linearizer<Types>, ReadError> {
    let option = LinearizerOption::new(Some(age), true).with_wait_timeout(LIMIT);
    match raft.get_read_linearizer(option).await {
        Ok(linearizer) => Ok(linearizer),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
            Err(ReadError::NotLeader(forward.leader_node))
        }
        Err(error) => Err(ReadError::Unavailable(error.to_string())),
    }
}
