//! Finding the leader, and trying again until there is an answer or no time left.
//!
//! A request goes to the replica that led last. When that does not answer in [`ATTEMPT`] it is suspected: the requests
//! after it do not wait as long for it again, but ask the others, who know of the next leader as soon as there is
//! one. When the others say that the suspect leads, it may be this agent's link alone that is cut: one of them is asked
//! to ask in its place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tandem_net::cluster::LinkError;
use tandem_telemetry::{AgentStatus, Events, Health, VoterStatus};

use super::remember::Due;
use super::sight::Sight;
use crate::peers::{GROUP, Peers, Voter};
use crate::rt::{Instant, sleep};
use crate::served::Served;
use crate::types::{Member, decode, encode};
use crate::wire::{FromAgent, Request, Response};

/// An operation ends after so long, whatever happens.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// One replica may take so long to answer before others are asked.
const ATTEMPT: Duration = Duration::from_millis(350);
/// So long it is asked last.
const SUSPECTED: Duration = Duration::from_secs(1);
/// Before the replicas are asked around again.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(80);
/// Operations of unknown outcome are an event at most so often.
const TELL_UNKNOWN: Duration = Duration::from_secs(10);
/// Without a leader for so long, it is an event.
const TELL: Duration = Duration::from_secs(1);

/// An answer.
pub struct Answered {
    /// What the leader said.
    pub response: Response,
    /// Whether an earlier attempt may have been acted on.
    pub doubtful: bool,
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whether it may have been done.
    pub unknown: bool,
    /// What was tried last, and what came of it.
    pub why: String,
}

/// The way to the leader.
pub struct Route {
    peers: Peers,
    events: Events,
    known: Mutex<Known>,
    counts: Counts,
    sight: Sight,
    due: Due,
    served: Served,
}

/// What the agent's operations came to.
#[derive(Default)]
struct Counts {
    operations: AtomicU64,
    retries: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Default)]
struct Known {
    leader: Option<String>,
    /// The leader by the word of a replica, when the file here does not name it: no longer, or not yet.
    unnamed: Option<Voter>,
    /// Who answered last as a leader, or had one asked.
    reached: Option<String>,
    /// Those that the file named before, until one leads that it names now; and others that voted in the tier that served last.
    former: Vec<Voter>,
    suspects: HashMap<String, Instant>,
    /// When the leader was last reached, and whether its absence was told.
    failing_since: Option<Instant>,
    told: bool,
    /// When an unknown outcome was told last, and how many there have been since.
    unknown_told: Option<Instant>,
    unknown_since: u64,
}

/// What became of one attempt.
enum Attempt {
    Answer(Response),
    /// Not done: go on with this one, if it is known who.
    Elsewhere(Option<String>, String),
    /// Not done: one of the two nodes refused the other, in these words. They say more than that others do not answer.
    Refused(String),
    /// It may have been done: go on, under the same identity.
    Unknown(String),
}

impl Route {
    pub fn new(peers: Peers, events: Events, served: Served) -> Self {
        Self {
            peers,
            events,
            served,
            known: Mutex::default(),
            counts: Counts::default(),
            sight: Sight::default(),
            due: Due::default(),
        }
    }

    /// Whether a leader is reached.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Whether it is to be put on record who serves.
    pub fn due(&self) -> &Due {
        &self.due
    }

    /// When an operation that begins now ends at the latest.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.sight.limit()
    }

    /// Who led last.
    pub fn leader(&self) -> Option<String> {
        self.lock().leader.clone()
    }

    /// Whether all were asked, and none led, since one did.
    pub fn is_searching(&self) -> bool {
        self.lock().failing_since.is_some()
    }

    /// What the operations came to, since the agent started.
    pub fn counted(&self) -> AgentStatus {
        AgentStatus {
            operations: self.counts.operations.load(Relaxed),
            retries: self.counts.retries.load(Relaxed),
            failed: self.counts.failed.load(Relaxed),
            unknown: self.counts.unknown.load(Relaxed),
        }
    }

    /// Counts what has no answer, and tells of outcomes that nobody knows.
    pub fn lost(&self, failure: Failure) -> Failure {
        if !failure.unknown {
            self.counts.failed.fetch_add(1, Relaxed);
            return failure;
        }
        self.counts.unknown.fetch_add(1, Relaxed);
        let mut known = self.lock();
        known.unknown_since += 1;
        if known
            .unknown_told
            .is_none_or(|told| told.elapsed() > TELL_UNKNOWN)
        {
            known.unknown_told = Some(Instant::now());
            let count = std::mem::take(&mut known.unknown_since);
            let what = format!(
                "the outcome of operations is unknown, {count} since this was said last: they may have been done; the last one: {}",
                failure.why
            );
            self.events.warning("sessions/agent", what);
        }
        failure
    }

    /// The replicas as this agent finds them.
    pub fn voters(&self) -> Vec<VoterStatus> {
        let now = Instant::now();
        let known = self.lock();
        let voters = self.peers.voters();
        let status = voters.iter().map(|voter| {
            let suspected = known
                .suspects
                .get(&voter.name)
                .is_some_and(|until| *until > now);
            let health = match (&known.leader, suspected) {
                (_, true) => Health::Down,
                (Some(leader), false) if *leader == voter.name => Health::Up,
                _ => Health::Starting,
            };
            VoterStatus {
                node: voter.name.clone(),
                health,
                matched: None,
                heard_ms: None,
            }
        });
        status.collect()
    }

    /// Has a request answered by the leader before `deadline`. `make` is called for each attempt, for what may change
    /// between them.
    pub async fn ask(
        &self,
        deadline: Instant,
        make: impl FnMut() -> Request,
    ) -> Result<Answered, Failure> {
        self.counts.operations.fetch_add(1, Relaxed);
        let answer = self.search(deadline, make, &self.counts.retries).await;
        answer.map_err(|failure| self.lost(failure))
    }

    /// As [`ask`](Self::ask), for what is nobody's operation.
    pub async fn ask_uncounted(
        &self,
        deadline: Instant,
        make: impl FnMut() -> Request,
    ) -> Result<Answered, Failure> {
        self.search(deadline, make, &AtomicU64::new(0)).await
    }

    async fn search(
        &self,
        deadline: Instant,
        mut make: impl FnMut() -> Request,
        retries: &AtomicU64,
    ) -> Result<Answered, Failure> {
        let mut first = true;
        let mut unknown = false;
        let mut why = String::from("no session node is known");
        let mut refused = None;
        let mut tried: Vec<String> = Vec::new();
        let mut forward = false;
        let mut pause = PAUSE;
        loop {
            let voters = self.candidates();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = refused.unwrap_or(why);
                return Err(Failure { unknown, why });
            }
            let Some(voter) = self.choose(&voters, &tried) else {
                // All were asked and none leads: an election, most likely.
                sleep(pause.min(left)).await;
                pause = (pause * 2).min(PAUSE_MAX);
                tried.clear();
                forward = false;
                self.recall();
                self.failed(refused.as_ref().unwrap_or(&why));
                continue;
            };
            if !std::mem::take(&mut first) {
                retries.fetch_add(1, Relaxed);
            }
            match self
                .attempt(voter, make(), forward, left.min(ATTEMPT))
                .await
            {
                Attempt::Answer(response) => {
                    self.reached(voter, forward);
                    let doubtful = unknown;
                    return Ok(Answered { response, doubtful });
                }
                Attempt::Elsewhere(leader, reason) => {
                    why = reason;
                    let candidates = self.candidates();
                    let is_known = |name: &str| candidates.iter().any(|v| v.name == name);
                    let direct = leader.as_ref().filter(|name| {
                        is_known(name) && !self.is_suspected(name) && !tried.contains(name)
                    });
                    if let Some(name) = direct {
                        self.lock().leader = Some(name.clone());
                        tried.push(voter.name.clone());
                    } else if leader.is_some() && !forward {
                        // It knows a leader that this agent does not reach: it shall ask. Once.
                        forward = true;
                    } else {
                        forward = false;
                        tried.push(voter.name.clone());
                    }
                }
                Attempt::Refused(reason) => {
                    refused = Some(reason);
                    forward = false;
                    tried.push(voter.name.clone());
                }
                Attempt::Unknown(reason) => {
                    unknown = true;
                    why = reason;
                    forward = false;
                    tried.push(voter.name.clone());
                }
            }
        }
    }

    /// Who can be asked: the replicas of the file, and behind them a leader that it does not name, and those that it named
    /// before: they go on until those that it names now have what they hold.
    fn candidates(&self) -> Arc<[Voter]> {
        let named = self.peers.voters();
        let known = self.lock();
        if known.unnamed.is_none() && known.former.is_empty() {
            return named;
        }
        let mut all = named.to_vec();
        for voter in known.unnamed.iter().chain(&known.former) {
            if all.iter().all(|other| other.name != voter.name) {
                all.push(voter.clone());
            }
        }
        all.into()
    }

    /// The file names others from now on than these.
    pub fn follows(&self, before: &[Voter]) {
        let mut known = self.lock();
        for voter in before {
            known.former.retain(|other| other.name != voter.name);
            known.former.push(voter.clone());
        }
    }

    /// None of those that were asked leads: those that voted in the tier that served last are asked, too. The file may name
    /// them on other nodes before it does here, and those that it named let go of.
    fn recall(&self) {
        let Some(tier) = self.served.get() else {
            return;
        };
        let named = self.peers.voters();
        let mut known = self.lock();
        for member in tier.voters {
            let is = |voter: &Voter| voter.name == member.name;
            if let Ok(address) = member.address.parse()
                && !named.iter().chain(&known.former).any(is)
            {
                let name = member.name;
                known.former.push(Voter { name, address });
            }
        }
    }

    /// Remembers where a leader is that the file does not name.
    fn learn(&self, leader: &Member) {
        let is_named = self.peers.voters().iter().any(|v| v.name == leader.name);
        if let Ok(address) = leader.address.parse()
            && !is_named
        {
            let name = leader.name.clone();
            self.lock().unnamed = Some(Voter { name, address });
        }
    }

    /// Whom to ask next: the leader as far as known, then the others, suspects last; `None` when all were tried.
    fn choose<'v>(&self, voters: &'v [Voter], tried: &[String]) -> Option<&'v Voter> {
        let now = Instant::now();
        let known = self.lock();
        let untried = voters.iter().filter(|v| !tried.contains(&v.name));
        untried.min_by_key(|voter| {
            let suspected = known
                .suspects
                .get(&voter.name)
                .is_some_and(|until| *until > now);
            (suspected, known.leader.as_ref() != Some(&voter.name))
        })
    }

    fn is_suspected(&self, name: &str) -> bool {
        let now = Instant::now();
        self.lock()
            .suspects
            .get(name)
            .is_some_and(|until| *until > now)
    }

    async fn attempt(
        &self,
        voter: &Voter,
        request: Request,
        forward: bool,
        limit: Duration,
    ) -> Attempt {
        let at = &voter.name;
        let message = FromAgent {
            group: GROUP,
            forward,
            request,
        };
        let body: Bytes = match encode(&message) {
            Ok(body) => body.into(),
            Err(error) => return Attempt::Elsewhere(None, error.to_string()),
        };
        let link = self.peers.asking(at, voter.address);
        let answer = link.request(body, limit).await;
        let response = answer.map(|answer| decode::<Response>(&answer));
        match response {
            Ok(Ok(Response::NotLeader(leader))) => {
                let leader = leader.filter(|member| member.name != *at);
                if let Some(member) = &leader {
                    self.learn(member);
                }
                let leader = leader.map(|member| member.name);
                let who = leader.as_deref().unwrap_or("nobody");
                let why = format!("{at} says that {who} leads");
                Attempt::Elsewhere(leader, why)
            }
            Ok(Ok(Response::Unavailable(why))) => Attempt::Elsewhere(None, format!("{at}: {why}")),
            Ok(Ok(Response::Unknown(why))) => Attempt::Unknown(format!("{at}: {why}")),
            Ok(Ok(response)) => Attempt::Answer(response),
            Ok(Err(error)) => Attempt::Unknown(format!("{at} gave an unreadable answer: {error}")),
            Err(error) => {
                // A node that asked another and waits in vain is not to blame.
                if !forward && !matches!(error, LinkError::Busy) {
                    self.suspect(at);
                }
                let why = format!("{at}: {error}");
                if error.may_have_been_sent() {
                    Attempt::Unknown(why)
                } else if matches!(error, LinkError::Rejected(_)) {
                    Attempt::Refused(why)
                } else {
                    Attempt::Elsewhere(None, why)
                }
            }
        }
    }

    fn suspect(&self, name: &str) {
        let mut known = self.lock();
        known
            .suspects
            .insert(name.into(), Instant::now() + SUSPECTED);
        if known.leader.as_deref() == Some(name) {
            known.leader = None;
        }
        // Only those who say that it leads know of it.
        known.unnamed.take_if(|voter| voter.name == name);
    }

    fn reached(&self, voter: &Voter, forwarded: bool) {
        self.sight.answered();
        let mut known = self.lock();
        if !forwarded {
            known.suspects.remove(&voter.name);
            if known.leader.as_ref() != Some(&voter.name) {
                known.leader = Some(voter.name.clone());
            }
            known.unnamed.take_if(|other| other.name != voter.name);
            if !known.former.is_empty() && self.peers.names(&voter.name) {
                known.former.clear();
            }
        }
        known.failing_since = None;
        let is_back = std::mem::take(&mut known.told);
        if is_back || known.reached.as_ref() != Some(&voter.name) {
            let is_first = known.reached.replace(voter.name.clone()).is_none();
            // Another leader of the same tier, most likely, unless there was none for long.
            self.due.is_another(is_first || is_back);
        }
        if is_back {
            let what = format!("the agent reaches a leader again, at {}", voter.name);
            self.events.info("sessions/agent", what);
        }
    }

    fn failed(&self, why: &str) {
        let mut known = self.lock();
        let since = *known.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() > TELL && !known.told {
            known.told = true;
            let what = format!("the agent reaches no leader: {why}");
            self.events.warning("sessions/agent", what);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
