//! What one client does: hot keys, numbers, keys that die for good, items that live by their touches, cold keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::client::{Client, Door};
use super::{Mix, Random};
use crate::{Call, Operation, Outcome, Value};

/// Between two operations of a client, at most.
const THINK: u64 = 8_000;
/// A key of those that die for good is worked on for so long, then deleted, then only looked at.
const LIFETIME: Duration = Duration::from_secs(2);
/// How many such keys there are at a time.
const MORTALS: u64 = 4;
/// Items that live by their touches are touched for so many milliseconds, then left alone for as many.
const PHASE: u64 = 5_000;

/// Keys of one round are not those of the next: the history of a round can be checked while the next one is made, and
/// no key's history grows without bounds.
const ROUND: Duration = Duration::from_mins(1);

/// What a client did in a round, counted from 0.
pub struct Done {
    pub round: u64,
    pub operations: Vec<Operation>,
}

/// Sessions at a time, of those that are saved whole, and how long each is there, in milliseconds.
const SESSIONS: u64 = 8;
const LIFE: u64 = 4_000;

struct Worker {
    number: u32,
    random: Random,
    written: u64,
    /// By the key's name in this round.
    tokens: HashMap<String, u64>,
    /// The last of its own sessions that it has logged out.
    logged_out: Option<u64>,
}

/// What one client is to do.
pub struct Task<'a> {
    pub number: u32,
    pub door: Door,
    pub seed: u64,
    pub mix: Mix,
    /// Times are counted from here.
    pub begun: Instant,
    pub stop: &'a AtomicBool,
}

/// Works until it is to stop, and hands over each round when it is done with it.
pub fn work(task: Task<'_>, history: &mpsc::Sender<Done>) -> Result<(), String> {
    let (number, begun) = (task.number, task.begun);
    let mut worker = Worker {
        number,
        random: Random::new(task.seed, u64::from(number) + 1),
        written: 0,
        tokens: HashMap::new(),
        logged_out: None,
    };
    let mut client = Client::new(task.door)?;
    let (mut round, mut operations) = (0, Vec::new());
    while !task.stop.load(Ordering::Relaxed) {
        if client.open().is_err() {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let now = begun.elapsed();
        while round < now.as_secs() / ROUND.as_secs() {
            let operations = std::mem::take(&mut operations);
            let _ = history.send(Done { round, operations });
            worker.tokens.clear();
            round += 1;
        }
        let (name, call) = match task.mix {
            Mix::All => worker.choose(now),
            Mix::Sessions => worker.choose_session(now),
        };
        let key: Arc<str> = format!("{round}.{name}").into();
        let invoked = begun.elapsed().as_micros() as u64;
        let outcome = client.call(&key, &call);
        let returned = begun.elapsed().as_micros() as u64;
        if let Outcome::Hit(_, Some(token)) = outcome {
            worker.tokens.insert(name, token);
        }
        operations.push(Operation {
            client: number,
            key,
            invoked,
            returned,
            call,
            outcome,
        });
        std::thread::sleep(Duration::from_micros(worker.random.below(THINK)));
    }
    let _ = history.send(Done { round, operations });
    Ok(())
}

impl Worker {
    /// Sessions as PHP works on them: read, saved whole, logged out once and then only looked at.
    fn choose_session(&mut self, now: Duration) -> (String, Call) {
        let (own, age) = (u64::from(self.number) % SESSIONS, now.as_millis() as u64);
        let of = |place: u64| (age + place * LIFE / SESSIONS) / LIFE;
        let part = |place: u64| (age + place * LIFE / SESSIONS) % LIFE * 10 / LIFE;
        let (generation, is_owner) = (of(own), u64::from(self.number) == own);
        // Not the first ones: they may not be there yet.
        if is_owner && generation > 0 && part(own) == 7 && self.logged_out != Some(generation) {
            self.logged_out = Some(generation);
            return (format!("session{own}.{generation}"), Call::Delete);
        }
        let place = self.random.below(SESSIONS);
        let back = u64::from(self.random.below(4) == 0);
        let key = format!("session{place}.{}", of(place).saturating_sub(back));
        let call = match (part(place), self.random.below(10)) {
            (0..=5, 6..) if back == 0 => Call::Set {
                value: self.value(),
                life: None,
            },
            _ => Call::Get,
        };
        (key, call)
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
        let base = (u64::from(self.number) * 1_000_000 + self.written) * 1_000_000;
        base.to_string().into_bytes().into()
    }

    fn choose(&mut self, now: Duration) -> (String, Call) {
        match self.random.below(10) {
            0..=2 => {
                let key = format!("hot{}", self.random.below(3));
                self.any(key, None)
            }
            3 => {
                let key = format!("number{}", self.random.below(2));
                self.number(key)
            }
            4..=5 => self.mortal(now),
            6..=7 => {
                let place = self.random.below(8);
                let dies = (now.as_millis() as u64 / PHASE + place).is_multiple_of(2);
                self.touched(format!("touched{place}"), dies)
            }
            _ => {
                let key = format!("cold{}", self.random.below(200));
                let life = (self.random.below(4) == 0).then_some(1_000_000);
                self.any(key, life)
            }
        }
    }

    fn any(&mut self, key: String, life: Option<u64>) -> (String, Call) {
        let call = match self.random.below(20) {
            0..=5 => Call::Get,
            6..=8 => Call::Gets,
            9..=11 => Call::Set {
                value: self.value(),
                life,
            },
            12 => Call::Add {
                value: self.value(),
                life,
            },
            13 => Call::Replace {
                value: self.value(),
                life,
            },
            14..=15 => self.cas(&key, life),
            16 => Call::Append {
                tail: [b"+", &*self.value()].concat().into(),
            },
            17..=18 => Call::Delete,
            _ => Call::Touch { life },
        };
        (key, call)
    }

    fn cas(&mut self, key: &str, life: Option<u64>) -> Call {
        match self.tokens.remove(key) {
            Some(token) if self.random.below(3) > 0 => Call::Cas {
                value: self.value(),
                life,
                token,
            },
            Some(token) => {
                let change = match self.random.below(3) {
                    0 => Call::Append {
                        tail: [b"+", &*self.value()].concat().into(),
                    },
                    1 => Call::Prepend {
                        head: [&*self.value(), b"+"].concat().into(),
                    },
                    _ => Call::Delete,
                };
                let change = Box::new(change);
                Call::At { token, change }
            }
            None => Call::Gets,
        }
    }

    fn number(&mut self, key: String) -> (String, Call) {
        let call = match self.random.below(40) {
            0 => Call::Set {
                value: self.base(),
                life: None,
            },
            1..=2 => Call::Add {
                value: self.base(),
                life: None,
            },
            3..=8 => Call::Get,
            _ => Call::Incr {
                delta: 1 + self.random.below(3),
            },
        };
        (key, call)
    }

    /// Sessions: added, saved by `cas` and `replace`, logged out, and never to be seen again.
    fn mortal(&mut self, now: Duration) -> (String, Call) {
        let place = self.random.below(MORTALS);
        let age = now.as_millis() as u64 + place * LIFETIME.as_millis() as u64 / MORTALS;
        let generation = age / LIFETIME.as_millis() as u64;
        let back = match self.random.below(4) {
            0 => self.random.below(4),
            _ => 0,
        };
        let key = format!("mortal{place}.{}", generation.saturating_sub(back));
        let part = age % LIFETIME.as_millis() as u64 * 10 / LIFETIME.as_millis() as u64;
        let call = match (part, self.random.below(12)) {
            // Its time is over: whoever comes now logs it out or saves too late.
            (8.., 0..=1) => Call::Delete,
            (_, 0) if back > 0 => Call::Delete,
            (0..=4, 1..=2) if back == 0 => Call::Add {
                value: self.value(),
                life: None,
            },
            (_, 3..=4) => Call::Replace {
                value: self.value(),
                life: None,
            },
            (_, 5..=8) => self.cas(&key, None),
            _ => Call::Get,
        };
        (key, call)
    }

    /// Items that live as long as they are touched, in turn with times in which they are left to die.
    fn touched(&mut self, key: String, dies: bool) -> (String, Call) {
        let life = Some((1 + self.random.below(3)) * 1_000_000);
        let call = match self.random.below(20) {
            _ if dies => Call::Get,
            0..=1 => Call::Add {
                value: self.value(),
                life,
            },
            2 => Call::Set {
                value: self.value(),
                life,
            },
            3..=10 => Call::Touch { life },
            _ => Call::Get,
        };
        (key, call)
    }
}
