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
use crate::home::{Hold, draw, members};
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
/// How often the leader compares the membership with the file.
const RECONCILE_EVERY: Duration = Duration::from_millis(300);
/// A change that the file wants and that cannot go on is news after so long: what is started at the same time may come.
const WAITS: Duration = Duration::from_secs(1);
/// A change of membership that takes longer is looked at anew.
const CHANGE: Duration = Duration::from_secs(10);

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
    async fn form(&self) {
        let mut reminded: Option<(Instant, String)> = None;
        while !self.raft.is_initialized().await.unwrap_or(true) {
            if let Err(waits) = self.try_to_form().await {
                let told = reminded.as_ref();
                if told.is_none_or(|(at, what)| at.elapsed() > REMIND || *what != waits) {
                    self.events.info("sessions", waits.clone());
                    reminded = Some((Instant::now(), waits));
                }
            }
            sleep(FORM_EVERY).await;
        }
    }

    async fn try_to_form(&self) -> Result<(), String> {
        let voters = self.peers.voters();
        let others = voters.iter().filter(|v| v.name != self.view.name());
        let asked = others.map(|v| async move { (v, self.peers.status(v, ASK).await) });
        let mut members = BTreeMap::new();
        let mut silent = Vec::new();
        for (voter, answer) in join_all(asked).await {
            match answer {
                Ok(status) if status.initialized => {
                    return Err("blank here: waits for the leader to take this node in".into());
                }
                Ok(status) => {
                    members.insert(status.id, member(voter));
                }
                Err(error) => silent.push(format!("{} ({error})", voter.name)),
            }
        }
        if !silent.is_empty() {
            let silent = silent.join(", ");
            return Err(format!(
                "blank here: waits for {silent}, which may hold what is stored"
            ));
        }
        let Some(first) = voters.first().filter(|v| v.name == self.view.name()) else {
            return Err("blank here: waits for the first session node to form the cluster".into());
        };
        self.look_for_others(&voters).await?;
        if let Err(waits) = self.elsewhere.look(self.view.name(), &self.peers).await {
            sleep(LOOK_EVERY).await;
            return Err(waits);
        }
        members.insert(self.view.id(), member(first));
        let count = members.len();
        let failed = |error: &dyn std::fmt::Display| format!("could not form the cluster: {error}");
        let cluster = draw().map_err(|error| failed(&error))?;
        let belonging = &self.naming.belonging;
        let recorded = belonging.form(cluster).await;
        recorded.map_err(|error| failed(&error))?;
        match self.raft.initialize(members).await {
            Ok(()) => {
                let what =
                    format!("formed the cluster {cluster:016x}: {count} voters, all of them blank");
                self.events.info("sessions", what);
                Ok(())
            }
            Err(error) => {
                belonging.leave().await;
                Err(failed(&error))
            }
        }
    }

    /// Whether those that one of the voters remembers, and the file does not name, have no log either.
    async fn look_for_others(&self, voters: &[Voter]) -> Result<(), String> {
        let others = voters.iter().filter(|v| v.name != self.view.name());
        let asked = others.map(|v| async move { (v, self.peers.remembered(v, ASK).await) });
        let mut known = vec![(self.view.name(), self.remembered.clone())];
        for (voter, answer) in join_all(asked).await {
            match answer {
                Ok(members) => known.push((&voter.name, members)),
                Err(error) => {
                    return Err(format!("blank here: waits for {} ({error})", voter.name));
                }
            }
        }
        let mut unnamed = BTreeMap::new();
        for (by, members) in known {
            for other in members {
                if voters.iter().all(|voter| voter.name != other.name) {
                    unnamed.entry(other.name).or_insert((other.address, by));
                }
            }
        }
        for (name, (address, by)) in unnamed {
            let answer = match address.parse() {
                Ok(address) => {
                    let voter = Voter {
                        name: name.clone(),
                        address,
                    };
                    let answer = self.peers.status(&voter, ASK).await;
                    answer.map_err(|error| error.to_string())
                }
                Err(_) => Err("no address is known of it".into()),
            };
            let why = match answer {
                Ok(status) if !status.initialized => continue,
                Ok(_) => "it holds what is stored".into(),
                Err(why) => why,
            };
            return Err(format!(
                "blank here: waits for {name} ({why}), which the file does not name and which voted beside {by} before \
                 that lost its state; to give up what is stored there remove {by}'s state directory"
            ));
        }
        Ok(())
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
