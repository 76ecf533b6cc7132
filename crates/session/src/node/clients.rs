//! What agents ask of a replica.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tandem_cache::rules::Expiry;
use tandem_net::cluster::Answer;

use super::elsewhere::Elsewhere;
use super::guard::Guard;
use super::pending::{Held, Pending};
use super::reads::{ReadError, Reads};
use super::view::ClusterView;
use super::writes::{WriteError, Writes};
use crate::home::Belonging;
use crate::machine::{Replica, Shared};
use crate::peers::{GROUP, Peers};
use crate::rt::{Instant, blocking};
use crate::served::Tier;
use crate::state::{Change, Command, Item, Key, Operation, Outcome, Wanted, cost, grave_cost};
use crate::types::{Member, decode, encode};
use crate::wire::{Belongs, FromAgent, Holder, MAX_OPERATIONS, Request, Response};

/// The items of one answer stop at about so many bytes; the agent asks for the rest. One that is much larger takes so
/// long to arrive, when others are on the same way, that it is asked for again.
const ANSWER_BYTES: usize = 1024 * 1024;
/// Asking the leader on an agent's behalf takes at most this long.
const FORWARD: Duration = Duration::from_millis(250);
/// A leader that did not answer is not asked again for so long: its silence must not cost each operation anew.
const UNANSWERED: Duration = Duration::from_secs(1);

/// A delete of a key that there is not is refused when guarded keys take more than one part in so many of the memory: they would
/// keep from it what is to be stored. One of a key that there is goes through, always.
const GRAVES: u64 = 4;

/// Answers agents.
pub struct Clients {
    pub view: ClusterView,
    pub replica: Shared,
    pub reads: Reads,
    pub writes: Writes,
    pub peers: Arc<Peers>,
    pub guard: Guard,
    /// Bytes that items may take on each voter.
    pub limit: u64,
    /// Bytes that proposed and not yet applied changes may add.
    pub pending: Pending,
    /// A leader that did not answer when it was asked for an agent, and when.
    pub unanswered: Mutex<Option<(String, Instant)>>,
    /// Who voted beside this replica before it lost its state.
    pub remembered: Vec<Member>,
    /// The cluster that this replica is part of.
    pub belonging: Arc<Belonging>,
    /// What a blank replica knows.
    pub elsewhere: Arc<Elsewhere>,
    /// This node is stopping: nobody should hand anything over to it.
    pub leaving: AtomicBool,
}

impl Clients {
    /// Answers one request.
    pub fn answer(self: &Arc<Self>, body: &[u8]) -> Answer<impl Future<Output = Bytes> + use<>> {
        let known = match decode::<FromAgent>(body) {
            Ok(message) => match self.at_once(&message) {
                Some(response) => response,
                None => return Answer::Later(self.clone().later(message)),
            },
            Err(error) => Response::Malformed(error.to_string()),
        };
        Answer::Now(encoded(&known))
    }

    /// What can be said without waiting for anything.
    fn at_once(&self, message: &FromAgent) -> Option<Response> {
        if message.group != GROUP {
            return Some(Response::Malformed("there is no such group".into()));
        }
        match &message.request {
            Request::Status => Some(self.status()),
            Request::Remembered => Some(Response::Remembered(self.remembered.clone())),
            Request::Belongs => Some(self.belongs()),
            Request::Holder => Some(Response::Holder(self.holder())),
            Request::Read(keys) => self.known(keys, None),
            Request::ReadWithin(keys, most) => self.known(keys, Some(*most)),
            Request::Fit(keys, bytes) if self.view.leads() => {
                Some(Response::Fit(fitting(&self.replica.lock(), keys, *bytes)))
            }
            _ => None,
        }
    }

    /// The items under `keys`, if this leader may answer at once.
    fn known(&self, keys: &[Key], most: Option<u64>) -> Option<Response> {
        let replica = self.replica.lock();
        let is_ready = self.reads.is_ready(&replica);
        is_ready.then(|| items(&replica, keys, most)).flatten()
    }

    fn status(&self) -> Response {
        if self.leaving.load(Relaxed) {
            return Response::Unavailable("the node is stopping".into());
        }
        Response::Status(Box::new(self.view.status(&self.replica, self.limit)))
    }

    fn holder(&self) -> Option<Holder> {
        if self.view.takes_part() {
            return Some(Holder::Here);
        }
        self.elsewhere.holder()
    }

    /// The tier that this replica leads, for those that put it on record: as it was decided, and not by a leader that there is
    /// another behind.
    async fn tier(&self) -> Option<Tier> {
        self.until_ready().await.ok()?;
        let cluster = self.belonging.id().get()?;
        let (decided, voters) = self.view.voters_decided()?;
        let now = |member: Member| {
            let address = self.peers.address(&member);
            let address = address.map_or(member.address, |address| address.to_string());
            Member { address, ..member }
        };
        let mut voters: Vec<_> = voters.into_iter().map(now).collect();
        voters.sort_by(|one, other| one.name.cmp(&other.name));
        Some(Tier {
            cluster,
            decided,
            voters,
        })
    }

    fn belongs(&self) -> Response {
        // In this order: what was being decided may be decided meanwhile.
        let is_deciding = self.belonging.is_deciding();
        Response::Belongs(Belongs {
            replica: self.view.id(),
            cluster: self.belonging.id().get(),
            is_deciding,
        })
    }

    async fn later(self: Arc<Self>, message: FromAgent) -> Bytes {
        if !message.forward || self.view.leads() {
            return encoded(&self.response(message.request).await);
        }
        match Box::pin(self.forward(message.request)).await {
            Ok(answer) => answer,
            Err(response) => encoded(&response),
        }
    }

    /// What is rare is boxed: it would make the future of every operation as large as its own.
    async fn response(&self, request: Request) -> Response {
        match request {
            Request::Status => self.status(),
            Request::Remembered => Response::Remembered(self.remembered.clone()),
            Request::Belongs => self.belongs(),
            Request::Holder => Response::Holder(self.holder()),
            _ if !self.view.leads() => {
                self.view.turns_away();
                Response::NotLeader(self.view.leader())
            }
            Request::Knows(id) => Response::Knows(self.view.knows(id)),
            Request::Tier => Response::Tier(self.tier().await),
            Request::Register(nonce) => {
                self.propose(vec![Change::Register { nonce }], 24, Vec::new())
                    .await
            }
            Request::Operate(operations) if operations.len() > MAX_OPERATIONS => {
                Response::Malformed("too many operations in one request".into())
            }
            Request::Operate(operations) => self.operate(operations).await,
            Request::Read(keys) => Box::pin(self.read(&keys, None)).await,
            Request::ReadWithin(keys, most) => Box::pin(self.read(&keys, Some(most))).await,
            Request::Find(wanted) => Box::pin(self.find(wanted)).await,
            Request::Fit(keys, bytes) => Response::Fit(fitting(&self.replica.lock(), &keys, bytes)),
        }
    }

    /// Asks the leader what an agent asked here because it cannot reach the leader.
    async fn forward(&self, request: Request) -> Result<Bytes, Response> {
        let leader = self.view.leader();
        let address = leader
            .as_ref()
            .and_then(|member| self.peers.address(member));
        let (Some(leader), Some(address)) = (leader, address) else {
            return Err(Response::NotLeader(None));
        };
        if let Some((name, at)) = &*self.unanswered()
            && *name == leader.name
            && at.elapsed() < UNANSWERED
        {
            return Err(Response::Unavailable(format!("{name} does not answer")));
        }
        let message = FromAgent {
            group: GROUP,
            forward: false,
            request,
        };
        let body = encode(&message).map_err(|error| Response::Malformed(error.to_string()))?;
        let link = self.peers.asking(&leader.name, address);
        link.request(body.into(), FORWARD).await.map_err(|error| {
            *self.unanswered() = Some((leader.name.clone(), Instant::now()));
            let why = format!("{} asked {}: {error}", self.view.name(), leader.name);
            if error.may_have_been_sent() {
                Response::Unknown(why)
            } else {
                Response::Unavailable(why)
            }
        })
    }

    fn unanswered(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn operate(&self, operations: Vec<Operation>) -> Response {
        // Some may not be worth an entry: that is seen by a read.
        if operations.iter().any(|o| is_life_extension(&o.command))
            && let Err(error) = self.until_ready().await
        {
            return read_error(error);
        }
        let mut outcomes = Vec::with_capacity(operations.len());
        let mut changes = Vec::new();
        let mut weight = 0;
        let mut held = Vec::new();
        let now = {
            let replica = self.replica.lock();
            let clock = replica.clock.now();
            for mut operation in operations {
                let known = self.shortcut(&replica, clock, &mut operation, &mut held);
                if known.is_none() {
                    weight += operation.command.weight();
                    changes.push(Change::Operation(operation));
                }
                outcomes.push(known);
            }
            clock
        };
        if changes.is_empty() {
            let outcomes = outcomes.into_iter().flatten().collect();
            return Response::Outcomes { now, outcomes };
        }
        #[cfg(test)]
        if let Some(response) = self.acknowledge_early(now, &changes, weight) {
            return response;
        }
        match self.propose(changes, weight, held).await {
            Response::Outcomes {
                now,
                outcomes: applied,
            } => {
                let mut applied = applied.into_iter();
                let outcomes = outcomes
                    .into_iter()
                    .filter_map(|known| known.or_else(|| applied.next()));
                Response::Outcomes {
                    now,
                    outcomes: outcomes.collect(),
                }
            }
            other => other,
        }
    }

    /// A deliberately broken variant: a plain `set` is acknowledged when it is proposed.
    #[cfg(test)]
    fn acknowledge_early(&self, now: u64, changes: &[Change], weight: usize) -> Option<Response> {
        let is_set = |change: &Change| {
            let Change::Operation(operation) = change else {
                return false;
            };
            let mode = crate::state::Mode::Set;
            matches!(&operation.command, Command::Store { mode: m, .. } if *m == mode)
        };
        if !crate::sim::is_broken(crate::sim::Broken::AcknowledgedBeforeCommit)
            || !changes.iter().all(is_set)
        {
            return None;
        }
        let (writes, proposed) = (self.writes.clone(), changes.to_vec());
        crate::rt::spawn(async move { writes.propose(proposed, weight, Vec::new()).await });
        Some(Response::Outcomes {
            now,
            outcomes: vec![Outcome::Stored; changes.len()],
        })
    }

    /// What can be said of a command without an entry; else it is made ready for one.
    fn shortcut(
        &self,
        replica: &Replica,
        clock: u64,
        operation: &mut Operation,
        held: &mut Vec<Held>,
    ) -> Option<Outcome> {
        let state = &replica.state;
        if let Some((key, guard)) = operation.command.guard() {
            *guard = self.guard.hold(key);
            // Where an item goes, what is left of it takes no more room than it did.
            let need = match state.get(key) {
                None if *guard > 0 && !state.is_buried(key) => grave_cost(key),
                _ => return None,
            };
            if let Some(again) = self.pending.again(operation) {
                held.push(again);
                return None;
            }
            let is_full = state.bytes() + self.pending.bytes() + need > self.limit;
            if is_full || state.buried() + need > self.limit / GRAVES {
                let why = "too many keys that there were not are guarded after a delete";
                return Some(Outcome::Refused(why.into()));
            }
            held.push(self.pending.hold(operation, need));
            return None;
        }
        let command = &operation.command;
        if let (Some(key), Some(value)) = (command.key(), command.value()) {
            if let Some(again) = self.pending.again(operation) {
                held.push(again);
                return None;
            }
            // What is put behind or before a value comes to it; what is stored takes the place of what is there.
            let (need, there) = if command.joins() {
                (value.len() as u64, 0)
            } else {
                let there = state.get(key).map_or(0, |item| item.cost(key));
                (cost(key.len(), value.len()), there)
            };
            let used = state.bytes() + self.pending.bytes();
            if used + need > self.limit.saturating_add(there) {
                return Some(Outcome::Refused("out of memory storing object".into()));
            }
            held.push(self.pending.hold(operation, need));
            return None;
        }
        match command {
            Command::Touch { key, life } | Command::GetAndTouch { key, life } => {
                let item = state.get(key)?;
                if state.is_unsettled(key, clock) || !lives_long_enough(item, clock, *life) {
                    return None;
                }
                Some(match command {
                    Command::GetAndTouch { .. } => Outcome::Hit(item.clone()),
                    _ => Outcome::Touched,
                })
            }
            _ => None,
        }
    }

    /// Waits until the state here has everything that was acknowledged before this call.
    async fn until_ready(&self) -> Result<(), ReadError> {
        if self.reads.is_ready(&self.replica.lock()) {
            return Ok(());
        }
        self.reads.ready().await
    }

    async fn propose(&self, changes: Vec<Change>, weight: usize, held: Vec<Held>) -> Response {
        match self.writes.propose(changes, weight, held).await {
            Ok(outcomes) => Response::Outcomes {
                now: self.replica.lock().clock.now(),
                outcomes,
            },
            Err(WriteError::NotLeader(leader)) => Response::NotLeader(leader),
            Err(WriteError::Unavailable(why)) => Response::Unavailable(why),
            Err(WriteError::Unknown(why)) => Response::Unknown(why),
        }
    }

    async fn read(&self, keys: &[Key], most: Option<u64>) -> Response {
        // Twice at most: an entry that settles what the clock has overtaken moves the state's clock past it.
        for _ in 0..2 {
            if let Err(error) = self.until_ready().await {
                return read_error(error);
            }
            let known = items(&self.replica.lock(), keys, most);
            if let Some(response) = known {
                return response;
            }
            if let Err(error) = self.writes.propose(Vec::new(), 0, Vec::new()).await {
                return match error {
                    WriteError::NotLeader(leader) => Response::NotLeader(leader),
                    WriteError::Unavailable(why) | WriteError::Unknown(why) => {
                        Response::Unavailable(why)
                    }
                };
            }
        }
        Response::Unavailable("the keys changed too fast to be read".into())
    }

    /// Looks through the keyspace as it is now, beside what serves.
    async fn find(&self, wanted: Wanted) -> Response {
        if let Err(error) = self.until_ready().await {
            return read_error(error);
        }
        let (view, now) = {
            let replica = self.replica.lock();
            (replica.state.view(), replica.clock.now())
        };
        match blocking(move || Ok(view.find(&wanted, now))).await {
            Ok(found) => Response::Found(Box::new(found)),
            Err(error) => Response::Unavailable(error.to_string()),
        }
    }
}

/// The items under `keys`, with no more than `most` bytes of values; `None` when the answer waits for an entry.
fn items(replica: &Replica, keys: &[Key], most: Option<u64>) -> Option<Response> {
    let now = replica.clock.now();
    let mut items = Vec::with_capacity(keys.len());
    let mut bytes = 0;
    for key in keys {
        if replica.state.is_unsettled(key, now) {
            return None;
        }
        let item = replica.state.get(key).cloned();
        bytes += item.as_ref().map_or(0, |item| item.value.len());
        if most.is_some_and(|most| bytes as u64 > most) {
            break;
        }
        items.push(item);
        if bytes >= ANSWER_BYTES {
            break;
        }
    }
    Some(Response::Items { now, items })
}

/// How many of the first keys have values of no more than `bytes` together.
fn fitting(replica: &Replica, keys: &[Key], bytes: u64) -> usize {
    let mut left = bytes;
    let fits = |key: &&Key| {
        let size = replica.state.get(key).map_or(0, |item| item.value.len());
        let rest = left.checked_sub(size as u64);
        rest.inspect(|rest| left = *rest).is_some()
    };
    keys.iter().take_while(fits).count()
}

/// A response of ours can be encoded; an empty answer is unreadable for the agent, and so as good as none.
fn encoded(response: &Response) -> Bytes {
    encode(response).unwrap_or_default().into()
}

fn read_error(error: ReadError) -> Response {
    match error {
        ReadError::NotLeader(leader) => Response::NotLeader(leader),
        ReadError::Unavailable(why) => Response::Unavailable(why),
    }
}

fn is_life_extension(command: &Command) -> bool {
    matches!(command, Command::Touch { .. } | Command::GetAndTouch { .. })
}

/// Whether an item has more than 95 % of the wanted life before it, and not more than is wanted: then a touch changes
/// too little to be worth an entry.
fn lives_long_enough(item: &Item, now: u64, life: Option<u64>) -> bool {
    match (Expiry::at(item.expiry).remaining(now), life) {
        (None, None) => true,
        (Some(left), Some(life)) => left <= life && left > life - life / 20,
        _ => false,
    }
}
