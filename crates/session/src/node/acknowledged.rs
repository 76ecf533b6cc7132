//! What the others have acknowledged to this replica while it leads.
//!
//! A replica whose disk lost what it had acknowledged, by an error that a repair made good, say, or because somebody put an
//! old copy of its state back, cannot know that. The leader does: to it that replica is up to date, and nothing would be
//! sent to it ever again. So each message says how many entries were acknowledged before, and who has fewer has lost its
//! state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::types::{NodeId, Vote};

/// How many entries each replica has, at least, and by which vote this one led when it heard so. Cheap to clone.
///
/// While one leads by a vote, nobody takes out what it has acknowledged to it; by another one that may be right.
#[derive(Clone, Default)]
pub struct Acknowledged(Arc<Mutex<HashMap<NodeId, (Vote, u64)>>>);

impl Acknowledged {
    /// How many entries this one has acknowledged to a leader by `vote`.
    pub fn by(&self, replica: NodeId, vote: &Vote) -> u64 {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&replica).filter(|(by, _)| by == vote);
        known.map_or(0, |(_, entries)| *entries)
    }

    /// It has so many.
    pub fn heard(&self, replica: NodeId, vote: &Vote, entries: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (by, most) = known.entry(replica).or_insert((*vote, entries));
        if by == vote {
            *most = entries.max(*most);
        } else {
            (*by, *most) = (*vote, entries);
        }
        // Identities come and go with states; those that are left are spoken to again.
        if known.len() > MOST {
            known.retain(|other, _| *other == replica);
        }
    }
}

/// More than any group has voters.
const MOST: usize = 64;

/// Whether a replica with this much has lost what it had acknowledged to a leader by `vote`.
pub fn is_lost(acknowledged: u64, vote: &Vote, (own, entries): (Option<Vote>, u64)) -> bool {
    // By a later vote another leader may have taken it out.
    acknowledged > entries && own.is_none_or(|own| *vote >= own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(term: u64) -> Vote {
        Vote::new_committed(term, 1)
    }

    #[test]
    fn what_was_acknowledged_counts_by_the_vote_it_was_acknowledged_to() {
        let known = Acknowledged::default();
        assert_eq!(known.by(7, &vote(2)), 0);
        known.heard(7, &vote(2), 5);
        known.heard(7, &vote(2), 3);
        assert_eq!((known.by(7, &vote(2)), known.by(7, &vote(3))), (5, 0));
        known.heard(7, &vote(3), 4);
        assert_eq!((known.by(7, &vote(2)), known.by(7, &vote(3))), (0, 4));
        for other in 100..200 {
            known.heard(other, &vote(3), 1);
        }
        assert!(known.0.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn who_has_fewer_has_lost_them_unless_a_later_leader_took_them_out() {
        for (acknowledged, own, entries, expected) in [
            (5, Some(vote(2)), 5, false),
            (5, Some(vote(2)), 4, true),
            (5, Some(vote(1)), 4, true),
            (5, None, 0, true),
            (5, Some(vote(3)), 4, false),
            (0, None, 0, false),
        ] {
            let is_lost = is_lost(acknowledged, &vote(2), (own, entries));
            assert_eq!(is_lost, expected, "{acknowledged} {own:?} {entries}");
        }
    }
}
