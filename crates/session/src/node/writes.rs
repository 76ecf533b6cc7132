//! Proposing: what is asked for while entries are on their way is gathered into the next one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::pending::Held;
use super::{Raft, view};
use crate::machine::Shared;
use crate::rt::{spawn, timeout};
use crate::state::{Batch, Change, MAX_CHANGES, Outcome};
use crate::types::Member;

/// Entries on their way at once. Two keep the disk and the network busy; more would only make entries smaller.
const IN_FLIGHT: usize = 2;
/// An entry is closed when it has reached so many bytes.
const ENTRY_BYTES: usize = 1024 * 1024;
/// Requests waiting to be proposed.
const QUEUE: usize = 16 * 1024;
/// An entry that is not committed for so long: whoever waits has given up.
const LIMIT: Duration = Duration::from_secs(5);

/// Why changes have no outcome.
#[derive(Clone, Debug)]
pub enum WriteError {
    /// They were not proposed: this replica does not lead.
    NotLeader(Option<Member>),
    /// They were not proposed.
    Unavailable(String),
    /// They were proposed, and may be applied or not.
    Unknown(String),
}

struct Proposal {
    changes: Vec<Change>,
    weight: usize,
    held: Vec<Held>,
    outcomes: oneshot::Sender<Result<Vec<Outcome>, WriteError>>,
}

/// Where changes are handed in.
#[derive(Clone)]
pub struct Writes(mpsc::Sender<Proposal>);

impl Writes {
    /// Starts the task that proposes, on the current runtime.
    pub fn start(raft: Raft, replica: Shared) -> Self {
        let (proposals, queue) = mpsc::channel(QUEUE);
        spawn(run(raft, replica, queue));
        Self(proposals)
    }

    /// Has changes applied, in one entry; one outcome for each. None at all just moves the keyspace's clock. What they may
    /// add is `held` until it is known what became of them.
    pub async fn propose(
        &self,
        changes: Vec<Change>,
        weight: usize,
        held: Vec<Held>,
    ) -> Result<Vec<Outcome>, WriteError> {
        debug_assert!(changes.len() <= MAX_CHANGES / 2);
        let (outcomes, waited) = oneshot::channel();
        let proposal = Proposal {
            changes,
            weight,
            held,
            outcomes,
        };
        if self.0.try_send(proposal).is_err() {
            return Err(WriteError::Unavailable(
                "too many changes are waiting".into(),
            ));
        }
        match waited.await {
            Ok(result) => result,
            Err(_) => Err(WriteError::Unknown("the node is stopping".into())),
        }
    }
}

async fn run(raft: Raft, replica: Shared, mut queue: mpsc::Receiver<Proposal>) {
    // Entries that wait for a leadership go in the order they came: which of them is woken first is chance, even in a
    // simulation.
    let turn = Mutex::new(());
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            first = queue.recv(), if in_flight.len() < IN_FLIGHT => {
                let Some(first) = first else { return };
                let batch = gather(first, &mut queue);
                if !batch.is_empty() {
                    in_flight.push(propose(&raft, &replica, &turn, batch));
                }
            }
        }
    }
}

fn gather(first: Proposal, queue: &mut mpsc::Receiver<Proposal>) -> Vec<Proposal> {
    let (mut count, mut weight) = (0, 0);
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(proposal) = next {
        // Whoever asked may have given up.
        if !proposal.outcomes.is_closed() {
            count += proposal.changes.len();
            weight += proposal.weight;
            batch.push(proposal);
        }
        next = if count < MAX_CHANGES / 2 && weight < ENTRY_BYTES {
            queue.try_recv().ok()
        } else {
            None
        };
    }
    batch
}

async fn propose(raft: &Raft, replica: &Shared, turn: &Mutex<()>, proposals: Vec<Proposal>) {
    let mut changes = Vec::new();
    let mut waiting = Vec::with_capacity(proposals.len());
    let mut held = Vec::new();
    for proposal in proposals {
        held.extend(proposal.held);
        waiting.push((proposal.changes.len(), proposal.outcomes));
        changes.extend(proposal.changes);
    }
    let result = match timeout(LIMIT, write(raft, replica, turn, changes)).await {
        Ok(result) => result,
        Err(_) => Err(WriteError::Unknown("no majority took it in time".into())),
    };
    drop(held);
    let mut outcomes = match result {
        Ok(outcomes) => outcomes.into_iter(),
        Err(error) => {
            for (_, waiting) in waiting {
                // Whoever asked may have given up.
                let _ = waiting.send(Err(error.clone()));
            }
            return;
        }
    };
    for (count, waiting) in waiting {
        let _ = waiting.send(Ok(outcomes.by_ref().take(count).collect()));
    }
}

/// Writes one entry, stamped and proposed under one leadership.
///
/// A stamp is by the clock of a leader that has applied every entry before its own first one. Else a replica that led
/// before, and was followed by one whose clock is behind its own, would stamp by its old clock when it leads again, and
/// end what the other gave a life to before that life is over.
async fn write(
    raft: &Raft,
    replica: &Shared,
    turn: &Mutex<()>,
    changes: Vec<Change>,
) -> Result<Vec<Outcome>, WriteError> {
    let mut metrics = raft.metrics();
    let mut batch = Arc::new(Batch { stamp: 0, changes });
    let mut mine = turn.lock().await;
    loop {
        let leadership = {
            let metrics = metrics.borrow_and_update();
            if metrics.state != ServerState::Leader {
                return Err(WriteError::NotLeader(view::leader(&metrics)));
            }
            metrics.vote.leader_id
        };
        let stamp = {
            let replica = replica.lock();
            let applied = replica.applied.map(|log_id| log_id.leader_id);
            (applied == Some(leadership) || is_stamped_early()).then(|| replica.clock.now())
        };
        let Some(stamp) = stamp else {
            if metrics.changed().await.is_err() {
                return Err(WriteError::Unavailable("the node is stopping".into()));
            }
            continue;
        };
        #[cfg(test)]
        crate::sim::audit::stamped(*raft.node_id(), stamp);
        Arc::make_mut(&mut batch).stamp = stamp;
        let (responder, answer) = ProgressResponder::complete_only();
        let write = raft.write(batch.clone()).responder(responder);
        let write = if is_stamped_early() {
            write
        } else {
            write.with_leader(leadership)
        };
        let answer = match write.await {
            Ok(()) => {
                drop(mine);
                answer.await
            }
            Err(error) => return Err(WriteError::Unknown(error.to_string())),
        };
        match answer {
            Ok(Ok(response)) => return Ok(response.data),
            // It led before and leads again: nothing was proposed, and the next stamp is by another clock.
            Ok(Err(ClientWriteError::ForwardToLeader(forward)))
                if forward.leader_id == Some(*raft.node_id()) => {}
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                return Err(WriteError::NotLeader(forward.leader_node));
            }
            Ok(Err(error)) => return Err(WriteError::Unknown(error.to_string())),
            Err(_) => return Err(WriteError::Unknown("the replica has stopped".into())),
        }
        mine = turn.lock().await;
        // What is known of the leadership here is older than what was answered.
        if metrics.changed().await.is_err() {
            return Err(WriteError::Unavailable("the node is stopping".into()));
        }
    }
}

#[cfg(not(test))]
const fn is_stamped_early() -> bool {
    false
}

#[cfg(test)]
fn is_stamped_early() -> bool {
    crate::sim::is_broken(crate::sim::Broken::StampedBeforeTheTerm)
}
