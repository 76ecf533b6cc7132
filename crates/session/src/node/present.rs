//! Being seen: a replica asks the others something at all times, as an agent does.
//!
//! One that follows would else connect to nobody for hours, and nobody could tell it from a copy of its machine that does
//! (`tandem_net::cluster`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::peers::Peers;
use crate::rt::sleep;

/// Often enough that one whose connections were closed comes again before a copy has its place.
const EVERY: Duration = Duration::from_millis(500);

/// Runs for as long as the replica on the node `own` does.
pub async fn run(peers: Arc<Peers>, own: String) {
    loop {
        let voters = peers.voters();
        let others = voters.iter().filter(|voter| voter.name != own);
        // What they say is of no interest here.
        join_all(others.map(|voter| peers.status(voter, EVERY))).await;
        sleep(EVERY).await;
    }
}
