//! What clients ask, and the record of what they were told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tandem_history::{Call, Operation, Outcome, Value};
use tandem_memcache::{Answer, Hit, Keyspace, Lifetime, Mode, Op, Reply, Sink};

use super::profile::{Mix, Profile};
use super::runtime::sleep;
use super::world::{self, below};
use crate::agent::AgentKeyspace;

/// Keys that die for good are worked on for so many milliseconds, deleted, and then only looked at for as many.
const MORTAL: u64 = 1_200;
/// Items that live by their touches are touched for so many milliseconds, then left alone for as many.
const PHASE: u64 = 1_500;

/// What clients asked and were told. Cheap to clone.
#[derive(Clone, Default)]
pub struct History(Rc<RefCell<Vec<Operation>>>);

impl History {
    pub fn take(&self) -> Vec<Operation> {
        self.0.take()
    }

    pub fn keys(&self) -> Vec<Arc<str>> {
        let mut keys: Vec<_> = self.0.borrow().iter().map(|op| op.key.clone()).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

#[derive(Default)]
struct Hits(Vec<(Value, u64)>);

impl Sink for Hits {
    fn hit(&mut self, hit: Hit<'_>) {
        self.0.push((hit.value.into(), hit.version));
    }
}

fn lifetime(life: Option<u64>) -> Lifetime {
    life.map_or(Lifetime::Forever, |us| Lifetime::Millis(us / 1000))
}

/// One client of one agent. Its number is given once.
pub struct Client {
    number: u32,
    keyspace: AgentKeyspace,
    history: History,
    written: u64,
    tokens: BTreeMap<Arc<str>, u64>,
}

impl Client {
    pub fn new(number: u32, keyspace: AgentKeyspace, history: History) -> Self {
        Self {
            number,
            keyspace,
            history,
            written: 0,
            tokens: BTreeMap::new(),
        }
    }

    /// Asks one thing and records it. The error is what the client was told in the place of an answer.
    pub async fn call(&mut self, key: &Arc<str>, call: Call) -> Result<Outcome, String> {
        let place = {
            let mut history = self.history.0.borrow_mut();
            history.push(Operation {
                client: self.number,
                key: key.clone(),
                invoked: world::now() / 1000,
                returned: u64::MAX,
                call: call.clone(),
                outcome: Outcome::Unknown,
            });
            history.len() - 1
        };
        let mut hits = Hits::default();
        let one = [key.as_bytes()];
        let key_bytes = key.as_bytes();
        let store = |mode, value, life| Op::Store {
            mode,
            key: key_bytes,
            flags: 7,
            life: lifetime(life),
            value,
        };
        let op = match &call {
            Call::Get | Call::Gets => Op::Get { keys: &one },
            Call::Set { value, life } => store(Mode::Set, value, *life),
            Call::Add { value, life } => store(Mode::Add, value, *life),
            Call::Replace { value, life } => store(Mode::Replace, value, *life),
            Call::Cas { value, life, token } => store(Mode::Cas(*token), value, *life),
            Call::Append { tail } => store(Mode::Append, tail, None),
            Call::Delete => Op::Delete { key: key_bytes },
            Call::Incr { delta } => Op::Arithmetic {
                key: key_bytes,
                delta: *delta,
                down: false,
            },
            Call::Touch { life } => Op::Touch {
                key: key_bytes,
                life: lifetime(*life),
            },
        };
        let reply = match self.keyspace.call(op, &mut hits) {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => reply.await,
        };
        let mut trouble = None;
        let outcome = match reply {
            Reply::Stored => Outcome::Stored,
            Reply::NotStored => Outcome::NotStored,
            Reply::Exists => Outcome::Exists,
            Reply::NotFound => Outcome::NotFound,
            Reply::Deleted => Outcome::Deleted,
            Reply::Touched => Outcome::Touched,
            Reply::Number(number) => Outcome::Number(number),
            Reply::End => match hits.0.pop() {
                Some((value, token)) => {
                    let seen = call == Call::Gets;
                    if seen {
                        self.tokens.insert(key.clone(), token);
                    }
                    Outcome::Hit(value, seen.then_some(token))
                }
                None => Outcome::Miss,
            },
            Reply::ServerError(text) => {
                let unknown = text.starts_with("outcome unknown");
                trouble = Some(text.into_owned());
                if unknown {
                    Outcome::Unknown
                } else {
                    Outcome::Failed
                }
            }
            Reply::ClientError(text) => {
                trouble = Some(text.into_owned());
                Outcome::Failed
            }
            Reply::Ok | Reply::Stats(_) => unreachable!("nobody asked for that"),
        };
        let mut history = self.history.0.borrow_mut();
        history[place].returned = world::now().div_ceil(1000);
        history[place].outcome = outcome.clone();
        match trouble {
            Some(text) => Err(text),
            None => Ok(outcome),
        }
    }

    /// Works until `stop`.
    pub async fn work(mut self, profile: Profile, stop: Rc<Cell<bool>>, troubles: Troubles) {
        while !stop.get() {
            let (key, call) = self.choose(&profile.mix);
            let asked = call.to_string();
            if let Err(text) = self.call(&key, call).await {
                troubles.note(self.number, &key, &asked, &text);
            }
            let think = if world::chance(50) { 10 } else { 1 } * profile.think;
            sleep(Duration::from_micros(below(think * 1000))).await;
        }
    }

    fn value(&mut self) -> Value {
        self.written += 1;
        format!("{}-{}", self.number, self.written)
            .into_bytes()
            .into()
    }

    /// A number far from every other that is stored.
    fn base(&mut self) -> Value {
        self.written += 1;
        let base = (u64::from(self.number) * 100_000 + self.written) * 1_000_000;
        base.to_string().into_bytes().into()
    }

    fn large(&mut self) -> Value {
        let mut value = self.value().to_vec();
        value.resize(100 + below(2_000) as usize, b'.');
        value.into()
    }

    fn choose(&mut self, mix: &Mix) -> (Arc<str>, Call) {
        let kinds = [
            mix.hot,
            mix.number,
            mix.mortal,
            mix.touched,
            mix.cold,
            mix.large,
        ];
        let mut left = below(kinds.iter().sum());
        let kind = kinds.iter().position(|weight| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        let now = world::now() / 1_000_000;
        match kind {
            Some(0) => {
                let key = format!("hot{}", below(mix.hot_keys)).into();
                self.any(key, None)
            }
            Some(1) => self.number(format!("number{}", below(2)).into()),
            Some(2) => self.mortal(now),
            Some(3) => {
                let place = below(4);
                let dies = (now / PHASE + place).is_multiple_of(2);
                self.touched(format!("touched{place}").into(), dies)
            }
            Some(4) => {
                let key = format!("cold{}", below(20)).into();
                let life = (below(2) == 0).then(|| (20 + below(1_500)) * 1000);
                self.any(key, life)
            }
            _ => {
                let key: Arc<str> = format!("large{}", below(60)).into();
                let call = match below(10) {
                    0..=6 => Call::Set {
                        value: self.large(),
                        life: None,
                    },
                    7 => Call::Delete,
                    _ => Call::Get,
                };
                (key, call)
            }
        }
    }

    fn any(&mut self, key: Arc<str>, life: Option<u64>) -> (Arc<str>, Call) {
        let call = match below(20) {
            0..=4 => Call::Get,
            5..=7 => Call::Gets,
            8..=10 => Call::Set {
                value: self.value(),
                life,
            },
            11..=12 => Call::Add {
                value: self.value(),
                life,
            },
            13 => Call::Replace {
                value: self.value(),
                life,
            },
            14..=15 => match self.tokens.get(&key).copied() {
                Some(token) => Call::Cas {
                    value: self.value(),
                    life,
                    token,
                },
                None => Call::Gets,
            },
            16 => Call::Append {
                tail: {
                    self.written += 1;
                    format!("+{}-{}", self.number, self.written)
                        .into_bytes()
                        .into()
                },
            },
            17 if life.is_some() => Call::Touch { life },
            _ => Call::Delete,
        };
        (key, call)
    }

    fn number(&mut self, key: Arc<str>) -> (Arc<str>, Call) {
        let call = match below(20) {
            0..=12 => Call::Incr {
                delta: 1 + below(9),
            },
            13..=15 => Call::Get,
            16..=17 => Call::Add {
                value: self.base(),
                life: None,
            },
            18 => Call::Set {
                value: self.base(),
                life: None,
            },
            _ => Call::Delete,
        };
        (key, call)
    }

    /// A session: it begins, is saved by `cas` and `replace`, is logged out, and must never be seen again.
    fn mortal(&mut self, now: u64) -> (Arc<str>, Call) {
        let place = below(3);
        let at = now + place * MORTAL / 3;
        let key: Arc<str> = format!("mortal{place}-{}", at / (2 * MORTAL)).into();
        let (age, last) = (at % (2 * MORTAL), MORTAL * 9 / 10);
        let call = match below(10) {
            0..=1 if age < last => Call::Add {
                value: self.value(),
                life: None,
            },
            2 if age < last => Call::Set {
                value: self.value(),
                life: None,
            },
            3..=4 => Call::Replace {
                value: self.value(),
                life: None,
            },
            5..=6 => match self.tokens.get(&key).copied() {
                Some(token) => Call::Cas {
                    value: self.value(),
                    life: None,
                    token,
                },
                None => Call::Gets,
            },
            7 if age >= last => Call::Delete,
            _ => Call::Gets,
        };
        (key, call)
    }

    /// An item that lives as long as it is touched.
    fn touched(&mut self, key: Arc<str>, dies: bool) -> (Arc<str>, Call) {
        let life = Some((200 + below(3) * 200) * 1000);
        let call = match below(10) {
            0..=1 if !dies => Call::Add {
                value: self.value(),
                life,
            },
            2..=5 if !dies => Call::Touch { life },
            6 if !dies => Call::Set {
                value: self.value(),
                life,
            },
            _ => Call::Get,
        };
        (key, call)
    }
}

/// What went wrong for clients, in words. Cheap to clone.
#[derive(Clone, Default)]
pub struct Troubles(Rc<RefCell<Vec<String>>>);

impl Troubles {
    fn note(&self, client: u32, key: &str, asked: &str, text: &str) {
        let seconds = world::now() as f64 / 1e9;
        let line = format!("{seconds:.3} s: client {client}: {asked} of {key}: {text}");
        self.0.borrow_mut().push(line);
    }

    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }
}
