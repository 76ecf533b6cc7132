//! Says what changes: who leads, who is down, catching up and full again, and when memory runs short.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tandem_telemetry::Events;

use super::distance::{Distances, FAR};
use super::leaderless::{self, Word};
use super::members::is_up_to_date;
use super::network::Rot;
use super::redundancy::Redundancy;
use super::view::{ClusterView, DOWN_AFTER_MS, Metrics, UP_WITHIN_MS};
use crate::home::let_go;
use crate::log::LogStore;
use crate::machine::Shared;
use crate::node::Raft;
use crate::node::writes::Writes;
use crate::peers::Peers;
use crate::rt::{Instant, age, sleep};
use crate::types::NodeId;

const EVERY: Duration = Duration::from_millis(100);
/// A missing leader is news after so long; an election is shorter.
const LEADERLESS: Duration = Duration::from_secs(1);
/// A voter that is behind, or has caught up, is that for so long before it is news.
const STEADY: Duration = Duration::from_secs(1);
/// After a start it is news later: the other nodes may be starting too.
const LEADERLESS_AT_START: Duration = Duration::from_secs(10);

/// How much of the log is kept. What it and the memory take follows from this, however long writes go on.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// The log may take so many bytes more on disk, or as many as the state takes, before a snapshot lets it be cut.
    pub log: u64,
    /// Newest entries, in bytes, that the log keeps although a snapshot has them, for replicas that are a little behind.
    pub kept: u64,
    /// Between two snapshots, at least.
    pub snapshot_every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            log: 64 * 1024 * 1024,
            kept: 32 * 1024 * 1024,
            snapshot_every: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Full,
    CatchingUp,
    Down,
}

/// How a voter stands.
#[derive(Clone, Copy)]
struct Standing {
    told: Seen,
    /// It has been seen otherwise since then.
    differs: Option<Instant>,
    /// It was told that it is far away.
    is_far: bool,
}

impl Standing {
    const FULL: Self = Self {
        told: Seen::Full,
        differs: None,
        is_far: false,
    };

    /// Takes in what is seen; whether that is news. One that is a moment behind, and at once full again, is none: over a
    /// long way a voter is that many times in a second.
    fn see(&mut self, now: Seen) -> bool {
        if now == self.told {
            self.differs = None;
            return false;
        }
        // Who is down, and who is back, is told apart by times of its own.
        let is_sure = now == Seen::Down || self.told == Seen::Down;
        let since = *self.differs.get_or_insert_with(Instant::now);
        if !is_sure && since.elapsed() < STEADY {
            return false;
        }
        (self.told, self.differs) = (now, None);
        true
    }
}

/// Watches the replica.
pub struct Observer {
    pub raft: Raft,
    pub view: ClusterView,
    pub peers: Arc<Peers>,
    pub replica: Shared,
    pub log: LogStore,
    pub writes: Writes,
    pub events: Events,
    pub limit: u64,
    pub retention: Retention,
    pub rot: Rot,
    pub distances: Distances,
    pub redundancy: Redundancy,
    /// The state directory.
    pub directory: PathBuf,
}

/// Why `name` leads, as far as a node can see. `gap`: for a while nobody did.
fn because(name: &str, term: u64, before: Option<&(String, u64)>, gap: bool) -> String {
    let Some((before, last)) = before else {
        return "the first that is seen from here".into();
    };
    if before == name && *last == term {
        "it is heard again".into()
    } else if before == name {
        "it was elected again, after voters had lost sight of it".into()
    } else if gap {
        format!("{before}, which led before, was not heard from")
    } else {
        format!("{before}, which led before, handed over or lost its majority")
    }
}

impl Observer {
    /// Runs for as long as the replica does.
    pub async fn run(self) {
        let mut last_leader = None;
        // Who led last, also when nobody has for a while.
        let mut known: Option<(String, u64)> = None;
        let mut leaderless: Option<Instant> = None;
        // What was told of that, and when the others were asked.
        let mut word: Option<Word> = None;
        let mut asked = Instant::now();
        let mut led_since: Option<Instant> = None;
        let mut voters: BTreeMap<NodeId, Standing> = BTreeMap::new();
        let mut degraded = false;
        let mut alarmed = false;
        let mut snapshot = Instant::now();
        loop {
            sleep(EVERY).await;
            let metrics = self.view.metrics();
            match self.view.heard_leader(&metrics) {
                Some(member) => {
                    if word.take() == Some(Word::LetGo) {
                        let _ = let_go::unmark(&self.directory);
                    }
                    self.view.set_let_go(false);
                    let gap = leaderless.take();
                    let now = (member.name, metrics.current_term);
                    if last_leader.as_ref() != Some(&now) {
                        let (name, term) = &now;
                        let why = because(name, *term, known.as_ref(), gap.is_some());
                        let what = format!("{name} leads (term {term}): {why}");
                        self.events.info("sessions", what);
                        known = Some(now.clone());
                        last_leader = Some(now);
                    }
                }
                // A blank replica says itself what it waits for.
                None if known.is_some() || metrics.last_log_index.is_some() => {
                    let since = *leaderless.get_or_insert_with(Instant::now);
                    let patience = match known {
                        Some(_) => LEADERLESS,
                        None => LEADERLESS_AT_START,
                    };
                    if since.elapsed() > patience && asked.elapsed() > LEADERLESS {
                        last_leader = None;
                        self.look_around(&mut word).await;
                        asked = Instant::now();
                    }
                }
                None => {}
            }
            if self.view.leads() {
                // Before that nobody can have been heard for long.
                let since = *led_since.get_or_insert_with(Instant::now);
                if since.elapsed().as_millis() > DOWN_AFTER_MS {
                    self.compare(&metrics, &mut voters, &mut degraded);
                }
                let due = {
                    let replica = self.replica.lock();
                    replica.state.has_due(replica.clock.now())
                };
                if due {
                    // Takes out what is over also when nobody writes. What fails is tried again.
                    let _ = self.writes.propose(Vec::new(), 0, Vec::new()).await;
                }
            } else {
                led_since = None;
                voters.clear();
                degraded = false;
                self.redundancy.regained();
            }
            let bytes = self.replica.lock().state.bytes();
            self.alarm(bytes, &mut alarmed);
            if let Some(why) = self.rot.take() {
                let subject = format!("sessions/{}", self.view.name());
                let what = format!(
                    "the snapshot on this node's disk is not what was written ({why}): another one is made of what is in memory; look after this disk"
                );
                self.events.error(subject, what);
                // A replica that has stopped says so above.
                let _ = self.raft.trigger().snapshot().await;
            }
            if self.log.size() > self.retention.kept + self.retention.log.max(bytes)
                && snapshot.elapsed() > self.retention.snapshot_every
            {
                snapshot = Instant::now();
                // A replica that has stopped says so above.
                let _ = self.raft.trigger().snapshot().await;
            }
            self.purge(&metrics).await;
        }
    }

    /// Finds out why no leader is heard from, and tells what is new about that.
    async fn look_around(&self, told: &mut Option<Word>) {
        let word = leaderless::ask(&self.peers, self.view.name(), self.view.id()).await;
        // Who was let go of stays so when nobody leads those who went on without it: until the file names it again, or a leader
        // speaks to it.
        let stays = self.view.is_let_go() && matches!(word, Word::Nobody(_)) && !self.is_named();
        self.view.set_let_go(word == Word::LetGo || stays);
        if word == Word::LetGo && *told != Some(Word::LetGo) {
            // Without it a node that is started anew asks again.
            let _ = let_go::mark(&self.directory);
        }
        if told.as_ref().is_none_or(|told| !word.is_like(told)) {
            word.tell(&self.events);
        }
        *told = Some(word);
    }

    fn is_named(&self) -> bool {
        let voters = self.peers.voters();
        voters.iter().any(|voter| voter.name == self.view.name())
    }

    fn compare(
        &self,
        metrics: &Metrics,
        voters: &mut BTreeMap<NodeId, Standing>,
        degraded: &mut bool,
    ) {
        let membership = metrics.membership_config.membership();
        let ids: Vec<_> = membership.voter_ids().collect();
        voters.retain(|id, _| ids.contains(id));
        for id in ids.iter().copied().filter(|id| *id != self.view.id()) {
            let Some(member) = membership.get_node(&id) else {
                continue;
            };
            let heard = metrics
                .heartbeat
                .as_ref()
                .and_then(|all| all.get(&id)?.as_ref());
            let silent = heard.map_or(u128::MAX, |at| age(at).as_millis());
            let standing = voters.entry(id).or_insert(Standing::FULL);
            let was_down = standing.told == Seen::Down;
            let now = if silent > DOWN_AFTER_MS || (was_down && silent > UP_WITHIN_MS) {
                Seen::Down
            } else if is_up_to_date(metrics, id) {
                Seen::Full
            } else {
                Seen::CatchingUp
            };
            let subject = format!("sessions/{}", member.name);
            let far = self.distances.far(id);
            if let (Some(far), false) = (far, standing.is_far) {
                let what = format!(
                    "takes {} ms to answer a heartbeat: session nodes must answer one another within {} ms, or leaders are \
                     lost again and again",
                    far.as_millis(),
                    FAR.as_millis()
                );
                self.events.warning(&*subject, what);
            }
            standing.is_far = far.is_some();
            if !standing.see(now) {
                continue;
            }
            match now {
                Seen::Down => self
                    .events
                    .warning(subject, "down: it has not answered for a second"),
                Seen::CatchingUp => self
                    .events
                    .info(subject, "answers again, and is catching up"),
                Seen::Full => self.events.info(subject, "full again"),
            }
        }
        let missing = voters.values().filter(|voter| voter.told != Seen::Full);
        let missing = missing.count();
        if *degraded != (missing > 0) {
            *degraded = missing > 0;
            let (full, all) = (ids.len() - missing, ids.len());
            if *degraded {
                self.redundancy.lost();
                let what = format!("degraded: changes are on {full} of {all} voters");
                self.events.warning("sessions", what);
            } else {
                let seconds = self.redundancy.regained().as_secs_f64();
                let what =
                    format!("full redundancy again: {all} of {all} voters, after {seconds:.1} s");
                self.events.info("sessions", what);
            }
        }
    }

    /// Lets go of what a snapshot has, beyond what replicas that are a little behind may need.
    async fn purge(&self, metrics: &Metrics) {
        let beyond = self.log.beyond(self.retention.kept);
        let covered = metrics.snapshot.map(|log_id| log_id.index());
        let upto = beyond.min(covered);
        if upto > metrics.purged.map(|log_id| log_id.index())
            && let Some(upto) = upto
        {
            // A replica that has stopped says so above.
            let _ = self.raft.trigger().purge_log(upto).await;
        }
    }

    fn alarm(&self, bytes: u64, alarmed: &mut bool) {
        let percent = bytes.saturating_mul(100) / self.limit.max(1);
        if !*alarmed && percent >= 80 {
            *alarmed = true;
            let what = format!(
                "memory is {percent} % full: at 100 % writes are refused; raise `memory` in [sessions]"
            );
            self.events.warning("sessions", what);
        } else if *alarmed && percent < 75 {
            *alarmed = false;
            self.events
                .info("sessions", format!("memory is {percent} % full"));
        }
    }
}
