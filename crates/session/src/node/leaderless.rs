//! Why a replica hears of no leader: what the other replicas say.

use std::time::Duration;

use futures_util::future::join_all;
use tandem_telemetry::Events;

use super::distance::FAR;
use crate::peers::Peers;
use crate::rt::Instant;
use crate::types::NodeId;

/// How long a replica may take to say who leads.
const ASK: Duration = Duration::from_millis(500);

/// What it comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// They have a leader, which says so, and the file no longer names this node.
    LetGo,
    /// They have a leader that this one does not hear.
    Elsewhere { leader: String, by: String },
    /// Nobody knows of one. What each of them says, or why it says nothing.
    Nobody(Vec<String>),
}

/// Asks the replicas of the file, for the replica `id` on the node `own`.
pub async fn ask(peers: &Peers, own: &str, id: NodeId) -> Word {
    let voters = peers.voters();
    let others = voters.iter().filter(|voter| voter.name != own);
    let asked = others.map(|voter| async move {
        let begun = Instant::now();
        let answer = peers.status(voter, ASK).await;
        (voter, answer, begun.elapsed())
    });
    let mut words = Vec::new();
    let mut elsewhere = None;
    for (voter, answer, took) in join_all(asked).await {
        let by = &voter.name;
        match answer.map(|status| status.leader) {
            // That it is this one is known better here.
            Ok(Some(leader)) if leader.name != own => {
                elsewhere.get_or_insert((leader, by.clone()));
            }
            Ok(_) if took > FAR => words.push(format!(
                "{by} knows of none either, and took {} ms to say so: session nodes must answer one another within {} ms",
                took.as_millis(),
                FAR.as_millis()
            )),
            Ok(_) => words.push(format!("{by} knows of none either")),
            Err(error) => words.push(format!("{by}: {error}")),
        }
    }
    let is_named = voters.iter().any(|voter| voter.name == own);
    let Some((leader, by)) = elsewhere else {
        return Word::Nobody(words);
    };
    if !is_named
        && let Some(leader) = peers.voter(&leader)
        && peers.knows(&leader, id, ASK).await == Some(false)
    {
        return Word::LetGo;
    }
    Word::Elsewhere {
        leader: leader.name,
        by,
    }
}

impl Word {
    /// Whether this is no news after the other.
    pub fn is_like(&self, other: &Self) -> bool {
        // What single replicas answer changes from moment to moment.
        matches!((self, other), (Self::Nobody(_), Self::Nobody(_))) || self == other
    }

    /// Makes it an event.
    pub fn tell(&self, events: &Events) {
        match self {
            Self::LetGo => events.info(
                "sessions",
                "this replica was let go of: the file no longer names this node, and the others go on without it; a \
                 restart of the node ends it",
            ),
            Self::Elsewhere { leader, by } => {
                let what = format!(
                    "{leader} leads, says {by}, but is not heard from here: it does not reach this node, or its file does \
                     not name it (`tandem doctor`)"
                );
                events.warning("sessions", what);
            }
            Self::Nobody(words) => {
                let seen = match words.join("; ") {
                    seen if seen.is_empty() => seen,
                    seen => format!(" ({seen})"),
                };
                let what = format!(
                    "nobody leads, as far as is seen from here: fewer than a majority of the voters reach one another; \
                     writes and reads wait{seen}"
                );
                events.error("sessions", what);
            }
        }
    }
}
