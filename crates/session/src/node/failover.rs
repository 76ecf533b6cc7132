//! When the leader's process is gone there is no need to wait as long as for a silent one.

use std::sync::Arc;
use std::time::Duration;

use tandem_net::cluster::LinkError;
use tokio::sync::Notify;

use super::Raft;
use super::view::ClusterView;
use crate::peers::Peers;
use crate::rt::{Instant, random, sleep};

/// Tries follow one another this fast, and a little more by chance, so that two followers do not stay in step.
const EVERY: Duration = Duration::from_millis(15);
/// After this the ordinary election timeout has long taken over.
const GIVE_UP: Duration = Duration::from_secs(2);

/// Waits for the leader's connection to end, and asks for an election when nothing listens there any more.
///
/// The voters still hold to the leader's lease: a refused connection may be the work of a firewall, and a leader
/// behind it may be answering reads. The election takes place when the lease is over and not an election timeout later;
/// until then the pre-vote fails and changes nothing.
pub async fn run(
    raft: Raft,
    view: ClusterView,
    peers: Arc<Peers>,
    ended: Arc<Notify>,
    votes_from: Instant,
) {
    loop {
        ended.notified().await;
        if Instant::now() < votes_from {
            continue;
        }
        let Some(gone) = view.leader().filter(|member| member.name != view.name()) else {
            continue;
        };
        let Some(voter) = peers.voter(&gone) else {
            continue;
        };
        let since = Instant::now();
        while since.elapsed() < GIVE_UP && view.leader().as_ref() == Some(&gone) {
            match peers.status(&voter, Duration::from_millis(200)).await {
                Err(LinkError::Refused) => {
                    if raft.trigger().elect(true).await.is_err() {
                        return;
                    }
                }
                _ => break,
            }
            let chance = random().map_or(0, |r| r % 16);
            sleep(EVERY + Duration::from_millis(chance)).await;
        }
    }
}
