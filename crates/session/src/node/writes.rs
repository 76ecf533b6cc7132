//! Proposing: what is asked for while entries are on their way is gathered into the next one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use openraft::errors::{ClientWriteError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Raft;
use crate::machine::Shared;
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
    outcomes: oneshot::Sender<Result<Vec<Outcome>, WriteError>>,
}

/// Where changes are handed in.
#[derive(Clone)]
pub struct Writes(mpsc::Sender<Proposal>);

impl Writes {
    /// Starts the task that proposes, on the current runtime.
    pub fn start(raft: Raft, replica: Shared) -> Self {
        let (proposals, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(raft, replica, queue));
        Self(proposals)
    }

    /// Has changes applied, in one entry; one outcome for each. None at all just moves the keyspace's clock.
    pub async fn propose(
        &self,
        changes: Vec<Change>,
        weight: usize,
    ) -> Result<Vec<Outcome>, WriteError> {
        debug_assert!(changes.len() <= MAX_CHANGES / 2);
        let (outcomes, waited) = oneshot::channel();
        let proposal = Proposal {
            changes,
            weight,
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
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            first = queue.recv(), if in_flight.len() < IN_FLIGHT => {
                let Some(first) = first else { return };
                let batch = gather(first, &mut queue);
                if !batch.is_empty() {
                    in_flight.push(propose(&raft, &replica, batch));
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

async fn propose(raft: &Raft, replica: &Shared, proposals: Vec<Proposal>) {
    let stamp = replica.lock().clock.now();
    let mut changes = Vec::new();
    let mut waiting = Vec::with_capacity(proposals.len());
    for proposal in proposals {
        waiting.push((proposal.changes.len(), proposal.outcomes));
        changes.extend(proposal.changes);
    }
    let batch = Arc::new(Batch { stamp, changes });
    let result = match timeout(LIMIT, raft.client_write(batch)).await {
        Ok(Ok(response)) => Ok(response.data),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
            Err(WriteError::NotLeader(forward.leader_node))
        }
        Ok(Err(error)) => Err(WriteError::Unknown(error.to_string())),
        Err(_) => Err(WriteError::Unknown("no majority took it in time".into())),
    };
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
