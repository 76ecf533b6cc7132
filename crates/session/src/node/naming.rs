//! Giving an identity to a cluster that has none: it was formed by a version that gave none.
//!
//! The leader decides, when every voter says that it knows of none. One that leads no more and does not know yet must not
//! decide beside the next leader, which asks it too. So it first says that it is deciding, and then has an entry committed:
//! when that succeeds in the term in which it asked, nobody led meanwhile, and whoever leads later is told by it that it has
//! decided, or is deciding.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::view::ClusterView;
use super::writes::Writes;
use crate::home::{Belonging, draw};
use crate::peers::{Peers, Voter};
use crate::types::NodeId;
use crate::wire::Belongs;

/// How long a voter may take to say what it knows.
const ASK: Duration = Duration::from_millis(500);

/// What it takes to decide.
pub struct Naming {
    pub view: ClusterView,
    pub peers: Arc<Peers>,
    pub writes: Writes,
    pub belonging: Arc<Belonging>,
}

impl Naming {
    /// Has the cluster of this leader and these other voters get an identity, if that can be decided now.
    pub async fn decide(&self, others: &[(NodeId, Voter)]) {
        let term = self.view.borrow().current_term;
        let asked = others.iter().map(|(id, voter)| async move {
            // One of an older version, or none: it cannot be decided now.
            let said = self.peers.belongs(voter, ASK).await.ok()??;
            (said.replica == *id).then_some(said)
        });
        let Some(said) = join_all(asked)
            .await
            .into_iter()
            .collect::<Option<Vec<_>>>()
        else {
            return;
        };
        if let Some(id) = said.iter().find_map(|said| said.cluster) {
            // What cannot be written now is tried again.
            let _ = self.belonging.join(id).await;
            return;
        }
        if said.iter().any(|said| said.is_deciding) {
            return;
        }
        self.belonging.set_deciding(true);
        let committed = self.writes.propose(Vec::new(), 0, Vec::new()).await.is_ok();
        if committed
            && self.view.leads()
            && self.view.borrow().current_term == term
            && let Ok(id) = draw()
        {
            let _ = self.belonging.join(id).await;
        }
        self.belonging.set_deciding(false);
    }

    /// Whether a replica that holds something, and that this cluster does not know, holds what is this cluster's.
    pub async fn is_ours(&self, voter: &Voter) -> Result<(), String> {
        let said = self.peers.belongs(voter, ASK).await;
        let Some(Belongs { cluster, .. }) = said.map_err(|error| error.to_string())? else {
            // Of an older version, which knows of no clusters.
            return Ok(());
        };
        match (self.belonging.id().get(), cluster) {
            (Some(ours), Some(theirs)) if ours == theirs => Ok(()),
            (None, None) => Ok(()),
            _ => Err(
                "it holds a state that is not known to be this cluster's: if that is to be given up, stop the node, remove `sessions` in its state directory, and start it"
                    .into(),
            ),
        }
    }
}
