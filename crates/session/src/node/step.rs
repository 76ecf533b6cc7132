//! The next step from the voters there are towards those that the file names.
//!
//! Every step leaves a cluster that can decide. A voter that lost its state is dead under its old identity and counts as
//! a voter for as long as it is known under it: beside it, another must not go before whoever comes in its place votes.
//! Else the two that are left are one, and nothing can be decided any more, not even who votes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::peers::Voter;
use crate::types::{Member, NodeId};

/// What is known at one moment. No change of membership is under way.
pub struct Situation<'a> {
    /// Every replica of the membership, voters and learners.
    pub members: &'a BTreeMap<NodeId, Member>,
    /// Those that vote.
    pub voters: &'a BTreeSet<NodeId>,
    /// The nodes that the file names.
    pub file: &'a [Voter],
    /// Who each of them says that it is, if it answers.
    pub here: &'a BTreeMap<String, NodeId>,
    /// Replicas that have almost all of the log.
    pub up_to_date: &'a BTreeSet<NodeId>,
    /// Voters that answer as who they are known as, the leader itself included.
    pub alive: &'a BTreeSet<NodeId>,
}

/// A change of membership.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A node of the file is taken in as a new replica: it catches up before it votes.
    TakeIn(&'a Voter, NodeId),
    /// These vote from now on.
    Vote(BTreeSet<NodeId>),
    /// These replicas are forgotten.
    Forget(BTreeSet<NodeId>),
}

/// What a change waits for when nothing can be done now, although the voters are not those that the file names.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Nodes that the file names and that do not vote.
    pub names: Vec<String>,
    /// The same with why.
    missing: Vec<String>,
    /// Voters that the file no longer names.
    kept: Vec<String>,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = if self.missing.is_empty() {
            "a majority that answers".into()
        } else {
            self.missing.join(", ")
        };
        write!(
            f,
            "the change of session nodes in the file waits for {whom}"
        )?;
        match &self.kept[..] {
            [] => Ok(()),
            kept => write!(f, "; until then {} votes on", kept.join(", ")),
        }
    }
}

impl<'a> Situation<'a> {
    /// What is to be done now, if anything is.
    pub fn next(&self) -> Option<Step<'a>> {
        let newcomer = self.file.iter().find_map(|voter| {
            let id = *self.here.get(&voter.name)?;
            (!self.members.contains_key(&id)).then_some(Step::TakeIn(voter, id))
        });
        newcomer.or_else(|| self.vote()).or_else(|| self.forget())
    }

    /// Whether there is still something to do when nothing can be done now. `absent` are the nodes of the file that do not
    /// answer, with why.
    pub fn unfinished(&self, absent: &BTreeMap<&str, String>) -> Option<Unfinished> {
        let votes = |voter: &Voter| {
            self.voters
                .iter()
                .any(|id| self.name(*id) == Some(&voter.name))
        };
        let missing: Vec<_> = self.file.iter().filter(|voter| !votes(voter)).collect();
        let kept = self.voters.iter().filter(|id| !self.is_wanted(**id));
        let kept: Vec<_> = kept
            .filter_map(|id| self.name(*id))
            .map(str::to_owned)
            .collect();
        if missing.is_empty() && kept.is_empty() {
            return None;
        }
        let why = |voter: &&Voter| match absent.get(voter.name.as_str()) {
            Some(why) => format!("{} ({why})", voter.name),
            None => format!("{} (it catches up)", voter.name),
        };
        Some(Unfinished {
            names: missing.iter().map(|voter| voter.name.clone()).collect(),
            missing: missing.iter().map(why).collect(),
            kept,
        })
    }

    /// One voter more, in the place of who it was before it lost its state, or of one that the file no longer names.
    fn vote(&self) -> Option<Step<'a>> {
        let ready = self.file.iter().filter_map(|voter| {
            let id = self.here.get(&voter.name)?;
            (!self.voters.contains(id) && self.up_to_date.contains(id)).then_some(*id)
        });
        let changes = ready.map(|id| {
            let name = self.name(id);
            let others = self.voters.iter().copied();
            let mut next: BTreeSet<_> = others.filter(|other| self.name(*other) != name).collect();
            next.insert(id);
            next
        });
        changes
            .chain([self.voters.clone()])
            .map(|next| self.without_unwanted(next))
            .find(|next| next != self.voters && self.can_decide(next))
            .map(Step::Vote)
    }

    /// Those that the file no longer names go when all that it names vote.
    fn without_unwanted(&self, mut next: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let votes = |voter: &Voter| next.iter().any(|id| self.name(*id) == Some(&voter.name));
        if self.file.iter().all(votes) {
            next.retain(|id| self.is_wanted(*id));
        }
        next
    }

    /// Whether a majority of these would answer.
    fn can_decide(&self, voters: &BTreeSet<NodeId>) -> bool {
        let answer = |id: &&NodeId| {
            let is_here = self.name(**id).and_then(|name| self.here.get(name)) == Some(*id);
            is_here || self.alive.contains(*id)
        };
        voters.iter().filter(answer).count() > voters.len() / 2
    }

    /// Replicas that do not vote and never will.
    fn forget(&self) -> Option<Step<'a>> {
        let votes_as_another =
            |id: NodeId| self.voters.iter().any(|v| self.name(*v) == self.name(id));
        // Not who is here and catches up, to vote in the place of who it was.
        let is_here = |id: NodeId| self.here.values().any(|here| *here == id);
        let stale = self.members.keys().copied().filter(|id| {
            let superseded = votes_as_another(*id) && !is_here(*id);
            !self.voters.contains(id) && (!self.is_wanted(*id) || superseded)
        });
        let stale: BTreeSet<_> = stale.collect();
        (!stale.is_empty()).then_some(Step::Forget(stale))
    }

    fn name(&self, id: NodeId) -> Option<&'a str> {
        self.members.get(&id).map(|member| member.name.as_str())
    }

    fn is_wanted(&self, id: NodeId) -> bool {
        let name = self.name(id);
        name.is_some_and(|name| self.file.iter().any(|voter| voter.name == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster in which everybody answers and is up to date, unless it is said otherwise.
    struct Case {
        members: BTreeMap<NodeId, Member>,
        voters: BTreeSet<NodeId>,
        file: Vec<Voter>,
        here: BTreeMap<String, NodeId>,
        up_to_date: BTreeSet<NodeId>,
        alive: BTreeSet<NodeId>,
    }

    impl Case {
        fn new(members: &[(NodeId, &str)], voters: &[NodeId], file: &[&str]) -> Self {
            let member = |name: &str| Member {
                name: name.into(),
                address: String::new(),
            };
            let voter = |name: &&str| Voter {
                name: (*name).into(),
                address: ([127, 0, 0, 1], 7411).into(),
            };
            let here = members.iter().map(|(id, name)| ((*name).to_owned(), *id));
            Self {
                members: members.iter().map(|(id, n)| (*id, member(n))).collect(),
                voters: voters.iter().copied().collect(),
                file: file.iter().map(voter).collect(),
                here: here.collect(),
                up_to_date: members.iter().map(|(id, _)| *id).collect(),
                alive: voters.iter().copied().collect(),
            }
        }

        /// The process of this name answers as this one.
        fn now(mut self, name: &str, id: NodeId) -> Self {
            self.here.insert(name.into(), id);
            self.without(&[])
        }

        /// These do not answer.
        fn without(mut self, gone: &[&str]) -> Self {
            self.here.retain(|name, _| !gone.contains(&name.as_str()));
            let here: Vec<_> = self.here.values().copied().collect();
            self.alive.retain(|id| here.contains(id));
            self.up_to_date.retain(|id| here.contains(id));
            self
        }

        fn situation(&self) -> Situation<'_> {
            Situation {
                members: &self.members,
                voters: &self.voters,
                file: &self.file,
                here: &self.here,
                up_to_date: &self.up_to_date,
                alive: &self.alive,
            }
        }

        #[track_caller]
        fn does(&self, step: Option<Step>) {
            assert_eq!(self.situation().next(), step);
        }
    }

    const THREE: [(NodeId, &str); 3] = [(1, "a"), (2, "b"), (3, "c")];
    const FOUR: [(NodeId, &str); 4] = [(1, "a"), (2, "b"), (3, "c"), (4, "d")];

    fn vote(ids: &[NodeId]) -> Option<Step<'static>> {
        Some(Step::Vote(ids.iter().copied().collect()))
    }

    #[test]
    fn nothing_is_done_when_all_are_there_and_as_little_when_one_is_down() {
        let case = Case::new(&THREE, &[1, 2, 3], &["a", "b", "c"]);
        case.does(None);
        case.without(&["b"]).does(None);
    }

    #[test]
    fn a_newcomer_is_taken_in_before_anything_else() {
        let case = Case::new(&THREE, &[1, 2, 3], &["a", "b", "d"]).now("d", 9);
        case.does(Some(Step::TakeIn(&case.file[2], 9)));
    }

    #[test]
    fn a_voter_that_lost_its_state_is_replaced_by_who_it_is_now() {
        let members = [(1, "a"), (2, "b"), (3, "c"), (9, "b")];
        let mut case = Case::new(&members, &[1, 2, 3], &["a", "b", "c"]).now("b", 9);
        case.does(vote(&[1, 3, 9]));
        case.up_to_date.remove(&9);
        case.does(None);
    }

    #[test]
    fn what_a_change_waits_for_is_named_with_why() {
        let said = |case: &Case, absent: &[(&'static str, &str)]| {
            case.does(None);
            let absent = absent.iter().map(|(name, why)| (*name, (*why).to_owned()));
            let unfinished = case.situation().unfinished(&absent.collect());
            unfinished.map(|unfinished| unfinished.to_string())
        };
        let case = Case::new(&THREE, &[1, 2, 3], &["a", "b", "c"]);
        assert_eq!(said(&case, &[]), None);
        // That a voter is down is no change of voters.
        assert_eq!(said(&case.without(&["b"]), &[("b", "refused")]), None);
        let case = Case::new(&THREE, &[1, 2, 3], &["a", "b", "d"]);
        assert_eq!(
            said(&case, &[("d", "refused")]).as_deref(),
            Some(
                "the change of session nodes in the file waits for d (refused); until then c votes on"
            )
        );
        let mut case = Case::new(&FOUR, &[1, 2, 3], &["a", "b", "d"]);
        case.up_to_date.remove(&4);
        assert_eq!(
            said(&case, &[]).as_deref(),
            Some(
                "the change of session nodes in the file waits for d (it catches up); until then c votes on"
            )
        );
        let case = Case::new(&THREE, &[1, 2, 3], &["a", "b"]).without(&["b"]);
        assert_eq!(
            said(&case, &[("b", "refused")]).as_deref(),
            Some(
                "the change of session nodes in the file waits for a majority that answers; until then c votes on"
            )
        );
    }

    #[test]
    fn an_exchanged_voter_goes_in_the_change_in_which_the_other_comes() {
        let case = Case::new(&FOUR, &[1, 2, 3], &["a", "b", "d"]);
        case.does(vote(&[1, 2, 4]));
    }

    #[test]
    fn a_voter_stays_until_whoever_comes_in_its_place_votes() {
        // Not there yet, and not up to date yet.
        let case = Case::new(&THREE, &[1, 2, 3], &["a", "b", "d"]);
        case.does(None);
        let mut case = Case::new(&FOUR, &[1, 2, 3], &["a", "b", "d"]);
        case.up_to_date.remove(&4);
        case.does(None);
    }

    #[test]
    fn no_voter_is_let_go_of_beside_one_that_lost_its_state_while_its_replacement_is_not_there() {
        // What is left would be one that lives and one that never will.
        let lost = Case::new(&THREE, &[1, 2, 3], &["a", "b", "d"]).without(&["b"]);
        lost.does(None);
        let fewer = Case::new(&THREE, &[1, 2, 3], &["a", "b"]).without(&["b"]);
        fewer.does(None);
        // With the replacement it is two of three.
        let case = Case::new(&FOUR, &[1, 2, 3], &["a", "b", "d"]).without(&["b"]);
        case.does(vote(&[1, 2, 4]));
    }

    #[test]
    fn a_voter_that_the_file_names_no_longer_and_nobody_replaces_goes() {
        let case = Case::new(&THREE, &[1, 2, 3], &["a", "b"]);
        case.does(vote(&[1, 2]));
        let case = Case::new(&THREE, &[1, 2, 3], &["a"]);
        case.does(vote(&[1]));
    }

    #[test]
    fn a_voter_that_will_be_missed_does_not_hold_up_one_that_comes_back_as_another() {
        // Two lost their states, one after the other: each step that is possible is taken.
        let members = [(1, "a"), (2, "b"), (3, "c"), (8, "b"), (9, "c")];
        let case = Case::new(&members, &[1, 2, 3], &["a", "b", "c"])
            .now("b", 8)
            .now("c", 9);
        case.does(vote(&[1, 3, 8]));
    }

    #[test]
    fn replicas_that_never_will_vote_are_forgotten() {
        let members = [(1, "a"), (2, "b"), (3, "c"), (8, "b"), (9, "d")];
        let case = Case::new(&members, &[1, 2, 3], &["a", "b", "c"]).now("b", 2);
        case.does(Some(Step::Forget([8, 9].into())));
    }
}
