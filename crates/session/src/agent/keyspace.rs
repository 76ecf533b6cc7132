//! The keyspace as the memcached server loop serves it: each operation is asked of the leader.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use tandem_cache::rules::Expiry;
use tandem_memcache::extended::by_ops;
use tandem_memcache::{
    Action, Answer, Extended, Fit, Hit, Keyspace, Lifetime, MAX_VALUE, Mode, Op, Reply, Sink,
};

use super::Agent;
use super::route::{Answered, Failure};
use crate::rt::{Instant, random, sleep, timeout};
use crate::state::{
    AgentId, Command, Compared, InvalidKey, Item, Key, Operation, Outcome, TOO_MANY_VALUES,
};
use crate::wire::{Request, Response};

/// Operations of one request that answer with the item: what they find, at most a mebibyte each, comes in one frame,
/// and the keyspace holds it until it has arrived, which it does for so many and no more.
const MAX_HITS: usize = 4;
/// A value up to this size is stored without room being kept for it.
const SMALL: usize = 64 * 1024;
/// What is on its way to the leader is there so often: the command, its message, the link's buffer.
const COPIES: usize = 3;
/// Values that one answer to a read comes to at most: a leader adds none when it has gathered as much as the largest.
const MOST_READ: usize = 2;
/// So long it may take to learn which values are small, before there is room for any.
const QUICKLY: Duration = Duration::from_millis(500);
/// Between two tries of such a request when the keyspace holds as much as it may.
const CROWDED: Duration = Duration::from_millis(2);

/// The replicated keyspace, for one worker. Cheap to clone.
#[derive(Clone)]
pub struct AgentKeyspace(Agent);

impl Keyspace for AgentKeyspace {
    fn call<'a>(&'a self, op: Op<'a>, sink: &'a mut dyn Sink) -> Answer<'a> {
        Answer::Later(Box::pin(async move {
            match self.operate(op, sink).await {
                Ok(reply) | Err(reply) => reply,
            }
        }))
    }

    fn takes(&self, op: &Op<'_>) -> usize {
        match op {
            Op::Get { keys } => keys.len().min(MOST_READ) * MAX_VALUE,
            Op::GetAndTouch { keys, .. } => keys.len().min(MAX_HITS) * MAX_VALUE,
            Op::Store { value, .. } if value.len() > SMALL => value.len() * COPIES,
            _ => 0,
        }
    }

    fn get_within<'a>(
        &'a self,
        wanted: &'a [&'a [u8]],
        bytes: usize,
        sink: &'a mut dyn Sink,
    ) -> Answer<'a> {
        Answer::Later(Box::pin(async move {
            let found = async { self.read(keys(wanted)?, Some(bytes), sink).await };
            match found.await {
                Ok(reply) | Err(reply) => reply,
            }
        }))
    }

    fn fit<'a>(&'a self, wanted: &'a [&'a [u8]], bytes: usize) -> Fit<'a> {
        Box::pin(async move {
            let Ok(keys) = keys(wanted) else {
                // Asking for them says why not, and finds nothing.
                return wanted.len();
            };
            let deadline = Instant::now() + QUICKLY;
            let bytes = bytes as u64;
            let answer = self.ask(deadline, || Request::Fit(keys.clone(), bytes));
            match answer.await.map(|answered| answered.response) {
                Ok(Response::Fit(count)) => count,
                _ => 0,
            }
        })
    }

    fn extended<'a>(&'a self, op: Extended<'a>, sink: &'a mut dyn Sink) -> Answer<'a> {
        Answer::Later(Box::pin(async move {
            let Some(change) = compared(&op) else {
                return by_ops(self, op, sink).await;
            };
            match self.compare(&op, change).await {
                Ok(reply) | Err(reply) => reply,
            }
        }))
    }
}

/// What is to be done if the item has the version that `op` compares with; `None`: it compares nothing, or [`Op`]s
/// express it, or nothing here does.
fn compared(op: &Extended<'_>) -> Option<Compared> {
    if op.compare.is_none() || op.new_version.is_some() || op.details {
        return None;
    }
    Some(match op.action {
        Action::Delete {
            invalidate: false,
            clear: false,
            ..
        } => Compared::Delete { guard: 0 },
        Action::Arithmetic {
            delta,
            down,
            life: None,
            ..
        } => Compared::Arithmetic { delta, down },
        Action::Store {
            mode,
            value,
            invalidate: false,
            vivify: None,
            ..
        } => {
            let value = Bytes::copy_from_slice(value);
            match mode {
                Mode::Append => Compared::Append { value },
                Mode::Prepend => Compared::Prepend { value },
                _ => return None,
            }
        }
        _ => return None,
    })
}

fn server_error(text: String) -> Reply {
    Reply::ServerError(Cow::Owned(text))
}

impl From<InvalidKey> for Reply {
    fn from(error: InvalidKey) -> Self {
        Self::ClientError(Cow::Owned(error.to_string()))
    }
}

fn keys(keys: &[&[u8]]) -> Result<Vec<Key>, Reply> {
    Ok(keys
        .iter()
        .map(|key| Key::try_from(*key))
        .collect::<Result<_, _>>()?)
}

fn life(life: Lifetime) -> Option<u64> {
    match life {
        Lifetime::Forever => None,
        Lifetime::Millis(ms) => Some(ms),
    }
}

impl AgentKeyspace {
    pub(super) fn new(agent: Agent) -> Self {
        Self(agent)
    }

    /// Both sides are replies; the wrong one cuts the way short.
    async fn operate(&self, op: Op<'_>, sink: &mut dyn Sink) -> Result<Reply, Reply> {
        let command = match op {
            Op::Get { keys: wanted } => return self.read(keys(wanted)?, None, sink).await,
            Op::GetAndTouch {
                keys: wanted,
                life: l,
            } => {
                return self.get_and_touch(keys(wanted)?, life(l), sink).await;
            }
            Op::Stats { .. } => return self.stats().await,
            Op::Store {
                mode,
                key,
                flags,
                life: l,
                value,
            } => Command::Store {
                mode: mode.into(),
                key: Key::try_from(key)?,
                flags,
                life: life(l),
                value: Bytes::copy_from_slice(value),
            },
            Op::Delete { key } => Command::Delete {
                key: Key::try_from(key)?,
                guard: 0,
            },
            Op::Touch { key, life: l } => Command::Touch {
                key: Key::try_from(key)?,
                life: life(l),
            },
            Op::Arithmetic { key, delta, down } => Command::Arithmetic {
                key: Key::try_from(key)?,
                delta,
                down,
            },
            Op::FlushAll { delay } => Command::FlushAll { delay },
        };
        self.carry_out(command).await
    }

    /// As `operate`, for what compares.
    async fn compare(&self, op: &Extended<'_>, change: Compared) -> Result<Reply, Reply> {
        let command = Command::Compared {
            key: Key::try_from(op.key)?,
            version: op.compare.unwrap_or_default(),
            change,
        };
        let reply = self.carry_out(command).await?;
        let (
            Reply::NotFound,
            Action::Arithmetic {
                create: Some((l, initial)),
                ..
            },
        ) = (&reply, op.action)
        else {
            return Ok(reply);
        };
        // Without an item there is nothing to compare with: the number begins.
        let add = Command::Store {
            mode: Mode::Add.into(),
            key: Key::try_from(op.key)?,
            flags: 0,
            life: life(l),
            value: initial.to_string().into(),
        };
        Ok(match self.carry_out(add).await? {
            Reply::Stored => Reply::Number(initial),
            // One that another began meanwhile is of another version.
            Reply::NotStored => Reply::Exists,
            other => other,
        })
    }

    /// Has one command applied, and says what came of it.
    async fn carry_out(&self, command: Command) -> Result<Reply, Reply> {
        let (_, mut outcomes) = self.change(vec![command]).await?;
        Ok(match outcomes.pop() {
            Some(Outcome::Stored) => Reply::Stored,
            Some(Outcome::NotStored) => Reply::NotStored,
            Some(Outcome::Exists) => Reply::Exists,
            Some(Outcome::NotFound) => Reply::NotFound,
            Some(Outcome::Deleted) => Reply::Deleted,
            Some(Outcome::Touched) => Reply::Touched,
            Some(Outcome::Number(number)) => Reply::Number(number),
            Some(Outcome::Ok) => Reply::Ok,
            Some(Outcome::Invalid(text)) => Reply::ClientError(text),
            Some(Outcome::Refused(text)) => Reply::ServerError(text),
            other => server_error(format!("outcome unknown (an unexpected answer: {other:?})")),
        })
    }

    /// One round. When the items are too large for one answer, what came is shown, and whoever serves the client asks for
    /// the rest when that is written: nothing here gathers more than one answer.
    async fn read(
        &self,
        wanted: Vec<Key>,
        most: Option<usize>,
        sink: &mut dyn Sink,
    ) -> Result<Reply, Reply> {
        if wanted.is_empty() {
            return Ok(Reply::End);
        }
        let deadline = self.0.0.route.deadline();
        let question = || match most {
            None => Request::Read(wanted.clone()),
            Some(most) => Request::ReadWithin(wanted.clone(), most as u64),
        };
        let answer = self.ask(deadline, question).await;
        let least = usize::from(most.is_none());
        let (now, items) = match answer.map(|answered| answered.response) {
            Ok(Response::Items { now, items }) if (least..=wanted.len()).contains(&items.len()) => {
                (now, items)
            }
            // A leader of an older version does not know the question.
            Ok(Response::Malformed(_)) if most.is_some() => return Ok(Reply::Partly(0)),
            Ok(other) => return Err(unexpected(&other)),
            Err(failure) => return Err(unreadable(&failure)),
        };
        let answered = items.len();
        for (key, item) in wanted.iter().zip(&items) {
            if let Some(item) = item {
                show(key, item, now, sink);
            }
        }
        Ok(up_to(answered, wanted.len()))
    }

    async fn get_and_touch(
        &self,
        wanted: Vec<Key>,
        life: Option<u64>,
        sink: &mut dyn Sink,
    ) -> Result<Reply, Reply> {
        // The rest is for the next call, as with `read`.
        let keys = &wanted[..wanted.len().min(MAX_HITS)];
        let touch = |key: &Key| Command::GetAndTouch {
            key: key.clone(),
            life,
        };
        let commands: Vec<_> = keys.iter().map(touch).collect();
        let (now, outcomes) = self.change_in_turn(commands).await?;
        for (key, outcome) in keys.iter().zip(outcomes) {
            match outcome {
                Outcome::Hit(item) => show(key, &item, now, sink),
                Outcome::NotFound => {}
                // Whoever serves the client takes back what was shown of this call.
                Outcome::Refused(text) => return Err(Reply::ServerError(text)),
                other => return Err(server_error(format!("cannot be read now ({other:?})"))),
            }
        }
        Ok(up_to(keys.len(), wanted.len()))
    }

    /// As `change`, and again when the keyspace has no room for what would be found, until it has. Nobody is told so who
    /// only came at the same time as others.
    async fn change_in_turn(&self, commands: Vec<Command>) -> Result<(u64, Vec<Outcome>), Failure> {
        let deadline = self.0.0.route.deadline();
        let is_crowded = |outcomes: &[Outcome]| {
            let told = |o: &Outcome| matches!(o, Outcome::Refused(why) if why == TOO_MANY_VALUES);
            outcomes.iter().any(told)
        };
        let mut turn = None;
        loop {
            let (now, outcomes) = self.change(commands.clone()).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !is_crowded(&outcomes) {
                return Ok((now, outcomes));
            }
            if turn.is_some() {
                sleep(CROWDED.min(left)).await;
                continue;
            }
            match timeout(left, self.0.0.identity.crowded.lock()).await {
                Ok(mine) => turn = Some(mine),
                Err(_) => return Ok((now, outcomes)),
            }
        }
    }

    async fn ask(
        &self,
        deadline: Instant,
        make: impl FnMut() -> Request,
    ) -> Result<Answered, Failure> {
        self.0.0.route.ask(deadline, make).await
    }

    /// Has commands applied, each exactly once however often they are sent.
    pub(super) async fn change(
        &self,
        commands: Vec<Command>,
    ) -> Result<(u64, Vec<Outcome>), Failure> {
        let identity = &self.0.0.identity;
        let deadline = self.0.0.route.deadline();
        // An identity that was forgotten while the agent had nothing to do is renewed, once.
        let mut renewed = false;
        loop {
            let mut tickets = Vec::with_capacity(commands.len());
            while tickets.len() < commands.len() {
                match identity.open() {
                    Some(ticket) => tickets.push(ticket),
                    None => self.register(deadline).await?,
                }
            }
            let Some(agent) = tickets.first().map(|ticket| ticket.agent) else {
                return Ok((0, Vec::new()));
            };
            if tickets.iter().any(|ticket| ticket.agent != agent) {
                continue;
            }
            let answer = self.ask(deadline, || {
                let operations = tickets
                    .iter()
                    .zip(&commands)
                    .map(|(ticket, command)| Operation {
                        agent,
                        sequence: ticket.sequence,
                        lowest_open: ticket.lowest_open(),
                        command: command.clone(),
                    });
                Request::Operate(operations.collect())
            });
            let Answered { response, doubtful } = match answer.await {
                Ok(answered) => answered,
                Err(failure) => return Err(failure),
            };
            let (now, outcomes) = match response {
                Response::Outcomes { now, outcomes } if outcomes.len() == commands.len() => {
                    self.0.0.route.due().on_record(deadline).await;
                    (now, outcomes)
                }
                other => {
                    let Failure { unknown, why } = strange(&other);
                    let unknown = unknown || doubtful;
                    return Err(self.0.0.route.lost(Failure { unknown, why }));
                }
            };
            if doubtful && let Some(why) = outcomes.iter().find_map(refused) {
                // A leader that has no memory for it has not looked whether an earlier attempt is on its way.
                let why = format!("an earlier attempt has no answer, this one: {why}");
                return Err(self.0.0.route.lost(Failure { unknown: true, why }));
            }
            if !outcomes
                .iter()
                .any(|o| matches!(o, Outcome::UnknownAgent | Outcome::Closed))
            {
                return Ok((now, outcomes));
            }
            identity.forget(agent);
            let nothing_done = outcomes.iter().all(|o| *o == Outcome::UnknownAgent);
            if renewed || doubtful || !nothing_done {
                // An earlier attempt may have been applied before the identity was forgotten.
                let why = "the agent's identity was forgotten".into();
                return Err(self.0.0.route.lost(Failure { unknown: true, why }));
            }
            renewed = true;
        }
    }

    async fn register(&self, deadline: Instant) -> Result<(), Failure> {
        let identity = &self.0.0.identity;
        let _one_at_a_time = identity.registering.lock().await;
        if identity.is_known() {
            return Ok(());
        }
        let not_done = |why: String| Failure {
            unknown: false,
            why,
        };
        let nonce = random().map_err(|error| not_done(format!("no random numbers: {error}")))?;
        // A number that was given and not learnt of is never used: no harm.
        let answer = self.ask(deadline, || Request::Register(nonce)).await;
        match answer.map(|answered| answered.response) {
            Ok(Response::Outcomes { outcomes, .. }) => match outcomes[..] {
                [Outcome::Registered(number)] => {
                    identity.set(AgentId { number, nonce });
                    Ok(())
                }
                _ => Err(not_done("the agent was given no identity".into())),
            },
            Ok(other) => Err(not_done(strange(&other).why)),
            // No operation was sent yet.
            Err(Failure { why, .. }) => Err(not_done(why)),
        }
    }

    async fn stats(&self) -> Result<Reply, Reply> {
        let deadline = self.0.0.route.deadline();
        let answer = self.ask(deadline, || Request::Status).await;
        let status = match answer.map(|answered| answered.response) {
            Ok(Response::Status(status)) => status,
            Ok(other) => return Err(unexpected(&other)),
            Err(failure) => return Err(unreadable(&failure)),
        };
        let leader = status
            .leader
            .map_or_else(|| "none".into(), |member| member.name);
        let lines = [
            ("curr_items", status.items.to_string()),
            ("bytes", status.bytes.to_string()),
            ("limit_maxbytes", status.limit.to_string()),
            ("evictions", "0".into()),
            ("tandem_answered_by", status.name),
            ("tandem_leader", leader),
            ("tandem_term", status.term.to_string()),
            ("tandem_applied", status.applied.to_string()),
        ];
        let lines = lines
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Ok(Reply::Stats(lines.collect()))
    }
}

fn unreadable(failure: &Failure) -> Reply {
    server_error(format!("cannot be read now ({})", failure.why))
}

fn unexpected(response: &Response) -> Reply {
    unreadable(&strange(response))
}

/// An answer that has nothing to do with the question.
fn strange(response: &Response) -> Failure {
    match response {
        // Nothing of a request is done that cannot be read: a node of an older version does not know all of them.
        Response::Malformed(why) => Failure {
            unknown: false,
            why: format!(
                "the leader cannot read the request, it may be of an older version: {why}"
            ),
        },
        _ => Failure {
            unknown: true,
            why: "an unexpected answer".into(),
        },
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        let what = if failure.unknown {
            "outcome unknown"
        } else {
            "not stored"
        };
        server_error(format!("{what} ({})", failure.why))
    }
}

/// Why an operation was refused, unless that was judged when it was its turn.
fn refused(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Refused(why) if why != TOO_MANY_VALUES => Some(why),
        _ => None,
    }
}

/// What of a retrieval of so many keys is answered.
fn up_to(answered: usize, asked: usize) -> Reply {
    if answered < asked {
        Reply::Partly(answered)
    } else {
        Reply::End
    }
}

fn show(key: &[u8], item: &Item, now: u64, sink: &mut dyn Sink) {
    sink.hit(Hit {
        key,
        flags: item.flags,
        version: item.version,
        remaining: Expiry::at(item.expiry).remaining(now),
        value: &item.value,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_the_leader_cannot_read_was_not_done_and_says_so() {
        let malformed = Response::Malformed("an unknown word".into());
        let Reply::ServerError(told) = Reply::from(strange(&malformed)) else {
            panic!("no error");
        };
        assert!(told.starts_with("not stored ("), "{told}");
        let Reply::ServerError(told) = unexpected(&malformed) else {
            panic!("no error");
        };
        assert!(told.starts_with("cannot be read now ("), "{told}");
    }
}
