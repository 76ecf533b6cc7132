//! Leadership is given away before a leader stops, to a voter that stays.
//!
//! A voter that is stopping too, or is gone, is not waited for: when all nodes of a cluster are told to stop together
//! there is nobody to hand over to, and the last one goes at once. It is asked before, and while it is waited for.

use std::time::Duration;

use openraft::LogId;

use super::Raft;
use super::view::{ClusterView, Metrics};
use crate::peers::{Peers, Voter};
use crate::rt::{Instant, age, sleep};
use crate::types::NodeId;

/// It takes at most so long in all.
const LIMIT: Duration = Duration::from_secs(2);
/// A voter says at once whether it stays, if it lives.
const ANSWER: Duration = Duration::from_millis(200);
/// While a voter is waited for it is asked again so often.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Between two looks at whether it leads.
const LOOK: Duration = Duration::from_millis(5);
/// One that was heard from within so long, some heartbeats, comes before others.
const RECENT: Duration = Duration::from_millis(250);

/// Gives leadership, if it is here, to the voter that has most of the log of those that stay. If it does not come about the
/// others elect when this node is gone.
pub async fn run(raft: &Raft, view: &ClusterView, peers: &Peers) {
    if !view.leads() {
        return;
    }
    let begun = Instant::now();
    for (to, voter) in candidates(&view.metrics(), view.id(), peers) {
        if !stays(peers, &voter).await {
            continue;
        }
        if !view.leads() || raft.trigger().transfer_leader(to).await.is_err() {
            return;
        }
        let mut asked = Instant::now();
        while view.leads() {
            if begun.elapsed() > LIMIT {
                return;
            }
            sleep(LOOK).await;
            if asked.elapsed() > ASK_AGAIN {
                if !stays(peers, &voter).await {
                    break;
                }
                asked = Instant::now();
            }
        }
    }
}

/// The other voters, the best first.
fn candidates(metrics: &Metrics, own: NodeId, peers: &Peers) -> Vec<(NodeId, Voter)> {
    let membership = metrics.membership_config.membership();
    let rank = |id: &NodeId| {
        let heard = metrics.heartbeat.as_ref();
        let heard = heard.and_then(|all| all.get(id)?.as_ref());
        let matched = metrics.replication.as_ref();
        let matched = matched.and_then(|all| all.get(id)?.as_ref());
        let recent = heard.is_some_and(|at| age(at) < RECENT);
        (recent, matched.map(LogId::index))
    };
    let mut others: Vec<NodeId> = membership.voter_ids().filter(|id| *id != own).collect();
    others.sort_by_key(|id| std::cmp::Reverse(rank(id)));
    let known = others.into_iter().filter_map(|id| {
        let voter = peers.voter(membership.get_node(&id)?)?;
        Some((id, voter))
    });
    known.collect()
}

/// One that is stopping has no status.
async fn stays(peers: &Peers, voter: &Voter) -> bool {
    peers.status(voter, ANSWER).await.is_ok()
}
