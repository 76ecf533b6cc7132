//! Who votes: the cluster is formed once, and follows the file from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use tandem_telemetry::Events;

use super::Raft;
use super::elsewhere::Elsewhere;
use super::naming::Naming;
use super::step::{Situation, Step, Unfinished};
use super::view::{BEHIND, ClusterView, Metrics};
use crate::home::{Hold, anew, draw, members};
use crate::log::LogStore;
use crate::peers::{Peers, Voter};
use crate::rt::{Instant, age, blocking, sleep, timeout};
use crate::types::{Member, NodeId, Types};

/// How long a voter may take to say who it is.
const ASK: Duration = Duration::from_millis(500);
/// How often a blank replica looks around,
const FORM_EVERY: Duration = Duration::from_millis(100);
/// and asks all nodes of the file, of which there may be many,
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// and how often it says what it waits for.
const REMIND: Duration = Duration::from_mins(1);
/// That no tier is formed is a warning after so long, when agents ask,
const PATIENCE: Duration = Duration::from_secs(10);
/// which they do more often than that.
const ASKING: Duration = Duration::from_secs(5);
/// How often the leader compares the membership with the file.
const RECONCILE_EVERY: Duration = Duration::from_millis(300);
/// A change that the file wants and that cannot go on is news after so long: what is started at the same time may come.
const WAITS: Duration = Duration::from_secs(1);
/// A change of membership that takes longer is looked at anew.
const CHANGE: Duration = Duration::from_secs(10);

/// Why a blank replica forms no cluster now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blank {
    /// What it waits for.
    waits: String,
    /// What an operator does about it, if that is not said there. `None`: nothing, there is a tier that takes it in.
    remedy: Option<String>,
}

impl Blank {
    fn new(waits: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            waits: waits.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// In words, and whether they are a warning: by now somebody is refused for it.
    fn tell(&self, since: Duration, turned_away: Option<Duration>) -> (String, bool) {
        let is_asked = turned_away.is_some_and(|ago| ago < ASKING);
        match &self.remedy {
            Some(remedy) if since >= PATIENCE && is_asked => {
                let what = format!(
                    "{}; until then no tier is formed, and operations on sessions that come here are refused{remedy}",
                    self.waits
                );
                (what, true)
            }
            _ => (self.waits.clone(), false),
        }
    }
}

/// A change of voters that cannot go on now.
#[derive(Default)]
struct Waiting {
    since: Option<Instant>,
    /// With these it was an event.
    told: Option<Vec<String>>,
}

/// Puts on record who votes, for when the state is lost.
pub struct Recorder {
    pub view: ClusterView,
    /// The state directory.
    pub directory: PathBuf,
    pub hold: Hold,
    /// Who is on record.
    pub remembered: Vec<Member>,
}

impl Recorder {
    /// Runs for as long as the replica does.
    pub async fn run(mut self) {
        loop {
            let voters = self.voters();
            if !voters.is_empty() && voters != self.remembered {
                let (directory, hold, now) =
                    (self.directory.clone(), self.hold.clone(), voters.clone());
                // Elsewhere: a disk that is busy may take seconds.
                let written = blocking(move || {
                    hold.go_on()?;
                    members::write(&directory, &now)
                });
                // What cannot be written now is tried again.
                if written.await.is_ok() {
                    self.remembered = voters;
                }
            }
            sleep(RECONCILE_EVERY).await;
        }
    }

    fn voters(&self) -> Vec<Member> {
        let metrics = self.view.borrow();
        let membership = metrics.membership_config.membership();
        let voters = membership.voter_ids();
        voters
            .filter_map(|id| membership.get_node(&id).cloned())
            .collect()
    }
}

/// Follows the file: forms the cluster, takes in and lets go.
pub struct Members {
    pub raft: Raft,
    pub view: ClusterView,
    pub peers: Arc<Peers>,
    pub events: Events,
    /// Who voted beside this replica before it lost its state.
    pub remembered: Vec<Member>,
    pub naming: Naming,
    pub elsewhere: Arc<Elsewhere>,
    pub log: LogStore,
}

impl Members {
    /// Runs for as long as the replica does.
    pub async fn run(self) {
        self.form().await;
        let mut waiting = Waiting::default();
        loop {
            sleep(RECONCILE_EVERY).await;
            if self.view.leads() {
                // What could not be done now is tried again.
                let _ = self.reconcile(&mut waiting).await;
            } else {
                waiting = Waiting::default();
            }
        }
    }

    /// A blank replica waits to be taken in. The first voter of the file, and it alone, forms the cluster, and only
    /// when every other voter answers that it is blank too: a node that lost its state cannot know whether one that
    /// does not answer still holds what was acknowledged. Nor can it know from a file that names others by now: so
    /// those count too that voted beside one of the file before that lost its state.
    ///
    /// One that has voted for somebody and has no log is as blank: it has acknowledged nothing that is stored. Where it is to
    /// form the cluster it does so as another replica, so that its vote counts no more for whomever it was given.
    async fn form(&self) {
        let since = Instant::now();
        let mut reminded: Option<(Instant, String)> = None;
        while self.holds_nothing() {
            if let Err(mut blank) = self.try_to_form().await {
                if self.elsewhere.is_given_up() && !blank.waits.contains(anew::ORDER) {
                    blank.waits += " (`begin-anew` is not carried out meanwhile)";
                }
                let (what, warns) = blank.tell(since.elapsed(), self.view.turned_away());
                let told = reminded.as_ref();
                if told.is_none_or(|(at, told)| at.elapsed() > REMIND || *told != what) {
                    if warns {
                        self.events.warning("sessions", what.clone());
                    } else {
                        self.events.info("sessions", what.clone());
                    }
                    reminded = Some((Instant::now(), what));
                }
            }
            sleep(FORM_EVERY).await;
        }
        // What cannot be removed now is when this one is started again.
        let _ = anew::is_over(&self.elsewhere.directory);
    }

    /// Whether it has no log, and runs.
    fn holds_nothing(&self) -> bool {
        let metrics = self.view.borrow();
        metrics.last_log_index.is_none() && metrics.running_state.is_ok()
    }

    async fn try_to_form(&self) -> Result<(), Blank> {
        let voters = self.peers.voters();
        let others = voters.iter().filter(|v| v.name != self.view.name());
        let asked = others.map(|v| async move { (v, self.peers.status(v, ASK).await) });
        let mut members = BTreeMap::new();
        let (mut silent, mut names) = (Vec::new(), Vec::new());
        for (voter, answer) in join_all(asked).await {
            match answer {
                Ok(status) if status.initialized => {
                    return Err(Blank {
                        waits: "blank here: waits for the leader to take this node in".into(),
                        remedy: None,
                    });
                }
                Ok(status) => {
                    members.insert(status.id, member(voter));
                }
                Err(error) => {
                    silent.push(format!("{} ({error})", voter.name));
                    names.push(&*voter.name);
                }
            }
        }
        if !silent.is_empty() {
            let (silent, names) = (silent.join(", "), names.join(", "));
            return Err(Blank::new(
                format!("blank here: waits for {silent}, which may hold what is stored"),
                format!(
                    ". Start {names}; in the place of one that is gone for good have the file name another (`on`, `third` in \
                     [sessions]), start that, and `tandem reload` on the others"
                ),
            ));
        }
        let Some(first) = voters.first().filter(|v| v.name == self.view.name()) else {
            let first = voters.first().map_or("none", |voter| &voter.name);
            return Err(Blank::new(
                "blank here: waits for the first session node to form the cluster",
                format!(". Look at the events of {first}, which is the first"),
            ));
        };
        let given_up = self.elsewhere.is_given_up();
        let knew_others = self.look_for_others(&voters, given_up).await?;
        let heard = match self.elsewhere.look(self.view.name(), &self.peers).await {
            Ok(heard) => heard,
            Err(waits) => {
                sleep(LOOK_EVERY).await;
                // It says itself what to do.
                return Err(Blank::new(waits, ""));
            }
        };
        if self.raft.is_initialized().await.unwrap_or(true) {
            self.become_another().await;
            return Ok(());
        }
        members.insert(self.view.id(), member(first));
        let count = members.len();
        let failed = |error: &dyn std::fmt::Display| {
            Blank::new(format!("could not form the cluster: {error}"), "")
        };
        let cluster = draw().map_err(|error| failed(&error))?;
        let belonging = &self.naming.belonging;
        let recorded = belonging.form(cluster).await;
        recorded.map_err(|error| failed(&error))?;
        match self.raft.initialize(members).await {
            Ok(()) => {
                let what =
                    format!("formed the cluster {cluster:016x}: {count} voters, all of them blank");
                let given_up = if given_up {
                    "; what may be stored elsewhere is given up, as ordered"
                } else {
                    ""
                };
                let unheard = match heard.unheard.join(", ") {
                    none if none.is_empty() => none,
                    unheard => format!(
                        "; formed without having heard of {unheard}: what they remember of a tier is not known"
                    ),
                };
                let what = format!("{what}{given_up}{unheard}");
                // At a first start nodes may come one after the other, over minutes.
                if unheard.is_empty() || (heard.is_first && !knew_others) {
                    self.events.info("sessions", what);
                } else {
                    self.events.warning("sessions", what);
                }
                Ok(())
            }
            Err(error) => {
                belonging.leave().await;
                Err(failed(&error))
            }
        }
    }

    /// Ends as who it was, which voted: it is started again as one that has not.
    async fn become_another(&self) {
        let what =
            "blank here but for a vote: it is started again as a new replica, to form the cluster";
        self.events.info("sessions", what);
        // A log that says of an entry that it does not have is lost state. What cannot be written now is tried again.
        if self.log.give_up(1).await.is_ok() {
            let _ = self.raft.shutdown().await;
        }
    }

    /// Whether those that one of the voters remembers, and the file does not name, have no log either; where they are given up,
    /// whether none answers that it has one. Returns whether any voter remembers anybody.
    async fn look_for_others(&self, voters: &[Voter], given_up: bool) -> Result<bool, Blank> {
        let others = voters.iter().filter(|v| v.name != self.view.name());
        let asked = others.map(|v| async move { (v, self.peers.remembered(v, ASK).await) });
        let mut known = vec![(self.view.name(), self.remembered.clone())];
        for (voter, answer) in join_all(asked).await {
            match answer {
                Ok(members) => known.push((&voter.name, members)),
                Err(error) => {
                    let waits = format!("blank here: waits for {} ({error})", voter.name);
                    return Err(Blank::new(waits, format!(". Start {}", voter.name)));
                }
            }
        }
        let mut unnamed = BTreeMap::new();
        let knew_others = known.iter().any(|(_, members)| !members.is_empty());
        for (by, members) in known {
            for other in members {
                if voters.iter().all(|voter| voter.name != other.name) {
                    unnamed.entry(other.name.clone()).or_insert((other, by));
                }
            }
        }
        for (name, (other, by)) in unnamed {
            let why = match self.peers.status_of(&other, ASK).await {
                Ok(status) if !status.initialized => continue,
                Ok(_) if given_up => return Err(Blank::new(self.elsewhere.not_anew(&name), "")),
                Err(_) if given_up => continue,
                Ok(_) => "it holds what is stored".into(),
                Err(why) => why,
            };
            let give_up = self.elsewhere.how_to_give_up(self.view.name());
            return Err(Blank::new(
                format!(
                    "blank here: waits for {name} ({why}), which the file does not name and which voted beside {by} before that \
                     lost its state. Start it; {give_up}"
                ),
                "",
            ));
        }
        Ok(knew_others)
    }

    /// One step towards the file; the next follows at the next look.
    async fn reconcile(&self, waiting: &mut Waiting) -> Result<(), String> {
        let metrics = self.view.metrics();
        if metrics.membership_config != metrics.committed_membership_config {
            return Ok(());
        }
        let membership = metrics.membership_config.membership();
        if membership.get_joint_config().len() > 1 {
            // A change was cut off in its middle, by a change of leader say: it is finished first.
            let finish = ChangeMembers::AddVoterIds(BTreeSet::new());
            return self
                .change(self.raft.change_membership(finish, false))
                .await;
        }
        let file = self.peers.voters();
        let members: BTreeMap<NodeId, Member> = membership
            .nodes()
            .map(|(id, member)| (*id, member.clone()))
            .collect();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let own = self.view.id();
        let alive = voters.iter().copied();
        let alive: BTreeSet<_> = alive
            .filter(|id| *id == own || is_heard(&metrics, *id))
            .collect();
        let here = join_all(
            file.iter()
                .map(|voter| self.who_is(voter, &members, &alive)),
        );
        let mut absent = BTreeMap::new();
        let mut known = BTreeMap::new();
        for (voter, id) in file.iter().zip(here.await) {
            match id {
                Ok(id) => drop(known.insert(voter.name.clone(), id)),
                Err(error) => drop(absent.insert(voter.name.as_str(), error)),
            }
        }
        let here = known;
        if self.naming.belonging.id().get().is_none() {
            self.name(&members, &voters).await;
        }
        let up_to_date = members.keys().copied();
        let situation = Situation {
            members: &members,
            voters: &voters,
            file: &file,
            here: &here,
            up_to_date: &up_to_date
                .filter(|id| is_up_to_date(&metrics, *id))
                .collect(),
            alive: &alive,
        };
        let next = situation.next();
        let waits = match next {
            None => situation.unfinished(&absent),
            Some(_) => None,
        };
        self.note(waits, waiting);
        match next {
            None => Ok(()),
            Some(Step::TakeIn(voter, id)) => {
                let what = "takes it in as a new replica: it catches up before it votes";
                self.events.info(format!("sessions/{}", voter.name), what);
                self.change(self.raft.add_learner(id, member(voter), false))
                    .await
            }
            Some(Step::Vote(next)) => {
                self.change(self.raft.change_membership(next.clone(), false))
                    .await?;
                for id in next.difference(&voters) {
                    let what = "caught up: it votes";
                    self.events
                        .info(format!("sessions/{}", members[id].name), what);
                }
                let named = |member: &Member| file.iter().any(|v| v.name == member.name);
                for id in voters.difference(&next) {
                    if let Some(member) = members.get(id).filter(|member| !named(member)) {
                        let what = "let go of: the file no longer names it";
                        self.events.info(format!("sessions/{}", member.name), what);
                    }
                }
                Ok(())
            }
            Some(Step::Forget(ids)) => {
                let forget = ChangeMembers::RemoveNodes(ids);
                self.change(self.raft.change_membership(forget, false))
                    .await
            }
        }
    }

    /// Has whoever looks know what a change waits for, and tells of it when it lasts.
    fn note(&self, waits: Option<Unfinished>, waiting: &mut Waiting) {
        self.view.set_waits(waits.as_ref().map(ToString::to_string));
        let Some(waits) = waits else {
            *waiting = Waiting::default();
            return;
        };
        let since = *waiting.since.get_or_insert_with(Instant::now);
        if since.elapsed() < WAITS || waiting.told.as_ref() == Some(&waits.names) {
            return;
        }
        self.events.warning("sessions", waits.to_string());
        waiting.told = Some(waits.names);
    }

    /// Who a node of the file is now. A voter that answers as who it is known as needs no question.
    async fn who_is(
        &self,
        voter: &Voter,
        members: &BTreeMap<NodeId, Member>,
        alive: &BTreeSet<NodeId>,
    ) -> Result<NodeId, String> {
        let known = alive.iter().find(|id| {
            let member = members.get(id);
            member.is_some_and(|member| member.name == voter.name)
        });
        match known {
            Some(id) => Ok(*id),
            None => {
                let status = self.peers.status(voter, ASK).await;
                let status = status.map_err(|error| error.to_string())?;
                if status.initialized && !members.contains_key(&status.id) {
                    self.naming.is_ours(voter).await?;
                }
                Ok(status.id)
            }
        }
    }

    /// Has the cluster get an identity, if it can get one now.
    async fn name(&self, members: &BTreeMap<NodeId, Member>, voters: &BTreeSet<NodeId>) {
        let others = voters.iter().filter(|id| **id != self.view.id());
        let others = others.map(|id| {
            let voter = self.peers.voter(members.get(id)?)?;
            Some((*id, voter))
        });
        if let Some(others) = others.collect::<Option<Vec<_>>>() {
            self.naming.decide(&others).await;
        }
    }

    async fn change(
        &self,
        change: impl Future<
            Output = Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>,
        >,
    ) -> Result<(), String> {
        match timeout(CHANGE, change).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no majority took it in time".into()),
        }
    }
}

fn member(voter: &Voter) -> Member {
    Member {
        name: voter.name.clone(),
        address: voter.address.to_string(),
    }
}

fn is_heard(metrics: &Metrics, id: NodeId) -> bool {
    let heard = metrics
        .heartbeat
        .as_ref()
        .and_then(|all| all.get(&id)?.as_ref());
    heard.is_some_and(|at| age(at).as_millis() < super::view::DOWN_AFTER_MS)
}

/// Whether the replica has almost all of the log.
pub fn is_up_to_date(metrics: &Metrics, id: NodeId) -> bool {
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|all| all.get(&id)?.as_ref());
    let last = metrics.last_log_index.unwrap_or(0);
    matched.is_some_and(|m| m.index() + BEHIND > last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_no_tier_is_formed_is_a_warning_when_agents_are_refused_for_long() {
        let blank = Blank::new("blank here: waits for b (refused)", ". Start b");
        let seconds = Duration::from_secs;
        let early = blank.tell(seconds(9), Some(seconds(0)));
        assert_eq!(early, (blank.waits.clone(), false));
        // Nobody has asked, or nobody does any more.
        for turned_away in [None, Some(seconds(5))] {
            assert_eq!(
                blank.tell(seconds(600), turned_away),
                (blank.waits.clone(), false)
            );
        }
        let (what, warns) = blank.tell(seconds(10), Some(seconds(1)));
        assert!(warns);
        assert!(
            what.contains("waits for b (refused); until then no tier is formed")
                && what.ends_with("are refused. Start b"),
            "{what}"
        );
        // There is a tier: whoever asks it is served.
        let taken_in = Blank {
            remedy: None,
            ..blank
        };
        assert!(!taken_in.tell(seconds(600), Some(seconds(0))).1);
    }
}
