//! What clients ask, and the record of what they were told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tandem_history::{Call, EVERY, Operation, Outcome, Value};
use tandem_memcache::{Action, Answer, Extended, Hit, Keyspace, Lifetime, Mode, Op, Reply, Sink};

use super::cluster::GUARDED;
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
        keys.retain(|key| **key != *EVERY);
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

/// A call as the text protocol asks for it.
fn plain<'a>(keys: &'a [&'a [u8]; 1], call: &'a Call) -> Op<'a> {
    let [key] = *keys;
    let store = |mode, value: &'a [u8], life| Op::Store {
        mode,
        key,
        flags: 7,
        life: lifetime(life),
        value,
    };
    let arithmetic = |delta, down| Op::Arithmetic { key, delta, down };
    match call {
        Call::Get | Call::Gets => Op::Get { keys },
        Call::Set { value, life } => store(Mode::Set, value, *life),
        Call::Add { value, life } => store(Mode::Add, value, *life),
        Call::Replace { value, life } => store(Mode::Replace, value, *life),
        Call::Cas { value, life, token } => store(Mode::Cas(*token), value, *life),
        Call::Append { tail } => store(Mode::Append, tail, None),
        Call::Prepend { head } => store(Mode::Prepend, head, None),
        Call::Delete => Op::Delete { key },
        Call::Incr { delta } | Call::Count { delta, .. } => arithmetic(*delta, false),
        Call::Decr { delta } => arithmetic(*delta, true),
        Call::Touch { life } => Op::Touch {
            key,
            life: lifetime(*life),
        },
        Call::GetAndTouch { life } => Op::GetAndTouch {
            keys,
            life: lifetime(*life),
        },
        Call::FlushAll { delay } => Op::FlushAll {
            delay: delay / 1000,
        },
        // The text protocol has no words for it.
        Call::At { change, .. } => plain(keys, change),
    }
}

/// A call as the meta commands ask for it: those that only they have, and half of those that they have too.
fn meta<'a>(key: &'a [u8], call: &'a Call) -> Option<Extended<'a>> {
    let (action, compare) = match call {
        Call::Count { .. } => (compared(call)?, None),
        Call::At { token, change } => (compared(change)?, Some(*token)),
        // With a version the mode does not matter: it says what is there.
        Call::Cas { value, life, token } if world::chance(500) => {
            let mode = [Mode::Set, Mode::Add, Mode::Replace][below(3) as usize];
            let action = Action::Store {
                mode,
                flags: 7,
                life: lifetime(*life),
                value,
                invalidate: false,
                vivify: None,
            };
            (action, Some(*token))
        }
        Call::GetAndTouch { life } if world::chance(500) => {
            let action = Action::Get {
                life: Some(lifetime(*life)),
                vivify: None,
                recache: None,
                unnoticed: false,
            };
            (action, None)
        }
        _ => return None,
    };
    Some(Extended {
        key,
        action,
        compare,
        new_version: None,
        details: false,
    })
}

/// What is done to an item that has the version it should have.
fn compared(change: &Call) -> Option<Action<'_>> {
    let count = |delta, down, create| Action::Arithmetic {
        delta,
        down,
        life: None,
        create,
    };
    let join = |mode, value| Action::Store {
        mode,
        flags: 0,
        life: Lifetime::Forever,
        value,
        invalidate: false,
        vivify: None,
    };
    Some(match change {
        Call::Delete => Action::Delete {
            invalidate: false,
            clear: false,
            life: None,
        },
        Call::Incr { delta } => count(*delta, false, None),
        Call::Decr { delta } => count(*delta, true, None),
        Call::Count {
            delta,
            initial,
            life,
        } => {
            let initial = std::str::from_utf8(initial).ok()?.parse().ok()?;
            count(*delta, false, Some((lifetime(*life), initial)))
        }
        Call::Append { tail } => join(Mode::Append, tail),
        Call::Prepend { head } => join(Mode::Prepend, head),
        _ => return None,
    })
}

async fn answer(answer: Answer<'_>) -> Reply {
    match answer {
        Answer::Now(reply) => reply,
        Answer::Later(reply) => reply.await,
    }
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
        let reply = match meta(key.as_bytes(), &call) {
            Some(op) => answer(self.keyspace.extended(op, &mut hits)).await,
            None => {
                let one = [key.as_bytes()];
                answer(self.keyspace.call(plain(&one, &call), &mut hits)).await
            }
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
            Reply::Ok => Outcome::Ok,
            Reply::Stats(_) | Reply::Partly(_) => unreachable!("nobody asked for that"),
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

    /// The change, if the item is as it was when this client saw it last; a look, if it never did.
    fn at(&self, key: &Arc<str>, change: Call) -> Call {
        match self.tokens.get(key).copied() {
            Some(token) => Call::At {
                token,
                change: Box::new(change),
            },
            None => Call::Gets,
        }
    }

    fn choose(&mut self, mix: &Mix) -> (Arc<str>, Call) {
        if world::chance(mix.flush) {
            let delay = [0, below(500) * 1000][below(2) as usize];
            return (EVERY.into(), Call::FlushAll { delay });
        }
        let kinds = [
            mix.hot,
            mix.number,
            mix.mortal,
            mix.touched,
            mix.cold,
            mix.guarded,
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
            Some(1) if world::chance(500) => self.number("number-up".into(), false),
            Some(1) => self.number("number-down".into(), true),
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
            Some(5) => self.guarded(format!("{GUARDED}{}", below(3)).into()),
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
            16 => {
                let change = if world::chance(500) {
                    Call::Append {
                        tail: [b"+", &*self.value()].concat().into(),
                    }
                } else {
                    Call::Prepend {
                        head: [&*self.value(), b"+"].concat().into(),
                    }
                };
                if world::chance(500) {
                    self.at(&key, change)
                } else {
                    change
                }
            }
            17 if life.is_some() => Call::Touch { life },
            18 if life.is_some() => Call::GetAndTouch { life },
            _ if world::chance(500) => self.at(&key, Call::Delete),
            _ => Call::Delete,
        };
        (key, call)
    }

    /// A number is counted up or down and not both: what it shows is unique as long as it is.
    fn number(&mut self, key: Arc<str>, down: bool) -> (Arc<str>, Call) {
        let delta = 1 + below(9);
        let call = match below(20) {
            0..=2 => {
                let change = match below(3) {
                    _ if down => Call::Decr { delta },
                    0 => Call::Count {
                        delta,
                        initial: self.base(),
                        life: None,
                    },
                    _ => Call::Incr { delta },
                };
                self.at(&key, change)
            }
            3..=12 if down => Call::Decr { delta },
            3..=9 => Call::Incr { delta },
            10..=12 => Call::Count {
                delta,
                initial: self.base(),
                life: None,
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
            8 if age >= last => self.at(&key, Call::Delete),
            _ => Call::Gets,
        };
        (key, call)
    }

    /// A session of a client that saves by plain `set`, whatever is there: after a logout it must not.
    fn guarded(&mut self, key: Arc<str>) -> (Arc<str>, Call) {
        let call = match below(10) {
            0..=3 => Call::Set {
                value: self.value(),
                life: None,
            },
            4 => Call::Add {
                value: self.value(),
                life: None,
            },
            5 => Call::Delete,
            6 => self.at(&key, Call::Delete),
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
            2..=3 if !dies => Call::Touch { life },
            4..=5 if !dies => Call::GetAndTouch { life },
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
